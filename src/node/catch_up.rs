//! Fetches the leader's snapshot: on a thread of its own, which waits for the disk and for the network by turns.
//!
//! What is missing is asked for a few pieces at a time, which are as large as the line carries in time. Whatever does not come is asked for again, from whoever leads by then;
//! bodies that came stay. It ends when everything is there, when nobody has wished for it for a while, or with the node.

use std::future::Future;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::event_loop::Completion;
use super::piece_size::PieceSize;
use super::snapshots::{Tools, read_machine};
use crate::ids::{EntryId, Index, NodeId, ShardId};
use crate::replica::{Restored, State};
use crate::state_machine::Living;
use crate::storage::incoming::{self, Incoming, Rejected, Step};
use crate::storage::transfer::{Reply, Request};
use crate::storage::{self, snapshot};
use crate::transport;

/// Requests that wait for their answers: enough that the disks at both ends need not wait for the way between them.
const IN_FLIGHT_MAX: usize = 4;

/// After an answer that brings nothing, such as that of a node which cannot be reached.
const PAUSE: Duration = Duration::from_millis(200);

/// After an attempt that cannot go on.
const FAILED_PAUSE: Duration = Duration::from_secs(5);

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
    let fetched = Fetch::begin(tools, shard, wishes.clone()).and_then(Fetch::finish);
    tools.transfers.report(shard, None);
    let completion = match fetched {
        Ok(Some(restored)) => {
            tracing::info!("has the whole snapshot after {:?}, and installs it", began.elapsed());
            Completion::SnapshotReceived(shard, Box::new(restored))
        }
        Ok(None) => {
            tracing::info!("stops fetching the snapshot: nobody needs it any more");
            Completion::SnapshotNotReceived(shard)
        }
        Err(error) if tools.store.has_failed() => Completion::Failed(error),
        Err(error) => {
            tracing::error!("cannot fetch the snapshot, and begins again in {FAILED_PAUSE:?} if it is needed: {error}");
            // Ready at the end of the pause, or with the node.
            let _ = Handle::current().block_on(async { tokio::time::timeout(FAILED_PAUSE, ended(wishes)).await });
            Completion::SnapshotNotReceived(shard)
        }
    };
    // A loop that has ended needs no completion.
    let _ = tools.completions.send(completion);
}

struct Fetch<'a> {
    tools: &'a Tools,
    shard: ShardId,
    wishes: watch::Receiver<Wish>,
    /// The wish that is being fulfilled.
    wish: Wish,
    incoming: Incoming,
    piece_size: PieceSize,
    /// What the file holds, once it is whole.
    state: Option<(State, Vec<Living>)>,
    trouble: Trouble,
}

/// What came for a request, and how long that took.
type Answer = (Request, Result<Reply, transport::Error>, Duration);

impl<'a> Fetch<'a> {
    fn begin(tools: &'a Tools, shard: ShardId, wishes: watch::Receiver<Wish>) -> Result<Self, storage::Error> {
        let wish = *wishes.borrow();
        let wanted = wanted(tools, shard, &wish);
        let incoming = Incoming::begin(tools.store.clone(), wanted, incoming::Limits::default())?;
        let (piece_size, trouble) = (PieceSize::first(), Trouble::default());
        Ok(Self { tools, shard, wishes, wish, incoming, piece_size, state: None, trouble })
    }

    /// None: nobody wishes for it any more, or the node stops.
    fn finish(mut self) -> Result<Option<Restored>, storage::Error> {
        let runtime = Handle::current();
        let mut in_flight = FuturesUnordered::new();
        loop {
            let wish = *self.wishes.borrow();
            let stall = self.tools.stall();
            if wish.at.elapsed() > stall {
                return self.give_up();
            }
            if wish.from != self.wish.from {
                in_flight = FuturesUnordered::new();
                self.go_on_with(wish)?;
            }
            let free = IN_FLIGHT_MAX.saturating_sub(in_flight.len());
            self.incoming.set_piece_bytes(self.piece_size.bytes());
            let requests = if free > 0 { self.incoming.next_requests(IN_FLIGHT_MAX) } else { Vec::new() };
            in_flight.extend(requests.into_iter().map(|request| ask(self.tools, wish.from, request, stall)));
            let answer = runtime.block_on(next(&mut in_flight, self.wishes.clone()));
            if self.wishes.has_changed().is_err() {
                return self.give_up();
            }
            if let Some((request, reply, took)) = answer {
                self.judge_size(&request, &reply, took, stall);
                match self.take(&request, reply)? {
                    Taken::All => return self.received().map(Some),
                    Taken::Useless => return self.give_up(),
                    Taken::Nothing => runtime.block_on(tokio::time::sleep(PAUSE)),
                    Taken::Some => {}
                }
            }
            self.tools.transfers.report(self.shard, Some(self.incoming.progress()));
        }
    }

    /// Another node leads: what it has is another file, and the bodies are the same.
    fn go_on_with(&mut self, wish: Wish) -> Result<(), storage::Error> {
        self.incoming.go_on_with(wanted(self.tools, self.shard, &wish))?;
        self.wish = wish;
        self.state = None;
        Ok(())
    }

