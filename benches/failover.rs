//! How long clients go without an answer when the leader is killed: `cargo bench --bench failover`.
//!
//! Three nodes on loopback, default settings, real fsync, eight clients that enqueue one message after the other. The leader
//! gets SIGKILL, and the longest time between two answers around it is taken; then it starts again. Ten times.

// The end-to-end tests use more of it.
#[allow(dead_code)]
#[path = "../tests/e2e/cluster.rs"]
mod cluster;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quorate::client::{Body, Client, Options};

use cluster::{Cluster, PATIENCE, eventually};

const CLIENTS: usize = 8;
const KILLS: usize = 10;

fn main() {
    // `cargo test --benches` asks benchmarks only whether they start.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let mut cluster = Cluster::start(3);
    let answers = Arc::new(Mutex::new(Vec::<Instant>::new()));
    let stop = Arc::new(AtomicBool::new(false));
    let load = std::thread::spawn({
        let (endpoints, answers, stop) = (cluster.addresses(), Arc::clone(&answers), Arc::clone(&stop));
        move || run_clients(&endpoints, &answers, &stop)
    });
    let mut gaps: Vec<Duration> = (0..KILLS).map(|_| gap_of_one_kill(&mut cluster, &answers)).collect();
    stop.store(true, Ordering::Relaxed);
    load.join().expect("no call of a retrying client fails");
    println!("time without an answer after kill -9 of the leader, {CLIENTS} clients, three nodes:");
    println!("  in order of the kills: {}", milliseconds(&gaps));
    gaps.sort_unstable();
    println!("  median {}, worst {}", milliseconds(&gaps[KILLS / 2..=KILLS / 2]), milliseconds(&gaps[KILLS - 1..]));
}

fn gap_of_one_kill(cluster: &mut Cluster, answers: &Mutex<Vec<Instant>>) -> Duration {
    let leader = cluster.leader();
    answers.lock().unwrap().clear();
    let count = || answers.lock().unwrap().len();
    eventually("the load to run", || (count() > 100).then_some(()));
    let killed_at = Instant::now();
    cluster.nodes[leader].kill();
    let after = |at: &&Instant| **at > killed_at + Duration::from_millis(200);
    eventually("the load to run again", || (answers.lock().unwrap().iter().filter(after).count() > 100).then_some(()));
    let gap = longest_gap(&answers.lock().unwrap());
    cluster.nodes[leader].start(&[]);
    cluster.eventually_has_voters(3);
    gap
}

fn longest_gap(answers: &[Instant]) -> Duration {
    answers.windows(2).map(|pair| pair[1].duration_since(pair[0])).max().unwrap_or_default()
}

fn run_clients(endpoints: &[String], answers: &Mutex<Vec<Instant>>, stop: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let clients = (0..CLIENTS).map(|_| async {
        let options = Options { timeout: PATIENCE, ..Options::default() };
        let client = Client::new(endpoints.to_vec(), options).unwrap();
        while !stop.load(Ordering::Relaxed) {
            client.enqueue("load", vec![Body::Text("x".repeat(256))]).await.unwrap();
            answers.lock().unwrap().push(Instant::now());
        }
    });
    runtime.block_on(futures_util::future::join_all(clients));
}

fn milliseconds(gaps: &[Duration]) -> String {
    gaps.iter().map(|gap| format!("{} ms", gap.as_millis())).collect::<Vec<_>>().join(", ")
}
