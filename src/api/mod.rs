//! What clients see of a node: the gRPC services of `quorate.v1` on the client port, with reflection and the standard
//! health service.
//!
//! ```text
//!   quorate_service, cluster_service   one function for each call
//!        receive   checked, and turned into what the replica understands          (received)
//!        route     the shard, and whether this node may take it                   (routed)
//!        node::Place::ask     ... the loop proposes, appends, replicates, commits, applies ...
//!        answer    the outcome, in the words of the interface                     (answered)
//!        errors    the only table from refusals to gRPC statuses
//!   founding_service  what nodes ask each other before they belong to a cluster
//!   forward        to the leader, before any of these, if the client asks for that
//!   execute_stream many requests in flight on one stream, each through the same verbs
//!   message_traces what messages say of the traces that they belong to
//!   request_log    a node's log in pages          status   the condition of nodes      health   of this process
//! ```
//!
//! Invariants
//! - What one node would accept and another refuse is decided in `receive` and `route`, before anything is proposed.
//! - Every refusal has a code, a reason of [`crate::reasons`] and the id of the node that refuses; every reply has a header.
//! - Everything has a bound: the bytes of a request, what a reply can bring back, the streams of a connection and those of
//!   the node, what is in flight on one of them, the pages and answers ahead of a slow client, and the time anything may
//!   take. When the node's inbox is full it refuses a call at once, and lets a stream wait.
//! - A call that its client gives up is forgotten by the replica.
//!
//! Not here: the dashboard, authentication.

mod answer;
mod cluster_service;
pub mod errors;
pub(crate) mod execute_stream;
pub(crate) mod forward;
mod founding_service;
mod health;
mod message_traces;
pub(crate) mod quorate_service;
mod receive;
mod request_log;
mod route;
pub mod status;
pub(crate) mod streams;

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use crate::cluster::founder::Founder;
use crate::cluster::founding_codec;
use crate::cluster::members::Names;
use crate::health::Verdict;
use crate::ids::{Contact, Index, NodeId, SHARD_0, ShardId, Term};
use crate::node::{Asked, Handle, Peers, Phase, Transfers};
use crate::proto::internal::founding_server::FoundingServer;
use crate::proto::v1;
use crate::raft::Configuration;
use crate::replica::{Read, Refusal};
use crate::telemetry::{Call, Telemetry, Vitals, propagation};
use crate::transport::{AddressBook, Listener};
use errors::Rejection;
use forward::Forwarder;
use receive::Checked;
use streams::Streams;

/// A request with everything around it, in bytes. tonic refuses a larger one while it arrives.
const DECODED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A reply in bytes. The state machine keeps answers well below it, and a page of the log holds one large entry at most.
const ENCODED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What every call needs to know of the node.
#[derive(Clone)]
pub struct Context {
    /// The node's loop.
    pub handle: Handle,
    /// Everybody's addresses.
    pub book: AddressBook,
    /// A way to ask the peers how they are.
    pub peers: Peers,
    /// What the node is doing.
    pub phase: watch::Receiver<Phase>,
    /// Where it tells of requests.
    pub telemetry: Telemetry,
    /// What it knows of itself.
    pub vitals: Vitals,
    /// HOST:PORT of its admin port; empty: it has none.
    pub admin_address: String,
    /// How it is.
    pub verdicts: watch::Receiver<Verdict>,
    /// Its disk, and snapshots on their way.
    pub transfers: Transfers,
    /// What it has promised to other nodes.
    pub founder: Founder,
    /// What the node waits for before it can take part, in words; empty: nothing.
    pub waits_for: watch::Sender<String>,
}

impl Context {
    /// Serves a call of the gRPC method `rpc` (`package.Service/Method`), in a span of its own until `serve` is done.
    async fn serve<T, R, F>(
        &self,
        rpc: &'static str,
        request: Request<T>,
        serve: impl FnOnce(T) -> F,
    ) -> Result<Response<R>, Status>
    where
        F: Future<Output = Result<R, Rejection>>,
    {
        let mut call = Call::arrived(&self.telemetry, rpc, || propagation::from_metadata(request.metadata()));
        let served = serve(request.into_inner()).instrument(call.span().clone()).await;
        call.is_answered(served.as_ref().err().map(|rejection| (rejection.code(), rejection.reason())));
        call.span().in_scope(|| served.map(Response::new).map_err(|rejection| rejection.into_status(self)))
    }

