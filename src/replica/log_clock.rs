//! The time of the log, as a node reads it between the entries that tell it.

use std::time::Duration;

use crate::ids::{Time, Timestamp};

/// Goes on from the latest time in the log by this node's monotonic clock, so that what is due by the time of the log comes in
/// time whatever the clocks on the walls say. One that is ahead of it takes it along; one that is behind does not hold it up.
#[derive(Debug)]
pub(super) struct LogClock {
    /// The latest time that this node has proposed or applied.
    latest: Timestamp,
    /// When it was that time.
    since: Time,
}

impl LogClock {
    pub(super) fn new(now: Time) -> Self {
        Self { latest: Timestamp(0), since: now }
    }

    /// The time of the log.
    pub(super) fn read(&self, now: Time, wall: Timestamp) -> Timestamp {
        wall.max(self.latest.after(now - self.since))
    }

    /// The same, for an entry: no later entry of this node has an earlier time.
    pub(super) fn stamp(&mut self, now: Time, wall: Timestamp) -> Timestamp {
        let timestamp = self.read(now, wall);
        let passed = Duration::from_millis(timestamp.0 - self.latest.0);
        // The rest of a millisecond is not lost, however often the clock is read. `passed` is longer than what has really
        // passed where the wall decides.
        self.since = (self.since + passed).min(now);
        self.latest = timestamp;
        timestamp
    }

    /// An entry of this time, or a snapshot with it, was applied. What others have proposed is right: the clocks of two nodes
    /// do not run equally fast.
    pub(super) fn on_applied(&mut self, now: Time, timestamp: Timestamp) {
        if timestamp > self.latest {
            *self = Self { latest: timestamp, since: now };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However often it is read: what is left of a millisecond counts.
    #[test]
    fn it_goes_on_as_fast_as_time_does() {
        let (mut clock, wall) = (LogClock::new(Time(0)), Timestamp(3));
        clock.on_applied(Time(0), Timestamp(1_000));
        let stamps: Vec<u64> = (1..=10).map(|turn| clock.stamp(Time(turn * 1_900), wall).0).collect();
        assert_eq!(stamps, [1_001, 1_003, 1_005, 1_007, 1_009, 1_011, 1_013, 1_015, 1_017, 1_019]);
    }

    /// A wall that is ahead takes it along, and one that is set back does not hold it up.
    #[test]
    fn the_wall_takes_it_along_and_never_back() {
        let mut clock = LogClock::new(Time(0));
        assert_eq!(clock.stamp(Time(5_000), Timestamp(2_000)), Timestamp(2_000));
        assert_eq!(clock.stamp(Time(7_500), Timestamp(1)), Timestamp(2_002));
        assert_eq!(clock.read(Time(8_000), Timestamp(1)), Timestamp(2_003));
        assert_eq!(clock.read(Time(8_000), Timestamp(9_000)), Timestamp(9_000), "which no entry has told");
        assert_eq!(clock.read(Time(8_000), Timestamp(1)), Timestamp(2_003));
    }
}
