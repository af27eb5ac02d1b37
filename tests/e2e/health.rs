//! The health port of a node as a process, and `quorate health`.

use std::net::TcpListener;
use std::process::Output;

use crate::cluster::{Cluster, Node, quorate};

fn ask(node: &Node, question: &[&str]) -> Output {
    let address = format!("{}:{}", node.address.ip(), node.address.port() + 3);
    quorate().arg("health").args(question).args(["--address", &address]).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The exit codes are those that the help text names, and readiness comes and goes with a line.
#[test]
fn the_command_tells_what_the_port_does() {
    let mut cluster = Cluster::start(2);
    cluster.nodes.iter().for_each(Node::eventually_is_ready);
    let node = &cluster.nodes[1];
    for (question, verdict) in [(&[][..], "ready\n"), (&["ready"], "ready\n"), (&["live"], "live\n")] {
        let asked = ask(node, question);
        assert_eq!(asked.status.code(), Some(0), "{question:?}: {asked:?}");
        assert!(text(&asked.stdout).starts_with(verdict) && asked.stderr.is_empty(), "{question:?}: {asked:?}");
    }
    node.eventually_tells("is ready: has recovered its log, is a member of a cluster, votes, has caught up");

    cluster.ok(&["member", "remove", "b"]);
    node.eventually_tells("is not ready any more: [ ] is a member of a cluster: was removed from it");
    let asked = ask(node, &[]);
    assert_eq!(asked.status.code(), Some(1), "{asked:?}");
    assert!(text(&asked.stdout).starts_with("not ready\n[x] has recovered its log\n"), "{asked:?}");
    assert_eq!(ask(node, &["live"]).status.code(), Some(0), "it lives all the same");

    cluster.nodes[1].terminate();
    let asked = ask(&cluster.nodes[1], &[]);
    assert_eq!((asked.status.code(), asked.stdout.len()), (Some(1), 0), "{asked:?}");
    assert!(text(&asked.stderr).starts_with("error: no health port answers on 127.0.0.1:"), "{asked:?}");
    assert_eq!(ask(&cluster.nodes[1], &["well"]).status.code(), Some(2));
}

#[test]
fn a_health_port_in_use_is_one_clear_line() {
    let directory = tempfile::TempDir::new().unwrap();
    let mut node = Node::new(directory.path(), "a");
    let taken = TcpListener::bind((node.address.ip(), node.address.port() + 3)).unwrap();
    node.start(&[]);
    assert_eq!(node.wait().code(), Some(1));
    let told = node.log();
    let expected =
        format!("error: no port for those who ask how it is: cannot listen on {}", taken.local_addr().unwrap());
    assert!(told.contains(&expected) && told.contains("health.listen"), "{told}");
    assert!(!node.data.exists(), "nothing was made");
}
