//! Leases, delays and dead letters through the front door of the state machine: what is promised of each, one test for
//! each promise.

use std::time::Duration;

use super::*;
use crate::ids::{Index, Sequence, SessionId, Timestamp};
use crate::proto::v1;

/// A state machine and the place of its next entry. The time is in milliseconds.
struct Machine {
    machine: StateMachine,
    index: u64,
    now: u64,
}

const LEASE: Duration = Duration::from_millis(100);

fn machine() -> Machine {
    let limits = Limits { queue_messages_max: 5, answer_bytes_max: 1_000, ..Limits::default() };
    Machine { machine: StateMachine::new(limits), index: 0, now: 1_000 }
}

fn name(text: &str) -> QueueName {
    text.parse().expect("a good name")
}

fn enqueue(body: &str) -> Operation {
    enqueue_later(body, 0)
}

fn enqueue_later(body: &str, delay: u64) -> Operation {
    let (message, delay) = (Body::Text(body.into()).into(), Duration::from_millis(delay));
    Operation::Enqueue { queue: name("q"), message, delay }
}

fn lease(limit: u32) -> Operation {
    Operation::Lease { queue: name("q"), limit, duration: LEASE, wait: false }
}

fn settle(settlements: Vec<(LeaseToken, Settlement)>) -> Operation {
    Operation::Settle { queue: name("q"), settlements, all_or_none: false }
}

fn release() -> Settlement {
    Settlement::Release { delay: Duration::ZERO }
}

fn reject(reason: &str) -> Settlement {
    Settlement::Reject { reason: reason.into() }
}

fn extend(token: LeaseToken, milliseconds: u64) -> Operation {
    Operation::ExtendLease { queue: name("q"), tokens: vec![token], duration: Duration::from_millis(milliseconds) }
}

fn set_deliveries_max(deliveries_max: u32) -> Operation {
    let chosen = Chosen { deliveries_max: Some(deliveries_max), ..Chosen::default() };
    Operation::SetQueue { queue: name("q"), chosen }
}

fn dequeue() -> Operation {
    Operation::Dequeue { queue: name("q"), wait: false }
}

impl Machine {
    fn apply(&mut self, session: Option<SessionRequest>, operations: Vec<Operation>) -> Applied {
        self.index += 1;
        let command = Command { session, timestamp: Timestamp(self.now), operations, expiry: false };
        self.machine.apply(Index(self.index), &command)
    }

    fn run(&mut self, operation: Operation) -> Outcome {
        match self.apply(None, vec![operation]).decision {
            Decision::Executed { outcomes, .. } => outcomes.into_iter().next().expect("one operation, one outcome"),
            other => panic!("not executed: {other:?}"),
        }
    }

    /// Puts messages into the queue, each in an entry of its own.
    fn fill(&mut self, bodies: &[&str]) {
        bodies.iter().for_each(|body| drop(self.run(enqueue(body))));
    }

    /// The index of each message that is leased, its deliveries, and the token.
    fn lease(&mut self, limit: u32) -> Vec<(u64, u32, LeaseToken)> {
        match self.run(lease(limit)) {
            Outcome::Leased { lease, messages } => {
                let token = |message| LeaseToken { message, lease };
                messages.into_iter().map(|it| (it.id.index.0, it.deliveries, token(it.id))).collect()
            }
            other => panic!("no lease: {other:?}"),
        }
    }

    fn lease_one(&mut self) -> LeaseToken {
        self.lease(1)[0].2
    }

    fn settles(&mut self, token: LeaseToken, settlement: Settlement) -> bool {
        match self.run(settle(vec![(token, settlement)])) {
            Outcome::Settled(done) => done[0],
            other => panic!("not settled: {other:?}"),
        }
    }

    fn expire_at(&mut self, now: u64) -> Vec<QueueName> {
        self.now = now;
        self.index += 1;
        let command = Command { session: None, timestamp: Timestamp(now), operations: vec![], expiry: true };
        self.machine.apply(Index(self.index), &command).filled
    }

    /// The index of each message in this state, with what is known of it.
    fn peek(&mut self, state: MessageState) -> Vec<(u64, u32, Standing)> {
        match self.run(Operation::Peek { queue: name("q"), limit: 100, state, after: None }) {
            Outcome::Peeked(seen) => seen.into_iter().map(|it| (it.id.index.0, it.deliveries, it.standing)).collect(),
            other => panic!("nothing is shown: {other:?}"),
        }
    }

