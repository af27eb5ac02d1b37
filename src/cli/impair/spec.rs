//! netem's own language: what a network does to packets.

use std::fmt;
use std::iter::Peekable;
use std::str::{FromStr, SplitWhitespace};
use std::time::Duration;

/// The network of the acceptance demonstration.
pub const ACCEPTANCE: &str = "delay 1000ms 50ms reorder 8% corrupt 5% duplicate 2% loss 5%";

/// As many packets may be under way by default, as in netem.
const LIMIT: u32 = 1000;
/// As many may be at most. The longest of them takes 64 KiB while it is.
const LIMIT_MAX: u32 = 1_000_000;
/// A longer delay is a slip of the pen.
const DELAY_MAX: Duration = Duration::from_secs(60);
/// netem keeps the jitter as nanoseconds in 31 bits.
const JITTER_MAX: Duration = Duration::from_nanos(i32::MAX as u64);

/// A network, in the words of `tc qdisc add ... netem`.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// How many packets may be under way. One more is dropped.
    pub limit: u32,
    /// How long a packet is under way.
    pub delay: Duration,
    /// How much shorter or longer: evenly spread. Packets overtake each other by it.
    pub jitter: Duration,
    /// How much of the jitter of a packet is that of the one before.
    pub jitter_correlation: Percent,
    /// Packets that never arrive.
    pub loss: Chance,
    /// Packets of which one bit arrives flipped.
    pub corrupt: Chance,
    /// Packets that are sent once more, and may be lost, corrupted and reordered apart from each other.
    pub duplicate: Chance,
    /// Packets that are sent at once, and overtake those that are delayed.
    pub reorder: Chance,
    /// At least so many less one are delayed between two that are sent at once. 0: none is sent at once.
    pub gap: u32,
}

/// Whether something happens to a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Chance {
    /// To how many packets.
    pub probability: Percent,
    /// How much of the draw of a packet is that of the one before.
    pub correlation: Percent,
}

/// From 0 to 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Percent(f64);

/// What is wrong with the words.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// netem may know it; the relay does not.
    #[error("{0:?} is none of delay, loss, corrupt, duplicate, reorder, gap (after reorder) and limit")]
    Unknown(String),
    /// The value of a word is missing.
    #[error("{word} needs {needed}")]
    Missing {
        /// After this word.
        word: String,
        /// What must follow it.
        needed: &'static str,
    },
    /// A value of a word makes no sense.
    #[error("{value:?} after {word} is not {needed}")]
    Malformed {
        /// After this word.
        word: String,
        /// What stands there.
        value: String,
        /// What must stand there.
        needed: &'static str,
    },
    /// A word stands there twice.
    #[error("{0} is given twice")]
    Twice(String),
    /// Packets can only overtake others that are delayed.
    #[error("reorder needs a delay: packets are reordered as some are sent at once while others are delayed")]
    ReorderWithoutDelay,
}

const TIME: &str = "a time with its unit, such as 100ms, 1.5s or 50us, of 60s at most";
const JITTER: &str = "a time with its unit, such as 50ms, of 2147ms at most";
const PERCENT: &str = "a percentage, such as 5%";
const COUNT: &str = "a number from 1 to 1000000";

impl Spec {
    /// A network that does nothing to packets.
    pub fn clean() -> Self {
        Self {
            limit: LIMIT,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            jitter_correlation: Percent::default(),
            loss: Chance::default(),
            corrupt: Chance::default(),
            duplicate: Chance::default(),
            reorder: Chance::default(),
            gap: 0,
        }
    }

    /// The share of packets that do not arrive, or not whole.
    pub fn broken(&self) -> f64 {
        1.0 - (1.0 - self.loss.probability.fraction()) * (1.0 - self.corrupt.probability.fraction())
    }

