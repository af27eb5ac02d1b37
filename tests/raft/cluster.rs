//! Raw Raft cores with a clock, a network and disks that obey their test, step by step.
//!
//! ```text
//!     core -- Persist --> writes in flight -- persist --> disk       a crash keeps the disk and the first few writes in flight
//!     core -- Send -----> waiting for a write --> in flight -- deliver, lose, repeat, in any order --> core
//!     core -- FetchSnapshot --> a copy of the sender's snapshot, as it was then -- fetch --> core
//! ```
//!
//! Logs are kept whole here, also what the core has compacted and must not be given any more; a snapshot has in it all entries
//! up to its last one. So every claim about logs can be checked as if there were no snapshots.
//!
//! Nothing happens by itself: the test says who ticks, which write ends and which message arrives.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use quorate::ids::{EntryId, Index, NodeId, Term, Ticket, Time};
use quorate::raft::{
    ChangeRefused, CommitQuorum, Configuration, Effect, Entry, Event, HardState, Learner, MembershipChange, Message,
    NoLeader, Options, Payload, ProposalRefused, Raft, ReadBatch, Recovered, Snapshot, TimeoutPolicy, Timeouts,
    TransferRefused, Window, Write,
};

use crate::print;
use crate::witness::{Violation, Witness};

/// All nodes, and the messages between them.
pub struct Cluster {
    pub now: Time,
    pub options: Options,
    pub nodes: BTreeMap<NodeId, Node>,
    /// In the order in which they were sent.
    pub in_flight: Vec<Envelope>,
    /// What the step under way has sent.
    pub sent: Vec<Envelope>,
    /// How long messages take on some links; on others they arrive as soon as the test lets them.
    pub delays: BTreeMap<(NodeId, NodeId), Duration>,
    /// In the order in which they were sent, and when they arrive.
    pub delayed: Vec<(Time, Envelope)>,
    /// Links, from and to, on which everything sent is lost.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// Links whose messages settling leaves alone.
    pub held: BTreeSet<(NodeId, NodeId)>,
    /// Looks at a node after each step of it, if there is one.
    pub witness: Option<Witness>,
    /// What the witness has found first.
    pub violation: Option<Violation>,
    /// What happened, if anybody wants to know.
    pub trace: Option<Vec<Line>>,
    /// Added to each node's own seed.
    pub seed: u64,
}

/// One node: a core while it runs, and a disk that stays.
pub struct Node {
    pub raft: Option<Raft>,
    pub disk: Disk,
    /// The log as the core must see it: the disk with all writes in flight.
    pub log: Vec<Entry>,
    /// After this entry it must begin for the core.
    pub start: EntryId,
    /// Counts the changes of `disk` and `log`.
    pub version: u64,
    pub writes: VecDeque<Write>,
    pub reads: VecDeque<Read>,
    /// The snapshot that is being fetched.
    pub fetch: Option<Image>,
    /// Snapshots that were fetched, whatever the core did with them.
    pub fetched: BTreeMap<EntryId, Image>,
    /// Settling leaves the fetch of this node alone.
    pub is_slow: bool,
    /// Snapshots that this node has taken and the core has not heard of: the last entry, and where the log begins.
    pub taken: VecDeque<(EntryId, EntryId)>,
    /// Settling leaves the writes of this node alone.
    pub is_stalled: bool,
    /// Messages that wait for a write.
    waiting: Vec<(Ticket, NodeId, Message)>,
    durable: Ticket,
    starts: u64,
}

/// What a crash leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    pub hard_state: HardState,
    pub log: Vec<Entry>,
    /// The log begins after this entry; those before are kept for the checks only.
    pub start: EntryId,
    pub snapshot: Option<Image>,
}

/// A snapshot, with all entries that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub snapshot: Snapshot,
    pub entries: Vec<Entry>,
}

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub from: NodeId,
    pub to: NodeId,
    pub message: Message,
}

/// Entries that were read back for a peer, when they were asked for; the core hears of it later.
pub struct Read {
    peer: NodeId,
    entries: Vec<Entry>,
}

/// A line of the trace.
pub struct Line {
    pub kind: LineKind,
    pub text: String,
}

