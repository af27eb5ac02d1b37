//! The newtypes that every room shares. A number that names something is never a bare integer.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

/// The longest name of a node, in bytes: that of a DNS name.
pub const NODE_NAME_BYTES_MAX: usize = 253;

/// True for 1 to 253 letters, digits, `.`, `_` and `-`: the name of a node goes into DNS names and log lines.
pub fn is_node_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=NODE_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

/// The most traces that go along with one message between peers. What is beyond is not told.
pub const TRACES_MAX: usize = 16;

/// A span of a client's trace, as W3C Trace Context names it: one that is sampled. It travels beside what is replicated and is
/// never part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; not all zeros.
    pub trace_id: [u8; 16],
    /// The span in it; not all zeros.
    pub span_id: [u8; 8],
}

/// Defines a counter newtype: ordered, printable as its number.
macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The one after this.
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }

            /// The one before this; 0 has none before it and stays 0.
            pub fn previous(self) -> Self {
                Self(self.0.saturating_sub(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter! {
    /// A Raft term: 0 before the first election.
    Term
}
counter! {
    /// The place of an entry in the log of a shard: 1 is the first, 0 is "before the first".
    Index
}
counter! {
    /// A shard, that is a share of the queues and keys with a Raft group of its own. Shard 0 also holds the cluster's records.
    ShardId
}
counter! {
    /// A client's replicated identity: the index of the log entry that opened it.
    SessionId
}
counter! {
    /// The number of a request within its session: 1 is the first.
    Sequence
}
counter! {
    /// Names one write of a replica. Writes become durable in the order of their tickets; 0 names none.
    Ticket
}
counter! {
    /// A wall-clock time in milliseconds since the Unix epoch. Set by leaders only, so that all replicas agree.
    Timestamp
}

impl Timestamp {
    /// The time `duration` later, in whole milliseconds.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// The shard that exists from the first day.
pub const SHARD_0: ShardId = ShardId(0);

/// Names an entry for ever. "More up to date" in the sense of the Raft paper (section 5.4.1) is `>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// The term in which a leader made the entry.
    pub term: Term,
    /// Its place in the log.
    pub index: Index,
}

impl EntryId {
    /// The id `{term, index}`.
    pub fn new(term: Term, index: Index) -> Self {
        Self { term, index }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

/// A node, that is one process with one data directory. Random, made when the directory is formatted, never reused.
/// Written as 16 hexadecimal digits. 0 is no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// All nodes that belong together. Random, made at bootstrap. Written as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u128);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The text is not an id: a node id is 16 hexadecimal digits, a cluster id 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected {digits} hexadecimal digits, not all of them 0")]
pub struct InvalidId {
    digits: usize,
}

fn parse_hexadecimal(text: &str, digits: usize) -> Result<u128, InvalidId> {
    let well_formed = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match u128::from_str_radix(text, 16) {
        Ok(number) if well_formed && number != 0 => Ok(number),
        _ => Err(InvalidId { digits }),
    }
}

impl FromStr for NodeId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        parse_hexadecimal(text, 16).map(|number| Self(number as u64))
    }
}

impl FromStr for ClusterId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        parse_hexadecimal(text, 32).map(Self)
    }
}

/// A reading of a node's monotonic clock, in microseconds since the process started. Comes in with every event of the pure
/// rooms; two nodes' readings cannot be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, duration: Duration) -> Time {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Time(self.0.saturating_add(micros))
    }
}

/// The time from `earlier` to this one; zero if `earlier` is the later one.
impl Sub for Time {
    type Output = Duration;

    fn sub(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Where a node can be reached, as its operator named it. Not part of the Raft configuration: addresses change while
/// membership does not. Of two contacts of one node the one with the higher version is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Whose contact this is.
    pub node: NodeId,
    /// The node's name, such as the name of its pod.
    pub name: String,
    /// `HOST:PORT` of the client port, as other machines reach it.
    pub client_address: String,
    /// `HOST:PORT` of the peer port, as other machines reach it.
    pub peer_address: String,
    /// Counts the changes of this node's addresses: 1 is the first.
    pub version: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_parse_what_they_print() {
        let node = NodeId(0x1f);
        assert_eq!(node.to_string().parse(), Ok(node));
        let cluster = ClusterId(7);
        assert_eq!(cluster.to_string().parse(), Ok(cluster));
    }

    #[test]
    fn a_name_of_a_node_fits_into_dns() {
        for name in ["a", "quorate-0.quorate", "my_host", &"n".repeat(NODE_NAME_BYTES_MAX)] {
            assert!(is_node_name(name), "{name:?}");
        }
        for name in ["", "a b", "é", "a\n", &"n".repeat(NODE_NAME_BYTES_MAX + 1)] {
            assert!(!is_node_name(name), "{name:?}");
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "1f", "+00000000000001f", "0000000000000000", "zzzzzzzzzzzzzzzz"] {
            assert!(text.parse::<NodeId>().is_err(), "{text:?} is no node id");
        }
    }

    #[test]
    fn a_later_term_is_more_up_to_date_than_a_longer_log() {
        let longer = EntryId::new(Term(2), Index(9));
        let later = EntryId::new(Term(3), Index(4));
        assert!(later > longer);
    }
}
