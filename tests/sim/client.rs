//! The clients: they make requests, look for the leader, wait, try again, and remember what they were told.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use quorate::ids::{NodeId, Sequence, SessionId};
use quorate::replica::{Answer, Consistency, Execute, Executed, Read, Refusal, Shown};
use quorate::state_machine::{
    self, Body, Chosen, Given, LeaseToken, MessageState, Operation, Outcome, QueueName, SessionRequest, Settlement,
};
use rand::{Rng, RngExt};

use super::cluster::Asked;
use super::knobs::{Micros, Workload, one_of};

/// A request and what its client knows of it.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who made it.
    pub client: usize,
    /// Its place in the client's session.
    pub session: Option<(SessionId, Sequence)>,
    /// What it asks for.
    pub operations: Vec<Operation>,
    /// How long its dequeue may wait.
    pub wait: Duration,
    /// Present where it is a read beside the log.
    pub consistency: Option<Consistency>,
    /// When it was made.
    pub called: Micros,
    /// When the client learned how it ended, or gave up.
    pub returned: Option<Micros>,
    /// How it ended.
    pub ending: Ending,
}

/// How a request ended, as its client knows.
#[derive(Clone, Debug)]
pub enum Ending {
    /// It took effect.
    Executed(Executed),
    /// It was shown this.
    Shown(Shown),
    /// It did not, and never will.
    Refused(state_machine::Refusal),
    /// It may have taken effect, or may still do so.
    Unknown,
}

/// A client.
pub struct Client {
    number: usize,
    uses_session: bool,
    session: Option<SessionId>,
    last_sequence: Sequence,
    /// Requests that have not ended, by their place in the history.
    open: BTreeMap<usize, Open>,
    /// Whom it takes for the leader.
    pub target: Option<NodeId>,
    bodies: u64,
    /// Leases that it was given lately, whether they have ended or not.
    leases: VecDeque<(QueueName, LeaseToken)>,
    /// The queue that it drains.
    drains: Option<usize>,
}

/// A request that has not ended.
#[derive(Clone, Copy, Debug)]
struct Open {
    sequence: Option<Sequence>,
    /// The attempt that is under way, and whom it asks.
    attempt: u64,
    node: NodeId,
    attempts: u32,
    /// An attempt may have been proposed.
    is_uncertain: bool,
}

/// What a client does next about a request.
#[derive(Debug)]
pub enum Next {
    /// It has ended.
    End(Ending),
    /// It tries again after a while.
    Retry,
}

impl Client {
    /// A client that has done nothing yet.
    pub fn new(number: usize, uses_session: bool) -> Self {
        Self {
            number,
            uses_session,
            session: None,
            last_sequence: Sequence(0),
            open: BTreeMap::new(),
            target: None,
            bodies: 0,
            leases: VecDeque::new(),
            drains: None,
        }
    }

    /// A client that takes everything out of all queues, one message after the other.
    pub fn drainer(number: usize) -> Self {
        Self { drains: Some(0), ..Self::new(number, true) }
    }

    /// All its requests have ended.
    pub fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// It has found all queues empty.
    pub fn has_drained(&self, workload: &Workload) -> bool {
        self.drains == Some(workload.queues)
    }

    /// Its next request, which takes this place in the history; none when it has to wait for an answer first.
    pub fn call(&mut self, rng: &mut impl Rng, workload: &Workload, now: Micros, place: usize) -> Option<Call> {
        let must_open_session = self.uses_session && self.session.is_none();
        let open_max = if must_open_session || self.drains.is_some() { 1 } else { workload.pipeline_max };
        if self.open.len() >= open_max || self.has_drained(workload) {
            return None;
        }
        let (operations, wait) = match (must_open_session, self.drains) {
            (true, _) => (vec![Operation::OpenSession], Duration::ZERO),
            (_, Some(queue)) => (vec![Operation::Dequeue { queue: queue_name(queue), wait: false }], Duration::ZERO),
            _ if rng.random_bool(workload.reading) => return Some(self.read(rng, workload, now, place)),
            _ if self.session.is_some() && self.open.is_empty() && rng.random_bool(0.02) => {
                (vec![Operation::CloseSession], Duration::ZERO)
            }
            _ => self.draw_operations(rng, workload),
        };
        let session = self.session.map(|session| {
            self.last_sequence = self.last_sequence.next();
            (session, self.last_sequence)
        });
        self.open(place, session.map(|(_, sequence)| sequence));
        Some(Call { session, operations, wait, ..self.blank_call(now) })
    }

