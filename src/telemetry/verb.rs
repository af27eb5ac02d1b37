//! The path of a request.

/// The eight verbs of the path, in order. Each is the name of a span and the value of the attribute `quorate.verb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Checked, and became a command.
    Received,
    /// Its shard was found, and this node may take it.
    Routed,
    /// The leader gave it its index and term.
    Proposed,
    /// A disk has it.
    Appended,
    /// A peer acknowledged it.
    Replicated,
    /// It is durable on a commit quorum.
    Committed,
    /// The state machine carried it out.
    Applied,
    /// The outcome was given to whoever waits.
    Answered,
}

impl Verb {
    /// All of them, in order.
    pub const ALL: [Verb; 8] = [
        Verb::Received,
        Verb::Routed,
        Verb::Proposed,
        Verb::Appended,
        Verb::Replicated,
        Verb::Committed,
        Verb::Applied,
        Verb::Answered,
    ];

    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Received => "received",
            Verb::Routed => "routed",
            Verb::Proposed => "proposed",
            Verb::Appended => "appended",
            Verb::Replicated => "replicated",
            Verb::Committed => "committed",
            Verb::Applied => "applied",
            Verb::Answered => "answered",
        }
    }
}
