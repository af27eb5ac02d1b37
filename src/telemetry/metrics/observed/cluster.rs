//! The members, and what the cluster bears.

use opentelemetry::KeyValue;

use super::Look::{Gauge, Seconds};
use super::Observed;
use super::raft::leader;

const KIND: &str = "quorate.member.kind";
const PEER: &str = "quorate.peer";
const PORT: &str = "quorate.port";

pub(super) const ALL: &[Observed] = &[
    Observed::new(
        "quorate.cluster.failures.tolerated",
        "{voter}",
        &[],
        "How many more voters can be lost before nothing is committed or nobody is elected, \
         counted from those that the leader hears; negative: so many are missing; told by the \
         leader",
        Gauge(|seen, tell| {
            let Some((figures, status)) = leader(seen) else { return };
            let is_heard = |voter| voter == figures.node || status.well.contains(&voter);
            tell(status.membership.configuration.failures_tolerated(is_heard), &[]);
        }),
    ),
    Observed::new(
        "quorate.cluster.members",
        "{node}",
        &[KIND],
        "Members as the node knows them, by what they are: `voter`, `learner` or `leaving`",
        Gauge(|seen, tell| {
            let Some(status) = seen.node.as_ref().and_then(|figures| figures.replica.as_ref()) else { return };
            let configuration = &status.membership.configuration;
            let leaving = configuration.voters_outgoing.difference(&configuration.voters).count();
            for (kind, count) in
                [("voter", configuration.voters.len()), ("learner", configuration.learners.len()), ("leaving", leaving)]
            {
                tell(count as i64, &[KeyValue::new(KIND, kind)]);
            }
        }),
    ),
    Observed::new(
        "quorate.cluster.learner.age",
        "s",
        &[PEER],
        "For how long the leader has known a member as a learner that is to become a voter; told \
         by the leader",
        Seconds(|seen, tell| {
            let Some((figures, status)) = leader(seen) else { return };
            for (learner, age) in &figures.learners {
                if status.membership.configuration.learners.get(learner).is_some_and(|learner| !learner.stay) {
                    tell(age.as_secs_f64(), &[KeyValue::new(PEER, figures.name(*learner))]);
                }
            }
        }),
    ),
    Observed::new(
        "quorate.node.ready",
        "",
        &[],
        "1 while the node does its part, as `/readyz` says",
        Gauge(|seen, tell| {
            if let Some(figures) = &seen.node {
                tell(i64::from(figures.is_ready), &[]);
            }
        }),
    ),
    Observed::new(
        "quorate.connections",
        "{connection}",
        &[PORT],
        "Open connections, by port: `client` or `peer`",
        Gauge(|seen, tell| {
            for (port, open) in seen.node.iter().flat_map(|figures| figures.connections) {
                tell(open as i64, &[KeyValue::new(PORT, port)]);
            }
        }),
    ),
];
