//! What a change of the members would do, before it is made: a pure function from the membership and what the nodes say to the
//! membership that would be, by the rules of the leader and in its words. The leader has the last word.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::view::{self, Heard};
use crate::api::errors;
use crate::cluster::members::{self, Admission, Unacceptable};
use crate::ids::{Contact, Index, NodeId};
use crate::proto::v1;
use crate::raft::{ChangeRefused, Configuration, Learner, MembershipChange, TransferRefused};
use crate::reasons;
use crate::replica::Membership;

/// What somebody asks for. A member is named by its name or its node id.
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

/// What would come of it, for the page.
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

/// How the cluster is when somebody asks for a change.
#[derive(Clone, Debug)]
pub(super) struct Survey {
    membership: Arc<Membership>,
    /// All members.
    nodes: BTreeMap<NodeId, Heard>,
    leader: Option<NodeId>,
}

/// What a change leads to.
#[derive(Debug)]
pub(super) struct After {
    /// The member that it is about.
    pub(super) node: NodeId,
    configuration: Configuration,
    leader: Option<NodeId>,
    /// Who is brought in, if that is the change.
    newcomer: Option<Contact>,
    steps: Vec<String>,
}

impl Change {
    /// Who is to be brought in, as a client says it.
    pub(super) fn applicant(id: String, name: String, client_address: String, peer_address: String) -> v1::Member {
        v1::Member { node_id: id, name, client_address, peer_address, ..Default::default() }
    }
}

impl Survey {
    /// Of what the members have answered.
    pub(super) fn new(membership: Arc<Membership>, nodes: BTreeMap<NodeId, Heard>) -> Self {
        let leader = view::leader(&nodes);
        Self { membership, nodes, leader }
    }

    /// What would come of a change.
    pub(super) fn plan(&self, change: &Change) -> Plan {
        let before = self.voters(self.configuration(), None);
        match self.after(change) {
            Ok(After { configuration, leader, newcomer, steps, .. }) => Plan {
                allowed: true,
                why: String::new(),
                before,
                after: self.voters(&configuration, newcomer.as_ref()),
                leader_after: leader.map(|leader| self.name(leader)),
                steps,
            },
            Err(refused) => Plan {
                allowed: false,
                why: refused.message,
                after: before.clone(),
                before,
                leader_after: self.leader.map(|leader| self.name(leader)),
                steps: Vec::new(),
            },
        }
    }

    /// There is a leader, and it hears all other voters that answer. One that has just been elected has heard nobody yet, and would take
    /// them for dead.
    pub(super) fn is_settled(&self) -> bool {
        let mut up = self.configuration().voters.iter().filter(|voter| self.is_up(**voter));
        self.leader().is_ok() && up.all(|voter| self.is_heard(*voter))
    }

