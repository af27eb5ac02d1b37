//! One replica, alone in its group: what it does with requests that wait, are retried or are forgotten.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::ids::{EntryId, Index, NodeId, Sequence, SessionId, Term, Ticket, Time, Timestamp};
use crate::raft::{self, CommitQuorum, Configuration, Entry, HardState, Payload};
use crate::state_machine::{Body, Limits, Operation, Outcome, QueueName, SessionRequest};

const NODE: NodeId = NodeId(1);

/// A replica, and a disk that is as slow as a test wants.
struct Alone {
    replica: Replica,
    now: Time,
    wall: Timestamp,
    /// Written, but not reported as durable.
    tickets: Vec<Ticket>,
    entries: Vec<Entry>,
    answers: Vec<(u64, Result<Answer, Refusal>)>,
    last_request: u64,
}

/// Fixed time-outs, and disks and windows that never fill up.
pub(super) fn options(cache_bytes_max: u64, requests_max: usize) -> Options {
    let millis = Duration::from_millis;
    let raft = raft::Options {
        timeouts: raft::TimeoutPolicy::Fixed(raft::Timeouts {
            election_min: millis(400),
            election_max: millis(800),
            heartbeat: millis(100),
        }),
        disk_stall_max: millis(2000),
        append_bytes_max: 1 << 20,
        window: raft::Window { appends_max: 8, bytes_max: 1 << 20 },
        cache_bytes_max,
    };
    Options { raft, limits: Limits::default(), snapshots: SnapshotRules::NEVER, requests_max }
}

impl Alone {
    /// A leader with nothing to do.
    fn leading() -> Self {
        let recovered = raft::Recovered {
            hard_state: HardState { term: Term(1), vote: None },
            terms: vec![EntryId::new(Term(1), Index(1))],
            last: Index(1),
            configurations: vec![(Index(1), Configuration::of_one(NODE, CommitQuorum::Majority))],
            ..raft::Recovered::default()
        };
        let options = options(1 << 20, 100);
        let mut alone = Self {
            replica: Replica::new(NODE, options, &recovered, 1, Time(0)),
            now: Time(0),
            wall: Timestamp(1),
            tickets: Vec::new(),
            entries: vec![Entry { id: recovered.terms[0], payload: Payload::Noop }],
            answers: Vec::new(),
            last_request: 0,
        };
        alone.turn([]);
        alone.settle();
        alone
    }

    fn turn(&mut self, events: impl IntoIterator<Item = Event>) {
        let mut reads = Vec::new();
        for effect in self.replica.turn(self.now, self.wall, events) {
            match effect {
                Effect::Persist(write) => {
                    self.tickets.push(write.ticket);
                    self.entries.extend(write.entries);
                }
                Effect::ReadEntries { read, from, to, .. } => {
                    let entries = self.entries[from.0 as usize - 1..to.0 as usize].to_vec();
                    reads.push(Event::EntriesRead { read, entries });
                }
                Effect::Answer { request, answer } => self.answers.push((request.0, answer)),
                _ => {}
            }
        }
        if !reads.is_empty() {
            self.turn(reads);
        }
    }

    /// Lets the disk finish all it has been given.
    fn settle(&mut self) {
        while let Some(ticket) = self.tickets.pop() {
            self.tickets.clear();
            self.turn([Event::Persisted(ticket)]);
        }
    }

    fn request(&mut self, session: Option<SessionRequest>, operation: Operation, wait: Duration) -> Event {
        self.last_request += 1;
        let execute = Execute { session, operations: vec![operation], wait, is_followed: false };
        Event::Execute { request: RequestId(self.last_request), execute }
    }

    fn enqueue(&mut self) -> Event {
        let body = Body::Data(Bytes::from_static(b"body"));
        self.request(
            None,
            Operation::Enqueue { queue: queue(), message: body.into(), delay: Duration::ZERO },
            Duration::ZERO,
        )
    }

