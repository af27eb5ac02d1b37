//! Keeps what a snapshot needs for as long as somebody reads it.

use super::Error;
use super::manifest::SnapshotFile;
use crate::ids::Index;

/// A snapshot and its bodies as they were when it was pinned. Files that compaction or a newer snapshot would remove are kept
/// until the last pin that saw them is dropped. Reading waits for the disk.
pub struct Pin {
    snapshot: SnapshotFile,
}

impl Pin {
    /// The snapshot.
    pub fn snapshot(&self) -> &SnapshotFile {
        &self.snapshot
    }

    /// Bytes of files that are there only because of pins, this one among them.
    pub fn held_bytes(&self) -> u64 {
        unimplemented!()
    }

    /// The whole record of an entry, checked; none if it was not there when the pin was made.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Io`].
    pub fn read_body(&self, _index: Index) -> Result<Option<bytes::Bytes>, Error> {
        unimplemented!()
    }

    /// Fills `into` from the snapshot's file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn read_snapshot(&self, _offset: u64, _into: &mut [u8]) -> Result<(), Error> {
        unimplemented!()
    }
}
