//! The page of a node, on the admin port: the cluster, the log of every node, what happened, queues and members, for people with a
//! browser.
//!
//! ```text
//!   server     connections of HTTP/1.1, and what one may cost
//!   guard      who may ask, and the headers of every answer
//!   routes     from a path to who answers
//!     files    what is in web/, packed into the program by build.rs
//!     stream   server-sent events: what changes, as long as a page is open
//!   lookout    what was gathered last, and who looks            reads      how many may read
//!     gatherer   asks all nodes how they are and what happened there, again and again
//!     view       what they told, put together (pure)
//!     alarms     what somebody should look at (pure)         past       since when (pure)
//!     events     what happened on all nodes                  history    how nodes have been in the last hour
//!   log        a node's log in parts, and the search in it   entry      an entry as it is shown, or masked (pure)
//!   queues     reads them                                    queue_board, queue_messages   what is shown of that (pure)
//!   changes    what a page asks to be done, passed on to the leader
//!     members    what a change of the members would do (pure)
//! ```
//!
//! Invariants
//! - It reads what the event loop publishes and asks like any client: nothing here can hold up the loop.
//! - It needs no leader and no quorum to show what is known. A node that does not answer stays, with the time of what it said last.
//! - Whatever is asked, and however slowly the answer is taken: connections, streams, bodies and answers have bounds, and none of
//!   them keeps out whoever comes next.
//! - Nothing that comes from a queue, a message or another node is ever markup or code: answers are JSON, and browsers are told to
//!   run only the files of this page.
//!
//! Not here: what the page looks like (`web/`), and what metrics there are (`telemetry`).

mod alarms;
mod changes;
mod entry;
mod events;
mod failure;
mod files;
mod gatherer;
mod guard;
mod history;
mod log;
mod lookout;
mod members;
mod past;
mod queue_board;
mod queue_messages;
mod queues;
mod reads;
mod routes;
mod server;
mod site;
mod stream;
mod view;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::api;
use crate::config::{Address, NodeConfig};
use crate::transport::Listener;
use lookout::Lookout;
use site::Site;

/// The admin port, and what it shows. Dropping this closes the port.
pub struct Dashboard {
    site: Site,
    tasks: JoinSet<()>,
}

impl Dashboard {
    /// Answers on `listener`, which people reach under `advertised`, from here on: the page itself, and that the node reads its
    /// log.
    pub fn start(listener: Listener, config: &NodeConfig, advertised: &Address) -> Self {
        let site = Site::new(config, advertised);
        let mut tasks = JoinSet::new();
        tasks.spawn(server::serve(listener, routes::router(site.clone())));
        Self { site, tasks }
    }

    /// The log is recovered: looks at the cluster from this node from here on. The client port is bound to `client_address`.
    pub fn open(&mut self, context: api::Context, client_address: SocketAddr) {
        let (lookout, looking) = Lookout::new(context, client_address, self.site.settings().clone());
        self.site.open(Arc::new(lookout));
        self.tasks.spawn(looking);
    }

    /// Closes the port. It is free when this returns.
    pub async fn close(mut self) {
        self.tasks.shutdown().await;
    }
}
