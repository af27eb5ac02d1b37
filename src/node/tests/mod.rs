//! Whole nodes in this process, on ports that the system chose, asked through their front door: gRPC.

mod dashboard;
mod forward;
mod health;
mod hung_disk;
mod inside;
mod log;
mod members;
mod metrics;
mod stream;
mod waiting;

use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{Error, Phase, Running, start};
use crate::config::{Address, NodeConfig};
use crate::ids::SHARD_0;
use crate::proto::v1;
use crate::proto::v1::cluster_client::ClusterClient;
use crate::proto::v1::operation::Operation as Verb;
use crate::proto::v1::outcome::Outcome as Kind;
use crate::proto::v1::quorate_client::QuorateClient;
use crate::reasons;
use crate::replica::Refusal;
use crate::telemetry::Telemetry;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Fixed time-outs of so long, or twice as long.
fn set_timeouts(config: &mut NodeConfig, election_min: Duration) {
    config.raft.election_timeout_min = Some(election_min);
    config.raft.election_timeout_max = Some(election_min * 2);
    config.raft.heartbeat_interval = Some(Duration::from_millis(100));
}

fn config(name: &str, directory: &Path, join: &[&Running]) -> NodeConfig {
    let mut config = NodeConfig::default();
    config.node.name = name.to_owned();
    config.node.data_dir = directory.join(name);
    config.client.listen = Address { host: "127.0.0.1".to_owned(), port: 0 };
    config.cluster.join = join.iter().map(|member| member.client_address.to_string().parse().unwrap()).collect();
    config.storage.segment_bytes = 1 << 20;
    config
}

/// Starts a node and waits until it belongs to a cluster.
async fn start_node(config: NodeConfig) -> Running {
    let running = start(config, Telemetry::default()).await.expect("the node starts");
    let mut phase = running.phase();
    tokio::time::timeout(PATIENCE, phase.wait_for(|phase| *phase == Phase::Serving)).await.unwrap().unwrap();
    running
}

/// A cluster of one that can be asked.
async fn start_alone(directory: &Path) -> Running {
    let running = start_node(config("a", directory, &[])).await;
    eventually("the only node to lead", async || execute(&running, vec![list()]).await.ok()).await;
    running
}

async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

async fn quorate(node: &Running) -> QuorateClient<Channel> {
    QuorateClient::connect(format!("http://{}", node.client_address)).await.expect("the node listens")
}

async fn cluster(node: &Running) -> ClusterClient<Channel> {
    ClusterClient::connect(format!("http://{}", node.client_address)).await.expect("the node listens")
}

fn operation(verb: Verb) -> v1::Operation {
    v1::Operation { operation: Some(verb) }
}

fn enqueue(queue: &str, text: &str) -> v1::Operation {
    let message = Some(v1::message::Body::Text(text.to_owned()).into());
    operation(Verb::Enqueue(v1::Enqueue { queue: queue.to_owned(), message, delay: None }))
}

fn dequeue(queue: &str, wait: Duration) -> v1::Operation {
    let wait = (!wait.is_zero()).then(|| wait.try_into().unwrap());
    operation(Verb::Dequeue(v1::Dequeue { queue: queue.to_owned(), wait }))
}

fn list() -> v1::Operation {
    operation(Verb::ListQueues(v1::ListQueues::default()))
}

async fn execute(node: &Running, operations: Vec<v1::Operation>) -> Result<v1::ExecuteResponse, Status> {
    let request = v1::ExecuteRequest { shard: 0, session: None, operations, ..Default::default() };
    quorate(node).await.execute(request).await.map(tonic::Response::into_inner)
}

/// What a dequeue brought.
fn text(response: &v1::ExecuteResponse) -> Option<&str> {
    match response.outcomes[0].outcome.as_ref()? {
        Kind::Dequeued(dequeued) => match dequeued.message.as_ref()?.message.as_ref()?.body.as_ref()? {
            v1::message::Body::Text(text) => Some(text),
            v1::message::Body::Data(_) => None,
        },
        other => panic!("not the outcome of a dequeue: {other:?}"),
    }
}

fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, reasons::DOMAIN);
    assert!(info.metadata.contains_key(reasons::NODE_ID), "a refusal says who refuses: {info:?}");
    info.reason
}

async fn statuses(node: &Running) -> Vec<v1::NodeStatus> {
    cluster(node).await.status(v1::StatusRequest {}).await.expect("any node answers").into_inner().nodes
}

/// A client that waited for a message of `q` has gone, and takes none. The node hears of it in its own time.
async fn check_that_nobody_waits(node: &Running) {
    tokio::time::sleep(Duration::from_millis(200)).await;
    execute(node, vec![enqueue("q", "for the next one")]).await.unwrap();
    let next = execute(node, vec![dequeue("q", Duration::ZERO)]).await.unwrap();
    assert_eq!(text(&next), Some("for the next one"));
}

#[tokio::test]
async fn messages_come_out_in_the_order_in_which_they_went_in() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let response = execute(&node, vec![enqueue("q", "one"), enqueue("q", "two")]).await.unwrap();
    let header = response.header.unwrap();
    assert_eq!(header.node_id, node.handle.node().to_string());
    assert_eq!(header.cluster_id, node.handle.cluster().unwrap().to_string());
    assert_eq!((header.shard, header.term), (0, 2));
    assert!(header.index > 2, "it is decided by an entry of its own: {header:?}");

    for expected in [Some("one"), Some("two"), None] {
        let response = execute(&node, vec![dequeue("q", Duration::ZERO)]).await.unwrap();
        assert_eq!(text(&response), expected);
    }
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_request_that_is_repeated_in_its_session_takes_effect_once() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let open = execute(&node, vec![operation(Verb::OpenSession(v1::OpenSession {}))]).await.unwrap();
    let Some(Kind::SessionOpened(session)) = &open.outcomes[0].outcome else { panic!("{open:?}") };
    let session =
        Some(v1::SessionRequest { id: session.id, sequence: 1, lowest_pending: 1, cluster_id: String::new() });
    let request =
        v1::ExecuteRequest { shard: 0, session, operations: vec![enqueue("q", "once")], ..Default::default() };
    let mut client = quorate(&node).await;
    let first = client.execute(request.clone()).await.unwrap().into_inner();
    let again = client.execute(request).await.unwrap().into_inner();
    assert!(!first.replayed && again.replayed);
    assert_eq!(first.outcomes, again.outcomes);

    assert_eq!(text(&execute(&node, vec![dequeue("q", Duration::ZERO)]).await.unwrap()), Some("once"));
    assert_eq!(text(&execute(&node, vec![dequeue("q", Duration::ZERO)]).await.unwrap()), None);
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_session_of_another_cluster_is_unknown_here_whatever_its_id() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let open = execute(&node, vec![operation(Verb::OpenSession(v1::OpenSession {}))]).await.unwrap();
    let Some(Kind::SessionOpened(opened)) = &open.outcomes[0].outcome else { panic!("{open:?}") };
    let of_cluster = |cluster_id: String| {
        let session = Some(v1::SessionRequest { id: opened.id, sequence: 1, lowest_pending: 1, cluster_id });
        v1::ExecuteRequest { shard: 0, session, operations: vec![enqueue("q", "once")], ..Default::default() }
    };
    let mut client = quorate(&node).await;
    let last_before = statuses(&node).await[0].last_index;
    let refused = client.execute(of_cluster("0123456789abcdef0123456789abcdef".to_owned())).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::FailedPrecondition, reasons::SESSION_EXPIRED.to_owned()));
    assert_eq!(statuses(&node).await[0].last_index, last_before, "nothing was proposed");

    client.execute(of_cluster(open.header.unwrap().cluster_id)).await.expect("the session is of this cluster");
    node.stop().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_code_and_reason_and_nothing_is_proposed() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let mut client = quorate(&node).await;
    let last_before = statuses(&node).await[0].last_index;

    let of = |operations: Vec<v1::Operation>| v1::ExecuteRequest { operations, ..Default::default() };
    let session = Some(v1::SessionRequest { id: 1, ..Default::default() });
    let seconds = Duration::from_secs;
    let cases = [
        (of(vec![]), reasons::INVALID_REQUEST),
        (of(vec![v1::Operation::default()]), reasons::INVALID_REQUEST),
        (of(vec![enqueue("", "x")]), reasons::INVALID_QUEUE_NAME),
        (of(vec![enqueue(&"q".repeat(256), "x")]), reasons::INVALID_QUEUE_NAME),
        (of(vec![dequeue("no spaces", Duration::ZERO)]), reasons::INVALID_QUEUE_NAME),
        (of(vec![enqueue("q", &"x".repeat((1 << 20) + 1))]), reasons::MESSAGE_TOO_LARGE),
        (of(vec![list(); 1001]), reasons::REQUEST_TOO_LARGE),
        (of(vec![list(); 2]), reasons::REQUEST_TOO_LARGE),
        (of(vec![dequeue("q", seconds(61))]), reasons::INVALID_REQUEST),
        (of(vec![dequeue("q", seconds(1)), list()]), reasons::INVALID_REQUEST),
        (
            of(vec![operation(Verb::Peek(v1::Peek { queue: "q".into(), limit: 101, ..Default::default() }))]),
            reasons::INVALID_REQUEST,
        ),
        (v1::ExecuteRequest { shard: 1, ..of(vec![list()]) }, reasons::INVALID_REQUEST),
        (v1::ExecuteRequest { session, ..of(vec![list()]) }, reasons::INVALID_REQUEST),
    ];
    for (request, expected) in cases {
        let short = format!("{request:.200?}");
        let refused = client.execute(request).await.expect_err(&short);
        assert_eq!(refused.code(), Code::InvalidArgument, "{short}: {refused}");
        assert_eq!(reason(&refused), expected, "{short}: {refused}");
        let info = refused.get_details_error_info().unwrap();
        assert!(info.metadata.contains_key(reasons::FIELD), "{short} does not name the field: {info:?}");
    }
    assert_eq!(statuses(&node).await[0].last_index, last_before);
    node.stop().await.unwrap();
}

