//! A node's log on its simulated disk. The production log does the work; here is when it does it: a write, a sync and the
//! report of it are three moments, and the power can fail between any two.

use quorate::ids::{Index, SHARD_0, ShardId, Ticket};
use quorate::raft::{Entry, Recovered, Write};
use quorate::storage::{self, Error, Log, MemoryDisk, Options, Reader};

/// A frame.
pub struct Next {
    /// How many writes are in it.
    pub count: usize,
    /// It has a received snapshot take the place of the log, which is durable as soon as it is written.
    pub is_install: bool,
}

/// The log of a running process.
pub struct Store {
    log: Log<MemoryDisk>,
    shared: storage::Store,
    reader: Reader,
    waiting: Vec<(ShardId, Write)>,
    /// The last write in the frame that is being written.
    writing: Ticket,
    /// A frame is being written, or about to be.
    pub is_busy: bool,
}

/// What opening a log found.
pub struct Opened {
    /// The log.
    pub store: Store,
    /// What the replica starts from.
    pub recovered: Recovered,
    /// A torn frame was cut.
    pub cut_torn_frame: bool,
    /// Files that a crash had left behind were removed.
    pub leftovers: u64,
}

impl Store {
    /// Opens the log on `disk`.
    pub fn open(disk: &MemoryDisk, segment_bytes: u64, salt: u32) -> Result<Opened, Error> {
        let options = Options { segment_bytes, fill_bytes: segment_bytes.min(4_096), salt };
        let (log, mut shards) = Log::open(disk.clone(), options)?;
        let recovered = shards.remove(&SHARD_0).unwrap_or_default();
        let cut_torn_frame = log.recovery().torn_tail.is_some();
        let leftovers = log.recovery().leftovers;
        let (shared, reader) = (log.store(), log.reader());
        let store = Self { log, shared, reader, waiting: Vec::new(), writing: Ticket(0), is_busy: false };
        Ok(Opened { store, recovered, cut_torn_frame, leftovers })
    }

    /// Takes a write.
    pub fn submit(&mut self, write: Write) {
        self.waiting.push((SHARD_0, write));
    }

    /// How many writes wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What is written next as one frame: all that waits, but a write with a snapshot alone, as the production writer does it.
    pub fn next(&self) -> Next {
        let is_install = |(_, write): &(ShardId, Write)| write.snapshot.is_some();
        match self.waiting.iter().position(is_install) {
            Some(0) => Next { count: 1, is_install: true },
            Some(count) => Next { count, is_install: false },
            None => Next { count: self.waiting.len(), is_install: false },
        }
    }

    /// Writes that.
    pub fn append(&mut self) -> Result<(), Error> {
        let count = self.next().count;
        let writes: Vec<(ShardId, Write)> = self.waiting.drain(..count).collect();
        self.writing = writes.last().map_or(self.writing, |(_, write)| write.ticket);
        self.log.append(&writes)
    }

    /// Makes the frame durable. Returns its last write.
    pub fn sync(&mut self) -> Result<Ticket, Error> {
        self.log.sync()?;
        Ok(self.writing)
    }

    /// What the log shares with snapshots and compaction.
    pub fn shared(&self) -> &storage::Store {
        &self.shared
    }

    /// Reads the entry of a body back.
    pub fn body(&self, index: Index) -> Result<Entry, Error> {
        self.reader.body(SHARD_0, index)
    }

    /// Reads entries back.
    pub fn read(&self, from: Index, to: Index, bytes_max: u64) -> Result<Vec<Entry>, Error> {
        self.reader.read(SHARD_0, from, to, bytes_max)
    }
}
