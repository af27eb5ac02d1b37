//! From settings to what takes spans, figures and lines, and their end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_otlp::{LogExporter, MetricExporter, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{
    BatchConfigBuilder as LogBatchConfigBuilder, BatchLogProcessor, OTEL_BLRP_SCHEDULE_DELAY, SdkLoggerProvider,
};
use opentelemetry_sdk::metrics::{Instrument, PeriodicReader, SdkMeterProvider, Stream};
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{
    BatchConfig, BatchConfigBuilder, BatchSpanProcessor, OTEL_BSP_MAX_EXPORT_BATCH_SIZE, OTEL_BSP_MAX_QUEUE_SIZE,
    OTEL_BSP_SCHEDULE_DELAY, Sampler, SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor,
};

use super::collector::Watched;
use super::lines::{Tidy, UntilShutdown};
use super::metrics::{CALL_DURATION, Ending, Scrape};
use super::request_spans::RequestSpans;
use super::{Instruments, Sinks, Telemetry, Traces};
use crate::config::{self, Exporter, NodeConfig};

/// The version of the semantic conventions by which spans and figures are named.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.45.0";

/// Spans that may wait for being sent.
const SPANS_MAX: usize = 4096;

/// Spans that are sent together.
const SPANS_TOGETHER: usize = 1024;

/// Between two sendings where the environment asks for no pause at all: the threads that send would never rest.
const SENDING_PAUSE_MIN: Duration = Duration::from_millis(10);

/// What a stopping node waits for its collector at most.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// Series of one instrument: one for each peer or reason, of which there are fewer.
const SERIES_MAX: usize = 128;

/// The same where there is one for each method and code: 17 codes, and twelve methods, those that there are not counted as one.
const SERIES_OF_CALLS_MAX: usize = 256;

/// The same where there is one for each queue and state: `telemetry.metrics.queues_max` is 400 at most, times five.
const SERIES_BY_QUEUE_MAX: usize = 2_000;

/// The exporter does not accept its settings.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// That which sends.
    #[error("telemetry: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// That which is scraped.
    #[error("telemetry: {0}")]
    Scrape(#[from] OTelSdkError),
    /// The thread that makes spans.
    #[error("telemetry: there can be no further thread: {0}")]
    Thread(#[from] io::Error),
}

/// What collects spans, figures and lines and sends them, each on a thread of its own. Spans and lines that wait for that are bounded:
/// 4,096 and 2,048 unless `OTEL_BSP_MAX_QUEUE_SIZE` and `OTEL_BLRP_MAX_QUEUE_SIZE` say otherwise; and so are the spans of requests that
/// wait for being made, 4,096 as well. Further ones are dropped and counted, with a line at the first and one at the end.
#[derive(Debug)]
pub struct Providers {
    traces: Option<(SdkTracerProvider, RequestSpans)>,
    metrics: Option<SdkMeterProvider>,
    logs: Option<SdkLoggerProvider>,
    scrape: Option<Scrape>,
}

impl Providers {
    /// Starts what the settings ask for: nothing at all when all exporters are `none` and nobody is to scrape. To be called
    /// within a tokio runtime, which runs the connections. Nobody is connected to before there is something to send. The time that
    /// one sending may take, how it is compressed, and headers for the collector come from `OTEL_EXPORTER_OTLP_TIMEOUT`,
    /// `OTEL_EXPORTER_OTLP_COMPRESSION` and `OTEL_EXPORTER_OTLP_HEADERS`.
    ///
    /// # Errors
    /// What the rules for settings do not know of, such as bad values of those variables.
    pub fn start(config: &NodeConfig) -> Result<Self, Unusable> {
        let resource = resource(config);
        let config::Telemetry { traces, metrics, logs, .. } = &config.telemetry;
        let traces = (traces.exporter == Exporter::Otlp).then(|| start_traces(traces, resource.clone())).transpose()?;
        let (metrics, scrape) = start_metrics(metrics, resource.clone())?;
        let logs = (logs.exporter == Exporter::Otlp).then(|| start_logs(logs, resource)).transpose()?;
        Ok(Self { traces, metrics, logs, scrape })
    }

    /// Where the node tells of its requests.
    pub fn telemetry(&self) -> Telemetry {
        let traces = self.traces.as_ref().map(|(provider, spans)| Traces {
            blocks_of_code: provider.tracer_with_scope(scope()),
            requests: spans.clone(),
        });
        let meter = self.metrics.as_ref().map(|provider| provider.meter_with_scope(scope()));
        let instruments = meter.map(|meter| Arc::new(Instruments::new(&meter)));
        let (logs, scrape) = (self.logs.clone(), self.scrape.clone());
        Telemetry::from(Sinks { traces, instruments, logs, scrape, ..Sinks::default() })
    }

    /// Sends what waits, for two seconds at most. What is told after that is lost.
    pub async fn stop(self) {
        let Self { traces, metrics, logs, .. } = self;
        if traces.is_none() && metrics.is_none() && logs.is_none() {
            return;
        }
        // Side by side: each waits for a thread of its own.
        let traces = tokio::task::spawn_blocking(move || {
            traces.map(|(provider, spans)| {
                spans.stop();
                provider.shutdown_with_timeout(FLUSH_MAX)
            })
        });
        let metrics = tokio::task::spawn_blocking(move || metrics.map(|provider| provider.shutdown()));
        let logs = tokio::task::spawn_blocking(move || logs.map(|provider| provider.shutdown_with_timeout(FLUSH_MAX)));
        let stopped = async { tokio::join!(traces, metrics, logs) };
        // What could not be sent is lost, and has been told of if a collector refused it.
        if tokio::time::timeout(FLUSH_MAX, stopped).await.is_err() {
            tracing::warn!("stops without having told its collector everything: that took more than {FLUSH_MAX:?}");
        }
    }
}

fn start_traces(traces: &config::Traces, resource: Resource) -> Result<(SdkTracerProvider, RequestSpans), Unusable> {
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(&traces.endpoint).build()?;
    let mut exporter = Watched::new(exporter, "spans", &traces.endpoint);
    exporter.set_resource(&resource);
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches()).build();
    let processor = Shared(Arc::new(processor));
    let spans = RequestSpans::start(sampler(traces), scope(), processor.0.clone())?;
    let provider = SdkTracerProvider::builder().with_span_processor(processor).with_sampler(sampler(traces));
    Ok((provider.with_resource(resource).build(), spans))
}

