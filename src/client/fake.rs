//! A cluster for tests: nodes on sockets of this process that share one small state machine and answer as a script says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::metadata::MetadataMap;
use tonic::service::interceptor::InterceptedService;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

use crate::proto::v1;
use crate::proto::v1::cluster_server::{Cluster, ClusterServer};
use crate::proto::v1::operation::Operation as Verb;
use crate::proto::v1::outcome::Outcome;
use crate::proto::v1::quorate_server::{Quorate, QuorateServer};
use crate::{reasons, routing};

/// The cluster that all nodes say they belong to.
pub(crate) const CLUSTER: &str = "00000000000000000000000000000007";

/// What a node does with the next request.
#[derive(Clone)]
pub(crate) enum Step {
    /// Serves it.
    Serve,
    /// Refuses it: the leader is there. An empty address: it knows none.
    NotLeader(String),
    /// Refuses it with this code and reason.
    Refuse(Code, &'static str),
    /// Refuses it so, and names a time after which to ask again.
    RefuseFor(Code, &'static str, Duration),
    /// Executes it; the answer is lost with the connection.
    LoseAnswer,
    /// Executes it and answers nothing.
    Hang,
    /// Answers nothing, and does nothing.
    Ignore,
    /// Ends the session of the request, then executes as always.
    ExpireSession,
    /// Ends the session of the request, and loses the answer.
    ExpireSessionAndLoseAnswer,
    /// Executes it, and answers only after the next request of the stream.
    AnswerAfterNext,
    /// Ends the stream without having taken the request, nor any after it: the leader is there.
    EndNotLeader(String),
}

/// What all nodes share: as if replication were instantaneous.
#[derive(Default)]
pub(crate) struct World {
    index: u64,
    sessions: BTreeSet<u64>,
    /// A kept outcome: what was decided under a sequence.
    outcomes: BTreeMap<(u64, u64), v1::ExecuteResponse>,
    /// The bodies of each queue, oldest first.
    pub(crate) queues: BTreeMap<String, VecDeque<v1::StoredMessage>>,
    /// By token.
    leased: BTreeMap<String, v1::StoredMessage>,
    dead: BTreeMap<String, Vec<v1::StoredMessage>>,
    /// All requests that any node got, with the number of that node.
    pub(crate) requests: Vec<(usize, v1::ExecuteRequest)>,
    /// What came along with each call of the service `Quorate`, with the number of the node.
    pub(crate) metadata: Vec<(usize, MetadataMap)>,
    /// How many requests came with each frame of a stream.
    pub(crate) frames: Vec<usize>,
    /// Streams that have not ended.
    pub(crate) open_streams: usize,
    pub(crate) members: Vec<v1::Member>,
    /// Whom leadership was handed to last.
    pub(crate) handed_to: Option<String>,
    pub(crate) log: Vec<v1::LogEntry>,
    /// What Status answers.
    pub(crate) statuses: Vec<v1::NodeStatus>,
}

/// A node that listens; it stops, at once, when it is dropped.
pub(crate) struct FakeNode {
    pub(crate) address: String,
    pub(crate) script: Arc<Mutex<VecDeque<Step>>>,
    leader: Arc<Mutex<Option<String>>>,
    /// How long a request may take, as the node says.
    pub(crate) request_time: Arc<Mutex<Option<Duration>>>,
    task: JoinHandle<()>,
    /// Breaks the streams when it goes.
    _alive: watch::Sender<()>,
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeNode {
    /// The next requests to this node go like this; all after them are served.
    pub(crate) fn then(&self, steps: impl IntoIterator<Item = Step>) {
        self.script.lock().unwrap().extend(steps);
    }

    /// From here on the node follows the leader at `leader`. Without its script it serves calls of the service `Quorate` only if
    /// they ask to be passed on.
    pub(crate) fn follows(&self, leader: &str) {
        *self.leader.lock().unwrap() = Some(leader.to_owned());
    }
}

/// Nodes that share a world; the log of each is the world's.
pub(crate) async fn cluster(nodes: usize) -> (Vec<FakeNode>, Arc<Mutex<World>>) {
    let world = Arc::new(Mutex::new(World::default()));
    let mut all = Vec::new();
    for number in 0..nodes {
        all.push(start(number, world.clone()).await);
    }
    let members = all.iter().enumerate().map(|(number, node)| member(number, &node.address)).collect();
    world.lock().unwrap().members = members;
    (all, world)
}

async fn start(number: usize, world: Arc<Mutex<World>>) -> FakeNode {
    start_at("127.0.0.1:0", number, world).await
}

/// A node that listens at `address`.
pub(crate) async fn start_at(address: &str, number: usize, world: Arc<Mutex<World>>) -> FakeNode {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let script = Arc::new(Mutex::new(VecDeque::new()));
    let (alive, dies) = watch::channel(());
    let leader = Arc::new(Mutex::new(None));
    let request_time = Arc::new(Mutex::new(None));
    let (script_of, leader_of, request_time_of) = (script.clone(), leader.clone(), request_time.clone());
    let service = Service { number, world, script: script_of, leader: leader_of, request_time: request_time_of, dies };
    let front = service.clone();
    let quorate = InterceptedService::new(QuorateServer::new(service.clone()), move |call| front.admit(call));
    let server = tonic::transport::Server::builder()
        .add_service(quorate)
        .add_service(ClusterServer::new(service))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let task = tokio::spawn(async move { server.await.unwrap() });
    FakeNode { address, script, leader, request_time, task, _alive: alive }
}

fn member(number: usize, address: &str) -> v1::Member {
    v1::Member {
        node_id: node_id(number),
        name: name(number),
        client_address: address.to_owned(),
        peer_address: format!("127.0.0.1:{}", 9000 + number),
        address_version: 1,
        membership: v1::Membership::Voter.into(),
    }
}

fn node_id(number: usize) -> String {
    format!("{:016x}", number + 1)
}

fn name(number: usize) -> String {
    char::from(b'a' + number as u8).to_string()
}

#[derive(Clone)]
struct Service {
    number: usize,
    world: Arc<Mutex<World>>,
    script: Arc<Mutex<VecDeque<Step>>>,
    /// Who leads, if this node does not.
    leader: Arc<Mutex<Option<String>>>,
    request_time: Arc<Mutex<Option<Duration>>>,
    dies: watch::Receiver<()>,
}

impl Service {
    /// Lets a call of the service `Quorate` in, unless only the leader serves it.
    fn admit(&self, call: Request<()>) -> Result<Request<()>, Status> {
        self.world.lock().unwrap().metadata.push((self.number, call.metadata().clone()));
        let leader = self.leader.lock().unwrap().clone();
        match leader {
            Some(leader) if !asks_to_forward(call.metadata()) => Err(self.not_leader(&leader)),
            _ => Ok(call),
        }
    }

    /// Goes through the next step of the script around `serve`.
    async fn step<T>(
        &self,
        session: Option<u64>,
        serve: impl FnOnce(&mut World) -> Result<T, Status>,
    ) -> Result<Response<T>, Status> {
        let step = self.script.lock().unwrap().pop_front().unwrap_or(Step::Serve);
        let run = || serve(&mut self.world.lock().unwrap());
        match step {
            Step::Serve | Step::AnswerAfterNext => run().map(Response::new),
            Step::NotLeader(address) | Step::EndNotLeader(address) => Err(self.not_leader(&address)),
            Step::Refuse(code, reason) => Err(self.refusal(code, reason, None)),
            Step::RefuseFor(code, reason, delay) => Err(self.refusal(code, reason, Some(delay))),
            Step::LoseAnswer => run().and(Err(Status::unavailable("connection reset"))),
            Step::Hang => run().and(std::future::pending().await),
            Step::Ignore => std::future::pending().await,
            Step::ExpireSession => {
                self.world.lock().unwrap().expire(session);
                run().map(Response::new)
            }
            Step::ExpireSessionAndLoseAnswer => {
                self.world.lock().unwrap().expire(session);
                Err(Status::unavailable("connection reset"))
            }
        }
    }

    fn not_leader(&self, address: &str) -> Status {
        let leader = self.world.lock().unwrap().members.iter().find(|member| member.client_address == address).cloned();
        let leader = leader.unwrap_or_default();
        let mut metadata = self.metadata();
        metadata.push((reasons::LEADER_ID.into(), leader.node_id));
        metadata.push((reasons::LEADER_NAME.into(), leader.name));
        metadata.push((reasons::LEADER_ADDRESS.into(), address.into()));
        let details = ErrorDetails::with_error_info(
            reasons::NOT_LEADER,
            reasons::DOMAIN,
            metadata.into_iter().collect::<std::collections::HashMap<_, _>>(),
        );
        Status::with_error_details(Code::Unavailable, "this node does not lead", details)
    }

    fn refusal(&self, code: Code, reason: &str, delay: Option<Duration>) -> Status {
        let metadata = self.metadata().into_iter().collect::<std::collections::HashMap<_, _>>();
        let mut details = ErrorDetails::with_error_info(reason, reasons::DOMAIN, metadata);
        if delay.is_some() {
            details.set_retry_info(delay);
        }
        Status::with_error_details(code, format!("refused: {reason}"), details)
    }

    fn metadata(&self) -> Vec<(String, String)> {
        let mut metadata = vec![(reasons::NODE_ID.into(), node_id(self.number)), (reasons::TERM.into(), "1".into())];
        if let Some(time) = *self.request_time.lock().unwrap() {
            metadata.push((reasons::REQUEST_TIME_MS.into(), time.as_millis().to_string()));
        }
        metadata
    }

    fn header(&self, index: u64) -> Option<v1::ResponseHeader> {
        Some(v1::ResponseHeader {
            cluster_id: CLUSTER.to_owned(),
            node_id: node_id(self.number),
            shard: 0,
            term: 1,
            index,
            request_time: self.request_time.lock().unwrap().and_then(|time| time.try_into().ok()),
        })
    }

    fn execute(&self, world: &mut World, request: &v1::ExecuteRequest) -> Result<v1::ExecuteResponse, Status> {
        if let Some(session) = &request.session {
            if !world.sessions.contains(&session.id) {
                return Err(self.refusal(Code::FailedPrecondition, reasons::SESSION_EXPIRED, None));
            }
            if let Some(first) = world.outcomes.get(&(session.id, session.sequence)) {
                return Ok(v1::ExecuteResponse { replayed: true, ..first.clone() });
            }
        }
        world.index += 1;
        let index = world.index;
        let place = |item| v1::MessageId { shard: 0, index, item };
        let each = request.operations.iter().zip(0..);
        let outcomes = each.map(|(operation, item)| world.apply(place(item), operation, &request.session)).collect();
        let response = v1::ExecuteResponse { header: self.header(index), outcomes, replayed: false, age: None };
        if let Some(session) = &request.session {
            world.outcomes.insert((session.id, session.sequence), response.clone());
        }
        Ok(response)
    }
}

impl Service {
    /// One request of a call or a stream.
    async fn take(&self, request: v1::ExecuteRequest) -> Result<v1::ExecuteResponse, Status> {
        self.world.lock().unwrap().requests.push((self.number, request.clone()));
        let session = request.session.as_ref().map(|session| session.id);
        self.step(session, |world| self.execute(world, &request)).await.map(Response::into_inner)
    }

    /// Serves a stream until it breaks. Requests go through the script one after another.
    async fn serve_stream(
        self,
        mut requests: Streaming<v1::ExecuteStreamRequest>,
        frames: mpsc::Sender<Result<v1::ExecuteStreamResponse, Status>>,
        begun: Arc<Notify>,
    ) {
        let mut held_back = None;
        while let Ok(Some(frame)) = requests.message().await {
            begun.notify_one();
            self.world.lock().unwrap().frames.push(frame.requests.len());
            for v1::StreamedRequest { id, request, .. } in frame.requests {
                let step = self.script.lock().unwrap().front().cloned();
                let response = match self.take(request.unwrap()).now_or_never() {
                    // A step that never answers.
                    None => continue,
                    Some(Err(status)) if breaks_stream(&step, &status) => {
                        let _ = frames.send(Err(status)).await;
                        return;
                    }
                    Some(answer) => v1::StreamedResponse { id, answer: Some(streamed(answer)) },
                };
                if matches!(step, Some(Step::AnswerAfterNext)) {
                    held_back = Some(response);
                    continue;
                }
                let responses = [Some(response), held_back.take()].into_iter().flatten().collect();
                let _ = frames.send(Ok(v1::ExecuteStreamResponse { responses })).await;
            }
        }
    }
}

/// A lost answer takes the stream with it; a refusal does not.
fn breaks_stream(step: &Option<Step>, status: &Status) -> bool {
    matches!(step, Some(Step::EndNotLeader(_))) || status.details().is_empty()
}

pub(crate) fn asks_to_forward(metadata: &MetadataMap) -> bool {
    metadata.get(routing::HEADER).is_some_and(|asked| asked == routing::FORWARD)
}

fn streamed(answer: Result<v1::ExecuteResponse, Status>) -> v1::streamed_response::Answer {
    use v1::streamed_response::Answer;
    match answer {
        Ok(response) => Answer::Response(response),
        Err(status) => Answer::Failure(v1::Failure {
            code: status.code().into(),
            message: status.message().to_owned(),
            details: status.details().to_vec().into(),
        }),
    }
}

impl World {
    /// The requests that carry a session, in the order in which nodes got them.
    pub(crate) fn session_requests(&self) -> Vec<(usize, v1::SessionRequest)> {
        self.requests.iter().filter_map(|(node, request)| Some((*node, request.session.clone()?))).collect()
    }

    /// How many calls of the service `Quorate` a node got that asked to be passed on, and how many that did not.
    pub(crate) fn routings(&self, node: usize) -> (usize, usize) {
        let calls = self.metadata.iter().filter(|(number, _)| *number == node);
        let (forward, direct): (Vec<_>, Vec<_>) = calls.partition(|(_, metadata)| asks_to_forward(metadata));
        (forward.len(), direct.len())
    }

    pub(crate) fn open_sessions(&self) -> usize {
        self.sessions.len()
    }

    fn expire(&mut self, session: Option<u64>) {
        session.map(|session| self.sessions.remove(&session));
    }

    fn settle(&mut self, queue: &str, settlement: v1::Settlement) -> v1::SettleResult {
        use v1::settlement::How;
        let leased = self.leased.remove(&settlement.token);
        let is_done = leased.is_some();
        let Some(message) = leased.map(|it| v1::StoredMessage { lease_token: String::new(), ..it }) else {
            return done(is_done);
        };
        match settlement.how.unwrap() {
            How::Ack(_) => {}
            How::Release(_) => self.queues.entry(queue.to_owned()).or_default().push_front(message),
            How::Reject(v1::Reject { reason }) => {
                let dead_at = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
                let message = v1::StoredMessage { dead_reason: reason, dead_at, ..message };
                self.dead.entry(queue.to_owned()).or_default().push(message);
            }
        }
        done(is_done)
    }

    fn apply(
        &mut self,
        id: v1::MessageId,
        operation: &v1::Operation,
        session: &Option<v1::SessionRequest>,
    ) -> v1::Outcome {
        let outcome = match operation.operation.clone().unwrap() {
            Verb::OpenSession(_) => {
                self.sessions.insert(id.index);
                Outcome::SessionOpened(v1::SessionOpened { id: id.index, time_to_live: None })
            }
            Verb::CloseSession(_) => {
                self.expire(session.as_ref().map(|session| session.id));
                Outcome::SessionClosed(v1::SessionClosed {})
            }
            Verb::Enqueue(v1::Enqueue { queue, message, .. }) => {
                let stored = v1::StoredMessage { id: Some(id), message, ..Default::default() };
                self.queues.entry(queue).or_default().push_back(stored);
                Outcome::Enqueued(v1::Enqueued { id: Some(id) })
            }
            Verb::Dequeue(v1::Dequeue { queue, .. }) => {
                let message = self.queues.entry(queue).or_default().pop_front();
                Outcome::Dequeued(v1::Dequeued { message })
            }
            Verb::Lease(v1::Lease { queue, limit, .. }) => {
                let messages = self.queues.entry(queue).or_default();
                let leased: Vec<_> = messages.drain(..messages.len().min(limit.max(1) as usize)).collect();
                let lease = |mut message: v1::StoredMessage| {
                    let of = message.id.unwrap();
                    message.lease_token = format!("{}-{}-{}-{}", of.index, of.item, id.index, id.item);
                    message.deliveries += 1;
                    self.leased.insert(message.lease_token.clone(), message.clone());
                    message
                };
                Outcome::Leased(v1::Leased { messages: leased.into_iter().map(lease).collect() })
            }
            Verb::Settle(v1::Settle { queue, settlements, .. }) => {
                let results = settlements.into_iter().map(|settlement| self.settle(&queue, settlement).into());
                Outcome::Settled(v1::Settled { results: results.collect() })
            }
            Verb::ExtendLease(v1::ExtendLease { tokens, .. }) => {
                let results = tokens.iter().map(|token| done(self.leased.contains_key(token)).into()).collect();
                Outcome::LeaseExtended(v1::LeaseExtended { results, due_at: None })
            }
            Verb::Redrive(v1::Redrive { queue, .. }) => {
                let dead = self.dead.remove(&queue).unwrap_or_default();
                let moved = dead.len() as u64;
                self.queues.entry(queue).or_default().extend(dead);
                Outcome::Redriven(v1::Redriven { moved })
            }
            Verb::SetQueue(v1::SetQueue { lease_duration, deliveries_max, messages_max, .. }) => {
                let (deliveries_max, messages_max) = (deliveries_max.unwrap_or(20), messages_max.unwrap_or(100));
                Outcome::QueueSet(v1::QueueSettings { lease_duration, deliveries_max, messages_max })
            }
            Verb::Peek(peek) if peek.state() == v1::MessageState::Dead => {
                let messages = self.dead.get(&peek.queue).into_iter().flatten().cloned().collect();
                Outcome::Peeked(v1::Peeked { messages })
            }
            Verb::Peek(v1::Peek { queue, limit, .. }) => {
                let messages = self.queues.entry(queue).or_default().iter().take(limit.max(1) as usize).cloned();
                Outcome::Peeked(v1::Peeked { messages: messages.collect() })
            }
            Verb::Stats(v1::Stats { queue }) => {
                let meant = self.queues.iter().filter(|(name, _)| queue.is_empty() || **name == queue);
                let (queues, ready) = meant.fold((0, 0), |(queues, sum), (_, it)| (queues + 1, sum + it.len() as u64));
                let dead = self.dead.iter().filter(|(name, _)| queue.is_empty() || **name == queue);
                let dead = dead.map(|(_, messages)| messages.len() as u64).sum();
                let contents = Some(v1::Contents { ready, dead, ..Default::default() });
                Outcome::Totals(v1::Totals { queues, contents, ..Default::default() })
            }
            Verb::ListQueues(v1::ListQueues { after, .. }) => {
                // Pages of two, so that lists of three need another.
                let rest: Vec<_> = self.queues.iter().filter(|(name, _)| **name > after).collect();
                let info = |(name, messages): &(&String, &VecDeque<_>)| v1::QueueInfo {
                    name: (*name).clone(),
                    contents: Some(v1::Contents { ready: messages.len() as u64, bytes: 10, ..Default::default() }),
                    ..Default::default()
                };
                Outcome::Queues(v1::Queues { queues: rest.iter().take(2).map(info).collect(), more: rest.len() > 2 })
            }
        };
        v1::Outcome { outcome: Some(outcome) }
    }
}

fn done(is_done: bool) -> v1::SettleResult {
    if is_done { v1::SettleResult::Done } else { v1::SettleResult::LeaseExpired }
}

#[tonic::async_trait]
impl Quorate for Service {
    type RequestLogStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::RequestLogResponse, Status>>>;

    async fn execute(&self, request: Request<v1::ExecuteRequest>) -> Result<Response<v1::ExecuteResponse>, Status> {
        self.take(request.into_inner()).await.map(Response::new)
    }

    type ExecuteStreamStream = ReceiverStream<Result<v1::ExecuteStreamResponse, Status>>;

    /// The stream breaks when the node is dropped. As from far away, the node's agreement comes after it has been sent something.
    async fn execute_stream(
        &self,
        requests: Request<Streaming<v1::ExecuteStreamRequest>>,
    ) -> Result<Response<Self::ExecuteStreamStream>, Status> {
        let (frames, answers) = mpsc::channel(16);
        let (mut dies, world) = (self.dies.clone(), self.world.clone());
        world.lock().unwrap().open_streams += 1;
        let begun = Arc::new(Notify::new());
        let served = self.clone().serve_stream(requests.into_inner(), frames.clone(), begun.clone());
        let agreed = begun.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = served => {}
                _ = dies.changed() => {
                    let _ = frames.send(Err(Status::unavailable("connection reset"))).await;
                }
            }
            world.lock().unwrap().open_streams -= 1;
            begun.notify_one();
        });
        agreed.notified().await;
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    /// Pages of two entries. A step that loses the answer breaks the stream after the first page.
    async fn request_log(
        &self,
        request: Request<v1::RequestLogRequest>,
    ) -> Result<Response<Self::RequestLogStream>, Status> {
        let request = request.into_inner();
        let breaks = matches!(self.script.lock().unwrap().front(), Some(Step::LoseAnswer));
        if breaks {
            self.script.lock().unwrap()[0] = Step::Serve;
        }
        let limit = if request.limit == 0 { usize::MAX } else { request.limit as usize };
        self.step(None, |world| {
            let entries = world.log.iter().filter(|entry| entry.index >= request.from_index).take(limit);
            let entries: Vec<_> = entries.cloned().collect();
            let page = |entries: &[v1::LogEntry]| v1::RequestLogResponse {
                header: self.header(9),
                entries: entries.to_vec(),
                age: None,
            };
            let mut pages: Vec<_> = entries.chunks(2).map(|entries| Ok(page(entries))).collect();
            if breaks {
                pages.truncate(1);
                pages.push(Err(Status::unavailable("connection reset")));
            }
            Ok(tokio_stream::iter(pages))
        })
        .await
    }
}

#[tonic::async_trait]
impl Cluster for Service {
    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        self.step(None, |world| Ok(v1::StatusResponse { header: self.header(9), nodes: world.statuses.clone() })).await
    }

