//! What can happen to a replica, what it wants done, and what it answers. All of it plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::ids::{Contact, EntryId, Index, NodeId, Term, Ticket};
use crate::raft::{self, ChangeRefused, Configuration, Entry, MembershipChange, Message, RoleName, TransferRefused};
use crate::state_machine::{MessageId, Operation, Outcome, SessionRequest, StateMachine};

/// Names a request of a client on this node, as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Names a read of log entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A peer's message arrived.
    Message {
        /// The sender.
        from: NodeId,
        /// What it sent.
        message: Message,
    },
    /// Every write up to this ticket is durable.
    Persisted(Ticket),
    /// Entries that the replica asked for.
    EntriesRead {
        /// Which read this completes.
        read: ReadId,
        /// From the first index asked for on, without gaps; at least one.
        entries: Vec<Entry>,
    },
    /// The log does not have entries that the replica asked for: they were cut meanwhile, or compacted.
    NotInLog {
        /// Which read this ends.
        read: ReadId,
    },
    /// A snapshot that the replica wished for is durable, and has taken the place of the one before.
    SnapshotTaken {
        /// The last entry that it has in it.
        last: EntryId,
        /// The log now begins after this entry.
        log_start: EntryId,
        /// Its length.
        bytes: u64,
    },
    /// It could not be written: the one before is still there.
    SnapshotNotTaken,
    /// The leader's snapshot was fetched: it and all its bodies are on disk, and it waits to be installed.
    SnapshotReceived(Box<Restored>),
    /// The connection to a peer broke.
    Unreachable(NodeId),
    /// There is a connection to a peer again.
    Reachable(NodeId),
    /// The process of a peer has ended, as far as can be told: its connections closed and it takes no others.
    Gone(NodeId),
    /// A client wants operations executed.
    Execute {
        /// Its name in the answer.
        request: RequestId,
        /// What the client asks for.
        execute: Execute,
    },
    /// A client wants to be shown something.
    Read {
        /// Its name in the answer.
        request: RequestId,
        /// What the client asks for.
        read: Read,
    },
    /// Somebody wants another node to lead.
    TransferLeadership {
        /// Its name in the answer.
        request: RequestId,
        /// Who is to lead; none: the voter with the most of the log.
        to: Option<NodeId>,
    },
    /// Somebody wants the membership changed.
    ChangeMembership {
        /// Its name in the answer.
        request: RequestId,
        /// The change.
        change: MembershipChange,
    },
    /// The client no longer waits.
    Forget(RequestId),
}

/// A client's request, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execute {
    /// Its place in the client's session, if it has one.
    pub session: Option<SessionRequest>,
    /// What to do: at least one.
    pub operations: Vec<Operation>,
    /// How long a lone `Dequeue` or `Lease` may wait for a message; zero for everything else.
    pub wait: Duration,
    /// Somebody follows the request on its way: tell when it has its place ([`Told::Placed`]). Changes nothing else.
    pub is_followed: bool,
}

/// A client's request that changes nothing, checked. It writes nothing to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// What to show, all at one point of the log. None: the answer only tells how far that point is.
    pub operations: Vec<Operation>,
    /// How fresh it must be.
    pub consistency: Consistency,
    /// The node itself looks, again and again, for its metrics and its page: nothing is told of it ([`Told::Shown`]).
    pub is_own: bool,
}

/// How fresh the answer to a read is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// It shows everything that was committed before the read came. Only the leader answers.
    Leader,
    /// The same, from any member that knows a leader: it asks that up to which index it must have applied its log.
    AnyNode,
    /// It shows what is applied on this node, at once.
    Stale,
}

