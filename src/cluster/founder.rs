//! This node as one that may help to start a cluster: what it has promised, on its disk. Shared by the one who looks for a cluster
//! and those who answer other nodes; one decision at a time, and each is durable before anybody learns of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use super::founding::{self, Own, Promised, Proposal, Standing};
use crate::ids::{ClusterId, Contact};
use crate::raft::CommitQuorum;
use crate::storage::{self, DataDirectory, FoundingRecord};

/// A handle; clones share the node.
#[derive(Clone)]
pub struct Founder(Arc<Inner>);

struct Inner {
    /// Gone once the node has stopped.
    directory: Weak<DataDirectory>,
    node: Contact,
    size: Option<u16>,
    commit_quorum: CommitQuorum,
    /// Held from a decision until it is durable, so that nobody takes it who must not wait for a disk. True once the node has decided to form what it has promised.
    forms: Mutex<bool>,
    stirred: Notify,
}

/// Why a promise was not made.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The rules say no.
    #[error("{0}")]
    Rule(String),
    /// The disk refused.
    #[error("{0}")]
    Storage(#[from] storage::Error),
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
}

impl Founder {
    /// The node whose directory this is; `begun`: its log is the beginning of the cluster that it has promised.
    pub fn new(
        directory: Weak<DataDirectory>,
        node: Contact,
        size: Option<u16>,
        commit_quorum: CommitQuorum,
        begun: bool,
    ) -> Self {
        let (forms, stirred) = (Mutex::new(begun), Notify::new());
        Self(Arc::new(Inner { directory, node, size, commit_quorum, forms, stirred }))
    }

    /// What the node says of itself. Never waits for the disk.
    ///
    /// # Errors
    /// The node has stopped.
    pub fn standing(&self) -> Result<Standing, Refused> {
        Ok(self.own()?.standing)
    }

    /// What the node knows when it decides. Never waits for the disk.
    ///
    /// # Errors
    /// The node has stopped.
    pub fn own(&self) -> Result<Own, Refused> {
        Ok(self.own_in(&*self.directory()?))
    }

    /// Promises, durably, if the rules allow it. Blocks for a write to the disk.
    ///
    /// # Errors
    /// Why not.
    pub fn promise(&self, proposal: &Proposal) -> Result<(), Refused> {
        let directory = self.directory()?;
        let forms = self.forms();
        let before = directory.founding();
        if *forms && before.promise.as_ref() != Some(proposal) {
            return Err(Refused::Rule("it starts another cluster at this moment".to_owned()));
        }
        let Promised { promise, lost } =
            founding::promise(&self.own_in(&directory), proposal).map_err(Refused::Rule)?;
        directory.set_founding(FoundingRecord { promise: Some(promise), lost, ..before })?;
        drop(forms);
        self.0.stirred.notify_one();
        Ok(())
    }

    /// Says durably that the node applies to a cluster, and promises nothing from here on. False: it has promised something since
    /// it had promised `expected`, when that was decided; it is to look again. Blocks for a write to the disk.
    ///
    /// # Errors
    /// The disk refused, or the node has stopped.
    pub fn apply(&self, cluster: ClusterId, expected: Option<&Proposal>) -> Result<bool, Refused> {
        let directory = self.directory()?;
        let _forms = self.forms();
        let before = directory.founding();
        if before.applies.is_none() && before.promise.as_ref() != expected {
            return Ok(false);
        }
        directory.set_founding(FoundingRecord { applies: Some(cluster), ..before })?;
        Ok(true)
    }

    /// Says durably that the node was started with somebody to ask. Blocks for a write to the disk.
    ///
    /// # Errors
    /// The disk refused, or the node has stopped.
    pub fn asks(&self) -> Result<(), Refused> {
        let directory = self.directory()?;
        let _forms = self.forms();
        Ok(directory.set_founding(FoundingRecord { asks: true, ..directory.founding() })?)
    }

    /// Decides to form a cluster that all its founders have promised, and promises no other from here on. False as for `apply`.
    /// Blocks for a write to the disk.
    ///
    /// # Errors
    /// The disk refused, or the node has stopped.
    pub fn decide_to_form(&self, proposal: &Proposal, expected: Option<&Proposal>) -> Result<bool, Refused> {
        let directory = self.directory()?;
        let mut forms = self.forms();
        let before = directory.founding();
        if before.applies.is_some() || before.promise.as_ref() != expected {
            return Ok(false);
        }
        directory.set_founding(FoundingRecord { promise: Some(proposal.clone()), ..before })?;
        *forms = true;
        Ok(true)
    }

    /// Waits until the node has promised something: then somebody is about to form it.
    pub async fn stirred(&self) {
        self.0.stirred.notified().await;
    }

