//! The queues, as the page shows them: what they hold, how fast messages come and go, and how that has been.
//!
//! What this node has applied is read, as a client that asks for it reads it: without a leader too, and as old as this node is
//! behind. Nobody looks: only the first page is read, now and then, for what has been.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout};

use super::alarms::DEAD_MS;
use super::entry::Content;
use super::failure::Failure;
use super::history::STEP;
use super::lookout::now_ms;
use super::past;
use super::stream;
use crate::client::{self, Client, Consistency, Shown};
use crate::proto::v1;

/// How often totals are read while somebody looks.
const TOTALS_INTERVAL: Duration = Duration::from_secs(2);

/// A list that is older is read anew for whoever asks.
const FRESH: Duration = Duration::from_secs(1);

/// Queues that are read: those with the first names. Of more only the totals are shown.
const QUEUES_MAX: usize = 10_000;

/// Queues of one page of the interface.
const PAGE: u32 = 1_000;

/// Queues whose past is kept: the ones with most going on.
const WITH_PAST_MAX: usize = 1_000;

/// Points of the past of a queue: twenty minutes.
const POINTS_MAX: usize = 240;

/// Points of a sparkline.
const SPARK_MAX: usize = 60;

/// Reading takes no longer, or is given up.
const PATIENCE: Duration = Duration::from_secs(4);

/// Messages of one answer.
const MESSAGES_MAX: u32 = 100;

/// An answer with so many bytes may be one from which messages were left out.
const FULL_BYTES: usize = 1 << 20;

/// A queue, for the page.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Queue {
    name: String,
    ready: u64,
    leased: u64,
    delayed: u64,
    dead: u64,
    bytes: u64,
    oldest_ms: Option<u64>,
    in_rate: Option<f64>,
    out_rate: Option<f64>,
    spark: Vec<u64>,
}

/// All queues together, for the page.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Totals {
    queues: u64,
    pub(super) ready: u64,
    leased: u64,
    delayed: u64,
    dead: u64,
    bytes: u64,
    sessions: u64,
    in_rate: Option<f64>,
    out_rate: Option<f64>,
}

/// Some queues, for the page.
#[derive(Clone, Debug, Serialize)]
pub(super) struct List {
    queues: Vec<Queue>,
    more: bool,
    totals: Totals,
    age_ms: u64,
}

/// One queue, for its own page.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Detail {
    queue: Queue,
    settings: Settings,
    counts: Counts,
    history: Past,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Settings {
    lease_ms: Option<u64>,
    deliveries_max: Option<u64>,
    messages_max: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
struct Counts {
    enqueued: u64,
    dequeued: u64,
    acknowledged: u64,
    redelivered: u64,
    dead_lettered: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Past {
    step_ms: u64,
    end: u64,
    ready: Vec<u64>,
    leased: Vec<u64>,
    dead: Vec<u64>,
    in_rate: Vec<Option<f32>>,
    out_rate: Vec<Option<f32>>,
}

/// A message, for the page.
#[derive(Clone, Debug, Serialize)]
struct Message {
    id: String,
    state: &'static str,
    text: Option<String>,
    data: Option<String>,
    bytes: usize,
    headers: BTreeMap<String, String>,
    enqueued_at: Option<u64>,
    deliveries: u32,
    due_at: Option<u64>,
    reason: Option<String>,
}

/// Messages, and where the next ones begin; none: there are no more.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Messages {
    messages: Vec<Message>,
    next: Option<String>,
}

/// In which order queues are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Sort {
    #[default]
    Name,
    /// The most first, as the next two.
    Ready,
    Bytes,
    Oldest,
}

/// Which queues are asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    /// Those with this in their names.
    filter: String,
    /// Those that come after the one with this name.
    after: String,
    limit: Option<usize>,
    sort: Sort,
}

/// What is known of the queues.
pub(super) struct Queues {
    client: Client,
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

#[derive(Default)]
struct Board {
    queues: BTreeMap<String, Row>,
    totals: Totals,
    /// When the totals were read last, and what had come and gone by then.
    counted: Option<(Instant, Flow)>,
    /// When the list was read last, and how old it was then.
    listed: Option<(Instant, Duration)>,
    /// When points were taken last, in milliseconds since 1970 too.
    pointed: Option<(Instant, u64)>,
    /// How many messages of all queues had become dead at some moments of the last while.
    dead: VecDeque<(Instant, u64)>,
}

#[derive(Default)]
struct Row {
    info: v1::QueueInfo,
    flow: Option<Flow>,
    in_rate: Option<f64>,
    out_rate: Option<f64>,
    points: VecDeque<Point>,
}

/// How many messages have come, and how many have gone, since the queue was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flow {
    enqueued: u64,
    gone: u64,
}

