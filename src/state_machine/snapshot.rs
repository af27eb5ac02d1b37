//! The state as blocks, for a snapshot, and back.
//!
//! ```text
//! head       the time, how many of each there are, the digest
//! queues     [name, messages] [name, messages] [name, mes     a block ends where it is full, also within a queue,
//! queues     [name, sages] [name, messages]                   which goes on as the first one of the next block
//! sessions   [id, outcomes] [id, outcomes] [id, outc          likewise
//! ```
//!
//! Each block is one `quorate.internal.StatePart`. Names, ids, messages and sequences rise, so that equal states give equal
//! blocks. What follows from the rest (totals, due times) is not written. The digest at the end of reading notices what else
//! could pass: a number that has changed, a part of the state that this version does not know.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use prost::encoding::encoded_len_varint;

use super::kept::InvalidOutcome;
use super::queue::{Change, Queue};
use super::session::{Kept, Session};
use super::stored::{Kind, Place, State, Stored, Waiting};
use super::{Chosen, Counts, Given, InvalidQueueName, LeaseId, Limits, MessageId, QueueName, Standing, StateMachine};
use crate::ids::{Index, Sequence, SessionId, Timestamp};
use crate::proto::internal::{self, HeldMessage, QueuePart, SessionPart, StateHead, StatePart, state_part::Part};

/// Of the parts. States of another format are refused.
const FORMAT: u32 = 3;

/// A block is full when it has this many bytes.
const BLOCK_BYTES: usize = 256 * 1024;

/// The blocks are no state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError<E> {
    /// They could not be had.
    #[error("block {block} of the state cannot be read")]
    Source {
        /// Which one: 0 is the head.
        block: u64,
        /// What whoever gives the blocks says.
        source: E,
    },
    /// One makes no sense, or there are too few.
    #[error("block {block} of the state: {source}")]
    Invalid {
        /// Which one: 0 is the head. The one after the last where the end itself is wrong.
        block: u64,
        /// What is wrong with it.
        source: InvalidState,
    },
}

