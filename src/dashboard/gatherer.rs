//! Asks all nodes how they are and what has happened there, again and again, and keeps what each said last.
//!
//! Somebody looks: twice a second. Nobody does: every five seconds, so that whoever comes sees at once where things stand and
//! how they have been. All members are asked side by side, one question each at a time, and one that does not answer delays no other
//! and stays on the page, as it was. Neither a leader nor a quorum is needed for that.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::Instant;

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

/// So long the others' answers are waited for before what is known is told. Below `INTERVAL`: an answer that is late belongs to the
/// round after.
const ROUND_MAX: Duration = Duration::from_millis(400);

/// A question is given up after this long, and asked again. It outlives rounds: over a slow line, and to connect, it takes longer
/// than one.
const QUESTION_MAX: Duration = Duration::from_secs(3);

/// A node that was asked and has answered nothing for this long does not answer; over a slow line, for twice as long as an answer
/// takes.
const SILENCE_MIN: Duration = Duration::from_secs(2);

/// So many questions in a row came to nothing: the node does not answer, however early that is seen. The first one may have met the
/// connection to a process that has been started again; the next one is asked over another connection.
const FAILURES_MAX: u32 = 2;

/// What asks, and what it has heard.
pub(super) struct Gatherer {
    context: api::Context,
    settings: Settings,
    nodes: BTreeMap<NodeId, Heard>,
    questions: BTreeMap<NodeId, Question>,
    answers: JoinSet<(NodeId, Option<Answer>)>,
    past: Past,
    cursors: Cursors,
    events: Events,
    history: History,
    queues: watch::Receiver<Told>,
    /// When the history was noted last.
    noted: Option<Instant>,
}

/// What another node is asked.
#[derive(Default)]
struct Question {
    /// None: it is heard what came of it, or nothing was asked. An answer that waits to be heard is not asked for again: what happened
    /// would be told twice.
    asked: Option<AbortHandle>,
    /// When the first question was asked that came after its last answer.
    waits_since: Option<Instant>,
    /// How long the last answer took.
    took: Duration,
    /// How many came to nothing since: nobody listens there, or there was no answer in time.
    failures: u32,
}

