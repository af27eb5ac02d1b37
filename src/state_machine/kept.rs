//! Kept outcomes as protobuf: `quorate.internal.KeptOutcome` in a snapshot.

use std::time::Duration;

use super::codec::{duration_from_proto, extended_to_proto, settled_to_proto, timestamp_to_proto};
use super::session::Kept;
use super::{
    Contents, Counts, DeadReason, Given, InvalidQueueName, LeaseId, LeaseToken, MessageId, MessageState, Outcome,
    QueueInfo, QueueName, Refusal, Settings, Standing, Totals,
};
use crate::ids::{Index, Sequence, SessionId, Timestamp};
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
    /// A message that was given has no state, a lease has no name, or a time is none.
    #[error("a message has no state, a lease has no name, or a time is none")]
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
            Self::Dequeued(given) => What::Dequeued(to_kept(given.as_slice(), None)),
            Self::Peeked(given) => What::Peeked(to_kept(given, None)),
            Self::Leased { lease, messages } => What::Leased(to_kept(messages, Some(lease.to_kept()))),
            Self::Settled(done) => What::Settled(settled_to_proto(done)),
            Self::LeaseExtended { until, extended } => What::LeaseExtended(extended_to_proto(*until, extended)),
            Self::Redriven(moved) => What::Redriven(v1::Redriven { moved: *moved }),
            Self::QueueSet(settings) => What::QueueSet(settings.to_proto()),
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
            What::Dequeued(given) => Self::Dequeued(from_kept(given.messages)?.pop()),
            What::Peeked(given) => Self::Peeked(from_kept(given.messages)?),
            What::Leased(internal::KeptGiven { messages, lease }) => Self::Leased {
                lease: LeaseId::from_kept(lease.ok_or(InvalidOutcome::Given)?),
                messages: from_kept(messages)?,
            },
            What::Settled(v1::Settled { results }) => Self::Settled(results.into_iter().map(is_done).collect()),
            What::LeaseExtended(v1::LeaseExtended { results, due_at }) => Self::LeaseExtended {
                until: due_at.and_then(timestamp_from_proto).ok_or(InvalidOutcome::Given)?,
                extended: results.into_iter().map(is_done).collect(),
            },
            What::Redriven(v1::Redriven { moved }) => Self::Redriven(moved),
            What::QueueSet(settings) => Self::QueueSet(Settings::from_kept(settings)?),
            What::Queues(v1::Queues { queues, more }) => {
                let queues = queues.into_iter().map(QueueInfo::from_kept).collect::<Result<_, _>>()?;
                Self::Queues { queues, more }
            }
            What::Totals(totals) => Self::Stats(Totals::from_kept(totals)?),
        })
    }
}

fn to_kept(given: &[Given], lease: Option<internal::KeptMessage>) -> internal::KeptGiven {
    internal::KeptGiven { messages: given.iter().map(|given| given.to_kept(0)).collect(), lease }
}

fn from_kept(messages: Vec<internal::HeldMessage>) -> Result<Vec<Given>, InvalidOutcome> {
    messages.into_iter().map(|message| Given::from_kept(message).ok_or(InvalidOutcome::Given)).collect()
}

fn is_done(result: i32) -> bool {
    result == i32::from(v1::SettleResult::Done)
}

impl Given {
    /// The message, of `length` bytes.
    pub(super) fn to_kept(&self, length: u32) -> internal::HeldMessage {
        let (state, time, reason) = match &self.standing {
            Standing::Ready => (MessageState::Ready, Timestamp(0), None),
            Standing::Leased { until } => (MessageState::Leased, *until, None),
            Standing::Delayed { until } => (MessageState::Delayed, *until, None),
            Standing::Dead { since, reason: DeadReason::Unacknowledged } => (MessageState::Dead, *since, None),
            Standing::Dead { since, reason: DeadReason::Rejected(reason) } => {
                (MessageState::Dead, *since, Some(reason.to_string()))
            }
        };
        internal::HeldMessage {
            index: self.id.index.0,
            item: self.id.item,
            length,
            enqueued_ms: self.enqueued_at.0,
            deliveries: self.deliveries,
            state: state.to_proto().into(),
            time_ms: time.0,
            lease: None,
            reason,
        }
    }

