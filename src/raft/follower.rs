//! The follower: appends what the leader sends, and answers (paper, section 5.3).

use super::core::{Raft, Role};
use super::read_index::Question;
use super::{AppendReply, Body, Entry, Event, OpaqueTime, Pace, RoleName};
use crate::ids::{EntryId, Index, NodeId, Term, Time};

/// What only a follower knows.
#[derive(Debug, Default)]
pub(super) struct Follower {
    /// The leader of the term, and when it was last heard.
    pub(super) leader: Option<(NodeId, Time)>,
    /// What it was asked and has not answered, in the order of asking. Bounded by the reads of whoever drives this member.
    pub(super) questions: Vec<Question>,
    /// It gave its vote and waits for what comes of it.
    pub(super) has_voted: bool,
    /// The last snapshot that it told to want.
    pub(super) wanted: Option<EntryId>,
}

/// What an AppendEntries says.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) previous: EntryId,
    pub(super) commit: Index,
    pub(super) entries: Vec<Entry>,
    pub(super) attempt: u64,
}

/// What a Heartbeat says.
#[derive(Debug)]
pub(super) struct Heartbeat {
    pub(super) commit: Index,
    pub(super) sent_at: Time,
    pub(super) read_round: u64,
    pub(super) fresh: Option<(OpaqueTime, Index)>,
    pub(super) timing: Option<Pace>,
}

impl Raft {
    pub(super) fn on_append_entries(&mut self, now: Time, from: NodeId, append: Append) {
        if !are_in_order(append.previous, &append.entries, self.term()) {
            return self.tell(Event::Ignored { from, why: "its entries do not follow each other" });
        }
        if !self.follow(now, from) {
            return;
        }
        self.heard_commit = self.heard_commit.max(append.commit);
        let start = self.log.start().index;
        let Append { previous, commit: leader_commit, entries, attempt } = append.after(start);
        // What ends before the start is known to be the same: both have come of what is committed.
        if previous.index >= start && !self.log.has(previous) {
            self.reject_append(from, previous, attempt);
            return;
        }
        let last = entries.last().map_or(previous, |entry| entry.id);
        let known = entries.iter().take_while(|entry| self.log.has(entry.id)).count();
        let unknown: Vec<Entry> = entries.into_iter().skip(known).collect();
        if let Some(first) = unknown.first() {
            let first = first.id;
            if first.index <= self.commit {
                self.quarantine(format!("leader {from} sends entry {first}, where another one is committed"));
                return;
            }
            if first.index <= self.last().index {
                self.truncate(first.index);
            }
            self.append(now, unknown);
        }
        self.send_when_durable(from, Body::AppendReply(AppendReply::Accepted(last)));
        self.commit_to(leader_commit.min(last.index));
    }

    fn reject_append(&mut self, from: NodeId, previous: EntryId, attempt: u64) {
        if previous.index <= self.commit {
            self.quarantine(format!("leader {from} has entry {previous}, where another one is committed"));
            return;
        }
        let hint = self.log.last_not_after(EntryId::new(previous.term, previous.index.previous()));
        self.send_when_durable(from, Body::AppendReply(AppendReply::Rejected { previous, hint, attempt }));
    }

    pub(super) fn on_heartbeat(&mut self, now: Time, from: NodeId, heartbeat: Heartbeat) {
        let Heartbeat { commit, sent_at, read_round, fresh, timing } = heartbeat;
        if !self.follow(now, from) {
            return;
        }
        self.measured.on_heartbeat(now, from, timing);
        self.tell(Event::HeartbeatAnswered { leader: from });
        // The leader names no more than what it knows this log to share with its own.
        self.commit_to(commit.min(self.last().index));
        if let Some((clock, index)) = fresh {
            self.on_fresh(now, clock, index);
        }
        self.send(from, Body::HeartbeatReply { sent_at, read_round, clock: self.clock(now) });
    }

    /// Takes `from` for the leader of the term. False when that cannot be.
    pub(super) fn follow(&mut self, now: Time, from: NodeId) -> bool {
        let term = self.term();
        match &mut self.role {
            Role::Follower(follower) => match follower.leader {
                Some((leader, _)) if leader != from => {
                    self.quarantine(format!("term {term} has two leaders: {leader} and {from}"));
                    return false;
                }
                Some(_) => follower.leader = Some((from, now)),
                None => {
                    follower.leader = Some((from, now));
                    self.tell(Event::FollowsLeader { leader: from, term });
                }
            },
            Role::PreCandidate(_) | Role::Candidate(_) => {
                self.set_role(Role::Follower(Follower { leader: Some((from, now)), ..Follower::default() }));
                let cause = "another node leads the term";
                self.tell(Event::RoleChanged { role: RoleName::Follower, term, cause });
                self.tell(Event::FollowsLeader { leader: from, term });
            }
            Role::Leader(_) => {
                self.quarantine(format!("term {term} has two leaders: {} and {from}", self.id));
                return false;
            }
        }
        self.measured.on_leader_heard();
        self.reset_election_timer(now);
        true
    }

    /// Somebody who knows says that this node is no member any more. Only committed configurations are told, and no id ever
    /// comes back, so it stays true; a node that knows a later configuration has heard of something else.
    pub(super) fn on_removed(&mut self, now: Time, index: Index) {
        if self.removed.is_some() || index < self.configuration_index() {
            return;
        }
        self.removed = Some(index);
        self.tell(Event::WasRemoved { index });
        let term = self.term();
        self.become_follower(now, term, "this node is no member any more");
    }
}

impl Append {
    /// The part of it after `start`, with the entry before that as `previous`; nothing but the last entry when it ends before.
    fn after(mut self, start: Index) -> Self {
        let skipped = self.entries.iter().take_while(|entry| entry.id.index <= start).count();
        self.previous = self.entries.drain(..skipped).last().map_or(self.previous, |entry| entry.id);
        self
    }
}

/// True for what a leader of `term` can send: entries without a gap after `previous`, whose terms never fall.
fn are_in_order(previous: EntryId, entries: &[Entry], term: Term) -> bool {
    let mut before = previous;
    let follows = |Entry { id, .. }: &Entry| {
        let is_next = id.index > before.index && id.index.previous() == before.index;
        is_next && id.term >= std::mem::replace(&mut before, *id).term
    };
    entries.iter().all(follows) && before.term <= term
}
