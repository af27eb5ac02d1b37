//! What a benchmark tells while it runs, on standard error: a live line on a terminal, or a line for each interval.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::period::Period;
use super::report::latency_in_words;
use super::tally::Tally;

const REFRESH: Duration = Duration::from_millis(250);
const STEPS: u64 = 1_000;

/// Who is told.
pub(super) struct Progress {
    form: Form,
    before: Tally,
    told_at: Instant,
}

enum Form {
    Silent,
    Live(ProgressBar, Interval),
    Lines(Interval),
}

impl Progress {
    /// Lines if they are asked for, otherwise a live line if somebody watches.
    pub(super) fn new(report_interval: Option<Duration>) -> Self {
        let form = match report_interval {
            Some(interval) => Form::Lines(every(interval)),
            None if std::io::stderr().is_terminal() => Form::Live(bar(), every(REFRESH)),
            None => Form::Silent,
        };
        Self { form, before: Tally::new("all"), told_at: Instant::now() }
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
    pub(super) fn tell(&mut self, period: &Period, all: &Tally) {
        let words = match period.share_passed() {
            None => "warming up".to_owned(),
            Some(_) => in_words(&all.since(&self.before), self.told_at.elapsed()),
        };
        match &self.form {
            Form::Silent => {}
            Form::Live(bar, _) => {
                bar.set_position((period.share_passed().unwrap_or(0.0) * STEPS as f64) as u64);
                bar.set_message(words);
            }
            Form::Lines(_) => {
                // Standard error that cannot be written to is no reason to fail.
                let _ = writeln!(std::io::stderr(), "{words}");
            }
        }
        self.before = all.clone();
        self.told_at = Instant::now();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Form::Live(bar, _) = &self.form {
            bar.finish_and_clear();
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed:>3} {bar:20} {msg}").expect("the template is one");
    ProgressBar::new(STEPS).with_style(style)
}

fn in_words(tally: &Tally, elapsed: Duration) -> String {
    let rate = tally.operations as f64 / elapsed.as_secs_f64();
    let [p50, p99] = [0.5, 0.99].map(|quantile| latency_in_words(tally.latencies.value_at_quantile(quantile)));
    format!("{rate:.0} operations/s, p50 {p50}, p99 {p99}, {} errors", tally.failed())
}
