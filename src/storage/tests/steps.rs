//! The rules for snapshots that are put in force.

use super::*;
use crate::storage::{BodiesWriter, Received, Writer};

fn received(last: EntryId, committed: u64) -> Received {
    Received { written: "snapshot-received".to_owned(), last, bytes: 5, committed: Index(committed) }
}

/// Writes a received snapshot and offers it.
fn offer(log: &Log<MemoryDisk>, last: EntryId, committed: u64) {
    let file = log.store().disk().create("snapshot-received").unwrap();
    file.write_at(0, b"state").unwrap();
    file.sync().unwrap();
    log.store().offer_received(SHARD_0, received(last, committed));
}

fn install(last: EntryId) -> Write {
    Write { snapshot: Some(last), ..write(vec![]) }
}

#[test]
fn a_snapshot_is_not_put_in_the_place_of_a_later_one() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk);
    put(&mut log, (1..=9).map(|index| command(1, index, b"")).collect());
    let id = |index| EntryId::new(Term(1), Index(index));
    take_snapshot(&log, id(5));
    for late in [4, 5] {
        log.store().disk().create("snapshot-late").unwrap();
        let error = log
            .store()
            .commit_snapshot(SHARD_0, &written("snapshot-late", "snapshot-x", id(late), 0), id(1))
            .unwrap_err();
        assert!(matches!(error, Error::Superseded { found, .. } if found == id(5)), "{error}");
    }
    // A start that is earlier than the one that holds changes nothing of it.
    log.store().disk().create("snapshot-8").unwrap();
    log.store().commit_snapshot(SHARD_0, &written("snapshot-8", "snapshot-9", id(8), 0), id(2)).unwrap();
    assert_eq!(disk.list().unwrap(), ["manifest", "segment-0000000000000001.log", "snapshot-9"]);
    drop(log);
    let recovered = open(&disk).1[&SHARD_0].clone();
    assert_eq!((recovered.snapshot, recovered.start), (id(8), id(5)));
}

/// A snapshot is never ahead of the log: it waits for the sync.
#[test]
fn a_snapshot_waits_for_the_log_to_be_durable() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk);
    let id = EntryId::new(Term(1), Index(1));
    let commit = |log: &Log<MemoryDisk>| {
        let store = log.store();
        std::thread::spawn(move || store.commit_snapshot(SHARD_0, &written("snapshot-a", "snapshot-b", id, 0), id))
    };
    log.store().disk().create("snapshot-a").unwrap();
    log.append(&[(SHARD_0, write(vec![command(1, 1, b"body")]))]).unwrap();
    let waits = commit(&log);
    // It cannot end before the sync. Whether it has begun to wait by then does not matter.
    std::thread::yield_now();
    assert!(!waits.is_finished());
    assert_eq!(log.store().snapshot(SHARD_0), None);
    log.sync().unwrap();
    waits.join().unwrap().unwrap();
    assert_eq!(log.store().snapshot(SHARD_0).unwrap().last, id);

    let (mut log, _) = open(&disk);
    let later = EntryId::new(Term(1), Index(2));
    log.append(&[(SHARD_0, write(vec![command(1, 2, b"body")]))]).unwrap();
    let store = log.store();
    let waits =
        std::thread::spawn(move || store.commit_snapshot(SHARD_0, &written("snapshot-a", "snapshot-c", later, 0), id));
    drop(log);
    assert!(matches!(waits.join().unwrap(), Err(Error::Failed)), "the log is closed and will never be durable");
}

/// What the log has at the snapshot's last index does not count as long as it is another entry, or the one that is meant is not
/// durable: a new leader has cut what was there.
#[test]
fn a_snapshot_waits_for_its_own_entry() {
    for appended in [false, true] {
        let (mut log, _) = open(&MemoryDisk::default());
        put(&mut log, (1..=5).map(|index| command(1, index, b"")).collect());
        let store = log.store();
        if appended {
            log.append(&[(SHARD_0, write((4..=5).map(|index| command(2, index, b"")).collect()))]).unwrap();
        }
        let last = EntryId::new(Term(2), Index(5));
        store.disk().create("snapshot-a").unwrap();
        let waits = std::thread::spawn(move || {
            store.commit_snapshot(SHARD_0, &written("snapshot-a", "snapshot-b", last, 0), last)
        });
        drop(log);
        assert!(matches!(waits.join().unwrap(), Err(Error::Failed)), "appended: {appended}");
    }
}

