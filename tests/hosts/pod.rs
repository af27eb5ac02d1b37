//! One pod: a host, a volume, and a process of the built binary that may run there.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::eventually;

/// What a pod is given between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(60);

/// A pod's place: its name, volume and log stay when the process goes.
pub struct Pod {
    pub name: String,
    pub data: PathBuf,
    log: PathBuf,
    config: PathBuf,
    process: Option<Child>,
}

impl Pod {
    /// A pod with an empty volume, whose node reads its settings from the file `config`.
    pub fn new(directory: &Path, name: &str, config: PathBuf) -> Self {
        let (data, log) = (directory.join(name), directory.join(format!("{name}.log")));
        Self { name: name.to_owned(), data, log, config, process: None }
    }

    /// Starts the process on its host.
    pub fn start(&mut self, environment: &[(&str, String)]) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, env!("CARGO_BIN_EXE_quorate"), "server", "--config"]);
        command.arg(&self.config).env_clear().envs(environment.iter().map(|(key, value)| (key, value)));
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("QUORATE__NODE__DATA_DIR", &self.data);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(command.spawn().unwrap());
    }

    /// Whether it was ever started.
    pub fn has_run(&self) -> bool {
        self.log.exists()
    }

    /// Whether it was started, and has been neither stopped nor killed since.
    pub fn is_started(&self) -> bool {
        self.process.is_some()
    }

    /// Whether its process, which was started, has not ended by itself.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.try_wait().unwrap().is_none())
    }

    /// A crash: nothing of the process gets to run any more.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("the pod runs");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Tells the process to stop.
    pub fn terminate(&self) {
        let process = self.process.as_ref().expect("the pod runs");
        kill_process(Pid::from_child(process), Signal::TERM).unwrap();
    }

    /// Waits for the end of a process that was told to stop, as long as it is given.
    pub fn ended(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("the pod runs");
        let start = Instant::now();
        while start.elapsed() < GRACE {
            if let Some(status) = process.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        process.kill().unwrap();
        process.wait().unwrap()
    }

    /// Empties the volume.
    pub fn wipe(&self) {
        assert!(self.process.is_none(), "{} runs", self.name);
        // A node that had just begun may not have made anything yet.
        if self.data.exists() {
            fs::remove_dir_all(&self.data).unwrap();
        }
    }

    /// What its nodes have told so far, over all their lives.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until the node tells something that contains `words`.
    pub fn eventually_tells(&self, words: &str) {
        eventually(&format!("{} to tell {words:?}", self.name), || self.log().contains(words).then_some(()));
    }
}
