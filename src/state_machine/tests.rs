//! The state machine through its front door: what it promises, one test for each promise and each refusal.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::ids::{Index, Sequence, SessionId, Timestamp};

/// A state machine and the place of its next entry.
struct Machine {
    machine: StateMachine,
    index: u64,
    now: u64,
}

const TTL: Duration = Duration::from_millis(100);

fn small_limits() -> Limits {
    Limits {
        queue_messages_max: 3,
        queues_max: 2,
        sessions_max: 2,
        session_outcomes_max: 2,
        session_time_to_live: TTL,
        answer_bytes_max: 1_000,
    }
}

fn machine() -> Machine {
    Machine { machine: StateMachine::new(small_limits()), index: 0, now: 1_000 }
}

impl Machine {
    fn apply(&mut self, session: Option<SessionRequest>, operations: Vec<Operation>) -> Applied {
        self.index += 1;
        let command = Command { session, timestamp: Timestamp(self.now), operations, expiry: false };
        self.machine.apply(Index(self.index), &command)
    }

    fn decide(&mut self, operations: Vec<Operation>) -> Decision {
        self.apply(None, operations).decision
    }

    fn run(&mut self, operation: Operation) -> Outcome {
        match self.decide(vec![operation]) {
            Decision::Executed { outcomes, .. } => outcomes.into_iter().next().expect("one operation, one outcome"),
            other => panic!("not executed: {other:?}"),
        }
    }

    fn in_session(&mut self, request: SessionRequest, operation: Operation) -> Decision {
        self.apply(Some(request), vec![operation]).decision
    }

    fn open(&mut self) -> SessionId {
        match self.run(Operation::OpenSession) {
            Outcome::SessionOpened { id, .. } => id,
            other => panic!("no session: {other:?}"),
        }
    }

    fn expire_at(&mut self, now: u64) {
        self.index += 1;
        self.now = now;
        let command = Command { session: None, timestamp: Timestamp(now), operations: vec![], expiry: true };
        self.machine.apply(Index(self.index), &command);
    }

    fn names(&mut self) -> Vec<(String, u64, u64)> {
        match self.run(Operation::ListQueues { after: None, limit: 10 }) {
            Outcome::Queues { queues, .. } => queues
                .into_iter()
                .map(|info| (info.name.to_string(), info.contents.ready, info.contents.bytes))
                .collect(),
            other => panic!("no list: {other:?}"),
        }
    }
}

fn name(text: &str) -> QueueName {
    text.parse().expect("a good name")
}

fn enqueue(queue: &str, body: &str) -> Operation {
    Operation::Enqueue { queue: name(queue), message: Body::Text(body.into()).into(), delay: Duration::ZERO }
}

fn with_headers(queue: &str, body: &str, headers: &[(&str, &str)]) -> Operation {
    let headers = headers.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let message = Message { body: Body::Text(body.into()), headers };
    Operation::Enqueue { queue: name(queue), message, delay: Duration::ZERO }
}

fn dequeue(queue: &str) -> Operation {
    Operation::Dequeue { queue: name(queue), wait: false }
}

fn peek(queue: &str, limit: u32) -> Operation {
    Operation::Peek { queue: name(queue), limit, state: MessageState::Ready, after: None }
}

fn wait_for(queue: &str) -> Operation {
    Operation::Dequeue { queue: name(queue), wait: true }
}

fn request(id: SessionId, sequence: u64, lowest_pending: u64) -> SessionRequest {
    SessionRequest { id, sequence: Sequence(sequence), lowest_pending: Sequence(lowest_pending) }
}

fn message(index: u64, item: u32) -> MessageId {
    MessageId { index: Index(index), item }
}

/// A message that was enqueued when the machine began.
fn given(index: u64, item: u32) -> Given {
    let (id, enqueued_at) = (message(index, item), Timestamp(1_000));
    Given { id, enqueued_at, deliveries: 0, standing: Standing::Ready }
}

