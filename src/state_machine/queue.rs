//! The queues: what waits in them, in the order of its arrival.
//!
//! The collections share structure: a clone takes constant time, and what is changed after it is copied piece by piece, 64
//! messages or 16 queues at once.

use std::hash::{Hash, Hasher};
use std::ops::Bound;

use imbl::ordmap::Entry;
use imbl::{OrdMap, Vector};

use super::digest::hash_sequence;
use super::{Contents, Counts, Given, MessageId, QueueInfo, QueueName, Refusal, Request, Totals};
use crate::ids::{Index, Timestamp};

/// A message that waits: its name, when it was enqueued, and its length so that answers can be limited without reading it.
/// Packed into 16 bytes, as there may be millions.
///
/// ```text
/// place    index: 52 bits        item: 12     in the order of the messages
/// facts    time in ms: 42 bits   length: 22   until the year 2109; a longer time or length counts as the longest
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Waiting {
    place: u64,
    facts: u64,
}

const ITEM_BITS: u32 = 12;
const LENGTH_BITS: u32 = 22;
const INDEX_MAX: u64 = u64::MAX >> ITEM_BITS;
const ITEM_MAX: u32 = (1 << ITEM_BITS) - 1;
const TIME_MAX: u64 = u64::MAX >> LENGTH_BITS;
const LENGTH_MAX: u64 = (1 << LENGTH_BITS) - 1;

// A request that was accepted fits.
const _: () = assert!(Request::OPERATIONS_MAX <= ITEM_MAX as usize + 1);
const _: () = assert!(Request::MESSAGE_BYTES_MAX + Request::HEADER_BYTES_MAX <= LENGTH_MAX as usize);

impl Waiting {
    /// The message `id` of `length` bytes, enqueued at `time`.
    ///
    /// # Panics
    /// It is an operation beyond those that an entry can have, or an entry beyond those that there will ever be.
    pub(super) fn new(id: MessageId, length: usize, time: Timestamp) -> Self {
        let facts = (time.0.min(TIME_MAX), (length as u64).min(LENGTH_MAX));
        Self::from_parts(id, facts).unwrap_or_else(|| panic!("no log has a message {}/{}", id.index, id.item))
    }

    /// The message with this time and this length; none if they are not what `new` makes.
    pub(super) fn from_parts(id: MessageId, (time, length): (u64, u64)) -> Option<Self> {
        let fits = id.index.0 <= INDEX_MAX && id.item <= ITEM_MAX && time <= TIME_MAX && length <= LENGTH_MAX;
        let place = id.index.0 << ITEM_BITS | u64::from(id.item);
        fits.then_some(Self { place, facts: time << LENGTH_BITS | length })
    }

    pub(super) fn id(self) -> MessageId {
        let item = (self.place & u64::from(ITEM_MAX)) as u32;
        MessageId { index: Index(self.place >> ITEM_BITS), item }
    }

    /// Of body and headers.
    pub(super) fn bytes(self) -> u64 {
        self.facts & LENGTH_MAX
    }

    pub(super) fn enqueued_at(self) -> Timestamp {
        Timestamp(self.facts >> LENGTH_BITS)
    }

    pub(super) fn given(self) -> Given {
        Given { id: self.id(), enqueued_at: self.enqueued_at() }
    }
}

/// All queues by name. A queue is made by its first message and then stays, also while it is empty: the number of queues
/// ever made is what `queues_max` limits.
#[derive(Clone, Debug)]
pub(super) struct Queues {
    by_name: OrdMap<QueueName, Queue>,
    /// Of all queues together. Follows from `by_name`.
    contents: Contents,
    counts: Counts,
    queues_max: u64,
    queue_messages_max: u64,
}

/// One queue. `bytes` is the sum of the lengths of what waits. Ids rise from the front to the back.
///
/// Up to 3 messages lie in the `Vector` itself, up to 64 in one piece of 1 KiB. A longer queue has two pieces at each end and
/// full ones between them.
#[derive(Clone, Debug, Default)]
struct Queue {
    waiting: Vector<Waiting>,
    bytes: u64,
    counts: Counts,
}

/// What taking a `push` back needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    ToExisting,
    ToCreated,
}

impl Queues {
    pub(super) fn new(queues_max: u64, queue_messages_max: u64) -> Self {
        let (contents, counts) = (Contents::default(), Counts::default());
        Self { by_name: OrdMap::new(), contents, counts, queues_max, queue_messages_max }
    }

    /// How many messages can be taken.
    pub(super) fn ready_in(&self, name: &QueueName) -> u64 {
        self.by_name.get(name).map_or(0, Queue::ready)
    }

