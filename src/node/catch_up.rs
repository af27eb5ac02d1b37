//! Fetches the leader's snapshot: on a thread of its own, which waits for the disk and for the network by turns.
//!
//! What is missing is asked for a few pieces at a time. Whatever does not come is asked for again, from whoever leads by then;
//! bodies that came stay. It ends when everything is there, when nobody has wished for it for a while, or with the node.

use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::event_loop::Completion;
use super::snapshots::{Tools, read_machine};
use crate::ids::{EntryId, Index, NodeId, ShardId};
use crate::replica::{Restored, State};
use crate::storage::incoming::{self, Incoming, Step};
use crate::storage::transfer::{Reply, Request};
use crate::storage::{self, snapshot};
use crate::transport;

/// Requests that wait for their answers: enough that the disks at both ends need not wait for the way between them.
const IN_FLIGHT_MAX: usize = 8;

/// After an answer that brings nothing, such as that of a node which cannot be reached.
const PAUSE: Duration = Duration::from_millis(200);

/// The wish of a replica for the leader's snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// The leader.
    pub from: NodeId,
    /// The last entry of its snapshot.
    pub last: EntryId,
    /// Entries of the own log up to here are those of the leader.
    pub committed: Index,
    /// When it was last wished for.
    pub at: Instant,
}

/// Fetches until it is done, and reports it.
pub fn run(tools: &Tools, shard: ShardId, wishes: watch::Receiver<Wish>) {
    let began = Instant::now();
    let fetched = Fetch::begin(tools, shard, wishes).and_then(|fetch| fetch.finish());
    tools.transfers.report(shard, None);
    match fetched {
        Ok(Some(restored)) => {
            tracing::info!("has the whole snapshot after {:?}, and installs it", began.elapsed());
            // A loop that has ended needs no completion.
            let _ = tools.completions.send(Completion::SnapshotReceived(shard, Box::new(restored)));
        }
        Ok(None) => tracing::info!("stops fetching the snapshot: nobody needs it any more"),
        Err(error) => tracing::error!("cannot fetch the snapshot, and begins again when it is offered: {error}"),
    }
}

struct Fetch<'a> {
    tools: &'a Tools,
    shard: ShardId,
    wishes: watch::Receiver<Wish>,
    /// Who is asked now.
    from: NodeId,
    incoming: Incoming,
    /// The state, once the file is whole.
    state: Option<State>,
    living: Vec<crate::state_machine::Living>,
    /// The last trouble that was told of.
    trouble: String,
}

/// What came for a request.
type Answer = (Request, Result<Reply, transport::Error>);

impl<'a> Fetch<'a> {
    fn begin(tools: &'a Tools, shard: ShardId, wishes: watch::Receiver<Wish>) -> Result<Self, storage::Error> {
        let wish = *wishes.borrow();
        tracing::info!("fetches the snapshot up to {} from {}", wish.last, wish.from);
        let wanted = wanted(tools, shard, &wish, wish.last);
        let incoming = Incoming::begin(tools.store.clone(), wanted, incoming::Limits::default())?;
        let (state, living, trouble) = (None, Vec::new(), String::new());
        Ok(Self { tools, shard, wishes, from: wish.from, incoming, state, living, trouble })
    }

    /// None: nobody wishes for it any more, or the node stops.
    fn finish(mut self) -> Result<Option<Restored>, storage::Error> {
        let runtime = Handle::current();
        let mut in_flight = FuturesUnordered::new();
        loop {
            let wish = *self.wishes.borrow();
            if wish.at.elapsed() > self.tools.stall {
                return Ok(None);
            }
            if wish.from != self.from {
                in_flight = FuturesUnordered::new();
                self.restart(wish.from, wish.last)?;
            }
            for request in self.incoming.next_requests(IN_FLIGHT_MAX - in_flight.len().min(IN_FLIGHT_MAX)) {
                in_flight.push(self.ask(request));
            }
            let answer: Option<Answer> = runtime.block_on(async {
                tokio::select! {
                    answer = in_flight.next(), if !in_flight.is_empty() => answer,
                    () = tokio::time::sleep(PAUSE), if in_flight.is_empty() => None,
                    () = ended(self.wishes.clone()) => None,
                }
            });
            if self.wishes.has_changed().is_err() {
                return Ok(None);
            }
            let Some((request, reply)) = answer else { continue };
            if self.take(&runtime, &request, reply)? {
                return self.received().map(Some);
            }
        }
    }
}

/// Is ready when the node stops.
async fn ended(mut wishes: watch::Receiver<Wish>) {
    while wishes.changed().await.is_ok() {}
}

fn wanted(tools: &Tools, shard: ShardId, wish: &Wish, last: EntryId) -> incoming::Wanted {
    incoming::Wanted { from: wish.from, cluster: tools.cluster, shard, last, committed: wish.committed }
}
