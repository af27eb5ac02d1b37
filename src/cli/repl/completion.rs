//! What can follow in a line: found by walking through the words before the cursor with the definitions of the commands.

use std::borrow::Cow;
use std::cell::RefCell;

use clap::{Arg, ArgAction, Command};
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use super::queue_names::QueueNames;

/// Completes and hints for the editor.
pub(super) struct Completion {
    commands: Command,
    /// Asked while a line is edited, by one thread.
    queues: RefCell<QueueNames>,
}

/// The place of a word that is being typed.
struct Place<'a> {
    command: &'a Command,
    /// The option whose value the word is.
    option: Option<&'a Arg>,
    /// Words before it that are neither command nor option.
    positionals: usize,
    /// After `--`.
    literal: bool,
    /// Where it begins in the line.
    start: usize,
    /// What there is of it.
    word: &'a str,
}

/// What can stand in a place.
enum Expected<'a> {
    /// One of these.
    Words(Vec<String>),
    /// A queue.
    Queue,
    /// Something that nobody else knows.
    Other(&'a Arg),
    /// Nothing.
    Nothing,
}

impl Completion {
    pub(super) fn new(commands: Command, queues: QueueNames) -> Self {
        Self { commands, queues: RefCell::new(queues) }
    }

    fn place<'a>(&'a self, line: &'a str) -> Option<Place<'a>> {
        let start = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let word = &line[start..];
        // Within quotes there is nothing to complete.
        if word.contains(['\'', '"', '\\']) {
            return None;
        }
        let mut words = shlex::split(&line[..start])?;
        if words.first().is_some_and(|word| word == "quorate") {
            words.remove(0);
        }
        let mut place = Place { command: &self.commands, option: None, positionals: 0, literal: false, start, word };
        words.iter().for_each(|word| place.pass(word));
        Some(place)
    }
}

impl<'a> Place<'a> {
    /// Goes on after a whole word.
    fn pass(&mut self, word: &str) {
        let is_option = !self.literal && word.len() > 1 && word.starts_with('-');
        let value_of = self.option.take();
        if is_option {
            self.literal = word == "--";
            self.option = self.find_option(word);
        } else if value_of.is_some() {
            // It is the value.
        } else if let Some(command) = self.command.find_subcommand(word).filter(|_| self.positionals == 0) {
            self.command = command;
        } else {
            self.positionals += 1;
        }
    }

    /// The option that this word names, if its value is the next word.
    fn find_option(&self, word: &str) -> Option<&'a Arg> {
        let names = |argument: &&Arg| match word.strip_prefix("--") {
            Some(long) => argument.get_long() == Some(long),
            None => argument.get_short().is_some_and(|short| word.ends_with(short)),
        };
        self.command
            .get_arguments()
            .find(names)
            .filter(|argument| matches!(argument.get_action(), ArgAction::Set | ArgAction::Append))
    }

    fn expected(&self) -> Expected<'a> {
        if !self.literal && self.word.starts_with('-') {
            return Expected::Words(options(self.command));
        }
        if let Some(option) = self.option {
            return value(option);
        }
        let commands: Vec<_> = self.command.get_subcommands().filter(|command| !command.is_hide_set()).collect();
        if !commands.is_empty() && self.positionals == 0 {
            return Expected::Words(commands.iter().map(|command| command.get_name().to_owned()).collect());
        }
        self.next_positional().map_or(Expected::Nothing, value)
    }

    /// The argument that a further word would be; the last one if it takes any number of them.
    fn next_positional(&self) -> Option<&'a Arg> {
        let positionals: Vec<_> = self.command.get_positionals().filter(|argument| !argument.is_last_set()).collect();
        let takes_more = |argument: &&Arg| argument.get_num_args().is_some_and(|count| count.max_values() > 1);
        positionals.get(self.positionals).copied().or_else(|| positionals.last().copied().filter(takes_more))
    }
}

fn options(command: &Command) -> Vec<String> {
    let visible = command.get_arguments().filter(|argument| !argument.is_hide_set());
    visible.filter_map(|argument| argument.get_long()).map(|long| format!("--{long}")).collect()
}

fn value(argument: &Arg) -> Expected<'_> {
    let values = argument.get_possible_values();
    match argument.get_id().as_str() {
        "queue" => Expected::Queue,
        _ if values.is_empty() => Expected::Other(argument),
        _ => Expected::Words(values.iter().map(|value| value.get_name().to_owned()).collect()),
    }
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(&self, line: &str, cursor: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let Some(place) = self.place(&line[..cursor]) else { return Ok((cursor, Vec::new())) };
        let mut words = match place.expected() {
            Expected::Words(words) => words,
            Expected::Queue => self.queues.borrow_mut().beginning_with(place.word),
            Expected::Other(_) | Expected::Nothing => Vec::new(),
        };
        words.retain(|word| word.starts_with(place.word));
        let pair = |word: String| Pair { replacement: format!("{word} "), display: word };
        Ok((place.start, words.into_iter().map(pair).collect()))
    }
}

