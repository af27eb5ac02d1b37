//! One stream to a node, shared by all calls that are under way there.
//!
//! ```text
//!   call --\                      /--> frame of all that has gathered --> node
//!   call ---+--> asked (bounded) +
//!   call --/                      \<-- frame of answers, each of which ends its call
//! ```
//!
//! A task owns the stream. It is opened for the first call, closed when nobody has called for a while, and opened again for the
//! next one. When it breaks, every call that is under way fails, and each decides by itself what to do about that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxFuture;
use tonic::{Code, Request, Response, Status, Streaming};

use super::endpoints::{Limit, Routing};
use super::failure::Failure;
use super::line::Line;
use super::patience::Patience;
use super::reach::Obstacle;
use crate::proto::v1;
use crate::proto::v1::quorate_client::QuorateClient;
use crate::reasons;
use crate::telemetry::propagation::TraceHeaders;
use crate::wary::Wary;

/// A stream is looked at this often, and more often where a sending may take less than four times as long.
const CHECK_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// A stream is looked at no more often than this, however short the time-out of the client.
const CHECK_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// Requests that wait to be sent. When they are that many, further ones wait until their attempt is over.
const ASKED_MAX: usize = 256;

/// Requests without an answer. When they are that many, nothing more is sent: the node would not read it.
const IN_FLIGHT_MAX: usize = 1_024;

/// A frame takes requests until they are this many bytes together. With one more of [`REQUEST_BYTES_MAX`] that is well below
/// what a node takes.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// A larger request goes by a call of its own, so that it holds up nobody and its refusal is its own.
pub(super) const REQUEST_BYTES_MAX: usize = 1 << 20;

/// A stream on which nothing is asked for this long is closed: the node has only so many.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// A way to send requests to one node on a shared stream. Clones share it.
#[derive(Clone)]
pub(super) struct Pipe(Arc<Shared>);

struct Shared {
    client: QuorateClient<Wary>,
    line: Line,
    routing: Routing,
    patience: Arc<Patience>,
    /// To the task that owns the stream, if there is one; closed when it takes nothing more.
    asked: Mutex<Option<mpsc::Sender<Asked>>>,
}

/// What a call hands to the stream.
struct Asked {
    request: v1::ExecuteRequest,
    limit: Limit,
    /// Of the caller's trace.
    trace: TraceHeaders,
    answer: Answer,
}

/// Where an answer goes. Closed: the call has been given up.
type Answer = oneshot::Sender<Result<v1::ExecuteResponse, Failure>>;

impl Pipe {
    /// A way to the node that `client` leads to, or through it to the leader. A node that answers nothing for as long as any of the
    /// requests that it has may take is taken for dead.
    pub(super) fn new(client: QuorateClient<Wary>, line: Line, routing: Routing, patience: Arc<Patience>) -> Self {
        Self(Arc::new(Shared { client, line, routing, patience, asked: Mutex::default() }))
    }

    /// Sends a request and waits for its answer. Dropping the future gives up the answer and leaves the stream as it is.
    pub(super) async fn execute(
        &self,
        request: v1::ExecuteRequest,
        limit: Limit,
    ) -> Result<v1::ExecuteResponse, Failure> {
        let (answer, answered) = oneshot::channel();
        let mut asked = Asked { request, limit, trace: TraceHeaders::current(), answer };
        // A stream that is just being closed gives back what it has not taken, and another is opened.
        while let Err(mpsc::error::SendError(back)) = self.stream().send(asked).await {
            asked = back;
        }
        // Dropped without an answer only with the runtime that the stream was opened on.
        answered.await.unwrap_or_else(|_| Err(Failure::Lost("the stream is gone".to_owned())))
    }

