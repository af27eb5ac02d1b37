//! The connections to the leader, on which calls are passed on. There is one for all calls that end by themselves, which is
//! replaced when another node leads or the leader has moved; calls that are under way then still end on the old one.
//!
//! A conversation has a connection of its own, which ends with it. The leader stops reading a conversation that has asked for
//! too much at a time, and what it has not read takes room of the connection: a few of them would use up all that there is, and
//! stop every other call on it.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tonic::ConnectError;
use tonic::body::Body;
use tonic::codegen::{Service as _, http};
use tonic::transport::{Channel, Endpoint};

use super::own::{self, Hold};
use super::{CALLS_MAX, Kind};
use crate::client::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT};
use crate::ids::{Contact, NodeId};

/// An address that does not answer for this long cannot be reached, where requests take no longer. Those who ask wait in a row for
/// it.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);

/// However long they take.
const CONNECT_PATIENCE_MAX: Duration = Duration::from_secs(20);

/// How much of the answers of one call may wait unread. Little, because of the next one.
const CALL_BYTES_MAX: u32 = 128 << 10;

/// How much of all answers may wait unread: as much as all calls together may have, so that clients that do not read hold up
/// nobody else.
const CONNECTION_BYTES_MAX: u32 = CALLS_MAX as u32 * CALL_BYTES_MAX;

/// The connection that calls share, if one has been passed on.
#[derive(Default)]
pub(super) struct Link(Mutex<Option<Connection>>);

struct Connection {
    node: NodeId,
    address: String,
    channel: Channel,
}

/// Why there is no answer.
pub(super) enum NotSent {
    /// No connection could be made: the leader has seen nothing.
    Unreachable(String),
    /// The connection broke: the leader may have the call.
    Lost(String),
}

impl Link {
    /// Sends a call to the leader, and waits until it begins to answer. What comes with the answer keeps the call's own
    /// connection, if it has one. A connection that has to be made may take as long as a request does now.
    pub(super) async fn send(
        &self,
        leader: &Contact,
        kind: Kind,
        request: http::Request<Body>,
        request_time: Option<Duration>,
    ) -> Result<(http::Response<Body>, Option<Hold>), NotSent> {
        let (channel, hold) = match kind {
            Kind::Conversation => {
                let (connector, hold) = own::connector();
                let endpoint = endpoint(&leader.client_address, request_time);
                (endpoint.map(|endpoint| endpoint.connect_with_connector_lazy(connector)), Some(hold))
            }
            Kind::Single | Kind::Pages => (self.shared(leader, request_time), None),
        };
        let mut channel = channel.map_err(NotSent::Unreachable)?;
        // Ready means that the call can wait for the connection, not that there is one.
        let ready = std::future::poll_fn(|wakeup| channel.poll_ready(wakeup)).await;
        ready.map_err(|error| NotSent::Unreachable(root_cause(&error)))?;
        let answer = channel.call(request).await.map_err(|error| {
            let why = root_cause(&error);
            match causes(&error).any(|cause| cause.is::<ConnectError>()) {
                true => NotSent::Unreachable(why),
                false => NotSent::Lost(format!("the connection broke ({why})")),
            }
        })?;
        Ok((answer, hold))
    }

    /// A channel connects when it is first used, and again after it broke; the name is resolved anew each time.
    fn shared(&self, leader: &Contact, request_time: Option<Duration>) -> Result<Channel, String> {
        // What it guards is replaced as a whole: good also when somebody panicked with the lock.
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (node, address) = (leader.node, &leader.client_address);
        if let Some(known) = connection.as_ref().filter(|known| known.node == node && known.address == *address) {
            return Ok(known.channel.clone());
        }
        let channel = endpoint(address, request_time)?.connect_lazy();
        *connection = Some(Connection { node, address: address.clone(), channel: channel.clone() });
        Ok(channel)
    }
}

fn endpoint(address: &str, request_time: Option<Duration>) -> Result<Endpoint, String> {
    let connect = request_time.unwrap_or_default().clamp(CONNECT_PATIENCE, CONNECT_PATIENCE_MAX);
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| error.to_string())?;
    Ok(endpoint
        .tcp_nodelay(true)
        .connect_timeout(connect)
        .initial_stream_window_size(CALL_BYTES_MAX)
        .initial_connection_window_size(CONNECTION_BYTES_MAX)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT))
}

/// The innermost cause, which is the one that says something.
pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map_or_else(String::new, ToString::to_string)
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&cause| cause.source())
}