/// What is shown after the cursor.
pub(super) struct Hint {
    shown: String,
    /// It can be taken as it is, and not only tells what belongs there.
    can_be_taken: bool,
}

impl rustyline::hint::Hint for Hint {
    fn display(&self) -> &str {
        &self.shown
    }

    fn completion(&self) -> Option<&str> {
        self.can_be_taken.then_some(self.shown.as_str())
    }
}

impl Hinter for Completion {
    type Hint = Hint;

    /// The rest of the only word that fits, or what belongs at the cursor. Never asks the cluster.
    fn hint(&self, line: &str, cursor: usize, _: &Context<'_>) -> Option<Hint> {
        if cursor < line.len() || line.is_empty() {
            return None;
        }
        let place = self.place(line)?;
        match place.expected() {
            Expected::Words(words) if !place.word.is_empty() => {
                let mut rests = words.iter().filter_map(|word| word.strip_prefix(place.word));
                let rest = rests.next().filter(|rest| !rest.is_empty())?;
                rests.next().is_none().then(|| Hint { shown: rest.to_owned(), can_be_taken: true })
            }
            Expected::Queue if place.word.is_empty() => Some(Hint { shown: "QUEUE".to_owned(), can_be_taken: false }),
            Expected::Other(argument) if place.word.is_empty() => {
                let names = argument.get_value_names()?.join(" ");
                Some(Hint { shown: names, can_be_taken: false })
            }
            _ => None,
        }
    }
}

impl Highlighter for Completion {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        let dimmed = anstyle::Style::new().dimmed();
        format!("{dimmed}{hint}{dimmed:#}").into()
    }
}

impl Validator for Completion {}

impl Helper for Completion {}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use rustyline::history::MemHistory;

    use super::*;
    use crate::cli::repl::Arguments;
    use crate::cli::repl::grammar::Grammar;
    use crate::client::{Client, Options};

    #[derive(clap::Parser)]
    struct Repl {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn completion() -> Completion {
        let options = Repl::parse_from(["repl", "--endpoints", "127.0.0.1:1"]).arguments.options;
        let client = Client::new(options.endpoints.clone(), Options::default()).unwrap();
        Completion::new(Grammar::new(&options).commands().clone(), QueueNames::new(client))
    }

    fn completed(line: &str) -> Vec<String> {
        let history = MemHistory::new();
        let (_, pairs) = completion().complete(line, line.len(), &Context::new(&history)).unwrap();
        pairs.into_iter().map(|pair| pair.display).collect()
    }

    fn hinted(line: &str) -> Option<String> {
        let history = MemHistory::new();
        completion().hint(line, line.len(), &Context::new(&history)).map(|hint| hint.shown)
    }

    #[tokio::test]
    async fn commands_options_and_values_are_completed() {
        assert_eq!(completed("e"), ["enqueue", "extend", "exit"]);
        assert_eq!(completed("quorate que"), ["queue", "queues"]);
        assert_eq!(completed("member r"), ["remove"]);
        assert_eq!(completed("help deq"), ["dequeue"]);
        assert_eq!(completed("dequeue orders --w"), ["--wait"]);
        assert_eq!(completed("log --kind co"), ["command", "configuration"]);
        assert_eq!(completed("log --follow --verb enq"), ["enqueue"]);
        assert_eq!(completed("member list --output "), ["table", "json"]);
        for line in ["dequeue orders --wait ", "enqueue 'or", "member remove a --stay", "exit ", "log --from 1 x"] {
            assert_eq!(completed(line), Vec::<String>::new(), "{line}");
        }
    }

    #[tokio::test]
    async fn hints_tell_what_belongs_there() {
        assert_eq!(hinted("enq").as_deref(), Some("ueue"));
        assert_eq!(hinted("enqueue ").as_deref(), Some("QUEUE"));
        assert_eq!(hinted("enqueue orders ").as_deref(), Some("TEXT"));
        assert_eq!(hinted("enqueue orders one ").as_deref(), Some("TEXT"));
        assert_eq!(hinted("dequeue orders --wait ").as_deref(), Some("TIME"));
        assert_eq!(hinted("log --queue ").as_deref(), Some("QUEUE"));
        assert_eq!(hinted("member remove a ").as_deref(), Some("NAME_OR_ID"));
        assert_eq!(hinted("member promote a "), None);
        for line in ["", "e", "dequeue orders ", "enqueue"] {
            assert_eq!(hinted(line), None, "{line:?}");
        }
    }

    /// Which places ask the cluster: a place that does is one where a queue belongs.
    #[tokio::test]
    async fn queues_belong_where_commands_take_them() {
        let completion = completion();
        let wants = |line: &str| matches!(completion.place(line).unwrap().expected(), Expected::Queue);
        for line in
            ["enqueue ", "enqueue or", "dequeue --wait 10s o", "peek --limit 3 ", "log --queue x", "log -f --queue "]
        {
            assert!(wants(line), "{line}");
        }
        for line in ["enqueue orders ", "queues ", "log ", "dequeue orders x"] {
            assert!(!wants(line), "{line}");
        }
    }
}
