//! The cluster as the page shows it: what the nodes told last, put together. Pure: time comes in with what is known.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::alarms::Alarm;
use crate::ids::NodeId;
use crate::proto::v1;
use crate::raft::{CommitQuorum, Configuration};

/// What is known of the cluster at one moment.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// The node that looks.
    pub(super) asked: NodeId,
    /// Milliseconds since 1970, on its clock.
    pub(super) now: u64,
    /// Empty: it belongs to none yet.
    pub(super) cluster_id: String,
    pub(super) configuration: Configuration,
    /// The node that looks was left out of the cluster: all of this is as old as that.
    pub(super) removed: bool,
    /// The node that looks, all members, and the leader.
    pub(super) nodes: BTreeMap<NodeId, Heard>,
}

/// What is known of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Heard {
    /// Who it is, as the node that looks knows it.
    pub(super) member: v1::Member,
    /// It answered when it was asked last.
    pub(super) reachable: bool,
    /// When it answered last.
    pub(super) seen_at: Option<u64>,
    /// What it said then.
    pub(super) status: Option<v1::NodeStatus>,
    /// By how much its clock was then ahead of that of the node that looks, at least; negative: behind it.
    pub(super) clock_ahead_ms: Option<i64>,
    /// It does not answer, and this node has heard how its process ended: in words.
    pub(super) end: Option<&'static str>,
}

/// What the settings of the node say about the page.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Settings {
    pub(super) show_content: bool,
    pub(super) token_needed: bool,
    pub(super) trace_url: Option<String>,
}

/// The cluster, for the page.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Cluster {
    pub(super) asked: Asked,
    pub(super) now: u64,
    pub(super) cluster_id: String,
    #[serde(flatten)]
    pub(super) settings: Settings,
    pub(super) leader: Option<String>,
    pub(super) term: u64,
    pub(super) quorum: &'static str,
    pub(super) joint: bool,
    pub(super) voters: usize,
    pub(super) voters_up: usize,
    pub(super) needed: usize,
    pub(super) tolerates: i64,
    pub(super) commit_rate: Option<f64>,
    pub(super) commit_p99_ms: Option<f64>,
    #[serde(skip)]
    pub(super) commit_p50_ms: Option<f64>,
    /// Of how many commits these are.
    #[serde(skip)]
    pub(super) commits: u64,
    /// The node whose page this is was left out: who belongs to the cluster, it knows only up to then.
    pub(super) removed: bool,
    /// Without the node whose page this is there may be enough voters that reach each other.
    #[serde(skip)]
    pub(super) others_may_serve: bool,
    pub(super) alarms: Vec<Alarm>,
    pub(super) nodes: Vec<Node>,
}

/// The node whose page this is.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Asked {
    pub(super) id: String,
    pub(super) name: String,
}

/// A node, for the page.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Node {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) client_address: String,
    pub(super) peer_address: String,
    pub(super) membership: &'static str,
    pub(super) reachable: bool,
    pub(super) seen_at: Option<u64>,
    #[serde(flatten)]
    pub(super) told: Told,
    /// As its leader sees it.
    pub(super) lag: Option<u64>,
    pub(super) in_flight: Option<InFlight>,
    pub(super) last_contact_ms: Option<f64>,
    pub(super) round_trip_ms: Option<f64>,
    pub(super) heartbeats_sent: Option<u64>,
    pub(super) heartbeats_heard: Option<u64>,
    pub(super) clock_ahead_ms: Option<i64>,
    #[serde(skip)]
    pub(super) end: Option<&'static str>,
    /// It does not answer the node that looks, and the leader, which does, counts on it.
    #[serde(skip)]
    pub(super) heard_by_leader: bool,
}

