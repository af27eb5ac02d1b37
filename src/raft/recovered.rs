//! What a replica finds when it starts.

use super::{Configuration, HardState};
use crate::ids::{EntryId, Index};

/// What storage recovered of a replica. The default is that of a replica which has never been written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Term and vote.
    pub hard_state: HardState,
    /// The first entry of each run of equal terms, in order; empty for an empty log.
    pub terms: Vec<EntryId>,
    /// The last index of the log; 0 for an empty log.
    pub last: Index,
    /// The configurations in the log, with their indexes, in order.
    pub configurations: Vec<(Index, Configuration)>,
}