/// Entries that were never committed are not what a received snapshot means by their indexes, be they of whatever term.
#[test]
fn an_installed_snapshot_takes_the_place_of_the_log() {
    for term in [1, 2, 3] {
        let disk = MemoryDisk::default();
        let (mut log, _) = open(&disk);
        put(&mut log, (1..=4).map(|index| command(1, index, &[fill(index); 30])).collect());
        put(&mut log, (5..=9).map(|index| command(2, index, b"never committed")).collect());
        let last = EntryId::new(Term(term), Index(7));
        offer(&log, last, 4);
        log.append(&[(SHARD_0, Write { hard_state: Some(hard_state(3, 2)), ..install(last) })]).unwrap();
        let has = |log: &Log<MemoryDisk>, index| log.store().has_body(SHARD_0, Index(index), Index(4));
        for reopen in [false, true] {
            let (reopened, recovered) = open(&disk);
            let log = if reopen { &reopened } else { &log };
            let expected = Recovered {
                hard_state: hard_state(3, 2),
                start: last,
                snapshot: last,
                last: Index(7),
                ..Recovered::default()
            };
            assert_eq!(recovered[&SHARD_0], expected);
            assert!((1..=4).all(|index| has(log, index)) && (5..=9).all(|index| !has(log, index)));
            assert!(matches!(log.reader().read(SHARD_0, Index(8), Index(9), 1), Err(Error::NotInLog { .. })));
            assert_eq!(log.reader().body(SHARD_0, Index(3)).unwrap(), command(1, 3, &[fill(3); 30]));
        }
        put(&mut log, vec![command(4, 8, b"of the leader")]);
        drop(log);
        let (log, recovered) = open(&disk);
        assert_eq!((recovered[&SHARD_0].last, recovered[&SHARD_0].terms.len()), (Index(8), 1));
        assert_eq!(log.reader().read(SHARD_0, Index(8), Index(9), 1).unwrap(), [command(4, 8, b"of the leader")]);
    }
}

/// A compaction that was begun for a snapshot which another one has taken the place of knows nothing of what lives.
#[test]
fn a_compaction_for_another_snapshot_does_nothing() {
    let (mut log, _) = open(&MemoryDisk::default());
    put(&mut log, (1..=4).map(|index| command(1, index, b"")).collect());
    let [first, second] = [2, 4].map(|index| EntryId::new(Term(1), Index(index)));
    take_snapshot(&log, first);
    take_snapshot(&log, second);
    let done = log.store().compact(SHARD_0, first, &living([1]), &mut at_once).unwrap();
    assert_eq!(done, Compacted::default());
    log.store().compact(SHARD_0, second, &living([1, 3]), &mut at_once).unwrap();
    let bodies: Vec<u64> = (1..=4).filter(|index| log.store().has_body(SHARD_0, Index(*index), Index(4))).collect();
    assert_eq!(bodies, [1, 3]);
}

/// Bodies that came ahead of a snapshot which is not in force yet: the one that is in force does not tell whether they live. And
/// what they lack, the log still has.
#[test]
fn received_bodies_wait_for_their_snapshot() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk);
    put(&mut log, (1..=6).map(|index| command(1, index, &[1; 50])).collect());
    let mut out = BodiesWriter::create(&log.store()).unwrap();
    for index in [5, 9] {
        let mut record = Vec::new();
        crate::storage::record::encode_entry(SHARD_0, &command(1, index, b"what is left"), &mut record);
        out.push(SHARD_0, Index(index), &record).unwrap();
    }
    log.store().add_bodies(out.finish().unwrap()).unwrap();
    shorten(&log, 4, &[]);
    for log in [&log, &open(&disk).0] {
        assert!(log.store().has_body(SHARD_0, Index(9), Index(4)));
        assert_eq!(log.reader().body(SHARD_0, Index(5)).unwrap(), command(1, 5, &[1; 50]));
        assert_eq!(log.reader().body(SHARD_0, Index(9)).unwrap(), command(1, 9, b"what is left"));
    }
    // Also once the log begins after it.
    shorten(&log, 6, &living([5]));
    for log in [&log, &open(&disk).0] {
        assert_eq!(log.reader().body(SHARD_0, Index(5)).unwrap(), command(1, 5, &[1; 50]));
    }
}

