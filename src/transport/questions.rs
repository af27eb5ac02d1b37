//! Questions to a peer about itself: how it is, what happened on it, what is in its log. Each peer that is asked has a connection
//! for these alone, so that an answer of a megabyte never stands before a heartbeat. It is made when it is first needed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tonic::{Response, Status};

use super::{Error, FRAME_BYTES_MAX, Shared, Transport, codec, dial, encode_cluster, peer};
use crate::ids::{Index, NodeId, ShardId};
use crate::proto::internal::peer_client::PeerClient;
use crate::proto::internal::{EventsReply, EventsRequest, PeerStatusRequest, ReadLogReply, ReadLogRequest};
use crate::proto::v1;
use crate::raft::Entry;
use crate::wary::Wary;

/// The most events of one answer.
pub const EVENTS_MAX: u32 = 1_000;

/// The most entries of one answer.
pub const LOG_ENTRIES_MAX: u32 = 1_000;

/// About the most bytes of the entries of one answer; a single entry may be larger.
pub const LOG_BYTES_MAX: u64 = 1 << 20;

/// A part of a node's log, and how far that goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPart {
    /// The first index of the log. What came before is in a snapshot.
    pub first: Index,
    /// The last index; below `first`: the log is empty.
    pub last: Index,
    /// The commit index of the node. An entry after it can still be replaced by another.
    pub commit: Index,
    /// The last index that the node has applied.
    pub applied: Index,
    /// Entries that follow each other. None: what was asked for is not in the log.
    pub entries: Vec<Entry>,
}

/// The connections, by peer.
#[derive(Default)]
pub(super) struct Clients(Mutex<BTreeMap<NodeId, Client>>);

#[derive(Clone)]
struct Client {
    address: String,
    client: PeerClient<Wary>,
}

impl Clients {
    /// Ends the connections to all but these.
    pub(super) fn keep(&self, peers: &BTreeSet<NodeId>) {
        self.state().retain(|node, _| peers.contains(node));
    }

    /// A map of handles, whole at any time: good also when somebody panicked with the lock.
    fn state(&self) -> MutexGuard<'_, BTreeMap<NodeId, Client>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport {
    /// Asks a peer for its condition.
    ///
    /// # Errors
    /// Its address is not known, or it did not answer within `patience`.
    pub async fn status_of(&self, peer: NodeId, patience: Duration) -> Result<v1::NodeStatus, Error> {
        let cluster_id = encode_cluster(self.0.context.identity.cluster);
        self.ask(peer, patience, async |mut client| {
            let status = answer(client.status(PeerStatusRequest { cluster_id }).await)?;
            match status.member.as_ref().map(|member| member.node_id.parse::<NodeId>()) {
                Some(Ok(node)) if node != peer => Err(format!("node {node} answers there")),
                _ => Ok(status),
            }
        })
        .await
    }

    /// Asks a peer what happened on it after the event `after` of its `process`; of all it knows when its process is another one.
    ///
    /// # Errors
    /// As [`Transport::status_of`]. A node of an earlier version knows no events.
    pub async fn events_of(
        &self,
        peer: NodeId,
        process: u64,
        after: u64,
        limit: u32,
        patience: Duration,
    ) -> Result<EventsReply, Error> {
        let cluster_id = encode_cluster(self.0.context.identity.cluster);
        let request = EventsRequest { cluster_id, process, after, limit, to: peer.0 };
        self.ask(peer, patience, async |mut client| answer(client.events(request).await)).await
    }

    /// Asks a peer for entries of its log from `from` on; 0: for the last ones.
    ///
    /// # Errors
    /// As [`Transport::status_of`], and the peer cannot read its log.
    pub async fn log_of(
        &self,
        peer: NodeId,
        shard: ShardId,
        from: Index,
        limit: u32,
        patience: Duration,
    ) -> Result<LogPart, Error> {
        let cluster_id = encode_cluster(self.0.context.identity.cluster);
        let request = ReadLogRequest { cluster_id, shard: shard.0, from_index: from.0, limit, to: peer.0 };
        self.ask(peer, patience, async |mut client| {
            let reply: ReadLogReply = answer(client.read_log(request).await)?;
            codec::decode_log_part(reply).map_err(|why| why.to_string())
        })
        .await
    }

    async fn ask<T>(
        &self,
        peer: NodeId,
        patience: Duration,
        question: impl AsyncFnOnce(PeerClient<Wary>) -> Result<T, String>,
    ) -> Result<T, Error> {
        let contact = self.0.context.book.get(peer).ok_or(Error::UnknownAddress(peer))?;
        let address = contact.peer_address;
        let asked = async { question(self.0.question_client(peer, &address)?).await };
        let why = match tokio::time::timeout(patience, asked).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(why)) => {
                // Whatever is wrong with the connection, the next question gets another one.
                self.0.question_clients.state().remove(&peer);
                why
            }
            // Over a slow line it may still be connecting, and would never come to an end if it began anew each time. One that
            // is dead is found by its keep-alive.
            Err(_) => format!("it took more than {patience:?}"),
        };
        Err(Error::NoAnswer { peer, address, why })
    }
}

fn answer<T>(answered: Result<Response<T>, Status>) -> Result<T, String> {
    answered.map(Response::into_inner).map_err(|status| peer::why(&status))
}

impl Shared {
    fn question_client(&self, peer: NodeId, address: &str) -> Result<PeerClient<Wary>, String> {
        let mut clients = self.question_clients.state();
        if let Some(known) = clients.get(&peer).filter(|known| known.address == address) {
            return Ok(known.client.clone());
        }
        let endpoint =
            dial::lazy(address, &self.context.measured, &self.context.options).map_err(|error| peer::why(&error))?;
        let client = PeerClient::new(Wary::from(endpoint.connect_lazy())).max_decoding_message_size(FRAME_BYTES_MAX);
        clients.insert(peer, Client { address: address.to_owned(), client: client.clone() });
        Ok(client)
    }
}
