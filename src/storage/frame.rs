//! The unit of writing: one batch of records, whole or not there at all.

use super::record::{u32_at, u64_at};
use super::segment::Header;

/// Bytes before the records.
pub const HEADER_BYTES: usize = 32;

/// The most that one frame can hold, so that offsets fit 32 bits.
pub const BYTES_MAX: usize = 1 << 30;

/// So many bytes of what looks like later frames are checksummed.
const CHECKED_BYTES_MAX: usize = BYTES_MAX;

const MAGIC: [u8; 4] = *b"Qfr\xf7";

/// How far the log goes: what the next frame must say of the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The sequence number of the next frame. They count frames of the node from 1, without gaps.
    pub sequence: u64,
    /// The checksum of the last frame; 0 before the first.
    pub crc: u32,
}

impl Chain {
    /// Before the first frame of a node.
    pub const START: Self = Self { sequence: 1, crc: 0 };
}

/// A frame whose checksum holds.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Where it stands in the log.
    pub sequence: u64,
    /// What it says of the frame before.
    pub crc_before: u32,
    /// Its own checksum.
    pub crc: u32,
    /// The records.
    pub records: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame at the start of `bytes`, if one of this segment is there and whole.
    pub fn decode(bytes: &'a [u8], segment: &Header) -> Result<Self, &'static str> {
        let header = bytes.get(..HEADER_BYTES).ok_or("a frame header is cut short")?;
        if header[..4] != MAGIC {
            return Err("no frame begins here");
        }
        let end = HEADER_BYTES + u32_at(header, 8) as usize;
        let sealed = bytes.get(8..end).ok_or("the frame is longer than the segment")?;
        let crc = u32_at(header, 4);
        if crc32c::crc32c_append(segment.salt, sealed) != crc {
            return Err("the checksum of the frame is wrong");
        }
        if u64_at(header, 24) != segment.id {
            return Err("the frame belongs to another segment");
        }
        Ok(Self {
            sequence: u64_at(header, 16),
            crc_before: u32_at(header, 12),
            crc,
            records: &bytes[HEADER_BYTES..end],
        })
    }

    /// True when this is the frame that comes next.
    pub fn continues(&self, chain: Chain) -> bool {
        self.sequence == chain.sequence && self.crc_before == chain.crc
    }

    /// What the frame after this one must say.
    pub fn chain(&self) -> Chain {
        Chain { sequence: self.sequence + 1, crc: self.crc }
    }

    /// Its length in bytes, header included.
    pub fn size(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }
}

/// An empty frame to append records to, then to be sealed.
pub fn begin() -> Vec<u8> {
    vec![0; HEADER_BYTES]
}

/// Completes the header and returns what the next frame must say.
///
/// # Panics
/// The frame is larger than `BYTES_MAX`.
pub fn seal(frame: &mut [u8], segment: &Header, chain: Chain) -> Chain {
    assert!(frame.len() <= BYTES_MAX, "a frame of {} bytes is more than {BYTES_MAX}", frame.len());
    let length = (frame.len() - HEADER_BYTES) as u32;
    frame[..4].copy_from_slice(&MAGIC);
    frame[8..12].copy_from_slice(&length.to_le_bytes());
    frame[12..16].copy_from_slice(&chain.crc.to_le_bytes());
    frame[16..24].copy_from_slice(&chain.sequence.to_le_bytes());
    frame[24..32].copy_from_slice(&segment.id.to_le_bytes());
    let crc = crc32c::crc32c_append(segment.salt, &frame[8..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    Chain { sequence: chain.sequence + 1, crc }
}

/// The offset and sequence of the first good frame in `bytes` at or after `from` that comes later than `sequence`.
///
/// What a bad frame leaves behind can hold bodies that clients made to look like frames, and a checksum costs as much as the
/// frame is long: it is computed only where the header says what a later frame of this segment can say, and of no more than 1 GiB
/// altogether. Beyond that there is nothing but what somebody made to look like frames: a frame of ours is among the first ones.
pub fn find_later(bytes: &[u8], from: usize, segment: &Header, sequence: u64) -> Option<(usize, u64)> {
    // No more frames can lie before a place than headers fit there.
    let plausible = |found: u64, at: usize| found > sequence && found - sequence <= (at / HEADER_BYTES) as u64;
    let is_candidate = |at: &usize| {
        bytes[*at..].starts_with(&MAGIC)
            && bytes
                .get(*at..at + HEADER_BYTES)
                .is_some_and(|header| u64_at(header, 24) == segment.id && plausible(u64_at(header, 16), *at))
    };
    let mut checked = 0;
    let length = |at: &usize| u32_at(bytes, at + 8) as usize;
    let fits = |at: &usize| bytes.len() - at - HEADER_BYTES >= length(at);
    let candidates = (from..bytes.len()).filter(is_candidate).filter(fits);
    let mut candidates = candidates.take_while(|at| {
        checked += length(at);
        checked <= CHECKED_BYTES_MAX
    });
    candidates.find_map(|at| Some((at, Frame::decode(&bytes[at..], segment).ok()?.sequence)))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// 8 MiB of headers, each of a frame that goes half way to the end: terabytes, if all their checksums were computed.
    #[test]
    fn what_only_looks_like_a_frame_costs_no_checksum() {
        let segment = Header { id: 7, salt: 1, chain: Chain::START, recycled: false };
        let forged = |id: u64, sequence: u64| {
            let mut header = [MAGIC, [0; 4], (4_u32 << 20).to_le_bytes(), [0; 4]].concat();
            header.extend([sequence.to_le_bytes(), id.to_le_bytes()].concat());
            header
        };
        let begun = Instant::now();
        for header in [forged(8, 2), forged(7, 0), forged(7, 1), forged(7, u64::MAX)] {
            let mut bytes = header.repeat((8 << 20) / HEADER_BYTES);
            assert_eq!(find_later(&bytes, 1, &segment, 1), None);
            let mut frame = begin();
            frame.extend_from_slice(b"records");
            seal(&mut frame, &segment, Chain { sequence: 3, crc: 0 });
            let end = bytes.len();
            bytes.extend_from_slice(&frame);
            assert_eq!(find_later(&bytes, 1, &segment, 1), Some((end, 3)), "a good one behind them is found");
        }
        // Those that say what a later frame would say are given up at some time.
        assert_eq!(find_later(&forged(7, 2).repeat((8 << 20) / HEADER_BYTES), 1 << 20, &segment, 1), None);
        assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
    }
}
