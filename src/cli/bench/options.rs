//! What can be asked for, and which combinations make no sense.

use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::cli::client_commands::{ClientOptions, duration};
use crate::cli::{Exit, Failure};
use crate::client::REQUESTS_MAX;
use crate::state_machine::{QueueName, Request};

const OUTSTANDING_MAX: u32 = 65_536;
const CONNECTIONS_MAX: i64 = 256;
const RATE_MAX: i64 = 1_000_000;
const OUTSTANDING_DEFAULT: u32 = 64;
const REPORT_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Messages with which a queue is filled if nothing says how many are needed, and the most in bytes.
const FILL_DEFAULT: u64 = 100_000;
const FILL_BYTES_DEFAULT: u64 = 256 << 20;
const FILL_BYTES_MAX: u64 = 1 << 30;
/// A message counts as this at least, because nodes also remember where it is.
const FILL_MESSAGE_BYTES_MIN: u64 = 64;

/// A load on a cluster.
#[derive(Args, Clone, Debug)]
// `echo` and `fsync`, which stand beside this, need no cluster.
#[command(mut_args(|argument| argument.global(false)))]
pub struct Load {
    /// Closed loop: keep this many requests in flight, over all connections [default: 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(OUTSTANDING_MAX)), conflicts_with = "rate")]
    pub outstanding: Option<u32>,
    /// Open loop: send so many requests per second by schedule; latency counts from when a request was due
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=RATE_MAX))]
    pub rate: Option<u32>,
    /// Whether the requests of a connection share one stream, which is batched, or each is a call
    #[arg(long, value_enum, default_value_t = Mode::Stream)]
    pub mode: Mode,
    /// How many clients, each with connections and a session of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX))]
    pub connections: u32,
    /// The size of a message, such as 256 or 4KiB; 1 MiB at most
    #[arg(long, value_name = "BYTES", default_value = "256", value_parser = message_size)]
    pub size: usize,
    /// How many messages a request carries; they take effect together
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=Request::OPERATIONS_MAX as i64))]
    pub batch: u32,
    /// The queue [default: a new one with a random name]
    #[arg(long, value_name = "NAME")]
    pub queue: Option<QueueName>,
    /// For how long.
    #[command(flatten)]
    pub timing: Timing,
    /// The options that all client commands have.
    #[command(flatten)]
    pub client: ClientOptions,
}

/// A load that empties a queue.
#[derive(Args, Clone, Debug)]
pub struct Drain {
    /// Fill the queue with this many messages first [default: what the schedule needs; without --rate 100000, or 256 MiB]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub messages: Option<u64>,
    /// The load.
    #[command(flatten)]
    pub load: Load,
}

/// For how long a benchmark runs, and what it tells meanwhile.
#[derive(Args, Clone, Debug)]
pub struct Timing {
    /// Measure for this long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// Run for this long before measuring begins
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub warmup: Duration,
    /// Tell on standard error every so often how it goes, a line each time [default: a live line, if that is a terminal]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub report_interval: Option<Duration>,
}

/// How requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// All requests of a connection on one stream.
    Stream,
    /// A call for each request.
    Unary,
}

/// Why options cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("--duration 0s measures nothing")]
    NoTime,
    #[error("--report-interval must be at least {}", humantime::format_duration(REPORT_INTERVAL_MIN))]
    TooManyReports,
    #[error("--connections {connections} is more than --outstanding {outstanding}: some would have nothing to do")]
    IdleConnections { connections: u32, outstanding: u32 },
    #[error(
        "--outstanding {outstanding} is more than --connections {connections} can have in flight, which is {each} each"
    )]
    TooFewConnections { connections: u32, outstanding: u32, each: usize },
    #[error("--batch {batch} of --size {size} has more than the {} bytes of one request", Request::BYTES_MAX)]
    RequestTooLarge { batch: u32, size: usize },
    #[error(
        "{messages} messages of --size {size} are more than the {FILL_BYTES_MAX} bytes with which a queue is filled"
    )]
    FillTooLarge { messages: u64, size: usize },
}

/// Options that cannot be used end the program as clap's own errors do.
pub(super) fn usage(error: Error) -> Failure {
    Failure::new(Exit::Usage, error)
}

impl Load {
    /// How many requests may be in flight on each connection.
    pub(super) fn in_flight(&self) -> Vec<usize> {
        let in_flight = match self.rate {
            Some(_) => OUTSTANDING_MAX.min(self.connections * REQUESTS_MAX as u32),
            None => self.outstanding(),
        };
        shares(in_flight, self.connections)
    }

    /// Of a closed loop.
    pub(super) fn outstanding(&self) -> u32 {
        self.outstanding.unwrap_or(OUTSTANDING_DEFAULT.max(self.connections))
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        self.timing.check()?;
        if self.rate.is_none() {
            check_shares(self.outstanding(), self.connections, REQUESTS_MAX)?;
        }
        if self.batch as usize * self.size > Request::BYTES_MAX {
            return Err(Error::RequestTooLarge { batch: self.batch, size: self.size });
        }
        Ok(())
    }
}

