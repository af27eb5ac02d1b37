//! What a member has measured of its links and of itself, and the time-outs that follow.
//!
//! ```text
//!    leader      heartbeat interval = round trip / 4                                          within bounds
//!    follower    election time-out  = 3 intervals + margin x longest gaps + own lateness       within bounds
//!    candidate   wait               = what a question and its answer take, hold-ups included, doubled with each attempt
//! ```
//!
//! Gaps between heartbeats and not round trips say how long a silence means nothing: on a link that loses packets, what is
//! behind a lost one waits for its retransmission. A leader measures the gaps between the answers of each voter, or while it is alone of each learner, so that
//! both roles share one measure, and a leader starts with what it heard as a follower.
//!
//! What was measured of an earlier leader still counts while little was heard of the present one: links of one cluster are more
//! alike than different, and the memory is short.

use std::time::Duration;

use super::sample::{Sample, Silence};
use super::timing::{Bounds, Pace, Spread, TimeoutPolicy, Timeouts, Timing, Why};
use crate::ids::{NodeId, Time};

/// Gaps that are remembered: a minute on a fast network, some ten minutes on one with 2 s round trip.
const GAPS_MAX: usize = 1024;

/// Round trips that are remembered: some seconds of those of a few voters, as the median is to follow soon.
const ROUND_TRIPS_MAX: usize = 128;

/// Latenesses that are remembered.
const LATENESSES_MAX: usize = 256;

/// With fewer gaps than this not much is known.
const GAPS_MIN: usize = 32;

/// While not much is known, a follower waits at least this long for a leader.
const CONSERVATIVE_ELECTION: Duration = Duration::from_secs(1);

/// Before any round trip was measured, a leader sends a heartbeat this often.
const CONSERVATIVE_HEARTBEAT: Duration = Duration::from_millis(100);

/// In thousandths: of all gaps but one in a thousand, an election time-out is longer by the margin.
const HIGH: usize = 999;

/// In thousandths: lateness is not added up over many members, so that this is enough of it.
const LATENESS_HIGH: usize = 990;

/// In thousandths: a vote and its answer meet few gaps, and an election that failed can be repeated.
const VOTE_HIGH: usize = 950;

/// What is measured, and what follows from it.
#[derive(Debug)]
pub(super) struct Measured {
    policy: TimeoutPolicy,
    gaps: Sample,
    round_trips: Sample,
    /// The longest of each interval between heartbeats, as far as it was noticed.
    lateness: Sample,
    /// Of the interval under way.
    late: Duration,
    /// Of the leader that is followed.
    silence: Silence,
    /// Gaps since another leader was heard, as far as they are counted.
    gaps_of_leader: usize,
    leader: Option<NodeId>,
    told: Option<Pace>,
    failed_attempts: u32,
    timing: Timing,
}

impl Measured {
    /// Nothing was measured.
    pub(super) fn new(policy: TimeoutPolicy) -> Self {
        let mut measured = Self {
            policy,
            gaps: Sample::new(GAPS_MAX),
            round_trips: Sample::new(ROUND_TRIPS_MAX),
            lateness: Sample::new(LATENESSES_MAX),
            late: Duration::ZERO,
            silence: Silence::default(),
            gaps_of_leader: 0,
            leader: None,
            told: None,
            failed_attempts: 0,
            timing: Timing::of(Timeouts {
                election_min: Duration::ZERO,
                election_max: Duration::ZERO,
                heartbeat: Duration::ZERO,
            }),
        };
        measured.adapt();
        measured
    }

    /// What is in force, and why.
    pub(super) fn timing(&self) -> Timing {
        self.timing
    }

    /// What a leader tells its followers.
    pub(super) fn pace(&self) -> Pace {
        let Timeouts { election_min, heartbeat, .. } = self.timing.timeouts;
        let round_trip = self.round_trip().unwrap_or_default();
        // In whole microseconds, as it goes over the wire.
        let [interval, round_trip, election_timeout] =
            [heartbeat, round_trip, election_min].map(|time| Duration::from_micros(time.as_micros() as u64));
        Pace { interval, round_trip, election_timeout }
    }

    /// A heartbeat of the leader came.
    pub(super) fn on_heartbeat(&mut self, now: Time, leader: NodeId, pace: Option<Pace>) {
        if self.leader != Some(leader) {
            self.on_leader(Some(leader));
        }
        self.told = pace;
        if let Some(gap) = self.silence.on_heard(now, self.interval()) {
            self.gaps_of_leader += 1;
            self.gaps.add(gap);
            self.end_interval();
        }
        self.adapt();
    }

