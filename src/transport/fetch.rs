//! The asking side of snapshots. Each peer that is asked has a connection for this alone, so that neither messages nor
//! questions stand behind a megabyte. It is made when it is first needed and closed when it is idle.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tonic::Status;

use super::{Error, Shared, dial, handshake, peer, snapshot_codec};
use crate::ids::NodeId;
use crate::proto::internal::peer_client::PeerClient;
use crate::storage::transfer::{PIECE_BYTES_MAX, Reply, Request};
use crate::wary::Wary;

/// The most bytes of an answer, all included. So much can be under way, also on a slow link.
const WINDOW_BYTES: u32 = PIECE_BYTES_MAX + 1024;

/// Of all answers that are under way.
const WINDOWS_BYTES: u32 = 16 * WINDOW_BYTES;

/// The connections, by peer.
#[derive(Default)]
pub(super) struct Clients(Mutex<State>);

#[derive(Default)]
struct State {
    clients: BTreeMap<NodeId, Client>,
    /// Counts connections.
    made: u64,
}

struct Client {
    /// Tells it from the one before and the one after.
    number: u64,
    address: String,
    client: PeerClient<Wary>,
    used_at: Instant,
}

impl Clients {
    /// Ends all connections, as soon as the requests on them have ended.
    pub(super) fn close_all(&self) {
        self.state().clients.clear();
    }

    fn close(&self, peer: NodeId, number: u64) {
        self.state().clients.retain(|node, client| *node != peer || client.number != number);
    }

    /// Closes a connection that has not been used for so long; true: it is closed.
    fn close_if_idle(&self, peer: NodeId, number: u64, idle: Duration) -> bool {
        let mut state = self.state();
        match state.clients.get(&peer) {
            Some(client) if client.number != number => {}
            Some(client) if client.used_at.elapsed() < idle => return false,
            _ => drop(state.clients.remove(&peer)),
        }
        true
    }

    /// A map of handles, whole at any time: good also when somebody panicked with the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks a peer for a piece.
pub(super) async fn fetch(
    shared: &Arc<Shared>,
    peer: NodeId,
    request: &Request,
    patience: Duration,
) -> Result<Reply, Error> {
    let contact = shared.context.book.get(peer).ok_or(Error::UnknownAddress(peer))?;
    let address = contact.peer_address;
    let no_answer = |why: String| Error::NoAnswer { peer, address: address.clone(), why };
    let (number, mut client) = client(shared, peer, &address).map_err(no_answer)?;
    let message = snapshot_codec::encode_request(shared.context.identity, peer, request);
    let answer = match tokio::time::timeout(patience, client.fetch_snapshot(message)).await {
        Ok(Ok(reply)) => snapshot_codec::decode_reply(reply.into_inner()).map_err(|why| no_answer(why.to_string())),
        Ok(Err(status)) => Err(refusal(peer, &status).unwrap_or_else(|| no_answer(peer::why(&status)))),
        // The line may just be slow, and others wait for their answers on the same connection. One that is dead is found by its
        // keep-alive.
        Err(_) => return Err(no_answer(format!("it took more than {patience:?}"))),
    };
    // Whatever is wrong with the connection, the next request gets another one, for which the name is resolved anew.
    if answer.is_err() {
        shared.fetch_clients.close(peer, number);
    }
    answer
}

fn refusal(peer: NodeId, status: &Status) -> Option<Error> {
    handshake::refusal_in(status).map(|told| match told {
        handshake::Told::Removed(index) => Error::RemovedBy { peer, index },
        handshake::Told::Refused(why) => Error::Refused { peer, why },
    })
}

/// The connection to a peer, and its number.
fn client(shared: &Arc<Shared>, peer: NodeId, address: &str) -> Result<(u64, PeerClient<Wary>), String> {
    let mut state = shared.fetch_clients.state();
    if let Some(known) = state.clients.get_mut(&peer).filter(|known| known.address == address) {
        known.used_at = Instant::now();
        return Ok((known.number, known.client.clone()));
    }
    let endpoint =
        dial::lazy(address, &shared.context.measured, &shared.context.options).map_err(|error| peer::why(&error))?;
    let endpoint = endpoint.initial_stream_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOWS_BYTES);
    let client = PeerClient::new(Wary::from(endpoint.connect_lazy())).max_decoding_message_size(WINDOW_BYTES as usize);
    state.made += 1;
    let number = state.made;
    let made = Client { number, address: address.to_owned(), client: client.clone(), used_at: Instant::now() };
    state.clients.insert(peer, made);
    shared.runtime.spawn(close_when_idle(Arc::downgrade(shared), peer, number));
    Ok((number, client))
}

async fn close_when_idle(shared: Weak<Shared>, peer: NodeId, number: u64) {
    while let Some(shared) = shared.upgrade() {
        let idle = shared.context.options.snapshot_idle;
        if shared.fetch_clients.close_if_idle(peer, number, idle) {
            return;
        }
        drop(shared);
        tokio::time::sleep(idle / 2).await;
    }
}
