//! The sender of snapshots: answers those who ask for pieces.
//!
//! All that a receiver asks for is read from one pin, so that it gets one snapshot however long it takes. A pin keeps files
//! that would be gone, so it has a budget of time and of bytes. When that is used up the receiver is told which snapshot
//! it can have instead; what it has of bodies stays useful to it. If that is the same one, the next pin can have the same
//! bodies in records that a compaction has written anew meanwhile: a request that continues a record says how that began.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::error::Error;
use super::pin::Pin;
use super::store::Store;
use super::transfer::{PIECE_BYTES_MAX, Piece, Reply, Request};
use crate::ids::{EntryId, Index, NodeId, ShardId, Time};

/// What receivers may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Receivers at a time. One more is told that there is nothing, and tries later.
    pub receivers_max: usize,
    /// Bytes of files that are there only because of pins. A pin goes when so much is kept for it, be it for others as well.
    pub pin_bytes_max: u64,
    /// A pin goes after this long.
    pub pin_time_max: Duration,
    /// A pin goes when its receiver has not asked for this long.
    pub stall_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            receivers_max: 16,
            pin_bytes_max: 16 << 30,
            pin_time_max: Duration::from_secs(3600),
            stall_timeout: Duration::from_secs(60),
        }
    }
}

/// How far a receiver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    /// The receiver.
    pub to: NodeId,
    /// Whose snapshot.
    pub shard: ShardId,
    /// The last entry that the snapshot has in it.
    pub last: EntryId,
    /// Since when it is pinned.
    pub since: Time,
    /// Bytes of the file that were sent, repeated ones included.
    pub file_bytes: u64,
    /// Bodies that were sent to their end, repeated ones included.
    pub bodies: u64,
    /// Bytes of files that are there only because of pins, this one among them.
    pub held_bytes: u64,
}

/// What all receivers get from this node. May be asked by several at once; reading waits for the disk.
pub struct Outgoing {
    store: Store,
    limits: Limits,
    receivers: Mutex<Receivers>,
}

type Receivers = BTreeMap<(NodeId, ShardId), Receiver>;

struct Receiver {
    pin: Arc<Pin>,
    asked_at: Time,
    sending: Sending,
}

impl Outgoing {
    /// Nobody has asked yet.
    pub fn new(store: Store, limits: Limits) -> Self {
        Self { store, limits, receivers: Mutex::default() }
    }

    /// The piece that a receiver asks for.
    ///
    /// # Errors
    /// [`Error::NotInLog`], [`Error::Malformed`]: the snapshot does not have what is asked for. [`Error::Corrupt`],
    /// [`Error::Io`].
    pub fn answer(&self, now: Time, from: NodeId, request: &Request) -> Result<Reply, Error> {
        let pin = match self.pin(now, from, request) {
            Ok(pin) => pin,
            Err(instead) => return Ok(Reply::Gone { instead }),
        };
        let bytes_max = request.bytes_max.clamp(1, PIECE_BYTES_MAX) as usize;
        let (bytes, bodies) = match &request.piece {
            Piece::File { offset } => (read_file(&pin, *offset, bytes_max)?, 0),
            Piece::Bodies { indexes, skip, skip_crc } => {
                match read_bodies(&pin, request.shard, indexes, (*skip as usize, *skip_crc), bytes_max)? {
                    Some(read) => read,
                    // The record has been written anew since: another pin, of the same snapshot.
                    None => return Ok(Reply::Gone { instead: Some(request.last) }),
                }
            }
        };
        self.count(from, request, bytes.len(), bodies);
        let crc = crc32c::crc32c(&bytes);
        let size = if matches!(request.piece, Piece::File { .. }) { pin.snapshot().bytes } else { 0 };
        Ok(Reply::Piece { bytes, crc, size })
    }

    /// Lets go of pins whose time is over. To be called now and then, also when nobody asks.
    pub fn expire(&self, now: Time) {
        let over = self.take_over(now, &mut self.receivers());
        drop(over);
    }

    /// How far all receivers are.
    pub fn status(&self) -> Vec<Sending> {
        let status = |receiver: &Receiver| Sending { held_bytes: receiver.pin.held_bytes(), ..receiver.sending };
        self.receivers().values().map(status).collect()
    }

