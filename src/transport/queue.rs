//! What waits for one lane to a peer.
//!
//! ```text
//!    send ──▶ [ oldest ... newest ] ──▶ the connection that draws now
//! ```
//!
//! `push` never waits: the loop that owns the replicas must not stand still because a peer does. Each connection draws
//! under a number of its own, so that the remains of a broken one take nothing from its successor.
//!
//! A connection can take a minute to make, and then be slow. What waits for it is what the peer can use when it comes:
//! - of heartbeats, and of answers to them, the last one. All of a minute would tell nothing more, and the answer to the first would
//!   look as if the way to the peer and back took a minute.
//! - no entries. The leader sends what the peer lacks when it is connected; what it sent before, again and again because nothing
//!   was answered, would go over the line before that.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Envelope;
use crate::raft::{Body, Message};

/// The most messages in one frame.
pub const FRAME_MESSAGES_MAX: usize = 4096;

/// What goes when a queue is full, of what is of use. Safe either way, because Raft lives with lost messages: whoever needs an answer asks
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest heartbeat or its answer goes, since a later one says all that it said; if there is none, the oldest
    /// message. For control: what is fresh counts.
    DropOldest,
    /// The message that comes goes. For appends: those that wait follow one another, so that the follower can use them.
    DropNewest,
}

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages.
    pub messages_max: usize,
    /// Bytes, about; a single message may be larger.
    pub bytes_max: u64,
    /// What goes when there are more.
    pub when_full: WhenFull,
}

/// The queue of one lane.
#[derive(Debug)]
pub struct Queue {
    limits: Limits,
    state: Mutex<State>,
    ready: Notify,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    bytes: u64,
    connection: u64,
    /// The connection that draws was let in.
    flows: bool,
    closed: bool,
}

#[derive(Debug)]
struct Waiting {
    envelope: Envelope,
    bytes: u64,
}

impl Queue {
    /// An empty queue.
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default(), ready: Notify::new(), dropped: AtomicU64::new(0) }
    }

    /// Adds a message, unless it is of no use by the time that it can be sent; see [`WhenFull`] for what happens when there is no
    /// room.
    pub fn push(&self, envelope: Envelope) {
        let waiting = Waiting { bytes: size(&envelope.message), envelope };
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let dropped = state.add(waiting, &self.limits);
        drop(state);
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
        self.ready.notify_one();
    }

    /// Starts to draw for a connection, and ends it for the one before.
    pub fn begin(&self) -> u64 {
        let mut state = self.lock();
        state.connection += 1;
        state.connection
    }

    /// The next messages for a connection, in order, at most about `bytes_max` and at least one; waits for them. None: the
    /// queue is closed and empty, or another connection draws.
    pub async fn next(&self, connection: u64, bytes_max: u64) -> Option<Vec<Envelope>> {
        loop {
            {
                let mut state = self.lock();
                if state.connection != connection {
                    // The notice may have been meant for the successor.
                    self.ready.notify_one();
                    return None;
                }
                let batch = state.take(bytes_max);
                if !batch.is_empty() {
                    return Some(batch);
                }
                if state.closed {
                    return None;
                }
            }
            self.ready.notified().await;
        }
    }

    /// The connection that draws was let in: what is sent from here on goes out.
    pub fn flow(&self) {
        self.lock().flows = true;
    }

    /// The connection is gone: drops what waits.
    pub fn clear(&self) {
        let mut state = self.lock();
        state.flows = false;
        self.dropped.fetch_add(state.waiting.len() as u64, Ordering::Relaxed);
        state.waiting.clear();
        state.bytes = 0;
    }

    /// Takes nothing more; what waits can still be drawn.
    pub fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_one();
    }

    /// True from `close` on.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// How many messages were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// No code under the lock panics half way through a change.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Adds, and returns how many messages went for it.
    fn add(&mut self, waiting: Waiting, limits: &Limits) -> u64 {
        if !self.flows && matches!(waiting.envelope.message.body, Body::AppendEntries { .. }) {
            return 1;
        }
        self.drop_superseded(&waiting.envelope);
        if limits.when_full == WhenFull::DropNewest && self.is_full(waiting.bytes, limits) {
            return 1;
        }
        let mut dropped = 0;
        while self.is_full(waiting.bytes, limits) {
            self.drop_oldest();
            dropped += 1;
        }
        self.bytes += waiting.bytes;
        self.waiting.push_back(waiting);
        dropped
    }

    fn is_full(&self, more: u64, limits: &Limits) -> bool {
        let full = self.waiting.len() >= limits.messages_max || self.bytes + more > limits.bytes_max;
        full && !self.waiting.is_empty()
    }

    /// Takes out the heartbeat, or the answer to one, that this one takes the place of. There is one at most.
    fn drop_superseded(&mut self, by: &Envelope) {
        if is_heartbeat(by)
            && let Some(at) = self.waiting.iter().position(|waiting| is_same_kind(&waiting.envelope, by))
        {
            self.remove(at);
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self.waiting.iter().position(|waiting| is_heartbeat(&waiting.envelope)).unwrap_or(0);
        self.remove(oldest);
    }

    fn remove(&mut self, at: usize) {
        if let Some(waiting) = self.waiting.remove(at) {
            self.bytes -= waiting.bytes;
        }
    }

    fn take(&mut self, bytes_max: u64) -> Vec<Envelope> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(first) = self.waiting.front() {
            let fits = bytes + first.bytes <= bytes_max && batch.len() < FRAME_MESSAGES_MAX;
            if !fits && !batch.is_empty() {
                break;
            }
            let Some(first) = self.waiting.pop_front() else { break };
            bytes += first.bytes;
            batch.push(first.envelope);
        }
        self.bytes -= bytes;
        batch
    }
}

