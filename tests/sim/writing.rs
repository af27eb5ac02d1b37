//! What happens at a node's disk: it writes, syncs and reports, and the power can fail between any two. It also reads.

use quorate::ids::{Index, NodeId, Ticket};
use quorate::replica::{self, ReadId};
use quorate::storage;
use rand::RngExt;

use super::cluster::{Cluster, Event, Phase, ProcessId};
use super::knobs::Micros;
use super::upkeep::Upkeep;

impl Cluster {
    /// A write waits: the disk begins, unless it is at work.
    pub fn kick_disk(&mut self, running: ProcessId) {
        let at = self.disk_step_at(running.node);
        let Some(process) = self.process(running) else { return };
        if process.store.waiting() > 0 && !std::mem::replace(&mut process.store.is_busy, true) {
            self.schedule(at, Event::Append(running));
        }
    }

    /// When a disk will have done its next step.
    pub fn disk_step_at(&mut self, id: NodeId) -> Micros {
        let is_slow = self.phase == Phase::Faults && self.random.disk.random_bool(self.knobs.disk.tail);
        let longest = if is_slow { self.knobs.disk.tail_max } else { self.knobs.disk.delay_max };
        let at = self.now + self.random.disk.random_range(0..=longest);
        at.max(self.nodes[&id].stalled_until)
    }

    /// A disk writes what waits.
    pub fn append(&mut self, running: ProcessId) {
        let Some(process) = self.process(running) else { return };
        let next = process.store.next();
        let fault = if next.is_install { self.begin_upkeep(running.node, Upkeep::Install) } else { None };
        let Some(process) = self.process(running) else { return };
        let appended = process.store.append();
        self.checks.on_appended(running.node, next.count);
        if next.is_install && appended.is_ok() {
            self.checks.on_synced(running.node);
        }
        if !self.end_upkeep(running, fault) {
            return;
        }
        match appended {
            Ok(()) => {
                self.cover_segment(running);
                let at = self.disk_step_at(running.node);
                self.schedule(at, Event::Sync(running));
            }
            Err(error) => {
                self.coverage.sometimes("the power failed while the disk was written");
                self.on_disk_error(running.node, &error);
            }
        }
    }

    /// A disk syncs what was written.
    pub fn sync(&mut self, running: ProcessId) {
        let Some(process) = self.process(running) else { return };
        match process.store.sync() {
            Ok(ticket) => {
                process.store.is_busy = false;
                self.checks.on_synced(running.node);
                let at = self.disk_step_at(running.node);
                self.schedule(at, Event::Persisted(running, ticket));
                self.kick_disk(running);
            }
            Err(error) => {
                self.coverage.sometimes("a sync failed");
                self.on_disk_error(running.node, &error);
            }
        }
    }

    /// A disk reads entries.
    pub fn read(&mut self, running: ProcessId, read: ReadId, from: Index, to: Index, bytes_max: u64) {
        let Some(process) = self.process(running) else { return };
        process.reads -= 1;
        match process.store.read(from, to, bytes_max) {
            Ok(entries) => {
                self.checks.on_read(from, &entries);
                self.put(running.node, replica::Event::EntriesRead { read, entries });
            }
            // They were cut meanwhile.
            Err(storage::Error::NotInLog { .. }) => self.put(running.node, replica::Event::NotInLog { read }),
            Err(error) => self.on_disk_error(running.node, &error),
        }
    }

    /// A disk reads the entry of a body.
    pub fn read_body(&mut self, running: ProcessId, read: ReadId, index: Index) {
        let Some(process) = self.process(running) else { return };
        process.reads -= 1;
        let has_outlived_log = process.store.read(index, index, 0).is_err();
        match process.store.body(index) {
            Ok(entry) => {
                if has_outlived_log {
                    self.coverage.sometimes("a body that has outlived its log was read back for an answer");
                }
                self.put(running.node, replica::Event::EntriesRead { read, entries: vec![entry] });
            }
            // Another state was installed meanwhile, which does without.
            Err(storage::Error::NotInLog { .. }) => self.put(running.node, replica::Event::NotInLog { read }),
            Err(error) => self.on_disk_error(running.node, &error),
        }
    }

    /// A write is durable, and the node hears of it.
    pub fn persisted(&mut self, process: ProcessId, ticket: Ticket) {
        if self.process(process).is_some() {
            self.put(process.node, replica::Event::Persisted(ticket));
        }
    }
}
