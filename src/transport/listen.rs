//! A listening port: who connects, how many at a time, and what one connection may cost. For peers, for clients, and for those
//! who ask how the node is.
//!
//! Whatever bytes arrive, and whether any arrive, neither the port nor another connection suffers: a connection that does
//! not begin HTTP/2 in time is closed, also one of HTTP/1 where that is spoken, and whether it reads or not; the rest is
//! bounded by the server's limits, and accepting never ends.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{Sleep, sleep};
use tonic::transport::Server;
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::Error;
use super::throttle::Throttle;

/// What every HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How often a caller is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// A caller that has not answered for so long is not there, and its connection makes room for others. A port does not know the
/// ways to those who come: this fits one of 2 s round trip on which a packet is lost four times in a row, after which it is 45 s
/// late. The price is that connections of machines that have gone without a word keep their places for a minute.
const PONG_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a caller may take to begin, where it may be far away: as [`PONG_TIMEOUT`], but for one who is not known at all. Whoever
/// wants to hold places of the port longer has only to begin.
const PREFACE_DEADLINE: Duration = Duration::from_secs(30);

/// The same for those who are near.
const PREFACE_DEADLINE_NEAR: Duration = Duration::from_secs(5);

/// Which connection is closed when there is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surplus {
    /// The one that was made last: those that are there are worth more than one who comes.
    Newest,
    /// The one that was made first: whoever comes gets in, and those who hold the port's places hold up nobody.
    Oldest,
    /// The one that was made first from the IP address that has most of them: whoever comes gets in, and an address that holds
    /// most places, or makes one connection after another, ends only its own. Where several addresses have as many, such as one
    /// each of an IPv6 network, it is the one that was made first among all of theirs.
    OldestOfMost,
}

/// What a port bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub connections_max: usize,
    /// Which connection is closed at once when one more is made.
    pub surplus: Surplus,
    /// A connection that has not begun HTTP/2 after this long is closed. One of HTTP/1 lives no longer, unless `http1_stays`.
    pub preface_deadline: Duration,
    /// One that has begun anything else than HTTP/2 may stay as well: its server sees to it that it asks for something.
    pub http1_stays: bool,
    /// A connection that takes nothing of what is to be sent for so long is closed. None: the server sees to that.
    pub write_stall_max: Option<Duration>,
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
            surplus: Surplus::Newest,
            preface_deadline: PREFACE_DEADLINE,
            http1_stays: false,
            write_stall_max: None,
            calls_max: 16,
            call_bytes_max: 16 << 20,
            connection_bytes_max: 16 << 20,
        }
    }

    /// For the client port: many connections and calls, each of them small.
    pub fn for_clients() -> Self {
        Self {
            connections_max: 10_000,
            surplus: Surplus::Newest,
            preface_deadline: PREFACE_DEADLINE,
            http1_stays: false,
            write_stall_max: None,
            calls_max: 1_000,
            call_bytes_max: 1 << 20,
            connection_bytes_max: 4 << 20,
        }
    }

    /// For the health port: few connections, for a question and its answer. A connection of HTTP/2 may stay for ever, as that
    /// of one who watches; but who is not answered may kill the node, and so it goes when its place is needed.
    pub fn for_health() -> Self {
        Self {
            connections_max: 128,
            surplus: Surplus::Oldest,
            preface_deadline: PREFACE_DEADLINE_NEAR,
            http1_stays: false,
            write_stall_max: None,
            calls_max: 16,
            call_bytes_max: 64 << 10,
            connection_bytes_max: 64 << 10,
        }
    }

    /// For the admin port: a browser has six connections at most, one of them for a stream that lasts. People must get in whatever
    /// others do, and those who are in should stay. Calls and what waits of them are bounded for HTTP/2, which is not spoken there.
    pub fn for_admin() -> Self {
        Self {
            connections_max: 256,
            surplus: Surplus::OldestOfMost,
            preface_deadline: PREFACE_DEADLINE,
            http1_stays: true,
            write_stall_max: Some(Duration::from_secs(20)),
            calls_max: 1,
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
            .http2_keepalive_interval(Some(PING_INTERVAL))
            .http2_keepalive_timeout(Some(PONG_TIMEOUT))
    }
}

