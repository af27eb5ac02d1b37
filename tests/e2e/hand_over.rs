//! Leadership is handed over: when somebody asks for it, and by a leader that is told to stop.

use crate::cluster::{Cluster, eventually};
use crate::load::{Load, check_drained};

/// A rolling restart: every node is stopped and started again, and no call of a retrying client fails.
#[test]
fn all_nodes_restart_one_after_the_other_under_load() {
    let mut cluster = Cluster::start(3);
    let load = Load::start(cluster.addresses(), "orders", 8);
    load.eventually_acknowledges(100);
    for at in 0..3 {
        let leads = cluster.leader() == at;
        let node = &mut cluster.nodes[at];
        assert_eq!(node.terminate().code(), Some(0), "{}", node.log());
        if leads {
            assert!(node.log().contains("hands leadership"), "it leaves the others to find out: {}", node.log());
            assert_ne!(cluster.leader(), at);
        }
        load.eventually_acknowledges(100);
        cluster.nodes[at].start(&[]);
        cluster.eventually_has_voters(3);
        load.eventually_acknowledges(100);
    }
    let acknowledged = load.finish();
    check_drained(cluster.addresses(), "orders", &acknowledged);
}

#[test]
fn leadership_goes_where_it_is_wanted_under_load() {
    let cluster = Cluster::start(3);
    let load = Load::start(cluster.addresses(), "orders", 4);
    for _ in 0..2 {
        for node in &cluster.nodes {
            if cluster.nodes[cluster.leader()].name != node.name {
                let told = cluster.ok(&["leader", "transfer", "--to", &node.name]);
                assert!(told.starts_with(&format!("{} leads in term ", node.name)), "{told}");
            }
            load.eventually_acknowledges(20);
        }
    }
    let before = cluster.leader();
    cluster.ok(&["leader", "transfer"]);
    eventually("another leader", || (cluster.leader() != before).then_some(()));
    let acknowledged = load.finish();
    check_drained(cluster.addresses(), "orders", &acknowledged);
}

#[test]
fn a_transfer_that_makes_no_sense_is_refused_and_changes_nothing() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let refused = |cluster: &Cluster, to: &str| {
        let output = cluster.run(&["leader", "transfer", "--to", to]);
        assert_eq!(output.status.code(), Some(5), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let told = refused(&cluster, &cluster.nodes[leader].name);
    assert!(told.contains("leads already"), "{told}");
    assert!(refused(&cluster, "nobody").contains("nobody"));

    let address = |port: u16| format!("127.0.0.1:{port}");
    let learner = ["member", "add", "00000000000000aa", "--name", "learner", "--stay-learner", "--address"];
    cluster.ok(&[&learner[..], &[&address(1), "--peer-address", &address(2)]].concat());
    let told = refused(&cluster, "learner");
    assert!(told.contains("not a voter"), "{told}");

    let dead = cluster.followers()[0];
    cluster.nodes[dead].kill();
    let name = cluster.nodes[dead].name.clone();
    eventually("the leader to miss the dead node", || {
        let output = cluster.run(&["leader", "transfer", "--to", &name]);
        assert!(!output.status.success(), "leadership went to a dead node");
        String::from_utf8_lossy(&output.stderr).contains("does not answer").then_some(())
    });
    assert_eq!(cluster.leader(), leader);
    cluster.ok(&["enqueue", "orders", "taken"]);
}
