//! Spans that are blocks of code: the steps of a node's start, and calls other than requests. They are spans of `tracing`,
//! and what runs within them has their context: lines in JSON carry its ids, and a call to another node passes it on.

use std::fmt::Display;

use opentelemetry::Context;
use opentelemetry::trace::Status;
use opentelemetry_sdk::trace::SdkTracer;
use tonic::Code;
use tracing::level_filters::LevelFilter;
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::{Layer, Registry};

use super::{Telemetry, rpc};

/// The target of these spans. Nobody else's get to the collector, and none gets into the log.
pub(super) const SPAN: &str = "quorate::span";

/// Gives these spans to `tracer`. Lines of the log do not go along: their place is the log.
pub(super) fn layer(tracer: SdkTracer) -> Box<dyn Layer<Registry> + Send + Sync> {
    // Without the hint, what is said through the crate `log` would be asked about however detailed it is.
    let own =
        filter_fn(|metadata| metadata.is_span() && metadata.target() == SPAN).with_max_level_hint(LevelFilter::INFO);
    let layer = tracing_opentelemetry::layer().with_tracer(tracer).with_tracked_inactivity(false);
    layer.with_location(false).with_threads(false).with_target(false).with_filter(own).boxed()
}

/// A step of what this node does, as part of the step that it is called in, if it is.
pub fn step(name: &'static str) -> Span {
    info_span!(target: SPAN, "step", otel.name = name)
}

/// The step could not be done.
pub fn failed(step: &Span, why: &impl Display) {
    step.set_status(Status::error(why.to_string()));
}

/// A call while it is served. Dropped without an answer, because its client has gone away, it counts as cancelled.
#[derive(Debug)]
pub struct Call {
    span: Span,
    is_answered: bool,
}

impl Call {
    /// A call has arrived at this node by the gRPC method `rpc` (`package.Service/Method`), in the context `parent` of its
    /// client. Whether it is traced is decided here.
    pub fn arrived(telemetry: &Telemetry, rpc: &'static str, parent: impl FnOnce() -> Context) -> Self {
        let span = info_span!(target: SPAN, parent: None, "call", otel.name = rpc, otel.kind = "server");
        if !span.is_disabled() {
            // Fails only for a span that has begun, and where nobody sends spans.
            let _ = span.set_parent(parent());
            let attributes = rpc::method(rpc).into_iter().chain(telemetry.sinks.server.iter().cloned());
            attributes.for_each(|attribute| span.set_attribute(attribute.key, attribute.value));
        }
        Self { span, is_answered: false }
    }

