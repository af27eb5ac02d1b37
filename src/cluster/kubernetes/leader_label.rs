//! The leader labels its own pod. A hint for people and Services: it comes late, and may be on two pods for a moment.

use std::time::Duration;

use super::Told;
use super::api::Api;
use crate::cluster::join::jittered;
use crate::ids::SHARD_0;
use crate::node::Handle;

/// The first pause after a failure; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest of these pauses.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Keeps the label as it should be. At the start it may be on the pod from an earlier life. Runs until it is dropped, or the node
/// has ended.
pub(super) async fn keep(api: &Api, handle: &Handle) {
    let mut leading = handle.leading();
    let mut labelled = None;
    let mut pause = PAUSE_MIN;
    let mut told = Told::default();
    loop {
        let leads = leading.borrow_and_update().contains_key(&SHARD_0);
        if labelled != Some(leads) {
            match api.label_leader(leads).await {
                Ok(()) => {
                    (labelled, pause) = (Some(leads), PAUSE_MIN);
                    told.is_news("");
                }
                Err(trouble) => {
                    labelled = None;
                    if told.is_news(&trouble.to_string()) {
                        tracing::warn!("cannot label its pod as the leader's, which others may wait for: {trouble}");
                    }
                }
            }
        }
        let again = async {
            match labelled {
                Some(_) => std::future::pending().await,
                None => tokio::time::sleep(jittered(pause)).await,
            }
        };
        tokio::select! {
            changed = leading.changed() => match changed {
                Ok(()) => {}
                Err(_) => return,
            },
            () = again => pause = (pause * 2).min(PAUSE_MAX),
        }
    }
}
