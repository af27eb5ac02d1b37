//! The checker of client histories finds what it is there to find: one planted violation for each rule, random valid histories that
//! pass, and random damage to them that does not.

#[path = "sim/history.rs"]
mod history;

use std::collections::{BTreeMap, VecDeque};

use history::{Message, Operation, Outcome, Position, Record, Summary, Taken, Violation, check, explain};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn at(index: u64) -> Position {
    Position { index, item: 0 }
}

fn message(index: u64) -> Message {
    Message { id: at(index), body: format!("m{index}") }
}

/// An operation that was called and returned around the time at which it was decided, which is 10 times its index.
fn record(index: u64, operation: Operation) -> Record {
    let (called, returned) = (10 * index - 1, 10 * index + 1);
    Record { client: 1, sequence: index, queue: "q".into(), operation, called, returned }
}

/// Message `m{index}` was put at `index`.
fn put(index: u64) -> Record {
    put_with(index, Outcome::Ok(at(index)))
}

fn put_with(index: u64, outcome: Outcome<Position>) -> Record {
    record(index, Operation::Enqueue { body: format!("m{index}"), outcome })
}

/// At `index` message `m{id}` was taken.
fn take(index: u64, id: u64) -> Record {
    take_with(index, Outcome::Ok(Taken { at: at(index), message: Some(message(id)) }))
}

fn take_nothing(index: u64) -> Record {
    take_with(index, Outcome::Ok(Taken { at: at(index), message: None }))
}

fn take_with(index: u64, outcome: Outcome<Taken>) -> Record {
    record(index, Operation::Dequeue { outcome })
}

fn left(ids: &[u64]) -> BTreeMap<String, Vec<Message>> {
    BTreeMap::from([("q".to_string(), ids.iter().copied().map(message).collect())])
}

fn violations(records: &[Record], drained: &[u64]) -> Vec<Violation> {
    check(records, &left(drained)).expect_err("the violation must be found")
}

fn passes(records: &[Record], drained: &[u64]) -> Summary {
    check(records, &left(drained)).expect("this is a good history")
}

#[test]
fn a_good_history_passes() {
    let records = [take_nothing(1), put(2), put(3), take(4, 2), put(5), take(6, 3)];
    let summary = passes(&records, &[5]);
    let expected =
        Summary { enqueued: 3, delivered: 2, empty: 1, drained: 1, unknown_but_done: 0, taken_by_unknown: 0 };
    assert_eq!(summary, expected);
}

#[test]
fn an_acknowledged_message_that_is_nowhere_is_lost() {
    assert_eq!(violations(&[put(1)], &[]), [Violation::Lost { record: 0, body: "m1".into() }]);
    assert_eq!(violations(&[put(1), put(2), take(3, 2)], &[]), [Violation::Lost { record: 0, body: "m1".into() }]);
    assert_eq!(violations(&[put(1), take_nothing(2)], &[]), [Violation::Lost { record: 0, body: "m1".into() }]);
}

#[test]
fn one_unknown_dequeue_explains_one_missing_message() {
    let unknown = || take_with(3, Outcome::Unknown);
    assert_eq!(passes(&[put(1), unknown()], &[]).taken_by_unknown, 1);
    assert_eq!(violations(&[put(1), put(2), unknown()], &[]), [Violation::Lost { record: 1, body: "m2".into() }]);
    let elsewhere = Record { queue: "other".into(), ..unknown() };
    assert_eq!(violations(&[put(1), elsewhere], &[]).len(), 1, "it took from another queue");
    assert_eq!(violations(&[put(1), take_with(3, Outcome::Refused)], &[]).len(), 1, "a refused dequeue takes nothing");
}

#[test]
fn an_unknown_dequeue_takes_a_message_in_its_turn() {
    // m1 must be gone when m2 is taken at 3, but the unknown dequeue was called after the answer to that.
    let late = take_with(4, Outcome::Unknown);
    assert_eq!(violations(&[put(1), put(2), take(3, 2), late.clone()], &[]).len(), 1);
    // The same one may take what comes later.
    assert_eq!(passes(&[put(1), take(2, 1), put(3), late.clone()], &[]).taken_by_unknown, 1);
    // m1 is left, so that m2 behind it was nobody's turn.
    let lost = [Violation::Lost { record: 1, body: "m2".into() }];
    assert_eq!(violations(&[put(1), put(2), late], &[1]), lost);
}

