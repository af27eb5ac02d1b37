//! `log`: the replicated log, decoded.

use std::collections::VecDeque;

use clap::Args;

use super::console::Console;
use super::freshness::Freshness;
use super::log_filter::Filter;
use super::report::Error;
use super::table::Table;
use super::{json, queue, table};
use crate::client::{self, Client};
use crate::proto::v1;
use crate::proto::v1::log_entry::Content;
use crate::proto::v1::operation::Operation as Verb;
use crate::proto::v1::settlement::How;

/// How much of a body the content shows, in characters: there may be several in a line.
const BODY_CHARACTERS_MAX: usize = 60;
/// The most that `--last` keeps in memory.
const LAST_MAX: u64 = 10_000;

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
    /// Print the last N entries, of those that the filters let through
    #[arg(long, value_name = "N", conflicts_with = "limit", value_parser = clap::value_parser!(u64).range(1..=LAST_MAX))]
    last: Option<u64>,
    /// Go on with further entries as they are committed, across changes of the leader, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    freshness: Freshness,
}

pub(super) const HELP: &str = "\
Prints each entry's index, term, whether it is committed ('yes') or was not known to be when the leader was asked, and
its content: what a client asked for, who became a member, or the empty entry with which a leader begins its term.

With --follow only committed entries are printed, each once and none left out. It ends with exit code 0 on Ctrl-C, and
with 4 when no leader is found within --timeout. The filters are applied by this program, which reads the whole log from
--from on; an entry is printed when all of them let it through.

With --stale it is the log of the node that is asked, to its end, and with --any-node the same as far as it is committed.

Examples:
  quorate log --last 20
  quorate log --from 100 --limit 20
  quorate log --follow --last 1 --queue orders
  quorate log --verb enqueue --since 5m
  quorate log --stale --endpoints 10.0.0.2:7400
  quorate log --output json | jq 'select(.kind == \"configuration\")'

