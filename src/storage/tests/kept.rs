//! What is kept, for how long, and at what price.

use super::*;
use crate::storage::{BodiesWriter, Pin, Store, Usage, WhyKept};

fn usage(log: &Log<MemoryDisk>) -> Usage {
    log.store().usage().unwrap()
}

/// The body of an entry, as a client gave it.
fn body_of(store: &Store, index: u64) -> Bytes {
    match store.reader().body(SHARD_0, Index(index)).unwrap().payload {
        Payload::Command(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

/// Twenty messages that nobody takes, and thousands that live for a moment: the disk is used for what lives, in few files, and
/// what lives is not written over and over.
#[test]
fn a_few_old_messages_among_many_short_lived_ones_cost_what_they_are() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk);
    let mut old = Vec::new();
    let mut appended = 0;
    for round in 0..100 {
        let first = round * 40 + 1;
        put(&mut log, (first..first + 40).map(|index| command(1, index, &[fill(index); 150])).collect());
        appended += 40 * (150 + 33);
        if round % 5 == 0 {
            old.push(first + 20);
        }
        shorten(&log, first + 39, &living(old.iter().copied()));
        let usage = usage(&log);
        assert_eq!(usage.living, old.len() as u64);
        assert!(usage.archive_bytes <= 2 * usage.living_bytes + 64 * usage.archive_files, "{usage:?}");
        assert!(usage.archive_files <= 16 && usage.log_bytes <= 20_000 && usage.spare_bytes <= 4 * 2048, "{usage:?}");
    }
    let usage = usage(&log);
    assert_eq!(usage.living_bytes, 20 * 183);
    let manifests = 100 * 3 * 2000;
    assert!(usage.written.compaction < appended / 10 + manifests, "{usage:?}");
    for index in old {
        assert_eq!(body_of(&log.store(), index), vec![fill(index); 150]);
    }
    let read = log.reader().read(SHARD_0, Index(21), Index(21), 1);
    assert!(matches!(read, Err(Error::NotInLog { .. })), "a body is not an entry of the log");
    assert_eq!(open(&disk).0.recovery().segments, 1, "only the end of the log is read at start");
}

/// A body that lives is copied when half of its file has died, and when there are eight small files: not with each compaction.
#[test]
fn a_body_is_copied_a_few_times_at_most() {
    let (mut log, _) = open(&MemoryDisk::default());
    let mut copied = 0;
    for round in 0..64 {
        let first = round * 30 + 1;
        put(&mut log, (first..first + 30).map(|index| command(1, index, &[7; 50])).collect());
        let all = (0..=round).map(|round| round * 30 + 1);
        copied += shorten(&log, first + 29, &living(all)).bytes_copied;
    }
    let usage = usage(&log);
    assert_eq!(usage.living, 64);
    assert!(usage.archive_files <= 16, "{usage:?}");
    assert!(copied <= 7 * usage.living_bytes, "{copied} bytes were copied: {usage:?}");
}

#[test]
fn a_pin_keeps_what_it_saw_and_lets_go_of_it() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk);
    put(&mut log, (1..=9).map(|index| command(1, index, &[fill(index); 180])).collect());
    put(&mut log, (10..=18).map(|index| command(1, index, &[fill(index); 180])).collect());
    put(&mut log, vec![command(1, 19, &[19; 500])]);
    assert!(log.store().pin(SHARD_0).is_none(), "there is no snapshot");
    shorten(&log, 18, &living([1, 2, 3, 4, 5, 6, 15]));
    let pins = [log.store().pin(SHARD_0).unwrap(), log.store().pin(SHARD_0).unwrap()];
    assert_eq!(pins[0].held_bytes(), 0, "nothing is kept for it that is not in force");
    put(&mut log, vec![command(1, 20, &[20; 1900])]);
    shorten(&log, 20, &[]);
    let late = log.store().pin(SHARD_0).unwrap();
    assert_eq!(usage(&log).archive_bytes, 0);
    assert!(pins[0].held_bytes() >= 9 * 213 + 20, "{}", pins[0].held_bytes());
    assert_eq!((pins[0].held_bytes(), late.held_bytes()), (pins[1].held_bytes(), 0));
    assert_eq!(usage(&log).oldest.unwrap().why, WhyKept::Transfer);
    assert_reads(&pins[0]);
    let [first, second] = pins;
    drop(first);
    assert_reads(&second);
    assert!(disk.list().unwrap().contains(&"snapshot-18".to_owned()));
    drop(second);
    assert!(!disk.list().unwrap().contains(&"snapshot-18".to_owned()));
    assert_eq!(usage(&log).held_bytes, 0);
    assert_ne!(usage(&log).oldest.unwrap().why, WhyKept::Transfer);
    drop(late);
    drop(log);
    assert_eq!(open(&disk).0.recovery().leftovers, 0);
}

