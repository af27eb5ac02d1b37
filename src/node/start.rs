//! From settings to a running node, and from there to its end: steps that can be read aloud.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock, Weak};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{Instrument as _, Span};

use super::ending::{Beside, Ending, last_words};
use super::event_loop::{Completion, Completions, EventLoop, INBOUND_BULK_MAX};
use super::figures::{self, Gatherer, Gathering, Standing};
use super::find_cluster::Seeker;
use super::handle::Inbox;
use super::host::Host;
use super::log_reader::LogReader;
use super::options::{handle_limits, replica_options, transfer_limits};
use super::ports::Ports;
use super::running::{Phase, Running, advance, reached};
use super::snapshots::{self, Snapshots};
use super::transfers::Transfers;
use super::{Clock, Error, Handle, Peers};
use crate::api;
use crate::cluster::discovery::Places;
use crate::cluster::founder::Founder;
use crate::cluster::growth::watch_growth;
use crate::cluster::kubernetes::{self, Pod};
use crate::cluster::{self, announce, bootstrap};
use crate::config::NodeConfig;
use crate::health::Health;
use crate::ids::{ClusterId, Contact, SHARD_0, ShardId};
use crate::raft::{self, Recovered};
use crate::replica::{Replica, Restored};
use crate::state_machine::{self, Living};
use crate::storage::{self, DataDirectory, FileDisk, Log, Synced, Writer};
use crate::telemetry::events::{Kind, Level};
use crate::telemetry::{self, RequestBook, Source, Telemetry, Vitals, step};
use crate::transport::{self, AddressBook, Listener, Transport};

/// Small messages of peers, such as heartbeats and votes, that may wait for the loop. When they are that many, the transport
/// stops reading them from its peers.
const INBOUND_CONTROL_MAX: usize = 1024;

/// Starts a node in the background. It serves at once; an empty directory may still have to apply for membership. What it has
/// to tell of requests goes to `telemetry`.
///
/// # Errors
/// A port cannot be bound, or the data directory cannot be used. What happens later is told by [`Running::wait`].
pub async fn start(config: NodeConfig, telemetry: Telemetry) -> Result<Running, Error> {
    let start = step("start");
    let opened = Node::open(config, telemetry).instrument(start.clone()).await;
    let (node, ports) = opened.inspect_err(|error| telemetry::failed(&start, error))?;
    let (handle, phase) = (node.context.handle.clone(), node.phase.clone());
    let Ports { client_address, peer_address, admin_address, health_address, .. } = ports;
    let task = tokio::spawn(node.run(ports, start));
    Ok(Running { handle, client_address, peer_address, admin_address, health_address, phase, task })
}

/// Everything that a node is made of before its loop turns.
struct Node {
    config: NodeConfig,
    /// The only lasting reference: when it goes, so does the lock on the directory.
    directory: Arc<DataDirectory>,
    /// None only while the cluster is looked for.
    log: Option<Log<FileDisk>>,
    reader: LogReader,
    recovered: BTreeMap<ShardId, Recovered>,
    /// The snapshot, and what lives as of it.
    restored: Option<(Restored, Vec<Living>)>,
    book: AddressBook,
    contact: Contact,
    inbox: Inbox,
    context: api::Context,
    phase: watch::Sender<Phase>,
    /// Why it cannot go on. Set before the phase tells of its end.
    failure: Arc<OnceLock<String>>,
    /// Whoever collects metrics asks it for as long as it lives, and `gatherer` answers.
    figures: Arc<Source>,
    /// None once it runs.
    gatherer: Option<Gathering>,
}

