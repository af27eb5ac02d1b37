//! What a client tells its observer.

use std::fmt;
use std::time::Duration;

/// Something that happened during a call and that its caller need not know, but may want to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The node asked does not lead, and said who does.
    Redirected {
        /// The address asked.
        from: String,
        /// The leader's address.
        to: String,
        /// The leader's name, or its node id if the node asked did not know the name; empty: neither.
        leader: String,
    },
    /// The address of the leader cannot be reached from here: requests go through the node that told it. Told once in the life
    /// of a client, also when leaders change.
    Forwarding {
        /// The address that cannot be reached.
        leader: String,
        /// Why not.
        why: String,
        /// The address of the node that passes requests on.
        by: String,
    },
    /// The request is sent again, perhaps to another address.
    Retrying {
        /// The address that did not answer, or answered "not now".
        address: String,
        /// Why the request is sent again.
        why: String,
    },
    /// There is no answer yet. Told after 3 s, and each time when twice as much has passed.
    Waiting {
        /// The address that is to answer.
        address: String,
        /// How long the call has been waiting, what a dequeue may wait for a message left out.
        waited: Duration,
        /// How long it may wait; this can grow.
        total: Duration,
        /// How long a request may take now, as the cluster has told last. None: no node has told.
        request_time: Option<Duration>,
    },
    /// A session was opened.
    SessionOpened {
        /// Its id.
        session: u64,
    },
    /// The session had expired before the request was first sent: it is sent under another.
    SessionReplaced {
        /// The id of the one that expired.
        session: u64,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Redirected { to, leader, .. } if leader.is_empty() => write!(f, "redirected to {to}, which leads"),
            Event::Redirected { to, leader, .. } => write!(f, "redirected to {to} (node {leader} leads)"),
            Event::Forwarding { leader, why, by } => {
                write!(f, "cannot reach the leader at {leader} ({why}): asks {by} to forward")
            }
            Event::Retrying { address, why } => write!(f, "trying again: {address}: {why}"),
            Event::Waiting { address, waited, total, request_time } => {
                let seconds = Duration::as_secs_f64;
                write!(f, "waiting for {address}: {:.0} s of at most {:.0} s", seconds(waited), seconds(total))?;
                match request_time {
                    Some(time) => write!(f, "; a request can take {:.1} s now", seconds(time)),
                    None => f.write_str("; no node has answered yet"),
                }
            }
            Event::SessionOpened { session } => write!(f, "opened session {session}"),
            Event::SessionReplaced { session } => write!(f, "session {session} had expired: opening another"),
        }
    }
}
