//! A log of messages of which some live on, in a store of its own.

use std::ops::ControlFlow;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quorate::ids::{ClusterId, EntryId, Index, NodeId, SHARD_0, Term, Ticket, Timestamp};
use quorate::raft::{self, CommitQuorum, Configuration, Entry, Payload, Write};
use quorate::state_machine::{Body, Command, Living, MessageId, Operation, QueueName};
use quorate::storage::snapshot::{Header, Writer};
use quorate::storage::{Compacted, FileDisk, Log, Options, Store};
use tempfile::TempDir;

/// How entries are written: about so many bytes with one sync.
const FRAME_BYTES: u64 = 1 << 20;

/// Who says how long a message lives, in entries; none: no longer than the next snapshot.
pub type Lifetime = fn() -> Option<u64>;

pub struct Survivors {
    /// None once somebody else writes.
    pub log: Option<Log<FileDisk>>,
    pub store: Store,
    /// With the entry at which it dies.
    living: BTreeMap<MessageId, u64>,
    lifetime: Lifetime,
    operations: Vec<Operation>,
    body_bytes: usize,
    pub last: u64,
    pub appended_bytes: u64,
    _directory: TempDir,
}

impl Survivors {
    /// Entries of so many messages of so many bytes.
    pub fn new(segment_bytes: u64, messages: usize, body_bytes: usize, lifetime: Lifetime) -> Self {
        let directory = TempDir::new().unwrap();
        let options = Options { segment_bytes, fill_bytes: segment_bytes / 16, ..Options::default() };
        let (log, _) = Log::open(FileDisk::new(directory.path()), options).unwrap();
        let queue = QueueName::try_from("orders").expect("a good name");
        let body = Body::Data(Bytes::from(vec![7; body_bytes]));
        Self {
            store: log.store(),
            log: Some(log),
            living: BTreeMap::new(),
            lifetime,
            operations: vec![
                Operation::Enqueue { queue, message: body.into(), delay: std::time::Duration::ZERO };
                messages
            ],
            body_bytes,
            last: 0,
            appended_bytes: 0,
            _directory: directory,
        }
    }

    /// Appends about so many bytes.
    pub fn append(&mut self, bytes: u64) {
        let end = self.appended_bytes + bytes;
        while self.appended_bytes < end {
            let frame_end = self.appended_bytes + FRAME_BYTES;
            let mut entries = Vec::new();
            while self.appended_bytes < frame_end {
                entries.push(self.entry());
            }
            let write = Write { ticket: Ticket(self.last), hard_state: None, snapshot: None, entries };
            let log = self.log.as_mut().expect("nobody else writes");
            log.append(&[(SHARD_0, write)]).unwrap();
            log.sync().unwrap();
        }
    }

    /// Takes a snapshot of the last entry, with which the log keeps `retained` entries, and returns what lives as of it.
    pub fn snapshot(&mut self, retained: u64) -> Vec<Living> {
        let last = self.last;
        self.living.retain(|_, dies| *dies > last);
        let last = EntryId::new(Term(1), Index(last));
        let configuration = Configuration::of_one(NodeId(1), CommitQuorum::Majority);
        let header = Header {
            cluster: ClusterId(1),
            shard: SHARD_0,
            snapshot: raft::Snapshot { last, configuration, configuration_index: Index(1) },
            settled: [NodeId(1)].into(),
            removed: BTreeMap::new(),
            addresses: Vec::new(),
        };
        let written = Writer::create(Arc::clone(self.store.disk()), &header).unwrap().finish().unwrap();
        let start = EntryId::new(Term(1), Index(self.last.saturating_sub(retained)));
        self.store.commit_snapshot(SHARD_0, &written, start).unwrap();
        let bytes = self.body_bytes as u32;
        self.living.keys().map(|id| Living { id: *id, bytes }).collect()
    }

    /// As fast as it goes.
    pub fn compact(&self, living: &[Living]) -> Compacted {
        let last = EntryId::new(Term(1), Index(self.last));
        self.store.compact(SHARD_0, last, living, &mut |_| ControlFlow::Continue(())).unwrap()
    }

    /// Bytes of bodies that live.
    pub fn living_bytes(&self) -> u64 {
        self.living.len() as u64 * self.body_bytes as u64
    }

    fn entry(&mut self) -> Entry {
        self.last += 1;
        let index = Index(self.last);
        for item in 0..self.operations.len() as u32 {
            if let Some(lifetime) = (self.lifetime)() {
                self.living.insert(MessageId { index, item }, self.last.saturating_add(lifetime));
            }
        }
        let (session, timestamp) = (None, Timestamp(self.last));
        let command = Command { session, timestamp, operations: std::mem::take(&mut self.operations), expiry: false };
        let payload = command.encode();
        self.operations = command.operations;
        self.appended_bytes += payload.len() as u64;
        Entry { id: EntryId::new(Term(1), index), payload: Payload::Command(payload) }
    }
}
