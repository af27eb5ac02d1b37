//! The event loop's book of the requests that are followed: where each of them stands, and since when.
//!
//! ```text
//!    requests   RequestId      -> its span, and when its last verb ended              from on_input to on_answer
//!    entries    shard, index   -> the request, and which verbs are still to come      from Placed to the last of them
//!    appending  shard, index   -> another leader's span, on a follower                from on_message to Appended
//! ```
//!
//! A sync of the log tells of itself which entries it carried, before the loop turns and their appends are over.
//!
//! A request is followed when it is traced, or, with metrics on, always. When nothing is followed each call looks at an empty
//! map and returns.

use std::collections::BTreeMap;
use std::fmt;

use opentelemetry::ContextGuard;
use opentelemetry::trace::SpanContext;

use super::appending::Appending;
use super::entries::{Entries, Entry, Place, Sent};
use super::request_spans::{Ended, What, child_of};
use super::sync::{Carried, Ranges};
use super::{Mark, Moment, Telemetry, Verb, propagation};
use crate::ids::{EntryId, Index, NodeId, ShardId, TRACES_MAX, Term, TraceContext};
use crate::raft::{Body, Event, Message};
use crate::replica::{RequestId, Told};
use crate::storage::Synced;

/// How many requests are followed at once. One that comes when there are as many is not.
pub(super) const REQUESTS_MAX: usize = 4096;

/// The book of one event loop.
pub struct RequestBook {
    telemetry: Telemetry,
    /// The names that people know the nodes by.
    name_of: Box<dyn Fn(NodeId) -> String + Send>,
    requests: BTreeMap<RequestId, Request>,
    /// How many of them are traced: mostly none, and then nobody looks for them.
    requests_traced: usize,
    entries: Entries,
    appending: Appending,
    /// When the turn began that carries out effects now: then came what it tells of the disk and of peers.
    turn_began: Moment,
}

/// A request that was handed to the loop.
#[derive(Debug)]
struct Request {
    /// The span of the request, if it is traced.
    span: Option<SpanContext>,
    /// When its last verb ended.
    since: Moment,
    /// Its entry, once it has one.
    place: Option<Place>,
}

/// How far a node is, as it is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Its term.
    pub term: Term,
    /// Up to where its log is durable.
    pub durable: Index,
}

impl RequestBook {
    /// An empty book. What it learns goes to `telemetry`.
    pub fn new(telemetry: Telemetry, name_of: impl Fn(NodeId) -> String + Send + 'static) -> Self {
        Self {
            telemetry,
            name_of: Box::new(name_of),
            requests: BTreeMap::new(),
            requests_traced: 0,
            entries: Entries::default(),
            appending: Appending::default(),
            turn_began: Moment::now(),
        }
    }

    /// A request was taken out of the inbox. True when it is followed from here on.
    pub fn on_input(&mut self, request: RequestId, Mark { since, span }: Mark) -> bool {
        let Some(since) = since.filter(|_| self.requests.len() < REQUESTS_MAX) else { return false };
        self.requests_traced += usize::from(span.is_some());
        self.requests.insert(request, Request { span, since, place: None });
        true
    }

    fn take_request(&mut self, request: RequestId) -> Option<Request> {
        let request = self.requests.remove(&request)?;
        self.requests_traced -= usize::from(request.span.is_some());
        Some(request)
    }

    fn traces_nothing(&self) -> bool {
        self.requests_traced == 0 && self.entries.has_none_traced() && self.appending.is_empty()
    }

    /// A message of the leader of the term `sent_in` has arrived, and with it the traces of some of its entries. What comes from before
    /// this node's own term, it does not take, and what its log has already, it does not append again.
    pub fn on_message(&mut self, shard: ShardId, sent_in: Term, own: Own, traces: Vec<(Index, TraceContext)>) {
        let Own { term, durable } = own;
        if sent_in >= term && self.telemetry.request_spans().is_some() {
            self.appending.arrive(shard, traces.into_iter().filter(|(index, _)| *index > durable));
        }
    }

    /// The log was synced. Its replicas have not been told yet.
    pub fn on_synced(&mut self, synced: &Synced) {
        if self.entries.has_none_traced() && self.appending.is_empty() {
            return;
        }
        let ranges = Ranges::of(synced);
        let Some(places) = ranges.places() else { return };
        let traced = self.entries.traced_mut(places.clone());
        let entries = traced.filter(|(place, entry)| ranges.carry(*place, entry.placed_at));
        let carried = entries.filter_map(|(_, Entry { span, sync, .. })| Some(Carried { span: span.as_ref()?, sync }));
        let carried = carried.chain(self.appending.carried(&ranges, places)).collect();
        self.telemetry.synced(synced, &ranges, carried);
    }

    /// The loop turns: what it tells from here on of the disk and of peers, it has learnt before.
    pub fn begin_turn(&mut self) {
        if !self.is_empty() {
            self.turn_began = Moment::now();
        }
    }

