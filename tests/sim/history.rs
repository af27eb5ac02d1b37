//! Checks what clients saw of the queues: nothing acknowledged is lost, nothing comes twice, nothing comes from nowhere, first in
//! is first out, and the order is one that fits the clients' clocks (strict serializability).
//!
//! Every answer carries the place in the log at which it was decided. That order is the witness: the checker replays the
//! operations in that order against a plain queue, instead of searching for an order that would do. A pass is therefore a proof for
//! the operations whose outcome is known. Takes O(n log n) for the sorting and one pass.
//!
//! What is unknown is given the benefit of the doubt, but no more than that:
//! - an unknown enqueue may show up once, or never;
//! - an unknown dequeue may have taken one message of its queue, at any place in the log after all answers that came before it was
//!   called. A message that nobody was given must be explained by one such dequeue that could have taken it in its turn.
//!
//! Not here: whether every request ends (a matter of the simulation), and leases (there are none).

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;

/// A place in the log: the entry, and the operation within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The log entry.
    pub index: u64,
    /// Which of its operations: 0 is the first.
    pub item: u32,
}

/// One operation of a client, over all its retries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who.
    pub client: u64,
    /// The number of the request in the client's session.
    pub sequence: u64,
    /// Which queue.
    pub queue: String,
    /// What was asked, and what came of it.
    pub operation: Operation,
    /// When the first try began, on the one clock of the simulation.
    pub called: u64,
    /// When the answer came. Means nothing where the outcome is unknown.
    pub returned: u64,
}

/// What was asked, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Append a message.
    Enqueue {
        /// Different in every message of the history.
        body: String,
        /// Where it was put.
        outcome: Outcome<Position>,
    },
    /// Take a message.
    Dequeue {
        /// What was taken.
        outcome: Outcome<Taken>,
    },
}

/// What the client knows in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It was done.
    Ok(T),
    /// It may have been done, or may still be.
    Unknown,
    /// It was not done and never will be.
    Refused,
}

/// The answer to a dequeue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Where in the log it was taken.
    pub at: Position,
    /// None: the queue was empty.
    pub message: Option<Message>,
}

/// A message as a client was given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its name, which is where it was put.
    pub id: Position,
    /// What it says.
    pub body: String,
}

/// What a history without violations was made of. A test that means to see a case can require that it was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Enqueues that were acknowledged.
    pub enqueued: u64,
    /// Messages that were given to clients.
    pub delivered: u64,
    /// Dequeues that found their queue empty.
    pub empty: u64,
    /// Messages that were left in the end.
    pub drained: u64,
    /// Unknown enqueues that showed up.
    pub unknown_but_done: u64,
    /// Acknowledged messages that an unknown dequeue must have taken.
    pub taken_by_unknown: u64,
}

/// What must not be. `record` and the like are places in the list of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// An acknowledged message is neither delivered nor left, and no unknown dequeue can have taken it in its turn.
    Lost { record: usize, body: String },
    /// Two were given the same message; `None` is the final drain.
    Doubled { first: Option<usize>, second: Option<usize>, body: String },
    /// A message that nobody sent to this queue.
    NeverSent { record: Option<usize>, queue: String, body: String },
    /// A message whose enqueue was refused.
    RefusedButDone { enqueue: usize, record: Option<usize>, body: String },
    /// A message has another name than its sender was told.
    Renamed { enqueue: usize, told: Position, seen: Position },
    /// A message was given out while an older one was waiting.
    OutOfOrder { record: usize, given: Position, waiting: Position },
    /// The queue was said to be empty while a message was waiting.
    FalseEmpty { record: usize, waiting: Position },
    /// A message was given out at a place in the log before it was put there.
    BeforeItWasSent { record: usize, id: Position },
    /// Two operations claim the same place in the log.
    SamePlace { first: usize, second: usize, at: Position },
    /// An operation stands before another one in the log that had returned before it was called.
    BackInTime { earlier: usize, later: usize },
    /// What was left in the end is not in the order in which it was put.
    DrainOutOfOrder { queue: String, first: Position, second: Position },
}

