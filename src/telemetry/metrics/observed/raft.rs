//! The protocol, as this node's replica sees it.

use opentelemetry::KeyValue;

use super::Look::{Gauge, Seconds};
use super::{Observed, Seen, Tell, one_of, whole};
use crate::ids::Index;
use crate::raft::{RoleName, Spread, Timeouts, Timing, Why};
use crate::replica::Status;
use crate::telemetry::metrics::figures::{Figures, Peer};

const ROLE: &str = "quorate.raft.role";
const TIMEOUT: &str = "quorate.raft.timeout";
const REASON: &str = "quorate.raft.timeout.reason";
const MEASURED: &str = "quorate.raft.measured";
const PEER: &str = "quorate.peer";

/// All that [`role`] says.
const ROLES: [&str; 6] = ["leader", "follower", "candidate", "pre_candidate", "learner", "outsider"];

pub(super) const ALL: &[Observed] = &[
    Observed::new(
        "quorate.raft.role",
        "",
        &[ROLE],
        "1 for the role of the node, 0 for the others",
        Gauge(|seen, tell| {
            if let Some(figures) = &seen.node {
                one_of(&ROLES, Some(role(figures)), ROLE, tell);
            }
        }),
    ),
    Observed::new(
        "quorate.raft.leader.known",
        "",
        &[],
        "1 while the node knows who leads, itself included",
        Gauge(|seen, tell| {
            if let Some(figures) = &seen.node {
                let knows = figures.replica.as_ref().is_some_and(|status| status.leader.is_some());
                tell(i64::from(knows), &[]);
            }
        }),
    ),
    Observed::new(
        "quorate.raft.term",
        "{term}",
        &[],
        "The term",
        Gauge(|seen, tell| {
            if let Some(status) = status(seen) {
                tell(whole(status.term.0), &[]);
            }
        }),
    ),
    Observed::new(
        "quorate.raft.commit.index",
        "{entry}",
        &[],
        "The last entry that the node knows to be committed",
        Gauge(|seen, tell| {
            index(seen, |status| status.commit, tell);
        }),
    ),
    Observed::new(
        "quorate.raft.applied.index",
        "{entry}",
        &[],
        "The last entry that the node has applied",
        Gauge(|seen, tell| {
            index(seen, |status| status.applied, tell);
        }),
    ),
    Observed::new(
        "quorate.raft.last.index",
        "{entry}",
        &[],
        "The last entry of the log of the node",
        Gauge(|seen, tell| {
            index(seen, |status| status.last.index, tell);
        }),
    ),
    Observed::new(
        "quorate.raft.durable.index",
        "{entry}",
        &[],
        "The last entry that is on the disk of the node",
        Gauge(|seen, tell| {
            index(seen, |status| status.durable, tell);
        }),
    ),
    Observed::new(
        "quorate.raft.first.index",
        "{entry}",
        &[],
        "The first entry of the log of the node; those before are in its snapshot",
        Gauge(|seen, tell| {
            index(seen, |status| status.log_start.index.next(), tell);
        }),
    ),
    Observed::new(
        "quorate.raft.snapshot.index",
        "{entry}",
        &[],
        "The last entry that the snapshot of the node has in it",
        Gauge(|seen, tell| {
            index(seen, |status| status.snapshot.index, tell);
        }),
    ),
    Observed::new(
        "quorate.raft.timeout",
        "s",
        &[TIMEOUT],
        "The time-outs in force",
        Seconds(|seen, tell| {
            let Some(Timing { timeouts, .. }) = timing(seen) else { return };
            let Timeouts { election_min, election_max, heartbeat } = timeouts;
            for (what, duration) in
                [("election_min", election_min), ("election_max", election_max), ("heartbeat", heartbeat)]
            {
                tell(duration.as_secs_f64(), &[KeyValue::new(TIMEOUT, what)]);
            }
        }),
    ),
    Observed::new(
        "quorate.raft.timeout.reason",
        "",
        &[REASON],
        "1 for what decided the election time-out, 0 for the rest",
        Gauge(|seen, tell| {
            if let Some(Timing { why, .. }) = timing(seen) {
                one_of(&Why::ALL.map(Why::name), Some(why.name()), REASON, tell);
            }
        }),
    ),
    Observed::new(
        "quorate.raft.measured",
        "s",
        &[MEASURED],
        "What time-outs that adapt go by: the longest silences of heartbeat intervals, round trips, and how late the node itself was",
        Seconds(|seen, tell| {
            let Some(Timing { gaps, round_trips, lateness, .. }) = timing(seen) else { return };
            let median = |spread: Option<Spread>| spread.map(|spread| spread.median);
            let high = |spread: Option<Spread>| spread.map(|spread| spread.high);
            let measured = [
                ("gap_median", median(gaps)),
                ("gap_high", high(gaps)),
                ("round_trip_median", median(round_trips)),
                ("round_trip_high", high(round_trips)),
                ("lateness", Some(lateness)),
            ];
            for (what, duration) in measured {
                if let Some(duration) = duration {
                    tell(duration.as_secs_f64(), &[KeyValue::new(MEASURED, what)]);
                }
            }
        }),
    ),
    Observed::new(
        "quorate.raft.peer.heard",
        "",
        &[PEER],
        "1 for a member that the leader hears, 0 for one that it does not; told by the leader",
        Gauge(|seen, tell| {
            let Some((figures, status)) = leader(seen) else { return };
            for peer in status.membership.configuration.members().filter(|member| *member != figures.node) {
                tell(i64::from(status.well.contains(&peer)), &[KeyValue::new(PEER, figures.name(peer))]);
            }
        }),
    ),
    Observed::new(
        "quorate.raft.peer.lag",
        "{entry}",
        &[PEER],
        "Entries of the log of the leader that a member does not have; told by the leader",
        Gauge(|seen, tell| {
            let Some((_, status)) = leader(seen) else { return };
            for (peer, attributes) in peers(seen) {
                tell(whole(status.last.index.0.saturating_sub(peer.view.matched.0)), &attributes);
            }
        }),
    ),
    Observed::new(
        "quorate.raft.peer.in_flight.messages",
        "{message}",
        &[PEER],
        "AppendEntries that a member has not answered; told by the leader",
        Gauge(|seen, tell| {
            for (peer, attributes) in peers(seen) {
                tell(peer.view.messages_in_flight as i64, &attributes);
            }
        }),
    ),
    Observed::new(
        "quorate.raft.peer.in_flight.size",
        "By",
        &[PEER],
        "The entries in them; told by the leader",
        Gauge(|seen, tell| {
            for (peer, attributes) in peers(seen) {
                tell(whole(peer.view.bytes_in_flight), &attributes);
            }
        }),
    ),
    Observed::new(
        "quorate.raft.peer.last_contact",
        "s",
        &[PEER],
        "How long ago a member last answered; nothing for one that has not in this term; told by the leader",
        Seconds(|seen, tell| {
            for (peer, attributes) in peers(seen) {
                if let Some(ago) = peer.last_contact {
                    tell(ago.as_secs_f64(), &attributes);
                }
            }
        }),
    ),
    Observed::new(
        "quorate.raft.peer.round_trip",
        "s",
        &[PEER],
        "How long the answer to a heartbeat took; told by the leader",
        Seconds(|seen, tell| {
            for (peer, attributes) in peers(seen) {
                if let Some(took) = peer.view.round_trip {
                    tell(took.as_secs_f64(), &attributes);
                }
            }
        }),
    ),
];

