//! Files of bodies: records of living entries, without the log around them.
//!
//! ```text
//!    magic 8 | format version 4 | number 8 | CRC of these 4 | then records
//! ```

use std::sync::Arc;

use super::codec;
use super::disk::File;
use super::error::Error;
use super::files::FileId;
use super::index::{self, Listed};
use super::manifest::ArchiveFile;
use super::positions::Position;
use super::record::{Record, u32_at, u64_at};
use super::segment::Unreadable;
use super::store::Store;
use super::usage::Purpose;
use crate::ids::{Index, ShardId};

/// The format that this release writes, and the latest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// Bytes before the first record.
pub const HEADER_BYTES: usize = 24;

const MAGIC: [u8; 8] = *b"quorateB";

/// So much is collected before it is written.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes a file of bodies. One that is dropped before it is finished is removed.
pub struct BodiesWriter {
    store: Store,
    id: FileId,
    purpose: Purpose,
    file: Arc<dyn File>,
    buffer: Vec<u8>,
    /// Bytes that are in the file already.
    written: u64,
    listed: Vec<Listed>,
    finished: bool,
}

/// A file of bodies that is durable, and not yet named in the manifest: for [`Store::add_bodies`].
#[derive(Debug)]
pub struct FinishedBodies {
    /// The file.
    pub(super) file: ArchiveFile,
    /// What is in it.
    pub(super) listed: Vec<Listed>,
}

impl BodiesWriter {
    /// Begins a file for bodies that come from another node.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(store: &Store) -> Result<Self, Error> {
        Self::create_for(store, Purpose::Snapshot)
    }

    /// Begins a file.
    pub(super) fn create_for(store: &Store, purpose: Purpose) -> Result<Self, Error> {
        let id = store.next_bodies();
        let name = id.name();
        let file = store.disk().create(&name).map_err(Error::io("create", store.disk().describe(&name)))?;
        Ok(Self {
            store: store.clone(),
            id,
            purpose,
            file,
            buffer: encode_header(id.number()),
            written: 0,
            listed: Vec::new(),
            finished: false,
        })
    }

    /// Adds the whole record of an entry, as [`super::Pin::read_body`] gives it.
    ///
    /// # Errors
    /// [`Error::Malformed`]: it is not a record of that entry with a body. [`Error::Io`].
    ///
    /// # Panics
    /// The file is longer than any may be.
    pub fn push(&mut self, shard: ShardId, index: Index, record: &[u8]) -> Result<(), Error> {
        let (decoded, rest) = Record::decode(record).map_err(Error::Malformed)?;
        if !rest.is_empty() || (decoded.shard, decoded.id.index) != (shard, index) {
            return Err(Error::Malformed("it is the record of another entry, or more than one"));
        }
        if !matches!(decoded.kind, codec::COMMAND | codec::BODIES) {
            return Err(Error::Malformed("the record of an entry without a body"));
        }
        self.add(shard, index, |out| out.extend_from_slice(record)).map(|_| ())
    }

    /// Adds a record that `encode` writes, and says where it lies.
    pub(super) fn add(
        &mut self,
        shard: ShardId,
        index: Index,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Position, Error> {
        let (offset, start) = (self.bytes(), self.buffer.len());
        encode(&mut self.buffer);
        let offset = u32::try_from(offset).expect("whoever writes a file of bodies ends it at 1 GiB");
        let position = Position { file: self.id, offset, length: (self.buffer.len() - start) as u32 };
        self.listed.push((shard, index, position));
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(position)
    }

    /// The length of the file so far. A file is full at [`Store::segment_bytes`]; 1 GiB is the most.
    pub fn bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Makes the file durable, with its index.
    ///
    /// # Errors
    /// [`Error::Io`]: the file is gone.
    pub fn finish(mut self) -> Result<FinishedBodies, Error> {
        self.flush()?;
        let disk = self.store.disk().clone();
        self.file.sync().map_err(Error::io("sync", disk.describe(&self.id.name())))?;
        let index_bytes = index::write(&*disk, self.id, &self.listed)?;
        self.store.count(self.purpose, index_bytes);
        self.store.sync_directory()?;
        self.finished = true;
        let file = ArchiveFile { file: self.id, bytes: self.written, index_bytes };
        Ok(FinishedBodies { file, listed: std::mem::take(&mut self.listed) })
    }

    fn flush(&mut self) -> Result<(), Error> {
        let written = self.file.write_at(self.written, &self.buffer);
        written.map_err(Error::io("write to", self.store.disk().describe(&self.id.name())))?;
        self.store.count(self.purpose, self.buffer.len() as u64);
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl FinishedBodies {
    /// Removes the file, which nothing names.
    pub(super) fn remove(self, store: &Store) {
        store.remove(&self.file.file.name());
        store.remove(&self.file.file.index_name());
    }
}

impl Drop for BodiesWriter {
    fn drop(&mut self) {
        if !self.finished {
            self.store.remove(&self.id.name());
            self.store.remove(&self.id.index_name());
        }
    }
}

/// The number in the header of a file of bodies.
pub fn decode_header(bytes: &[u8]) -> Result<u64, Unreadable> {
    let header = bytes.get(..HEADER_BYTES).ok_or(Unreadable::Bad("the header is cut short"))?;
    if header[..8] != MAGIC {
        return Err(Unreadable::Bad("no file of bodies begins here"));
    }
    if crc32c::crc32c(&header[..20]) != u32_at(header, 20) {
        return Err(Unreadable::Bad("the checksum of the header is wrong"));
    }
    match u32_at(header, 8) {
        version if version > FORMAT_VERSION => Err(Unreadable::Newer(version)),
        _ => Ok(u64_at(header, 12)),
    }
}

fn encode_header(number: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}
