//! Carries Raft messages between the nodes of a cluster, over gRPC. Messages may be lost, repeated and reordered: whatever
//! is dropped here, Raft says again.
//!
//! ```text
//!   node A                                             node B
//!   send ─▶ queue ─▶ connection of the control lane ─▶ OpenLane ─▶ inbox    heartbeats, votes and their answers
//!   send ─▶ queue ─▶ connection of the append lane  ─▶ OpenLane ─▶ inbox    AppendEntries and their answers, and votes
//!   inbox ◀─ OpenLane ◀─ B's own two connections ◀─ queue ◀─ send
//!   fetch_snapshot ─▶ connection made when needed   ─▶ FetchSnapshot ─▶ Host    pieces of a snapshot, one a call
//!   status_of ...  ─▶ connection made when needed   ─▶ Status ...    ─▶ Host    how a peer is, and what is in its log
//! ```
//!
//! A node sends on connections that it made itself and receives on those that others made. Each lane of each peer is one
//! task with one TCP connection, so that a megabyte of entries never stands before a heartbeat. It begins with a Hello
//! (cluster, from, to, addresses) and a Welcome; then frames flow, each with all messages that waited, up to a limit.
//!
//! Invariants:
//! - `Transport::send` never waits. What waits for a peer is bounded by count and bytes (`queue`).
//! - The messages of a lane arrive in the order in which they were sent, as long as its connection lasts; but for votes, which
//!   are heard as soon as either lane has brought them.
//! - Nothing that a peer sends is believed before it is checked (`codec`, `handshake`), and nothing it sends ends more than
//!   its own connection.
//! - A name is resolved anew at each dial, and an address that changed in the book is dialed at once.
//!
//! Not here: what the messages mean (`raft`), who is a member (the node says so with `set_peers` and [`Host::admits`]),
//! encryption.

pub mod address_book;
pub mod codec;
mod dial;
mod fetch;
pub mod handshake;
pub mod inbox;
mod link;
pub mod listen;
mod peer;
mod peers;
mod processes;
pub mod questions;
pub mod queue;
mod rate;
mod server;
mod snapshot_codec;
#[cfg(test)]
mod tests;
mod throttle;
mod timeouts;

use std::collections::BTreeSet;
use std::io;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime;
use tokio::sync::watch;

use crate::ids::{ClusterId, Index, NodeId, ShardId, TraceContext};
use crate::proto::internal::peer_server::PeerServer;
use crate::raft::{Body, Message};
use crate::storage::transfer;

pub use address_book::{AddressBook, Contacts, InvalidContact, Store};
pub use handshake::{Removed, printable};
pub use inbox::{Delivery, Inbox};
pub use listen::{Connection, Limits, Listener, Occupancy, Surplus};
pub use questions::LogPart;
pub use server::{Host, PeerService};
pub use throttle::Throttle;
pub use timeouts::{CONNECTED_IN_TIMES, Timeout};

use peer::Peer;
use peers::Peers;
use processes::Processes;
use timeouts::Measured;

/// The most bytes of one frame, as sent and as accepted.
pub const FRAME_BYTES_MAX: usize = 8 << 20;

/// How often a connection is tried with a ping. It ends when none comes back for [`Options::pong`]. That is how a machine that
/// is gone is noticed in the end; that a leader is, Raft notices much earlier.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Who a node is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
}

/// What a connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Everything but the entries: heartbeats, votes, hand-over, read indexes.
    Control,
    /// AppendEntries and their answers; and votes once more.
    Append,
}

