//! The state machine against a naive twin, with random commands: the twin keeps everything in vectors, copies its whole state
//! before each command, and throws the copy away when the command is refused.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::ids::{Index, Sequence, SessionId, Timestamp};

pub(super) const LIMITS: Limits = Limits {
    queue_messages_max: 4,
    queues_max: 2,
    sessions_max: 2,
    session_outcomes_max: 3,
    session_time_to_live: Duration::from_millis(5),
    answer_bytes_max: 120,
};

#[derive(Clone, Default)]
pub(super) struct Twin {
    now: u64,
    pub(super) queues: Vec<TwinQueue>,
    pub(super) sessions: Vec<TwinSession>,
}

#[derive(Clone)]
pub(super) struct TwinQueue {
    name: QueueName,
    /// In whatever state, in the order in which they were enqueued.
    pub(super) messages: Vec<TwinMessage>,
    counts: Counts,
    /// As in `Chosen`, with 0 where nothing is chosen.
    chosen: (u64, u64, u64),
}

#[derive(Clone)]
pub(super) struct TwinMessage {
    pub(super) id: MessageId,
    pub(super) bytes: u64,
    enqueued_at: u64,
    deliveries: u32,
    standing: Standing,
    /// The lease that it is or was under.
    lease: Option<LeaseId>,
}

impl TwinMessage {
    fn given(&self) -> Given {
        let (deliveries, standing) = (self.deliveries, self.standing.clone());
        Given { id: self.id, enqueued_at: Timestamp(self.enqueued_at), deliveries, standing }
    }

    fn is(&self, state: MessageState) -> bool {
        let own = match self.standing {
            Standing::Ready => MessageState::Ready,
            Standing::Leased { .. } => MessageState::Leased,
            Standing::Delayed { .. } => MessageState::Delayed,
            Standing::Dead { .. } => MessageState::Dead,
        };
        own == state
    }

    fn due(&self) -> Option<Timestamp> {
        match self.standing {
            Standing::Leased { until } | Standing::Delayed { until } => Some(until),
            Standing::Ready | Standing::Dead { .. } => None,
        }
    }
}

impl TwinQueue {
    fn count(&self, state: MessageState) -> u64 {
        self.messages.iter().filter(|it| it.is(state)).count() as u64
    }

    fn contents(&self) -> Contents {
        Contents {
            ready: self.count(MessageState::Ready),
            leased: self.count(MessageState::Leased),
            delayed: self.count(MessageState::Delayed),
            dead: self.count(MessageState::Dead),
            bytes: self.messages.iter().map(|it| it.bytes).sum(),
        }
    }

    fn oldest(&self) -> Option<Timestamp> {
        self.messages.iter().find(|it| it.is(MessageState::Ready)).map(|it| Timestamp(it.enqueued_at))
    }

    fn settings(&self) -> Settings {
        let chosen = |number: u64| Some(number).filter(|number| *number > 0);
        let (lease, deliveries, messages) = self.chosen;
        Settings {
            lease_duration: Duration::from_millis(chosen(lease).unwrap_or(30_000)),
            deliveries_max: chosen(deliveries).unwrap_or(20) as u32,
            messages_max: chosen(messages).unwrap_or(u64::MAX).min(LIMITS.queue_messages_max),
        }
    }

    /// The message is with nobody any more, and was not acknowledged.
    fn give_back(&mut self, at: usize, now: u64, delay: u64) {
        if self.messages[at].deliveries >= self.settings().deliveries_max {
            return self.bury(at, now, DeadReason::Unacknowledged);
        }
        self.messages[at].standing = match delay {
            0 => Standing::Ready,
            delay => Standing::Delayed { until: Timestamp(now + delay) },
        };
    }

    fn bury(&mut self, at: usize, now: u64, reason: DeadReason) {
        self.messages[at].standing = Standing::Dead { since: Timestamp(now), reason };
        self.counts.dead_lettered += 1;
    }

    /// Where the message is that is leased under this token.
    fn leased(&self, token: &LeaseToken, now: u64) -> Option<usize> {
        let is_meant = |it: &TwinMessage| {
            let is_open = matches!(it.standing, Standing::Leased { until } if until.0 > now);
            is_open && it.id == token.message && it.lease == Some(token.lease)
        };
        self.messages.iter().position(is_meant)
    }

