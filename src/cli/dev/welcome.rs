//! What a newcomer reads once the cluster is complete: who leads, and how to talk to it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::cli::local_cluster::home::Plan;
use crate::cli::local_cluster::output::Lines;
use crate::cli::local_cluster::program;
use crate::cli::local_cluster::view::{self, View};

const PAUSE: Duration = Duration::from_millis(200);
/// After this long it is told what there is, complete or not.
const PATIENCE: Duration = Duration::from_secs(20);

/// The leader, as some node sees it.
struct Leader {
    name: String,
    term: u64,
    voters: usize,
}

/// Waits until all nodes are voters of a cluster that has a leader, and then sends the lines about it.
pub(super) async fn welcome(plan: Vec<Plan>, processes: BTreeMap<&'static str, u32>, farewell: String, lines: Lines) {
    let Some(leader) = wait_for_leader(&plan).await else {
        let patience = PATIENCE.as_secs();
        lines.send(format!("After {patience} s no node leads. What the nodes say above tells why.")).await;
        return;
    };
    for line in text(&plan, &processes, &leader, &farewell) {
        lines.send(line).await;
    }
}

fn text(plan: &[Plan], processes: &BTreeMap<&'static str, u32>, leader: &Leader, farewell: &str) -> Vec<String> {
    let Leader { name, term, voters } = leader;
    let size = plan.len();
    let mut lines = vec![String::new()];
    lines.push(match size {
        1 => format!("One node runs, and leads in term {term}."),
        _ if *voters < size => {
            format!("{size} nodes run, {voters} of them vote so far, and {name} leads in term {term}.")
        }
        _ => format!("{size} nodes run, and {name} leads in term {term}."),
    });
    for node in plan {
        let process = processes.get(node.name).copied().unwrap_or_default();
        lines.push(format!("  {}  {}  process {process}", node.name, node.address()));
    }
    let endpoints = plan.iter().map(Plan::address).collect::<Vec<_>>().join(",");
    let command = |verb: &str, rest: &str| format!("  {} {verb} --endpoints {endpoints}{rest}", program());
    let pages: Vec<String> = plan.iter().map(|node| format!("http://{}/", node.admin_address())).collect();
    lines.push(format!("Look at them in a browser, at any of {}", pages.join(" ")));
    lines.push("Talk to them from another terminal:".to_owned());
    lines.push(command("enqueue", " orders hello"));
    lines.push(command("dequeue", " orders"));
    lines.push(command("status", ""));
    if let Some(process) = processes.get(name.as_str()).filter(|_| size > 2) {
        lines.push(format!(
            "  kill -9 {process}   # ends the leader: the others elect another, and nothing acknowledged is lost"
        ));
    }
    lines.push(format!("Ctrl-C stops them. {farewell}"));
    lines.push(String::new());
    lines
}

/// The leader, once all nodes vote; the one there is when they do not in time.
async fn wait_for_leader(plan: &[Plan]) -> Option<Leader> {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = None;
    while Instant::now() < deadline {
        for node in plan {
            if let Some(leader) = View::of(node).await.and_then(|view| leader(&view)) {
                let complete = leader.voters >= plan.len();
                seen = Some(leader);
                if complete {
                    return seen;
                }
            }
        }
        sleep(PAUSE).await;
    }
    seen
}

fn leader(view: &View) -> Option<Leader> {
    let leader = view.leader()?;
    Some(Leader { name: view::name_of(leader).to_owned(), term: leader.term, voters: view.voters().len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(names: &[&'static str]) -> Vec<Plan> {
        let node = |(name, port): (&&'static str, u16)| Plan { name, port, data: name.into(), join: Vec::new() };
        names.iter().zip((7400..).step_by(10)).map(node).collect()
    }

    #[test]
    fn the_text_names_the_leader_and_its_process() {
        let processes = BTreeMap::from([("a", 11), ("b", 12), ("c", 13)]);
        let leader = |voters| Leader { name: "b".into(), term: 2, voters };
        let told = text(&plan(&["a", "b", "c"]), &processes, &leader(3), "Farewell.").join("\n");
        assert!(told.starts_with("\n3 nodes run, and b leads in term 2.\n  a  127.0.0.1:7400  process 11\n"), "{told}");
        assert!(
            told.contains("enqueue --endpoints 127.0.0.1:7400,127.0.0.1:7410,127.0.0.1:7420 orders hello\n"),
            "{told}"
        );
        assert!(told.contains("  kill -9 12 "), "{told}");
        let pages = "at any of http://127.0.0.1:7402/ http://127.0.0.1:7412/ http://127.0.0.1:7422/\n";
        assert!(told.contains(pages), "{told}");

        let told = text(&plan(&["a", "b"]), &processes, &leader(1), "Farewell.").join("\n");
        assert!(told.contains("2 nodes run, 1 of them vote so far, and b leads in term 2."), "{told}");
        assert!(!told.contains("kill"), "two nodes cannot lose one: {told}");
    }
}
