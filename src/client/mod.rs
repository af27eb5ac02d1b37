//! The Rust client of a Quorate cluster.
//!
//! A [`Client`] is cheap to clone and serves any number of tasks at once. A call goes like this:
//!
//! ```text
//!   Client::execute   picks how the request may be repeated: by session, freely, or never
//!   sessions          gives it a session and a sequence; the slot returns both when the call ends, however it ends
//!   call              the loop: send to the address thought to lead, judge the answer, pause, again; until the deadline
//!   endpoints         which addresses there are, which one is thought to lead, one connection for each
//!   reach            which of them cannot be reached from here, so that another node has to pass calls on
//!   pipe              the stream that all short requests to one node share
//!   failure           what an answer other than OK means for the loop
//!   patience          how long to wait for a node, and for the cluster
//!   line              whether a node is being connected, and how long that took
//! ```
//!
//! Invariants:
//! - A request that changes something carries a session and keeps its sequence over all repetitions, so it takes effect
//!   at most once, and exactly once when the call returns Ok.
//! - `lowest_pending` is never above the sequence of a call that still waits.
//! - What may have taken effect is never sent again without a session, nor under another sequence.
//! - Every call ends: at its deadline at the latest.
//!
//! Requests carry the OpenTelemetry context in which the call's future is polled, if there is one: they belong to the
//! caller's trace. So do the messages that they enqueue, in the headers `traceparent` and `tracestate`, unless they
//! have such ones.
//!
//! Not here: TLS, and more than one shard.

mod call;
mod endpoints;
mod error;
mod event;
mod failure;
mod line;
mod log_pages;
mod options;
mod outcome;
mod patience;
mod pipe;
mod reach;
mod sessions;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod forward_tests;
#[cfg(test)]
mod pipe_tests;
#[cfg(test)]
mod tests;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::proto::v1;
use crate::proto::v1::operation::Operation as Verb;
use crate::reasons;
use call::{Call, Repeat};
use endpoints::{Endpoints, Node};
use patience::Patience;
use sessions::{Purpose, Session, Sessions, Slot};

pub(crate) use endpoints::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, channel};
pub use error::Error;
pub use event::Event;
pub use failure::Refused;
pub(crate) use failure::root_cause;
pub use log_pages::LogPages;
pub use options::{DURATION_MAX, Forwarding, Observer, Options};
pub use sessions::REQUESTS_MAX;
/// How fresh reads are.
pub use v1::Consistency;
/// A message: a body and headers.
pub use v1::Message;
/// The body of a message: text or data.
pub use v1::message::Body;

/// How long a node lets a request wait for a message. Longer waits are several of these.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// How long the client waits for its sessions to be closed. They would expire by themselves.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How many sessions a call tries before it takes the cluster for broken.
const SESSIONS_PER_CALL_MAX: u32 = 3;

/// A connection to a cluster: finds the leader, follows it, and repeats requests so that each takes effect once.
/// Clones share connections, sessions and what is known about the cluster.
///
/// Calls that are under way at the same time have no order among themselves, whichever was made first: one of them may have
/// to be sent again. A call takes effect after another for certain when it is made after that one has returned. What must stay
/// together goes into one call.
///
/// Dropping the future of a call gives up its answer: whether the request takes effect is then unknown.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    consistency: Consistency,
}

/// What a read shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown<T> {
    /// What was asked for.
    pub value: T,
    /// Everything that was committed this long ago is in it. None: everything that was committed when it was asked for, or,
    /// with [`Consistency::Stale`], the node does not know.
    pub age: Option<Duration>,
}

struct Shared {
    options: Options,
    endpoints: Endpoints,
    patience: Arc<Patience>,
    sessions: Sessions,
    /// The observer has been told that nodes pass calls on.
    told_forwarding: AtomicBool,
    /// Draws the jitter of pauses.
    chance: Mutex<ChaCha8Rng>,
}

