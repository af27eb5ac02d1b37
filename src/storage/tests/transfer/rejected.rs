//! Answers that no honest sender gives, or not at this time: each is rejected by its name, and the transfer goes on.

use super::*;
use crate::storage::record;
use crate::storage::snapshot::Mismatch;

/// Whether an answer was rejected for the right reason.
type IsIt = fn(&Rejected) -> bool;

fn piece(bytes: Vec<u8>, size: u64) -> Reply {
    Reply::Piece { crc: crc32c::crc32c(&bytes), bytes: bytes.into(), size }
}

/// The one request that is to be made.
fn ask(incoming: &mut Incoming) -> Request {
    let mut requests = incoming.next_requests(1);
    assert_eq!(requests.len(), 1, "{requests:?}");
    requests.remove(0)
}

#[test]
fn a_piece_of_a_file_that_is_not_right_is_rejected_by_name_and_asked_for_again() {
    let mut sender = Node::with_snapshot();
    let outgoing = outgoing(&sender);
    let mut receiver = Node::empty();
    let mut incoming = Incoming::begin(receiver.store.clone(), sender.wanted(), limits(100)).unwrap();
    let size = sender.snapshot_bytes().len() as u64;
    let reject = |incoming: &mut Incoming, reply: Reply, is_it: IsIt| {
        let request = ask(incoming);
        let rejected = incoming.on_reply(&request, reply).unwrap_err();
        assert!(is_it(&rejected) && !rejected.is_harmless(), "{rejected:?}");
        assert_eq!(ask(incoming), request, "it is asked for again");
        incoming.forget_in_flight();
    };
    for _ in 0..2 {
        let flipped = Reply::Piece { bytes: vec![1; 9].into(), crc: 0, size };
        reject(&mut incoming, flipped, |rejected| matches!(rejected, Rejected::Checksum));
        reject(&mut incoming, piece(vec![], size), |rejected| matches!(rejected, Rejected::Empty));
        let large = |rejected: &Rejected| matches!(rejected, Rejected::Oversized { bytes: 101, bytes_max: 100 });
        reject(&mut incoming, piece(vec![1; 101], size), large);
        if incoming.progress().file_bytes == 0 {
            let short = |rejected: &Rejected| matches!(rejected, Rejected::Oversized { bytes: 50, bytes_max: 49 });
            reject(&mut incoming, piece(vec![1; 50], 49), short);
            // A good one, once more, and one from another time.
            let request = ask(&mut incoming);
            let reply = outgoing.answer(NOW, RECEIVER, &request).unwrap();
            assert_eq!(incoming.on_reply(&request, reply.clone()).unwrap(), Step::More);
            let repeated = incoming.on_reply(&request, reply.clone()).unwrap_err();
            assert!(matches!(repeated, Rejected::NotAsked) && repeated.is_harmless());
            let other = Request { last: id(49), ..request };
            let other = incoming.on_reply(&other, reply).unwrap_err();
            assert!(matches!(other, Rejected::AnotherSnapshot(_)) && other.is_harmless());
        }
    }
    let another_size = |rejected: &Rejected| matches!(rejected, Rejected::AnotherSize { .. });
    reject(&mut incoming, piece(vec![1; 9], size + 1), another_size);
    // Who says so again means it: the file is fetched from its beginning.
    let request = incoming.next_requests(1).remove(0);
    assert_eq!((incoming.progress().file_bytes, incoming.progress().file_size), (100, Some(size)));
    assert!(another_size(&incoming.on_reply(&request, piece(vec![1; 9], size + 1)).unwrap_err()));
    assert_eq!((incoming.progress().file_bytes, incoming.progress().file_size), (0, None));
    fetch_steadily(&mut incoming, &mut sender, &outgoing);
    receiver.install(incoming.finish().unwrap(), &sender);
}

