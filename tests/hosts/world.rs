//! A place for one scenario, of which nothing is left: mount, network and process namespaces that end with the process in them.
//!
//! ```text
//!   the test     starts itself once more, under `unshare`, with only this test, and waits for it, but not for ever
//!   the second   is the first process of the new namespaces; when it ends, the kernel kills all nodes and removes all hosts
//! ```
//!
//! So a run that is killed leaves nothing behind either, and runs beside each other do not meet.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::dns::Dns;
use crate::network::{Network, run};

/// No scenario takes longer. Waiting within one ends much earlier, and says for what.
const SCENARIO_MAX: Duration = Duration::from_secs(240);

/// Set for the process within the namespaces: the directory for its files.
const WITHIN: &str = "QUORATE_HOSTS_WITHIN";

/// Where logs are to be kept.
const LOGS: &str = "QUORATE_HOSTS_LOGS";

/// How much of each log is shown when a scenario fails.
const LINES_SHOWN: usize = 80;

/// What a scenario plays in.
pub struct World {
    pub network: Network,
    pub dns: Dns,
    /// For the files of the nodes.
    pub directory: PathBuf,
}

/// Runs a scenario in a world of its own. It must be a closure that is written in the test that runs it.
pub fn in_a_world<S: FnOnce(World)>(scenario: S) {
    match std::env::var_os(WITHIN) {
        Some(directory) => scenario(World::enter(directory.into())),
        None => run_within(test_of::<S>()),
    }
}

impl World {
    fn enter(directory: PathBuf) -> Self {
        File::create(entered(&directory)).unwrap();
        // The names of network namespaces are files, which would outlive them.
        fs::create_dir_all("/run/netns").unwrap();
        run("mount -t tmpfs none /run/netns");
        let network = Network::new();
        let dns = Dns::start(network.gateway());
        // As in a pod, but that a lost datagram costs a second instead of five.
        let search = "search default.svc.cluster.local svc.cluster.local cluster.local";
        let resolver = directory.join("resolv.conf");
        let text = format!("nameserver {}\n{search}\noptions ndots:5 timeout:1\n", network.gateway());
        fs::write(&resolver, text).unwrap();
        run(&format!("mount --bind {} /etc/resolv.conf", resolver.display()));
        Self { network, dns, directory }
    }
}

/// The name of the test in which a closure is written, as the test harness knows it.
fn test_of<S>() -> &'static str {
    let path = std::any::type_name::<S>().trim_end_matches("::{{closure}}");
    path.split_once("::").expect("the name of this crate comes first").1
}

/// That the test was found by its name, so that one that did not run is not one that has passed.
fn entered(directory: &Path) -> PathBuf {
    directory.join("entered")
}

fn run_within(test: &str) {
    assert!(rustix::process::geteuid().is_root(), "hosts can only be made by root");
    let directory = TempDir::new().unwrap();
    let output = directory.path().join("test.log");
    let mut child = spawn(test, directory.path(), &output);
    let succeeded = wait(&mut child);
    assert!(entered(directory.path()).exists(), "there is no test {test}: {}", read(&output));
    keep_logs(directory.path(), test);
    if succeeded != Some(true) {
        show_logs(directory.path());
        let end = if succeeded.is_none() { "took too long" } else { "failed" };
        panic!("{test} {end}:\n{}", read(&output));
    }
}

fn spawn(test: &str, directory: &Path, output: &Path) -> Child {
    let file = File::create(output).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]);
    command.arg("--mount-proc").arg(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads", "1"]);
    command.env(WITHIN, directory).stdin(Stdio::null());
    command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap()
}

/// Whether the scenario succeeded; none: it had no end.
fn wait(child: &mut Child) -> Option<bool> {
    let start = Instant::now();
    while start.elapsed() < SCENARIO_MAX {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status.success());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

fn logs(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect();
    logs.sort();
    logs
}

fn show_logs(directory: &Path) {
    for log in logs(directory).iter().filter(|log| !log.ends_with("test.log")) {
        let text = read(log);
        let lines: Vec<_> = text.lines().collect();
        let end = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
        println!("---- the end of {} ----\n{}", log.file_name().unwrap().display(), end.join("\n"));
    }
}

fn keep_logs(directory: &Path, test: &str) {
    let Some(kept) = std::env::var_os(LOGS) else { return };
    let kept = PathBuf::from(kept).join(test.replace("::", "."));
    fs::create_dir_all(&kept).unwrap();
    for log in logs(directory) {
        fs::copy(&log, kept.join(log.file_name().unwrap())).unwrap();
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// A scenario that was renamed or is not written in its test is not found: then it must not pass.
#[test]
fn a_scenario_is_known_by_the_test_it_is_written_in() {
    fn name<S: FnOnce()>(_: S) -> &'static str {
        test_of::<S>()
    }
    assert_eq!(name(|| ()), "world::a_scenario_is_known_by_the_test_it_is_written_in");
}
