//! What is written is read back, from the same log and after it was opened again.

use proptest::prelude::*;

use super::*;
use crate::storage::FileDisk;

#[test]
fn a_log_that_was_never_written_recovers_nothing() {
    let (log, recovered) = open(&MemoryDisk::default());
    assert!(recovered.is_empty());
    assert!(matches!(log.reader().read(SHARD_0, Index(1), Index(9), 100), Err(Error::NotInLog { .. })));
    assert_eq!(*log.recovery(), crate::storage::RecoveryReport::default());
}

#[test]
fn every_step_of_the_scenario_survives_a_restart() {
    let disk = MemoryDisk::default();
    let mut twin = Twin::default();
    for writes in scenario() {
        let (mut log, _) = open(&disk);
        log.append(&writes).unwrap();
        log.sync().unwrap();
        twin.append(&writes);
        assert_eq!(read_all(&log, &twin.recovered()), twin.read());

        let (log, recovered) = open(&disk);
        assert_eq!(recovered, twin.recovered());
        assert_eq!(read_all(&log, &recovered), twin.read());
    }
    let (log, _) = open(&disk);
    assert!(log.recovery().segments >= 3, "{:?}", log.recovery());
    assert_eq!(log.recovery().frames, scenario().len() as u64);
    assert_eq!(log.recovery().torn_tail, None);
}

/// The first frame of each segment tells all hard states: the last segment alone is enough to know them.
#[test]
fn each_segment_repeats_the_hard_states() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk);
    let vote = |term| Write { hard_state: Some(hard_state(term, 5)), ..write(vec![]) };
    log.append(&[(SHARD_0, vote(3)), (SHARD_1, vote(4))]).unwrap();
    log.sync().unwrap();
    put(&mut log, vec![command(3, 1, &[1; 1500])]);
    put(&mut log, vec![command(3, 2, &[2; 1500])]);
    let file = disk.open("segment-0000000000000002.log").unwrap();
    let mut bytes = vec![0; file.size().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    for (shard, term) in [(SHARD_0, 3), (SHARD_1, 4)] {
        let mut record = Vec::new();
        crate::storage::record::encode_hard_state(shard, hard_state(term, 5), &mut record);
        assert!(bytes.windows(record.len()).any(|window| window == record), "shard {shard}");
    }
}

/// A sync is slow where the file grows: it grows by whole steps, ahead of what is written.
#[test]
fn the_file_grows_rarely_and_ahead() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk);
    let mut sizes = Vec::new();
    for index in 1..=15 {
        put(&mut log, vec![command(1, index, &[0; 40])]);
        sizes.push(disk.open("segment-0000000000000001.log").unwrap().size().unwrap());
    }
    sizes.dedup();
    assert_eq!(sizes, [512, 1024, 1536, 2048]);
}

#[test]
fn a_read_stops_after_the_bytes_it_may_return_but_returns_one_entry() {
    let (mut log, _) = open(&MemoryDisk::default());
    put(&mut log, (1..=10).map(|index| command(1, index, &[0; 67])).collect());
    let count = |from, to, bytes_max| log.reader().read(SHARD_0, Index(from), Index(to), bytes_max).unwrap().len();
    assert_eq!(count(1, 10, u64::MAX), 10);
    assert_eq!(count(4, 6, u64::MAX), 3);
    assert_eq!(count(4, 99, u64::MAX), 7);
    assert_eq!(count(1, 10, 300), 3);
    assert_eq!(count(1, 10, 299), 2);
    assert_eq!(count(1, 10, 0), 1);
    let not_there = |from, to| log.reader().read(SHARD_0, Index(from), Index(to), 1).unwrap_err();
    assert!(matches!(not_there(11, 12), Error::NotInLog { .. }));
    assert!(matches!(not_there(0, 3), Error::NotInLog { .. }));
    assert!(matches!(not_there(5, 4), Error::NotInLog { .. }));
}

#[test]
#[should_panic(expected = "before the one before it is durable")]
fn a_frame_is_not_appended_before_the_one_before_is_durable() {
    let (mut log, _) = open(&MemoryDisk::default());
    log.append(&[(SHARD_0, write(vec![command(1, 1, b"")]))]).unwrap();
    let _ = log.append(&[(SHARD_0, write(vec![command(1, 2, b"")]))]);
}

#[test]
#[should_panic(expected = "entry 3 of shard 0 is written after 1")]
fn a_gap_is_not_written() {
    let (mut log, _) = open(&MemoryDisk::default());
    put(&mut log, vec![command(1, 1, b"")]);
    put(&mut log, vec![command(1, 3, b"")]);
}