#[tokio::test]
async fn three_nodes_find_together_and_followers_name_the_leader() {
    let directory = TempDir::new().unwrap();
    let a = start_alone(directory.path()).await;
    let b = start_node(config("b", directory.path(), &[&a])).await;
    let c = start_node(config("c", directory.path(), &[&b])).await;
    let leads = |node: &v1::NodeStatus| node.role() == v1::Role::Leader;
    let votes = |node: &v1::NodeStatus| node.member.as_ref().is_some_and(|m| m.membership() == v1::Membership::Voter);
    let nodes = eventually("three voters", async || {
        Some(statuses(&c).await).filter(|nodes| nodes.len() == 3 && nodes.iter().all(|n| votes(n) && n.reachable))
    })
    .await;
    assert_eq!(nodes.iter().filter(|node| leads(node)).count(), 1);

    execute(&a, vec![enqueue("q", "kept")]).await.unwrap();
    let refused = execute(&b, vec![enqueue("q", "lost")]).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::Unavailable, reasons::NOT_LEADER.to_owned()));
    let metadata = refused.get_details_error_info().unwrap().metadata;
    assert_eq!(metadata[reasons::LEADER_ADDRESS], a.client_address.to_string());
    assert_eq!(metadata[reasons::LEADER_NAME], "a");

    // Everybody stops and comes back, each at ports of its own choice: only a's old address is known to nobody any more.
    for node in [a, b, c] {
        node.stop().await.unwrap();
    }
    let a = start_node(config("a", directory.path(), &[])).await;
    let b = start_node(config("b", directory.path(), &[&a])).await;
    let c = start_node(config("c", directory.path(), &[&a, &b])).await;
    let kept = eventually("a leader among the three", async || {
        for node in [&a, &b, &c] {
            if let Ok(response) = execute(node, vec![dequeue("q", Duration::ZERO)]).await {
                return Some(text(&response).map(str::to_owned));
            }
        }
        None
    })
    .await;
    assert_eq!(kept.as_deref(), Some("kept"));
    for node in [a, b, c] {
        node.stop().await.unwrap();
    }
}

