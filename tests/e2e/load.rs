//! Clients that enqueue as fast as they are answered, and what must be true afterwards.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quorate::client::{Body, Client, Options};
use quorate::proto::v1;
use quorate::proto::v1::operation::Operation as Verb;
use quorate::proto::v1::outcome::Outcome as Kind;

use crate::cluster::{PATIENCE, eventually};

/// A running load: one queue, several producers.
pub struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Acknowledged>>,
    runner: JoinHandle<()>,
}

/// What was acknowledged, and how steadily.
#[derive(Default)]
struct Acknowledged {
    bodies: Vec<String>,
    last: Option<Instant>,
    longest_gap: Duration,
}

impl Acknowledged {
    fn add(&mut self, body: String) {
        self.longest_gap = self.longest_gap.max(self.gap());
        self.last = Some(Instant::now());
        self.bodies.push(body);
    }

    fn gap(&self) -> Duration {
        self.last.map(|last| last.elapsed()).unwrap_or_default()
    }
}

impl Load {
    /// Starts `producers` that enqueue bodies `PRODUCER-NUMBER` to `queue`, each with a client of its own.
    pub fn start(endpoints: Vec<String>, queue: &'static str, producers: usize) -> Self {
        Self::start_with(move || client(endpoints.clone()), queue, producers)
    }

    /// The same with one client, so that they share a session and a stream.
    pub fn start_on_one_stream(endpoints: Vec<String>, queue: &'static str, producers: usize) -> Self {
        let shared = OnceLock::new();
        Self::start_with(move || shared.get_or_init(|| client(endpoints.clone())).clone(), queue, producers)
    }

    /// As `start_on_one_stream`, with bodies `PRODUCER-NUMBER` that are made this long with dots behind them.
    pub fn start_with_long_bodies(endpoints: Vec<String>, queue: &'static str, producers: usize, bytes: usize) -> Self {
        let shared = OnceLock::new();
        let client = move || shared.get_or_init(|| client(endpoints.clone())).clone();
        Self::start_with_bodies(client, queue, producers, bytes)
    }

    fn start_with(client: impl Fn() -> Client + Send + 'static, queue: &'static str, producers: usize) -> Self {
        Self::start_with_bodies(client, queue, producers, 0)
    }

    fn start_with_bodies(
        client: impl Fn() -> Client + Send + 'static,
        queue: &'static str,
        producers: usize,
        bytes: usize,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::<Mutex<Acknowledged>>::default();
        let (stop_seen, sink) = (Arc::clone(&stop), Arc::clone(&acknowledged));
        let runner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let all = (0..producers)
                .map(|producer| produce(client(), queue, (producer, bytes), Arc::clone(&stop_seen), Arc::clone(&sink)));
            runtime.block_on(async { futures_util::future::join_all(all).await });
        });
        Self { stop, acknowledged, runner }
    }

    /// How many enqueues have been acknowledged.
    pub fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().bodies.len()
    }

    /// The longest time without an acknowledgement since this was last asked.
    pub fn take_longest_gap(&self) -> Duration {
        let mut acknowledged = self.acknowledged.lock().unwrap();
        let gap = acknowledged.gap();
        std::mem::take(&mut acknowledged.longest_gap).max(gap)
    }

    /// Waits until `more` further enqueues are acknowledged.
    pub fn eventually_acknowledges(&self, more: usize) {
        let goal = self.count() + more;
        eventually(&format!("{goal} acknowledged enqueues"), || (self.count() >= goal).then_some(()));
    }

    /// Stops the producers. Returns what was acknowledged. No call of theirs has failed.
    pub fn finish(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.runner.join().expect("no call of a retrying client fails");
        std::mem::take(&mut self.acknowledged.lock().unwrap().bodies)
    }
}

async fn produce(
    client: Client,
    queue: &str,
    (producer, bytes): (usize, usize),
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Acknowledged>>,
) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let body = format!("{:.<bytes$}", format!("{producer}-{number}"));
        client.enqueue(queue, vec![Body::Text(body.clone())]).await.unwrap();
        acknowledged.lock().unwrap().add(body);
    }
}

/// A client that is patient.
pub fn client(endpoints: Vec<String>) -> Client {
    Client::new(endpoints, Options { timeout: Some(PATIENCE), ..Options::default() }).unwrap()
}

/// Empties a queue and checks that what was acknowledged is there, each body once, each producer's in its order, and that
/// nothing else is there.
pub fn check_drained(endpoints: Vec<String>, queue: &str, acknowledged: &[String]) {
    check_taken(drain(endpoints, queue), acknowledged);
}

/// Takes everything out of a queue.
pub fn drain(endpoints: Vec<String>, queue: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = client(endpoints);
        let mut drained = Vec::new();
        loop {
            let taken = take(&client, queue).await;
            if taken.is_empty() {
                break;
            }
            drained.extend(taken);
        }
        client.close().await;
        drained
    })
}

/// Takes up to a hundred messages; none: there are none.
pub async fn take(client: &Client, queue: &str) -> Vec<String> {
    let dequeue = Verb::Dequeue(v1::Dequeue { queue: queue.to_owned(), wait: None });
    let operations = vec![v1::Operation { operation: Some(dequeue) }; 100];
    let outcomes = client.execute(operations).await.unwrap().outcomes;
    let text = |outcome: v1::Outcome| match outcome.outcome {
        Some(Kind::Dequeued(v1::Dequeued { message })) => match message?.message?.body {
            Some(Body::Text(text)) => Some(text),
            other => panic!("a message came back as {other:?}"),
        },
        other => panic!("a dequeue brought {other:?}"),
    };
    outcomes.into_iter().filter_map(text).collect()
}

/// What was taken is what was acknowledged: each body once, each producer's in its order.
pub fn check_taken(drained: Vec<String>, acknowledged: &[String]) {
    let unique: BTreeSet<&String> = drained.iter().collect();
    assert_eq!(unique.len(), drained.len(), "something came twice");
    let expected: BTreeSet<&String> = acknowledged.iter().collect();
    let lost: Vec<_> = expected.difference(&unique).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let strange: Vec<_> = unique.difference(&expected).collect();
    assert!(strange.is_empty(), "never acknowledged as enqueued: {strange:?}");
    check_order(&drained);
}

fn check_order(drained: &[String]) {
    let mut next = std::collections::BTreeMap::new();
    for body in drained {
        let (producer, number) = body.split_once('-').unwrap();
        let number: u64 = number.trim_end_matches('.').parse().unwrap();
        let expected = next.insert(producer, number + 1).unwrap_or(0);
        assert_eq!(number, expected, "producer {producer} is out of order");
    }
}