#[test]
fn a_write_of_nothing_writes_nothing() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk);
    let before = disk.operations();
    put(&mut log, vec![]);
    assert_eq!(disk.operations(), before);
}

/// On the file system: 100,000 small entries are written, recovered and read within seconds, also without optimisation.
#[test]
fn many_small_entries_on_files() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 1 << 20, fill_bytes: 1 << 18, salt: 1 };
    let (mut log, _) = Log::open(FileDisk::new(directory.path()), options.clone()).unwrap();
    for batch in 0..100 {
        let entries = (1..=1000).map(|n| command(1, batch * 1000 + n, &n.to_le_bytes())).collect();
        log.append(&[(SHARD_0, write(entries))]).unwrap();
        log.sync().unwrap();
    }
    let (log, recovered) = Log::open(FileDisk::new(directory.path()), options).unwrap();
    assert_eq!(recovered[&SHARD_0].last, Index(100_000));
    assert_eq!(log.recovery().frames, 100);
    assert!(log.recovery().segments > 1);
    let entries = log.reader().read(SHARD_0, Index(1), Index(100_000), u64::MAX).unwrap();
    assert!(entries.iter().zip(1..).all(|(entry, index)| entry.id.index == Index(index)));
    assert_eq!(entries[49_999].payload, Payload::Command(Bytes::copy_from_slice(&1000u64.to_le_bytes())));
}

/// A reader finds whole entries of the past or the present while the log is appended to and cut.
#[test]
fn a_reader_works_while_the_log_is_written() {
    let (mut log, _) = open(&MemoryDisk::default());
    put(&mut log, (1..=20).map(|index| command(1, index, &[1; 100])).collect());
    let reader = log.reader();
    let reading = std::thread::spawn(move || {
        for _ in 0..300 {
            for entry in reader.read(SHARD_0, Index(1), Index(20), u64::MAX).unwrap() {
                let Payload::Command(body) = &entry.payload else { panic!("all entries are commands") };
                assert!(body.iter().all(|byte| u64::from(*byte) == entry.id.term.0), "a mixture was read");
            }
        }
    });
    for term in 2..100 {
        let from = 1 + term % 20;
        put(&mut log, (from..=20).map(|index| command(term, index, &[term as u8; 100])).collect());
    }
    reading.join().unwrap();
}

/// One step of the property test: several writes in one frame, and perhaps a restart.
#[derive(Clone, Debug)]
struct Step {
    writes: Vec<RandomWrite>,
    reopen: bool,
}

/// A write that fits whatever the log holds.
#[derive(Clone, Debug)]
struct RandomWrite {
    shard: u64,
    /// How many of the last entries go.
    cut: u64,
    raise_term: bool,
    vote: Option<u64>,
    /// Lengths of the bodies.
    bodies: Vec<usize>,
}

fn random_write() -> impl Strategy<Value = RandomWrite> {
    let bodies = prop::collection::vec(0usize..400, 0..6);
    (0u64..3, 0u64..6, any::<bool>(), prop::option::of(0u64..4), bodies)
        .prop_map(|(shard, cut, raise_term, vote, bodies)| RandomWrite { shard, cut, raise_term, vote, bodies })
}

impl RandomWrite {
    fn fit(&self, twin: &Twin) -> (ShardId, Write) {
        let shard = ShardId(self.shard);
        let now = twin.shards.get(&shard).cloned().unwrap_or_default();
        let keep = now.entries.len() as u64 - self.cut.min(now.entries.len() as u64);
        let term = now.entries.last().map_or(1, |entry| entry.id.term.0) + u64::from(self.raise_term);
        let bodies = self.bodies.iter().zip(keep + 1..);
        let entries = bodies.map(|(length, index)| command(term, index, &vec![index as u8; *length])).collect();
        (shard, Write { hard_state: self.vote.map(|vote| hard_state(term, vote)), ..write(entries) })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn the_log_agrees_with_its_naive_twin(
        steps in prop::collection::vec(
            (prop::collection::vec(random_write(), 1..4), any::<bool>()).prop_map(|(writes, reopen)| Step { writes, reopen }),
            1..20,
        ),
    ) {
        let disk = MemoryDisk::default();
        let (mut log, _) = open(&disk);
        let mut twin = Twin::default();
        for step in steps {
            let mut writes = Vec::new();
            for random in step.writes {
                let write = random.fit(&twin);
                twin.append(std::slice::from_ref(&write));
                writes.push(write);
            }
            log.append(&writes).unwrap();
            log.sync().unwrap();
            if step.reopen {
                let (again, recovered) = open(&disk);
                prop_assert_eq!(recovered, twin.recovered());
                log = again;
            }
            prop_assert_eq!(read_all(&log, &twin.recovered()), twin.read());
        }
    }
}
