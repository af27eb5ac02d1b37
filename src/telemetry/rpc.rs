//! What spans say of a gRPC call, by the semantic conventions for RPC.

use opentelemetry::KeyValue;
use opentelemetry::trace::Status;
use tonic::Code;

/// Which method was called: `rpc` is `package.Service/Method`.
pub(super) fn method(rpc: &'static str) -> [KeyValue; 3] {
    let (service, method) = rpc.split_once('/').unwrap_or((rpc, ""));
    let attributes = [("rpc.system", "grpc"), ("rpc.service", service), ("rpc.method", method)];
    attributes.map(|(key, value)| KeyValue::new(key, value))
}

/// How the call ended. A refusal has its code and its reason.
pub(super) fn outcome(refusal: Option<(Code, &'static str)>) -> (Vec<KeyValue>, Status) {
    let (code, reason) = refusal.unwrap_or((Code::Ok, ""));
    let mut attributes = vec![KeyValue::new("rpc.grpc.status_code", code as i64)];
    if refusal.is_some() {
        attributes.push(KeyValue::new("error.type", reason));
    }
    let status = if is_fault_of_server(code) { Status::error(reason) } else { Status::Unset };
    (attributes, status)
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