    /// None: it is in no state.
    pub(super) fn from_kept(message: internal::HeldMessage) -> Option<Self> {
        let time = Timestamp(message.time_ms);
        let reason = message.reason.map_or(DeadReason::Unacknowledged, |reason| DeadReason::Rejected(reason.into()));
        Some(Self {
            id: MessageId { index: Index(message.index), item: message.item },
            enqueued_at: Timestamp(message.enqueued_ms),
            deliveries: message.deliveries,
            standing: match MessageState::from_proto(message.state)? {
                MessageState::Ready => Standing::Ready,
                MessageState::Leased => Standing::Leased { until: time },
                MessageState::Delayed => Standing::Delayed { until: time },
                MessageState::Dead => Standing::Dead { since: time, reason },
            },
        })
    }
}

impl LeaseId {
    pub(super) fn to_kept(self) -> internal::KeptMessage {
        internal::KeptMessage { index: self.index.0, item: self.item }
    }

    pub(super) fn from_kept(lease: internal::KeptMessage) -> Self {
        Self { index: Index(lease.index), item: lease.item }
    }
}

impl Settings {
    fn from_kept(settings: v1::QueueSettings) -> Result<Self, InvalidOutcome> {
        let v1::QueueSettings { lease_duration, deliveries_max, messages_max } = settings;
        let lease_duration = duration_from_proto(lease_duration, "").map_err(|_| InvalidOutcome::Given)?;
        Ok(Self { lease_duration, deliveries_max, messages_max })
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
            settings: Settings::from_kept(info.settings.unwrap_or_default())?,
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
            settings: totals.settings.map(Settings::from_kept).transpose()?,
        })
    }
}

impl Contents {
    fn from_kept(contents: v1::Contents) -> Self {
        let v1::Contents { ready, leased, delayed, dead, bytes } = contents;
        Self { ready, leased, delayed, dead, bytes }
    }
}