impl Lane {
    /// The lanes of a message.
    ///
    /// Votes go over both. What waits behind a lost packet on one connection does not on the other, and an election waits for
    /// the slowest of the votes that it needs.
    pub fn of(body: &Body) -> &'static [Self] {
        match body {
            Body::AppendEntries { .. } | Body::AppendReply(_) => &[Lane::Append],
            Body::PreVote { .. }
            | Body::PreVoteReply { .. }
            | Body::RequestVote { .. }
            | Body::RequestVoteReply { .. } => &[Lane::Control, Lane::Append],
            _ => &[Lane::Control],
        }
    }

    /// Those of them that it goes over now. Over the second only while the control lane can carry messages: who is elected by votes that
    /// came another way cannot lead, because its heartbeats are not answered.
    pub fn open_to(body: &Body, has_control: bool) -> &'static [Self] {
        let lanes = Self::of(body);
        if has_control { lanes } else { &lanes[..1] }
    }
}

/// A message with what travels along with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The shard that the message is for.
    pub shard: ShardId,
    /// What it says.
    pub message: Message,
    /// Of the entries in it whose requests are traced: the spans that their appends belong to. At most
    /// [`TRACES_MAX`](crate::ids::TRACES_MAX).
    pub traces: Vec<(Index, TraceContext)>,
    /// Of a message that goes over more than one lane: the same on each, and on no other message of the process, so that the
    /// receiver hands it on once. The transport gives it and takes it away again.
    pub number: Option<NonZeroU64>,
}

impl Envelope {
    /// A message of which nothing is traced.
    pub fn new(shard: ShardId, message: Message) -> Self {
        Self { shard, message, traces: Vec::new(), number: None }
    }
}

/// What comes from the peers, for the loop that owns the replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// A message.
    Message {
        /// Who sent it.
        from: NodeId,
        /// What came.
        envelope: Envelope,
    },
    /// Both lanes to a peer are open.
    Connected {
        /// The peer.
        peer: NodeId,
    },
    /// A lane to a peer broke, or the peer cannot be reached in the first place. Said once until it is connected again.
    Disconnected {
        /// The peer.
        peer: NodeId,
        /// Why, in words.
        why: String,
    },
    /// The process of a peer that was connected has ended, as far as can be told from here: nobody listens at its address any
    /// more, or another process does. Said once for each process, after Disconnected and before the next Connected, and after all
    /// that the process has sent, of which some may be lost. Whoever stands between the two can make it look so: nothing but time
    /// may depend on it.
    Gone {
        /// The peer.
        peer: NodeId,
    },
    /// A peer does not let this node in. Said once until it does or until it says something else.
    Refused {
        /// The peer.
        peer: NodeId,
        /// Why, in the words of the peer.
        why: String,
    },
    /// A peer says that this node is no member any more. Said once until it lets this node in or says something else.
    RemovedBy {
        /// The peer.
        peer: NodeId,
        /// The index of the configuration that left this node out.
        index: Index,
    },
}

/// What can go wrong for a caller in this room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// As it was given.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// A contact is not valid.
    #[error(transparent)]
    InvalidContact(#[from] InvalidContact),
    /// The address book could not be written down.
    #[error("the address book could not be saved: {0}")]
    SaveAddresses(#[source] io::Error),
    /// The book has no address of this node.
    #[error("no address of node {0} is known")]
    UnknownAddress(NodeId),
    /// A peer does not let this node in.
    #[error("node {peer} refuses: {why}")]
    Refused {
        /// The peer.
        peer: NodeId,
        /// Why, in the words of the peer.
        why: String,
    },
    /// A peer says that this node is no member any more.
    #[error("node {peer} says that the configuration at index {index} left this node out")]
    RemovedBy {
        /// The peer.
        peer: NodeId,
        /// The index of the configuration.
        index: Index,
    },
    /// A peer did not answer, or not with what was asked.
    #[error("node {peer} at {address} gave no answer: {why}")]
    NoAnswer {
        /// The peer.
        peer: NodeId,
        /// Where it was asked.
        address: String,
        /// Why, in words.
        why: String,
    },
}

/// The bounds of what waits, and the patience of the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What may wait for the control lane of a peer.
    pub control: queue::Limits,
    /// What may wait for the append lane of a peer.
    pub append: queue::Limits,
    /// A frame takes no further message beyond this; a single message may be larger.
    pub frame_bytes: u64,
    /// How long a TCP connection may take. A first packet that gets no answer is sent again after 1, 3, 7 and 15 s.
    pub connect: Timeout,
    /// How long it may then take to the Welcome. A long time costs little: a peer that is frozen answers when it goes on, and one
    /// that has restarted ends the connection at the next packet.
    pub welcome: Timeout,
    /// How long the answer to a ping may take.
    pub pong: Timeout,
    /// How long a caller may take for its Hello, which follows the beginning of its call at once. Long enough for a packet that is
    /// lost three times on a link of 2 s round trip; what a caller holds meanwhile is no more than what one who has said it holds.
    pub hello_deadline: Duration,
    /// The pause after the first failed dial. It doubles with each.
    pub backoff_min: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// After a connection that was up and as old as this, counted from the dial, there is no pause. One that ended sooner is no
    /// reason to hurry: a peer that closes what it has just let in would be dialed in a tight loop.
    pub lasting: Duration,
    /// How long what waits for a peer may still be sent when the peer is given up.
    pub flush_deadline: Duration,
    /// Bytes of snapshots that this node sends in a second, to all peers together; none: without limit.
    pub snapshot_rate: Option<NonZeroU32>,
    /// The connection over which snapshots are fetched from a peer is closed when it has not been used for this long.
    pub snapshot_idle: Duration,
}

