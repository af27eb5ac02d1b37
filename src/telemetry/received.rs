//! A request in the api, from its arrival to its answer.

use std::sync::Arc;

use opentelemetry::trace::{Link, SpanContext, SpanKind, TraceContextExt as _};
use opentelemetry::{Context, ContextGuard, KeyValue};
use opentelemetry_sdk::trace::SpanData;
use tonic::Code;

use super::propagation::TraceHeaders;
use super::request::verb_and_queue;
use super::request_spans::{Ended, What};
use super::{LINKS_MAX, Moment, Telemetry, Verb, propagation, rpc};
use crate::state_machine::Operation;

const MESSAGE_ID: &str = "messaging.message.id";
const MESSAGE_COUNT: &str = "messaging.batch.message_count";

/// A request that has arrived. It is dated, and has a span, if anybody wants to know. Dropped without an answer, because its
/// client has gone away, it counts as cancelled.
#[derive(Debug)]
pub struct Received {
    telemetry: Telemetry,
    /// When the last verb ended; none: nobody wants to know of this request.
    since: Option<Moment>,
    /// None: it is not traced.
    traced: Option<Box<Traced>>,
    is_answered: bool,
}

/// A request that is traced.
#[derive(Debug)]
struct Traced {
    span: SpanContext,
    /// The client's span.
    client: SpanContext,
    arrived: Moment,
    /// What its span is to say; none once it has ended.
    request: Option<Box<Request>>,
}

/// What the span of a request says.
#[derive(Debug)]
pub(super) struct Request {
    rpc: &'static str,
    /// Where the node serves.
    server: Arc<[KeyValue]>,
    attributes: Vec<KeyValue>,
    links: Vec<Link>,
    links_left_out: u32,
    /// A refusal has its code and its reason.
    refusal: Option<(Code, &'static str)>,
}

/// A message that an answer names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brought {
    /// Its id, as people write it.
    pub id: String,
    /// The trace of its producer, if the answer brings the message.
    pub trace: Option<TraceHeaders>,
}

/// What the event loop has to know of a request to tell of it.
#[derive(Clone, Debug, Default)]
pub struct Mark {
    /// When the request was handed to the loop; none: nobody wants to know.
    pub(super) since: Option<Moment>,
    /// The span of the request; none: it is not traced.
    pub(super) span: Option<SpanContext>,
}

impl Telemetry {
    /// A request has arrived by the gRPC method `rpc` (`package.Service/Method`), in the context `parent` of its client.
    /// Whether it is traced is decided here.
    pub fn receive(&self, rpc: &'static str, parent: impl FnOnce() -> Context) -> Received {
        let traced = self.request_spans().and_then(|spans| {
            let parent = parent();
            let span = spans.begin(rpc, &parent)?;
            let client = parent.span().span_context().clone();
            let server = self.sinks.server.clone();
            let request =
                Request { rpc, server, attributes: Vec::new(), links: Vec::new(), links_left_out: 0, refusal: None };
            Some(Box::new(Traced { span, client, arrived: Moment::now(), request: Some(Box::new(request)) }))
        });
        let is_measured = self.sinks.instruments.is_some();
        let since = traced.as_ref().map(|traced| traced.arrived).or_else(|| is_measured.then(Moment::now));
        Received { telemetry: self.clone(), since, traced, is_answered: false }
    }
}

impl Received {
    /// The request is right.
    pub fn is_checked(&mut self, operations: &[Operation]) {
        if let Some(traced) = &mut self.traced {
            traced.say(messaging(operations));
            traced.link(operations.iter().filter_map(producer).map(|trace| (trace, Vec::new())));
        }
        self.end(Verb::Received);
    }

    /// This node's replica may be asked.
    pub fn is_routed(&mut self) {
        self.end(Verb::Routed);
    }

    /// For the event loop, to which the request is handed now.
    pub fn mark(&self) -> Mark {
        Mark { since: self.since, span: self.span().cloned() }
    }

    fn span(&self) -> Option<&SpanContext> {
        self.traced.as_ref().map(|traced| &traced.span)
    }

    /// What is logged on this thread while the guard lives, is about this request. None: it is not traced.
    pub fn enter(&self) -> Option<ContextGuard> {
        self.span().map(propagation::enter)
    }

