//! Connections that block like TCP: what is behind a lost segment waits until that was sent again, and then comes in a burst, in
//! order. Each peer and lane has a connection of its own, which its sender dials, as in `transport`.
//!
//! ```text
//!    send ─▶ Flow ─▶ Connection ─▶ Sender ─▶ segments ─▶ wire ─▶ Receiver ─▶ Arrived
//!                                       ◀─ acknowledgements ◀─ wire ◀─
//! ```
//!
//! - A connection is opened with SYN and SYN-ACK, and then with the Hello and Welcome of `transport`: two round trips. A lost SYN is
//!   sent again after 1, 3, 7 ... seconds.
//! - A process that ends: the kernel goes on to send what it had written, then FIN; those who send to it are told by FIN, which is
//!   sent again until it has come, or by RST to what they send. Whoever dials it is refused after a round trip.
//! - A machine without power says nothing. When it is back, RST answers what belongs to connections of before. A connection on which
//!   no ping is answered in time is given up.
//!
//! Pure: events in, effects out. `wire` is what happens to packets, `sender` and `estimator` are the sending half, `link` is what a
//! node is told of its two lanes to a peer.

mod estimator;
mod link;
mod sender;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;
use std::time::Duration;

use quorate::ids::NodeId;
use quorate::transport;
use rand::{Rng, RngExt};

use super::knobs::{Micros, SECOND};
use link::{Link, News};
use sender::{Ack, Payload, Sender};
pub use wire::Quality;

/// The first time after which a SYN is sent again; it doubles each time.
const SYN_TIMEOUT: Micros = SECOND;

/// A Welcome is not sent again before; the first measured round trip counts for three.
const WELCOME_TIMEOUT_MIN: Micros = 200_000;

/// How often a connection is tried, as in `transport`: from when it was made, so that a Welcome which will never come is not waited
/// for.
const PING_INTERVAL: Micros = 5 * SECOND;

/// The bounds of the pause between two dials, as in `transport`; a pause doubles with each dial that fails.
const PAUSE_MIN: Micros = 50_000;
const PAUSE_MAX: Micros = 2 * SECOND;

/// What goes over a connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Heartbeats, votes and their answers.
    Control,
    /// Entries and their answers.
    Append,
    /// Requests for pieces of snapshots, and pieces.
    Pieces,
}

/// A direction of a lane between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// Who sends, and dials.
    pub from: NodeId,
    /// Who receives.
    pub to: NodeId,
    /// What.
    pub lane: Lane,
}

/// How long connections are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// From the dial to the SYN-ACK.
    pub connect: Micros,
    /// From the dial to the Welcome.
    pub handshake: Micros,
    /// From a ping to its answer.
    pub pong: Micros,
}

impl Patience {
    /// That of the transport, on a network of this quality.
    pub fn of(quality: &Quality) -> Self {
        let took = Duration::from_micros(2 * quality.delay);
        let within = Some(took * transport::CONNECTED_IN_TIMES);
        let transport::Options { connect, welcome, pong, .. } = transport::Options::default();
        let [connect, handshake, pong] = [connect, welcome, pong].map(|it| it.after(within).as_micros() as Micros);
        Self { connect, handshake, pong }
    }
}

/// Something that is to happen, to be given back at its time.
#[derive(Debug)]
pub enum Event<M> {
    /// A packet of a connection arrives.
    Packet { connection: u64, packet: Packet<M> },
    /// A timer of a sender, perhaps.
    Timer { connection: u64 },
    /// A SYN may have been lost.
    SynAgain { connection: u64, syns: u32 },
    /// A Welcome may have been lost.
    WelcomeAgain { connection: u64, pause: Micros },
    /// A FIN to the dialer may have been lost.
    FinAgain { connection: u64, pause: Micros },
    /// A connection is tried.
    Ping { connection: u64 },
    /// A dial has taken so long.
    TooLate { connection: u64, must_be: Stage },
    /// A node dials.
    Dial { flow: Flow, dial: u64 },
}

/// What goes over the wire.
#[derive(Debug)]
pub enum Packet<M> {
    /// The dialer wants a connection.
    Syn,
    /// It gets one.
    SynAck,
    /// Nobody listens there.
    Refused,
    /// A segment.
    Data { number: u64, sent_at: Micros, payload: Arc<Payload<M>> },
    /// An acknowledgement.
    Ack(Ack),
    /// The dialer is let in.
    Welcome,
    /// The receiver has ended, or knows nothing of this connection.
    Reset,
}

