//! Snapshots are fetched, over real sockets.

use super::*;

#[tokio::test]
async fn a_snapshot_is_fetched_in_pieces_also_from_a_node_that_restarts_elsewhere() {
    let (a, mut b) = (Node::start(A), Node::start(B));
    assert!(matches!(a.fetch(B, 0, 16).await, Err(Error::UnknownAddress(B))));
    a.book.merge(b.book.all()).expect("saved");
    let (mut fetched, mut restarts) = (Vec::new(), 0);
    while (fetched.len() as u64) < SNAPSHOT_BYTES {
        let reply = a.fetch(B, fetched.len() as u64, u32::MAX).await.expect("answers");
        let transfer::Reply::Piece { bytes, crc, size } = reply else { panic!("{reply:?}") };
        assert_eq!((crc, size), (crc32c::crc32c(&bytes), SNAPSHOT_BYTES));
        assert!(bytes.len() <= transfer::PIECE_BYTES_MAX as usize);
        fetched.extend_from_slice(&bytes);
        if restarts < 2 {
            restarts += 1;
            b.kill();
            let lost = a.fetch(B, 0, 16).await.expect_err("B is gone");
            assert!(matches!(&lost, Error::NoAnswer { peer: B, .. }), "{lost}");
            b = Node::start_with(Identity { cluster: CLUSTER, node: B }, options(), 100, b.book.all());
            a.book.merge(b.book.all()).expect("saved");
        }
    }
    assert!(fetched.iter().enumerate().all(|(at, byte)| *byte == at as u8), "a byte is not that of its place");
    let asked = b.host.asked.lock().expect("no panic");
    assert!(asked.len() >= 3 && asked.iter().all(|(from, _)| *from == A), "{asked:?}");
}

