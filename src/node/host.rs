//! What the peer port asks the node.

use super::peers::encode_events;
use crate::api;
use crate::ids::{Index, NodeId, SHARD_0, ShardId};
use crate::proto::{internal, v1};
use crate::storage::{self, transfer};
use crate::transport::{self, LogPart, Removed};

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

    fn events(&self, process: u64, after: u64, limit: u32) -> internal::EventsReply {
        encode_events(self.context.vitals.events().after(process, after, limit as usize))
    }

    async fn log_part(&self, shard: ShardId, from: Index, limit: u32) -> Result<LogPart, storage::Error> {
        self.context.handle.log_part(shard, from, limit).await
    }

    async fn fetch_snapshot(
        &self,
        from: NodeId,
        request: transfer::Request,
    ) -> Result<transfer::Reply, storage::Error> {
        self.context.transfers.answer(from, request).await
    }
}
