//! Many requests in flight on one stream. What one of them goes through is that of a call of its own; here is what they
//! share: their order, their bounds, and the end.
//!
//! ```text
//!   client --frame--> queued --a place in the inbox--> in flight --decided--> gathered --frame--> client
//!                     one frame at most                1,024 and 8 MiB        one frame ahead of the client
//! ```
//!
//! One task owns the stream. It reads a frame only when everything before it has been submitted, so that a full inbox, the
//! bounds of the stream and a client that takes no answers all end at the same place: HTTP/2 lets the client wait.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::error::Error as _;
use std::pin::pin;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use prost::Message as _;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::sync::watch::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::errors::{self, Rejection};
use super::message_traces::context_of;
use super::quorate_service::QuorateService;
use super::route::route_to_leader;
use super::{Context, DECODED_BYTES_MAX};
use crate::ids::{SHARD_0, ShardId, Term};
use crate::node::Place;
use crate::proto::v1;
use crate::reasons;
use crate::telemetry::propagation::TraceHeaders;

/// The method by which requests come here.
const EXECUTE_STREAM: &str = "quorate.v1.Quorate/ExecuteStream";

/// Streams of one node at a time: as many as connections, of which a client needs one. One more is refused.
pub const STREAMS_MAX: usize = 1_024;
/// Frames of answers that wait for the client. When they are that many, nothing more is read or answered.
const FRAMES_AHEAD_MAX: usize = 1;
/// A frame takes answers until they are this many bytes together. With one more answer it is still well within what a reply
/// may have.
const FRAME_BYTES_MAX: usize = 1024 * 1024;

/// What one stream may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests in flight. At the bound the server stops reading.
    pub requests_max: usize,
    /// Bytes of requests in flight. At the bound the server stops reading. At least as many as one frame may have.
    pub bytes_max: usize,
    /// A client that takes no answer for this long is let go.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { requests_max: 1_024, bytes_max: 2 * DECODED_BYTES_MAX, patience: Duration::from_secs(60) }
    }
}

/// What a client reads: frames of answers, and why there are no more.
pub type Answers = ReceiverStream<Result<v1::ExecuteStreamResponse, Status>>;

/// Serves `requests`. The stream gives up its `room` when it has ended, or the client has gone away.
pub fn serve(
    service: QuorateService,
    requests: impl Stream<Item = Result<v1::ExecuteStreamRequest, Status>> + Send + Unpin + 'static,
    limits: Limits,
    room: OwnedSemaphorePermit,
) -> Answers {
    let (frames, answers) = mpsc::channel(FRAMES_AHEAD_MAX + 1);
    // One place is kept for the last word: also a client that has not read its answers can read why there are no more.
    let last = frames.clone().try_reserve_owned().expect("the channel was made with that place");
    tokio::spawn(async move {
        if let Err(why) = converse(&service, requests, &frames, limits).await {
            last.send(Err(why.into_status(service.context())));
        }
        drop(room);
    });
    ReceiverStream::new(answers)
}

/// Takes requests and gives answers until one side ends the stream; then still answers what is in flight.
async fn converse(
    service: &QuorateService,
    mut requests: impl Stream<Item = Result<v1::ExecuteStreamRequest, Status>> + Unpin,
    frames: &mpsc::Sender<Result<v1::ExecuteStreamResponse, Status>>,
    limits: Limits,
) -> Result<(), Rejection> {
    let context = service.context();
    let mut flow = Flow::new(limits);
    let mut in_flight = FuturesUnordered::new();
    let mut node_ended = pin!(node_ended(context));
    let mut end = None;
    loop {
        while let Some(queued) = flow.next() {
            match context.handle.place(queued.bytes).await {
                Ok(place) => in_flight.push(execute(service, queued, place)),
                Err(stopped) => {
                    flow.queued.clear();
                    end = Some(Err(errors::refusal(stopped, context)));
                }
            }
        }
        if let Some(end) = end.take_if(|_| in_flight.is_empty()) {
            return end;
        }
        tokio::select! {
            biased;
            () = frames.closed() => return Ok(()),
            Some(first) = in_flight.next() => {
                let frame = gather(first, &mut in_flight, &mut flow).await;
                match frames.send_timeout(Ok(frame), limits.patience).await {
                    Ok(()) => {}
                    Err(SendTimeoutError::Timeout(_)) => return Err(errors::unread(limits.patience)),
                    Err(SendTimeoutError::Closed(_)) => return Ok(()),
                }
            }
            why = &mut node_ended, if end.is_none() => {
                flow.queued.clear();
                end = Some(Err(why));
            }
            frame = requests.next(), if end.is_none() && flow.has_room() => match frame {
                None => end = Some(Ok(())),
                Some(Err(status)) if status.source().is_some() => return Ok(()), // the client is gone
                Some(frame) => end = flow.take(frame).err().map(Err),
            },
        }
    }
}

/// Passes when this node stops, or leads no more, and says so as a call would be told.
async fn node_ended(context: &Context) -> Rejection {
    let mut leading = context.handle.leading();
    loop {
        tokio::select! {
            () = context.drained() => {}
            // Otherwise the loop has ended, and the node is about to be drained.
            Ok(()) = leadership_ended(&mut leading) => {}
        }
        if let Err(why) = route_to_leader(context, SHARD_0.0) {
            return why;
        }
    }
}