/// What a node notices, and what is to happen later.
#[derive(Debug)]
pub enum Effect<M> {
    /// Give this back then.
    Schedule(Micros, Event<M>),
    /// A message has arrived.
    Arrived { flow: Flow, message: M },
    /// Both lanes from the node to its peer are open.
    Connected { node: NodeId, peer: NodeId },
    /// One of them broke, or cannot be opened.
    Disconnected { node: NodeId, peer: NodeId },
    /// The process of the peer has ended: nobody listens there any more, or another process does.
    Gone { node: NodeId, peer: NodeId },
}

/// How far a dial has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// A SYN is on its way.
    Dialing,
    /// There is a connection, and the Hello is on its way.
    Greeting,
    /// The Welcome has come: messages flow.
    Open,
}

/// All connections of all nodes.
pub struct Tcp<M> {
    quality: Quality,
    patience: Patience,
    /// Machines with power: the process that listens there, if one does.
    listens: BTreeMap<NodeId, Option<u64>>,
    /// What does not come through, one way.
    cut: BTreeSet<(NodeId, NodeId)>,
    flows: BTreeMap<Flow, Dialer<M>>,
    connections: BTreeMap<u64, Connection<M>>,
    links: BTreeMap<(NodeId, NodeId), Link>,
    last_number: u64,
    effects: Vec<Effect<M>>,
}

/// What keeps a flow connected, as the task of a lane in `transport`.
struct Dialer<M> {
    /// The connection, or the one that is being dialed.
    connection: Option<u64>,
    /// What waits for a connection, each with its length.
    waiting: Vec<(u64, M)>,
    pause: Micros,
    /// The pause that is under way.
    dial: u64,
}

impl<M> Default for Dialer<M> {
    fn default() -> Self {
        Self { connection: None, waiting: Vec::new(), pause: PAUSE_MIN, dial: 0 }
    }
}

/// Both halves of a connection.
struct Connection<M> {
    flow: Flow,
    dialed_at: Micros,
    stage: Stage,
    /// None: the dialer knows nothing of this connection any more.
    sender: Option<Sender<M>>,
    /// None: the other end knows nothing of it, or not yet.
    receiver: Option<Receiver<M>>,
    /// The process that has accepted it.
    accepted_by: Option<u64>,
    /// The next timer event that is scheduled.
    timer_at: Option<Micros>,
    /// When it was tried last.
    pinged_at: Micros,
}

/// The receiving half.
struct Receiver<M> {
    next: u64,
    echo: Micros,
    early: BTreeMap<u64, Arc<Payload<M>>>,
}

impl<M: Clone> Tcp<M> {
    /// No connections, over a network of this quality.
    pub fn new(quality: Quality, patience: Patience) -> Self {
        Self {
            quality,
            patience,
            listens: BTreeMap::new(),
            cut: BTreeSet::new(),
            flows: BTreeMap::new(),
            connections: BTreeMap::new(),
            links: BTreeMap::new(),
            last_number: 0,
            effects: Vec::new(),
        }
    }

    /// What has come of the calls since the last time, in order.
    pub fn take_effects(&mut self) -> Vec<Effect<M>> {
        std::mem::take(&mut self.effects)
    }

    /// Packets between these do not come through, one way each.
    pub fn cut(&mut self, links: impl IntoIterator<Item = (NodeId, NodeId)>) {
        self.cut.extend(links);
    }

    /// All come through again.
    pub fn mend(&mut self) {
        self.cut.clear();
    }

    /// From here on packets are treated like this.
    pub fn set_quality(&mut self, quality: Quality) {
        self.quality = quality;
    }

    /// A process starts on a node, and listens.
    pub fn process_started(&mut self, node: NodeId) {
        self.last_number += 1;
        self.listens.insert(node, Some(self.last_number));
    }

    /// The process of a node is killed. Its kernel tidies up.
    pub fn process_ended(&mut self, now: Micros, rng: &mut impl Rng, node: NodeId) {
        self.listens.insert(node, None);
        self.forget_dialers(node);
        for id in self.connections.keys().copied().collect::<Vec<_>>() {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            if connection.flow.from == node {
                connection.sender.iter_mut().for_each(Sender::close);
                self.pump(now, rng, id);
            } else if connection.flow.to == node && connection.receiver.take().is_some() {
                let pause = connection.sender.as_ref().map_or(SYN_TIMEOUT, Sender::timeout);
                self.fin(now, rng, id, pause);
            }
        }
        self.tidy();
    }

