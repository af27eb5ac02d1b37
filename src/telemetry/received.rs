//! A request in the api, from its arrival to its answer.

use opentelemetry::trace::{Span as _, SpanKind, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, ContextGuard, KeyValue};
use tonic::Code;

use super::request::verb_and_queue;
use super::{Moment, Telemetry, Verb, rpc};
use crate::state_machine::Operation;

/// A request that has arrived. It is dated, and has a span, if anybody wants to know. Dropped without an answer, because its
/// client has gone away, it counts as cancelled.
#[derive(Debug)]
pub struct Received {
    telemetry: Telemetry,
    /// When the last verb ended; none: nobody wants to know of this request.
    since: Option<Moment>,
    /// With the span of the request; none: it is not traced.
    span: Option<Context>,
    is_answered: bool,
}

/// What the event loop has to know of a request to tell of it.
#[derive(Clone, Debug, Default)]
pub struct Mark {
    /// When the request was handed to the loop; none: nobody wants to know.
    pub(super) since: Option<Moment>,
    /// With the span of the request; none: it is not traced.
    pub(super) span: Option<Context>,
}

impl Telemetry {
    /// A request has arrived by the gRPC method `rpc` (`package.Service/Method`), in the context `parent` of its client.
    /// Whether it is traced is decided here.
    pub fn receive(&self, rpc: &'static str, parent: impl FnOnce() -> Context) -> Received {
        let span = self.tracer.as_ref().and_then(|tracer| {
            let attributes = rpc::method(rpc).into_iter().chain(self.server.iter().cloned());
            let builder = tracer.span_builder(rpc).with_kind(SpanKind::Server).with_attributes(attributes);
            let span = tracer.build_with_context(builder, &parent());
            span.span_context().is_sampled().then(|| Context::new().with_span(span))
        });
        let matters = span.is_some() || self.instruments.is_some();
        Received { telemetry: self.clone(), since: matters.then(Moment::now), span, is_answered: false }
    }
}

impl Received {
    /// The request is right.
    pub fn is_checked(&mut self, operations: &[Operation]) {
        if let Some(context) = &self.span {
            context.span().set_attributes(messaging(operations));
        }
        self.end(Verb::Received);
    }

    /// This node's replica may be asked.
    pub fn is_routed(&mut self) {
        self.end(Verb::Routed);
    }

    /// For the event loop, to which the request is handed now.
    pub fn mark(&self) -> Mark {
        Mark { since: self.since, span: self.span.clone() }
    }

    /// What is logged on this thread while the guard lives, is about this request. None: it is not traced.
    pub fn enter(&self) -> Option<ContextGuard> {
        self.span.clone().map(Context::attach)
    }

    /// The answer is ready. A refusal has its code and its reason.
    pub fn is_answered(&mut self, refusal: Option<(Code, &'static str)>) {
        self.is_answered = true;
        if let Some(instruments) = &self.telemetry.instruments {
            instruments.answered(refusal.map_or("ok", |(_, reason)| reason));
        }
        let Some(context) = &self.span else { return };
        let (attributes, status) = rpc::outcome(refusal);
        let span = context.span();
        span.set_attributes(attributes);
        span.set_status(status);
        span.end();
    }

    fn end(&mut self, verb: Verb) {
        if let Some(since) = self.since {
            let now = Moment::now();
            self.telemetry.stage(verb, self.span.as_ref(), (since, now), Vec::new);
            self.since = Some(now);
        }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if !self.is_answered {
            self.is_answered(Some((Code::Cancelled, "CANCELLED")));
        }
    }
}

/// By the conventions for messaging, as far as all operations have it in common.
fn messaging(operations: &[Operation]) -> Vec<KeyValue> {
    let mut attributes = vec![KeyValue::new("messaging.system", "quorate")];
    let common = |of: fn(&Operation) -> Option<&str>| {
        let first = of(operations.first()?)?;
        operations.iter().all(|operation| of(operation) == Some(first)).then_some(first)
    };
    if let Some(queue) = common(|operation| verb_and_queue(operation).1) {
        attributes.push(KeyValue::new("messaging.destination.name", queue.to_owned()));
    }
    if let Some(verb) = common(|operation| Some(verb_and_queue(operation).0)) {
        attributes.push(KeyValue::new("messaging.operation.name", verb.to_owned()));
    }
    if let Some(kind) = common(operation_type) {
        attributes.push(KeyValue::new("messaging.operation.type", kind.to_owned()));
    }
    if operations.len() > 1 {
        attributes.push(KeyValue::new("messaging.batch.message_count", operations.len() as i64));
    }
    attributes
}

fn operation_type(operation: &Operation) -> Option<&str> {
    match operation {
        Operation::Enqueue { .. } => Some("send"),
        Operation::Dequeue { .. } | Operation::Peek { .. } => Some("receive"),
        Operation::OpenSession | Operation::CloseSession => None,
        Operation::ListQueues { .. } | Operation::Stats { .. } => None,
    }
}
