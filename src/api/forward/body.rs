//! What happens to the bytes of a call on their way. As they are, they go on; but every answer ends with a status of gRPC, also
//! when the leader's connection breaks or this node stops, and a conversation is stopped where no message is torn.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as Wakeup, Poll, ready};

use bytes::{Buf as _, Bytes};
use http_body::Frame;
use tokio::sync::OwnedSemaphorePermit;
use tonic::body::Body;
use tonic::codegen::http::HeaderMap;
use tonic::{Code, Status};

use super::link::root_cause;
use super::own::Hold;
use super::{Context, Waited, cut_short, errors};
use crate::api::errors::Rejection;
use crate::ids::Contact;
use crate::wary;

/// Whether this node has ended the questions of a conversation before its client did.
#[derive(Clone, Debug, Default)]
pub(super) struct Halt(Arc<AtomicBool>);

impl Halt {
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The questions of a conversation. When it is to end, they end after the message that is under way, as if the client had nothing
/// more to ask: so the leader answers what it has, and nothing that it has not been sent.
pub(super) struct Questions {
    body: Body,
    messages: Messages,
    /// Passes when there is to be an end; none: it has passed.
    end: Option<Waited<()>>,
    halt: Halt,
}

impl Questions {
    pub(super) fn new(body: Body, end: impl Future<Output = ()> + Send + 'static, halt: Halt) -> Self {
        Self { body, messages: Messages::default(), end: Some(Box::pin(end)), halt }
    }

    /// What of `bytes` still goes on.
    fn pass(&mut self, mut bytes: Bytes) -> Bytes {
        if self.end.is_none() {
            let rest = self.messages.end_of_current(&bytes);
            bytes.truncate(rest);
        } else {
            self.messages.advance(&bytes);
        }
        bytes
    }
}

impl http_body::Body for Questions {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, wakeup: &mut Wakeup<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.end.as_mut().is_some_and(|end| end.as_mut().poll(wakeup).is_ready()) {
            self.end = None;
        }
        if self.end.is_none() && self.messages.are_whole() {
            self.halt.set();
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(wakeup));
        Poll::Ready(frame.map(|frame| Ok(frame?.map_data(|bytes| self.pass(bytes)))))
    }
}

/// How far a body of gRPC messages has come. Each has a byte of flags, four of length, and so many bytes.
#[derive(Default)]
struct Messages {
    head: Vec<u8>,
    /// Of the current message, after its head.
    left: usize,
}

impl Messages {
    const HEAD_BYTES: usize = 5;

    fn are_whole(&self) -> bool {
        self.head.is_empty() && self.left == 0
    }

    fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes.advance(self.end_of_current(bytes));
        }
    }

    /// Goes on to the end of the current message, or to that of `bytes`. How many of them that is.
    fn end_of_current(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        if self.left == 0 {
            at = bytes.len().min(Self::HEAD_BYTES - self.head.len());
            self.head.extend(&bytes[..at]);
            if self.head.len() < Self::HEAD_BYTES {
                return at;
            }
            self.left = (&self.head[1..]).get_u32() as usize;
            self.head.clear();
        }
        let taken = self.left.min(bytes.len() - at);
        self.left -= taken;
        at + taken
    }
}

/// What a call has while it is passed on: its room, and the connection if that is its own.
type Held = (OwnedSemaphorePermit, Option<Hold>);

/// The leader's answers. Holds what the call has until it is dropped.
pub(super) struct Answer {
    /// None: the last word has been said.
    body: Option<Body>,
    context: Context,
    leader: Contact,
    end: Waited<Rejection>,
    halt: Halt,
    _held: Held,
}

impl Answer {
    pub(super) fn new(
        body: Body,
        context: Context,
        leader: Contact,
        end: Waited<Rejection>,
        halt: Halt,
        held: Held,
    ) -> Self {
        Self { body: Some(body), context, leader, end, halt, _held: held }
    }

    /// The leader's last word. It does not know why there are no more questions.
    fn last_word(&self, trailers: HeaderMap) -> HeaderMap {
        let is_ok = wary::code(&trailers) == Some(Code::Ok);
        if is_ok && self.halt.is_set() { self.trailers(cut_short(&self.context)) } else { trailers }
    }

    fn trailers(&self, why: Rejection) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        // Only text that is no header cannot be added, and a status encodes its text.
        let _ = why.into_status(&self.context).add_header(&mut trailers);
        trailers
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, wakeup: &mut Wakeup<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let why = match Pin::new(body).poll_frame(wakeup) {
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Ok(frame))) => {
                let frame = frame.into_trailers().map(|trailers| Frame::trailers(self.last_word(trailers)));
                return Poll::Ready(Some(Ok(frame.unwrap_or_else(|frame| frame))));
            }
            Poll::Ready(Some(Err(error))) => {
                let why = format!("the connection broke ({})", root_cause(&error));
                errors::forwarded_outcome_unknown(&self.leader, &why)
            }
            Poll::Pending => ready!(self.end.as_mut().poll(wakeup)),
        };
        self.body = None;
        Poll::Ready(Some(Ok(Frame::trailers(self.trailers(why)))))
    }

    /// An answer that is a status alone ends with its headers.
    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Vec<u8> {
        let length = u32::try_from(bytes).expect("a test's message is small");
        [&[0][..], &length.to_be_bytes(), &vec![7; bytes]].concat()
    }

    /// However the bytes are cut, the ends of messages are found, and nothing of the next message goes with one.
    #[test]
    fn messages_are_whole_only_where_they_end() {
        let sizes = [3, 0, 300, 1];
        let all: Vec<u8> = sizes.iter().flat_map(|size| message(*size)).collect();
        let ends: Vec<usize> = sizes
            .iter()
            .scan(0, |end, size| {
                *end += 5 + size;
                Some(*end)
            })
            .collect();
        for piece in 1..all.len() {
            let mut messages = Messages::default();
            let mut seen = Vec::new();
            let mut at = 0;
            while at < all.len() {
                at += messages.end_of_current(&all[at..all.len().min(at + piece)]);
                if messages.are_whole() {
                    seen.push(at);
                }
            }
            assert_eq!(seen, ends, "in pieces of {piece}");
        }
        let mut messages = Messages::default();
        messages.advance(&all);
        assert!(messages.are_whole());
        messages.advance(&all[..7]);
        assert!(!messages.are_whole());
    }
}
