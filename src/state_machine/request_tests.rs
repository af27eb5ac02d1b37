//! What a client may ask for: each rule at its edge, from both sides.

use std::time::Duration;

use super::*;
use crate::ids::{Sequence, SessionId};
use crate::proto::v1::{self, operation::Operation as Verb};

fn request(verbs: Vec<Verb>) -> v1::ExecuteRequest {
    let operations = verbs.into_iter().map(|verb| v1::Operation { operation: Some(verb) }).collect();
    v1::ExecuteRequest { shard: 0, session: None, operations, ..Default::default() }
}

fn check(verbs: Vec<Verb>) -> Result<Request, InvalidRequest> {
    Request::from_proto(request(verbs))
}

fn cause(verbs: Vec<Verb>) -> String {
    name(&check(verbs).expect_err("must be refused"))
}

/// The name of the variant.
fn name(why: &InvalidRequest) -> String {
    format!("{why:?}").split([' ', '{']).next().unwrap_or_default().to_owned()
}

fn in_session(verbs: Vec<Verb>, id: u64, sequence: u64, lowest_pending: u64) -> Result<Request, InvalidRequest> {
    let session = Some(v1::SessionRequest { id, sequence, lowest_pending, cluster_id: String::new() });
    Request::from_proto(v1::ExecuteRequest { session, ..request(verbs) })
}

fn enqueue(queue: &str, bytes: usize) -> Verb {
    Verb::Enqueue(v1::Enqueue { queue: queue.into(), message: Some(message_of(bytes)), delay: None })
}

fn message_of(bytes: usize) -> v1::Message {
    v1::message::Body::Data(vec![0; bytes].into()).into()
}

fn dequeue(wait: Option<prost_types::Duration>) -> Verb {
    Verb::Dequeue(v1::Dequeue { queue: "q".into(), wait })
}

fn peek(limit: u32) -> Verb {
    Verb::Peek(v1::Peek { queue: "q".into(), limit, ..Default::default() })
}

fn list(after: &str, limit: u32) -> Verb {
    Verb::ListQueues(v1::ListQueues { after: after.into(), limit })
}

fn stats(queue: &str) -> Verb {
    Verb::Stats(v1::Stats { queue: queue.into() })
}

fn seconds(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos })
}

#[test]
fn one_to_a_thousand_operations() {
    assert_eq!(cause(vec![]), "NoOperations");
    assert!(check(vec![enqueue("q", 1); 1_000]).is_ok());
    assert_eq!(cause(vec![enqueue("q", 1); 1_001]), "TooManyOperations");
}

#[test]
fn a_message_has_at_most_one_mebibyte_and_a_request_three() {
    const MEBIBYTE: usize = 1024 * 1024;
    assert!(check(vec![enqueue("q", MEBIBYTE)]).is_ok());
    let error = check(vec![enqueue("q", 0), enqueue("q", MEBIBYTE + 1)]).expect_err("too large");
    assert_eq!(name(&error), "MessageTooLarge");
    assert_eq!(error, InvalidRequest::MessageTooLarge { number: 1, bytes: MEBIBYTE + 1 });
    assert!(error.to_string().starts_with("operations[1].enqueue.message: "), "{error}");
    assert!(check(vec![enqueue("q", MEBIBYTE); 3]).is_ok());
    assert_eq!(cause([vec![enqueue("q", MEBIBYTE); 3], vec![enqueue("q", 1)]].concat()), "RequestTooLarge");
}

#[test]
fn headers_have_limits() {
    let with = |headers: Vec<(String, String)>| {
        let message = v1::Message { headers: headers.into_iter().collect(), ..message_of(1) };
        check(vec![Verb::Enqueue(v1::Enqueue { queue: "q".into(), message: Some(message), delay: None })])
    };
    let of = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    let many = |count: u32| (0..count).map(|number| (number.to_string(), String::new())).collect();
    let longest = 16 * 1024 - 1;
    for good in [of("k", ""), of("!~", "é\n\0"), of(&"k".repeat(128), "v"), of("k", &"v".repeat(longest)), many(64)] {
        assert!(with(good.clone()).is_ok(), "{good:?}");
    }
    let cause = |headers| match with(headers).expect_err("must be refused") {
        InvalidRequest::Headers { number: 0, source } => source,
        other => panic!("another refusal: {other:?}"),
    };
    assert_eq!(cause(many(65)), InvalidHeaders::TooMany { count: 65 });
    assert_eq!(cause(of("k", &"v".repeat(longest + 1))), InvalidHeaders::TooLarge { bytes: longest + 2 });
    for bad in ["", "a b", "ä", "a\n", &"k".repeat(129)] {
        assert!(matches!(cause(of(bad, "v")), InvalidHeaders::Key { .. }), "{bad:?}");
    }
    let error = with(of("a\u{202e}", "")).expect_err("must be refused").to_string();
    assert!(error.starts_with("operations[0].enqueue.message.headers: the key \"a\\u{202e}\""), "{error}");
}

