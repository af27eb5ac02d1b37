//! Snapshots and compaction on real disks: nothing that lives is lost, whatever is killed when, and who lacks the log gets a
//! snapshot.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use quorate::ids::{Index, SHARD_0};
use quorate::node::snapshots;
use quorate::raft::Payload;
use quorate::state_machine::{Command, Limits, StateMachine, message_of};
use quorate::storage::{FileDisk, Log, Options};
use rand::RngExt;
use serde_json::Value;

use crate::cluster::{Cluster, eventually};
use crate::load::{Load, check_taken, client, drain, take};

/// A snapshot as often as may be, and small files.
fn often() -> Vec<(&'static str, String)> {
    let storage = |key: &'static str, value: &str| (key, value.to_owned());
    vec![
        storage("QUORATE__STORAGE__SNAPSHOT_ENTRIES", "1000"),
        storage("QUORATE__STORAGE__SNAPSHOT_BYTES", "1MiB"),
        storage("QUORATE__STORAGE__SEGMENT_BYTES", "8MiB"),
        storage("QUORATE__STORAGE__CACHE_BYTES", "1MiB"),
        storage("QUORATE__LOG__LEVEL", "info,quorate::entries=off"),
    ]
}

/// A client that takes messages, for as long as it is left alone.
struct Consumer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Consumer {
    fn start(endpoints: Vec<String>, queue: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let client = client(endpoints);
                let mut taken = Vec::new();
                while !stopped.load(Ordering::Relaxed) {
                    taken.extend(take(&client, queue).await);
                }
                taken
            })
        });
        Self { stop, thread }
    }

    fn finish(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn storage<'a>(status: &'a [Value], name: &str) -> &'a Value {
    let node = status.iter().find(|node| node["member"]["name"] == name);
    node.map_or(&Value::Null, |node| &node["storage"])
}

/// Waits until the log of every node begins after entry 1.
fn eventually_compacts(cluster: &Cluster) {
    eventually("every node to have compacted its log", || {
        let status = cluster.status();
        let begins_later = |name: &str| storage(&status, name)["first_index"].as_u64().is_some_and(|first| first > 1);
        cluster.nodes.iter().all(|node| begins_later(&node.name)).then_some(())
    });
}

/// What a directory holds, up to an entry.
fn state_at(directory: &Path, index: Index) -> StateMachine {
    let (log, _) = Log::open(FileDisk::new(directory), Options::default()).unwrap();
    let (store, reader) = (log.store(), log.reader());
    let restored = snapshots::restore(&store, None, SHARD_0, Limits::default()).unwrap();
    let (mut machine, mut applied) = match restored {
        Some((restored, _)) => (restored.state.machine, restored.state.snapshot.last.index),
        None => (StateMachine::new(Limits::default()), Index(0)),
    };
    assert!(applied <= index, "the snapshot in {} is later than {index}", directory.display());
    while applied < index {
        for entry in reader.read(SHARD_0, applied.next(), index, 1 << 20).unwrap() {
            applied = entry.id.index;
            if let Payload::Command(bytes) = &entry.payload {
                machine.apply(applied, &Command::decode(bytes).unwrap());
            }
        }
    }
    for living in machine.living() {
        let Payload::Command(bytes) = reader.body(SHARD_0, living.id.index).unwrap().payload else { panic!() };
        assert!(message_of(&bytes, living.id.item).is_some(), "{living:?} has no body in {}", directory.display());
    }
    machine
}

/// Stops all nodes and compares what they hold: the same state up to the last entry that all have, and every body.
fn check_replicas(mut cluster: Cluster) {
    let commits = |status: &[Value]| -> Option<BTreeSet<u64>> {
        status.iter().map(|node| node["commit"].as_u64()).collect::<Option<BTreeSet<u64>>>()
    };
    let commit = eventually("all nodes to have the same commit index", || {
        commits(&cluster.status()).filter(|commits| commits.len() == 1).and_then(|commits| commits.first().copied())
    });
    for node in &mut cluster.nodes {
        node.kill();
    }
    let state = |node: &crate::cluster::Node| state_at(&node.data, Index(commit)).digest();
    let digests: BTreeSet<u64> = cluster.nodes.iter().map(state).collect();
    assert_eq!(digests.len(), 1, "the replicas differ at {commit}");
}

