//! `enqueue QUEUE -`: each line of standard input becomes a message.
//!
//! ```text
//!   thread   reads what is there into chunks of lines   --CHUNKS_AHEAD_MAX-->   task   joins chunks, enqueues them in order
//! ```
//!
//! A batch is sent as soon as there is a line and the one before has been acknowledged: an interactive producer never waits
//! for others, and a fast one fills the batches while it waits for the disk. When the cluster is slower than the input, chunks
//! fill up, and the thread stops reading.

use std::fmt;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::console::Console;
use super::json;
use super::queue::id_text;
use super::report::Error;
use crate::client::{Body, Client};
use crate::proto::v1;
use crate::state_machine::Request;

/// What is read at once.
const BUFFER_BYTES: usize = 64 * 1024;
/// Chunks that wait to be sent, each of about a buffer, or of one longer line.
const CHUNKS_AHEAD_MAX: usize = 16;
/// The bodies of a batch, unless one chunk alone has more: well below what a request may have.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Lines that were there together.
#[derive(Debug, Default)]
struct Chunk {
    bodies: Vec<Body>,
    bytes: usize,
}

/// Why a line cannot become a message.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum Unreadable {
    /// Longer than a message may be.
    #[error("it has more than {} bytes, which is as long as a message may be", Request::MESSAGE_BYTES_MAX)]
    TooLong,
    /// Standard input fails.
    #[error("cannot read standard input: {0}")]
    Input(#[from] io::Error),
}

/// What has become of the lines.
#[derive(Debug, Default)]
struct Progress {
    enqueued: u64,
    bytes: u64,
    /// Lines after those that are under way.
    sending: u64,
}

/// Enqueues every line of `input`, in order; prints their ids if `ids`.
///
/// # Errors
/// [`Error::Lines`]: the lines before those it names were enqueued, the ones after them were not.
pub(super) async fn enqueue(
    client: &Client,
    queue: &str,
    ids: bool,
    input: impl Read + Send + 'static,
    console: &mut Console,
) -> Result<(), Error> {
    let (sender, mut chunks) = mpsc::channel(CHUNKS_AHEAD_MAX);
    // On a thread of its own, because nothing can end such a read: the thread lives as long as the process.
    std::thread::spawn(move || read(BufReader::with_capacity(BUFFER_BYTES, input), &sender));
    let mut interrupt = signal(SignalKind::interrupt())?;
    let bar = bar(ids && console.is_terminal());
    let mut progress = Progress::default();
    let ended = tokio::select! {
        ended = enqueue_all(client, queue, ids, &mut chunks, &mut progress, &bar, console) => ended,
        _ = interrupt.recv() => Err(progress.stopped(Error::Interrupted)),
    };
    bar.finish_and_clear();
    ended?;
    progress.summarize(queue, console)
}

async fn enqueue_all(
    client: &Client,
    queue: &str,
    ids: bool,
    chunks: &mut Chunks,
    progress: &mut Progress,
    bar: &ProgressBar,
    console: &mut Console,
) -> Result<(), Error> {
    let mut next = None;
    while let Some(chunk) = match next.take() {
        Some(chunk) => Some(chunk),
        None => chunks.recv().await,
    } {
        progress.sending = 1;
        let batch = joined(chunk.map_err(|why| progress.stopped(why.into()))?, chunks, &mut next);
        progress.sending = batch.bodies.len() as u64;
        let enqueued = client.enqueue(queue, batch.bodies).await.map_err(|why| progress.stopped(why.into()))?;
        progress.enqueued += std::mem::take(&mut progress.sending);
        progress.bytes += batch.bytes as u64;
        bar.set_position(progress.enqueued);
        if ids {
            print_ids(&enqueued, console).map_err(|why| progress.stopped(why))?;
        }
    }
    Ok(())
}

impl Progress {
    /// The error that ends it here.
    fn stopped(&self, why: Error) -> Error {
        Error::Lines { enqueued: self.enqueued, sending: self.sending, source: Box::new(why) }
    }

    fn summarize(&self, queue: &str, console: &mut Console) -> Result<(), Error> {
        let Self { enqueued, bytes, .. } = self;
        if console.is_json() {
            console.json(&json!({ "queue": queue, "enqueued": enqueued, "bytes": bytes }))?;
        } else {
            // Standard error that cannot be written to is no reason to fail.
            let _ = writeln!(io::stderr(), "enqueued {enqueued} messages");
        }
        Ok(())
    }
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

type Chunks = mpsc::Receiver<Result<Chunk, Unreadable>>;

/// `chunk` with those that are there already, as far as they fit; the first that does not is `next`.
fn joined(mut chunk: Chunk, chunks: &mut Chunks, next: &mut Option<Result<Chunk, Unreadable>>) -> Chunk {
    while let Ok(more) = chunks.try_recv() {
        match more {
            Ok(mut more) if chunk.has_room_for(&more) => {
                chunk.bytes += more.bytes;
                chunk.bodies.append(&mut more.bodies);
            }
            other => {
                *next = Some(other);
                break;
            }
        }
    }
    chunk
}

impl Chunk {
    fn has_room_for(&self, more: &Chunk) -> bool {
        self.bodies.len() + more.bodies.len() <= Request::OPERATIONS_MAX && self.bytes + more.bytes <= BATCH_BYTES_MAX
    }

