//! Who belongs to the Raft group, and the changes that are allowed (paper, section 6; dissertation, chapter 4).
//!
//! Every change of the voters goes through a joint configuration, also that of one voter: one way in, one proof.
//!
//! ```text
//!    voters A B C                    promote D, which replaces C
//!    voters A B D  outgoing A B C    joint: elections and commits need both halves
//!    voters A B D                    appended by the leader when the joint entry is on a majority of each half
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::quorum::{self, CommitQuorum};
use crate::ids::{Contact, Index, NodeId};

/// A membership of the Raft group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The voters; in a joint configuration those of the incoming half.
    pub voters: BTreeSet<NodeId>,
    /// The voters of the outgoing half; empty unless the configuration is a joint one.
    pub voters_outgoing: BTreeSet<NodeId>,
    /// Members that receive the log and do not vote.
    pub learners: BTreeMap<NodeId, Learner>,
    /// How many voters must have an entry before it is committed.
    pub commit_quorum: CommitQuorum,
}

/// What is to become of a learner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learner {
    /// It stays one until somebody promotes it.
    pub stay: bool,
    /// The voter whose place it takes when it is promoted, which waits for as long as that one lives.
    pub replaces: Option<NodeId>,
}

/// A change that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipChange {
    /// Bring a node in.
    AddLearner {
        /// Who it is and where it can be reached.
        contact: Contact,
        /// What is to become of it.
        learner: Learner,
    },
    /// Make a learner a voter, in the place of the one that it replaces, if any.
    Promote(NodeId),
    /// Take members out, all in one change.
    Remove(BTreeSet<NodeId>),
}

/// Why a membership change is refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefused {
    /// Only the leader changes the membership.
    #[error("this node is not the leader")]
    NotLeader,
    /// One change at a time, and none before the leader's own first entry is on a majority (the bug of July 2015 in
    /// single-server changes).
    #[error("another membership change is in progress")]
    InProgress,
    /// Leadership goes to another node, and is not to wait for the end of a change.
    #[error("leadership is being handed over")]
    HandingOver,
    /// After the change too few voters would be reachable to commit anything.
    #[error("the change would lose the quorum: {reachable} of {voters} voters are reachable and {needed} are needed")]
    WouldLoseQuorum {
        /// Voters after the change.
        voters: usize,
        /// Those of them that the leader hears.
        reachable: usize,
        /// Those needed to commit.
        needed: usize,
    },
    /// The last voter cannot be removed.
    #[error("the last voter cannot be removed")]
    LastVoter,
    /// The node is no member.
    #[error("node {0} is not a member")]
    UnknownMember(NodeId),
    /// The node is a member already.
    #[error("node {0} is a member already")]
    AlreadyMember(NodeId),
    /// The node was a member once and was removed. A node id never comes back.
    #[error("node {0} was removed from this cluster; it can come back only with an empty data directory")]
    WasRemoved(NodeId),
    /// The node is a voter already.
    #[error("node {0} is a voter already")]
    AlreadyVoter(NodeId),
    /// The learner is to take the place of a member that lives.
    #[error("learner {learner} is to replace {replaced}, which is alive")]
    ReplacedLives {
        /// The learner.
        learner: NodeId,
        /// Who has the place.
        replaced: NodeId,
    },
    /// The learner does not yet have enough of the log.
    #[error("learner {learner} is not ready: it has the log up to {matched}, the leader up to {last}")]
    LearnerNotReady {
        /// The learner.
        learner: NodeId,
        /// What it has.
        matched: Index,
        /// What it needs.
        last: Index,
    },
}

impl Configuration {
    /// That of a node which is not yet a member of anything.
    pub const EMPTY: Configuration = Configuration {
        voters: BTreeSet::new(),
        voters_outgoing: BTreeSet::new(),
        learners: BTreeMap::new(),
        commit_quorum: CommitQuorum::Majority,
    };

    /// The configuration of a cluster's first node.
    pub fn of_one(voter: NodeId, commit_quorum: CommitQuorum) -> Self {
        Self { voters: BTreeSet::from([voter]), commit_quorum, ..Self::EMPTY }
    }

    /// True while both halves count.
    pub fn is_joint(&self) -> bool {
        !self.voters_outgoing.is_empty()
    }