/// What a node has said of itself; all none: it never did.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Told {
    pub(super) admin_address: Option<String>,
    pub(super) role: Option<&'static str>,
    pub(super) term: Option<u64>,
    pub(super) voted_for: Option<String>,
    pub(super) leader: Option<String>,
    pub(super) commit: Option<u64>,
    pub(super) applied: Option<u64>,
    pub(super) last: Option<u64>,
    pub(super) durable: Option<u64>,
    pub(super) first: Option<u64>,
    pub(super) snapshot: Option<u64>,
    pub(super) fsync_p50_ms: Option<f64>,
    pub(super) fsync_p99_ms: Option<f64>,
    /// Of how many syncs that is.
    #[serde(skip)]
    pub(super) fsyncs: u64,
    pub(super) commit_p50_ms: Option<f64>,
    pub(super) commit_p99_ms: Option<f64>,
    pub(super) disk: Option<Disk>,
    pub(super) timeouts: Option<Timeouts>,
    pub(super) elections: Option<u64>,
    pub(super) leader_changes: Option<u64>,
    pub(super) version: Option<String>,
    pub(super) uptime_s: Option<u64>,
    pub(super) memory: Option<u64>,
    pub(super) health: Vec<Health>,
    pub(super) trouble: String,
    /// It answers, and takes part in nothing.
    pub(super) stands_still: bool,
    pub(super) transfers: Vec<Transfer>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct InFlight {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Disk {
    pub(super) log: u64,
    pub(super) archive: u64,
    pub(super) living: u64,
    pub(super) snapshot: u64,
    pub(super) spare: u64,
    pub(super) written: u64,
    pub(super) free: Option<u64>,
    pub(super) total: Option<u64>,
    pub(super) oldest_file: String,
    pub(super) oldest_kept_for: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Timeouts {
    pub(super) election_min_ms: Option<f64>,
    pub(super) election_max_ms: Option<f64>,
    pub(super) heartbeat_ms: Option<f64>,
    /// What decided the election time-out, in a word.
    pub(super) reason: String,
    pub(super) gap_median_ms: Option<f64>,
    pub(super) gap_high_ms: Option<f64>,
    pub(super) round_trip_median_ms: Option<f64>,
    pub(super) round_trip_high_ms: Option<f64>,
    pub(super) lateness_ms: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Health {
    pub(super) what: String,
    pub(super) missing: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Transfer {
    pub(super) peer: String,
    pub(super) sends: bool,
    pub(super) index: u64,
    pub(super) file_bytes: u64,
    pub(super) file_bytes_total: Option<u64>,
    pub(super) bodies: u64,
    pub(super) bodies_total: Option<u64>,
}

impl Cluster {
    /// The cluster as it is known, without its alarms.
    pub(super) fn of(known: &Known, settings: Settings) -> Self {
        let leader = leader(&known.nodes);
        let leads = leader.and_then(|leader| known.nodes[&leader].status.as_ref());
        let mut nodes: Vec<Node> = known.nodes.iter().map(|(id, heard)| node(known, leader, *id, heard)).collect();
        nodes.sort_by(|left, right| (&left.name, &left.id).cmp(&(&right.name, &right.id)));
        let Known { configuration, .. } = known;
        let takes_part = |node: NodeId| known.nodes.get(&node).is_some_and(Heard::takes_part);
        let is_up = |node: NodeId| takes_part(node) || known.is_heard_by(leader, node);
        let is_silent = |node: NodeId| known.nodes.get(&node).is_none_or(|heard| !heard.reachable);
        let may_serve = |node: NodeId| node != known.asked && (is_up(node) || is_silent(node));
        let half = |voters: &BTreeSet<NodeId>| Half {
            voters: voters.len(),
            up: voters.iter().filter(|voter| is_up(**voter)).count(),
            others: voters.iter().filter(|voter| may_serve(**voter)).count(),
            needed: if voters.is_empty() { 0 } else { configuration.needed(voters.len()) },
        };
        let incoming = half(&configuration.voters);
        let outgoing = configuration.is_joint().then(|| half(&configuration.voters_outgoing));
        let others_may_serve = [Some(&incoming), outgoing.as_ref()].into_iter().flatten().all(Half::does_without_asked);
        // While voters change, both halves have to agree: the one that can lose fewer decides.
        let decides = outgoing.filter(|outgoing| outgoing.margin() < incoming.margin()).unwrap_or(incoming);
        let terms = known.nodes.values().filter(|heard| heard.reachable).filter_map(|heard| heard.status.as_ref());
        let name = known.nodes.get(&known.asked).map(|heard| heard.member.name.clone()).unwrap_or_default();
        Self {
            asked: Asked { id: known.asked.to_string(), name },
            now: known.now,
            cluster_id: known.cluster_id.clone(),
            settings,
            leader: leader.map(|leader| leader.to_string()),
            term: terms.map(|status| status.term).max().unwrap_or(0),
            quorum: match configuration.commit_quorum {
                CommitQuorum::Majority => "majority",
                CommitQuorum::HalfPlusOne => "half_plus_one",
            },
            joint: configuration.is_joint() && !known.removed,
            voters: decides.voters,
            voters_up: decides.up,
            needed: decides.needed,
            tolerates: decides.margin(),
            commit_rate: leads.map(|leader| rounded(leader.commits_per_second)),
            commit_p99_ms: leads.and_then(|leader| p99(leader.commit_latency.as_ref())),
            commit_p50_ms: leads.and_then(|leader| p50(leader.commit_latency.as_ref())),
            commits: leads.and_then(|leader| leader.commit_latency).map_or(0, |latency| latency.count),
            removed: known.removed,
            others_may_serve,
            alarms: Vec::new(),
            nodes,
        }
    }
}

/// Voters that decide together.
struct Half {
    voters: usize,
    up: usize,
    /// Without the node that looks: those that are up, and those that it does not hear.
    others: usize,
    needed: usize,
}

impl Half {
    fn does_without_asked(&self) -> bool {
        self.others >= self.needed
    }

    /// How many more of them can be lost; negative: so many are missing.
    fn margin(&self) -> i64 {
        self.up as i64 - self.needed as i64
    }
}

impl Known {
    /// A node does not answer the one that looks, and the leader, which does, counts on it: the way between the two is broken.
    fn is_heard_by(&self, leader: Option<NodeId>, node: NodeId) -> bool {
        let is_silent = self.nodes.get(&node).is_some_and(|heard| !heard.reachable);
        let leads = leader.and_then(|leader| self.nodes.get(&leader)).filter(|leader| leader.takes_part());
        is_silent && leads.and_then(|leader| leader.status.as_ref()).is_some_and(|leader| counts_on(leader, node))
    }
}

/// A leader counts on a member, and has heard it lately at the time of asking: one that hangs says what it found last.
fn counts_on(leader: &v1::NodeStatus, node: NodeId) -> bool {
    let patience = leader.timeouts.as_ref().and_then(|timeouts| milliseconds(timeouts.election_max));
    let progress = progress_of(leader, &node.to_string()).filter(|progress| progress.well);
    let silence = progress.and_then(|progress| milliseconds(progress.last_contact));
    patience.is_some_and(|patience| silence.is_some_and(|silence| silence <= patience))
}

/// What a leader says of another member.
fn progress_of<'a>(leader: &'a v1::NodeStatus, node: &str) -> Option<&'a v1::Progress> {
    leader.progress.iter().find(|progress| progress.node_id == node)
}

impl Heard {
    /// As the node that looks knows it. A learner that has not received the log yet knows no members: then as this one says itself.
    fn membership(&self) -> v1::Membership {
        let told = self.status.as_ref().and_then(|status| status.member.as_ref());
        let known = Some(self.member.membership()).filter(|known| *known != v1::Membership::Unspecified);
        known.or(told.map(v1::Member::membership)).unwrap_or_default()
    }

    /// It answers, and does what a member does.
    pub(super) fn takes_part(&self) -> bool {
        let stands_still = |status: &v1::NodeStatus| status.stands_still || status.role() == v1::Role::Outsider;
        self.reachable && self.status.as_ref().is_some_and(|status| !stands_still(status))
    }
}

/// The leader of the highest term, as those tell it that can be reached: one that says so itself, or one that others name and that
/// does not say otherwise.
pub(super) fn leader(nodes: &BTreeMap<NodeId, Heard>) -> Option<NodeId> {
    let leader_of = |heard: &Heard| heard.status.as_ref()?.leader_id.parse::<NodeId>().ok();
    let denies = |node: NodeId| nodes.get(&node).is_none_or(|heard| heard.reachable && leader_of(heard) != Some(node));
    let reachable = nodes.values().filter(|heard| heard.reachable);
    let named = reachable.filter_map(|heard| Some((heard.status.as_ref()?.term, leader_of(heard)?)));
    named.filter(|(_, leader)| !denies(*leader)).max().map(|(_, leader)| leader)
}

fn node(known: &Known, leader: Option<NodeId>, id: NodeId, heard: &Heard) -> Node {
    let member = &heard.member;
    // What the leader said last, if another node leads.
    let leads = leader.filter(|leader| *leader != id).and_then(|leader| known.nodes[&leader].status.as_ref());
    let progress = leads.and_then(|leader| progress_of(leader, &member.node_id));
    let told = heard.status.as_ref();
    let lag = match (leads, told) {
        (None, Some(_)) if leader == Some(id) => Some(0),
        (Some(leader), _) if progress.is_some_and(|progress| progress.matched > 0) => {
            progress.map(|progress| leader.last_index.saturating_sub(progress.matched))
        }
        (Some(leader), Some(told)) => Some(leader.last_index.saturating_sub(told.last_index)),
        // Neither this node nor the leader has heard from it: as far as they know, it has nothing yet.
        (Some(leader), None) if progress.is_some() && member.membership() == v1::Membership::Learner => {
            Some(leader.last_index)
        }
        _ => None,
    };
    Node {
        id: id.to_string(),
        name: member.name.clone(),
        client_address: member.client_address.clone(),
        peer_address: member.peer_address.clone(),
        membership: membership(heard.membership()),
        reachable: heard.reachable,
        seen_at: heard.seen_at,
        told: told.map(Told::by).unwrap_or_default(),
        lag,
        in_flight: progress
            .map(|progress| InFlight { messages: progress.messages_in_flight, bytes: progress.bytes_in_flight }),
        last_contact_ms: progress.and_then(|progress| milliseconds(progress.last_contact)),
        round_trip_ms: progress.and_then(|progress| milliseconds(progress.round_trip)),
        heartbeats_sent: progress.map(|progress| progress.heartbeats_sent),
        heartbeats_heard: progress.map(|progress| progress.heartbeats_heard),
        clock_ahead_ms: heard.clock_ahead_ms,
        end: heard.end,
        // A leader that looks and asks in vain is no other way to reach it.
        heard_by_leader: leader != Some(known.asked) && known.is_heard_by(leader, id),
    }
}

impl Told {
    fn by(status: &v1::NodeStatus) -> Self {
        let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let storage = status.storage.as_ref();
        let condition =
            |condition: &v1::Condition| Health { what: condition.what.clone(), missing: text(&condition.missing) };
        Self {
            admin_address: text(&status.admin_address),
            role: role(status.role()),
            term: Some(status.term),
            voted_for: text(&status.voted_for_id),
            leader: text(&status.leader_id),
            commit: Some(status.commit),
            applied: Some(status.applied),
            last: Some(status.last_index),
            durable: Some(status.durable).filter(|durable| *durable > 0 || status.last_index == 0),
            first: storage.map(|storage| storage.first_index),
            snapshot: storage.map(|storage| storage.snapshot_index),
            fsync_p50_ms: p50(status.fsync.as_ref()),
            fsync_p99_ms: p99(status.fsync.as_ref()),
            fsyncs: status.fsync.map_or(0, |latency| latency.count),
            commit_p50_ms: p50(status.commit_latency.as_ref()),
            commit_p99_ms: p99(status.commit_latency.as_ref()),
            disk: storage.map(disk),
            timeouts: status.timeouts.as_ref().map(|timeouts| Timeouts {
                election_min_ms: milliseconds(timeouts.election_min),
                election_max_ms: milliseconds(timeouts.election_max),
                heartbeat_ms: milliseconds(timeouts.heartbeat),
                reason: timeouts.reason.clone(),
                gap_median_ms: timeouts.gaps.and_then(|gaps| milliseconds(gaps.median)),
                gap_high_ms: timeouts.gaps.and_then(|gaps| milliseconds(gaps.high)),
                round_trip_median_ms: timeouts.round_trips.and_then(|times| milliseconds(times.median)),
                round_trip_high_ms: timeouts.round_trips.and_then(|times| milliseconds(times.high)),
                lateness_ms: milliseconds(timeouts.lateness),
            }),
            elections: Some(status.elections),
            leader_changes: Some(status.leader_changes),
            version: text(&status.version),
            uptime_s: status.uptime.map(|uptime| u64::try_from(uptime.seconds).unwrap_or(0)),
            memory: some(status.memory_bytes),
            health: status.conditions.iter().map(condition).collect(),
            trouble: status.trouble.clone(),
            stands_still: status.stands_still,
            transfers: status.transfers.iter().map(transfer).collect(),
        }
    }
}

fn disk(storage: &v1::StorageStatus) -> Disk {
    Disk {
        log: storage.log_bytes,
        archive: storage.archive_bytes,
        living: storage.living_bytes,
        snapshot: storage.snapshot_bytes,
        spare: storage.spare_bytes,
        written: storage.written_bytes,
        // A node that cannot ask its file system says 0 for both.
        free: some(storage.total_bytes).map(|_| storage.free_bytes),
        total: some(storage.total_bytes),
        oldest_file: storage.oldest_file.clone(),
        oldest_kept_for: storage.oldest_kept_for.clone(),
    }
}

fn transfer(transfer: &v1::SnapshotTransfer) -> Transfer {
    Transfer {
        peer: transfer.peer_id.clone(),
        sends: transfer.sends,
        index: transfer.index,
        file_bytes: transfer.file_bytes,
        file_bytes_total: some(transfer.file_bytes_total),
        bodies: transfer.bodies,
        bodies_total: some(transfer.bodies_total),
    }
}

fn membership(membership: v1::Membership) -> &'static str {
    match membership {
        v1::Membership::Voter => "voter",
        v1::Membership::Learner => "learner",
        v1::Membership::Leaving => "leaving",
        v1::Membership::Unspecified => "none",
    }
}

fn role(role: v1::Role) -> Option<&'static str> {
    match role {
        v1::Role::Follower => Some("follower"),
        v1::Role::PreCandidate => Some("pre_candidate"),
        v1::Role::Candidate => Some("candidate"),
        v1::Role::Leader => Some("leader"),
        v1::Role::Learner => Some("learner"),
        v1::Role::Outsider => Some("outsider"),
        v1::Role::Unspecified => None,
    }
}

