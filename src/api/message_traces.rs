//! What messages say of the traces that they belong to: `traceparent` and `tracestate` of W3C Trace Context among their headers.
//! They were made by the producer, are kept as they are, and mean nothing to the cluster itself.

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;

use crate::proto::v1;
use crate::proto::v1::operation::Operation as Verb;
use crate::proto::v1::outcome::Outcome;
use crate::telemetry::Brought;
use crate::telemetry::propagation::TraceHeaders;

/// The context that a request belongs to: that of its call or, when a client sends none, that of its first message.
pub fn context_of(call: Context, request: &v1::ExecuteRequest) -> Context {
    if call.span().span_context().is_valid() {
        return call;
    }
    let first = request.operations.first().and_then(|operation| operation.operation.as_ref());
    match first {
        Some(Verb::Enqueue(v1::Enqueue { message: Some(message), .. })) => {
            TraceHeaders::of_message(&message.headers).context()
        }
        _ => call,
    }
}

/// The messages that an answer names or brings.
pub fn brought(answer: &v1::ExecuteResponse) -> Vec<Brought> {
    answer.outcomes.iter().filter_map(|outcome| outcome.outcome.as_ref()).flat_map(brought_by).collect()
}

fn brought_by(outcome: &Outcome) -> Vec<Brought> {
    match outcome {
        Outcome::Enqueued(enqueued) => vec![Brought { id: text(enqueued.id), trace: None }],
        Outcome::Dequeued(dequeued) => dequeued.message.iter().map(received).collect(),
        Outcome::Leased(leased) => leased.messages.iter().map(received).collect(),
        Outcome::Peeked(peeked) => peeked.messages.iter().map(received).collect(),
        _ => Vec::new(),
    }
}

fn received(message: &v1::StoredMessage) -> Brought {
    let trace = message.message.as_ref().map(|message| TraceHeaders::of_message(&message.headers));
    Brought { id: text(message.id), trace }
}

/// As people write it: the entry that brought the message, and its place in that.
fn text(id: Option<v1::MessageId>) -> String {
    let v1::MessageId { index, item, .. } = id.unwrap_or_default();
    format!("{index}/{item}")
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceId;

    use super::*;

    fn request(traceparent: &str) -> v1::ExecuteRequest {
        let headers = [("traceparent".to_owned(), traceparent.to_owned())].into();
        let message = v1::Message { headers, ..Default::default() };
        let enqueue = v1::Enqueue { message: Some(message), ..Default::default() };
        let operations = vec![v1::Operation { operation: Some(Verb::Enqueue(enqueue)) }];
        v1::ExecuteRequest { operations, ..Default::default() }
    }

    fn parent(trace: u8) -> String {
        format!("00-{}-00f067aa0ba902b7-01", format!("{trace:02x}").repeat(16))
    }

    #[test]
    fn a_request_belongs_to_the_trace_of_its_call_and_else_to_that_of_its_first_message() {
        let call = || TraceHeaders { traceparent: parent(1), ..Default::default() }.context();
        let trace_of = |context: Context| context.span().span_context().trace_id();
        assert_eq!(trace_of(context_of(call(), &request(&parent(2)))), TraceId::from_bytes([1; 16]));
        assert_eq!(trace_of(context_of(Context::new(), &request(&parent(2)))), TraceId::from_bytes([2; 16]));
        for none in [request("garbage"), request(""), v1::ExecuteRequest::default()] {
            assert_eq!(trace_of(context_of(Context::new(), &none)), TraceId::INVALID);
        }
    }

    /// Whoever gives messages out to be worked on or looked at, tells of their producers.
    #[test]
    fn whatever_an_answer_brings_tells_of_its_producer() {
        let stored = |index| {
            let headers = [("traceparent".to_owned(), parent(3))].into();
            let message = Some(v1::Message { headers, ..Default::default() });
            v1::StoredMessage { id: Some(v1::MessageId { index, ..Default::default() }), message, ..Default::default() }
        };
        let outcomes = [
            Outcome::Enqueued(v1::Enqueued { id: stored(1).id }),
            Outcome::Dequeued(v1::Dequeued { message: Some(stored(2)) }),
            Outcome::Dequeued(v1::Dequeued { message: None }),
            Outcome::Peeked(v1::Peeked { messages: vec![stored(3), stored(4)] }),
            Outcome::Leased(v1::Leased { messages: vec![stored(5)] }),
        ];
        let outcomes = outcomes.into_iter().map(|outcome| v1::Outcome { outcome: Some(outcome) }).collect();
        let brought = brought(&v1::ExecuteResponse { outcomes, ..Default::default() });
        let ids: Vec<&str> = brought.iter().map(|message| &*message.id).collect();
        assert_eq!(ids, ["1/0", "2/0", "3/0", "4/0", "5/0"]);
        assert_eq!(brought[0].trace, None, "it is the producer's own");
        let trace = Some(TraceHeaders { traceparent: parent(3), tracestate: String::new() });
        assert!(brought[1..].iter().all(|message| message.trace == trace), "{brought:?}");
    }
}
