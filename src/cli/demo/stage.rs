//! The nodes that play, whom they follow, and what they tell meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use rustix::process::Signal;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;

use super::journals::{Journals, Moment, Told};
use super::patience::Patience;
use super::report::Report;
use crate::cli::local_cluster::home::{Home, Plan};
use crate::cli::local_cluster::nodes::{Ended, Nodes};
use crate::cli::local_cluster::view::{self, View, name_of};
use crate::cli::{Exit, Failure};

/// The queue that all messages go to.
pub(super) const QUEUE: &str = "letters";
const PAUSE: Duration = Duration::from_millis(20);
/// So many lines of the nodes are shown at once. The rest is in their files.
const LINES_MAX: usize = 40;

/// The cluster on this machine, and who tells of it.
pub(super) struct Stage {
    pub(super) home: Home,
    pub(super) nodes: Nodes,
    pub(super) report: Report,
    pub(super) patience: Patience,
    journals: Journals,
    /// To each of the nodes: on a bad network it takes long to make one.
    connections: BTreeMap<&'static str, Channel>,
}

/// The node that leads, and that all others that run follow.
pub(super) struct Leader {
    pub(super) plan: Plan,
    pub(super) term: u64,
}

impl Stage {
    pub(super) fn new(home: Home, nodes: Nodes, journals: Journals, report: Report, patience: Patience) -> Self {
        let connection = |node: &Plan| Some((node.name, view::connection(node)?));
        let connections = home.plan().iter().filter_map(connection).collect();
        Self { home, nodes, report, patience, journals, connections }
    }

    /// The nodes that run, in the order of their names.
    pub(super) fn running(&self) -> Vec<Plan> {
        let processes = self.nodes.processes();
        self.home.plan().iter().filter(|node| processes.contains_key(node.name)).cloned().collect()
    }

    /// Waits until a node sees what is wanted.
    ///
    /// # Errors
    /// No node that runs saw it in time, or a node has ended by itself.
    pub(super) async fn until<T>(&mut self, what: &str, seen: impl Fn(&View) -> Option<T>) -> Result<T, Failure> {
        let deadline = Instant::now() + self.patience.wait;
        while Instant::now() < deadline {
            self.all_go_on().await?;
            let mut views = self.views();
            while let Some(view) = views.next().await {
                if let Some(seen) = view.as_ref().and_then(&seen) {
                    return Ok(seen);
                }
            }
            sleep(PAUSE).await;
        }
        Err(in_vain(what, self.patience.wait))
    }

    /// What each of the nodes that run sees, as the answers come.
    fn views(&self) -> FuturesUnordered<impl Future<Output = Option<View>> + use<>> {
        let running = self.running();
        let connections = running.iter().filter_map(|node| self.connections.get(node.name).cloned());
        connections.map(|connection| View::through(connection, self.patience.answer)).collect()
    }

    /// Waits until all nodes that run follow one leader.
    ///
    /// # Errors
    /// They did not in time.
    pub(super) async fn leader(&mut self) -> Result<Leader, Failure> {
        let running = self.running();
        let agree = |view: &View| running.iter().all(|node| view.follows_leader(node.name));
        self.until(&format!("{} to follow one leader", names(&running)), |view| {
            let leader = view.leader().filter(|_| agree(view))?;
            let plan = running.iter().find(|node| node.name == name_of(leader))?;
            Some(Leader { plan: plan.clone(), term: leader.term })
        })
        .await
    }

    /// Waits until all nodes, not only those that run, have applied what the leader knows to be committed: up to which index.
    ///
    /// # Errors
    /// They did not in time.
    pub(super) async fn all_have_applied(&mut self) -> Result<u64, Failure> {
        let plan = self.home.plan().to_vec();
        self.until("all nodes to apply what is committed", |view| {
            let commit = view.leader()?.commit;
            let has_applied = |node: &Plan| view.node(node.name).is_some_and(|node| node.applied >= commit);
            plan.iter().all(has_applied).then_some(commit)
        })
        .await
    }

    /// Sends a signal to nodes and waits until they have ended.
    ///
    /// # Errors
    /// One does not run, or did not end in time.
    pub(super) async fn stop(&mut self, nodes: &[Plan], signal: Signal) -> Result<(), Failure> {
        nodes.iter().try_for_each(|node| self.nodes.signal(node.name, signal))?;
        let deadline = Instant::now() + self.patience.wait;
        while self.running().iter().any(|node| nodes.contains(node)) {
            let left = deadline.saturating_duration_since(Instant::now());
            let ended = timeout(left, self.nodes.next_end())
                .await
                .map_err(|_| in_vain("the nodes to end", self.patience.wait))?;
            let Some(Ended { node, how }) = ended else { break };
            self.report.told(node.name, &format!("has ended: {how}")).await;
        }
        Ok(())
    }

