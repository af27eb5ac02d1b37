//! A collector that comes and goes: what is lost while it is away is counted, and told twice, not at every attempt.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::logs::Severity;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// An exporter and what has become of its attempts. A failed one is no error to the SDK, which would log each.
#[derive(Debug)]
pub(super) struct Watched<E> {
    exporter: E,
    watch: Watch,
}

impl<E> Watched<E> {
    /// Watches how `exporter` brings `what` to the collector at `endpoint`.
    pub(super) fn new(exporter: E, what: &'static str, endpoint: &str) -> Self {
        Self { exporter, watch: Watch { what, endpoint: endpoint.to_owned(), lost: Mutex::default() } }
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.watch.attempted(count, self.exporter.export(batch).await);
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &opentelemetry_sdk::Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for Watched<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let count = batch.iter().count();
        self.watch.attempted(count, self.exporter.export(batch).await);
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn event_enabled(&self, level: Severity, target: &str, name: Option<&str>) -> bool {
        self.exporter.event_enabled(level, target, name)
    }

    fn set_resource(&mut self, resource: &opentelemetry_sdk::Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Watched<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.watch.attempted(1, self.exporter.export(metrics).await);
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

/// What has become of the attempts to reach a collector.
#[derive(Debug)]
struct Watch {
    what: &'static str,
    endpoint: String,
    /// How much was lost since the collector was last reached; none: it was reached at the last attempt.
    lost: Mutex<Option<usize>>,
}

impl Watch {
    fn attempted(&self, count: usize, result: Result<(), impl fmt::Display>) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let Self { what, endpoint, .. } = self;
        match (result, lost.take()) {
            (Ok(()), None) => {}
            (Ok(()), Some(lost)) => tracing::info!("the collector at {endpoint} takes {what} again; {lost} were lost"),
            (Err(why), None) => {
                *lost = Some(count);
                tracing::warn!("the collector at {endpoint} takes no {what}, which are lost until it does: {why}");
            }
            (Err(_), Some(before)) => *lost = Some(before.saturating_add(count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::format::tests::text;

    #[test]
    fn a_collector_that_is_away_is_told_of_once_and_once_when_it_is_back() {
        let watch = Watch { what: "spans", endpoint: "http://c:4317".to_owned(), lost: Mutex::default() };
        let told = text(|| {
            for result in [Ok(()), Err("refused"), Err("refused"), Err("refused"), Ok(()), Ok(())] {
                watch.attempted(7, result);
            }
        });
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 2, "{told}");
        assert!(lines[0].ends_with("takes no spans, which are lost until it does: refused"), "{told}");
        assert!(lines[1].ends_with("the collector at http://c:4317 takes spans again; 21 were lost"), "{told}");
    }
}
