//! Nodes that are pods of a StatefulSet, as far as they can tell: their names are `quorate-0` and so on, and a test double of the API
//! server says how many there are to be.

use std::time::Instant;

use tempfile::TempDir;

use crate::api_server::{ApiServer, Call, Fault};
use crate::cluster::{Cluster, Node, PATIENCE, eventually, free_ports};
use crate::load::{Load, check_drained};

const PLACE: &str = "place";

/// Pods, and who says how many there are to be.
struct StatefulSet {
    server: ApiServer,
    cluster: Cluster,
}

impl StatefulSet {
    fn start(size: usize) -> Self {
        let (server, directory) = (ApiServer::start(), TempDir::new().unwrap());
        server.put_set(PLACE, "quorate", size as i32);
        server.write_kubeconfig(&directory.path().join("kubeconfig"), PLACE);
        let mut set = Self { server, cluster: Cluster { nodes: Vec::new(), directory } };
        (0..size).for_each(|ordinal| set.add(ordinal));
        set.cluster.eventually_has_voters(size);
        set
    }

    fn add(&mut self, ordinal: usize) {
        let directory = self.cluster.directory.path();
        let mut node = Node::new(directory, &format!("quorate-{ordinal}"));
        node.settings = vec![
            ("QUORATE__KUBERNETES__STATEFUL_SET", "quorate".to_owned()),
            ("QUORATE__KUBERNETES__LEADER_LABEL", "true".to_owned()),
            ("QUORATE__KUBERNETES__GONE_AFTER", "1s".to_owned()),
            ("QUORATE__DRAIN_DEADLINE", "30s".to_owned()),
            ("KUBECONFIG", directory.join("kubeconfig").display().to_string()),
        ];
        self.server.put_pod(PLACE, &node.name);
        let others: Vec<_> = self.cluster.nodes.iter().map(|node| node.address).collect();
        node.start(&others);
        self.cluster.nodes.push(node);
    }

    fn scale(&self, replicas: i32) {
        self.server.put_set(PLACE, "quorate", replicas);
    }

    fn lead(&self, ordinal: usize) {
        let name = format!("quorate-{ordinal}");
        eventually("leadership to be where the test wants it", || {
            let leads = || self.cluster.leader() == ordinal;
            (leads() || self.cluster.run(&["leader", "transfer", "--to", &name]).status.success() && leads())
                .then_some(())
        });
    }

    /// Stops all pods from this ordinal on at once, as a StatefulSet with parallel pods does, and waits for their ends.
    fn stop_from(&mut self, ordinal: usize) -> Vec<Node> {
        Self::stop(self.cluster.nodes.split_off(ordinal))
    }

    fn stop_only(&mut self, at: usize) {
        Self::stop(vec![self.cluster.nodes.remove(at)]);
    }

    fn stop(mut nodes: Vec<Node>) -> Vec<Node> {
        let began = Instant::now();
        nodes.iter().for_each(|node| node.signal("TERM"));
        for node in &mut nodes {
            let status = node.wait();
            assert!(status.success(), "{} ended with {status}", node.name);
            let log = node.log();
            assert!(log.contains("leaves the cluster for good, because StatefulSet quorate asks for"), "{log}");
            assert!(log.contains("has left the cluster"), "{log}");
        }
        assert!(began.elapsed() < PATIENCE / 2, "the deadline is 30 s, and it took {:?}", began.elapsed());
        nodes
    }

