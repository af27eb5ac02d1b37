//! Kept outcomes as protobuf: `quorate.internal.KeptOutcome` in a snapshot.

use std::time::Duration;

use super::codec::timestamp_to_proto;
use super::session::Kept;
use super::{Contents, Counts, Given, InvalidQueueName, MessageId, Outcome, QueueInfo, QueueName, Refusal, Totals};
use crate::ids::{Index, SHARD_0, Sequence, SessionId, Timestamp};
use crate::proto::internal::{kept_outcome::Kept as Kind, kept_result::Outcome as What};
use crate::proto::{internal, v1};

/// What is wrong with a kept outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOutcome {
    /// It, or one of the results in it, is of no kind that this version knows.
    #[error("it is none of the outcomes that this version knows")]
    NoKind,
    /// It names a queue badly.
    #[error("{0}")]
    QueueName(#[from] InvalidQueueName),
    /// A session was opened for a time that is none.
    #[error("a time to live has {nanos} nanoseconds beside its seconds")]
    TimeToLive {
        /// They must be less than a second.
        nanos: u32,
    },
    /// A message that was given has no name, or a time is none.
    #[error("a message has no name, or a time is none")]
    Given,
    /// It was refused for a reason that this version does not know.
    #[error("this version knows no refusal {name:?} with {numbers} numbers")]
    Refusal {
        /// What it is called.
        name: String,
        /// How many it tells.
        numbers: usize,
    },
}

impl Kept {
    pub(super) fn to_proto(&self, sequence: Sequence) -> internal::KeptOutcome {
        let kept = match self {
            Self::Executed { index, outcomes } => Kind::Executed(internal::KeptExecuted {
                index: index.0,
                outcomes: outcomes
                    .iter()
                    .map(|outcome| internal::KeptResult { outcome: Some(outcome.to_kept()) })
                    .collect(),
            }),
            Self::Refused(refusal) => Kind::Refused(refusal.to_kept()),
        };
        internal::KeptOutcome { sequence: sequence.0, kept: Some(kept) }
    }

    pub(super) fn from_proto(outcome: internal::KeptOutcome) -> Result<(Sequence, Self), InvalidOutcome> {
        let kept = match outcome.kept.ok_or(InvalidOutcome::NoKind)? {
            Kind::Executed(internal::KeptExecuted { index, outcomes }) => {
                let outcomes = outcomes.into_iter().map(|result| Outcome::from_kept(result.outcome));
                Self::Executed { index: Index(index), outcomes: outcomes.collect::<Result<_, _>>()? }
            }
            Kind::Refused(refusal) => Self::Refused(Refusal::from_kept(refusal)?),
        };
        Ok((Sequence(outcome.sequence), kept))
    }
}

impl Outcome {
    fn to_kept(&self) -> What {
        match self {
            Self::SessionOpened { id, time_to_live } => What::SessionOpened(internal::KeptSessionOpened {
                id: id.0,
                seconds: time_to_live.as_secs(),
                nanos: time_to_live.subsec_nanos(),
            }),
            Self::SessionClosed => What::SessionClosed(v1::SessionClosed {}),
            Self::Enqueued(id) => What::Enqueued(id.to_kept()),
            Self::Dequeued(given) => What::Dequeued(to_kept(given.as_slice())),
            Self::Peeked(given) => What::Peeked(to_kept(given)),
            Self::Queues { queues, more } => {
                What::Queues(v1::Queues { queues: queues.iter().map(QueueInfo::to_proto).collect(), more: *more })
            }
            Self::Stats(totals) => What::Totals(totals.to_proto()),
        }
    }

