//! What is printed with `--output json`. Field names are those of the protocol; numbers are numbers, also those of 64 bits.
//!
//! ```text
//!   decided   cluster_id, node_id, shard, term, index    who answered, and at which log index it was decided
//!   id        shard, index, item                         names a message for ever
//!   body      text: STRING  or  data: BASE64             as it was enqueued
//!   headers   {KEY: STRING, ...}                         as they were enqueued
//!   times     RFC 3339 in UTC                            by the clock of the log
//! ```

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use crate::client::Body;
use crate::proto::v1;
use crate::proto::v1::log_entry::Content;
use crate::proto::v1::operation::Operation as Verb;
use crate::proto::v1::settlement::How;

pub(super) fn decided(header: Option<&v1::ResponseHeader>) -> Value {
    let Some(header) = header else { return Value::Null };
    json!({
        "cluster_id": header.cluster_id,
        "node_id": header.node_id,
        "shard": header.shard,
        "term": header.term,
        "index": header.index,
    })
}

pub(super) fn id(id: &v1::MessageId) -> Value {
    json!({ "shard": id.shard, "index": id.index, "item": id.item })
}

/// `id`, body, `headers`, `enqueued_at`, `deliveries`; of one that is leased or delayed `due_at`, with a lease of one's
/// own `lease_token`; of a dead one `dead_at`, `dead_reason`.
pub(super) fn message(message: &v1::StoredMessage) -> Value {
    let mut fields = json!({
        "id": message.id.as_ref().map(id),
        "enqueued_at": message.enqueued_at.and_then(time),
        "deliveries": message.deliveries,
    });
    if let Some(due_at) = message.due_at {
        fields["due_at"] = json!(time(due_at));
    }
    if !message.lease_token.is_empty() {
        fields["lease_token"] = json!(message.lease_token);
    }
    if let Some(dead_at) = message.dead_at {
        (fields["dead_at"], fields["dead_reason"]) = (json!(time(dead_at)), json!(message.dead_reason));
    }
    with_message(fields, message.message.as_ref())
}

/// `name`, what is in it (`ready`, `leased`, `delayed`, `dead`, `bytes`), `oldest`, what has happened in it
/// (`enqueued`, `dequeued`, `acknowledged`, `redelivered`, `dead_lettered`), `settings`.
pub(super) fn queue(queue: &v1::QueueInfo) -> Value {
    let mut fields = amounts(queue.contents, queue.counts);
    fields["name"] = json!(queue.name);
    fields["oldest"] = json!(queue.oldest.and_then(time));
    fields["settings"] = json!(queue.settings.as_ref().map(settings));
    fields
}

/// What is in a queue, or in all of them, and what has happened there.
pub(super) fn amounts(contents: Option<v1::Contents>, counts: Option<v1::Counts>) -> Value {
    let v1::Contents { ready, leased, delayed, dead, bytes } = contents.unwrap_or_default();
    let v1::Counts { enqueued, dequeued, acknowledged, redelivered, dead_lettered } = counts.unwrap_or_default();
    json!({
        "ready": ready,
        "leased": leased,
        "delayed": delayed,
        "dead": dead,
        "bytes": bytes,
        "enqueued": enqueued,
        "dequeued": dequeued,
        "acknowledged": acknowledged,
        "redelivered": redelivered,
        "dead_lettered": dead_lettered,
    })
}

/// `lease_duration`, `deliveries_max`, `messages_max`.
pub(super) fn settings(settings: &v1::QueueSettings) -> Value {
    json!({
        "lease_duration": duration(settings.lease_duration),
        "deliveries_max": settings.deliveries_max,
        "messages_max": settings.messages_max,
    })
}

/// As people write it.
pub(super) fn duration(duration: Option<prost_types::Duration>) -> Option<String> {
    let duration: std::time::Duration = duration?.try_into().ok()?;
    Some(humantime::format_duration(duration).to_string())
}

