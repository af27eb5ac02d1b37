//! What every role shares: term and vote, the log, durability, and the dispatch of what comes in.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::candidate::Votes;
use super::follower::{Append, Follower, Heartbeat};
use super::leader::Leader;
use super::log::Log;
use super::measured::Measured;
use super::progress::Window;
use super::writes::Writes;
use super::{
    Body, Configuration, Effect, Entry, Event, Fresh, HardState, Message, ReadBatch, ReadContext, Recovered, RoleName,
    Snapshot, TimeoutPolicy, Timeouts, Timing, Write,
};
use crate::ids::{EntryId, Index, NodeId, Term, Ticket, Time};

/// How a replica behaves. Safety depends on none of it.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Where the time-outs come from.
    pub timeouts: TimeoutPolicy,
    /// A write that takes longer than this is a hung disk: a leader gives up leadership, a voter does not campaign.
    pub disk_stall_max: Duration,
    /// The entries of one AppendEntries together, in bytes; a single entry may be larger.
    pub append_bytes_max: u64,
    /// What may be unanswered by one member.
    pub window: Window,
    /// Entries kept in memory, in bytes, besides those that are not yet durable.
    pub cache_bytes_max: u64,
}

/// One member of a Raft group.
#[derive(Debug)]
pub struct Raft {
    pub(super) id: NodeId,
    pub(super) options: Options,
    pub(super) hard_state: HardState,
    pub(super) log: Log,
    pub(super) commit: Index,
    /// The highest commit index that a leader has told of, also beyond the end of the log.
    pub(super) heard_commit: Index,
    /// The last entry of the snapshot that is durable on this node.
    pub(super) snapshot: EntryId,
    pub(super) role: Role,
    pub(super) effects: Vec<Effect>,
    /// When to ask for votes, unless a leader is heard before.
    pub(super) election_at: Time,
    /// The configuration that left this node out.
    pub(super) removed: Option<Index>,
    /// This node is about to stop, and leads no more.
    retired: bool,
    /// In the order of their indexes. The last one is in force; those before come back when entries are cut.
    configurations: Vec<(Index, Configuration)>,
    writes: Writes,
    /// The write that holds the term and vote of now.
    hard_state_ticket: Ticket,
    pub(super) quarantined: Option<String>,
    pub(super) rng: ChaCha8Rng,
    /// Drawn at the start, so that what an earlier process of this node has said is not taken for its own.
    pub(super) nonce: u64,
    /// The last one that a question to the leader had.
    pub(super) last_context: ReadContext,
    pub(super) last_batch: ReadBatch,
    /// What leaders have told of how much was committed when.
    pub(super) fresh: Option<Fresh>,
    /// Of links, and of this member itself. The time-outs follow from it.
    pub(super) measured: Measured,
    /// The election was put off until then, because this member was starved; once until the timer is set anew.
    pub(super) put_off_until: Option<Time>,
    /// The deadline up to which lateness is accounted for.
    pub(super) called_for: Time,
}

/// The part that this member plays, with what only that part knows.
#[derive(Debug)]
pub(super) enum Role {
    Follower(Follower),
    PreCandidate(Votes),
    Candidate(Votes),
    Leader(Leader),
}

impl Raft {
    /// A member that starts, as a follower, from what is on its disk. What the snapshot has in it is committed.
    pub fn new(id: NodeId, options: Options, recovered: &Recovered, seed: u64, now: Time) -> Self {
        let mut raft = Self {
            id,
            options,
            hard_state: recovered.hard_state,
            log: Log::new(recovered),
            commit: recovered.snapshot.index,
            heard_commit: recovered.snapshot.index,
            snapshot: recovered.snapshot,
            role: Role::Follower(Follower::default()),
            effects: Vec::new(),
            election_at: now,
            removed: None,
            retired: false,
            configurations: recovered.configurations.clone(),
            writes: Writes::new(recovered.last),
            hard_state_ticket: Ticket(0),
            quarantined: None,
            rng: ChaCha8Rng::seed_from_u64(seed),
            nonce: 0,
            last_context: ReadContext(0),
            last_batch: ReadBatch(0),
            fresh: None,
            measured: Measured::new(options.timeouts),
            // Who is alone campaigns at once.
            put_off_until: Some(now),
            called_for: now,
        };
        let (start, last) = (raft.log.start(), raft.last());
        assert!(
            raft.log.has(raft.snapshot),
            "the log from {start} to {last} does not fit its snapshot {}",
            raft.snapshot
        );
        let is_alone = raft.configuration().members().eq([id]);
        if !is_alone {
            raft.reset_election_timer(now);
        }
        raft.nonce = raft.rng.random();
        raft.last_context = ReadContext(raft.nonce);
        raft
    }

