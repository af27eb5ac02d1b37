//! What a log entry asks of the state machine, and what became of it. Plain data; its encoding is in `codec`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::{Given, LeaseId, LeaseToken, Message, MessageId, MessageState};
use crate::ids::{Sequence, SessionId, Timestamp};

/// The name of a queue: 1 to 255 bytes of letters, digits, `.`, `_`, `-`, `:` and `/`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueName(Arc<str>);

impl QueueName {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 255;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for QueueName {
    type Error = InvalidQueueName;

    fn try_from(text: &str) -> Result<Self, InvalidQueueName> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '/');
        if text.is_empty() {
            return Err(InvalidQueueName::Empty);
        }
        if text.len() > Self::BYTES_MAX {
            return Err(InvalidQueueName::TooLong { bytes: text.len() });
        }
        match text.char_indices().find(|(_, c)| !allowed(*c)) {
            Some((position, character)) => Err(InvalidQueueName::Character { character, position }),
            None => Ok(Self(text.into())),
        }
    }
}

impl FromStr for QueueName {
    type Err = InvalidQueueName;

    fn from_str(text: &str) -> Result<Self, InvalidQueueName> {
        Self::try_from(text)
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text cannot name a queue. Every message states the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQueueName {
    /// There is no text.
    #[error("the queue name is empty; {QUEUE_NAME_RULE}")]
    Empty,
    /// It is too long.
    #[error("the queue name has {bytes} bytes; {QUEUE_NAME_RULE}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It has a character that no name may have.
    #[error("the queue name has {character:?} at byte {position}; {QUEUE_NAME_RULE}")]
    Character {
        /// The first such character.
        character: char,
        /// Where it begins, in bytes.
        position: usize,
    },
}

const QUEUE_NAME_RULE: &str = "a name has 1 to 255 bytes of letters, digits, '.', '_', '-', ':' and '/'";

/// What a log entry asks for. Its operations take effect together, or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The place in the client's session, if the client has one.
    pub session: Option<SessionRequest>,
    /// The leader's clock.
    pub timestamp: Timestamp,
    /// What to do.
    pub operations: Vec<Operation>,
    /// The leader's own entry: end leases, delays and sessions that are due at `timestamp`. Has no operations.
    pub expiry: bool,
}

/// Where a request stands in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRequest {
    /// The session.
    pub id: SessionId,
    /// The number of the request.
    pub sequence: Sequence,
    /// Outcomes below this one are forgotten.
    pub lowest_pending: Sequence,
}

/// One client verb with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Opens a session. Alone in its command, which has no session.
    OpenSession,
    /// Closes the session of the command. Alone in its command.
    CloseSession,
    /// Appends a message to a queue, which is made if it does not exist.
    Enqueue {
        /// The queue.
        queue: QueueName,
        /// What to append.
        message: Message,
        /// It cannot be taken before so long.
        delay: Duration,
    },
    /// Gives out the oldest messages of a queue for a time.
    Lease {
        /// The queue.
        queue: QueueName,
        /// How many at most; fewer where the answer would grow too large.
        limit: u32,
        /// How long; zero: as long as the queue's settings say.
        duration: Duration,
        /// As in `Dequeue`.
        wait: bool,
    },
    /// Ends leases.
    Settle {
        /// The queue.
        queue: QueueName,
        /// Which, and how.
        settlements: Vec<(LeaseToken, Settlement)>,
        /// Refuse the command if one has ended.
        all_or_none: bool,
    },
    /// Makes leases end so long after this.
    ExtendLease {
        /// The queue.
        queue: QueueName,
        /// Which.
        tokens: Vec<LeaseToken>,
        /// How long; zero: as long as the queue's settings say.
        duration: Duration,
    },
    /// Makes the oldest dead messages ready again, as if they had never been delivered.
    Redrive {
        /// The queue.
        queue: QueueName,
        /// How many at most.
        limit: u32,
    },
    /// Changes what is chosen for a queue.
    SetQueue {
        /// The queue.
        queue: QueueName,
        /// What to change.
        chosen: Chosen,
    },
    /// Takes the oldest message out of a queue.
    Dequeue {
        /// The queue.
        queue: QueueName,
        /// If there is none, decide nothing: the leader asks again when there is one. Means something only where the operation
        /// is alone in its command.
        wait: bool,
    },
    /// Shows the oldest messages of a queue that are in one state.
    Peek {
        /// The queue.
        queue: QueueName,
        /// How many at most; fewer where the answer would grow too large.
        limit: u32,
        /// Which state.
        state: MessageState,
        /// Messages after this one only.
        after: Option<MessageId>,
    },
    /// Names queues in order.
    ListQueues {
        /// Names after this one only.
        after: Option<QueueName>,
        /// How many at most.
        limit: u32,
    },
    /// Counts what the shard holds, or one queue.
    Stats {
        /// None: everything.
        queue: Option<QueueName>,
    },
}

