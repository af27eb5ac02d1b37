//! Contexts of traces on their way in and out: W3C Trace Context in the metadata of gRPC, in frames of requests and in the
//! environment, and what goes along with entries to the peers.

use std::collections::BTreeMap;

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, ContextGuard};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::metadata::{MetadataKey, MetadataMap};

use crate::ids::TraceContext;

/// The longest `tracestate` that is passed on, in bytes: what W3C Trace Context has everybody take. Spans and messages carry it about,
/// so that a longer one is left out; the trace goes on without.
const TRACESTATE_BYTES_MAX: usize = 512;

/// The context that a client sends in `traceparent` and `tracestate`; without a good one, none.
pub fn from_metadata(metadata: &MetadataMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Incoming(metadata))
}

/// The headers of W3C Trace Context where they are no metadata of gRPC. Empty: there is no trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceHeaders {
    /// The trace, the span in it, and whether it is sampled.
    pub traceparent: String,
    /// What tracing vendors keep there.
    pub tracestate: String,
}

impl TraceHeaders {
    /// Those of the current context.
    pub fn current() -> Self {
        let mut headers = Self::default();
        inject_current(&mut headers);
        headers
    }

    /// Those among the headers of a message.
    pub fn of_message(headers: &BTreeMap<String, String>) -> Self {
        let header = |name| headers.get(name).cloned().unwrap_or_default();
        Self { traceparent: header("traceparent"), tracestate: header("tracestate") }
    }

    /// The variables `TRACEPARENT` and `TRACESTATE`, by which a pipeline passes its trace on to the commands that it runs.
    pub fn from_environment() -> Self {
        let variable = |name| std::env::var(name).unwrap_or_default();
        Self { traceparent: variable("TRACEPARENT"), tracestate: variable("TRACESTATE") }
    }

    /// The context that they tell of; without a good one, none.
    pub fn context(&self) -> Context {
        if self.traceparent.is_empty() {
            return Context::new();
        }
        TraceContextPropagator::new().extract_with_context(&Context::new(), self)
    }

    /// The span that they tell of, for who links it; without a good one, an invalid one. Its ids say which it is. With the states of
    /// all that a batch of messages tells of, a few spans would be more than a collector takes at once.
    pub(super) fn linked(self) -> SpanContext {
        let ids = Self { traceparent: self.traceparent, ..Self::default() };
        ids.context().span().span_context().clone()
    }
}

impl Extractor for TraceHeaders {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => Some(&self.traceparent),
            "tracestate" => short(&self.tracestate),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

impl Injector for TraceHeaders {
    fn set(&mut self, key: &str, value: String) {
        match key {
            "traceparent" => self.traceparent = value,
            "tracestate" => self.tracestate = value,
            other => unreachable!("W3C Trace Context has no header {other}"),
        }
    }
}

/// Sends the current context along with a call, if there is one.
///
/// # Errors
/// None.
pub fn inject(mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
    inject_current(&mut Outgoing(request.metadata_mut()));
    Ok(request)
}

fn inject_current(injector: &mut dyn Injector) {
    Context::map_current(|context| {
        if context.span().span_context().is_valid() {
            TraceContextPropagator::new().inject_context(context, injector);
        }
    });
}

/// What a peer is told of a span.
pub(super) fn to_peer(span: &SpanContext) -> TraceContext {
    TraceContext { trace_id: span.trace_id().to_bytes(), span_id: span.span_id().to_bytes() }
}

/// A span that a peer has told of.
pub(super) fn from_peer(TraceContext { trace_id, span_id }: TraceContext) -> SpanContext {
    let (trace_id, span_id) = (TraceId::from_bytes(trace_id), SpanId::from_bytes(span_id));
    // What vendors keep in the state is for services that call others; here a trace ends.
    SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, true, TraceState::NONE)
}

/// What is logged on this thread while the guard lives is about this span.
pub(super) fn enter(span: &SpanContext) -> ContextGuard {
    Context::new().with_remote_span_context(span.clone()).attach()
}

