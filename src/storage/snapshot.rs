//! The file of a snapshot: whose it is, and the state as of one entry, in blocks that the state machine makes.
//!
//! ```text
//!    file      magic 8 | format version 4 | CRC of these 4 | blocks
//!    block     payload length 4 | CRC of kind and payload 4 | kind 1 | payload
//!    blocks    one header, then the state, then one end: how many blocks come before it 8 | CRC of all before it 4
//! ```
//!
//! Numbers are little-endian, checksums are CRC32C. A file is complete if and only if its end block is there and right: one
//! that was cut, mixed or made longer is never taken for a snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use prost::Message;

use super::codec;
use super::disk::{Disk, File, UNSYNCED_BYTES_MAX};
use super::error::Error;
use super::record::{u32_at, u64_at};
use super::store::SNAPSHOT_PREFIX;
use crate::ids::{ClusterId, Contact, EntryId, Index, NodeId, ShardId, Term};
use crate::proto::internal;
use crate::raft;

/// The most bytes of a block. A length is checked against it before it is believed.
pub const BLOCK_BYTES_MAX: usize = 4 << 20;

/// The format that this release writes, and the latest that it reads.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"qsnapsh\n";
const START_BYTES: usize = 16;
const BLOCK_HEADER_BYTES: usize = 9;

const HEADER: u8 = 1;
const STATE: u8 = 2;
const END: u8 = 3;
const END_BYTES: usize = 12;

/// Writes and reads of the file are about so large.
const BUFFER_BYTES: usize = 256 << 10;

/// Whose a snapshot is, and what is known with it besides the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The cluster.
    pub cluster: ClusterId,
    /// The shard.
    pub shard: ShardId,
    /// What Raft knows of it.
    pub snapshot: raft::Snapshot,
    /// Members of the last configuration that was not a joint one.
    pub settled: BTreeSet<NodeId>,
    /// Nodes that were members, each with the index of the configuration that left it out.
    pub removed: BTreeMap<NodeId, Index>,
    /// Where members can be reached: hints.
    pub addresses: Vec<Contact>,
}

/// Why a snapshot that is whole is not the one that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It is of another cluster.
    #[error("the snapshot is of cluster {found}, not of {wanted}")]
    Cluster {
        /// Its cluster.
        found: ClusterId,
        /// The cluster of this node.
        wanted: ClusterId,
    },
    /// It is of another shard.
    #[error("the snapshot is of shard {found}, not of {wanted}")]
    Shard {
        /// Its shard.
        found: ShardId,
        /// The shard that needs one.
        wanted: ShardId,
    },
    /// It is as of another entry.
    #[error("the snapshot ends with entry {found}, not with {wanted}")]
    Last {
        /// Its last entry.
        found: EntryId,
        /// The one that was asked for.
        wanted: EntryId,
    },
}

