//! In which line of a YAML file a key stands. The reader of values forgets that; but its errors know it. So the file is read
//! once more by somebody who fails at the key that is looked for.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

/// The line, counted from 1, in which `key`, such as `raft.heartbeat_interval`, stands; none when it is not in the file.
pub(super) fn line_of(text: &str, key: &str) -> Option<usize> {
    let path: Vec<&str> = key.split('.').collect();
    let found = Section { path: &path }.deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    found.location().map(|location| location.line())
}

/// Reads a section, and fails at the key that ends `path`.
struct Section<'a> {
    path: &'a [&'a str],
}

impl<'de> DeserializeSeed<'de> for Section<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Section<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a section")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut section: A) -> Result<(), A::Error> {
        let Some((first, rest)) = self.path.split_first() else { return Ok(()) };
        while let Some(is_first) = section.next_key_seed(Key { wanted: first, fails: rest.is_empty() })? {
            if is_first {
                section.next_value_seed(Section { path: rest })?;
            } else {
                section.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Reads a key, and says whether it is the one that is wanted.
struct Key<'a> {
    wanted: &'a str,
    fails: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        match key == self.wanted {
            true if self.fails => Err(E::custom("it is here")),
            found => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_where_it_stands() {
        let text = "# a comment\nnode:\n  name: a\n\n  data_dir: >\n    name: x\nstorage: {segment_bytes: 8MiB,\n  cache_bytes: 1MiB}\nlog:\n";
        for (key, line) in [
            ("node", Some(2)),
            ("node.name", Some(3)),
            ("node.data_dir", Some(5)),
            ("storage.segment_bytes", Some(7)),
            ("storage.cache_bytes", Some(8)),
            ("log", Some(9)),
            ("name", None),
            ("raft.name", None),
        ] {
            assert_eq!(line_of(text, key), line, "{key}");
        }
    }
}
