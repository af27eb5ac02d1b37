//! When a sender takes a segment for lost because nothing is heard (RFC 6298, with the bounds of Linux).

use crate::knobs::{Micros, SECOND};

/// The first time-out, before any round trip was measured.
pub const FIRST: Micros = SECOND;

/// The same when the first packet had to be sent again, whose round trip is not known then.
const AFTER_LOST_SYN: Micros = 3 * SECOND;

/// Four times the variation counts for at least this much: `TCP_RTO_MIN`.
const VARIATION_MIN: Micros = 200_000;

/// A time-out is never longer: `TCP_RTO_MAX`.
const LONGEST: Micros = 120 * SECOND;

/// The round trip of a connection, as Jacobson and Karels smooth it.
#[derive(Clone, Debug)]
pub struct Estimator {
    smoothed: Option<Micros>,
    variation: Micros,
    shortest: Option<Micros>,
    initial: Micros,
    /// How often it was doubled since the last measurement.
    doublings: u32,
}

impl Estimator {
    /// Nothing is known; the first packet was sent so many times.
    pub fn new(syns: u32) -> Self {
        let initial = if syns > 1 { AFTER_LOST_SYN } else { FIRST };
        Self { smoothed: None, variation: 0, shortest: None, initial, doublings: 0 }
    }

    /// A round trip was measured.
    pub fn on_sample(&mut self, sample: Micros) {
        self.shortest = Some(self.shortest.map_or(sample, |shortest| shortest.min(sample)));
        self.doublings = 0;
        match &mut self.smoothed {
            Some(smoothed) => {
                self.variation = (3 * self.variation + smoothed.abs_diff(sample)) / 4;
                *smoothed = (7 * *smoothed + sample) / 8;
            }
            None => {
                self.smoothed = Some(sample);
                self.variation = sample / 2;
            }
        }
    }

    /// The time-out passed, and what was sent is sent again.
    pub fn double(&mut self) {
        self.doublings += 1;
    }

    /// The time-out.
    pub fn timeout(&self) -> Micros {
        let base = self.smoothed.map_or(self.initial, |it| it + (4 * self.variation).max(VARIATION_MIN));
        base.saturating_mul(1 << self.doublings.min(20)).min(LONGEST)
    }

    /// The smoothed round trip; 0: none was measured.
    pub fn smoothed(&self) -> Micros {
        self.smoothed.unwrap_or(0)
    }

    /// The shortest round trip; 0: none was measured.
    pub fn shortest(&self) -> Micros {
        self.shortest.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_out_follows_the_round_trip() {
        let mut estimator = Estimator::new(1);
        assert_eq!(estimator.timeout(), FIRST);
        estimator.on_sample(2 * SECOND);
        assert_eq!(estimator.timeout(), 6 * SECOND, "the first measurement counts for three");
        (0..100).for_each(|_| estimator.on_sample(2 * SECOND));
        assert_eq!(estimator.timeout(), 2 * SECOND + VARIATION_MIN);
        (0..9).for_each(|_| estimator.double());
        assert_eq!(estimator.timeout(), LONGEST);
        estimator.on_sample(2 * SECOND);
        assert_eq!(estimator.timeout(), 2 * SECOND + VARIATION_MIN);
    }
}
