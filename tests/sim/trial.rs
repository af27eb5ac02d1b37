//! A cluster whose only trouble is its network, and what is measured of it: elections that nobody needs, and how long it takes until
//! somebody leads again.

use std::time::Duration;

use quorate::ids::NodeId;
use quorate::raft::{self, CommitQuorum, TimeoutPolicy, Window};
use quorate::replica::SnapshotRules;
use quorate::state_machine::Limits;
use quorate::storage::{incoming, outgoing};

use super::cluster::{Cluster, Report};
use super::knobs::{Connections, Disk, Knobs, Micros, Network, SECOND, Snapshots, Workload};
use super::number_from_environment;
use super::tcp::{Patience, Quality};
use super::trace::Detail;

/// What is not over after this long counts as having taken so long.
const OUTAGE_MAX: Micros = 600 * SECOND;

/// A node that was killed stays away for this long.
const AWAY: Micros = 120 * SECOND;

/// A cluster and its network.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Voters.
    pub nodes: usize,
    /// How many voters must have an entry.
    pub commit_quorum: CommitQuorum,
    /// Where the time-outs come from.
    pub timeouts: TimeoutPolicy,
    /// The network between the nodes.
    pub quality: Quality,
    /// Clients are as far from the nodes as these from each other; otherwise they are beside the leader.
    pub clients_are_far: bool,
    /// What the clients do, once they begin.
    pub workload: Workload,
}

/// A cluster in its setting.
pub struct Trial {
    /// The cluster.
    pub cluster: Cluster,
    workload: Workload,
}

/// How a node dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Its process is killed; its machine tells its peers.
    Kill,
    /// Its power fails.
    PowerFailure,
}

/// What came of the death of a leader.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    /// Until somebody asked for votes.
    pub noticed: Micros,
    /// Until somebody led.
    pub led: Micros,
}

/// What happened in a while.
#[derive(Clone, Copy, Debug)]
pub struct Calm {
    /// How long nobody led.
    pub without: Micros,
    /// Terms that were raised.
    pub elections: u64,
}

impl Trial {
    /// A cluster before anything happens.
    pub fn new(seed: u64, setting: &Setting) -> Self {
        let knobs = knobs(setting);
        Self { cluster: Cluster::with(knobs, seed, Detail::Numbers), workload: setting.workload.clone() }
    }

    /// Goes on until somebody leads and all nodes are like it.
    pub fn form(&mut self) -> Micros {
        while self.cluster.unlikeness().is_some() && self.cluster.now < OUTAGE_MAX {
            self.rest(SECOND / 10);
        }
        self.cluster.now
    }

    /// From here on clients work.
    pub fn begin_work(&mut self) {
        self.cluster.begin_work(self.workload.clone());
    }

    /// Goes on for so long.
    pub fn rest(&mut self, time: Micros) {
        self.cluster.run_until(self.cluster.now + time);
    }

    /// Goes on for so long, and looks.
    pub fn watch(&mut self, time: Micros) -> Calm {
        let (without, elections) = self.state();
        self.rest(time);
        let (without_after, elections_after) = self.state();
        Calm { without: without_after - without, elections: elections_after - elections }
    }

    fn state(&self) -> (Micros, u64) {
        (self.cluster.watch.without(self.cluster.now), self.cluster.watch.elections)
    }

    /// The leader dies, and so many others with it. Goes on until somebody leads, and the dead nodes have long been back.
    pub fn lose_leader(&mut self, death: Death, others: usize) -> Outage {
        let Some((leader, _)) = self.cluster.leader() else {
            return Outage { noticed: OUTAGE_MAX, led: OUTAGE_MAX };
        };
        let died_at = self.cluster.now;
        if number_from_environment("QUORATE_SIM_TRACE").is_some() {
            self.cluster.trace.print();
        }
        let followers: Vec<NodeId> = self.cluster.nodes.keys().copied().filter(|id| *id != leader).collect();
        followers.into_iter().take(others).chain([leader]).for_each(|id| self.die(id, death));
        self.cluster.watch.asked_at = None;
        while !self.cluster.watch.has_leader() && self.cluster.now < died_at + OUTAGE_MAX {
            self.cluster.step();
        }
        let led = self.cluster.now - died_at;
        let noticed = self.cluster.watch.asked_at.map_or(OUTAGE_MAX, |at| at - died_at);
        self.rest((2 * AWAY).saturating_sub(led));
        Outage { noticed, led }
    }

