//! `quorate demo`, the acceptance demonstration.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::cluster::{free_ports, quorate, write};

/// A directory without a cluster, and ports chosen by the system for the six nodes that are to be there.
fn place() -> TempDir {
    let directory = TempDir::new().unwrap();
    let ports: Vec<_> = ["a", "b", "c", "d", "e", "f"].map(|name| format!("{name}: {}", free_ports().port())).into();
    write(&directory.path().join("dev.yaml"), &format!("ports: {{{}}}", ports.join(", ")));
    directory
}

/// Every step is played, every check passes, and what the nodes told stays where it was asked to be.
#[test]
fn the_demonstration_shows_what_it_promises() {
    let directory = place();
    let output = quorate().args(["demo", "--data"]).arg(directory.path()).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}");
    for step in 1..=7 {
        assert!(told.contains(&format!("\n== {step} of 7  ")), "step {step} is not in:\n{told}");
    }
    for shown in
        ["BEAT", "answers NOT_LEADER", "redirected to", "asks for votes", "has the vote of", "becomes leader of"]
    {
        assert!(told.contains(shown), "{shown:?} is not in:\n{told}");
    }
    assert!(told.contains("ok: what is left in the queue: 3 s s t e r U W U\n"), "{told}");
    assert_eq!(told.matches("ok: the log of ").count(), 6, "{told}");
    assert!(told.contains("\nAll 25 checks have passed, in "), "{told}");
    assert!(directory.path().join("f.log").exists());
}

/// A node that somebody else kills between two steps: the demonstration fails, says which, and shows what it told last.
#[test]
fn the_demonstration_fails_when_a_node_is_lost() {
    let directory = place();
    let mut command = quorate();
    command.args(["demo", "--step", "--data"]).arg(directory.path());
    let mut demo = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = demo.stdin.take().unwrap();
    let mut told = Vec::new();
    for line in BufReader::new(demo.stdout.take().unwrap()).lines().map_while(Result::ok) {
        if line.trim() == "(Enter)" {
            if told.iter().any(|line: &String| line.starts_with("== 2 of 7")) {
                kill(&directory.path().join("c"));
            }
            stdin.write_all(b"\n").unwrap();
        }
        told.push(line);
    }
    let told = told.join("\n");
    assert_eq!(demo.wait().unwrap().code(), Some(1), "{told}");
    assert!(told.contains("error: node c has ended by itself: it was killed by signal 9\n"), "{told}");
    assert!(told.contains("The last that c told:\n    c | "), "{told}");
    assert!(told.contains("\nNOT SHOWN: it ended in step 2 of 7, "), "{told}");
}

/// Kills the node with this data directory.
fn kill(data: &Path) {
    let is_it = |process: &Path| {
        let words = fs::read(process.join("cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).any(|word| word == data.as_os_str().as_encoded_bytes())
    };
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let process = processes.into_iter().find(|process| is_it(process)).expect("the node runs");
    let killed = Command::new("kill").arg("-9").arg(process.file_name().unwrap()).status();
    assert!(killed.unwrap().success());
}
