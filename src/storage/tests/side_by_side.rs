//! Several threads at once: appending, compacting, reading.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::storage::positions::{Positions, SharedPositions};

/// Old messages are read, from the store and through pins, while their files are written anew, recycled and overwritten.
#[test]
fn readers_find_what_lives_while_its_files_become_segments() {
    let (mut log, _) = open(&MemoryDisk::default());
    let old: Vec<u64> = (0..10).map(|n| n * 40 + 1).collect();
    put(&mut log, (1..=400).map(|index| command(1, index, &[index as u8; 100])).collect());
    let ended = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (store, old, ended) = (log.store(), old.clone(), ended.clone());
            std::thread::spawn(move || {
                let mut reads = 0;
                while !ended.load(Ordering::SeqCst) {
                    let pin = store.pin(SHARD_0);
                    for index in &old {
                        let expected = command(1, *index, &[*index as u8; 100]);
                        assert_eq!(store.reader().body(SHARD_0, Index(*index)).unwrap(), expected);
                        let pinned = pin.as_ref().map(|pin| pin.read_body(Index(*index)).unwrap().unwrap());
                        assert!(pinned.is_none_or(|record| record[33..] == [*index as u8; 100]));
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

/// What moves positions in many steps lets others go first after each of them.
#[test]
fn whoever_appends_waits_for_one_step_of_a_compaction() {
    let positions = Arc::new(SharedPositions::new(Positions::default()));
    let (steps, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let compaction = {
        let (positions, steps, ended) = (positions.clone(), steps.clone(), ended.clone());
        std::thread::spawn(move || {
            while !ended.load(Ordering::SeqCst) {
                let _step = positions.write_patiently();
                steps.fetch_add(1, Ordering::SeqCst);
                (0..2000).for_each(|n| {
                    std::hint::black_box(n);
                });
            }
        })
    };
    let mut waited = Vec::new();
    for _ in 0..500 {
        let before = steps.load(Ordering::SeqCst);
        let _turn = positions.write();
        waited.push(steps.load(Ordering::SeqCst) - before);
    }
    ended.store(true, Ordering::SeqCst);
    compaction.join().unwrap();
    waited.sort_unstable();
    // A thread that loses its processor between the two lines above has not waited for the lock: half of the time it does not.
    assert!(waited[250] <= 2, "{waited:?}");
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
