//! What a peer may do wrong, and what does not fit: it ends a connection at most, and nobody waits for it.

use super::*;

#[tokio::test]
async fn sending_never_waits_and_drops_for_a_peer_that_does_not_answer() {
    let a = Node::start(A);
    let silent = silent_peer(&a).await;
    let (_connection, _) = silent.accept().await.expect("dialed");
    let started = Instant::now();
    for number in 1..=10_000 {
        a.transport.send(B, Envelope::new(SHARD_0, read(number)));
        a.transport.send(B, Envelope::new(SHARD_0, accepted(number)));
        a.transport.send(C, Envelope::new(SHARD_0, append(number, 100)));
    }
    assert!(started.elapsed() < Duration::from_secs(5), "20,000 messages took {:?}", started.elapsed());
    let limits = options();
    assert_eq!(a.transport.dropped(), 20_000 - limits.control.messages_max as u64 - limits.append.messages_max as u64);
    let status = a.transport.status_of(B, Duration::from_millis(50)).await;
    assert!(matches!(status, Err(Error::NoAnswer { peer: B, .. })), "{status:?}");
}

/// A peer's machine restarts when it has taken the Hello: nothing is left to say that would be answered with a reset, but a ping.
#[tokio::test]
async fn a_peer_that_gives_no_welcome_is_pinged() {
    let a = Node::start(A);
    let silent = silent_peer(&a).await;
    let (mut lane, _) = silent.accept().await.expect("dialed");
    let (_other_lane, _) = silent.accept().await.expect("dialed");
    // The lane would end without a ping if it was given up for want of a Welcome.
    while frame_type(&mut lane).await != PING {}
    SockRef::from(&lane).set_linger(Some(Duration::ZERO)).expect("connected");
    drop(lane);
    let again = tokio::time::timeout(Duration::from_secs(5), silent.accept()).await;
    assert!(again.is_ok(), "the reset is noticed, and a new connection made");
}

/// What kind of frame HTTP/2 calls this (RFC 9113, section 6.7).
const PING: u8 = 6;

/// The type of the next frame that the caller sends, whose payload is skipped; the preface is not one.
async fn frame_type(lane: &mut TcpStream) -> u8 {
    let mut header = [0; 9];
    lane.read_exact(&mut header).await.expect("it goes on");
    if header.starts_with(b"PRI") {
        lane.read_exact(&mut [0; 15]).await.expect("it goes on");
        lane.read_exact(&mut header).await.expect("it goes on");
    }
    let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
    lane.read_exact(&mut vec![0; length]).await.expect("it goes on");
    header[3]
}

#[tokio::test]
async fn a_node_that_does_not_read_its_inbox_slows_its_peers_and_gets_all_that_was_taken() {
    let mut a = Node::start(A);
    let mut b = Node::start_with(Identity { cluster: CLUSTER, node: B }, options(), 1, Vec::new());
    a.knows(&[&b]);
    a.connected(B).await;
    // 64 MB: more than the queue and all that can be under way.
    for index in 1..=640 {
        a.transport.send(B, Envelope::new(SHARD_0, append(index, 100_000)));
    }
    let kept = 640 - a.transport.dropped();
    assert!((200..640).contains(&kept), "{kept} kept");
    let mut last = EntryId::default();
    for _ in 0..kept {
        let Inbound::Message { envelope: Envelope { message, .. }, .. } = b.next().await else {
            panic!("only messages come")
        };
        let Body::AppendEntries { entries, .. } = message.body else { panic!("only appends were sent") };
        assert!(entries[0].id > last, "{} comes after {last}", entries[0].id);
        last = entries[0].id;
    }
    assert_eq!(a.transport.dropped(), 640 - kept);
}

#[tokio::test]
async fn bytes_that_make_no_sense_end_only_their_connection() {
    let (mut a, mut b) = (Node::start(A), Node::start(B));
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let mut open = Vec::new();
    for number in 0..50 {
        let mut connection = TcpStream::connect(&a.address).await.expect("listening");
        let mut bytes = vec![0; random.random_range(0..2000)];
        random.fill_bytes(&mut bytes);
        if number % 2 == 0 {
            bytes.splice(0..0, *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        }
        // The node may close the connection before all is written.
        let _ = connection.write_all(&bytes).await;
        open.push(connection);
    }
    let silent = TcpStream::connect(&a.address).await.expect("listening");

    let late = a.refuses(Vec::new()).await;
    assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
    let batch = to_peer::Frame::Batch(internal::Batch { messages: vec![internal::RaftMessage::default()] });
    let no_hello = a.refuses(vec![batch.clone()]).await;
    assert_eq!(no_hello.code(), Code::InvalidArgument, "{no_hello}");
    for nonsense in [batch, to_peer::Frame::Hello(hello(C, A))] {
        let lane = a.call(vec![to_peer::Frame::Hello(hello(C, A)), nonsense]).await.expect("let in");
        let closed = closes(lane).await;
        assert_eq!(closed.code(), Code::InvalidArgument, "{closed}");
    }

    a.knows(&[&b]);
    b.knows(&[&a]);
    a.connected(B).await;
    b.connected(A).await;
    b.transport.send(A, Envelope::new(SHARD_0, heartbeat(1)));
    a.receives(B, heartbeat(1)).await;
    drop((open, silent));
}

#[tokio::test]
async fn a_frame_over_the_limit_closes_its_lane() {
    let a = Node::start(A);
    let large = codec::encode(&Envelope::new(SHARD_0, append(1, FRAME_BYTES_MAX)));
    let batch = to_peer::Frame::Batch(internal::Batch { messages: vec![large] });
    let lane = a.call(vec![to_peer::Frame::Hello(hello(B, A)), batch]).await.expect("let in");
    assert_eq!(closes(lane).await.code(), Code::OutOfRange);
}

#[tokio::test]
async fn a_message_over_the_limit_is_left_out_and_those_after_it_arrive() {
    let (mut a, mut b) = (Node::start(A), Node::start(B));
    a.knows(&[&b]);
    a.connected(B).await;
    a.transport.send(B, Envelope::new(SHARD_0, append(1, FRAME_BYTES_MAX)));
    a.transport.send(B, Envelope::new(SHARD_0, append(2, 5_000_000)));
    assert_eq!(b.next().await, Inbound::Message { from: A, envelope: Envelope::new(SHARD_0, append(2, 5_000_000)) });
}
