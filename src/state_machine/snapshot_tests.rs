//! The state as blocks: it comes back as it was and goes on as if nothing had been, and damaged blocks are noticed. What a
//! clone shares, it keeps.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use super::property_tests::{LIMITS, Twin, commands, step};
use super::*;
use crate::ids::{Index, Sequence, SessionId, Timestamp};
use crate::proto::internal::{
    HeldMessage, KeptMessage, KeptOutcome, KeptRefusal, QueuePart, QueueParts, SessionPart, SessionParts, StateHead,
    StatePart, kept_outcome::Kept, state_part::Part,
};
use crate::proto::v1;

fn blocks_of(machine: &StateMachine, block_bytes: usize) -> Vec<Bytes> {
    let mut blocks = vec![];
    let written: Result<(), ()> = machine.write_blocks_of(block_bytes, |block| {
        blocks.push(Bytes::copy_from_slice(block));
        Ok(())
    });
    written.expect("nothing fails");
    blocks
}

fn read(blocks: impl IntoIterator<Item = Bytes>) -> Result<StateMachine, ReadError<&'static str>> {
    StateMachine::read_blocks(LIMITS, blocks.into_iter().map(Ok))
}

/// As many as a block holds at a time, from one message to all there are.
fn block_bytes() -> impl Strategy<Value = usize> {
    prop_oneof![1..150usize, Just(usize::MAX)]
}

fn machine_after(commands: &[Command]) -> StateMachine {
    let mut machine = StateMachine::new(LIMITS);
    for (number, command) in (1..).zip(commands) {
        machine.apply(Index(number), command);
    }
    machine
}

/// What may happen to blocks on their way.
#[derive(Clone, Debug)]
enum Damage {
    Flip { block: prop::sample::Index, byte: prop::sample::Index, bit: u8 },
    Cut { block: prop::sample::Index, at: prop::sample::Index },
    Lose(prop::sample::Index),
    LoseRest(prop::sample::Index),
    Repeat(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        4 => (place(), place(), 0..8u8).prop_map(|(block, byte, bit)| Damage::Flip { block, byte, bit }),
        1 => (place(), place()).prop_map(|(block, at)| Damage::Cut { block, at }),
        1 => place().prop_map(Damage::Lose),
        1 => place().prop_map(Damage::LoseRest),
        1 => place().prop_map(Damage::Repeat),
        1 => (place(), place()).prop_map(|(one, other)| Damage::Swap(one, other)),
        1 => (place(), proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(at, block)| Damage::Insert(at, block)),
    ]
}

