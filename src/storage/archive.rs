//! The files that the manifest names besides the chain: are they there, and what is in them?

use std::io;

use super::bodies;
use super::disk::Disk;
use super::error::Error;
use super::files::FileId;
use super::index;
pub use super::index::Listed;
use super::manifest::{ArchiveFile, Manifest};
use super::segment::{self, Header, Unreadable};

/// All bodies of the archive. Reads the indexes and the headers, and no body.
///
/// # Errors
/// [`Error::Corrupt`], [`Error::NewerFormat`], [`Error::Io`].
pub fn read(disk: &dyn Disk, manifest: &Manifest) -> Result<Vec<Listed>, Error> {
    let mut bodies = Vec::new();
    for archived in &manifest.archive {
        check_file(disk, archived)?;
        bodies.extend(index::read(disk, archived.file)?);
    }
    Ok(bodies)
}

/// Whether the snapshots are there. What is in them, whoever reads them checks.
///
/// # Errors
/// [`Error::Corrupt`], [`Error::Io`].
pub fn check_snapshots(disk: &dyn Disk, manifest: &Manifest) -> Result<(), Error> {
    for snapshot in manifest.shards.values().filter_map(|files| files.snapshot.as_ref()) {
        check_size(disk, &snapshot.name, snapshot.bytes)?;
    }
    Ok(())
}

fn check_file(disk: &dyn Disk, archived: &ArchiveFile) -> Result<(), Error> {
    let ArchiveFile { file, bytes, .. } = archived;
    let name = file.name();
    check_size(disk, &name, *bytes)?;
    let length = (*bytes).min(segment::HEADER_BYTES as u64);
    let mut header = vec![0; length as usize];
    let read = disk.open(&name).and_then(|opened| opened.read_at(0, &mut header));
    read.map_err(Error::io("read", disk.describe(&name)))?;
    let (decoded, known) = decode_header(*file, &header);
    match decoded {
        Ok(number) if number == file.number() => Ok(()),
        Ok(number) => Err(Error::corrupt(disk.describe(&name), 0, format!("the header is that of file {number}"))),
        Err(Unreadable::Bad(why)) => Err(Error::corrupt(disk.describe(&name), 0, why)),
        Err(Unreadable::Newer(found)) => Err(Error::NewerFormat { file: disk.describe(&name), found, known }),
    }
}

fn decode_header(file: FileId, bytes: &[u8]) -> (Result<u64, Unreadable>, u32) {
    if file.is_bodies() {
        (bodies::decode_header(bytes), bodies::FORMAT_VERSION)
    } else {
        (Header::decode(bytes).map(|header| header.id), segment::FORMAT_VERSION)
    }
}

fn check_size(disk: &dyn Disk, name: &str, bytes: u64) -> Result<(), Error> {
    let opened = match disk.open(name) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::corrupt(disk.describe(name), 0, "the file is missing, and the manifest names it"));
        }
        Err(error) => return Err(Error::io("open", disk.describe(name))(error)),
    };
    let found = opened.size().map_err(Error::io("read", disk.describe(name)))?;
    if found < bytes {
        return Err(Error::corrupt(disk.describe(name), found, format!("the file ends here, and had {bytes} bytes")));
    }
    Ok(())
}
