//! `status --watch`: the status again and again.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};

use super::console::Console;
use super::report::Error;
use super::{cluster, json};
use crate::client::{self, Client};
use crate::proto::v1;
use crate::telemetry;

/// Prints a sample each `interval`, for ever: drawn over the one before on a terminal, one after the other elsewhere. A sample
/// that cannot be had is told of, and tried again.
///
/// # Errors
/// The first sample cannot be had, or standard output takes nothing.
pub(super) async fn watch(client: &Client, interval: Duration, console: &mut Console) -> Result<(), Error> {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut view = View { interval, sample: Sample::new(client.status().await?, None), trouble: None };
    loop {
        view.show(console)?;
        ticks.tick().await;
        let mut asked = std::pin::pin!(client.status());
        // The age of what is seen goes on while a node that should answer is silent.
        let answer = loop {
            tokio::select! {
                answer = &mut asked => break answer,
                _ = ticks.tick(), if console.is_screen() => view.show(console)?,
            }
        };
        match answer {
            Ok(status) => view.take(status),
            Err(error) => view.miss(error, console),
        }
    }
}

/// What is seen.
struct View {
    interval: Duration,
    sample: Sample,
    /// Why there is no later one.
    trouble: Option<String>,
}

/// A status at a time.
pub(super) struct Sample {
    status: v1::StatusResponse,
    taken: Instant,
    time: SystemTime,
    /// How fast the commit index of each node grew since the sample before, in entries a second.
    rates: BTreeMap<String, f64>,
}

impl Sample {
    fn new(status: v1::StatusResponse, before: Option<&Sample>) -> Self {
        let (taken, time) = (Instant::now(), SystemTime::now());
        let rates = before.map(|before| before.rates(&status, taken)).unwrap_or_default();
        Self { status, taken, time, rates }
    }

    /// Nodes that answer now as well as then. A commit index that is lower is that of another disk.
    fn rates(&self, later: &v1::StatusResponse, taken: Instant) -> BTreeMap<String, f64> {
        let seconds = taken.duration_since(self.taken).as_secs_f64();
        let before: BTreeMap<_, _> = commits(&self.status).collect();
        let growth = |(node, commit): (String, u64)| {
            let grown = commit.checked_sub(*before.get(&node)?)?;
            (seconds > 0.0).then(|| (node, grown as f64 / seconds))
        };
        commits(later).filter_map(growth).collect()
    }

    /// How fast the node's commit index grows; none when that is not known.
    pub(super) fn rate(&self, node: &v1::NodeStatus) -> Option<f64> {
        self.rates.get(&node.member.as_ref()?.node_id).copied()
    }

    /// The document of `status`, with the time, and for each node `commit_per_second`.
    fn document(&self) -> Value {
        let node = |node: &v1::NodeStatus| {
            let mut fields = json::node(node);
            fields["commit_per_second"] = json!(self.rate(node).map(|rate| (rate * 10.0).round() / 10.0));
            fields
        };
        json!({
            "time": humantime::format_rfc3339_millis(self.time).to_string(),
            "asked": json::decided(self.status.header.as_ref()),
            "nodes": self.status.nodes.iter().map(node).collect::<Vec<_>>(),
        })
    }

    /// The name of the node that answered.
    fn asked(&self) -> &str {
        let node_id = self.status.header.as_ref().map_or("", |header| header.node_id.as_str());
        let mut members = self.status.nodes.iter().filter_map(|node| node.member.as_ref());
        members.find(|member| member.node_id == node_id).map_or(node_id, |member| &member.name)
    }
}

impl View {
    fn take(&mut self, status: v1::StatusResponse) {
        self.sample = Sample::new(status, Some(&self.sample));
        self.trouble = None;
    }

    fn miss(&mut self, error: client::Error, console: &Console) {
        let trouble = telemetry::escaped(&format!("no status: {error}"));
        if !console.is_screen() {
            // Standard error that cannot be written to is no reason to fail.
            let _ = writeln!(std::io::stderr(), "{trouble}");
        }
        self.trouble = Some(trouble);
    }

    fn show(&self, console: &mut Console) -> Result<(), Error> {
        if console.is_json() {
            if self.trouble.is_none() {
                console.json(&self.sample.document())?;
            }
        } else if console.is_screen() {
            let interval = humantime::format_duration(self.interval);
            let age = self.sample.taken.elapsed().as_secs_f64();
            let asked = telemetry::escaped(self.sample.asked());
            let head = format!("every {interval}; node {asked} answered {age:.1} s ago; Ctrl-C ends this\n\n");
            let trouble = self.trouble.as_ref().map(|trouble| format!("\n{trouble}\n")).unwrap_or_default();
            console.draw(&(head + &self.table() + &trouble))?;
        } else if self.trouble.is_none() {
            let time = humantime::format_rfc3339_millis(self.sample.time);
            console.line(format!("{time}\n{}", self.table()).as_bytes())?;
        }
        Ok(())
    }

    fn table(&self) -> String {
        cluster::status_table(&self.sample.status.nodes, Some(&self.sample)).take_text()
    }
}

fn commits(status: &v1::StatusResponse) -> impl Iterator<Item = (String, u64)> {
    let reachable = status.nodes.iter().filter(|node| node.reachable);
    reachable.filter_map(|node| Some((node.member.as_ref()?.node_id.clone(), node.commit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(nodes: &[(&str, u64, bool)]) -> v1::StatusResponse {
        let node = |&(id, commit, reachable): &(&str, u64, bool)| {
            let member = v1::Member { node_id: id.to_owned(), ..Default::default() };
            v1::NodeStatus { member: Some(member), commit, reachable, ..Default::default() }
        };
        v1::StatusResponse { nodes: nodes.iter().map(node).collect(), ..Default::default() }
    }

    #[test]
    fn what_is_not_known_of_both_samples_has_no_rate() {
        let first = Sample::new(status(&[("a", 100, true), ("b", 100, false), ("c", 100, true)]), None);
        let later = status(&[("a", 105, true), ("b", 105, true), ("c", 7, true)]);
        let rates = first.rates(&later, first.taken + Duration::from_secs(2));
        assert_eq!(rates, [("a".to_owned(), 2.5)].into());
        let document = Sample { rates, ..Sample::new(later, None) }.document();
        assert_eq!(document["nodes"][0]["commit_per_second"], 2.5);
        assert_eq!(document["nodes"][1]["commit_per_second"], Value::Null);
    }
}
