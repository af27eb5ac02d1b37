//! Takes away what a snapshot has made superfluous.
//!
//! ```text
//!    log of the shard    entries up to its start go; the living ones become bodies
//!    chain               segments before all that any log needs leave it:
//!                           nothing lives in it     -> recycled
//!                           something lives in it   -> archive, with an index of it
//!    archive             a file with nothing alive  -> recycled
//!                        less than half alive       -> what lives is copied, several files into one
//!                        many small files           -> copied into one as well
//! ```
//!
//! Each change of files is one replacement of the manifest. What it names is durable before, what it does not name any more
//! goes after, and readers are told of it in between: so every crash and every reader finds all that lives.
//!
//! What it costs: a copied byte of a file that is less than half alive is paid for by a dead byte that goes with it. A small
//! file is copied when there are eight of its size, within a factor of four, and ends up in a larger one: that happens to a record at
//! most once for each factor of four up to half a segment, six times.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::error::Error;
use super::files::FileId;
use super::index::{self, Listed};
use super::manifest::ArchiveFile;
use super::positions::{Position, ShardPositions};
use super::rewrite;
use super::spares::Stale;
use super::store::{STEP_ENTRIES_MAX, Store};
use super::usage::Purpose;
use super::weights::Weights;
use crate::ids::{EntryId, Index, ShardId};
use crate::state_machine::Living;

/// So many segments leave the chain at a time. Where their living bodies lie is held in memory meanwhile.
const SEGMENTS_MAX: u64 = 16;

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Entries that left the log.
    pub entries: u64,
    /// Files that went, or were recycled, or go when nobody reads them any more.
    pub files_removed: u64,
    /// Bytes of records that were written once more.
    pub bytes_copied: u64,
}

/// One compaction.
pub struct Run<'a> {
    pub store: &'a Store,
    pub weights: &'a mut Weights,
    pub shard: ShardId,
    /// The last entry that the snapshot has in it: of later ones it does not tell whether they live.
    pub last: EntryId,
    pub living: LivingItems<'a>,
    pub pace: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
    pub done: Compacted,
}

