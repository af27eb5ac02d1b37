//! The only table from what can go wrong to what a client is told: a gRPC status with a `google.rpc.ErrorInfo`, and a
//! `RetryInfo` where waiting helps. The words are those of [`crate::reasons`].

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::Context;
use crate::cluster::members::Unacceptable;
use crate::ids::{ClusterId, Contact, Index, NodeId, Term};
use crate::proto::v1;
use crate::raft::{ChangeRefused, TransferRefused};
use crate::reasons;
use crate::replica::Refusal;
use crate::state_machine::{self, InvalidOperation, InvalidRequest, Request};
use crate::storage;
use crate::telemetry;

/// After about this long an election has usually ended.
const AFTER_ELECTION: Duration = Duration::from_millis(300);
/// After about this long an overload or a membership change has often passed.
const SOON: Duration = Duration::from_millis(200);

/// A request that is not carried out: everything that its status will say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    code: Code,
    reason: &'static str,
    message: String,
    metadata: Vec<(&'static str, String)>,
    retry_after: Option<Duration>,
}

impl Rejection {
    /// A rejection with a reason of [`crate::reasons`] and a sentence for people.
    pub fn new(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), metadata: Vec::new(), retry_after: None }
    }

    /// What is wrong with one field of the request.
    pub fn field(reason: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        let field = field.into();
        let message = format!("{field}: {}", message.into());
        Self::new(Code::InvalidArgument, reason, message).with(reasons::FIELD, field)
    }

    /// Something that varies, also for programs to read.
    pub fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        self.metadata.push((key, value.to_string()));
        self
    }

    /// Waiting helps, for about this long.
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// The reason, one of [`crate::reasons`].
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// The code of the status.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The sentence for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The status that says all this, and which node says it. Every refusal comes through here, and is told.
    pub fn into_status(self, context: &Context) -> Status {
        telemetry::request::refused(self.reason, &self.message);
        let mut metadata: std::collections::HashMap<String, String> =
            self.metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        metadata.insert(reasons::NODE_ID.to_owned(), context.handle.node().to_string());
        if let Some(cluster) = context.handle.cluster() {
            metadata.insert(reasons::CLUSTER_ID.to_owned(), cluster.to_string());
        }
        if let Some(request_time) = context.handle.request_time() {
            metadata.insert(reasons::REQUEST_TIME_MS.to_owned(), request_time.as_millis().to_string());
        }
        let mut details = ErrorDetails::with_error_info(self.reason, reasons::DOMAIN, metadata);
        if let Some(delay) = self.retry_after {
            details.set_retry_info(Some(delay));
        }
        Status::with_error_details(self.code, self.message, details)
    }
}

/// What a client is told when the replica refused.
pub fn refusal(refusal: Refusal, context: &Context) -> Rejection {
    match refusal {
        Refusal::NotLeader { leader: Some(leader), term } => not_leader(leader, term, context),
        Refusal::NotLeader { leader: None, term } => no_leader(term, context),
        Refusal::OutcomeUnknown { at, retry_is_exact } => {
            outcome_unknown("leadership was lost after the request was proposed", retry_is_exact)
                .with(reasons::INDEX, at.index)
                .with(reasons::TERM, at.term)
        }
        Refusal::Overloaded => Rejection::new(
            Code::ResourceExhausted,
            reasons::OVERLOADED,
            "the node has as many requests in hand as it may; nothing was done, try again",
        )
        .retry_after(SOON),
        Refusal::Refused(refusal) => refused(&refusal),
        Refusal::Change(ChangeRefused::NotLeader) | Refusal::Transfer(TransferRefused::NotLeader) => {
            no_leader(context.term(), context)
        }
        Refusal::Change(refused) => change_refused(&refused),
        Refusal::Transfer(refused) => transfer_refused(&refused),
        Refusal::NotTransferred { to, leader } => not_transferred(to, leader),
        Refusal::BodyNotInLog => Rejection::new(
            Code::OutOfRange,
            reasons::COMPACTED,
            "the log of this node does not hold a message that the answer needs; ask another member",
        ),
        Refusal::Quarantined => Rejection::new(
            Code::Unavailable,
            reasons::NO_LEADER,
            "this node stands still because what it saw cannot be safe; its log says more; ask another member",
        ),
    }
}