    /// What this node has applied, for its own page: no request of a client, so that nothing is told of it nor counted.
    ///
    /// # Errors
    /// As for a request that reads; NO_LEADER where the node belongs to no cluster.
    ///
    /// # Panics
    /// The operation would change something.
    pub async fn look_at(&self, operation: v1::operation::Operation) -> Result<v1::ExecuteResponse, Rejection> {
        let operations = vec![v1::Operation { operation: Some(operation) }];
        let consistency = v1::Consistency::Stale.into();
        let request = v1::ExecuteRequest { operations, consistency, ..Default::default() };
        let Checked::Read(read) = receive::receive(request, None)? else { panic!("only what reads is looked at") };
        let refused = |refusal| errors::refusal(refusal, self);
        if self.handle.look(SHARD_0, |_| ()).is_none() {
            return Err(refused(Refusal::NotLeader { leader: None, term: Term(0) }));
        }
        let place = self.handle.place_at_once(0).map_err(refused)?;
        let shown = place.ask(SHARD_0, Asked::Read(Read { is_own: true, ..read })).await.map_err(refused)?;
        answer::answer(self, SHARD_0, shown)
    }

    /// The header of a reply; `index` is where it was decided, or none: where this node has applied its log up to.
    fn header(&self, shard: ShardId, index: Option<Index>) -> v1::ResponseHeader {
        let seen = self.handle.look(shard, |status| (status.term, status.applied));
        let (term, applied) = seen.unwrap_or_default();
        v1::ResponseHeader {
            cluster_id: self.handle.cluster().map(|cluster| cluster.to_string()).unwrap_or_default(),
            node_id: self.handle.node().to_string(),
            shard: shard.0,
            term: term.0,
            index: index.unwrap_or(applied).0,
            request_time: self.handle.request_time().and_then(|time| time.try_into().ok()),
        }
    }

    fn configuration(&self) -> Configuration {
        self.handle.look(SHARD_0, |status| status.membership.configuration.clone()).unwrap_or(Configuration::EMPTY)
    }

    fn term(&self) -> Term {
        self.handle.look(SHARD_0, |status| status.term).unwrap_or_default()
    }

    fn was_removed(&self) -> bool {
        self.handle.look(SHARD_0, |status| status.removed.is_some()).unwrap_or(false)
    }

    /// How long what nobody hears the end of is waited for: `least`, and longer where requests take longer now.
    pub fn longest_wait(&self, least: Duration) -> Duration {
        least.max(self.handle.request_time().unwrap_or_default().saturating_mul(2))
    }

    /// The client addresses of the members that this node knows, itself left out.
    fn known_addresses(&self) -> String {
        let members = self.configuration();
        let others = members.members().filter(|member| *member != self.handle.node());
        let addresses: Vec<String> =
            others.filter_map(|member| self.book.get(member)).map(|contact| contact.client_address).collect();
        if addresses.is_empty() { "none".to_owned() } else { addresses.join(", ") }
    }

    async fn ask_peer(&self, node: NodeId) -> Option<v1::NodeStatus> {
        self.peers.status(node, self.handle.request_time()).await
    }

    /// Returns when the node begins to stop.
    async fn drained(&self) {
        let mut phase = self.phase.clone();
        // The sender lives as long as the node does; when it is gone, so is the node.
        let _ = phase.wait_for(|phase| *phase >= Phase::Draining).await;
    }
}

impl Names for AddressBook {
    fn contact(&self, node: NodeId) -> Option<Contact> {
        self.get(node)
    }
}

/// Serves clients on `listener` until `stop` is ready; calls that are under way then are still answered. The health service tells
/// the `verdicts`.
///
/// # Errors
/// The server cannot go on; what a client does never causes that.
pub async fn serve(
    context: Context,
    verdicts: watch::Receiver<Verdict>,
    listener: Listener,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(crate::proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors were made by the build of this program");
    let (health, health_service) = tonic_health::server::health_reporter();
    let watching = tokio::spawn(health::report(context.clone(), verdicts, health));
    let forwarder = Forwarder::new(context.clone());
    let quorate = v1::quorate_server::QuorateServer::new(quorate_service::QuorateService::new(context.clone()))
        .max_decoding_message_size(DECODED_BYTES_MAX)
        .max_encoding_message_size(ENCODED_BYTES_MAX);
    let founding = FoundingServer::new(founding_service::FoundingService::new(&context))
        .max_decoding_message_size(founding_codec::MESSAGE_BYTES_MAX);
    let telemetry = context.telemetry.clone();
    let cluster = v1::cluster_server::ClusterServer::new(cluster_service::ClusterService::new(context))
        .max_decoding_message_size(DECODED_BYTES_MAX);
    let served = listener
        .limits()
        .server()
        .add_service(reflection)
        .add_service(health_service)
        .add_service(telemetry.measured(founding))
        .add_service(telemetry.measured(forwarder.around(quorate)))
        .add_service(telemetry.measured(forwarder.around(cluster)))
        .serve_with_incoming_shutdown(listener.incoming(), stop)
        .await;
    watching.abort();
    served
}
