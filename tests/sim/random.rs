//! One generator for each concern, split from the seed: a draw more in one of them does not shift the others.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The generators of a simulation.
pub struct Random {
    /// What is drawn once.
    pub knobs: ChaCha8Rng,
    /// Delays and losses of messages.
    pub network: ChaCha8Rng,
    /// Delays of disks, and what survives a crash.
    pub disk: ChaCha8Rng,
    /// The rates of clocks, turns, and the seeds of replicas.
    pub process: ChaCha8Rng,
    /// What clients do.
    pub workload: ChaCha8Rng,
    /// What goes wrong.
    pub faults: ChaCha8Rng,
    /// Membership changes.
    pub operator: ChaCha8Rng,
    /// When snapshots are written, sent and compacted, and what becomes of their pieces.
    pub upkeep: ChaCha8Rng,
}

impl Random {
    /// The generators of a seed.
    pub fn new(seed: u64) -> Self {
        let stream = |number| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(number);
            rng
        };
        Self {
            knobs: stream(0),
            network: stream(1),
            disk: stream(2),
            process: stream(3),
            workload: stream(4),
            faults: stream(5),
            operator: stream(6),
            upkeep: stream(7),
        }
    }
}
