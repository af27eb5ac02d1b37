//! `lease`, and what ends a lease: `ack`, `release`, `reject`; `extend` puts its end off.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::console::Console;
use super::json;
use super::queue::{body_text, has_headers, headers_text, id_text};
use super::report::Error;
use super::table::Table;
use crate::client::Client;
use crate::proto::v1::{self, settlement::How};

/// Messages to take for a time.
#[derive(Clone, Debug, Args)]
pub struct Lease {
    /// The queue; one that does not exist is an empty one
    queue: String,
    /// Take up to this many messages at once, 100 at most
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    count: u32,
    /// For how long, such as 5m; 12h at most [default: as the queue is set, 30s if it is not]
    #[arg(long = "for", value_name = "TIME", default_value = "0s", hide_default_value = true, value_parser = super::duration)]
    duration: Duration,
    /// Wait this long for a message if there is none, such as 10s
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = super::duration)]
    wait: Duration,
}

/// Leased messages.
#[derive(Clone, Debug, Args)]
pub struct Leased {
    /// The queue
    queue: String,
    /// What `lease` printed, 100 at most
    #[arg(required = true, value_name = "TOKEN")]
    tokens: Vec<String>,
}

/// Messages that are done with.
#[derive(Clone, Debug, Args)]
pub struct Ack {
    #[command(flatten)]
    leased: Leased,
}

/// Messages that somebody else is to take.
#[derive(Clone, Debug, Args)]
pub struct Release {
    #[command(flatten)]
    leased: Leased,
    /// Nobody can take them before so long; 30 days at most
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    delay: Duration,
}

/// Messages that nobody is to take.
#[derive(Clone, Debug, Args)]
pub struct Reject {
    #[command(flatten)]
    leased: Leased,
    /// Why, for whoever looks at the dead letters; 128 bytes at most
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

/// Messages that take longer.
#[derive(Clone, Debug, Args)]
pub struct Extend {
    #[command(flatten)]
    leased: Leased,
    /// How long from now on; 12h at most [default: as the queue is set, 30s if it is not]
    #[arg(long = "for", value_name = "TIME", default_value = "0s", hide_default_value = true, value_parser = super::duration)]
    duration: Duration,
}

pub(super) const LEASE_HELP: &str = "\
Prints the oldest messages and, for each, a token. Until its lease ends nobody else gets the message: by then acknowledge it (ack),
give it back (release), set it aside (reject), or ask for more time (extend), with the token. A lease that ends gives the message back
by itself, to its place in the order. A message that was delivered as often as the queue allows, 20 times if it is not set, and never
acknowledged, becomes a dead letter. When nothing is ready nothing is printed and the exit code is 3.

Examples:
  quorate lease orders --for 5m --wait 30s
  quorate lease orders --count 10 --output json
  quorate peek orders --state leased

JSON, a line for each message: {\"id\": {...}, \"text\" or \"data\", \"headers\", \"enqueued_at\", \"deliveries\", \"due_at\", \"lease_token\"}

Exit codes: 0 a message was leased, 3 nothing is ready, 4 no node served the request, 1, 2 and 5 as in other commands.";

pub(super) const SETTLE_HELP: &str = "\
Each message is settled if its lease has not ended. If one has, the others are settled all the same, the tokens of those that were not
are named, and the exit code is 5.

Examples:
  quorate ack orders 12-0-15-0
  quorate release orders 12-0-15-0 --delay 1m
  quorate reject orders 12-0-15-0 --reason 'no such address'
  quorate extend orders 12-0-15-0 --for 5m

JSON: {\"results\": [{\"token\", \"done\"}, ...]}";

pub(super) async fn lease(client: &Client, command: &Lease, console: &mut Console) -> Result<(), Error> {
    let messages = client.lease(&command.queue, command.count, command.duration, command.wait).await?;
    if messages.is_empty() {
        return Err(Error::Empty { queue: command.queue.clone() });
    }
    if console.is_json() {
        return Ok(messages.iter().try_for_each(|message| console.json(&json::message(message)))?);
    }
    let headers = messages.iter().any(has_headers).then_some("HEADERS");
    let columns: Vec<_> = ["TOKEN", "ID", "DELIVERIES"].into_iter().chain(headers).chain(["BODY"]).collect();
    let mut table = Table::new(&columns);
    for leased in &messages {
        let (message, deliveries) = (leased.message.as_ref(), leased.deliveries.to_string());
        let cells = [leased.lease_token.clone(), id_text(leased.id.as_ref()), deliveries].into_iter();
        table.row(cells.chain(headers.map(|_| headers_text(message))).chain([body_text(message)]));
    }
    Ok(console.table(&mut table)?)
}

pub(super) async fn ack(client: &Client, command: &Ack, console: &mut Console) -> Result<(), Error> {
    settle(client, &command.leased, &How::Ack(v1::Ack {}), console).await
}

pub(super) async fn release(client: &Client, command: &Release, console: &mut Console) -> Result<(), Error> {
    let delay = prost_types::Duration::try_from(command.delay).ok();
    settle(client, &command.leased, &How::Release(v1::Release { delay }), console).await
}

pub(super) async fn reject(client: &Client, command: &Reject, console: &mut Console) -> Result<(), Error> {
    let reason = command.reason.clone();
    settle(client, &command.leased, &How::Reject(v1::Reject { reason }), console).await
}

pub(super) async fn extend(client: &Client, command: &Extend, console: &mut Console) -> Result<(), Error> {
    let Leased { queue, tokens } = &command.leased;
    let done = client.extend_lease(queue, tokens.clone(), command.duration).await?;
    tell(tokens, &done, console)
}

async fn settle(client: &Client, leased: &Leased, how: &How, console: &mut Console) -> Result<(), Error> {
    let settlement = |token: &String| v1::Settlement { token: token.clone(), how: Some(how.clone()) };
    let settlements = leased.tokens.iter().map(settlement).collect();
    let done = client.settle(&leased.queue, settlements).await?;
    tell(&leased.tokens, &done, console)
}

/// What a person wants to know are the exceptions.
fn tell(tokens: &[String], done: &[bool], console: &mut Console) -> Result<(), Error> {
    if console.is_json() {
        let result = |(token, done)| json!({ "token": token, "done": done });
        let results: Vec<_> = tokens.iter().zip(done).map(result).collect();
        console.json(&json!({ "results": results }))?;
    }
    let ended = tokens.iter().zip(done).filter(|(_, done)| !**done).map(|(token, _)| token.clone());
    match ended.collect::<Vec<_>>() {
        ended if ended.is_empty() => Ok(()),
        tokens => Err(Error::LeaseExpired { tokens }),
    }
}
