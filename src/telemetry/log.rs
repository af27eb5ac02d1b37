//! The log of this process: where its lines go, and which there are.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::Duration;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::util::SubscriberInitExt;

use super::format::Format;
use crate::config::{Color, Log, LogFormat};

/// Lines that may wait for the terminal.
const LINES_MAX: usize = 10_000;

/// Lines are gathered up to so many bytes, or until none waits.
const WRITE_BYTES: usize = 64 << 10;

/// After it has written all lines that waited, the thread that writes rests for this long. Under load the lines of that time go
/// out together, and whoever logs need not wake it for each.
const REST: Duration = Duration::from_millis(5);

/// Where the log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The log is what the command prints.
    Stdout,
    /// The log stands beside what the command prints.
    Stderr,
}

/// Why there can be no log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The level cannot be read.
    #[error("log.level: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// The process has a log already.
    #[error("the log has been started before")]
    Started(#[from] tracing_subscriber::util::TryInitError),
}

/// Keeps the log going. When it is dropped, what waits is written, for a second at most.
#[must_use = "the log ends when this is dropped"]
pub struct Guard {
    _worker: WorkerGuard,
}

/// Starts the log of this process. `node` is the name that every line carries.
///
/// # Errors
/// The level is not one, or there is a log already.
pub fn start(log: &Log, node: Option<&str>, stream: Stream) -> Result<Guard, Error> {
    let lines = NonBlockingBuilder::default().buffered_lines_limit(LINES_MAX).lossy(true).thread_name("log");
    let (writer, worker) = match stream {
        Stream::Stdout => lines.finish(Paced::new(io::stdout())),
        Stream::Stderr => lines.finish(Paced::new(io::stderr())),
    };
    let format = Format::new(log.format, node, writer.error_counter());
    tracing_subscriber::fmt()
        .with_ansi(is_coloured(log, stream))
        .event_format(format)
        .with_env_filter(EnvFilter::builder().parse(directives(log))?)
        .with_writer(writer)
        .finish()
        .try_init()?;
    Ok(Guard { _worker: worker })
}

/// What the thread that writes writes to. It flushes when no line waits.
struct Paced<W: Write>(BufWriter<W>);

impl<W: Write> Paced<W> {
    fn new(out: W) -> Self {
        Self(BufWriter::with_capacity(WRITE_BYTES, out))
    }
}

impl<W: Write> Write for Paced<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        std::thread::sleep(REST);
        Ok(())
    }
}

/// True when lines on `stream` are to be coloured.
fn is_coloured(log: &Log, stream: Stream) -> bool {
    let is_terminal = match stream {
        Stream::Stdout => io::stdout().is_terminal(),
        Stream::Stderr => io::stderr().is_terminal(),
    };
    log.format == LogFormat::Text && wants_color(log.color, is_terminal)
}

/// True when `color` asks for colours on what `is_terminal` or not (see <https://no-color.org>).
pub fn wants_color(color: Color, is_terminal: bool) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => is_terminal && !refused,
    }
}

/// The filter in the words of [`EnvFilter`]. A bare level is that of Quorate itself.
fn directives(log: &Log) -> String {
    let of_part = |part: &str| match part.parse::<LevelFilter>() {
        Ok(level) if !part.contains('=') => format!("{},quorate={level}", level.min(LevelFilter::WARN)),
        _ => part.to_owned(),
    };
    let heartbeats = if log.heartbeats { "info" } else { "off" };
    let parts: Vec<String> = log.level.split(',').map(of_part).collect();
    format!("{},quorate::heartbeat={heartbeats}", parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NodeConfig;

    #[test]
    fn a_bare_level_is_that_of_quorate() {
        let mut log = NodeConfig::default().log;
        assert_eq!(directives(&log), "warn,quorate=info,quorate::heartbeat=off");
        log.level = "debug,quorate::entries=off,h2=trace".into();
        log.heartbeats = true;
        assert_eq!(directives(&log), "warn,quorate=debug,quorate::entries=off,h2=trace,quorate::heartbeat=info");
        log.level = "error".into();
        assert_eq!(directives(&log), "error,quorate=error,quorate::heartbeat=info");
    }
}