impl Counts {
    pub(super) fn from_kept(counts: v1::Counts) -> Self {
        let v1::Counts { enqueued, dequeued, acknowledged, redelivered, dead_lettered } = counts;
        Self { enqueued, dequeued, acknowledged, redelivered, dead_lettered }
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
            Self::QueueFull { queue, messages, dead, messages_max } => {
                of("QueueFull", Some(queue), &[*messages, *dead, *messages_max])
            }
            Self::LeaseExpired { queue, token: LeaseToken { message, lease } } => {
                let numbers = [message.index.0, message.item.into(), lease.index.0, lease.item.into()];
                of("LeaseExpired", Some(queue), &numbers)
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
            ("QueueFull", &[messages, dead, messages_max]) => {
                Self::QueueFull { queue: queue()?, messages, dead, messages_max }
            }
            ("LeaseExpired", &[index, item, lease_index, lease_item]) => {
                let narrow = |number: u64| u32::try_from(number).map_err(|_| InvalidOutcome::Given);
                let message = MessageId { index: Index(index), item: narrow(item)? };
                let lease = LeaseId { index: Index(lease_index), item: narrow(lease_item)? };
                Self::LeaseExpired { queue: queue()?, token: LeaseToken { message, lease } }
            }
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
        let lease = LeaseId { index: Index(5), item: 6 };
        let token = LeaseToken { message: message(u64::MAX, u32::MAX), lease };
        let refusals = [
            Refusal::QueueFull { queue: queue.clone(), messages: 3, dead: 1, messages_max: 2 },
            Refusal::LeaseExpired { queue: queue.clone(), token },
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
        let settings =
            Settings { lease_duration: Duration::new(7, 1_000_000), deliveries_max: 8, messages_max: u64::MAX };
        let queue = QueueInfo {
            name: "q".parse().expect("a good name"),
            contents: Contents { ready: 1, leased: 2, delayed: 3, dead: 4, bytes: u64::MAX },
            counts: Counts { enqueued: 5, dequeued: 6, acknowledged: 7, redelivered: 8, dead_lettered: 9 },
            oldest: Some(Timestamp(1_234)),
            settings,
        };
        let totals = Totals {
            queues: 1,
            contents: queue.contents,
            counts: queue.counts,
            oldest: Some(Timestamp(u64::MAX)),
            sessions: 4,
            settings: Some(settings),
        };
        let given = |index, item, at, standing| {
            let (id, enqueued_at) = (message(index, item), Timestamp(at));
            Given { id, enqueued_at, deliveries: item + 1, standing }
        };
        let (until, since) = (Timestamp(u64::MAX), Timestamp(3));
        let rejected = DeadReason::Rejected("why".into());
        let standings = [
            Standing::Ready,
            Standing::Leased { until },
            Standing::Delayed { until },
            Standing::Dead { since, reason: DeadReason::Unacknowledged },
            Standing::Dead { since, reason: rejected },
            Standing::Dead { since, reason: DeadReason::Rejected("".into()) },
        ];
        let lease = LeaseId { index: Index(5), item: 6 };
        let outcomes = [
            Outcome::SessionOpened { id: SessionId(3), time_to_live: Duration::new(u64::MAX, 999_999_999) },
            Outcome::SessionClosed,
            Outcome::Enqueued(message(u64::MAX, u32::MAX)),
            Outcome::Dequeued(None),
            Outcome::Dequeued(Some(given(0, 0, 0, Standing::Ready))),
            Outcome::Peeked(vec![]),
            Outcome::Peeked(standings.iter().cloned().map(|standing| given(1, 2, u64::MAX, standing)).collect()),
            Outcome::Leased { lease, messages: vec![given(1, 0, 999, Standing::Leased { until })] },
            Outcome::Leased { lease, messages: vec![] },
            Outcome::Settled(vec![true, false]),
            Outcome::LeaseExtended { until: Timestamp(u64::MAX), extended: vec![false, true] },
            Outcome::Redriven(u64::MAX),
            Outcome::QueueSet(settings),
            Outcome::Queues { queues: vec![], more: false },
            Outcome::Queues { queues: vec![queue.clone(), queue], more: true },
            Outcome::Stats(totals),
            Outcome::Stats(Totals { oldest: None, settings: None, ..totals }),
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
        assert_eq!(refused("QueueFull", "", &[1, 2, 3]), Err(InvalidQueueName::Empty.into()));
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
        let totals = |seconds, nanos| {
            let oldest = Some(prost_types::Timestamp { seconds, nanos });
            executed(Some(What::Totals(v1::Totals { oldest, ..Default::default() })))
        };
        assert!(totals(1, 2_000_000).is_ok());
        for (seconds, nanos) in [(-1, 0), (1, 1), (i64::MAX, 0), (1, -1)] {
            assert_eq!(totals(seconds, nanos), Err(InvalidOutcome::Given), "{seconds} s {nanos} ns");
        }
        let message = internal::HeldMessage { state: 99, ..Default::default() };
        let unknown_state = internal::KeptGiven { messages: vec![message], lease: None };
        assert_eq!(executed(Some(What::Peeked(unknown_state))), Err(InvalidOutcome::Given));
        assert_eq!(executed(Some(What::Leased(internal::KeptGiven::default()))), Err(InvalidOutcome::Given));
        let nothing = internal::KeptOutcome { sequence: 1, kept: None };
        assert_eq!(Kept::from_proto(nothing), Err(InvalidOutcome::NoKind));
    }
}
