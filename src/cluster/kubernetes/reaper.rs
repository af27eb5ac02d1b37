//! The leader removes members that their StatefulSet leaves out and that are gone: pods that died before they could leave.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::watch;

use super::api::{Seen, Trouble};
use super::{Pod, Told};
use crate::cluster::names;
use crate::ids::{NodeId, SHARD_0};
use crate::raft::MembershipChange;
use crate::replica::Refusal;

/// Between two looks at who is gone; less where members are to be gone sooner than that.
const ROUND_MAX: Duration = Duration::from_secs(2);

/// How long a removal may take. It goes on when this is over; the next round sees what has become of it.
const REMOVAL_MAX: Duration = Duration::from_secs(20);

/// How long it may take to ask once more how many replicas there are to be, before a member is removed.
const ASKING_MAX: Duration = Duration::from_secs(5);

/// Looks after members that are gone whenever this node leads. Runs until it is dropped.
pub(super) async fn reap(pod: &Pod) {
    let mut leading = pod.tools.handle.leading();
    // Without a sender there is no node any more, and the last value is no news: this is over.
    while leading.wait_for(|leading| leading.contains_key(&SHARD_0)).await.is_ok() {
        let ended = tokio::select! {
            () = reap_while_leading(pod) => false,
            changed = leading.wait_for(|leading| !leading.contains_key(&SHARD_0)) => changed.is_err(),
        };
        if ended {
            return;
        }
    }
}

async fn reap_while_leading(pod: &Pod) {
    let (seen, mut changes) = watch::channel(Seen::default());
    let look_again = async {
        let mut reaper = Reaper { pod, missing: Missing::default(), told: Told::default() };
        loop {
            let seen = changes.borrow_and_update().clone();
            reaper.look(&seen).await;
            tokio::time::sleep((pod.gone_after / 4).min(ROUND_MAX)).await;
        }
    };
    let tell = tell_changes(pod, seen.subscribe());
    tokio::join!(pod.api.follow(&seen), look_again, tell);
}

/// One line whenever another number of replicas is asked for, or that cannot be followed any more, or again.
async fn tell_changes(pod: &Pod, mut seen: watch::Receiver<Seen>) {
    let set = &pod.set;
    let (mut told, mut troubled) = (Told::default(), Told::default());
    while seen.changed().await.is_ok() {
        let Seen { desired, trouble } = seen.borrow_and_update().clone();
        if let Some(desired) = desired
            && told.is_news(&desired.to_string())
        {
            tracing::info!("leads, and follows StatefulSet {set}, which {desired}");
        }
        match trouble {
            Some(trouble) if troubled.is_news(&trouble.to_string()) => tracing::warn!(
                "cannot follow StatefulSet {set}: {trouble}; goes on trying, and members that are gone stay members meanwhile"
            ),
            None if troubled.is_news("") => tracing::info!("follows StatefulSet {set} again"),
            _ => {}
        }
    }
}

struct Reaper<'a> {
    pod: &'a Pod,
    missing: Missing,
    told: Told,
}

