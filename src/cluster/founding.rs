//! How several nodes with empty directories start one cluster together, and never two: the decisions, without any I/O.
//!
//! ```text
//!   who are you?  to every address  ->  all have answered, all are empty  ->  the proposer draws a cluster id, and promises
//!     itself  ->  promise?  to every founder  ->  all have promised, on disk  ->  the proposer forms: first entry, cluster id
//!     ->  the others hear of a node with the cluster that they have promised, and form the same
//! ```
//!
//! The founders of a cluster are known by their names: NAME-0 to NAME-(size-1), or, where names have no ordinals, all nodes of the
//! list to join. The proposer is the first of the names, so that it stays the same when a disk is lost.
//!
//! Why there is one cluster only
//! - A cluster has formed nowhere before *all* its founders have promised it, and it commits nothing before a majority has formed.
//! - A disk has one promise at a time, forms only what it has promised, and promises nothing once it has formed. So no other cluster
//!   can have the promises of all founders as long as one disk lives that has formed the first.
//! - A promise is replaced only where the cluster that was promised cannot have formed, or has formed on disks only that are lost: by
//!   a later attempt of the same proposer, which makes none once it has formed; or by one that has the name of the proposer and
//!   another node id. What the lost one had proposed is never promised again, however late it arrives.
//! - All this holds as long as not all founders lose their disks unseen. They are at least half of a cluster that has at most twice as
//!   many members, and it ends with them. Of a larger one the leader warns (`growth`), and pods that would be its founders wait.
//! - Who does not answer may have formed. Who has applied to a cluster, or belonged to one, may know of one that lives.
//!
//! Not here: asking, the disk (`founder`), addresses (`discovery`).

use std::collections::{BTreeMap, BTreeSet};

use super::names::{Ordinal, are_kin, list};
use crate::ids::{ClusterId, Contact, NodeId};
use crate::raft::CommitQuorum;
pub use crate::storage::Proposal;

/// More proposers of one cluster do not lose their disks.
const LOST_MAX: usize = 32;

/// What a node says of itself as long as it looks for a cluster, and after that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Who it is.
    pub node: Contact,
    /// The cluster that it belongs to.
    pub cluster: Option<ClusterId>,
    /// It has applied to a cluster, and promises nothing any more.
    pub applies: bool,
    /// The cluster that it belonged to under another id, and was removed from.
    pub former: Option<ClusterId>,
    /// So many nodes start a cluster together; none: it only joins.
    pub size: Option<u16>,
    /// What it has promised.
    pub promise: Option<Proposal>,
}

/// What this node knows when it decides.
#[derive(Clone, Debug)]
pub struct Own {
    /// What it says of itself.
    pub standing: Standing,
    /// Proposers whose disks are known to be lost.
    pub lost: Vec<NodeId>,
    /// What a cluster that it proposes will need to commit.
    pub commit_quorum: CommitQuorum,
}

/// What came of asking everybody once.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// At each address who answered, or why nobody did.
    pub heard: BTreeMap<String, Result<Standing, String>>,
    /// Why not all addresses are known, if they are not.
    pub incomplete: Option<String>,
    /// Addresses come from a DNS name, and not from a list alone.
    pub discovers: bool,
    /// The addresses of the list: whoever answers there is meant.
    pub listed: BTreeSet<String>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Apply for membership of a cluster.
    Join {
        /// The cluster.
        cluster: ClusterId,
        /// Where its nodes answered.
        addresses: Vec<String>,
    },
    /// Start what others have started: it has been promised by this node, and formed by another.
    Form(Proposal),
    /// Promise this and have it promised by all its founders; then form it.
    Propose(Proposal),
    /// Ask again later. In words what for.
    Wait(String),
}

/// Decides what a node does that belongs to no cluster. `draw` becomes the id of a cluster that it proposes anew.
pub fn next_step(own: &Own, round: &Round, draw: ClusterId) -> Step {
    let others = Others::new(own, round);
    if let Some(step) = with_clusters(own, round, &others) {
        return step;
    }
    let founders = match founders(own, round, &others) {
        Ok(founders) => founders,
        Err(reason) => return Step::Wait(reason),
    };
    propose(own, founders, draw)
}

