//! The packets that are under way. PURE: time comes in with every call.

use std::collections::BTreeMap;
use std::time::Duration;

use super::model::{Fate, Journey, Model};
use super::packet::Packet;
use super::spec::Spec;
use super::summary::Summary;

/// Holds each packet until it is due.
pub struct Link {
    model: Model,
    /// In the order in which they leave; of two that are due at once the first that entered leaves first.
    under_way: BTreeMap<(Duration, u64), UnderWay>,
    /// Packets and copies that have entered.
    entered: u64,
    summary: Summary,
}

struct UnderWay {
    packet: Packet,
    entered_at: Duration,
    is_reordered: bool,
}

impl Link {
    /// A link on which nothing is under way.
    pub fn new(spec: Spec, seed: u64) -> Self {
        let summary = Summary::new(spec.limit);
        Self { model: Model::new(spec, seed), under_way: BTreeMap::new(), entered: 0, summary }
    }

    /// A packet, of one byte at least, is sent. It comes back if it does not arrive.
    pub fn enter(&mut self, now: Duration, packet: Packet) -> Option<Packet> {
        self.summary.packets += 1;
        self.summary.bytes += packet.bytes.len() as u64;
        let (fate, duplicate) = self.model.decide(packet.bytes.len(), self.under_way.len());
        if let Some(fate) = duplicate {
            self.summary.duplicated += 1;
            let _gone = self.follow(fate, now, packet.copy());
        }
        self.follow(fate, now, packet)
    }

    /// The next packet that is due; none: none is.
    pub fn leave(&mut self, now: Duration) -> Option<Packet> {
        let first = self.under_way.first_entry().filter(|first| first.key().0 <= now)?;
        let ((due, _), UnderWay { packet, entered_at, is_reordered }) = first.remove_entry();
        self.summary.lateness(now - due);
        if !is_reordered {
            self.summary.delay(now - entered_at);
        }
        Some(packet)
    }

    /// When the next packet is due; none: there is none.
    pub fn next_due(&self) -> Option<Duration> {
        self.under_way.first_key_value().map(|((due, _), _)| *due)
    }

    /// What has happened, and how many packets never got here.
    pub fn into_summary(mut self, missed: u64) -> Summary {
        self.summary.missed = missed;
        self.summary
    }

    fn follow(&mut self, fate: Fate, now: Duration, mut packet: Packet) -> Option<Packet> {
        let Journey { delay, reordered, flipped } = match fate {
            Fate::Lost => {
                self.summary.lost += 1;
                return Some(packet);
            }
            Fate::Dropped => {
                self.summary.dropped += 1;
                return Some(packet);
            }
            Fate::Arrives(journey) => journey,
        };
        self.summary.reordered += u64::from(reordered);
        if let Some(bit) = flipped {
            packet.flip(bit);
            self.summary.corrupted += 1;
        }
        self.entered += 1;
        let under_way = UnderWay { packet, entered_at: now, is_reordered: reordered };
        self.under_way.insert((now + delay, self.entered), under_way);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::tests::sample;
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn link(spec: &str) -> Link {
        Link::new(spec.parse().unwrap(), 1)
    }

    /// The numbers of the packets that leave until then; none: it is a copy.
    fn leave(link: &mut Link, now: Duration) -> Vec<Option<u32>> {
        std::iter::from_fn(|| link.leave(now)).map(|packet| packet.held_as).collect()
    }

    #[test]
    fn a_packet_leaves_when_it_is_due_and_in_its_turn() {
        let mut link = link("delay 10ms");
        for number in 0..3 {
            assert_eq!(link.enter(MS * (number / 2), Packet::new(number, sample())), None);
        }
        assert_eq!(link.next_due(), Some(MS * 10));
        assert!(leave(&mut link, MS * 9).is_empty());
        assert_eq!(leave(&mut link, MS * 10), [Some(0), Some(1)]);
        assert_eq!(leave(&mut link, MS * 12), [Some(2)]);
        assert_eq!(link.next_due(), None);
    }

    #[test]
    fn one_that_is_sent_at_once_overtakes() {
        let mut link = link("delay 10ms reorder 100% gap 3");
        for number in 0..3 {
            link.enter(MS * number, Packet::new(number, sample()));
        }
        assert_eq!(leave(&mut link, MS * 2), [Some(2)]);
        assert_eq!(leave(&mut link, MS * 20), [Some(0), Some(1)]);
        assert_eq!(link.summary.reordered, 1);
    }

    #[test]
    fn a_duplicate_leaves_as_a_copy() {
        let mut link = link("delay 10ms duplicate 100%");
        link.enter(MS, Packet::new(7, sample()));
        assert_eq!(leave(&mut link, MS * 11), [None, Some(7)]);
        assert_eq!((link.summary.packets, link.summary.duplicated), (1, 1));
    }

    #[test]
    fn what_does_not_arrive_comes_back() {
        let packet = Packet::new(7, sample());
        assert_eq!(link("loss 100%").enter(MS, packet.clone()), Some(packet.clone()));
        let mut full = link("delay 10ms limit 1");
        assert_eq!(full.enter(MS, packet.clone()), None);
        assert_eq!(full.enter(MS, packet.clone()), Some(packet));
        assert_eq!(full.summary.dropped, 1);
    }

    #[test]
    fn what_is_corrupted_differs_in_one_bit() {
        let mut link = link("corrupt 100% duplicate 100%");
        link.enter(MS, Packet::new(7, sample()));
        for packet in [link.leave(MS).unwrap(), link.leave(MS).unwrap()] {
            let flipped = packet.bytes.iter().zip(sample()).map(|(is, was)| (is ^ was).count_ones()).sum::<u32>();
            assert_eq!((flipped, packet.is_corrupted), (1, true));
        }
        assert_eq!(link.summary.corrupted, 2);
    }

    #[test]
    fn the_delay_is_measured_and_so_is_what_comes_too_late() {
        let mut link = link("delay 10ms");
        link.enter(MS, Packet::new(1, sample()));
        link.enter(MS * 3, Packet::new(2, sample()));
        leave(&mut link, MS * 13);
        let lines = link.into_summary(0).to_string();
        assert!(lines.contains("delay: 11.0 ms on average, from 10.0 to 12.0"), "{lines}");
        assert!(lines.contains("2.0 ms late at most"), "{lines}");
    }
}
