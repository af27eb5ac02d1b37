//! An entry of the log, as the page shows it. Pure, but for the key of the digests of what is masked.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;

use crate::ids::{Index, NodeId};
use crate::raft::{Configuration, Entry, Payload};
use crate::state_machine::{Body, Chosen, Command, LeaseToken, Message, MessageId, Operation, QueueName, Settlement};
use crate::storage::codec::encode_payload;

/// What is shown of one body, or of all headers of a message, in bytes. The rest is left out.
const CONTENT_BYTES_MAX: usize = 16 << 10;

/// Settlements of one operation that are shown one by one.
const SETTLEMENTS_MAX: usize = 10;

/// The key of the digests of what is masked, of this process alone. Whoever has it could try bodies until one fits. Entries that are
/// compared are shown by one node, so that equal ones have equal digests all the same.
static MASK: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// How entries are to be shown.
pub(super) struct Show<'a> {
    /// Bodies and headers too.
    pub(super) content: bool,
    pub(super) commit: Index,
    pub(super) applied: Index,
    /// What people call a node.
    pub(super) name_of: &'a (dyn Fn(NodeId) -> String + Sync),
}

/// An entry, for the page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Shown {
    pub(super) index: u64,
    term: u64,
    kind: &'static str,
    committed: bool,
    applied: bool,
    size: usize,
    /// Of all that it carries, in hexadecimal digits: CRC32C; with a key where content is masked.
    digest: String,
    session: Option<String>,
    sequence: Option<u64>,
    time: Option<u64>,
    trace: Option<String>,
    operations: Vec<ShownOperation>,
    voters: Vec<String>,
    outgoing: Vec<String>,
    learners: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct ShownOperation {
    verb: &'static str,
    queue: Option<String>,
    text: Option<String>,
    bytes: Option<usize>,
    data: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    more: Option<String>,
}

/// What is looked for. Empty: anything.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    /// In lower case.
    pub(super) text: String,
    pub(super) kind: String,
    pub(super) queue: String,
}

