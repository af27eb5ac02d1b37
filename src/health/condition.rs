//! What is asked of a node, and whether it holds.

use std::fmt;

/// Something that must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What the node then is or does, such as `has caught up`.
    pub what: &'static str,
    /// None: it holds. Otherwise why it does not, in words.
    pub missing: Option<String>,
}

/// How the node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// All of it holds: the process is better left alone.
    pub live: Vec<Condition>,
    /// All of it holds: the node does its part.
    pub ready: Vec<Condition>,
}

pub(super) const ANSWERS: &str = "answers";
pub(super) const TURNS: &str = "its loop turns";
pub(super) const RECOVERED: &str = "has recovered its log";
pub(super) const MEMBER: &str = "is a member of a cluster";
pub(super) const VOTES: &str = "votes";
pub(super) const STAYS: &str = "is a learner that is to stay one";
pub(super) const CAUGHT_UP: &str = "has caught up";
pub(super) const HEARD_NOBODY: &str = "has heard of no leader since it started, and waits for none any more";
pub(super) const GOES_ON: &str = "is not about to stop";

impl Condition {
    pub(super) fn holds(what: &'static str) -> Self {
        Self { what, missing: None }
    }

    pub(super) fn missing(what: &'static str, why: impl Into<String>) -> Self {
        Self { what, missing: Some(why.into()) }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.missing {
            None => write!(f, "[x] {}", self.what),
            // One condition is one line, whatever a peer or a disk has said.
            Some(why) => write!(f, "[ ] {}: {}", self.what, crate::telemetry::escaped(why)),
        }
    }
}

impl Verdict {
    /// While what is on the disk is read.
    pub(super) fn recovering() -> Self {
        let open = |what| Condition::missing(what, "its log comes first");
        let ready = vec![
            Condition::missing(RECOVERED, "reads what is on its disk"),
            open(MEMBER),
            open(VOTES),
            open(CAUGHT_UP),
            Condition::holds(GOES_ON),
        ];
        Self { live: vec![Condition::holds(ANSWERS)], ready }
    }

    /// True when nothing is missing of what a live process does.
    pub fn is_live(&self) -> bool {
        first_missing(&self.live).is_none()
    }

    /// True when nothing is missing of what a ready node does.
    pub fn is_ready(&self) -> bool {
        first_missing(&self.ready).is_none()
    }

    /// True when the node has applied what it heard was committed a few seconds ago.
    pub fn has_caught_up(&self) -> bool {
        self.ready.contains(&Condition::holds(CAUGHT_UP))
    }

    /// Why the node is about to stop, if it is.
    pub(super) fn why_it_stops(&self) -> Option<&str> {
        self.ready.iter().find(|condition| condition.what == GOES_ON)?.missing.as_deref()
    }

    /// `live` or `not live`, and a line for each condition.
    pub fn live_text(&self) -> String {
        text("live", &self.live)
    }

    /// `ready` or `not ready`, and a line for each condition.
    pub fn ready_text(&self) -> String {
        text("ready", &self.ready)
    }
}

/// The first condition that does not hold.
pub(super) fn first_missing(conditions: &[Condition]) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.missing.is_some())
}

fn text(what: &str, conditions: &[Condition]) -> String {
    let not = if first_missing(conditions).is_some() { "not " } else { "" };
    let lines: String = conditions.iter().map(|condition| format!("{condition}\n")).collect();
    format!("{not}{what}\n{lines}")
}