/// What is wrong with the encoding of a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidState {
    /// A block is no protobuf message of that type.
    #[error("not a part of a state: {0}")]
    Encoding(#[from] prost::DecodeError),
    /// A block is of no kind that this version knows.
    #[error("it is none of the parts that this version knows")]
    UnknownPart,
    /// The head is not the first block and the only one, or queues come after sessions.
    #[error("it is out of order: the head comes first, then queues, then sessions")]
    PartOrder,
    /// There is no block.
    #[error("there is no head")]
    NoHead,
    /// It was written by a version that writes states differently.
    #[error("it has the format {found}, and this version reads format {FORMAT}")]
    Format {
        /// What the head says.
        found: u32,
    },
    /// A queue has a name that none may have.
    #[error("{0}")]
    QueueName(#[from] InvalidQueueName),
    /// The queues do not rise.
    #[error("queue '{0}' is there twice or out of order")]
    QueueOrder(QueueName),
    /// The lists of numbers of a queue are not equally long.
    #[error("messages of queue '{0}' are incomplete")]
    MessageIncomplete(QueueName),
    /// A message of a queue has a number that none can have.
    #[error("a message of queue '{0}' has an index, item, length or time that no message can have")]
    Message(QueueName),
    /// A message of a queue is in no state.
    #[error("a message of queue '{0}' is in no state that this version knows")]
    MessageState(QueueName),
    /// The messages of a queue do not rise.
    #[error("messages of queue '{0}' are out of order")]
    MessageOrder(QueueName),
    /// The sessions do not rise, or the halves of one do not fit together.
    #[error("session {0} is there twice or out of order")]
    SessionOrder(SessionId),
    /// A session was used later than the time of the log.
    #[error("session {0} was last used in the future")]
    SessionTime(SessionId),
    /// The outcomes of a session do not rise, or there is one below the lowest pending.
    #[error("outcomes of session {0} are out of order")]
    SequenceOrder(SessionId),
    /// An outcome of a session makes no sense.
    #[error("an outcome of session {session}: {source}")]
    Outcome {
        /// The session.
        session: SessionId,
        /// What is wrong with it.
        source: InvalidOutcome,
    },
    /// There are not as many as the head says.
    #[error("the state has {found} {of}, and its head says {expected}")]
    Count {
        /// What was counted.
        of: &'static str,
        /// What the head says.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// The state is another one than that which was written.
    #[error("its digest is {found:016x}, and its head says {expected:016x}")]
    Digest {
        /// What the head says.
        expected: u64,
        /// That of what was read.
        found: u64,
    },
}

impl StateMachine {
    /// Gives the whole state to `write`, block by block. Equal states give equal blocks.
    ///
    /// A block has about 256 KiB at most, unless a single kept outcome takes more: it has a result for each operation of its
    /// request, and names of queues up to `Limits::answer_bytes_max`. With the default limits a block stays below 4 MiB.
    ///
    /// # Errors
    /// That of `write`, which is then not called again.
    pub fn write_blocks<E>(&self, write: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        self.write_blocks_of(BLOCK_BYTES, write)
    }

    /// The state machine whose blocks these are. Takes memory for one block beside it.
    ///
    /// # Errors
    /// A block cannot be had, or the blocks are not, from the first to the last, those of one state.
    pub fn read_blocks<E>(
        limits: Limits,
        blocks: impl IntoIterator<Item = Result<Bytes, E>>,
    ) -> Result<Self, ReadError<E>> {
        let mut reader = Reader::new(limits);
        let mut next = 0;
        for (block, bytes) in (0u64..).zip(blocks) {
            let bytes = bytes.map_err(|source| ReadError::Source { block, source })?;
            reader.read(bytes).map_err(|source| ReadError::Invalid { block, source })?;
            next = block + 1;
        }
        reader.finish().map_err(|source| ReadError::Invalid { block: next, source })
    }

    pub(super) fn write_blocks_of<E>(
        &self,
        block_bytes: usize,
        mut write: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        write(&StatePart { part: Some(Part::Head(self.head())) }.encode_to_vec())?;
        let queues = |queues| Part::Queues(internal::QueueParts { queues });
        self.write_queues(&mut Packer::new(block_bytes, queues, &mut write))?;
        let sessions = |sessions| Part::Sessions(internal::SessionParts { sessions });
        self.write_sessions(&mut Packer::new(block_bytes, sessions, &mut write))
    }

    fn head(&self) -> StateHead {
        let totals = self.queues.totals();
        StateHead {
            timestamp_ms: self.timestamp().0,
            queues: totals.queues,
            messages: totals.contents.messages(),
            sessions: self.sessions.count(),
            digest: self.digest(),
            format: FORMAT,
        }
    }

    fn write_queues<W: FnMut(&[u8]) -> Result<(), E>, E>(&self, packer: &mut Packer<QueuePart, W>) -> Result<(), E> {
        for (name, queue) in self.queues.all() {
            packer.make_room()?;
            packer.begin(QueuePart::begin(name, queue));
            let mut before = (0, 0);
            for message in queue.waiting() {
                if packer.make_room()? {
                    packer.begin(QueuePart::begin(name, queue));
                    before = (0, 0);
                }
                packer.extend(|part| part.push(message, before));
                before = (message.id().index.0, message.enqueued_at().0);
            }
            for stored in queue.others() {
                if packer.make_room()? {
                    packer.begin(QueuePart::begin(name, queue));
                }
                packer.extend(|part| part.push_held(stored));
            }
        }
        packer.write_out()
    }

    fn write_sessions<W: FnMut(&[u8]) -> Result<(), E>, E>(
        &self,
        packer: &mut Packer<SessionPart, W>,
    ) -> Result<(), E> {
        for (id, session) in self.sessions.all() {
            packer.make_room()?;
            packer.begin(SessionPart::begin(id, session));
            for (sequence, kept) in &session.kept {
                if packer.make_room()? {
                    packer.begin(SessionPart::begin(id, session));
                }
                packer.extend(|session| session.push(*sequence, kept));
            }
        }
        packer.write_out()
    }
}

/// Collects what goes into one block, and counts its bytes: rather too many than too few.
struct Packer<'w, P, W> {
    parts: Vec<P>,
    bytes: usize,
    bytes_max: usize,
    block: fn(Vec<P>) -> Part,
    write: &'w mut W,
}

impl<'w, P, W: FnMut(&[u8]) -> Result<(), E>, E> Packer<'w, P, W> {
    fn new(bytes_max: usize, block: fn(Vec<P>) -> Part, write: &'w mut W) -> Self {
        Self { parts: Vec::new(), bytes: 0, bytes_max, block, write }
    }

    /// Writes the block out if it is full, and says whether it did.
    fn make_room(&mut self) -> Result<bool, E> {
        let is_full = self.bytes >= self.bytes_max;
        if is_full {
            self.write_out()?;
        }
        Ok(is_full)
    }

    /// Begins a queue or a session, with the bytes that it takes.
    fn begin(&mut self, (part, bytes): (P, usize)) {
        self.parts.push(part);
        self.bytes += bytes;
    }

    /// Adds to what was begun last. `add` says how many bytes that takes.
    fn extend(&mut self, add: impl FnOnce(&mut P) -> usize) {
        self.bytes += self.parts.last_mut().map_or(0, add);
    }

    fn write_out(&mut self) -> Result<(), E> {
        if self.parts.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        let part = (self.block)(std::mem::take(&mut self.parts));
        (self.write)(&StatePart { part: Some(part) }.encode_to_vec())
    }
}

/// The most that the numbers of fields and the lengths of lists add to one queue or one session.
const FRAMING_BYTES: usize = 48;

impl QueuePart {
    fn begin(name: &QueueName, queue: &Queue) -> (Self, usize) {
        let Chosen { lease_duration, deliveries_max, messages_max } = queue.chosen();
        let part = Self {
            name: name.to_string(),
            counts: Some(queue.counts().to_proto()),
            lease_ms: lease_duration.map_or(0, |duration| duration.as_millis() as u64),
            deliveries_max: deliveries_max.unwrap_or(0),
            messages_max: messages_max.unwrap_or(0),
            ..Self::default()
        };
        let bytes = part.encoded_len() + FRAMING_BYTES;
        (part, bytes)
    }

    fn chosen(&self) -> Chosen {
        Chosen {
            lease_duration: Some(self.lease_ms).filter(|ms| *ms > 0).map(Duration::from_millis),
            deliveries_max: Some(self.deliveries_max).filter(|count| *count > 0),
            messages_max: Some(self.messages_max).filter(|count| *count > 0),
        }
    }

    /// Adds a message after the one with this index and time.
    fn push(&mut self, message: Waiting, (index, time): (u64, u64)) -> usize {
        let (id, length) = (message.id(), message.bytes());
        let deltas = (id.index.0 - index, message.enqueued_at().0 - time);
        self.index_deltas.push(deltas.0);
        self.items.push(id.item);
        self.lengths.push(length as u32);
        self.time_deltas.push(deltas.1);
        [deltas.0, id.item.into(), length, deltas.1].map(encoded_len_varint).iter().sum()
    }
}

impl QueuePart {
    fn push_held(&mut self, stored: &Stored) -> usize {
        const FRAMING_BYTES: usize = 6;
        let lease = match stored.state {
            State::Leased { lease, .. } => Some(lease.to_kept()),
            _ => None,
        };
        let held = HeldMessage { lease, ..stored.given().to_kept(stored.message.bytes() as u32) };
        let bytes = held.encoded_len() + FRAMING_BYTES;
        self.held.push(held);
        bytes
    }
}

impl SessionPart {
    fn begin(id: SessionId, session: &Session) -> (Self, usize) {
        let part = Self {
            id: id.0,
            last_used_ms: session.last_used.0,
            lowest_pending: session.lowest_pending.0,
            kept: Vec::new(),
        };
        (part, FRAMING_BYTES)
    }

    fn push(&mut self, sequence: Sequence, kept: &Kept) -> usize {
        const FRAMING_BYTES: usize = 6;
        let outcome = kept.to_proto(sequence);
        let bytes = outcome.encoded_len() + FRAMING_BYTES;
        self.kept.push(outcome);
        bytes
    }
}

/// A state being read.
struct Reader {
    machine: StateMachine,
    head: Option<StateHead>,
    /// The last queue, of which there may be more.
    queue: Option<LastQueue>,
    /// The last session, of which there may be more.
    session: Option<(SessionId, Session)>,
}

/// A queue with the last of its waiting messages and the last of the others: all of them rise.
struct LastQueue {
    name: QueueName,
    waiting: Option<Waiting>,
    held: Option<(Kind, Place)>,
}

impl Reader {
    fn new(limits: Limits) -> Self {
        Self { machine: StateMachine::new(limits), head: None, queue: None, session: None }
    }

    fn read(&mut self, block: Bytes) -> Result<(), InvalidState> {
        match (StatePart::decode(block)?.part.ok_or(InvalidState::UnknownPart)?, &self.head, &self.session) {
            (Part::Head(StateHead { format, .. }), None, _) if format != FORMAT => {
                return Err(InvalidState::Format { found: format });
            }
            (Part::Head(head), None, _) => self.read_head(head),
            (Part::Queues(part), Some(_), None) => self.read_queues(part.queues)?,
            (Part::Sessions(part), Some(_), _) => self.read_sessions(part.sessions)?,
            _ => return Err(InvalidState::PartOrder),
        }
        Ok(())
    }

    fn finish(mut self) -> Result<StateMachine, InvalidState> {
        self.restore_session();
        let expected = self.head.ok_or(InvalidState::NoHead)?;
        let found = self.machine.head();
        check_count("queues", expected.queues, found.queues)?;
        check_count("messages", expected.messages, found.messages)?;
        check_count("sessions", expected.sessions, found.sessions)?;
        match found.digest == expected.digest {
            true => Ok(self.machine),
            false => Err(InvalidState::Digest { expected: expected.digest, found: found.digest }),
        }
    }

    fn read_head(&mut self, head: StateHead) {
        self.machine.timestamp = Timestamp(head.timestamp_ms);
        self.head = Some(head);
    }

    fn read_queues(&mut self, queues: Vec<QueuePart>) -> Result<(), InvalidState> {
        for (place, part) in queues.into_iter().enumerate() {
            let name = QueueName::try_from(part.name.as_str())?;
            let (waiting, held) = match &self.queue {
                Some(last) if last.name == name && place == 0 => (last.waiting, last.held),
                Some(last) if last.name >= name => return Err(InvalidState::QueueOrder(name)),
                _ => (None, None),
            };
            let messages = messages_of(&name, &part, waiting)?;
            let counts = Counts::from_kept(part.counts.unwrap_or_default());
            self.machine.queues.restore(&name, counts, part.chosen());
            let waiting = messages.last().copied().or(waiting);
            messages.into_iter().for_each(|message| self.put(&name, Stored::new(message, State::Waiting)));
            let held = self.read_held(&name, part.held, held)?;
            self.queue = Some(LastQueue { name, waiting, held });
        }
        Ok(())
    }

    /// Returns the last of them, or of those before.
    fn read_held(
        &mut self,
        name: &QueueName,
        held: Vec<HeldMessage>,
        mut last: Option<(Kind, Place)>,
    ) -> Result<Option<(Kind, Place)>, InvalidState> {
        for message in held {
            let stored = held_message(name, message)?;
            let key = Some((stored.kind(), stored.place()));
            if last >= key {
                return Err(InvalidState::MessageOrder(name.clone()));
            }
            last = key;
            self.put(name, stored);
        }
        Ok(last)
    }

    fn put(&mut self, name: &QueueName, stored: Stored) {
        self.machine.queues.change(name, Change { to: Some(stored), ..Change::default() });
    }

    fn read_sessions(&mut self, sessions: Vec<SessionPart>) -> Result<(), InvalidState> {
        for (place, part) in sessions.into_iter().enumerate() {
            let id = SessionId(part.id);
            let (last_used, lowest_pending) = (Timestamp(part.last_used_ms), Sequence(part.lowest_pending));
            if last_used > self.machine.timestamp {
                return Err(InvalidState::SessionTime(id));
            }
            let goes_on = |session: &Session| {
                place == 0 && session.last_used == last_used && session.lowest_pending == lowest_pending
            };
            match &mut self.session {
                Some((last, session)) if *last == id && goes_on(session) => session.restore(id, part.kept)?,
                Some((last, _)) if *last >= id => return Err(InvalidState::SessionOrder(id)),
                _ => {
                    self.restore_session();
                    let mut session = Session { last_used, lowest_pending, kept: Default::default() };
                    session.restore(id, part.kept)?;
                    self.session = Some((id, session));
                }
            }
        }
        Ok(())
    }

    fn restore_session(&mut self) {
        if let Some((id, session)) = self.session.take() {
            self.machine.sessions.restore(id, session);
        }
    }
}

fn held_message(name: &QueueName, message: HeldMessage) -> Result<Stored, InvalidState> {
    let (length, lease) = (message.length, message.lease);
    let given = Given::from_kept(message).ok_or_else(|| InvalidState::MessageState(name.clone()))?;
    let state = match (given.standing, lease) {
        (Standing::Ready, None) => State::Returned,
        (Standing::Leased { until }, Some(lease)) => State::Leased { lease: LeaseId::from_kept(lease), until },
        (Standing::Delayed { until }, None) => State::Delayed { until },
        (Standing::Dead { since, reason }, None) => State::Dead { since, reason },
        _ => return Err(InvalidState::MessageState(name.clone())),
    };
    let message = Waiting::from_parts(given.id, given.enqueued_at.0, length.into());
    let message = message.ok_or_else(|| InvalidState::Message(name.clone()))?;
    Ok(Stored { message, deliveries: given.deliveries, state })
}

/// The waiting messages of a part, each after the one before, the first after `last`.
fn messages_of(name: &QueueName, part: &QueuePart, mut last: Option<Waiting>) -> Result<Vec<Waiting>, InvalidState> {
    let count = part.index_deltas.len();
    if [part.items.len(), part.lengths.len(), part.time_deltas.len()] != [count; 3] {
        return Err(InvalidState::MessageIncomplete(name.clone()));
    }
    let (mut index, mut time) = (0u64, 0u64);
    let mut messages = Vec::with_capacity(count);
    let numbers = part.index_deltas.iter().zip(&part.items).zip(part.lengths.iter().zip(&part.time_deltas));
    for ((index_delta, item), (length, time_delta)) in numbers {
        let impossible = || InvalidState::Message(name.clone());
        index = index.checked_add(*index_delta).ok_or_else(impossible)?;
        time = time.checked_add(*time_delta).ok_or_else(impossible)?;
        let id = MessageId { index: Index(index), item: *item };
        let message = Waiting::from_parts(id, time, (*length).into()).ok_or_else(impossible)?;
        if last.is_some_and(|last| last.id() >= id || last.enqueued_at() > message.enqueued_at()) {
            return Err(InvalidState::MessageOrder(name.clone()));
        }
        last = Some(message);
        messages.push(message);
    }
    Ok(messages)
}

impl Session {
    /// Adds outcomes after those that there are.
    fn restore(&mut self, id: SessionId, outcomes: Vec<internal::KeptOutcome>) -> Result<(), InvalidState> {
        for outcome in outcomes {
            let kept = Kept::from_proto(outcome).map_err(|source| InvalidState::Outcome { session: id, source })?;
            let (sequence, kept) = kept;
            let is_next = self.kept.get_max().is_none_or(|(last, _)| *last < sequence);
            if !is_next || sequence < self.lowest_pending {
                return Err(InvalidState::SequenceOrder(id));
            }
            self.kept.insert(sequence, kept);
        }
        Ok(())
    }
}

fn check_count(of: &'static str, expected: u64, found: u64) -> Result<(), InvalidState> {
    match found == expected {
        true => Ok(()),
        false => Err(InvalidState::Count { of, expected, found }),
    }
}
