//! What is worth an alarm only when it lasts: since when it holds. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::alarms::{ELECTIONS, LAG_ENTRIES};
use super::view::{Cluster, Node};

/// Since when something holds that is no matter if it is soon over, in milliseconds since 1970. None: it does not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Since {
    pub(super) unreachable: Option<u64>,
    pub(super) lagging: Option<u64>,
    /// It is a learner that is to become a voter.
    pub(super) learner: Option<u64>,
    pub(super) unready: Option<u64>,
}

/// What is known besides the cluster as it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    /// By the id of the node.
    pub(super) nodes: BTreeMap<String, Since>,
    pub(super) leaderless: Option<u64>,
    /// When the term was seen to rise, the last so many times.
    pub(super) elections: Vec<u64>,
    pub(super) queues: Queues,
    /// The highest term that was seen; 0: none was, as no node has told one.
    term: u64,
}

/// What is known of the queues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Queues {
    /// Dead letters that came within `DEAD_MS`.
    pub(super) dead_lately: u64,
    /// The queue with the most dead letters, as far as queues are listed.
    pub(super) most_dead: Option<String>,
    /// The queue with the oldest message that waits, and how old that is.
    pub(super) oldest: Option<(String, u64)>,
}

impl Past {
    /// The cluster is so now; `learners` are the ids of those that are to become voters.
    pub(super) fn follow(&mut self, cluster: &Cluster, learners: &BTreeSet<String>) {
        let now = cluster.now;
        hold(&mut self.leaderless, now, cluster.leader.is_none() && cluster.voters > 0);
        // The first term that is seen has not risen, nor has one that comes back with the node that has it.
        let before = self.term;
        self.term = before.max(cluster.term);
        if before > 0 && before < cluster.term {
            self.elections.push(now);
            let surplus = self.elections.len().saturating_sub(2 * ELECTIONS);
            self.elections.drain(..surplus);
        }
        self.nodes.retain(|id, _| cluster.nodes.iter().any(|node| node.id == *id));
        for node in &cluster.nodes {
            let since = self.nodes.entry(node.id.clone()).or_default();
            since.follow(now, node, learners.contains(&node.id));
        }
    }
}

impl Since {
    fn follow(&mut self, now: u64, node: &Node, is_to_vote: bool) {
        hold(&mut self.unreachable, now, !node.reachable);
        // What a node said before it went says nothing of how it is since: when it is back, it has its time.
        hold(&mut self.lagging, now, node.reachable && node.lag.is_some_and(|lag| lag > LAG_ENTRIES));
        hold(&mut self.learner, now, is_to_vote);
        let is_unready = node.told.health.iter().any(|health| health.missing.is_some());
        hold(&mut self.unready, now, node.reachable && is_unready);
    }
}

/// Notes since when something holds, if it does.
fn hold(since: &mut Option<u64>, now: u64, holds: bool) {
    *since = holds.then(|| since.unwrap_or(now));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_keeps_its_beginning_and_what_ends_has_none() {
        let mut since = Since::default();
        let node = |reachable, lag| Node { reachable, lag, ..Node::default() };
        since.follow(10, &node(true, Some(LAG_ENTRIES + 1)), true);
        since.follow(20, &node(true, Some(LAG_ENTRIES + 1)), true);
        let expected = Since { unreachable: None, lagging: Some(10), learner: Some(10), unready: None };
        assert_eq!(since, expected);
        since.follow(30, &node(false, Some(LAG_ENTRIES + 1)), true);
        let expected = Since { unreachable: Some(30), lagging: None, ..expected };
        assert_eq!(since, expected, "how far it is behind now is not known");
        since.follow(40, &node(true, Some(LAG_ENTRIES)), false);
        assert_eq!(since, Since::default());
        since.follow(50, &node(false, None), false);
        assert_eq!(since.unreachable, Some(50), "it begins anew");
    }

    #[test]
    fn a_term_has_risen_when_it_is_higher_than_any_that_was_seen() {
        let mut past = Past::default();
        let elections = [0, 7, 7, 9, 7, 9, 10].map(|term| {
            past.follow(&Cluster { term, ..Cluster::default() }, &BTreeSet::new());
            past.elections.len()
        });
        assert_eq!(elections, [0, 0, 0, 1, 1, 1, 2]);
    }
}