    /// From here on: what nodes tell later.
    pub(super) fn now(&self) -> Moment {
        self.journals.now()
    }

    /// What nodes have told since then and `wanted` picks, in the order of time.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn told(
        &self,
        since: &Moment,
        nodes: &[Plan],
        wanted: impl Fn(&str) -> bool,
    ) -> std::io::Result<Vec<Told>> {
        self.journals.since(since, nodes, wanted)
    }

    /// Waits until each of the nodes has told `count` lines that `wanted` picks; all of them, in the order of time.
    ///
    /// # Errors
    /// One did not in time, or its file cannot be read.
    pub(super) async fn until_told(
        &self,
        since: &Moment,
        nodes: &[Plan],
        count: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<Told>, Failure> {
        let deadline = Instant::now() + self.patience.wait;
        while Instant::now() < deadline {
            let told = self.journals.since(since, nodes, &wanted)?;
            let told_by = |node: &Plan| told.iter().filter(|told| told.node == node.name).count();
            if nodes.iter().all(|node| told_by(node) >= count) {
                return Ok(told);
            }
            sleep(PAUSE).await;
        }
        Err(in_vain(&format!("all of {} to tell it", names(nodes)), self.patience.wait))
    }

    /// Shows what nodes told, unless everything is shown anyway.
    pub(super) async fn show(&self, title: &str, told: &[Told]) {
        if self.journals.are_shown() {
            return;
        }
        self.report.say(title).await;
        for Told { node, line } in told.iter().take(LINES_MAX) {
            self.report.told(node, line).await;
        }
        if told.len() > LINES_MAX {
            self.report.say(&format!("... and {} lines more", told.len() - LINES_MAX)).await;
        }
    }

    /// Shows the end of what each node told.
    async fn show_last_lines(&self) {
        for node in self.home.plan() {
            let told = self.told(&self.journals.beginning(), std::slice::from_ref(node), is_no_heartbeat);
            let told = told.unwrap_or_default();
            self.show(&format!("The last that {} told:", node.name), &told[told.len().saturating_sub(5)..]).await;
        }
    }

    /// Notices nodes that have ended by themselves.
    ///
    /// # Errors
    /// One has.
    pub(super) async fn all_go_on(&mut self) -> Result<(), Failure> {
        match self.nodes.next_end().now_or_never().flatten() {
            None => Ok(()),
            Some(Ended { node, how }) => {
                Err(Failure::new(Exit::Failed, format!("node {} has ended by itself: {how}", node.name)))
            }
        }
    }

    /// The last words: the verdict on what was played, or that it was stopped. What has failed is kept to be looked at.
    pub(super) async fn end(mut self, played: Option<Result<(), Failure>>) -> (Exit, Nodes, Home) {
        let Some(played) = played else {
            self.report.say("stopped before its end").await;
            return (Exit::Failed, self.nodes, self.home);
        };
        if played.is_err() {
            self.home.keep();
            self.show_last_lines().await;
        }
        let exit = self.report.verdict(played).await;
        let directory = self.home.directory().display();
        let last = if self.home.is_temporary() {
            format!("{directory} is removed; --data DIR would keep what the nodes told.")
        } else {
            format!("What the nodes told is in {directory}/*.log, and their data beside it.")
        };
        self.report.say(&last).await;
        (exit, self.nodes, self.home)
    }
}

/// Whether a line of a node tells of a heartbeat.
pub(super) fn is_heartbeat(line: &str) -> bool {
    line.contains(" BEAT ")
}

/// Whether a line of a node tells of something else.
pub(super) fn is_no_heartbeat(line: &str) -> bool {
    !is_heartbeat(line)
}

/// The names of nodes.
pub(super) fn names<'a>(nodes: impl IntoIterator<Item = &'a Plan>) -> String {
    nodes.into_iter().map(|node| node.name).collect::<Vec<_>>().join(" ")
}

fn in_vain(what: &str, waited: Duration) -> Failure {
    Failure::new(Exit::Failed, format!("waited {} s in vain for {what}", waited.as_secs()))
}
