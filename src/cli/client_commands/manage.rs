//! `redrive` and `queue`: what an operator does about a queue.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::console::Console;
use super::json;
use super::report::Error;
use super::table::Table;
use crate::client::Client;
use crate::proto::v1;
use crate::state_machine::Request;

/// Dead letters to make ready again.
#[derive(Clone, Debug, Args)]
pub struct Redrive {
    /// The queue
    queue: String,
    /// At most so many, the oldest ones [default: all of them]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

/// What to do with a queue.
#[derive(Clone, Debug, Args)]
pub struct Queue {
    #[command(subcommand)]
    command: QueueCommand,
}

/// What to do with a queue.
#[derive(Clone, Debug, Subcommand)]
pub enum QueueCommand {
    /// Change the settings of a queue; what is not given stays as it is
    #[command(after_help = SET_HELP)]
    Set(Set),
}

/// Settings to change.
#[derive(Clone, Debug, Args)]
pub struct Set {
    /// The queue
    queue: String,
    /// How long a lease lasts that does not say; 12h at most, 0s: the default, 30s
    #[arg(long, value_name = "TIME", value_parser = super::duration)]
    lease: Option<Duration>,
    /// How often a message is delivered before it is a dead letter; 1000 at most, 0: the default, 20
    #[arg(long, value_name = "N")]
    deliveries: Option<u32>,
    /// How many messages there may be, in whatever state; 0: as many as nodes allow, 10000000
    #[arg(long, value_name = "N")]
    messages: Option<u64>,
}

pub(super) const REDRIVE_HELP: &str = "\
Dead letters become ready again, the oldest first, each at its place in the order and as if it had never been delivered. Look at them
before with `quorate peek QUEUE --state dead`. Prints how many were moved.

Examples:
  quorate redrive orders
  quorate redrive orders --limit 1

JSON: {\"queue\", \"moved\"}";

pub(super) const QUEUE_HELP: &str = "\
Examples:
  quorate queue set orders --lease 5m --deliveries 3
  quorate queue set orders --messages 1000";

const SET_HELP: &str = "\
The queue must exist. Leases that were given, and messages that are there, stay as they are. Prints what is then in force.

Examples:
  quorate queue set orders --lease 5m --deliveries 3
  quorate queue set orders --messages 0                as many as nodes allow

JSON: {\"queue\", \"lease_duration\", \"deliveries_max\", \"messages_max\"}";

/// Goes on page by page, so that no request is a long one. Without a limit, as many are moved as are dead at the beginning:
/// consumers that reject them again as fast do not keep this going.
pub(super) async fn redrive(client: &Client, command: &Redrive, console: &mut Console) -> Result<(), Error> {
    let limit = match command.limit {
        Some(limit) => limit,
        None => client.stats(Some(&command.queue)).await?.value.contents.unwrap_or_default().dead,
    };
    let mut moved: u64 = 0;
    while moved < limit {
        let page = (limit - moved).min(Request::REDRIVE_MAX.into());
        let count = client.redrive(&command.queue, page as u32).await?;
        moved = moved.saturating_add(count);
        if count < page {
            break;
        }
    }
    if console.is_json() {
        console.json(&json!({ "queue": command.queue, "moved": moved }))?;
    } else {
        console.line(moved.to_string().as_bytes())?;
    }
    Ok(())
}

pub(super) async fn queue(client: &Client, command: &Queue, console: &mut Console) -> Result<(), Error> {
    let QueueCommand::Set(Set { queue, lease, deliveries, messages }) = &command.command;
    let set = v1::SetQueue {
        queue: queue.clone(),
        lease_duration: lease.and_then(|lease| lease.try_into().ok()),
        deliveries_max: *deliveries,
        messages_max: *messages,
    };
    let settings = client.set_queue(set).await?;
    let mut document = json::settings(&settings);
    if console.is_json() {
        document["queue"] = json!(queue);
        return Ok(console.json(&document)?);
    }
    let lease = json::duration(settings.lease_duration).unwrap_or_default();
    let mut table = Table::new(&["QUEUE", "LEASE", "DELIVERIES", "MESSAGES"]);
    table.row([queue.clone(), lease, settings.deliveries_max.to_string(), settings.messages_max.to_string()]);
    Ok(console.table(&mut table)?)
}
