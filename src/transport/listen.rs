//! A listening port: who connects, how many at a time, and what one connection may cost. For peers, for clients, and for those
//! who ask how the node is.
//!
//! Whatever bytes arrive, and whether any arrive, neither the port nor another connection suffers: a connection that does
//! not begin HTTP/2 in time is closed, also one of HTTP/1 where that is spoken; the rest is bounded by the server's limits, and accepting never ends.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::sleep;
use tonic::transport::Server;
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::Error;
use super::throttle::Throttle;

/// What every HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a port bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time. One more is closed at once.
    pub connections_max: usize,
    /// A connection that has not begun HTTP/2 after this long is closed. One of HTTP/1 lives no longer.
    pub preface_deadline: Duration,
    /// Calls at a time on one connection. One more waits at the caller.
    pub calls_max: u32,
    /// How much of one call may wait unread. As much can be under way on a link, so that this divided by the round trip
    /// is the highest throughput.
    pub call_bytes_max: u32,
    /// How much of all calls of one connection may wait unread.
    pub connection_bytes_max: u32,
}

impl Limits {
    /// For the peer port: few connections, with much under way.
    pub fn for_peers() -> Self {
        Self {
            connections_max: 256,
            preface_deadline: Duration::from_secs(5),
            calls_max: 16,
            call_bytes_max: 16 << 20,
            connection_bytes_max: 16 << 20,
        }
    }

    /// For the client port: many connections and calls, each of them small.
    pub fn for_clients() -> Self {
        Self {
            connections_max: 10_000,
            preface_deadline: Duration::from_secs(10),
            calls_max: 1_000,
            call_bytes_max: 1 << 20,
            connection_bytes_max: 4 << 20,
        }
    }

    /// For the health port: few connections, for a question and its answer.
    pub fn for_health() -> Self {
        Self {
            connections_max: 128,
            preface_deadline: Duration::from_secs(5),
            calls_max: 16,
            call_bytes_max: 64 << 10,
            connection_bytes_max: 64 << 10,
        }
    }

    /// A gRPC server that keeps to these limits, and notices a dead link.
    pub fn server(&self) -> Server {
        Server::builder()
            .max_concurrent_streams(self.calls_max)
            .initial_stream_window_size(self.call_bytes_max)
            .initial_connection_window_size(self.connection_bytes_max)
            .http2_max_header_list_size(16 << 10)
            .http2_keepalive_interval(Some(super::KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(super::KEEPALIVE_TIMEOUT))
    }
}

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    limits: Limits,
    free: Arc<Semaphore>,
    complaints: Throttle,
    /// Gone: nobody accepts any more.
    accepting: watch::Sender<()>,
}

