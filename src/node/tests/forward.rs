//! Calls that a node passes on to the leader: which, how often, what goes along, and how they end.

use std::time::Instant;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};
use v1::streamed_response::Answer;

use super::*;
use crate::api::forward::{CALLS_MAX, own};
use crate::client::fake::{self, Step};
use crate::replica::Membership;
use crate::routing;
use crate::transport::{Limits, Listener};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A leader `a`, which tells clients the address `advertise`, and a follower `b` that knows it.
async fn pair(directory: &Path, advertise: Option<&str>) -> (Running, Running) {
    let mut leader = config("a", directory, &[]);
    leader.client.advertise = advertise.map(|address| address.parse().unwrap());
    let a = start_node(leader).await;
    eventually("the only node to lead", async || execute(&a, vec![list()]).await.ok()).await;
    let b = start_node(config("b", directory, &[&a])).await;
    let knows_leader = async || b.handle.status(SHARD_0)?.leader.filter(|leader| *leader == a.handle.node());
    eventually("b to know the leader", knows_leader).await;
    (a, b)
}

/// Waits until no change of membership is under way, so that no entry comes but for what a test asks for.
async fn settle(leader: &Running) {
    let is_settled = async || {
        let status = leader.handle.status(SHARD_0)?;
        let Membership { configuration, index, .. } = &*status.membership;
        let both_vote = configuration.voters.len() == 2 && configuration.voters_outgoing.is_empty();
        (both_vote && status.commit >= *index).then_some(())
    };
    eventually("both to vote", is_settled).await;
}

fn routed<T>(routing: &'static str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(routing::HEADER, routing.parse().unwrap());
    request
}

fn of(operations: Vec<v1::Operation>) -> v1::ExecuteRequest {
    v1::ExecuteRequest { operations, ..Default::default() }
}

async fn execute_routed(
    node: &Running,
    routing: &'static str,
    operations: Vec<v1::Operation>,
) -> Result<v1::ExecuteResponse, Status> {
    quorate(node).await.execute(routed(routing, of(operations))).await.map(tonic::Response::into_inner)
}

fn node_of(header: Option<v1::ResponseHeader>) -> String {
    header.expect("every reply has a header").node_id
}

type Conversation = (mpsc::Sender<v1::ExecuteStreamRequest>, Streaming<v1::ExecuteStreamResponse>);

/// A stream that is passed on.
async fn converse(node: &Running) -> Conversation {
    try_converse(quorate(node).await).await.unwrap()
}

async fn try_converse(mut client: QuorateClient<Channel>) -> Result<Conversation, Status> {
    let (frames, sent) = mpsc::channel(1);
    let stream = routed(routing::FORWARD, ReceiverStream::new(sent));
    Ok((frames, client.execute_stream(stream).await?.into_inner()))
}

fn frame(id: u64, operations: Vec<v1::Operation>) -> v1::ExecuteStreamRequest {
    let request = v1::StreamedRequest { id, request: Some(of(operations)), ..Default::default() };
    v1::ExecuteStreamRequest { requests: vec![request] }
}

#[tokio::test]
async fn what_needs_the_leader_is_passed_on_and_what_does_not_stays() {
    let directory = TempDir::new().unwrap();
    let (a, b) = pair(directory.path(), None).await;
    let leader = a.handle.node().to_string();
    let executed = execute_routed(&b, routing::FORWARD, vec![enqueue("q", "one")]).await.unwrap();
    assert_eq!(node_of(executed.header), leader);

    let (frames, mut answers) = converse(&b).await;
    frames.send(frame(7, vec![dequeue("q", Duration::ZERO)])).await.unwrap();
    let answered = answers.message().await.unwrap().unwrap().responses.remove(0);
    let Some(Answer::Response(response)) = answered.answer else { panic!("{answered:?}") };
    assert_eq!((answered.id, text(&response)), (7, Some("one")));
    drop(frames);
    assert_eq!(answers.message().await.unwrap(), None, "the client's end ends it well");

    let log = v1::RequestLogRequest { follow: true, ..Default::default() };
    let mut pages = quorate(&b).await.request_log(routed(routing::FORWARD, log)).await.unwrap().into_inner();
    let page = pages.message().await.unwrap().unwrap();
    assert_eq!(node_of(page.header), leader);
    drop(pages);

    let mut cluster = cluster(&b).await;
    let members = cluster.list_members(routed(routing::FORWARD, v1::ListMembersRequest {})).await.unwrap().into_inner();
    assert_eq!(node_of(members.header), b.handle.node().to_string(), "any node serves it");
    let status = cluster.status(routed(routing::FORWARD, v1::StatusRequest {})).await.unwrap().into_inner();
    assert_eq!(node_of(status.header), b.handle.node().to_string(), "any node serves it");
    settle(&a).await;
    let again = v1::AddMemberRequest { member: Some(members.members[1].clone()), stay_learner: false };
    let added = cluster.add_member(routed(routing::FORWARD, again)).await.unwrap().into_inner();
    assert_eq!(node_of(added.header), leader);

    let transferred = eventually("b to be ready to lead", async || {
        let transfer = v1::TransferLeadershipRequest { to: "b".to_owned() };
        cluster.transfer_leadership(routed(routing::FORWARD, transfer)).await.ok()
    })
    .await;
    assert_eq!(node_of(transferred.into_inner().header), leader);
    let executed = execute_routed(&b, routing::FORWARD, vec![list()]).await.unwrap();
    assert_eq!(node_of(executed.header), b.handle.node().to_string(), "it leads by itself");
    b.stop().await.unwrap();
    a.stop().await.unwrap();
}

