//! A moment on both clocks.

use std::time::{Duration, Instant, SystemTime};

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

    /// How much later this is; zero if it is not.
    pub fn since(self, earlier: Moment) -> Duration {
        self.steady.saturating_duration_since(earlier.steady)
    }

    /// On the wall clock, which may jump.
    pub fn wall(self) -> SystemTime {
        self.wall
    }
}
