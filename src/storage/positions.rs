//! Where the entries of each shard lie on disk.
//!
//! ```text
//!          bodies: the living ones        start       log: all of them         last
//!      .  .  x  .  .  .  x  x  .  .  .  .  |  x x x x x x x x x x x x x x x x x  |
//! ```
//!
//! A body that came from another node before its entry did can lie after `start`, too.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use imbl::{OrdMap, Vector};

use super::files::FileId;
use crate::ids::{Index, ShardId};

/// Where one record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The file.
    pub file: FileId,
    /// Where in it the record begins.
    pub offset: u32,
    /// The length of the record.
    pub length: u32,
}

impl Position {
    /// Where the record ends.
    pub fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.length)
    }
}

/// The positions of one shard. A clone takes constant time.
#[derive(Clone, Debug, Default)]
pub struct ShardPositions {
    start: Index,
    /// The entry with index `start + 1 + i` is at i.
    log: Vector<Position>,
    bodies: OrdMap<Index, Position>,
    bodies_bytes: u64,
}

impl ShardPositions {
    /// A log that begins after `start`, with no entry.
    pub fn begin_after(start: Index) -> Self {
        Self { start, ..Self::default() }
    }

    /// The log begins after this entry.
    pub fn start(&self) -> Index {
        self.start
    }

    /// The last index of the log; that of `start` if it has no entries.
    pub fn last(&self) -> Index {
        Index(self.start.0 + self.log.len() as u64)
    }

    /// Entries of the log.
    pub fn entries(&self) -> u64 {
        self.log.len() as u64
    }

    /// The first entry of the log.
    pub fn first(&self) -> Option<&Position> {
        self.log.front()
    }

    /// Adds an entry; those at and above its index are gone with it.
    ///
    /// # Panics
    /// The index leaves a gap, or is at or before the start. Recovery checks for that before.
    pub fn put(&mut self, index: Index, position: Position) {
        let (start, last) = (self.start, self.last());
        assert!((start.0 + 1..=last.0 + 1).contains(&index.0), "entry {index} does not follow {start} to {last}");
        self.truncate(index);
        self.log.push_back(position);
    }

    /// Cuts the entries at and above this one.
    pub fn truncate(&mut self, from: Index) {
        self.log.truncate(from.0.saturating_sub(self.start.0 + 1) as usize);
    }

    /// The positions of the entries from `from` to `to`; fewer if the log is shorter, none if it does not have `from`.
    pub fn range(&self, from: Index, to: Index) -> impl Iterator<Item = &Position> {
        let first = if from > self.start { (from.0 - self.start.0 - 1).min(self.log.len() as u64) } else { u64::MAX };
        let end = to.0.saturating_sub(self.start.0).min(self.log.len() as u64);
        let range = if first < end { first as usize..end as usize } else { 0..0 };
        self.log.focus().narrow(range).into_iter()
    }

    /// The position of an entry of the log.
    pub fn entry(&self, index: Index) -> Option<Position> {
        let at = index.0.checked_sub(self.start.0 + 1)?;
        self.log.get(usize::try_from(at).ok()?).copied()
    }

    /// The position of an entry with its living items: an entry of the log has all of them.
    pub fn body(&self, index: Index) -> Option<Position> {
        self.entry(index).or_else(|| self.bodies.get(&index).copied())
    }

    /// True when the body is in a file of bodies, or in the log at or before `committed`.
    pub fn has_body(&self, index: Index, committed: Index) -> bool {
        self.bodies.contains_key(&index) || (index <= committed && self.entry(index).is_some())
    }

    /// All bodies outside the log.
    pub fn bodies(&self) -> &OrdMap<Index, Position> {
        &self.bodies
    }

    /// The length of all records of bodies outside the log.
    pub fn bodies_bytes(&self) -> u64 {
        self.bodies_bytes
    }

    /// Adds a body. Of two records of one entry the longer one stays: the other has lost more of its items.
    pub fn add_body(&mut self, index: Index, position: Position) {
        if self.bodies.get(&index).is_none_or(|found| found.length <= position.length) {
            self.set_body(index, position);
        }
    }

