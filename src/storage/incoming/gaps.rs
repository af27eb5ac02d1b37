//! Which parts of a file are there, on their way, and missing.

use std::collections::BTreeMap;

/// The parts of one file. A part is missing, in flight or there.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    /// Known when the first piece has come.
    size: Option<u64>,
    /// Beginnings and ends.
    missing: BTreeMap<u64, u64>,
    /// Beginnings and lengths. Few.
    in_flight: Vec<(u64, u64)>,
    received: u64,
}

impl Gaps {
    /// The first part that is missing, at most so long; it is in flight from here on. Before the length of the file is known
    /// there is only its beginning to ask for.
    pub(super) fn next(&mut self, bytes_max: u32) -> Option<(u64, u32)> {
        let (start, bytes) = match self.size {
            None if self.in_flight.is_empty() => (0, bytes_max),
            None => return None,
            Some(_) => {
                let (start, end) = self.missing.pop_first()?;
                let bytes = u32::try_from(end - start).unwrap_or(u32::MAX).min(bytes_max);
                self.add_missing(start + u64::from(bytes), end);
                (start, bytes)
            }
        };
        self.in_flight.push((start, bytes.into()));
        Some((start, bytes))
    }

    /// Ends the flight of a part, to be followed by `put`; false: it was not in flight.
    pub(super) fn take(&mut self, start: u64, bytes: u64) -> bool {
        let found = self.in_flight.iter().position(|part| *part == (start, bytes));
        found.map(|at| self.in_flight.swap_remove(at)).is_some()
    }

    /// The first `arrived` bytes of the part that was taken are there, the rest is missing.
    pub(super) fn put(&mut self, start: u64, bytes: u64, arrived: u64) {
        self.received += arrived;
        if let Some(size) = self.size {
            self.add_missing(start + arrived, (start + bytes).min(size));
        }
    }

    /// Says how long the file is. Told with the first part that came, of which `asked` bytes were asked for: to be followed by
    /// the `put` of that part.
    pub(super) fn set_size(&mut self, size: u64, asked: u64) {
        if self.size.is_none() {
            self.size = Some(size);
            self.add_missing(asked, size);
        }
    }

    /// Nothing is in flight any more.
    pub(super) fn forget_in_flight(&mut self) {
        for (start, bytes) in std::mem::take(&mut self.in_flight) {
            self.put(start, bytes, 0);
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn is_whole(&self) -> bool {
        self.size == Some(self.received)
    }

    /// Parts that touch are left apart: there are about as many of them as requests were in flight at a time.
    fn add_missing(&mut self, start: u64, end: u64) {
        if start < end {
            self.missing.insert(start, end);
        }
    }
}
