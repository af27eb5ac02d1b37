//! What a leader knows of one other member, and how fast it may send.

use std::collections::VecDeque;
use std::time::Duration;

use super::freshness::Echo;
use crate::ids::{Index, Time};

/// The leader's view of a member.
///
/// ```text
///     probe      one message at a time, until the member's log and ours are known to meet
///     replicate  many messages in flight, limited by count and by bytes
/// ```
#[derive(Debug)]
pub struct Progress {
    /// The member's log is durable and equal to ours up to here.
    pub matched: Index,
    /// The first entry to send next.
    pub next: Index,
    /// Entries for it are being read from disk.
    pub reading: bool,
    /// When it last answered anything.
    heard_at: Option<Time>,
    /// The connection to it broke after that.
    disconnected: bool,
    /// When the latest of the heartbeats was sent that it has answered.
    heartbeat_answered: Time,
    /// The latest read round that it has answered.
    read_round: u64,
    /// Its clock.
    pub echo: Echo,
    /// It once had, at the end of a short round, all that the leader had at its start (dissertation, section 4.2.1).
    pub caught_up: bool,
    mode: Mode,
    /// Counts how often we went back. Messages in flight from before are rejected as well, and each of those rejections would
    /// send everything again.
    attempt: u64,
    round: Round,
}

#[derive(Debug)]
enum Mode {
    Probe { sent: Option<Probe> },
    Replicate { in_flight: VecDeque<InFlight>, bytes: u64 },
}

/// A probe that was not yet answered.
#[derive(Clone, Copy, Debug)]
struct Probe {
    last: Index,
    sent_at: Time,
}

/// An AppendEntries that was not yet answered.
#[derive(Debug)]
struct InFlight {
    last: Index,
    bytes: u64,
    sent_at: Time,
}

/// A round of catching up: from its start until the member has what the leader had then.
#[derive(Debug)]
struct Round {
    target: Index,
    started_at: Time,
}

/// How much may be in flight to one member.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Messages.
    pub appends_max: usize,
    /// Bytes. One message may go beyond, or none could ever be sent.
    pub bytes_max: u64,
}

impl Progress {
    /// A member of whose log nothing is known. The leader's log ends at `last`.
    pub fn new(last: Index, now: Time) -> Self {
        Self {
            matched: Index(0),
            next: last.next(),
            reading: false,
            heard_at: None,
            disconnected: false,
            heartbeat_answered: Time(0),
            read_round: 0,
            echo: Echo::default(),
            caught_up: false,
            mode: Mode::Probe { sent: None },
            attempt: 0,
            round: Round { target: last, started_at: now },
        }
    }

    /// True when another AppendEntries may be sent.
    pub fn may_send(&self, window: Window) -> bool {
        match &self.mode {
            _ if self.reading => false,
            Mode::Probe { sent } => sent.is_none(),
            Mode::Replicate { in_flight, bytes } => in_flight.len() < window.appends_max && *bytes < window.bytes_max,
        }
    }

    /// Entries up to `last` were sent.
    pub fn on_sent(&mut self, last: Index, bytes: u64, now: Time) {
        match &mut self.mode {
            Mode::Probe { sent } => *sent = Some(Probe { last, sent_at: now }),
            Mode::Replicate { in_flight, bytes: total } => {
                in_flight.push_back(InFlight { last, bytes, sent_at: now });
                *total += bytes;
                self.next = last.next();
            }
        }
    }

    /// The member has everything up to `index`. Returns true when that is news.
    pub fn on_accepted(&mut self, index: Index) -> bool {
        self.next = self.next.max(index.next());
        match &mut self.mode {
            // An answer to what was sent before the probe does not end it: each would open the whole window again, and where
            // messages overtake each other the answers to those would do the same.
            Mode::Probe { sent: Some(probe) } if index < probe.last => {}
            Mode::Probe { .. } => self.mode = Mode::Replicate { in_flight: VecDeque::new(), bytes: 0 },
            Mode::Replicate { in_flight, bytes } => {
                while in_flight.front().is_some_and(|append| append.last <= index) {
                    *bytes -= in_flight.pop_front().map_or(0, |append| append.bytes);
                }
            }
        }
        let is_news = index > self.matched;
        self.matched = self.matched.max(index);
        is_news
    }

