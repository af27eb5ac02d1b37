//! What is written to disk for what passes through.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use quorate::client::{Body, Client};

use crate::clients::{run_clients, take};
use crate::cluster::{Cluster, eventually};
use crate::collector::Collector;
use crate::figures::setting;

const BODY_BYTES: usize = 1024;
const TOGETHER: usize = 16;
const CLIENTS: u64 = 16;

/// Bytes that were written since the start of the node, by what for.
type Written = BTreeMap<String, u64>;

pub fn run() {
    let all = setting("QUORATE_GROWTH_MIB", 2048);
    println!(
        "{all} MiB of messages of 1 KiB, {TOGETHER} in a request, enqueued and dequeued at once by {CLIENTS} clients:"
    );
    for nodes in [1, 3] {
        let collector = Collector::start();
        let cluster = start(nodes, &collector);
        let start = Instant::now();
        pass(&cluster, all / 2);
        let half = written(&cluster, &collector);
        pass(&cluster, all / 2);
        let end = written(&cluster, &collector);
        let rate = all as f64 / start.elapsed().as_secs_f64();
        assert_eq!(cluster.leader(), 0, "who is looked at does not lead any more");
        println!("  {nodes} nodes, the leader, at {rate:.0} MiB/s:");
        print("all of it  ", &end, &Written::new(), all);
        print("second half", &end, &half, all / 2);
    }
}

/// The first node leads, and tells the collector; the others do not.
fn start(nodes: usize, collector: &Collector) -> Cluster {
    let settings = [
        ("OTEL_METRICS_EXPORTER", "otlp".to_owned()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "200".to_owned()),
    ];
    let mut cluster = Cluster::start_with(1, &settings);
    for _ in 1..nodes {
        cluster.add();
    }
    cluster.eventually_has_voters(nodes);
    cluster
}

fn pass(cluster: &Cluster, mebibytes: u64) {
    let requests = (mebibytes << 20) / (TOGETHER * BODY_BYTES) as u64 / CLIENTS;
    run_clients(cluster, CLIENTS, |client, number| pass_through(client, number, requests));
}

async fn pass_through(client: Client, number: u64, requests: u64) {
    let queue = format!("queue-{number}");
    for _ in 0..requests {
        let body = Body::Data(Bytes::from_static(&[7; BODY_BYTES]));
        client.enqueue(&queue, vec![body; TOGETHER]).await.unwrap();
        assert_eq!(take(&client, &queue, TOGETHER).await.len(), TOGETHER);
    }
}

/// What the status says in one sum the metrics tell by purpose; they come a little later.
fn written(cluster: &Cluster, collector: &Collector) -> Written {
    eventually("the metrics to tell what the status says", || {
        let status = cluster.status();
        let node = status.iter().find(|node| node["member"]["name"] == cluster.nodes[0].name.as_str())?;
        let total = node["storage"]["written_bytes"].as_u64()?;
        let counts = collector.counts().into_iter();
        let written: Written = counts
            .filter(|((metric, _), _)| metric == "quorate.storage.written")
            .map(|((_, purpose), bytes)| (purpose, bytes))
            .collect();
        // Heartbeats write nothing; the end of a session does, and a snapshot that is under way.
        (written.values().sum::<u64>() == total).then_some(written)
    })
}

fn print(what: &str, end: &Written, start: &Written, mebibytes: u64) {
    let before = |purpose: &String| start.get(purpose).copied().unwrap_or(0);
    let ratio = |bytes: u64| bytes as f64 / (mebibytes << 20) as f64;
    let parts = end.iter().map(|(purpose, bytes)| (purpose, bytes - before(purpose)));
    let parts: Vec<(&String, u64)> = parts.collect();
    let total = ratio(parts.iter().map(|(_, bytes)| bytes).sum());
    let parts: Vec<String> = parts.iter().map(|(purpose, bytes)| format!("{purpose} {:.3}", ratio(*bytes))).collect();
    println!("    {what}  {total:.3} bytes a byte ({})   target: under 1.3", parts.join(", "));
}
