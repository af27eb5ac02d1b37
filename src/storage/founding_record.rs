//! What a directory remembers of the time before it belongs to a cluster: the file `founding`.

use serde::{Deserialize, Serialize};

use super::directory::ContactLine;
use crate::ids::{ClusterId, Contact, NodeId};
use crate::raft::CommitQuorum;

/// A cluster that is to be started. Two proposals with the same cluster id are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The id that the cluster will have.
    pub cluster: ClusterId,
    /// The founder that proposes it, and is the first to start it.
    pub proposer: NodeId,
    /// Counts the proposals of that node, from 1 on.
    pub attempt: u64,
    /// All of its voters, in the order of their node ids.
    pub founders: Vec<Contact>,
    /// How many voters must have an entry before it is committed.
    pub commit_quorum: CommitQuorum,
}

impl Proposal {
    /// The founder that is this node.
    pub fn founder(&self, node: NodeId) -> Option<&Contact> {
        self.founders.iter().find(|founder| founder.node == node)
    }

    /// What the proposer is called; empty if it is no founder, which no valid proposal has.
    pub fn proposer_name(&self) -> &str {
        self.founder(self.proposer).map_or("", |founder| &founder.name)
    }
}

/// What must survive a crash, so that a node never takes part in starting two clusters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundingRecord {
    /// The node was started with somebody to ask. From then on it does not start a cluster by itself.
    pub asks: bool,
    /// The cluster that it has applied to. It promises nothing any more.
    pub applies: Option<ClusterId>,
    /// The cluster that the node belonged to under another id, and was removed from.
    pub former: Option<ClusterId>,
    /// The only cluster that it helps to start. Kept once that has been done, for founders that missed it.
    pub promise: Option<Proposal>,
    /// Proposers whose disks are lost: what they have proposed, and may still be on its way, is never promised again.
    pub lost: Vec<NodeId>,
}

/// The file.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordText {
    /// The node whose files are being moved out of the way: everything but this file, the lock and what was moved before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sets_aside: Option<String>,
    #[serde(default)]
    asks: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    applies: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    former_cluster: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    promise: Option<ProposalText>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lost_proposers: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProposalText {
    cluster_id: String,
    proposer: String,
    attempt: u64,
    founders: Vec<ContactLine>,
    commit_quorum: QuorumText,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum QuorumText {
    Majority,
    HalfPlusOne,
}

impl RecordText {
    pub fn new(record: &FoundingRecord) -> Self {
        Self {
            sets_aside: None,
            asks: record.asks,
            applies: record.applies.map(|cluster| cluster.to_string()),
            former_cluster: record.former.map(|cluster| cluster.to_string()),
            promise: record.promise.as_ref().map(ProposalText::new),
            lost_proposers: record.lost.iter().map(NodeId::to_string).collect(),
        }
    }

    /// None: an id in it is not one.
    pub fn into_record(self) -> Option<FoundingRecord> {
        Some(FoundingRecord {
            asks: self.asks,
            applies: self.applies.map(|cluster| cluster.parse()).transpose().ok()?,
            former: self.former_cluster.map(|cluster| cluster.parse()).transpose().ok()?,
            promise: match self.promise {
                Some(promise) => Some(promise.into_proposal()?),
                None => None,
            },
            lost: self.lost_proposers.iter().map(|node| node.parse().ok()).collect::<Option<_>>()?,
        })
    }
}

impl ProposalText {
    fn new(proposal: &Proposal) -> Self {
        Self {
            cluster_id: proposal.cluster.to_string(),
            proposer: proposal.proposer.to_string(),
            attempt: proposal.attempt,
            founders: proposal.founders.iter().map(ContactLine::new).collect(),
            commit_quorum: match proposal.commit_quorum {
                CommitQuorum::Majority => QuorumText::Majority,
                CommitQuorum::HalfPlusOne => QuorumText::HalfPlusOne,
            },
        }
    }

    fn into_proposal(self) -> Option<Proposal> {
        Some(Proposal {
            cluster: self.cluster_id.parse().ok()?,
            proposer: self.proposer.parse().ok()?,
            attempt: self.attempt,
            founders: self.founders.into_iter().map(ContactLine::into_contact).collect::<Option<_>>()?,
            commit_quorum: match self.commit_quorum {
                QuorumText::Majority => CommitQuorum::Majority,
                QuorumText::HalfPlusOne => CommitQuorum::HalfPlusOne,
            },
        })
    }
}
