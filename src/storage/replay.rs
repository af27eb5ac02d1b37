//! What the records of the chain say, one after the other, of the log of each shard.
//!
//! The chain can hold more than the log: entries at or before its start, which are bodies if they live; entries from before a
//! received snapshot took the place of the log; and, at its beginning, the rest of entries that were cut long ago.
//!
//! The rules:
//!
//! - An entry in a frame before a reset counts only up to what was committed then, and only as a body.
//! - An entry after the start cuts the log of its shard at its index, and is put there. One that leaves a gap is part of what was
//!   cut later: another one at or before the gap follows, or the log is not whole.
//! - Of the entries at an index at or before the start the last one in the chain is the one that was committed. It cuts the log: what
//!   followed the ones before it was never committed.
//! - Of two records of one entry, in the chain and in the archive, the longer one is the body: the other has lost more of its items.

use std::collections::BTreeMap;

use bytes::Bytes;
use imbl::OrdMap;

use super::codec;
use super::index::Listed;
use super::manifest::{Manifest, ShardFiles};
use super::positions::{Position, Positions, ShardPositions};
use super::record::{self, Record};
use crate::ids::{EntryId, Index, ShardId};
use crate::raft::{Configuration, Payload, Recovered};

/// The logs as far as they have been read.
pub struct Replay<'a> {
    manifest: &'a Manifest,
    shards: BTreeMap<ShardId, Shard>,
}

struct Shard {
    files: ShardFiles,
    recovered: Recovered,
    log: ShardPositions,
    /// Entries at or before the start; the last one in the chain is the one that was committed.
    before: OrdMap<Index, Position>,
    /// The index of the record before, if the chain says what came before.
    seen: Option<Index>,
}

impl<'a> Replay<'a> {
    /// Nothing has been read.
    pub fn new(manifest: &'a Manifest) -> Self {
        let mut replay = Self { manifest, shards: BTreeMap::new() };
        for shard in manifest.shards.keys() {
            replay.shard(*shard);
        }
        replay
    }

    /// The next record, of the frame with this number.
    pub fn take_record(&mut self, frame: u64, record: &Record<'_>, position: Position) -> Result<(), String> {
        let configuration = match record.kind {
            record::HARD_STATE => {
                self.shard(record.shard).recovered.hard_state = record.hard_state()?;
                return Ok(());
            }
            codec::NOOP | codec::COMMAND => None,
            codec::CONFIGURATION => Some(decode_configuration(record.payload)?),
            kind => return Err(format!("no record has kind {kind}")),
        };
        if record.id.index == Index(0) {
            return Err(format!("entry {} of shard {} has no index", record.id, record.shard));
        }
        self.shard(record.shard).take_entry(frame, record, configuration, position)
    }

    /// What each shard goes on from, with the bodies of the archive.
    pub fn finish(self, archive: Vec<Listed>) -> Result<(BTreeMap<ShardId, Recovered>, Positions), String> {
        let mut positions = Positions::default();
        let mut recovered = BTreeMap::new();
        for (shard, found) in self.shards {
            found.check_end(shard)?;
            *positions.get_mut(shard) = found.log;
            recovered.insert(shard, found.recovered);
            for (index, position) in found.before {
                positions.get_mut(shard).add_body(index, position);
            }
        }
        for (shard, index, position) in archive {
            positions.get_mut(shard).add_body(index, position);
        }
        Ok((recovered, positions))
    }

    fn shard(&mut self, shard: ShardId) -> &mut Shard {
        self.shards.entry(shard).or_insert_with(|| {
            let files = self.manifest.shard(shard).cloned().unwrap_or_default();
            let whole = self.manifest.chain_first == 1 && files.resets.is_empty();
            Shard::new(files, whole.then_some(Index(0)))
        })
    }
}

impl Shard {
    fn new(files: ShardFiles, seen: Option<Index>) -> Self {
        let start = files.start;
        let snapshot = files.snapshot.as_ref().map_or(EntryId::default(), |snapshot| snapshot.last);
        let recovered = Recovered { start, snapshot, last: start.index, ..Recovered::default() };
        Self { files, recovered, log: ShardPositions::begin_after(start.index), before: OrdMap::new(), seen }
    }

    fn take_entry(
        &mut self,
        frame: u64,
        record: &Record<'_>,
        configuration: Option<Configuration>,
        position: Position,
    ) -> Result<(), String> {
        let index = record.id.index;
        if !self.files.is_after_resets(frame) {
            if self.files.holds(frame, index) {
                self.before.insert(index, position);
            }
            return Ok(());
        }
        if let Some(seen) = self.seen
            && index > seen.next()
        {
            return Err(format!("entry {} of shard {} follows entry {seen}", record.id, record.shard));
        }
        self.seen = Some(index);
        if index <= self.recovered.start.index {
            self.before.insert(index, position);
            self.cut(self.recovered.start.index.next());
        } else if index <= self.recovered.last.next() {
            self.cut(index);
            self.put(record.id, configuration, position);
        }
        Ok(())
    }

    /// Entries at and above this one are gone.
    fn cut(&mut self, from: Index) {
        let recovered = &mut self.recovered;
        while recovered.terms.pop_if(|first| first.index >= from).is_some() {}
        while recovered.configurations.pop_if(|(index, _)| *index >= from).is_some() {}
        recovered.last = recovered.last.min(from.previous());
        self.log.truncate(from);
    }

    fn put(&mut self, id: EntryId, configuration: Option<Configuration>, position: Position) {
        let recovered = &mut self.recovered;
        if recovered.terms.last().is_none_or(|first| first.term != id.term) {
            recovered.terms.push(id);
        }
        // Up to its last entry, the snapshot knows the configuration.
        if id.index > recovered.snapshot.index {
            recovered.configurations.extend(configuration.map(|configuration| (id.index, configuration)));
        }
        recovered.last = id.index;
        self.log.put(id.index, position);
    }

    /// The log goes as far as the records did, and as the snapshot: it was durable up to there before the snapshot was in force.
    fn check_end(&self, shard: ShardId) -> Result<(), String> {
        let Recovered { last, snapshot, .. } = &self.recovered;
        match self.seen {
            Some(seen) if seen > *last => {
                Err(format!("entries of shard {shard} after {last} are missing, and {seen} is there"))
            }
            _ if *last < snapshot.index => Err(format!(
                "the log of shard {shard} ends with entry {last}, before the end of its snapshot, {snapshot}"
            )),
            _ => Ok(()),
        }
    }
}

fn decode_configuration(payload: &[u8]) -> Result<Configuration, String> {
    match codec::decode_payload(codec::CONFIGURATION, Bytes::copy_from_slice(payload)) {
        Ok(Payload::Configuration { configuration, .. }) => Ok(configuration),
        Ok(_) => unreachable!("the kind is that of a configuration"),
        Err(error) => Err(error.to_string()),
    }
}