    /// Not scripted: the client asks in the background, and that must not use up a step.
    async fn list_members(
        &self,
        _: Request<v1::ListMembersRequest>,
    ) -> Result<Response<v1::ListMembersResponse>, Status> {
        let members = self.world.lock().unwrap().members.clone();
        Ok(Response::new(v1::ListMembersResponse { header: self.header(9), members }))
    }

    async fn add_member(
        &self,
        request: Request<v1::AddMemberRequest>,
    ) -> Result<Response<v1::AddMemberResponse>, Status> {
        let member = request.into_inner().member.unwrap();
        self.step(None, |world| {
            world.members.push(v1::Member { membership: v1::Membership::Learner.into(), ..member });
            Ok(v1::AddMemberResponse { header: self.header(9), members: world.members.clone() })
        })
        .await
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        let names = request.into_inner().members;
        self.step(None, |world| {
            let before = world.members.len();
            world.members.retain(|member| !names.contains(&member.name) && !names.contains(&member.node_id));
            if world.members.len() == before {
                return Err(self.refusal(Code::NotFound, reasons::MEMBER_NOT_FOUND, None));
            }
            Ok(v1::RemoveMemberResponse { header: self.header(9), members: world.members.clone() })
        })
        .await
    }

    async fn promote_member(
        &self,
        request: Request<v1::PromoteMemberRequest>,
    ) -> Result<Response<v1::PromoteMemberResponse>, Status> {
        let name = request.into_inner().member;
        self.step(None, |world| {
            for member in world.members.iter_mut().filter(|member| member.name == name) {
                member.membership = v1::Membership::Voter.into();
            }
            Ok(v1::PromoteMemberResponse { header: self.header(9), members: world.members.clone() })
        })
        .await
    }

    /// The member that is asked for leads; it says so itself when it is asked for again.
    async fn transfer_leadership(
        &self,
        request: Request<v1::TransferLeadershipRequest>,
    ) -> Result<Response<v1::TransferLeadershipResponse>, Status> {
        let to = request.into_inner().to;
        self.step(None, |world| {
            let leader = world.members.iter().find(|member| member.name == to).cloned();
            if world.handed_to.replace(to.clone()) == Some(to) {
                return Err(self.refusal(Code::FailedPrecondition, reasons::ALREADY_LEADS, None));
            }
            Ok(v1::TransferLeadershipResponse { header: self.header(9), leader })
        })
        .await
    }
}
