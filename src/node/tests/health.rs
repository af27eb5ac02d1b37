//! The health port of real nodes: what it answers from the first moment to the last, and whom it bears.

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::*;
use crate::transport::{Limits, Listener};

/// What comes back for these bytes, and then the end.
async fn talk(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the health port is open");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    // A connection that is closed before it was read can end as reset.
    let _ = read.expect("it is answered or closed");
    String::from_utf8(answer).unwrap()
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    talk(address, &format!("GET {path} HTTP/1.0\r\n\r\n")).await
}

async fn is_ready(node: &Running) -> Option<()> {
    get(node.health_address, "/readyz").await.starts_with("HTTP/1.0 200").then_some(())
}

async fn grpc_client(address: std::net::SocketAddr) -> HealthClient<Channel> {
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    HealthClient::new(endpoint.connect().await.expect("the port is open"))
}

/// The status that gRPC tells of a service on a port.
async fn grpc(address: std::net::SocketAddr, service: &str) -> Result<ServingStatus, Code> {
    let mut client = grpc_client(address).await;
    let checked = client.check(HealthCheckRequest { service: service.to_owned() }).await;
    checked.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
}

#[tokio::test]
async fn a_node_is_ready_once_it_leads_and_all_ports_say_the_same() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    eventually("the node to be ready", async || is_ready(&node).await).await;
    let ready = get(node.health_address, "/readyz").await;
    let (head, text) = ready.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: text/plain") && head.contains("cache-control: no-store"), "{head}");
    let expected = "ready\n[x] has recovered its log\n[x] is a member of a cluster\n[x] votes\n[x] has caught up\n\
                    [x] its loop turns\n[x] is not about to stop\n";
    assert_eq!(text, expected);
    let live = get(node.health_address, "/livez").await;
    assert!(live.ends_with("\r\n\r\nlive\n[x] answers\n[x] its loop turns\n"), "{live}");
    for service in ["", "ready", "live", "quorate.v1.Quorate", "quorate.v1.Cluster"] {
        for address in [node.health_address, node.client_address] {
            let serves = async || (grpc(address, service).await == Ok(ServingStatus::Serving)).then_some(());
            eventually("gRPC to say the same", serves).await;
        }
    }
    assert_eq!(grpc(node.health_address, "strange").await, Err(Code::NotFound));
    node.stop().await.unwrap();
}

#[tokio::test]
async fn head_and_get_are_answered_and_nothing_else() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let ask = async |request: &str| talk(node.health_address, &format!("{request} HTTP/1.0\r\n\r\n")).await;
    let head = ask("HEAD /livez").await;
    assert!(head.starts_with("HTTP/1.0 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    for request in ["POST /livez", "DELETE /readyz", "PUT /readyz"] {
        let refused = ask(request).await;
        assert!(refused.starts_with("HTTP/1.0 405 ") && refused.contains("allow: GET,HEAD"), "{request}: {refused}");
    }
    for request in ["GET /", "GET /livez/", "GET /metrics", "POST /quorate.v1.Quorate/Execute"] {
        assert!(ask(request).await.starts_with("HTTP/1.0 404 "), "{request}");
    }
    node.stop().await.unwrap();
}

/// All threads for what takes long are taken, so that the node cannot get at its disk.
#[test]
fn while_the_log_is_recovered_the_node_is_live_and_not_ready() {
    const THREADS: usize = 8;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).max_blocking_threads(THREADS).enable_all().build().unwrap();
    runtime.block_on(async {
        let (let_go, held) = tokio::sync::watch::channel(());
        for _ in 0..THREADS {
            let mut held = held.clone();
            tokio::task::spawn_blocking(move || tokio::runtime::Handle::current().block_on(held.changed()));
        }
        let directory = TempDir::new().unwrap();
        let mut config = config("a", directory.path(), &[]);
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        config.health.listen = Some(free.to_string().parse().unwrap());
        let starting = tokio::spawn(start_node(config));

        let listens = async || TcpStream::connect(free).await.ok();
        eventually("the health port", listens).await;
        let live = get(free, "/livez").await;
        assert!(live.starts_with("HTTP/1.0 200") && live.ends_with("\r\n\r\nlive\n[x] answers\n"), "{live}");
        let ready = get(free, "/readyz").await;
        assert!(ready.starts_with("HTTP/1.0 503"), "{ready}");
        assert!(ready.contains("not ready\n[ ] has recovered its log: reads what is on its disk\n"), "{ready}");
        assert_eq!(grpc(free, "").await, Ok(ServingStatus::NotServing));
        assert_eq!(grpc(free, "live").await, Ok(ServingStatus::Serving));

        drop(let_go);
        let node = starting.await.unwrap();
        assert_eq!(node.health_address, free);
        eventually("the node to be ready", async || is_ready(&node).await).await;
        node.stop().await.unwrap();
    });
}

