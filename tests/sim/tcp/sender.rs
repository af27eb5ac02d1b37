//! The sending half of a connection: what is unacknowledged, what counts as lost (RACK, RFC 8985, and the time-out), and how
//! much may be in flight (a congestion window that a loss shrinks to seven tenths, as CUBIC does).
//!
//! Segments have numbers instead of bytes. Left out, as each shows in the tail of short flows only: the tail loss probe, which on
//! these links comes after the time-out; delayed acknowledgements; the detection of spurious time-outs.

use std::collections::VecDeque;
use std::sync::Arc;

use super::estimator::Estimator;
use crate::knobs::Micros;

/// What Linux begins with.
const WINDOW_FIRST: u64 = 10;

/// So many later segments are acknowledged before reordering is ruled out.
const REORDERING_MAX: usize = 3;

/// After so many recoveries the allowance for reordering is small again.
const RECOVERIES_PER_ALLOWANCE: u32 = 16;

/// What a segment carries.
#[derive(Debug)]
pub enum Payload<M> {
    /// The dialer says who it is.
    Hello,
    /// The messages that end in this segment.
    Messages(Vec<M>),
    /// The connection is tried, as HTTP/2 does it. What comes back is the acknowledgement.
    Ping,
    /// There is nothing after this.
    Fin,
}

/// An acknowledgement.
#[derive(Clone, Debug)]
pub struct Ack {
    /// All segments before this one have come.
    pub next: u64,
    /// Of those after it, these have.
    pub sacked: Vec<u64>,
    /// When the segment was sent that `next` rose with, or a later copy of one before it (RFC 7323, section 4.3).
    pub echo: Micros,
    /// The segment had come before.
    pub is_duplicate: bool,
}

/// A segment to put on the wire.
pub struct Transmission<M> {
    /// Its number.
    pub number: u64,
    /// What is in it.
    pub payload: Arc<Payload<M>>,
}

/// The sending half.
#[derive(Debug)]
pub struct Sender<M> {
    segment_bytes: u64,
    /// What the process has written and no segment carries, each with its length.
    waiting: VecDeque<(u64, M)>,
    /// Bytes of the first of them that are in segments already.
    begun: u64,
    must_say_hello: bool,
    must_ping: bool,
    /// The segment of the last ping.
    ping: Option<u64>,
    must_say_end: bool,
    /// The process has ended.
    is_closing: bool,
    /// The first segment that is not acknowledged.
    first: u64,
    in_flight: VecDeque<Segment<M>>,
    estimator: Estimator,
    window: u64,
    threshold: u64,
    /// Segments that were acknowledged since the window grew.
    credit: u64,
    recovery: Option<Recovery>,
    newest: Option<Newest>,
    highest_sacked: u64,
    saw_reordering: bool,
    /// The allowance for reordering, in quarters of the shortest round trip.
    allowance: u64,
    recoveries_left: u32,
    times_out_at: Option<Micros>,
    reordering_ends_at: Option<Micros>,
}

#[derive(Debug)]
struct Segment<M> {
    payload: Arc<Payload<M>>,
    sent_at: Micros,
    transmissions: u32,
    is_sacked: bool,
    /// To be sent again.
    is_lost: bool,
}

/// Losses are being repaired.
#[derive(Debug)]
struct Recovery {
    /// It ends when everything before this is acknowledged.
    until: u64,
    window_before: u64,
    /// Segments that were sent again and not said to have come twice.
    unproven: u64,
}

/// Of all segments that have come the one that was sent last.
#[derive(Clone, Copy, Debug)]
struct Newest {
    sent_at: Micros,
    number: u64,
    round_trip: Micros,
}

impl<M> Sender<M> {
    /// One that has a connection since now, for which it has sent so many SYNs. `round_trip` is how long the first one took, if it
    /// was the only one.
    pub fn new(segment_bytes: u64, syns: u32, round_trip: Option<Micros>) -> Self {
        let mut estimator = Estimator::new(syns);
        round_trip.into_iter().for_each(|sample| estimator.on_sample(sample));
        Self {
            segment_bytes,
            waiting: VecDeque::new(),
            begun: 0,
            must_say_hello: true,
            must_ping: false,
            ping: None,
            must_say_end: false,
            is_closing: false,
            first: 0,
            in_flight: VecDeque::new(),
            estimator,
            window: WINDOW_FIRST,
            threshold: u64::MAX,
            credit: 0,
            recovery: None,
            newest: None,
            highest_sacked: 0,
            saw_reordering: false,
            allowance: 1,
            recoveries_left: 0,
            times_out_at: None,
            reordering_ends_at: None,
        }
    }

