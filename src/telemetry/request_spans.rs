//! The spans of requests: noted by whoever sees them end, made on a thread of their own.
//!
//! ```text
//!    api, event loop  ->  note: ids, times, what it was  ->  bounded queue  ->  thread that makes spans  ->  what sends them
//! ```
//!
//! Most requests are not traced, and are not to pay for those that are: what is seldom done is slow, and to make a span is much to
//! do. The thread makes those of many requests one after the other.

use std::io;
use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{
    IdGenerator as _, RandomIdGenerator, Sampler, SamplingDecision, ShouldSample as _, SpanData, SpanEvents, SpanLinks,
    SpanProcessor,
};

use super::sync::{Fsync, SyncLog};
use super::{Moment, Verb, received};
use crate::ids::{EntryId, Index};

/// Notes that may wait for the thread. Further ones are dropped and counted, with a line at the first and one at the end.
const NOTES_MAX: usize = 4096;

/// After it has made all spans that were noted, the thread rests for this long, so that whoever notes one need not wake it. With
/// [`NOTES_MAX`] it bounds the spans of a second to some 80,000: to make more, only to find that they cannot be sent, would take CPU.
const REST: Duration = Duration::from_millis(50);

/// Takes notes of the spans of requests, if they are traced. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct RequestSpans {
    sampler: Sampler,
    notes: SyncSender<Note>,
    lost: Arc<AtomicU64>,
}

/// What the thread is told.
enum Note {
    Ended(Ended),
    /// All that was noted before is to be made, and perhaps nothing after that. Who drops the sender has done it.
    Flush {
        waiting: SyncSender<()>,
        is_last: bool,
    },
}

/// A span that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) span: SpanContext,
    /// The span that it is part of; [`Parent::NONE`]: it is the first of its trace.
    pub(super) parent: Parent,
    pub(super) from: SystemTime,
    pub(super) to: SystemTime,
    pub(super) what: What,
}

/// The span that another one is part of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parent {
    id: SpanId,
    is_remote: bool,
}

/// What was done in the time of a span.
#[derive(Debug)]
pub(super) enum What {
    /// A request was served.
    Request(Box<received::Request>),
    /// It went through a verb of which there is no more to say.
    Verb(Verb),
    /// It got its place, with so many others.
    Proposed { at: EntryId, together: usize },
    /// It was sent to a peer, which acknowledged it, unless that failed.
    Replicated { peer: String, failed: Option<&'static str> },
    /// A follower's disk has what another one proposed.
    AppendedByFollower(Index),
    /// The disk synced it.
    Fsync(Fsync),
    /// The disk synced it and others that are traced.
    SyncLog(Box<SyncLog>),
}

impl RequestSpans {
    /// Starts the thread. It ends when nobody can note anything any more.
    ///
    /// # Errors
    /// There can be no further thread.
    pub(super) fn start(
        sampler: Sampler,
        scope: InstrumentationScope,
        processor: Arc<dyn SpanProcessor>,
    ) -> io::Result<Self> {
        let (notes, noted) = sync_channel(NOTES_MAX);
        std::thread::Builder::new().name("spans".to_owned()).spawn(move || make(&noted, &scope, &*processor))?;
        Ok(Self { sampler, notes, lost: Arc::default() })
    }

    /// The span of a request that has come by `rpc` in the context `parent`; none: it is not to be traced.
    pub(super) fn begin(&self, rpc: &'static str, parent: &Context) -> Option<SpanContext> {
        let client = parent.span();
        let client = Some(client.span_context()).filter(|client| client.is_valid());
        let trace = client.map_or_else(|| RandomIdGenerator::default().new_trace_id(), SpanContext::trace_id);
        let sampled = self.sampler.should_sample(Some(parent), trace, rpc, &SpanKind::Server, &[], &[]);
        (sampled.decision == SamplingDecision::RecordAndSample).then(|| new_span(trace, sampled.trace_state))
    }

