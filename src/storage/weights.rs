//! How much of a file lives.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::codec;
use super::compaction::Run;
use super::error::Error;
use super::files::FileId;
use super::index::Listed;
use super::positions::Position;
use super::record::{Body, HEADER_BYTES};
use super::rewrite::Alive;
use crate::ids::{Index, ShardId};
use crate::state_machine::keep_items;

/// What is known of files that had to be read to tell how much of them lives: one number for each of them and each shard that was
/// compacted, however many bodies are in it. A file is read again only when items have died and what is known does not tell.
#[derive(Debug, Default)]
pub struct Weights {
    known: BTreeMap<(FileId, ShardId), Weight>,
}

#[derive(Clone, Copy, Debug)]
struct Weight {
    /// How many items lived. They only become fewer, so that the same number is the same items.
    items: u64,
    /// By how much what lived was longer than the messages say: names and lengths of items, which go with them.
    surplus: u64,
}

impl Weights {
    /// Forgets files that are gone.
    pub fn retain(&mut self, mut is_there: impl FnMut(FileId) -> bool) {
        self.known.retain(|(file, _), _| is_there(*file));
    }
}

impl Run<'_> {
    /// What is known without reading of the length of a record with nothing but its living items.
    pub fn bounds(&self, shard: ShardId, index: Index, position: Position) -> Alive {
        let length = u64::from(position.length);
        if !self.judges(shard, index) {
            return Alive { lower: length, upper: length, items: 0 };
        }
        let (mut bodies, mut items) = (0, 0);
        let mut before = None;
        for living in self.living.of(index) {
            // An item that is there twice is there with its length last.
            let again = before.filter(|(item, _)| *item == living.id.item).map(|(_, bytes)| bytes);
            bodies -= again.unwrap_or(0);
            items += u64::from(again.is_none());
            bodies += u64::from(living.bytes);
            before = Some((living.id.item, u64::from(living.bytes)));
        }
        Alive { lower: length.min(HEADER_BYTES as u64 + bodies), upper: length, items }
    }

    /// What is known of a file without reading it, with what was found when it was read.
    pub fn narrow(&self, file: FileId, alive: Alive) -> Alive {
        let Some(weight) = self.weights.known.get(&(file, self.shard)) else { return alive };
        let upper = alive.upper.min(alive.lower + weight.surplus);
        let lower = if weight.items == alive.items { upper } else { alive.lower };
        Alive { lower, upper, ..alive }
    }

    /// So many bytes of a file live: that holds until some of its items die.
    pub fn remember(&mut self, file: FileId, alive: Alive, living: u64) {
        let weight = Weight { items: alive.items, surplus: living.saturating_sub(alive.lower) };
        self.weights.known.insert((file, self.shard), weight);
    }

    /// The length of a record with nothing but its living items. Reads it, if the snapshot tells of it.
    pub fn weigh(&self, (shard, index, position): Listed) -> Result<u64, Error> {
        if !self.judges(shard, index) {
            return Ok(u64::from(position.length));
        }
        let body = self.store.files().read_body(shard, index, position)?;
        Ok((HEADER_BYTES + self.trim(shard, &body).len()) as u64)
    }

    /// The payload of a body with nothing but its living items.
    pub fn trim(&self, shard: ShardId, body: &Body) -> Bytes {
        let is_command = matches!(body.kind, codec::COMMAND | codec::BODIES);
        if !is_command || !self.judges(shard, body.id.index) {
            return body.payload.clone();
        }
        let mut items: Vec<u32> = self.living.of(body.id.index).iter().map(|living| living.id.item).collect();
        items.dedup();
        // What is no command to the state machine is kept as it is: nothing is lost, and somebody who reads it will tell.
        keep_items(&body.payload, &items).unwrap_or_else(|| body.payload.clone())
    }

    /// True when the snapshot tells what lives of an entry.
    fn judges(&self, shard: ShardId, index: Index) -> bool {
        shard == self.shard && index <= self.last.index
    }
}