#[tokio::test]
async fn a_call_is_passed_on_once_and_only_when_that_is_asked_for() {
    let directory = TempDir::new().unwrap();
    let (a, b) = pair(directory.path(), None).await;
    let refused = execute_routed(&b, routing::FORWARDED, vec![list()]).await.unwrap_err();
    assert_eq!(reason(&refused), reasons::NOT_LEADER);
    let refused = execute(&b, vec![list()]).await.unwrap_err();
    assert_eq!(reason(&refused), reasons::NOT_LEADER);
    for node in [&a, &b] {
        let refused = execute_routed(node, "sideways", vec![list()]).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused)), (Code::InvalidArgument, reasons::INVALID_REQUEST.to_owned()));
        assert!(refused.message().contains("sideways") && refused.message().contains(routing::HEADER), "{refused}");
    }
    // What is passed on is a call like any other there.
    let refused = execute_routed(&b, routing::FORWARD, vec![enqueue("", "x")]).await.unwrap_err();
    assert_eq!(reason(&refused), reasons::INVALID_QUEUE_NAME);
    let by = refused.get_details_error_info().unwrap().metadata[reasons::NODE_ID].clone();
    assert_eq!(by, a.handle.node().to_string());
    b.stop().await.unwrap();
    a.stop().await.unwrap();
}

/// A leader that shows what it got: the deadline, the trace and what else came along, and that this was the one hop.
#[tokio::test]
async fn what_comes_along_goes_on_and_what_the_leader_says_comes_back() {
    let (leaders, world) = fake::cluster(1).await;
    let directory = TempDir::new().unwrap();
    let (a, b) = pair(directory.path(), Some(&leaders[0].address)).await;
    let mut request = routed(routing::FORWARD, of(vec![enqueue("q", "one")]));
    request.metadata_mut().insert("traceparent", PARENT.parse().unwrap());
    request.metadata_mut().insert("grpc-timeout", "7777m".parse().unwrap());
    request.metadata_mut().insert_bin("own-bin", tonic::metadata::MetadataValue::from_bytes(&[0, 255]));
    quorate(&b).await.execute(request).await.unwrap();
    let (_, seen) = world.lock().unwrap().metadata.remove(0);
    assert_eq!(seen.get_all(routing::HEADER).iter().collect::<Vec<_>>(), [routing::FORWARDED]);
    assert_eq!(seen.get("traceparent").unwrap(), PARENT);
    assert_eq!(seen.get("grpc-timeout").unwrap(), "7777m");
    assert_eq!(seen.get_bin("own-bin").unwrap().to_bytes().unwrap().as_ref(), [0, 255]);

    leaders[0].then([Step::NotLeader("elsewhere:1".to_owned()), Step::EndNotLeader("elsewhere:1".to_owned())]);
    let refused = execute_routed(&b, routing::FORWARD, vec![list()]).await.unwrap_err();
    assert_eq!(refused.get_details_error_info().unwrap().metadata[reasons::LEADER_ADDRESS], "elsewhere:1");
    // Nodes of the fake cluster agree to a stream only when they have seen something of it.
    let (frames, sent) = mpsc::channel(1);
    frames.send(frame(1, vec![list()])).await.unwrap();
    let stream = routed(routing::FORWARD, ReceiverStream::new(sent));
    let mut answers = quorate(&b).await.execute_stream(stream).await.unwrap().into_inner();
    assert_eq!(reason(&answers.message().await.unwrap_err()), reasons::NOT_LEADER, "the status of its end comes back");
    b.stop().await.unwrap();
    a.stop().await.unwrap();
}

