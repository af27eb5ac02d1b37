//! Leadership transfer (dissertation, section 3.10).
//!
//! ```text
//!    transfer_leadership    the leader takes no proposals from here on
//!    the target has the whole log, and all of it is committed: no client is left without an outcome
//!    TimeoutNow             the target campaigns at once; who hears the leader votes for it all the same
//!    a later term is seen, or the time is over and the leader goes on
//! ```
//!
//! A leader that a configuration leaves out takes no proposals after that one either, and hands over when it is committed.

use std::cmp::Reverse;

use super::core::{Raft, Role};
use super::{Body, Event};
use crate::ids::{EntryId, NodeId, Time};

/// Leadership on its way to another voter.
#[derive(Debug)]
pub(super) struct Transfer {
    to: NodeId,
    /// Given up then, unless it has succeeded.
    pub(super) until: Time,
}

/// Why leadership is not transferred. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferRefused {
    /// Only the leader can hand over.
    #[error("this node is not the leader")]
    NotLeader,
    /// The leader has been removed, and hands over by itself when that is committed.
    #[error("this node is leaving the cluster and hands over by itself")]
    Leaving,
    /// The leader is to hand over to itself.
    #[error("this node leads already")]
    AlreadyLeads,
    /// One at a time.
    #[error("leadership is being handed over to {0} already")]
    InProgress(NodeId),
    /// The node is no member.
    #[error("node {0} is not a member")]
    UnknownMember(NodeId),
    /// A learner, or a voter that leaves with the joint configuration now in force.
    #[error("node {0} is not a voter that stays, so it cannot lead")]
    NotVoter(NodeId),
    /// The leader has not heard the node lately, or its connection to it broke.
    #[error("node {0} does not answer, so it cannot take over")]
    NotHeard(NodeId),
    /// The node must have a snapshot first, which can take long.
    #[error("node {0} is being sent a snapshot, so it cannot take over yet")]
    NeedsSnapshot(NodeId),
    /// No other voter could take over.
    #[error("there is no other voter that answers, so nobody can take over")]
    NoCandidate,
}

impl Raft {
    /// Hands leadership over to a voter, or to the one with the most of the log. Returns who that is. It has succeeded when this
    /// member follows another leader, and was given up when `transfer_target` is none while it still leads; until then it
    /// takes no proposals.
    ///
    /// # Errors
    /// The transfer is refused; nothing was changed.
    pub fn transfer_leadership(&mut self, now: Time, to: Option<NodeId>) -> Result<NodeId, TransferRefused> {
        self.check_transfer()?;
        let to = match to {
            Some(to) => self.check_target(now, to)?,
            None => self.successor(now).ok_or(TransferRefused::NoCandidate)?,
        };
        let until = now + self.patience();
        if let Role::Leader(leader) = &mut self.role {
            leader.transfer = Some(Transfer { to, until });
        }
        self.tell(Event::TransferBegun { to });
        self.pursue_transfer();
        Ok(to)
    }

    /// Who is to lead, while this member hands over.
    pub fn transfer_target(&self) -> Option<NodeId> {
        match &self.role {
            Role::Leader(leader) => leader.transfer.as_ref().map(|transfer| transfer.to),
            _ => None,
        }
    }

    /// True when this member leads and does not hand over, nor is about to because it was removed.
    pub fn takes_proposals(&self) -> bool {
        self.is_leader() && self.transfer_target().is_none() && self.configuration().is_member(self.id)
    }

    fn check_transfer(&self) -> Result<(), TransferRefused> {
        if !self.is_leader() {
            return Err(TransferRefused::NotLeader);
        }
        if !self.configuration().is_member(self.id) {
            return Err(TransferRefused::Leaving);
        }
        self.transfer_target().map_or(Ok(()), |to| Err(TransferRefused::InProgress(to)))
    }

    fn check_target(&self, now: Time, to: NodeId) -> Result<NodeId, TransferRefused> {
        let configuration = self.configuration();
        if to == self.id {
            Err(TransferRefused::AlreadyLeads)
        } else if !configuration.is_member(to) {
            Err(TransferRefused::UnknownMember(to))
        } else if !configuration.voters.contains(&to) {
            Err(TransferRefused::NotVoter(to))
        } else if !self.is_well(now, to) {
            Err(TransferRefused::NotHeard(to))
        } else if self.needs_snapshot(to) {
            Err(TransferRefused::NeedsSnapshot(to))
        } else {
            Ok(to)
        }
    }

    /// Of the other voters that are well and do not need a snapshot first, the one with the most of the log.
    pub(super) fn successor(&self, now: Time) -> Option<NodeId> {
        let voters = self.configuration().voters.iter().copied();
        let is_able = |voter: &NodeId| self.is_well(now, *voter) && !self.needs_snapshot(*voter);
        let able = voters.filter(|voter| *voter != self.id && is_able(voter));
        able.max_by_key(|voter| (self.matched(*voter), Reverse(*voter)))
    }

    /// Tells the target to campaign, if all is ready for it. A message that is lost is sent again with the next heartbeats.
    pub(super) fn pursue_transfer(&mut self) {
        let last = self.last().index;
        if let Some(to) = self.transfer_target()
            && self.matched(to) == last
            && self.commit() == last
        {
            self.send_timeout_now(to);
        }
    }

    pub(super) fn send_timeout_now(&mut self, to: NodeId) {
        let last = self.last();
        self.tell(Event::TimeoutNowSent { to });
        self.send(to, Body::TimeoutNow { last });
    }

    /// Gives up when the time is over. Should the target win later, that is an election like any other.
    pub(super) fn give_up_transfer(&mut self, now: Time) {
        self.give_up_transfer_if(|transfer| transfer.until <= now);
    }

    /// Gives up when the target has gone: it may never come back, and requests wait.
    pub(super) fn give_up_transfer_to(&mut self, gone: NodeId) {
        self.give_up_transfer_if(|transfer| transfer.to == gone);
    }

    fn give_up_transfer_if(&mut self, is_over: impl Fn(&Transfer) -> bool) {
        let Role::Leader(leader) = &mut self.role else { return };
        if let Some(Transfer { to, .. }) = leader.transfer.take_if(|transfer| is_over(transfer)) {
            self.tell(Event::TransferGivenUp { to });
        }
    }

    /// The leader wants this member to take over.
    pub(super) fn on_timeout_now(&mut self, now: Time, from: NodeId, last: EntryId) {
        let follows = matches!(&self.role, Role::Follower(it) if it.leader.is_some_and(|(leader, _)| leader == from));
        let ignore = |why| Event::Ignored { from, why };
        if !follows {
            self.tell(ignore("it wants to hand over and is not the leader of this node"));
        } else if last != self.last() {
            self.tell(ignore("it wants to hand over and has gone on meanwhile"));
        } else if !self.may_campaign(now) {
            self.tell(ignore("it wants to hand over, and this node cannot lead"));
        } else {
            self.tell(Event::TimeoutNowReceived { from });
            self.become_candidate(now, true);
        }
    }
}
