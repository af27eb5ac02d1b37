//! What is known of the connection to one peer, from its two lanes, and told to the node: once for each change.
//!
//! A peer is connected while both lanes are: a message of either kind would be lost otherwise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Mutex;

use super::processes::Processes;
use super::{Delivery, Inbound, Lane};
use crate::ids::{Index, NodeId};

/// The connection to one peer, as both of its lanes see it.
#[derive(Debug)]
pub struct Link {
    peer: NodeId,
    delivery: Delivery,
    processes: Arc<Processes>,
    /// Held while the node is told, so that it hears of changes in the order in which they happened.
    state: Mutex<State>,
    /// As in the state, for those who do not wait.
    control_up: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    control_up: bool,
    append_up: bool,
    /// The process of the peer that the control lane was connected to last; none: it has ended, or there was none.
    process: Option<u64>,
    /// What the node was told last; none: nothing.
    connected: Option<bool>,
    /// The refusal that the node was told since the peer was last connected.
    refusal: Option<Failure>,
}

/// Why a lane is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection, or it broke.
    Lost(String),
    /// The machine refuses the connection: no process listens there.
    NotListening(String),
    /// The peer does not let this node in.
    Refused(String),
    /// The peer says that this node is no member any more.
    Removed(Index),
}

impl Link {
    /// A connection of which nothing is known.
    pub(super) fn new(peer: NodeId, delivery: Delivery, processes: Arc<Processes>) -> Self {
        Self { peer, delivery, processes, state: Mutex::default(), control_up: AtomicBool::new(false) }
    }

    /// The control lane can carry messages, as far as is known.
    pub(super) fn has_control(&self) -> bool {
        self.control_up.load(Ordering::Relaxed)
    }

    /// A lane can carry messages, to this process of the peer.
    pub async fn up(&self, lane: Lane, process: u64) {
        let mut state = self.state.lock().await;
        if lane == Lane::Control {
            if let Some(before) = state.process.filter(|before| *before != process) {
                self.tell_gone(before).await;
            }
            state.process = Some(process);
        }
        *state.lane(lane) = true;
        self.control_up.store(state.control_up, Ordering::Relaxed);
        if state.control_up && state.append_up && state.connected != Some(true) {
            self.tell(Inbound::Connected { peer: self.peer }).await;
            state.connected = Some(true);
            state.refusal = None;
        }
    }

    /// A lane cannot carry messages.
    pub async fn down(&self, lane: Lane, failure: Failure) {
        let mut state = self.state.lock().await;
        *state.lane(lane) = false;
        self.control_up.store(state.control_up, Ordering::Relaxed);
        let refused = matches!(failure, Failure::Refused(_) | Failure::Removed(_));
        // A peer that refuses from the start was never connected, and the refusal says so.
        let was_connected = state.connected == Some(true);
        if was_connected || (state.connected.is_none() && !refused) {
            self.tell(Inbound::Disconnected { peer: self.peer, why: failure.to_string() }).await;
        }
        state.connected = Some(false);
        // What the other lane finds can be older than the connection of this one.
        if lane == Lane::Control
            && matches!(failure, Failure::NotListening(_))
            && let Some(process) = state.process
        {
            self.tell_gone(process).await;
            state.process = None;
        }
        if refused && state.refusal.as_ref() != Some(&failure) {
            self.tell(self.refusal(&failure)).await;
            state.refusal = Some(failure);
        }
    }

    fn refusal(&self, failure: &Failure) -> Inbound {
        match failure {
            Failure::Removed(index) => Inbound::RemovedBy { peer: self.peer, index: *index },
            other => Inbound::Refused { peer: self.peer, why: other.to_string() },
        }
    }

    async fn tell_gone(&self, process: u64) {
        // First, so that nothing of it comes later.
        self.processes.end(self.peer, process);
        self.tell(Inbound::Gone { peer: self.peer }).await;
    }

    /// The inbox is bounded: this waits for room. Nobody reads any more: the node stops, and nothing is left to tell.
    async fn tell(&self, what: Inbound) {
        let _ = self.delivery.send(what).await;
    }
}

