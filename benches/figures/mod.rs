//! What all benchmarks of the store share: medians, percentiles and how figures are written.

use std::time::Duration;

use hdrhistogram::Histogram;

/// `cargo test --benches` asks benchmarks only whether they start.
pub fn is_only_a_test() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

/// The parts of a benchmark that were asked for: `cargo bench --bench storage -- snapshot`. All, when none was.
pub fn is_wanted(part: &str) -> bool {
    let mut named = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).peekable();
    named.peek().is_none() || named.any(|argument| argument == part)
}

/// A number from the environment.
pub fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Between which of so many sorted values the median of all that could be measured lies with a probability of at least 95 %: this
/// one and the one that is as far from the end. Values are on either side of it as a coin falls (the sign test). None: they are too
/// few to say.
pub fn rank_below_median(count: usize) -> Option<usize> {
    // How likely exactly so many of all fall on one side, and so many at the most.
    let (mut exactly, mut at_most, mut rank) = (0.5_f64.powi(count as i32), 0.0, None);
    for below in 0..count {
        at_most += exactly;
        if 2.0 * at_most > 0.05 {
            break;
        }
        rank = Some(below);
        exactly *= (count - below) as f64 / (below + 1) as f64;
    }
    rank
}

/// The highest one.
pub fn highest(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(0.0, f64::max)
}

/// Latencies, in microseconds.
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    pub fn new() -> Self {
        Self(Histogram::new(3).expect("three digits can be kept"))
    }

    /// Adds one.
    pub fn add(&mut self, took: Duration) {
        self.0.record(took.as_micros() as u64).expect("it grows with what it holds");
    }

    /// The latency that this part of all, in percent, did not exceed.
    pub fn percentile(&self, percent: f64) -> f64 {
        self.0.value_at_percentile(percent) as f64
    }
}

/// How long this thread has run on a processor, in seconds: what a busy machine does meanwhile is not in it.
pub fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
    let nanoseconds: u64 = text.split(' ').next().and_then(|text| text.parse().ok()).expect("the first number");
    nanoseconds as f64 / 1e9
}

/// How long these processes have run since they started, in user and system mode, in seconds.
pub fn cpu_seconds_of(processes: impl IntoIterator<Item = u32>) -> f64 {
    let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
    let ticks = processes.into_iter().map(|process| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("the process lives");
        // The name in brackets may hold anything; what follows begins with the third field. The 14th and 15th are the times.
        let (_, fields) = stat.rsplit_once(") ").expect("it has a name");
        let times = fields.split(' ').skip(11).take(2);
        times.map(|ticks| ticks.parse::<u64>().expect("a number of ticks")).sum::<u64>()
    });
    ticks.sum::<u64>() as f64 / ticks_per_second
}

/// Bytes as mebibytes.
pub fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}
