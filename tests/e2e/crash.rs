//! kill -9 at any time loses nothing that was acknowledged and doubles nothing.

use crate::cluster::Cluster;
use crate::load::{Load, check_drained};

#[test]
fn the_leader_is_killed_under_load() {
    let mut cluster = Cluster::start(3);
    let load = Load::start(cluster.addresses(), "orders", 8);
    load.eventually_acknowledges(200);
    for _ in 0..2 {
        let leader = cluster.leader();
        cluster.nodes[leader].kill();
        load.eventually_acknowledges(200);
        assert_ne!(cluster.leader(), leader, "another node leads");
        cluster.nodes[leader].start(&[]);
        cluster.eventually_has_voters(3);
    }
    let acknowledged = load.finish();
    check_drained(cluster.addresses(), "orders", &acknowledged);
}

/// Many requests are in flight on the stream when it breaks, and each of them takes effect once.
#[test]
fn the_leader_is_killed_in_the_middle_of_a_stream() {
    let mut cluster = Cluster::start(3);
    let load = Load::start_on_one_stream(cluster.addresses(), "orders", 64);
    load.eventually_acknowledges(500);
    for _ in 0..2 {
        let leader = cluster.leader();
        cluster.nodes[leader].kill();
        load.eventually_acknowledges(500);
        cluster.nodes[leader].start(&[]);
        cluster.eventually_has_voters(3);
    }
    let acknowledged = load.finish();
    check_drained(cluster.addresses(), "orders", &acknowledged);
}

#[test]
fn all_nodes_are_killed_at_once() {
    let mut cluster = Cluster::start(3);
    let load = Load::start(cluster.addresses(), "orders", 8);
    load.eventually_acknowledges(200);
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start(&[]);
    }
    load.eventually_acknowledges(200);
    let acknowledged = load.finish();
    check_drained(cluster.addresses(), "orders", &acknowledged);
}