/// Tells how many connections of a port are open, also when somebody else has the port.
#[derive(Clone, Debug)]
pub struct Occupancy {
    free: Arc<Semaphore>,
    connections_max: usize,
}

impl Occupancy {
    /// Open connections now.
    pub fn open(&self) -> usize {
        self.connections_max.saturating_sub(self.free.available_permits())
    }
}

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    limits: Limits,
    free: Arc<Semaphore>,
    /// The connections that can be told to go, each with the address that it is from, the oldest first. Empty where none has to.
    open: VecDeque<(IpAddr, oneshot::Sender<()>)>,
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
            open: VecDeque::new(),
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

    /// How many connections are open, from here on.
    pub fn occupancy(&self) -> Occupancy {
        Occupancy { free: self.free.clone(), connections_max: self.limits.connections_max }
    }

    /// What it bears.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The connections, for `serve_with_incoming`. Never ends.
    pub fn incoming(self) -> impl Stream<Item = io::Result<Connection>> + Send {
        stream::unfold(self, |mut listener| async move { Some((Ok(listener.accept().await), listener)) })
    }

    async fn accept(&mut self) -> Connection {
        loop {
            match self.listener.accept().await {
                Ok((stream, remote)) => {
                    if let Some(permit) = self.place(remote).await {
                        return self.connection(stream, remote, permit);
                    }
                }
                Err(error) => {
                    self.complain(|more| tracing::warn!(%error, more, "a connection could not be accepted"));
                    // Mostly "too many open files": waiting is what helps, and a busy loop what does not.
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// A place for one who comes; none: this one is too many.
    async fn place(&mut self, remote: SocketAddr) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = self.free.clone().try_acquire_owned() {
            return Some(permit);
        }
        let open = self.limits.connections_max;
        if self.limits.surplus == Surplus::Newest {
            self.complain(|more| tracing::warn!(%remote, open, more, "connection closed: too many are open"));
            return None;
        }
        self.complain(
            |more| tracing::warn!(%remote, open, more, "oldest connection closed for one more: too many are open"),
        );
        // One that cannot be told has ended by itself meanwhile.
        while self.surplus().is_some_and(|surplus| surplus.send(()).is_err()) {}
        self.free.clone().acquire_owned().await.ok()
    }

    /// The connection that is to go for another one.
    fn surplus(&mut self) -> Option<oneshot::Sender<()>> {
        let place = match self.limits.surplus {
            Surplus::Newest => return None,
            Surplus::Oldest => 0,
            Surplus::OldestOfMost => {
                let mut held = HashMap::new();
                self.open.iter().for_each(|(from, _)| *held.entry(*from).or_insert(0) += 1);
                let most = held.values().max().copied()?;
                self.open.iter().position(|(from, _)| held[from] == most)?
            }
        };
        self.open.remove(place).map(|(_, displace)| displace)
    }

    fn connection(&mut self, stream: TcpStream, remote: SocketAddr, permit: OwnedSemaphorePermit) -> Connection {
        let displaced = (self.limits.surplus != Surplus::Newest).then(|| {
            let (displace, displaced) = oneshot::channel();
            self.open.retain(|(_, connection)| !connection.is_closed());
            self.open.push_back((remote.ip(), displace));
            displaced
        });
        Connection::new(stream, permit, self.limits, self.preface_deadline(), displaced)
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
    /// Tells it to go, because another one needs its place.
    displaced: Option<oneshot::Receiver<()>>,
    /// Why it has ended, if it has.
    ended: Option<io::ErrorKind>,
    http1_stays: bool,
    write_stall_max: Option<Duration>,
    /// Since something waits to be sent.
    stalled: Option<Pin<Box<Sleep>>>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn new(
        stream: TcpStream,
        permit: OwnedSemaphorePermit,
        Limits { http1_stays, write_stall_max, .. }: Limits,
        deadline: impl Future<Output = ()> + Send + 'static,
        displaced: Option<oneshot::Receiver<()>>,
    ) -> Self {
        // Fails when the connection is gone again, which the first read tells as well.
        let _ = stream.set_nodelay(true);
        let deadline: Option<Pin<Box<dyn Future<Output = ()> + Send>>> = Some(Box::pin(deadline));
        Self {
            stream,
            deadline,
            preface: Some(PREFACE),
            displaced,
            ended: None,
            http1_stays,
            write_stall_max,
            stalled: None,
            _permit: permit,
        }
    }

    /// Whether it still goes on. It is asked before every read and every write: somebody who does not read what he asked for
    /// keeps the server writing, and it reads nothing meanwhile.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Some(displaced) = &mut self.displaced
            && let Poll::Ready(told) = Pin::new(displaced).poll(cx)
        {
            self.displaced = None;
            // The port is closed when nobody is left who could tell: that is no reason to go.
            self.ended = self.ended.or(told.ok().map(|()| io::ErrorKind::ConnectionAborted));
        }
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            self.deadline = None;
            self.ended = Some(io::ErrorKind::TimedOut);
        }
        self.ended.map_or(Ok(()), |why| Err(why.into()))
    }

    /// Follows a write: one that cannot go on has so long until it does.
    fn written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let Some(limit) = self.write_stall_max.filter(|_| written.is_pending()) else {
            self.stalled = None;
            return written;
        };
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        if stalled.as_mut().poll(cx).is_ready() {
            self.ended = Some(io::ErrorKind::TimedOut);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
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
        self.poll_ended(cx)?;
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if self.deadline.is_some() {
            let received = &buf.filled()[before..];
            self.preface = self.preface.and_then(|expected| still_expected(expected, received));
            let is_known = self.preface.map_or(self.http1_stays, <[u8]>::is_empty);
            if is_known {
                self.deadline = None;
            }
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
        self.poll_ended(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_ended(cx)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.written(cx, written)
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

    /// Its server writes and reads no more until that is read.
    #[tokio::test]
    async fn a_connection_that_does_not_read_is_closed() {
        let listener = Listener::bind("127.0.0.1:0", limits(9)).await.expect("a free port");
        let address = listener.local_address().expect("bound");
        let mut incoming = Box::pin(listener.incoming());
        let mut deaf = TcpStream::connect(address).await.expect("listening");
        deaf.write_all(b"GET /livez HTTP/1.1\r\n\r\n").await.expect("connected");
        let mut accepted = incoming.next().await.expect("never ends").expect("never fails");
        let answer = vec![0; 64 << 20];
        let ended = accepted.write_all(&answer);
        let ended = tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the deadline passes");
        assert_eq!(ended.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
    }

    #[tokio::test]
    async fn where_the_oldest_has_to_go_whoever_comes_gets_in() {
        let limits = Limits { surplus: Surplus::Oldest, preface_deadline: Duration::from_secs(600), ..limits(2) };
        let listener = Listener::bind("127.0.0.1:0", limits).await.expect("a free port");
        let address = listener.local_address().expect("bound");
        let mut incoming = Box::pin(listener.incoming());
        let (mut streams, mut served) = (Vec::new(), Vec::new());
        for _ in 0..9 {
            streams.push(TcpStream::connect(address).await.expect("listening"));
            let mut accepted = incoming.next().await.expect("never ends").expect("never fails");
            served.push(tokio::spawn(async move { accepted.read_u8().await }));
        }
        let (mut newest, displaced) = (streams.split_off(7), &mut streams);
        for (stream, served) in displaced.iter_mut().zip(served.drain(..7)) {
            assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)));
            let ended = served.await.expect("it did not panic").expect_err("nothing was sent");
            assert_eq!(ended.kind(), io::ErrorKind::ConnectionAborted);
        }
        for (stream, served) in newest.iter_mut().zip(served) {
            stream.write_all(&[7]).await.expect("it is open");
            assert_eq!(served.await.expect("it did not panic").expect("it is open"), 7);
        }
    }

    /// Somebody who holds all places, and makes more and more connections, ends only his own.
    #[tokio::test]
    async fn whoever_has_most_connections_loses_his_oldest() {
        let limits = Limits { surplus: Surplus::OldestOfMost, preface_deadline: Duration::from_secs(600), ..limits(4) };
        let listener = Listener::bind("127.0.0.1:0", limits).await.expect("a free port");
        let address = listener.local_address().expect("bound");
        let mut incoming = Box::pin(listener.incoming());
        let connect = async |from: &str| {
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.bind(format!("{from}:0").parse().expect("an address")).expect("an address of this machine");
            socket.connect(address).await.expect("listening")
        };
        let mut operator = connect("127.0.0.2").await;
        let mut served = incoming.next().await.expect("never ends").expect("never fails");
        let served = tokio::spawn(async move { served.read_u8().await });
        let mut flood = Vec::new();
        for _ in 0..20 {
            let stream = connect("127.0.0.1").await;
            let mut accepted = incoming.next().await.expect("never ends").expect("whoever comes gets in");
            flood.push((stream, tokio::spawn(async move { accepted.read_u8().await })));
        }
        operator.write_all(&[7]).await.expect("it is open");
        assert_eq!(served.await.expect("it did not panic").expect("it is open"), 7);
        let open = flood.len() - 3;
        for (_, displaced) in flood.into_iter().take(open) {
            let ended = displaced.await.expect("it did not panic").expect_err("nothing was sent");
            assert_eq!(ended.kind(), io::ErrorKind::ConnectionAborted);
        }
    }

    #[tokio::test]
    async fn where_http1_stays_only_a_connection_that_says_nothing_is_closed_in_time() {
        let limits = Limits { http1_stays: true, ..limits(9) };
        let listener = Listener::bind("127.0.0.1:0", limits).await.expect("a free port");
        let address = listener.local_address().expect("bound");
        let mut incoming = Box::pin(listener.incoming());
        let mut speaks = TcpStream::connect(address).await.expect("listening");
        let mut heard = incoming.next().await.expect("never ends").expect("never fails");
        speaks.write_all(b"GET").await.expect("connected");
        heard.read_exact(&mut [0; 3]).await.expect("it came in time");
        for said in [&b""[..], b"PRI * HTTP/2"] {
            let mut silent = TcpStream::connect(address).await.expect("listening");
            silent.write_all(said).await.expect("connected");
            let mut accepted = incoming.next().await.expect("never ends").expect("never fails");
            let ended = tokio::time::timeout(Duration::from_secs(20), accepted.read_to_end(&mut Vec::new())).await;
            assert_eq!(ended.expect("the deadline passes").map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        }
        speaks.write_all(b" / ").await.expect("connected");
        heard.read_exact(&mut [0; 3]).await.expect("its deadline has passed long ago");
    }

    #[tokio::test]
    async fn a_connection_that_takes_nothing_is_closed_and_one_that_is_slow_is_not() {
        let stall = Duration::from_millis(300);
        let limits = Limits { http1_stays: true, write_stall_max: Some(stall), ..limits(9) };
        let listener = Listener::bind("127.0.0.1:0", limits).await.expect("a free port");
        let address = listener.local_address().expect("bound");
        let mut incoming = Box::pin(listener.incoming());
        let answer = vec![0; 64 << 20];
        let mut deaf = TcpStream::connect(address).await.expect("listening");
        deaf.write_all(b"GET").await.expect("connected");
        let mut accepted = incoming.next().await.expect("never ends").expect("never fails");
        accepted.read_exact(&mut [0; 3]).await.expect("it was sent");
        let ended = tokio::time::timeout(Duration::from_secs(20), accepted.write_all(&answer)).await;
        assert_eq!(ended.expect("it is over in time").map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));

        let mut slow = TcpStream::connect(address).await.expect("listening");
        slow.write_all(b"GET").await.expect("connected");
        let mut accepted = incoming.next().await.expect("never ends").expect("never fails");
        accepted.read_exact(&mut [0; 3]).await.expect("it was sent");
        let writing = tokio::spawn(async move { accepted.write_all(&answer).await });
        let (mut taken, mut piece) = (0, vec![0; 8 << 20]);
        while taken < 64 << 20 {
            tokio::time::sleep(stall / 10).await;
            taken += slow.read(&mut piece).await.expect("it goes on");
        }
        writing.await.expect("it did not panic").expect("it was taken, piece by piece");
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let listener = Listener::bind("127.0.0.1:0", limits(1)).await.expect("a free port");
        let address = listener.local_address().expect("bound").to_string();
        let error = Listener::bind(&address, limits(1)).await.expect_err("in use");
        assert!(error.to_string().contains(&address), "{error}");
    }
}