/// What becomes of the request to promise `proposal`: the record of promises afterwards, which is to be durable before the answer
/// yes; or the answer no.
///
/// # Errors
/// Why not, in words.
pub fn promise(own: &Own, proposal: &Proposal) -> Result<Promised, String> {
    may_promise(&own.standing)?;
    is_meant_for(&own.standing, proposal)?;
    let mut lost = own.lost.clone();
    if lost.contains(&proposal.proposer) {
        return Err(format!("{} has lost the disk from which it proposed that", proposal.proposer_name()));
    }
    match &own.standing.promise {
        None => {}
        Some(promise) if promise == proposal => {}
        Some(promise) if promise.proposer == proposal.proposer && promise.attempt < proposal.attempt => {}
        Some(promise) if has_lost_its_disk(promise, proposal) && lost.len() < LOST_MAX => lost.push(promise.proposer),
        Some(promise) => {
            let (cluster, name) = (promise.cluster, promise.proposer_name());
            return Err(format!("it has promised to start cluster {cluster}, which {name} proposed"));
        }
    }
    Ok(Promised { promise: proposal.clone(), lost })
}

/// What is to be on disk before anybody is told of the promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promised {
    /// The promise.
    pub promise: Proposal,
    /// Proposers whose disks are known to be lost.
    pub lost: Vec<NodeId>,
}

/// The same name under another id: the disk from which `promise` was proposed is no more, nor whatever had formed on it.
fn has_lost_its_disk(promise: &Proposal, proposal: &Proposal) -> bool {
    promise.proposer != proposal.proposer && promise.proposer_name() == proposal.proposer_name()
}

fn may_promise(standing: &Standing) -> Result<(), String> {
    match standing {
        Standing { cluster: Some(cluster), .. } => Err(format!("it belongs to cluster {cluster}")),
        Standing { applies: true, .. } => Err("it has applied for membership of a cluster".to_owned()),
        Standing { former: Some(cluster), .. } => Err(format!("it was removed from cluster {cluster}")),
        _ => Ok(()),
    }
}

/// True to the rules of this node: its size, its founders, its proposer.
fn is_meant_for(standing: &Standing, proposal: &Proposal) -> Result<(), String> {
    let founders = &proposal.founders;
    let Some(size) = standing.size else { return Err("it only joins, as it has no bootstrap.size".to_owned()) };
    if founders.len() != usize::from(size) {
        return Err(format!("the proposal has {} founders, and its bootstrap.size is {size}", founders.len()));
    }
    if proposal.founder(standing.node.node).is_none_or(|founder| founder.name != standing.node.name) {
        return Err("it is none of the founders of the proposal".to_owned());
    }
    let names: BTreeSet<String> = founders.iter().map(|founder| founder.name.clone()).collect();
    let nodes: BTreeSet<NodeId> = founders.iter().map(|founder| founder.node).collect();
    let are_expected = match Ordinal::of(&standing.node.name) {
        Some(own) => names == own.first(size),
        None => names.iter().all(|name| Ordinal::of(name).is_none()),
    };
    if !are_expected || names.len() != founders.len() || nodes.len() != founders.len() {
        return Err(format!("it does not start a cluster with {}", list(names)));
    }
    match names.first() {
        Some(first) if first == proposal.proposer_name() => Ok(()),
        _ => Err(format!("{:?} is not the founder that proposes", proposal.proposer_name())),
    }
}

/// Everybody else who has answered, once, with an address.
struct Others<'a>(BTreeMap<NodeId, (&'a str, &'a Standing)>);

impl<'a> Others<'a> {
    fn new(own: &Own, round: &'a Round) -> Self {
        let answered = round.heard.iter().filter_map(|(address, heard)| Some((address.as_str(), heard.as_ref().ok()?)));
        let others = answered.filter(|(_, standing)| standing.node.node != own.standing.node.node);
        Self(others.map(|(address, standing)| (standing.node.node, (address, standing))).collect())
    }

    fn standings(&self) -> impl Iterator<Item = (&'a str, &'a Standing)> {
        self.0.values().copied()
    }

    /// Where nodes of each cluster answered.
    fn clusters(&self) -> BTreeMap<ClusterId, Vec<String>> {
        let mut clusters: BTreeMap<ClusterId, Vec<String>> = BTreeMap::new();
        for (address, standing) in self.standings() {
            if let Some(cluster) = standing.cluster {
                clusters.entry(cluster).or_default().push(address.to_owned());
            }
        }
        clusters
    }
}

