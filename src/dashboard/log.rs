//! Parts of the log of a node, page by page, and the search in it.

use std::time::Duration;

use axum::http::StatusCode;
use serde::Serialize;
use tokio::time::Instant;

use super::entry::{Filter, Show, Shown};
use super::failure::Failure;
use crate::api;
use crate::ids::{Index, NodeId, SHARD_0};
use crate::transport::questions::{LOG_ENTRIES_MAX, LogPart};

/// A node that does not answer for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Entries that one search looks at. The page asks again to go on.
const LOOKED_AT_MAX: u64 = 20_000;

/// A search ends after so long, found or not.
const SEARCH_MAX: Duration = Duration::from_secs(3);

/// About how many bytes of JSON one answer has: entries that are more are left out, and asked for again.
const ANSWER_BYTES_MAX: usize = 2 << 20;

/// The log of one node.
pub(super) struct Log<'a> {
    pub(super) context: &'a api::Context,
    pub(super) node: NodeId,
    /// Bodies and headers are shown.
    pub(super) content: bool,
}

/// A part of it, for the page.
#[derive(Debug, Serialize)]
pub(super) struct Part {
    node: String,
    first: u64,
    last: u64,
    commit: u64,
    applied: u64,
    entries: Vec<Shown>,
}

/// What was found, and where to go on; none: there is no more.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    #[serde(flatten)]
    part: Part,
    next: Option<u64>,
}

/// Which way a search goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Direction {
    #[default]
    Forward,
    Backward,
}

impl Log<'_> {
    /// At most `limit` entries from `from` on; 0: the last ones.
    ///
    /// # Errors
    /// The log begins later, or the node does not answer.
    pub(super) async fn part(&self, from: Index, limit: u32) -> Result<Part, Failure> {
        let read = self.read(from, limit).await?;
        if from > Index(0) && from < read.first {
            let (first, message) = (read.first.0, format!("the log of this node begins at entry {}", read.first));
            return Err(Failure::new(StatusCode::GONE, crate::reasons::COMPACTED, message).with("first", first));
        }
        let mut shown = self.show(&read);
        // The last ones are wanted where no first one is named.
        if from == Index(0) {
            shown.reverse();
            truncate(&mut shown);
            shown.reverse();
        } else {
            truncate(&mut shown);
        }
        Ok(self.answer(&read, shown))
    }

    /// Entries that `filter` admits, from `from` on (0: from the end that the direction comes from), at most `limit`.
    ///
    /// # Errors
    /// The node does not answer.
    pub(super) async fn search(
        &self,
        from: Index,
        direction: Direction,
        filter: &Filter,
        limit: u32,
    ) -> Result<Found, Failure> {
        let began = Instant::now();
        let mut bounds = self.read(Index(0), 1).await?;
        let mut place = match (from, direction) {
            (Index(0), Direction::Forward) => bounds.first,
            (Index(0), Direction::Backward) => bounds.last,
            (from, _) => from.max(bounds.first).min(bounds.last),
        };
        let (mut found, mut looked_at, mut bytes) = (Vec::new(), 0, 0);
        let mut some = LOG_ENTRIES_MAX;
        let next = loop {
            if place < bounds.first || place > bounds.last || bounds.last == Index(0) {
                break None;
            }
            if looked_at >= LOOKED_AT_MAX || began.elapsed() > SEARCH_MAX {
                break Some(place);
            }
            let start = match direction {
                Direction::Forward => place,
                Direction::Backward => Index(place.0.saturating_sub(u64::from(some) - 1)).max(bounds.first),
            };
            let read = self.read(start, some).await?;
            let upto = read.entries.last().map_or(start, |last| last.id.index);
            if direction == Direction::Backward && upto < place {
                if some == 1 || read.entries.is_empty() {
                    break None;
                }
                // They are too large for so many at once, and the last of them is wanted first.
                some /= 2;
                continue;
            }
            let mut shown = self.show(&read);
            if direction == Direction::Backward {
                shown.retain(|entry| entry.index <= place.0);
                shown.reverse();
            }
            if shown.is_empty() {
                break None;
            }
            let mut full = None;
            for entry in shown {
                place = match direction {
                    Direction::Forward => Index(entry.index + 1),
                    Direction::Backward => Index(entry.index - 1),
                };
                looked_at += 1;
                if filter.admits(&entry) {
                    bytes += entry.bytes();
                    found.push(entry);
                }
                if found.len() >= limit as usize || bytes >= ANSWER_BYTES_MAX {
                    full = Some(place);
                    break;
                }
            }
            bounds = LogPart { entries: Vec::new(), ..read };
            if let Some(place) = full {
                break Some(place).filter(|place| (bounds.first..=bounds.last).contains(place));
            }
        };
        Ok(Found { part: self.answer(&bounds, found), next: next.map(|place| place.0) })
    }

    async fn read(&self, from: Index, limit: u32) -> Result<LogPart, Failure> {
        let api::Context { handle, peers, book, .. } = self.context;
        if self.node == handle.node() {
            let part = handle.log_part(SHARD_0, from, limit).await;
            return part.map_err(|error| {
                Failure::new(StatusCode::INTERNAL_SERVER_ERROR, crate::reasons::CORRUPT, error.to_string())
            });
        }
        peers.read_log(self.node, SHARD_0, from, limit, PATIENCE).await.map_err(|error| {
            let message = format!("{} does not tell its log: {error}", book.name_of(self.node));
            Failure::new(StatusCode::GATEWAY_TIMEOUT, "NODE_UNREACHABLE", message)
        })
    }

    fn show(&self, part: &LogPart) -> Vec<Shown> {
        let name_of = |node| self.context.book.name_of(node);
        let show = Show { content: self.content, commit: part.commit, applied: part.applied, name_of: &name_of };
        part.entries.iter().map(|entry| show.entry(entry)).collect()
    }

    fn answer(&self, part: &LogPart, entries: Vec<Shown>) -> Part {
        Part {
            node: self.node.to_string(),
            first: part.first.0,
            last: part.last.0,
            commit: part.commit.0,
            applied: part.applied.0,
            entries,
        }
    }
}

/// Leaves what fits into one answer, and at least one.
fn truncate(shown: &mut Vec<Shown>) {
    let mut bytes = 0;
    let fits = shown.iter().take_while(|entry| {
        bytes += entry.bytes();
        bytes <= ANSWER_BYTES_MAX
    });
    let fits = fits.count().max(1);
    shown.truncate(fits);
}
