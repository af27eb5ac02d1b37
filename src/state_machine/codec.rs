//! Commands and outcomes as protobuf: `quorate.internal.Command` in the log, `quorate.v1` towards clients.
//!
//! Decoding checks only what the types demand (a verb, a valid name, a body). Limits are checked in `request`, before a command is
//! proposed: an entry that was once accepted stays readable when a limit changes.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field};

use super::{
    Body, Chosen, Command, Contents, Counts, DeadReason, Given, InvalidLeaseToken, InvalidQueueName, LeaseToken,
    Message as Enqueued, MessageId, MessageState, Operation, Outcome, QueueInfo, QueueName, SessionRequest, Settings,
    Settlement, Standing, Totals,
};
use crate::ids::{Index, SHARD_0, Sequence, SessionId, ShardId, Timestamp};
use crate::proto::v1::{operation::Operation as Verb, outcome::Outcome as Kind, settlement::How};
use crate::proto::{internal, v1};

impl Command {
    /// The payload of the log entry that carries the command.
    pub fn encode(&self) -> Bytes {
        let session = self.session.unwrap_or(NO_SESSION);
        let command = internal::Command {
            session: session.id.0,
            sequence: session.sequence.0,
            lowest_pending: session.lowest_pending.0,
            timestamp_ms: self.timestamp.0,
            operations: self.operations.iter().map(Operation::to_proto).collect(),
            expiry: self.expiry,
        };
        command.encode_to_vec().into()
    }

    /// The command that a log entry carries. Binary bodies share the memory of the payload.
    pub fn decode(payload: &Bytes) -> Result<Self, Malformed> {
        let command = internal::Command::decode(payload.clone())?;
        let request = SessionRequest {
            id: SessionId(command.session),
            sequence: Sequence(command.sequence),
            lowest_pending: Sequence(command.lowest_pending),
        };
        let operations = (0u32..).zip(command.operations);
        Ok(Self {
            session: (request.id != NO_SESSION.id).then_some(request),
            timestamp: Timestamp(command.timestamp_ms),
            operations: operations
                .map(|(item, operation)| {
                    Operation::from_proto(operation).map_err(|source| Malformed::Operation { item, source })
                })
                .collect::<Result<_, _>>()?,
            expiry: command.expiry,
        })
    }

    /// The command as `RequestLog` shows it.
    pub fn to_logged(&self) -> v1::LoggedCommand {
        let session = self.session.unwrap_or(NO_SESSION);
        v1::LoggedCommand {
            session: session.id.0,
            sequence: session.sequence.0,
            timestamp: Some(timestamp_to_proto(self.timestamp)),
            operations: self.operations.iter().map(Operation::to_proto).collect(),
            expiry: self.expiry,
        }
    }
}

/// How the log says that a command has no session. No session has the id 0: ids are log indexes.
const NO_SESSION: SessionRequest =
    SessionRequest { id: SessionId(0), sequence: Sequence(0), lowest_pending: Sequence(0) };

/// The bytes are no command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They are no protobuf message of that type.
    #[error("not a command: {0}")]
    Encoding(#[from] prost::DecodeError),
    /// An operation makes no sense, or is one that this version does not know.
    #[error("operation {item} of the command: {source}")]
    Operation {
        /// Which one: 0 is the first.
        item: u32,
        /// What is wrong with it.
        source: InvalidOperation,
    },
}

/// What is wrong with one operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOperation {
    /// It has no verb.
    #[error("it is none of the operations that this version knows")]
    NoVerb,
    /// It names no queue, or badly.
    #[error("{source}")]
    QueueName {
        /// Which field of the operation.
        field: &'static str,
        /// What is wrong with it.
        source: InvalidQueueName,
    },
    /// An `Enqueue` has nothing to append.
    #[error("the message has no body: set text or data, which may be empty")]
    NoBody,
    /// A time is negative, or none.
    #[error("a time is from 0 s on")]
    Duration {
        /// Which field of the operation.
        field: &'static str,
    },
    /// A text is no lease token.
    #[error("{source}")]
    Token {
        /// Which field of the operation.
        field: &'static str,
        /// What is wrong with it.
        source: InvalidLeaseToken,
    },
    /// A settlement does not say how.
    #[error("a settlement says how: ack, release or reject")]
    NoSettlement,
    /// A `Peek` asks for messages of a state that this version does not know.
    #[error("there is no state {state}")]
    State {
        /// Which.
        state: i32,
    },
}

