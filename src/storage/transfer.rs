//! What a node that needs a snapshot asks of the one that has it, and what that answers. Plain data.

use bytes::Bytes;

use crate::ids::{EntryId, Index, ShardId};

/// The most bytes of one answer.
pub const PIECE_BYTES_MAX: u32 = 1 << 20;

/// Entries whose bodies one request may ask for.
pub const INDEXES_MAX: usize = 1024;

/// A request for a piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whose snapshot.
    pub shard: ShardId,
    /// The last entry that the snapshot has in it.
    pub last: EntryId,
    /// The most bytes of the answer, [`PIECE_BYTES_MAX`] at most.
    pub bytes_max: u32,
    /// What is asked for.
    pub piece: Piece,
}

/// A part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Of the file with the metadata.
    File {
        /// Where the piece begins.
        offset: u64,
    },
    /// Of the records of living entries, one after the other.
    Bodies {
        /// The entries, in order; at most [`INDEXES_MAX`].
        indexes: Vec<Index>,
        /// Bytes of the first record that are there already.
        skip: u32,
        /// Their CRC32C: they are continued only with the rest of a record that begins with them. A compaction can have written the
        /// record anew, without what has died of it. None: a release that does not tell asks.
        skip_crc: Option<u32>,
    },
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Some of what was asked for: at least one byte.
    Piece {
        /// The bytes.
        bytes: Bytes,
        /// Their CRC32C.
        crc: u32,
        /// The length of the file, if that was asked for.
        size: u64,
    },
    /// That snapshot is not kept any more.
    Gone {
        /// The last entry of the one that can be had instead. The same one: the first record is not any more the one that a part of
        /// is there.
        instead: Option<EntryId>,
    },
}
