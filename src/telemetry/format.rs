//! What a line of the log looks like.
//!
//! ```text
//!    12:04:05.123 INFO  a  becomes leader of term 5 because 2 of 3 voted for it
//!    12:04:05.130 WARN  a  cannot reach c address=127.0.0.1:7421 retry_in=400ms
//!
//!    {"time":"2026-01-31T12:04:05.123Z","level":"INFO","node":"a","target":"quorate::raft","message":"becomes ...","term":5}
//! ```
//!
//! An event with a field `event`, a stable name for programs, says everything in its words as well: text leaves its fields out.
//! What is said about a request that is traced has the ids of its trace and span: `trace_id` and `span_id` in JSON, and in a line
//! for people `trace=TRACE-SPAN` at its end, as they stand in a `traceparent`. Times are UTC.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use anstyle::{AnsiColor, Style};
use serde::Serializer;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::ErrorCounter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::propagation::current_ids;
use super::tell::HEARTBEAT;
use crate::config::LogFormat;

/// A value longer than this is cut, so that a line of the log is short whatever a client sends.
const VALUE_CHARS_MAX: usize = 1000;

/// Writes events as lines.
pub(super) struct Format {
    format: LogFormat,
    node: Option<String>,
    dropped: ErrorCounter,
    dropped_and_told: AtomicUsize,
}

impl Format {
    pub(super) fn new(format: LogFormat, node: Option<&str>, dropped: ErrorCounter) -> Self {
        Self { format, node: node.map(str::to_owned), dropped, dropped_and_told: AtomicUsize::new(0) }
    }

    fn line(&self, writer: &mut Writer<'_>, level: Level, target: &str, fields: Fields) -> fmt::Result {
        match self.format {
            LogFormat::Text => self.text(writer, level, target, fields),
            LogFormat::Json => self.json(writer, level, target, fields),
        }
    }

    fn text(&self, writer: &mut Writer<'_>, level: Level, target: &str, fields: Fields) -> fmt::Result {
        let (dim, bold) = (Style::new().dimmed(), Style::new().bold());
        painted(writer, dim, &time()[11..23])?;
        writer.write_char(' ')?;
        painted(writer, level_style(level), &format!("{:<5}", level_name(level, target)))?;
        writer.write_char(' ')?;
        if let Some(node) = &self.node {
            painted(writer, bold, node)?;
            writer.write_str("  ")?;
        }
        if target != "quorate" && !target.starts_with("quorate::") {
            painted(writer, dim, &format!("{target}: "))?;
        }
        write_escaped(writer, &fields.message)?;
        if !fields.others.iter().any(|(name, _)| *name == "event") {
            for (name, value) in &fields.others {
                writer.write_char(' ')?;
                painted(writer, dim, &format!("{name}="))?;
                writer.write_str(&readable(value))?;
            }
        }
        if let Some((trace_id, span_id)) = current_ids() {
            writer.write_char(' ')?;
            painted(writer, dim, &format!("trace={trace_id}-{span_id}"))?;
        }
        writer.write_char('\n')
    }

    fn json(&self, writer: &mut Writer<'_>, level: Level, target: &str, fields: Fields) -> fmt::Result {
        let mut line: Vec<(&str, Value)> = vec![("time", time().into()), ("level", level.as_str().into())];
        line.extend(self.node.as_deref().map(|node| ("node", node.into())));
        line.extend([("target", target.into()), ("message", fields.message.into())]);
        if let Some((trace_id, span_id)) = current_ids() {
            line.extend([("trace_id", trace_id.to_string().into()), ("span_id", span_id.to_string().into())]);
        }
        // What every line has is not replaced, and not there twice.
        let fixed = line.len();
        for (name, value) in fields.others {
            if line[..fixed].iter().all(|(taken, _)| *taken != name) {
                line.push((name, value));
            }
        }
        let mut bytes = Vec::new();
        serde_json::Serializer::new(&mut bytes).collect_map(line).map_err(|_| fmt::Error)?;
        writeln!(writer, "{}", String::from_utf8(bytes).map_err(|_| fmt::Error)?)
    }

