//! The one struct of settings, and where its values come from.
//!
//! ```text
//!    defaults  ->  OTEL_*  ->  files (--config, in order)  ->  QUORATE__SECTION__KEY  ->  flags         later ones win
//!        each value is tried alone (load.rs), then the whole is checked for what must fit together (rules.rs)
//!    shown again with where each value came from (show.rs, line.rs), and described for other programs (schema.rs)
//! ```
//!
//! A file is one YAML document that begins with `apiVersion: quorate.dev/v1` and `kind: NodeConfig`. Its keys are those of
//! [`NodeConfig`]. A key without a value counts as not given.
//!
//! Invariants: a [`NodeConfig`] that [`NodeConfig::load`] returns obeys every rule, and an [`Error`] lists everything that is
//! wrong, not only the first thing. A setting's default, its name and its meaning are written once, in this file.
//!
//! Not here: what a cluster decides together (its members, its commit quorum after the start) lives in the log; limits that
//! must be equal on all nodes (message size, queue length) are constants of the state machine.

mod line;
mod load;
mod otel;
mod problem;
mod rules;
mod schema;
mod show;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use load::{Flag, Sources};
pub use problem::{Error, Origin, Problem};
pub use show::Loaded;
pub use values::{Address, Attributes, InvalidAddress, Secret};

use crate::raft::{Bounds, CommitQuorum};
use values::CommitQuorumName;

/// What a file must say under `apiVersion`.
pub const API_VERSION: &str = "quorate.dev/v1";
/// What a file must say under `kind`.
pub const KIND: &str = "NodeConfig";

/// The settings of one node. Durations are written like `150ms`, sizes like `64MiB`, addresses like `127.0.0.1:7400`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Who the node is.
    pub node: Node,
    /// The port for clients.
    pub client: Client,
    /// The port for the other nodes.
    pub peer: Peer,
    /// The port for people who look at the cluster, and for Prometheus.
    pub admin: Admin,
    /// The port for whoever watches over the process.
    pub health: Health,
    /// The cluster to belong to.
    pub cluster: Cluster,
    /// How a cluster begins that several nodes start together.
    pub bootstrap: Bootstrap,
    /// The StatefulSet that the node is a pod of.
    pub kubernetes: Kubernetes,
    /// The protocol.
    pub raft: Raft,
    /// The log on disk.
    pub storage: Storage,
    /// How much at once.
    pub limits: Limits,
    /// What the node tells, and how.
    pub log: Log,
    /// What the node tells a collector.
    pub telemetry: Telemetry,
    /// How long a stopping node may take to hand leadership over, to leave the cluster where it is to, and to answer what it
    /// has begun. After that it exits all the same; what was acknowledged is durable either way.
    #[serde(with = "values::duration")]
    #[schemars(schema_with = "values::duration::schema")]
    pub drain_deadline: Duration,
}

/// Who the node is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// What people call the node: 1 to 253 letters, digits, `.`, `-` and `_`, different from that of every other member: a
    /// node that joins under the name of a member takes its place. Default: the host name, which in a StatefulSet is the
    /// name of the pod.
    pub name: String,
    /// The directory that holds everything the node must remember. Made when it does not exist; locked while the node runs.
    pub data_dir: PathBuf,
}

/// The port for clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Where to listen. Port 0: any free port. Default: only this machine can connect.
    pub listen: Address,
    /// What to tell clients, which must reach the node under it. Default: `listen` with the port that was bound; where that
    /// is every address of the machine (`0.0.0.0`, `[::]`), the host name.
    pub advertise: Option<Address>,
}

/// The port for the other nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Where to listen. Default: the port after that of `client.listen`, on the same host; 0 when that is 0.
    pub listen: Option<Address>,
    /// What to tell the other nodes, which must reach the node under it. Default: the host of `client.advertise` if that is
    /// given, otherwise as there, with the port that was bound.
    pub advertise: Option<Address>,
}

