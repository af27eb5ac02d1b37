//! Pods that are replaced one by one, as `kubectl rollout restart` does it: from the last to the first, each somewhere else.

use std::time::Duration;

use crate::checks;
use crate::stateful_set::{Beginning, StatefulSet};
use crate::traffic::Traffic;
use crate::world::in_a_world;

#[test]
#[ignore = "needs root, for hosts of its own"]
fn all_pods_are_replaced_under_load() {
    in_a_world(|world| {
        let mut set = StatefulSet::with_voters(world, Beginning::PodZero, 3);
        let traffic = Traffic::start(&set);
        for ordinal in (0..3).rev() {
            traffic.goes_on(20);
            set.replace(ordinal);
            set.eventually_has_voters(3);
        }
        traffic.goes_on(20);
        traffic.check(&set);
        checks::check(&set);
    });
}

/// The controller waits for readiness and for nothing else.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn ci_all_pods_are_replaced_when_the_one_before_is_ready() {
    in_a_world(|world| {
        let mut set = StatefulSet::with_voters(world, Beginning::Together(3), 3);
        let traffic = Traffic::start(&set);
        for ordinal in (0..3).rev() {
            set.replace(ordinal);
            set.eventually_is_ready(ordinal);
        }
        traffic.goes_on(20);
        set.eventually_has_voters(3);
        traffic.check(&set);
        checks::check(&set);
    });
}

/// Readiness says nothing of leaders: a majority that is gone must not take the last one from its Service. After a start it may be
/// that the node alone cannot hear the leader, so that it waits for a while.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn a_pod_without_a_leader_is_ready() {
    in_a_world(|world| {
        let mut set = StatefulSet::with_voters(world, Beginning::Together(3), 3);
        for ordinal in 0..3 {
            set.eventually_is_ready(ordinal);
        }
        set.pods[1].kill();
        set.pods[2].kill();
        set.pods[0].eventually_tells("\"event\":\"becomes_pre_candidate\"");
        set.eventually_is_ready(0);
        set.pods[0].kill();
        set.start(0);
        set.watch(Duration::from_secs(3), |set| assert!(!set.is_ready(0), "it has heard nobody"));
        set.pods[0].kill();
        set.leader_wait = Some(Duration::from_secs(1));
        set.start(0);
        set.eventually_is_ready(0);
    });
}
