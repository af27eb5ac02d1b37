//! The manifest: what of the files on disk is in force.
//!
//! It is replaced as a whole, so that a change of several files is one step: what a crash finds on disk and the manifest does
//! not name is removed at start. Without a manifest the log begins with segment 1, and there is nothing else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::disk::Disk;
use super::error::Error;
use super::files::FileId;
use super::store::SNAPSHOT_PREFIX;
use super::whole_file;
use crate::ids::{EntryId, Index, ShardId, Term};

/// The format that this release writes, and the latest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// The name of the file.
pub const NAME: &str = "manifest";

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

/// What is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The first segment of the chain: those of the log that are read at start.
    pub chain_first: u64,
    /// Files that are kept for the bodies in them.
    pub archive: Vec<ArchiveFile>,
    /// Shards that have a snapshot.
    pub shards: BTreeMap<ShardId, ShardFiles>,
}

/// A file that is kept for the bodies in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveFile {
    /// Which one.
    pub file: FileId,
    /// Its length.
    pub bytes: u64,
    /// The length of its index.
    pub index_bytes: u64,
}

/// What belongs to one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardFiles {
    /// Its snapshot.
    pub snapshot: Option<SnapshotFile>,
    /// Its log begins after this entry.
    pub start: EntryId,
    /// Where received snapshots took the place of the log, as long as the chain goes back to before that.
    pub resets: Vec<Reset>,
}

/// A received snapshot took the place of the log of a shard. What the chain has from before that is no part of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// The number of the first frame after it.
    pub frame: u64,
    /// The segment of that frame, or the one before.
    pub segment: u64,
    /// Of the entries in frames before, those up to this one are what was committed.
    pub committed: Index,
}

impl Default for Manifest {
    /// That of a directory without one.
    fn default() -> Self {
        Self { chain_first: 1, archive: Vec::new(), shards: BTreeMap::new() }
    }
}

impl Manifest {
    /// What belongs to a shard.
    pub fn shard(&self, shard: ShardId) -> Option<&ShardFiles> {
        self.shards.get(&shard)
    }

    /// The snapshot of a shard.
    pub fn snapshot(&self, shard: ShardId) -> Option<&SnapshotFile> {
        self.shard(shard)?.snapshot.as_ref()
    }

    /// The log of a shard begins after this entry.
    pub fn start(&self, shard: ShardId) -> EntryId {
        self.shard(shard).map_or(EntryId::default(), |files| files.start)
    }

    /// Has the chain begin at a later segment.
    pub fn begin_chain(&mut self, first: u64) {
        self.chain_first = first;
        for files in self.shards.values_mut() {
            files.resets.retain(|reset| reset.segment >= first);
        }
    }
}

impl ShardFiles {
    /// True for a frame whose entries belong to the log as it is, not to one that a snapshot took the place of.
    pub fn is_after_resets(&self, frame: u64) -> bool {
        self.resets.iter().all(|reset| frame >= reset.frame)
    }

    /// True when an entry in a frame is, or was, what the log has at its index.
    pub fn holds(&self, frame: u64, index: Index) -> bool {
        self.resets.iter().all(|reset| frame >= reset.frame || index <= reset.committed)
    }
}

/// Reads the manifest of a directory.
///
/// # Errors
/// [`Error::Damaged`], [`Error::NewerFormat`], [`Error::Io`].
pub fn read(disk: &dyn Disk) -> Result<Manifest, Error> {
    let Some(text) = whole_file::read(disk, NAME)? else { return Ok(Manifest::default()) };
    let damaged = |why: &str| whole_file::damaged(disk, NAME, why);
    let version: VersionText = serde_json::from_str(&text).map_err(|_| damaged("it has no format version"))?;
    if version.format_version > FORMAT_VERSION {
        let file = disk.describe(NAME);
        return Err(Error::NewerFormat { file, found: version.format_version, known: FORMAT_VERSION });
    }
    let text: ManifestText = serde_json::from_str(&text).map_err(|error| damaged(&error.to_string()))?;
    text.into_manifest().map_err(damaged)
}

