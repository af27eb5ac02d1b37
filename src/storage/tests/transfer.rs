//! A snapshot goes from one store to another, over a network that loses, repeats and reorders, and past crashes. What counts as
//! equal: the file byte for byte, and each living body.

mod rejected;
mod rewritten;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::ids::{ClusterId, Time, Timestamp};
use crate::raft;
use crate::state_machine::{self, Command, Living, MessageId, Operation, message_of};
use crate::storage::incoming::{self, Incoming, Rejected, Step, Wanted};
use crate::storage::outgoing::{self, Outgoing};
use crate::storage::snapshot::{self, Header};
use crate::storage::transfer::{Piece, Reply, Request};
use crate::storage::{Disk as _, Store};

const CLUSTER: ClusterId = ClusterId(0xc1);
const SENDER: NodeId = NodeId(1);
const RECEIVER: NodeId = NodeId(2);
const NOW: Time = Time(0);

fn id(index: u64) -> EntryId {
    EntryId::new(Term(1), Index(index))
}

/// An entry that brings messages with bodies of these lengths.
fn enqueue(index: u64, lengths: &[usize]) -> Entry {
    let body = |length: &usize| {
        let pattern: Vec<u8> = (0..*length).map(|at| (at as u64 * 7 + index) as u8).collect();
        Operation::Enqueue {
            queue: "q".parse().unwrap(),
            message: state_machine::Body::Data(pattern.into()).into(),
            delay: Duration::ZERO,
        }
    };
    let operations = lengths.iter().map(body).collect();
    let command = Command { session: None, timestamp: Timestamp(index), operations, expiry: false };
    Entry { id: id(index), payload: Payload::Command(command.encode()) }
}

fn living(index: u64, item: u32, bytes: u32) -> Living {
    Living { id: MessageId { index: Index(index), item }, bytes }
}

/// A node with a log, its store, and what lives as of each of its snapshots.
struct Node {
    disk: MemoryDisk,
    log: Log<MemoryDisk>,
    store: Store,
    living: BTreeMap<EntryId, Vec<Living>>,
}

impl Node {
    fn open(disk: &MemoryDisk) -> Result<Self, Error> {
        let (log, _) = Log::open(disk.clone(), options())?;
        let store = log.store();
        Ok(Self { disk: disk.clone(), log, store, living: BTreeMap::new() })
    }

    fn empty() -> Self {
        Self::open(&MemoryDisk::default()).unwrap()
    }

    /// Entries 1 to 60 with one to three bodies of up to 400 bytes, one of 5,000, and a snapshot at 50 in which two of three
    /// bodies live.
    fn with_snapshot() -> Self {
        let mut node = Self::empty();
        node.append(1, 60);
        node.take_snapshot(50, |message| message.index.0 % 3 != 0);
        node
    }

    fn append(&mut self, from: u64, to: u64) {
        for index in from..=to {
            put(&mut self.log, vec![enqueue(index, &lengths(index))]);
        }
    }

    /// Writes a snapshot of what the filter leaves alive, and compacts.
    fn take_snapshot(&mut self, last: u64, lives: impl Fn(MessageId) -> bool) {
        self.write_snapshot(last, lives);
        self.compact();
    }

    /// Writes a snapshot of what the filter leaves alive.
    fn write_snapshot(&mut self, last: u64, lives: impl Fn(MessageId) -> bool) {
        let all = (1..=last).flat_map(|index| {
            let items = lengths(index).into_iter().zip(0..);
            items.map(move |(bytes, item)| living(index, item, bytes as u32)).collect::<Vec<_>>()
        });
        let alive: Vec<Living> = all.filter(|living| lives(living.id)).collect();
        let mut writer = snapshot::Writer::create(self.store.disk().clone(), &header(last)).unwrap();
        for block in 0..5_u8 {
            writer.write_block(&[block; 150]).unwrap();
        }
        let written = writer.finish().unwrap();
        self.store.commit_snapshot(SHARD_0, &written, id(last - 5)).unwrap();
        self.living.insert(id(last), alive);
    }

