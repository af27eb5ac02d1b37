//! What the nodes tell of themselves when they are asked.

use std::time::Duration;

use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use super::home::Plan;
use crate::proto::v1::cluster_client::ClusterClient;
use crate::proto::v1::{Membership, NodeStatus, Role, StatusRequest, StatusResponse};

/// Longer than the node that is asked waits for the others.
const PATIENCE: Duration = Duration::from_secs(2);

/// Every node, as one of them sees it.
pub(in crate::cli) struct View {
    status: StatusResponse,
}

impl View {
    /// What a node answers; none when it does not.
    pub(in crate::cli) async fn of(node: &Plan) -> Option<Self> {
        Self::through(connection(node)?, PATIENCE).await
    }

    /// What the node at the other end of a connection answers; none when it does not within `patience`.
    pub(in crate::cli) async fn through(connection: Channel, patience: Duration) -> Option<Self> {
        let ask = async { ClusterClient::new(connection).status(StatusRequest {}).await.ok() };
        Some(Self { status: timeout(patience, ask).await.ok()??.into_inner() })
    }

    /// The node that leads, and says so itself; of two that do, the one of the later term.
    pub(in crate::cli) fn leader(&self) -> Option<&NodeStatus> {
        self.status.nodes.iter().filter(|node| node.role() == Role::Leader).max_by_key(|node| node.term)
    }

    /// All of them.
    pub(in crate::cli) fn nodes(&self) -> &[NodeStatus] {
        &self.status.nodes
    }

    /// The node with this name.
    pub(in crate::cli) fn node(&self, name: &str) -> Option<&NodeStatus> {
        self.status.nodes.iter().find(|node| name_of(node) == name)
    }

    /// The names of the members that vote, in order.
    pub(in crate::cli) fn voters(&self) -> Vec<&str> {
        let votes = |node: &&NodeStatus| node.member.as_ref().is_some_and(|m| m.membership() == Membership::Voter);
        let mut names: Vec<&str> = self.status.nodes.iter().filter(votes).map(name_of).collect();
        names.sort_unstable();
        names
    }

    /// True when the node with this name follows the leader in its term, or is it.
    pub(in crate::cli) fn follows_leader(&self, name: &str) -> bool {
        let Some(leader) = self.leader() else { return false };
        let id = leader.member.as_ref().map(|member| member.node_id.as_str());
        self.node(name).is_some_and(|node| node.term == leader.term && Some(node.leader_id.as_str()) == id)
    }
}

/// A connection to a node, which is made when it is used, and again when it was lost.
pub(in crate::cli) fn connection(node: &Plan) -> Option<Channel> {
    Some(Endpoint::from_shared(format!("http://{}", node.address())).ok()?.connect_lazy())
}

/// What people call a node.
pub(in crate::cli) fn name_of(node: &NodeStatus) -> &str {
    node.member.as_ref().map(|member| member.name.as_str()).unwrap_or_default()
}

#[cfg(test)]
impl From<StatusResponse> for View {
    fn from(status: StatusResponse) -> Self {
        Self { status }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::Member;

    fn node(name: &str, role: Role, membership: Membership) -> NodeStatus {
        let node_id = format!("id of {name}");
        NodeStatus {
            member: Some(Member { name: name.into(), node_id, membership: membership.into(), ..Member::default() }),
            role: role.into(),
            term: 4,
            leader_id: "id of b".into(),
            ..NodeStatus::default()
        }
    }

    fn view(nodes: Vec<NodeStatus>) -> View {
        StatusResponse { nodes, ..StatusResponse::default() }.into()
    }

    #[test]
    fn the_leader_and_the_voters_are_read_from_a_status() {
        let mut nodes = vec![
            node("b", Role::Leader, Membership::Voter),
            node("a", Role::Follower, Membership::Voter),
            node("c", Role::Learner, Membership::Learner),
        ];
        let seen = view(nodes.clone());
        assert_eq!(seen.leader().map(name_of), Some("b"));
        assert_eq!(seen.voters(), ["a", "b"]);
        nodes.remove(0);
        assert!(view(nodes).leader().is_none());
    }

    #[test]
    fn a_node_follows_the_leader_in_its_term_or_not_at_all() {
        let voter = |name, role| node(name, role, Membership::Voter);
        let mut nodes = vec![voter("a", Role::Follower), voter("b", Role::Leader), voter("d", Role::Follower)];
        nodes[2].leader_id = "id of c".into();
        let follow =
            |nodes: &Vec<NodeStatus>| ["a", "b", "c", "d"].map(|name| view(nodes.clone()).follows_leader(name));
        assert_eq!(follow(&nodes), [true, true, false, false], "c is not there, and d follows another");
        nodes[0].term = 3;
        assert_eq!(follow(&nodes), [false, true, false, false], "a has not heard of the term");
    }
}
