//! What it costs a cluster to be traced: `cargo bench --bench tracing`.
//!
//! Five clusters of three nodes on loopback, default settings, real fsync, which differ in what they tell a collector in this
//! process: nothing, nothing again, no request of those that could be told, one of a hundred, every one. Metrics can be scraped in
//! all of them, as by default, so that what they cost is in every column and in no difference. In each round all of them are
//! measured one after the other with the same load, forwards in one round and backwards in the next, and compared with the first
//! of the same round. The second, in which nothing differs, shows what a difference is worth on this machine.
//!
//! `QUORATE_TRACING_ROUNDS` sets how many rounds there are (8), `QUORATE_TRACING_SECONDS` how long each cluster is measured in a
//! round (4).

// The end-to-end tests use more of both.
#[allow(dead_code)]
#[path = "../tests/e2e/cluster.rs"]
mod cluster;
#[allow(dead_code)]
#[path = "../tests/e2e/collector.rs"]
mod collector;
// Other benchmarks use more of it.
#[allow(dead_code)]
mod figures;

use serde_json::Value;

use cluster::{Cluster, Node, quorate};
use collector::Collector;

/// What the clusters are called, and which share of requests each of them traces, if any.
const CLUSTERS: [(&str, Option<&str>); 5] =
    [("off", None), ("off, once more", None), ("0 %", Some("0")), ("1 %", Some("0.01")), ("100 %", Some("1"))];

/// What was measured of one cluster in one round.
#[derive(Clone, Copy)]
struct Measured {
    per_second: f64,
    /// Of all nodes, for a thousand enqueues.
    cpu_seconds: f64,
}

fn main() {
    if figures::is_only_a_test() {
        return;
    }
    let collector = Collector::start();
    let clusters = CLUSTERS.map(|(_, share)| start(&collector, share));
    let rounds = figures::setting("QUORATE_TRACING_ROUNDS", 8) as usize;
    for cluster in &clusters {
        measure(cluster);
    }
    let rounds: Vec<[Measured; CLUSTERS.len()]> = (0..rounds)
        .map(|number| {
            let measured = round(&clusters, number % 2 == 1);
            eprintln!("round {} of {rounds} is done; {} spans were told", number + 1, collector.forget_spans());
            measured
        })
        .collect();
    println!("{:16} {:>12} {:>22} {:>16} {:>22}", "traced", "enqueues/s", "ratio", "CPU s/1,000", "ratio");
    for (place, (name, _)) in CLUSTERS.into_iter().enumerate() {
        let (rate, rates) = compare(&rounds, place, |measured| measured.per_second);
        let (cpu, cpus) = compare(&rounds, place, |measured| measured.cpu_seconds);
        println!("{name:16} {rate:>12.0} {rates:>22} {cpu:>16.4} {cpus:>22}");
    }
    println!("medians of {} rounds; ratios are those of the same round, with the lowest and the highest", rounds.len());
}

fn start(collector: &Collector, share: Option<&str>) -> Cluster {
    let traced = |share: &str| {
        vec![
            ("OTEL_TRACES_EXPORTER", "otlp".to_owned()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()),
            ("OTEL_TRACES_SAMPLER_ARG", share.to_owned()),
        ]
    };
    Cluster::start_with(3, &share.map(traced).unwrap_or_default())
}

fn round(clusters: &[Cluster; CLUSTERS.len()], backwards: bool) -> [Measured; CLUSTERS.len()] {
    let mut measured = [Measured { per_second: 0.0, cpu_seconds: 0.0 }; CLUSTERS.len()];
    let mut places: Vec<usize> = (0..clusters.len()).collect();
    if backwards {
        places.reverse();
    }
    for place in places {
        measured[place] = measure(&clusters[place]);
    }
    measured
}

fn measure(cluster: &Cluster) -> Measured {
    let cpu_seconds = || figures::cpu_seconds_of(cluster.nodes.iter().map(Node::pid));
    let before = cpu_seconds();
    let result = enqueue(cluster);
    let enqueues = result["operations"].as_f64().expect("a number of enqueues");
    Measured {
        per_second: result["operations_per_second"].as_f64().expect("a rate"),
        cpu_seconds: (cpu_seconds() - before) / (enqueues / 1e3),
    }
}

/// Without a warm-up, so that the CPU time of the nodes belongs to what is counted.
fn enqueue(cluster: &Cluster) -> Value {
    let duration = format!("{}s", figures::setting("QUORATE_TRACING_SECONDS", 4));
    let mut command = quorate();
    command.args(["bench", "enqueue", "--endpoints", &cluster.addresses().join(","), "--outstanding", "256"]);
    command.args(["--size", "256", "--warmup", "0s", "--output", "json", "--duration", &duration]);
    let output = command.output().expect("the built binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut document: Value = serde_json::from_slice(&output.stdout).expect("a document");
    let result = document["results"][0].take();
    assert_eq!(result["failed"], 0, "{result}");
    result
}

/// The median of what was measured, and of its ratio to the first cluster, with the lowest and the highest.
fn compare(rounds: &[[Measured; CLUSTERS.len()]], place: usize, of: fn(&Measured) -> f64) -> (f64, String) {
    let mut ratios: Vec<f64> = rounds.iter().map(|round| of(&round[place]) / of(&round[0])).collect();
    ratios.sort_by(f64::total_cmp);
    let (lowest, highest) = (ratios[0], ratios[ratios.len() - 1]);
    let ratios = format!("{:.3} ({lowest:.3} .. {highest:.3})", figures::median(ratios));
    (figures::median(rounds.iter().map(|round| of(&round[place])).collect()), ratios)
}
