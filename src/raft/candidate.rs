//! Elections: asking for votes, giving them and refusing them (paper, section 5.2; dissertation, sections 4.2.3 and 9.6).
//!
//! Pre-vote, check-quorum (in `leader.rs`) and the refusal of votes while a leader is heard belong together: each alone fails
//! under some partial partition.

use std::collections::BTreeSet;

use super::core::{Raft, Role};
use super::{Body, Event, RoleName, VoteRefusal};
use crate::ids::{EntryId, NodeId, Term, Ticket, Time};

/// What a candidate has been granted.
#[derive(Debug)]
pub(super) struct Votes {
    granted: BTreeSet<NodeId>,
    /// The write that makes the own vote durable; only then it counts.
    pub(super) ticket: Ticket,
}

impl Raft {
    /// Asks whether an election would be won, without raising the term.
    pub(super) fn become_pre_candidate(&mut self, now: Time) {
        let cause = match &self.role {
            Role::Follower(follower) if follower.leader.is_some() => "the leader was not heard in time",
            Role::Candidate(_) => "the election had no winner in time",
            Role::PreCandidate(_) => "the pre-vote had no majority in time",
            _ => "no leader is known",
        };
        self.reset_election_timer(now);
        let granted = BTreeSet::from([self.id]);
        self.set_role(Role::PreCandidate(Votes { granted, ticket: Ticket(0) }));
        let term = self.term();
        self.tell(Event::RoleChanged { role: RoleName::PreCandidate, term, cause });
        for peer in self.begin_election(true, self.term().next()) {
            self.send_in(self.term().next(), peer, Body::PreVote { last: self.last() });
        }
        self.count_votes(now);
    }

    /// Asks for votes in a term of its own; with `transfer` because the leader wants so.
    pub(super) fn become_candidate(&mut self, now: Time, transfer: bool) {
        self.reset_election_timer(now);
        let term = self.term().next();
        self.raise_term(now, term, Some(self.id));
        self.set_role(Role::Candidate(Votes { granted: BTreeSet::new(), ticket: self.hard_state_ticket() }));
        let cause = if transfer { "the leader hands over to it" } else { "the pre-vote was won" };
        self.tell(Event::RoleChanged { role: RoleName::Candidate, term, cause });
        for peer in self.begin_election(false, term) {
            self.send(peer, Body::RequestVote { last: self.last(), transfer });
        }
    }

    /// The others whose votes are to be asked for.
    fn begin_election(&mut self, pre_vote: bool, term: Term) -> Vec<NodeId> {
        let last = self.last();
        let others: Vec<NodeId> =
            self.peers().into_iter().filter(|peer| self.configuration().is_voter(*peer)).collect();
        if !others.is_empty() {
            self.tell(Event::VoteAsked { pre_vote, term, last });
        }
        others
    }

    /// The candidate's own vote counts like any other: once it is durable.
    pub(super) fn on_own_vote_durable(&mut self, now: Time) {
        let id = self.id;
        self.on_vote(now, id);
    }

    fn on_vote(&mut self, now: Time, from: NodeId) {
        if let Role::PreCandidate(votes) | Role::Candidate(votes) = &mut self.role {
            votes.granted.insert(from);
        }
        self.count_votes(now);
    }

    fn count_votes(&mut self, now: Time) {
        let won = |votes: &Votes| self.configuration().has_majority(|voter| votes.granted.contains(&voter));
        match &self.role {
            Role::PreCandidate(votes) if won(votes) => self.become_candidate(now, false),
            Role::Candidate(votes) if won(votes) => self.become_leader(now),
            _ => {}
        }
    }

    pub(super) fn on_pre_vote_granted(&mut self, now: Time, from: NodeId, term: Term) {
        if matches!(self.role, Role::PreCandidate(_)) && term == self.term().next() {
            self.tell(Event::VoteReceived { pre_vote: true, from, term });
            self.on_vote(now, from);
        }
    }

