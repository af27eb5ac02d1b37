//! What is counted: latencies in a histogram, operations, and errors by reason.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::period::Period;

/// Latencies are counted in nanoseconds from 1 µs to 10 min with three digits, in about 200 KiB. Shorter and longer ones count
/// as these. The bounds are fixed so that a histogram never grows while it measures.
const LATENCY_MIN_NS: u64 = 1_000;
const LATENCY_MAX_NS: u64 = 600_000_000_000;
const DIGITS: u8 = 3;

/// How many different errors are told apart. What comes after these is counted as [`OTHER`].
const REASONS_MAX: usize = 32;
const OTHER: &str = "other";

/// What became of the requests of one verb.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// What the requests ask for.
    pub(super) verb: &'static str,
    /// From when a request begins, or should begin, to its answer; in nanoseconds. Only those that succeeded.
    pub(super) latencies: Histogram<u64>,
    /// Messages, of which a request may carry several.
    pub(super) operations: u64,
    /// Requests that found the queue empty.
    pub(super) empty: u64,
    /// Requests that failed, by reason.
    pub(super) errors: BTreeMap<String, u64>,
    /// When the last answer came.
    pub(super) last_answer: Option<Instant>,
}

impl Tally {
    /// Nothing so far.
    pub(super) fn new(verb: &'static str) -> Self {
        let latencies = Histogram::new_with_bounds(LATENCY_MIN_NS, LATENCY_MAX_NS, DIGITS);
        let latencies = latencies.expect("the bounds are in order and the digits between 0 and 5");
        Self { verb, latencies, operations: 0, empty: 0, errors: BTreeMap::new(), last_answer: None }
    }

    /// Takes in what another worker has counted.
    pub(super) fn add(&mut self, other: &Self) {
        self.latencies.add(&other.latencies).expect("all histograms have the same bounds");
        self.operations += other.operations;
        self.empty += other.empty;
        for (reason, count) in &other.errors {
            self.add_error(reason, *count);
        }
        self.last_answer = self.last_answer.max(other.last_answer);
    }

    /// What has been counted since it was `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let mut since = self.clone();
        since.latencies.subtract(&before.latencies).expect("what was counted before is counted still");
        since.operations -= before.operations;
        since.empty -= before.empty;
        for (reason, count) in &before.errors {
            since.errors.entry(reason.clone()).and_modify(|errors| *errors -= count);
        }
        since
    }

    /// Requests that succeeded.
    pub(super) fn requests(&self) -> u64 {
        self.latencies.len()
    }

    /// Requests that failed.
    pub(super) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    fn answer(&mut self, latency: Duration, operations: u64) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latencies.saturating_record(nanoseconds.max(LATENCY_MIN_NS));
        self.operations += operations;
    }

    fn add_error(&mut self, reason: &str, count: u64) {
        let is_room = self.errors.len() < REASONS_MAX || self.errors.contains_key(reason);
        *self.errors.entry(if is_room { reason } else { OTHER }.to_owned()).or_default() += count;
    }
}

/// Counts the requests of one verb on one connection, if they belong to the period. The workers of the connection share it.
#[derive(Debug)]
pub(super) struct Recorder {
    period: Period,
    tally: Mutex<Tally>,
}

/// When a request began, or should have begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    /// The turn that it belongs to: it counts if that began in the period, so that the halves of a pair count together.
    pub(super) turn: Instant,
    /// The request itself: its latency is counted from here.
    pub(super) request: Instant,
}

impl From<Instant> for Begun {
    fn from(at: Instant) -> Self {
        Self { turn: at, request: at }
    }
}

impl Recorder {
    /// Counts what begins in `period`.
    pub(super) fn new(verb: &'static str, period: Period) -> Self {
        Self { period, tally: Mutex::new(Tally::new(verb)) }
    }

    /// A request succeeds now, with this many operations.
    pub(super) fn answered(&self, begun: impl Into<Begun>, operations: u64) {
        let begun = begun.into();
        self.record(begun, |tally, now| tally.answer(now - begun.request, operations));
    }

