//! What the log is made of.

use bytes::Bytes;

use super::Configuration;
use crate::ids::{Contact, EntryId, NodeId, Term};

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name: no two different entries of a shard have the same one.
    pub id: EntryId,
    /// What it carries.
    pub payload: Payload,
}

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The entry with which a leader begins its term (dissertation, section 6.4).
    Noop,
    /// A command for the state machine; Raft does not look inside.
    Command(Bytes),
    /// A membership. It takes effect when it is appended (paper, section 6).
    Configuration {
        /// The membership.
        configuration: Configuration,
        /// The first address of the member that comes in with it. Raft carries it and does not look inside.
        introduction: Option<Contact>,
    },
}

impl Entry {
    /// About how many bytes the entry takes in a message or in memory.
    pub fn size(&self) -> u64 {
        const OVERHEAD: u64 = 32;
        let payload = match &self.payload {
            Payload::Noop => 0,
            Payload::Command(bytes) => bytes.len() as u64,
            Payload::Configuration { configuration, .. } => 128 + 16 * configuration.members().count() as u64,
        };
        OVERHEAD + payload
    }
}

/// What must never be forgotten besides the log (paper, figure 2, "persistent state").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term this node has seen.
    pub term: Term,
    /// The candidate that got this node's vote in that term.
    pub vote: Option<NodeId>,
}
