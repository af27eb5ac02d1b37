//! What can go wrong with what is on disk.

use std::io;

use crate::ids::{ClusterId, EntryId, Index, ShardId};

/// Why storage cannot do what was asked. Files are named as an operator would name them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused. After a failed write or sync of a segment the log takes no further writes.
    #[error("cannot {operation} {file}: {source}")]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On which file or directory.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier write or sync of a segment failed, or the log is closed: what is on disk is not known, so nothing more is
    /// written.
    #[error("the log takes no writes because an earlier one failed, or because it is closed")]
    Failed,
    /// The directory could not be synced, or the manifest not be replaced: which files are in force is not known, so none is
    /// added or removed any more. Starting again finds out.
    #[error("no file is added or removed any more, because it is not known whether the last change of them is durable")]
    FilesUnknown,
    /// Bytes that were durable have changed.
    #[error("{file} is corrupt at offset {offset}: {why}")]
    Corrupt {
        /// The segment, file of bodies, index or snapshot.
        file: String,
        /// Where in it the bad frame, record or block begins.
        offset: u64,
        /// What does not hold.
        why: String,
    },
    /// One of the small files cannot be trusted.
    #[error("{file} is damaged: {why}; restore it, or let the node join anew with an empty directory")]
    Damaged {
        /// The file.
        file: String,
        /// What does not hold.
        why: String,
    },
    /// A later release of Quorate wrote the directory. Nothing in it was touched.
    #[error("{file} has format version {found} and this release reads up to {known}: start a later release of quorate")]
    NewerFormat {
        /// The file that tells the version.
        file: String,
        /// Its version.
        found: u32,
        /// The latest one that this release knows.
        known: u32,
    },
    /// A release of Quorate wrote the state that writes states differently, an earlier one or a later one. Nothing is wrong with
    /// the file.
    #[error(
        "the state in {file} has format {found}, which this release does not read: start the release of quorate that wrote it, \
         or let the node join anew with an empty directory"
    )]
    AnotherFormat {
        /// The snapshot.
        file: String,
        /// Its format; 0 in the earliest ones.
        found: u32,
    },
    /// Another process has the directory.
    #[error("{directory} is in use by another process")]
    Locked {
        /// The directory.
        directory: String,
    },
    /// The node was removed from its cluster, and the directory is about to be another node's.
    #[error("{directory} takes no writes, because the data of a removed node is being set aside in it")]
    SetAside {
        /// The directory.
        directory: String,
    },
    /// The directory belongs to a member of another cluster.
    #[error("{directory} belongs to cluster {found}, not to {wanted}: use another directory")]
    AnotherCluster {
        /// The directory.
        directory: String,
        /// Whose it is.
        found: ClusterId,
        /// Whose it was taken for.
        wanted: ClusterId,
    },
    /// The entry is not in the log. Asked for its body: nor is that kept outside of it.
    #[error("entry {index} of shard {shard} is not in the log")]
    NotInLog {
        /// The shard.
        shard: ShardId,
        /// The index.
        index: Index,
    },
    /// The shard has a snapshot that is as late as the one to be put in its place.
    #[error("the snapshot of shard {shard} up to {last} is not put in the place of the one up to {found}")]
    Superseded {
        /// The shard.
        shard: ShardId,
        /// The last entry of the snapshot that is too late.
        last: EntryId,
        /// The last entry of the one that is there.
        found: EntryId,
    },
    /// A payload from disk or from a peer does not say what its kind promises.
    #[error("malformed payload: {0}")]
    Malformed(&'static str),
}

impl Error {
    /// Names what was tried, for `map_err`.
    pub(super) fn io(operation: &'static str, file: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let file = file.into();
        move |source| Error::Io { operation, file, source }
    }

    /// True when nothing is wrong with the disk: too many files are open, in this process or in the whole system.
    pub fn lacks_files(&self) -> bool {
        use rustix::io::Errno;
        let Error::Io { source, .. } = self else { return false };
        matches!(Errno::from_io_error(source), Some(Errno::MFILE | Errno::NFILE))
    }

    /// True when there was no room, on the disk or in what the user may have of it.
    pub(super) fn is_full_disk(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Error::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    /// Bytes that do not hold what they should.
    pub(super) fn corrupt(file: impl Into<String>, offset: u64, why: impl Into<String>) -> Error {
        Error::Corrupt { file: file.into(), offset, why: why.into() }
    }
}