fn damaged(mut blocks: Vec<Bytes>, damage: &Damage) -> Vec<Bytes> {
    let count = blocks.len();
    match damage {
        Damage::Flip { block, byte, bit } => {
            let mut bytes = block.get(&blocks).to_vec();
            if !bytes.is_empty() {
                *byte.get_mut(&mut bytes) ^= 1 << bit;
            }
            *block.get_mut(&mut blocks) = bytes.into();
        }
        Damage::Cut { block, at } => {
            let block = block.get_mut(&mut blocks);
            block.truncate(at.index(block.len() + 1));
        }
        Damage::Lose(block) => drop(blocks.remove(block.index(count))),
        Damage::LoseRest(block) => blocks.truncate(block.index(count)),
        Damage::Repeat(block) => blocks.insert(block.index(count), block.get(&blocks).clone()),
        Damage::Swap(one, other) => blocks.swap(one.index(count), other.index(count)),
        Damage::Insert(at, block) => blocks.insert(at.index(count + 1), Bytes::from(block.clone())),
    }
    blocks
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_state_from_its_blocks_goes_on_as_the_one_they_were_made_of(
        steps in proptest::collection::vec(step(), 1..80), cut in any::<prop::sample::Index>(), block_bytes in block_bytes(),
    ) {
        let commands = commands(&steps);
        let cut = cut.index(commands.len() + 1);
        let mut machine = machine_after(&commands[..cut]);
        let blocks = blocks_of(&machine, block_bytes);
        let mut restored = read(blocks.iter().cloned()).expect("nothing was damaged");
        prop_assert_eq!(blocks_of(&restored, block_bytes), blocks);
        prop_assert_eq!(restored.digest(), machine.digest());
        let everything = [Operation::Stats { queue: None }, Operation::ListQueues { after: None, limit: 9 }];
        for (number, command) in (1..).zip(&commands).skip(cut) {
            prop_assert_eq!(restored.next_expiry(), machine.next_expiry());
            prop_assert_eq!(restored.query(&everything), machine.query(&everything));
            prop_assert_eq!(restored.apply(Index(number), command), machine.apply(Index(number), command));
        }
        prop_assert_eq!(blocks_of(&restored, block_bytes), blocks_of(&machine, block_bytes));
        prop_assert_eq!(restored.digest(), machine.digest());
        prop_assert_eq!(restored.living(), machine.living());
    }

    #[test]
    fn damaged_blocks_are_an_error_or_the_same_state(
        steps in proptest::collection::vec(step(), 1..60), block_bytes in block_bytes(),
        damages in proptest::collection::vec(damage(), 1..3),
    ) {
        let machine = machine_after(&commands(&steps));
        let mut blocks = blocks_of(&machine, block_bytes);
        for damage in &damages {
            if !blocks.is_empty() {
                blocks = damaged(blocks, damage);
            }
        }
        if let Ok(restored) = read(blocks) {
            prop_assert_eq!(blocks_of(&restored, block_bytes), blocks_of(&machine, block_bytes));
            prop_assert_eq!(restored.digest(), machine.digest());
        }
    }

    #[test]
    fn a_clone_stays_as_it_is_and_goes_on_by_itself(
        steps in proptest::collection::vec(step(), 1..80), cut in any::<prop::sample::Index>(),
    ) {
        let commands = commands(&steps);
        let cut = cut.index(commands.len() + 1);
        let mut machine = machine_after(&commands[..cut]);
        let before = blocks_of(&machine, usize::MAX);
        let mut clone = machine.clone();
        for (number, command) in (1..).zip(&commands).skip(cut) {
            machine.apply(Index(number), command);
        }
        let after = blocks_of(&machine, usize::MAX);
        prop_assert_eq!(blocks_of(&clone, usize::MAX), before, "the clone changed with the original");
        for (number, command) in (1..).zip(&commands).skip(cut) {
            clone.apply(Index(number), command);
        }
        prop_assert_eq!(blocks_of(&clone, usize::MAX), &after[..]);
        prop_assert_eq!(blocks_of(&machine, usize::MAX), after, "the original changed with the clone");
    }

    #[test]
    fn the_living_are_what_a_naive_walk_finds(steps in proptest::collection::vec(step(), 1..80)) {
        let (mut machine, mut twin) = (StateMachine::new(LIMITS), Twin::default());
        for (number, command) in (1..).zip(commands(&steps)) {
            machine.apply(Index(number), &command);
            twin.apply(Index(number), &command);
            let living: Vec<(MessageId, u64)> =
                machine.living().into_iter().map(|living| (living.id, living.bytes.into())).collect();
            prop_assert_eq!(living, naive_walk(&twin));
        }
    }
}

fn naive_walk(twin: &Twin) -> Vec<(MessageId, u64)> {
    let mut living = BTreeMap::new();
    for (_, decision) in twin.sessions.iter().flat_map(|session| &session.decided) {
        let Decision::Executed { outcomes, .. } = decision else { continue };
        for outcome in outcomes {
            match outcome {
                Outcome::Dequeued(Some(given)) => drop(living.insert(given.id, 0)),
                Outcome::Peeked(given) | Outcome::Leased { messages: given, .. } => {
                    living.extend(given.iter().map(|given| (given.id, 0)))
                }
                _ => {}
            }
        }
    }
    living.extend(twin.queues.iter().flat_map(|queue| &queue.messages).map(|message| (message.id, message.bytes)));
    living.into_iter().collect()
}

fn name(text: &str) -> QueueName {
    text.parse().expect("a good name")
}

