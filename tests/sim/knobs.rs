//! What is drawn once for each seed: the size of the cluster, its limits, how bad its world is, and which faults are off.

use std::time::Duration;

use quorate::raft::{self, Bounds, CommitQuorum, TimeoutPolicy, Timeouts, Window};
use quorate::replica::SnapshotRules;
use quorate::state_machine::Limits;
use quorate::storage::{incoming, outgoing};
use rand::{Rng, RngExt};

use super::tcp;

/// Microseconds of simulated time.
pub type Micros = u64;

/// One second.
pub const SECOND: Micros = 1_000_000;

/// Everything that is drawn for a seed.
#[derive(Clone, Debug)]
pub struct Knobs {
    /// Voters at the start.
    pub nodes: usize,
    /// The cluster starts as one node and the others join; otherwise all are voters from the first entry on.
    pub is_grown: bool,
    /// How many voters must have an entry.
    pub commit_quorum: CommitQuorum,
    /// The protocol.
    pub raft: raft::Options,
    /// The longest election time-out to expect: what takes long is measured with it.
    pub longest: Micros,
    /// The state machine.
    pub limits: Limits,
    /// Requests that a replica works on.
    pub requests_max: usize,
    /// The length of a log segment.
    pub segment_bytes: u64,
    /// How long the faults last.
    pub duration: Micros,
    /// The time between something arriving at a node and its turn.
    pub turn_delay_max: Micros,
    /// The network.
    pub network: Network,
    /// It stays as it is when everything else is healed.
    pub stays_bad: bool,
    /// The disks.
    pub disk: Disk,
    /// The clocks run faster or slower by up to this, in millionths.
    pub clock_drift_max: u64,
    /// The mean time between two faults.
    pub fault_interval: Micros,
    /// The faults that happen.
    pub faults: Vec<Fault>,
    /// The mean time between two membership changes; none: there are none.
    pub change_interval: Option<Micros>,
    /// The mean time between two transfers of leadership; none: there are none.
    pub transfer_interval: Option<Micros>,
    /// The clients.
    pub workload: Workload,
    /// Snapshots and compaction.
    pub snapshots: Snapshots,
    /// More events in one simulated second are a storm, unless they have work to show for it.
    pub events_per_second_max: u64,
}

/// When snapshots are taken, and how they are sent.
#[derive(Clone, Debug)]
pub struct Snapshots {
    /// When one is due, and how much of the log stays.
    pub rules: SnapshotRules,
    /// Writing one, and compaction after it, begin so much later at most than they could.
    pub delay_max: Micros,
    /// How much is asked for at a time.
    pub incoming: incoming::Limits,
    /// How many requests for pieces are under way.
    pub in_flight_max: usize,
    /// What a sender keeps for those who fetch.
    pub outgoing: outgoing::Limits,
    /// A request for a piece that is not answered for so long is made again.
    pub patience: Micros,
    /// A snapshot that was not wished for during so long is not fetched any more.
    pub stall: Micros,
}

/// How the network treats messages.
#[derive(Clone, Debug)]
pub struct Network {
    /// The shortest delay.
    pub delay_min: Micros,
    /// The longest delay of an ordinary message.
    pub delay_max: Micros,
    /// Some messages take longer, up to this.
    pub tail_max: Micros,
    /// How many do.
    pub tail: f64,
    /// How many are lost.
    pub loss: f64,
    /// How many arrive twice.
    pub duplication: f64,
    /// How many arrive again after up to `replay_after_max`.
    pub replay: f64,
    /// Many election time-outs.
    pub replay_after_max: Micros,
    /// How many lost messages are noticed as a broken connection.
    pub notice: f64,
    /// Messages of a lane arrive in the order in which they were sent, as on one connection.
    pub is_ordered: bool,
    /// Messages go through the codec of the wire.
    pub is_encoded: bool,
    /// How many of those have a bit flipped.
    pub flips: f64,
    /// Present where nodes are connected as by TCP. Then nothing of the above is in force between nodes, but for the codec.
    pub tcp: Option<Connections>,
}

