//! state machine (docs to come)
mod command;

pub use command::{Body, Command, MessageId, Operation, Outcome, QueueInfo, QueueName, Refusal, SessionRequest};