impl Default for Options {
    fn default() -> Self {
        use queue::WhenFull::{DropNewest, DropOldest};
        let seconds = Duration::from_secs;
        Self {
            control: queue::Limits { messages_max: 4096, bytes_max: 1 << 20, when_full: DropOldest },
            append: queue::Limits { messages_max: 1024, bytes_max: 32 << 20, when_full: DropNewest },
            frame_bytes: 1 << 20,
            connect: Timeout { times: 2, min: seconds(5), max: seconds(20), unknown: seconds(10) },
            welcome: Timeout { times: 4, min: seconds(15), max: seconds(60), unknown: seconds(60) },
            pong: Timeout { times: 4, min: seconds(10), max: seconds(60), unknown: seconds(30) },
            hello_deadline: seconds(30),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
            lasting: Duration::from_millis(500),
            flush_deadline: Duration::from_millis(500),
            snapshot_rate: None,
            snapshot_idle: Duration::from_secs(30),
        }
    }
}

/// A handle of the connections of this node. Clones share them; with the last one, and the last service, they end.
#[derive(Clone)]
pub struct Transport(Arc<Shared>);

/// What all handles, connections and services share.
struct Shared {
    context: Context,
    runtime: runtime::Handle,
    peers: Mutex<Peers>,
    /// The next [`Envelope::number`].
    numbers: AtomicU64,
    /// True: the node stops. Each notice: who is let in may have changed.
    stopping: watch::Sender<bool>,
    question_clients: questions::Clients,
    log_parts: server::LogParts,
    fetch_clients: fetch::Clients,
    /// What snapshots may cost.
    snapshots: server::Snapshots,
    /// Lines about peers that are refused or malformed.
    complaints: Throttle,
}

/// What each connection knows of its node.
#[derive(Clone)]
struct Context {
    identity: Identity,
    book: AddressBook,
    delivery: Delivery,
    options: Options,
    measured: Arc<Measured>,
    /// By chance, so that peers can tell this process from the one before it.
    process: u64,
    processes: Arc<Processes>,
}

impl Transport {
    /// A transport without peers. To be called within a tokio runtime, which runs its tasks. `delivery` is the way into the
    /// inbox of the node: when that is full, connections stop reading and so do, in the end, the peers' queues.
    pub fn new(identity: Identity, book: AddressBook, delivery: Delivery, options: Options) -> Self {
        let (measured, process, processes) = (Arc::default(), rand::random(), Arc::default());
        Self(Arc::new(Shared {
            context: Context { identity, book, delivery, options, measured, process, processes },
            runtime: runtime::Handle::current(),
            peers: Mutex::default(),
            numbers: AtomicU64::new(1),
            stopping: watch::Sender::new(false),
            question_clients: questions::Clients::default(),
            log_parts: server::LogParts::default(),
            fetch_clients: fetch::Clients::default(),
            snapshots: server::Snapshots::new(options.snapshot_rate),
            complaints: Throttle::new(Duration::from_secs(2)),
        }))
    }