/// The same, as it is taken out.
fn taken(index: u64, item: u32) -> Given {
    Given { deliveries: 1, ..given(index, item) }
}

fn executed(index: u64, outcomes: Vec<Outcome>) -> Decision {
    Decision::Executed { index: Index(index), replayed: false, outcomes }
}

fn replayed(index: u64, outcomes: Vec<Outcome>) -> Decision {
    Decision::Executed { index: Index(index), replayed: true, outcomes }
}

#[test]
fn messages_come_out_in_the_order_they_went_in() {
    let mut m = machine();
    for body in ["a", "b"] {
        m.run(enqueue("q", body));
    }
    assert_eq!(
        m.decide(vec![enqueue("q", "c"), dequeue("q"), dequeue("q"), dequeue("q"), dequeue("q")]),
        executed(
            3,
            vec![
                Outcome::Enqueued(message(3, 0)),
                Outcome::Dequeued(Some(taken(1, 0))),
                Outcome::Dequeued(Some(taken(2, 0))),
                Outcome::Dequeued(Some(taken(3, 0))),
                Outcome::Dequeued(None),
            ]
        )
    );
}

#[test]
fn peek_shows_and_leaves() {
    let mut m = machine();
    m.decide(vec![enqueue("q", "a"), enqueue("q", "b"), enqueue("q", "c")]);
    let shown = peek("q", 2);
    assert_eq!(m.run(shown), Outcome::Peeked(vec![given(1, 0), given(1, 1)]));
    assert_eq!(m.run(peek("none", 2)), Outcome::Peeked(vec![]));
    assert_eq!(m.machine.ready_in(&name("q")), 3);
}

#[test]
fn the_oldest_message_of_a_queue_has_a_time() {
    let mut m = machine();
    m.run(enqueue("q", "a"));
    m.now = 1_234;
    m.run(enqueue("q", "b"));
    let oldest = |m: &mut Machine| match m.run(Operation::Stats { queue: Some(name("q")) }) {
        Outcome::Stats(totals) => totals.oldest,
        other => panic!("no totals: {other:?}"),
    };
    assert_eq!(oldest(&mut m), Some(Timestamp(1_000)));
    m.run(dequeue("q"));
    assert_eq!(oldest(&mut m), Some(Timestamp(1_234)));
    m.run(dequeue("q"));
    assert_eq!(oldest(&mut m), None);
}

#[test]
fn headers_stand_in_the_log_with_the_body_and_count_as_bytes() {
    let mut m = machine();
    let operation = with_headers("q", "body", &[("kind", "pizza"), ("traceparent", "00-x")]);
    let payload =
        Command { session: None, timestamp: Timestamp(1), operations: vec![operation.clone()], expiry: false }.encode();
    let found = message_of(&payload, 0).expect("it is there");
    assert_eq!(
        found.headers.into_iter().collect::<Vec<_>>(),
        [("kind".to_owned(), "pizza".to_owned()), ("traceparent".to_owned(), "00-x".to_owned())]
    );
    m.run(operation);
    assert_eq!(m.names(), vec![("q".into(), 1, 4 + 9 + 15)]);
}

#[test]
fn a_queue_is_made_by_its_first_message_and_stays_when_it_is_empty() {
    let mut m = machine();
    m.run(dequeue("q"));
    m.decide(vec![peek("q", 1)]);
    assert_eq!(m.names(), vec![]);
    m.run(enqueue("q", "four"));
    assert_eq!(m.names(), vec![("q".into(), 1, 4)]);
    m.run(dequeue("q"));
    assert_eq!(m.names(), vec![("q".into(), 0, 0)]);
}

#[test]
fn queues_are_listed_in_pages() {
    let mut m = machine();
    m.decide(vec![enqueue("b", ""), enqueue("a", "")]);
    let mut page = |after: Option<&str>| match m.run(Operation::ListQueues { after: after.map(name), limit: 1 }) {
        Outcome::Queues { queues, more } => (queues[0].name.to_string(), more),
        other => panic!("no list: {other:?}"),
    };
    assert_eq!(page(None), ("a".into(), true));
    assert_eq!(page(Some("a")), ("b".into(), false));
}

