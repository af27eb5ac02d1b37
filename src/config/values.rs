//! How values are written: addresses, durations, sizes, and words.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::raft::CommitQuorum;

/// `HOST:PORT`, where the host is a name, an IPv4 address, or an IPv6 address in brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Without brackets.
    pub host: String,
    /// The port; 0 means any free one, where one listens.
    pub port: u16,
}

/// The text is not `HOST:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {}", Address::EXPECTED)]
pub struct InvalidAddress;

impl Address {
    const EXPECTED: &str = "HOST:PORT such as 127.0.0.1:7400";
    const HOST_BYTES_MAX: usize = 253;
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let (host, port) = text.rsplit_once(':').ok_or(InvalidAddress)?;
        let port_digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| port_digits).ok_or(InvalidAddress)?;
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().map_err(|_| InvalidAddress)?.to_string(),
            None => host.to_owned(),
        };
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        let bare_ipv6 = text.matches(':').count() > 1 && !text.starts_with('[');
        let valid = (1..=Self::HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(named) && !bare_ipv6;
        if valid { Ok(Self { host, port }) } else { Err(InvalidAddress) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl JsonSchema for Address {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$",
            "examples": ["127.0.0.1:7400", "[::1]:7400", "quorate-0.quorate:7400"],
        })
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Text { expected: Self::EXPECTED, parse: |text: &str| text.parse().ok() })
    }
}

/// Attributes as OpenTelemetry writes them: `key=value,key=value`, where a value is percent-encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub BTreeMap<String, String>);

impl Attributes {
    const EXPECTED: &str = "attributes such as deployment.environment=test,team=a%2Cb";

    fn parse(text: &str) -> Option<Self> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let attribute = |part: &str| {
            let (key, value) = part.split_once('=')?;
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
            (!key.trim().is_empty()).then(|| (key.trim().to_owned(), value.into_owned()))
        };
        parts.map(attribute).collect::<Option<_>>().map(Self)
    }
}

impl JsonSchema for Attributes {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Attributes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["deployment.environment=test,team=a%2Cb"] })
    }
}

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written =
            |(key, value): (&String, &String)| format!("{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
        serializer.serialize_str(&self.0.iter().map(written).collect::<Vec<_>>().join(","))
    }
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Text { expected: Self::EXPECTED, parse: Self::parse })
    }
}

/// A text that nobody is to see: neither `Debug` nor `config show` tells it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    const EXPECTED: &str =
        "16 to 512 printable ASCII characters without blanks (not what `config show` puts in their place)";
    const HIDDEN: &str = "(hidden)";

    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let valid = (16..=512).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidSecret) }
    }
}

/// The text is too short, too long, or has characters that a token cannot have. It is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {}", Secret::EXPECTED)]
pub struct InvalidSecret;

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::HIDDEN)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[!-~]{16,512}$", "examples": ["x8K2-mQ4v-Zr71-pT9w"] })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Self::HIDDEN)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretText)
    }
}

/// Reads a secret. What is refused is not told either.
struct SecretText;

impl Visitor<'_> for SecretText {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Secret::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        text.parse().map_err(|InvalidSecret| self.refuse())
    }

    // A token of digits alone is read as a number where it has no quotes.
    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        Err(self.refuse())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        Err(self.refuse())
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Secret, E> {
        Err(self.refuse())
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Secret, E> {
        Err(self.refuse())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        Err(self.refuse())
    }
}

impl SecretText {
    fn refuse<E: de::Error>(&self) -> E {
        E::invalid_value(Unexpected::Other("something else"), self)
    }
}

/// Reads a value that is written as text. `expected` completes "expected ..." in an error.
struct Text<F> {
    expected: &'static str,
    parse: F,
}

impl<T, F: Fn(&str) -> Option<T>> Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// A `Duration` as [`duration`] writes it, or null.
pub(super) mod optional_duration {
    use std::time::Duration;

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Written(#[serde(with = "duration")] Duration);

    pub(in crate::config) fn schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = duration::schema(generator);
        schema.insert("type".to_owned(), serde_json::json!(["string", "null"]));
        schema
    }

    pub(in crate::config) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(Written).serialize(serializer)
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Written>::deserialize(deserializer)?.map(|Written(value)| value))
    }
}

/// A `Duration` as `1s 500ms`. A bare number is no duration: it does not say of what.
pub(super) mod duration {
    use std::time::Duration;

    use super::{Deserializer, Schema, SchemaGenerator, Serializer, Text, json_schema};

    pub(in crate::config) fn schema(_: &mut SchemaGenerator) -> Schema {
        let unit = "(ns|us|ms|s|sec|seconds?|m|min|minutes?|h|hr|hours?|d|days?)";
        json_schema!({
            "type": "string",
            "pattern": format!("^([0-9]+ *{unit} *)+$"),
            "examples": ["150ms", "1s 500ms", "1m"],
        })
    }

    /// More is a slip of the pen, and calculating with it could overflow.
    pub(in crate::config) const MAX: Duration = Duration::from_secs(24 * 60 * 60);

