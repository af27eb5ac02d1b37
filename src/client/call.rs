//! One call: the request is sent, and sent again, until there is a result or the deadline has come.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;
use tonic::{Response, Status};

use super::endpoints::{Address, Limit, Node, Routing, Target, Way};
use super::failure::{Advice, Failure, Leader};
use super::line::Line;
use super::pipe;
use super::reach::Obstacle;
use super::{Consistency, Error, Event, Refused, Shared};
use crate::reasons;

/// Whoever observes is told of a call that takes this long, and each time when twice as much has passed.
const TOLD_AFTER: Duration = Duration::from_secs(3);

/// How many addresses an error lists.
const TRIED_MAX: usize = 8;

/// Whether a request may be sent again although it may have been executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Yes: it carries a session, so it is executed once.
    BySession,
    /// Yes: a second execution does no harm.
    Freely,
    /// It is not even sent again when it was certainly not executed.
    Never,
}

/// One sending of a request.
#[derive(Clone, Copy)]
struct Sending {
    began: Instant,
    /// How many before it, to the same address, were not answered.
    unanswered: u32,
}

/// When a request is sent again.
enum Next {
    /// At once, to an address that it has not been to since the last pause: the one that is to lead, or the next one when the
    /// connection to it broke. Otherwise after a pause.
    AtOnce,
    /// After a pause, of at least so long.
    Later(Duration),
}

/// A request on its way.
pub(super) struct Call<'a> {
    shared: &'a Shared,
    repeat: Repeat,
    /// Any node serves it.
    is_anywhere: bool,
    /// The node may take until then to answer, and as much longer as the client has patience.
    wait_end: Instant,
    /// The observer is told again after so much of that patience.
    told_after: Duration,
    /// Redirects in a row: each followed by this call, and answered by another one.
    redirects: u32,
    /// Where the last of them led to.
    redirected_to: Option<Address>,
    /// Whom it has been to since the last pause.
    asked: Vec<Address>,
    /// Pauses so far.
    pauses: u32,
    in_doubt: bool,
    /// The last "not now" of a node that is worth waiting for.
    refused: Option<Refused>,
    tried: Vec<Tried>,
}

/// What became of the sendings to an address.
struct Tried {
    address: Address,
    /// The last one.
    failure: Failure,
    /// How many were not answered.
    unanswered: u32,
}

impl<'a> Call<'a> {
    /// A call in which nodes may wait until `wait_end` before they answer.
    pub(super) fn new(shared: &'a Shared, repeat: Repeat, wait_end: Instant) -> Self {
        let mut call = Self {
            shared,
            repeat,
            is_anywhere: false,
            wait_end,
            told_after: TOLD_AFTER,
            redirects: 0,
            redirected_to: None,
            asked: Vec::new(),
            pauses: 0,
            in_doubt: false,
            refused: None,
            tried: Vec::new(),
        };
        call.tell_after(wait_end.elapsed());
        call
    }

    /// The same call, for what is to be read as fresh as this: of what any node may show, the node that is asked shows its own.
    pub(super) fn reading(self, consistency: Consistency) -> Self {
        Self { is_anywhere: matches!(consistency, Consistency::AnyNode | Consistency::Stale), ..self }
    }

