//! The machines, the network between them, and what happens to both.

use std::collections::{BTreeMap, BTreeSet};

use quorate::cluster::founding::{self, Promised, Proposal, Round, Standing, Step, next_step};
use quorate::ids::{ClusterId, Contact, NodeId};
use quorate::storage::FoundingRecord;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Broken;
use super::checks::Checks;
use super::machine::{Disk, Doing, Machine, Process};
use crate::knobs::{Micros, SECOND};
use crate::trace::{Detail, Trace};

const MILLISECOND: Micros = SECOND / 1_000;
/// A round of asking lasts so long when somebody does not answer.
const PATIENCE: Micros = 3 * SECOND;
/// Faults end after this long at most.
const FAULTS_MAX: Micros = 40 * SECOND;
/// Once all is well, everybody is in one cluster after this long.
const HEALED_MAX: Micros = 120 * SECOND;

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    pub happened: BTreeMap<&'static str, u64>,
    pub hash: u64,
}

/// What is drawn once.
struct Knobs {
    loss: f64,
    duplication: f64,
    /// The longest delay of a message.
    delay_max: Micros,
    /// The chance that a process dies at a durable step.
    death: f64,
    /// So many disks are lost at most.
    wipes: u32,
    faults_end: Micros,
    partial_dns: f64,
    /// The chance that a disk that was replaced comes back for a while, until one has.
    old_disk: f64,
}

/// Between whom a call is: an answer reaches only the process that asked, and only while it waits for it.
#[derive(Clone, Copy, Debug)]
struct Call {
    from: usize,
    incarnation: u64,
    call: u64,
}

#[derive(Clone, Debug)]
enum Event {
    Start(usize),
    Crash(usize),
    Wipe(usize),
    /// A disk that was replaced is there again, with the name of its machine.
    Return(usize, Box<Disk>),
    /// It goes for good.
    Leave(usize),
    Look(usize, u64),
    RoundOver(Call),
    Asked(Call, usize),
    Answered(Call, usize, Box<Standing>),
    Promise(Call, usize, Box<Proposal>),
    Promised(Call, NodeId, bool),
    Add(Call, usize, ClusterId, Box<Contact>),
    Added(Call, ClusterId),
    WriteFirst(Call, Box<Proposal>),
    WriteCluster(Call, ClusterId),
}

/// The members of a cluster: what its voters have agreed on.
#[derive(Clone, Debug)]
struct Members {
    voters: BTreeMap<NodeId, String>,
    learners: BTreeMap<NodeId, String>,
}

pub struct World {
    broken: Broken,
    knobs: Knobs,
    rng: ChaCha8Rng,
    now: Micros,
    events: BTreeMap<(Micros, u64), Event>,
    scheduled: u64,
    machines: Vec<Machine>,
    members: BTreeMap<ClusterId, Members>,
    nodes: u64,
    wipes: u32,
    /// Everybody may ask others, which is not how it is meant: then it is enough that there are no two clusters.
    lists_differ: bool,
    checks: Checks,
    trace: Trace,
    happened: BTreeMap<&'static str, u64>,
}