impl Show<'_> {
    /// Shows an entry. One that cannot be decoded is of the kind `unknown`.
    pub(super) fn entry(&self, entry: &Entry) -> Shown {
        let (kind, bytes) = encode_payload(&entry.payload);
        let digest = if self.content {
            crc32c::crc32c_append(crc32c::crc32c(&[kind]), &bytes)
        } else {
            MASK.hash_one((kind, &bytes[..])) as u32
        };
        let index = entry.id.index;
        let shown = Shown {
            index: index.0,
            term: entry.id.term.0,
            committed: index <= self.commit,
            applied: index <= self.applied,
            size: bytes.len(),
            digest: format!("{digest:08x}"),
            ..Shown::default()
        };
        match &entry.payload {
            Payload::Noop => Shown { kind: "noop", ..shown },
            Payload::Configuration { configuration, .. } => self.configuration(configuration, shown),
            Payload::Command(bytes) => match Command::decode(bytes) {
                Ok(command) => self.command(command, shown),
                Err(_) => Shown { kind: "unknown", ..shown },
            },
        }
    }

    fn configuration(&self, configuration: &Configuration, shown: Shown) -> Shown {
        let names = |nodes: &mut dyn Iterator<Item = &NodeId>| nodes.map(|node| (self.name_of)(*node)).collect();
        Shown {
            kind: "configuration",
            voters: names(&mut configuration.voters.iter()),
            outgoing: names(&mut configuration.voters_outgoing.iter()),
            learners: names(&mut configuration.learners.keys()),
            ..shown
        }
    }

    fn command(&self, command: Command, shown: Shown) -> Shown {
        let trace = command.operations.iter().find_map(|operation| match operation {
            Operation::Enqueue { message, .. } => trace_id(message.headers.get("traceparent")?),
            _ => None,
        });
        Shown {
            kind: if command.expiry { "expiry" } else { "command" },
            session: command.session.map(|session| session.id.to_string()),
            sequence: command.session.map(|session| session.sequence.0),
            time: Some(command.timestamp.0),
            trace: trace.filter(|_| self.content),
            operations: command.operations.iter().map(|operation| self.operation(operation)).collect(),
            ..shown
        }
    }

    fn operation(&self, operation: &Operation) -> ShownOperation {
        let verb = |verb| ShownOperation { verb, ..ShownOperation::default() };
        let of = |name, queue: &QueueName| ShownOperation { queue: Some(queue.to_string()), ..verb(name) };
        match operation {
            Operation::OpenSession => verb("open session"),
            Operation::CloseSession => verb("close session"),
            Operation::Enqueue { queue, message, delay } => {
                let shown = self.message(message, of("enqueue", queue));
                ShownOperation { more: shown.more.or(delayed(*delay)), ..shown }
            }
            Operation::Dequeue { queue, .. } => of("dequeue", queue),
            Operation::Lease { queue, limit, duration, .. } => {
                let messages = if *limit == 1 { "one message".to_owned() } else { format!("up to {limit} messages") };
                let time = lasting(*duration).map(|time| format!(" for {time}")).unwrap_or_default();
                ShownOperation { more: Some(format!("{messages}{time}")), ..of("lease", queue) }
            }
            Operation::Settle { queue, settlements, .. } => {
                let each = settlements.iter().take(SETTLEMENTS_MAX).map(|(token, how)| self.settlement(token, how));
                let rest = settlements.len().saturating_sub(SETTLEMENTS_MAX);
                let rest = (rest > 0).then(|| format!("{rest} more"));
                let more = each.chain(rest).collect::<Vec<_>>().join(", ");
                ShownOperation { more: Some(more), ..of("settle", queue) }
            }
            Operation::ExtendLease { queue, tokens, duration } => {
                let time = lasting(*duration).map(|time| format!(" by {time}")).unwrap_or_default();
                ShownOperation { more: Some(format!("{} leases{time}", tokens.len())), ..of("extend lease", queue) }
            }
            Operation::Redrive { queue, limit } => {
                ShownOperation { more: Some(format!("up to {limit} messages")), ..of("redrive", queue) }
            }
            Operation::SetQueue { queue, chosen } => {
                ShownOperation { more: Some(in_words(chosen)), ..of("set queue", queue) }
            }
            Operation::Peek { queue, .. } => of("peek", queue),
            Operation::ListQueues { .. } => verb("list queues"),
            Operation::Stats { queue: Some(queue) } => of("stats", queue),
            Operation::Stats { queue: None } => verb("stats"),
        }
    }

    /// What becomes of a message. Why it is rejected is somebody's text, like its body.
    fn settlement(&self, token: &LeaseToken, how: &Settlement) -> String {
        let MessageId { index, item } = token.message;
        match how {
            Settlement::Ack => format!("ack {index}/{item}"),
            Settlement::Release { delay } if delay.is_zero() => format!("release {index}/{item}"),
            Settlement::Release { delay } => {
                format!("release {index}/{item} in {}", humantime::format_duration(*delay))
            }
            Settlement::Reject { reason } if self.content => format!("reject {index}/{item}: {reason}"),
            Settlement::Reject { .. } => format!("reject {index}/{item}"),
        }
    }

    fn message(&self, message: &Message, shown: ShownOperation) -> ShownOperation {
        let bytes = Some(message.body.bytes());
        if !self.content {
            return ShownOperation { bytes, ..shown };
        }
        let Content { text, data, is_whole } = Content::of(&message.body);
        let headers = Some(message.headers.clone()).filter(|headers| !headers.is_empty());
        let more = (!is_whole).then(|| format!("the first {} KiB of it", CONTENT_BYTES_MAX >> 10));
        ShownOperation { bytes, text, data, headers, more, ..shown }
    }
}

/// What is shown of a body.
pub(super) struct Content {
    text: Option<String>,
    /// Base64.
    data: Option<String>,
    is_whole: bool,
}

impl Content {
    /// As text, or in base64.
    pub(super) fn parts(self) -> (Option<String>, Option<String>) {
        (self.text, self.data)
    }

    pub(super) fn of(body: &Body) -> Self {
        let is_whole = body.bytes() <= CONTENT_BYTES_MAX;
        match body {
            Body::Text(text) => {
                let end = text.floor_char_boundary(CONTENT_BYTES_MAX);
                Self { text: Some(text[..end].to_owned()), data: None, is_whole }
            }
            Body::Data(data) => {
                let end = data.len().min(CONTENT_BYTES_MAX);
                Self { text: None, data: Some(BASE64.encode(&data[..end])), is_whole }
            }
        }
    }
}