/// The port for people who look at the cluster, and for Prometheus: plaintext HTTP with the dashboard and `/metrics`. Whoever
/// reaches it can read; what changes something needs the token, if there is one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Where to listen. Default: the second port after that of `client.listen`, on the same host; 0 when that is 0.
    pub listen: Option<Address>,
    /// What somebody must know to change anything: 16 to 512 printable ASCII characters without blanks. Default: none; then
    /// whoever reaches the port can.
    pub token: Option<Secret>,
    /// A file with the token, such as a mounted Secret, in place of `token`. It is read at each use, so that it can be
    /// replaced while the node runs; while it cannot be read, nobody can change anything.
    pub token_file: Option<PathBuf>,
    /// Host names, besides its own, under which browsers may reach the node: IP addresses, `localhost`, the name of the node and
    /// the hosts that it advertises are always accepted. Any other name is refused, because a foreign page can have one that
    /// leads here. At most 100.
    #[serde(with = "values::names")]
    #[schemars(with = "Vec<String>")]
    pub hosts: Vec<String>,
    /// Whether bodies and headers of messages are shown. Otherwise only their lengths and checksums are.
    pub show_content: bool,
    /// Where traces can be looked at, as an address with `{trace_id}` in it, such as
    /// `https://jaeger.example/trace/{trace_id}`. Default: none; then ids of traces are no links.
    pub trace_url: Option<String>,
}

/// The port for whoever watches over the process: plaintext HTTP (`/livez`, `/readyz`) and the standard gRPC health service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Where to listen. Default: the third port after that of `client.listen`, on the same host; 0 when that is 0.
    pub listen: Option<Address>,
    /// A node that hears of no leader for so long after its start is ready all the same: otherwise none would be, after a stop
    /// of all, while a quorum is missing. Longer is safer where whatever replaces nodes one by one goes on when one is ready: a
    /// node that cannot reach the others hears of no leader either. At most a day.
    #[serde(with = "values::duration")]
    #[schemars(schema_with = "values::duration::schema")]
    pub leader_wait: Duration,
}

/// The cluster to belong to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Client addresses of other nodes. A node with an empty data directory applies for membership through whichever of them
    /// belongs to a cluster; with none given, and no `discovery`, it starts a cluster of its own. A node that is a member
    /// already asks them when it finds none of the addresses that it remembers.
    #[serde(with = "values::addresses")]
    #[schemars(with = "Vec<Address>")]
    pub join: Vec<Address>,
    /// A DNS name with the client port, such as that of a headless Service, which resolves to the addresses of all nodes.
    /// Each of them is asked as if it stood in `join`; the name is resolved anew in every round.
    pub discovery: Option<Address>,
    /// How many voters must have an entry on disk before it is committed: `majority` or `half_plus_one`. Only the node that
    /// starts the cluster is asked.
    #[serde(with = "CommitQuorumName")]
    #[schemars(with = "CommitQuorumName")]
    pub commit_quorum: CommitQuorum,
}

/// How a cluster begins that several nodes start together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// So many nodes with empty data directories, found through `cluster.discovery` or `cluster.join`, start a cluster
    /// together once all have answered and promised: 1 to 9, the same on all nodes. Where nodes are named `NAME-ORDINAL` it is
    /// those with the ordinals below it. A cluster has at most twice as many members: with more, founders that lose their disks
    /// and see nobody else could start a second one. It may be raised before the cluster grows, as only nodes without a cluster
    /// read it, and is never lowered. Default: none; then a node that has somebody to ask only joins.
    pub size: Option<u16>,
}

/// The StatefulSet that the node is a pod of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kubernetes {
    /// The name of the StatefulSet. With it, members whose ordinals its `spec.replicas` leaves out are removed from the
    /// cluster: by themselves when they are stopped, otherwise by the leader once they are gone. Default: none; then nothing
    /// is asked of Kubernetes.
    pub stateful_set: Option<String>,
    /// Its namespace. Default: that of the pod's service account.
    pub namespace: Option<String>,
    /// Whether the leader labels its own pod `quorate.dev/role: leader`. A hint for people and Services, and needs the right
    /// to patch pods.
    pub leader_label: bool,
    /// A member that is to go and was not heard of for so long is gone.
    #[serde(with = "values::duration")]
    #[schemars(schema_with = "values::duration::schema")]
    pub gone_after: Duration,
}

