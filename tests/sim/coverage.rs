//! Which of the interesting things have happened. Over the default seeds each must happen at least once: a simulation that
//! never cuts a log says nothing about cutting logs.

use std::collections::BTreeMap;

/// What must happen sometimes.
pub const SOMETIMES: &[&str] = &[
    "a leader was replaced",
    "a follower's log was cut",
    "a pre-vote was refused",
    "a vote was refused because a leader is heard",
    "a leader stepped down because its disk hung",
    "a leader stepped down because nobody heard it",
    "a joint phase was interrupted by a crash",
    "a learner was promoted",
    "a member was removed",
    "a lost node was replaced or removed",
    "a removed node was told so",
    "a membership change was refused",
    "a torn frame was cut",
    "an unsynced frame survived a crash",
    "the power failed while the disk was written",
    "the power failed while the log was opened",
    "a sync failed",
    "entries were read back for a follower",
    "entries were read back to be applied",
    "bodies were read back for an answer",
    "an old message was replayed",
    "a damaged message was rejected",
    "a retry returned the first outcome",
    "a waiting dequeue was woken",
    "a waiting dequeue was told of a lost leader",
    "a waiting lease was woken",
    "a leased message was settled",
    "a lease had ended before it was settled",
    "a lease was extended",
    "a message was delivered again",
    "a dead message was redriven",
    "several operations took effect together",
    "a session was closed",
    "a session expired",
    "a queue was full",
    "a session kept too many outcomes",
    "a request was refused as too much",
    "an outcome was unknown",
    "a client was redirected",
    "a transfer succeeded",
    "a transfer was refused",
    "a transfer was given up",
    "leadership went elsewhere than it was asked to",
    "a leader stopped after it was asked to hand over",
    "a leader was cut off as it handed over",
    "an overtaken leader was asked for a read",
    "a request came while leadership was handed over",
    "a read was confirmed by the leader",
    "a read waited for the no-op",
    "a read was confirmed by a later round",
    "a read was refused after a lost leadership",
    "a node stood still when it could have answered a read",
    "a follower read was served",
    "a follower read was asked again",
    "a stale read was shown",
    "a node did not know how old its state was",
    "a snapshot was taken",
    "a snapshot was taken in a joint phase",
    "a snapshot could not be written, and its node went on",
    "a node stopped because it could not know which files are in force",
    "a log was compacted",
    "a leader told a member to fetch a snapshot",
    "a piece of a snapshot was asked for again, and the rest came",
    "a piece of a snapshot came that nobody waited for",
    "a snapshot was gone, and a later one fetched instead",
    "another leader was asked for the rest of a snapshot",
    "a body was not fetched because it was there",
    "a snapshot that nobody wished for any more was given up",
    "a snapshot was installed",
    "a snapshot was installed over a log that was never committed",
    "a crash kept a snapshot from being installed",
    "a crash came right after a snapshot was installed",
    "a snapshot was in force that its process did not know to be so",
    "a node started from a snapshot",
    "what a crash had left behind was removed",
    "a compaction removed files",
    "a compaction wrote what lives once more",
    "a compaction failed, and its node went on",
    "a file was used again as a segment",
    "the power failed in the middle of a compaction",
    "the power failed in the middle of taking a snapshot",
    "the power failed in the middle of receiving a snapshot",
    "the power failed in the middle of installing a snapshot",
    "a body that has outlived its log was read back for an answer",
    "a retry returned an outcome that came in a snapshot",
    "the log was kept for a member that lagged, and sent to it",
    "a process was seen to be gone",
    "a vote came over both connections",
    "the world was healed with a dead node",
    "the world was healed with a link cut",
];

/// Counts what has happened.
#[derive(Debug, Default)]
pub struct Coverage {
    counts: BTreeMap<&'static str, u64>,
}

impl Coverage {
    /// This has happened.
    pub fn sometimes(&mut self, what: &'static str) {
        debug_assert!(SOMETIMES.contains(&what), "'{what}' is not in the list");
        *self.counts.entry(what).or_default() += 1;
    }

    /// Adds what happened elsewhere.
    pub fn merge(&mut self, other: &Coverage) {
        for (what, count) in &other.counts {
            *self.counts.entry(what).or_default() += count;
        }
    }

    /// What has never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        SOMETIMES.iter().copied().filter(|what| !self.counts.contains_key(what)).collect()
    }

    /// How often each thing has happened.
    pub fn report(&self) -> String {
        SOMETIMES.iter().map(|what| format!("{:>9}  {what}\n", self.counts.get(what).unwrap_or(&0))).collect()
    }
}
