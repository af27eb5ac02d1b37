//! Who may come in, and who is meant: decided from the membership in force and the address book.
//!
//! ```text
//!   the applicant was removed        Unacceptable::Removed
//!                 is a member        AlreadyMember
//!   its name is   nobody's           Newcomer
//!                 a member's         NameHeldBy: if that one lives, NameTaken; otherwise the applicant replaces it
//! ```

use std::collections::BTreeSet;

use crate::ids::{Contact, NODE_NAME_BYTES_MAX, NodeId, is_node_name};
use crate::proto::v1;
use crate::raft::{Configuration, Learner};
use crate::replica::Membership;
use crate::transport::address_book::is_address;

/// The highest address version that is taken from a client: nodes count from 1, and must be able to count on.
const ADDRESS_VERSION_MAX: u64 = 1 << 32;

/// The most members that one request may name: more than a cluster ever has.
const NAMED_MAX: usize = 100;

/// Why a member cannot come in, or is not found. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unacceptable {
    /// A field of the applicant is wrong.
    #[error("{field}: {message}")]
    InvalidMember {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// Another member with this name lives.
    #[error(
        "the name '{name}' belongs to node {by}, which is alive; give the node another name, or remove that member"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        by: NodeId,
    },
    /// The node was removed from the cluster.
    #[error(
        "node {0} was removed from this cluster and cannot come back; started again, it sets its data aside and joins anew"
    )]
    Removed(NodeId),
    /// Nobody has this name or node id.
    #[error("no member has the name or node id '{0}'")]
    NoSuchMember(String),
    /// Nobody is named, or too many are.
    #[error("members: expected 1 to {NAMED_MAX} names or node ids, found {0}")]
    NotSoMany(usize),
}

/// What to do with an applicant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is in already.
    AlreadyMember,
    /// It comes in as a learner.
    Newcomer,
    /// These members have its name: it replaces one of them if none of them lives.
    NameHeldBy(Vec<NodeId>),
}

/// An address book, as far as admission needs it.
pub trait Names {
    /// The contact of a node that is or was a member.
    fn contact(&self, node: NodeId) -> Option<Contact>;
}

/// Checks what an applicant says of itself.
///
/// # Errors
/// The field that is wrong.
pub fn applicant(member: v1::Member) -> Result<Contact, Unacceptable> {
    let node = member.node_id.parse().map_err(|error| invalid("member.node_id", &error))?;
    check_name(&member.name).map_err(|message| invalid("member.name", &message))?;
    check_address(&member.client_address).map_err(|message| invalid("member.client_address", &message))?;
    check_address(&member.peer_address).map_err(|message| invalid("member.peer_address", &message))?;
    check_version(member.address_version).map_err(|message| invalid("member.address_version", &message))?;
    Ok(Contact {
        node,
        name: member.name,
        client_address: member.client_address,
        peer_address: member.peer_address,
        version: member.address_version.max(1),
    })
}

/// Decides about an applicant whose contact is well formed.
///
/// # Errors
/// The node was removed before.
pub fn admit(applicant: &Contact, membership: &Membership, names: &impl Names) -> Result<Admission, Unacceptable> {
    let configuration = &membership.configuration;
    if configuration.is_member(applicant.node) {
        return Ok(Admission::AlreadyMember);
    }
    if membership.removed.contains_key(&applicant.node) {
        return Err(Unacceptable::Removed(applicant.node));
    }
    let holders: Vec<NodeId> = named(&applicant.name, configuration, names).collect();
    if holders.is_empty() { Ok(Admission::Newcomer) } else { Ok(Admission::NameHeldBy(holders)) }
}

/// How an applicant comes in whose name is held by `holders`, none of which lives: in the place of the voter among them.
pub fn replacing(holders: &[NodeId], configuration: &Configuration) -> Learner {
    let voter = holders.iter().find(|holder| configuration.is_voter(**holder));
    Learner { stay: false, replaces: voter.or(holders.first()).copied() }
}

/// The member with this name or node id. A name counts first.
///
/// # Errors
/// There is none.
pub fn find(member: &str, configuration: &Configuration, names: &impl Names) -> Result<NodeId, Unacceptable> {
    let by_id = || member.parse().ok().filter(|node| configuration.is_member(*node));
    named(member, configuration, names)
        .next()
        .or_else(by_id)
        .ok_or_else(|| Unacceptable::NoSuchMember(member.to_owned()))
}

