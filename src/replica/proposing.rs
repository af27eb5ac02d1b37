//! What a replica does with requests until they stand in the log.
//!
//! While leadership is being handed over nothing is proposed: requests stay in the batch, and are proposed or refused when that
//! has ended. Each of them counts as one that is being worked on, so that `Options::requests_max` bounds the batch.

use std::time::Duration;

use super::pending::Proposal;
use super::replica::Replica;
use super::waiting::Parked;
use super::{Effect, Execute, Refusal, RequestId, Told};
use crate::ids::{EntryId, Time, Timestamp};
use crate::raft::ProposalRefused;
use crate::state_machine::{Command, QueueName};

/// Writes that the disk has not finished. Beyond this, requests are refused as `Overloaded`: the writer's queue never fills,
/// and a hanging disk does not stop the loop.
const UNFINISHED_WRITES_MAX: usize = 512;

/// Bytes of requests that are being worked on; further requests are refused as `Overloaded`.
const REQUEST_BYTES_MAX: u64 = 256 << 20;

/// Bytes of requests that are proposed, and so written, in one go.
const PROPOSE_BYTES_MAX: u64 = 8 << 20;

/// While the disk writes, requests gather for the next write, but not for longer than this: the others need not wait for a leader
/// whose disk is slower than theirs.
const GATHER_MAX: Duration = Duration::from_millis(2);

/// Requests that are to be proposed together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    proposals: Vec<Proposal>,
    bytes: u64,
    /// They gather since then, because the disk writes.
    gathers_since: Option<Time>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.proposals.is_empty()
    }

    /// When it is proposed at the latest; none: it does not gather.
    pub(super) fn gathered_at(&self) -> Option<Time> {
        self.gathers_since.map(|since| since + GATHER_MAX)
    }

    fn push(&mut self, proposal: Proposal) {
        self.bytes += proposal.bytes();
        self.proposals.push(proposal);
    }

    fn remove(&mut self, request: RequestId) -> Option<Proposal> {
        let place = self.proposals.iter().position(|proposal| proposal.request == request)?;
        let proposal = self.proposals.remove(place);
        self.bytes -= proposal.bytes();
        Some(proposal)
    }
}

impl Replica {
    /// Takes a request: to be proposed in this turn, or to wait.
    pub(super) fn receive(&mut self, now: Time, request: RequestId, execute: Execute) {
        if let Some(refusal) = self.refusal() {
            return self.answer(request, Err(refusal));
        }
        if self.is_overloaded() {
            return self.answer(request, Err(Refusal::Overloaded));
        }
        let parked = Parked { request, deadline: now + execute.wait, execute };
        match awaited(&parked.execute) {
            Some((queue, limit)) if self.must_wait(&queue, &parked.execute) => self.waiting.park(queue, limit, parked),
            _ => self.put_into_batch(parked, None),
        }
    }

    /// True when there is nothing to take, and the request was not decided before, of which a retry is to be told at once.
    fn must_wait(&self, queue: &QueueName, execute: &Execute) -> bool {
        self.machine.ready_in(queue) == 0 && execute.session.is_none_or(|request| self.machine.is_undecided(request))
    }

    fn put_into_batch(&mut self, Parked { request, execute, deadline }: Parked, woken_for: Option<(QueueName, u64)>) {
        self.batch.push(Proposal { request, execute, deadline, woken_for, is_forgotten: false });
    }

    /// The client no longer waits: what is not in the log is dropped, so that it takes no message for nobody.
    pub(super) fn forget(&mut self, request: RequestId) {
        self.waiting.remove(request);
        self.resolving.forget(request);
        self.pending.forget(request);
        self.reads.forget(request);
        if let Some(proposal) = self.batch.remove(request) {
            self.on_decided(&proposal);
        }
    }

    fn is_overloaded(&self) -> bool {
        self.has_too_many_requests()
            || self.pending.bytes() + self.batch.bytes >= REQUEST_BYTES_MAX
            || self.raft.unfinished_writes() >= UNFINISHED_WRITES_MAX
    }

    pub(super) fn has_too_many_requests(&self) -> bool {
        let to_log = self.pending.len() + self.batch.proposals.len() + self.waiting.len();
        to_log + self.reads.len() + self.resolving.len() >= self.options.requests_max
    }

    /// True while this node leads and what comes has to wait: either somebody else will lead soon, or it goes on.
    pub(super) fn hands_over(&self) -> bool {
        self.raft.is_leader() && !self.raft.takes_proposals()
    }

    /// True while what is in the batch is better proposed with what comes next (group commit): a write of its own would begin no
    /// sooner, and each costs a message to every follower and a sync on every node.
    fn gathers(&mut self, now: Time) -> bool {
        let disk_writes = self.raft.is_leader() && self.raft.unfinished_writes() > 0;
        if !disk_writes || self.batch.bytes >= PROPOSE_BYTES_MAX {
            return false;
        }
        let since = *self.batch.gathers_since.get_or_insert(now);
        now - since < GATHER_MAX
    }