    fn info(&mut self) -> Totals {
        match self.run(Operation::Stats { queue: Some(name("q")) }) {
            Outcome::Stats(totals) => totals,
            other => panic!("no totals: {other:?}"),
        }
    }

    fn contents(&mut self) -> (u64, u64, u64, u64) {
        let Contents { ready, leased, delayed, dead, .. } = self.info().contents;
        (ready, leased, delayed, dead)
    }
}

#[test]
fn a_leased_message_is_with_one_consumer_and_gone_when_that_acknowledges_it() {
    let mut m = machine();
    m.fill(&["a", "b"]);
    let leased = m.lease(1);
    assert_eq!((leased[0].0, leased[0].1), (1, 1));
    assert_eq!(m.contents(), (1, 1, 0, 0));
    assert_eq!(m.lease(9).into_iter().map(|(index, ..)| index).collect::<Vec<_>>(), [2], "not the one that is leased");
    assert_eq!(m.run(dequeue()), Outcome::Dequeued(None));
    assert!(m.settles(leased[0].2, Settlement::Ack));
    assert!(!m.settles(leased[0].2, Settlement::Ack), "once is enough");
    assert_eq!(m.contents(), (0, 1, 0, 0));
    let Totals { counts, contents, .. } = m.info();
    assert_eq!((counts.enqueued, counts.acknowledged, counts.dequeued, contents.bytes), (2, 1, 0, 1));
}

#[test]
fn a_message_comes_back_to_its_place_when_its_lease_ends_or_it_is_released() {
    let mut m = machine();
    m.fill(&["a", "b", "c"]);
    let leased = m.lease(2);
    assert_eq!(m.machine.next_expiry(), Some(Timestamp(1_100)));
    assert!(m.settles(leased[1].2, release()));
    assert_eq!(m.peek(MessageState::Ready), [(2, 1, Standing::Ready), (3, 0, Standing::Ready)]);
    assert_eq!(m.expire_at(1_099), []);
    assert_eq!(m.expire_at(1_100), [name("q")]);
    assert_eq!(m.machine.next_expiry(), None);
    let order: Vec<(u64, u32)> = m.lease(9).into_iter().map(|(index, deliveries, _)| (index, deliveries)).collect();
    assert_eq!(order, [(1, 2), (2, 2), (3, 1)]);
    assert_eq!(m.info().counts.redelivered, 2);
}

/// Also before the expiry entry has come: two nodes that look at the same log must not differ.
#[test]
fn a_token_is_refused_from_the_end_of_its_lease_on_and_for_ever() {
    let mut m = machine();
    m.fill(&["a"]);
    let first = m.lease_one();
    m.now = 1_100;
    for how in [Settlement::Ack, release(), reject("")] {
        assert!(!m.settles(first, how));
    }
    assert_eq!(m.run(extend(first, 100)), Outcome::LeaseExtended { until: Timestamp(1_200), extended: vec![false] });
    m.expire_at(1_100);
    let second = m.lease_one();
    assert!(!m.settles(first, Settlement::Ack), "another consumer has the message");
    assert!(m.settles(second, release()));
    assert!(!m.settles(second, Settlement::Ack), "it was settled");
    assert_eq!(m.contents(), (1, 0, 0, 0));
}

#[test]
fn one_stale_token_spoils_none_of_the_others_unless_it_is_to_be_all_or_none() {
    let mut m = machine();
    m.fill(&["a", "b"]);
    let [(_, _, one), (_, _, other)] = m.lease(2)[..] else { panic!("two are leased") };
    let stale = LeaseToken { lease: LeaseId { item: 7, ..one.lease }, ..one };
    let settlements = vec![(one, Settlement::Ack), (stale, Settlement::Ack), (other, Settlement::Ack)];
    let before = m.machine.digest();
    let all_or_none = Operation::Settle { queue: name("q"), settlements: settlements.clone(), all_or_none: true };
    let refused = Refusal::LeaseExpired { queue: name("q"), token: stale };
    assert_eq!(m.apply(None, vec![enqueue("result"), all_or_none]).decision, Decision::Refused(refused));
    assert_eq!(m.machine.digest(), before, "neither was settled nor enqueued");
    assert_eq!(m.run(settle(settlements)), Outcome::Settled(vec![true, false, true]));
    let elsewhere =
        Operation::Settle { queue: name("none"), settlements: vec![(one, Settlement::Ack)], all_or_none: false };
    assert_eq!(m.run(elsewhere), Outcome::Settled(vec![false]));
}

