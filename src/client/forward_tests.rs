//! Leaders whose address the client cannot reach: the node that named them passes calls on.

use std::ops::Add as _;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpListener;
use tonic::Code;

use super::fake::{FakeNode, Step, World, asks_to_forward, cluster, start_at};
use super::tests::{client_of, fast, queue_length, text, until};
use super::*;

/// A name that never resolves (RFC 6761).
const UNKNOWN: &str = "nowhere.invalid:7400";

/// An address at which nobody listens.
async fn refusing() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

/// A node that follows the leader at `leader`.
async fn follower_of(leader: &str) -> (Vec<FakeNode>, Arc<Mutex<World>>) {
    let (nodes, world) = cluster(1).await;
    nodes[0].follows(leader);
    (nodes, world)
}

fn forwardings(events: &Mutex<Vec<Event>>) -> Vec<Event> {
    let is_forwarding = |event: &&Event| matches!(event, Event::Forwarding { .. });
    events.lock().unwrap().iter().filter(is_forwarding).cloned().collect()
}

#[tokio::test]
async fn calls_go_through_the_node_that_named_a_leader_out_of_reach() {
    for leader in [UNKNOWN.to_owned(), refusing().await] {
        let (nodes, world) = follower_of(&leader).await;
        world.lock().unwrap().log = (1..=3).map(|index| v1::LogEntry { index, ..Default::default() }).collect();
        let (client, events) = client_of(&nodes, Options::default());
        let bodies = (0..50).map(|number| text(&number.to_string()));
        for enqueued in join_all(bodies.map(|body| client.enqueue("jobs", vec![body]))).await {
            enqueued.unwrap();
        }
        assert!(client.dequeue("jobs", Duration::from_secs(1)).await.unwrap().is_some(), "a call of its own");
        assert_eq!(client.peek("jobs", 1).await.unwrap().value.len(), 1);
        assert_eq!(client.request_log(0, 1).next().await.unwrap().unwrap().entries.len(), 1);
        assert_eq!(queue_length(&world, "jobs"), 49);
        let forwardings = forwardings(&events);
        let [Event::Forwarding { leader: told, by, why }] = &forwardings[..] else { panic!("{forwardings:?}") };
        assert_eq!((told, by), (&leader, &nodes[0].address));
        let said = if leader == UNKNOWN { "lookup" } else { "refused" };
        assert!(why.contains(said), "{why}");
        let (forward, direct) = world.lock().unwrap().routings(0);
        assert!(forward >= 3 && direct <= 3, "{forward} calls asked for it, and {direct} did not");
    }
}

#[tokio::test]
async fn what_any_node_may_show_is_not_passed_on() {
    let (nodes, world) = follower_of(UNKNOWN).await;
    let (client, _) = client_of(&nodes, fast());
    client.enqueue("jobs", vec![text("one")]).await.unwrap();
    let (forward, _) = world.lock().unwrap().routings(0);
    // A node that follows refuses here what does not ask to be passed on, which is enough to see how it was asked.
    for consistency in [Consistency::Stale, Consistency::AnyNode] {
        client.reading(consistency).peek("jobs", 1).await.unwrap_err();
        assert_eq!(world.lock().unwrap().routings(0).0, forward, "{consistency:?}");
    }
}

#[tokio::test]
async fn without_forwarding_the_error_names_both() {
    let (nodes, world) = follower_of(UNKNOWN).await;
    let (client, events) = client_of(&nodes, Options { forwarding: Forwarding::Never, ..fast() });
    let error = client.peek("jobs", 1).await.unwrap_err();
    let Error::Unavailable { tried, in_doubt: false, .. } = &error else { panic!("{error:?}") };
    let addresses: Vec<_> = tried.iter().map(|(address, _)| address.as_str()).collect();
    assert!(addresses.contains(&UNKNOWN) && addresses.contains(&&*nodes[0].address), "{error}");
    assert_eq!((forwardings(&events), world.lock().unwrap().routings(0).0), (vec![], 0));
}

#[tokio::test]
async fn a_client_that_always_asks_follows_no_redirect() {
    let (nodes, world) = cluster(2).await;
    nodes[0].follows(&nodes[1].address);
    nodes[0].then([Step::NotLeader(nodes[1].address.clone())]);
    let (client, events) = client_of(&nodes[..1], Options { forwarding: Forwarding::Always, ..fast() });
    client.enqueue("jobs", vec![text("one")]).await.unwrap();
    client.close().await;
    assert_eq!(world.lock().unwrap().routings(1), (0, 0));
    assert_eq!(world.lock().unwrap().routings(0).1, 0);
    assert!(!events.lock().unwrap().iter().any(|event| matches!(event, Event::Redirected { .. })), "{events:?}");
}

/// Somebody listens there, and does not answer.
#[tokio::test]
async fn a_leader_that_is_slow_is_not_out_of_reach() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (nodes, world) = follower_of(&silent.local_addr().unwrap().to_string()).await;
    let (client, events) = client_of(&nodes, fast());
    client.peek("jobs", 1).await.unwrap_err();
    assert_eq!((forwardings(&events), world.lock().unwrap().routings(0).0), (vec![], 0));
}