#[test]
fn stats_count_a_queue_or_all_and_a_refused_command_counts_for_nothing() {
    let mut m = machine();
    m.decide(vec![enqueue("a", "four"), enqueue("b", "seven77"), enqueue("b", "")]);
    m.open();
    m.run(dequeue("a"));
    let refused = m.decide(vec![enqueue("a", "lost"), dequeue("b"), Operation::CloseSession]);
    assert_eq!(refused, Decision::Refused(Refusal::SessionExpired(SessionId(0))));
    let totals = |queues, ready, bytes, (enqueued, dequeued), oldest: Option<u64>, sessions| {
        let contents = Contents { ready, bytes, ..Contents::default() };
        let counts = Counts { enqueued, dequeued, ..Counts::default() };
        let lease_duration = Duration::from_secs(30);
        let settings = Settings { lease_duration, deliveries_max: 20, messages_max: 3 };
        let (oldest, settings) = (oldest.map(Timestamp), (queues == 1).then_some(settings));
        Outcome::Stats(Totals { queues, contents, counts, oldest, sessions, settings })
    };
    let stats = |queue: Option<&str>| Operation::Stats { queue: queue.map(name) };
    assert_eq!(m.run(stats(None)), totals(2, 2, 7, (3, 1), None, 1));
    assert_eq!(m.run(stats(Some("a"))), totals(1, 0, 0, (1, 1), None, 0));
    assert_eq!(m.run(stats(Some("b"))), totals(1, 2, 7, (2, 0), Some(1_000), 0));
    assert_eq!(m.decide(vec![stats(Some("new"))]), Decision::Refused(Refusal::QueueNotFound(name("new"))));
}

#[test]
fn a_full_queue_refuses_and_nothing_of_the_command_happens() {
    let mut m = machine();
    m.run(enqueue("q", "1"));
    let before = m.machine.digest();
    let too_many = vec![enqueue("new", "x"), dequeue("q"), enqueue("q", "2"), enqueue("q", "3"), enqueue("q", "4")];
    let too_many = [too_many, vec![enqueue("q", "5")]].concat();
    let refusal = Refusal::QueueFull { queue: name("q"), messages: 3, dead: 0, messages_max: 3 };
    assert_eq!(m.decide(too_many), Decision::Refused(refusal));
    assert_eq!(m.machine.digest(), before);
}

#[test]
fn dequeue_then_enqueue_fits_into_a_full_queue() {
    let mut m = machine();
    m.decide(vec![enqueue("q", "1"), enqueue("q", "2"), enqueue("q", "3")]);
    assert!(matches!(m.decide(vec![dequeue("q"), enqueue("q", "4")]), Decision::Executed { .. }));
    assert!(matches!(m.decide(vec![enqueue("q", "5"), dequeue("q")]), Decision::Refused(Refusal::QueueFull { .. })));
}

#[test]
fn one_queue_too_many_is_refused() {
    let mut m = machine();
    m.decide(vec![enqueue("a", ""), enqueue("b", "")]);
    assert_eq!(m.decide(vec![enqueue("c", "")]), Decision::Refused(Refusal::TooManyQueues { queues_max: 2 }));
}

#[test]
fn an_answer_that_would_be_too_large_is_refused_and_a_peek_ends_early() {
    let mut m = machine();
    let long = "x".repeat(400);
    m.decide(vec![enqueue("q", &long), enqueue("q", &long), enqueue("q", &long)]);
    let too_large = Decision::Refused(Refusal::AnswerTooLarge { bytes_max: 1_000 });
    let before = m.machine.digest();
    assert_eq!(m.decide(vec![dequeue("q"), dequeue("q"), dequeue("q")]), too_large);
    let shown = peek("q", 3);
    assert_eq!(m.run(shown.clone()), Outcome::Peeked(vec![given(1, 0), given(1, 1)]));
    assert_eq!(m.decide(vec![shown.clone(), shown]), too_large, "an empty answer would look like an empty queue");
    assert_eq!(m.decide(vec![Operation::ListQueues { after: None, limit: 9 }; 100]), too_large);
    assert_eq!(m.machine.digest(), before);
}

