//! Runs golden scripts: text files of commands, each block followed by what came of it.
//!
//! ```text
//!     # A comment.
//!     cluster 1 2 3          one command a line; a blank line ends the block
//!     timeout 1
//!     ---
//!     1 is pre-candidate of t1: no leader is known
//! ```
//!
//! Where a block has several commands, `> COMMAND` stands before what came of each.
//!
//! `UPDATE_GOLDEN=1 cargo test --test raft` writes the outputs anew; otherwise they must match byte for byte.
//!
//! ```text
//!     options KEY=VALUE... [adaptive]     before `cluster`: election_timeout_min (ms), cache_bytes_max, appends_max, ...
//!                                         with `adaptive`: time-outs that adapt; election_floor, election_ceiling (ms)
//!     cluster N... [learners=N,N] [commit_quorum=half_plus_one]     learners stay what they are
//!     node N                              starts a node with an empty disk
//!     disk N TERM... [term=T] [vote=N] [snapshot=INDEX] [start=INDEX]
//!                                         starts a node anew with a log of these terms; entry 1 stays the configuration.
//!                                         The log begins after `start`; without that, where the snapshot ends
//!     crash N... [kept=COUNT]             stops nodes; so many of the writes in flight reach the disk
//!     restart N...
//!     timeout N                           moves the clock to the node's deadline, and it ticks
//!     wait MS                             moves the clock; nobody ticks
//!     tick N...
//!     run MS                              lets everything go on for so long
//!     persist N... [count=COUNT]          ends the oldest writes in flight; all of them without a count
//!     stall N / unstall N                 `settle` and `run` leave the disk of N alone
//!     read N                              answers the oldest read
//!     snapshot N LAST [START [untold]]    takes a snapshot up to LAST; the log begins after START, or else after LAST. The
//!     told N                              core is told at once, or by this; settling tells it too
//!     fetch N [again|broken]              N has the snapshot that it fetches; or the last one that it had, once more; or
//!                                         nothing comes of it
//!     slow N / swift N                    `settle` and `run` leave what N fetches alone
//!     needed N                            where the log of N must go back to, for members that N hears
//!     deliver LINK [KIND] [count=COUNT]   messages arrive, oldest first. LINK is FROM->TO, and * is every node
//!     drop, duplicate, reorder LINK ...   loses them; puts copies at the end; turns their order round
//!     hold LINK / release LINK            `settle` and `run` leave the messages of a link alone
//!     cut LINK / heal                     what is sent on a link from here on is lost
//!     delay MS LINK...                    what is sent on a link from here on arrives so long after, while `run` goes on
//!     settle                              ends all writes and reads and delivers all messages until nothing is left
//!     propose N TEXT...                   TEXT*COUNT repeats the text
//!     add N LEARNER [stay] [replaces=N]   asks N for a membership change
//!     promote N LEARNER
//!     remove N NODE...
//!     transfer N [TO]                     asks N to hand leadership over
//!     retire N                            N is about to stop
//!     ask N                               a read at N; a leader begins the round when it ticks
//!     age [N...]                          how long ago everything that N knows to be committed was all there was
//!     unreachable N PEER / reachable ...  tells N that its connection to PEER broke, or is there again
//!     gone N PEER                         tells N that the process of PEER has ended
//!     forge FROM->TO KIND [KEY=VALUE...]  a message that no core has sent arrives
//!     status [N...]
//!     timing [N...]                       the time-outs in force, and why
//!     logs [N...]                         the term of each entry; `|` stands after the commit index. What a log begins after
//!                                         is shown as `(index@term)`
//!     in_flight                           messages on their way
//! ```
//!
//! `quietly COMMAND` shows nothing of what happens; `briefly COMMAND` shows what nodes tell, without messages and writes.

use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use quorate::ids::{Contact, EntryId, Index, NodeId, Term, Time};
use quorate::raft::{
    AppendReply, Body, Bounds, CommitQuorum, Entry, Fresh, HardState, Learner, MembershipChange, Message, NoLeader,
    OpaqueTime, Options, ReadContext, TimeoutPolicy, Timeouts, VoteRefusal,
};

use crate::cluster::{Cluster, Disk, Envelope, LineKind, default_options, entry};
use crate::print;

