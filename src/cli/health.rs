//! `quorate health`: asks the health port of a node, for health checks in an image that has no other program.

use std::io;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Exit, Failure, stdout};
use crate::config::Address;

/// More than any answer has.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// What to ask, and whom.
#[derive(Args, Debug)]
pub struct Arguments {
    /// What to ask for
    #[arg(value_enum, default_value_t = Question::Ready)]
    pub question: Question,
    /// The health port of the node
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7403")]
    pub address: Address,
    /// How long to wait for the answer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Question {
    /// Whether the node does its part: is a member that votes, has caught up, and goes on.
    Ready,
    /// Whether its process is better left alone.
    Live,
}

/// The end of the help text.
pub const HELP: &str = "\
The first line of the answer is the verdict, and each line after it a condition: [x] it holds, [ ] it does not, and why.

Exit codes: 0 the node is ready, or live; 1 it is not, or did not answer; 2 wrong usage.

Examples:
  quorate health
  quorate health live --address 10.0.0.1:7403";

/// Asks, and prints the answer.
///
/// # Errors
/// The node did not answer, or what answers is no node.
pub async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments { question, address, timeout } = arguments;
    let path = match question {
        Question::Ready => "/readyz",
        Question::Live => "/livez",
    };
    let asked = tokio::time::timeout(timeout, ask(&address, path)).await;
    let answered = asked.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)));
    let answer = answered.map_err(|error| unanswered(&address, &error.to_string()))?;
    match parse(&answer) {
        Some((200, text)) => stdout::print(text),
        Some((503, text)) => stdout::print(text).map(|_| Exit::Failed),
        Some((status, _)) => Err(unanswered(&address, &format!("it answers {status}"))),
        None => Err(unanswered(&address, "its answer is not HTTP")),
    }
}

fn unanswered(address: &Address, why: &str) -> Failure {
    let error = format!("no health port answers on {address}: {why}");
    Failure::with_hint(Exit::Failed, error, "--address is health.listen of the node, by default its client port plus 3")
}

/// Everything that comes back. In HTTP/1.0 the end of the answer is the end of the connection.
async fn ask(address: &Address, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address.to_string()).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The status and the body of an answer.
fn parse(answer: &[u8]) -> Option<(u16, &str)> {
    let (head, body) = std::str::from_utf8(answer).ok()?.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    Some((status.parse().ok()?, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_from_what_is_none() {
        let ready = b"HTTP/1.0 200 OK\r\ncontent-length: 6\r\n\r\nready\n";
        assert_eq!(parse(ready), Some((200, "ready\n")));
        assert_eq!(parse(b"HTTP/1.1 503\r\n\r\n"), Some((503, "")));
        for none in [&b""[..], b"SSH-2.0\r\n\r\n", b"HTTP/1.1 ok\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"\xff\r\n\r\n"] {
            assert_eq!(parse(none), None);
        }
    }
}
