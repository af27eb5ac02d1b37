//! A moment on both clocks.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::ids::Timestamp;

/// The wall clock now. It may jump; before 1970 it reads 0.
pub fn wall() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::default().after(since_epoch)
}

/// A moment: the wall clock dates spans, so that those of several nodes fit together; the steady one measures.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    wall: SystemTime,
    steady: Instant,
}

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        Self { wall: SystemTime::now(), steady: Instant::now() }
    }

    /// The moment at which the steady clock stood at `steady`, as both clocks go now.
    pub fn at(self, steady: Instant) -> Self {
        let (before, after) =
            (self.steady.saturating_duration_since(steady), steady.saturating_duration_since(self.steady));
        let wall = self.wall.checked_sub(before).and_then(|wall| wall.checked_add(after)).unwrap_or(self.wall);
        Self { wall, steady }
    }

    /// How much later this is; zero if it is not.
    pub fn since(self, earlier: Moment) -> Duration {
        self.steady.saturating_duration_since(earlier.steady)
    }

    /// Whether the steady clock had not come to `steady` yet.
    pub fn is_before(self, steady: Instant) -> bool {
        self.steady < steady
    }

    /// On the wall clock, which may jump.
    pub fn wall(self) -> SystemTime {
        self.wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_of_the_steady_clock_has_a_date() {
        let now = Moment::now();
        let second = Duration::from_secs(1);
        for (steady, wall) in [(now.steady - second, now.wall - second), (now.steady + second, now.wall + second)] {
            let moment = now.at(steady);
            assert_eq!((moment.wall(), moment.steady), (wall, steady));
        }
        assert_eq!(now.since(now.at(now.steady - second)), second);
    }
}
