//! Snapshots: the log is compacted behind them, and who lacks what it no longer has gets one (paper, section 7). What Raft
//! knows of a snapshot is its last entry and its configuration; the rest is the state machine's business.
//!
//! ```text
//!    leader                              follower
//!        | AppendEntries .. rejected        |  what it lacks is before the start of the leader's log
//!        | InstallSnapshot, last 70@3       |
//!        |--------------------------------->|  FetchSnapshot: outside of Raft, for as long as it takes
//!        |    (said again each interval)    |
//!        |                                  |  on_snapshot_received: the log begins anew after 70@3, one write
//!        |            AppendReply 70@3      |
//!        |<---------------------------------|  durable
//!        | AppendEntries, previous 70@3     |
//! ```
//!
//! - An answer that the log goes on from is enough, of whatever snapshot or entry it comes. So a leader may take one snapshot
//!   after the other while a follower is still fetching.
//! - Whoever has the last entry of a snapshot in its log, or has committed as much, needs none of it.
//! - A follower whose log is longer than the snapshot and lacks its last entry has nothing above that is committed: the log is
//!   discarded.

use super::core::{Raft, Role};
use super::progress::Progress;
use super::{AppendReply, Body, Configuration, Effect, Event};
use crate::ids::{EntryId, Index, NodeId, Ticket, Time};

/// A snapshot takes the place of all entries up to its last one (paper, section 7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry that it has in it.
    pub last: EntryId,
    /// The membership as of that entry.
    pub configuration: Configuration,
    /// Where that membership stands in the log: at `last` or before.
    pub configuration_index: Index,
}

impl Raft {
    /// The snapshot of this node up to `last` is durable, and so is that the log begins after `start`: nobody reads what is
    /// before. A snapshot is taken of what is durable and committed. Of one that an install has overtaken, durable or not, the
    /// log needs nothing.
    ///
    /// # Panics
    /// The log does not have these entries, `last` is not durable or not committed, or the start would go back.
    pub fn on_snapshot_taken(&mut self, last: EntryId, start: EntryId) {
        let begun = self.log.start();
        if last.index < begun.index {
            self.snapshot = self.snapshot.max(last);
            return;
        }
        assert!(self.log.has(last), "a snapshot was taken up to {last}, which is not in the log");
        assert!(last.index <= self.commit, "a snapshot was taken up to {last}, and {} is committed", self.commit);
        assert!(last.index <= self.durable(), "a snapshot was taken up to {last}, and {} is durable", self.durable());
        assert!(last >= self.snapshot, "a snapshot was taken up to {last}, after that up to {}", self.snapshot);
        assert!(start.index <= last.index, "the log would begin after {start}, past its snapshot up to {last}");
        assert!(start.index >= begun.index, "the start of the log would go back from {begun} to {start}");
        self.snapshot = last;
        if start != begun {
            self.log.compact(start);
            self.tell(Event::LogCompacted { start });
        }
    }

    /// If a leader's log begins after one of these, a member that it has heard lately needs a snapshot, or another one than it
    /// is fetching.
    pub fn needed_by_members(&self, now: Time) -> impl Iterator<Item = Index> {
        let window = self.timeouts().election_max;
        let progress = match &self.role {
            Role::Leader(leader) => Some(leader.progress.values()),
            _ => None,
        };
        let heard = progress.into_iter().flatten().filter(move |progress| progress.was_heard(now, window));
        heard.map(Progress::goes_on_after)
    }

    /// Tells a member to fetch the snapshot, if that is due: what it lacks is no longer in the log.
    pub(super) fn offer_snapshot(&mut self, now: Time, peer: NodeId) {
        let (last, start) = (self.snapshot, self.log.start().index);
        let interval = self.timeouts().heartbeat;
        // The log can begin after a snapshot that is not yet durable, and then this node has none to offer.
        if last.index < start {
            return;
        }
        let Some(progress) = self.progress_mut(peer).filter(|it| it.snapshot_is_due(now, interval)) else { return };
        if progress.on_snapshot_told(last, start, now) {
            self.tell(Event::SnapshotTold { to: peer, last });
        }
        self.send(peer, Body::InstallSnapshot { last });
    }

    /// True for another member that must have a snapshot before anything else.
    pub(super) fn needs_snapshot(&self, member: NodeId) -> bool {
        self.progress(member).is_some_and(Progress::needs_snapshot)
    }

    /// The leader's log does not go back to what this member lacked, as far as the leader knew.
    pub(super) fn on_install_snapshot(&mut self, now: Time, from: NodeId, last: EntryId) {
        if !self.follow(now, from) {
            return;
        }
        self.heard_commit = self.heard_commit.max(last.index);
        let is_known = last.index <= self.commit;
        if is_known && last.index >= self.log.start().index && !self.log.has(last) {
            return self
                .quarantine(format!("leader {from} has a snapshot up to {last}, where another entry is committed"));
        }
        if is_known || self.log.has(last) {
            self.commit_to(last.index);
            // Everything that is committed is in the leader's log too, and may be more than the snapshot has.
            let committed = self.id_at(self.commit);
            return self.send_when_durable(from, Body::AppendReply(AppendReply::Accepted(committed)));
        }
        if let Role::Follower(follower) = &mut self.role
            && follower.wanted.replace(last) != Some(last)
        {
            self.tell(Event::SnapshotWanted { from, last });
        }
        self.effects.push(Effect::FetchSnapshot { from, last });
    }

