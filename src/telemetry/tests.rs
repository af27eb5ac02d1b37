//! The book of requests, told what an event loop would tell it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use opentelemetry::Context;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{
    SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SimpleSpanProcessor, SpanData, SpanExporter};

use super::propagation::TraceHeaders;
use super::providers::scope;
use super::request_spans::RequestSpans;
use super::sync::SYNC_LOG;
use super::{Brought, Instruments, LINKS_MAX, Mark, Own, RequestBook, Sinks, Source, Telemetry, Traces};
use crate::ids::{EntryId, Index, NodeId, SHARD_0, TRACES_MAX, Term, Ticket, TraceContext};
use crate::raft::{Body, Entry, Event, Message, Payload, RoleName};
use crate::replica::{RequestId, Told};
use crate::state_machine::{self, Operation};
use crate::storage::{Durable, Synced};

const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);

/// The term of a follower, and how far its log is durable.
const OWN: Own = Own { term: Term(1), durable: Index(5) };

/// Keeps the spans that it is given.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

/// The spans that have ended.
pub(super) struct Spans {
    kept: Kept,
    of_requests: RequestSpans,
}

impl Spans {
    /// They themselves; those of requests in the order in which they ended.
    pub(super) fn told(&self) -> MutexGuard<'_, Vec<SpanData>> {
        self.of_requests.flush(false);
        self.kept.0.lock().unwrap()
    }

    /// Their names, in the order in which they ended, with the peer where there is one, and `!` for those that failed.
    pub(super) fn names(&self) -> Vec<String> {
        let name = |span: &SpanData| {
            let peer = span.attributes.iter().find(|attribute| attribute.key.as_str() == "quorate.peer");
            let peer = peer.map(|peer| format!(" {}", peer.value)).unwrap_or_default();
            let failed = if matches!(span.status, Status::Error { .. }) { "!" } else { "" };
            format!("{}{peer}{failed}", span.name)
        };
        self.told().iter().map(name).collect()
    }
}

/// A telemetry that traces what its clients trace.
pub(super) fn telemetry() -> (Telemetry, Spans) {
    let kept = Kept::default();
    let sampler = Sampler::ParentBased(Box::new(Sampler::AlwaysOff));
    let processor = Arc::new(SimpleSpanProcessor::new(kept.clone()));
    let of_requests = RequestSpans::start(sampler.clone(), scope(), processor).unwrap();
    let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).with_sampler(sampler).build();
    let traces = Traces { blocks_of_code: provider.tracer("test"), requests: of_requests.clone() };
    let telemetry = Telemetry::from(Sinks { traces: Some(traces), ..Sinks::default() });
    (telemetry.serving_at("a.example:7400"), Spans { kept, of_requests })
}

pub(super) fn client(flags: TraceFlags) -> Context {
    let context = SpanContext::new(TraceId::from(1), SpanId::from(1), flags, true, TraceState::NONE);
    Context::new().with_remote_span_context(context)
}

/// Nobody reads what it is given.
struct Ignored;

impl PushMetricExporter for Ignored {
    async fn export(&self, _: &ResourceMetrics) -> OTelSdkResult {
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

/// A node that starts again in the same process takes the place of the one before, of which nothing is kept.
#[test]
fn only_the_node_that_runs_is_looked_at() {
    let provider = SdkMeterProvider::builder().with_periodic_exporter(Ignored).build();
    let instruments = Arc::new(Instruments::new(&provider.meter("test")));
    let telemetry = Telemetry::from(Sinks { instruments: Some(instruments), ..Sinks::default() });
    let node = || {
        let asked = Arc::new(AtomicU64::new(0));
        let counted = asked.clone();
        let source: Arc<Source> = Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            None
        });
        telemetry.watch(&source);
        (asked, source)
    };
    let (first, told_by_first) = node();
    provider.force_flush().unwrap();
    let (second, told_by_second) = node();
    provider.force_flush().unwrap();
    let asked = [&first, &second].map(|asked| asked.load(Ordering::Relaxed));
    assert_eq!(asked, [1, 1], "once for all instruments, and only the node that runs");
    drop((told_by_first, told_by_second));
    assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 1), "what has ended is not kept");
}

