//! Names of nodes: with an ordinal at the end, as a StatefulSet gives them, or without; and how several of them are told.

use std::collections::BTreeSet;

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

/// `a`, `a and b`, `a, b and c`; of more only the first, and how many there are.
pub fn list<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<T> = names.into_iter().collect();
    let mut told: Vec<String> = names.iter().take(NAMED_MAX).map(|name| name.as_ref().to_owned()).collect();
    if names.len() > NAMED_MAX {
        told.push(format!("{} more", names.len() - NAMED_MAX));
    }
    match told.split_last() {
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
    fn lists() {
        let list = |names: &[&str]| super::list(names);
        assert_eq!(list(&[]), "nobody");
        assert_eq!(list(&["a"]), "a");
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
        assert_eq!(list(&["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
    }
}
