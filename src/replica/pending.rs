//! Requests that stand in the log and wait for their entry to be applied.

use std::collections::BTreeMap;

use super::{Execute, RequestId};
use crate::ids::{EntryId, Index, Time, Timestamp};
use crate::state_machine::{Command, Operation, QueueName};

/// A request on its way through the log.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) request: RequestId,
    pub(super) execute: Execute,
    /// When a request that waits wants an answer in any case.
    pub(super) deadline: Time,
    /// It waited, and was woken for so many messages of this queue.
    pub(super) woken_for: Option<(QueueName, u64)>,
    /// Nobody waits for the answer any more.
    pub(super) is_forgotten: bool,
}

impl Proposal {
    /// What the log carries for it.
    pub(super) fn command(&self, timestamp: Timestamp) -> Command {
        let is_waiting = !self.execute.wait.is_zero();
        let mut operations = self.execute.operations.clone();
        operations.iter_mut().for_each(|operation| operation.set_waits(is_waiting));
        Command { session: self.execute.session, timestamp, operations, expiry: false }
    }

    /// About how much of memory and log it takes.
    pub(super) fn bytes(&self) -> u64 {
        // Of an operation, and of a lease token in one.
        const OVERHEAD: u64 = 64;
        let bytes = |operation: &Operation| match operation {
            Operation::Enqueue { message, .. } => OVERHEAD + message.bytes() as u64,
            Operation::Settle { settlements, .. } => OVERHEAD * (1 + settlements.len() as u64),
            Operation::ExtendLease { tokens, .. } => OVERHEAD * (1 + tokens.len() as u64),
            _ => OVERHEAD,
        };
        OVERHEAD + self.execute.operations.iter().map(bytes).sum::<u64>()
    }
}

/// Proposed requests by the entry that carries them.
#[derive(Debug, Default)]
pub(super) struct Pending {
    proposals: BTreeMap<Index, (EntryId, Proposal)>,
    places: BTreeMap<RequestId, Index>,
    bytes: u64,
}

impl Pending {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.proposals.len()
    }

    /// How much they take together.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// These stand in the log from `first` on.
    pub(super) fn insert(&mut self, first: EntryId, proposals: Vec<Proposal>) {
        let mut id = first;
        for proposal in proposals {
            self.bytes += proposal.bytes();
            self.places.insert(proposal.request, id.index);
            self.proposals.insert(id.index, (id, proposal));
            id.index = id.index.next();
        }
    }

    /// The request that exactly this entry carries. One whose place was taken by another entry does not match.
    pub(super) fn take(&mut self, id: EntryId) -> Option<Proposal> {
        let (proposed, _) = self.proposals.get(&id.index)?;
        let (_, proposal) = (*proposed == id).then(|| self.proposals.remove(&id.index))??;
        self.places.remove(&proposal.request);
        self.bytes -= proposal.bytes();
        Some(proposal)
    }

    /// Nobody waits for this request any more. It stays in the log.
    pub(super) fn forget(&mut self, request: RequestId) {
        let place = self.places.get(&request);
        if let Some((_, proposal)) = place.and_then(|index| self.proposals.get_mut(index)) {
            proposal.is_forgotten = true;
        }
    }

    /// Takes out those whose entries do not satisfy `keep`, in order.
    pub(super) fn drain_unless(&mut self, keep: impl Fn(EntryId) -> bool) -> Vec<(EntryId, Proposal)> {
        let ids: Vec<EntryId> = self.proposals.values().map(|(id, _)| *id).filter(|id| !keep(*id)).collect();
        ids.into_iter().filter_map(|id| Some((id, self.take(id)?))).collect()
    }
}
