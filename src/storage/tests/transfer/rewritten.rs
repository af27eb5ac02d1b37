//! The sender compacts in the middle of a transfer, and its pin is over: of the same snapshot, which is still the newest, it has
//! the same bodies in other records.

use super::*;

/// Lets go of a pin as soon as a compaction leaves something for it alone.
fn impatient(node: &Node) -> Outgoing {
    Outgoing::new(node.store.clone(), outgoing::Limits { pin_bytes_max: 0, ..outgoing::Limits::default() })
}

/// A snapshot of which nothing has been compacted.
fn with_uncompacted_snapshot(lives: fn(MessageId) -> bool) -> Node {
    let mut node = Node::empty();
    node.append(1, 60);
    node.write_snapshot(50, lives);
    node
}

/// Records become much shorter.
fn first_of_many(message: MessageId) -> bool {
    message.item == 0 && !message.index.0.is_multiple_of(3)
}

/// Records lose only what a command says besides its messages.
fn one_of_three_entries(message: MessageId) -> bool {
    message.index.0 % 3 == 1
}

/// Compacts after so many answers.
fn compact_after(cut: usize) -> impl FnMut(&mut Node, usize) -> Time {
    let mut is_done = false;
    move |sender, answers| {
        if answers == cut && !std::mem::replace(&mut is_done, true) {
            assert!(sender.compact().bytes_copied > 0, "records are written anew");
        }
        NOW
    }
}

/// What lives, how large pieces are, and after how many answers the compaction comes: of some of these the record that is under
/// way becomes shorter than its part that is there, of others it goes on after that part otherwise than it began.
fn cases() -> impl Iterator<Item = (fn(MessageId) -> bool, u32, usize)> {
    let lives = [first_of_many as fn(MessageId) -> bool, one_of_three_entries];
    let pieces = [(64, 160), (300, 40), (700, 25), (1500, 15), (2500, 12)];
    let of_size =
        move |(bytes, cuts)| lives.into_iter().flat_map(move |lives| (0..cuts).map(move |cut| (lives, bytes, cut)));
    pieces.into_iter().flat_map(of_size)
}

/// Wherever the compaction comes: nothing is rejected, the file is not fetched twice, and of bodies only the one that was
/// under way is begun anew.
#[test]
fn a_record_that_was_written_anew_is_begun_anew_and_nothing_else_is() {
    let answers = |(lives, piece_bytes, cut)| {
        let (mut sender, mut receiver) = (with_uncompacted_snapshot(lives), Node::empty());
        let outgoing = impatient(&sender);
        let mut incoming = Incoming::begin(receiver.store.clone(), sender.wanted(), limits(piece_bytes)).unwrap();
        let (rng, mut traffic) = (&mut ChaCha8Rng::seed_from_u64(0), Traffic::default());
        let fetched = fetch(&mut incoming, &mut sender, &outgoing, STEADY, rng, compact_after(cut), &mut traffic);
        fetched.unwrap_or_else(|rejected| panic!("compacted after {cut} of {piece_bytes} bytes: {rejected}"));
        assert_eq!(traffic.restarts, 0, "compacted after {cut} of {piece_bytes} bytes");
        assert!(traffic.bodies.values().all(|times| *times == 1), "a body was fetched twice: {traffic:?}");
        receiver.install(incoming.finish().unwrap(), &sender);
        traffic.answers
    };
    let mut begun_anew = 0;
    for (lives, piece_bytes, cut) in cases() {
        let (undisturbed, disturbed) = (answers((lives, piece_bytes, usize::MAX)), answers((lives, piece_bytes, cut)));
        let longest = 5100 / piece_bytes as usize + 2;
        assert!(disturbed <= undisturbed + longest, "compacted after {cut} of {piece_bytes} bytes");
        begun_anew += usize::from(disturbed > undisturbed);
    }
    assert!(begun_anew > 20, "records are begun anew: {begun_anew}");
}

