//! What goes wrong, and how it ends.

use quorate::ids::NodeId;
use rand::RngExt;
use rand::seq::SliceRandom;

use super::cluster::{Asked, Cluster, Event, Phase, ProcessId};
use super::knobs::{Fault, Micros};
use super::node::Caller;
use super::upkeep::UpkeepFault;

impl Cluster {
    /// When the next fault comes.
    pub fn next_fault_at(&mut self) -> Micros {
        self.now + self.random.faults.random_range(1..=2 * self.knobs.fault_interval)
    }

    /// Something goes wrong.
    pub fn fault(&mut self) {
        if self.phase != Phase::Faults || self.knobs.faults.is_empty() {
            return;
        }
        let at = self.next_fault_at();
        self.schedule(at, Event::Fault);
        let fault = self.knobs.faults[self.random.faults.random_range(0..self.knobs.faults.len())];
        let id = self.victim();
        self.trace.tell(self.now, || format!("fault: {fault:?} {id}"));
        let longest = self.knobs.longest;
        let until = self.now + self.random.faults.random_range(longest / 4..=4 * longest);
        let until = until.min(self.knobs.duration);
        let operations = self.random.faults.random_range(0..12);
        let node = self.nodes.get_mut(&id).expect("the victim is one of them");
        match fault {
            Fault::Crash => self.crash_if_running(id),
            Fault::Kill if node.process.is_some() => self.kill(id),
            Fault::CrashAll => {
                self.nodes.keys().copied().collect::<Vec<_>>().into_iter().for_each(|id| self.crash_if_running(id))
            }
            Fault::CutPower if node.process.is_some() => {
                node.disk.cut_power_after(operations);
                node.is_armed = true;
            }
            Fault::CrashInEffects => {
                if let Some(process) = &mut node.process {
                    process.effects_left = Some(operations as usize);
                }
            }
            Fault::FailSync if node.process.is_some() => {
                node.disk.fail_syncs(true);
                node.is_armed = true;
            }
            Fault::StallDisk => node.stalled_until = until,
            Fault::Pause => node.paused_until = until,
            Fault::JumpClock => node.clock.ahead += self.random.faults.random_range(-60_000..=60_000),
            Fault::Partition => self.partition(until),
            Fault::LoseDisk => self.lose_disk(),
            Fault::Stop => self.stop(id),
            Fault::PauseBeforeReads => node.pauses_before_reads = true,
            Fault::StayAway => {
                let longest = self.knobs.duration / 2;
                node.away_until = self.now + self.random.faults.random_range(longest / 4..=longest);
                self.crash_if_running(id);
            }
            Fault::CutPowerInUpkeep | Fault::FailSyncInUpkeep | Fault::CrashInUpkeep => {
                node.upkeep_fault = Some(UpkeepFault::draw(&mut self.random.faults, fault));
            }
            Fault::CutAtHandOver => {
                node.is_cut_at_hand_over = true;
                self.last_attempt += 1;
                self.receive(id, Caller::HandOver, self.last_attempt, Asked::Transfer(None));
            }
            Fault::CutPower | Fault::FailSync | Fault::Kill => {}
        }
    }

    /// Any node, the leader more often than others.
    fn victim(&mut self) -> NodeId {
        let leader = self.nodes.iter().find(|(_, node)| node.leads()).map(|(id, _)| *id);
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        let any = ids[self.random.faults.random_range(0..ids.len())];
        leader.filter(|_| self.random.faults.random_bool(0.4)).unwrap_or(any)
    }

    /// A machine is to stop: it hands over first, if it leads.
    fn stop(&mut self, id: NodeId) {
        if self.nodes[&id].leads() {
            self.last_attempt += 1;
            self.receive(id, Caller::Stop, self.last_attempt, Asked::Transfer(None));
        } else {
            self.crash_if_running(id);
        }
    }

    /// A leader has told another one to take over: if it is to be, it is cut off from all nodes. Its clients still reach it.
    pub fn hands_over(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("it has just sent something");
        if self.phase != Phase::Faults || !std::mem::take(&mut node.is_cut_at_hand_over) {
            return;
        }
        let longest = self.knobs.longest;
        let until = (self.now + self.random.faults.random_range(longest / 2..=2 * longest)).min(self.knobs.duration);
        let others: Vec<NodeId> = self.nodes.keys().copied().filter(|other| *other != id).collect();
        self.trace.tell(self.now, || format!("{id} is cut off until {until}"));
        self.network.cut(others.into_iter().flat_map(|other| [(id, other), (other, id)]));
        self.schedule(until, Event::Mend);
        self.coverage.sometimes("a leader was cut off as it handed over");
    }

    /// A process stands still right before a turn.
    pub fn pause_before_reads(&mut self, running: ProcessId) {
        let longest = self.knobs.longest;
        let until = self.now + self.random.faults.random_range(longest / 4..=4 * longest);
        let until = if self.phase == Phase::Faults { until.min(self.knobs.duration) } else { self.now };
        self.nodes.get_mut(&running.node).expect("it is about to turn").paused_until = until;
        self.coverage.sometimes("a node stood still when it could have answered a read");
        self.schedule(until, Event::Turn(running));
    }

