//! The writes of a member: those under way, and what is durable by those that have ended.

use std::collections::VecDeque;
use std::time::Duration;

use crate::ids::{EntryId, Index, Ticket, Time};

/// Writes become durable in the order in which they were begun.
#[derive(Debug)]
pub(super) struct Writes {
    /// The log is durable up to here.
    durable: Index,
    unfinished: VecDeque<Unfinished>,
    last_ticket: Ticket,
}

/// A write that is not yet known to be durable.
#[derive(Debug)]
struct Unfinished {
    ticket: Ticket,
    /// Entries up to here are durable with it; lowered when entries are cut meanwhile, so that an old write never vouches for
    /// an entry that was appended anew.
    last: Index,
    /// The snapshot that takes the place of the log with it.
    snapshot: Option<EntryId>,
    since: Time,
}

impl Writes {
    /// None under way, on a disk that has the log up to `durable`.
    pub(super) fn new(durable: Index) -> Self {
        Self { durable, unfinished: VecDeque::new(), last_ticket: Ticket(0) }
    }

    /// Begins a write of the log up to `last`, or of none of it; with `snapshot`, that takes the place of what was before.
    pub(super) fn begin(&mut self, now: Time, last: Option<Index>, snapshot: Option<EntryId>) -> Ticket {
        self.last_ticket = self.last_ticket.next();
        let (ticket, last) = (self.last_ticket, last.unwrap_or_default());
        self.unfinished.push_back(Unfinished { ticket, last, snapshot, since: now });
        ticket
    }

    /// Every write up to `ticket` has ended. Returns the snapshots that are durable with them.
    pub(super) fn end(&mut self, ticket: Ticket) -> Vec<EntryId> {
        let count = self.unfinished.partition_point(|write| write.ticket <= ticket);
        let ended: Vec<Unfinished> = self.unfinished.drain(..count).collect();
        self.durable = ended.iter().map(|write| write.last).fold(self.durable, Index::max);
        ended.into_iter().filter_map(|write| write.snapshot).collect()
    }

    /// The log was cut after `kept`, in memory: no write vouches for more any longer.
    pub(super) fn cut(&mut self, kept: Index) {
        self.durable = self.durable.min(kept);
        for write in &mut self.unfinished {
            write.last = write.last.min(kept);
        }
    }

    /// The log was discarded in memory, for a snapshot that has more than the `committed` entries. What has ended vouches for
    /// those only, and what is under way for nothing.
    pub(super) fn discard(&mut self, committed: Index) {
        self.durable = self.durable.min(committed);
        for write in &mut self.unfinished {
            write.last = Index(0);
        }
    }

    /// The log is durable up to here.
    pub(super) fn durable(&self) -> Index {
        self.durable
    }

    /// The write that was begun last; 0: none was.
    pub(super) fn last_ticket(&self) -> Ticket {
        self.last_ticket
    }

    /// How many have not ended.
    pub(super) fn unfinished(&self) -> usize {
        self.unfinished.len()
    }

    /// True when the oldest one was begun more than `patience` ago.
    pub(super) fn is_stalled(&self, now: Time, patience: Duration) -> bool {
        self.unfinished.front().is_some_and(|oldest| now - oldest.since > patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Term;

    /// The same index is written twice, and the first write ends.
    #[test]
    fn a_write_does_not_vouch_for_what_was_cut() {
        let mut writes = Writes::new(Index(3));
        let first = writes.begin(Time(0), Some(Index(5)), None);
        writes.cut(Index(4));
        let second = writes.begin(Time(0), Some(Index(6)), None);
        writes.end(first);
        assert_eq!(writes.durable(), Index(4));
        writes.end(second);
        assert_eq!(writes.durable(), Index(6));
    }

    #[test]
    fn writes_of_a_discarded_log_vouch_for_nothing() {
        let mut writes = Writes::new(Index(3));
        let old = writes.begin(Time(0), Some(Index(5)), None);
        writes.discard(Index(2));
        let last = EntryId::new(Term(2), Index(9));
        let install = writes.begin(Time(0), Some(Index(9)), Some(last));
        assert_eq!(writes.end(old), []);
        assert_eq!(writes.durable(), Index(2));
        assert_eq!(writes.end(install), [last]);
        assert_eq!(writes.durable(), Index(9));
    }
}