/// What a line of the trace is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// A message, or a step of the disk.
    Detail,
    /// Something that a node tells.
    Told,
    /// The answer to whoever runs the cluster.
    Answer,
}

/// The settings that the tests start from, with fixed time-outs.
pub fn default_options() -> Options {
    Options {
        timeouts: TimeoutPolicy::Fixed(Timeouts {
            election_min: Duration::from_millis(400),
            election_max: Duration::from_millis(800),
            heartbeat: Duration::from_millis(100),
        }),
        disk_stall_max: Duration::from_millis(1000),
        append_bytes_max: 1 << 20,
        window: Window { appends_max: 64, bytes_max: 16 << 20 },
        cache_bytes_max: 64 << 20,
    }
}

/// An entry of a log that the test makes up. Its bytes tell where it came from.
pub fn entry(term: u64, index: u64) -> Entry {
    let id = EntryId::new(Term(term), Index(index));
    Entry { id, payload: Payload::Command(Bytes::from(format!("{id}"))) }
}

impl Cluster {
    pub fn new(options: Options, seed: u64, is_traced: bool) -> Self {
        Self {
            now: Time(0),
            options,
            nodes: BTreeMap::new(),
            in_flight: Vec::new(),
            sent: Vec::new(),
            delays: BTreeMap::new(),
            delayed: Vec::new(),
            cut: BTreeSet::new(),
            held: BTreeSet::new(),
            witness: None,
            violation: None,
            trace: is_traced.then(Vec::new),
            seed,
        }
    }

    /// Starts the members of a cluster whose log holds nothing but their configuration.
    pub fn bootstrap(&mut self, voters: &[NodeId], learners: &[NodeId], commit_quorum: CommitQuorum) {
        let configuration = Configuration {
            voters: voters.iter().copied().collect(),
            learners: learners.iter().map(|learner| (*learner, Learner { stay: true, replaces: None })).collect(),
            commit_quorum,
            ..Configuration::EMPTY
        };
        let payload = Payload::Configuration { configuration: configuration.clone(), introduction: None };
        let first = Entry { id: EntryId::new(Term(1), Index(1)), payload };
        for node in configuration.members() {
            let hard_state = HardState { term: Term(1), vote: None };
            self.add(node, Disk { hard_state, log: vec![first.clone()], ..Disk::default() });
        }
    }

    /// Starts a node with this disk, instead of what it was before.
    pub fn add(&mut self, id: NodeId, disk: Disk) {
        self.nodes.insert(id, Node::new(disk));
        self.start(id);
    }

    /// Starts a node that is down.
    pub fn start(&mut self, id: NodeId) {
        let (options, now, seed) = (self.options, self.now, self.seed);
        let node = self.node_mut(id);
        node.starts += 1;
        let seed = seed.wrapping_mul(1_000).wrapping_add(id.0 * 100 + node.starts);
        node.raft = Some(Raft::new(id, options, &node.disk.recover(), seed, now));
        node.log = node.disk.log.clone();
        node.start = node.disk.start;
        self.carry_out(id);
    }

    /// Stops a node. The first `kept` of its writes in flight reach the disk, unnoticed.
    pub fn crash(&mut self, id: NodeId, kept: usize) {
        let node = self.node_mut(id);
        for write in node.writes.drain(..).take(kept) {
            node.disk.apply(write, &node.fetched);
        }
        *node = Node { starts: node.starts, ..Node::new(std::mem::take(&mut node.disk)) };
        self.look(id);
    }

    pub fn tick(&mut self, id: NodeId) {
        self.step(id, |raft, now| raft.tick(now));
    }

    pub fn propose(&mut self, id: NodeId, commands: Vec<Bytes>) -> Option<Result<EntryId, ProposalRefused>> {
        self.step(id, |raft, now| raft.propose(now, commands))
    }

    pub fn change(&mut self, id: NodeId, change: MembershipChange) -> Option<Result<EntryId, ChangeRefused>> {
        self.step(id, |raft, now| raft.change_membership(now, change))
    }

    pub fn transfer(&mut self, id: NodeId, to: Option<NodeId>) -> Option<Result<NodeId, TransferRefused>> {
        self.step(id, |raft, now| raft.transfer_leadership(now, to))
    }

