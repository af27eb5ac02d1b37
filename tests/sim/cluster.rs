//! The simulation: one loop, one heap of events in the order of time, and the phases of a run.
//!
//! ```text
//!    faults          everything goes wrong that the knobs allow; clients work
//!    healing         nothing goes wrong; clients end what they began; the replicas become equal
//!    draining        one client takes everything out
//!    over            the history is judged
//! ```

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use quorate::ids::{Index, NodeId, SessionId, Term, Ticket};
use quorate::raft::{Message, RoleName};
use quorate::replica::{self, Answer, Execute, Read, ReadId, Refusal, Status, Taking};
use quorate::state_machine::Operation;
use quorate::storage::transfer;
use rand::RngExt;

use super::checks::Checks;
use super::client::{Call, Client, Ending};
use super::coverage::Coverage;
use super::fetching::Exchange;
use super::knobs::{Knobs, Micros, SECOND, Workload};
use super::linking::Cargo;
use super::network::Network;
use super::node::{Caller, Node};
use super::operator::Operator;
use super::random::Random;
use super::tcp;
use super::trace::{Detail, Trace};
use super::watch::Watch;

/// So many more events are allowed in a second for each entry that some node wrote in it, each piece of a snapshot that some node
/// got, and each request that was made.
const EVENTS_PER_ENTRY_MAX: u64 = 20;

/// After the faults everything must be well within so many of the longest election time-outs.
const HEALING_TIMEOUTS_MAX: u64 = 60;

/// Once all is well it must stay so for this many of the longest election time-outs.
const CALM_TIMEOUTS: u64 = 4;

/// A cluster, its clients, and the world around them.
pub struct Cluster {
    /// The time.
    pub now: Micros,
    /// What was drawn for the seed.
    pub knobs: Knobs,
    /// The generators.
    pub random: Random,
    /// All machines there ever were.
    pub nodes: BTreeMap<NodeId, Node>,
    /// What connects them.
    pub network: Network,
    /// The clients.
    pub clients: Vec<Client>,
    /// All requests of all clients.
    pub history: Vec<Call>,
    /// Who changes the membership.
    pub operator: Operator,
    /// The safety rules.
    pub checks: Checks,
    /// What has happened.
    pub coverage: Coverage,
    /// Who has led when, and how fast.
    pub watch: Watch,
    /// The same, in order.
    pub trace: Trace,
    /// Where the run is.
    pub phase: Phase,
    /// How many requests had been made then.
    pub requests_when_healed: usize,
    /// The term in which all became well.
    calm_term: Option<Term>,
    /// Counts attempts of all clients.
    pub last_attempt: u64,
    /// The attempts that clients wait for, each with the place of its request in the history.
    pub attempts: BTreeMap<u64, usize>,
    heap: BinaryHeap<Reverse<Scheduled>>,
    last_scheduled: u64,
    events_of_second: (u64, u64),
    written_before: u64,
    events: u64,
    /// Pieces of snapshots that came, and were of use.
    pub pieces: u64,
    /// Committed entries that some disk has lost without anybody noticing.
    pub lost: u64,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Things go wrong.
    Faults,
    /// Nothing does, since then.
    Healing(Micros),
    /// One client takes everything out, since then.
    Draining(Micros),
    /// It has ended.
    Over,
}

/// A process: a node and which of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessId {
    /// The node.
    pub node: NodeId,
    /// Which process of it.
    pub incarnation: u64,
}