    /// A line about lines that were lost since the last one about that.
    fn tell_dropped(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let dropped = self.dropped.dropped_lines();
        let told = self.dropped_and_told.swap(dropped, Ordering::Relaxed);
        if dropped <= told {
            return Ok(());
        }
        let message =
            format!("{dropped} lines of this log were dropped so far, because they were not read fast enough");
        let fields = Fields { message, others: vec![("event", "log_lines_dropped".into())] };
        self.line(writer, Level::WARN, "quorate::telemetry", fields)
    }
}

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        self.tell_dropped(&mut writer)?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.line(&mut writer, *event.metadata().level(), event.metadata().target(), fields)
    }
}

/// The fields of an event, in their order.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.others.push((field.name(), value));
    }

    fn put_text(&mut self, field: &Field, text: String) {
        let text = cut(text);
        if field.name() == "message" { self.message = text } else { self.put(field, text.into()) }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put_text(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value.to_owned());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

/// A text that is too long for a line, cut.
pub(super) fn cut(mut value: String) -> String {
    // Most values are short, and need not be gone through.
    let end = if value.len() <= VALUE_CHARS_MAX { None } else { value.char_indices().nth(VALUE_CHARS_MAX) };
    if let Some((end, _)) = end {
        value.truncate(end);
        value.push_str("...");
    }
    value
}

/// A value in a line of text; in quotes when it would not be seen where it ends.
fn readable(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() || text.contains([' ', '"', '=']) => escaped(&format!("{text:?}")),
        Value::String(text) => escaped(text),
        other => other.to_string(),
    }
}

/// `text` without what a terminal obeys: control characters, and those that turn the direction of writing.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    safe
}

fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The same, without a copy of what needs none.
fn write_escaped(writer: &mut Writer<'_>, text: &str) -> fmt::Result {
    if text.contains(is_obeyed) { writer.write_str(&escaped(text)) } else { writer.write_str(text) }
}

fn painted(writer: &mut Writer<'_>, style: Style, text: &str) -> fmt::Result {
    if writer.has_ansi_escapes() { write!(writer, "{style}{text}{style:#}") } else { writer.write_str(text) }
}

/// Heartbeats have a level of their own.
fn level_name(level: Level, target: &str) -> &'static str {
    if target == HEARTBEAT { "BEAT" } else { level.as_str() }
}

fn level_style(level: Level) -> Style {
    let color = match level {
        Level::ERROR => AnsiColor::Red,
        Level::WARN => AnsiColor::Yellow,
        Level::INFO => AnsiColor::Green,
        Level::DEBUG => AnsiColor::Blue,
        Level::TRACE => AnsiColor::Magenta,
    };
    color.on_default()
}

/// Such as `2026-01-31T12:04:05.123Z`.
fn time() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

