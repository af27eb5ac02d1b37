//! A cluster that several nodes start together: it begins once, or not at all.

use std::time::Duration;

use crate::checks;
use crate::cluster::{Beginning, StatefulSet};
use crate::traffic::Traffic;
use crate::world::in_a_world;

/// What must never happen is watched for as long.
const NEVER: Duration = Duration::from_secs(8);

/// The service works, and there is one cluster.
fn check(set: &StatefulSet) {
    set.eventually_has_voters(3);
    let traffic = Traffic::start(set);
    traffic.goes_on(20);
    traffic.check(set);
    checks::check(set);
}

/// All pods run before the DNS knows any of them. A name that does not exist yet is no error.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn three_start_at_once_and_names_come_late() {
    in_a_world(|world| {
        let mut set = StatefulSet::new(world, Beginning::Together(3));
        set.dns_follows = false;
        set.add(3);
        set.stays_without_a_cluster(&[0, 1, 2], NEVER);
        set.dns_follows = true;
        set.publish();
        check(&set);
    });
}

#[test]
#[ignore = "needs root, for hosts of its own"]
fn three_start_in_any_order() {
    in_a_world(|world| {
        let mut set = StatefulSet::new(world, Beginning::Together(3));
        set.add_in_order(&[2]);
        set.stays_without_a_cluster(&[2], NEVER / 4);
        set.add_in_order(&[0]);
        set.stays_without_a_cluster(&[0, 2], NEVER / 4);
        set.add_in_order(&[1]);
        check(&set);
    });
}

/// Five pods of which three are founders: the others join, also when they were there first.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn those_that_are_no_founders_wait_and_join() {
    in_a_world(|world| {
        let mut set = StatefulSet::new(world, Beginning::Together(3));
        set.add_in_order(&[4, 3, 2]);
        set.stays_without_a_cluster(&[2, 3, 4], NEVER / 2);
        set.add_in_order(&[1, 0]);
        set.eventually_has_voters(5);
        checks::check(&set);
    });
}

/// One is missing, and so are its name and address, for as long as it takes.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn two_of_three_wait_for_the_third() {
    in_a_world(|world| {
        let mut set = StatefulSet::new(world, Beginning::Together(3));
        set.add_in_order(&[0, 1]);
        set.stays_without_a_cluster(&[0, 1], NEVER);
        set.add(3);
        check(&set);
    });
}

/// Whichever link is cut, nobody starts anything with a part of the founders. One that is only heard does not count.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn links_are_cut_from_the_first_moment() {
    in_a_world(|world| {
        let mut set = StatefulSet::new(world, Beginning::Together(3));
        for ordinal in 0..3 {
            set.schedule(ordinal);
        }
        set.isolate(&[0]);
        set.add(3);
        set.stays_without_a_cluster(&[0, 1, 2], NEVER / 2);
        set.heal();
        set.eventually_has_voters(3);
        check(&set);
    });
}

/// In the middle of it links are cut, at every moment from the first question to the end, in an own cluster each time.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn links_are_cut_in_the_middle_of_a_founding() {
    in_a_world(|world| {
        let mut set = StatefulSet::new(world, Beginning::Together(3));
        set.add(3);
        for round in 0..12 {
            let cut_off = round % 3;
            std::thread::sleep(Duration::from_millis(40) * round as u32);
            set.isolate(&[cut_off]);
            let clusters = checks::clusters(&set);
            set.watch(Duration::from_secs(1), |set| {
                checks::check_one_cluster(set);
                assert!(clusters.values().all(|id| checks::clusters(set).values().all(|other| id == other)));
            });
            set.heal();
            set.eventually_has_voters(3);
            checks::check_one_cluster(&set);
            set.start_over();
        }
    });
}

/// The headless name resolves to hosts where nobody listens, and to one that is somebody else.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn strangers_under_the_name_are_waited_for_and_not_counted() {
    in_a_world(|world| {
        let mut set = StatefulSet::new(world, Beginning::Together(3));
        set.strangers = vec!["10.77.0.200".parse().unwrap()];
        set.add_in_order(&[0, 1]);
        set.stays_without_a_cluster(&[0, 1], NEVER / 2);
        set.add(3);
        // All founders are there, but one address that may be a member of a cluster does not answer.
        set.stays_without_a_cluster(&[0, 1, 2], NEVER);
        set.strangers.clear();
        set.publish();
        check(&set);
    });
}