/// `node_id`, `name`, `client_address`, `peer_address`, `address_version`, `membership`.
pub(super) fn member(member: &v1::Member) -> Value {
    json!({
        "node_id": member.node_id,
        "name": member.name,
        "client_address": member.client_address,
        "peer_address": member.peer_address,
        "address_version": member.address_version,
        "membership": membership(member),
    })
}

/// `member`, `reachable`, `role`, `term`, `commit`, `applied`, `last_index`, `leader_id`, `trouble`, `version`, `storage`,
/// `transfers`, and the vital signs of the node. What an unreachable node could not tell is null.
pub(super) fn node(node: &v1::NodeStatus) -> Value {
    let known = |value: Value| if node.reachable { value } else { Value::Null };
    json!({
        "member": node.member.as_ref().map(member),
        "reachable": node.reachable,
        "role": known(json!(role(node))),
        "term": known(json!(node.term)),
        "commit": known(json!(node.commit)),
        "applied": known(json!(node.applied)),
        "last_index": known(json!(node.last_index)),
        "leader_id": known(json!(node.leader_id)),
        "trouble": node.trouble,
        "version": known(json!(node.version)),
        "storage": node.storage.as_ref().map(storage),
        "transfers": known(node.transfers.iter().map(transfer).collect()),
        "voted_for_id": known(json!(node.voted_for_id)),
        "durable": known(json!(node.durable)),
        "uptime_s": node.uptime.and_then(seconds),
        "memory_bytes": known(json!(node.memory_bytes)),
        "admin_address": known(json!(node.admin_address)),
        "progress": known(node.progress.iter().map(progress).collect()),
        "fsync": node.fsync.as_ref().map(latency),
        "commit_latency": node.commit_latency.as_ref().map(latency),
        "commits_per_second": known(json!(node.commits_per_second)),
        "timeouts": node.timeouts.as_ref().map(timeouts),
        "elections": known(json!(node.elections)),
        "leader_changes": known(json!(node.leader_changes)),
        "conditions": known(node.conditions.iter().map(condition).collect()),
    })
}

fn progress(progress: &v1::Progress) -> Value {
    json!({
        "node_id": progress.node_id,
        "matched": progress.matched,
        "messages_in_flight": progress.messages_in_flight,
        "bytes_in_flight": progress.bytes_in_flight,
        "last_contact_ms": progress.last_contact.and_then(millis),
        "round_trip_ms": progress.round_trip.and_then(millis),
        "heartbeats_sent": progress.heartbeats_sent,
        "heartbeats_heard": progress.heartbeats_heard,
        "well": progress.well,
        "caught_up": progress.caught_up,
    })
}

fn latency(latency: &v1::Latency) -> Value {
    json!({ "count": latency.count, "p50_ms": latency.p50.and_then(millis), "p99_ms": latency.p99.and_then(millis) })
}

fn timeouts(timeouts: &v1::Timeouts) -> Value {
    json!({
        "election_min_ms": timeouts.election_min.and_then(millis),
        "election_max_ms": timeouts.election_max.and_then(millis),
        "heartbeat_ms": timeouts.heartbeat.and_then(millis),
        "reason": timeouts.reason,
        "gap_median_ms": timeouts.gaps.and_then(|gaps| millis(gaps.median?)),
        "gap_high_ms": timeouts.gaps.and_then(|gaps| millis(gaps.high?)),
        "round_trip_median_ms": timeouts.round_trips.and_then(|times| millis(times.median?)),
        "round_trip_high_ms": timeouts.round_trips.and_then(|times| millis(times.high?)),
        "lateness_ms": timeouts.lateness.and_then(millis),
        "samples": timeouts.samples,
        "failed_elections": timeouts.failed_elections,
    })
}

/// `missing` is null when it holds.
fn condition(condition: &v1::Condition) -> Value {
    let missing = Some(&condition.missing).filter(|missing| !missing.is_empty());
    json!({ "what": condition.what, "missing": missing })
}

/// With three digits after the point.
fn millis(duration: prost_types::Duration) -> Option<f64> {
    seconds(duration).map(|seconds| (seconds * 1e6).round() / 1e3)
}