#[cfg(test)]
pub(super) mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::TraceFlags;
    use tracing::subscriber::with_default;
    use tracing_appender::non_blocking::NonBlocking;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;
    use crate::telemetry::tests::client;

    #[derive(Clone, Default)]
    pub(in crate::telemetry) struct Lines(pub(in crate::telemetry) Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Lines;

        fn make_writer(&'a self) -> Lines {
            self.clone()
        }
    }

    /// What is written when `say` logs.
    fn written(format: LogFormat, ansi: bool, say: impl FnOnce()) -> String {
        let (unused, _guard) = NonBlocking::new(io::sink());
        let format = Format::new(format, Some("a"), unused.error_counter());
        let lines = Lines::default();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(ansi).event_format(format).with_writer(lines.clone()).finish();
        with_default(subscriber, say);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// A line of text without its time.
    pub(in crate::telemetry) fn text(say: impl FnOnce()) -> String {
        written(LogFormat::Text, false, say)[13..].to_owned()
    }

    #[test]
    fn a_line_of_text_is_level_node_words_and_fields() {
        let line =
            text(|| tracing::warn!(peer = "c", retry_in = ?std::time::Duration::from_millis(400), "cannot reach c"));
        assert_eq!(line, "WARN  a  cannot reach c peer=c retry_in=400ms\n");
        let line = text(|| tracing::info!(event = "committed", index = 17, "committed up to 17"));
        assert_eq!(line, "INFO  a  committed up to 17\n");
        let line = text(|| tracing::info!(target: "quorate::heartbeat", "sends heartbeats"));
        assert_eq!(line, "BEAT  a  sends heartbeats\n");
        let line = text(|| tracing::error!(target: "h2::codec", "odd frame"));
        assert_eq!(line, "ERROR a  h2::codec: odd frame\n");
    }

    #[test]
    fn a_line_about_a_traced_request_has_its_ids() {
        let traced = |flags| {
            let _traced = client(flags).attach();
            text(|| tracing::info!(event = "committed", "committed up to 17"))
        };
        let ids = "00000000000000000000000000000001-0000000000000001";
        assert_eq!(traced(TraceFlags::SAMPLED), format!("INFO  a  committed up to 17 trace={ids}\n"));
        assert_eq!(traced(TraceFlags::default()), "INFO  a  committed up to 17\n", "nobody would find it");
    }

    #[test]
    fn no_value_can_forge_a_line_or_move_the_cursor() {
        let line = text(|| tracing::info!(queue = "x\n00:00:00.000 INFO", why = %"\u{1b}[2J", "said \r\u{202e}hello"));
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(line.contains(r"said \r\u{202e}hello"), "{line}");
        assert!(line.contains(r#"queue="x\n00:00:00.000 INFO""#) && line.contains(r"why=\u{1b}[2J"), "{line}");
    }

    #[test]
    fn a_long_value_is_cut() {
        let line = text(|| tracing::info!(body = "é".repeat(5000), "got"));
        assert!(line.ends_with("é...\n") && line.chars().count() < 1100, "{} chars", line.chars().count());
    }

    #[test]
    fn a_line_of_json_has_every_field() {
        let line = written(LogFormat::Json, true, || {
            tracing::info!(event = "voted", term = 5, level = "high", "votes\nfor b")
        });
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["node"], "a");
        assert_eq!(value["event"], "voted");
        assert_eq!(value["term"], 5);
        assert_eq!(value["message"], "votes\nfor b");
        assert_eq!(value["level"], "INFO", "a field does not replace what every line has");
        assert_eq!(line.matches('\n').count(), 1);
    }

    /// A terminal that does not read: the writer of the log waits for ever.
    struct Stuck;

    impl io::Write for Stuck {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            loop {
                std::thread::park();
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lost_lines_are_counted_and_nobody_waits() {
        let lines = tracing_appender::non_blocking::NonBlockingBuilder::default().buffered_lines_limit(1);
        let (mut stuck, guard) = lines.lossy(true).finish(Stuck);
        // Its end would wait for the writer.
        std::mem::forget(guard);
        for _ in 0..10 {
            io::Write::write_all(&mut stuck, b"line").unwrap();
        }
        let format = Format::new(LogFormat::Text, None, stuck.error_counter());
        let said = Lines::default();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).event_format(format).with_writer(said.clone()).finish();
        with_default(subscriber, || {
            tracing::info!("one");
            tracing::info!("two");
        });
        let text = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
        let words: Vec<&str> = text.lines().map(|line| &line[19..]).collect();
        assert!(words[0].ends_with("lines of this log were dropped so far, because they were not read fast enough"));
        assert_eq!(words[1..], ["one", "two"]);
    }

    #[test]
    fn colours_are_there_when_asked_for() {
        assert!(written(LogFormat::Text, true, || tracing::info!("hello")).contains("\u{1b}["));
        assert!(!written(LogFormat::Text, false, || tracing::info!("hello")).contains('\u{1b}'));
    }
}
