//! A node: a disk that stays, and a process that comes and goes. Its loop is that of production: drain what has arrived, one
//! turn, carry out the effects.

use std::collections::BTreeMap;

use quorate::ids::{EntryId, Index, Time, Timestamp};
use quorate::raft::RoleName;
use quorate::replica::{self, Consistency, Replica, RequestId};
use quorate::state_machine::Living;
use quorate::storage::MemoryDisk;
use quorate::storage::outgoing::{self, Outgoing};

use super::fetching::Fetching;
use super::knobs::Micros;
use super::running::round_answered;
use super::store::Store;
use super::upkeep::UpkeepFault;

/// The wall clock at the start, in milliseconds.
const EPOCH: u64 = 1_800_000_000_000;

/// A machine.
pub struct Node {
    /// Its disk.
    pub disk: MemoryDisk,
    /// What runs on it.
    pub process: Option<Process>,
    /// Counts its processes: what was meant for an earlier one is lost.
    pub incarnation: u64,
    /// It never comes back.
    pub is_dead: bool,
    /// Its process stands still until then.
    pub paused_until: Micros,
    /// Its disk hangs until then.
    pub stalled_until: Micros,
    /// A fault of its disk waits to happen.
    pub is_armed: bool,
    /// It is to be cut off when it hands over.
    pub is_cut_at_hand_over: bool,
    /// Its process is to stand still as soon as it could answer a read.
    pub pauses_before_reads: bool,
    /// No process starts before.
    pub away_until: Micros,
    /// What goes wrong with its next step of a kind.
    pub upkeep_fault: Option<UpkeepFault>,
    /// Its last process ended while it installed this snapshot.
    pub interrupted_install: Option<EntryId>,
    /// Its clocks.
    pub clock: Clock,
}

/// A running process.
pub struct Process {
    /// The production replica.
    pub replica: Replica,
    /// The production log.
    pub store: Store,
    /// What has arrived and waits for the next turn.
    pub inbox: Vec<replica::Event>,
    /// Counts turns.
    pub turns: u64,
    /// A turn is about to come.
    pub turn_is_due: bool,
    /// A wake is scheduled for then.
    pub wake_at: Option<Micros>,
    /// Reads that the disk has not done.
    pub reads: usize,
    /// The last read round that it has begun as a leader.
    pub read_round: u64,
    /// The read rounds that the answers of this turn are to.
    pub rounds_answered: Vec<u64>,
    /// Who waits for an answer.
    pub requests: BTreeMap<RequestId, Waiter>,
    /// Counts requests.
    pub last_request: RequestId,
    /// The process ends when it has carried out so many more effects.
    pub effects_left: Option<usize>,
    /// What others get of its snapshot.
    pub outgoing: Outgoing,
    /// What it gets of the leader's.
    pub fetching: Fetching,
    /// Counts its attempts to get one.
    pub last_fetch: u64,
    /// What lives as of the snapshots that are not compacted yet.
    pub living: BTreeMap<EntryId, Vec<Living>>,
    /// The compaction that is to come.
    pub compaction: Option<(EntryId, Vec<Living>)>,
    /// Its state up to here came in a snapshot.
    pub restored: Index,
    /// A received snapshot is on its way to the disk.
    pub installing: Option<EntryId>,
    /// A snapshot that came and may wait to be installed; if it is of no use, its file stays until an own one is as late.
    pub offered: Option<EntryId>,
    /// The turn in which the last one was there.
    pub installed_in_turn: u64,
    /// A sync has failed that it can do without.
    pub has_failed_sync: bool,
    /// Without members that need it the log would begin after this.
    pub unheld_start: Index,
    /// Bytes of files that wait to become segments.
    pub spare_bytes: u64,
}

impl Process {
    /// A process that starts.
    pub fn new(replica: Replica, store: Store, outgoing: outgoing::Limits) -> Self {
        Self {
            outgoing: Outgoing::new(store.shared().clone(), outgoing),
            fetching: Fetching::Nothing,
            last_fetch: 0,
            living: BTreeMap::new(),
            compaction: None,
            restored: Index(0),
            installing: None,
            offered: None,
            installed_in_turn: 0,
            has_failed_sync: false,
            unheld_start: Index(0),
            spare_bytes: 0,
            replica,
            store,
            inbox: Vec::new(),
            turns: 0,
            turn_is_due: false,
            wake_at: None,
            reads: 0,
            read_round: 0,
            rounds_answered: Vec::new(),
            requests: BTreeMap::new(),
            last_request: RequestId(0),
            effects_left: None,
        }
    }

    /// A read waits, and an answer to a heartbeat has come.
    pub fn could_answer_reads(&self) -> bool {
        let has_read = self.requests.values().any(|waiter| waiter.read.is_some());
        has_read && self.inbox.iter().any(|event| round_answered(event).is_some())
    }
}

/// Somebody who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A client.
    Client(usize),
    /// Who changes the membership.
    Operator,
    /// Who wants another leader.
    HandOver,
    /// Who wants another leader, because the machine is to stop.
    Stop,
}

impl Caller {
    /// It asks for another leader.
    pub fn wants_transfer(self) -> bool {
        matches!(self, Self::HandOver | Self::Stop)
    }
}

/// A request that a node works on.
#[derive(Clone, Copy, Debug)]
pub struct Waiter {
    /// Whose it is.
    pub caller: Caller,
    /// Which attempt.
    pub attempt: u64,
    /// It is a dequeue that waits, until its node's clock shows this.
    pub waits_until: Option<Time>,
    /// It is a read.
    pub read: Option<Asking>,
    /// The commit index of the node when the request came.
    pub commit: Index,
    /// The turns that the node had taken.
    pub turn: u64,
}

/// A read that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// How fresh the answer must be.
    pub consistency: Consistency,
    /// The node led when it came.
    pub led: bool,
    /// It led, and had not committed anything of its term.
    pub came_before_noop: bool,
    /// The last read round that the node had begun.
    pub round: u64,
}

/// The clocks of a node. They run at their own rate; the wall clock jumps.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The monotonic clock is that of the process, which started then.
    pub started: Micros,
    /// Millionths of the true rate.
    pub rate: u64,
    /// Milliseconds that the wall clock is ahead.
    pub ahead: i64,
}

impl Clock {
    /// The monotonic clock.
    pub fn time(self, now: Micros) -> Time {
        Time((now - self.started) * self.rate / 1_000_000)
    }

    /// When the monotonic clock will have come to `time`.
    pub fn when(self, time: Time) -> Micros {
        self.started + (u128::from(time.0) * 1_000_000).div_ceil(u128::from(self.rate)) as Micros
    }

    /// The wall clock.
    pub fn wall(self, now: Micros) -> Timestamp {
        Timestamp((EPOCH + now / 1_000).saturating_add_signed(self.ahead))
    }
}

impl Node {
    /// A machine with an empty disk that nothing runs on.
    pub fn new(clock: Clock) -> Self {
        Self {
            disk: MemoryDisk::default(),
            process: None,
            incarnation: 0,
            is_dead: false,
            paused_until: 0,
            stalled_until: 0,
            is_armed: false,
            is_cut_at_hand_over: false,
            pauses_before_reads: false,
            away_until: 0,
            upkeep_fault: None,
            interrupted_install: None,
            clock,
        }
    }

    /// It takes itself for the leader.
    pub fn leads(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.replica.status().role == RoleName::Leader)
    }
}
