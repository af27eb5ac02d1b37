//! A node fetches the leader's snapshot: its requests for pieces and their answers are lost, late and repeated. Both ends are
//! those of production; here is what `node::catch_up` does around them, on the simulated clock.

use std::collections::BTreeMap;

use quorate::ids::{EntryId, Index, NodeId, SHARD_0};
use quorate::node::snapshots;
use quorate::replica::{self, Restored, State};
use quorate::state_machine::Living;
use quorate::storage::incoming::{Incoming, Rejected, Step, Wanted};
use quorate::storage::transfer::{Reply, Request};
use quorate::storage::{self, Store, snapshot};

use super::cluster::{Cluster, Event, ProcessId};
use super::knobs::Micros;
use super::linking::Cargo;
use super::upkeep::{CLUSTER, Upkeep};

/// What a process does about the leader's snapshot.
pub enum Fetching {
    /// It needs none.
    Nothing,
    /// It fetches it.
    Fetch(Box<Fetch>),
    /// It has it, and its loop does not know; or it could not have it, and waits.
    Ended,
}

/// A snapshot on its way to a process.
pub struct Fetch {
    /// Which attempt of the process.
    number: u64,
    wish: Wish,
    incoming: Incoming,
    /// What the file holds, once it is whole.
    state: Option<(State, Vec<Living>)>,
    /// Requests that wait for their answers.
    open: BTreeMap<u64, Request>,
    last_exchange: u64,
    /// A request was given up since the last piece.
    has_lost: bool,
    /// A piece came after one was given up.
    has_resumed: bool,
    /// It will go on by itself.
    is_scheduled: bool,
}

/// The wish of a replica.
#[derive(Clone, Copy, Debug)]
struct Wish {
    from: NodeId,
    last: EntryId,
    committed: Index,
    at: Micros,
}

impl Wish {
    fn wanted(self) -> Wanted {
        let Wish { from, last, committed, .. } = self;
        Wanted { from, cluster: CLUSTER, shard: SHARD_0, last, committed }
    }
}

/// A request for a piece, and whose it is.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Who asks.
    process: ProcessId,
    /// In which attempt.
    fetch: u64,
    /// Who is asked.
    from: NodeId,
    number: u64,
    request: Request,
}

impl Cluster {
    /// A replica wishes for the leader's snapshot.
    pub fn fetch(&mut self, running: ProcessId, from: NodeId, last: EntryId, committed: Index) {
        let wish = Wish { from, last, committed, at: self.now };
        let Some(process) = self.process(running) else { return };
        match &mut process.fetching {
            Fetching::Ended => {}
            Fetching::Nothing => self.begin_fetch(running, wish),
            Fetching::Fetch(fetch) if fetch.wish.from == from => {
                fetch.wish.at = wish.at;
                let number = fetch.number;
                self.go_on_fetching(running, number);
            }
            Fetching::Fetch(_) => self.ask_another(running, wish),
        }
    }

    /// Another node leads: what it has is another file, and the bodies are the same.
    fn ask_another(&mut self, running: ProcessId, wish: Wish) {
        self.trace.tell(self.now, || format!("{} goes on with {wish:?}", running.node));
        let fault = self.begin_upkeep(running.node, Upkeep::Receive);
        let Some(process) = self.process(running) else { return };
        process.last_fetch += 1;
        let number = process.last_fetch;
        let Fetching::Fetch(fetch) = &mut process.fetching else { return };
        (fetch.number, fetch.wish, fetch.state) = (number, wish, None);
        fetch.open.clear();
        let begun = fetch.incoming.go_on_with(wish.wanted());
        self.coverage.sometimes("another leader was asked for the rest of a snapshot");
        if !self.end_upkeep(running, fault) {
            return;
        }
        match begun {
            Ok(()) => self.go_on_fetching(running, number),
            Err(error) => self.fetch_failed(running, &error),
        }
    }

    /// Begins to fetch from this leader.
    fn begin_fetch(&mut self, running: ProcessId, wish: Wish) {
        self.trace.tell(self.now, || format!("{} fetches {wish:?}", running.node));
        let fault = self.begin_upkeep(running.node, Upkeep::Receive);
        let limits = self.knobs.snapshots.incoming;
        let Some(process) = self.process(running) else { return };
        process.last_fetch += 1;
        let number = process.last_fetch;
        let begun = Incoming::begin(process.store.shared().clone(), wish.wanted(), limits).map(|incoming| {
            let fetch = Fetch {
                number,
                wish,
                incoming,
                state: None,
                open: BTreeMap::new(),
                last_exchange: 0,
                has_lost: false,
                has_resumed: false,
                is_scheduled: false,
            };
            process.fetching = Fetching::Fetch(Box::new(fetch));
        });
        if !self.end_upkeep(running, fault) {
            return;
        }
        match begun {
            Ok(()) => self.go_on_fetching(running, number),
            Err(error) => self.fetch_failed(running, &error),
        }
    }

