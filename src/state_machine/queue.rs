//! The queues: their messages, each in its state, in the order of their arrival.
//!
//! ```text
//! Queue      waiting    16 bytes each      enqueued without a delay and never given out: nearly all of a backlog
//!            held       80 bytes each      returned, leased, delayed, dead: each kind in a map of its own
//! Queues     due        40 bytes each      the ends of all leases and delays
//! ```
//!
//! What is ready is what waits and what has returned, merged: a message keeps its place in the order, whatever happens
//! to it.
//!
//! The collections share structure: a clone takes constant time, and what is changed after it is copied piece by piece, 64
//! messages or 16 queues at once.

use std::hash::{Hash, Hasher};
use std::ops::Bound;
use std::time::Duration;

use imbl::ordmap::Entry;
use imbl::{OrdMap, Vector};

use super::digest::hash_sequence;
use super::stored::{Kind, Place, State, Stored, Waiting};
use super::{
    Chosen, Contents, Counts, DeadReason, LeaseToken, MessageId, MessageState, QueueInfo, QueueName, Refusal, Settings,
    Totals,
};
use crate::ids::Timestamp;

/// All queues by name. A queue is made by its first message and then stays, also while it is empty: the number of queues
/// ever made is what `queues_max` limits.
#[derive(Clone, Debug)]
pub(super) struct Queues {
    by_name: OrdMap<QueueName, Queue>,
    /// Each lease and each delay by its end. Follows from `by_name`; the first one is due next.
    due: OrdMap<(Timestamp, Place), (QueueName, Kind)>,
    /// Of all queues together. Follows from `by_name`.
    contents: Contents,
    counts: Counts,
    queues_max: u64,
    queue_messages_max: u64,
}

/// One queue. `bytes` is the sum of the lengths of all its messages. A message is in one place only.
///
/// Up to 3 waiting messages lie in the `Vector` itself, up to 64 in one piece of 1 KiB. A longer queue has two pieces
/// at each end and full ones between them.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    waiting: Vector<Waiting>,
    /// Those of each kind but the first, in the order of the kinds.
    held: [OrdMap<Place, Stored>; 4],
    bytes: u64,
    counts: Counts,
    /// None of them is zero.
    chosen: Chosen,
}

/// Something that is done to one message of a queue. Carried out, it gives the change that takes it back; of several
/// changes to a queue the last one is taken back first.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// It leaves this place,
    pub(super) from: Option<(Kind, Place)>,
    /// and comes back as this.
    pub(super) to: Option<Stored>,
    /// What this counts as.
    pub(super) counts: Counts,
}

impl Queues {
    pub(super) fn new(queues_max: u64, queue_messages_max: u64) -> Self {
        let (contents, counts) = (Contents::default(), Counts::default());
        Self { by_name: OrdMap::new(), due: OrdMap::new(), contents, counts, queues_max, queue_messages_max }
    }

    /// How many messages can be taken.
    pub(super) fn ready_in(&self, name: &QueueName) -> u64 {
        self.by_name.get(name).map_or(0, |queue| queue.contents().ready)
    }

    /// Makes room for a message, unless that would exceed a limit. True: the queue did not exist, and was made.
    pub(super) fn make_room(&mut self, name: &QueueName) -> Result<bool, Refusal> {
        let (count, queues_max, messages_max) = (self.by_name.len() as u64, self.queues_max, self.queue_messages_max);
        let (queue, is_made) = match self.by_name.entry(name.clone()) {
            Entry::Vacant(_) if count >= queues_max => return Err(Refusal::TooManyQueues { queues_max }),
            Entry::Vacant(vacant) => (vacant.insert(Queue::default()), true),
            Entry::Occupied(occupied) => (occupied.into_mut(), false),
        };
        let (contents, messages_max) = (queue.contents(), queue.settings(messages_max).messages_max);
        let messages = contents.messages();
        if messages >= messages_max {
            if is_made {
                self.by_name.remove(name);
            }
            return Err(Refusal::QueueFull { queue: name.clone(), messages, dead: contents.dead, messages_max });
        }
        Ok(is_made)
    }

