//! Whole transports on loopback, each in a runtime of its own that a test can kill like a process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::stream;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tonic::{Code, Status, Streaming};

use super::*;
use crate::ids::{Contact, EntryId, SHARD_0, Term, Time};
use crate::proto::internal::{self, FromPeer, ToPeer, to_peer};
use crate::raft::{Entry, Payload};

const CLUSTER: ClusterId = ClusterId(0xc1);
const A: NodeId = NodeId(0xa);
const B: NodeId = NodeId(0xb);
const C: NodeId = NodeId(0xc);

/// Fails a test that would otherwise hang.
const PATIENCE: Duration = Duration::from_secs(20);

fn options() -> Options {
    Options {
        hello_deadline: Duration::from_millis(100),
        connect_timeout: Duration::from_secs(2),
        backoff_min: Duration::from_millis(5),
        backoff_max: Duration::from_millis(50),
        ..Options::default()
    }
}

/// Removes nodes when told to.
#[derive(Clone, Default)]
struct TestHost {
    node: u64,
    removed: Arc<Mutex<BTreeMap<NodeId, Index>>>,
}

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
}

/// One node: its transport, its peer port, its inbox.
struct Node {
    transport: Transport,
    book: AddressBook,
    host: TestHost,
    inbox: mpsc::Receiver<Inbound>,
    address: String,
    runtime: Option<Runtime>,
    stop_serving: Option<oneshot::Sender<()>>,
    served: oneshot::Receiver<()>,
}

impl Node {
    async fn start(node: NodeId) -> Node {
        Node::start_with(Identity { cluster: CLUSTER, node }, options(), 10_000, Vec::new()).await
    }

