//! How far the log is durable, for those who must not be ahead of it.
//!
//! ```text
//!    appended   positions of the frame can be found:  what it cut is gone from there, and comes back with a crash
//!    synced     it is durable:                        what it cut is gone for good
//! ```

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard};

use super::error::Error;
use crate::ids::{Index, ShardId};

/// How far the log is durable.
#[derive(Debug)]
pub struct Durable {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Entries of a shard up to here, as their positions are found, are durable.
    lasts: BTreeMap<ShardId, Index>,
    segment: u64,
    /// The first segment of what the frame that is not durable has cut.
    cut: Option<u64>,
    /// Counts changes of the log.
    changes: u64,
    /// Nothing becomes durable any more.
    ended: bool,
}

impl Durable {
    /// What was found at start.
    pub fn new(lasts: BTreeMap<ShardId, Index>, segment: u64) -> Self {
        let state = State { lasts, segment, cut: None, changes: 0, ended: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The chain has to begin at this segment, or before: so that the last durable frame is in it, because the first one of its
    /// segment tells the hard states, and so is what a frame that is not durable has cut. 0: no frame is durable.
    ///
    /// To be asked with the lock on positions held: then no frame is appended between this and a look at them.
    pub fn needed_segment(&self) -> u64 {
        let state = self.state();
        state.cut.map_or(state.segment, |cut| cut.min(state.segment))
    }

    /// A frame was appended, the one before being durable: of the log of these shards it has left what was there up to an entry. The
    /// first segment of what it has cut is `cut`. To be told before anybody finds the positions of its entries.
    pub fn on_appended(&self, kept: impl IntoIterator<Item = (ShardId, Index)>, cut: Option<u64>) {
        let mut state = self.state();
        for (shard, kept) in kept {
            let last = state.lasts.entry(shard).or_default();
            *last = kept.min(*last);
        }
        state.cut = cut;
        self.tell(state);
    }

    /// The frame is durable: it is in this segment, and these are the last entries of the shards that it has entries of.
    pub fn on_synced(&self, segment: u64, lasts: impl IntoIterator<Item = (ShardId, Index)>) {
        let mut state = self.state();
        state.segment = segment;
        state.cut = None;
        state.lasts.extend(lasts);
        self.tell(state);
    }

    /// The log of a shard begins after this entry, and has none.
    pub fn on_reset(&self, shard: ShardId, start: Index) {
        let mut state = self.state();
        state.lasts.insert(shard, start);
        self.tell(state);
    }

    /// The log is closed, or has failed.
    pub fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        self.tell(state);
    }

    /// Waits until the entry of a shard is durable. The entry is the one whose position is found: another one may be on its way.
    ///
    /// # Errors
    /// [`Error::Failed`]: it never will be.
    pub fn wait(&self, shard: ShardId, index: Index) -> Result<(), Error> {
        self.wait_until(|state| state.lasts.get(&shard).copied().unwrap_or_default() >= index)
    }

    /// How many changes of the log there were.
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// Waits for a change of the log after so many.
    ///
    /// # Errors
    /// [`Error::Failed`]: there will be none.
    pub fn wait_for_change(&self, after: u64) -> Result<(), Error> {
        self.wait_until(|state| state.changes > after)
    }

    fn wait_until(&self, is_so: impl Fn(&State) -> bool) -> Result<(), Error> {
        let state = self.changed.wait_while(self.state(), |state| !state.ended && !is_so(state));
        let state = state.expect("no code panics while it holds the lock");
        if is_so(&state) { Ok(()) } else { Err(Error::Failed) }
    }

    fn tell(&self, mut state: MutexGuard<'_, State>) {
        state.changes += u64::from(!state.ended);
        drop(state);
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the lock")
    }
}
