//! What the core knows of its log: the term of every entry, and the youngest entries themselves.
//!
//! ```text
//!      1                                   tail                last
//!      | 1 1 1 1 2 2 2 2 2 2 2 2 2 5 5 5 5 | 5 5 5 5 5 7 7 7 7 |
//!        ^       ^                 ^                 ^
//!        terms: the first entry of each run of equal terms
//! ```
//!
//! Terms never fall along the log, so a few runs tell the term of every index. Entries before the tail are on disk only; the
//! core asks for them with an effect.

use std::collections::VecDeque;

use super::{Entry, Recovered};
use crate::ids::{EntryId, Index, Term};

/// The log as the core sees it, durable or not.
#[derive(Debug)]
pub struct Log {
    terms: Vec<EntryId>,
    last: Index,
    /// The entries up to `last`, without gaps; may be empty.
    tail: VecDeque<Entry>,
    tail_bytes: u64,
}

impl Log {
    /// The log that storage recovered. Nothing of it is in memory.
    pub fn new(recovered: &Recovered) -> Self {
        Self { terms: recovered.terms.clone(), last: recovered.last, tail: VecDeque::new(), tail_bytes: 0 }
    }

    /// The last entry; `0@0` for an empty log.
    pub fn last(&self) -> EntryId {
        EntryId::new(self.terms.last().map_or(Term(0), |run| run.term), self.last)
    }

    /// The term of the entry at `index`: term 0 at index 0, none past the end.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        if index > self.last {
            return None;
        }
        let runs = self.terms.partition_point(|run| run.index <= index);
        Some(runs.checked_sub(1).map_or(Term(0), |run| self.terms[run].term))
    }

    /// True when the log has exactly this entry.
    pub fn has(&self, id: EntryId) -> bool {
        self.term_at(id.index) == Some(id.term)
    }

    /// The last entry that is neither after `limit.index` nor of a later term than `limit.term`; `0@0` if there is none. With it
    /// both sides skip a whole term for each message (paper, end of section 5.3).
    pub fn last_not_after(&self, limit: EntryId) -> EntryId {
        let mut end = self.last;
        for run in self.terms.iter().rev() {
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
                Some(entry) if entry.id.index <= needed => self.tail_bytes -= entry.size(),
                _ => return,
            }
            self.tail.pop_front();
        }
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

    proptest! {
        /// The naive twin is the list of terms itself.
        #[test]
        fn agrees_with_a_list_of_terms(
            mut steps in prop::collection::vec(0u64..3, 0..30),
            cut in 1u64..30,
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
            prop_assert_eq!(log.last().index.0 as usize, steps.len());
            for index in 0..40u64 {
                let naive = match index {
                    0 => Some(0),
                    _ => steps.get(index as usize - 1).copied(),
                };
                prop_assert_eq!(log.term_at(Index(index)), naive.map(Term));
            }
            let naive = (1..=steps.len() as u64).rev().map(|index| (steps[index as usize - 1], index));
            let naive = naive.into_iter().find(|(term, index)| *term <= limit_term && *index <= limit_index);
            let naive = naive.map_or(EntryId::default(), |(term, index)| EntryId::new(Term(term), Index(index)));
            prop_assert_eq!(log.last_not_after(EntryId::new(Term(limit_term), Index(limit_index))), naive);
        }
    }
}