/// The same script with the output that it gives.
///
/// # Panics
/// A command makes no sense; the message names it.
pub fn run(name: &str, script: &str) -> String {
    let mut runner = Runner { cluster: new_cluster(default_options()) };
    let blocks = script.split("\n\n").map(|block| {
        let input: Vec<&str> = block.lines().take_while(|line| *line != "---").collect();
        let commands: Vec<&str> =
            input.iter().copied().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        let mut block = input.join("\n").trim_end().to_owned();
        if !commands.is_empty() {
            let output: String = commands.iter().map(|line| echo(&commands, line) + &runner.run(name, line)).collect();
            block += "\n---\n";
            block += if output.is_empty() { "ok\n" } else { &output };
        }
        block.trim_end().to_owned()
    });
    blocks.collect::<Vec<_>>().join("\n\n") + "\n"
}

/// Tells the outputs of a block with several commands apart.
fn echo(commands: &[&str], line: &str) -> String {
    if commands.len() > 1 && !line.starts_with("quietly ") { format!("> {line}\n") } else { String::new() }
}

struct Runner {
    cluster: Cluster,
}

/// From one node, or any, to one, or any.
#[derive(Clone, Copy)]
struct Link {
    from: Option<NodeId>,
    to: Option<NodeId>,
}

/// The words of a command: those that stand alone, and those of the form KEY=VALUE.
struct Arguments<'a> {
    words: Vec<&'a str>,
    values: Vec<(&'a str, &'a str)>,
    command: String,
}

/// The time-outs of options whose time-outs are fixed.
fn fixed(options: &mut Options) -> &mut Timeouts {
    match &mut options.timeouts {
        TimeoutPolicy::Fixed(timeouts) => timeouts,
        TimeoutPolicy::Adaptive(_) => panic!("time-outs that adapt are not set"),
    }
}

/// The bounds of time-outs that adapt.
fn bounds(options: &mut Options) -> &mut Bounds {
    match &mut options.timeouts {
        TimeoutPolicy::Fixed(_) => panic!("time-outs that are fixed have no bounds"),
        TimeoutPolicy::Adaptive(bounds) => bounds,
    }
}

fn new_cluster(options: Options) -> Cluster {
    Cluster::new(options, 0, true)
}

impl Runner {
    fn run(&mut self, name: &str, line: &str) -> String {
        let (shows, command): (fn(LineKind) -> bool, &str) = if let Some(command) = line.strip_prefix("quietly ") {
            (|kind| kind == LineKind::Answer, command)
        } else if let Some(command) = line.strip_prefix("briefly ") {
            (|kind| kind != LineKind::Detail, command)
        } else {
            (|_| true, line)
        };
        self.execute(Arguments::parse(format!("{name}: `{line}`"), command), command);
        let trace = self.cluster.trace.replace(Vec::new()).unwrap_or_default();
        trace.into_iter().filter(|line| shows(line.kind)).map(|line| line.text + "\n").collect()
    }

