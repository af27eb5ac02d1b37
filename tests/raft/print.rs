//! How scripts and traces show plain data. An entry is `index@term`, a term `t` and its number, a write `#` and its ticket.

use quorate::ids::NodeId;
use quorate::raft::{
    AppendReply, Body, Configuration, Entry, Event, Learner, Message, Payload, ReadContext, RoleName, Spread, Timing,
    VoteRefusal, Write,
};

pub fn message(message: &Message) -> String {
    format!("{} t{}{}", kind(&message.body), message.term, body(&message.body))
}

/// The name of a message in the paper.
pub fn kind(body: &Body) -> &'static str {
    match body {
        Body::PreVote { .. } => "PreVote",
        Body::PreVoteReply { .. } => "PreVoteReply",
        Body::RequestVote { .. } => "RequestVote",
        Body::RequestVoteReply { .. } => "RequestVoteReply",
        Body::AppendEntries { .. } => "AppendEntries",
        Body::AppendReply(_) => "AppendReply",
        Body::Heartbeat { .. } => "Heartbeat",
        Body::HeartbeatReply { .. } => "HeartbeatReply",
        Body::InstallSnapshot { .. } => "InstallSnapshot",
        Body::Removed { .. } => "Removed",
        Body::TimeoutNow { .. } => "TimeoutNow",
        Body::ReadIndex { .. } => "ReadIndex",
        Body::ReadIndexReply { .. } => "ReadIndexReply",
    }
}

fn body(body: &Body) -> String {
    match body {
        Body::PreVote { last } | Body::TimeoutNow { last } | Body::InstallSnapshot { last } => format!(" last {last}"),
        Body::RequestVote { last, transfer } => format!(" last {last}{}", if *transfer { " transfer" } else { "" }),
        Body::PreVoteReply { refusal } | Body::RequestVoteReply { refusal } => match refusal {
            None => " granted".to_owned(),
            Some(refusal) => format!(" refused: {}", vote_refusal(*refusal)),
        },
        Body::AppendEntries { previous, commit, entries, .. } => {
            format!(" previous {previous} commit {commit} {}", self::entries(entries))
        }
        Body::AppendReply(AppendReply::Accepted(id)) => format!(" accepted {id}"),
        Body::AppendReply(AppendReply::Rejected { previous, hint, .. }) => format!(" rejected {previous} hint {hint}"),
        Body::Heartbeat { commit, read_round, .. } => format!(" commit {commit}{}", round(*read_round)),
        Body::HeartbeatReply { read_round, .. } => round(*read_round),
        Body::Removed { index } => format!(" by {index}"),
        Body::ReadIndex { context } => format!(" {}", short_context(*context)),
        Body::ReadIndexReply { context, at: Some(at) } => format!(" {} at {at}", short_context(*context)),
        Body::ReadIndexReply { context, at: None } => format!(" {} refused", short_context(*context)),
    }
}

fn round(read_round: u64) -> String {
    if read_round == 0 { String::new() } else { format!(" round {read_round}") }
}

/// Contexts are long numbers that begin anywhere; the end of one is enough to tell it from those around it.
fn short_context(ReadContext(context): ReadContext) -> String {
    format!("?{:03}", context % 1000)
}

pub fn entries(entries: &[Entry]) -> String {
    format!("[{}]", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
}

fn entry(entry: &Entry) -> String {
    match &entry.payload {
        Payload::Noop => format!("{} noop", entry.id),
        Payload::Command(bytes) if bytes.len() > 16 => format!("{} {} bytes", entry.id, bytes.len()),
        Payload::Command(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            if text == entry.id.to_string() { text.into_owned() } else { format!("{} {text}", entry.id) }
        }
        Payload::Configuration { configuration: it, .. } => format!("{} {}", entry.id, configuration(it)),
    }
}

pub fn configuration(configuration: &Configuration) -> String {
    if *configuration == Configuration::EMPTY {
        return "no configuration".to_owned();
    }
    let mut text = format!("voters {}", nodes(configuration.voters.iter().copied()));
    if configuration.is_joint() {
        text += &format!(" outgoing {}", nodes(configuration.voters_outgoing.iter().copied()));
    }
    if !configuration.learners.is_empty() {
        let learners: Vec<String> = configuration.learners.iter().map(|(node, it)| learner(*node, it)).collect();
        text += &format!(" learners {}", learners.join("+"));
    }
    text
}

fn learner(node: NodeId, learner: &Learner) -> String {
    match learner.replaces {
        Some(replaced) => format!("{}(for {})", node.0, replaced.0),
        None if learner.stay => format!("{}(stays)", node.0),
        None => node.0.to_string(),
    }
}

fn nodes(nodes: impl Iterator<Item = NodeId>) -> String {
    nodes.map(|node| node.0.to_string()).collect::<Vec<_>>().join("+")
}

pub fn timing(timing: &Timing) -> String {
    let Timing { timeouts, why, gaps, round_trips, lateness, samples, failed_attempts } = timing;
    let spread = |spread: &Option<Spread>| match spread {
        Some(Spread { median, high }) => format!("{median:?} to {high:?}"),
        None => "unknown".to_owned(),
    };
    let mut text = format!("waits {:?} to {:?}, {why:?}", timeouts.election_min, timeouts.election_max);
    text += &format!(", heartbeat {:?}, {samples} gaps {}", timeouts.heartbeat, spread(gaps));
    text += &format!(", round trip {}", spread(round_trips));
    if !lateness.is_zero() {
        text += &format!(", late {lateness:?}");
    }
    if *failed_attempts > 0 {
        text += &format!(", {failed_attempts} failed");
    }
    text
}

pub fn write(write: &Write) -> String {
    let mut text = format!("#{} writes", write.ticket);
    if let Some(state) = &write.hard_state {
        text += &format!(" t{} {}", state.term, vote(state.vote));
    }
    if let Some(last) = &write.snapshot {
        text += &format!(" snapshot {last}");
    }
    if !write.entries.is_empty() {
        text += &format!(" {}", entries(&write.entries));
    }
    text
}

pub fn vote(vote: Option<NodeId>) -> String {
    vote.map_or("no vote".to_owned(), |node| format!("vote {}", node.0))
}

pub fn role(role: RoleName) -> &'static str {
    match role {
        RoleName::Follower => "follower",
        RoleName::PreCandidate => "pre-candidate",
        RoleName::Candidate => "candidate",
        RoleName::Leader => "leader",
    }
}

