//! When a member asks for votes, and what puts that off.
//!
//! ```text
//!    hears a leader           reset_election_timer     the leader may be silent for so long
//!    votes are on their way   wait_for_votes           until somebody leads, or the next attempt
//!    the leader has gone      on_gone                  at once, after a short random pause
//!    was starved              mind_lateness            once, for as long as nobody could be heard here
//! ```
//!
//! How long each of them is comes from `measured.rs`.

use std::time::Duration;

use rand::RngExt;

use super::core::{Raft, Role};
use super::{TimeoutPolicy, Timeouts};
use crate::ids::{NodeId, Time};

/// A follower whose leader has gone asks for votes after a random pause up to this, or up to a round trip where that is more:
/// all of them notice at once.
const GONE_PAUSE: Duration = Duration::from_millis(30);

/// Who is called so much later than it wanted was starved. A timer alone is not as late.
const STARVED_MIN: Duration = Duration::from_millis(10);

/// What is not a heartbeat may take this long to be answered, however short the time-outs are: it waits for disks, and for
/// what else there is to do.
const PATIENCE_MIN: Duration = Duration::from_secs(1);

impl Raft {
    /// Asks for votes unless a leader is heard in time.
    pub(super) fn reset_election_timer(&mut self, now: Time) {
        let wait = self.measured.leader_wait();
        self.set_election_timer(now, wait);
    }

    /// Asks for votes, perhaps again, unless those that are on their way make somebody a leader in time. Those of the round
    /// before took `before`.
    pub(super) fn wait_for_votes(&mut self, now: Time, before: Duration) {
        let wait = self.measured.candidate_wait(before);
        self.set_election_timer(now, wait);
    }

    /// Waits as long as a candidate takes that has the votes on their way, if that is less than what is waited for already.
    pub(super) fn wait_for_rival(&mut self, now: Time) {
        if let Some(interval) = self.measured.vote_interval() {
            let at = self.draw(now, (interval, 3 * interval));
            self.election_at = self.election_at.min(at);
        }
    }

    fn set_election_timer(&mut self, now: Time, wait: (Duration, Duration)) {
        self.put_off_until = None;
        self.election_at = self.draw(now, wait);
    }

    /// A moment so long after `now`, drawn between the shortest and the longest.
    fn draw(&mut self, now: Time, (shortest, longest): (Duration, Duration)) -> Time {
        let micros = shortest.as_micros() as u64..=longest.as_micros() as u64;
        now + Duration::from_micros(self.rng.random_range(micros))
    }

    /// The process of a member has ended, as far as its machine can tell: its connections closed and it takes no others. If it
    /// led, there is no use in waiting for it. A wrong guess does no harm: whoever hears it refuses the vote.
    pub fn on_gone(&mut self, now: Time, peer: NodeId) {
        self.on_unreachable(peer);
        let follows = matches!(&self.role, Role::Follower(it) if it.leader.is_some_and(|(leader, _)| leader == peer));
        if follows && self.quarantined.is_none() {
            self.become_follower(now, self.term(), "the process of the leader has ended");
            let pause = GONE_PAUSE.max(self.measured.round_trip().unwrap_or_default());
            self.election_at = self.draw(now, (Duration::ZERO, pause.min(self.timeouts().election_min)));
        }
    }

    /// While a member was not run it heard nobody, whoever spoke: what waits for it is heard before it judges anybody's silence.
    pub(super) fn mind_lateness(&mut self, now: Time) {
        let wanted = match &self.role {
            Role::Leader(leader) => leader.heartbeat_at,
            _ => self.election_at,
        };
        if now < wanted || self.called_for == wanted {
            return;
        }
        self.called_for = wanted;
        let lateness = now - wanted;
        let is_fixed = matches!(self.options.timeouts, TimeoutPolicy::Fixed(_));
        if lateness < STARVED_MIN || is_fixed {
            return self.measured.on_called(lateness);
        }
        self.measured.on_late(lateness);
        let Timeouts { election_min, election_max, .. } = self.timeouts();
        if self.is_leader() {
            self.excuse_silence(wanted, now + lateness.min(election_max));
        } else if self.put_off_until.is_none() {
            self.election_at = now + lateness.min(election_min);
            self.put_off_until = Some(self.election_at);
        }
    }

    /// True for a moment after this member was starved: it may have heard a leader, and not know it yet.
    pub(super) fn was_starved(&self, now: Time) -> bool {
        self.put_off_until.is_some_and(|until| now < until)
    }

    /// How long the answer to something that is not a heartbeat may take.
    pub fn patience(&self) -> Duration {
        match self.options.timeouts {
            TimeoutPolicy::Fixed(timeouts) => timeouts.election_max,
            TimeoutPolicy::Adaptive(_) => self.timeouts().election_max.max(PATIENCE_MIN),
        }
    }
}