/// A moment of a queue.
#[derive(Clone, Copy, Debug, Default)]
struct Point {
    ready: u64,
    leased: u64,
    dead: u64,
    in_rate: Option<f32>,
    out_rate: Option<f32>,
}

impl Queues {
    /// Nothing is known yet. `client` asks this node.
    pub(super) fn new(client: Client) -> Self {
        Self { client: client.reading(Consistency::Stale), board: Mutex::default(), told: watch::Sender::default() }
    }

    /// What others are told, to wait for changes of it.
    pub(super) fn told(&self) -> watch::Receiver<Told> {
        self.told.subscribe()
    }

    /// Reads again and again. `asked` is the name of this node, and `is_watched` tells whether somebody looks.
    pub(super) async fn follow(&self, asked: impl Fn() -> String, is_watched: impl Fn() -> bool) {
        loop {
            let (began, watched) = (Instant::now(), is_watched());
            // What cannot be read now is read the next time; the page shows how old the rest is.
            let _ = timeout(PATIENCE, self.read(watched, &asked())).await;
            let pause = if watched { TOTALS_INTERVAL } else { STEP };
            tokio::time::sleep_until(began + pause).await;
        }
    }

    async fn read(&self, watched: bool, asked: &str) -> Result<(), client::Error> {
        let totals = self.client.stats(None).await?.value;
        let mut board = self.board.lock().await;
        board.count(&totals);
        let is_due = board.pointed.is_none_or(|(at, _)| at.elapsed() + TOTALS_INTERVAL / 2 > STEP);
        // With many queues the list is long, and nobody wants it.
        if is_due && (watched || totals.queues <= u64::from(PAGE)) {
            let list = self.list().await?;
            board.list(list);
            board.point();
        }
        let told = Told {
            message: stream::message("queues", &serde_json::json!({ "totals": board.totals, "asked": asked })),
            totals: Some(board.totals.clone()),
            alarming: board.alarming(),
        };
        drop(board);
        self.told.send_replace(told);
        Ok(())
    }

