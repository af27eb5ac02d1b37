//! `log`: the replicated log, decoded.

use clap::Args;

use super::console::Console;
use super::report::Error;
use super::table::Table;
use super::{json, queue, table};
use crate::client::Client;
use crate::proto::v1;
use crate::proto::v1::log_entry::Content;
use crate::proto::v1::operation::Operation as Verb;

/// How much of a body the content shows, in characters: there may be several in a line.
const BODY_CHARACTERS_MAX: usize = 60;

const HEADER: [&str; 5] = ["INDEX", "TERM", "COMMITTED", "KIND", "CONTENT"];

/// Which entries to print.
#[derive(Clone, Debug, Args)]
pub struct Log {
    /// The first index to print; 0: the first that the log still has
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    from: u64,
    /// Print up to this many entries; 0: all
    #[arg(long, value_name = "N", default_value_t = 0)]
    limit: u64,
}

pub(super) const HELP: &str = "\
Prints each entry's index, term, whether it is committed ('yes') or was not known to be when the leader was asked, and
its content: what a client asked for, who became a member, or the empty entry with which a leader begins its term.

Examples:
  quorate log
  quorate log --from 100 --limit 20
  quorate log --output json | jq 'select(.kind == \"configuration\")'

JSON, a line for each entry: {\"index\", \"term\", \"committed\", \"kind\": \"noop\" | \"command\" | \"expiry\" |
\"configuration\", ...}; a command has also session, sequence, time, operations [{\"verb\", ...}]; a configuration
voters, voters_outgoing, learners";

pub(super) async fn log(client: &Client, command: &Log, console: &mut Console) -> Result<(), Error> {
    let mut pages = client.request_log(command.from, command.limit);
    let mut table = Table::new(&HEADER);
    while let Some(page) = pages.next().await? {
        if console.is_json() {
            for entry in &page.entries {
                console.json(&json::entry(entry))?;
            }
        } else {
            page.entries.iter().for_each(|entry| add(&mut table, entry));
            console.table(&mut table)?;
        }
    }
    if !console.is_json() {
        console.table(&mut table)?;
    }
    Ok(())
}

/// Entries as `quorate log` prints them.
pub(in crate::cli) fn text(entries: &[v1::LogEntry]) -> String {
    let mut table = Table::new(&HEADER);
    entries.iter().for_each(|entry| add(&mut table, entry));
    table.take_text()
}

fn add(table: &mut Table, entry: &v1::LogEntry) {
    let committed = if entry.committed { "yes" } else { "no" };
    table.row([
        entry.index.to_string(),
        entry.term.to_string(),
        committed.to_owned(),
        json::kind(entry).to_owned(),
        content(entry),
    ]);
}

fn content(entry: &v1::LogEntry) -> String {
    match &entry.content {
        Some(Content::Command(command)) => command_text(command),
        Some(Content::Configuration(configuration)) => configuration_text(configuration),
        Some(Content::Noop(_)) | None => String::new(),
    }
}

fn command_text(command: &v1::LoggedCommand) -> String {
    if command.expiry {
        return "ends sessions whose time has passed".to_owned();
    }
    let operations: Vec<_> = command.operations.iter().map(operation_text).collect();
    let operations = operations.join("; ");
    match command.session {
        0 => operations,
        session => format!("{operations} [session {session}, {}]", command.sequence),
    }
}

fn operation_text(operation: &v1::Operation) -> String {
    let verb = json::verb(operation);
    match &operation.operation {
        Some(Verb::Enqueue(enqueue)) => {
            let body = queue::body_text(enqueue.message.as_ref());
            format!("{verb} {} \"{}\"", enqueue.queue, table::one_line(&body, BODY_CHARACTERS_MAX))
        }
        Some(Verb::Dequeue(dequeue)) => format!("{verb} {}", dequeue.queue),
        Some(Verb::Peek(peek)) => format!("{verb} {}", peek.queue),
        _ => verb.to_owned(),
    }
}

fn configuration_text(configuration: &v1::Configuration) -> String {
    let v1::Configuration { voters, voters_outgoing, learners } = configuration;
    let parts = [("voters", voters), ("outgoing voters", voters_outgoing), ("learners", learners)];
    let present = parts.into_iter().filter(|(_, nodes)| !nodes.is_empty());
    present.map(|(what, nodes)| format!("{what} {}", nodes.join(" "))).collect::<Vec<_>>().join("; ")
}
