//! Lines of the log on their way to a collector.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::InstrumentationScope;
use opentelemetry::logs::{AnyValue, LogRecord as _, Severity};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord, SdkLoggerProvider};
use tracing_subscriber::filter::{FilterExt as _, ParseError, filter_fn};
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::format::cut;

/// What the crates say through which a collector is told something: telling it would give them more to say. They are heard on
/// the terminal.
const EXPORTERS: [&str; 5] = ["h2", "hyper", "tonic", "tower", "opentelemetry"];

/// Gives the lines that `shown` lets through to `provider`.
///
/// # Errors
/// `shown` is no filter.
pub(super) fn layer(
    provider: &SdkLoggerProvider,
    shown: &str,
) -> Result<Box<dyn Layer<Registry> + Send + Sync>, ParseError> {
    let shown = EnvFilter::builder().parse(shown)?;
    let foreign = filter_fn(|metadata| !EXPORTERS.iter().any(|of| metadata.target().starts_with(of)));
    Ok(OpenTelemetryTracingBridge::new(provider).with_filter(shown.and(foreign)).boxed())
}

/// Makes the words of records what they are in lines: no longer than that, and without the place in the code, which the bridge takes for the name of
/// an event. That name is the attribute `event`. Attributes go out whole.
#[derive(Debug)]
pub(super) struct Tidy;

impl LogProcessor for Tidy {
    fn emit(&self, record: &mut SdkLogRecord, _: &InstrumentationScope) {
        record.set_event_name("");
        if let Some(AnyValue::String(body)) = record.body() {
            let body = cut(body.as_str().to_owned());
            record.set_body(body.into());
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Gives records to a processor of the SDK until that is shut down. What a node says after that, such as that it has stopped, is for
/// the terminal alone: the SDK would warn of every such line.
#[derive(Debug)]
pub(super) struct UntilShutdown<P> {
    processor: P,
    is_shut_down: AtomicBool,
}

impl<P> UntilShutdown<P> {
    /// Gives them to `processor`.
    pub(super) fn new(processor: P) -> Self {
        Self { processor, is_shut_down: AtomicBool::new(false) }
    }
}

impl<P: LogProcessor> LogProcessor for UntilShutdown<P> {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if !self.is_shut_down.load(Ordering::Relaxed) {
            self.processor.emit(record, scope);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.is_shut_down.store(true, Ordering::Relaxed);
        self.processor.shutdown_with_timeout(timeout)
    }

    fn event_enabled(&self, level: Severity, target: &str, name: Option<&str>) -> bool {
        self.processor.event_enabled(level, target, name)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::{TraceFlags, TraceId};
    use opentelemetry_sdk::logs::{LogBatch, LogExporter};
    use tracing::subscriber::with_default;
    use tracing_appender::non_blocking::NonBlocking;

    use super::*;
    use crate::config::NodeConfig;
    use crate::telemetry::format::Format;
    use crate::telemetry::format::tests::Lines;
    use crate::telemetry::log::subscriber;
    use crate::telemetry::tests::client;
    use crate::telemetry::{Sinks, Telemetry};

    /// Keeps what it is given.
    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<SdkLogRecord>>>);

    impl LogExporter for Kept {
        async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch.iter().map(|(record, _)| record.clone()));
            Ok(())
        }
    }

    /// What a collector gets when `say` logs.
    fn told(say: impl FnOnce()) -> Vec<SdkLogRecord> {
        let kept = Kept::default();
        let provider = SdkLoggerProvider::builder().with_log_processor(Tidy).with_simple_exporter(kept.clone()).build();
        let telemetry = Telemetry::from(Sinks { logs: Some(provider), ..Sinks::default() });
        let (log, lines) = (NodeConfig::default().log, Lines::default());
        let (unused, _guard) = NonBlocking::new(io::sink());
        let format = Format::new(log.format, None, unused.error_counter());
        with_default(subscriber(&log, false, format, lines, &telemetry).unwrap(), say);
        kept.0.lock().unwrap().clone()
    }

    fn body(record: &SdkLogRecord) -> String {
        match record.body() {
            Some(AnyValue::String(text)) => text.as_str().to_owned(),
            other => panic!("no text: {other:?}"),
        }
    }

    #[test]
    fn a_line_brings_its_words_its_fields_and_its_trace() {
        let records = told(|| {
            let _traced = client(TraceFlags::SAMPLED).attach();
            tracing::info!(target: "quorate::raft", event = "voted", term = 5, "votes for b");
        });
        assert_eq!((records.len(), body(&records[0])), (1, "votes for b".to_owned()));
        let attributes: Vec<String> =
            records[0].attributes_iter().map(|(key, value)| format!("{key}={value:?}")).collect();
        assert_eq!(attributes.len(), 2, "{attributes:?}");
        assert_eq!(records[0].trace_context().unwrap().trace_id, TraceId::from(1));
        assert_eq!(records[0].event_name(), Some(""), "the place in the code is no name");
    }

    /// What is not shown is not told either, and what the exporter's own crates say would feed on itself.
    #[test]
    fn a_collector_gets_what_the_log_shows_but_nothing_of_the_exporters() {
        let records = told(|| {
            tracing::debug!("a detail");
            tracing::info!(target: "quorate::heartbeat", "a heartbeat");
            tracing::warn!(target: "opentelemetry_sdk", "an export failed");
            tracing::warn!(target: "h2::codec", "odd frame");
            tracing::warn!("{}", "x".repeat(5_000));
        });
        assert_eq!(records.len(), 1);
        assert_eq!(body(&records[0]).len(), 1_003, "it is cut as on the terminal");
    }
}
