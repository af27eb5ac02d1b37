//! A message: what its producer gave, its name, and how it stands with it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;

use crate::ids::{Index, Timestamp};

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
    /// How often it was delivered, this time included where it is being delivered.
    pub deliveries: u32,
    /// How it stands with it; of one that is taken out, how it stood.
    pub standing: Standing,
}

/// The state of a message, with what goes with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It can be taken.
    Ready,
    /// Some consumer has it.
    Leased {
        /// The end of the lease.
        until: Timestamp,
    },
    /// It cannot be taken yet.
    Delayed {
        /// The end of the delay.
        until: Timestamp,
    },
    /// Nobody is to take it.
    Dead {
        /// Since when.
        since: Timestamp,
        /// Why.
        reason: DeadReason,
    },
}

/// A state that a message can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageState {
    /// It can be taken.
    Ready,
    /// Some consumer has it.
    Leased,
    /// It cannot be taken yet.
    Delayed,
    /// Nobody is to take it.
    Dead,
}

/// Why a message is dead.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DeadReason {
    /// It was delivered as often as its queue allows, and never acknowledged.
    Unacknowledged,
    /// A consumer rejected it, and said this.
    Rejected(Arc<str>),
}

/// Names a lease for ever: the operation number `item` of the command at `index` gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseId {
    /// The log entry.
    pub index: Index,
    /// Which of the entry's operations.
    pub item: u32,
}

/// What a consumer has of a message that was leased to it. No two leases of a message have the same. Its text is for
/// the consumer to keep, and not to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseToken {
    /// The message.
    pub message: MessageId,
    /// The lease.
    pub lease: LeaseId,
}

impl fmt::Display for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, lease } = self;
        write!(f, "{}-{}-{}-{}", message.index, message.item, lease.index, lease.item)
    }
}

/// The text is no lease token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("that is no lease token: one is four numbers with '-' between them, as Lease gives it")]
pub struct InvalidLeaseToken;

impl FromStr for LeaseToken {
    type Err = InvalidLeaseToken;

    /// Only what `Display` makes is a token, so that a token has one text.
    fn from_str(text: &str) -> Result<Self, InvalidLeaseToken> {
        let mut numbers = text.splitn(4, '-').map(|number| number.parse::<u64>().map_err(|_| InvalidLeaseToken));
        let mut next = || numbers.next().unwrap_or(Err(InvalidLeaseToken));
        let item = |number: u64| u32::try_from(number).map_err(|_| InvalidLeaseToken);
        let token = Self {
            message: MessageId { index: Index(next()?), item: item(next()?)? },
            lease: LeaseId { index: Index(next()?), item: item(next()?)? },
        };
        (token.to_string() == text).then_some(token).ok_or(InvalidLeaseToken)
    }
}
