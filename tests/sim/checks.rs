//! The safety rules of Raft, checked after each step against the simulation's own book of every disk.
//!
//! The book learns of a write when a replica asks for it, of its durability when the simulated disk has synced, and of nothing
//! else: it does not believe what replicas say of themselves.

mod snapshots;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use quorate::ids::{EntryId, Index, NodeId, Term, Time};
use quorate::raft::{self, AppendReply, Body, CommitQuorum, Configuration, Message, Payload, RoleName, Write};
use quorate::replica::{Shown, Status};
use quorate::state_machine::{self, Command, MessageId, Operation};

use super::image::{Change, Image, Link, Shortening, payload_hash};
use super::knobs::Micros;
use super::node::Clock;
pub use snapshots::Comeback;

/// What is known of all nodes together.
#[derive(Default)]
pub struct Checks {
    books: BTreeMap<NodeId, Book>,
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(Term, NodeId), NodeId>,
    entries: HashMap<EntryId, Known>,
    committed: Vec<Committed>,
    digests: BTreeMap<Index, u64>,
    states: BTreeMap<Index, Members>,
    entries_written: u64,
}

/// What a state tells of members that have come and gone.
type Members = (BTreeSet<NodeId>, BTreeMap<NodeId, Index>);

/// What is known of one node.
#[derive(Default)]
struct Book {
    memory: Image,
    disk: Image,
    /// Asked for and not yet durable; the first `in_frame` of them are in the frame that is being written.
    unsynced: Vec<Change>,
    in_frame: usize,
    /// Snapshots whose writing has failed: each may or may not be in force.
    shortenings: Vec<Shortening>,
    /// Its replica has told of a received snapshot up to here, and not yet asked to have it written.
    installing: Option<Index>,
    is_leader: bool,
    /// It is handing over.
    hands_over: bool,
    /// It has told another one to take over, and has proposed nothing since.
    has_handed_over: bool,
    is_lost: bool,
    /// What its disk once had, and acknowledged, before it lost the end of it without anybody noticing.
    forgotten: Vec<Link>,
    configuration: InForce,
    status: Option<(Term, Index, Index)>,
}

impl Book {
    fn end_transfer(&mut self) {
        self.hands_over = false;
        self.has_handed_over = false;
    }

    fn has_forgotten(&self, index: Index, link: Link) -> bool {
        self.forgotten.get(index.0 as usize - 1) == Some(&link)
    }
}

/// The configuration that a replica acts on; at first it has none.
struct InForce(Configuration);

impl Default for InForce {
    fn default() -> Self {
        Self(Configuration::EMPTY)
    }
}

struct Known {
    chain: u64,
    payload: u64,
    command: Option<Bytes>,
    configuration: Option<Configuration>,
}

/// An entry that is committed, and when that was first known.
pub struct Committed {
    /// The entry.
    pub id: EntryId,
    /// When.
    pub at: Micros,
    chain: u64,
    /// The term of the leader that committed it.
    term: Term,
}

impl Checks {
    /// A node exists whose disk holds these writes.
    pub fn add_node(&mut self, node: NodeId, writes: &[Write]) {
        self.books.insert(node, Book::default());
        for write in writes {
            self.on_persist(node, write);
            self.on_appended(node, 1);
            self.on_synced(node);
        }
        let book = self.book(node);
        book.configuration.0 = book.disk.configuration().clone();
    }

    /// The disk of this node is gone for ever. Its book stays: what it has acknowledged still counts for a commit.
    pub fn lose_disk(&mut self, node: NodeId) {
        self.book(node).is_lost = true;
    }

    /// The disk of a node that does not run has lost what was after `kept`. What it has acknowledged still counts for a commit.
    pub fn lose_log_end(&mut self, node: NodeId, kept: Index) {
        let book = self.book(node);
        book.forgotten = book.disk.links.clone();
        book.disk.cut(kept);
        book.memory = book.disk.clone();
    }

