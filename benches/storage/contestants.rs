//! Who appends. Each has files whose blocks are written already, which is how a node runs once its first segments are full.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use quorate::ids::{SHARD_0, ShardId};
use quorate::raft::Write;
use quorate::storage::{FileDisk, Log, Options, Writer};
use tempfile::TempDir;

use crate::append::{BYTES_MAX, InTurn, Load, Measured, Progress, Source, Writes};

const FILE_BYTES: u64 = 64 << 20;

/// What a frame takes besides its records.
const FRAME_BYTES: u64 = 32;

/// What a record takes besides what `Entry::size` counts.
const RECORD_BYTES: u64 = 1;

/// The least that anybody can do: the same bytes to a file that need not grow, and fdatasync.
pub struct Bare {
    file: File,
    end: u64,
    bytes: Vec<u8>,
    _directory: TempDir,
}

impl Bare {
    pub fn prepare() -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("bare");
        fill(&path);
        let file = File::options().write(true).open(path).unwrap();
        Self { file, end: 0, bytes: Vec::new(), _directory: directory }
    }
}

impl InTurn for Bare {
    fn append(&mut self, writes: &Writes) {
        let entries = writes.iter().flat_map(|write| &write.entries);
        let length = FRAME_BYTES + entries.map(|entry| RECORD_BYTES + entry.size()).sum::<u64>();
        self.bytes.resize(length as usize, 7);
        if self.end + length > FILE_BYTES {
            self.end = 0;
        }
        self.file.write_all_at(&self.bytes, self.end).unwrap();
        self.file.sync_data().unwrap();
        self.end += length;
    }
}

/// The log, called by who measures.
pub struct Direct {
    log: Log<FileDisk>,
    _directory: TempDir,
}

impl Direct {
    pub fn prepare() -> Self {
        let (log, directory) = open_log();
        Self { log, _directory: directory }
    }
}

impl InTurn for Direct {
    fn append(&mut self, writes: &Writes) {
        let writes: Vec<(ShardId, Write)> = writes.iter().map(|write| (SHARD_0, write.clone())).collect();
        self.log.append(&writes).unwrap();
        self.log.sync().unwrap();
    }
}

/// The log behind its thread, as a node uses it.
pub struct Threaded {
    writer: Writer,
    durable: Receiver<usize>,
    _directory: TempDir,
}

impl Threaded {
    pub fn prepare() -> Self {
        let (log, directory) = open_log();
        let (done, durable) = channel();
        let writer = Writer::start(log, move |result| {
            // Who has measured enough does not listen any more.
            let _ = done.send(result.unwrap().writes.len());
        });
        Self { writer, durable, _directory: directory }
    }

    pub fn measure(self, load: Load, time: Duration) -> Measured {
        let mut source = Source::new(load);
        let mut progress = Progress::new(load, time);
        let mut submitted = VecDeque::new();
        while progress.goes_on() {
            while (submitted.len() as u64) < load.outstanding {
                submitted.push_back(Instant::now());
                self.writer.submit(SHARD_0, source.write());
            }
            let count = self.durable.recv().unwrap();
            submitted.drain(..count).for_each(|start| progress.add(start.elapsed(), 1));
        }
        progress.measured()
    }
}

/// With files to recycle.
fn open_log() -> (Log<FileDisk>, TempDir) {
    let directory = TempDir::new().unwrap();
    for number in 1..=BYTES_MAX / FILE_BYTES * 5 / 4 {
        fill(&directory.path().join(format!("spare-{number:016x}.log")));
    }
    let options = Options { segment_bytes: FILE_BYTES, ..Options::default() };
    (Log::open(FileDisk::new(directory.path()), options).unwrap().0, directory)
}

/// A file of zeros, on disk.
fn fill(path: &Path) {
    fs::write(path, vec![0; FILE_BYTES as usize]).unwrap();
    File::open(path).unwrap().sync_all().unwrap();
}
