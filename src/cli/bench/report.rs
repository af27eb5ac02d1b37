//! The result of a benchmark: a table for people, or a document for programs, whose field names do not change.
//!
//! ```text
//!   benchmark         enqueue, dequeue, pair, echo or fsync
//!   options           what was asked for, defaults filled in; see the benchmark
//!   elapsed_seconds   from when measuring began to the last answer
//!   ended             duration, interrupted (Ctrl-C) or queue_empty
//!   dropped           requests of an open loop that were due and not sent before the end, or because too many waited
//!   results           for each verb (two of pair):
//!     verb                    what the requests asked for
//!     requests                that succeeded; a latency each
//!     operations              messages; a request carries up to --batch
//!     operations_per_second   over elapsed_seconds
//!     mib_per_second          of bodies
//!     latency_us              p50, p90, p99, p999, max, in microseconds; null if no request succeeded
//!     empty                   requests that found the queue empty
//!     failed                  requests that failed
//!     errors                  reason -> how many requests failed with it
//! ```

use std::io;

use indicatif::HumanCount;
use serde_json::{Value, json};

use super::period::Ended;
use super::run::Measured;
use super::tally::Tally;
use crate::cli::Exit;
use crate::cli::client_commands::{Console, Table};

const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// What was run.
pub(super) struct Report {
    /// Its name on the command line.
    pub(super) benchmark: &'static str,
    /// How it was run, for programs.
    pub(super) options: Value,
    /// The same for people, in a line.
    pub(super) setting: String,
    /// The body of each message in bytes.
    pub(super) size: usize,
    /// What came out.
    pub(super) measured: Measured,
}

impl Report {
    /// Prints the result. The benchmark has failed if no request succeeded, unless it was interrupted.
    pub(super) fn print(&self, console: &mut Console) -> io::Result<Exit> {
        if console.is_json() {
            console.json(&self.document())?;
        } else {
            console.table(&mut self.table())?;
            for line in self.remarks() {
                console.line(line.as_bytes())?;
            }
        }
        let is_good = self.has_measured() || self.measured.ended == Ended::Interrupted;
        Ok(if is_good { Exit::Done } else { Exit::Failed })
    }

    fn document(&self) -> Value {
        let Measured { tallies, elapsed, ended, dropped } = &self.measured;
        let results: Vec<_> = tallies.iter().map(|tally| self.result(tally)).collect();
        json!({
            "benchmark": self.benchmark,
            "options": self.options,
            "elapsed_seconds": rounded(elapsed.as_secs_f64()),
            "ended": ended,
            "dropped": dropped,
            "results": results,
        })
    }

    fn result(&self, tally: &Tally) -> Value {
        let [p50, p90, p99, p999] = QUANTILES.map(|quantile| microseconds(tally.latencies.value_at_quantile(quantile)));
        let max = microseconds(tally.latencies.max());
        let latency = json!({ "p50": p50, "p90": p90, "p99": p99, "p999": p999, "max": max });
        json!({
            "verb": tally.verb,
            "requests": tally.requests(),
            "operations": tally.operations,
            "operations_per_second": rounded(self.rate(tally)),
            "mib_per_second": rounded(self.mib_per_second(tally)),
            "latency_us": if tally.requests() > 0 { latency } else { Value::Null },
            "empty": tally.empty,
            "failed": tally.failed(),
            "errors": tally.errors,
        })
    }

    fn table(&self) -> Table {
        let mut table =
            Table::new(&["VERB", "OPERATIONS", "PER SECOND", "MIB/S", "P50", "P90", "P99", "P99.9", "MAX", "FAILED"]);
        for tally in &self.measured.tallies {
            let latency = |nanoseconds| match tally.requests() {
                0 => "-".to_owned(),
                _ => latency_in_words(nanoseconds),
            };
            let [p50, p90, p99, p999] = QUANTILES.map(|quantile| latency(tally.latencies.value_at_quantile(quantile)));
            table.row([
                tally.verb.to_owned(),
                HumanCount(tally.operations).to_string(),
                HumanCount(self.rate(tally) as u64).to_string(),
                format!("{:.2}", self.mib_per_second(tally)),
                p50,
                p90,
                p99,
                p999,
                latency(tally.latencies.max()),
                HumanCount(tally.failed()).to_string(),
            ]);
        }
        table
    }

