//! A client's request, checked: everything that can be known to be wrong is refused here, before anything is proposed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::codec::duration_from_proto;
use super::{Chosen, InvalidOperation, Message, Operation, SessionRequest, Settlement};
use crate::ids::{Sequence, SessionId};
use crate::proto::v1::{self, operation::Operation as Verb};

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its place in the client's session, if it has one.
    pub session: Option<SessionRequest>,
    /// What to do: 1 to 1,000 operations.
    pub operations: Vec<Operation>,
    /// How long a lone `Dequeue` or `Lease` may wait for a message; zero for everything else, and for one that does not
    /// wait.
    pub wait: Duration,
}

impl Request {
    /// The most operations in one request.
    pub const OPERATIONS_MAX: usize = 1_000;
    /// The longest message body, in bytes.
    pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
    /// The most headers of one message.
    pub const HEADERS_MAX: usize = 64;
    /// The longest key of a header, in bytes.
    pub const HEADER_KEY_BYTES_MAX: usize = 128;
    /// The keys and values of all headers of one message together, in bytes.
    pub const HEADER_BYTES_MAX: usize = 16 * 1024;
    /// The messages of one request together, in bytes. With names and framing that stays below the 4 MiB of a gRPC
    /// message.
    pub const BYTES_MAX: usize = 3 * 1024 * 1024;
    /// The longest wait for a message.
    pub const WAIT_MAX: Duration = Duration::from_secs(60);
    /// The most messages that one `Peek` shows.
    pub const PEEK_MAX: u32 = 100;
    /// The most messages that one `Lease` gives out.
    pub const LEASE_MAX: u32 = 100;
    /// The most tokens of one `Settle` or `ExtendLease`.
    pub const TOKENS_MAX: usize = 100;
    /// The most messages that one `Redrive` makes ready.
    pub const REDRIVE_MAX: u32 = 1_000;
    /// The longest lease.
    pub const LEASE_DURATION_MAX: Duration = Duration::from_secs(12 * 60 * 60);
    /// The longest delay.
    pub const DELAY_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
    /// The longest reason of a rejection, in bytes.
    pub const REASON_BYTES_MAX: usize = 128;
    /// The most deliveries that a queue may be set to.
    pub const DELIVERIES_MAX: u32 = 1_000;
    /// The most queues that one `ListQueues` names.
    pub const LIST_MAX: u32 = 1_000;
    /// The limits of all `Peek`, `ListQueues`, `Lease` and `Redrive` of one request, and the tokens of its `Settle` and
    /// `ExtendLease`, together.
    pub const WORK_MAX: u64 = 1_000;

    /// The request, if it keeps all rules. Limits of 0 become their defaults. The shard is the caller's matter.
    pub fn from_proto(request: v1::ExecuteRequest) -> Result<Self, InvalidRequest> {
        check_count(request.operations.len())?;
        let session = request.session.map(session_from_proto).transpose()?;
        let wait = wait_of(&request.operations)?;
        let operations = (0..).zip(request.operations).map(|(number, operation)| checked(number, operation, wait));
        let operations = operations.collect::<Result<Vec<_>, _>>()?;
        check_alone(&operations)?;
        check_session_verbs(session, &operations)?;
        check_bytes(&operations)?;
        check_work(&operations)?;
        Ok(Self { session, operations, wait })
    }
}

