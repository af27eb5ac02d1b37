//! Members come and go through the page of a node: what is planned before, what is refused, and what becomes of it.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Cluster, Node, eventually, free_ports, run_at};

/// Longer than a node lets a page wait for a change.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks as the node's own page does. The status, and what came with it.
fn post(node: &Node, path: &str, body: &Value) -> (u16, Value) {
    let address = SocketAddr::new(node.address.ip(), node.address.port() + 2);
    let mut stream = TcpStream::connect(address).expect("the admin port is open");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (body, host) = (body.to_string(), address);
    let head = format!(
        "POST {path} HTTP/1.0\r\nhost: {host}\r\norigin: http://{host}\r\ncontent-type: application/json\r\n\
         x-quorate-request: 1\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let answer = std::io::read_to_string(stream).expect("it is answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")))
}

fn plan(node: &Node, change: &Value) -> Value {
    let (status, plan) = post(node, "/api/members/plan", change);
    assert_eq!(status, 200, "{change}: {plan}");
    plan
}

/// Waits until a change is allowed, asks for it, and returns what was planned.
fn change(node: &Node, change: &Value) -> Value {
    let planned = eventually(&format!("{change} to be allowed"), || {
        let planned = plan(node, change);
        (planned["allowed"] == true).then_some(planned)
    });
    let (status, done) = post(node, "/api/members/change", change);
    assert_eq!((status, &done["done"]), (200, &json!(true)), "{change}: {done}");
    planned
}

/// Refused by the plan, as soon as the node knows what it needs for that, and in the same words when it is asked for all the same.
fn check_refused(node: &Node, change: &Value, status: u16, reason: &str, why: &str) {
    let planned = eventually(&format!("{change} to be refused because: {why}"), || {
        let planned = plan(node, change);
        (planned["allowed"] == false && planned["why"].as_str()?.contains(why)).then_some(planned)
    });
    assert_eq!(planned["before"], planned["after"], "{change}");
    let (told, refused) = post(node, "/api/members/change", change);
    assert_eq!((told, refused["error"]["reason"].as_str()), (status, Some(reason)), "{change}: {refused}");
    assert!(refused["error"]["message"].as_str().is_some_and(|words| words.contains(why)), "{change}: {refused}");
}

fn shape(voters: &Value) -> (&Value, &Value, u64, i64) {
    let number = |key: &str| voters[key].as_i64().unwrap_or_else(|| panic!("no {key} in {voters}"));
    (&voters["voters"], &voters["learners"], number("needed").unsigned_abs(), number("tolerates"))
}

/// The id of a node that belongs to no cluster yet.
fn id_of(node: &Node) -> String {
    eventually("the node to say who it is", || {
        let output = run_at(&node.address.to_string(), &["status", "--output", "json"]);
        let status: Value = serde_json::from_slice(&output.stdout).ok()?;
        status["nodes"][0]["member"]["node_id"].as_str().map(str::to_owned)
    })
}

#[test]
fn members_come_and_go_through_the_page_of_any_node() {
    let mut cluster = Cluster::start(3);
    let (leader, followers) = (cluster.leader(), cluster.followers());
    let name = |at: usize| ["a", "b", "c"][at];
    let (asked, next) = (followers[0], followers[1]);

    // Asked of a node that neither leads nor is going to.
    let transfer = json!({"action": "transfer", "member": name(next)});
    let planned = change(&cluster.nodes[asked], &transfer);
    assert_eq!(planned["leader_after"], name(next), "{planned}");
    assert_eq!(cluster.leader(), next);
    check_refused(&cluster.nodes[asked], &transfer, 409, "ALREADY_LEADS", "leads already");

    // It asks where nobody is: so it is there and has an id, and does not come in by itself.
    let mut d = Node::new(cluster.directory.path(), "d");
    d.start(&[free_ports()]);
    let (client, peer) = (d.address, SocketAddr::new(d.address.ip(), d.address.port() + 1));
    let add = json!({
        "action": "add", "id": id_of(&d), "name": "d", "client_address": client.to_string(), "peer_address": peer.to_string(),
        "stay_learner": true
    });
    let planned = change(&cluster.nodes[asked], &add);
    let (three, one) = (json!(["a", "b", "c"]), json!(["d"]));
    assert_eq!(shape(&planned["after"]), (&three, &one, 2, 1), "{planned}");
    check_refused(&cluster.nodes[asked], &add, 409, "INVALID_REQUEST", "d is a member already");
    let promote = json!({"action": "promote", "member": "d"});
    let to_d = json!({"action": "transfer", "member": "d"});
    check_refused(&cluster.nodes[asked], &to_d, 409, "TRANSFER_FAILED", "node d is not a voter");

    d.kill();
    d.start(&[cluster.nodes[asked].address]);
    let planned = change(&cluster.nodes[asked], &promote);
    let four = json!(["a", "b", "c", "d"]);
    assert_eq!(shape(&planned["after"]), (&four, &json!([]), 3, 1), "{planned}");
    cluster.eventually_has_voters(4);

    // The leader goes: it hands over first.
    let planned = change(&cluster.nodes[asked], &json!({"action": "remove", "member": name(next)}));
    assert_ne!(planned["leader_after"], name(next), "{planned}");
    assert_eq!(planned["after"]["voters"].as_array().map(Vec::len), Some(3), "{planned}");
    cluster.nodes[next].eventually_tells("removed");
    cluster.nodes[next].kill();
    cluster.nodes[next] = d;
    cluster.eventually_has_voters(3);

    // One of three is dead: it can go, and no other one can.
    cluster.nodes[leader].kill();
    let remove_living = json!({"action": "remove", "member": "d"});
    check_refused(&cluster.nodes[asked], &remove_living, 409, "WOULD_LOSE_QUORUM", "1 of 2 voters are reachable");
    let planned = change(&cluster.nodes[asked], &json!({"action": "remove", "member": name(leader)}));
    assert_eq!((shape(&planned["before"]).3, shape(&planned["after"]).3), (0, 0), "{planned}");
    cluster.nodes.remove(leader);
    cluster.eventually_has_voters(2);

    for wrong in [json!({"action": "explode", "member": "d"}), json!({"action": "remove"}), json!([])] {
        let (status, refused) = post(&cluster.nodes[0], "/api/members/change", &wrong);
        assert_eq!((status, refused["error"]["reason"].as_str()), (400, Some("INVALID_REQUEST")), "{wrong}: {refused}");
    }
    let (status, refused) = post(&cluster.nodes[0], "/api/members/change", &json!({"action": "remove", "member": "x"}));
    assert_eq!((status, refused["error"]["reason"].as_str()), (404, Some("MEMBER_NOT_FOUND")), "{refused}");

    // One of two is dead: there is no leader, and the page says so.
    let d = cluster.nodes.iter().position(|node| node.name == "d").expect("it is one of the two");
    cluster.nodes[d].kill();
    let survivor = cluster.nodes.iter().find(|node| node.name != "d").expect("it is one of the two");
    check_refused(survivor, &remove_living, 503, "NO_LEADER", "no leader is known");
    let planned = plan(survivor, &remove_living);
    assert_eq!((shape(&planned["before"]).3, &planned["leader_after"]), (-1, &Value::Null), "{planned}");
}

/// A leader that hangs keeps its connections, so that each look for the next one waits for its answer in vain.
#[test]
fn a_change_waits_while_another_leader_than_one_that_hangs_is_elected() {
    let settings = [
        ("QUORATE__RAFT__HEARTBEAT_INTERVAL", "50ms".to_owned()),
        ("QUORATE__RAFT__ELECTION_TIMEOUT_MIN", "300ms".to_owned()),
        ("QUORATE__RAFT__ELECTION_TIMEOUT_MAX", "450ms".to_owned()),
    ];
    let mut cluster = Cluster::start_with(3, &settings);
    let (leader, asked) = (cluster.leader(), cluster.followers()[0]);
    cluster.nodes[leader].signal("STOP");
    let name = &cluster.nodes[leader].name;
    let planned = plan(&cluster.nodes[asked], &json!({"action": "remove", "member": name}));
    assert_eq!((&planned["allowed"], &planned["why"]), (&json!(true), &json!("")), "{planned}");
    assert_ne!(planned["leader_after"], json!(name), "{planned}");
}
