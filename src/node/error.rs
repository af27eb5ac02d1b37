//! Why a node cannot start, or cannot go on.

use crate::cluster::founder::Refused;
use crate::ids::ClusterId;
use crate::{cluster, storage, transport};

/// Why a node cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory cannot be used, or the disk failed while the node ran.
    #[error("storage: {0}")]
    Storage(#[from] storage::Error),
    /// A port cannot be listened on.
    #[error("no port for {whom}: {why}; {setting} says where, and another address may be free")]
    Listen {
        /// Who would connect there.
        whom: &'static str,
        /// The address, and what the system said.
        why: String,
        /// The setting that says the address.
        setting: &'static str,
    },
    /// The node cannot become a member of a cluster.
    #[error("{0}")]
    Cluster(#[from] cluster::Error),
    /// The node was removed from its cluster before it started. Its data was set aside: started again, it joins anew.
    #[error(
        "was removed from cluster {cluster} before it started; its data was set aside, and started again it joins anew"
    )]
    Removed {
        /// The cluster.
        cluster: ClusterId,
    },
    /// The own addresses could not be written down, or are no addresses.
    #[error("address book: {0}")]
    AddressBook(#[from] transport::Error),
    /// A server cannot go on.
    #[error("the server for {whom} ended: {source}")]
    Server {
        /// Whom it served.
        whom: &'static str,
        /// Why.
        source: tonic::transport::Error,
    },
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Storage(error) => error.into(),
            Refused::Rule(why) => cluster::Error::Refused(why).into(),
            Refused::Stopped => cluster::Error::Stopped.into(),
        }
    }
}
