//! What the files of a node are kept for, and what was written to them.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::disk::Space;
use super::error::Error;
use super::files::FileId;
use super::manifest::Manifest;
use super::positions::ShardPositions;
use super::spares::Stale;
use super::store::Store;
use crate::ids::{Index, ShardId};

/// How the disk is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of the segments of the log.
    pub log_bytes: u64,
    /// Entries in the logs of all shards.
    pub log_entries: u64,
    /// Bytes of the files that are kept for bodies, their indexes included.
    pub archive_bytes: u64,
    /// How many of those files there are.
    pub archive_files: u64,
    /// Bytes of the records of those bodies, each as it was when it was last written.
    pub living_bytes: u64,
    /// How many bodies there are outside the log.
    pub living: u64,
    /// Bytes of files that wait to become segments.
    pub spare_bytes: u64,
    /// Bytes of the snapshots.
    pub snapshot_bytes: u64,
    /// Bytes of files that are kept only because they are read for another node.
    pub held_bytes: u64,
    /// How many files there are.
    pub files: u64,
    /// Bytes that were handed to the disk since the start, by what for.
    pub written: Written,
    /// The oldest file with entries in it.
    pub oldest: Option<Oldest>,
    /// The room on the file system; none where that is not told.
    pub space: Option<Space>,
}

/// Bytes that were handed to the disk since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Frames and headers of segments.
    pub log: u64,
    /// Zeros ahead of what is written.
    pub zeros: u64,
    /// Bodies that were written once more, their indexes, and manifests.
    pub compaction: u64,
    /// Snapshots, own and received, with the bodies that were received.
    pub snapshots: u64,
}

impl Written {
    /// All together.
    pub fn total(&self) -> u64 {
        self.log + self.zeros + self.compaction + self.snapshots
    }
}

/// A file and what it is kept for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oldest {
    /// The file, as an operator would name it.
    pub file: String,
    /// Why it is there.
    pub why: WhyKept,
}

/// What a file is kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyKept {
    /// Its entries are in a snapshot, and kept for those who read the log.
    ForReaders,
    /// Its entries are in no snapshot.
    SinceTheSnapshot,
    /// Messages in it live.
    Living {
        /// Records with such messages.
        records: u64,
        /// Their length.
        bytes: u64,
    },
    /// A snapshot that refers to it is sent to another node.
    Transfer,
    /// The log begins later: the next compaction takes it away, or keeps what lives in it.
    Compaction,
}

impl fmt::Display for WhyKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForReaders => f.write_str("the latest entries of the log are kept for readers and followers"),
            Self::SinceTheSnapshot => f.write_str("entries since the last snapshot are in it"),
            Self::Living { records, bytes } => {
                write!(f, "messages that live are in it: {records} records of {bytes} bytes")
            }
            Self::Transfer => f.write_str("a snapshot that refers to it is sent to another node"),
            Self::Compaction => f.write_str("it waits for the next compaction"),
        }
    }
}

/// What bytes were written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// See [`Written`].
    Log,
    /// See [`Written`].
    Zeros,
    /// See [`Written`].
    Compaction,
    /// See [`Written`].
    Snapshot,
}

/// Counts what is written, from any thread.
#[derive(Debug, Default)]
pub struct Counters {
    counts: [AtomicU64; 4],
}

impl Counters {
    /// Adds bytes.
    pub fn add(&self, purpose: Purpose, bytes: u64) {
        self.counts[purpose as usize].fetch_add(bytes, Ordering::Relaxed);
    }

    /// All that was added.
    pub fn written(&self) -> Written {
        let count = |purpose: Purpose| self.counts[purpose as usize].load(Ordering::Relaxed);
        Written {
            log: count(Purpose::Log),
            zeros: count(Purpose::Zeros),
            compaction: count(Purpose::Compaction),
            snapshots: count(Purpose::Snapshot),
        }
    }
}