#[test]
fn unknown_dequeues_are_given_to_the_most_urgent_first() {
    // The early one alone can have taken m1; either can have taken m5.
    let (early, late) = (take_with(2, Outcome::Unknown), take_with(6, Outcome::Unknown));
    let records = [put(1), early.clone(), put(3), take(4, 3), put(5), late];
    assert_eq!(passes(&records, &[]).taken_by_unknown, 2);
    let records = [put(1), early, put(3), take(4, 3), put(5)];
    assert_eq!(violations(&records, &[]), [Violation::Lost { record: 4, body: "m5".into() }]);
}

#[test]
fn nothing_is_delivered_twice() {
    let doubled = |first, second| Violation::Doubled { first, second, body: "m1".into() };
    assert!(violations(&[put(1), take(2, 1), take(3, 1)], &[]).contains(&doubled(Some(1), Some(2))));
    assert!(violations(&[put(1), take(2, 1)], &[1]).contains(&doubled(Some(1), None)));
    let unknown = put_with(1, Outcome::Unknown);
    assert!(violations(&[unknown, take(2, 1), take(3, 1)], &[]).contains(&doubled(Some(1), Some(2))));
}

#[test]
fn an_unknown_enqueue_that_was_done_twice_under_two_names_is_doubled() {
    let again = Taken { at: at(4), message: Some(Message { id: at(3), body: "m1".into() }) };
    let records = [put_with(1, Outcome::Unknown), take(2, 1), take_with(4, Outcome::Ok(again))];
    assert!(matches!(violations(&records, &[])[0], Violation::Doubled { .. }));
}

#[test]
fn nothing_comes_from_nowhere() {
    let never_sent = |record| Violation::NeverSent { record, queue: "q".into(), body: "m7".into() };
    assert!(violations(&[take(8, 7)], &[]).contains(&never_sent(Some(0))));
    assert!(violations(&[], &[7]).contains(&never_sent(None)));
    let elsewhere = Record { queue: "other".into(), ..put(7) };
    assert!(violations(&[elsewhere, take(8, 7)], &[]).contains(&never_sent(Some(1))), "sent to another queue");
}

#[test]
fn an_unknown_enqueue_may_appear_once_or_never() {
    let unknown = || put_with(1, Outcome::Unknown);
    assert_eq!(passes(&[unknown()], &[]).unknown_but_done, 0);
    assert_eq!(passes(&[unknown(), take(2, 1)], &[]).unknown_but_done, 1);
    assert_eq!(passes(&[unknown()], &[1]).unknown_but_done, 1);
}

#[test]
fn a_refused_enqueue_never_appears() {
    let refused = || put_with(1, Outcome::Refused);
    passes(&[refused()], &[]);
    let expected = |record| Violation::RefusedButDone { enqueue: 0, record, body: "m1".into() };
    assert!(violations(&[refused(), take(2, 1)], &[]).contains(&expected(Some(1))));
    assert!(violations(&[refused()], &[1]).contains(&expected(None)));
}

#[test]
fn a_message_keeps_its_name() {
    let renamed = Taken { at: at(5), message: Some(Message { id: at(2), body: "m1".into() }) };
    let records = [put(1), take_with(5, Outcome::Ok(renamed))];
    let expected = Violation::Renamed { enqueue: 0, told: at(1), seen: at(2) };
    assert!(violations(&records, &[]).contains(&expected));
}

#[test]
fn the_first_in_is_the_first_out() {
    let records = [put(1), put(2), take(3, 2), take(4, 1)];
    assert_eq!(violations(&records, &[]), [Violation::OutOfOrder { record: 2, given: at(2), waiting: at(1) }]);
    let overtaken = Violation::OutOfOrder { record: 2, given: at(2), waiting: at(1) };
    assert_eq!(violations(&[put(1), put(2), take(3, 2)], &[1]), [overtaken]);
    let other_queue = Record { queue: "other".into(), ..put(1) };
    let drained = BTreeMap::from([("other".to_string(), vec![message(1)])]);
    check(&[other_queue, put(2), take(3, 2)], &drained).expect("queues have orders of their own");
}

