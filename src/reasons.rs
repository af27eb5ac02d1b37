//! The words in which a node says no: what stands in the `google.rpc.ErrorInfo` of a gRPC status.
//!
//! Every status that a node answers with carries an ErrorInfo with [`DOMAIN`] and one of the reasons below; where waiting
//! helps, also a `google.rpc.RetryInfo`. Clients decide by code and reason, never by the message, which is for people.
//! Whatever varies in the message stands in the metadata as well. The api writes these words and the client reads them:
//! they are part of the interface and do not change.
//!
//! What a client may do follows from the code alone, for generic clients too: `UNAVAILABLE` means that a retry is safe,
//! because nothing was proposed or because the request's session makes the retry exact.

/// The domain of every reason below.
pub const DOMAIN: &str = "quorate";

// UNAVAILABLE: not now, or not here.

/// UNAVAILABLE. This node does not lead the shard, and has proposed nothing. Metadata: [`LEADER_ID`], [`LEADER_ADDRESS`],
/// [`LEADER_NAME`], [`TERM`]. The client goes to the leader.
pub const NOT_LEADER: &str = "NOT_LEADER";
/// UNAVAILABLE. This node knows no leader (an election is under way, or it belongs to no cluster yet), or was to forward the
/// request and cannot reach the leader either; it has proposed nothing. Metadata: [`TERM`], or who leads. RetryInfo: about an
/// election timeout.
pub const NO_LEADER: &str = "NO_LEADER";
/// UNAVAILABLE if the request had a session: leadership was lost after proposing, and retrying with the same sequence is
/// exact. ABORTED if it had none: it may or may not take effect, and must not be retried blindly. Metadata: [`INDEX`],
/// [`TERM`] of the entry. UNKNOWN from a node that forwarded the request and cannot tell which of the two it is: the client
/// knows whether there was a session.
pub const OUTCOME_UNKNOWN: &str = "OUTCOME_UNKNOWN";
/// UNAVAILABLE. This node stops and takes no more requests; nothing was proposed. Another node will do.
pub const SHUTTING_DOWN: &str = "SHUTTING_DOWN";

// RESOURCE_EXHAUSTED: something is full.

/// RESOURCE_EXHAUSTED. The queue holds as many messages as it may. Metadata: [`QUEUE`], [`LIMIT`].
pub const QUEUE_FULL: &str = "QUEUE_FULL";
/// RESOURCE_EXHAUSTED. There are as many queues as there may be. Metadata: [`LIMIT`].
pub const TOO_MANY_QUEUES: &str = "TOO_MANY_QUEUES";
/// RESOURCE_EXHAUSTED. There are as many sessions as there may be. Metadata: [`LIMIT`].
pub const TOO_MANY_SESSIONS: &str = "TOO_MANY_SESSIONS";
/// RESOURCE_EXHAUSTED. The session keeps as many outcomes as it may: the client must raise `lowest_pending`.
/// Metadata: [`SESSION`], [`LIMIT`].
pub const TOO_MANY_OUTCOMES: &str = "TOO_MANY_OUTCOMES";
/// RESOURCE_EXHAUSTED. The answer would carry more bytes than one may; nothing was taken. Ask for fewer messages at once.
/// Metadata: [`LIMIT`].
pub const ANSWER_TOO_LARGE: &str = "ANSWER_TOO_LARGE";
/// RESOURCE_EXHAUSTED. The node has as many requests in hand as it may; nothing was proposed. RetryInfo: soon.
pub const OVERLOADED: &str = "OVERLOADED";
/// RESOURCE_EXHAUSTED. The disk of the leader is full: it takes nothing that grows the store; nothing was proposed.
pub const DISK_FULL: &str = "DISK_FULL";

// FAILED_PRECONDITION: not in this state.

