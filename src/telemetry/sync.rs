//! One sync of the log: what each traced request has of it, and where it carried several, a span of its own that links them.
//!
//! ```text
//!    sync_log   (a trace of its own)   |--------------|      handed to the disk ... durable; "written" in between
//!      links ->  the span of each traced request in it; on a follower, the `replicated` that brought it here
//!
//!      appended (of a request)      |--------------------|
//!        fsync   link -> sync_log         |---------|
//! ```
//!
//! Where it carried only one, its `fsync` says what was written together, and how long that took. All times are those of the thread
//! that writes.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry::trace::{Event, Link, SpanContext};
use opentelemetry_sdk::trace::SpanData;

use super::request_spans::{Ended, Parent, What, root};
use super::{LINKS_MAX, Moment, Telemetry};
use crate::ids::{Index, ShardId};
use crate::storage::{Durable, Synced};

/// The span of a sync.
pub(super) const SYNC_LOG: &str = "sync_log";

/// What a request has of the sync that carried it.
const FSYNC: &str = "fsync";

/// The sync that carried an entry.
#[derive(Debug)]
pub(super) struct Sync {
    /// Everything was handed to the system.
    written: Moment,
    /// It is on the disk.
    ended: Moment,
    fsync: Fsync,
}

/// What the span of a request's fsync says.
#[derive(Debug)]
pub(super) enum Fsync {
    /// The sync carried other traced requests as well, and has this span.
    OfSeveral(SpanContext),
    /// It carried no other one, and all that it wrote took so long to write.
    OfOne(Batch, Duration),
}

/// From one place in the logs of all shards to another.
pub(super) type Places = RangeInclusive<(ShardId, Index)>;

/// What a sync made durable.
pub(super) struct Ranges {
    /// The first and the last entry of each shard: replicas write without gaps.
    entries: BTreeMap<ShardId, (Index, Index)>,
    began: Instant,
}

impl Ranges {
    pub(super) fn of(synced: &Synced) -> Self {
        let mut entries: BTreeMap<ShardId, (Index, Index)> = BTreeMap::new();
        for Durable { shard, entries: written, .. } in &synced.writes {
            let Some((first, last)) = *written else { continue };
            let range = entries.entry(*shard).or_insert((first, last));
            *range = (range.0.min(first), range.1.max(last));
        }
        Self { entries, began: synced.began }
    }

    /// From the first place in it to the last; none: no entry was in it. Where it has several shards, there are others in between.
    pub(super) fn places(&self) -> Option<Places> {
        let ((first_shard, (first, _)), (last_shard, (_, last))) =
            (self.entries.first_key_value()?, self.entries.last_key_value()?);
        Some((*first_shard, *first)..=(*last_shard, *last))
    }

    /// The first and the last entry, if all are of one shard.
    fn of_one_shard(&self) -> Option<(ShardId, Index, Index)> {
        let mut shards = self.entries.iter();
        let (shard, (first, last)) = shards.next()?;
        shards.next().is_none().then_some((*shard, *first, *last))
    }

    /// Whether the entry at this place, which is there since then, was in it. What has come later is another entry, in the place
    /// of one that was written.
    pub(super) fn carry(&self, (shard, index): (ShardId, Index), since: Moment) -> bool {
        let is_within = |(first, last): &(Index, Index)| (*first..=*last).contains(&index);
        self.entries.get(&shard).is_some_and(is_within) && since.is_before(self.began)
    }
}

/// An entry that a sync has carried.
pub(super) struct Carried<'a> {
    /// The span that the sync links.
    pub(super) span: &'a SpanContext,
    /// Where the entry learns of it.
    pub(super) sync: &'a mut Option<Sync>,
}

/// What was written together.
#[derive(Debug)]
pub(super) struct Batch {
    entries: u64,
    bytes: u64,
    /// The first and the last entry, where all are of one shard.
    range: Option<(ShardId, Index, Index)>,
}

/// What the span of a sync says.
#[derive(Debug)]
pub(super) struct SyncLog {
    batch: Batch,
    written: SystemTime,
    /// The spans of traced requests, and how many of them are not linked.
    links: Vec<SpanContext>,
    left_out: usize,
}

impl Telemetry {
    /// A sync is over that carried entries of traced requests, or none.
    pub(super) fn synced(&self, synced: &Synced, ranges: &Ranges, carried: Vec<Carried<'_>>) {
        let Some(spans) = self.request_spans().filter(|_| !carried.is_empty()) else { return };
        let now = Moment::now();
        let [began, written, ended] = [synced.began, synced.written, synced.ended].map(|instant| now.at(instant));
        let batch = Batch { entries: synced.entries, bytes: synced.bytes, range: ranges.of_one_shard() };
        let carried = match <[Carried<'_>; 1]>::try_from(carried) {
            Ok([entry]) => {
                *entry.sync = Some(Sync { written, ended, fsync: Fsync::OfOne(batch, written.since(began)) });
                return;
            }
            Err(several) => several,
        };
        let span = root();
        let links = carried.iter().take(LINKS_MAX).map(|entry| entry.span.clone()).collect();
        let left_out = carried.len().saturating_sub(LINKS_MAX);
        let what = What::SyncLog(Box::new(SyncLog { batch, written: written.wall(), links, left_out }));
        let (from, to) = (began.wall(), ended.wall());
        spans.end(Ended { span: span.clone(), parent: Parent::NONE, from, to, what });
        for entry in carried {
            *entry.sync = Some(Sync { written, ended, fsync: Fsync::OfSeveral(span.clone()) });
        }
    }

    /// A disk has the entry of a traced request. `parent` is the span that its append belongs to.
    pub(super) fn appended(&self, parent: &SpanContext, (from, to): (Moment, Moment), sync: Option<Sync>, what: What) {
        let Some(spans) = self.request_spans() else { return };
        let appended = Ended::child(parent, (from, to), what);
        if let Some(Sync { written, ended, fsync }) = sync {
            spans.end(Ended::child(&appended.span, (written, ended), What::Fsync(fsync)));
        }
        spans.end(appended);
    }
}

impl Batch {
    fn attributes(self) -> Vec<KeyValue> {
        let number = |key, value: u64| KeyValue::new(key, value as i64);
        let mut attributes = vec![number("quorate.entries", self.entries), number("quorate.bytes", self.bytes)];
        if let Some((shard, first, last)) = self.range {
            attributes.extend([
                number("quorate.shard", shard.0),
                number("quorate.first_index", first.0),
                number("quorate.last_index", last.0),
            ]);
        }
        attributes
    }
}

impl Fsync {
    /// Says it of the span.
    pub(super) fn describe(self, span: &mut SpanData) {
        span.name = FSYNC.into();
        match self {
            Fsync::OfSeveral(sync) => span.links.links = vec![Link::with_context(sync)],
            Fsync::OfOne(batch, writing) => {
                span.attributes = batch.attributes();
                span.attributes.push(KeyValue::new("quorate.write_seconds", writing.as_secs_f64()));
            }
        }
    }
}

impl SyncLog {
    /// Says it of the span.
    pub(super) fn describe(self, span: &mut SpanData) {
        span.name = SYNC_LOG.into();
        span.attributes = self.batch.attributes();
        span.events.events = vec![Event::new("written", self.written, Vec::new(), 0)];
        span.links.links = self.links.into_iter().map(Link::with_context).collect();
        span.links.dropped_count = self.left_out as u32;
    }
}
