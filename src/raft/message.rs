//! What the members of one Raft group say to each other. Messages may be lost, repeated and reordered.

use super::{Entry, Pace};
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
        /// The leader has asked the candidate to take over, so that a voter that hears from it does not refuse.
        transfer: bool,
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
        /// Counts the leader's reads, and is echoed: a majority that answers a round confirms the reads up to it.
        read_round: u64,
        /// How much was committed at a moment of the follower's own clock, once the leader can tell. Nothing but the age of
        /// what the follower has applied is taken from it.
        fresh: Option<(OpaqueTime, Index)>,
        /// What the leader goes by. None: it does not say.
        timing: Option<Pace>,
    },
    /// The answer to a `Heartbeat`.
    HeartbeatReply {
        /// From the heartbeat.
        sent_at: Time,
        /// From the heartbeat.
        read_round: u64,
        /// The follower's clock, for a later heartbeat to come back to.
        clock: OpaqueTime,
    },
    /// "Campaign at once" (dissertation, section 3.10). Says nothing to a follower whose log ends elsewhere: the leader has
    /// gone on meanwhile.
    TimeoutNow {
        /// The last entry of the leader's log, all of which is committed.
        last: EntryId,
    },
    /// "Up to which index must I have applied the log, for a read that is asked for now?" (dissertation, section 6.4).
    ReadIndex {
        /// Names the question.
        context: ReadContext,
    },
    /// The answer to a `ReadIndex`.
    ReadIndexReply {
        /// From the question.
        context: ReadContext,
        /// The entry at the read index: a follower that has it knows by that alone that its log is committed so far. None: the
        /// sender does not lead, or has too many reads in hand.
        at: Option<EntryId>,
    },
    /// "My log does not go back to what you lack: fetch my snapshot" (paper, section 7). Said again until the receiver has it:
    /// the pieces are asked for by the receiver, outside of Raft. Answered with `AppendReply::Accepted`.
    InstallSnapshot {
        /// The last entry that the snapshot has in it.
        last: EntryId,
    },
    /// "You are no member any more."
    Removed {
        /// The index of the configuration that left the receiver out.
        index: Index,
    },
}

/// Names one attempt of one member to learn a read index. It never comes again, not even after a restart: an answer can be
/// of any age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadContext(pub u64);

/// A moment on the clock of a member, shifted by a number that its process drew at its start: only that process knows what
/// it means, and one that started later takes it for no moment at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpaqueTime(pub u64);

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