    /// A snapshot was fetched, and what is in it is good. It takes the place of the log if it is still of use; then the write
    /// is named with which it does so durably. None: nothing was changed.
    pub fn on_snapshot_received(&mut self, now: Time, snapshot: Snapshot) -> Option<Ticket> {
        let last = snapshot.last;
        let is_of_use = last.index > self.commit && !self.log.has(last);
        if !is_of_use || self.quarantined().is_some() {
            return None;
        }
        if snapshot.configuration_index > last.index {
            let at = snapshot.configuration_index;
            self.quarantine(format!("a snapshot up to {last} came with the configuration at {at}"));
            return None;
        }
        if last.term > self.term() {
            // The log must have nothing of a later term than the member's own: it could lead an earlier one.
            self.become_follower(now, last.term, "a snapshot of a later term was received");
        }
        if self.is_leader() {
            self.quarantine(format!("a snapshot up to {last} came, and the leader of a later term does not have that"));
            return None;
        }
        let ticket = self.install(now, snapshot);
        if let Some(leader) = self.leader() {
            self.send_when_durable(leader, Body::AppendReply(AppendReply::Accepted(last)));
        }
        Some(ticket)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ids::Term;
    use crate::raft::{CommitQuorum, HardState, Message, Options, Recovered, TimeoutPolicy, Timeouts, Window};

    fn id(term: u64, index: u64) -> EntryId {
        EntryId::new(Term(term), Index(index))
    }

    /// Node 1 of these voters, with a log of one entry that holds the configuration.
    fn raft(voters: &[u64]) -> Raft {
        let millis = Duration::from_millis;
        let options = Options {
            timeouts: TimeoutPolicy::Fixed(Timeouts {
                election_min: millis(400),
                election_max: millis(800),
                heartbeat: millis(100),
            }),
            disk_stall_max: millis(1000),
            append_bytes_max: 1 << 20,
            window: Window { appends_max: 64, bytes_max: 1 << 20 },
            cache_bytes_max: 1 << 20,
        };
        let recovered = Recovered {
            hard_state: HardState { term: Term(1), vote: None },
            terms: vec![id(1, 1)],
            last: Index(1),
            configurations: vec![(Index(1), configuration(voters))],
            ..Recovered::default()
        };
        Raft::new(NodeId(1), options, &recovered, 0, Time(0))
    }

    fn configuration(voters: &[u64]) -> Configuration {
        let voters = voters.iter().copied().map(NodeId).collect();
        Configuration { voters, commit_quorum: CommitQuorum::Majority, ..Configuration::EMPTY }
    }

    fn snapshot(last: EntryId, configuration_index: u64) -> Snapshot {
        let configuration_index = Index(configuration_index);
        Snapshot { last, configuration: configuration(&[1, 2, 3]), configuration_index }
    }

    /// A candidate of an earlier term with that log could be voted for, and its entries would not fit after it.
    #[test]
    fn a_snapshot_of_a_later_term_raises_the_term() {
        let mut raft = raft(&[1, 2]);
        assert!(raft.on_snapshot_received(Time(0), snapshot(id(5, 9), 7)).is_some());
        assert_eq!((raft.term(), raft.last(), raft.commit()), (Term(5), id(5, 9), Index(9)));
        assert_eq!((raft.configuration_index(), raft.configuration()), (Index(7), &configuration(&[1, 2, 3])));
    }

    #[test]
    fn a_configuration_after_the_end_of_its_snapshot_quarantines() {
        let mut raft = raft(&[1, 2]);
        assert_eq!(raft.on_snapshot_received(Time(0), snapshot(id(1, 9), 10)), None);
        assert!(raft.quarantined().is_some());
        assert_eq!((raft.last(), raft.commit()), (id(1, 1), Index(0)));
    }

    /// Entries and snapshots that a follower lacks are committed all the same, and it knows how many.
    #[test]
    fn a_follower_knows_how_much_is_committed_before_it_has_it() {
        let mut raft = raft(&[1, 2]);
        let append = Body::AppendEntries { previous: id(1, 9), commit: Index(8), entries: Vec::new(), attempt: 0 };
        raft.on_message(Time(0), NodeId(2), Message { term: Term(1), body: append });
        assert_eq!((raft.commit(), raft.heard_commit()), (Index(0), Index(8)));
        let install = Body::InstallSnapshot { last: id(1, 20) };
        raft.on_message(Time(0), NodeId(2), Message { term: Term(1), body: install });
        assert_eq!((raft.commit(), raft.heard_commit()), (Index(0), Index(20)));
        assert!(raft.on_snapshot_received(Time(0), snapshot(id(1, 30), 7)).is_some());
        assert_eq!(raft.heard_commit(), Index(30));
    }

    /// Paper, section 5.4: what was committed up to its term is in a leader's log.
    #[test]
    fn a_leader_without_what_is_committed_quarantines() {
        let mut raft = raft(&[1]);
        raft.tick(Time(1));
        raft.on_persisted(Time(2), Ticket(1));
        assert!(raft.is_leader());
        assert_eq!(raft.on_snapshot_received(Time(3), snapshot(id(2, 9), 1)), None);
        assert!(raft.quarantined().is_some());
        assert_eq!(raft.last(), id(2, 2));
    }
}
