//! Two replicas and the messages between them: reads on either, and what becomes of requests while leadership changes hands.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::tests::options;
use super::*;
use crate::ids::{EntryId, Index, NodeId, Term, Ticket, Time, Timestamp};
use crate::raft::{self, Body as Says, Configuration, Entry, HardState, Message, Payload, RoleName, TransferRefused};
use crate::state_machine::{Body, MessageState, Operation, Outcome, QueueName};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const REQUESTS_MAX: usize = 20;

/// Disks are instant; messages are, unless a link is cut.
struct Pair {
    now: Time,
    replicas: BTreeMap<NodeId, Replica>,
    logs: BTreeMap<NodeId, Vec<Entry>>,
    /// What these send is lost.
    cut: Vec<NodeId>,
    /// Reads of the log end with nothing.
    log_is_gone: bool,
    /// Snapshots that were taken, and what they said of the log.
    taken: BTreeMap<NodeId, Taking>,
    /// Writes that wait until `finish_writes`.
    held: Option<Vec<Ticket>>,
    /// Every message that was not lost, in order.
    sent: Vec<(NodeId, Message)>,
    answers: BTreeMap<u64, Result<Answer, Refusal>>,
    last_request: u64,
}

impl Pair {
    /// `A` leads, and both have heard that its first entry is committed.
    fn led_by_a(cache_bytes_max: u64) -> Self {
        Self::with_snapshots(cache_bytes_max, SnapshotRules::NEVER)
    }

    fn with_snapshots(cache_bytes_max: u64, snapshots: SnapshotRules) -> Self {
        let configuration = Configuration { voters: [A, B].into(), ..Configuration::EMPTY };
        let first = EntryId::new(Term(1), Index(1));
        let recovered = raft::Recovered {
            hard_state: HardState { term: Term(1), vote: None },
            terms: vec![first],
            last: Index(1),
            configurations: vec![(Index(1), configuration.clone())],
            ..raft::Recovered::default()
        };
        let options = Options { snapshots, ..options(cache_bytes_max, REQUESTS_MAX) };
        let replica = |node: NodeId| Replica::new(node, options.clone(), &recovered, node.0, Time(0));
        let payload = Payload::Configuration { configuration, introduction: None };
        let log = vec![Entry { id: first, payload }];
        let mut pair = Self {
            now: Time(0),
            replicas: [A, B].map(|node| (node, replica(node))).into(),
            logs: [A, B].map(|node| (node, log.clone())).into(),
            cut: vec![B],
            log_is_gone: false,
            taken: BTreeMap::new(),
            held: None,
            sent: Vec::new(),
            answers: BTreeMap::new(),
            last_request: 0,
        };
        pair.now = pair.replicas[&A].next_deadline();
        pair.cut.clear();
        pair.turn(A, []);
        pair.run(Duration::from_millis(300));
        assert_eq!(pair.replicas[&A].status().role, RoleName::Leader);
        pair
    }

    /// Lets a replica have its turn, and the other one too, until nothing is left of it.
    fn turn(&mut self, node: NodeId, events: impl IntoIterator<Item = Event>) {
        let mut due = vec![(node, events.into_iter().collect::<Vec<_>>())];
        while let Some((node, events)) = due.pop() {
            let replica = self.replicas.get_mut(&node).expect("one of the two");
            let effects = replica.turn(self.now, Timestamp(1), events);
            due.extend(effects.into_iter().filter_map(|effect| self.carry_out(node, effect)).rev());
        }
    }

