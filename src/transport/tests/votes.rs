//! Votes go over two connections, and are heard once.

use super::*;

#[tokio::test]
async fn a_vote_waits_for_the_control_lane_alone() {
    let a = Node::start(A);
    let _silent = silent_peer(&a).await;
    (1..=5_000).for_each(|term| a.transport.send(B, Envelope::new(SHARD_0, vote(term))));
    assert_eq!(a.transport.dropped(), 5_000 - options().control.messages_max as u64);
}

#[test]
fn a_vote_goes_over_both_lanes_while_the_first_is_open() {
    use Lane::{Append, Control};
    let lanes = |message: Message| [true, false].map(|has_control| Lane::open_to(&message.body, has_control));
    assert_eq!(lanes(vote(1)), [&[Control, Append][..], &[Control]]);
    assert_eq!(lanes(read(1)), [[Control]; 2]);
    assert_eq!(lanes(append(1, 1)), [[Append]; 2]);
}

#[tokio::test]
async fn a_vote_comes_once() {
    let (mut a, mut b) = (Node::start(A), Node::start(B));
    a.knows(&[&b]);
    a.connected(B).await;
    for term in 1..=20 {
        a.transport.send(B, Envelope::new(SHARD_0, vote(term)));
    }
    // Behind the votes on either lane.
    a.transport.send(B, Envelope::new(SHARD_0, read(1)));
    a.transport.send(B, Envelope::new(SHARD_0, append(1, 100)));
    let mut terms = Vec::new();
    let mut ends = 0;
    while ends < 2 {
        match b.next().await {
            Inbound::Message { from: A, envelope }
                if envelope == Envelope::new(SHARD_0, vote(envelope.message.term.0)) =>
            {
                terms.push(envelope.message.term.0);
            }
            Inbound::Message { .. } => ends += 1,
            other => panic!("{other:?}"),
        }
    }
    terms.sort_unstable();
    assert_eq!(terms, (1..=20).collect::<Vec<_>>());
}