impl Client {
    /// A client of the cluster that has nodes at `endpoints`, each `HOST:PORT` or `HOST` (then port 7400). One that lives
    /// is enough: the client learns the others. Connects when the first call is made; must be used on a tokio runtime.
    ///
    /// # Errors
    /// [`Error::InvalidEndpoint`] when there is no endpoint, or one is not an address.
    pub fn new(endpoints: Vec<String>, options: Options) -> Result<Self, Error> {
        let patience = Arc::new(Patience::new(options.timeout.map(|timeout| timeout.min(DURATION_MAX))));
        let endpoints = Endpoints::new(&endpoints, options.pipelined, options.forwarding, patience.clone())?;
        let chance = Mutex::new(ChaCha8Rng::seed_from_u64(options.seed.unwrap_or_else(rand::random)));
        let (sessions, told_forwarding) = (Sessions::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { options, endpoints, patience, sessions, told_forwarding, chance });
        Ok(Self { shared, consistency: Consistency::Leader })
    }

    /// The same client, for reads that are as fresh as this: peek, queues, stats and the log. Those of the client itself are
    /// [`Consistency::Leader`]. With another consistency the node that was asked last answers, or the first endpoint.
    pub fn reading(&self, consistency: Consistency) -> Self {
        Self { consistency, ..self.clone() }
    }

    /// Executes operations that take effect together, exactly once when this returns Ok. One outcome for each, in order.
    /// A lone dequeue or lease may wait, at most 60 s; the deadline is later by as much.
    ///
    /// # Errors
    /// - [`Error::Refused`]: nothing took effect.
    /// - [`Error::Unavailable`] says whether the operations may have taken effect.
    /// - [`Error::SessionExpired`]: the session ended while an earlier sending was unanswered; they may have taken effect.
    pub async fn execute(&self, operations: Vec<v1::Operation>) -> Result<v1::ExecuteResponse, Error> {
        let operations = outcome::with_trace(operations);
        let response = if operations.iter().all(outcome::may_repeat) {
            self.execute_freely(operations).await?
        } else {
            self.execute_in_session(operations).await?
        };
        self.learn_members_in_background();
        Ok(response)
    }

    /// Sends operations once, without a session, to the address that is thought to lead (at first the first endpoint),
    /// and follows no redirect. For those who look at a node's very answer.
    ///
    /// # Errors
    /// [`Error::Refused`] with the node's reason, NOT_LEADER among them; [`Error::OutcomeUnknown`] when the operations
    /// may have taken effect; [`Error::Unavailable`] when the node could not be reached.
    pub async fn execute_once(&self, operations: Vec<v1::Operation>) -> Result<v1::ExecuteResponse, Error> {
        let operations = outcome::with_trace(operations);
        let call = self.call(Repeat::Never, outcome::wait_of(&operations));
        let request = v1::ExecuteRequest { shard: 0, session: None, operations, ..Default::default() };
        call.run(request, |mut node, request| async move { node.quorate.execute(request).await }).await
    }