    fn expire(&mut self, now: u64) {
        for at in 0..self.messages.len() {
            match self.messages[at].standing {
                Standing::Leased { until } if until.0 <= now => self.give_back(at, now, 0),
                Standing::Delayed { until } if until.0 <= now => self.messages[at].standing = Standing::Ready,
                _ => {}
            }
        }
    }
}

#[derive(Clone)]
pub(super) struct TwinSession {
    id: SessionId,
    last_used: u64,
    lowest_pending: Sequence,
    pub(super) decided: Vec<(Sequence, Decision)>,
}

impl Twin {
    pub(super) fn apply(&mut self, index: Index, command: &Command) -> Applied {
        self.now = self.now.max(command.timestamp.0);
        let ttl = LIMITS.session_time_to_live.as_millis() as u64;
        if command.expiry {
            let now = self.now;
            self.sessions.retain(|session| session.last_used + ttl > now);
            let is_due = |queue: &TwinQueue| queue.messages.iter().any(|it| it.due().is_some_and(|due| due.0 <= now));
            let mut filled: Vec<QueueName> =
                self.queues.iter().filter(|queue| is_due(queue)).map(|queue| queue.name.clone()).collect();
            self.queues.iter_mut().for_each(|queue| queue.expire(now));
            filled.retain(|name| self.ready_in(name) > 0);
            filled.sort();
            return Applied { decision: Decision::Executed { index, replayed: false, outcomes: vec![] }, filled };
        }
        if let Some(request) = command.session
            && let Some(known) = self.look_up(request)
        {
            return known.into();
        }
        if let [Operation::Dequeue { queue, wait: true } | Operation::Lease { queue, wait: true, .. }] =
            &command.operations[..]
            && self.ready_in(queue) == 0
        {
            return Decision::Waiting.into();
        }
        let applied = self.execute(index, command);
        let changes = |operation: &Operation| match operation {
            Operation::Peek { .. } | Operation::ListQueues { .. } | Operation::Stats { .. } => false,
            Operation::OpenSession | Operation::CloseSession => true,
            Operation::Enqueue { .. } | Operation::Dequeue { .. } | Operation::Lease { .. } => true,
            Operation::Settle { .. } | Operation::ExtendLease { .. } => true,
            Operation::Redrive { .. } | Operation::SetQueue { .. } => true,
        };
        if !command.operations.iter().any(changes) {
            return applied;
        }
        if let Some(request) = command.session
            && let Some(session) = self.sessions.iter_mut().find(|session| session.id == request.id)
        {
            session.decided.push((request.sequence, applied.decision.clone()));
        }
        applied
    }

    fn look_up(&mut self, request: SessionRequest) -> Option<Decision> {
        let now = self.now;
        let Some(session) = self.sessions.iter_mut().find(|session| session.id == request.id) else {
            return Some(Decision::Refused(Refusal::SessionExpired(request.id)));
        };
        session.last_used = now;
        session.lowest_pending = session.lowest_pending.max(request.lowest_pending);
        let lowest = session.lowest_pending;
        session.decided.retain(|(sequence, _)| *sequence >= lowest);
        let (session_id, sequence) = (request.id, request.sequence);
        if sequence < lowest {
            return Some(Decision::Refused(Refusal::SequenceForgotten { session: session_id, sequence }));
        }
        let decided = session.decided.iter().find(|(decided, _)| *decided == sequence);
        match decided.map(|(_, decision)| decision.clone()) {
            Some(Decision::Executed { index, outcomes, .. }) => {
                Some(Decision::Executed { index, replayed: true, outcomes })
            }
            Some(refused) => Some(refused),
            None if session.decided.len() as u64 >= LIMITS.session_outcomes_max && sequence != lowest => {
                let outcomes_max = LIMITS.session_outcomes_max;
                Some(Decision::Refused(Refusal::TooManyOutcomes { session: session_id, outcomes_max }))
            }
            None => None,
        }
    }

