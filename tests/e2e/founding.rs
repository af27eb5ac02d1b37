//! Several nodes start one cluster together.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::{Cluster, Node, eventually};

/// Nodes with these names that know of each other, none of them started.
fn founders(names: &[&str]) -> Cluster {
    let directory = tempfile::TempDir::new().unwrap();
    let node = |name: &&str| {
        let mut node = Node::new(directory.path(), name);
        node.settings.push(("QUORATE__BOOTSTRAP__SIZE", "3".to_owned()));
        node
    };
    let nodes = names.iter().map(node).collect();
    Cluster { nodes, directory }
}

/// Starts a node that may ask all of the cluster, itself included.
fn start(cluster: &mut Cluster, at: usize) {
    let all: Vec<SocketAddr> = cluster.nodes.iter().map(|node| node.address).collect();
    cluster.nodes[at].start(&all);
}

/// The cluster that a node says it belongs to, by what it has told.
fn started(node: &Node) -> Vec<String> {
    let told = node.log();
    let words = |line: &str| Some(line.split("starts cluster ").nth(1)?.split(' ').next()?.to_owned());
    told.lines().filter_map(words).collect()
}

fn node_id(cluster: &Cluster, name: &str) -> Option<Value> {
    let status = cluster.status();
    let node = status.iter().find(|node| node["member"]["name"] == name && node["reachable"] == true)?;
    Some(node["member"]["node_id"].clone())
}

