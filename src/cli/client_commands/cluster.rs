//! `status` and `member`.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::console::Console;
use super::json;
use super::report::Error;
use super::table::Table;
use super::watch::{self, Sample};
use super::{timing, vitals};
use crate::client::Client;
use crate::proto::v1;

/// How to look.
#[derive(Clone, Debug, Args)]
pub struct Status {
    /// Show it again and again, each second or as often as this, until Ctrl-C
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "1s", value_parser = interval)]
    watch: Option<Duration>,
}

/// More often would show nothing but the load of asking.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// What to do with members.
#[derive(Clone, Debug, Args)]
pub struct Member {
    #[command(subcommand)]
    command: MemberCommand,
}

/// What to do with members.
#[derive(Clone, Debug, Subcommand)]
pub enum MemberCommand {
    /// List the members; works without a leader
    List,
    /// Add a node; it becomes a voter once it has caught up
    #[command(after_help = ADD_HELP)]
    Add(Add),
    /// Remove members for good, all in one change: their node ids are never accepted again
    #[command(after_help = REMOVE_HELP)]
    Remove(Names),
    /// Make a learner that has caught up a voter
    Promote(Name),
}

/// The member that is meant.
#[derive(Clone, Debug, Args)]
pub struct Name {
    /// Its name or its node id
    #[arg(value_name = "NAME_OR_ID")]
    member: String,
}

/// The members that are meant.
#[derive(Clone, Debug, Args)]
pub struct Names {
    /// Their names or their node ids
    #[arg(value_name = "NAME_OR_ID", required = true)]
    members: Vec<String>,
}

/// A node to add.
#[derive(Clone, Debug, Args)]
pub struct Add {
    /// Its node id: 16 hexadecimal digits, as it says at start
    #[arg(value_name = "NODE_ID", value_parser = node_id)]
    node_id: String,
    /// Its name, such as the name of its pod
    #[arg(long)]
    name: String,
    /// The address of its client port, as clients reach it
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    /// The address of its peer port, as the other nodes reach it
    #[arg(long, value_name = "HOST:PORT")]
    peer_address: String,
    /// Keep it a learner until it is promoted: it gets the log, but has no vote
    #[arg(long)]
    stay_learner: bool,
}

pub(super) const STATUS_HELP: &str = "\
Any node answers, also without a leader; '-' stands for what is not known: what a node that cannot be reached did not tell, and
what did not happen.

LAG is how many entries of the leader's log the leader does not know a node to have, IN FLIGHT what it has sent to it without an
answer so far, and CONTACT how long ago it last heard from it. FSYNC and COMMIT are the 99th percentiles of the last minute.

With --watch a terminal is redrawn, with the age of what is seen and how many entries a second are committed. Elsewhere
samples follow one another; JSON has one document a line, with also \"time\" and for each node \"commit_per_second\". When
no node answers, the last sample stays and grows old. Only the first one must succeed. Ctrl-C ends it with exit code 0.

Examples:
  quorate status
  quorate status --watch
  quorate status --watch 5s --output json >> status.ndjson
  quorate status --output json | jq -r '.nodes[] | select(.role == \"leader\") | .member.name'