    /// Takes `make_room` back, if it has made the queue.
    pub(super) fn unmake(&mut self, name: &QueueName) {
        self.by_name.remove(name);
    }

    /// Changes one message of a queue that exists.
    ///
    /// # Panics
    /// The queue does not exist, or the message is not where it is said to be.
    pub(super) fn change(&mut self, name: &QueueName, Change { from, to, counts }: Change) -> Change {
        let queue = self.by_name.get_mut(name).expect("only queues that exist are changed, and queues stay");
        queue.counts = queue.counts.plus(counts);
        self.counts = self.counts.plus(counts);
        let removed = from.map(|(kind, place)| {
            queue.remove(kind, place).unwrap_or_else(|| panic!("queue '{name}' has no {kind:?} message {place:?}"))
        });
        if let Some(removed) = &removed {
            *self.contents.of(removed.kind().state()) -= 1;
            self.contents.bytes -= removed.message.bytes();
            if let Some(due) = removed.due() {
                self.due.remove(&(due, removed.place()));
            }
        }
        let inserted = to.map(|stored| {
            let (kind, place) = (stored.kind(), stored.place());
            *self.contents.of(kind.state()) += 1;
            self.contents.bytes += stored.message.bytes();
            if let Some(due) = stored.due() {
                self.due.insert((due, place), (name.clone(), kind));
            }
            queue.insert(stored);
            (kind, place)
        });
        Change { from: inserted, to: removed, counts: counts.negated() }
    }

    /// The oldest ready message.
    pub(super) fn first(&self, name: &QueueName) -> Option<Stored> {
        self.by_name.get(name)?.first()
    }

    /// The message that is leased under this token, if the lease has not ended by `now`.
    pub(super) fn leased(&self, name: &QueueName, token: LeaseToken, now: Timestamp) -> Option<Stored> {
        let leased = self.by_name.get(name)?.held(Kind::Leased);
        let stored = leased.get(&Place::of(token.message)?)?;
        match stored.state {
            State::Leased { lease, until } if lease == token.lease && until > now => Some(stored.clone()),
            _ => None,
        }
    }

    /// The oldest dead message.
    pub(super) fn first_dead(&self, name: &QueueName) -> Option<Stored> {
        self.by_name.get(name)?.held(Kind::Dead).get_min().map(|(_, stored)| stored.clone())
    }

    /// What a message becomes that was delivered and not acknowledged, and what that counts as: ready again, after a
    /// delay if there is one, unless it was delivered as often as it may.
    pub(super) fn returned(
        &self,
        name: &QueueName,
        stored: Stored,
        now: Timestamp,
        delay: Duration,
    ) -> (Stored, Counts) {
        let deliveries_max = self.settings(name).map_or(u32::MAX, |settings| settings.deliveries_max);
        if stored.deliveries >= deliveries_max {
            return dead(stored, now, DeadReason::Unacknowledged);
        }
        let state = if delay.is_zero() { State::Returned } else { State::Delayed { until: now.after(delay) } };
        (Stored { state, ..stored }, Counts::default())
    }

    /// Ends leases and delays that are due, at most `count_max` of them. The queues that they are of, each once.
    pub(super) fn expire(&mut self, now: Timestamp, count_max: usize) -> Vec<QueueName> {
        let mut queues = Vec::new();
        for _ in 0..count_max {
            let next = self.due.get_min().filter(|((due, _), _)| *due <= now);
            let Some(((_, place), (name, kind))) = next.cloned() else { break };
            self.end(&name, kind, place, now);
            queues.push(name);
        }
        queues.sort_unstable();
        queues.dedup();
        queues
    }

