//! The beginning of a cluster: each of its founders makes the same first entry of the log, which says that they are the voters.
//! A cluster of one has one founder.
//!
//! ```text
//!   promise durable   ->   contacts of the founders durable   ->   entry 1@1 and term 1 durable   ->   cluster id written
//! ```
//!
//! The cluster id comes last: a directory without one has promised nothing but to start this cluster, so that after a crash the
//! same steps are simply done again. An entry that is there already is then left as it is.

use super::Error;
use crate::ids::{EntryId, Index, SHARD_0, Term, Ticket};
use crate::raft::{Configuration, Entry, HardState, Payload, Recovered, Write};
use crate::storage::{Disk, Log, Proposal};

/// The first entry of every cluster.
const FIRST: EntryId = EntryId { term: Term(1), index: Index(1) };

/// Makes the log the beginning of the cluster. Returns what recovery would find in the log. The caller writes the cluster id down.
///
/// # Errors
/// The log holds something else than the beginning of this cluster, or the disk refused.
pub fn bootstrap<D: Disk>(log: &mut Log<D>, recovered: Recovered, proposal: &Proposal) -> Result<Recovered, Error> {
    match recovered.last {
        Index(0) => write_first_entry(log, configuration(proposal)),
        _ if is_beginning_of(proposal, &recovered) => Ok(recovered),
        _ => Err(Error::IdentityLost),
    }
}

/// True when the log holds nothing but what [`bootstrap`] writes.
pub fn is_beginning_of(proposal: &Proposal, recovered: &Recovered) -> bool {
    let first = recovered.configurations.last().map(|(_, configuration)| configuration);
    recovered.last == FIRST.index && recovered.terms == [FIRST] && first == Some(&configuration(proposal))
}

/// All founders vote.
fn configuration(proposal: &Proposal) -> Configuration {
    let voters = proposal.founders.iter().map(|founder| founder.node).collect();
    Configuration { voters, commit_quorum: proposal.commit_quorum, ..Configuration::EMPTY }
}

/// The founders' contacts are in everybody's address book already, so that the entry introduces nobody.
fn write_first_entry<D: Disk>(log: &mut Log<D>, configuration: Configuration) -> Result<Recovered, Error> {
    let hard_state = HardState { term: FIRST.term, vote: None };
    let payload = Payload::Configuration { configuration: configuration.clone(), introduction: None };
    let entries = vec![Entry { id: FIRST, payload }];
    // No replica waits for this ticket; the first one that a replica gives out is 1 as well, in its own count.
    let write = Write { ticket: Ticket(0), hard_state: Some(hard_state), snapshot: None, entries };
    log.append(&[(SHARD_0, write)])?;
    log.sync()?;
    Ok(Recovered {
        hard_state,
        terms: vec![FIRST],
        last: FIRST.index,
        configurations: vec![(FIRST.index, configuration)],
        ..Recovered::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClusterId, Contact, NodeId};
    use crate::raft::CommitQuorum;
    use crate::storage::{self, MemoryDisk};

    fn proposal(founders: &[u64]) -> Proposal {
        let contact = |node: &u64| Contact {
            node: NodeId(*node),
            name: format!("q-{node}"),
            client_address: "127.0.0.1:7400".to_owned(),
            peer_address: "127.0.0.1:7401".to_owned(),
            version: 1,
        };
        Proposal {
            cluster: ClusterId(1),
            proposer: NodeId(founders[0]),
            attempt: 1,
            founders: founders.iter().map(contact).collect(),
            commit_quorum: CommitQuorum::HalfPlusOne,
        }
    }

    fn open(disk: &MemoryDisk) -> (Log<MemoryDisk>, Recovered) {
        let (log, mut shards) = Log::open(disk.clone(), storage::Options::default()).unwrap();
        (log, shards.remove(&SHARD_0).unwrap_or_default())
    }

    #[test]
    fn what_it_returns_is_what_recovery_finds_and_the_same_on_every_founder() {
        let found: Vec<Recovered> = (0..3)
            .map(|_| {
                let disk = MemoryDisk::default();
                let (mut log, recovered) = open(&disk);
                let made = bootstrap(&mut log, recovered, &proposal(&[7, 8, 9])).unwrap();
                drop(log);
                let (_, found) = open(&disk);
                assert_eq!(made, found);
                found
            })
            .collect();
        assert!(found.iter().all(|one| *one == found[0]));
        let voters = [7, 8, 9].map(NodeId).into();
        let commit_quorum = CommitQuorum::HalfPlusOne;
        assert_eq!(found[0].configurations[0].1, Configuration { voters, commit_quorum, ..Configuration::EMPTY });
    }

    /// A crash after the entry and before the cluster id: the same again, and the entry is not written twice.
    #[test]
    fn an_interrupted_bootstrap_is_done_again() {
        let disk = MemoryDisk::default();
        let (mut log, recovered) = open(&disk);
        let first = bootstrap(&mut log, recovered, &proposal(&[7])).unwrap();
        drop(log);
        let (mut log, recovered) = open(&disk);
        assert!(is_beginning_of(&proposal(&[7]), &recovered));
        let second = bootstrap(&mut log, recovered, &proposal(&[7])).unwrap();
        assert_eq!(first, second);
    }

    #[test]
    fn a_log_of_somebody_else_is_left_alone() {
        let disk = MemoryDisk::default();
        let (mut log, recovered) = open(&disk);
        bootstrap(&mut log, recovered, &proposal(&[7])).unwrap();
        drop(log);
        let (mut log, recovered) = open(&disk);
        assert!(!is_beginning_of(&proposal(&[7, 8]), &recovered));
        let refused = bootstrap(&mut log, recovered, &proposal(&[8]));
        assert!(matches!(refused, Err(Error::IdentityLost)), "{refused:?}");
    }
}
