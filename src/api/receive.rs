//! The first verb: a gRPC request is checked and becomes what a replica executes. Whatever one node would refuse and
//! another accept must be decided here, before anything is proposed.

use std::time::Duration;

use prost::Message as _;

use super::errors::Rejection;
use crate::ids::{Sequence, SessionId};
use crate::proto::v1;
use crate::reasons::{INVALID_QUEUE_NAME, INVALID_REQUEST, LIMIT, MESSAGE_TOO_LARGE, REQUEST_TOO_LARGE};
use crate::replica::Execute;
use crate::state_machine::{Body, Operation, QueueName, SessionRequest};

/// Operations in one request.
pub const OPERATIONS_MAX: usize = 1_000;
/// Bytes of the operations of one request, as they are on the wire.
pub const REQUEST_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Bytes of one message's body.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Messages that one request can bring back, so that its answer has a bound too.
pub const MESSAGES_RETURNED_MAX: u64 = 100;
/// How long a dequeue may wait.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

const PEEK_LIMIT_MAX: u32 = 100;
const LIST_LIMIT_MAX: u32 = 1_000;

/// Checks a request; what comes out is right on every node.
///
/// # Errors
/// INVALID_ARGUMENT with the field that is wrong.
pub fn receive(request: v1::ExecuteRequest) -> Result<Execute, Rejection> {
    check_size(&request)?;
    let session = request.session.map(receive_session).transpose()?;
    check_session_verbs(&request.operations, session)?;
    let wait = receive_wait(&request.operations)?;
    let operations = request
        .operations
        .into_iter()
        .enumerate()
        .map(|(place, operation)| receive_operation(&format!("operations[{place}]"), operation, wait))
        .collect::<Result<Vec<_>, _>>()?;
    check_returned(&operations)?;
    Ok(Execute { session, operations, wait })
}

fn check_size(request: &v1::ExecuteRequest) -> Result<(), Rejection> {
    let operations = request.operations.len();
    if operations == 0 {
        return Err(Rejection::field(INVALID_REQUEST, "operations", "at least one is needed"));
    }
    if operations > OPERATIONS_MAX {
        let message = format!("{operations} are too many: at most {OPERATIONS_MAX} in one request");
        return Err(Rejection::field(REQUEST_TOO_LARGE, "operations", message).with(LIMIT, OPERATIONS_MAX));
    }
    let bytes: usize = request.operations.iter().map(v1::Operation::encoded_len).sum();
    // A lone operation is judged by its own limits, which name what is too large in it.
    if operations > 1 && bytes > REQUEST_BYTES_MAX {
        let message = format!("{bytes} bytes are too many: at most {REQUEST_BYTES_MAX} in one request");
        return Err(Rejection::field(REQUEST_TOO_LARGE, "operations", message).with(LIMIT, REQUEST_BYTES_MAX));
    }
    Ok(())
}

fn receive_session(session: v1::SessionRequest) -> Result<SessionRequest, Rejection> {
    if session.id == 0 {
        return Err(Rejection::field(INVALID_REQUEST, "session.id", "0 is no session: open one with OpenSession"));
    }
    if session.sequence == 0 {
        return Err(Rejection::field(INVALID_REQUEST, "session.sequence", "the first request of a session is 1"));
    }
    if session.lowest_pending > session.sequence {
        let message = format!("{} is above the request's own sequence {}", session.lowest_pending, session.sequence);
        return Err(Rejection::field(INVALID_REQUEST, "session.lowest_pending", message));
    }
    Ok(SessionRequest {
        id: SessionId(session.id),
        sequence: Sequence(session.sequence),
        lowest_pending: Sequence(session.lowest_pending),
    })
}

/// Opening and closing a session stand alone; opening has no session yet, closing has the one that it closes.
fn check_session_verbs(operations: &[v1::Operation], session: Option<SessionRequest>) -> Result<(), Rejection> {
    use v1::operation::Operation::{CloseSession, OpenSession};
    for (place, operation) in operations.iter().enumerate() {
        let (name, needs_session) = match operation.operation {
            Some(OpenSession(_)) => ("open_session", false),
            Some(CloseSession(_)) => ("close_session", true),
            _ => continue,
        };
        let field = format!("operations[{place}].{name}");
        if operations.len() > 1 {
            return Err(Rejection::field(INVALID_REQUEST, field, "it must be the only operation of its request"));
        }
        if needs_session && session.is_none() {
            return Err(Rejection::field(INVALID_REQUEST, field, "the request must name the session to close"));
        }
        if !needs_session && session.is_some() {
            return Err(Rejection::field(INVALID_REQUEST, field, "a request that opens a session is in none"));
        }
    }
    Ok(())
}

