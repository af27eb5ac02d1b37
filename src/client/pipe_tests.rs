//! Many calls on one stream: answers in any order, streams that break or end, and callers that go away.

use std::time::Duration;

use futures_util::future::join_all;
use tonic::Code;

use super::fake::{Step, World, cluster};
use super::tests::{client_of, fast, queue_length, text, until};
use super::*;

/// Enqueues the numbers from 0, all at once. Returns the ids of the messages by number.
async fn enqueue_together(client: &Client, count: usize) -> Vec<Result<Vec<v1::MessageId>, Error>> {
    join_all((0..count).map(|number| async move { client.enqueue("jobs", vec![text(&number.to_string())]).await }))
        .await
}

/// The places that requests with a session had, in the order in which nodes got them: node and sequence.
fn places(world: &Mutex<World>) -> Vec<(usize, u64)> {
    let requests = world.lock().unwrap().session_requests();
    requests.into_iter().map(|(node, place)| (node, place.sequence)).collect()
}

#[tokio::test]
async fn what_is_asked_together_is_sent_together() {
    let (nodes, world) = cluster(1).await;
    let (client, _) = client_of(&nodes, fast());
    client.enqueue("jobs", vec![text("first")]).await.unwrap();
    let before = world.lock().unwrap().frames.len();
    for enqueued in enqueue_together(&client, 500).await {
        enqueued.unwrap();
    }
    let frames = world.lock().unwrap().frames[before..].to_vec();
    assert_eq!(frames.iter().sum::<usize>(), 500);
    assert!(frames.len() < 50, "500 requests came in {} frames: {frames:?}", frames.len());
    assert_eq!(queue_length(&world, "jobs"), 501);
}

#[tokio::test]
async fn a_frame_has_a_bound_in_bytes_and_what_is_larger_goes_alone() {
    let (nodes, world) = cluster(1).await;
    let (client, _) = client_of(&nodes, Options::default());
    client.enqueue("jobs", vec![text("first")]).await.unwrap();
    let before = world.lock().unwrap().frames.len();
    let large = "x".repeat(600_000);
    let enqueued = join_all((0..6).map(|_| client.enqueue("jobs", vec![text(&large)]))).await;
    assert!(enqueued.iter().all(Result::is_ok), "{enqueued:?}");
    let frames = world.lock().unwrap().frames[before..].to_vec();
    assert!(frames.iter().all(|requests| *requests <= 2), "{frames:?}");

    client.enqueue("jobs", vec![text(&large), text(&large)]).await.unwrap();
    assert_eq!(world.lock().unwrap().frames[before..].iter().sum::<usize>(), 6, "1.2 MB are no part of a frame");
    assert_eq!(queue_length(&world, "jobs"), 9);
}

#[tokio::test]
async fn answers_may_come_in_any_order() {
    let (nodes, world) = cluster(1).await;
    let (client, _) = client_of(&nodes, fast());
    client.enqueue("jobs", vec![text("first")]).await.unwrap();
    nodes[0].then([Step::AnswerAfterNext, Step::Serve, Step::AnswerAfterNext]);
    let enqueued = enqueue_together(&client, 8).await;
    let world = world.lock().unwrap();
    for (number, ids) in enqueued.into_iter().enumerate() {
        let id = ids.unwrap()[0];
        let stored = world.queues["jobs"].iter().find(|stored| stored.id == Some(id)).unwrap();
        assert_eq!(
            stored.message.as_ref().unwrap().body,
            Some(text(&number.to_string())),
            "each call got its own answer"
        );
    }
}

#[tokio::test]
async fn a_stream_that_breaks_loses_nothing_and_doubles_nothing() {
    let (nodes, world) = cluster(2).await;
    let (client, _) = client_of(&nodes, Options::default());
    client.enqueue("jobs", vec![text("first")]).await.unwrap();
    // The third request is executed and breaks the stream, so that its answer is lost, and what follows is not read.
    nodes[0].then([Step::Serve, Step::AnswerAfterNext, Step::LoseAnswer]);
    for enqueued in enqueue_together(&client, 20).await {
        enqueued.unwrap();
    }
    assert_eq!(queue_length(&world, "jobs"), 21);
    let mut sequences: Vec<_> = places(&world).into_iter().map(|(_, sequence)| sequence).collect();
    assert!(sequences.len() > 21, "some were sent twice: {sequences:?}");
    sequences.sort_unstable();
    sequences.dedup();
    assert_eq!(sequences, (1..=21).collect::<Vec<_>>(), "each under the sequence that it had");
}

#[tokio::test]
async fn the_end_of_a_stream_redirects_everything_that_is_under_way() {
    let (nodes, world) = cluster(2).await;
    let (client, events) = client_of(&nodes, fast());
    client.enqueue("jobs", vec![text("first")]).await.unwrap();
    nodes[0].then([Step::EndNotLeader(nodes[1].address.clone())]);
    // A call that was in doubt would end with an error that says so.
    nodes[1].then([Step::Refuse(Code::ResourceExhausted, reasons::QUEUE_FULL)]);
    let enqueued = enqueue_together(&client, 10).await;
    let refused: Vec<_> = enqueued.into_iter().filter_map(Result::err).collect();
    let [Error::Refused(refused)] = &refused[..] else { panic!("{refused:?}") };
    assert!(!refused.in_doubt, "a node that names the leader has not taken what it did not answer");
    assert_eq!(places(&world).iter().filter(|(node, _)| *node == 1).count(), 10);
    let events = events.lock().unwrap();
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Redirected { .. })).count(), 10, "{events:?}");
}

