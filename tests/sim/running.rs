//! What happens to a node: it starts, takes turns, carries out effects and crashes.

use quorate::ids::{Contact, EntryId, Index, NodeId, Term, Ticket};
use quorate::raft::{self, Body, CommitQuorum, Configuration, Entry, HardState, Message, Payload, RoleName, Write};
use quorate::replica::{self, Effect, Options, Replica, RequestId, Told};
use quorate::storage;
use rand::RngExt;

use super::cluster::{Asked, Cluster, Event, Phase, ProcessId};
use super::fetching::Fetching;
use super::knobs::Fault;
use super::linking::Cargo;
use super::network::Damage;
use super::node::{Asking, Caller, Clock, Node, Process, Waiter};
use super::store::Store;

impl Cluster {
    /// Makes the first nodes.
    pub fn found(&mut self) {
        let ids: Vec<NodeId> = (1..=self.knobs.nodes as u64).map(NodeId).collect();
        let voters = if self.knobs.is_grown { vec![ids[0]] } else { ids.clone() };
        let write = first_write(voters.clone(), self.knobs.commit_quorum);
        for id in ids {
            let is_voter = voters.contains(&id);
            self.add_node(id, is_voter.then_some(&write));
            if !is_voter {
                self.operator.will_join(id);
            }
        }
    }

    /// A machine comes in; its disk holds this write.
    pub fn add_node(&mut self, id: NodeId, write: Option<&Write>) {
        let drift = self.knobs.clock_drift_max;
        let rate = 1_000_000 - drift + self.random.process.random_range(0..=2 * drift);
        let node = Node::new(Clock { started: 0, rate, ahead: self.random.process.random_range(-1_000..=1_000) });
        if let Some(write) = write {
            let opened = Store::open(&node.disk, self.knobs.segment_bytes, id.0 as u32);
            let mut store = opened.expect("an empty disk has no faults").store;
            store.submit(write.clone());
            store.append().and_then(|_| store.sync()).expect("an empty disk has no faults");
        }
        self.nodes.insert(id, node);
        self.checks.add_node(id, write.map_or(&[], std::slice::from_ref));
        self.schedule(self.now, Event::Start(id));
    }

    /// A process starts on a machine that has none.
    pub fn start(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("machines stay in the list");
        if node.is_dead || node.process.is_some() {
            return;
        }
        if node.away_until > self.now {
            let at = node.away_until;
            return self.schedule(at, Event::Start(id));
        }
        let is_faulty = self.phase == Phase::Faults && self.knobs.faults.contains(&Fault::CutPower);
        if is_faulty && self.random.faults.random_bool(0.2) {
            node.disk.cut_power_after(self.random.faults.random_range(0..6));
            node.is_armed = true;
        }
        let mut opened = match Store::open(&node.disk, self.knobs.segment_bytes, id.0 as u32) {
            Ok(opened) => opened,
            Err(error) => {
                self.coverage.sometimes("the power failed while the log was opened");
                return self.on_disk_error(id, &error);
            }
        };
        let comeback = self.checks.on_recovered(id, &opened.recovered);
        let interrupted = node.interrupted_install.take();
        self.cover_start(&opened, &comeback, interrupted);
        let Some(restored) = self.restore(id, &mut opened) else { return };
        let node = self.nodes.get_mut(&id).expect("machines stay in the list");
        if opened.cut_torn_frame {
            self.coverage.sometimes("a torn frame was cut");
        }
        if comeback.frame_survived {
            self.coverage.sometimes("an unsynced frame survived a crash");
        }
        self.trace.tell(self.now, || format!("{id} starts: {:?}", opened.recovered));
        let options = Options {
            raft: self.knobs.raft,
            limits: self.knobs.limits,
            snapshots: self.knobs.snapshots.rules,
            requests_max: self.knobs.requests_max,
        };
        let seed = self.random.process.random();
        node.clock.started = self.now;
        let replica = Replica::new(id, options, &opened.recovered, seed, node.clock.time(self.now));
        node.process = Some(Process::new(replica, opened.store, self.knobs.snapshots.outgoing));
        if let Some(restored) = restored {
            self.go_on_from(id, restored);
        }
        self.connect_process(id);
        self.turn_is_due(id);
    }

