//! How a node comes to belong to a cluster, stays in it under changing addresses, and leaves it.
//!
//! ```text
//!   empty directory, nobody to ask       bootstrap   a cluster of one: identity and first log entry
//!   empty directory, nodes to ask        discovery   where they are, and who
//!      one of them belongs to a cluster  join        asks to be added until a leader agrees, or never will
//!      all are empty                     founding    several start one together; founder: what this node has promised
//!   directory of a member                announce    tells its addresses if they changed, and learns those of others
//!
//!   kubernetes a pod that is to go for good leaves, and members of its kind that are gone are removed
//!   growth     the leader warns of more members than lost disks can be told from a first start
//!   members    who may come in, and who is meant by a name: decided on the leader, for the interface of clients
//! ```
//!
//! Invariants
//! - A directory belongs to one cluster for ever: its cluster id is written once, after everything that it promises.
//! - A directory with a cluster id has a log. One that has lost it has forgotten its votes, and takes no part again.
//! - A directory takes part in starting one cluster only: what it has promised is durable before anybody learns of it.
//! - A crash between any two steps is repaired by doing the same again.
//! - A node never guesses: without an answer from a leader it neither starts a cluster nor takes part in one, and who does not answer
//!   may belong to one.
//!
//! Not here: the change of the membership itself (`raft`), the address book (`transport`).

pub mod announce;
pub mod bootstrap;
pub mod discovery;
pub mod founder;
pub mod founding;
pub mod founding_codec;
pub mod growth;
pub mod join;
pub mod kubernetes;
pub mod members;
pub mod names;

use crate::ids::ClusterId;
use crate::storage;

/// Why a node cannot become a member.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster will not have it, however often it asks.
    #[error("the cluster refuses this node: {0}")]
    Refused(String),
    /// The directory was to become that of a member of a cluster that others start.
    #[error(
        "the data directory was started to join a cluster, and no cluster has taken it in yet: start it with cluster.join or \
         cluster.discovery again; to start a cluster of its own, empty it"
    )]
    NobodyToAsk,
    /// The node has stopped meanwhile.
    #[error("the node has stopped")]
    Stopped,
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
