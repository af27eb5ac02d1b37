//! When a benchmark measures, and when it is over.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::Serialize;

/// The time in which requests count. Clones are the same period.
#[derive(Clone, Debug)]
pub(super) struct Period {
    begins: Instant,
    ends: Instant,
    cut: Arc<OnceLock<Ended>>,
}

/// Why a benchmark is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ended {
    /// Its time has passed.
    Duration,
    /// Ctrl-C or SIGTERM.
    Interrupted,
    /// There was nothing left to dequeue.
    QueueEmpty,
}

impl Period {
    /// Begins after `warmup`, and lasts for `duration`.
    pub(super) fn new(warmup: Duration, duration: Duration) -> Self {
        let begins = Instant::now() + warmup;
        Self { begins, ends: begins + duration, cut: Arc::default() }
    }

    /// When it begins.
    pub(super) fn begins(&self) -> Instant {
        self.begins
    }

    /// Whether a request that begins at `begun` counts: one that belongs to the warm-up does not. However long it then takes,
    /// its answer is awaited, so that slow requests are not missing from the percentiles.
    pub(super) fn counts(&self, begun: Instant) -> bool {
        (self.begins..self.ends).contains(&begun)
    }

    /// Whether no further request is to begin.
    pub(super) fn is_over(&self) -> bool {
        self.cut.get().is_some() || Instant::now() >= self.ends
    }

    /// Ends it early. The first reason stays.
    pub(super) fn cut(&self, why: Ended) {
        let _ = self.cut.set(why);
    }

    /// Why it is over.
    pub(super) fn ended(&self) -> Ended {
        self.cut.get().copied().unwrap_or(Ended::Duration)
    }

    /// How much of it has passed at `now`, from 0 to 1; none before it begins.
    pub(super) fn share_passed(&self, now: Instant) -> Option<f64> {
        let passed = now.checked_duration_since(self.begins)?;
        Some((passed.as_secs_f64() / (self.ends - self.begins).as_secs_f64()).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_in_the_warm_up_or_after_the_end_does_not_count() {
        let period = Period::new(Duration::from_secs(60), Duration::from_secs(60));
        let begins = period.begins();
        assert!(!period.counts(begins - Duration::from_nanos(1)));
        assert!(period.counts(begins));
        assert!(!period.counts(begins + Duration::from_secs(60)));
    }

    #[test]
    fn what_has_passed_is_a_share() {
        let period = Period::new(Duration::from_secs(60), Duration::from_secs(60));
        let share = |seconds| period.share_passed(period.begins() + Duration::from_secs(seconds));
        assert_eq!((share(0), share(30), share(90)), (Some(0.0), Some(0.5), Some(1.0)));
        assert_eq!(period.share_passed(Instant::now()), None);
    }

    #[test]
    fn it_is_over_when_its_time_has_passed_or_it_is_cut() {
        assert!(Period::new(Duration::ZERO, Duration::ZERO).is_over());
        let period = Period::new(Duration::ZERO, Duration::from_secs(60));
        assert!(!period.is_over());
        period.clone().cut(Ended::QueueEmpty);
        period.cut(Ended::Interrupted);
        assert!(period.is_over());
        assert_eq!(period.ended(), Ended::QueueEmpty, "the first reason stays");
    }
}
