//! How much of a snapshot is asked for at a time: what comes well within the time after which it would be asked for again.
//!
//! On a fast line that is as much as one answer may have. On one of 2 s round trip that loses a tenth of its packets, 10 KB come in
//! a second, and a piece of 1 MiB would be given up again and again without ever being there.

use std::time::Duration;

use crate::storage::transfer::PIECE_BYTES_MAX;

/// The size to begin with. It doubles with each answer: the largest one is reached within the first megabytes.
const FIRST: u32 = 32 << 10;

/// The smallest one: below it the packets around the bytes are most of what is sent.
const MIN: u32 = 4 << 10;

/// An answer that takes no longer than this part of the limit lets the next one be larger.
const QUICK: u32 = 8;

/// One that takes longer than this part of it makes the next one smaller.
const SLOW: u32 = 4;

/// The size of the next piece, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PieceSize(u32);

impl PieceSize {
    /// Nothing was asked for yet.
    pub(super) fn first() -> Self {
        Self(FIRST)
    }

    /// In bytes.
    pub(super) fn bytes(self) -> u32 {
        self.0
    }

    /// A piece for which `asked` bytes were asked came whole, after `took`; it would have been given up after `limit`. Others of its
    /// size that are on their way together count once.
    pub(super) fn on_whole(&mut self, asked: u32, took: Duration, limit: Duration) {
        if took > limit / SLOW {
            self.on_lost(asked);
        } else if took <= limit / QUICK {
            self.0 = self.0.max(asked.saturating_mul(2)).min(PIECE_BYTES_MAX);
        }
    }

    /// A piece for which `asked` bytes were asked did not come.
    pub(super) fn on_lost(&mut self, asked: u32) {
        self.0 = self.0.min(asked / 2).max(MIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// The sizes of pieces on a line with this round trip and so many bytes in a second, four at a time.
    fn sizes(round_trip: f64, bytes_per_second: f64, count: usize) -> Vec<u32> {
        let mut size = PieceSize::first();
        let ask = |size: &mut PieceSize| {
            let asked = size.bytes();
            let took = Duration::from_secs_f64(round_trip + 4.0 * f64::from(asked) / bytes_per_second);
            // All four have been asked for by the time that the first one comes.
            for _ in 0..4 {
                if took > LIMIT { size.on_lost(asked) } else { size.on_whole(asked, took, LIMIT) }
            }
            asked
        };
        (0..count).map(|_| ask(&mut size)).collect()
    }

    #[test]
    fn a_fast_line_gets_the_largest_soon_also_where_it_is_long() {
        let kibibytes = |sizes: Vec<u32>| sizes.into_iter().map(|bytes| bytes >> 10).collect::<Vec<_>>();
        assert_eq!(kibibytes(sizes(0.001, 1e9, 7)), [32, 64, 128, 256, 512, 1024, 1024]);
        assert_eq!(kibibytes(sizes(2.0, 1e8, 7)), [32, 64, 128, 256, 512, 1024, 1024]);
    }

    #[test]
    fn a_slow_line_gets_what_it_can_carry_in_time() {
        for (bytes_per_second, round_trip) in [(1e4, 2.0), (2e3, 2.0), (3e4, 0.1)] {
            let sizes = sizes(round_trip, bytes_per_second, 50);
            let late = sizes.iter().filter(|size| round_trip + 4.0 * f64::from(**size) / bytes_per_second > 30.0);
            assert!(late.count() <= 2, "{bytes_per_second}: {sizes:?}");
            assert!(sizes[10..].iter().all(|size| (MIN..=64 << 10).contains(size)), "{bytes_per_second}: {sizes:?}");
        }
    }

    #[test]
    fn pieces_that_are_lost_together_count_once() {
        let mut size = PieceSize(256 << 10);
        for _ in 0..4 {
            size.on_lost(256 << 10);
        }
        assert_eq!(size.bytes(), 128 << 10);
        for _ in 0..100 {
            let asked = size.bytes();
            size.on_lost(asked);
        }
        assert_eq!(size.bytes(), MIN);
    }
}
