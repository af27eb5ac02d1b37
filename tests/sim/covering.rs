//! Counts the interesting things.

use quorate::ids::{EntryId, Index, NodeId, Time};
use quorate::raft::{Event, RoleName, VoteRefusal};
use quorate::replica::{Answer, Consistency, Refusal, Shown};
use quorate::state_machine::{self, Outcome};
use quorate::storage::Compacted;

use super::checks::Comeback;
use super::client::Ending;
use super::cluster::{Cluster, ProcessId};
use super::node::Waiter;
use super::store::Opened;

impl Cluster {
    /// Before the checks learn of it.
    pub fn cover_event(&mut self, id: NodeId, event: &Event) {
        match event {
            Event::RoleChanged { role: RoleName::Leader, .. } if self.checks.has_had_leader() => {
                self.coverage.sometimes("a leader was replaced");
            }
            Event::RoleChanged { cause: "its disk does not finish writing", .. } => {
                self.coverage.sometimes("a leader stepped down because its disk hung");
            }
            Event::RoleChanged { cause: "a majority was not heard in time", .. } => {
                self.coverage.sometimes("a leader stepped down because nobody heard it");
            }
            Event::Truncated { .. } => self.coverage.sometimes("a follower's log was cut"),
            Event::VoteRefused { pre_vote, refusal, .. } => {
                if *pre_vote {
                    self.coverage.sometimes("a pre-vote was refused");
                }
                if *refusal == VoteRefusal::LeaderAlive {
                    self.coverage.sometimes("a vote was refused because a leader is heard");
                }
            }
            Event::TransferGivenUp { .. } => self.coverage.sometimes("a transfer was given up"),
            Event::ReadIndexAskedAgain => self.coverage.sometimes("a follower read was asked again"),
            Event::SnapshotTold { .. } => self.coverage.sometimes("a leader told a member to fetch a snapshot"),
            Event::LogCompacted { .. } => self.coverage.sometimes("a log was compacted"),
            Event::SnapshotInstalled { .. } => self.coverage.sometimes("a snapshot was installed"),
            Event::WasRemoved { .. } => self.coverage.sometimes("a removed node was told so"),
            Event::ConfigurationChanged { configuration, .. } => {
                let before = self.checks.configuration(id);
                let is_promotion = before.learners.keys().any(|learner| configuration.is_voter(*learner));
                let lost: Vec<NodeId> = before.members().filter(|node| !configuration.is_member(*node)).collect();
                if is_promotion {
                    self.coverage.sometimes("a learner was promoted");
                }
                if !lost.is_empty() {
                    self.coverage.sometimes("a member was removed");
                }
                if lost.iter().any(|node| self.nodes[node].is_dead) {
                    self.coverage.sometimes("a lost node was replaced or removed");
                }
            }
            _ => {}
        }
    }

    /// A replica wants entries read. What for, the limit tells.
    pub fn cover_log_read(&mut self, bytes_max: u64) {
        let what = match bytes_max {
            _ if bytes_max == self.knobs.raft.append_bytes_max => "entries were read back for a follower",
            _ => "entries were read back to be applied",
        };
        self.coverage.sometimes(what);
    }

    /// A node answers.
    pub fn cover_answer(&mut self, waiter: &Waiter, time: Time, turns: u64, answer: &Result<Answer, Refusal>) {
        let was_parked = waiter.waits_until.is_some_and(|until| time < until) && turns > waiter.turn + 1;
        match answer {
            Ok(Answer::Executed(executed)) => {
                if executed.replayed {
                    self.coverage.sometimes("a retry returned the first outcome");
                }
                if executed.outcomes == [Outcome::SessionClosed] {
                    self.coverage.sometimes("a session was closed");
                }
                if executed.outcomes.len() > 1 {
                    self.coverage.sometimes("several operations took effect together");
                }
                if let [Outcome::Dequeued(Some(message))] = &executed.outcomes[..]
                    && was_parked
                    && message.id.index > waiter.commit
                {
                    self.coverage.sometimes("a waiting dequeue was woken");
                }
                if matches!(&executed.outcomes[..], [Outcome::Leased { messages, .. }] if !messages.is_empty())
                    && was_parked
                {
                    self.coverage.sometimes("a waiting lease was woken");
                }
            }
            Ok(Answer::LeadershipTransferred { .. }) => self.coverage.sometimes("a transfer succeeded"),
            Err(Refusal::Transfer(_)) => self.coverage.sometimes("a transfer was refused"),
            Err(Refusal::NotTransferred { leader: Some(_), .. }) => {
                self.coverage.sometimes("leadership went elsewhere than it was asked to");
            }
            Err(Refusal::NotLeader { .. }) if was_parked => {
                self.coverage.sometimes("a waiting dequeue was told of a lost leader");
            }
            Err(Refusal::NotLeader { leader: Some(_), .. }) => self.coverage.sometimes("a client was redirected"),
            Err(Refusal::OutcomeUnknown { .. }) => self.coverage.sometimes("an outcome was unknown"),
            Err(Refusal::Overloaded) => self.coverage.sometimes("a request was refused as too much"),
            Err(Refusal::Refused(state_machine::Refusal::TooManyOutcomes { .. })) => {
                self.coverage.sometimes("a session kept too many outcomes");
            }
            Err(Refusal::Refused(state_machine::Refusal::SessionExpired(_))) => {
                self.coverage.sometimes("a session expired");
            }
            _ => {}
        }
    }

