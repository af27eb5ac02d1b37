//! Nodes as processes of the built binary, on loopback, and what a user does with them.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test.
pub fn quorate() -> Command {
    without_settings(Command::new(env!("CARGO_BIN_EXE_quorate")))
}

/// The command, which gets neither input nor settings from whoever runs the tests.
fn without_settings(mut command: Command) -> Command {
    command.stdin(Stdio::null());
    let is_setting = |key: &str| ["QUORATE", "OTEL_", "TRACE"].iter().any(|prefix| key.starts_with(prefix));
    for (key, _) in std::env::vars().filter(|(key, _)| is_setting(key)) {
        command.env_remove(key);
    }
    command
}

/// Waits until `condition` gives something.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A node's place: its name, directory and ports stay when the process goes.
pub struct Node {
    pub name: String,
    pub address: SocketAddr,
    pub data: PathBuf,
    /// Settings in its environment.
    pub settings: Vec<(&'static str, String)>,
    /// The content of a hosts file that this node alone sees; none: it sees that of the machine.
    pub hosts: Option<String>,
    log: PathBuf,
    process: Option<Child>,
}

impl Node {
    pub fn new(directory: &Path, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            address: free_ports(),
            data: directory.join(name),
            settings: Vec::new(),
            hosts: None,
            log: directory.join(format!("{name}.log")),
            process: None,
        }
    }

    /// Starts the process; `join`: addresses of members.
    pub fn start(&mut self, join: &[SocketAddr]) {
        assert!(self.process.is_none(), "node {} runs already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = self.command(join);
        self.process = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    }

    /// The command that starts the node.
    pub fn command(&self, join: &[SocketAddr]) -> Command {
        let mut command = self.program();
        command.arg("server").args(["--name", &self.name]).args(["--listen", &self.address.to_string()]);
        command.arg("--data").arg(&self.data).envs(self.settings.iter().map(|(key, value)| (key, value)));
        for address in join {
            command.args(["--join", &address.to_string()]);
        }
        command
    }

    /// The binary, in a mount namespace of its own if the node has a hosts file of its own. Without one `unshare` fails: some
    /// systems must be told to allow namespaces to users.
    fn program(&self) -> Command {
        let Some(hosts) = &self.hosts else { return quorate() };
        let file = self.data.with_extension("hosts");
        write(&file, hosts);
        let mut command = Command::new("unshare");
        let script = r#"mount --bind "$0" /etc/hosts && exec "$@""#;
        command.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(file).arg(env!("CARGO_BIN_EXE_quorate"));
        without_settings(command)
    }

    /// A crash: nothing of the process gets to run any more.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("the node runs");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// A graceful stop.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the node runs").id()
    }

    /// What the health port answers: whether it was yes, and in which words. None: nobody answers.
    pub fn health(&self, path: &str) -> Option<(bool, String)> {
        let mut stream = TcpStream::connect((self.address.ip(), self.address.port() + 3)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, text) = answer.split_once("\r\n\r\n")?;
        Some((head.starts_with("HTTP/1.0 200 "), text.to_owned()))
    }

    /// Waits until the node says that it is ready.
    pub fn eventually_is_ready(&self) {
        let is_ready = || self.health("/readyz").filter(|(ready, _)| *ready);
        eventually(&format!("node {} to be ready; it told:\n{}", self.name, self.log()), is_ready);
    }

    /// Waits until the process ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let process = self.process.as_mut().expect("the node runs");
        let status = eventually(&format!("node {} to end", self.name), || process.try_wait().unwrap());
        self.process = None;
        status
    }

    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.try_wait().unwrap().is_none())
    }

    /// What the node has told so far, over all its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until the node tells something that contains `words`.
    pub fn eventually_tells(&self, words: &str) {
        eventually(&format!("node {} to tell {words:?}; it told:\n{}", self.name, self.log()), || {
            self.log().contains(words).then_some(())
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.lines().rev().take(60).collect::<Vec<_>>().into_iter().rev();
            eprintln!("---- the end of what node {} told ----\n{}", self.name, tail.collect::<Vec<_>>().join("\n"));
        }
    }
}

/// Where ports are looked for: below those that Linux gives to connections, each of which could take a port that was free until the
/// node listens there.
const PORTS: Range<u16> = 10_000..32_000;