/// Answers from before the compaction come after it, and once more.
#[test]
fn a_late_answer_continues_no_record_that_was_begun_anew() {
    let mut harmless = 0;
    for seed in 0..300 {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let (mut sender, mut receiver) = (with_uncompacted_snapshot(first_of_many), Node::empty());
        let outgoing = impatient(&sender);
        let network = Network {
            lost: rng.random_range(0.0..0.2),
            repeated: rng.random_range(0.0..0.3),
            late: rng.random_range(0.0..0.3),
            in_flight_max: rng.random_range(1..6),
            ..STEADY
        };
        let piece_bytes = [16, 64, 700][rng.random_range(0..3)];
        let cut = rng.random_range(0..5000 / piece_bytes as usize);
        let mut incoming = Incoming::begin(receiver.store.clone(), sender.wanted(), limits(piece_bytes)).unwrap();
        let mut traffic = Traffic::default();
        let fetched = fetch(&mut incoming, &mut sender, &outgoing, network, rng, compact_after(cut), &mut traffic);
        fetched.unwrap_or_else(|rejected| panic!("seed {seed}: {rejected}"));
        harmless += traffic.harmless;
        receiver.install(incoming.finish().unwrap(), &sender);
    }
    assert!(harmless > 100, "answers come late: {harmless}");
}

/// A peer of a release that does not tell how a record began, or does not look. When the record has not become too short for it,
/// its checksum tells, once, and then all of it comes.
#[test]
fn a_record_of_two_halves_that_nobody_looked_at_is_rejected_once_at_most_and_comes_whole() {
    let mut rejected = 0;
    for (lives, piece_bytes, cut) in cases() {
        let (mut sender, mut receiver) = (with_uncompacted_snapshot(lives), Node::empty());
        let outgoing = impatient(&sender);
        let mut incoming = Incoming::begin(receiver.store.clone(), sender.wanted(), limits(piece_bytes)).unwrap();
        let mut meanwhile = compact_after(cut);
        let mut rejected_here = 0;
        for answers in 0.. {
            assert!(answers < 1000, "it comes to no end: {:?}", incoming.progress());
            let now = meanwhile(&mut sender, answers);
            let request = incoming.next_requests(1).remove(0);
            let mut asked = request.clone();
            if let Piece::Bodies { skip_crc, .. } = &mut asked.piece {
                *skip_crc = None;
            }
            match incoming.on_reply(&request, outgoing.answer(now, RECEIVER, &asked).unwrap()) {
                Ok(Step::More) => {}
                Ok(Step::FileComplete) => {
                    incoming.want_bodies(&sender.living[&request.last]).unwrap();
                }
                Ok(Step::Complete) => break,
                Err(Rejected::Record { .. }) => rejected_here += 1,
                other => panic!("compacted after {cut} of {piece_bytes} bytes: {other:?}"),
            }
        }
        assert!(rejected_here <= 1, "compacted after {cut} of {piece_bytes} bytes: {rejected_here} times");
        rejected += rejected_here;
        receiver.install(incoming.finish().unwrap(), &sender);
    }
    assert!(rejected > 5, "records of two halves come: {rejected}");
}

/// The answer that a record is another one makes no sense to somebody who has nothing of it: all is fetched again.
#[test]
fn the_same_snapshot_instead_is_another_one_to_who_has_no_part_of_a_record() {
    let (mut sender, mut receiver) = (with_uncompacted_snapshot(first_of_many), Node::empty());
    let outgoing = outgoing(&sender);
    let mut incoming = Incoming::begin(receiver.store.clone(), sender.wanted(), limits(1000)).unwrap();
    let instead = Some(sender.last());
    loop {
        let request = incoming.next_requests(1).remove(0);
        if matches!(request.piece, Piece::Bodies { skip: 0, .. }) {
            let step = incoming.on_reply(&request, Reply::Gone { instead }).unwrap();
            assert_eq!(step, Step::Gone { instead });
            break;
        }
        let step = incoming.on_reply(&request, outgoing.answer(NOW, RECEIVER, &request).unwrap()).unwrap();
        if step == Step::FileComplete {
            incoming.want_bodies(&sender.living[&request.last]).unwrap();
        }
    }
    incoming.restart(sender.last()).unwrap();
    fetch_steadily(&mut incoming, &mut sender, &outgoing);
    receiver.install(incoming.finish().unwrap(), &sender);
}
