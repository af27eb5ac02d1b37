//! The stream of a page: server-sent events, as they come.
//!
//! What is sent is made once for all streams. A page that is slow gets fewer messages, as each has all that the one before had, and
//! one that takes nothing for a while is let go.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::failure::Failure;
use super::lookout::Lookout;

/// Streams at a time. Each is a page that somebody has open.
pub(super) const STREAMS_MAX: usize = 64;

/// Messages that are ahead of what the page has taken. They are shared by all streams.
const AHEAD_MAX: usize = 2;

/// A page that takes nothing for so long is let go.
const PATIENCE: Duration = Duration::from_secs(20);

/// When nothing else was sent for so long, a comment is: what stands between closes a connection on which nothing happens.
const SILENCE_MAX: Duration = Duration::from_secs(10);

const KEEP_ALIVE: &[u8] = b": still here\n\n";

/// A message, as it goes over the wire. JSON is written without line ends, so that it is one line.
pub(super) fn message(event: &str, value: &impl Serialize) -> Bytes {
    let mut text = format!("event: {event}\ndata: ").into_bytes();
    serde_json::to_writer(&mut text, value).expect("it has no maps with keys that are no text, and memory takes all");
    text.extend_from_slice(b"\n\n");
    text.into()
}

/// The JSON in a message.
pub(super) fn data(message: &Bytes) -> Bytes {
    let begin = message.windows(6).position(|part| part == b"data: ").map_or(0, |at| at + 6);
    message.slice(begin..message.len().saturating_sub(2).max(begin))
}

/// Opens a stream.
///
/// # Errors
/// There are as many as there may be.
pub(super) fn open(lookout: &Arc<Lookout>) -> Result<Response, Failure> {
    let place = lookout.streams.clone().try_acquire_owned();
    let place = place.map_err(|_| Failure::overloaded(&format!("{STREAMS_MAX} pages are open on this node")))?;
    let (pieces, taken) = mpsc::channel(AHEAD_MAX);
    let lookout = lookout.clone();
    tokio::spawn(async move {
        feed(&lookout, &Pieces { sender: pieces, patience: PATIENCE }).await;
        drop(place);
    });
    let body = Body::from_stream(ReceiverStream::new(taken).map(Ok::<_, Infallible>));
    Ok(([(CONTENT_TYPE, "text/event-stream")], body).into_response())
}

/// The end of a stream into which messages are put.
struct Pieces {
    sender: mpsc::Sender<Bytes>,
    patience: Duration,
}

/// The page is gone, or takes nothing.
struct Gone;

impl Pieces {
    async fn send(&self, piece: Bytes) -> Result<(), Gone> {
        match timeout(self.patience, self.sender.send(piece)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }
}

/// Sends until the page is gone, or the node.
async fn feed(lookout: &Lookout, pieces: &Pieces) {
    let _looking = lookout.look();
    let (mut board, mut queues) = (lookout.board(), lookout.queues.told());
    let mut heard = 0;
    let mut sent = pieces.send(lookout.fresh().await.message()).await;
    board.mark_unchanged();
    let told = queues.borrow_and_update().message.clone();
    if sent.is_ok() && !told.is_empty() {
        sent = pieces.send(told).await;
    }
    while sent.is_ok() {
        let (events, heard_now) = lookout.events.after(heard);
        if heard_now > heard {
            heard = heard_now;
            sent = pieces.send(message("events", &events)).await;
            continue;
        }
        sent = tokio::select! {
            changed = board.changed() => {
                if changed.is_err() {
                    return;
                }
                let message = board.borrow_and_update().message();
                pieces.send(message).await
            }
            changed = queues.changed() => {
                if changed.is_err() {
                    return;
                }
                let message = queues.borrow_and_update().message.clone();
                pieces.send(message).await
            }
            () = tokio::time::sleep(SILENCE_MAX) => pieces.send(Bytes::from_static(KEEP_ALIVE)).await,
            () = pieces.sender.closed() => return,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_page_that_takes_nothing_for_a_while_is_let_go() {
        let (sender, mut taken) = mpsc::channel(1);
        let pieces = Pieces { sender, patience: Duration::from_millis(20) };
        assert!(pieces.send(Bytes::from_static(b"one")).await.is_ok());
        assert!(pieces.send(Bytes::from_static(b"two")).await.is_err(), "it takes nothing");
        assert_eq!(taken.recv().await.as_deref(), Some(&b"one"[..]));
        assert!(pieces.send(Bytes::from_static(b"three")).await.is_ok());
        drop(taken);
        assert!(pieces.send(Bytes::from_static(b"four")).await.is_err(), "it is gone");
    }

    #[test]
    fn a_message_is_two_lines_whatever_is_in_it() {
        let message = message("cluster", &["line\nend\r", "data: x"]);
        assert_eq!(message, "event: cluster\ndata: [\"line\\nend\\r\",\"data: x\"]\n\n");
        assert_eq!(data(&message), "[\"line\\nend\\r\",\"data: x\"]");
    }
}
