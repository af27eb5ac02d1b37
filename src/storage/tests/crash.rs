//! The power fails: what was synced is there, and never half a frame.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;

/// Writes the scenario until the power is cut. Returns the twin of what was reported durable, and the one with the frame
/// that was being written as well.
fn write_until_the_power_is_cut(disk: &MemoryDisk) -> (Twin, Twin) {
    let mut durable = Twin::default();
    let mut attempted = Twin::default();
    let Ok((mut log, _)) = Log::open(disk.clone(), options()) else { return (durable, attempted) };
    for writes in scenario() {
        attempted.append(&writes);
        if log.append(&writes).and_then(|()| log.sync()).is_err() {
            break;
        }
        durable = attempted.clone();
    }
    (durable, attempted)
}

fn found(disk: &MemoryDisk) -> (BTreeMap<ShardId, Recovered>, BTreeMap<ShardId, Vec<Entry>>) {
    let (log, recovered) = open(disk);
    let entries = read_all(&log, &recovered);
    (recovered, entries)
}

fn expected(twin: &Twin) -> (BTreeMap<ShardId, Recovered>, BTreeMap<ShardId, Vec<Entry>>) {
    (twin.recovered(), twin.read())
}

/// How many operations it takes to write the scenario.
fn operations_of_the_scenario() -> u64 {
    let disk = MemoryDisk::default();
    write_until_the_power_is_cut(&disk);
    disk.operations()
}

/// After each operation on the disk, a crash that keeps a random part of what was not synced. The recovery itself is cut as
/// well, at a random place, and then done again.
#[test]
fn a_crash_at_every_step_loses_nothing_durable_and_leaves_no_half_frame() {
    let mut torn = 0;
    let mut kept_unsynced = 0;
    for operations in 0..=operations_of_the_scenario() {
        for seed in 0..40 {
            let rng = &mut ChaCha8Rng::seed_from_u64(seed);
            let disk = MemoryDisk::default();
            disk.cut_power_after(operations);
            let (durable, attempted) = write_until_the_power_is_cut(&disk);
            disk.crash(rng);
            disk.cut_power_after(seed % 6);
            if let Ok((log, _)) = Log::open(disk.clone(), options()) {
                torn += u64::from(log.recovery().torn_tail.is_some());
            }
            disk.crash(rng);

            let after = found(&disk);
            let context = || format!("after {operations} operations, seed {seed}");
            assert!(after == expected(&durable) || after == expected(&attempted), "{}: {after:?}", context());
            kept_unsynced += u64::from(after != expected(&durable));
            assert_goes_on(&disk, &after.0, rng);
        }
    }
    assert!(torn > 10, "crashes must tear some frames: {torn}");
    assert!(kept_unsynced > 10, "crashes must keep some frames that were not synced: {kept_unsynced}");
}

/// What is appended after a crash survives the next one.
fn assert_goes_on(disk: &MemoryDisk, recovered: &BTreeMap<ShardId, Recovered>, rng: &mut ChaCha8Rng) {
    let (mut log, _) = open(disk);
    let next = recovered.get(&SHARD_0).map_or(Index(1), |shard| shard.last.next());
    put(&mut log, vec![command(9, next.0, b"after the crash")]);
    disk.crash(rng);
    let (_, again) = open(disk);
    assert_eq!(again[&SHARD_0].last, next);
}

/// What a recovery has told its replica must survive the next crash: the replica acts on it.
#[test]
fn what_a_recovery_found_is_durable() {
    for fail_syncs in [false, true] {
        let disk = MemoryDisk::default();
        let (mut log, _) = open(&disk);
        put(&mut log, vec![command(1, 1, b"durable")]);
        log.append(&[(SHARD_0, write(vec![command(1, 2, &[2; 900])]))]).unwrap();
        // The process dies before the sync, or because of a failed one; the cache of the system still has the frame.
        disk.fail_syncs(fail_syncs);
        assert_eq!(log.sync().is_err(), fail_syncs);
        disk.fail_syncs(false);
        drop(log);
        let (_, recovered) = open(&disk);
        for seed in 0..20 {
            let after = disk.duplicate();
            after.crash(&mut ChaCha8Rng::seed_from_u64(seed));
            assert_eq!(open(&after).1, recovered, "seed {seed}");
        }
    }
}

#[test]
fn a_failed_sync_is_not_tried_again() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk);
    put(&mut log, vec![command(1, 1, b"")]);
    log.append(&[(SHARD_0, write(vec![command(1, 2, b"")]))]).unwrap();
    disk.fail_syncs(true);
    assert!(matches!(log.sync(), Err(Error::Io { operation: "sync", .. })));
    disk.fail_syncs(false);
    let before = disk.operations();
    assert!(matches!(log.sync(), Err(Error::Failed)));
    assert!(matches!(log.append(&[(SHARD_0, write(vec![command(1, 3, b"")]))]), Err(Error::Failed)));
    assert_eq!(disk.operations(), before, "the disk is left alone");
}

#[test]
fn a_full_disk_is_an_error_that_names_the_file_and_loses_nothing() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk);
    put(&mut log, vec![command(1, 1, &[1; 100])]);
    disk.limit_bytes(Some(1000));
    let error = log.append(&[(SHARD_0, write(vec![command(1, 2, &[2; 1200])]))]).unwrap_err();
    assert!(error.to_string().contains("segment-0000000000000001.log"), "{error}");
    let Error::Io { source, .. } = error else { panic!("not an error of the system") };
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
    disk.limit_bytes(None);
    assert!(matches!(log.sync(), Err(Error::Failed)));
    assert!(matches!(log.append(&[(SHARD_0, write(vec![command(1, 2, b"")]))]), Err(Error::Failed)));

    let (log, recovered) = open(&disk);
    assert_eq!(recovered[&SHARD_0].last, Index(1));
    assert!(log.recovery().torn_tail.is_some());
}

/// The disk model itself: the same seed makes the same disk, and different seeds make different ones.
#[test]
fn crashes_are_deterministic_and_various() {
    let crashed = |seed| {
        let disk = MemoryDisk::default();
        disk.cut_power_after(operations_of_the_scenario() - 1);
        write_until_the_power_is_cut(&disk);
        disk.crash(&mut ChaCha8Rng::seed_from_u64(seed));
        format!("{:?}", found(&disk))
    };
    let outcomes: std::collections::BTreeSet<String> = (0..20).map(crashed).collect();
    assert_eq!(crashed(3), crashed(3));
    assert_eq!(outcomes.len(), 2, "the last frame survives or not");
}