/// Why a request cannot be executed, whatever the state. Operations are numbered from 0, as they stand in the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// There is nothing to do.
    #[error("operations: the request has none; give 1 to {}", Request::OPERATIONS_MAX)]
    NoOperations,
    /// There is too much to do at once.
    #[error(
        "operations: the request has {count}, more than the {} that one may have; split it",
        Request::OPERATIONS_MAX
    )]
    TooManyOperations {
        /// How many.
        count: usize,
    },
    /// An operation makes no sense.
    #[error("operations[{number}]{}: {source}", source.field())]
    Operation {
        /// Which one.
        number: usize,
        /// What is wrong with it.
        source: InvalidOperation,
    },
    /// A message is too long.
    #[error(
        "operations[{number}].enqueue.message: the body has {bytes} bytes, more than the {} that a message may have",
        Request::MESSAGE_BYTES_MAX
    )]
    MessageTooLarge {
        /// Which operation.
        number: usize,
        /// The length of the body.
        bytes: usize,
    },
    /// A message has headers that it must not have.
    #[error("operations[{number}].enqueue.message.headers: {source}")]
    Headers {
        /// Which operation.
        number: usize,
        /// What is wrong with them.
        source: InvalidHeaders,
    },
    /// The messages together are too long.
    #[error(
        "operations: their messages have {bytes} bytes together, more than the {} of one request; split it",
        Request::BYTES_MAX
    )]
    RequestTooLarge {
        /// Bodies and headers together.
        bytes: usize,
    },
    /// A limit is too high.
    #[error("operations[{number}].{verb}.limit: {limit} is more than {limit_max}")]
    LimitTooHigh {
        /// Which operation.
        number: usize,
        /// Its verb, as the interface spells it.
        verb: &'static str,
        /// What was asked for.
        limit: u32,
        /// What may be asked for.
        limit_max: u32,
    },
    /// The limits together are too high.
    #[error(
        "operations: their limits and tokens are {sum} together, more than the {} of one request; split it",
        Request::WORK_MAX
    )]
    TooMuchWork {
        /// The limits and the tokens together.
        sum: u64,
    },
    /// A number or a time of an operation is out of its range.
    #[error("operations[{number}].{field}: {problem}")]
    OutOfRange {
        /// Which operation.
        number: usize,
        /// Which field, as the interface spells it.
        field: &'static str,
        /// What it must be.
        problem: String,
    },
    /// A wait is negative or too long.
    #[error("operations[{number}].{verb}.wait: must be from 0 s to {} s", Request::WAIT_MAX.as_secs())]
    WaitOutOfRange {
        /// Which operation.
        number: usize,
        /// Its verb, as the interface spells it.
        verb: &'static str,
    },
    /// An operation has company that it must not have.
    #[error("operations[{number}]: {verb} must be the only operation of its request")]
    NotAlone {
        /// Which operation.
        number: usize,
        /// What it does.
        verb: &'static str,
    },
    /// `OpenSession` within a session.
    #[error("session: a request that opens a session has none")]
    SessionNotAllowed,
    /// `CloseSession` without a session.
    #[error("session: a request that closes a session names it")]
    SessionRequired,
    /// The place in the session makes no sense.
    #[error("session.{field}: {problem}")]
    InvalidSession {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// What is wrong with the headers of a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHeaders {
    /// There are too many.
    #[error("there are {count}, more than the {} that a message may have", Request::HEADERS_MAX)]
    TooMany {
        /// How many.
        count: usize,
    },
    /// They are too long.
    #[error("they have {bytes} bytes, more than the {} that a message may have", Request::HEADER_BYTES_MAX)]
    TooLarge {
        /// Keys and values together.
        bytes: usize,
    },
    /// A key is none.
    #[error(
        "the key {key:?} must have 1 to {} characters of ASCII that can be seen, and no space",
        Request::HEADER_KEY_BYTES_MAX
    )]
    Key {
        /// Its beginning.
        key: String,
    },
}

