//! Whole clusters in one thread, on a simulated clock, network and disk. The replica, the log and the state machine are those
//! of production; only sockets and files are replaced.
//!
//! ```text
//!    cargo test --test sim                                         200 clusters
//!    QUORATE_SIM_SEEDS=100000 cargo test --test sim                as many as you like, from QUORATE_SIM_FIRST on
//!    QUORATE_SIM_SEED=7 cargo test --test sim -- --nocapture       one of them, with its trace if QUORATE_SIM_TRACE=1
//!    QUORATE_SIM_SEEDS=1000 cargo test --test sim acceptance       the figures on the acceptance network, over a tenth as many
//!    cargo test --release --test sim ablation -- --ignored --nocapture     what time-outs that adapt are good for, as a table
//! ```
//!
//! A seed decides everything: the same seed gives the same trace, byte for byte. `knobs` says what is drawn, `faults` what
//! goes wrong, `network` and `tcp` how nodes are connected, `upkeep` and `fetching` what they do with snapshots beside their
//! loops, `checks` which rules hold after every step, `verdict` which hold for what the clients saw, `leases` which hold for what
//! consumers lease.

mod ablation;
mod acceptance;
mod checks;
mod client;
mod cluster;
mod commit_quorum;
mod coverage;
mod covering;
mod faults;
mod fetching;
mod founding;
mod history;
mod image;
mod knobs;
mod leases;
mod linking;
mod measure;
mod network;
mod node;
mod operator;
mod random;
mod reads;
mod running;
mod scenarios;
mod store;
mod tcp;
mod trace;
mod trial;
mod upkeep;
mod verdict;
mod watch;
mod working;
mod writing;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use cluster::{Cluster, Report};
use coverage::Coverage;
use trace::Detail;

/// How many clusters are simulated unless `QUORATE_SIM_SEEDS` says otherwise.
const SEEDS: u64 = 200;

/// Many clusters: every rule holds, and everything interesting happens somewhere.
#[test]
fn clusters() {
    if let Some(seed) = number_from_environment("QUORATE_SIM_SEED") {
        let is_told = number_from_environment("QUORATE_SIM_TRACE").is_some_and(|trace| trace > 0);
        let report = run(seed, if is_told { Detail::Printed } else { Detail::Numbers });
        return println!("{}", report.coverage.report());
    }
    let first = number_from_environment("QUORATE_SIM_FIRST").unwrap_or(0);
    let seeds = number_from_environment("QUORATE_SIM_SEEDS").unwrap_or(SEEDS);
    let total = run_all(first, seeds);
    println!("{total}");
    for (seed, why) in &total.failed {
        println!(
            "seed {seed}: {why}\n  QUORATE_SIM_SEED={seed} QUORATE_SIM_TRACE=1 cargo test --test sim clusters -- --nocapture\n"
        );
    }
    assert!(total.failed.is_empty(), "{} of {seeds} seeds fail; the commands above replay them", total.failed.len());
    let missing = total.coverage.missing();
    assert!(seeds < SEEDS || missing.is_empty(), "these things have never happened: {missing:#?}");
}

/// The same seed gives the same trace, word for word.
#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..4 {
        let (first, second) = (run(seed, Detail::Words), run(seed, Detail::Words));
        assert_eq!((first.hash, first.events), (second.hash, second.events), "seed {seed}");
    }
}

fn run(seed: u64, detail: Detail) -> Report {
    Cluster::new(seed, detail).run()
}

/// What came of many runs.
#[derive(Default)]
struct Total {
    coverage: Coverage,
    failed: Vec<(u64, String)>,
    clusters: u64,
    events: u64,
    requests: usize,
    simulated: knobs::Micros,
}

/// Runs the clusters of all these seeds, on as many threads as there are processors. Each of them is in one thread.
fn run_all(first: u64, seeds: u64) -> Total {
    let next = AtomicU64::new(first);
    let total = Mutex::new(Total::default());
    let work = || {
        while let seed = next.fetch_add(1, Ordering::Relaxed)
            && seed < first + seeds
        {
            let result = catch_unwind(AssertUnwindSafe(|| run(seed, Detail::Numbers)));
            let mut total = total.lock().expect("adding up does not panic");
            match result {
                Ok(report) => total.add(&report),
                Err(panic) => {
                    let why = panic.downcast_ref::<String>().cloned();
                    total.failed.push((seed, why.unwrap_or_else(|| "it panics".to_owned())));
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let mut total = total.into_inner().expect("adding up does not panic");
    total.failed.sort_unstable();
    total
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.coverage.merge(&report.coverage);
        self.clusters += 1;
        self.events += report.events;
        self.requests += report.requests;
        self.simulated += report.simulated;
    }
}

impl std::fmt::Display for Total {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { clusters, events, requests, .. } = self;
        let seconds = self.simulated / knobs::SECOND;
        writeln!(f, "{clusters} clusters, {requests} requests, {events} events in {seconds} simulated seconds")?;
        f.write_str(&self.coverage.report())
    }
}

fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text:?}")))
}
