//! What has come from the peers and waits for the node: control apart from bulk, here as on the wire.

use tokio::sync::mpsc;

use super::{Inbound, Lane};

/// The node's end. Each of the two is in the order in which things came; between them there is none.
#[derive(Debug)]
pub struct Inbox {
    /// Heartbeats, votes, their answers, and news of connections.
    pub control: mpsc::Receiver<Inbound>,
    /// AppendEntries and their answers: each up to a frame in size.
    pub bulk: mpsc::Receiver<Inbound>,
}

/// The transport's end. Clones deliver into the same inbox.
#[derive(Clone, Debug)]
pub struct Delivery {
    control: mpsc::Sender<Inbound>,
    bulk: mpsc::Sender<Inbound>,
}

/// Nobody reads the inbox any more: the node stops.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed;

impl Inbox {
    /// An inbox with room for so many things of each kind, and the way into it.
    pub fn new(control_max: usize, bulk_max: usize) -> (Delivery, Self) {
        let (to_control, control) = mpsc::channel(control_max);
        let (to_bulk, bulk) = mpsc::channel(bulk_max);
        (Delivery { control: to_control, bulk: to_bulk }, Self { control, bulk })
    }

    /// The next thing, control first. None: nothing will come any more. Loses nothing when it is dropped half way.
    pub async fn recv(&mut self) -> Option<Inbound> {
        tokio::select! {
            biased;
            Some(inbound) = self.control.recv() => Some(inbound),
            Some(inbound) = self.bulk.recv() => Some(inbound),
            else => None,
        }
    }
}

impl Delivery {
    /// Waits for room among things of the same kind.
    ///
    /// # Errors
    /// The node stops.
    pub async fn send(&self, inbound: Inbound) -> Result<(), Closed> {
        self.room_for(&inbound).await?.send(inbound);
        Ok(())
    }

    /// Waits for room among things of its kind, and holds it.
    ///
    /// # Errors
    /// The node stops.
    pub async fn room_for(&self, inbound: &Inbound) -> Result<mpsc::Permit<'_, Inbound>, Closed> {
        let into = match inbound {
            Inbound::Message { envelope, .. } if Lane::of(&envelope.message.body) == [Lane::Append] => &self.bulk,
            _ => &self.control,
        };
        into.reserve().await.map_err(|_| Closed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ids::{EntryId, Index, NodeId, SHARD_0, Term, Time};
    use crate::raft::{AppendReply, Body, Message};
    use crate::transport::Envelope;

    fn message(body: Body) -> Inbound {
        Inbound::Message { from: NodeId(2), envelope: Envelope::new(SHARD_0, Message { term: Term(1), body }) }
    }

    #[tokio::test]
    async fn what_is_bulky_neither_delays_control_nor_takes_its_room() {
        let (delivery, mut inbox) = Inbox::new(1, 1);
        let reply = message(Body::AppendReply(AppendReply::Accepted(EntryId::default())));
        let heartbeat =
            message(Body::Heartbeat { commit: Index(0), sent_at: Time(1), read_round: 0, fresh: None, timing: None });
        delivery.send(reply.clone()).await.expect("there is room");
        let sent = tokio::time::timeout(Duration::from_secs(10), delivery.send(heartbeat.clone())).await;
        assert_eq!(sent, Ok(Ok(())), "bulk takes no room of control");
        drop(delivery);
        assert_eq!(inbox.recv().await, Some(heartbeat));
        assert_eq!(inbox.recv().await, Some(reply));
        assert_eq!(inbox.recv().await, None);
    }
}