/// Checks the headers of a message.
///
/// # Errors
/// What is wrong with them.
pub fn check_headers(headers: &BTreeMap<String, String>) -> Result<(), InvalidHeaders> {
    let bytes = headers.iter().map(|(key, value)| key.len() + value.len()).sum();
    let count = headers.len();
    if count > Request::HEADERS_MAX {
        return Err(InvalidHeaders::TooMany { count });
    }
    if bytes > Request::HEADER_BYTES_MAX {
        return Err(InvalidHeaders::TooLarge { bytes });
    }
    let is_wrong = |key: &&String| {
        key.is_empty() || key.len() > Request::HEADER_KEY_BYTES_MAX || !key.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match headers.keys().find(is_wrong) {
        Some(key) => Err(InvalidHeaders::Key { key: key.chars().take(Request::HEADER_KEY_BYTES_MAX).collect() }),
        None => Ok(()),
    }
}

fn check_count(count: usize) -> Result<(), InvalidRequest> {
    match count {
        0 => Err(InvalidRequest::NoOperations),
        1..=Request::OPERATIONS_MAX => Ok(()),
        _ => Err(InvalidRequest::TooManyOperations { count }),
    }
}

/// The longest wait; that an operation which waits is alone is checked with the other lone verbs.
fn wait_of(operations: &[v1::Operation]) -> Result<Duration, InvalidRequest> {
    let mut longest = Duration::ZERO;
    for (number, operation) in operations.iter().enumerate() {
        let (verb, wait) = match &operation.operation {
            Some(Verb::Dequeue(v1::Dequeue { wait, .. })) => ("dequeue", *wait),
            Some(Verb::Lease(v1::Lease { wait, .. })) => ("lease", *wait),
            _ => continue,
        };
        let wait = duration_from_proto(wait, "").ok().filter(|wait| *wait <= Request::WAIT_MAX);
        longest = longest.max(wait.ok_or(InvalidRequest::WaitOutOfRange { number, verb })?);
    }
    Ok(longest)
}

fn checked(number: usize, operation: v1::Operation, wait: Duration) -> Result<Operation, InvalidRequest> {
    let mut operation =
        Operation::from_proto(operation).map_err(|source| InvalidRequest::Operation { number, source })?;
    let capped = |verb, limit: u32, default: u32, limit_max: u32| match limit {
        0 => Ok(default),
        limit if limit <= limit_max => Ok(limit),
        limit => Err(InvalidRequest::LimitTooHigh { number, verb, limit, limit_max }),
    };
    match &mut operation {
        Operation::Peek { limit, .. } => *limit = capped("peek", *limit, 1, Request::PEEK_MAX)?,
        Operation::ListQueues { limit, .. } => {
            *limit = capped("list_queues", *limit, Request::LIST_MAX, Request::LIST_MAX)?
        }
        Operation::Dequeue { .. } => {}
        Operation::Enqueue { message, delay, .. } => {
            check_message(number, message)?;
            check_time(number, "enqueue.delay", *delay, Request::DELAY_MAX)?;
        }
        Operation::Lease { limit, duration, .. } => {
            *limit = capped("lease", *limit, 1, Request::LEASE_MAX)?;
            check_time(number, "lease.duration", *duration, Request::LEASE_DURATION_MAX)?;
        }
        Operation::Settle { settlements, .. } => {
            check_tokens(number, "settle.settlements", settlements.len())?;
            settlements.iter().try_for_each(|(_, settlement)| check_settlement(number, settlement))?;
        }
        Operation::ExtendLease { tokens, duration, .. } => {
            check_tokens(number, "extend_lease.tokens", tokens.len())?;
            check_time(number, "extend_lease.duration", *duration, Request::LEASE_DURATION_MAX)?;
        }
        Operation::Redrive { limit, .. } => {
            *limit = capped("redrive", *limit, Request::REDRIVE_MAX, Request::REDRIVE_MAX)?;
        }
        Operation::SetQueue { chosen, .. } => check_chosen(number, chosen)?,
        Operation::OpenSession | Operation::CloseSession | Operation::Stats { .. } => {}
    }
    let waits = operation.waits() && !wait.is_zero();
    operation.set_waits(waits);
    Ok(operation)
}

fn check_time(number: usize, field: &'static str, time: Duration, time_max: Duration) -> Result<(), InvalidRequest> {
    if time > time_max {
        let problem = format!("must be from 0 s to {} s", time_max.as_secs());
        return Err(InvalidRequest::OutOfRange { number, field, problem });
    }
    Ok(())
}

fn check_tokens(number: usize, field: &'static str, count: usize) -> Result<(), InvalidRequest> {
    if !(1..=Request::TOKENS_MAX).contains(&count) {
        let problem = format!("there are {count}; give 1 to {}", Request::TOKENS_MAX);
        return Err(InvalidRequest::OutOfRange { number, field, problem });
    }
    Ok(())
}

fn check_settlement(number: usize, settlement: &Settlement) -> Result<(), InvalidRequest> {
    match settlement {
        Settlement::Release { delay } => check_time(number, "settle.settlements", *delay, Request::DELAY_MAX),
        Settlement::Reject { reason } if reason.len() > Request::REASON_BYTES_MAX => {
            let (length, length_max) = (reason.len(), Request::REASON_BYTES_MAX);
            let problem = format!("a reason has {length} bytes, more than the {length_max} that it may have");
            Err(InvalidRequest::OutOfRange { number, field: "settle.settlements", problem })
        }
        Settlement::Ack | Settlement::Reject { .. } => Ok(()),
    }
}

fn check_chosen(number: usize, chosen: &Chosen) -> Result<(), InvalidRequest> {
    let lease_duration = chosen.lease_duration.unwrap_or_default();
    check_time(number, "set_queue.lease_duration", lease_duration, Request::LEASE_DURATION_MAX)?;
    match chosen.deliveries_max {
        Some(count) if count > Request::DELIVERIES_MAX => {
            let problem = format!("{count} is more than {}", Request::DELIVERIES_MAX);
            Err(InvalidRequest::OutOfRange { number, field: "set_queue.deliveries_max", problem })
        }
        _ => Ok(()),
    }
}

fn check_message(number: usize, message: &Message) -> Result<(), InvalidRequest> {
    match message.body.bytes() {
        bytes if bytes > Request::MESSAGE_BYTES_MAX => Err(InvalidRequest::MessageTooLarge { number, bytes }),
        _ => check_headers(&message.headers).map_err(|source| InvalidRequest::Headers { number, source }),
    }
}

fn check_alone(operations: &[Operation]) -> Result<(), InvalidRequest> {
    let lone_verb = |operation: &Operation| match operation {
        Operation::OpenSession => Some("OpenSession"),
        Operation::CloseSession => Some("CloseSession"),
        Operation::Dequeue { wait: true, .. } => Some("a Dequeue that waits"),
        Operation::Lease { wait: true, .. } => Some("a Lease that waits"),
        _ => None,
    };
    let first = operations.iter().enumerate().find_map(|(number, operation)| Some((number, lone_verb(operation)?)));
    match first {
        Some((number, verb)) if operations.len() > 1 => Err(InvalidRequest::NotAlone { number, verb }),
        _ => Ok(()),
    }
}

fn check_session_verbs(session: Option<SessionRequest>, operations: &[Operation]) -> Result<(), InvalidRequest> {
    match (operations, session) {
        ([Operation::OpenSession], Some(_)) => Err(InvalidRequest::SessionNotAllowed),
        ([Operation::CloseSession], None) => Err(InvalidRequest::SessionRequired),
        _ => Ok(()),
    }
}

fn check_bytes(operations: &[Operation]) -> Result<(), InvalidRequest> {
    let bytes_of = |operation: &Operation| match operation {
        Operation::Enqueue { message, .. } => message.bytes(),
        _ => 0,
    };
    match operations.iter().map(bytes_of).sum() {
        bytes if bytes > Request::BYTES_MAX => Err(InvalidRequest::RequestTooLarge { bytes }),
        _ => Ok(()),
    }
}

fn check_work(operations: &[Operation]) -> Result<(), InvalidRequest> {
    let work = |operation: &Operation| match operation {
        Operation::Peek { limit, .. } | Operation::ListQueues { limit, .. } => u64::from(*limit),
        Operation::Lease { limit, .. } | Operation::Redrive { limit, .. } => u64::from(*limit),
        Operation::Settle { settlements, .. } => settlements.len() as u64,
        Operation::ExtendLease { tokens, .. } => tokens.len() as u64,
        _ => 0,
    };
    match operations.iter().map(work).sum() {
        sum if sum > Request::WORK_MAX => Err(InvalidRequest::TooMuchWork { sum }),
        _ => Ok(()),
    }
}

fn session_from_proto(session: v1::SessionRequest) -> Result<SessionRequest, InvalidRequest> {
    let invalid = |field, problem| Err(InvalidRequest::InvalidSession { field, problem });
    if session.id == 0 {
        return invalid("id", "0 names no session; open one with OpenSession");
    }
    if session.sequence == 0 {
        return invalid("sequence", "the first request of a session has the sequence 1");
    }
    if session.lowest_pending > session.sequence {
        return invalid("lowest_pending", "is above the sequence of the request itself");
    }
    Ok(SessionRequest {
        id: SessionId(session.id),
        sequence: Sequence(session.sequence),
        lowest_pending: Sequence(session.lowest_pending),
    })
}
