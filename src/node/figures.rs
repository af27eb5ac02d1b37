//! What a node tells of itself when somebody collects its metrics.
//!
//! Whoever collects does so on a thread of its own, and waits: it asks [`source`], and a task of the node answers, as long as there
//! is one. So nothing but who is a learner is looked at while nobody wants to know, and nobody who collects runs anything of the node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::handle::Asked;
use super::{Clock, Handle, Seen, Transfers};
use crate::health::Verdict;
use crate::ids::{Index, NodeId, SHARD_0};
use crate::raft::ProgressView;
use crate::replica::{Answer, Consistency, Read, Status};
use crate::state_machine::{Operation, Outcome, QueueName};
use crate::telemetry::{Figures, Listing, Peer, Queues, Source};
use crate::transport::{AddressBook, Occupancy};

/// Whoever collects waits so long for a node that is busy, and then does without its figures.
const GATHER_MAX: Duration = Duration::from_secs(2);

/// Of so many queues at a time the loop is asked: one turn is not to be long.
const PAGE_QUEUES: u32 = 1000;

/// Where there are more queues than that, all of them are gone through so often at most: with as many as there may be, that is a
/// hundred questions.
const LISTING_AGE_MAX: Duration = Duration::from_secs(5);

/// So often a node looks who is a learner, also while nobody wants its figures: once it leads, it is to tell since when.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Somebody wants the figures.
type Wish = std::sync::mpsc::SyncSender<Figures>;

/// A gatherer, and who asks it.
pub(super) type Gathering = (Gatherer, mpsc::Receiver<Wish>);

/// Where the figures of a node come from.
pub(super) struct Gatherer {
    pub(super) handle: Handle,
    pub(super) book: AddressBook,
    pub(super) transfers: Transfers,
    pub(super) verdicts: watch::Receiver<Verdict>,
    pub(super) clients: Occupancy,
    pub(super) peers: Occupancy,
    /// As many queues are told one by one.
    pub(super) queues_max: usize,
    pub(super) clock: Clock,
    /// Since when each learner has been known as one.
    pub(super) learners: BTreeMap<NodeId, Instant>,
    /// Whether what it has counted goes back.
    pub(super) standing: Standing,
    /// The queues when all of them were last gone through, where they are many.
    pub(super) listing: Option<(Instant, Listing)>,
}

/// Whether a node has applied what was committed when it started.
///
/// What was committed is heard from the leader. A leader that was just elected may not know it yet, but then the log has it; so a
/// node that knows a leader has to apply all that it has heard of, and its log as it is then. Some of that log may turn out not to
/// be committed, and is cut off.
#[derive(Debug, Default)]
pub(super) struct Standing {
    goal: Option<Index>,
    is_reached: bool,
}

impl Standing {
    /// Sees how far the node is, whose log ends at `last`, and returns whether it has applied that much, then or before.
    fn see(&mut self, knows_leader: bool, applied: Index, heard_commit: Index, last: Index) -> bool {
        if knows_leader {
            self.goal.get_or_insert(last);
        }
        if let Some(goal) = self.goal {
            self.is_reached |= applied >= heard_commit.max(goal.min(last));
        }
        self.is_reached
    }
}

/// Where to ask for figures, and the end at which [`Gatherer::answer`] answers. One asks at a time.
pub(super) fn source() -> (Arc<Source>, mpsc::Receiver<Wish>) {
    let (wishes, wanted) = mpsc::channel::<Wish>(1);
    let ask = move || {
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        wishes.try_send(answer).ok()?;
        answered.recv_timeout(GATHER_MAX).ok()
    };
    (Arc::new(ask), wanted)
}

impl Gatherer {
    /// Answers whoever asks, until nobody can any more.
    pub(super) async fn answer(mut self, mut wanted: mpsc::Receiver<Wish>) {
        loop {
            self.mind_learners();
            let wish = match tokio::time::timeout(LOOK_INTERVAL, wanted.recv()).await {
                Ok(Some(wish)) => wish,
                Ok(None) => return,
                Err(_) => continue,
            };
            let figures = self.gather().await;
            // Whoever asked may have given up.
            let _ = wish.try_send(figures);
        }
    }