    /// The power of a machine fails; it comes back unless it is dead.
    pub fn crash(&mut self, id: NodeId) {
        self.end_process(id);
        self.trace.tell(self.now, || format!("{id} crashes"));
        let node = self.nodes.get_mut(&id).expect("machines stay in the list");
        node.disk.crash(&mut self.random.disk);
        self.lose_connections(id);
        self.start_again(id);
        let peers: Vec<NodeId> = self.nodes.keys().copied().filter(|_| !self.is_connected()).collect();
        for peer in peers {
            if self.random.network.random_bool(self.knobs.network.notice) {
                self.schedule(self.now, Event::Disconnected { node: peer, peer: id });
            }
        }
    }

    /// The process of a machine is killed. What it has written to its files is there, synced or not.
    pub fn kill(&mut self, id: NodeId) {
        self.end_process(id);
        self.trace.tell(self.now, || format!("{id} is killed"));
        self.nodes[&id].disk.kill();
        self.close_connections(id);
        self.start_again(id);
    }

    fn end_process(&mut self, id: NodeId) {
        let is_leading_joint = self.checks.leads_joint_phase(id);
        let node = self.nodes.get_mut(&id).expect("machines stay in the list");
        // A process that has lost its power does not tidy up.
        node.disk.cut_power_after(0);
        if let Some(process) = node.process.take() {
            node.interrupted_install = process.installing;
            if is_leading_joint {
                self.coverage.sometimes("a joint phase was interrupted by a crash");
            }
        }
        node.incarnation += 1;
        self.watch.on_ended(self.now, id);
        node.is_armed = false;
        self.checks.on_crash(id);
    }

    fn start_again(&mut self, id: NodeId) {
        let longest = self.knobs.longest;
        let at = match self.phase {
            Phase::Faults => self.now + self.random.faults.random_range(0..=2 * longest),
            _ => self.now,
        };
        self.schedule(at, Event::Start(id));
    }

    /// The disk refused something: the process ends.
    pub fn on_disk_error(&mut self, id: NodeId, error: &storage::Error) {
        let process = self.nodes[&id].process.as_ref();
        let is_expected = match error {
            storage::Error::Io { .. } => self.phase == Phase::Faults,
            // A sync had failed before, and that is noticed late.
            storage::Error::FilesUnknown => process.is_some_and(|process| process.has_failed_sync),
            _ => false,
        };
        assert!(is_expected, "{id}: {error}");
        self.trace.tell(self.now, || format!("{id}: {error}"));
        self.crash(id);
    }

    /// The process of a node that runs, if it is this one.
    pub fn process(&mut self, process: ProcessId) -> Option<&mut Process> {
        let node = self.nodes.get_mut(&process.node)?;
        node.process.as_mut().filter(|_| node.incarnation == process.incarnation)
    }

    /// The process of a node, whether it runs or not.
    pub fn running(&self, id: NodeId) -> ProcessId {
        ProcessId { node: id, incarnation: self.nodes[&id].incarnation }
    }

    /// A message arrives.
    pub fn deliver(&mut self, from: NodeId, to: NodeId, message: Message) {
        self.trace.tell(self.now, || format!("{from} -> {to}: {message:?}"));
        self.put(to, replica::Event::Message { from, message });
    }

    /// A node hears that a connection broke. Soon there is another one; whether it carries anything is not said.
    pub fn disconnected(&mut self, node: NodeId, peer: NodeId) {
        self.put(node, replica::Event::Unreachable(peer));
        let longest = self.knobs.longest;
        let at = self.now + self.random.network.random_range(0..=longest);
        self.schedule(at, Event::Connected { node, peer });
    }

