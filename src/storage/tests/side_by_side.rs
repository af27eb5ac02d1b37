//! Several threads at once: appending, compacting, reading.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::storage::{File, Store, outgoing, transfer};

/// Old messages are read, from the store and through pins, while their files are written anew, recycled and overwritten.
#[test]
fn readers_find_what_lives_while_its_files_become_segments() {
    let (mut log, _) = open(&MemoryDisk::default());
    let old: Vec<u64> = (0..10).map(|n| n * 40 + 1).collect();
    put(&mut log, (1..=400).map(|index| command(1, index, &[fill(index); 100])).collect());
    let ended = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (store, old, ended) = (log.store(), old.clone(), ended.clone());
            std::thread::spawn(move || {
                let mut reads = 0;
                while !ended.load(Ordering::SeqCst) {
                    let pin = store.pin(SHARD_0);
                    for index in &old {
                        let expected = command(1, *index, &[fill(*index); 100]);
                        assert_eq!(store.reader().body(SHARD_0, Index(*index)).unwrap(), expected);
                        let pinned = pin.as_ref().map(|pin| pin.read_body(Index(*index)).unwrap().unwrap());
                        assert!(pinned.is_none_or(|record| record[33..] == [fill(*index); 100]));
                        reads += 1;
                    }
                }
                reads
            })
        })
        .collect();
    let mut files_removed = 0;
    for round in 0..150 {
        let first = 401 + round * 30;
        put(&mut log, (first..first + 30).map(|index| command(1, index, &[3; 100])).collect());
        let young = (first..first + 30).filter(|index| index % 3 == 0);
        files_removed += shorten(&log, first + 29, &living(old.iter().copied().chain(young))).files_removed;
    }
    ended.store(true, Ordering::SeqCst);
    let reads: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
    assert!(files_removed > 100 && reads > 100, "{files_removed} files removed, {reads} reads");
}

/// A disk on which something happens before bytes of a certain file are read.
struct Meddled {
    disk: MemoryDisk,
    meddle: Arc<Mutex<Option<Meddle>>>,
}

type Meddle = (String, Box<dyn FnOnce() + Send>);

struct MeddledFile {
    name: String,
    file: Arc<dyn File>,
    meddle: Arc<Mutex<Option<Meddle>>>,
}

