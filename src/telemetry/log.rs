//! The log of this process: where its lines go, and which there are.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::Duration;

use tracing::Subscriber;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::format::Format;
use super::span::{self, SPAN};
use super::{Telemetry, lines};
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
    Level(#[from] ParseError),
    /// The process has a log already.
    #[error("the log has been started before")]
    Started(#[from] tracing_subscriber::util::TryInitError),
}

/// Keeps the log going. When it is dropped, what waits is written, for a second at most.
#[must_use = "the log ends when this is dropped"]
pub struct Guard {
    _worker: WorkerGuard,
}

/// Starts the log of this process. `node` is the name that every line carries. Spans that are blocks of code go where
/// `telemetry` traces requests, and lines to where it tells them.
///
/// # Errors
/// The level is not one, or there is a log already.
pub fn start(log: &Log, node: Option<&str>, stream: Stream, telemetry: &Telemetry) -> Result<Guard, Error> {
    let lines = NonBlockingBuilder::default().buffered_lines_limit(LINES_MAX).lossy(true).thread_name("log");
    let (writer, worker) = match stream {
        Stream::Stdout => lines.finish(Paced::new(io::stdout())),
        Stream::Stderr => lines.finish(Paced::new(io::stderr())),
    };
    let format = Format::new(log.format, node, writer.error_counter());
    subscriber(log, is_coloured(log, stream), format, writer, telemetry)?.try_init()?;
    Ok(Guard { _worker: worker })
}

/// What takes lines, and spans if there is somebody to tell them.
pub(super) fn subscriber<W>(
    log: &Log,
    is_coloured: bool,
    format: Format,
    writer: W,
    telemetry: &Telemetry,
) -> Result<impl Subscriber + Send + Sync + use<W>, ParseError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_ansi(is_coloured).event_format(format).with_writer(writer);
    let lines = lines.with_filter(EnvFilter::builder().parse(directives(log))?);
    let told = telemetry.sinks.logs.as_ref().map(|provider| lines::layer(provider, &directives(log))).transpose()?;
    // A list, because a layer that is None has no filter: then every line that is filtered out would be asked about each time.
    let spans = telemetry.sinks.traces.as_ref().map(|traces| span::layer(traces.blocks_of_code.clone()));
    let layers: Vec<_> = [lines.boxed()].into_iter().chain(told).chain(spans).collect();
    Ok(tracing_subscriber::registry().with(layers))
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
    format!("{},quorate::heartbeat={heartbeats},{SPAN}=off", parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NodeConfig;

    #[test]
    fn a_bare_level_is_that_of_quorate() {
        let mut log = NodeConfig::default().log;
        assert_eq!(directives(&log), "warn,quorate=info,quorate::heartbeat=off,quorate::span=off");
        log.level = "debug,quorate::entries=off,h2=trace".into();
        log.heartbeats = true;
        assert_eq!(
            directives(&log),
            "warn,quorate=debug,quorate::entries=off,h2=trace,quorate::heartbeat=info,quorate::span=off"
        );
        log.level = "error".into();
        assert_eq!(directives(&log), "error,quorate=error,quorate::heartbeat=info,quorate::span=off");
    }
}
