//! What goes wrong says so in one line that names the thing, with a stable exit status, and changes nothing.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::process::Output;

use crate::cluster::{Cluster, Node, quorate, write};

fn line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn requests_that_cannot_be_are_refused() {
    let cluster = Cluster::start(1);
    let long_name = "q".repeat(256);
    let long_text = "x".repeat(100 * 1024);
    let many = vec![long_text.as_str(); 12];
    let cases: [(Vec<&str>, &str); 4] = [
        (vec!["enqueue", "", "x"], "queue"),
        (vec!["enqueue", &long_name, "x"], "queue"),
        (vec!["enqueue", "no spaces", "x"], "queue"),
        (vec!["dequeue", "orders", "--wait", "soon"], "soon"),
    ];
    for (arguments, names) in cases {
        let output = cluster.run(&arguments);
        assert!(matches!(output.status.code(), Some(2 | 5)), "{arguments:?}: {output:?}");
        assert!(line(&output).contains(names), "{arguments:?}: {}", line(&output));
    }
    let queues = cluster.json(&["queues"]).unwrap();
    assert_eq!(queues["queues"].as_array().map(Vec::len), Some(0), "nothing was changed: {queues}");
    cluster.ok(&[&["enqueue", "orders"][..], &many].concat());
}

#[test]
fn a_port_in_use_is_named() {
    let cluster = Cluster::start(1);
    let mut second = Node::new(cluster.directory.path(), "b");
    second.address = cluster.nodes[0].address;
    let output = second.command(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = line(&output) + &String::from_utf8_lossy(&output.stdout);
    assert!(told.contains(&second.address.to_string()) && told.contains("in use"), "{told}");
}

#[test]
fn a_directory_in_use_is_named() {
    let cluster = Cluster::start(1);
    let mut second = Node::new(cluster.directory.path(), "b");
    second.data = cluster.nodes[0].data.clone();
    let output = second.command(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = line(&output) + &String::from_utf8_lossy(&output.stdout);
    assert!(told.contains(&*second.data.to_string_lossy()), "{told}");
}

#[test]
fn unknown_settings_are_named_with_the_nearest_known_one() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = directory.path().join("node.yaml");
    write(
        &file,
        "apiVersion: quorate.dev/v1\nkind: NodeConfig\nraft:\n  heartbeat_intervall: 50ms\n  append_bytes_max: lots\n",
    );
    let mut command = quorate();
    command.args(["config", "check", "--config"]).arg(&file).env("QUORATE__NODE__NAEM", "x");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = line(&output);
    for words in ["heartbeat_intervall", "heartbeat_interval", "append_bytes_max", "QUORATE__NODE__NAEM", "node.yaml"] {
        assert!(told.contains(words), "{words} is missing in: {told}");
    }
}

/// Random bytes on any port never end a node.
#[test]
fn garbage_on_every_port_is_survived() {
    let mut cluster = Cluster::start(1);
    let client = cluster.nodes[0].address;
    let [peer, health] = [1, 3].map(|later| SocketAddr::new(client.ip(), client.port() + later));
    let mut garbage: Vec<u8> = (0..4096u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for round in 0..20 {
        garbage.rotate_left(round * 7 + 1);
        for address in [client, peer, health] {
            let mut stream = TcpStream::connect(address).unwrap();
            if round % 2 == 0 {
                let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            }
            // The node may close the connection before it has read everything.
            let _ = stream.write_all(&garbage);
        }
    }
    assert!(cluster.nodes[0].is_running());
    cluster.nodes[0].eventually_is_ready();
    cluster.ok(&["enqueue", "orders", "still here"]);
    assert_eq!(cluster.ok(&["dequeue", "orders"]), "still here\n");
}

/// A node of another cluster gets nowhere, whichever of the two it is that asks.
#[test]
fn a_node_keeps_to_its_cluster() {
    let one = Cluster::start(1);
    let mut other = Cluster::start(1);
    other.nodes[0].terminate();
    other.nodes[0].start(&[one.nodes[0].address]);
    other.eventually_has_voters(1);
    one.eventually_has_voters(1);
    other.nodes[0].eventually_tells("cluster");
}