impl Listener {
    /// Binds `HOST:PORT`; port 0 lets the system choose.
    ///
    /// # Errors
    /// The address is in use, or none of this machine.
    pub async fn bind(address: &str, limits: Limits) -> Result<Self, Error> {
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| Error::Listen { address: address.to_owned(), source })?;
        Ok(Self::new(listener, limits))
    }

    /// A port that somebody else has bound.
    pub fn new(listener: TcpListener, limits: Limits) -> Self {
        Self {
            listener,
            limits,
            free: Arc::new(Semaphore::new(limits.connections_max)),
            complaints: Throttle::new(Duration::from_secs(1)),
            accepting: watch::Sender::new(()),
        }
    }

    /// The address that is bound, with the port that the system chose.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What it bears.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The connections, for `serve_with_incoming`. Never ends.
    pub fn incoming(self) -> impl Stream<Item = io::Result<Connection>> + Send {
        stream::unfold(self, |listener| async move { Some((Ok(listener.accept().await), listener)) })
    }

    async fn accept(&self) -> Connection {
        loop {
            match self.listener.accept().await {
                Ok((stream, remote)) => match self.free.clone().try_acquire_owned() {
                    Ok(permit) => return Connection::new(stream, permit, self.preface_deadline()),
                    Err(_) => self.complain(|more| {
                        let open = self.limits.connections_max;
                        tracing::warn!(%remote, open, more, "connection closed: too many are open");
                    }),
                },
                Err(error) => {
                    self.complain(|more| tracing::warn!(%error, more, "a connection could not be accepted"));
                    // Mostly "too many open files": waiting is what helps, and a busy loop what does not.
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Passes when a connection that has said nothing yet is to be closed: in time, or when the port closes. Such a one
    /// would otherwise keep a server that stops waiting.
    fn preface_deadline(&self) -> impl Future<Output = ()> + Send + 'static {
        let (limit, mut accepting) = (self.limits.preface_deadline, self.accepting.subscribe());
        async move {
            tokio::select! {
                () = sleep(limit) => {}
                _ = accepting.changed() => {}
            }
        }
    }

    fn complain(&self, tell: impl FnOnce(u64)) {
        if let Some(held_back) = self.complaints.pass() {
            tell(held_back);
        }
    }
}

/// An accepted connection. Counts against the limit until it is dropped.
pub struct Connection {
    stream: TcpStream,
    /// Until the preface is here.
    deadline: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// What is still to come of the preface; none: it is something else that came.
    preface: Option<&'static [u8]>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn new(
        stream: TcpStream,
        permit: OwnedSemaphorePermit,
        deadline: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        // Fails when the connection is gone again, which the first read tells as well.
        let _ = stream.set_nodelay(true);
        Self { stream, deadline: Some(Box::pin(deadline)), preface: Some(PREFACE), _permit: permit }
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let Some(deadline) = &mut self.deadline else { return read };
        if read.is_pending() {
            return deadline.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        let received = &buf.filled()[before..];
        self.preface = self.preface.and_then(|expected| still_expected(expected, received));
        if self.preface.is_some_and(<[u8]>::is_empty) {
            self.deadline = None;
        }
        read
    }
}

/// What is still to come of `expected` after `received`; none where that is something else.
fn still_expected(expected: &'static [u8], received: &[u8]) -> Option<&'static [u8]> {
    let (expected, rest) = expected.split_at(expected.len().min(received.len()));
    received.starts_with(expected).then_some(rest)
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn limits(connections_max: usize) -> Limits {
        Limits { connections_max, preface_deadline: Duration::from_millis(20), ..Limits::for_peers() }
    }

    #[tokio::test]
    async fn one_connection_too_many_is_closed_and_room_comes_back() {
        let listener = Listener::bind("127.0.0.1:0", limits(1)).await.expect("a free port");
        let address = listener.local_address().expect("bound");
        let mut incoming = Box::pin(listener.incoming());
        let first = TcpStream::connect(address).await.expect("listening");
        let accepted = incoming.next().await.expect("never ends").expect("never fails");

        let mut second = TcpStream::connect(address).await.expect("the system accepts");
        let mut third_time = TcpStream::connect(address).await.expect("the system accepts");
        let closed = async { (second.read(&mut [0]).await, third_time.read(&mut [0]).await) };
        tokio::select! {
            _ = incoming.next() => panic!("a second connection got in"),
            (second, third) = closed => assert!(matches!(second, Ok(0) | Err(_)) && matches!(third, Ok(0) | Err(_))),
        }

        drop((first, accepted));
        let _again = TcpStream::connect(address).await.expect("listening");
        incoming.next().await.expect("never ends").expect("there is room");
    }

    #[tokio::test]
    async fn a_connection_that_says_too_little_is_closed() {
        let listener = Listener::bind("127.0.0.1:0", limits(9)).await.expect("a free port");
        let address = listener.local_address().expect("bound");
        let mut incoming = Box::pin(listener.incoming());
        let mut silent = TcpStream::connect(address).await.expect("listening");
        silent.write_all(b"PRI * HTTP/2").await.expect("connected");
        let mut accepted = incoming.next().await.expect("never ends").expect("never fails");
        let mut received = Vec::new();
        let ended = accepted.read_to_end(&mut received);
        let ended = tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the deadline passes");
        assert_eq!(ended.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        assert_eq!(received, b"PRI * HTTP/2");
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let listener = Listener::bind("127.0.0.1:0", limits(1)).await.expect("a free port");
        let address = listener.local_address().expect("bound").to_string();
        let error = Listener::bind(&address, limits(1)).await.expect_err("in use");
        assert!(error.to_string().contains(&address), "{error}");
    }
}
