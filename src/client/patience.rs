//! How long a client waits: for a node before it looks elsewhere, and for the cluster before it gives up.
//!
//! On a link of a tenth of a millisecond, a node that is silent for three seconds is dead; on one of a second each way that loses
//! packets it may just have been asked. Of the cluster the nodes tell: each answer, and each refusal, says how long a request may
//! take now ([`ResponseHeader.request_time`](crate::proto::v1::ResponseHeader)). Of the line to them the client knows how long it
//! took to connect, which is a round trip, or several where a packet was lost.
//!
//! ```text
//!     T  what nodes have told; 0: nobody has answered                D  the longest time that a connection took to make
//!
//!     one sending           2 T + 6 D, and not below 3.3 s; 5 s where nobody has answered; a third of the user's limit
//!     the whole call        three of those, from 10 s to 5 min; 30 s where a node was silent before any has answered;
//!                           the user's limit
//!     a connection          4 D, and not below 1 s; 2.5 s where none was made yet. Only where there is another address to go
//!                           to: nothing was sent, and the connection goes on being made
//!     a sending after others at the same address were not answered: twice as long each time
//! ```

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How long a call may take on a fast line, unless its user says otherwise.
const TOTAL: Duration = Duration::from_secs(10);
/// As long as nobody has answered, and somebody was silent.
const TOTAL_UNHEARD: Duration = Duration::from_secs(30);
/// Whatever nodes tell.
const TOTAL_MAX: Duration = Duration::from_secs(300);
/// What one sending may take is this part of the whole call.
const SENDINGS: u32 = 3;
/// As long as nobody has answered.
const SENDING_UNHEARD: Duration = Duration::from_secs(5);
/// How often a request may be lost, with its answer, on the line to the node: it takes twice as long each time, and more.
const LINE_TIMES: u32 = 6;
/// The first packet of a connection is sent again after 1 s and after 3 s. As long as none was made: those two, on a line with a
/// round trip of 1.5 s, or the first one on a line of 2.5 s.
const CONNECTING_UNHEARD: Duration = Duration::from_millis(2_500);
/// However short the others took.
const CONNECTING_MIN: Duration = Duration::from_secs(1);
/// As [`LINE_TIMES`], for a connection.
const CONNECTING_TIMES: u32 = 4;
/// Waiting is doubled so often at most.
const DOUBLINGS_MAX: u32 = 4;

/// What a client knows of how long things take.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// The user's limit.
    limit: Option<Duration>,
    /// What a node has told last, in microseconds; 0: none has.
    told: AtomicU64,
    /// The longest time that a connection took to make, in microseconds; 0: none was made.
    connected_in: AtomicU64,
    /// A node did not answer, and none had before.
    is_silent: AtomicBool,
}

impl Patience {
    /// Of a client whose calls may take as long as `limit`; none: as long as the nodes say.
    pub(super) fn new(limit: Option<Duration>) -> Self {
        Self { limit, ..Self::default() }
    }

    /// A node tells how long a request may take. One that cannot tell yet, or makes no sense, changes nothing.
    pub(super) fn on_told(&self, request_time: Option<Duration>) {
        if let Some(told) = request_time.filter(|time| !time.is_zero()) {
            self.told.store(told.min(TOTAL_MAX).as_micros() as u64, Ordering::Relaxed);
        }
    }

    /// A connection was made, and took so long.
    pub(super) fn on_connected(&self, took: Duration) {
        self.connected_in.fetch_max(took.min(TOTAL_MAX).as_micros().max(1) as u64, Ordering::Relaxed);
    }

    /// A node did not answer in time.
    pub(super) fn on_silence(&self) {
        self.is_silent.store(true, Ordering::Relaxed);
    }

    /// How long a request may take, as a node has told last.
    pub(super) fn told(&self) -> Option<Duration> {
        known(&self.told)
    }

    /// How long a call may take, all repetitions included. It can change while one is under way.
    pub(super) fn total(&self) -> Duration {
        let least = match self.told() {
            None if self.is_silent.load(Ordering::Relaxed) => TOTAL_UNHEARD,
            _ => TOTAL,
        };
        self.limit.unwrap_or_else(|| (self.needed() * SENDINGS).clamp(least, TOTAL_MAX))
    }

    /// How long one sending may take, where `unanswered` earlier ones of the same call were not answered. It can change while one
    /// is under way.
    pub(super) fn sending(&self, unanswered: u32) -> Duration {
        let least = match (self.limit, self.told()) {
            (Some(limit), _) => limit / SENDINGS,
            (None, Some(_)) => TOTAL / SENDINGS,
            (None, None) => SENDING_UNHEARD,
        };
        doubled(least.max(self.needed()), unanswered).min(self.total())
    }

