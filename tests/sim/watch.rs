//! What is measured of a run: who leads when, what is asked for votes, how long commits take.

use std::collections::BTreeMap;

use quorate::ids::{Index, NodeId, Term};
use quorate::raft::{Event, RoleName};

use super::knobs::Micros;

/// Looks on, and decides nothing.
pub struct Watch {
    /// How many nodes are a majority.
    majority: usize,
    /// The term of each node that has told of one.
    terms: BTreeMap<NodeId, Term>,
    /// Who takes itself for the leader, of which term.
    leaders: BTreeMap<NodeId, Term>,
    /// Nobody leads since then.
    without_since: Option<Micros>,
    without: Micros,
    /// How often a term was raised to ask for votes.
    pub elections: u64,
    /// How often a pre-vote was asked for.
    pub pre_votes: u64,
    /// When somebody last began to ask for votes of either kind, for the first time since `forget_asked`.
    pub asked_at: Option<Micros>,
    /// Of entries that are not committed: when their leader proposed them.
    proposed: BTreeMap<Index, Micros>,
    /// How long commits took, from the proposal to the leader's own knowledge. The first is the oldest.
    pub commits: Vec<Micros>,
}

impl Watch {
    /// Nothing has happened yet, between so many nodes.
    pub fn new(nodes: usize) -> Self {
        Self {
            majority: nodes / 2 + 1,
            terms: BTreeMap::new(),
            leaders: BTreeMap::new(),
            without_since: Some(0),
            without: 0,
            elections: 0,
            pre_votes: 0,
            asked_at: None,
            proposed: BTreeMap::new(),
            commits: Vec::new(),
        }
    }

    /// A node tells something.
    pub fn on_told(&mut self, now: Micros, node: NodeId, event: &Event) {
        match event {
            Event::RoleChanged { role, term, .. } => {
                self.elections += u64::from(*role == RoleName::Candidate);
                self.pre_votes += u64::from(*role == RoleName::PreCandidate);
                self.terms.insert(node, *term);
                self.leaders.remove(&node);
                if *role == RoleName::Leader {
                    self.leaders.insert(node, *term);
                    self.proposed.clear();
                }
                self.look(now);
            }
            Event::VoteAsked { .. } => {
                self.asked_at.get_or_insert(now);
            }
            Event::Proposed { first, last } => {
                self.proposed.extend((first.index.0..=last.index.0).map(|index| (Index(index), now)));
            }
            Event::Committed { index } if self.leaders.contains_key(&node) => {
                let committed = self.proposed.extract_if(..=*index, |_, _| true);
                self.commits.extend(committed.map(|(_, at)| now - at));
            }
            _ => {}
        }
    }

    /// The process of a node has ended.
    pub fn on_ended(&mut self, now: Micros, node: NodeId) {
        self.leaders.remove(&node);
        self.look(now);
    }

    /// Somebody leads, and no majority is in a later term: it can commit.
    pub fn has_leader(&self) -> bool {
        let is_overtaken = |term: &Term| self.terms.values().filter(|other| *other > term).count() >= self.majority;
        self.leaders.values().any(|term| !is_overtaken(term))
    }

    /// How long nobody has led so far.
    pub fn without(&self, now: Micros) -> Micros {
        self.without + self.without_since.map_or(0, |since| now - since)
    }

    fn look(&mut self, now: Micros) {
        if !self.has_leader() {
            self.without_since.get_or_insert(now);
        } else if let Some(since) = self.without_since.take() {
            self.without += now - since;
        }
    }
}
