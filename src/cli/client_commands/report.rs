//! What a user is told when a command fails: one line, perhaps a hint, and an exit code.

use std::io::{self, Write};

use serde_json::json;
use tonic::Code;

use super::Output;
use super::input::Unreadable;
use crate::cli::{Exit, Failure};
use crate::client::{self, Refused};
use crate::reasons;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum Error {
    /// The client has no result.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// There was no message to take.
    #[error("queue '{queue}' is empty")]
    Empty { queue: String },
    /// Leases that were to be settled or extended had ended.
    #[error("the lease has ended, and nothing was done about it: {}", .tokens.join(" "))]
    LeaseExpired { tokens: Vec<String> },
    /// The messages are given both ways.
    #[error("`-` stands for standard input and goes alone; after `--` it is a message")]
    InputNotAlone,
    /// Standard input is that of the REPL.
    #[error("standard input is read by the REPL itself")]
    InputTaken,
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// Standard input gives no further message.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Not every line of standard input became a message.
    #[error("{}; enqueued before: {enqueued}", stopped(*.enqueued, *.sending, .source))]
    Lines {
        /// These were.
        enqueued: u64,
        /// So many after them are concerned.
        sending: u64,
        source: Box<Error>,
    },
    /// Standard output does not take what is printed.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    /// A message has left its queue and could not be printed.
    #[error("message {id} has left the queue, but standard output does not take it: {source}")]
    NotPrinted { id: String, source: io::Error },
}

/// Ends a command that failed: its exit code, after standard error has been told, or what `main` tells there.
pub(in crate::cli) fn end(error: &Error, output: Output) -> Result<Exit, Failure> {
    match error {
        // Who reads only the beginning, such as `head`, has all that it wants.
        Error::Output(cause) if cause.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Done),
        _ if output == Output::Json => tell(&document(error).to_string()),
        Error::Empty { .. } => tell("empty"),
        _ => {
            let hint = hint(error).map(str::to_owned);
            return Err(Failure { exit: exit(error), error: error.to_string().replace('\n', " ").into(), hint });
        }
    }
    Ok(exit(error))
}

/// Writes a line to standard error. If that takes nothing, there is nobody left to tell.
fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Names the lines of standard input to which something happened, if it happened to any.
fn stopped(enqueued: u64, sending: u64, why: &Error) -> String {
    let lines = match sending {
        0 => return why.to_string(),
        1 => format!("line {}", enqueued + 1),
        _ => format!("lines {} to {}", enqueued + 1, enqueued + sending),
    };
    match why {
        Error::Interrupted => format!("{why} while {lines} were under way, which may be enqueued or not"),
        _ => format!("{lines}: {why}"),
    }
}

/// The exit code for an error.
fn exit(error: &Error) -> Exit {
    let error = match error {
        Error::Empty { .. } => return Exit::QueueEmpty,
        Error::LeaseExpired { .. } => return Exit::Refused,
        Error::Output(_) | Error::NotPrinted { .. } | Error::Unreadable(Unreadable::Input(_)) => return Exit::Failed,
        Error::InputNotAlone | Error::InputTaken | Error::Unreadable(Unreadable::TooLong) => return Exit::Usage,
        Error::Interrupted => return Exit::Interrupted,
        Error::Lines { source, .. } => return exit(source),
        Error::Client(error) => error,
    };
    match error {
        client::Error::InvalidEndpoint { .. } => Exit::Usage,
        client::Error::Unavailable { .. } | client::Error::TooManyRedirects { .. } => Exit::Unavailable,
        client::Error::Refused(refused) => refused_exit(refused),
        client::Error::SessionExpired { .. }
        | client::Error::OutcomeUnknown { .. }
        | client::Error::Malformed { .. } => Exit::Failed,
    }
}

fn refused_exit(refused: &Refused) -> Exit {
    match refused.code {
        Code::InvalidArgument => Exit::Usage,
        Code::Unavailable | Code::DeadlineExceeded => Exit::Unavailable,
        Code::ResourceExhausted if refused.reason == reasons::OVERLOADED => Exit::Unavailable,
        Code::Internal | Code::DataLoss | Code::Unknown | Code::Unimplemented => Exit::Failed,
        _ => Exit::Refused,
    }
}

