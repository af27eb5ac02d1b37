//! The kernel's queue of packets that user space decides about: NFQUEUE, over netlink (`linux/netfilter/nfnetlink_queue.h`).
//!
//! ```text
//!    message     length u32, type u16, flags u16, sequence u32, port u32   (in the byte order of the machine)
//!                family u8, version u8, queue number u16                  (from here on numbers are big-endian)
//!    attributes  length u16, type u16 (both in the byte order of the machine), value, up to 3 bytes of filling
//! ```
//!
//! A packet stays in the kernel until it is decided about by its number: accepted, as it was or with other bytes, or dropped. Its
//! checksums are filled in and it is cut to the segments that would go out on a wire before it comes here, since we do not ask
//! for the contrary. When the socket is closed, the kernel drops what is left.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use socket2::{Domain, Protocol, Socket, Type};

use super::packet::Packet;

const AF_NETLINK: i32 = 16;
const NETLINK_NETFILTER: i32 = 12;

/// Types of messages. Those of a subsystem have its number, 3 for queues, in their high byte.
const NLMSG_ERROR: u16 = 2;
const PACKET: u16 = 3 << 8;
const VERDICT: u16 = 3 << 8 | 1;
const CONFIG: u16 = 3 << 8 | 2;

const NLM_F_REQUEST: u16 = 1;
/// Asks for an answer also if nothing is wrong.
const NLM_F_ACK: u16 = 4;

/// Attributes of settings.
const CFG_CMD: u16 = 1;
const CFG_PARAMS: u16 = 2;
const CFG_QUEUE_MAXLEN: u16 = 3;
const COMMAND_BIND: u8 = 1;
const COPY_PACKET: u8 = 2;

/// Attributes of packets and verdicts.
const PACKET_HDR: u16 = 1;
const VERDICT_HDR: u16 = 2;
const PAYLOAD: u16 = 10;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;

/// Both headers of a message.
const HEADER: usize = 16 + 4;
/// Longer than any message: a packet of 64 KiB and its attributes.
const MESSAGE_MAX: usize = 128 << 10;
/// The kernel copies at most so much of a packet.
pub const PACKET_MAX: u32 = 0xffff - 4;

/// Room for packets that the relay has not read yet. Packets that find none are dropped.
const RECEIVE_BUFFER: usize = 16 << 20;
/// What is asked for where that needs rights that a plain user does not have; the system may give less.
const RECEIVE_BUFFER_OF_USERS: usize = 4 << 20;

/// A queue in the network namespace of this process. The rule that fills it is another one's business.
pub struct Queue {
    socket: Socket,
    number: u16,
    buffer: Vec<u8>,
}

/// What the kernel sent.
#[derive(Debug, PartialEq, Eq)]
enum Message<'a> {
    Packet {
        number: u32,
        bytes: &'a [u8],
    },
    /// 0: what was asked for is done.
    Answer(i32),
    /// Of no interest here.
    Other,
}