/// Producers, a consumer, and kill -9 at any time, while each node snapshots and compacts all the while.
#[test]
fn a_storm_of_kills_while_nodes_snapshot_and_compact() {
    const KILLS: usize = 12;
    let mut cluster = Cluster::start_with(3, &often());
    let load = Load::start_with_long_bodies(cluster.addresses(), "orders", 32, 700);
    load.eventually_acknowledges(10_500);
    let consumer = Consumer::start(cluster.addresses(), "orders");
    for _ in 0..KILLS {
        std::thread::sleep(Duration::from_millis(rand::rng().random_range(50..500)));
        let victim = rand::rng().random_range(0..3);
        cluster.nodes[victim].kill();
        cluster.nodes[victim].start(&[]);
        load.eventually_acknowledges(300);
    }
    let acknowledged = load.finish();
    let taken = consumer.finish();
    cluster.eventually_has_voters(3);
    eventually_compacts(&cluster);
    for node in &cluster.nodes {
        assert!(!node.log().contains("ERROR"), "node {} tells of an error", node.name);
    }
    let rest = drain(cluster.addresses(), "orders");
    check_taken([taken, rest].concat(), &acknowledged);
    check_replicas(cluster);
}

/// Who comes when the log begins later than entry 1 gets a snapshot with all its bodies, and can lead with it.
#[test]
fn a_fresh_node_joins_a_cluster_with_a_compacted_log_and_one_that_was_away_comes_back() {
    let mut cluster = Cluster::start_with(3, &often());
    let load = Load::start_with_long_bodies(cluster.addresses(), "orders", 64, 700);
    load.eventually_acknowledges(2_000);
    let away = cluster.followers()[0];
    cluster.nodes[away].kill();
    load.eventually_acknowledges(13_000);
    let acknowledged = load.finish();
    cluster.nodes[away].start(&[]);
    cluster.nodes[away].eventually_tells("installed a snapshot up to");
    let fresh = cluster.add_with(&often());
    cluster.nodes[fresh].eventually_tells("installed a snapshot up to");
    cluster.eventually_has_voters(4);

    let refused = cluster.run(&["log", "--from", "1"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("it begins at entry"), "{refused:?}");
    let first = cluster.json(&["log", "--limit", "1"]);
    assert!(first.is_some(), "without --from the log is shown from where it begins");
    for leader in [away, fresh] {
        let name = cluster.nodes[leader].name.clone();
        cluster.ok(&["leader", "transfer", "--to", &name]);
        assert_eq!(cluster.leader(), leader);
        let status = cluster.status();
        assert!(storage(&status, &name)["snapshot_index"].as_u64() > Some(10_000), "{status:#?}");
    }
    check_taken(drain(cluster.addresses(), "orders"), &acknowledged);
    check_replicas(cluster);
}

/// A directory of a later release is left as it is.
#[test]
fn a_store_of_a_later_release_is_refused_and_left_alone() {
    let mut cluster = Cluster::start_with(1, &often());
    let load = Load::start_with_long_bodies(cluster.addresses(), "orders", 32, 100);
    load.eventually_acknowledges(2_500);
    load.finish();
    cluster.nodes[0].kill();
    let manifest = cluster.nodes[0].data.join("manifest");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let (body, _) = text.trim_end().rsplit_once('\n').unwrap();
    let later = format!("{}\n", later_format(body));
    std::fs::write(&manifest, format!("{later}crc32c {:08x}\n", crc32c::crc32c(later.as_bytes()))).unwrap();
    let files = |directory: &Path| -> BTreeSet<_> {
        let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
        entries.map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap())).collect()
    };
    let before = files(&cluster.nodes[0].data);
    let output = cluster.nodes[0].command(&[]).output().unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(told.contains("start a later release of quorate"), "{told}");
    assert_eq!(files(&cluster.nodes[0].data), before);
}

fn later_format(manifest: &str) -> String {
    let at = manifest.find("format_version").expect("a manifest tells its format");
    let digit = at + manifest[at..].find(|c: char| c.is_ascii_digit()).expect("a number");
    format!("{}9{}", &manifest[..digit], &manifest[digit..])
}