    /// Leaves out what does not live as of the last snapshot.
    fn compact(&mut self) -> Compacted {
        self.store.compact(SHARD_0, self.last(), &self.living[&self.last()], &mut at_once).unwrap()
    }

    fn last(&self) -> EntryId {
        self.store.snapshot(SHARD_0).unwrap().last
    }

    fn wanted(&self) -> Wanted {
        Wanted { from: SENDER, cluster: CLUSTER, shard: SHARD_0, last: self.last(), committed: Index(0) }
    }

    fn snapshot_bytes(&self) -> Vec<u8> {
        let file = self.disk.open(&self.store.snapshot(SHARD_0).unwrap().name).unwrap();
        let mut bytes = vec![0; file.size().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        bytes
    }

    fn body(&self, message: MessageId) -> Option<crate::proto::v1::Message> {
        match self.store.reader().body(SHARD_0, message.index).unwrap().payload {
            Payload::Command(bytes) => message_of(&bytes, message.item),
            other => panic!("{message:?}: {other:?}"),
        }
    }

    /// Puts what was received in force, and compares.
    fn install(&mut self, received: super::super::Received, sender: &Node) {
        let last = received.last;
        self.store.offer_received(SHARD_0, received);
        let write = Write { ticket: Ticket(1), hard_state: None, snapshot: Some(last), entries: vec![] };
        self.log.append(&[(SHARD_0, write)]).unwrap();
        self.log.sync().unwrap();
        self.assert_equal(sender, last);
    }

    fn assert_equal(&self, sender: &Node, last: EntryId) {
        assert_eq!(self.last(), last);
        assert!(self.snapshot_bytes() == sender.snapshot_bytes(), "the files differ");
        for Living { id, .. } in &sender.living[&last] {
            let body = self.body(*id);
            assert!(body.is_some() && body == sender.body(*id), "the bodies of {id:?} differ");
        }
    }
}

fn lengths(index: u64) -> Vec<usize> {
    match index {
        10 => vec![5000],
        _ => (0..1 + index % 3).map(|item| ((index * 37 + item * 101) % 400) as usize).collect(),
    }
}

fn header(last: u64) -> Header {
    let configuration = Configuration::of_one(SENDER, raft::CommitQuorum::Majority);
    Header {
        cluster: CLUSTER,
        shard: SHARD_0,
        snapshot: raft::Snapshot { last: id(last), configuration, configuration_index: Index(1) },
        settled: BTreeSet::from([SENDER]),
        removed: BTreeMap::new(),
        addresses: vec![],
    }
}

fn limits(piece_bytes: u32) -> incoming::Limits {
    incoming::Limits { piece_bytes }
}

fn outgoing(node: &Node) -> Outgoing {
    Outgoing::new(node.store.clone(), outgoing::Limits::default())
}

/// How a network treats answers: the chance, for each answer, of each misfortune.
#[derive(Clone, Copy, Default)]
struct Network {
    lost: f64,
    repeated: f64,
    /// Stays under way until after the connection has broken, or longer.
    late: f64,
    broken: f64,
    in_flight_max: usize,
    /// The connection breaks after so many answers, once.
    breaks_after: Option<usize>,
}

/// Counts what went over the network.
#[derive(Debug, Default, PartialEq, Eq)]
struct Traffic {
    answers: usize,
    harmless: usize,
    restarts: usize,
    /// Bodies that came to their end: how often each.
    bodies: BTreeMap<Index, usize>,
}

/// Fetches all there is, whatever the network does.
fn fetch(
    incoming: &mut Incoming,
    sender: &mut Node,
    outgoing: &Outgoing,
    network: Network,
    rng: &mut ChaCha8Rng,
    mut meanwhile: impl FnMut(&mut Node, usize) -> Time,
    traffic: &mut Traffic,
) -> Result<(), Rejected> {
    let mut air: Vec<(Request, Reply)> = Vec::new();
    let mut late: VecDeque<(Request, Reply)> = VecDeque::new();
    for turn in 0.. {
        assert!(turn < 200_000, "it comes to no end: {:?}", incoming.progress());
        let now = meanwhile(sender, traffic.answers);
        for request in incoming.next_requests(network.in_flight_max) {
            let reply = outgoing.answer(now, RECEIVER, &request).unwrap();
            air.push((request, reply));
        }
        assert!(incoming.in_flight() <= network.in_flight_max);
        let is_late = !late.is_empty() && (air.is_empty() || rng.random_bool(0.1));
        let (request, reply) = match is_late.then(|| late.pop_front()).flatten() {
            Some(one) => one,
            None if air.is_empty() => continue,
            None => air.swap_remove(rng.random_range(0..air.len())),
        };
        if !is_late {
            if rng.random_bool(network.lost) {
                incoming.on_lost(&request);
                continue;
            }
            if rng.random_bool(network.repeated) {
                late.push_back((request.clone(), reply.clone()));
            }
            if rng.random_bool(network.late) {
                incoming.on_lost(&request);
                late.push_back((request, reply));
                continue;
            }
        }
        traffic.answers += 1;
        let there = incoming.progress().bodies;
        let result = incoming.on_reply(&request, reply);
        if let Piece::Bodies { indexes, .. } = &request.piece {
            for index in &indexes[..(incoming.progress().bodies - there) as usize] {
                *traffic.bodies.entry(*index).or_default() += 1;
            }
        }
        match result {
            Ok(Step::More) => {}
            Ok(Step::FileComplete) => {
                let state = incoming.reader().unwrap()?;
                assert_eq!(state.count(), 5);
                if incoming.want_bodies(&sender.living[&request.last])? == Step::Complete {
                    return Ok(());
                }
            }
            Ok(Step::Complete) => return Ok(()),
            Ok(Step::Gone { instead }) => {
                traffic.restarts += 1;
                incoming.restart(instead.unwrap())?;
            }
            Err(harmless) if harmless.is_harmless() => traffic.harmless += 1,
            Err(rejected) => return Err(rejected),
        }
        if rng.random_bool(network.broken) || network.breaks_after == Some(traffic.answers) {
            incoming.forget_in_flight();
            // Of the answers that were under way some come all the same, by way of the buffers in between.
            late.extend(air.drain(..).filter(|_| network.late > 0.0));
        }
    }
    unreachable!("the turns do not end")
}

const STEADY: Network =
    Network { lost: 0.0, repeated: 0.0, late: 0.0, broken: 0.0, in_flight_max: 1, breaks_after: None };

fn at_rest(_: &mut Node, _: usize) -> Time {
    NOW
}

/// Fetches over a network that does no harm.
fn fetch_steadily(incoming: &mut Incoming, sender: &mut Node, outgoing: &Outgoing) -> Traffic {
    let mut traffic = Traffic::default();
    let rng = &mut ChaCha8Rng::seed_from_u64(0);
    fetch(incoming, sender, outgoing, STEADY, rng, at_rest, &mut traffic).unwrap();
    traffic
}

#[test]
fn a_snapshot_arrives_whole_in_the_smallest_pieces_over_the_worst_of_networks() {
    let (mut harmless, mut lossy) = (0, 0);
    for seed in 0..60 {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let mut sender = Node::with_snapshot();
        let mut receiver = Node::empty();
        let network = Network {
            lost: rng.random_range(0.0..0.3),
            repeated: rng.random_range(0.0..0.3),
            late: rng.random_range(0.0..0.3),
            broken: rng.random_range(0.0..0.02),
            in_flight_max: rng.random_range(1..6),
            breaks_after: None,
        };
        let piece_bytes = [16, 17, 100, 1000, 1 << 20][rng.random_range(0..5)];
        let outgoing = outgoing(&sender);
        let mut incoming = Incoming::begin(receiver.store.clone(), sender.wanted(), limits(piece_bytes)).unwrap();
        let mut traffic = Traffic::default();
        fetch(&mut incoming, &mut sender, &outgoing, network, rng, at_rest, &mut traffic).unwrap();
        harmless += traffic.harmless;
        lossy += usize::from(network.lost > 0.2 && traffic.answers > 1000);
        let progress = incoming.progress();
        assert_eq!(Some(progress.file_bytes), progress.file_size);
        assert_eq!(Some(progress.bodies), progress.bodies_total);
        receiver.install(incoming.finish().unwrap(), &sender);
        // What is durable is all of it.
        receiver.disk.crash(rng);
        Node::open(&receiver.disk).unwrap().assert_equal(&sender, sender.last());
    }
    assert!(harmless > 100 && lossy > 0, "the networks did their worst: {harmless} harmless answers, {lossy} lossy");
}

/// Pieces of 64 bytes; the connection breaks after each of the answers in turn, and what was under way never comes.
#[test]
fn a_transfer_goes_on_where_its_connection_broke() {
    let mut sender = Node::with_snapshot();
    let outgoing = outgoing(&sender);
    let whole = {
        let receiver = Node::empty();
        let mut incoming = Incoming::begin(receiver.store.clone(), sender.wanted(), limits(64)).unwrap();
        fetch_steadily(&mut incoming, &mut sender, &outgoing)
    };
    assert!(whole.answers > 200, "{whole:?}");
    for breaks_after in 1..whole.answers {
        let mut receiver = Node::empty();
        let network = Network { in_flight_max: 4, breaks_after: Some(breaks_after), ..STEADY };
        let mut incoming = Incoming::begin(receiver.store.clone(), sender.wanted(), limits(64)).unwrap();
        let rng = &mut ChaCha8Rng::seed_from_u64(breaks_after as u64);
        let mut traffic = Traffic::default();
        fetch(&mut incoming, &mut sender, &outgoing, network, rng, at_rest, &mut traffic).unwrap();
        // Each piece that came is kept: what is cut into batches of its own differs by a few pieces.
        assert!(traffic.answers <= whole.answers + 8, "{} after {breaks_after}", traffic.answers);
        receiver.install(incoming.finish().unwrap(), &sender);
    }
}

/// The sender appends, takes snapshots and compacts all the while; the receiver gets the one that it began with.
#[test]
fn a_pin_holds_a_snapshot_while_the_sender_goes_on() {
    let mut sender = Node::with_snapshot();
    let before = (sender.snapshot_bytes(), sender.last());
    let bodies: Vec<_> =
        sender.living[&sender.last()].iter().map(|living| (living.id, sender.body(living.id))).collect();
    let outgoing = outgoing(&sender);
    let mut receiver = Node::empty();
    let mut incoming = Incoming::begin(receiver.store.clone(), sender.wanted(), limits(64)).unwrap();
    let goes_on = |sender: &mut Node, answers: usize| {
        let next = 61 + answers as u64 / 50 * 10;
        if answers % 50 == 1 && sender.last().index < Index(next - 10) {
            sender.append(next, next + 9);
            // Less and less lives of what was there before.
            sender.take_snapshot(next - 1, |message| message.index.0 % 3 != 0 && message.index.0 > next - 40);
        }
        NOW
    };
    let rng = &mut ChaCha8Rng::seed_from_u64(0);
    let mut traffic = Traffic::default();
    fetch(&mut incoming, &mut sender, &outgoing, STEADY, rng, goes_on, &mut traffic).unwrap();
    assert_eq!(traffic.restarts, 0);
    assert!(sender.last().index > Index(80), "the sender went on: {}", sender.last());
    assert!(outgoing.status()[0].held_bytes > 0);

    let received = incoming.finish().unwrap();
    let last = received.last;
    receiver.store.offer_received(SHARD_0, received);
    let write = Write { ticket: Ticket(1), hard_state: None, snapshot: Some(last), entries: vec![] };
    receiver.log.append(&[(SHARD_0, write)]).unwrap();
    receiver.log.sync().unwrap();
    assert_eq!(before, (receiver.snapshot_bytes(), receiver.last()));
    for (message, body) in bodies {
        assert_eq!(receiver.body(message), body, "{message:?}");
    }
    let files = sender.disk.list().unwrap().len();
    drop(outgoing);
    assert!(sender.disk.list().unwrap().len() < files, "with the pin goes what it held");
}

/// The first budget that is used up is that of time, the other one that of bytes.
#[test]
fn a_pin_over_its_budget_goes_and_the_receiver_begins_with_the_newer_snapshot_and_keeps_its_bodies() {
    let by_time = outgoing::Limits { pin_time_max: Duration::from_secs(10), ..Default::default() };
    let by_bytes = outgoing::Limits { pin_bytes_max: 1, ..Default::default() };
    for limits_out in [by_time, by_bytes] {
        let mut sender = Node::with_snapshot();
        let first = sender.last();
        let outgoing = Outgoing::new(sender.store.clone(), limits_out);
        let mut receiver = Node::empty();
        let mut incoming = Incoming::begin(receiver.store.clone(), sender.wanted(), limits(64)).unwrap();
        let goes_on = |sender: &mut Node, answers: usize| {
            if answers == 150 && sender.last() == first {
                sender.append(61, 70);
                sender.take_snapshot(65, |message| message.index.0 % 3 == 1);
            }
            // A request each 50 ms: all that is left after the second snapshot fits into its own ten seconds.
            NOW + Duration::from_millis(50 * answers as u64)
        };
        let rng = &mut ChaCha8Rng::seed_from_u64(0);
        let mut traffic = Traffic::default();
        fetch(&mut incoming, &mut sender, &outgoing, STEADY, rng, goes_on, &mut traffic).unwrap();
        assert_eq!(traffic.restarts, 1, "{limits_out:?}");
        assert!(traffic.bodies.values().all(|times| *times == 1), "a body was fetched twice: {:?}", traffic.bodies);
        let kept = sender.living[&first].iter().filter(|living| traffic.bodies.contains_key(&living.id.index));
        assert!(kept.count() > 10, "many came before the restart");
        let received = incoming.finish().unwrap();
        assert_ne!(received.last, first);
        receiver.install(received, &sender);
    }
}

/// A pin whose time is over while there is no newer snapshot: the receiver does not notice.
#[test]
fn a_pin_is_renewed_as_long_as_its_snapshot_is_the_newest() {
    let mut sender = Node::with_snapshot();
    let limits_out = outgoing::Limits { pin_time_max: Duration::from_secs(1), ..Default::default() };
    let outgoing = Outgoing::new(sender.store.clone(), limits_out);
    let mut receiver = Node::empty();
    let mut incoming = Incoming::begin(receiver.store.clone(), sender.wanted(), limits(64)).unwrap();
    let rng = &mut ChaCha8Rng::seed_from_u64(0);
    let goes_on = |_: &mut Node, answers: usize| NOW + Duration::from_millis(50 * answers as u64);
    let mut traffic = Traffic::default();
    fetch(&mut incoming, &mut sender, &outgoing, STEADY, rng, goes_on, &mut traffic).unwrap();
    assert_eq!(traffic.restarts, 0);
    assert!(outgoing.status()[0].since > NOW);
    receiver.install(incoming.finish().unwrap(), &sender);
}

/// The receiver loses power at every operation of its disk, and then begins again. What it fetches twice is no more than
/// what one file of bodies holds.
#[test]
fn a_receiver_that_crashes_at_any_step_begins_again_and_keeps_its_bodies() {
    let mut sender = Node::with_snapshot();
    let outgoing = outgoing(&sender);
    let receive = |disk: &MemoryDisk, sender: &mut Node, traffic: &mut Traffic| -> Result<(), Rejected> {
        let mut receiver = Node::open(disk)?;
        if receiver.store.snapshot(SHARD_0).is_none() {
            let mut incoming = Incoming::begin(receiver.store.clone(), sender.wanted(), limits(256))?;
            let rng = &mut ChaCha8Rng::seed_from_u64(0);
            fetch(&mut incoming, sender, &outgoing, STEADY, rng, at_rest, traffic)?;
            receiver.store.offer_received(SHARD_0, incoming.finish()?);
            let write = Write { ticket: Ticket(1), hard_state: None, snapshot: Some(sender.last()), entries: vec![] };
            receiver.log.append(&[(SHARD_0, write)])?;
            receiver.log.sync()?;
        }
        receiver.assert_equal(sender, sender.last());
        Ok(())
    };
    let disk = MemoryDisk::default();
    let mut whole = Traffic::default();
    receive(&disk, &mut sender, &mut whole).unwrap();
    let (mut kept, mut installed) = (0, 0);
    for operations in 0..disk.operations() {
        for seed in 0..3 {
            let disk = MemoryDisk::default();
            disk.cut_power_after(operations);
            let (mut first, mut second) = (Traffic::default(), Traffic::default());
            let cut = receive(&disk, &mut sender, &mut first).expect_err("the power is cut");
            assert!(matches!(&cut, Rejected::Disk(_)), "{cut}");
            disk.crash(&mut ChaCha8Rng::seed_from_u64(seed));
            receive(&disk, &mut sender, &mut second).unwrap();
            let twice: Vec<_> = first.bodies.keys().filter(|index| second.bodies.contains_key(index)).collect();
            let bytes: usize = twice.iter().map(|index| lengths(index.0).iter().sum::<usize>() + 200).sum();
            assert!(bytes <= options().segment_bytes as usize + 5200, "{bytes} twice after {operations} operations");
            kept += first.bodies.len() - twice.len();
            installed += usize::from(second.answers == 0);
        }
    }
    assert!(kept > 1000, "bodies are kept: {kept}");
    assert!(installed > 0, "some crashes come when it is in force already");
}

/// The receiver has some of the log. What it knows to be committed it has; what may be another entry it fetches.
#[test]
fn bodies_of_committed_entries_are_not_fetched_and_others_are() {
    let mut sender = Node::with_snapshot();
    let outgoing = outgoing(&sender);
    let mut receiver = Node::empty();
    receiver.append(1, 30);
    for index in 31..=40 {
        put(&mut receiver.log, vec![enqueue(index, &[index as usize])]);
    }
    let wanted = Wanted { committed: Index(30), ..sender.wanted() };
    let mut incoming = Incoming::begin(receiver.store.clone(), wanted, limits(1000)).unwrap();
    let traffic = fetch_steadily(&mut incoming, &mut sender, &outgoing);
    let fetched: Vec<u64> = traffic.bodies.keys().map(|index| index.0).collect();
    assert_eq!(fetched, (31..=50).filter(|index| index % 3 != 0).collect::<Vec<_>>());
    receiver.install(incoming.finish().unwrap(), &sender);
}

/// More of the log is committed when the bodies are asked for than when the transfer began: an own snapshot has made bodies of it.
#[test]
fn bodies_of_an_own_snapshot_since_the_beginning_outlive_the_install_and_a_restart() {
    for own in 12..=30 {
        let mut sender = Node::with_snapshot();
        let outgoing = outgoing(&sender);
        let mut receiver = Node::empty();
        receiver.append(1, 30);
        let wanted = Wanted { committed: Index(5), ..sender.wanted() };
        let mut incoming = Incoming::begin(receiver.store.clone(), wanted, limits(1000)).unwrap();
        receiver.take_snapshot(own, |message| message.index.0 % 3 != 0);
        let traffic = fetch_steadily(&mut incoming, &mut sender, &outgoing);
        assert!(!traffic.bodies.contains_key(&Index(7)), "{traffic:?}");
        receiver.install(incoming.finish().unwrap(), &sender);
        let Node { disk, .. } = receiver;
        let again = Node::open(&disk).unwrap();
        let missing = again.store.missing_bodies(SHARD_0, &sender.living[&sender.last()]);
        assert!(missing.is_empty(), "after an own snapshot up to {own}, {missing:?} are missing");
    }
}

/// The receiver takes a snapshot of its own and compacts, and is restarted, between the pieces: what came stays.
#[test]
fn the_receivers_own_compaction_takes_nothing_of_what_came() {
    for cut_at in [5, 30, 60, 90, 110] {
        let mut sender = Node::with_snapshot();
        let outgoing = outgoing(&sender);
        let mut receiver = Node::empty();
        receiver.append(1, 30);
        let wanted = Wanted { committed: Index(30), ..sender.wanted() };
        let mut incoming = Incoming::begin(receiver.store.clone(), wanted, limits(64)).unwrap();
        let (rng, mut traffic) = (&mut ChaCha8Rng::seed_from_u64(0), Traffic::default());
        let compact = |_: &mut Node, answers: usize| {
            if answers == cut_at && receiver.store.snapshot(SHARD_0).is_none() {
                // All that lives in the snapshot that comes has lived before.
                receiver.take_snapshot(25, |message| message.index.0 % 3 != 0 || message.index.0 == 12);
                receiver.take_snapshot(28, |message| message.index.0 % 3 != 0);
            }
            NOW
        };
        fetch(&mut incoming, &mut sender, &outgoing, STEADY, rng, compact, &mut traffic).unwrap();
        let before: Vec<Index> = traffic.bodies.keys().copied().collect();
        assert!(before.iter().all(|index| index.0 > 30), "{before:?}");
        incoming.give_up().unwrap();
        assert_eq!(receiver.last(), id(28));
        drop(receiver.log);

        let mut receiver = Node::open(&receiver.disk).unwrap();
        receiver.append(31, 34);
        receiver.take_snapshot(34, |message| message.index.0 % 3 != 0);
        let mut incoming = Incoming::begin(receiver.store.clone(), wanted, limits(64)).unwrap();
        let again = fetch_steadily(&mut incoming, &mut sender, &outgoing);
        assert!(again.bodies.is_empty(), "fetched twice: {:?}", again.bodies);
        receiver.install(incoming.finish().unwrap(), &sender);
    }
}

/// Raft asks again and again until the snapshot is in force.
#[test]
fn a_second_transfer_leaves_what_was_received_before_alone() {
    let mut sender = Node::with_snapshot();
    let outgoing = outgoing(&sender);
    let mut receiver = Node::empty();
    let mut first = Incoming::begin(receiver.store.clone(), sender.wanted(), limits(1000)).unwrap();
    fetch_steadily(&mut first, &mut sender, &outgoing);
    let received = first.finish().unwrap();
    receiver.store.offer_received(SHARD_0, received.clone());
    let second = Incoming::begin(receiver.store.clone(), sender.wanted(), limits(1000)).unwrap();
    receiver.install(received, &sender);
    drop(second);
    receiver.assert_equal(&sender, sender.last());
}

#[test]
fn a_transfer_that_is_given_up_keeps_its_bodies_and_leaves_no_file() {
    let mut sender = Node::with_snapshot();
    let outgoing = outgoing(&sender);
    let receiver = Node::empty();
    let names = |receiver: &Node| -> Vec<String> {
        let names = receiver.disk.list().unwrap();
        names.into_iter().filter(|name| name.starts_with("snapshot-") || name.ends_with(".new")).collect()
    };
    let mut incoming = Incoming::begin(receiver.store.clone(), sender.wanted(), limits(1 << 20)).unwrap();
    assert_eq!(names(&receiver).len(), 1);
    let whole = fetch_steadily(&mut incoming, &mut sender, &outgoing);
    incoming.give_up().unwrap();
    assert_eq!(names(&receiver), Vec::<String>::new());
    let mut incoming = Incoming::begin(receiver.store.clone(), sender.wanted(), limits(1 << 20)).unwrap();
    let again = fetch_steadily(&mut incoming, &mut sender, &outgoing);
    assert!(whole.bodies.len() > 20 && again.bodies.is_empty(), "{again:?}");
    drop(incoming);
    assert_eq!(names(&receiver), Vec::<String>::new());
}

/// Another leader has a snapshot with the same last entry, and so with a file of the same name.
#[test]
fn a_transfer_goes_on_with_the_snapshot_of_another_node() {
    let (first, mut second) = (Node::with_snapshot(), Node::with_snapshot());
    let mut receiver = Node::empty();
    let mut incoming = Incoming::begin(receiver.store.clone(), first.wanted(), limits(64)).unwrap();
    let sender = outgoing(&first);
    for request in incoming.next_requests(1) {
        let reply = sender.answer(NOW, RECEIVER, &request).unwrap();
        assert_eq!(incoming.on_reply(&request, reply).unwrap(), Step::More);
    }
    assert_eq!((first.last(), incoming.progress().file_bytes), (second.last(), 64));
    incoming.go_on_with(Wanted { from: NodeId(9), ..second.wanted() }).unwrap();
    assert_eq!((incoming.progress().from, incoming.progress().file_bytes), (NodeId(9), 0));
    let sender = outgoing(&second);
    fetch_steadily(&mut incoming, &mut second, &sender);
    receiver.install(incoming.finish().unwrap(), &second);
}

/// The log of the receiver has come as far as the snapshot meanwhile: nobody installs it.
#[test]
fn a_snapshot_that_came_too_late_goes_with_the_next_own_one() {
    let mut sender = Node::with_snapshot();
    let outgoing = outgoing(&sender);
    let mut receiver = Node::empty();
    receiver.append(1, 60);
    let mut incoming = Incoming::begin(receiver.store.clone(), sender.wanted(), limits(1000)).unwrap();
    fetch_steadily(&mut incoming, &mut sender, &outgoing);
    let received = incoming.finish().unwrap();
    let file = received.written.clone();
    receiver.store.offer_received(SHARD_0, received);
    receiver.take_snapshot(49, |_| true);
    assert!(receiver.disk.open(&file).is_ok(), "it may still be installed");
    receiver.take_snapshot(50, |_| true);
    assert!(receiver.disk.open(&file).is_err());
}

#[test]
fn receivers_beyond_the_limit_wait_until_others_stall() {
    let sender = Node::with_snapshot();
    let limits_out =
        outgoing::Limits { receivers_max: 4, stall_timeout: Duration::from_secs(10), ..Default::default() };
    let outgoing = Outgoing::new(sender.store.clone(), limits_out);
    let request = file_request(sender.last(), 0);
    let ask = |seconds: u64, node: u64| {
        let reply = outgoing.answer(NOW + Duration::from_secs(seconds), NodeId(node), &request).unwrap();
        match reply {
            Reply::Piece { .. } => true,
            Reply::Gone { instead: None } => false,
            other => panic!("{other:?}"),
        }
    };
    for node in 1..=1000 {
        assert_eq!(ask(0, node), node <= 4, "node {node}");
        assert!(outgoing.status().len() <= 4);
    }
    assert!(ask(6, 1) && ask(6, 2), "who is served goes on");
    assert_eq!([ask(12, 7), ask(12, 8), ask(12, 9)], [true, true, false], "3 and 4 have stalled");
    outgoing.expire(NOW + Duration::from_secs(30));
    assert_eq!(outgoing.status(), []);
}

#[test]
fn a_request_for_what_there_is_not_is_answered_in_kind() {
    let empty = Node::empty();
    let nothing = outgoing(&empty).answer(NOW, RECEIVER, &file_request(id(50), 0)).unwrap();
    assert_eq!(nothing, Reply::Gone { instead: None });

    let sender = Node::with_snapshot();
    let (outgoing, last) = (outgoing(&sender), sender.last());
    let answer = |request: &Request| outgoing.answer(NOW, RECEIVER, request);
    let bodies = |index: u64, skip| Request {
        piece: Piece::Bodies { indexes: vec![Index(index)], skip, skip_crc: None },
        ..file_request(last, 0)
    };
    let instead = Reply::Gone { instead: Some(last) };
    assert_eq!(answer(&file_request(id(49), 0)).unwrap(), instead);
    assert_eq!(outgoing.status(), [], "what it does not have it does not pin");
    let size = sender.snapshot_bytes().len() as u64;
    assert!(matches!(answer(&file_request(last, size)), Err(Error::Malformed(_))));
    assert!(matches!(answer(&bodies(9, 0)), Err(Error::NotInLog { index: Index(9), .. })), "9 is dead");
    assert!(matches!(answer(&bodies(10, 5000)), Ok(Reply::Piece { .. })));
    assert_eq!(answer(&bodies(10, 9000)).unwrap(), instead, "as if the record had become shorter");
}

fn file_request(last: EntryId, offset: u64) -> Request {
    Request { shard: SHARD_0, last, bytes_max: 100, piece: Piece::File { offset } }
}
