//! The service `quorate.v1.Quorate`: operations and the log.

use std::time::Duration;

use opentelemetry::context::FutureExt as _;
use tonic::{Request, Response, Status};

use super::answer::answer;
use super::errors::{self, Rejection};
use super::receive::{client_deadline, receive};
use super::request_log::{Pages, Streams};
use super::route::{route, route_to_leader};
use super::{Context, request_log};
use crate::ids::{ClusterId, ShardId};
use crate::proto::v1;
use crate::raft::RoleName;
use crate::replica::{Execute, Executed};
use crate::telemetry::{Mark, Received, propagation, request as told};

/// The method by which requests come.
const EXECUTE: &str = "quorate.v1.Quorate/Execute";

/// A request that has no answer this long after its own wait is over is given up, whatever its client says.
const PATIENCE: Duration = Duration::from_secs(20);

/// The service, on this node.
#[derive(Clone)]
pub struct QuorateService {
    context: Context,
    streams: Streams,
}

impl QuorateService {
    /// The service of the node that `context` belongs to.
    pub fn new(context: Context) -> Self {
        Self { context, streams: Streams::default() }
    }

    /// Executes a request, and has it followed where that is asked for.
    async fn execute(&self, request: Request<v1::ExecuteRequest>) -> Result<v1::ExecuteResponse, Rejection> {
        let mut received = self.context.telemetry.receive(EXECUTE, || propagation::from_metadata(request.metadata()));
        let context = received.context();
        let executing = self.execute_received(request, &mut received);
        let executed = match context {
            Some(context) => executing.with_context(context).await,
            None => executing.await,
        };
        received.is_answered(executed.as_ref().err().map(|rejection| (rejection.code(), rejection.reason())));
        executed
    }

    async fn execute_received(
        &self,
        request: Request<v1::ExecuteRequest>,
        received: &mut Received,
    ) -> Result<v1::ExecuteResponse, Rejection> {
        let deadline = client_deadline(&request);
        let request = request.into_inner();
        let shard = request.shard;
        let session = request.session.clone();
        let execute = receive(request, deadline)?;
        told::received(&execute.operations);
        received.is_checked(&execute.operations);
        let (shard, status) = route(&self.context, shard)?;
        told::routed(shard, status.role == RoleName::Leader);
        check_cluster(session.as_ref(), self.context.handle.cluster())?;
        received.is_routed();
        let executed = self.wait_for(shard, execute, received.mark()).await?;
        let header = self.context.header(shard, Some(executed.index));
        answer(shard, header, executed)
    }

    fn request_log(&self, request: &v1::RequestLogRequest) -> Result<Pages, Rejection> {
        let (shard, status) = route_to_leader(&self.context, request.shard)?;
        let room = self.streams.enter()?;
        let range = request_log::Range::new(request, &status);
        Ok(request_log::stream(self.context.clone(), shard, range, room))
    }

    /// Waits for the answer, but not for ever: a client that waits for a message must not hold up a node that stops.
    async fn wait_for(&self, shard: ShardId, execute: Execute, mark: Mark) -> Result<Executed, Rejection> {
        let retry_is_exact = execute.session.is_some();
        let waits = !execute.wait.is_zero();
        let limit = execute.wait + PATIENCE;
        tokio::select! {
            executed = self.context.handle.execute(shard, execute, mark) => {
                executed.map_err(|refusal| errors::refusal(refusal, &self.context))
            }
            () = tokio::time::sleep(limit) => Err(errors::too_late(limit, retry_is_exact)),
            () = self.context.drained(), if waits => Err(errors::stopped_while_waiting(retry_is_exact)),
        }
    }
}

/// Ids of sessions are log indexes: another cluster has the same ones.
fn check_cluster(session: Option<&v1::SessionRequest>, own: Option<ClusterId>) -> Result<(), Rejection> {
    match (session, own) {
        (Some(session), Some(own)) if !session.cluster_id.is_empty() && session.cluster_id != own.to_string() => {
            Err(errors::session_of_another_cluster(session, own))
        }
        _ => Ok(()),
    }
}

#[tonic::async_trait]
impl v1::quorate_server::Quorate for QuorateService {
    async fn execute(&self, request: Request<v1::ExecuteRequest>) -> Result<Response<v1::ExecuteResponse>, Status> {
        let executed = self.execute(request).await;
        executed.map(Response::new).map_err(|rejection| rejection.into_status(&self.context))
    }

    type RequestLogStream = Pages;

    async fn request_log(
        &self,
        request: Request<v1::RequestLogRequest>,
    ) -> Result<Response<Self::RequestLogStream>, Status> {
        let stream = self.request_log(&request.into_inner());
        stream.map(Response::new).map_err(|rejection| rejection.into_status(&self.context))
    }
}
