//! One file of the log: a header, then frames, then zeros, or what a recycled file held before.

use std::sync::Arc;

use super::disk::{Disk, File};
use super::error::Error;
use super::files::FileId;
use super::frame::{self, Chain};
use super::record::{u32_at, u64_at};

/// Bytes before the first frame.
pub const HEADER_BYTES: usize = 40;

/// The latest format of segments that this release reads. It writes both: 1 is followed by zeros, 2 is a recycled file.
pub const FORMAT_VERSION: u32 = 2;

const MAGIC: [u8; 8] = *b"quorate\n";

/// The first bytes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Counts segments from 1, without gaps.
    pub id: u64,
    /// Where the checksums of its frames start from.
    pub salt: u32,
    /// What its first frame says of the frames before.
    pub chain: Chain,
    /// The file had another life: what follows the last frame is [`frame::HEADER_BYTES`] zeros, and then anything.
    pub recycled: bool,
}

/// Why a header cannot be used.
#[derive(Debug)]
pub enum Unreadable {
    /// It was not written to the end, or has rotted.
    Bad(&'static str),
    /// A later release wrote it.
    Newer(u32),
}

impl Header {
    /// The header at the start of a segment.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let header = bytes.get(..HEADER_BYTES).ok_or(Unreadable::Bad("the segment header is cut short"))?;
        if header[..8] != MAGIC {
            return Err(Unreadable::Bad("no segment header is here"));
        }
        if crc32c::crc32c(&header[..36]) != u32_at(header, 36) {
            return Err(Unreadable::Bad("the checksum of the segment header is wrong"));
        }
        let version = u32_at(header, 8);
        if version > FORMAT_VERSION {
            return Err(Unreadable::Newer(version));
        }
        let chain = Chain { sequence: u64_at(header, 24), crc: u32_at(header, 32) };
        Ok(Self { id: u64_at(header, 16), salt: u32_at(header, 12), chain, recycled: version == 2 })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&if self.recycled { 2_u32 } else { 1 }.to_le_bytes());
        bytes.extend_from_slice(&self.salt.to_le_bytes());
        bytes.extend_from_slice(&self.id.to_le_bytes());
        bytes.extend_from_slice(&self.chain.sequence.to_le_bytes());
        bytes.extend_from_slice(&self.chain.crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }
}

/// The name of a segment's file.
pub fn name(id: u64) -> String {
    FileId::segment(id).name()
}

/// The ids of the segments in a directory, in order. Other files are left alone.
pub fn ids(disk: &dyn Disk) -> Result<Vec<u64>, Error> {
    let names = disk.list().map_err(Error::io("list", disk.describe("")))?;
    let files = names.iter().filter_map(|name| FileId::parse(name)).filter(|file| !file.is_bodies());
    let mut ids: Vec<u64> = files.map(FileId::number).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// Makes the file of a segment with its header and zeros after it, all of it durable, its name included.
pub fn create(disk: &dyn Disk, header: &Header, fill_bytes: u64) -> Result<Segment, Error> {
    let name = name(header.id);
    let file = disk.create(&name).map_err(Error::io("create", disk.describe(&name)))?;
    let segment = Segment { header: *header, name: disk.describe(&name), file };
    let mut start = header.encode();
    start.resize(start.len().max(fill_bytes as usize), 0);
    if let Err(error) = segment.write(0, &start) {
        // No frame is in it, so that it may be tried again. Should this fail, the next start removes a segment without a header.
        let _ = disk.remove(&name);
        return Err(error);
    }
    segment.sync()?;
    disk.sync_directory().map_err(Error::io("sync", disk.describe("")))?;
    Ok(segment)
}

/// Makes a segment of a spare file, all of it durable, its name included. The header is durable before the file has the name
/// of a segment, so that it never has that of one with another's header.
pub fn recycle(disk: &dyn Disk, spare: &str, header: &Header) -> Result<Segment, Error> {
    let name = name(header.id);
    let file = disk.open(spare).map_err(Error::io("open", disk.describe(spare)))?;
    let segment = Segment { header: *header, name: disk.describe(&name), file };
    let mut start = header.encode();
    start.resize(start.len() + frame::HEADER_BYTES, 0);
    segment.write(0, &start)?;
    segment.sync()?;
    disk.rename(spare, &name).map_err(Error::io("rename", disk.describe(spare)))?;
    disk.sync_directory().map_err(Error::io("sync", disk.describe("")))?;
    Ok(segment)
}

/// A segment to write to.
pub struct Segment {
    /// Its header.
    pub header: Header,
    name: String,
    file: Arc<dyn File>,
}

impl Segment {
    /// Opens the file of a segment whose header is known.
    pub fn open(disk: &dyn Disk, header: Header) -> Result<Self, Error> {
        let name = name(header.id);
        let file = disk.open(&name).map_err(Error::io("open", disk.describe(&name)))?;
        Ok(Self { header, name: disk.describe(&name), file })
    }

    /// Writes bytes at an offset.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_at(offset, bytes).map_err(Error::io("write to", &self.name))
    }

    /// Makes what was written durable.
    pub fn sync(&self) -> Result<(), Error> {
        self.file.sync().map_err(Error::io("sync", &self.name))
    }
}
