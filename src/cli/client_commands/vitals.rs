//! The table of vital signs in `quorate status`: how far each node is behind, and how fast and how full it is.

use std::time::Duration;

use super::cluster::size;
use super::table::Table;
use crate::proto::v1;

/// Stands for what is not known, or did not happen.
pub(super) const UNKNOWN: &str = "-";

/// A line for each node: as its leader sees it, and as it says itself. None: none of them tells.
pub(super) fn table(nodes: &[v1::NodeStatus]) -> Option<Table> {
    nodes.iter().any(|node| node.uptime.is_some()).then_some(())?;
    let mut table = Table::new(&[
        "NAME",
        "LAG",
        "IN FLIGHT",
        "CONTACT",
        "FSYNC",
        "COMMIT",
        "COMMITS/S",
        "DISK FREE",
        "MEMORY",
        "UPTIME",
    ]);
    let leader = nodes.iter().filter(|node| node.role() == v1::Role::Leader).max_by_key(|node| node.term);
    for node in nodes {
        let member = node.member.clone().unwrap_or_default();
        let progress = leader.and_then(|leader| leader.progress.iter().find(|it| it.node_id == member.node_id));
        let lag = leader.zip(progress).map(|(leader, progress)| leader.last_index.saturating_sub(progress.matched));
        let known = |told: Option<String>| told.unwrap_or_else(|| UNKNOWN.to_owned());
        let tells = |text: String| node.reachable.then_some(text);
        table.row([
            member.name,
            known(lag.map(|lag| lag.to_string())),
            known(progress.map(in_flight)),
            known(progress.and_then(|progress| short(progress.last_contact?))),
            known(node.fsync.as_ref().and_then(|fsync| short(fsync.p99?))),
            known(node.commit_latency.as_ref().and_then(|commit| short(commit.p99?))),
            known(tells(format!("{:.1}", node.commits_per_second))),
            known(node.storage.as_ref().and_then(disk_free)),
            known(Some(node.memory_bytes).filter(|bytes| *bytes > 0).map(size)),
            known(node.uptime.and_then(long)),
        ]);
    }
    Some(table)
}

fn in_flight(progress: &v1::Progress) -> String {
    match progress.messages_in_flight {
        0 => "0".to_owned(),
        messages => format!("{messages} of {}", size(progress.bytes_in_flight)),
    }
}

fn disk_free(storage: &v1::StorageStatus) -> Option<String> {
    let share = storage.free_bytes.saturating_mul(100).checked_div(storage.total_bytes)?;
    Some(format!("{} ({share} %)", size(storage.free_bytes)))
}

/// A duration of a moment, with about three digits: `0.21 ms`, `15.3 ms`, `420 ms`, `7.1 s`.
pub(super) fn short(duration: prost_types::Duration) -> Option<String> {
    let millis = Duration::try_from(duration).ok()?.as_secs_f64() * 1000.0;
    Some(match millis {
        ..10.0 => format!("{millis:.2} ms"),
        ..100.0 => format!("{millis:.1} ms"),
        ..1000.0 => format!("{millis:.0} ms"),
        _ => format!("{:.1} s", millis / 1000.0),
    })
}

/// A duration of hours, in its two largest units: `5s`, `3h 12m`, `1month 11days`.
fn long(duration: prost_types::Duration) -> Option<String> {
    let seconds = Duration::from_secs(Duration::try_from(duration).ok()?.as_secs());
    let text = humantime::format_duration(seconds).to_string();
    Some(text.split(' ').take(2).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duration(millis: f64) -> Option<prost_types::Duration> {
        Duration::from_secs_f64(millis / 1000.0).try_into().ok()
    }

    fn node(id: &str, role: v1::Role) -> v1::NodeStatus {
        let member = v1::Member { node_id: id.to_owned(), name: format!("quorate-{id}"), ..Default::default() };
        v1::NodeStatus { member: Some(member), role: role.into(), reachable: true, ..Default::default() }
    }

    #[test]
    fn a_line_has_what_the_leader_knows_and_what_the_node_says() {
        let progress = |id: &str, matched, messages| v1::Progress {
            node_id: id.to_owned(),
            matched,
            messages_in_flight: messages,
            bytes_in_flight: messages << 20,
            last_contact: duration(48.12),
            ..Default::default()
        };
        let leader = v1::NodeStatus {
            last_index: 123_456_789,
            progress: vec![progress("b", 123_456_789, 0), progress("c", 23_456_789, 16)],
            uptime: duration(1e3 * 86_400.0 * 41.5),
            memory_bytes: 120 << 20,
            fsync: Some(v1::Latency { count: 9, p50: duration(0.1), p99: duration(0.214) }),
            commit_latency: Some(v1::Latency { count: 9, p50: duration(1.0), p99: duration(1_234.0) }),
            commits_per_second: 12_345.67,
            storage: Some(v1::StorageStatus { free_bytes: 512 << 30, total_bytes: 1 << 40, ..Default::default() }),
            ..node("a", v1::Role::Leader)
        };
        let follower = node("b", v1::Role::Follower);
        let gone = v1::NodeStatus { reachable: false, ..node("c", v1::Role::Unspecified) };
        let nodes = [leader, follower, gone];
        let text = table(&nodes).expect("the leader tells").take_text();
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
            .collect();
        let of_leader = "quorate-a,-,-,-,0.21 ms,1.2 s,12345.7,512.0 GiB (50 %),120.0 MiB,1month 11days";
        assert_eq!(lines[1].join(","), of_leader);
        assert_eq!(lines[2].join(","), "quorate-b,0,0,48.1 ms,-,-,0.0,-,-,-");
        assert_eq!(lines[3].join(","), "quorate-c,100000000,16 of 16.0 MiB,48.1 ms,-,-,-,-,-,-");
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
        assert!(table(&nodes[1..]).is_none(), "nodes of an earlier version tell nothing");
    }
}
