//! What a replica does as the leader besides proposing: it changes the membership, hands over, and minds that it still leads.

use super::pending::Proposal;
use super::replica::Replica;
use super::{Answer, Refusal, RequestId};
use crate::ids::{EntryId, NodeId, Time};
use crate::raft::{ChangeRefused, MembershipChange, TransferRefused};

/// A transfer of leadership that has not been answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    request: RequestId,
    to: NodeId,
    /// Answered then, also when nobody is known to lead.
    pub(super) until: Time,
}

impl Replica {
    /// Whoever waits for a leader that leads no more is told so.
    pub(super) fn mind_leadership(&mut self) {
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
        // What is committed is going to be applied, and answered with what that brings.
        let unknown = self.pending.drain_unless(|id| self.raft.is_committed(id));
        self.answer_unknown(unknown);
        if let Some((request, at)) = self.change.take() {
            self.answer(request, Err(Refusal::OutcomeUnknown { at, retry_is_exact: true }));
        }
        let refusal = self.not_leader();
        for parked in self.waiting.drain() {
            self.answer(parked.request, Err(refusal.clone()));
        }
    }

    /// Nobody here will learn what becomes, or became, of these.
    pub(super) fn answer_unknown(&mut self, proposals: Vec<(EntryId, Proposal)>) {
        for (at, proposal) in proposals {
            let retry_is_exact = proposal.execute.session.is_some();
            self.answer(proposal.request, Err(Refusal::OutcomeUnknown { at, retry_is_exact }));
        }
    }

    pub(super) fn change_membership(&mut self, now: Time, request: RequestId, change: MembershipChange) {
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
    pub(super) fn answer_change(&mut self) {
        let index = self.raft.configuration_index();
        if let Some((request, begun)) = self.change
            && index >= begun.index
            && self.raft.membership_is_anchored()
        {
            self.change = None;
            self.answer(request, Ok(Answer::MembershipChanged { index }));
        }
    }

    pub(super) fn transfer_leadership(&mut self, now: Time, request: RequestId, to: Option<NodeId>) {
        if let Some(refusal) = self.refusal() {
            return self.answer(request, Err(refusal));
        }
        if let Some(Transfer { to, .. }) = &self.transfer {
            // It has ended, and is answered at the end of this turn.
            let refused = TransferRefused::InProgress(*to);
            return self.answer(request, Err(Refusal::Transfer(refused)));
        }
        match self.raft.transfer_leadership(now, to) {
            Ok(to) => {
                let until = now + 2 * self.raft.patience();
                self.transfer = Some(Transfer { request, to, until });
            }
            Err(refused) => self.answer(request, Err(Refusal::Transfer(refused))),
        }
    }

    /// Answers a transfer once this node knows who leads instead, or that it goes on itself.
    pub(super) fn answer_transfer(&mut self, now: Time) {
        let Some(Transfer { request, to, until }) = self.transfer else { return };
        let leader = self.raft.leader();
        let is_open = self.raft.transfer_target().is_some() || (leader.is_none() && now < until);
        if self.raft.quarantined().is_some() {
            self.transfer = None;
            self.answer(request, Err(Refusal::Quarantined));
        } else if !is_open {
            self.transfer = None;
            let is_done = leader == Some(to);
            let answer = if is_done {
                Ok(Answer::LeadershipTransferred { to })
            } else {
                Err(Refusal::NotTransferred { to, leader })
            };
            self.answer(request, answer);
        }
    }
}