    pub fn read_index(&mut self, id: NodeId) -> Option<Result<ReadBatch, NoLeader>> {
        let result = self.step(id, |raft, now| raft.read_index(now));
        if let (Some(Ok(batch)), Some(witness)) = (result, &mut self.witness) {
            witness.asked(id, batch);
        }
        result
    }

    pub fn unreachable(&mut self, id: NodeId, peer: NodeId) {
        self.step(id, |raft, _| raft.on_unreachable(peer));
    }

    pub fn gone(&mut self, id: NodeId, peer: NodeId) {
        self.step(id, |raft, now| raft.on_gone(now, peer));
    }

    pub fn reachable(&mut self, id: NodeId, peer: NodeId) {
        self.step(id, |raft, now| raft.on_reachable(now, peer));
    }

    /// Ends the oldest `count` writes of a node, all at once.
    pub fn persist(&mut self, id: NodeId, count: usize) {
        let node = self.node_mut(id);
        let count = count.min(node.writes.len());
        let Some(ticket) = node.writes.drain(..count).map(|write| node.disk.apply(write, &node.fetched)).last() else {
            return;
        };
        node.durable = ticket;
        node.version += 1;
        let (ready, waiting) = node.waiting.drain(..).partition(|(after, ..)| *after <= ticket);
        node.waiting = waiting;
        self.note(LineKind::Detail, || format!("{} #{ticket} is durable", id.0));
        let ready: Vec<(Ticket, NodeId, Message)> = ready;
        for (_, to, message) in ready {
            self.send(Envelope { from: id, to, message });
        }
        self.step(id, |raft, now| raft.on_persisted(now, ticket));
    }

    /// Answers the oldest read of a node.
    pub fn read(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        let Some(Read { peer, entries }) = node.reads.pop_front() else { return };
        self.note(LineKind::Detail, || format!("{} has read {}", id.0, print::entries(&entries)));
        self.step(id, |raft, now| raft.on_entries_read(now, peer, entries));
    }

    /// A node makes a snapshot of its log up to `last` durable, and the log begins after `start` from then on. The core hears
    /// of it later.
    pub fn take_snapshot(&mut self, id: NodeId, last: Index, start: Index) {
        let node = self.node_mut(id);
        node.disk.compact(last, start);
        let last = node.disk.snapshot_last();
        node.taken.push_back((last, node.disk.start));
        let start = node.disk.start;
        self.note(LineKind::Detail, || format!("{} takes a snapshot up to {last}, its log begins after {start}", id.0));
    }

    /// The core hears of the oldest snapshot that its node has taken.
    pub fn tell_taken(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        let Some((last, start)) = node.taken.pop_front() else { return };
        node.start = node.start.max(start);
        node.version += 1;
        self.step(id, |raft, _| raft.on_snapshot_taken(last, start));
    }

    /// A node has fetched a snapshot.
    pub fn fetch(&mut self, id: NodeId) {
        let Some(image) = self.node_mut(id).fetch.take() else { return };
        self.receive_snapshot(id, image);
    }

    /// A snapshot arrives.
    pub fn receive_snapshot(&mut self, id: NodeId, image: Image) {
        let snapshot = image.snapshot.clone();
        self.note(LineKind::Detail, || format!("{} has fetched a snapshot up to {}", id.0, snapshot.last));
        self.node_mut(id).fetched.insert(snapshot.last, image);
        self.step(id, |raft, now| raft.on_snapshot_received(now, snapshot));
    }

    /// The message at this place in `in_flight` arrives.
    pub fn deliver(&mut self, position: usize) {
        let envelope = self.in_flight.remove(position);
        self.receive(envelope);
    }

    /// A message arrives.
    pub fn receive(&mut self, envelope: Envelope) {
        let Envelope { from, to, message } = envelope;
        if !self.is_up(to) {
            self.note(LineKind::Detail, || format!("{} is down: {}", to.0, print::message(&message)));
            return;
        }
        self.note(LineKind::Detail, || format!("{} <{} {}", to.0, from.0, print::message(&message)));
        self.step(to, |raft, now| raft.on_message(now, from, message));
    }

