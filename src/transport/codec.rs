//! Raft messages as peers send them: `raft::Message` to and from `quorate.internal.RaftMessage`.
//!
//! Encoding cannot fail. Decoding takes nothing on trust: every number, count and enum is checked, and the entries of an
//! `AppendEntries` get their indexes by counting on from `previous`, so that a gap has no spelling.

use std::num::NonZeroU64;
use std::time::Duration;

use bytes::Bytes;

use super::Envelope;
use super::address_book::CONTACTS_MAX;
use super::questions::{LOG_ENTRIES_MAX, LogPart};
use crate::ids::{Contact, EntryId, Index, ShardId, TRACES_MAX, Term, Time, TraceContext};
use crate::proto::internal::{self, append_reply, raft_message};
use crate::raft::{AppendReply, Body, Entry, Message, OpaqueTime, Pace, ReadContext, VoteRefusal};
use crate::storage::codec as payloads;
use crate::storage::transfer::INDEXES_MAX;

/// The highest term or index that is believed. No cluster gets there by working, and below it adding one cannot overflow.
const NUMBER_MAX: u64 = 1 << 62;

/// The most entries in one `AppendEntries`: as many as fit in [`super::FRAME_BYTES_MAX`] at the least that
/// [`Entry::size`] counts for one.
pub const ENTRIES_MAX: usize = super::FRAME_BYTES_MAX / 32;

/// Why something that a peer sent is not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A part that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A term or an index is too large to be true.
    #[error("{field} is {value}, more than the {NUMBER_MAX} that can be true")]
    NumberTooLarge {
        /// Which.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// Only the place before the first entry has index 0 and term 0, and it has both.
    #[error("{field} is {id}: an entry has neither term 0 nor index 0")]
    NoEntry {
        /// Which.
        field: &'static str,
        /// Its value.
        id: EntryId,
    },
    /// More entries than a message may have.
    #[error("{0} entries in one message, {ENTRIES_MAX} are allowed")]
    TooManyEntries(usize),
    /// Terms in a log never go down, and none is above that of the leader who sends it.
    #[error("entry {id} does not fit between {previous} before it and term {leader} of its sender")]
    TermOutOfOrder {
        /// The entry.
        id: EntryId,
        /// The one before it.
        previous: EntryId,
        /// The term of the message.
        leader: Term,
    },
    /// The payload of an entry says nothing.
    #[error("entry {id}: {why}")]
    Payload {
        /// The entry.
        id: EntryId,
        /// What is wrong with it.
        why: String,
    },
    /// More or fewer indexes than a request for bodies may have.
    #[error("{0} indexes in one request, 1 to {INDEXES_MAX} are allowed")]
    IndexCount(usize),
    /// The indexes of a request ascend, and end at the last entry of the snapshot.
    #[error("index {index} does not fit between {previous} before it and the last of the snapshot, {last}")]
    IndexOutOfOrder {
        /// The index.
        index: u64,
        /// The one before it; 0 before the first.
        previous: u64,
        /// The last one that the snapshot has in it.
        last: Index,
    },
    /// A request, or the answer to one, has room for nothing.
    #[error("a piece of no bytes")]
    EmptyPiece,
    /// A vote is granted and refused, or neither.
    #[error("a vote reply with granted = {granted} and refusal {refusal}")]
    Vote {
        /// As sent.
        granted: bool,
        /// As sent.
        refusal: i32,
    },
}

/// The message as peers send it.
pub fn encode(Envelope { shard, message, traces, number }: &Envelope) -> internal::RaftMessage {
    internal::RaftMessage {
        shard: shard.0,
        term: message.term.0,
        body: Some(encode_body(&message.body)),
        traces: encode_traces(traces),
        number: number.map_or(0, NonZeroU64::get),
    }
}

/// The message that a peer sent.
///
/// # Errors
/// It is not a message.
pub fn decode(message: internal::RaftMessage) -> Result<Envelope, Malformed> {
    let term = decode_term("term", message.term)?;
    let body = decode_body(term, message.body.ok_or(Malformed::Missing("body"))?)?;
    let traces = decode_traces(message.traces);
    let number = NonZeroU64::new(message.number);
    Ok(Envelope { shard: ShardId(message.shard), message: Message { term, body }, traces, number })
}

