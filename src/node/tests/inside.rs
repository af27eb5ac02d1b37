//! What a node tells of its inside: what happened on it, and what is in its log.

use super::*;
use crate::ids::Index;
use crate::proto::internal::peer_client::PeerClient;
use crate::proto::internal::{EventsReply, EventsRequest, ReadLogRequest};
use crate::raft::Payload;
use crate::transport::LogPart;

/// A running cluster of so many nodes; the first one leads.
async fn start_cluster(directory: &Path, names: &[&str]) -> Vec<Running> {
    let mut nodes = vec![start_alone(directory).await];
    for name in &names[1..] {
        nodes.push(start_node(config(name, directory, &[&nodes[0]])).await);
        let is_voter =
            |status: &v1::NodeStatus| status.member.as_ref().map(v1::Member::membership) == Some(v1::Membership::Voter);
        let all_vote = async || statuses(&nodes[0]).await.iter().filter(|node| is_voter(node)).count() == nodes.len();
        eventually("it to be a voter", async || all_vote().await.then_some(())).await;
    }
    nodes
}

async fn peer(node: &Running) -> PeerClient<Channel> {
    PeerClient::connect(format!("http://{}", node.peer_address)).await.expect("the node listens")
}

fn cluster_id(node: &Running) -> bytes::Bytes {
    node.handle.cluster().expect("it belongs to one").0.to_be_bytes().to_vec().into()
}

/// What a peer would be told of `node`.
async fn events(node: &Running, process: u64, after: u64) -> EventsReply {
    let request = EventsRequest { cluster_id: cluster_id(node), process, after, limit: 0, to: node.handle.node().0 };
    peer(node).await.events(request).await.expect("it answers").into_inner()
}

fn names(events: &EventsReply) -> Vec<&str> {
    events.events.iter().map(|event| event.event.as_str()).collect()
}

#[tokio::test]
async fn a_node_tells_what_happened_on_it() {
    let directory = TempDir::new().unwrap();
    let nodes = start_cluster(directory.path(), &["a", "b"]).await;
    let [first, second] = &nodes[..] else { panic!("two nodes") };
    let of_first = events(first, 0, 0).await;
    let leads = of_first.events.iter().find(|event| event.event == "becomes_leader").expect("it leads");
    assert_eq!(leads.words, "becomes leader of term 2 because a majority voted for it");
    assert_eq!((leads.kind.as_str(), leads.level.as_str(), leads.term), ("role", "info", 2));
    let connected = eventually("it to tell of the connection", async || {
        events(first, 0, 0).await.events.into_iter().find(|event| event.event == "connected")
    });
    let connected = connected.await;
    assert_eq!((connected.words.as_str(), connected.peer.as_str()), ("is connected to b", "b"));
    for name in names(&events(first, 0, 0).await) {
        assert!(!["heartbeat_sent", "heartbeat_heard", "committed", "appended", "applied"].contains(&name), "{name}");
    }
    assert!(names(&events(second, 0, 0).await).contains(&"follows_leader"));

    let heard = events(first, 0, 0).await;
    let last = heard.events.last().expect("much has happened").number;
    assert_eq!(events(first, heard.process, last).await.events, [], "nothing happens");
    first.handle.transfer_leadership(SHARD_0, None).await.expect("the other takes over");
    let news = events(first, heard.process, last).await;
    assert_eq!((names(&news)[0], news.events[0].number), ("transfer_begun", last + 1), "{news:?}");
    assert!(names(&news).contains(&"follows_leader"), "{news:?}");
    for node in nodes {
        node.stop().await.unwrap();
    }
}

async fn log(node: &Running, from: u64, limit: u32) -> LogPart {
    node.handle.log_part(SHARD_0, Index(from), limit).await.expect("the disk is fine")
}

fn indexes(part: &LogPart) -> Vec<u64> {
    part.entries.iter().map(|entry| entry.id.index.0).collect()
}

#[tokio::test]
async fn a_node_shows_its_log() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    for number in 0..20 {
        execute(&node, vec![enqueue("q", &number.to_string())]).await.unwrap();
    }
    let whole = log(&node, 1, 1_000).await;
    let last = whole.last.0;
    assert_eq!(indexes(&whole), (1..=last).collect::<Vec<_>>());
    assert!(last > 20 && whole.first == Index(1) && whole.commit == whole.last && whole.applied == whole.last);
    assert!(matches!(whole.entries[0].payload, Payload::Configuration { .. }), "{:?}", whole.entries[0]);

    assert_eq!(indexes(&log(&node, 3, 2).await), [3, 4]);
    assert_eq!(indexes(&log(&node, 0, 2).await), [last - 1, last], "the last ones");
    assert!(indexes(&log(&node, last + 1, 2).await).is_empty());
    assert!(indexes(&log(&node, u64::MAX, u32::MAX).await).is_empty());
    assert_eq!(log(&node, 1, u32::MAX).await, whole, "at most so many");

    let request =
        ReadLogRequest { cluster_id: cluster_id(&node), from_index: 3, limit: 2, to: node.handle.node().0, shard: 0 };
    let told = peer(&node).await.read_log(request.clone()).await.expect("it answers").into_inner();
    assert_eq!((told.entries_from, told.entries.len(), told.first_index, told.last_index), (3, 2, 1, last));
    let other_shard = ReadLogRequest { shard: 9, ..request };
    let none = peer(&node).await.read_log(other_shard).await.expect("it answers").into_inner();
    assert_eq!((none.entries.len(), none.last_index), (0, 0));
    node.stop().await.unwrap();
}

/// What is shown at once is bounded, and its end is what was asked for.
#[tokio::test]
async fn the_last_entries_are_shown_also_when_they_are_large() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    for _ in 0..8 {
        execute(&node, vec![enqueue("q", &"x".repeat(400_000))]).await.unwrap();
    }
    let tail = log(&node, 0, 8).await;
    assert_eq!(indexes(&tail).last(), Some(&tail.last.0));
    assert_eq!(tail.entries.len(), 2, "of half as many, and half of those, all fit");
    let head = log(&node, tail.last.0 - 7, 8).await;
    assert_eq!(indexes(&head), [tail.last.0 - 7, tail.last.0 - 6]);
    node.stop().await.unwrap();
}
