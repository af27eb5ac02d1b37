//! Leases on real nodes: they survive the death of the leader that gave them, and end by themselves.

use serde_json::Value;

use crate::cluster::{Cluster, eventually};

/// The messages that are leased, as `lease --output json` prints them.
fn lease(cluster: &Cluster, arguments: &[&str]) -> Vec<Value> {
    let output = cluster.run(&[&["lease", "orders", "--output", "json"], arguments].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn token(leased: &Value) -> &str {
    leased["lease_token"].as_str().expect("a leased message has a token")
}

fn text(leased: &Value) -> &str {
    leased["text"].as_str().expect("all bodies are text")
}

/// Two consumers have a message each when the leader is killed. The next one knows both leases: the first message is
/// acknowledged, the second comes back when its lease ends, and to nobody before.
#[test]
fn the_leader_is_killed_between_lease_and_acknowledgement() {
    let mut cluster = Cluster::start(3);
    cluster.ok(&["enqueue", "orders", "one", "two", "three", "--header", "kind=pizza"]);
    let [long] = &lease(&cluster, &["--for", "10m"])[..] else { panic!("no lease") };
    let [short] = &lease(&cluster, &["--for", "3s"])[..] else { panic!("no lease") };
    assert_eq!((text(long), text(short)), ("one", "two"));

    let leader = cluster.leader();
    cluster.nodes[leader].kill();
    cluster.ok(&["ack", "orders", token(long)]);
    let again = eventually("the message whose lease has ended", || {
        let leased = lease(&cluster, &["--count", "9", "--wait", "5s"]);
        leased.into_iter().find(|leased| text(leased) == "two")
    });
    assert_eq!((again["deliveries"].as_u64(), &again["headers"]["kind"]), (Some(2), &Value::from("pizza")));
    let late = cluster.run(&["ack", "orders", token(short), "--output", "json"]);
    assert_eq!(late.status.code(), Some(5), "its lease has ended: {late:?}");
    assert!(String::from_utf8(late.stderr).unwrap().contains("LEASE_EXPIRED"));
    cluster.ok(&["ack", "orders", token(&again)]);

    let stats = cluster.json(&["stats", "orders"]).unwrap();
    let counts =
        ["leased", "enqueued", "acknowledged", "redelivered", "dead"].map(|count| stats[count].as_u64().unwrap());
    assert_eq!(counts, [1, 3, 2, 1, 0], "three is still with the second consumer: {stats}");
}

/// What nobody can work off is set aside, outlives a restart of all nodes, and is worked off when somebody has seen to
/// it.
#[test]
fn dead_letters_wait_until_they_are_redriven() {
    let mut cluster = Cluster::start(1);
    cluster.ok(&["enqueue", "orders", "poison", "pizza"]);
    cluster.ok(&["queue", "set", "orders", "--deliveries", "2", "--lease", "1m"]);
    for delivery in 1..=2 {
        let [leased] = &lease(&cluster, &[])[..] else { panic!("no lease") };
        assert_eq!((text(leased), leased["deliveries"].as_u64()), ("poison", Some(delivery)));
        cluster.ok(&["release", "orders", token(leased)]);
    }
    let [pizza] = &lease(&cluster, &[])[..] else { panic!("no lease") };
    cluster.ok(&["reject", "orders", token(pizza), "--reason", "no oven"]);
    assert!(cluster.nodes[0].terminate().success());
    cluster.nodes[0].start(&[]);

    let dead = eventually("the dead letters", || cluster.json(&["peek", "orders", "--state", "dead"]));
    let reasons: Vec<&str> =
        dead["messages"].as_array().unwrap().iter().map(|dead| dead["dead_reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["delivered as often as it may, and never acknowledged (2)", "rejected: no oven"]);
    assert_eq!(lease(&cluster, &[]), [] as [Value; 0]);
    assert_eq!(cluster.ok(&["redrive", "orders"]), "2\n");
    let redriven = lease(&cluster, &["--count", "9"]);
    assert_eq!(redriven.iter().map(text).collect::<Vec<_>>(), ["poison", "pizza"]);
    assert_eq!(redriven[0]["deliveries"], 1);
}

#[test]
fn a_delayed_message_comes_when_it_is_due_to_who_waits_for_it() {
    let cluster = Cluster::start(1);
    cluster.ok(&["enqueue", "orders", "later", "--delay", "1s"]);
    assert_eq!(cluster.run(&["dequeue", "orders"]).status.code(), Some(3), "it cannot be taken yet");
    let delayed = cluster.json(&["peek", "orders", "--state", "delayed"]).unwrap();
    assert!(delayed["messages"][0]["due_at"].is_string(), "{delayed}");
    assert_eq!(cluster.ok(&["dequeue", "orders", "--wait", "30s"]), "later\n");
}