/// With the states of all traces that a batch of messages tells of, a few spans would be more than a collector takes at once.
#[test]
fn messages_are_linked_by_their_ids_alone() {
    let (telemetry, spans) = telemetry();
    let enqueue = |number: usize| {
        let traceparent = format!("00-{}-{}-01", TraceId::from(number as u128), SpanId::from(9));
        let headers = [("traceparent", traceparent), ("tracestate", format!("vendor={}", "x".repeat(200)))];
        let headers = headers.map(|(key, value)| (key.to_owned(), value)).into();
        let message = state_machine::Message { body: state_machine::Body::Text("x".to_owned()), headers };
        Operation::Enqueue { queue: "orders".parse().unwrap(), message, delay: Duration::ZERO }
    };
    let operations: Vec<Operation> = (1..=LINKS_MAX + 5).map(enqueue).collect();
    let mut received = telemetry.receive("quorate.v1.Quorate/Execute", || client(TraceFlags::SAMPLED));
    received.is_checked(&operations);
    received.is_answered(None);
    let told = spans.told();
    let linked = &told.iter().find(|span| span.name == "quorate.v1.Quorate/Execute").unwrap().links.links;
    let expected = (1..=LINKS_MAX as u128).map(TraceId::from);
    assert!(linked.iter().map(|link| link.span_context.trace_id()).eq(expected), "{linked:?}");
    assert!(linked.iter().all(|link| link.span_context.trace_state() == &TraceState::NONE), "{linked:?}");
}

/// What the loop gets of a traced request. Its client goes away at once.
fn mark(telemetry: &Telemetry) -> Mark {
    telemetry.receive("quorate.v1.Quorate/Execute", || client(TraceFlags::SAMPLED)).mark()
}

fn book() -> (RequestBook, Telemetry, Spans) {
    let (telemetry, spans) = telemetry();
    (RequestBook::new(telemetry.clone(), |node| format!("node {node:?}")), telemetry, spans)
}

fn id(index: u64) -> EntryId {
    EntryId::new(Term(1), Index(index))
}

fn append(indexes: std::ops::RangeInclusive<u64>) -> Message {
    let entries = indexes.map(|index| Entry { id: id(index), payload: Payload::Noop }).collect();
    let body = Body::AppendEntries { previous: EntryId::default(), commit: Index(0), entries, attempt: 0 };
    Message { term: Term(1), body }
}

fn placed(index: u64) -> Told {
    Told::Placed { request: RequestId(index), at: id(index), together: 1 }
}

fn appended(index: u64) -> Told {
    Told::Raft(Event::Appended { last: id(index) })
}

fn replicated(to: NodeId, index: u64) -> Told {
    Told::Raft(Event::Replicated { to, matched: Index(index) })
}

/// A request that was placed at this index and sent to both peers.
fn begin(book: &mut RequestBook, telemetry: &Telemetry, index: u64) {
    assert!(book.on_input(RequestId(index), mark(telemetry)));
    book.on_told(SHARD_0, &placed(index));
    for peer in [B, C] {
        assert_eq!(book.on_send(SHARD_0, peer, &append(1..=index)).last().map(|(at, _)| *at), Some(Index(index)));
    }
}

/// The slower peer acknowledges after the client has its answer; its span is told all the same, and then nothing is left.
#[test]
fn a_slow_peer_is_followed_beyond_the_answer() {
    let (mut book, telemetry, spans) = book();
    begin(&mut book, &telemetry, 1);
    for told in [
        replicated(B, 1),
        appended(1),
        Told::Raft(Event::Committed { index: Index(1) }),
        Told::Applied { first: Index(1), last: Index(1) },
    ] {
        book.on_told(SHARD_0, &told);
    }
    book.on_answer(RequestId(1));
    let answered = [
        "quorate.v1.Quorate/Execute",
        "proposed",
        "replicated node NodeId(2)",
        "appended",
        "committed",
        "applied",
        "answered",
    ];
    assert_eq!(&spans.names(), &answered);
    assert!(!book.is_empty());
    book.on_told(SHARD_0, &replicated(C, 1));
    assert_eq!(spans.names()[7..], ["replicated node NodeId(3)"]);
    assert!(book.is_empty());
}

