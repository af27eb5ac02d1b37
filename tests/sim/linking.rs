//! Nodes that are connected as by TCP: what a process does with its connections, and what it notices of them. Where the network is
//! one of messages, nothing here is used.

use std::collections::{BTreeMap, VecDeque};

use prost::Message as _;
use quorate::ids::{NodeId, SHARD_0};
use quorate::raft::Message;
use quorate::replica;
use quorate::storage::transfer;
use quorate::transport::{self, Envelope, codec};

use super::cluster::{Cluster, Event};
use super::fetching::Exchange;
use super::knobs::Micros;
use super::tcp::{self, Effect, Flow, Lane};

/// A request for a piece of a snapshot has about so many bytes, and so have the frames around what is sent.
const OVERHEAD_BYTES: u64 = 64;

/// So many copies are remembered of each direction, as in the transport.
const COPIES_MAX: usize = 64;

/// Messages that go over two connections, and are handed on once.
#[derive(Debug, Default)]
pub struct Copies {
    last: u64,
    /// Which have come, by sender and receiver.
    come: BTreeMap<(NodeId, NodeId), VecDeque<u64>>,
}

/// What goes over a connection.
#[derive(Clone, Debug)]
pub enum Cargo {
    /// From replica to replica, and its number if it goes over two.
    Message(Message, Option<u64>),
    /// A request for a piece of a snapshot.
    Asked(Exchange),
    /// The piece, or that there is none.
    Answered(Exchange, transfer::Reply),
}

impl Cargo {
    /// Where it goes while its sender has a control lane, or has none.
    fn lanes(&self, has_control: bool) -> &'static [Lane] {
        match self {
            Self::Message(message, _) => match transport::Lane::open_to(&message.body, has_control) {
                [transport::Lane::Control] => &[Lane::Control],
                [transport::Lane::Append] => &[Lane::Append],
                _ => &[Lane::Control, Lane::Append],
            },
            Self::Asked(_) | Self::Answered(..) => &[Lane::Pieces],
        }
    }

    fn bytes(&self) -> u64 {
        OVERHEAD_BYTES
            + match self {
                Self::Message(message, _) => {
                    codec::encode(&Envelope::new(SHARD_0, message.clone())).encoded_len() as u64
                }
                Self::Answered(_, transfer::Reply::Piece { bytes, .. }) => bytes.len() as u64,
                Self::Asked(_) | Self::Answered(..) => 0,
            }
    }
}

impl Copies {
    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// True for what has not come over the other connection.
    fn is_first(&mut self, from: NodeId, to: NodeId, number: u64) -> bool {
        let come = self.come.entry((from, to)).or_default();
        let is_first = !come.contains(&number);
        if is_first {
            come.push_back(number);
        }
        if come.len() > COPIES_MAX {
            come.pop_front();
        }
        is_first
    }
}

impl Cluster {
    /// True when nodes are connected as by TCP.
    pub fn is_connected(&self) -> bool {
        self.network.tcp.is_some()
    }

    /// Sends something on each connection of its kind.
    pub fn send_on_connection(&mut self, from: NodeId, to: NodeId, mut cargo: Cargo) {
        let control = Flow { from, to, lane: Lane::Control };
        let lanes = cargo.lanes(self.network.tcp.as_ref().is_some_and(|tcp| tcp.is_open(control)));
        if let (Cargo::Message(_, number), [_, _, ..]) = (&mut cargo, lanes) {
            *number = Some(self.network.copies.number());
        }
        for lane in lanes {
            let (flow, cargo) = (Flow { from, to, lane: *lane }, cargo.clone());
            self.with_connections(|tcp, now, rng| tcp.send(now, rng, flow, cargo.bytes(), cargo));
        }
    }

    /// Something happens to a connection.
    pub fn on_connection(&mut self, event: tcp::Event<Cargo>) {
        self.with_connections(|tcp, now, rng| tcp.on_event(now, rng, event));
    }

    /// A process starts: it listens, and dials the other members.
    pub fn connect_process(&mut self, id: NodeId) {
        self.with_connections(|tcp, _, _| tcp.process_started(id));
        self.connect_members(id);
    }

    /// A process keeps connections to these nodes, and no others.
    pub fn connect_members(&mut self, id: NodeId) {
        let Some(process) = self.nodes[&id].process.as_ref().filter(|_| self.network.tcp.is_some()) else { return };
        let configuration = &process.replica.status().membership.configuration;
        let peers: Vec<NodeId> = configuration.members().filter(|member| *member != id).collect();
        self.with_connections(|tcp, now, rng| tcp.set_peers(now, rng, id, &peers));
    }

    /// A process has ended, and its machine knows.
    pub fn close_connections(&mut self, id: NodeId) {
        self.with_connections(|tcp, now, rng| tcp.process_ended(now, rng, id));
    }

    /// A machine has lost its power.
    pub fn lose_connections(&mut self, id: NodeId) {
        self.with_connections(|tcp, _, _| tcp.power_failed(id));
    }

    fn with_connections(&mut self, call: impl FnOnce(&mut tcp::Tcp<Cargo>, Micros, &mut rand_chacha::ChaCha8Rng)) {
        let Some(tcp) = &mut self.network.tcp else { return };
        call(tcp, self.now, &mut self.random.network);
        for effect in tcp.take_effects() {
            match effect {
                Effect::Schedule(at, event) => self.schedule(at, Event::Connection(event)),
                Effect::Arrived { flow, message } => self.arrived(flow, message),
                Effect::Connected { node, peer } => self.put(node, replica::Event::Reachable(peer)),
                Effect::Disconnected { node, peer } => {
                    self.trace.tell(self.now, || format!("{node} loses its connection to {peer}"));
                    self.put(node, replica::Event::Unreachable(peer));
                }
                Effect::Gone { node, peer } => {
                    self.trace.tell(self.now, || format!("{node} sees that {peer} is gone"));
                    self.coverage.sometimes("a process was seen to be gone");
                    self.put(node, replica::Event::Gone(peer));
                }
            }
        }
    }

    fn arrived(&mut self, Flow { from, to, .. }: Flow, cargo: Cargo) {
        match cargo {
            Cargo::Message(_, Some(number)) if !self.network.copies.is_first(from, to, number) => {
                self.coverage.sometimes("a vote came over both connections");
            }
            Cargo::Message(message, _) => self.deliver(from, to, message),
            Cargo::Asked(exchange) => self.piece_asked(exchange),
            Cargo::Answered(exchange, reply) => self.piece_answered(&exchange, reply),
        }
    }
}