    fn end(&mut self, name: &QueueName, kind: Kind, place: Place, now: Timestamp) {
        let stored = self.by_name.get(name).and_then(|queue| queue.held(kind).get(&place));
        let stored = stored.expect("what is due is what the queues hold").clone();
        let (to, counts) = match kind {
            Kind::Leased => self.returned(name, stored, now, Duration::ZERO),
            _ => (Stored { state: State::Returned, ..stored }, Counts::default()),
        };
        self.change(name, Change { from: Some((kind, place)), to: Some(to), counts });
    }

    /// When the next lease or delay ends: exact, in O(log n).
    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        self.due.get_min().map(|((due, _), _)| *due)
    }

    /// Those messages of a queue that are in this state, oldest first, after this one.
    pub(super) fn browse(
        &self,
        name: &QueueName,
        state: MessageState,
        after: Option<MessageId>,
    ) -> impl Iterator<Item = Stored> {
        let after = after.map(Place::up_to);
        self.by_name.get(name).into_iter().flat_map(move |queue| queue.browse(state, after))
    }

    /// What is in force for a queue, if it exists.
    pub(super) fn settings(&self, name: &QueueName) -> Option<Settings> {
        self.by_name.get(name).map(|queue| queue.settings(self.queue_messages_max))
    }

    /// Chooses what there is in `chosen`, of which zeros are the default, and leaves the rest. Returns what was chosen
    /// before; none: there is no such queue.
    pub(super) fn choose(&mut self, name: &QueueName, chosen: Chosen) -> Option<Chosen> {
        let queue = self.by_name.get_mut(name)?;
        let before = queue.chosen;
        queue.chosen = before.changed_by(chosen);
        Some(before)
    }

    /// Takes `choose` back.
    pub(super) fn choose_again(&mut self, name: &QueueName, before: Chosen) {
        if let Some(queue) = self.by_name.get_mut(name) {
            queue.chosen = before;
        }
    }

    /// What all queues hold together. Constant time: one request may ask a thousand times.
    pub(super) fn totals(&self) -> Totals {
        let (queues, contents, counts) = (self.by_name.len() as u64, self.contents, self.counts);
        Totals { queues, contents, counts, oldest: None, sessions: 0, settings: None }
    }

    /// A queue and what is in it, if it exists.
    pub(super) fn info(&self, name: &QueueName) -> Option<QueueInfo> {
        self.by_name.get_key_value(name).map(|(name, queue)| self.info_of(name, queue))
    }

    /// The queues after this name, in the order of their names.
    pub(super) fn after(&self, name: Option<&QueueName>) -> impl Iterator<Item = QueueInfo> {
        let lower = name.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.by_name.range::<_, QueueName>((lower, Bound::Unbounded));
        rest.map(|(name, queue)| self.info_of(name, queue))
    }

    /// Every queue, in the order of the names.
    pub(super) fn all(&self) -> impl Iterator<Item = (&QueueName, &Queue)> {
        self.by_name.iter()
    }

    /// Makes a queue without messages, or says again what there is of it: the limits are for what is asked for, not for
    /// what there is already.
    pub(super) fn restore(&mut self, name: &QueueName, counts: Counts, chosen: Chosen) {
        let queue = self.by_name.entry(name.clone()).or_default();
        self.counts = self.counts.plus(counts).plus(queue.counts.negated());
        (queue.counts, queue.chosen) = (counts, chosen);
    }

    fn info_of(&self, name: &QueueName, queue: &Queue) -> QueueInfo {
        QueueInfo {
            name: name.clone(),
            contents: queue.contents(),
            counts: queue.counts,
            oldest: queue.first().map(|stored| stored.message.enqueued_at()),
            settings: queue.settings(self.queue_messages_max),
        }
    }
}

/// What a message becomes, and what that counts as.
pub(super) fn dead(stored: Stored, since: Timestamp, reason: DeadReason) -> (Stored, Counts) {
    let counts = Counts { dead_lettered: 1, ..Counts::default() };
    (Stored { state: State::Dead { since, reason }, ..stored }, counts)
}

/// The limits, the totals and the ends add nothing to the state.
impl Hash for Queues {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hash_sequence(self.by_name.iter(), hasher);
    }
}

