//! What the other rooms hold of the node: a way to ask its loop, and a view of what the loop published.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot, watch};

use super::clock::Clock;
use super::log_reader::LogReader;
use crate::ids::{ClusterId, EntryId, Index, NodeId, ShardId, Term};
use crate::raft::{Entry, MembershipChange};
use crate::replica::{Answer, Execute, Read, Refusal, RequestId, Status, View};
use crate::storage;
use crate::telemetry::Mark;
use crate::transport::{LogPart, questions};

/// Where an answer goes, and the room that the request takes until it is answered or forgotten.
#[derive(Debug)]
pub struct AnswerSlot {
    answer: oneshot::Sender<Result<Answer, Refusal>>,
    _room: OwnedSemaphorePermit,
}

impl AnswerSlot {
    /// True when nobody waits any more.
    pub fn is_closed(&self) -> bool {
        self.answer.is_closed()
    }

    /// Gives the answer, to nobody if whoever asked waits no more.
    pub fn send(self, answer: Result<Answer, Refusal>) {
        let _ = self.answer.send(answer);
    }
}

/// How much clients can have in hand with this node at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests that wait for the loop.
    pub inputs_max: usize,
    /// Bytes of requests that are not answered yet. A single request is never larger.
    pub bytes_max: usize,
}

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
    /// To execute operations, and who follows them.
    Execute(Execute, Mark),
    /// To show something.
    Read(Read),
    /// To hand leadership over.
    TransferLeadership(Option<NodeId>),
    /// To change the membership.
    ChangeMembership(MembershipChange),
}

impl Asked {
    /// The answer if the loop ends while it has this: nobody on this node knows what will become of it, but for a read, of
    /// which nothing can come.
    fn unanswered(&self) -> Refusal {
        let retry_is_exact = match self {
            Self::Read(_) => return STOPPED,
            Self::Execute(execute, _) => execute.session.is_some(),
            Self::TransferLeadership(_) | Self::ChangeMembership(_) => true,
        };
        Refusal::OutcomeUnknown { at: EntryId::default(), retry_is_exact }
    }
}

/// What the loop lets the others see, replaced as a whole whenever it changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Published {
    /// The condition of each replica.
    pub replicas: BTreeMap<ShardId, Status>,
    /// The cluster; none while this node still applies for membership.
    pub cluster: Option<ClusterId>,
}

/// What there is to see of a replica, and of the time in it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What was seen.
    pub view: View,
    /// The clock of the times in it.
    pub clock: Clock,
}

impl Seen {
    /// How long ago a member that this node leads last answered. None: it has not answered in this term.
    pub fn last_contact(&self, member: NodeId) -> Option<Duration> {
        let heard_at = self.view.progress.get(&member)?.heard_at?;
        Some(self.clock.now() - heard_at)
    }

    /// How long a request may well take now: until another leader is elected, should that be needed, and then until the slowest
    /// member that answers at all has answered. What stands in the way of the entries stands in that of the heartbeats as well,
    /// and is in the election time-out.
    fn request_time(&self) -> Duration {
        let round_trips = self.view.progress.values().filter_map(|progress| progress.round_trip);
        self.view.timing.timeouts.election_max + round_trips.max().unwrap_or_default()
    }
}

/// A way to ask the node's loop. Cheap to clone; works from before the node belongs to a cluster until it has stopped.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    node: NodeId,
    inbox: mpsc::Sender<Input>,
    room: Arc<Semaphore>,
    forgotten: mpsc::UnboundedSender<RequestId>,
    requests: AtomicU64,
    turns: Arc<AtomicU64>,
    published: watch::Receiver<Published>,
    seen: watch::Receiver<BTreeMap<ShardId, Seen>>,
    leading: watch::Receiver<BTreeMap<ShardId, Term>>,
    reader: LogReader,
}

