//! The standard variables of OpenTelemetry, as a source of settings: any node can be told where to send its telemetry in the
//! same way as every other service beside it. They are weaker than whatever is meant for Quorate alone.

use axum::http::HeaderName;

use super::load::Loader;
use super::values::duration;
use super::{Exporter, NodeConfig, Origin, Problem, Telemetry};

/// Which settings each variable sets. Of two that set the same, the later one wins: the more special one.
const VARIABLES: [(&str, &[&str]); 13] = [
    ("OTEL_SERVICE_NAME", &["telemetry.service_name"]),
    ("OTEL_RESOURCE_ATTRIBUTES", &["telemetry.resource_attributes"]),
    ("OTEL_TRACES_EXPORTER", &["telemetry.traces.exporter"]),
    ("OTEL_METRICS_EXPORTER", &["telemetry.metrics.exporter"]),
    ("OTEL_LOGS_EXPORTER", &["telemetry.logs.exporter"]),
    (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        &["telemetry.traces.endpoint", "telemetry.metrics.endpoint", "telemetry.logs.endpoint"],
    ),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &["telemetry.traces.endpoint"]),
    ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &["telemetry.metrics.endpoint"]),
    ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", &["telemetry.logs.endpoint"]),
    ("OTEL_TRACES_SAMPLER", &["telemetry.traces.sampler"]),
    ("OTEL_TRACES_SAMPLER_ARG", &["telemetry.traces.sample_ratio"]),
    (INTERVAL, &["telemetry.metrics.interval"]),
    (DISABLED, &["telemetry.traces.exporter", "telemetry.metrics.exporter", "telemetry.logs.exporter"]),
];

/// A number of milliseconds.
const INTERVAL: &str = "OTEL_METRIC_EXPORT_INTERVAL";

/// `true`: nothing is exported.
const DISABLED: &str = "OTEL_SDK_DISABLED";

/// What the exporter reads by itself, and would pass over in silence where it is wrong.
const OF_THE_EXPORTER: [(&str, Kind); 22] = [
    ("OTEL_EXPORTER_OTLP_PROTOCOL", Kind::Protocol),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", Kind::Protocol),
    ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", Kind::Protocol),
    ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", Kind::Protocol),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", Kind::Compression),
    ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", Kind::Compression),
    ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", Kind::Compression),
    ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", Kind::Compression),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", Kind::Timeout),
    ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", Kind::Timeout),
    ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", Kind::Timeout),
    ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", Kind::Timeout),
    ("OTEL_EXPORTER_OTLP_HEADERS", Kind::Headers),
    ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", Kind::Headers),
    ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", Kind::Headers),
    ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", Kind::Headers),
    ("OTEL_BSP_SCHEDULE_DELAY", Kind::Pause),
    ("OTEL_BSP_MAX_QUEUE_SIZE", Kind::Size),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", Kind::Size),
    ("OTEL_BLRP_SCHEDULE_DELAY", Kind::Pause),
    ("OTEL_BLRP_MAX_QUEUE_SIZE", Kind::Size),
    ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", Kind::Size),
];

/// Values of a kind.
#[derive(Clone, Copy)]
enum Kind {
    /// How to talk to the collector; only gRPC is spoken here.
    Protocol,
    /// Of what is sent.
    Compression,
    /// What a sending may take, in milliseconds.
    Timeout,
    /// Of the collector: `key=value`, by commas.
    Headers,
    /// In milliseconds.
    Pause,
    /// Of a queue or of a batch. The exporter takes the memory for a whole queue when it starts.
    Size,
}

/// As long as any other duration may be.
const MILLISECONDS_MAX: u64 = duration::MAX.as_secs() * 1_000;

const SIZE_MAX: u64 = 100_000;

impl Loader {
    /// Takes the variables of OpenTelemetry. One that is empty counts as not given, as its specification says.
    pub(super) fn opentelemetry(&mut self, environment: &[(String, String)]) {
        for (variable, keys) in VARIABLES {
            let origin = Origin::OpenTelemetry(variable);
            match (variable, given(environment, variable)) {
                (_, None) => {}
                (DISABLED, Some(value)) => match value.to_lowercase().as_str() {
                    "true" => keys.iter().for_each(|key| self.typed(origin.clone(), key, "none")),
                    "false" => {}
                    _ => self.problems.push(expected(variable, "true or false", value)),
                },
                (INTERVAL, Some(value)) => self.typed(origin, keys[0], &format!("{value}ms")),
                (_, Some(value)) => keys.iter().for_each(|key| self.typed(origin.clone(), key, value)),
            }
        }
    }
}

