//! The leader's log as clients see it: page after page, as fast as the client reads.

use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::errors::{self, Rejection};
use super::{Context, route};
use crate::ids::{Index, NodeId, ShardId, Term};
use crate::proto::v1;
use crate::raft::{Configuration, Entry, Payload};
use crate::replica;
use crate::state_machine::Command;

/// Entries on one page.
const PAGE_ENTRIES_MAX: u64 = 1_000;
/// About how many bytes of entries are on one page; a single entry may be larger.
const PAGE_BYTES_MAX: u64 = 1024 * 1024;
/// Pages that are read ahead of the client. When they are all waiting, nothing more is read from disk.
const PAGES_AHEAD_MAX: usize = 2;
/// Streams of one node at a time: each holds a few pages and reads the disk that commits need as well. One more is refused.
pub const STREAMS_MAX: usize = 32;
/// A client that takes no page for this long is let go.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a client reads: page after page, or why there are no more.
pub type Pages = ReceiverStream<Result<v1::RequestLogResponse, Status>>;

/// What one request asks for, fixed at the moment it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    from: Index,
    /// Inclusive; below `from`: nothing.
    to: Index,
    /// What the node knew to be committed.
    commit: Index,
    /// The term of a leader whose log is asked for: in another one it may be another's. None: whoever is asked shows its own.
    leads: Option<Term>,
}

impl Range {
    /// From the index that is asked for to the last one that is durable on the node of this status.
    pub fn new(request: &v1::RequestLogRequest, status: &replica::Status) -> Self {
        let from = Index(request.from_index.max(1));
        let to = match request.limit {
            0 => status.durable,
            limit => status.durable.min(Index(from.0.saturating_add(limit - 1))),
        };
        let leads = (request.consistency() != v1::Consistency::Stale).then_some(status.term);
        Self { from, to, commit: status.commit, leads }
    }
}

/// The pages of `range`, at least one. Reading stops when the client goes away, and the stream then gives up its `room`.
pub fn stream(context: Context, shard: ShardId, range: Range, room: OwnedSemaphorePermit) -> Pages {
    let (pages, stream) = mpsc::channel(PAGES_AHEAD_MAX);
    tokio::spawn(async move {
        send_pages(context, shard, range, pages).await;
        drop(room);
    });
    ReceiverStream::new(stream)
}

async fn send_pages(
    context: Context,
    shard: ShardId,
    range: Range,
    pages: mpsc::Sender<Result<v1::RequestLogResponse, Status>>,
) {
    let mut from = range.from;
    loop {
        let page = read_page(&context, shard, Range { from, ..range }).await;
        let next = page.as_ref().ok().and_then(|page| page.entries.last()).map(|last| Index(last.index).next());
        let page = page.map_err(|rejection| rejection.into_status(&context));
        let sent = pages.send_timeout(page, PATIENCE).await;
        match next {
            Some(next) if sent.is_ok() && next <= range.to => from = next,
            _ => return,
        }
    }
}

async fn read_page(context: &Context, shard: ShardId, range: Range) -> Result<v1::RequestLogResponse, Rejection> {
    if let Some(term) = range.leads {
        let (_, status) = route::route_to_leader(context, shard.0)?;
        if status.term != term {
            return Err(errors::not_leader(context.handle.node(), status.term, context));
        }
    }
    let entries = match range.from <= range.to {
        false => Vec::new(),
        true => {
            let last = range.to.min(Index(range.from.0 + PAGE_ENTRIES_MAX - 1));
            let read = context.handle.read_log(shard, range.from, last, PAGE_BYTES_MAX).await;
            read.map_err(|error| errors::unreadable(&error))?
        }
    };
    let entries = entries.into_iter().map(|entry| log_entry(entry, range.commit)).collect();
    Ok(v1::RequestLogResponse { header: Some(context.header(shard, None)), entries })
}

fn log_entry(Entry { id, payload }: Entry, commit: Index) -> v1::LogEntry {
    use v1::log_entry::Content;
    let content = match payload {
        Payload::Noop => Some(Content::Noop(v1::Noop {})),
        // One that cannot be decoded is shown without content: the others must not be lost with it.
        Payload::Command(bytes) => Command::decode(&bytes).ok().map(|command| Content::Command(command.to_logged())),
        Payload::Configuration { configuration, .. } => {
            Some(Content::Configuration(logged_configuration(&configuration)))
        }
    };
    v1::LogEntry { index: id.index.0, term: id.term.0, committed: id.index <= commit, content }
}

fn logged_configuration(configuration: &Configuration) -> v1::Configuration {
    let text = |nodes: &mut dyn Iterator<Item = &NodeId>| nodes.map(NodeId::to_string).collect();
    v1::Configuration {
        voters: text(&mut configuration.voters.iter()),
        voters_outgoing: text(&mut configuration.voters_outgoing.iter()),
        learners: text(&mut configuration.learners.keys()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::EntryId;

    #[test]
    fn an_entry_that_cannot_be_decoded_is_shown_without_content() {
        let id = EntryId::new(Term(2), Index(7));
        let entry = Entry { id, payload: Payload::Command(bytes::Bytes::from_static(b"\xff\xff")) };
        let shown = log_entry(entry, Index(7));
        assert_eq!((shown.index, shown.term, shown.committed), (7, 2, true));
        assert_eq!(shown.content, None);
    }

    #[test]
    fn what_the_leader_did_not_know_to_be_committed_is_marked_so() {
        let entry = Entry { id: EntryId::new(Term(2), Index(8)), payload: Payload::Noop };
        assert!(!log_entry(entry, Index(7)).committed);
    }
}
