//! The history, judged when all is over: nothing acknowledged is lost, nothing is done twice, order is kept.

use std::collections::BTreeMap;

use quorate::ids::Index;
use quorate::proto::v1;
use quorate::replica::Executed;
use quorate::state_machine::{Body, Command, Decision, Given, MessageId, Operation, Outcome, StateMachine, message_of};

use super::client::{Call, Ending, is_leased_from};
use super::cluster::Cluster;
use super::history::{self, Message, Position, Record, Taken};

/// Judges the history.
///
/// # Panics
/// It breaks a rule.
pub fn judge(cluster: &mut Cluster) {
    let (decisions, machine) = replay(cluster);
    for call in &cluster.history {
        if let Ending::Executed(executed) = &call.ending {
            judge_call(cluster, call, executed.index, &decisions);
        }
    }
    super::reads::judge(cluster);
    super::leases::judge(&decisions, &machine);
    judge_history(cluster);
    super::leases::cover(&decisions, &mut cluster.coverage);
}

/// What the committed log decides, entry by entry, and the state that it leads to.
fn replay(cluster: &Cluster) -> (BTreeMap<Index, (Command, Decision)>, StateMachine) {
    let mut machine = StateMachine::new(cluster.knobs.limits);
    let mut decisions = BTreeMap::new();
    for committed in cluster.checks.committed() {
        let Some(bytes) = cluster.checks.command(committed.id) else { continue };
        let command = Command::decode(bytes).expect("only commands were proposed");
        let applied = machine.apply(committed.id.index, &command);
        decisions.insert(committed.id.index, (command, applied.decision));
    }
    (decisions, machine)
}

/// The entry that the answer names is the request's own, was committed between the call and the answer, and decides the same.
fn judge_call(cluster: &Cluster, call: &Call, index: Index, decisions: &BTreeMap<Index, (Command, Decision)>) {
    let Ending::Executed(executed) = &call.ending else { return };
    let committed = &cluster.checks.committed()[index.0 as usize - 1];
    let in_time = call.called <= committed.at && call.returned.is_some_and(|returned| committed.at <= returned);
    assert!(in_time, "entry {index} was committed at {}, the call is {call:?}", committed.at);
    let (command, decision) = &decisions[&index];
    let session = command.session.map(|session| (session.id, session.sequence));
    assert!(
        session == call.session && same_verbs(&command.operations, &call.operations),
        "{call:?}: entry {command:?}"
    );
    let Decision::Executed { replayed: false, outcomes, .. } = decision else {
        panic!("entry {index} decides {decision:?}, the client heard {executed:?}")
    };
    assert!(*outcomes == executed.outcomes, "entry {index} brings {outcomes:?}, the client heard {executed:?}");
}

fn same_verbs(entry: &[Operation], call: &[Operation]) -> bool {
    let plain = |operation: &Operation| {
        let mut operation = operation.clone();
        operation.set_waits(false);
        operation
    };
    entry.iter().map(plain).eq(call.iter().map(plain))
}

/// Nothing acknowledged is lost, nothing comes twice, first in is first out: as the clients saw it, without trust in anything else.
fn judge_history(cluster: &Cluster) {
    let drainer = cluster.knobs.workload.clients;
    let mut drained: BTreeMap<String, Vec<Message>> = BTreeMap::new();
    let mut records = Vec::new();
    for call in cluster.history.iter().filter(|call| call.consistency.is_none()) {
        for record in records_of(call) {
            match record.operation {
                history::Operation::Dequeue { outcome: history::Outcome::Ok(taken) } if call.client == drainer => {
                    drained.entry(record.queue).or_default().extend(taken.message);
                }
                _ => records.push(record),
            }
        }
    }
    if let Err(violations) = history::check(&records, &drained) {
        let texts: Vec<String> = violations.iter().map(|violation| history::explain(&records, violation)).collect();
        panic!("the history breaks rules:\n{}", texts.join("\n"));
    }
}

/// A record for each enqueue and dequeue of a request, but for queues whose messages are leased: they have rules of
/// their own.
fn records_of(call: &Call) -> Vec<Record> {
    let record = |(item, operation): (usize, &Operation)| {
        let (queue, operation) = match operation {
            Operation::Enqueue { queue, .. } | Operation::Dequeue { queue, .. } if is_leased_from(queue) => {
                return None;
            }
            Operation::Enqueue { queue, message, .. } => {
                let Body::Text(body) = &message.body else { panic!("all bodies are text") };
                let outcome = outcome_of(call, |executed| match executed.outcomes[item] {
                    Outcome::Enqueued(id) => position(id),
                    ref other => panic!("an enqueue brings {other:?}"),
                });
                (queue, history::Operation::Enqueue { body: body.clone(), outcome })
            }
            Operation::Dequeue { queue, .. } => {
                let outcome = outcome_of(call, |executed| match executed.outcomes[item] {
                    Outcome::Dequeued(ref given) => Taken {
                        at: Position { index: executed.index.0, item: item as u32 },
                        message: given
                            .as_ref()
                            .map(|Given { id, .. }| Message { id: position(*id), body: body_of(executed, *id) }),
                    },
                    ref other => panic!("a dequeue brings {other:?}"),
                });
                (queue, history::Operation::Dequeue { outcome })
            }
            _ => return None,
        };
        let (client, sequence) = (call.client as u64, call.session.map_or(0, |(_, sequence)| sequence.0));
        let (called, returned) = (call.called, call.returned.unwrap_or_default());
        Some(Record { client, sequence, queue: queue.to_string(), operation, called, returned })
    };
    call.operations.iter().enumerate().filter_map(record).collect()
}

fn outcome_of<T>(call: &Call, done: impl FnOnce(&Executed) -> T) -> history::Outcome<T> {
    match &call.ending {
        Ending::Executed(executed) => history::Outcome::Ok(done(executed)),
        Ending::Refused(_) => history::Outcome::Refused,
        Ending::Unknown | Ending::Shown(_) => history::Outcome::Unknown,
    }
}

fn position(id: MessageId) -> Position {
    Position { index: id.index.0, item: id.item }
}

/// What the client was given.
fn body_of(executed: &Executed, id: MessageId) -> String {
    let payload = executed.bodies.iter().find(|(index, _)| *index == id.index).map(|(_, payload)| payload);
    let payload = payload.unwrap_or_else(|| panic!("the answer lacks the body of {id:?}: {executed:?}"));
    let message = message_of(payload, id.item).unwrap_or_else(|| panic!("entry {} has no such body: {id:?}", id.index));
    match message.body {
        Some(v1::message::Body::Text(text)) => text,
        other => panic!("the body of {id:?} is {other:?}"),
    }
}