#[test]
fn filled_names_each_queue_that_got_messages_and_still_has_some() {
    let mut m = machine();
    let applied = m.apply(None, vec![enqueue("b", ""), enqueue("a", ""), enqueue("b", ""), dequeue("a")]);
    assert_eq!(applied.filled, vec![name("b")]);
    let session = m.open();
    assert_eq!(m.apply(Some(request(session, 1, 1)), vec![enqueue("a", "")]).filled, vec![name("a")]);
    assert_eq!(m.apply(Some(request(session, 1, 1)), vec![enqueue("a", "")]).filled, vec![], "a replay fills nothing");
}

#[test]
fn a_retry_gets_the_first_outcome_and_changes_nothing() {
    let mut m = machine();
    let session = m.open();
    let first = m.in_session(request(session, 1, 1), enqueue("q", "a"));
    assert_eq!(first, executed(2, vec![Outcome::Enqueued(message(2, 0))]));
    let before = m.machine.digest();
    let again = m.in_session(request(session, 1, 1), enqueue("q", "a"));
    assert_eq!(again, replayed(2, vec![Outcome::Enqueued(message(2, 0))]));
    assert_eq!(m.machine.digest(), before);
}

#[test]
fn a_retry_of_what_only_reads_reads_again_and_nothing_is_kept_of_it() {
    let mut m = machine();
    let session = m.open();
    let shown = peek("q", 1);
    m.run(enqueue("q", "a"));
    let first = m.in_session(request(session, 1, 1), shown.clone());
    assert_eq!(first, executed(3, vec![Outcome::Peeked(vec![given(2, 0)])]));
    m.run(dequeue("q"));
    let again = m.in_session(request(session, 1, 1), shown);
    assert_eq!(again, executed(5, vec![Outcome::Peeked(vec![])]));
}

#[test]
fn a_refusal_is_an_outcome_and_a_retry_gets_it_even_when_there_is_room_now() {
    let mut m = machine();
    let session = m.open();
    m.decide(vec![enqueue("q", "1"), enqueue("q", "2"), enqueue("q", "3")]);
    let refusal = Decision::Refused(Refusal::QueueFull { queue: name("q"), messages: 3, dead: 0, messages_max: 3 });
    assert_eq!(m.in_session(request(session, 1, 1), enqueue("q", "4")), refusal);
    m.run(dequeue("q"));
    assert_eq!(m.in_session(request(session, 1, 1), enqueue("q", "4")), refusal);
    assert_eq!(m.machine.ready_in(&name("q")), 2);
}

#[test]
fn requests_of_a_session_may_come_in_any_order() {
    let mut m = machine();
    let session = m.open();
    m.in_session(request(session, 2, 1), enqueue("q", "second"));
    m.in_session(request(session, 1, 1), enqueue("q", "first"));
    assert_eq!(m.machine.ready_in(&name("q")), 2);
}

#[test]
fn outcomes_below_the_lowest_pending_are_forgotten_for_good() {
    let mut m = machine();
    let session = m.open();
    m.in_session(request(session, 1, 1), enqueue("q", "a"));
    m.in_session(request(session, 3, 3), enqueue("q", "c"));
    let forgotten = |sequence| Refusal::SequenceForgotten { session, sequence: Sequence(sequence) };
    assert_eq!(m.in_session(request(session, 1, 1), enqueue("q", "a")), Decision::Refused(forgotten(1)));
    // Number 2 was never seen. Its late copy must not take effect either: its client has given it up.
    assert_eq!(m.in_session(request(session, 2, 1), enqueue("q", "b")), Decision::Refused(forgotten(2)));
    assert_eq!(m.in_session(request(session, 2, 9), enqueue("q", "b")), Decision::Refused(forgotten(2)));
    assert_eq!(m.machine.ready_in(&name("q")), 2);
}

