//! Whole clusters in one thread, on a simulated clock, network and disk. The replica, the log and the state machine are those
//! of production; only sockets and files are replaced.
//!
//! ```text
//!    cargo test --test sim                                         200 clusters
//!    QUORATE_SIM_SEEDS=100000 cargo test --test sim                as many as you like
//!    QUORATE_SIM_SEED=7 cargo test --test sim -- --nocapture       one of them, with its trace
//! ```
//!
//! A seed decides everything: the same seed gives the same trace, byte for byte. `knobs` says what is drawn, `faults` what
//! goes wrong, `checks` which rules hold after every step, `verdict` which hold for what the clients saw.

mod checks;
mod client;
mod cluster;
mod coverage;
mod covering;
mod faults;
mod history;
mod image;
mod knobs;
mod network;
mod node;
mod operator;
mod random;
mod running;
mod scenarios;
mod store;
mod trace;
mod verdict;
mod working;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use cluster::{Cluster, Report};
use coverage::Coverage;
use trace::Detail;

/// How many clusters are simulated unless `QUORATE_SIM_SEEDS` says otherwise.
const SEEDS: u64 = 200;

fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text:?}")))
}

fn run(seed: u64, detail: Detail) -> Report {
    Cluster::new(seed, detail).run()
}

/// Many clusters: every rule holds, and everything interesting happens somewhere.
#[test]
fn clusters() {
    if let Some(seed) = number_from_environment("QUORATE_SIM_SEED") {
        let report = run(seed, Detail::Printed);
        println!("{}", report.coverage.report());
        return;
    }
    let seeds = number_from_environment("QUORATE_SIM_SEEDS").unwrap_or(SEEDS);
    let first = number_from_environment("QUORATE_SIM_FIRST").unwrap_or(0);
    let next = AtomicU64::new(first);
    let total = Mutex::new((Coverage::default(), Vec::new(), 0u64, 0usize, 0u64));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    let result = catch_unwind(AssertUnwindSafe(|| run(seed, Detail::Numbers)));
                    let mut total = total.lock().expect("nobody panics with it");
                    match result {
                        Ok(report) => {
                            total.0.merge(&report.coverage);
                            total.2 += report.events;
                            total.3 += report.calls;
                            total.4 += report.simulated;
                        }
                        Err(_) => total.1.push(seed),
                    }
                }
            });
        }
    });
    let (coverage, failed, events, calls, simulated) = total.into_inner().expect("nobody panics with it");
    println!("{seeds} clusters, {events} events, {calls} requests, {} simulated seconds", simulated / knobs::SECOND);
    println!("{}", coverage.report());
    for seed in &failed {
        println!("replay: QUORATE_SIM_SEED={seed} cargo test --test sim clusters -- --nocapture");
    }
    assert!(failed.is_empty(), "these seeds fail: {failed:?}");
    let missing = coverage.missing();
    assert!(seeds < SEEDS || missing.is_empty(), "these things never happened: {missing:#?}");
}

/// The same seed gives the same trace, word for word.
#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..4 {
        let first = run(seed, Detail::Words);
        let second = run(seed, Detail::Words);
        assert_eq!((first.hash, first.events), (second.hash, second.events), "seed {seed}");
    }
}
