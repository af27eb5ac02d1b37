//! What stands around the commands: what goes on until it is interrupted, lines of standard input, the REPL in a pipe, scripts
//! for shells, and output that nobody reads.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::cluster::{Cluster, eventually, quorate};

/// A command that goes on until it is interrupted, and the JSON documents that it has printed.
struct Endless {
    process: Child,
    documents: Arc<Mutex<Vec<Value>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Endless {
    fn start(cluster: &Cluster, arguments: &[&str]) -> Self {
        let mut command = quorate();
        command.args(arguments).args(["--output", "json", "--endpoints", &cluster.addresses().join(",")]);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let documents = Arc::new(Mutex::new(Vec::new()));
        let sink = documents.clone();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn(move || {
            for line in lines {
                sink.lock().unwrap().push(serde_json::from_str(&line.unwrap()).expect("a document in each line"));
            }
        });
        Self { process, documents, reader: Some(reader) }
    }

    fn eventually_prints(&self, what: &str, wanted: impl Fn(&Value) -> bool) {
        eventually(what, || self.documents.lock().unwrap().iter().any(&wanted).then_some(()));
    }

    /// Interrupts it, which is no failure. Returns all that it printed.
    fn interrupt(mut self) -> Vec<Value> {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
        assert_eq!(self.process.wait().unwrap().code(), Some(0));
        self.reader.take().expect("it is interrupted once").join().unwrap();
        std::mem::take(&mut *self.documents.lock().unwrap())
    }
}

impl Drop for Endless {
    /// A test that fails leaves nothing behind.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a client command with this standard input.
fn run_with_input(cluster: &Cluster, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = quorate();
    command.args(arguments).args(["--endpoints", &cluster.addresses().join(",")]).stdin(Stdio::piped());
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that ends before it has read everything says so itself.
    let _ = process.stdin.take().unwrap().write_all(input);
    process.wait_with_output().unwrap()
}

/// Whoever follows the log gets every entry once, in order, committed, and as it is in every log; and whoever watches the status
/// sees who is gone.
#[test]
fn followers_and_watchers_outlive_the_leader() {
    let mut cluster = Cluster::start(3);
    let log = Endless::start(&cluster, &["log", "--follow"]);
    let enqueues = Endless::start(&cluster, &["log", "--follow", "--last", "1", "--verb", "enqueue"]);
    let status = Endless::start(&cluster, &["status", "--watch", "100ms"]);
    status.eventually_prints("a first sample", |_| true);
    for round in ["before", "after"] {
        cluster.ok(&["enqueue", "orders", round, "2"]);
        let has_text = |entry: &Value| entry["operations"][0]["text"] == round;
        log.eventually_prints("what was enqueued", has_text);
        enqueues.eventually_prints("what was enqueued", has_text);
        if round == "before" {
            let leader = cluster.leader();
            cluster.nodes[leader].kill();
            let name = cluster.nodes[leader].name.clone();
            status.eventually_prints("the dead node", |sample| {
                let nodes = sample["nodes"].as_array().unwrap();
                nodes.iter().any(|node| node["member"]["name"] == name.as_str() && node["reachable"] == false)
            });
        }
    }
    let followed = log.interrupt();
    let whole = cluster.ok(&["log", "--output", "json"]);
    let whole: Vec<Value> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(followed.len() > 5 && followed[..] == whole[..followed.len()], "{followed:#?}\n{whole:#?}");
    assert_eq!(enqueues.interrupt().len(), 2);
    let samples = status.interrupt();
    assert!(samples[0]["nodes"][0]["commit_per_second"].is_null() && samples[1]["time"].is_string());
    let last: Vec<u64> = whole[whole.len() - 3..].iter().map(|entry| entry["index"].as_u64().unwrap()).collect();
    let shown = cluster.ok(&["log", "--last", "3", "--output", "json"]);
    let shown: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(shown.iter().map(|entry| entry["index"].as_u64().unwrap()).collect::<Vec<_>>(), last);
}

#[test]
fn lines_are_enqueued_in_order_and_exactly_once() {
    let cluster = Cluster::start(1);
    let lines: Vec<String> = (0..2500).map(|number| format!("line {number}")).collect();
    let output = run_with_input(&cluster, &["enqueue", "orders", "-"], lines.join("\n").as_bytes());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stdout.is_empty(), "ids are for those who ask");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "enqueued 2500 messages\n");
    let dequeued = cluster.ok(&["dequeue", "orders", "--count", "3000"]);
    assert_eq!(dequeued.lines().collect::<Vec<_>>(), lines);

