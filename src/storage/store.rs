//! What all that share a log hold: the disk, the manifest, and where everything lies.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use super::bodies::FinishedBodies;
use super::compaction::{self, Compacted};
use super::disk::Disk;
use super::durable::Durable;
use super::error::Error;
use super::files::{FileId, OpenFiles};
use super::index::Listed;
use super::log::Options;
use super::manifest::{self, ArchiveFile, Manifest, Reset, SnapshotFile};
use super::pin::{Pin, Pins};
use super::positions::{ShardPositions, SharedPositions};
use super::reader::Reader;
use super::recovery::Recovery;
use super::snapshot;
use super::spares::{self, Spares, Stale};
use super::usage::{self, Counters, Purpose, Usage};
use super::weights::Weights;
use crate::ids::{EntryId, Index, ShardId};
use crate::state_machine::Living;

/// The files of snapshots, also of those that are being written or received, have names that begin so. When the node starts,
/// those that the manifest does not name are removed.
pub const SNAPSHOT_PREFIX: &str = "snapshot-";

/// The most entries for which positions are changed in one go. Whoever appends to the log waits that long for a compaction,
/// which is about a millisecond.
pub const STEP_ENTRIES_MAX: usize = 1000;

/// So many entries without a body are named.
const MISSING_MAX: usize = 8;

/// A handle to the store. Clones are handles to the same one.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    disk: Arc<dyn Disk>,
    options: Options,
    positions: SharedPositions,
    files: OpenFiles,
    spares: Spares,
    counters: Counters,
    durable: Durable,
    /// See [`Store::has_failed`].
    failed: AtomicBool,
    next_bodies: AtomicU64,
    /// The manifest that is on disk, for those who must not wait for the next one.
    manifest: RwLock<Arc<Manifest>>,
    changes: Mutex<Changes>,
    /// What is kept for readers of snapshots.
    pins: Mutex<Pins>,
    /// Held by the one compaction that runs.
    compacting: Mutex<Weights>,
}

/// What is needed to replace the manifest. Whoever holds the lock is the only one who does.
///
/// Locks are taken in this order: compaction, changes, positions, the receivers of [`super::outgoing::Outgoing`], and then one
/// at most of the others: pins, spares, open files, what is durable, the manifest. Under none of them are files removed that a
/// change has made superfluous, or the pin of a receiver dropped.
#[derive(Default)]
pub(super) struct Changes {
    received: BTreeMap<ShardId, Received>,
    /// Files of bodies that the manifest names, and of which not all bodies can be found yet.
    adding: BTreeSet<FileId>,
}

/// A file that nothing names. Dropped, it is removed.
struct Unnamed<'a> {
    store: &'a Store,
    name: String,
}

impl Unnamed<'_> {
    /// The file is kept: it is in force, or perhaps.
    fn keep(mut self) {
        self.name.clear();
    }
}

impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            self.store.remove(&self.name);
        }
    }
}

/// A snapshot that came from another node: whole, synced, checked, its bodies added, and not yet in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The name under which the file was written; begins with [`SNAPSHOT_PREFIX`].
    pub written: String,
    /// The last entry that the snapshot has in it.
    pub last: EntryId,
    /// The length of the file.
    pub bytes: u64,
    /// Entries of this node's log up to here are known to be committed: their bodies are what the snapshot means.
    pub committed: Index,
}