    fn execute(&mut self, index: Index, command: &Command) -> Applied {
        let mut copy = self.clone();
        let mut outcomes = vec![];
        let mut answer = 0;
        for (item, operation) in command.operations.iter().enumerate() {
            match copy.execute_one(MessageId { index, item: item as u32 }, operation, command.session, &mut answer) {
                Ok(outcome) => outcomes.push(outcome),
                Err(refusal) => return Decision::Refused(refusal).into(),
            }
        }
        if outcomes.contains(&Outcome::SessionClosed) {
            copy.sessions.retain(|session| Some(session.id) != command.session.map(|request| request.id));
        }
        *self = copy;
        let fills = |operation: &Operation, name: &QueueName| match operation {
            Operation::Enqueue { queue, .. } | Operation::Redrive { queue, .. } => queue == name,
            Operation::Settle { queue, settlements, .. } => {
                let released = |(_, it): &(LeaseToken, Settlement)| matches!(it, Settlement::Release { .. });
                queue == name && settlements.iter().any(released)
            }
            _ => false,
        };
        let got_one = |name: &QueueName| command.operations.iter().any(|operation| fills(operation, name));
        let mut filled: Vec<QueueName> = self.queues.iter().map(|queue| queue.name.clone()).collect();
        filled.retain(|name| got_one(name) && self.ready_in(name) > 0);
        filled.sort();
        Applied { decision: Decision::Executed { index, replayed: false, outcomes }, filled }
    }