    /// The stream that takes requests now.
    fn stream(&self) -> mpsc::Sender<Asked> {
        // Nothing in here panics half-way through a change.
        let mut current = self.0.asked.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some(asked) if !asked.is_closed() => asked.clone(),
            _ => current.insert(self.open()).clone(),
        }
    }

    /// Starts the task of a stream. It ends with the stream, and when there is nobody any more who could ask.
    fn open(&self) -> mpsc::Sender<Asked> {
        let Shared { client, line, routing, patience, .. } = &*self.0;
        let (sender, asked) = mpsc::channel(ASKED_MAX);
        // One frame is on its way while the next one gathers.
        let (frames, sent) = mpsc::channel(1);
        let mut stream = Request::new(ReceiverStream::new(sent));
        routing.ask(stream.metadata_mut());
        let mut client = client.clone();
        let answers = Answers::Opening(Box::pin(async move { client.execute_stream(stream).await }));
        let stream = Stream {
            answers,
            line: line.clone(),
            patience: patience.clone(),
            silence_max: Duration::ZERO,
            in_flight: HashMap::new(),
            last_id: 0,
            heard: Instant::now(),
        };
        tokio::spawn(run(stream, frames, asked));
        sender
    }
}

async fn run(stream: Stream, frames: mpsc::Sender<v1::ExecuteStreamRequest>, mut asked: mpsc::Receiver<Asked>) {
    let Err(failure) = stream.carry(&mut asked, frames).await else { return };
    let failure = unsent(failure);
    asked.close();
    while let Some(Asked { answer, .. }) = asked.recv().await {
        // Whoever has given up needs no answer.
        let _ = answer.send(Err(failure.clone()));
    }
}

/// What the node says on a stream. The first requests go out with the call that opens it: to wait for the node to agree would take
/// a round trip more.
enum Answers {
    Opening(BoxFuture<Response<Streaming<v1::ExecuteStreamResponse>>, Status>),
    Open(Box<Streaming<v1::ExecuteStreamResponse>>),
}

impl Answers {
    /// The next ones. Loses nothing when it is dropped half way.
    async fn next(&mut self) -> Result<Option<v1::ExecuteStreamResponse>, Status> {
        loop {
            match self {
                Answers::Opening(opening) => *self = Answers::Open(Box::new(opening.await?.into_inner())),
                Answers::Open(answers) => return answers.message().await,
            }
        }
    }
}

/// A stream and the requests on it.
struct Stream {
    answers: Answers,
    line: Line,
    patience: Arc<Patience>,
    /// The longest time that a request on it may take, or might have, by what was known when it was made.
    silence_max: Duration,
    in_flight: HashMap<u64, Answer>,
    last_id: u64,
    /// When the node last answered, or was first asked after that.
    heard: Instant,
}

impl Stream {
    /// How long the node may answer nothing, by what is known now.
    fn silence_max(&self) -> Duration {
        self.silence_max.max(self.patience.sending(0))
    }

    /// The node has answered nothing for too long.
    fn silent(&self) -> Failure {
        let silence = self.silence_max();
        if self.line.is_connecting() { not_connected(silence) } else { Failure::Silent(silence) }
    }

    /// Sends what is asked and passes on what is answered, until nobody asks any more or the stream ends. Then every call that
    /// is still under way is told why.
    async fn carry(
        mut self,
        asked: &mut mpsc::Receiver<Asked>,
        frames: mpsc::Sender<v1::ExecuteStreamRequest>,
    ) -> Result<(), Failure> {
        let ended = self.exchange(asked, frames).await;
        if let Err(failure) = &ended {
            for (_, answer) in self.in_flight {
                // Whoever has given up needs no answer.
                let _ = answer.send(Err(failure.clone()));
            }
        }
        ended
    }

