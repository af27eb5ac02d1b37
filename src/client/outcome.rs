//! Builds operations, and takes outcomes apart. A node that answers something else than what was asked makes no sense.

use std::time::Duration;

use super::{Body, DURATION_MAX, Error};
use crate::proto::v1;
use crate::proto::v1::operation::Operation as Verb;
use crate::proto::v1::outcome::Outcome;

pub(super) fn operation(verb: Verb) -> v1::Operation {
    v1::Operation { operation: Some(verb) }
}

pub(super) fn enqueue(queue: &str, body: Body) -> v1::Operation {
    let message = Some(v1::Message { body: Some(body) });
    operation(Verb::Enqueue(v1::Enqueue { queue: queue.to_owned(), message }))
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
