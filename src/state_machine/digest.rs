//! What `StateMachine::digest` is made with: the same on every machine and in every build, whatever the collections look like
//! inside.

use std::hash::{Hash, Hasher};

/// Hashes the items of a collection and how many there are. `imbl` does not hash the number, so that what stands at the end of
/// one collection could as well stand at the beginning of the next.
pub(super) fn hash_sequence<H: Hasher>(items: impl ExactSizeIterator<Item: Hash>, hasher: &mut H) {
    hasher.write_usize(items.len());
    items.for_each(|item| item.hash(hasher));
}

/// FNV-1a with 64 bits. The standard library's hashers are free to change and differ between machines; here every number goes
/// in as 8 little-endian bytes, whatever the machine.
pub(super) struct Fnv(u64);

impl Fnv {
    pub(super) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.write(&number.to_le_bytes());
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }
}
