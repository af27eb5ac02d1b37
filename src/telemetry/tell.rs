//! What a replica tells of itself, as sentences of which the node is the subject: "a | votes for b in term 5".
//!
//! Every sentence has a stable name for programs (field `event`) and, where it makes sense, `peer`, `term` and `index`.

use opentelemetry::ContextGuard;

use super::events::{self, Ring};
use crate::ids::{EntryId, Index, NodeId, Term};
use crate::raft::{Configuration, Event, RoleName, VoteRefusal};
use crate::replica::Told;

/// The target of roles, elections, membership and trouble.
pub(super) const RAFT: &str = "quorate::raft";
/// The target of the way of every request and entry.
pub(super) const ENTRIES: &str = "quorate::entries";
/// The target of heartbeats.
pub(super) const HEARTBEAT: &str = "quorate::heartbeat";

/// Logs what a replica tells, and keeps what is worth it in `ring`. `name_of` gives the names that people know the nodes by, and `enter`
/// the context of the request that it is about, if it is traced; nobody asks for it where nothing is logged.
pub fn tell(
    told: &Told,
    ring: &Ring,
    name_of: impl Fn(NodeId) -> String,
    enter: impl FnOnce() -> Option<ContextGuard>,
) {
    let mut said = None;
    macro_rules! say {
        ($target:expr, $level:ident) => {
            if tracing::enabled!(target: $target, tracing::Level::$level) {
                let _logged_with_its_trace = enter();
                let Sentence { event, words, peer, term, index } =
                    said.get_or_insert_with(|| sentence(told, &name_of));
                let (term, index) = (term.map(|term| term.0), index.map(|index| index.0));
                tracing::event!(target: $target, tracing::Level::$level, event, peer, term, index, "{words}");
            }
        };
    }
    let kind = kind(told);
    match kind {
        Kind::Role => say!(RAFT, INFO),
        Kind::Trouble => say!(RAFT, WARN),
        Kind::Danger => say!(RAFT, ERROR),
        Kind::Detail => say!(RAFT, DEBUG),
        Kind::Entries => say!(ENTRIES, INFO),
        Kind::Heartbeat => say!(HEARTBEAT, INFO),
    }
    let level = match kind {
        Kind::Role => events::Level::Info,
        Kind::Trouble => events::Level::Warn,
        Kind::Danger => events::Level::Error,
        Kind::Detail | Kind::Entries | Kind::Heartbeat => return,
    };
    ring.keep(subject(told), level, said.unwrap_or_else(|| sentence(told, &name_of)));
}

/// What something that is kept is about.
fn subject(told: &Told) -> events::Kind {
    let Told::Raft(event) = told else { return events::Kind::Snapshot };
    match event {
        Event::RoleChanged { .. } | Event::FollowsLeader { .. } => events::Kind::Role,
        Event::VoteAsked { .. }
        | Event::VoteReceived { .. }
        | Event::VoteDenied { .. }
        | Event::VoteGranted { .. }
        | Event::VoteRefused { .. } => events::Kind::Vote,
        Event::TransferBegun { .. }
        | Event::TimeoutNowSent { .. }
        | Event::TimeoutNowReceived { .. }
        | Event::TransferGivenUp { .. } => events::Kind::Transfer,
        Event::ConfigurationChanged { .. } | Event::CaughtUp { .. } | Event::WasRemoved { .. } => {
            events::Kind::Membership
        }
        Event::SnapshotWanted { .. }
        | Event::SnapshotTold { .. }
        | Event::SnapshotInstalled { .. }
        | Event::LogCompacted { .. } => events::Kind::Snapshot,
        Event::Truncated { .. } | Event::Mismatched { .. } => events::Kind::Disk,
        _ => events::Kind::Trouble,
    }
}

/// Under which target and level something is told.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Role,
    Trouble,
    Danger,
    Detail,
    Entries,
    Heartbeat,
}