    /// Appends a message, unless that would exceed a limit. Makes the queue if it does not exist.
    pub(super) fn push(&mut self, name: &QueueName, message: Waiting) -> Result<Pushed, Refusal> {
        let count = self.by_name.len() as u64;
        let messages_max = self.queue_messages_max;
        let (queue, pushed) = match self.by_name.entry(name.clone()) {
            Entry::Vacant(_) if count >= self.queues_max => {
                return Err(Refusal::TooManyQueues { queues_max: self.queues_max });
            }
            Entry::Vacant(vacant) => (vacant.insert(Queue::default()), Pushed::ToCreated),
            Entry::Occupied(occupied) => (occupied.into_mut(), Pushed::ToExisting),
        };
        let messages = queue.ready();
        if messages >= messages_max {
            return Err(Refusal::QueueFull { queue: name.clone(), messages, messages_max });
        }
        queue.push_back(message);
        queue.counts.enqueued += 1;
        self.counts.enqueued += 1;
        self.count_in(message);
        Ok(pushed)
    }

    /// Takes the oldest message.
    pub(super) fn pop(&mut self, name: &QueueName) -> Option<Waiting> {
        let queue = self.by_name.get_mut(name)?;
        let message = queue.pop_front()?;
        queue.counts.dequeued += 1;
        self.counts.dequeued += 1;
        self.count_out(message);
        Some(message)
    }

    /// The oldest message, which stays.
    pub(super) fn first(&self, name: &QueueName) -> Option<Waiting> {
        self.by_name.get(name)?.waiting.front().copied()
    }

    /// The messages of a queue, oldest first.
    pub(super) fn iter(&self, name: &QueueName) -> impl Iterator<Item = Waiting> {
        self.by_name.get(name).into_iter().flat_map(|queue| queue.waiting.iter().copied())
    }

    /// Takes the last `push` to this queue back.
    pub(super) fn undo_push(&mut self, name: &QueueName, pushed: Pushed) {
        let queue = self.queue_mut(name);
        queue.counts.enqueued -= 1;
        let message = queue.pop_back().expect("it was just pushed");
        self.counts.enqueued -= 1;
        self.count_out(message);
        if pushed == Pushed::ToCreated {
            self.by_name.remove(name);
        }
    }

    /// Takes the last `pop` from this queue back.
    pub(super) fn undo_pop(&mut self, name: &QueueName, message: Waiting) {
        let queue = self.queue_mut(name);
        queue.counts.dequeued -= 1;
        queue.push_front(message);
        self.counts.dequeued -= 1;
        self.count_in(message);
    }

    /// What all queues hold together. Constant time: one request may ask a thousand times.
    pub(super) fn totals(&self) -> Totals {
        let queues = self.by_name.len() as u64;
        Totals { queues, contents: self.contents, counts: self.counts, oldest: None, sessions: 0 }
    }

    /// A queue and what is in it, if it exists.
    pub(super) fn info(&self, name: &QueueName) -> Option<QueueInfo> {
        self.by_name.get_key_value(name).map(info)
    }

    /// The queues after this name, in the order of their names.
    pub(super) fn after(&self, name: Option<&QueueName>) -> impl Iterator<Item = QueueInfo> {
        let lower = name.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_name.range::<_, QueueName>((lower, Bound::Unbounded)).map(info)
    }

    /// Every queue with what has happened in it and what waits in it, in the order of the names.
    pub(super) fn all(&self) -> impl Iterator<Item = (&QueueName, Counts, impl Iterator<Item = Waiting>)> {
        self.by_name.iter().map(|(name, queue)| (name, queue.counts, queue.waiting.iter().copied()))
    }

    /// Puts messages behind those of a queue, and makes the queue if it does not exist: the limits are for what is asked for,
    /// not for what there is already.
    pub(super) fn restore(&mut self, name: &QueueName, counts: Counts, messages: impl IntoIterator<Item = Waiting>) {
        let queue = self.by_name.entry(name.clone()).or_default();
        // The parts of a queue say the same.
        self.counts = self.counts.plus(counts).minus(std::mem::replace(&mut queue.counts, counts));
        for message in messages {
            queue.push_back(message);
            self.contents.ready += 1;
            self.contents.bytes += message.bytes();
        }
    }

    fn count_in(&mut self, message: Waiting) {
        self.contents.ready += 1;
        self.contents.bytes += message.bytes();
    }

    fn count_out(&mut self, message: Waiting) {
        self.contents.ready -= 1;
        self.contents.bytes -= message.bytes();
    }

    fn queue_mut(&mut self, name: &QueueName) -> &mut Queue {
        self.by_name.get_mut(name).expect("only what was just done to this queue is taken back, and queues stay")
    }
}

/// The limits and the totals add nothing to the state.
impl Hash for Queues {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hash_sequence(self.by_name.iter(), hasher);
    }
}

impl Hash for Queue {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hash_sequence(self.waiting.iter(), hasher);
        (self.bytes, self.counts).hash(hasher);
    }
}

