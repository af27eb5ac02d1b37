//! A rolling update, as a StatefulSet does it: from the last node to the first, each is told to stop, starts again, and is waited
//! for until it is ready.

use std::time::Duration;

use crate::cluster::{Cluster, Node};
use crate::load::{Load, check_drained};

/// Rounds through all nodes: `QUORATE_ROLLING_ROUNDS=10 cargo test --test e2e rolling_update -- --nocapture` shows the gaps of 30
/// stops.
fn rounds() -> usize {
    let text = std::env::var("QUORATE_ROLLING_ROUNDS").ok();
    text.map_or(2, |text| text.parse().expect("QUORATE_ROLLING_ROUNDS is a number"))
}

/// Far more than a hand-over takes, also on a machine where everything else runs at the same time: a client that waits for an
/// election, or for a node that comes back, waits longer. `cargo bench --bench failover` measures it.
const GAP_MAX: Duration = Duration::from_secs(5);

#[test]
fn a_rolling_update_under_load_fails_no_call() {
    let mut cluster = Cluster::start(3);
    cluster.nodes.iter().for_each(Node::eventually_is_ready);
    let load = Load::start(cluster.addresses(), "orders", 8);
    load.eventually_acknowledges(100);
    let mut gaps = Vec::new();
    let mut handed_over = 0;
    for at in (0..rounds()).flat_map(|_| (0..3).rev()) {
        handed_over += usize::from(cluster.leader() == at);
        load.take_longest_gap();
        let node = &mut cluster.nodes[at];
        assert_eq!(node.terminate().code(), Some(0), "{}", node.log());
        node.start(&[]);
        node.eventually_is_ready();
        load.eventually_acknowledges(100);
        gaps.push(load.take_longest_gap());
    }
    let acknowledged = load.finish();
    let worst = gaps.iter().max().unwrap();
    println!("{} stops, {handed_over} of them of the leader; longest time without an answer: {worst:?}", gaps.len());
    assert!(handed_over > 0, "no stop was that of the leader");
    assert!(*worst < GAP_MAX, "clients waited too long: {gaps:?}");
    check_drained(cluster.addresses(), "orders", &acknowledged);
}

/// The first one to come back lacks what was written meanwhile, and is not ready before it has it: the next one is not stopped
/// too early.
#[test]
fn a_node_that_was_away_is_ready_once_it_has_what_it_missed() {
    let mut cluster = Cluster::start(3);
    cluster.nodes.iter().for_each(Node::eventually_is_ready);
    let away = cluster.followers()[0];
    assert_eq!(cluster.nodes[away].terminate().code(), Some(0));
    let lines: Vec<String> = (0..2000).map(|number| number.to_string()).collect();
    for hundred in lines.chunks(100) {
        let bodies: Vec<&str> = hundred.iter().map(String::as_str).collect();
        cluster.ok(&[&["enqueue", "orders"], &bodies[..]].concat());
    }
    let committed =
        |cluster: &Cluster| cluster.status().iter().filter_map(|node| node["commit"].as_u64()).max().unwrap();
    let missed = committed(&cluster);
    cluster.nodes[away].start(&[]);
    cluster.nodes[away].eventually_is_ready();
    let status = cluster.status();
    let name = &cluster.nodes[away].name;
    let own = status.iter().find(|node| node["member"]["name"] == name.as_str()).unwrap();
    assert!(own["applied"].as_u64().unwrap() >= missed, "ready before it had all of {missed} entries: {own:#?}");
}
