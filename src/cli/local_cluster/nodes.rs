//! The processes of a cluster on this machine.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinSet;

use super::home::Plan;
use super::output::Lines;

/// The processes. They are killed when this is dropped.
pub(in crate::cli) struct Nodes {
    lines: Lines,
    logs: Logs,
    show_heartbeats: bool,
    running: BTreeMap<&'static str, Process>,
    watched: JoinSet<(Plan, io::Result<ExitStatus>)>,
}

/// Where what the nodes tell goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Logs {
    /// To the terminal, as they tell it.
    Terminal,
    /// To a file for each node: [`Plan::log`].
    Files,
}

struct Process {
    id: u32,
    /// As long as its standard input is open, it runs.
    _input: Option<ChildStdin>,
}

/// A node that runs no more.
pub(in crate::cli) struct Ended {
    /// The node.
    pub(in crate::cli) node: Plan,
    /// Why, in words: "it was killed by signal 9".
    pub(in crate::cli) how: String,
}

impl Nodes {
    pub(in crate::cli) fn new(lines: Lines, logs: Logs, show_heartbeats: bool) -> Self {
        Self { lines, logs, show_heartbeats, running: BTreeMap::new(), watched: JoinSet::new() }
    }

    /// Starts a node.
    pub(in crate::cli) fn start(&mut self, node: &Plan) -> io::Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(node.arguments()).arg("--stop-with-stdin");
        if self.show_heartbeats {
            command.arg("--show-heartbeats");
        }
        let (stdout, stderr, color) = self.pipes(node)?;
        command.stdin(Stdio::piped()).stdout(stdout).stderr(stderr).env("QUORATE__LOG__COLOR", color);
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        let input = child.stdin.take();
        self.running.extend(child.id().map(|id| (node.name, Process { id, _input: input })));
        self.watched.spawn(watch(child, node.clone(), self.lines.clone()));
        Ok(())
    }

    /// The process ids of the nodes that were started and have not been seen to end, by name.
    pub(in crate::cli) fn processes(&self) -> BTreeMap<&'static str, u32> {
        self.running.iter().map(|(name, process)| (*name, process.id)).collect()
    }

    /// Sends a signal to a node that runs.
    pub(in crate::cli) fn signal(&self, name: &str, signal: Signal) -> io::Result<()> {
        let id = self.running.get(name).and_then(|process| Pid::from_raw(process.id.cast_signed()));
        let id = id.ok_or_else(|| io::Error::other(format!("node {name} does not run")))?;
        Ok(kill_process(id, signal)?)
    }

    /// Waits until a node ends. `None`: none is left.
    pub(in crate::cli) async fn next_end(&mut self) -> Option<Ended> {
        let (node, status) = self.watched.join_next().await?.ok()?;
        self.running.remove(node.name);
        Some(Ended { node, how: status.map_or_else(|error| error.to_string(), in_words) })
    }

    /// Asks all nodes to stop and waits until they have, but not longer than `deadline`.
    pub(in crate::cli) async fn stop(&mut self, deadline: Duration) {
        self.running.clear();
        let all_ended = async { while self.watched.join_next().await.is_some() {} };
        if tokio::time::timeout(deadline, all_ended).await.is_err() {
            self.lines.send(format!("{} nodes did not stop in time and are killed", self.watched.len())).await;
        }
    }

    /// Standard output, standard error, and whether what goes there has colours.
    fn pipes(&self, node: &Plan) -> io::Result<(Stdio, Stdio, &'static str)> {
        match self.logs {
            Logs::Terminal => {
                let color = if self.lines.is_coloured() { "always" } else { "never" };
                Ok((Stdio::piped(), Stdio::piped(), color))
            }
            Logs::Files => {
                let log = File::options().create(true).append(true).open(node.log())?;
                Ok((log.try_clone()?.into(), log.into(), "never"))
            }
        }
    }
}

/// Passes on what a node prints, as far as it does not go to a file, until it ends.
async fn watch(mut child: Child, node: Plan, lines: Lines) -> (Plan, io::Result<ExitStatus>) {
    let prefix = lines.prefix(node.name);
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
