//! A way to ask the peers how they are, what happened on them and what is in their logs.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::ids::{Index, NodeId, ShardId, Term};
use crate::proto::{internal, v1};
use crate::telemetry::events::{Event, Kind, Level, Page, tame};
use crate::transport::questions::EVENTS_MAX;
use crate::transport::{self, LogPart, Transport};

/// A peer that has not answered after this long counts as unreachable, where requests take no longer.
const PATIENCE: Duration = Duration::from_secs(1);
/// However long they take.
const PATIENCE_MAX: Duration = Duration::from_secs(10);

/// Asks peers through the transport, once there is one: a node that still applies for membership has no peers.
#[derive(Clone, Default)]
pub struct Peers {
    transport: Arc<OnceLock<Transport>>,
}

impl Peers {
    /// The transport has come into being.
    ///
    /// # Panics
    /// When it is connected twice: a node has one transport.
    pub fn connect(&self, transport: Transport) {
        assert!(self.transport.set(transport).is_ok(), "the transport is made once");
    }

    /// How a node is, as it says itself; none when it does not answer in time, or another node answers at its address. On a slow
    /// line it has as long as a request may take now, at most 10 s.
    pub async fn status(&self, node: NodeId, request_time: Option<Duration>) -> Option<v1::NodeStatus> {
        self.status_within(node, request_time.unwrap_or_default().clamp(PATIENCE, PATIENCE_MAX)).await
    }

    /// The same, with another idea of what is in time.
    pub async fn status_within(&self, node: NodeId, patience: Duration) -> Option<v1::NodeStatus> {
        let transport = self.transport.get()?;
        transport.status_of(node, patience).await.ok()
    }

    /// What happened on a peer after the event `after` of its `process`; of all that it knows, when its process is another one.
    /// Of what is more than `limit`, the newest. Of this node itself its vital signs tell
    /// ([`Ring::after`](crate::telemetry::events::Ring::after)).
    ///
    /// # Errors
    /// It does not answer within `patience`.
    pub async fn events(
        &self,
        node: NodeId,
        process: u64,
        after: u64,
        limit: u32,
        patience: Duration,
    ) -> Result<Page, transport::Error> {
        let transport = self.transport.get().ok_or(transport::Error::UnknownAddress(node))?;
        transport.events_of(node, process, after, limit, patience).await.map(decode_events)
    }

    /// A part of the log of a peer: at most `limit` entries from `from` on, or the last ones with 0. Of this node itself its
    /// handle tells ([`Handle::log_part`](super::Handle::log_part)).
    ///
    /// # Errors
    /// It does not answer within `patience`, or cannot read its log.
    pub async fn read_log(
        &self,
        node: NodeId,
        shard: ShardId,
        from: Index,
        limit: u32,
        patience: Duration,
    ) -> Result<LogPart, transport::Error> {
        let transport = self.transport.get().ok_or(transport::Error::UnknownAddress(node))?;
        transport.log_of(node, shard, from, limit, patience).await
    }
}

/// Events as peers send them.
pub(super) fn encode_events(page: Page) -> internal::EventsReply {
    let encode = |event: Event| internal::NodeEvent {
        number: event.number,
        at_ms: event.at_ms,
        event: event.event.into_owned(),
        words: event.words,
        kind: event.kind.name().to_owned(),
        level: event.level.name().to_owned(),
        peer: event.peer.unwrap_or_default(),
        term: event.term.unwrap_or_default().0,
        index: event.index.unwrap_or_default().0,
    };
    internal::EventsReply { process: page.process, events: page.events.into_iter().map(encode).collect() }
}

/// The events that a peer sent, as many as it may send. Those of a kind that only a later version knows are left out.
fn decode_events(reply: internal::EventsReply) -> Page {
    let decode = |event: internal::NodeEvent| {
        Some(Event {
            number: event.number,
            at_ms: event.at_ms,
            kind: Kind::ALL.into_iter().find(|kind| kind.name() == event.kind)?,
            level: Level::ALL.into_iter().find(|level| level.name() == event.level)?,
            event: Cow::Owned(tame(&event.event)),
            words: tame(&event.words),
            peer: (!event.peer.is_empty()).then(|| tame(&event.peer)),
            term: (event.term != 0).then_some(Term(event.term)),
            index: (event.index != 0).then_some(Index(event.index)),
        })
    };
    let events = reply.events.into_iter().take(EVENTS_MAX as usize).filter_map(decode).collect();
    Page { process: reply.process, events }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::events::Ring;

    #[test]
    fn events_come_back_as_they_were_sent() {
        let ring = Ring::new();
        for (kind, level) in Kind::ALL.into_iter().zip(Level::ALL.into_iter().cycle()) {
            ring.say(kind, level, "tested", "is tested".to_owned(), (kind == Kind::Connection).then_some("b"));
        }
        let page = ring.after(0, 0, 100);
        assert_eq!(decode_events(encode_events(page.clone())), page);
    }

    #[test]
    fn what_a_later_version_says_is_left_out_and_no_text_is_obeyed() {
        let event = |kind: &str, words: &str| internal::NodeEvent {
            number: 1,
            kind: kind.to_owned(),
            level: "info".to_owned(),
            words: words.to_owned(),
            ..Default::default()
        };
        let events = vec![event("weather", "rains"), event("role", "\u{1b}[2J")];
        let page = decode_events(internal::EventsReply { process: 1, events });
        assert_eq!(page.events.len(), 1);
        assert!(!page.events[0].words.contains('\u{1b}'), "{:?}", page.events[0].words);
    }
}
