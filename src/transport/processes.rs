//! Which processes of other nodes have lanes to here. When one has ended, so have its lanes: what it left in their sockets would
//! still come for a while, and look as if it lived. And what one sends over both of its lanes is heard once.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;

use crate::ids::NodeId;

/// So many numbers of messages are remembered. A lane that is further behind the other brings what is heard again, which does no
/// harm: Raft lives with messages that come twice.
const NUMBERS_MAX: usize = 64;

/// The processes that have lanes to this node: never more than there are lanes.
#[derive(Debug, Default)]
pub(super) struct Processes(Mutex<Known>);

/// By node and process.
type Known = BTreeMap<(NodeId, u64), Weak<Lanes>>;

/// What the lanes of a process share.
#[derive(Debug, Default)]
struct Lanes {
    /// The process has ended.
    ended: watch::Sender<bool>,
    /// Numbers of messages that came last.
    numbers: Mutex<VecDeque<NonZeroU64>>,
}

/// What a lane knows of the process that opened it.
pub(super) struct Process {
    ended: watch::Receiver<bool>,
    lanes: Arc<Lanes>,
}

impl Processes {
    /// For a lane that a process of a node opens.
    pub(super) fn opens(&self, node: NodeId, process: u64) -> Process {
        let mut processes = self.lock();
        processes.retain(|_, lanes| lanes.strong_count() > 0);
        let lanes = processes.get(&(node, process)).and_then(Weak::upgrade).unwrap_or_default();
        processes.insert((node, process), Arc::downgrade(&lanes));
        Process { ended: lanes.ended.subscribe(), lanes }
    }

    /// A process has ended: nothing more is taken from the lanes that it has. If it lives all the same, it can open others.
    pub(super) fn end(&self, node: NodeId, process: u64) {
        if let Some(lanes) = self.lock().remove(&(node, process)).and_then(|lanes| lanes.upgrade()) {
            lanes.ended.send_replace(true);
        }
    }

    /// A map of handles, whole at any time: good also when somebody panicked with the lock.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// Is ready when the process has ended. Loses nothing when it is dropped half way.
    pub(super) async fn ended(&mut self) {
        // The sender lives as long as this.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }

    /// True for a message that has not come over the other lane.
    pub(super) fn is_first(&self, number: NonZeroU64) -> bool {
        let mut numbers = self.lanes.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        if numbers.contains(&number) {
            return false;
        }
        if numbers.len() == NUMBERS_MAX {
            numbers.pop_front();
        }
        numbers.push_back(number);
        true
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn what_comes_over_both_lanes_of_a_process_is_heard_once() {
        let (processes, node) = (Processes::default(), NodeId(2));
        let [control, append, other] = [7, 7, 8].map(|of| processes.opens(node, of));
        let number = |number| NonZeroU64::new(number).expect("it is not 0");
        assert!(control.is_first(number(1)) && append.is_first(number(2)));
        assert!(!append.is_first(number(1)) && !control.is_first(number(2)));
        assert!(other.is_first(number(1)), "of another process");
        assert!((10..200).all(|later| control.is_first(number(later))));
        assert_eq!(control.lanes.numbers.lock().unwrap().len(), NUMBERS_MAX);
    }

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
