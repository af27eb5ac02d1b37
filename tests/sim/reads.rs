//! Reads, judged when all is over: each shows the state after some entry of the log, exactly. One that is not stale shows everything
//! that anybody was told before it was called (linearizability).

use std::collections::BTreeMap;

use quorate::ids::Index;
use quorate::replica::{Consistency, Shown};
use quorate::state_machine::{self, Command, Given, Operation, Outcome, StateMachine, message_of};

use super::client::{Call, Ending};
use super::cluster::Cluster;
use super::knobs::Micros;

/// Judges all reads of the history.
///
/// # Panics
/// One breaks a rule.
pub fn judge(cluster: &Cluster) {
    let floors = Floors::new(&cluster.history);
    let mut by_index: BTreeMap<Index, Vec<&Call>> = BTreeMap::new();
    for call in cluster.history.iter().filter(|call| call.consistency.is_some()) {
        let floor = floors.before(call.called);
        match &call.ending {
            Ending::Shown(shown) => {
                judge_order(cluster, call, shown, floor);
                by_index.entry(shown.index).or_default().push(call);
            }
            // Queues stay: what does not exist did not exist at the floor either. The state that a stale one saw is not known.
            Ending::Refused(_) if call.consistency != Some(Consistency::Stale) => {
                by_index.entry(floor).or_default().push(call);
            }
            Ending::Refused(_) | Ending::Unknown => {}
            Ending::Executed(executed) => panic!("a read was executed: {call:?}, {executed:?}"),
        }
    }
    judge_states(cluster, by_index);
}

fn judge_order(cluster: &Cluster, call: &Call, shown: &Shown, floor: Index) {
    let is_stale = call.consistency == Some(Consistency::Stale);
    assert!(is_stale || shown.index >= floor, "{call:?} came when {floor} had been told, and shows {}", shown.index);
    let last = shown.index.0.checked_sub(1).map(|place| &cluster.checks.committed()[place as usize]);
    let returned = call.returned.expect("it has ended");
    assert!(last.is_none_or(|last| last.at <= returned), "{call:?} shows what was not committed yet");
}

/// Replays the log once, and stops at each index that a read shows.
fn judge_states(cluster: &Cluster, mut by_index: BTreeMap<Index, Vec<&Call>>) {
    let mut machine = StateMachine::new(cluster.knobs.limits);
    let mut bodies = BTreeMap::new();
    let empty = by_index.remove(&Index(0)).unwrap_or_default();
    empty.into_iter().for_each(|call| judge_state(call, &machine, &bodies));
    for committed in cluster.checks.committed() {
        if let Some(bytes) = cluster.checks.command(committed.id) {
            let command = Command::decode(bytes).expect("only commands were proposed");
            machine.apply(committed.id.index, &command);
            bodies.insert(committed.id.index, command);
        }
        let calls = by_index.remove(&committed.id.index).unwrap_or_default();
        calls.into_iter().for_each(|call| judge_state(call, &machine, &bodies));
    }
    assert!(by_index.is_empty(), "reads show what was never committed: {by_index:?}");
}

fn judge_state(call: &Call, machine: &StateMachine, commands: &BTreeMap<Index, Command>) {
    match &call.ending {
        Ending::Shown(shown) => {
            let expected = machine.query(&call.operations);
            assert!(expected.as_ref() == Ok(&shown.outcomes), "{call:?} should show {expected:?}");
            judge_bodies(shown, commands);
        }
        Ending::Refused(refusal @ state_machine::Refusal::QueueNotFound(queue)) => {
            let stats = machine.query(&[Operation::Stats { queue: Some(queue.clone()) }]);
            assert!(stats.as_ref() == Err(refusal), "{call:?}, and the queue is there: {stats:?}");
        }
        other => panic!("a read ends with {other:?}"),
    }
}

/// Each message that is shown comes with what its producer gave.
fn judge_bodies(shown: &Shown, commands: &BTreeMap<Index, Command>) {
    for outcome in &shown.outcomes {
        let Outcome::Peeked(messages) = outcome else { continue };
        for Given { id, .. } in messages {
            let payload = shown.bodies.iter().find(|(index, _)| *index == id.index).map(|(_, payload)| payload);
            let given = payload.and_then(|payload| message_of(payload, id.item)).and_then(|message| message.body);
            let Operation::Enqueue { message, .. } = &commands[&id.index].operations[id.item as usize] else {
                panic!("{id:?} is no message")
            };
            assert!(given == Some((&message.body).into()), "{id:?} is shown as {given:?}, and is {message:?}");
        }
    }
}

/// For each moment the highest index that some client had been told by then.
struct Floors(Vec<(Micros, Index)>);

impl Floors {
    fn new(history: &[Call]) -> Self {
        let told = |call: &Call| match &call.ending {
            Ending::Executed(executed) => Some((call.returned?, executed.index)),
            Ending::Shown(shown) => Some((call.returned?, shown.index)),
            Ending::Refused(_) | Ending::Unknown => None,
        };
        let mut rising: Vec<(Micros, Index)> = history.iter().filter_map(told).collect();
        rising.sort_unstable();
        for next in 1..rising.len() {
            rising[next].1 = rising[next].1.max(rising[next - 1].1);
        }
        Self(rising)
    }

    /// The highest index that was told before `time`.
    fn before(&self, time: Micros) -> Index {
        let count = self.0.partition_point(|(returned, _)| *returned < time);
        count.checked_sub(1).map_or(Index(0), |last| self.0[last].1)
    }
}