    pub(in crate::config) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let parse = |text: &str| humantime::parse_duration(text).ok().filter(|duration| *duration <= MAX);
        deserializer.deserialize_any(Text { expected: "a duration such as 150ms, at most 24h", parse })
    }
}

/// A number of bytes as `64MiB`. A bare number is no size either.
pub(super) mod bytes {
    use bytesize::ByteSize;

    use super::{Deserializer, Schema, SchemaGenerator, Serializer, Text, json_schema};

    pub(in crate::config) fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^[0-9]+(\.[0-9]+)? *(B|[KMGT]i?B)$",
            "examples": ["64MiB", "1.5GiB", "4096B"],
        })
    }

    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];

    /// In the largest unit of which it is a whole number, so that it reads back as the same.
    pub(in crate::config) fn write(bytes: u64) -> String {
        match UNITS.iter().find(|(size, _)| bytes > 0 && bytes.is_multiple_of(*size)) {
            Some((size, unit)) => format!("{}{unit}", bytes / size),
            None => format!("{bytes}B"),
        }
    }

    fn parse(text: &str) -> Option<u64> {
        let has_unit = text.ends_with(|last: char| last.is_ascii_alphabetic());
        text.parse::<ByteSize>().ok().filter(|_| has_unit).map(|size| size.as_u64())
    }

    pub(in crate::config) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&write(*value))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(Text { expected: "a size such as 64MiB", parse })
    }
}

/// Addresses as a list, or as one text with commas, as variables and flags have them.
pub(super) mod addresses {
    use super::*;

    pub(in crate::config) fn serialize<S: Serializer>(value: &[Address], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(value)
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Address>, D::Error> {
        deserializer.deserialize_any(Addresses)
    }

    struct Addresses;

    impl<'de> Visitor<'de> for Addresses {
        type Value = Vec<Address>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of HOST:PORT such as 127.0.0.1:7400,127.0.0.1:7410")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            let parsed: Result<_, _> = parts.map(str::parse).collect();
            parsed.map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut addresses = Vec::new();
            while let Some(address) = sequence.next_element()? {
                addresses.push(address);
            }
            Ok(addresses)
        }
    }
}

/// Names as a list, or as one text with commas.
pub(super) mod names {
    use super::*;

    pub(in crate::config) fn serialize<S: Serializer>(value: &[String], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(value)
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
        deserializer.deserialize_any(Names)
    }

    struct Names;

    impl<'de> Visitor<'de> for Names {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of host names such as quorate.example,queues.example")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect())
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut names = Vec::new();
            while let Some(name) = sequence.next_element()? {
                names.push(name);
            }
            Ok(names)
        }
    }
}

/// How [`CommitQuorum`] is written; Raft itself does not know about files.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(remote = "CommitQuorum", rename_all = "snake_case")]
pub(super) enum CommitQuorumName {
    Majority,
    HalfPlusOne,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_as_written() {
        for text in ["127.0.0.1:7400", "[::1]:7400", "q-0.q.default.svc:0", "my_host:65535"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "7400", ":7400", "a:", "a:+1", "a:65536", "::1:7400", "[::1]", "[a]:1", "a b:1", "http://a:1"]
        {
            assert_eq!(text.parse::<Address>(), Err(InvalidAddress), "{text:?}");
        }
    }

    #[test]
    fn attributes_read_back_as_written() {
        let read = |text: &str| serde_yaml::from_str::<Attributes>(text);
        let attributes = read("'a.b=c, d=e%2Cf=g ,'").unwrap();
        assert_eq!(attributes.0, BTreeMap::from([("a.b".into(), "c".into()), ("d".into(), "e,f=g".into())]));
        assert_eq!(read(&serde_yaml::to_string(&attributes).unwrap()).unwrap(), attributes);
        assert_eq!(read("''").unwrap(), Attributes::default());
        for wrong in ["a", "=b", "a=%ff"] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    /// Neither the value nor what was refused.
    #[test]
    fn a_secret_is_never_told() {
        let read = |text: &str| serde_yaml::from_str::<Secret>(text);
        let secret = read("0123456789-abcdef").unwrap();
        assert_eq!(secret.reveal(), "0123456789-abcdef");
        assert_eq!(
            (format!("{secret:?}").as_str(), serde_yaml::to_string(&secret).unwrap().trim()),
            ("(hidden)", "(hidden)")
        );
        for wrong in ["(hidden)", "0123456789abcde", "'0123456789 abcdef'", "'0123456789äabcdef'", "1234567890123456"]
        {
            let refused = read(wrong).unwrap_err().to_string();
            assert!(refused.contains("16 to 512") && !refused.contains("123456789"), "{refused}");
        }
    }

    #[test]
    fn sizes_are_written_exactly() {
        for (size, text) in [(64 << 20, "64MiB"), (1536, "1536B"), (3 << 30, "3GiB"), (0, "0B")] {
            assert_eq!(bytes::write(size), text);
        }
    }
}