    /// The member rejected a message of `attempt`, because it had no entry equal to ours at `previous`; its log may meet ours
    /// before `next`. Returns false when the answer is to a question that is no longer asked.
    pub fn on_rejected(&mut self, attempt: u64, previous: Index, next: Index) -> bool {
        let is_probe = matches!(self.mode, Mode::Probe { .. });
        let was_overtaken = !is_probe && previous < self.matched;
        if attempt != self.attempt || was_overtaken {
            return false;
        }
        let next = next.min(previous);
        if is_probe {
            // It can be before `matched`: the member's disk has lost what it had acknowledged. Insisting would never end.
            self.matched = self.matched.min(next.previous());
        }
        self.probe_from(next.max(self.matched.next()));
        true
    }

    /// Goes into each message to the member, which echoes it in a rejection.
    pub fn attempt(&self) -> u64 {
        self.attempt
    }

    /// The member answered something.
    pub fn on_heard(&mut self, now: Time) {
        self.heard_at = Some(now);
        self.disconnected = false;
    }

    /// The member answered a heartbeat that was sent then and carried this read round.
    pub fn on_heartbeat_answered(&mut self, sent_at: Time, read_round: u64) {
        self.heartbeat_answered = self.heartbeat_answered.max(sent_at);
        self.read_round = self.read_round.max(read_round);
    }

    /// When the latest of the heartbeats was sent that the member has answered; 0: none was answered.
    pub fn heartbeat_answered(&self) -> Time {
        self.heartbeat_answered
    }

    /// The latest read round that the member has answered.
    pub fn read_round(&self) -> u64 {
        self.read_round
    }

    /// The connection to the member broke. If its process died, this tells sooner than any time-out.
    pub fn on_disconnected(&mut self) {
        self.disconnected = true;
        self.on_lost();
    }

    /// Messages may have been lost: go back to what is known. A probe assumes nothing and is only sent again; before the first
    /// answer nothing is known, and going back to that would send the whole log.
    pub fn on_lost(&mut self) {
        match &mut self.mode {
            Mode::Probe { sent } => *sent = None,
            Mode::Replicate { .. } => self.probe_from(self.matched.next()),
        }
        // It may be away for long: whether it has caught up is to be found out again.
        self.caught_up = false;
    }

    /// Goes back if the oldest unanswered message was sent more than `patience` ago.
    pub fn give_up_waiting(&mut self, now: Time, patience: Duration) {
        let oldest = match &self.mode {
            Mode::Probe { sent } => sent.map(|probe| probe.sent_at),
            Mode::Replicate { in_flight, .. } => in_flight.front().map(|append| append.sent_at),
        };
        if oldest.is_some_and(|since| now - since > patience) {
            self.on_lost();
        }
    }

    /// Judges the round of catching up, where the leader's log now ends at `last`. Returns true when a round has just been short
    /// enough.
    pub fn end_round(&mut self, last: Index, now: Time, short: Duration) -> bool {
        if self.matched < self.round.target {
            return false;
        }
        let was_caught_up = self.caught_up;
        // With nothing left to send, the round after this one is over as it begins: no entry may come that would end it.
        self.caught_up |= now - self.round.started_at < short || self.matched >= last;
        self.round = Round { target: last, started_at: now };
        self.caught_up && !was_caught_up
    }

    /// True when the member answered within `window` and there is no sign that it died since: it can be counted on.
    pub fn is_well(&self, now: Time, window: Duration) -> bool {
        self.was_heard(now, window) && !self.disconnected
    }