#[test]
fn queue_names_are_checked_in_every_verb() {
    for bad in ["", "not a name"] {
        let dequeue = Verb::Dequeue(v1::Dequeue { queue: bad.into(), wait: None });
        for verb in [enqueue(bad, 1), dequeue, Verb::Peek(v1::Peek { queue: bad.into(), ..Default::default() })] {
            assert_eq!(cause(vec![verb]), "Operation");
        }
    }
    assert_eq!(cause(vec![list("not a name", 0)]), "Operation");
    assert!(check(vec![list("", 0)]).is_ok(), "from the first queue on");
    assert_eq!(cause(vec![stats("not a name")]), "Operation");
    assert!(check(vec![stats(""), stats("q")]).is_ok(), "of all and of one");
}

#[test]
fn limits_have_defaults_and_ends() {
    let operation = |verb| check(vec![verb]).map(|request| request.operations[0].clone());
    let queue = || "q".parse().expect("a good name");
    let peeked = |limit| Operation::Peek { queue: queue(), limit, state: MessageState::Ready, after: None };
    assert_eq!(operation(peek(0)), Ok(peeked(1)));
    assert_eq!(operation(peek(100)), Ok(peeked(100)));
    assert_eq!(cause(vec![peek(101)]), "LimitTooHigh");
    assert_eq!(operation(list("q", 0)), Ok(Operation::ListQueues { after: Some(queue()), limit: 1_000 }));
    assert_eq!(cause(vec![list("", 1_001)]), "LimitTooHigh");
}

#[test]
fn a_request_reads_a_thousand_things_at_most() {
    assert!(check(vec![peek(100); 10]).is_ok());
    assert_eq!(cause([vec![peek(100); 10], vec![peek(0)]].concat()), "TooMuchWork");
    assert!(check(vec![list("", 900), peek(100)]).is_ok());
    assert_eq!(cause(vec![list("", 0), peek(1)]), "TooMuchWork");
    assert!(check([vec![list("", 0)], vec![enqueue("q", 1); 999]].concat()).is_ok(), "only what reads counts");
}

fn lease(limit: u32, duration: Option<prost_types::Duration>, wait: Option<prost_types::Duration>) -> Verb {
    Verb::Lease(v1::Lease { queue: "q".into(), limit, duration, wait })
}

fn settle(how: v1::settlement::How, count: usize) -> Verb {
    let settlement = v1::Settlement { token: "1-2-3-4".into(), how: Some(how) };
    Verb::Settle(v1::Settle { queue: "q".into(), settlements: vec![settlement; count], all_or_none: false })
}

fn extend(duration: Option<prost_types::Duration>, count: usize) -> Verb {
    Verb::ExtendLease(v1::ExtendLease { queue: "q".into(), tokens: vec!["1-2-3-4".into(); count], duration })
}

#[test]
fn leases_and_delays_have_limits() {
    use v1::settlement::How;
    const HALF_A_DAY: i64 = 12 * 60 * 60;
    const MONTH: i64 = 30 * 24 * 60 * 60;
    let ack = || How::Ack(v1::Ack {});
    let release = |delay| How::Release(v1::Release { delay });
    let reject = |bytes| How::Reject(v1::Reject { reason: "x".repeat(bytes) });
    let delayed = |delay| Verb::Enqueue(v1::Enqueue { queue: "q".into(), message: Some(message_of(1)), delay });
    let set = |lease_duration, deliveries_max| {
        Verb::SetQueue(v1::SetQueue { queue: "q".into(), lease_duration, deliveries_max, messages_max: None })
    };
    let redrive = |limit| Verb::Redrive(v1::Redrive { queue: "q".into(), limit });
    for good in [
        lease(100, seconds(HALF_A_DAY, 0), None),
        settle(ack(), 100),
        settle(release(seconds(MONTH, 0)), 1),
        settle(reject(128), 1),
        extend(seconds(HALF_A_DAY, 0), 100),
        delayed(seconds(MONTH, 0)),
        set(seconds(HALF_A_DAY, 0), Some(1_000)),
        redrive(1_000),
    ] {
        assert!(check(vec![good.clone()]).is_ok(), "{good:?}");
    }
    for (bad, why) in [
        (lease(101, None, None), "LimitTooHigh"),
        (lease(1, seconds(HALF_A_DAY, 1), None), "OutOfRange"),
        (lease(1, seconds(-1, 0), None), "Operation"),
        (lease(1, None, seconds(60, 1)), "WaitOutOfRange"),
        (settle(ack(), 0), "OutOfRange"),
        (settle(ack(), 101), "OutOfRange"),
        (settle(release(seconds(MONTH, 1)), 1), "OutOfRange"),
        (settle(reject(129), 1), "OutOfRange"),
        (extend(seconds(HALF_A_DAY, 1), 1), "OutOfRange"),
        (extend(None, 0), "OutOfRange"),
        (extend(None, 101), "OutOfRange"),
        (delayed(seconds(MONTH, 1)), "OutOfRange"),
        (set(seconds(HALF_A_DAY, 1), None), "OutOfRange"),
        (set(None, Some(1_001)), "OutOfRange"),
        (redrive(1_001), "LimitTooHigh"),
        (Verb::Peek(v1::Peek { queue: "q".into(), state: 99, ..Default::default() }), "Operation"),
    ] {
        assert_eq!(cause(vec![bad.clone()]), why, "{bad:?}");
    }
    let mut no_token = v1::Settlement { token: "1-2-3".into(), how: Some(ack()) };
    let one = |settlement: &v1::Settlement| {
        let settlements = vec![settlement.clone()];
        cause(vec![Verb::Settle(v1::Settle { queue: "q".into(), settlements, all_or_none: false })])
    };
    assert_eq!(one(&no_token), "Operation");
    no_token = v1::Settlement { token: "1-2-3-4".into(), how: None };
    assert_eq!(one(&no_token), "Operation");
    assert_eq!(cause(vec![lease(1, None, seconds(1, 0)), peek(1)]), "NotAlone");
    assert_eq!(cause(vec![settle(ack(), 100); 11]), "TooMuchWork");
    let error = check(vec![settle(reject(129), 1)]).expect_err("too long").to_string();
    assert!(error.starts_with("operations[0].settle.settlements: a reason has 129 bytes"), "{error}");
}