/// The members with these names or node ids, without those that were removed before: somebody else has asked for the same.
///
/// # Errors
/// One of them never was a member: then it is a mistake, and nobody is meant. Or none of them is a member any more.
pub fn find_all(
    named: &[String],
    membership: &Membership,
    names: &impl Names,
) -> Result<BTreeSet<NodeId>, Unacceptable> {
    if named.is_empty() || named.len() > NAMED_MAX {
        return Err(Unacceptable::NotSoMany(named.len()));
    }
    let mut found = BTreeSet::new();
    for member in named {
        match find(member, &membership.configuration, names) {
            Ok(node) => _ = found.insert(node),
            Err(_) if was_removed(member, membership, names) => {}
            Err(unknown) => return Err(unknown),
        }
    }
    match named {
        [first, ..] if found.is_empty() => Err(Unacceptable::NoSuchMember(first.clone())),
        _ => Ok(found),
    }
}

fn was_removed(member: &str, membership: &Membership, names: &impl Names) -> bool {
    let has_name = |node: &NodeId| names.contact(*node).is_some_and(|contact| contact.name == member);
    let is_it = |node: &NodeId| member.parse() == Ok(*node) || has_name(node);
    membership.removed.keys().any(is_it)
}

/// What clients are told of the members. One whose address is not known has empty ones.
pub fn list(configuration: &Configuration, names: &impl Names) -> Vec<v1::Member> {
    configuration.members().map(|node| describe(node, configuration, names)).collect()
}

/// What clients are told of one node.
pub fn describe(node: NodeId, configuration: &Configuration, names: &impl Names) -> v1::Member {
    let membership = if configuration.voters.contains(&node) {
        v1::Membership::Voter
    } else if configuration.voters_outgoing.contains(&node) {
        v1::Membership::Leaving
    } else if configuration.learners.contains_key(&node) {
        v1::Membership::Learner
    } else {
        v1::Membership::Unspecified
    };
    let contact = names.contact(node);
    let (name, client_address, peer_address, version) = contact.map_or_else(Default::default, |contact| {
        (contact.name, contact.client_address, contact.peer_address, contact.version)
    });
    v1::Member {
        node_id: node.to_string(),
        name,
        client_address,
        peer_address,
        address_version: version,
        membership: membership.into(),
    }
}

fn named<'a>(
    name: &'a str,
    configuration: &'a Configuration,
    names: &'a impl Names,
) -> impl Iterator<Item = NodeId> + 'a {
    configuration.members().filter(move |node| names.contact(*node).is_some_and(|contact| contact.name == name))
}

fn invalid(field: &'static str, message: &impl ToString) -> Unacceptable {
    Unacceptable::InvalidMember { field, message: message.to_string() }
}

fn check_name(name: &str) -> Result<(), String> {
    if is_node_name(name) {
        return Ok(());
    }
    Err(format!("{name:?} is no name: 1 to {NODE_NAME_BYTES_MAX} letters, digits, '.', '_' or '-'"))
}

fn check_address(address: &str) -> Result<(), String> {
    if is_address(address) { Ok(()) } else { Err(format!("{address:?} is no address: HOST:PORT is needed")) }
}