/// The loop's ends of what a [`Handle`] holds.
#[derive(Debug)]
pub struct Inbox {
    /// What clients ask for. When it is full a call is refused at once, and a stream of requests waits.
    pub inputs: mpsc::Receiver<Input>,
    /// Requests whose client went away. Unbounded by type; bounded by the inputs, each of which is forgotten at most once.
    pub forgotten: mpsc::UnboundedReceiver<RequestId>,
    /// Where the loop tells what it knows.
    pub published: watch::Sender<Published>,
    /// Where the loop shows what changes all the time. Nobody waits for changes of it.
    pub seen: watch::Sender<BTreeMap<ShardId, Seen>>,
    /// Where the loop tells which shards this node leads, and in which term.
    pub leading: watch::Sender<BTreeMap<ShardId, Term>>,
    /// Counts the turns of the loop: it stands still only when the loop does.
    pub turns: Arc<AtomicU64>,
}

impl Handle {
    /// A handle for `node`, and the loop's ends of it.
    pub fn new(node: NodeId, reader: LogReader, limits: Limits) -> (Self, Inbox) {
        let (inbox, inputs) = mpsc::channel(limits.inputs_max);
        let room = Arc::new(Semaphore::new(limits.bytes_max.min(Semaphore::MAX_PERMITS)));
        let (forget, forgotten) = mpsc::unbounded_channel();
        let (publish, published) = watch::channel(Published::default());
        let (show, seen) = watch::channel(BTreeMap::new());
        let (lead, leading) = watch::channel(BTreeMap::new());
        let turns = Arc::new(AtomicU64::new(0));
        let requests = AtomicU64::new(1);
        let shared = Shared {
            node,
            inbox,
            room,
            forgotten: forget,
            requests,
            turns: turns.clone(),
            published,
            seen,
            leading,
            reader,
        };
        let inbox = Inbox { inputs, forgotten, published: publish, seen: show, leading: lead, turns };
        (Self { shared: Arc::new(shared) }, inbox)
    }

