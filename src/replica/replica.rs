//! One node's member of one shard: Raft, the state machine, and who waits for what.

use std::collections::BTreeMap;

use super::bodies::Resolving;
use super::leading::Transfer;
use super::log_clock::LogClock;
use super::members::Members;
use super::outbox::Outbox;
use super::pending::Pending;
use super::proposing::Batch;
use super::reading::{Age, Reads};
use super::snapshots::{self, Snapshots};
use super::waiting::Waiting;
use super::{Answer, Effect, Event, ReadId, Refusal, RequestId, Restored, Status, Told, View};
use crate::ids::{EntryId, Index, NodeId, Term, Time, Timestamp};
use crate::raft::{self, Entry, Payload, Raft};
use crate::state_machine::{Limits, StateMachine};

/// How a replica behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The protocol.
    pub raft: raft::Options,
    /// The limits of the state machine: equal on all nodes.
    pub limits: Limits,
    /// When snapshots are taken, and how much of the log stays.
    pub snapshots: snapshots::Rules,
    /// Requests that are being worked on, those that wait for a message and reads included. Further ones are refused as
    /// `Overloaded`.
    pub requests_max: usize,
}

/// One node's member of one shard.
#[derive(Debug)]
pub struct Replica {
    pub(super) options: Options,
    pub(super) raft: Raft,
    pub(super) machine: StateMachine,
    pub(super) applied: Index,
    pub(super) log_clock: LogClock,
    /// Requests of this turn, to be proposed together; of earlier ones too, while leadership is being handed over.
    pub(super) batch: Batch,
    pub(super) pending: Pending,
    pub(super) waiting: Waiting,
    /// The request for a membership change that is under way, and the entry that began it.
    pub(super) change: Option<(RequestId, EntryId)>,
    pub(super) transfer: Option<Transfer>,
    pub(super) reads: Reads,
    pub(super) age: Age,
    /// The leader's own expiry entry that is under way.
    pub(super) expiry: Option<Index>,
    pub(super) outbox: Outbox,
    pub(super) log_reads: BTreeMap<ReadId, Purpose>,
    pub(super) last_read: ReadId,
    pub(super) applying_reads: bool,
    /// Answers whose bodies are being read.
    pub(super) resolving: Resolving,
    pub(super) members: Members,
    pub(super) leads_term: Option<Term>,
    pub(super) snapshots: Snapshots,
    pub(super) effects: Vec<Effect>,
    /// The time of the latest turn, and the clock on the wall then.
    pub(super) turned_at: Time,
    pub(super) wall: Timestamp,
}

/// What entries are being read for.
#[derive(Debug)]
pub(super) enum Purpose {
    Peer(NodeId),
    Apply,
    Body(RequestId),
}

impl Replica {
    /// A replica that starts from what storage recovered. The state is rebuilt from the log as it commits; where there is a
    /// snapshot, `restored` puts its state before that.
    pub fn new(node: NodeId, options: Options, recovered: &raft::Recovered, seed: u64, now: Time) -> Self {
        let raft = Raft::new(node, options.raft, recovered, seed, now);
        let members = Members::new(&raft);
        Self {
            machine: StateMachine::new(options.limits),
            options,
            raft,
            applied: Index(0),
            log_clock: LogClock::new(now),
            batch: Batch::default(),
            pending: Pending::default(),
            waiting: Waiting::default(),
            change: None,
            transfer: None,
            reads: Reads::default(),
            age: Age::default(),
            expiry: None,
            outbox: Outbox::default(),
            log_reads: BTreeMap::new(),
            last_read: ReadId(0),
            applying_reads: false,
            resolving: Resolving::default(),
            members,
            leads_term: None,
            snapshots: Snapshots::default(),
            effects: Vec::new(),
            turned_at: now,
            wall: Timestamp(0),
        }
    }

    /// The same, with the state of the snapshot that `recovered` names. The log after it is applied as it commits.
    pub fn restored(self, Restored { state, bytes }: Restored) -> Self {
        let mut replica = self;
        replica.restore(state, bytes);
        replica
    }

    /// One turn: everything that has happened since the last one, and the time. Returns what is to be done, in order.
    /// What came together is proposed together, and confirmed together.
    pub fn turn(&mut self, now: Time, wall: Timestamp, events: impl IntoIterator<Item = Event>) -> Vec<Effect> {
        (self.turned_at, self.wall) = (now, wall);
        for event in events {
            self.on_event(now, event);
        }
        self.ask_read_index(now);
        self.raft.tick(now);
        self.wake_due(now);
        self.expire(now);
        loop {
            self.mind_leadership();
            self.propose(now, wall);
            self.take_raft_effects();
            self.answer_change();
            self.answer_transfer(now);
            self.apply(now);
            self.answer_reads(now);
            self.take_snapshot(now);
            if self.batch.is_empty() || self.hands_over() || self.batch.gathered_at().is_some() {
                return std::mem::take(&mut self.effects);
            }
        }
    }

    /// This node is about to stop: see [`Raft::retire`].
    pub fn retire(&mut self) {
        self.raft.retire();
    }

    /// The next turn must come no later than this, also when nothing happens.
    pub fn next_deadline(&self) -> Time {
        let transfer = self.transfer.map(|transfer| transfer.until);
        let clients = self
            .waiting
            .next_deadline()
            .into_iter()
            .chain(transfer)
            .chain(self.batch.gathered_at())
            .chain(self.reads_are_late_at())
            .chain(self.expires_at())
            .min();
        clients.map_or(self.raft.next_deadline(), |at| at.min(self.raft.next_deadline()))
    }