    /// Time went on.
    pub fn tick(&mut self, now: Time) {
        if self.quarantined.is_some() {
            return;
        }
        self.mind_lateness(now);
        match self.role {
            Role::Leader(_) => self.tick_leader(now),
            _ if now < self.election_at => {
                self.ask_again(now);
                self.ask_for_votes_again(now);
            }
            _ if self.may_campaign(now) => self.become_pre_candidate(now),
            _ => self.wait_for_leader(now),
        }
    }

    /// A member that may not campaign leaves that to the others. Whom it followed is of no use to anybody any more.
    fn wait_for_leader(&mut self, now: Time) {
        self.reset_election_timer(now);
        if self.leader().is_some() {
            self.become_follower(now, self.term(), "the leader was not heard in time");
        }
    }

    /// When `tick` has something to do.
    pub fn next_deadline(&self) -> Time {
        match &self.role {
            // It stands still. A deadline in the past would keep whoever drives it busy.
            _ if self.quarantined.is_some() => Time(u64::MAX),
            Role::Leader(leader) => leader.next_deadline(),
            _ => self
                .ask_again_at()
                .into_iter()
                .chain(self.ask_for_votes_again_at())
                .fold(self.election_at, |first, at| first.min(at)),
        }
    }

    /// A message came from another member.
    pub fn on_message(&mut self, now: Time, from: NodeId, message: Message) {
        if self.quarantined.is_some() {
            return;
        }
        self.mind_lateness(now);
        let Message { term, body } = message;
        match body {
            Body::PreVote { last } => self.on_pre_vote(now, from, term, last),
            Body::RequestVote { last, transfer } => self.on_request_vote(now, from, term, last, transfer),
            Body::PreVoteReply { refusal: None } => self.on_pre_vote_granted(now, from, term),
            Body::Removed { index } => self.on_removed(now, index),
            _ if term < self.term() => self.on_stale_message(now, from, &body),
            _ => {
                if term > self.term() {
                    self.become_follower(now, term, "a later term was seen");
                }
                self.on_message_of_term(now, from, body);
            }
        }
    }

    fn on_message_of_term(&mut self, now: Time, from: NodeId, body: Body) {
        match body {
            Body::AppendEntries { previous, commit, entries, attempt } => {
                self.on_append_entries(now, from, Append { previous, commit, entries, attempt });
            }
            Body::Heartbeat { commit, sent_at, read_round, fresh, timing } => {
                self.on_heartbeat(now, from, Heartbeat { commit, sent_at, read_round, fresh, timing });
            }
            Body::RequestVoteReply { refusal } => self.on_request_vote_reply(now, from, refusal),
            Body::PreVoteReply { refusal: Some(refusal) } => self.on_pre_vote_refused(from, refusal),
            Body::AppendReply(reply) => self.on_append_reply(now, from, reply),
            Body::HeartbeatReply { sent_at, read_round, clock } => {
                self.on_heartbeat_reply(now, from, sent_at, read_round, clock);
            }
            Body::TimeoutNow { last } => self.on_timeout_now(now, from, last),
            Body::ReadIndex { context } => self.on_read_index(from, context),
            Body::ReadIndexReply { context, at } => self.on_read_index_reply(from, context, at),
            Body::InstallSnapshot { last } => self.on_install_snapshot(now, from, last),
            Body::PreVote { .. }
            | Body::RequestVote { .. }
            | Body::PreVoteReply { refusal: None }
            | Body::Removed { .. } => unreachable!("on_message has dealt with {body:?}"),
        }
    }