/// Two nodes: what one executed the other shows, and then the other leads.
#[tokio::test]
async fn a_follower_shows_what_the_leader_executed_and_takes_over() {
    let directory = TempDir::new().unwrap();
    let a = start_alone(directory.path()).await;
    let b = start_node(config("b", directory.path(), &[&a])).await;
    let both_vote = async || {
        let membership = &b.handle.status(SHARD_0)?.membership;
        let voters = &membership.configuration.voters;
        (voters.len() == 2 && !membership.configuration.is_joint()).then_some(())
    };
    eventually("both to vote", both_vote).await;
    let enqueued = execute(&a, vec![enqueue("q", "one")]).await.unwrap();
    let peek = async |node: &Running, consistency: v1::Consistency| {
        let operations = vec![operation(Verb::Peek(v1::Peek { queue: "q".to_owned(), ..Default::default() }))];
        let request = v1::ExecuteRequest { operations, consistency: consistency.into(), ..Default::default() };
        quorate(node).await.execute(request).await.map(tonic::Response::into_inner)
    };
    let shows_one = |response: &v1::ExecuteResponse| match &response.outcomes[..] {
        [v1::Outcome { outcome: Some(Kind::Peeked(peeked)) }] => peeked.messages.len() == 1,
        _ => false,
    };

    let shown = peek(&b, v1::Consistency::AnyNode).await.expect("the leader lives");
    assert_eq!(
        shown.header.as_ref().unwrap().index,
        enqueued.header.unwrap().index,
        "nothing was written for the read"
    );
    assert!(shows_one(&shown) && shown.age.is_none(), "{shown:?}");
    let refused = peek(&b, v1::Consistency::Leader).await.unwrap_err();
    assert_eq!(reason(&refused), reasons::NOT_LEADER);
    eventually("an age to be known", async || peek(&b, v1::Consistency::Stale).await.expect("at once").age).await;

    let transfer = async || {
        let request = v1::TransferLeadershipRequest { to: "b".to_owned() };
        cluster(&a).await.transfer_leadership(request).await.ok().map(tonic::Response::into_inner)
    };
    let transferred = eventually("the transfer", transfer).await;
    assert_eq!(transferred.leader.map(|leader| leader.name).as_deref(), Some("b"));
    assert!(shows_one(&peek(&b, v1::Consistency::Leader).await.expect("it leads")));
    let handle = a.handle.clone();
    a.stop().await.unwrap();
    b.stop().await.unwrap();
    let stopped = handle.transfer_leadership(SHARD_0, None).await;
    assert!(matches!(stopped, Err(Refusal::NotLeader { leader: None, .. })), "{stopped:?}");
}

/// Who is turned away during an election comes back later than it ends. Where most members are away there is no election to wait for.
#[tokio::test]
async fn a_request_waits_a_moment_for_a_leader() {
    let directory = TempDir::new().unwrap();
    let a = start_alone(directory.path()).await;
    a.stop().await.unwrap();
    let a = start_node(config("a", directory.path(), &[])).await;
    execute(&a, vec![enqueue("q", "one")]).await.expect("it is about to lead");

    let b = start_node(config("b", directory.path(), &[&a])).await;
    let voters = async || a.handle.status(SHARD_0).map(|status| status.membership.configuration.voters.len());
    eventually("both to vote", async || voters().await.filter(|voters| *voters == 2)).await;
    b.stop().await.unwrap();
    eventually("nobody to lead", async || a.handle.status(SHARD_0)?.leader.is_none().then_some(())).await;
    let began = Instant::now();
    let refused = execute(&a, vec![enqueue("q", "two")]).await.unwrap_err();
    assert_eq!(reason(&refused), reasons::NO_LEADER);
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    let peek = operation(Verb::Peek(v1::Peek { queue: "q".to_owned(), ..Default::default() }));
    let consistency = v1::Consistency::Stale.into();
    let request = v1::ExecuteRequest { operations: vec![peek], consistency, ..Default::default() };
    quorate(&a).await.execute(request).await.expect("what needs no leader waits for none");
    a.stop().await.unwrap();
}

