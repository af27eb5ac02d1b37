//! `enqueue QUEUE -`: each line of standard input becomes a message.

use std::fmt;
use std::io::{self, IsTerminal, Read, Write};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::console::Console;
use super::input::{Batch, Batches};
use super::json;
use super::queue::{Enqueue, Header, id_text, with_headers};
use super::report::Error;
use crate::client::{Body, Client};
use crate::proto::v1;
use crate::state_machine::Request;

/// Lines on their way into a queue.
pub(super) struct Lines<'a> {
    client: &'a Client,
    command: &'a Enqueue,
    console: &'a mut Console,
    bar: ProgressBar,
    enqueued: u64,
    bytes: u64,
    /// Lines after those that are under way.
    sending: u64,
}

impl<'a> Lines<'a> {
    pub(super) fn new(client: &'a Client, command: &'a Enqueue, console: &'a mut Console) -> Self {
        let bar = bar(command.ids && console.is_terminal());
        Self { client, command, console, bar, enqueued: 0, bytes: 0, sending: 0 }
    }

    /// Enqueues every line of `input`, in order, and says how many they were.
    ///
    /// # Errors
    /// [`Error::Lines`]: the lines before those it names were enqueued, the ones after them were not.
    pub(super) async fn enqueue(mut self, input: impl Read + Send + 'static) -> Result<(), Error> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let ended = tokio::select! {
            ended = self.enqueue_all(Batches::start(input)) => ended,
            _ = interrupt.recv() => Err(Error::Interrupted),
        };
        self.bar.finish_and_clear();
        let Self { enqueued, sending, .. } = self;
        ended.map_err(|why| Error::Lines { enqueued, sending, source: Box::new(why) })?;
        self.summarize()
    }

    async fn enqueue_all(&mut self, mut batches: Batches) -> Result<(), Error> {
        while let Some(batch) = batches.next().await {
            self.sending = 1;
            let Batch { mut bodies, bytes } = batch?;
            while !bodies.is_empty() {
                let rest = bodies.split_off(lines_max(&self.command.headers).min(bodies.len()));
                self.enqueue_together(std::mem::replace(&mut bodies, rest)).await?;
            }
            self.bytes += bytes as u64;
        }
        Ok(())
    }

    async fn enqueue_together(&mut self, bodies: Vec<Body>) -> Result<(), Error> {
        self.sending = bodies.len() as u64;
        let messages = bodies.into_iter().map(|body| with_headers(body, &self.command.headers)).collect();
        let ids = self.client.enqueue_later(&self.command.queue, messages, self.command.delay).await?;
        self.enqueued += std::mem::take(&mut self.sending);
        self.bar.set_position(self.enqueued);
        if self.command.ids {
            print_ids(&ids, self.console)?;
        }
        Ok(())
    }

    fn summarize(self) -> Result<(), Error> {
        let Self { command: Enqueue { queue, .. }, enqueued, bytes, .. } = self;
        if self.console.is_json() {
            self.console.json(&json!({ "queue": queue, "enqueued": enqueued, "bytes": bytes }))?;
        } else {
            // Standard error that cannot be written to is no reason to fail.
            let _ = writeln!(io::stderr(), "enqueued {enqueued} messages");
        }
        Ok(())
    }
}

/// How many lines go out together: with a batch of bodies, as many headers as two thirds of a request have room for.
fn lines_max(headers: &[Header]) -> usize {
    let bytes: usize = headers.iter().map(|(key, value)| key.len() + value.len()).sum();
    (Request::BYTES_MAX / 3 * 2 / bytes.max(1)).clamp(1, Request::OPERATIONS_MAX)
}

/// A line on a terminal that says how far it is, unless somebody types there or sees the ids.
fn bar(quiet: bool) -> ProgressBar {
    if quiet || io::stdin().is_terminal() {
        return ProgressBar::hidden();
    }
    let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
        // Memory that takes no text is none of a progress line's business.
        let _ = write!(out, "{:.0}", state.per_sec());
    };
    let style = ProgressStyle::with_template("enqueued {human_pos} messages, {rate} a second, {elapsed}");
    ProgressBar::new_spinner().with_style(style.expect("the template is sound").with_key("rate", rate))
}

fn print_ids(ids: &[v1::MessageId], console: &mut Console) -> Result<(), Error> {
    if console.is_json() {
        let ids: Vec<_> = ids.iter().map(json::id).collect();
        console.json(&json!({ "ids": ids }))?;
    } else {
        let text: Vec<_> = ids.iter().map(|id| id_text(Some(id))).collect();
        console.line(text.join("\n").as_bytes())?;
    }
    Ok(())
}
