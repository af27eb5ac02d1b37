//! The client against nodes that redirect, refuse, lose answers and die.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tonic::Code;

use super::fake::{CLUSTER, FakeNode, Step, World, cluster};
use super::*;

/// A client of the first `given` nodes, and what its observer was told.
pub(super) fn client_of(nodes: &[FakeNode], options: Options) -> (Client, Arc<Mutex<Vec<Event>>>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = events.clone();
    let observer: Observer = Arc::new(move |event: &Event| told.lock().unwrap().push(event.clone()));
    let endpoints = nodes.iter().map(|node| node.address.clone()).collect();
    let client = Client::new(endpoints, Options { observer: Some(observer), seed: Some(1), ..options });
    (client.expect("the addresses are good"), events)
}

/// Fast enough for tests: an attempt takes 300 ms at most.
pub(super) fn fast() -> Options {
    Options { timeout: Some(Duration::from_millis(900)), ..Options::default() }
}

pub(super) fn text(text: &str) -> Body {
    Body::Text(text.to_owned())
}

fn body_of(message: Option<v1::StoredMessage>) -> Option<Body> {
    message.and_then(|message| message.message).and_then(|message| message.body)
}

pub(super) fn queue_length(world: &Mutex<World>, queue: &str) -> usize {
    world.lock().unwrap().queues.get(queue).map_or(0, |queue| queue.len())
}

