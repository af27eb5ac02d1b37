//! What a StatefulSet does with its pods, and what happens to pods and their hosts.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use crate::api_server::ApiServer;
use crate::pod::Pod;
use crate::world::World;

/// The StatefulSet in the API server.
const NAME: &str = "quorate";
const NAMESPACE: &str = "default";

/// The headless Service: it resolves to all pods, and with a pod's name before it to that one.
const PEERS: &str = "quorate-peers.default.svc";

/// The most pods of a scenario. Nodes that are told whom to ask are told of so many.
const PODS_MAX: usize = 5;

/// The settings that all nodes have.
const COMMON: &str = "apiVersion: quorate.dev/v1
kind: NodeConfig
client: {listen: '0.0.0.0:7400'}
storage: {segment_bytes: 8MiB}
log: {format: json, level: 'info,quorate::entries=off'}
";

/// How the cluster begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// So many nodes start it together, and find each other by the headless Service.
    Together(usize),
    /// Pod 0 starts it alone, and the others join it by name.
    PodZero,
}

/// A StatefulSet, its Service and its volumes.
pub struct StatefulSet {
    pub world: World,
    pub beginning: Beginning,
    /// Those that exist, and those that have existed, whose volumes are kept.
    pub pods: Vec<Pod>,
    /// Whether the DNS follows the pods. While it does not, it says what it said last.
    pub dns_follows: bool,
    /// Addresses besides those of the pods that the headless Service resolves to.
    pub strangers: Vec<Ipv4Addr>,
    /// The API server that the pods ask; none: they are told of none.
    pub api_server: Option<ApiServer>,
    /// How long pods that are started from now on wait for a leader before they are ready; none: as long as by default.
    pub leader_wait: Option<Duration>,
}

impl StatefulSet {
    /// A StatefulSet without pods.
    pub fn new(world: World, beginning: Beginning) -> Self {
        Self {
            world,
            beginning,
            pods: Vec::new(),
            dns_follows: true,
            strangers: Vec::new(),
            api_server: None,
            leader_wait: None,
        }
    }

    /// The same with `replicas` pods, all of which vote.
    pub fn with_voters(world: World, beginning: Beginning, replicas: usize) -> Self {
        let mut set = Self::new(world, beginning);
        set.add(replicas);
        set.eventually_has_voters(replicas);
        set
    }

    /// A StatefulSet without pods, which can ask how many of them there should be.
    pub fn with_api_server(world: World, beginning: Beginning) -> Self {
        let api_server = ApiServer::start_at((world.network.gateway(), 0).into());
        api_server.write_kubeconfig(&kubeconfig(&world), NAMESPACE);
        Self { api_server: Some(api_server), ..Self::new(world, beginning) }
    }

    /// What `kubectl scale` brings about: all pods that are missing are started, and all that are too many are stopped. Those
    /// must end in time, by themselves. Volumes stay.
    pub fn scale(&mut self, replicas: usize) {
        let api_server = self.api_server.as_ref().expect("there is an API server");
        api_server.put_set(NAMESPACE, NAME, i32::try_from(replicas).expect("a few"));
        self.add(replicas);
        self.take_away(replicas);
    }

    /// Starts pods until there are `replicas`, all at once.
    pub fn add(&mut self, replicas: usize) {
        self.add_in_order(&(0..replicas).collect::<Vec<_>>());
    }

    /// Starts those of these pods that are not there, one right after the other.
    pub fn add_in_order(&mut self, ordinals: &[usize]) {
        for ordinal in 0..=ordinals.iter().copied().max().unwrap_or(0) {
            if ordinal == self.pods.len() {
                self.schedule(ordinal);
            }
        }
        for ordinal in ordinals {
            if self.pods[*ordinal].is_started() {
                continue;
            }
            // A pod that is made again is another pod, but for its name and its volume.
            if self.pods[*ordinal].has_run() {
                self.move_pod(*ordinal);
            }
            self.start(*ordinal);
        }
    }

    /// Stops all pods but the first `replicas`, all at once.
    pub fn take_away(&mut self, replicas: usize) {
        for pod in &self.pods[replicas..] {
            if pod.is_started() {
                pod.terminate();
            }
        }
        for pod in &mut self.pods[replicas..] {
            if pod.is_started() {
                let status = pod.ended();
                assert!(status.success(), "{} was told to stop and ended with {status}", pod.name);
            }
        }
        self.publish();
    }

    /// Starts a pod that is there but does not run.
    pub fn start(&mut self, ordinal: usize) {
        let environment = self.environment(ordinal);
        self.pods[ordinal].start(&environment);
        self.publish();
    }

    /// Stops a pod in good order and starts it again, somewhere else.
    pub fn replace(&mut self, ordinal: usize) {
        self.pods[ordinal].terminate();
        let status = self.pods[ordinal].ended();
        assert!(status.success(), "{} was told to stop and ended with {status}", self.pods[ordinal].name);
        self.move_pod(ordinal);
        self.start(ordinal);
    }

    /// Starts a node that belongs to no pod and has a cluster of its own, and publishes its address among those of the pods.
    pub fn add_stranger(&mut self) -> Pod {
        let name = "stranger";
        self.world.network.add(name);
        let config = self.world.directory.join("stranger.yaml");
        fs::write(&config, COMMON).unwrap();
        let mut stranger = Pod::new(&self.world.directory, name, config);
        let address = self.world.network.address(name);
        stranger.start(&[
            ("QUORATE__NODE__NAME", name.to_owned()),
            ("QUORATE__CLIENT__ADVERTISE", format!("{address}:7400")),
        ]);
        stranger.eventually_tells("\"event\":\"becomes_leader\"");
        self.strangers.push(address);
        self.publish();
        stranger
    }

