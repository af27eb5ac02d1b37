//! How the node is, for whoever watches over its process: an orchestrator, a load balancer, a person.
//!
//! ```text
//!    node (Handle, Phase, what it waits for) --> watch    looks several times a second
//!                                            --> judge    pure: what was seen becomes a Verdict
//!    Verdict --> server    the health port: /livez, /readyz and the standard gRPC health service
//!            --> grpc      the same service on the client port
//!            --> log       a line when the node becomes ready, and when it is no longer
//! ```
//!
//! - *Live*: the event loop turns. A node that is not live can only be helped by killing it. The disk has no part in it: when
//!   a disk stalls, all nodes on it would be killed together, and none of them would be better off.
//! - *Ready*: the node does its part: it has recovered its log, is a member that votes (or a learner that is to stay one), has
//!   caught up, and is to go on. Whoever replaces nodes one by one may then stop the next one. It needs no leader for that: were
//!   all nodes unready while they have none, nobody could reach those that are to elect one.
//!
//! Invariants
//! - There is one verdict, and every port and line tells it.
//! - The port answers from before the log is recovered until the node has ended, and however many ask, and however slowly:
//!   whoever connects gets a place, if need be that of the oldest connection, and every wait on a connection ends with it.
//!
//! Not here: the condition of the cluster, which `quorate status` shows.

mod condition;
pub mod grpc;
mod judge;
mod server;
mod watch;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch::{Receiver, Sender};
use tokio::task::JoinSet;

use crate::node::{Handle, Phase};
use crate::telemetry::events::Ring;
use crate::transport::Listener;
pub use condition::{Condition, Verdict};

/// The health port, and what it tells. Dropping this closes the port.
#[derive(Debug)]
pub struct Health {
    verdicts: Sender<Verdict>,
    tasks: JoinSet<()>,
}

impl Health {
    /// Answers on `listener` from here on: that the process lives, and recovers its log.
    pub fn start(listener: Listener) -> Self {
        let verdicts = Sender::new(Verdict::recovering());
        let mut tasks = JoinSet::new();
        tasks.spawn(server::serve(listener, verdicts.subscribe()));
        Self { verdicts, tasks }
    }

    /// The log is recovered: looks at the node from here on, until it is gone. `failure` is why it cannot go on, in words, and set
    /// before `phase` tells of its end. `waits_for` is what it waits for before it can take part, in words; empty: nothing. A node
    /// that takes part and hears of no leader is ready after `leader_wait`. Changes are told as `events`.
    pub fn watch(
        &mut self,
        handle: Handle,
        phase: Receiver<Phase>,
        failure: Arc<OnceLock<String>>,
        waits_for: Receiver<String>,
        leader_wait: Duration,
        events: Ring,
    ) {
        let watched = watch::Watched { handle, phase, failure, waits_for, events };
        self.tasks.spawn(watch::watch(watched, leader_wait, self.verdicts.clone()));
    }

    /// Closes the port. It is free when this returns.
    pub async fn close(mut self) {
        self.tasks.shutdown().await;
    }

    /// How the node is, to wait for changes of it.
    pub fn verdicts(&self) -> Receiver<Verdict> {
        self.verdicts.subscribe()
    }
}
