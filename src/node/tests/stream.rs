//! Many requests in flight on one stream of a real node: order, bounds, bad input, and how it ends.

use std::collections::BTreeMap;
use std::sync::Weak;

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Streaming;
use v1::streamed_response::Answer;

use super::*;
use crate::api::execute_stream::{Limits, STREAMS_MAX};
use crate::api::quorate_service::QuorateService;
use crate::api::{self, execute_stream};
use crate::cluster::founder::Founder;
use crate::health::Verdict;
use crate::ids::Contact;
use crate::node::{Peers, Transfers};
use crate::raft::CommitQuorum;
use crate::storage;
use crate::telemetry::{Telemetry, Vitals};
use crate::transport::AddressBook;

/// The client's ends of a stream.
struct Conversation {
    frames: mpsc::Sender<v1::ExecuteStreamRequest>,
    answers: Streaming<v1::ExecuteStreamResponse>,
}

impl Conversation {
    async fn open(node: &Running) -> Result<Self, Status> {
        Self::on(&mut quorate(node).await).await
    }

    async fn on(client: &mut QuorateClient<Channel>) -> Result<Self, Status> {
        let (frames, sent) = mpsc::channel(1);
        let answers = client.execute_stream(ReceiverStream::new(sent)).await?.into_inner();
        Ok(Self { frames, answers })
    }

    async fn send(&self, requests: Vec<v1::StreamedRequest>) {
        self.frames.send(v1::ExecuteStreamRequest { requests }).await.expect("the node reads");
    }

    /// The next answers.
    async fn next(&mut self) -> Result<Vec<v1::StreamedResponse>, Status> {
        let frame = tokio::time::timeout(PATIENCE, self.answers.message()).await.expect("the node answers");
        frame.map(|frame| frame.map(|frame| frame.responses).unwrap_or_default())
    }

    /// Everything that is still answered, and how the stream ends.
    async fn rest(mut self) -> (Vec<v1::StreamedResponse>, Option<Status>) {
        let mut answers = Vec::new();
        loop {
            match self.next().await {
                Ok(more) if more.is_empty() => return (answers, None),
                Ok(more) => answers.extend(more),
                Err(status) => return (answers, Some(status)),
            }
        }
    }
}

fn streamed(id: u64, operations: Vec<v1::Operation>) -> v1::StreamedRequest {
    let request = Some(v1::ExecuteRequest { operations, ..Default::default() });
    v1::StreamedRequest { id, request, ..Default::default() }
}

/// The response to one request, or the status with which a call would have ended.
fn result(response: v1::StreamedResponse) -> Result<v1::ExecuteResponse, Status> {
    match response.answer.expect("an answer is a response or a failure") {
        Answer::Response(response) => Ok(response),
        Answer::Failure(v1::Failure { code, message, details }) => {
            Err(Status::with_details(Code::from_i32(code), message, details))
        }
    }
}

fn ids(answers: &[v1::StreamedResponse]) -> Vec<u64> {
    answers.iter().map(|answer| answer.id).collect()
}