/// Checks a whole history. `drained` is what each queue holds in the end, oldest first, once all faults are healed.
pub fn check(records: &[Record], drained: &BTreeMap<String, Vec<Message>>) -> Result<Summary, Vec<Violation>> {
    let mut checker = Checker::new(records);
    checker.match_messages(drained);
    checker.check_places();
    checker.check_real_time();
    checker.check_drains(drained);
    checker.replay_queues(drained);
    match checker.violations.is_empty() {
        true => Ok(checker.summary),
        false => Err(checker.violations),
    }
}

/// A violation with the operations that it is about, for whoever reads the failure.
pub fn explain(records: &[Record], violation: &Violation) -> String {
    let mut text = format!("{violation:?}");
    for number in violation.records() {
        text += &format!("\n  {number}: {}", records[number]);
    }
    text
}

struct Checker<'a> {
    records: &'a [Record],
    /// Where each operation stands in the log, as far as it is known: told by its own answer, or for an unknown enqueue by the
    /// name of the message that showed up.
    places: Vec<Option<Position>>,
    /// The enqueue of each body.
    senders: HashMap<&'a str, usize>,
    violations: Vec<Violation>,
    summary: Summary,
}

impl<'a> Checker<'a> {
    fn new(records: &'a [Record]) -> Self {
        let mut senders = HashMap::new();
        for (number, record) in records.iter().enumerate() {
            if let Operation::Enqueue { body, .. } = &record.operation {
                let other = senders.insert(body.as_str(), number);
                assert!(
                    other.is_none(),
                    "the workload must give every message a body of its own: {body:?} comes twice"
                );
            }
        }
        let places = records.iter().map(Record::place).collect();
        Self { records, places, senders, violations: vec![], summary: Summary::default() }
    }

    /// Finds the sender of everything that somebody was given or that is left.
    fn match_messages(&mut self, drained: &'a BTreeMap<String, Vec<Message>>) {
        let mut receivers = HashMap::new();
        for (number, record) in self.records.iter().enumerate() {
            if let Some(message) = record.message() {
                self.match_message(&mut receivers, Some(number), &record.queue, message);
                self.summary.delivered += 1;
            }
            self.summary.empty += u64::from(matches!(record.taken(), Some(Taken { message: None, .. })));
            self.summary.enqueued +=
                u64::from(matches!(record.operation, Operation::Enqueue { outcome: Outcome::Ok(_), .. }));
        }
        for (queue, messages) in drained {
            for message in messages {
                self.match_message(&mut receivers, None, queue, message);
                self.summary.drained += 1;
            }
        }
    }

    fn match_message(
        &mut self,
        receivers: &mut HashMap<&'a str, Option<usize>>,
        record: Option<usize>,
        queue: &str,
        message: &'a Message,
    ) {
        let body = message.body.clone();
        if let Some(first) = receivers.insert(&message.body, record) {
            return self.violations.push(Violation::Doubled { first, second: record, body });
        }
        let sender = self.senders.get(body.as_str()).copied().filter(|sender| self.records[*sender].queue == queue);
        let Some(enqueue) = sender else {
            return self.violations.push(Violation::NeverSent { record, queue: queue.into(), body });
        };
        match (&self.records[enqueue].operation, self.places[enqueue]) {
            (Operation::Enqueue { outcome: Outcome::Refused, .. }, _) => {
                self.violations.push(Violation::RefusedButDone { enqueue, record, body });
            }
            (_, Some(told)) if told != message.id => {
                self.violations.push(Violation::Renamed { enqueue, told, seen: message.id });
            }
            (_, Some(_)) => {}
            (_, None) => {
                self.places[enqueue] = Some(message.id);
                self.summary.unknown_but_done += 1;
            }
        }
    }

    /// No two operations stand at one place in the log.
    fn check_places(&mut self) {
        let mut taken = HashMap::new();
        for (second, place) in self.places.iter().enumerate() {
            let Some(at) = *place else { continue };
            if let Some(first) = taken.insert(at, second) {
                self.violations.push(Violation::SamePlace { first, second, at });
            }
        }
    }

    /// What had returned before an operation was called stands before it in the log.
    fn check_real_time(&mut self) {
        let floors = Floors::new(self.records, &self.places);
        for (later, place) in self.places.iter().enumerate() {
            let Some(place) = *place else { continue };
            if let Some((floor, earlier)) = floors.before(self.records[later].called)
                && floor > place
            {
                self.violations.push(Violation::BackInTime { earlier, later });
            }
        }
    }

