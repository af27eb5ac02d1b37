//! What a client can be told.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Event;

/// Is told what happens during calls. Called from within them, so it must not block.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// The longest timeout and the longest wait of a client; longer ones are cut to it.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether a client asks nodes to pass calls on to the leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarding {
    /// Goes to the leader by itself. Only where the leader's name does not resolve, or its machine refuses the connection, does the
    /// node that named it have to pass calls on. Now and then, and when the leader changes, the leader's address is tried again.
    #[default]
    WhenNeeded,
    /// Has every call passed on by the node that is asked, and never follows a redirect.
    Always,
    /// Goes to the leader, and fails where it cannot be reached.
    Never,
}

/// How a client behaves. The defaults fit a cluster on a LAN as well as one behind a slow line.
#[derive(Clone)]
pub struct Options {
    /// How long a call may take, all repetitions included; at most [`DURATION_MAX`]. A third of it is given to each single
    /// sending, so that a node that is silent does not use up the whole; more where the nodes say that a request takes longer
    /// now. None: 10 s, and more where they say so, up to 5 min. The time that a dequeue may wait comes on top.
    pub timeout: Option<Duration>,
    /// Whether the calls of all tasks share one stream to the leader, on which many are under way at once and what is ready
    /// together is sent together. That costs the cluster and the client far less than a gRPC call for each, which is what
    /// they are otherwise. Dequeues that wait, requests of more than 1 MiB and [`super::Client::execute_once`] are always
    /// calls of their own.
    pub pipelined: bool,
    /// Whether nodes are asked to pass calls on.
    pub forwarding: Forwarding,
    /// How often in a row a call follows "the leader is there" before it gives up: nodes that point at each other.
    pub redirects_max: u32,
    /// The first pause before a request is sent again; each further one is twice as long. The actual pause is drawn
    /// between half of it and the whole, so that clients do not come back all at once.
    pub pause_min: Duration,
    /// The longest of these pauses. Much shorter than an election, because it adds to the time a failover takes.
    pub pause_max: Duration,
    /// Seeds the jitter of the pauses; none: by chance.
    pub seed: Option<u64>,
    /// Is told of redirects, repetitions and sessions.
    pub observer: Option<Observer>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: None,
            pipelined: true,
            forwarding: Forwarding::WhenNeeded,
            redirects_max: 5,
            pause_min: Duration::from_millis(10),
            pause_max: Duration::from_millis(200),
            seed: None,
            observer: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("timeout", &self.timeout)
            .field("pipelined", &self.pipelined)
            .field("forwarding", &self.forwarding)
            .field("redirects_max", &self.redirects_max)
            .field("pause_min", &self.pause_min)
            .field("pause_max", &self.pause_max)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
