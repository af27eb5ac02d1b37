//! A way to ask the peers how they are.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::ids::NodeId;
use crate::proto::v1;
use crate::transport::Transport;

/// A peer that has not answered after this long counts as unreachable.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks peers through the transport, once there is one: a node that still applies for membership has no peers.
#[derive(Clone, Default)]
pub struct Peers {
    transport: Arc<OnceLock<Transport>>,
}

impl Peers {
    /// The transport has come into being.
    ///
    /// # Panics
    /// When it is connected twice: a node has one transport.
    pub fn connect(&self, transport: Transport) {
        assert!(self.transport.set(transport).is_ok(), "the transport is made once");
    }

    /// How a node is, as it says itself; none when it does not answer in time, or another node answers at its address.
    pub async fn status(&self, node: NodeId) -> Option<v1::NodeStatus> {
        let transport = self.transport.get()?;
        transport.status_of(node, PATIENCE).await.ok()
    }
}
