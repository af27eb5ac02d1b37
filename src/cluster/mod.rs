//! How a node comes to belong to a cluster, stays in it under changing addresses, and leaves it.
//!
//! ```text
//!   empty directory, nobody to contact   bootstrap   a cluster of one: identity and first log entry
//!   empty directory, addresses to join   join        asks to be added until a leader agrees, or never will
//!   directory of a member                announce    tells its addresses if they changed, and learns those of others
//!
//!   kubernetes a pod that is to go for good leaves, and members of its kind that are gone are removed
//!   members    who may come in, and who is meant by a name: decided on the leader, for the interface of clients
//! ```
//!
//! Invariants
//! - A directory belongs to one cluster for ever: its cluster id is written once, after everything that it promises.
//! - A directory with a cluster id has a log. One that has lost it has forgotten its votes, and takes no part again.
//! - A crash between any two steps is repaired by doing the same again.
//! - A node never guesses: without an answer from a leader it neither starts a cluster of its own nor takes part in one.
//!
//! Not here: the change of the membership itself (`raft`), the address book (`transport`).

pub mod announce;
pub mod bootstrap;
pub mod join;
pub mod kubernetes;
pub mod members;

use crate::ids::ClusterId;
use crate::storage;

/// Why a node cannot become a member.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster will not have it, however often it asks.
    #[error("the cluster refuses this node: {0}")]
    Refused(String),
    /// An address to join is none.
    #[error("cluster.join: {0}")]
    InvalidAddress(String),
    /// The start of a cluster was interrupted in this directory, and now the node is to join another.
    #[error(
        "the data directory holds the beginning of a cluster of its own: start it once without cluster.join, or empty it"
    )]
    HalfBootstrapped,
    /// The log holds entries, but the directory does not say of which cluster.
    #[error("the data directory has a log and no cluster id: restore its identity file, or empty it and join again")]
    IdentityLost,
    /// The directory says of which cluster it is, and the log is gone.
    #[error(
        "{directory} belongs to a member of cluster {cluster}, and its log is gone: restore the segment files, or empty it \
         and join again"
    )]
    LogLost {
        /// The data directory.
        directory: String,
        /// The cluster.
        cluster: ClusterId,
    },
    /// The disk refused.
    #[error("{0}")]
    Storage(#[from] storage::Error),
}
