//! Watches a cluster and compares what it sees with what the paper claims (figure 3) and what the core promises.
//!
//! It works on whole logs and counts by hand: slow, plain, and nothing of it is taken from the core.

use std::collections::BTreeMap;

use quorate::ids::{EntryId, Index, NodeId, Term, Time};
use quorate::raft::{
    AppendReply, Body, CommitQuorum, Configuration, Entry, Fresh, HardState, Message, Payload, Raft, ReadBatch,
    RoleName,
};

use crate::cluster::{Envelope, Node, configuration_of, configurations};
use crate::print;

/// What must hold at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    ElectionSafety,
    LeaderAppendOnly,
    LogMatching,
    LeaderCompleteness,
    StateMachineSafety,
    /// What is told is durable: term, vote, and what is acknowledged.
    Durability,
    /// What is committed is on the disks of a commit quorum.
    CommitQuorum,
    /// Terms, votes and commit indexes do not go back.
    Monotony,
    /// What the core tells of its log and its configuration is so.
    Honesty,
    /// A read index is no less than what was committed when the read came, and no less was committed at a moment than is said.
    Freshness,
    /// Without failures there is a leader again, and all members get all entries.
    Liveness,
    /// A snapshot takes the place of a log that lacks its end and has less committed, and of no other.
    SnapshotUse,
    /// The core does not stop, by an assertion or in quarantine.
    Soundness,
}

/// A claim that does not hold.
#[derive(Debug)]
pub struct Violation {
    pub claim: Claim,
    pub what: String,
}

/// All that was ever seen.
#[derive(Default)]
pub struct Witness {
    pub leaders: BTreeMap<Term, NodeId>,
    /// The committed entries, and the term of the leader that committed each.
    pub committed: Vec<(Entry, Term)>,
    /// When each of them was first seen to be.
    committed_at: Vec<Time>,
    /// How much was committed when these reads came, which have not ended.
    pub reads: BTreeMap<(NodeId, ReadBatch), usize>,
    /// Reads that were confirmed.
    pub confirmed: usize,
    /// How often a node cut its log.
    pub truncations: usize,
    /// How often a snapshot took the place of a log.
    pub installs: usize,
    /// The log with which the leader of a term began.
    elected_with: BTreeMap<Term, Vec<EntryId>>,
    /// Every entry that was ever in a log, with the one before it.
    entries: BTreeMap<EntryId, (EntryId, Payload)>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
    terms: BTreeMap<NodeId, Term>,
    views: BTreeMap<NodeId, View>,
}

/// What a node looked like when it was last seen.
struct View {
    role: RoleName,
    term: Term,
    commit: Index,
    log: Vec<Entry>,
    version: u64,
}

fn check(claim: Claim, holds: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { claim, what: what() }) }
}

impl Witness {
    /// Looks at a node after a step, and at what it has sent in it.
    pub fn look(
        &mut self,
        now: Time,
        id: NodeId,
        sent: &[Envelope],
        nodes: &BTreeMap<NodeId, Node>,
    ) -> Result<(), Violation> {
        let node = &nodes[&id];
        for Envelope { to, message, .. } in sent {
            self.look_at_message(id, *to, message, node)?;
        }
        self.look_at_disk(id, node.disk.hard_state)?;
        let Some(raft) = &node.raft else {
            self.views.remove(&id);
            self.reads.retain(|(reader, _), _| *reader != id);
            return Ok(());
        };
        check(Claim::Soundness, raft.quarantined().is_none(), || {
            format!("{} is quarantined: {}", id.0, raft.quarantined().unwrap_or_default())
        })?;
        let before = self.views.remove(&id);
        let led_before = before.as_ref().filter(|before| before.role == RoleName::Leader).map(|before| before.term);
        let commit_before = before.as_ref().map_or(Index(0), |before| before.commit);
        let log = self.look_at_log(id, before, raft, node)?;
        let view = View { role: raft.role(), term: raft.term(), commit: raft.commit(), log, version: node.version };
        if view.role == RoleName::Leader && led_before != Some(view.term) {
            self.look_at_new_leader(id, &view)?;
        }
        check(Claim::Monotony, commit_before <= view.commit, || {
            format!("the commit index of {} went from {commit_before} to {}", id.0, view.commit)
        })?;
        let in_snapshot = node.disk.snapshot_last().index;
        check(Claim::Honesty, in_snapshot <= view.commit, || {
            format!("{} has a snapshot up to {in_snapshot} and says that {} is committed", id.0, view.commit)
        })?;
        let has_led = view.role == RoleName::Leader || led_before.is_some();
        for place in commit_before.0..view.commit.0 {
            self.look_at_commit(id, has_led, place as usize, &view, nodes)?;
            self.committed_at.resize(self.committed.len(), now);
        }
        self.look_at_freshness(now, id, raft)?;
        self.views.insert(id, view);
        Ok(())
    }

