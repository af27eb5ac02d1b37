//! The line to one node, as far as a client can see it: whether it is being connected, and how long that took. Before a node has
//! answered nothing else tells how far away it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tonic::codegen::{BoxFuture, Service, StdError, http};

use super::patience::Patience;

/// The state of a line. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Line(Arc<AtomicBool>);

/// Makes the connections of a line, one after the other.
pub(super) struct Connector {
    http: HttpConnector,
    line: Line,
    patience: Arc<Patience>,
}

/// The line is being connected for as long as this lives.
struct Connecting(Line);

impl Line {
    /// True while a connection is being made: nothing that waits for it has been sent.
    pub(super) fn is_connecting(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// What connects it. The patience hears how long that took.
    pub(super) fn connector(&self, patience: Arc<Patience>) -> Connector {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        Connector { http, line: self.clone(), patience }
    }
}

impl Service<http::Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = StdError;
    type Future = BoxFuture<Self::Response, StdError>;

    fn poll_ready(&mut self, wakeup: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        self.http.poll_ready(wakeup).map_err(Into::into)
    }

    fn call(&mut self, address: http::Uri) -> Self::Future {
        let (connected, patience) = (self.http.call(address), self.patience.clone());
        let connecting = Connecting::begin(&self.line);
        Box::pin(async move {
            let (began, _connecting) = (Instant::now(), connecting);
            let stream = connected.await?;
            patience.on_connected(began.elapsed());
            Ok(stream)
        })
    }
}

impl Connecting {
    fn begin(line: &Line) -> Self {
        line.0.store(true, Ordering::Relaxed);
        Self(line.clone())
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Relaxed);
    }
}
