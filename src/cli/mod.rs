//! The command line: what can be typed, and what a shell gets back.
//!
//! `server` runs a node, `dev` a whole cluster on this machine, `demo` shows what such a cluster survives, `impair` runs a command
//! on a bad network, `config` looks at settings, `health` asks whether a node is well, `bench` measures, `completions` is for
//! shells; everything else is a client ([`client_commands`]), one command at a time or many at a prompt ([`repl`]). What a command
//! prints as its result goes to standard output; errors and hints go to standard error.
//! Exit codes are in [`exit`].

pub mod bench;
pub mod client_commands;
pub mod completions;
pub mod config;
pub mod demo;
pub mod dev;
pub mod exit;
pub mod health;
pub mod impair;
mod local_cluster;
mod open_files;
pub mod repl;
pub mod server;
mod signals;
mod stdout;

use clap::{Parser, Subcommand};
use opentelemetry::context::FutureExt as _;

use crate::telemetry::propagation::TraceHeaders;
pub use exit::{Exit, Failure};

/// A strongly consistent message queue on its own Raft, in one binary.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, propagate_version = true, after_help = exit::HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node until it is told to stop
    #[command(after_help = server::HELP)]
    Server(Box<server::Arguments>),
    /// Run a cluster on this machine, to try things out
    #[command(after_help = dev::HELP)]
    Dev(dev::Arguments),
    /// Show and check, step by step, what a cluster on this machine survives
    #[command(after_help = demo::HELP)]
    Demo(demo::Arguments),
    /// Run a command on a network of its own that delays, loses and corrupts packets
    #[command(after_help = impair::HELP)]
    Impair(impair::Arguments),
    /// Check, show or describe settings
    #[command(after_help = config::HELP)]
    Config(config::Arguments),
    /// Ask a node whether it is ready, or live
    #[command(after_help = health::HELP)]
    Health(health::Arguments),
    /// Run client commands at a prompt, or from standard input, in one session
    #[command(after_help = repl::HELP)]
    Repl(repl::Arguments),
    /// Print a script that lets a shell complete commands and options
    #[command(after_help = completions::HELP)]
    Completions(completions::Arguments),
    /// Measure how fast a cluster is, or gRPC and the disk of this machine alone
    #[command(after_help = bench::HELP)]
    Bench(Box<bench::Arguments>),
    /// Talk to a cluster.
    #[command(flatten)]
    Client(client_commands::ClientCommand),
}

/// Does what was asked for.
///
/// # Errors
/// What went wrong, for [`exit::report`].
pub async fn run(cli: Cli) -> Result<Exit, Failure> {
    match cli.command {
        Command::Server(arguments) => server::run(*arguments).await,
        Command::Dev(arguments) => dev::run(arguments).await,
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Impair(arguments) => impair::run(arguments).await,
        Command::Config(arguments) => config::run(&arguments),
        Command::Health(arguments) => health::run(arguments).await,
        Command::Repl(arguments) => repl::run(arguments).await,
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Bench(arguments) => bench::run(*arguments).await,
        // A command of a pipeline that is traced belongs to its trace.
        Command::Client(command) => {
            client_commands::run(command).with_context(TraceHeaders::from_environment().context()).await
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// clap checks its own definitions: names that clash, defaults that cannot be read.
    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }
}