impl World {
    pub fn new(seed: u64, broken: Broken, detail: Detail) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(100);
        let knobs = Knobs {
            loss: if rng.random_bool(0.5) { rng.random_range(0.0..0.3) } else { 0.0 },
            duplication: if rng.random_bool(0.5) { rng.random_range(0.0..0.2) } else { 0.0 },
            delay_max: [20 * MILLISECOND, 500 * MILLISECOND, 4 * SECOND][rng.random_range(0..3)],
            death: if rng.random_bool(0.6) { rng.random_range(0.0..0.3) } else { 0.0 },
            wipes: [0, 1, 1, 2, 5][rng.random_range(0..5)],
            faults_end: rng.random_range(5 * SECOND..FAULTS_MAX),
            partial_dns: if rng.random_bool(0.4) { rng.random_range(0.0..0.7) } else { 0.0 },
            old_disk: if rng.random_bool(0.5) { 0.6 } else { 0.0 },
        };
        let mut world = Self {
            broken,
            knobs,
            rng,
            now: 0,
            events: BTreeMap::new(),
            scheduled: 0,
            machines: Vec::new(),
            members: BTreeMap::new(),
            nodes: 0,
            wipes: 0,
            lists_differ: false,
            checks: Checks::default(),
            trace: Trace::new(detail),
            happened: BTreeMap::new(),
        };
        world.found();
        world
    }

    /// The machines, with ordinals or without, and when they start for the first time; some crash and lose their disks later.
    fn found(&mut self) {
        let size = *[1, 2, 3, 3, 3, 5].get(self.rng.random_range(0..6)).expect("in range");
        let with_ordinals = self.rng.random_bool(0.7);
        self.lists_differ = !with_ordinals && size > 1 && self.rng.random_bool(0.3);
        let extra = match with_ordinals {
            // Founders are half of the members at least.
            true => self.rng.random_range(0..=size),
            // Any two sets of so many have a machine in common.
            false => {
                if self.lists_differ {
                    size - 1
                } else {
                    0
                }
            }
        };
        let discovers = with_ordinals && self.rng.random_bool(0.7);
        self.checks.founders = usize::from(if with_ordinals { size } else { size + extra });
        self.checks.is_blind = discovers && self.knobs.partial_dns > 0.0;
        // Two nodes of one name must see each other: that there are no two is for whoever starts them. And a majority of old disks
        // would be another cluster: only one comes back, and not that of a single founder.
        if self.checks.is_blind || !with_ordinals || size == 1 {
            self.knobs.old_disk = 0.0;
        }
        for number in 0..size + extra {
            let name =
                if with_ordinals { format!("q-{number}") } else { format!("{}", char::from(b'a' + number as u8)) };
            let (disk, at) = (self.disk(), usize::from(number));
            let mut list: Vec<usize> = (0..usize::from(size + extra)).filter(|other| *other != at).collect();
            while self.lists_differ && list.len() >= usize::from(size) {
                list.remove(self.rng.random_range(0..list.len()));
            }
            let address = name.clone();
            self.machines.push(Machine::new(name, address, disk, size, discovers, list));
            let is_late = self.rng.random_bool(0.2);
            let at = self.rng.random_range(0..if is_late { self.knobs.faults_end } else { SECOND });
            self.schedule(at, Event::Start(usize::from(number)));
        }
        for _ in 0..self.rng.random_range(0..6) {
            let (at, machine) = (self.sometime(), self.somebody());
            self.schedule(at, Event::Crash(machine));
        }
        for _ in 0..if self.lists_differ { 0 } else { self.knobs.wipes } {
            // The first of the names more often than the rest.
            let machine = if self.rng.random_bool(0.4) { 0 } else { self.somebody() };
            let at = self.sometime();
            self.schedule(at, Event::Wipe(machine));
        }
    }

    pub fn run(mut self) -> Report {
        while let Some(((at, _), event)) = self.events.pop_first() {
            if at > self.knobs.faults_end + HEALED_MAX {
                break;
            }
            let was_faulty = self.is_faulty();
            self.now = at;
            if was_faulty && !self.is_faulty() {
                self.heal();
            }
            self.trace.tell(at, || format!("{event:?}"));
            self.trace.number((at, self.scheduled));
            self.take(event);
            let (machines, members) = (&self.machines, &self.members);
            self.checks.check(machines, |cluster| {
                can_agree(machines, members, cluster, |machine| machine.disk.cluster == Some(cluster))
            });
            if !self.is_faulty() && self.is_done() {
                break;
            }
        }
        self.verdict();
        Report { happened: self.happened, hash: self.trace.hash() }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Start(machine) => self.start(machine),
            Event::Crash(machine) if self.is_faulty() => self.crash(machine),
            Event::Wipe(machine) if self.is_faulty() => self.wipe(machine),
            Event::Return(machine, disk) if self.is_faulty() => self.return_old(machine, *disk),
            Event::Crash(_) | Event::Wipe(_) | Event::Return(..) => {}
            Event::Leave(machine) => self.leave(machine),
            Event::Look(machine, incarnation) => self.look(machine, incarnation),
            Event::RoundOver(call) => self.decide(call),
            Event::Asked(call, machine) => self.answer(call, machine),
            Event::Answered(call, machine, standing) => self.hear(call, machine, *standing),
            Event::Promise(call, machine, proposal) => self.promise(call, machine, &proposal),
            Event::Promised(call, founder, promised) => self.hear_promise(call, founder, promised),
            Event::Add(call, machine, cluster, contact) => self.add(call, machine, cluster, &contact),
            Event::Added(call, cluster) => self.added(call, cluster),
            Event::WriteFirst(call, proposal) => self.write_first(call, *proposal),
            Event::WriteCluster(call, cluster) => self.write_cluster(call, cluster),
        }
    }

    fn start(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        if machine.process.is_some() || machine.is_gone {
            return;
        }
        machine.incarnation += 1;
        let incarnation = machine.incarnation;
        let mut process = Process::default();
        let begun = machine.disk.cluster.is_none() && machine.disk.first.is_some();
        process.forms = begun;
        machine.process = Some(process);
        if begun {
            // Known before anybody is answered; done some time later.
            let proposal = self.machines[at].disk.first.clone().expect("it has begun");
            self.sometimes("an interrupted start was finished");
            let call = self.call(at);
            self.process(at).expect("it runs").doing = Doing::Forms;
            return self.soon(Event::WriteCluster(call, proposal.cluster));
        }
        self.soon(Event::Look(at, incarnation));
    }

    fn crash(&mut self, at: usize) {
        if self.machines[at].process.take().is_some() {
            let back = self.now + self.rng.random_range(0..5 * SECOND);
            self.schedule(back, Event::Start(at));
        }
    }

    /// What was on the disk is gone; the machine comes back with an empty one.
    fn wipe(&mut self, at: usize) {
        self.crash(at);
        let disk = self.disk();
        let lost = std::mem::replace(&mut self.machines[at].disk, disk);
        self.wipes += 1;
        self.checks.has_lost_a_disk = true;
        if at < self.checks.founders {
            self.checks.last_loss = self.now;
        }
        if lost.first.is_some() && lost.cluster.is_some() {
            self.sometimes("a disk was lost after its node had formed a cluster");
        } else if lost.cluster.is_none() {
            self.sometimes("a disk was lost before its node had a cluster");
        }
        if lost.record.promise.as_ref().is_some_and(|promise| promise.proposer == lost.node) {
            self.sometimes("a proposer lost its disk");
        }
        if self.knobs.old_disk > 0.0 && self.rng.random_bool(self.knobs.old_disk) {
            self.knobs.old_disk = 0.0;
            let back = self.rng.random_range(self.now..self.knobs.faults_end);
            self.schedule(back, Event::Return(at, Box::new(lost)));
        }
    }

    /// Two machines of one name, each of which all others see.
    fn return_old(&mut self, at: usize, disk: Disk) {
        self.sometimes(match disk.cluster {
            Some(_) => "a disk that was replaced came back with its cluster",
            None => "a disk that was replaced came back without a cluster",
        });
        let Machine { name, size, discovers, .. } = &self.machines[at];
        let (name, size, discovers) = (name.clone(), *size, *discovers);
        let list = (0..self.machines.len()).filter(|other| !self.machines[*other].is_old).collect();
        let old = self.machines.len();
        let address = format!("{name}-old-{old}");
        let machine = Machine::new(name, address, disk, size, discovers, list);
        self.machines.push(Machine { is_old: true, ..machine });
        self.schedule(self.now, Event::Start(old));
        let end = self.rng.random_range(self.now..self.knobs.faults_end);
        self.schedule(end, Event::Leave(old));
    }

    fn leave(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        (machine.is_gone, machine.process) = (true, None);
    }

    /// A node without a cluster asks whoever it sees.
    fn look(&mut self, at: usize, incarnation: u64) {
        let machine = &self.machines[at];
        if machine.incarnation != incarnation || machine.process.is_none() || machine.disk.cluster.is_some() {
            return;
        }
        let own = Box::new(machine.own());
        let others = |other: &usize| *other != at && self.machines[*other].is_old && !self.machines[*other].is_gone;
        let list: Vec<usize> = machine.list.iter().copied().chain((0..self.machines.len()).filter(others)).collect();
        let seen: Vec<usize> = list.iter().copied().filter(|_| self.sees(at)).collect();
        let mut round = Round { discovers: self.machines[at].discovers, ..Round::default() };
        if seen.len() < list.len() {
            self.sometimes("a name resolved to a part of the nodes");
        }
        for other in &seen {
            round.heard.insert(self.machines[*other].contact().client_address, Err("silent".to_owned()));
        }
        let call = self.call(at);
        self.process(at).expect("it runs").doing = Doing::Asks { own, round };
        for other in seen {
            self.send(Event::Asked(call, other));
        }
        self.schedule(self.now + PATIENCE, Event::RoundOver(call));
    }

    fn answer(&mut self, call: Call, at: usize) {
        let machine = &self.machines[at];
        if machine.process.is_none() {
            return;
        }
        let mut standing = machine.own().standing;
        if self.broken == Broken::MemberHidesIt {
            standing.cluster = None;
        }
        self.send(Event::Answered(call, at, Box::new(standing)));
    }

    fn hear(&mut self, call: Call, from: usize, standing: Standing) {
        let address = self.machines[from].contact().client_address;
        let Some(process) = self.calling(call) else { return };
        let Doing::Asks { round, .. } = &mut process.doing else { return };
        round.heard.insert(address, Ok(standing));
        if round.heard.values().all(Result::is_ok) {
            self.decide(call);
        }
    }

    /// Everybody has answered, or has had the time to.
    fn decide(&mut self, call: Call) {
        let draw = ClusterId(self.rng.random_range(1..=u128::MAX));
        let broken = self.broken;
        let Some(process) = self.calling(call) else { return };
        let Doing::Asks { mut own, mut round } = std::mem::take(&mut process.doing) else { return };
        if broken == Broken::SilentIsEmpty {
            round.heard.retain(|_, heard| heard.is_ok());
        }
        if broken == Broken::SizeDoesNotMatter {
            of_any_size(&mut own.standing, &mut round);
        }
        let step = next_step(&own, &round, draw);
        self.trace.tell(self.now, || format!("{} decides {step:?}", own.standing.node.name));
        let expected = own.standing.promise;
        match step {
            Step::Wait(_) => self.look_again(call),
            Step::Join { cluster, addresses } => self.apply(call, cluster, &addresses, expected.as_ref()),
            Step::Form(proposal) => {
                if expected.as_ref() != Some(&proposal) {
                    self.sometimes("a founder formed what it had promised before");
                }
                self.form(call, proposal, expected.as_ref());
            }
            Step::Propose(proposal) => self.propose(call, proposal),
        }
    }

    fn apply(&mut self, call: Call, cluster: ClusterId, addresses: &[String], expected: Option<&Proposal>) {
        let record = &mut self.machines[call.from].disk.record;
        if record.applies.is_none() && record.promise.as_ref() != expected {
            self.sometimes("a decision was overtaken");
            return self.look_again(call);
        }
        record.applies = Some(cluster);
        if self.dies(call.from) {
            return self.sometimes("a process died between two steps of joining");
        }
        let contact = self.machines[call.from].contact();
        self.process(call.from).expect("it runs").doing = Doing::Applies;
        let address = addresses[self.rng.random_range(0..addresses.len())].clone();
        let to = self.machines.iter().position(|machine| machine.contact().client_address == address);
        self.send(Event::Add(call, to.expect("addresses are those of machines"), cluster, Box::new(contact)));
        let incarnation = call.incarnation;
        self.schedule(self.now + 2 * PATIENCE, Event::Look(call.from, incarnation));
    }

    /// A member has somebody taken in, if a majority of the voters can agree on it.
    fn add(&mut self, call: Call, at: usize, cluster: ClusterId, contact: &Contact) {
        let machine = &self.machines[at];
        if machine.process.is_none() || machine.disk.cluster != Some(cluster) || !self.can_agree(cluster, true) {
            return;
        }
        if self.has_living_holder(cluster, contact) {
            return self.sometimes("a node was refused because another one of its name lives");
        }
        self.promote(cluster);
        let members = self.members.get_mut(&cluster).expect("it has members");
        if !members.voters.contains_key(&contact.node) {
            members.learners.insert(contact.node, contact.name.clone());
        }
        self.send(Event::Added(call, cluster));
    }

    /// Another member that runs has the name of the one that applies.
    fn has_living_holder(&self, cluster: ClusterId, contact: &Contact) -> bool {
        let Members { voters, learners } = &self.members[&cluster];
        let is_member = |node: &NodeId| voters.contains_key(node) || learners.contains_key(node);
        let holds = |machine: &Machine| machine.name == contact.name && is_member(&machine.disk.node);
        self.machines
            .iter()
            .any(|machine| machine.process.is_some() && machine.disk.node != contact.node && holds(machine))
    }

    fn added(&mut self, call: Call, cluster: ClusterId) {
        let Some(process) = self.calling(call) else { return };
        if !matches!(process.doing, Doing::Applies) {
            return;
        }
        if self.dies(call.from) {
            return self.sometimes("a process died between two steps of joining");
        }
        self.soon(Event::WriteCluster(call, cluster));
    }

    /// Learners take the places of the dead nodes of their names.
    fn promote(&mut self, cluster: ClusterId) {
        let living: BTreeSet<NodeId> = self.living(cluster);
        let members = self.members.get_mut(&cluster).expect("it has members");
        for node in members.learners.keys().copied().collect::<Vec<_>>() {
            if living.contains(&node) {
                let name = members.learners.remove(&node).expect("it is one");
                members.voters.retain(|_, voter| *voter != name);
                members.voters.insert(node, name);
            }
        }
    }

    fn propose(&mut self, call: Call, proposal: Proposal) {
        if !self.promise_on_disk(call.from, &proposal) || self.dies(call.from) {
            return self.look_again(call);
        }
        let own = self.machines[call.from].disk.node;
        let others: Vec<Contact> = proposal.founders.iter().filter(|founder| founder.node != own).cloned().collect();
        let promised = others.iter().map(|founder| (founder.node, false)).collect();
        self.process(call.from).expect("it runs").doing = Doing::Proposes { proposal: proposal.clone(), promised };
        for founder in others {
            let to = self
                .machines
                .iter()
                .position(|machine| machine.contact().client_address == founder.client_address)
                .expect("addresses stay");
            let proposal = proposal.clone();
            self.send(Event::Promise(call, to, Box::new(proposal)));
        }
        self.schedule(self.now + 2 * PATIENCE, Event::Look(call.from, call.incarnation));
        self.form_if_promised(call);
    }

    fn promise(&mut self, call: Call, at: usize, proposal: &Proposal) {
        if self.machines[at].process.is_none() {
            return;
        }
        let promised = self.promise_on_disk(at, proposal);
        if self.dies(at) {
            return;
        }
        let node = self.machines[at].disk.node;
        self.send(Event::Promised(call, node, promised));
        if promised && self.broken == Broken::FormsAtOnce {
            let call = self.call(at);
            self.form(call, proposal.clone(), Some(proposal));
        }
    }

    /// The rules say whether; what they say is durable when this returns.
    fn promise_on_disk(&mut self, at: usize, proposal: &Proposal) -> bool {
        let machine = &self.machines[at];
        let mut own = machine.own();
        let before = own.standing.promise.clone();
        if machine.process.as_ref().is_some_and(|process| process.forms) && before.as_ref() != Some(proposal) {
            return false;
        }
        if self.broken == Broken::PromiseIsNoPromise {
            own.standing.promise = None;
        }
        if self.broken == Broken::SizeDoesNotMatter {
            own.standing.size = u16::try_from(proposal.founders.len()).ok();
        }
        let Ok(Promised { promise, lost }) = founding::promise(&own, proposal) else {
            self.sometimes("a promise was refused");
            return false;
        };
        match before {
            Some(before) if before.proposer != proposal.proposer => {
                self.sometimes("a promise was replaced because a disk was lost");
            }
            Some(before) if before != *proposal => self.sometimes("a promise was replaced by a later attempt"),
            _ => {}
        }
        let record = &mut self.machines[at].disk.record;
        *record = FoundingRecord { promise: Some(promise), lost, ..record.clone() };
        true
    }

    fn hear_promise(&mut self, call: Call, founder: NodeId, is_given: bool) {
        let Some(process) = self.calling(call) else { return };
        let Doing::Proposes { promised, .. } = &mut process.doing else { return };
        // Who is no founder, because its disk is another by now, has promised nothing.
        if let Some(promised) = promised.get_mut(&founder) {
            *promised |= is_given;
        }
        self.form_if_promised(call);
    }

    fn form_if_promised(&mut self, call: Call) {
        let broken = self.broken;
        let Some(process) = self.calling(call) else { return };
        let Doing::Proposes { proposal, promised } = &process.doing else { return };
        let given = promised.values().filter(|given| **given).count();
        let enough = match broken {
            Broken::MostAreEnough => (given + 1) * 2 > proposal.founders.len(),
            _ => given == promised.len(),
        };
        if enough {
            let proposal = proposal.clone();
            self.sometimes("a cluster was formed by the one that proposed it");
            self.form(call, proposal.clone(), Some(&proposal));
        }
    }

    fn form(&mut self, call: Call, proposal: Proposal, expected: Option<&Proposal>) {
        let record = &mut self.machines[call.from].disk.record;
        if record.applies.is_some() || record.promise.as_ref() != expected {
            self.sometimes("a decision was overtaken");
            return self.look_again(call);
        }
        record.promise = Some(proposal.clone());
        let process = self.process(call.from).expect("it runs");
        process.forms = true;
        process.doing = Doing::Forms;
        if proposal.proposer != self.machines[call.from].disk.node {
            self.sometimes("a cluster was formed from a promise");
        }
        if self.dies(call.from) {
            return self.sometimes("a process died between two steps of forming");
        }
        self.soon(Event::WriteFirst(call, Box::new(proposal)));
    }

    fn write_first(&mut self, call: Call, proposal: Proposal) {
        if self.calling(call).is_none() {
            return;
        }
        let cluster = proposal.cluster;
        self.machines[call.from].disk.first = Some(proposal);
        if self.dies(call.from) {
            return self.sometimes("a process died between two steps of forming");
        }
        self.soon(Event::WriteCluster(call, cluster));
    }

    fn write_cluster(&mut self, call: Call, cluster: ClusterId) {
        if self.calling(call).is_none() {
            return;
        }
        let machine = &mut self.machines[call.from];
        (machine.disk.cluster, machine.disk.written) = (Some(cluster), self.now);
        let (name, first) = (machine.name.clone(), machine.disk.first.clone());
        match first {
            Some(first) => {
                let voters = first.founders.iter().map(|founder| (founder.node, founder.name.clone())).collect();
                self.members.entry(cluster).or_insert(Members { voters, learners: BTreeMap::new() });
                if !name.contains('-') {
                    self.sometimes("nodes without ordinals formed a cluster");
                }
            }
            None => {
                let size = self.machines[call.from].size;
                let is_beyond = usize::from(size) <= call.from;
                self.sometimes(if is_beyond { "a node beyond the first ones joined" } else { "a node joined" });
            }
        }
        if self.can_agree(cluster, true) {
            self.promote(cluster);
        }
        self.dies(call.from);
    }

    /// The nodes whose disks belong to the cluster.
    fn living(&self, cluster: ClusterId) -> BTreeSet<NodeId> {
        let belongs = |machine: &&Machine| machine.disk.cluster == Some(cluster) && !machine.is_gone;
        self.machines.iter().filter(belongs).map(|machine| machine.disk.node).collect()
    }

    fn can_agree(&self, cluster: ClusterId, run: bool) -> bool {
        let runs = |machine: &Machine| machine.process.is_some() && machine.disk.cluster == Some(cluster);
        can_agree(&self.machines, &self.members, cluster, |machine| runs(machine) || !run)
    }

    /// Faults have ended: everybody runs from here on, and every message arrives.
    fn heal(&mut self) {
        self.trace.tell(self.now, || "all is well".to_owned());
        self.knobs.death = 0.0;
        for at in 0..self.machines.len() {
            self.schedule(self.now, Event::Start(at));
        }
    }

    fn is_faulty(&self) -> bool {
        self.now < self.knobs.faults_end
    }

    fn is_done(&self) -> bool {
        self.machines.iter().all(|machine| machine.disk.cluster.is_some() || machine.is_gone)
    }

    fn verdict(&mut self) {
        if self.lists_differ {
            return self.sometimes("everybody knew of others");
        }
        let there = || self.machines.iter().filter(|machine| !machine.is_gone);
        let clusters: BTreeSet<_> = there().filter_map(|machine| machine.disk.cluster).collect();
        if clusters.len() > 1 {
            return self.sometimes("all founders lost their disks and did not see a cluster");
        }
        let applied = there().filter_map(|machine| machine.disk.record.applies);
        let needed: BTreeSet<ClusterId> = applied.chain(clusters).collect();
        let gone = self.machines.iter().filter(|machine| machine.is_gone).filter_map(|machine| machine.disk.cluster);
        if gone.into_iter().any(|cluster| needed.contains(&cluster) && self.living(cluster).is_empty()) {
            return self.sometimes("somebody applied to a cluster that an old disk took along");
        }
        if needed.iter().any(|cluster| !self.can_agree(*cluster, false)) {
            return self.sometimes("too many disks were lost for a cluster to live");
        }
        let state = || self.machines.iter().map(|machine| format!("{}: {:?}", machine.name, machine.disk));
        assert!(self.is_done(), "somebody has no cluster:\n{}", state().collect::<Vec<_>>().join("\n"));
    }

    fn disk(&mut self) -> Disk {
        self.nodes += 1;
        // The order of the ids is not that of the machines.
        let node = NodeId(self.rng.random_range(1..1 << 30) << 16 | self.nodes);
        Disk { node, record: FoundingRecord::default(), first: None, cluster: None, written: 0 }
    }

    /// At a durable step the process may die.
    fn dies(&mut self, at: usize) -> bool {
        let dies = self.is_faulty() && self.rng.random_bool(self.knobs.death);
        if dies {
            self.crash(at);
            if self.broken == Broken::PromiseIsNotDurable && self.machines[at].disk.first.is_none() {
                self.machines[at].disk.record.promise = None;
            }
        }
        dies
    }

    fn sees(&mut self, at: usize) -> bool {
        let is_partial = self.machines[at].discovers && self.is_faulty();
        !is_partial || !self.rng.random_bool(self.knobs.partial_dns)
    }

    fn process(&mut self, at: usize) -> Option<&mut Process> {
        self.machines[at].process.as_mut()
    }

    /// A process begins something; what it has begun before is given up.
    fn call(&mut self, from: usize) -> Call {
        let incarnation = self.machines[from].incarnation;
        let process = self.process(from).expect("it runs");
        process.call += 1;
        Call { from, incarnation, call: process.call }
    }

    /// The process that waits for the answer to this call.
    fn calling(&mut self, call: Call) -> Option<&mut Process> {
        let machine = &mut self.machines[call.from];
        let is_same = machine.incarnation == call.incarnation;
        machine.process.as_mut().filter(|process| is_same && process.call == call.call)
    }

    fn look_again(&mut self, call: Call) {
        let at = self.now + self.rng.random_range(50 * MILLISECOND..2 * SECOND);
        self.schedule(at, Event::Look(call.from, call.incarnation));
    }

    fn send(&mut self, event: Event) {
        let is_faulty = self.is_faulty();
        if is_faulty && self.rng.random_bool(self.knobs.loss) {
            return;
        }
        let delay_max = if is_faulty { self.knobs.delay_max } else { 20 * MILLISECOND };
        let at = self.now + self.rng.random_range(MILLISECOND..=delay_max);
        if is_faulty && self.rng.random_bool(self.knobs.duplication) {
            let again = self.now + self.rng.random_range(MILLISECOND..=2 * delay_max);
            self.schedule(again, event.clone());
        }
        self.schedule(at, event);
    }

    /// The next step of a process, after its disk has done the one before.
    fn soon(&mut self, event: Event) {
        let at = self.now + self.rng.random_range(0..50 * MILLISECOND);
        self.schedule(at, event);
    }

    fn schedule(&mut self, at: Micros, event: Event) {
        self.scheduled += 1;
        self.events.insert((at, self.scheduled), event);
    }

    fn sometime(&mut self) -> Micros {
        self.rng.random_range(0..self.knobs.faults_end)
    }

    fn somebody(&mut self) -> usize {
        self.rng.random_range(0..self.machines.len())
    }

    fn sometimes(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }
}

/// True while a majority of the voters can agree: of those whose disks are there, and that count.
fn can_agree(
    machines: &[Machine],
    members: &BTreeMap<ClusterId, Members>,
    cluster: ClusterId,
    counts: impl Fn(&Machine) -> bool,
) -> bool {
    let Some(members) = members.get(&cluster) else { return false };
    let agrees =
        |machine: &&Machine| members.voters.contains_key(&machine.disk.node) && !machine.is_gone && counts(machine);
    machines.iter().filter(agrees).count() * 2 > members.voters.len()
}

/// Whoever answers is enough to start a cluster.
fn of_any_size(own: &mut Standing, round: &mut Round) {
    let mut all: Vec<&mut Standing> =
        round.heard.values_mut().filter_map(|heard| heard.as_mut().ok()).chain([own]).collect();
    let size = u16::try_from(all.len()).ok();
    all.iter_mut().for_each(|standing| standing.size = size);
}