    /// The power of a node fails.
    pub fn power_failed(&mut self, node: NodeId) {
        self.listens.remove(&node);
        self.forget_dialers(node);
        for connection in self.connections.values_mut() {
            if connection.flow.from == node {
                connection.sender = None;
            }
            if connection.flow.to == node {
                connection.receiver = None;
            }
        }
        self.tidy();
    }

    fn forget_dialers(&mut self, node: NodeId) {
        let dialed: Vec<u64> =
            self.flows.extract_if(.., |flow, _| flow.from == node).filter_map(|(_, it)| it.connection).collect();
        for id in dialed {
            self.connections.retain(|number, connection| *number != id || connection.sender.is_some());
        }
        self.links.retain(|(from, _), _| *from != node);
    }

    /// Forgets connections that neither end knows of. What is on its way for them is lost.
    fn tidy(&mut self) {
        let flows = &self.flows;
        self.connections.retain(|id, connection| {
            let is_dialed = flows.get(&connection.flow).is_some_and(|dialer| dialer.connection == Some(*id));
            is_dialed || connection.sender.is_some() || connection.receiver.is_some()
        });
    }

    /// A node wants connections to a peer, and dials again whenever one breaks.
    pub fn connect(&mut self, now: Micros, rng: &mut impl Rng, from: NodeId, to: NodeId) {
        for lane in [Lane::Control, Lane::Append] {
            self.want(now, rng, Flow { from, to, lane });
        }
    }

    /// A node wants connections to exactly these peers; it keeps those to others that call it.
    pub fn set_peers(&mut self, now: Micros, rng: &mut impl Rng, from: NodeId, peers: &[NodeId]) {
        let known: BTreeSet<NodeId> = self
            .flows
            .keys()
            .filter(|flow| flow.from == from && flow.lane != Lane::Pieces)
            .map(|flow| flow.to)
            .collect();
        for gone in known.into_iter().filter(|peer| !peers.contains(peer)) {
            self.disconnect(now, rng, from, gone);
        }
        for peer in peers {
            self.connect(now, rng, from, *peer);
        }
    }

    fn want(&mut self, now: Micros, rng: &mut impl Rng, flow: Flow) {
        if let Entry::Vacant(place) = self.flows.entry(flow) {
            place.insert(Dialer::default());
            self.dial(now, rng, flow);
        }
    }

    /// A node wants no connection to a peer any more.
    pub fn disconnect(&mut self, now: Micros, rng: &mut impl Rng, from: NodeId, to: NodeId) {
        let ended = self.flows.extract_if(.., |flow, _| (flow.from, flow.to) == (from, to));
        for id in ended.filter_map(|(_, dialer)| dialer.connection).collect::<Vec<_>>() {
            let connection = self.connections.get_mut(&id);
            connection.and_then(|connection| connection.sender.as_mut()).into_iter().for_each(Sender::close);
            self.pump(now, rng, id);
        }
        self.links.remove(&(from, to));
        self.tidy();
    }

    /// A connection of this flow is open, as far as its sender knows.
    pub fn is_open(&self, flow: Flow) -> bool {
        let connection = self.flows.get(&flow).and_then(|dialer| self.connections.get(&dialer.connection?));
        connection.is_some_and(|connection| connection.stage == Stage::Open)
    }

    /// A node sends a message of so many bytes. It waits for a connection if there is none.
    pub fn send(&mut self, now: Micros, rng: &mut impl Rng, flow: Flow, bytes: u64, message: M) {
        self.want(now, rng, flow);
        let is_open = self.is_open(flow);
        let dialer = self.flows.get_mut(&flow).expect("it is wanted");
        let Some(id) = dialer.connection.filter(|_| is_open) else { return dialer.waiting.push((bytes, message)) };
        if let Some(sender) = self.connections.get_mut(&id).and_then(|connection| connection.sender.as_mut()) {
            sender.write(bytes, message);
        }
        self.pump(now, rng, id);
    }

    /// Something happens that was scheduled.
    pub fn on_event(&mut self, now: Micros, rng: &mut impl Rng, event: Event<M>) {
        match event {
            Event::Packet { connection, packet } => self.on_packet(now, rng, connection, packet),
            Event::Timer { connection } => self.on_timer(now, rng, connection),
            Event::SynAgain { connection, syns } => self.syn(now, rng, connection, syns + 1),
            Event::WelcomeAgain { connection, pause } => self.welcome(now, rng, connection, pause),
            Event::FinAgain { connection, pause } => self.fin(now, rng, connection, pause),
            Event::Ping { connection } => self.ping(now, rng, connection),
            Event::TooLate { connection, must_be } => self.too_late(now, rng, connection, must_be),
            Event::Dial { flow, dial } => {
                let is_due = self.flows.get(&flow).is_some_and(|it| it.dial == dial && it.connection.is_none());
                if is_due {
                    self.dial(now, rng, flow);
                }
            }
        }
    }

