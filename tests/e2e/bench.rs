//! `quorate bench`: that it counts what happened, ends, and cleans up. How fast anything is, is no matter of a test.

use std::io::Read;
use std::process::Stdio;

use serde_json::Value;

use crate::cluster::{Cluster, Node, quorate};

fn document(output: &[u8]) -> Value {
    serde_json::from_slice(output).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(output)))
}

fn messages_in(cluster: &Cluster, queue: &str) -> u64 {
    let queues = cluster.json(&["queues"]).unwrap();
    let mut all = queues["queues"].as_array().unwrap().iter();
    all.find(|info| info["name"] == queue).map_or(0, |info| info["ready"].as_u64().unwrap())
}

/// What is reported as enqueued is in the queue, and what is reported as dequeued has left it.
#[test]
fn a_benchmark_counts_what_the_cluster_did() {
    let cluster = Cluster::start(1);
    let load = ["--queue", "load", "--warmup", "0s", "--duration", "1s", "--outstanding", "4", "--batch", "3"];
    let enqueued = cluster.json(&[&["bench", "enqueue"][..], &load].concat()).unwrap();
    let result = &enqueued["results"][0];
    let operations = result["operations"].as_u64().unwrap();
    assert!(operations > 0 && operations == 3 * result["requests"].as_u64().unwrap(), "{enqueued}");
    assert!(result["latency_us"]["p50"].as_f64() <= result["latency_us"]["max"].as_f64(), "{enqueued}");
    assert_eq!((&result["failed"], &enqueued["ended"]), (&0.into(), &"duration".into()));
    assert_eq!(messages_in(&cluster, "load"), operations);

    let drain = ["bench", "dequeue", "--queue", "load", "--warmup", "0s", "--duration", "1m", "--messages", "10"];
    let dequeued = cluster.json(&drain).unwrap();
    assert_eq!(dequeued["ended"], "queue_empty", "{dequeued}");
    assert_eq!(dequeued["results"][0]["operations"], operations + 10, "{dequeued}");
    assert_eq!(messages_in(&cluster, "load"), 0);

    let pairs = ["bench", "pair", "--queue", "load", "--warmup", "0s", "--duration", "1s", "--rate", "100"];
    let pairs = cluster.json(&pairs).unwrap();
    let [enqueue, dequeue] = [&pairs["results"][0], &pairs["results"][1]];
    assert_eq!((&enqueue["verb"], &dequeue["verb"]), (&"enqueue".into(), &"dequeue".into()));
    assert_eq!(enqueue["operations"], dequeue["operations"], "each worker takes out as much as it puts in: {pairs}");
    let sent_or_dropped = enqueue["operations"].as_u64().unwrap() + pairs["dropped"].as_u64().unwrap();
    assert_eq!(sent_or_dropped, 100, "all that were due are accounted for: {pairs}");
}

/// Ctrl-C ends the load, and what was measured is reported; the same for the yardsticks, which leave nothing behind.
#[test]
fn an_interrupted_benchmark_reports() {
    let cluster = Cluster::start(1);
    let endpoints = cluster.addresses().join(",");
    let directory = tempfile::TempDir::new().unwrap();
    let at = directory.path().to_str().unwrap();
    let benchmarks: [&[&str]; 4] = [
        &["enqueue", "--endpoints", &endpoints],
        &["echo", "--mode", "stream", "--outstanding", "8", "--connections", "3"],
        &["echo", "--mode", "unary"],
        &["fsync", "--directory", at],
    ];
    for benchmark in benchmarks {
        let mut command = quorate();
        command.arg("bench").args(benchmark).args(["--warmup", "0s", "--duration", "1h", "--output", "json"]);
        command.args(["--report-interval", "100ms"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        // The first interval has been told: it measures, and hears signals.
        process.stderr.take().unwrap().read_exact(&mut [0; 10]).unwrap();
        let kill = std::process::Command::new("kill").args(["-s", "INT", &process.id().to_string()]).status();
        assert!(kill.unwrap().success());
        let output = process.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{benchmark:?}: {output:?}");
        let document = document(&output.stdout);
        assert_eq!(document["ended"], "interrupted", "{document}");
        assert!(document["results"][0]["operations"].as_u64() > Some(0), "{document}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let cases = [
        ("enqueue --rate 10 --outstanding 4", "--outstanding"),
        ("enqueue --duration 0s", "--duration"),
        ("enqueue --size 2MiB", "1048576"),
        ("enqueue --connections 9 --outstanding 3", "--connections 9"),
        ("--duration 1s enqueue", "--duration"),
        ("echo --endpoints 127.0.0.1:7400", "--endpoints"),
        ("echo --outstanding 2000", "--outstanding 2000"),
        ("fsync --size 0", "--size"),
    ];
    for (line, names) in cases {
        let output = quorate().arg("bench").args(line.split(' ')).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line}: {told}");
        assert!(told.starts_with("error: ") && told.contains(names), "{line}: {told}");
        assert!(output.stdout.is_empty(), "{line}: {output:?}");
    }
}

#[test]
fn without_a_cluster_there_is_nothing_to_measure() {
    let directory = tempfile::TempDir::new().unwrap();
    let nowhere = Node::new(directory.path(), "nowhere").address.to_string();
    let mut command = quorate();
    command.args(["bench", "enqueue", "--endpoints", &nowhere, "--timeout", "1s"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(output.stdout.is_empty());
}