/// Each sending wakes half a dozen threads, which costs more than its spans where it has few: twice as many as by the SDK's defaults
/// go together and may wait, unless the environment says otherwise.
fn batches() -> BatchConfig {
    let is_set = |variable| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
    let mut batches = BatchConfigBuilder::default();
    if !is_set(OTEL_BSP_MAX_QUEUE_SIZE) {
        batches = batches.with_max_queue_size(SPANS_MAX);
    }
    if !is_set(OTEL_BSP_MAX_EXPORT_BATCH_SIZE) {
        batches = batches.with_max_export_batch_size(SPANS_TOGETHER);
    }
    if is_zero(OTEL_BSP_SCHEDULE_DELAY) {
        batches = batches.with_scheduled_delay(SENDING_PAUSE_MIN);
    }
    batches.build()
}

/// Whether a variable of the environment is zero, as the SDK reads it.
fn is_zero(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| value.parse() == Ok(0_u64))
}

/// Takes the spans of the SDK where those of requests go as well. Whom it gives them to knows its resource.
#[derive(Debug)]
struct Shared(Arc<BatchSpanProcessor>);

impl SpanProcessor for Shared {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.0.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        self.0.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }
}

/// Who speaks.
pub(super) fn scope() -> InstrumentationScope {
    let scope = InstrumentationScope::builder("quorate").with_version(env!("CARGO_PKG_VERSION"));
    scope.with_schema_url(SCHEMA_URL).build()
}

/// One provider for both who scrape and a collector, or none where there is neither.
fn start_metrics(
    metrics: &config::Metrics,
    resource: Resource,
) -> Result<(Option<SdkMeterProvider>, Option<Scrape>), Unusable> {
    let mut provider = SdkMeterProvider::builder().with_resource(resource).with_view(room_for_series);
    let mut scrape = None;
    if metrics.scrape {
        let (scraped, reader) = Scrape::new()?;
        provider = provider.with_reader(reader);
        scrape = Some(scraped);
    }
    if metrics.exporter == Exporter::Otlp {
        let exporter = MetricExporter::builder().with_tonic().with_endpoint(&metrics.endpoint).build()?;
        let exporter = Watched::new(exporter, "metrics", &metrics.endpoint);
        provider =
            provider.with_reader(Ending(PeriodicReader::builder(exporter).with_interval(metrics.interval).build()));
    }
    let is_recorded = metrics.scrape || metrics.exporter == Exporter::Otlp;
    Ok((is_recorded.then(|| provider.build()), scrape))
}

