//! What a node knows of itself: one place that the loop and the disk tell, and from which others read.

use std::sync::Arc;

use super::Telemetry;
use super::events::Ring;

/// The vital signs of one node. Clones share them.
#[derive(Clone, Debug)]
pub struct Vitals {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    telemetry: Telemetry,
    events: Ring,
}

impl Vitals {
    /// Of a node that starts. What is measured goes to `telemetry` as well.
    pub fn new(telemetry: Telemetry) -> Self {
        Self { shared: Arc::new(Shared { telemetry, events: Ring::new() }) }
    }

    /// What happened.
    pub fn events(&self) -> &Ring {
        &self.shared.events
    }
}