impl Hash for Queue {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hash_sequence(self.waiting.iter(), hasher);
        for held in &self.held {
            hash_sequence(held.values(), hasher);
        }
        (self.bytes, self.counts, self.chosen).hash(hasher);
    }
}

impl Queue {
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn chosen(&self) -> Chosen {
        self.chosen
    }

    /// Those that wait, oldest first.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Waiting> {
        self.waiting.iter().copied()
    }

    /// All others: one kind after the other, each oldest first.
    pub(super) fn others(&self) -> impl Iterator<Item = &Stored> {
        self.held.iter().flat_map(OrdMap::values)
    }

    fn contents(&self) -> Contents {
        let [returned, leased, delayed, dead] = self.held.each_ref().map(|held| held.len() as u64);
        Contents { ready: self.waiting.len() as u64 + returned, leased, delayed, dead, bytes: self.bytes }
    }

    fn settings(&self, messages_max: u64) -> Settings {
        let Chosen { lease_duration, deliveries_max, messages_max: chosen } = self.chosen;
        Settings {
            lease_duration: lease_duration.unwrap_or(Settings::LEASE_DURATION),
            deliveries_max: deliveries_max.unwrap_or(Settings::DELIVERIES_MAX),
            messages_max: chosen.unwrap_or(messages_max).min(messages_max),
        }
    }

    fn held(&self, kind: Kind) -> &OrdMap<Place, Stored> {
        &self.held[number(kind)]
    }

    fn first(&self) -> Option<Stored> {
        let waiting = self.waiting.front().map(|message| Stored::new(*message, State::Waiting));
        match (waiting, self.held(Kind::Returned).get_min()) {
            (Some(waiting), Some((place, _))) if waiting.place() < *place => Some(waiting),
            (waiting, None) => waiting,
            (_, Some((_, returned))) => Some(returned.clone()),
        }
    }

    fn browse(&self, state: MessageState, after: Option<Place>) -> impl Iterator<Item = Stored> {
        let (kind, with_waiting) = match state {
            MessageState::Ready => (Kind::Returned, true),
            MessageState::Leased => (Kind::Leased, false),
            MessageState::Delayed => (Kind::Delayed, false),
            MessageState::Dead => (Kind::Dead, false),
        };
        let first = match after {
            _ if !with_waiting => self.waiting.len(),
            None => 0,
            Some(after) => {
                self.waiting.binary_search_by_key(&after, |message| message.place()).map_or_else(|at| at, |at| at + 1)
            }
        };
        let waiting = (first..self.waiting.len()).filter_map(|at| self.waiting.get(at));
        let mut waiting = waiting.map(|message| Stored::new(*message, State::Waiting)).peekable();
        let lower = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut held = self.held(kind).range((lower, Bound::Unbounded)).map(|(_, stored)| stored).peekable();
        std::iter::from_fn(move || match (waiting.peek(), held.peek()) {
            (Some(one), Some(other)) if one.place() < other.place() => waiting.next(),
            (_, Some(_)) => held.next().cloned(),
            (_, None) => waiting.next(),
        })
    }

    fn insert(&mut self, stored: Stored) {
        self.bytes += stored.message.bytes();
        match stored.kind() {
            // At the end of the queue, or where it was just taken from.
            Kind::Waiting if self.waiting.back().is_none_or(|last| last.place() < stored.place()) => {
                self.waiting.push_back(stored.message);
            }
            Kind::Waiting => self.waiting.push_front(stored.message),
            kind => drop(self.held[number(kind)].insert(stored.place(), stored)),
        }
    }

    fn remove(&mut self, kind: Kind, place: Place) -> Option<Stored> {
        let removed = match kind {
            Kind::Waiting => self.remove_waiting(place)?,
            kind => self.held[number(kind)].remove(&place)?,
        };
        self.bytes -= removed.message.bytes();
        Some(removed)
    }

    /// From the front, as it is taken, or from the back, as its enqueueing is taken back.
    fn remove_waiting(&mut self, place: Place) -> Option<Stored> {
        let is_there = |message: &&Waiting| message.place() == place;
        let message = if self.waiting.front().filter(is_there).is_some() {
            self.waiting.pop_front()?
        } else {
            self.waiting.back().filter(is_there)?;
            self.waiting.pop_back()?
        };
        self.give_memory_back();
        Some(Stored::new(message, State::Waiting))
    }

    /// A backlog that was worked off must not hold its memory for ever: the pieces of a long queue go with its messages, but
    /// for the last 4 KiB. One message fits into the `Vector` itself again, and two more after it.
    fn give_memory_back(&mut self) {
        if self.waiting.len() <= 1 && !self.waiting.is_inline() {
            self.waiting = self.waiting.iter().copied().collect();
        }
    }
}

