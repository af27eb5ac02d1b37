//! Only the leader executes; any other node rejects and names the leader.

use quorate::client::{Client, Error, Options};
use quorate::proto::v1;

use crate::cluster::{Cluster, run_at};

fn enqueue(queue: &str, text: &str) -> v1::Operation {
    let message = v1::Message::from(v1::message::Body::Text(text.to_owned()));
    let enqueue = v1::Enqueue { queue: queue.to_owned(), message: Some(message), delay: None };
    v1::Operation { operation: Some(v1::operation::Operation::Enqueue(enqueue)) }
}

/// What a bare gRPC client sees: UNAVAILABLE, NOT_LEADER, the leader's address; and nothing was proposed.
#[test]
fn a_follower_rejects_and_names_the_leader() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.nodes[cluster.leader()].address.to_string();
    let follower = cluster.followers()[0];
    let last_index = cluster.status()[0]["last_index"].clone();

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = |address: String| Client::new(vec![address], Options::default()).unwrap();
    let refused = runtime.block_on(async {
        let client = client(cluster.nodes[follower].address.to_string());
        client.execute_once(vec![enqueue("orders", "x")]).await
    });
    let Err(Error::Refused(refused)) = refused else { panic!("a follower executed: {refused:?}") };
    assert_eq!(refused.reason, "NOT_LEADER");
    assert_eq!(refused.metadata.get("leader_address"), Some(&leader));
    assert_eq!(cluster.status()[0]["last_index"], last_index, "nothing was proposed");
}

/// What a user sees: the command works wherever it is sent, and dequeue gives the messages in their order.
#[test]
fn the_client_follows_the_redirect() {
    let mut cluster = Cluster::start(3);
    let follower = cluster.followers()[0];
    let follower = cluster.nodes[follower].address.to_string();
    let enqueued = run_at(&follower, &["enqueue", "orders", "one", "two", "--verbose"]);
    assert!(enqueued.status.success());
    let told = String::from_utf8_lossy(&enqueued.stderr).into_owned();
    assert!(told.contains("redirected"), "the redirect is shown: {told}");

    assert_eq!(cluster.ok(&["peek", "orders", "--limit", "1"]).lines().filter(|line| line.contains("one")).count(), 1);
    assert_eq!(cluster.ok(&["dequeue", "orders"]), "one\n");
    assert_eq!(cluster.ok(&["dequeue", "orders"]), "two\n");
    let empty = cluster.run(&["dequeue", "orders"]);
    assert_eq!(empty.status.code(), Some(3), "an empty queue has an exit code of its own");
    assert!(empty.stdout.is_empty());

    let log = cluster.ok(&["log"]);
    assert!(log.contains("one") && log.contains("two"), "RequestLog shows what was sent: {log}");
}

/// A dequeue that waits is answered when the message comes, by commit and not by its time.
#[test]
fn a_waiting_dequeue_gets_the_message_that_comes() {
    let cluster = Cluster::start(3);
    let endpoints = cluster.addresses().join(",");
    let waiting = std::thread::spawn(move || run_at(&endpoints, &["dequeue", "orders", "--wait", "50s"]));
    // It has opened its session: its request is on its way.
    crate::cluster::eventually("the waiting client's session", || {
        cluster.ok(&["log"]).to_lowercase().contains("session").then_some(())
    });
    cluster.ok(&["enqueue", "orders", "late"]);
    let output = waiting.join().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "late\n");
}

/// The leader dies and is back before anybody has missed it: the others still take it for the leader, and it has never led in its
/// new life. A conversation that was passed on to it must not stay with it when another one leads.
#[test]
fn a_conversation_does_not_stay_with_a_node_that_leads_no_more() {
    let mut cluster = Cluster::start(3);
    for round in 0..3 {
        let leader = cluster.leader();
        let through = cluster.followers()[0];
        let follower = cluster.nodes[through].address.to_string();
        cluster.nodes[leader].kill();
        cluster.nodes[leader].start(&[]);
        let text = format!("message {round}");
        for arguments in [vec!["enqueue", "orders", text.as_str()], vec!["dequeue", "orders"]] {
            let output = run_at(&follower, &[arguments, vec!["--routing", "forward"]].concat());
            assert!(output.status.success(), "round {round}: {output:?}");
        }
        cluster.eventually_has_voters(3);
    }
}
