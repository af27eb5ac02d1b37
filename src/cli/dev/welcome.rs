//! What a newcomer reads once the cluster is complete: who leads, and how to talk to it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Endpoint;

use super::home::Plan;
use super::output::Lines;
use crate::proto::v1::cluster_client::ClusterClient;
use crate::proto::v1::{Membership, Role, StatusRequest, StatusResponse};

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

/// Waits until a node accepts connections.
pub(super) async fn listening(node: &Plan) {
    while TcpStream::connect(node.address()).await.is_err() {
        sleep(PAUSE / 4).await;
    }
}

/// How this program was most probably called.
pub(super) fn program() -> String {
    let Ok(path) = std::env::current_exe() else { return "quorate".to_owned() };
    let here = std::env::current_dir().unwrap_or_default();
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let is_found = std::env::split_paths(&on_path).any(|directory| path.parent() == Some(directory.as_path()));
    match (is_found, path.strip_prefix(&here)) {
        (true, _) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        (false, Ok(relative)) => Path::new(".").join(relative).display().to_string(),
        (false, Err(_)) => path.display().to_string(),
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
            if let Some(leader) = status(node).await.and_then(|status| leader(&status)) {
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

async fn status(node: &Plan) -> Option<StatusResponse> {
    let endpoint = Endpoint::from_shared(format!("http://{}", node.address())).ok()?;
    let ask = async {
        let mut client = ClusterClient::new(endpoint.connect().await.ok()?);
        client.status(StatusRequest {}).await.ok()
    };
    Some(timeout(Duration::from_secs(1), ask).await.ok()??.into_inner())
}

fn leader(status: &StatusResponse) -> Option<Leader> {
    let leader = status.nodes.iter().find(|node| node.role() == Role::Leader)?;
    let members = status.nodes.iter().filter_map(|node| node.member.as_ref());
    let voters = members.filter(|member| member.membership() == Membership::Voter).count();
    Some(Leader { name: leader.member.as_ref()?.name.clone(), term: leader.term, voters })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{Member, NodeStatus};

    fn plan(names: &[&'static str]) -> Vec<Plan> {
        let node = |(name, port): (&&'static str, u16)| Plan { name, port, data: name.into(), join: Vec::new() };
        names.iter().zip((7400..).step_by(2)).map(node).collect()
    }

    #[test]
    fn the_leader_and_the_voters_are_read_from_a_status() {
        let node = |name: &str, role: Role, membership: Membership| NodeStatus {
            member: Some(Member { name: name.into(), membership: membership.into(), ..Member::default() }),
            role: role.into(),
            term: 4,
            ..NodeStatus::default()
        };
        let mut status = StatusResponse {
            nodes: vec![
                node("a", Role::Follower, Membership::Voter),
                node("b", Role::Leader, Membership::Voter),
                node("c", Role::Learner, Membership::Learner),
            ],
            ..StatusResponse::default()
        };
        let Leader { name, term, voters } = leader(&status).unwrap();
        assert_eq!((name.as_str(), term, voters), ("b", 4, 2));
        status.nodes.remove(1);
        assert!(leader(&status).is_none());
    }

    #[test]
    fn the_text_names_the_leader_and_its_process() {
        let processes = BTreeMap::from([("a", 11), ("b", 12), ("c", 13)]);
        let leader = |voters| Leader { name: "b".into(), term: 2, voters };
        let told = text(&plan(&["a", "b", "c"]), &processes, &leader(3), "Farewell.").join("\n");
        assert!(told.starts_with("\n3 nodes run, and b leads in term 2.\n  a  127.0.0.1:7400  process 11\n"), "{told}");
        assert!(
            told.contains("enqueue --endpoints 127.0.0.1:7400,127.0.0.1:7402,127.0.0.1:7404 orders hello\n"),
            "{told}"
        );
        assert!(told.contains("  kill -9 12 "), "{told}");

        let told = text(&plan(&["a", "b"]), &processes, &leader(1), "Farewell.").join("\n");
        assert!(told.contains("2 nodes run, 1 of them vote so far, and b leads in term 2."), "{told}");
        assert!(!told.contains("kill"), "two nodes cannot lose one: {told}");
    }
}
