//! What a node tells of itself whenever somebody collects metrics: plain data, all of one moment.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::{NodeId, Timestamp};
use crate::raft::{ProgressView, Timing};
use crate::replica::Status;
use crate::state_machine::{QueueInfo, Totals};
use crate::storage::Usage;

/// How a node is.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Whose figures these are.
    pub node: NodeId,
    /// It does its part, as `/readyz` says.
    pub is_ready: bool,
    /// The condition of its replica; none: it does not take part yet.
    pub replica: Option<Status>,
    /// What people call the members.
    pub names: BTreeMap<NodeId, String>,
    /// For how long this process has known each learner as one.
    pub learners: BTreeMap<NodeId, Duration>,
    /// It has applied what was committed when this process started: what it has counted in the log does not go back any more.
    pub counts_stand: bool,
    /// What is in the queues, as far as this node has applied; none: it could not be asked in time.
    pub queues: Option<Queues>,
    /// How the disk is used; none while that is not known.
    pub storage: Option<Usage>,
    /// Open connections, by port.
    pub connections: [(&'static str, usize); 2],
    /// The time-outs in force, and what they follow from; none while there is no replica.
    pub timing: Option<Timing>,
    /// What the leader knows of each other member.
    pub peers: BTreeMap<NodeId, Peer>,
}

/// What a leader knows of another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What there is to see of it.
    pub view: ProgressView,
    /// How long ago it last answered. None: it has not answered in this term.
    pub last_contact: Option<Duration>,
}

/// What is in the queues of a node.
#[derive(Clone, Debug)]
pub struct Queues {
    /// All of them together.
    pub totals: Totals,
    /// How old the oldest message is that can be taken, if there is one. Of a few seconds ago, as is what is listed, where there
    /// are many queues.
    pub oldest: Option<Duration>,
    /// Those with the most messages, as many as are told one by one.
    pub listed: Vec<QueueInfo>,
    /// When they were looked at.
    pub now: Timestamp,
}

impl Queues {
    /// How long before that something was.
    pub(super) fn age(&self, then: Timestamp) -> Duration {
        age(self.now, then)
    }
}

/// The clocks of two nodes differ: what was enqueued by the leader a moment ago can lie ahead.
fn age(now: Timestamp, then: Timestamp) -> Duration {
    Duration::from_millis(now.0.saturating_sub(then.0))
}

impl Figures {
    /// What people call a node.
    pub(super) fn name(&self, node: NodeId) -> String {
        self.names.get(&node).cloned().unwrap_or_else(|| node.to_string())
    }
}

/// The queues that are told one by one: those with the most messages, and of two with as many the first by name. What the others
/// have is in the totals only.
#[derive(Clone, Debug)]
pub struct Listing {
    queues_max: usize,
    queues: Vec<QueueInfo>,
    oldest: Option<Timestamp>,
}

impl Listing {
    /// Nothing is listed yet, and at most `queues_max` queues will be.
    pub fn new(queues_max: usize) -> Self {
        Self { queues_max, queues: Vec::new(), oldest: None }
    }

    /// Looks at some more queues.
    pub fn add(&mut self, queues: impl IntoIterator<Item = QueueInfo>) {
        for queue in queues {
            self.oldest = self.oldest.min(queue.oldest).or(self.oldest).or(queue.oldest);
            self.queues.push(queue);
        }
        let order = |queue: &QueueInfo| Reverse(queue.contents.messages());
        self.queues.sort_by(|left, right| order(left).cmp(&order(right)).then_with(|| left.name.cmp(&right.name)));
        self.queues.truncate(self.queues_max);
    }

    /// Those that are told, looked at `now`.
    pub fn finish(self, totals: Totals, now: Timestamp) -> Queues {
        let oldest = self.oldest.map(|oldest| age(now, oldest));
        Queues { totals, oldest, listed: self.queues, now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_machine::{Contents, Counts, Settings};

    #[test]
    fn the_longest_queues_are_listed_and_of_equal_ones_the_first() {
        let settings = Settings { lease_duration: Duration::ZERO, deliveries_max: 1, messages_max: 1 };
        let queue = |name: &str, ready| QueueInfo {
            name: name.parse().unwrap(),
            contents: Contents { ready, ..Contents::default() },
            counts: Counts::default(),
            oldest: (ready > 0).then_some(Timestamp(1000 + ready)),
            settings,
        };
        let mut listing = Listing::new(3);
        listing.add([queue("a", 1), queue("b", 9), queue("c", 2)]);
        listing.add([queue("d", 2), queue("e", 2), queue("f", 0)]);
        let queues = listing.finish(Totals::default(), Timestamp(2001));
        let names: Vec<String> = queues.listed.iter().map(|queue| queue.name.to_string()).collect();
        assert_eq!(queues.oldest, Some(Duration::from_secs(1)), "also of those that are not listed: {queues:?}");
        assert_eq!(names, ["b", "c", "d"]);
    }
}