#[test]
fn what_is_left_is_in_order() {
    let expected = Violation::DrainOutOfOrder { queue: "q".into(), first: at(2), second: at(1) };
    assert_eq!(violations(&[put(1), put(2)], &[2, 1]), [expected]);
}

#[test]
fn a_queue_is_empty_only_when_nothing_waits() {
    let expected = |waiting| [Violation::FalseEmpty { record: 1, waiting: at(waiting) }];
    assert_eq!(violations(&[put(1), take_nothing(2), take(3, 1)], &[]), expected(1));
    assert_eq!(violations(&[put(1), take_nothing(2)], &[1]), expected(1));
}

#[test]
fn nothing_is_taken_before_it_is_put() {
    // All at once for the clients, so that only the log speaks against it.
    let records = [put(2), take(1, 2)].map(|record| Record { called: 0, returned: 100, ..record });
    let expected = Violation::BeforeItWasSent { record: 1, id: at(2) };
    assert_eq!(violations(&records, &[]), [expected]);
}

#[test]
fn two_operations_never_stand_at_one_place() {
    let second = Record { client: 2, ..take_nothing(1) };
    let expected = Violation::SamePlace { first: 0, second: 1, at: at(1) };
    assert!(violations(&[take_nothing(1), second], &[]).contains(&expected));
    let in_one_command = Taken { at: Position { index: 1, item: 1 }, message: None };
    passes(&[take_nothing(1), take_with(1, Outcome::Ok(in_one_command))], &[]);
}

#[test]
fn the_log_never_goes_back_in_time() {
    let called_later = Record { called: 200, returned: 300, ..put(1) };
    let expected = [Violation::BackInTime { earlier: 0, later: 1 }];
    assert_eq!(violations(&[put(5), called_later.clone()], &[1, 5]), expected);
    for called in [50, 51] {
        let concurrent = Record { called, ..called_later.clone() };
        passes(&[put(5), concurrent], &[1, 5]);
    }
    // Also for what its client never heard of: it showed up with a place that it cannot have had.
    let unknown = Record { called: 200, ..put_with(1, Outcome::Unknown) };
    assert_eq!(violations(&[put(5), unknown], &[1, 5]), expected);
    // And also through a third one that returned in between with a lower place.
    let between = Record { called: 40, returned: 60, ..put(3) };
    let late = Record { called: 61, returned: 70, ..put(4) };
    assert_eq!(violations(&[put(5), between, late], &[3, 4, 5]), [Violation::BackInTime { earlier: 0, later: 2 }]);
}

#[test]
fn a_violation_is_explained_with_its_operations() {
    let records = [put(5), Record { called: 200, returned: 300, ..put(1) }];
    let text = explain(&records, &violations(&records, &[1, 5])[0]);
    assert!(text.contains("client 1, request 5, queue q, time 49 to 51") && text.contains("time 200 to 300"), "{text}");
}

/// A random history of a queue that does everything right, and what is left in the end. Operation n is decided at time 10 n,
/// called up to 60 before and answered up to 60 after that.
fn valid_history(seed: u64, operations: u64, unknown: f64) -> (Vec<Record>, BTreeMap<String, Vec<Message>>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut queues = BTreeMap::from(["a", "b"].map(|name| (name.to_string(), VecDeque::new())));
    let mut records = vec![];
    for number in 1..=operations {
        let at = Position { index: number / 2, item: u32::try_from(number % 2).expect("0 or 1") };
        let queue = if random.random_bool(0.5) { "a" } else { "b" };
        let waiting: &mut VecDeque<Message> = queues.get_mut(queue).expect("one of the two");
        let is_done = random.random_bool(0.9);
        let is_unknown = random.random_bool(unknown);
        let operation = if random.random_bool(0.5) {
            let body = format!("m{number}");
            if is_done {
                waiting.push_back(Message { id: at, body: body.clone() });
            }
            Operation::Enqueue { body, outcome: outcome(is_done, is_unknown, at) }
        } else {
            let message = if is_done { waiting.pop_front() } else { None };
            Operation::Dequeue { outcome: outcome(is_done, is_unknown, Taken { at, message }) }
        };
        let decided = 100 + 10 * number;
        let (called, returned) = (decided - random.random_range(1..60), decided + random.random_range(1..60));
        records.push(Record { client: number % 7, sequence: number, queue: queue.into(), operation, called, returned });
    }
    // The order in which records come must not matter.
    for last in (1..records.len()).rev() {
        records.swap(last, random.random_range(0..=last));
    }
    (records, queues.into_iter().map(|(name, waiting)| (name, waiting.into())).collect())
}

