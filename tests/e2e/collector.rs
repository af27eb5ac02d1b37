//! A collector of OpenTelemetry in this process: it keeps what nodes tell it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status};

/// A span as it was told.
#[derive(Clone, Debug)]
pub struct Span {
    /// The attribute `service.instance.id` of whoever told it.
    pub node: String,
    pub name: String,
    pub trace: String,
    pub id: String,
    /// Empty: it has none.
    pub parent: String,
    pub start: u64,
    pub end: u64,
    pub kind: i32,
    /// The `tracestate` of its trace.
    pub state: String,
    /// The spans that it links, by their ids.
    pub links: Vec<String>,
    /// What went wrong; empty: nothing.
    pub error: String,
    pub attributes: BTreeMap<String, String>,
    pub resource: BTreeMap<String, String>,
    /// How the message was compressed in which it came; empty: it was not.
    pub compression: String,
}

/// A line of a log as it was told.
#[derive(Clone, Debug)]
pub struct Line {
    /// The attribute `service.instance.id` of whoever told it.
    pub node: String,
    pub severity: String,
    pub text: String,
    /// Empty: it is about no request that is traced.
    pub trace: String,
    pub span: String,
    pub attributes: BTreeMap<String, String>,
}

/// For each metric, by its name and one attribute: how often something was counted, or how much there is.
pub type Counts = BTreeMap<(String, String), u64>;

/// What was told so far.
#[derive(Clone, Default)]
struct Told {
    spans: Arc<Mutex<Vec<Span>>>,
    counts: Arc<Mutex<Counts>>,
    lines: Arc<Mutex<Vec<Line>>>,
}

pub struct Collector {
    address: SocketAddr,
    told: Told,
    _runtime: Runtime,
}

impl Collector {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let told = Told::default();
        let router = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(told.clone()).accept_compressed(CompressionEncoding::Gzip))
            .add_service(MetricsServiceServer::new(told.clone()))
            .add_service(LogsServiceServer::new(told.clone()));
        runtime.spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { address, told, _runtime: runtime }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans.
    pub fn spans(&self) -> Vec<Span> {
        self.told.spans.lock().unwrap().clone()
    }

    /// Forgets the spans. Returns how many there were.
    pub fn forget_spans(&self) -> usize {
        std::mem::take(&mut *self.told.spans.lock().unwrap()).len()
    }

    /// The spans of one trace, by their start.
    pub fn trace(&self, trace: &str) -> Vec<Span> {
        let mut spans: Vec<Span> = self.spans().into_iter().filter(|span| span.trace == trace).collect();
        spans.sort_by_key(|span| (span.start, span.end));
        spans
    }

    /// All lines.
    pub fn lines(&self) -> Vec<Line> {
        self.told.lines.lock().unwrap().clone()
    }

    pub fn counts(&self) -> Counts {
        self.told.counts.lock().unwrap().clone()
    }
}

/// The spans as a tree, with times in microseconds after the first start.
pub fn tree(spans: &[Span]) -> String {
    let start = spans.iter().map(|span| span.start).min().unwrap_or(0);
    let mut text = String::new();
    let roots = spans.iter().filter(|span| spans.iter().all(|other| other.id != span.parent));
    roots.for_each(|root| branch(&mut text, spans, root, start, 0));
    text
}

fn branch(text: &mut String, spans: &[Span], span: &Span, start: u64, depth: usize) {
    let Span { node, name, attributes, .. } = span;
    let micros = |time: u64| (time - start) / 1000;
    let name = format!("{}{name}", "  ".repeat(depth));
    let attributes: Vec<String> = attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let (from, to) = (micros(span.start), micros(span.end));
    *text += &format!("{name:32} {node}  {from:>7} .. {to:>7} us  {}\n", attributes.join(" "));
    for child in spans.iter().filter(|child| child.parent == span.id) {
        branch(text, spans, child, start, depth + 1);
    }
}

#[tonic::async_trait]
impl TraceService for Told {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let compression = request.metadata().get("grpc-encoding").and_then(|how| how.to_str().ok());
        let compression = compression.unwrap_or_default().to_owned();
        for told in request.into_inner().resource_spans {
            let resource = attributes(&told.resource.unwrap_or_default().attributes);
            let spans = told.scope_spans.into_iter().flat_map(|scope| scope.spans).map(|span| Span {
                node: resource["service.instance.id"].clone(),
                name: span.name,
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                start: span.start_time_unix_nano,
                end: span.end_time_unix_nano,
                kind: span.kind,
                state: span.trace_state,
                links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
                error: span.status.map(|status| status.message).unwrap_or_default(),
                attributes: attributes(&span.attributes),
                resource: resource.clone(),
                compression: compression.clone(),
            });
            self.spans.lock().unwrap().extend(spans);
        }
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Told {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        for told in request.into_inner().resource_logs {
            let resource = attributes(&told.resource.unwrap_or_default().attributes);
            let lines = told.scope_logs.into_iter().flat_map(|scope| scope.log_records).map(|record| Line {
                node: resource["service.instance.id"].clone(),
                severity: record.severity_text,
                text: record.body.map(|body| text(&body)).unwrap_or_default(),
                trace: hex(&record.trace_id),
                span: hex(&record.span_id),
                attributes: attributes(&record.attributes),
            });
            self.lines.lock().unwrap().extend(lines);
        }
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Told {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let scopes = request.into_inner().resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
        let mut counts = self.counts.lock().unwrap();
        for metric in scopes.flat_map(|scope| scope.metrics) {
            let points: Vec<(Vec<KeyValue>, u64)> = match metric.data {
                Some(Data::Histogram(histogram)) => {
                    histogram.data_points.into_iter().map(|point| (point.attributes, point.count)).collect()
                }
                Some(Data::Sum(sum)) => {
                    sum.data_points.into_iter().map(|point| (point.attributes, point_value(&point.value))).collect()
                }
                Some(Data::Gauge(gauge)) => {
                    gauge.data_points.into_iter().map(|point| (point.attributes, point_value(&point.value))).collect()
                }
                other => panic!("{}: no such data are told: {other:?}", metric.name),
            };
            for (with, count) in points {
                let attribute = attributes(&with).into_values().collect::<Vec<_>>().join(",");
                counts.insert((metric.name.clone(), attribute), count);
            }
        }
        Ok(Response::new(Default::default()))
    }
}

fn point_value(value: &Option<opentelemetry_proto::tonic::metrics::v1::number_data_point::Value>) -> u64 {
    use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
    match value {
        Some(Value::AsInt(count)) => *count as u64,
        Some(Value::AsDouble(seconds)) => *seconds as u64,
        None => panic!("a point without a value"),
    }
}

fn attributes(told: &[KeyValue]) -> BTreeMap<String, String> {
    let value = |attribute: &KeyValue| attribute.value.as_ref().map(text).unwrap_or_default();
    told.iter().map(|attribute| (attribute.key.clone(), value(attribute))).collect()
}

fn text(value: &AnyValue) -> String {
    match &value.value {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
