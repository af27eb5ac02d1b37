//! The one loop that owns this node's replicas: wait, drain all that waits, turn, carry out the effects in order.
//!
//! ```text
//!    clients (Inbox) ----\                            /--> Persist      storage::Writer ... Durable
//!    peers (Inbound) -----+--> events --> Replica::turn +--> Send         Transport
//!    disk (Completion) ---+               (pure)        +--> ReadEntries  LogReader ... Read     (ReadBody likewise)
//!    deadline ------------/                            +--> Answer       the waiting client
//!                                                      +--> TakeSnapshot, Compact, FetchSnapshot   Snapshots ... SnapshotTaken
//!                                                      \--> Introduce, Tell
//! ```
//!
//! Batching comes from draining: what came in together is proposed, written and sent together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::clock::Clock;
use super::handle::{AnswerSlot, Asked, Inbox, Input, Published, Seen};
use super::log_reader::LogReader;
use super::snapshots::Snapshots;
use super::timing_news::TimingNews;
use super::{Error, Phase};
use crate::ids::{ClusterId, EntryId, NodeId, ShardId, Term, Time};
use crate::raft::{Body, Entry, Message, RoleName};
use crate::replica::{Effect, Event, Execute, Membership, ReadId, Replica, RequestId, Restored};
use crate::storage::{self, DataDirectory, Durable, Synced, Writer};
use crate::telemetry::events::{Kind, Level};
use crate::telemetry::{self, RequestBook, Vitals};
use crate::transport::{self, AddressBook, Contacts, Envelope, Inbound, Transport};

/// The loop turns at least this often, so that whoever counts its turns sees that it lives.
pub const IDLE_MAX: Duration = Duration::from_millis(500);

/// What the loop shows of its replicas without telling anybody is this old, or as old as its last turn.
pub const SEEN_AGE: Duration = Duration::from_millis(50);

/// From each source at most this much is taken in one turn, so that no source keeps the others waiting.
const DRAINED_MAX: usize = 512;

/// Appends and their answers that may wait for the loop, and that it takes in one turn: few, as each can have the size of a
/// frame. When they are that many, the transport stops reading them from its peers; heartbeats and votes come in all the same.
pub const INBOUND_BULK_MAX: usize = 64;

/// What the disk has finished. The channel is unbounded by type; it is bounded by the writes that the writer's queue takes
/// and the reads that replicas ask for, one for each follower and each answer, and one snapshot of each kind at a time.
#[derive(Debug)]
pub enum Completion {
    /// Writes are durable.
    Durable(Synced),
    /// Entries of the log were read.
    Read(ShardId, ReadId, Vec<Entry>),
    /// They are not in the log.
    NotInLog(ShardId, ReadId),
    /// A snapshot is durable.
    SnapshotTaken {
        /// Whose.
        shard: ShardId,
        /// Its last entry.
        last: EntryId,
        /// The log now begins after this one.
        log_start: EntryId,
        /// Its length.
        bytes: u64,
    },
    /// A snapshot could not be written.
    SnapshotNotTaken(ShardId),
    /// The leader's snapshot is on disk and waits to be installed.
    SnapshotReceived(ShardId, Box<Restored>),
    /// Nobody fetches the leader's snapshot any more.
    SnapshotNotReceived(ShardId),
    /// The disk cannot be trusted any more: this node stops.
    Failed(storage::Error),
}

/// Where completions go.
pub type Completions = mpsc::UnboundedSender<Completion>;

