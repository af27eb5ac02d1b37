//! What is recorded when it happens.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundHistogram, Counter, Histogram, Meter};
use tonic::Code;

use super::Source;
use super::metric::{Kind, Metric};
use super::observed::Slot;
use crate::reasons;
use crate::storage::Synced;
use crate::telemetry::{Verb, rpc};

/// Bounds of the buckets for durations in seconds: from a step in memory, over one sync, to a wait for an election.
const SECONDS: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 60.0,
];

/// Bounds of the buckets for how many come together.
const TOGETHER: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// Bounds of the buckets for bytes: from one small entry to a whole frame.
const BYTES: [f64; 9] = [256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0];

const VERB: &str = "quorate.verb";
const OUTCOME: &str = "quorate.outcome";

pub(in crate::telemetry) const CALL_DURATION: Metric = Metric {
    name: "rpc.server.call.duration",
    kind: Kind::Histogram,
    unit: "s",
    attributes: &[rpc::METHOD, rpc::SYSTEM, rpc::STATUS_CODE, rpc::ERROR_TYPE],
    description: "How long a call of the services Quorate, Cluster and Founding took, a stream until its end; one that is passed on counts on both nodes; a method that there is not is `_OTHER`; `error_type` is the code where it is the fault of the server",
};

const STAGE_DURATION: Metric = Metric {
    name: "quorate.request.stage.duration",
    kind: Kind::Histogram,
    unit: "s",
    attributes: &[VERB],
    description: "How long a request was in the hands of a verb of its path; `replicated` counts once for each peer",
};

const REQUESTS: Metric = Metric {
    name: "quorate.requests",
    kind: Kind::Counter,
    unit: "{request}",
    attributes: &[OUTCOME],
    description: "Requests that have ended: `ok`, the reason of the refusal, or `CANCELLED` by the client",
};

const REDIRECTS: Metric = Metric {
    name: "quorate.redirects",
    kind: Kind::Counter,
    unit: "{request}",
    attributes: &[],
    description: "Requests that were answered with NOT_LEADER",
};

const FORWARDED: Metric = Metric {
    name: "quorate.forwarded",
    kind: Kind::Counter,
    unit: "{call}",
    attributes: &[rpc::METHOD],
    description: "Calls that were passed on to the leader because their clients asked for that",
};

const ELECTIONS: Metric = Metric {
    name: "quorate.raft.elections",
    kind: Kind::Counter,
    unit: "{election}",
    attributes: &[],
    description: "How often the node became a candidate",
};

const LEADER_CHANGES: Metric = Metric {
    name: "quorate.raft.leader.changes",
    kind: Kind::Counter,
    unit: "{change}",
    attributes: &[],
    description: "How often the node came to know the leader of another term, itself included",
};

const PROPOSED_TOGETHER: Metric = Metric {
    name: "quorate.raft.proposed.together",
    kind: Kind::Histogram,
    unit: "{entry}",
    attributes: &[],
    description: "How many entries the leader proposed together",
};

const COMMIT_DURATION: Metric = Metric {
    name: "quorate.raft.commit.duration",
    kind: Kind::Histogram,
    unit: "s",
    attributes: &[],
    description: "From a proposal of the leader to its commit; what is proposed together counts once",
};

const SYNC_DURATION: Metric = Metric {
    name: "quorate.storage.sync.duration",
    kind: Kind::Histogram,
    unit: "s",
    attributes: &[],
    description: "How long the disk took for a sync of the log",
};

const SYNC_ENTRIES: Metric = Metric {
    name: "quorate.storage.sync.entries",
    kind: Kind::Histogram,
    unit: "{entry}",
    attributes: &[],
    description: "How many entries a sync of the log made durable together",
};

const SYNC_SIZE: Metric = Metric {
    name: "quorate.storage.sync.size",
    kind: Kind::Histogram,
    unit: "By",
    attributes: &[],
    description: "The bytes of those entries",
};

/// All of them.
pub(super) const RECORDED: [Metric; 12] = [
    CALL_DURATION,
    STAGE_DURATION,
    REQUESTS,
    REDIRECTS,
    FORWARDED,
    ELECTIONS,
    LEADER_CHANGES,
    PROPOSED_TOGETHER,
    COMMIT_DURATION,
    SYNC_DURATION,
    SYNC_ENTRIES,
    SYNC_SIZE,
];

/// The instruments of a node.
#[derive(Debug)]
pub struct Instruments {
    call_duration: Histogram<f64>,
    /// [`STAGE_DURATION`] of each verb.
    stages: [BoundHistogram<f64>; 8],
    requests: Counter<u64>,
    redirects: Counter<u64>,
    forwarded: Counter<u64>,
    elections: Counter<u64>,
    leader_changes: Counter<u64>,
    proposed_together: BoundHistogram<u64>,
    commit_duration: BoundHistogram<f64>,
    sync_duration: BoundHistogram<f64>,
    sync_entries: BoundHistogram<u64>,
    sync_size: BoundHistogram<u64>,
    /// What is looked at rather than recorded.
    slot: Slot,
}