/// Another node leads.
pub fn not_leader(leader: NodeId, term: Term, context: &Context) -> Rejection {
    let contact = context.book.get(leader);
    let (name, address) = contact.map_or_else(Default::default, |contact| (contact.name, contact.client_address));
    let at = if address.is_empty() { String::new() } else { format!(" at {address}") };
    let who = if name.is_empty() { leader.to_string() } else { name.clone() };
    let message = format!("this node does not lead; {who}{at} does, in term {term}");
    let rejection = Rejection::new(Code::Unavailable, reasons::NOT_LEADER, message)
        .with(reasons::LEADER_ID, leader)
        .with(reasons::TERM, term);
    if address.is_empty() {
        return rejection;
    }
    rejection.with(reasons::LEADER_ADDRESS, address).with(reasons::LEADER_NAME, name)
}

fn no_leader(term: Term, context: &Context) -> Rejection {
    let message = match context.handle.cluster() {
        None => format!("this node belongs to no cluster yet: {}", *context.waits_for.borrow()),
        Some(_) if context.was_removed() => {
            format!("this node was removed from its cluster; members it knew: {}", context.known_addresses())
        }
        Some(_) => format!("no leader is known in term {term}: an election is under way, or most members are away"),
    };
    nobody_leads(message).with(reasons::TERM, term)
}

fn nobody_leads(message: String) -> Rejection {
    Rejection::new(Code::Unavailable, reasons::NO_LEADER, message).retry_after(AFTER_ELECTION)
}

/// The request cannot be right on any node. Its message begins with the field that is to blame.
pub fn invalid(why: &InvalidRequest) -> Rejection {
    let message = why.to_string();
    let field = message.split(':').next().unwrap_or_default().to_owned();
    let invalid = |reason| Rejection::new(Code::InvalidArgument, reason, message.clone()).with(reasons::FIELD, &field);
    match why {
        InvalidRequest::Operation { source: InvalidOperation::QueueName { .. }, .. } => {
            invalid(reasons::INVALID_QUEUE_NAME)
        }
        InvalidRequest::MessageTooLarge { .. } => {
            invalid(reasons::MESSAGE_TOO_LARGE).with(reasons::LIMIT, Request::MESSAGE_BYTES_MAX)
        }
        InvalidRequest::RequestTooLarge { .. } => {
            invalid(reasons::REQUEST_TOO_LARGE).with(reasons::LIMIT, Request::BYTES_MAX)
        }
        InvalidRequest::TooManyOperations { .. } => {
            invalid(reasons::REQUEST_TOO_LARGE).with(reasons::LIMIT, Request::OPERATIONS_MAX)
        }
        InvalidRequest::TooMuchWork { .. } => {
            invalid(reasons::REQUEST_TOO_LARGE).with(reasons::LIMIT, Request::WORK_MAX)
        }
        InvalidRequest::LimitTooHigh { limit_max, .. } => {
            invalid(reasons::INVALID_REQUEST).with(reasons::LIMIT, limit_max)
        }
        _ => invalid(reasons::INVALID_REQUEST),
    }
}

/// The state machine said no; the outcome is final.
fn refused(refusal: &state_machine::Refusal) -> Rejection {
    use state_machine::Refusal::*;
    let full = |reason, limit: &u64| {
        Rejection::new(Code::ResourceExhausted, reason, refusal.to_string()).with(reasons::LIMIT, limit)
    };
    let failed = |reason| Rejection::new(Code::FailedPrecondition, reason, refusal.to_string());
    match refusal {
        QueueFull { queue, messages_max, .. } => full(reasons::QUEUE_FULL, messages_max).with(reasons::QUEUE, queue),
        TooManyQueues { queues_max } => full(reasons::TOO_MANY_QUEUES, queues_max),
        TooManySessions { sessions_max } => full(reasons::TOO_MANY_SESSIONS, sessions_max),
        TooManyOutcomes { session, outcomes_max } => {
            full(reasons::TOO_MANY_OUTCOMES, outcomes_max).with(reasons::SESSION, session)
        }
        AnswerTooLarge { bytes_max } => full(reasons::ANSWER_TOO_LARGE, bytes_max),
        QueueNotFound(queue) => {
            Rejection::new(Code::NotFound, reasons::QUEUE_NOT_FOUND, refusal.to_string()).with(reasons::QUEUE, queue)
        }
        LeaseExpired { queue, .. } => failed(reasons::LEASE_EXPIRED).with(reasons::QUEUE, queue),
        SessionExpired(session) => failed(reasons::SESSION_EXPIRED).with(reasons::SESSION, session),
        SequenceForgotten { session, sequence } => {
            failed(reasons::SEQUENCE_FORGOTTEN).with(reasons::SESSION, session).with(reasons::SEQUENCE, sequence)
        }
    }
}