impl Shown {
    /// About how long it is as JSON, at least.
    pub(super) fn bytes(&self) -> usize {
        const AROUND: usize = 256;
        let long = |operation: &ShownOperation| {
            let headers = operation.headers.iter().flatten().map(|(key, value)| key.len() + value.len());
            let texts = [&operation.text, &operation.data].into_iter().flatten().map(String::len);
            AROUND + headers.sum::<usize>() + texts.sum::<usize>()
        };
        AROUND + self.operations.iter().map(long).sum::<usize>()
    }
}

impl Filter {
    /// Whether an entry, as it is shown, is one of those that are looked for. What is masked cannot be found.
    pub(super) fn admits(&self, shown: &Shown) -> bool {
        let has_queue = |operation: &ShownOperation| operation.queue.as_deref() == Some(&self.queue);
        (self.kind.is_empty() || self.kind == shown.kind)
            && (self.queue.is_empty() || shown.operations.iter().any(has_queue))
            && (self.text.is_empty() || self.is_in(shown))
    }

    fn is_in(&self, shown: &Shown) -> bool {
        let found = |text: &str| text.to_lowercase().contains(&self.text);
        let in_option = |text: &Option<String>| text.as_deref().is_some_and(found);
        let in_headers =
            |headers: &BTreeMap<String, String>| headers.iter().any(|(key, value)| found(key) || found(value));
        let in_operation = |operation: &ShownOperation| {
            found(operation.verb)
                || in_option(&operation.queue)
                || in_option(&operation.text)
                || in_option(&operation.more)
                || operation.headers.as_ref().is_some_and(in_headers)
        };
        in_option(&shown.session)
            || in_option(&shown.trace)
            || found(&shown.digest)
            || shown.operations.iter().any(in_operation)
            || [&shown.voters, &shown.outgoing, &shown.learners].into_iter().flatten().any(|name| found(name))
    }
}

fn delayed(delay: Duration) -> Option<String> {
    lasting(delay).map(|delay| format!("in {delay}"))
}

/// A time; none: it is not said.
fn lasting(time: Duration) -> Option<String> {
    (!time.is_zero()).then(|| humantime::format_duration(time).to_string())
}

