//! The beginning of a cluster: its first node makes the first entry of the log, which says that this node is the only voter.
//!
//! ```text
//!   node id written   ->   entry 1@1 and term 1 durable   ->   cluster id written
//! ```
//!
//! The cluster id comes last: a directory without one has promised nothing to anybody, so that after a crash the same steps
//! are simply done again. An entry that is there already is then left as it is.

use super::Error;
use crate::ids::{ClusterId, Contact, EntryId, Index, NodeId, SHARD_0, Term, Ticket};
use crate::raft::{CommitQuorum, Configuration, Entry, HardState, Payload, Recovered, Write};
use crate::storage::{Disk, Log};

/// The first entry of every cluster.
const FIRST: EntryId = EntryId { term: Term(1), index: Index(1) };

/// Makes the log the beginning of a cluster in which `contact` is the only voter, and draws the id of that cluster.
/// Returns what recovery would find in the log. The caller writes the cluster id down.
///
/// # Errors
/// The log holds something else than an interrupted bootstrap of this node, or the disk refused.
pub fn bootstrap<D: Disk>(
    log: &mut Log<D>,
    recovered: Recovered,
    contact: Contact,
    commit_quorum: CommitQuorum,
) -> Result<(ClusterId, Recovered), Error> {
    let node = contact.node;
    let recovered = match recovered.last {
        Index(0) => write_first_entry(log, contact, commit_quorum)?,
        _ if is_bootstrap_of(node, &recovered) => recovered,
        _ => return Err(Error::IdentityLost),
    };
    Ok((ClusterId(rand::random_range(1..=u128::MAX)), recovered))
}

/// True when the log holds nothing but what [`bootstrap`] writes.
pub fn is_bootstrap_of(node: NodeId, recovered: &Recovered) -> bool {
    let is_alone = |(_, configuration): &(Index, Configuration)| configuration.members().eq([node]);
    recovered.last == FIRST.index && recovered.terms == [FIRST] && recovered.configurations.last().is_some_and(is_alone)
}

fn write_first_entry<D: Disk>(
    log: &mut Log<D>,
    contact: Contact,
    commit_quorum: CommitQuorum,
) -> Result<Recovered, Error> {
    let hard_state = HardState { term: FIRST.term, vote: None };
    let configuration = Configuration::of_one(contact.node, commit_quorum);
    let payload = Payload::Configuration { configuration: configuration.clone(), introduction: Some(contact) };
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
    use crate::storage::{self, MemoryDisk};

    fn contact(node: u64) -> Contact {
        Contact {
            node: NodeId(node),
            name: "a".to_owned(),
            client_address: "127.0.0.1:7400".to_owned(),
            peer_address: "127.0.0.1:7401".to_owned(),
            version: 1,
        }
    }

    fn open(disk: &MemoryDisk) -> (Log<MemoryDisk>, Recovered) {
        let (log, mut shards) = Log::open(disk.clone(), storage::Options::default()).unwrap();
        (log, shards.remove(&SHARD_0).unwrap_or_default())
    }

    #[test]
    fn what_it_returns_is_what_recovery_finds() {
        let disk = MemoryDisk::default();
        let (mut log, recovered) = open(&disk);
        let (_, made) = bootstrap(&mut log, recovered, contact(7), CommitQuorum::HalfPlusOne).unwrap();
        drop(log);
        let (_, found) = open(&disk);
        assert_eq!(made, found);
        assert_eq!(found.configurations[0].1, Configuration::of_one(NodeId(7), CommitQuorum::HalfPlusOne));
    }

    /// A crash after the entry and before the cluster id: the same again, and the entry is not written twice.
    #[test]
    fn an_interrupted_bootstrap_is_done_again() {
        let disk = MemoryDisk::default();
        let (mut log, recovered) = open(&disk);
        let (_, first) = bootstrap(&mut log, recovered, contact(7), CommitQuorum::Majority).unwrap();
        drop(log);
        let (mut log, recovered) = open(&disk);
        assert!(is_bootstrap_of(NodeId(7), &recovered));
        let (_, second) = bootstrap(&mut log, recovered, contact(7), CommitQuorum::Majority).unwrap();
        assert_eq!(first, second);
    }

    #[test]
    fn a_log_of_somebody_else_is_left_alone() {
        let disk = MemoryDisk::default();
        let (mut log, recovered) = open(&disk);
        bootstrap(&mut log, recovered, contact(7), CommitQuorum::Majority).unwrap();
        drop(log);
        let (mut log, recovered) = open(&disk);
        let refused = bootstrap(&mut log, recovered, contact(8), CommitQuorum::Majority);
        assert!(matches!(refused, Err(Error::IdentityLost)), "{refused:?}");
    }
}
