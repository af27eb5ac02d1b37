//! The manifest.

use crate::ids::EntryId;

/// The file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// Its name.
    pub name: String,
    /// The last entry that the snapshot has in it.
    pub last: EntryId,
    /// Its length.
    pub bytes: u64,
}
