//! Nodes come and go.

use crate::cluster::{Cluster, Node, eventually};
use crate::load::{Load, check_drained};

#[test]
fn a_fourth_and_a_fifth_node_join_under_load_and_one_is_removed() {
    let mut cluster = Cluster::start(3);
    let load = Load::start(cluster.addresses(), "orders", 4);
    cluster.add();
    cluster.add();
    cluster.eventually_has_voters(5);
    load.eventually_acknowledges(100);

    let removed = cluster.followers()[0];
    let name = cluster.nodes[removed].name.clone();
    cluster.ok(&["member", "remove", &name]);
    cluster.nodes[removed].eventually_tells("removed");
    let mut gone = cluster.nodes.remove(removed);
    cluster.eventually_has_voters(4);
    load.eventually_acknowledges(100);
    let acknowledged = load.finish();
    check_drained(cluster.addresses(), "orders", &acknowledged);

    // Its directory is no way back, and it says so. What becomes of one that has somebody to ask: see `founding`.
    let told_before = gone.log().len();
    gone.kill();
    gone.start(&[]);
    eventually("the removed node to be told again", || gone.log()[told_before..].contains("removed").then_some(()));
    cluster.eventually_has_voters(4);
}

#[test]
fn the_leader_can_be_removed() {
    let mut cluster = Cluster::start(3);
    cluster.ok(&["enqueue", "orders", "kept"]);
    let leader = cluster.leader();
    let name = cluster.nodes[leader].name.clone();
    cluster.ok(&["member", "remove", &name]);
    cluster.nodes[leader].eventually_tells("removed");
    cluster.nodes.remove(leader);
    cluster.eventually_has_voters(2);
    assert_eq!(cluster.ok(&["dequeue", "orders"]), "kept\n");
}

/// Two go at once, the leader one of them: leadership first goes to one that stays, and one change takes out both.
#[test]
fn several_are_removed_in_one_change_with_the_leader_among_them() {
    let mut cluster = Cluster::start(5);
    let load = Load::start(cluster.addresses(), "orders", 4);
    load.eventually_acknowledges(100);
    let other = cluster.followers()[0];
    let other = cluster.nodes[other].name.clone();
    let leader = cluster.nodes[cluster.leader()].name.clone();
    let term_of = |entry: &serde_json::Value| entry["term"].as_u64().unwrap();
    let term_before = cluster.status().iter().map(term_of).max();
    cluster.ok(&["member", "remove", &other, &leader]);
    for name in [&other, &leader] {
        let gone = cluster.nodes.iter().position(|node| node.name == *name).unwrap();
        cluster.nodes[gone].eventually_tells("removed");
        cluster.nodes.remove(gone);
    }
    cluster.eventually_has_voters(3);
    load.eventually_acknowledges(100);
    let acknowledged = load.finish();
    check_drained(cluster.addresses(), "orders", &acknowledged);

    let removals = cluster.configurations_with_outgoing(5);
    assert_eq!(removals.len(), 1, "one joint change for both: {removals:#?}");
    assert_eq!(removals[0]["voters"].as_array().unwrap().len(), 3);
    assert!(Some(term_of(&removals[0])) > term_before, "the one that stays has made it: {removals:#?}");

    // To repeat it changes nothing, and what never was a member's name stops the whole.
    let again = cluster.run(&["member", "remove", &other, &leader]);
    assert_eq!(again.status.code(), Some(5), "{again:?}");
    let mistaken = cluster.run(&["member", "remove", &cluster.nodes[0].name, "typo"]);
    assert_eq!(mistaken.status.code(), Some(5), "{mistaken:?}");
    assert!(String::from_utf8_lossy(&mistaken.stderr).contains("'typo'"), "{mistaken:?}");
    cluster.eventually_has_voters(3);
}

/// A new disk is a new node; under the name of a dead member it takes that one's place.
#[test]
fn a_node_that_lost_its_disk_is_replaced() {
    let mut cluster = Cluster::start(3);
    cluster.ok(&["enqueue", "orders", "kept"]);
    let lost = cluster.followers()[0];
    let before = cluster.status();
    cluster.nodes[lost].kill();
    std::fs::remove_dir_all(&cluster.nodes[lost].data).unwrap();
    let others: Vec<_> = (0..3).filter(|at| *at != lost).map(|at| cluster.nodes[at].address).collect();
    cluster.nodes[lost].start(&others);
    let name = cluster.nodes[lost].name.clone();
    let id_of = |status: &[serde_json::Value]| {
        let node = status.iter().find(|node| node["member"]["name"] == name.as_str() && node["reachable"] == true)?;
        Some(node["member"]["node_id"].clone())
    };
    let old = id_of(&before);
    eventually("the new node to take the old one's place", || {
        let id = id_of(&cluster.status())?;
        (Some(id) != old).then_some(())
    });
    cluster.eventually_has_voters(3);
    assert_eq!(cluster.ok(&["dequeue", "orders"]), "kept\n");
}

/// Under `half_plus_one` three voters commit nothing while one is dead: its place must be taken all the same.
#[test]
fn a_dead_voter_is_replaced_under_half_plus_one() {
    let directory = tempfile::TempDir::new().unwrap();
    let mut first = Node::new(directory.path(), "a");
    first.settings.push(("QUORATE__CLUSTER__COMMIT_QUORUM", "half_plus_one".to_owned()));
    first.start(&[]);
    let mut cluster = Cluster { nodes: vec![first], directory };
    cluster.add();
    cluster.add();
    cluster.eventually_has_voters(3);
    cluster.ok(&["enqueue", "orders", "kept"]);
    let dead = cluster.followers()[0];
    cluster.nodes[dead].kill();
    std::fs::remove_dir_all(&cluster.nodes[dead].data).unwrap();
    let others: Vec<_> = (0..3).filter(|at| *at != dead).map(|at| cluster.nodes[at].address).collect();
    cluster.nodes[dead].start(&others);
    cluster.eventually_has_voters(3);
    assert_eq!(cluster.ok(&["dequeue", "orders"]), "kept\n");
}

#[test]
fn changes_that_cannot_be_are_refused() {
    let mut cluster = Cluster::start(1);
    let refused = cluster.run(&["member", "remove", "a"]);
    assert_eq!(refused.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("last voter"), "{refused:?}");
    let unknown = cluster.run(&["member", "remove", "nobody"]);
    assert_eq!(unknown.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("nobody"), "{unknown:?}");

    // Of three voters one is dead: the removal of another would leave two, of which one lives.
    cluster.add();
    cluster.add();
    cluster.eventually_has_voters(3);
    let followers = cluster.followers();
    cluster.nodes[followers[0]].kill();
    let name = cluster.nodes[followers[1]].name.clone();
    eventually("the leader to miss the dead node", || {
        let refused = cluster.run(&["member", "remove", &name]);
        assert!(!refused.status.success(), "the quorum was given away");
        String::from_utf8_lossy(&refused.stderr).contains("lose the quorum").then_some(())
    });
}

/// A node that applies at a dead address says which, and gets in as soon as somebody is there.
#[test]
fn a_join_to_a_dead_address_waits() {
    let directory = tempfile::TempDir::new().unwrap();
    let mut first = Node::new(directory.path(), "a");
    let mut second = Node::new(directory.path(), "b");
    second.start(&[first.address]);
    second.eventually_tells(&first.address.to_string());
    first.start(&[]);
    let mut cluster = Cluster { nodes: vec![first, second], directory };
    cluster.eventually_has_voters(2);
    assert!(cluster.nodes[1].is_running());
}
