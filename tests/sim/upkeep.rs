//! What a node does beside its loop with its own snapshots: it writes them, compacts behind them, and starts from them. The
//! production code does the work; here is when, and what goes wrong with it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use quorate::ids::{ClusterId, EntryId, Index, NodeId, SHARD_0};
use quorate::node::snapshots;
use quorate::raft::{self, Write};
use quorate::replica::{self, Restored, Taking};
use quorate::state_machine::{Living, MessageId, message_of};
use quorate::storage::{self, Disk, WhyKept};
use rand::{Rng, RngExt};

use super::cluster::{Cluster, Event, ProcessId};
use super::fetching::Fetching;
use super::knobs::{Fault, Micros, one_of};
use super::node::Process;
use super::store::{Opened, Store};

/// The cluster of all nodes.
pub const CLUSTER: ClusterId = ClusterId(0xc1);

/// What the files of an archive may have beside its records: their headers, and those of their indexes.
const ARCHIVE_FILE_BYTES: u64 = 256;

/// A step of what is done with a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// One is written.
    Take,
    /// The log is compacted.
    Compact,
    /// A piece of the leader's comes.
    Receive,
    /// The leader's takes the place of the log.
    Install,
}

/// Something goes wrong with the next step of a kind.
#[derive(Clone, Copy, Debug)]
pub struct UpkeepFault {
    during: Upkeep,
    what: Fault,
    /// So much of the step is done before.
    after: u64,
}

impl UpkeepFault {
    /// One of this kind.
    pub fn draw(rng: &mut impl Rng, what: Fault) -> Self {
        let during = one_of(rng, &[Upkeep::Take, Upkeep::Compact, Upkeep::Receive, Upkeep::Install]);
        let most = if what == Fault::FailSyncInUpkeep { 6 } else { one_of(rng, &[12, 12, 40]) };
        Self { during, what, after: rng.random_range(0..most) }
    }
}

/// What a node starts from besides its log.
pub type Start = (Restored, Vec<Living>);

impl Cluster {
    /// When something that is done beside the loop will be done.
    pub fn upkeep_at(&mut self, id: NodeId) -> Micros {
        let at = self.now + self.random.upkeep.random_range(0..=self.knobs.snapshots.delay_max);
        at.max(self.nodes[&id].stalled_until)
    }

    /// A step is about to be done: if something is to go wrong with it, that begins.
    pub fn begin_upkeep(&mut self, id: NodeId, upkeep: Upkeep) -> Option<UpkeepFault> {
        let node = self.nodes.get_mut(&id).filter(|node| !node.is_armed)?;
        let fault = node.upkeep_fault.take_if(|fault| fault.during == upkeep)?;
        self.trace.tell(self.now, || format!("{id}: {fault:?}"));
        match fault.what {
            Fault::CutPowerInUpkeep => {
                node.disk.cut_power_after(fault.after);
                node.is_armed = true;
            }
            Fault::FailSyncInUpkeep => node.disk.fail_syncs_after(fault.after),
            _ => {}
        }
        Some(fault)
    }

    /// The step was done. False: the process has ended.
    pub fn end_upkeep(&mut self, running: ProcessId, fault: Option<UpkeepFault>) -> bool {
        let id = running.node;
        let is_running = self.process(running).is_some();
        let Some(fault) = fault.filter(|_| is_running) else { return is_running };
        match fault.what {
            Fault::FailSyncInUpkeep => {
                self.nodes[&id].disk.fail_syncs(false);
                self.process(running).expect("it runs").has_failed_sync = true;
            }
            Fault::CrashInUpkeep => {
                self.crash(id);
                return false;
            }
            // The step was over before. The next one of its kind is not let off so easily.
            _ if self.has_power(id) => {
                let node = self.nodes.get_mut(&id).expect("it runs");
                node.disk.keep_power();
                node.is_armed = false;
                node.upkeep_fault = Some(UpkeepFault { after: fault.after / 2, ..fault });
            }
            _ => self.coverage.sometimes(match fault.during {
                Upkeep::Take => "the power failed in the middle of taking a snapshot",
                Upkeep::Compact => "the power failed in the middle of a compaction",
                Upkeep::Receive => "the power failed in the middle of receiving a snapshot",
                Upkeep::Install => "the power failed in the middle of installing a snapshot",
            }),
        }
        true
    }

