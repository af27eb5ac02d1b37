//! Snapshots, beside the loop: they are written, and what they leave behind is compacted.
//!
//! ```text
//!    TakeSnapshot --> a blocking thread: file written, synced, named in the manifest --> SnapshotTaken
//!    Compact      --> the compaction thread, at its own pace
//!    FetchSnapshot -> a blocking thread (`catch_up`) --> SnapshotReceived
//! ```
//!
//! A snapshot that cannot be written is no reason to stop: the one before is still there, and the next one is tried when it is
//! due.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::catch_up::{self, Wish};
use super::event_loop::{Completion, Completions};
use super::transfers::Transfers;
use crate::ids::{ClusterId, Contact, EntryId, Index, NodeId, ShardId};
use crate::replica::{Restored, State, Taking};
use crate::state_machine::{InvalidState, Limits, Living, MessageId, ReadError, StateMachine};
use crate::storage::{self, Store, snapshot};
use crate::transport::{AddressBook, Transport};

/// What the writing and the fetching of snapshots need. Clones share everything.
#[derive(Clone)]
pub struct Tools {
    /// Whose snapshots.
    pub cluster: ClusterId,
    /// Where they are.
    pub store: Store,
    /// Where members can be reached, which goes into a snapshot, and comes out of it.
    pub book: AddressBook,
    /// The way to the other nodes.
    pub transport: Transport,
    /// Where it is told how far the fetching is.
    pub transfers: Transfers,
    /// See [`Tools::stall`].
    pub stall_min: Duration,
    /// What the state machine may hold.
    pub limits: Limits,
    /// Where it is reported.
    pub completions: Completions,
    /// What lives as of the snapshots that are not compacted yet.
    pub living: Arc<Mutex<LivingSets>>,
}

/// What lives, by shard and snapshot.
pub type LivingSets = BTreeMap<(ShardId, EntryId), Vec<Living>>;

/// So much may wait for compaction in any case.
const DEBT_BYTES_MAX: u64 = 256 << 20;

/// Compaction pauses after so many bytes: shorter pauses than that take are not to be had.
const PACED_BYTES: u64 = 256 << 10;

/// What compaction is to do, one for each shard: the latest wins.
#[derive(Default)]
struct Compactions {
    wanted: BTreeMap<ShardId, (EntryId, Vec<Living>)>,
    /// The node stops.
    is_ended: bool,
}

/// Where the loop leaves what the compaction thread takes.
#[derive(Default)]
struct Desk {
    compactions: Mutex<Compactions>,
    changed: Condvar,
}

impl Desk {
    /// The next one; none: the node stops.
    fn next(&self) -> Option<(ShardId, EntryId, Vec<Living>)> {
        let is_idle = |compactions: &mut Compactions| compactions.wanted.is_empty() && !compactions.is_ended;
        let waited = self.changed.wait_while(self.lock(), is_idle);
        let mut compactions = waited.unwrap_or_else(PoisonError::into_inner);
        let (shard, (last, living)) = compactions.wanted.pop_first().filter(|_| !compactions.is_ended)?;
        Some((shard, last, living))
    }

