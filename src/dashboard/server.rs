//! The connections of the admin port: HTTP/1.1 without encryption, which browsers and scrapers speak there. Over HTTP/2 one connection
//! could ask for many answers and hold all of them untaken.

use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use axum::{Extension, Router};
use futures_util::StreamExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinSet;
use tonic::transport::server::Connected as _;

use crate::transport::Listener;

/// A connection on which no whole head of a request arrives for so long is closed, also one between two requests.
const HEAD_DEADLINE: Duration = Duration::from_secs(15);

/// What a connection holds of a head that arrives, or of an answer that is not taken, at most.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// The address that a request comes from, with each request; none: the connection was gone before it could be asked for.
#[derive(Clone, Copy)]
pub(super) struct Asker(pub(super) Option<IpAddr>);

/// Serves until it is dropped, which closes all connections.
pub(super) async fn serve(listener: Listener, router: Router) {
    let builder = builder();
    let mut incoming = pin!(listener.incoming());
    let mut connections = JoinSet::new();
    while let Some(Ok(connection)) = incoming.next().await {
        while connections.try_join_next().is_some() {}
        let asker = Asker(connection.connect_info().remote_addr().map(|address| address.ip()));
        let service = TowerToHyperService::new(router.clone().layer(Extension(asker)));
        let serving = builder.serve_connection(TokioIo::new(connection), service).into_owned();
        connections.spawn(async move {
            // How a connection ends is its client's matter.
            let _ = serving.await;
        });
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(BUFFER_BYTES_MAX);
    builder
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;
    use crate::transport::Limits;

    /// What a port whose only answer is who asks says to these bytes, until it closes the connection.
    async fn said(bytes: &[u8]) -> String {
        let listener = Listener::bind("127.0.0.1:0", Limits::for_admin()).await.expect("a free port");
        let address = listener.local_address().expect("it is bound");
        let who =
            async |Extension(Asker(address)): Extension<Asker>| address.map_or_else(String::new, |ip| ip.to_string());
        let serving = tokio::spawn(serve(listener, Router::new().route("/", get(who))));
        let mut stream = TcpStream::connect(address).await.expect("it is open");
        stream.write_all(bytes).await.expect("it is open");
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        read.expect("it is closed in time").expect("what it said is taken");
        serving.abort();
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn a_request_brings_the_address_that_it_is_from() {
        let answer = said(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n127.0.0.1"), "{answer}");
    }

    #[tokio::test]
    async fn a_connection_of_http_2_gets_no_answer() {
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let answer = said(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings].concat()).await;
        assert!(!answer.contains("200"), "{answer:?}");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:?}");
    }
}