fn vote_refusal(refusal: VoteRefusal) -> &'static str {
    match refusal {
        VoteRefusal::StaleTerm => "stale term",
        VoteRefusal::LeaderAlive => "leader alive",
        VoteRefusal::AlreadyVoted => "already voted",
        VoteRefusal::LogBehind => "log behind",
    }
}

pub fn event(event: &Event) -> String {
    let vote_kind = |pre_vote: &bool| if *pre_vote { "pre-vote" } else { "vote" };
    match event {
        Event::RoleChanged { role: it, term, cause } => format!("is {} of t{term}: {cause}", role(*it)),
        Event::FollowsLeader { leader, term } => format!("follows {} in t{term}", leader.0),
        Event::VoteAsked { pre_vote, term, last } => {
            format!("asks for {}s in t{term}, last {last}", vote_kind(pre_vote))
        }
        Event::VoteReceived { pre_vote, from, term } => {
            format!("has the {} of {} for t{term}", vote_kind(pre_vote), from.0)
        }
        Event::VoteDenied { pre_vote, from, refusal } => {
            format!("was refused the {} of {}: {}", vote_kind(pre_vote), from.0, vote_refusal(*refusal))
        }
        Event::VoteGranted { pre_vote, to, term } => {
            format!("grants its {} for t{term} to {}", vote_kind(pre_vote), to.0)
        }
        Event::VoteRefused { pre_vote, to, refusal } => {
            format!("refuses its {} to {}: {}", vote_kind(pre_vote), to.0, vote_refusal(*refusal))
        }
        Event::HeartbeatSent { commit } => format!("sends heartbeats, commit {commit}"),
        Event::HeartbeatAnswered { leader } => format!("answers the heartbeat of {}", leader.0),
        Event::HeartbeatHeard { from } => format!("hears {}", from.0),
        Event::Proposed { first, last } if first == last => format!("proposes {first}"),
        Event::Proposed { first, last } => format!("proposes {first} to {last}"),
        Event::Appended { last } => format!("has {last} durable"),
        Event::Truncated { from } => format!("cuts its log from {from} on"),
        Event::Replicated { to, matched } => format!("knows that {} has {matched}", to.0),
        Event::Mismatched { peer, next } => format!("goes back to {next} for {}", peer.0),
        Event::Committed { index } => format!("commits {index}"),
        Event::ConfigurationChanged { index, configuration: it } => format!("is under {index} {}", configuration(it)),
        Event::CaughtUp { learner } => format!("finds that {} has caught up", learner.0),
        Event::TransferBegun { to } => format!("hands over to {}", to.0),
        Event::TimeoutNowSent { to } => format!("tells {} to campaign", to.0),
        Event::TimeoutNowReceived { from } => format!("is told by {} to campaign", from.0),
        Event::TransferGivenUp { to } => format!("gives up handing over to {}", to.0),
        Event::ReadIndexAskedAgain => "asks its leader again".to_owned(),
        Event::SnapshotWanted { from, last } => format!("needs the snapshot of {} up to {last}", from.0),
        Event::SnapshotTold { to, last } => format!("tells {} to fetch its snapshot up to {last}", to.0),
        Event::SnapshotInstalled { last } => format!("has installed a snapshot up to {last}"),
        Event::LogCompacted { start } => format!("has its log begin after {start}"),
        Event::WasRemoved { index } => format!("was removed by {index}"),
        Event::Ignored { from, why } => format!("ignores a message of {}: {why}", from.0),
        Event::Quarantined { why } => format!("is quarantined: {}", short_ids(why)),
    }
}

/// Writes the ids of the tests' nodes, which are small, as plain numbers.
pub fn short_ids(text: &str) -> String {
    text.replace("000000000000000", "")
}