#[test]
fn a_session_keeps_a_limited_number_of_outcomes_and_a_refusal_for_that_uses_no_sequence() {
    let mut m = machine();
    let session = m.open();
    m.in_session(request(session, 1, 1), dequeue("q"));
    m.in_session(request(session, 2, 1), dequeue("q"));
    let refused = Decision::Refused(Refusal::TooManyOutcomes { session, outcomes_max: 2 });
    assert_eq!(m.in_session(request(session, 3, 1), dequeue("q")), refused);
    assert_eq!(m.in_session(request(session, 2, 1), dequeue("q")), replayed(3, vec![Outcome::Dequeued(None)]));
    assert_eq!(m.in_session(request(session, 3, 2), dequeue("q")), executed(6, vec![Outcome::Dequeued(None)]));
}

/// The others are kept because it is pending: refusing it would be for ever.
#[test]
fn the_lowest_pending_request_always_finds_room() {
    let mut m = machine();
    let session = m.open();
    m.in_session(request(session, 2, 1), dequeue("q"));
    m.in_session(request(session, 3, 1), dequeue("q"));
    assert_eq!(m.in_session(request(session, 1, 1), dequeue("q")), executed(4, vec![Outcome::Dequeued(None)]));
    let refused = Decision::Refused(Refusal::TooManyOutcomes { session, outcomes_max: 2 });
    assert_eq!(m.in_session(request(session, 4, 1), dequeue("q")), refused);
}

#[test]
fn a_lone_waiting_dequeue_of_an_empty_queue_uses_no_sequence() {
    let mut m = machine();
    let session = m.open();
    assert_eq!(m.in_session(request(session, 1, 1), wait_for("q")), Decision::Waiting);
    m.run(enqueue("q", "a"));
    let got = vec![Outcome::Dequeued(Some(taken(3, 0)))];
    assert_eq!(m.in_session(request(session, 1, 1), wait_for("q")), executed(4, got.clone()));
    assert_eq!(m.in_session(request(session, 1, 1), wait_for("q")), replayed(4, got));
    assert_eq!(m.decide(vec![wait_for("q")]), Decision::Waiting, "also without a session");
}

#[test]
fn sessions_are_limited() {
    let mut m = machine();
    m.open();
    m.open();
    let refused = Decision::Refused(Refusal::TooManySessions { sessions_max: 2 });
    assert_eq!(m.decide(vec![Operation::OpenSession]), refused);
}

#[test]
fn unknown_and_closed_sessions_are_expired() {
    let mut m = machine();
    let unknown = SessionId(77);
    let expired = |id| Decision::Refused(Refusal::SessionExpired(id));
    assert_eq!(m.in_session(request(unknown, 1, 1), enqueue("q", "a")), expired(unknown));
    let session = m.open();
    let close = Operation::CloseSession;
    assert_eq!(m.in_session(request(session, 1, 1), close.clone()), executed(3, vec![Outcome::SessionClosed]));
    assert_eq!(m.in_session(request(session, 2, 1), enqueue("q", "a")), expired(session));
    assert_eq!(m.machine.next_expiry(), None);
    assert_eq!(m.machine.ready_in(&name("q")), 0);
    assert_eq!(m.decide(vec![close]), expired(SessionId(0)), "there is no session to close");
}

#[test]
fn a_session_ends_when_it_was_not_used_for_its_time_to_live_and_not_earlier() {
    let mut m = machine();
    let session = m.open();
    assert_eq!(m.machine.next_expiry(), Some(Timestamp(1_100)));
    m.now = 1_050;
    m.in_session(request(session, 1, 1), dequeue("q"));
    assert_eq!(m.machine.next_expiry(), Some(Timestamp(1_150)));
    m.expire_at(1_149);
    assert_eq!(m.machine.next_expiry(), Some(Timestamp(1_150)));
    m.expire_at(1_150);
    assert_eq!(m.machine.next_expiry(), None);
    let refused = Decision::Refused(Refusal::SessionExpired(session));
    assert_eq!(m.in_session(request(session, 1, 1), dequeue("q")), refused);
}

