//! Clients that can reach one node, and not the addresses that it tells them: that node passes their calls on to the leader.
//!
//! The nodes know each other by names that only they can resolve: each runs with a hosts file of its own (see
//! [`Node::hosts`]), as pods know names that a laptop behind `kubectl port-forward` does not. That takes namespaces, which not
//! every machine lets a plain user make, so that these tests are run by a command of their own:
//!
//! ```sh
//! cargo test --test e2e forward:: -- --ignored
//! ```

use std::io::Read;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quorate::client::{Body, Client, Event, Observer, Options};
use serde_json::Value;

use crate::cluster::{Cluster, Node, PATIENCE, eventually, quorate};
use crate::load::{Load, check_drained};

/// A cluster whose nodes tell clients names that clients cannot resolve.
fn hidden_cluster(size: usize) -> Cluster {
    let mut cluster = Cluster { nodes: Vec::new(), directory: tempfile::TempDir::new().unwrap() };
    for at in 0..size {
        add_hidden(&mut cluster, at);
    }
    cluster.eventually_has_voters(size);
    cluster
}

fn add_hidden(cluster: &mut Cluster, at: usize) {
    let name = char::from(b'a' + at as u8).to_string();
    let mut node = Node::new(cluster.directory.path(), &name);
    node.settings.push(("QUORATE__CLIENT__ADVERTISE", format!("{}:{}", host_of(&name), node.address.port())));
    node.hosts = Some(format!("127.0.0.1 localhost {}\n", ["a", "b", "c", "d"].map(host_of).join(" ")));
    let join: Vec<_> = cluster.nodes.iter().map(|node| node.address).collect();
    node.start(&join);
    cluster.nodes.push(node);
}

fn host_of(name: &str) -> String {
    format!("quorate-{name}.invalid")
}

/// Runs a command at one node, and says all that it meets.
fn run_at(node: &Node, arguments: &[&str]) -> Output {
    let mut command = quorate();
    command.args(arguments).args(["--verbose", "--endpoints", &node.address.to_string()]).output().unwrap()
}

