//! The latest of what happened on this node, for those who ask: a dashboard shows that of all nodes side by side.
//!
//! ```text
//!    Told (a replica)  --> tell --\                           /--> the log, as its filter says
//!                                  +--> one sentence --------+
//!    connections, disk, process  --> Ring::say --/            \--> the ring: the latest 2,000, at most 1 MiB
//! ```
//!
//! The sentences are those of the log, with what came from outside escaped and cut in the same way. The way of every request and
//! heartbeats are not kept: they would push everything else out.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::format::{cut, escaped};
use super::moment;
use super::tell::Sentence;
use crate::ids::{Index, Term};

/// The most events that are kept. The oldest goes when another comes.
const EVENTS_MAX: usize = 2_000;

/// The most bytes of the events that are kept.
const BYTES_MAX: usize = 1 << 20;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The part that the node plays, and whom it follows.
    Role,
    /// Votes asked for, given and refused.
    Vote,
    /// Leadership that is handed over.
    Transfer,
    /// Who belongs to the cluster.
    Membership,
    /// Snapshots and what they leave of the log.
    Snapshot,
    /// Connections to other nodes.
    Connection,
    /// The disk and the log on it.
    Disk,
    /// The start and the end of the process, and whether it is ready.
    Process,
    /// What should not be.
    Trouble,
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// It is good to know.
    Info,
    /// Somebody should look at it, but need not at once.
    Warn,
    /// Somebody must.
    Error,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// 1 for the first one of the process.
    pub number: u64,
    /// On the clock of the node, in milliseconds since 1970.
    pub at_ms: u64,
    /// The stable name, as in the log for programs.
    pub event: Cow<'static, str>,
    /// A sentence whose subject is the node.
    pub words: String,
    /// What it is about.
    pub kind: Kind,
    /// How much it matters.
    pub level: Level,
    /// The name of the other node that it is about.
    pub peer: Option<String>,
    /// The term that it is about.
    pub term: Option<Term>,
    /// The index that it is about.
    pub index: Option<Index>,
}

/// Events of one process that follow each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Drawn when the process started: the numbers of events begin anew with it.
    pub process: u64,
    /// In the order of their numbers.
    pub events: Vec<Event>,
}

/// The latest events of this process. Clones share them.
#[derive(Clone, Debug)]
pub struct Ring {
    process: u64,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    bytes: usize,
    last: u64,
}

impl Ring {
    /// Nothing has happened.
    pub fn new() -> Self {
        // 0 stands for "none" where somebody asks for the first time.
        Self { process: rand::random_range(1..=u64::MAX), state: Arc::default() }
    }

    /// Logs an event that is about no term and no index, and keeps it. `event` is its stable name, `peer` the name of the other
    /// node that it is about.
    pub fn say(&self, kind: Kind, level: Level, event: &'static str, words: String, peer: Option<&str>) {
        match level {
            Level::Info => tracing::info!(event, peer, "{words}"),
            Level::Warn => tracing::warn!(event, peer, "{words}"),
            Level::Error => tracing::error!(event, peer, "{words}"),
        }
        let sentence = Sentence { event, words, peer: peer.map(str::to_owned), term: None, index: None };
        self.keep(kind, level, sentence);
    }

    /// Keeps an event.
    pub(super) fn keep(&self, kind: Kind, level: Level, sentence: Sentence) {
        let Sentence { event, words, peer, term, index } = sentence;
        let event = Event {
            number: 0,
            at_ms: moment::wall().0,
            event: Cow::Borrowed(event),
            words: tame(&words),
            kind,
            level,
            peer: peer.as_deref().map(tame),
            term,
            index,
        };
        self.state().push(event);
    }

    /// What happened after the event `after` of `process`, or of all that is kept, when `process` is another one. When that is
    /// more than `limit`, the newest of it.
    pub fn after(&self, process: u64, after: u64, limit: usize) -> Page {
        let after = if process == self.process { after } else { 0 };
        let state = self.state();
        let unknown = state.events.partition_point(|event| event.number <= after);
        let skipped = unknown.max(state.events.len().saturating_sub(limit));
        Page { process: self.process, events: state.events.range(skipped..).cloned().collect() }
    }

