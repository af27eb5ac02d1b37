//! Asks all nodes how they are, again and again, and keeps what each said last.
//!
//! Somebody looks: twice a second. Nobody does: every five seconds, so that whoever comes sees at once where things stand and
//! how they have been. All members are asked side by side, each has its own time, and one that does not answer delays no other and
//! stays on the page, as it was. Neither a leader nor a quorum is needed for that.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::alarms::alarms;
use super::changes::CHANGES_MAX;
use super::past::Past;
use super::stream;
use super::view::{Cluster, Heard, Known, Settings};
use crate::api;
use crate::client::{self, Client};
use crate::cluster::members;
use crate::ids::{NodeId, SHARD_0};
use crate::proto::v1;
use crate::raft::Configuration;
use crate::telemetry::Telemetry;

/// How often all are asked while somebody looks: a change shows within half a second.
const INTERVAL: Duration = Duration::from_millis(500);

/// How often while nobody does.
const INTERVAL_IDLE: Duration = Duration::from_secs(5);

/// A node that has not answered after this long counts as unreachable. Below `INTERVAL`: an answer that is late belongs to the
/// round after.
const PATIENCE: Duration = Duration::from_millis(400);

/// What was gathered longer ago is gathered anew for whoever asks once.
const FRESH: Duration = Duration::from_secs(1);

/// Whoever asks once waits so long for that: as long as a round takes, and a little more.
const ROUND_MAX: Duration = Duration::from_secs(1);

/// What a page asks for is done or given up after so long.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);

/// What looks at the cluster from this node.
pub(super) struct Lookout {
    /// Asks this node as any client does, and through it whichever leads.
    pub(super) client: Client,
    pub(super) telemetry: Telemetry,
    /// Changes that may still be begun.
    pub(super) changes: Semaphore,
    /// Streams that may still be opened.
    pub(super) streams: Arc<Semaphore>,
    board: watch::Receiver<Board>,
    lookers: Arc<Lookers>,
}

/// What was gathered last.
#[derive(Clone)]
pub(super) struct Board {
    /// The cluster, as a message of a stream.
    message: Bytes,
    at: Instant,
}

/// How many look.
#[derive(Default)]
struct Lookers {
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

impl Board {
    fn new(cluster: &Cluster) -> Self {
        let message = stream::message("cluster", cluster);
        Self { message, at: Instant::now() }
    }

    /// The cluster, as JSON.
    pub(super) fn json(&self) -> Bytes {
        stream::data(&self.message)
    }

    /// The cluster, as a message of a stream.
    pub(super) fn message(&self) -> Bytes {
        self.message.clone()
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
        let lookers = Arc::new(Lookers::default());
        let (nodes, past) = (BTreeMap::new(), Past::default());
        let mut gatherer = Gatherer { context: context.clone(), settings, nodes, past };
        let (publish, board) = watch::channel(Board::new(&gatherer.cluster()));
        let telemetry = context.telemetry.clone();
        let changes = Semaphore::new(CHANGES_MAX);
        let streams = Arc::new(Semaphore::new(stream::STREAMS_MAX));
        let running = {
            let lookers = lookers.clone();
            async move { gatherer.run(&lookers, &publish).await }
        };
        (Self { client, telemetry, changes, streams, board, lookers }, running)
    }

    /// Somebody looks from here on.
    pub(super) fn look(&self) -> Looking {
        self.lookers.count.fetch_add(1, Ordering::Relaxed);
        self.lookers.came.notify_one();
        Looking { lookers: self.lookers.clone() }
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

/// What asks, and what it has heard.
struct Gatherer {
    context: api::Context,
    settings: Settings,
    nodes: BTreeMap<NodeId, Heard>,
    past: Past,
}

impl Gatherer {
    async fn run(&mut self, lookers: &Lookers, publish: &watch::Sender<Board>) {
        loop {
            let began = Instant::now();
            self.ask_all().await;
            publish.send_replace(Board::new(&self.cluster()));
            let is_watched = lookers.count.load(Ordering::Relaxed) > 0;
            let pause = if is_watched { INTERVAL } else { INTERVAL_IDLE };
            tokio::select! {
                () = tokio::time::sleep_until(began + pause) => {}
                () = lookers.came.notified(), if !is_watched => {}
            }
        }
    }

    /// Asks this node and all members. Whoever is no member any more is forgotten.
    async fn ask_all(&mut self) {
        let own = self.context.handle.node();
        let configuration = self.configuration();
        let context = &self.context;
        let asked = configuration.members().filter(|member| *member != own).map(|member| ask(context, member));
        let answers = join_all(asked).await;
        self.nodes.retain(|node, _| *node == own || configuration.is_member(*node));
        let at = now_ms();
        for (node, answer) in answers.into_iter().chain([(own, Some((api::status::own(&self.context), at..=at)))]) {
            let member = members::describe(node, &configuration, &self.context.book);
            self.nodes.entry(node).or_default().hears(member, answer);
        }
    }

    fn configuration(&self) -> Configuration {
        let configuration = |status: &crate::replica::Status| status.membership.configuration.clone();
        self.context.handle.look(SHARD_0, configuration).unwrap_or(Configuration::EMPTY)
    }

    fn cluster(&mut self) -> Cluster {
        let known = Known {
            asked: self.context.handle.node(),
            now: now_ms(),
            cluster_id: self.context.handle.cluster().map(|cluster| cluster.to_string()).unwrap_or_default(),
            configuration: self.configuration(),
            nodes: self.nodes.clone(),
        };
        let cluster = Cluster::of(&known, self.settings.clone());
        let learners = known.configuration.learners.iter().filter(|(_, learner)| !learner.stay);
        self.past.follow(&cluster, &learners.map(|(node, _)| node.to_string()).collect());
        let alarms = alarms(&cluster, &self.past);
        Cluster { alarms, ..cluster }
    }
}

/// What a node answered, and from when to when it was asked; none: it did not.
type Answer = Option<(v1::NodeStatus, std::ops::RangeInclusive<u64>)>;

async fn ask(context: &api::Context, node: NodeId) -> (NodeId, Answer) {
    let began = now_ms();
    let status = timeout(PATIENCE, context.peers.status(node)).await.ok().flatten();
    (node, status.map(|status| (status, began..=now_ms())))
}

impl Heard {
    fn hears(&mut self, member: v1::Member, answer: Answer) {
        self.member = member;
        self.reachable = answer.is_some();
        if let Some((status, asked)) = answer {
            self.seen_at = Some(*asked.end());
            self.clock_ahead_ms = ahead(status.clock_ms, asked);
            self.status = Some(status);
        }
    }
}

/// By how much a clock is ahead of ours at least: it was read while ours went from one end of `asked` to the other.
fn ahead(clock: u64, asked: std::ops::RangeInclusive<u64>) -> Option<i64> {
    let nearest = clock.clamp(*asked.start(), *asked.end().max(asked.start()));
    let ahead = i64::try_from(clock).ok()?.checked_sub(i64::try_from(nearest).ok()?)?;
    Some(ahead).filter(|_| clock > 0)
}

/// A client that begins with this node, at the address that its client port is bound to.
fn client(bound: SocketAddr) -> Client {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let endpoint = SocketAddr::new(ip, bound.port()).to_string();
    let options = client::Options { timeout: CALL_TIMEOUT, pipelined: false, ..client::Options::default() };
    Client::new(vec![endpoint], options).expect("a bound address is one")
}

/// Milliseconds since 1970, on the clock of this machine.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