/// What to do when there is a cluster; none: there is none.
fn with_clusters(own: &Own, round: &Round, others: &Others) -> Option<Step> {
    let (clusters, strangers): (BTreeMap<_, _>, BTreeMap<_, _>) =
        others.clusters().into_iter().partition(|(cluster, _)| is_meant(own, round, others, *cluster));
    if !own.standing.applies
        && let Some(step) = formed_by_others(own, round, others)
    {
        return Some(step);
    }
    let Some((cluster, addresses)) = clusters.first_key_value() else {
        return (!strangers.is_empty()).then(|| Step::Wait(joins_no_strangers(own, others)));
    };
    if clusters.len() > 1 {
        let told = clusters.iter().map(|(cluster, addresses)| format!("{cluster} at {}", list(addresses)));
        return Some(Step::Wait(format!(
            "nodes of several clusters answer, and which of them to join is not clear: {}",
            list(told)
        )));
    }
    Some(match waits_for_promised(own, round, *cluster) {
        Some(reason) => Step::Wait(reason),
        None => Step::Join { cluster: *cluster, addresses: addresses.clone() },
    })
}

/// True unless the members that a name with an ordinal finds by DNS are all strangers: a DNS name can be that of another StatefulSet.
fn is_meant(own: &Own, round: &Round, others: &Others, cluster: ClusterId) -> bool {
    let own = &own.standing.node;
    let mut members = others.standings().filter(|(_, standing)| standing.cluster == Some(cluster));
    !round.discovers
        || Ordinal::of(&own.name).is_none()
        || members.any(|(address, member)| round.listed.contains(address) || are_kin(own, &member.node))
}

fn joins_no_strangers(own: &Own, others: &Others) -> String {
    let members = others.standings().filter(|(_, standing)| standing.cluster.is_some());
    let told = members.map(|(address, Standing { node, .. })| {
        format!("the one at {address} is called {:?}, of {}", node.name, node.client_address)
    });
    let Contact { name, client_address, .. } = &own.standing.node;
    format!(
        "does not join a cluster of strangers: this node is called {name:?}, of {client_address}, and {}; if it is the right one, \
         list an address of it in cluster.join",
        list(told)
    )
}

/// What to do where others have formed a cluster of which this node is a founder: the one that it has promised; or one that it had
/// promised before, where what it has promised since cannot form.
fn formed_by_others(own: &Own, round: &Round, others: &Others) -> Option<Step> {
    let promise = own.standing.promise.as_ref()?;
    if others.standings().any(|(_, standing)| standing.cluster == Some(promise.cluster)) {
        return Some(Step::Form(promise.clone()));
    }
    let mut formed = others.standings().filter_map(|(_, standing)| {
        let kept = standing.promise.as_ref().filter(|kept| standing.cluster == Some(kept.cluster))?;
        cannot_form(promise, standing.node.node, kept).then_some(kept)
    });
    let node = &own.standing.node;
    let kept = formed.find(|kept| kept.founder(node.node).is_some_and(|founder| founder.name == node.name))?;
    Some(match all_founders_answer(own, round, others, promise) {
        Ok(()) => Step::Form(kept.clone()),
        Err(reason) => Step::Wait(format!(
            "has promised to start cluster {}, and nodes of cluster {} answer, which it had promised before: {reason}",
            promise.cluster, kept.cluster
        )),
    })
}

/// Nobody is hidden who may have formed `promise`: each of its founders' names is that of one node that answers, and nobody is
/// silent.
fn all_founders_answer(own: &Own, round: &Round, others: &Others, promise: &Proposal) -> Result<(), String> {
    if let Some(silent) = round.silent() {
        return Err(format!("waits until all have answered; {silent}"));
    }
    check_twins(own, others)?;
    let answer =
        |name: &str| own.standing.node.name == name || others.standings().any(|(_, other)| other.node.name == name);
    let missing: Vec<&str> =
        promise.founders.iter().map(|founder| founder.name.as_str()).filter(|name| !answer(name)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("waits for {}", list(missing))) }
}