    fn has_power(&self, id: NodeId) -> bool {
        self.nodes[&id].disk.list().is_ok()
    }

    /// The disk refused something that a node can do without, as long as it has power. True: the process goes on.
    pub fn goes_on_after(&mut self, running: ProcessId, error: &storage::Error) -> bool {
        let id = running.node;
        if !self.has_power(id) {
            self.on_disk_error(id, error);
            return false;
        }
        let is_armed = self.nodes[&id].is_armed;
        let Some(process) = self.process(running) else { return false };
        process.has_failed_sync |= is_armed;
        let is_expected = matches!(error, storage::Error::Io { .. } | storage::Error::FilesUnknown);
        assert!(is_expected && process.has_failed_sync, "{id}: {error}");
        if process.store.shared().has_failed() {
            self.coverage.sometimes("a node stopped because it could not know which files are in force");
            self.trace.tell(self.now, || format!("{id} stops: {error}"));
            self.crash(id);
            return false;
        }
        self.trace.tell(self.now, || format!("{id} goes on: {error}"));
        true
    }

    /// A node writes a snapshot.
    pub fn take_snapshot(&mut self, running: ProcessId, taking: Taking) {
        let id = running.node;
        let rules = self.knobs.snapshots.rules;
        let Some(process) = self.process(running) else { return };
        let store = process.store.shared().clone();
        let (last, log_start) = (taking.state.snapshot.last, taking.log_start);
        let end = process.replica.status().last.index.0;
        process.unheld_start = Index(end.saturating_sub(rules.log_entries)).min(last.index);
        let is_joint = taking.state.snapshot.configuration.is_joint();
        self.checks.on_snapshot_begun(id, &taking.state, log_start);
        let fault = self.begin_upkeep(id, Upkeep::Take);
        let written = snapshots::write(&store, CLUSTER, SHARD_0, Vec::new(), taking);
        let event = match written {
            Ok((bytes, living)) => {
                self.trace.tell(self.now, || format!("{id} has written a snapshot up to {last}: {bytes} bytes"));
                self.checks.on_snapshot_written(id);
                if is_joint {
                    self.coverage.sometimes("a snapshot was taken in a joint phase");
                }
                let process = self.process(running).expect("it has just written");
                process.living.insert(last, living);
                process.offered.take_if(|offered| offered.index <= last.index);
                replica::Event::SnapshotTaken { last, log_start, bytes }
            }
            Err(storage::Error::Superseded { .. }) => {
                self.checks.on_snapshot_superseded(id);
                replica::Event::SnapshotNotTaken
            }
            Err(error) => {
                if matches!(error, storage::Error::FilesUnknown) {
                    self.checks.on_snapshot_refused(id);
                }
                if !self.end_upkeep(running, fault) || !self.goes_on_after(running, &error) {
                    return;
                }
                self.coverage.sometimes("a snapshot could not be written, and its node went on");
                return self.done_later(running, replica::Event::SnapshotNotTaken);
            }
        };
        if self.end_upkeep(running, fault) {
            self.done_later(running, event);
        }
    }

    /// The loop hears of something that was done beside it.
    pub fn done_later(&mut self, running: ProcessId, event: replica::Event) {
        let at = self.disk_step_at(running.node);
        self.schedule(at, Event::Done(running, event));
    }

    /// That has come to the loop.
    pub fn done(&mut self, running: ProcessId, event: replica::Event) {
        if self.process(running).is_some() {
            self.put(running.node, event);
        }
    }

    /// What lives no more as of a snapshot is to be removed. Only the latest is of interest.
    pub fn compact_later(&mut self, running: ProcessId, last: EntryId, being_read: BTreeSet<MessageId>) {
        let at = self.upkeep_at(running.node);
        let Some(process) = self.process(running) else { return };
        let living = process.living.remove(&last);
        process.living.retain(|of, _| *of > last);
        let Some(mut living) = living else { return };
        snapshots::add_being_read(&mut living, being_read);
        if process.compaction.replace((last, living)).is_none() {
            self.schedule(at, Event::Compact(running));
        }
    }

