//! What a replica does with committed entries: it applies them, in order, and answers whoever waits for one.

use bytes::Bytes;

use super::pending::Proposal;
use super::replica::{Purpose, Replica};
use super::{Answer, Effect, Executed, Refusal, Told};
use crate::ids::{EntryId, Time};
use crate::raft::{Entry, Payload};
use crate::state_machine::{Applied, Command, Decision};

/// Bytes of entries that are applied in one go, and that one read for applying asks for.
const APPLY_BYTES_MAX: u64 = 1 << 20;

impl Replica {
    /// Applies what is committed, in order.
    pub(super) fn apply(&mut self, now: Time) {
        while self.applied < self.raft.commit() && self.can_apply() {
            let (from, to) = (self.applied.next(), self.raft.commit());
            match self.raft.entries_in_memory(from, to, APPLY_BYTES_MAX) {
                Some(entries) => self.apply_entries(now, entries),
                None => {
                    self.applying_reads = true;
                    // Above the durable index the disk can still hold entries that the log no longer has.
                    self.read_log(Purpose::Apply, from, to.min(self.raft.durable()), APPLY_BYTES_MAX);
                }
            }
        }
    }

    /// Not while entries are being read for it, nor while a snapshot is being installed, which has in it what would be next.
    fn can_apply(&self) -> bool {
        !self.applying_reads && !self.snapshots.is_installing() && self.raft.quarantined().is_none()
    }

    pub(super) fn apply_entries(&mut self, now: Time, entries: Vec<Entry>) {
        let (first, told_before) = (self.applied.next(), self.effects.len());
        for entry in entries {
            self.snapshots.count(&entry);
            let Entry { id, payload } = entry;
            assert!(id.index == self.applied.next(), "entry {id} would be applied after index {}", self.applied);
            match payload {
                Payload::Noop => {}
                Payload::Command(bytes) => self.apply_command(now, id, &bytes),
                Payload::Configuration { configuration, .. } => self.members.on_applied(id.index, &configuration),
            }
            if self.raft.quarantined().is_some() {
                return;
            }
            self.applied = id.index;
        }
        // Told before the answers that follow from it.
        self.effects.insert(told_before, Effect::Tell(Told::Applied { first, last: self.applied }));
    }

    fn apply_command(&mut self, now: Time, id: EntryId, bytes: &Bytes) {
        if self.expiry == Some(id.index) {
            self.expiry = None;
        }
        let proposal = self.pending.take(id);
        let command = match Command::decode(bytes) {
            Ok(command) => command,
            // To skip it here and not on other nodes would make the replicas differ.
            Err(malformed) => return self.raft.quarantine(format!("committed entry {id} is no command: {malformed}")),
        };
        let Applied { decision, filled } = self.machine.apply(id.index, &command);
        self.log_clock.on_applied(now, self.machine.timestamp());
        if self.leads_term.is_some() {
            for queue in filled {
                self.wake(&queue);
            }
        }
        if let Some(proposal) = proposal {
            self.on_decided(&proposal);
            if !proposal.is_forgotten {
                self.decide(now, proposal, decision);
            }
        }
    }

    /// One that was woken has taken its message, or left it for the next.
    pub(super) fn on_decided(&mut self, proposal: &Proposal) {
        if let Some((queue, limit)) = &proposal.woken_for {
            self.waiting.on_decided(queue, *limit);
            self.wake(queue);
        }
    }

    fn decide(&mut self, now: Time, proposal: Proposal, decision: Decision) {
        match decision {
            Decision::Executed { index, replayed, outcomes } => {
                let operations = outcomes.len();
                let executed = Executed { index, replayed, outcomes, bodies: Vec::new() };
                self.effects.push(Effect::Tell(Told::Answered { index, operations, replayed }));
                self.resolve_bodies(now, proposal.request, Answer::Executed(executed));
            }
            Decision::Refused(refusal) => self.answer(proposal.request, Err(Refusal::Refused(refusal))),
            Decision::Waiting => self.park_again(now, proposal),
        }
    }
}
