//! What a network does to each packet. PURE: the seed and the packets decide.
//!
//! This is netem's `netem_enqueue`, draw by draw, but for `Model::delay`. A chance draws a number from 0 to 2^32 - 1 and happens if that is not above its
//! probability; with a correlation of rho the number is rho parts of the one drawn before and the rest a fresh one, so that its
//! spread is narrower than that of a fresh one, and the share of packets then differs from the probability, as it does in netem.
//!
//! ```text
//!    duplicate?  lost?  (both: one of the two is lost)  corrupted, and where?  queue full?
//!    the duplicate goes through all but the first once more  reordered?  how long delayed?
//! ```

use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::spec::{Chance, Percent, Spec};

/// Decides about packets, one after the other.
pub struct Model {
    spec: Spec,
    duplicate: Dice,
    loss: Dice,
    corrupt: Dice,
    reorder: Dice,
    jitter: Numbers,
    /// Where a packet is corrupted.
    place: ChaCha8Rng,
    /// Packets that were delayed since the last one that was sent at once.
    delayed: u32,
}

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was lost on its way.
    Lost,
    /// There was no room for it.
    Dropped,
    /// It arrives.
    Arrives(Journey),
}

/// How a packet arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Journey {
    /// When.
    pub delay: Duration,
    /// Sent at once, before those that wait.
    pub reordered: bool,
    /// The bit that is flipped.
    pub flipped: Option<usize>,
}

impl Model {
    /// The same seed and the same packets: the same fates.
    pub fn new(spec: Spec, seed: u64) -> Self {
        Self {
            duplicate: Dice::new(spec.duplicate, seed, 1),
            loss: Dice::new(spec.loss, seed, 2),
            corrupt: Dice::new(spec.corrupt, seed, 3),
            reorder: Dice::new(spec.reorder, seed, 4),
            jitter: Numbers::new(spec.jitter_correlation, seed, 5),
            place: generator(seed, 6),
            delayed: 0,
            spec,
        }
    }

    /// What happens to a packet of so many bytes, at least one, while so many are under way: to itself, and to its duplicate if
    /// there is one. The duplicate is under way first.
    pub fn decide(&mut self, bytes: usize, under_way: usize) -> (Fate, Option<Fate>) {
        let is_duplicated = self.duplicate.happens();
        let is_lost = self.loss.happens();
        if is_lost && !is_duplicated {
            return (Fate::Lost, None);
        }
        let flipped = self.flip(bytes);
        if self.is_full(under_way) {
            return (Fate::Dropped, None);
        }
        let duplicate = (is_duplicated && !is_lost).then(|| self.decide_on_duplicate(bytes, under_way));
        (Fate::Arrives(self.journey(flipped)), duplicate)
    }

    /// The duplicate of a packet has none itself.
    fn decide_on_duplicate(&mut self, bytes: usize, under_way: usize) -> Fate {
        if self.loss.happens() {
            return Fate::Lost;
        }
        let flipped = self.flip(bytes);
        if self.is_full(under_way) { Fate::Dropped } else { Fate::Arrives(self.journey(flipped)) }
    }

    fn flip(&mut self, bytes: usize) -> Option<usize> {
        self.corrupt.happens().then(|| self.place.random_range(0..bytes * 8))
    }

    fn is_full(&self, under_way: usize) -> bool {
        under_way >= self.spec.limit as usize
    }

    fn journey(&mut self, flipped: Option<usize>) -> Journey {
        let may_be_sent_at_once = self.spec.gap > 0 && self.delayed >= self.spec.gap - 1;
        if may_be_sent_at_once && self.reorder.happens() {
            self.delayed = 0;
            return Journey { delay: Duration::ZERO, reordered: true, flipped };
        }
        self.delayed = self.delayed.saturating_add(1);
        Journey { delay: self.delay(), reordered: false, flipped }
    }

    /// Evenly spread around the delay. What would arrive before it was sent arrives at once. netem takes the remainder of the drawn
    /// number, which leaves nothing of a correlation; this takes its share of the whole, as netem's manual has it.
    fn delay(&mut self) -> Duration {
        if self.spec.jitter.is_zero() {
            return self.spec.delay;
        }
        let share = f64::from(self.jitter.next()) / f64::from(u32::MAX);
        (self.spec.delay + self.spec.jitter.mul_f64(2.0 * share)).saturating_sub(self.spec.jitter)
    }
}