#[test]
fn a_broken_connection_and_a_lost_leadership_end_what_was_sent() {
    let (mut book, telemetry, spans) = book();
    begin(&mut book, &telemetry, 1);
    book.on_disconnected(B);
    assert_eq!(spans.names()[1..], ["proposed", "replicated node NodeId(2)!"]);
    let cause = "a later term was seen";
    book.on_told(SHARD_0, &Told::Raft(Event::RoleChanged { role: RoleName::Follower, term: Term(2), cause }));
    assert_eq!(spans.names()[3..], ["replicated node NodeId(3)!"]);
    book.on_answer(RequestId(1));
    assert_eq!(spans.names()[4..], ["answered"]);
    assert!(book.is_empty());
    let told = spans.told();
    let [proposed, answered] = ["proposed", "answered"].map(|verb| told.iter().find(|span| span.name == verb).unwrap());
    assert!(proposed.end_time <= answered.start_time, "its last verb was that: {told:?}");
}

#[test]
fn a_request_that_nobody_traces_leaves_nothing_behind() {
    let (mut book, telemetry, spans) = book();
    let unsampled = telemetry.receive("quorate.v1.Quorate/Execute", || client(TraceFlags::default()));
    let off =
        Telemetry::default().receive("quorate.v1.Quorate/Execute", || unreachable!("nobody looks at the context"));
    for received in [unsampled, off] {
        assert!(received.enter().is_none() && received.mark().since.is_none());
        assert!(!book.on_input(RequestId(1), received.mark()));
    }
    assert!(book.is_empty());
    assert!(book.on_send(SHARD_0, B, &append(1..=1)).is_empty());
    assert!(spans.names().is_empty());
}

#[test]
fn only_so_many_traces_go_along_with_a_message() {
    let (mut book, telemetry, _) = book();
    let many = TRACES_MAX as u64 + 4;
    for index in 1..=many {
        assert!(book.on_input(RequestId(index), mark(&telemetry)));
        book.on_told(SHARD_0, &placed(index));
    }
    let traces = book.on_send(SHARD_0, B, &append(3..=many));
    let indexes: Vec<u64> = traces.iter().map(|(index, _)| index.0).collect();
    assert_eq!(indexes, (3..3 + TRACES_MAX as u64).collect::<Vec<_>>());
    assert_eq!(book.on_send(SHARD_0, B, &append(3..=many)), traces, "sent again, it is the same span");
}

/// A request without an end is forgotten when there are too many.
#[test]
fn the_book_is_bounded() {
    let (mut book, telemetry, _) = book();
    let mark = mark(&telemetry);
    let followed = (1..=10_000).filter(|request| {
        let is_followed = book.on_input(RequestId(*request), mark.clone());
        book.on_told(SHARD_0, &placed(*request));
        is_followed
    });
    assert_eq!(followed.count(), super::book::REQUESTS_MAX);
    assert_eq!(book.entries_followed(), super::entries::ENTRIES_MAX);
}

#[test]
fn a_follower_tells_of_what_it_did_not_have() {
    let (mut book, _, spans) = book();
    let trace = |index| (Index(index), TraceContext { trace_id: [1; 16], span_id: [index as u8; 8] });
    book.on_message(SHARD_0, Term(1), OWN, vec![trace(5), trace(6), trace(7)]);
    std::thread::sleep(Duration::from_millis(1));
    book.begin_turn();
    book.on_told(SHARD_0, &appended(6));
    {
        let told = spans.told();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].parent_span_id, SpanId::from_bytes([6; 8]));
        assert_eq!(told[0].span_context.trace_id(), TraceId::from_bytes([1; 16]));
        assert!(told[0].end_time > told[0].start_time);
    }
    book.on_told(SHARD_0, &Told::Raft(Event::FollowsLeader { leader: C, term: Term(2) }));
    book.on_told(SHARD_0, &appended(7));
    assert_eq!(spans.names(), ["appended"], "whether it is the old leader's entry that is durable is not known");
}

/// What was under way while another leader was elected, after a partition for example, is not taken: in its place comes another entry.
#[test]
fn a_follower_tells_nothing_of_what_a_leader_of_a_former_term_sent() {
    let (mut book, _, spans) = book();
    let trace = |index| (Index(index), TraceContext { trace_id: [1; 16], span_id: [index as u8; 8] });
    let own = Own { term: Term(2), ..OWN };
    book.on_message(SHARD_0, Term(1), own, vec![trace(6)]);
    book.on_message(SHARD_0, Term(2), own, vec![trace(7)]);
    book.on_message(SHARD_0, Term(3), own, vec![trace(8)]);
    book.on_told(SHARD_0, &appended(8));
    let told: Vec<SpanId> = spans.told().iter().map(|span| span.parent_span_id).collect();
    assert_eq!(told, [7, 8].map(|index| SpanId::from_bytes([index; 8])));
}