    fn from_kept(result: Option<What>) -> Result<Self, InvalidOutcome> {
        Ok(match result.ok_or(InvalidOutcome::NoKind)? {
            What::SessionOpened(internal::KeptSessionOpened { id, seconds, nanos }) => {
                Self::SessionOpened { id: SessionId(id), time_to_live: time_to_live(seconds, nanos)? }
            }
            What::SessionClosed(v1::SessionClosed {}) => Self::SessionClosed,
            What::Enqueued(id) => Self::Enqueued(MessageId::from_kept(id)),
            What::Dequeued(given) => Self::Dequeued(from_kept(given)?.pop()),
            What::Peeked(given) => Self::Peeked(from_kept(given)?),
            What::Queues(v1::Queues { queues, more }) => {
                let queues = queues.into_iter().map(QueueInfo::from_kept).collect::<Result<_, _>>()?;
                Self::Queues { queues, more }
            }
            What::Totals(totals) => Self::Stats(Totals::from_kept(totals)?),
        })
    }
}

fn to_kept(given: &[Given]) -> internal::KeptGiven {
    internal::KeptGiven { messages: given.iter().map(|given| given.to_proto(SHARD_0)).collect() }
}

fn from_kept(given: internal::KeptGiven) -> Result<Vec<Given>, InvalidOutcome> {
    given.messages.into_iter().map(|message| Given::from_kept(message).ok_or(InvalidOutcome::Given)).collect()
}

impl Given {
    fn from_kept(message: v1::StoredMessage) -> Option<Self> {
        let v1::MessageId { index, item, .. } = message.id?;
        Some(Self {
            id: MessageId { index: Index(index), item },
            enqueued_at: timestamp_from_proto(message.enqueued_at?)?,
        })
    }
}

/// The inverse of `timestamp_to_proto`: what that never makes is none.
fn timestamp_from_proto(timestamp: prost_types::Timestamp) -> Option<Timestamp> {
    let (seconds, nanos) = (u64::try_from(timestamp.seconds).ok()?, u64::try_from(timestamp.nanos).ok()?);
    let milliseconds = seconds.checked_mul(1_000)?.checked_add(nanos / 1_000_000)?;
    (timestamp_to_proto(Timestamp(milliseconds)) == timestamp).then_some(Timestamp(milliseconds))
}

fn oldest_from_proto(oldest: Option<prost_types::Timestamp>) -> Result<Option<Timestamp>, InvalidOutcome> {
    oldest.map(|time| timestamp_from_proto(time).ok_or(InvalidOutcome::Given)).transpose()
}

fn time_to_live(seconds: u64, nanos: u32) -> Result<Duration, InvalidOutcome> {
    match nanos {
        0..1_000_000_000 => Ok(Duration::new(seconds, nanos)),
        _ => Err(InvalidOutcome::TimeToLive { nanos }),
    }
}

impl MessageId {
    fn to_kept(self) -> internal::KeptMessage {
        internal::KeptMessage { index: self.index.0, item: self.item }
    }

    fn from_kept(message: internal::KeptMessage) -> Self {
        Self { index: Index(message.index), item: message.item }
    }
}

impl QueueInfo {
    fn from_kept(info: v1::QueueInfo) -> Result<Self, InvalidOutcome> {
        Ok(Self {
            name: info.name.parse()?,
            contents: Contents::from_kept(info.contents.unwrap_or_default()),
            counts: Counts::from_kept(info.counts.unwrap_or_default()),
            oldest: oldest_from_proto(info.oldest)?,
        })
    }
}

impl Totals {
    fn from_kept(totals: v1::Totals) -> Result<Self, InvalidOutcome> {
        Ok(Self {
            queues: totals.queues,
            contents: Contents::from_kept(totals.contents.unwrap_or_default()),
            counts: Counts::from_kept(totals.counts.unwrap_or_default()),
            oldest: oldest_from_proto(totals.oldest)?,
            sessions: totals.sessions,
        })
    }
}

impl Contents {
    fn from_kept(contents: v1::Contents) -> Self {
        let v1::Contents { ready, bytes } = contents;
        Self { ready, bytes }
    }
}

impl Counts {
    pub(super) fn from_kept(counts: v1::Counts) -> Self {
        let v1::Counts { enqueued, dequeued } = counts;
        Self { enqueued, dequeued }
    }
}

