//! ReadIndex: reads that write nothing to the log (dissertation, section 6.4).
//!
//! ```text
//!    on the leader     read_index -> waiting -> tick: a round of heartbeats -> a majority answers it -> ReadConfirmed
//!    elsewhere         read_index -> ReadIndex -> waiting on the leader ... -> ReadIndexReply -> ReadConfirmed
//! ```
//!
//! - What came since the last tick shares a round, and a round begins after all reads that it is to confirm: an answer to an
//!   earlier one says nothing of who leads now.
//! - A majority is enough, whatever the commit quorum: nobody else can have been elected without one of those who answer.
//! - A leader does not know what is committed before an entry of its own term is; reads wait for that.
//! - A member that does not lead asks under a context that is used once. When no answer comes it asks under another.
//! - When the role or the leader changes, all that is open is refused.

use std::collections::VecDeque;
use std::time::Duration;

use super::core::{Raft, Role};
use super::progress::Progress;
use super::{Body, Effect, Event, ReadContext};
use crate::ids::{EntryId, Index, NodeId, Time};

/// Reads that may wait on a leader. One more of another member is refused; those of the leader itself are bounded by whoever
/// asks for them.
const WAITING_MAX: usize = 4096;

/// Names reads that were asked for together, as long as this member runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadBatch(pub u64);

/// No leader is known: there is nobody to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoLeader;

/// Whose reads they are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reader {
    Own(ReadBatch),
    Member { node: NodeId, context: ReadContext },
}

/// Reads that a leader has to confirm.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// The latest one that has begun.
    round: u64,
    /// In the order of their rounds.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    reader: Reader,
    /// The first round that confirms it.
    round: u64,
    /// None: nothing of the leader's own term was committed yet.
    index: Option<Index>,
}

impl Reads {
    /// Some wait for a round that has not begun.
    pub(super) fn want_round(&self) -> bool {
        self.waiting.back().is_some_and(|last| last.round > self.round)
    }

    /// Begins a round for the reads that came since the last one, if any did. Heartbeats must follow.
    pub(super) fn begin_round(&mut self) -> bool {
        let begins = self.want_round();
        self.round += u64::from(begins);
        begins
    }

    fn push(&mut self, reader: Reader, index: Option<Index>) {
        self.waiting.push_back(Waiting { reader, round: self.round + 1, index });
    }

    fn give_index(&mut self, commit: Index) {
        // Either all have one, or none has.
        for read in self.waiting.iter_mut().take_while(|read| read.index.is_none()) {
            read.index = Some(commit);
        }
    }

    /// The next one, if `round` confirms it and it has its index.
    fn pop_confirmed(&mut self, round: u64) -> Option<(Reader, Index)> {
        let front = self.waiting.front().filter(|front| front.round <= round)?;
        let confirmed = (front.reader, front.index?);
        self.waiting.pop_front();
        Some(confirmed)
    }
}

/// What a follower has asked its leader.
#[derive(Debug)]
pub(super) struct Question {
    context: ReadContext,
    asked_at: Time,
    batches: Vec<ReadBatch>,
}

impl Raft {
    /// Asks up to which index the log must be applied, for reads that have come by now. One `ReadConfirmed` or `ReadRefused`
    /// follows.
    ///
    /// # Errors
    /// This member neither leads nor knows a leader.
    pub fn read_index(&mut self, now: Time) -> Result<ReadBatch, NoLeader> {
        if self.leader().is_none() {
            return Err(NoLeader);
        }
        self.last_batch.0 += 1;
        let batch = self.last_batch;
        if self.is_leader() {
            self.await_round(Reader::Own(batch));
        } else {
            self.ask_leader(now, vec![batch]);
        }
        Ok(batch)
    }

    fn await_round(&mut self, reader: Reader) {
        let index = self.has_committed_in_term().then(|| self.commit());
        if let Role::Leader(leader) = &mut self.role {
            leader.reads.push(reader, index);
        }
    }

    fn ask_leader(&mut self, now: Time, batches: Vec<ReadBatch>) {
        let context = self.next_context();
        let Role::Follower(follower) = &mut self.role else { return };
        let Some((leader, _)) = follower.leader else { return };
        follower.questions.push(Question { context, asked_at: now, batches });
        self.send(leader, Body::ReadIndex { context });
    }

    /// Starting where the seed says, contexts of two processes of one node have next to no chance to meet.
    fn next_context(&mut self) -> ReadContext {
        self.last_context.0 = self.last_context.0.wrapping_add(1);
        self.last_context
    }

