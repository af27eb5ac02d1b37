//! Builds operations, and takes outcomes apart. A node that answers something else than what was asked makes no sense.

use std::time::Duration;

use super::{DURATION_MAX, Error, Message};
use crate::proto::v1;
use crate::proto::v1::operation::Operation as Verb;
use crate::proto::v1::outcome::Outcome;
use crate::state_machine::Request;
use crate::telemetry::propagation::TraceHeaders;

pub(super) fn operation(verb: Verb) -> v1::Operation {
    v1::Operation { operation: Some(verb) }
}

pub(super) fn enqueue(queue: &str, message: Message) -> v1::Operation {
    operation(Verb::Enqueue(v1::Enqueue { queue: queue.to_owned(), message: Some(message) }))
}

/// The same operations, whose messages carry the current OpenTelemetry context, if there is one: whoever takes them can tell what
/// they belong to. A message that has a `traceparent` keeps that, and one with no room for two more headers gets none.
pub(super) fn with_trace(mut operations: Vec<v1::Operation>) -> Vec<v1::Operation> {
    let messages = operations.iter_mut().filter_map(|operation| match &mut operation.operation {
        Some(Verb::Enqueue(enqueue)) => enqueue.message.as_mut(),
        _ => None,
    });
    let mut messages = messages.filter(|message| takes_trace(message)).peekable();
    if messages.peek().is_none() {
        return operations;
    }
    let TraceHeaders { traceparent, tracestate } = TraceHeaders::current();
    if traceparent.is_empty() {
        return operations;
    }
    for message in messages {
        message.headers.insert("traceparent".to_owned(), traceparent.clone());
        if !tracestate.is_empty() {
            message.headers.insert("tracestate".to_owned(), tracestate.clone());
        }
    }
    operations
}

fn takes_trace(message: &Message) -> bool {
    // What `tracestate` may have at most, by W3C Trace Context, and the rest of both headers.
    const BYTES: usize = 512 + 100;
    let bytes: usize = message.headers.iter().map(|(key, value)| key.len() + value.len()).sum();
    !message.headers.contains_key("traceparent")
        && message.headers.len() + 2 <= Request::HEADERS_MAX
        && bytes + BYTES <= Request::HEADER_BYTES_MAX
}

pub(super) fn dequeue(queue: &str, wait: Duration) -> v1::Operation {
    operation(Verb::Dequeue(v1::Dequeue { queue: queue.to_owned(), wait: to_proto(wait) }))
}

/// Whether executing this twice does no harm.
pub(super) fn may_repeat(operation: &v1::Operation) -> bool {
    matches!(operation.operation, Some(Verb::Peek(_) | Verb::ListQueues(_) | Verb::Stats(_) | Verb::OpenSession(_)))
}

/// How long these operations may wait: only a lone dequeue does.
pub(super) fn wait_of(operations: &[v1::Operation]) -> Duration {
    match operations {
        [v1::Operation { operation: Some(Verb::Dequeue(dequeue)) }] => {
            dequeue.wait.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or_default().min(DURATION_MAX)
        }
        _ => Duration::ZERO,
    }
}

/// The same operations, of which a lone dequeue waits no longer than `wait`.
pub(super) fn with_wait(operations: &[v1::Operation], wait: Duration) -> Vec<v1::Operation> {
    match operations {
        [v1::Operation { operation: Some(Verb::Dequeue(asked)) }] if asked.wait.is_some() => {
            vec![dequeue(&asked.queue, wait)]
        }
        _ => operations.to_vec(),
    }
}

/// The outcome of a request with one operation.
pub(super) fn only(response: v1::ExecuteResponse) -> Result<v1::Outcome, Error> {
    let outcomes: Result<[_; 1], _> = response.outcomes.try_into();
    outcomes
        .map(|[outcome]| outcome)
        .map_err(|outcomes| malformed(format!("{} outcomes of one operation", outcomes.len())))
}

pub(super) fn session_opened(outcome: v1::Outcome) -> Result<v1::SessionOpened, Error> {
    match outcome.outcome {
        Some(Outcome::SessionOpened(opened)) => Ok(opened),
        other => Err(unexpected("a session", other.as_ref())),
    }
}

pub(super) fn enqueued(outcome: v1::Outcome) -> Result<v1::MessageId, Error> {
    match outcome.outcome {
        Some(Outcome::Enqueued(v1::Enqueued { id: Some(id) })) => Ok(id),
        other => Err(unexpected("the id of a message", other.as_ref())),
    }
}

pub(super) fn dequeued(outcome: v1::Outcome) -> Result<Option<v1::StoredMessage>, Error> {
    match outcome.outcome {
        Some(Outcome::Dequeued(dequeued)) => Ok(dequeued.message),
        other => Err(unexpected("a message", other.as_ref())),
    }
}

pub(super) fn peeked(outcome: v1::Outcome) -> Result<Vec<v1::StoredMessage>, Error> {
    match outcome.outcome {
        Some(Outcome::Peeked(peeked)) => Ok(peeked.messages),
        other => Err(unexpected("messages", other.as_ref())),
    }
}

pub(super) fn queues(outcome: v1::Outcome) -> Result<v1::Queues, Error> {
    match outcome.outcome {
        Some(Outcome::Queues(queues)) => Ok(queues),
        other => Err(unexpected("queues", other.as_ref())),
    }
}

pub(super) fn totals(outcome: v1::Outcome) -> Result<v1::Totals, Error> {
    match outcome.outcome {
        Some(Outcome::Totals(totals)) => Ok(totals),
        other => Err(unexpected("totals", other.as_ref())),
    }
}

fn to_proto(wait: Duration) -> Option<prost_types::Duration> {
    // A wait that the protocol cannot express is longer than any node allows; zero is no wait.
    prost_types::Duration::try_from(wait).ok().filter(|_| !wait.is_zero())
}

fn unexpected(expected: &str, outcome: Option<&Outcome>) -> Error {
    let got = match outcome {
        None => "nothing",
        Some(Outcome::SessionOpened(_)) => "a session",
        Some(Outcome::Enqueued(_)) => "an enqueue without an id",
        Some(Outcome::Dequeued(_)) => "a dequeue",
        Some(Outcome::Peeked(_)) => "a peek",
        Some(Outcome::Queues(_)) => "queues",
        Some(Outcome::SessionClosed(_)) => "a closed session",
        Some(Outcome::Totals(_)) => "totals",
    };
    malformed(format!("expected {expected}, got {got}"))
}

fn malformed(what: String) -> Error {
    Error::Malformed { what }
}
