//! Addresses that nodes tell and this client cannot reach, as behind a port-forward: which they are, and when it is time to try
//! them again.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::endpoints::Address;

/// An address that could not be reached is left alone for so long, and for twice as long each further time in a row. Short at
/// first, because a node that is just being started looks the same.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest of these times.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// What keeps the client from a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// Its name does not resolve.
    NameUnknown,
    /// Its machine refuses the connection.
    Refused,
    /// Nothing is heard of it.
    Silence,
    /// Anything else, such as a node that is slow: no reason to believe that others can reach it.
    Other,
}

/// The addresses that could not be reached lately.
#[derive(Default)]
pub(super) struct OutOfReach(HashMap<Address, Pause>);

struct Pause {
    length: Duration,
    end: Instant,
}

impl OutOfReach {
    /// `address` could not be reached. Returns until when it is left alone. Calls that failed together count as one.
    pub(super) fn add(&mut self, address: &Address, now: Instant) -> Instant {
        let known = self.0.get(address);
        if let Some(pause) = known.filter(|pause| pause.end > now) {
            return pause.end;
        }
        let length = known.map_or(PAUSE_MIN, |pause| (pause.length * 2).min(PAUSE_MAX));
        let end = now + length;
        self.0.insert(address.clone(), Pause { length, end });
        end
    }

    /// Until when `address` is left alone; none: it may be tried.
    pub(super) fn until(&self, address: &str, now: Instant) -> Option<Instant> {
        self.0.get(address).map(|pause| pause.end).filter(|end| *end > now)
    }

    /// `address` has been reached.
    pub(super) fn remove(&mut self, address: &str) {
        self.0.remove(address);
    }

    /// Forgets all others.
    pub(super) fn retain(&mut self, is_known: impl Fn(&Address) -> bool) {
        self.0.retain(|address, _| is_known(address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_tried_again_ever_more_seldom_until_it_is_reached() {
        let (mut out_of_reach, address) = (OutOfReach::default(), Address::from("a:1"));
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..10 {
            assert_eq!(out_of_reach.until(&address, now), None);
            let end = out_of_reach.add(&address, now);
            assert_eq!(out_of_reach.add(&address, now), end, "what fails together counts once");
            assert_eq!(out_of_reach.until(&address, now), Some(end));
            pauses.push((end - now).as_secs());
            now = end;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        out_of_reach.remove(&address);
        assert_eq!(out_of_reach.add(&address, now), now + PAUSE_MIN);
    }
}