fn is_heartbeat(envelope: &Envelope) -> bool {
    matches!(envelope.message.body, Body::Heartbeat { .. } | Body::HeartbeatReply { .. })
}

fn is_same_kind(one: &Envelope, other: &Envelope) -> bool {
    let kind = |envelope: &Envelope| std::mem::discriminant(&envelope.message.body);
    one.shard == other.shard && kind(one) == kind(other)
}

/// About how many bytes a message takes.
fn size(message: &Message) -> u64 {
    const OVERHEAD: u64 = 64;
    match &message.body {
        Body::AppendEntries { entries, .. } => OVERHEAD + entries.iter().map(|entry| entry.size()).sum::<u64>(),
        _ => OVERHEAD,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{EntryId, Index, SHARD_0, ShardId, Term, Time};
    use crate::raft::{AppendReply, Entry, OpaqueTime, Payload};

    fn heartbeat(sent_at: u64) -> Message {
        Message {
            term: Term(1),
            body: Body::Heartbeat {
                commit: Index(0),
                sent_at: Time(sent_at),
                read_round: 0,
                fresh: None,
                timing: None,
            },
        }
    }

    fn vote(term: u64) -> Message {
        Message { term: Term(term), body: Body::RequestVote { last: EntryId::default(), transfer: false } }
    }

    fn append(bytes: usize) -> Message {
        let entry = Entry { id: EntryId::new(Term(1), Index(1)), payload: Payload::Command(vec![0; bytes].into()) };
        let body =
            Body::AppendEntries { previous: EntryId::default(), commit: Index(0), entries: vec![entry], attempt: 0 };
        Message { term: Term(1), body }
    }

    fn envelope(message: Message) -> Envelope {
        Envelope::new(SHARD_0, message)
    }

    fn reply(sent_at: u64) -> Message {
        let body = Body::HeartbeatReply { sent_at: Time(sent_at), read_round: 0, clock: OpaqueTime(0) };
        Message { term: Term(1), body }
    }

    /// The queue of a connection that was let in.
    fn queue(messages_max: usize, bytes_max: u64, when_full: WhenFull) -> Queue {
        let queue = Queue::new(Limits { messages_max, bytes_max, when_full });
        queue.flow();
        queue
    }

    /// All that waits, in frames of at most `bytes_max`.
    async fn drain(queue: &Queue, bytes_max: u64) -> Vec<Vec<Message>> {
        queue.close();
        let connection = queue.begin();
        let mut frames = Vec::new();
        while let Some(batch) = queue.next(connection, bytes_max).await {
            frames.push(batch.into_iter().map(|envelope| envelope.message).collect());
        }
        frames
    }

    #[tokio::test]
    async fn full_control_queue_drops_the_oldest_heartbeat_before_a_vote() {
        let queue = queue(3, 1 << 20, WhenFull::DropOldest);
        for message in [vote(1), heartbeat(1), vote(2), reply(1), vote(3), vote(4)] {
            queue.push(envelope(message));
        }
        assert_eq!(drain(&queue, 1 << 20).await, [[vote(2), vote(3), vote(4)]]);
        assert_eq!(queue.dropped(), 3);
    }

    #[tokio::test]
    async fn of_heartbeats_and_of_their_answers_only_the_last_one_waits() {
        let queue = queue(100, 1 << 20, WhenFull::DropOldest);
        for message in [heartbeat(1), reply(1), vote(1), heartbeat(2), reply(2), heartbeat(3)] {
            queue.push(envelope(message));
        }
        queue.push(Envelope::new(ShardId(9), heartbeat(4)));
        assert_eq!(drain(&queue, 1 << 20).await, [[vote(1), reply(2), heartbeat(3), heartbeat(4)]]);
        assert_eq!(queue.dropped(), 0, "nothing was lost by it");
    }

    /// A leader sends the same again and again to a peer that does not answer.
    #[tokio::test]
    async fn entries_do_not_wait_for_a_connection() {
        let queue = Queue::new(Limits { messages_max: 100, bytes_max: 1 << 20, when_full: WhenFull::DropNewest });
        let accepted = Message { term: Term(1), body: Body::AppendReply(AppendReply::Accepted(EntryId::default())) };
        queue.push(envelope(append(100)));
        queue.push(envelope(accepted.clone()));
        queue.flow();
        queue.push(envelope(append(200)));
        queue.clear();
        queue.push(envelope(append(300)));
        queue.push(envelope(accepted.clone()));
        queue.flow();
        queue.push(envelope(append(400)));
        assert_eq!(drain(&queue, 1 << 20).await, [[accepted, append(400)]]);
        assert_eq!(queue.dropped(), 4);
    }

    #[tokio::test]
    async fn full_control_queue_of_votes_drops_the_oldest() {
        let queue = queue(2, 1 << 20, WhenFull::DropOldest);
        for term in 1..=3 {
            queue.push(envelope(vote(term)));
        }
        assert_eq!(drain(&queue, 1 << 20).await, [[vote(2), vote(3)]]);
    }

    #[tokio::test]
    async fn full_append_queue_drops_the_newest() {
        let queue = queue(100, 1000, WhenFull::DropNewest);
        for bytes in [400, 401, 402] {
            queue.push(envelope(append(bytes)));
        }
        assert_eq!(drain(&queue, 1 << 20).await, [[append(400), append(401)]]);
        assert_eq!(queue.dropped(), 1);
    }

    #[tokio::test]
    async fn a_message_larger_than_the_queue_waits_alone() {
        for when_full in [WhenFull::DropNewest, WhenFull::DropOldest] {
            let queue = queue(100, 1000, when_full);
            queue.push(envelope(append(5000)));
            assert_eq!(drain(&queue, 1 << 20).await, [[append(5000)]]);
        }
    }

    #[tokio::test]
    async fn frames_are_cut_by_bytes_and_carry_one_message_at_least() {
        let queue = queue(100, 1 << 20, WhenFull::DropNewest);
        for bytes in [100, 100, 5000, 100] {
            queue.push(envelope(append(bytes)));
        }
        let frames = drain(&queue, 500).await;
        assert_eq!(frames.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1]);
    }

    #[tokio::test]
    async fn what_remains_of_a_broken_connection_takes_nothing() {
        let queue = queue(100, 1 << 20, WhenFull::DropNewest);
        let broken = queue.begin();
        let connection = queue.begin();
        queue.push(envelope(vote(1)));
        assert_eq!(queue.next(broken, 1000).await, None);
        assert_eq!(queue.next(connection, 1000).await, Some(vec![envelope(vote(1))]));
    }
}
