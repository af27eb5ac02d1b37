//! Snapshots: when this replica takes one, how much of the log it keeps, and what changes when it installs the leader's.
//!
//! ```text
//!    log      | forgotten | kept for readers and followers | not yet in a snapshot |
//!             0       log_start                      snapshot.last              applied
//! ```
//!
//! Taking one costs a clone of the state, which shares everything with the original; all the rest is done elsewhere.

use std::collections::VecDeque;

use super::replica::{Purpose, Replica};
use super::{Effect, Restored, State, Taking, Told};
use crate::ids::{EntryId, Index, Ticket, Time};
use crate::raft::{self, Entry};

/// Snapshots of which is remembered how much of the log came after them.
const MARKS_MAX: usize = 64;

/// When snapshots are taken, and how much of the log stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// One is due when so many bytes of entries were applied since the last one.
    pub bytes: u64,
    /// One is due when so many entries were applied since the last one.
    pub entries: u64,
    /// So many of the newest entries stay in the log.
    pub log_entries: u64,
    /// More of the log stays for members that are well and need it, but no more than so many bytes.
    pub held_bytes_max: u64,
}

impl Rules {
    /// No snapshot is ever due.
    pub const NEVER: Self = Self { bytes: u64::MAX, entries: u64::MAX, log_entries: 0, held_bytes_max: 0 };
}

/// What a replica knows of its snapshots.
#[derive(Debug)]
pub(super) struct Snapshots {
    /// The length of the last one. A further one is not due before as many bytes were applied: what snapshots write is never
    /// more than what the log does.
    bytes: u64,
    /// Bytes of the entries applied so far.
    applied_bytes: u64,
    /// The last one, or the last attempt: where it was taken, in entries and in bytes.
    since: (Index, u64),
    is_being_taken: bool,
    /// Where this process began, and its snapshots, with the bytes that were applied by then, in order.
    marks: VecDeque<(Index, u64)>,
    /// One that is to be taken as soon as its last entry is durable here.
    waiting: Option<Box<Taking>>,
    installing: Option<(Ticket, Restored)>,
}

impl Default for Snapshots {
    /// Of a replica that has applied nothing.
    fn default() -> Self {
        let beginning = (Index(0), 0);
        Self {
            bytes: 0,
            applied_bytes: 0,
            since: beginning,
            is_being_taken: false,
            marks: VecDeque::from([beginning]),
            waiting: None,
            installing: None,
        }
    }
}

impl Snapshots {
    /// An entry is about to be applied.
    pub(super) fn count(&mut self, entry: &Entry) {
        self.applied_bytes += entry.size();
    }

    /// A received snapshot is on its way to the disk.
    pub(super) fn is_installing(&self) -> bool {
        self.installing.is_some()
    }

    fn is_due(&self, rules: &Rules, applied: Index) -> bool {
        let (index, bytes) = self.since;
        let (entries, bytes) = (applied.0.saturating_sub(index.0), self.applied_bytes - bytes);
        let is_enough = bytes >= rules.bytes || entries >= rules.entries;
        entries > 0 && is_enough && bytes >= self.bytes && !self.is_being_taken && !self.is_installing()
    }

    /// At most so many bytes were applied after `index`; none: that is too long ago.
    fn bytes_after(&self, index: Index) -> Option<u64> {
        let (_, before) = self.marks.iter().rev().find(|(marked, _)| *marked <= index)?;
        Some(self.applied_bytes - before)
    }

    fn mark(&mut self, applied: Index) {
        self.since = (applied, self.applied_bytes);
        if self.marks.len() == MARKS_MAX {
            self.marks.pop_front();
        }
        self.marks.push_back(self.since);
    }
}

impl Replica {
    /// Has a snapshot taken when one is due. Others may have committed what is not durable here yet: it waits for that, as
    /// the state that is applied would be ahead again and again.
    pub(super) fn take_snapshot(&mut self, now: Time) {
        if self.snapshots.is_due(&self.options.snapshots, self.applied) && self.raft.quarantined().is_none() {
            self.snapshots.waiting = self.snapshot(now).map(Box::new);
            self.snapshots.is_being_taken = self.snapshots.waiting.is_some();
            self.snapshots.mark(self.applied);
        }
        let durable = self.raft.durable();
        if let Some(taking) = self.snapshots.waiting.take_if(|taking| taking.state.snapshot.last.index <= durable) {
            self.effects.push(Effect::TakeSnapshot(taking));
        }
    }

    fn snapshot(&self, now: Time) -> Option<Taking> {
        let (configuration_index, configuration) = self.members.applied().cloned()?;
        let last = EntryId::new(self.raft.term_at(self.applied)?, self.applied);
        let state = State {
            snapshot: raft::Snapshot { last, configuration, configuration_index },
            settled: self.members.settled().clone(),
            removed: self.members.published().removed.clone(),
            machine: self.machine.clone(),
        };
        Some(Taking { state, log_start: self.log_start_with_snapshot(now) })
    }