    /// Reads what follows one of netem's words.
    fn read(&mut self, word: &str, words: &mut Words) -> Result<(), Error> {
        match word {
            "limit" => self.limit = words.needed(word, COUNT, count)?,
            "delay" => {
                self.delay = words.needed(word, TIME, |text| time(text, DELAY_MAX))?;
                self.jitter = words.optional(word, JITTER, |text| time(text, JITTER_MAX))?.unwrap_or_default();
                self.jitter_correlation = words.optional(word, PERCENT, percent)?.unwrap_or_default();
            }
            "loss" => {
                // netem's other models of loss are not ours; this is the name of the one that is.
                words.rest.next_if_eq(&"random");
                self.loss = words.chance(word)?;
            }
            "corrupt" => self.corrupt = words.chance(word)?,
            "duplicate" => self.duplicate = words.chance(word)?,
            "reorder" => {
                self.reorder = words.chance(word)?;
                self.gap = match words.rest.next_if_eq(&"gap") {
                    Some(gap) => words.needed(gap, COUNT, count)?,
                    None => 1,
                };
            }
            unknown => return Err(Error::Unknown(unknown.to_owned())),
        }
        Ok(())
    }
}

impl FromStr for Spec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut words = Words { rest: text.split_whitespace().peekable() };
        let mut spec = Self::clean();
        let mut seen: Vec<&str> = Vec::new();
        while let Some(word) = words.rest.next() {
            if seen.contains(&word) {
                return Err(Error::Twice(word.to_owned()));
            }
            seen.push(word);
            spec.read(word, &mut words)?;
        }
        if seen.contains(&"reorder") && spec.delay.is_zero() {
            return Err(Error::ReorderWithoutDelay);
        }
        Ok(spec)
    }
}

/// As `tc` reads it too.
impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limit {}", self.limit)?;
        if !self.delay.is_zero() || !self.jitter.is_zero() {
            write!(f, " delay {}", milliseconds(self.delay))?;
        }
        if !self.jitter.is_zero() {
            write!(f, " {}{}", milliseconds(self.jitter), self.jitter_correlation.if_any())?;
        }
        for (word, chance) in
            [("loss", self.loss), ("corrupt", self.corrupt), ("duplicate", self.duplicate), ("reorder", self.reorder)]
        {
            if chance != Chance::default() {
                write!(f, " {word} {}{}", chance.probability, chance.correlation.if_any())?;
            }
        }
        if self.gap > 1 { write!(f, " gap {}", self.gap) } else { Ok(()) }
    }
}

impl Percent {
    /// From 0 to 1.
    pub fn fraction(self) -> f64 {
        self.0 / 100.0
    }

    /// As netem keeps it: of 2^32 - 1.
    pub fn scaled(self) -> u32 {
        (self.fraction() * f64::from(u32::MAX)).round() as u32
    }

    /// With a space before it, or nothing.
    fn if_any(self) -> String {
        if self == Self::default() { String::new() } else { format!(" {self}") }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// The words that are still to be read.
struct Words<'a> {
    rest: Peekable<SplitWhitespace<'a>>,
}

impl Words<'_> {
    fn needed<T>(&mut self, word: &str, needed: &'static str, read: impl Fn(&str) -> Option<T>) -> Result<T, Error> {
        let value = self.rest.next().ok_or_else(|| Error::Missing { word: word.to_owned(), needed })?;
        let malformed = || Error::Malformed { word: word.to_owned(), value: value.to_owned(), needed };
        read(value).ok_or_else(malformed)
    }

    /// A value that begins like a number, as `tc` tells values from words.
    fn optional<T>(
        &mut self,
        word: &str,
        needed: &'static str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let is_value = |text: &&str| text.starts_with(|first: char| first.is_ascii_digit() || "-.".contains(first));
        match self.rest.peek().filter(|text| is_value(text)) {
            Some(_) => self.needed(word, needed, read).map(Some),
            None => Ok(None),
        }
    }

    fn chance(&mut self, word: &str) -> Result<Chance, Error> {
        let probability = self.needed(word, PERCENT, percent)?;
        let correlation = self.optional(word, PERCENT, percent)?.unwrap_or_default();
        Ok(Chance { probability, correlation })
    }
}