fn kind(told: &Told) -> Kind {
    let event = match told {
        Told::Raft(event) => event,
        Told::Placed { .. } => return Kind::Detail,
        Told::SnapshotTaken { .. } => return Kind::Role,
        _ => return Kind::Entries,
    };
    match event {
        Event::HeartbeatSent { .. } | Event::HeartbeatAnswered { .. } | Event::HeartbeatHeard { .. } => Kind::Heartbeat,
        Event::Proposed { .. } | Event::Appended { .. } | Event::Replicated { .. } | Event::Committed { .. } => {
            Kind::Entries
        }
        Event::WasRemoved { .. } | Event::TransferGivenUp { .. } => Kind::Trouble,
        Event::Quarantined { .. } => Kind::Danger,
        Event::Ignored { .. } | Event::ReadIndexAskedAgain => Kind::Detail,
        Event::RoleChanged { .. }
        | Event::FollowsLeader { .. }
        | Event::VoteAsked { .. }
        | Event::VoteReceived { .. }
        | Event::VoteDenied { .. }
        | Event::VoteGranted { .. }
        | Event::VoteRefused { .. }
        | Event::Truncated { .. }
        | Event::Mismatched { .. }
        | Event::ConfigurationChanged { .. }
        | Event::CaughtUp { .. }
        | Event::TransferBegun { .. }
        | Event::TimeoutNowSent { .. }
        | Event::TimeoutNowReceived { .. }
        | Event::SnapshotWanted { .. }
        | Event::SnapshotTold { .. }
        | Event::SnapshotInstalled { .. }
        | Event::LogCompacted { .. } => Kind::Role,
    }
}

/// Something told, in words and for programs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sentence {
    pub(super) event: &'static str,
    pub(super) words: String,
    pub(super) peer: Option<String>,
    pub(super) term: Option<Term>,
    pub(super) index: Option<Index>,
}

impl Sentence {
    fn new(event: &'static str, words: String) -> Self {
        Self { event, words, ..Self::default() }
    }

    fn peer(self, name: &str) -> Self {
        Self { peer: Some(name.to_owned()), ..self }
    }

    fn term(self, term: Term) -> Self {
        Self { term: Some(term), ..self }
    }

    fn index(self, index: Index) -> Self {
        Self { index: Some(index), ..self }
    }

    fn entry(self, id: EntryId) -> Self {
        self.term(id.term).index(id.index)
    }
}

fn sentence(told: &Told, name_of: &impl Fn(NodeId) -> String) -> Sentence {
    match told {
        Told::Raft(event) => raft_sentence(event, name_of),
        Told::Placed { at, together, .. } => {
            let words =
                format!("gave a request that is followed its place at {}, one of {together} together", at.index);
            Sentence::new("placed", words).entry(*at)
        }
        Told::Applied { first, last } => {
            Sentence::new("applied", format!("applied {}", range(*first, *last))).index(*last)
        }
        Told::SnapshotTaken { last, bytes } => {
            Sentence::new("snapshot_taken", format!("took a snapshot up to {last}, of {bytes} bytes")).entry(*last)
        }
        Told::Answered { index, operations, replayed } => {
            let again = if *replayed { " again: the request was a retry" } else { "" };
            let words = format!("answered the request at {index} ({}){again}", count(*operations, "operation"));
            Sentence::new("answered", words).index(*index)
        }
        Told::Shown { index, operations } => {
            let words = format!("answered a read ({}) from its state at {index}", count(*operations, "operation"));
            Sentence::new("shown", words).index(*index)
        }
        Told::Redirected { leader: Some(leader) } => {
            let leader = name_of(*leader);
            Sentence::new("redirected", format!("redirects a client to {leader}, which leads")).peer(&leader)
        }
        Told::Redirected { leader: None } => {
            Sentence::new("redirected", "turns a client away: no leader is known".to_owned())
        }
    }
}