    /// The core is about to let a snapshot up to `last` take the place of the log of its node.
    pub fn look_at_install(&mut self, id: NodeId, last: EntryId, node: &Node) -> Result<(), Violation> {
        self.installs += 1;
        let commit = self.views.get(&id).map_or(Index(0), |view| view.commit);
        check(Claim::SnapshotUse, commit < last.index && !is_in(&node.log, last), || {
            format!("{} has {}, commit {commit}, and discards that for {last}", id.0, print::entries(&node.log))
        })
    }

    /// A node asks what a read that comes now must show.
    pub fn asked(&mut self, id: NodeId, batch: ReadBatch) {
        self.reads.insert((id, batch), self.committed.len());
    }

    /// It is told, or that nobody can say.
    pub fn read_ended(&mut self, id: NodeId, batch: ReadBatch, index: Option<Index>) -> Result<(), Violation> {
        let committed = self.reads.remove(&(id, batch));
        let text = || format!("read {} of {} ends with {index:?}, committed was {committed:?}", batch.0, id.0);
        check(Claim::Soundness, committed.is_some(), text)?;
        self.confirmed += usize::from(index.is_some());
        let is_fresh = |index: Index| committed.is_some_and(|committed| index.0 as usize >= committed);
        check(Claim::Freshness, index.is_none_or(is_fresh), text)
    }

    fn look_at_freshness(&self, now: Time, id: NodeId, raft: &Raft) -> Result<(), Violation> {
        let Some(Fresh { at, index }) = raft.fresh(now) else { return Ok(()) };
        let committed = self.committed_at.partition_point(|committed_at| *committed_at < at);
        check(Claim::Freshness, index.0 as usize >= committed && at <= now, || {
            format!("{} says that {index} was all at {at:?}, and it was {committed}", id.0)
        })
    }

    /// Looks at a log, if it has changed, and returns it.
    fn look_at_log(
        &mut self,
        id: NodeId,
        before: Option<View>,
        raft: &Raft,
        node: &Node,
    ) -> Result<Vec<Entry>, Violation> {
        match before {
            Some(before) if before.version == node.version => return Ok(before.log),
            Some(before) => {
                let leads = (before.role, before.term) == (RoleName::Leader, raft.term());
                let keeps = node.log.starts_with(&before.log);
                check(Claim::LeaderAppendOnly, keeps || !leads || raft.role() != RoleName::Leader, || {
                    format!("leader {} had {}, has {}", id.0, print::entries(&before.log), print::entries(&node.log))
                })?;
                self.truncations += usize::from(!keeps);
                self.look_at_entries(id, &before.log, &node.log)?;
            }
            None => self.look_at_entries(id, &[], &node.log)?,
        }
        is_honest(id, raft, node)?;
        Ok(node.log.clone())
    }

