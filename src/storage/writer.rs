//! The thread that writes the log: all writes that wait go into one frame and one sync.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::disk::Disk;
use super::error::Error;
use super::log::Log;
use crate::ids::{ShardId, Ticket};
use crate::raft::Write;

/// How many writes can wait. Replicas limit what they have in flight, so that this is reached only while the disk hangs.
const QUEUE_WRITES_MAX: usize = 1024;

/// After so many bytes of entries a frame takes no further writes.
const BATCH_BYTES_MAX: u64 = 8 << 20;

/// A write and whose it is.
type Queued = (ShardId, Write);

/// A handle to the writing thread. Dropping it does what `stop` does.
pub struct Writer {
    queue: Option<SyncSender<(ShardId, Write)>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. It calls `on_durable` after each sync with what became durable, in the order it was submitted.
    ///
    /// A write or sync that fails is not tried again: `on_durable` gets the error, once, and the thread ends. Nothing is known
    /// to be durable after that but what was reported before.
    pub fn start<D: Disk>(
        log: Log<D>,
        on_durable: impl FnMut(Result<Vec<(ShardId, Ticket)>, Error>) + Send + 'static,
    ) -> Self {
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
    mut on_durable: impl FnMut(Result<Vec<(ShardId, Ticket)>, Error>),
) {
    let mut held = None;
    while let Some(first) = held.take().or_else(|| waiting.recv().ok()) {
        let (batch, next) = drain(first, waiting);
        held = next;
        let written = log.append(&batch).and_then(|()| log.sync());
        let failed = written.is_err();
        on_durable(written.map(|()| batch.iter().map(|(shard, write)| (*shard, write.ticket)).collect()));
        if failed {
            return;
        }
    }
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
    write.entries.iter().map(crate::raft::Entry::size).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use bytes::Bytes;

    use super::*;
    use crate::ids::{EntryId, Index, SHARD_0, Term};
    use crate::raft::{Entry, Payload};
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
        let mut tickets = durable.recv().unwrap();
        let syncs = disk.syncs();
        for index in 2..=1000 {
            writer.submit(SHARD_0, write(index));
        }
        drop(go);
        writer.stop();
        assert_eq!(disk.syncs() - syncs, 1, "999 writes that wait take one sync");
        tickets.extend(durable.iter().flatten());
        let expected: Vec<_> = (1..=1000).map(|ticket| (SHARD_0, Ticket(ticket))).collect();
        assert_eq!(tickets, expected);
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
