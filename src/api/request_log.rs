//! A node's log as clients see it: page after page, as fast as the client reads, and on if it follows.

use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::answer::age_to_proto;
use super::errors::{self, Rejection};
use super::{Context, route};
use crate::ids::{Index, NodeId, ShardId, Term};
use crate::proto::v1;
use crate::raft::{Configuration, Entry, Payload, RoleName};
use crate::replica::{self, Consistency};
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
/// A client that follows the log hears something at least this often, and one that has gone is noticed.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// What a client reads: page after page, or why there are no more.
pub type Pages = ReceiverStream<Result<v1::RequestLogResponse, Status>>;

/// What one request asks for and has not got yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    from: Index,
    /// What there is to send, inclusive; below `from`: nothing.
    to: Index,
    /// Where the request ends in any case, inclusive.
    end: Index,
    /// What the node knew to be committed.
    commit: Index,
    /// The term of a leader whose log is asked for: in another one it may be another's. None: whoever is asked shows its own.
    leads: Option<Term>,
    /// Nothing is sent that could still be taken back.
    committed_only: bool,
    /// Goes on beyond `to` as entries are committed.
    follow: bool,
    /// No entry was asked for by its index, and none has been sent: the log may begin later by now.
    is_anywhere: bool,
    /// How old what a node shows of itself may be.
    age: Option<Duration>,
}

impl Range {
    /// From the index that is asked for to the last one that the node of this status can send now. What it shows can be `age`
    /// old.
    pub fn new(
        request: &v1::RequestLogRequest,
        consistency: Consistency,
        status: &replica::Status,
        age: Option<Duration>,
    ) -> Self {
        let from = match request.from_index {
            0 => status.log_start.index.next(),
            index => Index(index),
        };
        let end = match request.limit {
            0 => Index(u64::MAX),
            limit => Index(from.0.saturating_add(limit - 1)),
        };
        let leads = (consistency == Consistency::Leader).then_some(status.term);
        let committed_only = request.follow || consistency == Consistency::AnyNode;
        let follow = request.follow;
        let is_anywhere = request.from_index == 0;
        let range = Self { from, to: Index(0), end, commit: Index(0), leads, committed_only, follow, is_anywhere, age };
        range.seen(status)
    }

    /// The same range, up to what the node has by this status.
    fn seen(self, status: &replica::Status) -> Self {
        let last = if self.committed_only { status.durable.min(status.commit) } else { status.durable };
        Self { to: last.min(self.end), commit: status.commit, ..self }
    }

    /// Whether waiting is over at this status: there is something to send, or the log is not the one that is followed.
    fn is_moved_by(self, status: &replica::Status) -> bool {
        let leads_no_more = self.leads.is_some_and(|term| term != status.term || status.role != RoleName::Leader);
        self.seen(status).has_entries() || leads_no_more
    }

    fn has_entries(self) -> bool {
        self.from <= self.to
    }

    fn is_done(self) -> bool {
        !self.has_entries() && (!self.follow || self.from > self.end)
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
    mut range: Range,
    pages: mpsc::Sender<Result<v1::RequestLogResponse, Status>>,
) {
    loop {
        let page = read_page(&context, shard, range).await;
        let failed = page.is_err();
        if let Some(last) = page.as_ref().ok().and_then(|page| page.entries.last()) {
            range.from = Index(last.index).next();
            range.is_anywhere = false;
        }
        let page = page.map_err(|rejection| rejection.into_status(&context));
        let sent = pages.send_timeout(page, PATIENCE).await;
        if failed || sent.is_err() || range.is_done() {
            return;
        }
        if !range.has_entries() {
            range = wait_for_entries(&context, shard, range).await;
        }
    }
}

/// Waits until there is more to send, or a page must tell that there is not. Which of the two, and whether the node may still
/// answer, the next reading finds out.
async fn wait_for_entries(context: &Context, shard: ShardId, range: Range) -> Range {
    let mut published = context.handle.published();
    let moved = published.wait_for(|now| now.replicas.get(&shard).is_none_or(|status| range.is_moved_by(status)));
    tokio::select! {
        _ = tokio::time::timeout(SILENCE_MAX, moved) => {}
        () = context.drained() => {}
    }
    context.handle.status(shard).map_or(range, |status| range.seen(&status))
}

async fn read_page(context: &Context, shard: ShardId, range: Range) -> Result<v1::RequestLogResponse, Rejection> {
    match range.leads {
        None => {
            route::route(context, shard.0, |_| ())?;
        }
        Some(term) => {
            let (_, status) = route::route_to_leader(context, shard.0)?;
            if status.term != term {
                return Err(errors::not_leader(context.handle.node(), status.term, context));
            }
        }
    }
    let first = context.handle.look(shard, |status| status.log_start.index.next()).unwrap_or_default();
    let range = if range.is_anywhere { Range { from: range.from.max(first), ..range } } else { range };
    if range.has_entries() && range.from < first {
        return Err(errors::compacted(range.from, first));
    }
    let entries = match range.has_entries() {
        false => Vec::new(),
        true => {
            let last = range.to.min(Index(range.from.0 + PAGE_ENTRIES_MAX - 1));
            let read = context.handle.read_log(shard, range.from, last, PAGE_BYTES_MAX).await;
            read.map_err(|error| errors::unreadable(&error))?
        }
    };
    let entries = entries.into_iter().map(|entry| log_entry(entry, range.commit)).collect();
    Ok(v1::RequestLogResponse { header: Some(context.header(shard, None)), entries, age: age_to_proto(range.age) })
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
