//! Where the entries of each shard lie on disk.

use std::collections::BTreeMap;

use crate::ids::{Index, ShardId};

/// Where one record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The segment.
    pub segment: u64,
    /// Where in its file the record begins.
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

/// The positions of all entries, 16 bytes each.
#[derive(Debug, Default)]
pub struct Positions {
    /// The entry with index i is at i - 1.
    shards: BTreeMap<ShardId, Vec<Position>>,
}

impl Positions {
    /// Adds an entry; those at and above its index are gone with it.
    ///
    /// # Panics
    /// The index leaves a gap. Recovery checks for that before.
    pub fn put(&mut self, shard: ShardId, index: Index, position: Position) {
        let entries = self.shards.entry(shard).or_default();
        let last = entries.len() as u64;
        assert!((1..=last + 1).contains(&index.0), "entry {index} of shard {shard} leaves a gap after {last}");
        entries.truncate((index.0 - 1) as usize);
        entries.push(position);
    }

    /// The positions of the entries from `from` to `to`; fewer if the log is shorter.
    pub fn range(&self, shard: ShardId, from: Index, to: Index) -> &[Position] {
        let entries = self.shards.get(&shard).map_or(&[][..], Vec::as_slice);
        let first = from.previous().0 as usize;
        let end = entries.len().min(to.0 as usize);
        if from.0 == 0 { &[] } else { entries.get(first..end).unwrap_or_default() }
    }

    /// The last index of a shard; 0 if it has no entries.
    pub fn last(&self, shard: ShardId) -> Index {
        Index(self.shards.get(&shard).map_or(0, |entries| entries.len() as u64))
    }
}
