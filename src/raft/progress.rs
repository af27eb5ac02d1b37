//! What a leader knows of one other member, and how fast it may send.

use std::collections::VecDeque;
use std::time::Duration;

use super::freshness::Echo;
use super::sample::Silence;
use crate::ids::{EntryId, Index, Time};

/// The leader's view of a member.
///
/// ```text
///     probe      one message at a time, until the member's log and ours are known to meet
///     replicate  many messages in flight, limited by count and by bytes
///     snapshot   what it lacks is no longer in our log: it is told to fetch a snapshot, until it has one
/// ```
#[derive(Debug)]
pub struct Progress {
    /// The member's log is durable and equal to ours up to here.
    pub matched: Index,
    /// The first entry to send next.
    pub next: Index,
    /// Entries for it are being read from disk, or were not there: then that is tried again with the next heartbeats.
    pub reading: bool,
    read_failed: bool,
    /// When it last answered anything.
    heard_at: Option<Time>,
    /// The connection to it broke after that.
    disconnected: bool,
    /// When the latest of the heartbeats was sent that it has answered. None: it has answered none.
    heartbeat_answered: Option<Time>,
    /// How long the answer to that one took. None: it has answered none.
    round_trip: Option<Duration>,
    heartbeats_sent: u64,
    heartbeats_heard: u64,
    /// The latest read round that it has answered.
    read_round: u64,
    /// Its answers to heartbeats are measured by it.
    pub silence: Silence,
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
    Probe {
        sent: Option<Probe>,
    },
    Replicate {
        in_flight: VecDeque<InFlight>,
        bytes: u64,
    },
    Snapshot {
        /// The end of the first snapshot that it was told of and from which our log goes on. It can still be fetching that one.
        first: Index,
        /// The last one that it was told of.
        told: EntryId,
        /// When it was. None: the message may have been lost.
        told_at: Option<Time>,
    },
}

