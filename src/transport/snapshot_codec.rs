//! Pieces of snapshots as peers ask for them and send them. Like `codec`: what comes is checked before it is believed.

use super::codec::{Malformed, decode_id, decode_number, encode_id};
use super::{Identity, encode_cluster};
use crate::ids::{EntryId, Index, NodeId, ShardId};
use crate::proto::internal::{
    BodiesPiece, SnapshotGone, SnapshotPiece, SnapshotReply, SnapshotRequest, snapshot_reply, snapshot_request,
};
use crate::storage::transfer::{INDEXES_MAX, PIECE_BYTES_MAX, Piece, Reply, Request};

/// The request as a peer is asked.
pub(super) fn encode_request(own: Identity, to: NodeId, request: &Request) -> SnapshotRequest {
    let piece = match &request.piece {
        Piece::File { offset } => snapshot_request::Piece::Offset(*offset),
        Piece::Bodies { indexes, skip, skip_crc } => {
            let indexes = indexes.iter().map(|index| index.0).collect();
            snapshot_request::Piece::Bodies(BodiesPiece { indexes, skip: *skip, skip_crc: *skip_crc })
        }
    };
    SnapshotRequest {
        cluster_id: encode_cluster(own.cluster),
        from: own.node.0,
        to: to.0,
        shard: request.shard.0,
        last: Some(encode_id(request.last)),
        bytes_max: request.bytes_max,
        piece: Some(piece),
    }
}

/// What a peer asks for. Who it is and whom it means is checked before.
///
/// # Errors
/// It is not a request.
pub(super) fn decode_request(message: SnapshotRequest) -> Result<Request, Malformed> {
    let last = decode_entry("last", message.last)?;
    let piece = match message.piece.ok_or(Malformed::Missing("piece"))? {
        snapshot_request::Piece::Offset(offset) => Piece::File { offset: decode_number("offset", offset)? },
        snapshot_request::Piece::Bodies(bodies) => {
            let BodiesPiece { indexes, skip, skip_crc } = bodies;
            Piece::Bodies { indexes: decode_indexes(&indexes, last.index)?, skip, skip_crc }
        }
    };
    match message.bytes_max {
        0 => Err(Malformed::EmptyPiece),
        bytes_max => {
            Ok(Request { shard: ShardId(message.shard), last, bytes_max: bytes_max.min(PIECE_BYTES_MAX), piece })
        }
    }
}

/// The answer as it is sent.
pub(super) fn encode_reply(reply: &Reply) -> SnapshotReply {
    let result = match reply {
        Reply::Piece { bytes, crc, size } => {
            snapshot_reply::Result::Piece(SnapshotPiece { bytes: bytes.clone(), crc: *crc, size: *size })
        }
        Reply::Gone { instead } => snapshot_reply::Result::Gone(SnapshotGone { instead: instead.map(encode_id) }),
    };
    SnapshotReply { result: Some(result) }
}

/// What a peer answered. Whether the bytes are those that were asked for, their checksum tells the one who asked.
///
/// # Errors
/// It is not an answer.
pub(super) fn decode_reply(message: SnapshotReply) -> Result<Reply, Malformed> {
    match message.result.ok_or(Malformed::Missing("result"))? {
        snapshot_reply::Result::Piece(piece) if piece.bytes.is_empty() => Err(Malformed::EmptyPiece),
        snapshot_reply::Result::Piece(piece) => {
            Ok(Reply::Piece { bytes: piece.bytes, crc: piece.crc, size: decode_number("size", piece.size)? })
        }
        snapshot_reply::Result::Gone(gone) => {
            let instead = gone.instead.map(|instead| decode_entry("instead", Some(instead))).transpose()?;
            Ok(Reply::Gone { instead })
        }
    }
}

/// An entry, not the place before the first.
fn decode_entry(field: &'static str, id: Option<crate::proto::internal::EntryId>) -> Result<EntryId, Malformed> {
    match decode_id(field, id)? {
        id if id == EntryId::default() => Err(Malformed::NoEntry { field, id }),
        id => Ok(id),
    }
}

