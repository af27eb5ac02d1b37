//! Batches of which some messages live: what is kept is those messages, and not what came with them.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::ids::Timestamp;
use crate::state_machine::{Body, Command, Operation, keep_items, message_of};

/// A command that enqueues messages of these lengths. The names of the queues take more than the bodies.
fn batch(index: u64, lengths: &[usize]) -> Bytes {
    let enqueue = |length: &usize| Operation::Enqueue {
        queue: format!("a-queue-with-quite-a-long-name-{}", index % 3).parse().unwrap(),
        message: Body::Data(vec![index as u8; *length].into()).into(),
        delay: std::time::Duration::ZERO,
    };
    let operations = lengths.iter().map(enqueue).collect();
    Command { session: None, timestamp: Timestamp(index), operations, expiry: false }.encode()
}

/// Messages die at random, batches of them at first. Only what an outcome names is of unknown length.
#[test]
fn the_archive_takes_at_most_twice_the_messages_that_live() {
    for seed in 0..10 {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let disk = MemoryDisk::default();
        let (mut log, _) = open(&disk);
        let mut payloads: BTreeMap<Index, Bytes> = BTreeMap::new();
        let mut alive: Vec<Living> = Vec::new();
        let mut last = 0;
        for _ in 0..30 {
            let mut entries = Vec::new();
            for index in last + 1..=last + 6 {
                let lengths: Vec<usize> = (0..rng.random_range(1..12)).map(|_| rng.random_range(1..60)).collect();
                let payload = batch(index, &lengths);
                payloads.insert(Index(index), payload.clone());
                entries.push(Entry { id: EntryId::new(Term(1), Index(index)), payload: Payload::Command(payload) });
                for (item, length) in (0..).zip(lengths) {
                    let bytes = if rng.random_bool(0.1) { 0 } else { length as u32 };
                    alive.push(Living { id: MessageId { index: Index(index), item }, bytes });
                }
            }
            last += 6;
            put(&mut log, entries);
            let survival = [0.3, 0.9][rng.random_range(0..2)];
            alive.retain(|_| rng.random_bool(survival));
            shorten(&log, last, &alive);
            assert_twice(&log, &payloads, &alive);
            let again = log.store().compact(SHARD_0, EntryId::new(Term(1), Index(last)), &alive, &mut at_once).unwrap();
            assert_eq!((again.bytes_copied, again.files_removed), (0, 0), "what has been done is done");
            if rng.random_bool(0.2) {
                log = open(&disk).0;
            }
        }
    }
}

fn assert_twice(log: &Log<MemoryDisk>, payloads: &BTreeMap<Index, Bytes>, alive: &[Living]) {
    let mut living_bytes = 0;
    for living in alive.chunk_by(|one, next| one.id.index == next.id.index) {
        let index = living[0].id.index;
        let items: Vec<u32> = living.iter().map(|living| living.id.item).collect();
        living_bytes += 33 + keep_items(&payloads[&index], &items).unwrap().len() as u64;
        let Payload::Command(body) = log.reader().body(SHARD_0, index).unwrap().payload else { panic!("no command") };
        for item in items {
            assert_eq!(message_of(&body, item), message_of(&payloads[&index], item));
        }
    }
    let usage = log.store().usage().unwrap();
    assert!(usage.archive_bytes <= 2 * living_bytes + 64 * usage.archive_files, "{living_bytes} bytes live: {usage:?}");
}