/// The stream of a client that is not on any connection, with limits of its own.
fn serve(
    node: &Running,
    limits: Limits,
    requests: impl Stream<Item = Result<v1::ExecuteStreamRequest, Status>> + Send + Unpin + 'static,
) -> execute_stream::Answers {
    let book = AddressBook::new(node.handle.node(), Vec::new(), |_: &[Contact]| Ok(()));
    let (peers, telemetry) = (Peers::default(), Telemetry::default());
    let (log, _) = storage::Log::open(storage::MemoryDisk::default(), storage::Options::default()).unwrap();
    let transfers = Transfers::new(log.store(), storage::outgoing::Limits::default());
    let (handle, waits_for) = (node.handle.clone(), watch::Sender::default());
    let contact = book.announce("a", "a:1", "a:2").unwrap();
    let founder = Founder::new(Weak::new(), contact, None, CommitQuorum::Majority, false);
    let (phase, vitals) = (node.phase(), Vitals::new(telemetry.clone()));
    let verdicts = watch::Sender::new(Verdict { live: Vec::new(), ready: Vec::new() }).subscribe();
    let context = api::Context {
        handle,
        book,
        peers,
        phase,
        telemetry,
        vitals,
        admin_address: String::new(),
        verdicts,
        transfers,
        founder,
        waits_for,
    };
    let room = api::streams::Streams::new(1).enter().unwrap();
    execute_stream::serve(QuorateService::new(context), requests, limits, room)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_answered_and_takes_effect_in_the_order_of_sending() {
    const COUNT: u64 = 30_000;
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let Conversation { frames, mut answers } = Conversation::open(&node).await.unwrap();
    let sending = tokio::spawn(async move {
        for first in (0..COUNT).step_by(2_000) {
            let requests = (first..first + 2_000).map(|id| streamed(id, vec![enqueue("q", &id.to_string())]));
            frames.send(v1::ExecuteStreamRequest { requests: requests.collect() }).await.unwrap();
        }
    });
    let mut decided = BTreeMap::new();
    while let Some(frame) = answers.message().await.unwrap() {
        for response in frame.responses {
            decided.insert(response.id, result(response).unwrap().header.unwrap().index);
        }
    }
    sending.await.unwrap();
    assert_eq!(decided.len() as u64, COUNT);
    assert!(decided.values().is_sorted(), "the log has them in the order of sending");

    let mut next = 0;
    while next < COUNT {
        for outcome in execute(&node, vec![dequeue("q", Duration::ZERO); 1_000]).await.unwrap().outcomes {
            let one = v1::ExecuteResponse { outcomes: vec![outcome], ..Default::default() };
            assert_eq!(text(&one), Some(next.to_string().as_str()));
            next += 1;
        }
    }
    node.stop().await.unwrap();
}

#[tokio::test]
async fn as_many_are_in_flight_as_may_and_the_next_is_read_when_one_is_answered() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let mut conversation = Conversation::open(&node).await.unwrap();
    let requests_max = Limits::default().requests_max as u64;
    let waiting = (0..requests_max).map(|id| streamed(id, vec![dequeue("awaited", PATIENCE)])).collect();
    conversation.send(waiting).await;
    conversation.send(vec![streamed(requests_max, vec![enqueue("other", "late")])]).await;

    // The stream is full of requests that wait, so the last one is not taken.
    let early = tokio::time::timeout(Duration::from_millis(300), conversation.answers.message()).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(text(&execute(&node, vec![dequeue("other", Duration::ZERO)]).await.unwrap()), None);

    execute(&node, vec![enqueue("awaited", "one")]).await.unwrap();
    let mut answers = conversation.next().await.unwrap();
    while answers.len() < 2 {
        answers.extend(conversation.next().await.unwrap());
    }
    answers.sort_by_key(|answer| answer.id);
    assert_eq!(ids(&answers), [0, requests_max], "the first of those who wait, and the one that found room then");
    node.stop().await.unwrap();
}

#[tokio::test]
async fn bytes_in_flight_are_bounded_as_well() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let (frames, sent) = mpsc::channel(1);
    let limits = Limits { bytes_max: 300, ..Limits::default() };
    let mut answers = serve(&node, limits, ReceiverStream::new(sent));
    let large = "q".repeat(100);
    let frame = (0..4).map(|id| streamed(id, vec![dequeue(&large, Duration::from_secs(1))])).collect();
    frames.send(Ok(v1::ExecuteStreamRequest { requests: frame })).await.unwrap();
    // Two of them fit. Had more been taken, they would have waited side by side.
    let first = answers.next().await.unwrap().unwrap();
    assert_eq!(ids(&first.responses), [0, 1]);
    let second = answers.next().await.unwrap().unwrap();
    assert_eq!(ids(&second.responses), [2, 3]);
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_that_takes_no_answer_is_let_go_with_a_reason() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let limits = Limits { patience: Duration::from_millis(100), ..Limits::default() };
    let flood = (0..).map(|id| Ok(v1::ExecuteStreamRequest { requests: vec![streamed(id, vec![list()])] }));
    let answers = serve(&node, limits, tokio_stream::iter(flood));
    // Reads nothing until the stream has ended, which gives back its place.
    let answers = answers.into_inner();
    eventually("the stream to end", async || answers.is_closed().then_some(())).await;
    assert_eq!(answers.len(), 2, "one frame and the last word are all that is kept");

    let mut answers = ReceiverStream::new(answers);
    assert!(answers.next().await.unwrap().is_ok());
    let ended = answers.next().await.unwrap().unwrap_err();
    assert_eq!((ended.code(), reason(&ended)), (Code::Aborted, reasons::OUTCOME_UNKNOWN.to_owned()));
    assert!(ended.message().contains("taken no answer"), "{ended}");
    assert!(answers.next().await.is_none());
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_frame_that_cannot_be_ends_the_stream_after_what_is_in_flight() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let cases = [
        (vec![], "requests: "),
        (vec![streamed(8, vec![enqueue("q", "never")]), streamed(7, vec![list()])], "requests[1].id: 7"),
        (vec![streamed(9, vec![enqueue("q", "never")]), streamed(9, vec![list()])], "requests[1].id: 9"),
    ];
    for (requests, blamed) in cases {
        let conversation = Conversation::open(&node).await.unwrap();
        conversation.send(vec![streamed(7, vec![dequeue("q", Duration::from_millis(200))])]).await;
        conversation.send(requests).await;
        let (answers, ended) = conversation.rest().await;
        assert_eq!(ids(&answers), [7], "{blamed}");
        let ended = ended.expect(blamed);
        assert_eq!((ended.code(), reason(&ended)), (Code::InvalidArgument, reasons::INVALID_REQUEST.to_owned()));
        assert!(ended.message().starts_with(blamed), "{ended}");
    }
    assert_eq!(text(&execute(&node, vec![dequeue("q", Duration::ZERO)]).await.unwrap()), None);
    node.stop().await.unwrap();
}

