//! To which nodes connections are kept: the members, and whoever calls.
//!
//! A node answers also those that it does not know as members, or it could never learn that they are: a learner begins with
//! an empty log, and a voter that was away for long may know none of today's members. The transport lets nobody in who is
//! known to have been removed.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ids::NodeId;
use crate::replica::Membership;

/// Callers that are answered without being known as members. Further ones must wait for a change of the membership.
const CALLERS_MAX: usize = 64;

/// The nodes that are to be reached.
#[derive(Debug, Default)]
pub struct Connections {
    members: BTreeSet<NodeId>,
    /// Of all shards, as they were last seen.
    memberships: Vec<Arc<Membership>>,
    /// Called, and no members. Forgotten when the membership changes: who still calls then is noticed again.
    callers: BTreeSet<NodeId>,
}

impl Connections {
    /// A node has sent a message. True when that adds it to those that are wanted.
    pub fn on_caller(&mut self, caller: NodeId) -> bool {
        !self.members.contains(&caller) && self.callers.len() < CALLERS_MAX && self.callers.insert(caller)
    }

    /// The memberships of all shards on this node, as they are. True when that changes who is wanted.
    pub fn on_memberships<'a>(&mut self, memberships: impl Iterator<Item = &'a Arc<Membership>> + Clone) -> bool {
        // A changed membership is another allocation, because this is a reference to the one before.
        let same = |(one, other): (&Arc<Membership>, &Arc<Membership>)| Arc::ptr_eq(one, other);
        if memberships.clone().count() == self.memberships.len() && memberships.clone().zip(&self.memberships).all(same) {
            return false;
        }
        self.memberships = memberships.cloned().collect();
        self.members = self.memberships.iter().flat_map(|membership| membership.configuration.members()).collect();
        self.callers.clear();
        true
    }

    /// Those that are wanted and whose address is known.
    pub fn wanted(&self, is_known: impl Fn(NodeId) -> bool) -> BTreeSet<NodeId> {
        self.members.union(&self.callers).copied().filter(|node| is_known(*node)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ids::Index;
    use crate::raft::{CommitQuorum, Configuration};

    fn membership(member: u64) -> Arc<Membership> {
        let configuration = Configuration::of_one(NodeId(member), CommitQuorum::Majority);
        Arc::new(Membership { configuration, index: Index(1), removed: BTreeMap::new() })
    }

    #[test]
    fn a_caller_is_answered_until_the_membership_changes() {
        let mut connections = Connections::default();
        assert!(connections.on_caller(NodeId(7)));
        assert!(!connections.on_caller(NodeId(7)), "it is known by now");
        assert_eq!(connections.wanted(|_| true), BTreeSet::from([NodeId(7)]));

        let memberships = [membership(2)];
        assert!(connections.on_memberships(memberships.iter()));
        assert!(!connections.on_memberships(memberships.iter()), "nothing changed");
        assert_eq!(connections.wanted(|_| true), BTreeSet::from([NodeId(2)]));
        assert!(!connections.on_caller(NodeId(2)), "it is a member");
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let mut connections = Connections::default();
        for caller in 1..=1000 {
            connections.on_caller(NodeId(caller));
        }
        assert_eq!(connections.wanted(|_| true).len(), CALLERS_MAX);
    }

    #[test]
    fn nobody_is_dialed_whose_address_is_not_known() {
        let mut connections = Connections::default();
        connections.on_memberships([membership(2)].iter());
        assert!(connections.wanted(|_| false).is_empty());
    }
}