    fn carry_out(&mut self, node: NodeId, effect: Effect) -> Option<(NodeId, Vec<Event>)> {
        match effect {
            Effect::Persist(raft::Write { ticket, entries, .. }) => {
                let log = self.logs.get_mut(&node).expect("one of the two");
                log.retain(|entry| entries.first().is_none_or(|first| entry.id.index < first.id.index));
                log.extend(entries);
                match &mut self.held {
                    Some(held) => {
                        held.push(ticket);
                        None
                    }
                    None => Some((node, vec![Event::Persisted(ticket)])),
                }
            }
            Effect::Send { to, message } if !self.cut.contains(&node) => {
                self.sent.push((node, message.clone()));
                Some((to, vec![Event::Message { from: node, message }]))
            }
            Effect::ReadEntries { read, .. } if self.log_is_gone => Some((node, vec![Event::NotInLog { read }])),
            Effect::ReadBody { read, .. } if self.log_is_gone => Some((node, vec![Event::NotInLog { read }])),
            Effect::ReadEntries { read, from, to, .. } => Some((node, vec![self.entries_read(node, read, from, to)])),
            Effect::ReadBody { read, index } => Some((node, vec![self.entries_read(node, read, index, index)])),
            Effect::TakeSnapshot(taking) => {
                let (last, log_start) = (taking.state.snapshot.last, taking.log_start);
                self.taken.insert(node, *taking);
                Some((node, vec![Event::SnapshotTaken { last, log_start, bytes: 1 }]))
            }
            Effect::FetchSnapshot { from, last, .. } => {
                let state = self.taken[&from].state.clone();
                assert_eq!(state.snapshot.last, last);
                Some((node, vec![Event::SnapshotReceived(Box::new(Restored { state, bytes: 1 }))]))
            }
            Effect::Answer { request, answer } => {
                assert!(self.answers.insert(request.0, answer).is_none(), "{request:?} was answered twice");
                None
            }
            Effect::Send { .. } | Effect::Introduce(_) | Effect::Compact { .. } | Effect::Tell(_) => None,
        }
    }

    fn entries_read(&self, node: NodeId, read: ReadId, from: Index, to: Index) -> Event {
        let wanted = |entry: &&Entry| (from..=to).contains(&entry.id.index);
        Event::EntriesRead { read, entries: self.logs[&node].iter().filter(wanted).cloned().collect() }
    }

    /// The disks finish what they have been given meanwhile.
    fn finish_writes(&mut self, node: NodeId) {
        let persisted = self.held.take().into_iter().flatten().map(Event::Persisted).collect::<Vec<_>>();
        self.turn(node, persisted);
    }

    /// Serves all deadlines up to then.
    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some((at, node)) = self.replicas.iter().map(|(node, it)| (it.next_deadline(), *node)).min()
            && at <= end
        {
            self.now = self.now.max(at);
            self.turn(node, []);
        }
        self.now = end;
    }

    fn ask(&mut self, node: NodeId, event: impl FnOnce(RequestId) -> Event) -> u64 {
        self.last_request += 1;
        self.turn(node, [event(RequestId(self.last_request))]);
        self.last_request
    }

    fn read(&mut self, node: NodeId, consistency: Consistency) -> u64 {
        let state = MessageState::Ready;
        let operations = vec![Operation::Peek { queue: queue(), limit: 1, state, after: None }];
        self.ask(node, |request| Event::Read { request, read: Read { operations, consistency, is_own: false } })
    }

    fn enqueue(&mut self, node: NodeId) -> u64 {
        let body = Body::Data(Bytes::from_static(b"body"));
        let operations = vec![Operation::Enqueue { queue: queue(), message: body.into(), delay: Duration::ZERO }];
        let execute = Execute { session: None, operations, wait: Duration::ZERO, is_followed: false };
        self.ask(node, |request| Event::Execute { request, execute })
    }

    fn transfer(&mut self, node: NodeId, to: Option<NodeId>) -> u64 {
        self.ask(node, |request| Event::TransferLeadership { request, to })
    }

    fn shown(&self, request: u64) -> &Shown {
        match self.answers.get(&request) {
            Some(Ok(Answer::Shown(shown))) => shown,
            other => panic!("nothing is shown: {other:?}"),
        }
    }

    fn questions(&self) -> usize {
        self.sent.iter().filter(|(_, message)| matches!(message.body, Says::ReadIndex { .. })).count()
    }
}

fn queue() -> QueueName {
    "q".parse().expect("a good name")
}