    /// The condition of the replica.
    pub fn status(&self) -> Status {
        Status {
            role: self.raft.role(),
            term: self.raft.term(),
            vote: self.raft.vote(),
            leader: self.raft.leader(),
            commit: self.raft.commit(),
            heard_commit: self.raft.heard_commit(),
            applied: self.applied,
            last: self.raft.last(),
            durable: self.raft.durable(),
            log_start: self.raft.log_start(),
            snapshot: self.raft.snapshot(),
            membership: self.members.published(),
            membership_is_anchored: self.raft.membership_is_anchored(),
            well: self.raft.well(self.turned_at),
            removed: self.raft.removed(),
            quarantined: self.raft.quarantined().map(str::to_owned),
        }
    }

    /// What changes with every heartbeat and decides nothing: the progress of the others, while this replica leads, and
    /// the time-outs in force.
    pub fn view(&self) -> View {
        View { timing: self.raft.timing(), progress: self.raft.progress_views().collect() }
    }

    /// The time-outs in force, and what they follow from.
    pub fn timing(&self) -> raft::Timing {
        self.raft.timing()
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
                self.finish_install(ticket);
            }
            Event::EntriesRead { read, entries } => self.on_entries_read(now, read, entries),
            Event::SnapshotTaken { last, log_start, bytes } => self.on_snapshot_taken(last, log_start, bytes),
            Event::SnapshotNotTaken => self.on_snapshot_not_taken(),
            Event::SnapshotReceived(received) => self.on_snapshot_received(now, *received),
            Event::Unreachable(peer) => self.raft.on_unreachable(peer),
            Event::Reachable(peer) => self.raft.on_reachable(now, peer),
            Event::Gone(peer) => self.raft.on_gone(now, peer),
            Event::NotInLog { read } => self.on_not_in_log(now, read),
            Event::Execute { request, execute } => self.receive(now, request, execute),
            Event::Read { request, read } => self.receive_read(now, request, read),
            Event::TransferLeadership { request, to } => self.transfer_leadership(now, request, to),
            Event::ChangeMembership { request, change } => self.change_membership(now, request, change),
            Event::Forget(request) => self.forget(request),
        }
    }

    /// Why this replica executes nothing, if it does not.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        if self.raft.quarantined().is_some() {
            return Some(Refusal::Quarantined);
        }
        (!self.raft.is_leader()).then(|| self.not_leader())
    }

    pub(super) fn not_leader(&self) -> Refusal {
        Refusal::NotLeader { leader: self.raft.leader(), term: self.raft.term() }
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
                    self.read_log(Purpose::Peer(peer), from, to, bytes_max);
                }
                // What is being installed is enough to go on from, or the leader will say so again.
                raft::Effect::FetchSnapshot { .. } if self.snapshots.is_installing() => {}
                raft::Effect::FetchSnapshot { from, last } => {
                    let committed = self.raft.commit();
                    self.effects.push(Effect::FetchSnapshot { from, last, committed });
                }
                raft::Effect::ReadConfirmed { batch, index } => self.reads.on_confirmed(batch, index),
                raft::Effect::ReadRefused { batch } => {
                    let refused = self.reads.take(batch);
                    self.refuse_reads(refused);
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

    pub(super) fn read_log(&mut self, purpose: Purpose, from: Index, to: Index, bytes_max: u64) {
        let read = self.begin_read(purpose);
        self.effects.push(Effect::ReadEntries { read, from, to, bytes_max });
    }

    pub(super) fn read_body(&mut self, request: RequestId, index: Index) {
        let read = self.begin_read(Purpose::Body(request));
        self.effects.push(Effect::ReadBody { read, index });
    }

    fn begin_read(&mut self, purpose: Purpose) -> ReadId {
        self.last_read = ReadId(self.last_read.0 + 1);
        self.log_reads.insert(self.last_read, purpose);
        self.last_read
    }

    fn on_entries_read(&mut self, now: Time, read: ReadId, entries: Vec<Entry>) {
        match self.log_reads.remove(&read) {
            Some(Purpose::Peer(peer)) => self.raft.on_entries_read(now, peer, entries),
            Some(Purpose::Apply) => {
                self.applying_reads = false;
                self.apply_entries(now, entries);
            }
            Some(Purpose::Body(request)) => self.on_body_read(now, request, entries),
            None => {}
        }
    }

    /// What is to be applied or holds a body is committed, and never cut. A body can be gone for another reason.
    fn on_not_in_log(&mut self, now: Time, read: ReadId) {
        match self.log_reads.remove(&read) {
            Some(Purpose::Peer(peer)) => self.raft.on_entries_read(now, peer, Vec::new()),
            Some(Purpose::Apply) => self.applying_reads = false,
            Some(Purpose::Body(request)) if self.resolving.forget(request) => {
                self.answer(request, Err(Refusal::BodyNotInLog));
            }
            Some(Purpose::Body(_)) | None => {}
        }
    }

    pub(super) fn answer(&mut self, request: RequestId, answer: Result<Answer, Refusal>) {
        if let Err(Refusal::NotLeader { leader, .. }) = &answer {
            self.effects.push(Effect::Tell(Told::Redirected { leader: *leader }));
        }
        self.effects.push(Effect::Answer { request, answer });
    }
}
