//! Reads of clients: answered from the state machine, beside the log.
//!
//! ```text
//!    Leader, AnyNode    came --> asked --> confirmed --> shown        as soon as the log is applied up to the read index
//!    Stale              came ----------------------> shown            at once
//! ```
//!
//! What came in one turn is asked for together.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::replica::Replica;
use super::{Answer, Consistency, Effect, Read, Refusal, RequestId, Shown, Told};
use crate::ids::{Index, Time};
use crate::raft::{Fresh, NoLeader, ReadBatch};

/// Moments that are kept until what was committed then is applied. When there are more, the last gives way to the next one.
const MOMENTS_MAX: usize = 64;

/// Reads that wait.
#[derive(Debug, Default)]
pub(super) struct Reads {
    waiting: BTreeMap<RequestId, Waiting>,
    /// Where each of them stands.
    came: Vec<RequestId>,
    asked: BTreeMap<ReadBatch, Vec<RequestId>>,
    confirmed: BTreeMap<Index, Vec<RequestId>>,
}

/// A read that came.
#[derive(Debug)]
struct Waiting {
    /// None: nobody waits for it any more. It still counts until its turn comes, so that all of this is bounded.
    read: Option<Read>,
    since: Time,
}

impl Reads {
    fn wait(&mut self, request: RequestId, read: Read, since: Time) {
        self.waiting.insert(request, Waiting { read: Some(read), since });
    }

    /// Since when the one waits that waits longest: requests are numbered as they come.
    fn oldest(&self) -> Option<Time> {
        self.waiting.values().find(|waiting| waiting.read.is_some()).map(|waiting| waiting.since)
    }

    /// Forgets those that have waited for `patience`, all of them in one go: there can be as many as there may be requests.
    fn forget_late(&mut self, now: Time, patience: Duration) -> Vec<RequestId> {
        let late = |waiting: &mut Waiting| now - waiting.since >= patience && waiting.read.take().is_some();
        self.waiting.iter_mut().filter_map(|(request, waiting)| late(waiting).then_some(*request)).collect()
    }

    /// How many wait, or would if they had not been forgotten.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Nobody waits for this one any more.
    pub(super) fn forget(&mut self, request: RequestId) {
        if let Some(waiting) = self.waiting.get_mut(&request) {
            waiting.read = None;
        }
    }

    /// These may be shown once the log is applied up to `index`.
    pub(super) fn on_confirmed(&mut self, batch: ReadBatch, index: Index) {
        let requests = self.take(batch);
        self.confirmed.entry(index).or_default().extend(requests);
    }

    /// Nobody can say what these must show.
    pub(super) fn take(&mut self, batch: ReadBatch) -> Vec<RequestId> {
        self.asked.remove(&batch).unwrap_or_default()
    }

    /// The next ones that a log applied up to `applied` can show.
    fn pop_ready(&mut self, applied: Index) -> Option<Vec<(RequestId, Read)>> {
        let first = self.confirmed.first_entry().filter(|first| *first.key() <= applied)?;
        let requests = first.remove();
        Some(requests.into_iter().filter_map(|request| Some((request, self.waiting.remove(&request)?.read?))).collect())
    }
}

/// How old the state of this replica is.
#[derive(Debug, Default)]
pub(super) struct Age {
    /// In the order of time.
    moments: VecDeque<Fresh>,
    /// Everything that was committed then is applied.
    as_of: Option<Time>,
}

impl Age {
    /// Takes note of what is known of how much was committed when.
    fn look(&mut self, fresh: Option<Fresh>, applied: Index) {
        let is_news = |fresh: &Fresh| self.moments.back().is_none_or(|last| last.at < fresh.at);
        if let Some(fresh) = fresh.filter(is_news) {
            self.moments.truncate(MOMENTS_MAX - 1);
            self.moments.push_back(fresh);
        }
        while let Some(moment) = self.moments.pop_front_if(|moment| moment.index <= applied) {
            self.as_of = self.as_of.max(Some(moment.at));
        }
    }
}