/// The ids of the trace and the span at work, if they are recorded.
pub(super) fn current_ids() -> Option<(TraceId, SpanId)> {
    Context::map_current(|context| {
        let span = context.span();
        let context = span.span_context();
        context.is_sampled().then(|| (context.trace_id(), context.span_id()))
    })
}

fn short(tracestate: &str) -> Option<&str> {
    (tracestate.len() <= TRACESTATE_BYTES_MAX).then_some(tracestate)
}

struct Incoming<'a>(&'a MetadataMap);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.get(key)?.to_str().ok()?;
        if key == "tracestate" { short(value) } else { Some(value) }
    }

    fn keys(&self) -> Vec<&str> {
        self.0.as_ref().keys().map(|key| key.as_str()).collect()
    }
}

struct Outgoing<'a>(&'a mut MetadataMap);

impl Injector for Outgoing<'_> {
    fn set(&mut self, key: &str, value: String) {
        // The propagator's keys are good names; what is empty is not sent.
        if let (Ok(key), Ok(value), false) = (MetadataKey::from_bytes(key.as_bytes()), value.parse(), value.is_empty())
        {
            self.0.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn metadata(entries: &[(&'static str, &str)]) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        for (key, value) in entries {
            metadata.insert(*key, value.parse().unwrap());
        }
        metadata
    }

    #[test]
    fn what_a_client_sends_goes_on_unchanged() {
        let received = from_metadata(&metadata(&[("traceparent", PARENT), ("tracestate", "vendor=x")]));
        let _current = received.attach();
        let sent = inject(tonic::Request::new(())).unwrap();
        assert_eq!(sent.metadata().get("traceparent").unwrap(), PARENT);
        assert_eq!(sent.metadata().get("tracestate").unwrap(), "vendor=x");
        let headers = TraceHeaders::current();
        assert_eq!((&*headers.traceparent, &*headers.tracestate), (PARENT, "vendor=x"));
        assert_eq!(headers.context().span().span_context(), Context::current().span().span_context());
    }

    #[test]
    fn without_a_context_nothing_is_sent() {
        assert!(inject(tonic::Request::new(())).unwrap().metadata().is_empty());
        assert_eq!(TraceHeaders::current(), TraceHeaders::default());
        assert!(!TraceHeaders::default().context().span().span_context().is_valid());
    }

    #[test]
    fn what_is_no_context_is_none() {
        let zeros = PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32));
        for wrong in ["", "00", "garbage", &PARENT.to_uppercase(), &zeros, &format!("{PARENT}-{}", "x".repeat(10_000))]
        {
            let context = from_metadata(&metadata(&[("traceparent", wrong)]));
            assert!(!context.span().span_context().is_valid(), "{wrong}");
        }
    }

    #[test]
    fn a_trace_goes_on_without_a_state_that_is_too_long() {
        for (length, is_kept) in [(TRACESTATE_BYTES_MAX, true), (TRACESTATE_BYTES_MAX + 1, false), (10_000, false)] {
            // Each member has 12 bytes and a comma.
            let members: Vec<String> = (0..length / 13).map(|number| format!("k{number:06}=vvvv")).collect();
            let state =
                format!("{members}{}", " ".repeat(length - members.len() * 13 + 1), members = members.join(","));
            assert_eq!(state.len(), length);
            let headers = TraceHeaders { traceparent: PARENT.to_owned(), tracestate: state.clone() };
            for context in
                [headers.context(), from_metadata(&metadata(&[("traceparent", PARENT), ("tracestate", &state)]))]
            {
                let span = context.span();
                assert!(span.span_context().is_valid());
                assert_eq!(span.span_context().trace_state().header().is_empty(), !is_kept, "{length}");
            }
        }
    }

    #[test]
    fn a_peer_finds_the_span_that_it_is_told_of() {
        let span = from_metadata(&metadata(&[("traceparent", PARENT)]));
        assert_eq!(&from_peer(to_peer(span.span().span_context())), span.span().span_context());
    }
}
