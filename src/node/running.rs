//! The phases of a node, and how it stops.

use std::net::SocketAddr;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Error, Handle};

/// What a node is doing, in the order of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It applies for membership of a cluster.
    Joining,
    /// It takes part.
    Serving,
    /// It is about to stop, and gives up leadership first. Clients are served all the while.
    HandingOver,
    /// It answers what is in flight and takes nothing more.
    Draining,
    /// The loop ends.
    Stopped,
}

/// A node that runs in the background. Dropping this does not stop it.
#[derive(Debug)]
pub struct Running {
    /// A way to ask it things.
    pub handle: Handle,
    /// Where it listens for clients.
    pub client_address: SocketAddr,
    /// Where it listens for peers.
    pub peer_address: SocketAddr,
    /// Where people and Prometheus look at it.
    pub admin_address: SocketAddr,
    /// Where it tells how it is.
    pub health_address: SocketAddr,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) task: JoinHandle<Result<(), Error>>,
}

impl Running {
    /// Waits until the node ends by itself, which it does only when it cannot go on. May be called again after it was dropped
    /// half way, but not after it has returned.
    ///
    /// # Errors
    /// Why it cannot go on.
    pub async fn wait(&mut self) -> Result<(), Error> {
        (&mut self.task).await.expect("the node's task does not panic, and nobody aborts it")
    }

    /// Stops the node: it hands over leadership, takes nothing more, answers what is in flight up to the drain deadline, and
    /// finishes all writes.
    ///
    /// # Errors
    /// What went wrong at the end.
    pub async fn stop(mut self) -> Result<(), Error> {
        advance(&self.phase, Phase::HandingOver);
        self.wait().await
    }

    /// What the node is doing, to wait for changes of it.
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }
}

/// Goes on to `next`; a node never goes back to an earlier phase.
pub(super) fn advance(phase: &watch::Sender<Phase>, next: Phase) {
    phase.send_if_modified(|phase| {
        let goes_on = *phase < next;
        if goes_on {
            *phase = next;
        }
        goes_on
    });
}

/// Is ready when the node has come to `wanted`, or past it.
pub(super) fn reached(phase: &watch::Sender<Phase>, wanted: Phase) -> impl Future<Output = ()> + Send + 'static {
    let mut phase = phase.subscribe();
    async move {
        // Without a sender there is no node any more.
        let _ = phase.wait_for(|phase| *phase >= wanted).await;
    }
}
