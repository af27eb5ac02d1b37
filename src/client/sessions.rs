//! The sessions of a client, and the place of each request in one of them.
//!
//! Requests that are answered at once share one session. A request that waits for a message has a session to itself while
//! it waits: in a shared one it would hold back `lowest_pending`, so that the cluster had to keep the outcomes of all
//! requests after it. Such a session serves one waiting request after another.
//!
//! A session that has expired is marked and not used again.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::Error;
use crate::proto::v1::SessionRequest;

/// How many requests of a client that are answered at once are under way; further ones wait for their turn until their
/// deadline. Also how far the sequences of a session go ahead of its lowest pending one, so that the cluster never keeps more
/// outcomes for it than it may: 1,000. That happens when one request has to be sent again and the others go on.
pub const REQUESTS_MAX: usize = 1_000;

/// How many requests that may wait for a message are under way; further ones wait for their turn until their deadline. Also
/// bounds how many sessions one client has open.
const WAITING_REQUESTS_MAX: usize = 256;

/// What a request needs a session for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It is answered at once.
    Short,
    /// It may wait for a message.
    Waiting,
}

/// All sessions of one client.
pub(super) struct Sessions {
    shared: Mutex<Option<Arc<Session>>>,
    /// Held while the shared session is being opened, so that only one is.
    opening: tokio::sync::Mutex<()>,
    /// Sessions for waiting requests that are not in use. Never more than there were waiting requests at once.
    idle: Mutex<Vec<Arc<Session>>>,
    short_permits: Semaphore,
    waiting_permits: Semaphore,
}

/// One session, open as far as is known.
pub(super) struct Session {
    /// As the cluster named it.
    pub(super) id: u64,
    /// In which it was opened. Another cluster at the same address must not take our session for one of its own.
    cluster_id: String,
    expired: AtomicBool,
    numbers: Mutex<Numbers>,
    /// Tells those who wait for a sequence that the lowest pending one has changed.
    advanced: Notify,
}

struct Numbers {
    next: u64,
    pending: BTreeSet<u64>,
}

/// The place of one request in a session. Dropping it says that nobody waits for the request's outcome any more.
pub(super) struct Slot<'a> {
    home: &'a Sessions,
    purpose: Purpose,
    session: Arc<Session>,
    sequence: u64,
    _permit: SemaphorePermit<'a>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            shared: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            idle: Mutex::default(),
            short_permits: Semaphore::new(REQUESTS_MAX),
            waiting_permits: Semaphore::new(WAITING_REQUESTS_MAX),
        }
    }
}

impl Sessions {
    /// A place for a request. Opens a session with `open` if there is none to use.
    pub(super) async fn slot(
        &self,
        purpose: Purpose,
        open: impl Future<Output = Result<Session, Error>>,
    ) -> Result<Slot<'_>, Error> {
        let permits = match purpose {
            Purpose::Short => &self.short_permits,
            Purpose::Waiting => &self.waiting_permits,
        };
        let permit = permits.acquire().await.expect("the semaphores are never closed");
        let session = match purpose {
            Purpose::Short => self.shared_session(open).await?,
            Purpose::Waiting => match self.idle_session() {
                Some(session) => session,
                None => Arc::new(open.await?),
            },
        };
        let sequence = session.sequence().await;
        Ok(Slot { home: self, purpose, session, sequence, _permit: permit })
    }

    /// Takes all sessions that nobody uses alone; the next request opens another.
    pub(super) fn take_all(&self) -> Vec<Arc<Session>> {
        let mut sessions = std::mem::take(&mut *lock(&self.idle));
        sessions.extend(lock(&self.shared).take());
        sessions.retain(|session| !session.has_expired());
        sessions
    }

    async fn shared_session(&self, open: impl Future<Output = Result<Session, Error>>) -> Result<Arc<Session>, Error> {
        if let Some(session) = self.usable_shared_session() {
            return Ok(session);
        }
        let _opening = self.opening.lock().await;
        if let Some(session) = self.usable_shared_session() {
            return Ok(session);
        }
        let session = Arc::new(open.await?);
        *lock(&self.shared) = Some(session.clone());
        Ok(session)
    }

    fn usable_shared_session(&self) -> Option<Arc<Session>> {
        lock(&self.shared).clone().filter(|session| !session.has_expired())
    }

    fn idle_session(&self) -> Option<Arc<Session>> {
        let mut idle = lock(&self.idle);
        std::iter::from_fn(|| idle.pop()).find(|session| !session.has_expired())
    }
}

impl Session {
    /// A session that nobody has used yet.
    pub(super) fn new(id: u64, cluster_id: String) -> Self {
        let numbers = Numbers { next: 1, pending: BTreeSet::new() };
        let (expired, advanced) = (AtomicBool::new(false), Notify::new());
        Self { id, cluster_id, expired, numbers: Mutex::new(numbers), advanced }
    }

    /// The request with which the session is closed: it waits for no earlier one.
    pub(super) fn last_request(&self) -> SessionRequest {
        let sequence = lock(&self.numbers).advance();
        self.request(sequence, sequence)
    }