    fn dequeue(&mut self, session: Option<SessionRequest>, wait: Duration) -> Event {
        let wait_in_log = !wait.is_zero();
        self.request(session, Operation::Dequeue { queue: queue(), wait: wait_in_log }, wait)
    }

    fn messages(&self) -> u64 {
        self.replica.machine().ready_in(&queue())
    }
}

fn queue() -> QueueName {
    "q".parse().expect("a good name")
}

const LONG: Duration = Duration::from_secs(60);

/// A message wakes one waiting dequeue, not each that waits: every one that wakes in vain is an entry in the log.
#[test]
fn ten_messages_wake_ten() {
    let mut alone = Alone::leading();
    for _ in 0..20 {
        let dequeue = alone.dequeue(None, LONG);
        alone.turn([dequeue]);
    }
    let entries_before = alone.entries.len();
    let enqueues: Vec<Event> = (0..10).map(|_| alone.enqueue()).collect();
    alone.turn(enqueues);
    alone.settle();
    assert_eq!(alone.entries.len() - entries_before, 20, "ten enqueues and ten dequeues");
    let served: Vec<u64> = alone.answers.iter().map(|(request, _)| *request).filter(|request| *request <= 20).collect();
    assert_eq!(served, (1..=10).collect::<Vec<_>>(), "those that waited longest");
}

/// A client that went away while its dequeue was in the log, and whose message another one took, takes no later message.
#[test]
fn a_forgotten_dequeue_waits_no_more() {
    let mut alone = Alone::leading();
    let waiting = alone.dequeue(None, LONG);
    alone.turn([waiting]);
    let (enqueue, faster) = (alone.enqueue(), alone.dequeue(None, Duration::ZERO));
    alone.turn([enqueue, faster]);
    let ticket = alone.tickets.pop().expect("both were written");
    alone.turn([Event::Persisted(ticket)]);
    alone.turn([Event::Forget(RequestId(1))]);
    alone.settle();
    let enqueue = alone.enqueue();
    alone.turn([enqueue]);
    alone.settle();
    assert_eq!(alone.messages(), 1, "nobody waits for it");
}

/// The retry of a dequeue that was decided gets its first outcome at once, also when the queue is empty by then.
#[test]
fn a_retry_of_a_decided_dequeue_does_not_wait() {
    let mut alone = Alone::leading();
    let open = alone.request(None, Operation::OpenSession, Duration::ZERO);
    alone.turn([open]);
    alone.settle();
    let Some((_, Ok(Answer::Executed(opened)))) = alone.answers.pop() else { panic!("the session is not open") };
    let [Outcome::SessionOpened { id, .. }] = opened.outcomes[..] else { panic!("{opened:?}") };
    let session = place(id);
    let enqueue = alone.enqueue();
    alone.turn([enqueue]);
    alone.settle();
    for replayed in [false, true] {
        let dequeue = alone.dequeue(Some(session), LONG);
        alone.turn([dequeue]);
        alone.settle();
        let answer = alone.answers.pop().map(|(_, answer)| answer);
        let Some(Ok(Answer::Executed(executed))) = answer else { panic!("it waits: {answer:?}") };
        assert_eq!(executed.replayed, replayed);
        assert!(matches!(executed.outcomes[..], [Outcome::Dequeued(Some(_))]));
    }
}

fn place(id: SessionId) -> SessionRequest {
    SessionRequest { id, sequence: Sequence(1), lowest_pending: Sequence(1) }
}

/// Whoever follows a request knows its entry before the entry is written or sent; of the others nothing is told.
#[test]
fn a_request_that_is_followed_is_told_its_place_first() {
    let mut alone = Alone::leading();
    let others = alone.enqueue();
    let Event::Execute { request, execute } = alone.enqueue() else { unreachable!("an enqueue is executed") };
    let followed = Event::Execute { request, execute: Execute { is_followed: true, ..execute } };
    let at = EntryId::new(alone.replica.status().term, Index(alone.entries.len() as u64 + 2));
    let effects = alone.replica.turn(alone.now, Timestamp(1), [others, followed]);
    let is_placed = |effect: &&Effect| matches!(effect, Effect::Tell(Told::Placed { .. }));
    let placed: Vec<&Effect> = effects.iter().filter(is_placed).collect();
    assert_eq!(placed, [&Effect::Tell(Told::Placed { request, at, together: 2 })]);
    let first_of = |is: fn(&Effect) -> bool| effects.iter().position(is).expect("it is there");
    let written = first_of(|effect| matches!(effect, Effect::Persist(_)));
    assert!(first_of(|effect| matches!(effect, Effect::Tell(Told::Placed { .. }))) < written);
}

