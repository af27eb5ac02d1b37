//! The network: delays with a tail, loss, duplication, reordering, old messages that come again, and links that are cut.

use std::collections::BTreeSet;

use quorate::ids::NodeId;
use quorate::raft::Message;
use rand::{Rng, RngExt};

use super::knobs::{self, Micros};

/// The links between the nodes.
pub struct Network {
    knobs: knobs::Network,
    /// What the first sends does not reach the second.
    cut: BTreeSet<(NodeId, NodeId)>,
}

/// What becomes of a message.
pub struct Carried {
    /// When it arrives: once, twice or never.
    pub arrivals: Vec<Micros>,
    /// One of them is an old message that comes again.
    pub is_replayed: bool,
    /// The sender is told that the connection broke.
    pub is_noticed: bool,
}

impl Network {
    /// A network of this quality.
    pub fn new(knobs: knobs::Network) -> Self {
        Self { knobs, cut: BTreeSet::new() }
    }

    /// Sends a message at `now`.
    pub fn carry(&self, rng: &mut impl Rng, now: Micros, from: NodeId, to: NodeId) -> Carried {
        if self.cut.contains(&(from, to)) || rng.random_bool(self.knobs.loss) {
            let is_noticed = rng.random_bool(self.knobs.notice);
            return Carried { arrivals: Vec::new(), is_replayed: false, is_noticed };
        }
        let mut arrivals = vec![now + self.delay(rng)];
        if rng.random_bool(self.knobs.duplication) {
            arrivals.push(now + self.delay(rng));
        }
        let is_replayed = rng.random_bool(self.knobs.replay);
        if is_replayed {
            arrivals.push(now + rng.random_range(0..=self.knobs.replay_after_max));
        }
        Carried { arrivals, is_replayed, is_noticed: false }
    }

    /// Sends a request or an answer at `now`; none: it is lost.
    pub fn carry_request(&self, rng: &mut impl Rng, now: Micros) -> Option<Micros> {
        let is_lost = rng.random_bool(self.knobs.loss / 4.0);
        (!is_lost).then(|| now + self.delay(rng))
    }

    /// How long a message takes.
    fn delay(&self, rng: &mut impl Rng) -> Micros {
        let is_late = rng.random_bool(self.knobs.tail);
        let longest = if is_late { self.knobs.tail_max } else { self.knobs.delay_max };
        rng.random_range(self.knobs.delay_min..=longest)
    }

    /// What comes out at the other end; nothing when the message was damaged on the way.
    pub fn transmit(&self, _rng: &mut impl Rng, message: &Message) -> Option<Message> {
        Some(message.clone())
    }

    /// Cuts links.
    pub fn cut(&mut self, links: impl IntoIterator<Item = (NodeId, NodeId)>) {
        self.cut.extend(links);
    }

    /// Mends all links.
    pub fn mend(&mut self) {
        self.cut.clear();
    }

    /// From here on it loses, repeats and delays nothing.
    pub fn heal(&mut self) {
        self.mend();
        self.knobs =
            knobs::Network { tail: 0.0, loss: 0.0, duplication: 0.0, replay: 0.0, flips: 0.0, ..self.knobs.clone() };
    }
}