    fn fetch_failed(&mut self, running: ProcessId, error: &storage::Error) {
        if !self.goes_on_after(running, error) {
            return;
        }
        let at = self.now + self.knobs.snapshots.patience;
        let Some(process) = self.process(running) else { return };
        process.fetching = Fetching::Ended;
        self.schedule(at, Event::MayFetch(running));
    }

    /// The pause after an attempt that failed is over.
    pub fn may_fetch(&mut self, running: ProcessId) {
        if let Some(process) = self.process(running) {
            process.fetching = Fetching::Nothing;
        }
    }

    /// Asks for what can be asked for.
    pub fn go_on_fetching(&mut self, running: ProcessId, number: u64) {
        let (now, knobs) = (self.now, self.knobs.snapshots.clone());
        let Some(fetch) = self.fetch_of(running, number) else { return };
        fetch.is_scheduled = false;
        if now - fetch.wish.at > knobs.stall {
            return self.give_up_fetching(running);
        }
        let (from, at) = (fetch.wish.from, now + knobs.patience);
        for request in fetch.incoming.next_requests(knobs.in_flight_max) {
            let Some(fetch) = self.fetch_of(running, number) else { return };
            fetch.last_exchange += 1;
            fetch.open.insert(fetch.last_exchange, request.clone());
            let exchange = Exchange { process: running, fetch: number, from, number: fetch.last_exchange, request };
            self.schedule(at, Event::PieceLost(exchange.clone()));
            if self.is_connected() {
                self.send_on_connection(running.node, from, Cargo::Asked(exchange));
                continue;
            }
            for at in self.network.carry_piece(&mut self.random.upkeep, now, running.node, from) {
                self.schedule(at, Event::PieceAsked(exchange.clone()));
            }
        }
    }

    /// The same after a while.
    fn fetch_later(&mut self, running: ProcessId, number: u64) {
        let at = self.now + self.knobs.snapshots.patience / 2;
        if let Some(fetch) = self.fetch_of(running, number)
            && !std::mem::replace(&mut fetch.is_scheduled, true)
        {
            self.schedule(at, Event::Fetch { process: running, fetch: number });
        }
    }

    fn give_up_fetching(&mut self, running: ProcessId) {
        let fault = self.begin_upkeep(running.node, Upkeep::Receive);
        let Some(process) = self.process(running) else { return };
        let Fetching::Fetch(fetch) = std::mem::replace(&mut process.fetching, Fetching::Nothing) else { return };
        self.coverage.sometimes("a snapshot that nobody wished for any more was given up");
        let given_up = fetch.incoming.give_up();
        if self.end_upkeep(running, fault)
            && let Err(error) = given_up
        {
            self.fetch_failed(running, &error);
        }
    }

    /// A node is asked for a piece of its snapshot.
    pub fn piece_asked(&mut self, exchange: Exchange) {
        let (now, asker) = (self.now, exchange.process.node);
        let Some(node) = self.nodes.get(&exchange.from) else { return };
        let Some(process) = &node.process else { return };
        let held_up = node.paused_until.max(node.stalled_until);
        if held_up > now {
            return self.schedule(held_up, Event::PieceAsked(exchange));
        }
        let answered = process.outgoing.answer(node.clock.time(now), asker, &exchange.request);
        let reply = match answered {
            Ok(reply) => reply,
            // Its power is about to fail.
            Err(storage::Error::Io { .. }) if node.is_armed => return,
            Err(error) => panic!("{} is asked by {asker} for {:?}: {error}", exchange.from, exchange.request),
        };
        if self.is_connected() {
            return self.send_on_connection(exchange.from, asker, Cargo::Answered(exchange, reply));
        }
        for at in self.network.carry_piece(&mut self.random.upkeep, now, exchange.from, asker) {
            self.schedule(at, Event::PieceAnswered(exchange.clone(), reply.clone()));
        }
    }

    /// A piece has been waited for long enough.
    pub fn piece_lost(&mut self, exchange: &Exchange) {
        let Some(fetch) = self.fetch_of(exchange.process, exchange.fetch) else { return };
        if fetch.open.remove(&exchange.number).is_some() {
            fetch.incoming.on_lost(&exchange.request);
            fetch.has_lost = true;
            self.go_on_fetching(exchange.process, exchange.fetch);
        }
    }

