//! Why a node does not let a peer in, and how the peer is told: gRPC status plus `google.rpc.ErrorInfo`.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::ids::{ClusterId, Index, NodeId};
use crate::reasons::{DOMAIN, INDEX, MEMBER_REMOVED};

/// The sender is no member any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The index of the configuration that left it out.
    pub index: Index,
}

/// Why a connection is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The caller belongs to another cluster.
    #[error("wrong cluster: {answering} belongs to cluster {ours} and the caller to {theirs}")]
    WrongCluster {
        /// The node that answers.
        answering: NodeId,
        /// Its cluster.
        ours: ClusterId,
        /// The caller's; as sent, if it is no id.
        theirs: String,
    },
    /// The caller looks for another node at this address.
    #[error("wrong node: {answering} answers where the caller looks for {wanted}")]
    WrongNode {
        /// The node that answers.
        answering: NodeId,
        /// The one that the caller wants.
        wanted: NodeId,
    },
    /// The caller claims to be the node that it calls, or node 0.
    #[error("the caller claims to be node {0}, which it cannot be")]
    WrongCaller(NodeId),
    /// The caller is no member any more.
    #[error("{caller} is no longer a member of the cluster: the configuration at index {index} left it out")]
    Removed {
        /// The caller.
        caller: NodeId,
        /// The index of the configuration that left it out.
        index: Index,
    },
    /// The caller says something that makes no sense.
    #[error("malformed: {0}")]
    Malformed(String),
    /// The caller does not say who it is.
    #[error("no hello within {0:?}")]
    NoHello(std::time::Duration),
}

impl Refusal {
    fn code(&self) -> Code {
        match self {
            Refusal::Malformed(_) | Refusal::WrongCaller(_) => Code::InvalidArgument,
            Refusal::NoHello(_) => Code::DeadlineExceeded,
            _ => Code::FailedPrecondition,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Refusal::WrongCluster { .. } => "WRONG_CLUSTER",
            Refusal::WrongNode { .. } => "WRONG_NODE",
            Refusal::WrongCaller(_) => "WRONG_CALLER",
            Refusal::Removed { .. } => MEMBER_REMOVED,
            Refusal::Malformed(_) => "MALFORMED",
            Refusal::NoHello(_) => "NO_HELLO",
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        let mut metadata = HashMap::new();
        if let Refusal::Removed { index, .. } = &refusal {
            metadata.insert(INDEX.to_owned(), index.to_string());
        }
        let details = ErrorDetails::with_error_info(refusal.reason(), DOMAIN, metadata);
        Status::with_error_details(refusal.code(), refusal.to_string(), details)
    }
}

/// What a refusal means to the node that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is no member any more.
    Removed(Index),
    /// It is not let in.
    Refused(String),
}

/// The refusal in a status; none: the status is of another kind, such as a broken connection.
pub fn refusal_in(status: &Status) -> Option<Told> {
    let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN)?;
    let index = info.metadata.get(INDEX).and_then(|index| index.parse().ok());
    match index {
        Some(index) if info.reason == MEMBER_REMOVED => Some(Told::Removed(Index(index))),
        _ => Some(Told::Refused(printable(status.message()))),
    }
}

/// What a peer wrote, short and without control characters, so that it can go to a terminal.
pub fn printable(text: &str) -> String {
    text.chars().take(300).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_node_learns_the_index() {
        let status = Status::from(Refusal::Removed { caller: NodeId(3), index: Index(41) });
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(refusal_in(&status), Some(Told::Removed(Index(41))));
    }

    #[test]
    fn a_refused_node_learns_why() {
        let refusal = Refusal::WrongNode { answering: NodeId(1), wanted: NodeId(2) };
        assert_eq!(refusal_in(&refusal.clone().into()), Some(Told::Refused(refusal.to_string())));
    }

    #[test]
    fn other_errors_are_no_refusals() {
        assert_eq!(refusal_in(&Status::unavailable("connection lost")), None);
    }

    #[test]
    fn what_a_peer_wrote_cannot_move_the_cursor() {
        assert_eq!(printable("a\u{1b}[2J\n"), "a\u{fffd}[2J\u{fffd}");
    }
}
