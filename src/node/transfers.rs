//! What others see of this node's store, and get from it: how full the disk is, and pieces of snapshots.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Clock;
use super::event_loop::{Completion, Completions};
use crate::ids::{NodeId, ShardId};
use crate::storage::incoming::Progress;
use crate::storage::outgoing::{self, Outgoing, Sending};
use crate::storage::transfer::{Reply, Request};
use crate::storage::{self, Store, Usage};

/// How often the disk is looked at, and what receivers that have gone away held is let go.
const TEND_INTERVAL: Duration = Duration::from_secs(1);

/// Also when looking takes long, because very many messages live.
const TEND_INTERVAL_MAX: Duration = Duration::from_secs(10);

/// One part in so many of a processor's time goes into looking. With a million living messages a look takes about ten
/// milliseconds.
const LOOK_SHARE: u32 = 100;

/// Snapshots on their way to and from this node. Clones share everything.
#[derive(Clone)]
pub struct Transfers {
    store: Store,
    outgoing: Arc<Outgoing>,
    clock: Clock,
    seen: watch::Sender<Seen>,
    receiving: watch::Sender<BTreeMap<ShardId, Progress>>,
    /// Where it is reported that the disk cannot be trusted, once there is a loop.
    completions: Arc<OnceLock<Completions>>,
}

/// What was seen at the last look.
#[derive(Clone, Debug, Default)]
struct Seen {
    usage: Option<Usage>,
    sending: Vec<Sending>,
}

impl Transfers {
    /// Nothing is on its way.
    pub fn new(store: Store, limits: outgoing::Limits) -> Self {
        let outgoing = Arc::new(Outgoing::new(store.clone(), limits));
        let (seen, receiving) = (watch::channel(Seen::default()).0, watch::channel(BTreeMap::new()).0);
        Self { store, outgoing, clock: Clock::start(), seen, receiving, completions: Arc::default() }
    }

    /// There is a loop.
    pub(super) fn report_to(&self, completions: Completions) {
        // A node has one loop.
        let _ = self.completions.set(completions);
    }

    /// How the disk was used a second ago, or a few; none before the first look, and when the directory cannot be listed.
    pub fn usage(&self) -> Option<Usage> {
        self.seen.borrow().usage.clone()
    }

    /// What was being sent a second ago.
    pub fn sending(&self) -> Vec<Sending> {
        self.seen.borrow().sending.clone()
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

    /// The piece of a snapshot that a peer asks for. What has rotted ends this node, as it does when a client asks for it: the
    /// peer would ask for ever, and another node has it whole.
    ///
    /// # Errors
    /// As [`Outgoing::answer`].
    pub async fn answer(&self, from: NodeId, request: Request) -> Result<Reply, storage::Error> {
        let (outgoing, now) = (self.outgoing.clone(), self.clock.now());
        let answering = tokio::task::spawn_blocking(move || outgoing.answer(now, from, &request));
        // Reading does not panic: without a result the process is about to end.
        match (answering.await.unwrap_or(Ok(Reply::Gone { instead: None })), self.completions.get()) {
            (Err(error @ storage::Error::Corrupt { .. }), Some(completions)) => {
                // A loop that has ended needs no completion.
                let _ = completions.send(Completion::Failed(error));
                Ok(Reply::Gone { instead: None })
            }
            (answer, _) => answer,
        }
    }

    /// Looks at the disk every second, less often when that takes long, and lets go of what receivers that have gone away held. Runs as long as the node does.
    pub async fn tend(self) {
        loop {
            let (transfers, began) = (self.clone(), Instant::now());
            // Waits for the disk. Without a result the process is about to end.
            let _ = tokio::task::spawn_blocking(move || transfers.look()).await;
            let pause = began.elapsed().saturating_mul(LOOK_SHARE);
            tokio::time::sleep(pause.clamp(TEND_INTERVAL, TEND_INTERVAL_MAX)).await;
        }
    }

    fn look(&self) {
        self.outgoing.expire(self.clock.now());
        let seen = Seen { usage: self.store.usage().ok(), sending: self.outgoing.status() };
        self.seen.send_replace(seen);
    }
}