    fn is_full(&self) -> bool {
        self.bodies.len() == Request::OPERATIONS_MAX
    }

    fn push(&mut self, line: Vec<u8>) {
        self.bytes += line.len();
        let body = String::from_utf8(line).map(Body::Text);
        self.bodies.push(body.unwrap_or_else(|not_text| Body::Data(not_text.into_bytes().into())));
    }
}

/// Sends every line of `input`, until it ends or nobody listens.
fn read(mut input: BufReader<impl Read>, chunks: &mpsc::Sender<Result<Chunk, Unreadable>>) {
    loop {
        let mut chunk = Chunk::default();
        let end = fill(&mut chunk, &mut input);
        if !chunk.bodies.is_empty() && chunks.blocking_send(Ok(chunk)).is_err() {
            return;
        }
        match end {
            Ok(false) => {}
            Ok(true) => return,
            Err(why) => {
                // Nobody listens: nobody needs to know.
                let _ = chunks.blocking_send(Err(why));
                return;
            }
        }
    }
}

/// Waits for one line, and takes those that came with it. True: that was the end.
fn fill(chunk: &mut Chunk, input: &mut BufReader<impl Read>) -> Result<bool, Unreadable> {
    loop {
        match next(input, Request::MESSAGE_BYTES_MAX)? {
            Some(line) if line.len() > Request::MESSAGE_BYTES_MAX => return Err(Unreadable::TooLong),
            Some(line) => chunk.push(line),
            None => return Ok(true),
        }
        if chunk.is_full() || !input.buffer().contains(&b'\n') {
            return Ok(false);
        }
    }
}

/// The next line without its end; none at the end of the input. The last line may lack its newline. Of a line that is longer
/// than `bytes_max` only the beginning is read, which is also longer than that.
///
/// # Errors
/// The input cannot be read.
pub(in crate::cli) fn next(input: &mut BufReader<impl Read>, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    input.take(bytes_max as u64 + 1).read_until(b'\n', &mut line)?;
    match line.pop() {
        None => return Ok(None),
        Some(b'\n') => {}
        Some(last) => line.push(last),
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<Vec<u8>> {
        let mut input = BufReader::with_capacity(7, input);
        std::iter::from_fn(|| next(&mut input, Request::MESSAGE_BYTES_MAX).unwrap()).collect()
    }

    #[test]
    fn every_line_counts() {
        assert_eq!(lines(b""), Vec::<Vec<u8>>::new());
        assert_eq!(lines(b"\n"), [b""]);
        assert_eq!(lines(b"one\n\ntwo, which is long\nno end"), [&b"one"[..], b"", b"two, which is long", b"no end"]);
        assert_eq!(lines(b"a\r\n"), [b"a\r"]);
    }

    #[test]
    fn a_line_is_as_long_as_a_message_may_be() {
        let longest = vec![b'x'; Request::MESSAGE_BYTES_MAX];
        for end in [&b""[..], b"\n", b"\nmore"] {
            assert_eq!(lines(&[&longest, end].concat())[0], longest);
        }
        let longer = [&longest[..], b"x\n"].concat();
        let end = fill(&mut Chunk::default(), &mut BufReader::new(&longer[..]));
        assert!(matches!(end, Err(Unreadable::TooLong)), "{end:?}");
    }

    #[test]
    fn what_is_not_text_is_data() {
        let mut chunk = Chunk::default();
        chunk.push(b"\xff\x00".to_vec());
        chunk.push("é".into());
        assert_eq!(chunk.bodies, [Body::Data(b"\xff\x00"[..].into()), Body::Text("é".to_owned())]);
        assert_eq!(chunk.bytes, 4);
    }

    /// A reader that gives what one `write` of a producer brought.
    struct Pieces(Vec<&'static [u8]>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let piece = self.0.remove(0);
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    /// Nobody waits for a line that has not come: what was written together goes together, and no further.
    #[test]
    fn lines_that_came_together_are_sent_together() {
        let (sender, mut chunks) = mpsc::channel(8);
        read(BufReader::new(Pieces(vec![b"1\n2\n3", b"\n4\n", b"5"])), &sender);
        let sizes: Vec<usize> =
            std::iter::from_fn(|| chunks.try_recv().ok()).map(|chunk| chunk.unwrap().bodies.len()).collect();
        assert_eq!(sizes, [2, 2, 1]);
    }

    #[test]
    fn batches_are_bounded_by_count_and_by_bytes() {
        let chunk = |count, bytes| Chunk { bodies: vec![Body::Text(String::new()); count], bytes };
        let (sender, mut chunks) = mpsc::channel(8);
        for more in [chunk(300, 10), chunk(300, 10), chunk(500, 10)] {
            sender.try_send(Ok(more)).unwrap();
        }
        let mut next = None;
        let batch = joined(chunk(1, 10), &mut chunks, &mut next);
        assert_eq!((batch.bodies.len(), batch.bytes), (601, 30));
        assert_eq!(next.unwrap().unwrap().bodies.len(), 500);
        assert!(!chunk(1, BATCH_BYTES_MAX).has_room_for(&chunk(1, 1)));
    }
}