fn status(seen: &Seen) -> Option<&Status> {
    seen.node.as_ref()?.replica.as_ref()
}

fn timing(seen: &Seen) -> Option<Timing> {
    seen.node.as_ref()?.timing
}

fn index(seen: &Seen, of: fn(&Status) -> Index, tell: Tell<i64>) {
    if let Some(status) = status(seen) {
        tell(whole(of(status).0), &[]);
    }
}

/// The figures of a node that leads.
pub(super) fn leader(seen: &Seen) -> Option<(&Figures, &Status)> {
    let figures = seen.node.as_ref()?;
    let status = figures.replica.as_ref()?;
    (status.role == RoleName::Leader).then_some((figures, status))
}

/// What a leader knows of the other members, each with its name.
fn peers(seen: &Seen) -> impl Iterator<Item = (&Peer, [KeyValue; 1])> {
    leader(seen).into_iter().flat_map(|(figures, _)| {
        figures.peers.iter().map(|(node, peer)| (peer, [KeyValue::new(PEER, figures.name(*node))]))
    })
}

fn role(figures: &Figures) -> &'static str {
    let Some(status) = &figures.replica else { return "outsider" };
    let configuration = &status.membership.configuration;
    match status.role {
        _ if status.removed.is_some() || !configuration.is_member(figures.node) => "outsider",
        _ if configuration.learners.contains_key(&figures.node) => "learner",
        RoleName::Leader => "leader",
        RoleName::Follower => "follower",
        RoleName::Candidate => "candidate",
        RoleName::PreCandidate => "pre_candidate",
    }
}
