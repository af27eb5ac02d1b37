//! The index of a file that is kept for its bodies: where the records lie that were alive when it left the chain, so that
//! nothing else of the file is read at start.
//!
//! ```text
//!    magic 8 | format version 4 | CRC of all else 4 | number of the file 8 | then for each shard
//!    shard 8 | how many 8 | of each: index 8 | offset 4 | length 4
//! ```

use std::collections::BTreeMap;

use super::disk::Disk;
use super::error::Error;
use super::files::FileId;
use super::positions::Position;
use super::record::{u32_at, u64_at};
use crate::ids::{Index, ShardId};

/// The format that this release writes, and the latest that it reads.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"quorateI";

const HEADER_BYTES: usize = 24;

/// A body and where it lies.
pub type Listed = (ShardId, Index, Position);

/// Writes the index of a file, and leaves nothing when that fails; the file and the index are durable then, but their names are
/// not. Returns the length.
pub fn write(disk: &dyn Disk, file: FileId, bodies: &[Listed]) -> Result<u64, Error> {
    let name = file.index_name();
    let bytes = encode(file, bodies);
    let write = || {
        let index = disk.create(&name)?;
        index.write_at(0, &bytes)?;
        index.sync()
    };
    let written = write();
    if written.is_err() {
        // Should that fail, the next start does it: nothing names it.
        let _ = disk.remove(&name);
    }
    written.map_err(Error::io("write", disk.describe(&name)))?;
    Ok(bytes.len() as u64)
}

/// Reads the index of a file.
///
/// # Errors
/// [`Error::Corrupt`], [`Error::NewerFormat`], [`Error::Io`].
pub fn read(disk: &dyn Disk, file: FileId) -> Result<Vec<Listed>, Error> {
    let name = file.index_name();
    let opened = match disk.open(&name) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::corrupt(disk.describe(&name), 0, "the file is missing, and the manifest names it"));
        }
        Err(error) => return Err(Error::io("open", disk.describe(&name))(error)),
    };
    let read = || {
        let mut bytes = vec![0; opened.size()? as usize];
        opened.read_at(0, &mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(Error::io("read", disk.describe(&name)))?;
    decode(&bytes, file).map_err(|unreadable| match unreadable {
        Unreadable::Bad(why) => Error::corrupt(disk.describe(&name), 0, why),
        Unreadable::Newer(found) => Error::NewerFormat { file: disk.describe(&name), found, known: FORMAT_VERSION },
    })
}

enum Unreadable {
    Bad(&'static str),
    Newer(u32),
}

fn encode(file: FileId, bodies: &[Listed]) -> Vec<u8> {
    let mut shards: BTreeMap<ShardId, Vec<(Index, Position)>> = BTreeMap::new();
    for (shard, index, position) in bodies {
        shards.entry(*shard).or_default().push((*index, *position));
    }
    let mut bytes = Vec::with_capacity(HEADER_BYTES + 16 * (bodies.len() + shards.len()));
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&file.number().to_le_bytes());
    for (shard, listed) in shards {
        bytes.extend_from_slice(&shard.0.to_le_bytes());
        bytes.extend_from_slice(&(listed.len() as u64).to_le_bytes());
        for (index, position) in listed {
            bytes.extend_from_slice(&index.0.to_le_bytes());
            bytes.extend_from_slice(&position.offset.to_le_bytes());
            bytes.extend_from_slice(&position.length.to_le_bytes());
        }
    }
    let crc = checksum(&bytes);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8], file: FileId) -> Result<Vec<Listed>, Unreadable> {
    let (header, mut rest) = bytes.split_at_checked(HEADER_BYTES).ok_or(Unreadable::Bad("the index is cut short"))?;
    if header[..8] != MAGIC {
        return Err(Unreadable::Bad("no index begins here"));
    }
    if checksum(bytes) != u32_at(header, 12) {
        return Err(Unreadable::Bad("the checksum of the index is wrong"));
    }
    let version = u32_at(header, 8);
    if version > FORMAT_VERSION {
        return Err(Unreadable::Newer(version));
    }
    if u64_at(header, 16) != file.number() {
        return Err(Unreadable::Bad("the index is that of another file"));
    }
    let mut bodies = Vec::new();
    let cut = Unreadable::Bad("the index is not whole");
    while let Some((shard, after)) = rest.split_at_checked(16) {
        let Some((listed, after)) = after.split_at_checked((u64_at(shard, 8) as usize).saturating_mul(16)) else {
            return Err(cut);
        };
        bodies.extend(listed.chunks_exact(16).map(|each| {
            let position = Position { file, offset: u32_at(each, 8), length: u32_at(each, 12) };
            (ShardId(u64_at(shard, 0)), Index(u64_at(each, 0)), position)
        }));
        rest = after;
    }
    if rest.is_empty() { Ok(bodies) } else { Err(cut) }
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..])
}
