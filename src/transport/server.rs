//! The receiving side: the service of the peer port.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{self, Stream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use super::handshake::{Refusal, Removed, printable};
use super::processes::Process;
use super::questions::{EVENTS_MAX, LOG_ENTRIES_MAX, LogPart};
use super::queue::FRAME_MESSAGES_MAX;
use super::rate::Rate;
use super::{Inbound, Shared, codec, decode_cluster, snapshot_codec};
use crate::ids::{Index, NodeId, ShardId};
use crate::proto::internal::peer_server;
use crate::proto::internal::{
    Batch, EventsReply, EventsRequest, FromPeer, Hello, Introduction, Lane, PeerStatusRequest, ReadLogReply,
    ReadLogRequest, SnapshotReply, SnapshotRequest, ToPeer, Welcome, from_peer, to_peer,
};
use crate::proto::v1;
use crate::storage::{self, transfer};

/// What the service asks the node.
#[tonic::async_trait]
pub trait Host: Send + Sync + 'static {
    /// Whether messages of a node are taken. Asked when a connection opens and after each `Transport::set_peers`. A node
    /// that is not known yet is to be admitted: it may know the configuration that brings it in before this node does.
    ///
    /// # Errors
    /// The node is known to have been removed.
    fn admits(&self, from: NodeId) -> Result<(), Removed>;

    /// The condition of this node.
    async fn status(&self) -> v1::NodeStatus;

    /// What happened on this node after the event `after` of `process`; of all that it knows when `process` is another one. At
    /// most `limit` of it.
    fn events(&self, process: u64, after: u64, limit: u32) -> EventsReply;

    /// At most `limit` entries of this node's log from `from` on; 0: the last ones.
    ///
    /// # Errors
    /// The log cannot be read.
    async fn log_part(&self, shard: ShardId, from: Index, limit: u32) -> Result<LogPart, storage::Error>;

    /// A piece of a snapshot, for a node that is admitted. May be asked several times at once, and the same again.
    ///
    /// # Errors
    /// The piece cannot be read, or is none of the snapshot.
    async fn fetch_snapshot(&self, from: NodeId, request: transfer::Request)
    -> Result<transfer::Reply, storage::Error>;
}

/// What answers to those who fetch snapshots may cost this node.
pub(super) struct Snapshots {
    /// Answers at a time, so that what they hold in memory is bounded. One more waits, and its peer with it.
    free: Semaphore,
    rate: Option<Rate>,
}

/// Answers at a time.
const ANSWERS_MAX: usize = 4;

impl Snapshots {
    pub(super) fn new(bytes_per_second: Option<NonZeroU32>) -> Self {
        Self { free: Semaphore::new(ANSWERS_MAX), rate: bytes_per_second.map(Rate::new) }
    }

    /// The most bytes of one answer: those of a second, so that none waits long for its turn.
    fn piece_bytes_max(&self) -> u32 {
        self.rate.as_ref().map_or(transfer::PIECE_BYTES_MAX, Rate::bytes_per_second)
    }

    /// Waits until so many bytes may be sent.
    async fn take(&self, bytes: usize) {
        if let Some(rate) = &self.rate {
            rate.pass(bytes).await;
        }
    }
}

/// What answers with parts of the log may cost this node.
pub(super) struct LogParts {
    /// Answers at a time, so that neither memory nor the readers of the log are taken up by them. One more waits.
    free: Semaphore,
}

impl Default for LogParts {
    fn default() -> Self {
        Self { free: Semaphore::new(ANSWERS_MAX) }
    }
}

/// The service of the peer port; made by `Transport::service`.
pub struct PeerService {
    shared: Arc<Shared>,
    host: Arc<dyn Host>,
}

impl PeerService {
    pub(super) fn new(shared: Arc<Shared>, host: impl Host) -> Self {
        Self { shared, host: Arc::new(host) }
    }

    /// The Hello of a caller that is let in.
    async fn hello(&self, frames: &mut Streaming<ToPeer>) -> Result<Hello, Refusal> {
        let patience = self.shared.context.options.hello_deadline;
        let first = timeout(patience, frames.message()).await.map_err(|_| Refusal::NoHello(patience))?;
        let first = first.map_err(|status| Refusal::Malformed(printable(status.message())))?;
        match first.and_then(|first| first.frame) {
            Some(to_peer::Frame::Hello(hello)) => self.check(&hello).map(|()| hello),
            _ => Err(Refusal::Malformed("the first frame is no hello".to_owned())),
        }
    }