    /// The leader, which answers.
    ///
    /// # Errors
    /// There is none, or it does nothing: what others say of it is over, or about to be.
    fn leader(&self) -> Result<NodeId, Failure> {
        let message = match self.leader {
            Some(leader) if self.is_up(leader) => return Ok(leader),
            Some(leader) => {
                let is_reachable = self.nodes.get(&leader).is_some_and(|heard| heard.reachable);
                let fails = if is_reachable { "stands still" } else { "does not answer" };
                format!("the leader, {}, {fails}, and only a leader changes the members", self.name(leader))
            }
            None => "no leader is known, and only a leader changes the members".to_owned(),
        };
        Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, reasons::NO_LEADER, message))
    }

    /// What a change leads to.
    ///
    /// # Errors
    /// The leader would refuse it, or there is none that answers.
    pub(super) fn after(&self, change: &Change) -> Result<After, Failure> {
        let leader = self.leader()?;
        let after = match change.clone() {
            Change::Add { id, name, client_address, peer_address, stay_learner } => {
                let applicant = members::applicant(Change::applicant(id, name, client_address, peer_address));
                applicant.map_err(unacceptable).and_then(|contact| self.add(leader, contact, stay_learner))
            }
            Change::Promote { member } => self.find(&member).and_then(|node| self.promote(leader, node)),
            Change::Remove { member } => self.find(&member).and_then(|node| self.remove(leader, node)),
            Change::Transfer { member } => self.find(&member).and_then(|node| self.transfer(leader, node)),
        };
        after.map_err(|refused| self.in_names(refused))
    }

    /// The same, with the names of nodes where it has their ids.
    pub(super) fn in_names(&self, failure: Failure) -> Failure {
        let named = |failure: Failure, node: &NodeId| {
            let message = failure.message.replace(&node.to_string(), &self.name(*node));
            Failure { message, ..failure }
        };
        self.nodes.keys().fold(failure, named)
    }

    fn add(&self, leader: NodeId, contact: Contact, stay: bool) -> Result<After, Failure> {
        let (node, name) = (contact.node, contact.name.clone());
        let learner = match members::admit(&contact, &self.membership, self).map_err(unacceptable)? {
            Admission::AlreadyMember => return Err(refused(ChangeRefused::AlreadyMember(node))),
            Admission::Newcomer => Learner::default(),
            Admission::NameHeldBy(holders) => match holders.iter().find(|holder| self.is_up(**holder)) {
                Some(by) => return Err(unacceptable(Unacceptable::NameTaken { name, by: *by })),
                None => members::replacing(&holders, self.configuration()),
            },
        };
        let learner = Learner { stay, ..learner };
        let change = MembershipChange::AddLearner { contact: contact.clone(), learner };
        let mut configuration = self.changed(self.configuration(), &change, Some(node))?;
        let mut steps = vec![format!("{name} joins as a learner, which has no vote, and receives the log")];
        if stay {
            steps.push(format!("{name} stays a learner until somebody promotes it"));
        } else {
            configuration = self.changed(&configuration, &MembershipChange::Promote(node), Some(node))?;
            let place = self.place(learner);
            steps.push(format!("once {name} has caught up, it gets a vote{place}, {JOINTLY}"));
        }
        Ok(After { node, configuration, leader: Some(leader), newcomer: Some(contact), steps })
    }

    fn promote(&self, leader: NodeId, node: NodeId) -> Result<After, Failure> {
        let configuration = self.changed(self.configuration(), &MembershipChange::Promote(node), None)?;
        if let Some(progress) = self.progress(node).filter(|progress| !progress.caught_up) {
            let matched = Index(progress.matched);
            let last = Index(self.status(leader).map_or(progress.matched, |status| status.last_index));
            return Err(refused(ChangeRefused::LearnerNotReady { learner: node, matched, last }));
        }
        let learner = self.configuration().learners.get(&node).copied().unwrap_or_default();
        if let Some(replaced) = learner.replaces.filter(|replaced| *replaced == leader || self.is_up(*replaced)) {
            return Err(refused(ChangeRefused::ReplacedLives { learner: node, replaced }));
        }
        let steps = vec![format!("{} gets a vote{}, {JOINTLY}", self.name(node), self.place(learner))];
        Ok(After { node, configuration, leader: Some(leader), newcomer: None, steps })
    }

    fn remove(&self, leader: NodeId, node: NodeId) -> Result<After, Failure> {
        let removal = MembershipChange::Remove(BTreeSet::from([node]));
        let configuration = self.changed(self.configuration(), &removal, None)?;
        let name = self.name(node);
        let mut steps = Vec::new();
        let mut leads = Some(leader);
        if leader == node {
            leads = self.successor(&configuration);
            steps.push(match leads {
                Some(next) => format!("{name} hands leadership over to {}", self.name(next)),
                None => format!("{name} leads until it is left out; then another is elected"),
            });
        }
        if self.configuration().is_voter(node) {
            steps.push(format!("{name} loses its vote, {JOINTLY}"));
        }
        steps.push(format!("{name} is left out for good: started again, it can join as another node only"));
        Ok(After { node, configuration, leader: leads, newcomer: None, steps })
    }

    fn transfer(&self, leader: NodeId, node: NodeId) -> Result<After, Failure> {
        let impossible = if node == leader {
            Some(TransferRefused::AlreadyLeads)
        } else if !self.configuration().voters.contains(&node) {
            Some(TransferRefused::NotVoter(node))
        } else if !self.is_heard(node) {
            Some(TransferRefused::NotHeard(node))
        } else {
            self.needs_snapshot(node).then_some(TransferRefused::NeedsSnapshot(node))
        };
        if let Some(impossible) = impossible {
            return Err(errors::transfer_refused(&impossible).into());
        }
        let name = self.name(node);
        let steps = vec![
            format!("{} takes no more requests for a moment; they wait", self.name(leader)),
            format!("{name} is sent what it lacks of the log, and is elected at once"),
        ];
        let configuration = self.configuration().clone();
        Ok(After { node, configuration, leader: Some(node), newcomer: None, steps })
    }

    /// The configuration that a change ends in. `newcomer` is heard: a learner that is not would not be given a vote.
    fn changed(
        &self,
        configuration: &Configuration,
        change: &MembershipChange,
        newcomer: Option<NodeId>,
    ) -> Result<Configuration, Failure> {
        let next = configuration.changed(change).map_err(refused)?.without_outgoing();
        if next.voters != configuration.voters {
            next.check_quorum(|voter| Some(voter) == newcomer || self.is_heard(voter)).map_err(refused)?;
        }
        Ok(next)
    }

    /// To whom a leader that is to be removed hands over: the first that stays and can take it.
    fn successor(&self, after: &Configuration) -> Option<NodeId> {
        after.voters.iter().copied().find(|voter| self.is_heard(*voter) && !self.needs_snapshot(*voter))
    }

    fn find(&self, member: &str) -> Result<NodeId, Failure> {
        members::find(member, self.configuration(), self).map_err(unacceptable)
    }

    fn configuration(&self) -> &Configuration {
        &self.membership.configuration
    }

    fn is_up(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(Heard::takes_part)
    }

    /// It answers, and the leader counts on it, which decides.
    fn is_heard(&self, node: NodeId) -> bool {
        self.is_up(node) && (self.leader == Some(node) || self.progress(node).is_none_or(|progress| progress.well))
    }

    fn needs_snapshot(&self, node: NodeId) -> bool {
        let id = node.to_string();
        let transfers = self.leader.and_then(|leader| self.status(leader)).map(|status| &status.transfers);
        transfers.into_iter().flatten().any(|transfer| transfer.sends && transfer.peer_id == id)
    }

    /// What the leader knows of another member; none: it does not say.
    fn progress(&self, node: NodeId) -> Option<&v1::Progress> {
        let id = node.to_string();
        self.status(self.leader?)?.progress.iter().find(|progress| progress.node_id == id)
    }

    fn status(&self, node: NodeId) -> Option<&v1::NodeStatus> {
        self.nodes.get(&node)?.status.as_ref()
    }

    fn name(&self, node: NodeId) -> String {
        let name = self.nodes.get(&node).map(|heard| heard.member.name.clone());
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| node.to_string())
    }

    /// Whose place a learner takes, in words.
    fn place(&self, learner: Learner) -> String {
        learner.replaces.map(|replaced| format!(" in the place of {}", self.name(replaced))).unwrap_or_default()
    }

    /// A newcomer is taken for one that is up: that it comes is what is planned.
    fn voters(&self, configuration: &Configuration, newcomer: Option<&Contact>) -> Voters {
        let is_newcomer = |node: NodeId| newcomer.is_some_and(|newcomer| newcomer.node == node);
        let name = |node: &NodeId| match newcomer {
            Some(newcomer) if newcomer.node == *node => newcomer.name.clone(),
            _ => self.name(*node),
        };
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        Voters {
            voters: sorted(configuration.voters.iter().map(name).collect()),
            learners: sorted(configuration.learners.keys().map(name).collect()),
            needed: configuration.needed(configuration.voters.len()),
            tolerates: configuration.failures_tolerated(|node| is_newcomer(node) || self.is_up(node)),
        }
    }
}

