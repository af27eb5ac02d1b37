//! What a benchmark tells while it runs, on standard error: a live line on a terminal, or a line for each interval.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use super::period::Period;
use super::report::latency_in_words;
use super::tally::Tally;

const REFRESH: Duration = Duration::from_millis(250);
const STEPS: u64 = 1_000;

/// Who is told.
pub(super) struct Progress {
    form: Form,
    period: Period,
    before: Tally,
    told_at: Instant,
}

enum Form {
    Silent,
    Live(ProgressBar, Interval),
    Lines(Interval),
}

impl Progress {
    /// Lines if they are asked for, the first one an interval after the warm-up; otherwise a live line if somebody watches.
    pub(super) fn new(report_interval: Option<Duration>, period: &Period) -> Self {
        let form = match report_interval {
            Some(interval) => Form::Lines(every(interval, period.begins() + interval)),
            None if std::io::stderr().is_terminal() => Form::Live(bar(), every(REFRESH, Instant::now())),
            None => Form::Silent,
        };
        Self { form, period: period.clone(), before: Tally::new("all"), told_at: period.begins() }
    }

    /// Waits until something is to be told; for ever if nobody wants to hear.
    pub(super) async fn due(&mut self) {
        match &mut self.form {
            Form::Silent => std::future::pending().await,
            Form::Live(_, interval) | Form::Lines(interval) => {
                interval.tick().await;
            }
        }
    }

    /// Tells what has been counted since this was last called; `all` is what has been counted since the beginning.
    pub(super) fn tell(&mut self, all: &Tally) {
        let now = Instant::now();
        let Some(share_passed) = self.period.share_passed(now) else {
            return self.show("warming up".to_owned(), 0.0);
        };
        self.show(in_words(&all.since(&self.before), now - self.told_at), share_passed);
        self.before = all.clone();
        self.told_at = now;
    }

    fn show(&self, words: String, share_passed: f64) {
        match &self.form {
            Form::Silent => {}
            Form::Live(bar, _) => {
                bar.set_position((share_passed * STEPS as f64) as u64);
                bar.set_message(words);
            }
            Form::Lines(_) => {
                // Standard error that cannot be written to is no reason to fail.
                let _ = writeln!(std::io::stderr(), "{words}");
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Form::Live(bar, _) = &self.form {
            bar.finish_and_clear();
        }
    }
}

fn every(period: Duration, first: Instant) -> Interval {
    let mut interval = interval_at(first.into(), period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed:>3} {bar:20} {msg}").expect("the template is one");
    ProgressBar::new(STEPS).with_style(style)
}

fn in_words(tally: &Tally, elapsed: Duration) -> String {
    if tally.requests() == 0 {
        return format!("no answer, {} errors", tally.failed());
    }
    let rate = tally.operations as f64 / elapsed.as_secs_f64();
    let [p50, p99] = [0.5, 0.99].map(|quantile| latency_in_words(tally.latencies.value_at_quantile(quantile)));
    format!("{rate:.0} operations/s, p50 {p50}, p99 {p99}, {} errors", tally.failed())
}