    /// A place in the loop's inbox for a request of so many bytes, as soon as there is one; in the order of asking.
    ///
    /// # Errors
    /// The loop has ended.
    pub async fn place(&self, bytes: usize) -> Result<Place<'_>, Refusal> {
        let Shared { inbox, room, .. } = &*self.shared;
        // The loop's end is heard from the inbox: nobody closes the room.
        let room = tokio::select! {
            room = room.clone().acquire_many_owned(permits(bytes)) => room.map_err(|_| STOPPED)?,
            () = inbox.closed() => return Err(STOPPED),
        };
        let permit = inbox.reserve().await;
        permit.map(|permit| Place { permit, room, shared: &self.shared }).map_err(|_| STOPPED)
    }

    /// A place in the loop's inbox for a request of so many bytes, if there is one now.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`] when the loop has too much to do; the loop has ended.
    pub fn place_at_once(&self, bytes: usize) -> Result<Place<'_>, Refusal> {
        let permit = self.shared.inbox.try_reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => Refusal::Overloaded,
            mpsc::error::TrySendError::Closed(()) => STOPPED,
        })?;
        let room = self.shared.room.clone().try_acquire_many_owned(permits(bytes)).map_err(|error| match error {
            TryAcquireError::NoPermits => Refusal::Overloaded,
            TryAcquireError::Closed => STOPPED,
        })?;
        Ok(Place { permit, room, shared: &self.shared })
    }

    /// Hands the leadership of `shard` over to a voter, or to the one with the most of the log. Returns who that is, once this node
    /// follows it. Requests that come meanwhile wait, and are then executed or refused as not proposed.
    ///
    /// # Errors
    /// Whatever the replica refuses with; [`Refusal::Overloaded`] at once when the loop has too much to do.
    pub async fn transfer_leadership(&self, shard: ShardId, to: Option<NodeId>) -> Result<NodeId, Refusal> {
        let place = self.place_at_once(0)?;
        match place.ask(shard, Asked::TransferLeadership(to)).await? {
            Answer::LeadershipTransferred { to } => Ok(to),
            other => unreachable!("a transfer of leadership was answered with {other:?}"),
        }
    }

    /// Changes the membership of `shard`; returns the index of the entry that ended the change, which every later leader has.
    ///
    /// # Errors
    /// Whatever the replica refuses with; [`Refusal::Overloaded`] at once when the loop has too much to do.
    pub async fn change_membership(&self, shard: ShardId, change: MembershipChange) -> Result<Index, Refusal> {
        let place = self.place_at_once(0)?;
        match place.ask(shard, Asked::ChangeMembership(change)).await? {
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

    /// A part of this node's log: at most `limit` entries from `from` on, or the last ones with 0; of either about
    /// [`LOG_BYTES_MAX`](questions::LOG_BYTES_MAX) and at least one. What is not durable is not shown.
    ///
    /// # Errors
    /// What the disk returns is damaged.
    pub async fn log_part(&self, shard: ShardId, asked_from: Index, limit: u32) -> Result<LogPart, storage::Error> {
        let Some((part, durable)) = self.look(shard, |status| (log_bounds(status), status.durable)) else {
            return Ok(LogPart::default());
        };
        let mut limit = u64::from(limit.clamp(1, questions::LOG_ENTRIES_MAX));
        loop {
            let from = match asked_from {
                Index(0) => Index((durable.0 + 1).saturating_sub(limit)).max(part.first),
                from => from,
            };
            let to = Index(from.0.saturating_add(limit - 1)).min(durable);
            if from < part.first || from > to {
                return Ok(part);
            }
            let entries = match self.read_log(shard, from, to, questions::LOG_BYTES_MAX).await {
                Ok(entries) => entries,
                // Compacted, or cut by another leader, since its bounds were looked at.
                Err(storage::Error::NotInLog { .. }) => Vec::new(),
                Err(error) => return Err(error),
            };
            let is_whole = entries.last().is_none_or(|last| last.id.index == to);
            if is_whole || asked_from != Index(0) || limit == 1 {
                return Ok(LogPart { entries, ..part });
            }
            // The last ones are wanted, and they are too large for so many.
            limit /= 2;
        }
    }

    /// The condition of this node's replica of `shard`; none when it has none (yet).
    pub fn status(&self, shard: ShardId) -> Option<Status> {
        self.shared.published.borrow().replicas.get(&shard).cloned()
    }

    /// What `look` finds in that condition, without a copy of it. The loop waits while `look` looks.
    pub fn look<T>(&self, shard: ShardId, look: impl FnOnce(&Status) -> T) -> Option<T> {
        self.shared.published.borrow().replicas.get(&shard).map(look)
    }

    /// What there is to see of this node's replica of `shard`, a moment ago ([`super::event_loop::SEEN_AGE`]).
    pub fn seen(&self, shard: ShardId) -> Option<Seen> {
        self.shared.seen.borrow().get(&shard).cloned()
    }

    /// The shards that this node leads, each with the term, to wait for changes of it. Unlike [`Handle::published`] it changes
    /// seldom, so that many may wait.
    pub fn leading(&self) -> watch::Receiver<BTreeMap<ShardId, Term>> {
        self.shared.leading.clone()
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.shared.node
    }

    /// Its cluster; none while it still applies for membership.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.shared.published.borrow().cluster
    }

    /// How long a request may well take now. None: this node has no replica yet.
    pub fn request_time(&self) -> Option<Duration> {
        self.shared.seen.borrow().values().map(Seen::request_time).max()
    }

    /// How many requests the loop was given so far.
    #[cfg(test)]
    pub(super) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// How often the loop has turned. It turns at least once in [`super::event_loop::IDLE_MAX`].
    pub fn turns(&self) -> u64 {
        self.shared.turns.load(Ordering::Relaxed)
    }

    /// Everything that the loop publishes, to wait for changes of it.
    pub fn published(&self) -> watch::Receiver<Published> {
        self.shared.published.clone()
    }
}

/// Where the loop has ended nobody leads.
const STOPPED: Refusal = Refusal::NotLeader { leader: None, term: Term(0) };

fn log_bounds(status: &Status) -> LogPart {
    let (first, last) = (status.log_start.index.next(), status.last.index);
    LogPart { first, last, commit: status.commit, applied: status.applied, entries: Vec::new() }
}