fn in_words(chosen: &Chosen) -> String {
    let lease = chosen.lease_duration.map(|time| format!("a lease lasts {}", humantime::format_duration(time)));
    let deliveries = chosen.deliveries_max.map(|most| format!("up to {most} deliveries"));
    let messages = chosen.messages_max.map(|most| format!("up to {most} messages"));
    [lease, deliveries, messages].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The trace of a `traceparent` of W3C Trace Context; none: it is no good one.
fn trace_id(traceparent: &str) -> Option<String> {
    let mut parts = traceparent.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let is_hex = |text: &str, digits| text.len() == digits && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let is_good = is_hex(version, 2) && is_hex(trace, 32) && trace.bytes().any(|digit| digit != b'0');
    is_good.then(|| trace.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ids::{EntryId, Sequence, SessionId, Term, Timestamp};
    use crate::raft::CommitQuorum;
    use crate::state_machine::SessionRequest;

    fn show(content: bool) -> Show<'static> {
        Show { content, commit: Index(7), applied: Index(6), name_of: &|node| format!("n{}", node.0) }
    }

    fn entry(index: u64, payload: Payload) -> Entry {
        Entry { id: EntryId::new(Term(2), Index(index)), payload }
    }

    fn enqueue(body: Body, headers: &[(&str, &str)]) -> Payload {
        let headers = headers.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let queue = "orders".parse().unwrap();
        let session = SessionRequest { id: SessionId(5), sequence: Sequence(3), lowest_pending: Sequence(3) };
        let operations = vec![Operation::Enqueue { queue, message: Message { body, headers }, delay: Duration::ZERO }];
        let command = Command { session: Some(session), timestamp: Timestamp(9), operations, expiry: false };
        Payload::Command(command.encode())
    }

    #[test]
    fn an_entry_is_shown_with_what_it_carries() {
        let trace = "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let shown = show(true).entry(&entry(7, enqueue(Body::Text("Pizza".into()), &[("traceparent", trace)])));
        assert_eq!(
            (shown.index, shown.term, shown.kind, shown.committed, shown.applied),
            (7, 2, "command", true, false)
        );
        assert_eq!((shown.session.as_deref(), shown.sequence, shown.time), (Some("5"), Some(3), Some(9)));
        assert_eq!(shown.trace.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
        let operation = &shown.operations[0];
        assert_eq!((operation.verb, operation.queue.as_deref()), ("enqueue", Some("orders")));
        assert_eq!(
            (operation.text.as_deref(), operation.bytes, operation.data.as_deref()),
            (Some("Pizza"), Some(5), None)
        );
        assert_eq!(operation.headers.as_ref().unwrap()["traceparent"], trace);
        let data = show(true).entry(&entry(8, enqueue(Body::Data(Bytes::from_static(&[0, 255])), &[])));
        assert!(!data.committed);
        assert_eq!((data.operations[0].data.as_deref(), &data.operations[0].text), (Some("AP8="), &None));
        let mut voters = Configuration::of_one(NodeId(1), CommitQuorum::Majority);
        voters.voters.insert(NodeId(2));
        let shown = show(true).entry(&entry(1, Payload::Configuration { configuration: voters, introduction: None }));
        assert_eq!((shown.kind, shown.voters), ("configuration", vec!["n1".to_owned(), "n2".to_owned()]));
        assert_eq!(show(true).entry(&entry(1, Payload::Noop)).kind, "noop");
        assert_eq!(show(true).entry(&entry(1, Payload::Command(Bytes::from_static(b"\xff\xff")))).kind, "unknown");
    }

    /// Neither what is shown, nor what is found, tells of it; but nodes can still be compared.
    #[test]
    fn what_is_masked_is_nowhere() {
        let secret = enqueue(
            Body::Text("S3cret".into()),
            &[("k3y", "v4lue"), ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")],
        );
        let masked = show(false).entry(&entry(7, secret.clone()));
        let json = serde_json::to_string(&masked).unwrap();
        for hidden in ["S3cret", "k3y", "v4lue", "0af7651916cd"] {
            assert!(!json.contains(hidden), "{json}");
            let filter = Filter { text: hidden.to_lowercase(), ..Filter::default() };
            assert!(!filter.admits(&masked) && filter.admits(&show(true).entry(&entry(7, secret.clone()))), "{hidden}");
        }
        assert_eq!((masked.operations[0].bytes, masked.size > 6), (Some(6), true));
        assert_eq!(masked.digest, show(false).entry(&entry(7, secret.clone())).digest);
        let known = show(true).entry(&entry(7, secret)).digest;
        assert_ne!(masked.digest, known, "whoever guesses a body could tell whether it is the one");
        let other = show(false).entry(&entry(7, enqueue(Body::Text("S3creT".into()), &[])));
        assert_ne!(masked.digest, other.digest);
    }

    #[test]
    fn a_long_body_is_cut_at_a_character() {
        let long = format!("x{}", "ä".repeat(CONTENT_BYTES_MAX));
        let shown = show(true).entry(&entry(7, enqueue(Body::Text(long.clone()), &[])));
        let operation = &shown.operations[0];
        assert_eq!(operation.text.as_ref().unwrap().len(), CONTENT_BYTES_MAX - 1);
        assert_eq!((operation.bytes, operation.more.as_deref()), (Some(long.len()), Some("the first 16 KiB of it")));
    }

    #[test]
    fn entries_are_found_by_kind_queue_and_text() {
        let shown = show(true).entry(&entry(7, enqueue(Body::Text("One PIZZA".into()), &[("Kind", "Fast")])));
        let admits = |kind: &str, queue: &str, text: &str| {
            Filter { kind: kind.into(), queue: queue.into(), text: text.into() }.admits(&shown)
        };
        assert!(
            admits("", "", "")
                && admits("command", "orders", "pizza")
                && admits("", "", "fast")
                && admits("", "", "enqu")
        );
        assert!(!admits("noop", "", "") && !admits("", "order", "") && !admits("", "", "soup"));
    }

    #[test]
    fn a_trace_is_one_only_if_it_is_well_formed() {
        for wrong in [
            "",
            "00",
            "00-1-2-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "zz-0af7651916cd43dd8448eb211c80319c-1-1",
        ] {
            assert_eq!(trace_id(wrong), None, "{wrong}");
        }
    }
}