#[test]
fn a_session_that_is_due_can_be_used_until_the_expiry_command_comes() {
    let mut m = machine();
    let session = m.open();
    m.now = 5_000;
    assert_eq!(m.in_session(request(session, 1, 1), dequeue("q")), executed(2, vec![Outcome::Dequeued(None)]));
    m.expire_at(5_099);
    assert_eq!(m.machine.next_expiry(), Some(Timestamp(5_100)));
}

#[test]
fn time_never_runs_backwards() {
    let mut m = machine();
    m.now = 9_000;
    m.run(dequeue("q"));
    m.now = 10;
    m.open();
    assert_eq!(m.machine.timestamp(), Timestamp(9_000));
    assert_eq!(m.machine.next_expiry(), Some(Timestamp(9_100)));
}

#[test]
fn verbs_that_should_be_alone_still_happen_together_or_not_at_all() {
    let mut m = machine();
    let session = m.open();
    let before = m.machine.digest();
    m.decide(vec![Operation::OpenSession, enqueue("a", ""), enqueue("b", ""), enqueue("c", "")]);
    assert_eq!(m.machine.digest(), before);
    let request = request(session, 1, 1);
    let full = vec![Operation::CloseSession, enqueue("a", ""), enqueue("b", ""), enqueue("c", "")];
    m.apply(Some(request), full);
    assert!(m.machine.next_expiry().is_some(), "the session is still open");
}

#[test]
fn the_digest_tells_states_apart_and_is_the_same_in_every_build() {
    let mut m = machine();
    let mut digests = vec![m.machine.digest()];
    let session = m.open();
    digests.push(m.machine.digest());
    m.in_session(request(session, 1, 1), enqueue("q", "a"));
    digests.push(m.machine.digest());
    m.in_session(request(session, 1, 1), enqueue("q", "a"));
    assert_eq!(Some(m.machine.digest()), digests.last().copied());
    m.in_session(request(session, 2, 2), dequeue("q"));
    digests.push(m.machine.digest());
    m.now += 1;
    m.run(dequeue("q"));
    digests.push(m.machine.digest());
    let mut distinct = digests.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), digests.len());
    assert_eq!(format!("{:016x}", m.machine.digest()), "7a8350f5aae8bf5d");
}

const SECOND: Duration = Duration::from_secs(1);

fn token(index: u64) -> LeaseToken {
    LeaseToken { message: message(index, 1), lease: LeaseId { index: Index(index + 1), item: 2 } }
}

fn every_settlement() -> Vec<(LeaseToken, Settlement)> {
    vec![
        (token(1), Settlement::Ack),
        (token(2), Settlement::Release { delay: Duration::ZERO }),
        (token(3), Settlement::Release { delay: SECOND }),
        (token(4), Settlement::Reject { reason: "no".into() }),
    ]
}

