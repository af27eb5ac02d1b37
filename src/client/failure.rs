//! What an answer other than OK means.

use std::collections::HashMap;
use std::error::Error as _;
use std::fmt;
use std::io;
use std::time::Duration;

use tonic::{Code, ConnectError, Status};
use tonic_types::StatusExt;

use super::reach::Obstacle;
use crate::reasons;

/// A node's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The gRPC code.
    pub code: Code,
    /// One of [`crate::reasons`]; empty when the answer had none, because it does not come from a Quorate node or was
    /// refused before any of our code saw it.
    pub reason: String,
    /// For people.
    pub message: String,
    /// The variable parts of the message, under the keys of [`crate::reasons`].
    pub metadata: HashMap<String, String>,
    /// Waiting this long may help.
    pub retry_after: Option<Duration>,
    /// An earlier sending of the same request went unanswered and may have taken effect.
    pub in_doubt: bool,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.message.is_empty() {
            write!(f, "{}", self.code.description())?;
        }
        if self.in_doubt {
            f.write_str("; an earlier sending of the request may have taken effect all the same")?;
        }
        Ok(())
    }
}

/// Why one sending of a request has no result.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// No connection, for this reason: nothing was sent.
    Unreachable(String, Obstacle),
    /// The connection or the answer was lost: the request may have been executed.
    Lost(String),
    /// No answer came in this time: the request may have been executed.
    Silent(Duration),
    /// The node answered, with something else than OK.
    Refused(Refused),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unreachable(why, _) => f.write_str(why),
            Failure::Lost(why) => write!(f, "the answer was lost ({why})"),
            Failure::Silent(time) => write!(f, "no answer in {:.1} s", time.as_secs_f64()),
            Failure::Refused(refused) => refused.fmt(f),
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        if let Some(info) = status.get_details_error_info()
            && info.domain == reasons::DOMAIN
        {
            // A node that forwarded the request has lost the answer, and knows no more than who has lost it himself.
            if status.code() == Code::Unknown && info.reason == reasons::OUTCOME_UNKNOWN {
                return Failure::Lost(status.message().to_owned());
            }
            let retry_after = status.get_details_retry_info().and_then(|info| info.retry_delay);
            return Failure::Refused(refused(&status, info.reason, info.metadata, retry_after));
        }
        if connecting_failed(&status) {
            return Failure::Unreachable(root_cause(&status), obstacle(&status));
        }
        match status.code() {
            // Without a reason of ours these come from a connection that broke, or from something in between.
            Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded => Failure::Lost(root_cause(&status)),
            Code::Unknown | Code::Internal if status.source().is_some() => Failure::Lost(root_cause(&status)),
            _ => Failure::Refused(refused(&status, String::new(), HashMap::new(), None)),
        }
    }
}

/// What the sender of a request does about a node's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// Go to the leader. Nothing was proposed.
    Redirect(Leader),
    /// Ask another node. Nothing was proposed.
    Elsewhere,
    /// Ask another node, if the request may be repeated although it may have been executed. With a session it may.
    ElsewhereInDoubt,
    /// As the one before, but a session does not help: the request had none.
    Unknown,
    /// Ask the same node again after a while. Nothing was proposed.
    Later,
    /// Asking again does not help.
    GiveUp,
}

/// The leader, as another node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leader {
    /// Its client address. Never empty.
    pub(super) address: String,
    /// Its name, or its id if the name is not known; perhaps empty.
    pub(super) name: String,
}

impl Refused {
    /// What to do about this answer of the node at `address`.
    pub(super) fn advice(&self, address: &str) -> Advice {
        match (self.code, self.reason.as_str()) {
            // A node that names itself, or nobody, while it does not lead knows no leader.
            (Code::Unavailable, reasons::NOT_LEADER) => match self.leader() {
                Some(leader) if leader.address != address && !self.names_itself() => Advice::Redirect(leader),
                _ => Advice::Elsewhere,
            },
            (Code::Unavailable, reasons::NO_LEADER | reasons::SHUTTING_DOWN) => Advice::Elsewhere,
            (Code::Unavailable, _) => Advice::ElsewhereInDoubt,
            (Code::Aborted, reasons::OUTCOME_UNKNOWN) => Advice::Unknown,
            (_, reasons::OVERLOADED | reasons::TOO_MANY_OUTCOMES) => Advice::Later,
            (_, reasons::CHANGE_IN_PROGRESS | reasons::LEARNER_NOT_READY) => Advice::Later,
            _ => Advice::GiveUp,
        }
    }

    /// How long a request may take now, as the node says.
    pub(super) fn request_time(&self) -> Option<Duration> {
        self.metadata.get(reasons::REQUEST_TIME_MS)?.parse().ok().map(Duration::from_millis)
    }

    fn leader(&self) -> Option<Leader> {
        let address = self.metadata.get(reasons::LEADER_ADDRESS).filter(|address| !address.is_empty())?;
        let name = self.metadata.get(reasons::LEADER_NAME).filter(|name| !name.is_empty());
        let name = name.or_else(|| self.metadata.get(reasons::LEADER_ID)).cloned().unwrap_or_default();
        Some(Leader { address: address.clone(), name })
    }

    fn names_itself(&self) -> bool {
        let leader = self.metadata.get(reasons::LEADER_ID);
        leader.is_some() && leader == self.metadata.get(reasons::NODE_ID)
    }
}

fn refused(
    status: &Status,
    reason: String,
    metadata: HashMap<String, String>,
    retry_after: Option<Duration>,
) -> Refused {
    Refused {
        code: status.code(),
        reason,
        message: status.message().to_owned(),
        metadata,
        retry_after,
        in_doubt: false,
    }
}

/// Whether the status stands for a connection that could not be made, so that nothing was sent.
fn connecting_failed(status: &Status) -> bool {
    causes(status).any(|cause| cause.is::<ConnectError>())
}

/// What has kept the connection from being made.
fn obstacle(status: &Status) -> Obstacle {
    let of = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<io::Error>() {
        Some(error) if error.kind() == io::ErrorKind::ConnectionRefused => Some(Obstacle::Refused),
        // hyper-util has no type for what its resolver says.
        _ => (cause.to_string() == "dns error").then_some(Obstacle::NameUnknown),
    };
    causes(status).find_map(of).unwrap_or(Obstacle::Other)
}

/// The innermost cause, which is the one that says something: "Connection refused", not "transport error".
pub(crate) fn root_cause(status: &Status) -> String {
    match causes(status).last() {
        Some(cause) => without_error_number(&cause.to_string()),
        None => status.message().to_owned(),
    }
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(status.source(), |&cause| cause.source())
}

/// "Connection refused (os error 111)" without its number, in lower case as the middle of a sentence.
fn without_error_number(text: &str) -> String {
    let text = text.split(" (os error").next().unwrap_or(text);
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}
