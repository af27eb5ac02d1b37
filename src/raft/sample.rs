//! Measured times, as many of the latest as are remembered, and where their quantiles lie.

use std::collections::VecDeque;
use std::time::Duration;

use crate::ids::Time;

/// The latest times of one kind. Bounded: when it is full, the oldest goes.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// In the order in which they came.
    latest: VecDeque<Duration>,
    /// The same, the shortest first.
    sorted: Vec<Duration>,
    size_max: usize,
}

impl Sample {
    /// An empty one that remembers so many.
    pub(super) fn new(size_max: usize) -> Self {
        Self { latest: VecDeque::new(), sorted: Vec::new(), size_max }
    }

    /// Takes note of one more. Moves at most all the others, a few kilobytes.
    pub(super) fn add(&mut self, time: Duration) {
        if self.latest.len() == self.size_max
            && let Some(oldest) = self.latest.pop_front()
        {
            let place = self.sorted.partition_point(|other| *other < oldest);
            self.sorted.remove(place);
        }
        let place = self.sorted.partition_point(|other| *other < time);
        self.sorted.insert(place, time);
        self.latest.push_back(time);
    }

    /// The shortest of them that so many thousandths of all are no longer than; of few, the longest. None: there are none.
    pub(super) fn quantile(&self, thousandths: usize) -> Option<Duration> {
        let rank = (self.sorted.len() * thousandths).div_ceil(1000).max(1);
        self.sorted.get(rank - 1).copied()
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }
}

/// Finds the longest silence of each interval. Heartbeats that come between the regular ones, or in a burst after a silence,
/// make no more of them: otherwise a second with many reads would push everything else out of the memory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Silence {
    heard_at: Option<Time>,
    began_at: Time,
    longest: Duration,
}

impl Silence {
    /// Something was heard. Returns the longest silence of the interval, if that is over.
    pub(super) fn on_heard(&mut self, now: Time, interval: Duration) -> Option<Duration> {
        let Some(before) = self.heard_at.replace(now) else {
            self.began_at = now;
            return None;
        };
        self.longest = self.longest.max(now - before);
        // Half of it, so that one which comes a little early is not left out.
        if now - self.began_at < interval / 2 {
            return None;
        }
        self.began_at = now;
        Some(std::mem::take(&mut self.longest))
    }

    /// The silence that is under way says nothing, because its cause is known.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The naive twin: sorts everything anew.
    fn naive_quantile(all: &[u64], size_max: usize, thousandths: usize) -> Option<Duration> {
        let mut latest = all[all.len().saturating_sub(size_max)..].to_vec();
        latest.sort_unstable();
        let is_enough = |place: &usize| (place + 1) * 1000 >= latest.len() * thousandths;
        let place = (0..latest.len()).find(is_enough)?;
        Some(Duration::from_micros(latest[place]))
    }

    proptest! {
        #[test]
        fn quantiles_are_those_of_the_latest(
            all in prop::collection::vec(0u64..50, 0..60),
            size_max in 1usize..20,
            thousandths in 0usize..=1000,
        ) {
            let mut sample = Sample::new(size_max);
            for (count, time) in all.iter().enumerate() {
                sample.add(Duration::from_micros(*time));
                let naive = naive_quantile(&all[..=count], size_max, thousandths);
                prop_assert_eq!(sample.quantile(thousandths), naive);
                prop_assert_eq!(sample.len(), (count + 1).min(size_max));
            }
        }
    }

    #[test]
    fn of_few_the_longest_is_the_high_quantile() {
        let mut sample = Sample::new(2000);
        assert_eq!(sample.quantile(999), None);
        for millis in 1..=999 {
            sample.add(Duration::from_millis(millis));
        }
        assert_eq!(sample.quantile(999), Some(Duration::from_millis(999)));
        assert_eq!(sample.quantile(500), Some(Duration::from_millis(500)));
        sample.add(Duration::from_millis(5000));
        assert_eq!(sample.quantile(999), Some(Duration::from_millis(999)), "one of a thousand is left out");
    }

    #[test]
    fn an_interval_has_one_silence_its_longest() {
        let mut silence = Silence::default();
        let mut heard = |millis: u64| {
            let found = silence.on_heard(Time(millis * 1000), Duration::from_millis(100));
            found.map(|found| found.as_millis() as u64)
        };
        assert_eq!([0, 100, 200].map(&mut heard), [None, Some(100), Some(100)]);
        assert_eq!([210, 220, 310].map(&mut heard), [None, None, Some(90)], "some come in between");
        assert_eq!(
            [1310, 1311, 1312, 1410].map(&mut heard),
            [Some(1000), None, None, Some(98)],
            "a burst after a silence"
        );
        silence.forget();
        let after = silence.on_heard(Time(9_000_000), Duration::from_millis(100));
        assert_eq!(after, None, "the cause of this one is known");
    }
}
