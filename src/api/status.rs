//! The condition of nodes, in the words of the interface.

use super::Context;
use crate::cluster::members;
use crate::ids::{NodeId, SHARD_0};
use crate::proto::v1;
use crate::raft::RoleName;
use crate::replica::Status;
use crate::storage::Usage;

/// The condition of this node. Also what peers are told when they ask.
pub fn own(context: &Context) -> v1::NodeStatus {
    let node = context.handle.node();
    let member = Some(members::describe(node, &context.configuration(), &context.book));
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let Some(status) = context.handle.status(SHARD_0) else {
        let trouble = context.waits_for.borrow().clone();
        let role = v1::Role::Outsider.into();
        return v1::NodeStatus { member, reachable: true, role, trouble, version, ..Default::default() };
    };
    v1::NodeStatus {
        member,
        reachable: true,
        role: role(node, &status).into(),
        term: status.term.0,
        commit: status.commit.0,
        applied: status.applied.0,
        last_index: status.last.index.0,
        leader_id: status.leader.map(|leader| leader.to_string()).unwrap_or_default(),
        trouble: trouble(context, &status),
        version,
        storage: context.transfers.usage().map(|usage| storage(&status, usage)),
        transfers: transfers(context),
        ..Default::default()
    }
}

fn storage(status: &Status, usage: Usage) -> v1::StorageStatus {
    let (oldest_file, oldest_kept_for) =
        usage.oldest.map(|oldest| (oldest.file, oldest.why.to_string())).unwrap_or_default();
    v1::StorageStatus {
        first_index: status.log_start.index.next().0,
        snapshot_index: status.snapshot.index.0,
        snapshot_bytes: usage.snapshot_bytes,
        log_bytes: usage.log_bytes,
        archive_bytes: usage.archive_bytes,
        living_bytes: usage.living_bytes,
        spare_bytes: usage.spare_bytes,
        written_bytes: usage.written.total(),
        oldest_file,
        oldest_kept_for,
        ..Default::default()
    }
}

fn transfers(context: &Context) -> Vec<v1::SnapshotTransfer> {
    let sent = context.transfers.sending().into_iter().map(|sending| v1::SnapshotTransfer {
        peer_id: sending.to.to_string(),
        sends: true,
        index: sending.last.index.0,
        file_bytes: sending.file_bytes,
        bodies: sending.bodies,
        held_bytes: sending.held_bytes,
        ..Default::default()
    });
    let received = context.transfers.receiving().into_iter().map(|progress| v1::SnapshotTransfer {
        peer_id: progress.from.to_string(),
        index: progress.last.index.0,
        file_bytes: progress.file_bytes,
        file_bytes_total: progress.file_size.unwrap_or(0),
        bodies: progress.bodies,
        bodies_total: progress.bodies_total.unwrap_or(0),
        ..Default::default()
    });
    sent.chain(received).collect()
}

/// The condition of another node; when it does not answer in time, only who it is.
pub async fn of_peer(context: &Context, node: NodeId) -> v1::NodeStatus {
    let member = Some(members::describe(node, &context.configuration(), &context.book));
    match context.ask_peer(node).await {
        // Who the members are is told by the node that is asked, so that all lines agree.
        Some(status) => v1::NodeStatus { member, reachable: true, ..status },
        None => v1::NodeStatus { member, reachable: false, ..Default::default() },
    }
}

fn role(node: NodeId, status: &Status) -> v1::Role {
    let configuration = &status.membership.configuration;
    if status.removed.is_some() || !configuration.is_member(node) {
        return v1::Role::Outsider;
    }
    if configuration.learners.contains_key(&node) {
        return v1::Role::Learner;
    }
    match status.role {
        RoleName::Follower => v1::Role::Follower,
        RoleName::PreCandidate => v1::Role::PreCandidate,
        RoleName::Candidate => v1::Role::Candidate,
        RoleName::Leader => v1::Role::Leader,
    }
}

fn trouble(context: &Context, status: &Status) -> String {
    if let Some(why) = &status.quarantined {
        return format!("stands still, because what it saw cannot be safe: {why}");
    }
    if let Some(index) = status.removed {
        return format!(
            "was removed from the cluster at index {index}; started again with somebody to ask, it joins anew"
        );
    }
    match context.transfers.receiving().first() {
        Some(progress) => format!("fetches the snapshot up to entry {} before it can take part", progress.last.index),
        None => String::new(),
    }
}