impl InvalidOperation {
    /// The field that is to blame, as a path from the operation on; empty: the operation itself.
    pub fn field(&self) -> &'static str {
        match self {
            Self::NoVerb => "",
            Self::QueueName { field, .. } => field,
            Self::NoBody => ".enqueue.message",
            Self::Duration { field } | Self::Token { field, .. } => field,
            Self::NoSettlement => ".settle.settlements",
            Self::State { .. } => ".peek.state",
        }
    }
}

impl Operation {
    /// The operation, if it is well formed. What takes messages waits if `wait` is present; how long is not part of an
    /// operation.
    pub fn from_proto(operation: v1::Operation) -> Result<Self, InvalidOperation> {
        let name = |text: &str, field| text.parse().map_err(|source| InvalidOperation::QueueName { field, source });
        Ok(match operation.operation.ok_or(InvalidOperation::NoVerb)? {
            Verb::OpenSession(v1::OpenSession {}) => Self::OpenSession,
            Verb::CloseSession(v1::CloseSession {}) => Self::CloseSession,
            Verb::Enqueue(enqueue) => Self::Enqueue {
                queue: name(&enqueue.queue, ".enqueue.queue")?,
                message: Enqueued::from_proto(enqueue.message.unwrap_or_default())?,
                delay: duration_from_proto(enqueue.delay, ".enqueue.delay")?,
            },
            Verb::Dequeue(dequeue) => {
                Self::Dequeue { queue: name(&dequeue.queue, ".dequeue.queue")?, wait: dequeue.wait.is_some() }
            }
            Verb::Lease(lease) => Self::Lease {
                queue: name(&lease.queue, ".lease.queue")?,
                limit: lease.limit,
                duration: duration_from_proto(lease.duration, ".lease.duration")?,
                wait: lease.wait.is_some(),
            },
            Verb::Settle(settle) => Self::Settle {
                queue: name(&settle.queue, ".settle.queue")?,
                settlements: settle.settlements.into_iter().map(settlement_from_proto).collect::<Result<_, _>>()?,
                all_or_none: settle.all_or_none,
            },
            Verb::ExtendLease(extend) => Self::ExtendLease {
                queue: name(&extend.queue, ".extend_lease.queue")?,
                tokens: extend
                    .tokens
                    .iter()
                    .map(|token| token_from_proto(token, ".extend_lease.tokens"))
                    .collect::<Result<_, _>>()?,
                duration: duration_from_proto(extend.duration, ".extend_lease.duration")?,
            },
            Verb::Redrive(redrive) => {
                Self::Redrive { queue: name(&redrive.queue, ".redrive.queue")?, limit: redrive.limit }
            }
            Verb::SetQueue(set) => Self::SetQueue {
                queue: name(&set.queue, ".set_queue.queue")?,
                chosen: Chosen {
                    lease_duration: set
                        .lease_duration
                        .map(|duration| duration_from_proto(Some(duration), ".set_queue.lease_duration"))
                        .transpose()?,
                    deliveries_max: set.deliveries_max,
                    messages_max: set.messages_max,
                },
            },
            Verb::Peek(peek) => Self::Peek {
                queue: name(&peek.queue, ".peek.queue")?,
                limit: peek.limit,
                state: MessageState::from_proto(peek.state).ok_or(InvalidOperation::State { state: peek.state })?,
                after: peek.after.map(|id| MessageId { index: Index(id.index), item: id.item }),
            },
            Verb::ListQueues(list) => {
                let after = (!list.after.is_empty()).then(|| name(&list.after, ".list_queues.after")).transpose()?;
                Self::ListQueues { after, limit: list.limit }
            }
            Verb::Stats(stats) => {
                let queue = (!stats.queue.is_empty()).then(|| name(&stats.queue, ".stats.queue")).transpose()?;
                Self::Stats { queue }
            }
        })
    }

