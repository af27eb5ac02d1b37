//! The last verb's other half: what a replica answered becomes the reply that goes over the wire.

use bytes::Bytes;

use super::errors::{Rejection, internal};
use crate::ids::{Index, ShardId};
use crate::proto::v1;
use crate::replica::Executed;
use crate::state_machine::{MessageId, Outcome, QueueInfo, message_body};

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
    let stored = |id| stored_message(shard, id, &bodies);
    let outcomes = outcomes.into_iter().map(|outcome| answer_outcome(shard, outcome, stored)).collect::<Result<_, _>>()?;
    Ok(v1::ExecuteResponse { header: Some(header), outcomes, replayed })
}

fn answer_outcome(
    shard: ShardId,
    outcome: Outcome,
    stored: impl Fn(MessageId) -> Result<v1::StoredMessage, Rejection>,
) -> Result<v1::Outcome, Rejection> {
    use v1::outcome::Outcome as Wire;
    let outcome = match outcome {
        Outcome::SessionOpened { id, time_to_live } => {
            let time_to_live = prost_types::Duration::try_from(time_to_live).ok();
            Wire::SessionOpened(v1::SessionOpened { id: id.0, time_to_live })
        }
        Outcome::SessionClosed => Wire::SessionClosed(v1::SessionClosed {}),
        Outcome::Enqueued(id) => Wire::Enqueued(v1::Enqueued { id: Some(message_id(shard, id)) }),
        Outcome::Dequeued(id) => Wire::Dequeued(v1::Dequeued { message: id.map(stored).transpose()? }),
        Outcome::Peeked(ids) => {
            Wire::Peeked(v1::Peeked { messages: ids.into_iter().map(stored).collect::<Result<_, _>>()? })
        }
        Outcome::Queues { queues, more } => {
            Wire::Queues(v1::Queues { queues: queues.into_iter().map(queue_info).collect(), more })
        }
    };
    Ok(v1::Outcome { outcome: Some(outcome) })
}

fn stored_message(shard: ShardId, id: MessageId, bodies: &[(Index, Bytes)]) -> Result<v1::StoredMessage, Rejection> {
    let message = bodies
        .iter()
        .find(|(index, _)| *index == id.index)
        .and_then(|(_, payload)| message_body(payload, id.item))
        .ok_or_else(|| internal(format!("the body of message {}.{} is missing from the log", id.index, id.item)))?;
    Ok(v1::StoredMessage { id: Some(message_id(shard, id)), message: Some(message) })
}

fn message_id(shard: ShardId, id: MessageId) -> v1::MessageId {
    v1::MessageId { shard: shard.0, index: id.index.0, item: id.item }
}

fn queue_info(queue: QueueInfo) -> v1::QueueInfo {
    v1::QueueInfo { name: queue.name.to_string(), messages: queue.messages, bytes: queue.bytes }
}