#[tokio::test]
async fn bytes_that_are_no_frame_end_the_stream() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let channel = Channel::from_shared(format!("http://{}", node.client_address)).unwrap().connect().await.unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    // A message of another kind: its first field is a number where a frame has requests.
    let garbage = v1::RequestLogRequest { shard: 7, ..Default::default() };
    let codec = tonic_prost::ProstCodec::<v1::RequestLogRequest, v1::ExecuteStreamResponse>::default();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/quorate.v1.Quorate/ExecuteStream");
    let garbage = tonic::Request::new(tokio_stream::once(garbage));
    let mut answers = client.streaming(garbage, path, codec).await.unwrap().into_inner();
    let ended = answers.message().await.unwrap_err();
    assert_eq!((ended.code(), reason(&ended)), (Code::InvalidArgument, reasons::INVALID_REQUEST.to_owned()));
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_request_that_cannot_be_fails_alone_and_as_a_call_would() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let conversation = Conversation::open(&node).await.unwrap();
    let timeout = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    conversation
        .send(vec![
            streamed(1, vec![enqueue("q", "one")]),
            streamed(2, vec![enqueue("no spaces", "never")]),
            v1::StreamedRequest { id: 3, ..Default::default() },
            v1::StreamedRequest { timeout, ..streamed(4, vec![enqueue("q", "never")]) },
            streamed(5, vec![dequeue("q", Duration::ZERO)]),
        ])
        .await;
    let Conversation { frames, answers } = conversation;
    // The client has nothing more to say, and is answered all the same.
    let (said_all, _) = mpsc::channel(1);
    drop(frames);
    let (mut answers, ended) = Conversation { frames: said_all, answers }.rest().await;
    assert!(ended.is_none(), "{ended:?}");
    answers.sort_by_key(|answer| answer.id);
    assert_eq!(ids(&answers), [1, 2, 3, 4, 5]);
    let details = |status: &Status| status.get_details_error_info().map(|info| (info.reason, info.metadata));
    let by_call = execute(&node, vec![enqueue("no spaces", "never")]).await.unwrap_err();
    let mut results = answers.into_iter().map(result);
    assert!(results.next().unwrap().is_ok());
    let refused = results.next().unwrap().unwrap_err();
    assert_eq!((refused.code(), refused.message()), (by_call.code(), by_call.message()));
    assert_eq!(details(&refused), details(&by_call));
    assert_eq!(reason(&results.next().unwrap().unwrap_err()), reasons::INVALID_REQUEST);
    assert!(results.next().unwrap().unwrap_err().message().starts_with("timeout: "));
    assert_eq!(text(&results.next().unwrap().unwrap()), Some("one"));
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_request_has_an_answer_before_its_client_stops_waiting() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let mut conversation = Conversation::open(&node).await.unwrap();
    let impatient = v1::StreamedRequest {
        timeout: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        ..streamed(1, vec![dequeue("q", PATIENCE)])
    };
    let began = tokio::time::Instant::now();
    conversation.send(vec![impatient]).await;
    let answer = conversation.next().await.unwrap().remove(0);
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(text(&result(answer).unwrap()), None);
    node.stop().await.unwrap();
}

