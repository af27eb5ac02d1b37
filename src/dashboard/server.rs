//! The connections of the admin port: HTTP/1.1 and HTTP/2 without encryption.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use futures_util::StreamExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinSet;

use crate::transport::{Limits, Listener};

/// A connection of HTTP/1 on which no whole head of a request arrives for so long is closed, also one between two requests.
const HEAD_DEADLINE: Duration = Duration::from_secs(15);

/// What a connection holds of a head that arrives, or of an answer that is not taken, at most.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// The longest head of a request of HTTP/2.
const HEAD_BYTES_MAX: u32 = 16 << 10;

/// A connection of HTTP/2 is probed so often, and has so long to answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until it is dropped, which closes all connections.
pub(super) async fn serve(listener: Listener, router: Router) {
    let builder = builder(listener.limits());
    let mut incoming = pin!(listener.incoming());
    let mut connections = JoinSet::new();
    while let Some(Ok(connection)) = incoming.next().await {
        while connections.try_join_next().is_some() {}
        let service = TowerToHyperService::new(router.clone());
        let serving = builder.serve_connection(TokioIo::new(connection), service).into_owned();
        connections.spawn(async move {
            // How a connection ends is its client's matter.
            let _ = serving.await;
        });
    }
}

fn builder(limits: Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(BUFFER_BYTES_MAX)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.calls_max)
        .initial_stream_window_size(limits.call_bytes_max)
        .initial_connection_window_size(limits.connection_bytes_max)
        .max_send_buf_size(BUFFER_BYTES_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder
}
