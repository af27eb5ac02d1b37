//! How fast entries become durable.

use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate::ids::{EntryId, Index, Term, Ticket};
use quorate::raft::{Entry, Payload, Write};
use rand::Rng;

use crate::contestants::{Bare, Direct, Threaded};
use crate::figures::{Latencies, median, mib, setting};

const ROUNDS: usize = 3;

/// No measurement writes more, so that prepared files last.
pub const BYTES_MAX: u64 = 256 << 20;

/// What is appended.
#[derive(Clone, Copy)]
pub struct Load {
    name: &'static str,
    /// Entries in a write.
    pub entries: u64,
    /// Writes that are under way at once.
    pub outstanding: u64,
    /// Bytes of an entry.
    pub bytes: usize,
}

const LOADS: [Load; 3] = [
    Load { name: "batches of 16 x 1 KiB, one at a time", entries: 16, outstanding: 1, bytes: 1024 },
    Load { name: "single 256 bytes, one at a time", entries: 1, outstanding: 1, bytes: 256 },
    Load { name: "single 256 bytes, 256 outstanding", entries: 1, outstanding: 256, bytes: 256 },
];

/// What came of one measurement.
pub struct Measured {
    entries_per_second: f64,
    p50: f64,
    p99: f64,
}

type Measure = fn(Load, Duration) -> Measured;

/// Each beside the first one of the same round.
const CONTESTANTS: &[(&str, Measure)] = &[
    ("bare write and fdatasync", |load, time| in_turn(load, time, &mut Bare::prepare())),
    ("Log, no thread between", |load, time| in_turn(load, time, &mut Direct::prepare())),
    ("Log behind its Writer", |load, time| Threaded::prepare().measure(load, time)),
    #[cfg(feature = "raft-engine")]
    ("raft-engine 0.4", |load, time| in_turn(load, time, &mut crate::raft_engine::Engine::prepare())),
];

/// Who appends in the thread that calls, and has it durable when it returns.
pub trait InTurn {
    fn append(&mut self, writes: &Writes);
}

pub fn run() {
    println!("append: medians of {ROUNDS} rounds; ratios are those of the same round");
    if cfg!(not(feature = "raft-engine")) {
        println!("  (`cargo bench --bench storage --features raft-engine` measures TiKV's log engine as well)");
    }
    let time = Duration::from_secs(setting("QUORATE_STORAGE_SECONDS", 2));
    for load in LOADS {
        let round = |_| CONTESTANTS.iter().map(|(_, measure)| measure(load, time)).collect();
        let rounds: Vec<Vec<Measured>> = (0..ROUNDS).map(round).collect();
        println!("  {}:", load.name);
        for (at, (name, _)) in CONTESTANTS.iter().enumerate() {
            print(name, load, &rounds, at);
        }
    }
    println!("  targets, on a disk: the Log at least 0.8 of the bare loop, and no slower than raft-engine");
}

fn print(name: &str, load: Load, rounds: &[Vec<Measured>], at: usize) {
    let of = |value: fn(&Measured) -> f64| median(rounds.iter().map(|round| value(&round[at])).collect());
    let ratio = |round: &Vec<Measured>| round[at].entries_per_second / round[0].entries_per_second;
    let rate = of(|measured| measured.entries_per_second);
    println!(
        "    {name:26} {rate:9.0} entries/s  {:6.1} MiB/s  p50 {:6.0} µs  p99 {:6.0} µs  {:5.2} of bare",
        mib(rate * load.bytes as f64),
        of(|measured| measured.p50),
        of(|measured| measured.p99),
        median(rounds.iter().map(ratio).collect()),
    );
}

/// All that is outstanding goes into one sync.
fn in_turn(load: Load, time: Duration, contestant: &mut impl InTurn) -> Measured {
    let mut source = Source::new(load);
    let mut progress = Progress::new(load, time);
    while progress.goes_on() {
        let writes = source.writes(load.outstanding);
        let start = Instant::now();
        contestant.append(&writes);
        progress.add(start.elapsed(), load.outstanding);
    }
    progress.measured()
}

/// Makes writes whose entries follow each other, with bodies that no compression makes smaller.
pub struct Source {
    load: Load,
    chance: Bytes,
    next: u64,
}

/// Writes that are handed over together.
pub type Writes = Vec<Write>;

impl Source {
    pub fn new(load: Load) -> Self {
        let mut chance = vec![0; 1 << 20];
        rand::rng().fill_bytes(&mut chance);
        Self { load, chance: chance.into(), next: 1 }
    }

    pub fn writes(&mut self, count: u64) -> Writes {
        (0..count).map(|_| self.write()).collect()
    }

    pub fn write(&mut self) -> Write {
        let entries = (0..self.load.entries).map(|_| self.entry()).collect();
        Write { ticket: Ticket(self.next), hard_state: None, snapshot: None, entries }
    }

    fn entry(&mut self) -> Entry {
        let id = EntryId::new(Term(1), Index(self.next));
        let at = (self.next as usize * 61) % (self.chance.len() - self.load.bytes);
        self.next += 1;
        Entry { id, payload: Payload::Command(self.chance.slice(at..at + self.load.bytes)) }
    }
}

/// How much was appended since when.
pub struct Progress {
    load: Load,
    time: Duration,
    start: Instant,
    writes: u64,
    latencies: Latencies,
}

impl Progress {
    pub fn new(load: Load, time: Duration) -> Self {
        Self { load, time, start: Instant::now(), writes: 0, latencies: Latencies::new() }
    }

    pub fn goes_on(&self) -> bool {
        let bytes = self.writes * self.load.entries * self.load.bytes as u64;
        bytes < BYTES_MAX && self.start.elapsed() < self.time
    }

    /// So many writes became durable together.
    pub fn add(&mut self, took: Duration, writes: u64) {
        self.writes += writes;
        self.latencies.add(took);
    }

    pub fn measured(self) -> Measured {
        Measured {
            entries_per_second: (self.writes * self.load.entries) as f64 / self.start.elapsed().as_secs_f64(),
            p50: self.latencies.percentile(50.0),
            p99: self.latencies.percentile(99.0),
        }
    }
}
