//! Which processes of other nodes have lanes to here. When one has ended, so have its lanes: what it left in their sockets would
//! still come for a while, and look as if it lived.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;

use crate::ids::NodeId;

/// The processes that have lanes to this node: never more than there are lanes.
#[derive(Debug, Default)]
pub(super) struct Processes(Mutex<Flags>);

/// By node and process. True: it has ended.
type Flags = BTreeMap<(NodeId, u64), Weak<watch::Sender<bool>>>;

/// What a lane knows of the process that opened it.
pub(super) struct Process {
    ended: watch::Receiver<bool>,
    /// Shared by the lanes of the process.
    _flag: Arc<watch::Sender<bool>>,
}

impl Processes {
    /// For a lane that a process of a node opens.
    pub(super) fn opens(&self, node: NodeId, process: u64) -> Process {
        let mut processes = self.lock();
        processes.retain(|_, flag| flag.strong_count() > 0);
        let known = processes.get(&(node, process)).and_then(Weak::upgrade);
        let flag = known.unwrap_or_else(|| Arc::new(watch::Sender::new(false)));
        processes.insert((node, process), Arc::downgrade(&flag));
        Process { ended: flag.subscribe(), _flag: flag }
    }

    /// A process has ended: nothing more is taken from the lanes that it has. If it lives all the same, it can open others.
    pub(super) fn end(&self, node: NodeId, process: u64) {
        if let Some(flag) = self.lock().remove(&(node, process)).and_then(|flag| flag.upgrade()) {
            flag.send_replace(true);
        }
    }

    /// A map of handles, whole at any time: good also when somebody panicked with the lock.
    fn lock(&self) -> MutexGuard<'_, Flags> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// Is ready when the process has ended. Loses nothing when it is dropped half way.
    pub(super) async fn ended(&mut self) {
        // The sender lives as long as this.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn the_lanes_of_a_process_end_with_it_and_those_of_others_do_not() {
        let (processes, node) = (Processes::default(), NodeId(2));
        let mut opens = [(node, 7), (node, 7), (node, 8), (NodeId(3), 7)].map(|(node, of)| processes.opens(node, of));
        processes.end(node, 7);
        let ended = opens.each_mut().map(|process| process.ended().now_or_never().is_some());
        assert_eq!(ended, [true, true, false, false]);
        let mut later = processes.opens(node, 7);
        assert!(later.ended().now_or_never().is_none(), "it lives, whatever it looked like");
        drop((opens, later));
        processes.end(node, 8);
        assert_eq!(processes.lock().len(), 2, "until the next one opens");
        let _one = processes.opens(node, 9);
        assert_eq!(processes.lock().len(), 1);
    }
}
