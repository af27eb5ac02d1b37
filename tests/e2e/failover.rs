//! How soon clients are served again after the leader was killed, with default settings.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::load::{Load, check_drained};

/// So often the leader is killed; QUORATE_FAILOVERS=20 for a figure.
fn kills() -> usize {
    std::env::var("QUORATE_FAILOVERS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(3)
}

/// Far above what it takes, and below what it would take without the news that the process has ended: an election time-out of a
/// cluster that has just begun is a second and more.
const BOUND: Duration = Duration::from_millis(900);

#[test]
fn the_next_leader_serves_long_before_any_time_out() {
    let mut cluster = Cluster::start(3);
    let load = Load::start(cluster.addresses(), "orders", 8);
    load.eventually_acknowledges(200);
    let mut gaps = Vec::new();
    for _ in 0..kills() {
        let leader = cluster.leader();
        load.take_longest_gap();
        cluster.nodes[leader].kill();
        load.eventually_acknowledges(200);
        gaps.push(load.take_longest_gap());
        cluster.nodes[leader].start(&[]);
        cluster.eventually_has_voters(3);
    }
    println!("without service for {gaps:?}");
    gaps.sort_unstable();
    let median = gaps[gaps.len() / 2];
    println!("median {median:?}");
    assert!(median < BOUND, "the median of {gaps:?}");
    check_drained(cluster.addresses(), "orders", &load.finish());
}
