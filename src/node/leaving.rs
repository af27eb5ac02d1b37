//! What a node does at its end for those who go on, and what becomes of one that has been left out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::start::blocking;
use super::{Error, Handle};
use crate::cluster::kubernetes::Pod;
use crate::ids::SHARD_0;
use crate::raft::{RoleName, TransferRefused};
use crate::replica::Refusal;
use crate::storage::DataDirectory;

/// Leadership cannot be handed over right now, because somebody has asked for that already or the inbox is full: it is tried
/// again after this long.
const HAND_OVER_PAUSE: Duration = Duration::from_millis(20);

/// Leaves the cluster, if the node is a pod that is not to come back. Returns what is left of the deadline: half of it at least.
pub(super) async fn leave(pod: &Pod, drain_deadline: Duration) -> Duration {
    let began = Instant::now();
    pod.leave(drain_deadline / 2).await;
    drain_deadline.saturating_sub(began.elapsed())
}

/// Gives leadership to another voter, so that clients need not wait for an election. A node that cannot, such as the only voter,
/// stops all the same. Where several nodes stop together, one after the other may turn out to be leaving as well.
pub(super) async fn hand_over(handle: &Handle, patience: Duration) {
    let leads = || handle.status(SHARD_0).is_some_and(|status| status.role == RoleName::Leader);
    let handing_over = async {
        while leads() {
            match handle.transfer_leadership(SHARD_0, None).await {
                Ok(_) => {}
                // The one that was to lead has gone or did not win: another may.
                Err(Refusal::NotTransferred { .. }) => {}
                Err(Refusal::Transfer(TransferRefused::InProgress(_)) | Refusal::Overloaded) => {
                    tokio::time::sleep(HAND_OVER_PAUSE).await;
                }
                Err(Refusal::Transfer(why)) => return tracing::info!("stops without handing leadership over: {why}"),
                Err(why) => return tracing::info!(?why, "stops without handing leadership over"),
            }
        }
    };
    if tokio::time::timeout(patience, handing_over).await.is_err() {
        tracing::warn!("stops without having handed leadership over: it took more than {patience:?}");
    }
}

/// Is ready when the node hears that it was removed, and has heard no leader since it started: it was removed before. One that is
/// removed while it takes part stays as it is, or the removal would undo itself.
pub(super) async fn removed_before_it_heard_a_leader(handle: &Handle) {
    let mut published = handle.published();
    loop {
        let seen = published.borrow_and_update().replicas.get(&SHARD_0).map(|status| (status.leader, status.removed));
        match seen {
            Some((None, Some(_))) => return,
            Some((Some(_), _)) => break,
            _ => {}
        }
        if published.changed().await.is_err() {
            break;
        }
    }
    std::future::pending().await
}

/// The end of a node that was removed before it started: what it had is moved out of the way of the one that starts next.
pub(super) async fn set_aside_if_removed(directory: Arc<DataDirectory>, error: Error) -> Error {
    let Error::Removed { cluster } = error else { return error };
    let node = directory.identity().node;
    match blocking(move || directory.set_aside(cluster)).await {
        Ok(aside) => {
            tracing::warn!(
                "was removed from cluster {cluster} as node {node}: its data is set aside in {}, and it joins anew",
                aside.display()
            );
            error
        }
        Err(error) => error.into(),
    }
}
