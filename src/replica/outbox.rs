//! Messages that wait for a write. Nothing else in the program can send one early.

use std::collections::VecDeque;

use crate::ids::{NodeId, Ticket};
use crate::raft::Message;

/// Held messages. When there are more than this, the oldest is dropped: to Raft that is a message the network lost.
const HELD_MAX: usize = 4096;

/// Holds each message until the write that it relies on is durable.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    durable: Ticket,
    held: VecDeque<(Ticket, NodeId, Message)>,
}

impl Outbox {
    /// Takes a message. Returns it when it may be sent at once.
    pub(super) fn submit(&mut self, to: NodeId, message: Message, after: Ticket) -> Option<(NodeId, Message)> {
        if after <= self.durable {
            return Some((to, message));
        }
        if self.held.len() == HELD_MAX {
            self.held.pop_front();
        }
        self.held.push_back((after, to, message));
        None
    }

    /// Every write up to `ticket` is durable: returns what may be sent by that, in the order it was submitted.
    pub(super) fn release(&mut self, ticket: Ticket) -> Vec<(NodeId, Message)> {
        self.durable = self.durable.max(ticket);
        let (released, held) =
            std::mem::take(&mut self.held).into_iter().partition(|(after, ..)| *after <= self.durable);
        self.held = held;
        VecDeque::into_iter(released).map(|(_, to, message)| (to, message)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Term;
    use crate::raft::{Body, ReadContext};

    fn message(number: u64) -> Message {
        Message { term: Term(number), body: Body::ReadIndex { context: ReadContext(number) } }
    }

    #[test]
    fn a_message_waits_for_its_write() {
        let mut outbox = Outbox::default();
        let to = NodeId(1);
        assert_eq!(outbox.submit(to, message(1), Ticket(0)), Some((to, message(1))));
        assert_eq!(outbox.submit(to, message(2), Ticket(2)), None);
        assert_eq!(outbox.submit(to, message(3), Ticket(1)), None);
        assert_eq!(outbox.release(Ticket(1)), [(to, message(3))]);
        assert_eq!(outbox.release(Ticket(2)), [(to, message(2))]);
        assert_eq!(outbox.submit(to, message(4), Ticket(2)), Some((to, message(4))));
    }
}
