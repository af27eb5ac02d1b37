//! A pod that is about to propose a cluster asks how many pods there are to be. So many that the founders are a minority of them may
//! belong to a cluster that the founders have lost their disks of. Only a reason to wait: no answer changes nothing.

use std::time::Duration;

use super::api::Api;
use super::desired::{Desired, StatefulSetName};
use crate::cluster::growth::{founders_min, members_max};

/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why so many founders do not start a cluster.
pub(super) async fn veto(api: &Api, set: &StatefulSetName, founders: usize) -> Option<String> {
    let desired = api.desired(PATIENCE).await.ok()?;
    let Desired::Pods(ordinals) = &desired else { return None };
    let replicas = usize::try_from(ordinals.end - ordinals.start).unwrap_or(usize::MAX);
    (replicas > members_max(founders)).then(|| {
        format!(
            "starts no cluster, as StatefulSet {set} {desired} and bootstrap.size is {founders}: with more than twice as many, lost \
             disks could be taken for a first start; set bootstrap.size to {} at least, on all nodes",
            founders_min(replicas)
        )
    })
}
