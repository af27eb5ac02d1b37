//! What happened on all nodes, side by side: the latest of it, as far as this node has heard.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::ids::NodeId;
use crate::telemetry::events::{self, Page};

/// Events that are kept, of all nodes together. Those that were heard first go when others come.
const EVENTS_MAX: usize = 5_000;

/// Events that a stream begins with.
const FIRST_MAX: usize = 500;

/// Events in one message or answer.
pub(super) const PART_MAX: usize = 1_000;

/// An event, for the page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Event {
    node: String,
    name: String,
    seq: u64,
    at: u64,
    event: String,
    words: String,
    kind: &'static str,
    level: &'static str,
    peer: Option<String>,
    term: Option<u64>,
    index: Option<u64>,
}

/// Some of them, as they are sent. The newest last.
#[derive(Debug, Serialize)]
pub(super) struct Part {
    pub(super) events: Vec<Event>,
}

/// What is kept. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Events {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// In the order in which they were heard.
    events: VecDeque<Event>,
    /// How many were heard in all.
    heard: u64,
}

/// How far the events of a node are known: the process, and the last number of it.
pub(super) type Cursors = BTreeMap<NodeId, (u64, u64)>;

impl Events {
    /// Takes what a node told, and notes how far that goes.
    pub(super) fn hear(&self, cursors: &mut Cursors, node: NodeId, name: &str, page: Page) {
        let Some(last) = page.events.last() else { return };
        cursors.insert(node, (page.process, last.number));
        let mut state = self.state();
        for event in page.events {
            state.push(Event::new(node, name, event));
        }
    }

    /// What came after the first `seen` events that were heard, by its time, and how many that makes in all. For somebody who has
    /// seen nothing yet, the latest; of what is too much for one message, too.
    pub(super) fn after(&self, seen: u64) -> (Part, u64) {
        let state = self.state();
        let most = if seen == 0 { FIRST_MAX } else { PART_MAX };
        let new = usize::try_from(state.heard.saturating_sub(seen)).unwrap_or(usize::MAX).min(most);
        let from = state.events.len().saturating_sub(new);
        let mut events: Vec<_> = state.events.range(from..).cloned().collect();
        let heard = state.heard;
        drop(state);
        events.sort_by_key(|event| event.at);
        (Part { events }, heard)
    }

    /// The latest `limit` events of those that happened at `before` or earlier, by their time.
    pub(super) fn before(&self, before: u64, limit: usize) -> Part {
        let mut events: Vec<_> = self.state().events.iter().filter(|event| event.at <= before).cloned().collect();
        events.sort_by_key(|event| Reverse(event.at));
        events.truncate(limit.min(PART_MAX));
        events.reverse();
        Part { events }
    }

    /// How the process of `node`, which does not answer, ended, in words: as it said itself, or as `asked` found. None: nothing was
    /// heard of that since `asked` was last connected to it.
    pub(super) fn end_of(&self, node: NodeId, name: &str, asked: NodeId) -> Option<&'static str> {
        let (node, asked) = (node.to_string(), asked.to_string());
        let of_the_link = |event: &Event| event.node == asked && event.peer.as_deref() == Some(name);
        let state = self.state();
        let is_before = |event: &&Event| of_the_link(event) && event.event == "connected";
        let since: Vec<&Event> = state.events.iter().rev().take_while(|event| !is_before(event)).collect();
        if since.iter().any(|event| event.node == node && event.event == "stopping") {
            return Some("it stopped as it was told");
        }
        since.iter().any(|event| of_the_link(event) && event.event == "gone").then_some("its process has ended")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is in it is whole after every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, event: Event) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
        self.heard += 1;
    }
}

impl Event {
    fn new(node: NodeId, name: &str, event: events::Event) -> Self {
        Self {
            node: node.to_string(),
            name: name.to_owned(),
            seq: event.number,
            at: event.at_ms,
            event: event.event.into_owned(),
            words: event.words,
            kind: event.kind.name(),
            level: event.level.name(),
            peer: event.peer,
            term: event.term.map(|term| term.0),
            index: event.index.map(|index| index.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::events::{Kind, Level};

    fn page(process: u64, numbers: std::ops::RangeInclusive<u64>, at: u64) -> Page {
        let event = |number| events::Event {
            number,
            at_ms: at + number,
            event: "votes".into(),
            words: "votes for b".to_owned(),
            kind: Kind::Vote,
            level: Level::Info,
            peer: Some("b".to_owned()),
            term: None,
            index: None,
        };
        Page { process, events: numbers.map(event).collect() }
    }

    fn seen(part: &Part) -> Vec<(&str, u64)> {
        part.events.iter().map(|event| (event.name.as_str(), event.seq)).collect()
    }

    #[test]
    fn events_of_several_nodes_are_shown_by_their_time() {
        let (events, mut cursors) = (Events::default(), Cursors::new());
        events.hear(&mut cursors, NodeId(1), "a", page(7, 1..=2, 10));
        events.hear(&mut cursors, NodeId(2), "b", page(8, 4..=4, 0));
        let (first, heard) = events.after(0);
        assert_eq!((seen(&first), heard), (vec![("b", 4), ("a", 1), ("a", 2)], 3));
        assert_eq!(cursors, Cursors::from([(NodeId(1), (7, 2)), (NodeId(2), (8, 4))]));
        events.hear(&mut cursors, NodeId(1), "a", page(9, 1..=1, 20));
        let (more, heard) = events.after(heard);
        assert_eq!((seen(&more), heard), (vec![("a", 1)], 4), "a process that starts again counts from 1");
        assert_eq!(seen(&events.before(12, 2)), [("a", 1), ("a", 2)]);
        assert_eq!(seen(&events.before(u64::MAX, 2)), [("a", 2), ("a", 1)]);
    }

    #[test]
    fn how_a_process_ended_is_told_by_itself_or_by_who_was_connected() {
        let (events, mut cursors, mut number) = (Events::default(), Cursors::new(), 0);
        let mut happens = |node: u64, event: &'static str| {
            number += 1;
            let mut page = page(node, number..=number, 0);
            page.events[0].event = event.into();
            events.hear(&mut cursors, NodeId(node), ["a", "b"][node as usize - 1], page);
            events.end_of(NodeId(2), "b", NodeId(1))
        };
        assert_eq!(happens(1, "connected"), None);
        assert_eq!(happens(1, "disconnected"), None);
        assert_eq!(happens(1, "gone"), Some("its process has ended"));
        assert_eq!(happens(1, "connected"), None, "it was started again");
        assert_eq!(happens(2, "stopping"), Some("it stopped as it was told"));
        assert_eq!(happens(1, "gone"), Some("it stopped as it was told"));
        assert_eq!(events.end_of(NodeId(1), "a", NodeId(2)), None, "another node");
    }

    #[test]
    fn so_many_are_kept_and_no_more() {
        let (events, mut cursors) = (Events::default(), Cursors::new());
        events.hear(&mut cursors, NodeId(1), "a", page(7, 1..=EVENTS_MAX as u64 + 10, 0));
        assert_eq!(events.state().events.len(), EVENTS_MAX);
        let (first, heard) = events.after(0);
        assert_eq!((first.events.len(), heard), (FIRST_MAX, EVENTS_MAX as u64 + 10));
        let (late, _) = events.after(1);
        assert_eq!(late.events.len(), PART_MAX, "somebody who was away for long gets the latest");
        assert_eq!(events.before(u64::MAX, usize::MAX).events.len(), PART_MAX);
    }
}
