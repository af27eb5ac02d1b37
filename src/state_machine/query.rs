//! Operations that only read: of a request that is answered beside the log, and within a transaction.

use super::queue::Queues;
use super::session::Sessions;
use super::stored::Stored;
use super::{Operation, Outcome, QueueInfo, QueueName, Refusal, Totals};

/// The state as an operation may see it.
#[derive(Clone, Copy)]
pub(super) struct Query<'a> {
    pub(super) queues: &'a Queues,
    pub(super) sessions: &'a Sessions,
}

/// A client must be able to receive what it asks for, and a node to hold it: an answer has a limit.
pub(super) struct Room {
    bytes: u64,
    bytes_max: u64,
}

impl Query<'_> {
    /// What the operation shows.
    ///
    /// # Panics
    /// It is one that changes something.
    pub(super) fn show(self, operation: &Operation, room: &mut Room) -> Result<Outcome, Refusal> {
        match operation {
            Operation::Peek { queue, limit, state, after } => {
                self.peek(self.queues.browse(queue, *state, *after), *limit, room)
            }
            Operation::ListQueues { after, limit } => self.list_queues(after.as_ref(), *limit, room),
            Operation::Stats { queue } => self.stats(queue.as_ref()),
            Operation::OpenSession
            | Operation::CloseSession
            | Operation::Enqueue { .. }
            | Operation::Dequeue { .. }
            | Operation::Lease { .. }
            | Operation::Settle { .. }
            | Operation::ExtendLease { .. }
            | Operation::Redrive { .. }
            | Operation::SetQueue { .. } => panic!("a query would change something: {operation:?}"),
        }
    }

    /// Ends early where the answer is full, but an empty answer always means that there is nothing.
    fn peek(self, messages: impl Iterator<Item = Stored>, limit: u32, room: &mut Room) -> Result<Outcome, Refusal> {
        let mut seen = Vec::new();
        let mut taken = Ok(());
        for stored in messages.take(limit as usize) {
            taken = room.take(stored.message.bytes());
            if taken.is_err() {
                break;
            }
            seen.push(stored.given());
        }
        if seen.is_empty() {
            taken?;
        }
        Ok(Outcome::Peeked(seen))
    }

    fn list_queues(self, after: Option<&QueueName>, limit: u32, room: &mut Room) -> Result<Outcome, Refusal> {
        let mut rest = self.queues.after(after);
        let queues: Vec<QueueInfo> = rest.by_ref().take(limit as usize).collect();
        let more = rest.next().is_some();
        room.take(queues.iter().map(bytes_of).sum())?;
        Ok(Outcome::Queues { queues, more })
    }

    fn stats(self, queue: Option<&QueueName>) -> Result<Outcome, Refusal> {
        let totals = match queue {
            None => Totals { sessions: self.sessions.count(), ..self.queues.totals() },
            Some(name) => {
                let queue = self.queues.info(name).ok_or_else(|| Refusal::QueueNotFound(name.clone()))?;
                let QueueInfo { contents, counts, oldest, settings, name: _ } = queue;
                Totals { queues: 1, contents, counts, oldest, sessions: 0, settings: Some(settings) }
            }
        };
        Ok(Outcome::Stats(totals))
    }
}

impl Room {
    /// An answer that has nothing in it yet.
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { bytes: 0, bytes_max }
    }

    /// Takes room for so many bytes more.
    pub(super) fn take(&mut self, bytes: u64) -> Result<(), Refusal> {
        if bytes > self.bytes_max.saturating_sub(self.bytes) {
            return Err(Refusal::AnswerTooLarge { bytes_max: self.bytes_max });
        }
        self.bytes += bytes;
        Ok(())
    }
}

/// About what a queue takes in an answer: its name and its numbers, most of them small.
fn bytes_of(queue: &QueueInfo) -> u64 {
    const NUMBERS: u64 = 96;
    queue.name.as_str().len() as u64 + NUMBERS
}