/// A probe that was not yet answered.
#[derive(Clone, Copy, Debug)]
struct Probe {
    last: Index,
    bytes: u64,
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

/// What there is to see of a member, for whoever looks at the leader. Nothing here decides anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgressView {
    /// The member's log is durable and equal to the leader's up to here.
    pub matched: Index,
    /// AppendEntries that it has not answered yet.
    pub messages_in_flight: usize,
    /// The entries in them, in bytes.
    pub bytes_in_flight: u64,
    /// When it last answered anything in this term. None: it has not.
    pub heard_at: Option<Time>,
    /// How long the answer to a heartbeat took: to the latest one that it has answered. None: it has answered none.
    pub round_trip: Option<Duration>,
    /// Heartbeats that went out to it in this term.
    pub heartbeats_sent: u64,
    /// Answers to them.
    pub heartbeats_heard: u64,
    /// It once had, at the end of a short round, all that the leader had at its start.
    pub caught_up: bool,
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
            read_failed: false,
            heard_at: None,
            disconnected: false,
            heartbeat_answered: None,
            round_trip: None,
            heartbeats_sent: 0,
            heartbeats_heard: 0,
            read_round: 0,
            silence: Silence::default(),
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
            Mode::Snapshot { .. } => false,
        }
    }

    /// Entries up to `last` were sent.
    pub fn on_sent(&mut self, last: Index, bytes: u64, now: Time) {
        match &mut self.mode {
            Mode::Probe { sent } => *sent = Some(Probe { last, bytes, sent_at: now }),
            Mode::Replicate { in_flight, bytes: total } => {
                in_flight.push_back(InFlight { last, bytes, sent_at: now });
                *total += bytes;
                self.next = last.next();
            }
            Mode::Snapshot { .. } => {}
        }
    }

    /// The entries that were asked for came from the disk, or were not there. They may be wanted again and again, which must
    /// not keep the disk busy.
    pub fn on_read(&mut self, is_there: bool) {
        self.reading = !is_there;
        self.read_failed = !is_there;
    }

    /// True when the member is to be told to fetch the snapshot, for the first time or once more.
    pub fn snapshot_is_due(&self, now: Time, interval: Duration) -> bool {
        match &self.mode {
            Mode::Snapshot { told_at: Some(told_at), .. } => now - *told_at >= interval,
            _ => true,
        }
    }

    /// The member was told to fetch the snapshot up to `last`, where our log begins after `start`. Returns true when it had not
    /// been told of that one.
    pub fn on_snapshot_told(&mut self, last: EntryId, start: Index, now: Time) -> bool {
        let before = match &self.mode {
            Mode::Snapshot { first, told, .. } => Some((*first, *told)),
            _ => None,
        };
        let first = before.map(|(first, _)| first).filter(|first| *first >= start);
        self.mode = Mode::Snapshot { first: first.unwrap_or(last.index), told: last, told_at: Some(now) };
        self.caught_up = false;
        before.is_none_or(|(_, told)| told != last)
    }

    /// True while the member needs a snapshot.
    pub fn needs_snapshot(&self) -> bool {
        matches!(self.mode, Mode::Snapshot { .. })
    }

    /// The member needs the log after this index, as far as the log goes back to it: what it has, or will have with a
    /// snapshot that it can be fetching.
    pub fn goes_on_after(&self) -> Index {
        match &self.mode {
            Mode::Snapshot { first, .. } => *first,
            _ => self.matched,
        }
    }

    /// The member has everything up to `index`, where our log begins after `start`. Returns true when that is news.
    pub fn on_accepted(&mut self, index: Index, start: Index) -> bool {
        self.next = self.next.max(index.next());
        match &mut self.mode {
            // An answer to what was sent before the probe does not end it: each would open the whole window again, and where
            // messages overtake each other the answers to those would do the same.
            Mode::Probe { sent: Some(probe) } if index < probe.last => {}
            // Any snapshot will do that the log goes on from, also an older one than the last that it was told of.
            Mode::Snapshot { .. } if index < start => {}
            Mode::Probe { .. } | Mode::Snapshot { .. } => {
                self.mode = Mode::Replicate { in_flight: VecDeque::new(), bytes: 0 };
            }
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
        if attempt != self.attempt || was_overtaken || self.needs_snapshot() {
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

    /// A heartbeat goes out to the member.
    pub fn on_heartbeat_sent(&mut self) {
        self.heartbeats_sent += 1;
    }

    /// The member answered a heartbeat that was sent at `sent_at` and carried this read round. True: and none that was sent later.
    pub fn on_heartbeat_answered(&mut self, now: Time, sent_at: Time, read_round: u64) -> bool {
        // An answer that comes twice is not told from one to another heartbeat: it makes no more of them than were sent.
        self.heartbeats_heard = (self.heartbeats_heard + 1).min(self.heartbeats_sent);
        self.read_round = self.read_round.max(read_round);
        let is_latest = Some(sent_at) > self.heartbeat_answered;
        if is_latest {
            self.heartbeat_answered = Some(sent_at);
            self.round_trip = Some(now - sent_at);
        }
        is_latest
    }

    /// What there is to see of the member.
    pub fn view(&self) -> ProgressView {
        let (messages_in_flight, bytes_in_flight) = match &self.mode {
            Mode::Probe { sent } => (usize::from(sent.is_some()), sent.map_or(0, |probe| probe.bytes)),
            Mode::Replicate { in_flight, bytes } => (in_flight.len(), *bytes),
            Mode::Snapshot { .. } => (0, 0),
        };
        ProgressView {
            matched: self.matched,
            messages_in_flight,
            bytes_in_flight,
            heard_at: self.heard_at,
            round_trip: self.round_trip,
            heartbeats_sent: self.heartbeats_sent,
            heartbeats_heard: self.heartbeats_heard,
            caught_up: self.caught_up,
        }
    }

    /// When the latest of the heartbeats was sent that the member has answered; 0: none was answered.
    pub fn heartbeat_answered(&self) -> Time {
        self.heartbeat_answered.unwrap_or(Time(0))
    }

    /// The latest read round that the member has answered.
    pub fn read_round(&self) -> u64 {
        self.read_round
    }

    /// The connection to the member broke. If its process died, this tells sooner than any time-out.
    pub fn on_disconnected(&mut self) {
        self.disconnected = true;
        self.silence.forget();
        self.on_lost();
    }

    /// Messages may have been lost: go back to what is known. A probe assumes nothing and is only sent again; before the first
    /// answer nothing is known, and going back to that would send the whole log.
    pub fn on_lost(&mut self) {
        match &mut self.mode {
            Mode::Probe { sent } => *sent = None,
            Mode::Replicate { .. } => self.probe_from(self.matched.next()),
            Mode::Snapshot { told_at, .. } => *told_at = None,
        }
        // It may be away for long: whether it has caught up is to be found out again.
        self.caught_up = false;
    }

    /// Goes back if the oldest unanswered message was sent more than `patience` ago.
    pub fn give_up_waiting(&mut self, now: Time, patience: Duration) {
        if std::mem::take(&mut self.read_failed) {
            self.reading = false;
        }
        let oldest = match &self.mode {
            Mode::Probe { sent } => sent.map(|probe| probe.sent_at),
            Mode::Replicate { in_flight, .. } => in_flight.front().map(|append| append.sent_at),
            // It is told so again with the heartbeats.
            Mode::Snapshot { .. } => None,
        };
        if oldest.is_some_and(|since| now - since > patience) {
            self.on_lost();
        }
    }

    /// Judges the round of catching up, where the leader's log now ends at `last`. Returns true when a round has just been short
    /// enough.
    pub fn end_round(&mut self, last: Index, now: Time, short: Duration) -> bool {
        if self.matched < self.round.target || self.needs_snapshot() {
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
    use crate::ids::Term;

    const WINDOW: Window = Window { appends_max: 2, bytes_max: 100 };

    fn replicating() -> Progress {
        let mut progress = Progress::new(Index(9), Time(0));
        progress.on_accepted(Index(9), Index(0));
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
        assert!(progress.on_accepted(Index(11), Index(0)), "it is news all the same");
        assert!(!progress.may_send(WINDOW));
        progress.on_accepted(Index(12), Index(0));
        assert!(progress.may_send(WINDOW));
    }

    #[test]
    fn the_window_is_limited_by_count_and_by_bytes() {
        let mut progress = replicating();
        progress.on_sent(Index(10), 1, Time(0));
        assert!(progress.may_send(WINDOW));
        progress.on_sent(Index(11), 1, Time(0));
        assert!(!progress.may_send(WINDOW));
        progress.on_accepted(Index(11), Index(0));
        progress.on_sent(Index(12), 200, Time(0));
        assert!(!progress.may_send(WINDOW));
        progress.on_accepted(Index(12), Index(0));
        assert!(progress.may_send(WINDOW));
    }

    #[test]
    fn what_is_in_flight_is_seen_until_it_is_answered() {
        let in_flight = |progress: &Progress| (progress.view().messages_in_flight, progress.view().bytes_in_flight);
        let mut progress = Progress::new(Index(9), Time(0));
        assert_eq!(in_flight(&progress), (0, 0));
        progress.on_sent(Index(9), 7, Time(0));
        assert_eq!(in_flight(&progress), (1, 7), "a probe");
        progress.on_accepted(Index(9), Index(0));
        progress.on_sent(Index(10), 20, Time(0));
        progress.on_sent(Index(12), 30, Time(0));
        assert_eq!(in_flight(&progress), (2, 50));
        progress.on_accepted(Index(10), Index(0));
        assert_eq!((in_flight(&progress), progress.view().matched), ((1, 30), Index(10)));
        progress.on_snapshot_told(EntryId::new(Term(1), Index(20)), Index(15), Time(0));
        assert_eq!(in_flight(&progress), (0, 0));
    }

    /// Answers can overtake each other.
    #[test]
    fn the_round_trip_is_that_of_the_latest_heartbeat_that_was_answered() {
        let mut progress = replicating();
        assert_eq!((progress.view().round_trip, progress.view().heard_at), (None, None));
        for _ in 0..3 {
            progress.on_heartbeat_sent();
        }
        progress.on_heard(Time(25));
        progress.on_heartbeat_answered(Time(25), Time(20), 0);
        progress.on_heartbeat_answered(Time(90), Time(10), 0);
        let view = progress.view();
        assert_eq!((view.round_trip, view.heard_at), (Some(Duration::from_micros(5)), Some(Time(25))));
        assert_eq!((view.heartbeats_sent, view.heartbeats_heard), (3, 2));
    }

    #[test]
    fn a_repeated_answer_to_a_heartbeat_is_no_longer_round_trip_and_no_heartbeat() {
        let mut progress = replicating();
        progress.on_heartbeat_sent();
        progress.on_heartbeat_answered(Time(5), Time(0), 0);
        progress.on_heartbeat_answered(Time(900), Time(0), 0);
        let view = progress.view();
        assert_eq!((view.round_trip, view.heartbeats_heard), (Some(Duration::from_micros(5)), 1));
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
        progress.on_accepted(Index(9), Index(0));
        assert!(!progress.end_round(Index(20), Time(90_000), short), "the first round was long");
        progress.on_accepted(Index(15), Index(0));
        assert!(!progress.end_round(Index(20), Time(91_000), short), "the round goes on");
        progress.on_accepted(Index(20), Index(0));
        assert!(progress.end_round(Index(21), Time(92_000), short));
    }

    /// No entry may come for a long time that would end another round.
    #[test]
    fn a_learner_that_has_everything_has_caught_up_however_long_it_took() {
        let mut progress = Progress::new(Index(9), Time(0));
        progress.on_accepted(Index(9), Index(0));
        assert!(progress.end_round(Index(9), Time(90_000), Duration::from_millis(5)));
    }

    fn entry(index: u64) -> EntryId {
        EntryId::new(Term(1), Index(index))
    }

    /// An older snapshot than the last that was told of is as good, as long as the log goes on from it.
    #[test]
    fn any_snapshot_ends_the_wait_that_the_log_goes_on_from() {
        let mut progress = Progress::new(Index(9), Time(0));
        assert!(progress.on_snapshot_told(entry(20), Index(15), Time(0)));
        assert!(progress.on_snapshot_told(entry(30), Index(18), Time(1)));
        assert!(!progress.on_snapshot_told(entry(30), Index(18), Time(2)));
        assert_eq!(progress.goes_on_after(), Index(20), "it can be fetching the first one");
        assert!(progress.on_accepted(Index(17), Index(18)), "it is news");
        assert!(!progress.may_send(WINDOW), "and too little");
        assert!(!progress.on_rejected(0, Index(17), Index(10)), "a late message");
        progress.on_accepted(Index(20), Index(18));
        assert!(progress.may_send(WINDOW));
        assert_eq!((progress.next, progress.goes_on_after()), (Index(21), Index(20)));
    }

    #[test]
    fn a_snapshot_that_the_log_has_left_behind_is_not_waited_for() {
        let mut progress = Progress::new(Index(9), Time(0));
        progress.on_snapshot_told(entry(20), Index(15), Time(0));
        progress.on_snapshot_told(entry(40), Index(21), Time(1));
        assert_eq!(progress.goes_on_after(), Index(40));
    }

    /// Nothing of what such a member has been sent is in flight, and yet it has nothing to show.
    #[test]
    fn a_member_that_needs_a_snapshot_has_not_caught_up() {
        let mut progress = Progress::new(Index(9), Time(0));
        progress.on_accepted(Index(9), Index(0));
        assert!(progress.end_round(Index(9), Time(1), Duration::from_millis(5)));
        progress.on_snapshot_told(entry(20), Index(15), Time(2));
        assert!(!progress.caught_up);
        progress.on_accepted(Index(10), Index(15));
        assert!(!progress.end_round(Index(10), Time(3), Duration::from_millis(5)));
    }

    #[test]
    fn a_snapshot_is_told_once_an_interval() {
        let interval = Duration::from_millis(5);
        let mut progress = Progress::new(Index(9), Time(0));
        assert!(progress.snapshot_is_due(Time(0), interval));
        progress.on_snapshot_told(entry(20), Index(15), Time(0));
        assert!(!progress.snapshot_is_due(Time(4_999), interval));
        assert!(progress.snapshot_is_due(Time(5_000), interval));
        progress.on_disconnected();
        assert!(progress.snapshot_is_due(Time(1), interval), "the message can have been lost");
    }

    #[test]
    fn what_is_not_on_disk_is_not_asked_for_at_once() {
        let mut progress = replicating();
        progress.reading = true;
        progress.on_read(false);
        assert!(!progress.may_send(WINDOW));
        progress.give_up_waiting(Time(1), Duration::from_millis(5));
        assert!(progress.may_send(WINDOW));
    }
}
