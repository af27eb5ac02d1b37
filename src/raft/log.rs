//! What the core knows of its log: the term of every entry, and the youngest entries themselves.
//!
//! ```text
//!      start                               tail                last
//!      1 | 1 1 1 2 2 2 2 2 2 2 2 2 5 5 5 5 | 5 5 5 5 5 7 7 7 7 |
//!                ^                 ^                 ^
//!        terms: the first entry of each run of equal terms after `start`
//! ```
//!
//! Terms never fall along the log, so a few runs tell the term of every index. Entries before the tail are on disk only; the
//! core asks for them with an effect. Of what a snapshot has taken the place of, only the last entry's id is known: `start`.

use std::collections::VecDeque;

use super::{Entry, Recovered};
use crate::ids::{EntryId, Index, Term};

/// The log as the core sees it, durable or not.
#[derive(Debug)]
pub struct Log {
    /// The log begins after this entry; `0@0`: it has never been compacted.
    start: EntryId,
    /// The entries before the first of these are of the term of `start`.
    terms: Vec<EntryId>,
    last: Index,
    /// The entries up to `last`, without gaps; may be empty.
    tail: VecDeque<Entry>,
    tail_bytes: u64,
}

impl Log {
    /// The log that storage recovered. Nothing of it is in memory.
    pub fn new(recovered: &Recovered) -> Self {
        Self {
            start: recovered.start,
            terms: recovered.terms.clone(),
            last: recovered.last,
            tail: VecDeque::new(),
            tail_bytes: 0,
        }
    }

    /// The log begins after this entry, whose term is still known; `0@0`: nothing was ever forgotten.
    pub fn start(&self) -> EntryId {
        self.start
    }

    /// The last entry; `start` for a log without entries.
    pub fn last(&self) -> EntryId {
        EntryId::new(self.terms.last().map_or(self.start.term, |run| run.term), self.last)
    }

