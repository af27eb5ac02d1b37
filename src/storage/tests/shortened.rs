//! Snapshots shorten the log: whatever happens, the log and all bodies that live are there.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::model::{Model, Step, World};
use super::*;

/// Does random things until one fails. Returns what there is for sure, what may be there instead, and the last thing tried.
fn live(disk: &MemoryDisk, seed: u64, steps: usize) -> (Model, Model, Option<Step>, Option<World>) {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let mut model = Model::default();
    let Ok((mut world, _)) = World::open(disk) else { return (Model::default(), Model::default(), None, None) };
    for _ in 0..steps {
        let step = model.next(rng);
        let mut after = model.clone();
        after.apply(&step);
        if let Err(error) = world.run(&step, &model).and_then(|()| world.check_pins()) {
            assert!(matches!(error, Error::Io { .. } | Error::Failed), "seed {seed}: {step:?}: {error}");
            return (model, after, Some(step), None);
        }
        model = after;
    }
    (model.clone(), model, None, Some(world))
}

#[test]
fn random_histories_agree_with_the_model() {
    let mut compacted = crate::storage::Compacted::default();
    let mut recycled = 0;
    for seed in 0..150 {
        let disk = MemoryDisk::default();
        let (model, _, _, world) = live(&disk, seed, 150);
        let world = world.unwrap();
        compacted.entries += world.compacted.entries;
        compacted.files_removed += world.compacted.files_removed;
        compacted.bytes_copied += world.compacted.bytes_copied;
        drop(world);
        recycled += recycled_segments(&disk);
        let (log, recovered) = open(&disk);
        model.check(&log, &recovered).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        assert_eq!(log.recovery().torn_tail, None, "seed {seed}");
    }
    assert!(compacted.entries > 1000 && compacted.files_removed > 100, "{compacted:?}");
    assert!(compacted.bytes_copied > 10_000 && recycled > 50, "{compacted:?}, {recycled} recycled");
}

/// After each operation on the disk, a crash that keeps a random part of what was not synced; the recovery is cut as well. What
/// there is then goes on.
#[test]
fn a_crash_at_every_step_of_a_random_history_loses_nothing() {
    let mut torn = 0;
    for seed in 0..12 {
        let whole = MemoryDisk::default();
        live(&whole, seed, 60);
        for operations in 0..=whole.operations() {
            let rng = &mut ChaCha8Rng::seed_from_u64(seed << 32 | operations);
            let disk = MemoryDisk::default();
            disk.cut_power_after(operations);
            let (durable, attempted, step, world) = live(&disk, seed, 60);
            drop(world);
            disk.crash(rng);
            disk.cut_power_after(rng.random_range(0..12));
            torn += u64::from(Log::open(disk.clone(), options()).is_ok_and(|(log, _)| log.recovery().torn_tail.is_some()));
            disk.crash(rng);

            let context = || format!("seed {seed}, after {operations} operations, at {step:?}");
            let (log, recovered) = Log::open(disk.clone(), options()).unwrap_or_else(|error| panic!("{}: {error}", context()));
            let mut voted = durable.clone();
            step.iter().for_each(|step| voted.apply_vote(step));
            let checks: Vec<_> = [&durable, &attempted, &voted].map(|model| (model, model.check(&log, &recovered))).into();
            let Some((model, _)) = checks.iter().find(|(_, check)| check.is_ok()) else {
                panic!("{}: {:?}", context(), checks.iter().map(|(_, check)| check).collect::<Vec<_>>());
            };
            drop(log);
            assert_nothing_is_left_over(&disk);
            // The bodies that a snapshot came with may be there: what was committed elsewhere does not change.
            let again = step.clone().filter(|step| matches!(step, Step::Install { .. }) && **model != attempted);
            assert_goes_on(&disk, (*model).clone(), again, rng, &context());
        }
    }
    assert!(torn > 10, "crashes must tear some frames: {torn}");
}

/// Every file on disk is one that a store which is opened again makes use of.
fn assert_nothing_is_left_over(disk: &MemoryDisk) {
    let before = crate::storage::Disk::list(disk).unwrap();
    let (log, _) = open(disk);
    assert_eq!(log.recovery().leftovers, 0, "{before:?}");
    let spares = before.iter().filter(|name| name.starts_with("spare-")).count();
    assert!(spares <= 4, "{before:?}");
}

fn assert_goes_on(disk: &MemoryDisk, mut model: Model, first: Option<Step>, rng: &mut ChaCha8Rng, context: &str) {
    let (mut world, _) = World::open(disk).unwrap();
    let mut first = first;
    for _ in 0..8 {
        let step = first.take().unwrap_or_else(|| model.next(rng));
        world.run(&step, &model).unwrap_or_else(|error| panic!("{context}, then {step:?}: {error}"));
        model.apply(&step);
    }
    for shard in [SHARD_0, SHARD_1] {
        world.run(&Step::Compact(shard), &model).unwrap_or_else(|error| panic!("{context}, then compacted: {error}"));
    }
    drop(world);
    disk.crash(rng);
    let (log, recovered) = open(disk);
    model.check(&log, &recovered).unwrap_or_else(|why| panic!("{why}, a while after {context}"));
}

fn recycled_segments(disk: &MemoryDisk) -> usize {
    let names = crate::storage::Disk::list(disk).unwrap();
    let version = |name: &String| {
        let mut header = [0; 12];
        crate::storage::Disk::open(disk, name).unwrap().read_at(0, &mut header).unwrap();
        header[8]
    };
    names.iter().filter(|name| name.starts_with("segment-") && name.ends_with(".log") && version(name) == 2).count()
}
