//! Names of nodes: with an ordinal at the end, as a StatefulSet gives them, or without; and how several of them are told.

use std::collections::BTreeSet;

use crate::ids::Contact;

/// So many are told by name, and the rest by number.
const NAMED_MAX: usize = 3;

/// A name of the form `NAME-ORDINAL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ordinal<'a> {
    /// What stands before the ordinal.
    pub base: &'a str,
    /// The ordinal.
    pub number: u32,
}

impl<'a> Ordinal<'a> {
    /// The parts of a name; none if it has not this form. An ordinal has no zeros before it.
    pub fn of(name: &'a str) -> Option<Self> {
        let (base, digits) = name.rsplit_once('-')?;
        let number: u32 = digits.parse().ok()?;
        (!base.is_empty() && number.to_string() == digits).then_some(Self { base, number })
    }

    /// The names with the ordinals from 0 on.
    pub fn first(self, count: u16) -> BTreeSet<String> {
        (0..count).map(|number| format!("{}-{number}", self.base)).collect()
    }
}

/// True for pods of one StatefulSet, as far as their names and addresses tell: the names differ in the ordinal alone; and where both
/// hosts begin with the name, as those of pods do, the rest is the same, which another namespace has not.
pub fn are_kin(one: &Contact, other: &Contact) -> bool {
    let (Some(ordinal), Some(other_ordinal)) = (Ordinal::of(&one.name), Ordinal::of(&other.name)) else { return false };
    let are_together = match (domain(one), domain(other)) {
        (Some(domain), Some(other_domain)) => domain == other_domain,
        _ => true,
    };
    ordinal.base == other_ordinal.base && are_together
}

/// What stands after the name of the node in its host.
fn domain(contact: &Contact) -> Option<&str> {
    let host = contact.client_address.rsplit_once(':').map_or(contact.client_address.as_str(), |(host, _)| host);
    host.strip_prefix(&contact.name)?.strip_prefix('.')
}

/// `a`, `a and b`, `a, b and c`; of more only the first, and how many there are.
pub fn list<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<T> = names.into_iter().collect();
    let mut told: Vec<String> = names.iter().take(NAMED_MAX).map(|name| name.as_ref().to_owned()).collect();
    if names.len() > NAMED_MAX {
        told.push(format!("{} more", names.len() - NAMED_MAX));
    }
    all(&told)
}

/// All of them: `a`, `a and b`, `a, b and c`.
pub fn all<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
    match names.split_last() {
        None => "nobody".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals() {
        let of = |name| Ordinal::of(name).map(|ordinal| (ordinal.base, ordinal.number));
        assert_eq!(of("quorate-0"), Some(("quorate", 0)));
        assert_eq!(of("a-b-12"), Some(("a-b", 12)));
        for none in ["a", "a-", "-1", "a-01", "a-+1", "a-1b", "a-99999999999", ""] {
            assert_eq!(of(none), None, "{none:?}");
        }
        assert_eq!(Ordinal::of("a-7").unwrap().first(2), BTreeSet::from(["a-0".to_owned(), "a-1".to_owned()]));
    }

    #[test]
    fn kin() {
        let contact = |name: &str, host: &str| Contact {
            node: crate::ids::NodeId(1),
            name: name.to_owned(),
            client_address: format!("{host}:7400"),
            peer_address: format!("{host}:7401"),
            version: 1,
        };
        let own = contact("q-0", "q-0.peers.one.svc");
        for (name, host, expected) in [
            ("q-1", "q-1.peers.one.svc", true),
            ("q-1", "q-1.peers.two.svc", false),
            ("q-0", "q-0.peers.one.svc", true),
            ("q-1", "10.0.0.2", true),
            ("q-1", "q-1", true),
            ("q-1", "q-10.peers.two.svc", true),
            ("p-1", "p-1.peers.one.svc", false),
            ("q-1-1", "q-1-1.peers.one.svc", false),
            ("q", "q.peers.one.svc", false),
        ] {
            assert_eq!(are_kin(&own, &contact(name, host)), expected, "{name} {host}");
        }
    }

    #[test]
    fn lists() {
        let list = |names: &[&str]| super::list(names);
        assert_eq!(list(&[]), "nobody");
        assert_eq!(list(&["a"]), "a");
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
        assert_eq!(list(&["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
    }
}
