//! Whole transports on loopback, each in a runtime of its own that a test can kill like a process.

mod fetch;
mod misbehaviour;
mod processes;
mod questions;
mod votes;

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::stream;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use socket2::{SockRef, Socket};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, oneshot};
use tonic::{Code, Status, Streaming};

use super::*;
use crate::ids::{Contact, EntryId, SHARD_0, Term, Time};
use crate::proto::internal::peer_client::PeerClient;
use crate::proto::internal::{self, FromPeer, ToPeer, to_peer};
use crate::proto::v1;
use crate::raft::{AppendReply, Entry, Payload, ReadContext};
use crate::storage;

const CLUSTER: ClusterId = ClusterId(0xc1);
const A: NodeId = NodeId(0xa);
const B: NodeId = NodeId(0xb);
const C: NodeId = NodeId(0xc);

/// Fails a test that would otherwise hang.
const PATIENCE: Duration = Duration::from_secs(20);

fn options() -> Options {
    Options {
        hello_deadline: Duration::from_millis(100),
        backoff_min: Duration::from_millis(5),
        backoff_max: Duration::from_millis(50),
        ..Options::default()
    }
}

/// Removes nodes when told to, and has a snapshot in which every byte is that of its place.
#[derive(Clone, Default)]
struct TestHost {
    node: u64,
    removed: Arc<Mutex<BTreeMap<NodeId, Index>>>,
    /// What was asked for.
    asked: Arc<Mutex<Vec<(NodeId, transfer::Request)>>>,
}

/// Of the snapshot that a `TestHost` has. An offset behind it is never answered.
const SNAPSHOT_BYTES: u64 = 5 << 20;

#[tonic::async_trait]
impl Host for TestHost {
    fn admits(&self, from: NodeId) -> Result<(), Removed> {
        match self.removed.lock().expect("no panic").get(&from) {
            Some(index) => Err(Removed { index: *index }),
            None => Ok(()),
        }
    }

    async fn status(&self) -> v1::NodeStatus {
        let member = v1::Member { node_id: NodeId(self.node).to_string(), ..Default::default() };
        v1::NodeStatus { member: Some(member), term: 7, ..Default::default() }
    }

    fn events(&self, process: u64, after: u64, limit: u32) -> internal::EventsReply {
        let event = internal::NodeEvent { number: after + 1, index: limit.into(), ..Default::default() };
        internal::EventsReply { process, events: vec![event] }
    }

    async fn log_part(&self, shard: ShardId, from: Index, limit: u32) -> Result<LogPart, storage::Error> {
        if from == Index(13) {
            return Err(storage::Error::NotInLog { shard, index: from });
        }
        let entry = |index| Entry { id: EntryId::new(Term(1), Index(index)), payload: Payload::Noop };
        let entries = (from.0..from.0 + u64::from(limit)).map(entry).collect();
        Ok(LogPart { first: from, entries, ..LogPart::default() })
    }

    async fn fetch_snapshot(
        &self,
        from: NodeId,
        request: transfer::Request,
    ) -> Result<transfer::Reply, storage::Error> {
        self.asked.lock().expect("no panic").push((from, request.clone()));
        match request.piece {
            transfer::Piece::File { offset } if offset < SNAPSHOT_BYTES => {
                let end = SNAPSHOT_BYTES.min(offset + u64::from(request.bytes_max));
                let bytes: Vec<u8> = (offset..end).map(|at| at as u8).collect();
                Ok(transfer::Reply::Piece { crc: crc32c::crc32c(&bytes), bytes: bytes.into(), size: SNAPSHOT_BYTES })
            }
            transfer::Piece::File { .. } => std::future::pending().await,
            transfer::Piece::Bodies { indexes, .. } => {
                Err(storage::Error::NotInLog { shard: request.shard, index: indexes[0] })
            }
        }
    }
}

/// One node: its transport, its peer port, its inbox.
struct Node {
    transport: Transport,
    book: AddressBook,
    host: TestHost,
    inbox: Inbox,
    address: String,
    /// Where it listens, as another handle.
    port: Socket,
    runtime: Option<Runtime>,
    stop_serving: Option<oneshot::Sender<()>>,
    served: oneshot::Receiver<()>,
}

impl Node {
    fn start(node: NodeId) -> Node {
        Node::start_with(Identity { cluster: CLUSTER, node }, options(), 10_000, Vec::new())
    }