/// Requests are far smaller than this type can say.
fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// A place in the loop's inbox. Dropping it gives it back.
pub struct Place<'a> {
    permit: mpsc::Permit<'a, Input>,
    room: OwnedSemaphorePermit,
    shared: &'a Shared,
}

impl<'a> Place<'a> {
    /// Asks this node's replica of `shard`. The loop has the request when this returns; the future waits for the answer, and
    /// dropping it forgets the request.
    ///
    /// # Errors
    /// Whatever the replica refuses with.
    ///
    /// # Panics
    /// The loop does, on a read that would change something.
    pub fn ask(self, shard: ShardId, what: Asked) -> impl Future<Output = Result<Answer, Refusal>> + Send + use<'a> {
        let request = RequestId(self.shared.requests.fetch_add(1, Ordering::Relaxed));
        let (answer, answered) = oneshot::channel();
        let unanswered = what.unanswered();
        let answer = AnswerSlot { answer, _room: self.room };
        self.permit.send(Input { shard, request, what, answer });
        Waiting { request, unanswered, answered, forgotten: Some(&self.shared.forgotten) }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("node", &self.shared.node).finish_non_exhaustive()
    }
}

/// Someone who waits for an answer. Dropped before it came, it tells the loop, so that nothing waits for nobody.
struct Waiting<'a> {
    request: RequestId,
    /// The answer if the loop ends while it has the request.
    unanswered: Refusal,
    answered: oneshot::Receiver<Result<Answer, Refusal>>,
    forgotten: Option<&'a mpsc::UnboundedSender<RequestId>>,
}

impl Future for Waiting<'_> {
    type Output = Result<Answer, Refusal>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answered).poll(context));
        self.forgotten = None;
        Poll::Ready(answer.unwrap_or_else(|_| Err(self.unanswered.clone())))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(forgotten) = self.forgotten {
            // A loop that has ended has forgotten everything already.
            let _ = forgotten.send(self.request);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Log, MemoryDisk, Options};

    #[tokio::test]
    async fn a_full_inbox_refuses_at_once_or_is_waited_for() {
        let (log, _) = Log::open(MemoryDisk::default(), Options::default()).unwrap();
        let limits = Limits { inputs_max: 1, bytes_max: 10 };
        let (handle, inbox) = Handle::new(NodeId(1), LogReader::new(log.reader()), limits);
        let only = handle.place_at_once(0).expect("it is empty");
        assert_eq!(handle.place_at_once(0).err(), Some(Refusal::Overloaded));
        let mut next = std::pin::pin!(handle.place(0));
        assert!(futures_util::poll!(&mut next).is_pending());
        drop(only);
        assert!(next.await.is_ok());

        drop(inbox);
        assert_eq!(handle.place_at_once(0).err(), Some(STOPPED));
        assert_eq!(handle.place(11).await.err(), Some(STOPPED));
    }

    /// Bytes are in hand until the loop has answered, whether or not anybody looks at the answer: a stream that waits for room
    /// looks at none.
    #[tokio::test]
    async fn bytes_in_hand_are_bounded_until_they_are_answered() {
        let (log, _) = Log::open(MemoryDisk::default(), Options::default()).unwrap();
        let limits = Limits { inputs_max: 9, bytes_max: 10 };
        let (handle, mut inbox) = Handle::new(NodeId(1), LogReader::new(log.reader()), limits);
        let read = || {
            Asked::Read(Read { operations: Vec::new(), consistency: crate::replica::Consistency::Stale, is_own: false })
        };
        let _unread = handle.place_at_once(7).unwrap().ask(ShardId(0), read());
        assert_eq!(handle.place_at_once(4).err(), Some(Refusal::Overloaded));
        let mut next = std::pin::pin!(handle.place(4));
        assert!(futures_util::poll!(&mut next).is_pending());
        drop(handle.place_at_once(0).expect("what has no bytes needs no room"));
        inbox.inputs.recv().await.unwrap().answer.send(Err(Refusal::Overloaded));
        assert!(next.await.is_ok());
    }
}
