//! `--stale` and `--any-node`: how fresh what a command shows must be.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::console::Console;
use crate::client::{Client, Consistency};

/// Without either: everything that was committed before, which only the leader can tell.
#[derive(Clone, Copy, Debug, Args)]
pub struct Freshness {
    /// Show what the node that is asked has, without asking anybody, and tell how old that may be
    #[arg(long, conflicts_with = "any_node")]
    stale: bool,
    /// Let the node that is asked answer, as fresh as the leader would: it asks the leader how far the log is committed
    #[arg(long)]
    any_node: bool,
}

impl Freshness {
    /// The client that reads so.
    pub(super) fn reading(self, client: &Client) -> Client {
        client.reading(match self {
            Self { stale: true, .. } => Consistency::Stale,
            Self { any_node: true, .. } => Consistency::AnyNode,
            _ => Consistency::Leader,
        })
    }

    /// Tells on standard error how old what is shown may be. With `--output json` the document says it.
    pub(super) fn tell(self, age: Option<Duration>, console: &Console) {
        if self.stale && !console.is_json() {
            // Standard error that cannot be written to is no reason to fail.
            let _ = writeln!(std::io::stderr(), "{}", words(age));
        }
    }
}

/// An age in a document: milliseconds.
pub(super) fn age_json(age: Option<Duration>) -> Value {
    json!(age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)))
}

fn words(age: Option<Duration>) -> String {
    match age {
        Some(age) => {
            let age = humantime::format_duration(Duration::from_millis(age.as_millis().try_into().unwrap_or(u64::MAX)));
            format!("stale: shows everything that was committed until {age} ago")
        }
        None => "stale: the node does not know how much is committed, so this may be of any age".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_whole_milliseconds() {
        let age = Duration::from_micros(213_900);
        assert_eq!(words(Some(age)), "stale: shows everything that was committed until 213ms ago");
        assert!(words(None).contains("of any age"));
        assert_eq!((age_json(Some(age)), age_json(None)), (json!(213), Value::Null));
    }
}