    fn execute_one(
        &mut self,
        id: MessageId,
        operation: &Operation,
        session: Option<SessionRequest>,
        answer: &mut u64,
    ) -> Result<Outcome, Refusal> {
        let too_large = || Refusal::AnswerTooLarge { bytes_max: LIMITS.answer_bytes_max };
        match operation {
            Operation::OpenSession if self.sessions.len() as u64 == LIMITS.sessions_max => {
                Err(Refusal::TooManySessions { sessions_max: LIMITS.sessions_max })
            }
            Operation::OpenSession => {
                let session = TwinSession {
                    id: SessionId(id.index.0),
                    last_used: self.now,
                    lowest_pending: Sequence(0),
                    decided: vec![],
                };
                let opened = session.id;
                self.sessions.push(session);
                Ok(Outcome::SessionOpened { id: opened, time_to_live: LIMITS.session_time_to_live })
            }
            Operation::CloseSession if session.is_none() => Err(Refusal::SessionExpired(SessionId(0))),
            Operation::CloseSession => Ok(Outcome::SessionClosed),
            Operation::Enqueue { queue, message, delay } => {
                if self.queue(queue).is_none() {
                    if self.queues.len() as u64 == LIMITS.queues_max {
                        return Err(Refusal::TooManyQueues { queues_max: LIMITS.queues_max });
                    }
                    let (counts, chosen) = (Counts::default(), (0, 0, 0));
                    self.queues.push(TwinQueue { name: queue.clone(), messages: vec![], counts, chosen });
                }
                let now = self.now;
                let queue = self.queue(queue).expect("it was just made");
                let (contents, Settings { messages_max, .. }) = (queue.contents(), queue.settings());
                let (messages, dead) = (queue.messages.len() as u64, contents.dead);
                if messages >= messages_max {
                    return Err(Refusal::QueueFull { queue: queue.name.clone(), messages, dead, messages_max });
                }
                let standing = match delay.as_millis() as u64 {
                    0 => Standing::Ready,
                    delay => Standing::Delayed { until: Timestamp(now + delay) },
                };
                let (bytes, enqueued_at) = (message.bytes() as u64, now);
                queue.messages.push(TwinMessage { id, bytes, enqueued_at, deliveries: 0, standing, lease: None });
                queue.counts.enqueued += 1;
                Ok(Outcome::Enqueued(id))
            }
            Operation::Dequeue { queue, .. } if self.ready_in(queue) == 0 => Ok(Outcome::Dequeued(None)),
            Operation::Dequeue { queue, .. } => {
                let queue = self.queue(queue).expect("it has a message");
                let at = queue.messages.iter().position(|it| it.is(MessageState::Ready)).expect("one is ready");
                let mut oldest = queue.messages.remove(at);
                queue.counts.dequeued += 1;
                queue.counts.redelivered += u64::from(oldest.deliveries > 0);
                oldest.deliveries += 1;
                *answer += oldest.bytes;
                let is_too_large = *answer > LIMITS.answer_bytes_max;
                if is_too_large { Err(too_large()) } else { Ok(Outcome::Dequeued(Some(oldest.given()))) }
            }
            Operation::Lease { queue, limit, duration, wait: _ } => {
                let lease = LeaseId { index: id.index, item: id.item };
                let now = self.now;
                let mut given = vec![];
                let Some(queue) = self.queue(queue) else {
                    return Ok(Outcome::Leased { lease, messages: given });
                };
                let duration = if duration.is_zero() { queue.settings().lease_duration } else { *duration };
                let until = Timestamp(now + duration.as_millis() as u64);
                let ready = queue.messages.iter_mut().filter(|it| it.is(MessageState::Ready));
                for message in ready.take(*limit as usize) {
                    if *answer + message.bytes > LIMITS.answer_bytes_max {
                        if given.is_empty() {
                            return Err(too_large());
                        }
                        break;
                    }
                    *answer += message.bytes;
                    queue.counts.redelivered += u64::from(message.deliveries > 0);
                    message.deliveries += 1;
                    (message.standing, message.lease) = (Standing::Leased { until }, Some(lease));
                    given.push(message.given());
                }
                Ok(Outcome::Leased { lease, messages: given })
            }
            Operation::Settle { queue: name, settlements, all_or_none } => {
                let now = self.now;
                let mut done = vec![];
                for (token, settlement) in settlements {
                    let leased = self.queue(name).and_then(|queue| Some((queue.leased(token, now)?, queue)));
                    done.push(leased.is_some());
                    match (leased, settlement) {
                        (None, _) if *all_or_none => {
                            return Err(Refusal::LeaseExpired { queue: name.clone(), token: *token });
                        }
                        (None, _) => {}
                        (Some((at, queue)), Settlement::Ack) => {
                            queue.messages.remove(at);
                            queue.counts.acknowledged += 1;
                        }
                        (Some((at, queue)), Settlement::Release { delay }) => {
                            queue.give_back(at, now, delay.as_millis() as u64);
                        }
                        (Some((at, queue)), Settlement::Reject { reason }) => {
                            queue.bury(at, now, DeadReason::Rejected(reason.clone()));
                        }
                    }
                }
                Ok(Outcome::Settled(done))
            }
            Operation::ExtendLease { queue, tokens, duration } => {
                let now = self.now;
                let default = self.queue(queue).map_or(Duration::ZERO, |queue| queue.settings().lease_duration);
                let duration = if duration.is_zero() { default } else { *duration };
                let until = Timestamp(now + duration.as_millis() as u64);
                let extended = tokens.iter().map(|token| {
                    let leased = self.queue(queue).and_then(|queue| Some((queue.leased(token, now)?, queue)));
                    let Some((at, queue)) = leased else { return false };
                    queue.messages[at].standing = Standing::Leased { until };
                    true
                });
                Ok(Outcome::LeaseExtended { until, extended: extended.collect() })
            }
            Operation::Redrive { queue: name, limit } => {
                let queue = self.queue(name).ok_or_else(|| Refusal::QueueNotFound(name.clone()))?;
                let dead = queue.messages.iter_mut().filter(|it| it.is(MessageState::Dead)).take(*limit as usize);
                let moved = dead.map(|message| (message.standing, message.deliveries) = (Standing::Ready, 0)).count();
                Ok(Outcome::Redriven(moved as u64))
            }
            Operation::SetQueue { queue: name, chosen } => {
                let queue = self.queue(name).ok_or_else(|| Refusal::QueueNotFound(name.clone()))?;
                let (lease, deliveries, messages) = queue.chosen;
                queue.chosen = (
                    chosen.lease_duration.map_or(lease, |duration| duration.as_millis() as u64),
                    chosen.deliveries_max.map_or(deliveries, u64::from),
                    chosen.messages_max.unwrap_or(messages),
                );
                Ok(Outcome::QueueSet(queue.settings()))
            }
            Operation::Peek { queue, limit, state, after } => {
                let mut seen = vec![];
                let meant = self.queue(queue).into_iter().flat_map(|queue| &queue.messages);
                let meant = meant.filter(|it| it.is(*state) && after.is_none_or(|after| it.id > after));
                for message in meant.take(*limit as usize) {
                    if *answer + message.bytes > LIMITS.answer_bytes_max {
                        return if seen.is_empty() { Err(too_large()) } else { Ok(Outcome::Peeked(seen)) };
                    }
                    *answer += message.bytes;
                    seen.push(message.given());
                }
                Ok(Outcome::Peeked(seen))
            }
            Operation::ListQueues { after, limit } => {
                let mut all = self.queues.clone();
                all.sort_by(|a, b| a.name.cmp(&b.name));
                all.retain(|queue| after.as_ref().is_none_or(|after| queue.name > *after));
                let more = all.len() > *limit as usize;
                all.truncate(*limit as usize);
                *answer += all.iter().map(|queue| queue.name.to_string().len() as u64 + 96).sum::<u64>();
                if *answer > LIMITS.answer_bytes_max {
                    return Err(too_large());
                }
                let info = |queue: TwinQueue| QueueInfo {
                    contents: queue.contents(),
                    counts: queue.counts,
                    oldest: queue.oldest(),
                    settings: queue.settings(),
                    name: queue.name,
                };
                Ok(Outcome::Queues { queues: all.into_iter().map(info).collect(), more })
            }
            Operation::Stats { queue } => {
                let meant = self.queues.iter().filter(|it| queue.as_ref().is_none_or(|queue| it.name == *queue));
                let meant: Vec<&TwinQueue> = meant.collect();
                let sum = |of: fn(&TwinQueue) -> u64| meant.iter().map(|queue| of(queue)).sum();
                match queue {
                    Some(queue) if meant.is_empty() => Err(Refusal::QueueNotFound(queue.clone())),
                    _ => Ok(Outcome::Stats(Totals {
                        queues: meant.len() as u64,
                        contents: Contents {
                            ready: sum(|queue| queue.contents().ready),
                            leased: sum(|queue| queue.contents().leased),
                            delayed: sum(|queue| queue.contents().delayed),
                            dead: sum(|queue| queue.contents().dead),
                            bytes: sum(|queue| queue.contents().bytes),
                        },
                        counts: Counts {
                            enqueued: sum(|queue| queue.counts.enqueued),
                            dequeued: sum(|queue| queue.counts.dequeued),
                            acknowledged: sum(|queue| queue.counts.acknowledged),
                            redelivered: sum(|queue| queue.counts.redelivered),
                            dead_lettered: sum(|queue| queue.counts.dead_lettered),
                        },
                        oldest: queue.as_ref().and_then(|_| meant[0].oldest()),
                        sessions: if queue.is_some() { 0 } else { self.sessions.len() as u64 },
                        settings: queue.as_ref().map(|_| meant[0].settings()),
                    })),
                }
            }
        }
    }

