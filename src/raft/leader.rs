//! The leader: proposes, replicates, commits, and steps down when it must (paper, sections 5.3, 5.4 and 8).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::core::{Raft, Role};
use super::progress::{Progress, ProgressView};
use super::read_index::Reads;
use super::transfer::Transfer;
use super::{AppendReply, Body, Effect, Entry, Event, OpaqueTime, Payload, RoleName};
use crate::ids::{EntryId, Index, NodeId, Time};

/// What only a leader knows.
#[derive(Debug)]
pub(super) struct Leader {
    /// Every other member.
    pub(super) progress: BTreeMap<NodeId, Progress>,
    /// When the next heartbeat is due.
    pub(super) heartbeat_at: Time,
    /// The entry with which the term began.
    pub(super) noop: Index,
    /// Members that a change has left out. They are told once it is committed.
    pub(super) left: Vec<NodeId>,
    pub(super) reads: Reads,
    pub(super) transfer: Option<Transfer>,
    since: Time,
    /// Until then nobody's silence counts: this leader was starved.
    excused_until: Time,
}

/// Why nothing was proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposalRefused {
    /// Only the leader proposes.
    #[error("not the leader")]
    NotLeader,
    /// The leader hands over. Either somebody else will lead soon, or it takes proposals again.
    #[error("leadership is being handed over")]
    HandingOver,
}

impl Leader {
    /// When a tick has something to do.
    pub(super) fn next_deadline(&self) -> Time {
        match &self.transfer {
            _ if self.reads.want_round() => Time(0),
            Some(transfer) => transfer.until.min(self.heartbeat_at),
            None => self.heartbeat_at,
        }
    }
}

impl Raft {
    /// Gives commands their place in the log. Returns the first entry; the others follow it.
    ///
    /// # Errors
    /// This member does not lead, or hands over.
    pub fn propose(&mut self, now: Time, commands: Vec<Bytes>) -> Result<EntryId, ProposalRefused> {
        if !self.is_leader() {
            return Err(ProposalRefused::NotLeader);
        }
        if !self.takes_proposals() {
            return Err(ProposalRefused::HandingOver);
        }
        Ok(self.propose_payloads(now, commands.into_iter().map(Payload::Command)))
    }

    pub(super) fn propose_payloads(&mut self, now: Time, payloads: impl IntoIterator<Item = Payload>) -> EntryId {
        let first = EntryId::new(self.term(), self.last().index.next());
        let indexes = std::iter::successors(Some(first.index), |index| Some(index.next()));
        let entries: Vec<Entry> = payloads
            .into_iter()
            .zip(indexes)
            .map(|(payload, index)| Entry { id: EntryId::new(first.term, index), payload })
            .collect();
        let last = entries.last().map_or(first, |entry| entry.id);
        self.tell(Event::Proposed { first, last });
        self.append(now, entries);
        self.replicate(now);
        first
    }

    /// Whose election took `election`.
    pub(super) fn become_leader(&mut self, now: Time, election: Duration) {
        self.measured.on_elected(election);
        let last = self.last().index;
        let progress = self.peers().into_iter().map(|peer| (peer, Progress::new(last, now))).collect();
        self.set_role(Role::Leader(Leader {
            progress,
            heartbeat_at: now,
            noop: last.next(),
            left: Vec::new(),
            reads: Reads::default(),
            transfer: None,
            since: now,
            excused_until: now,
        }));
        let term = self.term();
        self.tell(Event::RoleChanged { role: RoleName::Leader, term, cause: "a majority voted for it" });
        self.propose_payloads(now, [Payload::Noop]);
        self.tick_leader(now);
    }

    fn step_down(&mut self, now: Time, cause: &'static str) {
        let term = self.term();
        self.become_follower(now, term, cause);
    }

    pub(super) fn tick_leader(&mut self, now: Time) {
        if self.disk_is_stalled(now) {
            return self.step_down(now, "its disk does not finish writing");
        }
        if !self.is_heard_by_majority(now) && !self.is_excused(now) {
            return self.step_down(now, "a majority was not heard in time");
        }
        self.give_up_transfer(now);
        let Role::Leader(leader) = &mut self.role else { return };
        let is_due = leader.heartbeat_at <= now;
        if leader.reads.begin_round() || is_due {
            self.send_heartbeats(now);
            self.confirm_reads();
        }
        if is_due {
            self.tend_members(now);
        }
    }

    /// What is done with every interval of heartbeats.
    fn tend_members(&mut self, now: Time) {
        self.measured.on_heartbeats_sent();
        let (patience, heartbeat) = (self.patience(), self.timeouts().heartbeat);
        let Role::Leader(leader) = &mut self.role else { return };
        leader.heartbeat_at = now + heartbeat;
        for progress in leader.progress.values_mut() {
            progress.give_up_waiting(now, patience);
        }
        self.replicate(now);
        self.pursue_transfer();
        self.promote_caught_up(now);
    }