    fn execute(&mut self, arguments: Arguments, command: &str) {
        let nodes = || arguments.nodes(0);
        let node = |place| arguments.node(place);
        match command.split_whitespace().next().unwrap_or_default() {
            "options" => self.options(&arguments),
            "cluster" => self.start_cluster(&arguments),
            "node" => self.cluster.add(node(0), Disk::default()),
            "disk" => self.disk(&arguments),
            "crash" => {
                let kept = arguments.number("kept").unwrap_or(0) as usize;
                nodes().into_iter().for_each(|node| self.cluster.crash(node, kept));
            }
            "restart" => nodes().into_iter().for_each(|node| self.cluster.start(node)),
            "timeout" => self.time_out(node(0)),
            "wait" => self.cluster.now = self.cluster.now + Duration::from_millis(arguments.parsed(0)),
            "tick" => nodes().into_iter().for_each(|node| self.cluster.tick(node)),
            "run" => self.cluster.run(Duration::from_millis(arguments.parsed(0))),
            "persist" => {
                let count = arguments.number("count").map_or(usize::MAX, |count| count as usize);
                nodes().into_iter().for_each(|node| self.cluster.persist(node, count));
            }
            "snapshot" => {
                let last = Index(arguments.parsed(1));
                let start = arguments.words.get(2).map_or(last, |_| Index(arguments.parsed(2)));
                self.cluster.take_snapshot(node(0), last, start);
                if !arguments.words.contains(&"untold") {
                    self.cluster.tell_taken(node(0));
                }
            }
            "told" => self.cluster.tell_taken(node(0)),
            "fetch" if arguments.words.contains(&"again") => {
                let image = self.cluster.node_mut(node(0)).fetched.values().next_back().cloned();
                self.cluster.receive_snapshot(node(0), image.expect("it has had one"));
            }
            "fetch" if arguments.words.contains(&"broken") => self.cluster.node_mut(node(0)).fetch = None,
            "fetch" => self.cluster.fetch(node(0)),
            "slow" => self.cluster.node_mut(node(0)).is_slow = true,
            "swift" => self.cluster.node_mut(node(0)).is_slow = false,
            "needed" => {
                let now = self.cluster.now;
                let needed = self.cluster.raft(node(0)).and_then(|raft| raft.needed_by_members(now).min());
                self.answer(needed.map_or("nothing".to_owned(), |index| format!("what comes after {index}")));
            }
            "stall" => self.cluster.node_mut(node(0)).is_stalled = true,
            "retire" => self.cluster.node_mut(node(0)).raft.as_mut().expect("it runs").retire(),
            "unstall" => self.cluster.node_mut(node(0)).is_stalled = false,
            "read" => self.cluster.read(node(0)),
            "deliver" | "drop" | "duplicate" | "reorder" => self.handle_messages(command, &arguments),
            "hold" => {
                let links = self.links(&arguments, 0);
                self.cluster.held.extend(links);
            }
            "release" => {
                let released = self.links(&arguments, 0);
                self.cluster.held.retain(|link| !released.contains(link));
            }
            "cut" => {
                let links = self.links(&arguments, 0);
                self.cluster.cut.extend(links);
            }
            "heal" => self.cluster.cut.clear(),
            "delay" => {
                let delay = Duration::from_millis(arguments.parsed(0));
                let links = self.links(&arguments, 1);
                self.cluster.delays.extend(links.into_iter().map(|link| (link, delay)));
            }
            "settle" => self.cluster.settle(),
            "propose" => self.propose(&arguments),
            "add" | "promote" | "remove" => self.change(command, &arguments),
            "transfer" => self.transfer(&arguments),
            "ask" => self.ask(node(0)),
            "age" => self.each_named(&arguments, Self::age),
            "unreachable" => self.cluster.unreachable(node(0), node(1)),
            "reachable" => self.cluster.reachable(node(0), node(1)),
            "gone" => self.cluster.gone(node(0), node(1)),
            "forge" => self.forge(&arguments),
            "status" => self.each_named(&arguments, Self::status),
            "timing" => self.each_named(&arguments, Self::timing),
            "logs" => self.each_named(&arguments, Self::log),
            "in_flight" => self.show_in_flight(),
            _ => arguments.fail("there is no such command"),
        }
    }

    fn options(&mut self, arguments: &Arguments) {
        let mut options = default_options();
        if arguments.words.contains(&"adaptive") {
            options.timeouts = TimeoutPolicy::Adaptive(Bounds::default());
        }
        for (key, value) in &arguments.values {
            let number: u64 = value.parse().unwrap_or_else(|_| arguments.fail("not a number"));
            let duration = Duration::from_millis(number);
            match *key {
                "election_timeout_min" => fixed(&mut options).election_min = duration,
                "election_timeout_max" => fixed(&mut options).election_max = duration,
                "heartbeat_interval" => fixed(&mut options).heartbeat = duration,
                "election_floor" => bounds(&mut options).election_floor = duration,
                "election_ceiling" => bounds(&mut options).election_ceiling = duration,
                "disk_stall_max" => options.disk_stall_max = duration,
                "append_bytes_max" => options.append_bytes_max = number,
                "appends_max" => options.window.appends_max = number as usize,
                "in_flight_bytes_max" => options.window.bytes_max = number,
                "cache_bytes_max" => options.cache_bytes_max = number,
                _ => arguments.fail("there is no such option"),
            }
        }
        self.cluster = new_cluster(options);
    }

    fn start_cluster(&mut self, arguments: &Arguments) {
        self.cluster = new_cluster(self.cluster.options);
        let learners: Vec<NodeId> = arguments.value("learners").map_or(Vec::new(), |list| arguments.list(list));
        let commit_quorum = match arguments.value("commit_quorum") {
            None => CommitQuorum::Majority,
            Some("half_plus_one") => CommitQuorum::HalfPlusOne,
            Some(_) => arguments.fail("there is no such commit quorum"),
        };
        self.cluster.bootstrap(&arguments.nodes(0), &learners, commit_quorum);
    }

