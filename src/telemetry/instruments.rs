//! Everything that a node measures, in one place.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};

use super::Verb;
use crate::storage::{Usage, WhyKept, Written};

/// Bounds of the buckets for durations in seconds: from a step in memory, over one sync, to a wait for an election.
const SECONDS: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 60.0,
];

/// How the disk of a node is used; none while that is not known.
pub type StorageUsage = dyn Fn() -> Option<Usage> + Send + Sync;

/// The node that tells how its disk is used; nothing keeps one that has ended.
type StorageSlot = Arc<Mutex<Option<Weak<StorageUsage>>>>;

/// The instruments of a node. Attributes have few values, all known in advance.
#[derive(Debug)]
pub struct Instruments {
    /// `quorate.request.stage.duration`, in seconds: how long a request was in the hands of a verb (attribute
    /// `quorate.verb`), as its span says. `replicated` counts once for each peer. Of more requests than the node follows at
    /// once, and of those whose leadership is lost, not every verb is measured.
    stage_duration: Histogram<f64>,
    /// `quorate.requests`: requests that have ended, by `quorate.outcome`: `ok`, a reason of [`crate::reasons`], or `CANCELLED`
    /// when the client did not wait for the answer.
    requests: Counter<u64>,
    /// `quorate.forwarded`: calls that were passed on to the leader because their clients asked for that, by `rpc.method`.
    forwarded: Counter<u64>,
    /// What tells the use of the disk, as long as its node lives.
    storage: StorageSlot,
    /// The attributes of `stage_duration`, made once.
    verbs: [[KeyValue; 1]; 8],
}

impl Instruments {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            stage_duration: meter
                .f64_histogram("quorate.request.stage.duration")
                .with_unit("s")
                .with_description("How long a request was in the hands of a verb of its path")
                .with_boundaries(SECONDS.to_vec())
                .build(),
            requests: meter
                .u64_counter("quorate.requests")
                .with_unit("{request}")
                .with_description("Requests that have ended, by outcome")
                .build(),
            forwarded: meter
                .u64_counter("quorate.forwarded")
                .with_unit("{call}")
                .with_description("Calls that were passed on to the leader, by method")
                .build(),
            storage: observe_storage(meter),
            verbs: Verb::ALL.map(|verb| [KeyValue::new("quorate.verb", verb.name())]),
        }
    }

    /// Has the use of the disk told by this node instead of the one before, for as long as somebody keeps `usage`.
    pub(super) fn tell_storage_of(&self, usage: &Arc<StorageUsage>) {
        *self.storage.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::downgrade(usage));
    }

    /// A request was so long in the hands of `verb`.
    pub(super) fn stage(&self, verb: Verb, duration: Duration) {
        self.stage_duration.record(duration.as_secs_f64(), &self.verbs[verb as usize]);
    }

    /// A request was answered with `outcome`: `ok`, or the reason of the refusal.
    pub(super) fn answered(&self, outcome: &'static str) {
        self.requests.add(1, &[KeyValue::new("quorate.outcome", outcome)]);
    }

    /// A call of a method was passed on.
    pub(super) fn forwarded(&self, method: &'static str) {
        self.forwarded.add(1, &[KeyValue::new("rpc.method", method)]);
    }
}

/// Registers once what is told of the disk; a node that starts again in the same process puts itself into the slot.
///
/// - `quorate.storage.size`, in bytes, by `quorate.storage.kind`: `log`, `archive` (files that are kept for bodies), `living`
///   (what of those lives), `snapshot`, `spare` (files that wait to be used again), `held` (kept only for a receiver of a
///   snapshot).
/// - `quorate.storage.written`, in bytes since the node started, by `quorate.storage.purpose`: `log`, `zeros`, `compaction`,
///   `snapshot`.
/// - `quorate.storage.oldest`, by `quorate.storage.kept_for`: 1 for what the oldest file is kept, 0 for the rest of `readers`,
///   `since_snapshot`, `living`, `transfer` and `compaction`.
fn observe_storage(meter: &Meter) -> StorageSlot {
    let slot = StorageSlot::default();
    let usage = {
        let slot = slot.clone();
        move || {
            let told = slot.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(Weak::upgrade);
            told.and_then(|told| told())
        }
    };
    let sizes = usage.clone();
    meter
        .u64_observable_gauge("quorate.storage.size")
        .with_unit("By")
        .with_description("Bytes of files, by what they are")
        .with_callback(move |gauge| {
            for (kind, bytes) in sizes().iter().flat_map(sizes_of) {
                gauge.observe(bytes, &[KeyValue::new("quorate.storage.kind", kind)]);
            }
        })
        .build();
    let written = usage.clone();
    meter
        .u64_observable_counter("quorate.storage.written")
        .with_unit("By")
        .with_description("Bytes that were handed to the disk, by what for")
        .with_callback(move |counter| {
            for (purpose, bytes) in written().iter().flat_map(|usage| written_of(&usage.written)) {
                counter.observe(bytes, &[KeyValue::new("quorate.storage.purpose", purpose)]);
            }
        })
        .build();
    meter
        .u64_observable_gauge("quorate.storage.oldest")
        .with_unit("1")
        .with_description("What the oldest file is kept for")
        .with_callback(move |gauge| {
            let oldest = usage().and_then(|usage| usage.oldest).map(|oldest| kept_for(oldest.why));
            for why in KEPT_FOR {
                let attributes = [KeyValue::new("quorate.storage.kept_for", why)];
                gauge.observe(u64::from(oldest == Some(why)), &attributes);
            }
        })
        .build();
    slot
}

fn sizes_of(usage: &Usage) -> [(&'static str, u64); 6] {
    [
        ("log", usage.log_bytes),
        ("archive", usage.archive_bytes),
        ("living", usage.living_bytes),
        ("snapshot", usage.snapshot_bytes),
        ("spare", usage.spare_bytes),
        ("held", usage.held_bytes),
    ]
}

fn written_of(written: &Written) -> [(&'static str, u64); 4] {
    [
        ("log", written.log),
        ("zeros", written.zeros),
        ("compaction", written.compaction),
        ("snapshot", written.snapshots),
    ]
}

/// All that `kept_for` says.
const KEPT_FOR: [&str; 5] = ["readers", "since_snapshot", "living", "transfer", "compaction"];

fn kept_for(why: WhyKept) -> &'static str {
    match why {
        WhyKept::ForReaders => "readers",
        WhyKept::SinceTheSnapshot => "since_snapshot",
        WhyKept::Living { .. } => "living",
        WhyKept::Transfer => "transfer",
        WhyKept::Compaction => "compaction",
    }
}
