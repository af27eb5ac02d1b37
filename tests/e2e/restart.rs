//! The same directory again: the node resumes, also under another address.

use crate::cluster::{Cluster, Node};

#[test]
fn a_stopped_cluster_resumes() {
    let mut cluster = Cluster::start(3);
    cluster.ok(&["enqueue", "orders", "kept"]);
    for node in &mut cluster.nodes {
        assert_eq!(node.terminate().code(), Some(0), "a graceful stop: {}", node.log());
    }
    for node in &mut cluster.nodes {
        node.start(&[]);
    }
    cluster.eventually_has_voters(3);
    assert_eq!(cluster.ok(&["dequeue", "orders"]), "kept\n");
}

#[test]
fn a_node_resumes_under_another_address() {
    let mut cluster = Cluster::start(3);
    let follower = cluster.followers()[0];
    assert_eq!(cluster.nodes[follower].terminate().code(), Some(0));
    cluster.ok(&["enqueue", "orders", "meanwhile"]);
    let moved = Node::new(cluster.directory.path(), &cluster.nodes[follower].name).address;
    cluster.nodes[follower].address = moved;
    cluster.nodes[follower].start(&[]);
    cluster.eventually_has_voters(3);
    let status = cluster.status();
    let addresses: Vec<_> = status.iter().map(|node| node["member"]["client_address"].clone()).collect();
    assert!(addresses.contains(&moved.to_string().into()), "the others know the new address: {addresses:?}");
}

/// A log that is gone took votes and acknowledged entries with it. Without them the node must not take part again.
#[test]
fn a_member_whose_log_is_gone_does_not_start() {
    let mut cluster = Cluster::start(2);
    cluster.ok(&["enqueue", "orders", "kept"]);
    for at in 0..2 {
        let node = &mut cluster.nodes[at];
        assert_eq!(node.terminate().code(), Some(0));
        std::fs::remove_file(node.data.join("segment-0000000000000001.log")).unwrap();
        node.start(&[]);
        assert_eq!(node.wait().code(), Some(1), "node {} takes part without its log", node.name);
        let told = node.log();
        let last = told.lines().last().unwrap_or_default();
        assert!(last.contains(&*node.data.to_string_lossy()) && last.contains("log"), "{last}");
    }
}

/// All addresses change at once. Nobody can reach anybody from memory, but `--join` names who to ask.
#[test]
fn a_cluster_resumes_when_all_addresses_have_changed() {
    let mut cluster = Cluster::start(3);
    cluster.ok(&["enqueue", "orders", "kept"]);
    for node in &mut cluster.nodes {
        assert_eq!(node.terminate().code(), Some(0));
    }
    for at in 0..3 {
        cluster.nodes[at].address = Node::new(cluster.directory.path(), "any").address;
    }
    let addresses: Vec<_> = cluster.nodes.iter().map(|node| node.address).collect();
    for node in &mut cluster.nodes {
        node.start(&addresses);
    }
    cluster.eventually_has_voters(3);
    assert_eq!(cluster.ok(&["dequeue", "orders"]), "kept\n");
}
