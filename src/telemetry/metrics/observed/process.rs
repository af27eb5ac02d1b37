//! What the process takes of its machine.
//!
//! The names are those of the semantic conventions, but for `process.open_fds`, `process.threads` and `process.start_time`: for
//! Prometheus, a name that ends in `count` belongs to a histogram, and these are the ones that it knows for processes.

use opentelemetry::KeyValue;

use super::Look::{Gauge, Seconds, TotalSeconds};
use super::{Observed, whole};

const VERSION: &str = "quorate.version";
const MODE: &str = "cpu.mode";

pub(super) const ALL: &[Observed] = &[
    Observed::new(
        "quorate.build.info",
        "",
        &[VERSION],
        "1, with the version of the program",
        Gauge(|_, tell| {
            tell(1, &[KeyValue::new(VERSION, env!("CARGO_PKG_VERSION"))]);
        }),
    ),
    Observed::new(
        "process.cpu.time",
        "s",
        &[MODE],
        "Processor time that the process has taken, by whose code: `user` or `system`",
        TotalSeconds(|seen, tell| {
            if let Some(process) = &seen.process {
                tell(process.user.as_secs_f64(), &[KeyValue::new(MODE, "user")]);
                tell(process.system.as_secs_f64(), &[KeyValue::new(MODE, "system")]);
            }
        }),
    ),
    Observed::new(
        "process.memory.usage",
        "By",
        &[],
        "Memory that the process holds",
        Gauge(|seen, tell| {
            seen.process.iter().for_each(|process| tell(whole(process.resident_bytes), &[]));
        }),
    ),
    Observed::new(
        "process.open_fds",
        "{file_descriptor}",
        &[],
        "Files and connections that the process has open",
        Gauge(|seen, tell| {
            seen.process.iter().for_each(|process| tell(whole(process.open_files), &[]));
        }),
    ),
    Observed::new(
        "process.threads",
        "{thread}",
        &[],
        "Threads of the process",
        Gauge(|seen, tell| {
            seen.process.iter().for_each(|process| tell(whole(process.threads), &[]));
        }),
    ),
    Observed::new(
        "process.start_time",
        "s",
        &[],
        "When the process started, in seconds since 1970",
        Seconds(|seen, tell| {
            if let Some(process) = &seen.process {
                tell(process.started.as_secs_f64(), &[]);
            }
        }),
    ),
    Observed::new(
        "process.uptime",
        "s",
        &[],
        "How long the process has run",
        Seconds(|seen, tell| {
            seen.process.iter().for_each(|process| tell(process.uptime.as_secs_f64(), &[]));
        }),
    ),
];