impl State {
    fn lane(&mut self, lane: Lane) -> &mut bool {
        match lane {
            Lane::Control => &mut self.control_up,
            Lane::Append => &mut self.append_up,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Lost(why) | Failure::NotListening(why) | Failure::Refused(why) => why.fmt(f),
            Failure::Removed(index) => write!(f, "removed by the configuration at index {index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Inbox;

    fn lost() -> Failure {
        Failure::Lost("lost".into())
    }

    fn refused() -> Failure {
        Failure::Refused("wrong cluster".into())
    }

    fn not_listening() -> Failure {
        Failure::NotListening("connection refused".into())
    }

    /// Applies the changes to a link with one process; what the node is told, one word each.
    async fn told(changes: &[(Lane, Option<Failure>)]) -> String {
        let changes = changes.iter().cloned();
        told_of(changes.map(|(lane, failure)| (lane, failure.map_or(Ok(1), Err)))).await
    }

    /// The same, with the process to which a lane is up.
    async fn told_of(changes: impl IntoIterator<Item = (Lane, Result<u64, Failure>)>) -> String {
        let (delivery, mut inbox) = Inbox::new(100, 1);
        let link = Link::new(NodeId(2), delivery, Arc::default());
        for (lane, change) in changes {
            match change {
                Ok(process) => link.up(lane, process).await,
                Err(failure) => link.down(lane, failure).await,
            }
        }
        drop(link);
        let mut words = Vec::new();
        while let Some(inbound) = inbox.recv().await {
            words.push(match inbound {
                Inbound::Message { .. } => "message",
                Inbound::Connected { .. } => "connected",
                Inbound::Disconnected { .. } => "disconnected",
                Inbound::Gone { .. } => "gone",
                Inbound::Refused { .. } => "refused",
                Inbound::RemovedBy { .. } => "removed",
            });
        }
        words.join(" ")
    }

    #[tokio::test]
    async fn connected_needs_both_lanes_and_losing_one_ends_it() {
        use Lane::{Append, Control};
        assert_eq!(told(&[(Control, None)]).await, "");
        assert_eq!(told(&[(Control, None), (Append, None)]).await, "connected");
        let flapping =
            [(Control, None), (Append, None), (Append, Some(lost())), (Control, Some(lost())), (Append, None)];
        assert_eq!(told(&flapping).await, "connected disconnected");
        let back = [(Control, None), (Append, None), (Append, Some(lost())), (Append, None)];
        assert_eq!(told(&back).await, "connected disconnected connected");
    }

    #[tokio::test]
    async fn an_unreachable_peer_is_told_once() {
        use Lane::{Append, Control};
        assert_eq!(
            told(&[(Control, Some(lost())), (Append, Some(lost())), (Control, Some(lost()))]).await,
            "disconnected"
        );
    }

    #[tokio::test]
    async fn a_process_is_gone_once_when_nobody_listens_where_it_was() {
        use Lane::{Append, Control};
        let dead = || Some(not_listening());
        assert_eq!(told(&[(Control, dead()), (Append, dead())]).await, "disconnected", "it was never there");
        let dies = [(Control, None), (Append, None), (Control, Some(lost())), (Append, Some(lost()))];
        assert_eq!(told(&dies).await, "connected disconnected");
        let stays_dead = [dies.to_vec(), vec![(Append, dead()), (Control, dead()), (Control, dead())]].concat();
        assert_eq!(told(&stays_dead).await, "connected disconnected gone");
        let only_one = [dies.to_vec(), vec![(Append, dead())]].concat();
        assert_eq!(told(&only_one).await, "connected disconnected", "the control lane has the word");
        let again = [stays_dead.clone(), stays_dead].concat();
        assert_eq!(told(&again).await, "connected disconnected gone connected disconnected gone");
    }

    #[tokio::test]
    async fn a_process_is_gone_when_another_one_has_its_place() {
        use Lane::{Append, Control};
        let both = |process| [(Control, Ok(process)), (Append, Ok(process))];
        let breaks = || [(Append, Err(lost())), (Control, Err(lost()))];
        let same = [both(7), breaks(), both(7)].concat();
        assert_eq!(told_of(same).await, "connected disconnected connected");
        let another = [both(7), breaks(), both(8), breaks(), both(8)].concat();
        assert_eq!(told_of(another).await, "connected disconnected gone connected disconnected connected");
        let first =
            [vec![(Append, Ok(8))], both(7).to_vec(), breaks().to_vec(), vec![(Append, Ok(8)), (Control, Ok(8))]];
        assert_eq!(
            told_of(first.concat()).await,
            "connected disconnected gone connected",
            "the control lane has the word"
        );
    }

    #[tokio::test]
    async fn a_refusal_is_told_once_until_the_peer_is_back() {
        use Lane::{Append, Control};
        let refusing = [(Control, Some(refused())), (Append, Some(refused())), (Control, Some(refused()))];
        assert_eq!(told(&refusing).await, "refused");
        let mut and_back = refusing.to_vec();
        and_back.extend([(Control, None), (Append, None), (Append, Some(Failure::Removed(Index(4))))]);
        assert_eq!(told(&and_back).await, "refused connected disconnected removed");
        let again = [refusing[0].clone(), (Control, None), (Append, None), refusing[0].clone()];
        assert_eq!(told(&again).await, "refused connected disconnected refused");
    }
}
