//! The log of a node: entries and hard states of all its shards, in one sequence of segments.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use super::disk::Disk;
use super::error::Error;
use super::frame::{self, Chain};
use super::positions::{Position, Positions};
use super::reader::Reader;
use super::record;
use super::recovery::{self, Head, RecoveryReport};
use super::segment::{self, Header};
use crate::ids::{Index, ShardId};
use crate::raft::{HardState, Recovered, Write};

/// The largest segment, so that one frame can fill it.
pub const SEGMENT_BYTES_MAX: u64 = frame::BYTES_MAX as u64;

/// How the log is laid out. Can be changed from one start to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The size of a segment in bytes, [`SEGMENT_BYTES_MAX`] at most. A frame that is larger gets a segment of its own size.
    pub segment_bytes: u64,
    /// How much of a segment is filled with zeros at a time, in bytes, ahead of what is written: a sync is about twice as fast
    /// where the file need not grow.
    pub fill_bytes: u64,
    /// Where the checksums of frames start from. Clients must not know it: see the folder's notes.
    pub salt: u32,
}

impl Default for Options {
    /// 64 MiB, 4 MiB, and a salt drawn at random; a simulation sets its own.
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, fill_bytes: 4 << 20, salt: rand::random() }
    }
}

/// The log, opened for writing. There is one for each directory.
pub struct Log<D> {
    disk: Arc<D>,
    options: Options,
    positions: Arc<RwLock<Positions>>,
    hard_states: BTreeMap<ShardId, HardState>,
    chain: Chain,
    head: Option<Head>,
    condition: Condition,
    recovery: RecoveryReport,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    /// All that was appended is durable.
    Durable,
    /// The last frame is not.
    Unsynced,
    /// A write or sync failed: what is on disk is not known.
    Failed,
}

impl<D: Disk> Log<D> {
    /// Reads the log, repairs its end, and says what each shard that was ever written goes on from.
    ///
    /// # Errors
    /// [`Error::Corrupt`]: what was durable has changed. [`Error::NewerFormat`], [`Error::Io`].
    pub fn open(disk: D, mut options: Options) -> Result<(Self, BTreeMap<ShardId, Recovered>), Error> {
        options.segment_bytes = options.segment_bytes.min(SEGMENT_BYTES_MAX);
        let disk = Arc::new(disk);
        let found = recovery::recover(&*disk)?;
        let hard_states = found.shards.iter().map(|(shard, recovered)| (*shard, recovered.hard_state)).collect();
        let log = Self {
            disk,
            options,
            positions: Arc::new(RwLock::new(found.positions)),
            hard_states,
            chain: found.chain,
            head: found.head,
            condition: Condition::Durable,
            recovery: found.report,
        };
        Ok((log, found.shards))
    }

    /// Writes all of `writes`, in order, as one frame: after a crash all of them are there or none. Not yet durable.
    ///
    /// # Errors
    /// [`Error::Io`]: the log takes no more writes; after that [`Error::Failed`].
    ///
    /// # Panics
    /// The frame before has not been synced, or entries would leave a gap.
    pub fn append(&mut self, writes: &[(ShardId, Write)]) -> Result<(), Error> {
        match self.condition {
            Condition::Durable => {}
            Condition::Unsynced => {
                panic!("frame {} is appended before the one before it is durable", self.chain.sequence)
            }
            Condition::Failed => return Err(Error::Failed),
        }
        self.assert_no_gap(writes);
        let batch = Batch::new(writes);
        if batch.is_empty() {
            return Ok(());
        }
        self.condition = Condition::Failed;
        self.write(batch)?;
        self.condition = Condition::Unsynced;
        Ok(())
    }