    fn dial(&mut self, now: Micros, rng: &mut impl Rng, flow: Flow) {
        let Some(dialer) = self.flows.get_mut(&flow) else { return };
        self.last_number += 1;
        let id = self.last_number;
        dialer.connection = Some(id);
        self.connections.insert(
            id,
            Connection {
                flow,
                dialed_at: now,
                stage: Stage::Dialing,
                sender: None,
                receiver: None,
                accepted_by: None,
                timer_at: None,
                pinged_at: now,
            },
        );
        let Patience { connect, handshake, .. } = self.patience;
        self.schedule(now + connect, Event::TooLate { connection: id, must_be: Stage::Greeting });
        self.schedule(now + handshake, Event::TooLate { connection: id, must_be: Stage::Open });
        self.syn(now, rng, id, 1);
    }

    /// Sends a SYN, which is one of so many.
    fn syn(&mut self, now: Micros, rng: &mut impl Rng, id: u64, syns: u32) {
        let Some(connection) = self.connections.get(&id).filter(|it| it.stage == Stage::Dialing) else { return };
        let Flow { from, to, .. } = connection.flow;
        self.packet(now, rng, id, (from, to), || Packet::Syn);
        let pause = SYN_TIMEOUT << (syns - 1).min(6);
        self.schedule(now + pause, Event::SynAgain { connection: id, syns });
    }

    fn too_late(&mut self, now: Micros, rng: &mut impl Rng, id: u64, must_be: Stage) {
        if self.connections.get(&id).is_some_and(|connection| connection.stage < must_be) {
            self.broke(now, rng, id, false);
        }
    }

    fn on_packet(&mut self, now: Micros, rng: &mut impl Rng, id: u64, packet: Packet<M>) {
        let Some(Flow { from, to, .. }) = self.connections.get(&id).map(|connection| connection.flow) else { return };
        let is_to_dialer = !matches!(packet, Packet::Syn | Packet::Data { .. });
        if !self.listens.contains_key(if is_to_dialer { &from } else { &to }) {
            return;
        }
        match packet {
            Packet::Syn => self.on_syn(now, rng, id),
            Packet::SynAck => self.on_syn_ack(now, rng, id),
            Packet::Refused => self.on_refused(now, rng, id),
            Packet::Data { number, sent_at, payload } => self.on_data(now, rng, id, number, sent_at, payload),
            Packet::Ack(ack) => {
                let sender = self.connections.get_mut(&id).and_then(|connection| connection.sender.as_mut());
                sender.into_iter().for_each(|sender| sender.on_ack(now, &ack));
                self.pump(now, rng, id);
            }
            Packet::Welcome => self.on_welcome(now, rng, id),
            Packet::Reset => self.on_reset(now, rng, id),
        }
    }

    fn on_syn(&mut self, now: Micros, rng: &mut impl Rng, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Flow { from, to, .. } = connection.flow;
        let process = self.listens[&to];
        if process.is_none() || connection.accepted_by.is_some_and(|before| process != Some(before)) {
            return self.packet(now, rng, id, (to, from), || Packet::Refused);
        }
        if connection.accepted_by.is_none() {
            connection.accepted_by = process;
            connection.receiver = Some(Receiver { next: 0, echo: now, early: BTreeMap::new() });
        }
        self.packet(now, rng, id, (to, from), || Packet::SynAck);
    }

    fn on_syn_ack(&mut self, now: Micros, rng: &mut impl Rng, id: u64) {
        let Some(connection) = self.connections.get_mut(&id).filter(|it| it.stage == Stage::Dialing) else { return };
        let took = now - connection.dialed_at;
        // When the second SYN is on its way nobody knows to which the answer is.
        let syns = if took < SYN_TIMEOUT { 1 } else { 2 };
        connection.stage = Stage::Greeting;
        connection.sender = Some(Sender::new(self.quality.segment_bytes, syns, (syns == 1).then_some(took)));
        self.pump(now, rng, id);
        self.schedule(now + PING_INTERVAL, Event::Ping { connection: id });
    }