/// Contacts as peers send them.
pub fn encode_contacts<'a>(contacts: impl IntoIterator<Item = &'a Contact>) -> Vec<internal::Introduction> {
    contacts.into_iter().map(payloads::contact_to_proto).collect()
}

/// Those of the contacts that say something, as many as an address book holds. The others are left out: one bad record in a
/// peer's address book is no reason not to talk to it.
pub fn decode_contacts(contacts: Vec<internal::Introduction>) -> Vec<Contact> {
    let decoded = contacts.into_iter().filter_map(|contact| payloads::contact_from_proto(contact).ok());
    decoded.take(CONTACTS_MAX).collect()
}

fn encode_traces(traces: &[(Index, TraceContext)]) -> Vec<internal::EntryTrace> {
    let encoded = |(index, TraceContext { trace_id, span_id }): &(Index, TraceContext)| internal::EntryTrace {
        index: index.0,
        trace_id: Bytes::copy_from_slice(trace_id),
        span_id: Bytes::copy_from_slice(span_id),
    };
    traces.iter().take(TRACES_MAX).map(encoded).collect()
}

/// Those that say something: a trace that is damaged is no reason to lose the entries.
fn decode_traces(traces: Vec<internal::EntryTrace>) -> Vec<(Index, TraceContext)> {
    let decoded = |trace: internal::EntryTrace| {
        let index = decode_index("index of a trace", trace.index).ok()?;
        let trace_id = trace.trace_id.as_ref().try_into().ok().filter(|id| *id != [0; 16])?;
        let span_id = trace.span_id.as_ref().try_into().ok().filter(|id| *id != [0; 8])?;
        Some((index, TraceContext { trace_id, span_id }))
    };
    traces.into_iter().take(TRACES_MAX).filter_map(decoded).collect()
}

fn encode_body(body: &Body) -> raft_message::Body {
    use raft_message::Body as Encoded;
    match body {
        Body::PreVote { last } => Encoded::PreVote(encode_vote(*last, false)),
        Body::PreVoteReply { refusal } => Encoded::PreVoteReply(encode_vote_reply(*refusal)),
        Body::RequestVote { last, transfer } => Encoded::RequestVote(encode_vote(*last, *transfer)),
        Body::RequestVoteReply { refusal } => Encoded::RequestVoteReply(encode_vote_reply(*refusal)),
        Body::AppendEntries { previous, commit, entries, attempt } => Encoded::AppendEntries(internal::AppendEntries {
            previous: Some(encode_id(*previous)),
            commit: commit.0,
            entries: entries.iter().map(encode_entry).collect(),
            attempt: *attempt,
        }),
        Body::AppendReply(reply) => Encoded::AppendReply(encode_append_reply(reply)),
        Body::Heartbeat { commit, sent_at, read_round, fresh, timing } => Encoded::Heartbeat(internal::Heartbeat {
            commit: commit.0,
            sent_at: sent_at.0,
            read_round: *read_round,
            fresh: fresh.map(|(clock, commit)| internal::Fresh { clock: clock.0, commit: commit.0 }),
            timing: timing.map(encode_pace),
        }),
        Body::HeartbeatReply { sent_at, read_round, clock } => Encoded::HeartbeatReply(internal::HeartbeatReply {
            sent_at: sent_at.0,
            read_round: *read_round,
            clock: clock.0,
        }),
        Body::Removed { index } => Encoded::Removed(internal::Removed { index: index.0 }),
        Body::TimeoutNow { last } => Encoded::TimeoutNow(internal::TimeoutNow { last: Some(encode_id(*last)) }),
        Body::ReadIndex { context } => Encoded::ReadIndex(internal::ReadIndex { context: context.0 }),
        Body::ReadIndexReply { context, at } => {
            Encoded::ReadIndexReply(internal::ReadIndexReply { context: context.0, at: at.map(encode_id) })
        }
        Body::InstallSnapshot { last } => {
            Encoded::InstallSnapshot(internal::InstallSnapshot { last: Some(encode_id(*last)) })
        }
    }
}

