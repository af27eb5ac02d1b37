//! What is in the queues, as far as the node has applied the log: every member tells the same, a little later than the leader.
//!
//! What has happened to messages is told by a node once it has applied what was committed when it started. Before that its state is
//! that of its last snapshot, or that of a member who knows nothing: to whoever scrapes, a counter that went back and came again is
//! one that has counted everything anew.
//!
//! Totals are always told. Single queues are told as far as [`Listing`](crate::telemetry::Listing) goes, so that the number of
//! series has a bound, however many queues there are.

use std::time::Duration;

use opentelemetry::KeyValue;

use super::Look::{Gauge, Seconds, Total};
use super::{Observed, Seen, whole};
use crate::state_machine::{Contents, Counts};
use crate::telemetry::metrics::figures::Queues;

const QUEUE: &str = "quorate.queue";
const STATE: &str = "quorate.message.state";
const EVENT: &str = "quorate.message.event";

pub(super) const ALL: &[Observed] = &[
    Observed::new(
        "quorate.queues",
        "{queue}",
        &[],
        "Queues, empty ones included",
        Gauge(|seen, tell| {
            if let Some(queues) = queues(seen) {
                tell(whole(queues.totals.queues), &[]);
            }
        }),
    ),
    Observed::new(
        "quorate.messages",
        "{message}",
        &[STATE],
        "Messages in all queues, by what may happen to them",
        Gauge(|seen, tell| {
            for (state, count) in queues(seen).into_iter().flat_map(|queues| states(&queues.totals.contents)) {
                tell(whole(count), &[KeyValue::new(STATE, state)]);
            }
        }),
    ),
    Observed::new(
        "quorate.messages.size",
        "By",
        &[],
        "Bodies and headers of the messages in all queues",
        Gauge(|seen, tell| {
            if let Some(queues) = queues(seen) {
                tell(whole(queues.totals.contents.bytes), &[]);
            }
        }),
    ),
    Observed::new(
        "quorate.messages.oldest.age",
        "s",
        &[],
        "How long ago, by the clock of the node, the oldest of the messages that can be taken was enqueued; 0: there is \
         none",
        Seconds(|seen, tell| {
            if let Some(queues) = queues(seen) {
                tell(seconds(queues.oldest), &[]);
            }
        }),
    ),
    Observed::new(
        "quorate.messages.events",
        "{message}",
        &[EVENT],
        "What has happened to the messages of the queues that there are; told from when the node has applied \
         what was committed when it started",
        Total(|seen, tell| {
            for (event, count) in counted(seen).into_iter().flat_map(|queues| events(&queues.totals.counts)) {
                tell(count, &[KeyValue::new(EVENT, event)]);
            }
        }),
    ),
    Observed::new(
        "quorate.sessions",
        "{session}",
        &[],
        "Open sessions",
        Gauge(|seen, tell| {
            if let Some(queues) = queues(seen) {
                tell(whole(queues.totals.sessions), &[]);
            }
        }),
    ),
    Observed::new(
        "quorate.queue.messages",
        "{message}",
        &[QUEUE, STATE],
        "Messages in one queue",
        Gauge(|seen, tell| {
            for queue in queues(seen).iter().flat_map(|queues| &queues.listed) {
                for (state, count) in states(&queue.contents) {
                    let of_queue = KeyValue::new(QUEUE, queue.name.to_string());
                    tell(whole(count), &[of_queue, KeyValue::new(STATE, state)]);
                }
            }
        }),
    ),
    Observed::new(
        "quorate.queue.size",
        "By",
        &[QUEUE],
        "Bodies and headers of the messages in one queue",
        Gauge(|seen, tell| {
            for queue in queues(seen).iter().flat_map(|queues| &queues.listed) {
                tell(whole(queue.contents.bytes), &[KeyValue::new(QUEUE, queue.name.to_string())]);
            }
        }),
    ),
    Observed::new(
        "quorate.queue.oldest.age",
        "s",
        &[QUEUE],
        "How long ago, by the clock of the node, the first message of a queue that can be taken was enqueued; 0: there is \
         none",
        Seconds(|seen, tell| {
            let Some(queues) = queues(seen) else { return };
            for queue in &queues.listed {
                let age = queue.oldest.map(|oldest| queues.age(oldest));
                tell(seconds(age), &[KeyValue::new(QUEUE, queue.name.to_string())]);
            }
        }),
    ),
    Observed::new(
        "quorate.queue.events",
        "{message}",
        &[QUEUE, EVENT],
        "What has happened to the messages of one queue; told as those of all queues are",
        Total(|seen, tell| {
            for queue in counted(seen).iter().flat_map(|queues| &queues.listed) {
                for (event, count) in events(&queue.counts) {
                    let of_queue = KeyValue::new(QUEUE, queue.name.to_string());
                    tell(count, &[of_queue, KeyValue::new(EVENT, event)]);
                }
            }
        }),
    ),
];

fn queues(seen: &Seen) -> Option<&Queues> {
    seen.node.as_ref()?.queues.as_ref()
}

/// The same, if what has been counted in them does not go back.
fn counted(seen: &Seen) -> Option<&Queues> {
    queues(seen).filter(|_| seen.node.as_ref().is_some_and(|figures| figures.counts_stand))
}

fn states(contents: &Contents) -> [(&'static str, u64); 4] {
    let Contents { ready, leased, delayed, dead, bytes: _ } = contents;
    [("ready", *ready), ("leased", *leased), ("delayed", *delayed), ("dead", *dead)]
}

fn events(counts: &Counts) -> [(&'static str, u64); 5] {
    let Counts { enqueued, dequeued, acknowledged, redelivered, dead_lettered } = counts;
    [
        ("enqueued", *enqueued),
        ("dequeued", *dequeued),
        ("acknowledged", *acknowledged),
        ("redelivered", *redelivered),
        ("dead_lettered", *dead_lettered),
    ]
}

fn seconds(age: Option<Duration>) -> f64 {
    age.unwrap_or_default().as_secs_f64()
}