/// FAILED_PRECONDITION. The session does not exist any more, or was opened in another cluster. The client opens another; the outcomes of requests that
/// were still open are unknown. Metadata: [`SESSION`].
pub const SESSION_EXPIRED: &str = "SESSION_EXPIRED";
/// FAILED_PRECONDITION. The client had said that it no longer waits for this request, so its outcome was forgotten.
/// Metadata: [`SESSION`], [`SEQUENCE`].
pub const SEQUENCE_FORGOTTEN: &str = "SEQUENCE_FORGOTTEN";
/// FAILED_PRECONDITION. A lease that was to be settled with all others of the request had ended; nothing was done.
/// Metadata: [`QUEUE`]. Where they are settled one by one, the outcome tells it instead.
pub const LEASE_EXPIRED: &str = "LEASE_EXPIRED";
/// FAILED_PRECONDITION. The change would leave fewer live voters than a quorum, or none. Metadata: [`MEMBER`].
pub const WOULD_LOSE_QUORUM: &str = "WOULD_LOSE_QUORUM";
/// FAILED_PRECONDITION. Another membership change is under way; only one may be. RetryInfo: soon.
pub const CHANGE_IN_PROGRESS: &str = "CHANGE_IN_PROGRESS";
/// FAILED_PRECONDITION. Leadership was not handed over, because the one that was to lead cannot or did not win in time.
/// Metadata: [`MEMBER`], [`LEADER_ID`].
pub const TRANSFER_FAILED: &str = "TRANSFER_FAILED";
/// FAILED_PRECONDITION. Leadership was to go to the node that has it.
pub const ALREADY_LEADS: &str = "ALREADY_LEADS";
/// FAILED_PRECONDITION. The learner has not caught up yet, so it cannot become a voter. Metadata: [`MEMBER`].
/// RetryInfo: soon.
pub const LEARNER_NOT_READY: &str = "LEARNER_NOT_READY";
/// FAILED_PRECONDITION. A node that was removed from the cluster: its node id is never accepted again; an empty data
/// directory gives it another. Metadata: [`MEMBER`].
pub const MEMBER_REMOVED: &str = "MEMBER_REMOVED";
/// ALREADY_EXISTS. Another live member has this name. Metadata: [`MEMBER`].
pub const NAME_TAKEN: &str = "NAME_TAKEN";

// NOT_FOUND.

/// NOT_FOUND. There is no such queue to describe, update or delete. Metadata: [`QUEUE`].
pub const QUEUE_NOT_FOUND: &str = "QUEUE_NOT_FOUND";
/// NOT_FOUND. No member has this name or node id. Metadata: [`MEMBER`].
pub const MEMBER_NOT_FOUND: &str = "MEMBER_NOT_FOUND";

// INVALID_ARGUMENT: the request cannot be right on any node. Metadata: FIELD where one field is to blame.

/// INVALID_ARGUMENT. The name of a queue is not 1 to 255 bytes of letters, digits, `.`, `_`, `-`, `:` and `/`.
pub const INVALID_QUEUE_NAME: &str = "INVALID_QUEUE_NAME";
/// INVALID_ARGUMENT. The body of a message is larger than it may be. Metadata: [`LIMIT`] in bytes.
pub const MESSAGE_TOO_LARGE: &str = "MESSAGE_TOO_LARGE";
/// INVALID_ARGUMENT. The request has too many operations or too many bytes, or reads too much, in all. Metadata: [`LIMIT`].
pub const REQUEST_TOO_LARGE: &str = "REQUEST_TOO_LARGE";
/// INVALID_ARGUMENT. The request contradicts the interface in another way; the message says how. Metadata: [`FIELD`].
pub const INVALID_REQUEST: &str = "INVALID_REQUEST";

// OUT_OF_RANGE, DATA_LOSS, INTERNAL.

/// OUT_OF_RANGE. The log no longer holds this index. Metadata: [`INDEX`]: the first one it holds.
pub const COMPACTED: &str = "COMPACTED";
/// DATA_LOSS. What the disk returned is not what was written. Metadata: [`FILE`], [`OFFSET`].
pub const CORRUPT: &str = "CORRUPT";
/// INTERNAL. The node broke a promise to itself; its log says more.
pub const INTERNAL: &str = "INTERNAL";

// Keys of the metadata. Absent when not known.

/// The node id of the leader: 16 hexadecimal digits.
pub const LEADER_ID: &str = "leader_id";
/// `HOST:PORT` of the leader's client port, as it is advertised.
pub const LEADER_ADDRESS: &str = "leader_address";
/// The name of the leader, for people.
pub const LEADER_NAME: &str = "leader_name";
/// The term of the node that answers, in decimal.
pub const TERM: &str = "term";
/// The cluster of the node that answers: 32 hexadecimal digits. In every refusal, once the node belongs to a cluster.
pub const CLUSTER_ID: &str = "cluster_id";
/// The node that answers: 16 hexadecimal digits. In every refusal.
pub const NODE_ID: &str = "node_id";
/// How long a request may well take now, in milliseconds, in decimal: as `request_time` of the header of an answer. In every
/// refusal, once the node can tell.
pub const REQUEST_TIME_MS: &str = "request_time_ms";
/// The shard, in decimal.
pub const SHARD: &str = "shard";
/// A log index, in decimal.
pub const INDEX: &str = "index";
/// The name of a queue.
pub const QUEUE: &str = "queue";
/// The id of a session, in decimal.
pub const SESSION: &str = "session";
/// The number of a request in its session, in decimal.
pub const SEQUENCE: &str = "sequence";
/// The member that was meant: its node id or name.
pub const MEMBER: &str = "member";
/// The limit that was reached, in decimal.
pub const LIMIT: &str = "limit";
/// The path of the field that is wrong, such as `operations[0].enqueue.queue`.
pub const FIELD: &str = "field";
/// The file that holds the damage.
pub const FILE: &str = "file";
/// The place of the damage in the file, in bytes.
pub const OFFSET: &str = "offset";
