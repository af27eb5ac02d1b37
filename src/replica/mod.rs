//! A replica: one node's member of one shard. It ties the protocol to the state machine and knows who waits for an answer.
//!
//! ```text
//!   Execute -> receive -> propose -> [raft: append, replicate, commit] -> apply -> decide -> resolve bodies -> Answer
//!                 |  ^                                                      |
//!                 v  | a message came, or the time is over                  |
//!              waiting <----------------------------------------------------+  nothing to take
//!   Read ----> receive -> ask for the read index -> confirmed -> applied that far -> show -> resolve bodies -> Answer
//!   apply -> enough has come -> TakeSnapshot -> SnapshotTaken -> the log is forgotten -> Compact
//!   InstallSnapshot -> FetchSnapshot -> SnapshotReceived -> [raft: the log begins anew] -> Persisted -> the state is swapped
//! ```
//!
//! Pure: the driver calls `turn` with what happened and carries out the effects in order. Disk, network and clock are outside.
//!
//! Invariants:
//! - A message leaves only after the write that it relies on (`outbox`).
//! - Every request gets one answer, unless the client stopped waiting; when leadership is lost, at once.
//! - Bodies are never held here: outcomes name entries, which are found in memory or read back before the answer goes out.
//!
//! Not here: the protocol (`raft`), what operations mean (`state_machine`), and anything that takes time (`node`).

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod applying;
mod bodies;
mod event;
mod leading;
mod log_clock;
mod members;
mod outbox;
#[cfg(test)]
mod pair_tests;
mod pending;
mod proposing;
mod reading;
#[expect(clippy::module_inception, reason = "the noun of this room")]
mod replica;
mod snapshots;
#[cfg(test)]
mod tests;
mod waiting;

pub use event::{
    Answer, Consistency, Effect, Event, Execute, Executed, Membership, Read, ReadId, Refusal, RequestId, Restored,
    Shown, State, Status, Taking, Told, View,
};
pub use replica::{Options, Replica};
pub use snapshots::Rules as SnapshotRules;