    /// A request arrives; where nothing runs, it is refused like by one that does not lead. Leadership stays where it is once the
    /// world is healed, however late somebody's wish for another leader comes.
    pub fn receive(&mut self, id: NodeId, caller: Caller, attempt: u64, asked: Asked) {
        if caller.wants_transfer() && self.phase != Phase::Faults {
            return;
        }
        let time = self.nodes[&id].clock.time(self.now);
        let Some(process) = self.nodes.get_mut(&id).and_then(|node| node.process.as_mut()) else {
            let answer = Err(replica::Refusal::NotLeader { leader: None, term: Term(0) });
            return self.respond(caller, attempt, answer);
        };
        process.last_request = RequestId(process.last_request.0 + 1);
        let request = process.last_request;
        let waits_until = match &asked {
            Asked::Execute(execute) if !execute.wait.is_zero() => Some(time + execute.wait),
            _ => None,
        };
        let status = process.replica.status();
        let read = match &asked {
            Asked::Read(read) => Some(Asking {
                consistency: read.consistency,
                led: status.role == RoleName::Leader,
                came_before_noop: status.role == RoleName::Leader && !self.checks.has_committed_in(status.term),
                round: process.read_round,
            }),
            _ => None,
        };
        let (commit, turn) = (status.commit, process.turns);
        process.requests.insert(request, Waiter { caller, attempt, waits_until, read, commit, turn });
        if matches!(asked, Asked::Execute(_)) && self.checks.hands_over(id) {
            self.coverage.sometimes("a request came while leadership was handed over");
        }
        let event = match asked {
            Asked::Execute(execute) => replica::Event::Execute { request, execute },
            Asked::Read(read) => replica::Event::Read { request, read },
            Asked::Transfer(to) => replica::Event::TransferLeadership { request, to },
            Asked::Change(change) => replica::Event::ChangeMembership { request, change },
        };
        self.put(id, event);
    }

    /// A client does not wait for this attempt any more.
    pub fn hang_up(&mut self, id: NodeId, attempt: u64) {
        let Some(process) = self.nodes.get_mut(&id).and_then(|node| node.process.as_mut()) else { return };
        let request = process.requests.iter().find(|(_, waiter)| waiter.attempt == attempt).map(|(id, _)| *id);
        if let Some(request) = request {
            process.requests.remove(&request);
            self.put(id, replica::Event::Forget(request));
        }
    }

    /// Something happens to a node, if it runs.
    pub fn put(&mut self, id: NodeId, event: replica::Event) {
        if let Some(process) = self.nodes.get_mut(&id).and_then(|node| node.process.as_mut()) {
            process.inbox.push(event);
            self.turn_is_due(id);
        }
    }

    fn turn_is_due(&mut self, id: NodeId) {
        let delay = self.random.process.random_range(0..=self.knobs.turn_delay_max);
        let running = self.running(id);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let at = (self.now + delay).max(node.paused_until);
        if let Some(process) = &mut node.process
            && !std::mem::replace(&mut process.turn_is_due, true)
        {
            self.schedule(at, Event::Turn(running));
        }
    }

    /// A node's deadline may have come.
    pub fn wake(&mut self, running: ProcessId) {
        let Some(node) = self.nodes.get_mut(&running.node) else { return };
        let clock = node.clock;
        let Some(process) = node.process.as_mut().filter(|_| node.incarnation == running.incarnation) else { return };
        if process.wake_at == Some(self.now) {
            process.wake_at = None;
        }
        if process.replica.next_deadline() <= clock.time(self.now) {
            self.turn_is_due(running.node);
        } else {
            self.schedule_wake(running);
        }
    }

    fn schedule_wake(&mut self, running: ProcessId) {
        let node = self.nodes.get_mut(&running.node).expect("machines stay in the list");
        let Some(process) = &mut node.process else { return };
        let at = node.clock.when(process.replica.next_deadline()).max(self.now);
        if process.wake_at.is_none_or(|wake_at| at < wake_at) {
            process.wake_at = Some(at);
            self.schedule(at, Event::Wake(running));
        }
    }