/// Where 0 stands for "not known".
fn some(number: u64) -> Option<u64> {
    Some(number).filter(|number| *number > 0)
}

fn p50(latency: Option<&v1::Latency>) -> Option<f64> {
    latency.filter(|latency| latency.count > 0).and_then(|latency| milliseconds(latency.p50))
}

fn p99(latency: Option<&v1::Latency>) -> Option<f64> {
    latency.filter(|latency| latency.count > 0).and_then(|latency| milliseconds(latency.p99))
}

/// A duration that a node tells; one that makes no sense is none.
fn milliseconds(duration: Option<prost_types::Duration>) -> Option<f64> {
    let duration: Duration = duration?.try_into().ok()?;
    Some(rounded(duration.as_secs_f64() * 1e3))
}

/// To a thousandth: more digits only make messages longer. What is no number is 0.
fn rounded(number: f64) -> f64 {
    if number.is_finite() { (number * 1e3).round() / 1e3 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Voters 1 to 3 in term 2, each with the leader that it names, or one that does not answer.
    fn known(leaders: [Option<u64>; 3]) -> Known {
        let mut configuration = Configuration::of_one(NodeId(1), CommitQuorum::Majority);
        configuration.voters.extend([NodeId(2), NodeId(3)]);
        let heard = |(node, leader): (u64, Option<u64>)| {
            let status = v1::NodeStatus {
                role: if leader == Some(node) { v1::Role::Leader.into() } else { v1::Role::Follower.into() },
                term: 2,
                last_index: 10 + node,
                leader_id: leader
                    .filter(|leader| *leader > 0)
                    .map(|leader| NodeId(leader).to_string())
                    .unwrap_or_default(),
                progress: vec![v1::Progress { node_id: NodeId(2).to_string(), matched: 5, ..Default::default() }],
                ..Default::default()
            };
            let member = v1::Member { node_id: NodeId(node).to_string(), ..Default::default() };
            let heard = Heard { member, reachable: leader.is_some(), seen_at: Some(1), ..Heard::default() };
            (NodeId(node), Heard { status: Some(status), ..heard })
        };
        let nodes = (1..).zip(leaders).map(heard).collect();
        Known { asked: NodeId(1), now: 9, cluster_id: "c".to_owned(), configuration, removed: false, nodes }
    }

    fn shown(leaders: [Option<u64>; 3]) -> Cluster {
        Cluster::of(&known(leaders), Settings { show_content: true, ..Settings::default() })
    }

    #[test]
    fn who_leads_is_told_by_those_who_answer() {
        let leader = |leaders| shown(leaders).leader;
        let one = Some(NodeId(1).to_string());
        assert_eq!(leader([Some(1), Some(1), Some(1)]), one);
        assert_eq!(leader([None, Some(1), Some(1)]), one, "this node does not hear it, others do");
        assert_eq!(leader([Some(0), Some(1), Some(1)]), None, "it says that it does not lead");
        assert_eq!(leader([Some(0), Some(0), None]), None);
    }

    #[test]
    fn voters_that_answer_are_counted_against_those_that_are_needed() {
        let counted = |leaders| {
            let Cluster { voters, voters_up, needed, tolerates, .. } = shown(leaders);
            (voters, voters_up, needed, tolerates)
        };
        assert_eq!(counted([Some(1), Some(1), Some(1)]), (3, 3, 2, 1));
        assert_eq!(counted([Some(1), None, Some(1)]), (3, 2, 2, 0));
        assert_eq!(counted([Some(0), None, None]), (3, 1, 2, -1));
    }

    /// The link between nodes 1, which looks, and 3 is broken, and 2 leads.
    #[test]
    fn a_voter_that_only_the_leader_hears_is_up() {
        let counted = |well: bool, heard_ms, change: fn(&mut Known)| {
            let mut known = known([Some(2), Some(2), None]);
            let leader = known.nodes.get_mut(&NodeId(2)).unwrap().status.as_mut().unwrap();
            let milliseconds = |nanos| Some(prost_types::Duration { seconds: 0, nanos: nanos * 1_000_000 });
            leader.timeouts = Some(v1::Timeouts { election_max: milliseconds(300), ..Default::default() });
            let last_contact = milliseconds(heard_ms);
            let node_id = NodeId(3).to_string();
            leader.progress = vec![v1::Progress { node_id, well, last_contact, ..Default::default() }];
            change(&mut known);
            let cluster = Cluster::of(&known, Settings::default());
            (cluster.voters_up, cluster.nodes[2].heard_by_leader)
        };
        assert_eq!(counted(true, 300, |_| {}), (3, true));
        assert_eq!(counted(false, 300, |_| {}), (2, false), "the leader does not hear it either");
        assert_eq!(counted(true, 301, |_| {}), (2, false), "the leader has not noticed yet, or hangs");
        assert_eq!(
            counted(true, 300, |known| known.asked = NodeId(2)),
            (3, false),
            "the leader looks: it is asked in vain"
        );
        let silent = |known: &mut Known| known.nodes.get_mut(&NodeId(2)).unwrap().reachable = false;
        assert_eq!(counted(true, 300, silent), (1, false), "what a leader said that is not heard any more is over");
    }

    #[test]
    fn the_others_may_serve_only_where_they_are_enough() {
        let may = |leaders, change: fn(&mut Configuration)| {
            let mut known = known(leaders);
            change(&mut known.configuration);
            Cluster::of(&known, Settings::default()).others_may_serve
        };
        let (alone, all_voters) = ([Some(0), None, None], |_: &mut Configuration| {});
        assert!(may(alone, all_voters) && may([Some(0), None, Some(0)], all_voters));
        assert!(
            !may(alone, |configuration| configuration.voters = [NodeId(1), NodeId(2)].into()),
            "one is no majority"
        );
        assert!(!may(alone, |configuration| configuration.commit_quorum = CommitQuorum::HalfPlusOne), "all are needed");
        let outgoing =
            |configuration: &mut Configuration| configuration.voters_outgoing = [NodeId(1), NodeId(3)].into();
        assert!(!may(alone, outgoing), "both halves are needed");
    }

    #[test]
    fn a_member_that_was_never_heard_is_shown_as_the_leader_sees_it() {
        let mut known = known([Some(1), None, Some(1)]);
        known.nodes.get_mut(&NodeId(2)).unwrap().status = None;
        let leader = known.nodes.get_mut(&NodeId(1)).unwrap().status.as_mut().unwrap();
        leader.progress[0].last_contact = Some(prost_types::Duration { seconds: 700, nanos: 0 });
        let two = &Cluster::of(&known, Settings::default()).nodes[1];
        assert_eq!((two.lag, two.last_contact_ms), (Some(6), Some(700_000.0)));
        let leader = known.nodes.get_mut(&NodeId(1)).unwrap().status.as_mut().unwrap();
        leader.progress = vec![v1::Progress { node_id: NodeId(2).to_string(), ..Default::default() }];
        let lag = |known: &Known| Cluster::of(known, Settings::default()).nodes[1].lag;
        assert_eq!(lag(&known), None, "a voter that this leader has not heard either");
        known.nodes.get_mut(&NodeId(2)).unwrap().member.set_membership(v1::Membership::Learner);
        assert_eq!(lag(&known), Some(11), "a learner that nobody has heard begins with nothing");
    }

    /// A learner hears from the leader before it has the log, and so before it knows the members.
    #[test]
    fn a_leader_that_is_not_known_to_be_a_member_tells_what_it_is() {
        let mut known = known([Some(2), Some(2), None]);
        known.configuration = Configuration::EMPTY;
        known.nodes.get_mut(&NodeId(2)).unwrap().status.as_mut().unwrap().member =
            Some(v1::Member { membership: v1::Membership::Voter.into(), ..Default::default() });
        let cluster = Cluster::of(&known, Settings::default());
        assert_eq!((cluster.leader, cluster.nodes[1].membership), (Some(NodeId(2).to_string()), "voter"));
    }

    #[test]
    fn a_node_that_was_removed_knows_of_no_change_of_members() {
        let mut known = known([Some(1), Some(1), Some(1)]);
        known.configuration.voters_outgoing = [NodeId(4)].into();
        assert!(Cluster::of(&known, Settings::default()).joint);
        known.removed = true;
        let cluster = Cluster::of(&known, Settings::default());
        assert!(cluster.removed && !cluster.joint);
    }

    #[test]
    fn a_voter_that_stands_still_is_as_good_as_lost() {
        let mut known = known([Some(1), Some(1), Some(1)]);
        let status = known.nodes.get_mut(&NodeId(3)).unwrap().status.as_mut().unwrap();
        status.stands_still = true;
        let cluster = Cluster::of(&known, Settings::default());
        assert_eq!((cluster.voters_up, cluster.tolerates), (2, 0));
        assert!(cluster.nodes[2].reachable && cluster.nodes[2].told.stands_still);
    }

    /// Voters 1 to 3 are being replaced by 1, 4 and 5, of which two do not answer yet; and the other way round.
    #[test]
    fn while_voters_change_the_half_that_can_lose_fewer_is_told() {
        let mut known = known([Some(1), Some(1), Some(1)]);
        let (new, old) = ([1, 4, 5].map(NodeId).into(), known.configuration.voters.clone());
        (known.configuration.voters, known.configuration.voters_outgoing) = (old.clone(), new);
        let counted = |known: &Known| {
            let Cluster { joint, voters, voters_up, needed, tolerates, .. } = Cluster::of(known, Settings::default());
            (joint, voters, voters_up, needed, tolerates)
        };
        assert_eq!(counted(&known), (true, 3, 1, 2, -1));
        std::mem::swap(&mut known.configuration.voters, &mut known.configuration.voters_outgoing);
        assert_eq!(counted(&known), (true, 3, 1, 2, -1));
        (known.configuration.voters, known.configuration.voters_outgoing) = (old, [NodeId(1)].into());
        assert_eq!(counted(&known), (true, 1, 1, 1, 0), "one voter becomes three");
    }

    #[test]
    fn a_node_that_does_not_answer_keeps_what_it_said() {
        let cluster = shown([Some(1), Some(1), None]);
        let [one, two, three] = &cluster.nodes[..] else { panic!("three nodes") };
        assert_eq!(
            (one.lag, two.lag, three.lag),
            (Some(0), Some(6), Some(0)),
            "as the leader sees them, or by their logs"
        );
        assert_eq!((three.reachable, three.told.last, three.seen_at), (false, Some(13), Some(1)));
        let json = serde_json::to_value(&cluster).unwrap();
        assert_eq!(
            (&json["nodes"][2]["last"], &json["show_content"]),
            (&13.into(), &true.into()),
            "all of it on one level"
        );
        assert!(json["nodes"][2]["fsync_p99_ms"].is_null(), "what is not known is null");
    }
}
