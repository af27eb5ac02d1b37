//! Keeps what a snapshot needs for as long as somebody reads it.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::disk::File;
use super::error::Error;
use super::manifest::SnapshotFile;
use super::positions::ShardPositions;
use super::spares::Stale;
use super::store::Store;
use crate::ids::{Index, ShardId};

/// A snapshot and its bodies as they were when it was pinned. Files that compaction or a newer snapshot would remove are kept
/// until the last pin that saw them is dropped. Reading waits for the disk.
pub struct Pin {
    store: Store,
    number: u64,
    shard: ShardId,
    snapshot: SnapshotFile,
    file: OnceLock<Arc<dyn File>>,
    positions: ShardPositions,
}

impl Pin {
    /// Holds what the positions name and the snapshot's file. The caller has counted the pin under this number.
    pub(super) fn new(
        store: Store,
        number: u64,
        shard: ShardId,
        snapshot: SnapshotFile,
        positions: ShardPositions,
    ) -> Self {
        Self { store, number, shard, snapshot, file: OnceLock::new(), positions }
    }

    /// The snapshot.
    pub fn snapshot(&self) -> &SnapshotFile {
        &self.snapshot
    }

    /// Bytes of files that are there only because of pins, this one among them.
    pub fn held_bytes(&self) -> u64 {
        self.store.held_bytes(self.number)
    }

    /// The whole record of an entry, checked; none if it was not there when the pin was made.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Io`].
    pub fn read_body(&self, index: Index) -> Result<Option<Bytes>, Error> {
        let Some(position) = self.positions.body(index) else { return Ok(None) };
        self.store.files().read_body(self.shard, index, position).map(|body| Some(body.record))
    }

    /// Fills `into` from the snapshot's file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn read_snapshot(&self, offset: u64, into: &mut [u8]) -> Result<(), Error> {
        let disk = self.store.disk();
        let named = || disk.describe(&self.snapshot.name);
        let file = match self.file.get() {
            Some(file) => file,
            None => {
                let file = disk.open(&self.snapshot.name).map_err(Error::io("open", named()))?;
                self.file.get_or_init(|| file)
            }
        };
        file.read_at(offset, into).map_err(Error::io("read", named()))
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.store.release(self.number);
    }
}

/// Which pins live, and what is kept for them.
#[derive(Debug, Default)]
pub struct Pins {
    next: u64,
    live: BTreeSet<u64>,
    doomed: Vec<Doomed>,
}

/// A file that goes when no pin up to `seen` lives any more.
#[derive(Debug)]
struct Doomed {
    file: Stale,
    seen: u64,
}

impl Pins {
    /// Counts one more. Whatever is doomed later is kept for it.
    pub fn add(&mut self) -> u64 {
        self.next += 1;
        self.live.insert(self.next);
        self.next
    }

    /// Takes files that are not needed any more and returns those that no pin can have seen.
    pub fn doom(&mut self, files: Vec<Stale>) -> Vec<Stale> {
        let seen = self.next;
        self.doomed.extend(files.into_iter().map(|file| Doomed { file, seen }));
        self.free()
    }

    /// A pin is dropped. Returns what was kept for it only.
    pub fn release(&mut self, pin: u64) -> Vec<Stale> {
        self.live.remove(&pin);
        self.free()
    }

    /// What is kept for a pin, be it for others as well.
    pub fn held(&self, pin: u64) -> u64 {
        self.doomed.iter().filter(|doomed| doomed.seen >= pin).map(|doomed| doomed.file.bytes).sum()
    }

    /// All that is kept for pins.
    pub fn doomed(&self) -> impl Iterator<Item = &Stale> {
        self.doomed.iter().map(|doomed| &doomed.file)
    }

    fn free(&mut self) -> Vec<Stale> {
        let first = self.live.first().copied().unwrap_or(u64::MAX);
        let free = self.doomed.extract_if(.., |doomed| doomed.seen < first);
        free.map(|doomed| doomed.file).collect()
    }
}