    async fn exchange(
        &mut self,
        asked: &mut mpsc::Receiver<Asked>,
        frames: mpsc::Sender<v1::ExecuteStreamRequest>,
    ) -> Result<(), Failure> {
        let mut frame = None;
        let mut asked_out = false;
        let mut check = tokio::time::interval((self.silence_max() / 4).clamp(CHECK_INTERVAL_MIN, CHECK_INTERVAL_MAX));
        while !asked_out || !self.in_flight.is_empty() {
            tokio::select! {
                biased;
                answers = self.answers.next() => match answers {
                    Ok(Some(answers)) => self.on_answers(answers),
                    Ok(None) => return Err(Failure::Lost("the node has ended the stream".to_owned())),
                    Err(status) => return Err(ending(status)),
                },
                // While there is no room for a frame, answers must be taken all the same.
                Ok(room) = frames.reserve(), if frame.is_some() => {
                    if let Some(frame) = frame.take() {
                        room.send(frame);
                    }
                }
                first = asked.recv(), if frame.is_none() && !asked_out && self.in_flight.len() < IN_FLIGHT_MAX => {
                    match first {
                        Some(first) => frame = self.gather(first, asked).await,
                        None => asked_out = true,
                    }
                }
                _ = check.tick() => match self.heard.elapsed() {
                    silence if !self.in_flight.is_empty() && silence > self.silence_max() => return Err(self.silent()),
                    silence if self.in_flight.is_empty() && silence > IDLE_MAX => asked.close(),
                    _ => {}
                },
            }
        }
        Ok(())
    }

    /// One frame of what is asked by now; none when everybody has given up.
    async fn gather(&mut self, first: Asked, waiting: &mut mpsc::Receiver<Asked>) -> Option<v1::ExecuteStreamRequest> {
        // Calls that were answered together are about to ask again together.
        tokio::task::yield_now().await;
        if self.in_flight.is_empty() {
            self.heard = Instant::now();
        }
        let mut requests = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(asked) = next {
            if !asked.answer.is_closed() {
                bytes += asked.request.encoded_len();
                requests.push(self.put_in_flight(asked));
            }
            let is_full = bytes >= FRAME_BYTES_MAX || self.in_flight.len() == IN_FLIGHT_MAX;
            next = if is_full { None } else { waiting.try_recv().ok() };
        }
        (!requests.is_empty()).then_some(v1::ExecuteStreamRequest { requests })
    }

    fn put_in_flight(&mut self, Asked { request, limit, trace, answer }: Asked) -> v1::StreamedRequest {
        let TraceHeaders { traceparent, tracestate } = trace;
        self.last_id += 1;
        self.in_flight.insert(self.last_id, answer);
        self.silence_max = self.silence_max.max(limit.silence);
        // A time that the protocol cannot express is longer than any node takes.
        let timeout = limit.told.try_into().ok();
        v1::StreamedRequest { id: self.last_id, request: Some(request), timeout, traceparent, tracestate }
    }

    fn on_answers(&mut self, answers: v1::ExecuteStreamResponse) {
        self.heard = Instant::now();
        for v1::StreamedResponse { id, answer } in answers.responses {
            // Whoever has given up needs no answer, and what nobody asked for is for nobody.
            if let Some(waiting) = self.in_flight.remove(&id) {
                let _ = waiting.send(received(answer));
            }
        }
    }
}

fn received(answer: Option<v1::streamed_response::Answer>) -> Result<v1::ExecuteResponse, Failure> {
    use v1::streamed_response::Answer;
    match answer {
        Some(Answer::Response(response)) => Ok(response),
        Some(Answer::Failure(v1::Failure { code, message, details })) => {
            Err(Status::with_details(Code::from_i32(code), message, details).into())
        }
        None => Err(Failure::Lost("it is neither a response nor a failure".to_owned())),
    }
}

/// What the end of the stream means for a request without an answer. With a reason of its own the node says that it has not
/// taken the request, unless the reason is that it does not know.
fn ending(status: Status) -> Failure {
    match Failure::from(status) {
        Failure::Refused(no) if no.reason.is_empty() || no.reason == reasons::OUTCOME_UNKNOWN => {
            Failure::Lost(no.to_string())
        }
        failure => failure,
    }
}

/// What it means for a request that was not sent.
fn unsent(failure: Failure) -> Failure {
    match failure {
        Failure::Lost(_) | Failure::Silent(_) => unreachable(failure.to_string()),
        Failure::Unreachable(..) | Failure::Refused(_) => failure,
    }
}

/// The connection has taken too long to make.
pub(super) fn not_connected(after: Duration) -> Failure {
    Failure::Unreachable(format!("no connection in {:.1} s", after.as_secs_f64()), Obstacle::Silence)
}

fn unreachable(why: String) -> Failure {
    Failure::Unreachable(why, Obstacle::Other)
}
