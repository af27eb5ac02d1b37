//! `half_plus_one`: one more voter than a majority has each committed entry, so that any one of them may lose the end of its log
//! without anybody noticing, and no committed entry is lost. The same under `majority` loses some: the check can fail.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use quorate::ids::{Index, NodeId, Ticket};
use quorate::raft::{CommitQuorum, MembershipChange, TimeoutPolicy, Timeouts, Write};
use quorate::replica::SnapshotRules;
use rand::RngExt;

use super::cluster::{Asked, Cluster, Event, Phase};
use super::knobs::{Fault, Knobs, Micros, SECOND};
use super::node::Caller;
use super::number_from_environment;
use super::random::Random;
use super::store::Store;
use super::tcp::Quality;
use super::trace::Detail;
use super::trial::{Setting, Trial, light_load};

/// Clusters whose log is damaged, unless `QUORATE_SIM_SEEDS` says otherwise.
const SEEDS: u64 = 20;

/// Under `majority` one of so many must lose a committed entry.
const SEEDS_UNTIL_CAUGHT: u64 = 400;

/// What goes wrong besides.
const FAULTS: [Fault; 6] =
    [Fault::Crash, Fault::Kill, Fault::Partition, Fault::Partition, Fault::Pause, Fault::CrashInEffects];

/// So many of the last committed entries are lost at most.
const LOST_MAX: u64 = 5;

/// No committed entry is lost with the end of one log.
#[test]
fn half_plus_one_survives_a_lost_end_of_a_log() {
    let seeds = number_from_environment("QUORATE_SIM_SEEDS").map_or(SEEDS, |seeds| SEEDS.max(seeds / 10));
    let mut lost = 0;
    for seed in 0..seeds {
        lost += run(seed, CommitQuorum::HalfPlusOne).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
    println!("{lost} committed entries were lost from some disk");
    assert!(lost >= seeds, "{lost} committed entries were lost from some disk: too few to show anything");
}

/// The same under `majority` loses one, and is caught.
#[test]
fn a_majority_does_not() {
    let (seed, why) = (0..SEEDS_UNTIL_CAUGHT)
        .find_map(|seed| run(seed, CommitQuorum::Majority).err().map(|why| (seed, why)))
        .expect("some cluster loses a committed entry");
    println!("seed {seed}: {why}");
    assert!(why.contains("leader completeness") || why.contains("is committed"), "another rule is broken: {why}");
}

/// Returns how many committed entries some disk has lost.
fn run(seed: u64, commit_quorum: CommitQuorum) -> Result<u64, String> {
    let mut random = Random::new(seed);
    let mut knobs = Knobs::draw(&mut random.knobs);
    knobs.nodes = if random.knobs.random_bool(0.5) { 3 } else { 5 };
    (knobs.is_grown, knobs.change_interval, knobs.commit_quorum) = (false, None, commit_quorum);
    // A log that a snapshot has cut would have to be cut together with that.
    knobs.snapshots.rules = SnapshotRules::NEVER;
    knobs.faults = FAULTS.to_vec();
    knobs.fault_interval = 4 * knobs.longest;
    knobs.duration = 30 * knobs.longest;
    let at = knobs.longest * random.knobs.random_range(6..=12);
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut cluster = Cluster::with(knobs, seed, Detail::Numbers);
        cluster.schedule(at, Event::CutBeforeLoss);
        cluster.run().lost
    }));
    result.map_err(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "it panics".to_owned()))
}

impl Cluster {
    /// Some voters are cut off, so that only the others get what comes next.
    pub fn cut_before_loss(&mut self) {
        let Some((leader, _)) = self.leader().filter(|_| self.phase == Phase::Faults) else {
            return self.schedule(self.now + self.knobs.longest / 2, Event::CutBeforeLoss);
        };
        self.network.mend();
        let mut others: Vec<NodeId> = self.nodes.keys().copied().filter(|id| *id != leader).collect();
        let count = self.random.faults.random_range(1..=others.len() / 2);
        let cut: Vec<NodeId> =
            (0..count).map(|_| others.swap_remove(self.random.faults.random_range(0..others.len()))).collect();
        self.trace.tell(self.now, || format!("{cut:?} are cut off"));
        others.push(leader);
        self.network.cut(cut.iter().flat_map(|a| others.iter().flat_map(|b| [(*a, *b), (*b, *a)])));
        let victim = others[self.random.faults.random_range(0..others.len() - 1)];
        let after = self.random.faults.random_range(self.knobs.longest / 2..=3 * self.knobs.longest);
        self.schedule(self.now + after, Event::LoseLogEnd(victim));
    }