/// One arm for each event: long, and flat.
fn raft_sentence(event: &Event, name_of: &impl Fn(NodeId) -> String) -> Sentence {
    let say = Sentence::new;
    match event {
        Event::RoleChanged { role, term, cause } => {
            say(role_event(*role), format!("becomes {} of term {term} because {cause}", role_name(*role))).term(*term)
        }
        Event::FollowsLeader { leader, term } => {
            let leader = name_of(*leader);
            say("follows_leader", format!("follows {leader}, the leader of term {term}")).peer(&leader).term(*term)
        }
        Event::VoteAsked { pre_vote, term, last } => {
            let words = format!("asks for {} in term {term}; its last entry is {last}", votes(*pre_vote));
            say("vote_asked", words).term(*term).index(last.index)
        }
        Event::VoteReceived { pre_vote, from, term } => {
            let from = name_of(*from);
            let words = format!("has the {} of {from} in term {term}", vote(*pre_vote));
            say("vote_received", words).peer(&from).term(*term)
        }
        Event::VoteDenied { pre_vote, from, refusal } => {
            let from = name_of(*from);
            let words = format!("is refused the {} of {from}: {}", vote(*pre_vote), denial(*refusal));
            say("vote_denied", words).peer(&from)
        }
        Event::VoteGranted { pre_vote, to, term } => {
            let to = name_of(*to);
            let verb = if *pre_vote { "would vote" } else { "votes" };
            say("vote_granted", format!("{verb} for {to} in term {term}")).peer(&to).term(*term)
        }
        Event::VoteRefused { pre_vote, to, refusal } => {
            let to = name_of(*to);
            let words = format!("refuses its {} to {to}: {}", vote(*pre_vote), refusal_reason(*refusal));
            say("vote_refused", words).peer(&to)
        }
        Event::HeartbeatSent { commit } => {
            say("heartbeat_sent", format!("sends heartbeats; committed up to {commit}")).index(*commit)
        }
        Event::HeartbeatAnswered { leader } => {
            let leader = name_of(*leader);
            say("heartbeat_answered", format!("answers the heartbeat of {leader}")).peer(&leader)
        }
        Event::HeartbeatHeard { from } => {
            let from = name_of(*from);
            say("heartbeat_heard", format!("hears {from} answer a heartbeat")).peer(&from)
        }
        Event::Proposed { first, last } => {
            let words = format!("proposed {} in term {}", range(first.index, last.index), last.term);
            say("proposed", words).entry(*last)
        }
        Event::Appended { last } => say("appended", format!("appended up to {last}")).entry(*last),
        Event::Truncated { from } => {
            let words = format!("cuts its log from {from} on: the leader has other entries there");
            say("truncated", words).index(*from)
        }
        Event::Replicated { to, matched } => {
            let to = name_of(*to);
            say("replicated", format!("replicated to {to} up to {matched}")).peer(&to).index(*matched)
        }
        Event::Mismatched { peer, next } => {
            let peer = name_of(*peer);
            let words = format!("finds that the log of {peer} does not fit, and goes back to {next}");
            say("mismatched", words).peer(&peer).index(*next)
        }
        Event::Committed { index } => say("committed", format!("committed up to {index}")).index(*index),
        Event::ConfigurationChanged { index, configuration } => {
            say("configuration_changed", membership(*index, configuration, name_of)).index(*index)
        }
        Event::CaughtUp { learner } => {
            let learner = name_of(*learner);
            say("caught_up", format!("sees that learner {learner} has caught up")).peer(&learner)
        }
        Event::TransferBegun { to } => {
            let to = name_of(*to);
            say("transfer_begun", format!("hands leadership over to {to}; requests wait for that")).peer(&to)
        }
        Event::TimeoutNowSent { to } => {
            let to = name_of(*to);
            say("timeout_now_sent", format!("tells {to} to campaign at once: it has the whole log")).peer(&to)
        }
        Event::TimeoutNowReceived { from } => {
            let from = name_of(*from);
            say("timeout_now_received", format!("is told by {from} to campaign at once")).peer(&from)
        }
        Event::TransferGivenUp { to } => {
            let to = name_of(*to);
            let words =
                format!("gives up handing over to {to}, which has gone or has not won in time, and goes on leading");
            say("transfer_given_up", words).peer(&to)
        }
        Event::WasRemoved { index } => {
            let what = format!(
                "was removed from the cluster by the configuration at {index} and stands by; started again with --join or \
                 --discovery, it sets its data aside and joins anew"
            );
            say("removed", what).index(*index)
        }
        Event::SnapshotWanted { from, last } => {
            let from = name_of(*from);
            let words = format!("lacks what is no longer in the log of {from}, and needs its snapshot up to {last}");
            say("snapshot_wanted", words).peer(&from).entry(*last)
        }
        Event::SnapshotTold { to, last } => {
            let to = name_of(*to);
            let words = format!("tells {to} to fetch the snapshot up to {last}: the log no longer has what it lacks");
            say("snapshot_told", words).peer(&to).entry(*last)
        }
        Event::SnapshotInstalled { last } => {
            say("snapshot_installed", format!("installed a snapshot up to {last} in the place of its log")).entry(*last)
        }
        Event::LogCompacted { start } => {
            let words = format!("compacted its log, which begins after {start}: a snapshot has what came before");
            say("log_compacted", words).entry(*start)
        }
        Event::ReadIndexAskedAgain => {
            say("read_index_asked_again", "asks the leader again what its reads must show".to_owned())
        }
        Event::Ignored { from, why } => {
            let from = name_of(*from);
            say("ignored", format!("ignores a message of {from}: {why}")).peer(&from)
        }
        Event::Quarantined { why } => {
            say("quarantined", format!("STANDS STILL, because going on could lose or change committed entries: {why}"))
        }
    }
}