/// What a node answered: how it is, from when to when it was asked, how long that was, and what happened there.
struct Answer {
    status: v1::NodeStatus,
    asked: RangeInclusive<u64>,
    took: Duration,
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
        let (questions, answers) = (BTreeMap::new(), JoinSet::new());
        Self { context, settings, nodes, questions, answers, past, cursors, events, history, queues, noted: None }
    }

    /// Asks and tells, until it is dropped.
    pub(super) async fn run(&mut self, lookers: &Lookers, publish: &watch::Sender<Board>) {
        loop {
            let (began, watched) = (Instant::now(), lookers.are_there());
            self.ask_all();
            self.hear_all(watched, lookers).await;
            publish.send_replace(self.board());
            let watched = lookers.are_there();
            let pause = if watched { INTERVAL } else { STEP };
            tokio::select! {
                () = tokio::time::sleep_until(began + pause) => {}
                () = lookers.came(), if !watched => {}
            }
        }
    }

    /// Asks all members, and the leader, that have no question to answer. Whoever is neither any more is forgotten.
    fn ask_all(&mut self) {
        let (own, now) = (self.context.handle.node(), Instant::now());
        let configuration = self.configuration();
        // A learner hears from the leader before it has the log, and so before it knows the members.
        let leader = self.context.handle.look(SHARD_0, |status| status.leader).flatten();
        let known: BTreeSet<NodeId> = configuration.members().chain([own]).chain(leader).collect();
        self.nodes.retain(|node, _| known.contains(node));
        self.questions.retain(|node, _| known.contains(node));
        self.cursors.retain(|node, _| known.contains(node));
        for node in known {
            let mut member = members::describe(node, &configuration, &self.context.book);
            if member.name.is_empty() {
                member.name = node.to_string();
            }
            self.nodes.entry(node).or_default().member = member;
            let cursor = self.cursor(node);
            let question = self.questions.entry(node).or_default();
            if node != own && question.asked.is_none() {
                question.ask(now, self.answers.spawn(ask(self.context.clone(), node, cursor)));
            }
        }
    }

    /// Hears this node, and the others as long as a round takes; while nobody looks, until all have answered or will not.
    async fn hear_all(&mut self, watched: bool, lookers: &Lookers) {
        self.hear(self.context.handle.node(), self.own());
        let end = Instant::now() + if watched { ROUND_MAX } else { QUESTION_MAX };
        loop {
            let answered = tokio::select! {
                answered = self.answers.join_next() => answered,
                () = tokio::time::sleep_until(end) => return,
                () = lookers.came(), if !watched => return,
            };
            match answered {
                Some(answered) => self.end(answered),
                None => return,
            }
        }
    }

    /// A question is answered, or given up.
    fn end(&mut self, answered: Result<(NodeId, Option<Answer>), JoinError>) {
        let id = match &answered {
            Ok((node, _)) => self.questions.get(node).and_then(|question| Some(question.asked.as_ref()?.id())),
            Err(error) => Some(error.id()),
        };
        for question in self.questions.values_mut() {
            question.asked.take_if(|asked| Some(asked.id()) == id);
        }
        match answered {
            Ok((node, Some(answer))) => self.hear(node, answer),
            Ok((node, None)) => {
                if let Some(question) = self.questions.get_mut(&node) {
                    question.failed();
                }
            }
            Err(_) => {}
        }
    }

    /// Takes an answer. One of a node that is no member any more comes too late.
    fn hear(&mut self, node: NodeId, answer: Answer) {
        let (Some(heard), Some(question)) = (self.nodes.get_mut(&node), self.questions.get_mut(&node)) else { return };
        question.answered(answer.took);
        let name = heard.member.name.clone();
        if let Some(page) = heard.hears(answer) {
            self.events.hear(&mut self.cursors, node, &name, page);
        }
    }

    fn own(&self) -> Answer {
        let ((process, after), at) = (self.cursor(self.context.handle.node()), now_ms());
        let events = self.context.vitals.events().after(process, after, PART_MAX);
        Answer { status: api::status::own(&self.context), asked: at..=at, took: Duration::ZERO, events: Some(events) }
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
        let now = Instant::now();
        for (node, heard) in &mut self.nodes {
            let is_silent = self.questions.get(node).is_some_and(|question| question.is_in_vain(now));
            heard.reachable = heard.status.is_some() && !is_silent;
            let end = || self.events.end_of(*node, &heard.member.name, self.context.handle.node());
            heard.end = if heard.reachable { None } else { end() };
        }
        let known = Known {
            asked: self.context.handle.node(),
            now: now_ms(),
            cluster_id: self.context.handle.cluster().map(|cluster| cluster.to_string()).unwrap_or_default(),
            configuration: self.configuration(),
            removed: self.context.handle.look(SHARD_0, |status| status.removed.is_some()).unwrap_or(false),
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

async fn ask(context: api::Context, node: NodeId, (process, after): (u64, u64)) -> (NodeId, Option<Answer>) {
    let (began, began_ms) = (Instant::now(), now_ms());
    let status = async {
        let status = context.peers.status_within(node, QUESTION_MAX).await;
        status.map(|status| (status, began.elapsed(), began_ms..=now_ms()))
    };
    let events = context.peers.events(node, process, after, PART_MAX as u32, QUESTION_MAX);
    let (status, events) = tokio::join!(status, events);
    (node, status.map(|(status, took, asked)| Answer { status, asked, took, events: events.ok() }))
}

impl Question {
    fn ask(&mut self, now: Instant, asked: AbortHandle) {
        self.asked = Some(asked);
        self.waits_since.get_or_insert(now);
    }

    fn answered(&mut self, took: Duration) {
        (self.waits_since, self.took, self.failures) = (None, took, 0);
    }

    fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Whoever is asked cannot be reached, or has had time to answer.
    fn is_in_vain(&self, now: Instant) -> bool {
        let is_silent = |since: Instant| now - since > SILENCE_MIN.max(2 * self.took);
        self.failures >= FAILURES_MAX || self.waits_since.is_some_and(is_silent)
    }
}

impl Heard {
    /// Takes an answer. Returns what happened.
    fn hears(&mut self, Answer { status, asked, events, .. }: Answer) -> Option<Page> {
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
    #[tokio::test]
    async fn a_node_is_silent_when_it_was_asked_for_long_enough() {
        let (mut question, start) = (Question::default(), Instant::now());
        let seconds = |seconds| start + Duration::from_secs_f64(seconds);
        let open = || tokio::spawn(std::future::pending::<()>()).abort_handle();
        assert!(!question.is_in_vain(seconds(9.0)), "it was not asked");
        question.ask(start, open());
        assert!(!question.is_in_vain(seconds(2.0)) && question.is_in_vain(seconds(2.1)));
        question.ask(seconds(3.0), open());
        assert!(question.is_in_vain(seconds(3.1)), "another question makes it no better");
        question.answered(Duration::from_millis(1_500));
        assert!(!question.is_in_vain(seconds(9.0)));
        question.ask(seconds(10.0), open());
        assert!(!question.is_in_vain(seconds(13.0)) && question.is_in_vain(seconds(13.1)), "its line is slow");
    }

    #[test]
    fn who_cannot_be_reached_twice_does_not_answer() {
        let (mut question, now) = (Question::default(), Instant::now());
        question.failed();
        assert!(!question.is_in_vain(now), "it may have been started again");
        question.answered(Duration::ZERO);
        question.failed();
        assert!(!question.is_in_vain(now));
        question.failed();
        assert!(question.is_in_vain(now));
        question.answered(Duration::ZERO);
        assert!(!question.is_in_vain(now));
    }
}