/// Passes when this node has led and does so no more, or in another term. One that has never led may have answers that need
/// no leader.
async fn leadership_ended(leading: &mut watch::Receiver<BTreeMap<ShardId, Term>>) -> Result<(), RecvError> {
    let term_of = |leading: &BTreeMap<ShardId, Term>| leading.get(&SHARD_0).copied();
    let term = term_of(&*leading.wait_for(|leading| term_of(leading).is_some()).await?);
    leading.wait_for(|leading| term_of(leading) != term).await?;
    Ok(())
}

/// A request that was read.
struct Queued {
    request: v1::StreamedRequest,
    bytes: usize,
}

/// What became of a request.
struct Answered {
    id: u64,
    bytes: usize,
    answer: Result<v1::ExecuteResponse, Status>,
}

/// One request, as if it had come by itself. The loop has it when this returns, if a leader is known.
fn execute<'a>(
    service: &'a QuorateService,
    Queued { request, bytes }: Queued,
    place: Place<'a>,
) -> impl Future<Output = Answered> + Send + use<'a> {
    let v1::StreamedRequest { id, request, timeout, traceparent, tracestate } = request;
    let trace = TraceHeaders { traceparent, tracestate };
    let request = request.unwrap_or_default();
    let received = service.context().telemetry.receive(EXECUTE_STREAM, || context_of(trace.context(), &request));
    let executing = deadline(timeout).map(|deadline| service.execute(received, request, deadline, Some(place)));
    async move {
        let answer = match executing {
            Ok(executing) => executing.await,
            Err(rejection) => Err(rejection.into_status(service.context())),
        };
        Answered { id, bytes, answer }
    }
}

fn deadline(timeout: Option<prost_types::Duration>) -> Result<Option<Duration>, Rejection> {
    let deadline = timeout.map(Duration::try_from).transpose();
    deadline.map_err(|why| wrong("timeout", why.to_string()))
}

/// One frame of what is decided by now.
async fn gather(
    first: Answered,
    in_flight: &mut FuturesUnordered<impl Future<Output = Answered>>,
    flow: &mut Flow,
) -> v1::ExecuteStreamResponse {
    // The loop answers in bursts: it has not come far when the first answer wakes this task.
    tokio::task::yield_now().await;
    let mut responses = vec![response(first, flow)];
    let mut bytes = responses[0].encoded_len();
    while bytes < FRAME_BYTES_MAX
        && let Some(Some(answered)) = in_flight.next().now_or_never()
    {
        let response = response(answered, flow);
        bytes += response.encoded_len();
        responses.push(response);
    }
    v1::ExecuteStreamResponse { responses }
}

fn response(Answered { id, bytes, answer }: Answered, flow: &mut Flow) -> v1::StreamedResponse {
    use v1::streamed_response::Answer;
    flow.answered(id, bytes);
    let answer = match answer {
        Ok(response) => Answer::Response(response),
        Err(status) => Answer::Failure(failure(&status)),
    };
    v1::StreamedResponse { id, answer: Some(answer) }
}

fn failure(status: &Status) -> v1::Failure {
    v1::Failure {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: status.details().to_vec().into(),
    }
}

/// How much of a stream is under way.
struct Flow {
    limits: Limits,
    /// What was read and not submitted: the rest of one frame.
    queued: VecDeque<Queued>,
    /// Of all requests without an answer.
    ids: HashSet<u64>,
    /// In flight.
    bytes: usize,
}

impl Flow {
    fn new(limits: Limits) -> Self {
        Self { limits, queued: VecDeque::new(), ids: HashSet::new(), bytes: 0 }
    }

    /// Whether another frame may be read.
    fn has_room(&self) -> bool {
        self.queued.is_empty() && self.ids.len() < self.limits.requests_max && self.bytes < self.limits.bytes_max
    }

    /// Takes what was read: all of a frame or, if anything is wrong with it, nothing.
    fn take(&mut self, frame: Result<v1::ExecuteStreamRequest, Status>) -> Result<(), Rejection> {
        let requests =
            frame.map_err(|status| wrong("requests", format!("not a frame: {}", status.message())))?.requests;
        if requests.is_empty() {
            return Err(wrong("requests", "a frame has at least one"));
        }
        for (number, v1::StreamedRequest { id, .. }) in requests.iter().enumerate() {
            if !self.ids.insert(*id) {
                let field = format!("requests[{number}].id");
                return Err(wrong(field, format!("{id} has been sent already and has no answer yet")));
            }
        }
        let queued = requests.into_iter().map(|request| Queued { bytes: request.encoded_len(), request });
        self.queued.extend(queued);
        Ok(())
    }

    /// The next request to be submitted, which is then in flight; none: there is none, or no room for it.
    fn next(&mut self) -> Option<Queued> {
        let in_flight = self.ids.len() - self.queued.len();
        let bytes = self.queued.front()?.bytes;
        if in_flight >= self.limits.requests_max || self.bytes + bytes > self.limits.bytes_max {
            return None;
        }
        self.bytes += bytes;
        self.queued.pop_front()
    }

    fn answered(&mut self, id: u64, bytes: usize) {
        self.ids.remove(&id);
        self.bytes -= bytes;
    }
}

/// What contradicts the interface.
fn wrong(field: impl Into<String>, message: impl Into<String>) -> Rejection {
    Rejection::field(reasons::INVALID_REQUEST, field, message)
}
