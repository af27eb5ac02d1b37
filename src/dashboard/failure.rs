//! An answer that is a no: a status of HTTP, and JSON with a reason for programs and words for people.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tonic::Code;

use crate::api::errors::Rejection;
use crate::client;

/// Why somebody does not get what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    /// In capitals: one of [`crate::reasons`], or one that only this page has.
    pub(super) reason: String,
    /// For people.
    pub(super) message: String,
    /// Further fields of the error.
    pub(super) details: Map<String, Value>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, reason: &str, message: impl Into<String>) -> Self {
        Self { status, reason: reason.to_owned(), message: message.into(), details: Map::new() }
    }

    /// The same, with one more field.
    pub(super) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }

    /// A field of the request is wrong.
    pub(super) fn field(field: &str, why: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, crate::reasons::INVALID_REQUEST, format!("{field}: {why}"))
            .with("field", field)
    }

    /// There is no such node in the cluster.
    pub(super) fn no_such_node(node: &str) -> Self {
        let message = format!("no node of this cluster has the name or the id {node:?}");
        Self::new(StatusCode::NOT_FOUND, "NODE_NOT_FOUND", message)
    }

    /// As many as are allowed do the same at the moment.
    pub(super) fn overloaded(what: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, crate::reasons::OVERLOADED, format!("{what}; try again in a moment"))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut error = self.details;
        error.insert("reason".to_owned(), self.reason.into());
        error.insert("message".to_owned(), self.message.into());
        (self.status, Json(json!({ "error": error }))).into_response()
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        let status = match &error {
            _ if is_in_doubt(&error) => StatusCode::GATEWAY_TIMEOUT,
            client::Error::Refused(refused) => status_of(refused.code),
            client::Error::Unavailable { .. } | client::Error::TooManyRedirects { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ => StatusCode::BAD_GATEWAY,
        };
        let reason = if error.reason().is_empty() { "UNKNOWN".to_owned() } else { error.reason().to_uppercase() };
        let mut message = error.to_string();
        if status == StatusCode::GATEWAY_TIMEOUT {
            message.push_str("; see whether it has, or still does, before you ask again");
        }
        Self { status, reason, message, details: Map::new() }
    }
}

/// What the leader of this cluster would refuse, found without asking it.
impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::new(status_of(rejection.code()), rejection.reason(), rejection.message())
    }
}

/// Whether what was asked for can have been done, although nobody said so.
fn is_in_doubt(error: &client::Error) -> bool {
    match error {
        client::Error::Refused(refused) => refused.in_doubt,
        client::Error::Unavailable { in_doubt, .. } | client::Error::TooManyRedirects { in_doubt, .. } => *in_doubt,
        client::Error::SessionExpired { .. } | client::Error::OutcomeUnknown { .. } => true,
        client::Error::InvalidEndpoint { .. } | client::Error::Malformed { .. } => false,
    }
}

/// As the gRPC-HTTP mapping has it, but for what a client can do something about: that is no fault of the server.
fn status_of(code: Code) -> StatusCode {
    match code {
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => StatusCode::CONFLICT,
        Code::OutOfRange => StatusCode::GONE,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(error: client::Error) -> (u16, bool) {
        let failure = Failure::from(error);
        (failure.status.as_u16(), failure.message.contains("before you ask again"))
    }

    /// Whoever asks again must know whether it can happen twice.
    #[test]
    fn what_may_have_happened_is_told_from_what_has_not() {
        let unavailable = |in_doubt| client::Error::Unavailable { after: None, tried: Vec::new(), in_doubt };
        assert_eq!(status(unavailable(false)), (503, false));
        assert_eq!(status(unavailable(true)), (504, true));
        let refused = |code, in_doubt| {
            let (reason, message) = (crate::reasons::CHANGE_IN_PROGRESS.to_owned(), String::new());
            let metadata = std::collections::HashMap::new();
            client::Error::Refused(client::Refused { code, reason, message, metadata, retry_after: None, in_doubt })
        };
        assert_eq!(status(refused(Code::FailedPrecondition, false)), (409, false));
        assert_eq!(status(refused(Code::FailedPrecondition, true)), (504, true));
        assert_eq!(status(refused(Code::InvalidArgument, false)), (400, false));
        assert_eq!(status(client::Error::SessionExpired { session: 1 }), (504, true));
    }
}
