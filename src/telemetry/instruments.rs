//! Everything that a node measures, in one place.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};

use super::Verb;

/// Bounds of the buckets for durations in seconds: from a step in memory, over one sync, to a wait for an election.
const SECONDS: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 60.0,
];

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
            verbs: Verb::ALL.map(|verb| [KeyValue::new("quorate.verb", verb.name())]),
        }
    }

    /// A request was so long in the hands of `verb`.
    pub(super) fn stage(&self, verb: Verb, duration: Duration) {
        self.stage_duration.record(duration.as_secs_f64(), &self.verbs[verb as usize]);
    }

    /// A request was answered with `outcome`: `ok`, or the reason of the refusal.
    pub(super) fn answered(&self, outcome: &'static str) {
        self.requests.add(1, &[KeyValue::new("quorate.outcome", outcome)]);
    }
}
