//! The receiver of a snapshot: what to ask for, and what becomes of the answers. Knows neither time nor network.
//!
//! ```text
//!    begin --> file: pieces --> FileComplete --> (the caller decodes the state) --> want_bodies --> bodies --> Complete --> finish
//!                 ^                                                                                   |
//!                 +------------------------------------- restart -------------------------------------+
//! ```
//!
//! Each request stands alone. Its answer may be lost, late, repeated or come before an earlier one; it may be shorter than
//! asked for and end anywhere, also within a record. What did not come is asked for again, and nothing is asked for twice at
//! the same time. Only the part of a record that came is dropped when the sender has written the record anew meanwhile.
//!
//! Bodies become the store's own as they come, a file of them at a time: a restart, of the transfer or of the process, does
//! not ask for them again. What holds memory is the list of bodies that are missing and a record for each request in flight.

mod batches;
mod gaps;
mod rejected;

use std::io;
use std::sync::Arc;

use super::bodies::BodiesWriter;
use super::disk::{File, UNSYNCED_BYTES_MAX};
use super::error::Error;
use super::record::{self, Record, u32_at};
use super::snapshot::{self, Header};
use super::store::{Received, Store};
use super::transfer::{PIECE_BYTES_MAX, Piece, Reply, Request};
use crate::ids::{ClusterId, EntryId, Index, NodeId, ShardId, Term};
use crate::state_machine::Living;

use batches::{Batch, Batches};
use gaps::Gaps;
pub use rejected::Rejected;

/// The longest record that is believed: more than a message between peers can carry.
pub const RECORD_BYTES_MAX: usize = 16 << 20;

/// Which snapshot is wanted, by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Who is asked. The files of two nodes differ, also for the same entry.
    pub from: NodeId,
    /// The cluster of both.
    pub cluster: ClusterId,
    /// The shard.
    pub shard: ShardId,
    /// The last entry that the snapshot has in it.
    pub last: EntryId,
    /// Entries of this node's own log up to here are committed: their bodies need not be fetched.
    pub committed: Index,
}

/// How much is done at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes that are asked for at a time, [`PIECE_BYTES_MAX`] at most.
    pub piece_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { piece_bytes: PIECE_BYTES_MAX }
    }
}

/// What follows from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to ask for, or to wait for.
    More,
    /// The file is whole and the one that is wanted: decode the state, and say which bodies it needs.
    FileComplete,
    /// All is there.
    Complete,
    /// The snapshot cannot be had any more: `restart` with the other one, or, if there is none, try later.
    Gone {
        /// The last entry of the other one.
        instead: Option<EntryId>,
    },
}

/// How far a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Who sends.
    pub from: NodeId,
    /// The last entry that the snapshot has in it.
    pub last: EntryId,
    /// Bytes of the file that are there.
    pub file_bytes: u64,
    /// Bytes of the file, once that is known.
    pub file_size: Option<u64>,
    /// Bodies that are there, those included that were there before.
    pub bodies: u64,
    /// Bodies that the state needs, once that is known.
    pub bodies_total: Option<u64>,
    /// Bytes of bodies that were received since the transfer began.
    pub bodies_bytes: u64,
}

/// A snapshot that is on its way here. Dropped before the end, it takes its file and the bodies that are not yet the store's
/// own with it.
pub struct Incoming {
    store: Store,
    wanted: Wanted,
    limits: Limits,
    file_name: String,
    file: Arc<dyn File>,
    gaps: Gaps,
    /// Once the file is whole.
    header: Option<Header>,
    /// Once the state has told what it needs.
    batches: Option<Batches>,
    /// The file of bodies that is not yet full.
    writer: Option<BodiesWriter>,
    bodies_bytes: u64,
    /// Bytes of the file that were written since its last sync.
    unsynced_bytes: u64,
    /// The length of the file as it was told last, if that is not the one that was told first.
    another_size: Option<u64>,
    is_finished: bool,
}