/// A sync of these entries that began then.
fn synced(indexes: std::ops::RangeInclusive<u64>, began: Instant) -> Synced {
    let (first, last) = (*indexes.start(), *indexes.end());
    let write = |index| Durable { shard: SHARD_0, ticket: Ticket(index), entries: Some((Index(index), Index(index))) };
    let millisecond = Duration::from_millis(1);
    Synced {
        writes: indexes.map(write).collect(),
        entries: last - first + 1,
        bytes: 100,
        began,
        written: began + millisecond,
        ended: began + 10 * millisecond,
    }
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    span.attributes.iter().find(|attribute| attribute.key.as_str() == key).map(|attribute| attribute.value.to_string())
}

/// One sync carries the requests that waited for it: its span links them, each has its own `fsync` that links the sync, and the
/// times are those of the disk.
#[test]
fn a_sync_links_the_requests_that_it_carries_and_they_it() {
    let (mut book, telemetry, spans) = book();
    (1..=3).for_each(|index| begin(&mut book, &telemetry, index));
    let disk = synced(1..=3, Instant::now());
    book.on_synced(&disk);
    book.on_told(SHARD_0, &appended(3));
    let told = spans.told();
    let of = |name: &str| told.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let sync = of(SYNC_LOG)[0];
    assert_eq!((of(SYNC_LOG).len(), sync.parent_span_id), (1, SpanId::INVALID), "it belongs to no single request");
    assert_eq!(sync.end_time.duration_since(sync.start_time).unwrap(), disk.ended - disk.began);
    for (key, value) in [("entries", "3"), ("bytes", "100"), ("shard", "0"), ("first_index", "1"), ("last_index", "3")]
    {
        assert_eq!(attribute(sync, &format!("quorate.{key}")).as_deref(), Some(value), "{key}");
    }
    assert_eq!(sync.links.dropped_count, 0);
    let linked: Vec<SpanId> = sync.links.iter().map(|link| link.span_context.span_id()).collect();
    let requests: Vec<SpanId> = of("appended").iter().map(|span| span.parent_span_id).collect();
    assert_eq!(linked, requests, "the spans of the requests");
    for (fsync, appended) in of("fsync").iter().zip(of("appended")) {
        assert_eq!(fsync.parent_span_id, appended.span_context.span_id());
        assert_eq!(fsync.span_context.trace_id(), TraceId::from(1), "the trace of the client");
        assert_eq!(fsync.links[0].span_context, sync.span_context);
        assert_eq!(fsync.end_time.duration_since(fsync.start_time).unwrap(), disk.sync_took());
    }
    assert_eq!(of("fsync").len(), 3);
}

/// Then nothing has to be linked: its own span says it.
#[test]
fn a_sync_that_carries_one_traced_request_is_told_by_its_fsync() {
    let (mut book, telemetry, spans) = book();
    begin(&mut book, &telemetry, 2);
    book.on_synced(&synced(1..=3, Instant::now()));
    book.on_told(SHARD_0, &appended(3));
    let told = spans.told();
    assert!(told.iter().all(|span| span.name != SYNC_LOG));
    let fsync = told.iter().find(|span| span.name == "fsync").unwrap();
    for (key, value) in [("entries", "3"), ("first_index", "1"), ("last_index", "3"), ("write_seconds", "0.001")] {
        assert_eq!(attribute(fsync, &format!("quorate.{key}")).as_deref(), Some(value), "{key}");
    }
    assert!(fsync.links.is_empty());
}

/// What was sent is told as failed when it is followed no longer, also because the node stops.
#[test]
fn what_is_under_way_to_peers_is_told_at_the_end() {
    let (mut book, telemetry, spans) = book();
    begin(&mut book, &telemetry, 1);
    let last = super::entries::ENTRIES_MAX as u64 + 1;
    for index in 2..=last {
        book.on_input(RequestId(index), mark(&telemetry));
        book.on_told(SHARD_0, &placed(index));
    }
    let failed = || spans.names().into_iter().filter(|name| name.ends_with('!')).collect::<Vec<_>>();
    let [b, c] = [B, C].map(|peer| format!("replicated node {peer:?}!"));
    assert_eq!(failed(), [&*b, &*c], "those of the oldest");
    book.on_send(SHARD_0, B, &append(last..=last));
    drop(book);
    assert_eq!(failed(), [&*b, &*c, &*b]);
}