fn enqueue(queue: &str, body: &str) -> Operation {
    Operation::Enqueue { queue: name(queue), message: Body::Text(body.into()).into(), delay: Duration::ZERO }
}

fn lease(queue: &str) -> Operation {
    Operation::Lease { queue: name(queue), limit: 1, duration: Duration::from_secs(7), wait: false }
}

fn later(queue: &str) -> Operation {
    let message = Body::Text("later".into()).into();
    Operation::Enqueue { queue: name(queue), message, delay: Duration::from_secs(9) }
}

fn choose(queue: &str) -> Operation {
    let lease_duration = Some(Duration::from_millis(1_234));
    let chosen = Chosen { lease_duration, deliveries_max: Some(5), messages_max: Some(4) };
    Operation::SetQueue { queue: name(queue), chosen }
}

/// Rejects messages of queue "b" for this reason.
fn settle(tokens: &[&str], reason: &str) -> Operation {
    let reject = |token: &&str| (token.parse().expect("a token"), Settlement::Reject { reason: reason.into() });
    Operation::Settle { queue: name("b"), settlements: tokens.iter().map(reject).collect(), all_or_none: true }
}

fn command(session: Option<SessionRequest>, operations: Vec<Operation>) -> Command {
    Command { session, timestamp: Timestamp(1_000), operations, expiry: false }
}

fn request(sequence: u64) -> SessionRequest {
    SessionRequest { id: SessionId(1), sequence: Sequence(sequence), lowest_pending: Sequence(1) }
}

#[test]
fn the_encoding_of_a_state_stays_what_it_is() {
    let dequeue = Operation::Dequeue { queue: name("a"), wait: false };
    let machine = machine_after(&[
        command(None, vec![Operation::OpenSession]),
        command(None, vec![enqueue("a", "one"), enqueue("b", "two"), enqueue("a", "three")]),
        command(Some(request(2)), vec![dequeue, enqueue("b", "")]),
        command(Some(request(3)), vec![enqueue("c", "")]),
        command(Some(request(4)), vec![lease("a"), lease("b"), choose("b"), later("b")]),
        command(None, vec![settle(&["2-1-5-1"], "no"), lease("b"), enqueue("a", "four"), enqueue("a", "")]),
    ]);
    let hex = |block: Bytes| block.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(
        blocks_of(&machine, 1 << 18).into_iter().map(hex).collect::<Vec<_>>(),
        [
            "0a1408e80710021806200129ad0a7ef5f2679abd3003",
            "1280010a300a0161120206001a020203220204002a03e80700320408041001521408021002180520e8072801300238c0\
             3e420208050a4c0a016232040803280138d2094005480452140803100120e8072801300238c03e420408061001520e08\
             051003180520e807300338904e521408021001180320e8072801300438e8074a026e6f",
            "1a94010a9101080110e8071801221d080212190803120d220b0a09080220e8072801300112061a040803100122160803\
             1a120a0d546f6f4d616e795175657565731a010222510804124d0805121642140a0e0802100220e8072801300238c03e\
             12020805121842160a0e0802100120e8072801300238c03e120408051001120f620d0a07080110809dca6f1005180412\
             061a0408051003",
        ]
    );
}

#[test]
fn a_block_is_full_at_256_kibibytes_and_what_is_long_goes_on_in_the_next() {
    let limits = Limits { queue_messages_max: u64::MAX, session_outcomes_max: u64::MAX, ..LIMITS };
    let mut machine = StateMachine::new(limits);
    machine.apply(Index(1), &command(None, vec![Operation::OpenSession]));
    for index in 2..100_000 {
        machine.apply(Index(index), &command(Some(request(index)), vec![enqueue("q", "body"), enqueue("q", "")]));
    }
    let mut blocks = vec![];
    let written: Result<(), ()> = machine.write_blocks(|block| {
        blocks.push(Bytes::copy_from_slice(block));
        Ok(())
    });
    written.expect("nothing fails");
    let queues =
        |block: &Bytes| matches!(StatePart::decode(block.clone()), Ok(StatePart { part: Some(Part::Queues(_)) }));
    let of_queues = blocks.iter().filter(|block| queues(block)).count();
    assert!(of_queues > 2 && blocks.len() > of_queues + 3, "{of_queues} of {} blocks are of queues", blocks.len());
    let lengths: Vec<usize> = blocks.iter().map(Bytes::len).collect();
    assert!(lengths.iter().all(|bytes| *bytes < (256 << 10) + 200), "{lengths:?}");
    let full = lengths.iter().filter(|bytes| **bytes > 200 << 10).count();
    assert_eq!(full, blocks.len() - 3, "all but the head and the last ones of their kind are full: {lengths:?}");
    let restored = StateMachine::read_blocks(limits, blocks.into_iter().map(Ok::<_, ()>)).expect("nothing was damaged");
    assert_eq!(restored.digest(), machine.digest());
}

