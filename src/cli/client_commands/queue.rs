//! `enqueue`, `dequeue`, `peek`, `queues` and `stats`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::console::Console;
use super::freshness::{Freshness, age_json};
use super::json;
use super::lines::Lines;
use super::report::Error;
use super::table::Table;
use crate::client::{Body, Client, Message, Shown};
use crate::proto::v1;
use crate::state_machine::check_headers;
use crate::telemetry;

/// What stands for standard input.
const INPUT: &str = "-";

/// Messages to append.
#[derive(Clone, Debug, Args)]
pub struct Enqueue {
    /// The queue: 1 to 255 letters, digits, '.', '_', '-', ':' and '/'
    pub(super) queue: String,
    /// The messages; several are enqueued together, or none of them. A lone `-`: each line of standard input is one
    #[arg(value_name = "TEXT", required_unless_present = "literal")]
    text: Vec<String>,
    /// After `--` every text is a message, also `-` and what begins with a dash
    #[arg(last = true, value_name = "TEXT")]
    literal: Vec<String>,
    /// Tell this beside the body, in each of the messages; several times for several headers
    #[arg(long = "header", value_name = "KEY=VALUE", value_parser = header)]
    pub(super) headers: Vec<Header>,
    /// Nobody can take them before so long, such as 5m; 30 days at most
    #[arg(long, value_name = "TIME", default_value = "0s", hide_default_value = true, value_parser = humantime::parse_duration)]
    pub(super) delay: Duration,
    /// Print the ids of messages that come from standard input, too
    #[arg(long)]
    pub(super) ids: bool,
}

/// A key and a value.
pub(super) type Header = (String, String);

fn header(text: &str) -> Result<Header, String> {
    let (key, value) = text.split_once('=').ok_or("a header is KEY=VALUE")?;
    let headers = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    check_headers(&headers).map_err(|why| why.to_string())?;
    Ok((key.to_owned(), value.to_owned()))
}

/// A message with a body and headers; of a key that is there twice the last one counts.
pub(super) fn with_headers(body: Body, headers: &[Header]) -> Message {
    Message { body: Some(body), headers: headers.iter().cloned().collect() }
}

/// Messages to take.
#[derive(Clone, Debug, Args)]
pub struct Dequeue {
    /// The queue; one that does not exist is an empty one
    queue: String,
    /// Wait this long for a message if there is none, such as 10s
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = super::duration)]
    wait: Duration,
    /// Take up to this many messages, one after the other, until there are no more
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
}

/// Messages to show.
#[derive(Clone, Debug, Args)]
pub struct Peek {
    /// The queue; one that does not exist is an empty one
    queue: String,
    /// Show up to this many messages, 100 at most
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
    /// Which messages: those that can be taken (ready), that a consumer has (leased), that cannot be taken yet
    /// (delayed), or that nobody is to take (dead)
    #[arg(long, value_name = "STATE", value_enum, default_value_t = State::Ready)]
    state: State,
    /// Messages after this one only: the id of the last one of a page, for the next page
    #[arg(long, value_name = "ID", value_parser = id)]
    after: Option<v1::MessageId>,
    #[command(flatten)]
    freshness: Freshness,
}

/// A state of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum State {
    Ready,
    Leased,
    Delayed,
    Dead,
}

impl From<State> for v1::MessageState {
    fn from(state: State) -> Self {
        match state {
            State::Ready => Self::Ready,
            State::Leased => Self::Leased,
            State::Delayed => Self::Delayed,
            State::Dead => Self::Dead,
        }
    }
}

/// The inverse of `id_text`.
fn id(text: &str) -> Result<v1::MessageId, String> {
    let numbers: Option<Vec<u64>> = text.split('-').map(|number| number.parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[shard, index, item]) if item <= u32::MAX.into() => Ok(v1::MessageId { shard, index, item: item as u32 }),
        _ => Err("an id is SHARD-INDEX-ITEM".to_owned()),
    }
}

/// How to list the queues.
#[derive(Clone, Debug, Args)]
pub struct Queues {
    #[command(flatten)]
    freshness: Freshness,
}

/// What to count.
#[derive(Clone, Debug, Args)]
pub struct Stats {
    /// The queue [default: all of them together, and the open sessions]
    queue: Option<String>,
    #[command(flatten)]
    freshness: Freshness,
}

