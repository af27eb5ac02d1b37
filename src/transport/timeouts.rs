//! How long connections wait, by what is known of the way to a peer.
//!
//! A link that loses packets is silent for long, and alive: on one of 2 s round trip a packet that is lost once comes 3 s late,
//! twice 9 s, three times 21 s. Who gives such a connection up loses what is under way, and pays two round trips and more for
//! another one that is no better. On a LAN the same silence means that the peer's machine is gone, and a connection that has lived
//! through a partition comes back later than one that is made anew, because it sends again ever more seldom.
//!
//! So time-outs follow what the node has measured, which is over all peers, and how long the TCP connection at hand took to make,
//! which is of this one. The bounds keep a measure that makes no sense from doing harm.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Options;

/// A name that is not resolved after this long is not going to be. The system's resolver asks twice, for 5 s each.
const RESOLVE: Duration = Duration::from_secs(10);

/// What the node has measured of the ways to its peers.
#[derive(Debug, Default)]
pub(super) struct Measured(AtomicU64);

/// A time-out as a multiple of a measured time, within bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout {
    /// It is so many times as long.
    pub times: u32,
    /// It is no shorter.
    pub min: Duration,
    /// It is no longer.
    pub max: Duration,
    /// It is this long where nothing was measured.
    pub unknown: Duration,
}

/// What a TCP connection that was just made has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timeouts {
    /// The peer's Welcome.
    pub(super) welcome: Duration,
    /// The answer to a ping.
    pub(super) pong: Duration,
}

impl Timeout {
    /// Where a message and its answer nearly always take no longer than this.
    pub fn after(&self, answered_within: Option<Duration>) -> Duration {
        answered_within.map_or(self.unknown, |within| within.saturating_mul(self.times).clamp(self.min, self.max))
    }
}

impl Measured {
    /// A message to a peer and its answer nearly always take no longer than this.
    pub(super) fn set(&self, answered_within: Option<Duration>) {
        let micros = answered_within.map_or(0, |within| within.as_micros().max(1) as u64);
        self.0.store(micros, Ordering::Relaxed);
    }

    /// What was set last; none: nothing is known.
    pub(super) fn get(&self) -> Option<Duration> {
        Some(self.0.load(Ordering::Relaxed)).filter(|micros| *micros > 0).map(Duration::from_micros)
    }

    /// How long the name and the TCP connection may take together, of which the connection alone may take the second one.
    pub(super) fn dial(&self, options: &Options) -> (Duration, Duration) {
        let connect = options.connect.after(self.get());
        (RESOLVE + connect, connect)
    }

    /// What follows for a connection that took so long to make: one round trip, or several where packets were lost.
    pub(super) fn connected_in(&self, took: Duration, options: &Options) -> Timeouts {
        let within = self.get().unwrap_or_default().max(took.saturating_mul(CONNECTED_IN_TIMES));
        Timeouts { welcome: options.welcome.after(Some(within)), pong: options.pong.after(Some(within)) }
    }
}

/// A message and its answer take so many times as long as one TCP connection took to make when packets are lost on the way: one
/// that was lost once takes about twice as long, and three times one that was lost twice.
pub const CONNECTED_IN_TIMES: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn timeouts(measured: Option<u64>, took_millis: u64) -> (u64, u64) {
        let (options, known) = (Options::default(), Measured::default());
        known.set(measured.map(Duration::from_millis));
        let Timeouts { welcome, pong } = known.connected_in(Duration::from_millis(took_millis), &options);
        (welcome.as_secs(), pong.as_secs())
    }

    #[test]
    fn a_lan_is_given_up_soon_and_a_slow_link_late() {
        assert_eq!(timeouts(None, 0), (15, 10));
        assert_eq!(timeouts(Some(100), 0), (15, 10));
        assert_eq!(timeouts(None, 2_000), (32, 32), "the connection alone tells that the way is long");
        assert_eq!(timeouts(Some(13_000), 2_000), (52, 52));
        assert_eq!(timeouts(Some(13_000), 0), (52, 52), "it was quick by chance");
        assert_eq!(timeouts(Some(3_600_000), 3_600_000), (60, 60), "bounded");
    }

    #[test]
    fn a_dial_waits_long_for_a_way_of_which_nothing_is_known() {
        let (options, known) = (Options::default(), Measured::default());
        let connect = |measured| {
            known.set(measured);
            known.dial(&options).1.as_secs()
        };
        assert_eq!(connect(None), 10);
        assert_eq!(connect(Some(Duration::ZERO)), 5);
        assert_eq!(connect(Some(Duration::from_secs(4))), 8);
        assert_eq!(connect(Some(Duration::MAX)), 20);
    }
}
