//! Links that are cut, both ways and one way, while everything is well and while members change.

use std::time::Duration;

use crate::checks;
use crate::cluster::eventually;
use crate::stateful_set::{Beginning, StatefulSet};
use crate::traffic::Traffic;
use crate::world::in_a_world;

/// What must never happen is watched for as long.
const NEVER: Duration = Duration::from_secs(8);

/// The leader is alone, and the others go on without it. It never has a message of theirs, but gets them all in the end.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn ci_the_leader_is_cut_off() {
    in_a_world(|world| {
        let mut set = StatefulSet::with_voters(world, Beginning::Together(3), 3);
        let traffic = Traffic::start(&set);
        for _ in 0..2 {
            traffic.goes_on(20);
            let leader = set.leader();
            set.isolate(&[leader]);
            eventually("another leader", || (set.leader() != leader).then_some(()));
            traffic.goes_on(20);
            set.heal();
            set.eventually_has_voters(3);
        }
        traffic.check(&set);
        checks::check(&set);
    });
}

/// A leader that is heard and hears nothing, and one that hears and is not heard.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn ci_the_leader_is_cut_off_one_way() {
    in_a_world(|world| {
        let mut set = StatefulSet::with_voters(world, Beginning::Together(3), 3);
        let traffic = Traffic::start(&set);
        for is_heard in [true, false] {
            traffic.goes_on(20);
            let leader = set.leader();
            for other in (0..3).filter(|other| *other != leader) {
                let (from, to) = if is_heard { (other, leader) } else { (leader, other) };
                set.cut_one_way(from, to);
            }
            eventually("another leader", || (set.leader() != leader).then_some(()));
            traffic.goes_on(20);
            set.heal();
            set.eventually_has_voters(3);
        }
        traffic.check(&set);
        checks::check(&set);
    });
}

/// Nobody has a majority, and so nothing is acknowledged until the links are whole again.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn everybody_is_alone() {
    in_a_world(|world| {
        let mut set = StatefulSet::with_voters(world, Beginning::Together(3), 3);
        let traffic = Traffic::start(&set);
        traffic.goes_on(20);
        for ordinal in 0..3 {
            set.isolate(&[ordinal]);
        }
        eventually("acknowledgements to end", || {
            let before = traffic.count();
            std::thread::sleep(Duration::from_secs(1));
            (traffic.count() == before).then_some(())
        });
        set.heal();
        traffic.goes_on(20);
        set.eventually_has_voters(3);
        traffic.check(&set);
        checks::check(&set);
    });
}

/// The new ones reach some of the members, but not the leader.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn new_nodes_do_not_reach_the_leader_at_first() {
    in_a_world(|world| new_nodes_do_not_reach_the_leader(StatefulSet::with_voters(world, Beginning::PodZero, 3)));
}

#[test]
#[ignore = "needs root, for hosts of its own"]
fn ci_discovered_nodes_do_not_reach_the_leader_at_first() {
    in_a_world(|world| new_nodes_do_not_reach_the_leader(StatefulSet::with_voters(world, Beginning::Together(3), 3)));
}

fn new_nodes_do_not_reach_the_leader(mut set: StatefulSet) {
    let traffic = Traffic::start(&set);
    traffic.goes_on(20);
    let leader = set.leader();
    for ordinal in 3..5 {
        set.schedule(ordinal);
        set.cut_one_way(ordinal, leader);
        set.cut_one_way(leader, ordinal);
        set.start(ordinal);
    }
    traffic.goes_on(50);
    set.stays_without_a_cluster(&[3, 4], NEVER);
    set.heal();
    set.eventually_has_voters(5);
    traffic.goes_on(20);
    traffic.check(&set);
    checks::check(&set);
}

/// While a new node takes the place of one whose disk is lost, it and then the leader are cut off.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn links_are_cut_during_a_replacement() {
    in_a_world(|world| links_are_cut_while_a_node_is_replaced(StatefulSet::with_voters(world, Beginning::PodZero, 3)));
}

#[test]
#[ignore = "needs root, for hosts of its own"]
fn ci_links_are_cut_during_the_replacement_of_a_founder() {
    in_a_world(|world| {
        links_are_cut_while_a_node_is_replaced(StatefulSet::with_voters(world, Beginning::Together(3), 3))
    });
}

fn links_are_cut_while_a_node_is_replaced(mut set: StatefulSet) {
    let traffic = Traffic::start(&set);
    traffic.goes_on(20);
    let leader = set.leader();
    let lost = (leader + 1) % 3;
    let before = set.node_id(lost).expect("it was a voter that answers");
    set.isolate(&[lost]);
    set.lose_disk(lost);
    set.stays_without_a_cluster(&[lost], NEVER);
    set.heal();
    // As soon as it was heard of, nobody hears the leader: of the voters only one is left that is well.
    eventually("the new node to belong to the cluster", || (set.node_id(lost)? != before).then_some(()));
    set.isolate(&[leader]);
    eventually("the leader to give up", || (set.term_as_leader(leader).is_none()).then_some(()));
    set.heal();
    set.eventually_has_voters(3);
    traffic.goes_on(20);
    traffic.check(&set);
    checks::check(&set);
}

/// Of five two are to go, and neither reaches the leader until it has given up.
#[test]
#[ignore = "needs root, for hosts of its own"]
fn ci_those_that_should_leave_are_cut_off() {
    in_a_world(|world| {
        let mut set = StatefulSet::with_api_server(world, Beginning::Together(3));
        set.scale(5);
        set.eventually_has_voters(5);
        set.lead(0);
        let traffic = Traffic::start(&set);
        traffic.goes_on(20);
        set.isolate(&[3, 4]);
        set.scale(3);
        set.eventually_has_voters(3);
        set.heal();
        traffic.goes_on(20);
        traffic.check(&set);
        checks::check(&set);
    });
}