impl Node {
    /// Binds the ports, and finds in the directory what the node was. That can take a while, in which the health port answers.
    async fn open(config: NodeConfig, telemetry: Telemetry) -> Result<(Self, Ports), Error> {
        let mut ports = Ports::bind(&config).instrument(step("bind_ports")).await?;
        let vitals = Vitals::new(telemetry.clone());
        let directory = open_directory(&config).instrument(step("open_directory")).await?;
        let (log, mut recovered) = recover_log(&config, &directory).instrument(step("recover_log")).await?;
        check_log(&config, &directory, &recovered)?;
        let restored = restore_snapshot(&log, &directory, &mut recovered).instrument(step("restore_snapshot")).await?;
        let book = open_address_book(&directory)?;
        let contact = step("announce_addresses").in_scope(|| announce_addresses(&config, &ports, &book))?;
        tell_start(&vitals, &contact, &ports, &config, &directory, &log, restored.as_ref());

        let reader = LogReader::new(log.reader());
        let (handle, inbox) = Handle::new(contact.node, reader.clone(), handle_limits(&config));
        let (phase, _) = watch::channel(Phase::Joining);
        let peers = Peers::default();
        let transfers = Transfers::new(log.store(), transfer_limits(&config));
        let (phases, failure) = (phase.subscribe(), Arc::<OnceLock<String>>::default());
        let waits_for = watch::Sender::default();
        let leader_wait = config.health.leader_wait;
        let events = vitals.events().clone();
        let failing = Arc::clone(&failure);
        ports.health.watch(handle.clone(), phases.clone(), failing, waits_for.subscribe(), leader_wait, events);
        let (figures, wanted) = figures::source();
        telemetry.watch(&figures);
        let gatherer = Gatherer {
            handle: handle.clone(),
            book: book.clone(),
            transfers: transfers.clone(),
            verdicts: ports.health.verdicts(),
            clients: ports.client.occupancy(),
            peers: ports.peer.occupancy(),
            queues_max: config.telemetry.metrics.queues_max,
            clock: Clock::start(),
            learners: BTreeMap::new(),
            standing: Standing::default(),
            listing: None,
        };
        let founder = founder(&config, &directory, &contact, recovered.get(&SHARD_0));
        let context = api::Context {
            handle,
            book: book.clone(),
            peers,
            phase: phases,
            telemetry: telemetry.serving_at(&contact.client_address),
            vitals,
            verdicts: ports.health.verdicts(),
            admin_address: config.admin_advertise(ports.admin_address).to_string(),
            transfers,
            founder,
            waits_for,
        };
        ports.dashboard.open(context.clone(), ports.client_address);
        let log = Some(log);
        let node = Self {
            config,
            directory,
            log,
            reader,
            recovered,
            restored,
            book,
            contact,
            inbox,
            context,
            phase,
            failure,
            figures,
            gatherer: Some((gatherer, wanted)),
        };
        Ok((node, ports))
    }

    /// The whole life of the node, from its ports being bound to its loop having ended. `start` is over when it serves; the health
    /// port answers to the end.
    async fn run(mut self, ports: Ports, start: Span) -> Result<(), Error> {
        let Ports { client, peer, dashboard, health, client_address, .. } = ports;
        let mut beside = Beside::new(self.directory.clone(), dashboard, health, self.figures.clone());
        if let Some((gatherer, wanted)) = self.gatherer.take() {
            beside.tasks.spawn(gatherer.answer(wanted));
        }
        beside.clients.spawn(self.serve_clients(client, &beside.health));
        let stopped = reached(&self.phase, Phase::HandingOver);
        let cluster = tokio::select! {
            cluster = self.find_cluster().instrument(start.clone()) => cluster,
            () = stopped => return Ok(()),
        };
        let cluster = match cluster {
            Ok(cluster) => cluster,
            Err(error) => {
                telemetry::failed(&start, &error);
                return Err(beside.fail(error).await);
            }
        };

        let (delivery, inbound) = transport::Inbox::new(INBOUND_CONTROL_MAX, INBOUND_BULK_MAX);
        let transport = self.connect_transport(cluster, delivery);
        let pod = self.pod(client_address);
        beside.peers.spawn(self.serve_peers(&transport, peer));
        self.start_tasks(cluster, pod.clone(), &mut beside.tasks);
        let ending = Ending {
            cluster,
            pod,
            handle: self.context.handle.clone(),
            events: self.context.vitals.events().clone(),
            phase: self.phase.clone(),
            failure: self.failure.clone(),
            drain_deadline: self.config.drain_deadline,
            can_join_anew: !Places::new(&self.config.cluster).is_empty(),
        };
        let (phase, handle) = (self.phase.clone(), self.context.handle.clone());
        let turning = tokio::spawn(self.event_loop(cluster, transport.clone(), inbound).run(phase.subscribe()));
        // A span ends when something last ran within it.
        start.in_scope(|| advance(&phase, Phase::Serving));
        drop(start);

        let ended = ending.wait(turning, &mut beside).await;
        transport.stop().await;
        match ended {
            Ok(()) => Ok(()),
            Err(error) => {
                last_words(&handle).await;
                Err(beside.fail(error).await)
            }
        }
    }