    fn crash_if_running(&mut self, id: NodeId) {
        if self.nodes[&id].process.is_some() {
            self.crash(id);
        }
    }

    /// Cuts some links until then: between the leader with a few others and the rest, between any two sides, in one direction
    /// only, or all but those of one node.
    fn partition(&mut self, until: Micros) {
        let mut ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        ids.shuffle(&mut self.random.faults);
        let kind = self.random.faults.random_range(0..6);
        if kind >= 4
            && let Some((leader, _)) = self.leader()
        {
            // Its clients still reach it: what it appends now will be cut.
            let at = ids.iter().position(|id| *id == leader).unwrap_or_default();
            ids.swap(0, at);
        }
        let most = if kind >= 4 { ids.len() / 2 } else { ids.len() };
        let (left, right) = ids.split_at(self.random.faults.random_range(1..=most.max(1)));
        let pairs = left.iter().flat_map(|a| right.iter().map(|b| (*a, *b)));
        let links: Vec<(NodeId, NodeId)> = match kind {
            0 => pairs.collect(),
            1 => pairs.filter(|(a, b)| *a != ids[0] && *b != ids[0]).flat_map(|(a, b)| [(a, b), (b, a)]).collect(),
            _ => pairs.flat_map(|(a, b)| [(a, b), (b, a)]).collect(),
        };
        self.trace.tell(self.now, || format!("cut until {until}: {links:?}"));
        self.network.cut(links);
        self.schedule(until, Event::Mend);
    }

    /// A member is lost with its disk, where the others can do without: otherwise nothing could ever be well again.
    fn lose_disk(&mut self) {
        if self.knobs.change_interval.is_none() || !self.operator.is_idle() {
            return;
        }
        let mut members = self.known_members();
        members.shuffle(&mut self.random.faults);
        let Some(id) = members.into_iter().find(|id| !self.nodes[id].is_dead && self.can_do_without(*id)) else {
            return;
        };
        self.trace.tell(self.now, || format!("{id} is lost with its disk"));
        self.crash_if_running(id);
        let node = self.nodes.get_mut(&id).expect("the victim is one of them");
        node.is_dead = true;
        node.disk = Default::default();
        self.checks.lose_disk(id);
        let longest = self.knobs.longest;
        // A leader goes on to count on this node until it has not heard it for a while, old messages included.
        let echoes = if self.knobs.network.replay > 0.0 { self.knobs.network.replay_after_max } else { 0 };
        self.operator.keep_quiet(self.now + 3 * longest + echoes);
    }

    /// True when every configuration that could still be in force has a quorum without `id` and all that are dead.
    fn can_do_without(&self, id: NodeId) -> bool {
        let is_alive = |node: NodeId| node != id && self.nodes.get(&node).is_some_and(|node| !node.is_dead);
        let mut configurations = self.checks.configurations();
        configurations.all(|configuration| {
            let is_settled = !configuration.is_joint() && configuration.learners.is_empty();
            let alive = configuration.voters.iter().filter(|voter| is_alive(**voter)).count();
            is_settled && alive >= configuration.commit_quorum.size(configuration.voters.len())
        })
    }

    /// One link may stay cut, both ways or one: between two nodes that both hear all others. Whoever of them does not lead must
    /// not keep the others from working.
    fn cut_for_good(&mut self, ids: &[NodeId]) {
        let [left, right, ..] = ids else { return };
        let (left, right) = (*left, *right);
        if self.random.faults.random_bool(0.5) || !self.can_do_without(left) || !self.can_do_without(right) {
            return;
        }
        let links = [(left, right), (right, left)];
        let count = self.random.faults.random_range(1..=2);
        self.network.cut(links.into_iter().take(count));
        self.coverage.sometimes("the world was healed with a link cut");
        self.trace.tell(self.now, || format!("{left} and {right} stay apart"));
    }

    /// Nothing goes wrong any more. Some nodes stay dead, where the others can do without.
    pub fn heal(&mut self) {
        self.trace.tell(self.now, || "the world is healed".to_owned());
        self.phase = Phase::Healing(self.now);
        if !self.knobs.stays_bad {
            self.network.heal();
        }
        let mut ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        ids.shuffle(&mut self.random.faults);
        for id in &ids {
            if self.random.faults.random_bool(0.2) && !self.nodes[id].is_dead && self.can_do_without(*id) {
                self.crash_if_running(*id);
                self.nodes.get_mut(id).expect("it is one of them").is_dead = true;
                self.coverage.sometimes("the world was healed with a dead node");
            }
        }
        self.cut_for_good(&ids);
        for id in ids {
            let node = self.nodes.get_mut(&id).expect("it is one of them");
            node.paused_until = self.now;
            node.stalled_until = self.now;
            node.away_until = self.now;
            node.upkeep_fault = None;
            if let Some(process) = &mut node.process {
                process.effects_left = None;
            }
            // One whose store has failed stops as soon as it notices: the calm does not begin with that.
            let has_failed = node.process.as_ref().is_some_and(|process| process.store.shared().has_failed());
            if std::mem::take(&mut node.is_armed) || has_failed {
                self.crash_if_running(id);
            }
            self.schedule(self.now, Event::Start(id));
        }
    }
}