#[tokio::test]
async fn nothing_was_done_where_the_leader_cannot_be_reached() {
    let directory = TempDir::new().unwrap();
    for nowhere in ["127.0.0.1:1", "nowhere.invalid:7400"] {
        let directory = directory.path().join(nowhere);
        let (a, b) = pair(&directory, Some(nowhere)).await;
        for _ in 0..2 {
            let refused = execute_routed(&b, routing::FORWARD, vec![enqueue("q", "one")]).await.unwrap_err();
            assert_eq!((refused.code(), reason(&refused)), (Code::Unavailable, reasons::NO_LEADER.to_owned()));
            assert!(
                refused.message().contains("cannot reach a at") && refused.message().contains(nowhere),
                "{refused}"
            );
        }
        b.stop().await.unwrap();
        a.stop().await.unwrap();
    }
}

/// The connection breaks while the leader has the call: nobody but the client can say whether asking again is exact.
#[tokio::test]
async fn a_connection_that_breaks_leaves_the_outcome_unknown() {
    let breaking = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = breaking.local_addr().unwrap().to_string();
    let breaks = tokio::spawn(async move {
        loop {
            let (mut stream, _) = breaking.accept().await.unwrap();
            // The preface, and the call after it.
            let mut bytes = [0; 256];
            while stream.read(&mut bytes).await.is_ok_and(|read| read > 0 && !bytes[..read].contains(&b'o')) {}
        }
    });
    let directory = TempDir::new().unwrap();
    let (a, b) = pair(directory.path(), Some(&address)).await;
    let lost = execute_routed(&b, routing::FORWARD, vec![enqueue("orders", "one")]).await.unwrap_err();
    assert_eq!((lost.code(), reason(&lost)), (Code::Unknown, reasons::OUTCOME_UNKNOWN.to_owned()), "{lost}");
    breaks.abort();
    b.stop().await.unwrap();
    a.stop().await.unwrap();
}

/// A leader that reads nothing of conversations, answers single calls, and bears so many connections. Its address.
async fn deaf_leader(connections_max: usize) -> String {
    let limits = Limits { connections_max, ..Limits::for_clients() };
    let listener = Listener::bind("127.0.0.1:0", limits).await.unwrap();
    let address = listener.local_address().unwrap().to_string();
    let listens = |questions: axum::extract::Request| async {
        let unread = futures_util::stream::once(async move {
            let _unread = questions;
            std::future::pending::<Result<bytes::Bytes, std::io::Error>>().await
        });
        ([("content-type", "application/grpc")], axum::body::Body::from_stream(unread))
    };
    let single = || async { Status::already_exists("it answers").into_http::<tonic::body::Body>() };
    let router = axum::Router::new()
        .route("/quorate.v1.Quorate/ExecuteStream", axum::routing::post(listens))
        .route("/quorate.v1.Quorate/Execute", axum::routing::post(single));
    let routes = tonic::service::Routes::from(router);
    tokio::spawn(limits.server().add_routes(routes).serve_with_incoming(listener.incoming()));
    address
}

