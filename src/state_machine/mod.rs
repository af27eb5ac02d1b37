//! The state machine: named queues and client sessions, changed by the committed entries of a shard's log and by nothing else.
//!
//! ```text
//! v1::ExecuteRequest -- request --> Request      checked once, before it is proposed
//! Command ------------- codec ----> log entry -- codec --> Command
//! (Index, Command) ---- machine --> Applied      Decision: Executed, Refused or Waiting
//! [Operation] --------- query ----> [Outcome]    what only reads, beside the log
//! StateMachine -------- snapshot -> blocks ------ snapshot -> StateMachine
//! Outcome ------------- codec ----> v1::Outcome  bodies are filled in from the log
//! ```
//!
//! A command goes through `machine` (time, sessions), then `transaction` (its operations, all or none; `leasing` has
//! those on messages that are given out for a time), which changes `queue` and `session`. `stored` is a message as a
//! queue has it.
//!
//! Invariants:
//! - Deterministic: the same entries give the same state, bit for bit (`StateMachine::digest`), on every node. All time comes
//!   from the entries and never runs backwards; nothing is drawn by chance; the limits are equal on all nodes.
//! - `apply` cannot fail. A refusal is an outcome like any other.
//! - A command's operations take effect together or not at all.
//! - A message is in one state at a time (ready, leased, delayed, dead), and in its place in the order of its queue.
//!   Its states change by operations, and by the leader's expiry commands, which end leases and delays; each does a
//!   bounded part of the work.
//! - A lease token is good once, and only before its lease ends by the time of the log.
//! - A request of a session takes effect at most once, however often its entry comes.
//! - Queues hold references (index, item), lengths and times, never bodies or headers: a waiting message costs 16 bytes
//!   here, and what the pieces of a queue add: measured, 17.0 bytes for each of 1,000,000 messages in one queue and
//!   20.3 in 1,000 queues. A queue with 4 to 64 messages takes 1.2 KiB. A message that is not simply waiting costs
//!   more, while it is so.
//! - A clone takes constant time, whatever the state, and stays as it is: the collections share what neither has changed since.
//!   So a snapshot is a clone that is encoded elsewhere, while this one goes on.
//! - Equal states give equal blocks, and blocks give the state that they are of, or an error.
//!
//! Not here: the bodies themselves (`storage`), who waits for an answer (`replica`), and clocks (the leader's reading comes in
//! with the command). Pure: no tokio, files, clocks, HashMap iteration or unseeded chance.

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod codec;
mod command;
mod digest;
mod kept;
mod leasing;
mod machine;
mod message;
mod query;
mod queue;
mod request;
mod session;
mod snapshot;
mod stored;
mod transaction;

#[cfg(test)]
mod lease_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod request_tests;
#[cfg(test)]
mod snapshot_tests;
#[cfg(test)]
mod tests;

pub use codec::{InvalidOperation, Malformed, MessageMissing, keep_items, message_of};
pub use command::{
    Chosen, Command, Contents, Counts, InvalidQueueName, Operation, Outcome, QueueInfo, QueueName, Refusal,
    SessionRequest, Settings, Settlement, Totals,
};
pub use kept::InvalidOutcome;
pub use machine::{Applied, Decision, Limits, StateMachine};
pub use message::{
    Body, DeadReason, Given, InvalidLeaseToken, LeaseId, LeaseToken, Living, Message, MessageId, MessageState, Standing,
};
pub use request::{InvalidHeaders, InvalidRequest, Request, check_headers};
pub use snapshot::{InvalidState, ReadError};
