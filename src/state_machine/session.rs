//! The sessions: which requests of a client were decided, and how.
//!
//! ```text
//!    forgotten        the client still waits for some of these      not used yet
//! 1 ........... | lowest_pending ............................ | ...........
//!                 kept: an outcome for each decided sequence, unless the request only read
//! ```

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use imbl::{OrdMap, OrdSet};

use super::digest::hash_sequence;
use super::{MessageId, Outcome, Refusal, SessionRequest};
use crate::ids::{Index, Sequence, SessionId, Timestamp};

/// All sessions. A session ends when it is closed, or by an expiry command at or after its due time, which is its last use
/// plus the time to live. Until that command comes it can still be used, and every use moves its due time.
#[derive(Clone, Debug)]
pub(super) struct Sessions {
    by_id: OrdMap<SessionId, Session>,
    /// Each session once, by its exact due time. Follows from `by_id`; the first one is due next.
    due: OrdSet<(Timestamp, SessionId)>,
    limits: SessionLimits,
}

/// How many sessions, for how long, with how many outcomes each.
#[derive(Clone, Copy, Debug)]
pub(super) struct SessionLimits {
    pub(super) sessions_max: u64,
    pub(super) outcomes_max: u64,
    pub(super) time_to_live: Duration,
}

/// One session, as far as its outcomes are concerned: none is below `lowest_pending`.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) last_used: Timestamp,
    /// What the client said last: outcomes below it are gone, and so are late copies of those requests.
    pub(super) lowest_pending: Sequence,
    pub(super) kept: OrdMap<Sequence, Kept>,
}

/// What became of a request, kept for its retries. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kept {
    Executed { index: Index, outcomes: Arc<[Outcome]> },
    Refused(Refusal),
}

/// Whether a request of a session is to be decided.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is: nothing is known of it.
    Undecided,
    /// It was decided before.
    Decided(Kept),
    /// It is not, because of the session's condition.
    Refused(Refusal),
}

impl Sessions {
    pub(super) fn new(limits: SessionLimits) -> Self {
        Self { by_id: OrdMap::new(), due: OrdSet::new(), limits }
    }

    /// Opens a session. Its id is the index of the entry that does it, so that no two have the same.
    pub(super) fn open(&mut self, index: Index, now: Timestamp) -> Result<SessionId, Refusal> {
        let sessions_max = self.limits.sessions_max;
        if self.by_id.len() as u64 >= sessions_max {
            return Err(Refusal::TooManySessions { sessions_max });
        }
        let id = SessionId(index.0);
        self.restore(id, Session { last_used: now, lowest_pending: Sequence(0), kept: OrdMap::new() });
        Ok(id)
    }

    /// Puts a session where there is none with this id: the limits are for what is asked for, not for what there is already.
    pub(super) fn restore(&mut self, id: SessionId, session: Session) {
        self.due.insert((session.last_used.after(self.limits.time_to_live), id));
        self.by_id.insert(id, session);
    }

    /// Every session, in the order of the ids.
    pub(super) fn all(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.by_id.iter().map(|(id, session)| (*id, session))
    }

    /// Ends a session and forgets its outcomes. Unknown ones are ignored.
    pub(super) fn close(&mut self, id: SessionId) {
        if let Some(session) = self.by_id.remove(&id) {
            self.due.remove(&(session.last_used.after(self.limits.time_to_live), id));
        }
    }

    /// Looks a request up. Counts as a use of the session, and forgets what its client no longer waits for.
    pub(super) fn admit(&mut self, request: SessionRequest, now: Timestamp) -> Admission {
        let Some(session) = self.by_id.get_mut(&request.id) else {
            return Admission::Refused(Refusal::SessionExpired(request.id));
        };
        let ttl = self.limits.time_to_live;
        if session.last_used != now {
            self.due.remove(&(session.last_used.after(ttl), request.id));
            self.due.insert((now.after(ttl), request.id));
            session.last_used = now;
        }
        session.forget_below(request.lowest_pending);
        session.admit(request, self.limits.outcomes_max)
    }

    /// What `admit` would say, without its effects.
    pub(super) fn is_undecided(&self, request: SessionRequest) -> bool {
        let admission = self.by_id.get(&request.id).map(|session| session.admit(request, self.limits.outcomes_max));
        admission == Some(Admission::Undecided)
    }

    /// Keeps what became of a request. If it closed its session there is nobody to keep it for.
    pub(super) fn keep(&mut self, request: SessionRequest, kept: Kept) {
        if let Some(session) = self.by_id.get_mut(&request.id) {
            session.kept.insert(request.sequence, kept);
        }
    }

    /// Ends sessions that are due, at most `count_max` of them.
    pub(super) fn expire(&mut self, now: Timestamp, count_max: usize) {
        for _ in 0..count_max {
            if self.next_expiry().is_none_or(|due| due > now) {
                return;
            }
            if let Some((_, id)) = self.due.remove_min() {
                self.by_id.remove(&id);
            }
        }
    }

    /// When the next session is due: exact, in O(log n).
    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        self.due.get_min().map(|(due, _)| *due)
    }

    /// The messages that are needed to answer retries. One that several outcomes name comes several times.
    pub(super) fn messages(&self) -> impl Iterator<Item = MessageId> {
        self.by_id.values().flat_map(|session| session.kept.values()).flat_map(Kept::messages)
    }

    /// How many are open.
    pub(super) fn count(&self) -> u64 {
        self.by_id.len() as u64
    }

    pub(super) fn time_to_live(&self) -> Duration {
        self.limits.time_to_live
    }
}

/// `due` and the limits add nothing to the state.
impl Hash for Sessions {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hash_sequence(self.by_id.iter(), hasher);
    }
}

impl Hash for Session {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.last_used, self.lowest_pending).hash(hasher);
        hash_sequence(self.kept.iter(), hasher);
    }
}

impl Kept {
    /// The messages that a retry is answered with.
    fn messages(&self) -> impl Iterator<Item = MessageId> {
        let outcomes = match self {
            Self::Executed { outcomes, .. } => &outcomes[..],
            Self::Refused(_) => &[],
        };
        outcomes.iter().flat_map(Outcome::messages)
    }
}

impl Session {
    fn forget_below(&mut self, lowest_pending: Sequence) {
        self.lowest_pending = self.lowest_pending.max(lowest_pending);
        while let Some(&(lowest, _)) = self.kept.get_min()
            && lowest < self.lowest_pending
        {
            self.kept.remove(&lowest);
        }
    }

    fn admit(&self, request: SessionRequest, outcomes_max: u64) -> Admission {
        let SessionRequest { id: session, sequence, .. } = request;
        if sequence < self.lowest_pending {
            return Admission::Refused(Refusal::SequenceForgotten { session, sequence });
        }
        if let Some(kept) = self.kept.get(&sequence) {
            return Admission::Decided(kept.clone());
        }
        // The lowest one always finds room: the others are kept because it is pending, so refusing it would be for ever.
        let is_lowest = sequence == self.lowest_pending;
        if self.kept.len() as u64 >= outcomes_max && !is_lowest {
            return Admission::Refused(Refusal::TooManyOutcomes { session, outcomes_max });
        }
        Admission::Undecided
    }
}
