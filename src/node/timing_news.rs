//! A line whenever the time-outs in force have become others. They follow what is measured and change a little all the time.

use std::time::Duration;

use crate::ids::Time;
use crate::raft::{Timing, Why};

/// No more than one line in this time.
const PAUSE: Duration = Duration::from_secs(10);

/// What was told last.
#[derive(Debug, Default)]
pub struct TimingNews {
    told: Option<(Time, Duration)>,
}

impl TimingNews {
    /// The line, if there is one to be told: the election time-out is half as long again as it was, or two thirds of it or less. The
    /// first ones are told as well, unless they are fixed.
    pub fn line(&mut self, now: Time, timing: &Timing) -> Option<String> {
        let wait = timing.timeouts.election_min;
        let is_news = match self.told {
            None => timing.why != Why::Fixed,
            Some((at, told)) => now - at >= PAUSE && (wait * 2 >= told * 3 || wait * 3 <= told * 2),
        };
        if !is_news {
            return None;
        }
        self.told = Some((now, wait));
        Some(words(timing))
    }
}

fn words(Timing { timeouts, why, gaps, round_trips, lateness, .. }: &Timing) -> String {
    let high =
        |spread: &Option<crate::raft::Spread>| spread.map_or_else(|| "?".to_owned(), |spread| short(spread.high));
    let because = match why {
        Why::Fixed => "that is set".to_owned(),
        Why::Conservative => "little was heard yet".to_owned(),
        Why::Floor => "that is the least allowed".to_owned(),
        Why::Gaps => format!("others were silent for up to {}", high(gaps)),
        Why::RoundTrip => format!("a message takes up to {} there and back", high(round_trips)),
        Why::Lateness => format!("this node itself was up to {} late", short(*lateness)),
        Why::ToldByLeader => "the leader goes by that, and little was heard of it yet".to_owned(),
        Why::Ceiling => "that is the most allowed".to_owned(),
    };
    let (min, max) = (short(timeouts.election_min), short(timeouts.election_max));
    format!(
        "waits {min} to {max} for a silent leader, because {because}; a heartbeat every {}",
        short(timeouts.heartbeat)
    )
}

/// In milliseconds, or from ten seconds on in seconds.
fn short(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 10_000 { format!("{millis} ms") } else { format!("{} s", duration.as_secs()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{Spread, Timeouts};

    fn timing(millis: u64, why: Why) -> Timing {
        let election_min = Duration::from_millis(millis);
        let timeouts =
            Timeouts { election_min, election_max: election_min * 3 / 2, heartbeat: Duration::from_millis(50) };
        let gaps = Some(Spread { median: Duration::from_millis(50), high: Duration::from_millis(90) });
        Timing { timeouts, why, gaps, round_trips: None, lateness: Duration::ZERO, samples: 1, failed_attempts: 0 }
    }

    #[test]
    fn a_line_comes_when_they_are_others_and_not_too_often() {
        let mut news = TimingNews::default();
        let mut told =
            |seconds: u64, millis| news.line(Time(seconds * 1_000_000), &timing(millis, Why::Gaps)).is_some();
        assert!(told(0, 1_000), "the first");
        assert!(!told(5, 150), "too soon");
        assert!(told(10, 150));
        assert!(!told(30, 220), "nearly the same");
        assert!(told(40, 225));
        assert!(!told(60, 151));
        assert!(told(70, 150));
    }

    #[test]
    fn a_line_says_why_and_what_is_set_is_no_news() {
        let line = TimingNews::default().line(Time(0), &timing(225, Why::Gaps));
        let words = "waits 225 ms to 337 ms for a silent leader, because others were silent for up to 90 ms; a heartbeat every 50 ms";
        assert_eq!(line.as_deref(), Some(words));
        assert_eq!(TimingNews::default().line(Time(0), &timing(225, Why::Fixed)), None);
    }
}
