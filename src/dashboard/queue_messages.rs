//! The messages of a queue, as the page shows them.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::entry::Content;
use super::failure::Failure;
use super::queue_board::milliseconds;
use crate::proto::v1;
use crate::state_machine::Body;

/// Messages of one answer, where nobody says how many, and at most.
const LIMIT: u32 = 50;
const LIMIT_MAX: u32 = 100;

/// An answer with so many bytes, of bodies, headers and what is around them, may be one from which messages were left out.
const FULL_BYTES: usize = 1 << 20;

/// A message, for the page.
#[derive(Clone, Debug, Serialize)]
struct Message {
    id: String,
    state: &'static str,
    text: Option<String>,
    data: Option<String>,
    bytes: usize,
    headers: BTreeMap<String, String>,
    enqueued_at: Option<u64>,
    deliveries: u32,
    due_at: Option<u64>,
    reason: Option<String>,
}

/// Messages, and where the next ones begin; none: there are no more.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Messages {
    messages: Vec<Message>,
    next: Option<String>,
}

/// Which messages are asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    name: String,
    /// Empty: those that are ready.
    #[serde(default)]
    state: String,
    /// Those that come after this one; empty: from the first.
    #[serde(default)]
    after: String,
    limit: Option<u32>,
}

impl Wanted {
    /// As a node is asked for them.
    ///
    /// # Errors
    /// There is no such state, or no message is called like that.
    pub(super) fn peek(&self) -> Result<v1::Peek, Failure> {
        let limit = self.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
        let (state, after) = (state_of(&self.state)?, message_id(&self.after)?);
        Ok(v1::Peek { queue: self.name.clone(), limit, state: state.into(), after })
    }
}

impl Messages {
    /// What a node showed that was asked for `peek`; bodies and headers if they are to be seen.
    pub(super) fn new(shown: Vec<v1::StoredMessage>, peek: &v1::Peek, content: bool) -> Self {
        let state = name_of(peek.state());
        let bytes: usize = shown.iter().map(prost::Message::encoded_len).sum();
        let messages: Vec<_> = shown.into_iter().map(|message| Message::new(message, state, content)).collect();
        // There are fewer where they are large, and then there may be more.
        let is_full = messages.len() >= peek.limit as usize || bytes >= FULL_BYTES;
        let next = messages.last().filter(|_| is_full).map(|last| last.id.clone());
        Self { messages, next }
    }
}

impl Message {
    fn new(message: v1::StoredMessage, state: &'static str, content: bool) -> Self {
        let id = message.id.map(|id| format!("{}/{}", id.index, id.item)).unwrap_or_default();
        let v1::Message { body, headers } = message.message.unwrap_or_default();
        let body = match body {
            Some(v1::message::Body::Text(text)) => Body::Text(text),
            Some(v1::message::Body::Data(data)) => Body::Data(data),
            None => Body::Data(Bytes::new()),
        };
        let bytes = body.bytes();
        let (text, data) = if content { Content::of(&body).parts() } else { (None, None) };
        Self {
            id,
            state,
            text,
            data,
            bytes,
            headers: if content { headers } else { BTreeMap::new() },
            enqueued_at: message.enqueued_at.and_then(milliseconds),
            deliveries: message.deliveries,
            due_at: message.due_at.and_then(milliseconds),
            reason: Some(message.dead_reason).filter(|reason| !reason.is_empty() && content),
        }
    }
}

/// The state that a page names; ready where it names none.
fn state_of(name: &str) -> Result<v1::MessageState, Failure> {
    match name {
        "" | "ready" => Ok(v1::MessageState::Ready),
        "leased" => Ok(v1::MessageState::Leased),
        "delayed" => Ok(v1::MessageState::Delayed),
        "dead" => Ok(v1::MessageState::Dead),
        _ => Err(Failure::field("state", format!("expected ready, leased, delayed or dead, found {name:?}"))),
    }
}

fn name_of(state: v1::MessageState) -> &'static str {
    match state {
        v1::MessageState::Unspecified | v1::MessageState::Ready => "ready",
        v1::MessageState::Leased => "leased",
        v1::MessageState::Delayed => "delayed",
        v1::MessageState::Dead => "dead",
    }
}

/// A message's name as pages write it, `INDEX/ITEM`; empty: none.
fn message_id(text: &str) -> Result<Option<v1::MessageId>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    let id = text.split_once('/').and_then(|(index, item)| Some((index.parse().ok()?, item.parse().ok()?)));
    let (index, item) = id.ok_or_else(|| Failure::field("after", format!("expected INDEX/ITEM, found {text:?}")))?;
    Ok(Some(v1::MessageId { shard: 0, index, item }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_messages_are_large_there_may_be_more() {
        let stored = |item, header: usize| v1::StoredMessage {
            id: Some(v1::MessageId { shard: 0, index: 7, item }),
            message: Some(v1::Message { headers: [("k".to_owned(), "v".repeat(header))].into(), ..Default::default() }),
            ..Default::default()
        };
        let peek = v1::Peek { limit: 3, ..Default::default() };
        let next = |header, content| Messages::new(vec![stored(0, header), stored(1, header)], &peek, content).next;
        assert_eq!(next(10, true), None, "there are fewer than were asked for");
        for content in [true, false] {
            assert_eq!(next(FULL_BYTES / 2, content).as_deref(), Some("7/1"), "headers count, shown or not");
        }
    }
}
