//! Nodes that come back with empty volumes under their old names.

use std::time::Duration;

use crate::checks;
use crate::stateful_set::{Beginning, StatefulSet};
use crate::traffic::Traffic;
use crate::world::in_a_world;

/// What must never happen is watched for as long.
const NEVER: Duration = Duration::from_secs(10);

#[test]
#[ignore = "needs root, for hosts of its own"]
fn each_node_loses_its_disk_and_is_replaced() {
    in_a_world(|world| each_loses_its_disk(StatefulSet::with_voters(world, Beginning::PodZero, 3)));
}

#[test]
#[ignore = "needs root, for hosts of its own"]
fn ci_each_founder_loses_its_disk_and_is_replaced() {
    in_a_world(|world| each_loses_its_disk(StatefulSet::with_voters(world, Beginning::Together(3), 3)));
}

#[test]
#[ignore = "needs root, for hosts of its own"]
fn each_of_five_loses_its_disk_and_is_replaced() {
    in_a_world(|world| each_loses_its_disk(StatefulSet::with_voters(world, Beginning::Together(3), 5)));
}

/// First the leader, then each pod in turn, pod 0 among them.
fn each_loses_its_disk(mut set: StatefulSet) {
    let traffic = Traffic::start(&set);
    let count = set.pods.len();
    let leader = set.leader();
    for ordinal in [leader].into_iter().chain(0..count) {
        checks::check_one_cluster(&set);
        let before = set.node_id(ordinal).expect("it was a voter that answers");
        set.lose_disk(ordinal);
        // Ready is all that is waited for: the next disk is lost when the new node counts, and the old one does no more.
        set.eventually_is_ready(ordinal);
        assert_ne!(set.node_id(ordinal), Some(before), "the old node is back");
    }
    set.eventually_has_voters(count);
    traffic.goes_on(20);
    traffic.check(&set);
    checks::check(&set);
}

/// While the others are down, pod 0 has nobody to ask. To start a cluster would be to start a second one.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn pod_0_without_its_disk_waits_for_the_others() {
    in_a_world(|world| pod_zero_waits(StatefulSet::with_voters(world, Beginning::PodZero, 3), true));
}

#[test]
#[ignore = "needs root, for hosts of its own"]
fn ci_founder_0_without_its_disk_waits_for_the_others() {
    in_a_world(|world| pod_zero_waits(StatefulSet::with_voters(world, Beginning::Together(3), 3), true));
}

/// Where the pods of the others are gone, so are their names: it is the only one that it can find.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn founder_0_without_its_disk_waits_also_where_there_is_nobody_else() {
    in_a_world(|world| pod_zero_waits(StatefulSet::with_voters(world, Beginning::Together(3), 3), false));
}

fn pod_zero_waits(mut set: StatefulSet, names_stay: bool) {
    let traffic = Traffic::start(&set);
    traffic.goes_on(20);
    let cluster = checks::clusters(&set)[&0].clone();
    for pod in &mut set.pods {
        pod.kill();
    }
    set.dns_follows = !names_stay;
    set.pods[0].wipe();
    set.start(0);
    set.stays_without_a_cluster(&[0], NEVER);
    set.dns_follows = true;
    set.start(1);
    set.start(2);
    set.eventually_has_voters(3);
    assert_eq!(checks::clusters(&set)[&0], cluster);
    traffic.goes_on(20);
    traffic.check(&set);
    checks::check(&set);
}

/// A majority of the disks is lost. That cannot be healed, but nobody may act as if it had not happened.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn two_of_three_founders_without_disks_start_nothing() {
    in_a_world(|world| {
        let mut set = StatefulSet::with_voters(world, Beginning::Together(3), 3);
        set.lose_disk(0);
        set.pods[1].kill();
        set.pods[1].wipe();
        // The first one may have been replaced in time; the third one knows of the cluster in any case.
        set.start(1);
        let cluster = checks::clusters(&set)[&2].clone();
        set.watch(NEVER, |set| {
            let clusters = checks::clusters(set);
            assert!(clusters.values().all(|id| *id == cluster), "a second cluster: {clusters:?}");
        });
    });
}