    /// The process writes a message.
    pub fn write(&mut self, bytes: u64, message: M) {
        self.waiting.push_back((bytes.max(1), message));
    }

    /// The connection is tried.
    pub fn ping(&mut self) {
        self.must_ping = true;
    }

    /// The last ping has not come yet, as far as is known here.
    pub fn is_pinging(&self) -> bool {
        self.must_ping || self.ping.is_some_and(|number| number >= self.first)
    }

    /// The process writes nothing more.
    pub fn close(&mut self) {
        (self.is_closing, self.must_say_end) = (true, true);
    }

    /// Everything has come, the end included.
    pub fn is_done(&self) -> bool {
        self.is_closing && !self.must_say_end && self.in_flight.is_empty()
    }

    /// The time-out.
    pub fn timeout(&self) -> Micros {
        self.estimator.timeout()
    }

    /// When `on_timer` has something to do.
    pub fn next_timer(&self) -> Option<Micros> {
        self.times_out_at.into_iter().chain(self.reordering_ends_at).min()
    }

    /// What may be sent now: what was lost, then what is new.
    pub fn transmit(&mut self, now: Micros) -> Vec<Transmission<M>> {
        let mut room = self.window.saturating_sub(self.outstanding());
        let mut sent = Vec::new();
        for (number, segment) in (self.first..).zip(&mut self.in_flight).filter(|(_, segment)| segment.is_lost) {
            if room == 0 {
                break;
            }
            room -= 1;
            (segment.is_lost, segment.sent_at) = (false, now);
            segment.transmissions += 1;
            sent.push(Transmission { number, payload: segment.payload.clone() });
        }
        if let Some(recovery) = &mut self.recovery {
            recovery.unproven += sent.len() as u64;
        }
        while room > 0
            && let Some(payload) = self.next_payload()
        {
            room -= 1;
            let (number, payload) = (self.first + self.in_flight.len() as u64, Arc::new(payload));
            sent.push(Transmission { number, payload: payload.clone() });
            let segment = Segment { payload, sent_at: now, transmissions: 1, is_sacked: false, is_lost: false };
            self.in_flight.push_back(segment);
        }
        if !sent.is_empty() && self.times_out_at.is_none() {
            self.times_out_at = Some(now + self.estimator.timeout());
        }
        sent
    }

    fn outstanding(&self) -> u64 {
        self.in_flight.iter().filter(|segment| !segment.is_sacked && !segment.is_lost).count() as u64
    }

    fn next_payload(&mut self) -> Option<Payload<M>> {
        if std::mem::take(&mut self.must_say_hello) {
            return Some(Payload::Hello);
        }
        if std::mem::take(&mut self.must_ping) {
            self.ping = Some(self.first + self.in_flight.len() as u64);
            return Some(Payload::Ping);
        }
        if self.waiting.is_empty() {
            return std::mem::take(&mut self.must_say_end).then_some(Payload::Fin);
        }
        let mut room = self.segment_bytes;
        let mut messages = Vec::new();
        while room > 0
            && let Some((bytes, _)) = self.waiting.front()
        {
            let left = bytes - self.begun;
            if left > room {
                self.begun += room;
                break;
            }
            room -= left;
            self.begun = 0;
            messages.extend(self.waiting.pop_front().map(|(_, message)| message));
        }
        Some(Payload::Messages(messages))
    }

    /// An acknowledgement has come.
    pub fn on_ack(&mut self, now: Micros, ack: &Ack) {
        let was_full = self.outstanding() >= self.window || !self.waiting.is_empty();
        let mut sample = None;
        let (mut acknowledged, has_advanced) = (0, ack.next > self.first);
        let mut was_sent_again = false;
        while self.first < ack.next {
            let segment = self.in_flight.pop_front().expect("only what was sent is acknowledged");
            let number = self.first;
            self.first += 1;
            was_sent_again |= segment.transmissions > 1;
            if !segment.is_sacked {
                acknowledged += 1;
                self.came(now, number, segment.sent_at, segment.transmissions, &mut sample);
            }
        }
        for number in &ack.sacked {
            let Some(at) = number.checked_sub(self.first) else { continue };
            let Some(segment) = self.in_flight.get_mut(at as usize).filter(|segment| !segment.is_sacked) else {
                continue;
            };
            (segment.is_sacked, segment.is_lost) = (true, false);
            let (sent_at, transmissions) = (segment.sent_at, segment.transmissions);
            acknowledged += 1;
            self.came(now, *number, sent_at, transmissions, &mut sample);
        }
        // What was sent once and is acknowledged together with what was sent again has waited for that (Karn).
        if let Some(sample) = sample.filter(|_| !was_sent_again).or(has_advanced.then_some(now - ack.echo)) {
            self.estimator.on_sample(sample);
        }
        if ack.is_duplicate {
            self.came_twice();
        }
        self.recovery.take_if(|recovery| self.first >= recovery.until);
        if was_full && self.recovery.is_none() {
            self.grow(acknowledged);
        }
        if has_advanced {
            self.times_out_at = (!self.in_flight.is_empty()).then(|| now + self.estimator.timeout());
        }
        self.find_lost(now);
    }