    /// Serves clients until the node drains.
    fn serve_clients(
        &self,
        listener: Listener,
        health: &Health,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let stop_accepting = reached(&self.phase, Phase::Draining);
        let serving = api::serve(self.context.clone(), health.verdicts(), listener, stop_accepting);
        async move { serving.await.map_err(|source| Error::Server { whom: "clients", source }) }
    }

    /// Starts what runs as long as the node takes part.
    fn start_tasks(&self, cluster: ClusterId, pod: Option<Pod>, tasks: &mut JoinSet<()>) {
        tasks.spawn(self.learn_addresses(cluster));
        tasks.spawn(watch_growth(self.context.handle.clone(), self.config.bootstrap.size));
        tasks.spawn(self.context.transfers.clone().tend());
        if let Some(pod) = pod {
            tasks.spawn(pod.tend());
        }
    }

    /// The cluster that this node belongs to: from its directory, of its own making, or the one that takes it in.
    async fn find_cluster(&mut self) -> Result<ClusterId, Error> {
        if let Some(cluster) = self.directory.identity().cluster {
            return Ok(cluster);
        }
        let mut recovered = self.recovered.remove(&SHARD_0);
        let seeker = Seeker {
            founder: self.context.founder.clone(),
            directory: self.directory.clone(),
            record: self.directory.founding(),
            places: Places::new(&self.config.cluster),
            contact: &self.contact,
            kubernetes: &self.config.kubernetes,
            book: &self.book,
            log: &mut self.log,
            recovered: &mut recovered,
            waits_for: &self.context.waits_for,
        };
        let cluster = seeker.find().await?;
        self.recovered.extend(recovered.map(|recovered| (SHARD_0, recovered)));
        let directory = self.directory.clone();
        blocking(move || directory.set_cluster(cluster)).await?;
        self.context.waits_for.send_replace(String::new());
        Ok(cluster)
    }

    fn connect_transport(&self, cluster: ClusterId, delivery: transport::Delivery) -> Transport {
        let identity = transport::Identity { cluster, node: self.contact.node };
        let snapshot_rate = u32::try_from(self.config.storage.transfer_bytes_per_second).unwrap_or(u32::MAX);
        let options = transport::Options { snapshot_rate: NonZeroU32::new(snapshot_rate), ..Default::default() };
        let transport = Transport::new(identity, self.book.clone(), delivery, options);
        self.context.peers.connect(transport.clone());
        transport
    }

    /// Serves peers as long as the node runs, also while clients are drained: their answers may need a commit.
    fn serve_peers(
        &self,
        transport: &Transport,
        listener: Listener,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let service = transport.service(Host { context: self.context.clone() });
        let server = listener.limits().server().add_service(service);
        async move {
            let served = server.serve_with_incoming(listener.incoming()).await;
            served.map_err(|source| Error::Server { whom: "peers", source })
        }
    }

