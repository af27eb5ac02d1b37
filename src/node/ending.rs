//! How a node comes to its end: told to, removed before it started, or because something failed.
//!
//! ```text
//!   told to stop   leaves, if it is a pod that is left out   ->   hands over   ->   drains clients   ->   the loop ends
//!   failed         drains clients   ->   the loop ends   ->   last words   ->   ports free   ->   data set aside, if it was removed
//! ```
//!
//! The loop ends by itself only when the disk cannot be trusted. Then there is nothing left to hand over or to answer, and whatever
//! of the above is under way is dropped.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::leaving::{hand_over, leave, removed_before_it_heard_a_leader, set_aside_if_removed};
use super::running::{Phase, advance, reached};
use super::{Error, Handle};
use crate::cluster::kubernetes::Pod;
use crate::dashboard::Dashboard;
use crate::health::Health;
use crate::ids::{ClusterId, SHARD_0};
use crate::raft::RoleName;
use crate::replica::Status;
use crate::storage::DataDirectory;
use crate::telemetry::Source;
use crate::telemetry::events::{Kind, Level, Ring};

/// A task of this room ends with a result; a panic in it is a defect, and the release build aborts on it.
const NO_PANIC: &str = "the tasks of a node do not panic, and nobody aborts them before they are of no use";

/// Those who look at a node ask it twice a second: in this time they hear why it ends. Tests run on busy machines.
const LAST_WORDS: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 1 });

/// What there is of a node beside its loop. Dropping it ends all of that.
pub(super) struct Beside {
    /// Serves clients.
    pub(super) clients: JoinSet<Result<(), Error>>,
    /// Serves peers as long as the node runs.
    pub(super) peers: JoinSet<Result<(), Error>>,
    /// What has no result.
    pub(super) tasks: JoinSet<()>,
    /// Shows the cluster, to the end.
    pub(super) dashboard: Dashboard,
    /// Tells how the node is, to the end.
    pub(super) health: Health,
    directory: Arc<DataDirectory>,
    _figures: Arc<Source>,
}

impl Beside {
    pub(super) fn new(
        directory: Arc<DataDirectory>,
        dashboard: Dashboard,
        health: Health,
        figures: Arc<Source>,
    ) -> Self {
        let (clients, peers, tasks) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
        Self { clients, peers, tasks, dashboard, health, directory, _figures: figures }
    }

    /// The end of a node that cannot go on, and whose loop has ended. Its ports are free when this returns. Returns what is to be
    /// told.
    pub(super) async fn fail(mut self, error: Error) -> Error {
        self.clients.shutdown().await;
        self.peers.shutdown().await;
        self.tasks.shutdown().await;
        let error = set_aside_if_removed(self.directory, error).await;
        self.dashboard.close().await;
        self.health.close().await;
        error
    }

    /// Lets clients that wait have their answers, for so long.
    async fn drain_clients(&mut self, patience: Duration) {
        let drained = async { while self.clients.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, drained).await.is_err() {
            tracing::warn!("stops without having answered all clients: they took more than {patience:?}");
        }
    }
}

/// What a node needs to know to come to its end.
pub(super) struct Ending {
    pub(super) cluster: ClusterId,
    pub(super) handle: Handle,
    pub(super) events: Ring,
    pub(super) phase: watch::Sender<Phase>,
    /// Why it cannot go on. Set before the phase tells of its end.
    pub(super) failure: Arc<OnceLock<String>>,
    /// None: it is no pod.
    pub(super) pod: Option<Pod>,
    pub(super) drain_deadline: Duration,
    /// It knows somebody to ask, should it have been removed.
    pub(super) can_join_anew: bool,
}

impl Ending {
    /// Waits until the node is to end, and lets it end; its loop has ended when this returns.
    ///
    /// # Errors
    /// Why it cannot go on.
    pub(super) async fn wait(self, turning: JoinHandle<Result<(), Error>>, beside: &mut Beside) -> Result<(), Error> {
        let ended = unless_the_loop_ends(turning, self.wind_down(beside)).await;
        self.tell_failure(&ended);
        advance(&self.phase, Phase::Stopped);
        ended
    }