    /// Appends messages, or bodies without headers, to a queue, together. Returns their ids, in order.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn enqueue(&self, queue: &str, messages: Vec<impl Into<Message>>) -> Result<Vec<v1::MessageId>, Error> {
        self.enqueue_later(queue, messages, Duration::ZERO).await
    }

    /// The same, of messages that cannot be taken before `delay` is over: at most 30 days.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn enqueue_later(
        &self,
        queue: &str,
        messages: Vec<impl Into<Message>>,
        delay: Duration,
    ) -> Result<Vec<v1::MessageId>, Error> {
        let enqueue = |message| outcome::enqueue(queue, message, delay);
        let operations = messages.into_iter().map(Into::into).map(enqueue).collect();
        let outcomes = self.execute(operations).await?.outcomes;
        outcomes.into_iter().map(outcome::enqueued).collect()
    }

    /// Takes the oldest message out of a queue; waits for one as long as `wait`, at most [`DURATION_MAX`],
    /// if there is none.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn dequeue(&self, queue: &str, wait: Duration) -> Result<Option<v1::StoredMessage>, Error> {
        let end = Instant::now() + wait.min(DURATION_MAX);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let operation = outcome::dequeue(queue, left.min(WAIT_MAX));
            let message = outcome::dequeued(outcome::only(self.execute(vec![operation]).await?)?)?;
            if message.is_some() || Instant::now() >= end || left <= WAIT_MAX {
                return Ok(message);
            }
        }
    }

    /// Takes the oldest messages of a queue for a time, at most `limit` (1 to 100): until their `due_at` nobody else
    /// gets them, and they are to be settled by then, with their `lease_token`. A zero `duration` is the queue's own.
    /// Waits for a message as long as `wait`, at most [`DURATION_MAX`], if there is none.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn lease(
        &self,
        queue: &str,
        limit: u32,
        duration: Duration,
        wait: Duration,
    ) -> Result<Vec<v1::StoredMessage>, Error> {
        let end = Instant::now() + wait.min(DURATION_MAX);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let operation = outcome::lease(queue, limit, duration, left.min(WAIT_MAX));
            let messages = outcome::leased(outcome::only(self.execute(vec![operation]).await?)?)?;
            if !messages.is_empty() || Instant::now() >= end || left <= WAIT_MAX {
                return Ok(messages);
            }
        }
    }

    /// Settles messages that were leased, 1 to 100. For each it returns whether that was done; otherwise its lease had
    /// ended, and nothing was done about it. To acknowledge messages and enqueue others all together or not at all,
    /// [`Client::execute`] a [`v1::Settle`] with `all_or_none`.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn settle(&self, queue: &str, settlements: Vec<v1::Settlement>) -> Result<Vec<bool>, Error> {
        let count = settlements.len();
        let settle = v1::Settle { queue: queue.to_owned(), settlements, all_or_none: false };
        let response = self.execute(vec![outcome::operation(Verb::Settle(settle))]).await?;
        outcome::settled(outcome::only(response)?, count)
    }

    /// Makes leases end `duration` after this, 1 to 100 of them. A zero one is the queue's own. Returns the same as
    /// [`Client::settle`].
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn extend_lease(&self, queue: &str, tokens: Vec<String>, duration: Duration) -> Result<Vec<bool>, Error> {
        let count = tokens.len();
        let duration = prost_types::Duration::try_from(duration).ok();
        let extend = v1::ExtendLease { queue: queue.to_owned(), tokens, duration };
        let response = self.execute(vec![outcome::operation(Verb::ExtendLease(extend))]).await?;
        outcome::extended(outcome::only(response)?, count)
    }

    /// Makes the oldest dead messages of a queue ready again, at most `limit` (1 to 1,000), as if they had never been
    /// delivered. Returns how many.
    ///
    /// # Errors
    /// [`Error::Refused`] with QUEUE_NOT_FOUND; otherwise as [`Client::execute`].
    pub async fn redrive(&self, queue: &str, limit: u32) -> Result<u64, Error> {
        let redrive = v1::Redrive { queue: queue.to_owned(), limit };
        outcome::redriven(outcome::only(self.execute(vec![outcome::operation(Verb::Redrive(redrive))]).await?)?)
    }

    /// Changes settings of a queue, and returns those that are then in force.
    ///
    /// # Errors
    /// [`Error::Refused`] with QUEUE_NOT_FOUND; otherwise as [`Client::execute`].
    pub async fn set_queue(&self, set: v1::SetQueue) -> Result<v1::QueueSettings, Error> {
        outcome::queue_set(outcome::only(self.execute(vec![outcome::operation(Verb::SetQueue(set))]).await?)?)
    }

    /// Shows the oldest ready messages of a queue, at most `limit` (1 to 100), and leaves them there.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn peek(&self, queue: &str, limit: u32) -> Result<Shown<Vec<v1::StoredMessage>>, Error> {
        self.browse(v1::Peek { queue: queue.to_owned(), limit, ..Default::default() }).await
    }

    /// Shows messages of a queue, of one state and after one message, and leaves them there.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn browse(&self, peek: v1::Peek) -> Result<Shown<Vec<v1::StoredMessage>>, Error> {
        self.show(Verb::Peek(peek), outcome::peeked).await
    }

    /// How much a queue holds, or, without one, all of them together.
    ///
    /// # Errors
    /// [`Error::Refused`] with QUEUE_NOT_FOUND; otherwise as [`Client::execute`].
    pub async fn stats(&self, queue: Option<&str>) -> Result<Shown<v1::Totals>, Error> {
        self.show(Verb::Stats(v1::Stats { queue: queue.unwrap_or_default().to_owned() }), outcome::totals).await
    }

    /// All queues in the order of their names. They are read in pages: queues made or emptied meanwhile may be missed. The age
    /// is that of the oldest page.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn queues(&self) -> Result<Shown<Vec<v1::QueueInfo>>, Error> {
        let mut queues: Vec<v1::QueueInfo> = Vec::new();
        let mut oldest = None;
        loop {
            let after = queues.last().map_or("", |queue| queue.name.as_str());
            let Shown { value: page, age } = self.queues_after(after, 0).await?;
            oldest = oldest.max(age);
            let complete = !page.more || page.queues.is_empty();
            queues.extend(page.queues);
            if complete {
                return Ok(Shown { value: queues, age: oldest });
            }
        }
    }

    /// The queues whose names come after `after`, at most `limit` (1 to 1,000; 0: 1,000), in the order of their names.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn queues_after(&self, after: &str, limit: u32) -> Result<Shown<v1::Queues>, Error> {
        self.show(Verb::ListQueues(v1::ListQueues { after: after.to_owned(), limit }), outcome::queues).await
    }

    async fn show<T>(&self, verb: Verb, value: fn(v1::Outcome) -> Result<T, Error>) -> Result<Shown<T>, Error> {
        let response = self.execute(vec![outcome::operation(verb)]).await?;
        let age = age(response.age);
        Ok(Shown { value: value(outcome::only(response)?)?, age })
    }

    /// The leader's log, or that of the node that is asked (see [`Client::reading`]), from index `from` on (0: from the first
    /// there is), at most `limit` entries (0: all there are).
    pub fn request_log(&self, from: u64, limit: u64) -> LogPages {
        LogPages::new(self.clone(), from, limit)
    }

    /// The condition of every node, as seen by the first node that answers.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no node answers.
    pub async fn status(&self) -> Result<v1::StatusResponse, Error> {
        let call = self.call(Repeat::Freely, Duration::ZERO);
        let status = call
            .run(v1::StatusRequest {}, |mut node, request| async move { node.cluster.status(request).await })
            .await?;
        let members: Vec<_> = status.nodes.iter().filter_map(|node| node.member.clone()).collect();
        self.shared.endpoints.learn_members(&members);
        Ok(status)
    }

    /// The members, as the first node that answers knows them.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no node answers.
    pub async fn members(&self) -> Result<v1::ListMembersResponse, Error> {
        let call = self.call(Repeat::Freely, Duration::ZERO);
        let request = v1::ListMembersRequest {};
        let members =
            call.run(request, |mut node, request| async move { node.cluster.list_members(request).await }).await?;
        self.shared.endpoints.learn_members(&members.members);
        Ok(members)
    }

    /// Adds a node as a learner; the leader makes it a voter once it has caught up, unless `stay_learner`.
    /// Adding a member again changes nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] when the leader refuses; [`Error::Unavailable`] also when another change was in progress all the
    /// time.
    pub async fn add_member(&self, member: v1::Member, stay_learner: bool) -> Result<v1::AddMemberResponse, Error> {
        let request = v1::AddMemberRequest { member: Some(member), stay_learner };
        let call = self.call(Repeat::Freely, Duration::ZERO);
        let added =
            call.run(request, |mut node, request| async move { node.cluster.add_member(request).await }).await?;
        self.shared.endpoints.learn_members(&added.members);
        Ok(added)
    }

    /// Removes members for good, by node id or name, all in one change. Those that were removed before are left out.
    ///
    /// # Errors
    /// As [`Client::add_member`]; MEMBER_NOT_FOUND when one of them never was a member, or none is one any more. Then nothing
    /// was changed.
    pub async fn remove_members(&self, members: &[impl AsRef<str>]) -> Result<v1::RemoveMemberResponse, Error> {
        let members = members.iter().map(|member| member.as_ref().to_owned()).collect();
        let request = v1::RemoveMemberRequest { members };
        let call = self.call(Repeat::Freely, Duration::ZERO);
        match call.run(request, |mut node, request| async move { node.cluster.remove_member(request).await }).await {
            // An earlier sending, whose answer was lost, has removed them.
            Err(Error::Refused(no)) if no.in_doubt && no.reason == reasons::MEMBER_NOT_FOUND => {
                let v1::ListMembersResponse { header, members } = self.members().await?;
                Ok(v1::RemoveMemberResponse { header, members })
            }
            answer => answer,
        }
    }

    /// Makes a learner a voter, by node id or name.
    ///
    /// # Errors
    /// As [`Client::add_member`]; a learner that has not caught up is asked for again until the deadline.
    pub async fn promote_member(&self, member: &str) -> Result<v1::PromoteMemberResponse, Error> {
        let request = v1::PromoteMemberRequest { member: member.to_owned() };
        let call = self.call(Repeat::Freely, Duration::ZERO);
        call.run(request, |mut node, request| async move { node.cluster.promote_member(request).await }).await
    }

    /// Hands leadership to the voter with this name or node id, or to the one that has most of the log, and returns the new
    /// leader. Without a name it can move twice, when the first answer is lost.
    ///
    /// # Errors
    /// [`Error::Refused`] when that one cannot take it, or did not in time; then the old leader goes on. Otherwise as
    /// [`Client::add_member`].
    pub async fn transfer_leadership(&self, to: Option<&str>) -> Result<v1::TransferLeadershipResponse, Error> {
        let request = v1::TransferLeadershipRequest { to: to.unwrap_or_default().to_owned() };
        let call = self.call(Repeat::Freely, Duration::ZERO);
        let send = |mut node: Node, request| async move { node.cluster.transfer_leadership(request).await };
        match call.run(request, send).await {
            // An earlier sending, whose answer was lost, has made it the leader.
            Err(Error::Refused(no)) if no.in_doubt && no.reason == reasons::ALREADY_LEADS => {
                let v1::ListMembersResponse { header, members } = self.members().await?;
                let leads = |member: &v1::Member| no.metadata.get(reasons::NODE_ID) == Some(&member.node_id);
                Ok(v1::TransferLeadershipResponse { header, leader: members.into_iter().find(leads) })
            }
            answer => answer,
        }
    }

    /// Closes the client's sessions, as far as that is possible in a moment. Not necessary, because they expire by
    /// themselves; calls still under way may fail. A later call opens another.
    pub async fn close(&self) {
        let sessions = self.shared.sessions.take_all();
        let close_all = async {
            for session in sessions {
                let operations = vec![outcome::operation(Verb::CloseSession(v1::CloseSession {}))];
                let request = v1::ExecuteRequest {
                    shard: 0,
                    session: Some(session.last_request()),
                    operations,
                    ..Default::default()
                };
                let call = self.call(Repeat::Never, Duration::ZERO);
                // A session that cannot be closed expires.
                let _ = call.run(request, |mut node, request| async move { node.quorate.execute(request).await }).await;
            }
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, close_all).await;
    }

    /// Executes what does no harm when it is executed twice.
    async fn execute_freely(&self, operations: Vec<v1::Operation>) -> Result<v1::ExecuteResponse, Error> {
        let consistency = self.consistency.into();
        let request = v1::ExecuteRequest { shard: 0, session: None, operations, consistency };
        let call = self.call(Repeat::Freely, Duration::ZERO).reading(self.consistency);
        call.run_each(|node, limit| node.execute(request.clone(), limit)).await
    }

    /// Executes operations under a session. If the session has expired before they were first sent, under another.
    async fn execute_in_session(&self, operations: Vec<v1::Operation>) -> Result<v1::ExecuteResponse, Error> {
        let wait = outcome::wait_of(&operations);
        let wait_end = Instant::now() + wait;
        let purpose = if wait.is_zero() { Purpose::Short } else { Purpose::Waiting };
        for _ in 0..SESSIONS_PER_CALL_MAX {
            let slot = self.slot(purpose, wait_end).await?;
            match self.execute_in_slot(&slot, &operations, wait_end).await {
                Err(Error::Refused(no)) if no.reason == reasons::SESSION_EXPIRED => {
                    slot.session_expired();
                    let session = slot.session_id();
                    if no.in_doubt {
                        return Err(Error::SessionExpired { session });
                    }
                    self.shared.tell(|| Event::SessionReplaced { session });
                }
                answer => return answer,
            }
        }
        Err(Error::Malformed { what: "sessions expire as soon as they are opened".to_owned() })
    }

    /// Executes operations at a place in a session. A lone dequeue that is sent again waits as long as is left.
    async fn execute_in_slot(
        &self,
        slot: &Slot<'_>,
        operations: &[v1::Operation],
        wait_end: Instant,
    ) -> Result<v1::ExecuteResponse, Error> {
        let call = Call::new(&self.shared, Repeat::BySession, wait_end);
        call.run_each(|node, limit| {
            let wait = wait_end.saturating_duration_since(Instant::now());
            let operations = outcome::with_wait(operations, wait);
            let session = Some(slot.request());
            node.execute(v1::ExecuteRequest { shard: 0, session, operations, ..Default::default() }, limit)
        })
        .await
    }

    /// A place for a request in a session, which is opened if there is none.
    async fn slot(&self, purpose: Purpose, wait_end: Instant) -> Result<Slot<'_>, Error> {
        let patience = &self.shared.patience;
        let mut slot = std::pin::pin!(self.shared.sessions.slot(purpose, self.open_session(wait_end)));
        // What the nodes tell meanwhile can put off the end.
        while Instant::now() < wait_end + patience.total() {
            if let Ok(slot) = tokio::time::timeout_at(wait_end + patience.total(), &mut slot).await {
                return slot;
            }
        }
        let why = "too many calls of this client at once, or no session could be opened".to_owned();
        let tried = vec![(self.shared.endpoints.current().address.to_string(), why)];
        Err(Error::Unavailable { after: Some(patience.total()), tried, in_doubt: false })
    }

    /// Opens a session. A repetition may open two; nobody uses the first, and it expires.
    async fn open_session(&self, wait_end: Instant) -> Result<Session, Error> {
        let operations = vec![outcome::operation(Verb::OpenSession(v1::OpenSession {}))];
        let request = v1::ExecuteRequest { shard: 0, session: None, operations, ..Default::default() };
        let call = Call::new(&self.shared, Repeat::Freely, wait_end);
        let opened = call.run_each(|node, limit| node.execute(request.clone(), limit)).await?;
        let cluster_id = opened.header.as_ref().map(|header| header.cluster_id.clone()).unwrap_or_default();
        let session = outcome::session_opened(outcome::only(opened)?)?.id;
        self.shared.tell(|| Event::SessionOpened { session });
        Ok(Session::new(session, cluster_id))
    }

    /// A call whose answer each node may take `wait` longer to give.
    fn call(&self, repeat: Repeat, wait: Duration) -> Call<'_> {
        Call::new(&self.shared, repeat, Instant::now() + wait)
    }

    /// Asks for the members when the client has come to another node, so that it can do without that one as well.
    fn learn_members_in_background(&self) {
        if self.shared.endpoints.take_moved() {
            let client = self.clone();
            // Ends with its call's deadline. If it fails, the hints of redirects still tell addresses.
            tokio::spawn(async move { client.members().await });
        }
    }
}

/// A message without headers.
impl From<Body> for Message {
    fn from(body: Body) -> Self {
        Self { body: Some(body), ..Self::default() }
    }
}

/// An age as a node tells it; one that makes no sense is none.
pub(crate) fn age(age: Option<prost_types::Duration>) -> Option<Duration> {
    age.and_then(|age| age.try_into().ok())
}
