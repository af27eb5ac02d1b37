//! The queues, as the page shows them: what they hold, how fast messages come and go, and how that has been.
//!
//! What this node has applied is read: without a leader too, and as old as this node is behind. Nobody looks: only the first page is read, now and then, for what has been.

use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout};

use super::failure::Failure;
use super::history::STEP;
use super::lookout::{self, now_ms};
use super::queue_board::{Board, Detail, List, Totals, Wanted};
use super::queue_messages::{Messages, Wanted as WantedMessages};
use super::view::Known;
use super::{past, stream};
use crate::api;
use crate::client::{self, Shown};
use crate::ids::{NodeId, SHARD_0};
use crate::proto::v1;
use crate::proto::v1::operation::Operation as Verb;
use crate::proto::v1::outcome::Outcome as Kind;
use crate::state_machine::QueueName;

/// How often totals are read while somebody looks.
const TOTALS_INTERVAL: Duration = Duration::from_secs(2);

/// A list that is older is read anew for whoever asks.
const FRESH: Duration = Duration::from_secs(1);

/// Queues that are listed: those with the first names. Of more only the totals are shown, and each on a page of its own.
const QUEUES_MAX: usize = 10_000;

/// Queues of one page of the interface.
const PAGE: u32 = 1_000;

/// Reading takes no longer, or is given up.
const PATIENCE: Duration = Duration::from_secs(4);

/// What is known of the queues.
pub(super) struct Queues {
    context: api::Context,
    /// What was gathered of the cluster.
    cluster: watch::Receiver<lookout::Board>,
    board: Mutex<Board>,
    /// The totals, as a message of a stream, and what is worth an alarm.
    told: watch::Sender<Told>,
}

/// What others are told of the queues.
#[derive(Clone, Default)]
pub(super) struct Told {
    pub(super) message: Bytes,
    pub(super) totals: Option<Totals>,
    pub(super) alarming: past::Queues,
}

impl Queues {
    /// Nothing is known yet of the queues of this node. What others are told goes to `told`.
    pub(super) fn new(
        context: api::Context,
        cluster: watch::Receiver<lookout::Board>,
        told: watch::Sender<Told>,
    ) -> Self {
        Self { context, cluster, board: Mutex::default(), told }
    }

    /// What others are told, to wait for changes of it.
    pub(super) fn told(&self) -> watch::Receiver<Told> {
        self.told.subscribe()
    }

    /// Reads again and again. `asked` is the name of this node, and `is_watched` tells whether somebody looks.
    pub(super) async fn follow(&self, asked: impl Fn() -> String, is_watched: impl Fn() -> bool) {
        let mut heard_a_leader = false;
        loop {
            let (began, watched) = (Instant::now(), is_watched());
            let hears_a_leader = self.context.handle.look(SHARD_0, |status| status.leader.is_some()) == Some(true);
            // A node that was cut off has yet to hear what it lacks, and takes itself for whole until then.
            let is_current = holds_on(&mut heard_a_leader, hears_a_leader);
            // What cannot be read now is read the next time; the page shows how old the rest is.
            let _ = timeout(PATIENCE, self.read(is_current, watched, &asked())).await;
            let pause = if watched { TOTALS_INTERVAL } else { STEP };
            tokio::time::sleep_until(began + pause).await;
        }
    }

    async fn read(&self, is_current: bool, watched: bool, asked: &str) -> Result<(), Failure> {
        // In this order: what is read after it had caught up is whole.
        let has_caught_up = is_current && self.context.verdicts.borrow().has_caught_up();
        let totals = self.totals("").await?;
        let mut board = self.board.lock().await;
        board.count(&totals, has_caught_up);
        let is_due = board.is_point_due(TOTALS_INTERVAL / 2);
        // With many queues the list is long, and nobody wants it.
        if is_due && (watched || totals.queues <= u64::from(PAGE)) {
            let list = self.list().await?;
            board.list(list);
            board.point();
        }
        let told = Told {
            message: stream::message("queues", &serde_json::json!({ "totals": board.totals(), "asked": asked })),
            totals: Some(board.totals().clone()),
            alarming: board.alarming(self.now()),
        };
        drop(board);
        self.told.send_replace(told);
        Ok(())
    }

    /// All queues, as far as they are listed.
    async fn list(&self) -> Result<Shown<Vec<v1::QueueInfo>>, Failure> {
        let (mut queues, mut age): (Vec<v1::QueueInfo>, _) = (Vec::new(), None);
        loop {
            let after = queues.last().map_or("", |queue| queue.name.as_str());
            let Shown { value: page, age: of_page } = self.page(after).await?;
            age = age.max(of_page);
            let is_last = !page.more || page.queues.is_empty();
            queues.extend(page.queues);
            if is_last || queues.len() >= QUEUES_MAX {
                return Ok(Shown { value: queues, age });
            }
        }
    }