/// The session was opened in another cluster, such as an earlier one at this address.
pub fn session_of_another_cluster(session: &v1::SessionRequest, own: ClusterId) -> Rejection {
    let v1::SessionRequest { id, cluster_id, .. } = session;
    let message = format!("session {id} was opened in cluster {cluster_id}, and this is cluster {own}; open another");
    Rejection::new(Code::FailedPrecondition, reasons::SESSION_EXPIRED, message).with(reasons::SESSION, id)
}

/// The membership is not changed.
pub fn change_refused(refusal: &ChangeRefused) -> Rejection {
    let failed = |reason| Rejection::new(Code::FailedPrecondition, reason, refusal.to_string());
    match refusal {
        ChangeRefused::NotLeader => nobody_leads(refusal.to_string()),
        ChangeRefused::InProgress | ChangeRefused::HandingOver => failed(reasons::CHANGE_IN_PROGRESS).retry_after(SOON),
        ChangeRefused::WouldLoseQuorum { .. } | ChangeRefused::LastVoter => failed(reasons::WOULD_LOSE_QUORUM),
        ChangeRefused::WasRemoved(node) => failed(reasons::MEMBER_REMOVED).with(reasons::MEMBER, node),
        ChangeRefused::LearnerNotReady { learner, .. } | ChangeRefused::ReplacedLives { learner, .. } => {
            failed(reasons::LEARNER_NOT_READY).with(reasons::MEMBER, learner).retry_after(SOON)
        }
        ChangeRefused::UnknownMember(node) => {
            Rejection::new(Code::NotFound, reasons::MEMBER_NOT_FOUND, refusal.to_string()).with(reasons::MEMBER, node)
        }
        ChangeRefused::AlreadyMember(node) | ChangeRefused::AlreadyVoter(node) => {
            Rejection::new(Code::AlreadyExists, reasons::INVALID_REQUEST, refusal.to_string())
                .with(reasons::MEMBER, node)
        }
    }
}

/// Leadership is not handed over.
pub fn transfer_refused(refusal: &TransferRefused) -> Rejection {
    let failed = || Rejection::new(Code::FailedPrecondition, reasons::TRANSFER_FAILED, refusal.to_string());
    match refusal {
        TransferRefused::NotLeader => nobody_leads(refusal.to_string()),
        TransferRefused::InProgress(to) => failed().with(reasons::MEMBER, to).retry_after(SOON),
        TransferRefused::NotVoter(to) | TransferRefused::NotHeard(to) | TransferRefused::NeedsSnapshot(to) => {
            failed().with(reasons::MEMBER, to)
        }
        TransferRefused::UnknownMember(to) => {
            Rejection::new(Code::NotFound, reasons::MEMBER_NOT_FOUND, refusal.to_string()).with(reasons::MEMBER, to)
        }
        TransferRefused::AlreadyLeads => {
            Rejection::new(Code::FailedPrecondition, reasons::ALREADY_LEADS, refusal.to_string())
        }
        TransferRefused::Leaving | TransferRefused::NoCandidate => failed(),
    }
}

fn not_transferred(to: NodeId, leader: Option<NodeId>) -> Rejection {
    let outcome = leader.map_or("no leader is known yet".to_owned(), |leader| format!("{leader} leads"));
    let message = format!("leadership did not go to {to} in time: {outcome}");
    let rejection =
        Rejection::new(Code::FailedPrecondition, reasons::TRANSFER_FAILED, message).with(reasons::MEMBER, to);
    match leader {
        Some(leader) => rejection.with(reasons::LEADER_ID, leader),
        None => rejection,
    }
}

