//! How many bytes may go out in a second.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A rate that whoever sends keeps to. What was not used is not saved up.
pub(super) struct Rate {
    bytes_per_second: NonZeroU32,
    /// When all that was reserved is sent.
    free_at: Mutex<Option<Instant>>,
}

impl Rate {
    /// So many bytes in a second.
    pub(super) fn new(bytes_per_second: NonZeroU32) -> Self {
        Self { bytes_per_second, free_at: Mutex::default() }
    }

    /// As it was made.
    pub(super) fn bytes_per_second(&self) -> u32 {
        self.bytes_per_second.get()
    }

    /// How long to wait before these bytes are sent. They come after all that was reserved before.
    pub(super) fn reserve(&self, now: Instant, bytes: usize) -> Duration {
        // One value: right also when somebody panicked with the lock.
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = free_at.map_or(now, |free_at| free_at.max(now));
        *free_at = Some(begin + Duration::from_secs_f64(bytes as f64 / f64::from(self.bytes_per_second.get())));
        begin - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_wait_for_those_before_them_and_idle_time_is_not_saved_up() {
        let rate = Rate::new(NonZeroU32::new(1000).expect("not 0"));
        let start = Instant::now();
        let wait = |millis, bytes| rate.reserve(start + Duration::from_millis(millis), bytes).as_millis();
        assert_eq!([wait(0, 500), wait(0, 250), wait(100, 0), wait(100, 1000)], [0, 500, 650, 650]);
        assert_eq!([wait(10_000, 1000), wait(10_000, 1000), wait(10_500, 1)], [0, 1000, 1500]);
    }
}