    fn disk(&mut self, arguments: &Arguments) {
        let id = arguments.node(0);
        let terms: Vec<u64> = (1..arguments.words.len()).map(|place| arguments.parsed(place)).collect();
        let term = arguments.number("term").or(terms.last().copied()).unwrap_or(0);
        let vote = arguments.number("vote").map(NodeId);
        let mut disk = self.cluster.node_mut(id).disk.with_terms(&terms, HardState { term: Term(term), vote });
        if let Some(last) = arguments.number("snapshot") {
            disk.compact(Index(last), Index(arguments.number("start").unwrap_or(last)));
        }
        self.cluster.add(id, disk);
    }

    fn time_out(&mut self, id: NodeId) {
        let Some(raft) = self.cluster.raft(id) else { return };
        self.cluster.now = self.cluster.now.max(raft.next_deadline());
        self.cluster.tick(id);
    }

    fn handle_messages(&mut self, verb: &str, arguments: &Arguments) {
        let link: Link = arguments.parsed(0);
        let count = arguments.number("count").map_or(usize::MAX, |count| count as usize);
        let is_meant = |envelope: &Envelope| {
            let is_of_kind = arguments.words.get(1).is_none_or(|kind| *kind == print::kind(&envelope.message.body));
            link.covers(envelope.from, envelope.to) && is_of_kind
        };
        let (mut meant, others): (Vec<Envelope>, Vec<Envelope>) = self.cluster.in_flight.drain(..).partition(is_meant);
        let rest = meant.split_off(count.min(meant.len()));
        self.cluster.in_flight = others;
        match verb.split_whitespace().next().unwrap_or_default() {
            "drop" => self.cluster.in_flight.extend(rest),
            "duplicate" => self.cluster.in_flight.extend(meant.clone().into_iter().chain(rest).chain(meant)),
            "reorder" => self.cluster.in_flight.extend(meant.into_iter().rev().chain(rest)),
            _ => {
                self.cluster.in_flight.extend(rest);
                meant.into_iter().for_each(|envelope| self.cluster.receive(envelope));
            }
        }
    }

    /// Those that are named from this word on.
    fn links(&self, arguments: &Arguments, from: usize) -> Vec<(NodeId, NodeId)> {
        let ids = self.cluster.ids();
        let all = ids.iter().flat_map(|from| ids.iter().map(|to| (*from, *to)));
        let named: Vec<Link> = (from..arguments.words.len()).map(|place| arguments.parsed(place)).collect();
        all.filter(|(from, to)| named.iter().any(|link| link.covers(*from, *to))).collect()
    }

    fn propose(&mut self, arguments: &Arguments) {
        let commands = arguments.words[1..].iter().map(|text| match text.split_once('*') {
            Some((text, count)) => {
                Bytes::from(text.repeat(count.parse().unwrap_or_else(|_| arguments.fail("no count"))))
            }
            None => Bytes::from((*text).to_owned()),
        });
        match self.cluster.propose(arguments.node(0), commands.collect()) {
            Some(Ok(_)) => {}
            Some(Err(refused)) => self.answer(format!("refused: {refused}")),
            None => self.answer("refused: the node is down".to_owned()),
        }
    }

    fn transfer(&mut self, arguments: &Arguments) {
        let to = (arguments.words.len() > 1).then(|| arguments.node(1));
        match self.cluster.transfer(arguments.node(0), to) {
            Some(Ok(_)) => {}
            Some(Err(refused)) => self.answer(format!("refused: {}", print::short_ids(&refused.to_string()))),
            None => self.answer("refused: the node is down".to_owned()),
        }
    }

    fn ask(&mut self, id: NodeId) {
        match self.cluster.read_index(id) {
            Some(Ok(batch)) => self.answer(format!("{} asks for read {}", id.0, batch.0)),
            Some(Err(NoLeader)) => self.answer("refused: no leader is known".to_owned()),
            None => self.answer("refused: the node is down".to_owned()),
        }
    }

