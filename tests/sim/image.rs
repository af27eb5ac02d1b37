//! What a log holds, as a chain of hashes: the simulation's own book of what each node has written, kept beside the disk.

use std::hash::{DefaultHasher, Hash, Hasher};

use quorate::ids::{EntryId, Index, Term};
use quorate::raft::{Configuration, HardState, Payload, Recovered, Write};

/// The end of a log: two logs whose ends have equal chains are equal from their beginning on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The term of the entry.
    pub term: Term,
    /// Of the entry and all before it.
    pub chain: u64,
}

/// A log with its hard state: in the memory of a replica, or on its disk.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Term and vote.
    pub hard_state: HardState,
    /// By index, from 1.
    pub links: Vec<Link>,
    /// The configurations in the log.
    pub configurations: Vec<(Index, Configuration)>,
}

/// A write, as the book keeps it.
#[derive(Clone, Debug)]
pub struct Change {
    hard_state: Option<HardState>,
    first: Index,
    links: Vec<Link>,
    configurations: Vec<(Index, Configuration)>,
}

impl Image {
    /// The last index.
    pub fn last(&self) -> Index {
        Index(self.links.len() as u64)
    }

    /// The entry at `index`, if the log reaches that far.
    pub fn link(&self, index: Index) -> Option<Link> {
        self.links.get(index.0.checked_sub(1)? as usize).copied()
    }

    /// True when the log has exactly this entry.
    pub fn has(&self, id: EntryId) -> bool {
        id == EntryId::default() || self.link(id.index).is_some_and(|link| link.term == id.term)
    }

    /// What `write` brings, seen from this log.
    ///
    /// # Panics
    /// It leaves a gap.
    pub fn change(&self, write: &Write) -> Change {
        let first = write.entries.first().map_or(self.last().next(), |entry| entry.id.index);
        let before = first.previous();
        assert!(before <= self.last(), "entry {first} is written after {}", self.last());
        let mut chain = self.link(before).map_or(0, |link| link.chain);
        let mut change = Change {
            hard_state: write.hard_state,
            first,
            links: Vec::with_capacity(write.entries.len()),
            configurations: Vec::new(),
        };
        for entry in &write.entries {
            chain = chained(chain, entry.id, &entry.payload);
            change.links.push(Link { term: entry.id.term, chain });
            if let Payload::Configuration { configuration, .. } = &entry.payload {
                change.configurations.push((entry.id.index, configuration.clone()));
            }
        }
        change
    }

    /// Carries out a write.
    pub fn apply(&mut self, change: &Change) {
        if let Some(hard_state) = change.hard_state {
            self.hard_state = hard_state;
        }
        if !change.links.is_empty() {
            self.links.truncate(change.first.previous().0 as usize);
            self.links.extend(&change.links);
            self.configurations.retain(|(index, _)| *index < change.first);
            self.configurations.extend(change.configurations.iter().cloned());
        }
    }

    /// What a node that starts from this must be told by its storage.
    pub fn recovered(&self) -> Recovered {
        let mut terms: Vec<EntryId> = Vec::new();
        for (link, index) in self.links.iter().zip(1..) {
            if terms.last().is_none_or(|run| run.term != link.term) {
                terms.push(EntryId::new(link.term, Index(index)));
            }
        }
        Recovered {
            hard_state: self.hard_state,
            terms,
            last: self.last(),
            configurations: self.configurations.clone(),
            ..Recovered::default()
        }
    }

    /// The configuration in force.
    pub fn configuration(&self) -> &Configuration {
        static EMPTY: Configuration = Configuration::EMPTY;
        self.configurations.last().map_or(&EMPTY, |(_, configuration)| configuration)
    }
}

impl Change {
    /// The entries that it brings: each id with its link.
    pub fn entries(&self) -> impl Iterator<Item = (EntryId, Link)> {
        self.links.iter().zip(self.first.0..).map(|(link, index)| (EntryId::new(link.term, Index(index)), *link))
    }

    /// The first index that it replaces, if it brings entries.
    pub fn first(&self) -> Option<Index> {
        (!self.links.is_empty()).then_some(self.first)
    }
}

fn chained(before: u64, id: EntryId, payload: &Payload) -> u64 {
    let mut hasher = DefaultHasher::new();
    (before, id, payload_hash(payload)).hash(&mut hasher);
    hasher.finish()
}

/// A hash of what an entry carries.
pub fn payload_hash(payload: &Payload) -> u64 {
    let mut hasher = DefaultHasher::new();
    match payload {
        Payload::Noop => 0.hash(&mut hasher),
        Payload::Command(bytes) => hasher.write(bytes),
        Payload::Configuration { .. } => format!("{payload:?}").hash(&mut hasher),
    }
    hasher.finish()
}
