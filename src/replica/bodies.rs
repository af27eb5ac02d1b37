//! Answers that wait for the bodies of the messages that they name.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::replica::Replica;
use super::{Answer, RequestId};
use crate::ids::{Index, Time};
use crate::raft::{Entry, Payload};
use crate::state_machine::{MessageId, Outcome};

/// Answers, some of whose bodies are being read from disk.
#[derive(Debug, Default)]
pub(super) struct Resolving {
    answers: BTreeMap<RequestId, Unresolved>,
}

#[derive(Debug)]
struct Unresolved {
    answer: Answer,
    since: Time,
    bodies: Vec<(Index, Bytes)>,
    missing: usize,
}

impl Resolving {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.answers.len()
    }

    /// The messages whose bodies are being read.
    pub(super) fn messages(&self) -> BTreeSet<MessageId> {
        self.answers.values().flat_map(|unresolved| messages(unresolved.answer.outcomes())).collect()
    }

    /// An entry has come. Returns the answer when it was the last one.
    fn on_read(&mut self, now: Time, request: RequestId, entries: Vec<Entry>) -> Option<Answer> {
        let unresolved = self.answers.get_mut(&request)?;
        unresolved.bodies.extend(command_payload(entries));
        unresolved.missing -= 1;
        if unresolved.missing > 0 {
            return None;
        }
        let Unresolved { answer, since, mut bodies, .. } = self.answers.remove(&request)?;
        bodies.sort_by_key(|(index, _)| *index);
        Some(answer.with_bodies(bodies).aged_by(now - since))
    }

    /// Nobody waits for the answer any more, or it cannot be given. Returns whether anybody did.
    pub(super) fn forget(&mut self, request: RequestId) -> bool {
        self.answers.remove(&request).is_some()
    }
}

impl Replica {
    /// Finds the bodies that the outcomes name, in memory or on disk, and answers.
    pub(super) fn resolve_bodies(&mut self, now: Time, request: RequestId, answer: Answer) {
        let (mut bodies, mut missing) = (Vec::new(), 0);
        let indexes: BTreeSet<Index> = messages(answer.outcomes()).map(|message| message.index).collect();
        for index in indexes {
            match self.raft.entries_in_memory(index, index, 0) {
                Some(entries) => bodies.extend(command_payload(entries)),
                None => {
                    missing += 1;
                    self.read_body(request, index);
                }
            }
        }
        if missing == 0 {
            self.answer(request, Ok(answer.with_bodies(bodies)));
        } else {
            self.resolving.answers.insert(request, Unresolved { answer, since: now, bodies, missing });
        }
    }

    /// A body was read from disk.
    pub(super) fn on_body_read(&mut self, now: Time, request: RequestId, entries: Vec<Entry>) {
        if let Some(answer) = self.resolving.on_read(now, request, entries) {
            self.answer(request, Ok(answer));
        }
    }
}

/// The messages whose bodies these outcomes bring.
fn messages(outcomes: &[Outcome]) -> impl Iterator<Item = MessageId> {
    outcomes.iter().flat_map(Outcome::messages)
}

/// The command in the first of `entries`, where the bodies are.
fn command_payload(entries: Vec<Entry>) -> Option<(Index, Bytes)> {
    match entries.into_iter().next() {
        Some(Entry { id, payload: Payload::Command(bytes) }) => Some((id.index, bytes)),
        _ => None,
    }
}
