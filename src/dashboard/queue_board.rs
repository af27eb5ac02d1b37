//! The queues as they are known, and how they have been. Pure, but for the clock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::alarms::DEAD_MS;
use super::history::{STEP, points_missed};
use super::lookout::now_ms;
use super::past;
use crate::client::Shown;
use crate::proto::v1;

/// Queues whose past is kept: the ones with most going on.
const WITH_PAST_MAX: usize = 1_000;

/// Points of the past of a queue: twenty minutes.
const POINTS_MAX: usize = 240;

/// Points of a sparkline.
const SPARK_MAX: usize = 60;

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
    spark: Vec<Option<u64>>,
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
    ready: Vec<Option<u64>>,
    leased: Vec<Option<u64>>,
    dead: Vec<Option<u64>>,
    in_rate: Vec<Option<f32>>,
    out_rate: Vec<Option<f32>>,
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

#[derive(Default)]
pub(super) struct Board {
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

/// A moment of a queue. All none: nobody looked.
#[derive(Clone, Copy, Debug, Default)]
struct Point {
    ready: Option<u64>,
    leased: Option<u64>,
    dead: Option<u64>,
    in_rate: Option<f32>,
    out_rate: Option<f32>,
}

impl Board {
    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Whether points are to be taken again, or would be before `soon`.
    pub(super) fn is_point_due(&self, soon: Duration) -> bool {
        self.pointed.is_none_or(|(at, _)| at.elapsed() + soon > STEP)
    }

    /// Whether the list was read longer ago.
    pub(super) fn is_older_than(&self, age: Duration) -> bool {
        self.listed.is_none_or(|(at, _)| at.elapsed() > age)
    }

