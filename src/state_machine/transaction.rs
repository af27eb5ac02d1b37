//! The operations of one command: all of them, or none.
//!
//! Operations are carried out one after the other on the real state, so that each sees what those before it did. If one is
//! refused, the others are taken back in reverse order.

use std::time::Duration;

use super::leasing::redelivery;
use super::query::{Query, Room};
use super::queue::{Change, Queues};
use super::session::Sessions;
use super::stored::{State, Stored, Waiting};
use super::{Chosen, Counts, MessageId, Operation, Outcome, QueueName, Refusal};
use crate::ids::{Index, SessionId, Timestamp};

/// A command being carried out.
pub(super) struct Transaction<'a> {
    pub(super) queues: &'a mut Queues,
    sessions: &'a mut Sessions,
    pub(super) context: Context,
    pub(super) room: Room,
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
    Made(&'a QueueName),
    /// With the change that takes it back.
    Changed {
        queue: &'a QueueName,
        back: Change,
    },
    /// With what was chosen before.
    Chose {
        queue: &'a QueueName,
        before: Chosen,
    },
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
            Operation::Enqueue { queue, message, delay } => self.enqueue(queue, item, message.bytes(), *delay),
            Operation::Dequeue { queue, wait: _ } => self.dequeue(queue),
            Operation::Lease { queue, limit, duration, wait: _ } => self.lease(queue, item, *limit, *duration),
            Operation::Settle { queue, settlements, all_or_none } => self.settle(queue, settlements, *all_or_none),
            Operation::ExtendLease { queue, tokens, duration } => Ok(self.extend_lease(queue, tokens, *duration)),
            Operation::Redrive { queue, limit } => self.redrive(queue, *limit),
            Operation::SetQueue { queue, chosen } => self.set_queue(queue, *chosen),
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

    fn enqueue(&mut self, queue: &'a QueueName, item: u32, length: usize, delay: Duration) -> Result<Outcome, Refusal> {
        let Context { index, now, .. } = self.context;
        let id = MessageId { index, item };
        let state = if delay.is_zero() { State::Waiting } else { State::Delayed { until: now.after(delay) } };
        if self.queues.make_room(queue)? {
            self.done.push(Done::Made(queue));
        }
        let to = Some(Stored::new(Waiting::new(id, length, now), state));
        let counts = Counts { enqueued: 1, ..Counts::default() };
        self.change(queue, Change { from: None, to, counts });
        Ok(Outcome::Enqueued(id))
    }

    fn dequeue(&mut self, queue: &'a QueueName) -> Result<Outcome, Refusal> {
        let Some(ready) = self.queues.first(queue) else {
            return Ok(Outcome::Dequeued(None));
        };
        self.room.take(ready.message.bytes())?;
        let from = Some((ready.kind(), ready.place()));
        let counts = redelivery(&ready).plus(Counts { dequeued: 1, ..Counts::default() });
        self.change(queue, Change { from, to: None, counts });
        Ok(Outcome::Dequeued(Some(ready.delivered().given())))
    }

    fn set_queue(&mut self, queue: &'a QueueName, chosen: Chosen) -> Result<Outcome, Refusal> {
        let before = self.queues.choose(queue, chosen).ok_or_else(|| Refusal::QueueNotFound(queue.clone()))?;
        self.done.push(Done::Chose { queue, before });
        let settings = self.queues.settings(queue).expect("it was just changed");
        Ok(Outcome::QueueSet(settings))
    }

    /// Changes a message, so that it can be taken back.
    pub(super) fn change(&mut self, queue: &'a QueueName, change: Change) {
        let back = self.queues.change(queue, change);
        self.done.push(Done::Changed { queue, back });
    }

    fn take_back(&mut self) {
        for done in self.done.drain(..).rev() {
            match done {
                Done::Made(queue) => self.queues.unmake(queue),
                Done::Changed { queue, back } => drop(self.queues.change(queue, back)),
                Done::Chose { queue, before } => self.queues.choose_again(queue, before),
                Done::Opened(id) => self.sessions.close(id),
            }
        }
    }
}
