//! A line of the REPL: words as in a shell, read by the same definitions as the command line.

use clap::builder::Resettable;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::cli::client_commands::{ClientCommand, ClientOptions};
use crate::cli::{Exit, Failure};

/// What can be typed.
#[derive(Debug, Parser)]
#[command(
    multicall = true,
    subcommand_help_heading = "Commands",
    subcommand_value_name = "COMMAND",
    disable_help_subcommand = false,
    help_template = "{subcommands}",
    after_help = ""
)]
struct Line {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    #[command(flatten)]
    Client(ClientCommand),
    /// End the REPL, as Ctrl-D does
    #[command(visible_alias = "quit")]
    Exit,
}

/// What a line asks for.
#[derive(Debug)]
pub(super) enum Asked {
    /// Nothing: it is empty, or a comment.
    Nothing,
    /// The end of the REPL.
    End,
    /// A command.
    Run(Box<ClientCommand>),
}

/// Why a line asks for nothing that can be carried out.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// A quote is not closed, or a backslash ends the line.
    Quotes,
    /// It is no command; or it asks for help, which clap takes for an error.
    Clap(clap::Error),
}

/// The commands, with the defaults that were chosen when the REPL was started.
pub(super) struct Grammar {
    commands: clap::Command,
}

impl Grammar {
    pub(super) fn new(options: &ClientOptions) -> Self {
        let mut commands = Line::command().mut_subcommands(|command| with_defaults(command, options));
        // Completion looks at it, also at what clap adds by itself.
        commands.build();
        Self { commands }
    }

    /// All that can be typed.
    pub(super) fn commands(&self) -> &clap::Command {
        &self.commands
    }

    pub(super) fn read(&mut self, line: &str) -> Result<Asked, Unreadable> {
        let mut words = shlex::split(line).ok_or(Unreadable::Quotes)?;
        // What was copied from elsewhere begins like this.
        if words.first().is_some_and(|word| word == "quorate") {
            words.remove(0);
        }
        if words.is_empty() {
            return Ok(Asked::Nothing);
        }
        let matches = self.commands.try_get_matches_from_mut(words).map_err(Unreadable::Clap)?;
        match Line::from_arg_matches(&matches).map_err(Unreadable::Clap)?.verb {
            Verb::Client(command) => Ok(Asked::Run(Box::new(command))),
            Verb::Exit => Ok(Asked::End),
        }
    }
}

/// Gives the options of all client commands the values that were chosen at the start. The environment has been looked at then.
fn with_defaults(command: clap::Command, options: &ClientOptions) -> clap::Command {
    let is_client = command.get_arguments().any(|argument| argument.get_id() == "endpoints");
    if !is_client {
        return command;
    }
    let output = name_of(options.output);
    let routing = name_of(options.routing);
    command
        .mut_arg("endpoints", |endpoints| endpoints.env(Resettable::Reset).default_value(options.endpoints.join(",")))
        .mut_arg("routing", |argument| argument.env(Resettable::Reset).default_value(routing))
        .mut_arg("output", |argument| argument.default_value(output))
        .mut_arg("timeout", |argument| match options.timeout {
            Some(timeout) => argument.default_value(humantime::format_duration(timeout).to_string()),
            None => argument,
        })
        .mut_arg("verbose", |verbose| verbose.default_value(options.verbose.to_string()))
}

/// How a value is typed.
fn name_of(value: impl ValueEnum) -> String {
    value.to_possible_value().expect("no value is left out").get_name().to_owned()
}

impl Unreadable {
    /// Says what is wrong, or prints the help that was asked for.
    pub(super) fn tell(&self) -> Exit {
        match self {
            Unreadable::Quotes => {
                let failure = Failure::new(Exit::Usage, "a quote is not closed, or a backslash ends the line");
                failure.tell();
                failure.exit
            }
            Unreadable::Clap(error) => {
                // If that takes nothing, there is nobody left to tell.
                let _ = error.print();
                if error.exit_code() == 0 { Exit::Done } else { Exit::Usage }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::client_commands::{Output, Routing};

    fn options() -> ClientOptions {
        ClientOptions {
            endpoints: vec!["a:1".to_owned(), "b:2".to_owned()],
            routing: Routing::Direct,
            output: Output::Json,
            timeout: Some(Duration::from_millis(1500)),
            verbose: true,
        }
    }

    fn read(line: &str) -> Result<Asked, Unreadable> {
        Grammar::new(&options()).read(line)
    }

    #[test]
    fn the_definitions_are_sound() {
        Line::command().debug_assert();
    }

    #[test]
    fn a_line_has_the_options_of_the_start_unless_it_has_its_own() {
        let of = |line: &str| match read(line).expect(line) {
            Asked::Run(command) => command.options().clone(),
            other => panic!("{line}: {other:?}"),
        };
        for line in ["queues", "enqueue orders 'one pizza'", "member remove a", "member remove a b", "quorate status"] {
            assert_eq!(of(line), options(), "{line}");
        }
        let own = ClientOptions { output: Output::Table, ..options() };
        assert_eq!(of("peek orders --output table"), own);
        let own =
            ClientOptions { timeout: Some(Duration::from_secs(60)), endpoints: vec!["c:3".to_owned()], ..options() };
        assert_eq!(of("member list --timeout 1m --endpoints c:3"), own);
    }

    #[test]
    fn quotes_are_those_of_a_shell() {
        for (line, text) in [
            (r#"enqueue q "a  b" c\ d 'e"f' # not this"#, r#"["a  b", "c d", "e\"f"]"#),
            ("enqueue q '' -- -x", r#"[""]"#),
        ] {
            let said = format!("{:?}", read(line).expect(line));
            assert!(said.contains(&format!("text: {text}")), "{line}: {said}");
        }
        for line in ["", "   ", "# enqueue q x", "quorate"] {
            assert!(matches!(read(line), Ok(Asked::Nothing)), "{line:?}");
        }
        for line in ["exit", "quit"] {
            assert!(matches!(read(line), Ok(Asked::End)), "{line:?}");
        }
        assert!(matches!(read("enqueue q 'a"), Err(Unreadable::Quotes)));
    }

    #[test]
    fn what_only_a_shell_can_do_is_no_command() {
        for line in ["server", "dev", "repl", "config show", "enqeue q x", "dequeue"] {
            match read(line) {
                Err(Unreadable::Clap(error)) => assert_eq!(error.exit_code(), i32::from(Exit::Usage.code()), "{line}"),
                other => panic!("{line}: {other:?}"),
            }
        }
        for line in ["help", "help enqueue", "enqueue --help"] {
            match read(line) {
                Err(Unreadable::Clap(error)) => assert_eq!(error.exit_code(), 0, "{line}: {error}"),
                other => panic!("{line}: {other:?}"),
            }
        }
    }
}
