//! The leader changes the membership (paper, section 6; dissertation, chapter 4).
//!
//! One change at a time. A change may begin once an entry of the leader's own term is on a majority; a joint phase ends when
//! its entry is on a majority of each half. Both ask for a majority and not for the commit quorum: otherwise three voters
//! under `half_plus_one` could never replace a dead one.

use std::collections::BTreeSet;

use super::core::{Raft, Role};
use super::progress::Progress;
use super::{Body, ChangeRefused, Configuration, Learner, MembershipChange, Payload};
use crate::ids::{Contact, EntryId, Index, NodeId, Time};

impl Raft {
    /// Begins a membership change. It has ended when the membership is anchored.
    ///
    /// # Errors
    /// The change is refused; nothing was changed.
    pub fn change_membership(&mut self, now: Time, change: MembershipChange) -> Result<EntryId, ChangeRefused> {
        if !self.is_leader() {
            return Err(ChangeRefused::NotLeader);
        }
        if !self.membership_is_anchored() {
            return Err(ChangeRefused::InProgress);
        }
        if !self.takes_proposals() {
            return Err(ChangeRefused::HandingOver);
        }
        let next = self.configuration().changed(&change)?;
        if next.voters != self.configuration().voters {
            self.check_quorum_after(now, &next)?;
        }
        let introduction = match change {
            MembershipChange::AddLearner { contact, .. } => Some(contact),
            MembershipChange::Promote(learner) => {
                self.check_caught_up(learner)?;
                self.check_replaced_is_gone(now, learner)?;
                None
            }
            MembershipChange::Remove(_) => None,
        };
        Ok(self.propose_configuration(now, next, introduction))
    }

    /// True when this member leads and the configuration is on a majority of itself, together with an entry of the leader's own
    /// term: no later leader can be without it, and another change may begin.
    pub fn membership_is_anchored(&self) -> bool {
        !self.configuration().is_joint() && self.configuration_is_on_majority()
    }

    /// The same, of a joint configuration too: then on a majority of each half.
    fn configuration_is_on_majority(&self) -> bool {
        let Role::Leader(leader) = &self.role else { return false };
        let needed = self.configuration_index().max(leader.noop);
        self.configuration().reached_by_majority(|node| self.matched(node)) >= needed
    }

    /// True when nothing of a change is left to be done.
    pub fn membership_is_settled(&self) -> bool {
        !self.configuration().is_joint() && self.configuration_index() <= self.commit
    }

    fn check_quorum_after(&self, now: Time, next: &Configuration) -> Result<(), ChangeRefused> {
        next.check_quorum(|voter| voter == self.id || self.is_well(now, voter))
    }

    /// The other members that this leader can count on; none when it does not lead.
    pub fn well(&self, now: Time) -> Vec<NodeId> {
        self.peers().into_iter().filter(|peer| self.is_well(now, *peer)).collect()
    }

    /// True for another member that this leader can count on.
    pub(super) fn is_well(&self, now: Time, member: NodeId) -> bool {
        let window = self.timeouts().election_max;
        self.progress(member).is_some_and(|progress| progress.is_well(now, window))
    }

    fn check_caught_up(&self, learner: NodeId) -> Result<(), ChangeRefused> {
        match self.progress(learner) {
            Some(progress) if progress.caught_up => Ok(()),
            progress => {
                let matched = progress.map_or(Index(0), |progress| progress.matched);
                Err(ChangeRefused::LearnerNotReady { learner, matched, last: self.last().index })
            }
        }
    }

    fn check_replaced_is_gone(&self, now: Time, learner: NodeId) -> Result<(), ChangeRefused> {
        match self.living_predecessor(now, learner) {
            Some(replaced) => Err(ChangeRefused::ReplacedLives { learner, replaced }),
            None => Ok(()),
        }
    }

    /// The member that a learner is to replace, if it lives: somebody has started a second node under its name. A connection
    /// that has just broken is no sign that it does not.
    fn living_predecessor(&self, now: Time, learner: NodeId) -> Option<NodeId> {
        let replaced = self.configuration().learners.get(&learner).and_then(|learner| learner.replaces);
        let window = self.timeouts().election_max;
        let was_heard = |node| self.progress(node).is_some_and(|progress| progress.was_heard(now, window));
        replaced.filter(|replaced| *replaced == self.id || was_heard(*replaced))
    }

    fn propose_configuration(
        &mut self,
        now: Time,
        configuration: Configuration,
        introduction: Option<Contact>,
    ) -> EntryId {
        let last = self.last().index;
        let peers: BTreeSet<NodeId> = configuration.members().filter(|member| *member != self.id).collect();
        let left: Vec<NodeId> = self.peers().into_iter().filter(|peer| !peers.contains(peer)).collect();
        if let Role::Leader(leader) = &mut self.role {
            leader.left.extend(left);
            leader.progress.retain(|peer, _| peers.contains(peer));
            for peer in peers {
                leader.progress.entry(peer).or_insert_with(|| Progress::new(last, now));
            }
        }
        self.propose_payloads(now, [Payload::Configuration { configuration, introduction }])
    }

    /// Ends a joint phase by itself, also one that an earlier leader began.
    pub(super) fn leave_joint(&mut self, now: Time) {
        if self.configuration().is_joint() && self.configuration_is_on_majority() {
            let settled = self.configuration().without_outgoing();
            self.propose_configuration(now, settled, None);
        }
    }

    /// Makes voters of the learners that have caught up and are meant to be. A refusal is no harm: the next tick tries again.
    pub(super) fn promote_caught_up(&mut self, now: Time) {
        let is_ready = |(node, learner): &(&NodeId, &Learner)| {
            let has_caught_up = self.progress(**node).is_some_and(|progress| progress.caught_up);
            let place_is_free = self.living_predecessor(now, **node).is_none();
            !learner.stay && has_caught_up && place_is_free && self.is_well(now, **node)
        };
        let ready = self.configuration().learners.iter().find(is_ready).map(|(node, _)| *node);
        if let Some(learner) = ready {
            let _ = self.change_membership(now, MembershipChange::Promote(learner));
        }
    }

    /// Answers a candidate that is no member any more. Only a leader whose configuration is committed can know.
    pub(super) fn tell_if_removed(&mut self, from: NodeId) -> bool {
        let knows = matches!(self.role, Role::Leader(_)) && self.membership_is_settled();
        let is_removed = knows && !self.configuration().is_member(from);
        if is_removed {
            let index = self.configuration_index();
            self.send(from, Body::Removed { index });
        }
        is_removed
    }
}
