//! How often something happened in the last ten seconds.

use std::time::{Duration, Instant};

/// One slot counts for so long.
const SLOT: Duration = Duration::from_millis(500);

/// So many make the ten seconds; the one that is being filled is one of them.
const SLOTS: u64 = 20;

/// Counts in slots of time.
#[derive(Debug)]
pub(super) struct Rate {
    started: Instant,
    /// The slot that was counted in last, by its number since the start.
    latest: u64,
    counts: [u64; SLOTS as usize],
}

impl Rate {
    /// Nothing has happened.
    pub(super) fn new(now: Instant) -> Self {
        Self { started: now, latest: 0, counts: [0; SLOTS as usize] }
    }

    /// It happened so often.
    pub(super) fn add(&mut self, now: Instant, count: u64) {
        self.go_on(now);
        self.counts[(self.latest % SLOTS) as usize] += count;
    }

    /// How often in a second. In the first seconds as if the node had run for one.
    pub(super) fn per_second(&mut self, now: Instant) -> f64 {
        self.go_on(now);
        let oldest = SLOT * u32::try_from(self.latest.saturating_sub(SLOTS - 1)).unwrap_or(u32::MAX);
        let counted = now.duration_since(self.started).saturating_sub(oldest).max(Duration::from_secs(1));
        self.counts.iter().sum::<u64>() as f64 / counted.as_secs_f64()
    }

    /// Empties the slots that have come round again.
    fn go_on(&mut self, now: Instant) {
        let slot = (now.duration_since(self.started).as_millis() / SLOT.as_millis()) as u64;
        for passed in (self.latest + 1..=slot).take(SLOTS as usize) {
            self.counts[(passed % SLOTS) as usize] = 0;
        }
        self.latest = self.latest.max(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_ten_seconds_is_forgotten() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut rate = Rate::new(start);
        assert_eq!(rate.per_second(start), 0.0);
        rate.add(at(100), 50);
        assert_eq!(rate.per_second(at(100)), 50.0, "not five hundred");
        assert_eq!(rate.per_second(at(5_000)), 10.0);
        rate.add(at(9_900), 50);
        assert_eq!(rate.per_second(at(10_000)), 50.0 / 9.5, "the first ones are out, and so is their half second");
        assert_eq!(rate.per_second(at(19_000)), 50.0 / 9.5);
        assert_eq!(rate.per_second(at(20_000)), 0.0);
        rate.add(at(1_000_000), 19);
        assert_eq!(rate.per_second(at(1_000_000)), 2.0);
    }
}