    /// Serves every deadline and lets arrive what is delayed, up to then in the order of time, and settles after each.
    pub fn run(&mut self, duration: Duration) {
        const TICKS_MAX: usize = 2000;
        let end = self.now + duration;
        self.settle();
        let mut ticks = 0;
        loop {
            let arrival = self.next_arrival();
            let deadline =
                self.next_deadline().filter(|(deadline, _)| arrival.is_none_or(|arrival| *deadline < arrival));
            let Some(at) = deadline.map(|(at, _)| at).or(arrival).filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            match deadline {
                Some((_, id)) => {
                    ticks += 1;
                    assert!(ticks <= TICKS_MAX, "node {} asks to be ticked again and again", id.0);
                    self.tick(id);
                }
                None => self.arrive(),
            }
            self.settle();
        }
        self.now = end;
    }

    fn next_arrival(&self) -> Option<Time> {
        self.delayed.iter().map(|(at, _)| *at).min()
    }

    /// What was delayed until now has come, and waits to be delivered.
    fn arrive(&mut self) {
        let now = self.now;
        let arrived = self.delayed.extract_if(.., |(at, _)| *at <= now).map(|(_, envelope)| envelope);
        self.in_flight.extend(arrived);
    }

    fn next_deadline(&self) -> Option<(Time, NodeId)> {
        let deadline = |id| Some((self.raft(id)?.next_deadline(), id));
        self.ids().into_iter().filter_map(deadline).min()
    }

    /// Ends writes, reads and fetches and delivers messages until there is nothing left of them.
    pub fn settle(&mut self) {
        const MESSAGES_MAX: usize = 5000;
        for _ in 0..MESSAGES_MAX {
            for id in self.ids() {
                if !self.node_mut(id).is_stalled {
                    self.persist(id, usize::MAX);
                }
                while !self.node_mut(id).reads.is_empty() {
                    self.read(id);
                }
                while !self.node_mut(id).taken.is_empty() {
                    self.tell_taken(id);
                }
                if !self.node_mut(id).is_slow {
                    self.fetch(id);
                }
            }
            let is_held = |envelope: &Envelope| self.held.contains(&(envelope.from, envelope.to));
            let Some(position) = self.in_flight.iter().position(|envelope| !is_held(envelope)) else { return };
            self.deliver(position);
        }
        panic!("after {MESSAGES_MAX} messages there are still more");
    }

