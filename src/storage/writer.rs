//! The thread that writes the log: all writes that wait go into one frame and one sync.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::disk::Disk;
use super::error::Error;
use super::log::Log;
use crate::ids::{Index, ShardId, Ticket};
use crate::raft::{Entry, Write};

/// How many writes can wait. Replicas limit what they have in flight, so that this is reached only while the disk hangs.
const QUEUE_WRITES_MAX: usize = 1024;

/// After so many bytes of entries a frame takes no further writes.
const BATCH_BYTES_MAX: u64 = 8 << 20;

/// A write and whose it is.
type Queued = (ShardId, Write);

/// What one sync has made durable, and when, by the clock of the thread that writes.
#[derive(Clone, Debug)]
pub struct Synced {
    /// The writes, in the order they were submitted.
    pub writes: Vec<Durable>,
    /// How many entries they have.
    pub entries: u64,
    /// The bytes of those, without what the files add.
    pub bytes: u64,
    /// Nothing else was waiting for the disk any more: writing began.
    pub began: Instant,
    /// Everything was handed to the system: the sync began.
    pub written: Instant,
    /// The sync was over.
    pub ended: Instant,
}

/// A write that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    /// Whose it is.
    pub shard: ShardId,
    /// Its name.
    pub ticket: Ticket,
    /// The first and the last of its entries, if it has any.
    pub entries: Option<(Index, Index)>,
}

impl Synced {
    /// How long the disk took for the sync itself.
    pub fn sync_took(&self) -> Duration {
        self.ended.duration_since(self.written)
    }
}

impl Durable {
    fn new((shard, write): &Queued) -> Self {
        let index_of = |entry: &Entry| entry.id.index;
        let entries = write.entries.first().map(index_of).zip(write.entries.last().map(index_of));
        Self { shard: *shard, ticket: write.ticket, entries }
    }
}

/// A handle to the writing thread. Dropping it does what `stop` does.
pub struct Writer {
    queue: Option<SyncSender<(ShardId, Write)>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. It calls `on_durable` after each sync with what became durable.
    ///
    /// A write or sync that fails is not tried again: `on_durable` gets the error, once, and the thread ends. Nothing is known
    /// to be durable after that but what was reported before.
    pub fn start<D: Disk>(log: Log<D>, on_durable: impl FnMut(Result<Synced, Error>) + Send + 'static) -> Self {
        let (queue, waiting) = sync_channel(QUEUE_WRITES_MAX);
        let thread = thread::Builder::new().name("log-writer".to_owned());
        let thread =
            thread.spawn(move || run(log, &waiting, on_durable)).expect("the system has room for one more thread");
        Self { queue: Some(queue), thread: Some(thread) }
    }

    /// Hands over a write. While 1024 of them wait, the caller waits for the disk; replicas refuse requests long before that, so
    /// that a hanging disk does not stop the loop. After an error, which `on_durable` got, the write is dropped.
    pub fn submit(&self, shard: ShardId, write: Write) {
        if let Some(queue) = &self.queue {
            let _ = queue.send((shard, write));
        }
    }