    /// A node compacts its log.
    pub fn compact(&mut self, running: ProcessId) {
        let id = running.node;
        let Some(process) = self.process(running) else { return };
        let Some((last, living)) = process.compaction.take() else { return };
        let (store, reader) = (process.store.shared().clone(), process.store.shared().reader());
        let fault = self.begin_upkeep(id, Upkeep::Compact);
        let mut turn = 0;
        // While records are copied all that lives can be read.
        let mut pace = |_: u64| {
            turn += 1;
            if let Some(living) = living.get(turn % (living.len() + 1)) {
                let read = reader.body(SHARD_0, living.id.index);
                assert!(!is_lost(&read), "{id} compacts, and cannot read {living:?}: {read:?}");
            }
            ControlFlow::Continue(())
        };
        let compacted = store.compact(SHARD_0, last, &living, &mut pace);
        self.trace.tell(self.now, || format!("{id} has compacted behind {last}: {compacted:?}"));
        if !self.end_upkeep(running, fault) {
            return;
        }
        match compacted {
            Ok(compacted) => {
                self.cover_compacted(&compacted);
                self.mind_archive(running, last);
            }
            Err(error) if self.goes_on_after(running, &error) => {
                self.coverage.sometimes("a compaction failed, and its node went on");
            }
            Err(_) => {}
        }
        self.mind_bodies(id);
    }

    /// No more is kept than lives, and as much again, after a compaction behind the snapshot that is in force.
    fn mind_archive(&mut self, running: ProcessId, last: EntryId) {
        let Some(process) = self.process(running) else { return };
        let Ok(usage) = process.store.shared().usage() else { return };
        process.spare_bytes = usage.spare_bytes;
        if process.store.shared().snapshot(SHARD_0).is_none_or(|snapshot| snapshot.last != last) {
            return;
        }
        // A segment stays as long as no frame in a later one is durable.
        let is_settled = usage.log_entries > 0 && !process.store.is_busy;
        let is_due = usage.oldest.as_ref().is_some_and(|it| it.why == WhyKept::Compaction);
        assert!(!is_settled || !is_due, "{running:?} keeps what is to go, right after a compaction: {usage:?}");
        let most = 2 * usage.living_bytes + ARCHIVE_FILE_BYTES * usage.files;
        assert!(usage.archive_bytes <= most, "{running:?} keeps more than {most} bytes: {usage:?}");
    }

    /// A received snapshot is to take the place of the log.
    pub fn install(&mut self, running: ProcessId, write: &Write, last: EntryId) {
        let install = self.checks.on_install(running.node, write, last);
        if install.was_divergent {
            self.coverage.sometimes("a snapshot was installed over a log that was never committed");
        }
        if let Some(process) = self.process(running) {
            process.installing = Some(last);
        }
    }

    /// It has, and the state is that of the snapshot.
    pub fn installed(&mut self, id: NodeId, last: EntryId) {
        let process = self.nodes.get_mut(&id).and_then(|node| node.process.as_mut()).expect("it has just told so");
        process.installing = None;
        process.offered = None;
        process.installed_in_turn = process.turns;
        process.restored = last.index;
        self.mind_snapshot(id);
        self.mind_bodies(id);
    }

    /// Reads the snapshot of a node that starts, and puts its membership before those of the log. None: the disk has failed.
    pub fn restore(&mut self, id: NodeId, opened: &mut Opened) -> Option<Option<Start>> {
        let limits = self.knobs.limits;
        match snapshots::restore(opened.store.shared(), Some(CLUSTER), SHARD_0, limits) {
            Ok(None) => Some(None),
            Ok(Some(restored)) => {
                let state = &restored.0.state;
                self.checks.check_state(id, state);
                let raft::Snapshot { configuration, configuration_index, .. } = state.snapshot.clone();
                opened.recovered.configurations.insert(0, (configuration_index, configuration));
                Some(Some(restored))
            }
            Err(error) => {
                self.on_disk_error(id, &error);
                None
            }
        }
    }

