//! `quorate dev`, the first command of the README.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use crate::cluster::{PATIENCE, quorate, run_at};

/// Starts a cluster, uses it with the endpoints that `dev` prints, and stops it with Ctrl-C; twice on the same directory.
#[test]
fn dev_starts_a_cluster_and_resumes_it() {
    let directory = tempfile::TempDir::new().unwrap();
    for expected in [None, Some("kept\n")] {
        let mut command = quorate();
        command.args(["dev", "--nodes", "3", "--data"]).arg(directory.path());
        let mut dev = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(dev.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut told = Vec::new();
        let endpoints = loop {
            let line = lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no endpoints in:\n{}", told.join("\n")));
            told.push(line.clone());
            if let Some((_, rest)) = line.split_once("--endpoints ") {
                break rest.split_whitespace().next().unwrap().to_owned();
            }
        };
        match expected {
            None => assert!(run_at(&endpoints, &["enqueue", "orders", "kept"]).status.success()),
            Some(text) => {
                assert_eq!(String::from_utf8_lossy(&run_at(&endpoints, &["dequeue", "orders"]).stdout), text);
            }
        }
        assert!(Command::new("kill").args(["-s", "INT", &dev.id().to_string()]).status().unwrap().success());
        assert_eq!(dev.wait().unwrap().code(), Some(0), "a clean stop");
    }
}
