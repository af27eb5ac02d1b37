//! The processes of a cluster on this machine.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anstyle::{AnsiColor, Color, Style};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinSet;

use super::home::Plan;
use super::output::Lines;
use super::welcome;

const COLORS: [AnsiColor; 6] =
    [AnsiColor::Cyan, AnsiColor::Yellow, AnsiColor::Magenta, AnsiColor::Green, AnsiColor::Blue, AnsiColor::BrightRed];

/// The processes. They are killed when this is dropped.
pub(super) struct Nodes {
    lines: Lines,
    show_heartbeats: bool,
    /// As long as a node's standard input is open, it runs.
    inputs: Vec<ChildStdin>,
    processes: BTreeMap<&'static str, u32>,
    watched: JoinSet<(Plan, io::Result<ExitStatus>)>,
}

impl Nodes {
    pub(super) fn new(lines: Lines, show_heartbeats: bool) -> Self {
        let (inputs, processes) = (Vec::new(), BTreeMap::new());
        Self { lines, show_heartbeats, inputs, processes, watched: JoinSet::new() }
    }

    /// Starts a node.
    pub(super) fn start(&mut self, node: &Plan) -> Result<(), super::Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(node.arguments()).arg("--stop-with-stdin");
        if self.show_heartbeats {
            command.arg("--show-heartbeats");
        }
        let color = if self.lines.is_coloured() { "always" } else { "never" };
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.env("QUORATE__LOG__COLOR", color).process_group(0).kill_on_drop(true).spawn()?;
        self.inputs.extend(child.stdin.take());
        self.processes.extend(child.id().map(|id| (node.name, id)));
        let prefix = self.prefix(node);
        self.watched.spawn(watch(child, node.clone(), prefix, self.lines.clone()));
        Ok(())
    }

    /// The process ids, by name.
    pub(super) fn processes(&self) -> BTreeMap<&'static str, u32> {
        self.processes.clone()
    }

    /// Waits until a node ends, and says so. `None`: none is left.
    pub(super) async fn next_end(&mut self) -> Option<()> {
        let (node, status) = self.watched.join_next().await?.ok()?;
        let how = status.map_or_else(|error| error.to_string(), in_words);
        let prefix = self.prefix(&node);
        self.lines.send(format!("{prefix}has ended: {how}. To start it again, from another terminal:")).await;
        self.lines.send(format!("{prefix}  {} {}", welcome::program(), node.arguments().join(" "))).await;
        Some(())
    }

    /// Asks all nodes to stop and waits until they have, but not longer than `deadline`.
    pub(super) async fn stop(&mut self, deadline: Duration) {
        self.inputs.clear();
        let all_ended = async { while self.watched.join_next().await.is_some() {} };
        if tokio::time::timeout(deadline, all_ended).await.is_err() {
            self.lines.send(format!("{} nodes did not stop in time and are killed", self.watched.len())).await;
        }
    }

    /// What stands before the lines of a node.
    fn prefix(&self, node: &Plan) -> String {
        if !self.lines.is_coloured() {
            return format!("{} | ", node.name);
        }
        let letter = usize::from(node.name.as_bytes()[0] - b'a');
        let style = Style::new().bold().fg_color(Some(Color::Ansi(COLORS[letter % COLORS.len()])));
        format!("{style}{} |{style:#} ", node.name)
    }
}

/// Passes on what a node prints until it ends.
async fn watch(mut child: Child, node: Plan, prefix: String, lines: Lines) -> (Plan, io::Result<ExitStatus>) {
    let stdout = forward(child.stdout.take(), &prefix, &lines);
    let stderr = forward(child.stderr.take(), &prefix, &lines);
    let (status, (), ()) = tokio::join!(child.wait(), stdout, stderr);
    (node, status)
}

async fn forward(stream: Option<impl AsyncRead + Unpin>, prefix: &str, lines: &Lines) {
    let Some(stream) = stream else { return };
    let mut reader = BufReader::new(stream).lines();
    while let Ok(Some(line)) = reader.next_line().await {
        lines.send(format!("{prefix}{line}")).await;
    }
}

fn in_words(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("it was killed by signal {signal}"),
        (None, Some(0)) => "it was told to stop".to_owned(),
        (None, code) => format!("it failed with exit code {}", code.unwrap_or_default()),
    }
}