    /// Gives a pod another address. Whoever knows the old one finds nobody there.
    pub fn move_pod(&mut self, ordinal: usize) {
        self.world.network.move_host(&self.pods[ordinal].name);
        self.publish();
    }

    /// Kills a pod's process, empties its volume, and starts it again.
    pub fn lose_disk(&mut self, ordinal: usize) {
        self.pods[ordinal].kill();
        self.pods[ordinal].wipe();
        self.start(ordinal);
    }

    /// Cuts the links between these pods and all others, both ways.
    pub fn isolate(&mut self, ordinals: &[usize]) {
        let (inside, outside): (Vec<_>, Vec<_>) = (0..self.pods.len()).partition(|ordinal| ordinals.contains(ordinal));
        for (one, other) in inside.iter().flat_map(|one| outside.iter().map(move |other| (*one, *other))) {
            self.cut_one_way(one, other);
            self.cut_one_way(other, one);
        }
    }

    /// From now on nothing of what one pod sends reaches the other.
    pub fn cut_one_way(&mut self, from: usize, to: usize) {
        self.world.network.cut_one_way(&self.pods[from].name, &self.pods[to].name);
    }

    /// All links are whole again.
    pub fn heal(&mut self) {
        self.world.network.heal();
    }

    /// Tells the DNS of all pods that run, ready or not, unless it does not follow.
    pub fn publish(&self) {
        if !self.dns_follows {
            return;
        }
        let started = self.pods.iter().filter(|pod| pod.is_started());
        let each: Vec<_> = started.map(|pod| (pod.name.clone(), self.world.network.address(&pod.name))).collect();
        let all = each.iter().map(|(_, address)| *address).chain(self.strangers.iter().copied()).collect();
        let names = each.into_iter().map(|(name, address)| (format!("{name}.{PEERS}"), vec![address]));
        self.world.dns.publish(names.chain([(PEERS.to_owned(), all)]));
    }

    /// All nodes and disks are gone, and other ones start from nothing.
    pub fn start_over(&mut self) {
        for pod in &mut self.pods {
            pod.kill();
            pod.wipe();
        }
        for ordinal in 0..self.pods.len() {
            self.start(ordinal);
        }
    }

    /// Where clients find nodes: the names of all pods that there may be.
    pub fn endpoints(&self) -> Vec<String> {
        (0..PODS_MAX).map(address).collect()
    }

    /// Where a pod's clients reach it, whatever the DNS says.
    pub fn host_address(&self, ordinal: usize) -> String {
        format!("{}:7400", self.world.network.address(&self.pods[ordinal].name))
    }

    /// A host, a volume and settings for one more pod, which is not started yet.
    pub fn schedule(&mut self, ordinal: usize) {
        let name = format!("quorate-{ordinal}");
        self.world.network.add(&name);
        if let Some(api_server) = &self.api_server {
            api_server.put_pod(NAMESPACE, &name);
        }
        let config = self.world.directory.join("node.yaml");
        fs::write(&config, self.config()).unwrap();
        self.pods.push(Pod::new(&self.world.directory, &name, config));
    }

    /// The file that all nodes read.
    fn config(&self) -> String {
        let mut config = COMMON.to_owned();
        if let Beginning::Together(size) = self.beginning {
            config += &format!("cluster: {{discovery: '{PEERS}:7400'}}\nbootstrap: {{size: {size}}}\n");
        }
        if self.api_server.is_some() {
            config += &format!(
                "kubernetes: {{stateful_set: {NAME}, namespace: {NAMESPACE}, gone_after: 5s, leader_label: true}}\n"
            );
        }
        config
    }

    fn environment(&self, ordinal: usize) -> Vec<(&'static str, String)> {
        let mut environment = vec![
            ("QUORATE__NODE__NAME", self.pods[ordinal].name.clone()),
            ("QUORATE__CLIENT__ADVERTISE", address(ordinal)),
            ("POD_NAME", self.pods[ordinal].name.clone()),
            ("POD_NAMESPACE", NAMESPACE.to_owned()),
        ];
        if let Some(wait) = self.leader_wait {
            environment.push(("QUORATE__HEALTH__LEADER_WAIT", format!("{}s", wait.as_secs())));
        }
        if self.api_server.is_some() {
            environment.push(("KUBECONFIG", kubeconfig(&self.world).display().to_string()));
        }
        // The very first start is that of a node which nobody can be asked about.
        let is_first = ordinal == 0 && !self.pods[0].has_run();
        if self.beginning == Beginning::PodZero && !is_first {
            let others: Vec<_> = (0..PODS_MAX).filter(|other| *other != ordinal).map(address).collect();
            environment.push(("QUORATE__CLUSTER__JOIN", others.join(",")));
        }
        environment
    }
}

/// The file by which pods find the API server.
fn kubeconfig(world: &World) -> PathBuf {
    world.directory.join("kubeconfig.yaml")
}

/// Where clients reach a pod, and what it tells them.
fn address(ordinal: usize) -> String {
    format!("quorate-{ordinal}.{PEERS}:7400")
}