    /// A message goes out. Returns the traces that go along with it.
    pub fn on_send(&mut self, shard: ShardId, to: NodeId, message: &Message) -> Vec<(Index, TraceContext)> {
        match &message.body {
            Body::AppendEntries { entries, .. } if !self.entries.is_empty() => {
                let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Vec::new() };
                self.on_sent(shard, to, first.id.index, last.id.index)
            }
            _ => Vec::new(),
        }
    }

    /// The replica tells something.
    pub fn on_told(&mut self, shard: ShardId, told: &Told) {
        if self.is_empty() {
            return;
        }
        match told {
            Told::Placed { request, at, together } => self.on_placed(shard, *request, *at, *together),
            Told::Raft(Event::Appended { last }) => self.on_appended(shard, last.index),
            Told::Raft(Event::Replicated { to, matched }) => self.on_replicated(shard, *to, *matched),
            Told::Raft(Event::Committed { index }) => self.on_committed(shard, *index),
            Told::Applied { last, .. } => self.on_applied(shard, *last),
            Told::Raft(Event::RoleChanged { .. } | Event::FollowsLeader { .. } | Event::Truncated { .. }) => {
                self.on_leader_changed(shard);
            }
            _ => {}
        }
    }

    /// A request was answered.
    pub fn on_answer(&mut self, request: RequestId) {
        if let Some(Request { span, since, place }) = self.take_request(request) {
            self.telemetry.stage(Verb::Answered, span.as_ref(), (since, Moment::now()));
            self.let_go(place);
        }
    }

    /// Nobody waits for the answer of a request any more. Its entry is followed to its end.
    pub fn on_forgotten(&mut self, request: RequestId) {
        if let Some(Request { place, .. }) = self.take_request(request) {
            self.let_go(place);
        }
    }

    /// The connection to a peer broke: it may not have what was sent, and will be sent it again.
    pub fn on_disconnected(&mut self, peer: NodeId) {
        for entry in self.entries.values_mut() {
            self.telemetry.give_up(entry, |sent| sent.to == peer, &self.name_of, "the connection broke");
        }
        self.entries.forget_done();
    }

    /// What is logged on this thread while the guard lives is about the traced request that `told` is about; the first one, if
    /// it is about several. None: it is about none. To be asked before the book is told of it.
    pub fn enter(&self, shard: ShardId, told: &Told) -> Option<ContextGuard> {
        if self.traces_nothing() {
            return None;
        }
        self.traced(shard, told).map(propagation::enter)
    }

    fn traced(&self, shard: ShardId, told: &Told) -> Option<&SpanContext> {
        let entries = |first, last| self.entries.traced((shard, first)..=(shard, last));
        let first_of = |first, last, of: fn(&Entry) -> bool| {
            entries(first, last).filter(|entry| of(entry)).find_map(|entry| entry.span.as_ref())
        };
        match told {
            Told::Placed { request, .. } => self.requests.get(request)?.span.as_ref(),
            Told::Answered { index, .. } => first_of(*index, *index, |_| true),
            Told::Applied { first, last } => first_of(*first, *last, |_| true),
            Told::Raft(Event::Proposed { first, last }) => first_of(first.index, last.index, |_| true),
            Told::Raft(Event::Appended { last }) => first_of(Index(0), last.index, |entry| !entry.is_appended)
                .or_else(|| self.appending.first_up_to(shard, last.index)),
            Told::Raft(Event::Committed { index }) => first_of(Index(0), *index, |entry| entry.committed_at.is_none()),
            Told::Raft(Event::Replicated { to, matched }) => {
                let mut sent = entries(Index(0), *matched).flat_map(|entry| &entry.sent).filter(|sent| sent.to == *to);
                sent.find_map(|sent| sent.span.as_ref())
            }
            _ => None,
        }
    }

    /// Nothing is followed.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.entries.is_empty() && self.appending.is_empty()
    }

    /// How many entries are followed.
    #[cfg(test)]
    pub(super) fn entries_followed(&self) -> usize {
        self.entries.len()
    }

    fn on_placed(&mut self, shard: ShardId, id: RequestId, at: EntryId, together: usize) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let placed_at = Moment::now();
        let times = (std::mem::replace(&mut request.since, placed_at), placed_at);
        self.telemetry.measure(Verb::Proposed, times);
        if let Some(span) = &request.span {
            self.telemetry.span(span, times, What::Proposed { at, together });
        }
        let before = request.place.replace((shard, at.index));
        for mut entry in self.entries.add((shard, at.index), Entry::new(id, request.span.clone(), placed_at)) {
            self.telemetry.give_up(&mut entry, |_| true, &self.name_of, "it is followed no longer");
        }
        self.let_go(before);
    }

    fn on_sent(&mut self, shard: ShardId, to: NodeId, first: Index, last: Index) -> Vec<(Index, TraceContext)> {
        let at = Moment::now();
        let mut traces = Vec::new();
        for ((_, index), entry) in self.entries.range_mut((shard, first)..=(shard, last)) {
            let is_again = entry.sent.iter().any(|sent| sent.to == to);
            if !is_again {
                entry.sent.push(Sent { to, at, span: entry.span.as_ref().map(child_of) });
            }
            let sent = entry.sent.iter().find(|sent| sent.to == to);
            let span = sent.and_then(|sent| sent.span.as_ref());
            traces.extend(span.map(|span| (index, propagation::to_peer(span))));
        }
        traces.truncate(TRACES_MAX);
        traces
    }

    fn on_appended(&mut self, shard: ShardId, last: Index) {
        self.appending.end(&self.telemetry, shard, last, self.turn_began);
        for (_, entry) in self.entries.range_mut((shard, Index(0))..=(shard, last)) {
            if !std::mem::replace(&mut entry.is_appended, true) {
                let times = (entry.placed_at, self.turn_began);
                self.telemetry.measure(Verb::Appended, times);
                if let Some(span) = &entry.span {
                    self.telemetry.appended(span, times, entry.sync.take(), What::Verb(Verb::Appended));
                }
            }
        }
        self.entries.forget_done();
    }

    fn on_replicated(&mut self, shard: ShardId, to: NodeId, matched: Index) {
        for (_, entry) in self.entries.range_mut((shard, Index(0))..=(shard, matched)) {
            for sent in entry.sent.extract_if(.., |sent| sent.to == to) {
                self.telemetry.measure(Verb::Replicated, (sent.at, self.turn_began));
                if let Some(parent) = &entry.span {
                    self.telemetry.replicated(parent, sent, self.turn_began, &self.name_of, None);
                }
            }
        }
        self.entries.forget_done();
    }

    fn on_committed(&mut self, shard: ShardId, index: Index) {
        for (_, entry) in self.entries.range_mut((shard, Index(0))..=(shard, index)) {
            if entry.committed_at.is_none() {
                entry.committed_at = Some(self.turn_began);
                let times = (entry.placed_at, self.turn_began);
                self.telemetry.stage(Verb::Committed, entry.span.as_ref(), times);
            }
        }
    }

    fn on_applied(&mut self, shard: ShardId, last: Index) {
        let now = Moment::now();
        for (_, entry) in self.entries.range_mut((shard, Index(0))..=(shard, last)) {
            if let Some(committed_at) = entry.committed_at
                && !std::mem::replace(&mut entry.is_applied, true)
            {
                self.telemetry.stage(Verb::Applied, entry.span.as_ref(), (committed_at, now));
                if let Some(request) = self.requests.get_mut(&entry.request) {
                    request.since = now;
                }
            }
        }
    }

    /// What this node proposed as a leader, or got from another one, is now somebody else's to decide.
    fn on_leader_changed(&mut self, shard: ShardId) {
        self.appending.forget(shard);
        for mut entry in self.entries.take(shard) {
            self.telemetry.give_up(&mut entry, |_| true, &self.name_of, "leadership was lost");
        }
    }

    /// Nobody waits for the request of this entry any more.
    fn let_go(&mut self, place: Option<Place>) {
        let Some(place) = place else { return };
        if let Some(entry) = self.entries.get_mut(place) {
            entry.is_answered = true;
            self.entries.forget_if_done(place);
        }
    }
}