/// The request for a membership change cannot be granted, whatever the replica thinks of it.
pub fn unacceptable(refusal: &Unacceptable) -> Rejection {
    let message = refusal.to_string();
    match refusal {
        Unacceptable::NotSoMany(_) => {
            Rejection::new(Code::InvalidArgument, reasons::INVALID_REQUEST, message).with(reasons::FIELD, "members")
        }
        Unacceptable::InvalidMember { field, .. } => {
            Rejection::new(Code::InvalidArgument, reasons::INVALID_REQUEST, message).with(reasons::FIELD, field)
        }
        Unacceptable::NameTaken { by, .. } => {
            Rejection::new(Code::AlreadyExists, reasons::NAME_TAKEN, message).with(reasons::MEMBER, by)
        }
        Unacceptable::Removed(node) => {
            Rejection::new(Code::FailedPrecondition, reasons::MEMBER_REMOVED, message).with(reasons::MEMBER, node)
        }
        Unacceptable::NoSuchMember(member) => {
            Rejection::new(Code::NotFound, reasons::MEMBER_NOT_FOUND, message).with(reasons::MEMBER, member)
        }
    }
}

/// The log could not be read.
pub fn unreadable(error: &storage::Error) -> Rejection {
    use storage::Error::*;
    let message = format!("the log cannot be read: {error}");
    let corrupt = || Rejection::new(Code::DataLoss, reasons::CORRUPT, message.clone());
    match error {
        Corrupt { file, offset, .. } => corrupt().with(reasons::FILE, file).with(reasons::OFFSET, offset),
        Damaged { file, .. } => corrupt().with(reasons::FILE, file),
        Malformed(_) => corrupt(),
        NotInLog { .. } => Rejection::new(Code::OutOfRange, reasons::COMPACTED, message),
        Io { .. }
        | Failed
        | FilesUnknown
        | NewerFormat { .. }
        | AnotherFormat { .. }
        | Locked { .. }
        | AnotherCluster { .. }
        | SetAside { .. }
        | Superseded { .. } => internal(message),
    }
}

/// The log begins at `first` and so no longer holds `asked`.
pub fn compacted(asked: Index, first: Index) -> Rejection {
    let message = format!("the log no longer holds entry {asked}: it begins at entry {first}");
    Rejection::new(Code::OutOfRange, reasons::COMPACTED, message).with(reasons::INDEX, first)
}

/// As many streams of one kind are open as may be.
pub fn too_many_streams(streams_max: usize) -> Rejection {
    let message = format!("this node serves {streams_max} streams of this kind, which is as many as it may; try again");
    Rejection::new(Code::ResourceExhausted, reasons::OVERLOADED, message)
        .with(reasons::LIMIT, streams_max)
        .retry_after(SOON)
}

/// As many calls are being passed on as may be.
pub fn too_many_forwarded(calls_max: usize) -> Rejection {
    let message = format!(
        "this node forwards {calls_max} calls to the leader, which is as many as it may; nothing was done, try again"
    );
    Rejection::new(Code::ResourceExhausted, reasons::OVERLOADED, message)
        .with(reasons::LIMIT, calls_max)
        .retry_after(SOON)
}

/// The leader that a call was to be passed on to cannot be reached from here either. Nothing was sent.
pub fn leader_unreachable(leader: &Contact, why: &str) -> Rejection {
    let Contact { node, name, client_address, .. } = leader;
    let message = format!("this node cannot reach {name} at {client_address}, which leads: {why}; nothing was done");
    Rejection::new(Code::Unavailable, reasons::NO_LEADER, message)
        .with(reasons::LEADER_ID, node)
        .with(reasons::LEADER_NAME, name)
        .with(reasons::LEADER_ADDRESS, client_address)
        .retry_after(AFTER_ELECTION)
}