impl Reaper<'_> {
    /// Removes whoever is to go and is gone. Refusals are told once; the next look tries again.
    async fn look(&mut self, seen: &Seen) {
        let (pod, handle) = (self.pod, &self.pod.tools.handle);
        let Some(desired) = &seen.desired else { return };
        let left_out = pod.left_out(desired).into_iter().map(|(node, _)| node).collect();
        let well = handle.look(SHARD_0, |status| status.well.clone()).unwrap_or_default();
        let gone = self.missing.look(Instant::now(), &left_out, handle.node(), &well, pod.gone_after);
        if gone.is_empty() {
            return;
        }
        match self.confirm(gone).await {
            Ok(gone) if gone.is_empty() => {}
            Ok(gone) => self.remove(gone).await,
            Err(trouble) => self.tell(&format!("does not remove members that are gone: {trouble}")),
        }
    }

    /// Those who are to go by what the StatefulSet says at this moment, and who do not answer either.
    async fn confirm(&self, gone: BTreeSet<NodeId>) -> Result<BTreeMap<NodeId, String>, Trouble> {
        let desired = self.pod.api.desired(ASKING_MAX).await?;
        let gone = self.pod.left_out(&desired).into_iter().filter(|(node, _)| gone.contains(node));
        let (peers, patience) = (&self.pod.tools.peers, self.pod.tools.handle.request_time());
        let silent = gone
            .map(|(node, name)| async move { peers.status(node, patience).await.is_none().then_some((node, name)) });
        Ok(join_all(silent).await.into_iter().flatten().collect())
    }

    async fn remove(&mut self, gone: BTreeMap<NodeId, String>) {
        let (names, set) = (names::all(gone.values()), &self.pod.set);
        let change = MembershipChange::Remove(gone.keys().copied().collect());
        let removal = self.pod.tools.handle.change_membership(SHARD_0, change);
        match tokio::time::timeout(REMOVAL_MAX, removal).await {
            Ok(Ok(_)) => {
                tracing::info!(
                    "has removed {names} from the cluster: StatefulSet {set} leaves them out, and they are gone"
                );
                self.told = Told::default();
            }
            Ok(Err(Refusal::Change(why))) => self.tell(&format!("cannot remove {names} yet, who are gone: {why}")),
            Ok(Err(why)) => self.tell(&format!("has not removed {names}, who are gone: {why:?}")),
            Err(_) => self.tell(&format!("the removal of {names}, who are gone, takes long")),
        }
    }

    fn tell(&mut self, text: &str) {
        if self.told.is_news(text) {
            tracing::warn!("{text}");
        }
    }
}

/// Since when members have been missing that are left out.
#[derive(Debug, Default)]
struct Missing(BTreeMap<NodeId, Instant>);

impl Missing {
    /// Who of those that are left out is gone: neither this node nor one that is well, at any look for so long.
    fn look(
        &mut self,
        now: Instant,
        left_out: &BTreeSet<NodeId>,
        own: NodeId,
        well: &[NodeId],
        gone_after: Duration,
    ) -> BTreeSet<NodeId> {
        let is_missing = |node: &NodeId| left_out.contains(node) && *node != own && !well.contains(node);
        self.0.retain(|node, _| is_missing(node));
        for node in left_out.iter().filter(|node| is_missing(node)) {
            self.0.entry(*node).or_insert(now);
        }
        self.0.iter().filter(|(_, since)| now.duration_since(**since) >= gone_after).map(|(node, _)| *node).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_gone() {
        let nodes = |nodes: &[u64]| nodes.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
        let start = Instant::now();
        let mut missing = Missing::default();
        // Node 1 leads. At which second it looks; who is left out; who is well; who is gone since 3 s.
        type Look = (u64, &'static [u64], &'static [u64], &'static [u64]);
        let looks: [Look; 9] = [
            (0, &[1, 4, 5], &[2, 3, 4], &[]),
            (2, &[1, 4, 5], &[2, 3, 4], &[]),
            (3, &[1, 4, 5], &[2, 3, 4], &[5]),
            // 4 is missing from here on, and 5 has come back for a moment.
            (4, &[1, 4, 5], &[2, 3, 5], &[]),
            (6, &[1, 4, 5], &[2, 3], &[]),
            (7, &[1, 4, 5], &[2, 3], &[4]),
            // 4 is wanted again, and then not: what was before does not count.
            (8, &[5], &[2, 3], &[]),
            (9, &[4, 5], &[2, 3], &[5]),
            (12, &[4, 5], &[2, 3], &[4, 5]),
        ];
        for (second, left_out, well, gone) in looks {
            let well: Vec<NodeId> = nodes(well).into_iter().collect();
            let now = start + Duration::from_secs(second);
            let found = missing.look(now, &nodes(left_out), NodeId(1), &well, Duration::from_secs(3));
            assert_eq!(found, nodes(gone), "at second {second}");
        }
    }
}