/// The protocol. Its time-outs follow what is measured of the network, unless the three fixed ones are set: all of them or none, and
/// the same on all nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Raft {
    /// No follower stands for election that has heard a leader within this time, however fast the network is. A leader sends
    /// heartbeats three times as often, or less often where it takes long to the others and back.
    #[serde(with = "values::duration")]
    #[schemars(schema_with = "values::duration::schema")]
    pub election_timeout_floor: Duration,
    /// However slow the network is, a follower that has not heard a leader for this long stands for election.
    #[serde(with = "values::duration")]
    #[schemars(schema_with = "values::duration::schema")]
    pub election_timeout_ceiling: Duration,
    /// Fixed: a follower that hears no leader for a time drawn between this and the next stands for election.
    #[serde(default, with = "values::optional_duration")]
    #[schemars(schema_with = "values::optional_duration::schema")]
    pub election_timeout_min: Option<Duration>,
    /// Fixed: the upper end of that draw.
    #[serde(default, with = "values::optional_duration")]
    #[schemars(schema_with = "values::optional_duration::schema")]
    pub election_timeout_max: Option<Duration>,
    /// Fixed: how often a leader says that it still leads. Less than half of `election_timeout_min`, so that one lost heartbeat
    /// ends no leadership.
    #[serde(default, with = "values::optional_duration")]
    #[schemars(schema_with = "values::optional_duration::schema")]
    pub heartbeat_interval: Option<Duration>,
    /// About how many bytes of entries one AppendEntries carries. An entry that is larger goes alone.
    #[serde(with = "values::bytes")]
    #[schemars(schema_with = "values::bytes::schema")]
    pub append_bytes_max: u64,
    /// AppendEntries that one follower has not answered yet. At the limit the leader waits for an answer.
    pub in_flight_appends_max: usize,
    /// The bytes in those. At the limit the leader waits for an answer.
    #[serde(with = "values::bytes")]
    #[schemars(schema_with = "values::bytes::schema")]
    pub in_flight_bytes_max: u64,
}

/// The log, on disk and in memory, and the snapshots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// The size of one file of the log. Taken from the disk ahead, so that writing to it does not make the file longer.
    #[serde(with = "values::bytes")]
    #[schemars(schema_with = "values::bytes::schema")]
    pub segment_bytes: u64,
    /// Bytes of the newest entries that stay in memory. Older ones are read from disk when a follower or an answer needs
    /// them.
    #[serde(with = "values::bytes")]
    #[schemars(schema_with = "values::bytes::schema")]
    pub cache_bytes: u64,
    /// A snapshot is taken when so many bytes of entries were applied since the last one: what is replayed at a start, and
    /// what waits for compaction. It is more where the last snapshot is longer than that.
    #[serde(with = "values::bytes")]
    #[schemars(schema_with = "values::bytes::schema")]
    pub snapshot_bytes: u64,
    /// The same in entries, where they are small.
    pub snapshot_entries: u64,
    /// The newest entries that stay in the log, snapshots or not: for followers that are a little behind, and for
    /// `RequestLog`. At least 10000.
    pub log_entries: u64,
    /// How much compaction copies in a second. It copies faster when more waits for it than lives.
    #[serde(with = "values::bytes")]
    #[schemars(schema_with = "values::bytes::schema")]
    pub compaction_bytes_per_second: u64,
    /// How much of snapshots this node sends in a second, to all receivers together.
    #[serde(with = "values::bytes")]
    #[schemars(schema_with = "values::bytes::schema")]
    pub transfer_bytes_per_second: u64,
    /// A receiver of a snapshot that asks for nothing for so long is given up, and a sender that does not answer is asked anew.
    #[serde(with = "values::duration")]
    #[schemars(schema_with = "values::duration::schema")]
    pub transfer_stall: Duration,
    /// What may be kept on disk only for receivers of a snapshot: beyond it, they begin with a newer one. The log for followers
    /// that lag may be as long, besides.
    #[serde(with = "values::bytes")]
    #[schemars(schema_with = "values::bytes::schema")]
    pub transfer_held_bytes: u64,
    /// For how long it may be kept.
    #[serde(with = "values::duration")]
    #[schemars(schema_with = "values::duration::schema")]
    pub transfer_held_time: Duration,
}