JSON: {\"asked\": {...}, \"nodes\": [{\"member\": {...}, \"reachable\", \"role\", \"term\", \"commit\", \"applied\",
\"last_index\", \"leader_id\", \"trouble\", \"version\", \"storage\": {\"first_index\", \"snapshot_index\", \"snapshot_bytes\",
\"log_bytes\", \"archive_bytes\", \"living_bytes\", \"spare_bytes\", \"written_bytes\", \"oldest_file\", \"oldest_kept_for\",
\"free_bytes\", \"total_bytes\"},
\"transfers\": [{\"peer_id\", \"sends\", \"index\", \"file_bytes\", \"file_bytes_total\", \"bodies\", \"bodies_total\",
\"held_bytes\"}, ...], \"voted_for_id\", \"durable\", \"uptime_s\", \"memory_bytes\", \"admin_address\", \"progress\": [{\"node_id\",
\"matched\", \"messages_in_flight\", \"bytes_in_flight\", \"last_contact_ms\", \"round_trip_ms\", \"heartbeats_sent\",
\"heartbeats_heard\", \"well\", \"caught_up\"}, ...], \"fsync\": {\"count\", \"p50_ms\", \"p99_ms\"}, \"commit_latency\": {...}, \"commits_per_second\",
\"timeouts\": {\"election_min_ms\", \"election_max_ms\", \"heartbeat_ms\", \"reason\", \"gap_median_ms\", \"gap_high_ms\",
\"round_trip_median_ms\", \"round_trip_high_ms\", \"lateness_ms\", \"samples\", \"failed_elections\"}, \"elections\", \"leader_changes\",
\"conditions\": [{\"what\", \"missing\"}, ...]}, ...]}

\"progress\" is there on the leader. The latencies are those of the last minute, the rate that of ten seconds.";

pub(super) const MEMBER_HELP: &str = "\
A node that is started with --join applies by itself; `add` is for the rest.

Examples:
  quorate member list
  quorate member remove c
  quorate member remove d e
  quorate member promote 00f1e2d3c4b5a697

JSON: {\"decided\": {...}, \"members\": [{\"node_id\", \"name\", \"client_address\", \"peer_address\",
\"address_version\", \"membership\": \"voter\" | \"learner\" | \"leaving\"}, ...]}";

const REMOVE_HELP: &str = "\
Members that were removed before are left out, so that the command can be repeated. When one name is nobody's, nobody is
removed. A leader that is to go hands leadership to a voter that stays first.

Examples:
  quorate member remove c
  quorate member remove quorate-3 quorate-4";

const ADD_HELP: &str = "\
Example:
  quorate member add 00f1e2d3c4b5a697 --name d --address 10.0.0.4:7400 --peer-address 10.0.0.4:7401";

pub(super) async fn status(client: &Client, command: &Status, console: &mut Console) -> Result<(), Error> {
    if let Some(interval) = command.watch {
        return watch::watch(client, interval, console).await;
    }
    let status = client.status().await?;
    if console.is_json() {
        let nodes: Vec<_> = status.nodes.iter().map(json::node).collect();
        console.json(&json!({ "asked": json::decided(status.header.as_ref()), "nodes": nodes }))?;
    } else {
        console.table(&mut status_table(&status.nodes, None))?;
        let tables = [
            vitals::table(&status.nodes),
            timing::table(&status.nodes),
            storage_table(&status.nodes),
            transfers_table(&status.nodes),
        ];
        for mut table in tables.into_iter().flatten() {
            console.line(b"")?;
            console.table(&mut table)?;
        }
    }
    Ok(())
}

pub(super) async fn member(client: &Client, command: &Member, console: &mut Console) -> Result<(), Error> {
    let (header, members) = match &command.command {
        MemberCommand::List => {
            let v1::ListMembersResponse { header, members } = client.members().await?;
            (header, members)
        }
        MemberCommand::Add(add) => {
            let v1::AddMemberResponse { header, members } = client.add_member(add.member(), add.stay_learner).await?;
            (header, members)
        }
        MemberCommand::Remove(Names { members }) => {
            let v1::RemoveMemberResponse { header, members } = client.remove_members(members).await?;
            (header, members)
        }
        MemberCommand::Promote(Name { member }) => {
            let v1::PromoteMemberResponse { header, members } = client.promote_member(member).await?;
            (header, members)
        }
    };
    if console.is_json() {
        let members: Vec<_> = members.iter().map(json::member).collect();
        console.json(&json!({ "decided": json::decided(header.as_ref()), "members": members }))?;
    } else {
        console.table(&mut members_table(members))?;
    }
    Ok(())
}

/// The condition of nodes as `quorate status` prints it.
pub(in crate::cli) fn status_text(nodes: &[v1::NodeStatus]) -> String {
    status_table(nodes, None).take_text()
}

/// A line for each node; of a sample that is watched with how fast its commit index grows.
pub(super) fn status_table(nodes: &[v1::NodeStatus], watched: Option<&Sample>) -> Table {
    let mut header = vec!["NAME", "NODE ID", "ROLE", "TERM", "COMMIT"];
    header.extend(watched.map(|_| "COMMIT/S"));
    header.extend(["APPLIED", "LAST", "LEADER", "REACHABLE", "ADDRESS", "TROUBLE"]);
    let mut table = Table::new(&header);
    for node in nodes {
        let member = node.member.clone().unwrap_or_default();
        let known = |text: String| if node.reachable { text } else { "-".to_owned() };
        let rate = |sample: &Sample| sample.rate(node).map_or("-".to_owned(), |rate| format!("{rate:.1}"));
        let mut cells = vec![
            member.name,
            member.node_id,
            known(json::role(node).to_owned()),
            known(node.term.to_string()),
            known(node.commit.to_string()),
        ];
        cells.extend(watched.map(rate));
        cells.extend([
            known(node.applied.to_string()),
            known(node.last_index.to_string()),
            known(leader_name(nodes, &node.leader_id)),
            if node.reachable { "yes" } else { "no" }.to_owned(),
            member.client_address,
            node.trouble.clone(),
        ]);
        table.row(cells);
    }
    table
}

/// What the nodes that answer have on disk, a line for each; none: none of them tells.
fn storage_table(nodes: &[v1::NodeStatus]) -> Option<Table> {
    nodes.iter().any(|node| node.storage.is_some()).then_some(())?;
    let mut table = Table::new(&[
        "NAME",
        "LOG FROM",
        "SNAPSHOT",
        "SNAPSHOT SIZE",
        "LOG",
        "ARCHIVE",
        "LIVING",
        "OLDEST FILE",
        "KEPT FOR",
    ]);
    for node in nodes {
        let Some(storage) = &node.storage else { continue };
        table.row([
            node.member.clone().unwrap_or_default().name,
            storage.first_index.to_string(),
            if storage.snapshot_index == 0 { "none".to_owned() } else { storage.snapshot_index.to_string() },
            size(storage.snapshot_bytes),
            size(storage.log_bytes),
            size(storage.archive_bytes),
            size(storage.living_bytes),
            storage.oldest_file.clone(),
            storage.oldest_kept_for.clone(),
        ]);
    }
    Some(table)
}

/// Snapshots that are on their way, as each end sees it; none: there are none.
fn transfers_table(nodes: &[v1::NodeStatus]) -> Option<Table> {
    let mut table = Table::new(&["SNAPSHOT", "OF", "UP TO", "STATE", "BODIES", "HELD"]);
    nodes.iter().any(|node| !node.transfers.is_empty()).then_some(())?;
    for node in nodes {
        let name = node.member.clone().unwrap_or_default().name;
        for transfer in &node.transfers {
            let peer = leader_name(nodes, &transfer.peer_id);
            let way = if transfer.sends { format!("{name} to {peer}") } else { format!("{name} from {peer}") };
            let done =
                |done: String, total: u64, shown: String| if total == 0 { done } else { format!("{done} of {shown}") };
            let held = if transfer.sends { size(transfer.held_bytes) } else { "-".to_owned() };
            table.row([
                if transfer.sends { "sent" } else { "received" }.to_owned(),
                way,
                transfer.index.to_string(),
                done(size(transfer.file_bytes), transfer.file_bytes_total, size(transfer.file_bytes_total)),
                done(transfer.bodies.to_string(), transfer.bodies_total, transfer.bodies_total.to_string()),
                held,
            ]);
        }
    }
    Some(table)
}

/// Bytes as people write them.
pub(super) fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).to_string()
}