    /// A segment has come, for all that is known for the first time.
    fn came(&mut self, now: Micros, number: u64, sent_at: Micros, transmissions: u32, sample: &mut Option<Micros>) {
        let round_trip = now - sent_at;
        if transmissions == 1 {
            sample.get_or_insert(round_trip);
            self.saw_reordering |= number < self.highest_sacked;
        } else if round_trip < self.estimator.shortest() {
            // What was sent first has come, not what was sent again.
            return;
        }
        self.highest_sacked = self.highest_sacked.max(number);
        if self.newest.is_none_or(|newest| (newest.sent_at, newest.number) < (sent_at, number)) {
            self.newest = Some(Newest { sent_at, number, round_trip });
        }
    }

    /// Something was sent again for nothing: reordering goes further than was allowed for, and the window need not have shrunk.
    fn came_twice(&mut self) {
        self.allowance = (self.allowance + 1).min(255);
        self.recoveries_left = RECOVERIES_PER_ALLOWANCE;
        let Some(recovery) = &mut self.recovery else { return };
        recovery.unproven = recovery.unproven.saturating_sub(1);
        if recovery.unproven == 0 {
            self.window = self.window.max(recovery.window_before);
            self.recovery = None;
        }
    }

    fn grow(&mut self, acknowledged: u64) {
        if self.window < self.threshold {
            self.window += acknowledged;
            return;
        }
        self.credit += acknowledged;
        if self.credit >= self.window {
            self.credit -= self.window;
            self.window += 1;
        }
    }

    /// Takes for lost what was sent well before something that has come.
    fn find_lost(&mut self, now: Micros) {
        self.reordering_ends_at = None;
        let Some(newest) = self.newest else { return };
        let patience = newest.round_trip + self.reordering_window();
        let mut has_lost = false;
        for (number, segment) in (self.first..).zip(&mut self.in_flight) {
            let is_open = !segment.is_sacked && !segment.is_lost;
            if !is_open || (segment.sent_at, number) >= (newest.sent_at, newest.number) {
                continue;
            }
            if segment.sent_at + patience <= now {
                segment.is_lost = true;
                has_lost = true;
            } else {
                let at = segment.sent_at + patience;
                self.reordering_ends_at = Some(self.reordering_ends_at.map_or(at, |earlier| earlier.min(at)));
            }
        }
        if has_lost && self.recovery.is_none() {
            self.begin_recovery();
            self.window = self.threshold;
        }
    }

    fn reordering_window(&self) -> Micros {
        let sacked = self.in_flight.iter().filter(|segment| segment.is_sacked).count();
        if !self.saw_reordering && (self.recovery.is_some() || sacked >= REORDERING_MAX) {
            return 0;
        }
        (self.estimator.shortest() / 4 * self.allowance).min(self.estimator.smoothed())
    }

    fn begin_recovery(&mut self) {
        self.recoveries_left = self.recoveries_left.saturating_sub(1);
        if self.recoveries_left == 0 {
            self.allowance = 1;
        }
        let until = self.first + self.in_flight.len() as u64;
        self.recovery = Some(Recovery { until, window_before: self.window, unproven: 0 });
        self.threshold = (self.window * 7 / 10).max(2);
    }

    /// A time has come that `next_timer` has named.
    pub fn on_timer(&mut self, now: Micros) {
        if self.times_out_at.is_some_and(|at| at <= now) {
            self.time_out(now);
        }
        if self.reordering_ends_at.is_some_and(|at| at <= now) {
            self.find_lost(now);
        }
    }

    /// Nothing new was heard for long: all that is not known to have come is lost, and the first of it is tried alone.
    fn time_out(&mut self, now: Micros) {
        if self.recovery.is_none() {
            self.begin_recovery();
        }
        self.in_flight.iter_mut().filter(|segment| !segment.is_sacked).for_each(|segment| segment.is_lost = true);
        self.window = 1;
        self.credit = 0;
        self.reordering_ends_at = None;
        self.estimator.double();
        self.times_out_at = Some(now + self.estimator.timeout());
    }
}