    /// A replica wants something made durable.
    pub fn on_persist(&mut self, node: NodeId, write: &Write) {
        let book = self.books.get_mut(&node).expect("every node has a book");
        assert!(book.installing.is_none(), "{node} has told of a received snapshot, and writes {write:?}");
        let change = book.memory.change(write);
        let commit = book.status.map_or(Index(0), |(_, commit, _)| commit);
        if let Some(first) = change.first() {
            assert!(first > commit, "{node} replaces entries from {first} on, its commit index is {commit}");
        }
        for ((id, link), entry) in change.entries().zip(&write.entries) {
            let known = self.entries.entry(id).or_insert_with(|| Known {
                chain: link.chain,
                payload: payload_hash(&entry.payload),
                command: match &entry.payload {
                    Payload::Command(bytes) => Some(bytes.clone()),
                    _ => None,
                },
                configuration: match &entry.payload {
                    Payload::Configuration { configuration, .. } => Some(configuration.clone()),
                    _ => None,
                },
            });
            assert!(known.chain == link.chain, "log matching: {node} has another entry {id}, or others before it");
        }
        if let Some(hard_state) = write.hard_state {
            let before = book.memory.hard_state;
            assert!(hard_state.term >= before.term, "{node} goes back from {before:?} to {hard_state:?}");
            let changes_vote = hard_state.term == before.term && before.vote.is_some() && hard_state != before;
            assert!(!changes_vote, "{node} changes its vote from {before:?} to {hard_state:?}");
        }
        if book.is_leader {
            self.check_membership_change(node, write);
        }
        let book = self.books.get_mut(&node).expect("every node has a book");
        self.entries_written += write.entries.len() as u64;
        book.memory.apply(&change);
        book.unsynced.push(change);
    }

    /// A leader changes the membership one step at a time, and not before what is there is on a majority, with an entry of its
    /// own term (paper, section 6; the bug of July 2015).
    fn check_membership_change(&self, node: NodeId, write: &Write) {
        let book = &self.books[&node];
        for entry in &write.entries {
            let Payload::Configuration { configuration: next, .. } = &entry.payload else { continue };
            let before = book.memory.configuration();
            let on_majority = |index: Index| {
                let link = book.memory.link(index);
                let half = |voters: &BTreeSet<NodeId>| {
                    has_most(voters, voters.len() / 2 + 1, |voter| self.books[&voter].disk.link(index) == link)
                };
                half(&before.voters) && half(&before.voters_outgoing)
            };
            let last_configuration = book.memory.configuration_index();
            let first_of_term = book.memory.links.partition_point(|link| link.term < entry.id.term) as u64 + 1;
            let may_begin = on_majority(last_configuration) && on_majority(Index(first_of_term));
            assert!(may_begin, "{node} changes the membership at {} and {before} is not settled", entry.id);
            let is_step = match (before.is_joint(), next.is_joint()) {
                (false, true) => next.voters_outgoing == before.voters,
                (_, false) => next.voters == before.voters,
                (true, true) => false,
            };
            assert!(is_step, "{node} changes from {before} to {next} in one step");
        }
    }

    /// The first `count` writes that are not durable were written in one frame.
    pub fn on_appended(&mut self, node: NodeId, count: usize) {
        self.book(node).in_frame = count;
    }

    /// The frame is durable.
    pub fn on_synced(&mut self, node: NodeId) {
        let book = self.book(node);
        let frame = std::mem::take(&mut book.in_frame);
        for change in book.unsynced.drain(..frame) {
            book.disk.apply(&change);
        }
    }

    /// The process has ended.
    pub fn on_crash(&mut self, node: NodeId) {
        let book = self.book(node);
        book.is_leader = false;
        book.end_transfer();
        book.status = None;
        book.installing = None;
        let frame = book.in_frame;
        book.unsynced.truncate(frame);
    }

    /// Entries were read from the disk of a node.
    pub fn on_read(&self, from: Index, entries: &[raft::Entry]) {
        for (entry, index) in entries.iter().zip(from.0..) {
            assert!(entry.id.index.0 == index, "entry {} was read at {index}", entry.id);
            let known = self.entries.get(&entry.id).map(|known| known.payload);
            assert!(known == Some(payload_hash(&entry.payload)), "entry {} is not what was written", entry.id);
        }
    }

