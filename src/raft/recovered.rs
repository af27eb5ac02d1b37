//! What a replica finds when it starts.

use super::{Configuration, HardState};
use crate::ids::{EntryId, Index};

/// What storage recovered of a replica. The default is that of a replica which has never been written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Term and vote.
    pub hard_state: HardState,
    /// The log begins after this entry; `0@0` when it has never been compacted. Everything before is in the snapshot.
    pub start: EntryId,
    /// The last entry that the snapshot has in it, `start` or later; `0@0`: there is no snapshot.
    pub snapshot: EntryId,
    /// The first entry of each run of equal terms after `start`, in order. The first one belongs to a run that began before
    /// `start` when it has the same term.
    pub terms: Vec<EntryId>,
    /// The last index of the log; that of `start` when it has no entries.
    pub last: Index,
    /// The configuration of the snapshot, then those in the log after the snapshot, with their indexes, in order.
    pub configurations: Vec<(Index, Configuration)>,
}