impl Incoming {
    /// Begins a transfer.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn begin(store: Store, wanted: Wanted, limits: Limits) -> Result<Self, Error> {
        let limits = Limits { piece_bytes: limits.piece_bytes.clamp(1, PIECE_BYTES_MAX) };
        let (file_name, file) = create_file(&store, &wanted)?;
        Ok(Self {
            store,
            wanted,
            limits,
            file_name,
            file,
            gaps: Gaps::default(),
            header: None,
            batches: None,
            writer: None,
            bodies_bytes: 0,
            unsynced_bytes: 0,
            another_size: None,
            is_finished: false,
        })
    }

    /// From here on so many bytes are asked for at a time, [`PIECE_BYTES_MAX`] at most.
    pub fn set_piece_bytes(&mut self, piece_bytes: u32) {
        self.limits.piece_bytes = piece_bytes.clamp(1, PIECE_BYTES_MAX);
    }

    /// What to ask for, so that up to `in_flight_max` requests wait for their answers.
    pub fn next_requests(&mut self, in_flight_max: usize) -> Vec<Request> {
        let mut requests = Vec::new();
        while self.in_flight() < in_flight_max
            && let Some((piece, bytes_max)) = self.next_piece()
        {
            requests.push(Request { shard: self.wanted.shard, last: self.wanted.last, bytes_max, piece });
        }
        requests
    }

    /// How many requests wait for their answers.
    pub fn in_flight(&self) -> usize {
        self.gaps.in_flight() + self.batches.as_ref().map_or(0, Batches::in_flight)
    }

    /// Takes an answer. Waits for the disk.
    ///
    /// # Errors
    /// Why it is not used.
    pub fn on_reply(&mut self, request: &Request, reply: Reply) -> Result<Step, Rejected> {
        if !self.is_for(request) {
            return Err(Rejected::AnotherSnapshot(request.last));
        }
        let (bytes, crc, size) = match reply {
            Reply::Piece { bytes, crc, size } => (bytes, crc, size),
            Reply::Gone { instead } if instead == Some(request.last) && self.begin_record(request) => {
                return Ok(Step::More);
            }
            Reply::Gone { .. } if !self.give_back(request) => return Err(Rejected::NotAsked),
            Reply::Gone { instead } => return Ok(Step::Gone { instead }),
        };
        let check = check_piece(&bytes, crc, request.bytes_max);
        match &request.piece {
            Piece::File { offset } => {
                let (offset, asked) = (*offset, u64::from(request.bytes_max));
                if !self.gaps.take(offset, asked) {
                    return Err(Rejected::NotAsked);
                }
                let written = check.and_then(|()| self.write_file(offset, &bytes, size));
                if let Err(Rejected::AnotherSize { found, .. }) = written
                    && self.another_size.replace(found) == Some(found)
                {
                    // Said twice, it is no slip: the sender has another file than the one of which something has come.
                    self.begin_file()?;
                    return written.map(|()| Step::More);
                }
                if written.is_ok() {
                    self.gaps.set_size(size, asked);
                }
                self.gaps.put(offset, asked, if written.is_ok() { bytes.len() as u64 } else { 0 });
                written?;
                if self.gaps.is_whole() { self.check_file() } else { Ok(Step::More) }
            }
            piece @ Piece::Bodies { .. } => {
                let batch = self.batches.as_mut().and_then(|batches| batches.take(piece));
                let mut batch = batch.ok_or(Rejected::NotAsked)?;
                let taken = check.and_then(|()| self.take_records(&mut batch, &bytes));
                self.batches.as_mut().expect("the batch came from there").put(batch);
                taken?;
                Ok(self.step())
            }
        }
    }

    /// The answer to a request will not come.
    pub fn on_lost(&mut self, request: &Request) {
        if self.is_for(request) {
            self.give_back(request);
        }
    }

    /// No answer will come any more: the connection broke.
    pub fn forget_in_flight(&mut self) {
        self.gaps.forget_in_flight();
        if let Some(batches) = &mut self.batches {
            batches.forget_in_flight();
        }
    }

    /// The file, to decode the state from; none until it is complete.
    ///
    /// # Errors
    /// [`Error::Io`], and all that can be wrong with a file that was right before.
    pub fn reader(&self) -> Option<Result<snapshot::Reader, Error>> {
        self.header.as_ref().map(|_| snapshot::Reader::open(&**self.store.disk(), &self.file_name))
    }

    /// Says which bodies the state of the file needs. Those that are there are not asked for.
    ///
    /// # Errors
    /// [`Rejected::Living`]: it needs one that no such snapshot can have. [`Rejected::Disk`].
    ///
    /// # Panics
    /// The file is not complete.
    pub fn want_bodies(&mut self, living: &[Living]) -> Result<Step, Rejected> {
        assert!(self.header.is_some(), "the bodies of {} are wanted before its file is complete", self.wanted.last);
        let mut records: Vec<(Index, u32)> = living.iter().map(|living| (living.id.index, living.bytes)).collect();
        records.sort_unstable();
        records.dedup_by(|next, kept| {
            let is_same = next.0 == kept.0;
            kept.1 = kept.1.saturating_add(if is_same { next.1 } else { 0 });
            is_same
        });
        let possible = Index(1)..=self.wanted.last.index;
        if let Some((index, _)) = records.iter().find(|(index, _)| !possible.contains(index)) {
            return Err(Rejected::Living(*index));
        }
        // Before the store is asked what it has.
        self.keep_bodies()?;
        let total = records.len() as u64;
        let Wanted { shard, committed, .. } = self.wanted;
        records.retain(|(index, _)| !self.store.has_body(shard, *index, committed));
        self.batches = Some(Batches::new(total, records));
        Ok(self.step())
    }

    /// Begins with another snapshot of the same node, and keeps the bodies that have come.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn restart(&mut self, last: EntryId) -> Result<(), Error> {
        self.go_on_with(Wanted { last, ..self.wanted })
    }

    /// Begins with the snapshot of another node, and keeps the bodies that have come. Answers of the one before must not be
    /// given to `on_reply` any more: the files of two nodes differ.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn go_on_with(&mut self, wanted: Wanted) -> Result<(), Error> {
        self.keep_bodies()?;
        self.wanted = wanted;
        self.begin_file()
    }

    /// Gives the transfer up, and keeps the bodies that have come.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn give_up(mut self) -> Result<(), Error> {
        self.keep_bodies()
    }

    /// True when all is there.
    pub fn is_complete(&self) -> bool {
        self.batches.as_ref().is_some_and(Batches::is_done)
    }

    /// Hands over what has come, for [`Store::offer_received`].
    ///
    /// # Errors
    /// [`Error::Io`].
    ///
    /// # Panics
    /// Something is missing.
    pub fn finish(mut self) -> Result<Received, Error> {
        assert!(self.is_complete(), "the snapshot up to {} is offered before all of it is there", self.wanted.last);
        self.keep_bodies()?;
        self.is_finished = true;
        Ok(Received {
            written: self.file_name.clone(),
            last: self.wanted.last,
            bytes: self.gaps.received(),
            committed: self.wanted.committed,
        })
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        Progress {
            from: self.wanted.from,
            last: self.wanted.last,
            file_bytes: self.gaps.received(),
            file_size: self.gaps.size(),
            bodies: self.batches.as_ref().map_or(0, Batches::done),
            bodies_total: self.batches.as_ref().map(Batches::total),
            bodies_bytes: self.bodies_bytes,
        }
    }

    fn next_piece(&mut self) -> Option<(Piece, u32)> {
        let piece_bytes = self.limits.piece_bytes;
        match &mut self.batches {
            None => self.gaps.next(piece_bytes).map(|(offset, bytes)| (Piece::File { offset }, bytes)),
            Some(batches) => batches.next(piece_bytes).map(|piece| (piece, piece_bytes)),
        }
    }

    fn is_for(&self, request: &Request) -> bool {
        (request.shard, request.last) == (self.wanted.shard, self.wanted.last)
    }

    /// Lets what a request asks for be asked for again; false: nobody waits for it.
    fn give_back(&mut self, request: &Request) -> bool {
        match &request.piece {
            Piece::File { offset } => {
                let asked = u64::from(request.bytes_max);
                let is_taken = self.gaps.take(*offset, asked);
                if is_taken {
                    self.gaps.put(*offset, asked, 0);
                }
                is_taken
            }
            piece @ Piece::Bodies { .. } => {
                let Some(batches) = &mut self.batches else { return false };
                batches.take(piece).map(|batch| batches.put(batch)).is_some()
            }
        }
    }

    /// The sender does not have the record any more that a request would have continued, but another one of the same entry: that
    /// is asked for from its beginning. False: there is none that the request would have continued.
    fn begin_record(&mut self, request: &Request) -> bool {
        let is_continued = matches!(request.piece, Piece::Bodies { skip: 1.., .. });
        let Some(batches) = self.batches.as_mut().filter(|_| is_continued) else { return false };
        let Some(mut batch) = batches.take(&request.piece) else { return false };
        batch.gathered.clear();
        batches.put(batch);
        true
    }

    fn write_file(&mut self, offset: u64, bytes: &[u8], size: u64) -> Result<(), Rejected> {
        match self.gaps.size() {
            None if bytes.len() as u64 > size => {
                return Err(Rejected::Oversized { bytes: bytes.len() as u64, bytes_max: size });
            }
            None => {}
            Some(known) if known == size => {}
            Some(known) => return Err(Rejected::AnotherSize { found: size, known }),
        }
        let write = || self.file.write_at(offset, bytes).map_err(Error::io("write to", self.described()));
        self.store.with_room(write)?;
        self.store.count_snapshot_bytes(bytes.len() as u64);
        self.unsynced_bytes += bytes.len() as u64;
        if self.unsynced_bytes >= UNSYNCED_BYTES_MAX {
            self.sync_file()?;
        }
        Ok(())
    }

    fn sync_file(&mut self) -> Result<(), Error> {
        self.file.sync().map_err(Error::io("sync", self.described()))?;
        self.unsynced_bytes = 0;
        Ok(())
    }

    /// The last piece has come: is the whole what was asked for?
    fn check_file(&mut self) -> Result<Step, Rejected> {
        self.sync_file()?;
        match self.read_header() {
            Ok(header) => self.header = Some(header),
            Err(Rejected::File(error @ Error::Io { .. })) => return Err(Rejected::Disk(error)),
            Err(rejected) => {
                self.begin_file()?;
                return Err(rejected);
            }
        }
        Ok(Step::FileComplete)
    }

    fn read_header(&self) -> Result<Header, Rejected> {
        let reader = snapshot::Reader::open(&**self.store.disk(), &self.file_name).map_err(Rejected::File)?;
        let header = reader.header().clone();
        header.check(self.wanted.cluster, self.wanted.shard, self.wanted.last)?;
        reader.check().map_err(Rejected::File)?;
        Ok(header)
    }

    fn begin_file(&mut self) -> Result<(), Error> {
        self.remove_file();
        (self.file_name, self.file) = create_file(&self.store, &self.wanted)?;
        self.gaps = Gaps::default();
        self.another_size = None;
        self.unsynced_bytes = 0;
        self.header = None;
        self.batches = None;
        Ok(())
    }

    /// Takes all records that are whole, and leaves the beginning of the one after them in the batch. After an error
    /// the record that is not right is asked for from its beginning.
    fn take_records(&mut self, batch: &mut Batch, bytes: &[u8]) -> Result<(), Rejected> {
        let mut gathered = std::mem::take(&mut batch.gathered);
        gathered.extend_from_slice(bytes);
        self.bodies_bytes += bytes.len() as u64;
        let mut rest = &gathered[..];
        while let [wanted, more @ ..] = batch.indexes() {
            let Some((record, after)) = first_record(rest, *wanted)? else { break };
            if more.is_empty() && !after.is_empty() {
                return Err(Rejected::Oversized { bytes: rest.len() as u64, bytes_max: record.len() as u64 });
            }
            let wanted = *wanted;
            self.check_record(record, wanted)?;
            self.push(record, wanted)?;
            batch.pop();
            rest = after;
        }
        batch.gathered = rest.to_vec();
        Ok(())
    }

    fn check_record(&self, bytes: &[u8], wanted: Index) -> Result<(), Rejected> {
        let (record, _) =
            Record::decode(bytes).map_err(|why| Rejected::Record { index: wanted, why: why.to_owned() })?;
        if (record.shard, record.id.index) != (self.wanted.shard, wanted) {
            return Err(Rejected::AnotherRecord { found: record.id, shard: record.shard, wanted });
        }
        if record.id.term == Term(0) || record.id.term > self.wanted.last.term {
            let why = format!("its term {} does not fit a snapshot up to {}", record.id.term, self.wanted.last);
            return Err(Rejected::Record { index: wanted, why });
        }
        Ok(())
    }

    fn push(&mut self, record: &[u8], index: Index) -> Result<(), Rejected> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(BodiesWriter::create(&self.store)?),
        };
        writer.push(self.wanted.shard, index, record).map_err(|error| match error {
            Error::Malformed(why) => Rejected::Record { index, why: why.to_owned() },
            other => Rejected::Disk(other),
        })?;
        if writer.bytes() >= self.store.segment_bytes() {
            self.keep_bodies()?;
        }
        Ok(())
    }

    /// Makes what has come of bodies the store's own.
    fn keep_bodies(&mut self) -> Result<(), Error> {
        match self.writer.take() {
            Some(writer) => self.store.add_bodies(writer.finish()?),
            None => Ok(()),
        }
    }

    fn step(&self) -> Step {
        if self.is_complete() { Step::Complete } else { Step::More }
    }

    fn described(&self) -> String {
        self.store.disk().describe(&self.file_name)
    }

    fn remove_file(&self) {
        // What cannot be removed here goes when the directory is opened the next time: nothing names it.
        let _ = self.store.disk().remove(&self.file_name);
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.is_finished {
            self.remove_file();
        }
    }
}

