//! What nodes tell a collector: one trace over all nodes for a request, figures over all requests; and what becomes of a node
//! whose collector is away.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use opentelemetry::Context;
use opentelemetry::context::FutureExt as _;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use quorate::client::{Body, Client, Message, Options};
use quorate::proto::v1;
use tempfile::TempDir;

use crate::cluster::{Cluster, Node, eventually, quorate};
use crate::collector::{Collector, Line, Span, tree};
use crate::inside::busy;

const EXECUTE: &str = "quorate.v1.Quorate/Execute";
const VERBS: [&str; 8] =
    ["received", "routed", "proposed", "appended", "replicated", "committed", "applied", "answered"];

/// Settings by which a node traces what a client traces, and tells it soon.
fn traced_by_clients(collector: &Collector) -> Vec<(&'static str, String)> {
    vec![
        ("OTEL_TRACES_EXPORTER", "otlp".to_owned()),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.endpoint()),
        ("OTEL_TRACES_SAMPLER_ARG", "0".to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY", "50".to_owned()),
    ]
}

/// A span of the client in the trace with this number.
fn client_span(trace: u128, flags: TraceFlags) -> Context {
    let (trace, span) = (TraceId::from(trace), SpanId::from(7));
    Context::new().with_remote_span_context(SpanContext::new(trace, span, flags, false, TraceState::NONE))
}

fn hex(trace: u128) -> String {
    TraceId::from(trace).to_string()
}