    /// A span has ended.
    pub(super) fn end(&self, ended: Ended) {
        if let Err(TrySendError::Full(_)) = self.notes.try_send(Note::Ended(ended))
            && self.lost.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::warn!("traces more requests than it can tell of: spans are lost from now on");
        }
    }

    /// Has all spans made that were noted, and ends the thread: what is noted from then on is lost.
    pub(super) fn stop(&self) {
        self.flush(true);
        let lost = self.lost.load(Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!("lost {lost} spans, because it traced more requests than it could tell of");
        }
    }

    /// Has all spans made that were noted, and waits for it. The last time ends the thread.
    pub(super) fn flush(&self, is_last: bool) {
        let (waiting, made) = sync_channel(0);
        if self.notes.send(Note::Flush { waiting, is_last }).is_ok() {
            // Nothing comes: it is dropped.
            let _ = made.recv();
        }
    }
}

/// Makes the spans that are noted, until it is stopped or nobody can note any more.
fn make(noted: &Receiver<Note>, scope: &InstrumentationScope, processor: &dyn SpanProcessor) {
    while let Ok(first) = noted.recv() {
        for note in iter::once(first).chain(noted.try_iter()) {
            match note {
                Note::Ended(ended) => processor.on_end(ended.into_span(scope.clone())),
                Note::Flush { waiting, is_last } => {
                    drop(waiting);
                    if is_last {
                        return;
                    }
                }
            }
        }
        std::thread::sleep(REST);
    }
}

/// A span in a trace that is recorded.
fn new_span(trace: TraceId, state: TraceState) -> SpanContext {
    SpanContext::new(trace, RandomIdGenerator::default().new_span_id(), TraceFlags::SAMPLED, false, state)
}

/// A span that is part of `parent`.
pub(super) fn child_of(parent: &SpanContext) -> SpanContext {
    new_span(parent.trace_id(), parent.trace_state().clone())
}

/// The first span of a trace.
pub(super) fn root() -> SpanContext {
    new_span(RandomIdGenerator::default().new_trace_id(), TraceState::NONE)
}

impl Parent {
    /// There is none.
    pub(super) const NONE: Self = Self { id: SpanId::INVALID, is_remote: false };
}

impl From<&SpanContext> for Parent {
    fn from(span: &SpanContext) -> Self {
        Self { id: span.span_id(), is_remote: span.is_remote() }
    }
}

impl Ended {
    /// A part of `parent`, which lasted from one moment to another.
    pub(super) fn child(parent: &SpanContext, (from, to): (Moment, Moment), what: What) -> Self {
        Self { span: child_of(parent), parent: parent.into(), from: from.wall(), to: to.wall(), what }
    }

    fn into_span(self, instrumentation_scope: InstrumentationScope) -> SpanData {
        let Self { span: span_context, parent, from: start_time, to: end_time, what } = self;
        let mut span = SpanData {
            span_context,
            parent_span_id: parent.id,
            parent_span_is_remote: parent.is_remote,
            span_kind: SpanKind::Internal,
            name: "".into(),
            start_time,
            end_time,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope,
        };
        what.describe(&mut span);
        span
    }
}

