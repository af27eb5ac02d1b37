//! The command line: what can be typed, and what a shell gets back.
//!
//! `server` runs a node, `dev` a whole cluster on this machine, `config` looks at settings, `bench` measures; everything else is
//! a client ([`client_commands`]). What a command prints as its result goes to standard output; errors and hints go to standard error.
//! Exit codes are in [`exit`].

pub mod bench;
pub mod client_commands;
pub mod config;
pub mod dev;
pub mod exit;
mod open_files;
pub mod server;
mod signals;

use clap::{Parser, Subcommand};

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
    Server(Box<server::Arguments>),
    /// Run a cluster on this machine, to try things out
    Dev(dev::Arguments),
    /// Check or show settings
    Config(config::Arguments),
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
        Command::Config(arguments) => config::run(&arguments),
        Command::Bench(arguments) => bench::run(*arguments).await,
        Command::Client(command) => client_commands::run(command).await,
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