    fn queue(&mut self, name: &QueueName) -> Option<&mut TwinQueue> {
        self.queues.iter_mut().find(|queue| queue.name == *name)
    }

    fn ready_in(&mut self, name: &QueueName) -> u64 {
        self.queue(name).map_or(0, |queue| queue.contents().ready)
    }
}

/// A command whose session is named by how recently it was opened, and whose leases by how recently they were given, so
/// that most of them exist.
#[derive(Clone, Debug)]
pub(super) struct Step {
    session: Option<(usize, u64, u64)>,
    timestamp: u64,
    operations: Vec<Operation>,
    expiry: bool,
}

impl Step {
    fn command(&self, opened: &[SessionId], given: &[(QueueName, LeaseToken)]) -> Command {
        let session = self.session.map(|(back, sequence, lowest_pending)| SessionRequest {
            id: opened.iter().rev().nth(back).copied().unwrap_or(SessionId(9_999)),
            sequence: Sequence(sequence),
            lowest_pending: Sequence(lowest_pending),
        });
        let mut operations = if self.expiry { vec![] } else { self.operations.clone() };
        // An entry opens one session, whose id is its index.
        let mut opens = false;
        operations.retain(|operation| *operation != Operation::OpenSession || !std::mem::replace(&mut opens, true));
        operations.iter_mut().for_each(|operation| name_leases(operation, given));
        Command { session, timestamp: Timestamp(self.timestamp), operations, expiry: self.expiry }
    }
}

