//! What compaction copies, how much the disk holds beyond what lives, and whether the writer notices it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate::ids::{EntryId, Index, SHARD_0, Term, Ticket};
use quorate::raft::{Entry, Payload, Write};
use quorate::storage::Writer;
use rand::RngExt;

use crate::figures::{Latencies, highest, median, mib};
use crate::survivors::{Lifetime, Survivors};

/// An eighth of what a node has, so that a gibibyte shows what eight would.
const SEGMENT_BYTES: u64 = 8 << 20;
const SNAPSHOT_BYTES: u64 = 8 << 20;
const RETAINED_BYTES: u64 = 4 << 20;
const APPENDED_BYTES: u64 = 1 << 30;

const ROUNDS: usize = 3;
const IDLE: Duration = Duration::from_secs(2);

/// Messages, and how long they live.
struct Mix {
    name: &'static str,
    messages: usize,
    lifetime: Lifetime,
}

const MIXES: [Mix; 3] = [
    Mix { name: "every 1,000th stays, a message an entry", messages: 1, lifetime: || lives(1_000, u64::MAX) },
    Mix { name: "one of 100 stays, 100 an entry", messages: 100, lifetime: || lives(100, u64::MAX) },
    Mix { name: "every 10th lives for up to half the run", messages: 16, lifetime: || lives(10, 130_000) },
];

/// One of so many lives for up to so many entries.
fn lives(one_of: u32, entries_max: u64) -> Option<u64> {
    let lives = rand::rng().random_ratio(1, one_of);
    lives.then(|| if entries_max == u64::MAX { u64::MAX } else { rand::rng().random_range(0..entries_max) })
}

pub fn run() {
    println!(
        "compaction: {} MiB of messages of 256 bytes in segments of {} MiB, a snapshot for each {} MiB",
        APPENDED_BYTES >> 20,
        SEGMENT_BYTES >> 20,
        SNAPSHOT_BYTES >> 20,
    );
    MIXES.iter().for_each(churn);
    let rounds: Vec<(Latencies, Latencies, f64)> = (0..ROUNDS).map(|_| disturb()).collect();
    println!("a batch of 16 x 1 KiB through the Writer, one at a time, medians of {ROUNDS} rounds:");
    for percent in [50.0, 99.0] {
        let idle = median(rounds.iter().map(|(idle, ..)| idle.percentile(percent)).collect());
        let busy = median(rounds.iter().map(|(_, busy, _)| busy.percentile(percent)).collect());
        println!("  p{percent}  alone {idle:7.0} µs, beside a compaction without a limit {busy:7.0} µs");
    }
    let rate = median(rounds.iter().map(|(.., rate)| *rate).collect());
    println!("  which copies {rate:.0} MiB/s meanwhile");
}

fn churn(mix: &Mix) {
    let mut survivors = Survivors::new(SEGMENT_BYTES, mix.messages, 256, mix.lifetime);
    let retained = RETAINED_BYTES / (256 + 60) / mix.messages as u64;
    let (mut copied, mut ratios, mut beyond, mut took) = (0, Vec::new(), Vec::new(), Duration::ZERO);
    while survivors.appended_bytes < APPENDED_BYTES {
        survivors.append(SNAPSHOT_BYTES);
        let living = survivors.snapshot(retained);
        let start = Instant::now();
        copied += survivors.compact(&living).bytes_copied;
        took += start.elapsed();
        let usage = survivors.store.usage().unwrap();
        let disk = usage.log_bytes + usage.archive_bytes + usage.spare_bytes + usage.snapshot_bytes + usage.held_bytes;
        beyond.push(disk.saturating_sub(survivors.living_bytes()) as f64);
        if survivors.appended_bytes > APPENDED_BYTES / 4 {
            ratios.push(usage.archive_bytes as f64 / survivors.living_bytes() as f64);
        }
    }
    let appended = survivors.appended_bytes as f64;
    let usage = survivors.store.usage().unwrap();
    println!("  {}:", mix.name);
    println!(
        "    copied / appended {:.4}, all that was written for compaction {:.4}; all of it takes {:.1} s",
        copied as f64 / appended,
        usage.written.compaction as f64 / appended,
        took.as_secs_f64(),
    );
    println!(
        "    archive / living bodies: median {:.2}, highest {:.2}; {:.1} MiB live in {} files",
        median(ratios.clone()),
        highest(ratios),
        mib(survivors.living_bytes() as f64),
        usage.archive_files,
    );
    println!("    disk beyond living bodies, highest: {:.0} MiB", mib(highest(beyond)));
}

/// Latencies of the writer alone and beside a compaction that copies as fast as it can, and how fast that is, in MiB/s.
fn disturb() -> (Latencies, Latencies, f64) {
    let mut survivors = Survivors::new(64 << 20, 16, 1024, || rand::rng().random_ratio(2, 5).then_some(u64::MAX));
    survivors.append(512 << 20);
    let living = survivors.snapshot(0);
    let (done, durable) = channel();
    let log = survivors.log.take().expect("nobody else writes yet");
    let writer =
        Writer::start(log, move |result| done.send(result.unwrap().writes.len()).expect("every write is waited for"));
    let mut next = survivors.last + 1;
    let mut append_while = |goes_on: &mut dyn FnMut() -> bool| {
        let mut latencies = Latencies::new();
        while goes_on() {
            let start = Instant::now();
            writer.submit(SHARD_0, batch(next));
            durable.recv().expect("the disk works");
            latencies.add(start.elapsed());
            next += 16;
        }
        latencies
    };
    let begun = Instant::now();
    let idle = append_while(&mut || begun.elapsed() < IDLE);
    let ended = Arc::new(AtomicBool::new(false));
    let compaction = thread::spawn({
        let ended = Arc::clone(&ended);
        move || {
            let start = Instant::now();
            let compacted = survivors.compact(&living);
            ended.store(true, Ordering::Relaxed);
            (survivors, mib(compacted.bytes_copied as f64) / start.elapsed().as_secs_f64())
        }
    });
    let busy = append_while(&mut || !ended.load(Ordering::Relaxed));
    writer.stop();
    let (_directory, rate) = compaction.join().expect("a compaction does not panic");
    (idle, busy, rate)
}

fn batch(first: u64) -> Write {
    let entry = |index| Entry {
        id: EntryId::new(Term(1), Index(index)),
        payload: Payload::Command(Bytes::from_static(&[7; 1024])),
    };
    let entries = (first..first + 16).map(entry).collect();
    Write { ticket: Ticket(first), hard_state: None, snapshot: None, entries }
}
