//! A node with an empty directory applies for membership: it asks whoever it reaches, is sent on to the leader, and asks
//! again until a leader has agreed or has said that it never will.
//!
//! ```text
//!   node id written   ->   accepted by a leader   ->   log begun, durable   ->   cluster id written
//! ```
//!
//! The node id is on disk before the first question, so that asking twice is asking for the same node. The log is begun before
//! the directory says of which cluster it is: a member without a log has lost it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Error;
use crate::client::{self, Client};
use crate::ids::{ClusterId, Contact, SHARD_0, Ticket};
use crate::proto::v1;
use crate::raft::{HardState, Recovered, Write};
use crate::reasons;
use crate::storage::{self, Disk, Log};

/// One round of asking all addresses, redirects included.
const ROUND: Duration = Duration::from_secs(9);
/// The pause after the first round that brought nothing; twice as long after each further one.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What a leader that agreed has told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The cluster that the node belongs to from here on.
    pub cluster: ClusterId,
    /// Where its members can be reached.
    pub contacts: Vec<Contact>,
}

/// Applies for membership through `addresses` until a leader agrees. Waits for ever for one that answers.
///
/// # Errors
/// A leader said no, and asking again cannot change that; or an address is none.
pub async fn join(addresses: &[String], contact: &Contact) -> Result<Accepted, Error> {
    let options = client::Options { timeout: ROUND, observer: Some(tell_each_once()), ..Default::default() };
    let client = Client::new(addresses.to_vec(), options).map_err(|error| Error::InvalidAddress(error.to_string()))?;
    tracing::info!("applies for membership through {}", addresses.join(", "));
    let mut pause = PAUSE_MIN;
    loop {
        match ask(&client, contact).await {
            Ok(accepted) => return Ok(accepted),
            Err(client::Error::Refused(refused)) if is_final(&refused.reason) => {
                return Err(Error::Refused(refused.message));
            }
            Err(error) => tracing::debug!("cannot join yet: {error}"),
        }
        tokio::time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
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
fn tell_each_once() -> client::Observer {
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
        client::Event::Forwarding { .. } => tracing::info!("{event}"),
        client::Event::SessionOpened { .. } | client::Event::SessionReplaced { .. } => {}
    })
}

/// A pause between half of it and the whole, so that nodes that started together do not ask together for ever.
pub(super) fn jittered(pause: Duration) -> Duration {
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

/// True for a refusal that asking again cannot change.
fn is_final(reason: &str) -> bool {
    [reasons::NAME_TAKEN, reasons::MEMBER_REMOVED, reasons::INVALID_REQUEST].contains(&reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryDisk;

    #[test]
    fn the_pause_is_never_longer_than_said_nor_shorter_than_half() {
        for _ in 0..100 {
            let pause = jittered(PAUSE_MAX);
            assert!(pause >= PAUSE_MAX / 2 && pause <= PAUSE_MAX, "{pause:?}");
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
    fn only_what_cannot_heal_ends_the_asking() {
        assert!(is_final(reasons::NAME_TAKEN));
        assert!(!is_final(reasons::CHANGE_IN_PROGRESS));
        assert!(!is_final(reasons::NO_LEADER));
    }
}
