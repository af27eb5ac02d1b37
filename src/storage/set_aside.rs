//! The data of a node that was removed from its cluster is moved out of the way, so that its directory can become another node.
//!
//! ```text
//!   mark in `founding`, durable   ->   every file moved to set-aside/NODE-ID/   ->   what was set aside before removed
//!                                 ->   mark gone, former cluster written
//! ```
//!
//! While the mark is there, whatever lies in the directory is the old node's: a crash between any two steps is repaired by moving
//! the rest. Afterwards the directory has no identity, and gets another one. What was set aside is in a directory of its own,
//! where nothing looks for a log. Only that of the last node is kept: a volume that is used again and again does not fill up with
//! them.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::error::Error;
use crate::ids::NodeId;

/// Where the data of removed nodes goes, in the data directory.
pub const DIRECTORY: &str = "set-aside";

/// Moves every file of `directory` but those of the names in `kept` to `set-aside/NODE/`, durably. Calls `step` before each change:
/// tests stop there.
///
/// # Errors
/// The file system refused. The same again goes on.
pub fn move_files(
    directory: &Path,
    node: &str,
    kept: &[&str],
    step: &mut impl FnMut() -> Result<(), Error>,
) -> Result<(), Error> {
    let above = directory.join(DIRECTORY);
    let target = above.join(node);
    for made in [&above, &target] {
        step()?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(made).map_err(io("make the directory", made))?;
    }
    sync(directory)?;
    sync(&above)?;
    let listed = fs::read_dir(directory).map_err(io("list", directory))?;
    let mut names = Vec::new();
    for entry in listed {
        names.push(entry.map_err(io("list", directory))?.file_name());
    }
    names.sort();
    for name in names {
        if name == DIRECTORY || kept.iter().any(|kept| name == *kept) {
            continue;
        }
        step()?;
        let from = directory.join(&name);
        match fs::rename(&from, target.join(&name)) {
            // It was superfluous, and whoever removes such files has done so meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            moved => moved.map_err(io("set aside", &from))?,
        }
    }
    // First where the files are to be found, then where they are no more.
    sync(&target)?;
    step()?;
    sync(directory)
}

/// Removes what was set aside of other nodes than `node`. What cannot be removed is told, and stays until the next node is set
/// aside.
pub fn remove_others(directory: &Path, node: &str) {
    let above = directory.join(DIRECTORY);
    let listed = fs::read_dir(&above).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = listed.unwrap_or_else(|error| {
        tracing::warn!("cannot list {}: {error}", above.display());
        Vec::new()
    });
    for entry in entries {
        let name = entry.file_name();
        // What is not the name of a node is not ours.
        let is_others = name.to_str().is_some_and(|name| name != node && name.parse::<NodeId>().is_ok());
        if is_others && let Err(error) = fs::remove_dir_all(entry.path()) {
            tracing::warn!("cannot remove {}, which was set aside before: {error}", entry.path().display());
        }
    }
}

fn sync(directory: &Path) -> Result<(), Error> {
    fs::File::open(directory).and_then(|opened| opened.sync_all()).map_err(io("sync", directory))
}

fn io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    Error::io(operation, path.display().to_string())
}
