//! Whom this node keeps connections to: the members, and whoever is answered.
//!
//! A node whose log is behind does not know all members. Yet it must answer a leader or a candidate that it has not heard of,
//! or it would never catch up. So a message to a node that calls here opens a connection to it; that one ends when the node
//! hangs up, or with the next `set_members`.

use std::collections::{BTreeMap, BTreeSet};

use super::peer::Peer;
use crate::ids::NodeId;

/// The connections of a node. At most as many as there are members and lanes that others have opened.
#[derive(Default)]
pub(super) struct Peers {
    members: BTreeSet<NodeId>,
    connected: BTreeMap<NodeId, Peer>,
    /// How many lanes a node has opened to here.
    lanes_from: BTreeMap<NodeId, usize>,
    closed: bool,
}

impl Peers {
    /// Connects to exactly these nodes.
    pub(super) fn set_members(&mut self, members: BTreeSet<NodeId>, connect: impl Fn(NodeId) -> Peer) {
        if self.closed {
            return;
        }
        self.connected.retain(|node, _| members.contains(node));
        for node in &members {
            self.connected.entry(*node).or_insert_with(|| connect(*node));
        }
        self.members = members;
    }

    /// The connection to a node, opened if need be. None: it is no member and does not call.
    pub(super) fn reach(&mut self, node: NodeId, connect: impl Fn(NodeId) -> Peer) -> Option<&Peer> {
        if self.lanes_from.contains_key(&node) && !self.closed {
            self.connected.entry(node).or_insert_with(|| connect(node));
        }
        self.connected.get(&node)
    }

    /// A node opened a lane to here. It is alive: whoever waits to dial it need not wait longer.
    pub(super) fn calls(&mut self, node: NodeId) {
        *self.lanes_from.entry(node).or_default() += 1;
        if let Some(peer) = self.connected.get(&node) {
            peer.heard_from();
        }
    }

    /// A lane that a node had opened has ended.
    pub(super) fn hangs_up(&mut self, node: NodeId) {
        let Some(lanes) = self.lanes_from.get_mut(&node) else { return };
        *lanes -= 1;
        if *lanes > 0 {
            return;
        }
        self.lanes_from.remove(&node);
        if !self.members.contains(&node) {
            self.connected.remove(&node);
        }
    }

    /// How many messages were dropped for the peers that there are.
    pub(super) fn dropped(&self) -> u64 {
        self.connected.values().map(Peer::dropped).sum()
    }

    /// Gives up all connections and opens no others.
    pub(super) fn close(&mut self) -> BTreeMap<NodeId, Peer> {
        self.closed = true;
        std::mem::take(&mut self.connected)
    }
}