/// How much at once. Beyond it a client is told to come again, and nothing was proposed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Requests of clients that are being worked on, including those that wait for a message.
    pub requests_in_flight_max: usize,
    /// The bytes of those requests. At least the largest request, 4 MiB.
    #[serde(with = "values::bytes")]
    #[schemars(schema_with = "values::bytes::schema")]
    pub request_bytes_in_flight_max: u64,
    /// Open connections on the client port. Further ones are closed at once.
    pub connections_max: usize,
}

/// What the node tells, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`. It is the level of Quorate itself; of the libraries only warnings
    /// are shown. Then, after commas, `target=level` for parts, such as `info,quorate::entries=off` or `info,h2=debug`.
    pub level: String,
    /// Lines for people or for programs.
    pub format: LogFormat,
    /// Colours in lines for people.
    pub color: Color,
    /// Show every heartbeat sent and answered.
    pub heartbeats: bool,
}

/// How lines of the log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One sentence a line.
    Text,
    /// One JSON object a line.
    Json,
}

/// When to colour lines for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What the node tells an OpenTelemetry collector. The standard variables of OpenTelemetry (`OTEL_SERVICE_NAME` ...) are
/// defaults here: a setting that is given in a file, a variable of Quorate or a flag wins over them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// The attribute `service.name`. Default: `OTEL_SERVICE_NAME`, then what `resource_attributes` say, then `quorate`.
    pub service_name: Option<String>,
    /// The attribute `service.instance.id`, different for every node. Default: what `resource_attributes` say, then
    /// `node.name`.
    pub service_instance: Option<String>,
    /// Further attributes of everything that this node tells, as `key=value,key=value` with `%2C` for a comma in a value.
    /// Default: `OTEL_RESOURCE_ATTRIBUTES`.
    pub resource_attributes: Attributes,
    /// The way of single requests.
    pub traces: Traces,
    /// Figures over all requests.
    pub metrics: Metrics,
    /// The lines of the log.
    pub logs: Logs,
}

/// The way of single requests through all nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// Where traces go: `none` or `otlp`. Default: `OTEL_TRACES_EXPORTER`, then none.
    pub exporter: Exporter,
    /// The collector, `http://HOST:PORT`; it speaks OTLP over gRPC. Default: `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, then
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub endpoint: String,
    /// Which requests are traced. Default: `OTEL_TRACES_SAMPLER`, then `parentbased_traceidratio`: a client that has decided
    /// about its trace is followed, and of the other requests a share is traced. The node that carries out a request decides; what
    /// others do for it they tell as well, whatever they would decide.
    pub sampler: Sampler,
    /// The share of requests that a sampler with a ratio traces, from 0 to 1. Default: `OTEL_TRACES_SAMPLER_ARG`, then 1.
    pub sample_ratio: f64,
}

/// Figures over all requests, and of the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Where metrics go: `none` or `otlp`. Default: `OTEL_METRICS_EXPORTER`, then none.
    pub exporter: Exporter,
    /// The collector, `http://HOST:PORT`; it speaks OTLP over gRPC. Default: `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`, then
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub endpoint: String,
    /// How often they are sent, at least `100ms`. Default: `OTEL_METRIC_EXPORT_INTERVAL`, then `1m`.
    #[serde(with = "values::duration")]
    #[schemars(schema_with = "values::duration::schema")]
    pub interval: Duration,
    /// Whether they are recorded for whoever scrapes `/metrics`. With `false` and no exporter, nothing is recorded at all.
    pub scrape: bool,
    /// How many queues are told one by one, those with the most messages; the others count in the totals only. At most 400.
    pub queues_max: usize,
}

/// The lines of the log, where they go besides the terminal: those that `log.level` shows, with the ids of their traces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// Where lines go: `none` or `otlp`. Default: `OTEL_LOGS_EXPORTER`, then none.
    pub exporter: Exporter,
    /// The collector, `http://HOST:PORT`; it speaks OTLP over gRPC. Default: `OTEL_EXPORTER_OTLP_LOGS_ENDPOINT`, then
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub endpoint: String,
}