/// Something to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make this durable, then report `Persisted`.
    Persist(raft::Write),
    /// Send this to a peer now: what it relies on is durable.
    Send {
        /// The receiver.
        to: NodeId,
        /// The message.
        message: Message,
    },
    /// Read entries of the log, then report `EntriesRead`.
    ReadEntries {
        /// Its name in the report.
        read: ReadId,
        /// The first index.
        from: Index,
        /// The last index. Fewer may be returned, at least one.
        to: Index,
        /// Stop after about this many bytes.
        bytes_max: u64,
    },
    /// Read the entry that holds a body, whether it is in the log or not any more; then report `EntriesRead`.
    ReadBody {
        /// Its name in the report.
        read: ReadId,
        /// Which entry.
        index: Index,
    },
    /// Write a snapshot, then report `SnapshotTaken` or `SnapshotNotTaken`. One at a time.
    TakeSnapshot(Box<Taking>),
    /// The log is forgotten up to where the snapshot with this last entry said: what lives no more can go.
    Compact {
        /// The snapshot.
        last: EntryId,
        /// Messages that are on their way to a client: they live until the next snapshot, whatever the state says.
        being_read: BTreeSet<MessageId>,
    },
    /// Fetch the leader's snapshot, then report `SnapshotReceived`. Wished for again and again until that has come: whoever
    /// fetches already goes on.
    FetchSnapshot {
        /// The leader.
        from: NodeId,
        /// The last entry that its snapshot has in it.
        last: EntryId,
        /// Entries of the own log up to here are those of the leader.
        committed: Index,
    },
    /// Tell whoever waits what became of a request.
    Answer {
        /// Which request.
        request: RequestId,
        /// What became of it.
        answer: Result<Answer, Refusal>,
    },
    /// A join entry brought a member's first address.
    Introduce(Contact),
    /// Something to tell on the terminal.
    Tell(Told),
}

/// The state of a replica as of one entry.
#[derive(Clone)]
pub struct State {
    /// The entry, and the membership as of it.
    pub snapshot: raft::Snapshot,
    /// Members of the last configuration up to it that was not a joint one.
    pub settled: BTreeSet<NodeId>,
    /// As in [`Membership::removed`].
    pub removed: BTreeMap<NodeId, Index>,
    /// Queues and sessions.
    pub machine: StateMachine,
}

/// States are equal when their parts are; those of the state machine are told by its digest.
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        let parts = |state: &Self| (state.snapshot.clone(), state.settled.clone(), state.removed.clone());
        parts(self) == parts(other) && self.machine.digest() == other.machine.digest()
    }
}

impl Eq for State {}

/// Without the state machine, which can hold millions of messages.
impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { snapshot, settled, removed, machine: _ } = self;
        let mut shown = f.debug_struct("State");
        shown.field("snapshot", snapshot).field("settled", settled).field("removed", removed).finish_non_exhaustive()
    }
}

/// A snapshot to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taking {
    /// What goes into it.
    pub state: State,
    /// With it, the log begins after this entry.
    pub log_start: EntryId,
}

/// A snapshot that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What was in it.
    pub state: State,
    /// Its length.
    pub bytes: u64,
}

/// What a replica tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// From the protocol.
    Raft(raft::Event),
    /// A request that is followed was given its place in the log. Told before the write and the messages with its entry.
    Placed {
        /// Which request. One that waits for a message can be placed more than once.
        request: RequestId,
        /// The entry that carries it.
        at: EntryId,
        /// How many requests were proposed together with it, itself included.
        together: usize,
    },
    /// Entries were applied to the state machine.
    Applied {
        /// The first one.
        first: Index,
        /// The last one.
        last: Index,
    },
    /// A snapshot of the state is durable.
    SnapshotTaken {
        /// The last entry that it has in it.
        last: EntryId,
        /// Its length.
        bytes: u64,
    },
    /// A request was answered.
    Answered {
        /// The entry that decided it.
        index: Index,
        /// How many operations it had.
        operations: usize,
        /// The first outcome was returned again.
        replayed: bool,
    },
    /// A read was answered.
    Shown {
        /// The index up to which the answer shows the log.
        index: Index,
        /// How many operations it had.
        operations: usize,
    },
    /// A request was refused because another node leads.
    Redirected {
        /// The leader, if known.
        leader: Option<NodeId>,
    },
}

/// A good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The operations were executed.
    Executed(Executed),
    /// What a read asked for.
    Shown(Shown),
    /// This node follows the leader that was asked for.
    LeadershipTransferred {
        /// Who leads.
        to: NodeId,
    },
    /// The membership was changed, and no later leader can be without the change.
    MembershipChanged {
        /// The index of the entry that ended the change.
        index: Index,
    },
}

impl Answer {
    /// What came of each operation.
    pub(super) fn outcomes(&self) -> &[Outcome] {
        match self {
            Self::Executed(executed) => &executed.outcomes,
            Self::Shown(shown) => &shown.outcomes,
            Self::LeadershipTransferred { .. } | Self::MembershipChanged { .. } => &[],
        }
    }

