//! The service `quorate.v1.Quorate`: operations and the log.

use std::time::Duration;

use prost::Message as _;
use tonic::{Request, Response, Status, Streaming};

use super::answer::answer;
use super::errors::{self, Rejection};
use super::execute_stream::{self, Answers};
use super::message_traces::{brought, context_of};
use super::receive::{Checked, client_deadline, consistency, receive};
use super::request_log::{self, Pages};
use super::route::route;
use super::{Context, Streams};
use crate::ids::{ClusterId, Index, SHARD_0, ShardId};
use crate::node::{Asked, Place};
use crate::proto::v1;
use crate::raft::RoleName;
use crate::replica::{self, Answer, Read};
use crate::telemetry::{Received, propagation, request as told};

/// The method by which single requests come.
const EXECUTE: &str = "quorate.v1.Quorate/Execute";
/// The method by which the log is read.
const REQUEST_LOG: &str = "quorate.v1.Quorate/RequestLog";

/// A request that has no answer this long after its own wait is over is given up, whatever its client says, where requests take no
/// longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// While no leader is known a request is kept for half as long as one may take now, and for so long: an election has an end, and who
/// is turned away comes back later than that, after a pause and over a line that may be long. Bounded, since most members may be away.
const KEPT_MIN: Duration = Duration::from_millis(500);
/// See [`KEPT_MIN`].
const KEPT_MAX: Duration = Duration::from_secs(5);

/// The service, on this node.
#[derive(Clone)]
pub struct QuorateService {
    context: Context,
    /// Clients that read the log.
    readers: Streams,
    /// Clients with many requests in flight.
    streams: Streams,
}

impl QuorateService {
    /// The service of the node that `context` belongs to.
    pub fn new(context: Context) -> Self {
        let readers = Streams::new(request_log::STREAMS_MAX);
        let streams = Streams::new(execute_stream::STREAMS_MAX);
        Self { context, readers, streams }
    }

    /// The node.
    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// Executes one request, whichever way it came in. The node's loop has it when this returns, so that requests are taken in
    /// the order of these calls, unless it waits for a leader to be known; the future waits for the answer, and dropping it forgets
    /// the request.
    /// Without a `place` in the loop's inbox it takes one that is free, or is refused.
    pub(super) fn execute<'a>(
        &'a self,
        mut received: Received,
        request: v1::ExecuteRequest,
        deadline: Option<Duration>,
        place: Option<Place<'a>>,
    ) -> impl Future<Output = Result<v1::ExecuteResponse, Status>> + Send + use<'a> {
        let ready = match self.waits_for_leader(&request) {
            false => Ok(self.submit(&mut received, request, deadline, place)),
            true => Err((request, place)),
        };
        async move {
            let submitted = match ready {
                Ok(submitted) => submitted,
                Err((request, place)) => {
                    self.leader_to_be_known(deadline).await;
                    self.submit(&mut received, request, deadline, place)
                }
            };
            let answer = self.answer(submitted).await;
            if let Ok(answer) = &answer {
                received.brings(|| brought(answer));
            }
            received.is_answered(answer.as_ref().err().map(|rejection| (rejection.code(), rejection.reason())));
            let _logged_with_its_trace = received.enter();
            answer.map_err(|rejection| rejection.into_status(&self.context))
        }
    }

    async fn answer(
        &self,
        submitted: Result<(ShardId, impl Future<Output = Result<Answer, Rejection>>), Rejection>,
    ) -> Result<v1::ExecuteResponse, Rejection> {
        let (shard, answering) = submitted?;
        answer(&self.context, shard, answering.await?)
    }

    /// Whether a request is for a leader, and none is known although there may soon be one.
    fn waits_for_leader(&self, request: &v1::ExecuteRequest) -> bool {
        let is_for_leader = matches!(request.consistency(), v1::Consistency::Unspecified | v1::Consistency::Leader);
        is_for_leader && self.context.handle.look(SHARD_0, may_elect).unwrap_or(false)
    }

    /// Waits until this node knows a leader, or will know none, but not for long.
    async fn leader_to_be_known(&self, deadline: Option<Duration>) {
        let request_time = self.context.handle.request_time().unwrap_or_default();
        let kept = (request_time / 2).clamp(KEPT_MIN, KEPT_MAX);
        let limit = kept.min(deadline.unwrap_or(Duration::MAX) / 2);
        let mut published = self.context.handle.published();
        let known = published.wait_for(|now| !now.replicas.get(&SHARD_0).is_some_and(may_elect));
        tokio::select! {
            biased;
            // Where the loop has ended the next look finds that out.
            _ = known => {}
            () = self.context.drained() => {}
            () = tokio::time::sleep(limit) => {}
        }
    }

    fn submit<'a>(
        &'a self,
        received: &mut Received,
        request: v1::ExecuteRequest,
        deadline: Option<Duration>,
        place: Option<Place<'a>>,
    ) -> Result<(ShardId, impl Future<Output = Result<Answer, Rejection>> + Send + use<'a>), Rejection> {
        let _logged_with_its_trace = received.enter();
        let (shard, bytes) = (request.shard, request.encoded_len());
        let is_of_this_cluster = check_cluster(request.session.as_ref(), self.context.handle.cluster());
        let checked = receive(request, deadline)?;
        told::received(checked.operations());
        received.is_checked(checked.operations());
        let (shard, role) = route(&self.context, shard, |status| status.role)?;
        told::routed(shard, role == RoleName::Leader);
        is_of_this_cluster?;
        let place = place.map_or_else(|| self.context.handle.place_at_once(bytes), Ok);
        let place = place.map_err(|refusal| errors::refusal(refusal, &self.context))?;
        received.is_routed();
        let asked = match checked {
            Checked::Execute(execute) => Asked::Execute(execute, received.mark()),
            Checked::Read(read) => Asked::Read(read),
        };
        Ok((shard, self.wait_for(shard, asked, deadline, place)))
    }

    /// Waits for the answer, but not for ever: a client that waits for a message must not hold up a node that stops.
    fn wait_for<'a>(
        &'a self,
        shard: ShardId,
        asked: Asked,
        deadline: Option<Duration>,
        place: Place<'a>,
    ) -> impl Future<Output = Result<Answer, Rejection>> + Send + use<'a> {
        let (wait, retry_is_exact) = match &asked {
            Asked::Execute(execute, _) => (execute.wait, execute.session.is_some()),
            _ => (Duration::ZERO, true),
        };
        let waits = !wait.is_zero();
        let limit = deadline.unwrap_or(Duration::MAX).min(wait + self.context.longest_wait(PATIENCE));
        let answering = place.ask(shard, asked);
        async move {
            tokio::select! {
                biased;
                answer = answering => answer.map_err(|refusal| errors::refusal(refusal, &self.context)),
                () = tokio::time::sleep(limit) => Err(errors::too_late(limit, retry_is_exact)),
                () = self.context.drained(), if waits => Err(errors::stopped_while_waiting(retry_is_exact)),
            }
        }
    }

    /// Waits until this node may show its log as fresh as it is asked for: a leader until a majority has confirmed it.
    async fn request_log(
        &self,
        request: v1::RequestLogRequest,
        deadline: Option<Duration>,
    ) -> Result<Pages, Rejection> {
        let consistency = consistency(request.consistency)?;
        let (shard, ()) = route(&self.context, request.shard, |_| ())?;
        let room = self.readers.enter()?;
        let place = self.context.handle.place_at_once(0).map_err(|refusal| errors::refusal(refusal, &self.context))?;
        let point = Asked::Read(Read { operations: Vec::new(), consistency, is_own: false });
        let shown = match self.wait_for(shard, point, deadline, place).await? {
            Answer::Shown(shown) => shown,
            other => unreachable!("a read was answered with {other:?}"),
        };
        self.wait_for_disk(shard, shown.index, deadline.unwrap_or(PATIENCE).min(PATIENCE)).await?;
        let (_, status) = route(&self.context, request.shard, replica::Status::clone)?;
        let range = request_log::Range::new(&request, consistency, &status, shown.age);
        Ok(request_log::stream(self.context.clone(), shard, range, room))
    }

    /// Waits until this node has the log up to `index` on its own disk, from which it is read: others may have committed it while
    /// this disk still writes.
    async fn wait_for_disk(&self, shard: ShardId, index: Index, limit: Duration) -> Result<(), Rejection> {
        let mut published = self.context.handle.published();
        let is_durable = |status: &replica::Status| status.durable >= index;
        let written = published.wait_for(|now| now.replicas.get(&shard).is_none_or(is_durable));
        tokio::select! {
            biased;
            // Where the loop has ended the next look finds that out, and so it does in a node that stops.
            _ = written => Ok(()),
            () = self.context.drained() => Ok(()),
            () = tokio::time::sleep(limit) => Err(errors::too_late(limit, true)),
        }
    }
}

