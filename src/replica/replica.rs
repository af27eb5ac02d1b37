//! One node's member of one shard: Raft, the state machine, and who waits for what.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::bodies::{self, Resolving};
use super::members::Members;
use super::outbox::Outbox;
use super::pending::{Pending, Proposal};
use super::waiting::{Parked, Waiting};
use super::{Answer, Effect, Event, Execute, Executed, ReadId, Refusal, RequestId, Status, Told};
use crate::ids::{EntryId, Index, NodeId, Term, Time, Timestamp};
use crate::raft::{self, ChangeRefused, Entry, MembershipChange, Payload, Raft};
use crate::state_machine::{Applied, Command, Decision, Limits, Operation, QueueName, StateMachine};

/// How a replica behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The protocol.
    pub raft: raft::Options,
    /// The limits of the state machine: equal on all nodes.
    pub limits: Limits,
    /// Requests that are being worked on, waiting dequeues included. Further ones are refused as `Overloaded`.
    pub requests_max: usize,
}

/// Bytes of entries that are applied in one go, and that one read for applying asks for.
const APPLY_BYTES_MAX: u64 = 1 << 20;

/// Writes that the disk has not finished. Beyond this, requests are refused as `Overloaded`: the writer's queue never fills,
/// and a hanging disk does not stop the loop.
const UNFINISHED_WRITES_MAX: usize = 512;

/// Bytes of requests that are being worked on; further requests are refused as `Overloaded`.
const REQUEST_BYTES_MAX: u64 = 256 << 20;

/// Bytes of requests that are proposed, and so written, in one go.
const PROPOSE_BYTES_MAX: u64 = 8 << 20;

/// One node's member of one shard.
#[derive(Debug)]
pub struct Replica {
    options: Options,
    raft: Raft,
    machine: StateMachine,
    applied: Index,
    /// The latest time that this node has proposed.
    proposed_at: Timestamp,
    /// Requests of this turn, to be proposed together.
    batch: Vec<Proposal>,
    batch_bytes: u64,
    pending: Pending,
    waiting: Waiting,
    /// The request for a membership change that is under way, and the entry that began it.
    change: Option<(RequestId, EntryId)>,
    /// The leader's own expiry entry that is under way.
    expiry: Option<Index>,
    outbox: Outbox,
    reads: BTreeMap<ReadId, Purpose>,
    last_read: ReadId,
    applying_reads: bool,
    /// Executed requests whose bodies are being read.
    resolving: Resolving,
    members: Members,
    leads_term: Option<Term>,
    effects: Vec<Effect>,
}

/// What entries are being read for.
#[derive(Debug)]
enum Purpose {
    Peer(NodeId),
    Apply,
    Body(RequestId),
}

impl Replica {
    /// A replica that starts from what storage recovered. The state machine is rebuilt from the log as it commits.
    pub fn new(node: NodeId, options: Options, recovered: &raft::Recovered, seed: u64, now: Time) -> Self {
        let raft = Raft::new(node, options.raft, recovered, seed, now);
        let members = Members::new(&raft);
        Self {
            machine: StateMachine::new(options.limits),
            options,
            raft,
            applied: Index(0),
            proposed_at: Timestamp(0),
            batch: Vec::new(),
            batch_bytes: 0,
            pending: Pending::default(),
            waiting: Waiting::default(),
            change: None,
            expiry: None,
            outbox: Outbox::default(),
            reads: BTreeMap::new(),
            last_read: ReadId(0),
            applying_reads: false,
            resolving: Resolving::default(),
            members,
            leads_term: None,
            effects: Vec::new(),
        }
    }

    /// One turn: everything that has happened since the last one, and the time. Returns what is to be done, in order.
    /// What came together is proposed together.
    pub fn turn(&mut self, now: Time, wall: Timestamp, events: impl IntoIterator<Item = Event>) -> Vec<Effect> {
        for event in events {
            self.on_event(now, event);
        }
        self.raft.tick(now);
        self.wake_due(now);
        self.expire_sessions(now, wall);
        loop {
            self.mind_leadership();
            self.propose(now, wall);
            self.take_raft_effects();
            self.answer_change();
            self.apply(now);
            if self.batch.is_empty() {
                return std::mem::take(&mut self.effects);
            }
        }
    }

