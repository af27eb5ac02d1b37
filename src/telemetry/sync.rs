//! One sync of the log: a span of its own, which links the requests that it carried, and what each of them has of it.
//!
//! ```text
//!    sync_log   (a trace of its own)   |--------------|      handed to the disk ... durable; "written" in between
//!      links ->  the span of each traced request in it; on a follower, the `replicated` that brought it here
//!
//!      appended (of a request)      |--------------------|
//!        fsync   link -> sync_log         |---------|
//! ```
//!
//! All times are those of the thread that writes.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Instant;

use opentelemetry::trace::{Event, Link, Span as _, SpanContext, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};

use super::{LINKS_MAX, Moment, Telemetry, Verb};
use crate::ids::{Index, ShardId};
use crate::storage::{Durable, Synced};

/// The span of a sync.
pub(super) const SYNC_LOG: &str = "sync_log";

/// What a request has of the sync that carried it.
const FSYNC: &str = "fsync";

/// The sync that carried an entry.
#[derive(Clone, Debug)]
pub(super) struct Sync {
    /// Its span.
    span: SpanContext,
    /// Everything was handed to the system.
    written: Moment,
    /// It is on the disk.
    ended: Moment,
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

    /// Whether the entry at this place, which is there since then, was in it. What has come later is another entry, in the place
    /// of one that was written.
    pub(super) fn carry(&self, (shard, index): (ShardId, Index), since: Moment) -> bool {
        let is_within = |(first, last): &(Index, Index)| (*first..=*last).contains(&index);
        self.entries.get(&shard).is_some_and(is_within) && since.is_before(self.began)
    }
}

/// An entry that a sync has carried.
pub(super) struct Carried<'a> {
    /// With the span that the sync links.
    pub(super) span: &'a Context,
    /// Where the entry learns of it.
    pub(super) sync: &'a mut Option<Sync>,
}

impl Telemetry {
    /// A sync is over that carried entries of traced requests, or none.
    pub(super) fn synced(&self, synced: &Synced, ranges: &Ranges, carried: Vec<Carried<'_>>) {
        let Some(tracer) = self.sinks.tracer.as_ref().filter(|_| !carried.is_empty()) else { return };
        let now = Moment::now();
        let [began, written, ended] = [synced.began, synced.written, synced.ended].map(|instant| now.at(instant));
        let linked = carried.iter().take(LINKS_MAX).map(|entry| entry.span.span().span_context().clone());
        let builder = tracer
            .span_builder(SYNC_LOG)
            .with_start_time(began.wall())
            .with_attributes(attributes(synced, ranges, carried.len()))
            .with_events(vec![Event::new("written", written.wall(), Vec::new(), 0)])
            .with_links(linked.map(Link::with_context).collect());
        let mut span = tracer.build_with_context(builder, &Context::new());
        span.end_with_timestamp(ended.wall());
        let sync = Sync { span: span.span_context().clone(), written, ended };
        for entry in carried {
            *entry.sync = Some(sync.clone());
        }
    }

    /// A disk has the entry of a traced request. `parent` has the span that its append belongs to.
    pub(super) fn appended(
        &self,
        parent: &Context,
        (from, to): (Moment, Moment),
        sync: Option<&Sync>,
        attributes: Vec<KeyValue>,
    ) {
        let Some(tracer) = &self.sinks.tracer else { return };
        let builder = tracer.span_builder(Verb::Appended.name()).with_start_time(from.wall());
        let appended = tracer.build_with_context(builder.with_attributes(attributes), parent);
        let appended = Context::new().with_span(appended);
        if let Some(Sync { span, written, ended }) = sync {
            let builder = tracer.span_builder(FSYNC).with_start_time(written.wall());
            let builder = builder.with_links(vec![Link::with_context(span.clone())]);
            tracer.build_with_context(builder, &appended).end_with_timestamp(ended.wall());
        }
        appended.span().end_with_timestamp(to.wall());
    }
}

/// What was written together, and how many of its traced requests are not linked.
fn attributes(synced: &Synced, ranges: &Ranges, traced: usize) -> Vec<KeyValue> {
    let number = |key, value: u64| KeyValue::new(key, value as i64);
    let mut attributes = vec![number("quorate.entries", synced.entries), number("quorate.bytes", synced.bytes)];
    if let [(shard, (first, last))] = ranges.entries.iter().collect::<Vec<_>>()[..] {
        attributes.extend([
            number("quorate.shard", shard.0),
            number("quorate.first_index", first.0),
            number("quorate.last_index", last.0),
        ]);
    }
    if let Some(left_out) = traced.checked_sub(LINKS_MAX).filter(|left_out| *left_out > 0) {
        attributes.push(number("quorate.links_left_out", left_out as u64));
    }
    attributes
}