#[tokio::test]
async fn what_is_enqueued_comes_out_in_order() {
    let (nodes, _) = cluster(1).await;
    let (client, _) = client_of(&nodes, fast());
    let ids = client.enqueue("jobs", vec![text("one"), Body::Data(vec![0, 255].into())]).await.unwrap();
    assert_eq!(ids.iter().map(|id| id.item).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(client.peek("jobs", 10).await.unwrap().value.len(), 2);
    assert_eq!(body_of(client.dequeue("jobs", Duration::ZERO).await.unwrap()), Some(text("one")));
    let second = client.dequeue("jobs", Duration::ZERO).await.unwrap();
    assert_eq!(body_of(second), Some(Body::Data(vec![0, 255].into())));
    assert_eq!(client.dequeue("jobs", Duration::ZERO).await.unwrap(), None);
}

/// What the messages say that they belong to.
async fn traces_of(client: &Client) -> Vec<Option<(String, String)>> {
    let mut traces = Vec::new();
    while let Some(taken) = client.dequeue("jobs", Duration::ZERO).await.unwrap() {
        let headers = taken.message.unwrap().headers;
        let header = |name: &str| headers.get(name).cloned();
        traces.push(header("traceparent").map(|parent| (parent, header("tracestate").unwrap_or_default())));
    }
    traces
}

#[tokio::test]
async fn a_message_carries_the_trace_of_its_producer_unless_it_has_one() {
    use crate::telemetry::propagation::TraceHeaders;
    use opentelemetry::trace::FutureExt as _;
    let (nodes, _) = cluster(1).await;
    let (client, _) = client_of(&nodes, fast());
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned();
    let trace = TraceHeaders { traceparent: traceparent.clone(), tracestate: "vendor=x".to_owned() };
    let with =
        |headers: Vec<(String, String)>| Message { headers: headers.into_iter().collect(), ..text("one").into() };
    let own = vec![("traceparent".to_owned(), "mine".to_owned())];
    let full = (0..63).map(|number| (number.to_string(), String::new())).collect();
    let large = vec![("k".to_owned(), "v".repeat(16 * 1024 - 1))];
    let messages = vec![text("one").into(), with(own), with(full), with(large)];
    client.enqueue("jobs", vec![text("nobody's")]).await.unwrap();
    client.enqueue("jobs", messages).with_context(trace.context()).await.unwrap();
    let expected =
        [None, Some((traceparent, "vendor=x".to_owned())), Some(("mine".to_owned(), String::new())), None, None];
    assert_eq!(traces_of(&client).await, expected);
}

#[tokio::test]
async fn traces_never_make_a_request_too_large() {
    use crate::telemetry::propagation::TraceHeaders;
    use opentelemetry::trace::FutureExt as _;
    let (nodes, _) = cluster(1).await;
    let (client, _) = client_of(&nodes, fast());
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned();
    let trace = TraceHeaders { traceparent: traceparent.clone(), tracestate: "vendor=x".to_owned() };
    let bytes = |bytes: usize| Body::Data(vec![0; bytes].into());
    let traced = Some((traceparent, "vendor=x".to_owned()));
    let of_one = "traceparent".len() + 55 + "tracestate".len() + "vendor=x".len();
    // So much less than a full request, and what its messages then carry.
    let cases = [(0, [None, None, None]), (of_one - 1, [None, None, None]), (of_one, [traced.clone(), None, None])];
    for (less, expected) in cases {
        let messages = vec![bytes(1 << 20), bytes(1 << 20), bytes((1 << 20) - less)];
        client.enqueue("jobs", messages).with_context(trace.context()).await.unwrap();
        assert_eq!(traces_of(&client).await, expected, "{less} bytes less than a full request");
    }
}

#[tokio::test]
async fn a_redirect_is_followed_and_told() {
    let (nodes, world) = cluster(2).await;
    nodes[0].then([Step::NotLeader(nodes[1].address.clone())]);
    let (client, events) = client_of(&nodes[..1], fast());
    client.enqueue("jobs", vec![text("one")]).await.unwrap();
    let redirected =
        Event::Redirected { from: nodes[0].address.clone(), to: nodes[1].address.clone(), leader: "b".to_owned() };
    assert!(events.lock().unwrap().contains(&redirected), "{events:?}");
    // The client stays with the leader.
    client.enqueue("jobs", vec![text("two")]).await.unwrap();
    let asked: Vec<_> = world.lock().unwrap().requests.iter().map(|(node, _)| *node).collect();
    assert_eq!(asked, [0, 1, 1, 1]);
}

#[tokio::test]
async fn nodes_that_point_at_each_other_are_left_after_five_redirects() {
    let (nodes, world) = cluster(2).await;
    for _ in 0..10 {
        nodes[0].then([Step::NotLeader(nodes[1].address.clone())]);
        nodes[1].then([Step::NotLeader(nodes[0].address.clone())]);
    }
    let (client, _) = client_of(&nodes, Options::default());
    let error = client.peek("jobs", 1).await.unwrap_err();
    assert!(matches!(error, Error::TooManyRedirects { redirects: 5, in_doubt: false, .. }), "{error:?}");
    assert_eq!(world.lock().unwrap().requests.len(), 6);
}

#[tokio::test]
async fn a_node_that_names_itself_or_nobody_knows_no_leader() {
    let (nodes, world) = cluster(2).await;
    nodes[0].then([Step::NotLeader(nodes[0].address.clone()), Step::NotLeader(String::new())]);
    nodes[1].then([Step::Refuse(Code::Unavailable, reasons::NO_LEADER)]);
    let (client, events) = client_of(&nodes, fast());
    client.peek("jobs", 1).await.unwrap();
    let asked: Vec<_> = world.lock().unwrap().requests.iter().map(|(node, _)| *node).collect();
    assert_eq!(asked, [0, 1, 0, 1]);
    assert!(events.lock().unwrap().iter().all(|event| matches!(event, Event::Retrying { .. })));
}

#[tokio::test]
async fn a_cluster_without_a_leader_is_asked_until_the_deadline() {
    let (nodes, _) = cluster(1).await;
    nodes[0].then(vec![Step::Refuse(Code::Unavailable, reasons::NO_LEADER); 1000]);
    let (client, _) = client_of(&nodes, Options { timeout: Some(Duration::from_millis(300)), ..Options::default() });
    let begin = Instant::now();
    let error = client.enqueue("jobs", vec![text("one")]).await.unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(2));
    let Error::Unavailable { tried, in_doubt: false, after: Some(_) } = &error else { panic!("{error:?}") };
    assert_eq!(tried[0], (nodes[0].address.clone(), "refused: NO_LEADER".to_owned()));
}