    /// What serves the call runs within this.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// The answer is ready. A refusal has its code and its reason.
    pub fn is_answered(&mut self, refusal: Option<(Code, &'static str)>) {
        self.is_answered = true;
        if !self.span.is_disabled() {
            let (attributes, status) = rpc::outcome(refusal);
            attributes.into_iter().for_each(|attribute| self.span.set_attribute(attribute.key, attribute.value));
            self.span.set_status(status);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.is_answered {
            self.is_answered(Some((Code::Cancelled, "CANCELLED")));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use opentelemetry::trace::{SpanId, SpanKind, TraceFlags};
    use opentelemetry_sdk::trace::SpanData;
    use tracing::Subscriber;
    use tracing::subscriber::with_default;
    use tracing_appender::non_blocking::NonBlocking;

    use super::*;
    use crate::config::NodeConfig;
    use crate::telemetry::format::Format;
    use crate::telemetry::format::tests::Lines;
    use crate::telemetry::log::subscriber;
    use crate::telemetry::tests::{client, telemetry};

    const STATUS: &str = "quorate.v1.Cluster/Status";

    /// What takes the lines and spans of a process with this telemetry.
    fn log_of(telemetry: &Telemetry, lines: &Lines) -> impl Subscriber + Send + Sync + use<> {
        let log = NodeConfig::default().log;
        let (unused, _guard) = NonBlocking::new(io::sink());
        let format = Format::new(log.format, None, unused.error_counter());
        subscriber(&log, false, format, lines.clone(), telemetry).unwrap()
    }

    /// The lines that are written while a process with this telemetry does `work`, without their times.
    fn lines_of(telemetry: &Telemetry, work: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        with_default(log_of(telemetry, &lines), work);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line[13..].to_owned()).collect()
    }

    /// The span of a call that a client traces.
    fn span_of(serve: impl FnOnce(Call)) -> SpanData {
        let (telemetry, spans) = telemetry();
        lines_of(&telemetry, || serve(Call::arrived(&telemetry, STATUS, || client(TraceFlags::SAMPLED))));
        spans.told().pop().expect("it is traced")
    }

    fn attribute(span: &SpanData, key: &str) -> Option<String> {
        let attribute = span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
        attribute.map(|attribute| attribute.value.to_string())
    }

    #[test]
    fn lines_are_no_part_of_spans_nor_spans_of_lines() {
        let (telemetry, spans) = telemetry();
        let lines = lines_of(&telemetry, || {
            let call = Call::arrived(&telemetry, STATUS, || client(TraceFlags::SAMPLED));
            let _served = call.span().enter();
            let _step = step("first").entered();
            let _foreign = tracing::error_span!("of a library").entered();
            tracing::error!("says something");
        });
        assert_eq!(spans.names(), ["first", STATUS]);
        let spans = spans.told();
        let ids = format!("{}-{}", spans[0].span_context.trace_id(), spans[0].span_context.span_id());
        assert_eq!(lines, [format!("ERROR says something trace={ids}")]);
        assert!(spans.iter().all(|span| span.events.is_empty() && span.status == Status::Unset), "{spans:#?}");
        assert_eq!(spans[0].parent_span_id, spans[1].span_context.span_id());
    }

    #[test]
    fn a_call_says_what_was_called_by_whom_and_how_it_ended() {
        let span = span_of(|mut call| call.is_answered(None));
        assert_eq!((&span.span_kind, span.parent_span_id), (&SpanKind::Server, SpanId::from(1)));
        assert_eq!(attribute(&span, "rpc.system.name").as_deref(), Some("grpc"));
        assert_eq!(attribute(&span, "rpc.method").as_deref(), Some(STATUS));
        assert_eq!(attribute(&span, "server.port").as_deref(), Some("7400"));
        assert_eq!(attribute(&span, "rpc.status_code").as_deref(), Some("OK"));
        assert_eq!(attribute(&span, "error.type"), None);

        let span = span_of(|mut call| call.is_answered(Some((Code::NotFound, "MEMBER_NOT_FOUND"))));
        assert_eq!(attribute(&span, "rpc.status_code").as_deref(), Some("NOT_FOUND"));
        assert_eq!(attribute(&span, "error.type").as_deref(), Some("MEMBER_NOT_FOUND"));
        assert_eq!(span.status, Status::Unset, "the client is to blame");
        let span = span_of(|mut call| call.is_answered(Some((Code::Unavailable, "NO_LEADER"))));
        assert_eq!(span.status, Status::error("NO_LEADER"));

        let span = span_of(drop);
        assert_eq!(attribute(&span, "error.type").as_deref(), Some("CANCELLED"));
    }

    /// The place in the code is switched off, so that it costs nothing.
    #[test]
    fn without_traces_there_are_no_spans() {
        let (traced, _) = telemetry();
        let mut places = Vec::new();
        lines_of(&traced, || {
            places.extend(Call::arrived(&traced, STATUS, Context::new).span().metadata());
            places.extend(step("start").metadata());
        });
        assert_eq!(places.len(), 2);
        for (telemetry, is_off) in [(traced, false), (Telemetry::default(), true)] {
            let log = log_of(&telemetry, &Lines::default());
            for place in &places {
                assert_eq!(log.register_callsite(place).is_never(), is_off, "{place:?}");
            }
        }
    }
}
