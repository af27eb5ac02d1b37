//! What happens to a packet below TCP, with the meaning of `tc netem`'s options.

use rand::{Rng, RngExt};

use crate::knobs::Micros;

/// How packets are treated, each way.
#[derive(Clone, Debug, PartialEq)]
pub struct Quality {
    /// How long a packet takes.
    pub delay: Micros,
    /// It takes up to so much more or less.
    pub jitter: Micros,
    /// How many are sent at once, before all that are being delayed.
    pub reordering: f64,
    /// How many have a bit flipped: the receiver's checksum drops them.
    pub corruption: f64,
    /// How many come twice.
    pub duplication: f64,
    /// How many are lost.
    pub loss: f64,
    /// The most bytes in one segment: 65,483 on loopback, 1,448 on an Ethernet.
    pub segment_bytes: u64,
}

impl Quality {
    /// The network of the acceptance demonstration, on loopback.
    pub const ACCEPTANCE: Self = Self {
        delay: 1_000_000,
        jitter: 50_000,
        reordering: 0.08,
        corruption: 0.05,
        duplication: 0.02,
        loss: 0.05,
        segment_bytes: 65_483,
    };

    /// A link of this delay each way, a twentieth of it as jitter, that loses so many of its packets.
    pub fn plain(delay: Micros, loss: f64) -> Self {
        Self {
            delay,
            jitter: delay / 20,
            reordering: 0.0,
            corruption: 0.0,
            duplication: 0.0,
            loss,
            segment_bytes: 1_448,
        }
    }

    /// The same without anything that goes wrong.
    pub fn healed(&self) -> Self {
        Self { reordering: 0.0, corruption: 0.0, duplication: 0.0, loss: 0.0, ..self.clone() }
    }

    /// When a packet that is sent now arrives: once, twice or never.
    pub fn arrivals(&self, rng: &mut impl Rng, now: Micros) -> [Option<Micros>; 2] {
        let copies = if rng.random_bool(self.duplication) { 2 } else { 1 };
        let mut arrivals = [None, None];
        for arrival in arrivals.iter_mut().take(copies) {
            *arrival = self.arrival(rng, now);
        }
        arrivals
    }

    fn arrival(&self, rng: &mut impl Rng, now: Micros) -> Option<Micros> {
        if rng.random_bool(self.loss) || rng.random_bool(self.corruption) {
            return None;
        }
        if rng.random_bool(self.reordering) {
            return Some(now);
        }
        Some(now + self.delay - self.jitter + rng.random_range(0..=2 * self.jitter))
    }
}
