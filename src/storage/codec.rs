//! Payloads of log entries as bytes. STAND-IN: the version of the storage branch replaces this file.

use bytes::Bytes;
use prost::Message as _;

use crate::ids::{Contact, NodeId};
use crate::proto::internal;
use crate::raft::{CommitQuorum, Configuration, Learner, Payload};

const NOOP: u8 = 1;
const COMMAND: u8 = 2;
const CONFIGURATION: u8 = 3;

/// Why bytes are not a payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed payload: {0}")]
pub struct Error(pub String);

/// The kind and the bytes of a payload.
pub fn encode_payload(payload: &Payload) -> (u8, Bytes) {
    match payload {
        Payload::Noop => (NOOP, Bytes::new()),
        Payload::Command(bytes) => (COMMAND, bytes.clone()),
        Payload::Configuration { configuration, introduction } => {
            let encoded = internal::Configuration {
                voters: configuration.voters.iter().map(|node| node.0).collect(),
                voters_outgoing: configuration.voters_outgoing.iter().map(|node| node.0).collect(),
                learners: configuration
                    .learners
                    .iter()
                    .map(|(node, learner)| internal::Learner {
                        node_id: node.0,
                        stay: learner.stay,
                        replaces: learner.replaces.map_or(0, |node| node.0),
                    })
                    .collect(),
                commit_quorum: match configuration.commit_quorum {
                    CommitQuorum::Majority => internal::CommitQuorum::Majority,
                    CommitQuorum::HalfPlusOne => internal::CommitQuorum::HalfPlusOne,
                } as i32,
                introduction: introduction.as_ref().map(encode_contact),
            };
            (CONFIGURATION, encoded.encode_to_vec().into())
        }
    }
}

/// The payload of a kind and bytes.
pub fn decode_payload(kind: u8, bytes: Bytes) -> Result<Payload, Error> {
    match kind {
        NOOP if bytes.is_empty() => Ok(Payload::Noop),
        COMMAND => Ok(Payload::Command(bytes)),
        CONFIGURATION => {
            let decoded = internal::Configuration::decode(bytes).map_err(|error| Error(error.to_string()))?;
            let commit_quorum = match decoded.commit_quorum() {
                internal::CommitQuorum::Majority => CommitQuorum::Majority,
                internal::CommitQuorum::HalfPlusOne => CommitQuorum::HalfPlusOne,
                internal::CommitQuorum::Unspecified => return Err(Error("no commit quorum".into())),
            };
            Ok(Payload::Configuration {
                configuration: Configuration {
                    voters: decoded.voters.into_iter().map(NodeId).collect(),
                    voters_outgoing: decoded.voters_outgoing.into_iter().map(NodeId).collect(),
                    learners: decoded
                        .learners
                        .into_iter()
                        .map(|learner| {
                            let replaces = (learner.replaces != 0).then_some(NodeId(learner.replaces));
                            (NodeId(learner.node_id), Learner { stay: learner.stay, replaces })
                        })
                        .collect(),
                    commit_quorum,
                },
                introduction: decoded.introduction.map(decode_contact).transpose()?,
            })
        }
        _ => Err(Error(format!("kind {kind} with {} bytes", bytes.len()))),
    }
}

/// A contact as peers and the log carry it.
pub fn encode_contact(contact: &Contact) -> internal::Introduction {
    internal::Introduction {
        node_id: contact.node.0,
        name: contact.name.clone(),
        client_address: contact.client_address.clone(),
        peer_address: contact.peer_address.clone(),
        version: contact.version,
    }
}

/// The contact that peers or the log carry.
pub fn decode_contact(introduction: internal::Introduction) -> Result<Contact, Error> {
    if introduction.node_id == 0 {
        return Err(Error("a contact of node 0".into()));
    }
    Ok(Contact {
        node: NodeId(introduction.node_id),
        name: introduction.name,
        client_address: introduction.client_address,
        peer_address: introduction.peer_address,
        version: introduction.version,
    })
}
