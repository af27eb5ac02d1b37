//! A disk that hangs: no write comes to an end, and none fails.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::*;
use crate::cluster::bootstrap::bootstrap;
use crate::ids::{ClusterId, Contact, SHARD_0};
use crate::node::event_loop::{Completion, EventLoop};
use crate::node::handle::Handle;
use crate::node::log_reader::LogReader;
use crate::node::options::{handle_limits, replica_options};
use crate::node::snapshots::{Snapshots, Tools};
use crate::node::{Clock, Transfers};
use crate::raft::{CommitQuorum, RoleName};
use crate::replica::Replica;
use crate::storage::{self, DataDirectory, Log, MemoryDisk, Proposal, Writer};
use crate::telemetry::{RequestBook, Vitals};
use crate::transport::{self, AddressBook, Transport};

/// The loop of a node that is alone and whose log is on this disk.
fn event_loop(directory: &TempDir, disk: &MemoryDisk) -> (EventLoop, Handle) {
    let config = config("a", directory.path(), &[]);
    let data = Arc::new(DataDirectory::open(&config.node.data_dir).unwrap());
    let options = storage::Options { segment_bytes: 1 << 20, ..Default::default() };
    let (mut log, _) = Log::open(disk.clone(), options).unwrap();
    let node = data.identity().node;
    let [client_address, peer_address] = ["127.0.0.1:1", "127.0.0.1:2"].map(str::to_owned);
    let contact = Contact { node, name: "a".to_owned(), client_address, peer_address, version: 1 };
    let (cluster, commit_quorum) = (ClusterId(1), CommitQuorum::Majority);
    let proposal = Proposal { cluster, proposer: node, attempt: 1, founders: vec![contact], commit_quorum };
    let recovered = bootstrap(&mut log, Default::default(), &proposal).unwrap();

    let book = AddressBook::new(node, Vec::new(), |_: &[Contact]| Ok(()));
    let (delivery, inbound) = transport::Inbox::new(16, 16);
    let transport = Transport::new(transport::Identity { cluster, node }, book.clone(), delivery, Default::default());
    let reader = LogReader::new(log.reader());
    let (handle, inbox) = Handle::new(node, reader.clone(), handle_limits(&config));
    let (completions, completed) = mpsc::unbounded_channel();
    let options = replica_options(&config);
    let tools = Tools {
        cluster,
        store: log.store(),
        book: book.clone(),
        transport: transport.clone(),
        transfers: Transfers::new(log.store(), storage::outgoing::Limits::default()),
        stall_min: PATIENCE,
        limits: options.limits,
        completions: completions.clone(),
        living: Arc::default(),
    };
    let clock = Clock::start();
    let replica = Replica::new(node, options, &recovered, 1, clock.now());
    let report = completions.clone();
    let writer = Writer::start(log, move |written| {
        let _ = report.send(written.map_or_else(Completion::Failed, Completion::Durable));
    });
    let event_loop = EventLoop {
        node,
        cluster,
        clock,
        replicas: BTreeMap::from([(SHARD_0, replica)]),
        events: BTreeMap::new(),
        inbox,
        inbound,
        completed,
        completions,
        writer,
        reader,
        transport,
        contacts: book.watch(),
        book,
        waiting: BTreeMap::new(),
        requests: RequestBook::new(Telemetry::default(), |node| node.to_string()),
        vitals: Vitals::new(Telemetry::default()),
        shown_at: None,
        timing_news: BTreeMap::new(),
        newcomers: BTreeMap::new(),
        snapshots: Snapshots::start(tools, 1 << 20),
        directory: data,
    };
    (event_loop, handle)
}

/// Liveness counts the turns of the loop. A disk that hangs must not stop them, whatever clients ask meanwhile: all nodes on that
/// disk would be killed, and none would be better off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loop_turns_while_a_write_hangs() {
    let (directory, disk) = (TempDir::new().unwrap(), MemoryDisk::default());
    let (event_loop, handle) = event_loop(&directory, &disk);
    let hung = disk.hang();
    let (stop, phase) = watch::channel(Phase::Serving);
    let turning = tokio::spawn(event_loop.run(phase));
    // The vote for itself, without which it does not lead.
    let campaigns = async || handle.look(SHARD_0, |status| status.term.0 > 1).filter(|begun| *begun).map(drop);
    eventually("a write to be under way", campaigns).await;
    let before = handle.turns();
    let asking: Vec<_> = (0..32)
        .map(|_| {
            let handle = handle.clone();
            tokio::spawn(async move { handle.transfer_leadership(SHARD_0, None).await })
        })
        .collect();
    eventually("ten more turns", async || (handle.turns() > before + 10).then_some(())).await;
    let leads = || handle.look(SHARD_0, |status| status.role == RoleName::Leader) == Some(true);
    assert!(!leads(), "the write has come to an end");

    drop(hung);
    eventually("the write to end", async || leads().then_some(())).await;
    stop.send(Phase::Stopped).unwrap();
    turning.await.unwrap().unwrap();
    for asked in asking {
        let _ = asked.await.unwrap();
    }
}