    /// A node starts from its snapshot, after which a compaction may have been interrupted.
    pub fn go_on_from(&mut self, id: NodeId, (restored, living): Start) {
        let running = self.running(id);
        let last = restored.state.snapshot.last;
        let node = self.nodes.get_mut(&id).expect("machines stay in the list");
        let mut process = node.process.take().expect("it has just started");
        process.replica = process.replica.restored(restored);
        process.restored = last.index;
        process.living.insert(last, living);
        node.process = Some(process);
        self.compact_later(running, last, BTreeSet::new());
        self.mind_bodies(id);
    }

    /// Every body that lives in the state of a node, and whose entry it has on disk, is there, and is what its producer gave.
    fn mind_bodies(&mut self, id: NodeId) {
        let Some(process) = self.nodes[&id].process.as_ref() else { return };
        if process.installing.is_some() || !self.has_power(id) {
            return;
        }
        let durable = process.replica.status().durable;
        for Living { id: message, .. } in process.replica.machine().living() {
            if message.index <= durable {
                self.mind_body(id, process, message);
            }
        }
    }

    fn mind_body(&self, id: NodeId, process: &Process, message: MessageId) {
        let read = process.store.body(message.index);
        let payload = match &read {
            Ok(quorate::raft::Entry { payload: raft::Payload::Command(payload), .. }) => Some(payload),
            _ => None,
        };
        let found = payload.and_then(|payload| message_of(payload, message.item)).and_then(|message| message.body);
        let given = self.checks.message(message);
        assert!(
            found.is_some() && found == given.as_ref().map(Into::into),
            "{id} has {read:?} for {message:?}, which is {given:?}"
        );
    }

    /// The snapshot of a node is whole, and what all others have at the same place.
    fn mind_snapshot(&mut self, id: NodeId) {
        let Some(process) = self.nodes[&id].process.as_ref() else { return };
        let store = process.store.shared().clone();
        match snapshots::restore(&store, Some(CLUSTER), SHARD_0, self.knobs.limits) {
            Ok(Some((restored, _))) => self.checks.check_state(id, &restored.state),
            Ok(None) => {}
            Err(error) => assert!(!self.has_power(id), "{id} cannot read its snapshot: {error}"),
        }
    }

    /// What the nodes have on disk is what they need.
    pub fn mind_stores(&mut self) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            self.mind_bodies(id);
            self.mind_snapshot(id);
        }
    }

    /// A node that would start once more from what it has on disk would have all that it has, and nothing to tidy up.
    pub fn mind_disks(&mut self) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            let node = &self.nodes[&id];
            let Some(process) = &node.process else { continue };
            let is_fetching = process.offered.is_some() || !matches!(process.fetching, Fetching::Nothing);
            let is_tidy = !process.has_failed_sync && !is_fetching;
            let opened = Store::open(&node.disk.duplicate(), self.knobs.segment_bytes, id.0 as u32);
            let opened = opened.unwrap_or_else(|error| panic!("{id} could not start once more: {error}"));
            assert!(!is_tidy || opened.leftovers == 0, "{id} has {} files that nothing names", opened.leftovers);
            let has_failed_sync = process.has_failed_sync;
            let is_same = self.checks.on_recovered(id, &opened.recovered).is_as_known();
            assert!(is_same || has_failed_sync, "{id} has another snapshot than it knows, or an entry more");
        }
    }

    /// A node that keeps files for somebody else.
    pub fn holder(&self) -> Option<NodeId> {
        let holds = |process: &Process| {
            let held = process.store.shared().usage().map_or(0, |usage| usage.held_bytes);
            held > 0 || !process.outgoing.status().is_empty()
        };
        let holder = self.nodes.iter().find(|(_, node)| node.process.as_ref().is_some_and(holds));
        holder.map(|(id, _)| *id)
    }
}

/// True for a body that is not there, or is not what was written. The power may have failed.
fn is_lost(read: &Result<raft::Entry, storage::Error>) -> bool {
    matches!(read, Err(storage::Error::NotInLog { .. } | storage::Error::Corrupt { .. }))
}
