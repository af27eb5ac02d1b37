//! A packet on its way, from its IP header on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The shortest header of IPv4, and the header of IPv6.
const HEADER_V4: usize = 20;
const HEADER_V6: usize = 40;

/// A packet that the kernel holds, or a copy of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Under which number the kernel holds it; none: it is a copy, of which the kernel knows nothing.
    pub held_as: Option<u32>,
    /// All of it.
    pub bytes: Vec<u8>,
    /// Whether it is not what was sent.
    pub is_corrupted: bool,
}

impl Packet {
    /// One that was just taken from the kernel.
    pub fn new(held_as: u32, bytes: Vec<u8>) -> Self {
        Self { held_as: Some(held_as), bytes, is_corrupted: false }
    }

    /// Another one like it.
    pub fn copy(&self) -> Self {
        Self { held_as: None, ..self.clone() }
    }

    /// Flips a bit.
    pub fn flip(&mut self, bit: usize) {
        self.bytes[bit / 8] ^= 1 << (bit % 8);
        self.is_corrupted = true;
    }

    /// Whether the header of IPv4 is not as its checksum says. The kernel gives packets to the relay after it has looked at that,
    /// so the relay does in its place what it would have done with one that was flipped there: it drops the packet. IPv6 has
    /// no such checksum; what of its header a checksum of TCP or UDP does not cover can change in silence.
    pub fn has_broken_header(&self) -> bool {
        match self.bytes.first().map(|first| first >> 4) {
            Some(4) => !is_sound(&self.bytes),
            Some(6) => self.bytes.len() < HEADER_V6,
            _ => true,
        }
    }

    /// Where it goes; none: that cannot be read.
    pub fn destination(&self) -> Option<IpAddr> {
        match self.bytes.first()? >> 4 {
            4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(self.bytes.get(16..20)?).ok()?).into()),
            6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(self.bytes.get(24..40)?).ok()?).into()),
            _ => None,
        }
    }
}

/// Whether the ones' complement sum over the header of IPv4, with its checksum, is -0 (RFC 1071).
fn is_sound(bytes: &[u8]) -> bool {
    let length = usize::from(bytes[0] & 15) * 4;
    if length < HEADER_V4 || bytes.len() < length {
        return false;
    }
    let words = bytes[..length].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    (sum & 0xffff) + (sum >> 16) == 0xffff
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Eight bytes of an unknown protocol from 127.0.0.1 to 127.0.0.2, under a header of RFC 791.
    pub fn sample() -> Vec<u8> {
        let header = [0x45, 0, 0, 28, 0, 1, 0x40, 0, 64, 253, 0x3b, 0xe1, 127, 0, 0, 1, 127, 0, 0, 2];
        [header.as_slice(), b"eight by"].concat()
    }

    #[test]
    fn one_flipped_bit_of_the_header_is_always_noticed() {
        let packet = Packet::new(1, sample());
        assert!(!packet.has_broken_header());
        for bit in 0..packet.bytes.len() * 8 {
            let mut flipped = packet.clone();
            flipped.flip(bit);
            assert!(flipped.is_corrupted);
            assert_eq!(flipped.has_broken_header(), bit < HEADER_V4 * 8, "bit {bit}");
            flipped.flip(bit);
            assert_eq!(flipped.bytes, packet.bytes);
        }
        assert!(Packet::new(1, Vec::new()).has_broken_header());
    }

    #[test]
    fn the_destination_is_read_from_either_header() {
        let packet = Packet::new(1, sample());
        assert_eq!(packet.copy().destination(), Some("127.0.0.2".parse().unwrap()));
        let mut v6 = vec![0; 40];
        (v6[0], v6[39]) = (0x60, 1);
        assert_eq!(Packet::new(1, v6).destination(), Some("::1".parse().unwrap()));
        assert_eq!(Packet::new(1, vec![0x60; 39]).destination(), None);
        assert_eq!(Packet::new(1, vec![0x10; 39]).destination(), None);
    }
}
