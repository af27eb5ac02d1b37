//! How the nodes have been in the last hour, as this node has seen it. In memory: it begins anew when the node does.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::view::Cluster;

/// From one point to the next.
pub(super) const STEP: Duration = Duration::from_secs(5);

/// Points of an hour.
const POINTS_MAX: usize = 720;

/// Series of so many nodes are kept: more than a cluster has members.
const NODES_MAX: usize = 64;

/// A point of each series: what was known then. In single precision, as a chart has no more pixels than that has digits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Point {
    commit_rate: Option<f32>,
    commit_p99_ms: Option<f32>,
    fsync_p99_ms: Option<f32>,
    lag: Option<f32>,
    ready: Option<f32>,
    memory: Option<f32>,
}

/// How many points are missing between two that are so far apart in time, as a process that was stopped leaves them: at most `most`.
pub(super) fn points_missed(apart: Duration, most: usize) -> usize {
    let steps = (apart.as_secs_f64() / STEP.as_secs_f64()).round() as usize;
    steps.saturating_sub(1).min(most)
}

/// The past of all members. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Each as long as the others, with empty points where nothing was known.
    nodes: BTreeMap<String, VecDeque<Point>>,
    /// When the last points were taken, in milliseconds since 1970.
    end: u64,
}

/// The past of one node, for the page.
#[derive(Debug, Serialize)]
pub(super) struct Past {
    step_ms: u64,
    end: u64,
    series: Series,
}

#[derive(Debug, Serialize)]
struct Series {
    commit_rate: Vec<Option<f32>>,
    commit_p99_ms: Vec<Option<f32>>,
    fsync_p99_ms: Vec<Option<f32>>,
    lag: Vec<Option<f32>>,
    ready: Vec<Option<f32>>,
    memory: Vec<Option<f32>>,
}

impl History {
    /// The cluster is so now, and so many messages are ready. A node that does not answer has an empty point.
    pub(super) fn note(&self, cluster: &Cluster, ready: Option<u64>) {
        let mut state = self.state();
        let apart = if state.end == 0 { 0 } else { cluster.now.saturating_sub(state.end) };
        let missed = points_missed(Duration::from_millis(apart), POINTS_MAX);
        state.end = cluster.now;
        state.nodes.retain(|id, _| cluster.nodes.iter().any(|node| node.id == *id));
        for node in cluster.nodes.iter().take(NODES_MAX) {
            let leads = cluster.leader.as_ref() == Some(&node.id);
            let point = Point {
                commit_rate: cluster.commit_rate.filter(|_| leads).map(|rate| rate as f32),
                commit_p99_ms: node.told.commit_p99_ms.map(|p99| p99 as f32),
                fsync_p99_ms: node.told.fsync_p99_ms.map(|p99| p99 as f32),
                lag: node.lag.map(|lag| lag as f32),
                ready: ready.map(|ready| ready as f32),
                memory: node.told.memory.map(|memory| memory as f32),
            };
            let points = state.nodes.entry(node.id.clone()).or_default();
            if !points.is_empty() {
                points.extend(std::iter::repeat_n(Point::default(), missed));
            }
            points.push_back(if node.reachable { point } else { Point::default() });
            points.drain(..points.len().saturating_sub(POINTS_MAX));
        }
    }

    /// The past of a node; empty where nothing is known yet.
    pub(super) fn of(&self, node: &str) -> Past {
        let (state, none) = (self.state(), VecDeque::new());
        let points = state.nodes.get(node).unwrap_or(&none);
        let series = |of: fn(&Point) -> Option<f32>| points.iter().map(of).collect();
        let series = Series {
            commit_rate: series(|point| point.commit_rate),
            commit_p99_ms: series(|point| point.commit_p99_ms),
            fsync_p99_ms: series(|point| point.fsync_p99_ms),
            lag: series(|point| point.lag),
            ready: series(|point| point.ready),
            memory: series(|point| point.memory),
        };
        Past { step_ms: STEP.as_millis() as u64, end: state.end, series }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is in it is whole after every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::view::{Asked, Node, Settings};

    fn cluster(now: u64, nodes: &[(&str, bool)]) -> Cluster {
        let node = |(id, reachable): &(&str, bool)| Node {
            id: (*id).to_owned(),
            reachable: *reachable,
            lag: Some(now),
            ..Node::default()
        };
        Cluster {
            asked: Asked { id: "a".to_owned(), name: "a".to_owned() },
            now,
            cluster_id: String::new(),
            settings: Settings { show_content: true, token_needed: false, trace_url: None },
            leader: Some("a".to_owned()),
            term: 1,
            quorum: "majority",
            joint: false,
            voters: 2,
            voters_up: 2,
            needed: 2,
            tolerates: 0,
            commit_rate: Some(7.0),
            commit_p99_ms: None,
            commit_p50_ms: None,
            commits: 0,
            removed: false,
            others_may_serve: false,
            alarms: Vec::new(),
            nodes: nodes.iter().map(node).collect(),
        }
    }

    #[test]
    fn an_hour_is_kept_with_gaps_where_a_node_did_not_answer() {
        let history = History::default();
        for now in 0..POINTS_MAX as u64 + 10 {
            history.note(&cluster(now, &[("a", true), ("b", now % 2 == 0)]), Some(3));
        }
        let (a, b) = (history.of("a"), history.of("b"));
        assert_eq!((a.series.lag.len(), a.end), (POINTS_MAX, POINTS_MAX as u64 + 9));
        assert_eq!((a.series.lag[0], a.series.commit_rate[0], a.series.ready[0]), (Some(10.0), Some(7.0), Some(3.0)));
        assert_eq!((b.series.lag[0], b.series.lag[1], b.series.commit_rate[0]), (Some(10.0), None, None));
        assert!(history.of("nobody").series.lag.is_empty());
        let later = a.end + 4 * STEP.as_millis() as u64 + 100;
        history.note(&cluster(later, &[("a", true)]), None);
        let lag = history.of("a").series.lag;
        assert_eq!(lag.len(), POINTS_MAX);
        assert_eq!(lag[POINTS_MAX - 4..], [None, None, None, Some(later as f32)], "nobody looked for three steps");
        history.note(&cluster(9, &[("a", true)]), None);
        assert!(history.of("b").series.lag.is_empty(), "whoever is no member any more is forgotten");
    }
}
