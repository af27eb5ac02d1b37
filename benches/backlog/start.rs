//! How long a node with a backlog takes to start.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use quorate::ids::{Index, SHARD_0};
use quorate::storage::{FileDisk, Log, Options};

use crate::clients::{block_on, client, fill, resident_bytes, resident_bytes_max};
use crate::cluster::{Cluster, Node};
use crate::figures::{highest, median, mib, setting};

const ROUNDS: usize = 3;

pub fn run() {
    let messages = setting("QUORATE_BACKLOG_MESSAGES", 1_000_000);
    println!("start of a node with {messages} waiting messages of 1 KiB, after a kill, to its first dequeue:");
    for together in [1, 16] {
        let mut cluster = Cluster::start(1);
        fill(&cluster, "orders", messages, together, 1024);
        let mut starts = |prepare: fn(&Path)| -> Vec<f64> {
            (0..ROUNDS).map(|_| seconds_to_dequeue(&mut cluster.nodes[0], prepare)).collect()
        };
        let (warm, cold) = (starts(|_| ()), starts(forget));
        println!("  {together} in a request:");
        for (name, seconds) in [("the page cache warm", warm), ("its files not in it", cold)] {
            let worst = highest(seconds.iter().copied());
            println!("    {name}   median {:5.2} s, worst {worst:5.2} s   target: under 5", median(seconds));
        }
        let node = &mut cluster.nodes[0];
        let (now, most) = (resident_bytes(node) as f64, resident_bytes_max(node) as f64);
        println!("    resident: {:.0} MiB after the dequeue, {:.0} MiB at most", mib(now), mib(most));
        node.kill();
        let open = seconds_to_open(&node.data);
        println!("    of which to open the log: {open:.2} s");
    }
}

fn seconds_to_dequeue(node: &mut Node, prepare: fn(&Path)) -> f64 {
    node.kill();
    prepare(&node.data);
    let start = Instant::now();
    node.start(&[]);
    let client = client(vec![node.address.to_string()]);
    let message = block_on(client.dequeue("orders", Duration::ZERO)).unwrap();
    let took = start.elapsed().as_secs_f64();
    assert!(message.is_some(), "nothing waits");
    took
}

fn seconds_to_open(directory: &Path) -> f64 {
    let start = Instant::now();
    let (log, recovered) = Log::open(FileDisk::new(directory), Options::default()).unwrap();
    assert!(recovered[&SHARD_0].last > Index(0));
    drop(log);
    start.elapsed().as_secs_f64()
}

/// Has the system forget what it knows of the files: `dd` can, without root.
fn forget(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let advise = ["oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none"];
        let dd = Command::new("dd").arg(format!("of={}", path.display())).args(advise).status().unwrap();
        assert!(dd.success(), "dd cannot have {} forgotten", path.display());
    }
}
