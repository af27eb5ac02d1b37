//! What an operator sees of the inside of a cluster, and what being seen costs.

use std::time::Duration;

use serde_json::Value;

use crate::cluster::{Cluster, Node, eventually};

fn of<'a>(nodes: &'a [Value], name: &str) -> &'a Value {
    nodes.iter().find(|node| node["member"]["name"] == name).expect("every member is told of")
}

fn progress<'a>(leader: &'a Value, node: &Value) -> &'a Value {
    let all = leader["progress"].as_array().expect("a leader tells of the others");
    all.iter().find(|progress| progress["node_id"] == node["member"]["node_id"]).expect("of every other")
}

/// Every number is there, and the leader sees whom it does not hear.
#[test]
fn status_tells_how_each_node_is() {
    let mut cluster = Cluster::start(3);
    cluster.eventually_has_voters(3);
    cluster.ok(&["enqueue", "orders", "one"]);
    let leader = cluster.nodes[cluster.leader()].name.clone();
    let nodes = eventually("a look at every disk", || {
        let nodes = cluster.status();
        nodes.iter().all(|node| node["storage"]["total_bytes"].as_u64() > Some(0)).then_some(nodes)
    });
    for node in &nodes {
        let number = |field: &str| node[field].as_f64().unwrap_or_else(|| panic!("no {field} in {node:#}"));
        assert!(number("uptime_s") > 0.0 && number("memory_bytes") > 1e6 && number("durable") > 1.0);
        assert!(number("leader_changes") >= 1.0 && number("elections") >= 0.0);
        assert!(node["storage"]["free_bytes"].as_u64() <= node["storage"]["total_bytes"].as_u64(), "{node:#}");
        let [count, p50, p99] = ["count", "p50_ms", "p99_ms"].map(|field| node["fsync"][field].as_f64());
        assert!(count > Some(0.0) && p50.is_some() && p50 <= p99, "{node:#}");
        let timeouts = &node["timeouts"];
        assert!(timeouts["heartbeat_ms"].as_f64() < timeouts["election_min_ms"].as_f64(), "{timeouts:#}");
        assert!(node["admin_address"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")), "{node:#}");
        let conditions = node["conditions"].as_array().expect("it says how it is");
        assert!(conditions.iter().any(|condition| condition["what"] == "votes"), "{conditions:#?}");
        let leads = node["member"]["name"] == leader.as_str();
        assert_eq!(node["progress"].as_array().map(Vec::len), Some(if leads { 2 } else { 0 }), "{node:#}");
    }
    assert!(of(&nodes, &leader)["commit_latency"]["p99_ms"].as_f64() > Some(0.0), "{nodes:#?}");
    assert_eq!(of(&nodes, &leader)["voted_for_id"], of(&nodes, &leader)["member"]["node_id"]);

    let gone = cluster.followers()[0];
    let name = cluster.nodes[gone].name.clone();
    cluster.nodes[gone].kill();
    cluster.ok(&["enqueue", "orders", "two"]);
    eventually("a node that is not heard", || {
        let nodes = cluster.status();
        let progress = progress(of(&nodes, &leader), of(&nodes, &name)).clone();
        let is_missed = progress["last_contact_ms"].as_f64() > Some(1000.0);
        (is_missed && progress["messages_in_flight"].as_u64() > Some(0)).then_some(())
    });
    let table = cluster.ok(&["status"]);
    assert!(table.contains("LAG") && table.contains("FSYNC") && table.contains("DISK FREE"), "{table}");
    assert!(table.lines().skip(5).take(4).all(|line| line.chars().count() <= 120), "{table}");
}

/// Processor time that a node has taken so far.
pub fn busy(node: &Node) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.pid())).expect("it runs");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("the name is in brackets").1.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// Nothing turns for nothing, also while somebody looks twice a second.
#[test]
fn an_idle_cluster_is_idle() {
    let cluster = Cluster::start(3);
    cluster.eventually_has_voters(3);
    let uptime = |at: usize| cluster.status()[at]["uptime_s"].as_f64().expect("it is told");
    let (began, before) = (uptime(0), cluster.nodes.iter().map(busy).sum::<Duration>());
    let seconds = eventually("five seconds to pass", || {
        let passed = uptime(0) - began;
        std::thread::sleep(Duration::from_millis(400));
        (passed >= 5.0).then_some(passed)
    });
    let taken = cluster.nodes.iter().map(busy).sum::<Duration>() - before;
    assert!(taken.as_secs_f64() < 0.3 * seconds, "three nodes took {taken:?} of processor time in {seconds:.1} s");
}