/// The loop, and everything that it owns.
pub struct EventLoop {
    /// This node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// The time.
    pub clock: Clock,
    /// This node's member of each shard.
    pub replicas: BTreeMap<ShardId, Replica>,
    /// What clients ask.
    pub inbox: Inbox,
    /// What peers say. When it is full the transport waits with reading, and so the peer with sending.
    pub inbound: transport::Inbox,
    /// What the disk has done.
    pub completed: mpsc::UnboundedReceiver<Completion>,
    /// The other end of `completed`, for reads.
    pub completions: Completions,
    /// Takes writes.
    pub writer: Writer,
    /// Reads the log.
    pub reader: LogReader,
    /// Takes messages for peers.
    pub transport: Transport,
    /// Everybody's addresses.
    pub book: AddressBook,
    /// Tells when the book changes.
    pub contacts: watch::Receiver<Arc<Contacts>>,
    /// Who waits for an answer: as many as the replicas have requests in hand, and they refuse what is too much.
    pub waiting: BTreeMap<RequestId, (ShardId, AnswerSlot)>,
    /// Requests that are traced or measured on their way.
    pub requests: RequestBook,
    /// What this node knows of itself, and tells those who ask.
    pub vitals: Vitals,
    /// What has happened to each replica since its last turn.
    pub events: BTreeMap<ShardId, Vec<Event>>,
    /// When the loop last showed what changes all the time.
    pub shown_at: Option<Time>,
    /// What it last told of the time-outs of each replica.
    pub timing_news: BTreeMap<ShardId, TimingNews>,
    /// Names of nodes that are about to come into the book.
    pub newcomers: BTreeMap<NodeId, String>,
    /// What is done beside the loop with snapshots.
    pub snapshots: Snapshots,
    /// The lock on it lasts as long as the loop, which has the log written.
    pub directory: Arc<DataDirectory>,
}

/// One thing that has come in.
enum Arrival {
    Input(Input),
    Forgotten(RequestId),
    Inbound(Inbound),
    Completion(Completion),
    AddressesChanged,
    Deadline,
    Stop,
}

impl EventLoop {
    /// Turns until the node is told to stop. What was submitted for writing is durable on return.
    ///
    /// # Errors
    /// The disk failed, or returned what was not written to it.
    pub async fn run(mut self, mut phase: watch::Receiver<Phase>) -> Result<(), Error> {
        let ended = self.go_round(&mut phase).await;
        self.stop().await;
        ended
    }

    async fn go_round(&mut self, phase: &mut watch::Receiver<Phase>) -> Result<(), Error> {
        self.publish();
        loop {
            match self.wait(phase).await {
                Arrival::Stop => return Ok(()),
                arrival => self.take(arrival)?,
            }
            self.drain()?;
            if *phase.borrow() >= Phase::HandingOver {
                self.replicas.values_mut().for_each(Replica::retire);
            }
            self.turn();
        }
    }