JSON, a line for each entry: {\"index\", \"term\", \"committed\", \"kind\": \"noop\" | \"command\" | \"expiry\" |
\"configuration\", ...}; a command has also session, sequence, time, operations [{\"verb\", ...}]; a configuration
voters, voters_outgoing, learners";

pub(super) async fn log(client: &Client, command: &Log, console: &mut Console) -> Result<(), Error> {
    let client = &command.freshness.reading(client);
    let from = command.first(client).await?;
    // A node counts what it sends, and not what passes the filters.
    let asked = if command.filter.is_empty() { command.limit } else { 0 };
    let mut pages = client.request_log(from, asked);
    if command.follow {
        pages = pages.follow();
    }
    let mut sieve = command.filter.sieve();
    let mut printed = Printed::new(command, console);
    let mut gathered = command.last.map(Gathered::new);
    let mut age = None;
    while let Some(page) = pages.next().await? {
        age = client::age(page.age);
        let reached = gathered.as_mut().is_some_and(|gathered| command.follow && gathered.has_reached_end(&page));
        let entries = page.entries.into_iter().filter(|entry| sieve.lets_through(entry));
        match &mut gathered {
            Some(gathered) => entries.for_each(|entry| gathered.add(entry)),
            None => printed.print(entries)?,
        }
        if reached && let Some(gathered) = gathered.take() {
            printed.print(gathered.entries)?;
        }
        if printed.is_full() {
            break;
        }
    }
    let rest = gathered.map(|gathered| gathered.entries).unwrap_or_default();
    printed.print(rest)?;
    printed.finish()?;
    command.freshness.tell(age, console);
    Ok(())
}

impl Log {
    /// Whether it goes on until it is interrupted.
    pub(super) fn is_endless(&self) -> bool {
        self.follow
    }

    /// The first index to read. Without filters there is no need to read what stands before the last entries.
    async fn first(&self, client: &Client) -> Result<u64, Error> {
        match self.last {
            Some(last) if self.filter.is_empty() => {
                let (first, end) = ends(client).await?;
                let begin = (end + 1).saturating_sub(last);
                // A log can be shorter than that. Whoever names an index is told when it is no longer there.
                Ok(if self.from == 0 { begin.max(first) } else { begin.max(self.from) })
            }
            _ => Ok(self.from),
        }
    }
}

/// Where the leader's log begins, 0 if it has no entries, and how far it is applied: the header of every page says so.
async fn ends(client: &Client) -> Result<(u64, u64), Error> {
    let page = client.request_log(0, 1).next().await?.unwrap_or_default();
    let first = page.entries.first().map_or(0, |entry| entry.index);
    Ok((first, page.header.map_or(0, |header| header.index)))
}

/// The last entries so far.
struct Gathered {
    entries: VecDeque<v1::LogEntry>,
    count: usize,
    /// The last index there was when the log was first asked for.
    end: Option<u64>,
}

impl Gathered {
    fn new(count: u64) -> Self {
        Self { entries: VecDeque::new(), count: usize::try_from(count).expect("it is at most LAST_MAX"), end: None }
    }

    fn add(&mut self, entry: v1::LogEntry) {
        if self.entries.len() == self.count {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// Whether a log that is followed has been read up to where it ended at first.
    fn has_reached_end(&mut self, page: &v1::RequestLogResponse) -> bool {
        let end = *self.end.get_or_insert(page.header.as_ref().map_or(0, |header| header.index));
        page.entries.last().is_none_or(|last| last.index >= end)
    }
}

/// The entries on standard output.
struct Printed<'a> {
    console: &'a mut Console,
    table: Table,
    /// How many more may be printed.
    left: u64,
}

impl<'a> Printed<'a> {
    fn new(command: &Log, console: &'a mut Console) -> Self {
        let left = if command.limit == 0 { u64::MAX } else { command.limit };
        Self { console, table: Table::new(&HEADER), left }
    }

    fn is_full(&self) -> bool {
        self.left == 0
    }

    fn print(&mut self, entries: impl IntoIterator<Item = v1::LogEntry>) -> Result<(), Error> {
        let mut any = false;
        for entry in entries {
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            any = true;
            if self.console.is_json() {
                self.console.json(&json::entry(&entry))?;
            } else {
                add(&mut self.table, &entry);
            }
        }
        if any && !self.console.is_json() {
            self.console.table(&mut self.table)?;
        }
        Ok(())
    }

    /// Prints the header of a table without rows, if that is what it is.
    fn finish(mut self) -> Result<(), Error> {
        if !self.console.is_json() {
            self.console.table(&mut self.table)?;
        }
        Ok(())
    }
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
        return "ends leases, delays and sessions whose time has passed".to_owned();
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
            let headers = queue::headers_text(enqueue.message.as_ref());
            let (space, headers) = (if headers.is_empty() { "" } else { " " }, one_line(&headers));
            format!("{verb} {} \"{}\"{space}{headers}", enqueue.queue, one_line(&body))
        }
        Some(Verb::Dequeue(dequeue)) => format!("{verb} {}", dequeue.queue),
        Some(Verb::Peek(peek)) => format!("{verb} {}", peek.queue),
        Some(Verb::Lease(lease)) => format!("{verb} {} x{}", lease.queue, lease.limit),
        Some(Verb::Settle(settle)) => {
            let settlements: Vec<_> = settle.settlements.iter().map(settlement_text).collect();
            format!("{verb} {} {}", settle.queue, one_line(&settlements.join(", ")))
        }
        Some(Verb::ExtendLease(extend)) => {
            format!("{verb} {} {}", extend.queue, one_line(&extend.tokens.join(", ")))
        }
        Some(Verb::Redrive(redrive)) => format!("{verb} {} x{}", redrive.queue, redrive.limit),
        Some(Verb::SetQueue(set)) => format!("{verb} {}", set.queue),
        _ => verb.to_owned(),
    }
}

fn settlement_text(settlement: &v1::Settlement) -> String {
    let how = match settlement.how {
        Some(How::Ack(_)) => "ack",
        Some(How::Release(_)) => "release",
        Some(How::Reject(_)) => "reject",
        None => "?",
    };
    format!("{how} {}", settlement.token)
}

fn one_line(text: &str) -> String {
    table::one_line(text, BODY_CHARACTERS_MAX)
}

fn configuration_text(configuration: &v1::Configuration) -> String {
    let v1::Configuration { voters, voters_outgoing, learners } = configuration;
    let parts = [("voters", voters), ("outgoing voters", voters_outgoing), ("learners", learners)];
    let present = parts.into_iter().filter(|(_, nodes)| !nodes.is_empty());
    present.map(|(what, nodes)| format!("{what} {}", nodes.join(" "))).collect::<Vec<_>>().join("; ")
}
