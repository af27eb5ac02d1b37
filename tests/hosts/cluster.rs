//! What a StatefulSet does with its pods, and what is seen of their cluster.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use quorate::client::{self, Client, Options};
use quorate::proto::v1;

use crate::api_server::ApiServer;
use crate::checks;
use crate::pod::Pod;
use crate::world::World;

/// Longer than anything here takes on a busy machine; a scenario that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long one node may take to say how it is. It waits for those that it cannot reach, and is given a third of this at a time.
const ANSWER_MAX: Duration = Duration::from_secs(9);

/// The headless Service: it resolves to all pods, and with a pod's name before it to that one.
const PEERS: &str = "quorate-peers.default.svc";

/// The most pods of a scenario. Nodes that are told whom to ask are told of so many.
const PODS_MAX: usize = 5;

/// Waits until `condition` gives something.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            println!("waited {:.1?} for {what}", start.elapsed());
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

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
    api_server: Option<ApiServer>,
}

impl StatefulSet {
    /// A StatefulSet without pods.
    pub fn new(world: World, beginning: Beginning) -> Self {
        Self { world, beginning, pods: Vec::new(), dns_follows: true, strangers: Vec::new(), api_server: None }
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
        let api_server = ApiServer::start(world.network.gateway());
        Self { api_server: Some(api_server), ..Self::new(world, beginning) }
    }

