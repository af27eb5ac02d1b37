//! Lines of standard input when nobody types there.

use std::io::{self, BufReader, Read};

use tokio::sync::mpsc;

use crate::cli::client_commands::input;

/// The longest line: a message of 1 MiB, each byte of it escaped, with room for the rest.
const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Lines, read one ahead.
pub(super) struct Script {
    lines: mpsc::Receiver<io::Result<String>>,
}

impl Script {
    /// Reads `input` on a thread of its own, because nothing can end such a read: the thread lives as long as the process.
    pub(super) fn start(input: impl Read + Send + 'static) -> Self {
        let (sender, lines) = mpsc::channel(1);
        std::thread::spawn(move || {
            let mut input = BufReader::new(input);
            while let Some(line) = next(&mut input).transpose() {
                let failed = line.is_err();
                if sender.blocking_send(line).is_err() || failed {
                    return;
                }
            }
        });
        Self { lines }
    }

    /// The next line; none at the end.
    ///
    /// # Errors
    /// The input cannot be read, or a line is not text or too long. There are no more lines after that.
    pub(super) async fn next(&mut self) -> io::Result<Option<String>> {
        self.lines.recv().await.transpose()
    }
}

fn next(lines: &mut BufReader<impl Read>) -> io::Result<Option<String>> {
    let Some(line) = input::next(lines, LINE_BYTES_MAX)? else { return Ok(None) };
    if line.len() > LINE_BYTES_MAX {
        return Err(io::Error::other(format!("a line of commands has more than {LINE_BYTES_MAX} bytes")));
    }
    String::from_utf8(line).map(Some).map_err(|_| io::Error::other("a line of commands is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_until_the_end_or_an_error() {
        let mut script = Script::start(&b"one\n\ntwo\n\xff\nthree"[..]);
        for line in ["one", "", "two"] {
            assert_eq!(script.next().await.unwrap().as_deref(), Some(line));
        }
        assert_eq!(script.next().await.unwrap_err().to_string(), "a line of commands is not UTF-8");
        assert_eq!(script.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_line_is_not_read_without_bound() {
        let endless = io::repeat(b'x').take(1 << 40);
        assert!(Script::start(endless).next().await.unwrap_err().to_string().contains("more than"));
    }
}