    /// Two entries with the same index and term are the same, and so is everything before them.
    fn look_at_entries(&mut self, id: NodeId, before: &[Entry], log: &[Entry]) -> Result<(), Violation> {
        let kept = before.iter().zip(log).take_while(|(left, right)| left == right).count();
        let mut previous = kept.checked_sub(1).map_or(EntryId::default(), |last| log[last].id);
        for entry in &log[kept..] {
            let known = self.entries.entry(entry.id).or_insert_with(|| (previous, entry.payload.clone()));
            check(Claim::LogMatching, known.0 == previous && known.1 == entry.payload, || {
                format!("{} has {entry:?} after {previous}, elsewhere it is {known:?}", id.0)
            })?;
            previous = entry.id;
        }
        Ok(())
    }

    fn look_at_new_leader(&mut self, id: NodeId, view: &View) -> Result<(), Violation> {
        let leader = *self.leaders.entry(view.term).or_insert(id);
        check(Claim::ElectionSafety, leader == id, || {
            format!("both {} and {} lead term {}", leader.0, id.0, view.term)
        })?;
        self.elected_with.insert(view.term, view.log.iter().map(|entry| entry.id).collect());
        (0..self.committed.len()).try_for_each(|place| self.complete(view.term, place))
    }

    /// The leader of a term has what was committed in earlier terms.
    fn complete(&self, term: Term, place: usize) -> Result<(), Violation> {
        let (entry, committed_in) = &self.committed[place];
        let holds = term <= *committed_in || self.elected_with[&term].get(place) == Some(&entry.id);
        check(Claim::LeaderCompleteness, holds, || {
            format!("the leader of term {term} lacks {}, committed in term {committed_in}", entry.id)
        })
    }

    fn look_at_commit(
        &mut self,
        id: NodeId,
        has_led: bool,
        place: usize,
        view: &View,
        nodes: &BTreeMap<NodeId, Node>,
    ) -> Result<(), Violation> {
        let entry = &view.log[place];
        if let Some((known, _)) = self.committed.get(place) {
            return check(Claim::StateMachineSafety, known == entry, || {
                format!("{} commits {}, where {} is committed", id.0, entry.id, known.id)
            });
        }
        check(Claim::CommitQuorum, has_led, || format!("{} commits {} and no leader has", id.0, entry.id))?;
        let configuration = configurations(&view.log).pop().map(|(_, it)| it).unwrap_or(Configuration::EMPTY);
        check(Claim::CommitQuorum, is_on_commit_quorum(entry.id, &configuration, nodes), || {
            format!("{} commits {} too early for {}", id.0, entry.id, print::configuration(&configuration))
        })?;
        self.committed.push((entry.clone(), view.term));
        let later: Vec<Term> = self.elected_with.range(view.term.next()..).map(|(term, _)| *term).collect();
        later.into_iter().try_for_each(|term| self.complete(term, place))
    }

    /// What is on disk of term and vote never goes back, over restarts too.
    fn look_at_disk(&mut self, id: NodeId, state: HardState) -> Result<(), Violation> {
        let term = self.terms.entry(id).or_default();
        check(Claim::Monotony, *term <= state.term, || {
            format!("the term of {} went from {term} to {}", id.0, state.term)
        })?;
        *term = state.term;
        let Some(vote) = state.vote else { return Ok(()) };
        let known = *self.votes.entry((id, state.term)).or_insert(vote);
        check(Claim::Monotony, known == vote, || {
            format!("{} voted for {} and {} in term {term}", id.0, known.0, vote.0)
        })
    }

