//! The ports of a node, all bound before anything else is done.

use std::net::SocketAddr;

use super::Error;
use crate::config::{Address, NodeConfig};
use crate::dashboard::Dashboard;
use crate::health::Health;
use crate::transport::{self, Listener};

/// All ports, bound. Those for health and for people answer already.
pub(super) struct Ports {
    pub(super) client: Listener,
    pub(super) peer: Listener,
    pub(super) dashboard: Dashboard,
    pub(super) health: Health,
    pub(super) client_address: SocketAddr,
    pub(super) peer_address: SocketAddr,
    pub(super) admin_address: SocketAddr,
    pub(super) health_address: SocketAddr,
}

impl Ports {
    /// Binds all ports before anything is written, so that a port in use leaves no traces.
    pub(super) async fn bind(config: &NodeConfig) -> Result<Self, Error> {
        let connections_max = config.limits.connections_max;
        let limits = transport::Limits { connections_max, ..transport::Limits::for_clients() };
        let (client, client_address) = bind("clients", "client.listen", &config.client.listen, limits).await?;
        let limits = transport::Limits::for_peers();
        let (peer, peer_address) = bind("peers", "peer.listen", &config.peer_listen(), limits).await?;
        let limits = transport::Limits::for_admin();
        let (admin, admin_address) =
            bind("people and Prometheus", "admin.listen", &config.admin_listen(), limits).await?;
        let limits = transport::Limits::for_health();
        let (health, health_address) =
            bind("those who ask how it is", "health.listen", &config.health_listen(), limits).await?;
        let health = Health::start(health);
        let dashboard = Dashboard::start(admin, config, &config.admin_advertise(admin_address));
        Ok(Self { client, peer, dashboard, health, client_address, peer_address, admin_address, health_address })
    }
}

async fn bind(
    whom: &'static str,
    setting: &'static str,
    address: &Address,
    limits: transport::Limits,
) -> Result<(Listener, SocketAddr), Error> {
    let refused = |why: String| Error::Listen { whom, why, setting };
    let listener = Listener::bind(&address.to_string(), limits).await.map_err(|error| refused(error.to_string()))?;
    let bound = listener.local_address().map_err(|error| refused(error.to_string()))?;
    Ok((listener, bound))
}