/// Each piece is right, and the whole is not.
#[test]
fn a_file_that_is_not_the_one_that_is_wanted_is_fetched_from_its_beginning() {
    let mut sender = Node::with_snapshot();
    let outgoing = outgoing(&sender);
    let good = sender.snapshot_bytes();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let mut newer = good.clone();
    newer[8] = 9;
    let crc = crc32c::crc32c(&newer[..12]).to_le_bytes();
    newer[12..16].copy_from_slice(&crc);
    let of = |header: Header| {
        let disk = MemoryDisk::default();
        let writer = snapshot::Writer::create(std::sync::Arc::new(disk.clone()), &header).unwrap();
        let file = disk.open(&writer.finish().unwrap().temporary).unwrap();
        let mut bytes = vec![0; file.size().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        bytes
    };
    let wrong: [(Vec<u8>, IsIt); 5] = [
        (flipped, |rejected| matches!(rejected, Rejected::File(Error::Corrupt { .. }))),
        (newer, |rejected| matches!(rejected, Rejected::File(Error::NewerFormat { found: 9, .. }))),
        (of(Header { cluster: ClusterId(7), ..header(50) }), |rejected| {
            matches!(rejected, Rejected::Mismatch(Mismatch::Cluster { .. }))
        }),
        (of(Header { shard: SHARD_1, ..header(50) }), |rejected| {
            matches!(rejected, Rejected::Mismatch(Mismatch::Shard { .. }))
        }),
        (of(header(49)), |rejected| matches!(rejected, Rejected::Mismatch(Mismatch::Last { .. }))),
    ];
    let mut receiver = Node::empty();
    let mut incoming = Incoming::begin(receiver.store.clone(), sender.wanted(), limits(100)).unwrap();
    for (bytes, is_it) in wrong {
        let rejected = loop {
            let request = ask(&mut incoming);
            let Piece::File { offset } = request.piece else { panic!("{request:?}") };
            let end = bytes.len().min(offset as usize + request.bytes_max as usize);
            match incoming.on_reply(&request, piece(bytes[offset as usize..end].to_vec(), bytes.len() as u64)) {
                Ok(step) => assert_eq!(step, Step::More),
                Err(rejected) => break rejected,
            }
        };
        assert!(is_it(&rejected), "{rejected:?}");
        assert_eq!(incoming.progress().file_bytes, 0);
        assert!(incoming.reader().is_none());
    }
    fetch_steadily(&mut incoming, &mut sender, &outgoing);
    receiver.install(incoming.finish().unwrap(), &sender);
}

/// An incoming snapshot of which the file is there.
fn with_file(sender: &Node, receiver: &Node, outgoing: &Outgoing, piece_bytes: u32) -> Incoming {
    let mut incoming = Incoming::begin(receiver.store.clone(), sender.wanted(), limits(piece_bytes)).unwrap();
    loop {
        let request = ask(&mut incoming);
        let reply = outgoing.answer(NOW, RECEIVER, &request).unwrap();
        if incoming.on_reply(&request, reply).unwrap() == Step::FileComplete {
            return incoming;
        }
    }
}

#[test]
fn a_record_that_is_not_the_one_that_is_wanted_is_rejected_by_name_and_asked_for_again() {
    let mut sender = Node::with_snapshot();
    let outgoing = outgoing(&sender);
    let mut receiver = Node::empty();
    let mut incoming = with_file(&sender, &receiver, &outgoing, 1 << 20);
    assert!(matches!(incoming.want_bodies(&[living(51, 0, 1)]), Err(Rejected::Living(Index(51)))));
    assert!(matches!(incoming.want_bodies(&[living(0, 0, 1)]), Err(Rejected::Living(Index(0)))));
    assert_eq!(incoming.want_bodies(&sender.living[&sender.last()]).unwrap(), Step::More);

    let encode = |shard, entry: &Entry| {
        let mut bytes = Vec::new();
        record::encode_entry(shard, entry, &mut bytes);
        bytes
    };
    let good = encode(SHARD_0, &enqueue(1, &lengths(1)));
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut long = good.clone();
    long[4..8].copy_from_slice(&(incoming::RECORD_BYTES_MAX as u32).to_le_bytes());
    let with_term = |term| Entry { id: EntryId::new(Term(term), Index(1)), ..enqueue(1, &[1]) };
    let another: IsIt = |rejected| matches!(rejected, Rejected::AnotherRecord { wanted: Index(1), .. });
    let bad: IsIt = |rejected| matches!(rejected, Rejected::Record { index: Index(1), .. });
    let wrong: [(Vec<u8>, IsIt); 7] = [
        (flipped, bad),
        (long, bad),
        (encode(SHARD_1, &enqueue(1, &[1])), another),
        (encode(SHARD_0, &enqueue(2, &[1])), another),
        (encode(SHARD_0, &with_term(0)), bad),
        (encode(SHARD_0, &with_term(2)), bad),
        (encode(SHARD_0, &Entry { payload: Payload::Noop, ..enqueue(1, &[]) }), bad),
    ];
    for (at, (bytes, is_it)) in wrong.into_iter().enumerate() {
        let request = ask(&mut incoming);
        let rejected = incoming.on_reply(&request, piece(bytes, 0)).unwrap_err();
        assert!(is_it(&rejected), "record {at}: {rejected:?}");
        assert_eq!(ask(&mut incoming), request, "it is asked for again");
        incoming.forget_in_flight();
    }
    // What came right before the one that is wrong is kept.
    let request = ask(&mut incoming);
    let rejected = incoming.on_reply(&request, piece([&good[..], &[0; 33]].concat(), 0)).unwrap_err();
    assert!(matches!(rejected, Rejected::Record { index: Index(2), .. }), "{rejected:?}");
    assert_eq!(incoming.progress().bodies, 1);
    let repeated = incoming.on_reply(&request, piece(good, 0)).unwrap_err();
    assert!(matches!(repeated, Rejected::NotAsked));
    fetch_steadily(&mut incoming, &mut sender, &outgoing);
    receiver.install(incoming.finish().unwrap(), &sender);
}

/// More than the records that were asked for.
#[test]
fn what_follows_the_last_record_is_rejected() {
    let mut sender = Node::with_snapshot();
    let outgoing = outgoing(&sender);
    let mut receiver = Node::empty();
    let mut incoming = with_file(&sender, &receiver, &outgoing, 1 << 20);
    incoming.want_bodies(&sender.living[&sender.last()]).unwrap();
    let request = ask(&mut incoming);
    let Reply::Piece { bytes, .. } = outgoing.answer(NOW, RECEIVER, &request).unwrap() else { panic!("it is there") };
    let rejected = incoming.on_reply(&request, piece([&bytes[..], &[0]].concat(), 0)).unwrap_err();
    assert!(matches!(rejected, Rejected::Oversized { .. }), "{rejected:?}");
    assert!(!incoming.is_complete(), "the last record is asked for again");
    fetch_steadily(&mut incoming, &mut sender, &outgoing);
    receiver.install(incoming.finish().unwrap(), &sender);
}

/// The first half of a record is from before a compaction of the sender, the other one from after it.
#[test]
fn a_record_of_two_halves_is_fetched_from_its_beginning() {
    let mut sender = Node::with_snapshot();
    let outgoing = outgoing(&sender);
    let mut receiver = Node::empty();
    let mut incoming = with_file(&sender, &receiver, &outgoing, 50);
    incoming.want_bodies(&sender.living[&sender.last()]).unwrap();
    let request = ask(&mut incoming);
    let reply = outgoing.answer(NOW, RECEIVER, &request).unwrap();
    assert_eq!(incoming.on_reply(&request, reply).unwrap(), Step::More);
    let rejected = loop {
        let request = ask(&mut incoming);
        assert!(matches!(request.piece, Piece::Bodies { skip: 50.., .. }), "{request:?}");
        match incoming.on_reply(&request, piece(vec![0], 0)) {
            Ok(step) => assert_eq!(step, Step::More),
            Err(rejected) => break rejected,
        }
    };
    assert!(matches!(rejected, Rejected::Record { index: Index(1), .. }), "{rejected:?}");
    assert!(matches!(ask(&mut incoming).piece, Piece::Bodies { skip: 0, .. }));
    incoming.forget_in_flight();
    fetch_steadily(&mut incoming, &mut sender, &outgoing);
    receiver.install(incoming.finish().unwrap(), &sender);
}