    fn check(&self, hello: &Hello) -> Result<(), Refusal> {
        self.check_caller(&hello.cluster_id, NodeId(hello.from), NodeId(hello.to))?;
        if hello.lane() == Lane::Unspecified {
            return Err(Refusal::Malformed(format!("there is no lane {}", hello.lane)));
        }
        Ok(())
    }

    /// Whether a caller belongs here, and means this node.
    fn check_caller(&self, cluster: &[u8], caller: NodeId, wanted: NodeId) -> Result<(), Refusal> {
        let own = self.shared.context.identity;
        self.check_cluster(cluster)?;
        if wanted != own.node {
            return Err(Refusal::WrongNode { answering: own.node, wanted });
        }
        if caller == own.node || caller == NodeId(0) {
            return Err(Refusal::WrongCaller(caller));
        }
        self.host.admits(caller).map_err(|Removed { index }| Refusal::Removed { caller, index })
    }

    /// Whether a question comes from this cluster, and means this node.
    fn check_question(&self, cluster: &[u8], wanted: u64) -> Result<(), Refusal> {
        let (answering, wanted) = (self.shared.context.identity.node, NodeId(wanted));
        self.check_cluster(cluster)?;
        if wanted == answering { Ok(()) } else { Err(Refusal::WrongNode { answering, wanted }) }
    }

    fn check_cluster(&self, theirs: &[u8]) -> Result<(), Refusal> {
        let own = self.shared.context.identity;
        let decoded = decode_cluster(theirs);
        if decoded == Some(own.cluster) {
            return Ok(());
        }
        let theirs = decoded.map_or_else(|| format!("of {} bytes", theirs.len()), |cluster| cluster.to_string());
        Err(Refusal::WrongCluster { answering: own.node, ours: own.cluster, theirs })
    }

    /// A piece of a snapshot, when it may be sent.
    async fn answer(&self, from: NodeId, mut wanted: transfer::Request) -> Result<SnapshotReply, Status> {
        let snapshots = &self.shared.snapshots;
        let _permit = snapshots.free.acquire().await.expect("nobody closes the semaphore");
        wanted.bytes_max = wanted.bytes_max.min(snapshots.piece_bytes_max());
        let reply = self.host.fetch_snapshot(from, wanted).await.map_err(|error| self.unreadable(from, &error))?;
        if let transfer::Reply::Piece { bytes, .. } = &reply {
            snapshots.take(bytes.len()).await;
        }
        Ok(snapshot_codec::encode_reply(&reply))
    }

    /// A part of the log, when it may be read.
    async fn log_part(&self, asked: ReadLogRequest) -> Result<ReadLogReply, Status> {
        let _permit = self.shared.log_parts.free.acquire().await.expect("nobody closes the semaphore");
        let (shard, from) = (ShardId(asked.shard), Index(asked.from_index));
        let limit = limit(asked.limit, LOG_ENTRIES_MAX);
        match self.host.log_part(shard, from, limit).await {
            Ok(part) => Ok(codec::encode_log_part(&part)),
            Err(error) => {
                if let Some(more) = self.shared.complaints.pass() {
                    tracing::error!(%error, more, "a peer gets no part of the log");
                }
                Err(Status::data_loss("the log cannot be read there"))
            }
        }
    }

    fn unreadable(&self, peer: NodeId, error: &storage::Error) -> Status {
        if let Some(more) = self.shared.complaints.pass() {
            tracing::error!(%peer, %error, more, "a peer gets no piece of a snapshot");
        }
        match error {
            storage::Error::NotInLog { .. } | storage::Error::Malformed(_) => {
                Refusal::Malformed(error.to_string()).into()
            }
            storage::Error::Corrupt { .. } => Status::data_loss("what was asked for cannot be read"),
            _ => Status::internal("what was asked for cannot be read"),
        }
    }