/// Makes a file whose name nobody has: one of the same snapshot may have been received before, and wait to be put in force.
fn create_file(store: &Store, wanted: &Wanted) -> Result<(String, Arc<dyn File>), Error> {
    let disk = store.disk();
    for number in 1_u64.. {
        let name = format!("{}.received-{number}", snapshot::name(wanted.shard, wanted.last.index));
        match disk.create(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return Ok((name.clone(), created.map_err(Error::io("create", disk.describe(&name)))?)),
        }
    }
    unreachable!("a directory has fewer than 2^64 files")
}

fn check_piece(bytes: &[u8], crc: u32, bytes_max: u32) -> Result<(), Rejected> {
    if bytes.is_empty() {
        return Err(Rejected::Empty);
    }
    if bytes.len() > bytes_max as usize {
        return Err(Rejected::Oversized { bytes: bytes.len() as u64, bytes_max: bytes_max.into() });
    }
    if crc32c::crc32c(bytes) != crc {
        return Err(Rejected::Checksum);
    }
    Ok(())
}

/// A record and what comes after it.
type Split<'a> = (&'a [u8], &'a [u8]);

/// The bytes of the first record and those after it; none: there is not yet all of it. Its length is checked before more is
/// waited for.
fn first_record(bytes: &[u8], index: Index) -> Result<Option<Split<'_>>, Rejected> {
    if bytes.len() < record::HEADER_BYTES {
        return Ok(None);
    }
    let length = record::HEADER_BYTES + u32_at(bytes, 4) as usize;
    if length > RECORD_BYTES_MAX {
        let why = format!("{length} bytes are more than the {RECORD_BYTES_MAX} that a record can have");
        return Err(Rejected::Record { index, why });
    }
    Ok(bytes.split_at_checked(length))
}