    pub fn is_up(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.raft.is_some())
    }

    pub fn raft(&self, id: NodeId) -> Option<&Raft> {
        self.nodes.get(&id)?.raft.as_ref()
    }

    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).unwrap_or_else(|| panic!("there is no node {}", id.0))
    }

    pub fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    pub fn note(&mut self, kind: LineKind, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(Line { kind, text: text() });
        }
    }

    /// Lets a running core do something and carries out what it wants. None: the node is down.
    fn step<R>(&mut self, id: NodeId, act: impl FnOnce(&mut Raft, Time) -> R) -> Option<R> {
        let now = self.now;
        let result = act(self.node_mut(id).raft.as_mut()?, now);
        self.carry_out(id);
        Some(result)
    }

    fn carry_out(&mut self, id: NodeId) {
        let effects = self.node_mut(id).raft.as_mut().map(Raft::take_effects);
        for effect in effects.unwrap_or_default() {
            match effect {
                Effect::Persist(write) => self.write(id, write),
                Effect::Send { to, message, after } => self.send_after(id, to, message, after),
                Effect::ReadEntries { peer, from, to, bytes_max } => {
                    self.note(LineKind::Detail, || format!("{} reads {from}..={to} for {}", id.0, peer.0));
                    let node = self.node_mut(id);
                    node.reads.push_back(Read { peer, entries: node.disk.read(from, to, bytes_max) });
                }
                Effect::FetchSnapshot { from, last } => self.begin_fetch(id, from, last),
                Effect::ReadConfirmed { batch, index } => {
                    self.read_ended(id, batch, Some(index));
                    self.note(LineKind::Answer, || format!("{} may answer read {} at {index}", id.0, batch.0));
                }
                Effect::ReadRefused { batch } => {
                    self.read_ended(id, batch, None);
                    self.note(LineKind::Answer, || format!("{} must refuse read {}", id.0, batch.0));
                }
                Effect::Tell(event) => self.tell(id, &event),
            }
        }
        self.look(id);
    }

    /// Whoever fetches already goes on, also when another snapshot is wished for meanwhile.
    fn begin_fetch(&mut self, id: NodeId, from: NodeId, last: EntryId) {
        if let Some(image) = &self.node_mut(id).fetch {
            let fetched = image.snapshot.last;
            return self.note(LineKind::Detail, || format!("{} wants {last} and goes on fetching {fetched}", id.0));
        }
        let image = self.nodes.get(&from).and_then(|node| node.disk.snapshot.clone());
        self.note(LineKind::Detail, || match &image {
            Some(image) => format!("{} wants {last} and fetches {} from {}", id.0, image.snapshot.last, from.0),
            None => format!("{} wants {last}, which {} does not have", id.0, from.0),
        });
        self.node_mut(id).fetch = image;
    }

    fn read_ended(&mut self, id: NodeId, batch: ReadBatch, index: Option<Index>) {
        if let Some(witness) = &mut self.witness {
            let found = witness.read_ended(id, batch, index);
            self.violation = self.violation.take().or(found.err());
        }
    }

    fn look(&mut self, id: NodeId) {
        let sent = std::mem::take(&mut self.sent);
        let Some(mut witness) = self.witness.take() else { return };
        let found = witness.look(self.now, id, &sent, &self.nodes);
        self.witness = Some(witness);
        self.violation = self.violation.take().or(found.err());
    }

    fn write(&mut self, id: NodeId, write: Write) {
        self.note(LineKind::Detail, || format!("{} {}", id.0, print::write(&write)));
        if let Some(last) = write.snapshot {
            self.install(id, last);
        }
        let node = self.node_mut(id);
        node.version += 1;
        overwrite(&mut node.log, &write.entries);
        node.writes.push_back(write);
    }

    fn install(&mut self, id: NodeId, last: EntryId) {
        if let Some(witness) = &mut self.witness {
            let found = witness.look_at_install(id, last, &self.nodes[&id]);
            self.violation = self.violation.take().or(found.err());
        }
        let node = self.node_mut(id);
        node.log = node.fetched[&last].entries.clone();
        node.start = last;
    }

    fn send_after(&mut self, id: NodeId, to: NodeId, message: Message, after: Ticket) {
        if self.node_mut(id).durable >= after {
            return self.send(Envelope { from: id, to, message });
        }
        self.note(LineKind::Detail, || format!("{} >{} after #{after}: {}", id.0, to.0, print::message(&message)));
        self.node_mut(id).waiting.push((after, to, message));
    }

    fn send(&mut self, envelope: Envelope) {
        let is_cut = self.cut.contains(&(envelope.from, envelope.to));
        self.note(LineKind::Detail, || {
            let Envelope { from, to, message } = &envelope;
            format!("{} >{} {}{}", from.0, to.0, if is_cut { "(lost) " } else { "" }, print::message(message))
        });
        self.sent.push(envelope.clone());
        match self.delays.get(&(envelope.from, envelope.to)) {
            _ if is_cut => {}
            Some(delay) => self.delayed.push((self.now + *delay, envelope)),
            None => self.in_flight.push(envelope),
        }
    }

    fn tell(&mut self, id: NodeId, event: &Event) {
        let is_routine = matches!(
            event,
            Event::HeartbeatSent { .. } | Event::HeartbeatAnswered { .. } | Event::HeartbeatHeard { .. }
        );
        if !is_routine {
            self.note(LineKind::Told, || format!("{} {}", id.0, print::event(event)));
        }
    }
}

impl Node {
    fn new(disk: Disk) -> Self {
        Self {
            raft: None,
            disk,
            log: Vec::new(),
            start: EntryId::default(),
            version: 0,
            writes: VecDeque::new(),
            reads: VecDeque::new(),
            fetch: None,
            fetched: BTreeMap::new(),
            is_slow: false,
            taken: VecDeque::new(),
            is_stalled: false,
            waiting: Vec::new(),
            durable: Ticket(0),
            starts: 0,
        }
    }
}