/// Where telemetry goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Exporter {
    /// Nowhere.
    None,
    /// To a collector, by OTLP over gRPC.
    Otlp,
}

/// Which requests are traced, in the words of OpenTelemetry. Of those `parentbased_`, the rest of the name is for requests
/// whose client has decided nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Sampler {
    /// All.
    #[serde(rename = "always_on")]
    AlwaysOn,
    /// None.
    #[serde(rename = "always_off")]
    AlwaysOff,
    /// A share of all traces.
    #[serde(rename = "traceidratio")]
    TraceIdRatio,
    /// As the client decided; otherwise all.
    #[serde(rename = "parentbased_always_on")]
    ParentBasedAlwaysOn,
    /// As the client decided; otherwise none.
    #[serde(rename = "parentbased_always_off")]
    ParentBasedAlwaysOff,
    /// As the client decided; otherwise a share.
    #[serde(rename = "parentbased_traceidratio")]
    ParentBasedTraceIdRatio,
}

const MIB: u64 = 1 << 20;

/// Where a collector on the same machine listens.
const COLLECTOR: &str = "http://127.0.0.1:4317";

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            node: Node { name: host_name(), data_dir: PathBuf::from("quorate-data") },
            client: Client { listen: Address { host: "127.0.0.1".into(), port: 7400 }, advertise: None },
            peer: Peer { listen: None, advertise: None },
            admin: Admin {
                listen: None,
                token: None,
                token_file: None,
                hosts: Vec::new(),
                show_content: true,
                trace_url: None,
            },
            health: Health { listen: None, leader_wait: Duration::from_secs(2 * 60) },
            cluster: Cluster { join: Vec::new(), discovery: None, commit_quorum: CommitQuorum::Majority },
            bootstrap: Bootstrap { size: None },
            kubernetes: Kubernetes {
                stateful_set: None,
                namespace: None,
                leader_label: false,
                gone_after: Duration::from_secs(30),
            },
            raft: Raft {
                election_timeout_floor: Bounds::default().election_floor,
                election_timeout_ceiling: Bounds::default().election_ceiling,
                election_timeout_min: None,
                election_timeout_max: None,
                heartbeat_interval: None,
                append_bytes_max: MIB,
                in_flight_appends_max: 64,
                in_flight_bytes_max: 16 * MIB,
            },
            storage: Storage {
                segment_bytes: 64 * MIB,
                cache_bytes: 64 * MIB,
                snapshot_bytes: 64 * MIB,
                snapshot_entries: 100_000,
                log_entries: 10_000,
                compaction_bytes_per_second: 64 * MIB,
                transfer_bytes_per_second: 128 * MIB,
                transfer_stall: Duration::from_secs(30),
                transfer_held_bytes: 1024 * MIB,
                transfer_held_time: Duration::from_secs(30 * 60),
            },
            limits: Limits {
                requests_in_flight_max: 4096,
                request_bytes_in_flight_max: 128 * MIB,
                connections_max: 1024,
            },
            log: Log { level: "info".into(), format: LogFormat::Text, color: Color::Auto, heartbeats: false },
            telemetry: Telemetry {
                service_name: None,
                service_instance: None,
                resource_attributes: Attributes::default(),
                traces: Traces {
                    exporter: Exporter::None,
                    endpoint: COLLECTOR.into(),
                    sampler: Sampler::ParentBasedTraceIdRatio,
                    sample_ratio: 1.0,
                },
                metrics: Metrics {
                    exporter: Exporter::None,
                    endpoint: COLLECTOR.into(),
                    interval: Duration::from_secs(60),
                    scrape: true,
                    queues_max: 100,
                },
                logs: Logs { exporter: Exporter::None, endpoint: COLLECTOR.into() },
            },
            drain_deadline: Duration::from_secs(5),
        }
    }
}

impl NodeConfig {
    /// Joins the defaults and all sources, and checks the result.
    ///
    /// # Errors
    /// Everything that is wrong with any of the sources.
    pub fn load(sources: &Sources) -> Result<NodeConfig, Error> {
        Loaded::load(sources).map(|loaded| loaded.config)
    }