    /// At the moment when a message leaves, what it promises is on the sender's disk.
    fn look_at_message(&mut self, from: NodeId, to: NodeId, message: &Message, node: &Node) -> Result<(), Violation> {
        let Message { term, body } = message;
        let on_disk = node.disk.hard_state;
        let has_voted_for = |candidate| on_disk.term > *term || on_disk.vote == Some(candidate);
        let has = |id: &EntryId| on_disk.term > *term || is_in(&node.disk.log, *id);
        let holds = match body {
            // In these the term is a question.
            Body::PreVote { .. } | Body::PreVoteReply { refusal: None } => true,
            _ if *term > on_disk.term => false,
            Body::RequestVote { .. } => has_voted_for(from),
            Body::RequestVoteReply { refusal: None } => {
                let vote = *self.votes.entry((from, *term)).or_insert(to);
                vote == to && has_voted_for(to)
            }
            Body::AppendReply(AppendReply::Accepted(id)) => *id == EntryId::default() || has(id),
            Body::InstallSnapshot { last } => {
                let is_committed = last.index.0.checked_sub(1).and_then(|place| self.committed.get(place as usize));
                *last <= node.disk.snapshot_last() && is_committed.is_some_and(|(entry, _)| entry.id == *last)
            }
            Body::Removed { index } => self.left_out(to, *index),
            _ => true,
        };
        check(Claim::Durability, holds, || {
            let message = print::message(message);
            format!(
                "{} sends {} {message}, but has on disk {on_disk:?} and {}",
                from.0,
                to.0,
                print::entries(&node.disk.log)
            )
        })
    }

    /// True when the committed configuration at `index` does not have `node`.
    fn left_out(&self, node: NodeId, index: Index) -> bool {
        let entry = index.0.checked_sub(1).and_then(|place| self.committed.get(place as usize));
        // The leader that commits it tells so in the same step, and is looked at afterwards.
        entry.is_none_or(|(entry, _)| configuration_of(entry).is_some_and(|it| !it.is_member(node)))
    }
}

/// What the core says of itself agrees with the log that it has had written.
fn is_honest(id: NodeId, raft: &Raft, node: &Node) -> Result<(), Violation> {
    let last = node.log.last().map_or(EntryId::default(), |entry| entry.id);
    let knows = |id: EntryId| (id.index >= node.start.index).then_some(id.term);
    let has_terms = node.log.iter().all(|entry| raft.term_at(entry.id.index) == knows(entry.id));
    check(Claim::Honesty, raft.last() == last && has_terms, || {
        format!("{} says that its last entry is {}, and it is {last}", id.0, raft.last())
    })?;
    check(Claim::Honesty, raft.log_start() == node.start, || {
        format!("{} says that its log begins after {}, and that is {}", id.0, raft.log_start(), node.start)
    })?;
    let snapshot = node.disk.snapshot_last();
    let knows_snapshot = raft.snapshot() == snapshot || (raft.snapshot() < snapshot && !node.taken.is_empty());
    check(Claim::Honesty, knows_snapshot, || {
        format!("{} says that its snapshot is {}, and it is {snapshot}", id.0, raft.snapshot())
    })?;
    let (index, configuration) = configurations(&node.log).pop().unwrap_or((Index(0), Configuration::EMPTY));
    let is_in_force = *raft.configuration() == configuration && raft.configuration_index() == index;
    check(Claim::Honesty, is_in_force, || format!("{} is not under {index}", id.0))?;
    let durable = raft.durable().0 as usize;
    let is_durable = node.log.get(..durable).is_some_and(|log| node.disk.log.starts_with(log));
    check(Claim::Durability, is_durable, || format!("{} says that it has {durable} entries durable", id.0))
}

fn is_in(log: &[Entry], id: EntryId) -> bool {
    id.index.0.checked_sub(1).is_some_and(|place| log.get(place as usize).is_some_and(|entry| entry.id == id))
}

fn is_on_commit_quorum(id: EntryId, configuration: &Configuration, nodes: &BTreeMap<NodeId, Node>) -> bool {
    let has = |voter: &&NodeId| is_in(&nodes[voter].disk.log, id);
    [&configuration.voters, &configuration.voters_outgoing].into_iter().filter(|half| !half.is_empty()).all(|half| {
        let count = half.iter().filter(has).count();
        match configuration.commit_quorum {
            CommitQuorum::Majority => 2 * count > half.len(),
            CommitQuorum::HalfPlusOne => count == half.len() || 2 * count >= half.len() + 2,
        }
    })
}
