//! What a replica cannot tell of a request: that it was received and routed, and that it was refused.

use std::collections::BTreeSet;

use super::tell::{ENTRIES, count};
use crate::ids::ShardId;
use crate::state_machine::Operation;

/// A request has come in, and can be right.
pub fn received(operations: &[Operation]) {
    if tracing::enabled!(target: ENTRIES, tracing::Level::INFO) {
        tracing::info!(target: ENTRIES, event = "received", "received {}", summary(operations));
    }
}

/// A request goes to this node's replica of its shard. One that does not lead says next where it sends the client.
pub fn routed(shard: ShardId, leads: bool) {
    let role = if leads { "leads" } else { "does not lead" };
    tracing::info!(target: ENTRIES, event = "routed", "routed the request to its replica of shard {shard}, which {role}");
}

/// A call is passed on to the leader, because its client asks for that.
pub fn forwarded(rpc: &str, leader: &str, address: &str) {
    let method = rpc.rsplit('/').next().unwrap_or(rpc);
    tracing::info!(target: ENTRIES, event = "forwarded", "forwards {method} to {leader} at {address}, which leads");
}

/// A request is not carried out.
pub fn refused(reason: &str, message: &str) {
    tracing::info!(target: ENTRIES, event = "refused", reason, "refused a request with {reason}: {message}");
}

/// How often each verb, in the order in which they first come, and on how many queues: "2 Enqueue, 1 Dequeue on 1 queue".
fn summary(operations: &[Operation]) -> String {
    let mut verbs: Vec<(&str, usize)> = Vec::new();
    let mut queues = BTreeSet::new();
    for operation in operations {
        let (verb, queue) = verb_and_queue(operation);
        queues.extend(queue);
        match verbs.iter_mut().find(|(known, _)| *known == verb) {
            Some((_, times)) => *times += 1,
            None => verbs.push((verb, 1)),
        }
    }
    let verbs: Vec<String> = verbs.into_iter().map(|(verb, times)| format!("{times} {verb}")).collect();
    let on = if queues.is_empty() { String::new() } else { format!(" on {}", count(queues.len(), "queue")) };
    format!("{}{on}", verbs.join(", "))
}

pub(super) fn verb_and_queue(operation: &Operation) -> (&'static str, Option<&str>) {
    match operation {
        Operation::OpenSession => ("OpenSession", None),
        Operation::CloseSession => ("CloseSession", None),
        Operation::Enqueue { queue, .. } => ("Enqueue", Some(queue.as_str())),
        Operation::Dequeue { queue, .. } => ("Dequeue", Some(queue.as_str())),
        Operation::Lease { queue, .. } => ("Lease", Some(queue.as_str())),
        Operation::Settle { queue, .. } => ("Settle", Some(queue.as_str())),
        Operation::ExtendLease { queue, .. } => ("ExtendLease", Some(queue.as_str())),
        Operation::Redrive { queue, .. } => ("Redrive", Some(queue.as_str())),
        Operation::SetQueue { queue, .. } => ("SetQueue", Some(queue.as_str())),
        Operation::Peek { queue, .. } => ("Peek", Some(queue.as_str())),
        Operation::ListQueues { .. } => ("ListQueues", None),
        Operation::Stats { queue } => ("Stats", queue.as_ref().map(|queue| queue.as_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_in_a_few_words() {
        let queue = || "q".parse().expect("a good name");
        let peek = || Operation::Peek {
            queue: queue(),
            limit: 1,
            state: crate::state_machine::MessageState::Ready,
            after: None,
        };
        let dequeue = Operation::Dequeue { queue: "other".parse().expect("a good name"), wait: false };
        assert_eq!(summary(&[peek(), dequeue, peek()]), "2 Peek, 1 Dequeue on 2 queues");
        assert_eq!(summary(&[peek()]), "1 Peek on 1 queue");
        assert_eq!(summary(&[Operation::OpenSession]), "1 OpenSession");
    }
}