    /// Whole at any time: good also when somebody panicked with the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self::new()
    }
}

/// A text as a line of the log shows it: short, and nothing in it is obeyed by a terminal.
pub fn tame(text: &str) -> String {
    cut(escaped(text))
}

impl State {
    fn push(&mut self, event: Event) {
        self.last += 1;
        self.bytes += event.bytes();
        self.events.push_back(Event { number: self.last, ..event });
        while self.events.len() > EVENTS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.events.pop_front() else { return };
            self.bytes -= oldest.bytes();
        }
    }
}

impl Event {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.words.len() + self.peer.as_ref().map_or(0, String::len)
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Role,
        Self::Vote,
        Self::Transfer,
        Self::Membership,
        Self::Snapshot,
        Self::Connection,
        Self::Disk,
        Self::Process,
        Self::Trouble,
    ];

    /// As programs read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::Vote => "vote",
            Self::Transfer => "transfer",
            Self::Membership => "membership",
            Self::Snapshot => "snapshot",
            Self::Connection => "connection",
            Self::Disk => "disk",
            Self::Process => "process",
            Self::Trouble => "trouble",
        }
    }
}

impl Level {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warn, Self::Error];

    /// As programs read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(ring: &Ring, words: &str) {
        ring.say(Kind::Process, Level::Info, "tested", words.to_owned(), None);
    }

    fn numbers(page: &Page) -> Vec<u64> {
        page.events.iter().map(|event| event.number).collect()
    }

    #[test]
    fn whoever_asks_again_gets_what_came_since() {
        let ring = Ring::new();
        for words in ["one", "two", "three"] {
            say(&ring, words);
        }
        let first = ring.after(0, 0, 10);
        assert_eq!(numbers(&first), [1, 2, 3]);
        assert_eq!(first.events[0].words, "one");
        assert!(numbers(&ring.after(first.process, 3, 10)).is_empty());
        say(&ring, "four");
        assert_eq!(numbers(&ring.after(first.process, 3, 10)), [4]);
        assert!(numbers(&ring.after(first.process, u64::MAX, 10)).is_empty());
        assert_eq!(
            numbers(&ring.after(first.process ^ 1, 3, 10)),
            [1, 2, 3, 4],
            "its numbers are those of another process"
        );
        assert_eq!(numbers(&ring.after(first.process, 0, 2)), [3, 4], "the newest, when they are too many");
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let ring = Ring::new();
        for _ in 0..EVENTS_MAX + 10 {
            say(&ring, "x");
        }
        let page = ring.after(0, 0, usize::MAX);
        assert_eq!(page.events.len(), EVENTS_MAX);
        assert_eq!(page.events[0].number, 11);
    }

    #[test]
    fn long_sentences_are_cut_and_few_of_them_are_kept() {
        let ring = Ring::new();
        for _ in 0..EVENTS_MAX {
            say(&ring, &"é".repeat(100_000));
        }
        let page = ring.after(0, 0, usize::MAX);
        let bytes: usize = page.events.iter().map(Event::bytes).sum();
        assert!(bytes <= BYTES_MAX && bytes > BYTES_MAX - 10_000, "{bytes} bytes");
        assert_eq!(ring.state().bytes, bytes);
        assert_eq!(page.events.last().map(|event| event.number), Some(EVENTS_MAX as u64));
    }

    #[test]
    fn what_comes_from_outside_cannot_command_a_terminal() {
        let ring = Ring::new();
        ring.say(Kind::Connection, Level::Warn, "refused", "says \u{1b}[2J\u{202e}\n".to_owned(), Some("b\u{7}"));
        let event = &ring.after(0, 0, 1).events[0];
        assert_eq!(event.words, r"says \u{1b}[2J\u{202e}\n");
        assert_eq!(event.peer.as_deref(), Some(r"b\u{7}"));
    }
}