fn decode_body(term: Term, body: raft_message::Body) -> Result<Body, Malformed> {
    use raft_message::Body as Encoded;
    Ok(match body {
        Encoded::PreVote(vote) => Body::PreVote { last: decode_id("last", vote.last)? },
        Encoded::PreVoteReply(reply) => Body::PreVoteReply { refusal: decode_vote_reply(reply)? },
        Encoded::RequestVote(vote) => {
            Body::RequestVote { last: decode_id("last", vote.last)?, transfer: vote.transfer }
        }
        Encoded::RequestVoteReply(reply) => Body::RequestVoteReply { refusal: decode_vote_reply(reply)? },
        Encoded::AppendEntries(append) => decode_append_entries(term, append)?,
        Encoded::AppendReply(reply) => Body::AppendReply(decode_append_reply(reply)?),
        Encoded::Heartbeat(heartbeat) => Body::Heartbeat {
            commit: decode_index("commit", heartbeat.commit)?,
            sent_at: Time(heartbeat.sent_at),
            read_round: heartbeat.read_round,
            fresh: heartbeat.fresh.map(decode_fresh).transpose()?,
            timing: heartbeat.timing.map(decode_pace),
        },
        Encoded::HeartbeatReply(reply) => Body::HeartbeatReply {
            sent_at: Time(reply.sent_at),
            read_round: reply.read_round,
            clock: OpaqueTime(reply.clock),
        },
        Encoded::Removed(removed) => Body::Removed { index: decode_index("index", removed.index)? },
        Encoded::TimeoutNow(timeout) => Body::TimeoutNow { last: decode_id("last", timeout.last)? },
        Encoded::ReadIndex(read) => Body::ReadIndex { context: ReadContext(read.context) },
        Encoded::ReadIndexReply(reply) => Body::ReadIndexReply {
            context: ReadContext(reply.context),
            at: reply.at.map(|at| decode_id("at", Some(at))).transpose()?,
        },
        Encoded::InstallSnapshot(install) => Body::InstallSnapshot { last: decode_id("last", install.last)? },
    })
}

pub(super) fn encode_id(id: EntryId) -> internal::EntryId {
    internal::EntryId { term: id.term.0, index: id.index.0 }
}

pub(super) fn decode_id(field: &'static str, id: Option<internal::EntryId>) -> Result<EntryId, Malformed> {
    let id = id.ok_or(Malformed::Missing(field))?;
    let id = EntryId::new(decode_term(field, id.term)?, decode_index(field, id.index)?);
    if (id.term == Term(0)) != (id.index == Index(0)) {
        return Err(Malformed::NoEntry { field, id });
    }
    Ok(id)
}

fn decode_term(field: &'static str, value: u64) -> Result<Term, Malformed> {
    decode_number(field, value).map(Term)
}

fn decode_index(field: &'static str, value: u64) -> Result<Index, Malformed> {
    decode_number(field, value).map(Index)
}

pub(super) fn decode_number(field: &'static str, value: u64) -> Result<u64, Malformed> {
    if value > NUMBER_MAX { Err(Malformed::NumberTooLarge { field, value }) } else { Ok(value) }
}

fn decode_fresh(fresh: internal::Fresh) -> Result<(OpaqueTime, Index), Malformed> {
    Ok((OpaqueTime(fresh.clock), decode_index("commit", fresh.commit)?))
}

fn encode_pace(pace: Pace) -> internal::Pace {
    // Half a million years fit.
    let micros = |duration: Duration| duration.as_micros() as u64;
    internal::Pace {
        interval: micros(pace.interval),
        round_trip: micros(pace.round_trip),
        election_timeout: micros(pace.election_timeout),
    }
}

/// Any numbers will do: whoever goes by them has bounds.
fn decode_pace(pace: internal::Pace) -> Pace {
    let [interval, round_trip, election_timeout] =
        [pace.interval, pace.round_trip, pace.election_timeout].map(Duration::from_micros);
    Pace { interval, round_trip, election_timeout }
}

fn encode_vote(last: EntryId, transfer: bool) -> internal::VoteRequest {
    internal::VoteRequest { last: Some(encode_id(last)), transfer }
}