impl What {
    /// Names the span, and says of it what there is to say.
    fn describe(self, span: &mut SpanData) {
        match self {
            What::Request(request) => request.describe(span),
            What::Verb(verb) => span.name = verb.name().into(),
            What::Proposed { at, together } => {
                span.name = Verb::Proposed.name().into();
                span.attributes = vec![
                    KeyValue::new("quorate.index", at.index.0 as i64),
                    KeyValue::new("quorate.term", at.term.0 as i64),
                    KeyValue::new("quorate.requests_together", together as i64),
                ];
            }
            What::Replicated { peer, failed } => {
                span.name = Verb::Replicated.name().into();
                span.attributes = vec![KeyValue::new("quorate.peer", peer)];
                span.status = failed.map_or(Status::Unset, Status::error);
            }
            What::AppendedByFollower(index) => {
                span.name = Verb::Appended.name().into();
                span.attributes = vec![KeyValue::new("quorate.index", index.0 as i64)];
            }
            What::Fsync(fsync) => fsync.describe(span),
            What::SyncLog(sync) => sync.describe(span),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::Span;

    use super::*;
    use crate::telemetry::format::tests::text;
    use crate::telemetry::providers::scope;

    /// Counts spans, and takes none while it is locked.
    #[derive(Debug, Default)]
    struct Counted(Mutex<usize>);

    impl SpanProcessor for Counted {
        fn on_start(&self, _: &mut Span, _: &Context) {}

        fn on_end(&self, _: SpanData) {
            *self.0.lock().unwrap() += 1;
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    fn start(sampler: Sampler) -> (RequestSpans, Arc<Counted>) {
        let counted = Arc::new(Counted::default());
        (RequestSpans::start(sampler, scope(), counted.clone()).unwrap(), counted)
    }

    fn client(flags: TraceFlags) -> SpanContext {
        let state = TraceState::from_key_value([("vendor", "x")]).unwrap();
        SpanContext::new(TraceId::from(1), SpanId::from(1), flags, true, state)
    }

    /// As the specification of the samplers has it: who decides the same by the id of a trace decides the same of it.
    #[test]
    fn a_share_of_the_traces_is_sampled_by_their_ids() {
        let ratio = Sampler::TraceIdRatioBased(0.25);
        let (spans, _) = start(Sampler::ParentBased(Box::new(ratio.clone())));
        let begun: Vec<SpanContext> = (0..4_000).filter_map(|_| spans.begin("rpc", &Context::new())).collect();
        assert!((800..1_200).contains(&begun.len()), "{}", begun.len());
        for span in &begun {
            let again = ratio.should_sample(None, span.trace_id(), "", &SpanKind::Server, &[], &[]);
            assert_eq!(again.decision, SamplingDecision::RecordAndSample);
            assert!(span.is_valid() && span.is_sampled() && !span.is_remote());
        }
    }

    #[test]
    fn a_client_decides_of_its_trace_and_its_state_goes_on() {
        let (spans, _) = start(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)));
        let begin = |flags| spans.begin("rpc", &Context::new().with_remote_span_context(client(flags)));
        assert_eq!(begin(TraceFlags::default()), None);
        let span = begin(TraceFlags::SAMPLED).unwrap();
        let child = child_of(&span);
        for span in [&span, &child] {
            assert_eq!((span.trace_id(), span.trace_state().get("vendor")), (TraceId::from(1), Some("x")));
        }
        let ids = [SpanId::from(1), span.span_id(), child.span_id()];
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
    }

    #[test]
    fn what_was_noted_before_a_stop_is_made_and_nothing_after_it() {
        let (spans, counted) = start(Sampler::AlwaysOn);
        let (parent, now) = (client(TraceFlags::SAMPLED), Moment::now());
        let note = || spans.end(Ended::child(&parent, (now, now), What::Verb(Verb::Applied)));
        (0..10).for_each(|_| note());
        spans.stop();
        note();
        spans.stop();
        assert_eq!((*counted.0.lock().unwrap(), spans.lost.load(Ordering::Relaxed)), (10, 0));
    }

    /// Whoever notes a span does not wait for the thread.
    #[test]
    fn what_is_too_much_is_dropped_and_told_of_once() {
        let (spans, counted) = start(Sampler::AlwaysOn);
        let (parent, now) = (client(TraceFlags::SAMPLED), Moment::now());
        let noted = NOTES_MAX + 100;
        let stuck = counted.0.lock().unwrap();
        let told = text(|| {
            for _ in 0..noted {
                spans.end(Ended::child(&parent, (now, now), What::Verb(Verb::Applied)));
            }
        });
        drop(stuck);
        assert_eq!(told.matches("spans are lost").count(), 1, "{told}");
        let told = text(|| spans.stop());
        let lost = spans.lost.load(Ordering::Relaxed) as usize;
        assert!(told.contains(&format!("lost {lost} spans")), "{told}");
        assert!((1..=100).contains(&lost), "{lost}");
        assert_eq!(*counted.0.lock().unwrap(), noted - lost);
    }
}
