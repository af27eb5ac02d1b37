//! What a node tells of its inside: what happened on it, and what is in its log.

use super::*;
use crate::ids::Index;
use crate::proto::internal::peer_client::PeerClient;
use crate::proto::internal::{EventsReply, EventsRequest, ReadLogRequest};
use crate::raft::Payload;
use crate::transport::LogPart;

/// A running cluster of so many nodes. The first one leads, also on a machine that is busy.
async fn start_cluster(directory: &Path, names: &[&str]) -> Vec<Running> {
    let patient = |mut config: NodeConfig| {
        set_timeouts(&mut config, Duration::from_secs(4));
        config
    };
    let mut nodes = vec![start_node(patient(config("a", directory, &[]))).await];
    eventually("the only node to lead", async || execute(&nodes[0], vec![list()]).await.ok()).await;
    for name in &names[1..] {
        nodes.push(start_node(patient(config(name, directory, &[&nodes[0]]))).await);
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

/// What `node` says of itself.
async fn status(node: &Running) -> v1::NodeStatus {
    let id = node.handle.node().to_string();
    let is_own = |status: &v1::NodeStatus| status.member.as_ref().is_some_and(|member| member.node_id == id);
    statuses(node).await.into_iter().find(is_own).expect("it is a member")
}

fn progress<'a>(leader: &'a v1::NodeStatus, of: &Running) -> &'a v1::Progress {
    let id = of.handle.node().to_string();
    leader.progress.iter().find(|progress| progress.node_id == id).expect("the leader tells of every other member")
}

fn millis(duration: Option<prost_types::Duration>) -> Option<u128> {
    duration.map(|duration| Duration::try_from(duration).expect("it is none below zero").as_millis())
}

#[tokio::test]
async fn a_node_tells_how_it_is() {
    let directory = TempDir::new().unwrap();
    let node = start_alone(directory.path()).await;
    execute(&node, vec![enqueue("q", "one")]).await.unwrap();
    eventually("a look at the disk", async || status(&node).await.storage).await;
    let told = status(&node).await;
    assert_eq!(told.voted_for_id, node.handle.node().to_string());
    assert_eq!((told.durable, told.commit), (told.last_index, told.last_index));
    assert_eq!((told.elections, told.leader_changes, told.progress.len()), (1, 1, 0));
    assert!(told.memory_bytes > 1 << 20, "{}", told.memory_bytes);
    assert!(millis(told.uptime).is_some_and(|uptime| uptime < 60_000), "{:?}", told.uptime);
    let syncs = told.fsync.unwrap();
    assert!(syncs.count >= 2 && syncs.p50.is_some() && syncs.p99.is_some(), "{syncs:?}");
    let commits = told.commit_latency.unwrap();
    assert!(commits.count >= 2 && millis(commits.p99).is_some(), "{:?}", told.commit_latency);
    assert!(told.commits_per_second > 0.0);
    let timeouts = told.timeouts.unwrap();
    assert!(millis(timeouts.heartbeat) < millis(timeouts.election_min), "{timeouts:?}");
    assert!(millis(timeouts.election_min) < millis(timeouts.election_max), "{timeouts:?}");
    let storage = told.storage.unwrap();
    assert!(storage.free_bytes > 0 && storage.free_bytes <= storage.total_bytes, "{storage:?}");
    let votes = async || {
        let conditions = status(&node).await.conditions;
        conditions.into_iter().find(|condition| condition.what == "votes" && condition.missing.is_empty())
    };
    eventually("it to be seen to vote", votes).await;
    node.stop().await.unwrap();
}

#[tokio::test]
async fn a_leader_tells_of_those_that_follow_and_nobody_else_does() {
    let directory = TempDir::new().unwrap();
    let mut nodes = start_cluster(directory.path(), &["a", "b", "c"]).await;
    let gone = nodes.pop().unwrap();
    let [leader, follower] = &nodes[..] else { panic!("two stay") };
    let has_all = async || {
        let status = status(leader).await;
        [follower, &gone].iter().all(|node| progress(&status, node).matched == status.last_index).then_some(status)
    };
    let well = eventually("both to have the whole log", has_all).await;
    for node in [follower, &gone] {
        let progress = progress(&well, node);
        assert!(progress.heartbeats_sent >= progress.heartbeats_heard && progress.heartbeats_heard > 0, "{progress:?}");
        assert!(millis(progress.round_trip).is_some_and(|millis| millis < 10_000), "{progress:?}");
        assert!(millis(progress.last_contact).is_some_and(|millis| millis < 10_000), "{progress:?}");
    }
    assert_eq!(status(follower).await.progress, []);
    let heard = |status: &v1::NodeStatus, node| progress(status, node).heartbeats_heard;
    eventually("more heartbeats", async || {
        (heard(&status(leader).await, follower) > heard(&well, follower)).then_some(())
    })
    .await;

    let gone_handle = gone.handle.clone();
    gone.stop().await.unwrap();
    execute(leader, vec![enqueue("q", "one")]).await.unwrap();
    let of_gone = async || {
        let id = gone_handle.node().to_string();
        status(leader).await.progress.into_iter().find(|progress| progress.node_id == id)
    };
    // What is seen is a moment old: what came just before the end is seen a little later.
    let is_silent = |now: &v1::Progress| millis(now.last_contact) > Some(300);
    let before = eventually("its silence", async || of_gone().await.filter(is_silent)).await;
    let (contact, heard) = (millis(before.last_contact).unwrap(), before.heartbeats_heard);
    let is_gone = |now: &v1::Progress| {
        now.messages_in_flight > 0 && now.bytes_in_flight > 0 && millis(now.last_contact) > Some(contact + 200)
    };
    let after = eventually("it to be missed", async || of_gone().await.filter(is_gone)).await;
    assert!(after.heartbeats_heard == heard && after.heartbeats_sent > heard, "{after:?}");
    for node in nodes {
        node.stop().await.unwrap();
    }
}

/// Whoever waits for a change of what the loop publishes is woken by changes, and not by heartbeats.
#[tokio::test]
async fn heartbeats_wake_nobody() {
    let directory = TempDir::new().unwrap();
    let nodes = start_cluster(directory.path(), &["a", "b"]).await;
    let leader = &nodes[0];
    let settled = async || {
        let status = status(leader).await;
        (progress(&status, &nodes[1]).matched == status.last_index && status.applied == status.last_index).then_some(())
    };
    eventually("nothing more to come", settled).await;
    let mut published = leader.handle.published();
    let mut leading = leader.handle.leading();
    let heard = || {
        leader.handle.seen(SHARD_0).map_or(0, |seen| seen.view.progress.values().map(|it| it.heartbeats_heard).sum())
    };
    let quiet = async || {
        published.borrow_and_update();
        leading.borrow_and_update();
        let (turns, before): (u64, u64) = (leader.handle.turns(), heard());
        eventually("ten more heartbeats", async || (heard() >= before + 10).then_some(())).await;
        assert!(leader.handle.turns() >= turns + 10, "the loop has turned");
        let has_woken = published.has_changed().unwrap() || leading.has_changed().unwrap();
        (!has_woken).then_some(())
    };
    eventually("ten heartbeats in which nothing is told", quiet).await;
    for node in nodes {
        node.stop().await.unwrap();
    }
}