    /// With what the address book holds from before.
    async fn start_with(identity: Identity, options: Options, inbox: usize, contacts: Vec<Contact>) -> Node {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
        let bound = runtime.spawn(Listener::bind("127.0.0.1:0", Limits::for_peers())).await.expect("no panic");
        let listener = bound.expect("a free port");
        let address = listener.local_address().expect("bound").to_string();
        let book = AddressBook::new(identity.node, contacts, |_: &[Contact]| Ok(()));
        book.announce(&identity.node.to_string(), "127.0.0.1:1", &address).expect("valid");
        let (inbound, inbox) = mpsc::channel(inbox);
        let host = TestHost { node: identity.node.0, ..TestHost::default() };
        let guard = runtime.enter();
        let transport = Transport::new(identity, book.clone(), inbound, options);
        drop(guard);
        let (stop_serving, stop) = oneshot::channel::<()>();
        let (serving, served) = oneshot::channel();
        let router = listener.limits().server().add_service(transport.service(host.clone()));
        runtime.spawn(async move {
            let stop = async { drop(stop.await) };
            router.serve_with_incoming_shutdown(listener.incoming(), stop).await.expect("serves to the end");
            serving.send(()).expect("the server still listens");
        });
        let (runtime, stop_serving) = (Some(runtime), Some(stop_serving));
        Node { transport, book, host, inbox, address, runtime, stop_serving, served }
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

    async fn disconnected(&mut self, peer: NodeId) {
        self.until(|inbound| matches!(inbound, Inbound::Disconnected { peer: lost, .. } if *lost == peer)).await;
    }

    /// Reads the inbox up to this message.
    async fn receives(&mut self, from: NodeId, message: Message) {
        self.until(|inbound| *inbound == Inbound::Message { from, shard: SHARD_0, message: message.clone() }).await;
    }

    /// Everything of this node is gone at once, as by kill -9.
    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// A caller that says what it likes on a lane.
    async fn call(&self, frames: Vec<to_peer::Frame>) -> Result<Streaming<FromPeer>, Status> {
        let endpoint = peer::endpoint(&self.address, &options()).expect("an address");
        let channel = endpoint.connect().await.expect("listening");
        let frames = frames.into_iter().map(|frame| ToPeer { frame: Some(frame) });
        // Never ends: a caller that says no more is still there.
        let frames = futures_util::StreamExt::chain(stream::iter(frames), stream::pending());
        Ok(PeerClient::new(channel).open_lane(frames).await?.into_inner())
    }

    /// The reason with which this node refuses a caller.
    async fn refuses(&self, frames: Vec<to_peer::Frame>) -> Status {
        self.call(frames).await.expect_err("refused")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn heartbeat(sent_at: u64) -> Message {
    Message { term: Term(1), body: Body::Heartbeat { commit: Index(0), sent_at: Time(sent_at) } }
}

fn append(index: u64, bytes: usize) -> Message {
    let id = EntryId::new(Term(1), Index(index));
    let previous = if index == 1 { EntryId::default() } else { EntryId::new(Term(1), Index(index - 1)) };
    let entries = vec![Entry { id, payload: Payload::Command(vec![7; bytes].into()) }];
    Message { term: Term(1), body: Body::AppendEntries { previous, commit: Index(0), entries } }
}

fn hello(from: NodeId, to: NodeId) -> internal::Hello {
    internal::Hello {
        cluster_id: encode_cluster(CLUSTER),
        from: from.0,
        to: to.0,
        lane: internal::Lane::Control.into(),
        addresses: Vec::new(),
    }
}

#[tokio::test]
async fn messages_arrive_in_order_on_each_lane() {
    let (mut a, mut b) = (Node::start(A).await, Node::start(B).await);
    a.knows(&[&b]);
    b.knows(&[&a]);
    a.connected(B).await;
    b.connected(A).await;
    for number in 1..=500 {
        a.transport.send(B, SHARD_0, heartbeat(number));
        a.transport.send(B, SHARD_0, append(number, 10_000));
    }
    let (mut heartbeats, mut appends) = (Vec::new(), Vec::new());
    while heartbeats.len() + appends.len() < 1000 {
        match b.next().await {
            Inbound::Message { from: A, message, .. }
                if message.body == heartbeat(heartbeats.len() as u64 + 1).body =>
            {
                heartbeats.push(message);
            }
            Inbound::Message { from: A, message, .. } => appends.push(message),
            other => panic!("{other:?}"),
        }
    }
    let sent: Vec<_> = (1..=500).map(|number| append(number, 10_000)).collect();
    assert!(appends == sent, "appends came in another order or changed");
    assert_eq!(a.transport.dropped(), 0);
}

#[tokio::test]
async fn a_dead_peer_is_noticed_once_and_found_at_its_later_address() {
    let (mut a, mut b, mut c) = (Node::start(A).await, Node::start(B).await, Node::start(C).await);
    a.knows(&[&b, &c]);
    b.knows(&[&a, &c]);
    c.knows(&[&a, &b]);
    a.connected(B).await;
    c.connected(B).await;
    // From here on C hears of other addresses only from A.
    b.kill();
    a.disconnected(B).await;
    c.disconnected(B).await;

    let mut restarted = Node::start_with(Identity { cluster: CLUSTER, node: B }, options(), 100, b.book.all()).await;
    assert_ne!(restarted.address, b.address);
    restarted.transport.set_peers([A].into());
    assert_eq!(a.next().await, Inbound::Connected { peer: B }, "and nothing else in between");
    c.connected(B).await;
    for node in [&a, &c] {
        assert_eq!(node.book.get(B).map(|contact| contact.peer_address), Some(restarted.address.clone()));
    }
    c.transport.send(B, SHARD_0, append(1, 10));
    restarted.receives(C, append(1, 10)).await;
    restarted.connected(A).await;
    restarted.transport.send(A, SHARD_0, heartbeat(5));
    a.receives(B, heartbeat(5)).await;
}

#[tokio::test]
async fn a_caller_heard_from_is_dialed_again_soon() {
    let slow = Options { backoff_min: Duration::from_millis(5), backoff_max: Duration::from_secs(3600), ..options() };
    let mut a = Node::start_with(Identity { cluster: CLUSTER, node: A }, slow, 100, Vec::new()).await;
    // Bound, so that nobody else gets the port, and closed to callers for as long as it is not listening.
    let nobody = tokio::net::TcpSocket::new_v4().expect("a socket");
    nobody.set_reuseaddr(true).expect("before bind");
    nobody.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let address = nobody.local_addr().expect("bound").to_string();
    let contact =
        Contact { node: B, name: "b".into(), client_address: address.clone(), peer_address: address, version: 1 };
    a.book.merge([contact]).expect("saved");
    a.transport.set_peers([B].into());
    a.disconnected(B).await;

    let mut b = Node::start(B).await;
    b.knows(&[&a]);
    a.connected(B).await;
    b.connected(A).await;
}

#[tokio::test]
async fn who_does_not_belong_here_is_told_both_names() {
    let mut a = Node::start(A).await;
    let stranger = Identity { cluster: ClusterId(0xc2), node: B };
    let mut b = Node::start_with(stranger, options(), 100, Vec::new()).await;
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
    assert!(a.inbox.try_recv().is_err(), "nothing of this reaches the node");
    assert!(b.inbox.try_recv().is_err(), "the refusal is told once");
}

#[tokio::test]
async fn a_removed_node_is_told_so_while_connected_and_when_it_calls_again() {
    let (mut a, mut b) = (Node::start(A).await, Node::start(B).await);
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
    assert!(a.inbox.try_recv().is_err(), "to give a peer up is no news to the node that does it");
}

#[tokio::test]
async fn what_waits_for_a_peer_that_is_given_up_is_still_sent() {
    let (mut a, mut b) = (Node::start(A).await, Node::start(B).await);
    a.knows(&[&b]);
    a.connected(B).await;
    let removed = Message { term: Term(1), body: Body::Removed { index: Index(3) } };
    a.transport.send(B, SHARD_0, removed.clone());
    a.transport.set_peers([].into());
    b.receives(A, removed).await;
}

#[tokio::test]
async fn sending_never_waits_and_drops_for_a_peer_that_does_not_answer() {
    let a = Node::start(A).await;
    // Takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = silent.local_addr().expect("bound").to_string();
    let contact =
        Contact { node: B, name: "b".into(), client_address: address.clone(), peer_address: address, version: 1 };
    a.book.merge([contact]).expect("saved");
    a.transport.set_peers([B].into());
    let (_connection, _) = silent.accept().await.expect("dialed");
    let started = Instant::now();
    for number in 1..=10_000 {
        a.transport.send(B, SHARD_0, heartbeat(number));
        a.transport.send(B, SHARD_0, append(number, 100));
        a.transport.send(C, SHARD_0, append(number, 100));
    }
    assert!(started.elapsed() < Duration::from_secs(5), "20,000 messages took {:?}", started.elapsed());
    let limits = options();
    assert_eq!(a.transport.dropped(), 20_000 - limits.control.messages_max as u64 - limits.append.messages_max as u64);
    let status = a.transport.status_of(B, Duration::from_millis(50)).await;
    assert!(matches!(status, Err(Error::NoAnswer { peer: B, .. })), "{status:?}");
}

#[tokio::test]
async fn a_node_that_does_not_read_its_inbox_slows_its_peers_and_loses_nothing_that_was_taken() {
    let mut a = Node::start(A).await;
    let mut b = Node::start_with(Identity { cluster: CLUSTER, node: B }, options(), 1, Vec::new()).await;
    a.knows(&[&b]);
    a.connected(B).await;
    // 64 MB: more than the queue and all that can be under way.
    for index in 1..=640 {
        a.transport.send(B, SHARD_0, append(index, 100_000));
    }
    let kept = 640 - a.transport.dropped();
    assert!((200..640).contains(&kept), "{kept} kept");
    for index in 1..=kept {
        let Inbound::Message { message, .. } = b.next().await else { panic!("only messages come") };
        assert!(message == append(index, 100_000), "not entry {index}");
    }
}

#[tokio::test]
async fn bytes_that_make_no_sense_end_only_their_connection() {
    let (mut a, mut b) = (Node::start(A).await, Node::start(B).await);
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let mut open = Vec::new();
    for number in 0..50 {
        let mut connection = TcpStream::connect(&a.address).await.expect("listening");
        let mut bytes = vec![0; random.random_range(0..2000)];
        random.fill_bytes(&mut bytes);
        if number % 2 == 0 {
            bytes.splice(0..0, *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        }
        // The node may close the connection before all is written.
        let _ = connection.write_all(&bytes).await;
        open.push(connection);
    }
    let silent = TcpStream::connect(&a.address).await.expect("listening");

    let late = a.refuses(Vec::new()).await;
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
    let batch = to_peer::Frame::Batch(internal::Batch { messages: vec![internal::RaftMessage::default()] });
    let no_hello = a.refuses(vec![batch.clone()]).await;
    assert_eq!(no_hello.code(), Code::InvalidArgument, "{no_hello}");
    for nonsense in [batch, to_peer::Frame::Hello(hello(C, A))] {
        let mut lane = a.call(vec![to_peer::Frame::Hello(hello(C, A)), nonsense]).await.expect("let in");
        assert!(lane.message().await.expect("a welcome").is_some());
        let closed = lane.message().await.expect_err("closed");
        assert_eq!(closed.code(), Code::InvalidArgument, "{closed}");
    }

    a.knows(&[&b]);
    b.knows(&[&a]);
    a.connected(B).await;
    b.connected(A).await;
    b.transport.send(A, SHARD_0, heartbeat(1));
    a.receives(B, heartbeat(1)).await;
    drop((open, silent));
}

#[tokio::test]
async fn a_frame_over_the_limit_closes_its_lane() {
    let a = Node::start(A).await;
    let large = codec::encode(SHARD_0, &append(1, FRAME_BYTES_MAX));
    let batch = to_peer::Frame::Batch(internal::Batch { messages: vec![large] });
    let mut lane = a.call(vec![to_peer::Frame::Hello(hello(B, A)), batch]).await.expect("let in");
    assert!(lane.message().await.expect("a welcome").is_some());
    assert_eq!(lane.message().await.expect_err("closed").code(), Code::OutOfRange);
}

#[tokio::test]
async fn a_message_over_the_limit_is_left_out_and_those_after_it_arrive() {
    let (mut a, mut b) = (Node::start(A).await, Node::start(B).await);
    a.knows(&[&b]);
    a.connected(B).await;
    a.transport.send(B, SHARD_0, append(1, FRAME_BYTES_MAX));
    a.transport.send(B, SHARD_0, append(2, 5_000_000));
    assert_eq!(b.next().await, Inbound::Message { from: A, shard: SHARD_0, message: append(2, 5_000_000) });
}

#[tokio::test]
async fn a_peer_tells_its_condition_also_after_a_restart() {
    let (a, mut b) = (Node::start(A).await, Node::start(B).await);
    assert!(matches!(a.transport.status_of(B, PATIENCE).await, Err(Error::UnknownAddress(B))));
    a.book.merge(b.book.all()).expect("saved");
    assert_eq!(a.transport.status_of(B, PATIENCE).await.expect("answers").term, 7);
    b.kill();
    let restarted = Node::start_with(Identity { cluster: CLUSTER, node: B }, options(), 100, b.book.all()).await;
    a.book.merge(restarted.book.all()).expect("saved");
    assert_eq!(a.transport.status_of(B, PATIENCE).await.expect("answers").term, 7);

    let other = Node::start(C).await;
    let moved = Contact { peer_address: other.address.clone(), version: 9, ..a.book.get(B).expect("known") };
    a.book.merge([moved]).expect("saved");
    let error = a.transport.status_of(B, PATIENCE).await.expect_err("C is not B");
    assert!(error.to_string().contains(&C.to_string()), "{error}");
}

#[tokio::test]
async fn a_node_that_stops_ends_its_lanes_and_its_port() {
    let (mut a, mut b) = (Node::start(A).await, Node::start(B).await);
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