    /// The power of a node fails, and its disk comes back without the end of the log. Term and vote are kept. The leader fails
    /// with it, for long: it is for the others to keep what was committed.
    pub fn lose_log_end(&mut self, victim: NodeId) {
        if self.phase != Phase::Faults {
            return;
        }
        self.network.mend();
        let leader = self.leader().map(|(leader, _)| leader).filter(|leader| *leader != victim);
        if let Some(leader) = leader
            && self.random.faults.random_bool(0.8)
        {
            let away = self.random.faults.random_range(2 * self.knobs.longest..=8 * self.knobs.longest);
            self.nodes.get_mut(&leader).expect("it leads").away_until = self.now + away;
            self.crash(leader);
        }
        if self.nodes[&victim].process.is_some() {
            self.crash(victim);
        }
        self.cut_log(victim);
    }

    fn cut_log(&mut self, id: NodeId) {
        let committed = self.checks.committed().len() as u64;
        let disk = &self.nodes[&id].disk;
        let opened = Store::open(disk, self.knobs.segment_bytes, id.0 as u32).expect("the power is back");
        let recovered = opened.recovered;
        self.checks.on_recovered(id, &recovered);
        let lost = self.random.faults.random_range(1..=LOST_MAX);
        // The first entry is the membership.
        let kept = Index(committed.min(recovered.last.0).saturating_sub(lost).max(1));
        self.trace.tell(self.now, || format!("{id} loses its log after {kept}, of {}", recovered.last));
        let mut entries = Vec::new();
        while let next = Index(entries.len() as u64 + 1)
            && next <= kept
        {
            entries.extend(opened.store.read(next, kept, u64::MAX).expect("the disk is whole"));
        }
        let write = Write { ticket: Ticket(0), hard_state: Some(recovered.hard_state), snapshot: None, entries };
        let node = self.nodes.get_mut(&id).expect("it is one of them");
        node.disk = Default::default();
        let mut store = Store::open(&node.disk, self.knobs.segment_bytes, id.0 as u32).expect("it is empty").store;
        store.submit(write);
        store.append().and_then(|_| store.sync()).expect("an empty disk has no faults");
        self.lost += committed.min(recovered.last.0).saturating_sub(kept.0);
        self.checks.lose_log_end(id, kept);
    }
}

/// Three voters under `half_plus_one`, and the leader dies for ever: nothing can be committed, until the next leader is asked to
/// remove it.
#[test]
fn a_dead_voter_can_be_removed() {
    for seed in 0..4 {
        remove_dead(seed);
    }
}

fn remove_dead(seed: u64) {
    let mut trial = Trial::new(
        seed,
        &Setting {
            nodes: 3,
            commit_quorum: CommitQuorum::HalfPlusOne,
            timeouts: TimeoutPolicy::Fixed(Timeouts {
                election_min: Duration::from_millis(400),
                election_max: Duration::from_millis(800),
                heartbeat: Duration::from_millis(100),
            }),
            quality: Quality::plain(1_000, 0.01),
            clients_are_far: true,
            workload: light_load(SECOND / 10),
        },
    );
    trial.form();
    trial.begin_work();
    trial.rest(5 * SECOND);
    let (dead, _) = trial.cluster.leader().expect("it has formed");
    trial.cluster.nodes.get_mut(&dead).expect("it leads").is_dead = true;
    if seed.is_multiple_of(2) {
        trial.cluster.kill(dead)
    } else {
        trial.cluster.crash(dead)
    }
    let (leader, committed) = leader_after(&mut trial, 10 * SECOND);
    assert_eq!(committed, trial.cluster.checks.committed().len(), "two of three are not enough");
    trial.cluster.receive(leader, Caller::Operator, 0, Asked::Change(MembershipChange::Remove([dead].into())));
    let answered = trial.answered();
    let (leader, committed_after) = leader_after(&mut trial, 10 * SECOND);
    let status = trial.cluster.nodes[&leader].process.as_ref().expect("it leads").replica.status();
    let voters = &status.membership.configuration.voters;
    assert!(voters.len() == 2 && !voters.contains(&dead), "{voters:?}");
    assert!(committed_after > committed && trial.answered() > answered + 10, "the two of them go on");
    trial.end();
}

/// Who leads after a while, and how much is committed now that there is a leader.
fn leader_after(trial: &mut Trial, time: Micros) -> (NodeId, usize) {
    trial.rest(2 * SECOND);
    let committed = trial.cluster.checks.committed().len();
    trial.rest(time);
    (trial.cluster.leader().expect("the others go on").0, committed)
}
