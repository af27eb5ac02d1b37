//! Quorate: a strongly consistent message queue and key-value store on its own Raft.
//!
//! The path of a request has eight verbs: received, routed, proposed, appended, replicated, committed, applied, answered.
//! Each room owns some of them.

pub mod api;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod config;
pub mod dashboard;
pub mod health;
pub mod ids;
pub mod node;
pub mod proto;
pub mod raft;
pub mod reasons;
pub mod replica;
pub mod routing;
pub mod state_machine;
pub mod storage;
pub mod telemetry;
pub mod transport;
pub mod wary;
