//! What the relay did, in numbers.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Times are kept in microseconds, to three digits. Longer ones than this are kept as this.
const DIGITS: u8 = 3;
const TIME_MAX: Duration = Duration::from_secs(600);

/// Counts since the beginning.
pub struct Summary {
    /// That were sent, without duplicates.
    pub packets: u64,
    /// Of those.
    pub bytes: u64,
    /// Packets and duplicates that did not arrive.
    pub lost: u64,
    /// Packets that were sent twice.
    pub duplicated: u64,
    /// Packets and duplicates of which a bit was flipped.
    pub corrupted: u64,
    /// Packets and duplicates that were sent at once.
    pub reordered: u64,
    /// Packets and duplicates for which there was no room.
    pub dropped: u64,
    /// Packets that never got to the relay, as it did not keep up.
    pub missed: u64,
    limit: u32,
    delays: Histogram<u64>,
    latenesses: Histogram<u64>,
}

impl Summary {
    /// With room for `limit` packets under way.
    pub fn new(limit: u32) -> Self {
        let histogram = || {
            let max = microseconds(TIME_MAX);
            Histogram::new_with_max(max, DIGITS).expect("a histogram of three digits can be made")
        };
        Self {
            packets: 0,
            bytes: 0,
            lost: 0,
            duplicated: 0,
            corrupted: 0,
            reordered: 0,
            dropped: 0,
            missed: 0,
            limit,
            delays: histogram(),
            latenesses: histogram(),
        }
    }

    /// A packet that was to be delayed was under way so long.
    pub fn delay(&mut self, delay: Duration) {
        self.delays.saturating_record(microseconds(delay));
    }

    /// A packet left so much later than it was due.
    pub fn lateness(&mut self, lateness: Duration) {
        self.latenesses.saturating_record(microseconds(lateness));
    }

    fn share(&self, count: u64) -> String {
        let percent = 100.0 * count as f64 / self.packets.max(1) as f64;
        format!("{count} ({percent:.1} %)")
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [lost, duplicated, corrupted, reordered] =
            [self.lost, self.duplicated, self.corrupted, self.reordered].map(|count| self.share(count));
        writeln!(
            f,
            "{} packets, {} bytes: {lost} lost, {duplicated} duplicated, {corrupted} corrupted, {reordered} reordered",
            self.packets, self.bytes
        )?;
        let (delays, late) = (&self.delays, &self.latenesses);
        write!(
            f,
            "delay: {:.1} ms on average, from {:.1} to {:.1}; sent {:.1} ms late at most, half of them within {:.1}",
            delays.mean() / 1e3,
            milliseconds(delays.min()),
            milliseconds(delays.max()),
            milliseconds(late.max()),
            milliseconds(late.value_at_quantile(0.5)),
        )?;
        if self.dropped > 0 {
            write!(f, "\n{} dropped, as {} were under way", self.dropped, self.limit)?;
        }
        if self.missed > 0 {
            write!(f, "\n{} dropped, as the relay did not keep up: the network was worse than asked for", self.missed)?;
        }
        Ok(())
    }
}

fn microseconds(time: Duration) -> u64 {
    time.as_micros().try_into().unwrap_or(u64::MAX)
}

fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e3
}