fn outcome<T>(is_done: bool, is_unknown: bool, answer: T) -> Outcome<T> {
    match (is_done, is_unknown) {
        (_, true) => Outcome::Unknown,
        (true, false) => Outcome::Ok(answer),
        (false, false) => Outcome::Refused,
    }
}

#[test]
fn random_valid_histories_pass() {
    let mut total = Summary::default();
    for seed in 0..500 {
        let (records, drained) = valid_history(seed, 100, 0.1);
        let summary = check(&records, &drained).unwrap_or_else(|violations| {
            let text: Vec<String> = violations.iter().map(|violation| explain(&records, violation)).collect();
            panic!("seed {seed}: {}", text.join("\n"))
        });
        total.empty += summary.empty;
        total.unknown_but_done += summary.unknown_but_done;
        total.taken_by_unknown += summary.taken_by_unknown;
    }
    assert!(total.empty > 100 && total.unknown_but_done > 100 && total.taken_by_unknown > 100, "{total:?}");
}

#[test]
fn random_damage_is_found() {
    let mut damaged = 0;
    for seed in 0..500 {
        let (mut records, mut drained) = valid_history(seed, 60, 0.0);
        if damage(&mut ChaCha8Rng::seed_from_u64(seed), &mut records, &mut drained) {
            damaged += 1;
            assert!(check(&records, &drained).is_err(), "seed {seed}: the damage was not found");
        }
    }
    assert!(damaged > 400, "only {damaged} of 500 histories were damaged");
}

/// Changes one thing that a broken queue might have done. Returns whether it found something to change.
fn damage(random: &mut ChaCha8Rng, records: &mut [Record], drained: &mut BTreeMap<String, Vec<Message>>) -> bool {
    let taken = |record: &Record| match &record.operation {
        Operation::Dequeue { outcome: Outcome::Ok(Taken { message: Some(message), .. }) } => Some(message.clone()),
        _ => None,
    };
    let takes: Vec<usize> = (0..records.len()).filter(|number| taken(&records[*number]).is_some()).collect();
    if takes.len() < 2 {
        return false;
    }
    let first = takes[random.random_range(0..takes.len())];
    let second = takes[random.random_range(0..takes.len())];
    let (first_message, second_message) = (taken(&records[first]), taken(&records[second]));
    let mut give = |number: usize, message: Option<Message>| {
        if let Operation::Dequeue { outcome: Outcome::Ok(taken) } = &mut records[number].operation {
            taken.message = message;
        }
    };
    match random.random_range(0..5) {
        // A message disappears, and the queue says it is empty instead.
        0 => give(first, None),
        // A message is delivered twice.
        1 if first != second => give(first, second_message),
        // Two messages change places.
        2 if first != second => {
            give(first, second_message);
            give(second, first_message);
        }
        // A message is delivered and stays.
        3 => {
            let queue = records[first].queue.clone();
            drained.entry(queue).or_default().extend(first_message);
        }
        // A message that was left is gone.
        4 => return drained.values_mut().any(|messages| messages.pop().is_some()),
        _ => return false,
    }
    true
}

#[test]
fn a_long_history_takes_no_longer_than_its_length() {
    let (records, drained) = valid_history(1, 50_000, 0.001);
    check(&records, &drained).expect("this is a good history");
}
