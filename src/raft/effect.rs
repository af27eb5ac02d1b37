//! What a replica wants done. Plain data, comparable and printable: same inputs, same effects.

use super::{Entry, Event, HardState, Message, ReadBatch};
use crate::ids::{EntryId, Index, NodeId, Ticket};

/// One wish of the Raft core, to be carried out in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make this durable, then call `on_persisted` with its ticket.
    Persist(Write),
    /// Send a message, but not before the write named `after` is durable.
    Send {
        /// The receiver.
        to: NodeId,
        /// The message.
        message: Message,
        /// The write that the message relies on; `Ticket(0)`: none.
        after: Ticket,
    },
    /// Read these entries back, then call `on_entries_read` for the peer.
    ReadEntries {
        /// The follower that needs them.
        peer: NodeId,
        /// The first one.
        from: Index,
        /// The last one. Fewer may be returned, at least one.
        to: Index,
        /// Stop after about this many bytes.
        bytes_max: u64,
    },
    /// Fetch the leader's snapshot, then call `on_snapshot_received`. Wished for again as long as the leader says so: whoever
    /// fetches already goes on.
    FetchSnapshot {
        /// The leader.
        from: NodeId,
        /// The last entry that the snapshot has in it.
        last: EntryId,
    },
    /// These reads may be answered once the log is applied up to `index`.
    ReadConfirmed {
        /// Which reads.
        batch: ReadBatch,
        /// The commit index of the leader when they were asked for, or later.
        index: Index,
    },
    /// Nobody can say what these reads must show: leadership was lost, or the leader. They may be asked for again.
    ReadRefused {
        /// Which reads.
        batch: ReadBatch,
    },
    /// Something to tell.
    Tell(Event),
}

/// Something to make durable. Replaces the log from the index of the first entry on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its name.
    pub ticket: Ticket,
    /// Present when it changed.
    pub hard_state: Option<HardState>,
    /// The received snapshot with this last entry takes the place of the whole log. No entries come with it.
    pub snapshot: Option<EntryId>,
    /// In order, without gaps. Entries that the log has at or above the first one's index are gone with it.
    pub entries: Vec<Entry>,
}
