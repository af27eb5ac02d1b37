//! What must hold after every step.

use std::collections::{BTreeMap, BTreeSet};

use quorate::cluster::founding::Proposal;
use quorate::ids::{ClusterId, NodeId};

use super::machine::Machine;

#[derive(Default)]
pub struct Checks {
    /// The first entry of each cluster that anybody has begun.
    first: BTreeMap<ClusterId, Vec<NodeId>>,
    /// All clusters that anybody has ever belonged to.
    clusters: BTreeSet<ClusterId>,
    pub has_lost_a_disk: bool,
    /// One node starts the cluster.
    pub has_one_founder: bool,
    /// And DNS may hide the others from it.
    pub is_blind: bool,
}

impl Checks {
    /// `can_agree`: a majority of the cluster's voters have disks that are there.
    ///
    /// # Panics
    /// A rule is broken.
    pub fn check(&mut self, machines: &[Machine], can_agree: impl Fn(ClusterId) -> bool) {
        let mut alive: BTreeMap<ClusterId, Vec<&str>> = BTreeMap::new();
        for machine in machines {
            if let Some(first) = &machine.disk.first {
                self.check_first(machine, first);
            }
            if let Some(cluster) = machine.disk.cluster {
                self.clusters.insert(cluster);
                alive.entry(cluster).or_default().push(&machine.name);
            }
        }
        // More than is asked for: not even one disk may hold another cluster than the rest, whether or not they have a majority. But
        // a founder that is the only one takes its cluster along when it loses its disk, and what it sees of the others may be little.
        assert!(alive.len() <= 1 || self.has_one_founder, "two clusters live: {alive:?}");
        let agree = alive.keys().filter(|cluster| can_agree(**cluster)).count();
        assert!(agree <= 1 || self.is_blind, "two clusters have a majority: {alive:?}");
        assert!(
            self.has_lost_a_disk || self.clusters.len() <= 1,
            "two clusters though no disk was lost: {:?}",
            self.clusters
        );
    }

    fn check_first(&mut self, machine: &Machine, first: &Proposal) {
        let founders: Vec<NodeId> = first.founders.iter().map(|founder| founder.node).collect();
        assert!(founders.contains(&machine.disk.node), "{} formed what it is no founder of: {first:?}", machine.name);
        let known = self.first.entry(first.cluster).or_insert_with(|| founders.clone());
        assert_eq!(*known, founders, "the first entries of cluster {} differ", first.cluster);
    }
}
