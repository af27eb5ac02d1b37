//! The page of a node while other nodes die: what it shows is what browsers would get.

use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::{Cluster, Node, eventually};

fn connect(node: &Node, path: &str) -> TcpStream {
    let address = SocketAddr::new(node.address.ip(), node.address.port() + 2);
    let mut stream = TcpStream::connect(address).expect("the admin port is open");
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n").unwrap();
    stream
}

fn cluster_of(node: &Node) -> Value {
    let answer = std::io::read_to_string(connect(node, "/api/cluster")).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// The next `cluster` message of an open stream.
fn next(stream: &mut impl std::io::BufRead) -> Value {
    let mut is_cluster = false;
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).expect("it goes on") > 0, "the stream has ended");
        match line.trim_end().split_once(": ") {
            Some(("event", event)) => is_cluster = event == "cluster",
            Some(("data", data)) if is_cluster => return serde_json::from_str(data).unwrap(),
            _ => {}
        }
    }
}

fn shown<'a>(cluster: &'a Value, name: &str) -> &'a Value {
    let nodes = cluster["nodes"].as_array().expect("a list");
    nodes.iter().find(|node| node["name"] == name).unwrap_or_else(|| panic!("no {name} in {cluster}"))
}

fn leader_of(cluster: &Value) -> Option<String> {
    let nodes = cluster["nodes"].as_array()?;
    let leader = nodes.iter().find(|node| cluster["leader"].is_string() && node["id"] == cluster["leader"])?;
    leader["name"].as_str().map(str::to_owned)
}

/// The leader is killed, and then another node: whoever has a page open sees the next leader, each dead node with the age of what
/// it said last, and the page of the one that is left goes on without a quorum.
#[test]
fn a_page_shows_who_leads_and_who_is_dead() {
    let mut cluster = Cluster::start(3);
    let first = eventually("the page to show a leader and all three", || {
        let told = cluster_of(&cluster.nodes[0]);
        leader_of(&told).filter(|_| told["voters_up"] == 3)
    });
    let survivor = cluster.nodes.iter().position(|node| node.name != first).unwrap();
    let mut page = BufReader::new(connect(&cluster.nodes[survivor], "/api/stream"));
    while next(&mut page)["tolerates"] != 1 {}

    cluster.nodes.iter_mut().find(|node| node.name == first).unwrap().kill();
    let killed = Instant::now();
    let told = loop {
        let told = next(&mut page);
        let led = leader_of(&told).is_some_and(|leader| leader != first);
        if led && shown(&told, &first)["reachable"] == false {
            break told;
        }
    };
    assert!(killed.elapsed() < Duration::from_secs(5), "it took {:?}", killed.elapsed());
    let dead = shown(&told, &first);
    assert!(dead["seen_at"].as_u64() <= told["now"].as_u64() && dead["seen_at"].is_u64(), "{dead}");
    assert!(dead["last"].as_u64().is_some_and(|last| last > 0), "what it said last is kept: {dead}");
    assert_eq!((&told["voters_up"], &told["tolerates"]), (&Value::from(2), &Value::from(0)));

    let name = cluster.nodes[survivor].name.clone();
    let second = cluster.nodes.iter().position(|node| node.name != name && node.name != first).unwrap();
    cluster.nodes[second].kill();
    let alarmed = |told: &Value, code: &str| {
        told["alarms"].as_array().is_some_and(|alarms| alarms.iter().any(|alarm| alarm["code"] == code))
    };
    loop {
        let told = next(&mut page);
        if alarmed(&told, "quorum_lost") && alarmed(&told, "no_leader") {
            assert_eq!((&told["tolerates"], &told["leader"]), (&Value::from(-1), &Value::Null));
            break;
        }
    }
    assert_eq!(cluster_of(&cluster.nodes[survivor])["voters_up"], 1, "the page works without a quorum");
}
