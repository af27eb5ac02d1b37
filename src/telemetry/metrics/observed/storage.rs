//! How the disk is used.

use opentelemetry::KeyValue;

use super::Look::{Gauge, Total};
use super::{Observed, Seen, one_of, whole};
use crate::storage::{Space, Usage, WhyKept, Written};

const KIND: &str = "quorate.storage.kind";
const PURPOSE: &str = "quorate.storage.purpose";
const KEPT_FOR: &str = "quorate.storage.kept_for";

/// All that [`kept_for`] says.
const REASONS: [&str; 5] = ["readers", "since_snapshot", "living", "transfer", "compaction"];

pub(super) const ALL: &[Observed] = &[
    Observed::new(
        "quorate.storage.size",
        "By",
        &[KIND],
        "Files of the node: `log`, `archive` (kept for bodies), `living` (what of those lives), \
         `snapshot`, `spare` (wait to be used again), `held` (kept only for a receiver of a \
         snapshot)",
        Gauge(|seen, tell| {
            for (kind, bytes) in usage(seen).into_iter().flat_map(sizes) {
                tell(whole(bytes), &[KeyValue::new(KIND, kind)]);
            }
        }),
    ),
    Observed::new(
        "quorate.storage.written",
        "By",
        &[PURPOSE],
        "What was handed to the disk since the node started, by what for: `log`, `zeros` ahead of \
         it, `compaction`, `snapshot`",
        Total(|seen, tell| {
            for (purpose, bytes) in usage(seen).into_iter().flat_map(|usage| written(&usage.written)) {
                tell(bytes, &[KeyValue::new(PURPOSE, purpose)]);
            }
        }),
    ),
    Observed::new(
        "quorate.storage.oldest",
        "",
        &[KEPT_FOR],
        "1 for what the oldest file is kept for, 0 for the rest of `readers`, `since_snapshot`, \
         `living`, `transfer` and `compaction`",
        Gauge(|seen, tell| {
            if let Some(usage) = usage(seen) {
                one_of(&REASONS, usage.oldest.as_ref().map(|oldest| kept_for(oldest.why)), KEPT_FOR, tell);
            }
        }),
    ),
    Observed::new(
        "quorate.storage.filesystem.size",
        "By",
        &[],
        "The file system of the data directory",
        Gauge(|seen, tell| {
            if let Some(space) = space(seen) {
                tell(whole(space.total_bytes), &[]);
            }
        }),
    ),
    Observed::new(
        "quorate.storage.filesystem.free",
        "By",
        &[],
        "What of the file system of the data directory the node may still use",
        Gauge(|seen, tell| {
            if let Some(space) = space(seen) {
                tell(whole(space.free_bytes), &[]);
            }
        }),
    ),
];

fn usage(seen: &Seen) -> Option<&Usage> {
    seen.node.as_ref()?.storage.as_ref()
}

fn space(seen: &Seen) -> Option<Space> {
    usage(seen)?.space
}

fn sizes(usage: &Usage) -> [(&'static str, u64); 6] {
    [
        ("log", usage.log_bytes),
        ("archive", usage.archive_bytes),
        ("living", usage.living_bytes),
        ("snapshot", usage.snapshot_bytes),
        ("spare", usage.spare_bytes),
        ("held", usage.held_bytes),
    ]
}

fn written(written: &Written) -> [(&'static str, u64); 4] {
    [
        ("log", written.log),
        ("zeros", written.zeros),
        ("compaction", written.compaction),
        ("snapshot", written.snapshots),
    ]
}

fn kept_for(why: WhyKept) -> &'static str {
    match why {
        WhyKept::ForReaders => "readers",
        WhyKept::SinceTheSnapshot => "since_snapshot",
        WhyKept::Living { .. } => "living",
        WhyKept::Transfer => "transfer",
        WhyKept::Compaction => "compaction",
    }
}
