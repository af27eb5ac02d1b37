//! How long something took in the last minute.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// One slot is filled for so long.
const SLOT: Duration = Duration::from_secs(10);

/// So many make the minute; the one that is being filled is one of them.
const SLOTS: u64 = 6;

/// Durations in microseconds are told apart up to this; a longer one counts as this long.
const MICROS_MAX: u64 = 60_000_000;

/// A percentile is off by less than one hundredth.
const DIGITS: u8 = 2;

/// Durations of what happened in a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// How often it happened.
    pub count: u64,
    /// Half of it took no longer. None: it did not happen.
    pub p50: Option<Duration>,
    /// Of a hundred, 99 took no longer. None: it did not happen.
    pub p99: Option<Duration>,
}

/// Durations in slots of time. About 70 KiB, whatever comes.
#[derive(Debug)]
pub(super) struct Window {
    started: Instant,
    /// The slot that was filled last, by its number since the start.
    latest: u64,
    slots: Vec<Histogram<u32>>,
    /// All slots together, while somebody reads.
    sum: Histogram<u32>,
}

impl Window {
    /// Nothing has happened.
    pub(super) fn new(now: Instant) -> Self {
        let empty = || Histogram::new_with_bounds(1, MICROS_MAX, DIGITS).expect("the bounds are those of a histogram");
        Self { started: now, latest: 0, slots: (0..SLOTS).map(|_| empty()).collect(), sum: empty() }
    }

    /// Something took so long.
    pub(super) fn record(&mut self, now: Instant, took: Duration) {
        self.go_on(now);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.slots[(self.latest % SLOTS) as usize].saturating_record(micros);
    }

    /// What was recorded in the last minute.
    pub(super) fn latency(&mut self, now: Instant) -> Latency {
        self.go_on(now);
        self.sum.reset();
        for slot in self.slots.iter().filter(|slot| !slot.is_empty()) {
            self.sum.add(slot).expect("all slots have the same bounds");
        }
        if self.sum.is_empty() {
            return Latency::default();
        }
        let quantile = |quantile| Some(Duration::from_micros(self.sum.value_at_quantile(quantile)));
        Latency { count: self.sum.len(), p50: quantile(0.5), p99: quantile(0.99) }
    }

    /// Empties the slots that have come round again.
    fn go_on(&mut self, now: Instant) {
        let slot = now.duration_since(self.started).as_secs() / SLOT.as_secs();
        for passed in (self.latest + 1..=slot).take(SLOTS as usize) {
            self.slots[(passed % SLOTS) as usize].reset();
        }
        self.latest = self.latest.max(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_about(actual: Option<Duration>, millis: u64) -> bool {
        let (actual, wanted) = (actual.expect("something happened").as_secs_f64(), millis as f64 / 1000.0);
        (actual / wanted - 1.0).abs() < 0.01
    }

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let now = Instant::now();
        let mut window = Window::new(now);
        assert_eq!(window.latency(now), Latency::default());
        for millis in 1..=1000 {
            window.record(now, Duration::from_millis(millis));
        }
        let latency = window.latency(now);
        assert!(latency.count == 1000 && is_about(latency.p50, 500) && is_about(latency.p99, 990), "{latency:?}");
    }

    #[test]
    fn what_is_older_than_a_minute_is_forgotten() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut window = Window::new(start);
        window.record(at(1), Duration::from_secs(2));
        window.record(at(30), Duration::from_millis(5));
        assert_eq!(window.latency(at(59)).count, 2);
        let latency = window.latency(at(60));
        assert!(latency.count == 1 && is_about(latency.p99, 5), "{latency:?}");
        assert_eq!(window.latency(at(1_000)), Latency::default());
    }

    #[test]
    fn a_duration_beyond_all_bounds_counts_as_the_longest() {
        let now = Instant::now();
        let mut window = Window::new(now);
        window.record(now, Duration::MAX);
        window.record(now, Duration::ZERO);
        let latency = window.latency(now);
        assert!(latency.count == 2 && is_about(latency.p99, 60_000), "{latency:?}");
        assert!(
            window.sum.buckets() < 100 && window.sum.distinct_values() * 4 < 11 << 10,
            "{}",
            window.sum.distinct_values()
        );
    }
}