    /// Lets a body be found elsewhere, if it is still where it was.
    pub fn move_body(&mut self, index: Index, from: Position, to: Position) {
        if self.bodies.get(&index) == Some(&from) {
            self.set_body(index, to);
        }
    }

    /// Forgets a body.
    pub fn remove_body(&mut self, index: Index) {
        if let Some(found) = self.bodies.remove(&index) {
            self.bodies_bytes -= u64::from(found.length);
        }
    }

    /// Moves the start towards `to` by at most `entries_max` entries; what lives of them becomes a body. Returns by how many.
    pub fn advance(&mut self, to: Index, entries_max: u64, mut lives: impl FnMut(Index) -> bool) -> u64 {
        let mut moved = 0;
        while self.start < to
            && moved < entries_max
            && let Some(position) = self.log.pop_front()
        {
            self.start = self.start.next();
            moved += 1;
            if lives(self.start) {
                self.add_body(self.start, position);
            }
        }
        moved
    }

    /// The log begins after `start` and has no entries.
    pub fn reset(&mut self, start: Index) {
        self.start = start;
        self.log = Vector::new();
    }

    fn set_body(&mut self, index: Index, position: Position) {
        let old = self.bodies.insert(index, position);
        self.bodies_bytes -= old.map_or(0, |old| u64::from(old.length));
        self.bodies_bytes += u64::from(position.length);
    }
}

/// The positions of all shards.
#[derive(Debug, Default)]
pub struct Positions {
    shards: BTreeMap<ShardId, ShardPositions>,
}

impl Positions {
    /// Those of a shard, if it was ever written.
    pub fn get(&self, shard: ShardId) -> Option<&ShardPositions> {
        self.shards.get(&shard)
    }

    /// Those of a shard.
    pub fn get_mut(&mut self, shard: ShardId) -> &mut ShardPositions {
        self.shards.entry(shard).or_default()
    }

    /// All shards.
    pub fn shards(&self) -> impl Iterator<Item = (ShardId, &ShardPositions)> {
        self.shards.iter().map(|(shard, positions)| (*shard, positions))
    }
}

/// The positions as threads share them. The thread that writes the log never waits for more than one step of a compaction.
#[derive(Debug, Default)]
pub struct SharedPositions {
    positions: RwLock<Positions>,
    /// Threads that wait in `write`.
    waiting: AtomicUsize,
}

impl SharedPositions {
    /// Begins with these.
    pub fn new(positions: Positions) -> Self {
        Self { positions: RwLock::new(positions), waiting: AtomicUsize::new(0) }
    }

    /// To look something up.
    pub fn read(&self) -> RwLockReadGuard<'_, Positions> {
        self.positions.read().expect("no code panics while it holds the lock")
    }

    /// All as they are, to look at without holding up anybody.
    pub fn all(&self) -> Vec<(ShardId, ShardPositions)> {
        self.read().shards().map(|(shard, positions)| (shard, positions.clone())).collect()
    }

    /// To change something that others wait for.
    pub fn write(&self) -> RwLockWriteGuard<'_, Positions> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let positions = self.positions.write().expect("no code panics while it holds the lock");
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        positions
    }

    /// For one of many steps that nobody waits for. The lock of the system is not fair: whoever takes it again at once can have it
    /// before those that wait, so this lets them go first.
    pub fn write_patiently(&self) -> RwLockWriteGuard<'_, Positions> {
        while self.waiting.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
        self.positions.write().expect("no code panics while it holds the lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A compaction comes back for its next step at once, when whoever appends has not even woken up: it waits for its turn.
    #[test]
    fn who_appends_waits_for_one_step_of_a_compaction() {
        for _ in 0..50 {
            let positions = SharedPositions::default();
            let step = positions.write_patiently();
            std::thread::scope(|scope| {
                scope.spawn(|| positions.write().get_mut(ShardId(1)).reset(Index(7)));
                while positions.waiting.load(Ordering::SeqCst) == 0 {
                    std::thread::yield_now();
                }
                drop(step);
                let next = positions.write_patiently();
                assert!(next.get(ShardId(1)).is_some(), "the one that waited came first");
            });
        }
    }
}
