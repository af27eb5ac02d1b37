//! Dequeues and leases that wait for a message. They are not in the log: the leader proposes one when there is
//! something to take, or when its time is over.
//!
//! As many are woken as can take all the messages that there are, less those that are for others, which are woken and
//! not yet decided: a message wakes one.

use std::collections::{BTreeMap, BTreeSet};

use super::{Execute, RequestId};
use crate::ids::Time;
use crate::state_machine::QueueName;

/// A request with nothing to take yet.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) request: RequestId,
    pub(super) execute: Execute,
    /// When the client wants an answer in any case.
    pub(super) deadline: Time,
}

/// Parked requests. They are numbered as they come, so the lowest number has waited longest.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    lines: BTreeMap<QueueName, Line>,
    deadlines: BTreeSet<(Time, RequestId)>,
    places: BTreeMap<RequestId, QueueName>,
}

/// Those that wait for one queue.
#[derive(Debug, Default)]
struct Line {
    /// With how many messages each takes at most.
    parked: BTreeMap<RequestId, (Parked, u64)>,
    /// How many messages those take at most that are woken and not yet decided.
    woken: u64,
}

impl Waiting {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Parks a request that takes at most `limit` messages.
    pub(super) fn park(&mut self, queue: QueueName, limit: u64, parked: Parked) {
        self.deadlines.insert((parked.deadline, parked.request));
        self.places.insert(parked.request, queue.clone());
        self.lines.entry(queue).or_default().parked.insert(parked.request, (parked, limit));
    }

    /// Those that the `messages` in `queue` are for, the longest wait first, with how many each takes at most. Each is
    /// to be reported with `on_decided`.
    pub(super) fn wake(&mut self, queue: &QueueName, messages: u64) -> Vec<(Parked, u64)> {
        let Some(line) = self.lines.get_mut(queue) else { return Vec::new() };
        let mut woken = Vec::new();
        for (request, (_, limit)) in &line.parked {
            if line.woken >= messages {
                break;
            }
            line.woken += limit;
            woken.push((*request, *limit));
        }
        woken.into_iter().filter_map(|(request, limit)| Some((self.remove(request)?, limit))).collect()
    }

    /// One that was woken for `limit` messages of `queue` has been decided, or is not to be any more.
    pub(super) fn on_decided(&mut self, queue: &QueueName, limit: u64) {
        if let Some(line) = self.lines.get_mut(queue) {
            line.woken = line.woken.saturating_sub(limit);
        }
        self.forget_if_idle(queue);
    }

    /// Those whose time is over.
    pub(super) fn due(&mut self, now: Time) -> Vec<Parked> {
        let due: Vec<RequestId> =
            self.deadlines.iter().take_while(|(at, _)| *at <= now).map(|(_, request)| *request).collect();
        due.into_iter().filter_map(|request| self.remove(request)).collect()
    }

    /// All of them.
    pub(super) fn drain(&mut self) -> Vec<Parked> {
        let parked = std::mem::take(self).lines.into_values().flat_map(|line| line.parked.into_values());
        parked.map(|(parked, _)| parked).collect()
    }

    /// Takes out one request, if it waits here.
    pub(super) fn remove(&mut self, request: RequestId) -> Option<Parked> {
        let queue = self.places.remove(&request)?;
        let (parked, _) = self.lines.get_mut(&queue)?.parked.remove(&request)?;
        self.deadlines.remove(&(parked.deadline, request));
        self.forget_if_idle(&queue);
        Some(parked)
    }

    /// The next deadline.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    fn forget_if_idle(&mut self, queue: &QueueName) {
        if self.lines.get(queue).is_some_and(|line| line.parked.is_empty() && line.woken == 0) {
            self.lines.remove(queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn queue() -> QueueName {
        "q".parse().expect("a good name")
    }

    fn waiting(requests: impl IntoIterator<Item = u64>) -> Waiting {
        let mut waiting = Waiting::default();
        for request in requests {
            let wait = Duration::from_secs(1);
            let execute = Execute { session: None, operations: Vec::new(), wait, is_followed: false };
            waiting.park(queue(), 1, Parked { request: RequestId(request), execute, deadline: Time(request) });
        }
        waiting
    }

    fn ids(woken: Vec<(Parked, u64)>) -> Vec<u64> {
        woken.into_iter().map(|(parked, _)| parked.request.0).collect()
    }

    #[test]
    fn a_message_wakes_one_and_the_longest_wait_comes_first() {
        let mut waiting = waiting([3, 1, 2, 4]);
        assert_eq!(ids(waiting.wake(&queue(), 1)), [1]);
        assert_eq!(ids(waiting.wake(&queue(), 2)), [2], "the first message is for the one that is woken already");
        waiting.on_decided(&queue(), 1);
        assert_eq!(ids(waiting.wake(&queue(), 2)), [3]);
    }

    #[test]
    fn one_that_takes_many_leaves_the_others_asleep() {
        let mut waiting = waiting([2, 3]);
        let parked = Parked { request: RequestId(1), ..waiting.remove(RequestId(3)).expect("it waits") };
        waiting.park(queue(), 10, parked);
        assert_eq!(ids(waiting.wake(&queue(), 10)), [1]);
        assert_eq!(ids(waiting.wake(&queue(), 11)), [2]);
        waiting.on_decided(&queue(), 1);
        waiting.on_decided(&queue(), 10);
        assert!(waiting.lines.is_empty(), "{waiting:?}");
    }

    #[test]
    fn those_whose_time_is_over_are_due() {
        let mut waiting = waiting([1, 2, 3]);
        assert_eq!(waiting.next_deadline(), Some(Time(1)));
        let due: Vec<u64> = waiting.due(Time(2)).into_iter().map(|parked| parked.request.0).collect();
        assert_eq!(due, [1, 2]);
        assert_eq!(ids(waiting.wake(&queue(), 9)), [3]);
        assert_eq!(waiting.len(), 0);
    }
}