    /// The next turn must come no later than this, also when nothing happens.
    pub fn next_deadline(&self) -> Time {
        let waiting = self.waiting.next_deadline();
        waiting.map_or(self.raft.next_deadline(), |at| at.min(self.raft.next_deadline()))
    }

    /// The condition of the replica.
    pub fn status(&self) -> Status {
        Status {
            role: self.raft.role(),
            term: self.raft.term(),
            leader: self.raft.leader(),
            commit: self.raft.commit(),
            applied: self.applied,
            last: self.raft.last(),
            durable: self.raft.durable(),
            membership: self.members.published(),
            membership_is_settled: self.raft.membership_is_anchored(),
            removed: self.raft.removed(),
            quarantined: self.raft.quarantined().map(str::to_owned),
        }
    }

    /// The state machine, to be looked at.
    pub fn machine(&self) -> &StateMachine {
        &self.machine
    }

    fn on_event(&mut self, now: Time, event: Event) {
        match event {
            Event::Message { from, message } => self.raft.on_message(now, from, message),
            Event::Persisted(ticket) => {
                for (to, message) in self.outbox.release(ticket) {
                    self.effects.push(Effect::Send { to, message });
                }
                self.raft.on_persisted(now, ticket);
            }
            Event::EntriesRead { read, entries } => self.on_entries_read(now, read, entries),
            Event::Unreachable(peer) => self.raft.on_unreachable(peer),
            Event::Reachable(peer) => self.raft.on_reachable(now, peer),
            Event::Execute { request, execute } => self.receive(now, request, execute),
            Event::ChangeMembership { request, change } => self.change_membership(now, request, change),
            Event::Forget(request) => self.forget(request),
        }
    }

    /// Takes a request: to be proposed in this turn, or to wait.
    fn receive(&mut self, now: Time, request: RequestId, execute: Execute) {
        if let Some(refusal) = self.refusal() {
            return self.answer(request, Err(refusal));
        }
        if self.is_overloaded() {
            return self.answer(request, Err(Refusal::Overloaded));
        }
        let parked = Parked { request, deadline: now + execute.wait, execute };
        match awaited_queue(&parked.execute).cloned() {
            Some(queue) if self.must_wait(&queue, &parked.execute) => self.waiting.park(queue, parked),
            _ => self.put_into_batch(parked, None),
        }
    }

    /// True when there is nothing to take, and the request was not decided before, of which a retry is to be told at once.
    fn must_wait(&self, queue: &QueueName, execute: &Execute) -> bool {
        self.machine.messages_in(queue) == 0 && execute.session.is_none_or(|request| self.machine.is_undecided(request))
    }

    fn put_into_batch(&mut self, Parked { request, execute, deadline }: Parked, woken_for: Option<QueueName>) {
        let proposal = Proposal { request, execute, deadline, woken_for, is_forgotten: false };
        self.batch_bytes += proposal.bytes();
        self.batch.push(proposal);
    }

    /// The client no longer waits: what is not in the log is dropped, so that it takes no message for nobody.
    fn forget(&mut self, request: RequestId) {
        self.waiting.remove(request);
        self.resolving.forget(request);
        self.pending.forget(request);
        if let Some(place) = self.batch.iter().position(|proposal| proposal.request == request) {
            let proposal = self.batch.remove(place);
            self.batch_bytes -= proposal.bytes();
            self.on_decided(&proposal);
        }
    }

    fn is_overloaded(&self) -> bool {
        let requests = self.pending.len() + self.batch.len() + self.waiting.len();
        requests >= self.options.requests_max
            || self.pending.bytes() + self.batch_bytes >= REQUEST_BYTES_MAX
            || self.raft.unfinished_writes() >= UNFINISHED_WRITES_MAX
    }

    /// Why this replica executes nothing, if it does not.
    fn refusal(&self) -> Option<Refusal> {
        if self.raft.quarantined().is_some() {
            return Some(Refusal::Quarantined);
        }
        (!self.raft.is_leader()).then(|| self.not_leader())
    }

    fn not_leader(&self) -> Refusal {
        Refusal::NotLeader { leader: self.raft.leader(), term: self.raft.term() }
    }

