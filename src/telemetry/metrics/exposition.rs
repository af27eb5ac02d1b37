//! All metrics as a text that Prometheus reads.

use std::sync::Arc;
use std::sync::Weak;
use std::time::Duration;

use opentelemetry_prometheus::PrometheusExporter;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{InstrumentKind, Pipeline, Temporality};
use prometheus::{Registry, TextEncoder};
use tokio::sync::Semaphore;

/// What the text is.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// How many may wait for the one who is served. One more is refused.
const WAITING_MAX: usize = 8;

/// Why there is no text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotExposed {
    /// The settings say so.
    #[error("nothing is recorded for whoever scrapes: telemetry.metrics.scrape is false")]
    Off,
    /// Others wait already.
    #[error("{WAITING_MAX} others wait for the metrics already")]
    Busy,
    /// The SDK did not give them.
    #[error("the metrics could not be written: {0}")]
    Broken(String),
}

/// The metrics of one node, for those who ask for them. Clones share everything.
#[derive(Clone, Debug)]
pub struct Scrape {
    registry: Registry,
    /// One is served at a time.
    turn: Arc<Semaphore>,
    /// That one, and those who wait.
    places: Arc<Semaphore>,
}

impl Scrape {
    /// The metrics of whatever is given the reader.
    ///
    /// # Errors
    /// The registry takes no collector, which an empty one does.
    pub(in crate::telemetry) fn new() -> Result<(Self, Ending<PrometheusExporter>), OTelSdkError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone());
        let reader = exporter.scope_info_enabled(false).build()?;
        let (turn, places) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(1 + WAITING_MAX)));
        Ok((Self { registry, turn, places }, Ending(reader)))
    }

    /// The metrics as they are. They are gathered on a thread that may wait.
    ///
    /// # Errors
    /// [`NotExposed::Busy`] when too many wait.
    pub async fn text(&self) -> Result<String, NotExposed> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| NotExposed::Busy)?;
        let turn = self.turn.clone().acquire_owned().await.map_err(|_| NotExposed::Busy)?;
        let registry = self.registry.clone();
        let gathering = tokio::task::spawn_blocking(move || {
            // Kept also when whoever asked has gone away: the thread is busy all the same.
            let _held = (place, turn);
            TextEncoder::new().encode_to_string(&registry.gather())
        });
        let text = gathering.await.map_err(|error| NotExposed::Broken(error.to_string()))?;
        text.map_err(|error| NotExposed::Broken(error.to_string()))
    }
}

/// A reader for which a point that is looked at ends when it is told no more. Without this, the last value of a gauge would be told
/// for ever: that of a member that was removed, or of a leader that leads no more.
#[derive(Debug)]
pub(in crate::telemetry) struct Ending<R>(pub(in crate::telemetry) R);

impl<R: MetricReader> MetricReader for Ending<R> {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    /// A gauge has no temporality where it is sent to; to the SDK it says which points are kept.
    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        match kind {
            InstrumentKind::ObservableGauge => Temporality::Delta,
            kind => self.0.temporality(kind),
        }
    }
}