fn seconds(duration: prost_types::Duration) -> Option<f64> {
    std::time::Duration::try_from(duration).ok().map(|duration| duration.as_secs_f64())
}

fn storage(storage: &v1::StorageStatus) -> Value {
    json!({
        "first_index": storage.first_index,
        "snapshot_index": storage.snapshot_index,
        "snapshot_bytes": storage.snapshot_bytes,
        "log_bytes": storage.log_bytes,
        "archive_bytes": storage.archive_bytes,
        "living_bytes": storage.living_bytes,
        "spare_bytes": storage.spare_bytes,
        "written_bytes": storage.written_bytes,
        "oldest_file": storage.oldest_file,
        "oldest_kept_for": storage.oldest_kept_for,
        "free_bytes": storage.free_bytes,
        "total_bytes": storage.total_bytes,
    })
}

fn transfer(transfer: &v1::SnapshotTransfer) -> Value {
    json!({
        "peer_id": transfer.peer_id,
        "sends": transfer.sends,
        "index": transfer.index,
        "file_bytes": transfer.file_bytes,
        "file_bytes_total": transfer.file_bytes_total,
        "bodies": transfer.bodies,
        "bodies_total": transfer.bodies_total,
        "held_bytes": transfer.held_bytes,
    })
}

/// `index`, `term`, `committed`, `kind`; for a command `session`, `sequence`, `time`, `operations`; for a configuration
/// `voters`, `voters_outgoing`, `learners`.
pub(super) fn entry(entry: &v1::LogEntry) -> Value {
    let mut fields = json!({
        "index": entry.index,
        "term": entry.term,
        "committed": entry.committed,
        "kind": kind(entry),
    });
    match &entry.content {
        Some(Content::Command(command)) => {
            fields["session"] = json!(command.session);
            fields["sequence"] = json!(command.sequence);
            fields["time"] = json!(command.timestamp.and_then(time));
            fields["operations"] = command.operations.iter().map(operation).collect();
        }
        Some(Content::Configuration(configuration)) => {
            fields["voters"] = json!(configuration.voters);
            fields["voters_outgoing"] = json!(configuration.voters_outgoing);
            fields["learners"] = json!(configuration.learners);
        }
        Some(Content::Noop(_)) | None => {}
    }
    fields
}

/// The kind of an entry: `noop`, `command`, `expiry`, `configuration`, or `unknown` if a newer node has another.
pub(super) fn kind(entry: &v1::LogEntry) -> &'static str {
    match &entry.content {
        Some(Content::Noop(_)) => "noop",
        Some(Content::Command(command)) if command.expiry => "expiry",
        Some(Content::Command(_)) => "command",
        Some(Content::Configuration(_)) => "configuration",
        None => "unknown",
    }
}

/// The name of an operation's verb.
pub(super) fn verb(operation: &v1::Operation) -> &'static str {
    match operation.operation {
        Some(Verb::OpenSession(_)) => "open_session",
        Some(Verb::Enqueue(_)) => "enqueue",
        Some(Verb::Dequeue(_)) => "dequeue",
        Some(Verb::Peek(_)) => "peek",
        Some(Verb::ListQueues(_)) => "list_queues",
        Some(Verb::CloseSession(_)) => "close_session",
        Some(Verb::Stats(_)) => "stats",
        Some(Verb::Lease(_)) => "lease",
        Some(Verb::Settle(_)) => "settle",
        Some(Verb::ExtendLease(_)) => "extend_lease",
        Some(Verb::Redrive(_)) => "redrive",
        Some(Verb::SetQueue(_)) => "set_queue",
        None => "unknown",
    }
}

/// The role of a node, in the words of Raft.
pub(super) fn role(node: &v1::NodeStatus) -> &'static str {
    match node.role() {
        v1::Role::Unspecified => "unknown",
        v1::Role::Follower => "follower",
        v1::Role::PreCandidate => "pre-candidate",
        v1::Role::Candidate => "candidate",
        v1::Role::Leader => "leader",
        v1::Role::Learner => "learner",
        v1::Role::Outsider => "outsider",
    }
}