    /// A replica tells something. Told in the order in which it happened.
    pub fn on_told(&mut self, now: Micros, node: NodeId, event: &raft::Event) {
        match event {
            raft::Event::RoleChanged { role, term, .. } => {
                let book = self.book(node);
                book.is_leader = *role == RoleName::Leader;
                book.hands_over = false;
                book.has_handed_over &= !book.is_leader;
                if *role == RoleName::Leader {
                    self.on_elected(node, *term);
                }
            }
            raft::Event::ConfigurationChanged { configuration, .. } => {
                self.book(node).configuration.0 = configuration.clone();
            }
            raft::Event::Committed { index } => self.on_committed(now, node, *index),
            raft::Event::TransferBegun { .. } => self.book(node).hands_over = true,
            raft::Event::TimeoutNowSent { .. } => self.on_timeout_now(node),
            raft::Event::TransferGivenUp { .. } => self.book(node).end_transfer(),
            raft::Event::Quarantined { why } => panic!("{node} is in quarantine: {why}"),
            _ => {}
        }
    }

    /// A leader tells another one to take over: by then everything in its log is committed.
    fn on_timeout_now(&mut self, node: NodeId) {
        let book = self.book(node);
        book.has_handed_over = true;
        let last = book.memory.last();
        let committed = self.committed.len() as u64;
        assert!(last.0 <= committed, "{node} hands over with a log up to {last}, committed is {committed}");
    }

    fn on_elected(&mut self, node: NodeId, term: Term) {
        let other = self.leaders.insert(term, node);
        assert!(other.is_none(), "term {term} has two leaders: {other:?} and {node}");
        let book = &self.books[&node];
        let hard_state = book.disk.hard_state;
        let has_voted = |voter| match voter == node {
            true => (hard_state.term, hard_state.vote) == (term, Some(node)),
            false => self.votes.get(&(term, voter)) == Some(&node),
        };
        let half = |voters: &BTreeSet<NodeId>| has_most(voters, voters.len() / 2 + 1, has_voted);
        let Configuration { voters, voters_outgoing, .. } = &book.configuration.0;
        assert!(half(voters) && half(voters_outgoing), "{node} leads term {term} without a majority of votes");
        // A leader of a later term can be ahead of this one: only what was committed before its term must be there.
        let earlier = self.committed.partition_point(|committed| committed.term < term);
        if let Some(last) = earlier.checked_sub(1).map(|last| &self.committed[last]) {
            let own = book.memory.link(last.id.index).map(|link| link.chain);
            assert!(own == Some(last.chain), "leader completeness: {node} leads term {term} without {}", last.id);
        }
    }

    fn on_committed(&mut self, now: Micros, node: NodeId, index: Index) {
        let book = &self.books[&node];
        let link = book.memory.link(index);
        if let Some(committed) = self.committed.get(index.0 as usize - 1)
            && link.is_none_or(|link| link.chain != committed.chain)
            && !book.is_leader
        {
            // Only a received snapshot tells more than the own log: it has to be written next.
            self.book(node).installing = Some(index);
            return;
        }
        let link = link.unwrap_or_else(|| panic!("{node} commits {index}, its log ends at {}", book.memory.last()));
        if let Some(committed) = self.committed.get(index.0 as usize - 1) {
            assert!(committed.chain == link.chain, "{node} commits another entry at {index} than {}", committed.id);
            return;
        }
        assert!(book.is_leader, "{node} commits {index}, which no leader has committed");
        self.check_durable_quorum(&book.configuration.0, index, link);
        let term = self.book(node).memory.hard_state.term;
        // Paper, section 5.4.2 and figure 8: what an entry of an earlier term has on disks can still be overwritten.
        assert!(link.term == term, "{node} commits entry {index} of term {} by counting in term {term}", link.term);
        for at in self.committed.len() as u64 + 1..=index.0 {
            let link = self.books[&node].memory.link(Index(at)).expect("it is before one that is there");
            let id = EntryId::new(link.term, Index(at));
            self.committed.push(Committed { id, at: now, chain: link.chain, term });
        }
    }