    /// One turn of a node's loop.
    pub fn turn(&mut self, running: ProcessId) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&running.node) else { return };
        let (clock, paused_until) = (node.clock, node.paused_until);
        let Some(process) = node.process.as_mut().filter(|_| node.incarnation == running.incarnation) else { return };
        if paused_until > now {
            return self.schedule(paused_until, Event::Turn(running));
        }
        if node.pauses_before_reads && process.could_answer_reads() {
            node.pauses_before_reads = false;
            return self.pause_before_reads(running);
        }
        process.turn_is_due = false;
        process.turns += 1;
        let events = std::mem::take(&mut process.inbox);
        process.rounds_answered = events.iter().filter_map(round_answered).collect();
        if events.iter().any(|event| matches!(event, replica::Event::SnapshotReceived(_))) {
            process.fetching = Fetching::Nothing;
        }
        let effects = process.replica.turn(clock.time(now), clock.wall(now), events);
        for effect in effects {
            self.carry_out(running, effect);
            if self.process(running).is_none() {
                return;
            }
        }
        self.after_turn(running);
    }

    fn after_turn(&mut self, running: ProcessId) {
        let id = running.node;
        let Some(process) = self.process(running) else { return };
        let status = process.replica.status();
        let has_installed = process.installed_in_turn == process.turns;
        let digest = (has_installed || status.applied.0 % 8 == 0).then(|| process.replica.machine().digest());
        let is_reading = process.reads > 0 || process.inbox.iter().any(is_read);
        for waiter in process.requests.values().filter(|_| !is_reading) {
            let may_wait = match waiter.caller {
                caller if caller.wants_transfer() => true,
                Caller::Client(_) if waiter.read.is_some() => status.leader.is_some(),
                _ => status.role == RoleName::Leader,
            };
            assert!(may_wait, "{id} does not lead and lets this wait: {waiter:?}");
        }
        self.trace.number((id, status.term, status.commit, status.applied, status.last));
        if let Some(digest) = digest {
            self.checks.on_digest(id, status.applied, digest);
        }
        self.checks.on_status(id, &status);
        let time = self.nodes[&id].clock.time(self.now);
        if let Some(process) = self.process(running) {
            process.outgoing.expire(time);
        }
        self.schedule_wake(running);
    }

    fn carry_out(&mut self, running: ProcessId, effect: Effect) {
        let id = running.node;
        let Some(process) = self.process(running) else { return };
        match &mut process.effects_left {
            Some(0) => return self.crash(id),
            Some(left) => *left -= 1,
            None => {}
        }
        match effect {
            Effect::Persist(write) => {
                self.trace.tell(self.now, || format!("{id} writes {write:?}"));
                match write.snapshot {
                    Some(last) => self.install(running, &write, last),
                    None => self.checks.on_persist(id, &write),
                }
                if let Some(process) = self.process(running) {
                    process.store.submit(write);
                }
                self.kick_disk(running);
            }
            Effect::Send { to, message } => self.send(id, to, message),
            Effect::ReadEntries { read, from, to, bytes_max } => {
                process.reads += 1;
                self.cover_log_read(bytes_max);
                let at = self.disk_step_at(id);
                self.schedule(at, Event::Read { process: running, read, from, to, bytes_max });
            }
            Effect::ReadBody { read, index } => {
                process.reads += 1;
                self.coverage.sometimes("bodies were read back for an answer");
                let at = self.disk_step_at(id);
                self.schedule(at, Event::ReadBody { process: running, read, index });
            }
            Effect::TakeSnapshot(taking) => {
                let at = self.upkeep_at(id);
                self.schedule(at, Event::TakeSnapshot(running, taking));
            }
            Effect::Compact { last, being_read } => self.compact_later(running, last, being_read),
            Effect::FetchSnapshot { from, last, committed } => self.fetch(running, from, last, committed),
            Effect::Answer { request, answer } => self.answer(running, request, answer),
            Effect::Introduce(Contact { .. }) => {}
            Effect::Tell(told) => self.told(id, &told),
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        self.checks.on_send(from, to, &message);
        let process = self.nodes.get_mut(&from).and_then(|node| node.process.as_mut());
        match (&message.body, process) {
            (Body::Heartbeat { read_round, .. }, Some(process)) => process.read_round = *read_round,
            (Body::AppendEntries { previous, entries, .. }, Some(process))
                if previous.index < process.unheld_start && !entries.is_empty() =>
            {
                self.coverage.sometimes("the log was kept for a member that lagged, and sent to it");
            }
            _ => {}
        }
        if self.is_connected() {
            return self.send_connected(from, to, message);
        }
        let carried = self.network.carry(&mut self.random.network, self.now, from, to, &message);
        if carried.is_replayed {
            self.coverage.sometimes("an old message was replayed");
        }
        if carried.is_noticed {
            self.schedule(self.now, Event::Disconnected { node: from, peer: to });
        }
        for at in carried.arrivals {
            match self.network.transmit(&mut self.random.network, &message) {
                Ok(message) => self.schedule(at, Event::Deliver { from, to, message }),
                Err(Damage::Unnoticed) => {}
                Err(Damage::Rejected) => self.coverage.sometimes("a damaged message was rejected"),
            }
        }
        if matches!(message.body, Body::TimeoutNow { .. }) {
            self.hands_over(from);
        }
    }

    fn send_connected(&mut self, from: NodeId, to: NodeId, message: Message) {
        let hands_over = matches!(message.body, Body::TimeoutNow { .. });
        let message = self.network.transmit(&mut self.random.network, &message).unwrap_or(message);
        self.send_on_connection(from, to, Cargo::Message(message, None));
        if hands_over {
            self.hands_over(from);
        }
    }

    fn answer(&mut self, running: ProcessId, request: RequestId, answer: Result<replica::Answer, replica::Refusal>) {
        let id = running.node;
        let Some(process) = self.process(running) else { return };
        let (status, turns, restored) = (process.replica.status(), process.turns, process.restored);
        let installed_in_turn = process.installed_in_turn;
        let Some(waiter) = process.requests.remove(&request) else { return };
        self.trace.tell(self.now, || format!("{id} answers {:?}: {answer:?}", waiter.caller));
        match &answer {
            Ok(replica::Answer::Executed(executed)) => self.checks.on_answered(id, executed.index, status.applied),
            Ok(replica::Answer::MembershipChanged { index }) => self.checks.on_membership_answered(id, &status, *index),
            Ok(replica::Answer::Shown(shown)) => {
                self.checks.on_shown(id, status.applied, shown);
                self.checks.on_age(id, self.now, self.nodes[&id].clock, shown);
            }
            Ok(replica::Answer::LeadershipTransferred { .. }) => {}
            Err(replica::Refusal::OutcomeUnknown { at, .. }) => self.checks.on_outcome_unknown(id, *at),
            Err(replica::Refusal::BodyNotInLog) => {
                let was_installed = installed_in_turn > 0 && installed_in_turn >= waiter.turn;
                assert!(was_installed, "{id} lacks the body of a message that lives, for {waiter:?}");
            }
            Err(_) => {}
        }
        let time = self.nodes[&id].clock.time(self.now);
        self.cover_answer(&waiter, time, turns, &answer);
        if let Ok(replica::Answer::Executed(executed)) = &answer
            && executed.replayed
            && executed.index <= restored
        {
            self.coverage.sometimes("a retry returned an outcome that came in a snapshot");
        }
        self.cover_read(id, &waiter, &answer);
        self.respond(waiter.caller, waiter.attempt, answer);
        if waiter.caller == Caller::Stop {
            self.coverage.sometimes("a leader stopped after it was asked to hand over");
            self.crash(id);
        }
    }

    fn told(&mut self, id: NodeId, told: &Told) {
        self.trace.tell(self.now, || format!("{id} tells {told:?}"));
        match told {
            Told::Raft(event) => {
                self.cover_event(id, event);
                self.watch.on_told(self.now, id, event);
                self.checks.on_told(self.now, id, event);
                match event {
                    raft::Event::SnapshotInstalled { last } => self.installed(id, *last),
                    raft::Event::ConfigurationChanged { .. } => self.connect_members(id),
                    _ => {}
                }
            }
            Told::SnapshotTaken { .. } => self.coverage.sometimes("a snapshot was taken"),
            _ => {}
        }
    }
}

fn is_read(event: &replica::Event) -> bool {
    matches!(event, replica::Event::EntriesRead { .. })
}

/// The read round that a message answers.
pub fn round_answered(event: &replica::Event) -> Option<u64> {
    match event {
        replica::Event::Message { message: Message { body: Body::HeartbeatReply { read_round, .. }, .. }, .. } => {
            Some(*read_round)
        }
        _ => None,
    }
}

/// What a cluster begins with: its first membership.
fn first_write(voters: Vec<NodeId>, commit_quorum: CommitQuorum) -> Write {
    let configuration = Configuration { voters: voters.into_iter().collect(), commit_quorum, ..Configuration::EMPTY };
    let payload = Payload::Configuration { configuration, introduction: None };
    let entry = Entry { id: EntryId::new(Term(1), Index(1)), payload };
    Write {
        ticket: Ticket(0),
        hard_state: Some(HardState { term: Term(1), vote: None }),
        snapshot: None,
        entries: vec![entry],
    }
}