#[test]
fn what_cannot_be_written_or_read_is_told_at_once() {
    let machine = machine_after(&[command(None, vec![enqueue("a", ""), enqueue("b", "")])]);
    let mut calls = 0;
    let written = machine.write_blocks_of(1, |_| {
        calls += 1;
        if calls == 2 { Err("full") } else { Ok(()) }
    });
    assert_eq!((written, calls), (Err("full"), 2));
    let blocks = blocks_of(&machine, 1).into_iter().take(2).map(Ok).chain([Err("gone")]);
    let error = StateMachine::read_blocks(LIMITS, blocks).expect_err("one is missing");
    assert_eq!(error, ReadError::Source { block: 2, source: "gone" });
}

/// What is wrong with these parts after a head that counts nothing.
fn wrong(parts: impl IntoIterator<Item = Part>) -> (u64, InvalidState) {
    let head = Part::Head(StateHead { timestamp_ms: 10, format: 3, ..StateHead::default() });
    wrong_blocks([head].into_iter().chain(parts).map(|part| StatePart { part: Some(part) }))
}

fn wrong_blocks(blocks: impl IntoIterator<Item = StatePart>) -> (u64, InvalidState) {
    match read(blocks.into_iter().map(|block| block.encode_to_vec().into())) {
        Err(ReadError::Invalid { block, source }) => (block, source),
        other => panic!("nothing is wrong: {other:?}"),
    }
}

fn queue(name: &str, index_deltas: &[u64], items: &[u32]) -> QueuePart {
    let (lengths, time_deltas) = (vec![1; items.len()], vec![1; items.len()]);
    let (index_deltas, items) = (index_deltas.to_vec(), items.to_vec());
    QueuePart { name: name.into(), index_deltas, items, lengths, time_deltas, ..QueuePart::default() }
}

fn queues(queues: &[QueuePart]) -> Part {
    Part::Queues(QueueParts { queues: queues.to_vec() })
}

fn session(id: u64, sequences: &[u64]) -> SessionPart {
    let refused = |numbers| Kept::Refused(KeptRefusal { name: "TooManyQueues".into(), queue: String::new(), numbers });
    let kept = |sequence: &u64| KeptOutcome { sequence: *sequence, kept: Some(refused(vec![1])) };
    SessionPart { id, last_used_ms: 10, lowest_pending: 5, kept: sequences.iter().map(kept).collect() }
}

fn sessions(sessions: &[SessionPart]) -> Part {
    Part::Sessions(SessionParts { sessions: sessions.to_vec() })
}

#[test]
fn parts_that_are_none_or_out_of_order_are_told() {
    assert_eq!(wrong_blocks([]), (0, InvalidState::NoHead));
    assert_eq!(wrong_blocks([StatePart { part: None }]), (0, InvalidState::UnknownPart));
    assert_eq!(wrong_blocks([StatePart { part: Some(queues(&[])) }]), (0, InvalidState::PartOrder));
    assert_eq!(wrong([Part::Head(StateHead { format: 3, ..StateHead::default() })]), (1, InvalidState::PartOrder));
    assert_eq!(wrong([sessions(&[session(1, &[])]), queues(&[])]), (2, InvalidState::PartOrder));
    for format in [0, 2, 4] {
        let head = StatePart { part: Some(Part::Head(StateHead { format, ..StateHead::default() })) };
        assert_eq!(wrong_blocks([head]), (0, InvalidState::Format { found: format }));
    }
    let error = read([Bytes::from_static(&[0xff])]).expect_err("no protobuf");
    assert!(matches!(error, ReadError::Invalid { block: 0, source: InvalidState::Encoding(_) }), "{error:?}");
}

