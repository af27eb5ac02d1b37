//! The commands that talk to a running cluster, on `src/client`.
//!
//! ```text
//!   connection   a client, and the commands that run on it, one after the other
//!   queue        enqueue, dequeue, peek, queues, stats   lines       enqueue, from standard input (input)
//!   lease        lease, ack, release, reject, extend     manage      redrive, queue
//!   log          the replicated log                      log_filter  which of its entries
//!   cluster      status, member       leader            watch       status, again and again
//!   freshness    --stale and --any-node
//!   console      where output goes and in which form     table       columns, and text without control characters
//!   json         what is printed with `--output json`    report      an error -> a line, and the exit code
//! ```
//!
//! Invariants: results go to stdout, everything else to stderr. What a terminal shows has no control characters that come
//! from a message or a name. With `--output json` stdout has JSON only, and the field names below do not change.
//!
//! Not here: what needs no running cluster (`server`, `dev`, `demo`, `config`, `completions`), and `repl` and `bench`, which are
//! built on this.

mod cluster;
mod connection;
mod console;
mod freshness;
pub(super) mod input;
mod json;
mod leader;
mod lease;
mod lines;
mod log;
mod log_filter;
mod manage;
mod queue;
mod report;
mod table;
mod timing;
mod vitals;
mod watch;

#[cfg(test)]
mod tests;

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::{Exit, Failure};
use crate::client::{DURATION_MAX, Forwarding, Observer};
pub(super) use cluster::status_text;
pub use connection::Connection;
pub(super) use console::Console;
pub(super) use log::text as log_text;
pub(super) use queue::id_text;
pub(super) use report::{Error, end};
pub(super) use table::Table;

/// A command that talks to a running cluster.
#[derive(Clone, Debug, Subcommand)]
pub enum ClientCommand {
    /// Append messages to a queue; the queue is made if it does not exist
    #[command(after_help = queue::ENQUEUE_HELP)]
    Enqueue(With<queue::Enqueue>),
    /// Take the oldest message out of a queue and print its body
    #[command(after_help = queue::DEQUEUE_HELP)]
    Dequeue(With<queue::Dequeue>),
    /// Take the oldest messages of a queue for a time, to acknowledge them when they are done with
    #[command(after_help = lease::LEASE_HELP)]
    Lease(With<lease::Lease>),
    /// End leases of messages that are done with: they leave the queue
    #[command(after_help = lease::SETTLE_HELP)]
    Ack(With<lease::Ack>),
    /// End leases of messages that somebody else is to take: they are ready again
    #[command(after_help = lease::SETTLE_HELP)]
    Release(With<lease::Release>),
    /// End leases of messages that nobody is to take: they become dead letters
    #[command(after_help = lease::SETTLE_HELP)]
    Reject(With<lease::Reject>),
    /// Make leases end later
    #[command(after_help = lease::SETTLE_HELP)]
    Extend(With<lease::Extend>),
    /// Make the dead letters of a queue ready again
    #[command(after_help = manage::REDRIVE_HELP)]
    Redrive(With<manage::Redrive>),
    /// Change the settings of a queue
    #[command(after_help = manage::QUEUE_HELP)]
    Queue(With<manage::Queue>),
    /// Show the oldest messages of a queue and leave them there
    #[command(after_help = queue::PEEK_HELP)]
    Peek(With<queue::Peek>),
    /// List the queues
    #[command(after_help = queue::QUEUES_HELP)]
    Queues(With<queue::Queues>),
    /// Show how much a queue holds, or all of them together
    #[command(after_help = queue::STATS_HELP)]
    Stats(With<queue::Stats>),
    /// Print the replicated log, as the leader has it or any other node
    #[command(after_help = log::HELP)]
    Log(With<log::Log>),
    /// Show every node: its role, term and how far its log is
    #[command(after_help = cluster::STATUS_HELP)]
    Status(With<cluster::Status>),
    /// List, add, remove and promote members of the cluster
    #[command(after_help = cluster::MEMBER_HELP)]
    Member(With<cluster::Member>),
    /// Hand leadership over
    Leader(With<leader::Leader>),
}

/// A command with the options of all client commands.
#[derive(Clone, Debug, Args)]
pub struct With<C: Args> {
    /// The command's own arguments.
    #[command(flatten)]
    pub command: C,
    /// The options that all client commands have.
    #[command(flatten)]
    pub options: ClientOptions,
}

