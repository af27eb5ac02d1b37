//! The binary: parse, run, report.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use quorate::cli::{self, Cli};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let arguments = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return cli::exit::report(Err(error.into())),
    };
    let result = runtime.block_on(cli::run(arguments));
    // Whatever still runs after a drain, or after a second signal, is not waited for.
    runtime.shutdown_background();
    cli::exit::report(result)
}