    /// Runs as long as the node does.
    fn learn_addresses(&self, cluster: ClusterId) -> impl Future<Output = ()> + Send + 'static {
        let handle = self.context.handle.clone();
        let knows_leader = move || handle.status(SHARD_0).is_some_and(|status| status.leader.is_some());
        announce::learn_addresses(Places::new(&self.config.cluster), cluster, self.book.clone(), knows_leader)
    }

    /// The pod that the node is, if the settings say that it is one.
    fn pod(&self, client_address: SocketAddr) -> Option<Pod> {
        let api::Context { handle, peers, book, .. } = self.context.clone();
        Pod::of(&self.config, kubernetes::Tools { handle, peers, book, client_address })
    }

    fn event_loop(mut self, cluster: ClusterId, transport: Transport, inbound: transport::Inbox) -> EventLoop {
        let log = self.log.take().expect("whoever found the cluster has put it back");
        let clock = Clock::start();
        let node = self.contact.node;
        let recovered = self.recovered.get(&SHARD_0).cloned().unwrap_or_default();
        let options = replica_options(&self.config);
        let (completions, completed) = mpsc::unbounded_channel();
        self.context.transfers.report_to(completions.clone());
        let tools = snapshots::Tools {
            cluster,
            store: log.store(),
            book: self.book.clone(),
            transport: transport.clone(),
            transfers: self.context.transfers.clone(),
            stall_min: self.config.storage.transfer_stall,
            limits: options.limits,
            completions: completions.clone(),
            living: Arc::default(),
        };
        let mut snapshots = Snapshots::start(tools.clone(), self.config.storage.compaction_bytes_per_second);
        let mut replica = Replica::new(node, options, &recovered, rand::random(), clock.now());
        if let Some((restored, living)) = self.restored {
            let last = restored.state.snapshot.last;
            replica = replica.restored(restored);
            // A compaction may have been interrupted.
            tools.keep_living(SHARD_0, last, living);
            snapshots.compact(SHARD_0, last, BTreeSet::new());
        }
        let writer = Writer::start(log, tell_completions(completions.clone(), self.context.vitals.clone()));
        let requests = request_book(self.context.telemetry, self.book.clone());
        EventLoop {
            node,
            cluster,
            clock,
            replicas: BTreeMap::from([(SHARD_0, replica)]),
            events: BTreeMap::new(),
            inbox: self.inbox,
            inbound,
            completed,
            completions,
            writer,
            reader: self.reader,
            transport,
            contacts: self.book.watch(),
            book: self.book,
            waiting: BTreeMap::new(),
            requests,
            vitals: self.context.vitals,
            shown_at: None,
            timing_news: BTreeMap::new(),
            newcomers: BTreeMap::new(),
            snapshots,
            directory: self.directory,
        }
    }
}

async fn open_directory(config: &NodeConfig) -> Result<Arc<DataDirectory>, Error> {
    let path = config.node.data_dir.clone();
    Ok(Arc::new(blocking(move || DataDirectory::open(&path)).await?))
}

/// Reads the log, which can take a while.
async fn recover_log(
    config: &NodeConfig,
    directory: &DataDirectory,
) -> Result<(Log<FileDisk>, BTreeMap<ShardId, Recovered>), Error> {
    let disk = directory.disk();
    let options = storage::Options { segment_bytes: config.storage.segment_bytes, ..Default::default() };
    Ok(blocking(move || Log::open(disk, options)).await?)
}

/// Reads the snapshot, if there is one, and puts its membership before those of the log.
async fn restore_snapshot(
    log: &Log<FileDisk>,
    directory: &DataDirectory,
    recovered: &mut BTreeMap<ShardId, Recovered>,
) -> Result<Option<(Restored, Vec<Living>)>, Error> {
    let (store, cluster) = (log.store(), directory.identity().cluster);
    let limits = state_machine::Limits::default();
    let restored = blocking(move || snapshots::restore(&store, cluster, SHARD_0, limits)).await?;
    if let Some((Restored { state, .. }, _)) = &restored {
        let raft::Snapshot { configuration, configuration_index, .. } = state.snapshot.clone();
        recovered.entry(SHARD_0).or_default().configurations.insert(0, (configuration_index, configuration));
    }
    Ok(restored)
}

/// A member has a log from the moment on at which it is one. Without its log it would vote a second time in the same term,
/// and help to elect a leader that lacks what it acknowledged.
fn check_log(
    config: &NodeConfig,
    directory: &DataDirectory,
    recovered: &BTreeMap<ShardId, Recovered>,
) -> Result<(), cluster::Error> {
    match directory.identity().cluster {
        Some(cluster) if !recovered.contains_key(&SHARD_0) => {
            Err(cluster::Error::LogLost { directory: config.node.data_dir.display().to_string(), cluster })
        }
        _ => Ok(()),
    }
}

/// Does what takes long on a thread that nothing else waits for.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("storage does not panic")
}

