//! The second verb: which shard a request belongs to, and whether this node may take it.

use tonic::Code;

use super::Context;
use super::errors::{self, Rejection};
use crate::ids::ShardId;
use crate::node::Phase;
use crate::raft::RoleName;
use crate::reasons;
use crate::replica::{Refusal, Status};

/// Finds the shard of a request on this node, and `look`s at the condition of its replica.
///
/// # Errors
/// There is no such shard, this node stops, or it belongs to no cluster yet.
pub fn route<T>(context: &Context, shard: u64, look: impl FnOnce(&Status) -> T) -> Result<(ShardId, T), Rejection> {
    if shard != crate::ids::SHARD_0.0 {
        let message = format!("{shard} does not exist: there is only shard 0");
        return Err(Rejection::field(reasons::INVALID_REQUEST, "shard", message).with(reasons::SHARD, shard));
    }
    if *context.phase.borrow() >= Phase::Draining {
        return Err(errors::shutting_down());
    }
    let shard = ShardId(shard);
    match context.handle.look(shard, look) {
        Some(seen) => Ok((shard, seen)),
        None => Err(errors::refusal(Refusal::NotLeader { leader: None, term: Default::default() }, context)),
    }
}

/// Like [`route`], for what only the leader can tell.
///
/// # Errors
/// Also when another node leads, or none: NOT_LEADER with its address, or NO_LEADER.
pub fn route_to_leader(context: &Context, shard: u64) -> Result<(ShardId, Status), Rejection> {
    let (shard, status) = route(context, shard, Status::clone)?;
    if let Some(why) = &status.quarantined {
        let message = format!("this node stands still because what it saw cannot be safe: {why}; ask another member");
        return Err(Rejection::new(Code::Unavailable, reasons::NO_LEADER, message));
    }
    if status.role == RoleName::Leader {
        return Ok((shard, status));
    }
    Err(errors::refusal(Refusal::NotLeader { leader: status.leader, term: status.term }, context))
}
