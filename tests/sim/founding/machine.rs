//! A machine with a name, its disk, and the process that runs on it.

use std::collections::BTreeMap;

use quorate::cluster::founding::{Own, Proposal, Round, Standing};
use quorate::ids::{ClusterId, Contact, NodeId};
use quorate::raft::CommitQuorum;
use quorate::storage::FoundingRecord;

use crate::knobs::Micros;

/// What survives a crash.
#[derive(Clone, Debug)]
pub struct Disk {
    pub node: NodeId,
    pub record: FoundingRecord,
    /// The first entry of the log: the cluster that it is the beginning of.
    pub first: Option<Proposal>,
    pub cluster: Option<ClusterId>,
    /// When that was written.
    pub written: Micros,
}

/// What does not.
#[derive(Debug, Default)]
pub struct Process {
    /// It has decided to form, and promises nothing else.
    pub forms: bool,
    /// Counts what it asks; answers to something else are late.
    pub call: u64,
    pub doing: Doing,
}

#[derive(Debug, Default)]
pub enum Doing {
    #[default]
    Nothing,
    /// It has asked everybody who they are.
    Asks { own: Box<Own>, round: Round },
    /// It has asked the other founders for their promises; true: given.
    Proposes { proposal: Proposal, promised: BTreeMap<NodeId, bool> },
    /// It has applied for membership.
    Applies,
    /// It writes the first entry and then the cluster id.
    Forms,
}

pub struct Machine {
    pub name: String,
    pub address: String,
    /// Its disk was that of the machine of this name, and was replaced: there are two of the name while this one is there.
    pub is_old: bool,
    /// It is there no more.
    pub is_gone: bool,
    pub disk: Disk,
    pub process: Option<Process>,
    /// Counts processes: messages for one that is dead reach nobody.
    pub incarnation: u64,
    pub size: u16,
    pub discovers: bool,
    /// The machines that it may ask.
    pub list: Vec<usize>,
}

impl Machine {
    /// A machine that has not run yet.
    pub fn new(name: String, address: String, disk: Disk, size: u16, discovers: bool, list: Vec<usize>) -> Self {
        let (is_old, is_gone) = (false, false);
        Self { name, address, is_old, is_gone, disk, process: None, incarnation: 0, size, discovers, list }
    }

    pub fn contact(&self) -> Contact {
        Contact {
            node: self.disk.node,
            name: self.name.clone(),
            client_address: format!("{}:1", self.address),
            peer_address: format!("{}:2", self.address),
            version: 1,
        }
    }

    pub fn own(&self) -> Own {
        let FoundingRecord { applies, former, promise, lost, .. } = self.disk.record.clone();
        let standing = Standing {
            node: self.contact(),
            cluster: self.disk.cluster,
            applies: applies.is_some(),
            former,
            size: Some(self.size),
            promise,
        };
        Own { standing, lost, commit_quorum: CommitQuorum::Majority }
    }
}
