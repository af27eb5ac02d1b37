//! What others see of this node's store, and get from it: how full the disk is, and pieces of snapshots.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Clock;
use crate::ids::{NodeId, ShardId};
use crate::storage::incoming::Progress;
use crate::storage::outgoing::{self, Outgoing, Sending};
use crate::storage::transfer::{Reply, Request};
use crate::storage::{self, Store, Usage};

/// How often pins whose time is over are looked for, when nobody asks.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(1);

/// Snapshots on their way to and from this node. Clones share everything.
#[derive(Clone)]
pub struct Transfers {
    store: Store,
    outgoing: Arc<Outgoing>,
    clock: Clock,
    receiving: watch::Sender<BTreeMap<ShardId, Progress>>,
}

impl Transfers {
    /// Nothing is on its way.
    pub fn new(store: Store, limits: outgoing::Limits) -> Self {
        let outgoing = Arc::new(Outgoing::new(store.clone(), limits));
        Self { store, outgoing, clock: Clock::start(), receiving: watch::channel(BTreeMap::new()).0 }
    }

    /// How the disk is used; none when the directory cannot be listed.
    pub async fn usage(&self) -> Option<Usage> {
        let transfers = self.clone();
        tokio::task::spawn_blocking(move || transfers.usage_blocking()).await.ok()?
    }

    /// The same, for a thread that may wait for the disk.
    pub fn usage_blocking(&self) -> Option<Usage> {
        self.store.usage().ok()
    }

    /// What is being sent.
    pub fn sending(&self) -> Vec<Sending> {
        self.outgoing.status()
    }

    /// What is being received.
    pub fn receiving(&self) -> Vec<Progress> {
        self.receiving.borrow().values().copied().collect()
    }

    /// A shard's snapshot is being received, and so far; none: it is not any more.
    pub(super) fn report(&self, shard: ShardId, progress: Option<Progress>) {
        self.receiving.send_modify(|receiving| {
            match progress {
                Some(progress) => receiving.insert(shard, progress),
                None => receiving.remove(&shard),
            };
        });
    }

    /// The piece of a snapshot that a peer asks for.
    ///
    /// # Errors
    /// As [`Outgoing::answer`].
    pub async fn answer(&self, from: NodeId, request: Request) -> Result<Reply, storage::Error> {
        let (outgoing, now) = (self.outgoing.clone(), self.clock.now());
        let answering = tokio::task::spawn_blocking(move || outgoing.answer(now, from, &request));
        // Reading does not panic: without a result the process is about to end.
        answering.await.unwrap_or(Ok(Reply::Gone { instead: None }))
    }

    /// Lets go of what receivers that have gone away held. Runs as long as the node does.
    pub async fn expire(self) {
        loop {
            tokio::time::sleep(EXPIRE_INTERVAL).await;
            let (outgoing, now) = (self.outgoing.clone(), self.clock.now());
            // Removes files, which can take a while.
            let _ = tokio::task::spawn_blocking(move || outgoing.expire(now)).await;
        }
    }
}
