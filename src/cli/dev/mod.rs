//! `quorate dev`: a cluster on this machine for trying things out, on `local_cluster`. Once it is complete, `welcome` says
//! who leads and how to talk to it.

mod welcome;

use std::path::PathBuf;

use clap::Args;
use tokio::task::JoinSet;

use super::local_cluster::home::{Home, NODES_MAX};
use super::local_cluster::nodes::{Ended, Logs, Nodes};
use super::local_cluster::output::{Lines, Output};
use super::local_cluster::{self, program};
use super::signals::StopRequests;
use super::{Exit, Failure};

/// A cluster on this machine. Settings for all of its nodes can be given in the environment.
#[derive(Args, Debug)]
pub struct Arguments {
    /// How many nodes [default: 3, or as many as are in --data]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=NODES_MAX as i64))]
    pub nodes: Option<u8>,
    /// Keep the data here, and go on with what is here [default: a directory that is removed at the end]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The first client port; every node has the ten ports from its own on [default: 7400 if free, otherwise any]
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

/// Runs a cluster until Ctrl-C.
///
/// # Errors
/// The directory cannot be used, a node cannot be started, or all of them have ended by themselves.
pub async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let stop_deadline = local_cluster::stop_deadline()?;
    let home = Home::open(arguments.data.as_deref(), arguments.nodes.map(usize::from), arguments.ports)?;
    let mut stop = StopRequests::listen(false)?;
    let output = Output::start();
    let mut nodes = Nodes::new(output.lines(), Logs::Terminal, arguments.show_heartbeats);

    let exit = tokio::select! {
        failure = run_cluster(&home, &mut nodes, &output) => Err(failure),
        _ = stop.next() => Ok(Exit::Done),
        () = output.closed() => Ok(Exit::Done),
    };
    let second = local_cluster::end(nodes, output, stop_deadline, &mut stop).await;
    second.map_or(exit, Ok)
}

/// Starts the nodes and reports those that end. Returns only when there is nothing left to run.
async fn run_cluster(home: &Home, nodes: &mut Nodes, output: &Output) -> Failure {
    if let Err(failure) = local_cluster::start(home, nodes).await {
        return failure;
    }
    let mut beside = JoinSet::new();
    let welcome = welcome::welcome(home.plan().to_vec(), nodes.processes(), farewell(home), output.lines());
    beside.spawn(welcome);
    while let Some(ended) = nodes.next_end().await {
        tell_end(&ended, &output.lines()).await;
    }
    Failure::new(Exit::Failed, "every node has ended")
}

async fn tell_end(Ended { node, how }: &Ended, lines: &Lines) {
    let prefix = lines.prefix(node.name);
    lines.send(format!("{prefix}has ended: {how}. To start it again, from another terminal:")).await;
    lines.send(format!("{prefix}  {} {}", program(), node.arguments().join(" "))).await;
}

/// What becomes of the data at the end, in words.
fn farewell(home: &Home) -> String {
    let directory = home.directory().display();
    if home.is_temporary() {
        format!("The data is in {directory} and is removed then; --data DIR would keep it.")
    } else {
        format!("The data stays in {directory}; the same command goes on with it.")
    }
}
