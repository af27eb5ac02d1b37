//! What a node tells of itself when somebody collects its metrics.
//!
//! Whoever collects does so on a thread of its own, and waits: it asks [`source`], and a task of the node answers, as long as there
//! is one. So nothing is gathered while nobody wants to know, and nobody who collects runs anything of the node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::handle::Asked;
use super::{Clock, Handle, Seen, Transfers};
use crate::health::Verdict;
use crate::ids::{NodeId, SHARD_0};
use crate::raft::{ProgressView, Timeouts};
use crate::replica::{Answer, Consistency, Read, Status};
use crate::state_machine::{Operation, Outcome, QueueName};
use crate::telemetry::{Figures, Listing, Peer, Queues, Source};
use crate::transport::{AddressBook, Occupancy};

/// Whoever collects waits so long for a node that is busy, and then does without its figures.
const GATHER_MAX: Duration = Duration::from_secs(2);

/// Of so many queues at a time the loop is asked: one turn is not to be long.
const PAGE_QUEUES: u32 = 1000;

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
        while let Some(wish) = wanted.recv().await {
            let figures = self.gather().await;
            // Whoever asked may have given up.
            let _ = wish.try_send(figures);
        }
    }

    async fn gather(&mut self) -> Figures {
        let replica = self.handle.status(SHARD_0);
        let seen = self.handle.seen(SHARD_0);
        self.mind_learners(replica.as_ref());
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
            queues,
            storage: self.transfers.usage(),
            connections: [("client", self.clients.open()), ("peer", self.peers.open())],
            timeouts: seen.iter().flat_map(|seen| timeouts(&seen.view.timeouts)).collect(),
            peers: seen.iter().flat_map(peers).collect(),
            replica,
        }
    }

    /// Notes who is a learner, and forgets who is none any more.
    fn mind_learners(&mut self, status: Option<&Status>) {
        let learners = status.map(|status| &status.membership.configuration.learners);
        let is_learner = |node: &NodeId| learners.is_some_and(|learners| learners.contains_key(node));
        self.learners.retain(|node, _| is_learner(node));
        for learner in learners.iter().flat_map(|learners| learners.keys()) {
            self.learners.entry(*learner).or_insert_with(Instant::now);
        }
    }

    /// What is in the queues: all are looked at, page by page. None: the loop has too much to do.
    async fn queues(&self) -> Option<Queues> {
        let mut listing = Listing::new(self.queues_max);
        let mut after: Option<QueueName> = None;
        loop {
            let list = Operation::ListQueues { after, limit: PAGE_QUEUES };
            let mut outcomes = self.show(vec![list, Operation::Stats { queue: None }]).await?.into_iter();
            let (Some(Outcome::Queues { queues, more }), Some(Outcome::Stats(totals))) =
                (outcomes.next(), outcomes.next())
            else {
                return None;
            };
            after = queues.last().map(|queue| queue.name.clone());
            listing.add(queues);
            if !more || after.is_none() {
                return Some(listing.finish(totals, self.clock.wall()));
            }
        }
    }

    async fn show(&self, operations: Vec<Operation>) -> Option<Vec<Outcome>> {
        let read = Read { operations, consistency: Consistency::Stale };
        let asked = self.handle.place_at_once(0).ok()?.ask(SHARD_0, Asked::Read(read));
        match asked.await {
            Ok(Answer::Shown(shown)) => Some(shown.outcomes),
            _ => None,
        }
    }
}

fn timeouts(timeouts: &Timeouts) -> [(&'static str, Duration); 3] {
    let Timeouts { election_min, election_max, heartbeat } = *timeouts;
    [("election_min", election_min), ("election_max", election_max), ("heartbeat", heartbeat)]
}

fn peers(seen: &Seen) -> impl Iterator<Item = (NodeId, Peer)> {
    let peer =
        |(node, view): (&NodeId, &ProgressView)| (*node, Peer { view: *view, last_contact: seen.last_contact(*node) });
    seen.view.progress.iter().map(peer)
}