    /// All queues, as far as they are listed.
    async fn list(&self) -> Result<Shown<Vec<v1::QueueInfo>>, client::Error> {
        let (mut queues, mut age): (Vec<v1::QueueInfo>, _) = (Vec::new(), None);
        loop {
            let after = queues.last().map_or("", |queue| queue.name.as_str());
            let Shown { value: page, age: of_page } = self.client.queues_after(after, PAGE).await?;
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
            if board.listed.is_none_or(|(at, _)| at.elapsed() > FRESH) {
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
        Ok(self.fresh().await?.wanted(wanted, now_ms()))
    }

    /// One queue.
    ///
    /// # Errors
    /// There is no such queue, or this node cannot read its queues now.
    pub(super) async fn detail(&self, name: &str) -> Result<Detail, Failure> {
        let board = self.fresh().await?;
        let missing = || {
            Failure::new(StatusCode::NOT_FOUND, crate::reasons::QUEUE_NOT_FOUND, format!("there is no queue {name:?}"))
        };
        let row = board.queues.get(name).ok_or_else(missing)?;
        let counts = row.info.counts.unwrap_or_default();
        let points = &row.points;
        Ok(Detail {
            queue: row.queue(name, now_ms()),
            settings: Settings::of(row.info.settings.as_ref()),
            counts: Counts {
                enqueued: counts.enqueued,
                dequeued: counts.dequeued,
                acknowledged: counts.acknowledged,
                redelivered: counts.redelivered,
                dead_lettered: counts.dead_lettered,
            },
            history: Past {
                step_ms: STEP.as_millis() as u64,
                end: board.pointed.map_or(0, |(_, at)| at),
                ready: points.iter().map(|point| point.ready).collect(),
                leased: points.iter().map(|point| point.leased).collect(),
                dead: points.iter().map(|point| point.dead).collect(),
                in_rate: points.iter().map(|point| point.in_rate).collect(),
                out_rate: points.iter().map(|point| point.out_rate).collect(),
            },
        })
    }

    /// Messages of a queue that are in a state (empty: those that are ready), after one of them; bodies and headers if they are
    /// shown.
    ///
    /// # Errors
    /// This node cannot read them now.
    pub(super) async fn messages(
        &self,
        name: &str,
        state: &str,
        after: &str,
        limit: u32,
        content: bool,
    ) -> Result<Messages, Failure> {
        let limit = limit.clamp(1, MESSAGES_MAX);
        let (wanted, after) = (state_of(state)?, message_id(after)?);
        let peek = v1::Peek { queue: name.to_owned(), limit, state: wanted.into(), after };
        let read = timeout(PATIENCE, self.client.browse(peek)).await;
        let late =
            || Failure::new(StatusCode::GATEWAY_TIMEOUT, "TOO_SLOW", "this node did not read the messages in time");
        let shown = read.map_err(|_| late())??;
        let state = name_of(wanted);
        let messages: Vec<_> = shown.value.into_iter().map(|message| Message::new(message, state, content)).collect();
        // There are fewer where they are large, and then there may be more.
        let is_full = messages.len() >= limit as usize
            || messages.iter().map(|message| message.bytes).sum::<usize>() >= FULL_BYTES;
        let next = messages.last().filter(|_| is_full).map(|last| last.id.clone());
        Ok(Messages { messages, next })
    }
}

impl Board {
    fn count(&mut self, totals: &v1::Totals) {
        let (now, contents) = (Instant::now(), totals.contents.unwrap_or_default());
        let flow = Flow::of(totals.counts.as_ref());
        let before = self.counted.replace((now, flow));
        let rate = |of: fn(&Flow) -> u64| {
            let (at, before) = before?;
            per_second(of(&before), of(&flow), now - at)
        };
        self.totals = Totals {
            queues: totals.queues,
            ready: contents.ready,
            leased: contents.leased,
            delayed: contents.delayed,
            dead: contents.dead,
            bytes: contents.bytes,
            sessions: totals.sessions,
            in_rate: rate(|flow| flow.enqueued),
            out_rate: rate(|flow| flow.gone),
        };
        let lately = Duration::from_millis(DEAD_MS);
        while self.dead.front().is_some_and(|(at, _)| now - *at > lately) {
            self.dead.pop_front();
        }
        self.dead.push_back((now, totals.counts.map_or(0, |counts| counts.dead_lettered)));
    }

    fn list(&mut self, Shown { value: queues, age }: Shown<Vec<v1::QueueInfo>>) {
        self.listed = Some((Instant::now(), age.unwrap_or_default()));
        let mut before = std::mem::take(&mut self.queues);
        for info in queues {
            let row = before.remove(&info.name).unwrap_or_default();
            self.queues.insert(info.name.clone(), Row { info, ..row });
        }
    }

    /// Takes a point of every queue whose past is kept.
    fn point(&mut self) {
        let now = Instant::now();
        let since = self.pointed.replace((now, now_ms())).map(|(at, _)| now - at);
        for row in self.queues.values_mut() {
            row.point(since);
        }
        let mut kept: Vec<&mut Row> = self.queues.values_mut().filter(|row| !row.points.is_empty()).collect();
        if kept.len() > WITH_PAST_MAX {
            kept.sort_by_key(|row| Reverse(row.activity()));
            kept.iter_mut().skip(WITH_PAST_MAX).for_each(|row| row.points = VecDeque::new());
        }
    }

    fn alarming(&self) -> past::Queues {
        let counts = self.dead.front().zip(self.dead.back());
        let oldest = self.queues.values().filter_map(|row| Some((row.info.name.clone(), row.age(now_ms())?)));
        past::Queues {
            dead_lately: counts.map_or(0, |((_, first), (_, last))| last.saturating_sub(*first)),
            oldest: oldest.max_by_key(|(_, age)| *age),
        }
    }

    fn wanted(&self, wanted: &Wanted, now: u64) -> List {
        let limit = wanted.limit.unwrap_or(200).clamp(1, 1_000);
        let mut rows: Vec<(&String, &Row)> =
            self.queues.iter().filter(|(name, _)| name.contains(&wanted.filter)).collect();
        match wanted.sort {
            Sort::Name => {}
            Sort::Ready => rows.sort_by_key(|(_, row)| Reverse(row.contents().ready)),
            Sort::Bytes => rows.sort_by_key(|(_, row)| Reverse(row.contents().bytes)),
            Sort::Oldest => rows.sort_by_key(|(_, row)| Reverse(row.age(now))),
        }
        let from = match wanted.sort {
            Sort::Name => rows.partition_point(|(name, _)| **name <= wanted.after),
            _ => rows.iter().position(|(name, _)| **name == wanted.after).map_or(0, |at| at + 1),
        };
        let page = rows.iter().skip(from).take(limit).map(|(name, row)| row.queue(name, now));
        List {
            queues: page.collect(),
            more: rows.len() > from + limit,
            totals: self.totals.clone(),
            age_ms: self.listed.map_or(0, |(at, age)| (at.elapsed() + age).as_millis() as u64),
        }
    }
}

impl Row {
    fn contents(&self) -> v1::Contents {
        self.info.contents.unwrap_or_default()
    }

    /// How long the oldest message that can be taken waits, in milliseconds.
    fn age(&self, now: u64) -> Option<u64> {
        self.info.oldest.and_then(milliseconds).map(|at| now.saturating_sub(at))
    }

    fn activity(&self) -> (u64, u64) {
        let rate = self.in_rate.unwrap_or(0.0) + self.out_rate.unwrap_or(0.0);
        ((rate * 1e3) as u64, self.contents().ready)
    }

    fn point(&mut self, since: Option<Duration>) {
        let flow = Flow::of(self.info.counts.as_ref());
        let rates = self.flow.replace(flow).zip(since).map(|(before, since)| {
            (per_second(before.enqueued, flow.enqueued, since), per_second(before.gone, flow.gone, since))
        });
        (self.in_rate, self.out_rate) = rates.unwrap_or_default();
        if self.points.len() >= POINTS_MAX {
            self.points.pop_front();
        }
        self.points.push_back(Point {
            ready: self.contents().ready,
            leased: self.contents().leased,
            dead: self.contents().dead,
            in_rate: self.in_rate.map(|rate| rate as f32),
            out_rate: self.out_rate.map(|rate| rate as f32),
        });
    }

    fn queue(&self, name: &str, now: u64) -> Queue {
        let contents = self.contents();
        let spark = self.points.iter().skip(self.points.len().saturating_sub(SPARK_MAX));
        Queue {
            name: name.to_owned(),
            ready: contents.ready,
            leased: contents.leased,
            delayed: contents.delayed,
            dead: contents.dead,
            bytes: contents.bytes,
            oldest_ms: self.age(now),
            in_rate: self.in_rate,
            out_rate: self.out_rate,
            spark: spark.map(|point| point.ready).collect(),
        }
    }
}

impl Flow {
    fn of(counts: Option<&v1::Counts>) -> Self {
        let counts = counts.copied().unwrap_or_default();
        Self { enqueued: counts.enqueued, gone: counts.dequeued.wrapping_add(counts.acknowledged) }
    }
}

impl Message {
    fn new(message: v1::StoredMessage, state: &'static str, content: bool) -> Self {
        let id = message.id.map(|id| format!("{}/{}", id.index, id.item)).unwrap_or_default();
        let v1::Message { body, headers } = message.message.unwrap_or_default();
        let body = match body {
            Some(v1::message::Body::Text(text)) => crate::state_machine::Body::Text(text),
            Some(v1::message::Body::Data(data)) => crate::state_machine::Body::Data(data),
            None => crate::state_machine::Body::Data(Bytes::new()),
        };
        let bytes = body.bytes();
        let (text, data) = if content { Content::of(&body).parts() } else { (None, None) };
        Self {
            id,
            state,
            text,
            data,
            bytes,
            headers: if content { headers } else { BTreeMap::new() },
            enqueued_at: message.enqueued_at.and_then(milliseconds),
            deliveries: message.deliveries,
            due_at: message.due_at.and_then(milliseconds),
            reason: Some(message.dead_reason).filter(|reason| !reason.is_empty() && content),
        }
    }
}

impl Settings {
    /// As a node tells them; none: it does not.
    pub(super) fn of(settings: Option<&v1::QueueSettings>) -> Self {
        let lease = settings.and_then(|settings| Duration::try_from(settings.lease_duration?).ok());
        Self {
            lease_ms: lease.map(|lease| lease.as_millis() as u64),
            deliveries_max: settings.map(|settings| settings.deliveries_max.into()),
            messages_max: settings.map(|settings| settings.messages_max),
        }
    }
}

/// The state that a page names; ready where it names none.
fn state_of(name: &str) -> Result<v1::MessageState, Failure> {
    match name {
        "" | "ready" => Ok(v1::MessageState::Ready),
        "leased" => Ok(v1::MessageState::Leased),
        "delayed" => Ok(v1::MessageState::Delayed),
        "dead" => Ok(v1::MessageState::Dead),
        _ => Err(Failure::field("state", format!("expected ready, leased, delayed or dead, found {name:?}"))),
    }
}

fn name_of(state: v1::MessageState) -> &'static str {
    match state {
        v1::MessageState::Unspecified | v1::MessageState::Ready => "ready",
        v1::MessageState::Leased => "leased",
        v1::MessageState::Delayed => "delayed",
        v1::MessageState::Dead => "dead",
    }
}

/// A message's name as pages write it, `INDEX/ITEM`; empty: none.
fn message_id(text: &str) -> Result<Option<v1::MessageId>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    let id = text.split_once('/').and_then(|(index, item)| Some((index.parse().ok()?, item.parse().ok()?)));
    let (index, item) = id.ok_or_else(|| Failure::field("after", format!("expected INDEX/ITEM, found {text:?}")))?;
    Ok(Some(v1::MessageId { shard: 0, index, item }))
}

