//! What all that share a log hold: the disk, the manifest, and where everything lies.

use std::sync::Arc;

use super::Error;
use super::bodies::FinishedBodies;
use super::disk::Disk;
use super::manifest::SnapshotFile;
use super::pin::Pin;
use super::reader::Reader;
use crate::ids::{EntryId, Index, ShardId};
use crate::state_machine::Living;

/// The files of snapshots, also of those that are being written or received, have names that begin so. When the node starts,
/// those that the manifest does not name are removed.
pub const SNAPSHOT_PREFIX: &str = "snapshot-";

/// A handle to the store. Clones are handles to the same one.
#[derive(Clone)]
pub struct Store {
    disk: Arc<dyn Disk>,
}

/// A snapshot that came from another node: whole, synced, checked, its bodies added, and not yet in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The name under which the file was written; begins with [`SNAPSHOT_PREFIX`].
    pub written: String,
    /// The name that it gets; begins with [`SNAPSHOT_PREFIX`].
    pub name: String,
    /// The last entry that the snapshot has in it.
    pub last: EntryId,
    /// The length of the file.
    pub bytes: u64,
    /// Entries of this node's log up to here are known to be committed: their bodies are what the snapshot means.
    pub committed: Index,
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Entries that left the log.
    pub entries: u64,
    /// Files that went, or were recycled.
    pub files_removed: u64,
    /// Bytes of records that were written once more.
    pub bytes_copied: u64,
}

impl Store {
    /// The disk, to write a snapshot's file to. The names of such files begin with [`SNAPSHOT_PREFIX`].
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The size of a segment, and at which a file of bodies is full.
    pub fn segment_bytes(&self) -> u64 {
        unimplemented!()
    }

    /// Counts bytes that somebody else wrote to the file of a snapshot, for `usage`.
    pub fn count_snapshot_bytes(&self, _bytes: u64) {}

    /// Reads entries and bodies.
    pub fn reader(&self) -> Reader {
        unimplemented!()
    }

    /// Makes a file that was written as `written` and synced the shard's snapshot, under `name`; the log begins after `start`
    /// (a start before the one that holds changes nothing of it). One step: a crash leaves the old snapshot or this one. Waits until the
    /// log is durable up to `last`. The old file goes as soon as nobody reads from it.
    ///
    /// # Errors
    /// [`Error::Superseded`]: a snapshot as late as this one is there; the file was removed. [`Error::Io`], [`Error::Failed`].
    pub fn commit_snapshot(
        &self,
        _shard: ShardId,
        _written: &str,
        _name: &str,
        _last: EntryId,
        _bytes: u64,
        _start: EntryId,
    ) -> Result<(), Error> {
        unimplemented!()
    }

    /// The shard's snapshot.
    pub fn snapshot(&self, _shard: ShardId) -> Option<SnapshotFile> {
        unimplemented!()
    }

    /// Lets the next `Log::append` of a write with this snapshot put it in force. One that was offered before is removed.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn offer_received(&self, _shard: ShardId, _received: Received) -> Result<(), Error> {
        unimplemented!()
    }

    /// Names a file of bodies in the manifest and lets readers find them, in one step. Of two records of one entry the longer one
    /// is kept: the other has lost more of its items.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Failed`].
    pub fn add_bodies(&self, _finished: FinishedBodies) -> Result<(), Error> {
        unimplemented!()
    }

    /// `living` is all that lives as of the snapshot whose last entry is `last`. Does nothing when that is not the shard's snapshot any more.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Io`], [`Error::Failed`].
    pub fn compact(
        &self,
        _shard: ShardId,
        _last: EntryId,
        _living: &[Living],
        _pace: &mut dyn FnMut(u64),
    ) -> Result<Compacted, Error> {
        unimplemented!()
    }

    /// Holds the shard's snapshot and all its bodies as they are, until the pin is dropped. None: there is no snapshot.
    pub fn pin(&self, _shard: ShardId) -> Option<Pin> {
        unimplemented!()
    }

    /// True when the body is there: in a file of bodies, or in the log at or before `committed`.
    pub fn has_body(&self, _shard: ShardId, _index: Index, _committed: Index) -> bool {
        unimplemented!()
    }

    /// Living entries whose bodies are nowhere: at most eight are named.
    pub fn missing_bodies(&self, _shard: ShardId, _living: &[Living]) -> Vec<Index> {
        unimplemented!()
    }
}
