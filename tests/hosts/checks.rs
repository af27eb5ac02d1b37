//! What must be true of every run: one leader a term, one cluster, one log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use prost::Message as _;
use quorate::client::{Client, Consistency, Options};
use quorate::proto::v1;
use serde_json::Value;

use crate::cluster::{block_on, eventually};
use crate::stateful_set::StatefulSet;

/// How long one node may take to show its log.
const LOG_MAX: Duration = Duration::from_secs(20);

/// Checks what the nodes have told, and that the logs of those that run are the same.
pub fn check(set: &StatefulSet) {
    let logs: Vec<String> = set.pods.iter().map(|pod| pod.log()).collect();
    one_leader_a_term(&logs).unwrap_or_else(|violation| panic!("{violation}"));
    check_one_cluster(set);
    check_same_log(set);
}

/// All nodes that answer belong to the same cluster. A node never changes its cluster, so asking each once is enough, as long as
/// it is asked before its disk is lost.
pub fn check_one_cluster(set: &StatefulSet) {
    let clusters = clusters(set);
    let ids: BTreeSet<_> = clusters.values().collect();
    assert!(ids.len() <= 1, "there are several clusters: {clusters:?}");
}

/// The clusters to which the pods belong that answer and belong to one.
pub fn clusters(set: &StatefulSet) -> BTreeMap<usize, String> {
    clusters_of(set.members())
}

/// The same, by their answers.
pub fn clusters_of(answers: BTreeMap<usize, v1::ListMembersResponse>) -> BTreeMap<usize, String> {
    let cluster = |(ordinal, members): (usize, v1::ListMembersResponse)| Some((ordinal, members.header?.cluster_id));
    answers.into_iter().filter_map(cluster).filter(|(_, id)| !id.is_empty()).collect()
}

/// By the JSON lines of all nodes, no term has two leaders: whoever says to lead or is said to be followed.
fn one_leader_a_term(logs: &[String]) -> Result<(), String> {
    let lines = || logs.iter().flat_map(|log| log.lines()).filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let text = |line: &Value, key: &str| line[key].as_str().map(str::to_owned);
    let mut leaders: BTreeMap<u64, String> = BTreeMap::new();
    let mut became = BTreeSet::new();
    for line in lines() {
        let (leader, is_own) = match line["event"].as_str() {
            Some("becomes_leader") => (text(&line, "node"), true),
            Some("follows_leader") => (text(&line, "peer"), false),
            _ => continue,
        };
        let (Some(leader), Some(term)) = (leader, line["term"].as_u64()) else {
            return Err(format!("a line about a leader names none, or no term: {line}"));
        };
        if is_own && !became.insert(term) {
            return Err(format!("two nodes became leader of term {term}, one of them {leader}"));
        }
        let known = leaders.entry(term).or_insert_with(|| leader.clone());
        // A node whose name is not known yet is called by its id; it is in no term twice.
        if *known != leader && known.starts_with("quorate-") && leader.starts_with("quorate-") {
            return Err(format!("both {known} and {leader} led in term {term}"));
        }
    }
    if became.is_empty() { Err("no node says that it leads".to_owned()) } else { Ok(()) }
}

/// An entry as all nodes must have it.
type Entry = (u64, Vec<u8>);

/// Waits until all nodes that run have committed as much, and compares what they have.
fn check_same_log(set: &StatefulSet) {
    let running: Vec<usize> = (0..set.pods.len()).filter(|ordinal| set.pods[*ordinal].is_started()).collect();
    let logs = eventually("logs of the same length", || {
        let logs: Option<Vec<_>> = running.iter().map(|ordinal| committed(set.host_address(*ordinal))).collect();
        let logs = logs.filter(|logs| logs.iter().all(|log| !log.is_empty()))?;
        let ends: BTreeSet<_> = logs.iter().map(|log| log.last().map(|(index, _)| *index)).collect();
        (ends.len() == 1).then_some(logs)
    });
    same_where_both_have_it(&logs).unwrap_or_else(|index| panic!("the logs of {running:?} differ at {index}"));
}

/// Logs that end together may begin at different places, because snapshots are taken at different times.
fn same_where_both_have_it(logs: &[Vec<Entry>]) -> Result<(), u64> {
    for pair in logs.windows(2) {
        for (one, other) in pair[0].iter().rev().zip(pair[1].iter().rev()) {
            if one != other {
                return Err(one.0);
            }
        }
    }
    Ok(())
}

/// What a node knows to be committed; none: it does not answer.
fn committed(address: String) -> Option<Vec<Entry>> {
    let options = Options { timeout: Some(LOG_MAX), ..Options::default() };
    block_on(async {
        let client = Client::new(vec![address], options).expect("an address");
        let mut pages = client.reading(Consistency::AnyNode).request_log(0, 0);
        let mut entries = Vec::new();
        while let Some(page) = pages.next().await.ok()? {
            entries.extend(page.entries.into_iter().map(entry));
        }
        Some(entries)
    })
}

/// Whether the node that was asked knows an entry to be committed is no part of it.
fn entry(entry: v1::LogEntry) -> Entry {
    (entry.index, v1::LogEntry { committed: true, ..entry }.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::check_taken;

    fn line(node: &str, event: &str, term: u64, peer: Option<&str>) -> String {
        serde_json::json!({ "node": node, "event": event, "term": term, "peer": peer }).to_string()
    }

    #[test]
    fn two_leaders_in_a_term_are_seen() {
        let leads = |node, term| line(node, "becomes_leader", term, None);
        let follows = |node, term, peer| line(node, "follows_leader", term, Some(peer));
        let check = |lines: &[String]| one_leader_a_term(&lines.iter().map(String::clone).collect::<Vec<_>>());
        let (zero, one, two) = ("quorate-0", "quorate-1", "quorate-2");
        assert_eq!(check(&[leads(zero, 2), leads(one, 3), follows(two, 2, zero), follows(two, 3, one)]), Ok(()));
        for bad in [
            vec![leads(zero, 2), leads(one, 2)],
            vec![leads(zero, 2), leads(zero, 2)],
            vec![leads(zero, 2), follows(two, 2, one)],
            vec![leads(zero, 3), follows(two, 2, one), follows(zero, 2, two)],
            vec![],
        ] {
            assert!(check(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn logs_that_differ_are_seen() {
        let log = |entries: &[(u64, u8)]| entries.iter().map(|(index, byte)| (*index, vec![*byte])).collect::<Vec<_>>();
        let whole = log(&[(1, 1), (2, 2), (3, 3)]);
        assert_eq!(same_where_both_have_it(&[whole.clone(), log(&[(2, 2), (3, 3)]), whole.clone()]), Ok(()));
        assert_eq!(same_where_both_have_it(&[whole.clone(), whole.clone(), log(&[(2, 9), (3, 3)])]), Err(2));
    }

    #[test]
    fn what_is_lost_doubled_or_out_of_order_is_seen() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let acknowledged = words(&["0-0", "0-1", "1-0"]);
        check_taken(words(&["0-0", "1-0", "0-1"]), &acknowledged);
        for bad in
            [&["0-0", "0-1"][..], &["0-0", "0-1", "1-0", "1-0"], &["0-1", "0-0", "1-0"], &["0-0", "0-1", "1-0", "2-0"]]
        {
            let taken = words(bad);
            let check = std::panic::catch_unwind(|| check_taken(taken, &acknowledged));
            assert!(check.is_err(), "{bad:?}");
        }
    }
}