    /// A request that only reads: it has no place in the session.
    fn read(&mut self, rng: &mut impl Rng, workload: &Workload, now: Micros, place: usize) -> Call {
        let operations = (0..rng.random_range(0..=2)).map(|_| draw_read(rng, workload)).collect();
        let consistency = [Consistency::Leader, Consistency::AnyNode, Consistency::Stale][rng.random_range(0..3)];
        self.open(place, None);
        Call { operations, consistency: Some(consistency), ..self.blank_call(now) }
    }

    fn open(&mut self, place: usize, sequence: Option<Sequence>) {
        self.open.insert(place, Open { sequence, attempt: 0, node: NodeId(0), attempts: 0, is_uncertain: false });
    }

    fn blank_call(&self, now: Micros) -> Call {
        Call {
            client: self.number,
            session: None,
            operations: Vec::new(),
            wait: Duration::ZERO,
            consistency: None,
            called: now,
            returned: None,
            ending: Ending::Unknown,
        }
    }

    /// Sends a request to a node, for the first time or again. The attempt gets a number of its own.
    pub fn attempt(&mut self, place: usize, attempt: u64, node: NodeId, call: &Call) -> Asked {
        let lowest_pending = self.open.values().filter_map(|open| open.sequence).min();
        let open = self.open.get_mut(&place).expect("a request is tried until it ends");
        open.attempt = attempt;
        open.node = node;
        open.attempts += 1;
        if let Some(consistency) = call.consistency {
            return Asked::Read(Read { operations: call.operations.clone(), consistency, is_own: false });
        }
        let session = call.session.map(|(id, sequence)| {
            let lowest_pending = lowest_pending.unwrap_or(sequence);
            SessionRequest { id, sequence, lowest_pending }
        });
        let operations = call.operations.clone();
        Asked::Execute(Execute { session, operations, wait: call.wait, is_followed: false })
    }

    /// An answer has come. None: nobody waits for it any more.
    pub fn on_answer(
        &mut self,
        call: &Call,
        place: usize,
        attempt: u64,
        answer: Result<Answer, Refusal>,
    ) -> Option<Next> {
        let open = self.open.get_mut(&place).filter(|open| open.attempt == attempt)?;
        let next = match answer {
            Ok(Answer::Executed(executed)) => {
                self.target = Some(open.node);
                Next::End(Ending::Executed(executed))
            }
            Ok(Answer::Shown(shown)) => Next::End(Ending::Shown(shown)),
            Ok(other) => panic!("a request was answered with {other:?}"),
            Err(Refusal::NotLeader { leader, .. }) => {
                self.target = leader;
                Next::Retry
            }
            Err(Refusal::Overloaded) => Next::Retry,
            Err(Refusal::OutcomeUnknown { .. } | Refusal::BodyNotInLog) => {
                return Some(self.on_uncertainty(call, place));
            }
            Err(Refusal::Refused(state_machine::Refusal::TooManyOutcomes { .. })) => Next::Retry,
            Err(Refusal::Refused(state_machine::Refusal::SessionExpired(_))) if open.is_uncertain => {
                Next::End(Ending::Unknown)
            }
            Err(Refusal::Refused(refusal)) => Next::End(Ending::Refused(refusal)),
            Err(refusal) => panic!("a request was refused with {refusal:?}"),
        };
        if let Next::End(ending) = &next {
            self.on_end(call, ending);
            self.open.remove(&place);
        }
        Some(next)
    }

