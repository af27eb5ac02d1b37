//! What Raft knows of a snapshot; what is in it is the state machine's business.

use super::Configuration;
use crate::ids::{EntryId, Index};

/// A snapshot takes the place of all entries up to its last one (paper, section 7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry that it has in it.
    pub last: EntryId,
    /// The membership as of that entry.
    pub configuration: Configuration,
    /// Where that membership stands in the log: at `last` or before.
    pub configuration_index: Index,
}
