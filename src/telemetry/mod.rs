//! What a node tells: the log on its terminal, and to a collector of OpenTelemetry the way of single requests (traces) and
//! figures over all of them (metrics).
//!
//! ```text
//!    tracing event  ->  filter (log.level, heartbeats)  ->  text or JSON line  ->  bounded queue  ->  thread that writes
//!                                                       \->  record of a log   ->  bounded queue  ->  thread that sends, OTLP
//!
//!    request  ->  Received (api)  ->  RequestBook (event loop)  ->  notes of spans  ->  bounded queue  ->  thread that makes spans
//!                                          |    ^             \->  histograms      ->  sums, sent at an interval      |
//!                                          v    |                                                                    v
//!                              the book of each follower: entries travel to it                                 bounded queue
//!                                    with the contexts of their spans                                                |
//!                                                                                                                    v
//!    step of a start, any other call  ->  span of `tracing`  ->  tracing-opentelemetry  ->  the same queue  ->  thread that sends
//! ```
//!
//! Targets are the handles for the log's filter: `quorate::raft` is the protocol, `quorate::entries` the way of every request
//! from received to answered, `quorate::heartbeat` every heartbeat (off unless asked for), and otherwise the module that speaks.
//!
//! A trace has the request's span (of kind SERVER, named by its gRPC method), and under it one span for each verb of the
//! path; `replicated` is there once for each peer, and has the peer's own `appended` under it. Under each `appended` is the sync
//! of that disk:
//!
//! ```text
//!    quorate.v1.Quorate/Execute   |------------------------------------------------|
//!      received                   |--|                                                arrived ... checked
//!      routed                        |-|                                              checked ... this node may take it
//!      proposed                        |------|                                       into the loop's inbox ... has its index
//!      appended                               |-----------------|                     has its index ... on the own disk
//!        fsync                                     |----------|                       handed to the system ... durable
//!      replicated  peer b                     |--------------|                        sent ... acknowledged by b
//!        appended  (told by b)                   |--------|                           arrived at b ... on b's disk
//!          fsync                                   |-----|
//!      committed                              |-----------------|                     has its index ... on a commit quorum
//!      applied                                                  |---|                 committed ... carried out
//!      answered                                                     |------|          carried out ... given to whoever waits
//!
//!    sync_log  (a trace of its own)               |-----------|                       where a sync carried several traced requests:
//!                                                                                     links them, and each `fsync` above links it
//! ```
//!
//! What comes in from outside (an acknowledgement, the end of a sync) is dated by the turn of the loop that takes notice of it:
//! requests that share a batch share its times. `fsync` and `sync_log` are dated by the thread that writes: the gap between
//! them and their `appended` is writing, and waiting, for the disk before and for the loop behind. A batch of proposals has no span,
//! as it has no time of its own: `quorate.requests_together` says how many there were.
//!
//! A consumer's span links those of the producers of what it takes, as their messages tell of them in `traceparent`; it is no
//! child of theirs, because it may take messages of many traces. The Rust client makes no spans: it has no tracer, and passes its
//! caller's context on, in its calls and in the messages that it enqueues.
//!
//! The names of attributes are those of the semantic conventions, version 1.45 ([`SCHEMA_URL`]): `rpc.*`, `server.*` and
//! `error.type` are stable there, `messaging.*` is still called a development version. What has no name in them begins with
//! `quorate.`.
//!
//! The spans of a request are not begun and ended in the SDK, nor do its limits concern them: the loop learns their times afterwards,
//! and whoever serves requests only takes notes (`request_spans`). What is a block of code is a span of `tracing` with the target
//! `quorate::span`: a call of the service Cluster, RequestLog until its stream has been set up, and the steps of a start. A node that
//! joins passes its trace on:
//!
//! ```text
//!    start                                   |------------------------------------------|    ... the node serves
//!      bind_ports                            |--|
//!      open_directory                           |---|
//!      recover_log                                  |---|
//!      restore_snapshot                                 |---|
//!      announce_addresses                                   |-----|
//!      join  (or bootstrap)                                       |-----------------|
//!        quorate.v1.Cluster/AddMember  (told by the leader)          |-----------|
//! ```
//!
//! Invariants
//! - Whoever tells something never waits. When `LINES_MAX` lines wait, further ones are dropped, and the next one that gets
//!   through says how many. What waits for a collector is bounded in the same way ([`Providers`]); a collector that is away
//!   costs what it would have been told, and one line when it goes and one when it is back.
//! - No logged value can move the cursor or begin a line of its own.
//! - With traces and metrics off nothing is allocated, dated or kept for a request; [`Vitals`] date proposals, commits and syncs
//!   always. The contexts of calls and spans are never
//!   written into the log of the cluster, nor hashed, nor replayed; what a message says in its headers is the message's own.
//! - What a client says of traces is bounded: a `tracestate` over 512 bytes is left out, and a span links at most `LINKS_MAX` others,
//!   by their ids alone.
//!
//! Not here: a page that shows all this, which is the dashboard's.

