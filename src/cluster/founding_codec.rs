//! What nodes tell each other before they belong to a cluster, as it goes over the wire. What comes in is checked here.

use super::founding::{Proposal, Standing};
use crate::ids::{ClusterId, Contact, NodeId};
use crate::proto::internal;
use crate::raft::CommitQuorum;
use crate::storage::codec::{contact_from_proto, contact_to_proto};
use crate::transport::address_book;

/// No message of a node is longer; one that is, is refused while it arrives.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// What this node says of itself.
pub fn standing_to_proto(standing: &Standing) -> internal::WhoAreYouReply {
    internal::WhoAreYouReply {
        node: Some(contact_to_proto(&standing.node)),
        cluster_id: cluster_to_proto(standing.cluster),
        applies: standing.applies,
        former_cluster_id: cluster_to_proto(standing.former),
        bootstrap_size: standing.size.unwrap_or(0).into(),
        promised: standing.promise.as_ref().map(proposal_to_proto),
    }
}

/// What another node says of itself.
///
/// # Errors
/// What is wrong with it.
pub fn standing_from_proto(reply: internal::WhoAreYouReply) -> Result<Standing, &'static str> {
    let size = u16::try_from(reply.bootstrap_size).map_err(|_| "its bootstrap.size is none")?;
    Ok(Standing {
        node: contact(reply.node.ok_or("it does not say who it is")?)?,
        cluster: cluster_from_proto(&reply.cluster_id)?,
        applies: reply.applies,
        former: cluster_from_proto(&reply.former_cluster_id)?,
        size: (size > 0).then_some(size),
        promise: reply.promised.map(proposal_from_proto).transpose()?,
    })
}

/// A proposal as nodes tell it to each other.
pub fn proposal_to_proto(proposal: &Proposal) -> internal::Proposal {
    let commit_quorum = match proposal.commit_quorum {
        CommitQuorum::Majority => internal::CommitQuorum::Majority,
        CommitQuorum::HalfPlusOne => internal::CommitQuorum::HalfPlusOne,
    };
    internal::Proposal {
        cluster_id: cluster_to_proto(Some(proposal.cluster)),
        proposer: proposal.proposer.0,
        attempt: proposal.attempt,
        founders: proposal.founders.iter().map(contact_to_proto).collect(),
        commit_quorum: commit_quorum.into(),
    }
}

/// The reverse of `proposal_to_proto`.
///
/// # Errors
/// What is wrong with it.
pub fn proposal_from_proto(message: internal::Proposal) -> Result<Proposal, &'static str> {
    let commit_quorum = match message.commit_quorum() {
        internal::CommitQuorum::Majority => CommitQuorum::Majority,
        internal::CommitQuorum::HalfPlusOne => CommitQuorum::HalfPlusOne,
        internal::CommitQuorum::Unspecified => return Err("it names no known commit quorum"),
    };
    let founders = message.founders.into_iter().map(contact).collect::<Result<Vec<_>, _>>()?;
    if !founders.is_sorted_by(|left, right| left.node < right.node) {
        return Err("its founders are not in the order of their node ids");
    }
    Ok(Proposal {
        cluster: cluster_from_proto(&message.cluster_id)?.ok_or("it has no cluster id")?,
        proposer: NodeId(message.proposer),
        attempt: message.attempt,
        founders,
        commit_quorum,
    })
}

fn contact(message: internal::Introduction) -> Result<Contact, &'static str> {
    let contact = contact_from_proto(message).map_err(|_| "it names node 0")?;
    address_book::validate(&contact).map_err(|_| "it names a node with a malformed name, address or version")?;
    Ok(contact)
}

fn cluster_to_proto(cluster: Option<ClusterId>) -> bytes::Bytes {
    cluster.map_or_else(bytes::Bytes::new, |cluster| cluster.0.to_be_bytes().to_vec().into())
}

fn cluster_from_proto(bytes: &[u8]) -> Result<Option<ClusterId>, &'static str> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let id = bytes.try_into().map(u128::from_be_bytes).map_err(|_| "a cluster id does not have 16 bytes")?;
    if id == 0 { Err("a cluster id is 0") } else { Ok(Some(ClusterId(id))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing() -> Standing {
        let contact = |node: u64| Contact {
            node: NodeId(node),
            name: format!("q-{node}"),
            client_address: "a:1".into(),
            peer_address: "a:2".into(),
            version: 1,
        };
        let promise = Proposal {
            cluster: ClusterId(7),
            proposer: NodeId(1),
            attempt: 2,
            founders: vec![contact(1), contact(2)],
            commit_quorum: CommitQuorum::HalfPlusOne,
        };
        Standing {
            node: contact(1),
            cluster: None,
            applies: true,
            former: Some(ClusterId(u128::MAX)),
            size: Some(2),
            promise: Some(promise),
        }
    }

    #[test]
    fn what_is_told_is_understood() {
        let mut standing = standing();
        assert_eq!(standing_from_proto(standing_to_proto(&standing)), Ok(standing.clone()));
        standing = Standing { cluster: Some(ClusterId(1)), applies: false, size: None, promise: None, ..standing };
        assert_eq!(standing_from_proto(standing_to_proto(&standing)), Ok(standing));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |change: fn(&mut internal::WhoAreYouReply)| {
            let mut reply = standing_to_proto(&standing());
            change(&mut reply);
            standing_from_proto(reply).unwrap_err()
        };
        assert_eq!(refused(|reply| reply.node = None), "it does not say who it is");
        assert_eq!(refused(|reply| reply.cluster_id = vec![1].into()), "a cluster id does not have 16 bytes");
        assert_eq!(refused(|reply| reply.cluster_id = vec![0; 16].into()), "a cluster id is 0");
        assert_eq!(refused(|reply| reply.bootstrap_size = 1 << 20), "its bootstrap.size is none");
        let malformed = "it names a node with a malformed name, address or version";
        assert_eq!(refused(|reply| reply.node.as_mut().unwrap().name = "a b".into()), malformed);
        fn promised(reply: &mut internal::WhoAreYouReply) -> &mut internal::Proposal {
            reply.promised.as_mut().unwrap()
        }
        assert_eq!(refused(|reply| promised(reply).commit_quorum = 0), "it names no known commit quorum");
        assert_eq!(refused(|reply| promised(reply).cluster_id.clear()), "it has no cluster id");
        let unordered = "its founders are not in the order of their node ids";
        assert_eq!(refused(|reply| promised(reply).founders.reverse()), unordered);
    }
}
