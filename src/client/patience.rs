//! How long a client waits: for a node before it looks elsewhere, and for the cluster before it gives up.
//!
//! On a link of a tenth of a millisecond, a node that is silent for three seconds is dead; on one of a second each way that loses
//! packets it may just have been asked. The client cannot tell by itself, so that the nodes do: each answer, and each refusal, says
//! how long a request may take now ([`ResponseHeader.request_time`](crate::proto::v1::ResponseHeader)).
//!
//! ```text
//!                            one sending                       the whole call
//!     the user's limit       a third of it                     the limit
//!     nodes have told T      2 T, at least 3.3 s               6 T, at least 10 s, at most 5 min
//!     nobody has answered    5 s: two round trips of 2 s and   10 s, and 30 s where a node was silent:
//!                            a packet that was lost            there may be a slow line to it
//!
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
/// Waiting is doubled so often at most.
const DOUBLINGS_MAX: u32 = 4;

/// What a client knows of how long things take.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// The user's limit.
    limit: Option<Duration>,
    /// What a node has told last, in microseconds; 0: none has.
    told: AtomicU64,
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

    /// A node did not answer in time.
    pub(super) fn on_silence(&self) {
        self.is_silent.store(true, Ordering::Relaxed);
    }

    /// How long a request may take, as a node has told last.
    pub(super) fn told(&self) -> Option<Duration> {
        let told = self.told.load(Ordering::Relaxed);
        (told != 0).then(|| Duration::from_micros(told))
    }

    /// How long a call may take, all repetitions included. It can change while one is under way.
    pub(super) fn total(&self) -> Duration {
        match (self.limit, self.told()) {
            (Some(limit), _) => limit,
            (None, Some(told)) => (told * 2 * SENDINGS).clamp(TOTAL, TOTAL_MAX),
            (None, None) if self.is_silent.load(Ordering::Relaxed) => TOTAL_UNHEARD,
            (None, None) => TOTAL,
        }
    }

    /// How long one sending may take, where `unanswered` earlier ones of the same call were not answered.
    pub(super) fn sending(&self, unanswered: u32) -> Duration {
        let first = match (self.limit, self.told()) {
            (Some(limit), told) => (limit / SENDINGS).max(told.unwrap_or_default() * 2),
            (None, Some(told)) => (TOTAL / SENDINGS).max(told * 2),
            (None, None) => SENDING_UNHEARD,
        };
        (first * (1 << unanswered.min(DOUBLINGS_MAX))).min(self.total())
    }
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
        patience.on_silence();
        assert_eq!([0, 1, 2, 9].map(|unanswered| patience.sending(unanswered)), [5, 10, 20, 30].map(seconds));
        assert_eq!(patience.total(), seconds(30));
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
        patience.on_told(Some(Duration::MAX));
        assert_eq!((patience.sending(0), patience.total()), (TOTAL_MAX, TOTAL_MAX));
    }

    #[test]
    fn the_limit_of_the_user_holds() {
        let patience = Patience::new(Some(seconds(6)));
        patience.on_silence();
        assert_eq!((patience.sending(0), patience.sending(1), patience.total()), (seconds(2), seconds(4), seconds(6)));
        patience.on_told(Some(seconds(2)));
        assert_eq!(patience.sending(0), seconds(4));
        patience.on_told(Some(seconds(20)));
        assert_eq!((patience.sending(0), patience.total()), (seconds(6), seconds(6)));
    }
}
