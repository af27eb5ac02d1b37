//! `quorate completions`: scripts that let a shell complete commands and options.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Exit, Failure, stdout};

/// Which script to print.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The shell that is to read it
    #[arg(value_enum)]
    shell: Shell,
}

/// The end of the help text.
pub const HELP: &str = "\
Examples; the first of each pair is for this shell only, the second for all to come:
  source <(quorate completions bash)
  quorate completions bash > ~/.local/share/bash-completion/completions/quorate

  source <(quorate completions zsh)
  quorate completions zsh > \"${fpath[1]}/_quorate\"

  quorate completions fish | source
  quorate completions fish > ~/.config/fish/completions/quorate.fish

  eval (quorate completions elvish | slurp)
  quorate completions elvish >> ~/.config/elvish/rc.elv

  quorate completions powershell | Out-String | Invoke-Expression
  quorate completions powershell >> $PROFILE";

/// Prints the script.
///
/// # Errors
/// Standard output does not take it.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    // Made in memory first: the generator panics when it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "quorate", &mut script);
    stdout::print(&String::from_utf8_lossy(&script))
}