/// Entries that were cut are not the log, also when the log begins where they began.
#[test]
fn entries_that_were_cut_before_the_start_do_not_come_back() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(&disk);
    put(&mut log, (1..=9).map(|index| command(1, index, b"cut later")).collect());
    put(&mut log, (4..=5).map(|index| command(2, index, b"committed")).collect());
    take_snapshot(&log, EntryId::new(Term(2), Index(5)));
    drop(log);
    let (log, recovered) = open(&disk);
    assert_eq!((recovered[&SHARD_0].last, recovered[&SHARD_0].terms.clone()), (Index(5), vec![]));
    assert_eq!(log.reader().body(SHARD_0, Index(5)).unwrap(), command(2, 5, b"committed"));
}

#[test]
fn an_offer_takes_the_place_of_the_one_before() {
    let disk = MemoryDisk::default();
    let (log, _) = open(&disk);
    offer(&log, EntryId::new(Term(1), Index(4)), 0);
    log.store().disk().create("snapshot-other").unwrap();
    let other = Received { written: "snapshot-other".into(), ..received(EntryId::new(Term(1), Index(5)), 0) };
    log.store().offer_received(SHARD_0, other);
    assert_eq!(disk.list().unwrap(), ["snapshot-other"]);
    drop(log);
    assert_eq!(open(&disk).0.recovery().leftovers, 1);
    assert_eq!(disk.list().unwrap(), Vec::<String>::new());
}

#[test]
#[should_panic(expected = "was offered")]
fn a_snapshot_that_was_not_offered_is_not_installed() {
    let (mut log, _) = open(&MemoryDisk::default());
    let _ = log.append(&[(SHARD_0, install(EntryId::new(Term(1), Index(5))))]);
}

#[test]
#[should_panic(expected = "does not come alone")]
fn a_snapshot_comes_alone() {
    let (mut log, _) = open(&MemoryDisk::default());
    let last = EntryId::new(Term(1), Index(5));
    let _ = log.append(&[(SHARD_0, write(vec![])), (SHARD_1, install(last))]);
}

/// The thread that writes sees to it that a write with a snapshot is alone, and keeps the order.
#[test]
fn the_writer_lets_a_snapshot_come_alone() {
    let disk = MemoryDisk::default();
    let (log, _) = open(&disk);
    offer(&log, EntryId::new(Term(1), Index(9)), 0);
    let (done, durable) = std::sync::mpsc::channel();
    let (go, held) = std::sync::mpsc::channel::<()>();
    let writer = Writer::start(log, move |result| {
        done.send(result.unwrap().writes.iter().map(|write| write.ticket.0).collect::<Vec<_>>()).unwrap();
        let _ = held.recv();
    });
    let named = |ticket, write: Write| Write { ticket: Ticket(ticket), ..write };
    writer.submit(SHARD_0, named(1, write(vec![command(1, 1, b"")])));
    assert_eq!(durable.recv().unwrap(), [1]);
    writer.submit(SHARD_0, named(2, write(vec![command(1, 2, b"")])));
    writer.submit(SHARD_0, named(3, install(EntryId::new(Term(1), Index(9)))));
    writer.submit(SHARD_0, named(4, write(vec![command(1, 10, b"")])));
    writer.submit(SHARD_0, named(5, write(vec![command(1, 11, b"")])));
    drop(go);
    writer.stop();
    let batches: Vec<Vec<u64>> = durable.iter().collect();
    assert_eq!(batches, [vec![2], vec![3], vec![4, 5]]);
    assert_eq!(open(&disk).1[&SHARD_0].last, Index(11));
}