    /// True when the member answered within `window`.
    pub fn was_heard(&self, now: Time, window: Duration) -> bool {
        self.heard_at.is_some_and(|heard_at| now - heard_at <= window)
    }

    fn probe_from(&mut self, next: Index) {
        self.next = next;
        self.attempt += 1;
        self.mode = Mode::Probe { sent: None };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { appends_max: 2, bytes_max: 100 };

    fn replicating() -> Progress {
        let mut progress = Progress::new(Index(9), Time(0));
        progress.on_accepted(Index(9));
        progress
    }

    #[test]
    fn a_probe_is_one_message_at_a_time() {
        let mut progress = Progress::new(Index(9), Time(0));
        assert!(progress.may_send(WINDOW));
        progress.on_sent(Index(12), 10, Time(0));
        assert!(!progress.may_send(WINDOW));
        assert_eq!(progress.next, Index(10), "a probe assumes nothing");
    }

    /// Where messages overtake each other, late answers must not open the window again and again.
    #[test]
    fn only_its_own_answer_ends_a_probe() {
        let mut progress = replicating();
        progress.on_sent(Index(10), 1, Time(0));
        progress.on_sent(Index(11), 1, Time(0));
        assert!(progress.on_rejected(0, Index(10), Index(10)));
        progress.on_sent(Index(12), 1, Time(0));
        assert!(progress.on_accepted(Index(11)), "it is news all the same");
        assert!(!progress.may_send(WINDOW));
        progress.on_accepted(Index(12));
        assert!(progress.may_send(WINDOW));
    }

    #[test]
    fn the_window_is_limited_by_count_and_by_bytes() {
        let mut progress = replicating();
        progress.on_sent(Index(10), 1, Time(0));
        assert!(progress.may_send(WINDOW));
        progress.on_sent(Index(11), 1, Time(0));
        assert!(!progress.may_send(WINDOW));
        progress.on_accepted(Index(11));
        progress.on_sent(Index(12), 200, Time(0));
        assert!(!progress.may_send(WINDOW));
        progress.on_accepted(Index(12));
        assert!(progress.may_send(WINDOW));
    }

    #[test]
    fn late_rejections_change_nothing() {
        let mut progress = replicating();
        progress.on_sent(Index(12), 1, Time(0));
        progress.on_sent(Index(15), 1, Time(0));
        assert!(progress.on_rejected(0, Index(13), Index(12)));
        assert_eq!((progress.next, progress.attempt()), (Index(12), 1));
        assert!(!progress.on_rejected(0, Index(12), Index(11)), "one message of the window was enough to go back");
        assert_eq!(progress.next, Index(12));
    }

    #[test]
    fn what_is_not_answered_is_sent_again() {
        let mut progress = replicating();
        progress.on_sent(Index(12), 1, Time(0));
        progress.give_up_waiting(Time(5_000), Duration::from_millis(5));
        assert_eq!(progress.next, Index(13), "not yet");
        progress.give_up_waiting(Time(5_001), Duration::from_millis(5));
        assert_eq!(progress.next, Index(10));
    }

    /// Dissertation, section 4.2.1.
    #[test]
    fn a_learner_has_caught_up_after_a_short_round() {
        let short = Duration::from_millis(5);
        let mut progress = Progress::new(Index(9), Time(0));
        progress.on_accepted(Index(9));
        assert!(!progress.end_round(Index(20), Time(90_000), short), "the first round was long");
        progress.on_accepted(Index(15));
        assert!(!progress.end_round(Index(20), Time(91_000), short), "the round goes on");
        progress.on_accepted(Index(20));
        assert!(progress.end_round(Index(21), Time(92_000), short));
    }

    /// No entry may come for a long time that would end another round.
    #[test]
    fn a_learner_that_has_everything_has_caught_up_however_long_it_took() {
        let mut progress = Progress::new(Index(9), Time(0));
        progress.on_accepted(Index(9));
        assert!(progress.end_round(Index(9), Time(90_000), Duration::from_millis(5)));
    }
}
