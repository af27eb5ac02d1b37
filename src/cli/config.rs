//! `quorate config`: a look at settings before a node runs with them.

use clap::{Args, Subcommand};

use super::{Exit, Failure, server, stdout};
use crate::config::{Loaded, NodeConfig};

/// What to do with the settings.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say everything that is wrong with files of settings, the environment and flags
    #[command(after_help = CHECK_HELP)]
    Check(Box<server::Arguments>),
    /// Print the settings in force, and where each of them comes from
    #[command(after_help = SHOW_HELP)]
    Show(Box<Show>),
    /// Print the JSON Schema of a file of settings
    #[command(after_help = SCHEMA_HELP)]
    Schema,
}

#[derive(Args, Debug)]
struct Show {
    /// Leave out where they come from
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    sources: server::Arguments,
}

/// The end of the help text.
pub const HELP: &str = "\
Settings come from defaults, the OTEL_* variables, files (--config), variables QUORATE__SECTION__KEY and the flags of
`quorate server`; later ones win.

Examples:
  quorate config check --config node.yaml
  quorate config show
  QUORATE__RAFT__HEARTBEAT_INTERVAL=50ms quorate config show --listen 10.0.0.1:7400";

const CHECK_HELP: &str = "\
Takes the files and flags that `quorate server` would be started with, and starts nothing.

Example:
  quorate config check --config node.yaml --listen 10.0.0.1:7400";

const SHOW_HELP: &str = "\
What is printed is a file that gives exactly these settings. Behind each value stands where it was set: in which line of which
file, in which variable, with which flag, or nowhere (default).

Examples:
  quorate config show --config node.yaml
  quorate config show --plain > node.yaml";

const SCHEMA_HELP: &str = "\
For editors that complete and check YAML, such as those with yaml-language-server, and for checks before a deployment.

Examples:
  quorate config schema > quorate.schema.json
  sed -i '1i # yaml-language-server: $schema=quorate.schema.json' node.yaml";

/// Checks or shows the settings with which `quorate server` would run in this environment.
///
/// # Errors
/// Everything that is wrong with them.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    match &arguments.command {
        Command::Check(sources) => {
            load(sources)?;
            stdout::print(&format!("read {}\nthe settings are good\n", sources.sources().names().join(", ")))
        }
        Command::Show(show) => {
            let loaded = load(&show.sources)?;
            stdout::print(&if show.plain { loaded.config.to_yaml() } else { loaded.to_yaml() })
        }
        Command::Schema => stdout::print(&format!("{:#}\n", NodeConfig::schema())),
    }
}

fn load(arguments: &server::Arguments) -> Result<Loaded, Failure> {
    Loaded::load(&arguments.sources()).map_err(|error| Failure::new(Exit::Usage, error))
}
