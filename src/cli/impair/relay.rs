//! Takes packets from the kernel, and lets them go on as the link decides.
//!
//! A thread of its own that waits with the precision of the kernel's clocks: a timer of the runtime would be up to a millisecond
//! late. A packet that is to go on stays in the kernel; a copy is sent through a raw socket, with a mark that keeps it from being queued again.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::setpriority_process;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::oneshot;

use super::link::Link;
use super::packet::Packet;
use super::queue::Queue;
use super::spec::Spec;
use super::summary::Summary;

/// The queue that the rule fills. A network namespace has its own.
pub const QUEUE: u16 = 0;
/// Marks copies: "dup" in ASCII.
pub const MARK: u32 = 0x0064_7570;

/// Beside those that are under way the kernel keeps so many that were not read yet.
const UNREAD_MAX: u32 = 16_384;
/// So many packets are taken at once before it is looked whether one is due.
const AT_ONCE: usize = 64;
/// Before everybody whose network this is: a busy machine must not make it slower. Only root may.
const PRIORITY: i32 = -15;
/// A raw socket whose packets come with their header; it takes none.
const IPPROTO_RAW: i32 = 255;

/// A relay that runs.
pub struct Relay {
    /// It ends when this is closed.
    stop: UnixStream,
    seed: u64,
    ended: oneshot::Receiver<io::Result<Summary>>,
}

struct Works {
    queue: Queue,
    copies: Copies,
    link: Link,
    began: Instant,
}

impl Relay {
    /// Begins to decide about the packets of the queue.
    ///
    /// # Errors
    /// The kernel has no such queues, or the process may not administer its network.
    pub fn start(spec: Spec, seed: u64) -> io::Result<Self> {
        let queue = Queue::open(QUEUE, spec.limit + UNREAD_MAX)?;
        let copies = Copies::new()?;
        let mut works = Works { queue, copies, link: Link::new(spec, seed), began: Instant::now() };
        let (stop, stopped) = UnixStream::pair()?;
        let (end, ended) = oneshot::channel();
        thread::Builder::new().name("relay".to_owned()).spawn(move || {
            let _ = setpriority_process(None, PRIORITY);
            // Whoever started it may be gone.
            let _ = end.send(works.run(&stopped).map(|()| works.link.into_summary(missed())));
        })?;
        Ok(Self { stop, seed, ended })
    }

    /// What decides about the packets.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Waits until it fails. It does not end by itself otherwise.
    pub async fn failed(&mut self) -> io::Error {
        match (&mut self.ended).await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) | Err(_) => io::Error::other("the relay has ended by itself"),
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// It has failed before.
    pub async fn stop(self) -> io::Result<Summary> {
        drop(self.stop);
        self.ended.await.unwrap_or_else(|_| Err(io::Error::other("the relay has panicked")))
    }
}

impl Works {
    fn run(&mut self, stopped: &UnixStream) -> io::Result<()> {
        loop {
            let now = self.began.elapsed();
            while let Some(packet) = self.link.leave(now) {
                self.pass_on(&packet)?;
            }
            if self.wait(stopped)? {
                return Ok(());
            }
            self.take()?;
        }
    }

    /// Waits until there is a packet, or one is due. True: it is to end.
    fn wait(&self, stopped: &UnixStream) -> io::Result<bool> {
        let left = self.link.next_due().map(|due| due.saturating_sub(self.began.elapsed()));
        let left = left.map(|left| Timespec::try_from(left).expect("a delay is short"));
        let mut waited = [PollFd::new(&self.queue, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        match poll(&mut waited, left.as_ref()) {
            Ok(_) => Ok(!waited[1].revents().is_empty()),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn take(&mut self) -> io::Result<()> {
        for _ in 0..AT_ONCE {
            let packet = match self.queue.take() {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                // How many the kernel counts.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NOBUFS) => continue,
                Err(error) => return Err(error),
            };
            if let Some(Packet { held_as: Some(number), .. }) = self.link.enter(self.began.elapsed(), packet) {
                self.queue.drop_packet(number)?;
            }
        }
        Ok(())
    }

    /// A packet is due.
    fn pass_on(&mut self, packet: &Packet) -> io::Result<()> {
        let is_refused = packet.is_corrupted && packet.has_broken_header();
        match packet.held_as {
            Some(number) if is_refused => self.queue.drop_packet(number),
            Some(number) => self.queue.accept(number, packet.is_corrupted.then_some(&packet.bytes)),
            None if is_refused => Ok(()),
            None => {
                // A copy that the kernel does not take, say because `lo` was taken down, is one that does not arrive.
                let _ = self.copies.send(packet);
                Ok(())
            }
        }
    }
}

/// Packets that the kernel dropped because the relay did not keep up: because too many were in the queue, or for want of room in
/// its socket. 0 where the kernel does not tell.
fn missed() -> u64 {
    let queues = fs::read_to_string("/proc/self/net/netfilter/nfnetlink_queue").unwrap_or_default();
    let columns = queues.split_whitespace();
    columns.skip(5).take(2).filter_map(|dropped| dropped.parse::<u64>().ok()).sum()
}

/// Sends packets with their headers.
struct Copies {
    v4: Socket,
    /// None: this machine has no IPv6.
    v6: Option<Socket>,
}

impl Copies {
    fn new() -> io::Result<Self> {
        Ok(Self { v4: raw(Domain::IPV4)?, v6: raw(Domain::IPV6).ok() })
    }

    fn send(&self, packet: &Packet) -> io::Result<()> {
        let destination = packet.destination().ok_or(io::ErrorKind::InvalidData)?;
        let socket = match destination {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => self.v6.as_ref().ok_or(io::ErrorKind::Unsupported)?,
        };
        socket.send_to(&packet.bytes, &SocketAddr::new(destination, 0).into()).map(drop)
    }
}

fn raw(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(IPPROTO_RAW)))?;
    socket.set_mark(MARK)?;
    Ok(socket)
}
