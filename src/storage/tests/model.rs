//! Random histories of a store with snapshots, compactions and installed snapshots, beside a model that keeps everything in
//! the most obvious way there is.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::storage::rewrite::FIXED_BYTES;
use crate::storage::{BodiesWriter, Pin, Received, Store};

/// What must be found of all shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    pub shards: BTreeMap<ShardId, ModelShard>,
}

/// What must be found of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelShard {
    pub hard_state: HardState,
    pub start: EntryId,
    pub snapshot: Option<ModelSnapshot>,
    /// All entries of its history: those after `start` are the log.
    pub entries: BTreeMap<Index, Entry>,
    pub committed: Index,
    /// As of the snapshot.
    pub living: BTreeSet<Index>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSnapshot {
    pub name: String,
    pub last: EntryId,
    pub bytes: Vec<u8>,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Step {
    Append(Vec<(ShardId, Write)>),
    Commit(ShardId, Index),
    Snapshot {
        shard: ShardId,
        snapshot: ModelSnapshot,
        start: EntryId,
        living: BTreeSet<Index>,
    },
    Compact(ShardId),
    /// A compaction while a frame is appended and not yet durable.
    CompactBeside(ShardId, Vec<(ShardId, Write)>),
    Install {
        shard: ShardId,
        snapshot: ModelSnapshot,
        entries: Vec<Entry>,
        living: BTreeSet<Index>,
        vote: Option<HardState>,
    },
    Pin(ShardId),
    Unpin,
    Restart,
}

impl Step {
    /// What kind of thing it is.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Append(_) => "append",
            Self::Commit(..) => "commit",
            Self::Snapshot { .. } => "snapshot",
            Self::Compact(_) => "compact",
            Self::CompactBeside(..) => "compact beside a frame",
            Self::Install { .. } => "install",
            Self::Pin(_) => "pin",
            Self::Unpin => "unpin",
            Self::Restart => "restart",
        }
    }
}

/// A store while it is used.
pub struct World {
    pub disk: MemoryDisk,
    pub log: Log<MemoryDisk>,
    pub pins: Vec<(Pin, BTreeMap<Index, Entry>, Vec<u8>)>,
    /// What the compactions did, to see that a history has everything in it.
    pub compacted: crate::storage::Compacted,
}

impl Model {
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::Append(writes) | Step::CompactBeside(_, writes) => {
                for (shard, write) in writes.iter().filter(|(_, write)| !is_empty(write)) {
                    self.shard(*shard).append(write);
                }
            }
            Step::Commit(shard, index) => {
                self.shards.get_mut(shard).into_iter().for_each(|shard| shard.committed = *index);
            }
            Step::Snapshot { shard, snapshot, start, living } => {
                let shard = self.shard(*shard);
                shard.start = *start;
                shard.snapshot = Some(snapshot.clone());
                shard.living = living.clone();
            }
            Step::Install { shard, snapshot, entries, living, vote } => {
                let shard = self.shard(*shard);
                shard.hard_state = vote.unwrap_or(shard.hard_state);
                let committed = shard.committed;
                shard.entries.retain(|index, _| *index <= committed);
                shard.entries.extend(entries.iter().map(|entry| (entry.id.index, entry.clone())));
                shard.start = snapshot.last;
                shard.committed = snapshot.last.index;
                shard.snapshot = Some(snapshot.clone());
                shard.living = living.clone();
            }
            Step::Compact(_) | Step::Pin(_) | Step::Unpin | Step::Restart => {}
        }
    }

    /// Of an install whose crash came in between, the vote may be there alone.
    pub fn apply_vote(&mut self, step: &Step) {
        if let Step::Install { shard, vote: Some(vote), .. } = step {
            self.shard(*shard).hard_state = *vote;
        }
    }

    /// Whether a store that was opened holds exactly this.
    pub fn check(&self, log: &Log<MemoryDisk>, recovered: &BTreeMap<ShardId, Recovered>) -> Result<(), String> {
        let expected: BTreeMap<ShardId, Recovered> =
            self.shards.iter().map(|(shard, model)| (*shard, model.recovered())).collect();
        if *recovered != expected {
            return Err(format!("recovered {recovered:?} for {expected:?}"));
        }
        self.shards.iter().try_for_each(|(shard, model)| model.check(*shard, log))
    }

    /// Something that can be done next.
    pub fn next(&self, rng: &mut ChaCha8Rng) -> Step {
        let shard = ShardId(u64::from(rng.random_bool(0.3)));
        let model = self.shards.get(&shard).cloned().unwrap_or_default();
        match rng.random_range(0..21) {
            0..9 => Step::Append(self.random_writes(rng)),
            9..12 => {
                let to = rng.random_range(model.committed.0..=model.last().index.0.max(model.committed.0));
                Step::Commit(shard, Index(to))
            }
            12..14 => model.random_snapshot(shard, rng).unwrap_or(Step::Compact(shard)),
            14..16 => Step::Compact(shard),
            16..18 => Step::CompactBeside(shard, self.random_writes(rng)),
            18 => model.random_install(shard, rng),
            19 => {
                if rng.random() {
                    Step::Pin(shard)
                } else {
                    Step::Unpin
                }
            }
            _ => Step::Restart,
        }
    }

    fn random_writes(&self, rng: &mut ChaCha8Rng) -> Vec<(ShardId, Write)> {
        let mut twin = self.clone();
        let mut writes = Vec::new();
        for _ in 0..rng.random_range(1..=2) {
            let shard = ShardId(u64::from(rng.random_bool(0.3)));
            let write = twin.shard(shard).random_write(rng);
            twin.shard(shard).append(&write);
            writes.push((shard, write));
        }
        writes
    }

    fn shard(&mut self, shard: ShardId) -> &mut ModelShard {
        self.shards.entry(shard).or_default()
    }
}