    /// Finishes what was submitted and ends the thread.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        let joined = self.thread.take().map(JoinHandle::join);
        if let Some(Err(panic)) = joined
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

fn run<D: Disk>(
    mut log: Log<D>,
    waiting: &Receiver<(ShardId, Write)>,
    mut on_durable: impl FnMut(Result<Synced, Error>),
) {
    let mut held = None;
    while let Some(first) = held.take().or_else(|| waiting.recv().ok()) {
        let (batch, next) = drain(first, waiting);
        held = next;
        let synced = write(&mut log, &batch);
        let failed = synced.is_err();
        on_durable(synced);
        if failed {
            return;
        }
    }
}

fn write<D: Disk>(log: &mut Log<D>, batch: &[Queued]) -> Result<Synced, Error> {
    let began = Instant::now();
    log.append(batch)?;
    let written = Instant::now();
    log.sync()?;
    let ended = Instant::now();
    let entries = batch.iter().map(|(_, write)| write.entries.len() as u64).sum();
    let bytes = batch.iter().map(|(_, write)| size(write)).sum();
    Ok(Synced { writes: batch.iter().map(Durable::new).collect(), entries, bytes, began, written, ended })
}

/// All that waits, up to the byte limit; a write with a snapshot comes alone. Also returns one that waits for the next turn.
fn drain(first: Queued, waiting: &Receiver<Queued>) -> (Vec<Queued>, Option<Queued>) {
    if first.1.snapshot.is_some() {
        return (vec![first], None);
    }
    let mut bytes = size(&first.1);
    let mut batch = vec![first];
    while bytes < BATCH_BYTES_MAX
        && let Ok(next) = waiting.try_recv()
    {
        if next.1.snapshot.is_some() {
            return (batch, Some(next));
        }
        bytes += size(&next.1);
        batch.push(next);
    }
    (batch, None)
}

fn size(write: &Write) -> u64 {
    write.entries.iter().map(Entry::size).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use bytes::Bytes;

    use super::*;
    use crate::ids::{EntryId, SHARD_0, Term};
    use crate::raft::Payload;
    use crate::storage::{MemoryDisk, Options};

    fn write(index: u64) -> Write {
        let payload = Payload::Command(Bytes::from_static(b"body"));
        let entries = vec![Entry { id: EntryId::new(Term(1), Index(index)), payload }];
        Write { ticket: Ticket(index), hard_state: None, snapshot: None, entries }
    }

    fn open(disk: &MemoryDisk) -> Log<MemoryDisk> {
        let options = Options { segment_bytes: 1 << 20, fill_bytes: 1 << 16, salt: 1 };
        Log::open(disk.clone(), options).unwrap().0
    }

    #[test]
    fn writes_that_wait_share_a_sync_and_all_are_durable_in_order() {
        let disk = MemoryDisk::default();
        // The first batch holds the thread until everything is submitted.
        let (go, held) = mpsc::channel::<()>();
        let (done, durable) = mpsc::channel();
        let writer = Writer::start(open(&disk), move |result| {
            done.send(result.unwrap()).unwrap();
            let _ = held.recv();
        });
        writer.submit(SHARD_0, write(1));
        let first: Synced = durable.recv().unwrap();
        let syncs = disk.syncs();
        for index in 2..=1000 {
            writer.submit(SHARD_0, write(index));
        }
        drop(go);
        writer.stop();
        assert_eq!(disk.syncs() - syncs, 1, "999 writes that wait take one sync");
        let second = durable.recv().unwrap();
        assert!(durable.recv().is_err(), "nothing was written twice");
        assert!(first.began <= first.written && first.written <= first.ended && first.ended <= second.began);
        assert_eq!((first.entries, second.entries, second.bytes), (1, 999, 999 * first.bytes));
        let writes: Vec<_> = first.writes.into_iter().chain(second.writes).collect();
        let durable =
            |index| Durable { shard: SHARD_0, ticket: Ticket(index), entries: Some((Index(index), Index(index))) };
        assert_eq!(writes, (1..=1000).map(durable).collect::<Vec<_>>());
        let entries = open(&disk).reader().read(SHARD_0, Index(1), Index(1000), u64::MAX).unwrap();
        assert_eq!(entries.len(), 1000);
    }

    /// The queue is bounded: a caller that is faster than the disk waits, and loses nothing.
    #[test]
    fn more_writes_than_the_queue_holds_all_become_durable() {
        let disk = MemoryDisk::default();
        let writer = Writer::start(open(&disk), |result| assert!(result.is_ok()));
        for index in 1..=5 * QUEUE_WRITES_MAX as u64 {
            writer.submit(SHARD_0, write(index));
        }
        writer.stop();
        let last = Index(5 * QUEUE_WRITES_MAX as u64);
        assert_eq!(open(&disk).reader().read(SHARD_0, last, last, 1).unwrap().len(), 1);
    }

    #[test]
    fn a_failed_sync_is_reported_once_and_nothing_is_written_after_it() {
        let disk = MemoryDisk::default();
        let (done, durable) = mpsc::channel();
        let writer = Writer::start(open(&disk), move |result| done.send(result).unwrap());
        writer.submit(SHARD_0, write(1));
        assert!(durable.recv().unwrap().is_ok());
        disk.fail_syncs(true);
        writer.submit(SHARD_0, write(2));
        assert!(matches!(durable.recv().unwrap(), Err(Error::Io { operation: "sync", .. })));
        disk.fail_syncs(false);
        let operations = disk.operations();
        for index in 3..3000 {
            writer.submit(SHARD_0, write(index));
        }
        writer.stop();
        assert!(durable.recv().is_err(), "nothing more is reported");
        assert_eq!(disk.operations(), operations);
    }
}
