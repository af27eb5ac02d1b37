//! `quorate bench`: how fast a cluster is, and beside it what the machine could do at best.
//!
//! ```text
//!   options    what can be asked for                   schedule  an open loop: when requests are due
//!   cluster    enqueue, dequeue, pair on src/client    period    the warm-up, the time that counts, the end
//!   echo       gRPC alone                              tally     histograms, operations, errors
//!   fsync      the disk alone                          run       workers, Ctrl-C       progress, report
//! ```
//!
//! Invariants
//! - A request counts when it begins, or in an open loop is due, within the period; its answer is awaited however late it comes.
//! - Everything ends by itself: requests at the client's --timeout, the load at its duration. In flight, due, filled and told
//!   apart is never more than a named limit.
//! - Standard output has the result only.

mod cluster;
mod echo;
mod fsync;
mod options;
mod period;
mod progress;
mod report;
mod run;
mod schedule;
mod tally;

use std::fmt;
use std::io::IsTerminal;

use clap::{Args, Subcommand};
use serde_json::json;

use super::client_commands::{self, Console, Output};
use super::{Exit, Failure};
use crate::client::{self, Client, Options};
use cluster::Turn;
use options::{Drain, Load, Mode, usage};
use report::Report;

pub(super) const HELP: &str = "\
Without a verb it is enqueue. The messages of `enqueue` stay in the queue; `dequeue` and `pair` take
out whatever is there. Ctrl-C ends a benchmark early and reports what it has measured.

Examples:
  quorate bench enqueue --outstanding 256 --duration 30s
  quorate bench enqueue --rate 2000                  latency under a load that does not give way
  quorate bench dequeue --messages 50000 --size 1KiB
  quorate bench echo --mode unary                    what gRPC alone can do on this machine
  quorate bench fsync --directory /var/lib/quorate   what the disk alone can do

JSON: {\"benchmark\", \"options\": {...}, \"elapsed_seconds\", \"dropped\",
  \"ended\": \"duration\" | \"interrupted\" | \"queue_empty\",
  \"results\": [{\"verb\", \"requests\", \"operations\", \"operations_per_second\", \"mib_per_second\",
               \"latency_us\": {\"p50\", \"p90\", \"p99\", \"p999\", \"max\"},
               \"empty\", \"failed\", \"errors\": {REASON: COUNT}}, ...]}

Exit code 1 when no request succeeded.";

/// A benchmark.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    benchmark: Option<Benchmark>,
    #[command(flatten)]
    load: Load,
}

#[derive(Clone, Debug, Subcommand)]
enum Benchmark {
    /// Enqueue messages
    Enqueue(Load),
    /// Fill a queue, then dequeue from it until the time is over or it is empty
    Dequeue(Drain),
    /// Enqueue a message and, when that is answered, dequeue one
    Pair(Load),
    /// Send messages to a bare gRPC server on this machine and back: no Raft, no disk
    Echo(echo::Arguments),
    /// Write and sync one record after the other, as the log does
    Fsync(fsync::Arguments),
    /// Started by `echo`: serves until standard input ends
    #[command(hide = true)]
    EchoServer,
}

/// Runs a benchmark.
///
/// # Errors
/// The options make no sense, no leader can be reached, or what is measured beside the cluster fails.
pub async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    match arguments.benchmark.unwrap_or(Benchmark::Enqueue(arguments.load)) {
        Benchmark::Enqueue(load) => on_cluster(Turn::Enqueue, load, None).await,
        Benchmark::Pair(load) => on_cluster(Turn::Pair, load, None).await,
        Benchmark::Dequeue(drain) => {
            let fill = drain.fill().map_err(usage)?;
            on_cluster(Turn::Dequeue, drain.load, Some(fill)).await
        }
        Benchmark::Echo(arguments) => print(&echo::run(&arguments).await?, arguments.output),
        Benchmark::Fsync(arguments) => print(&fsync::run(&arguments).await?, arguments.output),
        Benchmark::EchoServer => echo::serve().await,
    }
}

async fn on_cluster(turn: Turn, load: Load, fill: Option<u64>) -> Result<Exit, Failure> {
    load.check().map_err(usage)?;
    let queue = load.queue.as_ref().map_or_else(random_queue, ToString::to_string);
    let clients = match prepare(&load, &queue, fill).await {
        Ok(clients) => clients,
        Err(error) => return client_commands::end(&error.into(), load.client.output),
    };
    let run = cluster::start(&clients, &queue, turn, &load);
    let measured = run.finish(load.timing.report_interval).await?;
    futures_util::future::join_all(clients.iter().map(Client::close)).await;
    let outstanding = load.rate.is_none().then(|| load.outstanding());
    let report = Report {
        benchmark: turn.name(),
        options: json!({
            "mode": load.mode,
            "outstanding": outstanding,
            "rate": load.rate,
            "connections": load.connections,
            "size_bytes": load.size,
            "batch": load.batch,
            "queue": queue,
            "filled": fill,
            "warmup_seconds": load.timing.warmup.as_secs_f64(),
            "duration_seconds": load.timing.duration.as_secs_f64(),
        }),
        setting: setting(&load, &queue),
        size: load.size,
        measured,
    };
    print(&report, load.client.output)
}

/// Clients that have reached the leader, and a queue with what is to be dequeued.
async fn prepare(load: &Load, queue: &str, fill: Option<u64>) -> Result<Vec<Client>, client::Error> {
    let options = Options {
        timeout: load.client.timeout,
        pipelined: load.mode == Mode::Stream,
        observer: load.client.observer(),
        forwarding: load.client.routing.into(),
        ..Options::default()
    };
    let clients = cluster::connect(load, queue, &options).await?;
    if let Some(messages) = fill {
        cluster::fill(&clients[0], queue, load.size, messages).await?;
    }
    Ok(clients)
}

fn print(report: &Report, output: Output) -> Result<Exit, Failure> {
    let stdout = std::io::stdout();
    let terminal = stdout.is_terminal();
    let mut console = Console::new(stdout, output, terminal);
    report.print(&mut console).or_else(|error| client_commands::end(&error.into(), output))
}

fn setting(load: &Load, queue: &str) -> String {
    let Load { mode, connections, size, batch, .. } = load;
    let arrival = match load.rate {
        Some(rate) => format!("{rate} requests due each second"),
        None => format!("{} in flight", load.outstanding()),
    };
    format!("{arrival}, {mode}, connections: {connections}, {size} bytes, {batch} in a request, queue {queue}")
}

fn random_queue() -> String {
    format!("bench-{:016x}", rand::random::<u64>())
}

impl Turn {
    fn name(self) -> &'static str {
        match self {
            Turn::Enqueue => "enqueue",
            Turn::Dequeue => "dequeue",
            Turn::Pair => "pair",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Stream => "stream",
            Mode::Unary => "unary",
        })
    }
}
