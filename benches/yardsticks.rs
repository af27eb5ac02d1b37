//! What a cluster does, beside what the machine could do at best: `cargo bench --bench yardsticks`.
//!
//! Three nodes on loopback, default settings, real fsync, messages of 256 bytes. Each of three rounds runs every benchmark beside
//! its yardstick; printed are the medians of all rounds. `QUORATE_YARDSTICK_SECONDS` sets how long each part runs (8); there are
//! seven parts in a round.

// The end-to-end tests use more of it.
#[allow(dead_code)]
#[path = "../tests/e2e/cluster.rs"]
mod cluster;
// Other benchmarks use more of it.
#[allow(dead_code)]
mod figures;

use std::fs;
use std::time::{Duration, Instant};

use quorate::client::{Body, Client, Options};
use serde_json::Value;
use tempfile::TempDir;

use cluster::{Cluster, Node, PATIENCE, quorate};
use figures::median;

const ROUNDS: usize = 3;
const STARTS: usize = 5;

/// What one round has measured. Times are in microseconds.
struct Round {
    stream_echo: f64,
    stream_enqueue: f64,
    cpu_seconds: f64,
    unary_echo: f64,
    unary_enqueue: f64,
    single_enqueue_p50: f64,
    single_echo_p50: f64,
    fsync_p50: f64,
}

fn main() {
    // `cargo test --benches` asks benchmarks only whether they start.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let cluster = Cluster::start(3);
    let resident = idle_resident_mib(&cluster);
    enqueue(&cluster, "stream", 256);
    let rounds: Vec<Round> = (0..ROUNDS).map(|number| run(&cluster, number)).collect();
    drop(cluster);
    let starts: Vec<f64> = (0..STARTS).map(|_| milliseconds_to_lead()).collect();
    print(&rounds);
    println!("idle node, resident                       {resident:8.1} MiB            target: under 50");
    println!("from start to the first answer, alone     {:8.0} ms             target: under 300", median(starts));
}

fn run(cluster: &Cluster, number: usize) -> Round {
    let stream_echo = operations(&echo("stream", 256));
    let cpu_before = cpu_seconds(cluster);
    let enqueued = enqueue(cluster, "stream", 256);
    let thousands = count(&enqueued) / 1e3;
    let cpu_seconds = (cpu_seconds(cluster) - cpu_before) / thousands;
    let round = Round {
        stream_echo,
        stream_enqueue: operations(&enqueued),
        cpu_seconds,
        unary_echo: operations(&echo("unary", 64)),
        unary_enqueue: operations(&enqueue(cluster, "unary", 64)),
        single_enqueue_p50: p50(&enqueue(cluster, "stream", 1)),
        single_echo_p50: p50(&echo("unary", 1)),
        fsync_p50: p50(&fsync(cluster)),
    };
    eprintln!("round {} of {ROUNDS} is done", number + 1);
    round
}

fn print(rounds: &[Round]) {
    let of = |value: fn(&Round) -> f64| median(rounds.iter().map(value).collect());
    println!("medians of {ROUNDS} rounds; ratios are those of the same round");
    println!(
        "stream, 256 outstanding                   {:8.0} enqueues/s; bare echo {:.0}/s: 1/{:.1}; target: at least 1/40",
        of(|round| round.stream_enqueue),
        of(|round| round.stream_echo),
        of(|round| round.stream_echo / round.stream_enqueue),
    );
    println!(
        "unary, 64 outstanding                     {:8.0} enqueues/s; bare echo {:.0}/s: 1/{:.1}; target: at least 1/3",
        of(|round| round.unary_enqueue),
        of(|round| round.unary_echo),
        of(|round| round.unary_echo / round.unary_enqueue),
    );
    println!(
        "one outstanding, p50                      {:8.0} µs; fdatasync {:.0} µs, unary echo {:.0} µs: {:.2} of fdatasync \
         + 2 echoes; target: at most 2",
        of(|round| round.single_enqueue_p50),
        of(|round| round.fsync_p50),
        of(|round| round.single_echo_p50),
        of(|round| round.single_enqueue_p50 / (round.fsync_p50 + 2.0 * round.single_echo_p50)),
    );
    println!(
        "CPU of all nodes per 1,000 enqueues       {:8.4} s              target: under 0.06",
        of(|round| round.cpu_seconds),
    );
}

fn enqueue(cluster: &Cluster, mode: &str, outstanding: u32) -> Value {
    let outstanding = outstanding.to_string();
    let endpoints = cluster.addresses().join(",");
    benchmark(&["enqueue", "--endpoints", &endpoints, "--mode", mode, "--outstanding", &outstanding])
}

fn echo(mode: &str, outstanding: u32) -> Value {
    benchmark(&["echo", "--mode", mode, "--outstanding", &outstanding.to_string()])
}

/// On the disk of the nodes.
fn fsync(cluster: &Cluster) -> Value {
    benchmark(&[
        "fsync",
        "--directory",
        cluster.directory.path().to_str().expect("temporary directories have plain names"),
    ])
}

/// Runs `quorate bench` and returns the result of its only verb. Without a warm-up, so that the CPU time of the nodes belongs
/// to what is counted.
fn benchmark(arguments: &[&str]) -> Value {
    let seconds = std::env::var("QUORATE_YARDSTICK_SECONDS").unwrap_or_else(|_| "8".to_owned());
    let mut command = quorate();
    command.arg("bench").args(arguments).args(["--size", "256", "--warmup", "0s", "--output", "json"]);
    let output = command.args(["--duration", &format!("{seconds}s")]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?} failed: {told}");
    let mut document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let result = document["results"][0].take();
    assert_eq!(result["failed"], 0, "{arguments:?}: {result}");
    result
}

fn operations(result: &Value) -> f64 {
    result["operations_per_second"].as_f64().unwrap()
}

fn count(result: &Value) -> f64 {
    result["operations"].as_f64().unwrap()
}

fn p50(result: &Value) -> f64 {
    result["latency_us"]["p50"].as_f64().unwrap()
}

/// User and system time of all nodes since they started.
fn cpu_seconds(cluster: &Cluster) -> f64 {
    figures::cpu_seconds_of(cluster.nodes.iter().map(Node::pid))
}

/// The largest of the nodes that have served nothing yet.
fn idle_resident_mib(cluster: &Cluster) -> f64 {
    let kibibytes = cluster.nodes.iter().map(|node| {
        let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    });
    kibibytes.max().unwrap() as f64 / 1024.0
}

/// From the start of a process with an empty directory to its answer to an enqueue.
fn milliseconds_to_lead() -> f64 {
    let directory = TempDir::new().unwrap();
    let mut node = Node::new(directory.path(), "alone");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pause = Duration::from_millis(1);
    let options = Options { timeout: Some(PATIENCE), pause_min: pause, pause_max: pause, ..Options::default() };
    let client = Client::new(vec![node.address.to_string()], options).unwrap();
    let start = Instant::now();
    node.start(&[]);
    runtime.block_on(client.enqueue("first", vec![Body::Text("hello".to_owned())])).unwrap();
    start.elapsed().as_secs_f64() * 1e3
}