#[tokio::test]
async fn one_stream_too_many_is_refused() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let (mut one, mut other) = (quorate(&node).await, quorate(&node).await);
    let mut open = Vec::new();
    for number in 0..STREAMS_MAX {
        let client = if number % 2 == 0 { &mut one } else { &mut other };
        open.push(Conversation::on(client).await.unwrap());
    }
    let refused = Conversation::on(&mut one).await.err().expect("the node has its limit");
    assert_eq!((refused.code(), reason(&refused)), (Code::ResourceExhausted, reasons::OVERLOADED.to_owned()));
    open.pop();
    eventually("room", async || Conversation::on(&mut other).await.ok()).await;
    drop(open);
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_away_from_a_stream_takes_nothing_with_it() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let mut conversation = Conversation::open(&node).await.unwrap();
    conversation.send(vec![streamed(1, vec![dequeue("q", PATIENCE)]), streamed(2, vec![list()])]).await;
    assert_eq!(ids(&conversation.next().await.unwrap()), [2], "both were taken");
    drop(conversation);
    check_that_nobody_waits(&node).await;
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_node_that_stops_answers_what_is_in_flight_and_ends_its_streams() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let idle = Conversation::open(&node).await.unwrap();
    let mut busy = Conversation::open(&node).await.unwrap();
    busy.send(vec![streamed(1, vec![dequeue("q", PATIENCE)]), streamed(2, vec![list()])]).await;
    assert_eq!(ids(&busy.next().await.unwrap()), [2], "both were taken");
    let began = tokio::time::Instant::now();
    let (stopped, (answers, ended), (nothing, also_ended)) = tokio::join!(node.stop(), busy.rest(), idle.rest());
    stopped.unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "the drain took {:?}", began.elapsed());
    assert_eq!(ids(&answers), [1]);
    let unknown = result(answers[0].clone()).unwrap_err();
    assert_eq!((unknown.code(), reason(&unknown)), (Code::Aborted, reasons::OUTCOME_UNKNOWN.to_owned()));
    assert!(nothing.is_empty());
    for ended in [ended.unwrap(), also_ended.unwrap()] {
        assert_eq!((ended.code(), reason(&ended)), (Code::Unavailable, reasons::SHUTTING_DOWN.to_owned()));
    }
}

#[tokio::test]
async fn a_leader_that_loses_its_majority_ends_its_streams() {
    let directory = TempDir::new().unwrap();
    let a = start_alone(directory.path()).await;
    let b = start_node(config("b", directory.path(), &[&a])).await;
    eventually("two voters", async || {
        let votes =
            |node: &v1::NodeStatus| node.member.as_ref().is_some_and(|m| m.membership() == v1::Membership::Voter);
        (statuses(&a).await.iter().filter(|node| votes(node)).count() == 2).then_some(())
    })
    .await;
    let idle = Conversation::open(&a).await.unwrap();
    let mut busy = Conversation::open(&a).await.unwrap();
    busy.send(vec![streamed(1, vec![dequeue("q", PATIENCE)]), streamed(2, vec![list()])]).await;
    assert_eq!(ids(&busy.next().await.unwrap()), [2], "both were taken");
    b.stop().await.unwrap();
    // One that needs the log has been proposed, and then nobody knows.
    busy.send(vec![streamed(3, vec![enqueue("q", "perhaps")])]).await;

    let ((answers, ended), (nothing, also_ended)) = tokio::join!(busy.rest(), idle.rest());
    assert!(nothing.is_empty());
    for ended in [ended.unwrap(), also_ended.unwrap()] {
        assert_eq!((ended.code(), reason(&ended)), (Code::Unavailable, reasons::NO_LEADER.to_owned()));
    }
    let mut reasons: Vec<_> =
        answers.into_iter().map(|answer| (answer.id, reason(&result(answer).unwrap_err()))).collect();
    reasons.sort();
    let expected = [(1, reasons::NO_LEADER.to_owned()), (3, reasons::OUTCOME_UNKNOWN.to_owned())];
    assert_eq!(reasons, expected);
    a.stop().await.unwrap();
}
