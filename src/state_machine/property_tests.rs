//! The state machine against a naive twin, with random commands: the twin keeps everything in vectors, copies its whole state
//! before each command, and throws the copy away when the command is refused.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::ids::{Index, Sequence, SessionId, Timestamp};

pub(super) const LIMITS: Limits = Limits {
    queue_messages_max: 3,
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
    pub(super) messages: Vec<TwinMessage>,
    counts: Counts,
}

#[derive(Clone)]
pub(super) struct TwinMessage {
    pub(super) id: MessageId,
    pub(super) bytes: u64,
    enqueued_at: u64,
}

impl TwinMessage {
    fn given(&self) -> Given {
        Given { id: self.id, enqueued_at: Timestamp(self.enqueued_at) }
    }
}

impl TwinQueue {
    fn contents(&self) -> Contents {
        Contents { ready: self.messages.len() as u64, bytes: self.messages.iter().map(|it| it.bytes).sum() }
    }

    fn oldest(&self) -> Option<Timestamp> {
        self.messages.first().map(|it| Timestamp(it.enqueued_at))
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
            return Decision::Executed { index, replayed: false, outcomes: vec![] }.into();
        }
        if let Some(request) = command.session
            && let Some(known) = self.look_up(request)
        {
            return known.into();
        }
        if let [Operation::Dequeue { queue, wait: true }] = &command.operations[..]
            && self.ready_in(queue) == 0
        {
            return Decision::Waiting.into();
        }
        let applied = self.execute(index, command);
        let changes = |operation: &Operation| match operation {
            Operation::Peek { .. } | Operation::ListQueues { .. } | Operation::Stats { .. } => false,
            Operation::OpenSession | Operation::CloseSession => true,
            Operation::Enqueue { .. } | Operation::Dequeue { .. } => true,
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
        let got_one = |name: &QueueName| {
            command
                .operations
                .iter()
                .any(|operation| matches!(operation, Operation::Enqueue { queue, .. } if queue == name))
        };
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
            Operation::Enqueue { queue, message } => {
                if self.queue(queue).is_none() {
                    if self.queues.len() as u64 == LIMITS.queues_max {
                        return Err(Refusal::TooManyQueues { queues_max: LIMITS.queues_max });
                    }
                    self.queues.push(TwinQueue { name: queue.clone(), messages: vec![], counts: Counts::default() });
                }
                let (messages, messages_max) = (self.ready_in(queue), LIMITS.queue_messages_max);
                if messages == messages_max {
                    return Err(Refusal::QueueFull { queue: queue.clone(), messages, messages_max });
                }
                let enqueued_at = self.now;
                let queue = self.queue(queue).expect("it was just made");
                queue.messages.push(TwinMessage { id, bytes: message.bytes() as u64, enqueued_at });
                queue.counts.enqueued += 1;
                Ok(Outcome::Enqueued(id))
            }
            Operation::Dequeue { queue, .. } if self.ready_in(queue) == 0 => Ok(Outcome::Dequeued(None)),
            Operation::Dequeue { queue, .. } => {
                let queue = self.queue(queue).expect("it has a message");
                let oldest = queue.messages.remove(0);
                queue.counts.dequeued += 1;
                *answer += oldest.bytes;
                let is_too_large = *answer > LIMITS.answer_bytes_max;
                if is_too_large { Err(too_large()) } else { Ok(Outcome::Dequeued(Some(oldest.given()))) }
            }
            Operation::Peek { queue, limit } => {
                let mut seen = vec![];
                for message in self.queue(queue).into_iter().flat_map(|queue| &queue.messages).take(*limit as usize) {
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
                            bytes: sum(|queue| queue.contents().bytes),
                        },
                        counts: Counts {
                            enqueued: sum(|queue| queue.counts.enqueued),
                            dequeued: sum(|queue| queue.counts.dequeued),
                        },
                        oldest: queue.as_ref().and_then(|_| meant[0].oldest()),
                        sessions: if queue.is_some() { 0 } else { self.sessions.len() as u64 },
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

/// A command whose session is named by how recently it was opened, so that most of them exist.
#[derive(Clone, Debug)]
pub(super) struct Step {
    session: Option<(usize, u64, u64)>,
    timestamp: u64,
    operations: Vec<Operation>,
    expiry: bool,
}

impl Step {
    fn command(&self, opened: &[SessionId]) -> Command {
        let session = self.session.map(|(back, sequence, lowest_pending)| SessionRequest {
            id: opened.iter().rev().nth(back).copied().unwrap_or(SessionId(9_999)),
            sequence: Sequence(sequence),
            lowest_pending: Sequence(lowest_pending),
        });
        let mut operations = if self.expiry { vec![] } else { self.operations.clone() };
        // An entry opens one session, whose id is its index.
        let mut opens = false;
        operations.retain(|operation| *operation != Operation::OpenSession || !std::mem::replace(&mut opens, true));
        Command { session, timestamp: Timestamp(self.timestamp), operations, expiry: self.expiry }
    }
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
    prop_oneof![
        1 => Just(Operation::CloseSession),
        1 => Just(Operation::OpenSession),
        12 => (queue_name(), message()).prop_map(|(queue, message)| Operation::Enqueue { queue, message }),
        8 => (queue_name(), any::<bool>()).prop_map(|(queue, wait)| Operation::Dequeue { queue, wait }),
        3 => (queue_name(), 0..4u32).prop_map(|(queue, limit)| Operation::Peek { queue, limit }),
        3 => (proptest::option::of(queue_name()), 0..3u32)
            .prop_map(|(after, limit)| Operation::ListQueues { after, limit }),
        2 => proptest::option::of(queue_name()).prop_map(|queue| Operation::Stats { queue }),
    ]
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let operations = prop_oneof![
        1 => Just(vec![Operation::OpenSession]),
        9 => proptest::collection::vec(operation(), 1..5),
    ];
    let session = proptest::option::of((0..3usize, 1..8u64, 0..6u64));
    (session, 0..40u64, operations, proptest::bool::weighted(0.05))
        .prop_map(|(session, timestamp, operations, expiry)| Step { session, timestamp, operations, expiry })
}

/// The steps as commands. Their times rise slowly, with some steps back.
pub(super) fn commands(steps: &[Step]) -> Vec<Command> {
    let mut machine = StateMachine::new(LIMITS);
    let mut opened = vec![];
    let mut commands = vec![];
    for (number, step) in (1..).zip(steps) {
        let mut command = step.command(&opened);
        command.timestamp.0 = number / 2 + command.timestamp.0 / 10;
        if let Decision::Executed { outcomes, .. } = machine.apply(Index(number), &command).decision {
            opened.extend(outcomes.iter().filter_map(|outcome| match outcome {
                Outcome::SessionOpened { id, .. } => Some(*id),
                _ => None,
            }));
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
            let due = twin.sessions.iter().map(|session| Timestamp(session.last_used + ttl)).min();
            prop_assert_eq!(machine.next_expiry(), due);
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
