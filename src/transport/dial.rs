//! A connection to a peer, in two steps: TCP, which tells how long the way is, and HTTP/2 on it, with time-outs that suit that.

use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::codegen::{BoxFuture, Service, StdError, http};
use tonic::transport::Endpoint;

use super::timeouts::Measured;
pub(super) use super::timeouts::Timeouts;
use super::{Options, PING_INTERVAL};
use crate::wary::Wary;

/// A connection that is used for one call, and what its peer may take to answer.
pub(super) async fn dial(address: &str, measured: &Measured, options: &Options) -> Result<(Wary, Timeouts), StdError> {
    let began = Instant::now();
    let (limit, connect) = measured.dial(options);
    let connected = timeout(limit, tcp(address, connect)).await;
    let stream = connected.map_err(|_| format!("no connection within {limit:?}"))??;
    let timeouts = measured.connected_in(began.elapsed(), options);
    let endpoint = endpoint(address, timeouts.pong)?;
    let channel = endpoint.connect_with_connector(Made(Some(stream))).await?;
    Ok((channel.into(), timeouts))
}

/// A channel that connects when it is first used, and again when its connection broke. The name is resolved each time.
pub(super) fn lazy(address: &str, measured: &Measured, options: &Options) -> Result<Endpoint, tonic::transport::Error> {
    let within = measured.get();
    Ok(endpoint(address, options.pong.after(within))?.connect_timeout(options.connect.after(within)))
}

fn endpoint(address: &str, pong: Duration) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(pong)
        .keep_alive_while_idle(true);
    Ok(endpoint)
}

/// Connects to one of the addresses that the name has now.
async fn tcp(address: &str, limit: Duration) -> Result<TokioIo<TcpStream>, StdError> {
    let address: http::Uri = format!("http://{address}").parse()?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(limit));
    Ok(connector.call(address).await?)
}

/// The connection that there is, once.
struct Made(Option<TokioIo<TcpStream>>);

impl Service<http::Uri> for Made {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = BoxFuture<Self::Response, io::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let made = self.0.take().ok_or_else(|| io::ErrorKind::NotConnected.into());
        Box::pin(std::future::ready(made))
    }
}
