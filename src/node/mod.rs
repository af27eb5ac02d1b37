//! A running node: it is started, it runs, it drains, it stops.
//!
//! ```text
//!   start        data directory, ports, log, replica, writer, transport, servers: a list of steps
//!   find_cluster an empty directory: asks, joins or starts a cluster
//!   event_loop   the one loop that owns the replicas; everything else talks to it
//!   handle       what others hold: a bounded inbox, and what the loop published
//!   log_reader   reads of the log, a few at a time
//!   snapshots    written and compacted beside the loop;   catch_up: the leader's is fetched
//!   running      the phases of a node;   leaving: what it does at its end for those who go on
//! ```
//!
//! Two task borders lie on the path of a request: into the loop's inbox, and out of its answer slot.
//!
//! ```text
//!   Joining -----> Serving -----> HandingOver -----> Draining -----> Stopped
//!   applies for    answers        gives up           answers what    the loop has ended,
//!   membership                    leadership         is in flight    all writes are durable
//! ```
//!
//! Invariants
//! - The loop alone changes replicas, and it never waits for anything but its inputs.
//! - Effects are carried out in the order in which the replica gave them, but for the answers: they go out last, when everybody
//!   can see what they tell of.
//! - A disk that failed ends the node: what it has on disk is no longer known.
//! - Every queue is bounded, and beside it stands what happens when it is full.
//!
//! `start` composes all rooms, so it alone imports upwards. Not here: signals and exit codes (`cli`).

mod catch_up;
mod clock;
mod ending;
mod error;
pub mod event_loop;
mod figures;
mod find_cluster;
mod handle;
mod host;
mod leaving;
mod log_reader;
mod options;
mod peers;
mod piece_size;
mod ports;
mod running;
pub mod snapshots;
mod start;
#[cfg(test)]
mod tests;
mod timing_news;
mod transfers;

pub use clock::Clock;
pub use error::Error;
pub use handle::{Asked, Handle, Place, Published, Seen};
pub use peers::Peers;
pub use running::{Phase, Running};
pub use start::start;
pub use transfers::Transfers;