    fn remarks(&self) -> Vec<String> {
        let Measured { tallies, elapsed, ended, dropped } = &self.measured;
        let end = match ended {
            Ended::Duration => "",
            Ended::Interrupted => ", interrupted",
            Ended::QueueEmpty => ", until the queue was empty",
        };
        let mut lines = vec![format!("{:.1} s{end}; {}", elapsed.as_secs_f64(), self.setting)];
        if *ended == Ended::QueueEmpty && !self.has_measured() {
            lines.push("nothing was left after the warm-up: give more --messages or a shorter --warmup".to_owned());
        }
        if *dropped > 0 {
            lines.push(format!("{} requests were due and not sent before the end", HumanCount(*dropped)));
        }
        for tally in tallies {
            let verb = tally.verb;
            if tally.empty > 0 {
                lines.push(format!("{verb}: {} requests found the queue empty", HumanCount(tally.empty)));
            }
            let errors = tally.errors.iter();
            lines.extend(errors.map(|(reason, count)| format!("{verb}: {} failed: {reason}", HumanCount(*count))));
        }
        lines
    }

    fn has_measured(&self) -> bool {
        self.measured.tallies.iter().any(|tally| tally.requests() > 0)
    }

    fn rate(&self, tally: &Tally) -> f64 {
        tally.operations as f64 / self.measured.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    fn mib_per_second(&self, tally: &Tally) -> f64 {
        self.rate(tally) * self.size as f64 / f64::from(1 << 20)
    }
}

/// Nanoseconds as `153 µs`, `1.53 ms` or `1.53 s`.
pub(super) fn latency_in_words(nanoseconds: u64) -> String {
    match nanoseconds {
        0..1_000_000 => format!("{:.0} µs", microseconds(nanoseconds)),
        1_000_000..1_000_000_000 => format!("{:.2} ms", nanoseconds as f64 / 1e6),
        _ => format!("{:.2} s", nanoseconds as f64 / 1e9),
    }
}

fn microseconds(nanoseconds: u64) -> f64 {
    rounded(nanoseconds as f64 / 1e3)
}

/// To three digits after the point: more would be noise.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::cli::bench::period::Period;
    use crate::cli::bench::tally::Recorder;

    /// Two requests of three messages each, a third that failed, and one that found nothing; all within two seconds.
    fn report(ended: Ended) -> Report {
        let period = Period::new(Duration::ZERO, Duration::from_secs(60));
        let recorder = Arc::new(Recorder::new("dequeue", period.clone()));
        let begun = Instant::now();
        recorder.answered(begun, 3);
        recorder.answered(begun, 3);
        recorder.failed(begun, "QUEUE_FULL");
        recorder.found_empty(begun);
        let tallies = vec![recorder.tally().clone()];
        let measured = Measured { tallies, elapsed: Duration::from_secs(2), ended, dropped: 7 };
        let options = json!({ "outstanding": 1 });
        Report { benchmark: "dequeue", options, setting: "1 in flight".to_owned(), size: 1 << 20, measured }
    }

    #[test]
    fn the_fields_of_the_document_are_those_that_are_documented() {
        let mut document = report(Ended::QueueEmpty).document();
        let latency = document["results"][0]["latency_us"].take();
        for field in ["p50", "p90", "p99", "p999", "max"] {
            assert!(latency[field].is_f64(), "{field}: {latency}");
        }
        let expected = json!({
            "benchmark": "dequeue",
            "options": { "outstanding": 1 },
            "elapsed_seconds": 2.0,
            "ended": "queue_empty",
            "dropped": 7,
            "results": [{
                "verb": "dequeue",
                "requests": 2,
                "operations": 6,
                "operations_per_second": 3.0,
                "mib_per_second": 3.0,
                "latency_us": null,
                "empty": 1,
                "failed": 1,
                "errors": { "QUEUE_FULL": 1 },
            }],
        });
        assert_eq!(document, expected);
    }

    #[test]
    fn remarks_tell_what_the_table_does_not() {
        let expected = [
            "2.0 s, interrupted; 1 in flight",
            "7 requests were due and not sent before the end",
            "dequeue: 1 requests found the queue empty",
            "dequeue: 1 failed: QUEUE_FULL",
        ];
        assert_eq!(report(Ended::Interrupted).remarks(), expected);
    }

    #[test]
    fn what_was_never_measured_has_no_latency_and_failed() {
        let mut nothing = report(Ended::QueueEmpty);
        nothing.measured.tallies = vec![Tally::new("dequeue")];
        assert_eq!(nothing.document()["results"][0]["latency_us"], Value::Null);
        assert!(nothing.remarks()[1].contains("--warmup"));
        let mut console = Console::new(io::sink(), crate::cli::client_commands::Output::Json, false);
        assert_eq!(nothing.print(&mut console).unwrap(), Exit::Failed);
        assert_eq!(report(Ended::QueueEmpty).print(&mut console).unwrap(), Exit::Done);
    }

    #[test]
    fn latencies_are_told_in_the_unit_that_fits() {
        let words = [999, 153_400, 1_534_000, 12_345_678_900].map(latency_in_words);
        assert_eq!(words, ["1 µs", "153 µs", "1.53 ms", "12.35 s"]);
    }
}
