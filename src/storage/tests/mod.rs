//! The log through its front door, on a disk in memory that can lose power and rot.

mod archive_rot;
mod crash;
mod kept;
mod model;
mod recycled;
mod refused;
mod rot;
mod round_trip;
mod shortened;
mod side_by_side;
mod steps;
mod transfer;
mod trimmed;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::{Compacted, Disk, Error, Log, MemoryDisk, Options};
use crate::ids::{EntryId, Index, NodeId, SHARD_0, ShardId, Term, Ticket};
use crate::raft::{Configuration, Entry, HardState, Payload, Recovered, Write};
use crate::state_machine::{Living, MessageId};

const SHARD_1: ShardId = ShardId(1);

/// Small segments, so that a few writes fill several.
fn options() -> Options {
    Options { segment_bytes: 2048, fill_bytes: 512, salt: 7 }
}

fn open(disk: &MemoryDisk) -> (Log<MemoryDisk>, BTreeMap<ShardId, Recovered>) {
    Log::open(disk.clone(), options()).unwrap()
}

fn command(term: u64, index: u64, body: &[u8]) -> Entry {
    Entry { id: EntryId::new(Term(term), Index(index)), payload: Payload::Command(Bytes::copy_from_slice(body)) }
}

/// A byte to fill a body with that begins no command of a state machine: nothing can be left out of it.
fn fill(index: u64) -> u8 {
    (index as u8) << 3 | 7
}

fn hard_state(term: u64, vote: u64) -> HardState {
    HardState { term: Term(term), vote: (vote != 0).then_some(NodeId(vote)) }
}

fn write(entries: Vec<Entry>) -> Write {
    Write { ticket: Ticket(1), hard_state: None, snapshot: None, entries }
}

/// The pace of a compaction that makes no pause.
fn at_once(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Appends one write to shard 0, durably.
fn put(log: &mut Log<MemoryDisk>, entries: Vec<Entry>) {
    log.append(&[(SHARD_0, write(entries))]).unwrap();
    log.sync().unwrap();
}

/// Takes a snapshot up to the entry `last`, after which the log begins, too.
fn take_snapshot(log: &Log<MemoryDisk>, last: EntryId) {
    let (written, name) = ("snapshot-written", format!("snapshot-{}", last.index));
    let file = log.store().disk().create(written).unwrap();
    file.write_at(0, b"what the queues know").unwrap();
    file.sync().unwrap();
    log.store().commit_snapshot(SHARD_0, written, &name, last, 20, last).unwrap();
}

/// These messages live: the first of each entry, without telling how long it is.
fn living(indexes: impl IntoIterator<Item = u64>) -> Vec<Living> {
    let living = |index| Living { id: MessageId { index: Index(index), item: 0 }, bytes: 0 };
    indexes.into_iter().map(living).collect()
}

/// Takes a snapshot up to the entry of term 1 at `last`, and has what does not live go.
fn shorten(log: &Log<MemoryDisk>, last: u64, living: &[Living]) -> Compacted {
    let last = EntryId::new(Term(1), Index(last));
    take_snapshot(log, last);
    log.store().compact(SHARD_0, last, living, &mut at_once).unwrap()
}

/// What a log must hold: kept in the most obvious way there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Twin {
    shards: BTreeMap<ShardId, TwinShard>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct TwinShard {
    hard_state: HardState,
    entries: Vec<Entry>,
}

impl Twin {
    fn append(&mut self, writes: &[(ShardId, Write)]) {
        for (shard, write) in writes {
            if write.hard_state.is_none() && write.entries.is_empty() {
                continue;
            }
            let twin = self.shards.entry(*shard).or_default();
            twin.hard_state = write.hard_state.unwrap_or(twin.hard_state);
            if let Some(first) = write.entries.first() {
                twin.entries.retain(|entry| entry.id.index < first.id.index);
                twin.entries.extend(write.entries.iter().cloned());
            }
        }
    }

    fn recovered(&self) -> BTreeMap<ShardId, Recovered> {
        self.shards.iter().map(|(shard, twin)| (*shard, twin.recovered())).collect()
    }

    /// All entries, as a log reads them.
    fn read(&self) -> BTreeMap<ShardId, Vec<Entry>> {
        let shards = self.shards.iter().filter(|(_, twin)| !twin.entries.is_empty());
        shards.map(|(shard, twin)| (*shard, twin.entries.clone())).collect()
    }
}

impl TwinShard {
    fn recovered(&self) -> Recovered {
        let mut recovered = Recovered { hard_state: self.hard_state, ..Recovered::default() };
        for entry in &self.entries {
            if recovered.terms.last().is_none_or(|first| first.term != entry.id.term) {
                recovered.terms.push(entry.id);
            }
            if let Payload::Configuration { configuration, .. } = &entry.payload {
                recovered.configurations.push((entry.id.index, configuration.clone()));
            }
            recovered.last = entry.id.index;
        }
        recovered
    }
}

/// All entries of a log.
fn read_all(log: &Log<MemoryDisk>, recovered: &BTreeMap<ShardId, Recovered>) -> BTreeMap<ShardId, Vec<Entry>> {
    let shards = recovered.iter().filter(|(_, recovered)| recovered.last > Index(0));
    let read = |shard, last| log.reader().read(shard, Index(1), last, u64::MAX).unwrap();
    shards.map(|(shard, recovered)| (*shard, read(*shard, recovered.last))).collect()
}

/// Writes of many kinds: several shards, no-ops, configurations, cut entries, hard states, a frame larger than a segment.
fn scenario() -> Vec<Vec<(ShardId, Write)>> {
    let noop = |term, index| Entry { id: EntryId::new(Term(term), Index(index)), payload: Payload::Noop };
    let member = |index, node| {
        let configuration = Configuration::of_one(NodeId(node), crate::raft::CommitQuorum::Majority);
        let payload = Payload::Configuration { configuration, introduction: None };
        Entry { id: EntryId::new(Term(1), Index(index)), payload }
    };
    let vote = |term, vote| Write {
        ticket: Ticket(1),
        hard_state: Some(hard_state(term, vote)),
        snapshot: None,
        entries: vec![],
    };
    let both = Write { hard_state: Some(hard_state(1, 0)), ..write(vec![noop(1, 1), member(2, 9)]) };
    vec![
        vec![(SHARD_0, vote(1, 9))],
        vec![(SHARD_0, write(vec![noop(1, 1), member(2, 9), command(1, 3, b"one")])), (SHARD_1, both)],
        vec![(SHARD_1, write(vec![command(1, 3, &[3; 600])]))],
        vec![(SHARD_0, write(vec![command(1, 4, &[4; 700]), command(1, 5, &[5; 300])]))],
        vec![(SHARD_0, vote(2, 0)), (SHARD_0, write(vec![command(2, 4, b"another four"), member(5, 8)]))],
        vec![(SHARD_0, write((6..30).map(|index| command(2, index, &[6; 50])).collect()))],
        vec![(SHARD_1, write(vec![command(1, 2, &[2; 900])])), (SHARD_0, vote(3, 4))],
        vec![(SHARD_0, write(vec![command(3, 5, b"five again")]))],
    ]
}
