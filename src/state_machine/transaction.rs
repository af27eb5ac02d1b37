//! The operations of one command: all of them, or none.
//!
//! Operations are carried out one after the other on the real state, so that each sees what those before it did. If one is
//! refused, the others are taken back in reverse order.

use super::query::{Query, Room};
use super::queue::{Pushed, Queues, Waiting};
use super::session::Sessions;
use super::{MessageId, Operation, Outcome, QueueName, Refusal};
use crate::ids::{Index, SessionId, Timestamp};

/// A command being carried out.
pub(super) struct Transaction<'a> {
    queues: &'a mut Queues,
    sessions: &'a mut Sessions,
    context: Context,
    room: Room,
    done: Vec<Done<'a>>,
}

/// What operations know of the entry that brings them.
#[derive(Clone, Copy)]
pub(super) struct Context {
    pub(super) index: Index,
    pub(super) now: Timestamp,
    pub(super) session: Option<SessionId>,
    pub(super) answer_bytes_max: u64,
}

/// What was done and can be taken back.
enum Done<'a> {
    Pushed { queue: &'a QueueName, pushed: Pushed },
    Popped { queue: &'a QueueName, message: Waiting },
    Opened(SessionId),
}

impl<'a> Transaction<'a> {
    pub(super) fn new(queues: &'a mut Queues, sessions: &'a mut Sessions, context: Context) -> Self {
        Self { queues, sessions, context, room: Room::new(context.answer_bytes_max), done: Vec::new() }
    }

    /// Carries the operations out and says what became of each. After a refusal nothing has changed.
    pub(super) fn run(mut self, operations: &'a [Operation]) -> Result<Vec<Outcome>, Refusal> {
        let run_all = |(item, operation)| self.execute(item, operation);
        let outcomes: Result<Vec<Outcome>, Refusal> = (0u32..).zip(operations).map(run_all).collect();
        match (&outcomes, self.context.session) {
            (Err(_), _) => self.take_back(),
            (Ok(outcomes), Some(session)) if outcomes.contains(&Outcome::SessionClosed) => self.sessions.close(session),
            (Ok(_), _) => {}
        }
        outcomes
    }

    fn execute(&mut self, item: u32, operation: &'a Operation) -> Result<Outcome, Refusal> {
        match operation {
            Operation::OpenSession => self.open_session(),
            Operation::CloseSession => self.close_session(),
            Operation::Enqueue { queue, message } => self.enqueue(queue, item, message.bytes()),
            Operation::Dequeue { queue, wait: _ } => self.dequeue(queue),
            Operation::Peek { .. } | Operation::ListQueues { .. } | Operation::Stats { .. } => {
                Query { queues: self.queues, sessions: self.sessions }.show(operation, &mut self.room)
            }
        }
    }

    fn open_session(&mut self) -> Result<Outcome, Refusal> {
        let id = self.sessions.open(self.context.index, self.context.now)?;
        self.done.push(Done::Opened(id));
        Ok(Outcome::SessionOpened { id, time_to_live: self.sessions.time_to_live() })
    }

    /// Only says so: the session goes when all operations are done, so that there is nothing to take back.
    fn close_session(&mut self) -> Result<Outcome, Refusal> {
        match self.context.session {
            Some(_) => Ok(Outcome::SessionClosed),
            None => Err(Refusal::SessionExpired(SessionId(0))),
        }
    }

    fn enqueue(&mut self, queue: &'a QueueName, item: u32, length: usize) -> Result<Outcome, Refusal> {
        let id = MessageId { index: self.context.index, item };
        let pushed = self.queues.push(queue, Waiting::new(id, length, self.context.now))?;
        self.done.push(Done::Pushed { queue, pushed });
        Ok(Outcome::Enqueued(id))
    }

    fn dequeue(&mut self, queue: &'a QueueName) -> Result<Outcome, Refusal> {
        let Some(message) = self.queues.first(queue) else {
            return Ok(Outcome::Dequeued(None));
        };
        self.room.take(message.bytes())?;
        self.queues.pop(queue);
        self.done.push(Done::Popped { queue, message });
        Ok(Outcome::Dequeued(Some(message.given())))
    }

    fn take_back(&mut self) {
        for done in self.done.drain(..).rev() {
            match done {
                Done::Pushed { queue, pushed } => self.queues.undo_push(queue, pushed),
                Done::Popped { queue, message } => self.queues.undo_pop(queue, message),
                Done::Opened(id) => self.sessions.close(id),
            }
        }
    }
}