    /// With what the address book holds from before.
    fn start_with(identity: Identity, options: Options, inbox: usize, contacts: Vec<Contact>) -> Node {
        Node::start_on(bound(), identity, options, inbox, contacts)
    }

    fn start_on(port: TcpSocket, identity: Identity, options: Options, inbox: usize, contacts: Vec<Contact>) -> Node {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
        let guard = runtime.enter();
        let address = address_of(&port);
        let listener = port.listen(100).expect("bound");
        let port = SockRef::from(&listener).try_clone().expect("a handle");
        let listener = Listener::new(listener, Limits::for_peers());
        let book = AddressBook::new(identity.node, contacts, |_: &[Contact]| Ok(()));
        let contact = contact(identity.node, &address);
        book.announce(&contact.name, &contact.client_address, &contact.peer_address).expect("valid");
        let (delivery, inbox) = Inbox::new(inbox, inbox);
        let host = TestHost { node: identity.node.0, ..TestHost::default() };
        let transport = Transport::new(identity, book.clone(), delivery, options);
        let (stop_serving, stop) = oneshot::channel::<()>();
        let (serving, served) = oneshot::channel();
        let router = listener.limits().server().add_service(transport.service(host.clone()));
        runtime.spawn(async move {
            let stop = async { drop(stop.await) };
            router.serve_with_incoming_shutdown(listener.incoming(), stop).await.expect("serves to the end");
            let _ = serving.send(());
        });
        drop(guard);
        let (runtime, stop_serving) = (Some(runtime), Some(stop_serving));
        Node { transport, book, host, inbox, address, port, runtime, stop_serving, served }
    }

    fn id(&self) -> NodeId {
        self.transport.0.context.identity.node
    }

    /// Learns the addresses of other nodes and connects to them.
    fn knows(&self, others: &[&Node]) {
        let contacts = others.iter().map(|other| other.book.get(other.id()).expect("announced"));
        self.book.merge(contacts).expect("saved");
        self.transport.set_peers(others.iter().map(|other| other.id()).collect());
    }

    /// The next thing in the inbox.
    async fn next(&mut self) -> Inbound {
        tokio::time::timeout(PATIENCE, self.inbox.recv()).await.expect("something comes").expect("the transport lives")
    }

    fn has_read_all(&mut self) -> bool {
        self.inbox.control.try_recv().is_err() && self.inbox.bulk.try_recv().is_err()
    }

    /// Reads the inbox up to something.
    async fn until(&mut self, wanted: impl Fn(&Inbound) -> bool) -> Inbound {
        loop {
            let inbound = self.next().await;
            if wanted(&inbound) {
                return inbound;
            }
        }
    }

    async fn connected(&mut self, peer: NodeId) {
        self.until(|inbound| *inbound == Inbound::Connected { peer }).await;
    }

    /// Both, in whatever order.
    async fn connected_to_both(&mut self, mut peers: BTreeSet<NodeId>) {
        while !peers.is_empty() {
            let inbound = self.until(|inbound| matches!(inbound, Inbound::Connected { .. })).await;
            let Inbound::Connected { peer } = inbound else { continue };
            peers.remove(&peer);
        }
    }

    async fn gone(&mut self, peer: NodeId) {
        self.until(|inbound| *inbound == Inbound::Gone { peer }).await;
    }

    async fn disconnected(&mut self, peer: NodeId) {
        self.until(|inbound| matches!(inbound, Inbound::Disconnected { peer: lost, .. } if *lost == peer)).await;
    }

    /// Reads the inbox up to this message.
    async fn receives(&mut self, from: NodeId, message: Message) {
        self.until(|inbound| *inbound == Inbound::Message { from, envelope: Envelope::new(SHARD_0, message.clone()) })
            .await;
    }