#[test]
fn a_lease_is_extended_and_shortened_from_now_on_and_its_token_stays() {
    let mut m = machine();
    m.fill(&["a"]);
    let token = m.lease_one();
    m.now = 1_050;
    assert_eq!(m.run(extend(token, 500)), Outcome::LeaseExtended { until: Timestamp(1_550), extended: vec![true] });
    assert_eq!(m.machine.next_expiry(), Some(Timestamp(1_550)));
    m.run(extend(token, 10));
    assert_eq!(m.machine.next_expiry(), Some(Timestamp(1_060)));
    m.run(extend(token, 0));
    assert_eq!(m.machine.next_expiry(), Some(Timestamp(1_050 + 30_000)), "the queue's own");
    assert!(m.settles(token, Settlement::Ack));
    assert_eq!(m.machine.next_expiry(), None);
}

#[test]
fn a_delayed_message_is_taken_in_its_turn_when_its_delay_is_over() {
    let mut m = machine();
    m.run(enqueue_later("a", 50));
    m.fill(&["b"]);
    assert_eq!(m.contents(), (1, 0, 1, 0));
    let due = Standing::Delayed { until: Timestamp(1_050) };
    assert_eq!(m.peek(MessageState::Delayed), [(1, 0, due)]);
    assert_eq!(m.run(Operation::Dequeue { queue: name("none"), wait: false }), Outcome::Dequeued(None));
    assert_eq!(m.expire_at(1_050), [name("q")]);
    assert_eq!(m.peek(MessageState::Ready).into_iter().map(|(index, ..)| index).collect::<Vec<_>>(), [1, 2]);
    let token = m.lease_one();
    assert!(m.settles(token, Settlement::Release { delay: Duration::from_millis(9) }));
    assert_eq!(m.peek(MessageState::Delayed), [(1, 1, Standing::Delayed { until: Timestamp(1_059) })]);
}

#[test]
fn a_message_that_nobody_acknowledges_is_dead_after_as_many_deliveries_as_the_queue_allows() {
    let mut m = machine();
    m.fill(&["a"]);
    m.run(set_deliveries_max(2));
    let token = m.lease_one();
    assert!(m.settles(token, release()));
    m.lease_one();
    assert_eq!(m.expire_at(1_100), [], "nothing became ready");
    let reason = DeadReason::Unacknowledged;
    assert_eq!(m.peek(MessageState::Dead), [(1, 2, Standing::Dead { since: Timestamp(1_100), reason })]);
    assert_eq!((m.lease(1), m.contents(), m.info().counts.dead_lettered), (vec![], (0, 0, 0, 1), 1));
    assert_eq!(m.info().oldest, None);
}

#[test]
fn a_rejected_message_is_dead_until_it_is_redriven_as_if_it_had_never_been_delivered() {
    let mut m = machine();
    m.fill(&["a", "b", "c"]);
    let leased = m.lease(2);
    for (_, _, token) in leased.into_iter().rev() {
        assert!(m.settles(token, reject("no pizza")));
    }
    let dead = Standing::Dead { since: Timestamp(1_000), reason: DeadReason::Rejected("no pizza".into()) };
    assert_eq!(m.peek(MessageState::Dead), [(1, 1, dead.clone()), (2, 1, dead)]);
    let redrive = |limit| Operation::Redrive { queue: name("q"), limit };
    let applied = m.apply(None, vec![redrive(1)]);
    assert_eq!(applied.filled, [name("q")]);
    assert_eq!(m.peek(MessageState::Ready), [(1, 0, Standing::Ready), (3, 0, Standing::Ready)], "the oldest one");
    assert_eq!(m.run(redrive(100)), Outcome::Redriven(1));
    assert_eq!(m.run(redrive(100)), Outcome::Redriven(0));
    assert_eq!(
        m.lease(9).iter().map(|(index, deliveries, _)| (*index, *deliveries)).collect::<Vec<_>>(),
        [(1, 1), (2, 1), (3, 1)]
    );
    let unknown = Operation::Redrive { queue: name("none"), limit: 1 };
    assert_eq!(m.apply(None, vec![unknown]).decision, Decision::Refused(Refusal::QueueNotFound(name("none"))));
}

#[test]
fn a_full_queue_is_full_of_messages_of_any_state_and_dead_letters_are_never_dropped() {
    let mut m = machine();
    m.fill(&["a", "b", "c"]);
    m.run(enqueue_later("d", 9));
    let leased = m.lease(2);
    m.settles(leased[0].2, reject(""));
    m.fill(&["e"]);
    let full = |dead| Decision::Refused(Refusal::QueueFull { queue: name("q"), messages: 5, dead, messages_max: 5 });
    assert_eq!(m.apply(None, vec![enqueue("f")]).decision, full(1));
    m.settles(leased[1].2, reject(""));
    assert_eq!(m.apply(None, vec![enqueue("f")]).decision, full(2), "dying takes no room");
    m.run(dequeue());
    m.fill(&["f"]);
}

