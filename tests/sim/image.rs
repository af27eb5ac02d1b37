//! What a log holds, as a chain of hashes: the simulation's own book of what each node has written, kept beside the disk.
//!
//! The chain of an image goes back to the first entry, also where its node has only a snapshot of that: what a snapshot has in
//! it is committed, so that the book knows it.

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
    /// By index, from 1; those up to `snapshot` need not be in the log.
    pub links: Vec<Link>,
    /// The configurations in the log and in the snapshot.
    pub configurations: Vec<(Index, Configuration)>,
    /// The log begins after this entry.
    pub start: EntryId,
    /// The last entry that the snapshot has in it.
    pub snapshot: EntryId,
}

/// A write, as the book keeps it.
#[derive(Clone, Debug)]
pub struct Change {
    hard_state: Option<HardState>,
    installed: Option<Image>,
    first: Index,
    links: Vec<Link>,
    configurations: Vec<(Index, Configuration)>,
}

/// A snapshot of the own state takes the place of the beginning of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortening {
    /// The last entry that the snapshot has in it.
    pub last: EntryId,
    /// The log begins after this entry.
    pub start: EntryId,
}

impl Image {
    /// The log of somebody who has exactly the snapshot that ends with the last of these links.
    pub fn installed(links: Vec<Link>, configurations: Vec<(Index, Configuration)>) -> Self {
        let last = Index(links.len() as u64);
        let term = links.last().map_or(Term(0), |link| link.term);
        let snapshot = EntryId::new(term, last);
        Self { hard_state: HardState::default(), links, configurations, start: snapshot, snapshot }
    }

    /// The last index.
    pub fn last(&self) -> Index {
        Index(self.links.len() as u64)
    }

    /// The entry at `index`, if the log reaches that far, or the snapshot.
    pub fn link(&self, index: Index) -> Option<Link> {
        self.links.get(index.0.checked_sub(1)? as usize).copied()
    }

    /// True when the log has exactly this entry, or the snapshot does.
    pub fn has(&self, id: EntryId) -> bool {
        id == EntryId::default() || self.link(id.index).is_some_and(|link| link.term == id.term)
    }

    /// What `write` brings, seen from this log.
    ///
    /// # Panics
    /// It leaves a gap, or cuts what a snapshot has in it.
    pub fn change(&self, write: &Write) -> Change {
        let first = write.entries.first().map_or(self.last().next(), |entry| entry.id.index);
        let before = first.previous();
        assert!(before <= self.last(), "entry {first} is written after {}", self.last());
        assert!(before >= self.snapshot.index, "entry {first} is written, the snapshot ends with {}", self.snapshot);
        let mut chain = self.link(before).map_or(0, |link| link.chain);
        let mut change = Change {
            hard_state: write.hard_state,
            installed: None,
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
        if let Some(installed) = &change.installed {
            *self = Self { hard_state: self.hard_state, ..installed.clone() };
        }
        self.apply_hard_state(change);
        if !change.links.is_empty() {
            self.links.truncate(change.first.previous().0 as usize);
            self.links.extend(&change.links);
            self.configurations.retain(|(index, _)| *index < change.first);
            self.configurations.extend(change.configurations.iter().cloned());
        }
    }

    /// Carries out the part of a write that is durable first.
    pub fn apply_hard_state(&mut self, change: &Change) {
        if let Some(hard_state) = change.hard_state {
            self.hard_state = hard_state;
        }
    }

    /// What is after `kept` is not there any more.
    pub fn cut(&mut self, kept: Index) {
        self.links.truncate(kept.0 as usize);
        self.configurations.retain(|(index, _)| *index <= kept);
    }

    /// A snapshot was taken.
    pub fn shorten(&mut self, shortening: Shortening) {
        self.snapshot = shortening.last;
        if shortening.start.index > self.start.index {
            self.start = shortening.start;
        }
    }

    /// What a node that starts from this must be told by its storage.
    pub fn recovered(&self) -> Recovered {
        let mut terms: Vec<EntryId> = Vec::new();
        for (link, index) in self.links.iter().zip(1..).skip(self.start.index.0 as usize) {
            if terms.last().is_none_or(|run| run.term != link.term) {
                terms.push(EntryId::new(link.term, Index(index)));
            }
        }
        let in_log = self.configurations.iter().filter(|(index, _)| *index > self.snapshot.index);
        Recovered {
            hard_state: self.hard_state,
            start: self.start,
            snapshot: self.snapshot,
            terms,
            last: self.last(),
            configurations: in_log.cloned().collect(),
        }
    }

    /// The configuration in force.
    pub fn configuration(&self) -> &Configuration {
        static EMPTY: Configuration = Configuration::EMPTY;
        self.configurations.last().map_or(&EMPTY, |(_, configuration)| configuration)
    }

    /// Where the configuration in force stands.
    pub fn configuration_index(&self) -> Index {
        self.configurations.last().map_or(Index(0), |(index, _)| *index)
    }
}

impl Change {
    /// A received snapshot takes the place of everything.
    pub fn install(write: &Write, installed: Image) -> Self {
        Self {
            hard_state: write.hard_state,
            first: installed.last().next(),
            installed: Some(installed),
            links: Vec::new(),
            configurations: Vec::new(),
        }
    }

    /// True for one that brings a received snapshot.
    pub fn is_install(&self) -> bool {
        self.installed.is_some()
    }

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