    fn check_drains(&mut self, drained: &BTreeMap<String, Vec<Message>>) {
        for (queue, messages) in drained {
            for pair in messages.windows(2) {
                let (first, second) = (pair[0].id, pair[1].id);
                if first >= second {
                    self.violations.push(Violation::DrainOutOfOrder { queue: queue.clone(), first, second });
                }
            }
        }
    }

    fn replay_queues(&mut self, drained: &BTreeMap<String, Vec<Message>>) {
        let floors = Floors::new(self.records, &self.places);
        let mut queues: BTreeMap<&str, Replay> = BTreeMap::new();
        for (number, record) in self.records.iter().enumerate() {
            let replay = queues.entry(&record.queue).or_default();
            match (&record.operation, self.places[number]) {
                (Operation::Dequeue { outcome: Outcome::Unknown }, _) => {
                    replay.unknown.push(floors.before(record.called).map(|(floor, _)| floor));
                }
                (_, Some(place)) => replay.events.push((place, number)),
                (_, None) => {}
            }
        }
        for (queue, replay) in queues {
            let left = drained.get(queue).map_or(&[][..], |messages| messages);
            self.replay_queue(replay, left.iter().map(|message| message.id).collect());
        }
    }

    /// Carries out the operations of one queue in the order of the log.
    fn replay_queue(&mut self, mut replay: Replay, left: HashSet<Position>) {
        replay.events.sort_unstable();
        let given: HashSet<Position> = replay.events.iter().filter_map(|(_, number)| self.given(*number)).collect();
        let nobody_got = |id: &Position| !given.contains(id) && !left.contains(id);
        let mut model = Model::default();
        let records = self.records;
        for (place, number) in std::mem::take(&mut replay.events) {
            let Some(taken) = records[number].taken() else {
                model.waiting.push_back((place, number));
                continue;
            };
            let id = taken.message.as_ref().map(|message| message.id);
            if let Some(id) = id.filter(|id| *id >= place) {
                self.violations.push(Violation::BeforeItWasSent { record: number, id });
            }
            model.skip_missing(place, nobody_got);
            self.check_turn(&mut model, number, id);
        }
        self.check_rest(model, replay.unknown, &left);
    }

    fn given(&self, number: usize) -> Option<Position> {
        self.records[number].message().map(|message| message.id)
    }

    /// The message that is given out is the oldest one; if none is, none waits.
    fn check_turn(&mut self, model: &mut Model, record: usize, id: Option<Position>) {
        let oldest = model.oldest();
        match (id, oldest) {
            (Some(given), Some(waiting)) if given > waiting => {
                self.violations.push(Violation::OutOfOrder { record, given, waiting });
            }
            (None, Some(waiting)) => self.violations.push(Violation::FalseEmpty { record, waiting }),
            _ => {}
        }
        model.gone.extend(id);
    }

    /// Explains what nobody was given by the dequeues whose outcome is unknown. Who waits behind a message that is left in the end was
    /// not taken in its turn.
    fn check_rest(&mut self, mut model: Model, mut unknown: Vec<Option<Position>>, left: &HashSet<Position>) {
        model.skip_missing(Position::END, |id| !left.contains(id));
        unknown.sort_unstable();
        let mut unknown = unknown.into_iter().peekable();
        for (deadline, number) in std::mem::take(&mut model.missing) {
            match unknown.next_if(|floor| floor.is_none_or(|floor| floor < deadline)) {
                Some(_) => self.summary.taken_by_unknown += 1,
                None => self.report_lost(number),
            }
        }
        for (id, number) in std::mem::take(&mut model.waiting) {
            if !left.contains(&id) && !model.gone.contains(&id) {
                self.report_lost(number);
            }
        }
    }

    fn report_lost(&mut self, record: usize) {
        if let Operation::Enqueue { body, .. } = &self.records[record].operation {
            self.violations.push(Violation::Lost { record, body: body.clone() });
        }
    }
}