    /// This leader wanted to be called at `wanted` and was not. If a majority was heard then, nobody's silence counts until what
    /// waits has been heard.
    pub(super) fn excuse_silence(&mut self, wanted: Time, until: Time) {
        let was_heard = self.is_heard_by_majority(wanted);
        let Role::Leader(leader) = &mut self.role else { return };
        leader.progress.values_mut().for_each(|progress| progress.silence.forget());
        if was_heard {
            leader.excused_until = until;
        }
    }

    fn is_excused(&self, now: Time) -> bool {
        matches!(&self.role, Role::Leader(leader) if now < leader.excused_until)
    }

    /// Check-quorum (dissertation, section 6.2): a leader that a majority cannot answer must not go on.
    fn is_heard_by_majority(&self, now: Time) -> bool {
        let window = self.timeouts().election_max;
        let Role::Leader(leader) = &self.role else { return false };
        let is_heard = |node: NodeId| {
            node == self.id || leader.progress.get(&node).is_some_and(|progress| progress.was_heard(now, window))
        };
        now - leader.since <= window || self.configuration().has_majority(is_heard)
    }

    pub(super) fn send_heartbeats(&mut self, now: Time) {
        let commit = self.commit;
        let (led_at, knows_commit) = (self.led_at(now), self.has_committed_in_term());
        let read_round = self.read_round();
        let timing = Some(self.measured.pace());
        let Role::Leader(leader) = &mut self.role else { return };
        let heartbeat = |(peer, progress): (&NodeId, &mut Progress)| {
            progress.on_heartbeat_sent();
            let clock = progress.echo.confirm(led_at).filter(|_| knows_commit);
            let fresh = clock.map(|clock| (clock, commit));
            (*peer, Body::Heartbeat { commit: commit.min(progress.matched), sent_at: now, read_round, fresh, timing })
        };
        let heartbeats: Vec<(NodeId, Body)> = leader.progress.iter_mut().map(heartbeat).collect();
        if !heartbeats.is_empty() {
            self.tell(Event::HeartbeatSent { commit });
        }
        for (peer, heartbeat) in heartbeats {
            self.send(peer, heartbeat);
        }
    }

    /// Sends every member what it lacks and may be sent.
    pub(super) fn replicate(&mut self, now: Time) {
        for peer in self.peers() {
            self.replicate_to(now, peer);
        }
    }

    pub(super) fn replicate_to(&mut self, now: Time, peer: NodeId) {
        let last = self.last().index;
        let bytes_max = self.options.append_bytes_max;
        loop {
            let Role::Leader(leader) = &mut self.role else { return };
            let Some(progress) = leader.progress.get_mut(&peer) else { return };
            if progress.next <= self.log.start().index {
                return self.offer_snapshot(now, peer);
            }
            if progress.next > last || !progress.may_send(self.options.window) {
                return;
            }
            let from = progress.next;
            match self.log.entries(from, last, bytes_max) {
                Some(entries) => self.send_entries(now, peer, entries),
                None => {
                    progress.reading = true;
                    // What is not durable is in memory, and what the disk has there is not to be read.
                    let to = last.min(self.durable());
                    self.effects.push(Effect::ReadEntries { peer, from, to, bytes_max });
                }
            }
        }
    }

