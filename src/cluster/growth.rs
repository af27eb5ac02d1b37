//! A cluster that has grown to more than twice its founders: then all founders together are a minority. Should they lose their disks
//! while nobody else can be seen, that looks to them like a first start. The leader warns of it.

use std::time::Duration;

use crate::ids::SHARD_0;
use crate::node::Handle;

/// Between two looks of the leader at how many voters there are.
const PAUSE: Duration = Duration::from_secs(5);

/// So many members at most can a cluster have of which so many are founders.
pub fn members_max(founders: usize) -> usize {
    2 * founders
}

/// So many founders at least does a cluster need that has so many members.
pub fn founders_min(members: usize) -> usize {
    members.div_ceil(2)
}

/// Warns while this node leads a cluster that has too many voters for its `bootstrap.size`. Runs until it is dropped, or the node
/// has ended.
pub async fn watch_growth(handle: Handle, size: Option<u16>) {
    let Some(size) = size else { return };
    let mut leading = handle.leading();
    let mut growth = Growth::default();
    // Without a sender there is no node any more.
    while leading.wait_for(|leading| leading.contains_key(&SHARD_0)).await.is_ok() {
        let voters = handle.look(SHARD_0, |status| status.membership.configuration.voters.len()).unwrap_or_default();
        if let Some(warning) = growth.look(voters, size) {
            tracing::warn!("{warning}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// How many voters were warned of.
#[derive(Default)]
struct Growth(Option<usize>);

impl Growth {
    /// What is to be told, once for each number.
    fn look(&mut self, voters: usize, size: u16) -> Option<String> {
        let is_too_many = voters > members_max(size.into());
        let before = std::mem::replace(&mut self.0, is_too_many.then_some(voters));
        (is_too_many && before != self.0).then(|| {
            format!(
                "the cluster has {voters} voters and bootstrap.size is {size}: with more than twice as many, the loss of {size} disks \
                 could be taken for a first start; set bootstrap.size to {} at least, on all nodes",
                founders_min(voters)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_of_voters_beyond_the_bound_is_warned_of_once() {
        let mut growth = Growth::default();
        let told: Vec<usize> =
            [1, 2, 3, 3, 5, 5, 2, 3].into_iter().filter(|voters| growth.look(*voters, 1).is_some()).collect();
        assert_eq!(told, [3, 5, 3]);
        assert_eq!(Growth::default().look(6, 3), None);
        assert_eq!(
            Growth::default().look(7, 3).unwrap(),
            "the cluster has 7 voters and bootstrap.size is 3: with more than twice as many, the loss of 3 disks could be taken for a \
             first start; set bootstrap.size to 4 at least, on all nodes"
        );
    }
}