/// Something that is to happen.
#[derive(Debug)]
pub enum Event {
    /// A message arrives.
    Deliver { from: NodeId, to: NodeId, message: Message },
    /// A node hears that its connection to a peer broke.
    Disconnected { node: NodeId, peer: NodeId },
    /// A node hears that its connection to a peer is back.
    Connected { node: NodeId, peer: NodeId },
    /// Something happens to a connection.
    Connection(tcp::Event<Cargo>),
    /// A node takes a turn.
    Turn(ProcessId),
    /// A node's deadline has come, or a later one was set.
    Wake(ProcessId),
    /// A disk writes what waits.
    Append(ProcessId),
    /// A disk syncs what was written.
    Sync(ProcessId),
    /// A node hears that a write is durable.
    Persisted(ProcessId, Ticket),
    /// A disk reads entries.
    Read { process: ProcessId, read: ReadId, from: Index, to: Index, bytes_max: u64 },
    /// A disk reads the entry of a body.
    ReadBody { process: ProcessId, read: ReadId, index: Index },
    /// A node writes a snapshot.
    TakeSnapshot(ProcessId, Box<Taking>),
    /// A node compacts its log.
    Compact(ProcessId),
    /// A node hears of something that was done beside its loop.
    Done(ProcessId, replica::Event),
    /// A node is asked for a piece of its snapshot.
    PieceAsked(Exchange),
    /// A piece of a snapshot arrives, or that there is none.
    PieceAnswered(Exchange, transfer::Reply),
    /// A piece has been waited for long enough.
    PieceLost(Exchange),
    /// A node asks for more of the leader's snapshot.
    Fetch { process: ProcessId, fetch: u64 },
    /// A node may fetch again.
    MayFetch(ProcessId),
    /// A node starts.
    Start(NodeId),
    /// A request arrives at a node.
    Request { node: NodeId, caller: Caller, attempt: u64, asked: Asked },
    /// The client of this attempt hangs up.
    HangUp { node: NodeId, attempt: u64 },
    /// An answer arrives.
    Response { caller: Caller, attempt: u64, answer: Result<Answer, Refusal> },
    /// A client may make a request.
    Think(usize),
    /// A client tries again.
    Retry { client: usize, place: usize },
    /// A client has waited long enough.
    TimeOut { client: usize, place: usize, attempt: u64, node: NodeId },
    /// Something goes wrong.
    Fault,
    /// Some voters are cut off, and then one of the others loses the end of its log.
    CutBeforeLoss,
    /// A node loses the end of its log.
    LoseLogEnd(NodeId),
    /// All links work again.
    Mend,
    /// The membership may be changed.
    Change,
    /// Leadership may be handed over.
    HandOver,
    /// Look whether the phase has ended.
    Look,
}

/// What a request asks for.
#[derive(Debug)]
pub enum Asked {
    /// Operations.
    Execute(Execute),
    /// To be shown something.
    Read(Read),
    /// Another leader.
    Transfer(Option<NodeId>),
    /// Another membership.
    Change(quorate::raft::MembershipChange),
}

struct Scheduled {
    at: Micros,
    order: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// What came of a run.
pub struct Report {
    /// What has happened in it.
    pub coverage: Coverage,
    /// The hash of its trace.
    pub hash: u64,
    /// How many events there were.
    pub events: u64,
    /// How many requests were made.
    pub requests: usize,
    /// The time that it simulated.
    pub simulated: Micros,
    /// Committed entries that some disk has lost without anybody noticing.
    pub lost: u64,
    /// Requests of sessions of which nobody knows what became.
    pub unknown: usize,
}

impl Cluster {
    /// The cluster of a seed, before anything happens.
    pub fn new(seed: u64, detail: Detail) -> Self {
        let knobs = Knobs::draw(&mut Random::new(seed).knobs);
        Self::with(knobs, seed, detail)
    }

    /// The cluster with these knobs, in which all else is drawn for a seed.
    pub fn with(knobs: Knobs, seed: u64, detail: Detail) -> Self {
        let mut cluster = Self {
            now: 0,
            network: Network::new(knobs.network.clone()),
            watch: Watch::new(knobs.nodes),
            knobs,
            random: Random::new(seed),
            nodes: BTreeMap::new(),
            clients: Vec::new(),
            history: Vec::new(),
            operator: Operator::default(),
            checks: Checks::default(),
            coverage: Coverage::default(),
            trace: Trace::new(detail),
            phase: Phase::Faults,
            requests_when_healed: 0,
            calm_term: None,
            last_attempt: 0,
            attempts: BTreeMap::new(),
            heap: BinaryHeap::new(),
            last_scheduled: 0,
            events_of_second: (0, 0),
            written_before: 0,
            events: 0,
            pieces: 0,
            lost: 0,
        };
        let words = format!("{:#?}", cluster.knobs);
        cluster.trace.tell(0, || words);
        cluster.begin();
        cluster
    }

    /// Lives through all phases.
    ///
    /// # Panics
    /// A rule is broken.
    pub fn run(mut self) -> Report {
        while self.phase != Phase::Over {
            self.step();
        }
        self.mind_waiters();
        self.mind_stores();
        self.mind_disks();
        super::verdict::judge(&mut self);
        // Who closes its session finds it gone when it asks again: for that, or for what else it had open.
        let closes = |call: &&Call| call.operations.contains(&Operation::CloseSession);
        let session = |call: &Call| call.session.map(|(session, _)| session);
        let closed: BTreeSet<SessionId> = self.history.iter().filter(closes).filter_map(session).collect();
        let is_unknown = |call: &&Call| {
            matches!(call.ending, Ending::Unknown) && session(call).is_some_and(|session| !closed.contains(&session))
        };
        let unknown = self.history.iter().filter(is_unknown).count();
        Report {
            hash: self.trace.hash(),
            events: self.events,
            requests: self.history.len(),
            simulated: self.now,
            lost: self.lost,
            unknown,
            coverage: self.coverage,
        }
    }

