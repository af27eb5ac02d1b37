//! Raft
pub mod configuration;
pub mod effect;
pub mod entry;
pub mod event;
pub mod message;
pub mod quorum;
pub mod recovered;
pub use configuration::{ChangeRefused, Configuration, Learner, MembershipChange};
pub use effect::{Effect, Write};
pub use entry::{Entry, HardState, Payload};
pub use event::{Event, RoleName};
pub use message::{AppendReply, Body, Message, VoteRefusal};
pub use quorum::CommitQuorum;
pub use recovered::Recovered;
