//! What the other rooms hold of the node: a way to ask its loop, and a view of what the loop published.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot, watch};

use super::log_reader::LogReader;
use crate::ids::{ClusterId, Index, NodeId, ShardId, Term};
use crate::raft::{Entry, MembershipChange};
use crate::replica::{Answer, Execute, Executed, Read, Refusal, RequestId, Shown, Status};
use crate::storage;

/// Where an answer goes. Closed: nobody waits any more.
pub type AnswerSlot = oneshot::Sender<Result<Answer, Refusal>>;

/// What comes into the loop from this node's own clients.
#[derive(Debug)]
pub struct Input {
    /// The shard that it is for.
    pub shard: ShardId,
    /// Its name, unique on this node while the process lives.
    pub request: RequestId,
    /// What is asked for.
    pub what: Asked,
    /// Where the answer goes.
    pub answer: AnswerSlot,
}

/// What a client can ask of a replica.
#[derive(Debug)]
pub enum Asked {
    /// To execute operations.
    Execute(Execute),
    /// To show something.
    Read(Read),
    /// To hand leadership over.
    TransferLeadership(Option<NodeId>),
    /// To change the membership.
    ChangeMembership(MembershipChange),
}

/// What the loop lets the others see, replaced as a whole whenever it changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Published {
    /// The condition of each replica.
    pub replicas: BTreeMap<ShardId, Status>,
    /// The cluster; none while this node still applies for membership.
    pub cluster: Option<ClusterId>,
}

/// A way to ask the node's loop. Cheap to clone; works from before the node belongs to a cluster until it has stopped.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    node: NodeId,
    inbox: mpsc::Sender<Input>,
    forgotten: mpsc::UnboundedSender<RequestId>,
    requests: AtomicU64,
    turns: Arc<AtomicU64>,
    published: watch::Receiver<Published>,
    reader: LogReader,
}

/// The loop's ends of what a [`Handle`] holds.
#[derive(Debug)]
pub struct Inbox {
    /// What clients ask for. When it is full the handle refuses at once.
    pub inputs: mpsc::Receiver<Input>,
    /// Requests whose client went away. Unbounded by type; bounded by the inputs, each of which is forgotten at most once.
    pub forgotten: mpsc::UnboundedReceiver<RequestId>,
    /// Where the loop tells what it knows.
    pub published: watch::Sender<Published>,
    /// Counts the turns of the loop: it stands still only when the loop does.
    pub turns: Arc<AtomicU64>,
}

impl Handle {
    /// A handle for `node`, and the loop's ends of it. At most `inputs_max` requests wait for the loop.
    pub fn new(node: NodeId, reader: LogReader, inputs_max: usize) -> (Self, Inbox) {
        let (inbox, inputs) = mpsc::channel(inputs_max);
        let (forget, forgotten) = mpsc::unbounded_channel();
        let (publish, published) = watch::channel(Published::default());
        let turns = Arc::new(AtomicU64::new(0));
        let requests = AtomicU64::new(1);
        let shared = Shared { node, inbox, forgotten: forget, requests, turns: turns.clone(), published, reader };
        (Self { shared: Arc::new(shared) }, Inbox { inputs, forgotten, published: publish, turns })
    }

    /// Executes a client's operations on this node's replica of `shard`. Dropping the future forgets the request.
    ///
    /// # Errors
    /// Whatever the replica refuses with; [`Refusal::Overloaded`] at once when the loop has too much to do.
    pub async fn execute(&self, shard: ShardId, execute: Execute) -> Result<Executed, Refusal> {
        let unknown = outcome_unknown(execute.session.is_some());
        match self.ask(shard, Asked::Execute(execute), unknown).await? {
            Answer::Executed(executed) => Ok(executed),
            other => unreachable!("operations were answered with {other:?}"),
        }
    }

    /// Shows what this node's replica of `shard` holds. Dropping the future forgets the read.
    ///
    /// # Errors
    /// Whatever the replica refuses with; [`Refusal::Overloaded`] at once when the loop has too much to do.
    ///
    /// # Panics
    /// The loop does, on an operation that would change something.
    pub async fn read(&self, shard: ShardId, read: Read) -> Result<Shown, Refusal> {
        match self.ask(shard, Asked::Read(read), self.stopped()).await? {
            Answer::Shown(shown) => Ok(shown),
            other => unreachable!("a read was answered with {other:?}"),
        }
    }

