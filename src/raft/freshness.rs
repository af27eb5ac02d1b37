//! How old the state of a member can be: what was committed at which moment of its own clock.
//!
//! ```text
//!    follower                          leader
//!        | HeartbeatReply, clock 17      |
//!        |------------------------------>|  heard at x
//!        |                               |  a majority answers heartbeats sent after x: it still led then
//!        | Heartbeat, fresh (17, commit) |
//!        |<------------------------------|
//!    what anybody had committed when its clock showed 17 is in the log up to `commit`
//! ```
//!
//! It stays true however long a message was on its way, and also when the leader has been replaced without knowing: the age can
//! come out too high and never too low. Clocks of two nodes are not compared. What it costs: the age of a healthy follower is
//! two to three heartbeat intervals.

use super::OpaqueTime;
use super::core::{Raft, Role};
use super::progress::Progress;
use crate::ids::{Index, NodeId, Time};

/// Everything that was committed when this member's clock showed `at` is in the log up to `index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// The moment, on this member's clock.
    pub at: Time,
    /// The last index that can have been committed by then, or a later one.
    pub index: Index,
}

/// A follower's clock, as a leader keeps it.
#[derive(Debug, Default)]
pub(super) struct Echo {
    /// A reading that came with an answer, and when it was heard.
    heard: Option<(OpaqueTime, Time)>,
    /// The last reading after which the leader is known to have led.
    confirmed: Option<OpaqueTime>,
}

impl Echo {
    /// The follower's clock came with an answer. One that waits to be confirmed is not put off by those after it.
    pub(super) fn on_clock(&mut self, clock: OpaqueTime, now: Time, led_at: Time) {
        self.confirm(led_at);
        self.heard.get_or_insert((clock, now));
    }

    /// The last reading after which the leader is known to have led: it did at `led_at`.
    pub(super) fn confirm(&mut self, led_at: Time) -> Option<OpaqueTime> {
        if let Some((clock, _)) = self.heard.take_if(|(_, heard_at)| *heard_at < led_at) {
            self.confirmed = Some(clock);
        }
        self.confirmed
    }
}

impl Raft {
    /// The latest moment of which this member knows how much was committed. None: it has not heard yet.
    pub fn fresh(&self, now: Time) -> Option<Fresh> {
        match self.role {
            Role::Leader(_) if self.has_committed_in_term() => {
                Some(Fresh { at: self.led_at(now), index: self.commit() })
            }
            _ => self.fresh,
        }
    }

    /// The last moment at which this leader is known to have led: a majority has answered heartbeats that it sent then.
    pub(super) fn led_at(&self, now: Time) -> Time {
        let answered = |node: NodeId| {
            if node == self.id { now } else { self.progress(node).map_or(Time(0), Progress::heartbeat_answered) }
        };
        self.configuration().reached_by_majority(answered)
    }

    /// The clock of this member, for the leader to send back.
    pub(super) fn clock(&self, now: Time) -> OpaqueTime {
        OpaqueTime(self.nonce.wrapping_add(now.0))
    }

    /// The leader tells how much was committed when this member's clock was read.
    pub(super) fn on_fresh(&mut self, now: Time, clock: OpaqueTime, index: Index) {
        let at = Time(clock.0.wrapping_sub(self.nonce));
        // A reading by an earlier process of this node comes out as a time that is still to come.
        let is_own = at <= now;
        if is_own && self.fresh.is_none_or(|fresh| fresh.at < at) {
            self.fresh = Some(Fresh { at, index });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_counts_once_the_leader_led_after_it() {
        let mut echo = Echo::default();
        echo.on_clock(OpaqueTime(1), Time(10), Time(5));
        assert_eq!(echo.confirm(Time(10)), None, "the heartbeat can have left before the reading came");
        echo.on_clock(OpaqueTime(2), Time(20), Time(10));
        assert_eq!(
            echo.confirm(Time(15)),
            Some(OpaqueTime(1)),
            "the second is not kept, so that the first has its turn"
        );
        echo.on_clock(OpaqueTime(3), Time(30), Time(15));
        echo.on_clock(OpaqueTime(4), Time(40), Time(35));
        assert_eq!(echo.confirm(Time(35)), Some(OpaqueTime(3)));
        assert_eq!(echo.confirm(Time(45)), Some(OpaqueTime(4)));
    }
}