/// A number without a unit is none: `tc` takes it for microseconds, which nobody expects.
fn time(text: &str, max: Duration) -> Option<Duration> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "s" | "sec" | "secs" => 1.0,
        "ms" | "msec" | "msecs" => 1e-3,
        "us" | "usec" | "usecs" => 1e-6,
        "ns" | "nsec" | "nsecs" => 1e-9,
        _ => return None,
    };
    let time = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
    (time <= max).then_some(time)
}

fn percent(text: &str) -> Option<Percent> {
    let number = text.strip_suffix('%').unwrap_or(text).parse().ok()?;
    (0.0..=100.0).contains(&number).then_some(Percent(number))
}

fn count(text: &str) -> Option<u32> {
    text.parse().ok().filter(|count| (1..=LIMIT_MAX).contains(count))
}

fn milliseconds(time: Duration) -> String {
    format!("{}ms", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Spec, String> {
        text.parse().map_err(|error: Error| error.to_string())
    }

    #[test]
    fn the_acceptance_network_is_read_as_netem_reads_it() {
        let chance = |percent| Chance { probability: Percent(percent), correlation: Percent(0.0) };
        let expected = Spec {
            limit: 1000,
            delay: Duration::from_secs(1),
            jitter: Duration::from_millis(50),
            jitter_correlation: Percent(0.0),
            loss: chance(5.0),
            corrupt: chance(5.0),
            duplicate: chance(2.0),
            reorder: chance(8.0),
            gap: 1,
        };
        assert_eq!(read(ACCEPTANCE), Ok(expected));
    }

    #[test]
    fn every_value_is_read_and_written_as_tc_reads_it() {
        let full = "limit 20 delay 1.5ms 0.2ms 25% loss 0.1% 10% corrupt 2% 20% duplicate 3% 30% reorder 4% 40% gap 5";
        assert_eq!(read(full).unwrap().to_string(), full);
        assert_eq!(read("loss random 5").unwrap().to_string(), "limit 1000 loss 5%");
        assert_eq!(read("delay 100us 1s loss 1%").unwrap().to_string(), "limit 1000 delay 0.1ms 1000ms loss 1%");
        assert_eq!(read("delay 1ms reorder 8%").unwrap().gap, 1);
        assert_eq!(read("").unwrap(), Spec::clean());
    }

    #[test]
    fn a_percentage_of_everything_is_netems_maximum() {
        assert_eq!([0.0, 50.0, 100.0].map(|percent| Percent(percent).scaled()), [0, 1 << 31, u32::MAX]);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let told = |text| read(text).unwrap_err();
        assert!(told("rate 5kbit").starts_with("\"rate\" is none of delay,"));
        assert_eq!(told("delay"), format!("delay needs {TIME}"));
        assert_eq!(told("delay 100"), format!("\"100\" after delay is not {TIME}"), "tc would take microseconds");
        assert_eq!(told("delay 61s"), format!("\"61s\" after delay is not {TIME}"));
        assert_eq!(told("delay 5s 3s"), format!("\"3s\" after delay is not {JITTER}"));
        assert_eq!(told("delay -1ms"), format!("\"-1ms\" after delay is not {TIME}"));
        assert_eq!(told("loss 101%"), format!("\"101%\" after loss is not {PERCENT}"));
        assert_eq!(told("loss 5% -1"), format!("\"-1\" after loss is not {PERCENT}"));
        assert_eq!(told("loss 5% loss 6%"), "loss is given twice");
        assert_eq!(told("limit 0"), format!("\"0\" after limit is not {COUNT}"));
        assert_eq!(told("reorder 5%"), Error::ReorderWithoutDelay.to_string());
        assert!(told("gap 5").starts_with("\"gap\" is none of"));
    }

    #[test]
    fn what_is_lost_and_what_is_corrupted_does_not_arrive_whole() {
        assert!((read(ACCEPTANCE).unwrap().broken() - 0.0975).abs() < 1e-9);
    }
}