    /// The operation as the interface and the log spell it. The `wait` of one that waits has no length: how long the
    /// client waits is known to the leader alone.
    pub fn to_proto(&self) -> v1::Operation {
        let name = QueueName::to_string;
        let verb = match self {
            Self::OpenSession => Verb::OpenSession(v1::OpenSession {}),
            Self::CloseSession => Verb::CloseSession(v1::CloseSession {}),
            Self::Enqueue { queue, message, delay } => Verb::Enqueue(v1::Enqueue {
                queue: name(queue),
                message: Some(message.to_proto()),
                delay: duration_to_proto(*delay),
            }),
            Self::Dequeue { queue, wait } => {
                let wait = wait.then(prost_types::Duration::default);
                Verb::Dequeue(v1::Dequeue { queue: name(queue), wait })
            }
            Self::Lease { queue, limit, duration, wait } => Verb::Lease(v1::Lease {
                queue: name(queue),
                limit: *limit,
                duration: duration_to_proto(*duration),
                wait: wait.then(prost_types::Duration::default),
            }),
            Self::Settle { queue, settlements, all_or_none } => Verb::Settle(v1::Settle {
                queue: name(queue),
                settlements: settlements.iter().map(settlement_to_proto).collect(),
                all_or_none: *all_or_none,
            }),
            Self::ExtendLease { queue, tokens, duration } => Verb::ExtendLease(v1::ExtendLease {
                queue: name(queue),
                tokens: tokens.iter().map(LeaseToken::to_string).collect(),
                duration: duration_to_proto(*duration),
            }),
            Self::Redrive { queue, limit } => Verb::Redrive(v1::Redrive { queue: name(queue), limit: *limit }),
            Self::SetQueue { queue, chosen } => Verb::SetQueue(v1::SetQueue {
                queue: name(queue),
                lease_duration: chosen.lease_duration.and_then(|duration| duration.try_into().ok()),
                deliveries_max: chosen.deliveries_max,
                messages_max: chosen.messages_max,
            }),
            Self::Peek { queue, limit, state, after } => Verb::Peek(v1::Peek {
                queue: name(queue),
                limit: *limit,
                state: state.to_proto().into(),
                after: after.map(|id| id.to_proto(SHARD_0)),
            }),
            Self::ListQueues { after, limit } => {
                Verb::ListQueues(v1::ListQueues { after: after.as_ref().map(name).unwrap_or_default(), limit: *limit })
            }
            Self::Stats { queue } => Verb::Stats(v1::Stats { queue: queue.as_ref().map(name).unwrap_or_default() }),
        };
        v1::Operation { operation: Some(verb) }
    }
}

