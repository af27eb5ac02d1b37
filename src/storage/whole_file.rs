//! Small text files that are replaced as a whole: after a crash the old one is there or the other, never a mixture.
//!
//! The last line is the checksum of all lines before it: `crc32c 1b2a3948`.

use std::io;

use super::disk::Disk;
use super::error::Error;

/// No file of this kind comes near it; a larger one is not read. A manifest takes some 80 bytes for each file of the archive.
const BYTES_MAX: u64 = 64 << 20;

/// The text of a file without its checksum; none if there is no such file.
///
/// # Errors
/// [`Error::Damaged`]: the text is not what was written. [`Error::Io`].
pub fn read(disk: &dyn Disk, name: &str) -> Result<Option<String>, Error> {
    let file = match disk.open(name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", disk.describe(name))(error)),
    };
    let size = file.size().map_err(Error::io("read", disk.describe(name)))?;
    if size > BYTES_MAX {
        return Err(damaged(disk, name, format!("it is larger than {BYTES_MAX} bytes")));
    }
    let mut bytes = vec![0; size as usize];
    file.read_at(0, &mut bytes).map_err(Error::io("read", disk.describe(name)))?;
    check(bytes).map(Some).map_err(|why| damaged(disk, name, why))
}

/// Replaces a file, durably: written aside, synced, renamed, the directory synced.
///
/// # Errors
/// [`Error::Io`]: the old file is still there, or the other one is.
pub fn write(disk: &dyn Disk, name: &str, text: &str) -> Result<(), Error> {
    write_aside(disk, name, text)?;
    put_in_place(disk, name)
}

/// The first half of `write`: what will be the file is durable under another name.
///
/// # Errors
/// [`Error::Io`]: the old file is still there, and this can be tried again.
pub fn write_aside(disk: &dyn Disk, name: &str, text: &str) -> Result<(), Error> {
    let aside = aside(name);
    let result = || {
        match disk.remove(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.create(&aside)?;
        file.write_at(0, seal(text).as_bytes())?;
        file.sync()
    };
    let result = result();
    if result.is_err() {
        // Should that fail, the next attempt does it.
        let _ = disk.remove(&aside);
    }
    result.map_err(Error::io("write what replaces", disk.describe(name)))
}

/// The second half of `write`.
///
/// # Errors
/// [`Error::Io`]: the old file is still there, or the other one is.
pub fn put_in_place(disk: &dyn Disk, name: &str) -> Result<(), Error> {
    let renamed = disk.rename(&aside(name), name).and_then(|()| disk.sync_directory());
    renamed.map_err(Error::io("replace", disk.describe(name)))
}

/// The name of a file while it is written.
pub fn aside(name: &str) -> String {
    format!("{name}.new")
}

/// An error that names the file.
pub fn damaged(disk: &dyn Disk, name: &str, why: impl Into<String>) -> Error {
    Error::Damaged { file: disk.describe(name), why: why.into() }
}

fn seal(text: &str) -> String {
    let text = format!("{}\n", text.trim_end());
    let crc = crc32c::crc32c(text.as_bytes());
    format!("{text}crc32c {crc:08x}\n")
}

fn check(bytes: Vec<u8>) -> Result<String, &'static str> {
    let mut text = String::from_utf8(bytes).map_err(|_| "it is not text")?;
    let end = text.trim_end_matches('\n').rfind('\n').map_or(0, |newline| newline + 1);
    let body = text[..end].to_owned();
    if seal(&body) != text {
        return Err("its last line is not the checksum of the lines before");
    }
    text.truncate(end);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::storage::MemoryDisk;

    #[test]
    fn what_is_written_is_read_and_a_missing_file_is_none() {
        let disk = MemoryDisk::default();
        assert_eq!(read(&disk, "a").unwrap(), None);
        for text in ["", "one line", "two\nlines\n"] {
            write(&disk, "a", text).unwrap();
            assert_eq!(read(&disk, "a").unwrap().unwrap().trim_end(), text.trim_end());
        }
    }

    /// Wherever the power fails, the file is the old one or the other one; once `write` has returned it is the other one.
    #[test]
    fn a_crash_at_every_step_leaves_one_or_the_other() {
        for operations in 0..8 {
            for seed in 0..50 {
                let disk = MemoryDisk::default();
                write(&disk, "a", "old").unwrap();
                disk.cut_power_after(operations);
                let done = write(&disk, "a", "other").is_ok();
                disk.crash(&mut ChaCha8Rng::seed_from_u64(seed));
                let text = read(&disk, "a").unwrap().expect("the file was durable before");
                assert!(
                    text == "other\n" || (!done && text == "old\n"),
                    "{operations} operations, seed {seed}: {text:?}"
                );
                write(&disk, "a", "again").unwrap();
            }
        }
    }

    #[test]
    fn a_flipped_bit_or_a_cut_anywhere_is_damage_that_names_the_file() {
        let disk = MemoryDisk::default();
        write(&disk, "a", "{\n  \"x\": 1\n}").unwrap();
        let size = disk.open("a").unwrap().size().unwrap();
        for at in 0..size {
            let other = disk.duplicate();
            other.flip_bit("a", at, 2);
            let error = read(&other, "a").unwrap_err();
            assert!(matches!(&error, Error::Damaged { file, .. } if file == "a"), "byte {at}: {error}");
        }
        for length in 0..size {
            let mut bytes = vec![0; length as usize];
            disk.open("a").unwrap().read_at(0, &mut bytes).unwrap();
            disk.remove("b").ok();
            disk.create("b").unwrap().write_at(0, &bytes).unwrap();
            assert!(matches!(read(&disk, "b"), Err(Error::Damaged { .. })), "length {length}");
        }
    }
}