/// The variables that are given.
pub(super) fn variables(environment: &[(String, String)]) -> impl Iterator<Item = &'static str> {
    VARIABLES.into_iter().map(|(variable, _)| variable).filter(|variable| given(environment, variable).is_some())
}

/// What is wrong with the variables that only the exporter reads, if anything is to be exported at all.
pub(super) fn wrong_for_the_exporter(config: &NodeConfig, environment: &[(String, String)]) -> Vec<Problem> {
    let Telemetry { traces, metrics, logs, .. } = &config.telemetry;
    let exporters = [traces.exporter, metrics.exporter, logs.exporter];
    if !exporters.contains(&Exporter::Otlp) {
        return Vec::new();
    }
    let asked = OF_THE_EXPORTER
        .into_iter()
        .filter_map(|(variable, kind)| Some((variable, kind, as_it_is(environment, variable)?)));
    asked
        .filter(|(_, kind, value)| !kind.admits(value))
        .map(|(variable, kind, value)| expected(variable, kind.words(), value))
        .collect()
}

impl Kind {
    fn admits(self, value: &str) -> bool {
        let number = || value.parse::<u64>().ok();
        match self {
            Self::Protocol => value.trim() == "grpc",
            Self::Compression => ["none", "gzip"].contains(&value.trim().to_lowercase().as_str()),
            Self::Timeout => number().is_some_and(|number| (1..=MILLISECONDS_MAX).contains(&number)),
            Self::Headers => value.split_terminator(',').all(is_header),
            Self::Pause => number().is_some_and(|number| number <= MILLISECONDS_MAX),
            Self::Size => number().is_some_and(|number| (1..=SIZE_MAX).contains(&number)),
        }
    }

    fn words(self) -> String {
        match self {
            Self::Protocol => "grpc".to_owned(),
            Self::Compression => "none or gzip".to_owned(),
            Self::Timeout => format!("a number of milliseconds from 1 to {MILLISECONDS_MAX}"),
            Self::Headers => "headers such as authorization=Bearer%20x,team=a".to_owned(),
            Self::Pause => format!("a number of milliseconds, at most {MILLISECONDS_MAX}"),
            Self::Size => format!("a number from 1 to {SIZE_MAX}"),
        }
    }
}

/// As the exporter takes it: others it leaves out.
fn is_header(pair: &str) -> bool {
    let (name, value) = pair.split_once('=').unwrap_or_default();
    HeaderName::from_bytes(name.trim().as_bytes()).is_ok() && !value.trim().is_empty()
}

fn given<'a>(environment: &'a [(String, String)], variable: &str) -> Option<&'a str> {
    as_it_is(environment, variable).map(str::trim)
}

/// With the spaces around it, with which the exporter takes no number.
fn as_it_is<'a>(environment: &'a [(String, String)], variable: &str) -> Option<&'a str> {
    let value = environment.iter().find(|(name, _)| name == variable).map(|(_, value)| value.as_str());
    value.filter(|value| !value.trim().is_empty())
}