/// No leader is known, and there may soon be one.
fn may_elect(status: &replica::Status) -> bool {
    status.leader.is_none() && status.quarantined.is_none() && status.removed.is_none()
}

/// Ids of sessions are log indexes: another cluster has the same ones.
fn check_cluster(session: Option<&v1::SessionRequest>, own: Option<ClusterId>) -> Result<(), Rejection> {
    match (session, own) {
        (Some(session), Some(own)) if !session.cluster_id.is_empty() && session.cluster_id.parse() != Ok(own) => {
            Err(errors::session_of_another_cluster(session, own))
        }
        _ => Ok(()),
    }
}

#[tonic::async_trait]
impl v1::quorate_server::Quorate for QuorateService {
    async fn execute(&self, request: Request<v1::ExecuteRequest>) -> Result<Response<v1::ExecuteResponse>, Status> {
        let parent = || context_of(propagation::from_metadata(request.metadata()), request.get_ref());
        let received = self.context.telemetry.receive(EXECUTE, parent);
        let deadline = client_deadline(&request);
        self.execute(received, request.into_inner(), deadline, None).await.map(Response::new)
    }

    type ExecuteStreamStream = Answers;

    async fn execute_stream(
        &self,
        requests: Request<Streaming<v1::ExecuteStreamRequest>>,
    ) -> Result<Response<Self::ExecuteStreamStream>, Status> {
        let room = route(&self.context, SHARD_0.0, |_| ()).and_then(|_| self.streams.enter());
        let room = room.map_err(|rejection| rejection.into_status(&self.context))?;
        let limits = execute_stream::Limits::default();
        Ok(Response::new(execute_stream::serve(self.clone(), requests.into_inner(), limits, room)))
    }

    type RequestLogStream = Pages;

    async fn request_log(
        &self,
        request: Request<v1::RequestLogRequest>,
    ) -> Result<Response<Self::RequestLogStream>, Status> {
        let deadline = client_deadline(&request);
        self.context.serve(REQUEST_LOG, request, |request| self.request_log(request, deadline)).await
    }
}