    /// A leader that was overtaken learns the term from the answer: with pre-vote nothing else would tell it.
    fn on_stale_message(&mut self, now: Time, from: NodeId, body: &Body) {
        match body {
            Body::AppendEntries { .. } | Body::Heartbeat { .. } | Body::InstallSnapshot { .. } => {
                self.send(from, Body::HeartbeatReply { sent_at: Time(0), read_round: 0, clock: self.clock(now) });
            }
            _ => self.tell(Event::Ignored { from, why: "it is of an earlier term" }),
        }
    }

    /// Every write up to `ticket` is durable.
    pub fn on_persisted(&mut self, now: Time, ticket: Ticket) {
        let durable_before = self.durable();
        for last in self.writes.end(ticket) {
            self.snapshot = last;
            self.tell(Event::SnapshotInstalled { last });
        }
        if self.quarantined.is_some() {
            return;
        }
        if self.durable() > durable_before.max(self.snapshot.index) {
            self.tell(Event::Appended { last: self.id_at(self.durable()) });
        }
        match &self.role {
            Role::Candidate(votes) if votes.ticket <= ticket => self.on_own_vote_durable(now),
            Role::Leader(_) => self.advance(now),
            _ => {}
        }
        self.evict();
    }

    /// The connection to a member broke.
    pub fn on_unreachable(&mut self, peer: NodeId) {
        self.measured.on_disconnected(peer);
        if let Role::Leader(leader) = &mut self.role
            && let Some(progress) = leader.progress.get_mut(&peer)
        {
            progress.on_disconnected();
            self.give_up_transfer_to(peer);
        }
    }

    /// This node is about to stop: it stands for election no more, whoever asks it to. It still votes, and leads on if it does.
    pub fn retire(&mut self) {
        self.retired = true;
    }

    /// There is a connection to a member again: what was lost before it is sent at once.
    pub fn on_reachable(&mut self, now: Time, peer: NodeId) {
        self.ask_for_vote_again(now, peer);
        if let Role::Leader(leader) = &mut self.role
            && let Some(progress) = leader.progress.get_mut(&peer)
        {
            progress.on_lost();
            self.replicate_to(now, peer);
        }
    }

    /// What is to be done, in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The current term.
    pub fn term(&self) -> Term {
        self.hard_state.term
    }

    /// Whom this member has given its vote to in the current term.
    pub fn vote(&self) -> Option<NodeId> {
        self.hard_state.vote
    }

    /// The time-outs that are in force.
    pub fn timeouts(&self) -> Timeouts {
        self.timing().timeouts
    }

    /// The time-outs that are in force, and why.
    pub fn timing(&self) -> Timing {
        self.measured.timing()
    }

    /// The commit index.
    pub fn commit(&self) -> Index {
        self.commit
    }

    /// The highest commit index that this member has heard of since it started. Where its log lacks entries this is beyond
    /// `commit`, which never is past what the log has.
    pub fn heard_commit(&self) -> Index {
        self.heard_commit.max(self.commit)
    }

    /// The last entry of the log.
    pub fn last(&self) -> EntryId {
        self.log.last()
    }

    /// The log begins after this entry: everything up to it is in the snapshot, or in one that is being written.
    pub fn log_start(&self) -> EntryId {
        self.log.start()
    }

    /// The last entry of the snapshot that is durable on this node; `0@0`: there is none.
    pub fn snapshot(&self) -> EntryId {
        self.snapshot
    }

    /// The log is durable on this node up to here.
    pub fn durable(&self) -> Index {
        self.writes.durable()
    }

    /// How many writes are not yet known to be durable.
    pub fn unfinished_writes(&self) -> usize {
        self.writes.unfinished()
    }

