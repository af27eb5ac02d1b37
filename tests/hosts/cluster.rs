//! What is seen of the cluster from outside, and waiting for it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use quorate::client::{self, Client, Options};
use quorate::proto::v1;

use crate::checks;
use crate::stateful_set::StatefulSet;

/// Longer than anything here takes on a busy machine; a scenario that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long one node may take to say how it is. It waits for those that it cannot reach, and is given a third of this at a time.
const ANSWER_MAX: Duration = Duration::from_secs(9);

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

impl StatefulSet {
    /// What the nodes that answer say of themselves and of each other, by their ordinals.
    pub fn statuses(&self) -> BTreeMap<usize, v1::StatusResponse> {
        self.ask(|client| async move { client.status().await })
    }

    /// What the nodes that answer know of the members, by their ordinals.
    pub fn members(&self) -> BTreeMap<usize, v1::ListMembersResponse> {
        self.ask(|client| async move { client.members().await })
    }

    /// Asks all nodes at the same time, each by its address, through a client that knows no other.
    fn ask<T, F: Future<Output = Result<T, client::Error>>>(&self, ask: impl Fn(Client) -> F) -> BTreeMap<usize, T> {
        let options = Options { timeout: Some(ANSWER_MAX), ..Options::default() };
        let ask_one = async |ordinal: usize| {
            let client = Client::new(vec![self.host_address(ordinal)], options.clone()).expect("an address");
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
        let client = || Client::new(self.endpoints(), Options { timeout: Some(PATIENCE), ..Options::default() });
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

    /// Watches for a while that these pods run, answer, and belong to no cluster.
    pub fn stays_without_a_cluster(&mut self, ordinals: &[usize], time: Duration) {
        let mut silent: BTreeSet<usize> = ordinals.iter().copied().collect();
        self.watch(time, |set| {
            let members = set.members();
            silent.retain(|ordinal| !members.contains_key(ordinal));
            let clusters = checks::clusters_of(members);
            assert!(ordinals.iter().all(|ordinal| !clusters.contains_key(ordinal)), "there is a cluster: {clusters:?}");
        });
        assert!(silent.is_empty(), "they did not answer, and so nothing is known: {silent:?}");
        for ordinal in ordinals {
            let pod = &mut self.pods[*ordinal];
            assert!(pod.is_running(), "{} did not wait, but ended", pod.name);
        }
    }

    /// Waits until a node says by its health port that it is ready.
    pub fn eventually_is_ready(&self, ordinal: usize) {
        eventually(&format!("quorate-{ordinal} to be ready"), || self.is_ready(ordinal).then_some(()));
    }

    /// Whether a node says so now.
    pub fn is_ready(&self, ordinal: usize) -> bool {
        let address = SocketAddr::from((self.world.network.address(&self.pods[ordinal].name), 7403));
        get(address, "/readyz") == Some(200)
    }
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
