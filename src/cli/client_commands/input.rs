//! Lines of standard input, in batches.
//!
//! ```text
//!   thread   reads what is there into chunks of lines   --CHUNKS_AHEAD_MAX-->   Batches   joins what has come meanwhile
//! ```
//!
//! A batch is there as soon as a line is: an interactive producer never waits for others, and a fast one fills the batches while
//! the one before is on its way. When they are taken more slowly than lines come, chunks fill up, and the thread stops reading.

use std::io::{self, BufRead, BufReader, Read};

use tokio::sync::mpsc;

use crate::client::Body;
use crate::state_machine::Request;

/// What is read at once.
const BUFFER_BYTES: usize = 64 * 1024;
/// Chunks that wait to be taken, each of about a buffer, or of one longer line.
const CHUNKS_AHEAD_MAX: usize = 16;
/// The bodies of a batch, unless one chunk alone has more: well below what a request may have.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

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

/// Lines that were there together, as bodies of messages: text, or data where a line is not UTF-8.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bodies: Vec<Body>,
    /// The bytes of the bodies.
    pub(super) bytes: usize,
}

/// The lines of an input, in order.
pub(super) struct Batches {
    chunks: mpsc::Receiver<Result<Batch, Unreadable>>,
    /// What was taken and did not fit into the last batch.
    next: Option<Result<Batch, Unreadable>>,
}

impl Batches {
    /// Reads `input` on a thread of its own, because nothing can end such a read: the thread lives as long as the process.
    pub(super) fn start(input: impl Read + Send + 'static) -> Self {
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD_MAX);
        std::thread::spawn(move || read(BufReader::with_capacity(BUFFER_BYTES, input), &sender));
        Self { chunks, next: None }
    }

    /// The next lines, at least one; none at the end. An error is about the line after those before it, and is the last thing.
    pub(super) async fn next(&mut self) -> Option<Result<Batch, Unreadable>> {
        let first = match self.next.take() {
            Some(first) => first,
            None => self.chunks.recv().await?,
        };
        Some(first.map(|first| self.joined(first)))
    }

    /// A batch with the chunks that have come after it, as far as they fit.
    fn joined(&mut self, mut batch: Batch) -> Batch {
        while let Ok(chunk) = self.chunks.try_recv() {
            match chunk {
                Ok(mut chunk) if batch.has_room_for(&chunk) => {
                    batch.bytes += chunk.bytes;
                    batch.bodies.append(&mut chunk.bodies);
                }
                other => {
                    self.next = Some(other);
                    break;
                }
            }
        }
        batch
    }
}

impl Batch {
    fn has_room_for(&self, more: &Batch) -> bool {
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
fn read(mut input: BufReader<impl Read>, chunks: &mpsc::Sender<Result<Batch, Unreadable>>) {
    loop {
        let mut chunk = Batch::default();
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
fn fill(chunk: &mut Batch, input: &mut BufReader<impl Read>) -> Result<bool, Unreadable> {
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
        let end = fill(&mut Batch::default(), &mut BufReader::new(&longer[..]));
        assert!(matches!(end, Err(Unreadable::TooLong)), "{end:?}");
    }

    #[test]
    fn what_is_not_text_is_data() {
        let mut chunk = Batch::default();
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

    #[tokio::test]
    async fn batches_are_bounded_by_count_and_by_bytes() {
        let chunk = |count, bytes| Batch { bodies: vec![Body::Text(String::new()); count], bytes };
        let (sender, chunks) = mpsc::channel(8);
        for more in [chunk(1, 10), chunk(300, 10), chunk(300, 10), chunk(500, 10)] {
            sender.try_send(Ok(more)).unwrap();
        }
        drop(sender);
        let mut batches = Batches { chunks, next: None };
        let mut sizes = Vec::new();
        while let Some(batch) = batches.next().await {
            sizes.push(batch.unwrap().bodies.len());
        }
        assert_eq!(sizes, [601, 500]);
        assert!(!chunk(1, BATCH_BYTES_MAX).has_room_for(&chunk(1, 1)));
    }
}
