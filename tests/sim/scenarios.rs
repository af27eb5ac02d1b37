//! What the simulation once found, as short scripts: seeds change their meaning with the code, scripts do not.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate::ids::{EntryId, Index, NodeId, Term, Time, Timestamp};
use quorate::raft::{
    Body, Configuration, Effect, Entry, HardState, Message, Options, Payload, Raft, Recovered, TimeoutPolicy, Timeouts,
    Window,
};
use quorate::replica::{self, Replica, SnapshotRules};
use quorate::state_machine::{self, Command, Limits, Operation};

use super::client::queue_name;

fn options() -> Options {
    Options {
        timeouts: TimeoutPolicy::Fixed(Timeouts {
            election_min: Duration::from_millis(400),
            election_max: Duration::from_millis(800),
            heartbeat: Duration::from_millis(100),
        }),
        disk_stall_max: Duration::from_secs(1),
        append_bytes_max: 1 << 20,
        window: Window { appends_max: 8, bytes_max: 1 << 20 },
        cache_bytes_max: 1 << 20,
    }
}

fn entry(term: u64, index: u64, payload: Payload) -> Entry {
    Entry { id: EntryId::new(Term(term), Index(index)), payload }
}

fn voters(incoming: &[u64], outgoing: &[u64]) -> Configuration {
    let set = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
    Configuration { voters: set(incoming), voters_outgoing: set(outgoing), ..Configuration::EMPTY }
}

/// A node that starts with these configurations as its whole log.
fn recovered(term: u64, configurations: &[(u64, Configuration)]) -> Recovered {
    let mut terms: Vec<EntryId> = Vec::new();
    for ((term, _), index) in configurations.iter().zip(1..) {
        if terms.last().is_none_or(|run| run.term != Term(*term)) {
            terms.push(EntryId::new(Term(*term), Index(index)));
        }
    }
    Recovered {
        hard_state: HardState { term: Term(term), vote: None },
        terms,
        last: Index(configurations.len() as u64),
        configurations: configurations.iter().zip(1..).map(|((_, each), index)| (Index(index), each.clone())).collect(),
        ..Recovered::default()
    }
}

/// The leader of two removes itself, writes the configuration without it to its own disk only, and crashes. Its log is the
/// longest, so that nobody else can win, and its own configuration says that it is no voter (dissertation, section 4.2.2).
#[test]
fn a_leader_that_removed_itself_leads_once_more() {
    let log = [(1, voters(&[1, 2], &[])), (2, voters(&[2], &[1, 2])), (2, voters(&[2], &[]))];
    let mut nodes = [(1, recovered(2, &log)), (2, recovered(2, &log[..2]))].map(|(id, recovered)| {
        let raft = Raft::new(NodeId(id), options(), &recovered, id, Time(0));
        (NodeId(id), raft)
    });
    // One node after the other: disks and messages are instant here.
    for now in (0..20_000).map(|millis| Time(millis * 1_000)) {
        let mut sent = Vec::new();
        for (id, raft) in &mut nodes {
            raft.tick(now);
            for effect in raft.take_effects() {
                match effect {
                    Effect::Persist(write) => raft.on_persisted(now, write.ticket),
                    Effect::Send { to, message, .. } => sent.push((*id, to, message)),
                    Effect::ReadEntries { peer, from, to, .. } => {
                        let read = (from.0..=to.0.min(log.len() as u64)).map(|index| {
                            let (term, configuration) = log[index as usize - 1].clone();
                            entry(term, index, Payload::Configuration { configuration, introduction: None })
                        });
                        raft.on_entries_read(now, peer, read.collect());
                    }
                    Effect::Tell(_)
                    | Effect::FetchSnapshot { .. }
                    | Effect::ReadConfirmed { .. }
                    | Effect::ReadRefused { .. } => {}
                }
            }
        }
        for (from, to, message) in sent {
            let (_, raft) = nodes.iter_mut().find(|(id, _)| *id == to).expect("there are two");
            raft.on_message(now, from, message);
        }
    }
    let [(_, first), (_, second)] = &nodes;
    assert!(second.is_leader() && second.commit() >= Index(3), "{second:?}");
    assert!(first.removed().is_some(), "{first:?}");
}

/// A node starts with an entry that was never committed, and a leader puts another one in its place. The node reads its log
/// back to apply it before the disk has that: what was cut must not be applied.
#[test]
fn what_was_cut_is_not_applied_from_disk() {
    let body = state_machine::Body::Text("never committed".to_owned());
    let enqueue = Operation::Enqueue { queue: queue_name(0), message: body.into(), delay: Duration::ZERO };
    let command = Command { session: None, timestamp: Timestamp(1), operations: vec![enqueue], expiry: false };
    let first = voters(&[1, 2, 3], &[]);
    let on_disk = [
        entry(1, 1, Payload::Configuration { configuration: first.clone(), introduction: None }),
        entry(1, 2, Payload::Command(command.encode())),
    ];
    let recovered = Recovered { last: Index(2), ..recovered(1, &[(1, first)]) };
    let limits = Limits::default();
    let options = replica::Options { raft: options(), limits, snapshots: SnapshotRules::NEVER, requests_max: 9 };
    let mut replica = Replica::new(NodeId(2), options, &recovered, 7, Time(0));

    let entries = vec![entry(2, 2, Payload::Noop)];
    let body = Body::AppendEntries { previous: EntryId::new(Term(1), Index(1)), commit: Index(2), entries, attempt: 0 };
    let message = Message { term: Term(2), body };
    let mut effects = replica.turn(Time(1), Timestamp(1), [replica::Event::Message { from: NodeId(1), message }]);
    let mut reads = 0;
    while let Some(effect) = effects.pop() {
        if let replica::Effect::ReadEntries { read, from, to, .. } = effect {
            let entries = on_disk[from.0 as usize - 1..to.0 as usize].to_vec();
            effects.extend(replica.turn(Time(2), Timestamp(1), [replica::Event::EntriesRead { read, entries }]));
            reads += 1;
        }
    }
    assert!(reads > 0, "nothing was read back");
    assert_eq!(replica.status().applied, Index(2));
    assert_eq!(replica.machine().ready_in(&queue_name(0)), 0);
}
