//! `quorate server`: one node, from its settings to its end.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::open_files;
use super::signals::StopRequests;
use super::{Exit, Failure};
use crate::config::{Flag, NodeConfig, Sources};
use crate::node::{self, Running};
use crate::telemetry::{self, Providers, Stream};

/// Settings on the command line win over `QUORATE__SECTION__KEY` in the environment, and those over files.
#[derive(Args, Debug, Default)]
pub struct Arguments {
    /// A YAML file of settings; may be given several times, and later ones win
    #[arg(long = "config", value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// What people call this node [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Where to listen for clients; the other ports follow it [default: 127.0.0.1:7400]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Where to listen for the other nodes [default: the port after that of --listen]
    #[arg(long, value_name = "HOST:PORT")]
    pub peer_listen: Option<String>,
    /// Where to listen for browsers (the dashboard) and Prometheus [default: the second port after that of --listen]
    #[arg(long, value_name = "HOST:PORT")]
    pub admin_listen: Option<String>,
    /// Where to listen for whoever watches over the process [default: the third port after that of --listen]
    #[arg(long, value_name = "HOST:PORT")]
    pub health_listen: Option<String>,
    /// The address under which clients reach this node [default: as --listen]
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// The address under which the other nodes reach this one [default: as --peer-listen]
    #[arg(long, value_name = "HOST:PORT")]
    pub peer_advertise: Option<String>,
    /// The directory with everything the node must remember [default: quorate-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Client addresses of other nodes; without any, and without --discovery, an empty directory starts a cluster
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub join: Vec<String>,
    /// A DNS name that resolves to the addresses of all nodes, with their client port
    #[arg(long, value_name = "HOST:PORT")]
    pub discovery: Option<String>,
    /// How many nodes with empty directories start a cluster together; without it, they only join
    #[arg(long, value_name = "NODES")]
    pub bootstrap_size: Option<String>,
    /// How much to tell: error, warn, info, debug or trace, and target=level for parts [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// How to tell it: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Tell of every heartbeat sent and answered
    #[arg(long)]
    pub show_heartbeats: bool,
    /// Set by `quorate dev`, which puts the name of the node before every line: stop when standard input ends, and leave
    /// the name out
    #[arg(long, hide = true)]
    pub stop_with_stdin: bool,
}

/// The end of the help text.
pub const HELP: &str = "\
Every setting can also stand in a file (--config) or in the environment (QUORATE__SECTION__KEY); `quorate config show` lists all.

Examples:
  quorate server --name a --listen 10.0.0.1:7400 --data /var/lib/quorate
  quorate server --name b --listen 10.0.0.2:7400 --data /var/lib/quorate --join 10.0.0.1:7400
  QUORATE__RAFT__HEARTBEAT_INTERVAL=50ms quorate server --config node.yaml";

/// Runs a node until it is told to stop.
///
/// # Errors
/// The settings are wrong, the node cannot start, or it had to stop by itself.
pub async fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let config = NodeConfig::load(&arguments.sources()).map_err(|error| Failure::new(Exit::Usage, error))?;
    let name = (!arguments.stop_with_stdin).then_some(config.node.name.as_str());
    let providers = Providers::start(&config)?;
    let telemetry = providers.telemetry();
    let _log = telemetry::start(&config.log, name, Stream::Stdout, &telemetry)?;
    open_files::raise(&config);
    let drain_deadline = config.drain_deadline;
    let mut stop = StopRequests::listen(arguments.stop_with_stdin)?;

    // A node whose data was set aside starts again, as another node.
    loop {
        let started = tokio::select! {
            started = node::start(config.clone(), telemetry.clone()) => started,
            request = stop.next() => {
                tracing::info!("stops before it has started, because {request}");
                providers.stop().await;
                return Ok(Exit::Done);
            }
        };
        let mut running = match started {
            Ok(running) => running,
            Err(error) => {
                providers.stop().await;
                return Err(error.into());
            }
        };
        tokio::select! {
            ended = running.wait() => match ended {
                Err(node::Error::Removed { .. }) => {}
                ended => {
                    providers.stop().await;
                    ended?;
                    return Ok(Exit::Done);
                }
            },
            request = stop.next() => {
                tracing::info!("stops because {request}");
                return drain(running, providers, drain_deadline, &mut stop).await;
            }
        }
    }
}