    /// Waits for so long, but not for longer than the node runs.
    fn pause(&self, pause: Duration) -> ControlFlow<()> {
        let waited = self.changed.wait_timeout_while(self.lock(), pause, |compactions| !compactions.is_ended);
        let (compactions, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if compactions.is_ended { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn change(&self, change: impl FnOnce(&mut Compactions)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Whole at any time: good also when somebody panicked with the lock.
    fn lock(&self) -> MutexGuard<'_, Compactions> {
        self.compactions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The snapshots of a node.
pub struct Snapshots {
    tools: Tools,
    desk: Arc<Desk>,
    fetching: BTreeMap<ShardId, watch::Sender<Wish>>,
    tasks: JoinSet<()>,
}

/// On a slow line a fetch goes on for so many times as long as a message and its answer nearly always take: two of three may be
/// lost on the way.
const STALL_TIMES: u32 = 4;

impl Tools {
    /// A sender that does not answer for this long is asked anew, and nothing is fetched that nobody has wished for so long. What
    /// was set, and more where the way to the others is slow.
    pub fn stall(&self) -> Duration {
        self.stall_min.max(self.transport.measured().unwrap_or_default().saturating_mul(STALL_TIMES))
    }

    /// Keeps what lives as of a snapshot until that is compacted.
    pub fn keep_living(&self, shard: ShardId, last: EntryId, living: Vec<Living>) {
        let mut sets = self.living.lock().unwrap_or_else(PoisonError::into_inner);
        sets.insert((shard, last), living);
    }

    /// What lives as of this snapshot. Those before it are forgotten.
    fn take_living(&self, shard: ShardId, last: EntryId) -> Option<Vec<Living>> {
        let mut sets = self.living.lock().unwrap_or_else(PoisonError::into_inner);
        let living = sets.remove(&(shard, last));
        sets.retain(|(other, of), _| *other != shard || *of > last);
        living
    }

    /// Writes a snapshot, and keeps what lives as of it.
    fn write(&self, shard: ShardId, taking: Taking) -> Result<Completion, storage::Error> {
        let (last, log_start) = (taking.state.snapshot.last, taking.log_start);
        let (bytes, living) = write(&self.store, self.cluster, shard, self.book.all(), taking)?;
        self.keep_living(shard, last, living);
        Ok(Completion::SnapshotTaken { shard, last, log_start, bytes })
    }
}

impl Snapshots {
    /// Nothing is under way yet. `rate` is how many bytes compaction copies in a second.
    pub fn start(tools: Tools, rate: u64) -> Self {
        let desk = Arc::<Desk>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn_blocking({
            let (desk, tools) = (desk.clone(), tools.clone());
            move || compact(&tools, &desk, rate)
        });
        Self { tools, desk, fetching: BTreeMap::new(), tasks }
    }

    /// Writes a snapshot, and reports what became of it.
    pub fn take(&mut self, shard: ShardId, taking: Taking) {
        self.forget_finished();
        let tools = self.tools.clone();
        self.tasks.spawn_blocking(move || {
            let completion = tools.write(shard, taking).unwrap_or_else(|error| match error {
                error if tools.store.has_failed() => Completion::Failed(error),
                storage::Error::Superseded { .. } => Completion::SnapshotNotTaken(shard),
                error => {
                    tracing::warn!("took no snapshot, and tries again later: {error}");
                    Completion::SnapshotNotTaken(shard)
                }
            });
            // A loop that has ended needs no completion.
            let _ = tools.completions.send(completion);
        });
    }

    /// Has what lives no more as of this snapshot removed. What is on its way to a client lives as well.
    pub fn compact(&mut self, shard: ShardId, last: EntryId, being_read: BTreeSet<MessageId>) {
        if let Some(mut living) = self.tools.take_living(shard, last) {
            add_being_read(&mut living, being_read);
            self.desk.change(|compactions| drop(compactions.wanted.insert(shard, (last, living))));
        }
    }

    /// Fetches the leader's snapshot, if that is not being done already.
    pub fn fetch(&mut self, shard: ShardId, from: NodeId, last: EntryId, committed: Index) {
        let wish = Wish { from, last, committed, at: Instant::now() };
        if let Some(fetching) = self.fetching.get(&shard) {
            fetching.send_replace(wish);
            return;
        }
        self.forget_finished();
        let (fetching, wishes) = watch::channel(wish);
        self.fetching.insert(shard, fetching);
        let tools = self.tools.clone();
        self.tasks.spawn_blocking(move || catch_up::run(&tools, shard, wishes));
    }

    /// What was being fetched has come, or does not come. Another fetch before that could take away what waits to be installed.
    pub fn on_fetch_ended(&mut self, shard: ShardId) {
        self.fetching.remove(&shard);
    }

    /// Ends what is under way, and waits for it.
    pub async fn stop(mut self) {
        self.end();
        while self.tasks.join_next().await.is_some() {}
    }

    fn end(&mut self) {
        self.desk.change(|compactions| compactions.is_ended = true);
        self.fetching.clear();
    }

    fn forget_finished(&mut self) {
        while self.tasks.try_join_next().is_some() {}
    }
}

/// A thread cannot be aborted: when the loop is dropped instead of stopped, as where a test has failed, the threads end by this.
impl Drop for Snapshots {
    fn drop(&mut self) {
        self.end();
    }
}

/// Writes a snapshot and makes it the shard's. Returns its length, and what lives as of it.
///
/// # Errors
/// The disk refused: the snapshot before is still there. [`storage::Error::Superseded`]: a later one is there.
pub fn write(
    store: &Store,
    cluster: ClusterId,
    shard: ShardId,
    addresses: Vec<Contact>,
    taking: Taking,
) -> Result<(u64, Vec<Living>), storage::Error> {
    let Taking { state: State { snapshot, settled, removed, machine }, log_start } = taking;
    let header = snapshot::Header { cluster, shard, snapshot, settled, removed, addresses };
    let written = store.with_room(|| {
        let mut writer = snapshot::Writer::create(store.disk().clone(), &header)?;
        machine.write_blocks(|block| writer.write_block(block))?;
        writer.finish()
    })?;
    store.count_snapshot_bytes(written.bytes);
    store.commit_snapshot(shard, &written, log_start)?;
    Ok((written.bytes, machine.living()))
}

/// The snapshot of a shard as it is on disk; none if there is none.
///
/// # Errors
/// It cannot be read, is that of somebody else, or bodies that it needs are missing.
pub fn restore(
    store: &Store,
    cluster: Option<ClusterId>,
    shard: ShardId,
    limits: Limits,
) -> Result<Option<(Restored, Vec<Living>)>, storage::Error> {
    let Some(file) = store.snapshot(shard) else { return Ok(None) };
    let corrupt = |why: String| storage::Error::Corrupt { file: store.disk().describe(&file.name), offset: 0, why };
    let reader = snapshot::Reader::open(&**store.disk(), &file.name)?;
    let header = reader.header().clone();
    let is_right = header.check(cluster.unwrap_or(header.cluster), shard, file.last);
    is_right.map_err(|mismatch| corrupt(mismatch.to_string()))?;
    let machine = read_machine(store, &file.name, limits, reader)?;
    let living = machine.living();
    if let Some(missing) = store.missing_bodies(shard, &living).first() {
        return Err(corrupt(format!("the body of entry {missing} is needed, and is in no file")));
    }
    let snapshot::Header { snapshot, settled, removed, .. } = header;
    let state = State { snapshot, settled, removed, machine };
    Ok(Some((Restored { state, bytes: file.bytes }, living)))
}

/// The state machine in the blocks of a snapshot's file, `name`.
///
/// # Errors
/// The disk refused, or the blocks are no state.
pub fn read_machine(
    store: &Store,
    name: &str,
    limits: Limits,
    reader: snapshot::Reader,
) -> Result<StateMachine, storage::Error> {
    StateMachine::read_blocks(limits, reader).map_err(|error| no_state(store.disk().describe(name), error))
}

/// A state of another format is whole: who restored the file would find it so again.
fn no_state(file: String, error: ReadError<storage::Error>) -> storage::Error {
    match error {
        ReadError::Source { source, .. } => source,
        ReadError::Invalid { source: InvalidState::Format { found }, .. } => {
            storage::Error::AnotherFormat { file, found }
        }
        ReadError::Invalid { .. } => storage::Error::Corrupt { file, offset: 0, why: error.to_string() },
    }
}

/// Adds messages to what lives.
pub fn add_being_read(living: &mut Vec<Living>, being_read: BTreeSet<MessageId>) {
    let is_known = |id: &MessageId| living.binary_search_by_key(id, |living| living.id).is_ok();
    let others: Vec<MessageId> = being_read.into_iter().filter(|id| !is_known(id)).collect();
    living.extend(others.into_iter().map(|id| Living { id, bytes: 0 }));
    living.sort_unstable();
}

/// The compaction thread: always the latest that is wanted, until the node stops.
fn compact(tools: &Tools, desk: &Desk, rate: u64) {
    let store = &tools.store;
    while let Some((shard, last, living)) = desk.next() {
        let rate = if is_in_debt(store) { f64::INFINITY } else { rate as f64 };
        let mut unpaced = 0;
        let mut pace = |copied: u64| {
            unpaced += copied;
            if unpaced < PACED_BYTES {
                return ControlFlow::Continue(());
            }
            desk.pause(Duration::from_secs_f64(std::mem::take(&mut unpaced) as f64 / rate))
        };
        match store.compact(shard, last, &living, &mut pace) {
            Ok(compacted) => tracing::debug!(?compacted, "compacted the log"),
            // A loop that has ended needs no completion.
            Err(error) if store.has_failed() => drop(tools.completions.send(Completion::Failed(error))),
            Err(error) => tracing::error!("cannot compact the log, and tries again after the next snapshot: {error}"),
        }
    }
}

/// True when more waits for compaction than lives, so that it must not be slow.
fn is_in_debt(store: &Store) -> bool {
    store.usage().is_ok_and(|usage| usage.archive_bytes > 2 * usage.living_bytes + DEBT_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who is told that a disk is corrupt looks for the wrong thing.
    #[test]
    fn a_state_of_another_format_is_not_corrupt() {
        let error = |source| no_state("snapshot-7".to_owned(), ReadError::Invalid { block: 0, source });
        let other = error(InvalidState::Format { found: 0 });
        assert!(matches!(other, storage::Error::AnotherFormat { found: 0, .. }), "{other:?}");
        assert!(other.to_string().contains("start the release of quorate that wrote it"), "{other}");
        assert!(matches!(error(InvalidState::NoHead), storage::Error::Corrupt { .. }));
    }
}
