//! Elections: asking for votes, giving them and refusing them (paper, section 5.2; dissertation, sections 4.2.3 and 9.6).
//!
//! Pre-vote, check-quorum (in `leader.rs`) and the refusal of votes while a leader is heard belong together: each alone fails
//! under some partial partition.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::core::{Raft, Role};
use super::{Body, Event, RoleName, VoteRefusal};
use crate::ids::{EntryId, NodeId, Term, Ticket, Time};

/// What a candidate has been granted.
#[derive(Debug)]
pub(super) struct Votes {
    /// By whom, and when that came.
    granted: BTreeMap<NodeId, Time>,
    /// Who has refused its vote of this term.
    denied: BTreeSet<NodeId>,
    /// When they were asked for first.
    asked_at: Time,
    /// When all that have not granted them were last asked.
    asked_again_at: Time,
    /// The write that makes the own vote durable; only then it counts.
    pub(super) ticket: Ticket,
    /// The leader hands over.
    transfer: bool,
}

impl Votes {
    fn new(now: Time, ticket: Ticket, transfer: bool) -> Self {
        Self { granted: BTreeMap::new(), denied: BTreeSet::new(), asked_at: now, asked_again_at: now, ticket, transfer }
    }
}

impl Raft {
    /// Asks whether an election would be won, without raising the term.
    pub(super) fn become_pre_candidate(&mut self, now: Time) {
        let cause = match &self.role {
            Role::Follower(follower) if follower.leader.is_some() => "the leader was not heard in time",
            Role::Follower(follower) if follower.has_voted => "the one that it voted for was not heard in time",
            Role::Candidate(_) => "the election had no winner in time",
            Role::PreCandidate(_) => "the pre-vote had no majority in time",
            _ => "no leader is known",
        };
        let is_first = matches!(&self.role, Role::Follower(follower) if !follower.has_voted);
        if !is_first {
            self.measured.on_attempt();
        }
        let votes = self.pre_votes(now);
        self.wait_for_votes(now, Duration::ZERO);
        self.set_role(Role::PreCandidate(votes));
        let term = self.term();
        self.tell(Event::RoleChanged { role: RoleName::PreCandidate, term, cause });
        for peer in self.begin_election(true, self.term().next()) {
            self.send_in(self.term().next(), peer, Body::PreVote { last: self.last() });
        }
        self.count_votes(now);
    }

    /// What a pre-candidate begins with. Where messages take longer than it waits, answers come to what it asked before: they
    /// count as long as they are not much older than the wait, since who granted one may hear a leader again.
    fn pre_votes(&self, now: Time) -> Votes {
        let mut votes = match &self.role {
            Role::PreCandidate(Votes { granted, asked_at, .. }) => {
                Votes { granted: granted.clone(), asked_at: *asked_at, ..Votes::new(now, Ticket(0), false) }
            }
            _ => Votes::new(now, Ticket(0), false),
        };
        let (_, longest_wait) = self.measured.candidate_wait(Duration::ZERO);
        votes.granted.retain(|_, at| now - *at <= longest_wait);
        votes.granted.insert(self.id, now);
        votes
    }

    /// Asks for votes in a term of its own; with `transfer` because the leader wants so.
    pub(super) fn become_candidate(&mut self, now: Time, transfer: bool) {
        let pre_vote = match &self.role {
            Role::PreCandidate(votes) => now - votes.asked_at,
            _ => Duration::ZERO,
        };
        self.wait_for_votes(now, pre_vote);
        let term = self.term().next();
        self.raise_term(now, term, Some(self.id));
        let ticket = self.hard_state_ticket();
        self.set_role(Role::Candidate(Votes::new(now, ticket, transfer)));
        let cause = if transfer { "the leader hands over to it" } else { "the pre-vote was won" };
        self.tell(Event::RoleChanged { role: RoleName::Candidate, term, cause });
        for peer in self.begin_election(false, term) {
            self.send(peer, Body::RequestVote { last: self.last(), transfer });
        }
    }

    /// There is a connection to `peer` again, and what it was asked before is lost.
    pub(super) fn ask_for_vote_again(&mut self, now: Time, peer: NodeId) {
        if self.repeat_vote_request(peer)
            && let Role::PreCandidate(votes) = &mut self.role
        {
            votes.asked_at = now;
        }
    }