    fn check_durable_quorum(&self, configuration: &Configuration, index: Index, link: Link) {
        let has = |book: &Book| book.disk.link(index) == Some(link) || book.has_forgotten(index, link);
        let is_durable = |node| self.books.get(&node).is_some_and(has);
        let needed = |count: usize| match configuration.commit_quorum {
            CommitQuorum::Majority => count / 2 + 1,
            CommitQuorum::HalfPlusOne => count.min(count.div_ceil(2) + 1),
        };
        let half = |voters: &BTreeSet<NodeId>| has_most(voters, needed(voters.len()), is_durable);
        assert!(
            half(&configuration.voters) && half(&configuration.voters_outgoing),
            "entry {index} is committed and not on the disks of a quorum of {configuration}"
        );
    }

    /// A message leaves a node.
    pub fn on_send(&mut self, from: NodeId, to: NodeId, message: &Message) {
        let Message { term, body } = message;
        let disk = &self.books[&from].disk;
        let is_promise = !matches!(body, Body::PreVote { .. } | Body::PreVoteReply { refusal: None });
        assert!(
            !is_promise || disk.hard_state.term >= *term,
            "{from} tells term {term} before it is durable: {body:?}"
        );
        match body {
            Body::RequestVoteReply { refusal: None } => {
                let is_durable = disk.hard_state.term > *term || disk.hard_state.vote == Some(to);
                assert!(is_durable, "the vote of {from} for {to} in term {term} is not durable");
                let before = self.votes.insert((*term, from), to);
                assert!(
                    before.is_none_or(|before| before == to),
                    "{from} votes for {before:?} and {to} in term {term}"
                );
            }
            Body::AppendReply(AppendReply::Accepted(id)) => {
                let is_durable = disk.has(*id) || disk.hard_state.term > *term;
                assert!(is_durable, "{from} acknowledges {id} in term {term} before it is durable");
            }
            _ => {}
        }
    }

    /// What a replica says of itself after a turn.
    pub fn on_status(&mut self, node: NodeId, status: &Status) {
        let book = self.book(node);
        let now = (status.term, status.commit, status.applied);
        if let Some((term, commit, applied)) = book.status.replace(now) {
            let is_monotone = status.term >= term && status.commit >= commit && status.applied >= applied;
            assert!(is_monotone, "{node} goes back from ({term}, {commit}, {applied}) to {now:?}");
        }
        assert!(status.applied <= status.commit, "{node} has applied {} of {}", status.applied, status.commit);
        assert!(book.installing.is_none(), "{node} has told of a received snapshot, and does not write it");
        let is_durable = status.snapshot <= book.disk.snapshot;
        assert!(is_durable, "{node} tells of a snapshot up to {}, on disk is {}", status.snapshot, book.disk.snapshot);
        let least = status.snapshot.index;
        assert!(status.applied >= least, "{node} has applied {}, less than its snapshot {least}", status.applied);
        let membership = &status.membership;
        let in_force = (book.memory.configuration_index(), book.memory.configuration());
        assert!(
            in_force == (membership.index, &membership.configuration),
            "{node} acts on {} at {}, in force is {in_force:?}",
            membership.configuration,
            membership.index
        );
        let (memory, disk) = (book.memory.link(status.durable), book.disk.link(status.durable));
        assert!(memory == disk, "{node} takes {} for durable, and on disk is {disk:?}", status.durable);
    }

    /// A request was answered with what the entry at `index` decided.
    pub fn on_answered(&mut self, node: NodeId, index: Index, applied: Index) {
        assert!(index <= applied, "{node} answers entry {index} and has applied up to {applied}");
        let committed = self.committed.len() as u64;
        assert!(index.0 <= committed, "{node} answers entry {index}, committed is {committed}");
    }

    /// A read was answered with what is applied up to `shown.index`.
    pub fn on_shown(&self, node: NodeId, applied: Index, shown: &Shown) {
        assert!(shown.index <= applied, "{node} shows {} and has applied up to {applied}", shown.index);
        let committed = self.committed.len() as u64;
        assert!(shown.commit.0 <= committed, "{node} says that {} is committed, it is {committed}", shown.commit);
        let is_known = shown.index <= shown.commit;
        assert!(is_known, "{node} shows {} and knows of {} committed", shown.index, shown.commit);
    }

