//! The state machine itself: one committed command after the other.

use std::cmp::Reverse;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::digest::Fnv;
use super::query::{Query, Room};
use super::queue::Queues;
use super::session::{Admission, Kept, SessionLimits, Sessions};
use super::stored::Waiting;
use super::transaction::{Context, Transaction};
use super::{Command, Living, Operation, Outcome, QueueName, Refusal, SessionRequest};
use crate::ids::{Index, Timestamp};

/// How many sessions, and how many leases and delays together, one expiry command ends: the loop does other work as
/// well.
const EXPIRED_MAX: usize = 1_000;

/// What the state machine may hold. Part of what makes it deterministic: identical on all nodes of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages that may be in one queue, in whatever state; one more is refused with `QueueFull`. In a long queue one
    /// that waits takes 17 bytes of memory, one that is leased or delayed about 150, and a dead one about 100 and the
    /// reason of its rejection.
    pub queue_messages_max: u64,
    /// Queues, empty ones included; one more is refused with `TooManyQueues`.
    pub queues_max: u64,
    /// Open sessions; one more is refused with `TooManySessions`.
    pub sessions_max: u64,
    /// Outcomes that one session keeps; one more is refused with `TooManyOutcomes`, unless it is that of the lowest pending
    /// request.
    pub session_outcomes_max: u64,
    /// A session ends when it has not been used for this long.
    pub session_time_to_live: Duration,
    /// Bytes of messages and names that one answer carries; more is refused with `AnswerTooLarge`. At least the longest message.
    pub answer_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_messages_max: 10_000_000,
            queues_max: 100_000,
            sessions_max: 100_000,
            session_outcomes_max: 1_000,
            session_time_to_live: Duration::from_secs(60 * 60),
            answer_bytes_max: 3 * 1024 * 1024,
        }
    }
}

/// The queues and sessions of a shard. A clone takes constant time and memory, and stays as it is whatever is applied to the
/// other: what is changed is copied first.
#[derive(Clone, Debug)]
pub struct StateMachine {
    pub(super) timestamp: Timestamp,
    pub(super) queues: Queues,
    pub(super) sessions: Sessions,
    answer_bytes_max: u64,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// What was decided.
    pub decision: Decision,
    /// Queues in which messages became ready and some still are, each once: whoever waits for them may ask again.
    pub filled: Vec<QueueName>,
}

/// What was decided about a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// All its operations took effect.
    Executed {
        /// The entry that brought the effect: that of the first execution.
        index: Index,
        /// It took effect earlier, and these are the outcomes of that time.
        replayed: bool,
        /// One for each operation.
        outcomes: Vec<Outcome>,
    },
    /// None of them did.
    Refused(Refusal),
    /// It is a lone `Dequeue` or `Lease` that waits, and its queue has nothing that is ready: no outcome is kept and
    /// its sequence is not used.
    Waiting,
}

impl StateMachine {
    /// An empty state machine.
    pub fn new(limits: Limits) -> Self {
        let sessions = SessionLimits {
            sessions_max: limits.sessions_max,
            outcomes_max: limits.session_outcomes_max,
            time_to_live: limits.session_time_to_live,
        };
        Self {
            timestamp: Timestamp(0),
            queues: Queues::new(limits.queues_max, limits.queue_messages_max),
            sessions: Sessions::new(sessions),
            answer_bytes_max: limits.answer_bytes_max,
        }
    }

    /// Carries out the command of a committed entry. Entries come in the order of the log, each once.
    pub fn apply(&mut self, index: Index, command: &Command) -> Applied {
        self.timestamp = self.timestamp.max(command.timestamp);
        if command.expiry {
            return self.expire(index);
        }
        match command.session {
            Some(request) => self.apply_in_session(index, request, command),
            None => self.execute(index, command),
        }
    }

    /// What operations that only read show at this point of the log. The same operations in an entry show the same.
    ///
    /// # Errors
    /// One of them is refused.
    ///
    /// # Panics
    /// One of them would change something.
    pub fn query(&self, operations: &[Operation]) -> Result<Vec<Outcome>, Refusal> {
        let query = Query { queues: &self.queues, sessions: &self.sessions };
        let mut room = Room::new(self.answer_bytes_max);
        operations.iter().map(|operation| query.show(operation, &mut room)).collect()
    }

    /// How many messages can be taken from a queue; none from one that does not exist.
    pub fn ready_in(&self, queue: &QueueName) -> u64 {
        self.queues.ready_in(queue)
    }

    /// True when the session would have this request carried out: it was neither decided before nor is it to be refused.
    pub fn is_undecided(&self, request: SessionRequest) -> bool {
        self.sessions.is_undecided(request)
    }

