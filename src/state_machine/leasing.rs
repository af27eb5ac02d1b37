//! Operations on messages that are given out for a time: lease, settle, extend, redrive. Part of a transaction.

use std::time::Duration;

use super::queue::{Change, dead};
use super::stored::{State, Stored};
use super::transaction::Transaction;
use super::{Counts, DeadReason, LeaseId, LeaseToken, Outcome, QueueName, Refusal, Settlement};
use crate::ids::Timestamp;

impl<'a> Transaction<'a> {
    /// Ends early where the answer is full, but an empty answer always means an empty queue.
    pub(super) fn lease(
        &mut self,
        queue: &'a QueueName,
        item: u32,
        limit: u32,
        duration: Duration,
    ) -> Result<Outcome, Refusal> {
        let lease = LeaseId { index: self.context.index, item };
        let until = self.lease_end(queue, duration);
        let mut messages = Vec::new();
        for _ in 0..limit {
            let Some(ready) = self.queues.first(queue) else { break };
            match self.room.take(ready.message.bytes()) {
                Err(full) if messages.is_empty() => return Err(full),
                Err(_) => break,
                Ok(()) => {}
            }
            let (from, counts) = ((ready.kind(), ready.place()), redelivery(&ready));
            let leased = Stored { state: State::Leased { lease, until }, ..ready.delivered() };
            messages.push(leased.given());
            self.change(queue, Change { from: Some(from), to: Some(leased), counts });
        }
        Ok(Outcome::Leased { lease, messages })
    }

    pub(super) fn settle(
        &mut self,
        queue: &'a QueueName,
        settlements: &[(LeaseToken, Settlement)],
        all_or_none: bool,
    ) -> Result<Outcome, Refusal> {
        let mut done = Vec::with_capacity(settlements.len());
        for (token, settlement) in settlements {
            let is_done = self.settle_one(queue, *token, settlement);
            if all_or_none && !is_done {
                return Err(Refusal::LeaseExpired { queue: queue.clone(), token: *token });
            }
            done.push(is_done);
        }
        Ok(Outcome::Settled(done))
    }

    /// False: the lease has ended.
    fn settle_one(&mut self, queue: &'a QueueName, token: LeaseToken, settlement: &Settlement) -> bool {
        let now = self.context.now;
        let Some(leased) = self.queues.leased(queue, token, now) else { return false };
        let from = Some((leased.kind(), leased.place()));
        let (to, counts) = match settlement {
            Settlement::Ack => (None, Counts { acknowledged: 1, ..Counts::default() }),
            Settlement::Release { delay } => with_some(self.queues.returned(queue, leased, now, *delay)),
            Settlement::Reject { reason } => with_some(dead(leased, now, DeadReason::Rejected(reason.clone()))),
        };
        self.change(queue, Change { from, to, counts });
        true
    }

    pub(super) fn extend_lease(&mut self, queue: &'a QueueName, tokens: &[LeaseToken], duration: Duration) -> Outcome {
        let until = self.lease_end(queue, duration);
        let extended = tokens.iter().map(|token| self.extend_one(queue, *token, until)).collect();
        Outcome::LeaseExtended { until, extended }
    }

    fn extend_one(&mut self, queue: &'a QueueName, token: LeaseToken, until: Timestamp) -> bool {
        let Some(leased) = self.queues.leased(queue, token, self.context.now) else { return false };
        let from = Some((leased.kind(), leased.place()));
        let to = Some(Stored { state: State::Leased { lease: token.lease, until }, ..leased });
        self.change(queue, Change { from, to, ..Change::default() });
        true
    }

    pub(super) fn redrive(&mut self, queue: &'a QueueName, limit: u32) -> Result<Outcome, Refusal> {
        if self.queues.settings(queue).is_none() {
            return Err(Refusal::QueueNotFound(queue.clone()));
        }
        let mut moved = 0;
        while moved < u64::from(limit)
            && let Some(dead) = self.queues.first_dead(queue)
        {
            let from = Some((dead.kind(), dead.place()));
            let to = Some(Stored::new(dead.message, State::Returned));
            self.change(queue, Change { from, to, ..Change::default() });
            moved += 1;
        }
        Ok(Outcome::Redriven(moved))
    }

    /// A queue that does not exist has nothing to lease.
    fn lease_end(&self, queue: &QueueName, duration: Duration) -> Timestamp {
        let default = || self.queues.settings(queue).map_or(Duration::ZERO, |settings| settings.lease_duration);
        self.context.now.after(if duration.is_zero() { default() } else { duration })
    }
}

/// What it counts as to deliver this message.
pub(super) fn redelivery(ready: &Stored) -> Counts {
    Counts { redelivered: u64::from(ready.deliveries > 0), ..Counts::default() }
}

fn with_some((stored, counts): (Stored, Counts)) -> (Option<Stored>, Counts) {
    (Some(stored), counts)
}
