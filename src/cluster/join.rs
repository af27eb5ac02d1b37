//! A node with an empty directory applies for membership: it asks whoever it reaches, is sent on to the leader, and asks
//! again until a leader has agreed or has said that it never will.
//!
//! The node id is on disk before the first question, so that asking twice is asking for the same node.

use std::time::Duration;

use super::Error;
use crate::client::{self, Client};
use crate::ids::{ClusterId, Contact};
use crate::proto::v1;
use crate::reasons;

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
    let options = client::Options { timeout: ROUND, ..Default::default() };
    let client = Client::new(addresses.to_vec(), options).map_err(|error| Error::InvalidAddress(error.to_string()))?;
    tracing::info!("applies for membership through {}", addresses.join(", "));
    let mut pause = PAUSE_MIN;
    let mut told = String::new();
    loop {
        match ask(&client, contact).await {
            Ok(accepted) => return Ok(accepted),
            Err(client::Error::Refused(refused)) if is_final(&refused.reason) => {
                return Err(Error::Refused(refused.message));
            }
            Err(error) => tell_once(&mut told, &error),
        }
        tokio::time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
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

/// One line for each reason, not one for each try.
fn tell_once(told: &mut String, error: &client::Error) {
    let text = error.to_string();
    if *told != text {
        tracing::warn!("cannot join yet: {text}; asks again until it can");
        *told = text;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_is_never_longer_than_said_nor_shorter_than_half() {
        for _ in 0..100 {
            let pause = jittered(PAUSE_MAX);
            assert!(pause >= PAUSE_MAX / 2 && pause <= PAUSE_MAX, "{pause:?}");
        }
    }

    #[test]
    fn only_what_cannot_heal_ends_the_asking() {
        assert!(is_final(reasons::NAME_TAKEN));
        assert!(!is_final(reasons::CHANGE_IN_PROGRESS));
        assert!(!is_final(reasons::NO_LEADER));
    }
}
