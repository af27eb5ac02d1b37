//! Snapshots shorten the log: whatever happens, the log and all bodies that live are there.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::model::{Model, Step, World};
use super::*;

/// What came of doing random things until one failed.
struct Lived {
    /// What there is for sure.
    model: Model,
    /// What was tried last, if that failed.
    failed: Option<Step>,
    compacted: Compacted,
}

/// Does random things to a store that holds what `model` says.
fn live(disk: &MemoryDisk, mut model: Model, rng: &mut ChaCha8Rng, steps: usize) -> Lived {
    let Ok((mut world, _)) = World::open(disk) else {
        return Lived { model, failed: None, compacted: Compacted::default() };
    };
    for _ in 0..steps {
        let step = model.next(rng);
        if let Err(error) = world.run(&step, &model).and_then(|()| world.check_pins()) {
            assert!(matches!(error, Error::Io { .. } | Error::Failed), "{step:?}: {error}");
            return Lived { model, failed: Some(step), compacted: world.compacted };
        }
        model.apply(&step);
    }
    Lived { model, failed: None, compacted: world.compacted }
}

#[test]
fn random_histories_agree_with_the_model() {
    let mut compacted = Compacted::default();
    let mut recycled = 0;
    for seed in 0..100 {
        let disk = MemoryDisk::default();
        let lived = live(&disk, Model::default(), &mut ChaCha8Rng::seed_from_u64(seed), 150);
        compacted.entries += lived.compacted.entries;
        compacted.files_removed += lived.compacted.files_removed;
        compacted.bytes_copied += lived.compacted.bytes_copied;
        recycled += recycled_segments(&disk);
        let (log, recovered) = open(&disk);
        lived.model.check(&log, &recovered).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        assert_eq!(log.recovery().torn_tail, None, "seed {seed}");
    }
    assert!(compacted.entries > 1000 && compacted.files_removed > 100, "{compacted:?}");
    assert!(compacted.bytes_copied > 10_000 && recycled > 50, "{compacted:?}, {recycled} recycled");
}

/// After each operation on the disk, a crash that keeps a random part of what was not synced; the recovery is cut as well. What
/// there is then goes on.
#[test]
fn a_crash_at_every_step_of_a_random_history_loses_nothing() {
    let mut cut = BTreeMap::new();
    let mut torn = 0;
    for seed in 0..12 {
        let before = MemoryDisk::default();
        let Lived { model, .. } = live(&before, Model::default(), &mut ChaCha8Rng::seed_from_u64(seed), 100);
        let whole = before.duplicate();
        live(&whole, model.clone(), &mut ChaCha8Rng::seed_from_u64(seed), 12);
        for operations in 0..=whole.operations() - before.operations() {
            let disk = before.duplicate();
            disk.cut_power_after(operations);
            let lived = live(&disk, model.clone(), &mut ChaCha8Rng::seed_from_u64(seed), 12);
            let rng = &mut ChaCha8Rng::seed_from_u64(seed << 32 | operations);
            // Only the process may have died: then nothing is lost yet, and nothing is durable either.
            if rng.random() {
                disk.crash(rng);
            }
            disk.cut_power_after(rng.random_range(0..12));
            let again = Log::open(disk.clone(), options());
            torn += u64::from(again.is_ok_and(|(log, _)| log.recovery().torn_tail.is_some()));
            disk.crash(rng);
            *cut.entry(lived.failed.as_ref().map(Step::name)).or_insert(0) += 1;
            assert_survived(&disk, &lived, rng, &format!("seed {seed}, {operations} operations"));
        }
    }
    assert!(torn > 0, "crashes must tear some frames: {torn}");
    for step in ["append", "snapshot", "compact", "compact beside a frame", "install"] {
        assert!(cut.get(&Some(step)).is_some_and(|cut| *cut > 50), "each step must be cut at many places: {cut:?}");
    }
}

/// The process dies during a compaction, and the power fails while the next one recovers: the manifest that was found may be lost
/// again, and the files that the one before names are there.
#[test]
fn a_recovery_removes_nothing_before_it_is_certain_what_is_in_force() {
    let before = MemoryDisk::default();
    let (mut log, _) = open(&before);
    for index in 1..=8 {
        put(&mut log, vec![command(1, index, &[fill(index); 800])]);
    }
    shorten(&log, 8, &living(1..=8));
    put(&mut log, vec![command(1, 9, &[fill(9); 1900])]);
    let last = EntryId::new(Term(1), Index(9));
    take_snapshot(&log, last);
    drop(log);
    let compact = |disk: &MemoryDisk| {
        let (log, _) = Log::open(disk.clone(), options())?;
        log.store().compact(SHARD_0, last, &living([2, 5]), &mut at_once)
    };
    let whole = before.duplicate();
    compact(&whole).unwrap();
    for operations in 0..=whole.operations() - before.operations() {
        for (cut, seed) in (0..8).flat_map(|cut| (0..8).map(move |seed| (cut, seed))) {
            let disk = before.duplicate();
            disk.cut_power_after(operations);
            let _ = compact(&disk);
            disk.cut_power_after(cut);
            let _ = Log::open(disk.clone(), options());
            disk.crash(&mut ChaCha8Rng::seed_from_u64(seed));
            let opened = Log::open(disk.clone(), options());
            let (log, _) =
                opened.unwrap_or_else(|error| panic!("{operations}, {cut} operations, seed {seed}: {error}"));
            for index in [2, 5] {
                let body = log.reader().body(SHARD_0, Index(index)).unwrap();
                assert_eq!(body, command(1, index, &[fill(index); 800]));
            }
        }
    }
}

