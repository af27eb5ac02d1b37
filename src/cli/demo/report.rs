//! What the audience reads.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};
use tokio::io::{AsyncBufReadExt, BufReader, Stdin};
use tokio::time::Instant;

use crate::cli::local_cluster::output::Lines;
use crate::cli::{Exit, Failure};
use crate::telemetry::escaped;

/// Tells what is done, and counts the checks.
pub(super) struct Report {
    lines: Lines,
    /// Where Enter is heard, if each step is to wait for it.
    enter: Option<BufReader<Stdin>>,
    began: Instant,
    /// When the step began, if it is to be told how long each took.
    step_began: Option<Instant>,
    steps: usize,
    passed: usize,
    failed: usize,
}

impl Report {
    pub(super) fn new(lines: Lines, waits_for_enter: bool, tells_times: bool) -> Self {
        let enter = waits_for_enter.then(|| BufReader::new(tokio::io::stdin()));
        let began = Instant::now();
        Self { lines, enter, began, step_began: tells_times.then_some(began), steps: 0, passed: 0, failed: 0 }
    }

    /// Begins the next step.
    pub(super) async fn step(&mut self, title: &str) {
        self.steps += 1;
        let heading = format!("== {} of {}  {title}", self.steps, super::steps::STEPS);
        self.lines.send(String::new()).await;
        self.lines.send(self.lines.styled(Style::new().bold(), &heading)).await;
        if let Some(enter) = &mut self.enter {
            self.lines.send("  (Enter)".to_owned()).await;
            // When nobody can press Enter any more, nobody has to.
            let _ = enter.read_line(&mut String::new()).await;
        }
        self.step_began = self.step_began.map(|_| Instant::now());
    }

    /// Ends a step.
    ///
    /// # Errors
    /// A check has failed: the rest would show nothing.
    pub(super) async fn end_step(&self) -> Result<(), Failure> {
        if let Some(began) = self.step_began {
            self.say(&format!("This step took {:.1} s.", began.elapsed().as_secs_f64())).await;
        }
        match self.failed {
            0 => Ok(()),
            _ => Err(Failure::new(Exit::Failed, "what this step has to show is not what came")),
        }
    }

    /// What is done, as it would be typed.
    pub(super) async fn command(&self, command: &str) {
        let line = self.lines.styled(Style::new().bold(), &format!("$ {command}"));
        self.lines.send(format!("  {line}")).await;
    }

    /// What came, or what is to be seen; line by line.
    pub(super) async fn say(&self, text: &str) {
        for line in text.lines() {
            self.lines.send(format!("    {}", escaped(line))).await;
        }
    }

    /// What a node told.
    pub(super) async fn told(&self, node: &str, line: &str) {
        self.lines.send(format!("    {}{}", self.lines.prefix(node), escaped(line))).await;
    }

    /// Compares, as texts, what was to be shown with what came.
    pub(super) async fn check(&mut self, what: &str, expected: impl Display, got: impl Display) {
        let (expected, got) = (expected.to_string(), got.to_string());
        let line = if expected == got {
            self.passed += 1;
            format!("{} {what}: {}", self.lines.styled(AnsiColor::Green.on_default().bold(), "ok:"), escaped(&got))
        } else {
            self.failed += 1;
            let failed = self.lines.styled(AnsiColor::Red.on_default().bold(), "FAILED:");
            format!("{failed} {what}: expected {}, got {}", escaped(&expected), escaped(&got))
        };
        self.lines.send(format!("  {line}")).await;
    }

    /// The last words, and the exit code that goes with them.
    pub(super) async fn verdict(&mut self, played: Result<(), Failure>) -> Exit {
        let seconds = self.began.elapsed().as_secs_f64();
        self.lines.send(String::new()).await;
        let Err(failure) = played else {
            let verdict = format!("All {} checks have passed, in {seconds:.1} s.", self.passed);
            self.lines.send(self.lines.styled(AnsiColor::Green.on_default().bold(), &verdict)).await;
            return Exit::Done;
        };
        for line in failure.lines() {
            self.lines.send(line).await;
        }
        let (step, steps) = (self.steps, super::steps::STEPS);
        let checks = format!("{} checks have passed and {} failed", self.passed, self.failed);
        let verdict = format!("NOT SHOWN: it ended in step {step} of {steps}, after {seconds:.1} s; {checks}.");
        self.lines.send(self.lines.styled(AnsiColor::Red.on_default().bold(), &verdict)).await;
        Exit::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_check_says_what_was_expected_and_what_came() {
        let (lines, mut printed) = Lines::for_test();
        let mut report = Report::new(lines, false, false);
        report.check("the first message", "1", "1").await;
        assert!(report.end_step().await.is_ok());
        report.check("the second message", "2", "\u{1b}3").await;
        assert!(report.end_step().await.is_err(), "a step with a failed check fails");
        let told = [printed.recv().await.unwrap(), printed.recv().await.unwrap()];
        assert_eq!(told, ["  ok: the first message: 1", "  FAILED: the second message: expected 2, got \\u{1b}3"]);
    }

    async fn verdict(report: &mut Report) -> Exit {
        let played = report.end_step().await;
        report.verdict(played).await
    }

    #[tokio::test]
    async fn only_what_has_passed_ends_well() {
        let (lines, mut printed) = Lines::for_test();
        let mut report = Report::new(lines.clone(), false, false);
        report.check("a", 1, 1).await;
        let _told = printed.recv().await;
        assert_eq!(verdict(&mut report).await, Exit::Done);
        assert_eq!(printed.recv().await.unwrap(), "");
        assert_eq!(printed.recv().await.unwrap(), "All 1 checks have passed, in 0.0 s.");

        report.check("b", 1, 2).await;
        let _told = printed.recv().await;
        assert_eq!(verdict(&mut report).await, Exit::Failed);
        let told = [printed.recv().await.unwrap(), printed.recv().await.unwrap(), printed.recv().await.unwrap()];
        assert_eq!(told[1], "error: what this step has to show is not what came");
        assert!(told[2].ends_with("1 checks have passed and 1 failed."), "{told:?}");
    }
}