#[test]
fn settings_are_chosen_one_by_one_and_zero_is_the_default() {
    let mut m = machine();
    m.fill(&["a"]);
    let set = |lease: Option<u64>, deliveries_max, messages_max| {
        let chosen = Chosen { lease_duration: lease.map(Duration::from_millis), deliveries_max, messages_max };
        Operation::SetQueue { queue: name("q"), chosen }
    };
    let settings = |lease, deliveries_max, messages_max| {
        let lease_duration = Duration::from_millis(lease);
        Outcome::QueueSet(Settings { lease_duration, deliveries_max, messages_max })
    };
    assert_eq!(m.run(set(None, None, None)), settings(30_000, 20, 5));
    assert_eq!(m.run(set(Some(7), None, None)), settings(7, 20, 5));
    assert_eq!(m.run(set(None, Some(3), Some(2))), settings(7, 3, 2));
    assert_eq!(m.run(set(None, None, Some(6))), settings(7, 3, 5), "never more than nodes allow");
    let before = m.machine.digest();
    let refused = m.apply(None, vec![set(Some(9), Some(9), Some(1)), enqueue("b")]).decision;
    assert!(matches!(refused, Decision::Refused(Refusal::QueueFull { .. })), "{refused:?}");
    assert_eq!(m.machine.digest(), before, "what was chosen is taken back with the rest");
    m.run(Operation::Lease { queue: name("q"), limit: 1, duration: Duration::ZERO, wait: false });
    assert_eq!(m.machine.next_expiry(), Some(Timestamp(1_007)));
    assert_eq!(m.run(set(Some(0), Some(0), Some(0))), settings(30_000, 20, 5));
    let unknown = Operation::SetQueue { queue: name("none"), chosen: Chosen::default() };
    assert_eq!(m.apply(None, vec![unknown]).decision, Decision::Refused(Refusal::QueueNotFound(name("none"))));
}

#[test]
fn a_retried_lease_gets_the_same_messages_and_keeps_them_alive() {
    let mut m = machine();
    let Outcome::SessionOpened { id, .. } = m.run(Operation::OpenSession) else { panic!("no session") };
    let request = |sequence| SessionRequest { id, sequence: Sequence(sequence), lowest_pending: Sequence(1) };
    m.fill(&["one", "two"]);
    let first = m.apply(Some(request(1)), vec![lease(1)]).decision;
    let Decision::Executed { index, outcomes, .. } = first else { panic!("not executed: {first:?}") };
    let again = m.apply(Some(request(1)), vec![lease(1)]).decision;
    assert_eq!(again, Decision::Executed { index, replayed: true, outcomes: outcomes.clone() });
    assert_eq!(m.contents(), (1, 1, 0, 0));
    let Outcome::Leased { lease, ref messages } = outcomes[0] else { panic!("no lease: {outcomes:?}") };
    let alive = |m: &Machine| m.machine.living().into_iter().map(|it| (it.id.index.0, it.bytes)).collect::<Vec<_>>();
    assert_eq!(alive(&m), [(2, 3), (3, 3)]);
    m.settles(LeaseToken { message: messages[0].id, lease }, Settlement::Ack);
    assert_eq!(alive(&m), [(2, 0), (3, 3)], "only the outcome names it");
}

#[test]
fn a_waiting_lease_of_a_queue_with_nothing_ready_decides_nothing() {
    let mut m = machine();
    m.fill(&["a"]);
    let token = m.lease_one();
    let wait = || Operation::Lease { queue: name("q"), limit: 1, duration: LEASE, wait: true };
    assert_eq!(m.apply(None, vec![wait()]).decision, Decision::Waiting);
    let applied = m.apply(None, vec![settle(vec![(token, release())])]);
    assert_eq!(applied.filled, [name("q")], "whoever waits may ask again");
    assert!(matches!(m.apply(None, vec![wait()]).decision, Decision::Executed { .. }));
}

#[test]
fn an_answer_that_is_full_ends_a_lease_early() {
    let mut m = machine();
    let long = "x".repeat(600);
    m.fill(&[&long, &long]);
    assert_eq!(m.lease(9).len(), 1);
    let decided = m.apply(None, vec![enqueue(&long), lease(1), lease(1)]).decision;
    assert_eq!(decided, Decision::Refused(Refusal::AnswerTooLarge { bytes_max: 1_000 }));
    assert_eq!(m.contents(), (1, 1, 0, 0));
}

