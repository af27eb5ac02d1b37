//! How many is enough: elections always need a majority, commits need the commit quorum.
//!
//! For every size n and both rules, an election quorum and a commit quorum share at least one voter, which is what the
//! safety of Raft rests on (paper, section 5.4.3). `half_plus_one` shares one more for odd n.

use std::collections::BTreeSet;

use crate::ids::NodeId;

/// How many voters must have an entry on disk before it is committed. Part of the replicated configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommitQuorum {
    /// floor(n / 2) + 1.
    #[default]
    Majority,
    /// min(n, ceil(n / 2) + 1): the same for even n, one more for odd n.
    HalfPlusOne,
}

impl CommitQuorum {
    /// The voters needed out of `voters`.
    pub fn size(self, voters: usize) -> usize {
        match self {
            CommitQuorum::Majority => majority(voters),
            CommitQuorum::HalfPlusOne => voters.min(voters.div_ceil(2) + 1),
        }
    }
}

/// floor(n / 2) + 1, the voters needed to elect a leader out of `voters`.
pub fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// True when enough of `voters` satisfy `yes`. No voters: nobody to ask, so true.
pub fn has_majority(voters: &BTreeSet<NodeId>, yes: impl Fn(NodeId) -> bool) -> bool {
    voters.is_empty() || voters.iter().filter(|voter| yes(**voter)).count() >= majority(voters.len())
}

/// The highest value that at least `quorum` of `voters` have reached, where `reached` tells what each has, such as the last
/// index on its disk. `None`: no voters.
pub fn reached_by<T: Ord + Copy>(voters: &BTreeSet<NodeId>, quorum: usize, reached: impl Fn(NodeId) -> T) -> Option<T> {
    let mut values: Vec<T> = voters.iter().map(|voter| reached(*voter)).collect();
    values.sort_unstable_by(|left, right| right.cmp(left));
    values.get(quorum.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Index;
    use proptest::prelude::*;

    /// The table of acknowledgements that the README prints.
    #[test]
    fn sizes_of_one_to_nine_voters() {
        let sizes = |rule: CommitQuorum| (1..=9).map(|n| rule.size(n)).collect::<Vec<_>>();
        assert_eq!(sizes(CommitQuorum::Majority), [1, 2, 2, 3, 3, 4, 4, 5, 5]);
        assert_eq!(sizes(CommitQuorum::HalfPlusOne), [1, 2, 3, 3, 4, 4, 5, 5, 6]);
    }

    /// Paper, section 5.4.3: whoever is elected has met whoever committed.
    #[test]
    fn every_election_meets_every_commit() {
        for n in 1..=99 {
            assert!(majority(n) + CommitQuorum::Majority.size(n) > n);
            assert!(majority(n) + CommitQuorum::HalfPlusOne.size(n) > n);
            assert!(CommitQuorum::HalfPlusOne.size(n) <= n);
            if n >= 2 {
                assert!(majority(n) + CommitQuorum::HalfPlusOne.size(n) >= n + 2);
            }
        }
    }

    /// The naive twin: try every index and count.
    fn reached_by_counting(voters: &BTreeSet<NodeId>, quorum: usize, matched: &[u64]) -> Option<Index> {
        let has = |index: u64| voters.iter().filter(|voter| matched[voter.0 as usize] >= index).count();
        (0..=20).rev().find(|index| has(*index) >= quorum).map(Index)
    }

    proptest! {
        #[test]
        fn reached_by_agrees_with_counting(
            matched in prop::collection::vec(0u64..20, 9),
            voters in prop::collection::btree_set((0u64..9).prop_map(NodeId), 1..9),
            half_plus_one: bool,
        ) {
            let rule = if half_plus_one { CommitQuorum::HalfPlusOne } else { CommitQuorum::Majority };
            let quorum = rule.size(voters.len());
            let index = reached_by(&voters, quorum, |voter| Index(matched[voter.0 as usize]));
            prop_assert_eq!(index, reached_by_counting(&voters, quorum, &matched));
        }

        #[test]
        fn has_majority_agrees_with_counting(
            voters in prop::collection::btree_set((0u64..9).prop_map(NodeId), 1..9),
            yes in prop::collection::vec(any::<bool>(), 9),
        ) {
            let granted = voters.iter().filter(|voter| yes[voter.0 as usize]).count();
            let won = has_majority(&voters, |voter| yes[voter.0 as usize]);
            prop_assert_eq!(won, granted * 2 > voters.len());
        }
    }
}