impl Header {
    /// Whether this is what was asked for.
    ///
    /// # Errors
    /// What it is instead.
    pub fn check(&self, cluster: ClusterId, shard: ShardId, last: EntryId) -> Result<(), Mismatch> {
        if self.cluster != cluster {
            return Err(Mismatch::Cluster { found: self.cluster, wanted: cluster });
        }
        if self.shard != shard {
            return Err(Mismatch::Shard { found: self.shard, wanted: shard });
        }
        if self.snapshot.last != last {
            return Err(Mismatch::Last { found: self.snapshot.last, wanted: last });
        }
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let removed = |(node, index): (&NodeId, &Index)| internal::RemovedNode { node_id: node.0, index: index.0 };
        let message = internal::SnapshotHeader {
            cluster_id: Bytes::copy_from_slice(&self.cluster.0.to_be_bytes()),
            shard: self.shard.0,
            last_term: self.snapshot.last.term.0,
            last_index: self.snapshot.last.index.0,
            configuration: Some(codec::configuration_to_proto(&self.snapshot.configuration, None)),
            configuration_index: self.snapshot.configuration_index.0,
            settled: self.settled.iter().map(|node| node.0).collect(),
            removed: self.removed.iter().map(removed).collect(),
            addresses: self.addresses.iter().map(codec::contact_to_proto).collect(),
        };
        message.encode_to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let malformed = Error::Malformed;
        let message = internal::SnapshotHeader::decode(bytes).map_err(|_| malformed("not the header of a snapshot"))?;
        let cluster = <[u8; 16]>::try_from(message.cluster_id.as_ref());
        let cluster = cluster.map_err(|_| malformed("the id of the cluster does not have 16 bytes"))?;
        let last = EntryId::new(Term(message.last_term), Index(message.last_index));
        let configuration_index = Index(message.configuration_index);
        if last.term == Term(0) || last.index == Index(0) {
            return Err(malformed("a snapshot ends with an entry, which has neither term 0 nor index 0"));
        }
        if configuration_index > last.index {
            return Err(malformed("the membership of a snapshot stands after its last entry"));
        }
        let configuration = message.configuration.ok_or(malformed("a snapshot without a membership"))?;
        let configuration = codec::configuration_from_proto(&configuration)?;
        let removed = |removed: &internal::RemovedNode| Ok((codec::node(removed.node_id)?, Index(removed.index)));
        Ok(Self {
            cluster: ClusterId(u128::from_be_bytes(cluster)),
            shard: ShardId(message.shard),
            snapshot: raft::Snapshot { last, configuration, configuration_index },
            settled: codec::nodes(&message.settled)?,
            removed: message.removed.iter().map(removed).collect::<Result<_, Error>>()?,
            addresses: message.addresses.into_iter().map(codec::contact_from_proto).collect::<Result<_, _>>()?,
        })
    }
}

/// The name of a snapshot's file.
pub fn name(shard: ShardId, index: Index) -> String {
    format!("{SNAPSHOT_PREFIX}{:016x}-{:016x}", shard.0, index.0)
}

/// A file that is written to its end and durable, its name excepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// What it is called.
    pub temporary: String,
    /// What it is to be called.
    pub name: String,
    /// The last entry that it has in it.
    pub last: EntryId,
    /// Its length.
    pub bytes: u64,
}

/// Writes a snapshot aside. Dropped before the end, it takes the file with it.
pub struct Writer {
    disk: Arc<dyn Disk>,
    file: Arc<dyn File>,
    result: Written,
    /// What is not yet in the file.
    buffer: Vec<u8>,
    /// Of all bytes so far.
    crc: u32,
    blocks: u64,
    /// Bytes that are durable.
    synced: u64,
    is_finished: bool,
}

impl Writer {
    /// Begins with a header, in a file of the name of the snapshot with `.new` behind it. One that is left over goes.
    ///
    /// # Errors
    /// [`Error::Io`].
    ///
    /// # Panics
    /// The header is larger than a block can be: a cluster has few members.
    pub fn create(disk: Arc<dyn Disk>, header: &Header) -> Result<Self, Error> {
        let last = header.snapshot.last;
        let name = name(header.shard, last.index);
        let temporary = format!("{name}.new");
        let file = create_anew(&*disk, &temporary)?;
        let result = Written { temporary, name, last, bytes: 0 };
        let mut writer =
            Self { disk, file, result, buffer: Vec::new(), crc: 0, blocks: 0, synced: 0, is_finished: false };
        writer.append(&MAGIC);
        writer.append(&FORMAT_VERSION.to_le_bytes());
        writer.append(&writer.crc.to_le_bytes());
        writer.write(HEADER, &header.encode())?;
        Ok(writer)
    }

    /// Adds a block of the state.
    ///
    /// # Errors
    /// [`Error::Io`]: the file is of no use any more.
    ///
    /// # Panics
    /// The block is larger than [`BLOCK_BYTES_MAX`].
    pub fn write_block(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.write(STATE, payload)
    }

    /// Ends the file and makes it durable under its temporary name.
    ///
    /// # Errors
    /// [`Error::Io`]: the file is gone.
    pub fn finish(mut self) -> Result<Written, Error> {
        let mut end = self.blocks.to_le_bytes().to_vec();
        end.extend_from_slice(&self.crc.to_le_bytes());
        self.write(END, &end)?;
        self.flush()?;
        self.sync()?;
        self.is_finished = true;
        Ok(self.result.clone())
    }