impl ModelShard {
    pub fn last(&self) -> EntryId {
        self.log().last().map_or(self.start, |entry| entry.id)
    }

    pub fn log(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.range(self.start.index.next()..).map(|(_, entry)| entry)
    }

    /// What lives, as a state machine tells it.
    pub fn living(&self) -> Vec<Living> {
        let bytes = |index: &Index| match &self.entries[index].payload {
            Payload::Command(bytes) => bytes.len() as u32,
            _ => 0,
        };
        let living = |index: &Index| Living { id: MessageId { index: *index, item: 0 }, bytes: bytes(index) };
        self.living.iter().map(living).collect()
    }

    fn append(&mut self, write: &Write) {
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        if let Some(first) = write.entries.first() {
            self.entries.retain(|index, _| *index < first.id.index);
            self.entries.extend(write.entries.iter().map(|entry| (entry.id.index, entry.clone())));
        }
    }

    fn recovered(&self) -> Recovered {
        let snapshot = self.snapshot.as_ref().map_or(EntryId::default(), |snapshot| snapshot.last);
        let (hard_state, start, last) = (self.hard_state, self.start, self.last().index);
        let mut recovered = Recovered { hard_state, start, snapshot, last, ..Recovered::default() };
        for entry in self.log() {
            if recovered.terms.last().is_none_or(|first| first.term != entry.id.term) {
                recovered.terms.push(entry.id);
            }
            if let Payload::Configuration { configuration, .. } = &entry.payload
                && entry.id.index > snapshot.index
            {
                recovered.configurations.push((entry.id.index, configuration.clone()));
            }
        }
        recovered
    }

    fn check(&self, shard: ShardId, log: &Log<MemoryDisk>) -> Result<(), String> {
        let (reader, store) = (log.reader(), log.store());
        let expected: Vec<Entry> = self.log().cloned().collect();
        let read = match reader.read(shard, self.start.index.next(), Index(u64::MAX), u64::MAX) {
            Err(Error::NotInLog { .. }) => Vec::new(),
            read => read.map_err(|error| error.to_string())?,
        };
        if read != expected {
            return Err(format!("the log of {shard} is {read:?} for {expected:?}"));
        }
        for index in &self.living {
            match reader.body(shard, *index) {
                Ok(body) if body == self.entries[index] => {}
                other => return Err(format!("the body of {index} of {shard} is {other:?}")),
            }
        }
        if !store.missing_bodies(shard, &self.living()).is_empty() {
            return Err("bodies are said to be missing".into());
        }
        let found =
            store.snapshot(shard).map(|found| (found.name.clone(), found.last, read_file(&log.store(), &found.name)));
        let expected = self.snapshot.as_ref().map(|each| (each.name.clone(), each.last, each.bytes.clone()));
        if found == expected { Ok(()) } else { Err(format!("the snapshot of {shard} is {found:?} for {expected:?}")) }
    }

    fn random_write(&self, rng: &mut ChaCha8Rng) -> Write {
        let last = self.last();
        let cut = rng.random_bool(0.2) && last.index > self.committed;
        let from = if cut { rng.random_range(self.committed.0..last.index.0) } else { last.index.0 };
        let before = if from == last.index.0 { last.term.0 } else { last.term.0 + 1 };
        let term = before.max(self.hard_state.term.0).max(1) + u64::from(rng.random_bool(0.1));
        let count = rng.random_range(0..6);
        let entries = (from + 1..=from + count).map(|index| random_entry(term, index, rng)).collect();
        let vote = rng.random_bool(0.2).then(|| hard_state(term, rng.random_range(0..3)));
        Write { hard_state: vote, ..write(entries) }
    }