    /// What a read shows is said to be so old: everything that was committed before that is in it.
    pub fn on_age(&self, node: NodeId, now: Micros, clock: Clock, shown: &Shown) {
        let Some(age) = shown.age else { return };
        let as_of = clock.when(Time(clock.time(now).0 - age.as_micros() as u64));
        let committed = self.committed.partition_point(|committed| committed.at < as_of) as u64;
        let index = shown.index;
        assert!(index.0 >= committed, "{node} shows {index} as {age:?} old; {committed} was committed by then");
    }

    /// A client is not told what became of its request, which was proposed there.
    pub fn on_outcome_unknown(&mut self, node: NodeId, at: EntryId) {
        let has_handed_over = self.book(node).has_handed_over;
        assert!(!has_handed_over, "{node} has handed over, and does not know what became of {at}");
    }

    /// Something of this term is committed.
    pub fn has_committed_in(&self, term: Term) -> bool {
        self.committed.last().is_some_and(|committed| committed.id.term >= term)
    }

    /// A membership change was answered: the configuration is on the disks of a majority of itself, so that every later leader
    /// has it.
    pub fn on_membership_answered(&mut self, node: NodeId, status: &Status, index: Index) {
        let configuration = &status.membership.configuration;
        assert!(index == status.membership.index && !configuration.is_joint(), "{node} answers a change under way");
        let link = self.books[&node].memory.link(index);
        let has = |voter: &&NodeId| self.books.get(voter).is_some_and(|book| book.disk.link(index) == link);
        let count = configuration.voters.iter().filter(has).count();
        assert!(
            count * 2 > configuration.voters.len(),
            "{node} answers the change at {index}, which {count} voters have"
        );
    }

    /// A replica has applied up to `index` and then has this digest.
    pub fn on_digest(&mut self, node: NodeId, index: Index, digest: u64) {
        let first = *self.digests.entry(index).or_insert(digest);
        assert!(first == digest, "{node} has another state than other replicas after entry {index}");
    }

    /// How many entries all nodes together have written.
    pub fn entries_written(&self) -> u64 {
        self.entries_written
    }

    /// What is committed, by index from 1.
    pub fn committed(&self) -> &[Committed] {
        &self.committed
    }

    /// The message that this names, as its producer gave it.
    pub fn message(&self, id: MessageId) -> Option<state_machine::Body> {
        let committed = self.committed.get(id.index.0.checked_sub(1)? as usize)?;
        let command = Command::decode(self.command(committed.id)?).ok()?;
        match command.operations.into_iter().nth(id.item as usize)? {
            Operation::Enqueue { message, .. } => Some(message.body),
            _ => None,
        }
    }

    /// The command that an entry carries.
    pub fn command(&self, id: EntryId) -> Option<&Bytes> {
        self.entries.get(&id)?.command.as_ref()
    }

    /// The configurations that could still be in force: the last one on every disk and in every memory.
    pub fn configurations(&self) -> impl Iterator<Item = &Configuration> {
        let kept = self.books.values().filter(|book| !book.is_lost);
        let images = kept.flat_map(|book| [&book.memory, &book.disk]);
        images.filter(|image| image.last() > Index(0)).map(Image::configuration)
    }

    /// The configuration in force on a node.
    pub fn configuration(&self, node: NodeId) -> &Configuration {
        &self.books[&node].configuration.0
    }

    /// The node leads, and its configuration is a joint one.
    pub fn leads_joint_phase(&self, node: NodeId) -> bool {
        self.books[&node].is_leader && self.configuration(node).is_joint()
    }

    /// The node leads, and is handing over.
    pub fn hands_over(&self, node: NodeId) -> bool {
        self.books[&node].hands_over
    }

    /// Somebody has led.
    pub fn has_had_leader(&self) -> bool {
        !self.leaders.is_empty()
    }

    fn book(&mut self, node: NodeId) -> &mut Book {
        self.books.get_mut(&node).expect("every node has a book")
    }
}

/// True when `needed` of them do; nobody need do anything where there is nobody. Does not ask the production code.
fn has_most(voters: &BTreeSet<NodeId>, needed: usize, does: impl Fn(NodeId) -> bool) -> bool {
    voters.is_empty() || voters.iter().filter(|voter| does(**voter)).count() >= needed
}
