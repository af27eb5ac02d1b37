//! A node's log on its simulated disk. The production log does the work; here is when it does it: a write, a sync and the
//! report of it are three moments, and the power can fail between any two.

use quorate::ids::{Index, SHARD_0, ShardId, Ticket};
use quorate::raft::{Entry, Recovered, Write};
use quorate::storage::{Error, Log, MemoryDisk, Options, Reader};

/// The log of a running process.
pub struct Store {
    log: Log<MemoryDisk>,
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
}

impl Store {
    /// Opens the log on `disk`.
    pub fn open(disk: &MemoryDisk, segment_bytes: u64, salt: u32) -> Result<Opened, Error> {
        let options = Options { segment_bytes, fill_bytes: segment_bytes.min(4_096), salt };
        let (log, mut shards) = Log::open(disk.clone(), options)?;
        let recovered = shards.remove(&SHARD_0).unwrap_or_default();
        let cut_torn_frame = log.recovery().torn_tail.is_some();
        let reader = log.reader();
        let store = Self { log, reader, waiting: Vec::new(), writing: Ticket(0), is_busy: false };
        Ok(Opened { store, recovered, cut_torn_frame })
    }

    /// Takes a write.
    pub fn submit(&mut self, write: Write) {
        self.waiting.push((SHARD_0, write));
    }

    /// How many writes wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Writes all that waits as one frame.
    pub fn append(&mut self) -> Result<(), Error> {
        let writes = std::mem::take(&mut self.waiting);
        self.writing = writes.last().map_or(self.writing, |(_, write)| write.ticket);
        self.log.append(&writes)
    }

    /// Makes the frame durable. Returns its last write.
    pub fn sync(&mut self) -> Result<Ticket, Error> {
        self.log.sync()?;
        Ok(self.writing)
    }

    /// Reads entries back.
    pub fn read(&self, from: Index, to: Index, bytes_max: u64) -> Result<Vec<Entry>, Error> {
        self.reader.read(SHARD_0, from, to, bytes_max)
    }
}