#[tokio::test]
async fn garbage_at_either_port_harms_nobody() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    for address in [node.client_address, node.peer_address] {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let long = (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for garbage in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), long, [preface, vec![0xff; 10_000]].concat()] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // The node may close at any moment.
            let _ = stream.write_all(&garbage).await;
            let _ = tokio::time::timeout(Duration::from_millis(100), stream.read_to_end(&mut Vec::new())).await;
        }
    }
    execute(&node, vec![list()]).await.expect("the node goes on");
    node.stop().await.unwrap();
}

#[tokio::test]
async fn health_and_reflection_need_no_files() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let channel = Channel::from_shared(format!("http://{}", node.client_address)).unwrap().connect().await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    for service in ["", "quorate.v1.Quorate", "quorate.v1.Cluster"] {
        let request = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
        let serving = eventually("the node to be healthy", async || {
            let answer = health.check(request.clone()).await.ok()?;
            (answer.into_inner().status() == tonic_health::pb::health_check_response::ServingStatus::Serving)
                .then_some(())
        });
        serving.await;
    }

    use reflection::server_reflection_request::MessageRequest::ListServices;
    use tonic_reflection::pb::v1 as reflection;
    let mut client = reflection::server_reflection_client::ServerReflectionClient::new(channel);
    let message_request = Some(ListServices(String::new()));
    let request = reflection::ServerReflectionRequest { host: String::new(), message_request };
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = format!("{:?}", answers.message().await.unwrap());
    assert!(answer.contains("quorate.v1.Quorate") && answer.contains("grpc.health.v1.Health"), "{answer}");
    drop(answers);

    // Whoever watches is told that the node stops, and does not hold it up.
    let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
    let mut watching = health.watch(request).await.unwrap().into_inner();
    let began = tokio::time::Instant::now();
    let last = async {
        let mut last = None;
        while let Ok(Some(status)) = watching.message().await {
            last = Some(status.status());
        }
        last
    };
    let (stopped, last) = tokio::join!(node.stop(), tokio::time::timeout(PATIENCE, last));
    stopped.unwrap();
    assert_eq!(last, Ok(Some(tonic_health::pb::health_check_response::ServingStatus::NotServing)));
    assert!(began.elapsed() < Duration::from_secs(3), "the drain took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_remedy_and_nothing_is_formatted() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let mut second = config("b", directory.path(), &[]);
    second.client.listen = node.client_address.to_string().parse().unwrap();
    let error = start(second, Telemetry::default()).await.unwrap_err();
    let told = error.to_string();
    assert!(told.contains(&node.client_address.to_string()) && told.contains("client.listen"), "{told}");
    assert!(!directory.path().join("b").exists(), "nothing was changed");

    let error = start(config("a", directory.path(), &[]), Telemetry::default()).await.unwrap_err();
    assert!(matches!(error, Error::Storage(crate::storage::Error::Locked { .. })), "{error}");
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_disk_that_fails_ends_the_node() {
    let directory = TempDir::new().unwrap();
    let mut node = start_alone(directory.path()).await;
    std::fs::remove_dir_all(directory.path().join("a")).unwrap();
    // More than a segment, so that another file must be made, where there is no directory.
    let large = enqueue("q", &"x".repeat(1 << 20));
    let unknown = execute(&node, vec![large.clone(), large]).await.unwrap_err();
    assert_eq!((unknown.code(), reason(&unknown)), (Code::Aborted, reasons::OUTCOME_UNKNOWN.to_owned()));
    let ended = tokio::time::timeout(PATIENCE, node.wait()).await.unwrap().unwrap_err();
    assert!(matches!(ended, Error::Storage(_)), "{ended}");
}
