//! What a node tells those who scrape it.

use std::collections::BTreeSet;

use super::*;
use crate::replica::Status as ReplicaStatus;
use crate::telemetry::Providers;
use crate::telemetry::metrics::{Kind, catalogue};

/// A node that is measured, where its metrics are, and what keeps them.
async fn start_measured(config: NodeConfig) -> (Running, Telemetry, Providers) {
    let providers = Providers::start(&config).expect("the settings are good");
    let telemetry = providers.telemetry();
    let running = start(config, telemetry.clone()).await.expect("the node starts");
    let mut phase = running.phase();
    tokio::time::timeout(PATIENCE, phase.wait_for(|phase| *phase == Phase::Serving)).await.unwrap().unwrap();
    (running, telemetry, providers)
}

/// Two voters that are measured; the first one leads.
async fn start_two_measured(directory: &TempDir) -> [(Running, Telemetry, Providers); 2] {
    let first = start_measured(config("a", directory.path(), &[])).await;
    let second = start_measured(config("b", directory.path(), &[&first.0])).await;
    until(&first.1, "quorate_cluster_members{quorate_member_kind=\"voter\"}", |voters| voters == Some(2.0)).await;
    [first, second]
}

/// The line of a series without its value.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Waits until a series has a value.
async fn until(telemetry: &Telemetry, series: &str, wanted: impl Fn(Option<f64>) -> bool) -> String {
    eventually(series, async || {
        let text = telemetry.exposition().await.expect("it is recorded");
        wanted(value(&text, series)).then_some(text)
    })
    .await
}

/// Of everything in the catalogue that a leader alone has there is a series, and of nothing else.
#[tokio::test]
async fn a_leader_tells_all_that_is_in_the_catalogue() {
    let directory = TempDir::new().unwrap();
    let (node, telemetry, _providers) = start_measured(config("a", directory.path(), &[])).await;
    eventually("the only node to lead", async || execute(&node, vec![enqueue("orders", "one pizza")]).await.ok()).await;
    until(&telemetry, "quorate_storage_size_bytes{quorate_storage_kind=\"log\"}", |bytes| bytes > Some(0.0)).await;
    let text = until(
        &telemetry,
        "quorate_queue_messages{quorate_message_state=\"ready\",quorate_queue=\"orders\"}",
        |count| count >= Some(1.0),
    )
    .await;

    for (series, expected) in [
        ("quorate_raft_role{quorate_raft_role=\"leader\"}", 1.0),
        ("quorate_raft_role{quorate_raft_role=\"follower\"}", 0.0),
        ("quorate_raft_leader_known", 1.0),
        ("quorate_cluster_failures_tolerated", 0.0),
        ("quorate_cluster_members{quorate_member_kind=\"voter\"}", 1.0),
        ("quorate_raft_leader_changes_total", 1.0),
        ("quorate_queues", 1.0),
        ("quorate_redirects_total", 0.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series} in\n{text}");
    }
    assert!(value(&text, "quorate_storage_sync_duration_seconds_count") > Some(0.0), "{text}");
    assert!(value(&text, "quorate_raft_commit_duration_seconds_count") > Some(0.0), "{text}");

    let told: BTreeSet<(&str, &str)> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let metrics = catalogue();
    let known: BTreeSet<(String, &str)> =
        metrics.iter().map(|metric| (metric.scraped_name(), metric.kind.name())).collect();
    for (name, kind) in &told {
        let is_known = *name == "target_info" || known.contains(&(name.to_string(), kind));
        assert!(is_known, "{name}, a {kind}, is not in the catalogue");
    }
    // Alone, a leader has no peers, no learners, and forwards nothing.
    let needs_others = |name: &str| {
        name.starts_with("quorate.raft.peer.") || ["quorate.cluster.learner.age", "quorate.forwarded"].contains(&name)
    };
    for metric in metrics.iter().filter(|metric| !needs_others(metric.name)) {
        let name = metric.scraped_name();
        assert!(told.contains(&(name.as_str(), metric.kind.name())), "{name} is not told:\n{text}");
        if metric.kind == Kind::Gauge {
            let series = text.lines().find(|line| line.starts_with(&name) && !line.starts_with('#')).unwrap_or("");
            for label in metric.labels() {
                assert!(series.contains(&format!("{label}=\"")), "{series} has no label {label}");
            }
        }
    }
    node.stop().await.unwrap();
    let text = telemetry.exposition().await.unwrap();
    for series in ["quorate_raft_leader_known", "quorate_raft_role{quorate_raft_role=\"follower\"}"] {
        assert_eq!(value(&text, series), None, "of a node that has ended nothing is told:\n{text}");
    }
    assert!(value(&text, "process_uptime_seconds").is_some(), "the process goes on");
}