/// Connections that block, and the network below them.
#[derive(Clone, Debug)]
pub struct Connections {
    /// What becomes of packets.
    pub quality: tcp::Quality,
    /// How long a dial is waited for.
    pub patience: tcp::Patience,
}

/// How long the disks take.
#[derive(Clone, Debug)]
pub struct Disk {
    /// An ordinary step (a write, a sync, a report) takes at most this.
    pub delay_max: Micros,
    /// Some take up to this.
    pub tail_max: Micros,
    /// How many do.
    pub tail: f64,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power of one node fails; it comes back.
    Crash,
    /// The process of one node is killed, and started again. Its machine goes on.
    Kill,
    /// The power of all nodes fails at once.
    CrashAll,
    /// The power fails in the middle of what a node does with its disk.
    CutPower,
    /// A process ends in the middle of its effects.
    CrashInEffects,
    /// The disk reports a failed sync.
    FailSync,
    /// The disk hangs.
    StallDisk,
    /// The process stands still.
    Pause,
    /// Some links carry nothing.
    Partition,
    /// A wall clock jumps.
    JumpClock,
    /// A node is lost with its disk and another takes its place.
    LoseDisk,
    /// A node hands over, if it leads, and then stops; it comes back.
    Stop,
    /// A leader stands still as soon as it could answer a read.
    PauseBeforeReads,
    /// A leader hands over, and is cut off when it has said so: it does not know that it was replaced.
    CutAtHandOver,
    /// The power fails in the middle of what a node does next with a snapshot: taking, receiving or installing one, or compacting.
    CutPowerInUpkeep,
    /// A sync fails there, and only there.
    FailSyncInUpkeep,
    /// The process ends right after a step of that.
    CrashInUpkeep,
    /// The power of a node fails, and it stays away for long.
    StayAway,
}

/// All of them, the more fruitful ones several times.
const FAULTS: [Fault; 26] = [
    Fault::Crash,
    Fault::CrashAll,
    Fault::CutPower,
    Fault::CrashInEffects,
    Fault::FailSync,
    Fault::StallDisk,
    Fault::Pause,
    Fault::Partition,
    Fault::Partition,
    Fault::Partition,
    Fault::Partition,
    Fault::JumpClock,
    Fault::LoseDisk,
    Fault::LoseDisk,
    Fault::Stop,
    Fault::PauseBeforeReads,
    Fault::CutAtHandOver,
    Fault::CutAtHandOver,
    Fault::CutPowerInUpkeep,
    Fault::CutPowerInUpkeep,
    Fault::CutPowerInUpkeep,
    Fault::FailSyncInUpkeep,
    Fault::CrashInUpkeep,
    Fault::CrashInUpkeep,
    Fault::StayAway,
    Fault::StayAway,
];

/// What the clients do.
#[derive(Clone, Debug)]
pub struct Workload {
    /// How many there are.
    pub clients: usize,
    /// How many queues they share.
    pub queues: usize,
    /// The most requests of one client that are open at once.
    pub pipeline_max: usize,
    /// A client thinks for at most this long between two requests.
    pub think_max: Micros,
    /// How many waits in vain make a client give a request up, once there were some.
    pub giving_up: f64,
    /// How many clients have no session.
    pub without_session: f64,
    /// How many dequeues wait.
    pub waiting: f64,
    /// How many operations are on messages that are leased.
    pub leasing: f64,
    /// How many requests have several operations.
    pub several: f64,
    /// How many requests only read, and do so beside the log.
    pub reading: f64,
    /// Bodies have up to this many bytes besides their name.
    pub body_bytes_max: usize,
}

