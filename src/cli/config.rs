//! `quorate config`: a look at settings before a node runs with them.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Exit, Failure};
use crate::config::{NodeConfig, Sources};

/// What to do with the settings.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say everything that is wrong with files of settings and the environment
    Check(Where),
    /// Print the settings in force: defaults, files and environment together
    Show(Where),
}

#[derive(Args, Debug)]
struct Where {
    /// A YAML file of settings; may be given several times, and later ones win
    #[arg(long = "config", value_name = "FILE")]
    config: Vec<PathBuf>,
}

/// Checks or shows the settings with which `quorate server` would run in this environment.
///
/// # Errors
/// Everything that is wrong with them.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let (Command::Check(sources) | Command::Show(sources)) = &arguments.command;
    let config = NodeConfig::load(&Sources::with_environment(sources.config.clone(), Vec::new()))
        .map_err(|error| Failure::new(Exit::Usage, error))?;
    match &arguments.command {
        Command::Check(_) => println!("the settings are good"),
        Command::Show(_) => print!("{}", config.to_yaml()),
    }
    Ok(Exit::Done)
}