    /// Comes to the phase in which the loop ends. Returns why the node does, if it was not told to.
    async fn wind_down(&self, beside: &mut Beside) -> Result<(), Error> {
        // To hand over, and to answer clients, each has so long; what is left of the deadline is for the last writes.
        let mut patience = self.drain_deadline * 2 / 5;
        let served = tokio::select! {
            Some(served) = beside.clients.join_next() => served.expect(NO_PANIC),
            Some(served) = beside.peers.join_next() => served.expect(NO_PANIC),
            () = removed_before_it_heard_a_leader(&self.handle), if self.can_join_anew => {
                Err(Error::Removed { cluster: self.cluster })
            }
            left = self.leave_and_hand_over() => {
                patience = left;
                Ok(())
            }
        };
        self.tell_failure(&served);
        advance(&self.phase, Phase::Draining);
        beside.drain_clients(patience).await;
        advance(&self.phase, Phase::Stopped);
        served
    }

    /// Says why the node cannot go on, if it cannot and that was not said yet.
    fn tell_failure(&self, ended: &Result<(), Error>) {
        let Err(error) = ended else { return };
        let (kind, why) = match error {
            Error::Storage(_) => (Kind::Disk, error.to_string()),
            // Its data is set aside only after this.
            Error::Removed { cluster } => {
                (Kind::Membership, format!("was removed from cluster {cluster} before it started"))
            }
            _ => (Kind::Process, error.to_string()),
        };
        let words = format!("cannot go on, and ends: {why}");
        if self.failure.set(why).is_ok() {
            self.events.say(kind, Level::Error, "failed", words, None);
        }
    }

    /// What a node does for the others once it is told to stop. Returns how long clients may take to be answered.
    async fn leave_and_hand_over(&self) -> Duration {
        reached(&self.phase, Phase::HandingOver).await;
        let words = "is told to stop: it gives up leadership, answers who waits, and ends".to_owned();
        self.events.say(Kind::Process, Level::Info, "stopping", words, None);
        let left = match &self.pod {
            Some(pod) => leave(pod, self.drain_deadline).await,
            None => self.drain_deadline,
        };
        let patience = left * 2 / 5;
        hand_over(&self.handle, patience).await;
        patience
    }
}

/// Gives those who look at a node that cannot go on the time to hear why. One that led others has none: they elect another leader as soon
/// as they find its port closed.
pub(super) async fn last_words(handle: &Handle) {
    let leads_others =
        |status: &Status| status.role == RoleName::Leader && status.membership.configuration.voters.len() > 1;
    if handle.look(SHARD_0, leads_others) != Some(true) {
        tokio::time::sleep(LAST_WORDS).await;
    }
}

/// Winds down, and waits for the loop to end after that. Should it end before, nothing else is waited for.
async fn unless_the_loop_ends(
    mut turning: JoinHandle<Result<(), Error>>,
    winding_down: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    let served = tokio::select! {
        turned = &mut turning => return turned.expect(NO_PANIC),
        served = winding_down => served,
    };
    turning.await.expect(NO_PANIC)?;
    served
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage;

    /// A disk that fails while the node leaves or hands over ends it at once.
    #[tokio::test]
    async fn the_end_of_the_loop_is_not_kept_waiting() {
        let turning = tokio::spawn(async { Err(storage::Error::Failed.into()) });
        let ended =
            tokio::time::timeout(Duration::from_secs(10), unless_the_loop_ends(turning, std::future::pending()));
        assert!(matches!(ended.await, Ok(Err(Error::Storage(storage::Error::Failed)))));
    }

    #[tokio::test]
    async fn the_loop_ends_after_everything_else_and_both_can_fail() {
        let removed = || Err(Error::Removed { cluster: ClusterId(1) });
        let failed = || Err(Error::Storage(storage::Error::Failed));
        let of = async |turned: fn() -> Result<(), Error>, served| {
            let (tell, told) = tokio::sync::oneshot::channel();
            let turning = tokio::spawn(async move {
                told.await.unwrap();
                turned()
            });
            let winding_down = async {
                tell.send(()).unwrap();
                served
            };
            unless_the_loop_ends(turning, winding_down).await
        };
        assert!(of(|| Ok(()), Ok(())).await.is_ok());
        assert!(matches!(of(|| Ok(()), removed()).await, Err(Error::Removed { .. })));
        assert!(matches!(of(failed, removed()).await, Err(Error::Storage(_))));
    }
}