/// How to reach the cluster, and how to print.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(next_help_heading = "Connection and output")]
pub struct ClientOptions {
    /// Addresses of nodes, separated by commas; one that lives is enough, and the leader is found from there
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT,...",
        env = "QUORATE_ENDPOINTS",
        default_value = "127.0.0.1:7400",
        value_delimiter = ','
    )]
    pub endpoints: Vec<String>,
    /// How to come to the leader: by its address (direct), through the node that is asked (forward), or through it only where the
    /// leader's name does not resolve or its address refuses (auto)
    #[arg(long, global = true, value_name = "WAY", env = "QUORATE_ROUTING", value_enum, default_value_t = Routing::Auto)]
    pub routing: Routing,
    /// What to print on standard output: tables and text for people, or JSON for programs
    #[arg(long, global = true, value_name = "FORM", value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// How long to try, redirects and elections included; the time of --wait comes on top [default: 10s, and up to 5m where the
    /// cluster says that requests take long]
    #[arg(long, global = true, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Tell on standard error of redirects and repetitions, also when it is not a terminal
    #[arg(long, short, global = true)]
    pub verbose: bool,
}

/// How to come to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Routing {
    /// By its address if that can be reached, otherwise through the node that told it.
    Auto,
    /// By its address only.
    Direct,
    /// Through the node that is asked.
    Forward,
}

impl From<Routing> for Forwarding {
    fn from(routing: Routing) -> Self {
        match routing {
            Routing::Auto => Forwarding::WhenNeeded,
            Routing::Direct => Forwarding::Never,
            Routing::Forward => Forwarding::Always,
        }
    }
}

/// The form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// A time as `1m 30s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration > DURATION_MAX {
        return Err(format!("at most {}", humantime::format_duration(DURATION_MAX)));
    }
    Ok(duration)
}

/// Runs a command on a connection of its own. One that has no end of its own ends well with Ctrl-C.
///
/// # Errors
/// What went wrong, with the exit code and a hint. With `--output json` it has been printed already, and only the exit
/// code is left.
pub async fn run(command: ClientCommand) -> Result<Exit, Failure> {
    if !command.is_endless() {
        return run_once(&command).await;
    }
    tokio::select! {
        ran = run_once(&command) => ran,
        interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| Exit::Done).map_err(Failure::from),
    }
}

/// Runs a command on a connection of its own.
pub(super) async fn run_once(command: &ClientCommand) -> Result<Exit, Failure> {
    let connection = match Connection::open(command.options()) {
        Ok(connection) => connection,
        Err(error) => return end(&error, command.options().output),
    };
    let ran = connection.run(command).await;
    connection.close().await;
    ran
}

impl ClientCommand {
    /// The options that all client commands have.
    pub fn options(&self) -> &ClientOptions {
        match self {
            ClientCommand::Enqueue(with) => &with.options,
            ClientCommand::Dequeue(with) => &with.options,
            ClientCommand::Lease(with) => &with.options,
            ClientCommand::Ack(with) => &with.options,
            ClientCommand::Release(with) => &with.options,
            ClientCommand::Reject(with) => &with.options,
            ClientCommand::Extend(with) => &with.options,
            ClientCommand::Redrive(with) => &with.options,
            ClientCommand::Queue(with) => &with.options,
            ClientCommand::Peek(with) => &with.options,
            ClientCommand::Queues(with) => &with.options,
            ClientCommand::Stats(with) => &with.options,
            ClientCommand::Log(with) => &with.options,
            ClientCommand::Status(with) => &with.options,
            ClientCommand::Member(with) => &with.options,
            ClientCommand::Leader(with) => &with.options,
        }
    }

    /// Whether it goes on until it is interrupted.
    pub fn is_endless(&self) -> bool {
        match self {
            ClientCommand::Log(with) => with.command.is_endless(),
            ClientCommand::Status(with) => with.command.is_endless(),
            _ => false,
        }
    }

    /// Whether it reads standard input.
    pub fn reads_input(&self) -> bool {
        matches!(self, ClientCommand::Enqueue(with) if with.command.reads_input())
    }
}

impl ClientOptions {
    /// Tells a person of what the client meets on its way, each thing once.
    pub(super) fn observer(&self) -> Option<Observer> {
        connection::observer(self.verbose, connection::Told::default())
    }
}
