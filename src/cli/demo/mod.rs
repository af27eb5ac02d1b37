//! `quorate demo`: what a cluster survives, played on six nodes, shown and checked step by step.
//!
//! ```text
//!    steps      the seven steps, in words of their own
//!    stage      the nodes, whom they follow, what they tell meanwhile
//!    enqueue    one message at a node that does not lead: rejected, redirected, executed
//!    compare    the replicated logs of all nodes, entry by entry
//!    journals   the files of what the nodes tell
//!    report     headings, commands, what came of them, checks, and the verdict
//!    patience   how long it waits, which depends on the network
//! ```
//!
//! On a bad network (`--impair`) the whole of it, nodes and audience, runs in the namespace that `quorate impair` makes.
//!
//! Invariants: what is shown is what has happened; nothing that is printed is known beforehand. Every wait has an end. The
//! first step in which a check fails is the last. The exit code is 0 only if every check has passed. The nodes are those of
//! `local_cluster`, and end with this process however it ends.

mod compare;
mod enqueue;
mod journals;
mod patience;
mod report;
mod stage;
mod steps;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use rustix::process::Signal;

use super::impair::{self, ACCEPTANCE};
use super::local_cluster;
use super::local_cluster::home::Home;
use super::local_cluster::nodes::{Logs, Nodes};
use super::local_cluster::output::Output;
use super::signals::StopRequests;
use super::{Exit, Failure};
use journals::Journals;
use patience::Patience;
use report::Report;
use stage::Stage;

const NODES: usize = 6;

pub(super) const HELP: &str = "\
Starts six nodes as processes of their own, enqueues at one that does not lead, stops the leader and another one, goes on
with the four that are left, starts the two again, and compares the logs of all six, entry by entry. What each step does can
be typed by hand as well, and is printed as it would be typed. It takes some ten seconds.

Examples:
  quorate demo
  quorate demo --step                 one step at a time, for an audience
  quorate demo --data /tmp/demo       keeps everything, also what the nodes tell, in a directory
  quorate demo --impair               on a network of its own with a second of delay each way, 50 ms of jitter, 8 % of the
                                      packets reordered, 5 % corrupted, 2 % duplicated, 5 % lost: it takes some minutes
  quorate demo --impair 'delay 200ms loss 20%'          see quorate impair --help for what that needs, and can be

Exit codes: 0 every check has passed; 1 one has not, or the demonstration was stopped or could not begin; 2 wrong usage.";

/// The demonstration. Settings for all of its nodes can be given in the environment.
#[derive(Args, Debug)]
pub struct Arguments {
    /// How the leader and another node are stopped
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Stop::Kill)]
    pub stop: Stop,
    /// Keep the data here, where no cluster may be yet [default: a directory that is removed if every check passes]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The first client port; every node has the ten ports from its own on [default: 7400 if free, otherwise any]
    #[arg(long, value_name = "BASE", value_parser = clap::value_parser!(u16).range(1024..=65000))]
    pub ports: Option<u16>,
    /// Wait for Enter before each step
    #[arg(long)]
    pub step: bool,
    /// Show all that the nodes tell, not only what a step is about
    #[arg(long)]
    pub logs: bool,
    /// On a network of its own that is as bad as SPEC says [without SPEC: that of the acceptance demonstration]
    #[arg(long, value_name = "SPEC", num_args = 0..=1, default_missing_value = ACCEPTANCE)]
    pub impair: Option<String>,
    /// It is on that network by now.
    #[arg(long, hide = true, requires = "impair")]
    pub impaired: bool,
}

/// How nodes are stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stop {
    /// At once, as by a crash: kill -9.
    Kill,
    /// As by Ctrl-C in their terminals.
    CtrlC,
}

/// Plays the demonstration.
///
/// # Errors
/// It could not begin. What happens later is told by the report and the exit code.
pub async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let network = arguments.impair.as_deref().map(impair::read).transpose()?;
    if let Some(network) = network.as_ref().filter(|_| !arguments.impaired) {
        return Err(impair::reenter(network, None, again()?));
    }
    let stop_deadline = local_cluster::stop_deadline()?;
    let home = Home::open(arguments.data.as_deref(), Some(NODES), arguments.ports)?;
    if !home.is_new() {
        let error = format!("{} holds a cluster, and the demonstration begins without one", home.directory().display());
        return Err(Failure::with_hint(Exit::Usage, error, "give another --data directory, or none"));
    }
    let mut stop = StopRequests::listen(false)?;
    let output = Output::start();
    let report = Report::new(output.lines(), arguments.step, network.is_some());
    let journals = Journals::new(home.plan(), output.lines(), arguments.logs);
    let nodes = Nodes::new(output.lines(), Logs::Files, true);
    let mut stage = Stage::new(home, nodes, journals, report, Patience::on(network.as_ref()));

    let played = tokio::select! {
        played = steps::play(&mut stage, arguments.stop) => Some(played),
        _ = stop.next() => None,
        () = output.closed() => None,
    };
    let (exit, nodes, home) = stage.end(played).await;
    let second = local_cluster::end(nodes, output, stop_deadline, &mut stop).await;
    // Until here the nodes may have written to it.
    drop(home);
    Ok(second.unwrap_or(exit))
}

/// The command that runs this again, with what it was given, and knows that it is on the bad network.
fn again() -> Result<Vec<OsString>, Failure> {
    let program = std::env::current_exe()?.into_os_string();
    let arguments = std::env::args_os().skip(1);
    Ok(std::iter::once(program).chain(arguments).chain(["--impaired".into()]).collect())
}

impl Stop {
    /// What the operating system calls it.
    fn signal(self) -> Signal {
        match self {
            Stop::Kill => Signal::KILL,
            Stop::CtrlC => Signal::INT,
        }
    }

    /// As it is typed.
    fn command(self) -> &'static str {
        match self {
            Stop::Kill => "kill -9",
            Stop::CtrlC => "kill -INT",
        }
    }
}