    /// What `kubectl scale` brings about: all pods that are missing are started, and all that are too many are stopped. Those
    /// must end in time, by themselves. Volumes stay.
    pub fn scale(&mut self, replicas: usize) {
        self.api_server.as_ref().expect("there is an API server").set_replicas(replicas);
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
            if !self.pods[*ordinal].is_started() {
                self.start(*ordinal);
            }
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

    /// Where clients find nodes: the names of all pods that there may be.
    pub fn endpoints(&self) -> Vec<String> {
        (0..PODS_MAX).map(address).collect()
    }

    /// What the nodes that answer say of themselves and of each other, by their ordinals.
    pub fn statuses(&self) -> BTreeMap<usize, v1::StatusResponse> {
        self.ask(|client| async move { client.status().await })
    }

    /// What the nodes that answer know of the members, by their ordinals.
    pub fn members(&self) -> BTreeMap<usize, v1::ListMembersResponse> {
        self.ask(|client| async move { client.members().await })
    }

    /// Asks all nodes at the same time, each through a client that knows no other.
    fn ask<T, F: Future<Output = Result<T, client::Error>>>(&self, ask: impl Fn(Client) -> F) -> BTreeMap<usize, T> {
        let options = Options { timeout: ANSWER_MAX, ..Options::default() };
        let ask_one = async |ordinal: usize| {
            let client = Client::new(vec![address(ordinal)], options.clone()).expect("an address");
            Some((ordinal, ask(client).await.ok()?))
        };
        let started = (0..self.pods.len()).filter(|ordinal| self.pods[*ordinal].is_started());
        block_on(async { join_all(started.map(ask_one)).await }).into_iter().flatten().collect()
    }

    /// Waits until the pods 0 to `count` - 1 are the voters, there are no other members, and one of them reaches all.
    pub fn eventually_has_voters(&self, count: usize) {
        let expected: Vec<String> = (0..count).map(|ordinal| format!("quorate-{ordinal}")).collect();
        eventually(&format!("the voters {expected:?}"), || {
            self.statuses().values().any(|status| voters(status) == expected).then_some(())
        });
    }

    /// The pod that leads, by what the nodes themselves say: of several the one in the highest term.
    pub fn leader(&self) -> usize {
        eventually("a leader", || {
            let leads = |(ordinal, status): (usize, v1::StatusResponse)| Some((term_as_leader(&status)?, ordinal));
            self.statuses().into_iter().filter_map(leads).max().map(|(_, ordinal)| ordinal)
        })
    }

    /// Hands leadership to a pod's node, which is a voter.
    pub fn lead(&self, ordinal: usize) {
        let client = || Client::new(self.endpoints(), Options { timeout: PATIENCE, ..Options::default() });
        eventually(&format!("quorate-{ordinal} to lead"), || {
            let name = &self.pods[ordinal].name;
            // It may lead already, or be behind for a moment.
            let _ = block_on(async { client().expect("addresses").transfer_leadership(Some(name)).await });
            (self.leader() == ordinal).then_some(())
        });
    }

    /// The term in which a pod's node leads, by what it says itself; none: it does not, or does not answer.
    pub fn term_as_leader(&self, ordinal: usize) -> Option<u64> {
        term_as_leader(self.statuses().get(&ordinal)?)
    }

    /// The id of a pod's node, once it belongs to a cluster.
    pub fn node_id(&self, ordinal: usize) -> Option<String> {
        let header = self.members().remove(&ordinal)?.header?;
        (!header.cluster_id.is_empty()).then_some(header.node_id)
    }

    /// Watches for a while that something stays as it must be.
    pub fn watch(&self, time: Duration, mut must_be: impl FnMut(&Self)) {
        let start = Instant::now();
        while start.elapsed() < time {
            must_be(self);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Watches for a while that these pods run and belong to no cluster.
    pub fn stays_without_a_cluster(&mut self, ordinals: &[usize], time: Duration) {
        self.watch(time, |set| {
            let clusters = checks::clusters(set);
            assert!(ordinals.iter().all(|ordinal| !clusters.contains_key(ordinal)), "there is a cluster: {clusters:?}");
        });
        for ordinal in ordinals {
            let pod = &mut self.pods[*ordinal];
            assert!(pod.is_running(), "{} did not wait, but ended", pod.name);
        }
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

    /// Waits until a node says by its health port that it is ready.
    pub fn eventually_is_ready(&self, ordinal: usize) {
        let address = SocketAddr::from((self.world.network.address(&self.pods[ordinal].name), 7403));
        eventually(&format!("quorate-{ordinal} to be ready"), || (get(address, "/readyz")? == 200).then_some(()));
    }

    /// A host, a volume and settings for one more pod, which is not started yet.
    pub fn schedule(&mut self, ordinal: usize) {
        let name = format!("quorate-{ordinal}");
        self.world.network.add(&name);
        let config = self.world.directory.join("node.yaml");
        fs::write(&config, self.config()).unwrap();
        self.pods.push(Pod::new(&self.world.directory, &name, config));
    }

    /// The file that all nodes read.
    fn config(&self) -> String {
        let mut config = "apiVersion: quorate.dev/v1\nkind: NodeConfig\nclient: {listen: 0.0.0.0:7400}\n\
                          storage: {segment_bytes: 8MiB}\nlog: {format: json, level: 'info,quorate::entries=off'}\n"
            .to_owned();
        if let Beginning::Together(size) = self.beginning {
            config += &format!("cluster: {{discovery: '{PEERS}:7400'}}\nbootstrap: {{size: {size}}}\n");
        }
        if self.api_server.is_some() {
            config += "kubernetes: {stateful_set: quorate, namespace: default}\n";
        }
        config
    }

    fn environment(&self, ordinal: usize) -> Vec<(&'static str, String)> {
        let mut environment = vec![
            ("QUORATE__NODE__NAME", self.pods[ordinal].name.clone()),
            ("QUORATE__CLIENT__ADVERTISE", address(ordinal)),
            ("POD_NAME", self.pods[ordinal].name.clone()),
            ("POD_NAMESPACE", "default".to_owned()),
        ];
        if let Some(api_server) = &self.api_server {
            let kubeconfig = api_server.write_kubeconfig(&self.world.directory);
            environment.push(("KUBECONFIG", kubeconfig.display().to_string()));
        }
        // The very first start is that of a node which nobody can be asked about.
        let is_first = ordinal == 0 && self.pods[0].log().is_empty();
        if self.beginning == Beginning::PodZero && !is_first {
            let others: Vec<_> = (0..PODS_MAX).filter(|other| *other != ordinal).map(address).collect();
            environment.push(("QUORATE__CLUSTER__JOIN", others.join(",")));
        }
        environment
    }
}

/// Where clients reach a pod, and what it tells them.
pub fn address(ordinal: usize) -> String {
    format!("quorate-{ordinal}.{PEERS}:7400")
}

/// Runs what a client does to its end.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// The names of all members, in order, if all of them vote and answer; otherwise nothing.
fn voters(status: &v1::StatusResponse) -> Vec<String> {
    let votes = |node: &v1::NodeStatus| {
        node.reachable && node.member.as_ref().is_some_and(|member| member.membership() == v1::Membership::Voter)
    };
    if !status.nodes.iter().all(votes) {
        return Vec::new();
    }
    let members = status.nodes.iter().filter_map(|node| node.member.as_ref());
    let mut names: Vec<_> = members.map(|member| member.name.clone()).collect();
    names.sort();
    names
}

/// The term in which the node that was asked leads, if it does.
fn term_as_leader(status: &v1::StatusResponse) -> Option<u64> {
    let node_id = &status.header.as_ref()?.node_id;
    let own = status.nodes.iter().find(|node| node.member.as_ref().is_some_and(|member| member.node_id == *node_id))?;
    (own.role() == v1::Role::Leader).then_some(own.term)
}

/// The status with which an HTTP server answers; none: it does not.
fn get(server: SocketAddr, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect_timeout(&server, ANSWER_MAX).ok()?;
    stream.set_read_timeout(Some(ANSWER_MAX)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: quorate\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_whitespace().nth(1)?.parse().ok()
}