/// The book writes itself into the directory, for as long as the node runs.
fn open_address_book(directory: &Arc<DataDirectory>) -> Result<AddressBook, Error> {
    let node = directory.identity().node;
    let contacts = directory.contacts()?;
    let directory: Weak<DataDirectory> = Arc::downgrade(directory);
    let store = move |contacts: &[Contact]| match directory.upgrade() {
        Some(directory) => directory.save_contacts(contacts).map_err(io::Error::other),
        None => Err(io::Error::other("the node has stopped")),
    };
    Ok(AddressBook::new(node, contacts, store))
}

/// Writes down where this node can be reached from here on, under a higher version if that has changed.
fn announce_addresses(config: &NodeConfig, ports: &Ports, book: &AddressBook) -> Result<Contact, Error> {
    let client = config.client_advertise(ports.client_address).to_string();
    let peer = config.peer_advertise(ports.peer_address).to_string();
    Ok(book.announce(&config.node.name, &client, &peer)?)
}

/// Answers other nodes from the first moment on: whether it had begun to start a cluster must be known by then.
fn founder(
    config: &NodeConfig,
    directory: &Arc<DataDirectory>,
    contact: &Contact,
    recovered: Option<&Recovered>,
) -> Founder {
    let promise = directory.founding().promise;
    let begun = promise.zip(recovered).is_some_and(|(promise, log)| bootstrap::is_beginning_of(&promise, log));
    let (size, commit_quorum) = (config.bootstrap.size, config.cluster.commit_quorum);
    Founder::new(Arc::downgrade(directory), contact.clone(), size, commit_quorum, begun)
}

fn tell_start(
    vitals: &Vitals,
    contact: &Contact,
    ports: &Ports,
    config: &NodeConfig,
    directory: &DataDirectory,
    log: &Log<FileDisk>,
    restored: Option<&(Restored, Vec<Living>)>,
) {
    let say = |level, event, words| vitals.events().say(Kind::Process, level, event, words, None);
    let Contact { node, name, client_address, peer_address, .. } = contact;
    let Ports { admin_address, health_address, .. } = ports;
    let (data, version) = (config.node.data_dir.display(), env!("CARGO_PKG_VERSION"));
    let words = format!(
        "is node {name} ({node}) of version {version}; serves clients on {client_address} and peers on {peer_address}, and \
         tells on {health_address} how it is"
    );
    say(Level::Info, "started", words);
    tracing::info!("shows the cluster on http://{}/", config.admin_advertise(*admin_address));
    if !admin_address.ip().is_loopback() && config.admin.token.is_none() && config.admin.token_file.is_none() {
        tracing::warn!(
            "whoever reaches {admin_address} can change queues and members: admin.token or admin.token_file would ask for a token"
        );
    }
    let recovery = log.recovery();
    let words = match directory.identity().cluster {
        Some(cluster) => format!(
            "resumes as a member of cluster {cluster}: recovered {} entries in {} bytes from {data} in {} ms",
            recovery.entries,
            recovery.bytes,
            vitals.uptime().as_millis()
        ),
        None => format!("begins with an empty data directory, {data}"),
    };
    say(Level::Info, "recovered", words);
    if let Some((Restored { state, bytes }, living)) = restored {
        let last = state.snapshot.last;
        let words =
            format!("goes on from the snapshot up to entry {last}: {bytes} bytes, {} living messages", living.len());
        say(Level::Info, "snapshot_restored", words);
    }
    if let Some(storage::TornTail { file, offset, bytes, why }) = &recovery.torn_tail {
        let words = format!(
            "ended in the middle of a write the last time, which is cut: {bytes} bytes at {offset} of {file} ({why})"
        );
        say(Level::Warn, "torn_tail", words);
    }
}

/// Follows requests; in what it tells, nodes have the names that people know.
fn request_book(telemetry: Telemetry, book: AddressBook) -> RequestBook {
    RequestBook::new(telemetry, move |node| book.name_of(node))
}

fn tell_completions(
    completions: Completions,
    vitals: Vitals,
) -> impl FnMut(Result<Synced, storage::Error>) + Send + 'static {
    move |synced| {
        let completion = match synced {
            Ok(synced) => {
                vitals.on_synced(&synced);
                Completion::Durable(synced)
            }
            Err(error) => Completion::Failed(error),
        };
        // A loop that has ended has no use for it.
        let _ = completions.send(completion);
    }
}