    /// The answer names these messages. Their producers are linked: a consumer may take messages of many traces, so that it belongs
    /// to none of them.
    pub fn brings(&mut self, messages: impl FnOnce() -> Vec<Brought>) {
        let Some(traced) = &mut self.traced else { return };
        let messages = messages();
        let is_read = |message: &Brought| message.trace.is_some();
        match &messages[..] {
            [message] => traced.say([KeyValue::new(MESSAGE_ID, message.id.clone())]),
            messages if messages.iter().any(is_read) => {
                traced.say([KeyValue::new(MESSAGE_COUNT, messages.len() as i64)]);
            }
            _ => {}
        }
        let linked = messages.into_iter().filter_map(|message| Some((message.trace?, message.id)));
        traced.link(linked.map(|(trace, id)| (trace, vec![KeyValue::new(MESSAGE_ID, id)])));
    }

    /// The answer is ready. A refusal has its code and its reason.
    pub fn is_answered(&mut self, refusal: Option<(Code, &'static str)>) {
        self.is_answered = true;
        if let Some(instruments) = &self.telemetry.sinks.instruments {
            instruments.answered(refusal.map_or("ok", |(_, reason)| reason));
        }
        if let (Some(traced), Some(spans)) = (&mut self.traced, self.telemetry.request_spans())
            && let Some(mut request) = traced.request.take()
        {
            request.refusal = refusal;
            let what = What::Request(request);
            let (from, to) = (traced.arrived.wall(), Moment::now().wall());
            spans.end(Ended { span: traced.span.clone(), parent: (&traced.client).into(), from, to, what });
        }
    }

    fn end(&mut self, verb: Verb) {
        if let Some(since) = self.since {
            let now = Moment::now();
            self.telemetry.stage(verb, self.span(), (since, now));
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

impl Traced {
    fn say(&mut self, attributes: impl IntoIterator<Item = KeyValue>) {
        if let Some(request) = &mut self.request {
            request.attributes.extend(attributes);
        }
    }

    /// Links the spans that these messages tell of, up to a limit, but for the client's own.
    fn link(&mut self, messages: impl Iterator<Item = (TraceHeaders, Vec<KeyValue>)>) {
        let Some(request) = &mut self.request else { return };
        let ids = |span: &SpanContext| (span.trace_id(), span.span_id());
        let told = messages.map(|(trace, attributes)| (trace.linked(), attributes));
        let others = told.filter(|(span, _)| span.is_valid() && ids(span) != ids(&self.client));
        let links = others.map(|(span, attributes)| Link::new(span, attributes, 0));
        for link in links {
            match request.links.len() < LINKS_MAX {
                true => request.links.push(link),
                false => request.links_left_out += 1,
            }
        }
    }
}

impl Request {
    /// Says it of the span.
    pub(super) fn describe(self, span: &mut SpanData) {
        let Self { rpc, server, attributes, links, links_left_out, refusal } = self;
        let (outcome, status) = rpc::outcome(refusal);
        let called = rpc::method(rpc).into_iter().chain(server.iter().cloned());
        span.name = rpc.into();
        span.span_kind = SpanKind::Server;
        span.attributes = called.chain(attributes).chain(outcome).collect();
        span.links.links = links;
        span.links.dropped_count = links_left_out;
        span.status = status;
    }
}

/// The trace that a message says it belongs to.
fn producer(operation: &Operation) -> Option<TraceHeaders> {
    match operation {
        Operation::Enqueue { message, .. } => Some(TraceHeaders::of_message(&message.headers)),
        _ => None,
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
    let messages: usize = operations.iter().map(messages_of).sum();
    if messages > 1 && matches!(common(operation_type), Some("send" | "settle")) {
        attributes.push(KeyValue::new(MESSAGE_COUNT, messages as i64));
    }
    attributes
}

/// How many messages an operation says that it is about; of what it is to bring only the answer tells.
fn messages_of(operation: &Operation) -> usize {
    match operation {
        Operation::Enqueue { .. } => 1,
        Operation::Settle { settlements, .. } => settlements.len(),
        Operation::ExtendLease { tokens, .. } => tokens.len(),
        _ => 0,
    }
}

fn operation_type(operation: &Operation) -> Option<&str> {
    match operation {
        Operation::Enqueue { .. } => Some("send"),
        Operation::Dequeue { .. } | Operation::Lease { .. } | Operation::Peek { .. } => Some("receive"),
        Operation::Settle { .. } | Operation::ExtendLease { .. } => Some("settle"),
        Operation::OpenSession | Operation::CloseSession => None,
        Operation::ListQueues { .. } | Operation::Stats { .. } => None,
        Operation::Redrive { .. } | Operation::SetQueue { .. } => None,
    }
}
