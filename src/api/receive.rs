//! The first verb: a gRPC request is checked and becomes what a replica executes. Whatever one node would refuse and
//! another accept must be decided here, before anything is proposed.

use std::time::Duration;

use super::errors::{self, Rejection};
use crate::proto::v1;
use crate::reasons;
use crate::replica::{Consistency, Execute, Read};
use crate::state_machine::{Operation, Request};

/// What a request that waits for a message leaves of the client's deadline for its answer to arrive, if that is long
/// enough for it.
const ANSWER_MARGIN: Duration = Duration::from_millis(250);

/// What a request asks of a replica.
#[derive(Debug)]
pub enum Checked {
    /// To change something.
    Execute(Execute),
    /// To show something.
    Read(Read),
}

impl Checked {
    /// What the client wants done or shown.
    pub fn operations(&self) -> &[Operation] {
        match self {
            Self::Execute(execute) => &execute.operations,
            Self::Read(read) => &read.operations,
        }
    }
}

/// Checks a request; what comes out is right on every node. `deadline` is how long the client waits for its answer.
///
/// What only reads needs no place in the log, nor in a session: a retry may as well read again.
///
/// # Errors
/// INVALID_ARGUMENT with the field that is wrong.
pub fn receive(request: v1::ExecuteRequest, deadline: Option<Duration>) -> Result<Checked, Rejection> {
    let consistency = consistency(request.consistency)?;
    let Request { session, operations, wait } = Request::from_proto(request).map_err(|why| errors::invalid(&why))?;
    if operations.iter().all(Operation::only_reads) {
        return Ok(Checked::Read(Read { operations, consistency, is_own: false }));
    }
    if consistency != Consistency::Leader {
        let message = "only a request that only reads can be served by a node that does not lead";
        return Err(Rejection::field(reasons::INVALID_REQUEST, CONSISTENCY, message));
    }
    Ok(Checked::Execute(end_wait_before(deadline, Execute { session, operations, wait, is_followed: false })))
}

/// How fresh a read must be, as the protocol says it.
///
/// # Errors
/// INVALID_ARGUMENT: this version knows no such consistency.
pub fn consistency(consistency: i32) -> Result<Consistency, Rejection> {
    match v1::Consistency::try_from(consistency) {
        Ok(v1::Consistency::Unspecified | v1::Consistency::Leader) => Ok(Consistency::Leader),
        Ok(v1::Consistency::AnyNode) => Ok(Consistency::AnyNode),
        Ok(v1::Consistency::Stale) => Ok(Consistency::Stale),
        Err(_) => Err(Rejection::field(reasons::INVALID_REQUEST, CONSISTENCY, format!("there is no {consistency}"))),
    }
}

const CONSISTENCY: &str = "consistency";

/// A client that waits for a message until its deadline would never see the answer "empty", and a message that comes in
/// the last moment would be lost to it. So the wait ends a little earlier.
fn end_wait_before(deadline: Option<Duration>, mut execute: Execute) -> Execute {
    let Some(deadline) = deadline.filter(|_| !execute.wait.is_zero()) else {
        return execute;
    };
    execute.wait = execute.wait.min(deadline - ANSWER_MARGIN.min(deadline / 2));
    if execute.wait.is_zero() {
        execute.operations.iter_mut().for_each(|operation| operation.set_waits(false));
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
    use crate::proto::v1::operation::Operation as Verb;

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
    fn what_changes_something_is_the_leaders_matter_and_what_only_reads_needs_no_entry() {
        let request = |verb, consistency: i32| {
            let operations = vec![v1::Operation { operation: Some(verb) }];
            receive(v1::ExecuteRequest { operations, consistency, ..Default::default() }, None)
        };
        let peek = || Verb::Peek(v1::Peek { queue: "q".to_owned(), ..Default::default() });
        let dequeue = || Verb::Dequeue(v1::Dequeue { queue: "q".to_owned(), wait: None });
        let stale = v1::Consistency::Stale.into();
        assert!(matches!(request(peek(), stale), Ok(Checked::Read(Read { consistency: Consistency::Stale, .. }))));
        assert!(matches!(request(peek(), 0), Ok(Checked::Read(Read { consistency: Consistency::Leader, .. }))));
        assert!(matches!(request(dequeue(), 0), Ok(Checked::Execute(_))));
        assert_eq!(request(dequeue(), stale).unwrap_err().reason(), reasons::INVALID_REQUEST);
        assert_eq!(request(peek(), 99).unwrap_err().reason(), reasons::INVALID_REQUEST);
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
