//! What must hold after every step.

use std::collections::{BTreeMap, BTreeSet};

use quorate::cluster::founding::Proposal;
use quorate::ids::{ClusterId, NodeId};

use super::machine::Machine;
use crate::knobs::Micros;

#[derive(Default)]
pub struct Checks {
    /// The first entry of each cluster that anybody has begun.
    first: BTreeMap<ClusterId, Vec<NodeId>>,
    /// All clusters that anybody has ever belonged to.
    clusters: BTreeSet<ClusterId>,
    pub has_lost_a_disk: bool,
    /// When one of those that start a cluster lost its disk last.
    pub last_loss: Micros,
    /// So many of the machines, the first of them, may start a cluster.
    pub founders: usize,
    /// DNS may hide nodes from others.
    pub is_blind: bool,
}

impl Checks {
    /// `can_commit`: a majority of the cluster's voters have disks that are there and belong to it.
    ///
    /// # Panics
    /// A rule is broken.
    pub fn check(&mut self, machines: &[Machine], can_commit: impl Fn(ClusterId) -> bool) {
        let mut alive: BTreeMap<ClusterId, Vec<&str>> = BTreeMap::new();
        let mut new = Vec::new();
        for machine in machines.iter().filter(|machine| !machine.is_gone) {
            if let Some(first) = &machine.disk.first {
                self.check_first(machine, first);
            }
            if let Some(cluster) = machine.disk.cluster {
                if self.clusters.insert(cluster) {
                    new.push(cluster);
                }
                alive.entry(cluster).or_default().push(&machine.name);
            }
        }
        let commit = alive.keys().filter(|cluster| can_commit(**cluster)).count();
        assert!(commit <= 1, "two clusters have a majority: {alive:?}");
        // More than is asked for: those that start a cluster never belong to two, whether or not these have a majority.
        let of_founders: BTreeSet<_> =
            machines.iter().take(self.founders).filter_map(|machine| machine.disk.cluster).collect();
        assert!(of_founders.len() <= 1, "founders belong to two clusters: {alive:?}");
        new.into_iter().for_each(|cluster| self.check_new(machines, cluster));
        assert!(
            self.has_lost_a_disk || self.clusters.len() <= 1,
            "two clusters though no disk was lost: {:?}",
            self.clusters
        );
    }

    /// More than is asked for: no cluster is started beside another one that somebody belongs to, unless that was hidden; or that one
    /// was about to be let in when all founders had lost their disks.
    fn check_new(&self, machines: &[Machine], cluster: ClusterId) {
        let is_ignored = |machine: &&Machine| {
            let belongs = machine.disk.cluster.is_some_and(|other| other != cluster);
            belongs && !machine.is_old && machine.disk.written <= self.last_loss
        };
        let ignored = machines.iter().find(is_ignored).filter(|_| !self.is_blind);
        let ignored = ignored.map(|machine| &machine.name);
        assert!(ignored.is_none(), "cluster {cluster} was started although {ignored:?} belongs to another");
    }

    fn check_first(&mut self, machine: &Machine, first: &Proposal) {
        let founders: Vec<NodeId> = first.founders.iter().map(|founder| founder.node).collect();
        assert!(founders.contains(&machine.disk.node), "{} formed what it is no founder of: {first:?}", machine.name);
        let known = self.first.entry(first.cluster).or_insert_with(|| founders.clone());
        assert_eq!(*known, founders, "the first entries of cluster {} differ", first.cluster);
    }
}
