//! Nodes with empty disks start a cluster together, under everything that can go wrong: messages that are lost, late, repeated and
//! out of order, crashes between any two durable steps, lost disks, replaced disks that come back, late and missing nodes, a DNS that
//! shows only a part. There are at most twice as many nodes as start a cluster together.
//!
//! The rules are those of production (`cluster::founding`); what a member does once there is a cluster is reduced to one question:
//! can a majority of the voters take a newcomer in? A broken rule must be caught: see `Broken`.

mod checks;
mod machine;
mod world;

use std::collections::BTreeMap;

use super::number_from_environment;
use super::trace::Detail;
use world::{Report, World};

/// How many worlds are simulated unless `QUORATE_SIM_SEEDS` says otherwise.
const SEEDS: u64 = 400;

/// A rule that is left out is noticed in so many of them. Those that only matter for what is very late take most.
const SEEDS_UNTIL_CAUGHT: u64 = 10_000;

/// A rule that is left out, to see that its absence is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// All rules hold.
    Nothing,
    /// Who does not answer counts as one that is not there.
    SilentIsEmpty,
    /// A promise is forgotten by a crash.
    PromiseIsNotDurable,
    /// A proposer forms as soon as most have promised.
    MostAreEnough,
    /// A promise gives way to any other proposal.
    PromiseIsNoPromise,
    /// A founder forms what it promises, before the one that proposes.
    FormsAtOnce,
    /// A member says that it belongs to no cluster.
    MemberHidesIt,
    /// Whoever is there starts a cluster, however few they are.
    SizeDoesNotMatter,
}

/// What has to happen somewhere in the default seeds.
const SOMETIMES: &[&str] = &[
    "a cluster was formed by the one that proposed it",
    "a cluster was formed from a promise",
    "a promise was replaced by a later attempt",
    "a promise was replaced because a disk was lost",
    "a promise was refused",
    "a decision was overtaken",
    "a process died between two steps of forming",
    "a process died between two steps of joining",
    "an interrupted start was finished",
    "a disk was lost before its node had a cluster",
    "a disk was lost after its node had formed a cluster",
    "a proposer lost its disk",
    "a node joined",
    "a node beyond the first ones joined",
    "nodes without ordinals formed a cluster",
    "a name resolved to a part of the nodes",
    "everybody knew of others",
    "too many disks were lost for a cluster to live",
    "a disk that was replaced came back with its cluster",
    "a disk that was replaced came back without a cluster",
];

/// What has to happen somewhere in many times as many.
const SELDOM: &[&str] =
    &["a founder formed what it had promised before", "all founders lost their disks and did not see a cluster"];
const SEEDS_FOR_SELDOM: u64 = 20_000;

fn run(seed: u64, broken: Broken, detail: Detail) -> Result<Report, String> {
    let result = std::panic::catch_unwind(|| World::new(seed, broken, detail).run());
    result.map_err(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "it panics".to_owned()))
}

/// Many worlds: never two clusters, and in the end one.
#[test]
fn one_cluster_is_founded() {
    if let Some(seed) = number_from_environment("QUORATE_SIM_SEED") {
        let is_told = number_from_environment("QUORATE_SIM_TRACE").is_some_and(|trace| trace > 0);
        let report = run(seed, Broken::Nothing, if is_told { Detail::Printed } else { Detail::Numbers });
        return println!("{:?}", report.unwrap_or_else(|why| panic!("{why}")).happened);
    }
    let first = number_from_environment("QUORATE_SIM_FIRST").unwrap_or(0);
    let seeds = number_from_environment("QUORATE_SIM_SEEDS").map_or(SEEDS, |seeds| seeds * 2);
    let mut happened: BTreeMap<&str, u64> = BTreeMap::new();
    let mut failed = Vec::new();
    for seed in first..first + seeds {
        match run(seed, Broken::Nothing, Detail::Numbers) {
            Ok(report) => {
                report.happened.into_iter().for_each(|(what, times)| *happened.entry(what).or_default() += times)
            }
            Err(why) => failed.push((seed, why)),
        }
    }
    for (what, times) in &happened {
        println!("{times:>8}  {what}");
    }
    for (seed, why) in &failed {
        println!(
            "seed {seed}: {why}\n  QUORATE_SIM_SEED={seed} QUORATE_SIM_TRACE=1 cargo test --test sim founded -- --nocapture\n"
        );
    }
    assert!(failed.is_empty(), "{} of {seeds} seeds fail; the commands above replay them", failed.len());
    let sometimes = if seeds >= SEEDS { SOMETIMES } else { &[] };
    let seldom = if seeds >= SEEDS_FOR_SELDOM { SELDOM } else { &[] };
    let missing: Vec<_> = sometimes.iter().chain(seldom).filter(|what| !happened.contains_key(*what)).collect();
    assert!(missing.is_empty(), "these things have never happened: {missing:#?}");
}

#[test]
fn the_same_seed_founds_the_same_cluster() {
    for seed in 0..20 {
        let hash = || run(seed, Broken::Nothing, Detail::Words).map(|report| report.hash);
        assert_eq!(hash(), hash(), "seed {seed}");
    }
}

/// Each rule that is left out makes some world fail.
#[test]
fn a_broken_rule_of_founding_is_caught() {
    // What only shows where one node starts a cluster that others have joined since is rare: the search begins where it is.
    for (broken, first) in [
        (Broken::SilentIsEmpty, 5_600),
        (Broken::PromiseIsNotDurable, 0),
        (Broken::MostAreEnough, 0),
        (Broken::PromiseIsNoPromise, 0),
        (Broken::FormsAtOnce, 0),
        (Broken::MemberHidesIt, 0),
        (Broken::SizeDoesNotMatter, 0),
    ] {
        let mut seeds = first..first + SEEDS_UNTIL_CAUGHT;
        let caught = seeds.find_map(|seed| run(seed, broken, Detail::Numbers).err().map(|why| (seed, why)));
        let (seed, why) = caught.unwrap_or_else(|| panic!("{broken:?} was not noticed"));
        println!("{broken:?}: seed {seed}: {why}");
    }
}