#[tokio::test]
async fn a_refusal_is_that_of_its_call_alone() {
    let (nodes, world) = cluster(1).await;
    let (client, _) = client_of(&nodes, fast());
    client.enqueue("jobs", vec![text("first")]).await.unwrap();
    nodes[0].then([Step::Serve, Step::Refuse(Code::ResourceExhausted, reasons::QUEUE_FULL)]);
    let enqueued = enqueue_together(&client, 5).await;
    assert_eq!(enqueued.iter().filter(|enqueued| enqueued.is_err()).count(), 1, "{enqueued:?}");
    assert_eq!(places(&world).len(), 6, "nothing was sent again");
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_stream_as_it_is() {
    let (nodes, world) = cluster(1).await;
    let (client, events) = client_of(&nodes, Options::default());
    client.enqueue("jobs", vec![text("first")]).await.unwrap();
    nodes[0].then([Step::Ignore]);
    let gone = tokio::time::timeout(Duration::from_millis(50), client.enqueue("jobs", vec![text("gone")])).await;
    assert!(gone.is_err(), "nobody answers");
    for enqueued in enqueue_together(&client, 5).await {
        enqueued.unwrap();
    }
    assert_eq!(queue_length(&world, "jobs"), 6);
    let events = events.lock().unwrap();
    assert!(!events.iter().any(|event| matches!(event, Event::Retrying { .. })), "{events:?}");
}

#[tokio::test]
async fn a_stream_on_which_a_node_falls_silent_is_closed() {
    let (nodes, world) = cluster(2).await;
    let (client, _) = client_of(&nodes, fast());
    client.enqueue("jobs", vec![text("first")]).await.unwrap();
    nodes[0].then(vec![Step::Hang; 5]);
    for enqueued in enqueue_together(&client, 5).await {
        enqueued.unwrap();
    }
    assert_eq!(queue_length(&world, "jobs"), 6, "what was executed without an answer was not executed again");
    until(|| world.lock().unwrap().open_streams == 1).await;
}

#[tokio::test]
async fn without_pipelining_every_request_is_a_call() {
    let (nodes, world) = cluster(2).await;
    nodes[0].then([Step::Serve, Step::Serve, Step::LoseAnswer]);
    let (client, _) = client_of(&nodes, Options { pipelined: false, ..Options::default() });
    for enqueued in enqueue_together(&client, 20).await {
        enqueued.unwrap();
    }
    assert!(client.dequeue("jobs", Duration::ZERO).await.unwrap().is_some());
    assert_eq!(queue_length(&world, "jobs"), 19);
    assert!(world.lock().unwrap().frames.is_empty(), "there was no stream");
}

#[tokio::test]
async fn a_request_that_waits_or_is_never_repeated_is_a_call_of_its_own() {
    let (nodes, world) = cluster(1).await;
    let (client, _) = client_of(&nodes, fast());
    client.execute_once(vec![outcome::enqueue("jobs", text("one").into(), Duration::ZERO)]).await.unwrap();
    assert!(world.lock().unwrap().frames.is_empty());
    client.dequeue("jobs", Duration::from_secs(1)).await.unwrap();
    let opened = world.lock().unwrap().frames.clone();
    assert_eq!(opened, [1], "only the session was opened on the stream");
}

#[tokio::test]
async fn a_thousand_calls_and_more_are_under_way_at_once() {
    let (nodes, world) = cluster(1).await;
    let (client, events) = client_of(&nodes, Options::default());
    for enqueued in enqueue_together(&client, 3_000).await {
        enqueued.unwrap();
    }
    assert_eq!(queue_length(&world, "jobs"), 3_000);
    let events = events.lock().unwrap();
    assert!(!events.iter().any(|event| matches!(event, Event::Retrying { .. })), "{events:?}");
}

#[tokio::test]
async fn a_client_that_is_dropped_ends_its_stream() {
    let (nodes, world) = cluster(1).await;
    let (client, _) = client_of(&nodes, fast());
    client.enqueue("jobs", vec![text("first")]).await.unwrap();
    assert_eq!(world.lock().unwrap().open_streams, 1);
    drop(client);
    until(|| world.lock().unwrap().open_streams == 0).await;
}

#[tokio::test]
async fn many_calls_bear_it_that_a_node_still_names_a_leader_that_is_dead() {
    let (mut nodes, world) = cluster(3).await;
    let (client, _) = client_of(&nodes, Options::default());
    client.enqueue("jobs", vec![text("first")]).await.unwrap();
    let dead = nodes.remove(0).address.clone();
    // As long as an election takes, for 50 calls.
    for node in &nodes {
        node.then(vec![Step::NotLeader(dead.clone()); 400]);
    }
    for enqueued in enqueue_together(&client, 50).await {
        enqueued.unwrap();
    }
    assert_eq!(queue_length(&world, "jobs"), 51);
}
