//! Why a call of the client has no result.

use std::time::Duration;

use super::Refused;
use crate::reasons;

const IN_DOUBT: &str = "; it may have taken effect all the same";

/// Why a call failed. Wherever it matters, the variant says whether the request may have taken effect.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// An address given to the client is none.
    #[error("endpoint '{endpoint}': {why}")]
    InvalidEndpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        why: String,
    },
    /// A node said no, or went on saying "not now" until the deadline. Nothing took effect, unless
    /// [`Refused::in_doubt`].
    #[error("{0}")]
    Refused(Refused),
    /// No node served the request until the deadline.
    #[error("no node served the request{}{}{}",
        .after.map(|after| format!(" within {}", humantime::format_duration(after))).unwrap_or_default(),
        list(.tried),
        if *.in_doubt { IN_DOUBT } else { "" })]
    Unavailable {
        /// The deadline; none when there was only one attempt.
        after: Option<Duration>,
        /// Each address that was tried last, with what became of that.
        tried: Vec<(String, String)>,
        /// The request may have been executed, and may still be.
        in_doubt: bool,
    },
    /// Each node that was asked named another as the leader. Nothing took effect, unless `in_doubt`.
    #[error("redirected {redirects} times in a row, lastly from {from} to {to}: the nodes disagree about who leads{}",
        if *.in_doubt { IN_DOUBT } else { "" })]
    TooManyRedirects {
        /// How many redirects were followed.
        redirects: u32,
        /// The node asked last.
        from: String,
        /// The leader it named.
        to: String,
        /// An earlier sending of the request may have been executed.
        in_doubt: bool,
    },
    /// The session ended while an earlier sending of the request was unanswered: whether it took effect is unknown.
    #[error("session {session} expired before the answer came: the request may or may not have taken effect")]
    SessionExpired {
        /// The session.
        session: u64,
    },
    /// Whether the request took effect is unknown, and repeating it could make it take effect twice.
    #[error("the request may or may not have taken effect: {why}")]
    OutcomeUnknown {
        /// What happened to it.
        why: String,
    },
    /// A node's answer contradicts the interface.
    #[error("the node's answer makes no sense: {what}")]
    Malformed {
        /// What is wrong with it.
        what: String,
    },
}

impl Error {
    /// The reason in a word: one of [`crate::reasons`] if a node gave it, in lower case if the client found it. Part of the
    /// interface: it does not change.
    pub fn reason(&self) -> &str {
        match self {
            Error::InvalidEndpoint { .. } => "invalid_endpoint",
            Error::Unavailable { .. } => "unavailable",
            Error::TooManyRedirects { .. } => "too_many_redirects",
            Error::SessionExpired { .. } => reasons::SESSION_EXPIRED,
            Error::OutcomeUnknown { .. } => reasons::OUTCOME_UNKNOWN,
            Error::Malformed { .. } => "malformed",
            Error::Refused(refused) => &refused.reason,
        }
    }
}

fn list(tried: &[(String, String)]) -> String {
    let each: Vec<_> = tried.iter().map(|(address, why)| format!("{address}: {why}")).collect();
    if each.is_empty() { String::new() } else { format!(" ({})", each.join("; ")) }
}