/// Looks at everything, with `doomed` being what is kept for pins. To tell how much of the oldest file lives, all bodies are gone
/// through, as they were at one moment.
pub fn usage(store: &Store, manifest: &Manifest, doomed: &[Stale]) -> Result<Usage, Error> {
    let disk = store.disk();
    let names = disk.list().map_err(Error::io("list", disk.describe("")))?;
    let log = names.iter().filter_map(|name| FileId::parse(name));
    let log: Vec<FileId> = log.filter(|file| !file.is_bodies() && file.number() >= manifest.chain_first).collect();
    let shards = store.positions().all();
    let snapshots = manifest.shards.values().filter_map(|files| files.snapshot.as_ref());
    Ok(Usage {
        log_bytes: log.iter().map(|file| size(store, &file.name())).sum::<Result<u64, Error>>()?,
        log_entries: shards.iter().map(|(_, positions)| positions.entries()).sum(),
        archive_bytes: manifest.archive.iter().map(|file| file.bytes + file.index_bytes).sum(),
        archive_files: manifest.archive.len() as u64,
        living_bytes: shards.iter().map(|(_, positions)| positions.bodies_bytes()).sum(),
        living: shards.iter().map(|(_, positions)| positions.bodies().len() as u64).sum(),
        spare_bytes: store.spares().count().1,
        snapshot_bytes: snapshots.map(|snapshot| snapshot.bytes).sum(),
        held_bytes: doomed.iter().map(|stale| stale.bytes).sum(),
        files: names.len() as u64,
        written: store.counters().written(),
        oldest: oldest(store, manifest, doomed, &shards, log.iter().max().copied()),
        space: disk.space().unwrap_or(None),
    })
}

fn size(store: &Store, name: &str) -> Result<u64, Error> {
    match store.disk().open(name).and_then(|file| file.size()) {
        Ok(size) => Ok(size),
        // It went while this was looking.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Error::io("open", store.disk().describe(name))(error)),
    }
}

/// The oldest file with entries in it, by the number of its segment, and why it is there.
fn oldest(
    store: &Store,
    manifest: &Manifest,
    doomed: &[Stale],
    shards: &[(ShardId, ShardPositions)],
    head: Option<FileId>,
) -> Option<Oldest> {
    let archived = manifest.archive.iter().map(|file| file.file).filter(|file| !file.is_bodies());
    let doomed = doomed.iter().filter_map(|stale| stale.file).filter(|file| !file.is_bodies());
    let chain = head.map(|_| FileId::segment(manifest.chain_first));
    let file = archived.chain(doomed).chain(chain).min()?;
    let why = if file.number() >= manifest.chain_first {
        why_in_chain(manifest, shards, file.number())
    } else if manifest.archive.iter().any(|archived| archived.file == file) {
        why_archived(shards, file)
    } else {
        WhyKept::Transfer
    };
    Some(Oldest { file: store.files().describe(file), why })
}

fn why_in_chain(manifest: &Manifest, positions: &[(ShardId, ShardPositions)], segment: u64) -> WhyKept {
    let mut why = WhyKept::Compaction;
    for (shard, entries) in positions {
        let snapshot = manifest.snapshot(*shard).map_or(Index(0), |snapshot| snapshot.last.index);
        let first = entries.first().filter(|first| first.file.number() <= segment);
        if first.is_none() || entries.start() < manifest.start(*shard).index {
            continue;
        }
        if entries.start() >= snapshot {
            return WhyKept::SinceTheSnapshot;
        }
        why = WhyKept::ForReaders;
    }
    why
}

fn why_archived(positions: &[(ShardId, ShardPositions)], file: FileId) -> WhyKept {
    let bodies = positions.iter().flat_map(|(_, entries)| entries.bodies().values());
    let living = bodies.filter(|position| position.file == file);
    let (records, bytes) = living.fold((0, 0), |(n, bytes), each| (n + 1, bytes + u64::from(each.length)));
    WhyKept::Living { records, bytes }
}
