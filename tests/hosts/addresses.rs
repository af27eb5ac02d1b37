//! Nodes that come back under other addresses.

use crate::checks;
use crate::stateful_set::{Beginning, StatefulSet};
use crate::traffic::Traffic;
use crate::world::in_a_world;

#[test]
#[ignore = "needs root, for hosts of its own"]
fn ci_each_node_crashes_and_comes_back_elsewhere() {
    in_a_world(|world| {
        let mut set = StatefulSet::with_voters(world, Beginning::Together(3), 3);
        let traffic = Traffic::start(&set);
        for ordinal in 0..3 {
            traffic.goes_on(20);
            set.pods[ordinal].kill();
            set.move_pod(ordinal);
            set.start(ordinal);
            set.eventually_has_voters(3);
        }
        traffic.goes_on(20);
        traffic.check(&set);
        checks::check(&set);
    });
}

/// No node knows where any other one is, and the DNS tells the old addresses for a while.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn all_nodes_come_back_elsewhere() {
    in_a_world(|world| all_move(StatefulSet::with_voters(world, Beginning::PodZero, 3)));
}

/// The same, when they find each other by one name for all.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn ci_all_nodes_come_back_elsewhere_and_are_discovered() {
    in_a_world(|world| all_move(StatefulSet::with_voters(world, Beginning::Together(3), 3)));
}

fn all_move(mut set: StatefulSet) {
    let traffic = Traffic::start(&set);
    traffic.goes_on(20);
    for pod in &mut set.pods {
        pod.kill();
    }
    set.dns_follows = false;
    for ordinal in 0..3 {
        set.move_pod(ordinal);
        set.start(ordinal);
    }
    for pod in &set.pods {
        pod.eventually_tells("\"event\":\"becomes_pre_candidate\"");
    }
    set.dns_follows = true;
    set.publish();
    set.eventually_has_voters(3);
    traffic.goes_on(20);
    traffic.check(&set);
    checks::check(&set);
}
