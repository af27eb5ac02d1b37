//! Which process of a peer is there, and when it is gone: its own end says so, a connection that breaks does not.

use super::*;

/// Passes connections on to a node, for as long as that is there.
struct Relay {
    address: String,
    target: Arc<Mutex<String>>,
    breaks: Arc<Notify>,
    passing: tokio::task::JoinHandle<()>,
}

impl Relay {
    /// The node tells others that it is here.
    fn to(node: &Node) -> Self {
        Self::slow(node, Duration::ZERO)
    }

    /// The first byte takes so long, there and back.
    fn slow(node: &Node, delay: Duration) -> Self {
        let port = bound();
        let (address, target, breaks) = (address_of(&port), Arc::new(Mutex::default()), Arc::new(Notify::new()));
        let listener = port.listen(100).expect("bound");
        let passing = tokio::spawn(pass_on(listener, target.clone(), breaks.clone(), delay));
        let relay = Self { address, target, breaks, passing };
        relay.leads_to(node);
        relay
    }

    /// Who comes from here on is led to this node.
    fn leads_to(&self, node: &Node) {
        let contact = contact(node.id(), &self.address);
        node.book.announce(&contact.name, &contact.client_address, &contact.peer_address).expect("valid");
        *self.target.lock().expect("no panic") = node.address.clone();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.passing.abort();
    }
}

async fn pass_on(listener: TcpListener, target: Arc<Mutex<String>>, breaks: Arc<Notify>, delay: Duration) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let mut from = tokio::select! {
            () = breaks.notified() => {
                connections.abort_all();
                continue;
            }
            accepted = listener.accept() => accepted.expect("accepts").0,
        };
        let target = target.lock().expect("no panic").clone();
        connections.spawn(async move {
            tokio::time::sleep(delay).await;
            if let Ok(mut to) = TcpStream::connect(target).await {
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            }
        });
    }
}

#[tokio::test]
async fn a_process_that_has_ended_is_gone_at_once() {
    // Any pause would be longer than this test takes.
    let hour = Duration::from_secs(3600);
    let options = Options { backoff_min: hour, backoff_max: hour, lasting: Duration::ZERO, ..options() };
    let mut a = Node::start_with(Identity { cluster: CLUSTER, node: A }, options, 100, Vec::new());
    let mut b = Node::start(B);
    a.knows(&[&b]);
    a.connected(B).await;
    b.kill();
    a.disconnected(B).await;
    assert_eq!(a.next().await, Inbound::Gone { peer: B });
}

#[tokio::test]
async fn a_dead_process_is_dialed_on_and_gone_once() {
    let mut a = Node::start(A);
    let (port, dials) = (bound(), Duration::from_millis(300));
    let address = address_of(&port);
    let mut b = Node::start_on(port, Identity { cluster: CLUSTER, node: B }, options(), 100, Vec::new());
    a.knows(&[&b]);
    for _ in 0..2 {
        a.connected(B).await;
        b.kill();
        a.gone(B).await;
        // Six and more dials are refused.
        let more = tokio::time::timeout(dials, a.inbox.recv()).await;
        assert!(more.is_err(), "{more:?}");
        let port = bound_to(&address);
        b = Node::start_on(port, Identity { cluster: CLUSTER, node: B }, options(), 100, b.book.all());
    }
}

/// It looks as if another process had taken its place, and much of what it has sent waits for room in the inbox.
#[tokio::test]
async fn nothing_of_a_process_comes_after_it_is_gone() {
    let mut a = Node::start_with(Identity { cluster: CLUSTER, node: A }, options(), 1, Vec::new());
    let mut b = Node::start(B);
    let relay = Relay::to(&b);
    a.knows(&[&b]);
    b.knows(&[&a]);
    a.connected(B).await;
    b.connected(A).await;
    for number in 1..=1000 {
        b.transport.send(A, Envelope::new(SHARD_0, vote(number)));
    }
    a.receives(B, vote(1)).await;
    let next = Node::start_with(Identity { cluster: CLUSTER, node: B }, options(), 100, b.book.all());
    relay.leads_to(&next);
    relay.breaks.notify_one();
    // Slowly, so that much still waits by then.
    while a.next().await != (Inbound::Gone { peer: B }) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    while let Ok(inbound) = tokio::time::timeout(Duration::from_millis(300), a.inbox.recv()).await {
        assert!(!matches!(inbound, Some(Inbound::Message { .. })), "{inbound:?}");
    }
}

#[tokio::test]
async fn a_process_is_gone_also_when_the_next_one_answers_in_its_place() {
    let (mut a, mut b) = (Node::start(A), Node::start(B));
    let relay = Relay::to(&b);
    a.knows(&[&b]);
    a.connected(B).await;
    let next = Node::start_with(Identity { cluster: CLUSTER, node: B }, options(), 100, b.book.all());
    relay.leads_to(&next);
    b.kill();
    a.gone(B).await;
    a.connected(B).await;
}

#[tokio::test]
async fn a_process_whose_connections_break_is_not_gone() {
    let (mut a, b) = (Node::start(A), Node::start(B));
    let relay = Relay::to(&b);
    a.knows(&[&b]);
    a.connected(B).await;
    relay.breaks.notify_one();
    a.disconnected(B).await;
    assert_eq!(a.next().await, Inbound::Connected { peer: B });
}

/// Whoever stands between the two takes connections at once, so that only what was measured tells that the way is long.
#[tokio::test]
async fn a_slow_peer_is_waited_for_as_long_as_the_node_has_measured() {
    let millis = Duration::from_millis;
    let welcome = Timeout { times: 4, min: millis(10), max: PATIENCE, unknown: PATIENCE };
    let identity = Identity { cluster: CLUSTER, node: A };
    let mut a = Node::start_with(identity, Options { welcome, ..options() }, 100, Vec::new());
    let b = Node::start(B);
    let _relay = Relay::slow(&b, millis(500));
    a.knows(&[&b]);
    let Inbound::Disconnected { peer: B, why } = a.next().await else { panic!("connected too soon") };
    assert!(why.contains("no welcome within"), "{why}");
    a.transport.set_measured(Some(PATIENCE));
    a.connected(B).await;
}
