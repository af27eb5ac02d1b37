//! The log of a node: entries and hard states of all its shards, in one sequence of segments.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use super::disk::Disk;
use super::error::Error;
use super::files::FileId;
use super::frame::{self, Chain};
use super::positions::{Position, Positions};
use super::reader::Reader;
use super::record;
use super::recovery::{self, Head, RecoveryReport};
use super::segment::{self, Header};
use super::store::Store;
use super::usage::Purpose;
use crate::ids::{EntryId, Index, ShardId};
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
    store: Store,
    hard_states: BTreeMap<ShardId, HardState>,
    chain: Chain,
    head: Option<Head>,
    condition: Condition,
    /// The last entries of the shards in the frame that is not durable yet.
    unsynced: BTreeMap<ShardId, Index>,
    recovery: RecoveryReport,
    disk: PhantomData<D>,
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
        let mut found = recovery::recover(&disk)?;
        let store = Store::new(Arc::new(disk), options, &mut found);
        let hard_states = found.shards.iter().map(|(shard, recovered)| (*shard, recovered.hard_state)).collect();
        let log = Self {
            store,
            hard_states,
            chain: found.chain,
            head: found.head,
            condition: Condition::Durable,
            unsynced: BTreeMap::new(),
            recovery: found.report,
            disk: PhantomData,
        };
        Ok((log, found.shards))
    }

    /// Writes all of `writes`, in order, as one frame: after a crash all of them are there or none. Not yet durable.
    ///
    /// A write with a snapshot comes alone. The snapshot that was offered to the store takes the place of the log of its shard, and
    /// that is durable when this returns.
    ///
    /// # Errors
    /// [`Error::Io`]: the log takes no more writes; after that [`Error::Failed`].
    ///
    /// # Panics
    /// The frame before has not been synced, or entries would leave a gap, or a write with a snapshot does not come alone or was
    /// not offered.
    pub fn append(&mut self, writes: &[(ShardId, Write)]) -> Result<(), Error> {
        match self.condition {
            Condition::Durable => {}
            Condition::Unsynced => {
                panic!("frame {} is appended before the one before it is durable", self.chain.sequence)
            }
            Condition::Failed => return Err(Error::Failed),
        }
        if let Some((shard, write)) = writes.iter().find(|(_, write)| write.snapshot.is_some()) {
            assert!(writes.len() == 1 && write.entries.is_empty(), "a snapshot of shard {shard} does not come alone");
        }
        self.assert_no_gap(writes);
        let batch = Batch::new(writes);
        if !batch.is_empty() {
            self.condition = Condition::Failed;
            self.write(batch)?;
            self.condition = Condition::Unsynced;
        }
        match writes {
            [(shard, Write { snapshot: Some(last), .. })] => self.install(*shard, *last),
            _ => Ok(()),
        }
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
                self.store.durable().on_synced(head.segment.header.id, std::mem::take(&mut self.unsynced));
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads entries back; can be cloned and given to other threads.
    pub fn reader(&self) -> Reader {
        self.store.reader()
    }

    /// What the log shares with snapshots and compaction.
    pub fn store(&self) -> Store {
        self.store.clone()
    }

    /// What was found when the log was opened.
    pub fn recovery(&self) -> &RecoveryReport {
        &self.recovery
    }

    fn write(&mut self, mut batch: Batch) -> Result<(), Error> {
        self.hard_states.extend(batch.hard_states.iter().copied());
        let size = batch.frame.len() as u64;
        if self.head.as_ref().is_none_or(|head| head.end + size > self.store.segment_bytes()) {
            batch.repeat_hard_states(&self.hard_states);
            self.head = Some(self.begin_segment()?);
        }
        let head = self.head.as_mut().expect("a segment was begun if there was none");
        self.chain = frame::seal(&mut batch.frame, &head.segment.header, self.chain);
        let offset = head.end;
        head.put(&mut batch.frame)?;
        self.store.count(Purpose::Log, batch.frame.len() as u64);
        self.store.count(Purpose::Zeros, head.fill(self.store.options())?);
        self.unsynced = batch.publish(&self.store, FileId::segment(head.segment.header.id), offset);
        Ok(())
    }

    /// Makes the segment after the last one, durably, so that its existence proves that all before it is complete.
    fn begin_segment(&self) -> Result<Head, Error> {
        self.store.check_failed()?;
        let options = self.store.options();
        let id = self.head.as_ref().map_or(1, |head| head.segment.header.id + 1);
        let spare = self.store.spares().take();
        let header = Header { id, salt: options.salt, chain: self.chain, recycled: spare.is_some() };
        let end = segment::HEADER_BYTES as u64;
        self.store.count(Purpose::Log, end);
        if let Some((spare, filled)) = spare {
            let segment = segment::recycle(&**self.store.disk(), &spare, &header)?;
            return Ok(Head { segment, end, filled });
        }
        let filled = options.fill_bytes.min(options.segment_bytes).max(end);
        let segment = segment::create(&**self.store.disk(), &header, filled)?;
        self.store.count(Purpose::Zeros, filled - end);
        Ok(Head { segment, end, filled })
    }

    /// The write's hard state is durable first: without it, nobody may have the snapshot's term in the log.
    fn install(&mut self, shard: ShardId, last: EntryId) -> Result<(), Error> {
        self.sync()?;
        let segment = self.head.as_ref().map_or(0, |head| head.segment.header.id);
        self.condition = Condition::Failed;
        self.store.install(shard, last, self.chain.sequence, segment)?;
        self.condition = Condition::Durable;
        Ok(())
    }

    fn assert_no_gap(&self, writes: &[(ShardId, Write)]) {
        let positions = self.store.positions().read();
        let mut lasts: BTreeMap<ShardId, Index> = BTreeMap::new();
        for (shard, write) in writes {
            let (start, end) =
                positions.get(*shard).map_or((Index(0), Index(0)), |found| (found.start(), found.last()));
            let last = lasts.entry(*shard).or_insert(end);
            for (at, entry) in write.entries.iter().enumerate() {
                let index = entry.id.index;
                let fits = if at == 0 { (start.next()..=last.next()).contains(&index) } else { index == last.next() };
                assert!(fits, "entry {index} of shard {shard} is written after {last}");
                *last = index;
            }
        }
    }
}