    /// Only what came as large as it was asked for tells what the line carries.
    fn judge_size(
        &mut self,
        request: &Request,
        reply: &Result<Reply, transport::Error>,
        took: Duration,
        stall: Duration,
    ) {
        match reply {
            Ok(Reply::Piece { bytes, .. }) if bytes.len() == request.bytes_max as usize => {
                self.piece_size.on_whole(request.bytes_max, took, stall);
            }
            Err(transport::Error::NoAnswer { .. }) => self.piece_size.on_lost(request.bytes_max),
            _ => {}
        }
    }

    fn take(&mut self, request: &Request, reply: Result<Reply, transport::Error>) -> Result<Taken, storage::Error> {
        let reply = match reply {
            Ok(reply) => reply,
            Err(transport::Error::RemovedBy { .. }) => return Ok(Taken::Useless),
            Err(error) => {
                self.incoming.on_lost(request);
                self.trouble.tell(format!("{error}"));
                return Ok(Taken::Nothing);
            }
        };
        let mut step = self.incoming.on_reply(request, reply);
        if matches!(step, Ok(Step::FileComplete)) {
            step = self.read_state()?;
        }
        match step {
            Ok(Step::More | Step::FileComplete) => Ok(Taken::Some),
            Ok(Step::Complete) => Ok(Taken::All),
            Ok(Step::Gone { instead: Some(last) }) => {
                tracing::info!("begins again with the snapshot up to {last}, and keeps the bodies that have come");
                self.state = None;
                self.incoming.restart(last)?;
                Ok(Taken::Some)
            }
            Ok(Step::Gone { instead: None }) => {
                self.incoming.on_lost(request);
                Ok(Taken::Nothing)
            }
            Err(Rejected::Disk(error)) => Err(error),
            // No answer would bring what the state needs.
            Err(rejected @ Rejected::Living(_)) => {
                let file = snapshot::name(self.shard, request.last.index);
                Err(storage::Error::Corrupt { file, offset: 0, why: rejected.to_string() })
            }
            Err(rejected) if rejected.is_harmless() => Ok(Taken::Some),
            Err(rejected) => {
                let from = self.tools.book.name_of(self.wish.from);
                self.trouble.tell(format!("an answer of {from} is not used: {rejected}"));
                Ok(Taken::Nothing)
            }
        }
    }

    /// The file is whole: which bodies does it need?
    fn read_state(&mut self) -> Result<Result<Step, Rejected>, storage::Error> {
        let Some(reader) = self.incoming.reader() else { return Ok(Ok(Step::More)) };
        let reader = reader?;
        let snapshot::Header { snapshot, settled, removed, addresses, .. } = reader.header().clone();
        let name = snapshot::name(self.shard, snapshot.last.index);
        let machine = read_machine(&self.tools.store, &name, self.tools.limits, reader)?;
        let living = machine.living();
        if let Err(error) = self.tools.book.merge(addresses) {
            tracing::warn!("the addresses in the snapshot are not used: {error}");
        }
        let step = self.incoming.want_bodies(&living);
        self.state = Some((State { snapshot, settled, removed, machine }, living));
        Ok(step)
    }

    /// Nobody needs it any more. The bodies that have come stay.
    fn give_up(self) -> Result<Option<Restored>, storage::Error> {
        self.incoming.give_up().map(|()| None)
    }

    /// Everything is there: lets the replica install it.
    fn received(self) -> Result<Restored, storage::Error> {
        let (state, living) = self.state.expect("the bodies were asked for with what the state told");
        let received = self.incoming.finish()?;
        let bytes = received.bytes;
        self.tools.keep_living(self.shard, received.last, living);
        self.tools.store.offer_received(self.shard, received);
        Ok(Restored { state, bytes })
    }
}

/// What an answer brought.
enum Taken {
    /// Something, and there is more.
    Some,
    /// Nothing: there is no hurry to ask for it again.
    Nothing,
    /// The last that was missing.
    All,
    /// This node is no member any more.
    Useless,
}

/// Tells of what goes wrong, each thing once in a row: asking goes on for as long as it takes.
#[derive(Default)]
struct Trouble {
    told: String,
}

impl Trouble {
    fn tell(&mut self, why: String) {
        if self.told != why {
            tracing::warn!("goes on fetching the snapshot: {why}");
            self.told = why;
        }
    }
}

fn wanted(tools: &Tools, shard: ShardId, wish: &Wish) -> incoming::Wanted {
    let Wish { from, last, committed, .. } = *wish;
    tracing::info!("fetches the snapshot up to {last} from {}", tools.book.name_of(from));
    incoming::Wanted { from, cluster: tools.cluster, shard, last, committed }
}

async fn ask(tools: &Tools, from: NodeId, request: Request, stall: Duration) -> Answer {
    let began = Instant::now();
    let reply = tools.transport.fetch_snapshot(from, &request, stall).await;
    (request, reply, began.elapsed())
}

/// The next answer; none after a while without a request, or when the node stops.
async fn next(
    in_flight: &mut FuturesUnordered<impl Future<Output = Answer>>,
    wishes: watch::Receiver<Wish>,
) -> Option<Answer> {
    if in_flight.is_empty() {
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => return None,
            () = ended(wishes) => return None,
        }
    }
    tokio::select! {
        answer = in_flight.next() => answer,
        () = ended(wishes) => None,
    }
}

/// Is ready when the node stops.
async fn ended(mut wishes: watch::Receiver<Wish>) {
    while wishes.changed().await.is_ok() {}
}
