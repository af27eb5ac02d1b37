//! `quorate bench echo`: what gRPC alone can do on this machine, as a yardstick for `enqueue`.
//!
//! The server is a process of its own, as a node is, on a free port of loopback. Channel and server have the settings of the
//! client and of a node. A message of the stream carries one body, as a call does; nothing is batched.

use std::collections::VecDeque;
use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use clap::Args;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::options::{Mode, Timing, check_shares, message_size, shares, usage};
use super::period::Period;
use super::report::Report;
use super::run::Run;
use super::tally::Recorder;
use crate::cli::client_commands::Output;
use crate::cli::signals::StopRequests;
use crate::cli::{Exit, Failure};
use crate::client;
use crate::proto::internal::EchoMessage;
use crate::proto::internal::echo_client::EchoClient;
use crate::proto::internal::echo_server::{Echo, EchoServer};
use crate::transport::{Limits, Listener};
use crate::wary::Wary;

/// What is sent back and forth.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Whether each message is a call, or all messages of a connection are on one stream
    #[arg(long, value_enum, default_value_t = Mode::Stream)]
    mode: Mode,
    /// Keep this many messages in flight, over all connections
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    outstanding: u32,
    /// How many connections
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    connections: u32,
    /// The size of a message, such as 256 or 4KiB; 1 MiB at most
    #[arg(long, value_name = "BYTES", default_value = "256", value_parser = message_size)]
    size: usize,
    /// For how long.
    #[command(flatten)]
    timing: Timing,
    /// What to print on standard output
    #[arg(long, value_name = "FORM", value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,
}

/// Measures.
pub(super) async fn run(arguments: &Arguments) -> Result<Report, Failure> {
    let Arguments { mode, outstanding, connections, size, ref timing, .. } = *arguments;
    timing.check().map_err(usage)?;
    check_shares(outstanding, connections, Limits::for_clients().calls_max as usize).map_err(usage)?;
    let (_server, address) = start_server().await?;
    let mut clients = Vec::new();
    for _ in 0..connections {
        let channel = client::channel(&address).expect("the server has told its address");
        clients.push(EchoClient::new(channel));
    }
    let period = Period::new(timing.warmup, timing.duration);
    let mut run = Run { period, recorders: Vec::new(), workers: JoinSet::new(), arrivals: None };
    let message = EchoMessage { body: Bytes::from(vec![b'x'; size]) };
    for (client, outstanding) in clients.into_iter().zip(shares(outstanding, connections)) {
        let recorder = Arc::new(Recorder::new("echo", run.period.clone()));
        run.recorders.push(Arc::clone(&recorder));
        let connection = Connection { client, message: message.clone(), period: run.period.clone(), recorder };
        connection.start(mode, outstanding, &mut run.workers);
    }
    Ok(Report {
        benchmark: "echo",
        options: json!({
            "mode": mode,
            "outstanding": outstanding,
            "connections": connections,
            "size_bytes": size,
            "warmup_seconds": timing.warmup.as_secs_f64(),
            "duration_seconds": timing.duration.as_secs_f64(),
        }),
        setting: format!("{outstanding} in flight, {mode}, connections: {connections}, {size} bytes, no Raft, no disk"),
        size,
        measured: run.finish(timing.report_interval).await?,
    })
}

/// Starts the server, which lives as long as this process and the child.
async fn start_server() -> Result<(Child, String), Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bench", "echo-server"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    // Ctrl-C is for this process, which stops the server when it is done.
    let mut server = command.process_group(0).kill_on_drop(true).spawn()?;
    let stdout = server.stdout.take().expect("it is piped");
    let address = BufReader::new(stdout).lines().next_line().await?;
    let address = address.ok_or_else(|| Failure::new(Exit::Failed, "the echo server did not start"))?;
    Ok((server, address))
}

#[derive(Clone)]
struct Connection {
    client: EchoClient<Wary>,
    message: EchoMessage,
    period: Period,
    recorder: Arc<Recorder>,
}

impl Connection {
    fn start(self, mode: Mode, outstanding: usize, workers: &mut JoinSet<Result<(), Failure>>) {
        match mode {
            Mode::Stream => {
                workers.spawn(async move { Ok(self.stream(outstanding).await?) });
            }
            Mode::Unary => (0..outstanding).for_each(|_| {
                let connection = self.clone();
                workers.spawn(async move { Ok(connection.unary().await?) });
            }),
        }
    }

    async fn unary(mut self) -> Result<(), Status> {
        while !self.period.is_over() {
            let begun = Instant::now();
            self.client.once(self.message.clone()).await?;
            self.recorder.answered(begun, 1);
        }
        Ok(())
    }

    /// Answers come in order, so the oldest message in flight is the one that is answered.
    async fn stream(mut self, outstanding: usize) -> Result<(), Status> {
        let (sender, messages) = mpsc::channel(outstanding);
        let mut begun = VecDeque::with_capacity(outstanding);
        for _ in 0..outstanding {
            begun.push_back(Instant::now());
            sender.try_send(self.message.clone()).expect("there is room for all that are in flight");
        }
        let mut answers = self.client.each(ReceiverStream::new(messages)).await?.into_inner();
        while let Some(oldest) = begun.pop_front() {
            answers.message().await?.ok_or_else(|| Status::unavailable("the echo server has ended the stream"))?;
            self.recorder.answered(oldest, 1);
            if !self.period.is_over() {
                begun.push_back(Instant::now());
                sender.try_send(self.message.clone()).expect("one has just been answered");
            }
        }
        Ok(())
    }
}

/// `quorate bench echo-server`: serves until standard input ends, with the settings of a node's client port.
pub(super) async fn serve() -> Result<Exit, Failure> {
    let mut stop = StopRequests::listen(true)?;
    let listener = Listener::bind("127.0.0.1:0", Limits::for_clients()).await?;
    writeln!(std::io::stdout(), "{}", listener.local_address()?)?;
    let server = listener.limits().server().add_service(EchoServer::new(Service));
    tokio::select! {
        served = server.serve_with_incoming(listener.incoming()) => served?,
        _ = stop.next() => {}
    }
    Ok(Exit::Done)
}

struct Service;

#[tonic::async_trait]
impl Echo for Service {
    type EachStream = Streaming<EchoMessage>;

    async fn once(&self, request: Request<EchoMessage>) -> Result<Response<EchoMessage>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    async fn each(&self, request: Request<Streaming<EchoMessage>>) -> Result<Response<Self::EachStream>, Status> {
        Ok(Response::new(request.into_inner()))
    }
}