    /// Asks anew what was not answered in time, all of it at once.
    pub(super) fn ask_again(&mut self, now: Time) {
        let patience = self.read_patience();
        let Role::Follower(follower) = &mut self.role else { return };
        let is_late = |question: &Question| now - question.asked_at >= patience;
        if !follower.questions.first().is_some_and(is_late) {
            return;
        }
        let late = follower.questions.extract_if(.., |question| is_late(question));
        let batches = late.flat_map(|question| question.batches).collect();
        self.tell(Event::ReadIndexAskedAgain);
        self.ask_leader(now, batches);
    }

    /// When `ask_again` has something to do.
    pub(super) fn ask_again_at(&self) -> Option<Time> {
        let Role::Follower(follower) = &self.role else { return None };
        follower.questions.first().map(|oldest| oldest.asked_at + self.read_patience())
    }

    /// By then a leader that lives has answered, unless a message was lost.
    fn read_patience(&self) -> Duration {
        self.timeouts().election_min
    }

    /// Another member asks. Only a leader can tell, and only to its members.
    pub(super) fn on_read_index(&mut self, node: NodeId, context: ReadContext) {
        let reader = Reader::Member { node, context };
        match &self.role {
            Role::Leader(leader) if leader.progress.contains_key(&node) && leader.reads.waiting.len() < WAITING_MAX => {
                self.await_round(reader);
            }
            _ => self.answer_reader(reader, None),
        }
    }

    /// The leader has answered. Only an answer to a question that is still open counts.
    pub(super) fn on_read_index_reply(&mut self, from: NodeId, context: ReadContext, at: Option<EntryId>) {
        let open = match &mut self.role {
            Role::Follower(follower) if follower.leader.is_some_and(|(leader, _)| leader == from) => {
                let place = follower.questions.iter().position(|question| question.context == context);
                place.map(|place| follower.questions.remove(place))
            }
            _ => None,
        };
        let Some(question) = open else {
            return self.tell(Event::Ignored { from, why: "it answers a read that is no longer asked for" });
        };
        // Whoever has an entry of the leader has all before it (paper, section 5.3). Otherwise the commit index comes with the
        // next heartbeat.
        if let Some(at) = at.filter(|at| self.log.has(*at)) {
            self.commit_to(at.index);
        }
        for batch in question.batches {
            self.answer_reader(Reader::Own(batch), at.map(|at| at.index));
        }
    }

    /// The latest round that heartbeats carry.
    pub(super) fn read_round(&self) -> u64 {
        if let Role::Leader(leader) = &self.role { leader.reads.round } else { 0 }
    }

    /// An entry of the leader's own term is committed: reads that wait for that get their index.
    pub(super) fn give_reads_index(&mut self) {
        let commit = self.commit();
        if let Role::Leader(leader) = &mut self.role {
            leader.reads.give_index(commit);
        }
        self.confirm_reads();
    }

    /// Answers the reads whose round a majority has answered, in order.
    pub(super) fn confirm_reads(&mut self) {
        let answered = |node: NodeId| {
            if node == self.id { self.read_round() } else { self.progress(node).map_or(0, Progress::read_round) }
        };
        let round = self.configuration().reached_by_majority(answered);
        while let Role::Leader(leader) = &mut self.role
            && let Some((reader, index)) = leader.reads.pop_confirmed(round)
        {
            self.answer_reader(reader, Some(index));
        }
    }

    /// Refuses what is open in a role that has ended.
    pub(super) fn refuse_reads(&mut self, ended: Role) {
        let readers: Vec<Reader> = match ended {
            Role::Leader(leader) => leader.reads.waiting.into_iter().map(|waiting| waiting.reader).collect(),
            Role::Follower(follower) => {
                let batches = follower.questions.into_iter().flat_map(|question| question.batches);
                batches.map(Reader::Own).collect()
            }
            Role::PreCandidate(_) | Role::Candidate(_) => Vec::new(),
        };
        readers.into_iter().for_each(|reader| self.answer_reader(reader, None));
    }

    fn answer_reader(&mut self, reader: Reader, index: Option<Index>) {
        match (reader, index) {
            (Reader::Own(batch), Some(index)) => self.effects.push(Effect::ReadConfirmed { batch, index }),
            (Reader::Own(batch), None) => self.effects.push(Effect::ReadRefused { batch }),
            (Reader::Member { node, context }, index) => {
                // The log can have been compacted meanwhile. A later entry that is committed shows all that it must show.
                let start = self.log.start().index;
                let at = index.map(|index| self.id_at(index.max(start)));
                self.send(node, Body::ReadIndexReply { context, at });
            }
        }
    }
}
