//! Who changes the membership: adds nodes, promotes them, removes them, and replaces those that are lost. Also hands leadership over.

use std::collections::{BTreeSet, VecDeque};

use quorate::ids::{Contact, NodeId};
use quorate::raft::{ChangeRefused, Learner, MembershipChange};
use quorate::replica::{Answer, Refusal};
use rand::RngExt;

use super::cluster::{Asked, Cluster, Event, Phase};
use super::knobs::Micros;
use super::node::Caller;

/// More machines than this there never are.
const NODES_MAX: usize = 9;

/// What the operator knows.
#[derive(Default)]
pub struct Operator {
    /// Machines that are to become members.
    joining: VecDeque<NodeId>,
    /// The request that has not been answered, and when it was sent.
    open: Option<(u64, Micros)>,
    target: Option<NodeId>,
    /// Nothing is changed before.
    quiet_until: Micros,
}

impl Operator {
    /// This machine is to become a member.
    pub fn will_join(&mut self, node: NodeId) {
        self.joining.push_back(node);
    }

    /// Nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.open.is_none()
    }

    /// Nothing is changed before `until`.
    pub fn keep_quiet(&mut self, until: Micros) {
        self.quiet_until = self.quiet_until.max(until);
    }
}

impl Cluster {
    /// Changes the membership, perhaps.
    pub fn change(&mut self) {
        if self.phase != Phase::Faults {
            return;
        }
        let longest = self.knobs.longest;
        let interval = match self.knobs.change_interval {
            _ if !self.operator.joining.is_empty() => longest / 2,
            Some(interval) => self.random.operator.random_range(1..=2 * interval),
            None => 4 * longest,
        };
        self.schedule(self.now + interval, Event::Change);
        if self.operator.open.is_some_and(|(_, sent_at)| self.now - sent_at > 4 * longest) {
            self.operator.open = None;
            self.operator.target = None;
        }
        if self.operator.open.is_none() && self.now >= self.operator.quiet_until {
            self.change_now();
        }
    }

    /// Somebody is to lead instead, perhaps one that cannot.
    pub fn hand_over(&mut self) {
        let Some(interval) = self.knobs.transfer_interval.filter(|_| self.phase == Phase::Faults) else { return };
        let next = self.now + self.random.operator.random_range(1..=2 * interval);
        self.schedule(next, Event::HandOver);
        let leader = self.leader().map(|(leader, _)| leader);
        let node = leader.unwrap_or_else(|| self.any_node());
        let to = if self.random.operator.random_bool(0.5) { Some(self.any_node()) } else { None };
        self.last_attempt += 1;
        self.trace.tell(self.now, || format!("the operator asks {node} to hand over to {to:?}"));
        self.request(node, Caller::HandOver, self.last_attempt, Asked::Transfer(to));
    }

    fn change_now(&mut self) {
        let Some(change) = self.draw_change() else { return };
        let node = match self.operator.target {
            Some(target) => target,
            None => self.any_node(),
        };
        self.last_attempt += 1;
        self.operator.open = Some((self.last_attempt, self.now));
        self.trace.tell(self.now, || format!("the operator asks {node} for {change:?}"));
        self.request(node, Caller::Operator, self.last_attempt, Asked::Change(change));
    }

    fn draw_change(&mut self) -> Option<MembershipChange> {
        if let Some(node) = self.operator.joining.front() {
            return Some(add_learner(*node, Learner::default()));
        }
        self.knobs.change_interval?;
        let members = self.known_members();
        let lost = members.iter().copied().find(|member| self.nodes[member].is_dead);
        let spare = self.nodes.keys().copied().find(|node| self.is_spare(*node));
        let rng = &mut self.random.operator;
        match (rng.random_range(0..10), lost) {
            (0..8, Some(lost)) => {
                let node = spare.unwrap_or_else(|| self.add_spare());
                Some(add_learner(node, Learner { stay: false, replaces: Some(lost) }))
            }
            (0..4, _) if self.nodes.len() < NODES_MAX => {
                let stay = rng.random_bool(0.3);
                let node = spare.unwrap_or_else(|| self.add_spare());
                Some(add_learner(node, Learner { stay, replaces: None }))
            }
            (4..6, _) => Some(MembershipChange::Promote(one_of(rng, &members)?)),
            _ => {
                let count = rng.random_range(1..=2);
                let removed: BTreeSet<NodeId> = (0..count).filter_map(|_| one_of(rng, &members)).collect();
                Some(MembershipChange::Remove(removed))
            }
        }
    }

    /// The members as the node with the latest configuration knows them.
    pub fn known_members(&self) -> Vec<NodeId> {
        let memberships =
            self.nodes.values().filter_map(|node| Some(node.process.as_ref()?.replica.status().membership));
        let latest = memberships.max_by_key(|membership| membership.index);
        latest.map(|membership| membership.configuration.members().collect()).unwrap_or_default()
    }

    /// A machine that is up and has never been a member.
    fn is_spare(&self, id: NodeId) -> bool {
        let process = self.nodes[&id].process.as_ref();
        process.is_some_and(|process| process.replica.status().membership.index.0 == 0)
    }

    fn add_spare(&mut self) -> NodeId {
        let id = NodeId(self.nodes.len() as u64 + 1);
        self.add_node(id, None);
        id
    }

    /// The operator is answered.
    pub fn operator_answered(&mut self, attempt: u64, answer: Result<Answer, Refusal>) {
        let is_stale = self.operator.open.is_none_or(|(open, _)| open != attempt);
        if is_stale || self.phase != Phase::Faults {
            return;
        }
        self.trace.tell(self.now, || format!("the operator is told {answer:?}"));
        self.operator.open = None;
        let has_joined = match answer {
            Ok(_) | Err(Refusal::Change(ChangeRefused::AlreadyMember(_) | ChangeRefused::WasRemoved(_))) => true,
            Err(Refusal::NotLeader { leader, .. }) => {
                self.operator.target = leader;
                if leader.is_some() {
                    self.change_now();
                }
                return;
            }
            Err(Refusal::Change(_)) => {
                self.coverage.sometimes("a membership change was refused");
                false
            }
            Err(_) => {
                self.operator.target = None;
                false
            }
        };
        if has_joined {
            self.operator.joining.pop_front();
        }
    }
}

fn add_learner(node: NodeId, learner: Learner) -> MembershipChange {
    let contact = Contact {
        node,
        name: format!("node-{}", node.0),
        client_address: format!("node-{}:7400", node.0),
        peer_address: format!("node-{}:7401", node.0),
        version: 1,
    };
    MembershipChange::AddLearner { contact, learner }
}

fn one_of(rng: &mut impl rand::Rng, nodes: &[NodeId]) -> Option<NodeId> {
    (!nodes.is_empty()).then(|| nodes[rng.random_range(0..nodes.len())])
}
