//! Keeps what happens often from filling the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets one thing through in each interval and counts the others.
#[derive(Debug)]
pub struct Throttle {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    held_back: u64,
}

impl Throttle {
    /// One each `interval`.
    pub fn new(interval: Duration) -> Self {
        Self { interval, state: Mutex::default() }
    }

    /// How many were held back since the last one that was let through; none: hold this one back too.
    pub fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        // Plain numbers: right also when somebody panicked with the lock.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now.duration_since(last) < self.interval) {
            state.held_back += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_passes_each_interval_and_says_how_many_did_not() {
        let throttle = Throttle::new(Duration::from_secs(1));
        let start = Instant::now();
        let at = |millis| throttle.pass_at(start + Duration::from_millis(millis));
        assert_eq!([at(0), at(10), at(999), at(1000), at(2500)], [Some(0), None, None, Some(2), Some(0)]);
    }
}
