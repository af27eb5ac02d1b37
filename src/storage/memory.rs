//! A disk in memory that can lose power, for tests and the simulation.
//!
//! What a crash may do, and real disks and file systems do:
//!
//! - Of each sector of 512 bytes that was written since the file was last synced, any version survives: the synced one or the
//!   one after any of the writes. Sectors are independent of each other, so later writes may survive without earlier ones.
//! - A file that grew since it was last synced may have any of its lengths since.
//! - Of the creations, renames and removals since the directory was last synced, any subset survives. Each is atomic.
//! - A sync that fails forgets what it should have made durable: files read as written, later syncs succeed, and the next
//!   crash takes it all back (as Linux does).
//!
//! The same calls and the same generator make the same disk.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rand::{Rng, RngExt};

use super::disk::{Disk, File};

const SECTOR_BYTES: u64 = 512;

/// A disk in memory. Clones are handles to the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
    /// How many operations have begun, also those that wait.
    begun: Arc<AtomicU64>,
}

#[derive(Clone, Default)]
struct State {
    /// Counts crashes: files that were open before one are closed by it.
    epoch: u64,
    names: BTreeMap<String, FileId>,
    names_durable: BTreeMap<String, FileId>,
    names_pending: Vec<NameChange>,
    files: BTreeMap<FileId, Content>,
    faults: Faults,
    syncs: u64,
    operations: u64,
}

type FileId = u64;

#[derive(Clone, Debug)]
enum NameChange {
    Create(String, FileId),
    Rename(String, String, FileId),
    Remove(String),
}

#[derive(Clone, Default)]
struct Content {
    current: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Write>,
}

#[derive(Clone)]
struct Write {
    offset: u64,
    bytes: Vec<u8>,
}

#[derive(Clone, Default)]
struct Faults {
    /// So many syncs succeed before all fail.
    syncs_left: Option<u64>,
    removals_fail: bool,
    bytes_max: Option<u64>,
    operations_max: Option<u64>,
}

impl MemoryDisk {
    /// The power fails and comes back: what was not synced survives or not, as the generator decides. Open files are closed;
    /// faults that were switched on are off.
    pub fn crash(&self, rng: &mut impl Rng) {
        let mut state = self.state();
        let survival = match rng.random_range(0..4) {
            0 => 0.0,
            1 => 1.0,
            _ => rng.random_range(0.0..=1.0),
        };
        state.crash_names(survival, rng);
        let linked: Vec<FileId> = state.names.values().copied().collect();
        state.files.retain(|id, _| linked.contains(id));
        for content in state.files.values_mut() {
            content.crash(survival, rng);
        }
        state.faults = Faults::default();
        state.epoch += 1;
    }

    /// The process that used the disk was killed, and the machine goes on: what was written is there, synced or not. Open files are
    /// closed; faults that were switched on are off.
    pub fn kill(&self) {
        let mut state = self.state();
        state.faults = Faults::default();
        state.epoch += 1;
    }

    /// From here on all syncs fail, of files and of the directory, or succeed again.
    pub fn fail_syncs(&self, fail: bool) {
        self.state().faults.syncs_left = fail.then_some(0);
    }

    /// After so many more syncs all fail.
    pub fn fail_syncs_after(&self, syncs: u64) {
        self.state().faults.syncs_left = Some(syncs);
    }

    /// From here on no file can be removed, or every one can again.
    pub fn fail_removals(&self, fail: bool) {
        self.state().faults.removals_fail = fail;
    }

    /// From here on the disk has room for so many bytes; none: without limit.
    pub fn limit_bytes(&self, bytes_max: Option<u64>) {
        self.state().faults.bytes_max = bytes_max;
    }

    /// Until what is returned is dropped, no operation comes to an end, and none fails.
    pub fn hang(&self) -> Hung<'_> {
        let _state = self.state();
        Hung { _state, begun: &self.begun, begun_before: self.begun.load(Ordering::Relaxed) }
    }

    /// The power fails after so many more operations that change something (create, write, sync, rename, remove): all that
    /// follow return an error until `crash` is called.
    pub fn cut_power_after(&self, operations: u64) {
        let mut state = self.state();
        state.faults.operations_max = Some(state.operations + operations);
    }

    /// The power does not fail after all.
    ///
    /// # Panics
    /// It has.
    pub fn keep_power(&self) {
        let mut state = self.state();
        assert!(state.check_power().is_ok(), "the power has failed");
        state.faults.operations_max = None;
    }

    /// Flips one bit of a file, also of what is durable.
    ///
    /// # Panics
    /// The file does not exist or ends before `offset`.
    pub fn flip_bit(&self, name: &str, offset: u64, bit: u8) {
        let mut state = self.state();
        let id = state.names[name];
        let content = state.files.get_mut(&id).expect("every name has a file");
        let (at, mask) = (offset as usize, 1 << bit);
        content.current[at] ^= mask;
        if let Some(byte) = content.durable.get_mut(at) {
            *byte ^= mask;
        }
    }

    /// How many syncs of files and of the directory succeeded.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// How many operations changed something, or tried to.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Another disk with the same contents.
    pub fn duplicate(&self) -> Self {
        Self { state: Arc::new(Mutex::new(self.state().clone())), begun: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.state.lock().expect("nobody panics while holding the lock, unless a test gave a wrong name")
    }

    fn handle(&self, epoch: u64, id: FileId) -> Arc<dyn File> {
        Arc::new(Handle { disk: self.clone(), epoch, id })
    }
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.state();
        state.check_power()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        state.begin_change()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = state.operations;
        state.files.insert(id, Content::default());
        state.change_name(NameChange::Create(name.to_owned(), id));
        Ok(self.handle(state.epoch, id))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let state = self.state();
        state.check_power()?;
        Ok(self.handle(state.epoch, state.find(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.begin_change()?;
        let id = state.find(from)?;
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned(), id));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.begin_change()?;
        state.find(name)?;
        if state.faults.removals_fail {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        state.change_name(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.state();
        state.begin_change()?;
        state.names_pending.clear();
        state.check_sync()?;
        state.names_durable = state.names.clone();
        Ok(())
    }

    fn describe(&self, name: &str) -> String {
        name.to_owned()
    }
}

/// Keeps a disk from doing anything.
#[must_use = "the disk goes on when this is dropped"]
pub struct Hung<'a> {
    _state: MutexGuard<'a, State>,
    begun: &'a AtomicU64,
    begun_before: u64,
}

impl Hung<'_> {
    /// True when somebody waits for the disk.
    pub fn is_waited_for(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > self.begun_before
    }
}