    /// A piece arrives, or that there is none. It may be late, and it may have come before.
    pub fn piece_answered(&mut self, exchange: &Exchange, reply: Reply) {
        let running = exchange.process;
        if self.fetch_of(running, exchange.fetch).is_none() {
            return;
        }
        let fault = self.begin_upkeep(running.node, Upkeep::Receive);
        let fetch = self.fetch_of(running, exchange.fetch).expect("it was just there");
        fetch.open.remove(&exchange.number);
        let mut step = fetch.incoming.on_reply(&exchange.request, reply);
        if matches!(step, Ok(Step::FileComplete)) {
            step = self.read_state(running, exchange.fetch);
        }
        let received = matches!(step, Ok(Step::Complete)).then(|| self.receive_snapshot(running, exchange.fetch));
        if self.end_upkeep(running, fault) {
            self.take_step(exchange, step, received);
        }
    }

    fn take_step(
        &mut self,
        exchange: &Exchange,
        step: Result<Step, Rejected>,
        received: Option<Result<Restored, storage::Error>>,
    ) {
        let (running, number) = (exchange.process, exchange.fetch);
        match (step, received) {
            (_, Some(Ok(restored))) => {
                self.checks.check_state(running.node, &restored.state);
                self.done_later(running, replica::Event::SnapshotReceived(Box::new(restored)));
            }
            (_, Some(Err(error))) | (Err(Rejected::Disk(error)), _) => self.fetch_failed(running, &error),
            (Ok(Step::More | Step::FileComplete | Step::Complete), None) => {
                self.pieces += 1;
                let Some(fetch) = self.fetch_of(running, number) else { return };
                fetch.has_resumed |= std::mem::take(&mut fetch.has_lost);
                self.go_on_fetching(running, number);
            }
            (Ok(Step::Gone { instead: Some(last) }), _) => self.restart_fetch(running, number, last),
            (Ok(Step::Gone { instead: None }), _) => self.fetch_later(running, number),
            (Err(rejected), _) if rejected.is_harmless() => {
                self.coverage.sometimes("a piece of a snapshot came that nobody waited for");
                self.go_on_fetching(running, number);
            }
            (Err(rejected), _) => panic!("{} gets what it does not use: {rejected}, {exchange:?}", running.node),
        }
    }

    fn restart_fetch(&mut self, running: ProcessId, number: u64, last: EntryId) {
        let Some(fetch) = self.fetch_of(running, number) else { return };
        let is_later = last > fetch.incoming.progress().last;
        fetch.state = None;
        fetch.open.clear();
        let restarted = fetch.incoming.restart(last);
        if is_later {
            self.coverage.sometimes("a snapshot was gone, and a later one fetched instead");
        }
        match restarted {
            Ok(()) => self.fetch_later(running, number),
            Err(error) => self.fetch_failed(running, &error),
        }
    }

    /// The file is whole: which bodies does it need?
    fn read_state(&mut self, running: ProcessId, number: u64) -> Result<Step, Rejected> {
        let limits = self.knobs.limits;
        let Some(process) = self.process(running) else { return Ok(Step::More) };
        let store = process.store.shared().clone();
        let fetch = self.fetch_of(running, number).expect("a piece of it has just come");
        let reader = fetch.incoming.reader().expect("the file is whole")?;
        let snapshot::Header { snapshot, settled, removed, .. } = reader.header().clone();
        let name = snapshot::name(SHARD_0, snapshot.last.index);
        let machine = snapshots::read_machine(&store, &name, limits, reader)?;
        let living = machine.living();
        let step = fetch.incoming.want_bodies(&living);
        let is_there = fetch.incoming.progress().bodies;
        fetch.state = Some((State { snapshot, settled, removed, machine }, living));
        if is_there > 0 {
            self.coverage.sometimes("a body was not fetched because it was there");
        }
        step
    }

    /// Everything is there: it waits for its replica to have it installed.
    fn receive_snapshot(&mut self, running: ProcessId, number: u64) -> Result<Restored, storage::Error> {
        self.fetch_of(running, number).expect("the last piece of it has just come");
        let process = self.process(running).expect("it fetches");
        let Fetching::Fetch(fetch) = std::mem::replace(&mut process.fetching, Fetching::Ended) else {
            unreachable!("it was just there")
        };
        let Fetch { incoming, state, has_resumed, .. } = *fetch;
        let store: Store = process.store.shared().clone();
        let (state, living) = state.expect("the bodies were asked for with what the state told");
        let received = incoming.finish()?;
        let bytes = received.bytes;
        process.living.insert(received.last, living);
        process.offered = Some(received.last);
        store.offer_received(SHARD_0, received);
        if has_resumed {
            self.coverage.sometimes("a piece of a snapshot was asked for again, and the rest came");
        }
        Ok(Restored { state, bytes })
    }

    fn fetch_of(&mut self, running: ProcessId, number: u64) -> Option<&mut Fetch> {
        match &mut self.process(running)?.fetching {
            Fetching::Fetch(fetch) if fetch.number == number => Some(fetch),
            _ => None,
        }
    }
}
