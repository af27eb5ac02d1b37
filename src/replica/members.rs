//! Who belongs to the shard, and who once did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Membership, State};
use crate::ids::{Index, NodeId};
use crate::raft::{Configuration, Raft};

/// Removed nodes that are remembered; the one removed first is forgotten first.
const REMOVED_MAX: usize = 10_000;

/// Keeps what the rest of the node may see of the membership.
#[derive(Debug)]
pub(super) struct Members {
    membership: Arc<Membership>,
    /// Members of the last applied configuration that was not a joint one.
    settled: BTreeSet<NodeId>,
    /// The last applied configuration, and where it stands in the log; none: nothing has been applied.
    applied: Option<(Index, Configuration)>,
}

impl Members {
    /// As recovered: who was removed is found out again as the log is applied.
    pub(super) fn new(raft: &Raft) -> Self {
        let configuration = raft.configuration().clone();
        let membership = Membership { configuration, index: raft.configuration_index(), removed: BTreeMap::new() };
        Self { membership: Arc::new(membership), settled: BTreeSet::new(), applied: None }
    }

    /// Everything up to the last entry of a snapshot was applied elsewhere.
    pub(super) fn restore(&mut self, raft: &Raft, state: &State) {
        let State { snapshot, settled, removed, .. } = state;
        self.settled = settled.clone();
        self.applied = Some((snapshot.configuration_index, snapshot.configuration.clone()));
        Arc::make_mut(&mut self.membership).removed = removed.clone();
        self.on_changed(raft);
    }

    /// Members of the last applied configuration that was not a joint one.
    pub(super) fn settled(&self) -> &BTreeSet<NodeId> {
        &self.settled
    }

    /// The last applied configuration, and where it stands in the log.
    pub(super) fn applied(&self) -> Option<&(Index, Configuration)> {
        self.applied.as_ref()
    }

    /// For others to look at.
    pub(super) fn published(&self) -> Arc<Membership> {
        Arc::clone(&self.membership)
    }

    /// True for a node that a committed configuration has left out.
    pub(super) fn was_removed(&self, node: NodeId) -> bool {
        self.membership.removed.contains_key(&node)
    }

    /// Another configuration is in force, committed or not.
    pub(super) fn on_changed(&mut self, raft: &Raft) {
        let membership = Arc::make_mut(&mut self.membership);
        membership.configuration = raft.configuration().clone();
        membership.index = raft.configuration_index();
    }

    /// A configuration is committed, and stands at `index`.
    pub(super) fn on_applied(&mut self, index: Index, configuration: &Configuration) {
        self.applied = Some((index, configuration.clone()));
        if configuration.is_joint() {
            return;
        }
        let members: BTreeSet<NodeId> = configuration.members().collect();
        let left: Vec<NodeId> = self.settled.difference(&members).copied().collect();
        self.settled = members;
        if !left.is_empty() {
            let removed = &mut Arc::make_mut(&mut self.membership).removed;
            removed.extend(left.into_iter().map(|node| (node, index)));
            forget_oldest(removed);
        }
    }
}

fn forget_oldest(removed: &mut BTreeMap<NodeId, Index>) {
    while removed.len() > REMOVED_MAX {
        let oldest = removed.iter().min_by_key(|(_, index)| **index).map(|(node, _)| *node);
        oldest.and_then(|node| removed.remove(&node));
    }
}