impl Replica {
    /// Takes a read: to be shown at the end of this turn, or to wait.
    pub(super) fn receive_read(&mut self, now: Time, request: RequestId, read: Read) {
        if self.raft.quarantined().is_some() {
            self.answer(request, Err(Refusal::Quarantined));
        } else if self.has_too_many_requests() {
            self.answer(request, Err(Refusal::Overloaded));
        } else if read.consistency == Consistency::Stale {
            self.reads.wait(request, read, now);
            self.reads.confirmed.entry(Index(0)).or_default().push(request);
        } else {
            self.reads.wait(request, read, now);
            self.reads.came.push(request);
        }
    }

    /// Asks what the reads of this turn must show.
    pub(super) fn ask_read_index(&mut self, now: Time) {
        let leads = self.raft.is_leader();
        let is_for_leader = |request: &RequestId| {
            let read = self.reads.waiting.get(request).and_then(|waiting| waiting.read.as_ref());
            read.is_some_and(|read| read.consistency == Consistency::Leader)
        };
        let came = std::mem::take(&mut self.reads.came);
        let (refused, asked): (Vec<RequestId>, Vec<RequestId>) =
            came.into_iter().partition(|request| !leads && is_for_leader(request));
        self.refuse_reads(refused);
        if asked.is_empty() {
            return;
        }
        match self.raft.read_index(now) {
            Ok(batch) => drop(self.reads.asked.insert(batch, asked)),
            Err(NoLeader) => self.refuse_reads(asked),
        }
    }

    pub(super) fn refuse_reads(&mut self, requests: Vec<RequestId>) {
        for request in requests {
            if self.reads.waiting.remove(&request).is_some_and(|waiting| waiting.read.is_some()) {
                let refusal = self.refusal().unwrap_or_else(|| self.not_leader());
                self.answer(request, Err(refusal));
            }
        }
    }

    /// Answers the reads that what is applied can show.
    pub(super) fn answer_reads(&mut self, now: Time) {
        self.age.look(self.raft.fresh(now), self.applied);
        while let Some(ready) = self.reads.pop_ready(self.applied) {
            ready.into_iter().for_each(|(request, read)| self.show(now, request, read));
        }
        self.refuse_late_reads(now);
        // Without a leader there is no telling when the rest of the log will come, if ever.
        if self.raft.leader().is_none() && self.reads.len() > 0 {
            let waiting = self.reads.waiting.keys().copied().collect();
            self.refuse_reads(waiting);
            self.reads = Reads::default();
        }
    }

    /// A member that hears its leader may get no entries from it, as a link can be broken in one direction: who waits here had
    /// better ask the leader. That one is never late: it knows within an election timeout whether it still leads.
    fn refuse_late_reads(&mut self, now: Time) {
        if self.reads_are_late_at().is_none_or(|at| now < at) {
            return;
        }
        for request in self.reads.forget_late(now, self.read_patience()) {
            let refusal = self.not_leader();
            self.answer(request, Err(refusal));
        }
    }

    /// When the oldest read will have waited for too long; none: it may wait, or there is none.
    pub(super) fn reads_are_late_at(&self) -> Option<Time> {
        self.reads.oldest().filter(|_| !self.raft.is_leader()).map(|since| since + self.read_patience())
    }

    fn read_patience(&self) -> Duration {
        2 * self.raft.patience()
    }

    fn show(&mut self, now: Time, request: RequestId, Read { operations, consistency, is_own }: Read) {
        let outcomes = match self.machine.query(&operations) {
            Ok(outcomes) => outcomes,
            Err(refusal) => return self.answer(request, Err(Refusal::Refused(refusal))),
        };
        let is_stale = consistency == Consistency::Stale;
        let age = self.age.as_of.filter(|_| is_stale).map(|as_of| now - as_of);
        let (index, commit) = (self.applied, self.raft.commit());
        if !is_own {
            self.effects.push(Effect::Tell(Told::Shown { index, operations: operations.len() }));
        }
        let shown = Shown { index, commit, age, outcomes, bodies: Vec::new() };
        self.resolve_bodies(now, request, Answer::Shown(shown));
    }
}