/// Lets the node finish what it has begun, but no longer than the deadline and not after a second signal. What was
/// acknowledged is durable in any case.
async fn drain(
    running: Running,
    providers: Providers,
    deadline: Duration,
    stop: &mut StopRequests,
) -> Result<Exit, Failure> {
    let stopping = async {
        let stopped = running.stop().await;
        providers.stop().await;
        stopped
    };
    tokio::select! {
        stopped = stopping => {
            stopped_well(stopped)?;
            tracing::info!("has stopped");
            Ok(Exit::Done)
        }
        () = tokio::time::sleep(deadline) => {
            let deadline = humantime::format_duration(deadline);
            tracing::warn!("stops in the middle of things, because the drain deadline of {deadline} is over");
            Ok(Exit::Done)
        }
        exit = stop.second() => {
            tracing::warn!("stops at once, because of a second signal");
            Ok(exit)
        }
    }
}

/// A node that was removed has come to its end like any other: with its data set aside it only had to start anew, and now it need
/// not.
fn stopped_well(stopped: Result<(), node::Error>) -> Result<(), node::Error> {
    match stopped {
        Err(node::Error::Removed { .. }) => Ok(()),
        stopped => stopped,
    }
}

impl Arguments {
    /// Where the settings come from.
    pub(super) fn sources(&self) -> Sources {
        Sources::with_environment(self.config.clone(), self.flags())
    }

    /// Which setting each flag sets.
    fn flags(&self) -> Vec<Flag> {
        let join = (!self.join.is_empty()).then(|| self.join.join(","));
        let heartbeats = self.show_heartbeats.then(|| "true".to_owned());
        let given = [
            ("name", "node.name", &self.name),
            ("listen", "client.listen", &self.listen),
            ("peer-listen", "peer.listen", &self.peer_listen),
            ("admin-listen", "admin.listen", &self.admin_listen),
            ("health-listen", "health.listen", &self.health_listen),
            ("advertise", "client.advertise", &self.advertise),
            ("peer-advertise", "peer.advertise", &self.peer_advertise),
            ("data", "node.data_dir", &self.data),
            ("join", "cluster.join", &join),
            ("discovery", "cluster.discovery", &self.discovery),
            ("bootstrap-size", "bootstrap.size", &self.bootstrap_size),
            ("log-level", "log.level", &self.log_level),
            ("log-format", "log.format", &self.log_format),
            ("show-heartbeats", "log.heartbeats", &heartbeats),
        ];
        let flag = |(flag, key, value): (_, _, &Option<String>)| Some(Flag { flag, key, value: value.clone()? });
        given.into_iter().filter_map(flag).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ClusterId;
    use crate::storage;

    #[test]
    fn a_node_that_sets_its_data_aside_while_it_is_told_to_stop_has_stopped() {
        assert!(stopped_well(Err(node::Error::Removed { cluster: ClusterId(1) })).is_ok());
        assert!(stopped_well(Err(node::Error::Storage(storage::Error::Failed))).is_err());
    }

    /// Every flag must name a setting that there is, also when the settings change.
    #[test]
    fn flags_set_settings() {
        let text = |text: &str| Some(text.to_owned());
        let arguments = Arguments {
            name: text("a"),
            listen: text("127.0.0.1:1"),
            peer_listen: text("127.0.0.1:3"),
            advertise: text("a:4"),
            peer_advertise: text("a:5"),
            data: text("d"),
            admin_listen: text("127.0.0.1:8"),
            health_listen: text("127.0.0.1:9"),
            join: vec!["b:6".into(), "c:7".into()],
            discovery: text("nodes:8"),
            bootstrap_size: text("3"),
            log_level: text("warn"),
            log_format: text("json"),
            show_heartbeats: true,
            ..Arguments::default()
        };
        let config = NodeConfig::load(&Sources { flags: arguments.flags(), ..Sources::default() }).unwrap();
        assert_eq!(config.node.name, "a");
        assert_eq!(config.peer_listen().to_string(), "127.0.0.1:3");
        assert_eq!(config.admin_listen().to_string(), "127.0.0.1:8");
        assert_eq!(config.health_listen().to_string(), "127.0.0.1:9");
        assert_eq!(config.cluster.join.len(), 2);
        assert_eq!((config.cluster.discovery.map(|name| name.port), config.bootstrap.size), (Some(8), Some(3)));
        assert!(config.log.heartbeats);
    }
}
