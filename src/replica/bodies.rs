//! Answers that wait for the bodies of the messages that they name.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{Executed, RequestId};
use crate::ids::Index;
use crate::raft::{Entry, Payload};
use crate::state_machine::Outcome;

/// Executed requests, some of whose bodies are being read from disk.
#[derive(Debug, Default)]
pub(super) struct Resolving {
    requests: BTreeMap<RequestId, (Executed, usize)>,
}

impl Resolving {
    /// Keeps an answer until `missing` entries have come, at least one.
    pub(super) fn wait_for(&mut self, request: RequestId, executed: Executed, missing: usize) {
        self.requests.insert(request, (executed, missing));
    }

    /// An entry has come. Returns the answer when it was the last one.
    pub(super) fn on_read(&mut self, request: RequestId, entries: Vec<Entry>) -> Option<Executed> {
        let (executed, missing) = self.requests.get_mut(&request)?;
        executed.bodies.extend(command_payload(entries));
        *missing -= 1;
        if *missing > 0 {
            return None;
        }
        let (mut executed, _) = self.requests.remove(&request)?;
        executed.bodies.sort_by_key(|(index, _)| *index);
        Some(executed)
    }

    /// Nobody waits for the answer any more.
    pub(super) fn forget(&mut self, request: RequestId) {
        self.requests.remove(&request);
    }
}

/// The entries that hold the bodies of these outcomes, each once.
pub(super) fn body_indexes(outcomes: &[Outcome]) -> BTreeSet<Index> {
    let mut indexes = BTreeSet::new();
    for outcome in outcomes {
        match outcome {
            Outcome::Dequeued(message) => indexes.extend(message.iter().map(|message| message.index)),
            Outcome::Peeked(messages) => indexes.extend(messages.iter().map(|message| message.index)),
            _ => {}
        }
    }
    indexes
}

/// The command in the first of `entries`, where the bodies are.
pub(super) fn command_payload(entries: Vec<Entry>) -> Option<(Index, Bytes)> {
    match entries.into_iter().next() {
        Some(Entry { id, payload: Payload::Command(bytes) }) => Some((id.index, bytes)),
        _ => None,
    }
}
