//! The Raft protocol, pure: events in, effects out. It knows entries as bytes, not what they mean.
//!
//! Sources: "In Search of an Understandable Consensus Algorithm (Extended Version)", called "the paper" here, and Ongaro's
//! dissertation "Consensus: Bridging Theory and Practice".
//!
//! ```text
//!     propose, on_message, on_persisted, on_entries_read, tick        every call carries the time
//!                         |
//!              core.rs    |    what all roles share: term, vote, log, durability
//!       follower.rs  candidate.rs  leader.rs + membership.rs          one file for each role
//!      snapshot.rs  transfer.rs  read_index.rs  freshness.rs          what leader and followers do together
//!      timer.rs  measured.rs + sample.rs  timing.rs                    how long they wait for each other
//!         log.rs     writes.rs     progress.rs     quorum.rs + configuration.rs
//!                         |
//!       take_effects: Persist, Send, ReadEntries, FetchSnapshot, Tell  carried out in order
//! ```
//!
//! Invariants, asserted in release builds too:
//! - Term, commit index and a vote within a term never go back; the log is never cut at or below the commit index.
//! - A `Send` that promises something names the write that must be durable first: term and vote for every message, the
//!   entries for an acknowledgement. The leader's own disk counts for a commit only once it has written.
//! - An acknowledgement names the entry (term, index) up to which it vouches.
//! - The log begins after an entry that the durable snapshot has in it, or the one whose write is under way. A received
//!   snapshot takes the place of a log that lacks its last entry and has committed less, and of no other; its configuration
//!   comes with it.
//! - A read index is given out only when a majority has answered a round of heartbeats that began after the read was asked
//!   for, and an entry of the leader's own term is committed.
//!
//! What only a faulty peer can bring about (two leaders in a term, another entry at a committed index) quarantines the
//! member: it stands still and says why.
//!
//! Not here: what a snapshot has in it, and how it comes from one node to another.

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod candidate;
mod configuration;
mod core;
mod effect;
mod entry;
mod event;
mod follower;
mod freshness;
mod leader;
mod log;
mod measured;
mod membership;
mod message;
mod progress;
pub mod quorum;
mod read_index;
mod recovered;
mod sample;
mod snapshot;
mod timer;
mod timing;
mod transfer;
mod writes;

pub use self::core::{Options, Raft};
pub use configuration::{ChangeRefused, Configuration, Learner, MembershipChange};
pub use effect::{Effect, Write};
pub use entry::{Entry, HardState, Payload};
pub use event::{Event, RoleName};
pub use freshness::Fresh;
pub use leader::ProposalRefused;
pub use message::{AppendReply, Body, Message, OpaqueTime, ReadContext, VoteRefusal};
pub use progress::{ProgressView, Window};
pub use quorum::CommitQuorum;
pub use read_index::{NoLeader, ReadBatch};
pub use recovered::Recovered;
pub use snapshot::Snapshot;
pub use timing::{Bounds, Pace, Spread, TimeoutPolicy, Timeouts, Timing, Why};
pub use transfer::TransferRefused;
