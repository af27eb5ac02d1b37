//! Files of bodies: records of living entries, without the log around them.

use super::Error;
use super::store::Store;
use crate::ids::{Index, ShardId};

/// Writes a file of bodies. One that is dropped before it is finished is removed.
pub struct BodiesWriter {}

/// A file of bodies that is durable, and not yet named in the manifest: for [`Store::add_bodies`].
pub struct FinishedBodies {}

impl BodiesWriter {
    /// Begins a file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(_store: &Store) -> Result<Self, Error> {
        unimplemented!()
    }

    /// Adds the whole record of an entry, as [`super::Pin::read_body`] gives it.
    ///
    /// # Errors
    /// [`Error::Malformed`]: it is not a record of that entry with a body. [`Error::Io`].
    pub fn push(&mut self, _shard: ShardId, _index: Index, _record: &[u8]) -> Result<(), Error> {
        unimplemented!()
    }

    /// The length of the file so far. A file is full at `Options::segment_bytes`; 1 GiB is the most.
    pub fn bytes(&self) -> u64 {
        unimplemented!()
    }

    /// Makes the file durable, with its index.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(self) -> Result<FinishedBodies, Error> {
        unimplemented!()
    }
}