    /// Everything of this node is gone at once, as by kill -9. Its port goes first, as the system does it with what a process opened
    /// first: a peer that dials when its connection breaks is refused.
    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            self.port.shutdown(Shutdown::Both).expect("it listens");
            runtime.shutdown_background();
        }
    }

    /// Fetches a piece of the file of a snapshot.
    async fn fetch(&self, from: NodeId, offset: u64, bytes_max: u32) -> Result<transfer::Reply, Error> {
        self.transport.fetch_snapshot(from, &file_piece(offset, bytes_max), PATIENCE).await
    }

    /// What a `SnapshotRequest` gets that this node's peers would not send.
    async fn fetched(&self, request: internal::SnapshotRequest) -> Result<internal::SnapshotReply, Status> {
        let endpoint = dial::lazy(&self.address, &Measured::default(), &options()).expect("an address");
        let channel = endpoint.connect().await.expect("listening");
        Ok(PeerClient::new(channel).fetch_snapshot(request).await?.into_inner())
    }

    /// A caller that says what it likes on a lane.
    async fn call(&self, frames: Vec<to_peer::Frame>) -> Result<Streaming<FromPeer>, Status> {
        let endpoint = dial::lazy(&self.address, &Measured::default(), &options()).expect("an address");
        let channel = endpoint.connect().await.expect("listening");
        let frames = frames.into_iter().map(|frame| ToPeer { frame: Some(frame) });
        // Never ends: a caller that says no more is still there.
        let frames = futures_util::StreamExt::chain(stream::iter(frames), stream::pending());
        Ok(PeerClient::new(channel).open_lane(frames).await?.into_inner())
    }

    /// The reason with which this node refuses a caller.
    async fn refuses(&self, frames: Vec<to_peer::Frame>) -> Status {
        tokio::time::timeout(PATIENCE, self.call(frames)).await.expect("it answers").expect_err("refused")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port of the system's choice on which nobody listens yet.
fn bound() -> TcpSocket {
    bound_to("127.0.0.1:0")
}

/// A port, also one on which a node has listened before.
fn bound_to(address: &str) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    // The connections of the one before are not all forgotten. All who have the port must allow it.
    socket.set_reuseaddr(true).expect("an option");
    let started = Instant::now();
    while let Err(error) = socket.bind(address.parse().expect("an address")) {
        assert!(started.elapsed() < PATIENCE, "{address} stays in use: {error}");
        std::thread::sleep(Duration::from_millis(5));
    }
    socket
}

fn address_of(socket: &TcpSocket) -> String {
    socket.local_addr().expect("bound").to_string()
}

/// The peer B of a node: takes connections and says nothing.
async fn silent_peer(of: &Node) -> TcpListener {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    of.book.merge([contact(B, &silent.local_addr().expect("bound").to_string())]).expect("saved");
    of.transport.set_peers([B].into());
    silent
}

fn contact(node: NodeId, address: &str) -> Contact {
    let (client_address, peer_address) = ("127.0.0.1:1".to_owned(), address.to_owned());
    Contact { node, name: node.to_string(), client_address, peer_address, version: 1 }
}

/// The error with which a lane that was let in is closed.
async fn closes(mut lane: Streaming<FromPeer>) -> Status {
    assert!(lane.message().await.expect("a welcome").is_some());
    tokio::time::timeout(PATIENCE, lane.message()).await.expect("it is closed").expect_err("with an error")
}

fn heartbeat(sent_at: u64) -> Message {
    Message {
        term: Term(1),
        body: Body::Heartbeat { commit: Index(0), sent_at: Time(sent_at), read_round: 0, fresh: None, timing: None },
    }
}

fn vote(term: u64) -> Message {
    Message { term: Term(term), body: Body::RequestVote { last: EntryId::default(), transfer: false } }
}

/// Goes over the control lane alone.
fn read(number: u64) -> Message {
    Message { term: Term(1), body: Body::ReadIndex { context: ReadContext(number) } }
}

fn accepted(index: u64) -> Message {
    let accepted = AppendReply::Accepted(EntryId::new(Term(1), Index(index)));
    Message { term: Term(1), body: Body::AppendReply(accepted) }
}

fn append(index: u64, bytes: usize) -> Message {
    let id = EntryId::new(Term(1), Index(index));
    let previous = if index == 1 { EntryId::default() } else { EntryId::new(Term(1), Index(index - 1)) };
    let entries = vec![Entry { id, payload: Payload::Command(vec![7; bytes].into()) }];
    Message { term: Term(1), body: Body::AppendEntries { previous, commit: Index(0), entries, attempt: 0 } }
}

fn file_piece(offset: u64, bytes_max: u32) -> transfer::Request {
    let last = EntryId::new(Term(1), Index(9));
    transfer::Request { shard: SHARD_0, last, bytes_max, piece: transfer::Piece::File { offset } }
}

