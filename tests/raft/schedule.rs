//! Random schedules: a seed decides what happens next to a few raw cores, and a witness looks at them after each step.
//!
//! Messages are lost, repeated, reordered and played again long after; writes end late and several at once; nodes crash with a
//! part of what they were writing; the membership changes; snapshots are taken, compact the log up to anywhere, and come late or
//! twice to those that need them. At the end everything works again, and all must agree.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;
use quorate::ids::{Index, NodeId};
use quorate::raft::{CommitQuorum, Learner, MembershipChange, Options, RoleName, Window};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::cluster::{Cluster, Disk, Envelope, Image, default_options};
use crate::script::contact;
use crate::witness::{Claim, Violation, Witness};

const STEPS: usize = 1000;
/// Messages that may be played again.
const PAST_MAX: usize = 300;

/// What came of a seed.
pub struct Outcome {
    pub seed: u64,
    pub violation: Option<Violation>,
    pub counts: Counts,
    /// Empty unless it was asked for.
    pub trace: String,
}

/// How much happened: a schedule in which nothing does shows nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub leaders: usize,
    pub committed: usize,
    pub truncations: usize,
    pub restarts: usize,
    pub changes: usize,
    pub replays: usize,
    pub reads: usize,
    pub transfers: usize,
    pub snapshots: usize,
    /// How often a snapshot took the place of a log.
    pub installs: usize,
    /// Reads that were confirmed.
    pub confirmed: usize,
}

struct Schedule {
    rng: ChaCha8Rng,
    cluster: Cluster,
    past: Vec<Envelope>,
    /// An id that was removed never comes back.
    removed: BTreeSet<NodeId>,
    proposals: u64,
    /// A write ends with a chance of one in so many whenever it could.
    slowness: u32,
    counts: Counts,
}

/// Runs the schedule of a seed to its end or to the first violation.
pub fn run(seed: u64, is_traced: bool) -> Outcome {
    let mut schedule = Schedule::new(seed, is_traced);
    let result = catch_unwind(AssertUnwindSafe(|| schedule.run()));
    let violation = match result {
        Ok(violation) => violation,
        Err(panic) => Some(Violation { claim: Claim::Soundness, what: panic_text(panic.as_ref()) }),
    };
    let lines = schedule.cluster.trace.take().unwrap_or_default();
    // A panic can have taken the witness with it.
    let witness = schedule.cluster.witness.take().unwrap_or_default();
    let counts = Counts {
        leaders: witness.leaders.len(),
        committed: witness.committed.len(),
        truncations: witness.truncations,
        confirmed: witness.confirmed,
        installs: witness.installs,
        ..schedule.counts
    };
    Outcome { seed, violation, counts, trace: lines.into_iter().map(|line| line.text + "\n").collect() }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without words"))
}