/// A client port that is free now, as are the ports after it that the node takes as well. None of them is given out twice: they are
/// free also while the node that has them is down, and another one must not take them.
pub fn free_ports() -> SocketAddr {
    const TOGETHER: usize = 4;
    /// Two runs of the tests at once begin at different places.
    static FIRST: LazyLock<usize> = LazyLock::new(|| rand::random_range(0..PORTS.len()));
    static GIVEN: AtomicUsize = AtomicUsize::new(0);
    eventually("four free ports in a row", || {
        let row = (*FIRST + GIVEN.fetch_add(1, Ordering::Relaxed)) % (PORTS.len() / TOGETHER);
        let first = PORTS.start + (row * TOGETHER) as u16;
        let listen = |port: u16| TcpListener::bind(("127.0.0.1", port)).ok();
        let listening: Option<Vec<TcpListener>> = (first..).take(TOGETHER).map(listen).collect();
        listening?.first()?.local_addr().ok()
    })
}

/// Nodes that belong together, and their directories.
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub directory: TempDir,
}

impl Cluster {
    /// Starts `size` nodes, named a, b, c ..., and waits until all of them vote.
    pub fn start(size: usize) -> Self {
        Self::start_with(size, &[])
    }

    /// Starts `size` nodes with settings in their environment.
    pub fn start_with(size: usize, settings: &[(&'static str, String)]) -> Self {
        let mut cluster = Self { nodes: Vec::new(), directory: TempDir::new().unwrap() };
        for _ in 0..size {
            cluster.add_with(settings);
        }
        cluster.eventually_has_voters(size);
        cluster
    }

    /// Starts one more node, which joins those that are there.
    pub fn add(&mut self) -> usize {
        self.add_with(&[])
    }

    /// The same, with settings in its environment.
    pub fn add_with(&mut self, settings: &[(&'static str, String)]) -> usize {
        let name = char::from(b'a' + self.nodes.len() as u8).to_string();
        let mut node = Node::new(self.directory.path(), &name);
        node.settings = settings.to_vec();
        let join: Vec<SocketAddr> = self.nodes.iter().map(|node| node.address).collect();
        node.start(&join);
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.address.to_string()).collect()
    }

    /// Runs a client command against all nodes.
    pub fn run(&self, arguments: &[&str]) -> Output {
        run_at(&self.addresses().join(","), arguments)
    }

    /// Runs a client command that must succeed; returns what it printed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The document that a client command prints with `--output json`.
    pub fn json(&self, arguments: &[&str]) -> Option<Value> {
        let output = self.run(&[arguments, &["--output", "json"]].concat());
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// What the status says of every node.
    pub fn status(&self) -> Vec<Value> {
        let status = self.json(&["status"]);
        status.and_then(|status| status["nodes"].as_array().cloned()).unwrap_or_default()
    }

    /// The joint configurations in the log that so many voters leave behind, the first one first.
    pub fn configurations_with_outgoing(&self, count: usize) -> Vec<Value> {
        let lines = self.ok(&["log", "--kind", "configuration", "--output", "json"]);
        let entries = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        entries.filter(|entry| entry["voters_outgoing"].as_array().is_some_and(|them| them.len() == count)).collect()
    }

    pub fn eventually_has_voters(&self, count: usize) {
        eventually(&format!("{count} voters; the status is {:#?}", self.status()), || {
            let status = self.status();
            let votes = |node: &&Value| node["member"]["membership"] == "voter" && node["reachable"] == true;
            (status.iter().filter(votes).count() == count && status.len() == count).then_some(())
        });
    }

    /// The place in `nodes` of the one that leads now.
    pub fn leader(&self) -> usize {
        eventually("a leader", || {
            let status = self.status();
            let leader = status.iter().find(|node| node["role"] == "leader")?;
            self.nodes.iter().position(|node| leader["member"]["name"] == node.name.as_str())
        })
    }

    /// The places of all running nodes that do not lead.
    pub fn followers(&mut self) -> Vec<usize> {
        let leader = self.leader();
        (0..self.nodes.len()).filter(|at| *at != leader && self.nodes[*at].is_running()).collect()
    }
}

/// Runs a client command against the given endpoints.
pub fn run_at(endpoints: &str, arguments: &[&str]) -> Output {
    let mut command = quorate();
    command.args(arguments).args(["--endpoints", endpoints]).args(["--timeout", "20s"]);
    command.output().unwrap()
}

/// Makes a file with this content.
pub fn write(path: &Path, content: &str) {
    File::create(path).unwrap().write_all(content.as_bytes()).unwrap();
}