    /// Heartbeats went out to all others.
    pub(super) fn on_heartbeats_sent(&mut self) {
        self.end_interval();
        self.adapt();
    }

    fn end_interval(&mut self) {
        self.lateness.add(std::mem::take(&mut self.late));
    }

    /// A member answered a heartbeat after `round_trip`. `silence` is what is known of that member.
    pub(super) fn on_answer(&mut self, now: Time, round_trip: Duration, silence: &mut Silence) {
        if let Some(gap) = silence.on_heard(now, self.interval()) {
            self.gaps.add(gap);
            self.round_trips.add(round_trip);
        }
    }

    /// Another leader is heard, or this member leads, or will hear of one.
    fn on_leader(&mut self, leader: Option<NodeId>) {
        self.leader = leader;
        self.gaps_of_leader = 0;
        self.told = None;
        self.silence.forget();
    }

    /// This member leads. To win the election took `election`.
    pub(super) fn on_elected(&mut self, election: Duration) {
        self.on_leader(None);
        self.failed_attempts = 0;
        // Who is alone needs no time for it.
        if !election.is_zero() {
            self.round_trips.add(election);
        }
        self.adapt();
    }

    /// The silence of `peer` that is under way has a known cause.
    pub(super) fn on_disconnected(&mut self, peer: NodeId) {
        if self.leader == Some(peer) {
            self.silence.forget();
        }
    }

    /// This member was called so much later than it wanted. While it was not, it heard nobody.
    pub(super) fn on_late(&mut self, lateness: Duration) {
        self.on_called(lateness);
        self.silence.forget();
    }

    /// It was called when it wanted, or nearly so.
    pub(super) fn on_called(&mut self, lateness: Duration) {
        self.late = self.late.max(lateness);
    }

    /// A leader is heard.
    pub(super) fn on_leader_heard(&mut self) {
        self.failed_attempts = 0;
    }

    /// The time of an election is over and no leader is heard; or it is left to another, who needs the time for it.
    pub(super) fn on_attempt(&mut self) {
        self.failed_attempts = self.failed_attempts.saturating_add(1);
        self.timing.failed_attempts = self.failed_attempts;
    }

    /// For how long at least, and at most, a leader may be silent.
    pub(super) fn leader_wait(&self) -> (Duration, Duration) {
        let Timeouts { election_min, election_max, .. } = self.timing.timeouts;
        (election_min, election_max)
    }

    /// For how long at least, and at most, votes may be on their way. Those of the round before took `before`.
    pub(super) fn candidate_wait(&self, before: Duration) -> (Duration, Duration) {
        let TimeoutPolicy::Adaptive(bounds) = self.policy else { return self.leader_wait() };
        let grown = self.vote_time(bounds).saturating_mul(1 << self.failed_attempts.min(16));
        let wait = grown.max(2 * before).min(bounds.election_ceiling / 2);
        (wait, 2 * wait)
    }

    /// How long an answer to a vote is waited for before it is asked for again. None: time-outs are fixed, and nothing is repeated.
    pub(super) fn vote_interval(&self) -> Option<Duration> {
        let TimeoutPolicy::Adaptive(bounds) = self.policy else { return None };
        Some(self.round_trip().unwrap_or(CONSERVATIVE_ELECTION).max(bounds.election_floor))
    }

    /// What a vote and its answer take, with nearly all hold-ups.
    fn vote_time(&self, bounds: Bounds) -> Duration {
        let known = 2 * (self.round_trip().unwrap_or_default() + self.gaps.quantile(VOTE_HIGH).unwrap_or_default());
        let least = if self.gaps.len() < GAPS_MIN { CONSERVATIVE_ELECTION } else { Duration::ZERO };
        known.max(least).max(bounds.election_floor)
    }

    /// Works out what is in force.
    fn adapt(&mut self) {
        let timing = match self.policy {
            TimeoutPolicy::Fixed(timeouts) => Timing::of(timeouts),
            TimeoutPolicy::Adaptive(bounds) => self.adapted(bounds),
        };
        let spread = |sample: &Sample| Some(Spread { median: sample.quantile(500)?, high: sample.quantile(HIGH)? });
        let told = self.told.map(|pace| pace.round_trip).filter(|round_trip| !round_trip.is_zero());
        self.timing = Timing {
            gaps: spread(&self.gaps),
            round_trips: told.map(|median| Spread { median, high: median }).or_else(|| spread(&self.round_trips)),
            lateness: self.high_lateness(),
            samples: self.gaps.len(),
            failed_attempts: self.failed_attempts,
            ..timing
        };
    }