    /// A node dies, and comes back.
    pub fn die(&mut self, id: NodeId, death: Death) {
        let away_until = self.cluster.now + AWAY;
        self.cluster.nodes.get_mut(&id).expect("it is one of them").away_until = away_until;
        match death {
            Death::Kill => self.cluster.kill(id),
            Death::PowerFailure => self.cluster.crash(id),
        }
    }

    /// How many requests of clients have been answered.
    pub fn answered(&self) -> usize {
        self.cluster.history.iter().filter(|call| call.returned.is_some()).count()
    }

    /// Ends the run: all requests are executed, all is taken out, and the history is judged.
    ///
    /// # Panics
    /// A rule is broken.
    pub fn end(mut self) -> Report {
        self.cluster.end_soon();
        self.cluster.run()
    }
}

/// A client that makes a request now and then.
pub fn light_load(think: Micros) -> Workload {
    Workload {
        clients: 1,
        queues: 1,
        pipeline_max: 3,
        think_max: 2 * think,
        giving_up: 0.0,
        without_session: 0.0,
        waiting: 0.0,
        leasing: 0.0,
        several: 0.0,
        reading: 0.0,
        body_bytes_max: 100,
    }
}

fn knobs(setting: &Setting) -> Knobs {
    let Setting { nodes, commit_quorum, timeouts, ref quality, clients_are_far, .. } = *setting;
    let delay = if clients_are_far { quality.delay } else { 0 };
    let loss = quality.loss + quality.corruption;
    Knobs {
        nodes,
        is_grown: false,
        commit_quorum,
        raft: raft::Options {
            timeouts,
            disk_stall_max: Duration::from_secs(5),
            append_bytes_max: 1 << 20,
            window: Window { appends_max: 64, bytes_max: 16 << 20 },
            cache_bytes_max: 64 << 20,
        },
        longest: timeouts.election_max().as_micros() as Micros,
        limits: Limits::default(),
        requests_max: 10_000,
        segment_bytes: 65_536,
        duration: Micros::MAX / 4,
        turn_delay_max: 100,
        network: Network {
            delay_min: delay - if clients_are_far { quality.jitter } else { 0 },
            delay_max: delay + if clients_are_far { quality.jitter } else { 10 },
            tail_max: 13 * delay,
            tail: if clients_are_far { 2.0 * loss } else { 0.0 },
            loss: 0.0,
            duplication: 0.0,
            replay: 0.0,
            replay_after_max: 0,
            notice: 0.0,
            is_ordered: true,
            is_encoded: false,
            flips: 0.0,
            tcp: Some(Connections { quality: quality.clone(), patience: Patience::of(quality) }),
        },
        stays_bad: true,
        disk: Disk { delay_max: 500, tail_max: 500, tail: 0.0 },
        clock_drift_max: 100,
        fault_interval: Micros::MAX / 4,
        faults: Vec::new(),
        change_interval: None,
        transfer_interval: None,
        workload: Workload { clients: 0, ..setting.workload.clone() },
        snapshots: Snapshots {
            rules: SnapshotRules::NEVER,
            delay_max: 0,
            incoming: incoming::Limits { piece_bytes: 1 << 20 },
            in_flight_max: 4,
            outgoing: outgoing::Limits::default(),
            patience: 30 * SECOND,
            stall: 60 * SECOND,
        },
        // A client with a thousand requests that nobody executes asks again and again.
        events_per_second_max: 100_000,
    }
}
