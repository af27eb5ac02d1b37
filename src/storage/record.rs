//! What a frame is made of: an entry or a hard state of one shard, with a checksum of its own so that one entry can be read
//! back without the frame around it.

use bytes::Bytes;

use super::codec;
use crate::ids::{EntryId, Index, NodeId, ShardId, Term};
use crate::raft::{Entry, HardState};

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 33;

/// The kind of a record that holds a hard state. Kinds below it are those of entries, see [`codec`].
pub const HARD_STATE: u8 = 16;

/// What was read of a record of an entry, and checked.
#[derive(Debug)]
pub struct Body {
    /// The whole record.
    pub record: Bytes,
    /// The entry's name.
    pub id: EntryId,
    /// How to read the payload.
    pub kind: u8,
    /// The entry's payload.
    pub payload: Bytes,
}

/// A record whose checksum holds.
pub struct Record<'a> {
    /// Whose it is.
    pub shard: ShardId,
    /// The entry's name. In a hard state: the term, with index 0.
    pub id: EntryId,
    /// How to read the payload.
    pub kind: u8,
    /// An entry's payload, or the vote of a hard state: the node's id in 8 bytes, 0 for none.
    pub payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record at the start of `bytes`, and what comes after it.
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), &'static str> {
        let (header, rest) = bytes.split_at_checked(HEADER_BYTES).ok_or("a record is cut short")?;
        let length = u32_at(header, 4) as usize;
        let (payload, rest) = rest.split_at_checked(length).ok_or("a record is longer than its frame")?;
        if crc32c::crc32c(&bytes[4..HEADER_BYTES + length]) != u32_at(header, 0) {
            return Err("the checksum of a record is wrong");
        }
        let id = EntryId::new(Term(u64_at(header, 16)), Index(u64_at(header, 24)));
        Ok((Self { shard: ShardId(u64_at(header, 8)), id, kind: header[32], payload }, rest))
    }

    /// The record in `bytes`, which must be that of this entry.
    pub fn decode_of(bytes: &'a [u8], shard: ShardId, index: Index) -> Result<Self, String> {
        let (record, _) = Self::decode(bytes)?;
        if (record.shard, record.id.index) != (shard, index) {
            let Self { shard: found, id, .. } = record;
            return Err(format!("entry {} of shard {found} is where {index} of shard {shard} was", id.index));
        }
        Ok(record)
    }

    /// The hard state that the record holds.
    pub fn hard_state(&self) -> Result<HardState, &'static str> {
        let vote = <[u8; 8]>::try_from(self.payload).map_err(|_| "a hard state has the wrong length")?;
        let vote = Some(NodeId(u64::from_le_bytes(vote))).filter(|node| node.0 != 0);
        Ok(HardState { term: self.id.term, vote })
    }

    /// Appends the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let length =
            u32::try_from(self.payload.len()).expect("a payload is far smaller than 4 GiB: requests are limited");
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&self.shard.0.to_le_bytes());
        out.extend_from_slice(&self.id.term.0.to_le_bytes());
        out.extend_from_slice(&self.id.index.0.to_le_bytes());
        out.push(self.kind);
        out.extend_from_slice(self.payload);
        let crc = crc32c::crc32c(&out[start + 4..]);
        out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Appends the record of an entry.
pub fn encode_entry(shard: ShardId, entry: &Entry, out: &mut Vec<u8>) {
    let (kind, payload) = codec::encode_payload(&entry.payload);
    Record { shard, id: entry.id, kind, payload: &payload }.encode(out);
}

/// Appends the record of a hard state.
pub fn encode_hard_state(shard: ShardId, hard_state: HardState, out: &mut Vec<u8>) {
    let vote = hard_state.vote.map_or(0, |node| node.0).to_le_bytes();
    let id = EntryId::new(hard_state.term, Index(0));
    Record { shard, id, kind: HARD_STATE, payload: &vote }.encode(out);
}

/// The little-endian number at `offset`, which the caller has made sure of.
pub fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("the slice has 4 bytes"))
}

/// The little-endian number at `offset`, which the caller has made sure of.
pub fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("the slice has 8 bytes"))
}