fn not_leader(leader: Option<NodeId>, term: u64) -> Result<Answer, Refusal> {
    Err(Refusal::NotLeader { leader, term: Term(term) })
}

#[test]
fn every_member_shows_what_was_executed_and_writes_nothing() {
    let mut pair = Pair::led_by_a(1 << 20);
    pair.enqueue(A);
    let entries_before = pair.logs[&A].len();
    for (node, consistency) in [(A, Consistency::Leader), (A, Consistency::AnyNode), (B, Consistency::AnyNode)] {
        let read = pair.read(node, consistency);
        let shown = pair.shown(read);
        assert_eq!((shown.index, shown.commit, shown.age), (Index(3), Index(3), None));
        assert!(matches!(&shown.outcomes[..], [Outcome::Peeked(seen)] if seen[0].id.index == Index(3)), "{shown:?}");
        assert_eq!(shown.bodies.len(), 1);
    }
    let elsewhere = pair.read(B, Consistency::Leader);
    assert_eq!(pair.answers[&elsewhere], not_leader(Some(A), 2));
    assert_eq!(pair.logs[&A].len(), entries_before);
}

/// Without operations the answer only tells where the log is.
#[test]
fn a_read_of_nothing_waits_for_the_read_index() {
    let mut pair = Pair::led_by_a(1 << 20);
    let read = Read { operations: Vec::new(), consistency: Consistency::AnyNode, is_own: false };
    let read = pair.ask(B, |request| Event::Read { request, read });
    assert_eq!((pair.shown(read).index, &pair.shown(read).outcomes[..]), (Index(2), &[][..]));
}

#[test]
fn a_stale_read_says_how_old_it_may_be() {
    let mut pair = Pair::led_by_a(1 << 20);
    pair.run(Duration::from_millis(500));
    let age = |pair: &mut Pair, node| {
        let read = pair.read(node, Consistency::Stale);
        pair.shown(read).age.expect("it has heard by now")
    };
    assert_eq!(age(&mut pair, A), Duration::ZERO, "it has just been answered");
    let young = age(&mut pair, B);
    assert!(young > Duration::from_millis(100) && young <= Duration::from_millis(300), "{young:?}");
    pair.cut.push(A);
    pair.enqueue(A);
    pair.run(Duration::from_millis(300));
    assert_eq!(age(&mut pair, B), young + Duration::from_millis(300));
    let read = pair.read(B, Consistency::Stale);
    assert_eq!(pair.shown(read).outcomes, [Outcome::Peeked(Vec::new())], "it has not heard of the message");
}

#[test]
fn a_member_that_has_heard_nothing_does_not_know_its_age() {
    let mut pair = Pair::led_by_a(1 << 20);
    let heard_nothing = raft::Recovered::default();
    let options = pair.replicas[&B].options.clone();
    pair.replicas.insert(B, Replica::new(B, options, &heard_nothing, 7, pair.now));
    pair.cut.push(A);
    let read = pair.read(B, Consistency::Stale);
    assert_eq!((pair.shown(read).index, pair.shown(read).age), (Index(0), None));
}

/// A follower asks once for all reads of a turn. One that is not answered waits, counts, and can be forgotten.
#[test]
fn reads_that_wait_are_bounded_and_can_be_forgotten() {
    let mut pair = Pair::led_by_a(1 << 20);
    pair.cut.push(A);
    let read = || Read { operations: Vec::new(), consistency: Consistency::AnyNode, is_own: false };
    let reads = (1..=REQUESTS_MAX as u64 + 1).map(|request| Event::Read { request: RequestId(request), read: read() });
    pair.turn(B, reads.collect::<Vec<_>>());
    assert_eq!(pair.questions(), 1);
    let too_many = REQUESTS_MAX as u64 + 1;
    assert_eq!(pair.answers.remove(&too_many), Some(Err(Refusal::Overloaded)));
    pair.turn(B, [Event::Forget(RequestId(1))]);
    pair.cut.clear();
    pair.run(Duration::from_millis(500));
    assert!((2..too_many).all(|request| pair.shown(request).index == Index(2)), "{:?}", pair.answers);
    assert_eq!(pair.answers.len(), REQUESTS_MAX - 1, "nobody waits for the first one");
    pair.turn(B, [Event::Read { request: RequestId(too_many), read: read() }]);
    assert_eq!(pair.shown(too_many).index, Index(2), "there is room again");
}