fn hello(from: NodeId, to: NodeId) -> internal::Hello {
    internal::Hello {
        cluster_id: encode_cluster(CLUSTER),
        from: from.0,
        to: to.0,
        lane: internal::Lane::Control.into(),
        addresses: Vec::new(),
        process: from.0,
    }
}

#[tokio::test]
async fn messages_arrive_in_order_on_each_lane() {
    let (mut a, mut b) = (Node::start(A), Node::start(B));
    a.knows(&[&b]);
    b.knows(&[&a]);
    a.connected(B).await;
    b.connected(A).await;
    for number in 1..=500 {
        a.transport.send(B, Envelope::new(SHARD_0, read(number)));
        a.transport.send(B, Envelope::new(SHARD_0, append(number, 10_000)));
    }
    let (mut reads, mut appends) = (Vec::new(), Vec::new());
    while reads.len() + appends.len() < 1000 {
        match b.next().await {
            Inbound::Message { from: A, envelope } if Lane::of(&envelope.message.body) == [Lane::Append] => {
                appends.push(envelope.message);
            }
            Inbound::Message { from: A, envelope } => reads.push(envelope.message),
            other => panic!("{other:?}"),
        }
    }
    let sent: Vec<_> = (1..=500).map(|number| append(number, 10_000)).collect();
    assert!(appends == sent, "appends came in another order or changed");
    assert_eq!(reads, (1..=500).map(read).collect::<Vec<_>>());
    assert_eq!(a.transport.dropped(), 0);
}

#[tokio::test]
async fn a_dead_peer_is_noticed_once_and_found_at_its_later_address() {
    let (mut a, mut b, mut c) = (Node::start(A), Node::start(B), Node::start(C));
    a.knows(&[&b, &c]);
    b.knows(&[&a, &c]);
    c.knows(&[&a, &b]);
    a.connected_to_both([B, C].into()).await;
    c.connected_to_both([A, B].into()).await;
    // From here on C hears of other addresses only from A.
    b.kill();
    a.disconnected(B).await;
    c.disconnected(B).await;
    a.gone(B).await;

    let mut restarted = Node::start_with(Identity { cluster: CLUSTER, node: B }, options(), 100, b.book.all());
    assert_ne!(restarted.address, b.address);
    restarted.transport.set_peers([A].into());
    assert_eq!(a.next().await, Inbound::Connected { peer: B }, "and nothing else in between");
    c.connected(B).await;
    for node in [&a, &c] {
        assert_eq!(node.book.get(B).map(|contact| contact.peer_address), Some(restarted.address.clone()));
    }
    restarted.connected(A).await;
    c.transport.send(B, Envelope::new(SHARD_0, append(1, 10)));
    restarted.receives(C, append(1, 10)).await;
    restarted.transport.send(A, Envelope::new(SHARD_0, heartbeat(5)));
    a.receives(B, heartbeat(5)).await;
}

