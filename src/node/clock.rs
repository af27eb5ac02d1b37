//! The node's two clocks. The pure rooms have none: both readings come in with every event.

use std::time::{Duration, Instant};

use crate::ids::{Time, Timestamp};
use crate::telemetry;

/// The monotonic clock of this process, and the wall clock of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// Starts at [`Time`] 0.
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Microseconds since the start; never goes back.
    pub fn now(&self) -> Time {
        Time::default() + self.started.elapsed()
    }

    /// The wall clock. It may jump; the replica keeps log time from going back. Before 1970 it reads 0.
    pub fn wall(&self) -> Timestamp {
        telemetry::wall()
    }

    /// The moment at which the clock reads `time`, for timers.
    pub fn instant(&self, time: Time) -> tokio::time::Instant {
        let after_start = time - Time::default();
        // A time centuries ahead means "never": a day is often enough to look again.
        let bounded = after_start.min(self.started.elapsed() + Duration::from_secs(24 * 60 * 60));
        tokio::time::Instant::from_std(self.started + bounded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_beyond_all_time_is_still_an_instant() {
        let clock = Clock::start();
        assert!(clock.instant(Time(u64::MAX)) > tokio::time::Instant::now());
    }

    #[test]
    fn the_instant_of_now_has_come() {
        let clock = Clock::start();
        assert!(clock.instant(clock.now()) <= tokio::time::Instant::now());
    }
}
