//! The table of time-outs in `quorate status`: by which each node goes, and why.

use super::table::Table;
use super::vitals::{UNKNOWN, short};
use crate::proto::v1;

/// A line for each node that tells of its time-outs. None: none of them does.
pub(super) fn table(nodes: &[v1::NodeStatus]) -> Option<Table> {
    let mut table = Table::new(&["NAME", "ELECTION", "BECAUSE OF", "HEARTBEAT", "GAPS", "ROUND TRIPS", "LATE"]);
    let told: Vec<_> = nodes.iter().filter_map(|node| Some((node, node.timeouts.as_ref()?))).collect();
    for (node, timeouts) in &told {
        let known =
            |duration: Option<prost_types::Duration>| duration.and_then(short).unwrap_or_else(|| UNKNOWN.to_owned());
        let both = |low, high| format!("{} - {}", known(low), known(high));
        let spread = |spread: Option<v1::Spread>| match spread {
            Some(spread) => both(spread.median, spread.high),
            None => UNKNOWN.to_owned(),
        };
        table.row([
            node.member.clone().unwrap_or_default().name,
            both(timeouts.election_min, timeouts.election_max),
            timeouts.reason.replace('_', " "),
            known(timeouts.heartbeat),
            spread(timeouts.gaps),
            spread(timeouts.round_trips),
            known(timeouts.lateness),
        ]);
    }
    (!told.is_empty()).then_some(table)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_tells_the_time_outs_and_what_they_follow_from() {
        let millis = |millis| Duration::from_millis(millis).try_into().ok();
        let timeouts = v1::Timeouts {
            election_min: millis(14_000),
            election_max: millis(21_000),
            heartbeat: millis(512),
            reason: "told_by_leader".to_owned(),
            gaps: Some(v1::Spread { median: millis(530), high: millis(9_100) }),
            lateness: millis(3),
            ..Default::default()
        };
        let member = v1::Member { name: "a".to_owned(), ..Default::default() };
        let node = v1::NodeStatus { member: Some(member), timeouts: Some(timeouts), ..Default::default() };
        let text = table(&[node, v1::NodeStatus::default()]).expect("one tells").take_text();
        let cells = text.lines().nth(1).unwrap().split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        let expected = ["a", "14.0 s - 21.0 s", "told by leader", "512 ms", "530 ms - 9.1 s", "-", "3.00 ms"];
        assert_eq!(cells.collect::<Vec<_>>(), expected);
        assert!(table(&[v1::NodeStatus::default()]).is_none());
    }
}