/// A call was passed on to the leader and its answer never came. Who passes on does not look into requests, so it cannot say
/// whether there was a session: the code is one that no client takes for a leave to repeat.
pub fn forwarded_outcome_unknown(leader: &Contact, why: &str) -> Rejection {
    let Contact { name, client_address, .. } = leader;
    let message = format!(
        "the request was forwarded to {name} at {client_address}, and {why}: it may have been executed, or still be; \
         with a session, to ask again in the same way is exact"
    );
    Rejection::new(Code::Unknown, reasons::OUTCOME_UNKNOWN, message)
}

/// The node stops, and takes no more requests.
pub fn shutting_down() -> Rejection {
    Rejection::new(Code::Unavailable, reasons::SHUTTING_DOWN, "this node stops; another member will do")
        .retry_after(SOON)
}

/// The server's own limit of time was reached.
pub fn too_late(limit: Duration, retry_is_exact: bool) -> Rejection {
    outcome_unknown(&format!("there was no answer within {limit:?}"), retry_is_exact)
}

/// The node stops while the request waits for a message.
pub fn stopped_while_waiting(retry_is_exact: bool) -> Rejection {
    outcome_unknown("this node stops", retry_is_exact)
}

fn outcome_unknown(why: &str, retry_is_exact: bool) -> Rejection {
    let (code, hint) = match retry_is_exact {
        true => (Code::Unavailable, "to ask again in the same way is exact"),
        false => (Code::Aborted, "the request has no session: retry it only if doing it twice does no harm"),
    };
    Rejection::new(code, reasons::OUTCOME_UNKNOWN, format!("{why}, and the request may still be executed; {hint}"))
}

/// The client of a stream takes no answers.
pub fn unread(patience: Duration) -> Rejection {
    outcome_unknown(&format!("the client has taken no answer for {patience:?}, so the stream is closed"), false)
}

/// This node broke a promise to itself.
pub fn internal(message: impl Into<String>) -> Rejection {
    Rejection::new(Code::Internal, reasons::INTERNAL, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Index, SHARD_0};

    #[test]
    fn only_damage_is_data_loss_and_it_says_where() {
        let corrupt = storage::Error::Corrupt { file: "log/1".into(), offset: 7, why: "checksum".into() };
        let rejection = unreadable(&corrupt);
        assert_eq!((rejection.code, rejection.reason), (Code::DataLoss, reasons::CORRUPT));
        assert_eq!(rejection.metadata, [(reasons::FILE, "log/1".to_owned()), (reasons::OFFSET, "7".to_owned())]);

        let gone = unreadable(&storage::Error::NotInLog { shard: SHARD_0, index: Index(3) });
        assert_eq!((gone.code, gone.reason), (Code::OutOfRange, reasons::COMPACTED));
        let source = std::io::Error::other("bad sector");
        let broken = unreadable(&storage::Error::Io { operation: "read", file: "log/1".into(), source });
        assert_eq!((broken.code, broken.reason), (Code::Internal, reasons::INTERNAL));
    }

    #[test]
    fn the_field_is_a_path_into_the_request() {
        let field = |verb| {
            let operations = vec![v1::Operation { operation: verb }];
            let why = Request::from_proto(v1::ExecuteRequest { operations, ..Default::default() }).unwrap_err();
            let (key, field) = invalid(&why).metadata.swap_remove(0);
            assert_eq!(key, reasons::FIELD);
            field
        };
        use v1::operation::Operation as Verb;
        let message = Some(v1::message::Body::Text(String::new()).into());
        let enqueue = |queue: &str, message| Verb::Enqueue(v1::Enqueue { queue: queue.into(), message, delay: None });
        let peek = |queue: &str, limit| Verb::Peek(v1::Peek { queue: queue.into(), limit, ..Default::default() });
        assert_eq!(field(None), "operations[0]");
        assert_eq!(field(Some(enqueue("a b", message))), "operations[0].enqueue.queue");
        assert_eq!(field(Some(enqueue("q", None))), "operations[0].enqueue.message");
        assert_eq!(field(Some(peek("a:b c", 1))), "operations[0].peek.queue");
        assert_eq!(field(Some(peek("q", 101))), "operations[0].peek.limit");
        let list = v1::ListQueues { after: "?".into(), limit: 0 };
        assert_eq!(field(Some(Verb::ListQueues(list))), "operations[0].list_queues.after");
    }
}
