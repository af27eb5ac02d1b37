//! What a log entry asks of the state machine, and what became of it. Plain data; its encoding is in `codec`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::ids::{Index, Sequence, SessionId, Timestamp};

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
    /// The leader's own entry: end what is due at `timestamp`. Has no operations.
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
    },
    /// Takes the oldest message out of a queue.
    Dequeue {
        /// The queue.
        queue: QueueName,
        /// If there is none, decide nothing: the leader asks again when there is one. Means something only where the operation
        /// is alone in its command.
        wait: bool,
    },
    /// Shows the oldest messages of a queue.
    Peek {
        /// The queue.
        queue: QueueName,
        /// How many at most; fewer where the answer would grow too large.
        limit: u32,
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
}

/// What a queue holds, as its producer gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it says.
    pub body: Body,
    /// What is told beside it.
    pub headers: BTreeMap<String, String>,
}

impl Message {
    /// The length of body and headers in bytes.
    pub fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(key, value)| key.len() + value.len());
        self.body.bytes() + headers.sum::<usize>()
    }
}

/// A message without headers.
impl From<Body> for Message {
    fn from(body: Body) -> Self {
        Self { body, headers: BTreeMap::new() }
    }
}

/// The body of a message, as its producer gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Text.
    Text(String),
    /// Anything.
    Data(Bytes),
}

impl Body {
    /// Its length in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Data(data) => data.len(),
        }
    }
}

/// Where a message is in the log: the operation number `item` of the command at `index`. Also the name of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The log entry that brought it.
    pub index: Index,
    /// Which of the entry's operations.
    pub item: u32,
}

/// A message that the log must keep, because it waits in a queue or an outcome that is kept names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Living {
    /// Where it is.
    pub id: MessageId,
    /// The length of body and headers in bytes; 0 where only an outcome names it, which does not tell.
    pub bytes: u32,
}

/// A message as a client gets it, but for what stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Given {
    /// Its name.
    pub id: MessageId,
    /// When it was enqueued.
    pub enqueued_at: Timestamp,
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
            Self::Peeked(messages) => messages,
            Self::SessionOpened { .. } | Self::SessionClosed => &[],
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
}

/// The messages that are in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Contents {
    /// Can be taken.
    pub ready: u64,
    /// Bodies and headers of all of them, in bytes.
    pub bytes: u64,
}

/// What has happened to the messages of a queue since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counts {
    /// Were enqueued.
    pub enqueued: u64,
    /// Were taken out by a dequeue.
    pub dequeued: u64,
}

impl Counts {
    /// Both together. Wraps around, as a damaged snapshot can say anything.
    pub(super) fn plus(self, other: Self) -> Self {
        self.with(other, u64::wrapping_add)
    }

    /// What `plus` has added to `other`.
    pub(super) fn minus(self, other: Self) -> Self {
        self.with(other, u64::wrapping_sub)
    }

    fn with(self, other: Self, of: fn(u64, u64) -> u64) -> Self {
        Self { enqueued: of(self.enqueued, other.enqueued), dequeued: of(self.dequeued, other.dequeued) }
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
}

/// Why the state machine says no; nothing has changed. Under a session the answer is final, a retry gets the same, except for
/// the last three: they are about the session itself and do not use the sequence.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The queue holds as much as it may.
    #[error("queue '{queue}' is full: it holds {messages} messages of {messages_max}")]
    QueueFull {
        /// The queue.
        queue: QueueName,
        /// What it holds.
        messages: u64,
        /// What it may hold.
        messages_max: u64,
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