    /// Hands the leadership of `shard` over to a voter, or to the one with the most of the log. Returns who that is, once this node
    /// follows it. Requests that come meanwhile wait, and are then executed or refused as not proposed.
    ///
    /// # Errors
    /// Whatever the replica refuses with; [`Refusal::Overloaded`] at once when the loop has too much to do.
    pub async fn transfer_leadership(&self, shard: ShardId, to: Option<NodeId>) -> Result<NodeId, Refusal> {
        match self.ask(shard, Asked::TransferLeadership(to), outcome_unknown(true)).await? {
            Answer::LeadershipTransferred { to } => Ok(to),
            other => unreachable!("a transfer of leadership was answered with {other:?}"),
        }
    }

    /// Changes the membership of `shard`; returns the index of the entry that ended the change, which is committed.
    ///
    /// # Errors
    /// Whatever the replica refuses with; [`Refusal::Overloaded`] at once when the loop has too much to do.
    pub async fn change_membership(&self, shard: ShardId, change: MembershipChange) -> Result<Index, Refusal> {
        match self.ask(shard, Asked::ChangeMembership(change), outcome_unknown(true)).await? {
            Answer::MembershipChanged { index } => Ok(index),
            other => unreachable!("a membership change was answered with {other:?}"),
        }
    }

    /// Reads entries of the log from disk, at least one and no more than about `bytes_max` bytes of them.
    /// Which of them are committed, the caller must know.
    ///
    /// # Errors
    /// The log does not hold `from`, or what the disk returns is damaged.
    pub async fn read_log(
        &self,
        shard: ShardId,
        from: Index,
        to: Index,
        bytes_max: u64,
    ) -> Result<Vec<Entry>, storage::Error> {
        self.shared.reader.read(shard, from, to, bytes_max).await
    }

    /// The condition of this node's replica of `shard`; none when it has none (yet).
    pub fn status(&self, shard: ShardId) -> Option<Status> {
        self.shared.published.borrow().replicas.get(&shard).cloned()
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.shared.node
    }

    /// Its cluster; none while it still applies for membership.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.shared.published.borrow().cluster
    }

    /// How often the loop has turned. It turns at least once in [`super::event_loop::IDLE_MAX`].
    pub fn turns(&self) -> u64 {
        self.shared.turns.load(Ordering::Relaxed)
    }

    /// Everything that the loop publishes, to wait for changes of it.
    pub fn published(&self) -> watch::Receiver<Published> {
        self.shared.published.clone()
    }

    /// Asks the loop. Should that end while it has the request, the answer is `unanswered`.
    async fn ask(&self, shard: ShardId, what: Asked, unanswered: Refusal) -> Result<Answer, Refusal> {
        let request = RequestId(self.shared.requests.fetch_add(1, Ordering::Relaxed));
        let (answer, answered) = oneshot::channel();
        match self.shared.inbox.try_send(Input { shard, request, what, answer }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(Refusal::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(self.stopped()),
        }
        let mut waiting = Waiting { request, forgotten: Some(&self.shared.forgotten) };
        let answer = answered.await;
        waiting.forgotten = None;
        answer.unwrap_or(Err(unanswered))
    }

    fn stopped(&self) -> Refusal {
        Refusal::NotLeader { leader: None, term: Term::default() }
    }
}

/// The loop ended while it had the request: nobody on this node knows what will become of it.
fn outcome_unknown(retry_is_exact: bool) -> Refusal {
    Refusal::OutcomeUnknown { at: Default::default(), retry_is_exact }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("node", &self.shared.node).finish_non_exhaustive()
    }
}

/// Someone who waits for an answer. Dropped before it came, it tells the loop, so that nothing waits for nobody.
struct Waiting<'a> {
    request: RequestId,
    forgotten: Option<&'a mpsc::UnboundedSender<RequestId>>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(forgotten) = self.forgotten {
            // A loop that has ended has forgotten everything already.
            let _ = forgotten.send(self.request);
        }
    }
}