    fn refuse(&self, remote: Option<SocketAddr>, refusal: Refusal) -> Status {
        if let Some(more) = self.shared.complaints.pass() {
            let remote = remote.map_or_else(|| "unknown".to_owned(), |remote| remote.to_string());
            tracing::warn!(%remote, more, "a peer connection is refused: {refusal}");
        }
        refusal.into()
    }
}

#[tonic::async_trait]
impl peer_server::Peer for PeerService {
    type OpenLaneStream = Pin<Box<dyn Stream<Item = Result<FromPeer, Status>> + Send>>;

    async fn open_lane(&self, request: Request<Streaming<ToPeer>>) -> Result<Response<Self::OpenLaneStream>, Status> {
        let remote = request.remote_addr();
        let mut frames = request.into_inner();
        // Before the check, so that a change of who is admitted is not missed.
        let stopping = self.shared.stopping.subscribe();
        let hello = tokio::select! {
            // First: a lane let in after the node has stopped would hear of no further change, and never end.
            biased;
            () = stopped(stopping.clone()) => return Err(stops()),
            hello = self.hello(&mut frames) => hello.map_err(|refusal| self.refuse(remote, refusal))?,
        };
        let from = NodeId(hello.from);
        let lane = hello.lane();
        tracing::debug!(peer = %from, ?lane, "a peer opened a lane");
        let (shared, host) = (self.shared.clone(), self.host.clone());
        shared.peers().calls(from);
        let process = shared.context.processes.opens(from, hello.process);
        let incoming = Incoming { shared, host, from, process, lane, frames, stopping, stage: Stage::Welcome };
        incoming.learn(hello.addresses).await;
        let answers = stream::unfold(incoming, |mut incoming| async move { Some((incoming.next().await?, incoming)) });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn fetch_snapshot(&self, request: Request<SnapshotRequest>) -> Result<Response<SnapshotReply>, Status> {
        let remote = request.remote_addr();
        let asked = request.into_inner();
        let from = NodeId(asked.from);
        let checked = self.check_caller(&asked.cluster_id, from, NodeId(asked.to));
        checked.map_err(|refusal| self.refuse(remote, refusal))?;
        let wanted = snapshot_codec::decode_request(asked);
        let wanted = wanted.map_err(|why| self.refuse(remote, Refusal::Malformed(why.to_string())))?;
        tokio::select! {
            biased;
            () = stopped(self.shared.stopping.subscribe()) => Err(stops()),
            reply = self.answer(from, wanted) => reply.map(Response::new),
        }
    }

    async fn status(&self, request: Request<PeerStatusRequest>) -> Result<Response<v1::NodeStatus>, Status> {
        let remote = request.remote_addr();
        let asked = request.into_inner();
        self.check_cluster(&asked.cluster_id).map_err(|refusal| self.refuse(remote, refusal))?;
        Ok(Response::new(self.host.status().await))
    }

    async fn events(&self, request: Request<EventsRequest>) -> Result<Response<EventsReply>, Status> {
        let remote = request.remote_addr();
        let asked = request.into_inner();
        let checked = self.check_question(&asked.cluster_id, asked.to);
        checked.map_err(|refusal| self.refuse(remote, refusal))?;
        let limit = limit(asked.limit, EVENTS_MAX);
        Ok(Response::new(self.host.events(asked.process, asked.after, limit)))
    }

    async fn read_log(&self, request: Request<ReadLogRequest>) -> Result<Response<ReadLogReply>, Status> {
        let remote = request.remote_addr();
        let asked = request.into_inner();
        let checked = self.check_question(&asked.cluster_id, asked.to);
        checked.map_err(|refusal| self.refuse(remote, refusal))?;
        tokio::select! {
            biased;
            () = stopped(self.shared.stopping.subscribe()) => Err(stops()),
            part = self.log_part(asked) => part.map(Response::new),
        }
    }
}

/// A lane that a peer opened. It lives in the answer to the peer's call, so that it ends with the connection: there is no
/// task that could be left over.
struct Incoming {
    shared: Arc<Shared>,
    host: Arc<dyn Host>,
    from: NodeId,
    process: Process,
    lane: Lane,
    frames: Streaming<ToPeer>,
    stopping: watch::Receiver<bool>,
    stage: Stage,
}

#[derive(PartialEq)]
enum Stage {
    Welcome,
    Messages,
    Ended,
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.shared.peers().hangs_up(self.from);
    }
}