impl Disk for Meddled {
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.disk.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let (name, file, meddle) = (name.to_owned(), self.disk.open(name)?, self.meddle.clone());
        Ok(Arc::new(MeddledFile { name, file, meddle }))
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

impl File for MeddledFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let meddle = self.meddle.lock().unwrap().take_if(|(name, _)| *name == self.name);
        if let Some((_, meddle)) = meddle {
            meddle();
        }
        self.file.read_at(offset, into)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// Between looking a body up and reading it, it is written elsewhere, and its file becomes a segment with other entries in it.
#[test]
fn a_body_that_moves_while_it_is_read_is_read_where_it_is_then() {
    let meddle = Arc::new(Mutex::new(None));
    let disk = Meddled { disk: MemoryDisk::default(), meddle: meddle.clone() };
    let (mut log, _) = Log::open(disk, options()).unwrap();
    let mut put = move |index: u64, count: u64| {
        log.append(&[(SHARD_0, write((index..index + count).map(|n| command(1, n, &[fill(n); 180])).collect()))])
            .unwrap();
        log.sync().unwrap();
        log.store()
    };
    put(1, 9);
    let store = put(10, 9);
    let compact = |store: &Store, last, indexes: &[u64]| {
        let last = EntryId::new(Term(1), Index(last));
        let name = format!("snapshot-{last}");
        store.disk().create("snapshot-written").unwrap();
        store.commit_snapshot(SHARD_0, "snapshot-written", &name, last, 0, last).unwrap();
        store.compact(SHARD_0, last, &living(indexes.iter().copied()), &mut at_once).unwrap();
    };
    compact(&store, 17, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let happens = move || {
        let store = put(19, 1);
        compact(&store, 18, &[3]);
        for round in 0..4 {
            put(20 + 9 * round, 9);
        }
    };
    *meddle.lock().unwrap() = Some(("segment-0000000000000001.log".to_owned(), Box::new(happens)));
    assert_eq!(store.reader().body(SHARD_0, Index(3)).unwrap(), command(1, 3, &[fill(3); 180]));
    assert!(meddle.lock().unwrap().is_none(), "it has happened");
    assert!(!store.disk().list().unwrap().contains(&"segment-0000000000000001.log".to_owned()));
}

/// One step moves so many entries and no more.
#[test]
fn a_step_is_bounded() {
    let (mut log, _) = open(&MemoryDisk::default());
    put(&mut log, (1..=5000).map(|index| command(1, index, b"")).collect());
    let mut positions = log.store().shard(SHARD_0);
    let most = crate::storage::store::STEP_ENTRIES_MAX as u64;
    assert_eq!((most, positions.advance(Index(5000), most, |_| true), positions.start()), (1000, 1000, Index(1000)));
    assert_eq!((positions.bodies().len(), positions.entries()), (1000, 4000));
}

/// A compaction goes on, and so do those who write the log, read it or tell how the disk is used, while somebody waits for the
/// disk to change which files are in force.
#[test]
fn nobody_who_only_looks_waits_for_a_change_of_files() {
    let (mut log, _) = open(&MemoryDisk::default());
    put(&mut log, (1..=9).map(|index| command(1, index, &[7; 100])).collect());
    shorten(&log, 3, &living([1]));
    let store = log.store();
    let outgoing = outgoing::Outgoing::new(store.clone(), outgoing::Limits { receivers_max: 2, ..Default::default() });
    let last = EntryId::new(Term(1), Index(3));
    let request = transfer::Request { shard: SHARD_0, last, bytes_max: 10, piece: transfer::Piece::File { offset: 0 } };
    let ask = |node| outgoing.answer(crate::ids::Time::default(), NodeId(node), &request).unwrap();
    ask(1);
    let changes = store.changes();
    let pinned = std::thread::scope(|scope| {
        // This one waits for the change, to see one state of files.
        let pins = scope.spawn(|| ask(2));
        std::thread::yield_now();
        assert_eq!(store.usage().unwrap().living, 1);
        assert!(matches!(ask(1), transfer::Reply::Piece { .. }));
        assert_eq!(outgoing.status().len(), 1);
        put(&mut log, vec![command(1, 10, b"")]);
        drop(changes);
        pins.join().unwrap()
    });
    assert!(matches!(pinned, transfer::Reply::Piece { .. }));
    let changes = store.changes();
    outgoing.expire(crate::ids::Time::default() + Duration::from_secs(1 << 20));
    drop(changes);
    assert!(outgoing.status().is_empty());
}

/// Bodies come from another node while a compaction looks for files with nothing alive.
#[test]
fn a_file_that_is_being_added_is_not_taken_for_dead() {
    let (mut log, _) = Log::open(MemoryDisk::default(), Options { segment_bytes: 1 << 20, ..options() }).unwrap();
    put(&mut log, (1..=3).map(|index| command(1, index, &[7; 100])).collect());
    shorten(&log, 3, &living([1]));
    let store = log.store();
    let ended = AtomicBool::new(false);
    let compacts = || {
        while !ended.load(Ordering::SeqCst) {
            store.compact(SHARD_0, EntryId::new(Term(1), Index(3)), &living([1]), &mut at_once).unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(compacts);
        for file in 0..20 {
            let mut out = crate::storage::BodiesWriter::create(&store).unwrap();
            for index in 100 + file * 3000..100 + (file + 1) * 3000 {
                let mut record = Vec::new();
                crate::storage::record::encode_entry(SHARD_0, &command(1, index, b"received"), &mut record);
                out.push(SHARD_0, Index(index), &record).unwrap();
            }
            store.add_bodies(out.finish().unwrap()).unwrap();
        }
        ended.store(true, Ordering::SeqCst);
    });
    for index in (100..100 + 20 * 3000).step_by(37) {
        assert_eq!(store.reader().body(SHARD_0, Index(index)).unwrap(), command(1, index, b"received"));
    }
}