/// Whether something happens.
struct Dice {
    probability: u32,
    numbers: Numbers,
}

impl Dice {
    fn new(chance: Chance, seed: u64, stream: u64) -> Self {
        Self { probability: chance.probability.scaled(), numbers: Numbers::new(chance.correlation, seed, stream) }
    }

    fn happens(&mut self) -> bool {
        self.probability > 0 && self.probability >= self.numbers.next()
    }
}

/// Numbers, each correlated with the one before: netem's `get_crandom`.
struct Numbers {
    generator: ChaCha8Rng,
    correlation: u32,
    last: u32,
}

impl Numbers {
    fn new(correlation: Percent, seed: u64, stream: u64) -> Self {
        let mut generator = generator(seed, stream);
        Self { last: generator.next_u32(), correlation: correlation.scaled(), generator }
    }

    fn next(&mut self) -> u32 {
        let fresh = self.generator.next_u32();
        if self.correlation == 0 {
            return fresh;
        }
        let part = u64::from(self.correlation) + 1;
        self.last = ((u64::from(fresh) * ((1 << 32) - part) + u64::from(self.last) * part) >> 32) as u32;
        self.last
    }
}

/// A stream of its own for each purpose, so that a draw more in one does not shift the others.
fn generator(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(stream);
    generator
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 100;
    const PACKETS: u32 = 100_000;

    /// Of a packet, and of its duplicate.
    type Fates = (Fate, Option<Fate>);

    fn fates(spec: &str) -> Vec<Fates> {
        let mut model = Model::new(spec.parse().unwrap(), 1);
        (0..PACKETS).map(|_| model.decide(BYTES, 0)).collect()
    }

    fn journeys(spec: &str) -> Vec<Journey> {
        let arrives = |(fate, _)| if let Fate::Arrives(journey) = fate { Some(journey) } else { None };
        fates(spec).into_iter().filter_map(arrives).collect()
    }

    fn is_lost(fate: &Fates) -> bool {
        fate.0 == Fate::Lost
    }

    /// That a share is what it should be, within five standard deviations.
    fn assert_share(what: &str, count: usize, of: usize, expected: f64) {
        let share = count as f64 / of as f64;
        let deviation = (expected * (1.0 - expected) / of as f64).sqrt();
        assert!((share - expected).abs() < 5.0 * deviation, "{what}: {share}, expected {expected}");
    }

    /// Pearson's correlation of each value with the next.
    fn correlation(values: &[f64]) -> f64 {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let products: f64 = values.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
        products / variance
    }

    #[test]
    fn the_same_seed_decides_the_same() {
        let decide = |seed| {
            let mut model = Model::new(super::super::spec::ACCEPTANCE.parse().unwrap(), seed);
            (0..1000).map(|_| model.decide(BYTES, 0)).collect::<Vec<_>>()
        };
        assert_eq!(decide(7), decide(7));
        assert_ne!(decide(7), decide(8));
    }

    #[test]
    fn a_clean_network_does_nothing() {
        let journey = Journey { delay: Duration::ZERO, reordered: false, flipped: None };
        assert!(fates("").iter().all(|fate| *fate == (Fate::Arrives(journey), None)));
    }

    #[test]
    fn packets_are_lost_corrupted_and_duplicated_as_often_as_asked_for() {
        let fates = fates("loss 5% corrupt 4% duplicate 2%");
        let count = |wanted: &dyn Fn(&Fates) -> bool| fates.iter().filter(|fate| wanted(fate)).count();
        let all = fates.len();
        assert_share("lost", count(&is_lost), all, 0.05 * 0.98);
        assert_share("duplicated", count(&|fate| fate.1.is_some()), all, 0.02 * 0.95);
        let is_corrupted = |fate| matches!(fate, Fate::Arrives(Journey { flipped: Some(_), .. }));
        assert_share("corrupted", count(&|fate| is_corrupted(fate.0)), all - count(&is_lost), 0.04);
        let duplicates: Vec<Fate> = fates.iter().filter_map(|fate| fate.1).collect();
        let lost = duplicates.iter().filter(|fate| **fate == Fate::Lost).count();
        assert_share("lost duplicates", lost, duplicates.len(), 0.05);
        let corrupted = duplicates.iter().filter(|fate| is_corrupted(**fate)).count();
        assert_share("corrupted duplicates", corrupted, duplicates.len() - lost, 0.04);
    }

    /// Of a packet that is duplicated and lost one arrives: netem counts to two, and back.
    #[test]
    fn a_loss_takes_one_of_two() {
        assert!(fates("loss 100% duplicate 100%").iter().all(|fate| matches!(fate, (Fate::Arrives(_), None))));
        assert!(fates("loss 100%").iter().all(is_lost));
    }

    #[test]
    fn every_bit_can_be_flipped() {
        let mut hits = vec![0; BYTES * 8];
        for journey in journeys("corrupt 100%") {
            hits[journey.flipped.unwrap()] += 1;
        }
        // 125 each are expected.
        assert!(hits.iter().all(|hits| (60..200).contains(hits)), "{hits:?}");
    }

    #[test]
    fn delays_are_evenly_spread_over_twice_the_jitter() {
        let delays: Vec<f64> =
            journeys("delay 100ms 10ms").iter().map(|journey| journey.delay.as_secs_f64() * 1e3).collect();
        let mean = delays.iter().sum::<f64>() / delays.len() as f64;
        let variance = delays.iter().map(|delay| (delay - mean).powi(2)).sum::<f64>() / delays.len() as f64;
        assert!(delays.iter().all(|delay| (90.0..110.0).contains(delay)));
        assert!((mean - 100.0).abs() < 0.1, "{mean}");
        assert!((variance.sqrt() - 20.0 / 12f64.sqrt()).abs() < 0.1, "{variance}");
        let below = delays.iter().filter(|delay| **delay < 95.0).count();
        assert_share("in the first quarter", below, delays.len(), 0.25);
        assert!(correlation(&delays).abs() < 0.02);
    }

    #[test]
    fn nothing_arrives_before_it_is_sent() {
        let at_once = journeys("delay 1ms 10ms").iter().filter(|journey| journey.delay.is_zero()).count();
        assert_share("at once", at_once, PACKETS as usize, 0.45);
    }

    #[test]
    fn correlated_delays_follow_each_other() {
        let delays: Vec<f64> =
            journeys("delay 100ms 10ms 75%").iter().map(|journey| journey.delay.as_secs_f64()).collect();
        assert!((correlation(&delays) - 0.75).abs() < 0.02, "{}", correlation(&delays));
    }

    #[test]
    fn correlated_losses_come_in_bursts() {
        // How much more often one is lost when the one before was.
        let bursts = |spec: &str| {
            let lost: Vec<bool> = fates(spec).iter().map(is_lost).collect();
            let all = lost.iter().filter(|lost| **lost).count() as f64;
            let after_another = lost.windows(2).filter(|pair| pair[0] && pair[1]).count() as f64;
            (after_another / all) / (all / lost.len() as f64)
        };
        assert!((bursts("loss 30%") - 1.0).abs() < 0.05, "{}", bursts("loss 30%"));
        assert!(bursts("loss 30% 50%") > 2.0, "{}", bursts("loss 30% 50%"));
    }

    #[test]
    fn some_are_sent_at_once() {
        let journeys = journeys("delay 10ms reorder 25%");
        let reordered: Vec<_> = journeys.iter().filter(|journey| journey.reordered).collect();
        assert_share("reordered", reordered.len(), journeys.len(), 0.25);
        assert!(reordered.iter().all(|journey| journey.delay.is_zero()));
        let others = journeys.iter().filter(|journey| !journey.reordered);
        assert!(others.map(|journey| journey.delay).all(|delay| delay == Duration::from_millis(10)));
    }

    #[test]
    fn a_gap_makes_every_so_manyth_one_be_sent_at_once() {
        let reordered: Vec<bool> =
            journeys("delay 10ms reorder 100% gap 5").iter().map(|journey| journey.reordered).collect();
        assert!(reordered.chunks(5).all(|five| five == [false, false, false, false, true]));
    }

    #[test]
    fn one_more_than_the_limit_is_dropped() {
        let mut model = Model::new("limit 10 duplicate 100%".parse().unwrap(), 1);
        assert!(matches!(model.decide(BYTES, 9), (Fate::Arrives(_), Some(Fate::Arrives(_)))));
        assert_eq!(model.decide(BYTES, 10), (Fate::Dropped, None));
    }
}