#[test]
fn a_sync_on_a_follower_links_what_the_leader_has_told_of() {
    let (mut book, _, spans) = book();
    let trace = |index: u64| (Index(index), TraceContext { trace_id: [1; 16], span_id: [index as u8; 8] });
    book.on_message(SHARD_0, Term(1), OWN, vec![trace(6), trace(7)]);
    let began = Instant::now();
    std::thread::sleep(Duration::from_millis(1));
    book.on_message(SHARD_0, Term(1), OWN, vec![trace(8)]);
    book.on_synced(&synced(6..=8, began));
    book.on_told(SHARD_0, &appended(8));
    assert_eq!(spans.names(), [SYNC_LOG, "fsync", "appended", "fsync", "appended", "appended"]);
    let told = spans.told();
    let linked: Vec<SpanId> = told[0].links.iter().map(|link| link.span_context.span_id()).collect();
    assert_eq!(linked, [6, 7].map(|index| SpanId::from_bytes([index; 8])), "8 arrived when that sync was under way");
    assert_eq!(told[1].parent_span_id, told[2].span_context.span_id());
}

#[test]
fn a_sync_that_nobody_traces_is_not_told() {
    let (mut book, telemetry, spans) = book();
    book.on_synced(&synced(1..=1, Instant::now()));
    begin(&mut book, &telemetry, 2);
    book.on_synced(&synced(1..=1, Instant::now()));
    book.on_told(SHARD_0, &appended(2));
    let names = spans.names();
    assert!(!names.iter().any(|name| name == SYNC_LOG || name == "fsync"), "{names:?}");
}

#[test]
fn a_sync_links_only_so_many_and_says_how_many_it_leaves_out() {
    let (mut book, telemetry, spans) = book();
    let many = LINKS_MAX as u64 + 5;
    for index in 1..=many {
        book.on_input(RequestId(index), mark(&telemetry));
        book.on_told(SHARD_0, &placed(index));
    }
    book.on_synced(&synced(1..=many, Instant::now()));
    let told = spans.told();
    let sync = told.iter().find(|span| span.name == SYNC_LOG).unwrap();
    assert_eq!((sync.links.len(), sync.links.dropped_count), (LINKS_MAX, 5));
}

#[test]
fn a_consumer_links_only_so_many_producers_and_says_how_many_it_leaves_out() {
    let (telemetry, spans) = telemetry();
    let mut received = telemetry.receive("quorate.v1.Quorate/Execute", || client(TraceFlags::SAMPLED));
    let brought = |producer: usize| Brought {
        id: format!("{producer}/0"),
        trace: Some(TraceHeaders {
            traceparent: format!("00-{:032x}-{:016x}-01", 7, producer + 1000),
            ..TraceHeaders::default()
        }),
    };
    received.brings(|| (0..LINKS_MAX + 3).map(brought).collect());
    received.is_answered(None);
    let told = spans.told();
    let request = told.iter().find(|span| span.name == "quorate.v1.Quorate/Execute").unwrap();
    assert_eq!((request.links.len(), request.links.dropped_count), (LINKS_MAX, 3));
}

/// The ids in the lines of the log are those of the request that a line is about.
#[test]
fn what_is_told_of_a_request_is_told_in_its_context() {
    let (mut book, telemetry, _) = book();
    let current = || Context::current().span().span_context().trace_id();
    let told_in = |book: &RequestBook, told: &Told| {
        let _entered = book.enter(SHARD_0, told);
        current()
    };
    begin(&mut book, &telemetry, 5);
    let about = [
        placed(5),
        appended(5),
        replicated(B, 5),
        Told::Raft(Event::Proposed { first: id(4), last: id(6) }),
        Told::Raft(Event::Committed { index: Index(9) }),
        Told::Applied { first: Index(5), last: Index(5) },
        Told::Answered { index: Index(5), operations: 1, replayed: false },
    ];
    for told in &about {
        assert_eq!(told_in(&book, told), TraceId::from(1), "{told:?}");
    }
    assert_eq!(told_in(&book, &appended(4)), TraceId::INVALID, "another request's");
    book.on_told(SHARD_0, &appended(5));
    assert_eq!(told_in(&book, &appended(6)), TraceId::INVALID, "that was told before");
    assert_eq!(current(), TraceId::INVALID, "only while the guard lives");
}
