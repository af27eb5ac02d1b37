//! How long clients go without an answer when another node comes to lead: `cargo bench --bench failover`.
//!
//! Three nodes on loopback, default settings, real fsync, eight clients that enqueue one message after the other. The longest
//! time between two answers is taken around each of
//! - ten kills: the leader gets SIGKILL, and starts again;
//! - thirty planned hand-overs: in turn by `leader transfer` and by SIGTERM to the leader, which starts again;
//! - ten rounds of a rolling update: each node in turn gets SIGTERM, starts again, and is waited for until it is ready.

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
const HAND_OVERS: usize = 30;
const ROLLING_ROUNDS: usize = 10;

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
    let kills = (0..KILLS).map(|_| gap_of_one_kill(&mut cluster, &answers)).collect();
    let hand_overs = (0..HAND_OVERS).map(|turn| gap_of_one_hand_over(&mut cluster, &answers, turn)).collect();
    let updates = (0..ROLLING_ROUNDS).flat_map(|_| (0..3).rev());
    let updates = updates.map(|at| gap_of_one_update(&mut cluster, &answers, at)).collect();
    stop.store(true, Ordering::Relaxed);
    load.join().expect("no call of a retrying client fails");
    println!("time without an answer, {CLIENTS} clients, three nodes:");
    report("kill -9 of the leader", kills);
    report("planned hand-over", hand_overs);
    report("rolling update", updates);
}

fn report(what: &str, mut gaps: Vec<Duration>) {
    println!("  {what}, in order: {}", milliseconds(&gaps));
    gaps.sort_unstable();
    let (median, worst) = (gaps.len() / 2, gaps.len() - 1);
    println!("  {what}: median {}, worst {}", milliseconds(&gaps[median..=median]), milliseconds(&gaps[worst..]));
}

fn gap_of_one_kill(cluster: &mut Cluster, answers: &Mutex<Vec<Instant>>) -> Duration {
    let leader = cluster.leader();
    let gap = gap_around(answers, || cluster.nodes[leader].kill());
    cluster.nodes[leader].start(&[]);
    cluster.eventually_has_voters(3);
    gap
}

fn gap_of_one_hand_over(cluster: &mut Cluster, answers: &Mutex<Vec<Instant>>, turn: usize) -> Duration {
    if turn.is_multiple_of(2) {
        return gap_around(answers, || drop(cluster.ok(&["leader", "transfer"])));
    }
    let leader = cluster.leader();
    let gap = gap_around(answers, || assert!(cluster.nodes[leader].terminate().success()));
    cluster.nodes[leader].start(&[]);
    cluster.eventually_has_voters(3);
    gap
}

fn gap_of_one_update(cluster: &mut Cluster, answers: &Mutex<Vec<Instant>>, at: usize) -> Duration {
    gap_around(answers, || {
        assert!(cluster.nodes[at].terminate().success());
        cluster.nodes[at].start(&[]);
        cluster.nodes[at].eventually_is_ready();
    })
}

/// The longest time between two answers while `happens` does and shortly after.
fn gap_around(answers: &Mutex<Vec<Instant>>, happens: impl FnOnce()) -> Duration {
    answers.lock().unwrap().clear();
    let count = || answers.lock().unwrap().len();
    eventually("the load to run", || (count() > 100).then_some(()));
    happens();
    let happened_at = Instant::now();
    let after = |at: &&Instant| **at > happened_at + Duration::from_millis(200);
    eventually("the load to run again", || (answers.lock().unwrap().iter().filter(after).count() > 100).then_some(()));
    longest_gap(&answers.lock().unwrap())
}

fn longest_gap(answers: &[Instant]) -> Duration {
    answers.windows(2).map(|pair| pair[1].duration_since(pair[0])).max().unwrap_or_default()
}

fn run_clients(endpoints: &[String], answers: &Mutex<Vec<Instant>>, stop: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let clients = (0..CLIENTS).map(|_| async {
        let options = Options { timeout: Some(PATIENCE), ..Options::default() };
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
