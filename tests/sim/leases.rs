//! Leases, judged when all is over, from what the log's entries brought and by a book of its own: no message is with
//! two consumers at once by the time of the log, none is acknowledged twice or given out after that, and none is lost.

use std::collections::BTreeMap;

use quorate::ids::{Index, Timestamp};
use quorate::state_machine::{
    Command, Decision, Given, LeaseId, LeaseToken, MessageId, MessageState, Operation, Outcome, QueueName, Settlement,
    Standing, StateMachine,
};

use super::coverage::Coverage;

/// What becomes of a message that consumers lease.
#[derive(Clone, Debug, PartialEq)]
enum Fate {
    /// Nobody has it.
    Free,
    /// Somebody has it, until then.
    Held(LeaseId, Timestamp),
    /// It is done with.
    Gone,
}

/// Judges the entries, whose decisions these are, and the state that they have led to.
///
/// # Panics
/// A rule is broken.
pub fn judge(decisions: &BTreeMap<Index, (Command, Decision)>, machine: &StateMachine) {
    let mut book = Book::default();
    for (index, (command, decision)) in decisions {
        book.now = book.now.max(command.timestamp);
        if let Decision::Executed { outcomes, replayed: false, .. } = decision {
            for (operation, outcome) in command.operations.iter().zip(outcomes) {
                book.note(operation, outcome).unwrap_or_else(|why| panic!("entry {index}: {why}: {command:?}"));
            }
        }
    }
    for (queue, fates) in &book.fates {
        let left: Vec<MessageId> =
            fates.iter().filter(|(_, fate)| **fate != Fate::Gone).map(|(message, _)| *message).collect();
        assert_eq!(left, messages_in(machine, queue), "what {queue} holds, and what nobody acknowledged");
    }
}

/// What has happened, for the coverage of the simulation.
pub fn cover(decisions: &BTreeMap<Index, (Command, Decision)>, coverage: &mut Coverage) {
    for (operation, outcome) in decisions.values().flat_map(|(command, decision)| match decision {
        Decision::Executed { outcomes, replayed: false, .. } => {
            command.operations.iter().zip(outcomes.as_slice()).collect::<Vec<_>>()
        }
        _ => Vec::new(),
    }) {
        match (operation, outcome) {
            (Operation::Settle { .. }, Outcome::Settled(done)) if done.contains(&true) => {
                coverage.sometimes("a leased message was settled");
            }
            (Operation::Settle { .. }, Outcome::Settled(_)) => {
                coverage.sometimes("a lease had ended before it was settled")
            }
            (Operation::ExtendLease { .. }, Outcome::LeaseExtended { extended, .. }) if extended.contains(&true) => {
                coverage.sometimes("a lease was extended");
            }
            (Operation::Redrive { .. }, Outcome::Redriven(1..)) => coverage.sometimes("a dead message was redriven"),
            (Operation::Lease { .. }, Outcome::Leased { messages, .. })
                if messages.iter().any(|given| given.deliveries > 1) =>
            {
                coverage.sometimes("a message was delivered again");
            }
            _ => {}
        }
    }
}

/// Some message is leased or delayed.
pub fn any_is_held(machine: &StateMachine) -> bool {
    let outcomes = machine.query(&[Operation::Stats { queue: None }]);
    let Ok([Outcome::Stats(totals)]) = outcomes.as_deref() else { panic!("totals are never too large: {outcomes:?}") };
    totals.contents.leased + totals.contents.delayed > 0
}

/// What is known of the messages of each queue.
#[derive(Debug, Default)]
struct Book {
    now: Timestamp,
    fates: BTreeMap<QueueName, BTreeMap<MessageId, Fate>>,
}

impl Book {
    fn note(&mut self, operation: &Operation, outcome: &Outcome) -> Result<(), String> {
        match (operation, outcome) {
            (Operation::Enqueue { queue, .. }, Outcome::Enqueued(id)) => {
                self.fates.entry(queue.clone()).or_default().insert(*id, Fate::Free);
            }
            (Operation::Dequeue { queue, .. }, Outcome::Dequeued(Some(given))) => {
                self.give_out(queue, given, Fate::Gone)?;
            }
            (Operation::Lease { queue, .. }, Outcome::Leased { lease, messages }) => {
                for given in messages {
                    let Standing::Leased { until } = given.standing else {
                        return Err(format!("{given:?} is not leased"));
                    };
                    self.give_out(queue, given, Fate::Held(*lease, until))?;
                }
            }
            (Operation::Settle { queue, settlements, .. }, Outcome::Settled(done)) => {
                for ((token, settlement), done) in settlements.iter().zip(done) {
                    let fate = if *settlement == Settlement::Ack { Fate::Gone } else { Fate::Free };
                    self.end(queue, token, *done, fate)?;
                }
            }
            (Operation::ExtendLease { queue, tokens, .. }, Outcome::LeaseExtended { until, extended }) => {
                for (token, extended) in tokens.iter().zip(extended) {
                    self.end(queue, token, *extended, Fate::Held(token.lease, *until))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn give_out(&mut self, queue: &QueueName, given: &Given, fate: Fate) -> Result<(), String> {
        let (now, known) = (self.now, self.fate(queue, given.id));
        match known {
            Some(Fate::Free) => {}
            Some(Fate::Held(_, until)) if *until <= now => {}
            other => return Err(format!("{given:?} is given out at {now:?}, and is {other:?}")),
        }
        self.fates.entry(queue.clone()).or_default().insert(given.id, fate);
        Ok(())
    }

    /// A token is good exactly as long as its message is held under it.
    fn end(&mut self, queue: &QueueName, token: &LeaseToken, is_done: bool, fate: Fate) -> Result<(), String> {
        let (now, known) = (self.now, self.fate(queue, token.message));
        let is_held = matches!(known, Some(Fate::Held(lease, until)) if *lease == token.lease && *until > now);
        if is_held != is_done {
            return Err(format!("{token} is settled: {is_done} at {now:?}, and the message is {known:?}"));
        }
        if is_done {
            self.fates.entry(queue.clone()).or_default().insert(token.message, fate);
        }
        Ok(())
    }

    fn fate(&self, queue: &QueueName, message: MessageId) -> Option<&Fate> {
        self.fates.get(queue)?.get(&message)
    }
}

/// In whatever state, in order.
fn messages_in(machine: &StateMachine, queue: &QueueName) -> Vec<MessageId> {
    let mut messages = Vec::new();
    for state in [MessageState::Ready, MessageState::Leased, MessageState::Delayed, MessageState::Dead] {
        let mut after = None;
        loop {
            let peek = Operation::Peek { queue: queue.clone(), limit: 100, state, after };
            let Ok(outcomes) = machine.query(&[peek]) else { panic!("a page is never too large") };
            let [Outcome::Peeked(page)] = &outcomes[..] else { panic!("a peek shows messages: {outcomes:?}") };
            messages.extend(page.iter().map(|given| given.id));
            after = page.last().map(|given| given.id);
            if after.is_none() {
                break;
            }
        }
    }
    messages.sort_unstable();
    messages
}