/// What is in the state is what is in a snapshot, which has milliseconds.
#[test]
fn the_lease_duration_of_a_queue_is_rounded_up_to_milliseconds() {
    let set = v1::SetQueue { queue: "q".into(), lease_duration: seconds(0, 1), ..Default::default() };
    let request = check(vec![Verb::SetQueue(set)]).expect("it is long enough");
    let Operation::SetQueue { chosen, .. } = &request.operations[0] else { panic!("{request:?}") };
    assert_eq!(chosen.lease_duration, Some(Duration::from_millis(1)));
}

#[test]
fn a_wait_is_zero_to_sixty_seconds() {
    let waits = |request: Request| matches!(request.operations[0], Operation::Dequeue { wait: true, .. });
    let none = check(vec![dequeue(None)]).expect("does not wait");
    let zero = check(vec![dequeue(seconds(0, 0))]).expect("does not wait either");
    let full = check(vec![dequeue(seconds(60, 0))]).expect("the longest wait");
    assert_eq!((none.wait, zero.wait, full.wait), (Duration::ZERO, Duration::ZERO, Duration::from_secs(60)));
    assert_eq!((waits(none), waits(zero), waits(full)), (false, false, true));
    for wait in [seconds(60, 1), seconds(-1, 0), seconds(i64::MAX, i32::MAX), seconds(i64::MIN, i32::MIN)] {
        assert_eq!(cause(vec![dequeue(wait)]), "WaitOutOfRange", "{wait:?}");
    }
}

#[test]
fn some_verbs_are_alone() {
    let open = || Verb::OpenSession(v1::OpenSession {});
    let close = || Verb::CloseSession(v1::CloseSession {});
    assert!(check(vec![open()]).is_ok());
    assert!(in_session(vec![close()], 1, 1, 1).is_ok());
    for verb in [open(), close(), dequeue(seconds(1, 0))] {
        assert_eq!(cause(vec![peek(1), verb.clone()]), "NotAlone");
        assert_eq!(cause(vec![verb, peek(1)]), "NotAlone");
    }
    assert!(check(vec![dequeue(None), dequeue(seconds(0, 0))]).is_ok(), "only a waiting dequeue must be alone");
}

#[test]
fn a_session_is_named_where_it_must_be() {
    assert_eq!(
        in_session(vec![Verb::OpenSession(v1::OpenSession {})], 1, 1, 1),
        Err(InvalidRequest::SessionNotAllowed)
    );
    assert_eq!(check(vec![Verb::CloseSession(v1::CloseSession {})]), Err(InvalidRequest::SessionRequired));
}

#[test]
fn the_place_in_the_session_is_checked() {
    let request = in_session(vec![peek(1)], 5, 7, 7).expect("a good place");
    let expected = SessionRequest { id: SessionId(5), sequence: Sequence(7), lowest_pending: Sequence(7) };
    assert_eq!(request.session, Some(expected));
    for (id, sequence, lowest_pending) in [(0, 1, 1), (5, 0, 0), (5, 7, 8)] {
        let error = in_session(vec![peek(1)], id, sequence, lowest_pending).expect_err("a bad place");
        assert_eq!(name(&error), "InvalidSession");
    }
}

#[test]
fn operations_without_a_verb_or_a_body_are_refused() {
    let no_verb = v1::ExecuteRequest { operations: vec![v1::Operation { operation: None }], ..request(vec![]) };
    assert_eq!(name(&Request::from_proto(no_verb).expect_err("no verb")), "Operation");
    for message in [None, Some(v1::Message::default())] {
        let verb = Verb::Enqueue(v1::Enqueue { queue: "q".into(), message, delay: None });
        assert_eq!(cause(vec![verb]), "Operation");
    }
    assert!(check(vec![enqueue("q", 0)]).is_ok(), "an empty body is a body");
}
