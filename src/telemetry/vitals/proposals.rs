//! What a leader has proposed, and when, until it is committed; and which entries count as committed since the node runs.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use crate::ids::{Index, ShardId};

/// How many proposals of a shard are followed at once. One that comes when there are as many is not.
const PROPOSALS_MAX: usize = 1024;

/// By shard.
#[derive(Debug, Default)]
pub(super) struct Proposals {
    shards: BTreeMap<ShardId, Shard>,
}

#[derive(Debug, Default)]
struct Shard {
    /// The last entry of each.
    open: VecDeque<(Index, Instant)>,
    /// What was committed when somebody first told.
    committed_before: Option<Index>,
}

impl Proposals {
    /// Entries up to `last` were proposed together.
    pub(super) fn on_proposed(&mut self, shard: ShardId, last: Index, now: Instant) {
        let open = &mut self.shards.entry(shard).or_default().open;
        if open.len() < PROPOSALS_MAX {
            open.push_back((last, now));
        }
    }

    /// Everything up to `index` is committed: `measure` gets when each proposal was made that is committed by that.
    pub(super) fn on_committed(&mut self, shard: ShardId, index: Index, mut measure: impl FnMut(Instant)) {
        let Shard { open, committed_before } = self.shards.entry(shard).or_default();
        committed_before.get_or_insert(index);
        while let Some((_, proposed)) = open.pop_front_if(|(last, _)| *last <= index) {
            measure(proposed);
        }
    }

    /// The entries from `first` to `last` are applied. Returns how many of them count: not those that were committed before anybody
    /// told. A commit index says less: with a snapshot it goes up by all that is in it.
    pub(super) fn on_applied(&mut self, shard: ShardId, first: Index, last: Index) -> u64 {
        let before = self.shards.get(&shard).and_then(|shard| shard.committed_before);
        before.map_or(0, |before| last.0.saturating_sub(before.0.max(first.0.saturating_sub(1))))
    }

    /// This node leads no more, or anew: what it proposed before is not its own to commit.
    pub(super) fn forget(&mut self, shard: ShardId) {
        if let Some(shard) = self.shards.get_mut(&shard) {
            shard.open.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SHARD_0;

    #[test]
    fn each_proposal_is_measured_once_and_entries_are_counted_from_the_first_commit_on() {
        let (mut proposals, now) = (Proposals::default(), Instant::now());
        let mut measured = 0;
        for last in [12, 15, 20] {
            proposals.on_proposed(SHARD_0, Index(last), now);
        }
        assert_eq!(proposals.on_applied(SHARD_0, Index(1), Index(9)), 0, "nobody has told of commits");
        proposals.on_committed(SHARD_0, Index(10), |_| measured += 1);
        assert_eq!(proposals.on_applied(SHARD_0, Index(2), Index(10)), 0, "they were there before");
        proposals.on_committed(SHARD_0, Index(15), |_| measured += 1);
        proposals.on_committed(SHARD_0, Index(15), |_| measured += 1);
        assert_eq!(proposals.on_applied(SHARD_0, Index(9), Index(15)), 5);
        assert_eq!(measured, 2);
        proposals.forget(SHARD_0);
        proposals.on_committed(SHARD_0, Index(20), |_| measured += 1);
        assert_eq!(proposals.on_applied(SHARD_0, Index(16), Index(20)), 5);
        assert_eq!(measured, 2);
    }

    #[test]
    fn only_so_many_are_followed() {
        let (mut proposals, now) = (Proposals::default(), Instant::now());
        for last in 1..=2 * PROPOSALS_MAX as u64 {
            proposals.on_proposed(SHARD_0, Index(last), now);
        }
        let mut measured = 0;
        proposals.on_committed(SHARD_0, Index(u64::MAX), |_| measured += 1);
        assert_eq!(measured, PROPOSALS_MAX);
    }
}
