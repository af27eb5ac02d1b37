//! `quorate dev`: a cluster on this machine, each node a process of its own, for trying things out.
//!
//! ```text
//!    home      where the data is, which ports, who has run before
//!    nodes     a process for each node; its lines, with its name before them, go to output
//!    welcome   once the cluster is complete: who leads, and how to talk to it
//!    stop      standard input of every node is closed, which asks it to stop; also when this process dies
//! ```
//!
//! Invariants: no node outlives this process. Nodes are in process groups of their own, so that Ctrl-C reaches only this
//! process, and they are asked to stop once. A node that dies by itself, or is killed, does not end the others.

mod home;
mod nodes;
mod output;
mod welcome;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;

use super::signals::StopRequests;
use super::{Exit, Failure};
use crate::config::{NodeConfig, Sources};
use home::Home;
use nodes::Nodes;
use output::Output;

/// A cluster on this machine. Settings for all of its nodes can be given in the environment.
#[derive(Args, Debug)]
pub struct Arguments {
    /// How many nodes [default: 3, or as many as are in --data]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=NODES_MAX))]
    pub nodes: Option<u8>,
    /// Keep the data here, and go on with what is here [default: a directory that is removed at the end]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The first client port; every node takes two [default: 7400 if free, otherwise any]
    #[arg(long, value_name = "BASE", value_parser = clap::value_parser!(u16).range(1024..=65000))]
    pub ports: Option<u16>,
    /// Tell of every heartbeat sent and answered
    #[arg(long)]
    pub show_heartbeats: bool,
}

/// The end of the help text.
pub const HELP: &str = "\
Examples:
  quorate dev
  quorate dev --nodes 5 --data /tmp/quorate
  QUORATE__LOG__LEVEL=debug quorate dev --show-heartbeats";

const NODES_MAX: i64 = 9;
/// How long a node may take beyond its drain deadline before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// Runs a cluster until Ctrl-C.
///
/// # Errors
/// The directory cannot be used, a node cannot be started, or all of them have ended by themselves.
pub async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    // The nodes read the same environment: what is wrong with it is said once, here.
    let settings = NodeConfig::load(&Sources::with_environment(Vec::new(), Vec::new()))
        .map_err(|error| Failure::new(Exit::Usage, error))?;
    let home = Home::open(&arguments)?;
    let mut stop = StopRequests::listen(false)?;
    let output = Output::start();
    let mut nodes = Nodes::new(output.lines(), arguments.show_heartbeats);

    let exit = tokio::select! {
        failure = run_cluster(&home, &mut nodes, &output) => Err(failure),
        _ = stop.next() => Ok(Exit::Done),
        () = output.closed() => Ok(Exit::Done),
    };
    let exit = tokio::select! {
        () = nodes.stop(settings.drain_deadline + GRACE) => exit,
        exit = stop.second() => Ok(exit),
    };
    // Nodes that still run are killed here; what waits to be printed gets a last chance.
    drop(nodes);
    output.finish().await;
    exit
}

/// Starts the nodes and reports those that end. Returns only when there is nothing left to run.
async fn run_cluster(home: &Home, nodes: &mut Nodes, output: &Output) -> Failure {
    if let Err(failure) = start(home, nodes).await {
        return failure;
    }
    let mut beside = JoinSet::new();
    beside.spawn(welcome::welcome(home.plan().to_vec(), nodes.processes(), home.farewell(), output.lines()));
    while nodes.next_end().await.is_some() {}
    Failure::new(Exit::Failed, "every node has ended")
}

/// Starts all nodes; in a new cluster the first one alone until it listens, because the others join through it.
async fn start(home: &Home, nodes: &mut Nodes) -> Result<(), Failure> {
    let (first, others) = home.plan().split_first().expect("a cluster has at least one node");
    nodes.start(first)?;
    if home.is_new() {
        tokio::select! {
            () = welcome::listening(first) => {}
            _ = nodes.next_end() => return Err(Failure::new(Exit::Failed, "the first node did not start")),
        }
    }
    others.iter().try_for_each(|node| nodes.start(node))
}
