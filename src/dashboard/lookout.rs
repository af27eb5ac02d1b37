//! Where this node looks at the cluster from: what was gathered last, who looks, and how many may.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, timeout};

use super::changes::CHANGES_MAX;
use super::events::Events;
use super::failure::Failure;
use super::gatherer::Gatherer;
use super::history::History;
use super::queues::{Queues, Told};
use super::reads::Reads;
use super::stream;
use super::view::{Cluster, Known, Settings};
use crate::api;
use crate::client::{self, Client};
use crate::ids::NodeId;
use crate::telemetry;

/// What was gathered longer ago is gathered anew for whoever asks once.
const FRESH: Duration = Duration::from_secs(1);

/// Whoever asks once waits so long for that: as long as a round takes, and a little more.
const ROUND_MAX: Duration = Duration::from_secs(1);

/// What a page asks for is done or given up after so long.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);

/// Parts of logs and of queues that are read, or wait to be taken, at a time: each has some MiB at most. One more is refused.
pub(super) const READS_MAX: usize = 16;

/// Searches in logs at a time, of all who look: each keeps a processor busy for some seconds. One more is refused.
const SEARCHES_MAX: usize = 2;

/// What looks at the cluster from this node.
pub(super) struct Lookout {
    pub(super) context: api::Context,
    /// Asks this node as any client does, and through it whichever leads.
    pub(super) client: Client,
    pub(super) events: Events,
    pub(super) history: History,
    pub(super) queues: Arc<Queues>,
    /// Changes that may still be begun.
    pub(super) changes: Semaphore,
    /// Streams that may still be opened.
    pub(super) streams: Arc<Semaphore>,
    /// Reads that may still be begun.
    pub(super) reads: Reads,
    /// Searches that may still be begun.
    searches: Semaphore,
    board: watch::Receiver<Board>,
    lookers: Arc<Lookers>,
}

/// What was gathered last.
#[derive(Clone)]
pub(super) struct Board {
    pub(super) known: Arc<Known>,
    /// The cluster, as a message of a stream.
    message: Bytes,
    at: Instant,
}

/// How many look.
#[derive(Default)]
pub(super) struct Lookers {
    count: AtomicUsize,
    came: Notify,
}

/// Somebody looks until this is dropped.
pub(super) struct Looking {
    lookers: Arc<Lookers>,
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.lookers.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lookers {
    /// Whether anybody looks.
    pub(super) fn are_there(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Waits for somebody who comes.
    pub(super) async fn came(&self) {
        self.came.notified().await;
    }
}

impl Board {
    /// What is known, and how it is shown.
    pub(super) fn new(known: Known, cluster: &Cluster) -> Self {
        Self { known: Arc::new(known), message: stream::message("cluster", cluster), at: Instant::now() }
    }

    /// The cluster, as JSON.
    pub(super) fn json(&self) -> Bytes {
        stream::data(&self.message)
    }

    /// The cluster, as a message of a stream.
    pub(super) fn message(&self) -> Bytes {
        self.message.clone()
    }

    /// The node with this name or id; empty: the one that looks.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn find(&self, node: &str) -> Result<NodeId, Failure> {
        if node.is_empty() {
            return Ok(self.known.asked);
        }
        let is_it = |(id, member): (&NodeId, &str)| member == node || node.parse() == Ok(*id);
        let mut nodes = self.known.nodes.iter().map(|(id, heard)| (id, heard.member.name.as_str()));
        nodes.find(|node| is_it(*node)).map(|(id, _)| *id).ok_or_else(|| Failure::no_such_node(node))
    }
}

impl Lookout {
    /// Looks from this node, and what has to run for that, until it is dropped.
    pub(super) fn new(
        context: api::Context,
        client_address: SocketAddr,
        settings: Settings,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let client = client(client_address);
        let (lookers, events, history) = (Arc::new(Lookers::default()), Events::default(), History::default());
        let (tell, told) = watch::channel(Told::default());
        let mut gatherer = Gatherer::new(context.clone(), settings, events.clone(), history.clone(), told);
        let (publish, board) = watch::channel(gatherer.board());
        let queues = Arc::new(Queues::new(context.clone(), board.clone(), tell));
        let running = {
            let (lookers, queues, context) = (lookers.clone(), queues.clone(), context.clone());
            async move {
                let asked = || context.book.name_of(context.handle.node());
                tokio::join!(gatherer.run(&lookers, &publish), queues.follow(asked, || lookers.are_there()));
            }
        };
        let (changes, searches) = (Semaphore::new(CHANGES_MAX), Semaphore::new(SEARCHES_MAX));
        let (streams, reads) = (Arc::new(Semaphore::new(stream::STREAMS_MAX)), Reads::new(READS_MAX));
        (Self { context, client, events, history, queues, changes, streams, reads, searches, board, lookers }, running)
    }

    /// Somebody looks from here on.
    pub(super) fn look(&self) -> Looking {
        self.lookers.count.fetch_add(1, Ordering::Relaxed);
        self.lookers.came.notify_one();
        Looking { lookers: self.lookers.clone() }
    }

    /// A place for one more search, until it is done.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub(super) fn begin_search(&self) -> Result<SemaphorePermit<'_>, Failure> {
        self.searches.try_acquire().map_err(|_| Failure::overloaded(&format!("{SEARCHES_MAX} others search")))
    }

    /// What is gathered, to wait for more of it.
    pub(super) fn board(&self) -> watch::Receiver<Board> {
        self.board.clone()
    }

    /// What was gathered a moment ago; waits for that if nobody has looked lately.
    pub(super) async fn fresh(&self) -> Board {
        let mut board = self.board();
        if board.borrow_and_update().at.elapsed() > FRESH {
            let _looking = self.look();
            // A round that takes longer is not waited for: what there is has its time with it.
            let _ = timeout(ROUND_MAX, board.changed()).await;
        }
        board.borrow_and_update().clone()
    }
}

/// A client that begins with this node, at the address that its client port is bound to.
fn client(bound: SocketAddr) -> Client {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let endpoint = SocketAddr::new(ip, bound.port()).to_string();
    let options = client::Options { timeout: Some(CALL_TIMEOUT), pipelined: false, ..client::Options::default() };
    Client::new(vec![endpoint], options).expect("a bound address is one")
}

/// Milliseconds since 1970, on the clock of this machine.
pub(super) fn now_ms() -> u64 {
    telemetry::wall().0
}