    /// True for a voter of either half.
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.voters_outgoing.contains(&node)
    }

    /// True for voters and learners.
    pub fn is_member(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.contains_key(&node)
    }

    /// Voters of both halves and learners, each once, in the order of their ids.
    pub fn members(&self) -> impl Iterator<Item = NodeId> {
        let mut members: BTreeSet<NodeId> = self.voters.union(&self.voters_outgoing).copied().collect();
        members.extend(self.learners.keys());
        members.into_iter()
    }

    /// True when `yes` holds for a majority of each half: enough to elect, and to end a joint phase.
    pub fn has_majority(&self, yes: impl Fn(NodeId) -> bool) -> bool {
        quorum::has_majority(&self.voters, &yes) && quorum::has_majority(&self.voters_outgoing, &yes)
    }

    /// The highest value that a majority of each half has reached, such as an index that is on its disk.
    pub fn reached_by_majority<T: Ord + Copy + Default>(&self, reached: impl Fn(NodeId) -> T) -> T {
        self.lower_of_halves(quorum::majority, reached)
    }

    /// The highest index that is on a commit quorum of each half.
    pub fn commit_index(&self, matched: impl Fn(NodeId) -> Index) -> Index {
        self.lower_of_halves(|voters| self.commit_quorum.size(voters), matched)
    }

    /// How many more voters can be lost before too few are left to commit or to elect, of those that `is_heard`; negative: so
    /// many are missing.
    pub fn failures_tolerated(&self, is_heard: impl Fn(NodeId) -> bool) -> i64 {
        let margin = |half: &BTreeSet<NodeId>| {
            let heard = half.iter().filter(|voter| is_heard(**voter)).count();
            heard as i64 - self.needed(half.len()) as i64
        };
        let incoming = margin(&self.voters);
        if self.is_joint() { incoming.min(margin(&self.voters_outgoing)) } else { incoming }
    }

    /// Refuses a configuration in which too few voters would be reachable to commit anything.
    ///
    /// # Errors
    /// [`ChangeRefused::WouldLoseQuorum`].
    pub fn check_quorum(&self, is_reachable: impl Fn(NodeId) -> bool) -> Result<(), ChangeRefused> {
        let voters = self.voters.len();
        let reachable = self.voters.iter().filter(|voter| is_reachable(**voter)).count();
        let needed = self.commit_quorum.size(voters);
        if reachable < needed { Err(ChangeRefused::WouldLoseQuorum { voters, reachable, needed }) } else { Ok(()) }
    }

    /// How many of so many voters it takes to commit and to elect.
    pub fn needed(&self, voters: usize) -> usize {
        self.commit_quorum.size(voters).max(quorum::majority(voters))
    }

    fn lower_of_halves<T: Ord + Copy + Default>(
        &self,
        size: impl Fn(usize) -> usize,
        reached: impl Fn(NodeId) -> T,
    ) -> T {
        let by = |half: &BTreeSet<NodeId>| quorum::reached_by(half, size(half.len()), &reached);
        let incoming = by(&self.voters).unwrap_or_default();
        by(&self.voters_outgoing).map_or(incoming, |outgoing| outgoing.min(incoming))
    }

    /// The configuration that follows when `change` is made; a joint one when voters change.
    ///
    /// # Errors
    /// The change makes no sense for this configuration, or a joint phase has not ended.
    pub fn changed(&self, change: &MembershipChange) -> Result<Configuration, ChangeRefused> {
        if self.is_joint() {
            return Err(ChangeRefused::InProgress);
        }
        let mut next = self.clone();
        match change {
            MembershipChange::AddLearner { contact, learner } => {
                if self.is_member(contact.node) {
                    return Err(ChangeRefused::AlreadyMember(contact.node));
                }
                next.learners.insert(contact.node, *learner);
            }
            MembershipChange::Promote(node) => {
                if self.is_voter(*node) {
                    return Err(ChangeRefused::AlreadyVoter(*node));
                }
                let learner = next.learners.remove(node).ok_or(ChangeRefused::UnknownMember(*node))?;
                next.voters.insert(*node);
                if let Some(replaced) = learner.replaces {
                    next.voters.remove(&replaced);
                    next.learners.remove(&replaced);
                }
            }
            MembershipChange::Remove(nodes) => {
                if let Some(stranger) = nodes.iter().find(|node| !self.is_member(**node)) {
                    return Err(ChangeRefused::UnknownMember(*stranger));
                }
                next.voters.retain(|node| !nodes.contains(node));
                next.learners.retain(|node, _| !nodes.contains(node));
            }
        }
        if next.voters.is_empty() {
            return Err(ChangeRefused::LastVoter);
        }
        if next.voters != self.voters {
            next.voters_outgoing = self.voters.clone();
        }
        Ok(next)
    }

    /// The configuration that ends this joint one.
    pub fn without_outgoing(&self) -> Configuration {
        Configuration { voters_outgoing: BTreeSet::new(), ..self.clone() }
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |nodes: Vec<NodeId>| nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ");
        write!(f, "voters [{}]", list(self.voters.iter().copied().collect()))?;
        if self.is_joint() {
            write!(f, " outgoing [{}]", list(self.voters_outgoing.iter().copied().collect()))?;
        }
        if !self.learners.is_empty() {
            write!(f, " learners [{}]", list(self.learners.keys().copied().collect()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(voters: &[u64]) -> Configuration {
        Configuration { voters: voters.iter().copied().map(NodeId).collect(), ..Configuration::EMPTY }
    }

    #[test]
    fn a_change_of_voters_is_joint_and_one_of_learners_is_not() {
        let mut three = configuration(&[1, 2, 3]);
        three.learners.insert(NodeId(4), Learner { stay: false, replaces: Some(NodeId(3)) });
        let joint = three.changed(&MembershipChange::Promote(NodeId(4))).unwrap();
        assert_eq!(joint.voters, configuration(&[1, 2, 4]).voters);
        assert_eq!(joint.voters_outgoing, three.voters);
        assert_eq!(joint.without_outgoing(), configuration(&[1, 2, 4]));

        let fewer = three.changed(&MembershipChange::Remove(BTreeSet::from([NodeId(4)]))).unwrap();
        assert!(!fewer.is_joint());
    }

    #[test]
    fn senseless_changes_are_refused() {
        let one = configuration(&[1]);
        let remove = |node| MembershipChange::Remove(BTreeSet::from([NodeId(node)]));
        assert_eq!(one.changed(&remove(1)), Err(ChangeRefused::LastVoter));
        assert_eq!(one.changed(&remove(2)), Err(ChangeRefused::UnknownMember(NodeId(2))));
        assert_eq!(one.changed(&MembershipChange::Promote(NodeId(1))), Err(ChangeRefused::AlreadyVoter(NodeId(1))));
        let joint = Configuration { voters_outgoing: configuration(&[1, 2]).voters, ..one };
        assert_eq!(joint.changed(&remove(2)), Err(ChangeRefused::InProgress));
    }

    /// Losing one more than is tolerated leaves too few to commit or to elect; while joint, in either half.
    #[test]
    fn failures_are_tolerated_as_long_as_both_quorums_are_left() {
        let tolerated = |voters: &[u64], heard: u64, commit_quorum| {
            let configuration = Configuration { commit_quorum, ..configuration(voters) };
            configuration.failures_tolerated(|voter| voter.0 <= heard)
        };
        let by_majority = |voters: &[u64], heard| tolerated(voters, heard, CommitQuorum::Majority);
        assert_eq!(by_majority(&[1], 1), 0);
        assert_eq!((by_majority(&[1, 2], 2), by_majority(&[1, 2], 1)), (0, -1));
        assert_eq!((by_majority(&[1, 2, 3], 3), by_majority(&[1, 2, 3], 2)), (1, 0));
        assert_eq!(by_majority(&[1, 2, 3, 4, 5], 5), 2);
        assert_eq!(tolerated(&[1, 2, 3], 3, CommitQuorum::HalfPlusOne), 0);
        assert_eq!(tolerated(&[1, 2, 3, 4, 5], 5, CommitQuorum::HalfPlusOne), 1);
        let joint =
            Configuration { voters_outgoing: configuration(&[1, 2, 3]).voters, ..configuration(&[1, 2, 3, 4, 5]) };
        assert_eq!(joint.failures_tolerated(|_| true), 1, "the smaller half counts");
    }

    /// Paper, section 6: while joint, agreement needs majorities of both halves.
    #[test]
    fn joint_agreement_needs_both_halves() {
        let joint = Configuration { voters_outgoing: configuration(&[1, 2, 3]).voters, ..configuration(&[3, 4, 5]) };
        let matched = |node: NodeId| if node.0 >= 3 { Index(9) } else { Index(node.0) };
        assert_eq!(joint.commit_index(matched), Index(2));
        assert!(!joint.has_majority(|node| node.0 >= 3));
        assert!(joint.has_majority(|node| node.0 >= 2));
    }

    /// Three voters under `half_plus_one`, one of them dead: its removal must be able to end.
    #[test]
    fn a_dead_voter_does_not_hold_a_joint_phase_open() {
        let three = Configuration { commit_quorum: CommitQuorum::HalfPlusOne, ..configuration(&[1, 2, 3]) };
        let joint = three.changed(&MembershipChange::Remove(BTreeSet::from([NodeId(3)]))).unwrap();
        let matched = |node: NodeId| if node.0 <= 2 { Index(7) } else { Index(1) };
        assert_eq!(joint.reached_by_majority(matched), Index(7));
        assert_eq!(joint.commit_index(matched), Index(1));
        assert_eq!(joint.without_outgoing().commit_index(matched), Index(7));
    }
}
