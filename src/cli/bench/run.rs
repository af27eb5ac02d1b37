//! A running benchmark: its workers, what it tells meanwhile, and Ctrl-C.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::period::{Ended, Period};
use super::progress::Progress;
use super::schedule::Arrivals;
use super::tally::{Recorder, Tally};
use crate::cli::signals::{StopRequest, StopRequests};
use crate::cli::{Exit, Failure};

/// Workers that run, each until the period is over and what it has sent is answered.
pub(super) struct Run {
    /// When requests count.
    pub(super) period: Period,
    /// One for each verb on each connection.
    pub(super) recorders: Vec<Arc<Recorder>>,
    /// A worker that fails ends the benchmark.
    pub(super) workers: JoinSet<Result<(), Failure>>,
    /// Of an open loop.
    pub(super) arrivals: Option<Arc<Arrivals>>,
}

/// What a benchmark has measured.
#[derive(Debug)]
pub(super) struct Measured {
    /// One for each verb.
    pub(super) tallies: Vec<Tally>,
    /// From when measuring began to the last answer that counts.
    pub(super) elapsed: Duration,
    /// Why it is over.
    pub(super) ended: Ended,
    /// Requests of an open loop that were due and never sent.
    pub(super) dropped: u64,
}

impl Run {
    /// Waits until all workers are done, and tells meanwhile how it goes. The first Ctrl-C or SIGTERM lets them finish early.
    ///
    /// # Errors
    /// A worker has failed, or a second signal has come.
    pub(super) async fn finish(mut self, report_interval: Option<Duration>) -> Result<Measured, Failure> {
        let mut stop = StopRequests::listen(false)?;
        let mut progress = Progress::new(report_interval, &self.period);
        let mut is_stopping = false;
        loop {
            tokio::select! {
                worker = self.workers.join_next() => match worker {
                    Some(worker) => worker.expect("workers do not panic")?,
                    None => break,
                },
                request = stop.next() => {
                    if is_stopping {
                        return Err(stopped_at_once(request));
                    }
                    is_stopping = true;
                    self.period.cut(Ended::Interrupted);
                }
                () = progress.due() => progress.tell(&self.merged()),
            }
        }
        Ok(self.measured())
    }

    fn measured(&self) -> Measured {
        let mut tallies: Vec<Tally> = Vec::new();
        for recorder in &self.recorders {
            let tally = recorder.tally();
            match tallies.iter_mut().find(|merged| merged.verb == tally.verb) {
                Some(merged) => merged.add(&tally),
                None => tallies.push(tally.clone()),
            }
        }
        let begins = self.period.begins();
        let last_answer = tallies.iter().filter_map(|tally| tally.last_answer).max();
        let end = last_answer.unwrap_or_else(Instant::now);
        let dropped = self.arrivals.as_ref().map_or(0, |arrivals| arrivals.dropped());
        Measured { tallies, elapsed: end.saturating_duration_since(begins), ended: self.period.ended(), dropped }
    }

    /// All verbs together.
    fn merged(&self) -> Tally {
        let mut merged = Tally::new("all");
        self.recorders.iter().for_each(|recorder| merged.add(&recorder.tally()));
        merged
    }
}

fn stopped_at_once(request: StopRequest) -> Failure {
    let exit = if request == StopRequest::Terminate { Exit::Terminated } else { Exit::Interrupted };
    Failure::new(exit, "stopped at once by a second signal: nothing is reported")
}