    // The line that cannot be a message is named, and those before it are in.
    let long = [&b"one\ntwo\n"[..], &vec![b'x'; 1024 * 1024 + 1], b"\nfour\n"].concat();
    let output = run_with_input(&cluster, &["enqueue", "orders", "-", "--ids"], &long);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 2);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("line 3: ") && told.contains("enqueued before: 2"), "{told}");
    assert_eq!(cluster.ok(&["dequeue", "orders", "--count", "9"]), "one\ntwo\n");
}

/// An interactive producer: each line is enqueued while the input is still open.
#[test]
fn a_line_does_not_wait_for_others() {
    let cluster = Cluster::start(1);
    let mut command = quorate();
    command.args(["enqueue", "orders", "-", "--endpoints", &cluster.addresses()[0]]);
    let mut producer = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut input = producer.stdin.take().unwrap();
    for line in ["one\n", "two\n"] {
        input.write_all(line.as_bytes()).unwrap();
        assert_eq!(cluster.ok(&["dequeue", "orders", "--wait", "30s"]), line);
    }
    drop(input);
    assert_eq!(producer.wait().unwrap().code(), Some(0));
}

/// Lines are carried out one after the other in one session; one that fails does not end it, and gives the exit code.
#[test]
fn the_repl_carries_out_a_script() {
    let cluster = Cluster::start(1);
    let script = "enqueue orders 'one pizza' two\n\n# nothing\nquorate dequeue orders\ndequeue nowhere\nbogus\n\
                  peek 'orders\nenqueue orders -\ndequeue orders --output json\nqueues --output json\nexit\nenqueue orders late\n";
    let output = run_with_input(&cluster, &["repl"], script.as_bytes());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "the last line that failed is wrong usage: {told}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 5, "{printed}");
    assert_eq!(lines[2], "one pizza");
    assert_eq!(serde_json::from_str::<Value>(lines[3]).unwrap()["text"], "two");
    assert_eq!(serde_json::from_str::<Value>(lines[4]).unwrap()["queues"][0]["ready"], 0);
    for words in ["empty", "'bogus'", "a quote is not closed", "standard input is read by the REPL"] {
        assert!(told.contains(words), "{words} is missing in: {told}");
    }
    let sessions = cluster.ok(&["log", "--verb", "open_session", "--output", "json"]);
    assert_eq!(sessions.lines().count(), 1, "{sessions}");

    let output = run_with_input(&cluster, &["repl"], b"queues\n");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn shells_get_their_scripts() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = quorate().args(["completions", shell]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("enqueue") && script.contains("endpoints"), "{shell}: {script}");
    }
}

/// `quorate ... | head -1`: whoever has closed the other end has all that he wants. A full disk is another matter.
#[test]
fn output_that_nobody_reads_is_no_failure() {
    let commands = [
        &["config", "show"][..],
        &["config", "schema"],
        &["config", "check"],
        &["completions", "bash"],
        &["help"],
        &["dequeue", "--help"],
    ];
    for arguments in commands {
        // The end that is read is closed before the process begins.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = quorate()
            .args(arguments)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{arguments:?}: {output:?}");
    }
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = quorate()
        .args(["config", "schema"])
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard output"), "{output:?}");
}