    /// Where to listen for peers.
    pub fn peer_listen(&self) -> Address {
        self.peer.listen.clone().unwrap_or_else(|| self.following(1))
    }

    /// Where to listen for people and Prometheus.
    pub fn admin_listen(&self) -> Address {
        self.admin.listen.clone().unwrap_or_else(|| self.following(2))
    }

    /// Where to listen for whoever watches over the process.
    pub fn health_listen(&self) -> Address {
        self.health.listen.clone().unwrap_or_else(|| self.following(3))
    }

    /// The address so many ports after that of the clients.
    fn following(&self, ports: u16) -> Address {
        let Address { host, port } = &self.client.listen;
        Address { host: host.clone(), port: port_after(*port, ports) }
    }

    /// What to tell clients when the client port is bound to `bound`.
    pub fn client_advertise(&self, bound: SocketAddr) -> Address {
        self.client.advertise.clone().unwrap_or_else(|| reachable(&self.client.listen.host, bound))
    }

    /// What to tell the other nodes when the peer port is bound to `bound`.
    pub fn peer_advertise(&self, bound: SocketAddr) -> Address {
        let like_clients = || match &self.client.advertise {
            Some(client) => Address { host: client.host.clone(), port: bound.port() },
            None => reachable(&self.peer_listen().host, bound),
        };
        self.peer.advertise.clone().unwrap_or_else(like_clients)
    }

    /// Where people reach the dashboard when the admin port is bound to `bound`.
    pub fn admin_advertise(&self, bound: SocketAddr) -> Address {
        match &self.client.advertise {
            Some(client) => Address { host: client.host.clone(), port: bound.port() },
            None => reachable(&self.admin_listen().host, bound),
        }
    }

    /// The settings in force, as a file that gives exactly these, but for the token: it is hidden, and must be put there again.
    pub fn to_yaml(&self) -> String {
        let shown = NodeConfig {
            peer: Peer { listen: Some(self.peer_listen()), ..self.peer.clone() },
            admin: Admin { listen: Some(self.admin_listen()), ..self.admin.clone() },
            health: Health { listen: Some(self.health_listen()), ..self.health.clone() },
            ..self.clone()
        };
        let settings =
            serde_yaml::to_string(&shown).expect("settings are strings, numbers and lists, which YAML can write");
        format!("apiVersion: {API_VERSION}\nkind: {KIND}\n{settings}")
    }
}

/// The port so many later; 0, any free port, stays 0. The rules see to it that there is one.
fn port_after(port: u16, later: u16) -> u16 {
    if port == 0 { 0 } else { port.saturating_add(later) }
}

/// The address under which others reach `host`, once its port is bound.
fn reachable(host: &str, bound: SocketAddr) -> Address {
    let everywhere = bound.ip().is_unspecified();
    Address { host: if everywhere { host_name() } else { host.to_owned() }, port: bound.port() }
}

/// The name of this machine, or of this container.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn peers_get_the_port_after_that_of_the_clients() {
        let mut config = NodeConfig::default();
        for (client, peer) in [("[::1]:7400", "[::1]:7401"), ("localhost:0", "localhost:0")] {
            config.client.listen = address(client);
            assert_eq!(config.peer_listen(), address(peer));
        }
        config.peer.listen = Some(address("10.0.0.1:9"));
        assert_eq!(config.peer_listen(), address("10.0.0.1:9"));
    }

    #[test]
    fn what_is_advertised_can_be_reached() {
        let mut config = NodeConfig::default();
        config.client.listen = address("127.0.0.1:0");
        let bound = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(config.client_advertise(bound("127.0.0.1:41")), address("127.0.0.1:41"));
        assert_eq!(config.peer_advertise(bound("127.0.0.1:42")), address("127.0.0.1:42"));

        config.client.listen = address("0.0.0.0:7400");
        assert_eq!(config.client_advertise(bound("0.0.0.0:7400")), Address { host: host_name(), port: 7400 });

        config.client.advertise = Some(address("a.example:80"));
        assert_eq!(config.client_advertise(bound("0.0.0.0:7400")), address("a.example:80"));
        assert_eq!(config.peer_advertise(bound("0.0.0.0:7401")), address("a.example:7401"));
    }
}