impl Incoming {
    /// The next answer: a Welcome, and nothing more until the lane ends. None: it has ended.
    async fn next(&mut self) -> Option<Result<FromPeer, Status>> {
        match self.stage {
            Stage::Welcome => {
                self.stage = Stage::Messages;
                let addresses = codec::encode_contacts(&self.shared.context.book.all());
                let welcome = Welcome { addresses, process: self.shared.context.process };
                Some(Ok(FromPeer { frame: Some(from_peer::Frame::Welcome(welcome)) }))
            }
            Stage::Messages => {
                let ended = self.receive().await;
                self.stage = Stage::Ended;
                tracing::debug!(peer = %self.from, lane = ?self.lane, ?ended, "the lane of a peer ended");
                ended.err().map(Err)
            }
            Stage::Ended => None,
        }
    }

    /// Hands on what the peer sends, until it has no more to say.
    ///
    /// # Errors
    /// What the peer is told: it is malformed, not admitted any more, or this node stops.
    async fn receive(&mut self) -> Result<(), Status> {
        loop {
            let frame = tokio::select! {
                biased;
                () = self.process.ended() => return Err(ended()),
                () = changed(&mut self.stopping) => {
                    self.check_admitted()?;
                    continue;
                }
                frame = self.frames.message() => frame?,
            };
            match frame.map(|frame| frame.frame) {
                None => return Ok(()),
                Some(Some(to_peer::Frame::Batch(batch))) => self.forward(batch).await?,
                Some(Some(to_peer::Frame::Addresses(told))) => self.learn(told.addresses).await,
                Some(_) => return Err(self.malformed("a frame that is neither a batch nor addresses".to_owned())),
            }
        }
    }

    fn check_admitted(&self) -> Result<(), Status> {
        if *self.stopping.borrow() {
            return Err(stops());
        }
        let caller = self.from;
        self.host.admits(caller).map_err(|Removed { index }| Refusal::Removed { caller, index }.into())
    }

    /// Waits for room in the inbox. Meanwhile nothing is read, and the peer, after what is under way, stops sending.
    async fn forward(&mut self, batch: Batch) -> Result<(), Status> {
        if batch.messages.len() > FRAME_MESSAGES_MAX {
            return Err(self.malformed(format!("{} messages in one frame", batch.messages.len())));
        }
        for message in batch.messages {
            let mut envelope = codec::decode(message).map_err(|why| self.malformed(why.to_string()))?;
            let number = envelope.number.take();
            let inbound = Inbound::Message { from: self.from, envelope };
            let room = tokio::select! {
                biased;
                () = self.process.ended() => return Err(ended()),
                () = stopped(self.stopping.clone()) => return Err(stops()),
                room = self.shared.context.delivery.room_for(&inbound) => room.map_err(|_| stops())?,
            };
            // Not before there is room: a connection that breaks meanwhile takes the message with it, and the copy must count.
            if number.is_none_or(|number| self.process.is_first(number)) {
                room.send(inbound);
            }
        }
        Ok(())
    }

    async fn learn(&self, addresses: Vec<Introduction>) {
        let merged = self.shared.context.book.merge_in_background(codec::decode_contacts(addresses)).await;
        if let Err(error) = merged {
            tracing::error!(%error, peer = %self.from, "the addresses that a peer told are not kept");
        }
    }

    fn malformed(&self, why: String) -> Status {
        if let Some(more) = self.shared.complaints.pass() {
            tracing::warn!(peer = %self.from, lane = ?self.lane, more, "a lane is closed, what came is malformed: {why}");
        }
        Refusal::Malformed(why).into()
    }
}

/// How many are wanted, of at most so many; 0: as many as there may be.
fn limit(asked: u32, most: u32) -> u32 {
    if asked == 0 { most } else { asked.min(most) }
}

/// Ends at the next change. The sender lives as long as the service.
async fn changed(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.changed().await;
}

/// Ends when the node stops, or has.
async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// To whoever looks as if it had ended, and has not.
fn ended() -> Status {
    Status::unavailable("this process looks as if it had ended: nobody listened at its address")
}

fn stops() -> Status {
    Status::unavailable("the node stops")
}