impl Operation {
    /// True for what changes nothing.
    pub fn only_reads(&self) -> bool {
        matches!(self, Self::Peek { .. } | Self::ListQueues { .. } | Self::Stats { .. })
    }

    /// The queue whose messages it takes, and how many at most.
    pub fn takes_from(&self) -> Option<(&QueueName, u32)> {
        match self {
            Self::Dequeue { queue, .. } => Some((queue, 1)),
            Self::Lease { queue, limit, .. } => Some((queue, *limit)),
            _ => None,
        }
    }

    /// Whether it waits, where there is nothing to take.
    pub fn waits(&self) -> bool {
        matches!(self, Self::Dequeue { wait: true, .. } | Self::Lease { wait: true, .. })
    }

    /// The same, waiting or not; nothing else waits.
    pub fn set_waits(&mut self, waits: bool) {
        if let Self::Dequeue { wait, .. } | Self::Lease { wait, .. } = self {
            *wait = waits;
        }
    }

    /// The queue that it can make a message of ready.
    pub(super) fn fills(&self) -> Option<&QueueName> {
        let releases = |(_, settlement): &(LeaseToken, Settlement)| matches!(settlement, Settlement::Release { .. });
        match self {
            Self::Enqueue { queue, .. } | Self::Redrive { queue, .. } => Some(queue),
            Self::Settle { queue, settlements, .. } => settlements.iter().any(releases).then_some(queue),
            _ => None,
        }
    }
}

/// What is to become of a message whose lease a consumer ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It is done with.
    Ack,
    /// It is ready again.
    Release {
        /// So much later.
        delay: Duration,
    },
    /// It is dead.
    Reject {
        /// Why, for people.
        reason: Arc<str>,
    },
}

/// What somebody has chosen for a queue; none: nobody has, or it stays as it is. Zero: the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Chosen {
    /// How long a lease lasts that does not say.
    pub lease_duration: Option<Duration>,
    /// How often a message is delivered before it is dead.
    pub deliveries_max: Option<u32>,
    /// How many messages there may be, in whatever state.
    pub messages_max: Option<u64>,
}

/// What is in force for a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// How long a lease lasts that does not say.
    pub lease_duration: Duration,
    /// How often a message is delivered before it is dead.
    pub deliveries_max: u32,
    /// How many messages there may be, in whatever state.
    pub messages_max: u64,
}

impl Settings {
    /// As long as nobody has chosen something else.
    pub const LEASE_DURATION: Duration = Duration::from_secs(30);
    /// As long as nobody has chosen something else.
    pub const DELIVERIES_MAX: u32 = 20;
}

/// What became of one operation. Messages are named, not carried.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The session is open.
    SessionOpened {
        /// Its name.
        id: SessionId,
        /// It ends when it has not been used for this long.
        time_to_live: Duration,
    },
    /// The session is closed.
    SessionClosed,
    /// The message is in its queue.
    Enqueued(MessageId),
    /// The message that was taken; none: the queue was empty.
    Dequeued(Option<Given>),
    /// The messages that were given out; none: the queue had none that was ready.
    Leased {
        /// Of all of them.
        lease: LeaseId,
        /// Which.
        messages: Vec<Given>,
    },
    /// For each settlement whether it was done; otherwise the lease had ended.
    Settled(Vec<bool>),
    /// Leases end later, or earlier.
    LeaseExtended {
        /// When.
        until: Timestamp,
        /// For each token whether it was done; otherwise the lease had ended.
        extended: Vec<bool>,
    },
    /// So many dead messages are ready again.
    Redriven(u64),
    /// What is in force for the queue.
    QueueSet(Settings),
    /// The oldest messages.
    Peeked(Vec<Given>),
    /// Queues in the order of their names.
    Queues {
        /// As many as were asked for.
        queues: Vec<QueueInfo>,
        /// There are more.
        more: bool,
    },
    /// What there is.
    Stats(Totals),
}

impl Outcome {
    /// The messages that belong to an answer with this outcome, body and headers.
    pub fn messages(&self) -> impl Iterator<Item = MessageId> {
        let given = match self {
            Self::Dequeued(message) => message.as_slice(),
            Self::Peeked(messages) | Self::Leased { messages, .. } => messages,
            Self::SessionOpened { .. } | Self::SessionClosed => &[],
            Self::Settled(_) | Self::LeaseExtended { .. } | Self::Redriven(_) | Self::QueueSet(_) => &[],
            Self::Enqueued(_) | Self::Queues { .. } | Self::Stats(_) => &[],
        };
        given.iter().map(|message| message.id)
    }
}

/// A queue and what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueueInfo {
    /// Its name.
    pub name: QueueName,
    /// The messages in it.
    pub contents: Contents,
    /// What has happened to its messages.
    pub counts: Counts,
    /// When the first message that can be taken was enqueued, if there is one.
    pub oldest: Option<Timestamp>,
    /// What is in force for it.
    pub settings: Settings,
}