    fn change_membership(&mut self, now: Time, request: RequestId, change: MembershipChange) {
        if let Some(refusal) = self.refusal() {
            return self.answer(request, Err(refusal));
        }
        match self.begin_change(now, change) {
            Ok(entry) => self.change = Some((request, entry)),
            Err(refused) => self.answer(request, Err(Refusal::Change(refused))),
        }
    }

    fn begin_change(&mut self, now: Time, change: MembershipChange) -> Result<EntryId, ChangeRefused> {
        if self.change.is_some() {
            return Err(ChangeRefused::InProgress);
        }
        if let MembershipChange::AddLearner { contact, .. } = &change {
            // Who was removed is known only once everything before the term has been applied.
            if self.raft.term_began_at().is_none_or(|noop| self.applied < noop.previous()) {
                return Err(ChangeRefused::InProgress);
            }
            if self.members.was_removed(contact.node) {
                return Err(ChangeRefused::WasRemoved(contact.node));
            }
        }
        self.raft.change_membership(now, change)
    }

    /// Answers a change that no later leader can be without. It need not be committed: three voters under `half_plus_one`, one
    /// of them dead, commit nothing until its place is taken.
    fn answer_change(&mut self) {
        let index = self.raft.configuration_index();
        if let Some((request, begun)) = self.change
            && index >= begun.index
            && self.raft.membership_is_anchored()
        {
            self.change = None;
            self.answer(request, Ok(Answer::MembershipChanged { index }));
        }
    }

    /// Gives what came together its place in the log.
    fn propose(&mut self, now: Time, wall: Timestamp) {
        if self.batch.is_empty() {
            return;
        }
        let timestamp = self.timestamp(wall);
        self.batch_bytes = 0;
        let mut batch = std::mem::take(&mut self.batch);
        while !batch.is_empty() {
            let rest = batch.split_off(fitting(&batch));
            self.propose_together(now, timestamp, std::mem::replace(&mut batch, rest));
        }
    }

    fn propose_together(&mut self, now: Time, timestamp: Timestamp, batch: Vec<Proposal>) {
        let commands = batch.iter().map(|proposal| proposal.command(timestamp).encode()).collect();
        match self.raft.propose(now, commands) {
            Ok(first) => {
                self.tell_places(first, &batch);
                self.pending.insert(first, batch);
            }
            Err(raft::NotLeader) => {
                let refusal = self.not_leader();
                for proposal in batch {
                    self.answer(proposal.request, Err(refusal.clone()));
                }
            }
        }
    }

    fn tell_places(&mut self, first: EntryId, batch: &[Proposal]) {
        let indexes = std::iter::successors(Some(first.index), |index| Some(index.next()));
        for (proposal, index) in batch.iter().zip(indexes).filter(|(proposal, _)| proposal.execute.is_followed) {
            let (request, at) = (proposal.request, EntryId::new(first.term, index));
            self.effects.push(Effect::Tell(Told::Placed { request, at, together: batch.len() }));
        }
    }

    /// The leader's clock, which never runs backwards in the log.
    fn timestamp(&mut self, wall: Timestamp) -> Timestamp {
        self.proposed_at = self.proposed_at.max(wall).max(self.machine.timestamp());
        self.proposed_at
    }

    /// The leader ends sessions whose time has passed with an entry of its own, one at a time.
    fn expire_sessions(&mut self, now: Time, wall: Timestamp) {
        let is_due = self.machine.next_expiry().is_some_and(|due| due <= wall);
        if !is_due || self.expiry.is_some() || self.refusal().is_some() {
            return;
        }
        let timestamp = self.timestamp(wall);
        let command = Command { session: None, timestamp, operations: Vec::new(), expiry: true };
        if let Ok(entry) = self.raft.propose(now, vec![command.encode()]) {
            self.expiry = Some(entry.index);
        }
    }

    /// A dequeue whose time is over is decided by the log as well, empty or not.
    fn wake_due(&mut self, now: Time) {
        for parked in self.waiting.due(now) {
            let execute = Execute { wait: Duration::ZERO, ..parked.execute };
            self.put_into_batch(Parked { execute, ..parked }, None);
        }
    }