/// True when `promise` has not formed and never will, because `node` has formed `formed`: it is a founder that will not promise; or it
/// has the name of the proposer, whose disk is lost, and what that one had proposed came late, after this node had promised what
/// formed.
fn cannot_form(promise: &Proposal, node: NodeId, formed: &Proposal) -> bool {
    promise.founder(node).is_some() || (formed.proposer == node && has_lost_its_disk(promise, formed))
}

/// Why a node that has promised to start another cluster does not join this one yet: who does not answer may have formed it.
fn waits_for_promised(own: &Own, round: &Round, cluster: ClusterId) -> Option<String> {
    let promise = own.standing.promise.as_ref().filter(|_| !own.standing.applies)?;
    if promise.proposer == own.standing.node.node {
        // It would be the first to form it.
        return None;
    }
    let silent = round.silent()?;
    Some(format!(
        "it has promised to start cluster {}, and nodes of cluster {cluster} answer: waits until all have answered; {silent}",
        promise.cluster
    ))
}

impl Round {
    /// Where a node has answered.
    pub fn address_of(&self, node: NodeId) -> Option<&str> {
        let answered =
            |heard: &Result<Standing, String>| heard.as_ref().is_ok_and(|standing| standing.node.node == node);
        self.heard.iter().find(|(_, heard)| answered(heard)).map(|(address, _)| address.as_str())
    }

