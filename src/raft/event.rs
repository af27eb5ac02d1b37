//! What a replica tells of itself: plain data, for the terminal, the dashboard and the tests.

use super::{Configuration, VoteRefusal};
use crate::ids::{EntryId, Index, NodeId, Term};

/// Something that happened, in the words of the Raft paper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The role or the term changed.
    RoleChanged {
        /// The role now.
        role: RoleName,
        /// The term now.
        term: Term,
        /// What brought it about, as the end of the sentence "... because ...".
        cause: &'static str,
    },
    /// This follower knows its leader.
    FollowsLeader {
        /// The leader.
        leader: NodeId,
        /// Its term.
        term: Term,
    },
    /// Asked the other voters for their vote.
    VoteAsked {
        /// A pre-vote: no term was raised.
        pre_vote: bool,
        /// The term that the election is about.
        term: Term,
        /// The last entry of the own log.
        last: EntryId,
    },
    /// A voter granted what was asked.
    VoteReceived {
        /// A pre-vote.
        pre_vote: bool,
        /// Who granted it.
        from: NodeId,
        /// The term that the election is about.
        term: Term,
    },
    /// A voter refused what was asked.
    VoteDenied {
        /// A pre-vote.
        pre_vote: bool,
        /// Who refused it.
        from: NodeId,
        /// Why.
        refusal: VoteRefusal,
    },
    /// Gave a vote to a candidate.
    VoteGranted {
        /// A pre-vote.
        pre_vote: bool,
        /// The candidate.
        to: NodeId,
        /// The term that the election is about.
        term: Term,
    },
    /// Refused a vote to a candidate.
    VoteRefused {
        /// A pre-vote.
        pre_vote: bool,
        /// The candidate.
        to: NodeId,
        /// Why.
        refusal: VoteRefusal,
    },
    /// Heartbeats went out to all other members.
    HeartbeatSent {
        /// The leader's commit index.
        commit: Index,
    },
    /// A heartbeat of the leader came and was answered.
    HeartbeatAnswered {
        /// The leader.
        leader: NodeId,
    },
    /// A follower answered a heartbeat.
    HeartbeatHeard {
        /// The follower.
        from: NodeId,
    },
    /// The leader gave operations their place in the log.
    Proposed {
        /// The first of the entries.
        first: EntryId,
        /// The last one.
        last: EntryId,
    },
    /// Entries are durable in the own log.
    Appended {
        /// The last entry that is.
        last: EntryId,
    },
    /// Entries were cut from the log because the leader has others there.
    Truncated {
        /// The first index that was cut.
        from: Index,
    },
    /// A follower has entries durable.
    Replicated {
        /// The follower.
        to: NodeId,
        /// Its log is equal to the leader's up to here.
        matched: Index,
    },
    /// A follower's log does not fit; the leader goes back.
    Mismatched {
        /// The follower.
        peer: NodeId,
        /// Where the leader tries next.
        next: Index,
    },
    /// The commit index rose.
    Committed {
        /// The commit index now.
        index: Index,
    },
    /// A configuration took effect.
    ConfigurationChanged {
        /// Where it stands in the log; when entries were cut, where the one now in force stands.
        index: Index,
        /// The membership now.
        configuration: Configuration,
    },
    /// A learner has caught up.
    CaughtUp {
        /// The learner.
        learner: NodeId,
    },
    /// This leader hands over to another voter and takes no proposals until that has ended.
    TransferBegun {
        /// Who is to lead.
        to: NodeId,
    },
    /// This leader told the one that is to lead to campaign at once.
    TimeoutNowSent {
        /// Who is to lead.
        to: NodeId,
    },
    /// The leader wants this node to campaign at once.
    TimeoutNowReceived {
        /// The leader.
        from: NodeId,
    },
    /// The one that was to lead did not win in time; this leader goes on.
    TransferGivenUp {
        /// Who was to lead.
        to: NodeId,
    },
    /// The leader was told that this node is no member any more.
    WasRemoved {
        /// The index of the configuration that left it out.
        index: Index,
    },
    /// The leader has not answered what reads of this node must show, and is asked anew.
    ReadIndexAskedAgain,
    /// The leader's log does not go back to what this follower lacks: it needs the leader's snapshot.
    SnapshotWanted {
        /// The leader.
        from: NodeId,
        /// The last entry of the snapshot.
        last: EntryId,
    },
    /// This leader told a member to fetch a snapshot: the log does not go back to what it lacks.
    SnapshotTold {
        /// The member.
        to: NodeId,
        /// The last entry of the snapshot.
        last: EntryId,
    },
    /// A snapshot has taken the place of the log, and is durable.
    SnapshotInstalled {
        /// The last entry of the snapshot.
        last: EntryId,
    },
    /// Entries were dropped from the log because a snapshot has what came of them.
    LogCompacted {
        /// The log begins after this entry.
        start: EntryId,
    },
    /// A message was not acted upon.
    Ignored {
        /// The sender.
        from: NodeId,
        /// Why.
        why: &'static str,
    },
    /// Safety is in doubt: the replica stands still from here on.
    Quarantined {
        /// What was seen that must not be.
        why: String,
    },
}

/// The part that a replica plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleName {
    /// Follows a leader or waits for one.
    Follower,
    /// Asks whether an election would be won.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads its term.
    Leader,
}