    /// The next thing happens.
    pub fn step(&mut self) {
        let Reverse(Scheduled { at, event, order }) = self.heap.pop().expect("somebody always looks");
        self.now = at;
        self.trace.number((at, order));
        self.mind_budget();
        self.handle(event);
    }

    /// All that is to happen until then happens.
    pub fn run_until(&mut self, until: Micros) {
        while self.heap.peek().is_some_and(|Reverse(next)| next.at <= until) {
            self.step();
        }
        self.now = until;
    }

    /// The faults end now.
    pub fn end_soon(&mut self) {
        self.knobs.duration = self.now;
        self.schedule(self.now, Event::Look);
    }

    /// Something will happen.
    pub fn schedule(&mut self, at: Micros, event: Event) {
        self.last_scheduled += 1;
        self.heap.push(Reverse(Scheduled { at, order: self.last_scheduled, event }));
    }

    fn begin(&mut self) {
        self.found();
        self.begin_work(self.knobs.workload.clone());
        self.schedule(0, Event::Change);
        self.schedule(0, Event::HandOver);
        let at = self.next_fault_at();
        self.schedule(at, Event::Fault);
        self.schedule(self.knobs.duration, Event::Look);
    }

    /// Clients begin to work.
    pub fn begin_work(&mut self, workload: Workload) {
        for number in 0..workload.clients {
            let uses_session = !self.random.workload.random_bool(workload.without_session);
            self.clients.push(Client::new(number, uses_session));
            self.schedule(self.now, Event::Think(number));
        }
        self.knobs.workload = workload;
    }

    fn mind_budget(&mut self) {
        self.events += 1;
        let (second, work_done) = (self.now / SECOND, self.work_done());
        let (of, count) = &mut self.events_of_second;
        if *of != second {
            (*of, *count) = (second, 0);
            self.written_before = work_done;
        }
        *count += 1;
        let written = work_done - self.written_before;
        let most = self.knobs.events_per_second_max + EVENTS_PER_ENTRY_MAX * written;
        assert!(
            *count <= most,
            "a storm: more than {most} events in a second in which {written} requests were made, entries and pieces written"
        );
    }

    /// Entries that were written, pieces that were of use, requests that were made.
    fn work_done(&self) -> u64 {
        self.checks.entries_written() + self.pieces + self.history.len() as u64
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Deliver { from, to, message } => self.deliver(from, to, message),
            Event::Disconnected { node, peer } => self.disconnected(node, peer),
            Event::Connected { node, peer } => self.put(node, replica::Event::Reachable(peer)),
            Event::Connection(event) => self.on_connection(event),
            Event::Turn(process) => self.turn(process),
            Event::Wake(process) => self.wake(process),
            Event::Append(process) => self.append(process),
            Event::Sync(process) => self.sync(process),
            Event::Persisted(process, ticket) => self.persisted(process, ticket),
            Event::Read { process, read, from, to, bytes_max } => self.read(process, read, from, to, bytes_max),
            Event::ReadBody { process, read, index } => self.read_body(process, read, index),
            Event::TakeSnapshot(process, taking) => self.take_snapshot(process, *taking),
            Event::Compact(process) => self.compact(process),
            Event::Done(process, event) => self.done(process, event),
            Event::PieceAsked(exchange) => self.piece_asked(exchange),
            Event::PieceAnswered(exchange, reply) => self.piece_answered(&exchange, reply),
            Event::PieceLost(exchange) => self.piece_lost(&exchange),
            Event::Fetch { process, fetch } => self.go_on_fetching(process, fetch),
            Event::MayFetch(process) => self.may_fetch(process),
            Event::Start(node) => self.start(node),
            Event::Request { node, caller, attempt, asked } => self.receive(node, caller, attempt, asked),
            Event::HangUp { node, attempt } => self.hang_up(node, attempt),
            Event::Response { caller: Caller::Client(client), attempt, answer } => {
                self.client_answered(client, attempt, answer);
            }
            Event::Response { caller: Caller::HandOver | Caller::Stop, .. } => {}
            Event::Response { caller: Caller::Operator, attempt, answer } => self.operator_answered(attempt, answer),
            Event::Think(client) => self.think(client),
            Event::Retry { client, place } => self.attempt(client, place),
            Event::TimeOut { client, place, attempt, node } => self.time_out(client, place, attempt, node),
            Event::Fault => self.fault(),
            Event::CutBeforeLoss => self.cut_before_loss(),
            Event::LoseLogEnd(victim) => self.lose_log_end(victim),
            Event::Mend => self.network.mend(),
            Event::Change => self.change(),
            Event::HandOver => self.hand_over(),
            Event::Look => self.look(),
        }
    }