/// Two nodes in this process: each tells of itself, and a leader of the other only as long as that is a member.
#[tokio::test]
async fn nodes_in_one_process_do_not_mix_and_who_is_removed_is_told_no_more() {
    let directory = TempDir::new().unwrap();
    let [(first, leader, _of_first), (second, follower, _of_second)] = start_two_measured(&directory).await;
    until(&leader, "quorate_raft_peer_heard{quorate_peer=\"b\"}", |heard| heard == Some(1.0)).await;
    let text = until(&leader, "quorate_raft_peer_lag{quorate_peer=\"b\"}", |lag| lag == Some(0.0)).await;
    for of_peer in ["in_flight_messages", "in_flight_size_bytes", "last_contact_seconds", "round_trip_seconds"] {
        let series = format!("quorate_raft_peer_{of_peer}{{quorate_peer=\"b\"}}");
        assert!(value(&text, &series).is_some(), "{series} in\n{text}");
    }
    let text = until(&follower, "quorate_raft_role{quorate_raft_role=\"follower\"}", |is| is == Some(1.0)).await;
    for of_leaders in ["quorate_cluster_failures_tolerated", "quorate_raft_peer_heard{quorate_peer=\"a\"}"] {
        assert_eq!(value(&text, of_leaders), None, "{text}");
    }
    let tolerated = until(&leader, "quorate_cluster_failures_tolerated", |tolerated| tolerated == Some(0.0)).await;
    assert!(tolerated.contains("target_info{"), "{tolerated}");

    let b = second.handle.node().to_string();
    let remove = v1::RemoveMemberRequest { members: vec![b] };
    cluster(&first).await.remove_member(remove).await.unwrap();
    until(&leader, "quorate_raft_peer_heard{quorate_peer=\"b\"}", |heard| heard.is_none()).await;
    let _ = second.stop().await;
    first.stop().await.unwrap();
}