fn encode_vote_reply(refusal: Option<VoteRefusal>) -> internal::VoteReply {
    let encoded = match refusal {
        None => internal::VoteRefusal::Unspecified,
        Some(VoteRefusal::StaleTerm) => internal::VoteRefusal::StaleTerm,
        Some(VoteRefusal::LeaderAlive) => internal::VoteRefusal::LeaderAlive,
        Some(VoteRefusal::AlreadyVoted) => internal::VoteRefusal::AlreadyVoted,
        Some(VoteRefusal::LogBehind) => internal::VoteRefusal::LogBehind,
    };
    internal::VoteReply { granted: refusal.is_none(), refusal: encoded.into() }
}

fn decode_vote_reply(reply: internal::VoteReply) -> Result<Option<VoteRefusal>, Malformed> {
    use internal::VoteRefusal as Encoded;
    match (reply.granted, Encoded::try_from(reply.refusal)) {
        (true, Ok(Encoded::Unspecified)) => Ok(None),
        (false, Ok(Encoded::StaleTerm)) => Ok(Some(VoteRefusal::StaleTerm)),
        (false, Ok(Encoded::LeaderAlive)) => Ok(Some(VoteRefusal::LeaderAlive)),
        (false, Ok(Encoded::AlreadyVoted)) => Ok(Some(VoteRefusal::AlreadyVoted)),
        (false, Ok(Encoded::LogBehind)) => Ok(Some(VoteRefusal::LogBehind)),
        _ => Err(Malformed::Vote { granted: reply.granted, refusal: reply.refusal }),
    }
}

fn decode_append_entries(leader: Term, append: internal::AppendEntries) -> Result<Body, Malformed> {
    let previous = decode_id("previous", append.previous)?;
    let commit = decode_index("commit", append.commit)?;
    if append.entries.len() > ENTRIES_MAX {
        return Err(Malformed::TooManyEntries(append.entries.len()));
    }
    let mut entries = Vec::with_capacity(append.entries.len());
    let mut before = previous;
    for entry in append.entries {
        let entry = decode_entry(leader, before, entry)?;
        before = entry.id;
        entries.push(entry);
    }
    Ok(Body::AppendEntries { previous, commit, entries, attempt: append.attempt })
}

fn encode_entry(entry: &Entry) -> internal::Entry {
    let (kind, payload) = payloads::encode_payload(&entry.payload);
    internal::Entry { term: entry.id.term.0, kind: kind.into(), payload }
}

/// `previous` is at most `NUMBER_MAX` before the first entry and there are few entries, so that counting on is safe.
fn decode_entry(leader: Term, previous: EntryId, entry: internal::Entry) -> Result<Entry, Malformed> {
    let id = EntryId::new(decode_term("term of an entry", entry.term)?, previous.index.next());
    if id.term == Term(0) || id.term < previous.term || id.term > leader {
        return Err(Malformed::TermOutOfOrder { id, previous, leader });
    }
    let kind = u8::try_from(entry.kind).map_err(|_| Malformed::Payload { id, why: format!("kind {}", entry.kind) })?;
    // A copy, because the bytes of a frame are one allocation: a short entry that stays in memory would keep all of it.
    let payload = payloads::decode_payload(kind, Bytes::copy_from_slice(&entry.payload))
        .map_err(|error| Malformed::Payload { id, why: error.to_string() })?;
    Ok(Entry { id, payload })
}

/// A part of a log as peers send it.
pub(super) fn encode_log_part(part: &LogPart) -> internal::ReadLogReply {
    internal::ReadLogReply {
        first_index: part.first.0,
        last_index: part.last.0,
        commit: part.commit.0,
        applied: part.applied.0,
        entries_from: part.entries.first().map_or(0, |entry| entry.id.index.0),
        entries: part.entries.iter().map(encode_entry).collect(),
    }
}

/// The part of a log that a peer sent.
///
/// # Errors
/// It is none: its entries are none, are too many, or do not follow each other.
pub(super) fn decode_log_part(reply: internal::ReadLogReply) -> Result<LogPart, Malformed> {
    if reply.entries.len() > LOG_ENTRIES_MAX as usize {
        return Err(Malformed::TooManyEntries(reply.entries.len()));
    }
    let from = decode_index("entries_from", reply.entries_from)?;
    let mut before = EntryId::new(Term(0), from.previous());
    let mut entries = Vec::with_capacity(reply.entries.len());
    for entry in reply.entries {
        let entry = decode_entry(Term(NUMBER_MAX), before, entry)?;
        before = entry.id;
        entries.push(entry);
    }
    Ok(LogPart {
        first: decode_index("first_index", reply.first_index)?,
        last: decode_index("last_index", reply.last_index)?,
        commit: decode_index("commit", reply.commit)?,
        applied: decode_index("applied", reply.applied)?,
        entries,
    })
}