mod appending;
mod book;
mod collector;
mod entries;
pub mod events;
mod format;
mod lines;
mod log;
mod measured;
pub mod metrics;
mod moment;
pub mod propagation;
mod providers;
mod received;
pub mod request;
mod request_spans;
mod rpc;
mod span;
mod sync;
mod tell;
#[cfg(test)]
mod tests;
mod verb;
mod vitals;

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanContext;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracer;

use request_spans::{Ended, RequestSpans, What};

pub use book::{Own, RequestBook};
pub use format::escaped;
pub use log::{Error, Guard, Stream, start, wants_color};
pub use measured::Measured;
pub use metrics::{Figures, Instruments, Listing, NotExposed, Peer, Queues, Source};
pub use moment::{Moment, wall};
pub use providers::{Providers, SCHEMA_URL, Unusable};
pub use received::{Brought, Mark, Received};
pub use span::{Call, failed, step};
pub use tell::tell;
pub use verb::Verb;
pub use vitals::{Latency, Vitals};

/// How many spans one span links at most; it is the SDK's limit as well.
const LINKS_MAX: usize = 128;

/// Where a node tells of its requests: spans, figures, lines, any or none of them. Cheap to clone, as each request does; the
/// default is none.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    sinks: Arc<Sinks>,
}

/// What it tells, and to whom.
#[derive(Clone, Debug, Default)]
struct Sinks {
    /// None: nothing is traced.
    traces: Option<Traces>,
    /// None: nothing is measured.
    instruments: Option<Arc<Instruments>>,
    /// None: lines of the log stay in the log.
    logs: Option<SdkLoggerProvider>,
    /// Where clients reach the node, as spans of calls say it.
    server: Arc<[KeyValue]>,
    /// None: nobody can scrape.
    scrape: Option<metrics::Scrape>,
}

/// Where spans go.
#[derive(Clone, Debug)]
struct Traces {
    blocks_of_code: SdkTracer,
    requests: RequestSpans,
}

impl From<Sinks> for Telemetry {
    fn from(sinks: Sinks) -> Self {
        Self { sinks: Arc::new(sinks) }
    }
}

impl Telemetry {
    /// The same, for a node that clients reach at `address`, `HOST:PORT`.
    pub fn serving_at(self, address: &str) -> Self {
        Sinks { server: rpc::server(address).into(), ..Arc::unwrap_or_clone(self.sinks) }.into()
    }

    /// Has the figures of this node told to whoever collects, instead of those of the node before, for as long as somebody keeps
    /// `source`. It is asked on a thread of the exporter.
    pub fn watch(&self, source: &Arc<Source>) {
        if let Some(instruments) = &self.sinks.instruments {
            instruments.watch(source);
        }
    }

    /// All metrics as a text that Prometheus reads, of type [`metrics::CONTENT_TYPE`].
    ///
    /// # Errors
    /// Nothing is recorded, or too many ask at once.
    pub async fn exposition(&self) -> Result<String, NotExposed> {
        match &self.sinks.scrape {
            Some(scrape) => scrape.text().await,
            None => Err(NotExposed::Off),
        }
    }

    /// A call of the gRPC method `rpc` (`package.Service/Method`) is passed on to the leader.
    pub fn forwarded(&self, rpc: &'static str) {
        if let Some(instruments) = &self.sinks.instruments {
            instruments.forwarded(rpc);
        }
    }

    /// Where spans of requests go; none: nothing is traced.
    fn request_spans(&self) -> Option<&RequestSpans> {
        self.sinks.traces.as_ref().map(|traces| &traces.requests)
    }

    /// A request has been through a verb. `span` is the request's own, if it is traced.
    fn stage(&self, verb: Verb, span: Option<&SpanContext>, times: (Moment, Moment)) {
        self.measure(verb, times);
        if let Some(parent) = span {
            self.span(parent, times, What::Verb(verb));
        }
    }

    /// A request has been through a verb, traced or not.
    fn measure(&self, verb: Verb, (from, to): (Moment, Moment)) {
        if let Some(instruments) = &self.sinks.instruments {
            instruments.stage(verb, to.since(from));
        }
    }

    /// A part of a traced request is over. `parent` is the span that it belongs to.
    fn span(&self, parent: &SpanContext, times: (Moment, Moment), what: What) {
        if let Some(spans) = self.request_spans() {
            spans.end(Ended::child(parent, times, what));
        }
    }
}
