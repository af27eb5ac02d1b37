//! The first verb: a gRPC request is checked and becomes what a replica executes. Whatever one node would refuse and
//! another accept must be decided here, before anything is proposed.

use std::time::Duration;

use super::errors::{self, Rejection};
use crate::proto::v1;
use crate::replica::Execute;
use crate::state_machine::{Operation, Request};

/// What a waiting dequeue leaves of the client's deadline for its answer to arrive, if that is long enough for it.
const ANSWER_MARGIN: Duration = Duration::from_millis(250);

/// Checks a request; what comes out is right on every node. `deadline` is how long the client waits for its answer.
///
/// # Errors
/// INVALID_ARGUMENT with the field that is wrong.
pub fn receive(request: v1::ExecuteRequest, deadline: Option<Duration>) -> Result<Execute, Rejection> {
    let Request { session, operations, wait } = Request::from_proto(request).map_err(|why| errors::invalid(&why))?;
    Ok(end_wait_before(deadline, Execute { session, operations, wait, is_followed: false }))
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

/// How long the client waits for its answer, as its `grpc-timeout` says; none: for ever.
pub fn client_deadline<T>(request: &tonic::Request<T>) -> Option<Duration> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(wait: Duration) -> Execute {
        let queue = "q".parse().unwrap();
        Execute { session: None, operations: vec![Operation::Dequeue { queue, wait: true }], wait, is_followed: false }
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