    fn request(&self, sequence: u64, lowest_pending: u64) -> SessionRequest {
        SessionRequest { id: self.id, sequence, lowest_pending, cluster_id: self.cluster_id.clone() }
    }

    /// The next sequence, as soon as it is not too far ahead.
    async fn sequence(&self) -> u64 {
        loop {
            // Before the look, so that no change after it is missed.
            let advanced = self.advanced.notified();
            if let Some(sequence) = lock(&self.numbers).take() {
                return sequence;
            }
            advanced.await;
        }
    }

    fn release(&self, sequence: u64) {
        let mut numbers = lock(&self.numbers);
        let was_lowest = numbers.pending.first() == Some(&sequence);
        numbers.pending.remove(&sequence);
        if was_lowest {
            self.advanced.notify_waiters();
        }
    }

    fn has_expired(&self) -> bool {
        self.expired.load(Ordering::Relaxed)
    }
}

impl Numbers {
    fn take(&mut self) -> Option<u64> {
        let sequence = self.next;
        if sequence - self.pending.first().unwrap_or(&sequence) >= REQUESTS_MAX as u64 {
            return None;
        }
        self.pending.insert(sequence);
        Some(self.advance())
    }

    fn advance(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }
}

impl Slot<'_> {
    /// What the request carries. `lowest_pending` may have grown since the request was last sent.
    pub(super) fn request(&self) -> SessionRequest {
        let lowest = lock(&self.session.numbers).pending.first().copied();
        self.session.request(self.sequence, lowest.unwrap_or(self.sequence))
    }

    /// The id of the session.
    pub(super) fn session_id(&self) -> u64 {
        self.session.id
    }

    /// The cluster does not know the session any more.
    pub(super) fn session_expired(&self) {
        self.session.expired.store(true, Ordering::Relaxed);
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.session.release(self.sequence);
        // Also when the call was given up while its request waits at a node: the next request of the session says that
        // nobody waits for this one any more, and the cluster then refuses it.
        if self.purpose == Purpose::Waiting && !self.session.has_expired() {
            lock(&self.home.idle).push(self.session.clone());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here panics half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "00000000000000000000000000000007";

    async fn slot(sessions: &Sessions, purpose: Purpose, id: u64) -> Slot<'_> {
        sessions
            .slot(purpose, async move { Ok(Session::new(id, CLUSTER.to_owned())) })
            .await
            .expect("opening cannot fail here")
    }

    #[tokio::test]
    async fn the_lowest_pending_is_the_oldest_request_that_still_waits() {
        let sessions = Sessions::default();
        let first = slot(&sessions, Purpose::Short, 7).await;
        let second = slot(&sessions, Purpose::Short, 8).await;
        let third = slot(&sessions, Purpose::Short, 9).await;
        let cluster_id = CLUSTER.to_owned();
        assert_eq!(third.request(), SessionRequest { id: 7, sequence: 3, lowest_pending: 1, cluster_id });
        drop(second);
        assert_eq!(third.request().lowest_pending, 1);
        drop(first);
        assert_eq!(third.request().lowest_pending, 3);
    }

    #[tokio::test]
    async fn no_sequence_goes_further_ahead_than_the_cluster_keeps_outcomes() {
        let sessions = Sessions::default();
        let lowest = slot(&sessions, Purpose::Short, 7).await;
        for _ in 1..REQUESTS_MAX {
            drop(slot(&sessions, Purpose::Short, 7).await);
        }
        let mut ahead = std::pin::pin!(slot(&sessions, Purpose::Short, 7));
        assert!(futures_util::poll!(&mut ahead).is_pending(), "one more is too far ahead");
        drop(lowest);
        assert_eq!(ahead.await.request().sequence, REQUESTS_MAX as u64 + 1);
        assert!(REQUESTS_MAX as u64 <= crate::state_machine::Limits::default().session_outcomes_max);
    }

    #[tokio::test]
    async fn a_waiting_request_has_a_session_to_itself_and_hands_it_on() {
        let sessions = Sessions::default();
        let waiting = slot(&sessions, Purpose::Waiting, 7).await;
        assert_eq!(slot(&sessions, Purpose::Waiting, 8).await.request().id, 8);
        assert_eq!(slot(&sessions, Purpose::Short, 9).await.request().id, 9);
        drop(waiting);
        let next = slot(&sessions, Purpose::Waiting, 10).await.request();
        let cluster_id = CLUSTER.to_owned();
        assert_eq!(next, SessionRequest { id: 7, sequence: 2, lowest_pending: 2, cluster_id });
    }

    #[tokio::test]
    async fn an_expired_session_is_not_used_again() {
        let sessions = Sessions::default();
        for purpose in [Purpose::Short, Purpose::Waiting] {
            slot(&sessions, purpose, 7).await.session_expired();
            assert_eq!(slot(&sessions, purpose, 8).await.request().id, 8);
        }
    }
}