    /// A node answers a read.
    pub fn cover_read(&mut self, id: NodeId, waiter: &Waiter, answer: &Result<Answer, Refusal>) {
        let Some(read) = waiter.read else { return };
        let Some(process) = &self.nodes[&id].process else { return };
        let leads = process.replica.status().role == RoleName::Leader;
        let is_later = |round: &u64| *round > read.round + 1;
        let by_later_round = !process.rounds_answered.is_empty() && process.rounds_answered.iter().all(is_later);
        match (answer, read.consistency) {
            (Ok(Answer::Shown(Shown { age: Some(_), .. })), _) => self.coverage.sometimes("a stale read was shown"),
            (Ok(_), Consistency::Stale) => self.coverage.sometimes("a node did not know how old its state was"),
            (Ok(_), _) if read.led && leads => {
                self.coverage.sometimes("a read was confirmed by the leader");
                if read.came_before_noop {
                    self.coverage.sometimes("a read waited for the no-op");
                }
                if by_later_round {
                    self.coverage.sometimes("a read was confirmed by a later round");
                }
            }
            (Ok(_), _) if !read.led && !leads => self.coverage.sometimes("a follower read was served"),
            (Err(Refusal::NotLeader { .. }), _) if read.led && !leads => {
                self.coverage.sometimes("a read was refused after a lost leadership");
            }
            _ => {}
        }
    }

    /// A node has opened its disk.
    pub fn cover_start(&mut self, opened: &Opened, comeback: &Comeback, interrupted: Option<EntryId>) {
        let snapshot = opened.recovered.snapshot;
        if let Some(last) = interrupted {
            self.coverage.sometimes(match last == snapshot {
                true => "a crash came right after a snapshot was installed",
                false => "a crash kept a snapshot from being installed",
            });
        }
        if comeback.snapshot_survived {
            self.coverage.sometimes("a snapshot was in force that its process did not know to be so");
        }
        if opened.leftovers > 0 {
            self.coverage.sometimes("what a crash had left behind was removed");
        }
        if snapshot.index > Index(0) {
            self.coverage.sometimes("a node started from a snapshot");
        }
    }

    /// A frame was written, perhaps to a segment that was something else before.
    pub fn cover_segment(&mut self, running: ProcessId) {
        let Some(process) = self.process(running).filter(|process| process.spare_bytes > 0) else { return };
        let Ok(usage) = process.store.shared().usage() else { return };
        let before = std::mem::replace(&mut process.spare_bytes, usage.spare_bytes);
        if usage.spare_bytes < before {
            self.coverage.sometimes("a file was used again as a segment");
        }
    }

    /// A log was compacted.
    pub fn cover_compacted(&mut self, compacted: &Compacted) {
        if compacted.files_removed > 0 {
            self.coverage.sometimes("a compaction removed files");
        }
        if compacted.bytes_copied > 0 {
            self.coverage.sometimes("a compaction wrote what lives once more");
        }
    }

    /// A request ends.
    pub fn cover_ending(&mut self, ending: &Ending) {
        if let Ending::Refused(state_machine::Refusal::QueueFull { .. }) = ending {
            self.coverage.sometimes("a queue was full");
        }
    }
}