/// What is under way is told, because peers tell of their part in it.
impl Drop for RequestBook {
    fn drop(&mut self) {
        for entry in self.entries.values_mut() {
            self.telemetry.give_up(entry, |_| true, &self.name_of, "the node stops");
        }
    }
}

impl Telemetry {
    /// What was sent of an entry to those peers will not be acknowledged.
    fn give_up(
        &self,
        entry: &mut Entry,
        which: impl Fn(&Sent) -> bool,
        name_of: impl Fn(NodeId) -> String,
        why: &'static str,
    ) {
        for sent in entry.sent.extract_if(.., |sent| which(sent)) {
            if let Some(parent) = &entry.span {
                self.replicated(parent, sent, Moment::now(), &name_of, Some(why));
            }
        }
    }

    /// The way of a traced request to a peer has ended.
    fn replicated(
        &self,
        parent: &SpanContext,
        Sent { to: peer, at, span }: Sent,
        ended: Moment,
        name_of: impl Fn(NodeId) -> String,
        failed: Option<&'static str>,
    ) {
        if let (Some(spans), Some(span)) = (self.request_spans(), span) {
            let what = What::Replicated { peer: name_of(peer), failed };
            spans.end(Ended { span, parent: parent.into(), from: at.wall(), to: ended.wall(), what });
        }
    }
}

impl fmt::Debug for RequestBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBook")
            .field("requests", &self.requests.len())
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}
