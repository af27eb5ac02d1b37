//! How long the demonstration waits.

use std::time::Duration;

use crate::cli::impair::Spec;

/// Long enough that a machine that is busy is not taken for a cluster that fails.
const WAIT: Duration = Duration::from_secs(30);
/// Longer than the node that is asked waits for the others.
const ANSWER: Duration = Duration::from_secs(2);
/// However bad the network is.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// On a bad network, so many more round trips.
const ROUND_TRIPS_WAIT: f64 = 300.0;
const ROUND_TRIPS_ANSWER: f64 = 20.0;
/// What a packet that does not arrive costs at least: TCP sends it again after 0.2 s, then after twice as long.
const STALL: Duration = Duration::from_secs(1);

/// Bounds for everything that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// For anything.
    pub(super) wait: Duration,
    /// For the answer of one node.
    pub(super) answer: Duration,
}

impl Patience {
    /// On the network of this machine, or on a bad one.
    pub(super) fn on(network: Option<&Spec>) -> Self {
        let Some(network) = network else { return Self { wait: WAIT, answer: ANSWER } };
        let broken = network.broken();
        let round_trip = 2.0 * (network.delay + network.jitter).as_secs_f64() + STALL.as_secs_f64() * broken;
        // Where several packets in a row have to arrive, the bad luck of each counts.
        let stretched = round_trip / (1.0 - broken).powi(4);
        let longer = |least: Duration, round_trips: f64| {
            let seconds = least.as_secs_f64() + stretched * round_trips;
            Duration::try_from_secs_f64(seconds).map_or(WAIT_MAX, |longer| longer.min(WAIT_MAX))
        };
        Self { wait: longer(WAIT, ROUND_TRIPS_WAIT), answer: longer(ANSWER, ROUND_TRIPS_ANSWER) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::impair::ACCEPTANCE;

    fn on(network: &str) -> [u64; 2] {
        let Patience { wait, answer } = Patience::on(Some(&network.parse().unwrap()));
        [wait.as_secs(), answer.as_secs()]
    }

    #[test]
    fn the_worse_the_network_the_longer_but_never_for_ever() {
        assert_eq!(Patience::on(None), Patience::on(Some(&Spec::clean())));
        assert_eq!(on("delay 100ms loss 2%"), [101, 6]);
        assert_eq!(on(ACCEPTANCE), [1023, 68]);
        assert_eq!(on("loss 20%"), [176, 11]);
        assert_eq!(on("loss 100%"), [3600, 3600]);
        assert_eq!(on("loss 100% delay 1s"), [3600, 3600]);
    }
}