    pub(super) fn on_pre_vote_refused(&mut self, from: NodeId, refusal: VoteRefusal) {
        if matches!(self.role, Role::PreCandidate(_)) {
            self.tell(Event::VoteDenied { pre_vote: true, from, refusal });
        }
    }

    pub(super) fn on_request_vote_reply(&mut self, now: Time, from: NodeId, refusal: Option<VoteRefusal>) {
        if !matches!(self.role, Role::Candidate(_)) {
            return;
        }
        match refusal {
            Some(refusal) => self.tell(Event::VoteDenied { pre_vote: false, from, refusal }),
            None => {
                let term = self.term();
                self.tell(Event::VoteReceived { pre_vote: false, from, term });
                self.on_vote(now, from);
            }
        }
    }

    pub(super) fn on_pre_vote(&mut self, now: Time, from: NodeId, term: Term, last: EntryId) {
        if self.tell_if_removed(from) {
            return;
        }
        let refusal = if term <= self.term() {
            Some(VoteRefusal::StaleTerm)
        } else if self.hears_leader(now) {
            Some(VoteRefusal::LeaderAlive)
        } else {
            self.objection(last)
        };
        let reply = Body::PreVoteReply { refusal };
        match refusal {
            None => {
                self.tell(Event::VoteGranted { pre_vote: true, to: from, term });
                self.send_in(term, from, reply);
            }
            Some(refusal) => {
                self.tell(Event::VoteRefused { pre_vote: true, to: from, refusal });
                self.send(from, reply);
                if refusal == VoteRefusal::LogBehind {
                    self.ask_again_who_asks(from);
                }
            }
        }
    }

    /// Who asks for pre-votes with a shorter log hears no leader any more. This member, if it asked before, may have been refused
    /// because of one, and would wait in vain for somebody else to win.
    fn ask_again_who_asks(&mut self, from: NodeId) {
        if let Role::PreCandidate(votes) = &self.role
            && !votes.granted.contains(&from)
            && self.configuration().is_voter(from)
        {
            self.send_in(self.term().next(), from, Body::PreVote { last: self.last() });
        }
    }

    pub(super) fn on_request_vote(&mut self, now: Time, from: NodeId, term: Term, last: EntryId, transfer: bool) {
        if self.tell_if_removed(from) {
            return;
        }
        let refusal = self.consider_vote(now, from, term, last, transfer);
        match refusal {
            None => {
                self.raise_term(now, term, Some(from));
                self.reset_election_timer(now);
                self.tell(Event::VoteGranted { pre_vote: false, to: from, term });
            }
            Some(refusal) => self.tell(Event::VoteRefused { pre_vote: false, to: from, refusal }),
        }
        self.send(from, Body::RequestVoteReply { refusal });
    }

    fn consider_vote(
        &mut self,
        now: Time,
        from: NodeId,
        term: Term,
        last: EntryId,
        transfer: bool,
    ) -> Option<VoteRefusal> {
        if term < self.term() {
            return Some(VoteRefusal::StaleTerm);
        }
        if self.hears_leader(now) && !transfer {
            // The term is not raised either: a voter that was cut off must not unseat a leader that the others hear.
            return Some(VoteRefusal::LeaderAlive);
        }
        if term > self.term() {
            self.become_follower(now, term, "a candidate of a later term asks for votes");
        }
        let voted_for_another = self.hard_state.vote.is_some_and(|vote| vote != from);
        if voted_for_another {
            return Some(VoteRefusal::AlreadyVoted);
        }
        self.objection(last)
    }

    fn objection(&self, last: EntryId) -> Option<VoteRefusal> {
        (last < self.last()).then_some(VoteRefusal::LogBehind)
    }

    /// A leader hears itself: check-quorum ends its leadership when nobody else does.
    fn hears_leader(&self, now: Time) -> bool {
        match &self.role {
            Role::Leader(_) => true,
            Role::Follower(follower) => {
                let is_recent = |heard_at| now - heard_at < self.timeouts().election_min;
                follower.leader.is_some_and(|(_, heard_at)| is_recent(heard_at))
            }
            Role::PreCandidate(_) | Role::Candidate(_) => false,
        }
    }
}