    fn write(&mut self, kind: u8, payload: &[u8]) -> Result<(), Error> {
        assert!(payload.len() <= BLOCK_BYTES_MAX, "a block of {} bytes is more than {BLOCK_BYTES_MAX}", payload.len());
        self.append(&(payload.len() as u32).to_le_bytes());
        self.append(&crc32c::crc32c_append(crc32c::crc32c(&[kind]), payload).to_le_bytes());
        self.append(&[kind]);
        self.append(payload);
        self.blocks += 1;
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn append(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.crc = crc32c::crc32c_append(self.crc, bytes);
    }

    fn flush(&mut self) -> Result<(), Error> {
        let written = self.file.write_at(self.result.bytes, &self.buffer);
        written.map_err(Error::io("write to", self.disk.describe(&self.result.temporary)))?;
        self.result.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        if self.result.bytes - self.synced >= UNSYNCED_BYTES_MAX { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), Error> {
        self.file.sync().map_err(Error::io("sync", self.disk.describe(&self.result.temporary)))?;
        self.synced = self.result.bytes;
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.is_finished {
            // What cannot be removed here goes when the directory is opened the next time: nothing names it.
            let _ = self.disk.remove(&self.result.temporary);
        }
    }
}

/// An empty file in place of one that is left over from an earlier attempt.
fn create_anew(disk: &dyn Disk, name: &str) -> Result<Arc<dyn File>, Error> {
    match disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io("remove", disk.describe(name))(error));
        }
        _ => {}
    }
    disk.create(name).map_err(Error::io("create", disk.describe(name)))
}

/// Reads the blocks of the state, one after the other. An error is the last item; only when there was none was the file whole.
pub struct Reader {
    blocks: Blocks,
    header: Header,
    is_ended: bool,
}

impl Reader {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::NewerFormat`], [`Error::Io`].
    pub fn open(disk: &dyn Disk, name: &str) -> Result<Self, Error> {
        let described = disk.describe(name);
        let file = disk.open(name).map_err(Error::io("open", &described))?;
        let size = file.size().map_err(Error::io("read", &described))?;
        let mut blocks = Blocks { file, described, size, offset: 0, buffer: BytesMut::new(), crc: 0, count: 0 };
        blocks.check_start()?;
        let at = blocks.offset;
        let header = match blocks.next()? {
            (HEADER, payload) => Header::decode(&payload).map_err(|error| blocks.corrupt(at, error.to_string()))?,
            _ => return Err(blocks.corrupt(at, "the first block is no header")),
        };
        Ok(Self { blocks, header, is_ended: false })
    }

    /// Whose the snapshot is.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Reads all blocks that are left, for the sake of their checksums.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Io`].
    pub fn check(mut self) -> Result<(), Error> {
        self.try_for_each(|block| block.map(drop))
    }

    /// None: that was all, and it is right.
    fn next_block(&mut self) -> Result<Option<Bytes>, Error> {
        let at = self.blocks.offset;
        let expected = (self.blocks.count, self.blocks.crc);
        match self.blocks.next()? {
            (STATE, payload) => Ok(Some(payload)),
            (END, payload) => self.check_end(at, expected, &payload).map(|()| None),
            (kind, _) => Err(self.blocks.corrupt(at, format!("no block of kind {kind} can be here"))),
        }
    }

    fn check_end(&self, at: u64, (count, crc): (u64, u32), payload: &[u8]) -> Result<(), Error> {
        if payload.len() != END_BYTES {
            return Err(self.blocks.corrupt(at, format!("the last block has {} bytes", payload.len())));
        }
        let (said, said_crc) = (u64_at(payload, 0), u32_at(payload, 8));
        if said != count {
            return Err(self.blocks.corrupt(at, format!("{count} blocks are there, and {said} were written")));
        }
        if said_crc != crc {
            return Err(self.blocks.corrupt(at, "the checksum of the whole is wrong"));
        }
        if self.blocks.offset != self.blocks.size {
            return Err(self.blocks.corrupt(self.blocks.offset, "more comes after the last block"));
        }
        Ok(())
    }
}

impl Iterator for Reader {
    type Item = Result<Bytes, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_ended {
            return None;
        }
        let block = self.next_block();
        self.is_ended = !matches!(block, Ok(Some(_)));
        block.transpose()
    }
}

