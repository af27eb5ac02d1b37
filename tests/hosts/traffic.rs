//! Clients of several queues, who enqueue all the while and know in the end what was acknowledged.

use crate::load::{Load, check_drained};
use crate::stateful_set::StatefulSet;

const QUEUES: [&str; 3] = ["orders", "invoices", "letters"];

/// Producers of each queue, each with a client of its own.
const PRODUCERS: usize = 2;

/// A running load on each queue.
pub struct Traffic {
    loads: Vec<Load>,
}

impl Traffic {
    pub fn start(set: &StatefulSet) -> Self {
        Self { loads: QUEUES.map(|queue| Load::start(set.endpoints(), queue, PRODUCERS)).into() }
    }

    /// Waits until so many further messages are acknowledged in each queue. Whatever happens, the service goes on.
    pub fn goes_on(&self, more: usize) {
        for load in &self.loads {
            load.eventually_acknowledges(more);
        }
    }

    /// How many messages were acknowledged so far.
    pub fn count(&self) -> usize {
        self.loads.iter().map(Load::count).sum()
    }

    /// Stops the producers, none of whose calls has failed, and takes everything out of the queues: what was acknowledged,
    /// each message once, each producer's in its order.
    pub fn check(self, set: &StatefulSet) {
        for (queue, load) in QUEUES.iter().zip(self.loads) {
            let acknowledged = load.finish();
            assert!(!acknowledged.is_empty(), "nothing was enqueued to {queue}");
            check_drained(set.endpoints(), queue, &acknowledged);
        }
    }
}
