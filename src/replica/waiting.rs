//! Dequeues that wait for a message. They are not in the log: the leader proposes one when there is something to take, or when
//! its time is over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Execute, RequestId};
use crate::ids::Time;
use crate::state_machine::QueueName;

/// A dequeue with nothing to take yet.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) request: RequestId,
    pub(super) execute: Execute,
    /// When the client wants an answer in any case.
    pub(super) deadline: Time,
}

/// Parked dequeues: for each queue the one that waits longest comes first.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queues: BTreeMap<QueueName, VecDeque<Parked>>,
    deadlines: BTreeSet<(Time, RequestId)>,
    places: BTreeMap<RequestId, QueueName>,
}

impl Waiting {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Parks a dequeue behind those that wait for the same queue; `first`: before them, because it came earlier.
    pub(super) fn park(&mut self, queue: QueueName, parked: Parked, first: bool) {
        self.deadlines.insert((parked.deadline, parked.request));
        self.places.insert(parked.request, queue.clone());
        let waiting = self.queues.entry(queue).or_default();
        if first { waiting.push_front(parked) } else { waiting.push_back(parked) }
    }

    /// Up to `count` that wait for `queue`, the longest first.
    pub(super) fn wake(&mut self, queue: &QueueName, count: u64) -> Vec<Parked> {
        let waiting = self.queues.get(queue).into_iter().flatten();
        let requests: Vec<RequestId> =
            waiting.take(usize::try_from(count).unwrap_or(usize::MAX)).map(|parked| parked.request).collect();
        requests.into_iter().filter_map(|request| self.remove(request)).collect()
    }

    /// Those whose time is over.
    pub(super) fn due(&mut self, now: Time) -> Vec<Parked> {
        let due: Vec<RequestId> =
            self.deadlines.iter().take_while(|(at, _)| *at <= now).map(|(_, request)| *request).collect();
        due.into_iter().filter_map(|request| self.remove(request)).collect()
    }

    /// All of them.
    pub(super) fn drain(&mut self) -> Vec<Parked> {
        std::mem::take(self).queues.into_values().flatten().collect()
    }

    /// Takes out one request, if it waits here.
    pub(super) fn remove(&mut self, request: RequestId) -> Option<Parked> {
        let queue = self.places.remove(&request)?;
        let waiting = self.queues.get_mut(&queue)?;
        let place = waiting.iter().position(|parked| parked.request == request)?;
        let parked = waiting.remove(place)?;
        if waiting.is_empty() {
            self.queues.remove(&queue);
        }
        self.deadlines.remove(&(parked.deadline, request));
        Some(parked)
    }

    /// The next deadline.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }
}