    /// Where the log can begin once everything applied is in a snapshot.
    fn log_start_with_snapshot(&self, now: Time) -> EntryId {
        let rules = &self.options.snapshots;
        let retained = self.raft.last().index.0.saturating_sub(rules.log_entries);
        let is_held =
            |index: &Index| self.snapshots.bytes_after(*index).is_some_and(|bytes| bytes <= rules.held_bytes_max);
        let needed = self.raft.needed_by_members(now).filter(is_held).min();
        let index = Index(retained).min(self.applied).min(needed.unwrap_or(self.applied));
        let start = self.raft.log_start();
        let term = self.raft.term_at(index).filter(|_| index > start.index);
        term.map_or(start, |term| EntryId::new(term, index))
    }

    pub(super) fn on_snapshot_taken(&mut self, last: EntryId, log_start: EntryId, bytes: u64) {
        self.snapshots.is_being_taken = false;
        // Another one was installed meanwhile, and the disk has that.
        if self.snapshots.is_installing() || last.index < self.raft.snapshot().index {
            return;
        }
        self.snapshots.bytes = bytes;
        self.effects.push(Effect::Tell(Told::SnapshotTaken { last, bytes }));
        self.raft.on_snapshot_taken(last, log_start);
        self.compact(last);
    }

    fn compact(&mut self, last: EntryId) {
        let being_read = self.resolving.messages();
        self.effects.push(Effect::Compact { last, being_read });
    }

    /// The next one is tried when another would be due.
    pub(super) fn on_snapshot_not_taken(&mut self) {
        self.snapshots.is_being_taken = false;
    }

    /// The log begins anew at once; the state follows when that is durable. One at a time.
    pub(super) fn on_snapshot_received(&mut self, now: Time, received: Restored) {
        if !self.snapshots.is_installing()
            && let Some(ticket) = self.raft.on_snapshot_received(now, received.state.snapshot.clone())
        {
            self.snapshots.installing = Some((ticket, received));
        }
    }

    /// Every write up to `ticket` is durable: the installation of a snapshot may be among them.
    pub(super) fn finish_install(&mut self, ticket: Ticket) {
        let Some((_, Restored { state, bytes })) = self.snapshots.installing.take_if(|(install, _)| *install <= ticket)
        else {
            return;
        };
        let last = state.snapshot.last;
        self.restore(state, bytes);
        self.compact(last);
    }

    /// Everything up to the last entry of the snapshot was applied elsewhere: what came of it is not known here.
    pub(super) fn restore(&mut self, state: State, bytes: u64) {
        let unknown = self.pending.drain_unless(|id| id.index > state.snapshot.last.index);
        self.answer_unknown(unknown);
        self.log_reads.retain(|_, purpose| !matches!(purpose, Purpose::Apply));
        self.applying_reads = false;
        self.members.restore(&self.raft, &state);
        self.applied = state.snapshot.last.index;
        self.machine = state.machine;
        self.log_clock.on_applied(self.turned_at, self.machine.timestamp());
        self.snapshots.bytes = bytes;
        self.snapshots.marks.clear();
        self.snapshots.mark(self.applied);
        if self.snapshots.waiting.take().is_some() {
            self.snapshots.is_being_taken = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Term;
    use crate::raft::Payload;
    use bytes::Bytes;

    const RULES: Rules = Rules { bytes: 1_000, entries: 10, log_entries: 0, held_bytes_max: 0 };

    /// Entries of about so many bytes are applied.
    fn apply(snapshots: &mut Snapshots, entries: u64, bytes: usize) {
        let id = EntryId::new(Term(1), Index(1));
        let entry = Entry { id, payload: Payload::Command(Bytes::from(vec![0; bytes])) };
        (0..entries).for_each(|_| snapshots.count(&entry));
    }

    #[test]
    fn one_is_due_after_enough_bytes_or_entries_but_never_before_as_much_as_the_last_one_is_long() {
        let mut snapshots = Snapshots::default();
        apply(&mut snapshots, 9, 10);
        assert!(!snapshots.is_due(&RULES, Index(9)));
        assert!(snapshots.is_due(&RULES, Index(10)), "ten entries");
        apply(&mut snapshots, 1, 1_000);
        assert!(snapshots.is_due(&RULES, Index(9)), "a thousand bytes");
        snapshots.mark(Index(10));
        snapshots.bytes = 5_000;
        apply(&mut snapshots, 20, 100);
        assert!(!snapshots.is_due(&RULES, Index(30)), "it would be longer than what came since");
        apply(&mut snapshots, 20, 100);
        assert!(snapshots.is_due(&RULES, Index(50)));
        snapshots.is_being_taken = true;
        assert!(!snapshots.is_due(&RULES, Index(50)), "one at a time");
    }

    #[test]
    fn what_came_after_an_index_is_never_underestimated() {
        let mut snapshots = Snapshots::default();
        for index in 1..=3 {
            apply(&mut snapshots, 1, 100);
            snapshots.mark(Index(10 * index));
        }
        let each = snapshots.applied_bytes / 3;
        assert_eq!(snapshots.bytes_after(Index(30)), Some(0));
        assert_eq!(snapshots.bytes_after(Index(29)), Some(each));
        assert_eq!(snapshots.bytes_after(Index(10)), Some(2 * each));
        assert_eq!(snapshots.bytes_after(Index(9)), Some(3 * each));
        snapshots.marks.pop_front();
        assert_eq!(snapshots.bytes_after(Index(9)), None, "nothing is known of where that was");
    }
}
