//! What happens to clients: they think, ask, wait and try again.

use quorate::ids::{NodeId, Term};
use quorate::replica::{Answer, Consistency, Refusal};
use rand::RngExt;

use super::client::{Ending, Next};
use super::cluster::{Asked, Cluster, Event, Phase};
use super::knobs::Micros;
use super::node::Caller;

impl Cluster {
    /// A client makes its next request, unless it has to wait for an answer first.
    pub fn think(&mut self, number: usize) {
        let is_drainer = number == self.knobs.workload.clients;
        if self.phase != Phase::Faults && !is_drainer {
            return;
        }
        let place = self.history.len();
        // No request brings more than four messages.
        let enough = 4 * self.requests_when_healed + 100;
        assert!(!is_drainer || place < self.requests_when_healed + enough, "more comes out of the queues than went in");
        let client = &mut self.clients[number];
        if let Some(call) = client.call(&mut self.random.workload, &self.knobs.workload, self.now, place) {
            self.trace.tell(self.now, || format!("client {number} makes request {place}: {call:?}"));
            self.history.push(call);
            self.attempt(number, place);
        }
        if !is_drainer {
            let think = self.random.workload.random_range(1..=self.knobs.workload.think_max);
            self.schedule(self.now + think, Event::Think(number));
        }
    }

    /// A client sends a request, for the first time or again.
    pub fn attempt(&mut self, number: usize, place: usize) {
        self.last_attempt += 1;
        let attempt = self.last_attempt;
        let node = match (self.history[place].consistency, self.clients[number].target) {
            (Some(Consistency::AnyNode | Consistency::Stale), _) => self.any_node(),
            (Some(Consistency::Leader), target) => {
                let overtaken = self.overtaken_leader();
                if overtaken.is_some() {
                    self.coverage.sometimes("an overtaken leader was asked for a read");
                }
                overtaken.or(target).unwrap_or_else(|| self.any_node())
            }
            (None, Some(target)) => target,
            (None, None) => self.any_node(),
        };
        let call = &self.history[place];
        let asked = self.clients[number].attempt(place, attempt, node, call);
        let patience = self.knobs.longest * 2 + call.wait.as_micros() as Micros;
        self.request(node, Caller::Client(number), attempt, asked);
        self.attempts.insert(attempt, place);
        self.schedule(self.now + patience, Event::TimeOut { client: number, place, attempt, node });
    }

    /// A node that believes to lead when another one does, in a later term: whom to ask for what is not true any more.
    fn overtaken_leader(&self) -> Option<NodeId> {
        let leaders = self.nodes.iter().filter(|(_, node)| node.leads());
        let terms = leaders.filter_map(|(id, node)| Some((node.process.as_ref()?.replica.status().term, *id)));
        let terms: Vec<(Term, NodeId)> = terms.collect();
        terms.iter().min().filter(|_| terms.len() > 1).map(|(_, id)| *id)
    }

    /// A request leaves for a node; it may be lost.
    pub fn request(&mut self, node: NodeId, caller: Caller, attempt: u64, asked: Asked) {
        let carried = self.network.carry_request(&mut self.random.workload, self.now);
        if let Some(at) = carried {
            self.schedule(at, Event::Request { node, caller, attempt, asked });
        }
    }

    /// An answer leaves for whoever asked; it may be lost.
    pub fn respond(&mut self, caller: Caller, attempt: u64, answer: Result<Answer, Refusal>) {
        let carried = self.network.carry_request(&mut self.random.workload, self.now);
        if let Some(at) = carried {
            self.schedule(at, Event::Response { caller, attempt, answer });
        }
    }

    /// A client is answered.
    pub fn client_answered(&mut self, number: usize, attempt: u64, answer: Result<Answer, Refusal>) {
        let Some(place) = self.attempts.remove(&attempt) else { return };
        let next = self.clients[number].on_answer(&self.history[place], place, attempt, answer);
        self.go_on(number, place, next);
    }

    /// A client has waited long enough.
    pub fn time_out(&mut self, number: usize, place: usize, attempt: u64, node: NodeId) {
        if self.attempts.remove(&attempt).is_none() {
            return;
        }
        if self.random.workload.random_bool(0.5) {
            self.schedule(self.now, Event::HangUp { node, attempt });
        }
        let rng = &mut self.random.workload;
        let next = self.clients[number].on_timeout(rng, &self.knobs.workload, &self.history[place], place, attempt);
        self.go_on(number, place, next);
    }

    fn go_on(&mut self, number: usize, place: usize, next: Option<Next>) {
        let longest = self.knobs.longest;
        match next {
            Some(Next::Retry) => {
                let pause = self.random.workload.random_range(1..=longest / 8);
                self.schedule(self.now + pause, Event::Retry { client: number, place });
            }
            Some(Next::End(ending)) => {
                self.trace.tell(self.now, || format!("request {place} of client {number} ends: {ending:?}"));
                self.cover_ending(&ending);
                let call = &mut self.history[place];
                call.returned = (!matches!(ending, Ending::Unknown)).then_some(self.now);
                call.ending = ending;
                if number == self.knobs.workload.clients {
                    self.schedule(self.now, Event::Think(number));
                }
            }
            None => {}
        }
    }

    /// Any node.
    pub fn any_node(&mut self) -> NodeId {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        ids[self.random.workload.random_range(0..ids.len())]
    }
}