/// How voters come and go.
const JOINTLY: &str = "as soon as a majority of the voters before and one of those after have it on disk";

impl members::Names for Survey {
    fn contact(&self, node: NodeId) -> Option<Contact> {
        let v1::Member { name, client_address, peer_address, .. } = self.nodes.get(&node)?.member.clone();
        Some(Contact { node, name, client_address, peer_address, version: 0 })
    }
}

fn refused(why: ChangeRefused) -> Failure {
    errors::change_refused(&why).into()
}

fn unacceptable(why: Unacceptable) -> Failure {
    errors::unacceptable(&why).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft;
    use crate::raft::CommitQuorum;

    /// A member of a made-up cluster. They are called a, b, c and so on, and the first one leads.
    #[derive(Clone, Copy, PartialEq)]
    enum Is {
        Voter,
        DeadVoter,
        /// It answers this node, and the leader does not hear it.
        UnheardVoter,
        VoterThatLacks,
        Learner,
        LearnerBehind,
    }
    use Is::*;

    fn name(node: NodeId) -> String {
        char::from(b'a' - 1 + u8::try_from(node.0).unwrap()).to_string()
    }

    fn survey_of(rule: CommitQuorum, members: &[Is]) -> Survey {
        let members: Vec<(NodeId, Is)> = (1..).map(NodeId).zip(members.iter().copied()).collect();
        let mut configuration = Configuration { commit_quorum: rule, ..Configuration::EMPTY };
        for (node, is) in &members {
            match is {
                Learner | LearnerBehind => _ = configuration.learners.insert(*node, raft::Learner::default()),
                _ => _ = configuration.voters.insert(*node),
            }
        }
        let progress = members[1..].iter().map(|(node, is)| v1::Progress {
            node_id: node.to_string(),
            matched: 7,
            well: !matches!(is, DeadVoter | UnheardVoter),
            caught_up: *is != LearnerBehind,
            ..Default::default()
        });
        let lacking = members.iter().filter(|(_, is)| *is == VoterThatLacks);
        let transfers = lacking.map(|(node, _)| v1::SnapshotTransfer {
            peer_id: node.to_string(),
            sends: true,
            ..Default::default()
        });
        let leads = v1::NodeStatus {
            role: v1::Role::Leader.into(),
            last_index: 10,
            progress: progress.collect(),
            transfers: transfers.collect(),
            ..Default::default()
        };
        let heard = |(node, is): &(NodeId, Is)| {
            let told = if *node == NodeId(1) { leads.clone() } else { v1::NodeStatus::default() };
            let role = if *node == NodeId(1) { v1::Role::Leader } else { v1::Role::Follower };
            let status = v1::NodeStatus { role: role.into(), leader_id: NodeId(1).to_string(), ..told };
            let member = v1::Member { node_id: node.to_string(), name: name(*node), ..Default::default() };
            (*node, Heard { member, reachable: *is != DeadVoter, status: Some(status), ..Heard::default() })
        };
        let removed = BTreeMap::from([(NodeId(9), Index(5))]);
        let nodes = members.iter().map(heard).collect();
        Survey::new(Arc::new(Membership { configuration, index: Index(1), removed }), nodes)
    }

    fn survey(members: &[Is]) -> Survey {
        survey_of(CommitQuorum::Majority, members)
    }

    fn add(node: u64, name: &str, stay_learner: bool) -> Change {
        let [name, client_address, peer_address] = [name, "h:1", "h:2"].map(str::to_owned);
        Change::Add { id: NodeId(node).to_string(), name, client_address, peer_address, stay_learner }
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

    /// Voters, learners, how many are needed and how many can be lost.
    type Shape = (&'static str, &'static str, usize, i64);

    fn shape(voters: &Voters) -> (String, String, usize, i64) {
        (voters.voters.join(""), voters.learners.join(""), voters.needed, voters.tolerates)
    }

    /// Who is there, what is asked for, and what it leads to: voters, learners, how many are needed, how many can be lost; and
    /// who leads then.
    #[test]
    fn what_a_change_leads_to() {
        let all = [Voter, Voter, Voter, Learner];
        let table: [(&[Is], Change, Shape, &str); 10] = [
            (&all, add(8, "new", false), ("abcnew", "d", 3, 1), "a"),
            (&all, add(8, "new", true), ("abc", "dnew", 2, 1), "a"),
            (&all, promote("d"), ("abcd", "", 3, 1), "a"),
            (&all, remove("c"), ("ab", "d", 2, 0), "a"),
            (&all, remove(&NodeId(3).to_string()), ("ab", "d", 2, 0), "a"),
            (&all, remove("a"), ("bc", "d", 2, 0), "b"),
            (&all, remove("d"), ("abc", "", 2, 1), "a"),
            (&all, transfer("b"), ("abc", "d", 2, 1), "b"),
            (&[Voter, Voter, DeadVoter], remove("c"), ("ab", "", 2, 0), "a"),
            (&[Voter, VoterThatLacks, Voter], remove("a"), ("bc", "", 2, 0), "c"),
        ];
        for (members, change, after, leader) in table {
            let told = survey(members).plan(&change);
            assert!(told.allowed && told.why.is_empty() && !told.steps.is_empty(), "{change:?}: {told:?}");
            let (voters, learners, needed, tolerates) = after;
            assert_eq!(shape(&told.after), (voters.to_owned(), learners.to_owned(), needed, tolerates), "{change:?}");
            assert_eq!(told.leader_after.as_deref(), Some(leader), "{change:?}");
        }
    }

    #[test]
    fn what_the_leader_would_refuse_is_refused_in_its_words_and_with_its_reasons() {
        let all = [Voter, Voter, Voter, Learner];
        let lost = reasons::WOULD_LOSE_QUORUM;
        let table: [(&[Is], Change, u16, &str, &str); 17] = [
            (&[Voter, Voter, DeadVoter], remove("b"), 409, lost, "1 of 2 voters are reachable and 2 are needed"),
            (&[Voter, Voter, UnheardVoter], remove("b"), 409, lost, "1 of 2 voters are reachable and 2 are needed"),
            (&[Voter], remove("a"), 409, lost, "the last voter"),
            (
                &[Voter, LearnerBehind],
                promote("b"),
                409,
                reasons::LEARNER_NOT_READY,
                "b is not ready: it has the log up to 7",
            ),
            (&all, promote("a"), 409, reasons::INVALID_REQUEST, "node a is a voter already"),
            (&all, promote("x"), 404, reasons::MEMBER_NOT_FOUND, "no member has the name or node id 'x'"),
            (&all, remove("x"), 404, reasons::MEMBER_NOT_FOUND, "no member has the name or node id 'x'"),
            (&all, transfer("x"), 404, reasons::MEMBER_NOT_FOUND, "no member has the name or node id 'x'"),
            (&all, transfer("a"), 409, reasons::ALREADY_LEADS, "leads already"),
            (&all, transfer("d"), 409, reasons::TRANSFER_FAILED, "node d is not a voter"),
            (&[Voter, Voter, DeadVoter], transfer("c"), 409, reasons::TRANSFER_FAILED, "node c does not answer"),
            (&[Voter, Voter, UnheardVoter], transfer("c"), 409, reasons::TRANSFER_FAILED, "node c does not answer"),
            (&[Voter, VoterThatLacks], transfer("b"), 409, reasons::TRANSFER_FAILED, "b is being sent a snapshot"),
            (&all, add(9, "new", false), 409, reasons::MEMBER_REMOVED, "was removed from this cluster"),
            (&all, add(8, "b", false), 409, reasons::NAME_TAKEN, "the name 'b' belongs to node b"),
            (&all, add(2, "b", false), 409, reasons::INVALID_REQUEST, "node b is a member already"),
            (&all, add(8, "a b", false), 400, reasons::INVALID_REQUEST, "member.name: "),
        ];
        for (members, change, status, reason, why) in table {
            let survey = survey(members);
            let refused = survey.after(&change).expect_err("it is refused");
            assert_eq!((refused.status.as_u16(), refused.reason.as_str()), (status, reason), "{change:?}: {refused:?}");
            assert!(refused.message.contains(why), "{change:?}: {refused:?}");
            let told = survey.plan(&change);
            assert!(!told.allowed && told.why == refused.message && told.steps.is_empty(), "{change:?}: {told:?}");
            assert_eq!((&told.before, told.leader_after.as_deref()), (&told.after, Some("a")), "{change:?}");
        }
    }

    /// The rule as a table: of so many voters, how many may be dead for one more to be removed, and for a learner to be promoted.
    #[test]
    fn a_change_is_allowed_as_long_as_a_commit_quorum_of_those_after_it_answers() {
        let spared = |rule: CommitQuorum, voters: usize, change: &dyn Fn(usize) -> Change| -> Vec<bool> {
            let allowed = |dead: usize| {
                let mut members = vec![Voter; voters - dead];
                members.extend(vec![DeadVoter; dead]);
                members.push(Learner);
                survey_of(rule, &members).plan(&change(voters)).allowed
            };
            (0..voters).map(allowed).collect()
        };
        let most = |rule, change: &dyn Fn(usize) -> Change| -> Vec<Option<usize>> {
            (1..=7)
                .map(|voters| {
                    let allowed = spared(rule, voters, change);
                    assert!(allowed.is_sorted_by(|fewer, more| fewer >= more), "{voters}: {allowed:?}");
                    allowed.iter().rposition(|allowed| *allowed)
                })
                .collect()
        };
        // The leader removes itself: it always lives, so what is left has all the dead ones in it.
        let leader = |_| remove("a");
        let learner = |voters: usize| promote(&name(NodeId(voters as u64 + 1)));
        let [majority, more] = [CommitQuorum::Majority, CommitQuorum::HalfPlusOne];
        assert_eq!(most(majority, &leader), [None, Some(0), Some(0), Some(1), Some(1), Some(2), Some(2)]);
        assert_eq!(most(more, &leader), [None, Some(0), Some(0), Some(0), Some(1), Some(1), Some(2)]);
        assert_eq!(most(majority, &learner), [Some(0), Some(1), Some(1), Some(2), Some(2), Some(3), Some(3)]);
        assert_eq!(most(more, &learner), [Some(0), Some(0), Some(1), Some(1), Some(2), Some(2), Some(3)]);
    }

    /// Of all sizes, with as many dead as there may be: needed and tolerated, before and after the removal of a living one.
    #[test]
    fn what_is_needed_and_tolerated_before_and_after() {
        let counts = |rule, voters: usize| {
            let told = survey_of(rule, &vec![Voter; voters]).plan(&remove(&name(NodeId(voters as u64))));
            [(told.before.needed, told.before.tolerates), (told.after.needed, told.after.tolerates)]
        };
        let all = |rule| (2..=7).map(|voters| counts(rule, voters)).collect::<Vec<_>>();
        let by_majority = [(1, 0), (2, 0), (2, 1), (3, 1), (3, 2), (4, 2), (4, 3)];
        let by_half_plus_one = [(1, 0), (2, 0), (3, 0), (3, 1), (4, 1), (4, 2), (5, 2)];
        for (rule, counts) in [(CommitQuorum::Majority, by_majority), (CommitQuorum::HalfPlusOne, by_half_plus_one)] {
            let expected: Vec<_> = counts.windows(2).map(|pair| [pair[1], pair[0]]).collect();
            assert_eq!(all(rule), expected, "{rule:?}");
        }
        let short = survey(&[Voter, DeadVoter, DeadVoter]).plan(&transfer("b"));
        assert_eq!(short.before.tolerates, -1, "so many are missing");
    }

    #[test]
    fn while_a_change_is_under_way_none_begins_and_both_halves_count() {
        let mut joint = survey(&[Voter, Voter, Voter, DeadVoter, Learner]);
        let mut membership = (*joint.membership).clone();
        membership.configuration.voters_outgoing = membership.configuration.voters.clone();
        membership.configuration.voters.remove(&NodeId(3));
        joint.membership = Arc::new(membership);
        for change in [remove("b"), promote("e"), add(8, "new", true)] {
            let refused = joint.after(&change).expect_err("one at a time");
            assert_eq!(refused.reason, reasons::CHANGE_IN_PROGRESS, "{change:?}: {refused:?}");
        }
        let told = joint.plan(&transfer("b"));
        assert!(told.allowed, "leadership can go while a change is under way: {told:?}");
        assert_eq!(shape(&told.before), ("abd".to_owned(), "e".to_owned(), 2, 0));
        assert!(!joint.plan(&transfer("c")).allowed, "not to one that leaves");
    }

    #[test]
    fn without_a_leader_nothing_changes() {
        let mut leaderless = survey(&[Voter, Voter, Voter]);
        leaderless.leader = None;
        let refused = leaderless.after(&remove("c")).expect_err("nobody could do it");
        assert_eq!((refused.status.as_u16(), refused.reason.as_str()), (503, reasons::NO_LEADER));
        assert_eq!(leaderless.plan(&remove("c")).leader_after, None);

        // The others have not noticed yet.
        let mut silent = survey(&[Voter, Voter, Voter]);
        silent.nodes.get_mut(&NodeId(1)).unwrap().reachable = false;
        for change in [remove("a"), remove("c"), transfer("b")] {
            let refused = silent.after(&change).expect_err("it could not do it");
            assert_eq!((refused.status.as_u16(), refused.reason.as_str()), (503, reasons::NO_LEADER), "{change:?}");
            assert!(refused.message.contains("the leader, a, does not answer"), "{change:?}: {refused:?}");
        }
        let mut stuck = survey(&[Voter, Voter, Voter]);
        stuck.nodes.get_mut(&NodeId(1)).unwrap().status.as_mut().unwrap().stands_still = true;
        let refused = stuck.after(&remove("c")).expect_err("it could not do it");
        assert!(refused.message.contains("the leader, a, stands still"), "{refused:?}");
        assert!(![leaderless, silent, stuck].iter().any(Survey::is_settled));
    }

    #[test]
    fn a_leader_that_has_heard_nobody_yet_is_waited_for() {
        assert!(survey(&[Voter, Voter, DeadVoter]).is_settled());
        assert!(!survey(&[Voter, Voter, UnheardVoter]).is_settled(), "its term has just begun");
        assert!(survey(&[Voter, DeadVoter, DeadVoter, Learner]).is_settled(), "there is nobody to hear from");
        assert!(survey(&[Voter]).is_settled());
    }

    /// A dead voter whose name comes back on another disk is replaced in one step; one that lives is not.
    #[test]
    fn a_newcomer_takes_the_place_of_the_dead_node_of_its_name() {
        let told = survey(&[Voter, Voter, DeadVoter]).plan(&add(8, "c", false));
        assert!(told.allowed, "{told:?}");
        assert_eq!(shape(&told.after), ("abc".to_owned(), String::new(), 2, 1));
        assert!(told.steps[1].contains("in the place of c"), "{:?}", told.steps);

        let mut lives = survey(&[Voter, Voter, Voter, Learner]);
        let mut membership = (*lives.membership).clone();
        let learner = raft::Learner { stay: true, replaces: Some(NodeId(3)) };
        membership.configuration.learners.insert(NodeId(4), learner);
        lives.membership = Arc::new(membership);
        let told = lives.plan(&promote("d"));
        assert!(!told.allowed && told.why.contains("learner d is to replace c, which is alive"), "{told:?}");
    }
}