impl Drain {
    /// With how many messages the queue is filled.
    pub(super) fn fill(&self) -> Result<u64, Error> {
        let Load { rate, batch, size, timing, .. } = &self.load;
        let size = (*size as u64).max(FILL_MESSAGE_BYTES_MIN);
        let scheduled = |rate: u32| {
            let seconds = (timing.warmup + timing.duration).as_secs_f64();
            (seconds * f64::from(rate)).ceil() as u64 * u64::from(*batch)
        };
        let needed = rate.map_or(FILL_DEFAULT.min(FILL_BYTES_DEFAULT / size), scheduled);
        let messages = self.messages.unwrap_or(needed);
        if messages.saturating_mul(size) > FILL_BYTES_MAX {
            return Err(Error::FillTooLarge { messages, size: self.load.size });
        }
        Ok(messages)
    }
}

impl Timing {
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.duration.is_zero() {
            return Err(Error::NoTime);
        }
        match self.report_interval {
            Some(interval) if interval < REPORT_INTERVAL_MIN => Err(Error::TooManyReports),
            _ => Ok(()),
        }
    }
}

/// Checks that every connection has something to do and none too much.
pub(super) fn check_shares(outstanding: u32, connections: u32, each_max: usize) -> Result<(), Error> {
    if connections > outstanding {
        return Err(Error::IdleConnections { connections, outstanding });
    }
    if outstanding as usize > connections as usize * each_max {
        return Err(Error::TooFewConnections { connections, outstanding, each: each_max });
    }
    Ok(())
}

/// As even as can be.
pub(super) fn shares(outstanding: u32, connections: u32) -> Vec<usize> {
    let share = |number| outstanding / connections + u32::from(number < outstanding % connections);
    (0..connections).map(|number| share(number) as usize).collect()
}

/// A size as `256` or `4KiB`, of a message at most.
pub(super) fn message_size(text: &str) -> Result<usize, String> {
    let size: ByteSize = text.parse().map_err(|_| "expected a number of bytes, such as 256 or 4KiB".to_owned())?;
    let size = usize::try_from(size.as_u64()).ok().filter(|size| *size <= Request::MESSAGE_BYTES_MAX);
    size.ok_or_else(|| format!("a message has at most {} bytes", Request::MESSAGE_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        drain: Drain,
    }

    fn drain(line: &str) -> Drain {
        Line::try_parse_from(std::iter::once("bench").chain(line.split_whitespace())).unwrap().drain
    }

    fn check(line: &str) -> Result<(), Error> {
        drain(line).load.check()
    }

    fn parse_error(line: &str) -> String {
        Line::try_parse_from(std::iter::once("bench").chain(line.split_whitespace())).unwrap_err().to_string()
    }

    #[test]
    fn a_rate_contradicts_a_number_of_requests_in_flight() {
        let error = parse_error("--rate 10 --outstanding 4");
        assert!(error.contains("--rate") && error.contains("--outstanding"), "{error}");
    }

    #[test]
    fn values_out_of_bounds_are_refused() {
        assert!(parse_error("--size 2MiB").contains("at most 1048576 bytes"));
        assert!(parse_error("--size big").contains("such as 256"));
        assert!(parse_error("--duration 25h").contains("at most"));
        for line in ["--outstanding 0", "--connections 257", "--rate 0", "--batch 1001", "--messages 0", "--queue a,b"]
        {
            assert!(parse_error(line).contains(line.split(' ').next().unwrap()), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        assert_eq!(check("--duration 0s"), Err(Error::NoTime));
        assert_eq!(check("--report-interval 99ms"), Err(Error::TooManyReports));
        let idle = Error::IdleConnections { connections: 3, outstanding: 2 };
        assert_eq!(check("--connections 3 --outstanding 2"), Err(idle));
        let each = REQUESTS_MAX;
        let few = Error::TooFewConnections { connections: 2, outstanding: 2 * each as u32 + 1, each };
        assert_eq!(check(&format!("--connections 2 --outstanding {}", 2 * each + 1)), Err(few));
        assert_eq!(check("--batch 4 --size 1MiB"), Err(Error::RequestTooLarge { batch: 4, size: 1 << 20 }));
        assert_eq!(check("--batch 3 --size 1MiB --duration 1ms --report-interval 100ms"), Ok(()));
    }

    #[test]
    fn requests_in_flight_are_shared_evenly() {
        assert_eq!(drain("--outstanding 8 --connections 3").load.in_flight(), [3, 3, 2]);
        assert_eq!(drain("").load.in_flight(), [64]);
        assert_eq!(drain("--connections 100").load.in_flight(), vec![1; 100], "each connection has something to do");
        assert_eq!(drain("--rate 5 --connections 2").load.in_flight(), [REQUESTS_MAX; 2]);
        assert_eq!(drain("--rate 5 --connections 256").load.in_flight(), [256; 256]);
    }

    #[test]
    fn a_queue_is_filled_with_what_is_needed_and_not_with_more_than_fits() {
        assert_eq!(drain("").fill(), Ok(100_000));
        assert_eq!(drain("--size 1MiB").fill(), Ok(256));
        assert_eq!(drain("--rate 10 --batch 2 --warmup 500ms --duration 2s").fill(), Ok(50));
        assert_eq!(drain("--messages 7").fill(), Ok(7));
        let too_large = Error::FillTooLarge { messages: 1025, size: 1 << 20 };
        assert_eq!(drain("--size 1MiB --messages 1025").fill(), Err(too_large));
        assert!(drain("--size 0 --messages 100000000").fill().is_err());
    }
}
