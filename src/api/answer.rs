//! The last verb's other half: what a replica answered becomes the reply that goes over the wire.

use super::errors::{Rejection, internal};
use crate::ids::ShardId;
use crate::proto::v1;
use crate::replica::Executed;
use crate::state_machine::{MessageId, message_body};

/// The reply to an executed request.
///
/// # Errors
/// INTERNAL: the replica named a message and did not bring its body.
pub fn answer(
    shard: ShardId,
    header: v1::ResponseHeader,
    executed: Executed,
) -> Result<v1::ExecuteResponse, Rejection> {
    let Executed { replayed, outcomes, bodies, .. } = executed;
    let body = |id: MessageId| {
        let (_, payload) = bodies.iter().find(|(index, _)| *index == id.index)?;
        message_body(payload, id.item)
    };
    let outcomes = outcomes.iter().map(|outcome| outcome.to_proto(shard, &body)).collect::<Result<_, _>>();
    let outcomes = outcomes.map_err(|missing| internal(missing.to_string()))?;
    Ok(v1::ExecuteResponse { header: Some(header), outcomes, replayed, age: None })
}