    fn change(&mut self, verb: &str, arguments: &Arguments) {
        let change = match verb.split_whitespace().next().unwrap_or_default() {
            "add" => {
                let replaces = arguments.number("replaces").map(NodeId);
                let learner = Learner { stay: arguments.words.contains(&"stay"), replaces };
                MembershipChange::AddLearner { contact: contact(arguments.node(1)), learner }
            }
            "promote" => MembershipChange::Promote(arguments.node(1)),
            _ => MembershipChange::Remove(arguments.nodes(1).into_iter().collect()),
        };
        match self.cluster.change(arguments.node(0), change) {
            Some(Ok(_)) => {}
            Some(Err(refused)) => self.answer(format!("refused: {}", print::short_ids(&refused.to_string()))),
            None => self.answer("refused: the node is down".to_owned()),
        }
    }

    fn forge(&mut self, arguments: &Arguments) {
        let Link { from: Some(from), to: Some(to) } = arguments.parsed(0) else { arguments.fail("from whom to whom?") };
        let id = |key| arguments.value(key).map_or(EntryId::default(), |text| parse_id(text).unwrap_or_default());
        let number = |key| arguments.number(key).unwrap_or(0);
        let index = |key| Index(number(key));
        let last = id("last");
        let refusal = arguments.words.contains(&"refused").then_some(VoteRefusal::LogBehind);
        let body = match arguments.words.get(1).copied().unwrap_or_default() {
            "PreVote" => Body::PreVote { last },
            "PreVoteReply" => Body::PreVoteReply { refusal },
            "RequestVote" => Body::RequestVote { last, transfer: arguments.words.contains(&"transfer") },
            "RequestVoteReply" => Body::RequestVoteReply { refusal },
            "AppendEntries" => {
                let (previous, commit) = (id("previous"), index("commit"));
                Body::AppendEntries { previous, commit, entries: arguments.entries(), attempt: 0 }
            }
            "AppendReply" if arguments.value("accepted").is_some() => {
                Body::AppendReply(AppendReply::Accepted(id("accepted")))
            }
            "AppendReply" => {
                let attempt = arguments.number("attempt").unwrap_or(0);
                Body::AppendReply(AppendReply::Rejected { previous: id("rejected"), hint: id("hint"), attempt })
            }
            "Heartbeat" => {
                let (commit, read_round) = (index("commit"), number("round"));
                Body::Heartbeat { commit, sent_at: Time(0), read_round, fresh: None, timing: None }
            }
            "HeartbeatReply" => {
                Body::HeartbeatReply { sent_at: Time(0), read_round: number("round"), clock: OpaqueTime(0) }
            }
            "InstallSnapshot" => Body::InstallSnapshot { last },
            "Removed" => Body::Removed { index: index("index") },
            "TimeoutNow" => Body::TimeoutNow { last },
            "ReadIndex" => Body::ReadIndex { context: ReadContext(number("context")) },
            "ReadIndexReply" => {
                let at = arguments.value("at").map(|_| id("at"));
                Body::ReadIndexReply { context: ReadContext(number("context")), at }
            }
            _ => arguments.fail("there is no such message"),
        };
        let message = Message { term: Term(arguments.number("term").unwrap_or(0)), body };
        self.cluster.receive(Envelope { from, to, message });
    }

    fn each_named(&mut self, arguments: &Arguments, show: fn(&Self, NodeId) -> String) {
        let named = if arguments.words.is_empty() { self.cluster.ids() } else { arguments.nodes(0) };
        for id in named {
            self.answer(format!("{} {}", id.0, show(self, id)));
        }
    }

    fn status(&self, id: NodeId) -> String {
        let Some(raft) = self.cluster.raft(id) else { return "is down".to_owned() };
        let node = &self.cluster.nodes[&id];
        let state = node.writes.iter().rev().find_map(|write| write.hard_state).unwrap_or(node.disk.hard_state);
        let mut text = format!("{} t{} {}", print::role(raft.role()), raft.term(), print::vote(state.vote));
        if let Some(leader) = raft.leader().filter(|leader| *leader != id) {
            text += &format!(" follows {}", leader.0);
        }
        text += &format!(" commit {} last {} durable {}", raft.commit(), raft.last(), raft.durable());
        text += &format!(", under {} {}", raft.configuration_index(), print::configuration(raft.configuration()));
        if raft.snapshot() != EntryId::default() {
            text += &format!(", snapshot {}, log after {}", raft.snapshot(), raft.log_start());
        }
        if let Some(index) = raft.removed() {
            text += &format!(", removed by {index}");
        }
        if raft.quarantined().is_some() {
            text += ", quarantined";
        }
        text
    }