fn every_operation() -> Command {
    Command {
        session: Some(request(SessionId(5), 7, 6)),
        timestamp: Timestamp(1_700_000_000_123),
        operations: vec![
            Operation::OpenSession,
            Operation::CloseSession,
            enqueue("a/b", "text"),
            Operation::Enqueue {
                queue: name("q"),
                message: Body::Data(Bytes::from_static(&[0, 255])).into(),
                delay: Duration::ZERO,
            },
            dequeue("q"),
            wait_for("q"),
            peek("q", 3),
            Operation::ListQueues { after: None, limit: 4 },
            Operation::ListQueues { after: Some(name("q")), limit: 5 },
            Operation::Stats { queue: None },
            Operation::Stats { queue: Some(name("q")) },
            with_headers("q", "", &[("b", "2"), ("a", "é\n")]),
            Operation::Enqueue { queue: name("q"), message: Body::Text("".into()).into(), delay: SECOND },
            Operation::Lease { queue: name("q"), limit: 6, duration: SECOND, wait: true },
            Operation::Lease { queue: name("q"), limit: 7, duration: Duration::ZERO, wait: false },
            Operation::Settle { queue: name("q"), settlements: every_settlement(), all_or_none: true },
            Operation::ExtendLease { queue: name("q"), tokens: vec![token(8)], duration: SECOND },
            Operation::Redrive { queue: name("q"), limit: 9 },
            Operation::SetQueue { queue: name("q"), chosen: Chosen::default() },
            Operation::SetQueue {
                queue: name("q"),
                chosen: Chosen { lease_duration: Some(SECOND), deliveries_max: Some(0), messages_max: Some(1) },
            },
            Operation::Peek { queue: name("q"), limit: 10, state: MessageState::Dead, after: Some(message(11, 12)) },
        ],
        expiry: true,
    }
}

#[test]
fn the_encoding_of_a_command_stays_what_it_is() {
    let encoded = every_operation().encode();
    let hex: String = encoded.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "08051007180620fbd095ffbc312a020a002a0232002a0f120d0a03612f6212060a04746578742a0b12090a01711204120200\
         ff2a051a030a01712a071a050a017112002a0922070a0171100318012a042a0210042a072a050a017110052a023a002a053a\
         030a01712a1b12190a017112140a001a080a01611203c3a90a1a060a01621201322a0d120b0a017112020a001a0208012a0d\
         420b0a017110061a02080122002a0742050a017110072a434a410a0171120b0a07312d312d322d321200120b0a07322d312d\
         332d321a00120f0a07332d312d342d321a040a020801120f0a07342d312d352d3222040a026e6f18012a1252100a01711207\
         382d312d392d321a0208012a075a050a017110092a0562030a01712a0d620b0a017112020801180020012a0f220d0a017110\
         0a18042204100b180c3001"
    );
    assert_eq!(Command::decode(&encoded), Ok(every_operation()));
}

#[test]
fn message_bodies_are_found_in_the_encoded_command() {
    use crate::proto::v1::message::Body as ProtoBody;
    let encoded = every_operation().encode();
    let body = |item| message_of(&encoded, item).and_then(|message| message.body);
    assert_eq!(body(2), Some(ProtoBody::Text("text".into())));
    assert_eq!(body(3), Some(ProtoBody::Data(Bytes::from_static(&[0, 255]))));
    assert_eq!(body(4), None, "not an enqueue");
    assert_eq!(body(9), None, "past the last operation");
    let cut = encoded.slice(..encoded.len() - 4);
    assert_eq!(message_of(&cut, 8), None, "the operation is cut off");
}

#[test]
fn what_is_kept_of_a_command_is_its_messages_in_their_places() {
    let encoded = every_operation().encode();
    let kept = keep_items(&encoded, &[3]).expect("it is a command");
    let hex: String = kept.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "2a002a002a002a0b12090a01711204120200ff");
    assert_eq!(keep_items(&encoded, &[]), Some(Bytes::new()));
    assert_eq!(keep_items(&encoded.slice(..encoded.len() - 1), &[3]), None, "the last operation is cut off");
    assert_eq!(keep_items(&Bytes::from_static(&[0xff]), &[3]), None);
}

#[test]
fn the_living_are_what_waits_and_what_a_retry_is_answered_with() {
    let mut m = machine();
    let session = m.open();
    m.run(enqueue("b", "taken"));
    m.decide(vec![enqueue("a", "seen"), enqueue("b", "waits")]);
    let alive = |index, item, bytes| Living { id: message(index, item), bytes };
    assert_eq!(m.machine.living(), [alive(2, 0, 5), alive(3, 0, 4), alive(3, 1, 5)]);
    let shown = peek("a", 1);
    m.apply(Some(request(session, 1, 1)), vec![dequeue("b"), shown, enqueue("a", "last")]);
    assert_eq!(m.machine.living(), [alive(2, 0, 0), alive(3, 0, 4), alive(3, 1, 5), alive(4, 2, 4)]);
    m.decide(vec![dequeue("a"), dequeue("a"), dequeue("b")]);
    assert_eq!(m.machine.living(), [alive(2, 0, 0), alive(3, 0, 0)], "the outcome of request 1 names them");
    m.in_session(request(session, 2, 2), dequeue("a"));
    assert_eq!(m.machine.living(), []);
}

