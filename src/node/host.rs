//! What the peer port asks the node.

use crate::api;
use crate::ids::{NodeId, SHARD_0};
use crate::proto::v1;
use crate::storage::{self, transfer};
use crate::transport::{self, Removed};

/// This node, as its peers ask it.
pub struct Host {
    /// What is known of the node.
    pub context: api::Context,
}

#[tonic::async_trait]
impl transport::Host for Host {
    fn admits(&self, from: NodeId) -> Result<(), Removed> {
        let status = self.context.handle.status(SHARD_0);
        match status.and_then(|status| status.membership.removed.get(&from).copied()) {
            Some(index) => Err(Removed { index }),
            None => Ok(()),
        }
    }

    async fn status(&self) -> v1::NodeStatus {
        api::status::own(&self.context)
    }

    async fn fetch_snapshot(
        &self,
        from: NodeId,
        request: transfer::Request,
    ) -> Result<transfer::Reply, storage::Error> {
        self.context.transfers.answer(from, request).await
    }
}
