//! The network: delays with a tail, loss, duplication, reordering, old messages that come again, and links that are cut.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use quorate::ids::{NodeId, SHARD_0};
use quorate::proto::internal;
use quorate::raft::{Body, Message};
use quorate::transport::{Envelope, codec};
use rand::{Rng, RngExt};

use super::knobs::{self, Micros};
use super::linking::{Cargo, Copies};
use super::tcp::Tcp;

/// The links between the nodes.
pub struct Network {
    knobs: knobs::Network,
    /// What the first sends does not reach the second.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// When the last message of each lane arrives, where messages keep their order.
    lanes: BTreeMap<(NodeId, NodeId, bool), Micros>,
    /// Connections as by TCP carry everything between nodes, if there are any.
    pub tcp: Option<Tcp<Cargo>>,
    /// Those that go over two of them.
    pub copies: Copies,
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
        let tcp = knobs.tcp.clone().map(|knobs::Connections { quality, patience }| Tcp::new(quality, patience));
        Self { knobs, cut: BTreeSet::new(), lanes: BTreeMap::new(), tcp, copies: Copies::default() }
    }

    /// Sends a message at `now`.
    pub fn carry(&mut self, rng: &mut impl Rng, now: Micros, from: NodeId, to: NodeId, message: &Message) -> Carried {
        if self.cut.contains(&(from, to)) || rng.random_bool(self.knobs.loss) {
            let is_noticed = rng.random_bool(self.knobs.notice);
            return Carried { arrivals: Vec::new(), is_replayed: false, is_noticed };
        }
        let mut at = now + self.delay(rng);
        if self.knobs.is_ordered {
            let last = self.lanes.entry((from, to, is_bulk(message))).or_default();
            at = at.max(*last);
            *last = at;
        }
        let mut arrivals = vec![at];
        if rng.random_bool(self.knobs.duplication) {
            arrivals.push(now + self.delay(rng));
        }
        let is_replayed = rng.random_bool(self.knobs.replay);
        if is_replayed {
            arrivals.push(now + rng.random_range(0..=self.knobs.replay_after_max));
        }
        Carried { arrivals, is_replayed, is_noticed: false }
    }

    /// Sends a request for a piece of a snapshot, or the answer to one. Each goes its own way: they keep no order.
    pub fn carry_piece(&self, rng: &mut impl Rng, now: Micros, from: NodeId, to: NodeId) -> Vec<Micros> {
        if self.cut.contains(&(from, to)) || rng.random_bool(self.knobs.loss) {
            return Vec::new();
        }
        let mut arrivals = vec![now + self.delay(rng)];
        if rng.random_bool(self.knobs.duplication) {
            arrivals.push(now + self.delay(rng));
        }
        if rng.random_bool(self.knobs.replay) {
            arrivals.push(now + rng.random_range(0..=self.knobs.replay_after_max));
        }
        arrivals
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

    /// What comes out at the other end.
    ///
    /// # Errors
    /// The message was damaged on the way.
    ///
    /// # Panics
    /// The codec does not give back what it was given.
    pub fn transmit(&self, rng: &mut impl Rng, message: &Message) -> Result<Message, Damage> {
        if !self.knobs.is_encoded {
            return Ok(message.clone());
        }
        let mut bytes = codec::encode(&Envelope::new(SHARD_0, message.clone())).encode_to_vec();
        let is_damaged = rng.random_bool(self.knobs.flips) && !bytes.is_empty();
        if is_damaged {
            let at = rng.random_range(0..bytes.len());
            bytes[at] ^= 1 << rng.random_range(0..8);
        }
        let decoded = internal::RaftMessage::decode(bytes.as_slice()).map(codec::decode);
        if is_damaged {
            // TCP lets hardly any of these through. Here it is enough that decoding does not panic: what comes out as another
            // message is dropped, because no protocol can do without checksums below it.
            return Err(if matches!(decoded, Ok(Ok(_))) { Damage::Unnoticed } else { Damage::Rejected });
        }
        let Envelope { shard, message: decoded, traces, .. } =
            decoded.expect("it was not damaged").expect("it was not damaged");
        let is_equal = shard == SHARD_0 && decoded == *message && traces.is_empty();
        assert!(is_equal, "{message:?} comes out of the codec as {decoded:?}");
        Ok(decoded)
    }

    /// Cuts links.
    pub fn cut(&mut self, links: impl IntoIterator<Item = (NodeId, NodeId)>) {
        self.cut.extend(links);
        self.tcp.iter_mut().for_each(|tcp| tcp.cut(self.cut.iter().copied()));
    }

    /// Mends all links.
    pub fn mend(&mut self) {
        self.cut.clear();
        self.tcp.iter_mut().for_each(Tcp::mend);
    }

    /// True when these two do not hear each other.
    pub fn is_cut(&self, left: NodeId, right: NodeId) -> bool {
        self.cut.contains(&(left, right)) || self.cut.contains(&(right, left))
    }

    /// From here on it loses, repeats and delays nothing, but for what is cut later.
    pub fn heal(&mut self) {
        self.mend();
        if let (Some(tcp), Some(knobs::Connections { quality, .. })) = (&mut self.tcp, &self.knobs.tcp) {
            tcp.set_quality(quality.healed());
        }
        self.knobs =
            knobs::Network { tail: 0.0, loss: 0.0, duplication: 0.0, replay: 0.0, flips: 0.0, ..self.knobs.clone() };
    }
}

/// What became of a damaged message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The codec refused it.
    Rejected,
    /// It looked like a message.
    Unnoticed,
}

/// Entries and their answers have a connection of their own.
fn is_bulk(message: &Message) -> bool {
    matches!(message.body, Body::AppendEntries { .. } | Body::AppendReply(_))
}