impl Queue {
    /// Takes over a queue that holds at most `length_max` packets, decided about or not.
    ///
    /// # Errors
    /// The kernel has no such queues, or the process may not administer its network.
    pub fn open(number: u16, length_max: u32) -> io::Result<Self> {
        let socket = Socket::new(Domain::from(AF_NETLINK), Type::RAW, Some(Protocol::from(NETLINK_NETFILTER)))?;
        set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)
            .or_else(|_| socket.set_recv_buffer_size(RECEIVE_BUFFER_OF_USERS))?;
        let mut queue = Self { socket, number, buffer: vec![0; MESSAGE_MAX] };
        queue.ask(&binding(number, length_max))?;
        queue.socket.set_nonblocking(true)?;
        Ok(queue)
    }

    /// The next packet; none: there is none yet.
    ///
    /// # Errors
    /// `ENOBUFS`: packets were dropped as there was no room for them. Any other: the queue is gone.
    pub fn take(&mut self) -> io::Result<Option<Packet>> {
        loop {
            let length = match (&self.socket).read(&mut self.buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            };
            match decode(&self.buffer[..length]) {
                Message::Packet { number, bytes } => return Ok(Some(Packet::new(number, bytes.to_vec()))),
                // The verdict on a packet that the kernel has dropped already, say because `lo` was taken down.
                Message::Answer(error) if error == Errno::NOENT.raw_os_error() => {}
                Message::Answer(error) if error != 0 => return Err(io::Error::from_raw_os_error(error)),
                Message::Answer(_) | Message::Other => {}
            }
        }
    }

    /// Lets a packet go on as it was, or, if it is corrupted, as it is.
    ///
    /// # Errors
    /// The queue is gone.
    pub fn accept(&self, number: u32, corrupted: Option<&[u8]>) -> io::Result<()> {
        self.send(&verdict(self.number, NF_ACCEPT, number, corrupted))
    }

    /// Drops a packet.
    ///
    /// # Errors
    /// The queue is gone.
    pub fn drop_packet(&self, number: u32) -> io::Result<()> {
        self.send(&verdict(self.number, NF_DROP, number, None))
    }

    fn ask(&mut self, message: &[u8]) -> io::Result<()> {
        self.send(message)?;
        let length = (&self.socket).read(&mut self.buffer)?;
        match decode(&self.buffer[..length]) {
            Message::Answer(0) => Ok(()),
            Message::Answer(error) => Err(io::Error::from_raw_os_error(error)),
            other => Err(io::Error::other(format!("the kernel answered {other:?}"))),
        }
    }

    /// A netlink socket without an address sends to the kernel.
    fn send(&self, message: &[u8]) -> io::Result<()> {
        (&self.socket).write(message).map(drop)
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Asks for a queue, and for all of each packet.
fn binding(queue: u16, length_max: u32) -> Vec<u8> {
    let mut message = header(CONFIG, NLM_F_REQUEST | NLM_F_ACK, queue);
    attribute(&mut message, CFG_CMD, &[COMMAND_BIND, 0, 0, 0]);
    let [a, b, c, d] = PACKET_MAX.to_be_bytes();
    attribute(&mut message, CFG_PARAMS, &[a, b, c, d, COPY_PACKET]);
    attribute(&mut message, CFG_QUEUE_MAXLEN, &length_max.to_be_bytes());
    finish(message)
}

fn verdict(queue: u16, verdict: u32, number: u32, corrupted: Option<&[u8]>) -> Vec<u8> {
    let mut message = header(VERDICT, NLM_F_REQUEST, queue);
    attribute(&mut message, VERDICT_HDR, &[verdict.to_be_bytes(), number.to_be_bytes()].concat());
    if let Some(bytes) = corrupted {
        attribute(&mut message, PAYLOAD, bytes);
    }
    finish(message)
}

/// Both headers. The length comes in the end; sequence and port may be 0, as we wait for each answer.
fn header(kind: u16, flags: u16, queue: u16) -> Vec<u8> {
    let mut message = vec![0; HEADER];
    message[4..6].copy_from_slice(&kind.to_ne_bytes());
    message[6..8].copy_from_slice(&flags.to_ne_bytes());
    message[18..20].copy_from_slice(&queue.to_be_bytes());
    message
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).expect("a packet that came in an attribute fits into one");
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn finish(mut message: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a message is short");
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message
}

/// The kernel sends its messages one by one.
fn decode(message: &[u8]) -> Message<'_> {
    match u16_at(message, 4) {
        Some(NLMSG_ERROR) => message
            .get(16..20)
            .and_then(|error| error.try_into().ok())
            .map_or(Message::Other, |error| Message::Answer(-i32::from_ne_bytes(error))),
        Some(PACKET) => decode_packet(message.get(HEADER..).unwrap_or_default()).unwrap_or(Message::Other),
        _ => Message::Other,
    }
}

fn decode_packet(mut attributes: &[u8]) -> Option<Message<'_>> {
    let mut number = None;
    let mut bytes: &[u8] = &[];
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let value = attributes.get(4..length.into())?;
        match kind {
            PACKET_HDR => number = Some(u32::from_be_bytes(value.get(..4)?.try_into().ok()?)),
            PAYLOAD => bytes = value,
            _ => {}
        }
        attributes = attributes.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
    }
    Some(Message::Packet { number: number?, bytes })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message as the kernel sends it.
    fn packet(number: u32, bytes: &[u8]) -> Vec<u8> {
        let mut message = header(PACKET, 0, 0);
        attribute(&mut message, PACKET_HDR, &[&number.to_be_bytes()[..], &[8, 0, 0]].concat());
        attribute(&mut message, 5, &1u32.to_be_bytes());
        attribute(&mut message, PAYLOAD, bytes);
        finish(message)
    }

    #[test]
    fn a_packet_is_read_with_its_number_and_all_of_its_bytes() {
        for bytes in [b"".as_slice(), b"a", b"abcd", &[7; PACKET_MAX as usize]] {
            assert_eq!(decode(&packet(0x0102_0304, bytes)), Message::Packet { number: 0x0102_0304, bytes });
        }
    }

    #[test]
    fn a_message_that_is_cut_short_is_no_packet_and_no_panic() {
        let whole = packet(1, b"abc");
        for length in 0..whole.len() - 3 {
            assert_ne!(decode(&whole[..length]), decode(&whole), "{length}");
        }
    }

    #[test]
    fn an_answer_is_read() {
        let answer = |error: i32| [&header(NLMSG_ERROR, 0, 0)[..16], &error.to_ne_bytes()].concat();
        assert_eq!(decode(&answer(0)), Message::Answer(0));
        assert_eq!(decode(&answer(-1)), Message::Answer(1));
        assert_eq!(decode(&answer(-1)[..18]), Message::Other);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_verdict_has_the_form_of_the_kernel() {
        let expected = [
            &[44, 0, 0, 0, 1, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9][..],
            &[12, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 7],
            &[9, 0, 10, 0, b'a', b'b', b'c', b'd', b'e', 0, 0, 0],
        ];
        assert_eq!(verdict(9, NF_ACCEPT, 7, Some(b"abcde")), expected.concat());
        assert_eq!(verdict(9, NF_DROP, 7, None).len(), 32);
    }
}
