//! A message in a queue, as small as it can be.

use super::{DeadReason, Given, LeaseId, MessageId, MessageState, Request, Standing};
use crate::ids::{Index, Timestamp};

/// A message that was enqueued without a delay and never given out: its name, when it was enqueued, and its length so
/// that answers can be limited without reading it. Packed into 16 bytes, as there may be millions.
///
/// ```text
/// place    index: 52 bits        item: 12     in the order of the messages
/// facts    time in ms: 42 bits   length: 22   until the year 2109; a longer time or length counts as the longest
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Waiting {
    place: Place,
    facts: u64,
}

/// The name of a message, packed. In the order of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place(u64);

const ITEM_BITS: u32 = 12;
const LENGTH_BITS: u32 = 22;
const INDEX_MAX: u64 = u64::MAX >> ITEM_BITS;
const ITEM_MAX: u32 = (1 << ITEM_BITS) - 1;
const TIME_MAX: u64 = u64::MAX >> LENGTH_BITS;
const LENGTH_MAX: u64 = (1 << LENGTH_BITS) - 1;

// A request that was accepted fits.
const _: () = assert!(Request::OPERATIONS_MAX <= ITEM_MAX as usize + 1);
const _: () = assert!(Request::MESSAGE_BYTES_MAX + Request::HEADER_BYTES_MAX <= LENGTH_MAX as usize);

impl Place {
    /// None: no message has this name.
    pub(super) fn of(id: MessageId) -> Option<Self> {
        (id.index.0 <= INDEX_MAX && id.item <= ITEM_MAX).then_some(Self(id.index.0 << ITEM_BITS | u64::from(id.item)))
    }

    /// The last place that is not after this name, whether a message has it or not.
    pub(super) fn up_to(id: MessageId) -> Self {
        let last = MessageId { index: id.index, item: id.item.min(ITEM_MAX) };
        Self::of(last).unwrap_or(Self(u64::MAX))
    }

    pub(super) fn id(self) -> MessageId {
        MessageId { index: Index(self.0 >> ITEM_BITS), item: (self.0 & u64::from(ITEM_MAX)) as u32 }
    }
}

impl Waiting {
    /// The message `id` of `length` bytes, enqueued at `time`.
    ///
    /// # Panics
    /// It is an operation beyond those that an entry can have, or an entry beyond those that there will ever be.
    pub(super) fn new(id: MessageId, length: usize, time: Timestamp) -> Self {
        let (time, length) = (time.0.min(TIME_MAX), (length as u64).min(LENGTH_MAX));
        Self::from_parts(id, time, length).unwrap_or_else(|| panic!("no log has a message {}/{}", id.index, id.item))
    }

    /// The message with this time and this length; none if they are not what `new` makes.
    pub(super) fn from_parts(id: MessageId, time: u64, length: u64) -> Option<Self> {
        let fits = time <= TIME_MAX && length <= LENGTH_MAX;
        let place = Place::of(id).filter(|_| fits)?;
        Some(Self { place, facts: time << LENGTH_BITS | length })
    }

    pub(super) fn place(self) -> Place {
        self.place
    }

    pub(super) fn id(self) -> MessageId {
        self.place.id()
    }

    /// Of body and headers.
    pub(super) fn bytes(self) -> u64 {
        self.facts & LENGTH_MAX
    }

    pub(super) fn enqueued_at(self) -> Timestamp {
        Timestamp(self.facts >> LENGTH_BITS)
    }
}

/// A message of a queue in whatever state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stored {
    pub(super) message: Waiting,
    pub(super) deliveries: u32,
    pub(super) state: State,
}

/// The state of a message, with what the queue knows besides.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum State {
    /// Ready, enqueued without a delay and never given out.
    Waiting,
    /// Ready again, or for the first time after a delay.
    Returned,
    Leased {
        lease: LeaseId,
        until: Timestamp,
    },
    Delayed {
        until: Timestamp,
    },
    Dead {
        since: Timestamp,
        reason: DeadReason,
    },
}

/// Where a queue has a message: those of one kind lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Waiting,
    Returned,
    Leased,
    Delayed,
    Dead,
}

impl Stored {
    /// One that nobody was given yet.
    pub(super) fn new(message: Waiting, state: State) -> Self {
        Self { message, deliveries: 0, state }
    }

    pub(super) fn place(&self) -> Place {
        self.message.place()
    }

    pub(super) fn kind(&self) -> Kind {
        match self.state {
            State::Waiting => Kind::Waiting,
            State::Returned => Kind::Returned,
            State::Leased { .. } => Kind::Leased,
            State::Delayed { .. } => Kind::Delayed,
            State::Dead { .. } => Kind::Dead,
        }
    }

    /// When something becomes of it without anybody's doing.
    pub(super) fn due(&self) -> Option<Timestamp> {
        match self.state {
            State::Leased { until, .. } | State::Delayed { until } => Some(until),
            State::Waiting | State::Returned | State::Dead { .. } => None,
        }
    }

    pub(super) fn given(&self) -> Given {
        let standing = match &self.state {
            State::Waiting | State::Returned => Standing::Ready,
            State::Leased { until, .. } => Standing::Leased { until: *until },
            State::Delayed { until } => Standing::Delayed { until: *until },
            State::Dead { since, reason } => Standing::Dead { since: *since, reason: reason.clone() },
        };
        let (id, enqueued_at) = (self.message.id(), self.message.enqueued_at());
        Given { id, enqueued_at, deliveries: self.deliveries, standing }
    }

    /// The same, once more delivered.
    pub(super) fn delivered(self) -> Self {
        Self { deliveries: self.deliveries.saturating_add(1), ..self }
    }
}

impl Kind {
    pub(super) fn state(self) -> MessageState {
        match self {
            Self::Waiting | Self::Returned => MessageState::Ready,
            Self::Leased => MessageState::Leased,
            Self::Delayed => MessageState::Delayed,
            Self::Dead => MessageState::Dead,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_message_costs_16_bytes_and_any_other_less_than_100() {
        assert_eq!(size_of::<Waiting>(), 16);
        assert!(size_of::<(Place, Stored)>() <= 64, "{}", size_of::<(Place, Stored)>());
    }

    #[test]
    fn what_is_packed_comes_out() {
        let id = |index, item| MessageId { index: Index(index), item };
        for (index, item, length, time) in [(1, 2, 3, 4), (INDEX_MAX, ITEM_MAX, LENGTH_MAX, TIME_MAX), (0, 0, 0, 0)] {
            let packed = Waiting::new(id(index, item), length as usize, Timestamp(time));
            let parts = (packed.id(), packed.bytes(), packed.enqueued_at());
            assert_eq!(parts, (id(index, item), length, Timestamp(time)));
        }
        let capped = Waiting::new(id(1, 0), usize::MAX, Timestamp(u64::MAX));
        assert_eq!((capped.bytes(), capped.enqueued_at()), (LENGTH_MAX, Timestamp(TIME_MAX)));
        for (index, item) in [(INDEX_MAX + 1, 0), (1, ITEM_MAX + 1)] {
            assert_eq!(Place::of(id(index, item)), None);
        }
        assert_eq!(Place::up_to(id(5, u32::MAX)).id(), id(5, ITEM_MAX));
        assert_eq!(Place::up_to(id(u64::MAX, 0)), Place(u64::MAX));
    }
}
