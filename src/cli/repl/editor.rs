//! The prompt. The line editor blocks, so it has a thread of its own, which is asked for one line at a time.

use std::io::{self, Write};
use std::sync::mpsc as blocking;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{ColorMode, CompletionType, Config};
use tokio::sync::mpsc;

use super::completion::Completion;
use super::history;
use super::queue_names::QueueNames;
use crate::cli::{Exit, Failure};
use crate::telemetry;

const PROMPT: &str = "quorate> ";
/// Lines that the history keeps; the oldest go first.
const HISTORY_LINES_MAX: usize = 1_000;
/// More candidates are shown only when the person says so.
const CANDIDATES_ASKED_FOR: usize = 100;

/// What came of asking for a line.
pub(super) enum Input {
    /// A line.
    Line(String),
    /// Ctrl-C: there is nothing to do.
    Cleared,
    /// Ctrl-D.
    End,
    /// The terminal cannot be read.
    Failed(Failure),
}

/// The other side of the thread.
pub(super) struct Editor {
    ask: blocking::Sender<()>,
    inputs: mpsc::Receiver<Input>,
}

impl Editor {
    /// Starts the thread, which ends when this is dropped.
    ///
    /// # Errors
    /// The terminal cannot be used, or there is no room for a thread.
    pub(super) fn start(commands: clap::Command, queues: QueueNames) -> Result<Self, Failure> {
        let (ask, asked) = blocking::channel();
        let (sender, inputs) = mpsc::channel(1);
        let mut lines = Lines::open(Completion::new(commands, queues))?;
        std::thread::Builder::new()
            .name("repl".to_owned())
            .spawn(move || while asked.recv().is_ok() && sender.blocking_send(lines.read()).is_ok() {})?;
        Ok(Self { ask, inputs })
    }

    /// Shows the prompt and waits for a line.
    pub(super) async fn read(&mut self) -> Input {
        // A thread that is gone answers nothing either.
        let _ = self.ask.send(());
        self.inputs.recv().await.unwrap_or(Input::End)
    }
}

/// The line editor with its history.
struct Lines {
    editor: rustyline::Editor<Completion, FileHistory>,
    /// Where lines are kept; none when they are not.
    history: Option<std::path::PathBuf>,
}

impl Lines {
    fn open(completion: Completion) -> Result<Self, Failure> {
        let colors = if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
            ColorMode::Disabled
        } else {
            ColorMode::Enabled
        };
        let config = Config::builder()
            .max_history_size(HISTORY_LINES_MAX)?
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .completion_prompt_limit(CANDIDATES_ASKED_FOR)
            .color_mode(colors)
            .build();
        let mut editor = rustyline::Editor::with_config(config)?;
        editor.set_helper(Some(completion));
        let history = history::file().unwrap_or_else(|error| {
            not_kept(&error);
            None
        });
        let mut lines = Self { editor, history };
        lines.load();
        Ok(lines)
    }

    fn load(&mut self) {
        let Some(path) = self.history.clone().filter(|path| path.exists()) else { return };
        if let Err(error) = self.editor.load_history(&path) {
            not_kept(&error);
            self.history = None;
        }
    }

    fn read(&mut self) -> Input {
        match self.editor.readline(PROMPT) {
            Ok(line) => {
                self.keep(&line);
                Input::Line(line)
            }
            Err(ReadlineError::Interrupted) => Input::Cleared,
            Err(ReadlineError::Eof) => Input::End,
            Err(error) => Input::Failed(Failure::new(Exit::Failed, format!("cannot read from the terminal: {error}"))),
        }
    }

    /// Adds a line to the history, at once: the next REPL, also one that runs already, finds it there.
    fn keep(&mut self, line: &str) {
        let added = self.editor.add_history_entry(line);
        let Some(path) = self.history.clone().filter(|_| added.is_ok()) else { return };
        // The editor sees to it that the file is for its owner only, and no longer than it may be.
        if let Err(error) = self.editor.append_history(&path) {
            not_kept(&error);
            self.history = None;
        }
    }
}

fn not_kept(why: &dyn std::error::Error) {
    let why = telemetry::escaped(&why.to_string());
    // Standard error that cannot be written to is no reason to fail.
    let _ = writeln!(io::stderr(), "the history is not kept: {why}");
}
