//! Requests that stand in the log and wait for their entry to be applied.

use std::collections::BTreeMap;

use super::{Execute, RequestId};
use crate::ids::{EntryId, Index, Time, Timestamp};
use crate::state_machine::{Command, Operation};

/// A request on its way through the log.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) request: RequestId,
    pub(super) execute: Execute,
    /// When a dequeue that waits wants an answer in any case.
    pub(super) deadline: Time,
}

impl Proposal {
    /// What the log carries for it.
    pub(super) fn command(&self, timestamp: Timestamp) -> Command {
        let is_waiting = !self.execute.wait.is_zero();
        let mut operations = self.execute.operations.clone();
        for operation in &mut operations {
            if let Operation::Dequeue { wait, .. } = operation {
                *wait = is_waiting;
            }
        }
        Command { session: self.execute.session, timestamp, operations, expiry: false }
    }
}

/// Proposed requests by the entry that carries them.
#[derive(Debug, Default)]
pub(super) struct Pending {
    proposals: BTreeMap<Index, (EntryId, Proposal)>,
}

impl Pending {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.proposals.len()
    }

    /// These stand in the log from `first` on.
    pub(super) fn insert(&mut self, first: EntryId, proposals: Vec<Proposal>) {
        let mut id = first;
        for proposal in proposals {
            self.proposals.insert(id.index, (id, proposal));
            id.index = id.index.next();
        }
    }

    /// The request that exactly this entry carries. One whose place was taken by another entry does not match.
    pub(super) fn take(&mut self, id: EntryId) -> Option<Proposal> {
        let (proposed, _) = self.proposals.get(&id.index)?;
        (*proposed == id).then(|| self.proposals.remove(&id.index))?.map(|(_, proposal)| proposal)
    }

    /// All of them, in order.
    pub(super) fn drain(&mut self) -> Vec<(EntryId, Proposal)> {
        std::mem::take(&mut self.proposals).into_values().collect()
    }
}
