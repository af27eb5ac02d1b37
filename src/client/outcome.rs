//! Builds operations, and takes outcomes apart. A node that answers something else than what was asked makes no sense.

use std::time::Duration;

use super::{Body, DURATION_MAX, Error, Message};
use crate::proto::v1;
use crate::proto::v1::operation::Operation as Verb;
use crate::proto::v1::outcome::Outcome;
use crate::state_machine::Request;
use crate::telemetry::propagation::TraceHeaders;

pub(super) fn operation(verb: Verb) -> v1::Operation {
    v1::Operation { operation: Some(verb) }
}

pub(super) fn enqueue(queue: &str, message: Message, delay: Duration) -> v1::Operation {
    let (queue, message, delay) = (queue.to_owned(), Some(message), to_proto(delay));
    operation(Verb::Enqueue(v1::Enqueue { queue, message, delay }))
}

/// The same operations, whose messages carry the current OpenTelemetry context, if there is one: whoever takes them can
/// tell what they belong to. A message that has a `traceparent` keeps that, and one with no room for two more headers
/// gets none, whether the limit is its own or that of the request: what is valid without a trace is valid with one.
pub(super) fn with_trace(mut operations: Vec<v1::Operation>) -> Vec<v1::Operation> {
    if !messages(&mut operations).any(|message| takes_trace(message)) {
        return operations;
    }
    let trace = TraceHeaders::current();
    if trace.traceparent.is_empty() {
        return operations;
    }
    let bytes: usize = messages(&mut operations).map(|message| bytes_of(message)).sum();
    let mut room = Request::BYTES_MAX.saturating_sub(bytes);
    for message in messages(&mut operations).filter(|message| takes_trace(message)) {
        match room.checked_sub(trace_bytes(&trace)) {
            Some(rest) => room = rest,
            None => break,
        }
        message.headers.insert("traceparent".to_owned(), trace.traceparent.clone());
        if !trace.tracestate.is_empty() {
            message.headers.insert("tracestate".to_owned(), trace.tracestate.clone());
        }
    }
    operations
}

fn messages(operations: &mut [v1::Operation]) -> impl Iterator<Item = &mut Message> {
    operations.iter_mut().filter_map(|operation| match &mut operation.operation {
        Some(Verb::Enqueue(enqueue)) => enqueue.message.as_mut(),
        _ => None,
    })
}

/// Body and headers, as nodes count them.
fn bytes_of(message: &Message) -> usize {
    let body = match &message.body {
        Some(Body::Text(text)) => text.len(),
        Some(Body::Data(data)) => data.len(),
        None => 0,
    };
    body + header_bytes(message)
}

fn header_bytes(message: &Message) -> usize {
    message.headers.iter().map(|(key, value)| key.len() + value.len()).sum()
}

/// What both headers add to a message.
fn trace_bytes(TraceHeaders { traceparent, tracestate }: &TraceHeaders) -> usize {
    let state = if tracestate.is_empty() { 0 } else { "tracestate".len() + tracestate.len() };
    "traceparent".len() + traceparent.len() + state
}

fn takes_trace(message: &Message) -> bool {
    // What `tracestate` may have at most, by W3C Trace Context, and the rest of both headers.
    const BYTES: usize = 512 + 100;
    !message.headers.contains_key("traceparent")
        && message.headers.len() + 2 <= Request::HEADERS_MAX
        && header_bytes(message) + BYTES <= Request::HEADER_BYTES_MAX
}

pub(super) fn dequeue(queue: &str, wait: Duration) -> v1::Operation {
    operation(Verb::Dequeue(v1::Dequeue { queue: queue.to_owned(), wait: to_proto(wait) }))
}

pub(super) fn lease(queue: &str, limit: u32, duration: Duration, wait: Duration) -> v1::Operation {
    let (duration, wait) = (to_proto(duration), to_proto(wait));
    operation(Verb::Lease(v1::Lease { queue: queue.to_owned(), limit, duration, wait }))
}

/// Whether executing this twice does no harm.
pub(super) fn may_repeat(operation: &v1::Operation) -> bool {
    matches!(operation.operation, Some(Verb::Peek(_) | Verb::ListQueues(_) | Verb::Stats(_) | Verb::OpenSession(_)))
}

/// How long these operations may wait: only a lone dequeue or lease does.
pub(super) fn wait_of(operations: &[v1::Operation]) -> Duration {
    let wait = match operations {
        [v1::Operation { operation: Some(Verb::Dequeue(dequeue)) }] => dequeue.wait,
        [v1::Operation { operation: Some(Verb::Lease(lease)) }] => lease.wait,
        _ => None,
    };
    wait.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or_default().min(DURATION_MAX)
}

/// The same operations, of which a lone dequeue or lease waits no longer than `wait`.
pub(super) fn with_wait(operations: &[v1::Operation], wait: Duration) -> Vec<v1::Operation> {
    let mut operations = operations.to_vec();
    let asked = match &mut operations[..] {
        [v1::Operation { operation: Some(Verb::Dequeue(dequeue)) }] => &mut dequeue.wait,
        [v1::Operation { operation: Some(Verb::Lease(lease)) }] => &mut lease.wait,
        _ => return operations,
    };
    if asked.is_some() {
        *asked = to_proto(wait);
    }
    operations
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

pub(super) fn leased(outcome: v1::Outcome) -> Result<Vec<v1::StoredMessage>, Error> {
    match outcome.outcome {
        Some(Outcome::Leased(leased)) => Ok(leased.messages),
        other => Err(unexpected("leased messages", other.as_ref())),
    }
}

/// Of so many tokens, which were settled.
pub(super) fn settled(outcome: v1::Outcome, tokens: usize) -> Result<Vec<bool>, Error> {
    match outcome.outcome {
        Some(Outcome::Settled(settled)) if settled.results.len() == tokens => Ok(done(&settled.results)),
        other => Err(unexpected("a result for each settlement", other.as_ref())),
    }
}

/// Of so many tokens, which leases were extended.
pub(super) fn extended(outcome: v1::Outcome, tokens: usize) -> Result<Vec<bool>, Error> {
    match outcome.outcome {
        Some(Outcome::LeaseExtended(extended)) if extended.results.len() == tokens => Ok(done(&extended.results)),
        other => Err(unexpected("a result for each lease", other.as_ref())),
    }
}

fn done(results: &[i32]) -> Vec<bool> {
    results.iter().map(|result| *result == i32::from(v1::SettleResult::Done)).collect()
}

pub(super) fn redriven(outcome: v1::Outcome) -> Result<u64, Error> {
    match outcome.outcome {
        Some(Outcome::Redriven(redriven)) => Ok(redriven.moved),
        other => Err(unexpected("a number of messages", other.as_ref())),
    }
}

pub(super) fn queue_set(outcome: v1::Outcome) -> Result<v1::QueueSettings, Error> {
    match outcome.outcome {
        Some(Outcome::QueueSet(settings)) => Ok(settings),
        other => Err(unexpected("settings", other.as_ref())),
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
        Some(Outcome::Leased(_)) => "a lease",
        Some(Outcome::Settled(_)) => "a settling",
        Some(Outcome::LeaseExtended(_)) => "an extended lease",
        Some(Outcome::Redriven(_)) => "a redrive",
        Some(Outcome::QueueSet(_)) => "settings",
    };
    malformed(format!("expected {expected}, got {got}"))
}

fn malformed(what: String) -> Error {
    Error::Malformed { what }
}
