//! Asks all nodes how they are and what has happened there, again and again, and keeps what each said last.
//!
//! Somebody looks: twice a second. Nobody does: every five seconds, so that whoever comes sees at once where things stand and
//! how they have been. All members are asked side by side, each has its own time, and one that does not answer delays no other and
//! stays on the page, as it was. Neither a leader nor a quorum is needed for that.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::alarms::alarms;
use super::events::{Cursors, Events, PART_MAX};
use super::history::{History, STEP};
use super::lookout::{Board, Lookers, now_ms};
use super::past::Past;
use super::queues::Told;
use super::view::{Cluster, Heard, Known, Settings};
use crate::api;
use crate::cluster::members;
use crate::ids::{NodeId, SHARD_0};
use crate::proto::v1;
use crate::raft::Configuration;
use crate::replica::Status;
use crate::telemetry::events::Page;

/// How often all are asked while somebody looks: a change shows within half a second.
const INTERVAL: Duration = Duration::from_millis(500);

/// A node that has not answered after this long counts as unreachable. Below `INTERVAL`: an answer that is late belongs to the
/// round after.
const PATIENCE: Duration = Duration::from_millis(400);

/// What asks, and what it has heard.
pub(super) struct Gatherer {
    context: api::Context,
    settings: Settings,
    nodes: BTreeMap<NodeId, Heard>,
    past: Past,
    cursors: Cursors,
    events: Events,
    history: History,
    queues: watch::Receiver<Told>,
    /// When the history was noted last.
    noted: Option<Instant>,
}

/// What a node answered: how it is, from when to when it was asked, and what happened there.
struct Answer {
    status: v1::NodeStatus,
    asked: RangeInclusive<u64>,
    events: Option<Page>,
}

impl Gatherer {
    /// Has asked nobody yet. What happened goes to `events`, and how nodes are now and then to `history`.
    pub(super) fn new(
        context: api::Context,
        settings: Settings,
        events: Events,
        history: History,
        queues: watch::Receiver<Told>,
    ) -> Self {
        let (nodes, past, cursors) = (BTreeMap::new(), Past::default(), Cursors::new());
        Self { context, settings, nodes, past, cursors, events, history, queues, noted: None }
    }

    /// Asks and tells, until it is dropped.
    pub(super) async fn run(&mut self, lookers: &Lookers, publish: &watch::Sender<Board>) {
        loop {
            let began = Instant::now();
            self.ask_all().await;
            publish.send_replace(self.board());
            let watched = lookers.are_there();
            let pause = if watched { INTERVAL } else { STEP };
            tokio::select! {
                () = tokio::time::sleep_until(began + pause) => {}
                () = lookers.came(), if !watched => {}
            }
        }
    }

    /// Asks this node and all members. Whoever is no member any more is forgotten.
    async fn ask_all(&mut self) {
        let own = self.context.handle.node();
        let configuration = self.configuration();
        let members = configuration.members().filter(|member| *member != own);
        let asked = members.map(|member| ask(&self.context, member, self.cursor(member)));
        let answers = join_all(asked).await;
        self.nodes.retain(|node, _| *node == own || configuration.is_member(*node));
        self.cursors.retain(|node, _| *node == own || configuration.is_member(*node));
        for (node, answer) in answers.into_iter().chain([(own, Some(self.own()))]) {
            let member = members::describe(node, &configuration, &self.context.book);
            let name = if member.name.is_empty() { node.to_string() } else { member.name.clone() };
            let heard = self.nodes.entry(node).or_default();
            if let Some(page) = heard.hears(member, answer) {
                self.events.hear(&mut self.cursors, node, &name, page);
            }
        }
    }

    fn own(&self) -> Answer {
        let ((process, after), at) = (self.cursor(self.context.handle.node()), now_ms());
        let events = self.context.vitals.events().after(process, after, PART_MAX);
        Answer { status: api::status::own(&self.context), asked: at..=at, events: Some(events) }
    }

    fn cursor(&self, node: NodeId) -> (u64, u64) {
        self.cursors.get(&node).copied().unwrap_or_default()
    }

    fn configuration(&self) -> Configuration {
        let configuration = |status: &Status| status.membership.configuration.clone();
        self.context.handle.look(SHARD_0, configuration).unwrap_or(Configuration::EMPTY)
    }

    /// What is known now.
    pub(super) fn board(&mut self) -> Board {
        let known = Known {
            asked: self.context.handle.node(),
            now: now_ms(),
            cluster_id: self.context.handle.cluster().map(|cluster| cluster.to_string()).unwrap_or_default(),
            configuration: self.configuration(),
            nodes: self.nodes.clone(),
        };
        let cluster = Cluster::of(&known, self.settings.clone());
        let learners = known.configuration.learners.iter().filter(|(_, learner)| !learner.stay);
        self.past.follow(&cluster, &learners.map(|(node, _)| node.to_string()).collect());
        let Told { totals, alarming, .. } = self.queues.borrow_and_update().clone();
        self.past.queues = alarming;
        let alarms = alarms(&cluster, &self.past);
        let cluster = Cluster { alarms, ..cluster };
        // A round that is a little early counts for the next point.
        let is_due = self.noted.is_none_or(|noted| noted.elapsed() + INTERVAL / 2 > STEP);
        if is_due && !cluster.nodes.is_empty() {
            self.noted = Some(Instant::now());
            self.history.note(&cluster, totals.map(|totals| totals.ready));
        }
        Board::new(known, &cluster)
    }
}

async fn ask(context: &api::Context, node: NodeId, (process, after): (u64, u64)) -> (NodeId, Option<Answer>) {
    let began = now_ms();
    let status = async {
        let status = timeout(PATIENCE, context.peers.status(node)).await.ok().flatten();
        status.map(|status| (status, began..=now_ms()))
    };
    let events = context.peers.events(node, process, after, PART_MAX as u32, PATIENCE);
    let (status, events) = tokio::join!(status, events);
    (node, status.map(|(status, asked)| Answer { status, asked, events: events.ok() }))
}

impl Heard {
    /// Takes an answer; none: there was none. Returns what happened.
    fn hears(&mut self, member: v1::Member, answer: Option<Answer>) -> Option<Page> {
        self.member = member;
        self.reachable = answer.is_some();
        let Answer { status, asked, events } = answer?;
        self.seen_at = Some(*asked.end());
        self.clock_ahead_ms = ahead(status.clock_ms, asked);
        self.status = Some(status);
        events
    }
}

/// By how much a clock is ahead of ours at least: it was read while ours went from one end of `asked` to the other.
fn ahead(clock: u64, asked: RangeInclusive<u64>) -> Option<i64> {
    let nearest = clock.clamp(*asked.start(), *asked.end().max(asked.start()));
    let ahead = i64::try_from(clock).ok()?.checked_sub(i64::try_from(nearest).ok()?)?;
    Some(ahead).filter(|_| clock > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_off_by_what_the_way_does_not_explain() {
        for (clock, expected) in [(100, Some(0)), (120, Some(0)), (150, Some(30)), (70, Some(-30)), (0, None)] {
            assert_eq!(ahead(clock, 100..=120), expected, "{clock}");
        }
        let (asked, answered) = (100, 90);
        assert_eq!(ahead(50, asked..=answered), Some(-50), "a clock that was set back meanwhile");
        assert_eq!(ahead(u64::MAX, 100..=120), None);
    }
}