    /// Asks those once more that have not granted a vote. On a link that loses packets, what is lost last is sent again after long:
    /// nothing behind it tells TCP of the loss. What is asked again does, and so does its answer.
    pub(super) fn ask_for_votes_again(&mut self, now: Time) {
        if self.ask_for_votes_again_at().is_none_or(|at| now < at) {
            return;
        }
        if let Role::PreCandidate(votes) | Role::Candidate(votes) = &mut self.role {
            votes.asked_again_at = now;
        }
        for peer in self.peers() {
            self.repeat_vote_request(peer);
        }
    }

    /// Asks a voter for what it has not granted yet. False: there is nothing to ask it for.
    fn repeat_vote_request(&mut self, peer: NodeId) -> bool {
        let (last, term) = (self.last(), self.term());
        match &self.role {
            Role::PreCandidate(votes) | Role::Candidate(votes)
                if !self.configuration().is_voter(peer) || votes.granted.contains_key(&peer) =>
            {
                return false;
            }
            Role::PreCandidate(_) => self.send_in(term.next(), peer, Body::PreVote { last }),
            Role::Candidate(Votes { transfer, .. }) => {
                let transfer = *transfer;
                self.send(peer, Body::RequestVote { last, transfer });
            }
            Role::Follower(_) | Role::Leader(_) => return false,
        }
        true
    }

    /// When `ask_for_votes_again` has something to do.
    pub(super) fn ask_for_votes_again_at(&self) -> Option<Time> {
        match &self.role {
            Role::PreCandidate(votes) | Role::Candidate(votes) => {
                Some(votes.asked_again_at + self.measured.vote_interval()?)
            }
            _ => None,
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
            votes.granted.insert(from, now);
        }
        self.count_votes(now);
    }

    fn count_votes(&mut self, now: Time) {
        let won = |votes: &Votes| self.configuration().has_majority(|voter| votes.granted.contains_key(&voter));
        match &self.role {
            Role::PreCandidate(votes) if won(votes) => self.become_candidate(now, false),
            Role::Candidate(votes) if won(votes) => self.become_leader(now, now - votes.asked_at),
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
            Some(refusal) => {
                self.tell(Event::VoteDenied { pre_vote: false, from, refusal });
                self.on_vote_denied(now, from);
            }
            None => {
                let term = self.term();
                self.tell(Event::VoteReceived { pre_vote: false, from, term });
                self.on_vote(now, from);
            }
        }
    }

    /// A candidate that cannot win any more waits no longer than somebody else takes who can.
    fn on_vote_denied(&mut self, now: Time, from: NodeId) {
        let Role::Candidate(votes) = &mut self.role else { return };
        if !votes.denied.insert(from) {
            return;
        }
        let Role::Candidate(votes) = &self.role else { return };
        let can_win = self.configuration().has_majority(|voter| !votes.denied.contains(&voter));
        if !can_win {
            self.wait_for_rival(now);
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
        self.mind_rival(now, from, term, last);
        match refusal {
            None => {
                self.tell(Event::VoteGranted { pre_vote: true, to: from, term });
                self.send_in(term, from, reply);
            }
            Some(refusal) => {
                self.tell(Event::VoteRefused { pre_vote: true, to: from, refusal });
                self.send(from, reply);
            }
        }
    }

    /// Somebody else asks for pre-votes of the same term. Where two win them at a time, each has its own vote and often neither
    /// wins: of two with equal logs the one with the lower id gives way, and asks again if nothing comes of it. One with a worse
    /// log cannot win; but it hears no leader, which can be news, and why it had refused before.
    fn mind_rival(&mut self, now: Time, rival: NodeId, term: Term, last: EntryId) {
        let has_granted = match &self.role {
            Role::PreCandidate(votes) if term == self.term().next() => votes.granted.contains_key(&rival),
            _ => return,
        };
        if !self.configuration().is_voter(rival) {
            return;
        }
        if (last, rival) > (self.last(), self.id) {
            self.measured.on_attempt();
            self.become_follower(now, self.term(), "another node with as good a claim asks for votes");
        } else if self.objection(last).is_some() && !has_granted {
            self.ask_for_vote_again(now, rival);
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
                self.wait_for_votes(now, Duration::ZERO);
                if let Role::Follower(follower) = &mut self.role {
                    follower.has_voted = true;
                }
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
                let is_recent = |heard_at| now - heard_at < self.timeouts().election_min || self.was_starved(now);
                follower.leader.is_some_and(|(_, heard_at)| is_recent(heard_at))
            }
            Role::PreCandidate(_) | Role::Candidate(_) => false,
        }
    }
}