    /// Goes on to the next phase when all is well, and insists that it becomes so.
    fn look(&mut self) {
        let longest = self.knobs.longest;
        let trouble = self.trouble();
        let since = match self.phase {
            Phase::Faults => {
                self.requests_when_healed = self.history.len();
                self.heal();
                self.now
            }
            Phase::Healing(_) if trouble.is_none() => {
                self.begin_draining();
                self.now
            }
            Phase::Draining(since) if trouble.is_none() && self.now - since > CALM_TIMEOUTS * longest => {
                self.phase = Phase::Over;
                return;
            }
            Phase::Healing(since) | Phase::Draining(since) => since,
            Phase::Over => return,
        };
        self.mind_calm();
        let requests = self.requests_when_healed as u64;
        let bound = HEALING_TIMEOUTS_MAX * longest + requests * longest / 10;
        let (passed, phase) = (self.now - since, self.phase);
        assert!(passed < bound, "{phase:?} takes too long: {}", trouble.unwrap_or_default());
        self.schedule(self.now + longest / 4, Event::Look);
    }

    fn begin_draining(&mut self) {
        self.mind_stores();
        let drainer = self.clients.len();
        self.clients.push(Client::drainer(drainer));
        self.schedule(self.now, Event::Think(drainer));
        self.phase = Phase::Draining(self.now);
        self.calm_term = self.leader().map(|(_, status)| status.term);
    }

    /// Once all is well there is no reason for an election.
    fn mind_calm(&self) {
        if !matches!(self.phase, Phase::Draining(_)) || self.knobs.stays_bad {
            return;
        }
        let term = self.leader().map(|(_, status)| status.term);
        assert!(
            term == self.calm_term,
            "an election in the calm: the leader was of term {:?}, now {term:?}",
            self.calm_term
        );
    }

    /// Every request has one answer: nobody whose client is still there waits in the end.
    fn mind_waiters(&self) {
        for (id, node) in &self.nodes {
            let waits = node.process.as_ref().map_or(0, |process| process.requests.len());
            assert!(
                waits == 0,
                "{waits} requests at {id} were never answered: {:?}",
                node.process.as_ref().map(|it| &it.requests)
            );
        }
    }

    /// The leader of the latest term.
    pub fn leader(&self) -> Option<(NodeId, Status)> {
        let live = |(id, node): (&NodeId, &Node)| Some((*id, node.process.as_ref()?.replica.status()));
        let leaders = self.nodes.iter().filter_map(live).filter(|(_, status)| status.role == RoleName::Leader);
        leaders.max_by_key(|(_, status)| status.term)
    }

    /// What is still not well, if anything.
    fn trouble(&mut self) -> Option<String> {
        if let Some(client) = self.clients.iter().position(|client| !client.is_idle()) {
            return Some(format!("a request of client {client} has not ended"));
        }
        let is_draining = matches!(self.phase, Phase::Draining(_));
        if is_draining && !self.clients.last().is_some_and(|client| client.has_drained(&self.knobs.workload)) {
            return Some("the queues are not empty".to_owned());
        }
        let processes = self.nodes.values().filter_map(|node| node.process.as_ref());
        if processes.flat_map(|process| process.requests.values()).any(|waiter| waiter.caller.wants_transfer()) {
            return Some("leadership is being handed over".to_owned());
        }
        if let Some(why) = self.unlikeness() {
            return Some(why);
        }
        let (leader, _) = self.leader().expect("the others are like it");
        let leading = self.nodes[&leader].process.as_ref().expect("the leader runs");
        if is_draining && super::leases::any_is_held(leading.replica.machine()) {
            return Some(format!("leases or delays have not ended at the leader {leader}, whatever its clock says"));
        }
        if is_draining && let Some(id) = self.holder() {
            return Some(format!("{id} keeps files for somebody who fetches its snapshot"));
        }
        None
    }

    /// In what the nodes differ from their leader, if there is one and they do.
    pub fn unlikeness(&mut self) -> Option<String> {
        let Some((leader, status)) = self.leader() else { return Some("nobody leads".to_owned()) };
        let configuration = &status.membership.configuration;
        if configuration.is_joint() || status.commit != status.last.index {
            return Some(format!("the leader {leader} has not ended its work: {status:?}"));
        }
        for (id, node) in &self.nodes {
            let is_expected = configuration.is_member(*id) && !self.network.is_cut(*id, leader);
            let Some(process) = node.process.as_ref().filter(|_| is_expected) else { continue };
            let other = process.replica.status();
            let is_second_leader = other.role == RoleName::Leader && *id != leader;
            if is_second_leader || other.applied != status.applied {
                return Some(format!("{id} is not like the leader {leader} with {}: {other:?}", status.applied));
            }
            self.checks.on_digest(*id, other.applied, process.replica.machine().digest());
        }
        None
    }
}