impl Chosen {
    /// What there is in `changes` instead, where zeros are the default.
    fn changed_by(self, changes: Self) -> Self {
        fn changed<T: PartialEq + Default>(before: Option<T>, change: Option<T>) -> Option<T> {
            match change {
                None => before,
                Some(change) => Some(change).filter(|change| *change != T::default()),
            }
        }
        Self {
            lease_duration: changed(self.lease_duration, changes.lease_duration),
            deliveries_max: changed(self.deliveries_max, changes.deliveries_max),
            messages_max: changed(self.messages_max, changes.messages_max),
        }
    }
}

/// The place of a kind in `Queue::held`.
fn number(kind: Kind) -> usize {
    debug_assert_ne!(kind, Kind::Waiting);
    kind as usize - 1
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::ids::Index;

    fn waiting(index: u64) -> Stored {
        let id = MessageId { index: Index(index), item: 0 };
        Stored::new(Waiting::new(id, (index % 7) as usize, Timestamp(index)), State::Waiting)
    }

    impl Queue {
        fn pop_front(&mut self) -> Option<Stored> {
            let first = self.waiting.front()?.place();
            self.remove(Kind::Waiting, first)
        }

        fn pop_back(&mut self) -> Option<Stored> {
            let last = self.waiting.back()?.place();
            self.remove(Kind::Waiting, last)
        }
    }

    #[test]
    fn a_worked_off_backlog_costs_nothing() {
        let mut queue = Queue::default();
        for index in 0..10_000 {
            queue.insert(waiting(index));
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
    fn carry_out(run: Run, next: &mut u64, queue: &mut Queue, twin: &mut VecDeque<Stored>) {
        let mut push = |queue: &mut Queue, twin: &mut VecDeque<Stored>| {
            *next += 1;
            queue.insert(waiting(*next));
            twin.push_back(waiting(*next));
        };
        match run {
            Run::PushBack(count) => (0..count).for_each(|_| push(queue, twin)),
            Run::PopFront(count) => (0..count).for_each(|_| assert_eq!(queue.pop_front(), twin.pop_front())),
            Run::PopFrontAndBack(count) => {
                let popped: Vec<Stored> = (0..count).map_while(|_| queue.pop_front()).collect();
                popped.into_iter().rev().for_each(|message| queue.insert(message));
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
                prop_assert_eq!(queue.contents().ready, twin.len() as u64);
                prop_assert_eq!(queue.first(), twin.front().cloned());
                prop_assert_eq!(queue.bytes, twin.iter().map(|stored| stored.message.bytes()).sum::<u64>());
                // A page in the middle.
                let after = twin.get(twin.len() / 2).map(|stored| stored.place());
                let page: Vec<Stored> = queue.browse(MessageState::Ready, after).take(3).collect();
                let expected = twin.iter().filter(|stored| after.is_none_or(|after| stored.place() > after));
                prop_assert!(page.iter().eq(expected.take(3)));
            }
            clones.push((queue, twin));
            for (queue, twin) in clones {
                prop_assert!(queue.waiting().eq(twin.iter().map(|stored| stored.message)));
            }
        }
    }
}