fn encode_append_reply(reply: &AppendReply) -> internal::AppendReply {
    let result = match *reply {
        AppendReply::Accepted(id) => append_reply::Result::Accepted(encode_id(id)),
        AppendReply::Rejected { previous, hint, attempt } => append_reply::Result::Rejected(internal::AppendRejected {
            previous: Some(encode_id(previous)),
            hint: Some(encode_id(hint)),
            attempt,
        }),
    };
    internal::AppendReply { result: Some(result) }
}

fn decode_append_reply(reply: internal::AppendReply) -> Result<AppendReply, Malformed> {
    match reply.result.ok_or(Malformed::Missing("result"))? {
        append_reply::Result::Accepted(id) => Ok(AppendReply::Accepted(decode_id("accepted", Some(id))?)),
        append_reply::Result::Rejected(rejected) => Ok(AppendReply::Rejected {
            previous: decode_id("previous", rejected.previous)?,
            hint: decode_id("hint", rejected.hint)?,
            attempt: rejected.attempt,
        }),
    }
}

/// What is sent comes back equal, and whatever bytes arrive, decoding them ends in a message or a reason.
#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::ids::NodeId;
    use crate::raft::{CommitQuorum, Configuration, Learner, Payload};

    fn contact() -> impl Strategy<Value = Contact> {
        (1u64.., "[a-z]{1,9}", 1u64..9).prop_map(|(node, name, version)| Contact {
            node: NodeId(node),
            client_address: format!("{name}:7400"),
            peer_address: format!("{name}:7401"),
            name,
            version,
        })
    }

    fn configuration() -> impl Strategy<Value = Configuration> {
        let nodes = || prop::collection::btree_set((1u64..100).prop_map(NodeId), 0..5);
        (nodes(), nodes(), 100u64..200, any::<bool>()).prop_map(|(voters, voters_outgoing, learner, stay)| {
            let replaces = voters.first().copied();
            Configuration {
                voters: &voters | &std::collections::BTreeSet::from([NodeId(200)]),
                voters_outgoing,
                learners: [(NodeId(learner), Learner { stay, replaces })].into(),
                commit_quorum: if stay { CommitQuorum::Majority } else { CommitQuorum::HalfPlusOne },
            }
        })
    }

    fn payload() -> impl Strategy<Value = Payload> {
        prop_oneof![
            Just(Payload::Noop),
            prop::collection::vec(any::<u8>(), 1..50).prop_map(|bytes| Payload::Command(bytes.into())),
            (configuration(), prop::option::of(contact()))
                .prop_map(|(configuration, introduction)| Payload::Configuration { configuration, introduction }),
        ]
    }

    fn id() -> impl Strategy<Value = EntryId> {
        prop_oneof![
            Just(EntryId::default()),
            (1..=100u64, 1..NUMBER_MAX - 100).prop_map(|(term, index)| EntryId::new(Term(term), Index(index))),
        ]
    }

    fn append_entries() -> impl Strategy<Value = Body> {
        let steps = prop::collection::vec((0u64..3, payload()), 0..6);
        (id(), 0..NUMBER_MAX, any::<u64>(), steps).prop_map(|(previous, commit, attempt, steps)| {
            let mut last = previous;
            let mut next = |step: u64, payload| {
                last = EntryId::new(Term((last.term.0 + step).max(1)), last.index.next());
                Entry { id: last, payload }
            };
            let entries = steps.into_iter().map(|(step, payload)| next(step, payload)).collect();
            Body::AppendEntries { previous, commit: Index(commit), entries, attempt }
        })
    }

    fn refusal() -> impl Strategy<Value = Option<VoteRefusal>> {
        prop::option::of(prop_oneof![
            Just(VoteRefusal::StaleTerm),
            Just(VoteRefusal::LeaderAlive),
            Just(VoteRefusal::AlreadyVoted),
            Just(VoteRefusal::LogBehind),
        ])
    }

    fn index() -> impl Strategy<Value = Index> {
        (0..NUMBER_MAX).prop_map(Index)
    }

    fn heartbeat() -> impl Strategy<Value = Body> {
        let fresh = prop::option::of((any::<u64>().prop_map(OpaqueTime), index()));
        let pace = any::<[u64; 3]>().prop_map(|micros| {
            let [interval, round_trip, election_timeout] = micros.map(Duration::from_micros);
            Pace { interval, round_trip, election_timeout }
        });
        (index(), any::<u64>(), any::<u64>(), fresh, prop::option::of(pace)).prop_map(
            |(commit, sent_at, read_round, fresh, timing)| Body::Heartbeat {
                commit,
                sent_at: Time(sent_at),
                read_round,
                fresh,
                timing,
            },
        )
    }

    fn body() -> impl Strategy<Value = Body> {
        prop_oneof![
            id().prop_map(|last| Body::PreVote { last }),
            refusal().prop_map(|refusal| Body::PreVoteReply { refusal }),
            (id(), any::<bool>()).prop_map(|(last, transfer)| Body::RequestVote { last, transfer }),
            refusal().prop_map(|refusal| Body::RequestVoteReply { refusal }),
            append_entries(),
            id().prop_map(|id| Body::AppendReply(AppendReply::Accepted(id))),
            (id(), id(), any::<u64>()).prop_map(|(previous, hint, attempt)| {
                Body::AppendReply(AppendReply::Rejected { previous, hint, attempt })
            }),
            heartbeat(),
            (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(sent_at, read_round, clock)| {
                Body::HeartbeatReply { sent_at: Time(sent_at), read_round, clock: OpaqueTime(clock) }
            }),
            index().prop_map(|index| Body::Removed { index }),
            id().prop_map(|last| Body::TimeoutNow { last }),
            any::<u64>().prop_map(|context| Body::ReadIndex { context: ReadContext(context) }),
            (any::<u64>(), prop::option::of(id()))
                .prop_map(|(context, at)| Body::ReadIndexReply { context: ReadContext(context), at }),
        ]
    }

    fn trace() -> impl Strategy<Value = (Index, TraceContext)> {
        (0..NUMBER_MAX, 1u128.., 1u64..).prop_map(|(index, trace, span)| {
            (Index(index), TraceContext { trace_id: trace.to_be_bytes(), span_id: span.to_be_bytes() })
        })
    }

    proptest! {
        #[test]
        fn what_is_sent_comes_back_equal(
            shard: u64,
            term in 200..NUMBER_MAX,
            body in body(),
            traces in prop::collection::vec(trace(), 0..=TRACES_MAX),
            number: u64,
        ) {
            let (message, number) = (Message { term: Term(term), body }, NonZeroU64::new(number));
            let envelope = Envelope { shard: ShardId(shard), message, traces, number };
            let bytes = encode(&envelope).encode_to_vec();
            let received = internal::RaftMessage::decode(bytes.as_slice()).expect("protobuf decodes what it encoded");
            prop_assert_eq!(decode(received), Ok(envelope));
        }

        #[test]
        fn a_part_of_a_log_comes_back_equal(body in append_entries(), first in index(), last in index()) {
            let Body::AppendEntries { commit, entries, .. } = body else { panic!("another body") };
            let part = LogPart { first, last, commit, applied: commit, entries };
            let bytes = encode_log_part(&part).encode_to_vec();
            let received = internal::ReadLogReply::decode(bytes.as_slice()).expect("protobuf decodes what it encoded");
            prop_assert_eq!(decode_log_part(received), Ok(part));
        }

        #[test]
        fn garbage_is_a_message_or_a_reason(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(message) = internal::RaftMessage::decode(bytes.as_slice()) {
                let _ = decode(message);
            }
            if let Ok(reply) = internal::ReadLogReply::decode(bytes.as_slice()) {
                let _ = decode_log_part(reply);
            }
        }

        #[test]
        fn a_damaged_message_is_a_message_or_a_reason(body in body(), at: prop::sample::Index, with: u8) {
            let mut bytes = encode(&Envelope::new(ShardId(0), Message { term: Term(200), body })).encode_to_vec();
            *at.get_mut(&mut bytes) = with;
            if let Ok(message) = internal::RaftMessage::decode(bytes.as_slice()) {
                let _ = decode(message);
            }
        }
    }

    fn append(previous: (u64, u64), terms: &[u64]) -> internal::RaftMessage {
        let entries = terms.iter().map(|term| internal::Entry { term: *term, kind: 1, payload: Bytes::new() });
        let previous = Some(internal::EntryId { term: previous.0, index: previous.1 });
        let append = internal::AppendEntries { previous, commit: 0, entries: entries.collect(), attempt: 0 };
        let body = Some(raft_message::Body::AppendEntries(append));
        internal::RaftMessage { shard: 0, term: 9, body, ..Default::default() }
    }

    #[test]
    fn a_part_of_a_log_has_its_entries_in_order_and_not_too_many() {
        let entry = |term| internal::Entry { term, kind: 1, payload: Bytes::new() };
        let part = |entries| internal::ReadLogReply { entries_from: 5, entries, ..Default::default() };
        let many = decode_log_part(part(vec![entry(1); LOG_ENTRIES_MAX as usize + 1]));
        assert!(matches!(many, Err(Malformed::TooManyEntries(1001))), "{many:?}");
        let falling = decode_log_part(part(vec![entry(3), entry(2)]));
        assert!(matches!(falling, Err(Malformed::TermOutOfOrder { .. })), "{falling:?}");
        let huge = decode_log_part(internal::ReadLogReply { entries_from: u64::MAX, ..Default::default() });
        assert!(matches!(huge, Err(Malformed::NumberTooLarge { .. })), "{huge:?}");
    }

    #[test]
    fn entries_follow_previous_without_a_gap() {
        let Envelope { message, .. } = decode(append((2, 7), &[2, 3, 9])).expect("well formed");
        let Body::AppendEntries { entries, .. } = message.body else { panic!("another body: {message:?}") };
        let ids: Vec<String> = entries.iter().map(|entry| entry.id.to_string()).collect();
        assert_eq!(ids, ["8@2", "9@3", "10@9"]);
    }

    #[test]
    fn what_cannot_be_true_is_named() {
        let reason = |message| decode(message).expect_err("malformed").to_string();
        let of_body = |body| reason(internal::RaftMessage { shard: 0, term: 1, body, ..Default::default() });
        assert_eq!(of_body(None), "body is missing");
        assert_eq!(of_body(Some(raft_message::Body::PreVote(internal::VoteRequest::default()))), "last is missing");
        assert!(reason(append((9, u64::MAX), &[9])).starts_with("previous is 18446744073709551615"));
        assert!(reason(append((0, 7), &[])).contains("neither term 0 nor index 0"));
        assert!(reason(append((3, 7), &[2])).contains("does not fit"), "terms go down");
        assert!(reason(append((3, 7), &[10])).contains("does not fit"), "above the leader's term");
        assert!(reason(append((0, 0), &[0])).contains("does not fit"), "term 0");
        assert_eq!(
            reason(append((0, 0), &vec![1; ENTRIES_MAX + 1])),
            Malformed::TooManyEntries(ENTRIES_MAX + 1).to_string()
        );
    }

    #[test]
    fn of_the_traces_only_what_says_something_is_taken_and_not_too_many() {
        let trace = |trace_id: &[u8], span_id: &[u8]| internal::EntryTrace {
            index: 7,
            trace_id: Bytes::copy_from_slice(trace_id),
            span_id: Bytes::copy_from_slice(span_id),
        };
        let good = trace(&[1; 16], &[2; 8]);
        let mut traces = vec![trace(&[0; 16], &[2; 8]), trace(&[1; 15], &[2; 8]), trace(&[1; 16], &[]), good.clone()];
        assert_eq!(decode_traces(traces.clone()), [(Index(7), TraceContext { trace_id: [1; 16], span_id: [2; 8] })]);
        traces = vec![good; 1000];
        assert_eq!(decode_traces(traces).len(), TRACES_MAX);
    }

    #[test]
    fn a_vote_is_either_granted_or_refused() {
        for (granted, refusal) in [(true, 1), (false, 0), (false, 99), (true, -1)] {
            assert!(decode_vote_reply(internal::VoteReply { granted, refusal }).is_err());
        }
    }
}
