//! How long it takes from a proposal to its commit.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::ids::Index;
use crate::raft::{Event, RoleName};
use crate::replica::Told;

/// How many proposals are followed at once. One that comes when there are as many is not.
const PROPOSALS_MAX: usize = 1024;

/// What a leader has proposed, and when, until it is committed.
#[derive(Debug, Default)]
pub struct Commits {
    /// The last entry of each.
    proposals: VecDeque<(Index, Instant)>,
}

impl Commits {
    /// The replica tells something. Returns how long each proposal took that is committed by that: what was proposed together
    /// counts once.
    pub fn on_told(&mut self, told: &Told) -> Vec<Duration> {
        match told {
            Told::Raft(Event::Proposed { last, .. }) if self.proposals.len() < PROPOSALS_MAX => {
                self.proposals.push_back((last.index, Instant::now()));
            }
            Told::Raft(Event::Committed { index }) => return self.on_committed(*index),
            // Another leader decides what becomes of them.
            Told::Raft(Event::RoleChanged { role, .. }) if *role != RoleName::Leader => self.proposals.clear(),
            _ => {}
        }
        Vec::new()
    }

    fn on_committed(&mut self, index: Index) -> Vec<Duration> {
        if self.proposals.is_empty() {
            return Vec::new();
        }
        let committed = self.proposals.iter().take_while(|(last, _)| *last <= index).count();
        let now = Instant::now();
        self.proposals.drain(..committed).map(|(_, proposed)| now.duration_since(proposed)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{EntryId, Term};

    fn proposed(last: u64) -> Told {
        let id = EntryId::new(Term(1), Index(last));
        Told::Raft(Event::Proposed { first: id, last: id })
    }

    fn committed(index: u64) -> Told {
        Told::Raft(Event::Committed { index: Index(index) })
    }

    #[test]
    fn each_proposal_is_measured_once_and_none_beyond_its_leadership() {
        let mut commits = Commits::default();
        for last in 1..=3 {
            assert!(commits.on_told(&proposed(last)).is_empty());
        }
        assert_eq!(commits.on_told(&committed(2)).len(), 2);
        assert_eq!(commits.on_told(&committed(2)).len(), 0);
        let cause = "a later term was seen";
        commits.on_told(&Told::Raft(Event::RoleChanged { role: RoleName::Follower, term: Term(2), cause }));
        assert_eq!(commits.on_told(&committed(3)).len(), 0);
    }

    #[test]
    fn only_so_many_are_followed() {
        let mut commits = Commits::default();
        for last in 1..=2 * PROPOSALS_MAX as u64 {
            commits.on_told(&proposed(last));
        }
        assert_eq!(commits.on_told(&committed(u64::MAX)).len(), PROPOSALS_MAX);
    }
}