    /// The term of the entry at `index`, also at `start`, which is term 0 at index 0; none before that and past the end.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index < self.start.index || index > self.last {
            return None;
        }
        let runs = self.terms.partition_point(|run| run.index <= index);
        Some(runs.checked_sub(1).map_or(self.start.term, |run| self.terms[run].term))
    }

    /// True when the log has exactly this entry, or begins after it.
    pub fn has(&self, id: EntryId) -> bool {
        self.term_at(id.index) == Some(id.term)
    }

    /// The last entry from `start` on that is neither after `limit.index` nor of a later term than `limit.term`; `0@0` if there
    /// is none. With it both sides skip a whole term for each message (paper, end of section 5.3).
    pub fn last_not_after(&self, limit: EntryId) -> EntryId {
        let mut end = self.last;
        for run in self.terms.iter().rev().chain([&self.start]) {
            if run.term <= limit.term && run.index <= limit.index {
                return EntryId::new(run.term, end.min(limit.index));
            }
            end = run.index.previous();
        }
        EntryId::default()
    }

    /// Adds entries at the end. They must follow the last one.
    pub fn append(&mut self, entries: impl IntoIterator<Item = Entry>) {
        for entry in entries {
            let EntryId { term, index } = entry.id;
            assert!(index == self.last.next(), "entry {} does not follow index {}", entry.id, self.last);
            let last_term = self.last().term;
            assert!(term >= last_term, "entry {} is of an earlier term than {last_term}", entry.id);
            if term > last_term {
                self.terms.push(entry.id);
            }
            self.last = index;
            self.tail_bytes += entry.size();
            self.tail.push_back(entry);
        }
    }

    /// Cuts the entries from `from` on.
    pub fn truncate(&mut self, from: Index) {
        self.last = self.last.min(from.previous());
        self.terms.retain(|run| run.index < from);
        while self.tail.back().is_some_and(|entry| entry.id.index >= from) {
            let entry = self.tail.pop_back().expect("the loop has just seen it");
            self.tail_bytes -= entry.size();
        }
    }

    /// Forgets the entries up to `to`, which a snapshot has taken the place of. They are committed, so they are never cut.
    pub fn compact(&mut self, to: EntryId) {
        assert!(self.has(to), "the log from {} to {} cannot begin after {to}", self.start, self.last());
        self.start = to;
        self.terms.retain(|run| run.index > to.index);
        while self.tail.front().is_some_and(|entry| entry.id.index <= to.index) {
            self.forget_oldest();
        }
    }

    /// Begins anew, without entries, after the last one of a snapshot.
    pub fn reset(&mut self, to: EntryId) {
        *self = Self { start: to, terms: Vec::new(), last: to.index, tail: VecDeque::new(), tail_bytes: 0 };
    }

    /// The entries `from..=to`, as many as fit into `bytes_max` but at least one; none when `from` is not in memory.
    pub fn entries(&self, from: Index, to: Index, bytes_max: u64) -> Option<Vec<Entry>> {
        let first = self.tail.front()?.id.index;
        let skip = usize::try_from(from.0.checked_sub(first.0)?).ok()?;
        let mut bytes = 0;
        let entries: Vec<Entry> = self
            .tail
            .iter()
            .skip(skip)
            .take_while(|entry| {
                let is_first = bytes == 0;
                bytes += entry.size();
                entry.id.index <= to && (is_first || bytes <= bytes_max)
            })
            .cloned()
            .collect();
        (!entries.is_empty()).then_some(entries)
    }

    /// Forgets the oldest entries in memory until they take at most `bytes_max`, but none after `needed`.
    pub fn evict(&mut self, needed: Index, bytes_max: u64) {
        while self.tail_bytes > bytes_max {
            match self.tail.front() {
                Some(entry) if entry.id.index <= needed => self.forget_oldest(),
                _ => return,
            }
        }
    }

    fn forget_oldest(&mut self) {
        self.tail_bytes -= self.tail.pop_front().map_or(0, |entry| entry.size());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::Payload;
    use proptest::prelude::*;

    fn entry(term: u64, index: u64) -> Entry {
        Entry { id: EntryId::new(Term(term), Index(index)), payload: Payload::Noop }
    }

    fn log(terms: &[u64]) -> Log {
        let mut log = Log::new(&Recovered::default());
        log.append(terms.iter().zip(1..).map(|(term, index)| entry(*term, index)));
        log
    }

    #[test]
    fn entries_come_from_memory_only() {
        let mut log = log(&[1, 1, 2, 2]);
        assert_eq!(log.entries(Index(2), Index(3), u64::MAX), Some(vec![entry(1, 2), entry(2, 3)]));
        assert_eq!(log.entries(Index(2), Index(4), 1), Some(vec![entry(1, 2)]), "at least one");
        log.evict(Index(2), 0);
        assert_eq!(log.entries(Index(2), Index(4), u64::MAX), None);
        assert_eq!(log.entries(Index(3), Index(4), u64::MAX).map(|entries| entries.len()), Some(2));
        assert_eq!(log.entries(Index(5), Index(9), u64::MAX), None);
    }

    #[test]
    fn what_is_compacted_is_no_longer_in_memory() {
        let mut log = log(&[1, 1, 2, 2]);
        log.compact(EntryId::new(Term(1), Index(2)));
        assert_eq!(log.entries(Index(2), Index(4), u64::MAX), None);
        assert_eq!(log.entries(Index(3), Index(4), u64::MAX), Some(vec![entry(2, 3), entry(2, 4)]));
        log.evict(Index(4), 0);
        assert_eq!((log.tail_bytes, log.last()), (0, EntryId::new(Term(2), Index(4))));
    }

    #[test]
    fn a_log_that_begins_anew_goes_on_after_the_snapshot() {
        let mut log = log(&[1, 1, 2, 2]);
        log.reset(EntryId::new(Term(5), Index(9)));
        assert_eq!(log.last(), EntryId::new(Term(5), Index(9)));
        assert_eq!(log.entries(Index(3), Index(9), u64::MAX), None);
        log.append([entry(5, 10), entry(6, 11)]);
        let terms = [8, 9, 10, 11, 12].map(|index| log.term_at(Index(index)));
        assert_eq!(terms, [None, Some(Term(5)), Some(Term(5)), Some(Term(6)), None]);
    }

    /// The terms at the first indexes, where those before `start` are not known.
    fn naive_terms(terms: &[u64], start: usize) -> Vec<Option<Term>> {
        let known = std::iter::once(0).chain(terms.iter().copied()).map(|term| Some(Term(term)));
        let known = known.enumerate().map(|(index, term)| term.filter(|_| index >= start));
        known.chain(std::iter::repeat(None)).take(50).collect()
    }

    fn terms(log: &Log) -> Vec<Option<Term>> {
        (0..50).map(|index| log.term_at(Index(index))).collect()
    }

    proptest! {
        /// The naive twin is the list of terms itself, and how many of them are forgotten.
        #[test]
        fn agrees_with_a_list_of_terms(
            mut steps in prop::collection::vec(0u64..3, 0..30),
            cut in 1u64..32,
            compacted: [prop::sample::Index; 2],
            is_recovered: bool,
            more in prop::collection::vec(0u64..2, 0..5),
            limit_index in 0u64..35,
            limit_term in 0u64..40,
        ) {
            let mut term = 1;
            for step in &mut steps {
                term += *step;
                *step = term;
            }
            let mut log = log(&steps);
            log.truncate(Index(cut));
            steps.truncate(cut as usize - 1);
            let mut start = 0;
            for to in compacted {
                start += to.index(steps.len() + 1 - start);
                let term = naive_terms(&steps, 0)[start].unwrap_or_default();
                log.compact(EntryId::new(term, Index(start as u64)));
                prop_assert_eq!(terms(&log), naive_terms(&steps, start));
            }
            if is_recovered {
                // Storage names the first entry after `start` also when its term is that of `start`.
                let mut runs: Vec<EntryId> =
                    (start..steps.len()).map(|place| EntryId::new(Term(steps[place]), Index(place as u64 + 1))).collect();
                runs.dedup_by_key(|run| run.term);
                log = Log::new(&Recovered { start: log.start(), terms: runs, last: log.last().index, ..Recovered::default() });
            }
            for step in more {
                let id = EntryId::new(Term(log.last().term.0.max(1) + step), log.last().index.next());
                log.append([entry(id.term.0, id.index.0)]);
                steps.push(id.term.0);
            }
            prop_assert_eq!(log.last().index.0 as usize, steps.len());
            prop_assert_eq!(Some(log.last().term), naive_terms(&steps, start)[steps.len()]);
            prop_assert_eq!(terms(&log), naive_terms(&steps, start));
            let known = naive_terms(&steps, start);
            let limit = EntryId::new(Term(limit_term), Index(limit_index));
            let naive = (0..50).rev().filter_map(|index| Some(EntryId::new(known[index as usize]?, Index(index))));
            let naive = naive.into_iter().find(|id| id.term <= limit.term && id.index <= limit.index);
            prop_assert_eq!(log.last_not_after(limit), naive.unwrap_or_default());
        }
    }
}