    fn take_raft_effects(&mut self) {
        for effect in self.raft.take_effects() {
            match effect {
                raft::Effect::Persist(write) => {
                    self.introduce(&write.entries);
                    self.effects.push(Effect::Persist(write));
                }
                raft::Effect::Send { to, message, after } => {
                    let ready = self.outbox.submit(to, message, after);
                    self.effects.extend(ready.map(|(to, message)| Effect::Send { to, message }));
                }
                raft::Effect::ReadEntries { peer, from, to, bytes_max } => {
                    self.read(Purpose::Peer(peer), from, to, bytes_max);
                }
                raft::Effect::Tell(event) => {
                    if matches!(event, raft::Event::ConfigurationChanged { .. }) {
                        self.members.on_changed(&self.raft);
                    }
                    self.effects.push(Effect::Tell(Told::Raft(event)));
                }
            }
        }
    }

    /// Addresses are needed as soon as the configuration is, that is at the append.
    fn introduce(&mut self, entries: &[Entry]) {
        let contacts = entries.iter().filter_map(|entry| match &entry.payload {
            Payload::Configuration { introduction, .. } => introduction.clone(),
            _ => None,
        });
        self.effects.extend(contacts.map(Effect::Introduce));
    }

    /// Whoever waits for a leader that leads no more is told so.
    fn mind_leadership(&mut self) {
        let leads_term = self.raft.is_leader().then(|| self.raft.term());
        if self.leads_term == leads_term {
            return;
        }
        let has_lost = self.leads_term.is_some();
        self.leads_term = leads_term;
        if !has_lost {
            return;
        }
        self.expiry = None;
        for (at, proposal) in self.pending.drain() {
            let retry_is_exact = proposal.execute.session.is_some();
            self.answer(proposal.request, Err(Refusal::OutcomeUnknown { at, retry_is_exact }));
        }
        if let Some((request, at)) = self.change.take() {
            self.answer(request, Err(Refusal::OutcomeUnknown { at, retry_is_exact: true }));
        }
        let refusal = self.not_leader();
        for parked in self.waiting.drain() {
            self.answer(parked.request, Err(refusal.clone()));
        }
    }

    /// Applies what is committed, in order.
    fn apply(&mut self, now: Time) {
        while self.applied < self.raft.commit() && !self.applying_reads && self.raft.quarantined().is_none() {
            let (from, to) = (self.applied.next(), self.raft.commit());
            match self.raft.entries_in_memory(from, to, APPLY_BYTES_MAX) {
                Some(entries) => self.apply_entries(now, entries),
                None => {
                    self.applying_reads = true;
                    // Above the durable index the disk can still hold entries that the log no longer has.
                    self.read(Purpose::Apply, from, to.min(self.raft.durable()), APPLY_BYTES_MAX);
                }
            }
        }
    }

    fn apply_entries(&mut self, now: Time, entries: Vec<Entry>) {
        let (first, told_before) = (self.applied.next(), self.effects.len());
        for Entry { id, payload } in entries {
            assert!(id.index == self.applied.next(), "entry {id} would be applied after index {}", self.applied);
            match payload {
                Payload::Noop => {}
                Payload::Command(bytes) => self.apply_command(now, id, &bytes),
                Payload::Configuration { configuration, .. } => self.members.on_applied(id.index, &configuration),
            }
            if self.raft.quarantined().is_some() {
                return;
            }
            self.applied = id.index;
        }
        // Told before the answers that follow from it.
        self.effects.insert(told_before, Effect::Tell(Told::Applied { first, last: self.applied }));
    }

    fn apply_command(&mut self, now: Time, id: EntryId, bytes: &Bytes) {
        if self.expiry == Some(id.index) {
            self.expiry = None;
        }
        let proposal = self.pending.take(id);
        let command = match Command::decode(bytes) {
            Ok(command) => command,
            // To skip it here and not on other nodes would make the replicas differ.
            Err(malformed) => return self.raft.quarantine(format!("committed entry {id} is no command: {malformed}")),
        };
        let Applied { decision, filled } = self.machine.apply(id.index, &command);
        if self.leads_term.is_some() {
            for queue in filled {
                self.wake(&queue);
            }
        }
        if let Some(proposal) = proposal {
            self.on_decided(&proposal);
            if !proposal.is_forgotten {
                self.decide(now, proposal, decision);
            }
        }
    }

