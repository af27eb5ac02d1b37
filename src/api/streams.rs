//! Room for streams. Each holds memory and a task for as long as its client likes, so a node has only so many at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::errors::{self, Rejection};

/// The streams of one kind on this node, as far as there is room for them. Clones share the room.
#[derive(Clone)]
pub struct Streams {
    free: Arc<Semaphore>,
    streams_max: usize,
}

impl Streams {
    /// Room for `streams_max` streams at a time.
    pub fn new(streams_max: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(streams_max)), streams_max }
    }

    /// Room for a stream, which lasts as long as what is returned.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub fn enter(&self) -> Result<OwnedSemaphorePermit, Rejection> {
        self.free.clone().try_acquire_owned().map_err(|_| errors::too_many_streams(self.streams_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stream_too_many_is_refused_until_another_ends() {
        let streams = Streams::new(2);
        let _first = streams.enter().expect("there is room");
        let second = streams.enter().expect("there is room");
        assert_eq!(streams.clone().enter().unwrap_err().reason(), crate::reasons::OVERLOADED);
        drop(second);
        assert!(streams.enter().is_ok());
    }
}
