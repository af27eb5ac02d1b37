//! Looks at the node, several times a second and whenever it goes on to another phase, and tells how it is.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::watch::{Receiver, Sender};

use super::condition::{Condition, Verdict, first_missing};
use super::judge::{Judge, ReplicaSight, Sight, Vote};
use crate::ids::{NodeId, SHARD_0};
use crate::node::{Handle, Phase};
use crate::raft::Configuration;
use crate::replica::Status;
use crate::telemetry::events::{Kind, Level, Ring};

/// How often the node is looked at.
const INTERVAL: Duration = Duration::from_millis(200);

/// What is looked at.
pub(super) struct Watched {
    pub(super) handle: Handle,
    pub(super) phase: Receiver<Phase>,
    pub(super) failure: Arc<OnceLock<String>>,
    pub(super) waits_for: Receiver<String>,
    pub(super) events: Ring,
}

impl Watched {
    fn look(&mut self) -> Sight {
        let node = self.handle.node();
        Sight {
            // Before the failure, which is there by the time at which the phase tells of the end.
            phase: *self.phase.borrow_and_update(),
            failure: self.failure.get().cloned(),
            waits_for: self.waits_for.borrow_and_update().clone(),
            turns: self.handle.turns(),
            replica: self.handle.look(SHARD_0, |status| sight(node, status)),
        }
    }
}

fn sight(node: NodeId, status: &Status) -> ReplicaSight {
    let configuration = &status.membership.configuration;
    ReplicaSight {
        is_member: configuration.is_member(node),
        vote: vote(configuration, node),
        removed: status.removed,
        quarantined: status.quarantined.clone(),
        knows_leader: status.leader.is_some(),
        applied: status.applied,
        heard_commit: status.heard_commit,
    }
}

/// A node that is on its way from learner to voter needs both halves: in the outgoing one, the node that it replaces still counts.
fn vote(configuration: &Configuration, node: NodeId) -> Vote {
    let settled = !configuration.is_joint() || configuration.voters_outgoing.contains(&node);
    match configuration.learners.get(&node) {
        Some(learner) if learner.stay => Vote::NotMeantTo,
        None if settled && configuration.is_voter(node) => Vote::Votes,
        Some(_) | None => Vote::ToCome,
    }
}

/// Looks and tells until the node is gone.
pub(super) async fn watch(mut node: Watched, leader_wait: Duration, verdicts: Sender<Verdict>) {
    let mut judge = Judge::new(leader_wait);
    loop {
        let sight = node.look();
        let verdict = judge.judge(Instant::now(), &sight);
        tell_change(&node.events, &verdicts.borrow(), &verdict, sight.failure.is_some());
        verdicts.send_if_modified(|before| {
            let changed = *before != verdict;
            *before = verdict;
            changed
        });
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            changed = node.phase.changed() => if changed.is_err() { return },
            Ok(()) = node.waits_for.changed() => {}
        }
    }
}

/// Tells of a change, and why it came.
fn tell_change(events: &Ring, before: &Verdict, after: &Verdict, has_failed: bool) {
    let say = |level, event, words| events.say(Kind::Process, level, event, words, None);
    match (before.is_live(), first_missing(&after.live)) {
        (true, Some(Condition { what, missing: Some(why) })) => {
            say(Level::Error, "not_live", format!("is not live: {what}: {why}"));
        }
        (false, None) => say(Level::Info, "live", "is live again".to_owned()),
        _ => {}
    }
    match (before.is_ready(), first_missing(&after.ready)) {
        (true, Some(_)) if let Some(why) = after.why_it_stops() => {
            let level = if has_failed { Level::Warn } else { Level::Info };
            say(level, "not_ready", format!("is not ready any more: it {why}"));
        }
        (true, Some(missing)) => say(Level::Warn, "not_ready", format!("is not ready any more: {missing}")),
        (false, None) => {
            let held: Vec<&str> = after.ready.iter().map(|condition| condition.what).collect();
            say(Level::Info, "ready", format!("is ready: {}", held.join(", ")));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::raft::{CommitQuorum, Learner};

    /// Node 4 takes the place of node 3: from learner to joint configuration to voter.
    #[test]
    fn a_node_votes_once_its_promotion_is_finished() {
        let voters = |ids: &[u64]| -> BTreeSet<NodeId> { ids.iter().copied().map(NodeId).collect() };
        let learner = |stay| Learner { stay, replaces: Some(NodeId(3)) };
        let mut configuration = Configuration {
            voters: voters(&[1, 2, 3]),
            voters_outgoing: BTreeSet::new(),
            learners: BTreeMap::from([(NodeId(4), learner(false))]),
            commit_quorum: CommitQuorum::Majority,
        };
        assert_eq!(vote(&configuration, NodeId(1)), Vote::Votes);
        assert_eq!(vote(&configuration, NodeId(4)), Vote::ToCome);
        configuration.learners.insert(NodeId(4), learner(true));
        assert_eq!(vote(&configuration, NodeId(4)), Vote::NotMeantTo);

        configuration.learners.clear();
        configuration.voters_outgoing = std::mem::replace(&mut configuration.voters, voters(&[1, 2, 4]));
        assert_eq!(vote(&configuration, NodeId(4)), Vote::ToCome, "node 3 still counts");
        assert_eq!(vote(&configuration, NodeId(1)), Vote::Votes, "the others go on as before");
        configuration.voters_outgoing.clear();
        assert_eq!(vote(&configuration, NodeId(4)), Vote::Votes);
    }
}
