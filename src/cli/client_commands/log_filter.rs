//! Which entries `log` prints.

use std::time::{Duration, SystemTime};

use clap::Args;

use super::json;
use crate::proto::v1;
use crate::proto::v1::log_entry::Content;
use crate::proto::v1::operation::Operation as Verb;

/// What an entry must be to be printed: all of it at once.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Filters")]
pub struct Filter {
    /// Commands with an operation on this queue
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Entries of this kind
    #[arg(long, value_name = "KIND", value_parser = ["noop", "command", "expiry", "configuration"])]
    kind: Option<String>,
    /// Commands with this operation; together with --queue: on that queue
    #[arg(
        long,
        value_name = "VERB",
        value_parser = ["enqueue", "dequeue", "peek", "list_queues", "open_session", "close_session"]
    )]
    verb: Option<String>,
    /// Commands of this session, from the one that opened it
    #[arg(long, value_name = "ID")]
    session: Option<u64>,
    /// From the first command of this long ago on, such as 5m; the clock that counts is that of the leader of then
    #[arg(long, value_name = "TIME", value_parser = super::duration)]
    since: Option<Duration>,
}

/// A filter at work on a log, entry after entry.
pub(super) struct Sieve<'a> {
    filter: &'a Filter,
    /// The time before which nothing is let through; none once a later command has come by. Only commands have a time, and
    /// times never run backwards.
    begin: Option<SystemTime>,
}

impl Filter {
    /// Whether it lets everything through.
    pub(super) fn is_empty(&self) -> bool {
        let Self { queue, kind, verb, session, since } = self;
        queue.is_none() && kind.is_none() && verb.is_none() && session.is_none() && since.is_none()
    }

    /// The filter, whose `--since` counts from this moment.
    pub(super) fn sieve(&self) -> Sieve<'_> {
        let begin = self.since.map(|since| SystemTime::now().checked_sub(since).unwrap_or(SystemTime::UNIX_EPOCH));
        Sieve { filter: self, begin }
    }

    fn fits(&self, entry: &v1::LogEntry) -> bool {
        let command = match &entry.content {
            Some(Content::Command(command)) => Some(command),
            _ => None,
        };
        let operations = command.map(|command| command.operations.as_slice()).unwrap_or_default();
        let any_operation = self.queue.is_none() && self.verb.is_none();
        self.kind.as_deref().is_none_or(|kind| kind == json::kind(entry))
            && (any_operation || operations.iter().any(|operation| self.fits_operation(operation)))
            && self.session.is_none_or(|session| command.is_some_and(|command| is_of(session, entry.index, command)))
    }

    fn fits_operation(&self, operation: &v1::Operation) -> bool {
        self.verb.as_deref().is_none_or(|verb| verb == json::verb(operation))
            && self.queue.as_deref().is_none_or(|queue| Some(queue) == queue_of(operation))
    }
}

impl Sieve<'_> {
    pub(super) fn lets_through(&mut self, entry: &v1::LogEntry) -> bool {
        if let (Some(begin), Some(Content::Command(command))) = (self.begin, &entry.content)
            && command.timestamp.and_then(|time| SystemTime::try_from(time).ok()).is_some_and(|time| time >= begin)
        {
            self.begin = None;
        }
        self.begin.is_none() && self.filter.fits(entry)
    }
}

/// A session is named after the index of the entry that opened it.
fn is_of(session: u64, index: u64, command: &v1::LoggedCommand) -> bool {
    let opens = |operation: &v1::Operation| matches!(operation.operation, Some(Verb::OpenSession(_)));
    command.session == session || (index == session && command.operations.iter().any(opens))
}

fn queue_of(operation: &v1::Operation) -> Option<&str> {
    match operation.operation.as_ref()? {
        Verb::Enqueue(enqueue) => Some(&enqueue.queue),
        Verb::Dequeue(dequeue) => Some(&dequeue.queue),
        Verb::Peek(peek) => Some(&peek.queue),
        Verb::Lease(lease) => Some(&lease.queue),
        Verb::Settle(settle) => Some(&settle.queue),
        Verb::ExtendLease(extend) => Some(&extend.queue),
        Verb::Redrive(redrive) => Some(&redrive.queue),
        Verb::SetQueue(set) => Some(&set.queue),
        Verb::Stats(stats) => Some(&stats.queue).filter(|queue| !queue.is_empty()).map(String::as_str),
        Verb::ListQueues(_) | Verb::OpenSession(_) | Verb::CloseSession(_) => None,
    }
}