fn ok_at(node: &Node, arguments: &[&str]) -> String {
    let output = run_at(node, arguments);
    assert!(output.status.success(), "{arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A patient client of one node, and what its observer was told.
fn client(node: &Node) -> (Client, Arc<Mutex<Vec<Event>>>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = events.clone();
    let observer: Observer = Arc::new(move |event: &Event| told.lock().unwrap().push(event.clone()));
    let options = Options { timeout: Some(PATIENCE), observer: Some(observer), ..Options::default() };
    (Client::new(vec![node.address.to_string()], options).unwrap(), events)
}

fn text(text: &str) -> Vec<Body> {
    vec![Body::Text(text.to_owned())]
}

/// Everything that only a leader does, asked for at a node that does not lead.
#[test]
#[ignore = "needs namespaces: cargo test --test e2e forward:: -- --ignored"]
fn a_client_behind_one_node_does_all_that_others_do() {
    let mut cluster = hidden_cluster(3);
    let (leader, followers) = (cluster.leader(), cluster.followers());
    let node = &cluster.nodes[followers[0]];
    let other = cluster.nodes[followers[1]].name.clone();

    let enqueued = run_at(node, &["enqueue", "orders", "one", "two", "three"]);
    assert!(enqueued.status.success(), "{enqueued:?}");
    let told = String::from_utf8_lossy(&enqueued.stderr).into_owned();
    let asks = format!("asks {} to forward", node.address);
    assert_eq!(told.matches(&asks).count(), 1, "it is said, and once: {told}");
    assert!(told.contains(&host_of(&cluster.nodes[leader].name)), "{told}");
    node.eventually_tells("forwards ExecuteStream to ");

    assert_eq!(ok_at(node, &["dequeue", "orders"]), "one\n");
    assert_eq!(ok_at(node, &["dequeue", "orders", "--wait", "5s"]), "two\n");
    assert!(ok_at(node, &["peek", "orders"]).contains("three"));
    assert!(ok_at(node, &["log"]).contains("three"));
    assert!(ok_at(node, &["queues"]).contains("orders"));

    let mut following = quorate();
    following.args(["log", "--follow", "--output", "json", "--endpoints", &node.address.to_string()]);
    let mut following = following.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = following.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let (mut seen, mut bytes) = (String::new(), [0; 4096]);
        while !seen.contains("followed") {
            let read = lines.read(&mut bytes).unwrap();
            assert!(read > 0, "the log ended: {seen}");
            seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    });
    ok_at(node, &["enqueue", "orders", "followed"]);
    reader.join().expect("the entry comes");
    following.kill().unwrap();
    following.wait().unwrap();

    let transferred = ok_at(node, &["leader", "transfer", "--to", &other]);
    assert!(transferred.starts_with(&format!("{other} leads in term ")), "{transferred}");
    assert_eq!(ok_at(node, &["dequeue", "orders"]), "three\n");
    let removed = cluster.nodes[leader].name.clone();
    ok_at(node, &["member", "remove", &removed]);
    cluster.nodes[leader].eventually_tells("removed");
    assert_eq!(ok_at(node, &["dequeue", "orders"]), "followed\n");
}

/// The leader dies, leads no more, and stops; the node that passes on stays. Nothing is lost, and nothing comes twice.
#[test]
#[ignore = "needs namespaces: cargo test --test e2e forward:: -- --ignored"]
fn leaders_change_behind_the_node_that_passes_on() {
    let mut cluster = hidden_cluster(3);
    let at = cluster.followers()[0];
    let endpoint = vec![cluster.nodes[at].address.to_string()];
    let load = Load::start(endpoint.clone(), "orders", 4);
    let shared = Load::start_on_one_stream(endpoint, "others", 16);
    let progress = |load: &Load, shared: &Load| {
        load.eventually_acknowledges(50);
        shared.eventually_acknowledges(50);
    };
    progress(&load, &shared);

    let dead = cluster.leader();
    cluster.nodes[dead].kill();
    progress(&load, &shared);
    cluster.nodes[dead].start(&[]);
    cluster.eventually_has_voters(3);

    // To the node itself, and away from it.
    for to in [at, dead] {
        let name = cluster.nodes[to].name.clone();
        eventually("leadership to go there", || {
            cluster.run(&["leader", "transfer", "--to", &name]);
            (cluster.leader() == to).then_some(())
        });
        progress(&load, &shared);
    }
    let leader = cluster.leader();
    assert_eq!(cluster.nodes[leader].terminate().code(), Some(0));
    progress(&load, &shared);

    let (acknowledged, others) = (load.finish(), shared.finish());
    check_drained(cluster.addresses(), "orders", &acknowledged);
    check_drained(cluster.addresses(), "others", &others);
}

/// The node that passes on stops: what it has passed on is still answered, and it ends well within its deadline, although a
/// client waits for a message through it.
#[test]
#[ignore = "needs namespaces: cargo test --test e2e forward:: -- --ignored"]
fn a_node_that_passes_on_stops_in_time() {
    let mut cluster = hidden_cluster(3);
    let followers = cluster.followers();
    let endpoints: Vec<_> = followers.iter().map(|at| cluster.nodes[*at].address.to_string()).collect();
    let load = Load::start_on_one_stream(endpoints.clone(), "orders", 16);
    load.eventually_acknowledges(100);
    let waiting = {
        let endpoints = endpoints.join(",");
        std::thread::spawn(move || crate::cluster::run_at(&endpoints, &["dequeue", "late", "--wait", "50s"]))
    };
    cluster.nodes[followers[0]].eventually_tells("forwards Execute to ");
    let begin = Instant::now();
    assert_eq!(cluster.nodes[followers[0]].terminate().code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(10), "it took {:?}", begin.elapsed());
    let log = cluster.nodes[followers[0]].log();
    assert!(!log.contains("stops without having answered"), "{log}");
    load.eventually_acknowledges(100);
    cluster.ok(&["enqueue", "late", "here"]);
    let waited = waiting.join().unwrap();
    assert_eq!(String::from_utf8_lossy(&waited.stdout), "here\n", "{waited:?}");
    let acknowledged = load.finish();
    check_drained(cluster.addresses(), "orders", &acknowledged);
}

#[test]
#[ignore = "needs namespaces: cargo test --test e2e forward:: -- --ignored"]
fn without_forwarding_the_error_names_both_addresses() {
    let mut cluster = hidden_cluster(2);
    let leader = host_of(&cluster.nodes[cluster.leader()].name);
    let follower = cluster.followers()[0];
    let node = &cluster.nodes[follower];
    let begin = Instant::now();
    let output = run_at(node, &["enqueue", "orders", "one", "--routing", "direct", "--timeout", "2s"]);
    assert!(begin.elapsed() < PATIENCE / 2);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = told.lines().rev().find(|line| line.contains("no node served")).unwrap_or_else(|| panic!("{told}"));
    assert!(last.contains(&node.address.to_string()) && last.contains(&leader), "{last}");
    assert!(told.contains("--routing"), "it says what helps: {told}");
    assert!(!told.contains("asks"), "{told}");
    assert!(!node.log().contains("forwards "));

    // The environment is as good as the flag, and the flag wins.
    let mut command = quorate();
    command.env("QUORATE_ROUTING", "direct").args(["enqueue", "orders", "one", "--routing", "forward", "--verbose"]);
    let output = command.args(["--endpoints", &node.address.to_string()]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("redirected"), "{output:?}");
}

/// A leader that does not answer is slow, and not out of reach.
#[test]
#[ignore = "needs namespaces: cargo test --test e2e forward:: -- --ignored"]
fn a_slow_leader_is_no_reason_to_ask_for_forwarding() {
    let mut cluster = Cluster::start(3);
    let (leader, follower) = (cluster.leader(), cluster.followers()[0]);
    let (client, events) = client(&cluster.nodes[follower]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        client.enqueue("orders", text("one")).await.unwrap();
        cluster.nodes[leader].signal("STOP");
        client.enqueue("orders", text("two")).await.unwrap();
        cluster.nodes[leader].signal("CONT");
        client.close().await;
    });
    let events = events.lock().unwrap();
    assert!(!events.iter().any(|event| matches!(event, Event::Forwarding { .. })), "{events:?}");
    assert!(!cluster.nodes.iter().any(|node| node.log().contains("forwards ")));
}

/// A line of the REPL is like a command: the client is the same one, and it says once how it comes to the leader.
#[test]
#[ignore = "needs namespaces: cargo test --test e2e forward:: -- --ignored"]
fn the_repl_says_once_that_calls_are_passed_on() {
    let mut cluster = hidden_cluster(2);
    let follower = cluster.followers()[0];
    let node = &cluster.nodes[follower];
    let script = cluster.directory.path().join("script");
    crate::cluster::write(&script, "enqueue orders one\nenqueue orders two\ndequeue orders --output json\n");
    let mut command = quorate();
    command.args(["repl", "--verbose", "--endpoints", &node.address.to_string()]);
    let output = command.stdin(std::fs::File::open(&script).unwrap()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(told.matches("to forward").count(), 1, "{told}");
    let last = String::from_utf8_lossy(&output.stdout).lines().last().unwrap().to_owned();
    assert_eq!(serde_json::from_str::<Value>(&last).unwrap()["text"], "one");
}