    /// Waits for the first thing to come in.
    async fn wait(&mut self, phase: &mut watch::Receiver<Phase>) -> Arrival {
        let now = self.clock.now();
        let deadlines = self.replicas.values().map(Replica::next_deadline);
        let deadline = deadlines.min().unwrap_or(Time(u64::MAX)).min(now + IDLE_MAX);
        let deadline = tokio::time::sleep_until(self.clock.instant(deadline));
        tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase == Phase::Stopped) => Arrival::Stop,
            // Before what may never run dry. It cannot keep the rest waiting: each change of the book took a sync.
            Ok(()) = self.contacts.changed() => Arrival::AddressesChanged,
            Some(completion) = self.completed.recv() => Arrival::Completion(completion),
            Some(inbound) = self.inbound.recv() => Arrival::Inbound(inbound),
            Some(input) = self.inbox.inputs.recv() => Arrival::Input(input),
            Some(request) = self.inbox.forgotten.recv() => Arrival::Forgotten(request),
            () = deadline => Arrival::Deadline,
        }
    }

    /// Takes all that waits, up to a limit.
    fn drain(&mut self) -> Result<(), Error> {
        for _ in 0..DRAINED_MAX {
            let Ok(completion) = self.completed.try_recv() else { break };
            self.take(Arrival::Completion(completion))?;
        }
        for _ in 0..DRAINED_MAX {
            let Ok(inbound) = self.inbound.control.try_recv() else { break };
            self.take(Arrival::Inbound(inbound))?;
        }
        self.take_bulk();
        for _ in 0..DRAINED_MAX {
            let Ok(input) = self.inbox.inputs.try_recv() else { break };
            self.take(Arrival::Input(input))?;
        }
        for _ in 0..DRAINED_MAX {
            let Ok(request) = self.inbox.forgotten.try_recv() else { break };
            self.take(Arrival::Forgotten(request))?;
        }
        Ok(())
    }

    /// As much as there can be in the inbox.
    fn take_bulk(&mut self) {
        for _ in 0..INBOUND_BULK_MAX {
            let Ok(inbound) = self.inbound.bulk.try_recv() else { break };
            self.on_inbound(inbound);
        }
    }

    fn take(&mut self, arrival: Arrival) -> Result<(), Error> {
        match arrival {
            Arrival::Input(input) => self.on_input(input),
            Arrival::Forgotten(request) => self.on_forgotten(request),
            Arrival::Inbound(inbound) => self.on_inbound(inbound),
            Arrival::Completion(completion) => self.on_completion(completion)?,
            Arrival::AddressesChanged => {
                self.newcomers.clear();
                self.keep_connections();
            }
            Arrival::Deadline | Arrival::Stop => {}
        }
        Ok(())
    }

    fn on_input(&mut self, Input { shard, request, what, answer }: Input) {
        if answer.is_closed() {
            return;
        }
        self.waiting.insert(request, (shard, answer));
        let event = match what {
            Asked::Execute(execute, mark) => {
                let is_followed = self.requests.on_input(request, mark);
                Event::Execute { request, execute: Execute { is_followed, ..execute } }
            }
            Asked::Read(read) => Event::Read { request, read },
            Asked::TransferLeadership(to) => Event::TransferLeadership { request, to },
            Asked::ChangeMembership(change) => Event::ChangeMembership { request, change },
        };
        self.on_event(shard, event);
    }

    fn on_forgotten(&mut self, request: RequestId) {
        if let Some((shard, _)) = self.waiting.remove(&request) {
            self.requests.on_forgotten(request);
            self.on_event(shard, Event::Forget(request));
        }
    }

    fn on_inbound(&mut self, inbound: Inbound) {
        match inbound {
            Inbound::Message { from, envelope: Envelope { shard, message, traces, .. } } => {
                if !traces.is_empty() {
                    let published = self.inbox.published.borrow();
                    let own = published.replicas.get(&shard);
                    let own = own.map(|status| telemetry::Own { term: status.term, durable: status.durable });
                    self.requests.on_message(shard, message.term, own.unwrap_or_default(), traces);
                }
                self.on_event(shard, Event::Message { from, message });
            }
            Inbound::Connected { peer } => {
                self.say_of(peer, Level::Info, "connected", |name| format!("is connected to {name}"));
                for shard in self.shards() {
                    self.on_event(shard, Event::Reachable(peer));
                }
            }
            Inbound::Disconnected { peer, why } => {
                self.say_of(peer, Level::Warn, "disconnected", |name| format!("has no connection to {name}: {why}"));
                self.requests.on_disconnected(peer);
                for shard in self.shards() {
                    self.on_event(shard, Event::Unreachable(peer));
                }
            }
            Inbound::Gone { peer } => {
                // What came of it in bulk is older, and would look as if it lived.
                self.take_bulk();
                self.say_of(peer, Level::Warn, "gone", |name| format!("finds the process of {name} ended"));
                for shard in self.shards() {
                    self.on_event(shard, Event::Gone(peer));
                }
            }
            Inbound::Refused { peer, why } => {
                self.say_of(peer, Level::Warn, "refused", |name| format!("is not let in by {name}: {why}"));
            }
            Inbound::RemovedBy { peer, index } => {
                let removed = || Message { term: Term(0), body: Body::Removed { index } };
                for shard in self.shards() {
                    self.on_event(shard, Event::Message { from: peer, message: removed() });
                }
            }
        }
    }

    fn shards(&self) -> Vec<ShardId> {
        self.replicas.keys().copied().collect()
    }

    fn on_completion(&mut self, completion: Completion) -> Result<(), Error> {
        match completion {
            Completion::Durable(synced) => {
                self.requests.on_synced(&synced);
                for Durable { shard, ticket, .. } in synced.writes {
                    self.on_event(shard, Event::Persisted(ticket));
                }
            }
            Completion::Read(shard, read, entries) => self.on_event(shard, Event::EntriesRead { read, entries }),
            Completion::NotInLog(shard, read) => self.on_event(shard, Event::NotInLog { read }),
            Completion::SnapshotTaken { shard, last, log_start, bytes } => {
                self.on_event(shard, Event::SnapshotTaken { last, log_start, bytes });
            }
            Completion::SnapshotNotTaken(shard) => self.on_event(shard, Event::SnapshotNotTaken),
            Completion::SnapshotReceived(shard, received) => {
                self.snapshots.on_fetch_ended(shard);
                self.on_event(shard, Event::SnapshotReceived(received));
            }
            Completion::SnapshotNotReceived(shard) => self.snapshots.on_fetch_ended(shard),
            Completion::Failed(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Keeps an event for the replica's next turn. A shard that this node has no replica of can only be a peer's mistake.
    fn on_event(&mut self, shard: ShardId, event: Event) {
        if self.replicas.contains_key(&shard) {
            self.events.entry(shard).or_default().push(event);
        } else {
            tracing::debug!(%shard, "something came for a shard that is not on this node");
        }
    }

    /// Lets every replica deal with what has happened to it, the passing of time included, and the others see what came of it.
    fn turn(&mut self) {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        self.requests.begin_turn();
        let mut effects = Vec::new();
        for (shard, replica) in &mut self.replicas {
            let events = self.events.remove(shard).unwrap_or_default();
            effects.extend(replica.turn(now, wall, events).into_iter().map(|effect| (*shard, effect)));
        }
        for (_, effect) in &effects {
            if let Effect::Introduce(contact) = effect {
                self.newcomers.insert(contact.node, contact.name.clone());
            }
        }
        let is_answer = |(_, effect): &(ShardId, Effect)| matches!(effect, Effect::Answer { .. });
        let (answers, others): (Vec<_>, Vec<_>) = effects.into_iter().partition(is_answer);
        for (shard, effect) in others {
            self.carry_out(shard, effect);
        }
        self.publish();
        self.show(now);
        // Last, so that whoever has an answer and looks sees no earlier state than the answer tells of.
        for (shard, effect) in answers {
            self.carry_out(shard, effect);
        }
        self.inbox.turns.fetch_add(1, Ordering::Relaxed);
    }

    fn carry_out(&mut self, shard: ShardId, effect: Effect) {
        match effect {
            Effect::Persist(write) => self.writer.submit(shard, write),
            Effect::Send { to, message } => {
                let traces = self.requests.on_send(shard, to, &message);
                self.transport.send(to, Envelope { traces, ..Envelope::new(shard, message) });
            }
            Effect::ReadEntries { read, from, to, bytes_max } => {
                let reader = self.reader.clone();
                self.read(shard, read, async move { reader.read(shard, from, to, bytes_max).await });
            }
            Effect::ReadBody { read, index } => {
                let reader = self.reader.clone();
                self.read(shard, read, async move { reader.body(shard, index).await.map(|entry| vec![entry]) });
            }
            Effect::TakeSnapshot(taking) => self.snapshots.take(shard, *taking),
            Effect::Compact { last, being_read } => self.snapshots.compact(shard, last, being_read),
            Effect::FetchSnapshot { from, last, committed } => self.snapshots.fetch(shard, from, last, committed),
            Effect::Answer { request, answer } => {
                self.requests.on_answer(request);
                if let Some((_, slot)) = self.waiting.remove(&request) {
                    // A client that has just gone away gets no answer; its Forget finds nothing to forget.
                    slot.send(answer);
                }
            }
            Effect::Introduce(contact) => {
                let book = self.book.clone();
                tokio::spawn(async move {
                    if let Err(error) = book.merge_in_background(vec![contact]).await {
                        tracing::warn!("the address book was not written: {error}");
                    }
                });
            }
            Effect::Tell(told) => {
                self.vitals.on_told(shard, &told);
                let enter = || self.requests.enter(shard, &told);
                telemetry::tell(&told, self.vitals.events(), |node| self.name_of(node), enter);
                // Last: `enter` asks what the book knew before this.
                self.requests.on_told(shard, &told);
            }
        }
    }

    /// Reads in the background, and reports what came of it.
    fn read(
        &self,
        shard: ShardId,
        read: ReadId,
        reading: impl Future<Output = Result<Vec<Entry>, storage::Error>> + Send + 'static,
    ) {
        let completions = self.completions.clone();
        tokio::spawn(async move {
            let completion = match reading.await {
                Ok(entries) => Completion::Read(shard, read, entries),
                // Cut from the log meanwhile, or compacted.
                Err(error @ storage::Error::NotInLog { .. }) => {
                    tracing::warn!("nothing to read: {error}");
                    Completion::NotInLog(shard, read)
                }
                Err(error) => Completion::Failed(error),
            };
            // A loop that has ended needs no completion.
            let _ = completions.send(completion);
        });
    }

    /// Says something of the connection to a peer.
    fn say_of(&self, peer: NodeId, level: Level, event: &'static str, words: impl FnOnce(&str) -> String) {
        let name = self.name_of(peer);
        self.vitals.events().say(Kind::Connection, level, event, words(&name), Some(&name));
    }

    fn name_of(&self, node: NodeId) -> String {
        let known = self.book.get(node).map(|contact| contact.name);
        known.or_else(|| self.newcomers.get(&node).cloned()).unwrap_or_else(|| node.to_string())
    }

    /// Lets the others see what has changed.
    fn publish(&mut self) {
        let replicas = self.replicas.iter().map(|(shard, replica)| (*shard, replica.status())).collect();
        let published = Published { replicas, cluster: Some(self.cluster) };
        let mut members_changed = false;
        self.inbox.published.send_if_modified(|before| {
            members_changed = !memberships(before).eq(memberships(&published));
            let changed = *before != published;
            *before = published;
            changed
        });
        self.publish_leading();
        // After the others can see it: the transport asks at once who is still admitted.
        if members_changed {
            self.keep_connections();
        }
    }

    /// Lets those see who look what changes all the time, now and then: it wakes nobody.
    fn show(&mut self, now: Time) {
        if self.shown_at.is_some_and(|at| now - at < SEEN_AGE) {
            return;
        }
        self.shown_at = Some(now);
        for (shard, replica) in &self.replicas {
            if let Some(words) = self.timing_news.entry(*shard).or_default().line(now, &replica.timing()) {
                self.vitals.events().say(Kind::Connection, Level::Info, "timeouts_changed", words, None);
            }
        }
        self.transport.set_measured(self.answered_within());
        let seen = |replica: &Replica| Seen { view: replica.view(), clock: self.clock };
        let seen = self.replicas.iter().map(|(shard, replica)| (*shard, seen(replica))).collect();
        self.inbox.seen.send_replace(seen);
    }

    /// A message to a peer and its answer nearly always take no longer than this; none: nothing was measured yet. What a follower
    /// has measured is how long the leader was silent, which on a slow line is about as long.
    fn answered_within(&self) -> Option<Duration> {
        let spreads = self.replicas.values().map(Replica::timing).flat_map(|timing| [timing.round_trips, timing.gaps]);
        spreads.flatten().map(|spread| spread.high).max()
    }

    /// Lets those see it who wait for the end of this node's leadership. After the rest, in which they look who leads instead.
    fn publish_leading(&self) {
        let published = self.inbox.published.borrow();
        let leaders = published.replicas.iter().filter(|(_, status)| status.role == RoleName::Leader);
        let leading: BTreeMap<ShardId, Term> = leaders.map(|(shard, status)| (*shard, status.term)).collect();
        self.inbox.leading.send_if_modified(|before| {
            let changed = *before != leading;
            *before = leading;
            changed
        });
    }

    /// Keeps connections to the members whose addresses are known; those of a newcomer are about to be written down.
    fn keep_connections(&self) {
        let published = self.inbox.published.borrow();
        let members = memberships(&published).flat_map(|membership| membership.configuration.members());
        let peers = members.filter(|node| self.book.get(*node).is_some()).collect();
        self.transport.set_peers(peers);
    }

    /// Ends: whoever still waits learns that nobody knows, and the writer finishes what it was given.
    async fn stop(self) {
        drop(self.waiting);
        self.snapshots.stop().await;
        let stopped = tokio::task::spawn_blocking(move || self.writer.stop()).await;
        stopped.expect("the writer ends without a panic");
        drop(self.directory);
    }
}

fn memberships(published: &Published) -> impl Iterator<Item = &Arc<Membership>> {
    published.replicas.values().map(|status| &status.membership)
}