/// Any pause would be longer than the call may take.
#[tokio::test]
async fn who_leads_after_the_leader_died_is_looked_for_without_a_pause() {
    let (mut nodes, world) = cluster(3).await;
    let hour = Duration::from_secs(3600);
    let (client, events) = client_of(&nodes, Options { pause_min: hour, pause_max: hour, ..Options::default() });
    client.enqueue("jobs", vec![text("one")]).await.unwrap();
    nodes.remove(0);
    nodes[0].then([Step::NotLeader(nodes[1].address.clone())]);
    client.enqueue("jobs", vec![text("two")]).await.unwrap();
    let asked: Vec<_> = world.lock().unwrap().requests.iter().map(|(node, _)| *node).collect();
    assert_eq!(asked, [0, 0, 1, 2], "{events:?}");
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_under_the_same_sequence() {
    for lose in [Step::LoseAnswer, Step::Hang] {
        let (nodes, world) = cluster(2).await;
        let (client, _) = client_of(&nodes, fast());
        client.enqueue("jobs", vec![text("one")]).await.unwrap();
        nodes[0].then([lose.clone()]);
        client.enqueue("jobs", vec![text("two")]).await.unwrap();
        assert_eq!(queue_length(&world, "jobs"), 2, "the retried enqueue took effect once");

        // The client went on to the second node.
        nodes[1].then([lose]);
        assert_eq!(body_of(client.dequeue("jobs", Duration::ZERO).await.unwrap()), Some(text("one")));
        assert_eq!(queue_length(&world, "jobs"), 1, "the retried dequeue took effect once");
        let sequences: Vec<_> =
            world.lock().unwrap().session_requests().iter().map(|(node, place)| (*node, place.sequence)).collect();
        assert_eq!(sequences, [(0, 1), (0, 2), (1, 2), (1, 3), (0, 3)]);
    }
}

#[tokio::test]
async fn a_silent_node_does_not_use_up_the_deadline() {
    let (nodes, _) = cluster(2).await;
    nodes[0].then(vec![Step::Ignore; 10]);
    let (client, events) = client_of(&nodes, fast());
    client.enqueue("jobs", vec![text("one")]).await.unwrap();
    let why = "no answer in 0.3 s".to_owned();
    assert_eq!(events.lock().unwrap()[0], Event::Retrying { address: nodes[0].address.clone(), why });
}

/// Its machine is away: not even the first packet of a connection is answered.
#[tokio::test]
async fn an_address_that_cannot_be_connected_is_left_soon() {
    let (nodes, _) = cluster(1).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let away = socket.local_addr().unwrap();
    // With the queue of those who are to be accepted full, others get no answer.
    let _full = socket.listen(0).unwrap();
    let _fills = tokio::net::TcpStream::connect(away).await.unwrap();
    let endpoints = vec![away.to_string(), nodes[0].address.clone()];
    let client = Client::new(endpoints, Options { timeout: Some(Duration::from_secs(60)), ..Options::default() });
    let began = Instant::now();
    client.unwrap().enqueue("jobs", vec![text("one")]).await.unwrap();
    let took = began.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(10)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn leadership_lost_after_proposing_is_no_reason_to_give_up_with_a_session() {
    let (nodes, world) = cluster(1).await;
    let (client, _) = client_of(&nodes, fast());
    client.enqueue("jobs", vec![text("one")]).await.unwrap();
    nodes[0].then([Step::Refuse(Code::Unavailable, reasons::OUTCOME_UNKNOWN)]);
    client.enqueue("jobs", vec![text("two")]).await.unwrap();
    assert_eq!(queue_length(&world, "jobs"), 2);
}

#[tokio::test]
async fn an_aborted_request_is_never_repeated_unless_it_does_no_harm() {
    let (nodes, world) = cluster(1).await;
    let (client, _) = client_of(&nodes, fast());
    let aborted = Step::Refuse(Code::Aborted, reasons::OUTCOME_UNKNOWN);
    nodes[0].then([aborted.clone()]);
    let error =
        client.execute_once(vec![outcome::enqueue("jobs", text("one").into(), Duration::ZERO)]).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
    assert_eq!(world.lock().unwrap().requests.len(), 1);

    // Opening a session: the one that nobody knows of expires.
    nodes[0].then([aborted.clone()]);
    client.enqueue("jobs", vec![text("one")]).await.unwrap();

    // Not what a node answers to a request with a session; if one does, it has a reason.
    nodes[0].then([aborted]);
    let error = client.enqueue("jobs", vec![text("two")]).await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
    assert_eq!(queue_length(&world, "jobs"), 1);
}

#[tokio::test]
async fn a_request_sent_once_is_not_sent_elsewhere() {
    let (nodes, world) = cluster(2).await;
    nodes[0].then([Step::NotLeader(nodes[1].address.clone())]);
    let (client, _) = client_of(&nodes, fast());
    let error =
        client.execute_once(vec![outcome::enqueue("jobs", text("one").into(), Duration::ZERO)]).await.unwrap_err();
    let Error::Refused(refused) = error else { panic!("{error:?}") };
    assert_eq!(refused.reason, reasons::NOT_LEADER);
    assert_eq!(refused.metadata[reasons::LEADER_ADDRESS], nodes[1].address);
    assert_eq!(world.lock().unwrap().requests.len(), 1);
}

#[tokio::test]
async fn a_session_that_expired_before_the_request_was_sent_is_replaced() {
    let (nodes, world) = cluster(1).await;
    let (client, events) = client_of(&nodes, fast());
    client.enqueue("jobs", vec![text("one")]).await.unwrap();
    nodes[0].then([Step::ExpireSession]);
    client.enqueue("jobs", vec![text("two")]).await.unwrap();
    assert_eq!(queue_length(&world, "jobs"), 2);
    assert!(events.lock().unwrap().contains(&Event::SessionReplaced { session: 1 }), "{events:?}");
}

#[tokio::test]
async fn a_session_that_expired_while_a_request_was_in_doubt_is_an_error() {
    let (nodes, world) = cluster(1).await;
    let (client, _) = client_of(&nodes, fast());
    client.enqueue("jobs", vec![text("one")]).await.unwrap();
    nodes[0].then([Step::ExpireSessionAndLoseAnswer]);
    let error = client.enqueue("jobs", vec![text("two")]).await.unwrap_err();
    assert!(matches!(error, Error::SessionExpired { session: 1 }), "{error:?}");
    assert_eq!(queue_length(&world, "jobs"), 1);
    client.enqueue("jobs", vec![text("three")]).await.expect("the next call opens another session");
}

#[tokio::test]
async fn sessions_that_never_last_end_the_call() {
    let (nodes, _) = cluster(1).await;
    for _ in 0..3 {
        nodes[0].then([Step::Serve, Step::ExpireSession]);
    }
    let (client, _) = client_of(&nodes, fast());
    let error = client.enqueue("jobs", vec![text("one")]).await.unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
}

#[tokio::test]
async fn a_node_that_is_overloaded_is_asked_again_after_the_time_it_names() {
    let (nodes, world) = cluster(2).await;
    let (client, _) = client_of(&nodes, fast());
    client.enqueue("jobs", vec![text("one")]).await.unwrap();
    nodes[0].then([Step::RefuseFor(Code::ResourceExhausted, reasons::OVERLOADED, Duration::from_millis(100))]);
    let begin = Instant::now();
    client.enqueue("jobs", vec![text("two")]).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(100));
    let places = world.lock().unwrap().session_requests();
    assert_eq!(
        places.iter().map(|(node, place)| (*node, place.sequence)).collect::<Vec<_>>(),
        [(0, 1), (0, 2), (0, 2)]
    );
}

#[tokio::test]
async fn a_no_is_final() {
    let (nodes, world) = cluster(2).await;
    let (client, _) = client_of(&nodes, fast());
    client.enqueue("jobs", vec![text("one")]).await.unwrap();
    nodes[0].then([Step::Refuse(Code::ResourceExhausted, reasons::QUEUE_FULL)]);
    let error = client.enqueue("jobs", vec![text("two")]).await.unwrap_err();
    assert!(matches!(&error, Error::Refused(refused) if refused.reason == reasons::QUEUE_FULL), "{error:?}");
    assert_eq!(world.lock().unwrap().session_requests().len(), 2);
}

#[tokio::test]
async fn the_client_survives_the_death_of_every_node_it_was_given() {
    let (mut nodes, world) = cluster(3).await;
    let (client, _) = client_of(&nodes[..1], fast());
    client.enqueue("jobs", vec![text("one")]).await.unwrap();
    until(|| client.shared.endpoints.known() == 3).await;
    nodes.remove(0);
    client.enqueue("jobs", vec![text("two")]).await.unwrap();
    assert_eq!(queue_length(&world, "jobs"), 2);
}

#[tokio::test]
async fn dead_endpoints_are_named_with_the_reason() {
    let (mut nodes, _) = cluster(2).await;
    let (client, _) = client_of(&nodes, fast());
    nodes.clear();
    let Err(Error::Unavailable { tried, in_doubt: false, .. }) = client.enqueue("jobs", vec![text("one")]).await else {
        panic!("nobody is there")
    };
    assert_eq!(tried.len(), 2);
    assert!(tried.iter().all(|(_, why)| why == "connection refused"), "{tried:?}");
}

#[tokio::test]
async fn a_waiting_dequeue_is_sent_again_with_the_time_that_is_left() {
    let (nodes, world) = cluster(2).await;
    let (client, _) = client_of(&nodes, fast());
    client.dequeue("jobs", Duration::from_millis(1)).await.unwrap();
    nodes[0].then([Step::RefuseFor(Code::ResourceExhausted, reasons::OVERLOADED, Duration::from_millis(200))]);
    client.dequeue("jobs", Duration::from_secs(5)).await.unwrap();
    let waits: Vec<_> =
        world.lock().unwrap().requests.iter().map(|(_, request)| outcome::wait_of(&request.operations)).collect();
    let [.., first, second] = waits[..] else { panic!("{waits:?}") };
    assert!(first > Duration::from_millis(4900) && first <= Duration::from_secs(5), "{first:?}");
    assert!(second > Duration::ZERO && second <= first - Duration::from_millis(200), "{second:?}");
}

#[tokio::test]
async fn endless_times_are_cut() {
    let (nodes, _) = cluster(1).await;
    let (client, _) = client_of(&nodes, Options { timeout: Some(Duration::MAX), ..Options::default() });
    client.enqueue("jobs", vec![text("one"), text("two")]).await.unwrap();
    assert!(client.dequeue("jobs", Duration::MAX).await.unwrap().is_some());
    assert!(client.execute(vec![outcome::dequeue("jobs", Duration::from_secs(i64::MAX as u64))]).await.is_ok());
}

#[tokio::test]
async fn a_call_given_up_frees_its_place() {
    let (nodes, world) = cluster(1).await;
    let (client, _) = client_of(&nodes, fast());
    client.enqueue("jobs", vec![text("one")]).await.unwrap();
    nodes[0].then([Step::Ignore]);
    let given_up = tokio::time::timeout(Duration::from_millis(100), client.enqueue("jobs", vec![text("two")])).await;
    assert!(given_up.is_err());
    client.enqueue("jobs", vec![text("three")]).await.unwrap();
    let (_, last) = world.lock().unwrap().session_requests().pop().unwrap();
    let cluster_id = CLUSTER.to_owned();
    assert_eq!(last, v1::SessionRequest { id: 1, sequence: 3, lowest_pending: 3, cluster_id });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_share_one_client() {
    let (nodes, world) = cluster(2).await;
    for _ in 0..20 {
        nodes[0].then([Step::Serve, Step::LoseAnswer, Step::Refuse(Code::Unavailable, reasons::NO_LEADER)]);
        nodes[1].then([Step::LoseAnswer, Step::Serve]);
    }
    let (client, _) = client_of(&nodes, Options::default());
    let tasks = (0..50).map(|number| {
        let client = client.clone();
        tokio::spawn(async move { client.enqueue("jobs", vec![text(&number.to_string())]).await })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap().unwrap();
    }
    assert_eq!(queue_length(&world, "jobs"), 50);
    let mut sequences: Vec<_> =
        world.lock().unwrap().session_requests().iter().map(|(_, place)| place.sequence).collect();
    sequences.sort_unstable();
    sequences.dedup();
    assert_eq!(sequences, (1..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn queues_are_listed_over_pages() {
    let (nodes, _) = cluster(1).await;
    let (client, _) = client_of(&nodes, fast());
    for queue in ["c", "a", "b"] {
        client.enqueue(queue, vec![text("one")]).await.unwrap();
    }
    let names: Vec<_> = client.queues().await.unwrap().value.into_iter().map(|queue| queue.name).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

/// Streams that end, also for another leader's sake, are taken up after the last entry.
#[tokio::test]
async fn a_log_that_is_followed_goes_on() {
    let (nodes, world) = cluster(2).await;
    let entries =
        |range: std::ops::RangeInclusive<u64>| range.map(|index| v1::LogEntry { index, ..Default::default() });
    world.lock().unwrap().log = entries(1..=3).collect();
    let client = Client::new(vec![nodes[0].address.clone()], Options::default()).unwrap();
    let mut pages = client.request_log(0, 0).follow();
    let mut seen = Vec::new();
    for last in [2, 3, 5, 6] {
        seen.extend(pages.next().await.unwrap().unwrap().entries.iter().map(|entry| entry.index));
        assert_eq!(seen.last(), Some(&last));
        if last == 3 {
            world.lock().unwrap().log.extend(entries(4..=6));
            nodes[0].then([Step::NotLeader(nodes[1].address.clone())]);
        }
    }
    assert_eq!(seen, [1, 2, 3, 4, 5, 6]);
    assert!(nodes[0].script.lock().unwrap().is_empty(), "the leader has changed in between");
    // A node that answers again and again with nothing at all is no node that can be followed.
    assert!(matches!(pages.next().await, Err(Error::Malformed { .. })));
}

#[tokio::test]
async fn the_log_goes_on_after_a_broken_page() {
    let (nodes, world) = cluster(2).await;
    world.lock().unwrap().log = (1..=7).map(|index| v1::LogEntry { index, ..Default::default() }).collect();
    nodes[0].then([Step::NotLeader(nodes[1].address.clone())]);
    nodes[1].then([Step::LoseAnswer]);
    let (client, _) = client_of(&nodes, fast());
    let mut pages = client.request_log(2, 5);
    let mut indexes = Vec::new();
    while let Some(page) = pages.next().await.unwrap() {
        indexes.extend(page.entries.iter().map(|entry| entry.index));
    }
    assert_eq!(indexes, [2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn membership_changes_wait_for_the_one_in_progress_and_may_be_repeated() {
    let (nodes, _) = cluster(3).await;
    let (client, _) = client_of(&nodes[..1], fast());
    nodes[0].then([Step::NotLeader(nodes[1].address.clone())]);
    nodes[1].then([
        Step::RefuseFor(Code::FailedPrecondition, reasons::CHANGE_IN_PROGRESS, Duration::from_millis(20)),
        Step::LoseAnswer,
    ]);
    let removed = client.remove_members(&["c"]).await.expect("removed by the sending whose answer was lost");
    assert_eq!(removed.members.len(), 2);
    let error = client.remove_members(&["c"]).await.unwrap_err();
    assert!(matches!(&error, Error::Refused(refused) if refused.reason == reasons::MEMBER_NOT_FOUND), "{error:?}");
}

#[tokio::test]
async fn a_change_that_stays_impossible_is_refused_at_the_deadline() {
    let (nodes, _) = cluster(1).await;
    let (client, _) = client_of(&nodes, fast());
    let step = Step::RefuseFor(Code::FailedPrecondition, reasons::CHANGE_IN_PROGRESS, Duration::from_millis(100));
    nodes[0].then(vec![step; 100]);
    let error = client.promote_member("a").await.unwrap_err();
    assert!(matches!(&error, Error::Refused(refused) if refused.reason == reasons::CHANGE_IN_PROGRESS), "{error:?}");
}

#[tokio::test]
async fn closing_closes_every_session() {
    let (nodes, world) = cluster(1).await;
    let (client, _) = client_of(&nodes, fast());
    client.enqueue("jobs", vec![text("one")]).await.unwrap();
    client.dequeue("jobs", Duration::from_secs(1)).await.unwrap();
    assert_eq!(world.lock().unwrap().open_sessions(), 2);
    client.close().await;
    assert_eq!(world.lock().unwrap().open_sessions(), 0);
    client.enqueue("jobs", vec![text("two")]).await.expect("a later call opens another");
}

pub(super) async fn until(condition: impl Fn() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the condition never came true");
}

/// A client without a limit of its own, and what its observer was told.
fn patient(nodes: &[FakeNode]) -> (Client, Arc<Mutex<Vec<Event>>>) {
    client_of(nodes, Options { timeout: None, ..Options::default() })
}

#[tokio::test]
async fn a_client_is_as_patient_as_the_nodes_say() {
    let (nodes, _) = cluster(2).await;
    *nodes[0].request_time.lock().unwrap() = Some(Duration::from_secs(20));
    let (client, _) = patient(&nodes);
    assert_eq!(client.shared.patience.told(), None);
    client.enqueue("jobs", vec![text("one")]).await.unwrap();
    assert_eq!(client.shared.patience.total().as_secs(), 120);

    // A refusal tells it as well.
    *nodes[0].request_time.lock().unwrap() = Some(Duration::from_millis(30_500));
    nodes[0].then([Step::NotLeader(nodes[1].address.clone())]);
    client.enqueue("jobs", vec![text("two")]).await.unwrap();
    assert_eq!(client.shared.patience.told(), Some(Duration::from_millis(30_500)));
}

#[tokio::test]
async fn whoever_observes_hears_of_a_call_that_takes_long() {
    let (nodes, _) = cluster(1).await;
    *nodes[0].request_time.lock().unwrap() = Some(Duration::from_secs(2));
    let (client, events) = patient(&nodes);
    client.enqueue("jobs", vec![text("one")]).await.unwrap();
    nodes[0].then([Step::Ignore]);
    client.enqueue("jobs", vec![text("two")]).await.unwrap();
    let told = events.lock().unwrap().iter().find(|event| matches!(event, Event::Waiting { .. })).map(Event::to_string);
    let words = format!("waiting for {}: 3 s of at most 12 s; a request can take 2.0 s now", nodes[0].address);
    assert_eq!(told, Some(words), "it is asked again after 4 s");
}