#[test]
fn three_nodes_form_one_cluster_in_whatever_order_they_start() {
    for (names, order) in
        [(["q-0", "q-1", "q-2"], [2, 1, 0]), (["q-0", "q-1", "q-2"], [0, 2, 1]), (["x", "y", "z"], [1, 0, 2])]
    {
        let mut cluster = founders(&names);
        for at in order {
            start(&mut cluster, at);
        }
        cluster.eventually_has_voters(3);
        cluster.ok(&["enqueue", "orders", "kept"]);
        assert_eq!(cluster.ok(&["dequeue", "orders"]), "kept\n");
        let ids: Vec<String> = cluster.nodes.iter().flat_map(started).collect();
        assert_eq!(ids.len(), 3, "{ids:?}");
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
}

#[test]
fn two_of_three_wait_and_say_for_whom() {
    let mut cluster = founders(&["q-0", "q-1", "q-2"]);
    start(&mut cluster, 0);
    start(&mut cluster, 1);
    let missing = format!(
        "waits for q-2 to start a cluster together; no answer from {} (connection refused)",
        cluster.nodes[2].address
    );
    cluster.nodes[0].eventually_tells(&missing);
    cluster.nodes[1].eventually_tells(&missing);
    let refused = cluster.run(&["--timeout", "1s", "enqueue", "orders", "early"]);
    assert!(!refused.status.success(), "{refused:?}");
    for node in &cluster.nodes {
        assert_eq!(node.log().matches(&missing).count(), usize::from(node.name != "q-2"), "told once");
        assert!(started(node).is_empty());
    }
    start(&mut cluster, 2);
    cluster.eventually_has_voters(3);
}

/// The first one included, which proposes when nobody has a cluster.
#[test]
fn a_founder_that_lost_its_disk_joins_again_under_its_name() {
    let mut cluster = founders(&["q-0", "q-1", "q-2"]);
    for at in 0..3 {
        start(&mut cluster, at);
    }
    cluster.eventually_has_voters(3);
    cluster.ok(&["enqueue", "orders", "kept"]);
    for lost in [0, 2] {
        let name = cluster.nodes[lost].name.clone();
        let before = node_id(&cluster, &name).unwrap();
        cluster.nodes[lost].kill();
        std::fs::remove_dir_all(&cluster.nodes[lost].data).unwrap();
        start(&mut cluster, lost);
        eventually("the node to come back as another", || node_id(&cluster, &name).filter(|id| *id != before));
        cluster.eventually_has_voters(3);
        assert_eq!(started(&cluster.nodes[lost]).len(), 1, "only the first time");
    }
    assert_eq!(cluster.ok(&["dequeue", "orders"]), "kept\n");
}

/// The first one lost its disk while the others are down: who does not answer may belong to a cluster.
#[test]
fn an_empty_node_starts_nothing_beside_members_that_are_down() {
    let mut cluster = founders(&["q-0", "q-1", "q-2"]);
    for at in 0..3 {
        start(&mut cluster, at);
    }
    cluster.eventually_has_voters(3);
    cluster.ok(&["enqueue", "orders", "kept"]);
    for at in 0..3 {
        cluster.nodes[at].kill();
    }
    std::fs::remove_dir_all(&cluster.nodes[0].data).unwrap();
    start(&mut cluster, 0);
    cluster.nodes[0].eventually_tells("waits for q-1 and q-2 to start a cluster together; no answer from");
    start(&mut cluster, 1);
    start(&mut cluster, 2);
    cluster.eventually_has_voters(3);
    assert_eq!(cluster.ok(&["dequeue", "orders"]), "kept\n");
}

/// Nodes are killed and started again at whatever point they are. In the end there is one cluster.
#[test]
fn crashes_while_a_cluster_starts_leave_one_cluster() {
    for round in 0..4_u64 {
        let mut cluster = founders(&["q-0", "q-1", "q-2"]);
        for at in 0..3 {
            start(&mut cluster, at);
        }
        let begun = Instant::now();
        // Not a wait for something: the point at which a process dies is what this test varies.
        for kill in 0..6 {
            std::thread::sleep(Duration::from_millis(40 + (round * 37 + kill * 53) % 150));
            let at = ((round + kill * 2) % 3) as usize;
            cluster.nodes[at].kill();
            start(&mut cluster, at);
        }
        cluster.eventually_has_voters(3);
        let mut ids: Vec<String> = cluster.nodes.iter().flat_map(started).collect();
        ids.dedup();
        assert_eq!(ids.len(), 1, "round {round}: {ids:?} after {:?}", begun.elapsed());
    }
}

#[test]
fn a_directory_that_was_to_join_starts_no_cluster_of_its_own() {
    let directory = tempfile::TempDir::new().unwrap();
    let nobody = Node::new(directory.path(), "a").address;
    let mut node = Node::new(directory.path(), "b");
    node.start(&[nobody]);
    node.eventually_tells("waits for a cluster to join");
    node.kill();
    node.start(&[]);
    assert!(!node.wait().success());
    let told = "the data directory was started to join a cluster, and no cluster has taken it in yet: start it with cluster.join or \
                cluster.discovery again; to start a cluster of its own, empty it";
    assert_eq!(node.log().matches(told).count(), 1, "{}", node.log());
}

/// What it had stays on its disk, where nobody looks for a log.
#[test]
fn a_removed_node_that_is_started_again_sets_its_data_aside_and_joins_anew() {
    let mut cluster = Cluster::start(3);
    cluster.ok(&["enqueue", "orders", "kept"]);
    let removed = cluster.followers()[0];
    let name = cluster.nodes[removed].name.clone();
    let before = node_id(&cluster, &name).unwrap();
    cluster.ok(&["member", "remove", &name]);
    cluster.nodes[removed].eventually_tells("was removed from the cluster");
    assert!(cluster.nodes[removed].is_running(), "it stays, and says so");
    cluster.nodes[removed].kill();
    let others: Vec<SocketAddr> = (0..3).filter(|at| *at != removed).map(|at| cluster.nodes[at].address).collect();
    cluster.nodes[removed].start(&others);
    cluster.nodes[removed].eventually_tells("its data is set aside");
    cluster.eventually_has_voters(3);
    let after = node_id(&cluster, &name).unwrap();
    assert_ne!(before, after);
    let aside = cluster.nodes[removed].data.join("set-aside").join(before.as_str().unwrap());
    assert!(aside.join("identity").is_file() && aside.join("segment-0000000000000001.log").is_file(), "{aside:?}");
    assert_eq!(cluster.ok(&["dequeue", "orders"]), "kept\n");
    // It is a member like any other, also after another start.
    cluster.nodes[removed].terminate();
    cluster.nodes[removed].start(&others);
    cluster.eventually_has_voters(3);
}

/// With nobody to ask there is nothing to gain from it: it stands by.
#[test]
fn a_removed_node_that_knows_nobody_to_ask_keeps_its_data() {
    let mut cluster = Cluster::start(3);
    let removed = cluster.followers()[0];
    let name = cluster.nodes[removed].name.clone();
    cluster.ok(&["member", "remove", &name]);
    cluster.nodes[removed].eventually_tells("was removed from the cluster");
    cluster.nodes[removed].kill();
    let told_before = cluster.nodes[removed].log().len();
    cluster.nodes[removed].start(&[]);
    eventually("the removed node to be told again", || {
        cluster.nodes[removed].log()[told_before..].contains("was removed from the cluster").then_some(())
    });
    assert!(!cluster.nodes[removed].data.join("set-aside").exists());
    assert!(cluster.nodes[removed].is_running());
}