impl Refusal {
    fn to_kept(&self) -> internal::KeptRefusal {
        let of = |name: &str, queue: Option<&QueueName>, numbers: &[u64]| internal::KeptRefusal {
            name: name.to_owned(),
            queue: queue.map(QueueName::to_string).unwrap_or_default(),
            numbers: numbers.to_vec(),
        };
        match self {
            Self::QueueFull { queue, messages, messages_max } => {
                of("QueueFull", Some(queue), &[*messages, *messages_max])
            }
            Self::TooManyQueues { queues_max } => of("TooManyQueues", None, &[*queues_max]),
            Self::TooManySessions { sessions_max } => of("TooManySessions", None, &[*sessions_max]),
            Self::AnswerTooLarge { bytes_max } => of("AnswerTooLarge", None, &[*bytes_max]),
            Self::QueueNotFound(queue) => of("QueueNotFound", Some(queue), &[]),
            Self::SessionExpired(session) => of("SessionExpired", None, &[session.0]),
            Self::SequenceForgotten { session, sequence } => of("SequenceForgotten", None, &[session.0, sequence.0]),
            Self::TooManyOutcomes { session, outcomes_max } => of("TooManyOutcomes", None, &[session.0, *outcomes_max]),
        }
    }

    fn from_kept(refusal: internal::KeptRefusal) -> Result<Self, InvalidOutcome> {
        let queue = || QueueName::try_from(refusal.queue.as_str());
        Ok(match (refusal.name.as_str(), refusal.numbers.as_slice()) {
            ("QueueFull", &[messages, messages_max]) => Self::QueueFull { queue: queue()?, messages, messages_max },
            ("TooManyQueues", &[queues_max]) => Self::TooManyQueues { queues_max },
            ("TooManySessions", &[sessions_max]) => Self::TooManySessions { sessions_max },
            ("AnswerTooLarge", &[bytes_max]) => Self::AnswerTooLarge { bytes_max },
            ("QueueNotFound", []) => Self::QueueNotFound(queue()?),
            ("SessionExpired", &[session]) => Self::SessionExpired(SessionId(session)),
            ("SequenceForgotten", &[session, sequence]) => {
                Self::SequenceForgotten { session: SessionId(session), sequence: Sequence(sequence) }
            }
            ("TooManyOutcomes", &[session, outcomes_max]) => {
                Self::TooManyOutcomes { session: SessionId(session), outcomes_max }
            }
            (name, numbers) => {
                return Err(InvalidOutcome::Refusal { name: name.to_owned(), numbers: numbers.len() });
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survives(kept: Kept) {
        assert_eq!(Kept::from_proto(kept.to_proto(Sequence(7))), Ok((Sequence(7), kept)));
    }

    fn message(index: u64, item: u32) -> MessageId {
        MessageId { index: Index(index), item }
    }

    #[test]
    fn every_refusal_survives() {
        let queue: QueueName = "a/b".parse().expect("a good name");
        let session = SessionId(u64::MAX);
        let refusals = [
            Refusal::QueueFull { queue: queue.clone(), messages: 3, messages_max: 2 },
            Refusal::TooManyQueues { queues_max: 4 },
            Refusal::TooManySessions { sessions_max: 5 },
            Refusal::AnswerTooLarge { bytes_max: 6 },
            Refusal::QueueNotFound(queue),
            Refusal::SessionExpired(session),
            Refusal::SequenceForgotten { session, sequence: Sequence(8) },
            Refusal::TooManyOutcomes { session, outcomes_max: 9 },
        ];
        refusals.map(Kept::Refused).into_iter().for_each(survives);
    }

    #[test]
    fn every_outcome_survives() {
        let queue = QueueInfo {
            name: "q".parse().expect("a good name"),
            contents: Contents { ready: 1, bytes: u64::MAX },
            counts: Counts { enqueued: 2, dequeued: 3 },
            oldest: Some(Timestamp(1_234)),
        };
        let totals = Totals {
            queues: 1,
            contents: queue.contents,
            counts: queue.counts,
            oldest: Some(Timestamp(u64::MAX)),
            sessions: 4,
        };
        let given = |index, item, at| Given { id: message(index, item), enqueued_at: Timestamp(at) };
        let outcomes = [
            Outcome::SessionOpened { id: SessionId(3), time_to_live: Duration::new(u64::MAX, 999_999_999) },
            Outcome::SessionClosed,
            Outcome::Enqueued(message(u64::MAX, u32::MAX)),
            Outcome::Dequeued(None),
            Outcome::Dequeued(Some(given(0, 0, 0))),
            Outcome::Peeked(vec![]),
            Outcome::Peeked(vec![given(1, 0, 999), given(1, 1, u64::MAX)]),
            Outcome::Queues { queues: vec![], more: false },
            Outcome::Queues { queues: vec![queue.clone(), queue], more: true },
            Outcome::Stats(totals),
            Outcome::Stats(Totals { oldest: None, ..totals }),
        ];
        survives(Kept::Executed { index: Index(0), outcomes: [].into() });
        survives(Kept::Executed { index: Index(9), outcomes: outcomes.into() });
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |name: &str, queue: &str, numbers: &[u64]| {
            let refusal = internal::KeptRefusal { name: name.into(), queue: queue.into(), numbers: numbers.to_vec() };
            Kept::from_proto(internal::KeptOutcome { sequence: 1, kept: Some(Kind::Refused(refusal)) })
        };
        let unknown = |name: &str, numbers| Err(InvalidOutcome::Refusal { name: name.into(), numbers });
        assert_eq!(refused("QueueFull", "", &[1, 2]), Err(InvalidQueueName::Empty.into()));
        assert_eq!(refused("QueueFull", "q", &[1]), unknown("QueueFull", 1));
        assert_eq!(refused("QueueFuller", "q", &[1, 2]), unknown("QueueFuller", 2));
        let executed = |outcome| {
            let outcomes = vec![internal::KeptResult { outcome }];
            let executed = internal::KeptExecuted { index: 1, outcomes };
            Kept::from_proto(internal::KeptOutcome { sequence: 1, kept: Some(Kind::Executed(executed)) })
        };
        assert_eq!(executed(None), Err(InvalidOutcome::NoKind));
        let opened = internal::KeptSessionOpened { id: 1, seconds: u64::MAX, nanos: 1_000_000_000 };
        let too_long = InvalidOutcome::TimeToLive { nanos: 1_000_000_000 };
        assert_eq!(executed(Some(What::SessionOpened(opened))), Err(too_long));
        let info = v1::QueueInfo { name: "?".into(), ..Default::default() };
        let queues = v1::Queues { queues: vec![info], more: false };
        assert!(matches!(executed(Some(What::Queues(queues))), Err(InvalidOutcome::QueueName(_))));
        let given = |id, seconds, nanos| {
            let enqueued_at = Some(prost_types::Timestamp { seconds, nanos });
            let message = v1::StoredMessage { id, enqueued_at, ..Default::default() };
            executed(Some(What::Peeked(internal::KeptGiven { messages: vec![message] })))
        };
        let id = Some(v1::MessageId { shard: 0, index: 1, item: 1 });
        assert!(given(id, 1, 2_000_000).is_ok());
        for (id, seconds, nanos) in [(None, 1, 0), (id, -1, 0), (id, 1, 1), (id, i64::MAX, 0), (id, 1, -1)] {
            assert_eq!(given(id, seconds, nanos), Err(InvalidOutcome::Given), "{seconds} s {nanos} ns");
        }
        let nothing = internal::KeptOutcome { sequence: 1, kept: None };
        assert_eq!(Kept::from_proto(nothing), Err(InvalidOutcome::NoKind));
    }
}
