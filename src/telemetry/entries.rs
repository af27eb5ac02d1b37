//! The entries of followed requests: what is still to come of each.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use opentelemetry::trace::SpanContext;

use super::Moment;
use super::sync::Sync;
use crate::ids::{Index, NodeId, ShardId};
use crate::replica::RequestId;

/// How many entries are followed at once. The oldest goes when another comes: what was under way to peers has failed then, and the
/// rest of what was to come of it is missing.
pub(super) const ENTRIES_MAX: usize = 1024;

/// Where an entry is.
pub(super) type Place = (ShardId, Index);

/// By their places.
#[derive(Debug, Default)]
pub(super) struct Entries {
    all: BTreeMap<Place, Entry>,
    /// Those with a span. They may be few or none: what concerns them alone does not look at all the others.
    traced: BTreeSet<Place>,
}

/// The entry of a request.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) request: RequestId,
    pub(super) span: Option<SpanContext>,
    pub(super) placed_at: Moment,
    pub(super) committed_at: Option<Moment>,
    pub(super) is_appended: bool,
    pub(super) is_applied: bool,
    pub(super) is_answered: bool,
    /// The sync of this node's log that has carried it.
    pub(super) sync: Option<Sync>,
    /// To whom it was sent, and who has not acknowledged it.
    pub(super) sent: Vec<Sent>,
}

/// An entry on its way to a peer.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) to: NodeId,
    pub(super) at: Moment,
    /// The span `replicated`, if the request is traced. It is under way, so that the peer's append can belong to it.
    pub(super) span: Option<SpanContext>,
}

impl Entries {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// None that is traced is followed.
    pub(super) fn has_none_traced(&self) -> bool {
        self.traced.is_empty()
    }

    /// Another entry, in the place of what was there. Returns what is followed no longer.
    pub(super) fn add(&mut self, place: Place, entry: Entry) -> impl Iterator<Item = Entry> + use<> {
        self.traced.remove(&place);
        if entry.span.is_some() {
            self.traced.insert(place);
        }
        let replaced = self.all.insert(place, entry);
        let oldest = if self.all.len() > ENTRIES_MAX { self.all.pop_first() } else { None };
        let oldest = oldest.map(|(place, entry)| {
            self.traced.remove(&place);
            entry
        });
        replaced.into_iter().chain(oldest)
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Entry> {
        self.all.get_mut(&place)
    }

    pub(super) fn range_mut(&mut self, places: RangeInclusive<Place>) -> impl Iterator<Item = (Place, &mut Entry)> {
        self.all.range_mut(places).map(|(place, entry)| (*place, entry))
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.all.values_mut()
    }

    /// Those that are traced.
    pub(super) fn traced(&self, places: RangeInclusive<Place>) -> impl Iterator<Item = &Entry> {
        self.traced.range(places).filter_map(|place| self.all.get(place))
    }

    /// Those that are traced, with their places.
    pub(super) fn traced_mut(&mut self, places: RangeInclusive<Place>) -> impl Iterator<Item = (Place, &mut Entry)> {
        let mut traced = self.traced.range(places);
        let span = traced.next().map(|first| *first..=*traced.next_back().unwrap_or(first));
        let entries = span.map(|span| self.range_mut(span)).into_iter().flatten();
        entries.filter(|(_, entry)| entry.span.is_some())
    }

    /// All of a shard, which are followed no longer.
    pub(super) fn take(&mut self, shard: ShardId) -> impl Iterator<Item = Entry> {
        self.traced.retain(|(of, _)| *of != shard);
        self.all.extract_if((shard, Index(0))..=(shard, Index(u64::MAX)), |_, _| true).map(|(_, entry)| entry)
    }

    /// Those of which nothing more is to come are followed no longer.
    pub(super) fn forget_done(&mut self) {
        self.all.retain(|_, entry| !entry.is_done());
        self.traced.retain(|place| self.all.contains_key(place));
    }

    /// The same for one of them.
    pub(super) fn forget_if_done(&mut self, place: Place) {
        if self.all.get(&place).is_some_and(Entry::is_done) {
            self.all.remove(&place);
            self.traced.remove(&place);
        }
    }
}

impl Entry {
    pub(super) fn new(request: RequestId, span: Option<SpanContext>, placed_at: Moment) -> Self {
        Self {
            request,
            span,
            placed_at,
            committed_at: None,
            is_appended: false,
            is_applied: false,
            is_answered: false,
            sync: None,
            sent: Vec::new(),
        }
    }

    /// Nothing more is to come.
    fn is_done(&self) -> bool {
        self.is_answered && self.is_appended && self.sent.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    /// Whatever happens to entries, the traced ones are those with a span.
    #[test]
    fn the_traced_ones_are_those_with_a_span() {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let mut entries = Entries::default();
        let all = (ShardId(0), Index(0))..=(ShardId(9), Index(u64::MAX));
        for step in 0..20_000 {
            let place = (ShardId(random.random_range(0..2)), Index(random.random_range(0..2_000)));
            match random.random_range(0..20) {
                0 => entries.take(place.0).for_each(drop),
                1 => entries.forget_done(),
                2 | 3 => {
                    let end = entries.get_mut(place).map(|entry| (entry.is_appended, entry.is_answered) = (true, true));
                    entries.forget_if_done(place);
                    assert!(end.is_none() || entries.get_mut(place).is_none());
                }
                _ => {
                    let span = random.random_bool(0.1).then_some(SpanContext::NONE);
                    entries.add(place, Entry::new(RequestId(step), span, Moment::now())).for_each(drop);
                }
            }
            assert!(entries.len() <= ENTRIES_MAX);
            let to = (place.0, Index(place.1.0 + 500));
            for range in [all.clone(), place..=to] {
                let spans =
                    |(place, entry): (Place, &mut Entry)| entry.span.is_some().then_some((place, entry.request));
                let expected: Vec<_> = entries.range_mut(range.clone()).filter_map(spans).collect();
                let traced: Vec<_> = entries.traced(range.clone()).map(|entry| entry.request).collect();
                let with_places: Vec<_> = entries.traced_mut(range).filter_map(spans).collect();
                assert_eq!(with_places, expected);
                assert!(traced.iter().eq(expected.iter().map(|(_, request)| request)));
            }
        }
    }
}
