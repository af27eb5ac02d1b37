//! What spans and metrics say of a gRPC call, by the semantic conventions for RPC.

use std::sync::Arc;

use opentelemetry::trace::Status;
use opentelemetry::{KeyValue, Value};
use tonic::Code;

pub(super) const SYSTEM: &str = "rpc.system.name";
pub(super) const METHOD: &str = "rpc.method";
pub(super) const STATUS_CODE: &str = "rpc.status_code";
pub(super) const ERROR_TYPE: &str = "error.type";

/// Which method was called: `rpc` is `package.Service/Method`.
pub(super) fn method(rpc: impl Into<Value>) -> [KeyValue; 2] {
    [KeyValue::new(SYSTEM, "grpc"), KeyValue::new(METHOD, rpc)]
}

/// Which method was called, and how the call ended, with few values: no reason of a refusal.
pub(super) fn measured(rpc: Arc<str>, code: Code) -> Vec<KeyValue> {
    let error = is_fault_of_server(code).then(|| KeyValue::new(ERROR_TYPE, name(code)));
    method(rpc).into_iter().chain([KeyValue::new(STATUS_CODE, name(code))]).chain(error).collect()
}

/// Where clients reach the server: `HOST:PORT`.
pub(super) fn server(address: &str) -> Vec<KeyValue> {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = port.parse::<u16>().ok().map(|port| KeyValue::new("server.port", i64::from(port)));
    [KeyValue::new("server.address", host)].into_iter().chain(port).collect()
}

/// How the call ended. A refusal has its code and its reason.
pub(super) fn outcome(refusal: Option<(Code, &'static str)>) -> (Vec<KeyValue>, Status) {
    let (code, reason) = refusal.unwrap_or((Code::Ok, ""));
    let mut attributes = vec![KeyValue::new(STATUS_CODE, name(code))];
    if refusal.is_some() {
        attributes.push(KeyValue::new(ERROR_TYPE, reason));
    }
    let status = if is_fault_of_server(code) { Status::error(reason) } else { Status::Unset };
    (attributes, status)
}

/// The name of a code in the documents of gRPC.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Only these codes are errors of a server; others tell of the client.
fn is_fault_of_server(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let port = |port| KeyValue::new("server.port", port);
        for (address, host, expected) in [
            ("10.0.0.1:7400", "10.0.0.1", Some(port(7400))),
            ("[::1]:7400", "::1", Some(port(7400))),
            ("a.example", "a.example", None),
        ] {
            let mut attributes = server(address).into_iter();
            assert_eq!(attributes.next(), Some(KeyValue::new("server.address", host)));
            assert_eq!(attributes.next(), expected);
        }
    }
}