impl Store {
    pub(super) fn new(disk: Arc<dyn Disk>, options: Options, found: &mut Recovery) -> Self {
        let lasts = found.shards.iter().map(|(shard, recovered)| (*shard, recovered.last)).collect();
        let segment = found.head.as_ref().map_or(0, |head| head.segment.header.id);
        let bodies = found.manifest.archive.iter().filter(|file| file.file.is_bodies());
        let next_bodies = 1 + bodies.map(|file| file.file.number()).max().unwrap_or(0);
        let inner = Inner {
            files: OpenFiles::new(disk.clone()),
            disk,
            options,
            positions: SharedPositions::new(std::mem::take(&mut found.positions)),
            spares: Spares::new(std::mem::take(&mut found.spares)),
            counters: Counters::default(),
            durable: Durable::new(lasts, segment),
            failed: AtomicBool::new(false),
            next_bodies: AtomicU64::new(next_bodies),
            manifest: RwLock::new(Arc::new(found.manifest.clone())),
            changes: Mutex::default(),
            pins: Mutex::default(),
            compacting: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The disk, to write a snapshot's file to. The names of such files begin with [`SNAPSHOT_PREFIX`].
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.inner.disk
    }

    /// The size of a segment, and at which a file of bodies is full.
    pub fn segment_bytes(&self) -> u64 {
        self.inner.options.segment_bytes
    }

    /// Counts bytes that somebody else wrote to the file of a snapshot, for `usage`.
    pub fn count_snapshot_bytes(&self, bytes: u64) {
        self.count(Purpose::Snapshot, bytes);
    }

    /// Does something that needs room. When there is none, files that only wait to become segments go, and it is tried once more:
    /// they are worth less than whatever a full disk keeps from being done.
    ///
    /// # Errors
    /// Those of `attempt`, which has to leave nothing behind.
    pub fn with_room<T>(&self, mut attempt: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
        match attempt() {
            Err(error) if error.is_full_disk() && self.inner.spares.clear(&*self.inner.disk) => attempt(),
            done => done,
        }
    }

    /// Reads entries and bodies.
    pub fn reader(&self) -> Reader {
        Reader::new(self.clone())
    }

    /// True when the directory could not be synced, or the manifest not be replaced: which files are in force is not known, and
    /// none is added or removed any more.
    pub fn has_failed(&self) -> bool {
        self.inner.failed.load(Ordering::SeqCst)
    }

    /// The shard's snapshot.
    pub fn snapshot(&self, shard: ShardId) -> Option<SnapshotFile> {
        self.manifest().snapshot(shard).cloned()
    }

    /// Makes a file that is written and synced the shard's snapshot, under its name; the log begins after `start` (a start before
    /// the one that holds changes nothing). One step: a crash leaves the old snapshot or this one. Waits until the log is durable
    /// up to `last`. The old file goes as soon as nobody reads from it.
    ///
    /// # Errors
    /// After any of them the file is gone. [`Error::Superseded`]: a snapshot as late as this one is there. [`Error::Io`].
    /// [`Error::Failed`]: the log is closed, or an earlier write failed. [`Error::FilesUnknown`].
    ///
    /// # Panics
    /// The log would begin after what the snapshot has in it, or the name is not that of a snapshot, or taken.
    pub fn commit_snapshot(&self, shard: ShardId, written: &snapshot::Written, start: EntryId) -> Result<(), Error> {
        let snapshot::Written { temporary, name, last, bytes } = written.clone();
        assert!(start.index <= last.index, "the log would begin after {start}, and the snapshot ends at {last}");
        let file = Unnamed { store: self, name: temporary };
        self.check_failed()?;
        self.wait_until_durable(shard, last)?;
        let mut changes = self.changes();
        let mut next = self.manifest().as_ref().clone();
        let files = next.shards.entry(shard).or_default();
        if let Some(found) = files.snapshot.as_ref().filter(|found| found.last.index >= last.index) {
            return Err(Error::Superseded { shard, last, found: found.last });
        }
        if start.index > files.start.index {
            files.start = start;
        }
        let old = files.snapshot.replace(SnapshotFile { name: name.clone(), last, bytes });
        let stale = self.put_snapshot(&changes, file, &name, old, next)?;
        // One that was offered and came too late to be of use.
        let is_overtaken = |received: &Received| received.last.index <= last.index;
        let is_useless = changes.received.get(&shard).is_some_and(is_overtaken);
        let overtaken = is_useless.then(|| changes.received.remove(&shard)).flatten();
        drop(changes);
        self.discard(stale);
        if let Some(overtaken) = overtaken {
            self.remove(&overtaken.written);
        }
        Ok(())
    }

    /// Lets the next `Log::append` of a write with this snapshot put it in force. One that was offered before is removed.
    pub fn offer_received(&self, shard: ShardId, received: Received) {
        let written = received.written.clone();
        let old = self.changes().received.insert(shard, received);
        if let Some(old) = old.filter(|old| old.written != written) {
            self.remove(&old.written);
        }
    }

    /// Puts the snapshot that was offered in the place of the log of a shard. `frame` is the number of the next frame, and
    /// `segment` the last segment: of what the chain has from before, only what is known to be committed counts.
    pub(super) fn install(&self, shard: ShardId, last: EntryId, frame: u64, segment: u64) -> Result<(), Error> {
        let mut changes = self.changes();
        let received = changes.received.remove(&shard).filter(|received| received.last == last);
        let received = received.unwrap_or_else(|| panic!("no snapshot of shard {shard} up to {last} was offered"));
        let file = Unnamed { store: self, name: received.written.clone() };
        self.check_failed()?;
        let mut next = self.manifest().as_ref().clone();
        let files = next.shards.entry(shard).or_default();
        let found = files.snapshot.as_ref().map_or(EntryId::default(), |found| found.last);
        assert!(found.index < last.index, "the snapshot up to {last} would take the place of the one up to {found}");
        let Received { bytes, committed, .. } = received;
        let name = snapshot::name(shard, last.index);
        // What an own snapshot has in it was committed as well, and its bodies count as being there.
        let committed = committed.max(found.index);
        files.start = last;
        files.resets.push(Reset { frame, segment, committed });
        let old = files.snapshot.replace(SnapshotFile { name: name.clone(), last, bytes });
        let stale = self.put_snapshot(&changes, file, &name, old, next)?;
        // A pin that is made before the log is empty would find entries in it that are not those of the snapshot.
        self.reset_positions(shard, last.index, committed);
        self.inner.durable.on_reset(shard, last.index);
        drop(changes);
        self.discard(stale);
        Ok(())
    }

    /// Names a file of bodies in the manifest and lets readers find them. Of two records of one entry the longer one is kept:
    /// the other has lost more of its items.
    ///
    /// # Errors
    /// After any of them the file is gone. [`Error::Io`], [`Error::FilesUnknown`].
    pub fn add_bodies(&self, finished: FinishedBodies) -> Result<(), Error> {
        let file = finished.file.file;
        let listed = self.replace_archive(&[], Some(finished), |changes| {
            changes.adding.insert(file);
        })?;
        for step in listed.chunks(STEP_ENTRIES_MAX) {
            let mut positions = self.inner.positions.write_patiently();
            for (shard, index, position) in step {
                positions.get_mut(*shard).add_body(*index, *position);
            }
        }
        self.changes().adding.remove(&file);
        Ok(())
    }

    /// Shortens what the shard's snapshot has made superfluous: entries of the log before its start go, what lives of them
    /// stays, and files that are mostly dead are written once more. `living` is all that lives as of the snapshot whose
    /// last entry is `last`; does nothing when that is not the shard's snapshot any more. One compaction runs at a time.
    /// `pace` is told how many bytes were just copied, and can break it off: a later one does what is left.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Io`], [`Error::FilesUnknown`].
    pub fn compact(
        &self,
        shard: ShardId,
        last: EntryId,
        living: &[Living],
        pace: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Compacted, Error> {
        let mut weights = self.inner.compacting.lock().expect("a compaction does not panic");
        self.check_failed()?;
        compaction::compact(self, &mut weights, shard, last, living, pace)
    }

    /// Holds the shard's snapshot and all its bodies as they are, until the pin is dropped. None: there is no snapshot. Can
    /// wait for the disk.
    pub fn pin(&self, shard: ShardId) -> Option<Pin> {
        // While it is held, the snapshot stays the shard's, and no body that it needs is forgotten.
        let _changes = self.changes();
        let snapshot = self.snapshot(shard)?;
        // Counted before positions are looked at: what they do not name any more when it is doomed is kept from here on.
        let number = self.pins().add();
        Some(Pin::new(self.clone(), number, shard, snapshot, self.shard(shard)))
    }

    /// True when the body is there: in a file of bodies, or in the log at or before `committed`.
    pub fn has_body(&self, shard: ShardId, index: Index, committed: Index) -> bool {
        self.inner.positions.read().get(shard).is_some_and(|positions| positions.has_body(index, committed))
    }

    /// Living entries whose bodies are nowhere: at most eight are named.
    pub fn missing_bodies(&self, shard: ShardId, living: &[Living]) -> Vec<Index> {
        let positions = self.shard(shard);
        let mut missing = Vec::new();
        for living in living {
            let index = living.id.index;
            if missing.last() != Some(&index) && positions.body(index).is_none() {
                missing.push(index);
            }
            if missing.len() == MISSING_MAX {
                break;
            }
        }
        missing
    }

    /// How the disk is used, and what the oldest file is kept for. Reads no file, but lists the directory. Holds nobody up.
    ///
    /// # Errors
    /// [`Error::Io`]: the directory cannot be listed.
    pub fn usage(&self) -> Result<Usage, Error> {
        let doomed: Vec<Stale> = self.pins().doomed().cloned().collect();
        usage::usage(self, &self.manifest(), &doomed)
    }

    // What the rest of storage needs.

    pub(super) fn options(&self) -> &Options {
        &self.inner.options
    }

    pub(super) fn positions(&self) -> &SharedPositions {
        &self.inner.positions
    }

    pub(super) fn files(&self) -> &OpenFiles {
        &self.inner.files
    }

    pub(super) fn spares(&self) -> &Spares {
        &self.inner.spares
    }

    pub(super) fn durable(&self) -> &Durable {
        &self.inner.durable
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    pub(super) fn count(&self, purpose: Purpose, bytes: u64) {
        self.inner.counters.add(purpose, bytes);
    }

    pub(super) fn next_bodies(&self) -> FileId {
        FileId::bodies(self.inner.next_bodies.fetch_add(1, Ordering::Relaxed))
    }

    /// The positions of a shard as they are.
    pub(super) fn shard(&self, shard: ShardId) -> ShardPositions {
        self.inner.positions.read().get(shard).cloned().unwrap_or_default()
    }

    /// The manifest that is on disk.
    pub(super) fn manifest(&self) -> Arc<Manifest> {
        self.inner.manifest.read().expect("no code panics while it holds the lock").clone()
    }

    pub(super) fn changes(&self) -> MutexGuard<'_, Changes> {
        self.inner.changes.lock().expect("no code panics while it holds the lock, but where the log is broken")
    }

    /// The lock is that of `changes`, for whoever holds it to show that he does. What the manifest names is durable by now.
    pub(super) fn replace_manifest(&self, _changes: &Changes, next: Manifest) -> Result<(), Error> {
        self.check_failed()?;
        let bytes = self.with_room(|| manifest::write_aside(&*self.inner.disk, &next))?;
        self.count(Purpose::Compaction, bytes);
        manifest::put_in_place(&*self.inner.disk).inspect_err(|_| self.fail())?;
        *self.inner.manifest.write().expect("no code panics while it holds the lock") = Arc::new(next);
        Ok(())
    }

    /// Puts a file of bodies in the place of others in the manifest, and does `also` before anybody else changes something. Returns
    /// what is in the file. When the manifest is the old one, the file is removed.
    pub(super) fn replace_archive(
        &self,
        sources: &[ArchiveFile],
        target: Option<FinishedBodies>,
        also: impl FnOnce(&mut Changes),
    ) -> Result<Vec<Listed>, Error> {
        let mut changes = self.changes();
        let mut next = self.manifest().as_ref().clone();
        next.archive.retain(|file| !sources.iter().any(|source| source.file == file.file));
        next.archive.extend(target.as_ref().map(|target| target.file));
        let had_failed = self.has_failed();
        if let Err(error) = self.replace_manifest(&changes, next) {
            drop(changes);
            if let Some(target) = target.filter(|_| had_failed || !self.has_failed()) {
                target.remove(self);
            }
            return Err(error);
        }
        also(&mut changes);
        Ok(target.map(|target| target.listed).unwrap_or_default())
    }

    /// Makes names durable.
    ///
    /// # Errors
    /// [`Error::Io`]: whether they are is not known any more, be the next sync as successful as it may, so nothing is changed
    /// after that.
    pub(super) fn sync_directory(&self) -> Result<(), Error> {
        let disk = &self.inner.disk;
        disk.sync_directory().map_err(Error::io("sync", disk.describe(""))).inspect_err(|_| self.fail())
    }

    /// Refuses to change anything when it is not known what is in force.
    pub(super) fn check_failed(&self) -> Result<(), Error> {
        if self.has_failed() { Err(Error::FilesUnknown) } else { Ok(()) }
    }

    /// A change of files failed in a way that leaves open whether it is durable.
    pub(super) fn fail(&self) {
        self.inner.failed.store(true, Ordering::SeqCst);
    }

    /// Lets go of files that nothing names any more, as soon as no pin needs them. Not to be called with a lock held.
    pub(super) fn retire(&self, files: Vec<Stale>) {
        let free = self.pins().doom(files);
        self.discard(free);
    }

    pub(super) fn held_bytes(&self, pin: u64) -> u64 {
        self.pins().held(pin)
    }

    pub(super) fn release(&self, pin: u64) {
        let free = self.pins().release(pin);
        self.discard(free);
    }

    /// Removes a file that nothing names. Should that fail, the next start does it.
    pub(super) fn remove(&self, name: &str) {
        spares::remove(&*self.inner.disk, name);
    }

    fn pins(&self) -> MutexGuard<'_, Pins> {
        self.inner.pins.lock().expect("no code panics while it holds the lock")
    }

    fn discard(&self, files: Vec<Stale>) {
        let Inner { disk, files: open, spares, options, .. } = &*self.inner;
        spares.discard(&**disk, open, files, options.segment_bytes);
    }

    /// Waits until this very entry is in the log and durable. While it waits for the thread that writes, another one can be in its
    /// place, which was never committed.
    fn wait_until_durable(&self, shard: ShardId, id: EntryId) -> Result<(), Error> {
        loop {
            let changes = self.inner.durable.changes();
            if self.has_entry(shard, id)? {
                return self.inner.durable.wait(shard, id.index);
            }
            self.inner.durable.wait_for_change(changes)?;
        }
    }

    /// True when the log has this entry, or begins after it.
    fn has_entry(&self, shard: ShardId, id: EntryId) -> Result<bool, Error> {
        let start = self.inner.positions.read().get(shard).map_or(Index(0), ShardPositions::start);
        if id.index <= start {
            return Ok(true);
        }
        match self.reader().read(shard, id.index, id.index, 0) {
            Ok(entries) => Ok(entries.first().is_some_and(|entry| entry.id == id)),
            Err(Error::NotInLog { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives a snapshot's file its name, and has the manifest name it. Returns the one before, when nobody reads it.
    fn put_snapshot(
        &self,
        changes: &Changes,
        mut file: Unnamed<'_>,
        name: &str,
        old: Option<SnapshotFile>,
        next: Manifest,
    ) -> Result<Vec<Stale>, Error> {
        assert!(name.starts_with(SNAPSHOT_PREFIX), "{name:?} is no name of a snapshot's file");
        assert!(old.as_ref().is_none_or(|old| old.name != name), "the snapshot before has the name {name:?} as well");
        self.check_failed()?;
        let disk = &self.inner.disk;
        disk.rename(&file.name, name).map_err(Error::io("rename", disk.describe(&file.name)))?;
        name.clone_into(&mut file.name);
        // The manifest must not outlive the name: which of two renames survives a crash is open until the directory is synced.
        self.sync_directory()?;
        match self.replace_manifest(changes, next) {
            Err(error) if !self.has_failed() => return Err(error),
            replaced => {
                file.keep();
                replaced?;
            }
        }
        let stale = old.map(|old| Stale { name: old.name, bytes: old.bytes, file: None });
        Ok(self.pins().doom(stale.into_iter().collect()))
    }

    /// The log of a shard begins after `start`; what of it is known to be committed stays as bodies.
    fn reset_positions(&self, shard: ShardId, start: Index, committed: Index) {
        while self.inner.positions.write().get_mut(shard).advance(committed, STEP_ENTRIES_MAX as u64, |_| true) > 0 {}
        self.inner.positions.write().get_mut(shard).reset(start);
    }
}

impl Changes {
    /// True for a file that was named in the manifest before its bodies could be found: it is not yet to be judged.
    pub(super) fn is_adding(&self, file: FileId) -> bool {
        self.adding.contains(&file)
    }
}