/// In whole milliseconds, as the state has it, and not less than was asked for. By hand, because the conversion that prost
/// brings overflows on hostile values.
pub(super) fn duration_from_proto(
    duration: Option<prost_types::Duration>,
    field: &'static str,
) -> Result<Duration, InvalidOperation> {
    let Some(duration) = duration else { return Ok(Duration::ZERO) };
    let seconds = u64::try_from(duration.seconds).ok();
    let nanos = u32::try_from(duration.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let (seconds, nanos) = seconds.zip(nanos).ok_or(InvalidOperation::Duration { field })?;
    let milliseconds = seconds.saturating_mul(1_000).saturating_add(nanos.div_ceil(1_000_000).into());
    Ok(Duration::from_millis(milliseconds))
}

/// None for zero, which is the same. One that the protocol cannot express came through it, and does not exist.
fn duration_to_proto(duration: Duration) -> Option<prost_types::Duration> {
    duration.try_into().ok().filter(|_| !duration.is_zero())
}

fn token_from_proto(token: &str, field: &'static str) -> Result<LeaseToken, InvalidOperation> {
    token.parse().map_err(|source| InvalidOperation::Token { field, source })
}

fn settlement_from_proto(settlement: v1::Settlement) -> Result<(LeaseToken, Settlement), InvalidOperation> {
    let token = token_from_proto(&settlement.token, ".settle.settlements")?;
    let how = match settlement.how.ok_or(InvalidOperation::NoSettlement)? {
        How::Ack(v1::Ack {}) => Settlement::Ack,
        How::Release(v1::Release { delay }) => {
            Settlement::Release { delay: duration_from_proto(delay, ".settle.settlements")? }
        }
        How::Reject(v1::Reject { reason }) => Settlement::Reject { reason: reason.into() },
    };
    Ok((token, how))
}

fn settlement_to_proto((token, settlement): &(LeaseToken, Settlement)) -> v1::Settlement {
    let how = match settlement {
        Settlement::Ack => How::Ack(v1::Ack {}),
        Settlement::Release { delay } => How::Release(v1::Release { delay: duration_to_proto(*delay) }),
        Settlement::Reject { reason } => How::Reject(v1::Reject { reason: reason.to_string() }),
    };
    v1::Settlement { token: token.to_string(), how: Some(how) }
}

impl MessageState {
    pub(super) fn from_proto(state: i32) -> Option<Self> {
        Some(match v1::MessageState::try_from(state).ok()? {
            v1::MessageState::Unspecified | v1::MessageState::Ready => Self::Ready,
            v1::MessageState::Leased => Self::Leased,
            v1::MessageState::Delayed => Self::Delayed,
            v1::MessageState::Dead => Self::Dead,
        })
    }

    pub(super) fn to_proto(self) -> v1::MessageState {
        match self {
            Self::Ready => v1::MessageState::Ready,
            Self::Leased => v1::MessageState::Leased,
            Self::Delayed => v1::MessageState::Delayed,
            Self::Dead => v1::MessageState::Dead,
        }
    }
}

impl Enqueued {
    fn from_proto(message: v1::Message) -> Result<Self, InvalidOperation> {
        Ok(Self { body: message.body.ok_or(InvalidOperation::NoBody)?.into(), headers: message.headers })
    }

    fn to_proto(&self) -> v1::Message {
        v1::Message { body: Some((&self.body).into()), headers: self.headers.clone() }
    }
}

impl From<v1::message::Body> for Body {
    fn from(body: v1::message::Body) -> Self {
        match body {
            v1::message::Body::Text(text) => Self::Text(text),
            v1::message::Body::Data(data) => Self::Data(data),
        }
    }
}

impl From<&Body> for v1::message::Body {
    fn from(body: &Body) -> Self {
        match body {
            Body::Text(text) => Self::Text(text.clone()),
            Body::Data(data) => Self::Data(data.clone()),
        }
    }
}

/// An answer names a message that is not at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message {}/{} is not at hand", .0.index, .0.item)]
pub struct MessageMissing(pub MessageId);

impl Outcome {
    /// The outcome as the client gets it. `find` finds the messages that it names, see `message_of`.
    pub fn to_proto(
        &self,
        shard: ShardId,
        mut find: impl FnMut(MessageId) -> Option<v1::Message>,
    ) -> Result<v1::Outcome, MessageMissing> {
        let mut stored = |given: &Given| {
            let message = Some(find(given.id).ok_or(MessageMissing(given.id))?);
            Ok(v1::StoredMessage { message, ..given.to_proto(shard) })
        };
        let outcome = match self {
            Self::SessionOpened { id, time_to_live } => {
                let time_to_live = prost_types::Duration::try_from(*time_to_live).ok();
                Kind::SessionOpened(v1::SessionOpened { id: id.0, time_to_live })
            }
            Self::SessionClosed => Kind::SessionClosed(v1::SessionClosed {}),
            Self::Enqueued(id) => Kind::Enqueued(v1::Enqueued { id: Some(id.to_proto(shard)) }),
            Self::Dequeued(given) => {
                Kind::Dequeued(v1::Dequeued { message: given.as_ref().map(&mut stored).transpose()? })
            }
            Self::Peeked(given) => {
                Kind::Peeked(v1::Peeked { messages: given.iter().map(stored).collect::<Result<_, _>>()? })
            }
            Self::Leased { lease, messages } => {
                let leased = |given: &Given| {
                    let token = LeaseToken { message: given.id, lease: *lease };
                    Ok(v1::StoredMessage { lease_token: token.to_string(), ..stored(given)? })
                };
                Kind::Leased(v1::Leased { messages: messages.iter().map(leased).collect::<Result<_, _>>()? })
            }
            Self::Settled(done) => Kind::Settled(settled_to_proto(done)),
            Self::LeaseExtended { until, extended } => Kind::LeaseExtended(extended_to_proto(*until, extended)),
            Self::Redriven(moved) => Kind::Redriven(v1::Redriven { moved: *moved }),
            Self::QueueSet(settings) => Kind::QueueSet(settings.to_proto()),
            Self::Queues { queues, more } => {
                Kind::Queues(v1::Queues { queues: queues.iter().map(QueueInfo::to_proto).collect(), more: *more })
            }
            Self::Stats(totals) => Kind::Totals(totals.to_proto()),
        };
        Ok(v1::Outcome { outcome: Some(outcome) })
    }
}

impl MessageId {
    fn to_proto(self, shard: ShardId) -> v1::MessageId {
        v1::MessageId { shard: shard.0, index: self.index.0, item: self.item }
    }
}

impl Given {
    fn to_proto(&self, shard: ShardId) -> v1::StoredMessage {
        let stored = v1::StoredMessage {
            id: Some(self.id.to_proto(shard)),
            enqueued_at: Some(timestamp_to_proto(self.enqueued_at)),
            deliveries: self.deliveries,
            ..Default::default()
        };
        match &self.standing {
            Standing::Ready => stored,
            Standing::Leased { until } | Standing::Delayed { until } => {
                v1::StoredMessage { due_at: Some(timestamp_to_proto(*until)), ..stored }
            }
            Standing::Dead { since, reason } => v1::StoredMessage {
                dead_at: Some(timestamp_to_proto(*since)),
                dead_reason: match reason {
                    DeadReason::Unacknowledged => {
                        format!("delivered as often as it may, and never acknowledged ({})", self.deliveries)
                    }
                    DeadReason::Rejected(reason) if reason.is_empty() => "rejected".to_owned(),
                    DeadReason::Rejected(reason) => format!("rejected: {reason}"),
                },
                ..stored
            },
        }
    }
}

pub(super) fn settled_to_proto(done: &[bool]) -> v1::Settled {
    v1::Settled { results: done.iter().map(settle_result).collect() }
}

pub(super) fn extended_to_proto(until: Timestamp, extended: &[bool]) -> v1::LeaseExtended {
    let results = extended.iter().map(settle_result).collect();
    v1::LeaseExtended { results, due_at: Some(timestamp_to_proto(until)) }
}

fn settle_result(is_done: &bool) -> i32 {
    let result = if *is_done { v1::SettleResult::Done } else { v1::SettleResult::LeaseExpired };
    result.into()
}

impl Settings {
    pub(super) fn to_proto(self) -> v1::QueueSettings {
        v1::QueueSettings {
            lease_duration: self.lease_duration.try_into().ok(),
            deliveries_max: self.deliveries_max,
            messages_max: self.messages_max,
        }
    }
}

impl QueueInfo {
    pub(super) fn to_proto(&self) -> v1::QueueInfo {
        v1::QueueInfo {
            name: self.name.to_string(),
            contents: Some(self.contents.to_proto()),
            counts: Some(self.counts.to_proto()),
            oldest: self.oldest.map(timestamp_to_proto),
            settings: Some(self.settings.to_proto()),
        }
    }
}

impl Contents {
    fn to_proto(self) -> v1::Contents {
        let Self { ready, leased, delayed, dead, bytes } = self;
        v1::Contents { ready, leased, delayed, dead, bytes }
    }
}

impl Counts {
    pub(super) fn to_proto(self) -> v1::Counts {
        let Self { enqueued, dequeued, acknowledged, redelivered, dead_lettered } = self;
        v1::Counts { enqueued, dequeued, acknowledged, redelivered, dead_lettered }
    }
}

impl Totals {
    pub(super) fn to_proto(self) -> v1::Totals {
        v1::Totals {
            queues: self.queues,
            contents: Some(self.contents.to_proto()),
            counts: Some(self.counts.to_proto()),
            oldest: self.oldest.map(timestamp_to_proto),
            sessions: self.sessions,
            settings: self.settings.map(Settings::to_proto),
        }
    }
}

/// The message that operation number `item` of a command enqueues; none if that operation is another one, or if the payload is
/// no command. Steps over the other operations instead of decoding them: a batch of 1,000 may be asked for 1,000 times.
pub fn message_of(payload: &Bytes, item: u32) -> Option<v1::Message> {
    let operation = EncodedOperations { payload: payload.clone() }.nth(item as usize)?.ok()?;
    match v1::Operation::decode(operation).ok()?.operation? {
        Verb::Enqueue(enqueue) => enqueue.message.filter(|message| message.body.is_some()),
        _ => None,
    }
}

/// The encoded command with only the operations `items`, which rise: `message_of` finds in it what it finds of them in
/// the payload, and nothing else. Each other operation is an empty one before the last of `items`, so that the numbers
/// stay, and after it there is none; session and time are gone. Never longer than the payload. None if the payload
/// cannot be stepped through to its end as a command.
pub fn keep_items(payload: &Bytes, items: &[u32]) -> Option<Bytes> {
    let mut kept = BytesMut::new();
    let mut items = items.iter().peekable();
    for (item, operation) in (0..).zip(EncodedOperations { payload: payload.clone() }) {
        let operation = operation.ok()?;
        let keep = items.next_if_eq(&&item).is_some();
        if keep {
            put_operation(&operation, &mut kept);
        } else if items.peek().is_some() {
            put_operation(&[], &mut kept);
        }
    }
    Some(kept.freeze())
}

/// The number of `internal.Command.operations`.
const OPERATIONS: u32 = 5;

fn put_operation(operation: &[u8], command: &mut BytesMut) {
    encode_key(OPERATIONS, WireType::LengthDelimited, command);
    encode_varint(operation.len() as u64, command);
    command.extend_from_slice(operation);
}

/// Steps through an encoded command, from one encoded operation to the next. Ends after an error.
struct EncodedOperations {
    payload: Bytes,
}

/// The payload cannot be stepped through.
struct NoCommand;

impl Iterator for EncodedOperations {
    type Item = Result<Bytes, NoCommand>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.step().transpose();
        if let Some(Err(NoCommand)) = next {
            self.payload.clear();
        }
        next
    }
}

impl EncodedOperations {
    fn step(&mut self) -> Result<Option<Bytes>, NoCommand> {
        while self.payload.has_remaining() {
            let (field, wire_type) = decode_key(&mut self.payload)?;
            if (field, wire_type) == (OPERATIONS, WireType::LengthDelimited) {
                let length = decode_varint(&mut self.payload)?;
                let length = usize::try_from(length).ok().filter(|length| *length <= self.payload.remaining());
                return Ok(Some(self.payload.split_to(length.ok_or(NoCommand)?)));
            }
            skip_field(wire_type, field, &mut self.payload, DecodeContext::default())?;
        }
        Ok(None)
    }
}

impl From<prost::DecodeError> for NoCommand {
    fn from(_: prost::DecodeError) -> Self {
        Self
    }
}

pub(super) fn timestamp_to_proto(timestamp: Timestamp) -> prost_types::Timestamp {
    let Timestamp(milliseconds) = timestamp;
    let nanos = i32::try_from(milliseconds % 1_000).expect("less than 1,000") * 1_000_000;
    let seconds = i64::try_from(milliseconds / 1_000).expect("a thousandth of a u64 fits");
    prost_types::Timestamp { seconds, nanos }
}