/// What there is to replay for one queue.
#[derive(Default)]
struct Replay {
    /// Operations with a known place.
    events: Vec<(Position, usize)>,
    /// For each unknown dequeue the place in the log after which it must stand.
    unknown: Vec<Option<Position>>,
}

/// A queue, as plain as it gets.
#[derive(Default)]
struct Model {
    /// What was put there and not yet taken, with its enqueue.
    waiting: VecDeque<(Position, usize)>,
    /// Given out, in its turn or not.
    gone: HashSet<Position>,
    /// What nobody was given, with the place by which somebody unknown must have taken it. Places rise.
    missing: Vec<(Position, usize)>,
}

impl Model {
    /// Takes away what was given out, and what nobody was given: that was taken by somebody unknown before `place`, where a later
    /// message was given out or nothing was left. Stops at the oldest message whose turn is still to come.
    fn skip_missing(&mut self, place: Position, nobody_got: impl Fn(&Position) -> bool) {
        while let Some((id, number)) = self.waiting.front().copied() {
            let gone = self.gone.remove(&id);
            let missing = !gone && nobody_got(&id);
            if missing {
                self.missing.push((place, number));
            }
            if !gone && !missing {
                return;
            }
            self.waiting.pop_front();
        }
    }

    fn oldest(&self) -> Option<Position> {
        self.waiting.front().map(|(id, _)| *id)
    }
}

/// For each moment the highest place in the log that some client had been told by then.
struct Floors {
    /// (return, highest place of an answer up to then, whose), in order.
    rising: Vec<(u64, Position, usize)>,
}

impl Floors {
    fn new(records: &[Record], places: &[Option<Position>]) -> Self {
        let answered = |(number, record): (usize, &Record)| {
            record.is_answered().then_some(places[number]).flatten().map(|place| (record.returned, place, number))
        };
        let mut rising: Vec<(u64, Position, usize)> = records.iter().enumerate().filter_map(answered).collect();
        rising.sort_unstable();
        for next in 1..rising.len() {
            if rising[next - 1].1 > rising[next].1 {
                (rising[next].1, rising[next].2) = (rising[next - 1].1, rising[next - 1].2);
            }
        }
        Self { rising }
    }

    /// The highest place of an answer that came before `time`, and whose it was.
    fn before(&self, time: u64) -> Option<(Position, usize)> {
        let count = self.rising.partition_point(|(returned, _, _)| *returned < time);
        count.checked_sub(1).map(|last| (self.rising[last].1, self.rising[last].2))
    }
}

impl Violation {
    fn records(&self) -> Vec<usize> {
        match self {
            Self::Lost { record, .. } | Self::OutOfOrder { record, .. } => vec![*record],
            Self::FalseEmpty { record, .. } | Self::BeforeItWasSent { record, .. } => vec![*record],
            Self::Doubled { first, second, .. } => first.iter().chain(second).copied().collect(),
            Self::NeverSent { record, .. } => record.iter().copied().collect(),
            Self::RefusedButDone { enqueue, record, .. } => [*enqueue].into_iter().chain(*record).collect(),
            Self::Renamed { enqueue, .. } => vec![*enqueue],
            Self::SamePlace { first, second, .. } => vec![*first, *second],
            Self::BackInTime { earlier, later } => vec![*earlier, *later],
            Self::DrainOutOfOrder { .. } => vec![],
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, sequence, queue, operation, called, returned } = self;
        write!(f, "client {client}, request {sequence}, queue {queue}, time {called} to {returned}: {operation:?}")
    }
}

impl Position {
    const END: Self = Self { index: u64::MAX, item: u32::MAX };
}

impl Record {
    fn is_answered(&self) -> bool {
        self.place().is_some()
    }

    fn place(&self) -> Option<Position> {
        match &self.operation {
            Operation::Enqueue { outcome: Outcome::Ok(place), .. } => Some(*place),
            Operation::Dequeue { outcome: Outcome::Ok(taken) } => Some(taken.at),
            _ => None,
        }
    }

    fn taken(&self) -> Option<&Taken> {
        match &self.operation {
            Operation::Dequeue { outcome: Outcome::Ok(taken) } => Some(taken),
            _ => None,
        }
    }

    fn message(&self) -> Option<&Message> {
        self.taken()?.message.as_ref()
    }
}
