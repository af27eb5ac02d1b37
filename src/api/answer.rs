//! The last verb's other half: what a replica answered becomes the reply that goes over the wire.

use std::time::Duration;

use super::Context;
use super::errors::{Rejection, internal};
use crate::ids::ShardId;
use crate::proto::v1;
use crate::replica::{Answer, Executed, Shown};
use crate::state_machine::{MessageId, message_of};

/// The reply to a request that was executed, or that only read.
///
/// # Errors
/// INTERNAL: the replica named a message and did not bring it.
pub fn answer(context: &Context, shard: ShardId, answer: Answer) -> Result<v1::ExecuteResponse, Rejection> {
    let (index, replayed, age, outcomes, bodies) = match answer {
        Answer::Executed(Executed { index, replayed, outcomes, bodies }) => (index, replayed, None, outcomes, bodies),
        Answer::Shown(Shown { index, age, outcomes, bodies, .. }) => (index, false, age, outcomes, bodies),
        other => unreachable!("operations were answered with {other:?}"),
    };
    let find = |id: MessageId| {
        let (_, payload) = bodies.iter().find(|(index, _)| *index == id.index)?;
        message_of(payload, id.item)
    };
    let outcomes = outcomes.iter().map(|outcome| outcome.to_proto(shard, &find)).collect::<Result<_, _>>();
    let outcomes = outcomes.map_err(|missing| internal(missing.to_string()))?;
    let header = Some(context.header(shard, Some(index)));
    Ok(v1::ExecuteResponse { header, outcomes, replayed, age: age_to_proto(age) })
}

/// How old what is shown can be. An age that the protocol cannot express is one that nobody has lived.
pub fn age_to_proto(age: Option<Duration>) -> Option<prost_types::Duration> {
    age.and_then(|age| age.try_into().ok())
}
