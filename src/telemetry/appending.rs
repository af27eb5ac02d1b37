//! On a follower: entries of traced requests that its disk does not have yet.

use std::collections::BTreeMap;

use opentelemetry::trace::SpanContext;

use super::request_spans::What;
use super::sync::{Carried, Places, Ranges, Sync};
use super::{Moment, Telemetry, propagation};
use crate::ids::{Index, ShardId, TraceContext};

/// How many are kept. The oldest goes when another comes: then its span is missing.
const ENTRIES_MAX: usize = 1024;

/// Entries on their way to the disk, by their place in the log.
#[derive(Debug, Default)]
pub(super) struct Appending {
    entries: BTreeMap<(ShardId, Index), Arrived>,
}

#[derive(Debug)]
struct Arrived {
    /// The leader's span `replicated`.
    span: SpanContext,
    at: Moment,
    /// The sync that has carried it.
    sync: Option<Sync>,
}

impl Appending {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Entries have arrived whose requests are traced.
    pub(super) fn arrive(&mut self, shard: ShardId, traces: impl IntoIterator<Item = (Index, TraceContext)>) {
        let at = Moment::now();
        for (index, trace) in traces {
            self.entries.insert((shard, index), Arrived { span: propagation::from_peer(trace), at, sync: None });
        }
        while self.entries.len() > ENTRIES_MAX {
            self.entries.pop_first();
        }
    }

    /// What of it was carried by a sync, all of which is within these places.
    pub(super) fn carried(&mut self, ranges: &Ranges, places: Places) -> impl Iterator<Item = Carried<'_>> {
        let carried = self.entries.range_mut(places).filter(|(place, arrived)| ranges.carry(**place, arrived.at));
        carried.map(|(_, Arrived { span, sync, .. })| Carried { span, sync })
    }

    /// The first of those that the disk has when it has everything up to `last`.
    pub(super) fn first_up_to(&self, shard: ShardId, last: Index) -> Option<&SpanContext> {
        self.entries.range((shard, Index(0))..=(shard, last)).next().map(|(_, arrived)| &arrived.span)
    }

    /// The disk has everything up to `last`.
    pub(super) fn end(&mut self, telemetry: &Telemetry, shard: ShardId, last: Index, at: Moment) {
        let done = self.entries.extract_if((shard, Index(0))..=(shard, last), |_, _| true);
        for ((_, index), arrived) in done {
            let what = What::AppendedByFollower(index);
            telemetry.appended(&arrived.span, (arrived.at, at), arrived.sync, what);
        }
    }

    /// Another leader, or none: whether what has arrived is ever written is not known.
    pub(super) fn forget(&mut self, shard: ShardId) {
        self.entries.retain(|(of, _), _| *of != shard);
    }
}