fn start_logs(logs: &config::Logs, resource: Resource) -> Result<SdkLoggerProvider, Unusable> {
    let exporter = LogExporter::builder().with_tonic().with_endpoint(&logs.endpoint).build()?;
    let mut batches = LogBatchConfigBuilder::default();
    if is_zero(OTEL_BLRP_SCHEDULE_DELAY) {
        batches = batches.with_scheduled_delay(SENDING_PAUSE_MIN);
    }
    let exporter = Watched::new(exporter, "lines of the log", &logs.endpoint);
    let processor = BatchLogProcessor::builder(exporter).with_batch_config(batches.build()).build();
    Ok(SdkLoggerProvider::builder()
        .with_log_processor(Tidy)
        .with_log_processor(UntilShutdown::new(processor))
        .with_resource(resource)
        .build())
}

/// How many series an instrument may have. The SDK takes the memory for all of them at once, which for its 2,000 would be a fifth of
/// what an idle node has.
fn room_for_series(instrument: &Instrument) -> Option<Stream> {
    let series_max = match instrument.name() {
        name if name == CALL_DURATION.name => SERIES_OF_CALLS_MAX,
        name if name.starts_with("quorate.queue.") => SERIES_BY_QUEUE_MAX,
        _ => SERIES_MAX,
    };
    Stream::builder().with_cardinality_limit(series_max).build().ok()
}

fn sampler(traces: &config::Traces) -> Sampler {
    use config::Sampler as Asked;
    let ratio = Sampler::TraceIdRatioBased(traces.sample_ratio);
    match traces.sampler {
        Asked::AlwaysOn => Sampler::AlwaysOn,
        Asked::AlwaysOff => Sampler::AlwaysOff,
        Asked::TraceIdRatio => ratio,
        Asked::ParentBasedAlwaysOn => Sampler::ParentBased(Box::new(Sampler::AlwaysOn)),
        Asked::ParentBasedAlwaysOff => Sampler::ParentBased(Box::new(Sampler::AlwaysOff)),
        Asked::ParentBasedTraceIdRatio => Sampler::ParentBased(Box::new(ratio)),
    }
}

/// Who tells all this. Of two values for one attribute the later one stays: what the settings name wins over what they list.
fn resource(config: &NodeConfig) -> Resource {
    let config::Telemetry { service_name, service_instance, resource_attributes, .. } = &config.telemetry;
    let named = [("service.name", service_name), ("service.instance.id", service_instance)];
    Resource::builder_empty()
        .with_schema_url([], SCHEMA_URL)
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes([
            KeyValue::new("service.name", "quorate"),
            KeyValue::new("service.instance.id", config.node.name.clone()),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ])
        .with_attributes(resource_attributes.0.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())))
        .with_attributes(named.into_iter().filter_map(|(key, name)| Some(KeyValue::new(key, name.clone()?))))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_settings_name_wins_over_what_they_list() {
        let mut config = NodeConfig::default();
        config.node.name = "a".to_owned();
        let value =
            |config: &NodeConfig, key: &'static str| resource(config).get(&key.into()).map(|value| value.to_string());
        assert_eq!(resource(&config).schema_url(), Some(SCHEMA_URL));
        assert_eq!(value(&config, "service.name").as_deref(), Some("quorate"));
        assert_eq!(value(&config, "service.instance.id").as_deref(), Some("a"));
        assert_eq!(value(&config, "service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));

        let listed = [("service.name", "listed"), ("service.instance.id", "pod-7"), ("team", "x")];
        config.telemetry.resource_attributes.0 = listed.map(|(key, value)| (key.into(), value.into())).into();
        config.telemetry.service_name = Some("named".to_owned());
        assert_eq!(value(&config, "service.name").as_deref(), Some("named"));
        assert_eq!(value(&config, "service.instance.id").as_deref(), Some("pod-7"));
        assert_eq!(value(&config, "team").as_deref(), Some("x"));
    }
}