#[test]
fn messages_of_a_state_are_shown_page_by_page() {
    let mut m = machine();
    m.fill(&["a", "b", "c", "d"]);
    m.lease(1);
    m.expire_at(1_100);
    let mut page = |after: Option<u64>| {
        let after = after.map(|index| MessageId { index: Index(index), item: 0 });
        match m.run(Operation::Peek { queue: name("q"), limit: 2, state: MessageState::Ready, after }) {
            Outcome::Peeked(seen) => seen.into_iter().map(|it| it.id.index.0).collect::<Vec<_>>(),
            other => panic!("nothing is shown: {other:?}"),
        }
    };
    assert_eq!((page(None), page(Some(2)), page(Some(4))), (vec![1, 2], vec![3, 4], vec![]));
}

/// The loop of a node has other work as well.
#[test]
fn one_expiry_command_does_a_bounded_part_of_the_work() {
    let mut machine = StateMachine::new(Limits::default());
    let command = |operations, expiry| Command { session: None, timestamp: Timestamp(1_000), operations, expiry };
    let delayed = command(vec![enqueue_later("", 1); 1_000], false);
    for index in 1..=3 {
        machine.apply(Index(index), &delayed);
    }
    let expiry = Command { timestamp: Timestamp(9_000), ..command(vec![], true) };
    for (index, ready) in (4..).zip([1_000, 2_000, 3_000]) {
        assert_eq!(machine.next_expiry(), Some(Timestamp(1_001)));
        assert_eq!(machine.apply(Index(index), &expiry).filled, [name("q")]);
        assert_eq!(machine.ready_in(&name("q")), ready);
    }
    assert_eq!(machine.next_expiry(), None);
}

#[test]
fn a_token_has_one_text() {
    let token = LeaseToken {
        message: MessageId { index: Index(u64::MAX), item: 2 },
        lease: LeaseId { index: Index(3), item: u32::MAX },
    };
    assert_eq!(token.to_string().parse(), Ok(token));
    for wrong in ["", "1-2-3", "1-2-3-4-5", "1-2-3-x", "01-2-3-4", "+1-2-3-4", "1-2-3-4294967296", " 1-2-3-4", "1-2--3"]
    {
        assert_eq!(wrong.parse::<LeaseToken>(), Err(InvalidLeaseToken), "{wrong:?}");
    }
}

#[test]
fn a_session_that_ends_leaves_its_leases() {
    let mut m = machine();
    let Outcome::SessionOpened { id, .. } = m.run(Operation::OpenSession) else { panic!("no session") };
    let request = |sequence| SessionRequest { id, sequence: Sequence(sequence), lowest_pending: Sequence(1) };
    m.fill(&["a"]);
    m.apply(Some(request(1)), vec![lease(1)]);
    m.apply(Some(request(2)), vec![Operation::CloseSession]);
    let expired = Decision::Refused(Refusal::SessionExpired(SessionId(id.0)));
    assert_eq!(m.apply(Some(request(3)), vec![lease(1)]).decision, expired);
    assert_eq!(m.contents(), (0, 1, 0, 0));
}

/// The state counts in milliseconds: a lease of half of one would have ended before anybody could acknowledge its messages.
#[test]
fn no_time_is_shorter_than_was_asked_for() {
    let parse = |verb| Operation::from_proto(v1::Operation { operation: Some(verb) }).expect("well formed");
    let duration = |nanos| Some(prost_types::Duration { seconds: 2, nanos });
    for (asked, milliseconds) in [(0, 2_000), (1, 2_001), (1_000_000, 2_001), (1_000_001, 2_002), (999_999_999, 3_000)]
    {
        let expected = Duration::from_millis(milliseconds);
        let lease = v1::Lease { queue: "q".to_owned(), limit: 1, duration: duration(asked), wait: None };
        let parsed = parse(v1::operation::Operation::Lease(lease));
        assert_eq!(parsed, Operation::Lease { queue: name("q"), limit: 1, duration: expected, wait: false });
        let body = Some(v1::message::Body::Text(String::new()));
        let message = Some(v1::Message { body, ..v1::Message::default() });
        let enqueue = v1::Enqueue { queue: "q".to_owned(), message, delay: duration(asked) };
        let parsed = parse(v1::operation::Operation::Enqueue(enqueue));
        assert!(matches!(parsed, Operation::Enqueue { delay, .. } if delay == expected), "{parsed:?}");
    }
}