impl Schedule {
    fn new(seed: u64, is_traced: bool) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let options = Options {
            append_bytes_max: rng.random_range(1..400),
            window: Window { appends_max: rng.random_range(1..5), bytes_max: rng.random_range(1..800) },
            cache_bytes_max: if rng.random() { 0 } else { 300 },
            ..default_options()
        };
        let slowness = rng.random_range(2..6);
        let mut cluster = Cluster::new(options, seed, is_traced);
        cluster.witness = Some(Witness::default());
        let voters: Vec<NodeId> = (1..=rng.random_range(2..6)).map(NodeId).collect();
        let spares = (1..=3).map(|spare| NodeId(voters.len() as u64 + spare));
        cluster.bootstrap(&voters, &[], if rng.random() { CommitQuorum::Majority } else { CommitQuorum::HalfPlusOne });
        spares.for_each(|spare| cluster.add(spare, Disk::default()));
        Self {
            rng,
            cluster,
            past: Vec::new(),
            removed: BTreeSet::new(),
            proposals: 0,
            slowness,
            counts: Counts::default(),
        }
    }

    fn run(&mut self) -> Option<Violation> {
        for _ in 0..STEPS {
            self.step();
            if self.cluster.violation.is_some() {
                return self.cluster.violation.take();
            }
        }
        self.recover();
        self.cluster.violation.take().or_else(|| self.agree().err())
    }

    fn step(&mut self) {
        match self.rng.random_range(0..108) {
            0..40 => self.deliver_some(),
            40..58 => self.persist_some(),
            58..73 => self.let_time_pass(),
            73..82 => self.propose(),
            82..86 => self.ask(),
            86..88 => self.read(),
            88..90 => self.lose_or_repeat(),
            90..92 => self.play_again(),
            92..94 => self.change_membership(),
            94 => self.transfer(),
            95..98 => self.crash_or_restart(),
            98 => self.cut_or_heal(),
            99 => self.lose_or_find_connection(),
            100..103 => self.take_snapshot(),
            103..105 => self.hear_of_snapshot(),
            _ => self.fetch_or_lose(),
        }
    }

    fn deliver_some(&mut self) {
        for _ in 0..self.rng.random_range(1..8) {
            // Mostly in order, because otherwise too little goes on.
            let oldest = self.cluster.in_flight.len().min(if self.rng.random_ratio(9, 10) { 1 } else { usize::MAX });
            if oldest == 0 {
                return;
            }
            let position = self.rng.random_range(0..oldest);
            if self.past.len() < PAST_MAX || self.rng.random_ratio(1, 10) {
                let place = self.rng.random_range(0..PAST_MAX).min(self.past.len());
                self.past.splice(place..self.past.len().min(place + 1), [self.cluster.in_flight[position].clone()]);
            }
            self.cluster.deliver(position);
        }
    }

    fn persist_some(&mut self) {
        for id in self.cluster.ids() {
            if self.rng.random_ratio(1, self.slowness) {
                let count = if self.rng.random() { usize::MAX } else { self.rng.random_range(1..4) };
                self.cluster.persist(id, count);
            }
        }
    }

    fn let_time_pass(&mut self) {
        self.cluster.now = self.cluster.now + Duration::from_millis(self.rng.random_range(0..200));
        let now = self.cluster.now;
        for id in self.cluster.ids() {
            let is_due = self.cluster.raft(id).is_some_and(|raft| raft.next_deadline() <= now);
            if is_due && self.rng.random_ratio(3, 4) {
                self.cluster.tick(id);
            }
        }
    }

    fn propose(&mut self) {
        let Some(leader) = self.pick_leader() else { return };
        let count = self.rng.random_range(1..4);
        let commands = (1..=count).map(|number| {
            let text = (self.proposals + number).to_string();
            Bytes::from(text.repeat(self.rng.random_range(1..20)))
        });
        let commands = commands.collect();
        self.proposals += count;
        let _ = self.cluster.propose(leader, commands);
    }

    /// A leader, or anybody.
    fn ask(&mut self) {
        let leader = self.pick_leader();
        let id = leader.filter(|_| self.rng.random()).unwrap_or_else(|| self.pick_node());
        let _ = self.cluster.read_index(id);
        if self.rng.random() {
            self.cluster.tick(id);
        }
    }

    fn transfer(&mut self) {
        let Some(leader) = self.pick_leader() else { return };
        let to = self.rng.random::<bool>().then(|| self.pick_node());
        let begun = self.cluster.transfer(leader, to);
        self.counts.transfers += usize::from(matches!(begun, Some(Ok(_))));
    }

    fn read(&mut self) {
        let id = self.pick_node();
        self.counts.reads += usize::from(!self.cluster.node_mut(id).reads.is_empty());
        self.cluster.read(id);
    }

    /// Of anything that is committed and durable; the log may begin anywhere in it, or where those that are heard need it.
    fn take_snapshot(&mut self) {
        let id = self.pick_node();
        let now = self.cluster.now;
        let Some(raft) = self.cluster.raft(id) else { return };
        let (end, needed) = (raft.commit().min(raft.durable()), raft.needed_by_members(now).min());
        let disk = &self.cluster.nodes[&id].disk;
        let (snapshot, start) = (disk.snapshot_last().index, disk.start.index);
        if end == Index(0) || end < snapshot {
            return;
        }
        let last = Index(self.rng.random_range(snapshot.0.max(1)..=end.0));
        let limit = needed.filter(|_| self.rng.random()).unwrap_or(last);
        let limit = last.min(limit).max(start);
        let start = if self.rng.random() { limit } else { Index(self.rng.random_range(start.0..=limit.0)) };
        self.counts.snapshots += 1;
        self.cluster.take_snapshot(id, last, start);
        if self.rng.random() {
            self.cluster.tell_taken(id);
        }
    }

    fn hear_of_snapshot(&mut self) {
        for id in self.cluster.ids() {
            self.cluster.tell_taken(id);
        }
    }

    /// A fetch ends, or breaks off; or a snapshot comes once more, or unasked.
    fn fetch_or_lose(&mut self) {
        for id in self.cluster.ids() {
            match self.rng.random_range(0..7) {
                0 => self.cluster.node_mut(id).fetch = None,
                1 => {
                    let fetched: Vec<Image> = self.cluster.node_mut(id).fetched.values().cloned().collect();
                    if let Some(image) = fetched.choose(&mut self.rng) {
                        self.cluster.receive_snapshot(id, image.clone());
                    }
                }
                2 => {
                    // Nobody has asked for it, and it is as good as any other.
                    let from = self.pick_node();
                    let image = self.cluster.nodes[&from].disk.snapshot.clone();
                    image.into_iter().for_each(|image| self.cluster.receive_snapshot(id, image));
                }
                3..5 => self.cluster.fetch(id),
                _ => {}
            }
        }
    }

    fn lose_or_repeat(&mut self) {
        let Some(position) = self.pick_in_flight() else { return };
        if self.rng.random() {
            self.cluster.in_flight.remove(position);
        } else {
            let copy = self.cluster.in_flight[position].clone();
            self.cluster.in_flight.push(copy);
        }
    }

    fn play_again(&mut self) {
        if let Some(envelope) = self.past.choose(&mut self.rng) {
            self.counts.replays += 1;
            self.cluster.receive(envelope.clone());
        }
    }

    fn change_membership(&mut self) {
        let Some(leader) = self.pick_leader() else { return };
        let node = self.pick_node();
        let Some(raft) = self.cluster.raft(leader) else { return };
        let configuration = raft.configuration().clone();
        let change = if configuration.learners.contains_key(&node) && self.rng.random_ratio(2, 3) {
            MembershipChange::Promote(node)
        } else if configuration.is_member(node) {
            let other = self.pick_node();
            let others = configuration.is_member(other) && self.rng.random_ratio(1, 4);
            MembershipChange::Remove(BTreeSet::from([node, if others { other } else { node }]))
        } else if !self.removed.contains(&node) {
            let replaces = self.pick_node();
            let replaces = (self.rng.random() && configuration.is_voter(replaces)).then_some(replaces);
            MembershipChange::AddLearner {
                contact: contact(node),
                learner: Learner { stay: self.rng.random(), replaces },
            }
        } else {
            return;
        };
        if let Some(Ok(_)) = self.cluster.change(leader, change.clone()) {
            self.counts.changes += 1;
            match change {
                MembershipChange::Remove(nodes) => self.removed.extend(nodes),
                MembershipChange::AddLearner { learner, .. } => self.removed.extend(learner.replaces),
                MembershipChange::Promote(_) => {}
            }
        }
    }

    fn crash_or_restart(&mut self) {
        let down: Vec<NodeId> = self.cluster.ids().into_iter().filter(|id| !self.cluster.is_up(*id)).collect();
        let id = match down.choose(&mut self.rng) {
            Some(id) if self.rng.random_ratio(2, 3) => *id,
            _ => self.pick_node(),
        };
        if self.cluster.is_up(id) {
            self.cluster.crash(id, self.rng.random_range(0..4));
        } else {
            self.counts.restarts += 1;
            self.cluster.start(id);
        }
    }

    fn cut_or_heal(&mut self) {
        if self.rng.random_ratio(1, 3) {
            return self.cluster.cut.clear();
        }
        let (from, to) = (self.pick_leader().unwrap_or(NodeId(1)), self.pick_node());
        self.cluster.cut.insert((from, to));
        if self.rng.random() {
            let others = self.cluster.ids();
            self.cluster.cut.extend(others.into_iter().flat_map(|other| [(from, other), (other, from)]));
        }
    }

    fn lose_or_find_connection(&mut self) {
        let (id, peer) = (self.pick_node(), self.pick_node());
        if self.rng.random() {
            self.cluster.unreachable(id, peer);
        } else {
            self.cluster.reachable(id, peer);
        }
    }

    /// Everything works again, for long enough.
    fn recover(&mut self) {
        self.cluster.cut.clear();
        for id in self.cluster.ids() {
            if !self.cluster.is_up(id) {
                self.cluster.start(id);
            }
        }
        self.cluster.run(Duration::from_secs(10));
        if let Some(leader) = self.pick_leader() {
            let _ = self.cluster.propose(leader, vec![Bytes::from_static(b"the end")]);
        }
        self.cluster.run(Duration::from_secs(1));
    }

    fn agree(&self) -> Result<(), Violation> {
        let fail = |what: String| Err(Violation { claim: Claim::Liveness, what });
        let leads = |id: &NodeId| self.cluster.raft(*id).is_some_and(|raft| raft.role() == RoleName::Leader);
        let leaders: Vec<NodeId> = self.cluster.ids().into_iter().filter(leads).collect();
        let [leader] = leaders[..] else { return fail(format!("there is not one leader but {leaders:?}")) };
        let Some(raft) = self.cluster.raft(leader) else { return fail("the leader is down".to_owned()) };
        if raft.commit() < raft.last().index || !raft.membership_is_settled() {
            return fail(format!("{} has committed {} of {}", leader.0, raft.commit(), raft.last()));
        }
        if let Some(open) = self.cluster.witness.as_ref().filter(|witness| !witness.reads.is_empty()) {
            return fail(format!("these reads have not ended: {:?}", open.reads));
        }
        for id in self.cluster.ids() {
            let Some(other) = self.cluster.raft(id) else { continue };
            let is_member = raft.configuration().is_member(id);
            if is_member && (other.commit(), other.last()) != (raft.commit(), raft.last()) {
                return fail(format!("{} has {} of {}, commit {}", id.0, other.last(), raft.last(), other.commit()));
            }
            if is_member && other.removed().is_some() {
                return fail(format!("{} believes that it was removed", id.0));
            }
        }
        Ok(())
    }

    fn pick_node(&mut self) -> NodeId {
        let ids = self.cluster.ids();
        ids[self.rng.random_range(0..ids.len())]
    }

    fn pick_in_flight(&mut self) -> Option<usize> {
        let count = self.cluster.in_flight.len();
        (count > 0).then(|| self.rng.random_range(0..count))
    }

    /// One of those that believe to lead.
    fn pick_leader(&mut self) -> Option<NodeId> {
        let leads = |id: &NodeId| self.cluster.raft(*id).is_some_and(|raft| raft.role() == RoleName::Leader);
        let leaders: Vec<NodeId> = self.cluster.ids().into_iter().filter(leads).collect();
        leaders.choose(&mut self.rng).copied()
    }
}
