//! Arrivals by schedule: an open loop. Requests are due at fixed times, whether or not the ones before are answered, and
//! latency counts from when a request was due. A slow answer therefore shows in all requests that had to wait behind it.
//!
//! ```text
//!   a thread that keeps the time  --due-->  backlog (BACKLOG_MAX)  -->  workers, as many as requests may be in flight
//!                                   full: dropped, and counted          what is left at the end: dropped, and counted
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};

use super::period::Period;

/// How many requests may be due and wait for a worker. One more is dropped.
const BACKLOG_MAX: usize = 10_000;

/// The thread that keeps the time looks this often whether the benchmark is over.
const NAP_MAX: Duration = Duration::from_millis(20);

/// When requests are due: from `start` on, `rate` in each second, evenly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    start: Instant,
    rate: u32,
}

/// The requests that are due, for workers to take.
#[derive(Debug)]
pub(super) struct Arrivals {
    period: Period,
    due: Mutex<mpsc::Receiver<Instant>>,
    dropped: AtomicU64,
}

impl Schedule {
    /// The first request is due at `start`. `rate`: requests per second, 1 at least.
    pub(super) fn new(start: Instant, rate: u32) -> Self {
        Self { start, rate }
    }

    fn due(&self, number: u64) -> Instant {
        // Seconds and the rest apart, so that no error adds up.
        let rate = u64::from(self.rate);
        let nanoseconds = number % rate * 1_000_000_000 / rate;
        self.start + Duration::from_secs(number / rate) + Duration::from_nanos(nanoseconds)
    }
}

impl Arrivals {
    /// Lets requests arrive until the period is over.
    pub(super) fn start(schedule: Schedule, period: Period) -> Arc<Self> {
        let (sender, due) = mpsc::channel(BACKLOG_MAX);
        let arrivals = Arc::new(Self { period, due: Mutex::new(due), dropped: AtomicU64::new(0) });
        let keeper = Arc::clone(&arrivals);
        // A timer of the runtime is a millisecond wide; this thread sleeps to within some 50 µs.
        thread::spawn(move || keeper.keep_time(schedule, &sender));
        arrivals
    }

    /// When the next request was due, as soon as it is; none when the benchmark is over.
    pub(super) async fn next(&self) -> Option<Instant> {
        loop {
            let due = self.due.lock().await.recv().await?;
            if !self.period.is_over() {
                return Some(due);
            }
            self.drop_one(due);
        }
    }

    /// How many requests were due in the period and never sent.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn keep_time(&self, schedule: Schedule, sender: &mpsc::Sender<Instant>) {
        for due in (0..).map(|number| schedule.due(number)) {
            if !self.wait_until(due) {
                return;
            }
            if sender.try_send(due).is_err() {
                self.drop_one(due);
            }
        }
    }

    /// False when the benchmark is over before that.
    fn wait_until(&self, due: Instant) -> bool {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            // First, so that what was due before the end is counted also when this thread comes too late for it.
            if left.is_zero() {
                return true;
            }
            if self.period.is_over() {
                return false;
            }
            thread::sleep(left.min(NAP_MAX));
        }
    }

    fn drop_one(&self, due: Instant) {
        if self.period.counts(due) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::period::Ended;

    #[test]
    fn requests_are_due_evenly_and_no_error_adds_up() {
        let schedule = Schedule::new(Instant::now(), 3);
        let after = |number| schedule.due(number) - schedule.start;
        assert_eq!(after(0), Duration::ZERO);
        assert_eq!(after(1), Duration::from_nanos(333_333_333));
        assert_eq!(after(3), Duration::from_secs(1));
        assert_eq!(after(3_000_000_000), Duration::from_secs(1_000_000_000));
    }

    /// Nobody takes anything: all that is due is dropped, either because the backlog is full or because it is over.
    #[tokio::test]
    async fn what_was_due_and_not_sent_is_counted() {
        let period = Period::new(Duration::ZERO, Duration::from_secs(3600));
        let start = period.begins();
        let arrivals = Arrivals::start(Schedule::new(start, 1_000_000), period.clone());
        while arrivals.dropped() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(arrivals.next().await, Some(start), "the oldest is first");
        period.cut(Ended::Interrupted);
        assert_eq!(arrivals.next().await, None);
        assert!(arrivals.dropped() >= BACKLOG_MAX as u64);
    }

    /// However late a worker is, it gets the time at which the request was due.
    #[tokio::test]
    async fn workers_see_when_requests_were_due() {
        let period = Period::new(Duration::ZERO, Duration::from_secs(3600));
        let arrivals = Arrivals::start(Schedule::new(period.begins(), 100), period.clone());
        let due = [arrivals.next().await.unwrap(), arrivals.next().await.unwrap()];
        assert_eq!(due, [period.begins(), period.begins() + Duration::from_millis(10)]);
        period.cut(Ended::Interrupted);
    }
}
