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
