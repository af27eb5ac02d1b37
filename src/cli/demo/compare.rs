//! The replicated logs of all nodes, entry by entry.

use std::time::Duration;

use tokio::time::timeout;
use tonic::Status;
use tonic::transport::Endpoint;

use crate::cli::Failure;
use crate::cli::local_cluster::home::Plan;
use crate::proto::v1::quorate_client::QuorateClient;
use crate::proto::v1::{Consistency, LogEntry, RequestLogRequest};

/// How a node's log compares with the leader's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Compared {
    /// A character for each entry of the leader: `=` the same, `!` another one, `?` one that cannot be decoded, `.` none.
    pub(super) marks: String,
    /// The first difference, in words.
    pub(super) difference: Option<String>,
}

/// A node's own log from the first entry to `last`, whoever leads.
///
/// # Errors
/// The node does not answer, or not within `patience`.
pub(super) async fn read_log(node: &Plan, last: u64, patience: Duration) -> Result<Vec<LogEntry>, Failure> {
    let read = async {
        let channel = Endpoint::from_shared(format!("http://{}", node.address()))?.connect().await?;
        let consistency = Consistency::Stale.into();
        let request = RequestLogRequest { limit: last, consistency, ..Default::default() };
        let mut pages = QuorateClient::new(channel).request_log(request).await?.into_inner();
        let mut entries = Vec::new();
        while let Some(page) = pages.message().await? {
            entries.extend(page.entries);
        }
        Ok::<_, Failure>(entries)
    };
    timeout(patience, read).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time").into()))
}

/// Compares index, term and content of each entry. Whether an entry is committed each node learns in its own time.
pub(super) fn compare(leader: &[LogEntry], node: &[LogEntry]) -> Compared {
    let mut marks: String = leader.iter().zip(node).map(|(leader, node)| mark(leader, node)).collect();
    marks.extend((node.len()..leader.len()).map(|_| '.'));
    let difference = marks.chars().position(|mark| mark != '=').map(|at| difference(&leader[at], node.get(at)));
    Compared { marks, difference }
}

/// What is wrong with the indexes of a log that should have every entry from 1 to `last`; none if nothing is.
pub(super) fn gap(entries: &[LogEntry], last: u64) -> Option<String> {
    let wrong = entries.iter().zip(1..).find(|(entry, index)| entry.index != *index);
    let gap = wrong.map(|(entry, index)| format!("{} where {index} belongs", entry.index));
    gap.or_else(|| (entries.len() as u64 != last).then(|| format!("{} entries of {last}", entries.len())))
}

fn mark(leader: &LogEntry, node: &LogEntry) -> char {
    match (&leader.content, &node.content) {
        (Some(leads), Some(follows)) if (leader.index, leader.term, leads) == (node.index, node.term, follows) => '=',
        (Some(_), Some(_)) => '!',
        _ => '?',
    }
}

fn difference(leader: &LogEntry, node: Option<&LogEntry>) -> String {
    match node {
        None => format!("it has nothing where the leader has {}", name(leader)),
        Some(node) if mark(leader, node) == '?' => format!("{} cannot be decoded", name(node)),
        Some(node) if name(node) == name(leader) => format!("{} has another content", name(node)),
        Some(node) => format!("it has {} where the leader has {}", name(node), name(leader)),
    }
}

fn name(entry: &LogEntry) -> String {
    format!("{}@{}", entry.index, entry.term)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::log_entry::Content;
    use crate::proto::v1::{LoggedCommand, Noop};

    fn noop(index: u64, term: u64) -> LogEntry {
        LogEntry { index, term, committed: true, content: Some(Content::Noop(Noop {})) }
    }

    fn command(index: u64, term: u64, session: u64) -> LogEntry {
        let command = LoggedCommand { session, ..LoggedCommand::default() };
        LogEntry { content: Some(Content::Command(command)), ..noop(index, term) }
    }

    fn leader() -> Vec<LogEntry> {
        vec![noop(1, 1), command(2, 1, 7), noop(3, 2)]
    }

    fn compared(node: &[LogEntry]) -> (String, String) {
        let Compared { marks, difference } = compare(&leader(), node);
        (marks, difference.unwrap_or_default())
    }

    fn told(marks: &str, difference: &str) -> (String, String) {
        (marks.to_owned(), difference.to_owned())
    }

    #[test]
    fn the_same_log_has_no_difference_also_where_less_is_known_to_be_committed() {
        let mut node = leader();
        node[2].committed = false;
        assert_eq!(compared(&node), told("===", ""));
    }

    #[test]
    fn every_kind_of_difference_is_found_and_named() {
        let mut node = leader();
        node[1] = command(2, 1, 8);
        assert_eq!(compared(&node), told("=!=", "2@1 has another content"));
        node[1] = noop(2, 2);
        assert_eq!(compared(&node), told("=!=", "it has 2@2 where the leader has 2@1"));
        node[1].content = None;
        assert_eq!(compared(&node), told("=?=", "2@2 cannot be decoded"));
        let node = leader();
        assert_eq!(compared(&node[..1]), told("=..", "it has nothing where the leader has 2@1"));
        assert_eq!(compared(&node[1..]), told("!!.", "it has 2@1 where the leader has 1@1"));
    }

    #[test]
    fn two_logs_that_cannot_be_decoded_are_not_the_same() {
        let unreadable = [LogEntry { content: None, ..noop(1, 1) }];
        assert_eq!(compare(&unreadable, &unreadable).marks, "?");
    }

    #[test]
    fn a_log_with_a_gap_or_a_missing_end_is_not_whole() {
        assert_eq!(gap(&leader(), 3), None);
        assert_eq!(gap(&[noop(1, 1), noop(3, 1)], 2).as_deref(), Some("3 where 2 belongs"));
        assert_eq!(gap(&leader(), 4).as_deref(), Some("3 entries of 4"));
    }
}
