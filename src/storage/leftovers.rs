//! What a crash between two steps leaves on disk: files of ours that the manifest does not name.

use std::collections::BTreeSet;

use super::disk::Disk;
use super::error::Error;
use super::files::FileId;
use super::manifest::{self, Manifest};
use super::spares::{SPARES_MAX, is_spare};
use super::store::SNAPSHOT_PREFIX;
use super::whole_file;

/// Files that are not in force.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// To be removed.
    pub stale: Vec<String>,
    /// To become segments, with their lengths.
    pub spares: Vec<(String, u64)>,
}

/// Looks through a directory. Files that are not ours are left alone.
///
/// # Errors
/// [`Error::Io`].
pub fn find(disk: &dyn Disk, manifest: &Manifest) -> Result<Leftovers, Error> {
    let archived: BTreeSet<FileId> = manifest.archive.iter().map(|archived| archived.file).collect();
    let snapshots = manifest.shards.values().filter_map(|files| files.snapshot.as_ref());
    let snapshots: BTreeSet<&str> = snapshots.map(|snapshot| snapshot.name.as_str()).collect();
    let is_stale = |name: &str| match (FileId::parse(name), FileId::parse_index(name)) {
        (Some(file), _) => !archived.contains(&file) && (file.is_bodies() || file.number() < manifest.chain_first),
        (_, Some(file)) => !archived.contains(&file),
        _ if name.starts_with(SNAPSHOT_PREFIX) => !snapshots.contains(name),
        _ => name == whole_file::aside(manifest::NAME),
    };
    let mut found = Leftovers::default();
    for name in disk.list().map_err(Error::io("list", disk.describe("")))? {
        if is_spare(&name) && found.spares.len() < SPARES_MAX {
            let size = disk.open(&name).and_then(|file| file.size());
            let size = size.map_err(Error::io("open", disk.describe(&name)))?;
            found.spares.push((name, size));
        } else if is_spare(&name) || is_stale(&name) {
            found.stale.push(name);
        }
    }
    Ok(found)
}
