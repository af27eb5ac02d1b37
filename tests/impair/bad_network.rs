//! The command, and sockets in its namespace.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What runs there while nothing else is wanted.
const SLEEP: [&str; 2] = ["sleep", "1000"];

/// The command, which has made its network.
pub struct BadNetwork {
    process: Child,
    stderr: Option<BufReader<ChildStderr>>,
    /// As `/proc` names the namespace.
    pub namespace: String,
}

impl BadNetwork {
    /// The relay, with a fixed seed.
    pub fn new(spec: &str) -> Self {
        Self::with(spec, &SLEEP)
    }

    /// The same, with another command in it.
    pub fn with(spec: &str, command: &[&str]) -> Self {
        let mut impair = quorate();
        impair.args(["impair", "--seed", "7", spec, "--"]).args(command).process_group(0);
        let mut process = impair.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert!(line.contains("by a relay (--seed 7)"), "{line}");
        let namespace = namespace_of(process.id()).expect("it runs");
        assert_ne!(Some(&namespace), namespace_of(std::process::id()).as_ref());
        Self { process, stderr: Some(stderr), namespace }
    }

    /// Does something in the namespace.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/proc/{}/ns/net", self.process.id())).unwrap();
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                act()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Ends it as by `kill`, and returns what it says in the end.
    pub fn finish(mut self) -> String {
        assert!(self.process.try_wait().unwrap().is_none(), "it runs until it is told to end");
        self.signal(Signal::TERM);
        let (status, told) = self.wait();
        assert_eq!(status.code(), Some(128 + 15), "as a shell tells of a command that was told to end: {told}");
        told
    }

    /// Waits until it has ended by itself, and returns how, and what it says in the end.
    pub fn wait(&mut self) -> (ExitStatus, String) {
        let status = eventually("it ends", || self.process.try_wait().unwrap());
        // Whatever is left holds it open.
        let mut stderr = self.stderr.take().expect("it is waited for once");
        let reader = thread::spawn(move || {
            let mut told = String::new();
            stderr.read_to_string(&mut told).map(|_| told)
        });
        eventually("nothing that it has started is left", || reader.is_finished().then_some(()));
        (status, reader.join().unwrap().unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(pid(self.process.id()), signal).unwrap();
    }

    /// As a terminal does it: to all that is in the foreground.
    pub fn ctrl_c(&self) {
        kill_process_group(pid(self.process.id()), Signal::INT).unwrap();
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The processes in the namespace, each with its command.
    pub fn inmates(&self) -> Vec<(u32, String)> {
        let processes =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
        let processes = processes.filter_map(|name| name.parse().ok());
        let inmates = processes.filter(|process| namespace_of(*process).as_ref() == Some(&self.namespace));
        inmates.map(|process| (process, command_of(process))).collect()
    }
}

impl Drop for BadNetwork {
    fn drop(&mut self) {
        // It has ended, unless the test has failed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The binary under test, without settings of whoever runs the tests.
pub fn quorate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("QUORATE")) {
        command.env_remove(key);
    }
    command
}

pub fn pid(process: u32) -> Pid {
    Pid::from_raw(process.cast_signed()).unwrap()
}

/// Waits until there is what is wanted.
pub fn eventually<T>(what: &str, mut wanted: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = wanted() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// None: there is no such process, or it has ended.
fn namespace_of(process: u32) -> Option<String> {
    Some(fs::read_link(format!("/proc/{process}/ns/net")).ok()?.display().to_string())
}

fn command_of(process: u32) -> String {
    let words = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).replace('\0', " ")
}

/// A counter of the namespace of this thread, as `/proc/net/snmp` names it.
pub fn counter(protocol: &str, name: &str) -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with(&format!("{protocol}: ")));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let pair = names.split(' ').zip(values.split(' ')).find(|(known, _)| *known == name);
    pair.expect("the counter is there").1.parse().unwrap()
}
