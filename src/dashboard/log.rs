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

/// Entries in the order of a search. None: it is not one of those that are looked for.
type Page = Vec<(Index, Option<Shown>)>;

/// Which way a search goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Direction {
    #[default]
    Forward,
    Backward,
}

impl Direction {
    /// Where a search goes on after an entry.
    fn after(self, index: Index) -> Index {
        match self {
            Direction::Forward => index.next(),
            Direction::Backward => index.previous(),
        }
    }
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
        let (read, shown) = self.show(read, Filter::default()).await;
        let mut shown = shown.into_iter().filter_map(|(_, shown)| shown).collect();
        truncate(&mut shown, from == Index(0));
        Ok(self.answer(&read, shown))
    }

    /// Entries that `filter` admits, from `from` on in the direction (0: from the end that it comes from), at most `limit`. Where
    /// `from` lies beyond the other end, there are none.
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
            (from, Direction::Forward) => from.max(bounds.first),
            (from, Direction::Backward) => from.min(bounds.last),
        };
        let (mut found, mut looked_at, mut bytes) = (Vec::new(), 0, 0);
        let is_full = |found: &Vec<Shown>, bytes| found.len() >= limit as usize || bytes >= ANSWER_BYTES_MAX;
        let next = loop {
            if !(bounds.first..=bounds.last).contains(&place) {
                break None;
            }
            if is_full(&found, bytes) || looked_at >= LOOKED_AT_MAX || began.elapsed() > SEARCH_MAX {
                break Some(place.0);
            }
            let (read, page) = self.page(place, direction, filter).await?;
            if page.is_empty() {
                break None;
            }
            for (index, entry) in page {
                if is_full(&found, bytes) {
                    break;
                }
                (place, looked_at) = (direction.after(index), looked_at + 1);
                if let Some(entry) = entry {
                    bytes += entry.bytes();
                    found.push(entry);
                }
            }
            bounds = read;
        };
        Ok(Found { part: self.answer(&bounds, found), next })
    }

    /// Entries from `place` on, in the order of the search; none: the log has no longer what was there.
    async fn page(&self, place: Index, direction: Direction, filter: &Filter) -> Result<(LogPart, Page), Failure> {
        let mut some = LOG_ENTRIES_MAX;
        loop {
            let from = match direction {
                Direction::Forward => place,
                Direction::Backward => Index((place.0 + 1).saturating_sub(some.into()).max(1)),
            };
            let mut read = self.read(from, some).await?;
            if direction == Direction::Backward && from < read.first && read.first <= place {
                read = self.read(read.first, some).await?;
            }
            let reaches = read.entries.last().is_some_and(|last| last.id.index >= place);
            if direction == Direction::Backward && !reaches && some > 1 {
                // They are too large for so many at once, and the last of them is wanted first.
                some /= 2;
                continue;
            }
            let (read, mut shown) = self.show(read, filter.clone()).await;
            if direction == Direction::Backward {
                shown.retain(|(index, _)| *index <= place);
                shown.reverse();
            }
            return Ok((read, shown));
        }
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

    /// Shows what was read, and returns the rest of it. On a thread of its own: a MiB of entries keeps a processor busy for a while,
    /// and the event loop waits for nobody's page.
    async fn show(&self, part: LogPart, filter: Filter) -> (LogPart, Page) {
        let (content, book) = (self.content, self.context.book.clone());
        let LogPart { entries, .. } = part;
        let part = LogPart { entries: Vec::new(), ..part };
        let LogPart { commit, applied, .. } = part;
        let shown = tokio::task::spawn_blocking(move || {
            let name_of = |node| book.name_of(node);
            let show = Show { content, commit, applied, name_of: &name_of };
            let shown = entries.iter().map(|entry| (entry.id.index, show.entry(entry)));
            shown.map(|(index, shown)| (index, Some(shown).filter(|shown| filter.admits(shown)))).collect()
        });
        // Without a result the process is about to end, and nobody sees what is shown.
        (part, shown.await.unwrap_or_default())
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

/// Leaves what fits into one answer, and at least one: the first ones, or the last.
fn truncate(shown: &mut Vec<Shown>, last: bool) {
    let mut bytes = 0;
    let mut fits = |entry: &&Shown| {
        bytes += entry.bytes();
        bytes <= ANSWER_BYTES_MAX
    };
    if last {
        let kept = shown.iter().rev().take_while(|entry| fits(entry)).count().max(1);
        shown.drain(..shown.len().saturating_sub(kept));
    } else {
        let kept = shown.iter().take_while(|entry| fits(entry)).count().max(1);
        shown.truncate(kept);
    }
}