    /// Takes the totals. A node that has not caught up has yet to count what happened long ago: that is not compared with.
    pub(super) fn count(&mut self, totals: &v1::Totals, has_caught_up: bool) {
        let (now, contents) = (Instant::now(), totals.contents.unwrap_or_default());
        let flow = Flow::of(totals.counts.as_ref());
        let before = std::mem::replace(&mut self.counted, has_caught_up.then_some((now, flow)));
        let rate = |of: fn(&Flow) -> u64| {
            let (at, before) = before.filter(|_| has_caught_up)?;
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
        if has_caught_up {
            self.dead.push_back((now, totals.counts.map_or(0, |counts| counts.dead_lettered)));
        }
    }

    /// Takes the list. Queues that are not in it are forgotten.
    pub(super) fn list(&mut self, Shown { value: queues, age }: Shown<Vec<v1::QueueInfo>>) {
        self.listed = Some((Instant::now(), age.unwrap_or_default()));
        let mut before = std::mem::take(&mut self.queues);
        for info in queues {
            let row = before.remove(&info.name).unwrap_or_default();
            self.queues.insert(info.name.clone(), Row { info, ..row });
        }
    }

    /// Takes a point of every queue whose past is kept.
    pub(super) fn point(&mut self) {
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

    /// What is worth an alarm, where `now` is the time of the leader.
    pub(super) fn alarming(&self, now: u64) -> past::Queues {
        // Those that were redriven have been seen to.
        let counts = self.dead.front().zip(self.dead.back()).filter(|_| self.totals.dead > 0);
        let dead = self.queues.iter().filter(|(_, row)| row.contents().dead > 0);
        let oldest = self.queues.values().filter_map(|row| Some((row.info.name.clone(), row.age(now)?)));
        past::Queues {
            dead_lately: counts.map_or(0, |((_, first), (_, last))| last.saturating_sub(*first)),
            most_dead: dead.max_by_key(|(_, row)| row.contents().dead).map(|(name, _)| name.clone()),
            oldest: oldest.max_by_key(|(_, age)| *age),
        }
    }

    /// One queue; none: there is no such one.
    pub(super) fn detail(&self, name: &str, now: u64) -> Option<Detail> {
        let row = self.queues.get(name)?;
        Some(Detail {
            queue: row.queue(name, now),
            settings: Settings::of(row.info.settings.as_ref()),
            counts: Counts::of(row.info.counts.as_ref()),
            history: row.past(self.pointed.map_or(0, |(_, at)| at)),
        })
    }

    /// Some queues.
    pub(super) fn wanted(&self, wanted: &Wanted, now: u64) -> List {
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

impl Detail {
    /// A queue of which only this is known, and nothing of how it has been.
    pub(super) fn of(name: &str, totals: v1::Totals, now: u64) -> Self {
        let v1::Totals { contents, counts, oldest, settings, .. } = totals;
        let info = v1::QueueInfo { name: name.to_owned(), contents, counts, oldest, settings };
        let row = Row { info, ..Row::default() };
        Self {
            queue: row.queue(name, now),
            settings: Settings::of(settings.as_ref()),
            counts: Counts::of(counts.as_ref()),
            history: row.past(now),
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
        if !self.points.is_empty() {
            let missed = since.map_or(0, |since| points_missed(since, POINTS_MAX));
            self.points.extend(std::iter::repeat_n(Point::default(), missed));
        }
        self.points.push_back(Point {
            ready: Some(self.contents().ready),
            leased: Some(self.contents().leased),
            dead: Some(self.contents().dead),
            in_rate: self.in_rate.map(|rate| rate as f32),
            out_rate: self.out_rate.map(|rate| rate as f32),
        });
        self.points.drain(..self.points.len().saturating_sub(POINTS_MAX));
    }

    fn past(&self, end: u64) -> Past {
        let points = &self.points;
        Past {
            step_ms: STEP.as_millis() as u64,
            end,
            ready: points.iter().map(|point| point.ready).collect(),
            leased: points.iter().map(|point| point.leased).collect(),
            dead: points.iter().map(|point| point.dead).collect(),
            in_rate: points.iter().map(|point| point.in_rate).collect(),
            out_rate: points.iter().map(|point| point.out_rate).collect(),
        }
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

impl Counts {
    fn of(counts: Option<&v1::Counts>) -> Self {
        let counts = counts.copied().unwrap_or_default();
        Self {
            enqueued: counts.enqueued,
            dequeued: counts.dequeued,
            acknowledged: counts.acknowledged,
            redelivered: counts.redelivered,
            dead_lettered: counts.dead_lettered,
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

/// A moment in milliseconds since 1970; one that makes no sense is none.
pub(super) fn milliseconds(moment: prost_types::Timestamp) -> Option<u64> {
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

    /// All that the cluster has counted in its life: so many became dead, and so many are.
    fn totals(dead_lettered: u64, dead: u64) -> v1::Totals {
        v1::Totals {
            contents: Some(v1::Contents { dead, ..Default::default() }),
            counts: Some(v1::Counts { enqueued: 100 * dead_lettered, dead_lettered, ..Default::default() }),
            ..Default::default()
        }
    }

    #[test]
    fn what_a_node_learns_while_it_catches_up_has_not_just_happened() {
        let mut board = Board::default();
        for (dead_lettered, has_caught_up) in [(0, false), (2, false), (6, true)] {
            board.count(&totals(dead_lettered, dead_lettered), has_caught_up);
        }
        assert_eq!((board.alarming(0).dead_lately, board.totals.in_rate), (0, None));
        board.count(&totals(7, 7), true);
        assert_eq!(board.alarming(0).dead_lately, 1);
        assert!(board.totals.in_rate.is_some());
    }

    #[test]
    fn dead_letters_are_no_matter_any_more_once_all_are_redriven() {
        let mut board = Board::default();
        board.count(&totals(6, 0), true);
        board.count(&totals(9, 3), true);
        let queue = |name: &str, dead| v1::QueueInfo {
            contents: Some(v1::Contents { dead, ..Default::default() }),
            ..info(name, 0, 0)
        };
        board.list(Shown { value: vec![queue("a", 1), queue("b", 2), queue("c", 0)], age: None });
        let expected = past::Queues { dead_lately: 3, most_dead: Some("b".to_owned()), oldest: None };
        assert_eq!(board.alarming(0), expected);
        board.count(&totals(9, 0), true);
        assert_eq!(board.alarming(0).dead_lately, 0);
    }

    #[test]
    fn a_queue_is_known_alone_and_has_gaps_where_nobody_looked() {
        let contents = Some(v1::Contents { ready: 7, dead: 2, ..Default::default() });
        let counts = Some(v1::Counts { enqueued: 9, ..Default::default() });
        let detail = Detail::of("zebra", v1::Totals { contents, counts, ..Default::default() }, 5);
        assert_eq!((detail.queue.ready, detail.queue.dead, detail.counts.enqueued), (7, 2, 9));
        assert!(detail.history.ready.is_empty());

        let mut row = Row { info: info("a", 3, 0), ..Row::default() };
        for since in [None, Some(STEP), Some(3 * STEP)] {
            row.point(since);
        }
        assert_eq!(row.past(0).ready, [Some(3), Some(3), None, None, Some(3)]);
        row.point(Some(Duration::from_secs(3_600)));
        assert_eq!(row.points.len(), POINTS_MAX);
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
        assert_eq!(board.queues["q1004"].queue("q1004", 0).spark, vec![Some(1004); SPARK_MAX]);
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
