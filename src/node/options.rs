//! From the settings to what the rooms below are told.

use std::time::Duration;

use super::handle;
use crate::config::{self, NodeConfig};
use crate::raft::{self, Bounds, TimeoutPolicy, Timeouts, Window};
use crate::{replica, state_machine, storage};

/// A write that takes longer than this is a hung disk.
const DISK_STALL_MAX: Duration = Duration::from_secs(5);

pub(super) fn replica_options(config: &NodeConfig) -> replica::Options {
    let raft = &config.raft;
    replica::Options {
        raft: raft::Options {
            timeouts: timeouts(raft),
            disk_stall_max: DISK_STALL_MAX,
            append_bytes_max: raft.append_bytes_max,
            window: Window { appends_max: raft.in_flight_appends_max, bytes_max: raft.in_flight_bytes_max },
            cache_bytes_max: config.storage.cache_bytes,
        },
        limits: state_machine::Limits::default(),
        snapshots: replica::SnapshotRules {
            bytes: config.storage.snapshot_bytes,
            entries: config.storage.snapshot_entries,
            log_entries: config.storage.log_entries,
            held_bytes_max: config.storage.transfer_held_bytes,
        },
        requests_max: config.limits.requests_in_flight_max,
    }
}

fn timeouts(raft: &config::Raft) -> TimeoutPolicy {
    match (raft.election_timeout_min, raft.election_timeout_max, raft.heartbeat_interval) {
        (Some(election_min), Some(election_max), Some(heartbeat)) => {
            TimeoutPolicy::Fixed(Timeouts { election_min, election_max, heartbeat })
        }
        _ => TimeoutPolicy::Adaptive(Bounds::between(raft.election_timeout_floor, raft.election_timeout_ceiling)),
    }
}

pub(super) fn transfer_limits(config: &NodeConfig) -> storage::outgoing::Limits {
    let storage = &config.storage;
    storage::outgoing::Limits {
        pin_bytes_max: storage.transfer_held_bytes,
        pin_time_max: storage.transfer_held_time,
        stall_timeout: storage.transfer_stall,
        ..Default::default()
    }
}

pub(super) fn handle_limits(config: &NodeConfig) -> handle::Limits {
    let limits = &config.limits;
    let bytes_max = usize::try_from(limits.request_bytes_in_flight_max).unwrap_or(usize::MAX);
    handle::Limits { inputs_max: limits.requests_in_flight_max, bytes_max }
}