/// The entries of a new leader take the place of those that the log begins with. As long as they are not durable, those before
/// them are needed: a crash brings them back.
#[test]
fn a_compaction_keeps_what_a_frame_that_is_not_durable_has_cut() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk);
    let old = [3, 4].map(|index| command(1, index, &[fill(index); 400]));
    put(&mut log, (1..=2).map(|index| command(1, index, &[fill(index); 400])).chain(old.clone()).collect());
    log.append(&[(SHARD_1, write(vec![command(1, 1, &[fill(1); 1500])]))]).unwrap();
    log.sync().unwrap();
    take_snapshot(&log, EntryId::new(Term(1), Index(2)));
    let other = command(2, 3, &[fill(3); 900]);
    log.append(&[(SHARD_0, write(vec![other.clone()]))]).unwrap();
    log.store().compact(SHARD_0, EntryId::new(Term(1), Index(2)), &living([]), &mut at_once).unwrap();
    let mut came_back = 0;
    for seed in 0..40 {
        let after = disk.duplicate();
        after.crash(&mut ChaCha8Rng::seed_from_u64(seed));
        let (log, _) = open(&after);
        let read = log.reader().read(SHARD_0, Index(3), Index(9), u64::MAX).unwrap();
        assert!(read == old || read == [other.clone()], "seed {seed}: {read:?}");
        came_back += u64::from(read == old);
    }
    assert!(came_back > 5, "{came_back}");
    // Once it is durable, nothing is kept for what it has cut.
    log.sync().unwrap();
    log.store().compact(SHARD_0, EntryId::new(Term(1), Index(2)), &living([]), &mut at_once).unwrap();
    assert!(!disk.list().unwrap().contains(&"segment-0000000000000001.log".to_owned()));
}

/// All that was done for sure is there, and what was tried last as a whole or not at all.
fn assert_survived(disk: &MemoryDisk, lived: &Lived, rng: &mut ChaCha8Rng, context: &str) {
    let (log, recovered) = Log::open(disk.clone(), options()).unwrap_or_else(|error| panic!("{context}: {error}"));
    let done = lived.model.clone();
    let [mut tried, mut voted] = [done.clone(), done.clone()];
    lived.failed.iter().for_each(|step| tried.apply(step));
    lived.failed.iter().for_each(|step| voted.apply_vote(step));
    let checks: Vec<_> = [done, voted, tried.clone()].map(|model| (model.check(&log, &recovered), model)).into();
    let Some((_, model)) = checks.iter().find(|(check, _)| check.is_ok()).cloned() else {
        let whys: Vec<_> = checks.into_iter().map(|(check, _)| check.unwrap_err()).collect();
        panic!("{context}: {whys:?} at {:?}", lived.failed);
    };
    drop(log);
    assert_nothing_is_left_over(disk);
    // The bodies that a snapshot came with may be there: what was committed elsewhere does not change.
    let again = lived.failed.clone().filter(|step| step.name() == "install" && model != tried);
    assert_goes_on(disk, model, again, rng, context);
}

/// Every file on disk is one that a store which is opened again makes use of.
fn assert_nothing_is_left_over(disk: &MemoryDisk) {
    let before = disk.list().unwrap();
    let (log, _) = open(disk);
    assert_eq!(log.recovery().leftovers, 0, "{before:?}");
    let spares = before.iter().filter(|name| name.starts_with("spare-")).count();
    assert!(spares <= 4, "{before:?}");
}

fn assert_goes_on(disk: &MemoryDisk, mut model: Model, first: Option<Step>, rng: &mut ChaCha8Rng, context: &str) {
    let (mut world, _) = World::open(disk).unwrap();
    // What came with a snapshot that is not in force yet is not for a compaction to judge.
    let compactions = [SHARD_0, SHARD_1].map(Step::Compact);
    let mut first = compactions.into_iter().filter(|_| first.is_some()).chain(first.clone());
    for _ in 0..8 {
        let step = first.next().unwrap_or_else(|| model.next(rng));
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
    let names = disk.list().unwrap();
    let version = |name: &String| {
        let mut header = [0; 12];
        disk.open(name).unwrap().read_at(0, &mut header).unwrap();
        header[8]
    };
    names.iter().filter(|name| name.starts_with("segment-") && name.ends_with(".log") && version(name) == 2).count()
}
