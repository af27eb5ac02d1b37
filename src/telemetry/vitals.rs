//! What a node knows of itself: one place that the loop and the disk tell, and from which others read.

use std::sync::Arc;

use super::events::Ring;

/// The vital signs of one node. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Vitals {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    events: Ring,
}

impl Vitals {
    /// Of a node that starts.
    pub fn new() -> Self {
        Self { shared: Arc::default() }
    }

    /// What happened.
    pub fn events(&self) -> &Ring {
        &self.shared.events
    }
}