/// Sends one enqueue to the leader, in the context of a client.
fn enqueue(cluster: &Cluster, context: Context) {
    let leader = cluster.nodes[cluster.leader()].address.to_string();
    let message = v1::Message::from(v1::message::Body::Text("x".to_owned()));
    let enqueue = v1::Enqueue { queue: "orders".to_owned(), message: Some(message), delay: None };
    let operation = v1::Operation { operation: Some(v1::operation::Operation::Enqueue(enqueue)) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime
        .block_on(async {
            let client = Client::new(vec![leader], Options::default()).unwrap();
            client.execute_once(vec![operation]).with_context(context).await
        })
        .unwrap();
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

#[test]
fn a_request_is_one_trace_over_all_nodes() {
    let collector = Collector::start();
    let cluster = Cluster::start_with(3, &traced_by_clients(&collector));
    enqueue(&cluster, client_span(1, TraceFlags::default()));
    enqueue(&cluster, client_span(2, TraceFlags::SAMPLED));

    // The request, its eight verbs, one more `replicated`, two appends of followers, and three fsyncs.
    let spans =
        eventually("15 spans of the trace", || Some(collector.trace(&hex(2))).filter(|spans| spans.len() >= 15));
    println!("{}", tree(&spans));
    assert_eq!(spans.len(), 15);
    let is_connected =
        |span: &Span| span.parent == SpanId::from(7).to_string() || spans.iter().any(|parent| parent.id == span.parent);
    assert!(spans.iter().all(is_connected), "{}", tree(&spans));

    let leader = &cluster.nodes[cluster.leader()].name;
    let request = named(&spans, EXECUTE)[0];
    assert_eq!(request.parent, SpanId::from(7).to_string(), "the span of the client");
    assert_eq!(request.kind, 2, "SERVER");
    for (key, value) in [
        ("rpc.system.name", "grpc"),
        ("rpc.method", EXECUTE),
        ("rpc.status_code", "OK"),
        ("server.address", "127.0.0.1"),
        ("messaging.system", "quorate"),
        ("messaging.destination.name", "orders"),
        ("messaging.operation.type", "send"),
    ] {
        assert_eq!(request.attributes.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert_eq!(request.resource["service.name"], "quorate");

    for verb in VERBS {
        let of_request: Vec<&Span> = named(&spans, verb).into_iter().filter(|span| span.parent == request.id).collect();
        assert_eq!(of_request.len(), if verb == "replicated" { 2 } else { 1 }, "{verb}");
        assert!(of_request.iter().all(|span| span.node == *leader && span.start <= span.end), "{verb}");
        let late = of_request.iter().find(|span| span.start < request.start || span.start > request.end);
        assert!(late.is_none(), "{verb} begins while the request is under way: {late:?}");
    }
    let peers: BTreeSet<&str> =
        named(&spans, "replicated").iter().map(|span| &*span.attributes["quorate.peer"]).collect();
    assert_eq!(peers.len(), 2);
    for replicated in named(&spans, "replicated") {
        let appended = spans.iter().find(|span| span.parent == replicated.id).expect("the peer tells its append");
        assert_eq!((&*appended.name, &appended.node), ("appended", &replicated.attributes["quorate.peer"]));
        // One machine, one clock: it is written between the sending and the acknowledgement.
        assert!(replicated.start <= appended.start && appended.end <= replicated.end, "{}", tree(&spans));
    }
    for fsync in named(&spans, "fsync") {
        let appended = spans.iter().find(|span| span.id == fsync.parent).expect("the trace is connected");
        assert_eq!((&*appended.name, &appended.node), ("appended", &fsync.node));
        assert!(appended.start <= fsync.start && fsync.end <= appended.end, "{}", tree(&spans));
        let synced = ["entries", "first_index", "last_index"].map(|key| &*fsync.attributes[&format!("quorate.{key}")]);
        let index = &*named(&spans, "proposed")[0].attributes["quorate.index"];
        assert_eq!((synced, fsync.links.len()), (["1", index, index], 0), "it was alone");
        assert!(fsync.attributes.contains_key("quorate.write_seconds"));
    }
    assert_eq!(named(&spans, "fsync").len(), 3);
    assert!(collector.trace(&hex(1)).is_empty(), "its client does not trace it");
    let syncs = collector.spans().into_iter().filter(|span| span.name == "sync_log").count();
    assert_eq!(syncs, 0, "no sync carried several, and those for what nobody traces are not told");
}

/// Requests that wait for the disk together are written together: the sync is told once on each node, and links them all.
#[test]
fn requests_that_share_a_sync_are_linked_by_it() {
    const TOGETHER: u128 = 10;
    let collector = Collector::start();
    let cluster = Cluster::start_with(3, &traced_by_clients(&collector));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = Client::new(cluster.addresses(), Options::default()).unwrap();
    let mut round = 0;
    // How many of a round come into the loop before it turns is a matter of chance.
    eventually("a sync of ten traced requests on every node", || {
        round += 1;
        let enqueue = |number| {
            let body = vec![Body::Text("x".to_owned())];
            client.enqueue("orders", body).with_context(client_span(1000 * round + number, TraceFlags::SAMPLED))
        };
        runtime.block_on(join_all((0..TOGETHER).map(enqueue))).into_iter().for_each(|enqueued| drop(enqueued.unwrap()));
        let shared = |span: &&Span| span.name == "sync_log" && span.links.len() >= TOGETHER as usize;
        let spans = collector.spans();
        let nodes: BTreeSet<&str> = spans.iter().filter(shared).map(|span| &*span.node).collect();
        (nodes.len() == 3).then_some(())
    });
    let spans = collector.spans();
    let of_ids: BTreeMap<&str, &Span> = spans.iter().map(|span| (&*span.id, span)).collect();
    for sync in spans.iter().filter(|span| span.name == "sync_log" && span.links.len() >= TOGETHER as usize) {
        let traces: BTreeSet<&str> =
            sync.links.iter().filter_map(|link| of_ids.get(&**link)).map(|span| &*span.trace).collect();
        let parts = spans.iter().filter(|span| span.name == "fsync" && span.links == [sync.id.clone()]);
        let parts: BTreeSet<&str> = parts.map(|span| &*span.trace).collect();
        assert_eq!(
            sync.attributes["quorate.entries"].parse::<usize>().unwrap(),
            sync.links.len(),
            "each has its entry"
        );
        assert!(parts.len() >= TOGETHER as usize && parts.is_superset(&traces), "{parts:?} {traces:?}");
    }
}

/// A command of a traced pipeline: whatever it asks, and also what it asks in vain, belongs to the pipeline's trace.
#[test]
fn a_command_belongs_to_the_trace_in_its_environment() {
    let collector = Collector::start();
    let mut cluster = Cluster::start_with(2, &traced_by_clients(&collector));
    let follower = cluster.followers()[0];
    let mut command = quorate();
    command.args(["enqueue", "orders", "x", "--endpoints", &cluster.nodes[follower].address.to_string()]);
    command.env("TRACEPARENT", format!("00-{}-{}-01", hex(3), SpanId::from(7)));
    assert!(command.status().unwrap().success());

    let refused = eventually("the refusal of the follower", || {
        collector
            .trace(&hex(3))
            .into_iter()
            .find(|span| span.attributes.get("error.type").is_some_and(|why| why == "NOT_LEADER"))
    });
    assert_eq!((refused.node, refused.parent), (cluster.nodes[follower].name.clone(), SpanId::from(7).to_string()));
    let enqueued = eventually("the enqueue at the leader", || {
        let is_enqueue =
            |span: &Span| span.attributes.get("messaging.operation.name").is_some_and(|name| name == "Enqueue");
        collector.trace(&hex(3)).into_iter().find(|span| is_enqueue(span) && span.node != cluster.nodes[follower].name)
    });
    assert_eq!(enqueued.name, "quorate.v1.Quorate/ExecuteStream", "on a stream each request has a context of its own");
    assert_eq!(enqueued.parent, SpanId::from(7).to_string());
    let taken = cluster.json(&["dequeue", "orders"]).unwrap();
    assert_eq!(taken["headers"]["traceparent"], format!("00-{}-{}-01", hex(3), SpanId::from(7)));
}

/// What is asked of the cluster itself is a call of its own, and so is the reading of the log.
#[test]
fn every_call_belongs_to_the_trace_of_its_client() {
    let collector = Collector::start();
    let cluster = Cluster::start_with(1, &traced_by_clients(&collector));
    for (trace, arguments) in
        [(5, &["status"][..]), (6, &["member", "list"]), (7, &["member", "remove", "nobody"]), (8, &["log"])]
    {
        let mut command = quorate();
        command.args(arguments).args(["--endpoints", &cluster.nodes[0].address.to_string()]);
        command.env("TRACEPARENT", format!("00-{}-{}-01", hex(trace), SpanId::from(7)));
        assert_eq!(command.output().unwrap().status.success(), trace != 7, "{arguments:?}");
    }
    for (trace, rpc, code) in [
        (5, "quorate.v1.Cluster/Status", "OK"),
        (6, "quorate.v1.Cluster/ListMembers", "OK"),
        (7, "quorate.v1.Cluster/RemoveMember", "NOT_FOUND"),
        (8, "quorate.v1.Quorate/RequestLog", "OK"),
    ] {
        let call = eventually(&format!("a span of {rpc}"), || {
            collector.trace(&hex(trace)).into_iter().find(|span| span.name == rpc)
        });
        assert_eq!((call.kind, call.parent), (2, SpanId::from(7).to_string()), "{rpc}: SERVER, the span of the client");
        assert_eq!(call.attributes["rpc.status_code"], code, "{rpc}");
        let reason = (trace == 7).then_some("MEMBER_NOT_FOUND");
        assert_eq!(call.attributes.get("error.type").map(String::as_str), reason, "{rpc}");
    }
}

fn with_headers(headers: &[(&str, &str)]) -> Message {
    let headers = headers.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    Message { headers, ..Message::from(Body::Text("x".to_owned())) }
}

/// A consumer may take messages of many traces: it belongs to its own, and links those of the producers. What messages say of
/// traces is brought back as it was sent, however odd.
#[test]
fn a_consumer_links_the_producers_of_what_it_takes() {
    let collector = Collector::start();
    let cluster = Cluster::start_with(3, &traced_by_clients(&collector));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = Client::new(cluster.addresses(), Options::default()).unwrap();
    let traceparent = |trace| format!("00-{}-{}-01", hex(trace), SpanId::from(9));
    let endless = format!("vendor={}", "x".repeat(10_000));
    let headers = [
        vec![],
        vec![("traceparent", traceparent(22)), ("tracestate", "vendor=x, other=\u{e9}".to_owned())],
        vec![("traceparent", traceparent(23)), ("tracestate", endless)],
        vec![("traceparent", "garbage".to_owned()), ("tracestate", ",,,=".to_owned())],
        vec![("traceparent", traceparent(0xab).to_uppercase()), ("other", "\u{1b}[2J\n".to_owned())],
    ];
    let messages: Vec<Message> = headers
        .iter()
        .map(|headers| with_headers(&headers.iter().map(|(key, value)| (*key, &**value)).collect::<Vec<_>>()))
        .collect();
    let sent = client.enqueue("orders", messages.clone()).with_context(client_span(21, TraceFlags::SAMPLED));
    runtime.block_on(sent).unwrap();
    let peeked = client.peek("orders", 10).with_context(client_span(25, TraceFlags::SAMPLED));
    let peeked = runtime.block_on(peeked).unwrap().value;
    let taken: Vec<v1::StoredMessage> = (0..messages.len())
        .map(|_| client.dequeue("orders", Duration::ZERO).with_context(client_span(26, TraceFlags::SAMPLED)))
        .map(|taken| runtime.block_on(taken).unwrap().expect("it was enqueued"))
        .collect();

    let mut expected = messages;
    expected[0] = with_headers(&[("traceparent", &format!("00-{}-{}-01", hex(21), SpanId::from(7)))]);
    for brought in [&peeked, &taken] {
        let brought: Vec<&Message> = brought.iter().map(|message| message.message.as_ref().unwrap()).collect();
        assert_eq!(brought, expected.iter().collect::<Vec<_>>());
    }
    let asked = |trace: u128, operation: &str, count: usize| {
        eventually(&format!("{count} {operation} of trace {trace}"), || {
            // What a follower was asked, who names the leader, is not it.
            let is_asked = |span: &Span| {
                let Span { kind, attributes, .. } = span;
                let is_operation = attributes.get("messaging.operation.name").is_some_and(|name| name == operation);
                *kind == 2 && is_operation && !attributes.contains_key("error.type")
            };
            let spans: Vec<Span> = collector.trace(&hex(trace)).into_iter().filter(is_asked).collect();
            (spans.len() == count).then_some(spans)
        })
    };
    let (client_of, producer) = (SpanId::from(7).to_string(), SpanId::from(9).to_string());
    let sent = &asked(21, "Enqueue", 1)[0];
    assert_eq!((&sent.parent, &sent.links), (&client_of, &vec![producer.clone(); 2]), "messages of other producers");
    assert_eq!(sent.attributes["messaging.batch.message_count"], "5");
    let peek = &asked(25, "Peek", 1)[0];
    assert_eq!((&peek.parent, &peek.links), (&client_of, &vec![client_of.clone(), producer.clone(), producer.clone()]));
    assert_eq!(peek.attributes["messaging.batch.message_count"], "5");
    let takes = asked(26, "Dequeue", 5);
    let links: Vec<&[String]> = takes.iter().map(|take| &take.links[..]).collect();
    let (client_of, producer) = ([client_of], [producer]);
    assert_eq!(links, [&client_of[..], &producer, &producer, &[], &[]]);
    for (take, message) in takes.iter().zip(&taken) {
        let id = message.id.unwrap();
        assert_eq!(take.attributes["messaging.message.id"], format!("{}/{}", id.index, id.item));
        assert_eq!(take.attributes["messaging.operation.type"], "receive");
    }
}

/// A producer that puts its context into the message alone is followed all the same.
#[test]
fn a_request_without_a_context_belongs_to_the_trace_of_its_message() {
    let collector = Collector::start();
    let cluster = Cluster::start_with(1, &traced_by_clients(&collector));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = Client::new(cluster.addresses(), Options::default()).unwrap();
    let message = with_headers(&[("traceparent", &format!("00-{}-{}-01", hex(31), SpanId::from(9)))]);
    runtime.block_on(client.enqueue("orders", vec![message])).unwrap();
    let is_sent = |span: &Span| span.kind == 2 && !span.attributes.contains_key("error.type");
    let sent = eventually("the trace", || collector.trace(&hex(31)).into_iter().find(is_sent));
    assert_eq!((sent.parent, sent.links), (SpanId::from(9).to_string(), Vec::new()));
}

/// Nothing that is wrong about a context does any harm, but that there is none.
#[test]
fn hostile_contexts_do_no_harm() {
    let collector = Collector::start();
    let cluster = Cluster::start_with(1, &traced_by_clients(&collector));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let good = format!("00-{}-{}-01", hex(41), SpanId::from(7));
    let execute = |traceparent: &str, tracestate: &str| {
        runtime.block_on(async {
            let address = format!("http://{}", cluster.nodes[0].address);
            let mut client = v1::quorate_client::QuorateClient::connect(address).await.unwrap();
            let operation = v1::Peek { queue: "orders".to_owned(), ..Default::default() };
            let operations = vec![v1::Operation { operation: Some(v1::operation::Operation::Peek(operation)) }];
            let request = v1::ExecuteRequest { operations, ..Default::default() };
            let mut request = tonic::Request::new(request);
            request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
            request.metadata_mut().insert("tracestate", tracestate.parse().unwrap());
            client.execute(request).await.unwrap();
        });
    };
    collector.forget_spans();
    for traceparent in ["", "garbage", &"0".repeat(55), &"x".repeat(8_000), &good.replace("00-", "ff-")] {
        execute(traceparent, "vendor=x");
    }
    execute(&good, &format!("vendor={}", "x".repeat(10_000)));
    let followed =
        eventually("the one that is right", || collector.trace(&hex(41)).into_iter().find(|span| span.kind == 2));
    assert_eq!((followed.parent, followed.state), (SpanId::from(7).to_string(), String::new()));
    let is_other = |span: &Span| span.trace != hex(41);
    assert!(!collector.spans().iter().any(is_other), "no other is traced");
}

/// Settings by which a node traces everything. It tells what waits when it stops.
fn traced(collector: &Collector) -> Vec<(&'static str, String)> {
    vec![("OTEL_TRACES_EXPORTER", "otlp".to_owned()), ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint())]
}

#[test]
fn the_start_of_a_node_is_told_step_by_step() {
    let collector = Collector::start();
    let mut cluster = Cluster::start_with(2, &traced(&collector));
    for node in cluster.nodes.iter_mut().rev() {
        assert!(node.terminate().success());
    }
    for (node, last) in [("a", "bootstrap"), ("b", "join")] {
        let start = collector.spans().into_iter().find(|span| span.name == "start" && span.node == node);
        let start = start.unwrap_or_else(|| panic!("{node} tells its start"));
        let spans = collector.trace(&start.trace);
        println!("{}", tree(&spans));
        let steps: Vec<&Span> = spans.iter().filter(|span| span.parent == start.id).collect();
        let names: Vec<&str> = steps.iter().map(|step| &*step.name).collect();
        assert_eq!(
            names,
            ["bind_ports", "open_directory", "recover_log", "restore_snapshot", "announce_addresses", last]
        );
        assert!(steps.iter().all(|step| step.start >= start.start && step.end <= start.end), "{}", tree(&spans));
        assert_eq!((start.parent, start.error), (String::new(), String::new()));
        let admitted = named(&spans, "quorate.v1.Cluster/AddMember");
        let admitted_by: Vec<&str> = admitted.iter().map(|call| &*call.node).collect();
        assert_eq!(admitted_by.contains(&"a"), last == "join", "{}", tree(&spans));
        assert!(admitted.iter().all(|call| call.parent == steps[5].id), "{}", tree(&spans));
    }
}

#[test]
fn a_start_that_fails_is_told_with_the_reason() {
    let collector = Collector::start();
    let directory = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut node = Node::new(directory.path(), "a");
    node.address = taken.local_addr().unwrap();
    node.settings = traced(&collector);
    assert!(!node.command(&[]).output().unwrap().status.success());
    let spans = collector.spans();
    assert_eq!(spans.iter().map(|span| &*span.name).collect::<Vec<_>>(), ["bind_ports", "start"]);
    assert!(spans[1].error.contains("client.listen"), "{spans:#?}");
}

#[test]
fn what_waits_is_told_at_a_graceful_stop() {
    let collector = Collector::start();
    let mut settings = traced_by_clients(&collector);
    settings.retain(|(name, _)| *name != "OTEL_BSP_SCHEDULE_DELAY");
    settings.push(("OTEL_BSP_SCHEDULE_DELAY", "3600000".to_owned()));
    let mut cluster = Cluster::start_with(1, &settings);
    enqueue(&cluster, client_span(4, TraceFlags::SAMPLED));
    assert!(collector.trace(&hex(4)).is_empty(), "it waits for an hour");
    assert!(cluster.nodes[0].terminate().success());
    // The request, all its verbs but `replicated`, as there is no peer, and the fsync.
    assert_eq!(collector.trace(&hex(4)).len(), VERBS.len() + 1, "{}", tree(&collector.trace(&hex(4))));
}

#[test]
fn spans_are_compressed_where_that_is_asked_for() {
    let collector = Collector::start();
    for (compression, expected) in [("gzip", "gzip"), ("none", "")] {
        collector.forget_spans();
        let mut settings = traced_by_clients(&collector);
        settings.push(("OTEL_EXPORTER_OTLP_COMPRESSION", compression.to_owned()));
        let cluster = Cluster::start_with(1, &settings);
        enqueue(&cluster, client_span(5, TraceFlags::SAMPLED));
        let spans = eventually("its spans", || Some(collector.spans()).filter(|spans| !spans.is_empty()));
        assert!(spans.iter().all(|span| span.compression == expected), "{compression}: {spans:#?}");
    }
}

#[test]
fn every_request_is_measured_by_verb_and_outcome() {
    let collector = Collector::start();
    let settings = [
        ("OTEL_METRICS_EXPORTER", "otlp".to_owned()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "100".to_owned()),
    ];
    let cluster = Cluster::start_with(1, &settings);
    for _ in 0..3 {
        cluster.ok(&["enqueue", "orders", "x"]);
    }
    assert!(!cluster.run(&["enqueue", "bad queue", "x"]).status.success());
    // Three commands, each of which opens a session, enqueues and closes the session; and one that only opens and closes it.
    let of = |metric: &str, attribute: &str| (metric.to_owned(), attribute.to_owned());
    eventually("eleven good requests", || {
        (collector.counts().get(&of("quorate.requests", "ok")) == Some(&11)).then_some(())
    });
    let counts = collector.counts();
    for verb in VERBS.into_iter().filter(|verb| *verb != "replicated") {
        assert_eq!(counts.get(&of("quorate.request.stage.duration", verb)), Some(&11), "{verb} in {counts:#?}");
    }
    assert_eq!(counts.get(&of("quorate.requests", "INVALID_QUEUE_NAME")), Some(&1), "{counts:#?}");
}

/// How full the disk is, what was written to it, and why the oldest file is there.
#[test]
fn the_disk_is_measured() {
    let collector = Collector::start();
    let settings = [
        ("OTEL_METRICS_EXPORTER", "otlp".to_owned()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "100".to_owned()),
    ];
    let cluster = Cluster::start_with(1, &settings);
    cluster.ok(&["enqueue", "orders", "x"]);
    let of = |metric: &str, attribute: &str| (metric.to_owned(), attribute.to_owned());
    eventually("the node to tell of its disk", || {
        let counts = collector.counts();
        let is_told = |metric, attribute| counts.get(&of(metric, attribute)).is_some_and(|told| *told > 0);
        let told = [
            ("quorate.storage.size", "log"),
            ("quorate.storage.written", "log"),
            ("quorate.storage.written", "zeros"),
            ("quorate.storage.oldest", "since_snapshot"),
        ];
        told.into_iter().all(|(metric, attribute)| is_told(metric, attribute)).then_some(())
    });
    let counts = collector.counts();
    assert_eq!(counts.get(&of("quorate.storage.size", "living")), Some(&0), "{counts:#?}");
    assert_eq!(counts.get(&of("quorate.storage.oldest", "living")), Some(&0), "{counts:#?}");
}

/// The lines of the log go to the collector as well, and those about a traced request lead to its trace.
#[test]
fn lines_of_the_log_lead_to_the_traces_that_they_are_about() {
    let collector = Collector::start();
    let mut settings = traced_by_clients(&collector);
    settings.extend([
        ("OTEL_LOGS_EXPORTER", "otlp".to_owned()),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", collector.endpoint()),
        ("OTEL_BLRP_SCHEDULE_DELAY", "50".to_owned()),
    ]);
    let cluster = Cluster::start_with(2, &settings);
    enqueue(&cluster, client_span(10, TraceFlags::SAMPLED));
    let about = |event: &str| {
        let lines = collector.lines().into_iter();
        lines.filter(|line| line.trace == hex(10) && line.attributes["event"] == event).collect::<Vec<_>>()
    };
    for event in ["received", "routed", "proposed", "replicated", "committed", "applied", "answered"] {
        let lines = eventually(event, || Some(about(event)).filter(|lines| !lines.is_empty()));
        assert_eq!((lines.len(), &*lines[0].severity), (1, "INFO"), "{lines:#?}");
    }
    let appended = eventually("the appends of both", || Some(about("appended")).filter(|lines| lines.len() == 2));
    for line in &appended {
        let span = eventually("the span that a line leads to", || {
            collector.trace(&hex(10)).into_iter().find(|span| span.id == line.span)
        });
        let is_leader = line.node == cluster.nodes[cluster.leader()].name;
        assert_eq!(span.name, if is_leader { EXECUTE } else { "replicated" }, "{line:?}");
    }
    for node in &cluster.nodes {
        let of_node = |line: &&Line| line.node == node.name && line.trace == hex(10);
        let line = collector.lines().iter().find(of_node).cloned().unwrap();
        node.eventually_tells(&format!("{} trace={}-{}", line.text, line.trace, line.span));
    }
}

/// The threads of the SDK would not even rest if they were given no pause at all.
#[test]
fn a_node_that_is_to_tell_at_once_rests_while_there_is_nothing_to_tell() {
    let collector = Collector::start();
    let settings = [
        ("OTEL_TRACES_EXPORTER", "otlp".to_owned()),
        ("OTEL_LOGS_EXPORTER", "otlp".to_owned()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()),
        ("OTEL_BSP_SCHEDULE_DELAY", "0".to_owned()),
        ("OTEL_BLRP_SCHEDULE_DELAY", "0".to_owned()),
    ];
    let cluster = Cluster::start_with(1, &settings);
    enqueue(&cluster, client_span(11, TraceFlags::SAMPLED));
    eventually("the trace", || collector.trace(&hex(11)).into_iter().find(|span| span.kind == 2));
    eventually("a line about it", || collector.lines().into_iter().find(|line| line.trace == hex(11)));
    let before = busy(&cluster.nodes[0]);
    std::thread::sleep(Duration::from_secs(2));
    let used = busy(&cluster.nodes[0]) - before;
    assert!(used < Duration::from_secs(1), "{used:?} in 2 s");
}

/// With a collector that is away, a node works as ever, says so once, and stops in time.
#[test]
fn a_collector_that_is_away_harms_nobody() {
    // Nobody listens there any more.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = [
        ("OTEL_TRACES_EXPORTER", "otlp".to_owned()),
        ("OTEL_METRICS_EXPORTER", "otlp".to_owned()),
        ("OTEL_LOGS_EXPORTER", "otlp".to_owned()),
        ("OTEL_BLRP_SCHEDULE_DELAY", "50".to_owned()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{gone}")),
        ("OTEL_METRIC_EXPORT_INTERVAL", "100".to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY", "50".to_owned()),
    ];
    let mut cluster = Cluster::start_with(1, &settings);
    for _ in 0..5 {
        cluster.ok(&["enqueue", "orders", "x"]);
        cluster.nodes[0].eventually_tells("takes no spans");
    }
    cluster.nodes[0].eventually_tells("takes no metrics");
    cluster.nodes[0].eventually_tells("takes no lines of the log");
    let start = Instant::now();
    assert!(cluster.nodes[0].terminate().success());
    assert!(start.elapsed() < Duration::from_secs(5), "within the drain deadline: {:?}", start.elapsed());
    let log = cluster.nodes[0].log();
    assert_eq!(log.matches("takes no spans").count(), 1, "{log}");
    assert_eq!(log.matches("takes no metrics").count(), 1, "{log}");
    assert_eq!(log.matches("takes no lines of the log").count(), 1, "{log}");
    assert!(!log.contains("after Shutdown"), "what it says last is for the terminal alone: {log}");
}
