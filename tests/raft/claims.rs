//! The claims of the paper, each checked after every step of many random schedules.
//!
//! A seed that fails is played again, with everything that happened, by
//! `QUORATE_RAFT_SEED=<seed> cargo test --test raft replay -- --nocapture`. QUORATE_RAFT_SEEDS asks for more of them.

use std::sync::OnceLock;

use crate::schedule::{self, Counts, Outcome};
use crate::witness::Claim;

/// How many seeds, unless QUORATE_RAFT_SEEDS says otherwise. A few seconds.
const SEEDS: u64 = 300;

fn seeds() -> u64 {
    std::env::var("QUORATE_RAFT_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS)
}

/// The outcomes of all seeds, worked out once for all tests here.
fn outcomes() -> &'static [Outcome] {
    static OUTCOMES: OnceLock<Vec<Outcome>> = OnceLock::new();
    OUTCOMES.get_or_init(|| {
        let workers = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
        std::thread::scope(|scope| {
            let run = |worker| {
                move || (0..seeds()).skip(worker).step_by(workers as usize).map(|seed| schedule::run(seed, false))
            };
            let handles: Vec<_> =
                (0..workers as usize).map(|worker| scope.spawn(move || run(worker)().collect::<Vec<_>>())).collect();
            handles.into_iter().flat_map(|handle| handle.join().expect("a schedule catches its panics")).collect()
        })
    })
}

fn holds(claim: Claim) {
    let violations = outcomes().iter().filter_map(|outcome| {
        let violation = outcome.violation.as_ref().filter(|violation| violation.claim == claim)?;
        Some(format!(
            "QUORATE_RAFT_SEED={} cargo test --test raft replay -- --nocapture\n  {}",
            outcome.seed, violation.what
        ))
    });
    let violations: Vec<String> = violations.collect();
    let first: Vec<&str> = violations.iter().take(3).map(String::as_str).collect();
    assert!(violations.is_empty(), "{claim:?} does not hold for {} seeds:\n{}", violations.len(), first.join("\n"));
}

/// Paper, section 5.2 and figure 3: at most one leader is elected in a term.
#[test]
fn election_safety() {
    holds(Claim::ElectionSafety);
}

/// Paper, section 5.3: a leader never overwrites or cuts its log, it only appends.
#[test]
fn leader_append_only() {
    holds(Claim::LeaderAppendOnly);
}

/// Paper, section 5.3: two logs with the same entry are the same up to it.
#[test]
fn log_matching() {
    holds(Claim::LogMatching);
}

/// Paper, section 5.4: an entry that is committed is in the logs of the leaders of all later terms.
#[test]
fn leader_completeness() {
    holds(Claim::LeaderCompleteness);
}

/// Paper, section 5.4.3: no two nodes commit different entries at an index.
#[test]
fn state_machine_safety() {
    holds(Claim::StateMachineSafety);
}

/// Paper, figure 2, and section 5.4.2: what is committed is on disk on a commit quorum of each half of the configuration.
#[test]
fn commits_are_on_a_commit_quorum() {
    holds(Claim::CommitQuorum);
}

/// Paper, figure 2: term, vote and entries are on disk before the message that tells them.
#[test]
fn promises_are_durable() {
    holds(Claim::Durability);
}

/// Paper, section 5.1: terms never fall; a vote of a term and what is committed stay.
#[test]
fn nothing_goes_back() {
    holds(Claim::Monotony);
}

/// What the core says of its log and configuration is what it has had written.
#[test]
fn the_core_knows_its_log() {
    holds(Claim::Honesty);
}

/// Paper, section 7: a snapshot discards a log only when that lacks what the snapshot has.
#[test]
fn snapshots_are_installed_where_they_are_of_use() {
    holds(Claim::SnapshotUse);
}

/// Peers that keep to the protocol bring no core to an assertion or into quarantine.
#[test]
fn no_core_stops() {
    holds(Claim::Soundness);
}

/// Dissertation, section 6.4: a read index covers all that was committed when the read came; so does what is said of any moment.
#[test]
fn reads_are_fresh() {
    holds(Claim::Freshness);
}

/// Paper, sections 5.2 and 5.6: when messages arrive and disks write, there is a leader, and all members come to agree.
#[test]
fn all_agree_in_the_end() {
    holds(Claim::Liveness);
}

/// The schedules do what they are made for: without that, nothing above would show anything.
#[test]
fn the_schedules_are_eventful() {
    let sum = |count: fn(&Counts) -> usize| outcomes().iter().map(|outcome| count(&outcome.counts)).sum::<usize>();
    let per_seed = |count| sum(count) as f64 / seeds() as f64;
    let means = [
        ("leaders", per_seed(|counts| counts.leaders), 2.0),
        ("committed", per_seed(|counts| counts.committed), 20.0),
        ("truncations", per_seed(|counts| counts.truncations), 0.3),
        ("restarts", per_seed(|counts| counts.restarts), 2.0),
        ("changes", per_seed(|counts| counts.changes), 0.5),
        ("replays", per_seed(|counts| counts.replays), 5.0),
        ("reads", per_seed(|counts| counts.reads), 0.5),
        ("transfers", per_seed(|counts| counts.transfers), 0.3),
        ("snapshots", per_seed(|counts| counts.snapshots), 5.0),
        ("installs", per_seed(|counts| counts.installs), 1.0),
        ("confirmed", per_seed(|counts| counts.confirmed), 3.0),
    ];
    for (what, mean, least) in means {
        println!("{what}: {mean} per seed");
        assert!(mean >= least, "{what}: {mean} per seed, at least {least} are expected");
    }
}

/// Same seed, same trace, byte for byte.
#[test]
fn a_seed_gives_the_same_trace_again() {
    for seed in [1, 2, 3] {
        let (first, second) = (schedule::run(seed, true), schedule::run(seed, true));
        assert!(first.trace.lines().count() > 100, "seed {seed} has done next to nothing");
        assert_eq!(first.trace, second.trace);
    }
}

/// Shows what happens under the seed in QUORATE_RAFT_SEED; does nothing without one.
#[test]
fn replay() {
    let Some(seed) = std::env::var("QUORATE_RAFT_SEED").ok().and_then(|seed| seed.parse().ok()) else { return };
    let outcome = schedule::run(seed, true);
    println!("{}{:?}\n{:?}", outcome.trace, outcome.counts, outcome.violation);
    assert!(outcome.violation.is_none(), "seed {seed}: {:?}", outcome.violation);
}