fn info((name, queue): (&QueueName, &Queue)) -> QueueInfo {
    let contents = Contents { ready: queue.ready(), bytes: queue.bytes };
    let oldest = queue.waiting.front().map(|message| message.enqueued_at());
    QueueInfo { name: name.clone(), contents, counts: queue.counts, oldest }
}

impl Queue {
    fn ready(&self) -> u64 {
        self.waiting.len() as u64
    }

    fn push_back(&mut self, message: Waiting) {
        self.bytes += message.bytes();
        self.waiting.push_back(message);
    }

    fn push_front(&mut self, message: Waiting) {
        self.bytes += message.bytes();
        self.waiting.push_front(message);
    }

    fn pop_back(&mut self) -> Option<Waiting> {
        let message = self.waiting.pop_back()?;
        self.bytes -= message.bytes();
        Some(message)
    }

    fn pop_front(&mut self) -> Option<Waiting> {
        let message = self.waiting.pop_front()?;
        self.bytes -= message.bytes();
        self.give_memory_back();
        Some(message)
    }

    /// A backlog that was worked off must not hold its memory for ever: the pieces of a long queue go with its messages, but
    /// for the last 4 KiB. One message fits into the `Vector` itself again, and two more after it.
    fn give_memory_back(&mut self) {
        if self.waiting.len() <= 1 && !self.waiting.is_inline() {
            self.waiting = self.waiting.iter().copied().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn waiting(index: u64) -> Waiting {
        Waiting::new(MessageId { index: Index(index), item: 0 }, (index % 7) as usize, Timestamp(index))
    }

    #[test]
    fn a_waiting_message_costs_16_bytes_and_a_worked_off_backlog_none() {
        assert_eq!(size_of::<Waiting>(), 16);
        let mut queue = Queue::default();
        for index in 0..10_000 {
            queue.push_back(waiting(index));
        }
        assert!(!queue.waiting.is_inline());
        while queue.pop_front().is_some() {}
        assert_eq!(queue.bytes, 0);
        assert!(queue.waiting.is_inline(), "still holds memory");
    }

    /// What is done to a queue: so many pushes or pops in a row, at either end.
    #[derive(Clone, Copy, Debug)]
    enum Run {
        PushBack(usize),
        PopFront(usize),
        /// Taken back: each pop at the front, each push at the back.
        PopFrontAndBack(usize),
        PushBackAndBack(usize),
        Clone,
    }

    fn run() -> impl Strategy<Value = Run> {
        let count = || prop_oneof![0..5usize, 60..70usize, 0..6_000usize];
        prop_oneof![
            4 => count().prop_map(Run::PushBack),
            4 => count().prop_map(Run::PopFront),
            1 => count().prop_map(Run::PopFrontAndBack),
            1 => count().prop_map(Run::PushBackAndBack),
            1 => Just(Run::Clone),
        ]
    }

    /// Carries it out on a queue and on its twin. The queue's clones are kept with what they held.
    fn carry_out(run: Run, next: &mut u64, queue: &mut Queue, twin: &mut VecDeque<Waiting>) {
        let mut push = |queue: &mut Queue, twin: &mut VecDeque<Waiting>| {
            *next += 1;
            queue.push_back(waiting(*next));
            twin.push_back(waiting(*next));
        };
        match run {
            Run::PushBack(count) => (0..count).for_each(|_| push(queue, twin)),
            Run::PopFront(count) => (0..count).for_each(|_| assert_eq!(queue.pop_front(), twin.pop_front())),
            Run::PopFrontAndBack(count) => {
                let popped: Vec<Waiting> = (0..count).map_while(|_| queue.pop_front()).collect();
                popped.into_iter().rev().for_each(|message| queue.push_front(message));
            }
            Run::PushBackAndBack(count) => {
                (0..count).for_each(|_| push(queue, twin));
                (0..count).for_each(|_| assert_eq!(queue.pop_back(), twin.pop_back()));
            }
            Run::Clone => {}
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

        /// Long enough for a tree of several levels, which the queues of the other tests never become.
        #[test]
        fn a_long_queue_is_as_its_naive_twin_and_its_clones_stay(runs in proptest::collection::vec(run(), 1..40)) {
            let (mut queue, mut twin, mut next) = (Queue::default(), VecDeque::new(), 0);
            let mut clones = vec![];
            for run in runs {
                carry_out(run, &mut next, &mut queue, &mut twin);
                if let Run::Clone = run {
                    clones.push((queue.clone(), twin.clone()));
                }
                prop_assert_eq!(queue.ready(), twin.len() as u64);
                prop_assert_eq!(queue.waiting.front(), twin.front());
                prop_assert_eq!(queue.bytes, twin.iter().map(|message| message.bytes()).sum::<u64>());
            }
            clones.push((queue, twin));
            for (queue, twin) in clones {
                prop_assert!(queue.waiting.iter().eq(twin.iter()));
            }
        }
    }
}
