//! `quorate repl`: client commands at a prompt, on one connection.
//!
//! ```text
//!   editor       the prompt, on a thread of its own because it blocks; history       completion  what Tab and hints offer
//!   script       lines of standard input when nobody types there                     queue_names asked from the cluster
//!   grammar      a line -> words -> the same command that the command line gives     history     where lines are kept
//! ```
//!
//! A line is asked for when the one before has been carried out, so that the prompt and what commands print never mix.
//!
//! Invariants: a command that fails, or is interrupted, does not end the REPL. All commands share one client and so one session,
//! but for a line that asks to be connected in another way, which gets a client of its own. Nothing that completion asks of
//! the cluster holds up the prompt for longer than a moment.

mod completion;
mod editor;
mod grammar;
mod history;
mod queue_names;
mod script;

use std::io::{self, IsTerminal};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::client_commands::{self, ClientCommand, ClientOptions, Connection};
use super::{Exit, Failure};
use editor::{Editor, Input};
use grammar::{Asked, Grammar};
use queue_names::QueueNames;
use script::Script;

/// How to reach the cluster, and how to print, unless a line says otherwise.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    options: ClientOptions,
}

/// The end of the help text.
pub const HELP: &str = "\
Takes client commands as they stand after `quorate` on the command line, with the same options and with quotes as in a shell.
All of them share one session. Options given here are the defaults of all lines; a line with another --endpoints, --timeout or
--verbose is connected anew for itself.

  Tab        completes commands, options and names of queues; the right arrow takes a hint
  Ctrl-C     clears the line, or interrupts the command that runs; what it has asked for may still take effect
  Ctrl-D     ends, as do `exit` and `quit`
  Ctrl-R     searches the history
  help       lists the commands; `help enqueue` explains one

The last 1,000 lines are kept in $XDG_STATE_HOME/quorate/history, or else ~/.local/state/quorate/history, but for those that
begin with a blank. QUORATE_HISTORY names another file; empty: none.

When standard input or output is not a terminal there is no prompt: each line is carried out, also after one that failed, and
the exit code is that of the last one that failed. What follows # is a comment. `enqueue QUEUE -` cannot read lines here.

Examples:
  quorate repl
  quorate repl --endpoints 10.0.0.1:7400,10.0.0.2:7400
  printf 'enqueue orders one\\ndequeue orders\\n' | quorate repl";

/// Runs commands until the input ends or says so.
///
/// # Errors
/// The endpoints are no addresses, or the terminal cannot be used.
pub async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let options = arguments.options;
    let connection = match Connection::open(&options) {
        Ok(connection) => connection,
        Err(error) => return client_commands::end(&error, options.output),
    };
    let mut grammar = Grammar::new(&options);
    let repl = Repl { options, connection };
    let ended = if io::stdin().is_terminal() && io::stdout().is_terminal() {
        repl.converse(&mut grammar).await
    } else {
        repl.follow_script(&mut grammar).await
    };
    repl.connection.close().await;
    ended
}

struct Repl {
    /// What a line has unless it says otherwise.
    options: ClientOptions,
    connection: Connection,
}

impl Repl {
    /// Talks with a person. How commands end is for eyes only.
    async fn converse(&self, grammar: &mut Grammar) -> Result<Exit, Failure> {
        let names = QueueNames::new(self.connection.client().clone());
        let mut editor = Editor::start(grammar.commands().clone(), names)?;
        loop {
            match editor.read().await {
                Input::Line(line) => match grammar.read(&line) {
                    Ok(Asked::Nothing) => {}
                    Ok(Asked::End) => return Ok(Exit::Done),
                    Ok(Asked::Run(command)) => self.run_interruptibly(&command).await?,
                    Err(error) => drop(error.tell()),
                },
                Input::Cleared => {}
                Input::End => return Ok(Exit::Done),
                Input::Failed(failure) => return Err(failure),
            }
        }
    }

    async fn run_interruptibly(&self, command: &ClientCommand) -> Result<(), Failure> {
        // Made for this command, so that it hears nothing of what came before.
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = self.run(command) => {}
            _ = interrupt.recv() => {
                if !command.is_endless() {
                    Failure::new(Exit::Interrupted, "interrupted; what was asked for may still take effect").tell();
                }
            }
        }
        Ok(())
    }

    /// Carries out the lines of standard input.
    async fn follow_script(&self, grammar: &mut Grammar) -> Result<Exit, Failure> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            ended = self.run_script(grammar) => ended,
            _ = interrupt.recv() => Ok(Exit::Interrupted),
        }
    }

    /// Returns how the last line that failed has failed.
    async fn run_script(&self, grammar: &mut Grammar) -> Result<Exit, Failure> {
        let mut script = Script::start(io::stdin());
        let mut last = Exit::Done;
        while let Some(line) = script.next().await? {
            let exit = match grammar.read(&line) {
                Ok(Asked::Nothing) => Exit::Done,
                Ok(Asked::End) => break,
                Ok(Asked::Run(command)) => self.run(&command).await,
                Err(error) => error.tell(),
            };
            if exit != Exit::Done {
                last = exit;
            }
        }
        Ok(last)
    }

    /// Runs a command and says what went wrong, if something did.
    async fn run(&self, command: &ClientCommand) -> Exit {
        let ran = if command.reads_input() {
            client_commands::end(&client_commands::Error::InputTaken, command.options().output)
        } else if self.is_connected_for(command.options()) {
            self.connection.run(command).await
        } else {
            client_commands::run_once(command).await
        };
        ran.unwrap_or_else(|failure| {
            failure.tell();
            failure.exit
        })
    }

    /// Whether a command with these options can use the connection that there is.
    fn is_connected_for(&self, options: &ClientOptions) -> bool {
        *options == ClientOptions { output: options.output, ..self.options.clone() }
    }
}