/// A lease that nobody ends is ended by the leader, when it is due and not only at the next heartbeat, and who waits
/// gets the message.
#[test]
fn a_lease_that_ends_wakes_who_waits() {
    let mut alone = Alone::leading();
    let lease = |wait: Duration| {
        let duration = Duration::from_millis(5);
        Operation::Lease { queue: queue(), limit: 9, duration, wait: !wait.is_zero() }
    };
    let (enqueue, first) = (alone.enqueue(), alone.request(None, lease(Duration::ZERO), Duration::ZERO));
    alone.turn([enqueue, first]);
    alone.settle();
    let waiting = alone.request(None, lease(LONG), LONG);
    alone.turn([waiting]);
    alone.settle();
    let entries = alone.entries.len();
    assert_eq!(alone.answers.last().map(|(request, _)| *request), Some(2), "the third one waits");
    let end = alone.now + Duration::from_millis(5);
    assert_eq!(alone.replica.next_deadline(), end);
    alone.wall = Timestamp(6);
    alone.now = end;
    alone.turn([]);
    alone.settle();
    assert_eq!(alone.entries.len() - entries, 2, "the end of the first lease, and the second one");
    let Some((3, Ok(Answer::Executed(executed)))) = alone.answers.last() else { panic!("{:?}", alone.answers.last()) };
    let [Outcome::Leased { messages, .. }] = &executed.outcomes[..] else { panic!("{executed:?}") };
    assert_eq!((messages.len(), messages[0].deliveries), (1, 2));
}

/// A clock that lags behind the time of the log ends no lease later than that time does.
#[test]
fn what_is_due_by_the_time_of_the_log_is_ended_whatever_the_clock_says() {
    let mut alone = Alone::leading();
    alone.wall = Timestamp(1_000);
    let lease = Operation::Lease { queue: queue(), limit: 1, duration: Duration::from_millis(5), wait: false };
    let (enqueue, lease) = (alone.enqueue(), alone.request(None, lease, Duration::ZERO));
    alone.turn([enqueue, lease]);
    alone.settle();
    alone.wall = Timestamp(1_005);
    let enqueue = alone.enqueue();
    alone.turn([enqueue]);
    alone.wall = Timestamp(3);
    alone.settle();
    alone.turn([]);
    alone.settle();
    assert_eq!(alone.messages(), 2, "the lease has ended");
}

/// A leader whose clock is behind the time of the log, as one that takes over from one whose clock was ahead, ends leases when
/// they have lasted as long as they should.
#[test]
fn a_lease_ends_in_time_while_the_clock_is_behind() {
    let mut alone = Alone::leading();
    alone.wall = Timestamp(600_000);
    let lease = Operation::Lease { queue: queue(), limit: 1, duration: Duration::from_millis(5), wait: false };
    let (enqueue, lease) = (alone.enqueue(), alone.request(None, lease, Duration::ZERO));
    alone.turn([enqueue, lease]);
    alone.settle();
    alone.wall = Timestamp(3);
    let end = alone.now + Duration::from_millis(5);
    alone.now = alone.now + Duration::from_millis(4);
    alone.turn([]);
    alone.settle();
    assert_eq!((alone.messages(), alone.replica.next_deadline()), (0, end), "it has a millisecond left");
    alone.now = end;
    alone.turn([]);
    alone.settle();
    assert_eq!(alone.messages(), 1, "the lease has ended");
}
