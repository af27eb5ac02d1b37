//! A backlog that is much larger than the memory that a node may take.

use std::time::Instant;

use bytes::Bytes;
use quorate::client::{Body, Client};

use crate::clients::{resident_bytes_max, run_clients, take};
use crate::cluster::Cluster;
use crate::figures::{mib, setting};

const BODY_BYTES: usize = 16 << 10;
const TOGETHER: u64 = 16;
const QUEUES: u64 = 4;

pub fn run() {
    let all = setting("QUORATE_BACKLOG_MIB", 4096);
    let messages = (all << 20) / BODY_BYTES as u64 / QUEUES / TOGETHER * TOGETHER;
    let cluster = Cluster::start(1);
    let timed = |work: &dyn Fn()| {
        let start = Instant::now();
        work();
        all as f64 / start.elapsed().as_secs_f64()
    };
    println!(
        "{all} MiB of messages of 16 KiB, {QUEUES} queues, {TOGETHER} in a request, one node with a cache of 64 MiB:"
    );
    let rate = timed(&|| run_clients(&cluster, QUEUES, |client, queue| produce(client, queue, messages)));
    let most = || mib(resident_bytes_max(&cluster.nodes[0]) as f64);
    println!("  in   {rate:6.0} MiB/s, resident {:.0} MiB at most", most());
    let rate = timed(&|| run_clients(&cluster, QUEUES, |client, queue| consume(client, queue, messages)));
    println!("  out  {rate:6.0} MiB/s, resident {:.0} MiB at most   target: under 512", most());
    println!("  all of it came out in order");
}

async fn produce(client: Client, queue: u64, messages: u64) {
    for first in (0..messages).step_by(TOGETHER as usize) {
        let bodies = (first..first + TOGETHER).map(|number| Body::Data(body(number))).collect();
        client.enqueue(&format!("queue-{queue}"), bodies).await.unwrap();
    }
}

async fn consume(client: Client, queue: u64, messages: u64) {
    for first in (0..messages).step_by(TOGETHER as usize) {
        let taken = take(&client, &format!("queue-{queue}"), TOGETHER as usize).await;
        for (number, found) in (first..).zip(taken) {
            assert!(found == body(number), "message {number} of queue {queue} is lost, or out of order");
        }
    }
}

fn body(number: u64) -> Bytes {
    let mut body = vec![number as u8; BODY_BYTES];
    body[..8].copy_from_slice(&number.to_le_bytes());
    body.into()
}