/// How long the calls of a method took.
#[derive(Debug)]
pub(in crate::telemetry) struct Calls {
    method: Arc<str>,
    durations: Histogram<f64>,
    /// Those that end as most do.
    usual: (Code, BoundHistogram<f64>),
}

impl Calls {
    /// One has ended with this code.
    pub(in crate::telemetry) fn ended(&self, code: Code, duration: Duration) {
        match &self.usual {
            (usual, durations) if code == *usual => durations.record(duration.as_secs_f64()),
            _ => self.durations.record(duration.as_secs_f64(), &rpc::measured(self.method.clone(), code)),
        }
    }
}

impl Instruments {
    pub(in crate::telemetry) fn new(meter: &Meter) -> Self {
        let stages = seconds(meter, &STAGE_DURATION);
        let verbs = Verb::ALL.map(|verb| [KeyValue::new(VERB, verb.name())]);
        Self {
            call_duration: seconds(meter, &CALL_DURATION),
            stages: verbs.map(|verb| stages.bind(&verb)),
            requests: counter(meter, &REQUESTS),
            redirects: from_zero(counter(meter, &REDIRECTS)),
            forwarded: counter(meter, &FORWARDED),
            elections: from_zero(counter(meter, &ELECTIONS)),
            leader_changes: from_zero(counter(meter, &LEADER_CHANGES)),
            proposed_together: amounts(meter, &PROPOSED_TOGETHER, &TOGETHER).bind(&[]),
            commit_duration: seconds(meter, &COMMIT_DURATION).bind(&[]),
            sync_duration: seconds(meter, &SYNC_DURATION).bind(&[]),
            sync_entries: amounts(meter, &SYNC_ENTRIES, &TOGETHER).bind(&[]),
            sync_size: amounts(meter, &SYNC_SIZE, &BYTES).bind(&[]),
            slot: Slot::new(meter),
        }
    }

    /// Has the figures of this node told instead of those of the one before, for as long as somebody keeps `source`.
    pub(in crate::telemetry) fn watch(&self, source: &Arc<Source>) {
        self.slot.watch(source);
    }

    /// Those of the gRPC method `method` (`package.Service/Method`), which mostly end with the code `usual`.
    pub(in crate::telemetry) fn calls(&self, method: &str, usual: Code) -> Calls {
        let method: Arc<str> = method.into();
        let usual = (usual, self.call_duration.bind(&rpc::measured(method.clone(), usual)));
        Calls { method, durations: self.call_duration.clone(), usual }
    }

    /// A request was so long in the hands of `verb`.
    pub(in crate::telemetry) fn stage(&self, verb: Verb, duration: Duration) {
        self.stages[verb as usize].record(duration.as_secs_f64());
    }

    /// A request was answered with `outcome`: `ok`, or the reason of the refusal.
    pub(in crate::telemetry) fn answered(&self, outcome: &'static str) {
        self.requests.add(1, &[KeyValue::new(OUTCOME, outcome)]);
        if outcome == reasons::NOT_LEADER {
            self.redirects.add(1, &[]);
        }
    }

    /// A call of the gRPC method `method` was passed on.
    pub(in crate::telemetry) fn forwarded(&self, method: &'static str) {
        self.forwarded.add(1, &[KeyValue::new(rpc::METHOD, method)]);
    }

    /// The node became a candidate.
    pub(in crate::telemetry) fn election(&self) {
        self.elections.add(1, &[]);
    }

    /// The node came to know another leader.
    pub(in crate::telemetry) fn leader_change(&self) {
        self.leader_changes.add(1, &[]);
    }

    /// So many entries were proposed together.
    pub(in crate::telemetry) fn proposed(&self, entries: u64) {
        self.proposed_together.record(entries);
    }

    /// A proposal took so long to its commit.
    pub(in crate::telemetry) fn committed(&self, duration: Duration) {
        self.commit_duration.record(duration.as_secs_f64());
    }

    /// The disk has made something durable.
    pub(in crate::telemetry) fn synced(&self, synced: &Synced) {
        self.sync_duration.record(synced.sync_took().as_secs_f64());
        if synced.entries > 0 {
            self.sync_entries.record(synced.entries);
            self.sync_size.record(synced.bytes);
        }
    }
}

fn counter(meter: &Meter, metric: &Metric) -> Counter<u64> {
    meter.u64_counter(metric.name).with_unit(metric.unit).with_description(metric.description).build()
}

/// Tells also that nothing was counted so far: otherwise nobody could see it rise from there.
fn from_zero(counter: Counter<u64>) -> Counter<u64> {
    counter.add(0, &[]);
    counter
}

fn seconds(meter: &Meter, metric: &Metric) -> Histogram<f64> {
    let histogram = meter.f64_histogram(metric.name).with_unit(metric.unit).with_description(metric.description);
    histogram.with_boundaries(SECONDS.to_vec()).build()
}

fn amounts(meter: &Meter, metric: &Metric, bounds: &[f64]) -> Histogram<u64> {
    let histogram = meter.u64_histogram(metric.name).with_unit(metric.unit).with_description(metric.description);
    histogram.with_boundaries(bounds.to_vec()).build()
}