struct Handle {
    disk: MemoryDisk,
    epoch: u64,
    id: FileId,
}

impl Handle {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.epoch != self.epoch {
            return Err(io::Error::other("the file was closed by a crash"));
        }
        Ok(state)
    }
}

impl File for Handle {
    fn size(&self) -> io::Result<u64> {
        let mut state = self.state()?;
        state.check_power()?;
        Ok(state.content(self.id).current.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut state = self.state()?;
        state.check_power()?;
        let current = &state.content(self.id).current;
        let from = offset as usize;
        let found = current.get(from..from + into.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state()?;
        state.begin_change()?;
        let room = state.room(self.id, offset);
        let fits = bytes.len().min(room);
        let content = state.content(self.id);
        put(&mut content.current, offset, &bytes[..fits]);
        content.pending.push(Write { offset, bytes: bytes[..fits].to_vec() });
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state()?;
        state.begin_change()?;
        let pending = std::mem::take(&mut state.content(self.id).pending);
        state.check_sync()?;
        let content = state.content(self.id);
        for write in pending {
            put(&mut content.durable, write.offset, &write.bytes);
        }
        Ok(())
    }
}

impl State {
    fn check_power(&self) -> io::Result<()> {
        match self.faults.operations_max {
            Some(operations_max) if self.operations > operations_max => Err(io::Error::other("the power is cut")),
            _ => Ok(()),
        }
    }

    fn begin_change(&mut self) -> io::Result<()> {
        self.operations += 1;
        self.check_power()
    }

    fn check_sync(&mut self) -> io::Result<()> {
        match &mut self.faults.syncs_left {
            Some(0) => return Err(io::Error::other("the disk failed to sync")),
            Some(left) => *left -= 1,
            None => {}
        }
        self.syncs += 1;
        Ok(())
    }

    fn find(&self, name: &str) -> io::Result<FileId> {
        self.names.get(name).copied().ok_or(io::ErrorKind::NotFound.into())
    }

    fn content(&mut self, id: FileId) -> &mut Content {
        self.files.entry(id).or_default()
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.names_pending.push(change);
    }

    /// How many bytes can be written to the file at `offset`.
    fn room(&mut self, id: FileId, offset: u64) -> usize {
        let Some(bytes_max) = self.faults.bytes_max else { return usize::MAX };
        let used: u64 = self.names.values().map(|id| self.files[id].current.len() as u64).sum();
        let length = self.content(id).current.len() as u64;
        (length.saturating_sub(offset) + bytes_max.saturating_sub(used)) as usize
    }

    fn crash_names(&mut self, survival: f64, rng: &mut impl Rng) {
        for change in std::mem::take(&mut self.names_pending) {
            if rng.random_bool(survival) {
                change.apply(&mut self.names_durable);
            }
        }
        self.names = self.names_durable.clone();
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, FileId>) {
        match self {
            NameChange::Create(name, id) => {
                names.insert(name.clone(), *id);
            }
            NameChange::Rename(from, to, id) => {
                names.remove(from);
                names.insert(to.clone(), *id);
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl Content {
    fn crash(&mut self, survival: f64, rng: &mut impl Rng) {
        let pending = std::mem::take(&mut self.pending);
        let mut length = self.durable.len();
        let mut sectors: BTreeMap<u64, Vec<(u64, &[u8])>> = BTreeMap::new();
        for write in &pending {
            if rng.random_bool(survival) {
                length = length.max(write.offset as usize + write.bytes.len());
            }
            for (offset, piece) in write.pieces() {
                sectors.entry(offset / SECTOR_BYTES).or_default().push((offset, piece));
            }
        }
        for pieces in sectors.into_values() {
            // What is written to a sector carries what was written to it before: the version that survives is the one after
            // the first so many writes.
            for (offset, piece) in pieces {
                if !rng.random_bool(survival) {
                    break;
                }
                put(&mut self.durable, offset, piece);
            }
        }
        self.durable.resize(length, 0);
        self.current = self.durable.clone();
    }
}

impl Write {
    /// The write cut at the borders of sectors, each piece with its offset.
    fn pieces(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let first = (SECTOR_BYTES - self.offset % SECTOR_BYTES).min(self.bytes.len() as u64) as usize;
        let (head, rest) = self.bytes.split_at(first);
        let after = self.offset + first as u64;
        let rest = rest.chunks(SECTOR_BYTES as usize).enumerate();
        let rest = rest.map(move |(n, piece)| (after + n as u64 * SECTOR_BYTES, piece));
        std::iter::once((self.offset, head)).chain(rest)
    }
}

fn put(into: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let from = offset as usize;
    if into.len() < from + bytes.len() {
        into.resize(from + bytes.len(), 0);
    }
    into[from..from + bytes.len()].copy_from_slice(bytes);
}
