//! TiKV's log engine (`raft-engine`), for the same load: every batch is synced, nothing is compressed, its files are prepared.

use protobuf::well_known_types::BytesValue;
use quorate::raft::{Entry, Payload};
use raft_engine::{Config, LogBatch, MessageExt, ReadableSize};
use tempfile::TempDir;

use crate::append::{BYTES_MAX, InTurn, Writes};

const GROUP: u64 = 1;

/// An entry as raft-engine wants it: a message of protobuf that tells its index. This one has the index in its first bytes.
struct Record;

impl MessageExt for Record {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        u64::from_le_bytes(entry.value[..8].try_into().expect("a record begins with its index"))
    }
}

pub struct Engine {
    engine: raft_engine::Engine,
    _directory: TempDir,
}

impl Engine {
    pub fn prepare() -> Self {
        let directory = TempDir::new().unwrap();
        let config = Config {
            dir: directory.path().to_str().expect("temporary directories have plain names").to_owned(),
            target_file_size: ReadableSize::mb(64),
            batch_compression_threshold: ReadableSize(0),
            purge_threshold: ReadableSize::gb(1),
            prefill_for_recycle: true,
            prefill_limit: Some(ReadableSize(BYTES_MAX * 5 / 4)),
            ..Config::default()
        };
        Self { engine: raft_engine::Engine::open(config).unwrap(), _directory: directory }
    }
}

impl InTurn for Engine {
    fn append(&mut self, writes: &Writes) {
        let entries: Vec<BytesValue> = writes.iter().flat_map(|write| &write.entries).map(record).collect();
        let mut batch = LogBatch::default();
        batch.add_entries::<Record>(GROUP, &entries).unwrap();
        self.engine.write(&mut batch, true).unwrap();
    }
}

fn record(entry: &Entry) -> BytesValue {
    let Payload::Command(bytes) = &entry.payload else { panic!("only commands are appended here") };
    let mut record = BytesValue::new();
    record.value = [&entry.id.index.0.to_le_bytes(), &bytes[..]].concat();
    record
}