    fn send_entries(&mut self, now: Time, peer: NodeId, entries: Vec<Entry>) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        let previous = self.id_at(first.id.index.previous());
        let last = last.id.index;
        let bytes = entries.iter().map(Entry::size).sum();
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress.get_mut(&peer) else { return };
        progress.on_sent(last, bytes, now);
        let (commit, attempt) = (self.commit, progress.attempt());
        self.send(peer, Body::AppendEntries { previous, commit, entries, attempt });
    }

    /// Entries that `ReadEntries` asked for, for `peer`.
    pub fn on_entries_read(&mut self, now: Time, peer: NodeId, entries: Vec<Entry>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress.get_mut(&peer) else { return };
        progress.on_read(!entries.is_empty());
        // Meanwhile the leader can have lost its term, had its log cut and been elected again; or had it compacted.
        let starts_right = entries.first().is_some_and(|entry| entry.id.index == progress.next);
        let is_in_log = progress.next > self.log.start().index;
        let is_still_wanted = starts_right && is_in_log && progress.may_send(self.options.window);
        if is_still_wanted && entries.iter().all(|entry| self.log.has(entry.id)) {
            self.send_entries(now, peer, entries);
        }
        self.replicate_to(now, peer);
    }

    pub(super) fn on_heartbeat_reply(
        &mut self,
        now: Time,
        from: NodeId,
        sent_at: Time,
        read_round: u64,
        clock: OpaqueTime,
    ) {
        if !self.hear(now, from) {
            return;
        }
        self.tell(Event::HeartbeatHeard { from });
        // What was not sent was not answered, whatever the peer says.
        let (sent_at, read_round) = (sent_at.min(now), read_round.min(self.read_round()));
        // Who is a majority alone has nobody to learn from but learners: once one of them is a voter, it leads only as long as it
        // gives the answers the time that they take.
        let counts = self.configuration().is_voter(from) || self.configuration().has_majority(|voter| voter == self.id);
        if let Role::Leader(leader) = &mut self.role
            && let Some(progress) = leader.progress.get_mut(&from)
            && progress.on_heartbeat_answered(now, sent_at, read_round)
        {
            if counts {
                self.measured.on_answer(now, now - sent_at, &mut progress.silence);
            } else {
                // Should it count later, the time until then was no gap.
                progress.silence.forget();
            }
        }
        let led_at = self.led_at(now);
        if let Some(progress) = self.progress_mut(from) {
            progress.echo.on_clock(clock, now, led_at);
        }
        self.confirm_reads();
        self.replicate_to(now, from);
    }

    pub(super) fn on_append_reply(&mut self, now: Time, from: NodeId, reply: AppendReply) {
        if !self.hear(now, from) {
            return;
        }
        match reply {
            AppendReply::Accepted(id) => self.on_append_accepted(now, from, id),
            AppendReply::Rejected { previous, hint, attempt } => self.on_append_rejected(from, previous, hint, attempt),
        }
        self.replicate_to(now, from);
    }

    fn hear(&mut self, now: Time, from: NodeId) -> bool {
        match self.progress_mut(from) {
            Some(progress) => progress.on_heard(now),
            None => self.tell(Event::Ignored { from, why: "it answers something that is no longer asked" }),
        }
        self.progress(from).is_some()
    }

    /// What this member, while it leads, knows of each of the others; nothing otherwise.
    pub fn progress_views(&self) -> impl Iterator<Item = (NodeId, ProgressView)> {
        let leader = match &self.role {
            Role::Leader(leader) => Some(leader),
            _ => None,
        };
        leader.into_iter().flat_map(|leader| &leader.progress).map(|(peer, progress)| (*peer, progress.view()))
    }

    pub(super) fn progress(&self, peer: NodeId) -> Option<&Progress> {
        match &self.role {
            Role::Leader(leader) => leader.progress.get(&peer),
            _ => None,
        }
    }

    pub(super) fn progress_mut(&mut self, peer: NodeId) -> Option<&mut Progress> {
        match &mut self.role {
            Role::Leader(leader) => leader.progress.get_mut(&peer),
            _ => None,
        }
    }

    fn on_append_accepted(&mut self, now: Time, from: NodeId, id: EntryId) {
        let start = self.log.start().index;
        if id.index >= start && !self.log.has(id) {
            return self.tell(Event::Ignored { from, why: "it acknowledges an entry that the leader does not have" });
        }
        let short = self.timeouts().election_min;
        let last = self.last().index;
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress.get_mut(&from) else { return };
        let is_news = progress.on_accepted(id.index, start);
        let has_caught_up = progress.end_round(last, now, short);
        let matched = progress.matched;
        if has_caught_up && self.configuration().learners.contains_key(&from) {
            self.tell(Event::CaughtUp { learner: from });
        }
        if is_news {
            self.tell(Event::Replicated { to: from, matched });
            self.advance(now);
        }
    }

    fn on_append_rejected(&mut self, from: NodeId, previous: EntryId, hint: EntryId, attempt: u64) {
        let is_compacted = previous.index < self.log.start().index;
        if !is_compacted && !self.log.has(previous) {
            return self.tell(Event::Ignored { from, why: "it rejects an entry that the leader does not have" });
        }
        let next = self.log.last_not_after(hint).index.next();
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress.get_mut(&from) else { return };
        if progress.on_rejected(attempt, previous.index, next) {
            let next = progress.next;
            self.tell(Event::Mismatched { peer: from, next });
        }
    }

    /// Something became durable somewhere: commit what can be, and go on with a membership change.
    pub(super) fn advance(&mut self, now: Time) {
        self.leave_joint(now);
        let index = self.configuration().commit_index(|node| self.matched(node));
        // Entries of earlier terms are never committed by counting (paper, section 5.4.2).
        if index > self.commit && self.log.term_at(index) == Some(self.term()) {
            self.commit_to(index);
            self.give_reads_index();
            self.after_commit(now);
        }
        self.pursue_transfer();
    }

    /// A leader knows of everything that is committed once that holds for an entry of its own term.
    pub(super) fn has_committed_in_term(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.noop <= self.commit)
    }

    /// What `node` is known to have on disk. The leader's own disk counts like any other.
    pub(super) fn matched(&self, node: NodeId) -> Index {
        if node == self.id { self.durable() } else { self.progress(node).map_or(Index(0), |to| to.matched) }
    }

    /// Once a configuration is committed, those that it leaves out are told; a leader among them has done its last duty.
    fn after_commit(&mut self, now: Time) {
        if !self.membership_is_settled() {
            return;
        }
        let Role::Leader(leader) = &mut self.role else { return };
        let left = std::mem::take(&mut leader.left);
        let index = self.configuration_index();
        for node in left {
            self.send(node, Body::Removed { index });
        }
        if !self.configuration().is_member(self.id) {
            self.send_heartbeats(now);
            if let Some(heir) = self.successor(now) {
                self.send_timeout_now(heir);
            }
            self.on_removed(now, index);
        }
    }
}
