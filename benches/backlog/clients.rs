//! Clients that put messages in and take them out, and what a process takes of memory.

use std::fs;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use quorate::client::{Body, Client, Options};
use quorate::proto::v1;
use quorate::proto::v1::operation::Operation as Verb;
use quorate::proto::v1::outcome::Outcome as Kind;

use crate::cluster::{Cluster, Node, PATIENCE};

/// A client that repeats what fails, soon.
pub fn client(endpoints: Vec<String>) -> Client {
    let pause = Duration::from_millis(1);
    let options = Options { timeout: Some(PATIENCE), pause_min: pause, pause_max: 20 * pause, ..Options::default() };
    Client::new(endpoints, options).unwrap()
}

/// Runs as many copies of a client's work at once, each with its number, and waits for all of them.
pub fn run_clients<F: Future>(cluster: &Cluster, count: u64, work: impl Fn(Client, u64) -> F) {
    block_on(async {
        // On one stream.
        let client = client(cluster.addresses());
        join_all((0..count).map(|number| work(client.clone(), number))).await;
        client.close().await;
    });
}

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Has messages wait in a queue, each in a request of its own or so many in one.
pub fn fill(cluster: &Cluster, queue: &str, messages: u64, together: u64, bytes: usize) {
    const OUTSTANDING: u64 = 256;
    run_clients(cluster, OUTSTANDING, |client, number| async move {
        let requests = messages / together;
        let own = requests / OUTSTANDING + u64::from(number < requests % OUTSTANDING);
        for _ in 0..own {
            let body = Body::Data(Bytes::from(vec![7; bytes]));
            client.enqueue(queue, vec![body; together as usize]).await.unwrap();
        }
    });
}

/// Takes so many messages out of a queue that has them.
pub async fn take(client: &Client, queue: &str, count: usize) -> Vec<Bytes> {
    let dequeue = Verb::Dequeue(v1::Dequeue { queue: queue.to_owned(), wait: None });
    let operations = vec![v1::Operation { operation: Some(dequeue) }; count];
    let outcomes = client.execute(operations).await.unwrap().outcomes;
    outcomes.into_iter().map(body).collect()
}

fn body(outcome: v1::Outcome) -> Bytes {
    let Some(Kind::Dequeued(v1::Dequeued { message: Some(message) })) = outcome.outcome else {
        panic!("a dequeue brought {outcome:?}");
    };
    match message.message.and_then(|message| message.body) {
        Some(Body::Data(data)) => data,
        other => panic!("a message came back as {other:?}"),
    }
}

/// What the process of a node takes of memory, in bytes.
pub fn resident_bytes(node: &Node) -> u64 {
    status_bytes(node, "VmRSS:")
}

/// The most that it has taken.
pub fn resident_bytes_max(node: &Node) -> u64 {
    status_bytes(node, "VmHWM:")
}

fn status_bytes(node: &Node, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("Linux tells it");
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}