    /// What one sending can become at most while it is under way.
    pub(super) fn sending_max(&self, unanswered: u32) -> Duration {
        match (self.limit, known(&self.connected_in)) {
            (Some(limit), _) => limit,
            (None, None) => doubled(TOTAL_UNHEARD, unanswered).min(TOTAL_MAX),
            (None, Some(_)) => self.sending(unanswered),
        }
    }

    /// How long a connection may take to make before another address is tried, where `unanswered` earlier sendings to the same
    /// address were not answered.
    pub(super) fn connecting(&self, unanswered: u32) -> Duration {
        let longest = known(&self.connected_in);
        let first = longest.map_or(CONNECTING_UNHEARD, |took| (took * CONNECTING_TIMES).max(CONNECTING_MIN));
        doubled(first, unanswered).min(self.sending(unanswered))
    }

    /// What one sending needs by all that is known.
    fn needed(&self) -> Duration {
        self.told().unwrap_or_default() * 2 + known(&self.connected_in).unwrap_or_default() * LINE_TIMES
    }
}

fn known(micros: &AtomicU64) -> Option<Duration> {
    let micros = micros.load(Ordering::Relaxed);
    (micros != 0).then(|| Duration::from_micros(micros))
}

fn doubled(duration: Duration, times: u32) -> Duration {
    duration * (1 << times.min(DOUBLINGS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn nobody_is_given_up_before_a_slow_line_could_have_answered() {
        let patience = Patience::new(None);
        assert_eq!((patience.sending(0), patience.total()), (seconds(5), seconds(10)));
        assert_eq!((patience.connecting(0), patience.connecting(1)), (CONNECTING_UNHEARD, seconds(5)));
        patience.on_silence();
        assert_eq!([0, 1, 2, 9].map(|unanswered| patience.sending(unanswered)), [5, 10, 20, 30].map(seconds));
        assert_eq!(patience.total(), seconds(30));
        patience.on_connected(seconds(2));
        assert_eq!((patience.sending(0), patience.total()), (seconds(12), seconds(36)), "the line is slow");
        assert_eq!(patience.connecting(0), seconds(8));
        patience.on_connected(seconds(1));
        assert_eq!(patience.sending(0), seconds(12));
    }

    #[test]
    fn it_follows_what_nodes_tell() {
        let patience = Patience::new(None);
        patience.on_told(None);
        patience.on_told(Some(Duration::ZERO));
        assert_eq!(patience.told(), None);
        patience.on_told(Some(Duration::from_millis(500)));
        assert_eq!((patience.sending(0), patience.total()), (TOTAL / 3, TOTAL));
        patience.on_told(Some(seconds(20)));
        assert_eq!(
            (patience.sending(0), patience.sending(1), patience.total()),
            (seconds(40), seconds(80), seconds(120))
        );
        patience.on_connected(seconds(2));
        assert_eq!((patience.sending(0), patience.total()), (seconds(52), seconds(156)), "the line comes on top");
        patience.on_told(Some(Duration::MAX));
        patience.on_connected(Duration::MAX);
        assert_eq!((patience.sending(0), patience.total()), (TOTAL_MAX, TOTAL_MAX));
    }

    #[test]
    fn a_fast_line_changes_nothing_but_how_long_a_connection_may_take() {
        let patience = Patience::new(None);
        patience.on_connected(Duration::from_micros(100));
        patience.on_told(Some(Duration::from_millis(500)));
        assert_eq!((patience.connecting(0), patience.sending(0), patience.total()), (seconds(1), TOTAL / 3, TOTAL));
    }

    #[test]
    fn the_limit_of_the_user_holds() {
        let patience = Patience::new(Some(seconds(6)));
        patience.on_silence();
        assert_eq!((patience.sending(0), patience.sending(1), patience.total()), (seconds(2), seconds(4), seconds(6)));
        assert_eq!(patience.connecting(0), seconds(2));
        patience.on_told(Some(seconds(2)));
        assert_eq!(patience.sending(0), seconds(4));
        patience.on_told(Some(seconds(20)));
        patience.on_connected(seconds(20));
        assert_eq!((patience.sending(0), patience.total()), (seconds(6), seconds(6)));
        assert_eq!(patience.sending_max(3), seconds(6));
    }

    #[test]
    fn nodes_are_told_of_the_longest_time_that_a_sending_can_get() {
        let patience = Patience::new(None);
        assert_eq!(patience.sending_max(0), TOTAL_UNHEARD);
        let told = patience.sending_max(0);
        patience.on_connected(seconds(5));
        assert!(patience.sending(0) <= told);
        assert_eq!(patience.sending_max(0), patience.sending(0));
    }
}
