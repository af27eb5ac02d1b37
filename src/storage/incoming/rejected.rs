//! Why an answer to the receiver of a snapshot is not used.

use crate::ids::{EntryId, Index, ShardId};
use crate::storage::Error;
use crate::storage::snapshot::Mismatch;

/// Why an answer is not used. What it should have brought is asked for again, unless the answer was harmless.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// It answers a request for another snapshot, from before a restart. Harmless.
    #[error("an answer for the snapshot up to {0}, which is not the one being fetched")]
    AnotherSnapshot(EntryId),
    /// Nobody waits for it: it is late or repeated. Harmless.
    #[error("an answer that nobody waits for")]
    NotAsked,
    /// It has more bytes than were asked for, or than can be.
    #[error("{bytes} bytes came where at most {bytes_max} can be")]
    Oversized {
        /// What came.
        bytes: u64,
        /// What can be.
        bytes_max: u64,
    },
    /// It has no bytes.
    #[error("a piece of no bytes")]
    Empty,
    /// Its checksum is wrong.
    #[error("the checksum of a piece is wrong")]
    Checksum,
    /// The length of the file is not what it was before. Told twice, it is another file, which is fetched from its beginning.
    #[error("the file has {found} bytes, and had {known} before")]
    AnotherSize {
        /// As it was told.
        found: u64,
        /// As it was told before.
        known: u64,
    },
    /// The file is complete and not whole, or in a format that this release does not know. It is fetched from its beginning.
    #[error("the snapshot that came cannot be used: {0}")]
    File(#[source] Error),
    /// The file is that of another snapshot. It is fetched from its beginning.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The state names a body that the snapshot cannot have. Nothing is asked for any more: another snapshot is needed.
    #[error("the state needs the body of entry {0}, which is not in the snapshot")]
    Living(Index),
    /// A record is not whole. It is fetched from its beginning.
    #[error("the record of entry {index} cannot be used: {why}")]
    Record {
        /// The entry that was asked for.
        index: Index,
        /// What does not hold.
        why: String,
    },
    /// A record is that of another entry.
    #[error("the record of entry {found} of shard {shard} came for entry {wanted}")]
    AnotherRecord {
        /// The entry that came.
        found: EntryId,
        /// Its shard.
        shard: ShardId,
        /// The entry that was asked for.
        wanted: Index,
    },
    /// The disk of this node does not take it. Begin again: bodies that are in the store are kept.
    #[error(transparent)]
    Disk(#[from] Error),
}

impl Rejected {
    /// True when nothing is wrong with anybody: answers may be late and repeated.
    pub fn is_harmless(&self) -> bool {
        matches!(self, Rejected::AnotherSnapshot(_) | Rejected::NotAsked)
    }
}
