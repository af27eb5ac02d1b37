//! What happened, in order: as a running hash, and as text when somebody wants to read it.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::knobs::Micros;

/// How much is kept of what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// A hash of numbers: cheap.
    Numbers,
    /// A hash of every word.
    Words,
    /// Every word on the terminal.
    Printed,
}

/// The trace of a simulation.
pub struct Trace {
    detail: Detail,
    hasher: DefaultHasher,
}

impl Trace {
    /// An empty one.
    pub fn new(detail: Detail) -> Self {
        Self { detail, hasher: DefaultHasher::new() }
    }

    /// From here on every word is on the terminal.
    pub fn print(&mut self) {
        self.detail = Detail::Printed;
    }

    /// Something happened that a few numbers tell.
    pub fn number(&mut self, numbers: impl Hash) {
        numbers.hash(&mut self.hasher);
    }

    /// Something happened, in words.
    pub fn tell(&mut self, now: Micros, words: impl FnOnce() -> String) {
        match self.detail {
            Detail::Numbers => {}
            Detail::Words => words().hash(&mut self.hasher),
            Detail::Printed => println!("{:>10.3} ms  {}", now as f64 / 1_000.0, words()),
        }
    }

    /// Equal for equal histories.
    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }
}