fn expected(variable: &str, expected: impl Into<String>, found: &str) -> Problem {
    Problem::Value { place: variable.to_owned(), expected: expected.into(), found: format!("{found:?}") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Flag, Sampler, Sources};

    fn sources(variables: &[(&str, &str)]) -> Sources {
        let owned = variables.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Sources { environment: owned.collect(), ..Sources::default() }
    }

    #[test]
    fn the_standard_variables_are_settings() {
        let config = NodeConfig::load(&sources(&[
            ("OTEL_SERVICE_NAME", "orders"),
            ("OTEL_RESOURCE_ATTRIBUTES", "team=a%2Cb"),
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_METRICS_EXPORTER", "otlp"),
            ("OTEL_LOGS_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:1"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:2"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs:3"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "25e-2"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "2500"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_SDK_DISABLED", "False"),
        ]));
        let telemetry = config.unwrap().telemetry;
        assert_eq!(telemetry.service_name.as_deref(), Some("orders"));
        assert_eq!(telemetry.resource_attributes.0["team"], "a,b");
        assert_eq!(telemetry.traces.exporter, Exporter::Otlp);
        assert_eq!(telemetry.traces.endpoint, "http://traces:2");
        assert_eq!(telemetry.traces.sampler, Sampler::TraceIdRatio);
        assert_eq!(telemetry.traces.sample_ratio, 0.25);
        assert_eq!(telemetry.metrics.exporter, Exporter::Otlp);
        assert_eq!(telemetry.metrics.endpoint, "http://all:1");
        assert_eq!((telemetry.logs.exporter, &*telemetry.logs.endpoint), (Exporter::Otlp, "http://logs:3"));
        assert_eq!(telemetry.metrics.interval, Duration::from_millis(2500));
    }

    #[test]
    fn what_is_meant_for_quorate_wins_over_them() {
        let mut sources = sources(&[
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_METRICS_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://theirs:1"),
            ("OTEL_SERVICE_NAME", ""),
            ("QUORATE__TELEMETRY__TRACES__EXPORTER", "otlp"),
        ]);
        sources.flags = vec![Flag { flag: "x", key: "telemetry.traces.endpoint", value: "http://ours:2".to_owned() }];
        let telemetry = NodeConfig::load(&sources).unwrap().telemetry;
        assert_eq!(telemetry.traces.exporter, Exporter::Otlp, "given explicitly");
        assert_eq!(telemetry.traces.endpoint, "http://ours:2");
        assert_eq!(telemetry.metrics.exporter, Exporter::None, "disabled is stronger than the exporter");
        assert_eq!(telemetry.service_name, None, "what is empty is not given");
    }

    #[test]
    fn bad_values_name_the_variable() {
        let error = NodeConfig::load(&sources(&[
            ("OTEL_SDK_DISABLED", "maybe"),
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_METRICS_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:4317"),
            ("OTEL_TRACES_SAMPLER", "xray"),
            ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1m"),
            ("OTEL_RESOURCE_ATTRIBUTES", "novalue"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_BLRP_MAX_QUEUE_SIZE", "100001"),
            ("OTEL_BLRP_SCHEDULE_DELAY", "-1"),
            ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", " 8"),
            ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "0"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization"),
        ]));
        let said = error.unwrap_err().to_string();
        for line in [
            "OTEL_SDK_DISABLED: expected true or false, found \"maybe\"",
            "OTEL_METRICS_EXPORTER: expected none or otlp, found \"zipkin\"",
            "OTEL_EXPORTER_OTLP_ENDPOINT: expected http://HOST:PORT, found \"https://c:4317\"",
            "OTEL_TRACES_SAMPLER: expected always_on, always_off, traceidratio, parentbased_always_on, \
             parentbased_always_off or parentbased_traceidratio, found \"xray\"",
            "OTEL_TRACES_SAMPLER_ARG: expected a ratio from 0 to 1, found 1.5",
            "OTEL_METRIC_EXPORT_INTERVAL: expected a duration such as 150ms, at most 24h, found \"1mms\"",
            "OTEL_RESOURCE_ATTRIBUTES: expected attributes such as deployment.environment=test,team=a%2Cb, \
             found \"novalue\"",
            "OTEL_EXPORTER_OTLP_PROTOCOL: expected grpc, found \"http/protobuf\"",
            "OTEL_EXPORTER_OTLP_LOGS_COMPRESSION: expected none or gzip, found \"zstd\"",
            "OTEL_EXPORTER_OTLP_TIMEOUT: expected a number of milliseconds from 1 to 86400000, found \"10s\"",
            "OTEL_BSP_MAX_QUEUE_SIZE: expected a number from 1 to 100000, found \"0\"",
            "OTEL_BLRP_MAX_QUEUE_SIZE: expected a number from 1 to 100000, found \"100001\"",
            "OTEL_BLRP_SCHEDULE_DELAY: expected a number of milliseconds, at most 86400000, found \"-1\"",
            "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE: expected a number from 1 to 100000, found \" 8\"",
            "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT: expected a number of milliseconds from 1 to 86400000, found \"0\"",
            "OTEL_EXPORTER_OTLP_HEADERS: expected headers such as authorization=Bearer%20x,team=a, found \
             \"authorization\"",
        ] {
            assert!(said.lines().any(|told| told == line), "{line}\nis not in\n{said}");
        }
    }

    /// The variables of other services on the machine do no harm to a node that exports nothing.
    #[test]
    fn what_only_the_exporter_reads_matters_only_where_something_is_exported() {
        for other in [("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"), ("OTEL_BSP_MAX_QUEUE_SIZE", "many")] {
            NodeConfig::load(&sources(&[other])).unwrap();
        }
    }

    #[test]
    fn the_exporter_takes_what_its_specification_allows() {
        let all = OF_THE_EXPORTER.map(|(variable, kind)| match kind {
            Kind::Protocol => (variable, "grpc"),
            Kind::Compression => (variable, "GZIP"),
            Kind::Pause => (variable, "0"),
            Kind::Timeout => (variable, "1"),
            Kind::Headers => (variable, "authorization=Bearer%20x, team=a,"),
            Kind::Size => (variable, "100000"),
        });
        let mut given = vec![("OTEL_TRACES_EXPORTER", "otlp")];
        given.extend(all);
        NodeConfig::load(&sources(&given)).unwrap();
    }
}
