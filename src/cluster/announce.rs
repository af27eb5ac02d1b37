//! A member that starts again: the others must find it, and it must find them, whatever addresses have changed meanwhile.
//!
//! Its own addresses go into the address book under a higher version when they changed, and from there to the peers. Whoever
//! has moved is found through the addresses to join: each node that is reached there knows at least its own new ones, so that
//! also a cluster finds itself again whose nodes have all moved.

use std::collections::BTreeMap;
use std::time::Duration;

use super::discovery::{Addresses, Places};
use super::join::{contacts, jittered};
use crate::client::{self, Client};
use crate::ids::ClusterId;
use crate::transport::AddressBook;

/// How long one address may take to answer, also over a line with a round trip of 2 s that loses a packet.
const PATIENCE: Duration = Duration::from_secs(12);
/// Between two rounds of asking.
const PAUSE: Duration = Duration::from_secs(5);
/// What a node says that has not got so far.
const NO_CLUSTER: &str = "it belongs to no cluster yet";

/// Asks the nodes at `places` for everybody's addresses: once, and again for as long as this node knows no leader.
/// Runs until it is dropped.
pub async fn learn_addresses(
    places: Places,
    cluster: ClusterId,
    book: AddressBook,
    knows_leader: impl Fn() -> bool + Send,
) {
    // One for each address, so that their number is bounded: what is known no more is forgotten.
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    let mut first = true;
    loop {
        if first || !knows_leader() {
            let Addresses { known, incomplete } = places.addresses().await;
            let mut outcomes: BTreeMap<String, String> =
                incomplete.into_iter().map(|why| ("everybody".to_owned(), why)).collect();
            for address in known.into_iter().filter(|address| !is_own(&book, address)) {
                let outcome = ask(&address, cluster, &book).await.err().unwrap_or_default();
                outcomes.insert(address, outcome);
            }
            for (address, outcome) in &outcomes {
                if told.get(address) == Some(outcome) || outcome.is_empty() {
                    continue;
                }
                // So it is with everybody for a moment when a cluster begins.
                if outcome == NO_CLUSTER {
                    tracing::debug!("cannot learn addresses from {address} yet: {outcome}");
                } else {
                    tracing::warn!(
                        "cannot learn addresses from {address}: {outcome}; asks again while it knows no leader"
                    );
                }
            }
            told = outcomes;
        }
        first = false;
        tokio::time::sleep(jittered(PAUSE)).await;
    }
}

fn is_own(book: &AddressBook, address: &str) -> bool {
    book.own().is_some_and(|own| own.client_address == address)
}

/// Asks one node; in words what went wrong.
async fn ask(address: &str, cluster: ClusterId, book: &AddressBook) -> Result<(), String> {
    let options = client::Options { timeout: Some(PATIENCE), ..Default::default() };
    let client = Client::new(vec![address.to_owned()], options).map_err(|error| error.to_string())?;
    let members = client.members().await.map_err(|error| error.to_string())?;
    let theirs = members.header.map(|header| header.cluster_id).unwrap_or_default();
    if theirs != cluster.to_string() {
        return Err(match theirs.is_empty() {
            true => NO_CLUSTER.to_owned(),
            false => format!("it belongs to cluster {theirs}, and this node to {cluster}"),
        });
    }
    let merged = book.merge_in_background(contacts(&members.members)).await;
    merged.map(|_| ()).map_err(|error| error.to_string())
}
