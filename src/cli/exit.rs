//! How a command ends: its exit code, and what it says when something went wrong.

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use crate::telemetry;

/// The end of the help text.
pub const HELP: &str = "\
Exit codes:
    0  done
    1  failed
    2  wrong usage or settings
    3  the queue is empty
    4  no leader could be reached in time
    5  the cluster refused
  130  stopped by Ctrl-C; server, dev: at once, by a second one
  143  stopped by SIGTERM; server, dev: at once, by a second one";

/// How a command ends. The numbers are for scripts and do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked for.
    Done,
    /// It failed.
    Failed,
    /// It was asked for something that makes no sense, or the settings are wrong. The same code as clap's.
    Usage,
    /// There was no message.
    QueueEmpty,
    /// No leader could be reached in time. Whether something happened is unknown where the message says so.
    Unavailable,
    /// The cluster said no, and changed nothing.
    Refused,
    /// Ctrl-C stopped it, or the second one of two where the first asks for a clean end.
    Interrupted,
    /// A second SIGTERM stopped it at once.
    Terminated,
    /// Another program ended with this code, and was all that it was about.
    Other(u8),
}

impl Exit {
    /// The code.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::QueueEmpty => 3,
            Exit::Unavailable => 4,
            Exit::Refused => 5,
            Exit::Interrupted => 130,
            Exit::Terminated => 143,
            Exit::Other(code) => code,
        }
    }
}

/// Why a command failed, in words for the person who typed it.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong.
    pub error: Box<dyn Error + Send + Sync>,
    /// What can be done about it.
    pub hint: Option<String>,
}

impl Failure {
    /// This error, with the hint that fits its cause.
    pub fn new(exit: Exit, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let error = error.into();
        let hint = chain(&*error).find_map(hint).map(str::to_owned);
        Self { exit, error, hint }
    }

    /// This error, and what can be done about it.
    pub fn with_hint(exit: Exit, error: impl Into<Box<dyn Error + Send + Sync>>, hint: impl Into<String>) -> Self {
        Self { exit, error: error.into(), hint: Some(hint.into()) }
    }

    /// Prints it on standard error. If that takes nothing, there is nobody left to tell.
    pub fn tell(&self) {
        let lines = self.lines().join("\n");
        let _ = writeln!(io::stderr(), "{lines}");
    }

    /// What is printed: a line that begins with `error:` for each line of the error, and at most one with `hint:`.
    pub fn lines(&self) -> Vec<String> {
        let what = in_words(&*self.error);
        let errors = what.lines().map(|line| format!("error: {}", telemetry::escaped(line)));
        errors.chain(self.hint.iter().map(|hint| format!("hint: {}", telemetry::escaped(hint)))).collect()
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::new(Exit::Failed, error)
    }
}

/// The last step of `main`: says what went wrong, if something did.
pub fn report(result: Result<Exit, Failure>) -> ExitCode {
    let exit = result.unwrap_or_else(|failure| {
        failure.tell();
        failure.exit
    });
    ExitCode::from(exit.code())
}

/// The error and its causes, from the outside in. A cause that the text before has told already is not told again.
fn in_words(error: &(dyn Error + 'static)) -> String {
    let mut words = String::new();
    for cause in chain(error).map(ToString::to_string) {
        if words.is_empty() {
            words = cause;
        } else if !words.contains(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    words
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// What can be done about an error of the system.
fn hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    match error.downcast_ref::<io::Error>()?.kind() {
        ErrorKind::AddrInUse => Some("another process listens there: stop it, or choose another port with --listen"),
        ErrorKind::AddrNotAvailable => Some("listen on an address of this machine, such as 127.0.0.1 or 0.0.0.0"),
        ErrorKind::PermissionDenied => Some("run as the owner of the directory; ports below 1024 are for root"),
        ErrorKind::StorageFull => Some("make room on the disk and start again: what was acknowledged is kept"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot listen on 127.0.0.1:7400")]
    struct Listen(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("node a: {0}")]
    struct TellsItsCause(#[source] Listen);

    #[test]
    fn one_line_names_the_thing_and_one_the_remedy() {
        let failure = Failure::from(Listen(io::Error::from(ErrorKind::AddrInUse)));
        let expected = [
            "error: cannot listen on 127.0.0.1:7400: address in use",
            "hint: another process listens there: stop it, or choose another port with --listen",
        ];
        assert_eq!(failure.lines(), expected);
        assert_eq!(failure.exit, Exit::Failed);
    }

    #[test]
    fn no_cause_is_told_twice() {
        let failure = Failure::from(TellsItsCause(Listen(io::Error::other("\u{1b}odd"))));
        assert_eq!(failure.lines(), ["error: node a: cannot listen on 127.0.0.1:7400: \\u{1b}odd"]);
    }
}