/// Nobody has asked b before it leads.
#[tokio::test]
async fn another_leader_knows_as_well_for_how_long_a_learner_has_been_one() {
    let directory = TempDir::new().unwrap();
    let [(first, _leader, _of_first), (second, follower, _of_second)] = start_two_measured(&directory).await;
    let (client_address, peer_address) = ("127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned());
    let (node_id, name) = ("00000000000000cc".to_owned(), "c".to_owned());
    let c = v1::Member { node_id, name, client_address, peer_address, ..Default::default() };
    let add = v1::AddMemberRequest { member: Some(c), stay_learner: false };
    cluster(&first).await.add_member(add).await.unwrap();
    let has_heard = |status: &ReplicaStatus| !status.membership.configuration.learners.is_empty();
    eventually("b to hear of c", async || second.handle.look(SHARD_0, has_heard).filter(|heard| *heard)).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    first.handle.transfer_leadership(SHARD_0, Some(second.handle.node())).await.unwrap();
    let age = until(&follower, "quorate_cluster_learner_age_seconds{quorate_peer=\"c\"}", |age| age.is_some()).await;
    let age = value(&age, "quorate_cluster_learner_age_seconds{quorate_peer=\"c\"}");
    assert!(age > Some(1.0), "{age:?}");
    second.stop().await.unwrap();
    first.stop().await.unwrap();
}

/// Calls of the same end are one series, whatever made-up methods are called.
#[tokio::test]
async fn every_call_is_measured_with_its_code() {
    let directory = TempDir::new().unwrap();
    let (node, telemetry, _providers) = start_measured(config("a", directory.path(), &[])).await;
    eventually("the only node to lead", async || execute(&node, vec![enqueue("q", "x")]).await.ok()).await;
    assert_eq!(execute(&node, vec![enqueue("bad name", "x")]).await.unwrap_err().code(), Code::InvalidArgument);

    let (mut client, asked) = (quorate(&node).await, node.handle.requests());
    let waits = v1::ExecuteRequest { operations: vec![dequeue("none", PATIENCE)], ..Default::default() };
    let waits = tokio::spawn(async move { client.execute(waits).await });
    eventually("it to wait", async || (node.handle.requests() > asked).then_some(())).await;
    waits.abort();
    let whole = v1::RequestLogRequest::default();
    let mut pages = quorate(&node).await.request_log(whole).await.unwrap().into_inner();
    while pages.message().await.unwrap().is_some() {}
    let endless = v1::RequestLogRequest { follow: true, ..whole };
    drop(quorate(&node).await.request_log(endless).await.unwrap());

    let channel = Channel::from_shared(format!("http://{}", node.client_address)).unwrap().connect().await.unwrap();
    for made_up in ["/quorate.v1.Quorate/Explode", "/quorate.v1.Quorate/Implode"] {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<v1::ExecuteRequest, v1::ExecuteResponse>::default();
        let path = tonic::codegen::http::uri::PathAndQuery::from_static(made_up);
        let answer = client.unary(tonic::Request::new(v1::ExecuteRequest::default()), path, codec).await;
        assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
    }

    let log = "quorate.v1.Quorate/RequestLog";
    for (series, count) in [
        (calls(EXECUTE, "OK", ""), 1.0),
        (calls(EXECUTE, "INVALID_ARGUMENT", ""), 1.0),
        (calls(EXECUTE, "CANCELLED", ""), 1.0),
        (calls(log, "OK", ""), 1.0),
        (calls(log, "CANCELLED", ""), 1.0),
        (calls("_OTHER", "UNIMPLEMENTED", "UNIMPLEMENTED"), 2.0),
    ] {
        until(&telemetry, &series, |told| told == Some(count)).await;
    }
    node.stop().await.unwrap();
}

const EXECUTE: &str = "quorate.v1.Quorate/Execute";

/// The series of the calls of a method that ended so.
fn calls(method: &str, code: &str, error: &str) -> String {
    let error = if error.is_empty() { String::new() } else { format!("error_type=\"{error}\",") };
    let labels = format!("rpc_method=\"{method}\",rpc_status_code=\"{code}\",rpc_system_name=\"grpc\"");
    format!("rpc_server_call_duration_seconds_count{{{error}{labels}}}")
}

/// On the node that passes it on as well, with the code that the leader gives: after an answer, or without one.
#[tokio::test]
async fn a_call_that_is_passed_on_is_measured_on_both_nodes() {
    let directory = TempDir::new().unwrap();
    let [(first, of_leader, _of_first), (second, of_other, _of_second)] = start_two_measured(&directory).await;
    until(&of_other, "quorate_raft_leader_known", |known| known == Some(1.0)).await;
    for (queue, code) in [("q", Code::Ok), ("bad name", Code::InvalidArgument)] {
        let asked = v1::ExecuteRequest { operations: vec![enqueue(queue, "x")], ..Default::default() };
        let mut asked = tonic::Request::new(asked);
        asked.metadata_mut().insert(crate::routing::HEADER, crate::routing::FORWARD.parse().unwrap());
        let answer = quorate(&second).await.execute(asked).await;
        assert_eq!(answer.map_or_else(|status| status.code(), |_| Code::Ok), code);
    }
    for telemetry in [&of_leader, &of_other] {
        until(telemetry, &calls(EXECUTE, "OK", ""), |told| told == Some(1.0)).await;
        until(telemetry, &calls(EXECUTE, "INVALID_ARGUMENT", ""), |told| told == Some(1.0)).await;
    }
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

/// However many ask, one is served at a time, and only a few wait.
#[tokio::test]
async fn too_many_who_scrape_are_refused() {
    let directory = TempDir::new().unwrap();
    let (node, telemetry, _providers) = start_measured(config("a", directory.path(), &[])).await;
    let asked: Vec<_> = (0..100).map(|_| telemetry.exposition()).collect();
    let answers = futures_util::future::join_all(asked).await;
    assert!(answers.iter().filter(|answer| answer.is_ok()).count() >= 1);
    assert!(answers.iter().any(|answer| answer.is_err()), "some are refused");
    assert!(telemetry.exposition().await.is_ok(), "and come again");
    node.stop().await.unwrap();
}