#[tokio::test]
async fn a_node_that_applies_for_membership_or_was_removed_is_not_ready() {
    let directory = TempDir::new().unwrap();
    let a = start_alone(directory.path()).await;
    let mut lonely = config("lonely", directory.path(), &[]);
    lonely.cluster.join = vec!["127.0.0.1:1".parse().unwrap()];
    let lonely = start(lonely, Telemetry::default()).await.unwrap();
    let told = get(lonely.health_address, "/readyz").await;
    assert!(told.starts_with("HTTP/1.0 503") && told.contains("[ ] is a member of a cluster: "), "{told}");
    assert!(get(lonely.health_address, "/livez").await.starts_with("HTTP/1.0 200"));
    lonely.stop().await.unwrap();

    let b = start_node(config("b", directory.path(), &[&a])).await;
    eventually("b to be ready", async || is_ready(&b).await).await;
    let mut client = cluster(&a).await;
    let remove = v1::RemoveMemberRequest { members: vec!["b".to_owned()] };
    client.remove_member(remove).await.unwrap();
    let unready = async || {
        let told = get(b.health_address, "/readyz").await;
        (told.starts_with("HTTP/1.0 503") && told.contains("member of a cluster: was removed from it")).then_some(())
    };
    eventually("b to be told", unready).await;
    b.stop().await.unwrap();
    a.stop().await.unwrap();
}

/// The one that is left has no quorum: it does its part all the same.
#[tokio::test]
async fn a_lost_quorum_does_not_make_a_node_unready() {
    let directory = TempDir::new().unwrap();
    let a = start_alone(directory.path()).await;
    let b = start_node(config("b", directory.path(), &[&a])).await;
    eventually("b to be ready", async || is_ready(&b).await).await;
    let voters = a.handle.look(SHARD_0, |status| status.membership.configuration.voters.len());
    assert_eq!(voters, Some(2), "a node that is ready votes");
    b.stop().await.unwrap();
    let leaderless = async || a.handle.status(SHARD_0)?.leader.is_none().then_some(());
    eventually("nobody to lead", leaderless).await;
    for _ in 0..20 {
        assert!(is_ready(&a).await.is_some(), "{}", get(a.health_address, "/readyz").await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    a.stop().await.unwrap();
}

/// Whoever watches on the client port has a moment to hear of the stop; meanwhile the health port answers, and says no.
#[tokio::test]
async fn a_node_that_stops_is_not_ready_and_answers_to_the_end() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    eventually("the node to be ready", async || is_ready(&node).await).await;
    let health = node.health_address;
    let request = HealthCheckRequest { service: String::new() };
    let mut watching = grpc_client(node.client_address).await.watch(request).await.unwrap().into_inner();
    assert!(watching.message().await.unwrap().is_some());
    let mut phase = node.phase();
    let stopping = tokio::spawn(node.stop());
    phase.wait_for(|phase| *phase >= Phase::HandingOver).await.unwrap();
    let mut said_no = false;
    while !stopping.is_finished() {
        let Ok(mut stream) = TcpStream::connect(health).await else { break };
        let _ = stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        said_no |= answer.contains("not ready") && answer.contains("[ ] is not about to stop: was told to stop");
    }
    stopping.await.unwrap().unwrap();
    assert!(said_no, "it never said that it stops");
    assert!(TcpStream::connect(health).await.is_err(), "the port is closed with the node");
}

/// Its directory goes: it cannot make the next file of its log.
#[tokio::test]
async fn a_node_whose_disk_fails_says_so_and_not_that_it_was_told_to_stop() {
    let directory = TempDir::new().unwrap();
    let mut node = start_alone(directory.path()).await;
    eventually("the node to be ready", async || is_ready(&node).await).await;
    let admin = node.admin_address;
    let stream = format!("GET /api/stream HTTP/1.0\r\nhost: {admin}\r\n\r\n");
    let page = tokio::spawn(async move { talk(admin, &stream).await });
    std::fs::rename(directory.path().join("a"), directory.path().join("gone")).unwrap();
    let mut phase = node.phase();
    let write = async || while execute(&node, vec![enqueue("q", &"x".repeat(500_000))]).await.is_ok() {};
    tokio::time::timeout(PATIENCE, write()).await.expect("the log needs another file");
    phase.wait_for(|phase| *phase == Phase::Stopped).await.unwrap();
    let why = "cannot go on: storage: cannot ";
    let told = async || get(node.health_address, "/readyz").await.contains(why).then_some(());
    eventually("it to say why it ends", told).await;
    let ended = tokio::time::timeout(PATIENCE, node.wait()).await.unwrap();
    assert!(matches!(ended, Err(Error::Storage(_))), "{ended:?}");
    let shown = page.await.unwrap();
    assert!(shown.contains("is not ready any more: it cannot go on: storage: cannot "), "{shown}");
    assert!(shown.contains("cannot go on, and ends: storage: cannot "), "{shown}");
    assert!(!shown.contains("told to stop"), "{shown}");
}

#[tokio::test]
async fn a_health_port_in_use_is_named_and_nothing_is_formatted() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    let mut second = config("b", directory.path(), &[]);
    second.health.listen = Some(node.health_address.to_string().parse().unwrap());
    let told = start(second, Telemetry::default()).await.unwrap_err().to_string();
    assert!(told.contains(&node.health_address.to_string()) && told.contains("health.listen"), "{told}");
    assert!(!directory.path().join("b").exists(), "nothing was changed");
    node.stop().await.unwrap();
}