    /// When the next lease, delay or session is due: the leader then proposes an expiry command with that time or a
    /// later one. After it there can be more that is due. Exact, O(log n).
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.sessions.next_expiry().into_iter().chain(self.queues.next_expiry()).min()
    }

    /// The time of the log: the highest timestamp of a command so far.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// Equal on equal states; on different ones it differs but for a chance of 2^-64. Takes time in proportion to the state.
    pub fn digest(&self) -> u64 {
        let mut hasher = Fnv::new();
        (self.timestamp, &self.queues, &self.sessions).hash(&mut hasher);
        hasher.finish()
    }

    /// All messages that the log must keep, in the order of their ids, each once: those in queues, and those that are
    /// named by a kept outcome which is answered with bodies. Takes 24 bytes for each, and O(n log n) time.
    pub fn living(&self) -> Vec<Living> {
        let of = |message: Waiting| Living { id: message.id(), bytes: message.bytes() as u32 };
        let named = self.sessions.messages().map(|id| Living { id, bytes: 0 });
        let mut living = Vec::with_capacity(self.queues.totals().contents.messages() as usize);
        for (_, queue) in self.queues.all() {
            living.extend(queue.waiting().map(of));
            living.extend(queue.others().map(|stored| of(stored.message)));
        }
        living.extend(named);
        living.sort_by_key(|message| (message.id, Reverse(message.bytes)));
        living.dedup_by_key(|message| message.id);
        living
    }

    fn expire(&mut self, index: Index) -> Applied {
        self.sessions.expire(self.timestamp, EXPIRED_MAX);
        let mut filled = self.queues.expire(self.timestamp, EXPIRED_MAX);
        filled.retain(|queue| self.queues.ready_in(queue) > 0);
        Applied { decision: Decision::Executed { index, replayed: false, outcomes: Vec::new() }, filled }
    }

    fn apply_in_session(&mut self, index: Index, request: SessionRequest, command: &Command) -> Applied {
        match self.sessions.admit(request, self.timestamp) {
            Admission::Refused(refusal) => Decision::Refused(refusal).into(),
            Admission::Decided(kept) => Decision::from(kept).into(),
            Admission::Undecided => {
                let applied = self.execute(index, command);
                if let Some(kept) = Kept::of(&applied.decision, &command.operations) {
                    self.sessions.keep(request, kept);
                }
                applied
            }
        }
    }

    fn execute(&mut self, index: Index, command: &Command) -> Applied {
        if self.must_wait(command) {
            return Decision::Waiting.into();
        }
        let session = command.session.map(|request| request.id);
        let context = Context { index, now: self.timestamp, session, answer_bytes_max: self.answer_bytes_max };
        match Transaction::new(&mut self.queues, &mut self.sessions, context).run(&command.operations) {
            Ok(outcomes) => Applied {
                decision: Decision::Executed { index, replayed: false, outcomes },
                filled: self.filled_by(&command.operations),
            },
            Err(refusal) => Decision::Refused(refusal).into(),
        }
    }

    fn must_wait(&self, command: &Command) -> bool {
        match command.operations.as_slice() {
            [operation] if operation.waits() => {
                operation.takes_from().is_some_and(|(queue, _)| self.queues.ready_in(queue) == 0)
            }
            _ => false,
        }
    }

    fn filled_by(&self, operations: &[Operation]) -> Vec<QueueName> {
        let mut filled: Vec<QueueName> = operations.iter().filter_map(Operation::fills).cloned().collect();
        filled.sort_unstable();
        filled.dedup();
        filled.retain(|queue| self.queues.ready_in(queue) > 0);
        filled
    }
}

impl From<Decision> for Applied {
    fn from(decision: Decision) -> Self {
        Self { decision, filled: Vec::new() }
    }
}

impl Kept {
    /// What is kept of a decision. The outcomes of requests that only read could fill the memory, and a retry may as well read
    /// again.
    fn of(decision: &Decision, operations: &[Operation]) -> Option<Self> {
        match decision {
            _ if operations.iter().all(Operation::only_reads) => None,
            Decision::Executed { index, outcomes, .. } => {
                Some(Self::Executed { index: *index, outcomes: outcomes.as_slice().into() })
            }
            Decision::Refused(refusal) => Some(Self::Refused(refusal.clone())),
            Decision::Waiting => None,
        }
    }
}

impl From<Kept> for Decision {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Executed { index, outcomes } => Self::Executed { index, replayed: true, outcomes: outcomes.to_vec() },
            Kept::Refused(refusal) => Self::Refused(refusal),
        }
    }
}