fn assert_reads(pin: &Pin) {
    for index in [1, 2, 3, 4, 5, 6, 15] {
        let record = pin.read_body(Index(index)).unwrap().unwrap();
        assert_eq!(&record[33..], [fill(index); 180], "body {index}");
    }
    assert_eq!(pin.read_body(Index(7)).unwrap(), None, "dead when the pin was made");
    let mut file = [0; 20];
    pin.read_snapshot(0, &mut file).unwrap();
    assert_eq!(&file, b"what the queues know");
}

#[test]
fn the_oldest_file_is_kept_for_a_reason() {
    let (mut log, _) = open(&MemoryDisk::default());
    assert_eq!(usage(&log).oldest, None);
    put(&mut log, (1..=9).map(|index| command(1, index, &[0; 180])).collect());
    put(&mut log, (10..=18).map(|index| command(1, index, &[0; 180])).collect());
    let why = |log: &Log<MemoryDisk>| usage(log).oldest.unwrap().why;
    assert_eq!(why(&log), WhyKept::SinceTheSnapshot);
    let (last, start) = (EntryId::new(Term(1), Index(10)), EntryId::new(Term(1), Index(5)));
    log.store().disk().create("snapshot-a").unwrap();
    log.store().commit_snapshot(SHARD_0, &written("snapshot-a", "snapshot-b", last, 0), start).unwrap();
    assert_eq!(why(&log), WhyKept::Compaction);
    log.store().compact(SHARD_0, last, &living(1..=10), &mut at_once).unwrap();
    assert_eq!(why(&log), WhyKept::ForReaders);
    shorten(&log, 18, &living(1..=9));
    assert_eq!(why(&log), WhyKept::Living { records: 9, bytes: 9 * 213 });
    assert_eq!(why(&log).to_string(), "messages that live are in it: 9 records of 1917 bytes");
    assert!(usage(&log).oldest.unwrap().file.ends_with("segment-0000000000000001.log"));
}

/// A disk without room: the spare files go first, and what cannot be done is done once there is room.
#[test]
fn a_full_disk_holds_up_compaction_and_loses_nothing() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk);
    for index in 1..=12 {
        put(&mut log, vec![command(1, index, &[fill(index); 900])]);
    }
    shorten(&log, 12, &living([11]));
    assert!(usage(&log).spare_bytes > 0);
    put(&mut log, (13..=14).map(|index| command(1, index, &[fill(index); 900])).collect());
    put(&mut log, vec![command(1, 15, &[fill(15); 1900])]);
    let last = EntryId::new(Term(1), Index(15));
    take_snapshot(&log, last);
    let used: u64 = disk.list().unwrap().iter().map(|name| disk.open(name).unwrap().size().unwrap()).sum();
    disk.limit_bytes(Some(used + 100));
    log.store().compact(SHARD_0, last, &living([13, 15]), &mut at_once).unwrap();
    assert_eq!(body_of(&log.store(), 13), vec![fill(13); 900]);
    disk.limit_bytes(Some(0));
    let error = log.store().compact(SHARD_0, last, &living([15]), &mut at_once).unwrap_err();
    assert!(error.is_full_disk(), "{error}");
    assert_eq!(body_of(&log.store(), 15), vec![fill(15); 1900]);
    disk.limit_bytes(None);
    log.store().compact(SHARD_0, last, &living([15]), &mut at_once).unwrap();
    assert_eq!(body_of(&log.store(), 15), vec![fill(15); 1900]);
    drop(log);
    let (log, _) = open(&disk);
    assert_eq!((log.recovery().leftovers, body_of(&log.store(), 15)), (0, vec![fill(15); 1900].into()));
}