    /// No answer has come in time. None: nobody waits for it any more.
    pub fn on_timeout(
        &mut self,
        rng: &mut impl Rng,
        workload: &Workload,
        call: &Call,
        place: usize,
        attempt: u64,
    ) -> Option<Next> {
        let open = self.open.get(&place).filter(|open| open.attempt == attempt)?;
        let gives_up = open.attempts > 3 && rng.random_bool(workload.giving_up);
        let next = self.on_uncertainty(call, place);
        if gives_up {
            self.open.remove(&place);
            return Some(Next::End(Ending::Unknown));
        }
        Some(next)
    }

    /// An attempt may or may not take effect. With a session it is tried again; without one that could do it twice.
    fn on_uncertainty(&mut self, call: &Call, place: usize) -> Next {
        self.target = None;
        if call.consistency.is_some() {
            return Next::Retry;
        }
        if call.session.is_none() {
            self.open.remove(&place);
            return Next::End(Ending::Unknown);
        }
        if let Some(open) = self.open.get_mut(&place) {
            open.is_uncertain = true;
        }
        Next::Retry
    }

    fn on_end(&mut self, call: &Call, ending: &Ending) {
        match ending {
            Ending::Executed(executed) => match executed.outcomes.first() {
                Some(Outcome::SessionOpened { id, .. }) => {
                    self.session = Some(*id);
                    self.last_sequence = Sequence(0);
                }
                Some(Outcome::SessionClosed) => self.session = None,
                Some(Outcome::Dequeued(None)) => self.drains = self.drains.map(|queue| queue + 1),
                _ => self.remember_leases(call, &executed.outcomes),
            },
            Ending::Refused(state_machine::Refusal::TooManySessions { .. }) => self.uses_session = false,
            Ending::Refused(refusal @ state_machine::Refusal::SequenceForgotten { .. }) => {
                panic!("a client that still waits is told: {refusal}, {call:?}")
            }
            _ => {}
        }
        let has_expired = match ending {
            Ending::Refused(state_machine::Refusal::SessionExpired(_)) => true,
            Ending::Unknown => call.session.is_some(),
            _ => false,
        };
        if has_expired && self.session == call.session.map(|(session, _)| session) {
            self.session = None;
        }
    }

    fn remember_leases(&mut self, call: &Call, outcomes: &[Outcome]) {
        const LEASES_MAX: usize = 8;
        for (operation, outcome) in call.operations.iter().zip(outcomes) {
            if let (Operation::Lease { queue, .. }, Outcome::Leased { lease, messages }) = (operation, outcome) {
                let token = |given: &Given| (queue.clone(), LeaseToken { message: given.id, lease: *lease });
                self.leases.extend(messages.iter().map(token));
            }
        }
        self.leases.drain(..self.leases.len().saturating_sub(LEASES_MAX));
    }

    fn draw_operations(&mut self, rng: &mut impl Rng, workload: &Workload) -> (Vec<Operation>, Duration) {
        if rng.random_bool(workload.several) {
            let count = rng.random_range(2..=4);
            return ((0..count).map(|_| self.draw_operation(rng, workload)).collect(), Duration::ZERO);
        }
        let operation = self.draw_operation(rng, workload);
        let waits = operation.takes_from().is_some() && rng.random_bool(workload.waiting);
        let micros = if waits { workload.think_max * rng.random_range(1..=10) } else { 0 };
        (vec![operation], Duration::from_micros(micros))
    }

    fn draw_enqueue(
        &mut self,
        rng: &mut impl Rng,
        workload: &Workload,
        queue: QueueName,
        delay: Duration,
    ) -> Operation {
        self.bodies += 1;
        let padding = rng.random_range(0..=workload.body_bytes_max);
        let text = format!("{}-{} {}", self.number, self.bodies, ".".repeat(padding));
        Operation::Enqueue { queue, message: Body::Text(text).into(), delay }
    }

