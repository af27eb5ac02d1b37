//! Files that are not needed any more: they go, or wait to become the next segment.
//!
//! A segment made of a file whose blocks are written already need not be filled with zeros.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::disk::Disk;
use super::files::{FileId, OpenFiles};

/// So many files wait to become segments; what is beyond is removed.
pub const SPARES_MAX: usize = 4;

const PREFIX: &str = "spare-";

/// A file that nothing names any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Which one it is, when it holds entries.
    pub file: Option<FileId>,
}

/// Files that wait to become segments, with their lengths.
#[derive(Debug, Default)]
pub struct Spares {
    ready: Mutex<Vec<(String, u64)>>,
    next: AtomicU64,
}

impl Spares {
    /// Those that were found at start. Their names are durable.
    pub fn new(names: Vec<(String, u64)>) -> Self {
        let last = names.iter().filter_map(|(name, _)| number(name)).max().unwrap_or(0);
        Self { ready: Mutex::new(names), next: AtomicU64::new(last + 1) }
    }

    /// One to make a segment of, with its length.
    pub fn take(&self) -> Option<(String, u64)> {
        self.lock().pop()
    }

    /// How many there are, and how long they are together.
    pub fn count(&self) -> (u64, u64) {
        let ready = self.lock();
        (ready.len() as u64, ready.iter().map(|(_, bytes)| bytes).sum())
    }

    /// Removes files, or keeps them to become segments of about `segment_bytes`.
    ///
    /// The directory is not synced: what comes back after a crash under its old name, be it besides the name that it got later, is
    /// named by nothing, and the next start removes that name.
    ///
    /// What cannot be removed is told, and goes at the next start: the change that made it superfluous is in force.
    pub fn discard(&self, disk: &dyn Disk, open: &OpenFiles, files: Vec<Stale>, segment_bytes: u64) {
        let mut kept = Vec::new();
        for stale in files {
            let fits = stale.file.is_some() && (segment_bytes / 2..=segment_bytes).contains(&stale.bytes);
            let spare =
                (fits && self.lock().len() + kept.len() < SPARES_MAX).then(|| self.make(disk, &stale)).flatten();
            match spare {
                Some(name) => kept.push((name, stale.bytes)),
                None => remove(disk, &stale.name),
            }
            if let Some(file) = stale.file {
                open.forget(file);
                // A segment that goes before it was kept for its bodies has none.
                remove(disk, &file.index_name());
            }
        }
        self.lock().extend(kept);
    }

    /// Removes all, when the disk is full.
    pub fn clear(&self, disk: &dyn Disk) {
        // Not under the lock: the writer may want one.
        let spares = std::mem::take(&mut *self.lock());
        for (name, _) in spares {
            remove(disk, &name);
        }
    }

    /// Gives a file the name of a spare. None: that cannot be done.
    fn make(&self, disk: &dyn Disk, stale: &Stale) -> Option<String> {
        let name = format!("{PREFIX}{:016x}.log", self.next.fetch_add(1, Ordering::Relaxed));
        match disk.rename(&stale.name, &name) {
            Ok(()) => Some(name),
            Err(error) => {
                tracing::warn!("cannot keep {} for later use: {error}", disk.describe(&stale.name));
                None
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(String, u64)>> {
        self.ready.lock().expect("no code panics while it holds the lock")
    }
}

/// Removes a file that nothing names, if it is there. Should that fail, the next start does it.
pub fn remove(disk: &dyn Disk, name: &str) {
    match disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("cannot remove {}, which goes at the next start: {error}", disk.describe(name));
        }
        _ => {}
    }
}

/// True when a file of this name waits to become a segment.
pub fn is_spare(name: &str) -> bool {
    number(name).is_some()
}

fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(".log")?;
    u64::from_str_radix(digits, 16).ok().filter(|number| format!("{PREFIX}{number:016x}.log") == name)
}
