//! The commands that talk to a running cluster, on `src/client`.
//!
//! ```text
//!   run      reads the options, makes a client, runs the command, closes the client's sessions, reports an error
//!   queue    enqueue, dequeue, peek, queues          log       the replicated log
//!   cluster  status, member      leader              report    an error -> a line for people or JSON, and the exit code
//!   console  where output goes and in which form     table     columns, and text without control characters
//!   json     what is printed with `--output json`
//! ```
//!
//! Invariants: results go to stdout, everything else to stderr. What a terminal shows has no control characters that come
//! from a message or a name. With `--output json` stdout has JSON only, and the field names below do not change.
//!
//! Not here: `server`, `dev` and `config`, which need no running cluster.

mod cluster;
mod console;
mod json;
mod leader;
mod log;
mod queue;
mod report;
mod table;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::{Exit, Failure};
use crate::client::{Client, DURATION_MAX, Event, Observer, Options};
use crate::telemetry;
use report::Error;

pub(super) use console::Console;
pub(super) use report::end;
pub(super) use table::Table;

/// How many different events the user is told of by one command.
const EVENTS_MAX: usize = 50;

/// A command that talks to a running cluster.
#[derive(Clone, Debug, Subcommand)]
pub enum ClientCommand {
    /// Append messages to a queue; the queue is made if it does not exist
    #[command(after_help = queue::ENQUEUE_HELP)]
    Enqueue(With<queue::Enqueue>),
    /// Take the oldest message out of a queue and print its body
    #[command(after_help = queue::DEQUEUE_HELP)]
    Dequeue(With<queue::Dequeue>),
    /// Show the oldest messages of a queue and leave them there
    #[command(after_help = queue::PEEK_HELP)]
    Peek(With<queue::Peek>),
    /// List the queues
    #[command(after_help = queue::QUEUES_HELP)]
    Queues(With<queue::Queues>),
    /// Print the replicated log, as the leader has it
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
#[derive(Clone, Debug, Args)]
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
    /// What to print on standard output: tables and text for people, or JSON for programs
    #[arg(long, global = true, value_name = "FORM", value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// How long to try, redirects and elections included; the time of --wait comes on top
    #[arg(long, global = true, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
    /// Tell on standard error of redirects and repetitions, also when it is not a terminal
    #[arg(long, short, global = true)]
    pub verbose: bool,
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

/// Runs a command.
///
/// # Errors
/// What went wrong, with the exit code and a hint. With `--output json` it has been printed already, and only the exit
/// code is left.
pub async fn run(command: ClientCommand) -> Result<Exit, Failure> {
    let options = command.options().clone();
    let stdout = std::io::stdout();
    let terminal = stdout.is_terminal();
    let mut console = Console::new(stdout, options.output, terminal);
    let client_options = Options { timeout: options.timeout, observer: options.observer(), ..Options::default() };
    match execute(&command, client_options, &mut console).await {
        Ok(()) => Ok(Exit::Done),
        Err(error) => report::end(&error, options.output),
    }
}

async fn execute(command: &ClientCommand, options: Options, console: &mut Console) -> Result<(), Error> {
    let client = Client::new(command.options().endpoints.clone(), options)?;
    let result = match command {
        ClientCommand::Enqueue(with) => queue::enqueue(&client, &with.command, console).await,
        ClientCommand::Dequeue(with) => queue::dequeue(&client, &with.command, console).await,
        ClientCommand::Peek(with) => queue::peek(&client, &with.command, console).await,
        ClientCommand::Queues(_) => queue::queues(&client, console).await,
        ClientCommand::Log(with) => log::log(&client, &with.command, console).await,
        ClientCommand::Status(_) => cluster::status(&client, console).await,
        ClientCommand::Member(with) => cluster::member(&client, &with.command, console).await,
        ClientCommand::Leader(with) => leader::leader(&client, &with.command, console).await,
    };
    client.close().await;
    result
}

impl ClientCommand {
    /// The options that all client commands have.
    pub fn options(&self) -> &ClientOptions {
        match self {
            ClientCommand::Enqueue(with) => &with.options,
            ClientCommand::Dequeue(with) => &with.options,
            ClientCommand::Peek(with) => &with.options,
            ClientCommand::Queues(with) => &with.options,
            ClientCommand::Log(with) => &with.options,
            ClientCommand::Status(with) => &with.options,
            ClientCommand::Member(with) => &with.options,
            ClientCommand::Leader(with) => &with.options,
        }
    }
}

impl ClientOptions {
    /// Tells a person of what the client meets on its way, each thing once. Scripts hear nothing unless they ask.
    pub(super) fn observer(&self) -> Option<Observer> {
        let verbose = self.verbose;
        let told = Mutex::new(BTreeSet::new());
        let observer = move |event: &Event| {
            let matters = verbose || matches!(event, Event::Redirected { .. } | Event::Retrying { .. });
            let line = telemetry::escaped(&event.to_string());
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if matters && told.len() < EVENTS_MAX && told.insert(line.clone()) {
                // Standard error that cannot be written to is no reason to fail.
                let _ = writeln!(std::io::stderr(), "{line}");
            }
        };
        (verbose || std::io::stderr().is_terminal()).then(|| Arc::new(observer) as Observer)
    }
}
