//! What a change of the members would do, before it is made: a pure function from the membership that is known to the one that
//! would be, by the rules of the leader. The leader has the last word.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::view::{Heard, Known};
use crate::cluster::members::{self, Admission, Unacceptable};
use crate::ids::{Contact, Index, NodeId};
use crate::proto::v1;
use crate::raft::{ChangeRefused, Configuration, Learner, MembershipChange};
use crate::replica::Membership;

/// What somebody asks for.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Change {
    Add {
        id: String,
        name: String,
        client_address: String,
        peer_address: String,
        #[serde(default)]
        stay_learner: bool,
    },
    Promote {
        member: String,
    },
    Remove {
        member: String,
    },
    Transfer {
        member: String,
    },
}

/// What would come of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Plan {
    allowed: bool,
    /// Empty: it is allowed.
    why: String,
    before: Voters,
    after: Voters,
    leader_after: Option<String>,
    steps: Vec<String>,
}

/// Who votes, and what that is worth.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Voters {
    voters: Vec<String>,
    learners: Vec<String>,
    needed: usize,
    tolerates: i64,
}

/// What a change leads to.
struct After {
    configuration: Configuration,
    leader: Option<NodeId>,
    steps: Vec<String>,
}

impl Change {
    /// What a client sends to have a node brought in.
    pub(super) fn applicant(id: String, name: String, client_address: String, peer_address: String) -> v1::Member {
        v1::Member { node_id: id, name, client_address, peer_address, ..Default::default() }
    }
}

/// Plans a change of the membership, where `known` is what is known of the cluster and `leader` leads it.
pub(super) fn plan(known: &Known, membership: &Membership, leader: Option<NodeId>, change: &Change) -> Plan {
    let planner = Planner { known, membership, leader };
    let before = planner.voters(&known.configuration, None);
    let newcomer = match change {
        Change::Add { id, .. } => id.parse().ok(),
        _ => None,
    };
    match planner.after(change) {
        Ok(After { configuration, leader, steps }) => Plan {
            allowed: true,
            why: String::new(),
            before,
            after: planner.voters(&configuration, newcomer),
            leader_after: leader.map(|leader| planner.name(leader)),
            steps,
        },
        Err(why) => Plan {
            allowed: false,
            why,
            after: before.clone(),
            before,
            leader_after: planner.leader.map(|leader| planner.name(leader)),
            steps: Vec::new(),
        },
    }
}

struct Planner<'a> {
    known: &'a Known,
    membership: &'a Membership,
    leader: Option<NodeId>,
}