/// The blocks of a file, of whatever kind.
struct Blocks {
    file: Arc<dyn File>,
    described: String,
    size: u64,
    /// Where the next block begins.
    offset: u64,
    /// Bytes of the file from `offset` on.
    buffer: BytesMut,
    /// Of all bytes before `offset`.
    crc: u32,
    /// Blocks before `offset`.
    count: u64,
}

impl Blocks {
    fn check_start(&mut self) -> Result<(), Error> {
        let start = self.take(START_BYTES)?;
        if start[..8] != MAGIC {
            return Err(self.corrupt(0, "this is no snapshot"));
        }
        if crc32c::crc32c(&start[..12]) != u32_at(&start, 12) {
            return Err(self.corrupt(0, "the checksum of the format version is wrong"));
        }
        match u32_at(&start, 8) {
            found if found > FORMAT_VERSION => {
                Err(Error::NewerFormat { file: self.described.clone(), found, known: FORMAT_VERSION })
            }
            _ => Ok(()),
        }
    }

    /// The kind and the payload of the next block.
    fn next(&mut self) -> Result<(u8, Bytes), Error> {
        let at = self.offset;
        let header = self.take(BLOCK_HEADER_BYTES)?;
        let length = u32_at(&header, 0) as usize;
        if length > BLOCK_BYTES_MAX {
            return Err(self.corrupt(at, format!("a block of {length} bytes is longer than any can be")));
        }
        let payload = self.take(length).map_err(|error| match error {
            Error::Corrupt { why, .. } => self.corrupt(at, why),
            other => other,
        })?;
        let kind = header[8];
        if crc32c::crc32c_append(crc32c::crc32c(&[kind]), &payload) != u32_at(&header, 4) {
            return Err(self.corrupt(at, "the checksum of a block is wrong"));
        }
        self.count += 1;
        Ok((kind, payload))
    }

    /// The next bytes of the file.
    fn take(&mut self, length: usize) -> Result<Bytes, Error> {
        if length as u64 > self.size - self.offset {
            return Err(self.corrupt(self.offset, "the file is cut short"));
        }
        if length > self.buffer.len() {
            self.fill(length)?;
        }
        let taken = self.buffer.split_to(length).freeze();
        self.crc = crc32c::crc32c_append(self.crc, &taken);
        self.offset += length as u64;
        Ok(taken)
    }

    /// Reads until at least `length` bytes, which the file has, are in the buffer.
    fn fill(&mut self, length: usize) -> Result<(), Error> {
        let have = self.buffer.len();
        let wanted = (length.max(BUFFER_BYTES) as u64).min(self.size - self.offset) as usize;
        self.buffer.resize(wanted, 0);
        let read = self.file.read_at(self.offset + have as u64, &mut self.buffer[have..]);
        read.map_err(Error::io("read", &self.described))
    }