/// The messages that are in a queue, by their states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Contents {
    /// Can be taken.
    pub ready: u64,
    /// Some consumer has them.
    pub leased: u64,
    /// Cannot be taken yet.
    pub delayed: u64,
    /// Nobody is to take them.
    pub dead: u64,
    /// Bodies and headers of all of them, in bytes.
    pub bytes: u64,
}

impl Contents {
    /// In whatever state.
    pub fn messages(&self) -> u64 {
        self.ready + self.leased + self.delayed + self.dead
    }

    pub(super) fn of(&mut self, state: MessageState) -> &mut u64 {
        match state {
            MessageState::Ready => &mut self.ready,
            MessageState::Leased => &mut self.leased,
            MessageState::Delayed => &mut self.delayed,
            MessageState::Dead => &mut self.dead,
        }
    }
}

/// What has happened to the messages of a queue since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counts {
    /// Were enqueued.
    pub enqueued: u64,
    /// Were taken out by a dequeue.
    pub dequeued: u64,
    /// Were acknowledged, and so are gone as well.
    pub acknowledged: u64,
    /// Were delivered although they had been delivered before.
    pub redelivered: u64,
    /// Became dead; a message can do so several times.
    pub dead_lettered: u64,
}

impl Counts {
    /// Both together. Wraps around, as a damaged snapshot can say anything.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            enqueued: self.enqueued.wrapping_add(other.enqueued),
            dequeued: self.dequeued.wrapping_add(other.dequeued),
            acknowledged: self.acknowledged.wrapping_add(other.acknowledged),
            redelivered: self.redelivered.wrapping_add(other.redelivered),
            dead_lettered: self.dead_lettered.wrapping_add(other.dead_lettered),
        }
    }

    /// With it, `plus` takes back what it has added.
    pub(super) fn negated(self) -> Self {
        Self {
            enqueued: self.enqueued.wrapping_neg(),
            dequeued: self.dequeued.wrapping_neg(),
            acknowledged: self.acknowledged.wrapping_neg(),
            redelivered: self.redelivered.wrapping_neg(),
            dead_lettered: self.dead_lettered.wrapping_neg(),
        }
    }
}

/// What a shard holds, or one of its queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Totals {
    /// Queues, empty ones included; 1 for one queue.
    pub queues: u64,
    /// The messages in them.
    pub contents: Contents,
    /// What has happened to their messages.
    pub counts: Counts,
    /// As in [`QueueInfo`]; none for all queues together, of which nobody keeps an eye on the oldest message.
    pub oldest: Option<Timestamp>,
    /// Open sessions; 0 for one queue, as sessions belong to the shard.
    pub sessions: u64,
    /// What is in force for the queue; none for all of them together.
    pub settings: Option<Settings>,
}

/// Why the state machine says no; nothing has changed. Under a session the answer is final, a retry gets the same, except for
/// the last three: they are about the session itself and do not use the sequence.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The queue holds as much as it may.
    #[error("queue '{queue}' is full: it holds {messages} messages of {messages_max}, {dead} of them dead")]
    QueueFull {
        /// The queue.
        queue: QueueName,
        /// What it holds, in whatever state.
        messages: u64,
        /// How many of these are dead.
        dead: u64,
        /// What it may hold.
        messages_max: u64,
    },
    /// A lease that was to be settled had ended, and all or none were to be.
    #[error("the lease {token} of a message of queue '{queue}' has ended")]
    LeaseExpired {
        /// The queue.
        queue: QueueName,
        /// The first such lease.
        token: LeaseToken,
    },
    /// There are as many queues as there may be.
    #[error("there are {queues_max} queues, and no more are allowed")]
    TooManyQueues {
        /// What is allowed.
        queues_max: u64,
    },
    /// There are as many sessions as there may be.
    #[error("there are {sessions_max} sessions, and no more are allowed")]
    TooManySessions {
        /// What is allowed.
        sessions_max: u64,
    },
    /// The messages and names that the answer would carry are more than an answer may carry: nothing was taken.
    #[error("the answer would carry more than {bytes_max} bytes: ask for fewer messages at once")]
    AnswerTooLarge {
        /// What is allowed.
        bytes_max: u64,
    },
    /// There is no such queue to describe.
    #[error("there is no queue '{0}'")]
    QueueNotFound(QueueName),
    /// The session does not exist any more, or never did.
    #[error("session {0} has expired")]
    SessionExpired(SessionId),
    /// The outcome of this request was forgotten because the client said it no longer waits for it.
    #[error("request {sequence} of session {session} is below the lowest that the client waits for")]
    SequenceForgotten {
        /// The session.
        session: SessionId,
        /// The request.
        sequence: Sequence,
    },
    /// The session keeps as many outcomes as it may: the client must raise `lowest_pending`.
    #[error("session {session} has {outcomes_max} outcomes that its client still waits for, and no more are kept")]
    TooManyOutcomes {
        /// The session.
        session: SessionId,
        /// What is kept.
        outcomes_max: u64,
    },
}