#[tokio::test]
async fn a_connected_peer_that_moves_is_dialed_at_once() {
    let (mut a, b) = (Node::start(A), Node::start(B));
    a.knows(&[&b]);
    a.connected(B).await;
    let mut moved = Node::start_with(Identity { cluster: CLUSTER, node: B }, options(), 100, b.book.all());
    a.book.merge(moved.book.all()).expect("saved");
    a.disconnected(B).await;
    a.connected(B).await;
    // Each lane notices the move by itself: what goes over the one that has not is lost, and said again.
    let say_again = async {
        loop {
            a.transport.send(B, Envelope::new(SHARD_0, heartbeat(1)));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = say_again => {}
        () = moved.receives(A, heartbeat(1)) => {}
    }
}

#[tokio::test]
async fn what_waited_for_a_dial_that_failed_is_not_sent_later() {
    let mut a = Node::start(A);
    a.transport.set_peers([B].into());
    a.transport.send(B, Envelope::new(SHARD_0, heartbeat(1)));
    let port = bound();
    let contact = contact(B, &address_of(&port));
    a.book.merge([contact.clone()]).expect("saved");
    let dropped = async {
        while a.transport.dropped() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, dropped).await.expect("nobody listens, so that the dial fails");

    let mut b = Node::start_on(port, Identity { cluster: CLUSTER, node: B }, options(), 100, vec![contact]);
    a.connected(B).await;
    a.transport.send(B, Envelope::new(SHARD_0, heartbeat(2)));
    assert_eq!(b.next().await, Inbound::Message { from: A, envelope: Envelope::new(SHARD_0, heartbeat(2)) });
}

#[tokio::test]
async fn who_does_not_belong_here_is_told_both_names() {
    let mut a = Node::start(A);
    let stranger = Identity { cluster: ClusterId(0xc2), node: B };
    let mut b = Node::start_with(stranger, options(), 100, Vec::new());
    b.knows(&[&a]);
    let Inbound::Refused { peer: A, why } = b.next().await else { panic!("not refused") };
    assert!(why.contains(&CLUSTER.to_string()) && why.contains(&stranger.cluster.to_string()), "{why}");

    let spoofed = a.refuses(vec![to_peer::Frame::Hello(hello(B, C))]).await;
    assert_eq!(spoofed.code(), Code::FailedPrecondition);
    assert!(spoofed.message().contains(&A.to_string()) && spoofed.message().contains(&C.to_string()), "{spoofed}");
    for impossible in [hello(A, A), hello(NodeId(0), A), internal::Hello { lane: 9, ..hello(B, A) }] {
        let refused = a.refuses(vec![to_peer::Frame::Hello(impossible)]).await;
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    assert!(a.has_read_all(), "nothing of this reaches the node");
    assert!(b.has_read_all(), "the refusal is told once");
}

#[tokio::test]
async fn a_removed_node_is_told_so_while_connected_and_when_it_calls_again() {
    let (mut a, mut b) = (Node::start(A), Node::start(B));
    a.knows(&[&b]);
    b.knows(&[&a]);
    a.connected(B).await;
    b.connected(A).await;
    a.host.removed.lock().expect("no panic").insert(B, Index(12));
    a.transport.set_peers([].into());
    b.disconnected(A).await;
    assert_eq!(b.next().await, Inbound::RemovedBy { peer: A, index: Index(12) });
    let again = a.refuses(vec![to_peer::Frame::Hello(hello(B, A))]).await;
    assert_eq!(handshake::refusal_in(&again), Some(handshake::Told::Removed(Index(12))));
    assert!(a.has_read_all(), "to give a peer up is no news to the node that does it");
}

#[tokio::test]
async fn what_waits_for_a_peer_that_is_given_up_is_still_sent() {
    let (mut a, mut b) = (Node::start(A), Node::start(B));
    a.knows(&[&b]);
    a.connected(B).await;
    let removed = Message { term: Term(1), body: Body::Removed { index: Index(3) } };
    a.transport.send(B, Envelope::new(SHARD_0, removed.clone()));
    a.transport.set_peers([].into());
    b.receives(A, removed).await;
}

#[tokio::test]
async fn a_caller_that_this_node_has_not_heard_of_is_answered() {
    let (mut a, mut b) = (Node::start(A), Node::start(B));
    a.knows(&[&b]);
    a.connected(B).await;
    a.transport.send(B, Envelope::new(SHARD_0, heartbeat(1)));
    b.receives(A, heartbeat(1)).await;
    b.transport.send(A, Envelope::new(SHARD_0, heartbeat(2)));
    a.receives(B, heartbeat(2)).await;
    b.transport.send(C, Envelope::new(SHARD_0, heartbeat(3)));

    // When A hangs up B's connection goes too, without a word: B did not want it.
    a.transport.set_peers([].into());
    let gone = async {
        while b.transport.0.peers().reach(A, |_| unreachable!("A is connected or does not call")).is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("B lets go");
}

#[tokio::test]
async fn a_node_that_stops_ends_its_lanes_and_its_port() {
    let (mut a, mut b) = (Node::start(A), Node::start(B));
    a.knows(&[&b]);
    b.knows(&[&a]);
    a.connected(B).await;
    b.connected(A).await;
    let mut idle = TcpStream::connect(&a.address).await.expect("listening");
    let started = Instant::now();
    a.transport.stop().await;
    drop(a.stop_serving.take());
    tokio::time::timeout(PATIENCE, &mut a.served).await.expect("ends").expect("serves to the end");
    assert!(started.elapsed() < Duration::from_secs(3), "it took {:?}", started.elapsed());
    b.disconnected(A).await;
    assert!(matches!(idle.read(&mut [0; 100]).await, Ok(_) | Err(_)), "closed");
}