/// Puts the leases that were given last in the place of those that only say how recently, and for most of them the
/// right queue.
fn name_leases(operation: &mut Operation, given: &[(QueueName, LeaseToken)]) {
    let (queue, tokens): (_, Vec<&mut LeaseToken>) = match operation {
        Operation::Settle { queue, settlements, .. } => {
            (queue, settlements.iter_mut().map(|(token, _)| token).collect())
        }
        Operation::ExtendLease { queue, tokens, .. } => (queue, tokens.iter_mut().collect()),
        _ => return,
    };
    for token in tokens {
        let (back, is_stray) = (token.message.index.0, token.message.item == 0);
        if let Some((of, meant)) = given.iter().rev().nth(back as usize) {
            *token = *meant;
            if !is_stray {
                *queue = of.clone();
            }
        }
    }
}

/// A lease that says how recently it was given.
fn token() -> impl Strategy<Value = LeaseToken> {
    (0..6u64, 0..8u32).prop_map(|(back, item)| LeaseToken {
        message: MessageId { index: Index(back), item },
        lease: LeaseId { index: Index(9_999), item: 0 },
    })
}

fn settlement() -> impl Strategy<Value = Settlement> {
    prop_oneof![
        3 => Just(Settlement::Ack),
        2 => time().prop_map(|delay| Settlement::Release { delay }),
        1 => "[a-c]{0,3}".prop_map(|reason| Settlement::Reject { reason: reason.into() }),
    ]
}

fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![1 => Just(0), 1 => 1..9u64].prop_map(Duration::from_millis)
}

fn state() -> impl Strategy<Value = MessageState> {
    use MessageState::*;
    prop_oneof![Just(Ready), Just(Leased), Just(Delayed), Just(Dead)]
}

fn message_id() -> impl Strategy<Value = MessageId> {
    (0..60u64, 0..4u32).prop_map(|(index, item)| MessageId { index: Index(index), item })
}

fn chosen() -> impl Strategy<Value = Chosen> {
    use proptest::option::of;
    (of(time()), of(0..4u32), of(0..5u64)).prop_map(|(lease_duration, deliveries_max, messages_max)| Chosen {
        lease_duration,
        deliveries_max,
        messages_max,
    })
}

fn queue_name() -> impl Strategy<Value = QueueName> {
    prop_oneof![Just("a"), Just("b"), Just("c")].prop_map(|text| text.parse().expect("a good name"))
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        "[a-z]{0,20}".prop_map(Body::Text),
        proptest::collection::vec(any::<u8>(), 0..30).prop_map(|data| Body::Data(data.into())),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let headers = proptest::collection::btree_map("[a-c]{1,2}", "\\PC{0,3}", 0..3);
    (body(), prop_oneof![2 => Just(Default::default()), 1 => headers])
        .prop_map(|(body, headers)| Message { body, headers })
}

