//! Clusters that grow and shrink under load.

use crate::checks;
use crate::stateful_set::{Beginning, StatefulSet};
use crate::traffic::Traffic;
use crate::world::in_a_world;

#[test]
#[ignore = "needs root, for hosts of its own"]
fn three_become_five_under_load() {
    in_a_world(|world| {
        let mut set = StatefulSet::with_voters(world, Beginning::PodZero, 3);
        let traffic = Traffic::start(&set);
        traffic.goes_on(20);
        set.add(5);
        set.eventually_has_voters(5);
        traffic.goes_on(20);
        traffic.check(&set);
        checks::check(&set);
    });
}

/// Up, down to a single node, and up again. Those that come back have volumes from which they were removed.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn ci_three_become_five_three_one_and_three_under_load() {
    in_a_world(|world| {
        let mut set = StatefulSet::with_api_server(world, Beginning::Together(3));
        set.scale(3);
        set.eventually_has_voters(3);
        let traffic = Traffic::start(&set);
        for replicas in [5, 3, 1, 3] {
            traffic.goes_on(20);
            set.scale(replicas);
            set.eventually_has_voters(replicas);
        }
        traffic.goes_on(20);
        traffic.check(&set);
        checks::check(&set);
    });
}

/// The leader is among those that are too many: it hands over before it goes.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn the_leader_is_scaled_away() {
    in_a_world(|world| {
        let mut set = StatefulSet::with_api_server(world, Beginning::Together(3));
        set.scale(5);
        set.eventually_has_voters(5);
        set.lead(4);
        let traffic = Traffic::start(&set);
        traffic.goes_on(20);
        set.scale(3);
        set.eventually_has_voters(3);
        traffic.goes_on(20);
        traffic.check(&set);
        checks::check(&set);
    });
}

/// Zero replicas, and what comes after: a stop of all is no leave of anybody.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn none_and_three_again_is_the_same_cluster() {
    in_a_world(|world| {
        let mut set = StatefulSet::with_api_server(world, Beginning::Together(3));
        set.scale(3);
        set.eventually_has_voters(3);
        let before = (checks::clusters(&set), set.node_id(0));
        set.scale(0);
        set.scale(3);
        set.eventually_has_voters(3);
        assert_eq!((checks::clusters(&set), set.node_id(0)), before);
    });
}

/// Those that go crash instead, so that they cannot leave: the leader takes them out once they are gone.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn those_that_crash_when_they_should_leave_are_removed() {
    in_a_world(|world| {
        let mut set = StatefulSet::with_api_server(world, Beginning::Together(3));
        set.scale(5);
        set.eventually_has_voters(5);
        let traffic = Traffic::start(&set);
        traffic.goes_on(20);
        set.pods[3].kill();
        set.pods[4].kill();
        set.scale(3);
        set.eventually_has_voters(3);
        traffic.goes_on(20);
        traffic.check(&set);
        checks::check(&set);
    });
}