/// The leader reads nothing of these conversations, and each is as full as it can be: all that may wait for it at the leader,
/// and at the node that passes it on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conversations_that_the_leader_does_not_read_hold_up_nobody() {
    const CONVERSATIONS: usize = 16;
    const FRAME_BYTES: usize = 32 << 10;
    // What may wait at each of the two is told to be free again by halves only.
    let full = Limits::for_clients().call_bytes_max as usize * 3 / 2 - 2 * FRAME_BYTES;
    let directory = TempDir::new().unwrap();
    // One more connection, for the single calls: those of conversations that have ended are gone.
    let (a, b) = pair(directory.path(), Some(&deaf_leader(CONVERSATIONS + 1).await)).await;
    for _ in 0..2 {
        let mut talking = Vec::new();
        for _ in 0..CONVERSATIONS {
            let open = async || {
                // A client that really goes when it does.
                let (connector, hold) = own::connector();
                let endpoint = Channel::from_shared(format!("http://{}", b.client_address)).unwrap();
                let client = QuorateClient::new(endpoint.connect_with_connector_lazy(connector));
                Some((try_converse(client).await.ok()?, hold))
            };
            let ((frames, answers), hold) = eventually("room at the leader", open).await;
            let mut long = frame(1, vec![list()]);
            long.requests[0].traceparent = "x".repeat(FRAME_BYTES);
            let (sent, sending) = tokio::sync::watch::channel(0);
            let talk = async move {
                while frames.send(long.clone()).await.is_ok() {
                    sent.send_modify(|bytes| *bytes += FRAME_BYTES);
                }
            };
            talking.push((tokio::spawn(talk), sending, answers, hold));
        }
        for (_, sending, ..) in &mut talking {
            let filled = tokio::time::timeout(PATIENCE, sending.wait_for(|bytes| *bytes >= full)).await;
            filled.expect("what one may have does not depend on the others").expect("it goes on");
        }
        let answered = tokio::time::timeout(PATIENCE, execute_routed(&b, routing::FORWARD, vec![list()])).await;
        assert_eq!(answered.expect("it is answered").unwrap_err().message(), "it answers");
        for (talk, ..) in talking {
            talk.abort();
        }
    }
    b.stop().await.unwrap();
    a.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_call_too_many_is_refused_until_there_is_room() {
    let directory = TempDir::new().unwrap();
    let (a, b) = pair(directory.path(), None).await;
    let client = quorate(&b).await;
    let waiting: Vec<_> = (0..CALLS_MAX)
        .map(|_| {
            let (mut client, wait) = (client.clone(), dequeue("q", Duration::from_secs(60)));
            // Refused when a question from below was just in its place.
            let waits =
                async move { while client.execute(routed(routing::FORWARD, of(vec![wait.clone()]))).await.is_err() {} };
            tokio::spawn(waits)
        })
        .collect();
    let one_more = async || execute_routed(&b, routing::FORWARD, vec![list()]).await;
    let refused = eventually("the room to be used up", async || one_more().await.err()).await;
    assert_eq!((refused.code(), reason(&refused)), (Code::ResourceExhausted, reasons::OVERLOADED.to_owned()));
    for call in waiting {
        call.abort();
    }
    eventually("room", async || one_more().await.ok()).await;
    b.stop().await.unwrap();
    a.stop().await.unwrap();
}

/// The node that passes on stops: what has been asked in a conversation is answered, what waits is let go, and all end with a
/// status of their own.
#[tokio::test]
async fn calls_that_were_passed_on_end_with_the_node() {
    let directory = TempDir::new().unwrap();
    let (a, b) = pair(directory.path(), None).await;
    let (frames, mut answers) = converse(&b).await;
    frames.send(frame(1, vec![list()])).await.unwrap();
    answers.message().await.unwrap().expect("an answer");
    // One that waits is not in the log before there is something to take.
    let has_more = async |before: u64| (a.handle.requests() > before).then_some(());
    let before = a.handle.requests();
    frames.send(frame(2, vec![dequeue("q", Duration::from_secs(1))])).await.unwrap();
    eventually("the leader to have the first dequeue", async || has_more(before).await).await;
    let log = v1::RequestLogRequest { follow: true, ..Default::default() };
    let mut pages = quorate(&b).await.request_log(routed(routing::FORWARD, log)).await.unwrap().into_inner();
    let mut client = quorate(&b).await;
    pages.message().await.unwrap().expect("a page");
    let before = a.handle.requests();
    let waits = of(vec![dequeue("other", Duration::from_secs(60))]);
    let waiting = tokio::spawn(async move { client.execute(routed(routing::FORWARD, waits)).await });
    eventually("the leader to have the second dequeue", async || has_more(before).await).await;

    let begin = Instant::now();
    let stopping = tokio::spawn(b.stop());
    let answered = answers.message().await.unwrap().expect("what was asked is answered").responses;
    assert_eq!(answered[0].id, 2);
    assert_eq!(reason(&answers.message().await.unwrap_err()), reasons::SHUTTING_DOWN);
    let ended = async {
        while pages.message().await?.is_some() {}
        Ok::<_, Status>(())
    };
    assert_eq!(reason(&ended.await.unwrap_err()), reasons::SHUTTING_DOWN);
    let given_up = waiting.await.unwrap().unwrap_err();
    assert_eq!((given_up.code(), reason(&given_up)), (Code::Unknown, reasons::OUTCOME_UNKNOWN.to_owned()));
    stopping.await.unwrap().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(4), "it took {:?}", begin.elapsed());
    a.stop().await.unwrap();
}