/// A moment in milliseconds since 1970; one that makes no sense is none.
fn milliseconds(moment: prost_types::Timestamp) -> Option<u64> {
    let seconds = u64::try_from(moment.seconds).ok()?;
    let nanos = u64::try_from(moment.nanos).ok()?;
    seconds.checked_mul(1_000)?.checked_add(nanos / 1_000_000)
}

/// How much a count has grown in a second; none: it began anew meanwhile.
fn per_second(before: u64, after: u64, time: Duration) -> Option<f64> {
    let grown = after.checked_sub(before)?;
    (!time.is_zero()).then(|| (grown as f64 / time.as_secs_f64() * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str, ready: u64, bytes: u64) -> v1::QueueInfo {
        v1::QueueInfo {
            name: name.to_owned(),
            contents: Some(v1::Contents { ready, bytes, ..Default::default() }),
            ..Default::default()
        }
    }

    fn names(list: &List) -> Vec<&str> {
        list.queues.iter().map(|queue| queue.name.as_str()).collect()
    }

    #[test]
    fn queues_are_listed_page_by_page_in_the_order_that_is_wanted() {
        let mut board = Board::default();
        let value = vec![info("a", 5, 1), info("b", 9, 0), info("bc", 7, 2), info("d", 0, 9)];
        board.list(Shown { value, age: None });
        let wanted = |filter: &str, after: &str, limit, sort| Wanted {
            filter: filter.into(),
            after: after.into(),
            limit: Some(limit),
            sort,
        };
        let list = board.wanted(&wanted("", "", 3, Sort::Name), 0);
        assert_eq!((names(&list), list.more), (vec!["a", "b", "bc"], true));
        let list = board.wanted(&wanted("", "bc", 3, Sort::Name), 0);
        assert_eq!((names(&list), list.more), (vec!["d"], false));
        assert_eq!(names(&board.wanted(&wanted("b", "", 9, Sort::Name), 0)), ["b", "bc"]);
        assert_eq!(names(&board.wanted(&wanted("", "", 2, Sort::Ready), 0)), ["b", "bc"]);
        assert_eq!(names(&board.wanted(&wanted("", "bc", 2, Sort::Ready), 0)), ["a", "d"]);
        assert_eq!(names(&board.wanted(&wanted("", "", 1, Sort::Bytes), 0)), ["d"]);
        assert_eq!(names(&board.wanted(&wanted("", "gone", 0, Sort::Name), 0)).len(), 0);
    }

    #[test]
    fn the_past_of_so_many_queues_is_kept_and_of_each_so_much() {
        let mut board = Board::default();
        let value: Vec<_> = (0..WITH_PAST_MAX + 5).map(|queue| info(&format!("q{queue}"), queue as u64, 0)).collect();
        for _ in 0..POINTS_MAX + 5 {
            board.list(Shown { value: value.clone(), age: None });
            board.point();
        }
        let kept: Vec<_> = board.queues.values().filter(|row| !row.points.is_empty()).collect();
        assert_eq!(kept.len(), WITH_PAST_MAX);
        assert!(kept.iter().all(|row| row.points.len() <= POINTS_MAX));
        assert!(board.queues["q0"].points.is_empty(), "the busiest are kept");
        assert_eq!(board.queues["q1004"].queue("q1004", 0).spark, vec![1004; SPARK_MAX]);
        board.list(Shown { value: Vec::new(), age: None });
        assert!(board.queues.is_empty(), "a queue that is gone is forgotten");
    }

    #[test]
    fn a_rate_is_none_where_a_count_began_anew() {
        assert_eq!(per_second(10, 25, Duration::from_secs(5)), Some(3.0));
        assert_eq!(per_second(25, 10, Duration::from_secs(5)), None);
        assert_eq!(per_second(10, 10, Duration::ZERO), None);
    }
}