    /// The list, read a moment ago.
    async fn fresh(&self) -> Result<tokio::sync::MutexGuard<'_, Board>, Failure> {
        let late =
            || Failure::new(StatusCode::GATEWAY_TIMEOUT, "TOO_SLOW", "this node did not list its queues in time");
        let read = async {
            let mut board = self.board.lock().await;
            if board.is_older_than(FRESH) {
                let list = self.list().await?;
                board.list(list);
            }
            Ok(board)
        };
        timeout(PATIENCE, read).await.map_err(|_| late())?
    }

    /// The queues that are wanted.
    ///
    /// # Errors
    /// This node cannot read its queues now.
    pub(super) async fn wanted(&self, wanted: &Wanted) -> Result<List, Failure> {
        Ok(self.fresh().await?.wanted(wanted, self.now()))
    }

    /// One queue.
    ///
    /// # Errors
    /// No queue can be called like that, there is no such queue, or this node cannot read its queues now.
    pub(super) async fn detail(&self, name: &str) -> Result<Detail, Failure> {
        QueueName::try_from(name).map_err(|why| {
            let message = format!("name: {why}");
            Failure::new(StatusCode::BAD_REQUEST, crate::reasons::INVALID_QUEUE_NAME, message).with("field", "name")
        })?;
        let board = self.fresh().await?;
        if let Some(detail) = board.detail(name, self.now()) {
            return Ok(detail);
        }
        drop(board);
        // It may be one of those that are not listed, or have come since.
        let read = timeout(PATIENCE, self.totals(name)).await;
        Ok(Detail::of(name, read.map_err(|_| late())??, self.now()))
    }

    /// The messages that are wanted; bodies and headers if they are shown.
    ///
    /// # Errors
    /// Something senseless is wanted, or this node cannot read them now.
    pub(super) async fn messages(&self, wanted: &WantedMessages, content: bool) -> Result<Messages, Failure> {
        let peek = wanted.peek()?;
        let read = timeout(PATIENCE, self.browse(peek.clone())).await;
        Ok(Messages::new(read.map_err(|_| late())??, &peek, content))
    }

    /// The time by the clock of the leader, from which messages have theirs: ages do not depend on how well the clock of this node
    /// goes.
    fn now(&self) -> u64 {
        let leader = self.context.handle.look(SHARD_0, |status| status.leader).flatten();
        now_ms().saturating_add_signed(ahead(&self.cluster.borrow().known, leader))
    }

    /// What a queue holds; all of them together, where the name is empty.
    async fn totals(&self, queue: &str) -> Result<v1::Totals, Failure> {
        match self.shown(Verb::Stats(v1::Stats { queue: queue.to_owned() })).await?.value {
            Kind::Totals(totals) => Ok(totals),
            other => unreachable!("Stats is answered with {other:?}"),
        }
    }

    /// The queues after this name.
    async fn page(&self, after: &str) -> Result<Shown<v1::Queues>, Failure> {
        let list = v1::ListQueues { after: after.to_owned(), limit: PAGE };
        match self.shown(Verb::ListQueues(list)).await? {
            Shown { value: Kind::Queues(value), age } => Ok(Shown { value, age }),
            other => unreachable!("ListQueues is answered with {other:?}"),
        }
    }

    async fn browse(&self, peek: v1::Peek) -> Result<Vec<v1::StoredMessage>, Failure> {
        match self.shown(Verb::Peek(peek)).await?.value {
            Kind::Peeked(peeked) => Ok(peeked.messages),
            other => unreachable!("Peek is answered with {other:?}"),
        }
    }

    async fn shown(&self, operation: Verb) -> Result<Shown<Kind>, Failure> {
        let response = self.context.look_at(operation).await?;
        let outcome = response.outcomes.into_iter().next().and_then(|outcome| outcome.outcome);
        let value = outcome.expect("every operation has an outcome, which this node has made itself");
        Ok(Shown { value, age: client::age(response.age) })
    }
}

/// By how many milliseconds the clock of the leader is ahead of that of this node, as far as it was measured.
fn ahead(known: &Known, leader: Option<NodeId>) -> i64 {
    leader.and_then(|leader| known.nodes.get(&leader)?.clock_ahead_ms).unwrap_or(0)
}

/// Whether something holds that held the last time as well.
fn holds_on(before: &mut bool, now: bool) -> bool {
    std::mem::replace(before, now) && now
}

fn late() -> Failure {
    Failure::new(StatusCode::GATEWAY_TIMEOUT, "TOO_SLOW", "this node did not read its queues in time")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::view::Heard;
    use crate::raft::Configuration;

    #[test]
    fn what_was_interrupted_has_to_hold_twice() {
        let mut before = false;
        let held = [true, true, false, true, true].map(|now| holds_on(&mut before, now));
        assert_eq!(held, [false, true, false, false, true]);
    }

    /// This node, 2, is two hours ahead of the leader.
    #[test]
    fn the_clock_of_the_leader_counts_where_it_was_measured() {
        let heard = |clock_ahead_ms| Heard { clock_ahead_ms, ..Heard::default() };
        let nodes = [(NodeId(1), heard(Some(-7_200_000))), (NodeId(2), heard(Some(0))), (NodeId(3), heard(None))];
        let known = Known {
            asked: NodeId(2),
            now: 0,
            cluster_id: String::new(),
            configuration: Configuration::EMPTY,
            removed: false,
            nodes: nodes.into(),
        };
        let of = |leader: u64| ahead(&known, Some(NodeId(leader)));
        assert_eq!([of(1), of(2), of(3), of(4), ahead(&known, None)], [-7_200_000, 0, 0, 0, 0]);
    }
}
