//! A client, and the commands that run on it.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use super::console::Console;
use super::report::{self, Error};
use super::{ClientCommand, ClientOptions, cluster, leader, lease, log, manage, queue};
use crate::cli::{Exit, Failure};
use crate::client::{Client, Event, Observer, Options};
use crate::telemetry;

/// How many different events the user is told of by one command.
const EVENTS_MAX: usize = 50;

/// A client for one command, or for many one after the other: they share its session, and what it knows of the cluster.
pub struct Connection {
    client: Client,
    told: Told,
}

/// What the user has been told of already.
pub(super) type Told = Arc<Mutex<BTreeSet<String>>>;

impl Connection {
    /// A client as the options have it. Connects with the first command.
    ///
    /// # Errors
    /// There is no endpoint, or one is not an address.
    pub(in crate::cli) fn open(options: &ClientOptions) -> Result<Self, Error> {
        let told = Told::default();
        let observer = observer(options.verbose, told.clone());
        let (timeout, forwarding) = (options.timeout, options.routing.into());
        let client_options = Options { timeout, forwarding, observer, ..Options::default() };
        Ok(Self { client: Client::new(options.endpoints.clone(), client_options)?, told })
    }

    /// Runs a command, and prints its result on standard output in the form that its options have.
    ///
    /// # Errors
    /// What went wrong. With `--output json` it has been printed already, and only the exit code is left.
    pub async fn run(&self, command: &ClientCommand) -> Result<Exit, Failure> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let output = command.options().output;
        let stdout = std::io::stdout();
        let terminal = stdout.is_terminal();
        let mut console = Console::new(stdout, output, terminal);
        match execute(&self.client, command, &mut console).await {
            Ok(()) => Ok(Exit::Done),
            Err(error) => report::end(&error, output),
        }
    }

    /// The client, for questions of another kind.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Closes the client's session, as far as that is possible in a moment.
    pub async fn close(self) {
        self.client.close().await;
    }
}

pub(super) async fn execute(client: &Client, command: &ClientCommand, console: &mut Console) -> Result<(), Error> {
    match command {
        ClientCommand::Enqueue(with) => queue::enqueue(client, &with.command, console).await,
        ClientCommand::Dequeue(with) => queue::dequeue(client, &with.command, console).await,
        ClientCommand::Lease(with) => lease::lease(client, &with.command, console).await,
        ClientCommand::Ack(with) => lease::ack(client, &with.command, console).await,
        ClientCommand::Release(with) => lease::release(client, &with.command, console).await,
        ClientCommand::Reject(with) => lease::reject(client, &with.command, console).await,
        ClientCommand::Extend(with) => lease::extend(client, &with.command, console).await,
        ClientCommand::Redrive(with) => manage::redrive(client, &with.command, console).await,
        ClientCommand::Queue(with) => manage::queue(client, &with.command, console).await,
        ClientCommand::Peek(with) => queue::peek(client, &with.command, console).await,
        ClientCommand::Queues(with) => queue::queues(client, &with.command, console).await,
        ClientCommand::Stats(with) => queue::stats(client, &with.command, console).await,
        ClientCommand::Log(with) => log::log(client, &with.command, console).await,
        ClientCommand::Status(with) => cluster::status(client, &with.command, console).await,
        ClientCommand::Member(with) => cluster::member(client, &with.command, console).await,
        ClientCommand::Leader(with) => leader::leader(client, &with.command, console).await,
    }
}

/// Tells a person of what the client meets on its way, each thing once. Scripts hear nothing unless they ask.
pub(super) fn observer(verbose: bool, told: Told) -> Option<Observer> {
    let observer = move |event: &Event| {
        let matters = verbose || !matches!(event, Event::SessionOpened { .. } | Event::SessionReplaced { .. });
        let line = telemetry::escaped(&event.to_string());
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if matters && told.len() < EVENTS_MAX && told.insert(line.clone()) {
            // Standard error that cannot be written to is no reason to fail.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    };
    (verbose || std::io::stderr().is_terminal()).then(|| Arc::new(observer) as Observer)
}
