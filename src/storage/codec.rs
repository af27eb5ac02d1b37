//! How entries and contacts are written, on disk and between peers.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;

use super::Error;
use crate::ids::{Contact, NodeId};
use crate::proto::internal;
use crate::raft::{CommitQuorum, Configuration, Learner, Payload};

pub(super) const NOOP: u8 = 1;
pub(super) const COMMAND: u8 = 2;
pub(super) const CONFIGURATION: u8 = 3;
/// What is left of a command: its living items. Read as a body, never as an entry of the log.
pub(super) const BODIES: u8 = 4;

/// The kind and the bytes of what an entry carries. The bytes of a command are its own, not copied.
pub fn encode_payload(payload: &Payload) -> (u8, Bytes) {
    match payload {
        Payload::Noop => (NOOP, Bytes::new()),
        Payload::Command(command) => (COMMAND, command.clone()),
        Payload::Configuration { configuration, introduction } => {
            let message = configuration_to_proto(configuration, introduction.as_ref());
            (CONFIGURATION, message.encode_to_vec().into())
        }
    }
}

/// The reverse of `encode_payload`.
///
/// # Errors
/// [`Error::Malformed`]: the kind is unknown, or the bytes are not of that kind.
pub fn decode_payload(kind: u8, bytes: Bytes) -> Result<Payload, Error> {
    match kind {
        NOOP if bytes.is_empty() => Ok(Payload::Noop),
        NOOP => Err(Error::Malformed("a no-op carries nothing")),
        COMMAND => Ok(Payload::Command(bytes)),
        CONFIGURATION => {
            let message =
                internal::Configuration::decode(bytes).map_err(|_| Error::Malformed("not a configuration"))?;
            configuration_from_proto(message)
        }
        _ => Err(Error::Malformed("an entry of unknown kind")),
    }
}

/// A contact as peers tell it to each other.
pub fn contact_to_proto(contact: &Contact) -> internal::Introduction {
    internal::Introduction {
        node_id: contact.node.0,
        name: contact.name.clone(),
        client_address: contact.client_address.clone(),
        peer_address: contact.peer_address.clone(),
        version: contact.version,
    }
}

/// The reverse of `contact_to_proto`.
///
/// # Errors
/// [`Error::Malformed`]: the node's id is 0.
pub fn contact_from_proto(message: internal::Introduction) -> Result<Contact, Error> {
    Ok(Contact {
        node: node(message.node_id)?,
        name: message.name,
        client_address: message.client_address,
        peer_address: message.peer_address,
        version: message.version,
    })
}

fn configuration_to_proto(configuration: &Configuration, introduction: Option<&Contact>) -> internal::Configuration {
    let learner = |(node, learner): (&NodeId, &Learner)| internal::Learner {
        node_id: node.0,
        stay: learner.stay,
        replaces: learner.replaces.map_or(0, |node| node.0),
    };
    let commit_quorum = match configuration.commit_quorum {
        CommitQuorum::Majority => internal::CommitQuorum::Majority,
        CommitQuorum::HalfPlusOne => internal::CommitQuorum::HalfPlusOne,
    };
    internal::Configuration {
        voters: configuration.voters.iter().map(|node| node.0).collect(),
        voters_outgoing: configuration.voters_outgoing.iter().map(|node| node.0).collect(),
        learners: configuration.learners.iter().map(learner).collect(),
        commit_quorum: commit_quorum.into(),
        introduction: introduction.map(contact_to_proto),
    }
}

fn configuration_from_proto(message: internal::Configuration) -> Result<Payload, Error> {
    let commit_quorum = match message.commit_quorum() {
        internal::CommitQuorum::Majority => CommitQuorum::Majority,
        internal::CommitQuorum::HalfPlusOne => CommitQuorum::HalfPlusOne,
        internal::CommitQuorum::Unspecified => {
            return Err(Error::Malformed("a configuration names no known commit quorum"));
        }
    };
    let configuration = Configuration {
        voters: nodes(&message.voters)?,
        voters_outgoing: nodes(&message.voters_outgoing)?,
        learners: message.learners.iter().map(learner).collect::<Result<BTreeMap<_, _>, _>>()?,
        commit_quorum,
    };
    let introduction = message.introduction.map(contact_from_proto).transpose()?;
    Ok(Payload::Configuration { configuration, introduction })
}

fn learner(message: &internal::Learner) -> Result<(NodeId, Learner), Error> {
    let replaces = (message.replaces != 0).then_some(NodeId(message.replaces));
    Ok((node(message.node_id)?, Learner { stay: message.stay, replaces }))
}

fn nodes(ids: &[u64]) -> Result<BTreeSet<NodeId>, Error> {
    ids.iter().copied().map(node).collect()
}

fn node(id: u64) -> Result<NodeId, Error> {
    if id == 0 { Err(Error::Malformed("a node id is 0")) } else { Ok(NodeId(id)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_survive_the_way_there_and_back() {
        let contact = Contact {
            node: NodeId(4),
            name: "quorate-3".into(),
            client_address: "a:7400".into(),
            peer_address: "a:7401".into(),
            version: 9,
        };
        let configuration = Configuration {
            voters: BTreeSet::from([NodeId(1), NodeId(2)]),
            voters_outgoing: BTreeSet::from([NodeId(1), NodeId(3)]),
            learners: BTreeMap::from([
                (NodeId(4), Learner { stay: false, replaces: Some(NodeId(3)) }),
                (NodeId(5), Learner { stay: true, replaces: None }),
            ]),
            commit_quorum: CommitQuorum::HalfPlusOne,
        };
        for payload in [
            Payload::Noop,
            Payload::Command(Bytes::from_static(b"do")),
            Payload::Command(Bytes::new()),
            Payload::Configuration { configuration: configuration.clone(), introduction: Some(contact) },
            Payload::Configuration { configuration, introduction: None },
            Payload::Configuration { configuration: Configuration::EMPTY, introduction: None },
        ] {
            let (kind, bytes) = encode_payload(&payload);
            assert_eq!(decode_payload(kind, bytes).unwrap(), payload);
        }
    }

    #[test]
    fn what_no_node_wrote_is_refused() {
        let no_quorum = internal::Configuration::default().encode_to_vec();
        let node_zero =
            internal::Configuration { voters: vec![0], commit_quorum: 1, ..Default::default() }.encode_to_vec();
        for (kind, bytes) in [(0, vec![]), (9, vec![]), (BODIES, vec![]), (NOOP, vec![1]), (CONFIGURATION, vec![0xff])]
        {
            assert!(decode_payload(kind, bytes.into()).is_err(), "kind {kind}");
        }
        assert!(decode_payload(CONFIGURATION, no_quorum.into()).is_err());
        assert!(decode_payload(CONFIGURATION, node_zero.into()).is_err());
    }
}