/// `{"error": {"reason", "message", "hint", "exit_code", "metadata"}}`. The reason is one of the interface's, or in lower
/// case one that the client found.
fn document(error: &Error) -> serde_json::Value {
    let metadata = match error {
        Error::Client(client::Error::Refused(refused)) => json!(refused.metadata),
        Error::LeaseExpired { tokens } => json!({ "tokens": tokens }),
        Error::Lines { enqueued, sending, .. } => json!({ "enqueued": enqueued, "sending": sending }),
        _ => json!({}),
    };
    json!({
        "error": {
            "reason": reason(error),
            "message": error.to_string(),
            "hint": hint(error),
            "exit_code": exit(error).code(),
            "metadata": metadata,
        }
    })
}

fn reason(error: &Error) -> &str {
    match error {
        Error::Empty { .. } => "empty",
        Error::LeaseExpired { .. } => reasons::LEASE_EXPIRED,
        Error::Output(_) | Error::NotPrinted { .. } => "output",
        Error::InputNotAlone | Error::InputTaken => "usage",
        Error::Unreadable(Unreadable::TooLong) => reasons::MESSAGE_TOO_LARGE,
        Error::Unreadable(Unreadable::Input(_)) => "input",
        Error::Interrupted => "interrupted",
        Error::Lines { source, .. } => reason(source),
        Error::Client(error) => error.reason(),
    }
}

fn hint(error: &Error) -> Option<&'static str> {
    let error = match error {
        Error::Client(error) => error,
        Error::Lines { source, .. } => return hint(source),
        Error::InputTaken => return Some("`quorate enqueue QUEUE -` outside of the REPL reads lines"),
        _ => return None,
    };
    match error {
        client::Error::InvalidEndpoint { .. } => Some("--endpoints takes HOST:PORT, separated by commas"),
        client::Error::SessionExpired { .. } | client::Error::OutcomeUnknown { .. } => Some(LOOK),
        client::Error::Unavailable { in_doubt: true, .. } => Some(LOOK),
        client::Error::Unavailable { tried, .. } if is_hidden_leader(tried) => Some(
            "the leader cannot be reached from here; the node that named it forwards calls, unless --routing is direct",
        ),
        client::Error::Unavailable { tried, .. } if no_leader(tried) => {
            Some("`quorate status` shows which nodes are up; a majority of the voters must be")
        }
        client::Error::Unavailable { .. } => {
            Some("is a node running there? --endpoints HOST:PORT,... names others, --timeout 30s tries longer")
        }
        client::Error::TooManyRedirects { .. } => Some("`quorate status` shows whom each node follows"),
        client::Error::Refused(refused) => refused_hint(refused),
        client::Error::Malformed { .. } => Some("do the nodes and this program have the same version?"),
    }
}

const LOOK: &str = "`quorate peek` or `quorate log` shows whether it took effect; look before you repeat it";

/// A node that answers names a leader, which does not.
fn is_hidden_leader(tried: &[(String, String)]) -> bool {
    let is_named = |leader: &str| tried.iter().any(|(_, why)| why.contains(&format!(" at {leader} does, in term")));
    tried.iter().any(|(address, why)| !why.contains("lead") && is_named(address))
}

fn no_leader(tried: &[(String, String)]) -> bool {
    // Whoever could not be reached was "refused" by its machine; any other answer came from a node.
    tried.iter().any(|(_, why)| why.contains("lead"))
}

fn refused_hint(refused: &Refused) -> Option<&'static str> {
    match refused.reason.as_str() {
        reasons::INVALID_QUEUE_NAME => Some("a queue has 1 to 255 letters, digits, '.', '_', '-', ':' and '/'"),
        reasons::QUEUE_FULL => Some("dequeue some of its messages first"),
        reasons::MEMBER_NOT_FOUND => Some("`quorate member list` shows names and node ids"),
        reasons::WOULD_LOSE_QUORUM => Some("`quorate status` shows which voters are up; add or restart one first"),
        reasons::CHANGE_IN_PROGRESS | reasons::LEARNER_NOT_READY => {
            Some("try again in a moment, or with a longer --timeout; `quorate member list` shows how far it is")
        }
        reasons::MEMBER_REMOVED => Some("start it with an empty data directory, which gives it another node id"),
        reasons::COMPACTED => Some("`quorate log` without --from begins at the first entry there is"),
        "" => Some("is this the client port of a quorate node?"),
        _ => None,
    }
}