    /// The same, with the entries that hold the bodies.
    pub(super) fn with_bodies(self, bodies: Vec<(Index, Bytes)>) -> Self {
        match self {
            Self::Executed(executed) => Self::Executed(Executed { bodies, ..executed }),
            Self::Shown(shown) => Self::Shown(Shown { bodies, ..shown }),
            Self::LeadershipTransferred { .. } | Self::MembershipChanged { .. } => self,
        }
    }

    /// The same, given so much later.
    pub(super) fn aged_by(self, delay: Duration) -> Self {
        match self {
            Self::Shown(shown) => Self::Shown(Shown { age: shown.age.map(|age| age + delay), ..shown }),
            other => other,
        }
    }
}

/// What an executed request brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// The entry that decided it: the first one, when the request is a retry.
    pub index: Index,
    /// The request had been executed before.
    pub replayed: bool,
    /// One for each operation.
    pub outcomes: Vec<Outcome>,
    /// The entries (command payloads, as in the log) that hold the bodies which the outcomes refer to, by index.
    pub bodies: Vec<(Index, Bytes)>,
}

/// What a read shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The entries up to this one are in it, and no others.
    pub index: Index,
    /// What this node knew to be committed: `index` or above.
    pub commit: Index,
    /// Of a read with [`Consistency::Stale`]: everything that was committed this long ago is in it. None: this node has not heard
    /// how much was committed at any time. Two to three heartbeat intervals on a follower in good health.
    pub age: Option<Duration>,
    /// One for each operation.
    pub outcomes: Vec<Outcome>,
    /// As in [`Executed::bodies`].
    pub bodies: Vec<(Index, Bytes)>,
}

/// Why a request was not executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another node leads, or none does. Nothing was proposed.
    NotLeader {
        /// The leader, if known.
        leader: Option<NodeId>,
        /// The term of this node.
        term: Term,
    },
    /// Leadership was lost after the request was proposed: it may or may not be executed.
    OutcomeUnknown {
        /// Where it was proposed.
        at: EntryId,
        /// The request has a session, so that a retry is exact.
        retry_is_exact: bool,
    },
    /// Too much is being worked on. Nothing was proposed.
    Overloaded,
    /// The state machine said no; this outcome is final.
    Refused(crate::state_machine::Refusal),
    /// The membership change was refused.
    Change(ChangeRefused),
    /// The transfer of leadership was refused: nothing has changed.
    Transfer(TransferRefused),
    /// Leadership did not go where it was asked to.
    NotTransferred {
        /// Who was to lead.
        to: NodeId,
        /// Who leads: this node, when the other did not win in time, or a third one. None: this node hears of nobody.
        leader: Option<NodeId>,
    },
    /// The log does not hold a body that the answer needs.
    BodyNotInLog,
    /// The replica stands still because safety is in doubt.
    Quarantined,
}

/// The condition of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The part it plays.
    pub role: RoleName,
    /// Its term.
    pub term: Term,
    /// Whom it has voted for in its term.
    pub vote: Option<NodeId>,
    /// The leader it knows.
    pub leader: Option<NodeId>,
    /// The commit index.
    pub commit: Index,
    /// The highest commit index that it has heard of, also where its log does not reach that far yet.
    pub heard_commit: Index,
    /// The last applied index.
    pub applied: Index,
    /// The last entry of its log.
    pub last: EntryId,
    /// Its log is durable up to here.
    pub durable: Index,
    /// Its log begins after this entry.
    pub log_start: EntryId,
    /// The last entry that its snapshot has in it.
    pub snapshot: EntryId,
    /// Who belongs to the shard, as far as this replica knows.
    pub membership: Arc<Membership>,
    /// This node leads, and no change of the membership is under way: no later leader can be without it.
    pub membership_is_anchored: bool,
    /// The other members that this node, which leads, hears: none of them is dead. Empty when it does not lead.
    pub well: Vec<NodeId>,
    /// The index of the configuration that left this node out, if one did.
    pub removed: Option<Index>,
    /// Why the replica stands still, if it does.
    pub quarantined: Option<String>,
}

/// What there is to see of a replica beside its condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The time-outs by which it goes, and why they are what they are.
    pub timing: raft::Timing,
    /// What it knows of each other member, while it leads.
    pub progress: BTreeMap<NodeId, raft::ProgressView>,
}

/// Who belongs to the shard and who once did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The configuration in force, committed or not.
    pub configuration: Configuration,
    /// Where it stands in the log.
    pub index: Index,
    /// Nodes that a committed configuration left out, and the index of that one. Their ids never come back.
    pub removed: BTreeMap<NodeId, Index>,
}
