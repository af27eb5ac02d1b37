//! A cluster on this machine, each node a process of its own: what `quorate dev` and `quorate demo` have in common.
//!
//! ```text
//!    home      where the data is, which ports, who has run before
//!    nodes     a process for each node; its lines go to output, with its name before them, or to a file
//!    output    the one terminal that all of them share
//!    view      what the nodes tell of themselves when they are asked
//! ```
//!
//! Invariants: no node outlives this process. Nodes are in process groups of their own, so that Ctrl-C reaches only this
//! process; they are asked to stop by the end of their standard input, which also comes when this process dies. A node that
//! dies by itself, or is killed, does not end the others.

pub(super) mod home;
pub(super) mod nodes;
pub(super) mod output;
pub(super) mod view;

use std::path::Path;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::sleep;

use super::signals::StopRequests;
use super::{Exit, Failure};
use crate::config::{NodeConfig, Sources};
use home::{Home, Plan};
use nodes::Nodes;
use output::Output;

/// How long a node may take to stop, beyond its drain deadline, before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// How long a node may take to stop. The nodes read the same environment: what is wrong with it is said once, here.
pub(super) fn stop_deadline() -> Result<Duration, Failure> {
    let settings = NodeConfig::load(&Sources::with_environment(Vec::new(), Vec::new()))
        .map_err(|error| Failure::new(Exit::Usage, error))?;
    Ok(settings.drain_deadline + GRACE)
}

/// Starts all nodes; in a new cluster the first one alone until it listens, because the others join through it.
pub(super) async fn start(home: &Home, nodes: &mut Nodes) -> Result<(), Failure> {
    let (first, others) = home.plan().split_first().expect("a cluster has at least one node");
    nodes.start(first)?;
    if home.is_new() {
        tokio::select! {
            () = listening(first) => {}
            _ = nodes.next_end() => return Err(Failure::new(Exit::Failed, "the first node did not start")),
        }
    }
    for node in others {
        nodes.start(node)?;
    }
    Ok(())
}

/// Waits until a node accepts connections.
async fn listening(node: &Plan) {
    while TcpStream::connect(node.address()).await.is_err() {
        sleep(Duration::from_millis(50)).await;
    }
}

/// The end: asks the nodes to stop, kills those that have not until the deadline or a second signal, and prints what waits.
/// Returns the exit code of a second signal, if there was one.
pub(super) async fn end(mut nodes: Nodes, output: Output, deadline: Duration, stop: &mut StopRequests) -> Option<Exit> {
    let exit = tokio::select! {
        () = nodes.stop(deadline) => None,
        exit = stop.second() => Some(exit),
    };
    // Nodes that still run are killed here; what waits to be printed gets a last chance.
    drop(nodes);
    output.finish().await;
    exit
}

/// How this program was most probably called.
pub(super) fn program() -> String {
    let Ok(path) = std::env::current_exe() else { return "quorate".to_owned() };
    let here = std::env::current_dir().unwrap_or_default();
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let is_found = std::env::split_paths(&on_path).any(|directory| path.parent() == Some(directory.as_path()));
    match (is_found, path.strip_prefix(&here)) {
        (true, _) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        (false, Ok(relative)) => Path::new(".").join(relative).display().to_string(),
        (false, Err(_)) => path.display().to_string(),
    }
}
