//! What the log held when the node started: all that the Raft core needs to go on.

use super::{Configuration, HardState};
use crate::ids::{EntryId, Index};

/// What storage found on disk for one shard. The default one is that of a node that never wrote anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The last term and vote.
    pub hard_state: HardState,
    /// The first entry of each run of equal terms, in order; empty: empty log.
    pub terms: Vec<EntryId>,
    /// The last index; 0: empty log.
    pub last: Index,
    /// Configurations in the log, with their index, in order.
    pub configurations: Vec<(Index, Configuration)>,
}