    fn members(&self) -> Vec<String> {
        let members = self.cluster.json(&["member", "list"]).expect("somebody answers");
        let members = members["members"].as_array().unwrap().iter();
        let mut names: Vec<String> = members.map(|member| member["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    fn eventually_has_members(&self, names: &[&str]) {
        eventually(&format!("members {names:?} instead of {:?}", self.members()), || {
            (self.members() == names).then_some(())
        });
    }
}

fn scale_down(leader: usize) {
    let mut set = StatefulSet::start(5);
    let load = Load::start(set.cluster.addresses(), "orders", 4);
    load.eventually_acknowledges(100);
    set.lead(leader);
    set.scale(3);
    let gone = set.stop_from(3);
    set.eventually_has_members(&["quorate-0", "quorate-1", "quorate-2"]);
    set.cluster.eventually_has_voters(3);
    load.eventually_acknowledges(100);

    // And up again, on the volumes that were kept: other nodes under the old names.
    set.scale(5);
    let members: Vec<_> = set.cluster.nodes.iter().map(|node| node.address).collect();
    for mut node in gone {
        node.address = free_ports();
        node.start(&members);
        set.cluster.nodes.push(node);
    }
    set.cluster.eventually_has_voters(5);
    load.eventually_acknowledges(100);
    let acknowledged = load.finish();
    check_drained(set.cluster.addresses(), "orders", &acknowledged);
    let removals = set.cluster.configurations_with_outgoing(5);
    assert_eq!(removals.len(), 1, "one joint change for both: {removals:#?}");
    assert_eq!(removals[0]["voters"].as_array().unwrap().len(), 3);
}

#[test]
fn pods_that_are_left_out_leave_in_one_change() {
    scale_down(0);
}

#[test]
fn a_leader_that_is_left_out_hands_over_and_leaves_with_the_others() {
    scale_down(4);
}

/// One founder of three pods cannot tell a lost disk from a first start.
#[test]
fn a_founder_waits_while_more_than_twice_as_many_pods_are_asked_for() {
    let (server, directory) = (ApiServer::start(), TempDir::new().unwrap());
    server.put_set(PLACE, "quorate", 3);
    server.write_kubeconfig(&directory.path().join("kubeconfig"), PLACE);
    let mut node = Node::new(directory.path(), "quorate-0");
    node.settings = vec![
        ("QUORATE__KUBERNETES__STATEFUL_SET", "quorate".to_owned()),
        ("QUORATE__BOOTSTRAP__SIZE", "1".to_owned()),
        ("KUBECONFIG", directory.path().join("kubeconfig").display().to_string()),
    ];
    // Somebody to ask, who is not asked.
    node.start(&[node.address]);
    let waits = "starts no cluster, as StatefulSet quorate asks for 3 replicas and bootstrap.size is 1";
    eventually("the node to say why it waits", || node.log().contains(waits).then_some(()));
    assert!(!node.log().contains("starts cluster"), "{}", node.log());
    server.put_set(PLACE, "quorate", 2);
    eventually("the node to start a cluster", || node.log().contains("and is its only voter").then_some(()));
}

/// Down to one under load, the leader among those who go.
#[test]
fn three_become_one() {
    let mut set = StatefulSet::start(3);
    let load = Load::start(set.cluster.addresses(), "orders", 4);
    load.eventually_acknowledges(100);
    set.lead(2);
    set.scale(1);
    set.stop_from(1);
    set.eventually_has_members(&["quorate-0"]);
    load.eventually_acknowledges(100);
    let acknowledged = load.finish();
    check_drained(set.cluster.addresses(), "orders", &acknowledged);
}

/// Whatever is no clear "this pod is to go" is a stop. The same node stops and comes back each time.
#[test]
fn to_stop_is_not_to_leave() {
    let mut set = StatefulSet::start(3);
    let everybody = ["quorate-0", "quorate-1", "quorate-2"];
    let healthy = |_: &StatefulSet| {};
    type Case = (&'static str, fn(&StatefulSet), &'static str);
    let cases: [Case; 7] = [
        ("a restart", healthy, "stops and stays a member, because StatefulSet quorate asks for 3 replicas"),
        (
            "replicas: 0",
            |set| set.scale(0),
            "stops and stays a member, because StatefulSet quorate asks for no replicas",
        ),
        ("its deletion begins", |set| set.server.begin_deletion(PLACE, "quorate"), "StatefulSet quorate is deleted"),
        ("it is deleted", |set| set.server.delete_set(PLACE, "quorate"), "StatefulSet quorate is deleted"),
        (
            "no rights",
            |set| set.server.fail(Call::Get, Fault::Status(403)),
            "has not the right (403): told to answer 403; hint: if it is not to come back, `quorate member remove quorate-2`",
        ),
        ("no answer", |set| set.server.fail(Call::Get, Fault::Silence), "has not answered within 5.0 s; hint:"),
        ("garbage", |set| set.server.fail(Call::Get, Fault::Garbage), "makes no sense"),
    ];
    for (case, happens, words) in cases {
        set.server.delete_set(PLACE, "quorate");
        set.scale(2 + i32::from(case == "a restart"));
        happens(&set);
        let told = set.cluster.nodes[2].log().len();
        let status = set.cluster.nodes[2].terminate();
        assert!(status.success(), "{case}: {status}");
        let log = set.cluster.nodes[2].log();
        assert!(log[told..].contains(words), "{case}: {}", &log[told..]);
        assert_eq!(set.members(), everybody, "{case}");
        // Whom the set leaves out the leader removes as soon as it can ask again.
        set.scale(3);
        set.server.heal();
        // Pods come back at other addresses.
        set.cluster.nodes[2].address = free_ports();
        set.cluster.nodes[2].start(&[]);
        set.cluster.eventually_has_voters(3);
    }
}

/// A pod that dies before it could leave is removed by the leader; one that is to be there never is.
#[test]
fn the_leader_removes_who_is_gone_and_left_out() {
    let mut set = StatefulSet::start(5);
    set.lead(0);
    set.cluster.nodes[3].kill();
    set.cluster.nodes[4].kill();

    // Nobody is removed while the API server says nothing.
    set.server.fail(Call::Get, Fault::Status(403));
    set.scale(4);
    set.cluster.nodes[0]
        .eventually_tells("does not remove members that are gone: the service account of this pod has not");
    assert_eq!(set.members().len(), 5);
    set.server.heal();
    set.eventually_has_members(&["quorate-0", "quorate-1", "quorate-2", "quorate-3"]);
    set.cluster.nodes[0].eventually_tells("has removed quorate-4 from the cluster");

    // The one that is wanted has been dead all the time, and is still a member. One that is not wanted and lives is one as well.
    set.scale(2);
    set.eventually_has_members(&["quorate-0", "quorate-1", "quorate-2"]);
    set.cluster.nodes[0].eventually_tells("has removed quorate-3 from the cluster");
    set.scale(1);
    set.cluster.nodes[0].eventually_tells("asks for 1 replica");
    set.cluster.nodes[1].kill();
    set.eventually_has_members(&["quorate-0", "quorate-2"]);
    assert!(set.cluster.nodes[2].is_running());
}

/// Without a majority nobody can leave: the pod waits for one, and a second signal ends that at once.
#[test]
fn a_second_signal_ends_the_wait_of_a_pod_that_cannot_leave() {
    let mut set = StatefulSet::start(2);
    set.cluster.nodes[0].kill();
    set.scale(1);
    set.cluster.nodes[1].signal("TERM");
    set.cluster.nodes[1]
        .eventually_tells("leaves the cluster for good, because StatefulSet quorate asks for 1 replica");
    let began = Instant::now();
    set.cluster.nodes[1].signal("TERM");
    set.cluster.nodes[1].wait();
    assert!(began.elapsed() < PATIENCE / 6, "it took {:?}", began.elapsed());
}

/// The number of replicas is asked for again before each attempt: what it was once does not count.
#[test]
fn a_pod_that_is_wanted_again_before_it_could_leave_stays() {
    let mut set = StatefulSet::start(2);
    set.cluster.nodes[0].kill();
    set.scale(1);
    set.cluster.nodes[1].signal("TERM");
    set.cluster.nodes[1]
        .eventually_tells("leaves the cluster for good, because StatefulSet quorate asks for 1 replica");
    set.scale(2);
    set.cluster.nodes[1].eventually_tells("stops and stays a member, because StatefulSet quorate asks for 2 replicas");
    assert!(set.cluster.nodes[1].wait().success());
}

/// A node whose name is no pod's follows nothing, and says so.
#[test]
fn a_name_that_is_no_pods() {
    let mut set = StatefulSet::start(1);
    set.add(1);
    set.cluster.eventually_has_voters(2);
    let mut other = Node::new(set.cluster.directory.path(), "other");
    other.settings = set.cluster.nodes[0].settings.clone();
    other.start(&set.cluster.addresses().iter().map(|address| address.parse().unwrap()).collect::<Vec<_>>());
    other.eventually_tells(
        "follows nothing of Kubernetes: kubernetes.stateful_set is quorate, and node.name is \"other\"",
    );
    set.cluster.nodes.push(other);
    set.cluster.eventually_has_voters(3);

    // Pods that are left out go, and this one is none, whoever asks; it stops without a question.
    set.stop_only(1);
    set.eventually_has_members(&["other", "quorate-0"]);
    let asked = set.server.requests().len();
    let status = set.cluster.nodes[1].terminate();
    assert!(status.success());
    assert!(!set.cluster.nodes[1].log().contains("member, because"));
    let by_leader = |request: &String| request.contains("/statefulsets?") || request.starts_with("PATCH");
    assert!(set.server.requests()[asked..].iter().all(by_leader), "{:?}", set.server.requests());
}

#[test]
fn the_label_follows_the_leader() {
    let set = StatefulSet::start(3);
    let labelled = || -> Vec<usize> {
        let is = |ordinal: &usize| {
            let label = set.server.label(PLACE, &format!("quorate-{ordinal}"), "quorate.dev/role");
            label.as_deref() == Some("leader")
        };
        (0..3).filter(is).collect()
    };
    for leader in [1, 2] {
        set.lead(leader);
        eventually("the label to be on the leader's pod only", || (labelled() == [leader]).then_some(()));
    }

    // It is told once that this fails, and done when it can be.
    set.server.fail(Call::Patch, Fault::Status(403));
    set.lead(0);
    set.cluster.nodes[0].eventually_tells("cannot label its pod as the leader's");
    assert_eq!(labelled(), [2]);
    set.server.heal();
    eventually("the label to be on the leader's pod only", || (labelled() == [0]).then_some(()));
    let warnings = set.cluster.nodes[0].log().matches("cannot label its pod").count();
    assert_eq!(warnings, 1);
}
