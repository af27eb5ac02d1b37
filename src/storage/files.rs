//! The files that hold entries: their names, and those that are open for reading.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::disk::{Disk, File};
use super::error::Error;
use super::positions::Position;
use super::record::{Body, Record};
use crate::ids::{Index, ShardId};

/// Files that are kept open; the one opened first is closed first.
const OPEN_FILES_MAX: usize = 16;

/// Names a file with entries in it: a segment of the log, or a file of bodies. An id is never used for a second file while the
/// process runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(u64);

impl FileId {
    /// Set for a file of bodies, so that an id takes eight bytes.
    const BODIES: u64 = 1 << 63;

    /// The segment with this number.
    pub fn segment(number: u64) -> Self {
        Self(number & !Self::BODIES)
    }

    /// The file of bodies with this number.
    pub fn bodies(number: u64) -> Self {
        Self(number | Self::BODIES)
    }

    /// True for a file of bodies.
    pub fn is_bodies(self) -> bool {
        self.0 & Self::BODIES != 0
    }

    /// Its number among those of its kind, from 1.
    pub fn number(self) -> u64 {
        self.0 & !Self::BODIES
    }

    /// The name of the file.
    pub fn name(self) -> String {
        self.with_ending("log")
    }

    /// The name of the file that tells what was alive in it when it left the chain.
    pub fn index_name(self) -> String {
        self.with_ending("index")
    }

    /// The file with this name, if it is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::parse_with_ending(name, "log")
    }

    /// The file whose index has this name, if it is one.
    pub fn parse_index(name: &str) -> Option<Self> {
        Self::parse_with_ending(name, "index")
    }

    fn with_ending(self, ending: &str) -> String {
        let kind = if self.is_bodies() { "bodies" } else { "segment" };
        format!("{kind}-{:016x}.{ending}", self.number())
    }

    fn parse_with_ending(name: &str, ending: &str) -> Option<Self> {
        let (kind, rest) = name.split_once('-')?;
        let number = u64::from_str_radix(rest.strip_suffix(ending)?.strip_suffix('.')?, 16).ok()?;
        let id = if kind == "bodies" { Self::bodies(number) } else { Self::segment(number) };
        (id.with_ending(ending) == name).then_some(id)
    }
}

impl std::fmt::Debug for FileId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

/// Files that are kept open for the next read.
pub struct OpenFiles {
    disk: Arc<dyn Disk>,
    open: Mutex<VecDeque<(FileId, Arc<dyn File>)>>,
}

impl OpenFiles {
    /// None is open.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, open: Mutex::default() }
    }

    /// Reads bytes of a file.
    pub fn read(&self, id: FileId, offset: u64, length: u64) -> Result<Bytes, Error> {
        let file = self.get(id).map_err(Error::io("open", self.describe(id)))?;
        let mut bytes = vec![0; length as usize];
        file.read_at(offset, &mut bytes).map_err(Error::io("read", self.describe(id)))?;
        Ok(bytes.into())
    }

    /// Reads the record of an entry, and checks that it is that.
    pub fn read_body(&self, shard: ShardId, index: Index, position: Position) -> Result<Body, Error> {
        let Position { file, offset, length } = position;
        let record = self.read(file, u64::from(offset), u64::from(length))?;
        let decoded = Record::decode_of(&record, shard, index);
        let decoded = decoded.map_err(|why| Error::corrupt(self.describe(file), u64::from(offset), why))?;
        let (id, kind, payload) = (decoded.id, decoded.kind, record.slice_ref(decoded.payload));
        Ok(Body { record, id, kind, payload })
    }

    /// Closes a file that is removed or gets another name, once that is done.
    pub fn forget(&self, id: FileId) {
        let mut open = self.open.lock().expect("no code panics while it holds the lock");
        open.retain(|(found, _)| *found != id);
    }

    /// The file as an operator would name it.
    pub fn describe(&self, id: FileId) -> String {
        self.disk.describe(&id.name())
    }

    fn get(&self, id: FileId) -> io::Result<Arc<dyn File>> {
        // The lock is held while the file is opened, so that `forget` finds it.
        let mut open = self.open.lock().expect("no code panics while it holds the lock");
        if let Some((_, file)) = open.iter().find(|(found, _)| *found == id) {
            return Ok(file.clone());
        }
        let file = self.disk.open(&id.name())?;
        open.truncate(OPEN_FILES_MAX - 1);
        open.push_front((id, file.clone()));
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_that_of_one_file() {
        for id in [FileId::segment(1), FileId::segment(u64::MAX >> 1), FileId::bodies(0xabc)] {
            assert_eq!((FileId::parse(&id.name()), FileId::parse_index(&id.index_name())), (Some(id), Some(id)));
            assert_eq!((FileId::parse(&id.index_name()), FileId::parse_index(&id.name())), (None, None));
        }
        for name in ["segment-1.log", "segment-000000000000000A.log", "bodies-+000000000000001.log", "spare-0.log", ""]
        {
            assert_eq!(FileId::parse(name), None, "{name}");
        }
    }
}