    fn timing(&self, id: NodeId) -> String {
        self.cluster.raft(id).map_or("is down".to_owned(), |raft| print::timing(&raft.timing()))
    }

    fn age(&self, id: NodeId) -> String {
        let now = self.cluster.now;
        match self.cluster.raft(id).and_then(|raft| raft.fresh(now)) {
            Some(Fresh { at, index }) => format!("{:?} ago it was {index}", now - at),
            None => "does not know".to_owned(),
        }
    }

    fn log(&self, id: NodeId) -> String {
        let node = &self.cluster.nodes[&id];
        let commit = self.cluster.raft(id).map_or(Index(0), |raft| raft.commit());
        let (log, start) =
            if node.raft.is_some() { (&node.log, node.start) } else { (&node.disk.log, node.disk.start) };
        let mut words: Vec<String> = log.iter().map(|entry| entry.id.term.to_string()).collect();
        words.insert(commit.max(start.index).0 as usize, "|".to_owned());
        if start != EntryId::default() {
            words.splice(..start.index.0 as usize, [format!("({start})")]);
        }
        words.join(" ")
    }

    fn show_in_flight(&mut self) {
        for Envelope { from, to, message } in self.cluster.in_flight.clone() {
            self.answer(format!("{}->{} {}", from.0, to.0, print::message(&message)));
        }
    }

    fn answer(&mut self, text: String) {
        self.cluster.note(LineKind::Answer, || text);
    }
}

impl<'a> Arguments<'a> {
    fn parse(whole: String, command: &'a str) -> Self {
        let (mut words, mut values) = (Vec::new(), Vec::new());
        for word in command.split_whitespace().skip(1) {
            match word.split_once('=') {
                Some(value) => values.push(value),
                None => words.push(word),
            }
        }
        Self { words, values, command: whole }
    }

    fn fail(&self, why: &str) -> ! {
        panic!("{}: {why}", self.command)
    }

    fn parsed<T: FromStr>(&self, place: usize) -> T {
        let word = self.words.get(place).unwrap_or_else(|| self.fail("too few words"));
        word.parse().unwrap_or_else(|_| self.fail(&format!("`{word}` makes no sense")))
    }

    fn node(&self, place: usize) -> NodeId {
        NodeId(self.parsed(place))
    }

    fn nodes(&self, from: usize) -> Vec<NodeId> {
        (from..self.words.len()).map(|place| self.node(place)).collect()
    }

    fn value(&self, key: &str) -> Option<&'a str> {
        self.values.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.value(key).map(|text| text.parse().unwrap_or_else(|_| self.fail("not a number")))
    }

    fn list(&self, text: &str) -> Vec<NodeId> {
        text.split(',').map(|id| NodeId(id.parse().unwrap_or_else(|_| self.fail("not a node")))).collect()
    }

    fn entries(&self) -> Vec<Entry> {
        let parse = |text: &str| {
            let id = parse_id(text).unwrap_or_else(|| self.fail("an entry is INDEX@TERM"));
            entry(id.term.0, id.index.0)
        };
        self.value("entries").map_or(Vec::new(), |list| list.split(',').map(parse).collect())
    }
}

impl FromStr for Link {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let side =
            |text: &str| if text == "*" { Ok(None) } else { text.parse().map(|id| Some(NodeId(id))).map_err(|_| ()) };
        let (from, to) = text.split_once("->").ok_or(())?;
        Ok(Link { from: side(from)?, to: side(to)? })
    }
}

impl Link {
    fn covers(self, from: NodeId, to: NodeId) -> bool {
        self.from.is_none_or(|node| node == from) && self.to.is_none_or(|node| node == to)
    }
}

fn parse_id(text: &str) -> Option<EntryId> {
    let (index, term) = text.split_once('@')?;
    Some(EntryId::new(Term(term.parse().ok()?), Index(index.parse().ok()?)))
}

/// A contact with nothing in it but the node.
pub fn contact(node: NodeId) -> Contact {
    Contact { node, name: String::new(), client_address: String::new(), peer_address: String::new(), version: 1 }
}
