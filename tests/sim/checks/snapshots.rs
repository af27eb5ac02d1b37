//! What of a node's log a snapshot may take the place of, and what a node must find when it starts.

use quorate::ids::{EntryId, Index, NodeId};
use quorate::raft::{self, Configuration, Recovered, Write};
use quorate::replica::State;

use super::super::image::{Change, Image, Link, Shortening};
use super::Checks;

/// How a node came back.
pub struct Comeback {
    /// A frame that was never synced has survived.
    pub frame_survived: bool,
    /// A snapshot is in force that its last process did not know to be so.
    pub snapshot_survived: bool,
}

impl Comeback {
    /// Everything is as the last process knew it.
    pub fn is_as_known(&self) -> bool {
        !self.frame_survived && !self.snapshot_survived
    }
}

/// What became of the log of a node that asked for a received snapshot to be written.
pub struct Install {
    /// Its log had an entry that was never committed in a place that the snapshot has.
    pub was_divergent: bool,
}

impl Checks {
    /// A replica wants a received snapshot to take the place of its log.
    pub fn on_install(&mut self, node: NodeId, write: &Write, last: EntryId) -> Install {
        let installed = Image::installed(self.committed_links(last), self.committed_configurations(last.index));
        let book = self.book(node);
        let commit = book.status.map_or(Index(0), |(_, commit, _)| commit);
        assert!(last.index > commit, "{node} installs a snapshot up to {last}, its commit index is {commit}");
        let told = book.installing.take();
        assert!(told == Some(last.index), "{node} installs a snapshot up to {last}, and has told of {told:?}");
        let met = book.memory.last().min(last.index);
        let was_divergent = book.memory.link(met) != installed.link(met);
        let change = Change::install(write, installed);
        book.memory.apply(&change);
        book.unsynced.push(change);
        Install { was_divergent }
    }

    /// The chain of what is committed up to an entry, which must be.
    fn committed_links(&self, last: EntryId) -> Vec<Link> {
        let committed = &self.committed[..(last.index.0 as usize).min(self.committed.len())];
        assert!(
            committed.last().is_some_and(|entry| entry.id == last),
            "a snapshot ends with {last}, and what is committed is {:?}",
            committed.last().map(|entry| entry.id)
        );
        committed.iter().map(|entry| Link { term: entry.id.term, chain: entry.chain }).collect()
    }

    fn committed_configurations(&self, last: Index) -> Vec<(Index, Configuration)> {
        let committed = self.committed.iter().take_while(|entry| entry.id.index <= last);
        let known = committed.map(|entry| (entry.id.index, self.entries[&entry.id].configuration.clone()));
        known.filter_map(|(index, configuration)| Some((index, configuration?))).collect()
    }

    /// A snapshot is about to be written. Whether it is in force is not known before `on_snapshot_written`.
    pub fn on_snapshot_begun(&mut self, node: NodeId, state: &State, log_start: EntryId) {
        self.check_state(node, state);
        let last = state.snapshot.last;
        let book = self.book(node);
        assert!(book.disk.has(last), "{node} takes a snapshot up to {last}, which is not on its disk");
        assert!(log_start.index <= last.index && book.disk.has(log_start), "{node} begins its log after {log_start}");
        book.shortenings.push(Shortening { last, start: log_start });
    }

    /// The snapshot is in force.
    pub fn on_snapshot_written(&mut self, node: NodeId) {
        let book = self.book(node);
        let shortening = book.shortenings.pop().expect("it has begun");
        book.shortenings.clear();
        book.disk.shorten(shortening);
        if shortening.last > book.memory.snapshot {
            book.memory.shorten(shortening);
        }
    }

    /// A later one is there.
    pub fn on_snapshot_superseded(&mut self, node: NodeId) {
        let book = self.book(node);
        let shortening = book.shortenings.pop().expect("it has begun");
        let found = book.disk.snapshot;
        assert!(found >= shortening.last, "{node} has a snapshot up to {found}, and writes none up to {shortening:?}");
    }

    /// Nothing was written, because it is not known which of those before is in force.
    pub fn on_snapshot_refused(&mut self, node: NodeId) {
        self.book(node).shortenings.pop();
    }

    /// A state is what all others have, or had, at the same place of the log: in a snapshot that is taken, received or restored.
    pub fn check_state(&mut self, node: NodeId, state: &State) {
        let raft::Snapshot { last, configuration, configuration_index } = &state.snapshot;
        // Panics when it is not committed.
        let _ = self.committed_links(*last);
        let configurations = self.committed_configurations(last.index);
        assert!(
            configurations.last() == Some(&(*configuration_index, configuration.clone())),
            "{node} has a snapshot up to {last} with {configuration} at {configuration_index}, not {:?}",
            configurations.last()
        );
        self.on_digest(node, last.index, state.machine.digest());
        let members = (state.settled.clone(), state.removed.clone());
        let first = self.states.entry(last.index).or_insert_with(|| members.clone());
        assert!(*first == members, "{node} has other members as of {last} than other replicas: {first:?}, {members:?}");
    }

    /// A node comes back: its log is what was durable, with or without the frame that was being written, and with or without
    /// the snapshot that was.
    pub fn on_recovered(&mut self, node: NodeId, recovered: &Recovered) -> Comeback {
        let book = self.book(node);
        let frame = std::mem::take(&mut book.unsynced);
        book.in_frame = 0;
        let durable = book.disk.clone();
        let mut possible = vec![(durable.clone(), false, false)];
        for shortening in std::mem::take(&mut book.shortenings) {
            let mut image = durable.clone();
            image.shorten(shortening);
            possible.push((image, false, true));
        }
        if !frame.is_empty() {
            for (image, _, snapshot_survived) in possible.clone() {
                let mut with_hard_state = image.clone();
                frame.iter().for_each(|change| with_hard_state.apply_hard_state(change));
                let mut whole = image;
                frame.iter().for_each(|change| whole.apply(change));
                let is_install = frame.iter().any(Change::is_install);
                possible.push((whole, true, snapshot_survived || is_install));
                // An install is two steps on disk. All else is one.
                if is_install {
                    possible.push((with_hard_state, false, snapshot_survived));
                }
            }
        }
        let found = possible.iter().position(|(image, ..)| image.recovered() == *recovered);
        let Some(found) = found else {
            let images: Vec<Recovered> = possible.iter().map(|(image, ..)| image.recovered()).collect();
            panic!("{node} recovered\n{recovered:?}, possible was\n{images:#?}");
        };
        let (image, frame_survived, snapshot_survived) = possible.swap_remove(found);
        book.disk = image;
        book.memory = book.disk.clone();
        book.configuration.0 = book.disk.configuration().clone();
        Comeback { frame_survived, snapshot_survived }
    }
}
