//! How much of a file lives.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::codec;
use super::compaction::Run;
use super::error::Error;
use super::index::Listed;
use super::positions::Position;
use super::record::{HEADER_BYTES, Record};
use crate::ids::{EntryId, Index, ShardId};
use crate::state_machine::keep_items;

/// The lengths of records with nothing but their living items, where that had to be found out by reading them. A record is read
/// again only when some of its items have died.
#[derive(Debug, Default)]
pub struct Weights {
    known: BTreeMap<(ShardId, Index), Weight>,
}

#[derive(Clone, Copy, Debug)]
struct Weight {
    /// How many items lived. They only become fewer, so that the same number is the same items.
    items: usize,
    length: u64,
}

/// A body as it was read.
#[derive(Debug)]
pub struct Body {
    pub id: EntryId,
    pub kind: u8,
    pub payload: Bytes,
}

impl Weights {
    /// Forgets records that are not bodies any more.
    pub fn retain(&mut self, mut is_body: impl FnMut(ShardId, Index) -> bool) {
        self.known.retain(|(shard, index), _| is_body(*shard, *index));
    }
}

impl Run<'_> {
    /// What is known without reading of the length of a record with nothing but its living items: at least the first, at most
    /// the second.
    pub fn bounds(&self, shard: ShardId, index: Index, position: Position) -> (u64, u64) {
        let length = u64::from(position.length);
        if !self.judges(shard, index) {
            return (length, length);
        }
        let mut bodies = 0;
        let mut before = None;
        for living in self.living.of(index) {
            // An item that is there twice is there with its length last.
            if before.is_some_and(|(item, _)| item == living.id.item) {
                bodies -= before.map_or(0, |(_, bytes)| bytes);
            }
            bodies += u64::from(living.bytes);
            before = Some((living.id.item, u64::from(living.bytes)));
        }
        (length.min(HEADER_BYTES as u64 + bodies), length)
    }

    /// The length of a record with nothing but its living items.
    pub fn weigh(&mut self, (shard, index, position): Listed) -> Result<u64, Error> {
        let items = self.items(shard, index).len();
        if let Some(weight) = self.weights.known.get(&(shard, index)).filter(|weight| weight.items == items) {
            return Ok(weight.length);
        }
        let body = self.read(shard, index, position)?;
        let length = (HEADER_BYTES + self.trim(shard, &body).len()) as u64;
        self.weights.known.insert((shard, index), Weight { items, length });
        Ok(length)
    }

    /// The payload of a body with nothing but its living items.
    pub fn trim(&self, shard: ShardId, body: &Body) -> Bytes {
        let is_command = matches!(body.kind, codec::COMMAND | codec::BODIES);
        if !is_command || !self.judges(shard, body.id.index) {
            return body.payload.clone();
        }
        let items = self.items(shard, body.id.index);
        // What is no command to the state machine is kept as it is: nothing is lost, and somebody who reads it will tell.
        keep_items(&body.payload, &items).unwrap_or_else(|| body.payload.clone())
    }

    /// Reads a body.
    pub fn read(&self, shard: ShardId, index: Index, position: Position) -> Result<Body, Error> {
        let files = self.store.files();
        let bytes = files.read(position.file, u64::from(position.offset), u64::from(position.length))?;
        let corrupt = |why: &str| Error::corrupt(files.describe(position.file), u64::from(position.offset), why);
        let (record, _) = Record::decode(&bytes).map_err(corrupt)?;
        if (record.shard, record.id.index) != (shard, index) {
            return Err(corrupt("another entry is in the place of this one"));
        }
        Ok(Body { id: record.id, kind: record.kind, payload: bytes.slice_ref(record.payload) })
    }

    /// A body was written with nothing but its living items: so long it stays until some of them die.
    pub fn remember(&mut self, shard: ShardId, index: Index, length: u64) {
        let items = self.items(shard, index).len();
        if let Some(weight) = self.weights.known.get_mut(&(shard, index)) {
            *weight = Weight { items, length };
        }
    }

    fn items(&self, shard: ShardId, index: Index) -> Vec<u32> {
        if !self.judges(shard, index) {
            return Vec::new();
        }
        let mut items: Vec<u32> = self.living.of(index).iter().map(|living| living.id.item).collect();
        items.dedup();
        items
    }

    /// True when the snapshot tells what lives of an entry.
    fn judges(&self, shard: ShardId, index: Index) -> bool {
        shard == self.shard && index <= self.last.index
    }
}
