//! How many bytes may go out in a second.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// A rate that whoever sends keeps to, one after the other. What was not used is not saved up.
pub(super) struct Rate {
    bytes_per_second: NonZeroU32,
    /// When all that was let through is sent.
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

    /// Waits until these bytes may be sent: after all that came before. Whoever stops waiting has used nothing.
    pub(super) async fn pass(&self, bytes: usize) {
        // Kept while waiting: the mutex lets in who came first.
        let mut free_at = self.free_at.lock().await;
        if let Some(free_at) = *free_at {
            tokio::time::sleep_until(free_at).await;
        }
        let takes = Duration::from_secs_f64(bytes as f64 / f64::from(self.bytes_per_second.get()));
        *free_at = Some(Instant::now() + takes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate() -> Rate {
        Rate::new(NonZeroU32::new(10_000).expect("not 0"))
    }

    #[tokio::test]
    async fn bytes_wait_for_those_before_them_and_idle_time_is_not_saved_up() {
        let (rate, start) = (rate(), Instant::now());
        for bytes in [500, 250, 1000] {
            rate.pass(bytes).await;
        }
        assert!(start.elapsed() >= Duration::from_millis(75), "{:?}", start.elapsed());
        tokio::time::sleep(Duration::from_millis(300)).await;
        let later = Instant::now();
        rate.pass(1000).await;
        rate.pass(1).await;
        assert!(later.elapsed() >= Duration::from_millis(100), "{:?}", later.elapsed());
    }

    /// A receiver that gives up its requests one after the other must not use up what the others would get.
    #[tokio::test]
    async fn who_stops_waiting_has_used_nothing() {
        let rate = rate();
        rate.pass(1000).await;
        for _ in 0..20 {
            // Each would take a second of what the rate allows.
            drop(tokio::time::timeout(Duration::ZERO, rate.pass(10_000)).await);
        }
        let next = tokio::time::timeout(Duration::from_secs(10), rate.pass(1)).await;
        assert!(next.is_ok(), "the rate was used up by nobody");
    }
}