impl Disk {
    /// A disk with a log that the test makes up, after the first entry, which holds the configuration.
    pub fn with_terms(&self, terms: &[u64], hard_state: HardState) -> Disk {
        let made_up = terms.iter().zip(1..).skip(1).map(|(term, index)| entry(*term, index));
        Disk { hard_state, log: self.log.iter().take(1).cloned().chain(made_up).collect(), ..Disk::default() }
    }

    /// A snapshot up to `last` is there, and the log begins after `start`.
    pub fn compact(&mut self, last: Index, start: Index) {
        let entries: Vec<Entry> = self.log[..last.0 as usize].to_vec();
        let (configuration_index, configuration) =
            configurations(&entries).pop().unwrap_or((Index(0), Configuration::EMPTY));
        let id_at =
            |index: Index| index.0.checked_sub(1).map_or(EntryId::default(), |place| entries[place as usize].id);
        let (last, start) = (id_at(last), id_at(start));
        assert!(last >= self.snapshot_last() && start >= self.start, "what is on disk is later: {last}, {start}");
        self.start = start;
        self.snapshot = Some(Image { snapshot: Snapshot { last, configuration, configuration_index }, entries });
    }

    /// The last entry of the snapshot; `0@0`: there is none.
    pub fn snapshot_last(&self) -> EntryId {
        self.snapshot.as_ref().map_or(EntryId::default(), |image| image.snapshot.last)
    }

    /// Nothing when the log begins after `from`.
    fn read(&self, from: Index, to: Index, bytes_max: u64) -> Vec<Entry> {
        if from <= self.start.index {
            return Vec::new();
        }
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            let is_first = bytes == 0;
            bytes += entry.size();
            is_first || bytes <= bytes_max
        };
        let wanted = self.log.iter().filter(|entry| entry.id.index >= from && entry.id.index <= to);
        wanted.take_while(fits).cloned().collect()
    }

    fn apply(&mut self, write: Write, fetched: &BTreeMap<EntryId, Image>) -> Ticket {
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        if let Some(last) = write.snapshot {
            let image = fetched[&last].clone();
            self.log.clone_from(&image.entries);
            self.start = last;
            self.snapshot = Some(image);
        }
        overwrite(&mut self.log, &write.entries);
        write.ticket
    }

    fn recover(&self) -> Recovered {
        let log = self.log.iter().map(|entry| entry.id);
        let mut terms: Vec<EntryId> = log.filter(|id| id.index > self.start.index).collect();
        terms.dedup_by_key(|id| id.term);
        let snapshot = self.snapshot.as_ref().map(|image| &image.snapshot);
        let of_snapshot = snapshot.map(|it| (it.configuration_index, it.configuration.clone()));
        let is_later = |(index, _): &(Index, Configuration)| *index > self.snapshot_last().index;
        let later = configurations(&self.log).into_iter().filter(is_later);
        Recovered {
            hard_state: self.hard_state,
            start: self.start,
            snapshot: self.snapshot_last(),
            terms,
            last: self.log.last().map_or(Index(0), |entry| entry.id.index),
            configurations: of_snapshot.into_iter().chain(later).collect(),
        }
    }
}

/// The configurations in a log, with their indexes.
pub fn configurations(log: &[Entry]) -> Vec<(Index, Configuration)> {
    log.iter().filter_map(|entry| Some((entry.id.index, configuration_of(entry)?.clone()))).collect()
}

/// The configuration that an entry carries.
pub fn configuration_of(entry: &Entry) -> Option<&Configuration> {
    match &entry.payload {
        Payload::Configuration { configuration, .. } => Some(configuration),
        _ => None,
    }
}

/// Puts entries into a log in the place of all from the first of them on.
fn overwrite(log: &mut Vec<Entry>, entries: &[Entry]) {
    let Some(first) = entries.first() else { return };
    let kept = first.id.index.previous().0 as usize;
    assert!(kept <= log.len(), "a write at {} leaves a gap: the log has {} entries", first.id, log.len());
    log.truncate(kept);
    log.extend_from_slice(entries);
}