/// Writes a manifest aside, durably. Returns its length.
///
/// # Errors
/// [`Error::Io`]: the old one is still in force, and this can be tried again.
pub fn write_aside(disk: &dyn Disk, manifest: &Manifest) -> Result<u64, Error> {
    let text = serde_json::to_string(&ManifestText::new(manifest)).expect("strings and numbers have a JSON form");
    whole_file::write_aside(disk, NAME, &text)?;
    Ok(text.len() as u64)
}

/// Has the manifest that was written aside take the place of the old one, durably.
///
/// # Errors
/// [`Error::Io`]: the old one is still in force, or the other one is.
pub fn put_in_place(disk: &dyn Disk) -> Result<(), Error> {
    whole_file::put_in_place(disk, NAME)
}

/// What every release can read of the manifest of any other.
#[derive(Deserialize)]
struct VersionText {
    format_version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestText {
    format_version: u32,
    chain_first: u64,
    archive: Vec<ArchiveText>,
    shards: Vec<ShardText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArchiveText {
    file: String,
    bytes: u64,
    index_bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShardText {
    shard: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshot: Option<SnapshotText>,
    start_term: u64,
    start_index: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    resets: Vec<ResetText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SnapshotText {
    file: String,
    last_term: u64,
    last_index: u64,
    bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResetText {
    frame: u64,
    segment: u64,
    committed: u64,
}

impl ManifestText {
    fn new(manifest: &Manifest) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            chain_first: manifest.chain_first,
            archive: manifest.archive.iter().map(ArchiveText::new).collect(),
            shards: manifest.shards.iter().map(|(shard, files)| ShardText::new(*shard, files)).collect(),
        }
    }

    fn into_manifest(self) -> Result<Manifest, &'static str> {
        if self.chain_first == 0 {
            return Err("no segment has number 0");
        }
        Ok(Manifest {
            chain_first: self.chain_first,
            archive: self.archive.into_iter().map(ArchiveText::into_file).collect::<Result<_, _>>()?,
            shards: self.shards.into_iter().map(ShardText::into_files).collect::<Result<_, _>>()?,
        })
    }
}

impl ArchiveText {
    fn new(file: &ArchiveFile) -> Self {
        Self { file: file.file.name(), bytes: file.bytes, index_bytes: file.index_bytes }
    }

    fn into_file(self) -> Result<ArchiveFile, &'static str> {
        let file = FileId::parse(&self.file).ok_or("a file of the archive has a name that no such file has")?;
        Ok(ArchiveFile { file, bytes: self.bytes, index_bytes: self.index_bytes })
    }
}

impl ShardText {
    fn new(shard: ShardId, files: &ShardFiles) -> Self {
        let reset =
            |reset: &Reset| ResetText { frame: reset.frame, segment: reset.segment, committed: reset.committed.0 };
        Self {
            shard: shard.0,
            snapshot: files.snapshot.as_ref().map(SnapshotText::new),
            start_term: files.start.term.0,
            start_index: files.start.index.0,
            resets: files.resets.iter().map(reset).collect(),
        }
    }

    fn into_files(self) -> Result<(ShardId, ShardFiles), &'static str> {
        let snapshot = self.snapshot.map(SnapshotText::into_file).transpose()?;
        let start = EntryId::new(Term(self.start_term), Index(self.start_index));
        if start.index > snapshot.as_ref().map_or(Index(0), |snapshot| snapshot.last.index) {
            return Err("a log begins after what its snapshot has in it");
        }
        let reset =
            |reset: ResetText| Reset { frame: reset.frame, segment: reset.segment, committed: Index(reset.committed) };
        let resets = self.resets.into_iter().map(reset).collect();
        Ok((ShardId(self.shard), ShardFiles { snapshot, start, resets }))
    }
}

impl SnapshotText {
    fn new(snapshot: &SnapshotFile) -> Self {
        Self {
            file: snapshot.name.clone(),
            last_term: snapshot.last.term.0,
            last_index: snapshot.last.index.0,
            bytes: snapshot.bytes,
        }
    }

    fn into_file(self) -> Result<SnapshotFile, &'static str> {
        if !self.file.starts_with(SNAPSHOT_PREFIX) || self.file.contains('/') {
            return Err("the file of a snapshot has a name that no such file has");
        }
        let last = EntryId::new(Term(self.last_term), Index(self.last_index));
        Ok(SnapshotFile { name: self.file, last, bytes: self.bytes })
    }
}