    /// Makes what was appended durable.
    ///
    /// # Errors
    /// [`Error::Io`]: whether it is durable is not known, also not to the system, so the log takes no more writes; after that
    /// [`Error::Failed`].
    pub fn sync(&mut self) -> Result<(), Error> {
        match (self.condition, &self.head) {
            (Condition::Failed, _) => return Err(Error::Failed),
            (Condition::Unsynced, Some(head)) => {
                self.condition = Condition::Failed;
                head.segment.sync()?;
                self.condition = Condition::Durable;
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads entries back; can be cloned and given to other threads.
    pub fn reader(&self) -> Reader {
        Reader::new(self.disk.clone(), self.positions.clone())
    }

    /// What the log shares with snapshots and compaction.
    pub fn store(&self) -> super::Store {
        unimplemented!()
    }

    /// What was found when the log was opened.
    pub fn recovery(&self) -> &RecoveryReport {
        &self.recovery
    }

    fn write(&mut self, mut batch: Batch) -> Result<(), Error> {
        self.hard_states.extend(batch.hard_states.iter().copied());
        let size = batch.frame.len() as u64;
        if self.head.as_ref().is_none_or(|head| head.end + size > self.options.segment_bytes) {
            batch.repeat_hard_states(&self.hard_states);
            self.head = Some(self.begin_segment()?);
        }
        let head = self.head.as_mut().expect("a segment was begun if there was none");
        self.chain = frame::seal(&mut batch.frame, &head.segment.header, self.chain);
        let offset = head.end;
        head.segment.write(offset, &batch.frame)?;
        head.end += batch.frame.len() as u64;
        head.fill(&self.options)?;
        batch.publish(&self.positions, head.segment.header.id, offset);
        Ok(())
    }

    /// Makes the segment after the last one, durably, so that its existence proves that all before it is complete.
    fn begin_segment(&self) -> Result<Head, Error> {
        let id = self.head.as_ref().map_or(1, |head| head.segment.header.id + 1);
        let header = Header { id, salt: self.options.salt, chain: self.chain };
        let filled = self.options.fill_bytes.min(self.options.segment_bytes).max(segment::HEADER_BYTES as u64);
        let segment = segment::create(&*self.disk, &header, filled)?;
        Ok(Head { segment, end: segment::HEADER_BYTES as u64, filled })
    }

    fn assert_no_gap(&self, writes: &[(ShardId, Write)]) {
        let positions = self.positions.read().expect("no code panics while it holds the lock");
        let mut lasts: BTreeMap<ShardId, Index> = BTreeMap::new();
        for (shard, write) in writes {
            let last = lasts.entry(*shard).or_insert_with(|| positions.last(*shard));
            for (at, entry) in write.entries.iter().enumerate() {
                let index = entry.id.index;
                let fits = if at == 0 { (Index(1)..=last.next()).contains(&index) } else { index == last.next() };
                assert!(fits, "entry {index} of shard {shard} is written after {last}");
                *last = index;
            }
        }
    }
}

impl Head {
    /// Writes zeros ahead of the end when it has come to where the zeros end. The next sync makes them durable as well.
    fn fill(&mut self, options: &Options) -> Result<(), Error> {
        if self.end <= self.filled {
            return Ok(());
        }
        let ahead = self.end.next_multiple_of(options.fill_bytes.max(1)).min(options.segment_bytes);
        self.filled = ahead.max(self.end);
        self.segment.write(self.end, &vec![0; (self.filled - self.end) as usize])
    }
}

/// A frame while it is made.
struct Batch {
    frame: Vec<u8>,
    /// Each entry with where it lies in the frame.
    entries: Vec<(ShardId, Index, std::ops::Range<usize>)>,
    hard_states: Vec<(ShardId, HardState)>,
}

impl Batch {
    fn new(writes: &[(ShardId, Write)]) -> Self {
        let mut batch = Self { frame: frame::begin(), entries: Vec::new(), hard_states: Vec::new() };
        for (shard, write) in writes {
            if let Some(hard_state) = write.hard_state {
                record::encode_hard_state(*shard, hard_state, &mut batch.frame);
                batch.hard_states.push((*shard, hard_state));
            }
            for entry in &write.entries {
                let start = batch.frame.len();
                record::encode_entry(*shard, entry, &mut batch.frame);
                batch.entries.push((*shard, entry.id.index, start..batch.frame.len()));
            }
        }
        batch
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.hard_states.is_empty()
    }

    /// The first frame of a segment tells all hard states, so that no earlier segment is needed for them.
    fn repeat_hard_states(&mut self, hard_states: &BTreeMap<ShardId, HardState>) {
        for (shard, hard_state) in hard_states {
            record::encode_hard_state(*shard, *hard_state, &mut self.frame);
        }
    }

    /// Lets readers find the entries of the frame, which begins at `offset` of the segment.
    fn publish(self, positions: &RwLock<Positions>, segment: u64, offset: u64) {
        let mut positions = positions.write().expect("no code panics while it holds the lock");
        for (shard, index, range) in self.entries {
            let start = u32::try_from(offset + range.start as u64).expect("a segment is smaller than 4 GiB");
            positions.put(shard, index, Position { segment, offset: start, length: range.len() as u32 });
        }
    }
}