    /// Sends `request` with `send` until there is an answer.
    pub(super) async fn run<R, T, F>(self, request: R, send: impl Fn(Node, R) -> F) -> Result<T, Error>
    where
        R: Clone,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.run_each(|node, _| {
            let sent = send(node, request.clone());
            async { Ok(sent.await?.into_inner()) }
        })
        .await
    }

    /// As [`Call::run`], with a request made anew each time, for the time that this sending may take.
    pub(super) async fn run_each<T, F>(mut self, send: impl Fn(Node, Limit) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        loop {
            let target = self.target();
            // Another call has been at the leader that was named, in vain, before this one came to it.
            if self.redirected_to.as_ref().is_some_and(|to| *to != target.address) {
                self.redirects = 0;
            }
            let failure = match self.attempt(&target, &send).await {
                Ok(answer) => {
                    self.shared.endpoints.reached(&target.address);
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            self.asked.push(target.address.clone());
            match self.judge(&target, failure)? {
                Next::AtOnce if !self.asked.contains(&self.target().address) => self.check_time()?,
                Next::AtOnce => self.pause(Duration::ZERO).await?,
                Next::Later(least) => self.pause(least).await?,
            }
            self.tell_waiting(&target.address);
        }
    }

    fn target(&self) -> Target {
        let target = self.shared.endpoints.current();
        if self.is_anywhere { Target { routing: Routing::Direct, ..target } } else { target }
    }

    async fn attempt<T, F>(&mut self, target: &Target, send: &impl Fn(Node, Limit) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let node = self.shared.endpoints.node(target);
        let node = node.map_err(|why| Failure::Unreachable(why, Obstacle::Other))?;
        let line = node.line.clone();
        let unanswered = self.tried.iter().find(|tried| tried.address == target.address).map(|tried| tried.unanswered);
        let sending = Sending { began: Instant::now(), unanswered: unanswered.unwrap_or_default() };
        let connected_by = sending.began + self.shared.patience.connecting(sending.unanswered);
        let mut answer = std::pin::pin!(send(node, self.limit(sending)));
        loop {
            let end = self.end_of(sending, &line);
            if Instant::now() >= end {
                return Err(self.unanswered(sending, &line));
            }
            tokio::select! {
                answer = &mut answer => return answer,
                // It may have become later, by what the client has learnt of the line meanwhile.
                () = tokio::time::sleep_until(end) => {}
                () = tokio::time::sleep_until(connected_by), if Instant::now() < connected_by => {}
                () = tokio::time::sleep_until(self.wait_end + self.told_after) => self.tell_waiting(&target.address),
            }
        }
    }

    fn limit(&self, Sending { began, unanswered }: Sending) -> Limit {
        let (wait, patience) = (self.wait_end.saturating_duration_since(began), &self.shared.patience);
        Limit { silence: wait + patience.sending(unanswered), told: wait + patience.sending_max(unanswered) }
    }

    /// When a sending is given up, as far as can be told now.
    fn end_of(&self, Sending { began, unanswered }: Sending, line: &Line) -> Instant {
        let patience = &self.shared.patience;
        let wait = self.wait_end.saturating_duration_since(began);
        let mut end = began + wait + patience.sending(unanswered);
        if line.is_connecting() && self.shared.endpoints.is_choice() {
            end = end.min(began + patience.connecting(unanswered));
        }
        end.min(self.end())
    }

    fn unanswered(&self, Sending { began, .. }: Sending, line: &Line) -> Failure {
        if line.is_connecting() {
            return pipe::not_connected(began.elapsed());
        }
        self.shared.patience.on_silence();
        Failure::Silent(began.elapsed())
    }

    /// The call ends then, as far as can be told now.
    fn end(&self) -> Instant {
        self.wait_end + self.shared.patience.total()
    }

    /// Tells that there is no answer yet, when that is due.
    fn tell_waiting(&mut self, address: &Address) {
        let waited = self.wait_end.elapsed();
        if waited < self.told_after {
            return;
        }
        self.tell_after(waited);
        let patience = &self.shared.patience;
        let (total, request_time) = (patience.total(), patience.told());
        self.shared.tell(|| Event::Waiting { address: address.to_string(), waited, total, request_time });
    }

    /// The next time to tell that there is no answer comes after this one. Calls that serve the same one of the user have the same.
    fn tell_after(&mut self, waited: Duration) {
        while self.told_after <= waited {
            self.told_after *= 2;
        }
    }

    /// Decides what follows from a failure at `target`: the error that ends the call, or when to go on.
    fn judge(&mut self, target: &Target, failure: Failure) -> Result<Next, Error> {
        let address = &target.address;
        if self.repeat == Repeat::Never {
            return Err(final_error(address, failure));
        }
        let advice = match &failure {
            // What waits on a stream that is being connected may still go out.
            Failure::Unreachable(_, Obstacle::Silence) => Advice::ElsewhereInDoubt,
            Failure::Unreachable(..) => Advice::Elsewhere,
            Failure::Lost(_) | Failure::Silent(_) => Advice::ElsewhereInDoubt,
            Failure::Refused(refused) => {
                self.shared.endpoints.reached(address);
                self.shared.patience.on_told(refused.request_time());
                refused.advice(address)
            }
        };
        if !matches!(advice, Advice::Redirect(_)) {
            self.redirects = 0;
        }
        self.refused = None;
        let next = match &failure {
            Failure::Refused(refused) if refused.reason == reasons::NO_LEADER => Next::Later(Duration::ZERO),
            _ => Next::AtOnce,
        };
        match (advice, failure) {
            (Advice::Redirect(leader), failure) => self.redirect(target, leader, failure)?,
            (Advice::Unknown, failure) if self.repeat == Repeat::BySession => {
                return Err(Error::OutcomeUnknown { why: failure.to_string() });
            }
            (Advice::Later, Failure::Refused(refused)) => return Ok(Next::Later(self.later(address, refused))),
            (Advice::GiveUp, Failure::Refused(refused)) => return Err(self.refusal(refused)),
            (Advice::Elsewhere, failure) => self.elsewhere(address, failure),
            (_, failure) => {
                self.in_doubt = true;
                self.elsewhere(address, failure);
            }
        }
        Ok(next)
    }

    fn redirect(&mut self, target: &Target, leader: Leader, failure: Failure) -> Result<(), Error> {
        let address = &target.address;
        let Way::To(to) = self.shared.endpoints.go_to(address, &leader.address) else {
            self.redirects = 0;
            if target.routing == Routing::Forward {
                self.shared.tell(|| Event::Retrying { address: address.to_string(), why: failure.to_string() });
            }
            self.note(address, failure);
            return Ok(());
        };
        if self.redirects == self.shared.options.redirects_max {
            return Err(Error::TooManyRedirects {
                redirects: self.redirects,
                from: address.to_string(),
                to: leader.address,
                in_doubt: self.in_doubt,
            });
        }
        self.redirects += 1;
        self.redirected_to = Some(to);
        self.note(address, failure);
        self.shared.tell(|| Event::Redirected { from: address.to_string(), to: leader.address, leader: leader.name });
        Ok(())
    }

    fn elsewhere(&mut self, address: &Address, failure: Failure) {
        if let Failure::Unreachable(why, obstacle) = &failure
            && let Some(by) = self.shared.endpoints.cannot_reach(address, *obstacle)
        {
            self.shared.tell_forwarding(address, why, &by);
            return self.note(address, failure);
        }
        self.shared.endpoints.go_on_from(address);
        self.shared.tell(|| Event::Retrying { address: address.to_string(), why: failure.to_string() });
        self.note(address, failure);
    }

    fn later(&mut self, address: &Address, refused: Refused) -> Duration {
        self.shared.tell(|| Event::Retrying { address: address.to_string(), why: refused.to_string() });
        let delay = refused.retry_after.unwrap_or_default();
        self.refused = Some(refused);
        delay
    }

    /// Remembers what became of the last sending to `address`.
    fn note(&mut self, address: &Address, failure: Failure) {
        let before = self.tried.iter().position(|tried| tried.address == *address);
        let before = before.map(|at| self.tried.remove(at));
        if self.tried.len() == TRIED_MAX {
            self.tried.remove(0);
        }
        let is_silence = matches!(failure, Failure::Silent(_) | Failure::Unreachable(_, Obstacle::Silence));
        let unanswered = before.as_ref().map_or(0, |before| before.unanswered) + u32::from(is_silence);
        // A sending that the end of the call has cut short tells less than the one before it.
        let is_cut = is_silence && Instant::now() >= self.end();
        let failure = before.filter(|_| is_cut).map_or(failure, |before| before.failure);
        self.tried.push(Tried { address: address.clone(), failure, unanswered });
    }

    /// Pauses before the next sending, for a time drawn by chance but at least `pause_min`; ends the call if there is no
    /// time left after that.
    async fn pause(&mut self, pause_min: Duration) -> Result<(), Error> {
        self.asked.clear();
        let options = &self.shared.options;
        let longest = options.pause_min.saturating_mul(1 << self.pauses.min(16)).min(options.pause_max);
        self.pauses += 1;
        let pause = pause_min + self.shared.draw(longest / 2, longest);
        if Instant::now() + pause >= self.end() {
            return Err(self.too_late());
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Ends the call if there is no time left.
    fn check_time(&mut self) -> Result<(), Error> {
        if Instant::now() >= self.end() { Err(self.too_late()) } else { Ok(()) }
    }

    fn refusal(&self, refused: Refused) -> Error {
        Error::Refused(Refused { in_doubt: self.in_doubt, ..refused })
    }

    fn too_late(&mut self) -> Error {
        if let Some(refused) = self.refused.take() {
            return self.refusal(refused);
        }
        let text = |tried: &Tried| (tried.address.to_string(), tried.failure.to_string());
        let tried = self.tried.iter().map(text).collect();
        Error::Unavailable { after: Some(self.shared.patience.total()), tried, in_doubt: self.in_doubt }
    }
}

/// The error of a request that is sent only once.
fn final_error(address: &Address, failure: Failure) -> Error {
    match failure {
        Failure::Refused(refused) if refused.advice(address) == Advice::Unknown => {
            Error::OutcomeUnknown { why: refused.to_string() }
        }
        Failure::Refused(refused) => Error::Refused(refused),
        Failure::Unreachable(why, _) => {
            Error::Unavailable { after: None, tried: vec![(address.to_string(), why)], in_doubt: false }
        }
        Failure::Lost(_) | Failure::Silent(_) => Error::OutcomeUnknown { why: format!("{address}: {failure}") },
    }
}

impl Shared {
    pub(super) fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(observer) = &self.options.observer {
            observer(&event());
        }
    }

    fn tell_forwarding(&self, leader: &Address, why: &str, by: &Address) {
        if !self.told_forwarding.swap(true, Ordering::Relaxed) {
            let (leader, why, by) = (leader.to_string(), why.to_owned(), by.to_string());
            self.tell(|| Event::Forwarding { leader, why, by });
        }
    }

    fn draw(&self, from: Duration, to: Duration) -> Duration {
        let mut chance = self.chance.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        chance.random_range(from..=to)
    }
}
