//! Reads of the log that wait for the disk without holding up anybody else.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::ids::{Index, ShardId};
use crate::raft::Entry;
use crate::storage::{self, Reader};

/// Reads at a time, each on a thread of its own. One more waits for its turn, in the order of asking.
const READS_MAX: usize = 16;

/// When the system has no file to give, a read is tried again after this long.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// A way to read the log from a task. Clones share the limit.
#[derive(Clone)]
pub struct LogReader {
    reader: Reader,
    free: Arc<Semaphore>,
}

impl LogReader {
    /// Reads with `reader`.
    pub fn new(reader: Reader) -> Self {
        Self { reader, free: Arc::new(Semaphore::new(READS_MAX)) }
    }

    /// As [`Reader::read`]. That the system has no file to give is no reason to fail: others close theirs, so this waits.
    ///
    /// # Errors
    /// As for [`Reader::read`], but for a lack of files.
    pub async fn read(
        &self,
        shard: ShardId,
        from: Index,
        to: Index,
        bytes_max: u64,
    ) -> Result<Vec<Entry>, storage::Error> {
        self.with_turn(shard, from, move |reader| reader.read(shard, from, to, bytes_max)).await
    }

    /// As [`Reader::body`], and as patient as `read`.
    ///
    /// # Errors
    /// As for [`Reader::body`], but for a lack of files.
    pub async fn body(&self, shard: ShardId, index: Index) -> Result<Entry, storage::Error> {
        self.with_turn(shard, index, move |reader| reader.body(shard, index)).await
    }

    async fn with_turn<T: Send + 'static>(
        &self,
        shard: ShardId,
        index: Index,
        read: impl Fn(&Reader) -> Result<T, storage::Error> + Clone + Send + 'static,
    ) -> Result<T, storage::Error> {
        let _turn = self.free.acquire().await.expect("nobody closes the semaphore");
        let mut told = false;
        loop {
            let (reader, read) = (self.reader.clone(), read.clone());
            let outcome = tokio::task::spawn_blocking(move || read(&reader)).await;
            // Reading does not panic: without a result the process is about to end, and the log is out of reach.
            match outcome.unwrap_or(Err(storage::Error::NotInLog { shard, index })) {
                Err(error) if error.lacks_files() => {
                    if !told {
                        tracing::warn!("waits with reading the log until there are fewer open files: {error}");
                    }
                    told = true;
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                outcome => return outcome,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::ids::{EntryId, SHARD_0, Term, Ticket};
    use crate::raft::{Payload, Write};
    use crate::storage::{Disk, File, Log, MemoryDisk, Options};

    /// A disk that, once the log is open, at first has no file to give to readers, and counts how often it is asked.
    #[derive(Clone, Default)]
    struct Scarce {
        disk: MemoryDisk,
        opened: Arc<AtomicU32>,
    }

    impl Disk for Scarce {
        fn list(&self) -> io::Result<Vec<String>> {
            self.disk.list()
        }

        fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
            self.disk.create(name)
        }

        fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
            if !name.starts_with("segment") {
                return self.disk.open(name);
            }
            match self.opened.fetch_add(1, Ordering::Relaxed) {
                0 => Err(rustix::io::Errno::MFILE.into()),
                1 => Err(rustix::io::Errno::NFILE.into()),
                _ => self.disk.open(name),
            }
        }

        fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            self.disk.rename(from, to)
        }

        fn remove(&self, name: &str) -> io::Result<()> {
            self.disk.remove(name)
        }

        fn sync_directory(&self) -> io::Result<()> {
            self.disk.sync_directory()
        }

        fn describe(&self, name: &str) -> String {
            self.disk.describe(name)
        }
    }

    #[tokio::test]
    async fn a_lack_of_files_is_waited_out_and_a_file_is_opened_once() {
        let disk = Scarce::default();
        let (mut log, _) = Log::open(disk.clone(), Options::default()).unwrap();
        let entries = vec![Entry { id: EntryId::new(Term(1), Index(1)), payload: Payload::Noop }];
        log.append(&[(
            SHARD_0,
            Write { ticket: Ticket(1), hard_state: None, snapshot: None, entries: entries.clone() },
        )])
        .unwrap();
        let reader = LogReader::new(log.reader());
        for _ in 0..20 {
            assert_eq!(reader.read(SHARD_0, Index(1), Index(1), u64::MAX).await.unwrap(), entries);
        }
        assert_eq!(disk.opened.load(Ordering::Relaxed), 3, "two that failed, and one for all reads");
    }
}