impl Knobs {
    /// Draws all of them.
    pub fn draw(rng: &mut impl Rng) -> Self {
        let election_timeout_min = one_of(rng, &[150, 400, 400, 1_000]) * 1_000;
        let election_timeout_max = election_timeout_min * one_of(rng, &[15, 20, 30]) / 10;
        let nodes = one_of(rng, &[1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7]);
        let mut raft = draw_raft(rng, election_timeout_min, election_timeout_max);
        let network = draw_network(rng, election_timeout_min);
        if !network.is_ordered {
            // Where messages overtake each other nearly all of a wide window is rejected, window after window.
            raft.window.appends_max = raft.window.appends_max.min(8);
        }
        let mut knobs = Self {
            nodes,
            is_grown: rng.random_bool(0.3),
            commit_quorum: if rng.random_bool(0.5) { CommitQuorum::Majority } else { CommitQuorum::HalfPlusOne },
            raft,
            longest: election_timeout_max,
            limits: draw_limits(rng, election_timeout_max),
            requests_max: one_of(rng, &[2, 50, 1_000]),
            segment_bytes: one_of(rng, &[1_024, 4_096, 65_536]),
            duration: election_timeout_max * rng.random_range(12..=30),
            turn_delay_max: one_of(rng, &[1, 100, 3_000]),
            network,
            stays_bad: false,
            disk: draw_disk(rng, election_timeout_min),
            clock_drift_max: one_of(rng, &[0, 1_000, 100_000]),
            fault_interval: election_timeout_max * one_of(rng, &[1, 2, 4]) / 2,
            faults: FAULTS.into_iter().filter(|_| rng.random_bool(0.5)).collect(),
            change_interval: rng.random_bool(0.5).then(|| election_timeout_max * one_of(rng, &[1, 3, 6])),
            workload: draw_workload(rng, election_timeout_max),
            transfer_interval: rng.random_bool(0.5).then(|| election_timeout_max * one_of(rng, &[1, 3, 6])),
            snapshots: draw_snapshots(rng, election_timeout_max),
            events_per_second_max: 10_000,
        };
        // Drawn last, so that what is drawn above stays what it was before there were these.
        if rng.random_bool(0.25) {
            let connections = draw_connections(rng, knobs.network.delay_max);
            knobs.network.tcp = Some(connections);
        }
        if rng.random_bool(0.5) {
            knobs.faults.push(Fault::Kill);
        }
        if rng.random_bool(0.3) {
            knobs.longest *= 2;
            knobs.raft.timeouts = TimeoutPolicy::Adaptive(Bounds {
                election_floor: Duration::from_micros(election_timeout_min),
                election_ceiling: Duration::from_micros(knobs.longest),
                heartbeat_floor: Duration::from_micros(election_timeout_min / 8),
                heartbeat_ceiling: Duration::from_micros(election_timeout_min / 3),
            });
        }
        knobs
    }
}

fn draw_snapshots(rng: &mut impl Rng, election_timeout_max: Micros) -> Snapshots {
    let rules = SnapshotRules {
        bytes: one_of(rng, &[0, 500, 3_000, u64::MAX]),
        entries: one_of(rng, &[1, 3, 10, 40, u64::MAX]),
        log_entries: one_of(rng, &[0, 0, 3, 20, 100]),
        held_bytes_max: one_of(rng, &[0, 500, 1 << 30]),
    };
    let stall_timeout = Duration::from_micros(election_timeout_max * one_of(rng, &[1, 4]) / 2);
    let pin_time_max = Duration::from_micros(election_timeout_max * one_of(rng, &[1, 8, 10_000]) / 4);
    let pin_bytes_max = one_of(rng, &[0, 3_000, 1 << 30]);
    let piece_bytes = one_of(rng, &[16, 100, 1_000, 1 << 20]);
    Snapshots {
        rules: if rng.random_bool(0.2) { SnapshotRules::NEVER } else { rules },
        delay_max: one_of(rng, &[0, 1_000, election_timeout_max]),
        incoming: incoming::Limits { piece_bytes },
        in_flight_max: if piece_bytes < 1_000 { 8 } else { one_of(rng, &[1, 3, 8]) },
        outgoing: outgoing::Limits { pin_bytes_max, pin_time_max, stall_timeout, ..outgoing::Limits::default() },
        patience: election_timeout_max / one_of(rng, &[1, 3]),
        stall: election_timeout_max * one_of(rng, &[1, 4]),
    }
}