impl Planner<'_> {
    fn after(&self, change: &Change) -> Result<After, String> {
        let leader = self.leader.ok_or("no leader is known, and only a leader changes the members")?;
        match change {
            Change::Add { id, name, client_address, peer_address, stay_learner } => {
                let [id, name, client, peer] = [id, name, client_address, peer_address].map(String::clone);
                let applicant = members::applicant(Change::applicant(id, name, client, peer)).map_err(in_words)?;
                self.add(leader, applicant, *stay_learner)
            }
            Change::Promote { member } => self.promote(leader, self.find(member)?),
            Change::Remove { member } => self.remove(leader, self.find(member)?),
            Change::Transfer { member } => self.transfer(leader, self.find(member)?),
        }
    }

    fn add(&self, leader: NodeId, contact: Contact, stay: bool) -> Result<After, String> {
        let (node, name) = (contact.node, contact.name.clone());
        let learner = match members::admit(&contact, self.membership, self).map_err(in_words)? {
            Admission::AlreadyMember => return Err(ChangeRefused::AlreadyMember(node).to_string()),
            Admission::Newcomer => Learner { stay, replaces: None },
            Admission::NameHeldBy(holders) => match holders.iter().find(|holder| self.is_up(**holder)) {
                Some(by) => return Err(in_words(Unacceptable::NameTaken { name, by: *by })),
                None => Learner { stay, ..members::replacing(&holders, &self.known.configuration) },
            },
        };
        let mut steps = vec![format!("{name} joins as a learner, which has no vote, and receives the log")];
        let mut configuration = self.changed(&MembershipChange::AddLearner { contact, learner })?;
        if stay {
            steps.push(format!("{name} stays a learner until somebody promotes it"));
            return Ok(After { configuration, leader: Some(leader), steps });
        }
        configuration = vote(&configuration, node)?;
        steps.push(match learner.replaces {
            Some(replaced) => {
                format!(
                    "once {name} has caught up, it becomes a voter in the place of {}, which is gone",
                    self.name(replaced)
                )
            }
            None => format!("once {name} has caught up, it becomes a voter"),
        });
        Ok(After { configuration, leader: Some(leader), steps })
    }

    fn promote(&self, leader: NodeId, node: NodeId) -> Result<After, String> {
        let configuration = self.changed(&MembershipChange::Promote(node))?;
        let name = self.name(node);
        let steps = vec![
            format!("the leader checks that {name} has caught up, and refuses otherwise"),
            format!(
                "{name} gets a vote in a joint configuration, which a majority of the voters before and of those after confirms"
            ),
        ];
        Ok(After { configuration, leader: Some(leader), steps })
    }

    fn remove(&self, leader: NodeId, node: NodeId) -> Result<After, String> {
        let configuration = self.changed(&MembershipChange::Remove(BTreeSet::from([node])))?;
        let name = self.name(node);
        let mut steps = Vec::new();
        let mut leads = Some(leader);
        if leader == node {
            leads = self.successor(&configuration);
            steps.push(match leads {
                Some(next) => format!("{name} hands leadership over, most likely to {}", self.name(next)),
                None => format!("{name} leads until it is left out; then another is elected"),
            });
        }
        if self.known.configuration.is_voter(node) {
            steps.push(format!("{name} loses its vote in a joint configuration, which a majority of the voters before and of those after confirms"));
        }
        steps.push(format!(
            "{name} is left out for good: its node id is never let in again, and started anew it joins as another node"
        ));
        Ok(After { configuration, leader: leads, steps })
    }

    fn transfer(&self, leader: NodeId, node: NodeId) -> Result<After, String> {
        let name = self.name(node);
        if node == leader {
            return Err(format!("{name} leads already"));
        }
        if !self.known.configuration.is_voter(node) {
            return Err(format!("{name} has no vote, and only a voter can lead"));
        }
        if !self.is_up(node) {
            return Err(format!("{name} does not answer"));
        }
        let steps = vec![
            format!("{} takes no further requests for a moment; they wait", self.name(leader)),
            format!("{name} is given what it lacks of the log, and stands for election at once"),
        ];
        Ok(After { configuration: self.known.configuration.clone(), leader: Some(node), steps })
    }

    /// The configuration after a change, by the rules of a leader that hears those who answer this node.
    fn changed(&self, change: &MembershipChange) -> Result<Configuration, String> {
        let next = self.known.configuration.changed(change).map_err(|refused| refused.to_string())?.without_outgoing();
        if next.voters != self.known.configuration.voters {
            next.check_quorum(|voter| self.is_up(voter)).map_err(|refused| refused.to_string())?;
        }
        Ok(next)
    }

    /// Of those that stay and answer, the one that has most of the log.
    fn successor(&self, after: &Configuration) -> Option<NodeId> {
        let able = after.voters.iter().copied().filter(|voter| self.is_up(*voter));
        able.max_by_key(|voter| self.status(*voter).map(|status| Index(status.last_index)))
    }

    fn find(&self, member: &str) -> Result<NodeId, String> {
        members::find(member, &self.known.configuration, self).map_err(in_words)
    }

    fn is_up(&self, node: NodeId) -> bool {
        self.known.nodes.get(&node).is_some_and(Heard::takes_part)
    }

    fn status(&self, node: NodeId) -> Option<&v1::NodeStatus> {
        self.known.nodes.get(&node)?.status.as_ref()
    }

    fn name(&self, node: NodeId) -> String {
        let name = self.known.nodes.get(&node).map(|heard| heard.member.name.clone());
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| node.to_string())
    }

    /// A newcomer is taken for one that is up: that it comes is what is planned.
    fn voters(&self, configuration: &Configuration, newcomer: Option<NodeId>) -> Voters {
        let names = |nodes: &mut dyn Iterator<Item = &NodeId>| {
            let mut names: Vec<String> = nodes.map(|node| self.name(*node)).collect();
            names.sort();
            names
        };
        Voters {
            voters: names(&mut configuration.voters.iter()),
            learners: names(&mut configuration.learners.keys()),
            needed: configuration.needed(configuration.voters.len()),
            tolerates: configuration.failures_tolerated(|node| Some(node) == newcomer || self.is_up(node)),
        }
    }
}

impl members::Names for Planner<'_> {
    fn contact(&self, node: NodeId) -> Option<Contact> {
        let v1::Member { name, client_address, peer_address, .. } = self.known.nodes.get(&node)?.member.clone();
        Some(Contact { node, name, client_address, peer_address, version: 0 })
    }
}

/// A learner votes, once it has caught up.
fn vote(configuration: &Configuration, node: NodeId) -> Result<Configuration, String> {
    let promoted = configuration.changed(&MembershipChange::Promote(node)).map_err(|refused| refused.to_string())?;
    Ok(promoted.without_outgoing())
}

