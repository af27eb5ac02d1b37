//! A cluster that several nodes start together: it begins once, or not at all.

use std::time::Duration;

use crate::checks;
use crate::stateful_set::{Beginning, StatefulSet};
use crate::traffic::Traffic;
use crate::world::{World, in_a_world};

/// What must never happen is watched for as long.
const NEVER: Duration = Duration::from_secs(8);

/// How often a cluster is started within one scenario.
const FOUNDINGS: u32 = 12;

/// A founding takes fewer of these than there are foundings.
const MOMENT: Duration = Duration::from_millis(25);

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
fn ci_three_start_at_once_and_names_come_late() {
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
fn ci_two_of_three_wait_for_the_third() {
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

/// One founder is cut off in the middle of it: at another moment in each of several foundings, from the first question on.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn ci_links_are_cut_in_the_middle_of_a_founding() {
    in_a_world(|world| {
        in_the_middle_of_foundings(world, |set, founder| {
            set.isolate(&[founder]);
            set.watch(NEVER / 8, checks::check_one_cluster);
            set.heal();
        });
    });
}

/// The same, but that it hears the others, and only they do not hear it.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn links_are_cut_one_way_in_the_middle_of_a_founding() {
    in_a_world(|world| {
        in_the_middle_of_foundings(world, |set, founder| {
            for other in (0..3).filter(|other| *other != founder) {
                set.cut_one_way(founder, other);
            }
            set.watch(NEVER / 8, checks::check_one_cluster);
            set.heal();
        });
    });
}

/// What a founder that crashes has promised, or has started, still counts.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn founders_crash_in_the_middle_of_a_founding() {
    in_a_world(|world| {
        in_the_middle_of_foundings(world, |set, founder| {
            set.pods[founder].kill();
            set.watch(NEVER / 8, checks::check_one_cluster);
            set.start(founder);
        });
    });
}

/// What was promised to one who has lost its disk, and so cannot have started it, binds nobody for ever.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn founders_lose_their_disks_in_the_middle_of_a_founding() {
    in_a_world(|world| in_the_middle_of_foundings(world, StatefulSet::lose_disk));
}

/// Three start a cluster from nothing again and again. Each time something happens to another of them, at another moment;
/// and each time all three belong to one cluster in the end.
fn in_the_middle_of_foundings(world: World, mut happens: impl FnMut(&mut StatefulSet, usize)) {
    let mut set = StatefulSet::new(world, Beginning::Together(3));
    set.add(3);
    for round in 0..FOUNDINGS {
        std::thread::sleep(MOMENT * round);
        happens(&mut set, round as usize % 3);
        set.eventually_has_voters(3);
        checks::check_one_cluster(&set);
        set.start_over();
    }
}

/// The headless name resolves to a host where nobody listens.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn an_address_where_nobody_answers_is_not_an_empty_node() {
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

/// The headless name resolves to a node of another cluster as well. The members stay what they are, and a newcomer joins its kin.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn a_member_of_another_cluster_under_the_name_is_no_way_in() {
    in_a_world(|world| {
        let mut set = StatefulSet::with_voters(world, Beginning::Together(3), 3);
        let cluster = checks::clusters(&set)[&0].clone();
        let _stranger = set.add_stranger();
        for ordinal in 0..3 {
            set.pods[ordinal].kill();
            set.start(ordinal);
        }
        set.eventually_has_voters(3);
        set.add(4);
        set.eventually_has_voters(4);
        assert_eq!(checks::clusters(&set)[&3], cluster);
        checks::check(&set);
    });
}