fn draw_raft(rng: &mut impl Rng, election_timeout_min: Micros, election_timeout_max: Micros) -> raft::Options {
    raft::Options {
        timeouts: TimeoutPolicy::Fixed(Timeouts {
            election_min: Duration::from_micros(election_timeout_min),
            election_max: Duration::from_micros(election_timeout_max),
            heartbeat: Duration::from_micros(election_timeout_min / one_of(rng, &[3, 4, 8])),
        }),
        disk_stall_max: Duration::from_micros(election_timeout_max * one_of(rng, &[1, 2, 5])),
        append_bytes_max: one_of(rng, &[1, 100, 500, 1 << 20]),
        window: Window { appends_max: one_of(rng, &[1, 2, 8, 64]), bytes_max: one_of(rng, &[1, 1_000, 16 << 20]) },
        cache_bytes_max: one_of(rng, &[0, 300, 2_000, 64 << 20]),
    }
}

fn draw_limits(rng: &mut impl Rng, election_timeout_max: Micros) -> Limits {
    Limits {
        queue_messages_max: one_of(rng, &[5, 1_000_000]),
        session_outcomes_max: one_of(rng, &[2, 4, 1_000]),
        sessions_max: one_of(rng, &[4, 100_000]),
        session_time_to_live: Duration::from_micros(election_timeout_max * one_of(rng, &[3, 10, 10_000])),
        ..Limits::default()
    }
}

fn draw_network(rng: &mut impl Rng, election_timeout_min: Micros) -> Network {
    let delay_max = election_timeout_min / one_of(rng, &[400, 40, 12]);
    Network {
        delay_min: delay_max / 4,
        delay_max,
        tail_max: election_timeout_min * 2,
        tail: one_of(rng, &[0.0, 0.01, 0.1]),
        loss: one_of(rng, &[0.0, 0.01, 0.1, 0.2]),
        duplication: one_of(rng, &[0.0, 0.02, 0.2]),
        replay: one_of(rng, &[0.0, 0.02, 0.2]),
        replay_after_max: election_timeout_min * 20,
        notice: one_of(rng, &[0.0, 0.5]),
        is_ordered: rng.random_bool(0.5),
        is_encoded: rng.random_bool(0.3),
        flips: one_of(rng, &[0.0, 0.05]),
        tcp: None,
    }
}

/// Links that take so long at most, each way.
fn draw_connections(rng: &mut impl Rng, delay_max: Micros) -> Connections {
    let delay = delay_max * 2 / 3;
    let quality = tcp::Quality {
        delay,
        jitter: delay / one_of(rng, &[2, 20]),
        reordering: one_of(rng, &[0.0, 0.08]),
        corruption: one_of(rng, &[0.0, 0.05]),
        duplication: one_of(rng, &[0.0, 0.02, 0.2]),
        loss: one_of(rng, &[0.0, 0.01, 0.05, 0.2]),
        segment_bytes: one_of(rng, &[100, 1_448, 65_483]),
    };
    let patience = tcp::Patience::of(&quality);
    Connections { quality, patience }
}

fn draw_disk(rng: &mut impl Rng, election_timeout_min: Micros) -> Disk {
    Disk {
        delay_max: one_of(rng, &[10, 1_000, election_timeout_min / 40, election_timeout_min / 8]),
        tail_max: election_timeout_min,
        tail: one_of(rng, &[0.0, 0.01, 0.1]),
    }
}

fn draw_workload(rng: &mut impl Rng, election_timeout_max: Micros) -> Workload {
    Workload {
        clients: rng.random_range(2..=6),
        queues: rng.random_range(1..=3),
        pipeline_max: one_of(rng, &[1, 1, 3]),
        think_max: election_timeout_max / one_of(rng, &[2, 5, 20]),
        giving_up: 0.2,
        without_session: one_of(rng, &[0.0, 0.3, 1.0]),
        waiting: one_of(rng, &[0.0, 0.3, 0.9]),
        leasing: one_of(rng, &[0.0, 0.3, 0.7]),
        several: one_of(rng, &[0.0, 0.3]),
        reading: one_of(rng, &[0.0, 0.2, 0.5]),
        body_bytes_max: one_of(rng, &[0, 0, 200, 1_500]),
    }
}

/// One of these, each as likely as the others.
pub fn one_of<T: Copy>(rng: &mut impl Rng, choices: &[T]) -> T {
    choices[rng.random_range(0..choices.len())]
}
