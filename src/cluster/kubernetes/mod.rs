//! A node that is a pod of a StatefulSet: its number of replicas says who is to go, and nothing else of Kubernetes counts.
//!
//! ```text
//!   told to stop      leave         asks for spec.replicas; a pod that is left out has all of them removed that are, in one change
//!   leads             reaper        follows spec.replicas; removes members that are left out and gone, while the quorum is safe
//!   starts a cluster  veto          asks for spec.replicas, and waits while that is more than twice the founders
//!   leads, or not     leader_label  labels its own pod, as a hint for people and Services
//!
//!   desired           what a StatefulSet asks for, and what follows from that: pure
//!   api               asks the API server: every answer is the StatefulSet's, or a Trouble that says in words what is wrong
//! ```
//!
//! Invariants
//! - Stop is not leave: whoever does not know for certain that a pod is to go lets it stay a member. No answer, no right to ask,
//!   a deleted StatefulSet and `replicas: 0` are no reason to remove anybody.
//! - A member is removed only because `spec.replicas` leaves its ordinal out, as asked for right before; never because pods are
//!   missing. Members with other names are left alone.
//! - Raft decides whether a removal is safe.
//! - A node without `kubernetes.stateful_set` loads nothing of this and asks nobody.
//!
//! Not here: manifests (`k8s/`), and how pods find each other (`cluster.discovery`).

mod api;
mod desired;
mod leader_label;
mod leave;
mod reaper;
mod veto;

#[cfg(test)]
#[path = "../../../tests/support/api_server.rs"]
mod api_server;
#[cfg(test)]
mod api_tests;

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::{self, NodeConfig};
use crate::ids::{NodeId, SHARD_0};
use crate::node::{Handle, Peers};
use crate::raft::Configuration;
use crate::transport::AddressBook;
use api::Api;
use desired::{Desired, StatefulSetName};

/// What this room needs of the node.
#[derive(Clone)]
pub struct Tools {
    /// Its loop.
    pub handle: Handle,
    /// A way to ask the peers whether they live.
    pub peers: Peers,
    /// Everybody's names and addresses.
    pub book: AddressBook,
    /// Where it listens for clients.
    pub client_address: SocketAddr,
}

/// A node that is a pod of a StatefulSet.
#[derive(Clone)]
pub struct Pod {
    set: StatefulSetName,
    ordinal: u32,
    api: Api,
    tools: Tools,
    leader_label: bool,
    gone_after: Duration,
}

impl Pod {
    /// The pod that the node is; none: the settings do not say so, or its name is no pod's.
    pub fn of(config: &NodeConfig, tools: Tools) -> Option<Self> {
        let settings = &config.kubernetes;
        let set = StatefulSetName(settings.stateful_set.clone()?);
        let name = &config.node.name;
        let Some(ordinal) = set.ordinal_of(name) else {
            tracing::warn!(
                "follows nothing of Kubernetes: kubernetes.stateful_set is {set}, and node.name is {name:?}, which is none of \
                 its pods {set}-0, {set}-1, ..."
            );
            return None;
        };
        let api = Api::new(&set.0, settings.namespace.as_deref(), name);
        let (leader_label, gone_after) = (settings.leader_label, settings.gone_after);
        Some(Self { set, ordinal, api, tools, leader_label, gone_after })
    }

    /// Does what the node has to do while it takes part. Runs until it is dropped.
    pub async fn tend(self) {
        let label = async {
            if self.leader_label {
                leader_label::keep(&self.api, &self.tools.handle).await;
            }
        };
        tokio::join!(label, reaper::reap(&self));
    }

    /// Takes the node out of the cluster if its StatefulSet leaves it out, before it stops; within `patience`.
    pub async fn leave(&self, patience: Duration) {
        leave::leave(self, patience).await;
    }

    /// The members that a StatefulSet leaves out which asks for this, with their names, as this node knows them.
    fn left_out(&self, desired: &Desired) -> Vec<(NodeId, String)> {
        let configuration = self.tools.handle.look(SHARD_0, |status| status.membership.configuration.clone());
        let configuration = configuration.unwrap_or(Configuration::EMPTY);
        let named = configuration.members().map(|node| (node, self.tools.book.name_of(node)));
        named.filter(|(_, name)| self.set.ordinal_of(name).is_some_and(|ordinal| desired.leaves_out(ordinal))).collect()
    }
}

/// Why the pod with this name, if the settings say that it is one, does not start a cluster together with so many founders yet. None
/// also where nobody can tell.
pub async fn forbids_founding(settings: &config::Kubernetes, pod: &str, founders: usize) -> Option<String> {
    let set = StatefulSetName(settings.stateful_set.clone()?);
    set.ordinal_of(pod)?;
    veto::veto(&Api::new(&set.0, settings.namespace.as_deref(), pod), &set, founders).await
}

/// Something is told when it changes, and not each time that it is so.
#[derive(Default)]
struct Told(String);

impl Told {
    /// True when this is not what was told last.
    fn is_news(&mut self, text: &str) -> bool {
        let is_news = self.0 != text;
        if is_news {
            text.clone_into(&mut self.0);
        }
        is_news
    }
}