#[test]
fn a_file_of_bodies_that_is_not_finished_goes_and_one_that_is_refused_is_not_written() {
    let disk = MemoryDisk::default();
    let (log, _) = open(&disk);
    let mut record = Vec::new();
    crate::storage::record::encode_entry(SHARD_0, &command(1, 5, b"body"), &mut record);
    let mut out = BodiesWriter::create(&log.store()).unwrap();
    out.push(SHARD_0, Index(5), &record).unwrap();
    for (shard, index, bytes) in [
        (SHARD_1, 5, record.clone()),
        (SHARD_0, 6, record.clone()),
        (SHARD_0, 5, record[..record.len() - 1].to_vec()),
        (SHARD_0, 5, [record.clone(), record.clone()].concat()),
        (SHARD_0, 5, vec![]),
    ] {
        assert!(matches!(out.push(shard, Index(index), &bytes), Err(Error::Malformed(_))), "{shard} {index} {bytes:?}");
    }
    assert_eq!(out.bytes(), 24 + record.len() as u64);
    drop(out);
    assert_eq!(disk.list().unwrap(), Vec::<String>::new());
}

/// A longer record of an entry has more of its items: it stays, whichever came first, also after a restart.
#[test]
fn of_two_records_of_an_entry_the_longer_one_is_kept() {
    for lengths in [[50, 60], [60, 50]] {
        let disk = MemoryDisk::default();
        let (log, _) = open(&disk);
        for length in lengths {
            let mut record = Vec::new();
            crate::storage::record::encode_entry(SHARD_0, &command(1, 5, &vec![1; length]), &mut record);
            let mut out = BodiesWriter::create(&log.store()).unwrap();
            out.push(SHARD_0, Index(5), &record).unwrap();
            log.store().add_bodies(out.finish().unwrap()).unwrap();
        }
        assert_eq!(body_of(&log.store(), 5).len(), 60);
        drop(log);
        assert_eq!(body_of(&open(&disk).0.store(), 5).len(), 60);
    }
}

/// What is left of a command is a body, and never an entry that is sent to a follower.
#[test]
fn what_is_left_of_a_command_is_no_entry() {
    let bytes = Bytes::from_static(b"some items");
    assert!(crate::storage::codec::decode_payload(crate::storage::codec::BODIES, bytes).is_err());
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk);
    let mut frame = crate::storage::frame::begin();
    put(&mut log, vec![command(1, 1, b"")]);
    let end = 40 + open(&disk).0.recovery().bytes;
    let (header, chain) = {
        let file = disk.open("segment-0000000000000001.log").unwrap();
        let mut bytes = vec![0; end as usize];
        file.read_at(0, &mut bytes).unwrap();
        let header = crate::storage::segment::Header::decode(&bytes).unwrap();
        (header, crate::storage::frame::Frame::decode(&bytes[40..], &header).unwrap().chain())
    };
    let id = EntryId::new(Term(1), Index(2));
    let kind = crate::storage::codec::BODIES;
    crate::storage::record::Record { shard: SHARD_0, id, kind, payload: b"items" }.encode(&mut frame);
    crate::storage::frame::seal(&mut frame, &header, chain);
    disk.open("segment-0000000000000001.log").unwrap().write_at(end, &frame).unwrap();
    assert!(matches!(Log::open(disk, options()).err(), Some(Error::Corrupt { .. })));
}