/// What a member may do.
pub(super) fn membership(member: &v1::Member) -> &'static str {
    match member.membership() {
        v1::Membership::Unspecified => "unknown",
        v1::Membership::Voter => "voter",
        v1::Membership::Learner => "learner",
        v1::Membership::Leaving => "leaving",
    }
}

fn operation(operation: &v1::Operation) -> Value {
    let verb = verb(operation);
    match &operation.operation {
        Some(Verb::Enqueue(enqueue)) => {
            let mut fields = json!({ "verb": verb, "queue": enqueue.queue });
            if enqueue.delay.is_some() {
                fields["delay"] = json!(duration(enqueue.delay));
            }
            with_message(fields, enqueue.message.as_ref())
        }
        Some(Verb::Dequeue(dequeue)) => json!({ "verb": verb, "queue": dequeue.queue }),
        Some(Verb::Peek(peek)) => json!({ "verb": verb, "queue": peek.queue, "limit": peek.limit }),
        Some(Verb::Lease(lease)) => json!({
            "verb": verb,
            "queue": lease.queue,
            "limit": lease.limit,
            "duration": duration(lease.duration),
        }),
        Some(Verb::Settle(settle)) => json!({
            "verb": verb,
            "queue": settle.queue,
            "settlements": settle.settlements.iter().map(settlement).collect::<Vec<_>>(),
            "all_or_none": settle.all_or_none,
        }),
        Some(Verb::ExtendLease(extend)) => json!({
            "verb": verb,
            "queue": extend.queue,
            "tokens": extend.tokens,
            "duration": duration(extend.duration),
        }),
        Some(Verb::Redrive(redrive)) => json!({ "verb": verb, "queue": redrive.queue, "limit": redrive.limit }),
        Some(Verb::SetQueue(set)) => json!({
            "verb": verb,
            "queue": set.queue,
            "lease_duration": duration(set.lease_duration),
            "deliveries_max": set.deliveries_max,
            "messages_max": set.messages_max,
        }),
        Some(Verb::ListQueues(list)) => json!({ "verb": verb, "after": list.after, "limit": list.limit }),
        Some(Verb::Stats(stats)) => json!({ "verb": verb, "queue": stats.queue }),
        Some(Verb::OpenSession(_) | Verb::CloseSession(_)) | None => json!({ "verb": verb }),
    }
}

fn settlement(settlement: &v1::Settlement) -> Value {
    let token = &settlement.token;
    match &settlement.how {
        Some(How::Ack(_)) => json!({ "token": token, "how": "ack" }),
        Some(How::Release(release)) => json!({ "token": token, "how": "release", "delay": duration(release.delay) }),
        Some(How::Reject(reject)) => json!({ "token": token, "how": "reject", "reason": reject.reason }),
        None => json!({ "token": token, "how": "unknown" }),
    }
}

/// A time of the log as RFC 3339 in UTC.
pub(super) fn time(timestamp: prost_types::Timestamp) -> Option<String> {
    let time = std::time::SystemTime::try_from(timestamp).ok()?;
    // Later than the year 9999 cannot be written.
    let written = time < std::time::UNIX_EPOCH + std::time::Duration::from_secs(253_402_300_800);
    written.then(|| humantime::format_rfc3339_millis(time).to_string())
}

fn with_message(mut fields: Value, message: Option<&v1::Message>) -> Value {
    let mut body = Map::new();
    match message.and_then(|message| message.body.as_ref()) {
        Some(Body::Text(text)) => body.insert("text".to_owned(), json!(text)),
        Some(Body::Data(data)) => body.insert("data".to_owned(), json!(BASE64_STANDARD.encode(data))),
        None => None,
    };
    fields.as_object_mut().expect("it was made as an object").append(&mut body);
    fields["headers"] = json!(message.map(|message| &message.headers));
    fields
}