    async fn gather(&mut self) -> Figures {
        let replica = self.handle.status(SHARD_0);
        let seen = self.handle.seen(SHARD_0);
        let counts_stand = replica.as_ref().is_some_and(|status| {
            let Status { leader, applied, heard_commit, last, .. } = status;
            self.standing.see(leader.is_some(), *applied, *heard_commit, last.index)
        });
        let queues = match &replica {
            Some(_) => tokio::time::timeout(GATHER_MAX / 2, self.queues()).await.ok().flatten(),
            None => None,
        };
        let members = replica.iter().flat_map(|status| status.membership.configuration.members());
        Figures {
            node: self.handle.node(),
            is_ready: self.verdicts.borrow().is_ready(),
            names: members.map(|member| (member, self.book.name_of(member))).collect(),
            learners: self.learners.iter().map(|(learner, since)| (*learner, since.elapsed())).collect(),
            counts_stand,
            queues,
            storage: self.transfers.usage(),
            connections: [("client", self.clients.open()), ("peer", self.peers.open())],
            timing: seen.as_ref().map(|seen| seen.view.timing),
            peers: seen.iter().flat_map(peers).collect(),
            replica,
        }
    }

    /// Notes who is a learner, and forgets who is none any more.
    fn mind_learners(&mut self) {
        let membership = self.handle.look(SHARD_0, |status| status.membership.clone());
        let learners = membership.as_ref().map(|membership| &membership.configuration.learners);
        let is_learner = |node: &NodeId| learners.is_some_and(|learners| learners.contains_key(node));
        self.learners.retain(|node, _| is_learner(node));
        for learner in learners.iter().flat_map(|learners| learners.keys()) {
            self.learners.entry(*learner).or_insert_with(Instant::now);
        }
    }

    /// What is in the queues. None: the loop has too much to do.
    async fn queues(&mut self) -> Option<Queues> {
        let kept = self.listing.as_ref().filter(|(at, _)| at.elapsed() < LISTING_AGE_MAX);
        if let Some((_, listing)) = kept {
            let listing = listing.clone();
            let [Outcome::Stats(totals)] = self.show([Operation::Stats { queue: None }]).await? else { return None };
            return Some(listing.finish(totals, self.clock.wall()));
        }
        self.go_through().await
    }

    /// Looks at all queues, page by page, and keeps what there was if it took more than one.
    async fn go_through(&mut self) -> Option<Queues> {
        let mut listing = Listing::new(self.queues_max);
        let mut after: Option<QueueName> = None;
        loop {
            let is_first = after.is_none();
            let list = Operation::ListQueues { after, limit: PAGE_QUEUES };
            let [Outcome::Queues { queues, more }, Outcome::Stats(totals)] =
                self.show([list, Operation::Stats { queue: None }]).await?
            else {
                return None;
            };
            after = queues.last().map(|queue| queue.name.clone());
            listing.add(queues);
            if !more || after.is_none() {
                self.listing = (!is_first).then(|| (Instant::now(), listing.clone()));
                return Some(listing.finish(totals, self.clock.wall()));
            }
        }
    }

    async fn show<const N: usize>(&self, operations: [Operation; N]) -> Option<[Outcome; N]> {
        let read = Read { operations: operations.into(), consistency: Consistency::Stale, is_own: true };
        let asked = self.handle.place_at_once(0).ok()?.ask(SHARD_0, Asked::Read(read));
        match asked.await {
            Ok(Answer::Shown(shown)) => shown.outcomes.try_into().ok(),
            _ => None,
        }
    }
}

fn peers(seen: &Seen) -> impl Iterator<Item = (NodeId, Peer)> {
    let peer =
        |(node, view): (&NodeId, &ProgressView)| (*node, Peer { view: *view, last_contact: seen.last_contact(*node) });
    seen.view.progress.iter().map(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applied, heard to be committed, the end of the log.
    fn see(standing: &mut Standing, knows_leader: bool, indexes: [u64; 3]) -> bool {
        let [applied, heard_commit, last] = indexes.map(Index);
        standing.see(knows_leader, applied, heard_commit, last)
    }

    #[test]
    fn who_joins_stands_once_it_has_applied_what_it_heard_of() {
        let mut standing = Standing::default();
        assert!(!see(&mut standing, false, [0, 0, 0]), "nobody has told it anything");
        assert!(!see(&mut standing, true, [0, 1200, 0]));
        assert!(!see(&mut standing, true, [800, 1300, 900]));
        assert!(see(&mut standing, true, [1300, 1300, 1301]));
        assert!(see(&mut standing, false, [1300, 1900, 1400]), "it does not go back from there");
    }

    /// Its snapshot ends at 50, and it has not heard what of its log is committed.
    #[test]
    fn who_starts_again_stands_once_its_log_is_applied() {
        let mut standing = Standing::default();
        assert!(!see(&mut standing, false, [50, 50, 90]));
        assert!(!see(&mut standing, true, [50, 50, 91]), "it leads, and has committed nothing in its term");
        assert!(see(&mut standing, true, [91, 91, 95]), "what comes later is not waited for");
    }

    #[test]
    fn what_is_cut_off_is_not_waited_for() {
        let mut standing = Standing::default();
        assert!(!see(&mut standing, true, [50, 50, 90]));
        assert!(see(&mut standing, true, [80, 80, 80]));
    }
}