    fn adapted(&self, bounds: Bounds) -> Timing {
        let round_trip = self.round_trip().unwrap_or_default();
        let heartbeat = self.own_interval(bounds);
        let (measured, reason) = self.measured_election(bounds);
        let (conservative, caution) = self.conservative_election(round_trip);
        let (wanted, why) = if conservative > measured { (conservative, caution) } else { (measured, reason) };
        let longest = (bounds.election_ceiling * 2 / 3).max(bounds.election_floor);
        let why = if wanted > longest { Why::Ceiling } else { why };
        let election_min = wanted.clamp(bounds.election_floor, longest);
        let spread = (election_min / 2).max(2 * round_trip);
        let election_max = (election_min + spread).min(bounds.election_ceiling).max(election_min);
        Timing { why, ..Timing::of(Timeouts { election_min, election_max, heartbeat }) }
    }

    /// What follows from what was measured, and which part of it is the largest.
    fn measured_election(&self, bounds: Bounds) -> (Duration, Why) {
        let interval = self.interval();
        let heartbeats = 3 * interval;
        let gaps = self.gaps.quantile(HIGH).unwrap_or_default() * self.margin() / 4;
        let lateness = self.high_lateness();
        let why = if lateness > gaps.max(heartbeats) {
            Why::Lateness
        } else if gaps > heartbeats {
            Why::Gaps
        } else if interval > bounds.heartbeat_floor {
            Why::RoundTrip
        } else {
            Why::Floor
        };
        (heartbeats + gaps + lateness, why)
    }

    /// In quarters of the longest gaps. The fewer are known, the more likely it is that a longer one is still to come.
    fn margin(&self) -> u32 {
        match self.gaps.len() {
            0..64 => 12,
            64..256 => 8,
            _ => 6,
        }
    }

    /// What is waited for at least while little is known.
    fn conservative_election(&self, round_trip: Duration) -> (Duration, Why) {
        let told = self.told.map_or(Duration::ZERO, |pace| pace.election_timeout);
        let least = CONSERVATIVE_ELECTION.max(2 * round_trip);
        if self.gaps.len() < GAPS_MIN {
            if told > least { (told, Why::ToldByLeader) } else { (least, Why::Conservative) }
        } else if self.gaps_of_leader < GAPS_MIN {
            (told, Why::ToldByLeader)
        } else {
            (Duration::ZERO, Why::Floor)
        }
    }

    /// The time between two heartbeats of the leader, whoever that is.
    fn interval(&self) -> Duration {
        match (self.told, self.policy) {
            (Some(pace), TimeoutPolicy::Adaptive(bounds)) => pace.interval.min(bounds.election_ceiling / 6),
            (Some(pace), TimeoutPolicy::Fixed(_)) => pace.interval,
            (None, TimeoutPolicy::Adaptive(bounds)) => self.own_interval(bounds),
            (None, TimeoutPolicy::Fixed(timeouts)) => timeouts.heartbeat,
        }
    }

    /// The same, if this member leads.
    fn own_interval(&self, bounds: Bounds) -> Duration {
        let wanted = self.round_trip().map_or(CONSERVATIVE_HEARTBEAT, |round_trip| round_trip / 4);
        wanted.min(bounds.heartbeat_ceiling).max(bounds.heartbeat_floor)
    }

    /// The median time to another member and back, as the leader tells it or as it was measured here.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        let told = self.told.map(|pace| pace.round_trip).filter(|round_trip| !round_trip.is_zero());
        told.or_else(|| self.round_trips.quantile(500))
    }

    fn high_lateness(&self) -> Duration {
        self.lateness.quantile(LATENESS_HIGH).unwrap_or_default()
    }
}

impl Timing {
    /// These time-outs, with nothing measured.
    fn of(timeouts: Timeouts) -> Self {
        Self {
            timeouts,
            why: Why::Fixed,
            gaps: None,
            round_trips: None,
            lateness: Duration::ZERO,
            samples: 0,
            failed_attempts: 0,
        }
    }
}
