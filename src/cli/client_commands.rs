//! Commands that talk to a cluster.

use clap::Subcommand;

use super::{Exit, Failure};

/// A command that talks to a cluster.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {}

/// Does what was asked for.
///
/// # Errors
/// What went wrong, with the exit code for it.
pub async fn run(command: ClientCommand) -> Result<Exit, Failure> {
    match command {}
}
