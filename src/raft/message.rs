//! What the members of one Raft group say to each other. Messages may be lost, repeated and reordered.

use super::Entry;
use crate::ids::{EntryId, Index, Term, Time};

/// A message between two replicas of one shard. Sender and receiver are known to whoever carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The sender's term. In a `PreVote` and in the grant of one: the term that the candidate would start.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// The kinds of message, named as in the paper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// "Would you vote for me?" Asked before the term is raised (dissertation, section 9.6).
    PreVote {
        /// The last entry of the candidate's log.
        last: EntryId,
    },
    /// The answer to a `PreVote`.
    PreVoteReply {
        /// None: granted.
        refusal: Option<VoteRefusal>,
    },
    /// "Vote for me" (paper, section 5.2).
    RequestVote {
        /// The last entry of the candidate's log.
        last: EntryId,
    },
    /// The answer to a `RequestVote`.
    RequestVoteReply {
        /// None: granted.
        refusal: Option<VoteRefusal>,
    },
    /// Entries to append after `previous` (paper, section 5.3).
    AppendEntries {
        /// The entry before the first of `entries`: `0@0` before the first entry of all.
        previous: EntryId,
        /// The leader's commit index.
        commit: Index,
        /// In order, without gaps; may be empty.
        entries: Vec<Entry>,
        /// How often the leader has gone back for this follower. Echoed in a rejection.
        attempt: u64,
    },
    /// The answer to `AppendEntries`.
    AppendReply(AppendReply),
    /// "I still lead." On a connection of its own, so that entries cannot delay it.
    Heartbeat {
        /// The leader's commit index, but no more than what it knows the follower to have.
        commit: Index,
        /// The leader's clock, echoed in the reply.
        sent_at: Time,
    },
    /// The answer to a `Heartbeat`.
    HeartbeatReply {
        /// From the heartbeat.
        sent_at: Time,
    },
    /// "You are no member any more."
    Removed {
        /// The index of the configuration that left the receiver out.
        index: Index,
    },
}

/// What became of an `AppendEntries`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendReply {
    /// The follower's log is durable, and equal to the leader's, up to this entry.
    Accepted(EntryId),
    /// The follower does not have `previous`.
    Rejected {
        /// The `previous` that did not fit.
        previous: EntryId,
        /// From the message: tells an answer to a question that is no longer asked. Of all messages in flight that do not
        /// fit, the leader goes back for one.
        attempt: u64,
        /// The last entry of the follower that can be equal to the leader's (paper, section 5.3, fast back-off).
        hint: EntryId,
    },
}

/// Why a vote is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteRefusal {
    /// The voter has seen a later term.
    StaleTerm,
    /// The voter hears from a leader (dissertation, section 4.2.3).
    LeaderAlive,
    /// The voter has given its vote of this term to another.
    AlreadyVoted,
    /// The candidate's log is less up to date than the voter's (paper, section 5.4.1).
    LogBehind,
}