    /// The term of the entry at `index`, if the log reaches that far and that far back.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term_at(index)
    }

    /// True when exactly this entry is committed, as far as this member knows. It does not know of entries before the start of
    /// its log.
    pub fn is_committed(&self, id: EntryId) -> bool {
        id.index <= self.commit && self.log.has(id)
    }

    /// Entries that are still in memory: `from..=to`, limited like an append; none when `from` is not in memory.
    pub fn entries_in_memory(&self, from: Index, to: Index, bytes_max: u64) -> Option<Vec<Entry>> {
        self.log.entries(from, to, bytes_max)
    }

    /// The part that this member plays.
    pub fn role(&self) -> RoleName {
        match self.role {
            Role::Follower(_) => RoleName::Follower,
            Role::PreCandidate(_) => RoleName::PreCandidate,
            Role::Candidate(_) => RoleName::Candidate,
            Role::Leader(_) => RoleName::Leader,
        }
    }

    /// True when this member leads its term.
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// The entry with which this member's term as a leader began.
    pub fn term_began_at(&self) -> Option<Index> {
        match &self.role {
            Role::Leader(leader) => Some(leader.noop),
            _ => None,
        }
    }

    /// The leader of the term, if known.
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Leader(_) => Some(self.id),
            Role::Follower(follower) => follower.leader.map(|(leader, _)| leader),
            Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }

    /// The configuration in force: the last one in the log, committed or not.
    pub fn configuration(&self) -> &Configuration {
        static EMPTY: Configuration = Configuration::EMPTY;
        self.configurations.last().map_or(&EMPTY, |(_, configuration)| configuration)
    }

    /// Where the configuration in force stands in the log; 0: there is none.
    pub fn configuration_index(&self) -> Index {
        self.configurations.last().map_or(Index(0), |(index, _)| *index)
    }

    /// The index of the configuration that left this node out, if it knows of one.
    pub fn removed(&self) -> Option<Index> {
        self.removed
    }

    /// Why this member stands still, if it does.
    pub fn quarantined(&self) -> Option<&str> {
        self.quarantined.as_deref()
    }

    /// Forgets entries that are committed and durable, beyond the size of the cache.
    fn evict(&mut self) {
        let needed = self.commit.min(self.durable());
        self.log.evict(needed, self.options.cache_bytes_max);
    }

    pub(super) fn id_at(&self, index: Index) -> EntryId {
        let term = self.log.term_at(index).expect("only asked for indexes within the log");
        EntryId::new(term, index)
    }

    /// Follows no leader yet, in `term`.
    pub(super) fn become_follower(&mut self, now: Time, term: Term, cause: &'static str) {
        self.raise_term(now, term, None);
        let was_follower = matches!(self.role, Role::Follower(_));
        self.set_role(Role::Follower(Follower::default()));
        if !was_follower {
            self.wait_for_votes(now, Duration::ZERO);
        }
        self.tell(Event::RoleChanged { role: RoleName::Follower, term, cause });
    }

    /// Takes on another role, or the same one anew. What waits for an answer in the old one is refused.
    pub(super) fn set_role(&mut self, role: Role) {
        let ended = std::mem::replace(&mut self.role, role);
        self.refuse_reads(ended);
    }

    /// Writes a new term or vote. Whatever is sent from here on waits for that write.
    pub(super) fn raise_term(&mut self, now: Time, term: Term, vote: Option<NodeId>) {
        assert!(term >= self.term(), "the term would fall from {} to {term}", self.term());
        if term == self.term() && (vote.is_none() || vote == self.hard_state.vote) {
            return;
        }
        assert!(term > self.term() || self.hard_state.vote.is_none(), "a vote of term {term} would change");
        self.hard_state = HardState { term, vote };
        self.hard_state_ticket = self.persist(now, Some(self.hard_state), None, Vec::new());
    }

    /// Adds entries to the log and has them written.
    pub(super) fn append(&mut self, now: Time, entries: Vec<Entry>) {
        for entry in &entries {
            if let super::Payload::Configuration { configuration, .. } = &entry.payload {
                self.configurations.push((entry.id.index, configuration.clone()));
                self.tell_configuration();
            }
        }
        self.log.append(entries.iter().cloned());
        self.persist(now, None, None, entries);
    }

    /// Cuts the log from `from` on, in memory; on disk the next append at `from` does it.
    pub(super) fn truncate(&mut self, from: Index) {
        assert!(from > self.commit, "the log would be cut at {from}, below the commit index {}", self.commit);
        let kept = from.previous();
        self.log.truncate(from);
        self.writes.cut(kept);
        self.tell(Event::Truncated { from });
        let configurations_before = self.configurations.len();
        self.configurations.retain(|(index, _)| *index < from);
        if self.configurations.len() < configurations_before {
            self.tell_configuration();
        }
    }

    /// Lets a snapshot take the place of the whole log, and of the configurations in it: nothing of an entry that is not
    /// committed survives. Until it is durable, the disk vouches for what was committed before.
    pub(super) fn install(&mut self, now: Time, snapshot: Snapshot) -> Ticket {
        let Snapshot { last, configuration, configuration_index } = snapshot;
        assert!(last.index > self.commit, "a snapshot up to {last} would undo the commit index {}", self.commit);
        self.writes.discard(self.commit);
        self.log.reset(last);
        self.commit = last.index;
        self.tell(Event::Committed { index: last.index });
        let in_force = self.configurations.last().cloned();
        self.configurations = vec![(configuration_index, configuration)];
        if in_force.as_ref() != self.configurations.last() {
            self.tell_configuration();
        }
        self.persist(now, None, Some(last), Vec::new())
    }

    fn tell_configuration(&mut self) {
        let configuration = self.configuration().clone();
        self.tell(Event::ConfigurationChanged { index: self.configuration_index(), configuration });
    }

    fn persist(
        &mut self,
        now: Time,
        hard_state: Option<HardState>,
        snapshot: Option<EntryId>,
        entries: Vec<Entry>,
    ) -> Ticket {
        let last = entries.last().map(|entry| entry.id).or(snapshot);
        let ticket = self.writes.begin(now, last.map(|last| last.index), snapshot);
        self.effects.push(Effect::Persist(Write { ticket, hard_state, snapshot, entries }));
        ticket
    }

    /// Raises the commit index to `index`, which the caller has found on a commit quorum, or heard from the leader.
    pub(super) fn commit_to(&mut self, index: Index) {
        if index <= self.commit {
            return;
        }
        assert!(index <= self.last().index, "commit index {index} is past the log's end {}", self.last());
        self.commit = index;
        // Older configurations can come back only if a later one is cut, and a committed one never is.
        let superseded = self.configurations.iter().filter(|(at, _)| *at <= index).count().saturating_sub(1);
        self.configurations.drain(..superseded);
        self.tell(Event::Committed { index });
    }

    /// Sends a message of the current term that promises nothing about the log.
    pub(super) fn send(&mut self, to: NodeId, body: Body) {
        self.send_in(self.term(), to, body);
    }

    pub(super) fn send_in(&mut self, term: Term, to: NodeId, body: Body) {
        let after = self.hard_state_ticket;
        self.effects.push(Effect::Send { to, message: Message { term, body }, after });
    }

    /// Sends a message that relies on everything written so far.
    pub(super) fn send_when_durable(&mut self, to: NodeId, body: Body) {
        let after = self.writes.last_ticket();
        self.effects.push(Effect::Send { to, message: Message { term: self.term(), body }, after });
    }

    /// The write that holds the current term and vote.
    pub(super) fn hard_state_ticket(&self) -> Ticket {
        self.hard_state_ticket
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.effects.push(Effect::Tell(event));
    }

    /// All other members.
    pub(super) fn peers(&self) -> Vec<NodeId> {
        self.configuration().members().filter(|member| *member != self.id).collect()
    }

    /// A node that its own latest configuration leaves out may have to lead once more: the entry that does so may be on its
    /// disk only, and then nobody else's log is as up to date (dissertation, section 4.2.2). Once that is committed, a leader
    /// tells it that it is removed.
    pub(super) fn may_campaign(&self, now: Time) -> bool {
        let is_voter = self.configurations.iter().any(|(_, configuration)| configuration.is_voter(self.id));
        is_voter && self.removed.is_none() && !self.retired && !self.disk_is_stalled(now)
    }

    pub(super) fn disk_is_stalled(&self, now: Time) -> bool {
        self.writes.is_stalled(now, self.options.disk_stall_max)
    }

    /// Safety is in doubt because of something that came from outside: stand still, loudly.
    pub fn quarantine(&mut self, why: String) {
        self.tell(Event::Quarantined { why: why.clone() });
        self.set_role(Role::Follower(Follower::default()));
        self.quarantined = Some(why);
    }
}