pub(super) const ENQUEUE_HELP: &str = "\
Prints the id of each message, SHARD-INDEX-ITEM, once it is durable on a quorum. It is enqueued exactly once, however
often the request had to be repeated.

With `-` each line of standard input becomes a message, also an empty one and a last one without a newline; what is not UTF-8
becomes data. They are enqueued in order, exactly once, and each as soon as it is there. A count goes to standard error.
Lines that go out together are enqueued together or not at all; when some fail, an error says which ones, and that all
before them were enqueued. A line of more than 1 MiB ends it.

A message carries up to 64 headers, with 16 KiB together; keys are visible ASCII. In a trace (TRACEPARENT) it carries the
headers traceparent and tracestate unless they are given.

Examples:
  quorate enqueue orders 'one pizza'
  quorate enqueue orders first second third       together, or not at all
  quorate enqueue orders -- -5 -                   two messages that begin with a dash
  quorate enqueue orders --header kind=pizza --header priority=1 'one pizza'
  seq 1000 | quorate enqueue orders -
  quorate enqueue orders - --ids < orders.txt
  quorate enqueue orders hello --endpoints 10.0.0.1:7400,10.0.0.2:7400

JSON: {\"ids\": [{\"shard\", \"index\", \"item\"}, ...]}; from standard input {\"queue\", \"enqueued\", \"bytes\"} at the end, and
with --ids before that a line with ids for each group that was enqueued together";

pub(super) const DEQUEUE_HELP: &str = "\
Prints the body as it was enqueued, and a newline. Control characters in it are escaped if the output is a terminal.
When the queue is empty nothing is printed and the exit code is 3.

Examples:
  quorate dequeue orders
  quorate dequeue orders --wait 30s
  while order=$(quorate dequeue orders --wait 1m); do make_pizza \"$order\"; done

JSON, a line for each message: {\"id\": {...}, \"text\": \"...\" or \"data\": \"BASE64\", \"headers\": {...}, \"enqueued_at\", \"deliveries\"}

Exit codes: 0 a message was taken, 3 the queue is empty, 4 no node served the request, 1, 2 and 5 as in other commands.";

pub(super) const PEEK_HELP: &str = "\
Examples:
  quorate peek orders
  quorate peek orders --limit 1 --output json
  quorate peek orders --state dead --after 0-12-0
  quorate peek orders --stale --endpoints 10.0.0.2:7400      what that node has, without asking the leader

JSON: {\"queue\": \"...\", \"messages\": [{\"id\": {...}, \"text\" or \"data\": \"...\", \"headers\": {...}, \"enqueued_at\",
\"deliveries\"}, ...], \"age_ms\"}, and \"due_at\" of one that is leased or delayed, \"dead_at\" and \"dead_reason\" of a dead one; the age of
the answer is null without --stale";

pub(super) const QUEUES_HELP: &str = "\
Examples:
  quorate queues
  quorate queues --any-node --endpoints 10.0.0.2:7400

OLDEST is how long the message waits that is taken next.

JSON: {\"queues\": [{\"name\", \"ready\", \"leased\", \"delayed\", \"dead\", \"bytes\", \"oldest\", \"enqueued\", \"dequeued\", \"acknowledged\",
\"redelivered\", \"dead_lettered\", \"settings\"}, ...], \"age_ms\"}; \"oldest\" is a time, the age is null without --stale";

pub(super) const STATS_HELP: &str = "\
Examples:
  quorate stats
  quorate stats orders

JSON: the counts of `quorate queues`, with \"queue\", \"oldest\" and \"settings\", or with \"queues\" and \"sessions\"; \"age_ms\" is null without
--stale";

impl Enqueue {
    /// Whether the messages are the lines of standard input.
    pub(super) fn reads_input(&self) -> bool {
        self.text == [INPUT] && self.literal.is_empty()
    }
}

pub(super) async fn enqueue(client: &Client, command: &Enqueue, console: &mut Console) -> Result<(), Error> {
    if command.reads_input() {
        return Lines::new(client, command, console).enqueue(std::io::stdin()).await;
    }
    if command.text.iter().any(|text| text == INPUT) {
        return Err(Error::InputNotAlone);
    }
    let bodies = command.text.iter().chain(&command.literal).cloned().map(Body::Text);
    let messages = bodies.map(|body| with_headers(body, &command.headers)).collect();
    let ids = client.enqueue_later(&command.queue, messages, command.delay).await?;
    if console.is_json() {
        let ids: Vec<_> = ids.iter().map(json::id).collect();
        console.json(&json!({ "ids": ids }))?;
    } else {
        for id in &ids {
            console.line(id_text(Some(id)).as_bytes())?;
        }
    }
    Ok(())
}

pub(super) async fn dequeue(client: &Client, command: &Dequeue, console: &mut Console) -> Result<(), Error> {
    for taken in 0..command.count {
        let Some(message) = client.dequeue(&command.queue, command.wait).await? else {
            return if taken == 0 { Err(Error::Empty { queue: command.queue.clone() }) } else { Ok(()) };
        };
        // Printed before the next one is taken: what has left the queue is nowhere else.
        print_taken(&message, console)
            .map_err(|source| Error::NotPrinted { id: id_text(message.id.as_ref()), source })?;
    }
    Ok(())
}

pub(super) async fn peek(client: &Client, command: &Peek, console: &mut Console) -> Result<(), Error> {
    let client = command.freshness.reading(client);
    let Peek { queue, limit, state, after, .. } = command;
    let state = v1::MessageState::from(*state);
    let peek = v1::Peek { queue: queue.clone(), limit: *limit, state: state.into(), after: *after };
    let Shown { value: messages, age } = client.browse(peek).await?;
    if console.is_json() {
        let messages: Vec<_> = messages.iter().map(json::message).collect();
        console.json(&json!({ "queue": command.queue, "messages": messages, "age_ms": age_json(age) }))?;
        return Ok(());
    }
    console.table(&mut peeked(&messages, state))?;
    command.freshness.tell(age, console);
    Ok(())
}

pub(super) async fn queues(client: &Client, command: &Queues, console: &mut Console) -> Result<(), Error> {
    let Shown { value: queues, age } = command.freshness.reading(client).queues().await?;
    if console.is_json() {
        let queues: Vec<_> = queues.iter().map(json::queue).collect();
        console.json(&json!({ "queues": queues, "age_ms": age_json(age) }))?;
        return Ok(());
    }
    let mut table = Table::new(&["QUEUE", "READY", "LEASED", "DELAYED", "DEAD", "BYTES", "OLDEST"]);
    for queue in queues {
        let counts = numbers(queue.contents.unwrap_or_default()).map(|number| number.to_string());
        table.row([queue.name].into_iter().chain(counts).chain([since(queue.oldest)]));
    }
    console.table(&mut table)?;
    command.freshness.tell(age, console);
    Ok(())
}

pub(super) async fn stats(client: &Client, command: &Stats, console: &mut Console) -> Result<(), Error> {
    let client = command.freshness.reading(client);
    let Shown { value: totals, age } = client.stats(command.queue.as_deref()).await?;
    let v1::Totals { queues, contents, counts, oldest, sessions, settings } = totals;
    if console.is_json() {
        let mut document = json::amounts(contents, counts);
        document["age_ms"] = age_json(age);
        match &command.queue {
            Some(queue) => {
                (document["queue"], document["oldest"]) = (json!(queue), json!(oldest.and_then(json::time)));
                document["settings"] = json!(settings.as_ref().map(json::settings));
            }
            None => (document["queues"], document["sessions"]) = (json!(queues), json!(sessions)),
        }
        console.json(&document)?;
        return Ok(());
    }
    let numbers = numbers(contents.unwrap_or_default()).map(|number| number.to_string());
    let mut table = match &command.queue {
        Some(queue) => {
            let mut table = Table::new(&["QUEUE", "READY", "LEASED", "DELAYED", "DEAD", "BYTES", "OLDEST"]);
            table.row([queue.clone()].into_iter().chain(numbers).chain([since(oldest)]));
            table
        }
        None => {
            let mut table = Table::new(&["QUEUES", "READY", "LEASED", "DELAYED", "DEAD", "BYTES", "SESSIONS"]);
            table.row([queues.to_string()].into_iter().chain(numbers).chain([sessions.to_string()]));
            table
        }
    };
    console.table(&mut table)?;
    command.freshness.tell(age, console);
    Ok(())
}

/// A column for headers where there are some, and one for what belongs to the state.
fn peeked(messages: &[v1::StoredMessage], state: v1::MessageState) -> Table {
    let headers = messages.iter().any(has_headers).then_some("HEADERS");
    let of_state = match state {
        v1::MessageState::Unspecified | v1::MessageState::Ready => None,
        v1::MessageState::Leased => Some("LEASE ENDS IN"),
        v1::MessageState::Delayed => Some("READY IN"),
        v1::MessageState::Dead => Some("DEAD BECAUSE"),
    };
    let columns = ["ID", "AGE", "DELIVERIES", "BYTES"].into_iter().chain(of_state).chain(headers).chain(["BODY"]);
    let mut table = Table::new(&columns.collect::<Vec<_>>());
    for stored in messages {
        let message = stored.message.as_ref();
        let (id, bytes) = (id_text(stored.id.as_ref()), bytes_of(message).len().to_string());
        let cells = [id, since(stored.enqueued_at), stored.deliveries.to_string(), bytes].into_iter();
        let of_state = of_state.map(|_| match state {
            v1::MessageState::Dead => stored.dead_reason.clone(),
            _ => until(stored.due_at),
        });
        let headers = headers.map(|_| headers_text(message));
        table.row(cells.chain(of_state).chain(headers).chain([body_text(message)]));
    }
    table
}

/// Whether there is something to show.
pub(super) fn has_headers(stored: &v1::StoredMessage) -> bool {
    stored.message.as_ref().is_some_and(|message| !message.headers.is_empty())
}

/// In the order of the columns.
fn numbers(contents: v1::Contents) -> [u64; 5] {
    let v1::Contents { ready, leased, delayed, dead, bytes } = contents;
    [ready, leased, delayed, dead, bytes]
}

/// How long ago that was, by the clock of this machine.
fn since(time: Option<prost_types::Timestamp>) -> String {
    let Some(time) = time.and_then(|time| SystemTime::try_from(time).ok()) else { return String::new() };
    let seconds = time.elapsed().unwrap_or_default().as_secs();
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// How long it is until then, by the clock of this machine.
fn until(time: Option<prost_types::Timestamp>) -> String {
    let Some(time) = time.and_then(|time| SystemTime::try_from(time).ok()) else { return String::new() };
    let seconds = time.duration_since(SystemTime::now()).unwrap_or_default().as_secs();
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// KEY=VALUE for each, in the order of the keys.
pub(super) fn headers_text(message: Option<&v1::Message>) -> String {
    let headers = message.into_iter().flat_map(|message| &message.headers);
    headers.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

/// A body in the cell of a table: text as it is, data in hexadecimal digits.
pub(super) fn body_text(message: Option<&v1::Message>) -> String {
    match message.and_then(|message| message.body.as_ref()) {
        Some(Body::Text(text)) => text.clone(),
        Some(Body::Data(data)) => {
            // No cell shows more.
            let digits: String = data.iter().take(100).map(|byte| format!("{byte:02x}")).collect();
            format!("0x{digits}{}", if data.len() > 100 { "…" } else { "" })
        }
        None => String::new(),
    }
}

fn print_taken(message: &v1::StoredMessage, console: &mut Console) -> std::io::Result<()> {
    let bytes = bytes_of(message.message.as_ref());
    if console.is_json() {
        console.json(&json::message(message))
    } else if console.is_terminal() {
        console.line(for_terminal(bytes).as_bytes())
    } else {
        console.line(bytes)
    }
}

fn for_terminal(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.split('\n').map(telemetry::escaped).collect::<Vec<_>>().join("\n"),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}

fn bytes_of(message: Option<&v1::Message>) -> &[u8] {
    match message.and_then(|message| message.body.as_ref()) {
        Some(Body::Text(text)) => text.as_bytes(),
        Some(Body::Data(data)) => data,
        None => &[],
    }
}

/// SHARD-INDEX-ITEM.
pub(in crate::cli) fn id_text(id: Option<&v1::MessageId>) -> String {
    id.map(|id| format!("{}-{}-{}", id.shard, id.index, id.item)).unwrap_or_default()
}
