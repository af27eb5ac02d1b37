//! What a node takes of memory for messages that wait, besides what it caches of their bodies.

use std::time::Duration;

use crate::clients::{block_on, client, fill, resident_bytes, resident_bytes_max};
use crate::cluster::Cluster;
use crate::figures::{mib, setting};

const BODY_BYTES: usize = 16;

pub fn run() {
    let messages = setting("QUORATE_BACKLOG_MESSAGES", 1_000_000);
    println!("memory of a node with {messages} waiting messages of {BODY_BYTES} bytes, and a cache of 1 MiB:");
    for together in [1, 16, 256] {
        let mut cluster = Cluster::start_with(1, &[("QUORATE__STORAGE__CACHE_BYTES", "1MiB".to_owned())]);
        fill(&cluster, "before", 1_000, together, BODY_BYTES);
        let before = resident_bytes(&cluster.nodes[0]);
        fill(&cluster, "orders", messages, together, BODY_BYTES);
        let growth = || resident_bytes(&cluster.nodes[0]).saturating_sub(before) as f64;
        // What a snapshot and the compaction after it took is given back with a delay.
        let mut least = growth();
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(250));
            least = least.min(growth());
        }
        let most = resident_bytes_max(&cluster.nodes[0]) as f64;
        let node = &mut cluster.nodes[0];
        node.kill();
        node.start(&[]);
        let address = node.address.to_string();
        let dequeued = block_on(async { client(vec![address]).dequeue("orders", Duration::ZERO).await });
        assert!(dequeued.unwrap().is_some(), "nothing waits");
        let again = resident_bytes(&cluster.nodes[0]).saturating_sub(before) as f64;
        println!(
            "  {together:3} in a request: {:5.1} bytes a message, {:5.1} after a start from the snapshot (aim: 100); {:.0} MiB at most",
            least / messages as f64,
            again / messages as f64,
            mib(most),
        );
    }
}
