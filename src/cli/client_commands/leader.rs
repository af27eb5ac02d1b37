//! `leader`: who leads, and handing leadership over.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use serde_json::json;

use super::console::Console;
use super::json;
use super::report::Error;
use crate::client::Client;
use crate::telemetry;

/// What to do with leadership.
#[derive(Clone, Debug, Args)]
pub struct Leader {
    #[command(subcommand)]
    command: LeaderCommand,
}

/// What to do with leadership.
#[derive(Clone, Debug, Subcommand)]
pub enum LeaderCommand {
    /// Hand leadership to another voter, without an election that clients would notice
    #[command(after_help = TRANSFER_HELP)]
    Transfer(Transfer),
}

/// Who is to lead.
#[derive(Clone, Debug, Args)]
pub struct Transfer {
    /// The name or node id of a voter [default: the one that has most of the log]
    // An empty name is a variable of a script that is not set, and no wish for just anybody.
    #[arg(long, value_name = "NAME_OR_ID", value_parser = NonEmptyStringValueParser::new())]
    to: Option<String>,
}

const TRANSFER_HELP: &str = "\
The leader brings the other one up to date, ends what it has begun, and lets it stand for election at once. If that does
not come off within an election timeout the leader goes on. `quorate server` does the same by itself when it is stopped.

Examples:
  quorate leader transfer
  quorate leader transfer --to b

JSON: {\"decided\": {...}, \"leader\": {\"node_id\", \"name\", ...}}";

pub(super) async fn leader(client: &Client, command: &Leader, console: &mut Console) -> Result<(), Error> {
    let LeaderCommand::Transfer(Transfer { to }) = &command.command;
    let transferred = client.transfer_leadership(to.as_deref()).await?;
    let leader = transferred.leader.unwrap_or_default();
    if console.is_json() {
        let decided = json::decided(transferred.header.as_ref());
        console.json(&json!({ "decided": decided, "leader": json::member(&leader) }))?;
    } else {
        let name = if leader.name.is_empty() { &leader.node_id } else { &leader.name };
        let term = transferred.header.map_or(0, |header| header.term);
        console.line(format!("{} leads in term {term}", telemetry::escaped(name)).as_bytes())?;
    }
    Ok(())
}