#[tokio::test]
async fn who_is_not_let_in_gets_no_piece_and_is_told_why() {
    let (a, b) = (Node::start(A), Node::start(B));
    a.book.merge(b.book.all()).expect("saved");
    b.host.removed.lock().expect("no panic").insert(A, Index(41));
    assert!(matches!(a.fetch(B, 0, 16).await, Err(Error::RemovedBy { peer: B, index: Index(41) })));
    b.host.removed.lock().expect("no panic").clear();
    assert!(a.fetch(B, 0, 16).await.is_ok());

    let stranger = Identity { cluster: ClusterId(0xc2), node: C };
    let stranger = Node::start_with(stranger, options(), 100, Vec::new());
    stranger.book.merge(b.book.all()).expect("saved");
    let refused = stranger.fetch(B, 0, 16).await.expect_err("of another cluster");
    assert!(matches!(&refused, Error::Refused { peer: B, why } if why.contains("wrong cluster")), "{refused}");

    let moved = Contact { peer_address: a.address.clone(), version: 9, ..b.book.get(B).expect("known") };
    let c = Node::start(C);
    c.book.merge([moved]).expect("saved");
    let refused = c.fetch(B, 0, 16).await.expect_err("A is not B");
    assert!(matches!(&refused, Error::Refused { why, .. } if why.contains("wrong node")), "{refused}");
    assert_eq!(b.host.asked.lock().expect("no panic").len(), 1, "only the one that was let in");
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_refused_and_the_next_one_answered() {
    let (a, b) = (Node::start(A), Node::start(B));
    let good = snapshot_codec::encode_request(a.transport.0.context.identity, B, &file_piece(0, 16));
    assert!(b.fetched(good.clone()).await.is_ok());
    let indexes: Vec<u64> = (1..=transfer::INDEXES_MAX as u64 + 1).collect();
    let too_many = internal::BodiesPiece { indexes, skip: 0, skip_crc: None };
    let too_many = Some(internal::snapshot_request::Piece::Bodies(too_many));
    let last = Some(internal::EntryId { term: 1, index: 1 << 40 });
    for nonsense in [
        internal::SnapshotRequest { from: B.0, ..good.clone() },
        internal::SnapshotRequest { from: 0, ..good.clone() },
        internal::SnapshotRequest { bytes_max: 0, ..good.clone() },
        internal::SnapshotRequest { piece: None, ..good.clone() },
        internal::SnapshotRequest { last, piece: too_many, ..good.clone() },
    ] {
        let refused = b.fetched(nonsense.clone()).await.expect_err("refused");
        assert_eq!(refused.code(), Code::InvalidArgument, "{nonsense:?}: {refused}");
    }
    let large = internal::SnapshotRequest { cluster_id: vec![0; FRAME_BYTES_MAX].into(), ..good.clone() };
    assert_eq!(b.fetched(large).await.expect_err("refused").code(), Code::OutOfRange);
    assert_eq!(b.host.asked.lock().expect("no panic").len(), 1, "nothing of it came to the host");

    a.book.merge(b.book.all()).expect("saved");
    let piece = transfer::Piece::Bodies { indexes: vec![Index(3)], skip: 0, skip_crc: None };
    let unknown = transfer::Request { piece, ..file_piece(0, 16) };
    let refused = a.transport.fetch_snapshot(B, &unknown, PATIENCE).await.expect_err("there is no such entry");
    assert!(matches!(&refused, Error::Refused { why, .. } if why.contains("entry 3")), "{refused}");
    assert!(a.fetch(B, 0, 16).await.is_ok());
}

#[tokio::test]
async fn an_answer_that_does_not_come_ends_in_time_and_with_the_node() {
    let (a, mut b) = (Node::start(A), Node::start(B));
    a.book.merge(b.book.all()).expect("saved");
    let never = file_piece(SNAPSHOT_BYTES, 16);
    let late = a.transport.fetch_snapshot(B, &never, Duration::from_millis(100)).await.expect_err("no answer");
    assert!(matches!(&late, Error::NoAnswer { why, .. } if why.contains("100ms")), "{late}");

    let fetching = a.transport.clone();
    let fetch =
        a.runtime.as_ref().expect("alive").spawn(async move { fetching.fetch_snapshot(B, &never, PATIENCE).await });
    let started = Instant::now();
    while b.host.asked.lock().expect("no panic").len() < 2 {
        assert!(started.elapsed() < PATIENCE, "it is asked");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    b.transport.stop().await;
    drop(b.stop_serving.take());
    tokio::time::timeout(PATIENCE / 2, &mut b.served).await.expect("ends").expect("serves to the end");
    let stopped = fetch.await.expect("no panic").expect_err("the node stops");
    assert!(stopped.to_string().contains("the node stops"), "{stopped}");
}

/// Between the two stands somebody who sees when a connection ends.
#[tokio::test]
async fn a_connection_that_fetches_nothing_is_closed_and_made_again() {
    let options = Options { snapshot_idle: Duration::from_millis(200), ..options() };
    let a = Node::start_with(Identity { cluster: CLUSTER, node: A }, options, 100, Vec::new());
    let b = Node::start(B);
    let between = bound();
    let seen = Contact { peer_address: address_of(&between), version: 9, ..b.book.get(B).expect("known") };
    let between = between.listen(10).expect("bound");
    a.book.merge([seen]).expect("saved");
    for _ in 0..2 {
        let pass_on = async {
            let (mut from, _) = between.accept().await.expect("accepts");
            let mut to = TcpStream::connect(&b.address).await.expect("listening");
            let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
        };
        let fetch = async {
            for _ in 0..3 {
                assert!(a.fetch(B, 0, 16).await.is_ok());
            }
        };
        let both = futures_util::future::join(pass_on, fetch);
        tokio::time::timeout(PATIENCE, both).await.expect("one connection serves three requests, and ends");
    }
}

#[tokio::test]
async fn a_sender_keeps_to_its_rate_and_to_pieces_of_a_second() {
    let rate = 100_000;
    let options = Options { snapshot_rate: NonZeroU32::new(rate), ..options() };
    let a = Node::start(A);
    let b = Node::start_with(Identity { cluster: CLUSTER, node: B }, options, 100, Vec::new());
    a.book.merge(b.book.all()).expect("saved");
    let started = Instant::now();
    let fetches = (0..4).map(|at| a.fetch(B, at * 1000, 50_000));
    for reply in futures_util::future::join_all(fetches).await {
        assert!(matches!(&reply, Ok(transfer::Reply::Piece { bytes, .. }) if bytes.len() == 50_000), "{reply:?}");
    }
    // The first goes at once, each of the others half a second after the one before.
    assert!(started.elapsed() >= Duration::from_millis(1500), "it took {:?}", started.elapsed());
    let reply = a.fetch(B, 0, u32::MAX).await;
    assert!(matches!(&reply, Ok(transfer::Reply::Piece { bytes, .. }) if bytes.len() == rate as usize), "{reply:?}");
}