/// See [`Store::compact`].
pub fn compact(
    store: &Store,
    weights: &mut Weights,
    shard: ShardId,
    last: EntryId,
    living: &[Living],
    pace: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Compacted, Error> {
    let manifest = store.manifest();
    if manifest.snapshot(shard).is_none_or(|snapshot| snapshot.last != last) {
        return Ok(Compacted::default());
    }
    let living = LivingItems::new(living);
    let mut run = Run { store, weights, shard, last, living, pace, done: Compacted::default() };
    run.advance(manifest.start(shard).index);
    run.prune();
    match run.change_files() {
        // Files that only wait to be used again are worth less than what a full disk keeps from being done.
        Err(error) if error.is_full_disk() && store.spares().count().0 > 0 => {
            store.spares().clear(&**store.disk());
            run.change_files()?;
        }
        changed => changed?,
    }
    Ok(run.done)
}

impl Run<'_> {
    /// Entries up to the log's start go, and what lives of them becomes bodies.
    fn advance(&mut self, start: Index) {
        loop {
            let mut positions = self.store.positions().write_patiently();
            let lives = |index| self.living.lives(index);
            let moved = positions.get_mut(self.shard).advance(start, STEP_ENTRIES_MAX as u64, lives);
            self.done.entries += moved;
            if moved == 0 {
                return;
            }
        }
    }

    /// Bodies that do not live are forgotten.
    fn prune(&mut self) {
        let bodies = self.store.shard(self.shard).bodies().clone();
        let judged = bodies.keys().take_while(|index| **index <= self.last.index);
        let dead: Vec<Index> = judged.filter(|index| !self.living.lives(**index)).copied().collect();
        for step in dead.chunks(STEP_ENTRIES_MAX) {
            let mut positions = self.store.positions().write_patiently();
            for index in step {
                positions.get_mut(self.shard).remove_body(*index);
            }
        }
    }

    fn change_files(&mut self) -> Result<(), Error> {
        while self.shorten_chain()? {}
        rewrite::rewrite(self)
    }

    /// Takes some segments out of the chain, if it has any that no log needs.
    fn shorten_chain(&mut self) -> Result<bool, Error> {
        let first = self.store.manifest().chain_first;
        let end = self.first_needed_segment().min(first + SEGMENTS_MAX);
        if first >= end {
            return Ok(false);
        }
        let mut bodies = self.bodies_in(first..end);
        let (mut archived, mut stale) = (Vec::new(), Vec::new());
        for file in (first..end).map(FileId::segment) {
            let bytes = self.size(file)?;
            match bodies.remove(&file) {
                Some(bodies) => archived.push(self.write_index(file, bytes, &bodies)?),
                None => stale.push(Stale { name: file.name(), bytes, file: Some(file) }),
            }
        }
        if !archived.is_empty() {
            self.store.sync_directory()?;
        }
        let changes = self.store.changes();
        let mut next = self.store.manifest().as_ref().clone();
        next.begin_chain(end);
        next.archive.extend(archived);
        self.store.replace_manifest(&changes, next)?;
        drop(changes);
        self.done.files_removed += stale.len() as u64;
        self.store.retire(stale);
        Ok(true)
    }

    /// The first segment that has to stay in the chain: one with an entry of a log in it, be it one that only a frame which is not
    /// durable has cut, or the last one in which a frame is durable.
    fn first_needed_segment(&self) -> u64 {
        let positions = self.store.positions().read();
        let durable = self.store.durable().needed_segment();
        let needed = positions.shards().filter_map(|(_, positions)| positions.first());
        needed.map(|position| position.file.number()).min().unwrap_or(durable).min(durable)
    }

    /// Nothing else makes bodies of what these segments hold: no log has an entry there any more.
    fn bodies_in(&self, segments: std::ops::Range<u64>) -> BTreeMap<FileId, Vec<Listed>> {
        let mut found: BTreeMap<FileId, Vec<Listed>> = BTreeMap::new();
        for (shard, positions) in self.store.positions().all() {
            for (index, position) in positions.bodies() {
                if !position.file.is_bodies() && segments.contains(&position.file.number()) {
                    found.entry(position.file).or_default().push((shard, *index, *position));
                }
            }
        }
        found
    }

    fn write_index(&self, file: FileId, bytes: u64, bodies: &[Listed]) -> Result<ArchiveFile, Error> {
        let disk = self.store.disk();
        // One that was written before a full disk ended the attempt.
        let _ = disk.remove(&file.index_name());
        let index_bytes = index::write(&**disk, file, bodies)?;
        self.store.count(Purpose::Compaction, index_bytes);
        Ok(ArchiveFile { file, bytes, index_bytes })
    }

    fn size(&self, file: FileId) -> Result<u64, Error> {
        let disk = self.store.disk();
        let size = disk.open(&file.name()).and_then(|file| file.size());
        size.map_err(Error::io("read", disk.describe(&file.name())))
    }
}

/// The items that live, by entry.
pub struct LivingItems<'a> {
    items: Cow<'a, [Living]>,
}

impl<'a> LivingItems<'a> {
    fn new(living: &'a [Living]) -> Self {
        let mut items = Cow::Borrowed(living);
        if !living.is_sorted() {
            items.to_mut().sort_unstable();
        }
        Self { items }
    }

    /// Those of an entry. One can be there twice: an outcome names it as well.
    pub fn of(&self, index: Index) -> &[Living] {
        let from = self.items.partition_point(|living| living.id.index < index);
        let count = self.items[from..].partition_point(|living| living.id.index == index);
        &self.items[from..from + count]
    }

    /// True when an item of the entry lives.
    pub fn lives(&self, index: Index) -> bool {
        let from = self.items.partition_point(|living| living.id.index < index);
        self.items.get(from).is_some_and(|living| living.id.index == index)
    }
}

/// The shards with their positions, to look up what is where.
pub fn is_there(shards: &BTreeMap<ShardId, ShardPositions>, shard: ShardId, index: Index, position: Position) -> bool {
    shards.get(&shard).is_some_and(|positions| positions.bodies().get(&index) == Some(&position))
}
