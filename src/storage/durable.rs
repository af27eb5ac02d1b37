//! How far the log is durable, for those who must not be ahead of it.

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
    lasts: BTreeMap<ShardId, Index>,
    segment: u64,
    /// Nothing becomes durable any more.
    ended: bool,
}

impl Durable {
    /// What was found at start.
    pub fn new(lasts: BTreeMap<ShardId, Index>, segment: u64) -> Self {
        Self { state: Mutex::new(State { lasts, segment, ended: false }), changed: Condvar::new() }
    }

    /// The last segment that has a durable frame in it; 0: there is none.
    pub fn segment(&self) -> u64 {
        self.state().segment
    }

    /// A frame is durable: it is in this segment, and these are the last entries of the shards that it has entries of.
    pub fn advance(&self, segment: u64, lasts: impl IntoIterator<Item = (ShardId, Index)>) {
        let mut state = self.state();
        state.segment = segment;
        state.lasts.extend(lasts);
        drop(state);
        self.changed.notify_all();
    }

    /// The log of a shard ends with this entry.
    pub fn set(&self, shard: ShardId, last: Index) {
        self.state().lasts.insert(shard, last);
        self.changed.notify_all();
    }

    /// The log is closed, or has failed.
    pub fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }

    /// Waits until the entry of a shard is durable.
    ///
    /// # Errors
    /// [`Error::Failed`]: it never will be.
    pub fn wait(&self, shard: ShardId, index: Index) -> Result<(), Error> {
        let is_durable = |state: &State| state.lasts.get(&shard).copied().unwrap_or_default() >= index;
        let state = self.changed.wait_while(self.state(), |state| !state.ended && !is_durable(state));
        let state = state.expect("no code panics while it holds the lock");
        if is_durable(&state) { Ok(()) } else { Err(Error::Failed) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the lock")
    }
}
