//! On a follower: entries of traced requests that its disk does not have yet.

use std::collections::BTreeMap;

use opentelemetry::{Context, KeyValue};

use super::{Moment, Telemetry, Verb, propagation};
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
    /// With the leader's span `replicated`.
    span: Context,
    at: Moment,
}

impl Appending {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Entries have arrived whose requests are traced.
    pub(super) fn arrive(&mut self, shard: ShardId, traces: impl IntoIterator<Item = (Index, TraceContext)>) {
        let at = Moment::now();
        for (index, trace) in traces {
            self.entries.insert((shard, index), Arrived { span: propagation::from_peer(trace), at });
        }
        while self.entries.len() > ENTRIES_MAX {
            self.entries.pop_first();
        }
    }

    /// The disk has everything up to `last`.
    pub(super) fn end(&mut self, telemetry: &Telemetry, shard: ShardId, last: Index, at: Moment) {
        let done = self.entries.extract_if((shard, Index(0))..=(shard, last), |_, _| true);
        for ((_, index), arrived) in done {
            let attributes = || vec![KeyValue::new("quorate.index", index.0 as i64)];
            telemetry.span(Verb::Appended, &arrived.span, (arrived.at, at), attributes);
        }
    }

    /// Another leader, or none: whether what has arrived is ever written is not known.
    pub(super) fn forget(&mut self, shard: ShardId) {
        self.entries.retain(|(of, _), _| *of != shard);
    }
}