    /// What the receiver reads from. No pin: the snapshot that it can have instead.
    fn pin(&self, now: Time, from: NodeId, request: &Request) -> Result<Arc<Pin>, Option<EntryId>> {
        self.expire(now);
        if let Some(pin) = self.find(now, from, request) {
            return Ok(pin);
        }
        // Not with the lock on receivers: this waits for whoever changes files.
        let pin = Arc::new(self.store.pin(request.shard).ok_or(None)?);
        let last = pin.snapshot().last;
        if last != request.last {
            return Err(Some(last));
        }
        // Requests come side by side, and the first one has the say.
        if let Some(found) = self.find(now, from, request) {
            return Ok(found);
        }
        let sending =
            Sending { to: from, shard: request.shard, last, since: now, file_bytes: 0, bodies: 0, held_bytes: 0 };
        self.add((from, request.shard), Receiver { pin: pin.clone(), asked_at: now, sending })?;
        Ok(pin)
    }

    /// What the receiver reads from already.
    fn find(&self, now: Time, from: NodeId, request: &Request) -> Option<Arc<Pin>> {
        let mut receivers = self.receivers();
        let receiver = receivers.get_mut(&(from, request.shard))?;
        if receiver.sending.last != request.last {
            return None;
        }
        receiver.asked_at = now;
        Some(receiver.pin.clone())
    }

    fn add(&self, key: (NodeId, ShardId), receiver: Receiver) -> Result<(), Option<EntryId>> {
        let mut receivers = self.receivers();
        if receivers.len() >= self.limits.receivers_max && !receivers.contains_key(&key) {
            return Err(None);
        }
        let before = receivers.insert(key, receiver);
        drop(receivers);
        drop(before);
        Ok(())
    }

    fn count(&self, from: NodeId, request: &Request, bytes: usize, bodies: u64) {
        if let Some(receiver) = self.receivers().get_mut(&(from, request.shard))
            && receiver.sending.last == request.last
        {
            receiver.sending.bodies += bodies;
            if matches!(request.piece, Piece::File { .. }) {
                receiver.sending.file_bytes += bytes as u64;
            }
        }
    }

    /// Takes out those whose time is over. Their pins are dropped when the lock is not held any more: files go with them.
    fn take_over(&self, now: Time, receivers: &mut Receivers) -> Receivers {
        let Limits { stall_timeout, pin_time_max, pin_bytes_max, .. } = self.limits;
        let is_over = |Receiver { pin, asked_at, sending }: &mut Receiver| {
            now - *asked_at >= stall_timeout || now - sending.since >= pin_time_max || pin.held_bytes() > pin_bytes_max
        };
        receivers.extract_if(.., |_, receiver| is_over(receiver)).collect()
    }

    /// A map of pins, whole at any time: good also when somebody panicked with the lock.
    fn receivers(&self) -> MutexGuard<'_, Receivers> {
        self.receivers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_file(pin: &Pin, offset: u64, bytes_max: usize) -> Result<Bytes, Error> {
    let left = pin.snapshot().bytes.saturating_sub(offset);
    if left == 0 {
        return Err(Error::Malformed("an offset behind the end of the snapshot"));
    }
    let mut bytes = vec![0; bytes_max.min(usize::try_from(left).unwrap_or(usize::MAX))];
    pin.read_snapshot(offset, &mut bytes)?;
    Ok(bytes.into())
}

/// The records one after the other, without the bytes of the first that are there already (how many, and their CRC32C), and how
/// many of them end in the piece. None: the first one does not begin with those bytes.
fn read_bodies(
    pin: &Pin,
    shard: ShardId,
    indexes: &[Index],
    mut there: (usize, Option<u32>),
    bytes_max: usize,
) -> Result<Option<(Bytes, u64)>, Error> {
    let mut bytes = BytesMut::new();
    let mut bodies = 0;
    for index in indexes {
        let record = pin.read_body(*index)?.ok_or(Error::NotInLog { shard, index: *index })?;
        // Of those after the first nothing is there.
        let Some(rest) = rest_of(&record, std::mem::take(&mut there)) else { return Ok(None) };
        let room = bytes_max - bytes.len();
        bytes.extend_from_slice(&rest[..rest.len().min(room)]);
        if rest.len() > room {
            break;
        }
        bodies += 1;
        if rest.len() == room {
            break;
        }
    }
    if bytes.is_empty() { Err(Error::Malformed("a request for no entry")) } else { Ok(Some((bytes.freeze(), bodies))) }
}

/// What comes after the first bytes of a record, if it has so many, with this CRC32C.
fn rest_of(record: &[u8], (skip, crc): (usize, Option<u32>)) -> Option<&[u8]> {
    let (begun, rest) = record.split_at_checked(skip)?;
    let is_it = crc.is_none_or(|crc| crc32c::crc32c(begun) == crc);
    (is_it && !rest.is_empty()).then_some(rest)
}