/// Connections that say nothing, half a request, or a request again and again: each is closed in time.
#[tokio::test]
async fn silent_and_slow_clients_are_closed() {
    let limits = Limits { connections_max: 3, preface_deadline: Duration::from_millis(300), ..Limits::for_health() };
    let listener = Listener::bind("127.0.0.1:0", limits).await.unwrap();
    let address = listener.local_address().unwrap();
    let _health = crate::health::Health::start(listener);
    let mut slow = Vec::new();
    for said in ["", "GET /livez HTTP/1.1\r\nhost: a-name-that-is-long\r\n", "GET /livez HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(said.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let mut answer = [0; 12];
    slow[2].read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    for stream in &mut slow {
        // The library would close it too, after 30 s without a whole request.
        let closed = tokio::time::timeout(PATIENCE / 2, stream.read_to_end(&mut Vec::new())).await;
        let _ = closed.expect("a connection that stays open is closed");
    }
}

/// All places are taken, again and again, by connections that stay: of those who say nothing, ask half a question, have begun
/// HTTP/2 and ask nothing, or watch.
#[tokio::test]
async fn whoever_asks_is_answered_while_others_hold_all_places() {
    let limits = Limits { connections_max: 3, preface_deadline: Duration::from_secs(600), ..Limits::for_health() };
    let listener = Listener::bind("127.0.0.1:0", limits).await.unwrap();
    let address = listener.local_address().unwrap();
    let _health = crate::health::Health::start(listener);
    let mut held = Vec::new();
    for said in ["", "GET /livez HTTP/1.1\r\nhost: a", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
        for _ in 0..2 * limits.connections_max {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
            held.push(stream);
        }
        let live = get(address, "/livez").await;
        assert!(live.starts_with("HTTP/1.0 200"), "among those who say {said:?}: {live:?}");
    }
    let mut watching = Vec::new();
    for _ in 0..2 * limits.connections_max {
        let mut client = grpc_client(address).await;
        let mut watched = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
        watched.message().await.unwrap().expect("how it is");
        watching.push((client, watched));
    }
    let live = get(address, "/livez").await;
    assert!(live.starts_with("HTTP/1.0 200"), "among those who watch: {live:?}");
    assert_eq!(grpc(address, "live").await, Ok(ServingStatus::Serving));
}
