//! The service `quorate.v1.Quorate`: operations and the log.

use std::time::Duration;

use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::answer::answer;
use super::errors::{self, Rejection};
use super::receive::receive;
use super::route::{route, route_to_leader};
use super::{Context, request_log};
use crate::proto::v1;
use crate::replica::Execute;
use crate::state_machine::Operation;

/// A request that has no answer this long after its own wait is over is given up, whatever its client says.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a waiting dequeue leaves of the client's deadline for its answer to arrive, if that is long enough for it.
const ANSWER_MARGIN: Duration = Duration::from_millis(250);

/// The service, on this node.
#[derive(Clone, Debug)]
pub struct QuorateService {
    context: Context,
}

impl QuorateService {
    /// The service of the node that `context` belongs to.
    pub fn new(context: Context) -> Self {
        Self { context }
    }

    async fn execute(&self, request: Request<v1::ExecuteRequest>) -> Result<v1::ExecuteResponse, Rejection> {
        let deadline = client_deadline(&request);
        let request = request.into_inner();
        let shard = request.shard;
        let execute = end_wait_before(deadline, receive(request)?);
        let (shard, _) = route(&self.context, shard)?;
        let executed = self.wait_for(shard, execute).await?;
        let header = self.context.header(shard, Some(executed.index));
        answer(shard, header, executed)
    }

    /// Waits for the answer, but not for ever: a client that waits for a message must not hold up a node that stops.
    async fn wait_for(
        &self,
        shard: crate::ids::ShardId,
        execute: Execute,
    ) -> Result<crate::replica::Executed, Rejection> {
        let retry_is_exact = execute.session.is_some();
        let waits = !execute.wait.is_zero();
        let limit = execute.wait + PATIENCE;
        tokio::select! {
            executed = self.context.handle.execute(shard, execute) => {
                executed.map_err(|refusal| errors::refusal(refusal, &self.context))
            }
            () = tokio::time::sleep(limit) => Err(errors::too_late(limit, retry_is_exact)),
            () = self.context.drained(), if waits => Err(errors::stopped_while_waiting(retry_is_exact)),
        }
    }
}

#[tonic::async_trait]
impl v1::quorate_server::Quorate for QuorateService {
    async fn execute(&self, request: Request<v1::ExecuteRequest>) -> Result<Response<v1::ExecuteResponse>, Status> {
        let executed = self.execute(request).await;
        executed.map(Response::new).map_err(|rejection| rejection.into_status(&self.context))
    }

    type RequestLogStream = ReceiverStream<Result<v1::RequestLogResponse, Status>>;

    async fn request_log(
        &self,
        request: Request<v1::RequestLogRequest>,
    ) -> Result<Response<Self::RequestLogStream>, Status> {
        let request = request.into_inner();
        let (shard, status) =
            route_to_leader(&self.context, request.shard).map_err(|rejection| rejection.into_status(&self.context))?;
        let range = request_log::Range::new(&request, &status);
        Ok(Response::new(request_log::stream(self.context.clone(), shard, range)))
    }
}

/// How long the client waits for its answer, as its `grpc-timeout` says; none: for ever.
fn client_deadline<T>(request: &Request<T>) -> Option<Duration> {
    parse_grpc_timeout(request.metadata().get("grpc-timeout")?.to_str().ok()?)
}

/// At most 8 digits and a unit, as the gRPC protocol has it.
fn parse_grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// A client that waits for a message until its deadline would never see the answer "empty", and a message that comes in
/// the last moment would be lost to it. So the wait ends a little earlier.
fn end_wait_before(deadline: Option<Duration>, mut execute: Execute) -> Execute {
    let Some(deadline) = deadline.filter(|_| !execute.wait.is_zero()) else {
        return execute;
    };
    execute.wait = execute.wait.min(deadline - ANSWER_MARGIN.min(deadline / 2));
    if execute.wait.is_zero() {
        for operation in &mut execute.operations {
            if let Operation::Dequeue { wait, .. } = operation {
                *wait = false;
            }
        }
    }
    execute
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(wait: Duration) -> Execute {
        let queue = "q".parse().unwrap();
        Execute { session: None, operations: vec![Operation::Dequeue { queue, wait: true }], wait }
    }

    #[test]
    fn the_timeout_of_grpc_is_read_in_every_unit() {
        assert_eq!(parse_grpc_timeout("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parse_grpc_timeout("1500m"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_grpc_timeout("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for wrong in ["", "S", "1", "1s", "-1S", "123456789S", "1é"] {
            assert_eq!(parse_grpc_timeout(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_wait_ends_before_its_client_gives_up() {
        let second = Duration::from_secs(1);
        assert_eq!(end_wait_before(None, waiting(second)).wait, second);
        assert_eq!(end_wait_before(Some(second * 9), waiting(second)).wait, second);
        assert_eq!(end_wait_before(Some(second), waiting(second)).wait, second - ANSWER_MARGIN);
        let at_once = end_wait_before(Some(Duration::ZERO), waiting(second));
        assert!(matches!(at_once.operations[..], [Operation::Dequeue { wait: false, .. }]));
    }
}