pub(super) fn operation() -> impl Strategy<Value = Operation> {
    let tokens = proptest::collection::vec(token(), 1..3);
    let settlements = proptest::collection::vec((token(), settlement()), 1..3);
    let queues = prop_oneof![
        1 => Just(Operation::CloseSession),
        1 => Just(Operation::OpenSession),
        12 => (queue_name(), message(), prop_oneof![3 => Just(Duration::ZERO), 1 => time()])
            .prop_map(|(queue, message, delay)| Operation::Enqueue { queue, message, delay }),
        6 => (queue_name(), any::<bool>()).prop_map(|(queue, wait)| Operation::Dequeue { queue, wait }),
        4 => (queue_name(), 0..4u32, state(), proptest::option::of(message_id()))
            .prop_map(|(queue, limit, state, after)| Operation::Peek { queue, limit, state, after }),
        3 => (proptest::option::of(queue_name()), 0..3u32)
            .prop_map(|(after, limit)| Operation::ListQueues { after, limit }),
        2 => proptest::option::of(queue_name()).prop_map(|queue| Operation::Stats { queue }),
    ];
    let leases = prop_oneof![
        6 => (queue_name(), 1..4u32, time(), any::<bool>())
            .prop_map(|(queue, limit, duration, wait)| Operation::Lease { queue, limit, duration, wait }),
        6 => (queue_name(), settlements, proptest::bool::weighted(0.3))
            .prop_map(|(queue, settlements, all_or_none)| Operation::Settle { queue, settlements, all_or_none }),
        2 => (queue_name(), tokens, time())
            .prop_map(|(queue, tokens, duration)| Operation::ExtendLease { queue, tokens, duration }),
        1 => (queue_name(), 0..3u32).prop_map(|(queue, limit)| Operation::Redrive { queue, limit }),
        1 => (queue_name(), chosen()).prop_map(|(queue, chosen)| Operation::SetQueue { queue, chosen }),
    ];
    prop_oneof![5 => queues, 3 => leases]
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let operations = prop_oneof![
        1 => Just(vec![Operation::OpenSession]),
        9 => proptest::collection::vec(operation(), 1..5),
    ];
    let session = proptest::option::of((0..3usize, 1..8u64, 0..6u64));
    (session, 0..40u64, operations, proptest::bool::weighted(0.15))
        .prop_map(|(session, timestamp, operations, expiry)| Step { session, timestamp, operations, expiry })
}

