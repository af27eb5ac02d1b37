//! A connection for one call, which ends with that call whatever is still to be sent on it. HTTP/2 alone would keep it: a call
//! that is given up is reset only after what was said before, which can wait for ever for a leader that does not read.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tonic::codegen::{BoxFuture, Service, http};

/// Keeps the connection of one call. It ends when this is dropped.
pub(crate) struct Hold {
    _held: oneshot::Sender<Infallible>,
}

/// Makes the connection, once.
pub(crate) struct Connector(Option<oneshot::Receiver<Infallible>>);

/// The connection to be, and what keeps it.
pub(crate) fn connector() -> (Connector, Hold) {
    let (held, dropped) = oneshot::channel();
    (Connector(Some(dropped)), Hold { _held: held })
}

impl Service<http::Uri> for Connector {
    type Response = TokioIo<Connection>;
    type Error = io::Error;
    type Future = BoxFuture<Self::Response, io::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, address: http::Uri) -> Self::Future {
        let dropped = self.0.take();
        Box::pin(async move {
            let dropped = dropped.ok_or(io::ErrorKind::NotConnected)?;
            let address = address.authority().ok_or(io::ErrorKind::InvalidInput)?;
            let stream = TcpStream::connect(address.as_str()).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(Connection { stream, dropped: Some(dropped) }))
        })
    }
}

pub(crate) struct Connection {
    stream: TcpStream,
    /// None: its call has ended.
    dropped: Option<oneshot::Receiver<Infallible>>,
}

impl Connection {
    /// Whether its call goes on. It is asked before every read and every write, because either may be what it waits for.
    fn poll_ended(&mut self, wakeup: &mut Context<'_>) -> io::Result<()> {
        if self.dropped.as_mut().is_some_and(|dropped| Pin::new(dropped).poll(wakeup).is_ready()) {
            self.dropped = None;
        }
        if self.dropped.is_none() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, wakeup: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_ended(wakeup)?;
        Pin::new(&mut self.stream).poll_read(wakeup, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, wakeup: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_ended(wakeup)?;
        Pin::new(&mut self.stream).poll_write(wakeup, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        wakeup: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_ended(wakeup)?;
        Pin::new(&mut self.stream).poll_write_vectored(wakeup, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, wakeup: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(wakeup)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, wakeup: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(wakeup)
    }
}