    /// In words who has not answered; none: all have.
    fn silent(&self) -> Option<String> {
        let silent = self.heard.iter().filter_map(|(address, heard)| Some((address, heard.as_ref().err()?)));
        let mut told: Vec<String> = silent.map(|(address, why)| format!("{address} ({why})")).collect();
        if !told.is_empty() {
            told = vec![format!("no answer from {}", list(told))];
        }
        told.extend(self.incomplete.clone());
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// The reason, and who has not answered.
    fn waits(&self, reason: String) -> String {
        match self.silent() {
            Some(silent) => format!("{reason}; {silent}"),
            None => reason,
        }
    }
}

/// The founders, when all is there for starting a cluster; this node is one of them.
fn founders<'a>(own: &'a Own, round: &Round, others: &Others<'a>) -> Result<Vec<&'a Contact>, String> {
    let size = may_found(own, round).map_err(|reason| round.waits(reason))?;
    check_twins(own, others)?;
    check_names(own, others)?;
    for (address, standing) in others.standings() {
        may_found_with(&standing.node.name, address, standing, size)?;
    }
    let answering: BTreeMap<&str, &Contact> =
        others.standings().map(|(_, standing)| &standing.node).chain([&own.standing.node]).map(by_name).collect();
    let founders = match Ordinal::of(&own.standing.node.name) {
        Some(ordinal) => {
            let names = ordinal.first(size);
            let missing: Vec<&String> = names.iter().filter(|name| !answering.contains_key(name.as_str())).collect();
            if !missing.is_empty() {
                return Err(round.waits(format!("waits for {} to start a cluster together", list(missing))));
            }
            answering.into_iter().filter(|(name, _)| names.contains(*name)).collect()
        }
        None => answering,
    };
    if founders.len() < usize::from(size) {
        let (names, missing) = (list(founders.keys()), usize::from(size) - founders.len());
        return Err(round.waits(format!(
            "waits for {missing} more of the {size} nodes that start a cluster together: so far there are {names}"
        )));
    }
    if founders.len() > usize::from(size) {
        return Err(format!(
            "{} nodes answer and bootstrap.size is {size}, so that it is not clear which of them start the cluster: {}",
            founders.len(),
            list(founders.keys())
        ));
    }
    if let Some(silent) = round.silent() {
        return Err(format!("waits until all have answered, as who does not may belong to a cluster: {silent}"));
    }
    Ok(founders.into_values().collect())
}

fn by_name(contact: &Contact) -> (&str, &Contact) {
    (&contact.name, contact)
}

/// The number of founders, if this node may be one of them.
fn may_found(own: &Own, round: &Round) -> Result<u16, String> {
    let standing = &own.standing;
    let name = &standing.node.name;
    if standing.applies {
        return Err("waits for the cluster that it has applied to".to_owned());
    }
    if let Some(former) = standing.former {
        return Err(format!(
            "waits for a cluster to join, as it was removed from cluster {former} and starts none itself"
        ));
    }
    let Some(size) = standing.size else {
        return Err("waits for a cluster to join: nobody who answers belongs to one".to_owned());
    };
    match Ordinal::of(name) {
        Some(ordinal) if ordinal.number >= u32::from(size) => {
            Err(format!("waits for a cluster to join: {} start one together", list(ordinal.first(size))))
        }
        None if round.discovers => Err(format!(
            "waits for a cluster to join: as its name {name:?} does not end in an ordinal, such as {name}-0, it cannot start one \
             with nodes that a DNS name resolves to"
        )),
        _ => Ok(size),
    }
}

/// Each name is to be that of one node.
fn check_twins(own: &Own, others: &Others) -> Result<(), String> {
    let mut holders = BTreeMap::from([(own.standing.node.name.as_str(), "this node".to_owned())]);
    for (address, standing) in others.standings() {
        let name = standing.node.name.as_str();
        let holder = format!("the one at {address}");
        if let Some(other) = holders.insert(name, holder.clone()) {
            return Err(format!(
                "two nodes are called {name:?}, {other} and {holder}: one must get another name or go"
            ));
        }
    }
    Ok(())
}

/// Names are to be all of one kind.
fn check_names(own: &Own, others: &Others) -> Result<(), String> {
    let own = &own.standing.node;
    for (address, standing) in others.standings() {
        let name = standing.node.name.as_str();
        match (Ordinal::of(&own.name), Ordinal::of(name)) {
            (None, None) => {}
            (Some(own), Some(other)) if own.base == other.base => {}
            _ => {
                return Err(format!(
                    "the node at {address} is called {name:?} and this one {:?}: which nodes start a cluster together is not clear",
                    own.name
                ));
            }
        }
    }
    Ok(())
}

/// An application of a node that is no founder does not count: it belongs to nothing, and a cluster that the founders had started
/// would answer from them.
fn may_found_with(name: &str, address: &str, standing: &Standing, size: u16) -> Result<(), String> {
    let is_founder = Ordinal::of(name).is_none_or(|ordinal| ordinal.number < u32::from(size));
    if standing.applies && is_founder {
        return Err(format!(
            "{name} at {address} has applied to a cluster that does not answer: waits for that cluster"
        ));
    }
    if let Some(former) = standing.former {
        return Err(format!(
            "{name} at {address} was removed from cluster {former}: waits for that cluster, or for it to go"
        ));
    }
    match standing.size {
        Some(theirs) if theirs == size => Ok(()),
        theirs => Err(format!(
            "{name} at {address} has {} and this node {size}: they must be the same",
            theirs.map_or("no bootstrap.size".to_owned(), |theirs| format!("bootstrap.size {theirs}"))
        )),
    }
}

/// All founders are there: the first of the names proposes, the others wait for it.
fn propose(own: &Own, mut founders: Vec<&Contact>, draw: ClusterId) -> Step {
    let own_node = &own.standing.node;
    let first = founders.iter().min_by_key(|founder| &founder.name).expect("this node is one of the founders");
    if first.node != own_node.node {
        let first = &first.name;
        return Step::Wait(match &own.standing.promise {
            Some(promise) => {
                format!("has promised to start cluster {}, and waits for {first} to start it", promise.cluster)
            }
            None => format!("waits for {first} to propose a cluster, as all have answered"),
        });
    }
    founders.sort_by_key(|founder| founder.node);
    let before = own.standing.promise.as_ref().filter(|promise| promise.proposer == own_node.node);
    let known = |founder: &Contact| (founder.node, founder.name.clone());
    if let Some(before) = before
        && before.founders.iter().map(known).eq(founders.iter().map(|founder| known(founder)))
    {
        return Step::Propose(before.clone());
    }
    let proposal = Proposal {
        cluster: draw,
        proposer: own_node.node,
        attempt: before.map_or(0, |before| before.attempt) + 1,
        founders: founders.into_iter().cloned().collect(),
        commit_quorum: own.commit_quorum,
    };
    match promise(own, &proposal) {
        Ok(_) => Step::Propose(proposal),
        Err(why) => Step::Wait(format!("cannot propose a cluster: {why}")),
    }
}

#[cfg(test)]
#[path = "founding_tests.rs"]
mod tests;