/// The name of the leader that a node follows; its id if it has no name here.
fn leader_name(nodes: &[v1::NodeStatus], leader_id: &str) -> String {
    if leader_id.is_empty() {
        return "none".to_owned();
    }
    let mut members = nodes.iter().filter_map(|node| node.member.as_ref());
    match members.find(|member| member.node_id == leader_id) {
        Some(member) if !member.name.is_empty() => member.name.clone(),
        _ => leader_id.to_owned(),
    }
}

fn members_table(members: Vec<v1::Member>) -> Table {
    let mut table = Table::new(&["NAME", "NODE ID", "MEMBERSHIP", "ADDRESS", "PEER ADDRESS"]);
    for member in members {
        let membership = json::membership(&member).to_owned();
        table.row([member.name, member.node_id, membership, member.client_address, member.peer_address]);
    }
    table
}

impl Status {
    /// Whether it goes on until it is interrupted.
    pub(super) fn is_endless(&self) -> bool {
        self.watch.is_some()
    }
}

impl Add {
    fn member(&self) -> v1::Member {
        v1::Member {
            node_id: self.node_id.clone(),
            name: self.name.clone(),
            client_address: self.address.clone(),
            peer_address: self.peer_address.clone(),
            ..v1::Member::default()
        }
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = super::duration(text)?;
    if interval < INTERVAL_MIN {
        return Err(format!("at least {}", humantime::format_duration(INTERVAL_MIN)));
    }
    Ok(interval)
}

fn node_id(text: &str) -> Result<String, String> {
    let id: crate::ids::NodeId = text.parse().map_err(|error: crate::ids::InvalidId| error.to_string())?;
    Ok(id.to_string())
}
