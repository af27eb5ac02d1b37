//! The time-outs in force, and why they are what they are: plain data. How they are found is in `measured.rs`.

use std::time::Duration;

/// Where the time-outs come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutPolicy {
    /// They are these, whatever the network does.
    Fixed(Timeouts),
    /// They follow what is measured, within bounds.
    Adaptive(Bounds),
}

/// Between these the time-outs that adapt stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// No election time-out is shorter.
    pub election_floor: Duration,
    /// No election time-out is longer, nor is the wait of a candidate.
    pub election_ceiling: Duration,
    /// No heartbeat interval is shorter.
    pub heartbeat_floor: Duration,
    /// No heartbeat interval is longer.
    pub heartbeat_ceiling: Duration,
}

impl Bounds {
    /// These for election time-outs, and what follows for heartbeats. An election time-out of a fast network has three heartbeats in
    /// it; one of a slow network has many, so that what is behind a lost packet shows soon that there was one.
    pub fn between(election_floor: Duration, election_ceiling: Duration) -> Self {
        let (heartbeat_floor, heartbeat_ceiling) = (election_floor / 3, election_ceiling / 30);
        Self { election_floor, election_ceiling, heartbeat_floor, heartbeat_ceiling }
    }
}

/// From what a LAN needs to what is steady with a second of delay each way and a tenth of the packets lost or corrupted.
impl Default for Bounds {
    fn default() -> Self {
        Self::between(Duration::from_millis(150), Duration::from_secs(30))
    }
}

/// The time-outs by which a member goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// A follower that hears no leader for this long, or for a random time up to the maximum, asks for votes.
    pub election_min: Duration,
    /// See `election_min`. A leader that a majority does not answer for this long steps down.
    pub election_max: Duration,
    /// A leader sends a heartbeat this often.
    pub heartbeat: Duration,
}

/// The time-outs in force, with what they follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// What is in force.
    pub timeouts: Timeouts,
    /// What decided the election time-out.
    pub why: Why,
    /// The longest silence of each heartbeat interval: of the leader, or of one member that answers the leader. None: nothing
    /// was measured.
    pub gaps: Option<Spread>,
    /// From a heartbeat to its answer. Of a follower both are the median that its leader told. None: nobody has measured it.
    pub round_trips: Option<Spread>,
    /// This member was called so much later than it wanted, at times.
    pub lateness: Duration,
    /// How many gaps are remembered.
    pub samples: usize,
    /// Elections in a row, its own and those that it left to another, of which no leader has come.
    pub failed_attempts: u32,
}

/// Where the middle and the upper end of some measured times lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Half of them were no longer.
    pub median: Duration,
    /// Of a thousand all but one were no longer.
    pub high: Duration,
}

/// What decides how long an election time-out is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was set.
    Fixed,
    /// Too little was heard yet to go by.
    Conservative,
    /// Nothing that was measured asks for a longer one than the bounds allow.
    Floor,
    /// The leader, or the other members, were silent for long at times.
    Gaps,
    /// A message takes long to the other members and back, so that heartbeats are few.
    RoundTrip,
    /// This process was not run when it wanted to, at times.
    Lateness,
    /// The leader goes by this one, and little was heard of it yet.
    ToldByLeader,
    /// It may not be longer.
    Ceiling,
}

impl Why {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Fixed,
        Self::Conservative,
        Self::Floor,
        Self::Gaps,
        Self::RoundTrip,
        Self::Lateness,
        Self::ToldByLeader,
        Self::Ceiling,
    ];

    /// In a word, for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Conservative => "conservative",
            Self::Floor => "floor",
            Self::Gaps => "gaps",
            Self::RoundTrip => "round_trip",
            Self::Lateness => "lateness",
            Self::ToldByLeader => "told_by_leader",
            Self::Ceiling => "ceiling",
        }
    }
}

/// What a leader goes by, as its heartbeats tell. For followers that have measured little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// It sends a heartbeat this often.
    pub interval: Duration,
    /// The median time from a heartbeat to its answer; zero: it has measured none.
    pub round_trip: Duration,
    /// Its own shortest election time-out.
    pub election_timeout: Duration,
}

impl TimeoutPolicy {
    /// No election time-out that comes into force is longer.
    pub fn election_max(&self) -> Duration {
        match self {
            Self::Fixed(timeouts) => timeouts.election_max,
            Self::Adaptive(bounds) => bounds.election_ceiling,
        }
    }
}