    /// Sends a message to a peer, on the lanes of its kind. Never waits. The message is dropped when the node is none of the
    /// peers and does not call here either; of a queue that is full one is dropped, see [`queue::WhenFull`].
    pub fn send(&self, to: NodeId, mut envelope: Envelope) {
        let goes_twice = Lane::of(&envelope.message.body).len() > 1;
        envelope.number = goes_twice.then(|| self.0.numbers.fetch_add(1, Ordering::Relaxed)).and_then(NonZeroU64::new);
        if let Some(peer) = self.0.peers().reach(to, |node| self.0.connect(node)) {
            peer.push(envelope);
        }
    }

    /// Keeps connections to these nodes; this node itself is left out. What still waits for a peer that is given up
    /// is sent if that can be done soon. Peers whose connections to here are not admitted any more are told so at once:
    /// [`Host::admits`] must know the change before.
    pub fn set_peers(&self, mut peers: BTreeSet<NodeId>) {
        peers.insert(self.0.context.identity.node);
        self.0.context.book.set_members(peers.clone());
        peers.remove(&self.0.context.identity.node);
        self.0.question_clients.keep(&peers);
        self.0.peers().set_members(peers, |node| self.0.connect(node));
        self.0.stopping.send_modify(|_| ());
    }

    /// A message to a peer and its answer nearly always take no longer than this, as the node has measured; none: it has not. What
    /// is dialed from here on goes by it.
    pub fn set_measured(&self, answered_within: Option<Duration>) {
        self.0.context.measured.set(answered_within);
    }

    /// What was set last.
    pub fn measured(&self) -> Option<Duration> {
        self.0.context.measured.get()
    }

    /// The service of the peer port.
    pub fn service(&self, host: impl Host) -> PeerServer<PeerService> {
        PeerServer::new(PeerService::new(self.0.clone(), host)).max_decoding_message_size(FRAME_BYTES_MAX)
    }

    /// Asks a peer for a piece of a snapshot, on a connection that is used for nothing else.
    ///
    /// # Errors
    /// Its address is not known, it does not let this node in, or it did not answer within `patience`: the request may be
    /// made again.
    pub async fn fetch_snapshot(
        &self,
        peer: NodeId,
        request: &transfer::Request,
        patience: Duration,
    ) -> Result<transfer::Reply, Error> {
        fetch::fetch(&self.0, peer, request, patience).await
    }

    /// How many messages were dropped for the peers that there are, because they did not fit or had waited too long.
    pub fn dropped(&self) -> u64 {
        self.0.peers().dropped()
    }

    /// Ends all connections, after a short time for what waits. To be called before the server of
    /// the peer port is told to stop, which waits for the lanes of others to end. Callers are told that the node stops.
    pub async fn stop(&self) {
        self.0.stopping.send_replace(true);
        self.0.fetch_clients.close_all();
        let peers = self.0.peers().close();
        let tasks: Vec<_> = peers.into_values().flat_map(Peer::close).collect();
        // A task can wait for room in the inbox of a node that does not read it any more.
        let patience = 2 * self.0.context.options.flush_deadline;
        let _ = tokio::time::timeout(patience, futures_util::future::join_all(tasks)).await;
    }
}

impl Shared {
    /// Maps of handles, whole at any time: good also when somebody panicked with the lock.
    fn peers(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self, node: NodeId) -> Peer {
        Peer::connect(&self.runtime, &self.context, node)
    }
}

fn encode_cluster(cluster: ClusterId) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(&cluster.0.to_be_bytes())
}

/// None: not a cluster id.
fn decode_cluster(bytes: &[u8]) -> Option<ClusterId> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    Some(ClusterId(u128::from_be_bytes(bytes)))
}