    fn on_refused(&mut self, now: Micros, rng: &mut impl Rng, id: u64) {
        if self.connections.get(&id).is_some_and(|connection| connection.stage == Stage::Dialing) {
            self.broke(now, rng, id, true);
        }
    }

    fn on_data(
        &mut self,
        now: Micros,
        rng: &mut impl Rng,
        id: u64,
        number: u64,
        sent_at: Micros,
        payload: Arc<Payload<M>>,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let flow = connection.flow;
        let Some(receiver) = &mut connection.receiver else {
            return self.packet(now, rng, id, (flow.to, flow.from), || Packet::Reset);
        };
        if number < receiver.next {
            receiver.echo = receiver.echo.max(sent_at);
        }
        let is_duplicate = number < receiver.next || receiver.early.insert(number, payload).is_some();
        let mut arrived = Vec::new();
        while let Some(payload) = receiver.early.remove(&receiver.next) {
            receiver.next += 1;
            receiver.echo = sent_at;
            arrived.push(payload);
        }
        let ack = Ack {
            next: receiver.next,
            sacked: receiver.early.keys().copied().collect(),
            echo: receiver.echo,
            is_duplicate,
        };
        self.packet(now, rng, id, (flow.to, flow.from), || Packet::Ack(ack.clone()));
        for payload in arrived {
            self.arrived(now, rng, id, &payload);
        }
    }

    fn arrived(&mut self, now: Micros, rng: &mut impl Rng, id: u64, payload: &Payload<M>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let flow = connection.flow;
        match payload {
            Payload::Hello => {
                self.welcome(now, rng, id, WELCOME_TIMEOUT_MIN);
                self.heard_from(now, rng, flow);
            }
            Payload::Messages(messages) => {
                self.effects.extend(messages.iter().map(|message| Effect::Arrived { flow, message: message.clone() }));
            }
            Payload::Ping => {}
            Payload::Fin => connection.receiver = None,
        }
    }

    /// A node that calls is there: whoever waits to dial it need not wait longer. The answers to requests for pieces take the way back.
    fn heard_from(&mut self, now: Micros, rng: &mut impl Rng, Flow { from, to, lane }: Flow) {
        let back = Flow { from: to, to: from, lane };
        match self.flows.get_mut(&back) {
            Some(dialer) if dialer.connection.is_none() => {
                dialer.pause = PAUSE_MIN;
                self.dial_later(now, rng, back);
            }
            None if lane == Lane::Pieces => self.want(now, rng, back),
            _ => {}
        }
    }

    /// Sends a Welcome, again and again until the dialer has it.
    fn welcome(&mut self, now: Micros, rng: &mut impl Rng, id: u64, pause: Micros) {
        let Some(connection) = self.connections.get(&id) else { return };
        if connection.receiver.is_none() || connection.stage == Stage::Open {
            return;
        }
        let Flow { from, to, .. } = connection.flow;
        self.packet(now, rng, id, (to, from), || Packet::Welcome);
        let pause = pause.max(3 * 2 * self.quality.delay);
        self.schedule(now + pause, Event::WelcomeAgain { connection: id, pause: 2 * pause });
    }

    fn on_welcome(&mut self, now: Micros, rng: &mut impl Rng, id: u64) {
        let Some(connection) = self.connections.get_mut(&id).filter(|it| it.stage == Stage::Greeting) else { return };
        let flow = connection.flow;
        let Some(dialer) = self.flows.get_mut(&flow).filter(|dialer| dialer.connection == Some(id)) else { return };
        connection.stage = Stage::Open;
        dialer.pause = PAUSE_MIN;
        if let Some(sender) = &mut connection.sender {
            dialer.waiting.drain(..).for_each(|(bytes, message)| sender.write(bytes, message));
        }
        let process = connection.accepted_by.expect("it was accepted before there was a Welcome");
        self.pump(now, rng, id);
        if let Some(link) = self.link(flow) {
            let news = link.up(flow.lane, process);
            self.tell(flow, news);
        }
    }

    /// Tries a connection, and goes on to do so as long as somebody uses it and an answer comes in time.
    fn ping(&mut self, now: Micros, rng: &mut impl Rng, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let is_used = self.flows.get(&connection.flow).is_some_and(|dialer| dialer.connection == Some(id));
        let Some(sender) = connection.sender.as_mut().filter(|_| is_used) else { return };
        if !sender.is_pinging() {
            sender.ping();
            connection.pinged_at = now;
            self.pump(now, rng, id);
            return self.schedule(now + PING_INTERVAL, Event::Ping { connection: id });
        }
        let too_late = connection.pinged_at + self.patience.pong;
        if now < too_late {
            self.schedule(too_late.min(now + PING_INTERVAL), Event::Ping { connection: id });
        } else {
            self.broke(now, rng, id, false);
        }
    }