fn role_name(role: RoleName) -> &'static str {
    match role {
        RoleName::Follower => "follower",
        RoleName::PreCandidate => "pre-candidate",
        RoleName::Candidate => "candidate",
        RoleName::Leader => "leader",
    }
}

fn role_event(role: RoleName) -> &'static str {
    match role {
        RoleName::Follower => "becomes_follower",
        RoleName::PreCandidate => "becomes_pre_candidate",
        RoleName::Candidate => "becomes_candidate",
        RoleName::Leader => "becomes_leader",
    }
}

fn vote(pre_vote: bool) -> &'static str {
    if pre_vote { "pre-vote" } else { "vote" }
}

fn votes(pre_vote: bool) -> &'static str {
    if pre_vote { "pre-votes" } else { "votes" }
}

/// Why this node refuses; "its" and "it" are the candidate.
fn refusal_reason(refusal: VoteRefusal) -> &'static str {
    match refusal {
        VoteRefusal::StaleTerm => "its term is over",
        VoteRefusal::LeaderAlive => "a leader is alive",
        VoteRefusal::AlreadyVoted => "the vote of this term is given to another",
        VoteRefusal::LogBehind => "its log is behind",
    }
}

/// Why another node refused this one.
fn denial(refusal: VoteRefusal) -> &'static str {
    match refusal {
        VoteRefusal::StaleTerm => "it has seen a later term",
        VoteRefusal::LeaderAlive => "it hears from a leader",
        VoteRefusal::AlreadyVoted => "it has voted for another in this term",
        VoteRefusal::LogBehind => "its log is further",
    }
}