/// The steps as commands. Their times rise slowly, with some steps back.
pub(super) fn commands(steps: &[Step]) -> Vec<Command> {
    let mut machine = StateMachine::new(LIMITS);
    let (mut opened, mut given) = (vec![], vec![]);
    let mut commands = vec![];
    for (number, step) in (1..).zip(steps) {
        let mut command = step.command(&opened, &given);
        command.timestamp.0 = number / 2 + command.timestamp.0 / 10;
        if let Decision::Executed { outcomes, .. } = machine.apply(Index(number), &command).decision {
            opened.extend(outcomes.iter().filter_map(|outcome| match outcome {
                Outcome::SessionOpened { id, .. } => Some(*id),
                _ => None,
            }));
            for (operation, outcome) in command.operations.iter().zip(&outcomes) {
                if let (Operation::Lease { queue, .. }, Outcome::Leased { lease, messages }) = (operation, outcome) {
                    let token = |message: &Given| LeaseToken { message: message.id, lease: *lease };
                    given.extend(messages.iter().map(|message| (queue.clone(), token(message))));
                }
            }
        }
        commands.push(command);
    }
    commands
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_machine_decides_as_its_naive_twin(steps in proptest::collection::vec(step(), 1..80)) {
        let mut machine = StateMachine::new(LIMITS);
        let mut twin = Twin::default();
        let ttl = LIMITS.session_time_to_live.as_millis() as u64;
        for (number, command) in (1..).zip(commands(&steps)) {
            let before = machine.clone();
            let applied = machine.apply(Index(number), &command);
            prop_assert_eq!(&applied, &twin.apply(Index(number), &command), "entry {}: {:?}", number, command);
            let sessions = twin.sessions.iter().map(|session| Timestamp(session.last_used + ttl));
            let messages = twin.queues.iter().flat_map(|queue| &queue.messages).filter_map(|message| message.due());
            prop_assert_eq!(machine.next_expiry(), sessions.chain(messages).min());
            prop_assert_eq!(machine.timestamp(), Timestamp(twin.now));
            for queue in ["a", "b", "c"].map(|text| text.parse().expect("a good name")) {
                prop_assert_eq!(machine.ready_in(&queue), twin.ready_in(&queue));
            }
            if command.session.is_none() && matches!(applied.decision, Decision::Refused(_) | Decision::Waiting) {
                let mut unchanged = before;
                unchanged.apply(Index(number), &Command { operations: vec![], ..command });
                prop_assert_eq!(machine.digest(), unchanged.digest(), "a refused command changed something");
            }
        }
    }

    /// Beside the log and through it, at the same point.
    #[test]
    fn a_query_shows_what_an_entry_would(steps in proptest::collection::vec(step(), 1..60)) {
        let mut machine = StateMachine::new(LIMITS);
        for (number, command) in (1..).zip(commands(&steps)) {
            let reads: Vec<Operation> = command.operations.iter().filter(|it| it.only_reads()).cloned().collect();
            let shown = machine.query(&reads);
            let timestamp = machine.timestamp();
            let entry = Command { session: None, timestamp, operations: reads, expiry: false };
            let decided = match machine.clone().apply(Index(number), &entry).decision {
                Decision::Executed { outcomes, .. } => Ok(outcomes),
                Decision::Refused(refusal) => Err(refusal),
                Decision::Waiting => panic!("reads do not wait"),
            };
            prop_assert_eq!(shown, decided);
            machine.apply(Index(number), &command);
        }
    }

    #[test]
    fn the_same_log_gives_the_same_states_also_through_its_encoding(steps in proptest::collection::vec(step(), 1..60)) {
        let (mut first, mut second) = (StateMachine::new(LIMITS), StateMachine::new(LIMITS));
        for (number, command) in (1..).zip(commands(&steps)) {
            let decoded = Command::decode(&command.encode());
            prop_assert_eq!(decoded.as_ref(), Ok(&command));
            let decoded = decoded.expect("just compared");
            prop_assert_eq!(first.apply(Index(number), &command), second.apply(Index(number), &decoded));
            prop_assert_eq!(first.digest(), second.digest());
        }
    }

    #[test]
    fn every_message_is_found_in_the_encoding(operations in proptest::collection::vec(operation(), 0..8)) {
        let command = Command { session: None, timestamp: Timestamp(1), operations, expiry: false };
        let payload = command.encode();
        for (item, operation) in (0..).zip(&command.operations) {
            let found = message_of(&payload, item).and_then(|it| Some((it.body?.into(), it.headers)));
            let expected = match operation {
                Operation::Enqueue { message, .. } => Some((message.body.clone(), message.headers.clone())),
                _ => None,
            };
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_is_kept_of_a_command_has_the_bodies_that_were_asked_for_and_no_other(
        operations in proptest::collection::vec(operation(), 0..8),
        items in proptest::sample::subsequence((0..9).collect::<Vec<u32>>(), 0..=9),
    ) {
        let session = Some(SessionRequest { id: SessionId(1), sequence: Sequence(2), lowest_pending: Sequence(1) });
        let payload = Command { session, timestamp: Timestamp(1), operations, expiry: false }.encode();
        let kept = keep_items(&payload, &items).expect("it is a command");
        prop_assert!(kept.len() <= payload.len());
        for item in 0..9 {
            let expected = message_of(&payload, item).filter(|_| items.contains(&item));
            prop_assert_eq!(message_of(&kept, item), expected);
        }
        prop_assert_eq!(keep_items(&kept, &items), Some(kept), "keeping is done once");
    }

    #[test]
    fn random_bytes_are_no_command_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), item in 0..4u32) {
        let bytes = Bytes::from(bytes);
        if let Some(kept) = keep_items(&bytes, &[item]) {
            prop_assert!(kept.len() <= bytes.len());
            prop_assert_eq!(message_of(&kept, item), message_of(&bytes, item));
        }
        if let Ok(command) = Command::decode(&bytes) {
            prop_assert_eq!(Command::decode(&command.encode()), Ok(command));
        }
        message_of(&bytes, item);
    }

    #[test]
    fn a_damaged_command_is_no_panic(
        operations in proptest::collection::vec(operation(), 1..6), at in any::<usize>(), with in any::<u8>(), cut in any::<bool>()
    ) {
        let mut bytes = Command { session: None, timestamp: Timestamp(1), operations, expiry: false }.encode().to_vec();
        let at = at % bytes.len();
        bytes[at] = with;
        if cut { bytes.truncate(at); }
        let bytes = Bytes::from(bytes);
        for item in 0..6 {
            let body = message_of(&bytes, item);
            if let Some(kept) = keep_items(&bytes, &[item]) {
                prop_assert_eq!(message_of(&kept, item), body);
            }
        }
        if let Ok(command) = Command::decode(&bytes) {
            prop_assert_eq!(Command::decode(&command.encode()), Ok(command));
        }
    }
}
