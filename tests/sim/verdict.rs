//! The history, judged when all is over: nothing acknowledged is lost, nothing is done twice, order is kept.

use std::collections::{BTreeMap, BTreeSet};

use quorate::ids::Index;
use quorate::state_machine::{Command, Decision, MessageId, Operation, Outcome, QueueName, StateMachine};

use super::client::{Call, Ending};
use super::cluster::Cluster;

/// Judges the history.
///
/// # Panics
/// It breaks a rule.
pub fn judge(cluster: &Cluster) {
    let decisions = replay(cluster);
    for call in &cluster.history {
        if let Ending::Executed(executed) = &call.ending {
            judge_call(cluster, call, executed.index, &decisions);
        }
    }
    judge_queues(cluster);
}

/// What the committed log decides, entry by entry.
fn replay(cluster: &Cluster) -> BTreeMap<Index, (Command, Decision)> {
    let mut machine = StateMachine::new(cluster.knobs.limits);
    let mut decisions = BTreeMap::new();
    for committed in cluster.checks.committed() {
        let Some(bytes) = cluster.checks.command(committed.id) else { continue };
        let command = Command::decode(bytes).expect("only commands were proposed");
        let applied = machine.apply(committed.id.index, &command);
        decisions.insert(committed.id.index, (command, applied.decision));
    }
    decisions
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
    let plain = |operation: &Operation| match operation {
        Operation::Dequeue { queue, .. } => Operation::Dequeue { queue: queue.clone(), wait: false },
        other => other.clone(),
    };
    entry.iter().map(plain).eq(call.iter().map(plain))
}

/// What went in and came out, as the clients saw it, without trust in the state machine.
#[derive(Default)]
struct Ledger<'a> {
    acknowledged: BTreeMap<MessageId, &'a QueueName>,
    taken: BTreeSet<MessageId>,
    /// For each queue, the message that every executed dequeue took, by its entry.
    order: BTreeMap<&'a QueueName, BTreeMap<(Index, usize), MessageId>>,
    /// Dequeues that may have taken a message without anybody knowing.
    unknown_dequeues: usize,
}

fn judge_queues(cluster: &Cluster) {
    let mut ledger = Ledger::default();
    for call in &cluster.history {
        ledger.enter(call);
    }
    for (queue, taken) in &ledger.order {
        let in_order = taken.values().is_sorted();
        assert!(in_order, "messages of {queue} were taken out of order: {taken:?}");
    }
    let missing: Vec<_> = ledger.acknowledged.keys().filter(|id| !ledger.taken.contains(id)).collect();
    let most = ledger.unknown_dequeues;
    assert!(missing.len() <= most, "acknowledged and gone: {missing:?}, at most {most} could be");
}

impl<'a> Ledger<'a> {
    fn enter(&mut self, call: &'a Call) {
        match &call.ending {
            Ending::Executed(executed) => {
                for (number, (operation, outcome)) in call.operations.iter().zip(&executed.outcomes).enumerate() {
                    self.enter_outcome((executed.index, number), operation, outcome);
                }
            }
            Ending::Unknown => {
                let dequeues =
                    call.operations.iter().filter(|operation| matches!(operation, Operation::Dequeue { .. }));
                self.unknown_dequeues += dequeues.count();
            }
            Ending::Refused(_) => {}
        }
    }

    fn enter_outcome(&mut self, at: (Index, usize), operation: &'a Operation, outcome: &Outcome) {
        match (operation, outcome) {
            (Operation::Enqueue { queue, .. }, Outcome::Enqueued(id)) => {
                let twice = self.acknowledged.insert(*id, queue);
                assert!(twice.is_none(), "two requests brought {id:?}");
            }
            (Operation::Dequeue { queue, .. }, Outcome::Dequeued(Some(id))) => {
                assert!(self.taken.insert(*id), "{id:?} was taken twice");
                self.order.entry(queue).or_default().insert(at, *id);
            }
            _ => {}
        }
    }
}