    fn random_snapshot(&self, shard: ShardId, rng: &mut ChaCha8Rng) -> Option<Step> {
        let from = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.last.index.0);
        if self.committed.0 <= from {
            return None;
        }
        let last = self.entries[&Index(rng.random_range(from + 1..=self.committed.0))].id;
        let start = rng.random_range(self.start.index.0..=last.index.0);
        let start = if start <= self.start.index.0 { self.start } else { self.entries[&Index(start)].id };
        let living = self.survivors(last.index, rng);
        Some(Step::Snapshot { shard, snapshot: random_file(shard, last, rng), start, living })
    }

    /// What lives at `last` of what lived at the snapshot and came after it.
    fn survivors(&self, last: Index, rng: &mut ChaCha8Rng) -> BTreeSet<Index> {
        let before = self.snapshot.as_ref().map_or(Index(0), |snapshot| snapshot.last.index);
        let came = self.entries.range(before.next()..=last).filter(|(_, entry)| is_command(entry));
        let candidates = self.living.iter().copied().chain(came.map(|(index, _)| *index));
        let survival = [0.0, 0.1, 0.5, 0.95][rng.random_range(0..4)];
        candidates.filter(|_| rng.random_bool(survival)).collect()
    }

    fn random_install(&self, shard: ShardId, rng: &mut ChaCha8Rng) -> Step {
        let term = self.last().term.0.max(self.hard_state.term.0).max(1) + 1;
        // A term that is no later than that of what is there is possible, too: those entries were never committed.
        let term = if rng.random_bool(0.3) {
            self.entries.get(&self.committed).map_or(1, |entry| entry.id.term.0)
        } else {
            term
        };
        let count = rng.random_range(1..8);
        let entries: Vec<Entry> =
            (self.committed.0 + 1..=self.committed.0 + count).map(|index| random_entry(term, index, rng)).collect();
        let mut later = self.clone();
        later.entries.retain(|index, _| *index <= self.committed);
        later.entries.extend(entries.iter().map(|entry| (entry.id.index, entry.clone())));
        let last = entries.last().expect("there is at least one").id;
        let living = later.survivors(last.index, rng);
        let vote = rng.random_bool(0.3).then(|| hard_state(term.max(self.hard_state.term.0), 0));
        Step::Install { shard, snapshot: random_file(shard, last, rng), entries, living, vote }
    }
}

impl World {
    pub fn open(disk: &MemoryDisk) -> Result<(Self, BTreeMap<ShardId, Recovered>), Error> {
        let (log, recovered) = Log::open(disk.clone(), options())?;
        Ok((Self { disk: disk.clone(), log, pins: Vec::new(), compacted: Default::default() }, recovered))
    }

    /// Does one thing; `model` is what there is before.
    pub fn run(&mut self, step: &Step, model: &Model) -> Result<(), Error> {
        let store = self.log.store();
        match step {
            Step::Append(writes) => self.log.append(writes).and_then(|()| self.log.sync())?,
            Step::Commit(..) => {}
            Step::Snapshot { shard, snapshot, start, .. } => {
                let bytes = write_file(&store, "snapshot-written", &snapshot.bytes)?;
                store.commit_snapshot(*shard, "snapshot-written", &snapshot.name, snapshot.last, bytes, *start)?;
            }
            Step::Compact(shard) => self.compact(*shard, model)?,
            Step::CompactBeside(shard, writes) => {
                self.log.append(writes)?;
                self.compact(*shard, model)?;
                self.log.sync()?;
            }
            Step::Install { shard, snapshot, entries, living, vote } => {
                let found = model.shards.get(shard).cloned().unwrap_or_default();
                self.receive_bodies(*shard, &found, entries, living)?;
                let bytes = write_file(&store, "snapshot-received", &snapshot.bytes)?;
                let (written, name) = ("snapshot-received".to_owned(), snapshot.name.clone());
                let received = Received { written, name, last: snapshot.last, bytes, committed: found.committed };
                store.offer_received(*shard, received);
                let install = Write { snapshot: Some(snapshot.last), hard_state: *vote, ..write(vec![]) };
                self.log.append(&[(*shard, install)]).and_then(|()| self.log.sync())?;
            }
            Step::Pin(shard) => self.pin(*shard, model),
            Step::Unpin => {
                self.pins.pop();
            }
            Step::Restart => {
                self.check_pins()?;
                self.pins.clear();
                let (log, recovered) = Log::open(self.disk.clone(), options())?;
                self.log = log;
                model.check(&self.log, &recovered).map_err(|why| Error::corrupt("after a restart", 0, why))?;
            }
        }
        Ok(())
    }