    /// One that was woken has taken its message, or left it for the next.
    fn on_decided(&mut self, proposal: &Proposal) {
        if let Some(queue) = &proposal.woken_for {
            self.waiting.on_decided(queue);
            self.wake(queue);
        }
    }

    fn decide(&mut self, now: Time, proposal: Proposal, decision: Decision) {
        match decision {
            Decision::Executed { index, replayed, outcomes } => {
                let operations = outcomes.len();
                let executed = Executed { index, replayed, outcomes, bodies: Vec::new() };
                self.effects.push(Effect::Tell(Told::Answered { index, operations, replayed }));
                self.resolve_bodies(proposal.request, executed);
            }
            Decision::Refused(refusal) => self.answer(proposal.request, Err(Refusal::Refused(refusal))),
            Decision::Waiting => self.park_again(now, proposal),
        }
    }

    /// Another dequeue was faster: wait on, before those that came later.
    fn park_again(&mut self, now: Time, proposal: Proposal) {
        let Proposal { request, execute, deadline, .. } = proposal;
        match awaited_queue(&execute).cloned() {
            Some(queue) if deadline > now => self.waiting.park(queue, Parked { request, execute, deadline }),
            _ => {
                let execute = Execute { wait: Duration::ZERO, ..execute };
                self.put_into_batch(Parked { request, execute, deadline }, None);
            }
        }
    }

    fn wake(&mut self, queue: &QueueName) {
        let messages = self.machine.messages_in(queue);
        for parked in self.waiting.wake(queue, messages) {
            self.put_into_batch(parked, Some(queue.clone()));
        }
    }

    /// Finds the bodies that the outcomes name, in memory or on disk, and answers.
    fn resolve_bodies(&mut self, request: RequestId, mut executed: Executed) {
        let mut missing = 0;
        for index in bodies::body_indexes(&executed.outcomes) {
            match self.raft.entries_in_memory(index, index, 0) {
                Some(entries) => executed.bodies.extend(bodies::command_payload(entries)),
                None => {
                    missing += 1;
                    self.read(Purpose::Body(request), index, index, 0);
                }
            }
        }
        if missing == 0 {
            self.answer(request, Ok(Answer::Executed(executed)));
        } else {
            self.resolving.wait_for(request, executed, missing);
        }
    }

    fn read(&mut self, purpose: Purpose, from: Index, to: Index, bytes_max: u64) {
        self.last_read = ReadId(self.last_read.0 + 1);
        self.reads.insert(self.last_read, purpose);
        self.effects.push(Effect::ReadEntries { read: self.last_read, from, to, bytes_max });
    }

    fn on_entries_read(&mut self, now: Time, read: ReadId, entries: Vec<Entry>) {
        match self.reads.remove(&read) {
            Some(Purpose::Peer(peer)) => self.raft.on_entries_read(now, peer, entries),
            Some(Purpose::Apply) => {
                self.applying_reads = false;
                self.apply_entries(now, entries);
            }
            Some(Purpose::Body(request)) => {
                if let Some(executed) = self.resolving.on_read(request, entries) {
                    self.answer(request, Ok(Answer::Executed(executed)));
                }
            }
            None => {}
        }
    }

    fn answer(&mut self, request: RequestId, answer: Result<Answer, Refusal>) {
        if let Err(Refusal::NotLeader { leader, .. }) = &answer {
            self.effects.push(Effect::Tell(Told::Redirected { leader: *leader }));
        }
        self.effects.push(Effect::Answer { request, answer });
    }
}

/// How many of `batch` are proposed in one go: at least one.
fn fitting(batch: &[Proposal]) -> usize {
    let mut bytes = 0;
    let fits = |proposal: &&Proposal| {
        bytes += proposal.bytes();
        bytes <= PROPOSE_BYTES_MAX
    };
    batch.iter().take_while(fits).count().max(1)
}

/// The queue that a lone dequeue waits for, if it waits.
fn awaited_queue(execute: &Execute) -> Option<&QueueName> {
    match execute.operations.as_slice() {
        [Operation::Dequeue { queue, .. }] if !execute.wait.is_zero() => Some(queue),
        _ => None,
    }
}