fn membership(index: Index, configuration: &Configuration, name_of: &impl Fn(NodeId) -> String) -> String {
    let names = |nodes: &mut dyn Iterator<Item = &NodeId>| {
        let mut names: Vec<String> = nodes.map(|node| name_of(*node)).collect();
        names.sort_unstable();
        names.join(", ")
    };
    let joint = if configuration.is_joint() { "joint " } else { "" };
    let voters = names(&mut configuration.voters.iter());
    let mut words = format!("takes on the {joint}configuration at {index}: voters {voters}");
    for (part, list) in [
        ("outgoing", names(&mut configuration.voters_outgoing.iter())),
        ("learners", names(&mut configuration.learners.keys())),
    ] {
        if !list.is_empty() {
            words.push_str(&format!("; {part} {list}"));
        }
    }
    words
}

/// `15..17`, or `15` alone.
fn range(first: Index, last: Index) -> String {
    if first == last { first.to_string() } else { format!("{first}..{last}") }
}

pub(super) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::raft::Learner;

    const A: NodeId = NodeId(0xff);
    const B: NodeId = NodeId(0xb);
    const C: NodeId = NodeId(0xc);

    /// The order of the names is not that of the ids.
    fn name_of(node: NodeId) -> String {
        if node == A { "a".to_owned() } else { format!("{:x}", node.0) }
    }

    fn words(event: Event) -> String {
        sentence(&Told::Raft(event), &name_of).words
    }

    fn entry(index: u64, term: u64) -> EntryId {
        EntryId::new(Term(term), Index(index))
    }

    #[test]
    fn elections_read_as_in_the_paper() {
        let cause = "no leader was heard";
        let candidate = Event::RoleChanged { role: RoleName::Candidate, term: Term(5), cause };
        assert_eq!(words(candidate), "becomes candidate of term 5 because no leader was heard");
        let asked = Event::VoteAsked { pre_vote: true, term: Term(5), last: entry(17, 4) };
        assert_eq!(words(asked), "asks for pre-votes in term 5; its last entry is 17@4");
        let granted = |pre_vote| Event::VoteGranted { pre_vote, to: B, term: Term(5) };
        assert_eq!(words(granted(false)), "votes for b in term 5");
        assert_eq!(words(granted(true)), "would vote for b in term 5");
        let refused = Event::VoteRefused { pre_vote: false, to: C, refusal: VoteRefusal::LogBehind };
        assert_eq!(words(refused), "refuses its vote to c: its log is behind");
        let denied = Event::VoteDenied { pre_vote: true, from: C, refusal: VoteRefusal::LeaderAlive };
        assert_eq!(words(denied), "is refused the pre-vote of c: it hears from a leader");
    }

    #[test]
    fn a_transfer_reads_as_what_it_is() {
        assert_eq!(words(Event::TransferBegun { to: B }), "hands leadership over to b; requests wait for that");
        assert_eq!(words(Event::TimeoutNowSent { to: B }), "tells b to campaign at once: it has the whole log");
        assert_eq!(words(Event::TimeoutNowReceived { from: A }), "is told by a to campaign at once");
        let given_up = "gives up handing over to b, which has gone or has not won in time, and goes on leading";
        assert_eq!(words(Event::TransferGivenUp { to: B }), given_up);
        assert_eq!(kind(&Told::Raft(Event::TransferGivenUp { to: B })), Kind::Trouble);
    }

    #[test]
    fn a_snapshot_reads_as_what_it_is_for() {
        let last = entry(70, 3);
        let wanted = "lacks what is no longer in the log of b, and needs its snapshot up to 70@3";
        assert_eq!(words(Event::SnapshotWanted { from: B, last }), wanted);
        let told = "tells b to fetch the snapshot up to 70@3: the log no longer has what it lacks";
        assert_eq!(words(Event::SnapshotTold { to: B, last }), told);
        let installed = "installed a snapshot up to 70@3 in the place of its log";
        assert_eq!(words(Event::SnapshotInstalled { last }), installed);
        let compacted = "compacted its log, which begins after 60@3: a snapshot has what came before";
        assert_eq!(words(Event::LogCompacted { start: entry(60, 3) }), compacted);
    }

    #[test]
    fn the_way_of_an_entry() {
        assert_eq!(words(Event::Proposed { first: entry(15, 5), last: entry(17, 5) }), "proposed 15..17 in term 5");
        assert_eq!(words(Event::Appended { last: entry(17, 5) }), "appended up to 17@5");
        assert_eq!(words(Event::Replicated { to: B, matched: Index(17) }), "replicated to b up to 17");
        assert_eq!(words(Event::Committed { index: Index(17) }), "committed up to 17");
        let applied = Told::Applied { first: Index(15), last: Index(17) };
        assert_eq!(sentence(&applied, &name_of).words, "applied 15..17");
        let answered = Told::Answered { index: Index(17), operations: 1, replayed: true };
        let words = "answered the request at 17 (1 operation) again: the request was a retry";
        assert_eq!(sentence(&answered, &name_of).words, words);
        let shown = Told::Shown { index: Index(17), operations: 2 };
        assert_eq!(sentence(&shown, &name_of).words, "answered a read (2 operations) from its state at 17");
        for told in [applied, answered, shown] {
            assert_eq!(kind(&told), Kind::Entries);
        }
    }

    /// The way of requests, and heartbeats, would push everything else out of the ring.
    #[test]
    fn what_is_worth_it_is_kept_as_it_is_said() {
        let ring = Ring::new();
        let kept = |told: Told| {
            tell(&told, &ring, name_of, || unreachable!("nothing is logged"));
            let page = ring.after(0, 0, usize::MAX);
            page.events.last().map(|event| (event.number, event.event.to_string(), event.kind, event.level))
        };
        let role = Event::RoleChanged { role: RoleName::Leader, term: Term(5), cause: "a majority voted for it" };
        let leads = Some((1, "becomes_leader".to_owned(), events::Kind::Role, events::Level::Info));
        assert_eq!(kept(Told::Raft(role)), leads);
        assert_eq!(kept(Told::Raft(Event::HeartbeatSent { commit: Index(7) })), leads);
        assert_eq!(kept(Told::Raft(Event::Committed { index: Index(7) })), leads);
        assert_eq!(kept(Told::Raft(Event::Ignored { from: B, why: "it is of an earlier term" })), leads);
        assert_eq!(kept(Told::Applied { first: Index(7), last: Index(7) }), leads);
        let taken = Some((2, "snapshot_taken".to_owned(), events::Kind::Snapshot, events::Level::Info));
        assert_eq!(kept(Told::SnapshotTaken { last: entry(7, 5), bytes: 100 }), taken);
        let trouble = Some((3, "quarantined".to_owned(), events::Kind::Trouble, events::Level::Error));
        assert_eq!(kept(Told::Raft(Event::Quarantined { why: "two leaders".to_owned() })), trouble);
        let page = ring.after(0, 0, 3);
        assert_eq!(page.events[0].words, "becomes leader of term 5 because a majority voted for it");
        assert_eq!((page.events[0].term, page.events[1].index), (Some(Term(5)), Some(Index(7))));
    }

    #[test]
    fn programs_get_the_numbers() {
        let told = Told::Raft(Event::FollowsLeader { leader: B, term: Term(5) });
        let sentence = sentence(&told, &name_of);
        assert_eq!(
            (sentence.event, sentence.peer.as_deref(), sentence.term),
            ("follows_leader", Some("b"), Some(Term(5)))
        );
    }

    #[test]
    fn a_joint_configuration_names_both_halves() {
        let configuration = Configuration {
            voters: BTreeSet::from([A, B]),
            voters_outgoing: BTreeSet::from([A, C]),
            learners: BTreeMap::from([(NodeId(0xd), Learner::default())]),
            ..Configuration::EMPTY
        };
        let words = words(Event::ConfigurationChanged { index: Index(9), configuration });
        assert_eq!(words, "takes on the joint configuration at 9: voters a, b; outgoing a, c; learners d");
    }
}