/// The leader is gone: a follower's reads are refused when it stops believing in it.
#[test]
fn reads_are_refused_when_the_leader_is_lost() {
    let mut pair = Pair::led_by_a(1 << 20);
    pair.cut = vec![A, B];
    let (on_leader, on_follower) = (pair.read(A, Consistency::Leader), pair.read(B, Consistency::AnyNode));
    assert!(pair.answers.is_empty());
    pair.run(Duration::from_millis(1700));
    assert_eq!(pair.answers[&on_leader], not_leader(None, 2));
    assert_eq!(pair.answers[&on_follower], not_leader(None, 2));
    let later = pair.read(B, Consistency::AnyNode);
    assert_eq!(pair.answers[&later], not_leader(None, 2));
}

/// A follower hears its leader and gets no entries: the acknowledgements of what it has do not come through.
#[test]
fn a_read_that_a_follower_cannot_show_in_time_is_the_leaders_matter() {
    let mut pair = Pair::led_by_a(1 << 20);
    let replica = pair.replicas.get_mut(&B).expect("one of the two");
    let heartbeat = Says::Heartbeat { commit: Index(2), sent_at: Time(0), read_round: 0, fresh: None, timing: None };
    let confirmed = |context| Says::ReadIndexReply { context, at: Some(EntryId::new(Term(2), Index(9))) };
    let read = Event::Read {
        request: RequestId(1),
        read: Read { operations: Vec::new(), consistency: Consistency::AnyNode, is_own: false },
    };
    let from_leader = |body| Event::Message { from: A, message: Message { term: Term(2), body } };
    let asked = replica.turn(pair.now, Timestamp(1), [read]);
    let context = asked.iter().find_map(|effect| match effect {
        Effect::Send { message: Message { body: Says::ReadIndex { context }, .. }, .. } => Some(*context),
        _ => None,
    });
    replica.turn(pair.now, Timestamp(1), [from_leader(confirmed(context.expect("it asks the leader")))]);
    let began = pair.now;
    let answer = (0..100).find_map(|_| {
        pair.now = pair.now + Duration::from_millis(100);
        let effects = replica.turn(pair.now, Timestamp(1), [from_leader(heartbeat.clone())]);
        effects.into_iter().find_map(|effect| match effect {
            Effect::Answer { answer, .. } => Some(answer),
            _ => None,
        })
    });
    assert_eq!(answer, Some(not_leader(Some(A), 2)));
    assert!(pair.now - began < Duration::from_secs(2), "it took {:?}", pair.now - began);
    assert!(replica.next_deadline() > pair.now, "nothing is left to be done about it");
}

/// Whoever waits for a body that cannot be read is answered.
#[test]
fn a_body_that_is_not_in_the_log_is_an_answer_too() {
    let mut pair = Pair::led_by_a(0);
    pair.enqueue(A);
    pair.enqueue(A);
    let read = pair.read(A, Consistency::Leader);
    assert_eq!(pair.shown(read).bodies.len(), 1, "read back from disk");
    pair.log_is_gone = true;
    let read = pair.read(A, Consistency::Leader);
    assert_eq!(pair.answers[&read], Err(Refusal::BodyNotInLog));
    assert!(pair.replicas[&A].log_reads.is_empty());
}