    /// A request finds the queue empty.
    pub(super) fn found_empty(&self, begun: impl Into<Begun>) {
        self.record(begun.into(), |tally, _| tally.empty += 1);
    }

    /// A request fails.
    pub(super) fn failed(&self, begun: impl Into<Begun>, reason: &str) {
        self.record(begun.into(), |tally, _| tally.add_error(reason, 1));
    }

    /// What has been counted so far.
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        // Nothing in here panics half-way through a change.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, begun: Begun, count: impl FnOnce(&mut Tally, Instant)) {
        if self.period.counts(begun.turn) {
            let now = Instant::now();
            let mut tally = self.tally();
            count(&mut tally, now);
            tally.last_answer = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The dequeue of a pair can begin when the period is over.
    #[test]
    fn a_pair_counts_as_a_whole() {
        let period = Period::new(Duration::ZERO, Duration::from_millis(1));
        let begins = period.begins();
        let recorder = Recorder::new("dequeue", period);
        let late = begins + Duration::from_millis(1);
        recorder.found_empty(Begun { turn: begins, request: late });
        recorder.found_empty(late);
        assert_eq!(recorder.tally().empty, 1);
    }

    #[test]
    fn merged_histograms_are_as_one_that_counted_everything() {
        let (mut odd, mut even, mut all) = (Tally::new("x"), Tally::new("x"), Tally::new("x"));
        for number in 1..=1000 {
            let latency = Duration::from_micros(number);
            if number % 2 == 0 { &mut even } else { &mut odd }.answer(latency, 3);
            all.answer(latency, 3);
        }
        odd.add(&even);
        assert_eq!(odd.latencies, all.latencies);
        assert_eq!((odd.requests(), odd.operations), (1000, 3000));
        let p99 = odd.latencies.value_at_quantile(0.99);
        assert!((989_000..=991_000).contains(&p99), "{p99}");
    }

    #[test]
    fn an_interval_is_the_difference_of_its_ends() {
        let mut tally = Tally::new("x");
        tally.answer(Duration::from_millis(1), 5);
        tally.add_error("no", 1);
        let before = tally.clone();
        tally.answer(Duration::from_millis(9), 5);
        tally.add_error("no", 2);
        let since = tally.since(&before);
        assert_eq!((since.requests(), since.operations, since.failed()), (1, 5, 2));
        assert!(since.latencies.equivalent(since.latencies.value_at_quantile(0.5), 9_000_000));
    }

    #[test]
    fn latencies_out_of_bounds_count_as_the_bounds() {
        let mut tally = Tally::new("x");
        tally.answer(Duration::ZERO, 1);
        tally.answer(Duration::from_secs(86_400), 1);
        assert_eq!(tally.requests(), 2);
        assert!(tally.latencies.min() <= LATENCY_MIN_NS && tally.latencies.min() > 0);
        assert!(tally.latencies.max() >= LATENCY_MAX_NS);
    }

    #[test]
    fn errors_are_told_apart_by_reason_up_to_a_limit() {
        let mut tally = Tally::new("x");
        for number in 0..REASONS_MAX + 5 {
            tally.add_error(&format!("reason {number}"), 1);
        }
        let mut other = Tally::new("x");
        other.add_error("reason 0", 4);
        tally.add(&other);
        assert_eq!(tally.errors.len(), REASONS_MAX + 1);
        assert_eq!((tally.errors["reason 0"], tally.errors[OTHER]), (5, 5));
        assert_eq!(tally.failed(), REASONS_MAX as u64 + 9);
    }

    #[test]
    fn the_warm_up_is_not_counted() {
        let recorder = Recorder::new("x", Period::new(Duration::from_secs(60), Duration::from_secs(60)));
        recorder.answered(Instant::now(), 1);
        recorder.failed(Instant::now(), "no");
        recorder.found_empty(Instant::now());
        let tally = recorder.tally();
        assert_eq!((tally.requests(), tally.failed(), tally.empty, tally.last_answer), (0, 0, 0, None));
    }
}
