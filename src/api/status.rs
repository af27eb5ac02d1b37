//! The condition of nodes, in the words of the interface.

use std::time::Duration;

use super::Context;
use crate::cluster::members;
use crate::health::Condition;
use crate::ids::{NodeId, SHARD_0};
use crate::node::Seen;
use crate::proto::v1;
use crate::raft::{ProgressView, RoleName, Spread, Timing};
use crate::replica::Status;
use crate::storage::Usage;
use crate::telemetry::{self, Latency, escaped};

/// The condition of this node. Also what peers are told when they ask.
pub fn own(context: &Context) -> v1::NodeStatus {
    let node = context.handle.node();
    let vitals = &context.vitals;
    let status = v1::NodeStatus {
        member: Some(members::describe(node, &context.configuration(), &context.book)),
        reachable: true,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime: duration(vitals.uptime()),
        memory_bytes: vitals.memory_bytes().unwrap_or(0),
        fsync: Some(latency(vitals.sync_latency())),
        commit_latency: Some(latency(vitals.commit_latency())),
        commits_per_second: vitals.commits_per_second(),
        elections: vitals.elections(),
        leader_changes: vitals.leader_changes(),
        conditions: context.verdicts.borrow().ready.iter().map(condition).collect(),
        admin_address: context.admin_address.clone(),
        clock_ms: telemetry::wall().0,
        ..Default::default()
    };
    match context.handle.status(SHARD_0) {
        Some(replica) => of_replica(context, &replica, status),
        None => {
            v1::NodeStatus { role: v1::Role::Outsider.into(), trouble: context.waits_for.borrow().clone(), ..status }
        }
    }
}

/// The same, with the condition of the replica.
fn of_replica(context: &Context, replica: &Status, status: v1::NodeStatus) -> v1::NodeStatus {
    let seen = context.handle.seen(SHARD_0);
    v1::NodeStatus {
        role: role(context.handle.node(), replica).into(),
        term: replica.term.0,
        voted_for_id: replica.vote.map(|vote| vote.to_string()).unwrap_or_default(),
        commit: replica.commit.0,
        applied: replica.applied.0,
        last_index: replica.last.index.0,
        durable: replica.durable.0,
        leader_id: replica.leader.map(|leader| leader.to_string()).unwrap_or_default(),
        trouble: trouble(context, replica),
        stands_still: replica.quarantined.is_some(),
        storage: context.transfers.usage().map(|usage| storage(replica, usage)),
        transfers: transfers(context),
        timeouts: seen.as_ref().map(|seen| timeouts(&seen.view.timing)),
        // What was seen while it led is none of its business any more.
        progress: seen
            .filter(|_| replica.role == RoleName::Leader)
            .map(|seen| progress(replica, &seen))
            .unwrap_or_default(),
        ..status
    }
}

fn progress(replica: &Status, seen: &Seen) -> Vec<v1::Progress> {
    let encode = |(node, view): (&NodeId, &ProgressView)| v1::Progress {
        node_id: node.to_string(),
        matched: view.matched.0,
        messages_in_flight: view.messages_in_flight as u64,
        bytes_in_flight: view.bytes_in_flight,
        last_contact: seen.last_contact(*node).and_then(duration),
        round_trip: view.round_trip.and_then(duration),
        heartbeats_sent: view.heartbeats_sent,
        heartbeats_heard: view.heartbeats_heard,
        well: replica.well.contains(node),
        caught_up: view.caught_up,
    };
    seen.view.progress.iter().map(encode).collect()
}

fn timeouts(timing: &Timing) -> v1::Timeouts {
    let Timing { timeouts, why, gaps, round_trips, lateness, samples, failed_attempts } = *timing;
    v1::Timeouts {
        election_min: duration(timeouts.election_min),
        election_max: duration(timeouts.election_max),
        heartbeat: duration(timeouts.heartbeat),
        reason: why.name().to_owned(),
        gaps: gaps.map(spread),
        round_trips: round_trips.map(spread),
        lateness: duration(lateness),
        samples: samples as u64,
        failed_elections: failed_attempts,
    }
}

fn spread(spread: Spread) -> v1::Spread {
    v1::Spread { median: duration(spread.median), high: duration(spread.high) }
}

fn latency(latency: Latency) -> v1::Latency {
    let Latency { count, p50, p99 } = latency;
    v1::Latency { count, p50: p50.and_then(duration), p99: p99.and_then(duration) }
}

fn condition(condition: &Condition) -> v1::Condition {
    let missing = condition.missing.as_deref().map(escaped).unwrap_or_default();
    v1::Condition { what: condition.what.to_owned(), missing }
}

/// None: it is longer than the interface can say, which is thousands of years.
fn duration(duration: Duration) -> Option<prost_types::Duration> {
    duration.try_into().ok()
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
        free_bytes: usage.space.map_or(0, |space| space.free_bytes),
        total_bytes: usage.space.map_or(0, |space| space.total_bytes),
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