#[test]
fn a_transfer_is_answered_when_the_other_one_leads() {
    let mut pair = Pair::led_by_a(1 << 20);
    let itself = pair.transfer(A, Some(A));
    assert_eq!(pair.answers[&itself], Err(Refusal::Transfer(TransferRefused::AlreadyLeads)));
    let elsewhere = pair.transfer(B, Some(A));
    assert_eq!(pair.answers[&elsewhere], not_leader(Some(A), 2));
    let transfer = pair.transfer(A, None);
    assert_eq!(pair.answers[&transfer], Ok(Answer::LeadershipTransferred { to: B }));
    assert_eq!(pair.replicas[&B].status().role, RoleName::Leader);
}

/// What comes meanwhile waits. It was not proposed, so that it can be told so when another one leads.
#[test]
fn requests_wait_while_leadership_is_handed_over() {
    let mut pair = Pair::led_by_a(1 << 20);
    let entries_before = pair.logs[&A].len();
    pair.cut.push(B);
    let transfer = pair.transfer(A, Some(B));
    let held: Vec<u64> = (0..REQUESTS_MAX).map(|_| pair.enqueue(A)).collect();
    assert!(pair.answers.is_empty(), "{:?}", pair.answers);
    let too_many = pair.enqueue(A);
    assert_eq!(pair.answers[&too_many], Err(Refusal::Overloaded));
    assert_eq!(pair.logs[&A].len(), entries_before);
    // B campaigns and is not heard; the next heartbeat is answered with its term.
    pair.cut.clear();
    pair.run(Duration::from_millis(2000));
    assert_eq!(pair.answers[&transfer], Ok(Answer::LeadershipTransferred { to: B }));
    for request in held {
        assert!(matches!(pair.answers[&request], Err(Refusal::NotLeader { .. })), "{:?}", pair.answers[&request]);
    }
}

#[test]
fn requests_are_executed_when_the_transfer_is_given_up() {
    let mut pair = Pair::led_by_a(1 << 20);
    pair.cut = vec![A, B];
    let transfer = pair.transfer(A, Some(B));
    let held = pair.enqueue(A);
    pair.run(Duration::from_millis(350));
    pair.cut.clear();
    // TimeoutNow is lost until then; what the leader sends after that would be heeded, so that it is taken out.
    let mut replica = pair.replicas.remove(&B).expect("one of the two");
    let (mut answered, deadline) = (None, pair.now + Duration::from_millis(600));
    while pair.now < deadline && answered.is_none() {
        pair.now = pair.replicas[&A].next_deadline();
        let effects = pair.replicas.get_mut(&A).expect("it is still there").turn(pair.now, Timestamp(1), []);
        for effect in effects {
            match effect {
                Effect::Send { message, .. } if !matches!(message.body, Says::TimeoutNow { .. }) => {
                    let event = Event::Message { from: A, message };
                    replica.turn(pair.now, Timestamp(1), [event]);
                }
                Effect::Answer { request, answer } if request.0 == transfer => answered = Some(answer),
                _ => {}
            }
        }
    }
    assert_eq!(answered, Some(Err(Refusal::NotTransferred { to: B, leader: Some(A) })));
    assert!(!pair.answers.contains_key(&held));
    assert_eq!(pair.replicas[&A].status().last.index, Index(3), "the request that waited is proposed at once");
}

/// What is committed is answered, also when leadership is lost in the same turn.
#[test]
fn a_committed_request_is_answered_when_leadership_is_lost() {
    let mut pair = Pair::led_by_a(1 << 20);
    pair.cut.push(A);
    let enqueue = pair.enqueue(A);
    let id = EntryId::new(Term(2), Index(3));
    let accepted = Message { term: Term(2), body: Says::AppendReply(raft::AppendReply::Accepted(id)) };
    let later = Message { term: Term(3), body: Says::ReadIndex { context: raft::ReadContext(1) } };
    pair.turn(A, [accepted, later].map(|message| Event::Message { from: B, message }));
    assert_eq!(pair.replicas[&A].status().role, RoleName::Follower);
    assert!(matches!(pair.answers[&enqueue], Ok(Answer::Executed(_))), "{:?}", pair.answers);
}