/// Whoever was given the address can reach it; it is the node that is away.
#[tokio::test]
async fn a_given_address_that_refuses_is_that_of_a_dead_node() {
    let (mut nodes, world) = cluster(2).await;
    nodes[0].follows(&nodes[1].address);
    let (client, events) = client_of(&nodes, fast());
    drop(nodes.remove(1));
    client.peek("jobs", 1).await.unwrap_err();
    assert_eq!((forwardings(&events), world.lock().unwrap().routings(0).0), (vec![], 0));
}

/// Addresses that nobody can reach from here, learnt from the list of members, cost a call nothing but its first try.
#[tokio::test]
async fn addresses_out_of_reach_are_not_tried_over_and_over() {
    let (nodes, world) = follower_of(UNKNOWN).await;
    let hidden = |number: u8| v1::Member { client_address: format!("n{number}.invalid:1"), ..Default::default() };
    world.lock().unwrap().members.extend((0..3).map(hidden));
    let (client, events) = client_of(&nodes, Options::default());
    client.members().await.unwrap();
    // The node knows no leader, time and again, as while one is elected.
    nodes[0].then(vec![Step::Refuse(Code::Unavailable, reasons::NO_LEADER); 15]);
    let begin = Instant::now();
    client.enqueue("jobs", vec![text("one")]).await.unwrap();
    let failed = |event: &&Event| matches!(event, Event::Retrying { address, .. } if address.contains(".invalid"));
    let failed = events.lock().unwrap().iter().filter(failed).count();
    // At once, and after one, two more, four more seconds ...
    let tries_max = begin.elapsed().as_secs_f64().add(1.0).log2() as usize + 1;
    assert!(failed <= 3 * tries_max, "{failed} tries of three addresses in {:?}: {events:?}", begin.elapsed());
}

/// What was refused a moment ago may be there by now: the client finds that out by itself.
#[tokio::test]
async fn the_direct_way_is_tried_again() {
    let leader = refusing().await;
    let (nodes, world) = follower_of(&leader).await;
    let (client, events) = client_of(&nodes, Options::default());
    client.enqueue("jobs", vec![text("one")]).await.unwrap();
    assert_eq!(forwardings(&events).len(), 1);
    let _leader = start_at(&leader, 1, world.clone()).await;
    let mut asked = 0;
    while world.lock().unwrap().routings(1).1 == 0 {
        client.enqueue("jobs", vec![text("more")]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        asked += 1;
        assert!(asked < 500, "it never went there");
    }
}

/// Another leader, and its address is out of reach as well: the same node passes calls on, and the user is not told again.
#[tokio::test]
async fn a_change_of_leaders_is_told_no_second_time() {
    let (nodes, world) = follower_of(UNKNOWN).await;
    let (client, events) = client_of(&nodes, Options::default());
    client.enqueue("jobs", vec![text("one")]).await.unwrap();
    nodes[0].follows("elsewhere.invalid:7400");
    nodes[0].then([Step::EndNotLeader("elsewhere.invalid:7400".to_owned())]);
    for enqueued in join_all((0..20).map(|_| client.enqueue("jobs", vec![text("more")]))).await {
        enqueued.unwrap();
    }
    assert_eq!(queue_length(&world, "jobs"), 21);
    assert_eq!(forwardings(&events).len(), 1, "{events:?}");
}

/// The node has passed the request on, and the leader's answer was lost on the way.
#[tokio::test]
async fn an_answer_lost_behind_the_node_is_asked_for_again_in_a_session_only() {
    let (nodes, world) = follower_of(UNKNOWN).await;
    let (client, _) = client_of(&nodes, Options::default());
    client.enqueue("jobs", vec![text("one")]).await.unwrap();
    let lost = || Step::Refuse(Code::Unknown, reasons::OUTCOME_UNKNOWN);
    nodes[0].then([lost()]);
    client.enqueue("jobs", vec![text("two")]).await.unwrap();
    let sequences: Vec<_> = world.lock().unwrap().session_requests().iter().map(|(_, place)| place.sequence).collect();
    assert_eq!(sequences, [1, 2, 2]);
    nodes[0].then([lost()]);
    let error =
        client.execute_once(vec![outcome::enqueue("jobs", text("three").into(), Duration::ZERO)]).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
}

#[tokio::test]
async fn a_client_without_streams_asks_with_every_call() {
    let (nodes, world) = follower_of(UNKNOWN).await;
    let (client, _) = client_of(&nodes, Options { pipelined: false, ..Options::default() });
    for _ in 0..5 {
        client.enqueue("jobs", vec![text("one")]).await.unwrap();
    }
    until(|| world.lock().unwrap().routings(0).0 >= 6).await;
    assert!(asks_to_forward(&world.lock().unwrap().metadata.last().unwrap().1));
}