fn in_words(why: Unacceptable) -> String {
    why.to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::raft::CommitQuorum;

    const NAMES: [&str; 6] = ["", "a", "b", "c", "d", "e"];

    /// Voters 1 to 3, called a to c, of which `up` answer; 4 is a learner, called d, that answers. Node 1 leads.
    fn known(up: &[u64]) -> Known {
        let mut configuration = Configuration::of_one(NodeId(1), CommitQuorum::Majority);
        configuration.voters.extend([NodeId(2), NodeId(3)]);
        configuration.learners.insert(NodeId(4), Learner::default());
        let heard = |node: u64| {
            let status = v1::NodeStatus {
                role: if node == 1 { v1::Role::Leader.into() } else { v1::Role::Follower.into() },
                last_index: 10 + node,
                ..Default::default()
            };
            let member = members::describe(NodeId(node), &configuration, &BTreeMap::<NodeId, Contact>::new());
            let member = v1::Member { name: NAMES[node as usize].to_owned(), ..member };
            (NodeId(node), Heard { member, reachable: up.contains(&node), status: Some(status), ..Heard::default() })
        };
        let nodes = (1..=4).map(heard).collect();
        Known { asked: NodeId(1), now: 0, cluster_id: String::new(), configuration, nodes }
    }

    fn planned(known: &Known, change: Change) -> Plan {
        let removed = BTreeMap::from([(NodeId(9), Index(5))]);
        let membership = Membership { configuration: known.configuration.clone(), index: Index(1), removed };
        plan(known, &membership, Some(NodeId(1)), &change)
    }

    fn add(id: &str, name: &str, stay_learner: bool) -> Change {
        let [id, name, client_address, peer_address] = [id, name, "h:1", "h:2"].map(str::to_owned);
        Change::Add { id, name, client_address, peer_address, stay_learner }
    }

    fn promote(member: &str) -> Change {
        Change::Promote { member: member.to_owned() }
    }

    fn remove(member: &str) -> Change {
        Change::Remove { member: member.to_owned() }
    }

    fn transfer(member: &str) -> Change {
        Change::Transfer { member: member.to_owned() }
    }

    fn shape(voters: &Voters) -> (String, String, usize, i64) {
        (voters.voters.join(""), voters.learners.join(""), voters.needed, voters.tolerates)
    }

    /// Who answers, what is asked for, and what it leads to: voters, learners, how many are needed, how many can be lost; and who
    /// leads then.
    #[test]
    fn what_a_change_leads_to() {
        let all: &[u64] = &[1, 2, 3, 4];
        type After = (&'static str, &'static str, usize, i64);
        let table: [(&[u64], Change, After, &str); 8] = [
            (all, add("0000000000000005", "e", false), ("0000000000000005abc", "d", 3, 1), "a"),
            (all, add("0000000000000005", "e", true), ("abc", "0000000000000005d", 2, 1), "a"),
            (all, promote("d"), ("abcd", "", 3, 1), "a"),
            (all, remove("c"), ("ab", "d", 2, 0), "a"),
            (&[1, 2, 4], remove("c"), ("ab", "d", 2, 0), "a"),
            (all, remove("a"), ("bc", "d", 2, 0), "c"),
            (all, remove("d"), ("abc", "", 2, 1), "a"),
            (all, transfer("b"), ("abc", "d", 2, 1), "b"),
        ];
        for (up, change, after, leader) in table {
            let told = planned(&known(up), change.clone());
            assert!(told.allowed && told.why.is_empty() && !told.steps.is_empty(), "{change:?}: {told:?}");
            let (voters, learners, needed, tolerates) = after;
            assert_eq!(shape(&told.after), (voters.to_owned(), learners.to_owned(), needed, tolerates), "{change:?}");
            assert_eq!(told.leader_after.as_deref(), Some(leader), "{change:?}");
        }
    }

    #[test]
    fn what_would_lose_the_quorum_or_makes_no_sense_is_refused_and_said_why() {
        let all: &[u64] = &[1, 2, 3, 4];
        let table: [(&[u64], Change, &str); 11] = [
            (&[1, 2, 4], remove("b"), "would lose the quorum: 1 of 2 voters are reachable and 2 are needed"),
            (&[1, 4], promote("d"), "would lose the quorum: 2 of 4 voters are reachable and 3 are needed"),
            (all, promote("a"), "is a voter already"),
            (all, remove("nobody"), "no member has the name or node id 'nobody'"),
            (all, transfer("a"), "a leads already"),
            (all, transfer("d"), "d has no vote"),
            (&[1, 2], transfer("c"), "c does not answer"),
            (all, add("0000000000000009", "e", false), "was removed from this cluster"),
            (all, add("0000000000000005", "b", false), "the name 'b' belongs to"),
            (all, add("5", "e", false), "member.node_id"),
            (all, add("0000000000000002", "b", false), "is a member already"),
        ];
        for (up, change, why) in table {
            let known = known(up);
            let told = planned(&known, change.clone());
            assert!(!told.allowed && told.why.contains(why), "{change:?}: {told:?}");
            assert_eq!(told.before, told.after, "{change:?}");
        }
        let leaderless = known(all);
        let membership =
            Membership { configuration: leaderless.configuration.clone(), index: Index(1), removed: BTreeMap::new() };
        assert!(!plan(&leaderless, &membership, None, &remove("c")).allowed);
        let mut joint = known(all);
        joint.configuration.voters_outgoing = joint.configuration.voters.clone();
        assert!(planned(&joint, remove("c")).why.contains("in progress"));
    }

    /// A dead voter whose name comes back on another disk is replaced in one step.
    #[test]
    fn a_newcomer_takes_the_place_of_the_dead_node_of_its_name() {
        let told = planned(&known(&[1, 2, 4]), add("0000000000000005", "c", false));
        assert!(told.allowed, "{told:?}");
        assert_eq!(shape(&told.after), ("0000000000000005ab".to_owned(), "d".to_owned(), 2, 1));
        assert!(told.steps[1].contains("in the place of c"), "{:?}", told.steps);
    }
}
