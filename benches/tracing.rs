//! What it costs a cluster to be watched: `cargo bench --bench tracing`.
//!
//! Six clusters of three nodes on loopback, default settings, real fsync, which differ in what they tell: as by default (no traces,
//! metrics for whoever scrapes them), the same again, no metrics either; and to a collector in this process, which looks at nothing of
//! what it is told, no request of those that could be traced, one of a hundred, every one. In each round all of them are measured one
//! after the other with the same load, `quorate bench pair`, forwards in one round and backwards in the next, and compared with the
//! mean of the first two of the same round. Those two are compared with each other, which shows what a difference is worth on this
//! machine.
//!
//! `QUORATE_TRACING_ROUNDS` sets how many rounds there are (8), `QUORATE_TRACING_SECONDS` how long each cluster is measured in a
//! round (4), `QUORATE_TRACING_RATE` how many of each of the two a second are sent (0: as many as go). As fast as they can, nodes that
//! have something else to do carry out fewer operations, and write fewer of them together; what telling takes by itself, the CPU time
//! at a rate that all of them reach shows.

// The end-to-end tests use more of it.
#[allow(dead_code)]
#[path = "../tests/e2e/cluster.rs"]
mod cluster;
// Other benchmarks use more of it.
#[allow(dead_code)]
mod figures;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::http::{HeaderName, HeaderValue};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body::Frame;
use serde_json::Value;

use cluster::{Cluster, Node, quorate};

/// What the clusters are called, and what each of them tells.
const CLUSTERS: [(&str, Told); 6] = [
    ("as by default", Told::Metrics),
    ("the same again", Told::Metrics),
    ("no metrics", Told::Nothing),
    ("traced: 0 %", Told::Traces("0")),
    ("traced: 1 %", Told::Traces("0.01")),
    ("traced: 100 %", Told::Traces("1")),
];

#[derive(Clone, Copy)]
enum Told {
    Nothing,
    Metrics,
    /// And metrics: of which share of the requests.
    Traces(&'static str),
}

/// Bytes that the collector was told.
static TOLD: AtomicU64 = AtomicU64::new(0);

/// What was measured of one cluster in one round.
#[derive(Clone, Copy)]
struct Measured {
    per_second: f64,
    /// Of all nodes, for a thousand operations.
    cpu_seconds: f64,
}

fn main() {
    if figures::is_only_a_test() {
        return;
    }
    let collector = start_collector();
    let clusters = CLUSTERS.map(|(_, told)| start(&collector, told));
    let rounds = figures::setting("QUORATE_TRACING_ROUNDS", 8) as usize;
    for cluster in &clusters {
        measure(cluster);
    }
    let rounds: Vec<[Measured; CLUSTERS.len()]> = (0..rounds)
        .map(|number| {
            let measured = round(&clusters, number % 2 == 1);
            eprintln!(
                "round {} of {rounds} is done; {} KiB were told",
                number + 1,
                TOLD.swap(0, Ordering::Relaxed) >> 10
            );
            measured
        })
        .collect();
    println!("{:16} {:>12} {:>22} {:>16} {:>22}", "told", "operations/s", "ratio", "CPU s/1,000", "ratio");
    for (place, (name, _)) in CLUSTERS.into_iter().enumerate() {
        let (rate, rates) = compare(&rounds, place, |measured| measured.per_second);
        let (cpu, cpus) = compare(&rounds, place, |measured| measured.cpu_seconds);
        println!("{name:16} {rate:>12.0} {rates:>22} {cpu:>16.4} {cpus:>22}");
    }
    println!(
        "medians of {} rounds; ratios to the first two of the same round, of these to each other; in brackets where their median is to 95 %",
        rounds.len()
    );
}

/// A collector that takes all and answers that it has: what others make of it is no work of the nodes. Returns its address.
fn start_collector() -> String {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        let served = axum::serve(listener, axum::Router::new().fallback(take));
        runtime.block_on(served.into_future()).expect("it serves to the end");
    });
    format!("http://{address}")
}

async fn take(request: axum::extract::Request) -> axum::response::Response {
    let mut told = request.into_body().into_data_stream();
    while let Some(Ok(bytes)) = told.next().await {
        TOLD.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
    let mut response = axum::response::Response::new(axum::body::Body::new(Taken::Message));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

/// The answer of gRPC that all was well: an empty message, then the status.
enum Taken {
    Message,
    Status,
    End,
}

impl http_body::Body for Taken {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let (frame, next) = match *self {
            Taken::Message => (Frame::data(Bytes::from_static(&[0; 5])), Taken::Status),
            Taken::Status => {
                let status = [(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))];
                (Frame::trailers(status.into_iter().collect()), Taken::End)
            }
            Taken::End => return Poll::Ready(None),
        };
        *self = next;
        Poll::Ready(Some(Ok(frame)))
    }
}

fn start(collector: &str, told: Told) -> Cluster {
    let settings = match told {
        Told::Nothing => vec![("QUORATE_TELEMETRY__METRICS__SCRAPE", "false".to_owned())],
        Told::Metrics => Vec::new(),
        Told::Traces(share) => vec![
            ("OTEL_TRACES_EXPORTER", "otlp".to_owned()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.to_owned()),
            ("OTEL_TRACES_SAMPLER_ARG", share.to_owned()),
        ],
    };
    Cluster::start_with(3, &settings)
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
    let results = load(cluster);
    let sum = |figure: &str| results.iter().map(|result| result[figure].as_f64().expect("a number")).sum::<f64>();
    Measured {
        per_second: sum("operations_per_second"),
        cpu_seconds: (cpu_seconds() - before) / (sum("operations") / 1e3),
    }
}

/// Enqueues and dequeues, so that nothing piles up. Without a warm-up, so that the CPU time of the nodes belongs to what is counted.
fn load(cluster: &Cluster) -> Vec<Value> {
    let duration = format!("{}s", figures::setting("QUORATE_TRACING_SECONDS", 4));
    let mut command = quorate();
    command.args(["bench", "pair", "--endpoints", &cluster.addresses().join(",")]);
    match figures::setting("QUORATE_TRACING_RATE", 0) {
        0 => command.args(["--outstanding", "256"]),
        rate => command.args(["--rate", &rate.to_string()]),
    };
    command.args(["--size", "256", "--warmup", "0s", "--output", "json", "--duration", &duration]);
    let output = command.output().expect("the built binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).expect("a document");
    let results = document["results"].as_array().expect("one for each verb").clone();
    assert!(results.iter().all(|result| result["failed"] == 0), "{document}");
    results
}

/// The median of what was measured, and of its ratio to the mean of the first two clusters, with its confidence interval. The first
/// two are compared with each other.
fn compare(rounds: &[[Measured; CLUSTERS.len()]], place: usize, of: fn(&Measured) -> f64) -> (f64, String) {
    let base = |round: &[Measured; CLUSTERS.len()]| match place {
        0 | 1 => of(&round[1 - place]),
        _ => (of(&round[0]) + of(&round[1])) / 2.0,
    };
    let mut ratios: Vec<f64> = rounds.iter().map(|round| of(&round[place]) / base(round)).collect();
    ratios.sort_by(f64::total_cmp);
    let interval = figures::rank_below_median(ratios.len())
        .map(|rank| format!(" ({:.3} .. {:.3})", ratios[rank], ratios[ratios.len() - 1 - rank]));
    let ratios = format!("{:.3}{}", figures::median(ratios), interval.unwrap_or_default());
    (figures::median(rounds.iter().map(|round| of(&round[place])).collect()), ratios)
}