impl<D> Drop for Log<D> {
    fn drop(&mut self) {
        self.store.durable().end();
    }
}

impl Head {
    /// Writes a frame at the end. In a recycled file zeros go with it: what comes after the last frame must not look like one that
    /// was begun.
    fn put(&mut self, frame: &mut Vec<u8>) -> Result<(), Error> {
        let (offset, length) = (self.end, frame.len());
        self.end += length as u64;
        if self.segment.header.recycled {
            let zeros = self.filled.saturating_sub(self.end).min(frame::HEADER_BYTES as u64);
            frame.resize(length + zeros as usize, 0);
        }
        self.segment.write(offset, frame)
    }

    /// Writes zeros ahead of the end when it has come to where the zeros end. The next sync makes them durable as well. Returns
    /// how many.
    fn fill(&mut self, options: &Options) -> Result<u64, Error> {
        if self.end <= self.filled {
            return Ok(0);
        }
        let ahead = self.end.next_multiple_of(options.fill_bytes.max(1)).min(options.segment_bytes);
        self.filled = ahead.max(self.end);
        let zeros = self.filled - self.end;
        self.segment.write(self.end, &vec![0; zeros as usize])?;
        Ok(zeros)
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

    /// Lets readers find the entries of the frame, which begins at `offset` of the segment. Returns the last ones.
    fn publish(self, store: &Store, file: FileId, offset: u64) -> BTreeMap<ShardId, Index> {
        let mut positions = store.positions().write();
        let (kept, cut) = self.cuts(&positions);
        store.durable().on_appended(kept, cut);
        let mut lasts = BTreeMap::new();
        for (shard, index, range) in self.entries {
            let start = u32::try_from(offset + range.start as u64).expect("a segment is smaller than 4 GiB");
            positions.get_mut(shard).put(index, Position { file, offset: start, length: range.len() as u32 });
            lasts.insert(shard, index);
        }
        lasts
    }

    /// Up to where the logs stay as they are, and the first segment with something in it of a log that does not.
    fn cuts(&self, positions: &Positions) -> (BTreeMap<ShardId, Index>, Option<u64>) {
        let mut kept: BTreeMap<ShardId, Index> = BTreeMap::new();
        for (shard, index, _) in &self.entries {
            let kept = kept.entry(*shard).or_insert(index.previous());
            *kept = index.previous().min(*kept);
        }
        let is_cut = |(shard, kept): (&ShardId, &Index)| positions.get(*shard).filter(|found| found.last() > *kept);
        let cut = kept.iter().filter_map(is_cut).filter_map(|found| found.first());
        let cut = cut.map(|first| first.file.number()).min();
        (kept, cut)
    }
}