fn check_version(version: u64) -> Result<(), String> {
    if version <= ADDRESS_VERSION_MAX { Ok(()) } else { Err(format!("{version} is more than {ADDRESS_VERSION_MAX}")) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ids::Index;
    use crate::raft::CommitQuorum;

    impl Names for BTreeMap<NodeId, Contact> {
        fn contact(&self, node: NodeId) -> Option<Contact> {
            self.get(&node).cloned()
        }
    }

    fn contact(node: u64, name: &str) -> Contact {
        let address = format!("10.0.0.{node}:7400");
        Contact {
            node: NodeId(node),
            name: name.into(),
            client_address: address.clone(),
            peer_address: address,
            version: 1,
        }
    }

    fn book(contacts: &[(u64, &str)]) -> BTreeMap<NodeId, Contact> {
        contacts.iter().map(|(node, name)| (NodeId(*node), contact(*node, name))).collect()
    }

    fn membership(configuration: Configuration) -> Membership {
        Membership { configuration, index: Index(1), removed: BTreeMap::new() }
    }

    fn of_voters(voters: &[u64]) -> Configuration {
        let mut configuration = Configuration::of_one(NodeId(voters[0]), CommitQuorum::Majority);
        configuration.voters.extend(voters.iter().copied().map(NodeId));
        configuration
    }

    #[test]
    fn a_newcomer_with_a_free_name_comes_in() {
        let (configuration, book) = (of_voters(&[1, 2]), book(&[(1, "a"), (2, "b")]));
        assert_eq!(admit(&contact(3, "c"), &membership(configuration), &book), Ok(Admission::Newcomer));
    }

    #[test]
    fn applying_twice_changes_nothing() {
        let (configuration, book) = (of_voters(&[1, 2]), book(&[(1, "a"), (2, "b")]));
        assert_eq!(admit(&contact(2, "b"), &membership(configuration), &book), Ok(Admission::AlreadyMember));
    }

    #[test]
    fn one_who_was_removed_does_not_come_back() {
        let book = book(&[(1, "a"), (2, "b")]);
        let membership = Membership { removed: BTreeMap::from([(NodeId(2), Index(9))]), ..membership(of_voters(&[1])) };
        assert_eq!(admit(&contact(2, "b"), &membership, &book), Err(Unacceptable::Removed(NodeId(2))));
    }

    #[test]
    fn the_same_name_on_a_fresh_disk_replaces_the_voter_of_that_name() {
        let mut configuration = of_voters(&[1, 2]);
        configuration.learners.insert(NodeId(3), Learner { stay: false, replaces: Some(NodeId(2)) });
        let book = book(&[(1, "a"), (2, "b"), (3, "b")]);
        let admission = admit(&contact(4, "b"), &membership(configuration.clone()), &book).unwrap();
        let Admission::NameHeldBy(holders) = admission else { panic!("the name is held: {admission:?}") };
        assert_eq!(replacing(&holders, &configuration).replaces, Some(NodeId(2)));
    }

    #[test]
    fn a_removed_member_frees_its_name() {
        let (configuration, book) = (of_voters(&[1]), book(&[(1, "a"), (2, "b")]));
        assert_eq!(admit(&contact(3, "b"), &membership(configuration), &book), Ok(Admission::Newcomer));
    }

    #[test]
    fn a_member_is_found_by_name_and_by_id() {
        let (configuration, book) = (of_voters(&[1, 2]), book(&[(1, "a"), (2, "b"), (9, "gone")]));
        assert_eq!(find("b", &configuration, &book), Ok(NodeId(2)));
        assert_eq!(find("0000000000000001", &configuration, &book), Ok(NodeId(1)));
        for missing in ["gone", "0000000000000009", ""] {
            assert_eq!(find(missing, &configuration, &book), Err(Unacceptable::NoSuchMember(missing.into())));
        }
    }

    /// Whoever was removed meanwhile is left out; a mistake among the names stops the whole.
    #[test]
    fn several_members_are_found_all_or_none() {
        let book = book(&[(1, "a"), (2, "b"), (3, "c"), (8, "was-d"), (9, "b")]);
        let removed = BTreeMap::from([(NodeId(8), Index(5)), (NodeId(9), Index(6))]);
        let membership = Membership { removed, ..membership(of_voters(&[1, 2, 3])) };
        let found = |named: &[&str]| {
            let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
            find_all(&named, &membership, &book).map(|found| found.into_iter().map(|node| node.0).collect::<Vec<_>>())
        };
        let unknown = |name: &str| Err(Unacceptable::NoSuchMember(name.to_owned()));
        assert_eq!(found(&["c", "b"]), Ok(vec![2, 3]));
        assert_eq!(found(&["c", "0000000000000003", "c"]), Ok(vec![3]), "one member, named three times");
        assert_eq!(found(&["c", "was-d"]), Ok(vec![3]));
        assert_eq!(found(&["c", "0000000000000008"]), Ok(vec![3]));
        assert_eq!(found(&["b"]), Ok(vec![2]), "the name belongs to who took the place of the removed one");
        assert_eq!(found(&["c", "typo"]), unknown("typo"));
        assert_eq!(found(&["was-d"]), unknown("was-d"));
        assert_eq!(found(&[]), Err(Unacceptable::NotSoMany(0)));
        assert_eq!(found(&["a"; 101]), Err(Unacceptable::NotSoMany(101)));
    }

    #[test]
    fn an_applicant_says_who_it_is_and_where() {
        let member = |change: fn(&mut v1::Member)| {
            let mut member = describe(NodeId(1), &of_voters(&[1]), &book(&[(1, "a")]));
            change(&mut member);
            applicant(member).map_err(|error| match error {
                Unacceptable::InvalidMember { field, .. } => field,
                other => panic!("unexpected: {other}"),
            })
        };
        assert_eq!(member(|_| {}), Ok(contact(1, "a")));
        assert_eq!(member(|member| member.node_id = "1".into()), Err("member.node_id"));
        assert_eq!(member(|member| member.name = "a b".into()), Err("member.name"));
        assert_eq!(member(|member| member.client_address = "host".into()), Err("member.client_address"));
        assert_eq!(member(|member| member.address_version = (1 << 32) + 1), Err("member.address_version"));
        assert_eq!(member(|member| member.peer_address = "host:0".into()), Err("member.peer_address"));
        assert_eq!(member(|member| member.peer_address = ":7401".into()), Err("member.peer_address"));
    }
}
