//! A node with an empty directory applies for membership: it asks nodes of the cluster, is sent on to the leader, and asks
//! again until a leader has agreed or has said that it never will.
//!
//! ```text
//!   node id and cluster applied to written   ->   accepted by a leader   ->   log begun, durable   ->   cluster id written
//! ```
//!
//! The node id is on disk before the first question, so that asking twice is asking for the same node. So is that it applies: from
//! then on it helps nobody to start another cluster. The log is begun before the directory says of which cluster it is: a member
//! without a log has lost it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::client::{self, Client};
use crate::ids::{ClusterId, Contact, SHARD_0, Ticket};
use crate::proto::v1;
use crate::raft::{HardState, Recovered, Write};
use crate::reasons;
use crate::storage::{self, Disk, Log};

/// What a leader that agreed has told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The cluster that the node belongs to from here on.
    pub cluster: ClusterId,
    /// Where its members can be reached.
    pub contacts: Vec<Contact>,
}

/// Why an application has brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum NotAccepted {
    /// A leader said no, and asking again does not change that.
    #[error("{0}")]
    Refused(String),
    /// The node was removed from the cluster before it was in.
    #[error("{0}")]
    Removed(String),
    /// Another node that lives has the name of this one.
    #[error("{0}")]
    NameTaken(String),
    /// Nobody has decided yet.
    #[error("{0}")]
    NotYet(String),
}

/// Applies for membership of `cluster` through `addresses`, once. `observer` is told on the way: see [`tell_each_once`].
///
/// # Errors
/// It was not accepted.
pub async fn join(
    cluster: ClusterId,
    addresses: &[String],
    contact: &Contact,
    observer: client::Observer,
) -> Result<Accepted, NotAccepted> {
    let options = client::Options { observer: Some(observer), ..Default::default() };
    let client = Client::new(addresses.to_vec(), options).map_err(|error| NotAccepted::NotYet(error.to_string()))?;
    let accepted = ask(&client, contact).await.map_err(|error| match error {
        client::Error::Refused(refused) if refused.reason == reasons::NAME_TAKEN => {
            NotAccepted::NameTaken(refused.message)
        }
        client::Error::Refused(refused) if refused.reason == reasons::MEMBER_REMOVED => {
            NotAccepted::Removed(refused.message)
        }
        client::Error::Refused(refused) if is_final(&refused.reason) => NotAccepted::Refused(refused.message),
        error => NotAccepted::NotYet(error.to_string()),
    });
    accepted.and_then(|accepted| by_that_cluster(cluster, accepted))
}

/// An address can have passed to another cluster since it was asked.
fn by_that_cluster(cluster: ClusterId, accepted: Accepted) -> Result<Accepted, NotAccepted> {
    if accepted.cluster == cluster {
        return Ok(accepted);
    }
    let other = accepted.cluster;
    Err(NotAccepted::NotYet(format!(
        "cluster {other} has accepted this node, which has not applied to that one: remove it there, and let the addresses that are \
         asked be those of one cluster"
    )))
}

/// Begins the log of a node that was accepted: no term, no vote, no entry yet, but durably so.
///
/// # Errors
/// The disk refused.
pub fn begin_log<D: Disk>(log: &mut Log<D>) -> Result<(), storage::Error> {
    // No replica waits for this ticket; the first one that a replica gives out is 1.
    let write =
        Write { ticket: Ticket(0), hard_state: Some(HardState::default()), snapshot: None, entries: Vec::new() };
    log.append(&[(SHARD_0, write)])?;
    log.sync()
}

/// True when the log holds nothing but what [`begin_log`] writes.
pub fn has_begun(recovered: &Recovered) -> bool {
    *recovered == Recovered::default()
}

/// One line for each address, and another only when the reason changes: asking goes on for as long as it takes.
pub fn tell_each_once() -> client::Observer {
    let told: Mutex<BTreeMap<String, String>> = Mutex::default();
    Arc::new(move |event| match event {
        client::Event::Retrying { address, why } => {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            // The addresses are those to join and those of members, so their number is bounded.
            if told.get(address) != Some(why) {
                tracing::warn!("cannot join through {address} yet: {why}; goes on asking, there and elsewhere");
                told.insert(address.clone(), why.clone());
            }
        }
        client::Event::Redirected { to, .. } => tracing::info!("is sent on to {to}, which leads"),
        client::Event::Forwarding { .. } | client::Event::Waiting { .. } => tracing::info!("{event}"),
        client::Event::SessionOpened { .. } | client::Event::SessionReplaced { .. } => {}
    })
}

/// A pause between half of it and the whole, so that nodes that started together do not ask together for ever.
pub fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..=1.0))
}

/// The contacts in a list of members, without those whose addresses are not known.
pub(super) fn contacts(members: &[v1::Member]) -> Vec<Contact> {
    let known = members.iter().filter(|member| member.address_version > 0);
    known.filter_map(|member| super::members::applicant(member.clone()).ok()).collect()
}

async fn ask(client: &Client, contact: &Contact) -> Result<Accepted, client::Error> {
    let member = v1::Member {
        node_id: contact.node.to_string(),
        name: contact.name.clone(),
        client_address: contact.client_address.clone(),
        peer_address: contact.peer_address.clone(),
        address_version: contact.version,
        membership: v1::Membership::Unspecified.into(),
    };
    let added = client.add_member(member, false).await?;
    let cluster = added.header.and_then(|header| header.cluster_id.parse().ok());
    match cluster {
        Some(cluster) => Ok(Accepted { cluster, contacts: contacts(&added.members) }),
        None => Err(client::Error::Malformed { what: "it names no cluster".to_owned() }),
    }
}

/// True for a refusal that asking again cannot change, and that is none of those with a name of their own.
fn is_final(reason: &str) -> bool {
    reason == reasons::INVALID_REQUEST
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryDisk;

    #[test]
    fn the_pause_is_never_longer_than_said_nor_shorter_than_half() {
        for _ in 0..100 {
            let pause = jittered(Duration::from_secs(8));
            assert!((4..=8).contains(&pause.as_millis().div_ceil(1000)), "{pause:?}");
        }
    }

    /// A crash after the log was begun and before the cluster id: the same again.
    #[test]
    fn an_interrupted_join_is_done_again() {
        let disk = MemoryDisk::default();
        for _ in 0..2 {
            let (mut log, _) = Log::open(disk.clone(), storage::Options::default()).unwrap();
            begin_log(&mut log).unwrap();
        }
        let (_, found) = Log::open(disk, storage::Options::default()).unwrap();
        assert!(has_begun(&found[&SHARD_0]), "{found:?}");
    }

    #[test]
    fn no_other_cluster_than_the_one_applied_to_takes_the_node_in() {
        let accepted = Accepted { cluster: ClusterId(7), contacts: Vec::new() };
        assert_eq!(by_that_cluster(ClusterId(7), accepted.clone()).unwrap(), accepted);
        let refused = by_that_cluster(ClusterId(8), accepted).unwrap_err();
        assert!(
            matches!(&refused, NotAccepted::NotYet(why) if why.starts_with("cluster 00000000000000000000000000000007 has"))
        );
    }

    #[test]
    fn only_what_cannot_heal_ends_the_asking() {
        assert!(is_final(reasons::INVALID_REQUEST));
        assert!(!is_final(reasons::CHANGE_IN_PROGRESS));
        assert!(!is_final(reasons::NO_LEADER));
    }
}
