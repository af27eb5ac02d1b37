//! The one seam between storage and the world: a flat directory of files.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

/// After so many bytes whoever writes a large file syncs it: one sync of all of it would hold up those of the log for as long as
/// the disk takes to write it.
pub const UNSYNCED_BYTES_MAX: u64 = 8 << 20;

/// A directory. Names are plain file names; storage makes all of them itself.
pub trait Disk: Send + Sync + 'static {
    /// The names in the directory, in order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes an empty file; an error if the name is taken. Durable after `sync_directory`.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Opens a file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Gives a file another name, in place of the file that had it. Durable after `sync_directory`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Durable after `sync_directory`.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes all creations, renames and removals before it durable.
    fn sync_directory(&self) -> io::Result<()>;
    /// The file's name as an operator would write it.
    fn describe(&self, name: &str) -> String;
    /// How much room there is; none on a disk that has no bounds.
    fn space(&self) -> io::Result<Option<Space>> {
        Ok(None)
    }
}

/// The room on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What this process may still use, in bytes.
    pub free_bytes: u64,
    /// All that there is, in bytes.
    pub total_bytes: u64,
}

/// An open file.
pub trait File: Send + Sync {
    /// Its length in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Fills `into` from `offset` on; an error if the file ends before.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`; the file grows as needed. Durable after `sync`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes all writes before it durable, and the length of the file, but not its name.
    fn sync(&self) -> io::Result<()>;
}

/// A directory of the file system. Its files can be read and written by their owner only.
#[derive(Clone, Debug)]
pub struct FileDisk {
    directory: PathBuf,
}

impl FileDisk {
    /// The disk of a directory that exists.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    fn path(&self, name: &str) -> PathBuf {
        assert!(!name.contains('/') && name != "..", "{name:?} is not a plain file name");
        self.directory.join(name)
    }
}

impl Disk for FileDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            // A name that is not UTF-8 is not one of ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort();
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(self.path(name))?;
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(fs::OpenOptions::new().read(true).write(true).open(self.path(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        fs::File::open(&self.directory)?.sync_all()
    }

    fn describe(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn space(&self) -> io::Result<Option<Space>> {
        let told = rustix::fs::statvfs(&self.directory)?;
        let bytes = |blocks: u64| blocks.saturating_mul(told.f_frsize);
        Ok(Some(Space { free_bytes: bytes(told.f_bavail), total_bytes: bytes(told.f_blocks) }))
    }
}

impl File for fs::File {
    fn size(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(into, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::storage::MemoryDisk;

    /// What both disks must do alike.
    fn behaves_as_a_directory(disk: &dyn Disk) {
        let file = disk.create("b").unwrap();
        assert!(disk.create("b").is_err(), "a name is taken once");
        file.write_at(3, b"xyz").unwrap();
        file.sync().unwrap();
        assert_eq!(file.size().unwrap(), 6);
        let mut bytes = [1; 6];
        file.read_at(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"\0\0\0xyz", "a hole reads as zeros");
        assert_eq!(file.read_at(1, &mut bytes).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);

        disk.create("a").unwrap();
        assert_eq!(disk.list().unwrap(), ["a", "b"]);
        disk.rename("b", "a").unwrap();
        disk.sync_directory().unwrap();
        assert_eq!(disk.open("a").unwrap().size().unwrap(), 6);
        assert_eq!(disk.open("b").err().unwrap().kind(), io::ErrorKind::NotFound);
        disk.remove("a").unwrap();
        assert!(disk.list().unwrap().is_empty());
    }

    #[test]
    fn a_file_disk_and_a_memory_disk_behave_alike() {
        let directory = tempfile::tempdir().unwrap();
        behaves_as_a_directory(&FileDisk::new(directory.path()));
        behaves_as_a_directory(&MemoryDisk::default());
    }

    #[test]
    fn files_belong_to_their_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        FileDisk::new(directory.path()).create("a").unwrap();
        let mode = fs::metadata(directory.path().join("a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
