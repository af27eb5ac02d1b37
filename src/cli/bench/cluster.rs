//! Loads on a cluster: what is sent, by how many workers, and when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::task::JoinSet;

use super::options::Load;
use super::period::{Ended, Period};
use super::run::Run;
use super::schedule::{Arrivals, Schedule};
use super::tally::{Begun, Recorder};
use crate::client::{self, Body, Client, Options};
use crate::proto::v1;
use crate::proto::v1::operation::Operation as Verb;
use crate::proto::v1::outcome::Outcome;
use crate::state_machine::Request;

/// After an error a worker waits this long, so that a refusal that comes at once does not become a busy loop.
const PAUSE: Duration = Duration::from_millis(10);

/// How many requests fill a queue at a time.
const FILLERS: u64 = 4;

/// What a worker does again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Enqueue,
    Dequeue,
    /// An enqueue and, after its answer, a dequeue, which counts from there.
    Pair,
}

/// One client and what its workers share.
struct Connection {
    client: Client,
    turn: Turn,
    period: Period,
    enqueue: Step,
    dequeue: Step,
}

/// A request, made once, and where it is counted.
struct Step {
    operations: Vec<v1::Operation>,
    recorder: Arc<Recorder>,
}

/// The clients of a load. Each has been in touch with the cluster.
///
/// # Errors
/// An endpoint is none, or no leader can be reached.
pub(super) async fn connect(load: &Load, queue: &str, options: &Options) -> Result<Vec<Client>, client::Error> {
    let connect = |_| async {
        let client = Client::new(load.client.endpoints.clone(), options.clone())?;
        client.peek(queue, 1).await?;
        Ok(client)
    };
    try_join_all((0..load.connections).map(connect)).await
}

/// Enqueues this many messages.
pub(super) async fn fill(client: &Client, queue: &str, size: usize, messages: u64) -> Result<(), client::Error> {
    let batch = (Request::BYTES_MAX / 3 / size.max(1)).clamp(1, Request::OPERATIONS_MAX) as u64;
    let fill_share = |filler| async move {
        let mut left = messages / FILLERS + u64::from(filler < messages % FILLERS);
        while left > 0 {
            let count = left.min(batch);
            client.execute(vec![enqueue(queue, size); count as usize]).await?;
            left -= count;
        }
        Ok(())
    };
    try_join_all((0..FILLERS).map(fill_share)).await.map(|_| ())
}

/// Starts the workers: a closed loop, or an open one if there is a rate.
pub(super) fn start(clients: &[Client], queue: &str, turn: Turn, load: &Load) -> Run {
    let period = Period::new(load.timing.warmup, load.timing.duration);
    let start = period.begins() - load.timing.warmup;
    let arrivals = load.rate.map(|rate| Arrivals::start(Schedule::new(start, rate), period.clone()));
    let mut run = Run { period, recorders: Vec::new(), workers: JoinSet::new(), arrivals };
    for (client, workers) in clients.iter().zip(load.in_flight()) {
        let connection = Arc::new(Connection::new(client.clone(), queue, turn, load, &run.period));
        run.recorders.extend(connection.recorders());
        for _ in 0..workers {
            let (connection, arrivals) = (Arc::clone(&connection), run.arrivals.clone());
            run.workers.spawn(async move {
                connection.work(arrivals.as_deref()).await;
                Ok(())
            });
        }
    }
    run
}

impl Connection {
    fn new(client: Client, queue: &str, turn: Turn, load: &Load, period: &Period) -> Self {
        let step = |verb, operation| Step {
            operations: vec![operation; load.batch as usize],
            recorder: Arc::new(Recorder::new(verb, period.clone())),
        };
        let enqueue = step("enqueue", enqueue(queue, load.size));
        Self { client, turn, period: period.clone(), enqueue, dequeue: step("dequeue", dequeue(queue)) }
    }

    fn recorders(&self) -> Vec<Arc<Recorder>> {
        let steps = match self.turn {
            Turn::Enqueue => vec![&self.enqueue],
            Turn::Dequeue => vec![&self.dequeue],
            Turn::Pair => vec![&self.enqueue, &self.dequeue],
        };
        steps.into_iter().map(|step| Arc::clone(&step.recorder)).collect()
    }

    /// One turn after the other: as soon as the one before is answered, or when it is due.
    async fn work(&self, arrivals: Option<&Arrivals>) {
        let next = async || match arrivals {
            Some(arrivals) => arrivals.next().await,
            None => (!self.period.is_over()).then(Instant::now),
        };
        while let Some(due) = next().await {
            self.turn(due).await;
        }
    }

    async fn turn(&self, due: Instant) {
        match self.turn {
            Turn::Enqueue => {
                self.send(&self.enqueue, due).await;
            }
            Turn::Dequeue => {
                if self.send(&self.dequeue, due).await == Some(0) {
                    self.period.cut(Ended::QueueEmpty);
                }
            }
            Turn::Pair => {
                if self.send(&self.enqueue, due).await.is_some() {
                    self.send(&self.dequeue, Begun { turn: due, request: Instant::now() }).await;
                }
            }
        }
    }

    /// Sends a request and counts what becomes of it: how many messages went in or out, or none if it failed.
    async fn send(&self, step: &Step, begun: impl Into<Begun>) -> Option<u64> {
        let begun = begun.into();
        match self.client.execute(step.operations.clone()).await.and_then(messages) {
            Ok(0) => {
                step.recorder.found_empty(begun);
                Some(0)
            }
            Ok(messages) => {
                step.recorder.answered(begun, messages);
                Some(messages)
            }
            Err(error) => {
                step.recorder.failed(begun, error.reason());
                tokio::time::sleep(PAUSE).await;
                None
            }
        }
    }
}

fn enqueue(queue: &str, size: usize) -> v1::Operation {
    // The bytes of a static slice are not copied with every request.
    static BODY: [u8; Request::MESSAGE_BYTES_MAX] = [b'x'; Request::MESSAGE_BYTES_MAX];
    let message = Some(Body::Data(Bytes::from_static(&BODY[..size])).into());
    v1::Operation { operation: Some(Verb::Enqueue(v1::Enqueue { queue: queue.to_owned(), message, delay: None })) }
}

fn dequeue(queue: &str) -> v1::Operation {
    v1::Operation { operation: Some(Verb::Dequeue(v1::Dequeue { queue: queue.to_owned(), wait: None })) }
}

/// How many messages went into the queue or came out of it.
fn messages(response: v1::ExecuteResponse) -> Result<u64, client::Error> {
    let moved = |outcome: v1::Outcome| match outcome.outcome {
        Some(Outcome::Enqueued(_)) => Ok(1),
        Some(Outcome::Dequeued(dequeued)) => Ok(u64::from(dequeued.message.is_some())),
        _ => Err(client::Error::Malformed { what: "neither an enqueue nor a dequeue was answered".to_owned() }),
    };
    response.outcomes.into_iter().map(moved).sum()
}
