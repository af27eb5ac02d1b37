//! Reads entries back, also while the log is appended to and compacted.

use std::io;

use bytes::Bytes;

use super::codec;
use super::error::Error;
use super::positions::Position;
use super::record::Record;
use super::store::Store;
use crate::ids::{Index, ShardId};
use crate::raft::Entry;

/// Records that lie no further apart than this are read in one go.
const GAP_BYTES_MAX: u64 = 4096;

/// A handle to read the log with. Finds what has been appended, durable or not; what waits for the writer it does not find.
/// Clones share the files that are open.
#[derive(Clone)]
pub struct Reader {
    store: Store,
}

impl Reader {
    pub(super) fn new(store: Store) -> Self {
        Self { store }
    }

    /// The entries from `from` to `to`, both included; fewer when the log ends before or they take more than `bytes_max`
    /// bytes, but always one.
    ///
    /// # Errors
    /// [`Error::NotInLog`]: the log does not have `from`, or not any more. [`Error::Corrupt`]: an entry is not what was written.
    /// [`Error::Io`].
    pub fn read(&self, shard: ShardId, from: Index, to: Index, bytes_max: u64) -> Result<Vec<Entry>, Error> {
        self.read_where(shard, from, decode_entry, || self.find(shard, from, to, bytes_max))
    }

    /// The entry at `index` as far as its items live: from the log, or from the bodies that outlived it.
    ///
    /// # Errors
    /// [`Error::NotInLog`]: it is nowhere. [`Error::Corrupt`], [`Error::Io`].
    pub fn body(&self, shard: ShardId, index: Index) -> Result<Entry, Error> {
        let find = || self.store.positions().read().get(shard).and_then(|found| found.body(index));
        let entries = self.read_where(shard, index, decode_body, || find().into_iter().collect())?;
        Ok(entries.into_iter().next().expect("what has a position is read, or an error"))
    }

    fn find(&self, shard: ShardId, from: Index, to: Index, bytes_max: u64) -> Vec<Position> {
        let positions = self.store.positions().read();
        let mut bytes = 0;
        let within = |position: &&Position| {
            let is_first = bytes == 0;
            bytes += u64::from(position.length);
            is_first || bytes <= bytes_max
        };
        let Some(positions) = positions.get(shard) else { return Vec::new() };
        positions.range(from, to).take_while(within).copied().collect()
    }

    /// Reads records, the first one being that of `from`. A compaction can move them and give their file to somebody else
    /// while they are read: an error counts only when they are still where they were looked for.
    fn read_where(
        &self,
        shard: ShardId,
        from: Index,
        decode: Decode,
        find: impl Fn() -> Vec<Position>,
    ) -> Result<Vec<Entry>, Error> {
        let mut positions = find();
        loop {
            if positions.is_empty() {
                return Err(Error::NotInLog { shard, index: from });
            }
            let error = match self.read_records(shard, from, decode, &positions) {
                Err(error) if is_perhaps_moved(&error) => error,
                read => return read,
            };
            let again = find();
            if again.starts_with(&positions) {
                return Err(error);
            }
            positions = again;
        }
    }

    fn read_records(
        &self,
        shard: ShardId,
        from: Index,
        decode: Decode,
        positions: &[Position],
    ) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::with_capacity(positions.len());
        for span in positions.chunk_by(lie_together) {
            let next = Index(from.0 + entries.len() as u64);
            self.read_span(shard, next, decode, span, &mut entries)?;
        }
        Ok(entries)
    }

    /// Reads records that lie together.
    fn read_span(
        &self,
        shard: ShardId,
        first: Index,
        decode: Decode,
        span: &[Position],
        entries: &mut Vec<Entry>,
    ) -> Result<(), Error> {
        let [start, ..] = span else { return Ok(()) };
        let end = span.iter().map(Position::end).max().unwrap_or_default();
        let files = self.store.files();
        let bytes = files.read(start.file, u64::from(start.offset), end - u64::from(start.offset))?;
        for (position, index) in span.iter().zip(first.0..) {
            let at = (position.offset - start.offset) as usize;
            let entry = decode(&bytes.slice(at..at + position.length as usize), shard, Index(index));
            let corrupt = |why| Error::corrupt(files.describe(position.file), u64::from(position.offset), why);
            entries.push(entry.map_err(corrupt)?);
        }
        Ok(())
    }
}

/// Reads an entry from its record.
type Decode = fn(&Bytes, ShardId, Index) -> Result<Entry, String>;

/// True for what a file that has gone, or holds something else, looks like.
fn is_perhaps_moved(error: &Error) -> bool {
    let gone = [io::ErrorKind::NotFound, io::ErrorKind::UnexpectedEof];
    match error {
        Error::Corrupt { .. } => true,
        Error::Io { source, .. } => gone.contains(&source.kind()),
        _ => false,
    }
}

/// True when two records that follow each other in the log of a shard can be read in one go.
fn lie_together(one: &Position, next: &Position) -> bool {
    let gap = u64::from(next.offset).checked_sub(one.end());
    one.file == next.file && gap.is_some_and(|gap| gap <= GAP_BYTES_MAX)
}

fn decode_entry(bytes: &Bytes, shard: ShardId, index: Index) -> Result<Entry, String> {
    let record = Record::decode_of(bytes, shard, index)?;
    let payload = codec::decode_payload(record.kind, bytes.slice_ref(record.payload));
    Ok(Entry { id: record.id, payload: payload.map_err(|error| error.to_string())? })
}

fn decode_body(bytes: &Bytes, shard: ShardId, index: Index) -> Result<Entry, String> {
    let record = Record::decode_of(bytes, shard, index)?;
    // What is left of a command is read as one.
    let kind = if record.kind == codec::BODIES { codec::COMMAND } else { record.kind };
    let payload = codec::decode_payload(kind, bytes.slice_ref(record.payload));
    Ok(Entry { id: record.id, payload: payload.map_err(|error| error.to_string())? })
}
