//! Whom to ask: the addresses to join, and those that a DNS name resolves to, which is resolved anew each time. And asking them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant, timeout_at};

use super::founding::{Proposal, Round, Standing};
use super::founding_codec::{MESSAGE_BYTES_MAX, proposal_to_proto, standing_from_proto};
use crate::client;
use crate::config::{self, Address};
use crate::ids::Contact;
use crate::proto::internal;
use crate::proto::internal::founding_client::FoundingClient;
use crate::storage::codec::contact_to_proto;
use crate::transport::printable;
use crate::wary::Wary;

/// So many addresses are asked. When there are more, the first in their order are, and no cluster is started together: who is not
/// asked may belong to one.
pub const ADDRESSES_MAX: usize = 64;

/// How long one address may take to say who it is, when others have; and the resolver to resolve.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long all of them may take while none has said who it is: there can be a line between that has a round trip of 2 s, of which
/// asking needs two, and that loses packets.
const PATIENCE_MAX: Duration = Duration::from_secs(12);
/// How long a node may take to promise, which is one write of a small file.
const PROMISE_PATIENCE: Duration = Duration::from_secs(10);

/// Where other nodes are, as the settings say.
#[derive(Clone, Debug)]
pub struct Places {
    join: Vec<String>,
    discovery: Option<Address>,
}

/// The addresses as they are known now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Each once, in order.
    pub known: BTreeSet<String>,
    /// Why there may be more; none: these are all.
    pub incomplete: Option<String>,
}

impl Places {
    /// The places that the settings name.
    pub fn new(settings: &config::Cluster) -> Self {
        let join = settings.join.iter().map(Address::to_string).collect();
        Self { join, discovery: settings.discovery.clone() }
    }

    /// True when there is nobody to ask.
    pub fn is_empty(&self) -> bool {
        self.join.is_empty() && self.discovery.is_none()
    }

    /// True when a DNS name says where nodes are.
    pub fn discovers(&self) -> bool {
        self.discovery.is_some()
    }

    /// Resolves the DNS name, if there is one. That it does not resolve is no error: it may later.
    pub async fn addresses(&self) -> Addresses {
        let mut found = Addresses { known: self.join.iter().cloned().collect(), incomplete: None };
        if let Some(name) = &self.discovery {
            match resolve(name).await {
                Ok(resolved) => found.known.extend(resolved),
                Err(why) => found.incomplete = Some(format!("{} does not resolve ({why})", name.host)),
            }
        }
        if found.known.len() > ADDRESSES_MAX {
            found.incomplete = Some(format!("{} addresses are too many to ask them all", found.known.len()));
            found.known = found.known.into_iter().take(ADDRESSES_MAX).collect();
        }
        found
    }

    /// Asks everybody at once who they are. `own` says who asks, and is not asked.
    pub async fn ask_all(&self, own: &Contact) -> Round {
        let Addresses { mut known, incomplete } = self.addresses().await;
        known.remove(&own.client_address);
        let silent = |address: &String| (address.clone(), Err("silent".to_owned()));
        let mut heard: BTreeMap<String, Result<Standing, String>> = known.iter().map(silent).collect();
        let ask = async |address: String| (who_are_you(&address, own).await, address);
        let mut asked: FuturesUnordered<_> = known.into_iter().map(ask).collect();
        let began = Instant::now();
        loop {
            let patience = if heard.values().any(Result::is_ok) { PATIENCE } else { PATIENCE_MAX };
            let Ok(Some((answer, address))) = timeout_at(began + patience, asked.next()).await else { break };
            heard.insert(address, answer);
        }
        Round { heard, incomplete, discovers: self.discovers(), listed: self.join.iter().cloned().collect() }
    }
}

/// Asks a founder for its promise. When the answer is yes, the promise is on its disk.
///
/// # Errors
/// The answer was no, or there was none; in words.
pub async fn ask_promise(address: &str, proposal: &Proposal) -> Result<(), String> {
    let mut client = client(address)?;
    let request = internal::PromiseRequest { proposal: Some(proposal_to_proto(proposal)) };
    let reply = within(PROMISE_PATIENCE, client.promise(request)).await?;
    if reply.promised { Ok(()) } else { Err(printable(&reply.refusal)) }
}

async fn who_are_you(address: &str, own: &Contact) -> Result<Standing, String> {
    let mut client = client(address)?;
    let request = internal::WhoAreYouRequest { node: Some(contact_to_proto(own)) };
    let reply = within(PATIENCE_MAX, client.who_are_you(request)).await?;
    standing_from_proto(reply).map_err(str::to_owned)
}

async fn resolve(name: &Address) -> Result<BTreeSet<String>, String> {
    let host = name.host.trim_start_matches('[').trim_end_matches(']').to_owned();
    match tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, name.port))).await {
        Ok(Ok(addresses)) => Ok(addresses.map(|address| address.to_string()).collect()),
        Ok(Err(error)) => {
            Err(error.to_string().trim_start_matches("failed to lookup address information: ").to_owned())
        }
        Err(_) => Err(format!("no answer in {PATIENCE:?}")),
    }
}

fn client(address: &str) -> Result<FoundingClient<Wary>, String> {
    Ok(FoundingClient::new(client::channel(address)?).max_decoding_message_size(MESSAGE_BYTES_MAX))
}

async fn within<T>(
    patience: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, String> {
    match tokio::time::timeout(patience, call).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(printable(&client::root_cause(&status))),
        Err(_) => Err(format!("silent for {patience:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(join: &[String], discovery: Option<&str>) -> Places {
        let discovery = discovery.map(|host| Address { host: host.to_owned(), port: 7400 });
        Places { join: join.to_vec(), discovery }
    }

    #[tokio::test]
    async fn addresses_are_those_of_the_list_and_those_that_the_name_has_now() {
        let join = ["127.0.0.1:7400".to_owned(), "a:1".to_owned()];
        let found = places(&join, Some("127.0.0.1")).addresses().await;
        assert_eq!(found, Addresses { known: join.clone().into(), incomplete: None });
        let found = places(&[], Some("[::1]")).addresses().await;
        assert_eq!(found.known, BTreeSet::from(["[::1]:7400".to_owned()]));
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_told_and_the_list_counts_all_the_same() {
        let join = ["a:1".to_owned()];
        let found = places(&join, Some("no such name")).addresses().await;
        assert_eq!(found.known, BTreeSet::from(join));
        assert!(found.incomplete.as_ref().unwrap().starts_with("no such name does not resolve ("), "{found:?}");
    }

    #[tokio::test]
    async fn of_too_many_addresses_the_first_are_asked_and_it_is_told() {
        let join: Vec<String> = (100..200).map(|port| format!("a:{port}")).collect();
        let found = places(&join, None).addresses().await;
        assert_eq!((found.known.len(), found.known.first().unwrap().as_str()), (ADDRESSES_MAX, "a:100"));
        assert_eq!(found.incomplete.unwrap(), "100 addresses are too many to ask them all");
    }

    #[tokio::test]
    async fn who_does_not_answer_is_told_with_the_reason() {
        let own = Contact {
            node: crate::ids::NodeId(1),
            name: "a".into(),
            client_address: "127.0.0.1:2".into(),
            peer_address: "127.0.0.1:3".into(),
            version: 1,
        };
        let join = ["127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned()];
        let round = places(&join, None).ask_all(&own).await;
        assert_eq!(round.heard, BTreeMap::from([("127.0.0.1:1".to_owned(), Err("connection refused".to_owned()))]));
    }
}
