//! What a peer is asked beside messages: how it is, what happened there, its log.

use super::*;

#[tokio::test]
async fn a_peer_tells_its_condition_also_after_a_restart() {
    let (a, mut b) = (Node::start(A), Node::start(B));
    assert!(matches!(a.transport.status_of(B, PATIENCE).await, Err(Error::UnknownAddress(B))));
    a.book.merge(b.book.all()).expect("saved");
    assert_eq!(a.transport.status_of(B, PATIENCE).await.expect("answers").term, 7);
    b.kill();
    let restarted = Node::start_with(Identity { cluster: CLUSTER, node: B }, options(), 100, b.book.all());
    a.book.merge(restarted.book.all()).expect("saved");
    assert_eq!(a.transport.status_of(B, PATIENCE).await.expect("answers").term, 7);

    let other = Node::start(C);
    let moved = Contact { peer_address: other.address.clone(), version: 9, ..a.book.get(B).expect("known") };
    a.book.merge([moved]).expect("saved");
    let error = a.transport.status_of(B, PATIENCE).await.expect_err("C is not B");
    assert!(error.to_string().contains(&C.to_string()), "{error}");
}

#[tokio::test]
async fn a_peer_tells_what_happened_and_shows_its_log() {
    let (mut a, b) = (Node::start(A), Node::start(B));
    a.knows(&[&b]);
    a.connected(B).await;
    let events = a.transport.events_of(B, 7, 41, 0, PATIENCE).await.expect("it answers");
    assert_eq!(
        (events.process, events.events[0].number, events.events[0].index),
        (7, 42, 1_000),
        "0 means as many as may be"
    );
    let events = a.transport.events_of(B, 7, 41, 5_000, PATIENCE).await.expect("it answers");
    assert_eq!(events.events[0].index, 1_000);
    let log = a.transport.log_of(B, SHARD_0, Index(3), 20, PATIENCE).await.expect("it answers");
    assert_eq!((log.first, log.entries.len(), log.entries[19].id.index), (Index(3), 20, Index(22)));
    let unreadable = a.transport.log_of(B, SHARD_0, Index(13), 20, PATIENCE).await;
    assert!(matches!(unreadable, Err(Error::NoAnswer { peer: B, .. })), "{unreadable:?}");
    assert!(a.transport.log_of(B, SHARD_0, Index(3), 20, PATIENCE).await.is_ok(), "the next question is answered");
}

#[tokio::test]
async fn questions_of_strangers_and_for_others_are_refused() {
    let a = Node::start(A);
    let mut client = PeerClient::connect(format!("http://{}", a.address)).await.expect("it listens");
    let ours = encode_cluster(CLUSTER);
    let events = |cluster_id, to: NodeId| internal::EventsRequest { cluster_id, to: to.0, ..Default::default() };
    let log = |cluster_id, to: NodeId| internal::ReadLogRequest { cluster_id, to: to.0, ..Default::default() };
    let stranger = encode_cluster(ClusterId(0xbad));
    for (cluster, to, why) in
        [(stranger, A, "wrong cluster"), (bytes::Bytes::new(), A, "wrong cluster"), (ours, B, "wrong node")]
    {
        let refused = client.events(events(cluster.clone(), to)).await.expect_err("it is refused");
        assert!(refused.code() == Code::FailedPrecondition && refused.message().starts_with(why), "{refused:?}");
        let refused = client.read_log(log(cluster, to)).await.expect_err("it is refused");
        assert!(refused.code() == Code::FailedPrecondition && refused.message().starts_with(why), "{refused:?}");
    }
}