fn decode_indexes(indexes: &[u64], last: Index) -> Result<Vec<Index>, Malformed> {
    if !(1..=INDEXES_MAX).contains(&indexes.len()) {
        return Err(Malformed::IndexCount(indexes.len()));
    }
    let mut previous = 0;
    for index in indexes {
        if *index <= previous || *index > last.0 {
            return Err(Malformed::IndexOutOfOrder { index: *index, previous, last });
        }
        previous = *index;
    }
    Ok(indexes.iter().copied().map(Index).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::ids::{ClusterId, Term};

    const OWN: Identity = Identity { cluster: ClusterId(0xc1), node: NodeId(1) };

    fn request(bytes_max: u32, piece: Piece) -> Request {
        Request { shard: ShardId(3), last: EntryId::new(Term(2), Index(70)), bytes_max, piece }
    }

    fn bodies(indexes: &[u64], skip: u32, skip_crc: Option<u32>) -> Piece {
        Piece::Bodies { indexes: indexes.iter().copied().map(Index).collect(), skip, skip_crc }
    }

    #[test]
    fn requests_survive_the_way_there() {
        let all: Vec<u64> = (1..=70).collect();
        let files = [Piece::File { offset: 0 }, Piece::File { offset: 1 << 40 }];
        let bodies = [bodies(&[70], 5, None), bodies(&[70], 0, Some(0)), bodies(&all, u32::MAX, Some(u32::MAX))];
        for piece in files.into_iter().chain(bodies) {
            let sent = request(16, piece);
            let message = encode_request(OWN, NodeId(2), &sent);
            assert_eq!((message.from, message.to), (1, 2));
            assert_eq!(decode_request(message), Ok(sent));
        }
    }

    #[test]
    fn answers_survive_the_way_there() {
        let piece = Reply::Piece { bytes: b"piece".as_slice().into(), crc: 7, size: 9 };
        for reply in
            [piece, Reply::Gone { instead: None }, Reply::Gone { instead: Some(EntryId::new(Term(2), Index(3))) }]
        {
            assert_eq!(decode_reply(encode_reply(&reply)), Ok(reply));
        }
    }

    #[test]
    fn a_request_for_more_than_a_piece_gets_a_piece() {
        let message = encode_request(OWN, NodeId(2), &request(u32::MAX, Piece::File { offset: 0 }));
        assert_eq!(decode_request(message).map(|request| request.bytes_max), Ok(PIECE_BYTES_MAX));
    }

    #[test]
    fn what_no_node_asks_for_is_refused() {
        let refused = |change: &dyn Fn(&mut SnapshotRequest)| {
            let mut message = encode_request(OWN, NodeId(2), &request(16, bodies(&[1, 2], 0, None)));
            change(&mut message);
            decode_request(message).expect_err("refused")
        };
        let with_bodies = |indexes: Vec<u64>| {
            let piece = snapshot_request::Piece::Bodies(BodiesPiece { indexes, skip: 0, skip_crc: None });
            refused(&|message| message.piece = Some(piece.clone()))
        };
        assert_eq!(refused(&|message| message.last = None), Malformed::Missing("last"));
        assert_eq!(refused(&|message| message.piece = None), Malformed::Missing("piece"));
        assert_eq!(refused(&|message| message.bytes_max = 0), Malformed::EmptyPiece);
        let start = Some(encode_id(EntryId::default()));
        assert!(matches!(refused(&|message| message.last = start), Malformed::NoEntry { field: "last", .. }));
        let far = Some(snapshot_request::Piece::Offset(u64::MAX));
        assert!(matches!(refused(&|message| message.piece = far.clone()), Malformed::NumberTooLarge { .. }));
        assert_eq!(with_bodies(vec![]), Malformed::IndexCount(0));
        assert_eq!(with_bodies((1..=1025).collect()), Malformed::IndexCount(1025));
        for indexes in [vec![0, 1], vec![2, 1], vec![2, 2], vec![70, 71]] {
            assert!(matches!(with_bodies(indexes), Malformed::IndexOutOfOrder { .. }));
        }
    }

    #[test]
    fn what_no_node_answers_is_refused() {
        let piece = |bytes: &'static [u8], size| {
            let piece = SnapshotPiece { bytes: bytes.into(), crc: 0, size };
            decode_reply(SnapshotReply { result: Some(snapshot_reply::Result::Piece(piece)) })
        };
        assert_eq!(decode_reply(SnapshotReply { result: None }), Err(Malformed::Missing("result")));
        assert_eq!(piece(b"", 1), Err(Malformed::EmptyPiece));
        assert!(matches!(piece(b"a", u64::MAX), Err(Malformed::NumberTooLarge { .. })));
        let nothing = SnapshotGone { instead: Some(encode_id(EntryId::default())) };
        let nothing = decode_reply(SnapshotReply { result: Some(snapshot_reply::Result::Gone(nothing)) });
        assert!(matches!(nothing, Err(Malformed::NoEntry { field: "instead", .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_a_request_or_a_reason(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = SnapshotRequest::decode(&*bytes).map(decode_request);
            let _ = SnapshotReply::decode(&*bytes).map(decode_reply);
        }
    }
}
