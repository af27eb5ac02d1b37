//! Which bodies are there, on their way, and missing.

use std::collections::VecDeque;

use crate::ids::Index;
use crate::storage::record;
use crate::storage::transfer::{INDEXES_MAX, Piece};

/// Bodies that are asked for together.
#[derive(Debug)]
pub(super) struct Batch {
    indexes: Vec<Index>,
    /// How many of them have come.
    come: usize,
    /// Bytes of the next one that have come.
    pub(super) gathered: Vec<u8>,
}

impl Batch {
    /// Those that have not come, in order.
    pub(super) fn indexes(&self) -> &[Index] {
        &self.indexes[self.come..]
    }

    /// What there is to ask for.
    fn piece(&self) -> Piece {
        let skip_crc = Some(crc32c::crc32c(&self.gathered));
        Piece::Bodies { indexes: self.indexes.clone(), skip: self.gathered.len() as u32, skip_crc }
    }

    /// True when the request is for what there is to ask for.
    fn is_asked_for_by(&self, piece: &Piece) -> bool {
        // The checksum last: it goes through all that has come.
        let Piece::Bodies { indexes, skip, .. } = piece else { return false };
        self.gathered.len() == *skip as usize && self.indexes == *indexes && self.piece() == *piece
    }

    /// The next one has come.
    pub(super) fn pop(&mut self) {
        self.come += 1;
    }
}

/// The bodies of a transfer.
#[derive(Debug)]
pub(super) struct Batches {
    total: u64,
    done: u64,
    /// In no batch yet, in order, each with the bytes that it is known to have.
    missing: VecDeque<(Index, u32)>,
    /// To be asked for again.
    returned: VecDeque<Batch>,
    /// Few.
    in_flight: Vec<Batch>,
}

impl Batches {
    /// Of `total` bodies these are missing.
    pub(super) fn new(total: u64, missing: Vec<(Index, u32)>) -> Self {
        Self {
            total,
            done: total - missing.len() as u64,
            missing: missing.into(),
            returned: VecDeque::new(),
            in_flight: Vec::new(),
        }
    }

    /// What to ask for next, in flight from here on. A batch holds about what fits in a piece, so that several can be under way.
    pub(super) fn next(&mut self, piece_bytes: u32) -> Option<Piece> {
        let batch = match self.returned.pop_front() {
            Some(batch) => batch,
            None => self.fresh(piece_bytes)?,
        };
        let next = batch.piece();
        self.in_flight.push(batch);
        Some(next)
    }

    /// Ends the flight of a batch, to be followed by `put`; none: it is not in flight.
    pub(super) fn take(&mut self, piece: &Piece) -> Option<Batch> {
        let at = self.in_flight.iter().position(|batch| batch.is_asked_for_by(piece))?;
        Some(self.in_flight.swap_remove(at))
    }

    /// What has not come of a batch is to be asked for again.
    pub(super) fn put(&mut self, mut batch: Batch) {
        self.done += batch.come as u64;
        batch.indexes.drain(..batch.come);
        batch.come = 0;
        if !batch.indexes.is_empty() {
            self.returned.push_back(batch);
        }
    }

    /// Nothing is in flight any more.
    pub(super) fn forget_in_flight(&mut self) {
        self.returned.extend(self.in_flight.drain(..));
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn done(&self) -> u64 {
        self.done
    }

    pub(super) fn is_done(&self) -> bool {
        self.done == self.total
    }

    fn fresh(&mut self, piece_bytes: u32) -> Option<Batch> {
        let mut room = u64::from(piece_bytes);
        let mut indexes = Vec::new();
        while indexes.len() < INDEXES_MAX
            && room > 0
            && let Some((index, bytes)) = self.missing.pop_front()
        {
            room = room.saturating_sub(record::HEADER_BYTES as u64 + u64::from(bytes));
            indexes.push(index);
        }
        (!indexes.is_empty()).then_some(Batch { indexes, come: 0, gathered: Vec::new() })
    }
}