    /// Tells the dialer that nobody reads any more, again and again until it knows.
    fn fin(&mut self, now: Micros, rng: &mut impl Rng, id: u64, pause: Micros) {
        let Some(connection) = self.connections.get(&id).filter(|connection| connection.sender.is_some()) else {
            return;
        };
        let Flow { from, to, .. } = connection.flow;
        if !self.listens.contains_key(&to) {
            return;
        }
        self.packet(now, rng, id, (to, from), || Packet::Reset);
        self.schedule(now + pause, Event::FinAgain { connection: id, pause: 2 * pause });
    }

    fn on_reset(&mut self, now: Micros, rng: &mut impl Rng, id: u64) {
        if self.connections.get(&id).is_some_and(|connection| connection.sender.is_some()) {
            self.broke(now, rng, id, false);
        }
    }

    /// The dialer's end is of no use any more. Dials again: at once when there was a connection, which tells whether anybody is left
    /// there.
    fn broke(&mut self, now: Micros, rng: &mut impl Rng, id: u64, is_refused: bool) {
        let Some(Connection { flow, stage, .. }) = self.connections.remove(&id) else { return };
        let Some(dialer) = self.flows.get_mut(&flow).filter(|dialer| dialer.connection == Some(id)) else { return };
        dialer.connection = None;
        dialer.waiting.clear();
        if let Some(link) = self.link(flow) {
            let news = link.down(flow.lane, is_refused);
            self.tell(flow, news);
        }
        if stage == Stage::Open {
            self.dial(now, rng, flow);
        } else {
            self.dial_later(now, rng, flow);
        }
    }

    fn dial_later(&mut self, now: Micros, rng: &mut impl Rng, flow: Flow) {
        self.last_number += 1;
        let dial = self.last_number;
        let Some(dialer) = self.flows.get_mut(&flow) else { return };
        let at = now + rng.random_range(dialer.pause / 2..=dialer.pause);
        dialer.pause = (2 * dialer.pause).min(PAUSE_MAX);
        dialer.dial = dial;
        self.schedule(at, Event::Dial { flow, dial });
    }

    fn link(&mut self, flow: Flow) -> Option<&mut Link> {
        (flow.lane != Lane::Pieces).then(|| self.links.entry((flow.from, flow.to)).or_default())
    }

    fn tell(&mut self, Flow { from: node, to: peer, .. }: Flow, news: impl Iterator<Item = News>) {
        self.effects.extend(news.map(|news| match news {
            News::Connected => Effect::Connected { node, peer },
            News::Disconnected => Effect::Disconnected { node, peer },
            News::Gone => Effect::Gone { node, peer },
        }));
    }

    fn on_timer(&mut self, now: Micros, rng: &mut impl Rng, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.timer_at.take_if(|at| *at <= now);
        connection.sender.iter_mut().for_each(|sender| sender.on_timer(now));
        self.pump(now, rng, id);
    }

    /// Puts on the wire what may be sent now.
    fn pump(&mut self, now: Micros, rng: &mut impl Rng, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Flow { from, to, .. } = connection.flow;
        let Some(sender) = &mut connection.sender else { return };
        if sender.is_done() {
            connection.sender = None;
            return self.tidy();
        }
        let transmissions = sender.transmit(now);
        if let Some(at) = sender.next_timer()
            && connection.timer_at.is_none_or(|timer_at| at < timer_at)
        {
            connection.timer_at = Some(at);
            self.schedule(at, Event::Timer { connection: id });
        }
        for sender::Transmission { number, payload } in transmissions {
            self.packet(now, rng, id, (from, to), || Packet::Data { number, sent_at: now, payload: payload.clone() });
        }
    }

    fn packet(
        &mut self,
        now: Micros,
        rng: &mut impl Rng,
        connection: u64,
        way: (NodeId, NodeId),
        packet: impl Fn() -> Packet<M>,
    ) {
        if self.cut.contains(&way) {
            return;
        }
        for at in self.quality.arrivals(rng, now).into_iter().flatten() {
            self.schedule(at, Event::Packet { connection, packet: packet() });
        }
    }

    fn schedule(&mut self, at: Micros, event: Event<M>) {
        self.effects.push(Effect::Schedule(at, event));
    }
}