#[test]
fn queues_that_make_no_sense_are_told() {
    let of_one = |queue| wrong([queues(&[queue])]).1;
    assert!(matches!(of_one(queue("?", &[], &[])), InvalidState::QueueName(InvalidQueueName::Character { .. })));
    assert_eq!(of_one(queue("q", &[1], &[1, 1])), InvalidState::MessageIncomplete(name("q")));
    assert_eq!(of_one(queue("q", &[1, 1], &[1])), InvalidState::MessageIncomplete(name("q")));
    assert_eq!(of_one(queue("q", &[7, 0], &[1, 1])), InvalidState::MessageOrder(name("q")), "twice the same");
    assert_eq!(of_one(queue("q", &[7, 0], &[1, 0])), InvalidState::MessageOrder(name("q")));
    for (index_deltas, items) in [([7, u64::MAX], [1, 1]), ([7, 1 << 52], [1, 1]), ([7, 1], [1, 1 << 12])] {
        assert_eq!(of_one(queue("q", &index_deltas, &items)), InvalidState::Message(name("q")), "{index_deltas:?}");
    }
    let too_long = QueuePart { lengths: vec![1 << 22], ..queue("q", &[1], &[1]) };
    assert_eq!(of_one(too_long), InvalidState::Message(name("q")));
    let too_late = QueuePart { time_deltas: vec![1 << 42], ..queue("q", &[1], &[1]) };
    assert_eq!(of_one(too_late), InvalidState::Message(name("q")));
    let without_time = QueuePart { time_deltas: vec![], ..queue("q", &[1], &[1]) };
    assert_eq!(of_one(without_time), InvalidState::MessageIncomplete(name("q")));
    let order = |name_| InvalidState::QueueOrder(name(name_));
    assert_eq!(wrong([queues(&[queue("b", &[], &[]), queue("a", &[], &[])])]), (1, order("a")));
    assert_eq!(wrong([queues(&[queue("b", &[1], &[1]), queue("b", &[2], &[1])])]), (1, order("b")));
    assert_eq!(wrong([queues(&[queue("b", &[], &[])]), queues(&[queue("a", &[], &[])])]), (2, order("a")));
    let halves = [queues(&[queue("b", &[2], &[1])]), queues(&[queue("b", &[2], &[1])])];
    assert_eq!(wrong(halves), (2, InvalidState::MessageOrder(name("b"))));
    let halves = [queues(&[queue("b", &[2], &[1])]), queues(&[queue("b", &[2], &[2])])];
    assert_eq!(wrong(halves), (3, InvalidState::Count { of: "queues", expected: 0, found: 1 }), "one queue");
}

#[test]
fn messages_that_make_no_sense_are_told() {
    let of_one = |held: &[HeldMessage]| wrong([queues(&[QueuePart { held: held.to_vec(), ..queue("q", &[], &[]) }])]).1;
    let held = |index, state: v1::MessageState| HeldMessage { index, state: state.into(), ..HeldMessage::default() };
    let (ready, dead) = (|index| held(index, v1::MessageState::Ready), |index| held(index, v1::MessageState::Dead));
    let order = InvalidState::MessageOrder(name("q"));
    assert_eq!(of_one(&[ready(2), ready(1)]), order);
    assert_eq!(of_one(&[ready(1), ready(1)]), order);
    assert_eq!(of_one(&[dead(1), ready(2)]), order, "one state after the other");
    let state = InvalidState::MessageState(name("q"));
    assert_eq!(of_one(&[HeldMessage { state: 99, ..ready(1) }]), state);
    assert_eq!(of_one(&[held(1, v1::MessageState::Leased)]), state, "without a lease");
    assert_eq!(of_one(&[HeldMessage { lease: Some(KeptMessage { index: 1, item: 1 }), ..ready(1) }]), state);
    for wrong in [HeldMessage { length: 1 << 22, ..ready(1) }, HeldMessage { item: 1 << 12, ..ready(1) }] {
        assert_eq!(of_one(&[wrong]), InvalidState::Message(name("q")));
    }
    let halves = [2, 1].map(|index| queues(&[QueuePart { held: vec![ready(index)], ..queue("q", &[], &[]) }]));
    assert_eq!(wrong(halves), (2, order));
}