#[test]
fn a_command_that_makes_no_sense_is_malformed() {
    use crate::proto::{internal, v1};
    use prost::Message;
    let with = |operation: v1::Operation| {
        let command = internal::Command { operations: vec![operation], ..Default::default() };
        Command::decode(&command.encode_to_vec().into())
    };
    let operation_error = |result| match result {
        Err(Malformed::Operation { item: 0, source }) => source,
        other => panic!("not malformed: {other:?}"),
    };
    assert_eq!(operation_error(with(v1::Operation { operation: None })), InvalidOperation::NoVerb);
    let enqueue = |queue: &str, message| v1::Operation {
        operation: Some(v1::operation::Operation::Enqueue(v1::Enqueue { queue: queue.into(), message, delay: None })),
    };
    assert_eq!(operation_error(with(enqueue("q", None))), InvalidOperation::NoBody);
    assert_eq!(operation_error(with(enqueue("q", Some(v1::Message::default())))), InvalidOperation::NoBody);
    assert!(matches!(operation_error(with(enqueue("?", None))), InvalidOperation::QueueName { .. }));
    assert!(matches!(Command::decode(&Bytes::from_static(&[0xff])), Err(Malformed::Encoding(_))));
}

#[test]
fn outcomes_carry_the_messages_that_they_name() {
    use crate::ids::ShardId;
    use crate::proto::v1::{self, outcome::Outcome as Kind};
    let hello = || v1::Message::from(v1::message::Body::Text("hello".into()));
    let dequeued = Outcome::Dequeued(Some(taken(4, 1)));
    let id = v1::MessageId { shard: 2, index: 4, item: 1 };
    let stored = v1::StoredMessage {
        id: Some(id),
        message: Some(hello()),
        enqueued_at: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
        deliveries: 1,
        ..Default::default()
    };
    let expected = v1::Outcome { outcome: Some(Kind::Dequeued(v1::Dequeued { message: Some(stored) })) };
    assert_eq!(dequeued.to_proto(ShardId(2), |_| Some(hello())), Ok(expected));
    assert_eq!(dequeued.to_proto(ShardId(2), |_| None), Err(MessageMissing(message(4, 1))));
    let empty = v1::Outcome { outcome: Some(Kind::Dequeued(v1::Dequeued { message: None })) };
    assert_eq!(Outcome::Dequeued(None).to_proto(ShardId(2), |_| None), Ok(empty));
}

#[test]
fn a_logged_command_shows_when_and_what() {
    let logged = every_operation().to_logged();
    assert_eq!((logged.session, logged.sequence, logged.expiry), (5, 7, true));
    let time = logged.timestamp.expect("always there");
    assert_eq!((time.seconds, time.nanos), (1_700_000_000, 123_000_000));
    assert_eq!(logged.operations.len(), every_operation().operations.len());
}

#[test]
fn queue_names_keep_the_rule() {
    let longest = "x".repeat(255);
    for good in ["a", "A.b_c-d:e/f0", "/", longest.as_str()] {
        assert_eq!(good.parse::<QueueName>().expect("a good name").as_str(), good);
    }
    let too_long = "x".repeat(256);
    for bad in ["", "a b", "ä", "a\n", "a\u{202e}", "a*", too_long.as_str()] {
        let error = bad.parse::<QueueName>().expect_err("a bad name");
        assert!(error.to_string().contains("1 to 255 bytes of letters, digits"), "{error}");
        assert!(!error.to_string().contains(['\n', '\u{202e}']), "hostile characters are escaped");
    }
}
