//! Reads entries back, also while the log is appended to.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, RwLock};

use bytes::Bytes;

use super::codec;
use super::disk::{Disk, File};
use super::error::Error;
use super::positions::{Position, Positions};
use super::record::Record;
use super::segment;
use crate::ids::{Index, ShardId};
use crate::raft::Entry;

/// Records that lie no further apart than this are read in one go.
const GAP_BYTES_MAX: u64 = 4096;

/// Segments that are kept open; the one opened first is closed first.
const OPEN_SEGMENTS_MAX: usize = 16;

/// A handle to read the log with. Finds what has been appended, durable or not; what waits for the writer it does not find.
/// Clones share the files that are open.
#[derive(Clone)]
pub struct Reader {
    disk: Arc<dyn Disk>,
    positions: Arc<RwLock<Positions>>,
    open: Arc<Mutex<OpenFiles>>,
}

/// Segments by their id, in the order in which they were opened.
type OpenFiles = VecDeque<(u64, Arc<dyn File>)>;

impl Reader {
    pub(super) fn new(disk: Arc<dyn Disk>, positions: Arc<RwLock<Positions>>) -> Self {
        Self { disk, positions, open: Arc::default() }
    }

    /// The entries from `from` to `to`, both included; fewer when the log ends before or they take more than `bytes_max`
    /// bytes, but always one.
    ///
    /// # Errors
    /// [`Error::NotInLog`]: the log does not have `from`. [`Error::Corrupt`]: an entry is not what was written. [`Error::Io`].
    pub fn read(&self, shard: ShardId, from: Index, to: Index, bytes_max: u64) -> Result<Vec<Entry>, Error> {
        let positions = self.find(shard, from, to, bytes_max);
        if positions.is_empty() {
            return Err(Error::NotInLog { shard, index: from });
        }
        let mut entries = Vec::with_capacity(positions.len());
        for span in positions.chunk_by(lie_together) {
            let next = Index(from.0 + entries.len() as u64);
            self.read_span(shard, next, span, &mut entries)?;
        }
        Ok(entries)
    }

    /// The entry at `index` as far as its items live: from the log, or from the bodies that outlived it.
    ///
    /// # Errors
    /// [`Error::NotInLog`]: it is nowhere. [`Error::Corrupt`], [`Error::Io`].
    pub fn body(&self, _shard: ShardId, _index: Index) -> Result<Entry, Error> {
        unimplemented!()
    }

    fn find(&self, shard: ShardId, from: Index, to: Index, bytes_max: u64) -> Vec<Position> {
        let positions = self.positions.read().expect("no code panics while it holds the lock");
        let mut bytes = 0;
        let within = |position: &&Position| {
            let is_first = bytes == 0;
            bytes += u64::from(position.length);
            is_first || bytes <= bytes_max
        };
        positions.range(shard, from, to).iter().take_while(within).copied().collect()
    }

    /// Reads records that lie together.
    fn read_span(
        &self,
        shard: ShardId,
        first: Index,
        span: &[Position],
        entries: &mut Vec<Entry>,
    ) -> Result<(), Error> {
        let [start, ..] = span else { return Ok(()) };
        let end = span.iter().map(Position::end).max().unwrap_or_default();
        let name = segment::name(start.segment);
        let named = || self.disk.describe(&name);
        let file = self.segment(start.segment).map_err(Error::io("open", named()))?;
        let mut bytes = vec![0; (end - u64::from(start.offset)) as usize];
        file.read_at(u64::from(start.offset), &mut bytes).map_err(Error::io("read", named()))?;
        let bytes = Bytes::from(bytes);
        for (position, index) in span.iter().zip(first.0..) {
            let at = (position.offset - start.offset) as usize;
            let entry = decode(&bytes.slice(at..at + position.length as usize), shard, Index(index));
            let entry = entry.map_err(|why| Error::corrupt(named(), u64::from(position.offset), why))?;
            entries.push(entry);
        }
        Ok(())
    }

    /// The file of a segment, kept open for the next read.
    fn segment(&self, id: u64) -> io::Result<Arc<dyn File>> {
        let mut open = self.open.lock().expect("no code panics while it holds the lock");
        if let Some((_, file)) = open.iter().find(|(found, _)| *found == id) {
            return Ok(file.clone());
        }
        let file = self.disk.open(&segment::name(id))?;
        open.truncate(OPEN_SEGMENTS_MAX - 1);
        open.push_front((id, file.clone()));
        Ok(file)
    }
}

/// True when two records that follow each other in the log of a shard can be read in one go.
fn lie_together(one: &Position, next: &Position) -> bool {
    let gap = u64::from(next.offset).checked_sub(one.end());
    one.segment == next.segment && gap.is_some_and(|gap| gap <= GAP_BYTES_MAX)
}

fn decode(bytes: &Bytes, shard: ShardId, index: Index) -> Result<Entry, String> {
    let (record, _) = Record::decode(bytes)?;
    if (record.shard, record.id.index) != (shard, index) {
        return Err(format!(
            "entry {} of shard {} is where {index} of shard {shard} was",
            record.id.index, record.shard
        ));
    }
    let payload = codec::decode_payload(record.kind, bytes.slice_ref(record.payload));
    Ok(Entry { id: record.id, payload: payload.map_err(|error| error.to_string())? })
}