/// How long the request may wait: only a lone dequeue may.
fn receive_wait(operations: &[v1::Operation]) -> Result<Duration, Rejection> {
    let mut wait = Duration::ZERO;
    for (place, operation) in operations.iter().enumerate() {
        let Some(v1::operation::Operation::Dequeue(v1::Dequeue { wait: Some(asked), .. })) = &operation.operation else {
            continue;
        };
        let field = format!("operations[{place}].dequeue.wait");
        let Ok(asked) = Duration::try_from(*asked) else {
            return Err(Rejection::field(INVALID_REQUEST, field, "a time to wait cannot be negative"));
        };
        if asked > WAIT_MAX {
            let message = format!("{asked:?} is too long: at most {WAIT_MAX:?}");
            return Err(Rejection::field(INVALID_REQUEST, field, message).with(LIMIT, WAIT_MAX.as_secs()));
        }
        if operations.len() > 1 && !asked.is_zero() {
            return Err(Rejection::field(INVALID_REQUEST, field, "only a lone dequeue can wait"));
        }
        wait = asked;
    }
    Ok(wait)
}

fn receive_operation(field: &str, operation: v1::Operation, wait: Duration) -> Result<Operation, Rejection> {
    use v1::operation::Operation as Verb;
    let Some(verb) = operation.operation else {
        let message = "it is empty, or a verb that this version does not know";
        return Err(Rejection::field(INVALID_REQUEST, field, message));
    };
    Ok(match verb {
        Verb::OpenSession(_) => Operation::OpenSession,
        Verb::CloseSession(_) => Operation::CloseSession,
        Verb::Enqueue(enqueue) => Operation::Enqueue {
            queue: receive_queue(&format!("{field}.enqueue.queue"), enqueue.queue)?,
            body: receive_body(&format!("{field}.enqueue.message"), enqueue.message)?,
        },
        Verb::Dequeue(dequeue) => Operation::Dequeue {
            queue: receive_queue(&format!("{field}.dequeue.queue"), dequeue.queue)?,
            wait: !wait.is_zero(),
        },
        Verb::Peek(peek) => Operation::Peek {
            queue: receive_queue(&format!("{field}.peek.queue"), peek.queue)?,
            limit: receive_limit(&format!("{field}.peek.limit"), peek.limit, 1, PEEK_LIMIT_MAX)?,
        },
        Verb::ListQueues(list) => Operation::ListQueues {
            after: match list.after.is_empty() {
                true => None,
                false => Some(receive_queue(&format!("{field}.list_queues.after"), list.after)?),
            },
            limit: receive_limit(
                &format!("{field}.list_queues.limit"),
                list.limit,
                LIST_LIMIT_MAX,
                LIST_LIMIT_MAX,
            )?,
        },
    })
}

fn receive_queue(field: &str, name: String) -> Result<QueueName, Rejection> {
    QueueName::try_from(name.as_str()).map_err(|error| Rejection::field(INVALID_QUEUE_NAME, field, error.to_string()))
}

fn receive_body(field: &str, message: Option<v1::Message>) -> Result<Body, Rejection> {
    let body = match message.and_then(|message| message.body) {
        None => return Err(Rejection::field(INVALID_REQUEST, field, "a body is needed: text or data, which may be empty")),
        Some(v1::message::Body::Text(text)) => Body::Text(text),
        Some(v1::message::Body::Data(data)) => Body::Data(data),
    };
    let bytes = match &body {
        Body::Text(text) => text.len(),
        Body::Data(data) => data.len(),
    };
    if bytes > BODY_BYTES_MAX {
        let message = format!("a body of {bytes} bytes is too large: at most {BODY_BYTES_MAX}");
        return Err(Rejection::field(MESSAGE_TOO_LARGE, field, message).with(LIMIT, BODY_BYTES_MAX));
    }
    Ok(body)
}

fn receive_limit(field: &str, limit: u32, default: u32, max: u32) -> Result<u32, Rejection> {
    match limit {
        0 => Ok(default),
        _ if limit <= max => Ok(limit),
        _ => {
            let message = format!("{limit} is too many: at most {max}");
            Err(Rejection::field(INVALID_REQUEST, field, message).with(LIMIT, max))
        }
    }
}

/// The answer carries whole bodies, so what can come back is bounded before anything is taken out of a queue.
fn check_returned(operations: &[Operation]) -> Result<(), Rejection> {
    let returned: u64 = operations
        .iter()
        .map(|operation| match operation {
            Operation::Dequeue { .. } => 1,
            Operation::Peek { limit, .. } => u64::from(*limit),
            _ => 0,
        })
        .sum();
    if returned <= MESSAGES_RETURNED_MAX {
        return Ok(());
    }
    let message = format!("{returned} messages could come back: at most {MESSAGES_RETURNED_MAX} in one request");
    Err(Rejection::field(REQUEST_TOO_LARGE, "operations", message).with(LIMIT, MESSAGES_RETURNED_MAX))
}
