//! replica (docs to come)
mod event;

pub use event::{Answer, Effect, Event, Execute, Executed, ReadId, Refusal, RequestId, Status, Told};