    /// Gives what came together its place in the log.
    pub(super) fn propose(&mut self, now: Time, wall: Timestamp) {
        if self.batch.is_empty() || self.hands_over() {
            self.batch.gathers_since = None;
            return;
        }
        if self.gathers(now) {
            return;
        }
        let timestamp = self.log_clock.stamp(now, wall);
        let mut batch = std::mem::take(&mut self.batch).proposals;
        while !batch.is_empty() {
            let rest = batch.split_off(fitting(&batch));
            self.propose_together(now, timestamp, std::mem::replace(&mut batch, rest));
        }
    }

    fn propose_together(&mut self, now: Time, timestamp: Timestamp, batch: Vec<Proposal>) {
        let commands = batch.iter().map(|proposal| proposal.command(timestamp).encode()).collect();
        match self.raft.propose(now, commands) {
            Ok(first) => {
                self.tell_places(first, &batch);
                self.pending.insert(first, batch);
            }
            Err(ProposalRefused::NotLeader | ProposalRefused::HandingOver) => {
                let refusal = self.not_leader();
                for proposal in batch {
                    self.answer(proposal.request, Err(refusal.clone()));
                }
            }
        }
    }

    fn tell_places(&mut self, first: EntryId, batch: &[Proposal]) {
        let indexes = std::iter::successors(Some(first.index), |index| Some(index.next()));
        for (proposal, index) in batch.iter().zip(indexes).filter(|(proposal, _)| proposal.execute.is_followed) {
            let (request, at) = (proposal.request, EntryId::new(first.term, index));
            self.effects.push(Effect::Tell(Told::Placed { request, at, together: batch.len() }));
        }
    }

    /// The leader ends leases, delays and sessions whose time has passed with an entry of its own, one at a time.
    pub(super) fn expire(&mut self, now: Time) {
        if self.expires_in().is_none_or(|time| !time.is_zero()) {
            return;
        }
        let timestamp = self.log_clock.stamp(now, self.wall);
        let command = Command { session: None, timestamp, operations: Vec::new(), expiry: true };
        if let Ok(entry) = self.raft.propose(now, vec![command.encode()]) {
            self.expiry = Some(entry.index);
        }
    }

    /// How long after this turn an expiry entry is to be proposed; none: there is nothing to expire, or one is under
    /// way. By the time of the log, which goes on whatever the clock on the wall says.
    fn expires_in(&self) -> Option<Duration> {
        if self.expiry.is_some() || self.refusal().is_some() || self.hands_over() {
            return None;
        }
        let due = self.machine.next_expiry()?;
        let now = self.log_clock.read(self.turned_at, self.wall);
        Some(Duration::from_millis(due.0.saturating_sub(now.0)))
    }

    /// When the next turn has an expiry entry to propose.
    pub(super) fn expires_at(&self) -> Option<Time> {
        self.expires_in().map(|time| self.turned_at + time)
    }

    /// A request whose time is over is decided by the log as well, empty or not.
    pub(super) fn wake_due(&mut self, now: Time) {
        for parked in self.waiting.due(now) {
            let execute = Execute { wait: Duration::ZERO, ..parked.execute };
            self.put_into_batch(Parked { execute, ..parked }, None);
        }
    }

    /// Another one was faster: wait on, before those that came later. Nothing is decided, so that another leader can be
    /// asked.
    pub(super) fn park_again(&mut self, now: Time, proposal: Proposal) {
        let Proposal { request, execute, deadline, .. } = proposal;
        if let Some(refusal) = self.refusal() {
            return self.answer(request, Err(refusal));
        }
        match awaited(&execute) {
            Some((queue, limit)) if deadline > now => {
                self.waiting.park(queue, limit, Parked { request, execute, deadline });
            }
            _ => {
                let execute = Execute { wait: Duration::ZERO, ..execute };
                self.put_into_batch(Parked { request, execute, deadline }, None);
            }
        }
    }

    pub(super) fn wake(&mut self, queue: &QueueName) {
        let messages = self.machine.ready_in(queue);
        for (parked, limit) in self.waiting.wake(queue, messages) {
            self.put_into_batch(parked, Some((queue.clone(), limit)));
        }
    }
}

/// How many of `batch` are proposed in one go: at least one.
fn fitting(batch: &[Proposal]) -> usize {
    let mut bytes = 0;
    let fits = |proposal: &&Proposal| {
        bytes += proposal.bytes();
        bytes <= PROPOSE_BYTES_MAX
    };
    batch.iter().take_while(fits).count().max(1)
}

/// The queue that a lone operation waits for, if it waits, and how many messages it takes at most.
fn awaited(execute: &Execute) -> Option<(QueueName, u64)> {
    match execute.operations.as_slice() {
        [operation] if !execute.wait.is_zero() => {
            operation.takes_from().map(|(queue, limit)| (queue.clone(), limit.into()))
        }
        _ => None,
    }
}