    fn corrupt(&self, offset: u64, why: impl Into<String>) -> Error {
        Error::corrupt(&self.described, offset, why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SHARD_0;
    use crate::raft::{CommitQuorum, Configuration, Learner};
    use crate::storage::MemoryDisk;

    fn header() -> Header {
        let configuration = Configuration {
            voters: BTreeSet::from([NodeId(1), NodeId(2)]),
            voters_outgoing: BTreeSet::from([NodeId(3)]),
            learners: BTreeMap::from([(NodeId(4), Learner { stay: true, replaces: None })]),
            commit_quorum: CommitQuorum::HalfPlusOne,
        };
        let contact = Contact {
            node: NodeId(2),
            name: "quorate-1".into(),
            client_address: "b:7400".into(),
            peer_address: "b:7401".into(),
            version: 3,
        };
        Header {
            cluster: ClusterId(0xc1),
            shard: SHARD_0,
            snapshot: raft::Snapshot {
                last: EntryId::new(Term(3), Index(70)),
                configuration,
                configuration_index: Index(69),
            },
            settled: BTreeSet::from([NodeId(1), NodeId(3)]),
            removed: BTreeMap::from([(NodeId(9), Index(12))]),
            addresses: vec![contact],
        }
    }

    fn write(disk: &MemoryDisk, blocks: &[Vec<u8>]) -> Written {
        let mut writer = Writer::create(Arc::new(disk.clone()), &header()).unwrap();
        for block in blocks {
            writer.write_block(block).unwrap();
        }
        writer.finish().unwrap()
    }

    fn read(disk: &MemoryDisk, name: &str) -> Result<(Header, Vec<Bytes>), Error> {
        let reader = Reader::open(disk, name)?;
        let header = reader.header().clone();
        Ok((header, reader.collect::<Result<_, _>>()?))
    }

    fn bytes_of(disk: &MemoryDisk, name: &str) -> Vec<u8> {
        let file = disk.open(name).unwrap();
        let mut bytes = vec![0; file.size().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        bytes
    }

    /// A disk whose only file has these bytes.
    fn disk_with(bytes: &[u8]) -> MemoryDisk {
        let disk = MemoryDisk::default();
        disk.create("a").unwrap().write_at(0, bytes).unwrap();
        disk
    }

    fn assert_corrupt(disk: &MemoryDisk, what: &str) {
        match read(disk, "a") {
            Err(Error::Corrupt { file, .. }) => assert_eq!(file, "a", "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }

    #[test]
    fn what_is_written_is_read_and_survives_a_loss_of_power() {
        let long: Vec<Vec<u8>> = (0..2000_u32).map(|n| n.to_le_bytes().repeat(100)).collect();
        for blocks in [vec![], vec![vec![]], vec![vec![1; BLOCK_BYTES_MAX], vec![], vec![2]], long] {
            let disk = MemoryDisk::default();
            let written = write(&disk, &blocks);
            assert_eq!(
                (&*written.temporary, written.last),
                (&*format!("{}.new", written.name), header().snapshot.last)
            );
            assert_eq!(written.bytes, bytes_of(&disk, &written.temporary).len() as u64);
            // Its name is made durable when it gets the final one.
            disk.sync_directory().unwrap();
            disk.crash(&mut <rand_chacha::ChaCha8Rng as rand::SeedableRng>::seed_from_u64(1));
            let (found, read) = read(&disk, &written.temporary).unwrap();
            assert_eq!(found, header());
            assert!(read == blocks, "{} blocks came back as {}", blocks.len(), read.len());
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_an_error_that_names_the_file() {
        let disk = MemoryDisk::default();
        let written = write(&disk, &[vec![7; 20], vec![], vec![8; 3]]);
        let bytes = bytes_of(&disk, &written.temporary);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert_corrupt(&disk_with(&flipped), &format!("bit {bit} of byte {at}"));
            }
            assert_corrupt(&disk_with(&bytes[..at]), &format!("cut at {at}"));
        }
        for more in [&[0][..], &bytes] {
            assert_corrupt(&disk_with(&[&bytes, more].concat()), "more at the end");
        }
    }

    /// Blocks that are good by themselves and do not make a whole.
    #[test]
    fn a_block_that_is_missing_moved_or_repeated_is_noticed() {
        let disk = MemoryDisk::default();
        let written = write(&disk, &[vec![7; 20], vec![8; 20], vec![9; 20]]);
        let bytes = bytes_of(&disk, &written.temporary);
        let (block, end) = (20 + BLOCK_HEADER_BYTES, END_BYTES + BLOCK_HEADER_BYTES);
        let (rest, end) = bytes.split_at(bytes.len() - end);
        let (start, blocks) = rest.split_at(rest.len() - 3 * block);
        let blocks: Vec<&[u8]> = blocks.chunks(block).collect();
        assert!(read(&disk_with(&[start, blocks[0], blocks[1], blocks[2], end].concat()), "a").is_ok());
        for order in [&[0, 1][..], &[0, 2, 1], &[0, 1, 2, 2], &[]] {
            let middle: Vec<&[u8]> = order.iter().map(|at| blocks[*at]).collect();
            assert_corrupt(&disk_with(&[start, &middle.concat(), end].concat()), &format!("{order:?}"));
        }
        assert_corrupt(&disk_with(&[&start[..START_BYTES], blocks[0], end].concat()), "no header");
        assert_corrupt(&disk_with(&[start, &start[START_BYTES..], end].concat()), "two headers");
    }

    /// A length that is a lie must not cost its memory: the file is four bytes longer than its header says blocks are.
    #[test]
    fn a_block_longer_than_any_can_be_is_refused_before_it_is_read() {
        let disk = MemoryDisk::default();
        let written = write(&disk, &[]);
        let mut bytes = bytes_of(&disk, &written.temporary);
        let payload = vec![0; BLOCK_BYTES_MAX + 1];
        bytes.truncate(bytes.len() - END_BYTES - BLOCK_HEADER_BYTES);
        bytes.extend((payload.len() as u32).to_le_bytes());
        bytes.extend(crc32c::crc32c_append(crc32c::crc32c(&[STATE]), &payload).to_le_bytes());
        bytes.push(STATE);
        bytes.extend(payload);
        let error = read(&disk_with(&bytes), "a").unwrap_err();
        assert!(error.to_string().contains("longer than any"), "{error}");
    }

    #[test]
    fn a_later_format_is_named() {
        let disk = MemoryDisk::default();
        let mut bytes = bytes_of(&disk, &write(&disk, &[]).temporary);
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..12]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        let error = read(&disk_with(&bytes), "a").unwrap_err();
        assert!(
            matches!(&error, Error::NewerFormat { file, found: 2, known: FORMAT_VERSION } if file == "a"),
            "{error}"
        );
    }

    #[test]
    fn a_header_of_something_else_is_refused_by_name() {
        let (header, last) = (header(), header().snapshot.last);
        let (cluster, shard) = (header.cluster, header.shard);
        assert_eq!(header.check(cluster, shard, last), Ok(()));
        let other = ClusterId(7);
        assert_eq!(header.check(other, shard, last), Err(Mismatch::Cluster { found: cluster, wanted: other }));
        let other = ShardId(7);
        assert_eq!(header.check(cluster, other, last), Err(Mismatch::Shard { found: shard, wanted: other }));
        let other = EntryId::new(Term(4), last.index);
        assert_eq!(header.check(cluster, shard, other), Err(Mismatch::Last { found: last, wanted: other }));
    }

    #[test]
    fn a_header_that_no_node_wrote_is_refused() {
        let change = |change: fn(&mut internal::SnapshotHeader)| {
            let mut message = internal::SnapshotHeader::decode(&*header().encode()).unwrap();
            change(&mut message);
            Header::decode(&message.encode_to_vec())
        };
        assert_eq!(change(|_| ()).unwrap(), header());
        let nonsense: [fn(&mut internal::SnapshotHeader); 8] = [
            |message| message.cluster_id = Bytes::from_static(&[1; 15]),
            |message| message.last_term = 0,
            |message| message.last_index = 0,
            |message| message.configuration = None,
            |message| message.configuration_index = 71,
            |message| message.settled.push(0),
            |message| message.removed[0].node_id = 0,
            |message| message.addresses[0].node_id = 0,
        ];
        for (at, nonsense) in nonsense.into_iter().enumerate() {
            assert!(matches!(change(nonsense), Err(Error::Malformed(_))), "nonsense {at}");
        }
        assert!(Header::decode(&[0xff]).is_err());
    }

    #[test]
    fn what_is_given_up_leaves_no_file_and_what_is_left_over_is_replaced() {
        let disk = MemoryDisk::default();
        let mut writer = Writer::create(Arc::new(disk.clone()), &header()).unwrap();
        writer.write_block(&[1; 100]).unwrap();
        drop(writer);
        assert_eq!(disk.list().unwrap(), Vec::<String>::new());
        let (first, second) = (write(&disk, &[vec![1; 1000]]), write(&disk, &[vec![2]]));
        assert_eq!(first.temporary, second.temporary);
        assert_eq!(read(&disk, &second.temporary).unwrap().1, [vec![2]]);
    }

    /// One sync of a large file would hold up those of the log.
    #[test]
    fn a_large_file_is_synced_as_it_grows() {
        let disk = MemoryDisk::default();
        write(&disk, &vec![vec![7; BLOCK_BYTES_MAX]; 10]);
        assert!((5..=8).contains(&disk.syncs()), "{} syncs of 40 MiB", disk.syncs());
    }
}