#[test]
fn sessions_that_make_no_sense_are_told() {
    let order = |id| InvalidState::SessionOrder(SessionId(id));
    assert_eq!(wrong([sessions(&[session(2, &[]), session(1, &[])])]), (1, order(1)));
    assert_eq!(wrong([sessions(&[session(2, &[5]), session(2, &[6])])]), (1, order(2)));
    assert_eq!(wrong([sessions(&[session(2, &[])]), sessions(&[session(1, &[])])]), (2, order(1)));
    let other_half = SessionPart { last_used_ms: 9, ..session(2, &[6]) };
    assert_eq!(wrong([sessions(&[session(2, &[5])]), sessions(&[other_half])]), (2, order(2)));
    let sequences = InvalidState::SequenceOrder(SessionId(2));
    assert_eq!(wrong([sessions(&[session(2, &[6, 5])])]), (1, sequences.clone()));
    assert_eq!(wrong([sessions(&[session(2, &[4])])]), (1, sequences.clone()), "below the lowest pending");
    assert_eq!(wrong([sessions(&[session(2, &[5])]), sessions(&[session(2, &[5])])]), (2, sequences));
    let future = SessionPart { last_used_ms: 11, ..session(2, &[]) };
    assert_eq!(wrong([sessions(&[future])]), (1, InvalidState::SessionTime(SessionId(2))));
    let nothing = SessionPart { kept: vec![KeptOutcome { sequence: 5, kept: None }], ..session(2, &[]) };
    let source = InvalidOutcome::NoKind;
    assert_eq!(wrong([sessions(&[nothing])]), (1, InvalidState::Outcome { session: SessionId(2), source }));
    let halves = [sessions(&[session(2, &[5])]), sessions(&[session(2, &[6])])];
    assert_eq!(wrong(halves), (3, InvalidState::Count { of: "sessions", expected: 0, found: 1 }), "one session");
}

#[test]
fn what_is_missing_or_another_state_is_told() {
    let machine = machine_after(&[command(None, vec![enqueue("a", "1"), enqueue("b", ""), enqueue("b", "")])]);
    let without_last = blocks_of(&machine, 1).into_iter().take(5);
    let source = InvalidState::Count { of: "messages", expected: 3, found: 2 };
    assert_eq!(read(without_last).expect_err("one is missing"), ReadError::Invalid { block: 5, source });
    let mut longer = blocks_of(&machine, 1);
    let mut part = StatePart::decode(longer[2].clone()).expect("just written");
    if let Some(Part::Queues(QueueParts { queues })) = &mut part.part {
        queues[0].lengths[0] += 1;
    }
    longer[2] = part.encode_to_vec().into();
    let error = read(longer).expect_err("a length has changed");
    assert!(matches!(error, ReadError::Invalid { block: 6, source: InvalidState::Digest { .. } }), "{error:?}");
}

#[test]
fn a_state_is_read_whatever_the_limits_say() {
    let machine = machine_after(&[command(None, vec![enqueue("a", ""), enqueue("a", ""), enqueue("b", "")])]);
    let none = Limits { queue_messages_max: 0, queues_max: 0, sessions_max: 0, ..LIMITS };
    let blocks = blocks_of(&machine, usize::MAX).into_iter().map(Ok::<_, ()>);
    let restored = StateMachine::read_blocks(none, blocks).expect("what there is may stay");
    assert_eq!(restored.digest(), machine.digest());
}