    fn own_in(&self, directory: &DataDirectory) -> Own {
        let FoundingRecord { applies, former, promise, lost, .. } = directory.founding();
        let Inner { node, size, commit_quorum, .. } = &*self.0;
        let (cluster, applies) = (directory.identity().cluster, applies.is_some());
        let standing = Standing { node: node.clone(), cluster, applies, former, size: *size, promise };
        Own { standing, lost, commit_quorum: *commit_quorum }
    }

    fn directory(&self) -> Result<Arc<DataDirectory>, Refused> {
        self.0.directory.upgrade().ok_or(Refused::Stopped)
    }

    /// The flag says no more than it did before a panic.
    fn forms(&self) -> MutexGuard<'_, bool> {
        self.0.forms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;
    use crate::storage::MemoryDisk;

    fn contact(node: NodeId, name: &str) -> Contact {
        let (client_address, peer_address) = ("a:7400".to_owned(), "a:7401".to_owned());
        Contact { node, name: name.to_owned(), client_address, peer_address, version: 1 }
    }

    fn open(path: &std::path::Path) -> (Arc<DataDirectory>, Founder) {
        let directory = Arc::new(DataDirectory::open(path).unwrap());
        let node = contact(directory.identity().node, "q-1");
        let founder = Founder::new(Arc::downgrade(&directory), node, Some(2), CommitQuorum::Majority, false);
        (directory, founder)
    }

    fn proposal(founder: &Founder, cluster: u128, attempt: u64) -> Proposal {
        let proposer = NodeId(1);
        let founders = vec![contact(proposer, "q-0"), founder.standing().unwrap().node];
        let commit_quorum = CommitQuorum::Majority;
        Proposal { cluster: ClusterId(cluster), proposer, attempt, founders, commit_quorum }
    }

    /// Other nodes ask on threads that serve everybody.
    #[test]
    fn it_says_who_it_is_while_a_promise_is_written() {
        let (above, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
        let directory = Arc::new(DataDirectory::open_on(above.path(), Arc::new(disk.clone())).unwrap());
        let node = contact(directory.identity().node, "q-1");
        let founder = Founder::new(Arc::downgrade(&directory), node, Some(2), CommitQuorum::Majority, false);
        let (promised, hung) = (proposal(&founder, 7, 1), disk.hang());
        let promising = std::thread::spawn({
            let (founder, promised) = (founder.clone(), promised.clone());
            move || founder.promise(&promised).unwrap()
        });
        while !hung.is_waited_for() {
            std::thread::yield_now();
        }
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn({
            let founder = founder.clone();
            move || tell.send(founder.standing().unwrap().promise)
        });
        assert_eq!(told.recv_timeout(std::time::Duration::from_secs(10)), Ok(None), "what is not durable is not told");
        drop(hung);
        promising.join().unwrap();
        assert_eq!(founder.standing().unwrap().promise, Some(promised));
    }

    #[test]
    fn a_promise_outlives_the_process() {
        let above = tempfile::tempdir().unwrap();
        let (directory, founder) = open(above.path());
        let promised = proposal(&founder, 7, 2);
        founder.promise(&promised).unwrap();
        drop(directory);
        let (_directory, founder) = open(above.path());
        assert_eq!(founder.standing().unwrap().promise.as_ref(), Some(&promised));
        let refused = founder.promise(&proposal(&founder, 8, 1)).unwrap_err();
        assert!(matches!(refused, Refused::Rule(_)), "{refused}");
    }

    /// Between the decision and its end nobody gets another promise, and a decision that was overtaken is none.
    #[test]
    fn who_forms_or_applies_promises_nothing_else() {
        let above = tempfile::tempdir().unwrap();
        let (_directory, founder) = open(above.path());
        let (first, second, third) = (proposal(&founder, 7, 1), proposal(&founder, 8, 2), proposal(&founder, 9, 3));
        founder.promise(&first).unwrap();
        founder.promise(&second).unwrap();
        assert!(!founder.decide_to_form(&first, Some(&first)).unwrap(), "overtaken");
        assert!(!founder.apply(ClusterId(6), Some(&first)).unwrap(), "overtaken");
        assert!(founder.decide_to_form(&second, Some(&second)).unwrap());
        assert!(founder.promise(&third).is_err());
        founder.promise(&second).unwrap();
        drop(founder);

        let above = tempfile::tempdir().unwrap();
        let (_directory, founder) = open(above.path());
        assert!(founder.apply(ClusterId(6), None).unwrap());
        assert!(founder.promise(&proposal(&founder, 7, 1)).is_err());
        assert!(!founder.decide_to_form(&first, None).unwrap());
    }
}