    fn compact(&mut self, shard: ShardId, model: &Model) -> Result<(), Error> {
        let Some(found) = model.shards.get(&shard) else { return Ok(()) };
        let Some(snapshot) = &found.snapshot else { return Ok(()) };
        let store = self.log.store();
        let done = store.compact(shard, snapshot.last, &found.living(), &mut at_once)?;
        self.compacted.entries += done.entries;
        self.compacted.files_removed += done.files_removed;
        self.compacted.bytes_copied += done.bytes_copied;
        assert_no_more_than_twice(&store)
    }

    /// Every pin still reads what there was when it was made.
    pub fn check_pins(&self) -> Result<(), Error> {
        for (pin, bodies, file) in &self.pins {
            for (index, entry) in bodies {
                let record = pin.read_body(*index)?.unwrap_or_else(|| panic!("body {index} is gone"));
                let (decoded, _) = crate::storage::record::Record::decode(&record).unwrap();
                let (_, payload) = crate::storage::codec::encode_payload(&entry.payload);
                assert_eq!((decoded.id, decoded.payload), (entry.id, &payload[..]));
            }
            let mut bytes = vec![0; pin.snapshot().bytes as usize];
            pin.read_snapshot(0, &mut bytes)?;
            assert_eq!(bytes, *file);
        }
        Ok(())
    }

    fn pin(&mut self, shard: ShardId, model: &Model) {
        let Some(pin) = self.log.store().pin(shard) else { return };
        let found = &model.shards[&shard];
        let bodies = found.living.iter().map(|index| (*index, found.entries[index].clone())).collect();
        let file = found.snapshot.as_ref().expect("there was something to pin").bytes.clone();
        self.pins.push((pin, bodies, file));
    }

    /// What a node does that gets a snapshot: it asks for the bodies that it does not have.
    fn receive_bodies(
        &mut self,
        shard: ShardId,
        found: &ModelShard,
        entries: &[Entry],
        living: &BTreeSet<Index>,
    ) -> Result<(), Error> {
        let store = self.log.store();
        let missing = living.iter().filter(|index| !store.has_body(shard, **index, found.committed));
        let missing: Vec<Index> = missing.copied().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let mut out = BodiesWriter::create(&store)?;
        for index in missing {
            let entry = entries.iter().find(|entry| entry.id.index == index);
            let entry = entry.unwrap_or_else(|| panic!("body {index} was committed, and is not there"));
            let mut record = Vec::new();
            crate::storage::record::encode_entry(shard, entry, &mut record);
            out.push(shard, index, &record)?;
        }
        store.add_bodies(out.finish()?)
    }
}

/// After a compaction no more than half of the archive is dead.
fn assert_no_more_than_twice(store: &Store) -> Result<(), Error> {
    let usage = store.usage()?;
    assert!(usage.archive_bytes <= 2 * usage.living_bytes + FIXED_BYTES * usage.archive_files, "{usage:?}");
    Ok(())
}

/// A shard of which nothing was ever written is not found again.
fn is_empty(write: &Write) -> bool {
    write.hard_state.is_none() && write.entries.is_empty()
}

fn is_command(entry: &Entry) -> bool {
    matches!(entry.payload, Payload::Command(_))
}

fn random_entry(term: u64, index: u64, rng: &mut ChaCha8Rng) -> Entry {
    let id = EntryId::new(Term(term), Index(index));
    match rng.random_range(0..10) {
        0 => Entry { id, payload: Payload::Noop },
        1 => {
            let node = NodeId(rng.random_range(1..5));
            let configuration = Configuration::of_one(node, crate::raft::CommitQuorum::Majority);
            Entry { id, payload: Payload::Configuration { configuration, introduction: None } }
        }
        _ => {
            let length = if rng.random_bool(0.02) { 2500 } else { rng.random_range(0..300) };
            let random = (0..length).map(|_| rng.random());
            command(term, index, &std::iter::once(fill(0)).chain(random).collect::<Vec<u8>>())
        }
    }
}

fn random_file(shard: ShardId, last: EntryId, rng: &mut ChaCha8Rng) -> ModelSnapshot {
    let bytes = (0..rng.random_range(1..700)).map(|_| rng.random()).collect();
    ModelSnapshot { name: format!("snapshot-{shard}-{last}"), last, bytes }
}

fn write_file(store: &Store, name: &str, bytes: &[u8]) -> Result<u64, Error> {
    let write = || {
        let file = store.disk().create(name)?;
        file.write_at(0, bytes)?;
        file.sync()
    };
    write().map_err(Error::io("write", name))?;
    Ok(bytes.len() as u64)
}

fn read_file(store: &Store, name: &str) -> Vec<u8> {
    let file = store.disk().open(name).unwrap();
    let mut bytes = vec![0; file.size().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}