/// Of two that wait for one message the second is decided to wait on. Where nobody leads any more it is refused instead.
#[test]
fn a_dequeue_that_would_wait_on_is_refused_when_leadership_is_lost() {
    let mut pair = Pair::led_by_a(1 << 20);
    pair.enqueue(A);
    pair.cut.push(A);
    let dequeues = [100, 101].map(|request| {
        let operations = vec![Operation::Dequeue { queue: queue(), wait: true }];
        let execute = Execute { session: None, operations, wait: Duration::from_secs(9), is_followed: false };
        Event::Execute { request: RequestId(request), execute }
    });
    pair.turn(A, dequeues);
    let id = EntryId::new(Term(2), Index(5));
    let accepted = Message { term: Term(2), body: Says::AppendReply(raft::AppendReply::Accepted(id)) };
    let later = Message { term: Term(3), body: Says::ReadIndex { context: raft::ReadContext(1) } };
    pair.turn(A, [accepted, later].map(|message| Event::Message { from: B, message }));
    assert!(matches!(pair.answers[&100], Ok(Answer::Executed(_))), "{:?}", pair.answers);
    assert_eq!(pair.answers[&101], not_leader(None, 3));
}

/// A snapshot after each entry, and nothing of the log stays for anybody.
const AFTER_EACH: SnapshotRules = SnapshotRules { bytes: 0, entries: 1, log_entries: 0, held_bytes_max: 0 };

#[test]
fn a_snapshot_has_what_was_applied_and_the_log_begins_after_it() {
    let mut pair = Pair::with_snapshots(0, AFTER_EACH);
    pair.enqueue(A);
    let replica = &pair.replicas[&A];
    let State { snapshot, settled, machine, .. } = &pair.taken[&A].state;
    assert_eq!(snapshot.last, EntryId::new(Term(2), Index(3)));
    assert_eq!((snapshot.configuration_index, settled), (Index(1), &[A, B].into()));
    assert_eq!(machine.digest(), replica.machine().digest());
    let status = replica.status();
    assert_eq!((status.log_start, status.snapshot), (snapshot.last, snapshot.last));
    let read = pair.read(A, Consistency::Leader);
    assert_eq!(pair.shown(read).bodies.len(), 1, "the body is read back, although its entry has left the log");
}

#[test]
fn the_log_keeps_what_is_wanted_of_it() {
    let mut pair = Pair::with_snapshots(0, SnapshotRules { log_entries: 2, ..AFTER_EACH });
    for _ in 0..4 {
        pair.enqueue(A);
    }
    let status = pair.replicas[&A].status();
    assert_eq!((status.snapshot.index, status.log_start.index), (Index(6), Index(4)));
}

#[test]
fn a_member_without_the_log_installs_the_snapshot_and_goes_on() {
    let mut pair = Pair::with_snapshots(0, AFTER_EACH);
    // Alone, a leader of two commits nothing; so B has the entries, and loses them.
    for _ in 0..3 {
        pair.enqueue(A);
    }
    let options = Options { snapshots: AFTER_EACH, ..options(0, REQUESTS_MAX) };
    pair.replicas.insert(B, Replica::new(B, options, &raft::Recovered::default(), 9, pair.now));
    pair.logs.insert(B, Vec::new());
    pair.held = Some(Vec::new());
    pair.run(Duration::from_millis(2_500));
    assert_eq!(pair.replicas[&B].status().applied, Index(0), "the state follows when the snapshot is durable");
    pair.finish_writes(B);
    pair.run(Duration::from_millis(2_500));
    let (a, b) = (&pair.replicas[&A], &pair.replicas[&B]);
    assert_eq!(b.status().applied, a.status().applied);
    assert_eq!(b.machine().digest(), a.machine().digest());
    assert_eq!(b.status().membership.configuration, a.status().membership.configuration);
    let read = pair.read(B, Consistency::AnyNode);
    assert_eq!(pair.shown(read).index, pair.replicas[&A].status().commit);
    pair.enqueue(A);
    assert_eq!(pair.replicas[&B].status().last, pair.replicas[&A].status().last);
}
