//! The disk refuses: what is in force stays in force, nothing is left lying about, and what is not known is not made worse.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::storage::{BodiesWriter, FinishedBodies, Store};

fn id(index: u64) -> EntryId {
    EntryId::new(Term(1), Index(index))
}

fn write_snapshot(store: &Store) {
    store.disk().create("snapshot-written").unwrap().write_at(0, b"state").unwrap();
}

fn commit(store: &Store, last: u64) -> Result<(), Error> {
    store.commit_snapshot(SHARD_0, "snapshot-written", &format!("snapshot-{last}"), id(last), 5, id(last))
}

fn bodies(store: &Store, index: u64) -> Result<FinishedBodies, Error> {
    let mut out = BodiesWriter::create(store)?;
    let mut record = Vec::new();
    crate::storage::record::encode_entry(SHARD_0, &command(1, index, b"received"), &mut record);
    out.push(SHARD_0, Index(index), &record)?;
    out.finish()
}

/// A log with some entries and a snapshot.
fn begin(disk: &MemoryDisk) -> Log<MemoryDisk> {
    let (mut log, _) = open(disk);
    put(&mut log, (1..=9).map(|index| command(1, index, &[fill(index); 100])).collect());
    shorten(&log, 3, &living([1]));
    log
}

/// A sync of the directory failed, whatever the next ones say: what was renamed may come back under its old name.
#[test]
fn nothing_is_changed_once_it_is_not_known_what_is_in_force() {
    let disk = MemoryDisk::default();
    let mut log = begin(&disk);
    let store = log.store();
    write_snapshot(&store);
    let finished = bodies(&store, 20).unwrap();
    let before = disk.list().unwrap();
    disk.fail_syncs(true);
    assert!(!store.has_failed());
    assert!(matches!(commit(&store, 6), Err(Error::Io { operation: "sync", .. })));
    disk.fail_syncs(false);
    assert!(store.has_failed());
    for _ in 0..2 {
        let attempts = [
            commit(&store, 6),
            bodies(&store, 21).and_then(|finished| store.add_bodies(finished)),
            store.compact(SHARD_0, id(3), &[], &mut at_once).map(drop),
        ];
        for (at, attempt) in attempts.into_iter().enumerate() {
            assert!(matches!(attempt, Err(Error::FilesUnknown)), "attempt {at}: {attempt:?}");
        }
        write_snapshot(&store);
    }
    disk.remove("snapshot-written").unwrap();
    assert!(matches!(store.add_bodies(finished), Err(Error::FilesUnknown)));
    let left: Vec<String> = disk.list().unwrap();
    let expected: Vec<String> =
        before.into_iter().filter(|name| !name.starts_with("bodies") && name != "snapshot-written").collect();
    assert_eq!(left, expected, "no attempt leaves a file");
    // The log goes on in its segment, and does not begin another one.
    put(&mut log, vec![command(1, 10, b"small")]);
    let error = log.append(&[(SHARD_0, write(vec![command(1, 11, &[1; 1900])]))]).unwrap_err();
    assert!(matches!(error, Error::FilesUnknown), "{error}");
    drop((log, store));
    for seed in 0..20 {
        let after = disk.duplicate();
        after.crash(&mut ChaCha8Rng::seed_from_u64(seed));
        let (log, recovered) = open(&after);
        assert_eq!((recovered[&SHARD_0].snapshot, recovered[&SHARD_0].last), (id(3), Index(10)));
        assert_eq!(log.reader().body(SHARD_0, Index(1)).unwrap(), command(1, 1, &[fill(1); 100]));
    }
}

/// Whether the old manifest or the other one is on disk is not known: what either names is left alone.
#[test]
fn what_perhaps_is_in_force_is_left_alone() {
    let disk = MemoryDisk::default();
    let log = begin(&disk);
    let store = log.store();
    let operations = {
        let other = disk.duplicate();
        let (log, _) = open(&other);
        write_snapshot(&log.store());
        let before = other.operations();
        commit(&log.store(), 6).unwrap();
        other.operations() - before
    };
    write_snapshot(&store);
    // Of the last operations one syncs the directory, and one removes the old file.
    disk.cut_power_after(operations - 2);
    commit(&store, 6).unwrap_err();
    assert!(store.has_failed());
    drop((log, store));
    let mut found = BTreeMap::new();
    for seed in 0..40 {
        let after = disk.duplicate();
        after.crash(&mut ChaCha8Rng::seed_from_u64(seed));
        *found.entry(open(&after).1[&SHARD_0].snapshot).or_insert(0) += 1;
    }
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [id(3), id(6)], "{found:?}");
}

#[test]
fn what_a_full_disk_refuses_leaves_nothing_and_can_be_done_later() {
    let disk = MemoryDisk::default();
    let log = begin(&disk);
    let store = log.store();
    let before = disk.list().unwrap();
    let finished = bodies(&store, 20).unwrap();
    write_snapshot(&store);
    disk.limit_bytes(Some(0));
    for attempt in [store.add_bodies(finished), commit(&store, 6), bodies(&store, 21).map(drop)] {
        assert!(attempt.unwrap_err().is_full_disk());
    }
    assert_eq!(disk.list().unwrap(), before);
    assert!(!store.has_failed());
    disk.limit_bytes(None);
    store.add_bodies(bodies(&store, 20).unwrap()).unwrap();
    write_snapshot(&store);
    commit(&store, 6).unwrap();
    drop((log, store));
    assert_eq!(open(&disk).0.recovery().leftovers, 0);
}

/// A snapshot whose entry never becomes durable, or whose file has gone, leaves nothing either.
#[test]
fn a_snapshot_that_is_not_put_in_force_is_removed() {
    let disk = MemoryDisk::default();
    let log = begin(&disk);
    let store = log.store();
    let before = disk.list().unwrap();
    assert!(matches!(commit(&store, 6), Err(Error::Io { operation: "rename", .. })), "there is no such file");
    drop(log);
    write_snapshot(&store);
    assert!(matches!(commit(&store, 99), Err(Error::Failed)));
    assert_eq!(disk.list().unwrap(), before);
}

/// The change is in force: that a file which it made superfluous cannot be removed is no error of it.
#[test]
fn a_file_that_cannot_be_removed_goes_at_the_next_start() {
    let disk = MemoryDisk::default();
    let mut log = begin(&disk);
    for index in 10..40 {
        put(&mut log, vec![command(1, index, &[fill(index); 500])]);
    }
    disk.fail_removals(true);
    let done = shorten(&log, 39, &living([]));
    assert!(done.files_removed > 6, "{done:?}");
    write_snapshot(&log.store());
    assert!(matches!(commit(&log.store(), 3), Err(Error::Superseded { .. })));
    disk.fail_removals(false);
    let chain = disk.list().unwrap().iter().filter(|name| name.starts_with("segment-")).count();
    assert!(chain > 2, "some could not be removed");
    drop(log);
    let (log, recovered) = open(&disk);
    assert_eq!(recovered[&SHARD_0].snapshot, id(39));
    assert!(log.recovery().leftovers > 2, "{:?}", log.recovery());
    drop(log);
    assert_eq!(open(&disk).0.recovery().leftovers, 0);
}