    fn draw_lease_operation(&mut self, rng: &mut impl Rng, workload: &Workload) -> Operation {
        let queue = lease_queue_name(rng.random_range(0..workload.queues));
        match rng.random_range(0..20) {
            0..6 => {
                let delay = if rng.random_bool(0.3) { draw_time(rng, workload) } else { Duration::ZERO };
                self.draw_enqueue(rng, workload, queue, delay)
            }
            6..11 => {
                let duration = draw_time(rng, workload);
                Operation::Lease { queue, limit: rng.random_range(1..4), duration, wait: false }
            }
            11..17 => self.draw_settling(rng, workload, queue),
            17 => Operation::Redrive { queue, limit: rng.random_range(1..4) },
            18 => Operation::SetQueue { queue, chosen: draw_settings(rng, workload) },
            _ => Operation::Dequeue { queue, wait: false },
        }
    }

    /// Of a lease that it was given, which may have ended or been settled; without one it shows who has them.
    fn draw_settling(&mut self, rng: &mut impl Rng, workload: &Workload, queue: QueueName) -> Operation {
        if self.leases.is_empty() {
            let state = one_of(rng, &[MessageState::Leased, MessageState::Delayed, MessageState::Dead]);
            return Operation::Peek { queue, limit: rng.random_range(1..4), state, after: None };
        }
        let (queue, token) = self.leases[rng.random_range(0..self.leases.len())].clone();
        let settlement = match rng.random_range(0..6) {
            0..3 => Settlement::Ack,
            3 => Settlement::Release { delay: one_of(rng, &[Duration::ZERO, Duration::from_millis(9)]) },
            4 => Settlement::Reject { reason: "no".into() },
            _ => return Operation::ExtendLease { queue, tokens: vec![token], duration: draw_time(rng, workload) },
        };
        Operation::Settle { queue, settlements: vec![(token, settlement)], all_or_none: rng.random_bool(0.3) }
    }

    fn draw_operation(&mut self, rng: &mut impl Rng, workload: &Workload) -> Operation {
        if rng.random_bool(workload.leasing) {
            return self.draw_lease_operation(rng, workload);
        }
        let queue = queue_name(rng.random_range(0..workload.queues));
        match rng.random_range(0..10) {
            0..5 => self.draw_enqueue(rng, workload, queue, Duration::ZERO),
            5..9 => Operation::Dequeue { queue, wait: false },
            _ => draw_read(rng, workload),
        }
    }
}

/// A time for which something is leased or delayed.
fn draw_time(rng: &mut impl Rng, workload: &Workload) -> Duration {
    Duration::from_millis(workload.think_max * one_of(rng, &[0, 1, 3, 20]) / 1_000 + 1)
}

fn draw_settings(rng: &mut impl Rng, workload: &Workload) -> Chosen {
    Chosen {
        lease_duration: Some(draw_time(rng, workload)),
        deliveries_max: Some(rng.random_range(0..4)),
        messages_max: None,
    }
}

fn draw_read(rng: &mut impl Rng, workload: &Workload) -> Operation {
    let queue = queue_name(rng.random_range(0..workload.queues));
    match rng.random_range(0..4) {
        0..2 => Operation::Peek { queue, limit: rng.random_range(1..4), state: MessageState::Ready, after: None },
        2 => Operation::ListQueues { after: None, limit: 9 },
        _ => Operation::Stats { queue: rng.random_bool(0.5).then_some(queue) },
    }
}

/// A queue whose messages are leased.
fn lease_queue_name(number: usize) -> QueueName {
    format!("leased{number}").parse().expect("letters and digits name a queue")
}

/// Whether it is one of those.
pub fn is_leased_from(queue: &QueueName) -> bool {
    queue.as_str().starts_with("leased")
}

/// The name of a queue.
pub fn queue_name(number: usize) -> QueueName {
    format!("q{number}").parse().expect("letters and digits name a queue")
}
